package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS are the PEM files of one end of a mutually authenticated connection.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// CA signed the certificate of the other end.
	CA string `yaml:"ca"`
}

// Client is the configuration of the connecting end.
func (t TLS) Client() (*tls.Config, error) {
	cert, pool, err := t.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

// Server is the configuration of the listening end; it admits only clients
// whose certificate the CA signed.
func (t TLS) Server() (*tls.Config, error) {
	cert, pool, err := t.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS13,
	}, nil
}

func (t TLS) load() (tls.Certificate, *x509.CertPool, error) {
	if t.Cert == "" || t.Key == "" || t.CA == "" {
		return tls.Certificate{}, nil, errors.New("a certificate, its key and the CA of the other end are needed")
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	ca, err := os.ReadFile(t.CA)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return tls.Certificate{}, nil, fmt.Errorf("%s holds no PEM certificate", t.CA)
	}
	return cert, pool, nil
}

package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/mcpermit/mcpermit/cmd/config"
)

// listenerTLS has the PEM files of a listener, and reads them again when one of
// them has changed: certificates are renewed while it serves. What can't be used
// changes nothing. (I11) It is safe for concurrent use.
type listenerTLS struct {
	files config.ListenTLS
	log   *slog.Logger

	mu     sync.Mutex
	seen   [3]fs.FileInfo // as the files were when they were last read
	inUse  *tls.Config
	failed string // what is wrong with the files as they are now
}

// newTLS returns the configuration of a listener that has these files.
func newTLS(files config.ListenTLS, log *slog.Logger) (*tls.Config, error) {
	l := &listenerTLS{files: files, log: log}
	l.seen = l.stat()
	var err error
	if l.inUse, err = load(files); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return l.current(), nil },
	}, nil
}

// protocols is HTTP/1.1 alone: with HTTP/2, what net/http refuses by itself could
// not be put on record (see proxy.Guard).
var protocols = []string{"http/1.1"}

// current is the configuration for one handshake. Three looks at the file system
// cost little beside it.
func (l *listenerTLS) current() *tls.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.stat()
	if same(l.seen, now) {
		return l.inUse
	}
	l.seen = now
	next, err := load(l.files)
	if err != nil {
		if l.failed != err.Error() {
			l.log.Error("the listener's certificate files can't be used; those from before stay in use", "error", err)
		}
		l.failed = err.Error()
		// They may be in the middle of being written.
		l.seen = [3]fs.FileInfo{}
		return l.inUse
	}
	l.inUse, l.failed = next, ""
	l.log.Info("the listener's certificate files were read again", "cert", l.files.Cert)
	return l.inUse
}

func (l *listenerTLS) stat() (all [3]fs.FileInfo) {
	for i, name := range []string{l.files.Cert, l.files.Key, l.files.ClientCA} {
		if name != "" {
			all[i], _ = os.Stat(name) // load says what is wrong
		}
	}
	return all
}

func same(a, b [3]fs.FileInfo) bool {
	for i := range a {
		switch {
		case (a[i] == nil) != (b[i] == nil):
			return false
		case a[i] == nil:
		case !os.SameFile(a[i], b[i]), a[i].Size() != b[i].Size(), !a[i].ModTime().Equal(b[i].ModTime()):
			return false
		}
	}
	return true
}

// load reads the files. A resumed session is one of the files with which it began:
// each configuration has ticket keys of its own.
func load(files config.ListenTLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: protocols}
	if files.ClientCA == "" {
		if files.Require {
			return nil, errors.New("client_ca says who signs the certificates that are required")
		}
		return c, nil
	}
	pem, err := os.ReadFile(files.ClientCA)
	if err != nil {
		return nil, err
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", files.ClientCA)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if files.Require {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

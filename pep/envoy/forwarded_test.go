package envoy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// newCertificate returns a certificate and its form in Envoy's headers.
func newCertificate(t *testing.T, name string) (der []byte, encoded string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return der, strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20")
}

// TestI10_CertificatesOnlyOfWhomItBelieves: Envoy itself where it names a
// principal, and X-Forwarded-Client-Cert where that is a trusted one.
func TestI10_CertificatesOnlyOfWhomItBelieves(t *testing.T) {
	const edge = "spiffe://mesh/edge"
	own, ownText := newCertificate(t, "peer")
	client, clientText := newCertificate(t, "client")
	_, otherText := newCertificate(t, "other")
	quoted := `Hash=ab;Cert="` + clientText + `";Subject="CN=\"a;b,c\"";URI=spiffe://mesh/app`
	for name, c := range map[string]struct {
		principal, certificate string
		header                 []string
		want                   []byte
	}{
		"a peer by mTLS":                       {"spiffe://mesh/app", ownText, nil, own},
		"a peer that nobody verified":          {"", ownText, nil, nil},
		"a peer without its certificate":       {"spiffe://mesh/app", "", nil, nil},
		"a forged header of a peer":            {"spiffe://mesh/app", ownText, []string{quoted}, own},
		"a forged header of nobody":            {"", "", []string{quoted}, nil},
		"a forwarder":                          {edge, ownText, []string{quoted}, client},
		"a forwarder's only pair":              {edge, ownText, []string{"cert=" + clientText}, client},
		"a forwarder without a header":         {edge, ownText, nil, nil},
		"a forwarder without a certificate":    {edge, ownText, []string{"Hash=ab;URI=spiffe://mesh/app"}, nil},
		"several elements":                     {edge, ownText, []string{`Cert="` + otherText + `",Cert="` + clientText + `"`}, nil},
		"several certificates":                 {edge, ownText, []string{`Cert="` + otherText + `";Cert="` + clientText + `"`}, nil},
		"several headers":                      {edge, ownText, []string{quoted, quoted}, nil},
		"an open quote":                        {edge, ownText, []string{`Cert="` + clientText}, nil},
		"a chain":                              {edge, ownText, []string{"Cert=" + clientText + otherText}, nil},
		"no PEM":                               {edge, ownText, []string{`Cert="x"`}, nil},
		"not encoded as Envoy does":            {edge, ownText, []string{`Cert="%zz"`}, nil},
		"a principal that begins like another": {edge + "/x", ownText, []string{quoted}, own},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if c.header != nil {
				h[headerForwarded] = c.header
			}
			state := certificates(&authv3.AttributeContext_Peer{Principal: c.principal, Certificate: c.certificate}, h, []string{edge})
			var got []byte
			if state != nil {
				got = state.VerifiedChains[0][0].Raw
			}
			if !bytes.Equal(got, c.want) {
				t.Errorf("took %d bytes, want %d", len(got), len(c.want))
			}
		})
	}
}

// TestI2_BodiesAsTextAreRefused: in a text, Envoy has changed what is not UTF-8.
func TestI2_BodiesAsTextAreRefused(t *testing.T) {
	check := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: http.MethodPost, Path: "/mcp/up/", Body: `{"name":"get-env!"}`},
	}}}
	if r, err := (&Server{trusted: nil}).newRequest(t.Context(), check); err == nil {
		t.Errorf("taken for a request: %v", r)
	}
	check.Attributes.Request.Http.RawBody = []byte(`{"name":"get-env"}`)
	if _, err := (&Server{trusted: nil}).newRequest(t.Context(), check); err != nil {
		t.Errorf("with the bytes beside it: %v", err)
	}
}

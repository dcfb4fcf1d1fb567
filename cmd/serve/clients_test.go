package serve

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const issuers = `issuers: [{url: "https://issuer.example"}]`

func get(t *testing.T, c *http.Client, url string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(r)
	if err == nil {
		res.Body.Close()
	}
	return res, err
}

func TestTLSClientsAreKnownByTheirCertificates(t *testing.T) {
	dir := t.TempDir()
	servers, clients, strangers := newAuthority(t), newAuthority(t), newAuthority(t)
	cert, key := servers.pair(t, "gateway")
	for name, b := range map[string][]byte{"cert.pem": cert, "key.pem": key, "ca.pem": clients.pem()} {
		write(t, filepath.Join(dir, name), b)
	}
	for _, c := range []struct {
		name    string
		require string
		shows   *authority
		chain   int // certificates in the evidence; -1: no connection at all
	}{
		{"with one", "", clients, 2},
		{"without one", "", nil, 0},
		{"with a stranger's", "", strangers, -1},
		{"with one where they are required", ", require: true", clients, 2},
		{"without one where they are required", ", require: true", nil, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := open(t, dir, "tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem"+c.require+"}\noauth: {url: https://gate.example, listen: \"127.0.0.1:0\", "+issuers+"}\n")
			if err != nil {
				t.Fatal(err)
			}
			client := servers.client(t, c.shows, "agent.example")
			for _, at := range []string{h.grants.Addr().String(), h.oauth.Addr().String()} {
				res, err := get(t, client, "https://"+at+"/mcp/up/")
				if c.chain < 0 {
					if err == nil || h.pdp.last() != nil {
						t.Errorf("%s: it was let in: %v", at, res)
					}
					continue
				}
				if err != nil || res.StatusCode != http.StatusUnauthorized || res.ProtoMajor != 1 {
					t.Fatalf("%s: %v %v", at, res, err)
				}
				if got := h.pdp.last().GetEvidence().GetPeerCertificates(); len(got) != c.chain {
					t.Errorf("%s: evidence has %d certificates, want %d", at, len(got), c.chain)
				}
			}
		})
	}
}

func TestI11_CertificatesAreReadAgainAndBadOnesAreNotTaken(t *testing.T) {
	dir := t.TempDir()
	first, second, clients := newAuthority(t), newAuthority(t), newAuthority(t)
	put := func(a *authority) {
		cert, key := a.pair(t, "gateway")
		write(t, filepath.Join(dir, "cert.pem"), cert)
		write(t, filepath.Join(dir, "key.pem"), key)
	}
	put(first)
	write(t, filepath.Join(dir, "ca.pem"), clients.pem())
	h, err := open(t, dir, "tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem}\n")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + h.grants.Addr().String() + "/mcp/up/"
	serves := func(a *authority, when string) {
		t.Helper()
		if _, err := get(t, a.client(t, nil, ""), url); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	serves(first, "at the start")
	put(second)
	serves(second, "after a renewal")
	if _, err := get(t, first.client(t, nil, ""), url); err == nil {
		t.Error("the first certificate is still served")
	}
	write(t, filepath.Join(dir, "cert.pem"), []byte("-----BEGIN CERTIFICATE-----\nbroken"))
	serves(second, "with a broken file")
	serves(second, "again")
	if n := strings.Count(h.log.String(), "level=ERROR"); n != 1 {
		t.Errorf("it is logged %d times:\n%s", n, h.log)
	}
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	serves(second, "without a file")
	put(first)
	serves(first, "when it is good again")

	// Whose certificates clients may show is renewed as well.
	others := newAuthority(t)
	write(t, filepath.Join(dir, "ca.pem"), others.pem())
	if _, err := get(t, first.client(t, others, "agent"), url); err != nil {
		t.Error(err)
	}
	if _, err := get(t, first.client(t, clients, "agent"), url); err == nil {
		t.Error("the former authority is still believed")
	}
}

func TestWhatCannotBeServedIsAnErrorBefore(t *testing.T) {
	dir := t.TempDir()
	cert, _ := newAuthority(t).pair(t, "a")
	_, key := newAuthority(t).pair(t, "b")
	write(t, filepath.Join(dir, "cert.pem"), cert)
	write(t, filepath.Join(dir, "key.pem"), key)
	for text, want := range map[string]string{
		"tls: {cert: none.pem, key: key.pem}\n":                                          "none.pem",
		"tls: {cert: cert.pem, key: key.pem}\n":                                          "private key does not match",
		"oauth: {url: https://gate.example, listen: \"192.0.2.1:1\", " + issuers + "}\n": "oauth.listen",
	} {
		if _, err := open(t, dir, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestAnnouncementsAreWhereClientsAreServed(t *testing.T) {
	dir := t.TempDir()
	h, err := open(t, dir, "oauth: {url: \"http://localhost/oauth\", "+issuers+"}\n")
	if err != nil {
		t.Fatal(err)
	}
	addr := h.grants.Addr().String()
	var out bytes.Buffer
	h.Announce(&out, "mcpermit")
	want := "mcpermit: http://" + addr + "/mcp/up/\nmcpermit: http://localhost/oauth/mcp/up/ with access tokens\n"
	if out.String() != want {
		t.Errorf("said %q, want %q", &out, want)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, resource := range map[string]string{"/mcp/up/": "", "/oauth/mcp/up/": "http://localhost/oauth/mcp/up"} {
		res, err := get(t, client, "http://"+addr+path)
		if err != nil || res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%s: %v %v", path, res, err)
		}
		if got := h.pdp.last().GetEvidence().GetResource(); got != resource {
			t.Errorf("%s: resource %q, want %q", path, got, resource)
		}
	}
}

func TestAnAddressOfItsOwnServesAccessTokensAlone(t *testing.T) {
	h, err := open(t, t.TempDir(), "oauth: {url: \"https://gate.example\", listen: \"127.0.0.1:0\", "+issuers+"}\n")
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, c := range []struct {
		at, path, host string
		status         int
		resource       string
	}{
		{h.oauth.Addr().String(), "/mcp/up", "gate.example", 401, "https://gate.example/mcp/up"},
		{h.oauth.Addr().String(), "/mcp/up", "evil.example", 403, "https://gate.example/mcp/up"},
		{h.oauth.Addr().String(), "/grants", "gate.example", 404, "https://gate.example"},
		{h.grants.Addr().String(), "/mcp/up", "localhost", 401, ""},
		{h.grants.Addr().String(), "/grants", "localhost", 405, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.at+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := h.pdp.last().GetEvidence().GetResource(); res.StatusCode != c.status || got != c.resource {
			t.Errorf("%v: status %d, resource %q", c, res.StatusCode, got)
		}
	}
}

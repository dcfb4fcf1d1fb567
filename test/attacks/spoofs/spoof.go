// Package spoofs has requests that claim to be somebody's without showing their
// token or certificate, and requests that claim to be somebody else's beside a good
// token, for tests that send them through one gateway or another (I10).
package spoofs

import (
	"fmt"
	"strings"
)

// Spoof is a way to claim an identity. In its parts {{TOKEN}} stands for a token
// that is good at the listener, {{OTHER}} for one that is good at the other one,
// {{BASIC}} for the token in the form of HTTP Basic, and {{CERT}} for a certificate
// in URL-encoded PEM that nobody has verified. {{GOOD}} is the one header that does
// show the token.
type Spoof struct {
	Name    string
	Head    string // header lines
	Query   string
	Trailer string // a header line behind the body, which then is sent in chunks
}

const good = "Authorization: Bearer {{TOKEN}}\r\n"

// Nobody are the requests that show no evidence, or evidence that two readers could
// take differently: each is refused, and its record names nobody.
var Nobody = []Spoof{
	{Name: "no token"},
	{Name: "certificate's name", Head: "X-Forwarded-Client-Cert: By=spiffe://mesh.example/gw;URI=spiffe://mesh.example/spoofed\r\n"},
	{Name: "certificate", Head: "X-Forwarded-Client-Cert: Hash=ab;Cert=\"{{CERT}}\";Subject=\"CN=spoofed\";URI=spiffe://mesh.example/spoofed\r\n"},
	{Name: "certificates of other proxies", Head: "X-SSL-Client-Cert: {{CERT}}\r\nX-Client-Cert: {{CERT}}\r\nSSL-Client-Verify: SUCCESS\r\nSSL-Client-S-DN: CN=spoofed\r\n"},
	{Name: "certificate of RFC 9440", Head: "Client-Cert: :c3Bvb2ZlZA==:\r\nClient-Cert-Chain: :c3Bvb2ZlZA==:\r\n"},
	{Name: "workload", Head: "X-SPIFFE-ID: spiffe://mesh.example/spoofed\r\nX-Envoy-Peer-Metadata-Id: spoofed\r\nX-Envoy-Downstream-Service-Cluster: spoofed\r\n"},
	{Name: "inside", Head: "X-Envoy-Internal: true\r\nX-Envoy-External-Address: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n"},
	{Name: "word of the gateway", Head: "X-MCPermit-Subject: spoofed\r\nX-MCPermit-Grant: spoofed\r\nX-MCPermit-Decision: allow\r\nMcp-Permit-Subject: spoofed\r\n"},
	{Name: "person", Head: "X-Forwarded-User: spoofed\r\nX-Remote-User: spoofed\r\nRemote-User: spoofed\r\nX-Auth-Request-Email: spoofed\r\nX-Goog-Authenticated-User-Email: spoofed\r\n"},
	{Name: "forwarded", Head: "Forwarded: for=127.0.0.1;by=spoofed;proto=https\r\nVia: 1.1 spoofed\r\nX-Forwarded-Proto: https\r\n"},

	{Name: "token as it was before a proxy", Head: "X-Forwarded-Authorization: Bearer {{TOKEN}}\r\nX-Original-Authorization: Bearer {{TOKEN}}\r\nX-Authorization: Bearer {{TOKEN}}\r\n"},
	{Name: "token for a proxy", Head: "Proxy-Authorization: Bearer {{TOKEN}}\r\n"},
	{Name: "token in a cookie", Head: "Cookie: Authorization=Bearer%20{{TOKEN}}; access_token={{TOKEN}}; token={{TOKEN}}\r\n"},
	{Name: "token in the query", Query: "?access_token={{TOKEN}}"},
	{Name: "token in a trailer", Head: "Trailer: Authorization\r\n", Trailer: good},
	{Name: "token in another spelling", Head: "Authorization_: Bearer {{TOKEN}}\r\nX-Api-Key: {{TOKEN}}\r\nMcp-Token: {{TOKEN}}\r\n"},

	{Name: "basic", Head: "Authorization: Basic {{BASIC}}\r\n"},
	{Name: "sender-constrained", Head: "Authorization: DPoP {{TOKEN}}\r\nDPoP: {{TOKEN}}\r\n"},
	{Name: "token alone", Head: "Authorization: {{TOKEN}}\r\n"},
	{Name: "scheme that begins alike", Head: "Authorization: Bearer2 {{TOKEN}}\r\n"},
	{Name: "tab for a space", Head: "Authorization: Bearer\t{{TOKEN}}\r\n"},
	{Name: "parameter", Head: "Authorization: Bearer token=\"{{TOKEN}}\"\r\n"},
	{Name: "quoted", Head: "Authorization: Bearer \"{{TOKEN}}\"\r\n"},
	{Name: "two in one", Head: "Authorization: Bearer {{TOKEN}}, Bearer {{TOKEN}}\r\n"},
	{Name: "other scheme first", Head: "Authorization: Basic {{BASIC}}, Bearer {{TOKEN}}\r\n"},
	{Name: "another behind", Head: "Authorization: Bearer {{TOKEN}} {{TOKEN}}\r\n"},
	{Name: "letter behind", Head: "Authorization: Bearer {{TOKEN}}x\r\n"},
	{Name: "comma behind", Head: "Authorization: Bearer {{TOKEN}},\r\n"},
	{Name: "byte behind", Head: "Authorization: Bearer {{TOKEN}}\xa0\r\n"},
	{Name: "letter missing", Head: "Authorization: Bearer x{{TOKEN}}\r\n"},
	{Name: "twice", Head: good + good},
	{Name: "twice in two spellings", Head: good + "authorization: Bearer {{TOKEN}}\r\n"},
	{Name: "beside another scheme", Head: good + "Authorization: Basic {{BASIC}}\r\n"},
	{Name: "of the other listener", Head: "Authorization: Bearer {{OTHER}}\r\n"},
}

// Beside are claims that come with a good token: the request is that of the token's
// holder, and nothing of the claims goes on to the server.
var Beside = []Spoof{
	{Name: "nothing else", Head: good},
	{Name: "Connection takes the token away", Head: good + "Connection: close, authorization\r\n"},
	{Name: "Connection takes all away", Head: good + "Connection: close, Authorization, Content-Type, X-Api-Key, Host, Cookie\r\nTE: spoofed\r\n"},
	{Name: "Proxy-Connection", Head: good + "Proxy-Connection: authorization, x-api-key\r\nKeep-Alive: spoofed\r\n"},
	{Name: "credential of the gateway", Head: good + "X-Api-Key: spoofed\r\nx-api-key: spoofed\r\n"},
	{Name: "empty token beside it", Head: "Authorization:\r\n" + good},
	{Name: "everything", Head: good + headsOf(Nobody[1:10])},
	{Name: "token elsewhere, too", Head: good + headsOf(Nobody[10:13]) + "X-Token: {{TOKEN}}\r\n"},
}

func headsOf(spoofs []Spoof) string {
	var b strings.Builder
	for _, s := range spoofs {
		b.WriteString(s.Head)
	}
	return b.String()
}

// Call is what every spoof asks for, of a tool that the policy allows to all.
const Call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_balance","arguments":{"account":"a"}}}`

// request is the spoof at a listener.
func (s *Spoof) request(host string, l *Listener) []byte {
	head := s.Head
	if !strings.Contains(head, "Connection: ") || strings.Contains(head, "Proxy-Connection: ") {
		head += "Connection: close\r\n"
	}
	body := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(Call), Call)
	if s.Trailer != "" {
		body = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n", len(Call), Call, s.Trailer)
	}
	text := "POST " + l.Path + s.Query + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n" +
		"Accept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2025-11-25\r\n" + head + body
	return []byte(strings.NewReplacer("{{TOKEN}}", l.token, "{{OTHER}}", l.other, "{{BASIC}}", l.basic(), "{{CERT}}", l.certificate).Replace(text))
}

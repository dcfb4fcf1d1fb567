package frames

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Case is one line of frames-dev.jsonl: what is sent, and what must become of
// it.
type Case struct {
	ID, Category, Transport, Why string

	RawBase64     string `json:"raw_base64"`
	RawHTTPBase64 string `json:"raw_http_base64"`
	Gen           *generated
	Headers       [][2]string
	HTTP          struct{ Method, Path string }
	Expected      string
	AlsoOK        []string `json:"also_ok"`
}

// generated is a frame too long to be written out.
type generated struct {
	PrefixB64    string `json:"prefix_b64"`
	Repeat       string
	Count        int
	SuffixB64    string `json:"suffix_b64"`
	SuffixRepeat string `json:"suffix_repeat"`
	SuffixCount  int    `json:"suffix_count"`
	TailB64      string `json:"tail_b64"`
	Template     bool
	Of           string
}

// Load reads the cases of a file. MCPERMIT_FRAMES names another one of the same
// form.
func Load(t *testing.T, name string) []Case {
	t.Helper()
	if other := os.Getenv("MCPERMIT_FRAMES"); other != "" {
		name = other
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []Case
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c Case
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	return cases
}

// Body is the JSON-RPC body, or the stdio line without its line break.
func (c *Case) Body(t *testing.T) []byte {
	t.Helper()
	if c.Gen != nil && c.Gen.Of != "raw_http" {
		return c.Gen.bytes(t)
	}
	return decode(t, c.RawBase64)
}

// Request is a whole HTTP request, addressed to the gateway at host and
// authorised by the token unless authorisation is what the case is about.
func (c *Case) Request(t *testing.T, host, token string) []byte {
	t.Helper()
	var raw []byte
	switch {
	case c.RawHTTPBase64 != "":
		raw = decode(t, c.RawHTTPBase64)
	case c.Gen != nil && c.Gen.Of == "raw_http":
		raw = c.Gen.bytes(t)
	default:
		return c.build(t, host, token)
	}
	_, port, _ := strings.Cut(host, ":")
	raw = bytes.ReplaceAll(raw, []byte("{{PORT}}"), []byte(port))
	return c.address(raw, token)
}

// address turns the request to the gateway's own path, with a token, and what
// is pipelined behind it as well.
func (c *Case) address(raw []byte, token string) []byte {
	line, rest, ok := bytes.Cut(raw, []byte("\r\n"))
	if !ok {
		return raw
	}
	if c.Category != "path" {
		line = bytes.Replace(line, []byte(" /mcp "), []byte(" /mcp/payments/ "), 1)
		line = bytes.Replace(line, []byte(" /mcp?"), []byte(" /mcp/payments/?"), 1)
	}
	out := append(bytes.Clone(line), "\r\n"...)
	if c.Category != "auth" {
		out = append(out, "Authorization: Bearer "+token+"\r\n"...)
	}
	if end := messageEnd(rest); end < len(rest) && bytes.HasPrefix(rest[end:], []byte("POST ")) {
		return append(append(out, rest[:end]...), c.address(rest[end:], token)...)
	}
	return append(out, rest...)
}

// messageEnd is where a message with one Content-Length ends; everything is
// the message where the framing is not as plain as that.
func messageEnd(headersAndBody []byte) int {
	head, _, ok := bytes.Cut(headersAndBody, []byte("\r\n\r\n"))
	length := regexp.MustCompile(`(?im)^content-length: (\d+)\r?$`).FindAllSubmatch(head, -1)
	if !ok || len(length) != 1 || bytes.Contains(bytes.ToLower(head), []byte("transfer-encoding")) {
		return len(headersAndBody)
	}
	n, err := strconv.Atoi(string(length[0][1]))
	if err != nil {
		return len(headersAndBody)
	}
	return min(len(headersAndBody), len(head)+4+n)
}

// build writes the HTTP request of a body case.
func (c *Case) build(t *testing.T, host, token string) []byte {
	t.Helper()
	body := c.Body(t)
	method := c.HTTP.Method
	if method == "" {
		method = "POST"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, "/mcp/payments/", host, token)
	for _, h := range c.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\nConnection: close\r\n\r\n", len(body))
	b.Write(body)
	return b.Bytes()
}

func (g *generated) bytes(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	b.Write(decode(t, g.PrefixB64))
	for i := range g.Count {
		part := g.Repeat
		if g.Template {
			part = strings.ReplaceAll(part, "{i}", strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	b.WriteString(strings.Repeat(g.SuffixRepeat, g.SuffixCount))
	b.Write(decode(t, g.TailB64))
	b.Write(decode(t, g.SuffixB64))
	return b.Bytes()
}

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// accepts says whether the outcome is what the case wants.
func (c *Case) accepts(outcome string) bool {
	return outcome == c.Expected || slices.Contains(c.AlsoOK, outcome)
}

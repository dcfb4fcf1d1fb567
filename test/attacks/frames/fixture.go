// Package frames has the attack cases, the upstream that records what it
// executes, and the judgement on what became of a case, for tests that send the
// cases through one gateway or another.
package frames

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// Fixture is a gateway in front of a server that is granted and one that is not.
type Fixture struct {
	*gateway.Gateway
	Trail *gateway.Trail
	Token string
	// Own says of the last answer that what stands in front of the enforcement
	// point gave it without asking, so that nothing is on record but what was
	// asked about before it. Nil: nothing stands there.
	Own func(c *Case, last []byte, records int) bool

	upstream *Recorder
}

// NewFixture has start start the gateway, with the policy of the directory.
func NewFixture(t *testing.T, policy string, start func(*gateway.Gateway)) *Fixture {
	t.Helper()
	upstream, admin := NewRecorder(t), NewRecorder(t)
	g := gateway.Prepare(t, gateway.Config{
		Policy: policy,
		Servers: map[string]any{
			"payments": map[string]any{"url": upstream.URL},
			"admin":    map[string]any{"url": admin.URL},
		},
		Extra: map[string]any{"audit": map[string]any{"fsync": "never"}},
	})
	start(g)
	f := &Fixture{Gateway: g, upstream: upstream}
	_, f.Token = g.Grant(t, "attacker", "payments")
	f.Trail = g.Trail(t)
	t.Cleanup(func() {
		if calls, other := admin.Take(); len(calls)+len(other) > 0 {
			t.Errorf("the server that is not granted was reached: %q %q", calls, other)
		}
	})
	return f
}

// Host is where the gateway listens.
func (f *Fixture) Host() string { return strings.TrimPrefix(f.URL, "http://") }

// Exchange writes raw bytes and reads until the gateway closes the connection,
// or, when it keeps it open, until an answer is complete or nothing comes for as
// long as patience says. With mustEnd that is an error.
func Exchange(t *testing.T, host string, request []byte, patience time.Duration, mustEnd bool) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = conn.Write(request) }() // the gateway may answer and close before it is read
	requests := max(1, bytes.Count(request, []byte(" HTTP/1.1\r\n")))
	var answer bytes.Buffer
	buf := make([]byte, 64<<10)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(buf)
		answer.Write(buf[:n])
		if requests == 1 && complete(answer.Bytes()) {
			return answer.Bytes()
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			if mustEnd {
				t.Fatalf("the connection is still open after %v", patience)
			}
			return answer.Bytes()
		}
		if err != nil {
			return answer.Bytes()
		}
	}
}

func complete(b []byte) bool {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return false
	}
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if strings.EqualFold(string(name), "Content-Length") {
			var n int
			_, err := fmt.Sscan(string(value), &n)
			return err == nil && len(body) >= n
		}
	}
	return bytes.HasSuffix(body, []byte("\r\n0\r\n\r\n"))
}

// Arrived is what the upstream executed since the last call of it. Anything
// else that it should not have got is an error.
func (f *Fixture) Arrived(t *testing.T) [][]byte {
	t.Helper()
	calls, other := f.upstream.Take()
	if len(other) > 0 {
		t.Errorf("the upstream got what it should not have: %q", other)
	}
	return calls
}

// CleanCall must pass after every case.
const CleanCall = `{"jsonrpc":"2.0","id":"clean","method":"tools/call","params":{"name":"get_balance","arguments":{"account":"a"}}}`

// StillWorks makes the clean call.
func (f *Fixture) StillWorks(t *testing.T) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, f.Endpoint("payments"), strings.NewReader(CleanCall))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + f.Token}, "Content-Type": {"application/json"},
		"Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"},
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if !bytes.Contains(body, []byte(`"text":"done"`)) {
		t.Errorf("the clean call afterwards: %s %s", res.Status, body)
	}
	f.Forget(t)
}

// Forget drops what the clean call left behind.
func (f *Fixture) Forget(t *testing.T) {
	t.Helper()
	if calls, _ := f.upstream.Take(); len(calls) != 1 || string(calls[0]) != CleanCall {
		t.Errorf("the clean call arrived as %q", calls)
	}
	f.Trail.Next(t)
}

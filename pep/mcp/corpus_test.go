package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
)

// attack is one case of test/attacks/frames-dev.jsonl.
type attack struct {
	ID        string
	Transport string
	Raw       []byte `json:"raw_base64"`
	RawHTTP   []byte `json:"raw_http_base64"`
	Gen       *struct {
		Prefix      []byte `json:"prefix_b64"`
		Repeat      string
		Count       int
		Suffix      []byte `json:"suffix_b64"`
		SuffixTimes string `json:"suffix_repeat"`
		SuffixCount int    `json:"suffix_count"`
		Tail        []byte `json:"tail_b64"`
		Of          string
	}
	Headers  [][2]string
	Why      string
	Expected string
	AlsoOK   []string `json:"also_ok"`
}

func (a attack) body() []byte {
	if a.Gen == nil {
		return a.Raw
	}
	g := a.Gen
	return slices.Concat(g.Prefix, bytes.Repeat([]byte(g.Repeat), g.Count),
		g.Suffix, bytes.Repeat([]byte(g.SuffixTimes), g.SuffixCount), g.Tail)
}

// request parses a whole HTTP request.
func (a attack) request(t *testing.T) (*http.Request, []byte) {
	t.Helper()
	raw := bytes.ReplaceAll(a.RawHTTP, []byte("{{PORT}}"), []byte("8700"))
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatalf("%s: %v", a.ID, err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatalf("%s: %v", a.ID, err)
	}
	return req, body
}

func allAttacks(t testing.TB) []attack {
	t.Helper()
	file, err := os.Open("../../test/attacks/frames-dev.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []attack
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a attack
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// attacks are the cases that are a body or a line.
func attacks(t testing.TB) []attack {
	return slices.DeleteFunc(allAttacks(t), func(a attack) bool { return a.Transport == "http-raw" })
}

// rawAttacks are the cases that are a whole HTTP request.
func rawAttacks(t testing.TB) []attack {
	return slices.DeleteFunc(allAttacks(t), func(a attack) bool { return a.Transport != "http-raw" || a.RawHTTP == nil })
}

// judge reads a case as the given transport does.
func (a attack) judge(transport string) *Fault {
	b := a.body()
	if transport == "http" {
		h := http.Header{}
		for _, pair := range a.Headers {
			h.Add(pair[0], pair[1])
		}
		return judgeHTTP(h, b)
	}
	if fault := CheckLine(b); fault != nil {
		return fault
	}
	_, fault := read(b, ToServer, Limits{})
	return fault
}

// whereElse names the cases that are refused, but not by this package: what
// they need to know is not in the frame.
var whereElse = map[string]string{
	"response-spoof-001": "a response that answers no pending request of the server: the proxy knows those",
	"response-spoof-007": "a response that answers no pending request of the server: the proxy knows those",
}

func TestI2_AttackFrames(t *testing.T) {
	var refused, passed, policy int
	for _, a := range attacks(t) {
		transports := []string{a.Transport}
		if a.Transport == "both" {
			transports = []string{"http", "stdio"}
		}
		for _, transport := range transports {
			fault := a.judge(transport)
			switch {
			case a.Expected == "reject" && !slices.Contains(a.AlsoOK, "deny"):
				if fault == nil && whereElse[a.ID] == "" {
					t.Errorf("%s over %s (%s): accepted", a.ID, transport, a.Why)
				}
				refused++
			case a.Expected == "allow-same-meaning":
				if fault != nil {
					t.Errorf("%s over %s (%s): %v", a.ID, transport, a.Why, fault)
				}
				passed++
			default:
				if fault != nil && !slices.Contains(append(a.AlsoOK, a.Expected), "reject") {
					t.Errorf("%s over %s (%s): refused, but it is the policy's: %v", a.ID, transport, a.Why, fault)
				}
				policy++
				if fault == nil {
					t.Logf("%s over %s: left to the policy: %s", a.ID, transport, a.Why)
				}
			}
		}
	}
	if refused == 0 || passed == 0 || policy == 0 {
		t.Fatalf("cases refused %d, passed %d, of the policy %d", refused, passed, policy)
	}
}

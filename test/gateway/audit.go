package gateway

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Record is what tests look at of an audit record.
type Record struct {
	Type       string
	DecisionID string `json:"decision_id"`
	Frame      struct {
		Method, Name, Kind string
		Bytes              int64
	}
	Subject    *struct{ ID string }
	Grant      string
	Server     string
	Effect     string
	ReasonCode string `json:"reason_code"`
	Reason     string
	Rules      []struct {
		Path, ID, File, Title string
		Line                  int
	}
	Fault     *struct{ Rule, Reason string }
	Arguments json.RawMessage
	Masked    []string
}

// Outcome is what tests look at of what became of an allowed frame.
type Outcome struct {
	Forwarded bool
	Status    int
	Bytes     int64
	Error     string
}

// Outcomes are those of the whole trail, by decision id. More than one for a
// decision is an error.
func (g *Gateway) Outcomes(t testing.TB) map[string]Outcome {
	t.Helper()
	out := map[string]Outcome{}
	tr := &Trail{dir: filepath.Join(g.StateDir, "audit"), read: map[string]int64{}}
	tr.each(t, func(line []byte) {
		var n struct {
			Type       string
			DecisionID string `json:"decision_id"`
			Outcome    Outcome
		}
		if err := json.Unmarshal(line, &n); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if n.Type != "outcome" {
			return
		}
		if _, twice := out[n.DecisionID]; twice {
			t.Errorf("a second outcome: %s", line)
		}
		out[n.DecisionID] = n.Outcome
	})
	return out
}

// Trail reads the audit segments of a state directory as they are on disk, so
// that a test sees what was durable before an answer was given.
type Trail struct {
	dir  string
	read map[string]int64
}

// Trail begins after what is in the trail now.
func (g *Gateway) Trail(t testing.TB) *Trail {
	t.Helper()
	tr := &Trail{dir: filepath.Join(g.StateDir, "audit"), read: map[string]int64{}}
	tr.Next(t)
	return tr
}

// All returns every decision record of the trail.
func (g *Gateway) All(t testing.TB) []Record {
	t.Helper()
	tr := &Trail{dir: filepath.Join(g.StateDir, "audit"), read: map[string]int64{}}
	return tr.Next(t)
}

// Next returns the decision records that were added since the last call.
func (tr *Trail) Next(t testing.TB) []Record {
	t.Helper()
	var out []Record
	tr.each(t, func(line []byte) {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Type == "record" {
			out = append(out, r)
		}
	})
	return out
}

// each hands over the lines that were added since the last call.
func (tr *Trail) each(t testing.TB, take func(line []byte)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tr.dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		end := bytes.LastIndexByte(b, '\n') + 1
		for line := range bytes.Lines(b[tr.read[name]:end]) {
			take(line)
		}
		tr.read[name] = int64(end)
	}
}

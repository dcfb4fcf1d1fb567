package cases

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/audit"
)

// trail reads the audit trail of a way as it is on disk.
type trail struct {
	dir      string
	read     map[string]int64
	outcomes map[string]*audit.Outcome // by decision id
}

func newTrail(state string) *trail {
	return &trail{dir: filepath.Join(state, "audit"), read: map[string]int64{}, outcomes: map[string]*audit.Outcome{}}
}

// next returns the records that were added since the last call, and files the
// outcomes.
func (tr *trail) next(t *testing.T) (out []*audit.Record) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(tr.dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		end := bytes.LastIndexByte(b, '\n') + 1
		for line := range bytes.Lines(b[tr.read[name]:end]) {
			r, err := audit.ParseRecord(bytes.TrimSpace(line))
			if err != nil {
				t.Fatalf("%s: %v: %s", name, err, line)
			}
			switch r.Type {
			case "record":
				out = append(out, r)
			case "outcome":
				tr.outcomes[r.DecisionID] = r.Outcome
			}
		}
		tr.read[name] = int64(end)
	}
	return out
}

// await waits until the outcomes of all allowed records are there: they come
// aside, and from Envoy with its access log.
func (tr *trail) await(t *testing.T, allowed []string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if len(tr.next(t)) > 0 {
			t.Error("a record was written after its answer had been given")
		}
		if !slices.ContainsFunc(allowed, func(id string) bool { return tr.outcomes[id] == nil }) {
			return
		}
	}
}

// render writes a record and its outcome as the golden file has them.
func render(t *testing.T, r *audit.Record, o *audit.Outcome) string {
	t.Helper()
	c := *r
	recordByNature(&c)
	b, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("record " + string(b) + "\n")
	if r.Effect != "allow" && o == nil {
		return text.String()
	}
	if o == nil {
		return text.String() + "outcome none\n"
	}
	short := *o
	outcomeByNature(&short)
	if b, err = json.Marshal(short); err != nil {
		t.Fatal(err)
	}
	return text.String() + "outcome " + string(b) + "\n"
}

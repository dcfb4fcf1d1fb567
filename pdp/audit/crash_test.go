package audit

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// witnessDir makes the test binary a writer of the trail in that directory, which
// prints the id of each record once it is acknowledged.
const witnessDir = "MCPERMIT_AUDIT_WITNESS"

func witness(dir string) {
	l, err := Open(Options{Dir: dir, SegmentBytes: 40 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex // one line at a time
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				r := testRecord(i)
				r.DecisionID = fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				if err := l.Record(context.Background(), r); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				l.Outcome(r.DecisionID, Outcome{Forwarded: true})
				mu.Lock()
				fmt.Println(r.DecisionID)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// A writer is killed again and again in the middle of writing. Whatever it had
// acknowledged is there afterwards, once, and the chain is whole.
func TestI5_KillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	const kills = 30
	for round := range kills {
		for _, id := range killedWriter(t, dir, 5+3*round) {
			acknowledged[id] = true
		}
	}
	l := openLog(t, Options{Dir: dir}, nil)
	defer l.Close()
	report := mustVerify(t, l)
	seen := map[string]int{}
	for _, r := range query(t, l, Filter{}, 0) {
		seen[r.DecisionID]++
	}
	for id := range acknowledged {
		if seen[id] != 1 {
			t.Errorf("acknowledged record %s is there %d times", id, seen[id])
		}
	}
	if len(acknowledged) < kills {
		t.Errorf("only %d records were acknowledged in %d rounds", len(acknowledged), kills)
	}
	t.Logf("%d kills, %d acknowledged, %d records in the trail, %d repairs", kills, len(acknowledged), report.Records, len(report.Repairs))
}

// killedWriter runs a witness until it has acknowledged so many records, kills it,
// and returns all that it had acknowledged.
func killedWriter(t *testing.T, dir string, after int) (ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), witnessDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // the pipe's end; an id without its line feed was not all printed
			break
		}
		if ids = append(ids, strings.TrimSpace(line)); len(ids) == after {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if len(ids) < after {
		t.Fatalf("the writer ended by itself after %d records: %s", len(ids), stderr.String())
	}
	return ids
}

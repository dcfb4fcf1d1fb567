package attacks

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI2_Stdio sends every case that has a line through `mcpermit-pep stdio`,
// all through one process: one bad line must not end the conversation.
func TestI2_Stdio(t *testing.T) {
	f := newFixture(t)
	client := f.connect(t)
	for _, c := range loadCases(t) {
		if c.Transport != "both" && c.Transport != "stdio" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			client.send(t, c.body(t))
			// The clean call's answer is the sign that the case is done with.
			client.send(t, []byte(cleanCall))
			answers := client.until(t, `"id":"clean"`)
			f.judgeStdio(t, &c, answers)
		})
	}
}

// judgeStdio takes the clean call, which follows the case in the same
// conversation, out of what is judged.
func (f *fixture) judgeStdio(t *testing.T, c *testCase, answers [][]byte) {
	t.Helper()
	records := f.trail.Next(t)
	// The two were decided at the same time: the case may be the later one.
	for deadline := time.Now().Add(time.Second); len(records) < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		records = append(records, f.trail.Next(t)...)
	}
	calls, other := f.upstream.take()
	if len(other) > 0 {
		t.Errorf("the upstream got what it should not have: %q", other)
	}
	clean := 0
	calls = dropOne(calls, func(b []byte) bool { return string(b) == cleanCall }, &clean)
	if clean != 1 || !bytes.Contains(answers[len(answers)-1], []byte(`"text":"done"`)) {
		t.Errorf("the clean call afterwards arrived %d times and was answered %q", clean, answers[len(answers)-1])
	}
	n := 0
	records = dropOne(records, func(r gateway.Record) bool {
		return r.Frame.Bytes == int64(len(cleanCall)) && r.Effect == "allow"
	}, &n)
	answer := bytes.Join(answers[:len(answers)-1], []byte("\n"))
	outcome := classify(t, c, answer, records)
	if !c.accepts(outcome) {
		t.Errorf("%s: came out as %s, want %s or %v\nanswer: %.600q\nrecords: %+v", c.Why, outcome, c.Expected, c.AlsoOK, answer, records)
	}
	if outcome != allowed && len(calls) > 0 {
		t.Errorf("UNEXPECTED EXECUTION: the upstream executed %q", calls)
	}
	if outcome == allowed {
		for _, call := range calls {
			sameMeaning(t, records[0], call)
		}
	}
}

// dropOne returns the elements without the last that matches.
func dropOne[E any](s []E, match func(E) bool, dropped *int) []E {
	for i := len(s) - 1; i >= 0; i-- {
		if match(s[i]) {
			*dropped++
			return append(s[:i:i], s[i+1:]...)
		}
	}
	return s
}

// conversation is a client's end of `mcpermit-pep stdio`.
type conversation struct {
	in  io.WriteCloser
	out chan []byte
}

func (f *fixture) connect(t *testing.T) *conversation {
	t.Helper()
	cmd := exec.Command(gateway.Program(t, "mcpermit-pep"), "stdio", "-c", f.ConfigFile, "--pdp", f.PDP, "--server", "payments")
	cmd.Env = []string{"MCPERMIT_TOKEN=" + f.token, "PATH=/usr/bin:/bin"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &conversation{in: in, out: make(chan []byte, 16)}
	go func() {
		defer close(c.out)
		lines := bufio.NewReaderSize(out, 1<<20)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			c.out <- bytes.TrimSuffix(line, []byte("\n"))
		}
	}()
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("mcpermit-pep stdio: %v\n%s", err, stderr.String())
		}
	})
	return c
}

func (c *conversation) send(t *testing.T, line []byte) {
	t.Helper()
	if _, err := c.in.Write(append(bytes.Clone(line), '\n')); err != nil {
		t.Fatal(err)
	}
}

// until reads lines up to and including the first that contains the mark.
func (c *conversation) until(t *testing.T, mark string) [][]byte {
	t.Helper()
	var out [][]byte
	for timeout := time.After(10 * time.Second); ; {
		select {
		case line, ok := <-c.out:
			if !ok {
				t.Fatalf("the conversation ended after %q", out)
			}
			out = append(out, line)
			if bytes.Contains(line, []byte(mark)) {
				return out
			}
		case <-timeout:
			t.Fatalf("no answer with %s, only %q", mark, out)
		}
	}
}

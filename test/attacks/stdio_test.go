package attacks

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/attacks/frames"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI2_Stdio sends every case that has a line through `mcpermit-pep stdio`,
// all through one process: one bad line must not end the conversation.
func TestI2_Stdio(t *testing.T) {
	f := newFixture(t)
	client := connect(t, f)
	for _, c := range frames.Load(t, "frames-dev.jsonl") {
		if c.Transport != "both" && c.Transport != "stdio" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			client.send(t, c.Body(t))
			records, calls := settled(t, f)
			// One bad line must not have ended the conversation.
			client.send(t, []byte(frames.CleanCall))
			answers := client.until(t, `"id":"clean"`)
			if last := answers[len(answers)-1]; !bytes.Contains(last, []byte(`"text":"done"`)) {
				t.Errorf("the clean call afterwards was answered %q", last)
			}
			f.Forget(t)
			f.Judge(t, &c, bytes.Join(answers[:len(answers)-1], []byte("\n")), records, calls)
		})
	}
}

// settled waits until the case is decided, and executed where it is allowed.
func settled(t *testing.T, f *frames.Fixture) (records []gateway.Record, calls [][]byte) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		records = append(records, f.Trail.Next(t)...)
		calls = append(calls, f.Arrived(t)...)
		allows := 0
		for _, r := range records {
			if r.Effect == "allow" && r.Frame.Method == "tools/call" {
				allows++
			}
		}
		if len(records) > 0 && len(calls) >= allows {
			break
		}
	}
	return records, calls
}

// conversation is a client's end of `mcpermit-pep stdio`.
type conversation struct {
	in  io.WriteCloser
	out chan []byte
}

func connect(t *testing.T, f *frames.Fixture) *conversation {
	t.Helper()
	cmd := exec.Command(gateway.Program(t, "mcpermit-pep"), "stdio", "-c", f.ConfigFile, "--pdp", f.PDP, "--server", "payments")
	cmd.Env = []string{"MCPERMIT_TOKEN=" + f.Token, "PATH=/usr/bin:/bin"}
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

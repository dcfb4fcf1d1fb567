package stdio

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// asChild makes the test binary a server on its standard streams.
const asChild = "MCPERMIT_TEST_STDIO_SERVER"

func TestMain(m *testing.M) {
	switch os.Getenv(asChild) {
	case "":
		goleak.VerifyTestMain(m)
	case "grandchild":
		fmt.Println() // the parent waits for it
		time.Sleep(time.Hour)
	case "gateway":
		runGateway()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		serveStandardStreams()
		time.Sleep(time.Hour)
	default:
		serveStandardStreams()
	}
}

func serveStandardStreams() {
	s := &fakeServer{in: os.Stdin, out: os.Stdout, stderr: os.Stderr, exit: os.Exit}
	s.serve()
}

// fakeServer is an MCP server on two streams that does what the name of the
// called tool says. The same code runs in a child process and on pipes.
type fakeServer struct {
	in          io.Reader
	out, stderr io.Writer
	exit        func(int)
	legacyOnly  bool // answers server/discover as servers before 2026-07-28 do
	mute        bool // never answers server/discover

	onCall func(incoming) // takes tool calls in place of call

	mu       sync.Mutex
	asked    int
	waiting  map[string]json.RawMessage // request of the server -> id of the call that wants its answer
	held     []json.RawMessage          // ids of calls that wait for release
	frames   []string                   // that arrived
	sessions int                        // initialize requests
}

// tools are what a client may find out about the fakeServer.
var tools = []string{tool("echo"), tool("ask"), tool("crash"), tool("pid")}

func tool(name string) string {
	return fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, name)
}

type incoming struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name            string          `json:"name"`
		Arguments       json.RawMessage `json:"arguments"`
		ProtocolVersion string          `json:"protocolVersion"`
		RequestID       json.RawMessage `json:"requestId"`
		Meta            struct {
			ProgressToken json.RawMessage `json:"progressToken"`
			Version       string          `json:"io.modelcontextprotocol/protocolVersion"`
		} `json:"_meta"`
	} `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// serve runs until the input ends.
func (s *fakeServer) serve() {
	s.waiting = map[string]json.RawMessage{}
	lines := bufio.NewScanner(s.in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		s.mu.Lock()
		s.frames = append(s.frames, lines.Text())
		s.mu.Unlock()
		var m incoming
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			s.print(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}`)
			continue
		}
		s.handle(m)
	}
}

func (s *fakeServer) print(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *fakeServer) result(id json.RawMessage, result string) {
	s.print(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func (s *fakeServer) text(m incoming, text string) {
	b, _ := json.Marshal(text)
	kind := ""
	if m.Params.Meta.Version != "" {
		kind = `,"resultType":"complete"`
	}
	s.result(m.ID, fmt.Sprintf(`{"content":[{"type":"text","text":%s}]%s}`, b, kind))
}

func (s *fakeServer) handle(m incoming) {
	switch m.Method {
	case "":
		s.answered(m)
	case "initialize":
		s.mu.Lock()
		s.sessions++
		s.mu.Unlock()
		s.result(m.ID, fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{},"serverInfo":{"name":"fake","version":"%d"}}`, m.Params.ProtocolVersion, os.Getpid()))
	case "server/discover":
		switch {
		case s.mute:
		case s.legacyOnly:
			s.print(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID)
		default:
			s.result(m.ID, `{"resultType":"complete","supportedVersions":["2026-07-28"]}`)
		}
	case "subscriptions/listen":
		s.print(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%s},"notifications":{}}}`, m.ID)
	case "tools/list":
		s.result(m.ID, `{"tools":[`+strings.Join(tools, ",")+`]}`)
	case "tools/call":
		if s.onCall != nil {
			s.onCall(m)
			return
		}
		s.call(m)
	case "resources/subscribe", "resources/unsubscribe", "ping":
		s.result(m.ID, `{}`)
	case "notifications/initialized", "notifications/cancelled", "notifications/custom":
	default:
		s.print(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID)
	}
}

func (s *fakeServer) call(m incoming) {
	switch m.Params.Name {
	case "echo":
		s.result(m.ID, fmt.Sprintf(`{"content":[],"structuredContent":%s}`, m.Params.Arguments))
	case "pid":
		s.text(m, strconv.Itoa(os.Getpid()))
	case "env":
		s.text(m, strings.Join(os.Environ(), "\n"))
	case "args":
		s.text(m, strings.Join(os.Args[1:], "\n"))
	case "dir":
		dir, _ := os.Getwd()
		s.text(m, dir)
	case "silent":
	case "progress": // two messages, then the answer
		for i := 1; i <= 2; i++ {
			s.print(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, m.Params.Meta.ProgressToken, i)
		}
		s.text(m, "done")
	case "progress-and-wait":
		s.print(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.Params.Meta.ProgressToken)
	case "progress-and-crash":
		s.print(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.Params.Meta.ProgressToken)
		s.exit(3)
	case "crash":
		s.exit(3)
	case "garbage":
		s.print(`Listening on stdio`)
	case "json-but-no-frame":
		s.print(`{"level":"info","msg":"on the wrong stream"}`)
		s.text(m, "still here")
	case "ambiguous": // answers in a way that two readers could take for two answers
		s.print(`{"jsonrpc":"2.0","id":%s,"result":{"content":[]},"result":{"content":[1]}}`, m.ID)
	case "long-line":
		s.print(`{"jsonrpc":"2.0","id":%s,"result":{"content":"%s"}}`, m.ID, strings.Repeat("x", 1<<20))
	case "notify":
		var notice struct{ Frame string }
		_ = json.Unmarshal(m.Params.Arguments, &notice)
		s.print("%s", notice.Frame)
		s.text(m, "sent")
	case "ask":
		s.mu.Lock()
		s.asked++
		id := fmt.Sprintf(`"q%d"`, s.asked)
		s.waiting[id] = m.ID
		s.mu.Unlock()
		s.print(`{"jsonrpc":"2.0","id":%s,"method":"roots/list"}`, id)
	case "hold":
		s.mu.Lock()
		s.held = append(s.held, m.ID)
		s.mu.Unlock()
	case "release":
		s.mu.Lock()
		held := s.held
		s.held = nil
		s.mu.Unlock()
		for _, id := range held {
			s.result(id, `{"content":[]}`)
		}
		s.text(m, "released")
	case "grandchild":
		s.grandchild(m)
	default:
		s.print(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"unknown tool"}}`, m.ID)
	}
}

// answered hands the client's answer to the call that asked for it.
func (s *fakeServer) answered(m incoming) {
	s.mu.Lock()
	call, ok := s.waiting[string(m.ID)]
	delete(s.waiting, string(m.ID))
	s.mu.Unlock()
	if ok {
		s.result(call, fmt.Sprintf(`{"content":[],"structuredContent":{"answer":%s}}`, firstOf(m.Result, m.Error)))
	}
}

func firstOf(a, b json.RawMessage) json.RawMessage {
	if a != nil {
		return a
	}
	return b
}

// grandchild starts a process that ignores the end of its input and holds the
// output open.
func (s *fakeServer) grandchild(m incoming) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asChild+"=grandchild")
	cmd.Stderr = os.Stderr
	r, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = r.Read(make([]byte, 1))
	}
	if err != nil {
		s.text(m, err.Error())
		return
	}
	s.text(m, strconv.Itoa(cmd.Process.Pid))
}

var errFake = errors.New("the fake process ended")

// fakes starts fake processes on pipes and keeps account of them.
type fakes struct {
	mu      sync.Mutex
	started []*fakeServer
	times   []time.Time
	fail    error // of the next starts
	setUp   func(*fakeServer)
	extra   []environment // with which they were started
}

func (f *fakes) start(extra environment) (*process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.extra = append(f.extra, extra)
	f.times = append(f.times, time.Now())
	if f.fail != nil {
		return nil, f.fail
	}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	errR, errW := io.Pipe()
	gone := make(chan struct{})
	die := sync.OnceFunc(func() {
		inR.CloseWithError(errFake)
		outW.Close()
		errW.Close()
		close(gone)
	})
	s := &fakeServer{in: inR, out: outW, stderr: errW, exit: func(int) { die() }}
	if f.setUp != nil {
		f.setUp(s)
	}
	f.started = append(f.started, s)
	go func() {
		s.serve()
		die()
	}()
	return &process{stdin: inW, stdout: outR, stderr: errR, terminate: die, kill: die, gone: gone, pid: 1000 + len(f.started)}, nil
}

func (f *fakes) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.started)
}

// received are the frames that the nth process got, 0 the first, when all that
// is under way has come to rest.
func (f *fakes) received(n int) []string {
	synctest.Wait()
	f.mu.Lock()
	s := f.started[n]
	f.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.frames...)
}

// realOptions start the test binary as a server.
func realOptions(mode string) ChildOptions {
	return ChildOptions{
		Command: []string{os.Args[0]}, Env: []string{asChild + "=" + mode},
		Grace: 5 * time.Second, Logger: quietLog,
	}
}

// runGateway is the gateway of TestProcessDiesWithTheGateway.
func runGateway() {
	c := NewChild(realOptions("stubborn"))
	if err := c.Start(context.Background()); err != nil {
		panic(err)
	}
	for _, s := range c.slots {
		fmt.Println(s.link.proc.pid)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

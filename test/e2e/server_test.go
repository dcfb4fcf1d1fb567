package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// server is one real server, with what policies/<name>.rego says of it.
type server struct {
	name string
	// eras that it speaks, as protocol versions.
	eras []string
	// Either url, with the process behind it, or command and directory.
	url     string
	command []string

	// tools that its listing holds for every client, hidden ones included.
	tools []string
	// listed is what policy leaves of them.
	listed []string
	// allowed calls pass; the answer's text contains what is given.
	allowed []expectation
	// denied calls are answered with the reason.
	denied []expectation
	// refused is a call that policy denies whatever its arguments are: the tool
	// is not listed, yet the caller is told why. Not every server has one.
	refused []expectation
	// hidden is a tool that exists and that policy hides.
	hidden operation
}

// expectation is a call and a part of the text that answers it.
type expectation struct {
	operation
	text string
	// mirrored: in 2026-07-28 the call needs an Mcp-Param-* header.
	mirrored bool
}

func call(name string, arguments map[string]any) operation {
	if arguments == nil {
		arguments = map[string]any{}
	}
	return operation{Op: "call", Name: name, Arguments: arguments}
}

func answers(op operation, text string) expectation { return expectation{operation: op, text: text} }

func (s server) speaks(version string) bool { return slices.Contains(s.eras, version) }

// direct is how a client reaches the server without a gateway.
func (s server) direct() target { return target{URL: s.url, Command: s.command} }

// configuration is the server as mcpermit.yaml has it.
func (s server) configuration() map[string]any {
	if s.url != "" {
		return map[string]any{"url": s.url}
	}
	return map[string]any{"command": s.command}
}

// servers is all of them, running.
type servers struct {
	all       []server
	files     string // the directory of the filesystem server
	processes []*process
	// logs are those of the servers in servers/, which say what they executed.
	logs map[string]*output
}

func (f *servers) stop() {
	for _, p := range f.processes {
		p.stop()
	}
}

// startServers starts the HTTP servers and describes all. Servers over stdio
// are started by whoever talks to them; their data lie in work.
func startServers(work string) (*servers, error) {
	files, repository, err := prepareData(work)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	f := &servers{files: files, logs: map[string]*output{}}
	start := func(name string, port int, env []string, command ...string) {
		if err != nil {
			return
		}
		var p *process
		if p, err = spawn(name, env, command...); err != nil {
			return
		}
		f.processes = append(f.processes, p)
		f.logs[name] = p.log
		err = p.listening("127.0.0.1:" + strconv.Itoa(port))
	}
	everything := installed.NodeModule("@modelcontextprotocol/server-everything", "dist/index.js")
	port := func(i int) string { return strconv.Itoa(ports[i]) }
	start("everything-http", ports[0], []string{"PORT=" + port(0)}, installed.Node, everything, "streamableHttp")
	start("go-stateless", ports[1], nil, installed.GoProgram("everything-server"), "-http=127.0.0.1:"+port(1), "-stateless=true")
	start("go-stateful", ports[2], nil, installed.GoProgram("everything-server"), "-http=127.0.0.1:"+port(2), "-stateless=false")
	start("python", ports[3], nil, installed.Python, "servers/python_server.py", "--port", port(3))
	start("typescript-v2", ports[4], nil, installed.Node, scripts["typescript_v2_server.mjs"], "--port", port(4))
	start("mcp-go", ports[5], nil, program("mcpgo"), "-port", port(5))
	if err != nil {
		f.stop()
		return nil, err
	}
	url := func(i int, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", ports[i], path) }
	f.all = []server{
		everythingServer("everything-http").at(url(0, "/mcp")),
		everythingServer("everything-stdio").run(installed.Node, everything, "stdio"),
		filesystemServer(files).run(installed.Node, installed.NodeModule("@modelcontextprotocol/server-filesystem", "dist/index.js"), files),
		gitServer(repository).run(installed.Python, "-m", "mcp_server_git"),
		timeServer().run(installed.Python, "-m", "mcp_server_time", "--local-timezone", "UTC"),
		goServer("go-stateless", legacyVersion, modernVersion).at(url(1, "/")),
		goServer("go-stateful", legacyVersion).at(url(2, "/")),
		addingServer("python").at(url(3, "/mcp")),
		addingServer("typescript-v2").at(url(4, "/mcp")),
		addingServer("mcp-go").at(url(5, "/mcp")),
	}
	return f, nil
}

func (s server) at(url string) server         { s.url = url; return s }
func (s server) run(command ...string) server { s.command = command; return s }

// prepareData makes a directory with files and a git repository.
func prepareData(work string) (files, repository string, err error) {
	files, repository = filepath.Join(work, "files"), filepath.Join(work, "repository")
	for _, dir := range []string{files, repository} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", "", err
		}
	}
	for name, text := range map[string]string{"notes.txt": "remember the milk\n", "secret.txt": "hunter2\n"} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o644); err != nil {
			return "", "", err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet"},
		{"-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "--quiet", "--allow-empty", "-m", "the first commit"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", repository}, args...)...).CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return files, repository, nil
}

func everythingServer(name string) server {
	return server{
		name: name, eras: []string{legacyVersion},
		tools:  []string{"echo", "get-env", "get-sum", "trigger-long-running-operation"},
		listed: []string{"echo", "get-structured-content", "get-sum"},
		allowed: []expectation{
			answers(call("echo", map[string]any{"message": "grüße 🐫"}), "Echo: grüße 🐫"),
			answers(call("get-sum", map[string]any{"a": 2, "b": 40}), "42"),
			answers(call("get-structured-content", map[string]any{"location": "Chicago"}), "temperature"),
		},
		denied: []expectation{
			answers(call("get-sum", map[string]any{"a": 987654321, "b": 1}), "Sums above 1000 are for people."),
			// Its output schema must not keep a client from reading the refusal.
			answers(call("get-structured-content", map[string]any{"location": "New York"}), "No weather of New York."),
		},
		refused: []expectation{
			answers(call("trigger-long-running-operation", map[string]any{"duration": 1, "steps": 1}), "Long runs are for people."),
		},
		hidden: call("get-env", nil),
	}
}

func filesystemServer(dir string) server {
	return server{
		name: "filesystem", eras: []string{legacyVersion},
		tools:  []string{"list_directory", "read_text_file", "write_file"},
		listed: []string{"list_directory", "read_text_file"},
		allowed: []expectation{
			answers(call("read_text_file", map[string]any{"path": filepath.Join(dir, "notes.txt")}), "remember the milk"),
			answers(call("list_directory", map[string]any{"path": dir}), "notes.txt"),
		},
		denied: []expectation{
			answers(call("read_text_file", map[string]any{"path": filepath.Join(dir, "secret.txt")}), "Secrets are not read."),
		},
		hidden: call("write_file", map[string]any{"path": filepath.Join(dir, "new.txt"), "content": "x"}),
	}
}

func gitServer(repository string) server {
	log := func(count int) operation {
		return call("git_log", map[string]any{"repo_path": repository, "max_count": count})
	}
	return server{
		name: "git", eras: []string{legacyVersion, modernVersion},
		tools:  []string{"git_log", "git_reset", "git_status"},
		listed: []string{"git_log", "git_status"},
		allowed: []expectation{
			answers(log(3), "the first commit"),
			answers(call("git_status", map[string]any{"repo_path": repository}), "nothing to commit"),
		},
		denied: []expectation{answers(log(987654321), "At most ten commits.")},
		hidden: call("git_reset", map[string]any{"repo_path": repository}),
	}
}

func timeServer() server {
	in := func(zone string) operation { return call("get_current_time", map[string]any{"timezone": zone}) }
	return server{
		name: "time", eras: []string{legacyVersion, modernVersion},
		tools:   []string{"convert_time", "get_current_time"},
		listed:  []string{"get_current_time"},
		allowed: []expectation{answers(in("UTC"), `"timezone": "UTC"`)},
		denied:  []expectation{answers(in("Europe/London"), "Only UTC is told.")},
		hidden: call("convert_time", map[string]any{
			"source_timezone": "UTC", "time": "12:00", "target_timezone": "Europe/London",
		}),
	}
}

func goServer(name string, eras ...string) server {
	contact := func(who string) operation {
		return call("json_schema_2020_12_tool", map[string]any{"name": who, "contactMethod": "phone", "phone": "1"})
	}
	return server{
		name: name, eras: eras,
		tools:  []string{"json_schema_2020_12_tool", "test_error_handling", "test_simple_text", "test_x_mcp_header"},
		listed: []string{"json_schema_2020_12_tool", "test_simple_text", "test_x_mcp_header"},
		allowed: []expectation{
			answers(call("test_simple_text", nil), "This is a simple text response for testing."),
			answers(contact("Ada"), `"name":"Ada"`),
			// In 2026-07-28 the argument is mirrored into Mcp-Param-Region.
			{operation: call("test_x_mcp_header", map[string]any{"region": "eu"}), text: "region=eu", mirrored: true},
		},
		denied: []expectation{answers(contact("Mallory"), "Only Ada is contacted.")},
		hidden: call("test_error_handling", nil),
	}
}

// addingServer is one of those in servers/.
func addingServer(name string) server {
	return server{
		name: name, eras: []string{legacyVersion, modernVersion},
		tools:   []string{"add", "wipe"},
		listed:  []string{"add"},
		allowed: []expectation{answers(call("add", map[string]any{"a": 2, "b": 40}), "42")},
		denied:  []expectation{answers(call("add", map[string]any{"a": 987654321, "b": 1}), "Sums above 1000 are for people.")},
		hidden:  call("wipe", nil),
	}
}

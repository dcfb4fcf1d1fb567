package cases

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// corpusFile is one file of the corpus. README.md describes every member.
type corpusFile struct {
	Policy      string            `yaml:"policy"`
	Attachments map[string]string `yaml:"attachments"` // Rego by name, for all files
	Server      map[string]string `yaml:"server"`      // listings by method
	Secrets     []secret          `yaml:"secrets"`     // for all files

	Decisions     []testCase `yaml:"decisions"`
	Conversations []testCase `yaml:"conversations"`
}

// testCase is one decision or one conversation.
type testCase struct {
	Name string `yaml:"name"`
	Why  string `yaml:"why"`

	// Of a decision.
	decision `yaml:",inline"`

	// Of a conversation.
	Headers     map[string]string     `yaml:"headers"` // credentials of the gateway at the server
	Credentials map[string]configured `yaml:"credentials"`
	Credential  string                `yaml:"credential"` // of those, where the policy chooses none
	Trusted     bool                  `yaml:"trusted"`    // what the server says of its tools is believed
	Steps       []step                `yaml:"steps"`

	// Differs names, for a way, the differences on which its answers may go
	// their own way; see differences_test.go.
	Differs map[string]string `yaml:"differs"`

	file, server string
	listings     map[string]string
}

// decision is the short form of a conversation of one frame.
type decision struct {
	As     string   `yaml:"as"`
	Frame  string   `yaml:"frame"`
	Status int      `yaml:"status"`
	Effect string   `yaml:"effect"`
	Code   string   `yaml:"code"`
	Fault  string   `yaml:"fault"` // instead of a reason
	Reason string   `yaml:"reason"`
	Rules  []string `yaml:"rules"` // their ids
	Masked []string `yaml:"masked"`
}

// step is one request of a client, what the server answers, and what has to
// become of it.
type step struct {
	Post   *string `yaml:"post"`
	Get    bool    `yaml:"get"`
	Delete bool    `yaml:"delete"`
	Method string  `yaml:"method"` // another one, without a body

	As      string            `yaml:"as"`
	Path    string            `yaml:"path"`
	Host    string            `yaml:"host"`
	Headers map[string]values `yaml:"headers"`
	Pad     int               `yaml:"pad"`
	Chunked bool              `yaml:"chunked"`

	Answer *answer `yaml:"answer"`
	Expect expect  `yaml:"expect"`

	// In place of a request: the console's people decide on the approval that
	// the step before has in its record.
	Approve bool   `yaml:"approve"`
	Refuse  string `yaml:"refuse"` // with this reason
}

// answer is what the server answers to a step instead of its ordinary answer.
type answer struct {
	Status   int               `yaml:"status"`
	Headers  map[string]values `yaml:"headers"`
	Body     string            `yaml:"body"`
	Events   []string          `yaml:"events"`
	Pad      int               `yaml:"pad"`
	Gzip     bool              `yaml:"gzip"`
	Pieces   int               `yaml:"pieces"`
	Cuts     bool              `yaml:"cuts"`
	Trailers map[string]string `yaml:"trailers"`
	Break    bool              `yaml:"break"`
	Stays    bool              `yaml:"stays"`
}

// expect is what the author of a case says by hand; the golden file has all.
type expect struct {
	Status  int      `yaml:"status"`
	Effect  string   `yaml:"effect"`
	Code    string   `yaml:"code"`
	Has     []string `yaml:"has"`
	Lacks   []string `yaml:"lacks"`
	Reaches *bool    `yaml:"reaches"`
	Got     []string `yaml:"got"`  // texts of what the server got
	Like    int      `yaml:"like"` // the step whose answer is the same but for what the frame names
}

// values of a header: one, several, or none for "not sent".
type values []string

// UnmarshalYAML reads a string, a list of strings, or null.
func (v *values) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Load((*[]string)(v))
	}
	*v = values{}
	if n.Tag != "!!null" {
		*v = values{n.Value}
	}
	return nil
}

var caseName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// loadCorpus reads every file of the corpus.
func loadCorpus(t *testing.T) (files []*corpusFile, cases []*testCase) {
	t.Helper()
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	seen := map[string]bool{}
	for _, name := range names {
		if name == grantsFile {
			continue
		}
		f := new(corpusFile)
		loadYAML(t, name, f)
		base := strings.TrimSuffix(name, ".yaml")
		for i := range f.Decisions {
			c := &f.Decisions[i]
			if c.Effect == "" {
				t.Fatalf("%s: %s: a decision has an effect", name, c.Name)
			}
			c.server = serverPrefix + base // decisions leave nothing behind, so that they share a server
			c.Steps = []step{{Post: &c.Frame, As: c.As, Expect: expect{Status: c.Status}}}
			cases = append(cases, c)
		}
		for i := range f.Conversations {
			c := &f.Conversations[i]
			c.server = serverPrefix + c.Name
			cases = append(cases, c)
		}
		files = append(files, f)
		for _, c := range cases[len(seen):] {
			c.file, c.listings = base, f.Server
			if seen[c.Name] {
				t.Fatalf("%s: the name %s is there twice", name, c.Name)
			}
			seen[c.Name] = true
			if err := c.check(); err != nil {
				t.Fatalf("%s: %s: %v", name, c.Name, err)
			}
		}
	}
	return files, cases
}

func loadYAML(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(b, into, yaml.WithKnownFields()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func (c *testCase) check() error {
	if !caseName.MatchString(c.Name) || len(c.server) > 63 {
		return fmt.Errorf("a name is 1 to %d of a-z, 0-9 and -", 63-len(serverPrefix))
	}
	if len(c.Steps) == 0 {
		return fmt.Errorf("there are no steps")
	}
	for way, name := range c.Differs {
		if _, known := differences[name]; !known || way != "envoy" {
			return fmt.Errorf("%s: %s is not a documented difference", way, name)
		}
	}
	for i := range c.Steps {
		s := &c.Steps[i]
		if s.Approve || s.Refuse != "" {
			if i == 0 {
				return fmt.Errorf("step 1: there is nothing to decide on yet")
			}
			continue
		}
		if s.Expect.Status == 0 && c.Effect == "" {
			return fmt.Errorf("step %d: expect.status is missing", i+1)
		} else if s.Expect.Like > i || s.Expect.Like < 0 {
			return fmt.Errorf("step %d: expect.like is no step before it", i+1)
		}
	}
	return nil
}

// serverPrefix keeps names of servers apart from every other word of a case.
const serverPrefix = "case-"

// writePolicies writes the policy of each server into one directory: the
// policies of all cases are in force at once, each for its own server.
func writePolicies(t *testing.T, files []*corpusFile) (dir string) {
	t.Helper()
	dir = t.TempDir()
	written := map[string]bool{}
	for _, f := range files {
		for _, c := range append(f.Decisions[:len(f.Decisions):len(f.Decisions)], f.Conversations...) {
			if written[c.server] {
				continue
			}
			written[c.server] = true
			text := strings.ReplaceAll(f.Policy, "policy.servers.SERVER", fmt.Sprintf("policy.servers[%q]", c.server))
			if err := os.WriteFile(filepath.Join(dir, c.server+".rego"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range f.Attachments {
			if err := os.WriteFile(filepath.Join(dir, "attachment-"+name+".rego"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

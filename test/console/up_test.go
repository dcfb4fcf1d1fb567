package console

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// visitor is a plain HTTP client with cookies.
type visitor struct {
	*testing.T
	client *http.Client
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, &http.Client{Jar: jar, Timeout: patience}}
}

// is holds an answer's status and its text.
func (v *visitor) is(res *http.Response, err error, status int, text string) string {
	v.Helper()
	if err != nil {
		v.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.Fatal(err)
	}
	if res.StatusCode != status || !strings.Contains(string(body), text) {
		v.Errorf("%s: %d, want %d with %q: %s", res.Request.URL.Path, res.StatusCode, status, text, body)
	}
	return string(body)
}

var formToken = regexp.MustCompile(`name="form" value="([^"]+)"`)

// follow opens a link and presses its button.
func (v *visitor) follow(link string, status int, text string) {
	v.Helper()
	res, err := v.client.Get(link)
	body := v.is(res, err, http.StatusOK, "Sign in to the console")
	u, err := url.Parse(link)
	if err != nil {
		v.Fatal(err)
	}
	res, err = v.client.PostForm("http://"+u.Host+"/sign-in", url.Values{"form": {formToken.FindStringSubmatch(body)[1]}, "link": u.Query()["link"]})
	v.is(res, err, status, text)
}

// TestUp signs in to the whole program, over both links that it gives, and has
// it end while a page is kept up to date.
func TestUp(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy")
	if out, err := exec.Command("cp", "-r", "../../bundles/starter/policy", policy).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	g := gateway.Start(t, gateway.Config{Policy: policy, Servers: map[string]any{"stripe": map[string]any{"url": "http://127.0.0.1:1/mcp"}}})
	printed := ""
	for deadline := time.Now().Add(patience); printed == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		printed = regexp.MustCompile(`http://\S+/sign-in\?link=\w+`).FindString(g.Process.Output())
	}
	if !strings.HasPrefix(printed, g.AdminURL+"/") {
		t.Fatalf("up prints no link: %s", g.Process.Output())
	}
	first := newVisitor(t)
	first.follow(printed, http.StatusOK, "Signed in as")
	newVisitor(t).follow(printed, http.StatusForbidden, "does not sign in any more")

	var made struct {
		URL, Person string
		ExpiresAt   time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(g.CLI(t, "console", "login", "-o", "json"), &made); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(made.ExpiresAt); made.Person != "operator" || left <= 0 || left > 11*time.Minute {
		t.Errorf("%+v", made)
	}
	newVisitor(t).follow(made.URL, http.StatusOK, "operator")

	// The admin listener has what it had.
	for path, text := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "target_info"} {
		res, err := http.Get(g.AdminURL + path)
		first.is(res, err, http.StatusOK, text)
	}
	res, err := first.client.Get(g.AdminURL + "/approvals/events")
	if err != nil || res.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Fatalf("%v, %v", res, err)
	}
	defer res.Body.Close()
	if err := errors.Join(g.Process.Signal(syscall.SIGTERM), g.Process.Wait(patience)); err != nil {
		t.Errorf("the end: %v\n%s", err, g.Process.Output())
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Errorf("the stream was cut off: %v", err)
	}
}

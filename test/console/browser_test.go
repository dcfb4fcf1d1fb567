// Package console holds the console's pages against a real browser.
package console

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/mcpermit/mcpermit/test/parts"
)

// ScreenshotsVariable names the environment variable with the directory that
// takes a screenshot of each page, for people to look at. Without it there are none.
const ScreenshotsVariable = "MCPERMIT_SCREENSHOTS"

// patience is how long a page may take on a machine that does much else.
const patience = 30 * time.Second

// chromium is one browser for all tests; each has a profile of its own in it.
var chromium struct {
	once sync.Once
	ctx  context.Context //nolint:containedctx // the browser's life
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

func startChromium(path string) {
	profile, err := os.MkdirTemp("", "mcpermit-chromium-")
	if err != nil {
		chromium.err = err
		return
	}
	allocated, stopAllocator := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.Flag("headless", "new"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewContext(allocated)
	chromium.ctx = ctx //nolint:fatcontext // kept for all tests, not nested
	chromium.stop = func() {
		cancel()
		stopAllocator()
		_ = os.RemoveAll(profile)
	}
	chromium.err = chromedp.Run(ctx)
}

// browser is a profile with one tab.
type browser struct {
	*testing.T
	ctx context.Context //nolint:containedctx // the tab's life
}

// newBrowser opens one. Whatever a page must never do fails the test: show a
// dialog, throw an error, run into the content policy; but for errors that hold
// one of the expected texts.
func newBrowser(t *testing.T, expected ...string) *browser {
	t.Helper()
	chromium.once.Do(func() { startChromium(parts.Chromium(t)) })
	if chromium.err != nil {
		t.Fatalf("Chromium: %v", chromium.err)
	}
	expected = append(expected, "the server responded with a status of")
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithTargetID(newProfile(t)))
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 3*patience)
	t.Cleanup(stop)
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *page.EventJavascriptDialogOpening:
			t.Errorf("a dialog: %s", e.Message)
			go func() { _ = chromedp.Run(ctx, page.HandleJavaScriptDialog(true)) }()
		case *runtime.EventExceptionThrown:
			t.Errorf("a script failed: %v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && !slices.ContainsFunc(expected, func(s string) bool { return strings.Contains(e.Entry.Text, s) }) {
				t.Errorf("the browser says: %s (%s)", e.Entry.Text, e.Entry.URL)
			}
		}
	})
	// The tab lives as long as the context of the first Run.
	if err := chromedp.Run(ctx, log.Enable(), runtime.Enable(), page.Enable()); err != nil {
		t.Fatal(err)
	}
	return &browser{t, ctx}
}

// newProfile opens a window that shares no cookies with the others.
func newProfile(t *testing.T) target.ID {
	t.Helper()
	ctx, cancel := context.WithTimeout(chromium.ctx, patience)
	defer cancel()
	ctx = cdp.WithExecutor(ctx, chromedp.FromContext(chromium.ctx).Browser)
	profile, err := target.CreateBrowserContext().Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id, err := target.CreateTarget("about:blank").WithBrowserContextID(profile).WithNewWindow(true).Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (b *browser) do(actions ...chromedp.Action) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.Fatalf("%v; the page: %s", err, b.text())
	}
}

// open goes to an address and waits for its page.
func (b *browser) open(url string) { b.Helper(); b.do(chromedp.Navigate(url)) }

// press presses what the selector finds and waits for the page that follows.
func (b *browser) press(selector string) {
	b.Helper()
	b.leaves(chromedp.Click(selector, chromedp.ByQuery))
}

// leaves waits for the page that an act leads to.
func (b *browser) leaves(act chromedp.Action) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, act); err != nil {
		b.Fatalf("%v; the page: %s", err, b.text())
	}
}

func (b *browser) text() string {
	var text string
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	if err := chromedp.Run(ctx, chromedp.Text("body", &text, chromedp.ByQuery)); err != nil {
		return err.Error()
	}
	return text
}

// shows waits until the page has all the texts.
func (b *browser) shows(texts ...string) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		missing, have := "", b.text()
		for _, text := range texts {
			if !strings.Contains(have, text) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("the page has no %q: %s", missing, have)
		}
	}
}

// looks are those in which pages are judged and photographed.
var looks = []struct {
	name, scheme string
	width        int64
}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"narrow", "light", 390}}

// judged holds the page to the rules of accessibility in every look.
func (b *browser) judged(name string) {
	b.Helper()
	script, err := os.ReadFile(parts.Axe(b.T))
	if err != nil {
		b.Fatal(err)
	}
	for _, look := range looks {
		b.do(
			emulation.SetDeviceMetricsOverride(look.width, 900, 1, false),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}),
			chromedp.Sleep(200*time.Millisecond), // until the colours have changed
		)
		b.photograph(name + "-" + look.name)
		var wide bool
		b.do(chromedp.Evaluate("document.documentElement.scrollWidth > innerWidth", &wide))
		if wide {
			b.Errorf("%s, %s: the page is wider than the window", name, look.name)
		}
		b.findings(name+", "+look.name, string(script))
	}
}

func (b *browser) findings(where, axe string) {
	b.Helper()
	var found []byte
	b.do(chromedp.Evaluate(axe+`;axe.run(document, {resultTypes: ["violations"]}).then((r) => ({
		passed: r.passes.length,
		violations: r.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map((n) => n.html + " " + n.failureSummary)})),
	}))`, &found, awaited))
	var result struct {
		Passed     int
		Violations []struct {
			ID, Impact, Help string
			Nodes            []string
		}
	}
	if err := json.Unmarshal(found, &result); err != nil {
		b.Fatal(err)
	}
	if result.Passed < 10 {
		b.Errorf("%s: axe has looked at next to nothing: %s", where, found)
	}
	for _, v := range result.Violations {
		b.Errorf("%s: %s (%s): %s\n%s", where, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
	}
}

// awaited has a script's promise kept before it is looked at.
func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

func (b *browser) photograph(name string) {
	b.Helper()
	dir := os.Getenv(ScreenshotsVariable)
	if dir == "" {
		return
	}
	var picture []byte
	b.do(chromedp.FullScreenshot(&picture, 100))
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s.png", name)), picture, 0o644); err != nil {
		b.Fatal(err)
	}
}

// stopsAt has the browser not go to addresses with the path, and gives the first.
func (b *browser) stopsAt(path string) <-chan string {
	b.Helper()
	first := make(chan string, 1)
	chromedp.ListenTarget(b.ctx, func(event any) {
		e, ok := event.(*fetch.EventRequestPaused)
		if !ok {
			return
		}
		select {
		case first <- e.Request.URL:
		default:
		}
		go func() { _ = chromedp.Run(b.ctx, fetch.FailRequest(e.RequestID, network.ErrorReasonAborted)) }()
	})
	b.do(fetch.Enable().WithPatterns([]*fetch.RequestPattern{{URLPattern: "*" + path + "*"}}))
	return first
}

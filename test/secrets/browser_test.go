package secrets

import (
	"bytes"
	"context"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// browser is that of somebody who uses the console. All that the console answers is
// a place, but for the cookies that it sets and where it sends people to: those are
// the browser's own.
type browser struct {
	*site
	client *http.Client
	at     *url.URL
	page   string
}

func (s *site) browser() *browser {
	s.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.Fatal(err)
	}
	return &browser{site: s, client: &http.Client{Jar: jar, Timeout: patience}}
}

// open goes to an address and wherever that leads. handed are canaries that the page
// is for.
func (b *browser) open(address string, handed ...string) {
	b.Helper()
	res, err := b.client.Get(address)
	b.arrive(res, err, handed)
}

func (b *browser) arrive(res *http.Response, err error, handed []string) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	b.at, b.page = res.Request.URL, string(body)
	next, leads := strings.CutPrefix(res.Header.Get("Refresh"), "0; url=")
	if "http://"+b.at.Host == b.AdminURL {
		var all bytes.Buffer
		h := res.Header.Clone()
		h.Del("Set-Cookie")
		h.Del("Refresh")
		_ = h.Write(&all)
		all.Write(body)
		b.p.add(inPages, b.at.Path, all.Bytes(), handed...)
	}
	if leads {
		b.open(next)
	}
}

var (
	formTag  = regexp.MustCompile(`(?s)<form\b[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	inputTag = regexp.MustCompile(`<input\b[^>]*>`)
	nameAttr = regexp.MustCompile(`\bname="([^"]*)"`)
	valueOf  = regexp.MustCompile(`\bvalue="([^"]*)"`)
	hrefAttr = regexp.MustCompile(`\bhref="(/[^"]*)"`)
)

// submit sends the page's form whose action ends so.
func (b *browser) submit(action string, handed ...string) {
	b.Helper()
	for _, m := range formTag.FindAllStringSubmatch(b.page, -1) {
		to := html.UnescapeString(m[1])
		if !strings.HasSuffix(to, action) {
			continue
		}
		form := url.Values{}
		for _, input := range inputTag.FindAllString(m[2], -1) {
			name, value := nameAttr.FindStringSubmatch(input), valueOf.FindStringSubmatch(input)
			if name != nil && value != nil {
				form.Set(name[1], html.UnescapeString(value[1]))
			}
		}
		u, err := b.at.Parse(to)
		if err != nil {
			b.Fatal(err)
		}
		res, err := b.client.PostForm(u.String(), form)
		b.arrive(res, err, handed)
		return
	}
	b.Fatalf("%s has no form for %s: %s", b.at, action, b.page)
}

// shows holds that the page has the text.
func (b *browser) shows(text string) {
	b.Helper()
	if !strings.Contains(b.page, text) {
		b.Errorf("%s has no %q: %s", b.at, text, b.page)
	}
}

// signIn signs an admin in by a link.
func (b *browser) signIn(person string) {
	b.Helper()
	link := strings.TrimSpace(b.cli(command{args: []string{"console", "login", "--as", person}, handed: []string{"sign-in link"}}))
	u, err := url.Parse(link)
	if err != nil {
		b.Fatal(err)
	}
	b.l.keep("sign-in link", u.Query().Get("link"))
	b.open(link, "sign-in link") // the button's form has it
	b.submit("/sign-in")
	b.shows("Sign out")
	b.l.use(byConsole, "sign-in link")
	for _, c := range b.client.Jar.Cookies(b.at) {
		if strings.HasSuffix(c.Name, "session") {
			b.l.keep("session of the console", c.Value)
			b.l.use(byConsole, "session of the console")
		}
	}
	b.open(link, "sign-in link") // again, which signs nobody in
	b.submit("/sign-in")
	b.shows("does not sign in any more")
	b.open(b.AdminURL + "/")
}

// crawl opens every page that a link leads to.
func (b *browser) crawl() {
	b.Helper()
	next, seen := []string{"/"}, map[string]bool{}
	for len(next) > 0 && len(seen) < 400 {
		path := next[0]
		next = next[1:]
		if seen[path] || strings.HasPrefix(path, "/assets/") {
			continue
		}
		seen[path] = true
		b.open(b.AdminURL + path)
		for _, m := range hrefAttr.FindAllStringSubmatch(b.page, -1) {
			next = append(next, html.UnescapeString(m[1]))
		}
	}
	for _, part := range []string{"/approvals/", "/decisions/", "/grants/", "/servers/", "/accounts", "/quotas", "/policy", "/playground"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(path string) bool { return strings.HasPrefix(path, part) }) {
			b.Errorf("no page of %s was found", part)
		}
	}
}

// watch reads what the console pushes, until stop.
func (b *browser) watch(path string) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan []byte)
	opened := make(chan struct{})
	go func() {
		var all bytes.Buffer
		defer func() { done <- all.Bytes() }()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, b.AdminURL+path, nil)
		res, err := (&http.Client{Jar: b.client.Jar}).Do(req)
		close(opened)
		if err != nil {
			return
		}
		defer res.Body.Close()
		_, _ = io.Copy(&all, res.Body) // ends with the context
	}()
	select {
	case <-opened:
	case <-time.After(patience):
		b.Fatalf("%s does not begin", path)
	}
	return func() {
		cancel()
		text := <-done
		b.p.add(inPages, path, text)
		if len(text) == 0 {
			b.Errorf("%s pushes nothing", path)
		}
	}
}

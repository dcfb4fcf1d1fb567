package accounts

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// person is somebody with a browser that runs no script.
type person struct {
	*testing.T
	client *http.Client
	at     *url.URL
	page   string
	// seen is every page and address.
	seen strings.Builder
}

// as signs somebody in to the console.
func (s *site) as(id string) *person {
	s.Helper()
	link, _, err := s.console.NewLink(s.Context(), id)
	if err != nil {
		s.Fatal(err)
	}
	return signIn(s.T, link)
}

// signIn follows a link that signs somebody in.
func signIn(t *testing.T, link string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{T: t, client: &http.Client{Jar: jar, Timeout: patience}}
	p.open(link)
	p.submit("/sign-in", nil)
	return p
}

// open goes to an address and wherever that leads.
func (p *person) open(address string) {
	p.Helper()
	res, err := p.client.Get(address)
	p.arrive(res, err)
}

func (p *person) arrive(res *http.Response, err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.Fatal(err)
	}
	p.at, p.page = res.Request.URL, string(body)
	p.seen.WriteString(p.page)
	if next, ok := strings.CutPrefix(res.Header.Get("Refresh"), "0; url="); ok {
		p.open(next)
	}
}

var (
	formTag  = regexp.MustCompile(`(?s)<form\b[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	inputTag = regexp.MustCompile(`<input\b[^>]*>`)
	nameAttr = regexp.MustCompile(`\bname="([^"]*)"`)
	value    = regexp.MustCompile(`\bvalue="([^"]*)"`)
)

// submit sends the form whose action ends so, with some of its fields filled in.
func (p *person) submit(action string, fields map[string]string) {
	p.Helper()
	for _, m := range formTag.FindAllStringSubmatch(p.page, -1) {
		to := html.UnescapeString(m[1])
		if !strings.HasSuffix(to, action) {
			continue
		}
		form := url.Values{}
		for _, input := range inputTag.FindAllString(m[2], -1) {
			if name := nameAttr.FindStringSubmatch(input); name != nil {
				set := ""
				if v := value.FindStringSubmatch(input); v != nil {
					set = html.UnescapeString(v[1])
				}
				form.Set(name[1], set)
			}
		}
		for name, set := range fields {
			form.Set(name, set)
		}
		u, err := p.at.Parse(to)
		if err != nil {
			p.Fatal(err)
		}
		res, err := p.client.PostForm(u.String(), form)
		p.arrive(res, err)
		return
	}
	p.Fatalf("%s has no form for %s: %s", p.at, action, p.page)
}

// agree says a login at the provider, and agrees to what is asked.
func (p *person) agree(login string) {
	p.Helper()
	p.submit("", map[string]string{"login": login, "password": "any"})
	for range 3 {
		if !strings.Contains(p.at.Path, "/interaction/") {
			return
		}
		p.submit("", nil)
	}
}

// shows holds that the page has the texts.
func (p *person) shows(texts ...string) {
	p.Helper()
	for _, text := range texts {
		if !strings.Contains(p.page, text) {
			p.Errorf("%s has no %q: %s", p.at, text, p.page)
		}
	}
}

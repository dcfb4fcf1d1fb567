package console_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// stream opens the events of the approvals as the browser and returns what
// comes, line by line; the channel closes with the stream.
func (b *browser) stream(t *testing.T, server *httptest.Server) <-chan string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/approvals/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != "text/event-stream; charset=utf-8" {
		t.Fatalf("%d, %s", res.StatusCode, got)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		defer res.Body.Close()
		for text := bufio.NewScanner(res.Body); text.Scan(); {
			if text.Text() != "" {
				lines <- text.Text()
			}
		}
	}()
	return lines
}

// next is the next line; "end" is the stream's end.
func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line, ok := <-lines:
		if !ok {
			return "end"
		}
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("nothing comes")
		return ""
	}
}

func TestStream(t *testing.T) {
	k := newKit(t)
	server := httptest.NewServer(k.console)
	t.Cleanup(server.Close)
	t.Cleanup(k.console.Close) // first: a server waits for its streams
	vera, abel := k.as("vera"), k.as("abel")
	veras, abels := vera.stream(t, server), abel.stream(t, server)
	for _, lines := range []<-chan string{veras, abels} {
		if got := next(t, lines); !strings.HasPrefix(got, "retry:") {
			t.Fatal(got)
		}
		// What changed before the stream was there is not missed.
		if got := next(t, lines); got != "data: changed" {
			t.Fatal(got)
		}
	}
	id := k.waits(call())
	for _, lines := range []<-chan string{veras, abels} {
		if got := next(t, lines); got != "data: changed" {
			t.Fatal(got)
		}
	}
	// Who is signed out hears no more.
	vera.post("/sign-out").leads("/sign-in?done=signed-out")
	abel.post("/approvals/" + id + "/approve").leads("/approvals/" + id + "?done=approved")
	if got := next(t, abels); got != "data: changed" {
		t.Fatal(got)
	}
	if got := next(t, veras); got != "end" {
		t.Errorf("signed out, and told %q", got)
	}
	k.console.Close()
	if got := next(t, abels); got != "end" {
		t.Errorf("closed, and told %q", got)
	}
}

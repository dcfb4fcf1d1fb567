package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// longPollType is the media type by which a bundle server says that it knows
// OPA's long polling.
const longPollType = "application/vnd.openpolicyagent.bundles"

// requestTimeout bounds a request beside what the server may wait.
const requestTimeout = 30 * time.Second

// remote is a bundle at a URL.
type remote struct {
	url    *url.URL
	token  string
	client *http.Client
	limit  int64 // of the body, bytes
}

func newRemote(u *url.URL, token string, transport http.RoundTripper, limit int64) *remote {
	r := &remote{url: u, token: token, limit: limit}
	r.client = &http.Client{Transport: transport, CheckRedirect: r.checkRedirect}
	return r
}

// String is the URL without its query, which may be a signature.
func (r *remote) String() string {
	u := *r.url
	u.RawQuery = ""
	return u.String()
}

// checkRedirect stays on the host: elsewhere is somebody else's policy.
func (r *remote) checkRedirect(next *http.Request, via []*http.Request) error {
	if next.URL.Scheme != r.url.Scheme || next.URL.Host != r.url.Host {
		return fmt.Errorf("it redirects to %s://%s: name the final URL as the policy source", next.URL.Scheme, next.URL.Host)
	}
	if len(via) > 5 {
		return errors.New("it redirects more than five times")
	}
	return nil
}

// download is one answer of a bundle server.
type download struct {
	unchanged bool
	body      []byte
	etag      string
	longPoll  bool
}

// retryLater is an error of a server that said how long to leave it alone.
type retryLater struct {
	error
	after time.Duration
}

// get asks once. It waits for c.wait longer than for other answers.
func (r *remote) get(ctx context.Context, c condition) (download, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+c.wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url.String(), nil)
	if err != nil {
		return download{}, fmt.Errorf("policy source: %w", withoutURL(err))
	}
	req.Header.Set("Prefer", prefer(c.wait))
	// The body is a .tar.gz as it is; another gzip around it is not wanted.
	req.Header.Set("Accept-Encoding", "identity")
	if c.etag != "" {
		req.Header.Set("If-None-Match", c.etag)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return download{}, fmt.Errorf("%s: %w", r, withoutURL(err))
	}
	defer resp.Body.Close()
	return r.answer(resp, c)
}

func (r *remote) answer(resp *http.Response, c condition) (download, error) {
	switch {
	case resp.StatusCode == http.StatusNotModified && c.etag != "":
		return download{unchanged: true, longPoll: c.wait > 0}, nil
	case resp.StatusCode != http.StatusOK:
		err := fmt.Errorf("%s: the server answers %s", r, resp.Status)
		if after, ok := retryAfter(resp.Header); ok {
			return download{}, &retryLater{err, after}
		}
		return download{}, err
	case resp.Header.Get("Content-Encoding") != "":
		return download{}, fmt.Errorf("%s: the bundle comes with a Content-Encoding: serve the .tar.gz as it is", r)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, r.limit+1))
	switch {
	case err != nil:
		return download{}, fmt.Errorf("%s: the bundle did not arrive whole: %w", r, withoutURL(err))
	case int64(len(body)) > r.limit:
		return download{}, fmt.Errorf("%s: the bundle has more than the limit of %d bytes", r, r.limit)
	}
	return download{
		body:     body,
		etag:     resp.Header.Get("ETag"),
		longPoll: resp.Header.Get("Content-Type") == longPollType,
	}, nil
}

// prefer asks for whole bundles and, where the server knows how, to be
// answered only when there is a new one. The form is OPA's.
func prefer(wait time.Duration) string {
	if wait <= 0 {
		return "modes=snapshot"
	}
	return "modes=snapshot;wait=" + strconv.Itoa(int(wait.Seconds()))
}

// retryAfter reads the header in its form of seconds.
func retryAfter(h http.Header) (time.Duration, bool) {
	seconds, err := strconv.Atoi(strings.TrimSpace(h.Get("Retry-After")))
	if err != nil || seconds <= 0 {
		return 0, false
	}
	return time.Duration(min(seconds, 600)) * time.Second, true
}

// withoutURL drops the URL that net/http puts before an error: its query may
// be secret.
func withoutURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// deliver tries until the target has taken the message, or the tries are used up.
func (s *Sender) deliver(t *target, e *approval.Event) {
	body, err := s.body(t.format, e)
	if err != nil {
		s.count("failed")
		s.log.Error("a webhook's message could not be written", "event", types[e.Kind], "approval", e.Approval.ID, "error", err)
		return
	}
	id := "msg_" + rand.Text()
	for try := 0; ; try++ {
		err := s.try(t, id, body)
		if err == nil {
			s.count("delivered")
			return
		}
		var f *failure
		if errors.As(err, &f) && f.final || try >= len(s.pauses) || s.isClosing() {
			s.count("failed")
			s.log.Error("a webhook did not take a message; it is given up", "host", t.host, "event", types[e.Kind], "approval", e.Approval.ID, "tries", try+1, "error", err)
			return
		}
		if try == 0 {
			s.log.Warn("a webhook did not take a message; it is tried again", "host", t.host, "event", types[e.Kind], "approval", e.Approval.ID, "error", err)
		}
		s.pause(s.pauses[try], f)
	}
}

// isClosing says that the try which has just failed was the last.
func (s *Sender) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// pause waits until the next try, which comes at once when the sender is being
// closed.
func (s *Sender) pause(d time.Duration, f *failure) {
	if f != nil {
		d = max(d, f.after)
	}
	timer := time.NewTimer(d + mathrand.N(d/4+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closing:
	}
}

// maxAfter bounds what a receiver's Retry-After can ask for.
const maxAfter = 5 * time.Minute

// failure is an answer that is no success.
type failure struct {
	status int
	final  bool
	after  time.Duration
}

func (f *failure) Error() string {
	switch {
	case f.status/100 == 3:
		return fmt.Sprintf("it answers %d, a redirect, which is not followed: configure the address that it leads to", f.status)
	case f.status == http.StatusGone:
		return "it answers 410: it does not want messages any more"
	}
	return fmt.Sprintf("it answers %d", f.status)
}

// try makes one request. The transport is used without a client, which would
// follow redirects, and would put the URL into its errors.
func (s *Sender) try(t *target, id string, body []byte) error {
	select {
	case t.lines <- struct{}{}:
		defer func() { <-t.lines }()
	case <-s.life.Done():
		return s.life.Err()
	}
	ctx, cancel := context.WithTimeout(s.life, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("no request can be made of its URL")
	}
	if u := t.url.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mcpermit")
	sign(req.Header, t.key, id, time.Now(), body)
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 == 2 {
		return nil
	}
	f := &failure{status: res.StatusCode, final: res.StatusCode/100 == 3 || res.StatusCode == http.StatusGone}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		f.after = min(time.Duration(min(seconds, 3600))*time.Second, maxAfter)
	}
	return f
}

const secretPrefix = "whsec_"

// keyOf reads a secret. Its error does not repeat it.
func keyOf(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("behind %q its secret is not base64", secretPrefix)
	}
	return key, nil
}

// sign sets the headers of Standard Webhooks.
func sign(h http.Header, key []byte, id string, at time.Time, body []byte) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", timestamp)
	if len(key) == 0 {
		return
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

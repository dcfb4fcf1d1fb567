// Package webhook tells other programs of approvals: that a call waits, that it
// was decided, that it has passed.
//
// A message is a POST with the headers of Standard Webhooks
// (https://www.standardwebhooks.com): webhook-id, the same for every try of one
// message; webhook-timestamp; and, with a secret, webhook-signature: "v1," and the
// base64 of HMAC-SHA256(secret, id "." timestamp "." body). Any 2xx answers it.
// Messages may come more than once and in any order; the receiver goes by the id
// and by the state that the body tells.
//
// That an approval has expired is not told, since nothing happens then: the
// message that it waits, or is approved, says until when.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// Format is that of a body.
type Format string

// The formats: our own JSON (the default), and what incoming webhooks of Slack,
// Mattermost and their likes take.
const (
	JSON  Format = "json"
	Slack Format = "slack"
)

// Target is an address that is told.
type Target struct {
	// URL is a secret: of many receivers it is all that one has to know.
	URL string
	// Secret signs: "whsec_" and base64, or any text. Empty: no signature.
	Secret string
	Format Format
}

// Options of a [Sender].
type Options struct {
	Targets []Target
	// Link returns the page of the approval; nil: none.
	Link func(id string) string
	// Mask returns arguments without what must not be shown: what the pointers
	// name, and what is a secret by its form. Without it no arguments are sent.
	Mask func(arguments []byte, pointers []string) []byte
	Log  *slog.Logger // default slog.Default()
}

const (
	// queued bounds the messages of one target that are not delivered yet.
	queued = 256
	// atOnce bounds the requests to one target.
	atOnce = 4
	// patience is for one try.
	patience = 10 * time.Second
)

// pauses between the tries of a message: five tries within five minutes.
var pauses = []time.Duration{5 * time.Second, 20 * time.Second, time.Minute, 3 * time.Minute}

// Sender sends messages, each in the background. It is safe for concurrent use.
type Sender struct {
	targets   []*target
	options   Options
	log       *slog.Logger
	transport *http.Transport
	pauses    []time.Duration
	sent      metric.Int64Counter

	// life ends when Close stops waiting.
	life   context.Context //nolint:containedctx // the life of a part, not of a call
	end    context.CancelFunc
	mu     sync.Mutex
	closed bool
	// closing ends the pauses between tries.
	closing  chan struct{}
	underway sync.WaitGroup
}

// target is one receiver, and the room it has.
type target struct {
	url    *url.URL
	host   string // all that is said of the URL anywhere
	key    []byte
	format Format
	room   chan struct{}
	lines  chan struct{}
}

// New returns a sender. The error names a target by its place, never its URL.
func New(o Options) (*Sender, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	// The error is about malformed instrument names only.
	sent, _ := otel.Meter("github.com/mcpermit/mcpermit/pdp/approval/webhook").Int64Counter("mcpermit.webhook.messages",
		metric.WithDescription("Messages about approvals by result: delivered, failed (every try did), dropped (too many waited)."))
	s := &Sender{options: o, log: o.Log, pauses: pauses, sent: sent, closing: make(chan struct{}), transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: patience}).DialContext,
		TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
	}}
	s.life, s.end = context.WithCancel(context.Background())
	for i, t := range o.Targets {
		made, err := newTarget(t)
		if err != nil {
			return nil, fmt.Errorf("webhooks[%d]: %w", i, err)
		}
		s.targets = append(s.targets, made)
	}
	return s, nil
}

func newTarget(t Target) (*target, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("its URL is not http(s)://host/path")
	}
	key, err := keyOf(t.Secret)
	if err != nil {
		return nil, err
	}
	switch t.Format {
	case "":
		t.Format = JSON
	case JSON, Slack:
	default:
		return nil, fmt.Errorf("format %q is neither json nor slack", t.Format)
	}
	return &target{
		url: u, host: u.Host, key: key, format: t.Format,
		room: make(chan struct{}, queued), lines: make(chan struct{}, atOnce),
	}, nil
}

// Tell sends a message about the event to every target, if it is one that they
// are told of. It does not wait: of a target with too many messages under way the
// message is dropped, counted and logged.
func (s *Sender) Tell(e approval.Event) {
	if _, told := types[e.Kind]; !told {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, t := range s.targets {
		select {
		case t.room <- struct{}{}:
		default:
			s.count("dropped")
			s.log.Error("a webhook has too many messages to take, and misses one", "host", t.host, "event", types[e.Kind], "approval", e.Approval.ID)
			continue
		}
		s.underway.Go(func() {
			defer func() { <-t.room }()
			s.deliver(t, &e)
		})
	}
}

func (s *Sender) count(result string) {
	s.sent.Add(context.Background(), 1, metric.WithAttributes(attribute.String("result", result)))
}

// Close gives what is under way a moment: every message that waits for another
// try gets its last one at once. When ctx ends, the rest is given up; the error
// says that there was some.
func (s *Sender) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.closing)
	done := make(chan struct{})
	go func() {
		s.underway.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.New("messages to webhooks were given up, for their receivers did not answer in time")
	}
	s.end()
	<-done
	s.transport.CloseIdleConnections()
	return err
}

package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// listQuestion is the gateway's own question for a server's listing, asked in
// the session and the protocol era of the client on whose account it is.
type listQuestion struct {
	up      *upstream
	method  string
	session string
	version string // MCP-Protocol-Version
	subject string
	asker   evidenceKey
	meta    mcp.Meta
	about   *v1.DecideRequest // evidence, client and context
	duties  []*v1.Obligation  // of a decision
}

func (a *act) listQuestion(method string) *listQuestion {
	q := &listQuestion{up: a.up, method: method, version: a.version, asker: a.key, about: a.request()}
	if a.frame != nil && a.frame.Meta.Modern {
		q.meta = a.frame.Meta
	}
	if a.dialog != nil {
		q.session = a.dialog.key.session
	}
	if o, ok := a.p.identities.of(a.key); ok {
		q.subject = o.subject
	}
	return q
}

var (
	errRefused    = errors.New("the server wants credentials for its listing")
	errNoLonger   = fmt.Errorf("%w: those that it got it does not accept", errRefused)
	errNotAllowed = errors.New("the policy does not let the subject list")
)

// ask returns the whole listing, and whether it was had without what a decision
// adds. The PDP is told of what is in it, so that its catalog knows the
// tools before a call is decided.
func (q *listQuestion) ask(p *Proxy) (l *listing, plain bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.o.ListTimeout)
	defer cancel()
	plain = !q.up.credentialed.Load() && (q.subject != "" || !q.up.PerSubject)
	var items []mcp.Item
	if plain {
		items, err = q.pages(ctx, p)
	}
	if !plain || errors.Is(err, errRefused) {
		plain = false
		items, err = q.decided(ctx, p)
	}
	if err != nil {
		p.o.Logger.Warn("a server's listing could not be had", "server", q.up.Name, "method", q.method, "error", err)
		return nil, plain, err
	}
	q.tell(ctx, p, items)
	return q.up.recent.intern(newListing(q.method, items)), plain, nil
}

// tell shows the PDP what the server has. Other sessions, and other subjects,
// may be listed more.
func (q *listQuestion) tell(ctx context.Context, p *Proxy, items []mcp.Item) {
	p.o.Enforcer.DecideList(ctx, &v1.DecideListRequest{
		Evidence: q.about.GetEvidence(), Client: q.about.GetClient(), Server: q.up.Name, Context: q.about.GetContext(),
		Method: q.method, Items: targets(items), Whole: q.session == "" && !q.up.PerSubject,
	})
}

// decided asks with what a decision adds to the request: the server's
// credentials come with decisions, and are not kept. Such a question is on
// record like a frame of the client.
func (q *listQuestion) decided(ctx context.Context, p *Proxy) ([]mcp.Item, error) {
	r := proto.CloneOf(q.about)
	id := ownID()
	frame := mcp.ListRequest(q.method, nil, id, q.meta)
	digest := sha256.Sum256(frame)
	r.Kind, r.Method, r.Id = v1.FrameKind_FRAME_KIND_REQUEST, q.method, strconv.Quote(id)
	r.FrameBytes, r.FrameDigest = int64(len(frame)), digest[:]
	r.Context.ReceivedAt = timestamppb.Now()
	start := time.Now()
	d := p.o.Enforcer.Decide(ctx, r, q.up.means())
	if d.GetEffect() != v1.Effect_EFFECT_ALLOW {
		return nil, fmt.Errorf("%w: %s", errNotAllowed, pep.ReasonName(d.GetReasonCode()))
	}
	q.subject, q.duties = d.GetSubject().GetId(), d.GetObligations()
	items, err := q.pages(ctx, p)
	if errors.Is(err, errNoLonger) {
		if renewed, ok := p.o.Enforcer.Renew(ctx, q.up.Name, d, q.up.means()); ok {
			q.duties = renewed
			items, err = q.pages(ctx, p)
		}
	}
	o := &v1.Outcome{Forwarded: true, Listed: int32(len(items)), Duration: durationpb.New(time.Since(start))}
	if err != nil {
		o.Error = "the gateway's own question failed"
	}
	p.o.Enforcer.Complete(d.GetDecisionId(), o)
	return items, err
}

// pages goes through all pages.
func (q *listQuestion) pages(ctx context.Context, p *Proxy) (items []mcp.Item, err error) {
	var cursor []byte
	for range maxPages {
		l, err := q.page(ctx, p, cursor)
		if err != nil {
			return nil, err
		}
		if l == nil {
			return nil, nil
		}
		items = append(items, l.Items...)
		if len(items) > maxItems {
			return nil, fmt.Errorf("the server lists more than %d items", maxItems)
		}
		if cursor = l.NextCursor; len(cursor) == 0 || string(cursor) == "null" {
			return items, nil
		}
	}
	return nil, fmt.Errorf("the listing has more than %d pages", maxPages)
}

// page asks for one page. It returns nil where the server has no such method.
func (q *listQuestion) page(ctx context.Context, p *Proxy, cursor []byte) (*mcp.Listing, error) {
	id := ownID()
	line := p.newLine(context.WithValue(ctx, subjectKey{}, q.subject), p.o.ListTimeout)
	defer line.close()
	req := q.up.request(line, http.MethodPost, mcp.ListRequest(q.method, cursor, id, q.meta), q.header(ctx), q.duties)
	res, _, err := q.up.send(line, req)
	if err != nil {
		return nil, line.why(err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return nil, errNoLonger
	case http.StatusForbidden:
		return nil, errRefused
	}
	b, err := q.answer(res, id)
	if err != nil {
		return nil, err
	}
	lim := mcp.Limits{Bytes: q.up.AnswerBytes}
	f, err := mcp.Read(b, mcp.ToClient, lim)
	if err != nil {
		return nil, err
	}
	if f.Error != nil {
		if code := errorCode(f.Error); code != mcp.CodeMethodNotFound {
			return nil, fmt.Errorf("the server answered with error %d", code)
		}
		return nil, nil
	}
	return mcp.ReadListing(q.method, b, lim)
}

func (q *listQuestion) header(ctx context.Context) http.Header {
	h := http.Header{"Accept": {typeJSON + ", " + typeEvents}}
	if q.version != "" {
		h.Set(headerVersion, q.version)
	}
	if q.meta.Modern {
		h.Set("Mcp-Method", q.method)
	} else if q.session != "" {
		h.Set(headerSession, q.session)
	}
	ownHeader(ctx, h)
	return h
}

// answer finds the response to the request with the given id, in plain JSON or
// in an event stream. What else the stream brings is for nobody.
func (q *listQuestion) answer(res *http.Response, id string) ([]byte, error) {
	if mediaType(res.Header) != typeEvents {
		return readAnswer(res, q.up.AnswerBytes)
	}
	body, _, err := decoded(res)
	if err != nil {
		return nil, err
	}
	events := mcp.NewEventReader(body, q.up.AnswerBytes)
	for range 1000 {
		e, err := events.Next()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(e.Data)) == 0 {
			continue
		}
		f, err := mcp.Read(e.Data, mcp.ToClient, mcp.Limits{Bytes: q.up.AnswerBytes})
		if err != nil {
			return nil, err
		}
		if f.Kind == mcp.KindResponse && looseKey(f.ID) == id {
			return e.Data, nil
		}
	}
	return nil, io.ErrNoProgress
}

// Ids of the gateway's own requests: nobody else's begin like them.
var (
	ownPrefix = "mcpermit-" + rand.Text() + "-"
	ownCount  atomic.Uint64
)

func ownID() string { return ownPrefix + strconv.FormatUint(ownCount.Add(1), 10) }

func isOwnID(raw []byte) bool { return strings.HasPrefix(looseKey(raw), ownPrefix) }

func errorCode(raw []byte) (code int) {
	members(raw, func(name string, value []byte) bool {
		if name == "code" {
			code, _ = strconv.Atoi(string(value))
		}
		return name != "code"
	})
	return code
}

func targets(items []mcp.Item) []*v1.Target {
	out := make([]*v1.Target, len(items))
	for i, it := range items {
		out[i] = &v1.Target{Name: it.Name, Definition: it.Raw}
	}
	return out
}

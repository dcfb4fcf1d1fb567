package stdio

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

// opening is how the client opened its legacy session, so that it can be
// opened again. Its fields are guarded by dialogue.mu.
type opening struct {
	initialize *mcp.Frame
	announce   *mcp.Frame // notifications/initialized; nil until it was sent
	session    string     // empty: the server keeps none
	version    string     // that was agreed on
	hangUp     context.CancelFunc
}

// initialize opens a session with the client's frame. One that was open
// before ends.
func (d *dialogue) initialize(ctx context.Context, f *mcp.Frame) {
	d.end(ctx)
	x, ctx, ok := d.begin(ctx, f)
	if !ok {
		d.write(mcp.Failed(f.ID, "too many requests are in flight"))
		return
	}
	o := &opening{initialize: f, hangUp: func() {}}
	err := d.open(ctx, x, o)
	if x.answer != nil && x.answer.Result != nil {
		d.mu.Lock()
		d.opening = o
		d.mu.Unlock()
	}
	d.complete(ctx, x, err)
}

// open posts an initialize and takes what the answer says into o.
func (d *dialogue) open(ctx context.Context, x *exchange, o *opening) error {
	resp, err := d.transport.RoundTrip(d.post(ctx, o.initialize.Bytes))
	if err != nil {
		return err
	}
	if err := d.receive(ctx, x, resp, ""); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if x.answer != nil {
		o.session, o.version = resp.Header.Get(sessionHeader), agreedVersion(x.answer)
	}
	return nil
}

func agreedVersion(answer *mcp.Frame) string {
	plain, _ := jsontext.AppendUnquote(nil, valueAt(answer.Result, "protocolVersion"))
	return string(plain)
}

// setSession sets the headers of a request in the legacy session and returns
// the session's id.
func (d *dialogue) setSession(h http.Header) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opening == nil {
		return ""
	}
	if v := d.opening.version; v != "" {
		h.Set(versionHeader, v)
	}
	if s := d.opening.session; s != "" {
		h.Set(sessionHeader, s)
	}
	return d.opening.session
}

// announced is called when the client has told the server that it is ready:
// from then on the server may speak on its own.
func (d *dialogue) announced(f *mcp.Frame) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opening == nil {
		return
	}
	d.opening.announce = f
	d.startListening()
}

// reopen opens the session anew after it was lost, unless that has happened
// already.
func (d *dialogue) reopen(ctx context.Context, lost string) error {
	select {
	case d.reopening <- struct{}{}:
		defer func() { <-d.reopening }()
	case <-ctx.Done():
		return ctx.Err()
	}
	d.mu.Lock()
	o := d.opening
	again := o != nil && o.session == lost
	d.mu.Unlock()
	if !again {
		return nil
	}
	d.log.Info("the gateway lost the session: it is opened again")
	next := &opening{initialize: o.initialize, announce: o.announce, hangUp: func() {}}
	x := &exchange{frame: o.initialize, silent: true}
	if err := d.open(ctx, x, next); err != nil {
		return err
	}
	if x.answer == nil || x.answer.Result == nil {
		return errors.New("initialize was refused")
	}
	d.mu.Lock()
	o.hangUp()
	d.opening = next
	d.mu.Unlock()
	if o.announce == nil {
		return nil
	}
	r := d.post(ctx, o.announce.Bytes)
	d.setSession(r.Header)
	resp, err := d.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	d.announced(o.announce)
	return nil
}

// startListening opens the session's GET stream beside everything else. d.mu
// is held.
func (d *dialogue) startListening() {
	o := d.opening
	if o.session == "" {
		return
	}
	o.hangUp()
	ctx, cancel := d.beside()
	o.hangUp = cancel
	d.work.Go(func() { d.listen(ctx, o.session) })
}

// listen writes what the server says on its own, until the session ends or
// the server turns out to have no such stream.
func (d *dialogue) listen(ctx context.Context, session string) {
	at := position{retry: time.Second}
	for ctx.Err() == nil {
		resp, err := d.transport.RoundTrip(d.get(ctx, session, at.id))
		if err != nil {
			return
		}
		if !isStream(resp) {
			resp.Body.Close()
			return
		}
		last := at.id
		at, err = d.events(nil, resp.Body)
		resp.Body.Close()
		if at.id == "" {
			at.id = last
		}
		if err != nil && ctx.Err() == nil {
			d.log.Debug("the server's stream ended", "error", err)
		}
		if sleep(ctx, at.retry) != nil {
			return
		}
	}
}

// get opens the session's stream, after the event with the given id if there
// is one.
func (d *dialogue) get(ctx context.Context, session, last string) *http.Request {
	r := d.newRequest(ctx, http.MethodGet, nil)
	r.Header.Set("Accept", "text/event-stream")
	d.setSession(r.Header)
	r.Header.Set(sessionHeader, session)
	if last != "" {
		r.Header.Set("Last-Event-Id", last)
	}
	return r
}

// end ends the legacy session, if one is open.
func (d *dialogue) end(ctx context.Context) {
	d.mu.Lock()
	o := d.opening
	d.opening = nil
	d.mu.Unlock()
	if o == nil {
		return
	}
	o.hangUp()
	if o.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r := d.newRequest(ctx, http.MethodDelete, nil)
	if o.version != "" {
		r.Header.Set(versionHeader, o.version)
	}
	r.Header.Set(sessionHeader, o.session)
	if resp, err := d.transport.RoundTrip(r); err == nil {
		resp.Body.Close()
	}
}

package proxy

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

// The rules on a request that the proxy adds to those of package mcp. Their
// names are part of the audit record.
const (
	rulePath         = "path"
	ruleHost         = "host"
	ruleOrigin       = "origin"
	ruleVerb         = "http-method"
	ruleQuery        = "query"
	ruleUpgrade      = "upgrade"
	ruleBody         = "body-without-post"
	ruleBodyLate     = "body-timeout"
	ruleBodyShort    = "body-incomplete"
	ruleSessionID    = "session-id"
	ruleNoSession    = "unknown-session"
	ruleOtherSession = "session-of-another"
	ruleNoQuestion   = "unexpected-response"
	ruleLastEvent    = "last-event-id"
	ruleOverload     = "overload"
	ruleNetHTTP      = "http"
)

// plain is a fault that is answered in plain HTTP.
func plain(status int, rule, reason string) *mcp.Fault {
	return &mcp.Fault{Status: status, Rule: rule, Reason: reason, Offset: -1}
}

// invalid is a fault that is answered with a JSON-RPC error.
func invalid(status int, rule, reason string) *mcp.Fault {
	return &mcp.Fault{Code: mcp.CodeInvalidRequest, Status: status, Rule: rule, Reason: reason, Offset: -1}
}

var busy = plain(http.StatusServiceUnavailable, ruleOverload, "too much is under way here, or the gateway shuts down; try again")

// admit checks what can be checked without the body.
func (a *act) admit() *mcp.Fault {
	r := a.r
	if a.up == nil {
		return a.lost()
	}
	if err := a.p.hosts.check(r.Host, r.Header["Origin"]); err != nil {
		rule := ruleHost
		if errors.Is(err, errOrigin) {
			rule = ruleOrigin
		}
		return invalid(http.StatusForbidden, rule, err.Error())
	}
	switch r.Method {
	case http.MethodPost, http.MethodGet, http.MethodDelete:
	default:
		return plain(http.StatusMethodNotAllowed, ruleVerb, "use POST, GET or DELETE")
	}
	if fault := framing(r); fault != nil {
		return fault
	}
	if u := r.Header["Upgrade"]; len(u) > 1 || len(u) == 1 && !strings.EqualFold(u[0], "h2c") {
		return invalid(http.StatusBadRequest, ruleUpgrade, "the connection cannot be upgraded")
	}
	if r.Method != http.MethodPost {
		return bodiless(r)
	}
	return mcp.CheckTransport(r.Header)
}

// lost says why the path leads nowhere.
func (a *act) lost() *mcp.Fault {
	if path, _, has := strings.Cut(a.r.RequestURI, "?"); has {
		if name, ok := serverName(a.prefix(), path); ok && a.p.upstreams[name] != nil {
			return invalid(http.StatusBadRequest, ruleQuery, "a query is not accepted; a token belongs into the Authorization header")
		}
	}
	return plain(http.StatusNotFound, rulePath, "not found; servers are under "+a.prefix()+"NAME/")
}

// bodiless checks a GET or DELETE, to which mcp.CheckTransport does not apply.
func bodiless(r *http.Request) *mcp.Fault {
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return invalid(http.StatusBadRequest, ruleBody, "only a POST has a body")
	}
	return mcp.CheckSingle(r.Header)
}

// readBody reads the frame whole, before anything of it is looked at or goes
// out.
func (a *act) readBody() *mcp.Fault {
	limit := int64(a.up.Limits.Bytes)
	if limit <= 0 {
		limit = 1 << 20
	}
	return a.readUpTo(limit)
}

// readUpTo reads a body of so many bytes at most.
func (a *act) readUpTo(limit int64) *mcp.Fault {
	if a.r.ContentLength > limit {
		return tooLarge()
	}
	rc := http.NewResponseController(a.w)
	_ = rc.SetReadDeadline(time.Now().Add(a.p.o.BodyTimeout)) // a ResponseWriter without deadlines is a test's
	body, err := readAll(a.r.Body, a.r.ContentLength, limit)
	_ = rc.SetReadDeadline(time.Time{})
	a.body = body
	switch {
	case errors.Is(err, errTooLong):
		return tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return invalid(http.StatusRequestTimeout, ruleBodyLate, "the body did not arrive in time")
	case err != nil:
		return invalid(http.StatusBadRequest, ruleBodyShort, "the body did not arrive whole, or its framing is broken")
	}
	return nil
}

func tooLarge() *mcp.Fault {
	return invalid(http.StatusRequestEntityTooLarge, mcp.RuleTooLarge, "the frame is longer than the limit")
}

// resolve finds out what is remembered for this client: the legacy session
// that it names, or what its earlier frames without one left.
func (a *act) resolve() *mcp.Fault {
	named := a.r.Header[headerSession]
	if modern := a.frame != nil && a.frame.Meta.Modern; modern || len(named) == 0 || named[0] == "" {
		a.dialog = a.p.dialogs.take(dialogKey{server: a.server, evidence: a.key})
		if a.dialog == nil && a.up.PerSubject {
			a.resolveSubject()
		}
		return nil
	}
	if !isVisible(named[0], 512) {
		return invalid(http.StatusBadRequest, ruleSessionID, "Mcp-Session-Id must be visible ASCII")
	}
	d := a.p.dialogs.take(dialogKey{server: a.server, session: named[0]})
	if d == nil {
		return plain(http.StatusNotFound, ruleNoSession, "there is no such session; initialize a new one")
	}
	o, known := a.p.identities.of(a.key)
	if d.owner.resource != a.evidence.GetResource() || d.evidence != a.key && known && o != d.owner {
		a.p.dialogs.release(d)
		return plain(http.StatusNotFound, ruleOtherSession, "there is no such session; initialize a new one")
	}
	a.dialog, a.session = d, named[0]
	return nil
}

// resolveSubject opens the dialog of a subject that is known by its evidence.
func (a *act) resolveSubject() {
	if o, ok := a.p.identities.of(a.key); ok {
		a.dialog, _ = a.p.dialogs.open(&dialog{
			key:      dialogKey{server: a.server, evidence: a.key},
			evidence: a.key, owner: o, shelf: new(shelf),
		})
	}
}

// isForeign says, after the decision, that the session belongs to somebody
// else than the one who was just recognised.
func (a *act) isForeign() bool {
	return a.session != "" && a.dialog.owner != a.owner()
}

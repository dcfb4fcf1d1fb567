package proxy

import (
	"context"
	"errors"
	"net/http"

	"github.com/mcpermit/mcpermit/pep"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// notAccepted is what the client is told where the server does not accept what
// the gateway has sent it.
const notAccepted = "The server does not accept the gateway's credentials."

// isCredentialRefusal says of a status of the upstream's that it is about the
// gateway's credentials, of which the client can know nothing. Neither the status
// nor its challenge goes on: the client would take its own token for bad, and
// would look for the upstream's authorization server.
func isCredentialRefusal(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired
}

// dispatch makes the act's request to the upstream. Where that answers 401, the
// credential that the request carried is renewed, and what does no harm when it is
// sent twice is sent once more: the same bytes, with the obligations of the
// renewal. Nothing has gone to the client until then.
//
// Behind an Envoy nothing is sent twice: the request has gone, and the renewal is for
// the next.
func (a *act) dispatch(l *line, method string, body []byte) (*http.Response, error) {
	res, err := a.attempt(l, method, body)
	if !isUnauthorized(res, err) || !a.renew(l) {
		return res, err
	}
	res.Body.Close()
	return a.attempt(l, method, body)
}

// isUnauthorized says so also of an answer that only Envoy has seen.
func isUnauthorized(res *http.Response, err error) bool {
	var reported *Reported
	if errors.As(err, &reported) {
		return reported.Outcome.GetStatus() == http.StatusUnauthorized
	}
	return err == nil && res.StatusCode == http.StatusUnauthorized
}

func (a *act) attempt(l *line, method string, body []byte) (*http.Response, error) {
	h := upstreamHeader(l.ctx, a.r.Header, a.session)
	res, sent, err := a.up.send(l, a.up.request(l, method, body, h, a.duties))
	a.out.Forwarded = a.out.Forwarded || sent
	return res, err
}

// renew reports whether the request may be sent once more. It waits no longer
// than the client does, and not at all while the gateway drains.
func (a *act) renew(l *line) bool {
	if a.p.o.Transport == v1.Transport_TRANSPORT_ENVOY {
		go a.p.renewBehind(context.WithoutCancel(l.ctx), a.server, a.decision, a.up.means())
		return false
	}
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	defer context.AfterFunc(a.p.gate.draining, cancel)()
	l.rest()
	defer l.alive()
	duties, ok := a.p.o.Enforcer.Renew(ctx, a.server, a.decision, a.up.means())
	if ok {
		a.duties = duties
	}
	return ok
}

// renewBehind renews for the next request, while nobody waits: Envoy would for a
// second at most.
func (p *Proxy) renewBehind(ctx context.Context, server string, d *v1.DecideResponse, by pep.Means) {
	_, _ = p.o.Enforcer.Renew(ctx, server, d, by) // what goes wrong is logged
}

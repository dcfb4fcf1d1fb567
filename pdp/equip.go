package pdp

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mcpermit/mcpermit/pdp/credential"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// equip gets what an allowed frame has to carry to its server. It comes before
// anything is counted or used up: a frame whose credential cannot be had costs
// nothing.
func (e *Engine) equip(ctx context.Context, d *decision) {
	if e.Credentials == nil || d.req.GetContext().GetDirection() == v1.Direction_DIRECTION_TO_CLIENT {
		return
	}
	asked := credential.Request{
		Server: d.req.GetServer(), Name: d.result.Credential, Holder: holder(d),
		SubjectToken: accessToken(d.req.GetEvidence()),
	}
	m, err := e.Credentials.For(ctx, asked)
	if err != nil {
		e.unequipped(ctx, d, err)
		return
	}
	d.material = m
	if m.Generation == 0 {
		return
	}
	d.res.Credential = &v1.CredentialUse{Name: m.Name, Holder: m.Holder, Generation: m.Generation, Retriable: isRetriable(d)}
	asked.Name = m.Name
	e.equipped.add(d.res.GetDecisionId(), equipment{asked, d.res.GetCredential()}, d.start)
}

// holder is whose credentials a call uses: those of the person to whom the subject
// belongs, or the subject's own. A grant that was made from another has those of
// whoever got the first, since its holder was named by somebody below.
func holder(d *decision) string {
	root := d.who.Root()
	switch {
	case root == nil:
		return d.subject.ID
	case root.Owner != "":
		return root.Owner
	}
	return root.Subject.ID
}

// accessToken is the token by which the subject was proven, where it can be
// exchanged: a grant's token means nothing to anybody else.
func accessToken(e *v1.Evidence) string {
	if e.GetResource() == "" {
		return ""
	}
	return e.GetBearerToken()
}

// isRetriable says whether the frame does no harm when a server that refused it
// sees it again. A call that changes something may have done so all the same.
func isRetriable(d *decision) bool {
	if d.req.GetMethod() == "tools/call" {
		return d.tool != nil && d.tool.Class == "read"
	}
	return d.req.GetKind() != v1.FrameKind_FRAME_KIND_RESPONSE
}

func (e *Engine) unequipped(ctx context.Context, d *decision, err error) {
	var account *credential.AccountNeeded
	var unknown *credential.UnknownError
	switch {
	case errors.As(err, &account):
		needed := &v1.AccountNeeded{Holder: account.Holder}
		if e.ConsoleURL != "" {
			needed.Url = credential.ConnectURL(e.ConsoleURL, account.Server, account.Name, account.Holder)
		}
		d.res.Account = needed
		// What there is to do about it, the enforcement point says.
		d.deny(v1.ReasonCode_REASON_CODE_ACCOUNT_NEEDED, account.Holder+" has not connected an account of "+account.Server+".")
	case errors.As(err, &unknown):
		e.Log.ErrorContext(ctx, "the policy chose a credential that is not configured", "decision", d.res.GetDecisionId(), "server", unknown.Server, "credential", unknown.Name)
		d.deny(v1.ReasonCode_REASON_CODE_POLICY_ERROR, "The policy could not decide.")
	default:
		e.Log.ErrorContext(ctx, "a credential could not be had", "decision", d.res.GetDecisionId(), "server", d.req.GetServer(), "error", err)
		d.deny(v1.ReasonCode_REASON_CODE_CREDENTIAL_UNAVAILABLE, "The gateway's credential for this server could not be had; try again.")
	}
}

// oblige says what the enforcement point has to do with the allowed frame.
func (e *Engine) oblige(_ context.Context, d *decision) {
	d.settled = true
	d.res.Obligations = obligations(&d.material)
	if d.req.GetContext().GetDirection() != v1.Direction_DIRECTION_TO_CLIENT && isListing(d.req.GetMethod()) {
		d.res.Obligations = append(d.res.Obligations, &v1.Obligation{Act: &v1.Obligation_FilterListing{
			FilterListing: &v1.FilterListing{MaxTtl: durationpb.New(listTTL)},
		}})
	}
}

func obligations(m *credential.Material) []*v1.Obligation {
	var out []*v1.Obligation
	for _, h := range m.Headers {
		out = append(out, &v1.Obligation{Act: &v1.Obligation_SetHeader{SetHeader: &v1.SetHeader{Name: h.Name, Value: h.Value}}})
	}
	for _, q := range m.Query {
		out = append(out, &v1.Obligation{Act: &v1.Obligation_SetQuery{SetQuery: &v1.SetQuery{Name: q.Name, Value: q.Value}}})
	}
	for _, v := range m.Env {
		out = append(out, &v1.Obligation{Act: &v1.Obligation_SetEnvironment{SetEnvironment: &v1.SetEnvironment{Name: v.Name, Value: v.Value}}})
	}
	return out
}

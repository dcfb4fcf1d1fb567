package pdp

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// DecideList implements mcpermit.v1.DecisionService. Items of a subject that
// is not, or no longer, entitled are all left out; that is no error. Not to have
// been able to judge all of them in time is one: UNAVAILABLE.
func (e *Engine) DecideList(ctx context.Context, req *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	items := req.GetItems()
	res := &v1.DecideListResponse{Items: make([]*v1.ItemDecision, len(items))}
	for i := range res.Items {
		res.Items[i] = &v1.ItemDecision{Effect: v1.Effect_EFFECT_HIDE}
	}
	if !isListing(req.GetMethod()) {
		return res, nil
	}
	if req.GetMethod() == "tools/list" && (len(items) > 0 || req.GetWhole()) {
		e.observe(ctx, req)
	}
	who, err := e.Identity.Identify(ctx, evidence(req.GetEvidence()), req.GetServer())
	if err != nil {
		if refusal := (*identity.Refusal)(nil); errors.As(err, &refusal) {
			res.ReasonCode = refusalCodes[refusal.Code]
			return res, nil
		}
		return nil, err
	}
	snapshot := e.Policy()
	switch {
	case !who.CoversServer(req.GetServer()):
		res.ReasonCode = v1.ReasonCode_REASON_CODE_SERVER_NOT_GRANTED
		return res, nil
	case snapshot == nil:
		res.ReasonCode = v1.ReasonCode_REASON_CODE_NO_POLICY
		return res, nil
	}
	revision := snapshot.Revision()
	res.Policy = &v1.PolicyRevision{Revision: revision.Revision, Digest: revision.Digest}

	d := &decision{who: who, start: e.Now()}
	base := e.base(d, req.GetServer(), req.GetClient(), req.GetContext(), req.GetEvidence().GetPeer())
	base.Method = req.GetMethod()
	offers := e.items(req, base)
	listed, err := snapshot.List(ctx, base, offers)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	for i := range offers {
		if listed[i] && offered(who, offers[i]) {
			res.Items[i].Effect = v1.Effect_EFFECT_ALLOW
		}
	}
	return res, nil
}

func (e *Engine) items(req *v1.DecideListRequest, base *policy.Input) []policy.Item {
	out := make([]policy.Item, len(req.GetItems()))
	for i, t := range req.GetItems() {
		switch req.GetMethod() {
		case "tools/list":
			tool := e.Catalog.Lookup(base.Server.Name, t.GetName(), base.Server.Trusted, t.GetDefinition())
			out[i].Tool = policyTool(&tool)
		case "prompts/list":
			out[i].Prompt = t.GetName()
		default:
			out[i].Resource = t.GetName()
		}
	}
	return out
}

// offered is what a listing needs beside the policy: the same that a call is
// refused for before the policy is asked.
func offered(who *identity.Identity, item policy.Item) bool {
	return item.Tool == nil || who.CoversTool(item.Tool.Name) && who.CoversClass(item.Tool.Class) && item.Tool.Pinned != "drift"
}

// Listed says for each tool of a server whether it would be listed for somebody, as [Engine.DecideList] would now for a client that says nothing
// of itself. Nothing is on record.
func (e *Engine) Listed(ctx context.Context, who *identity.Identity, server string, tools []catalog.Tool) ([]bool, error) {
	listed := make([]bool, len(tools))
	snapshot := e.Policy()
	if snapshot == nil || !who.CoversServer(server) {
		return listed, nil
	}
	base := e.base(&decision{who: who, start: e.Now()}, server, nil, nil, "")
	base.Method = "tools/list"
	offers := make([]policy.Item, len(tools))
	for i := range tools {
		offers[i].Tool = policyTool(&tools[i])
	}
	is, err := snapshot.List(ctx, base, offers)
	if err != nil {
		return nil, err
	}
	for i := range offers {
		listed[i] = is[i] && offered(who, offers[i])
	}
	return listed, nil
}

func (e *Engine) observe(ctx context.Context, req *v1.DecideListRequest) {
	seen := make([]catalog.Definition, len(req.GetItems()))
	for i, t := range req.GetItems() {
		seen[i] = catalog.Definition{Name: t.GetName(), Raw: t.GetDefinition()}
	}
	if err := e.Catalog.Observe(ctx, req.GetServer(), seen, req.GetWhole()); err != nil {
		e.Log.WarnContext(ctx, "what the server lists could not be noted", "server", req.GetServer(), "error", err)
	}
}

package policy

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Service implements mcpermit.v1.PolicyService over a Loader. It is safe for
// concurrent use.
type Service struct {
	v1.UnimplementedPolicyServiceServer
	// Recorded finds the input of a recorded decision. While it is nil, only
	// inputs that the caller sends can be explained. Set it before serving.
	Recorded Recorded
	// Counter tells what is left of quotas; nil: it is not told. Set it before
	// serving.
	Counter Counter
	loader  *Loader
}

// Counter knows how far quotas are used.
type Counter interface {
	// Remaining says how the quotas stand now that a call with this input counts
	// against. The error says which cannot be counted.
	Remaining(ctx context.Context, in *Input, quotas []Quota) ([]*v1.QuotaUse, error)
}

// Recorded is where recorded decisions can be found, the audit trail.
type Recorded interface {
	// RecordedInput returns the input document of the decision
	// (rego/schemas/input.json). The error is for the caller of the service, as
	// a gRPC status where its code matters.
	RecordedInput(ctx context.Context, decisionID string) ([]byte, error)
}

// NewService returns the service for the policy that the loader keeps in force.
func NewService(l *Loader) *Service { return &Service{loader: l} }

// maxFindings bounds what one answer carries.
const maxFindings = 1000

// GetPolicyStatus says what is in force, and what became of the last attempt
// to replace it.
func (s *Service) GetPolicyStatus(context.Context, *v1.GetPolicyStatusRequest) (*v1.GetPolicyStatusResponse, error) {
	st := s.loader.Status()
	out := &v1.GetPolicyStatusResponse{
		Ready:       st.Ready,
		Policy:      &v1.PolicyRevision{Revision: st.Revision.Revision, Digest: st.Revision.Digest},
		Source:      st.Source,
		ActivatedAt: timestamp(st.ActivatedAt),
		LastError:   st.LastError,
		LastErrorAt: timestamp(st.LastErrorAt),
		Rules:       make(map[string]int32, len(st.Rules)),
	}
	if st.Kept {
		out.Source += " (the copy kept from an earlier run)"
	}
	for path, n := range st.Rules {
		out.Rules[path] = int32(n)
	}
	for _, f := range st.Findings[:min(len(st.Findings), maxFindings)] {
		out.Findings = append(out.Findings, &v1.LintFinding{
			Check: f.Check, File: f.File, Line: int32(f.Line), Path: f.Path, Message: f.Message,
		})
	}
	return out, nil
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// maxTrace bounds the trace in one answer, bytes.
const maxTrace = 1 << 20

// ExplainDecision evaluates one input against the policy in force, with
// tracing on. Nothing is recorded or forwarded.
func (s *Service) ExplainDecision(ctx context.Context, req *v1.ExplainDecisionRequest) (*v1.ExplainDecisionResponse, error) {
	snapshot := s.loader.Current()
	if snapshot == nil {
		return nil, status.Error(codes.FailedPrecondition, "no policy is in force: everything is denied; see `mcpermit policy status`")
	}
	document, err := s.document(ctx, req)
	if err != nil {
		return nil, err
	}
	in, err := InputFromJSON(document)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	ex := snapshot.Explain(ctx, in)
	out := &v1.ExplainDecisionResponse{
		Effect:     protoEffects[ex.Result.Effect],
		ReasonCode: protoCauses[ex.Result.Cause],
		Reason:     ex.Result.Reason,
		Winning:    protoRules(ex.Result.Rules),
		Trace:      ex.Trace[:min(len(ex.Trace), maxTrace)],
		Policy:     &v1.PolicyRevision{Revision: snapshot.Revision().Revision, Digest: snapshot.Revision().Digest},
		Scopes:     ex.Result.Scopes,
		Credential: ex.Result.Credential,
	}
	for _, r := range ex.Fired {
		out.Fired = append(out.Fired, protoRule(r.Rule))
	}
	if ex.Result.Err != nil {
		out.Reason = ex.Result.Err.Error()
	}
	if s.Counter == nil {
		return out, nil
	}
	if out.Quotas, err = s.Counter.Remaining(ctx, in, ex.Result.Quotas); err != nil {
		// The explanation is worth having without it.
		out.Reason = strings.TrimSpace(out.Reason + "\nIts quotas are not known: " + err.Error())
	}
	return out, nil
}

func (s *Service) document(ctx context.Context, req *v1.ExplainDecisionRequest) ([]byte, error) {
	switch {
	case (len(req.GetInput()) > 0) == (req.GetDecisionId() != ""):
		return nil, status.Error(codes.InvalidArgument, "give either an input or a decision id")
	case req.GetDecisionId() == "":
		return req.GetInput(), nil
	case s.Recorded == nil:
		return nil, status.Error(codes.Unimplemented, "this PDP does not keep the inputs of its decisions: send the input itself")
	}
	return s.Recorded.RecordedInput(ctx, req.GetDecisionId())
}

var (
	protoEffects = map[Effect]v1.Effect{
		Deny: v1.Effect_EFFECT_DENY, Hide: v1.Effect_EFFECT_HIDE,
		Approve: v1.Effect_EFFECT_APPROVE, Allow: v1.Effect_EFFECT_ALLOW,
	}
	protoCauses = map[Cause]v1.ReasonCode{
		CauseError: v1.ReasonCode_REASON_CODE_POLICY_ERROR, CauseRule: v1.ReasonCode_REASON_CODE_POLICY,
		CauseNoMatch: v1.ReasonCode_REASON_CODE_NO_MATCH, CauseOverload: v1.ReasonCode_REASON_CODE_OVERLOADED,
		CauseScope: v1.ReasonCode_REASON_CODE_INSUFFICIENT_SCOPE,
	}
)

func protoRules(rules []Rule) []*v1.MatchedRule {
	out := make([]*v1.MatchedRule, 0, len(rules))
	for _, r := range rules {
		out = append(out, protoRule(r))
	}
	return out
}

func protoRule(r Rule) *v1.MatchedRule {
	return &v1.MatchedRule{
		Path: r.Path, Id: r.ID, File: r.File, Line: int32(r.Line), Title: r.Title, Reason: r.Reason,
	}
}

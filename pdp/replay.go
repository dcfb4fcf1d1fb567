package pdp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/policy"
)

// Why a recorded decision can't be made again.
var (
	ErrNotByPolicy = errors.New("no policy was asked")
	ErrMasked      = errors.New("something that the policy saw is masked in the record")
	ErrTruncated   = errors.New("its arguments are too long for the record")
)

// replayed is what replayInput has written.
type replayed struct {
	Subject struct {
		Groups []string       `json:"groups"` // where the record has not all
		Scopes []string       `json:"scopes"`
		Claims jsontext.Value `json:"claims"`
	} `json:"subject"`
	Grant *struct {
		Labels    map[string]string `json:"labels"`
		Servers   []string          `json:"servers"`
		Tools     []string          `json:"tools"`
		Classes   []string          `json:"classes"`
		Policies  []string          `json:"policies"`
		Parent    string            `json:"parent"`
		ExpiresAt time.Time         `json:"expires_at"`
	} `json:"grant"`
	Server Server `json:"server"`
	Tool   struct {
		Traits      []string       `json:"traits"`
		Annotations jsontext.Value `json:"annotations"`
	} `json:"tool"`
}

// InputOf returns the input that the policy saw when a recorded decision was
// made (I12). The error wraps ErrNotByPolicy, ErrMasked or ErrTruncated where
// the record does not have it.
func InputOf(r *audit.Record) (*policy.Input, error) {
	switch {
	case r.Input == nil:
		return nil, ErrNotByPolicy
	case r.Truncated != nil:
		return nil, ErrTruncated
	case len(r.Masked) > 0 || r.InputMasked():
		return nil, ErrMasked
	}
	return recordedInput(r)
}

// DocumentOf returns the document that the policy saw when a recorded decision
// was made, for people: what the record masks is masked, and arguments that it
// leaves out are missing. The error wraps ErrNotByPolicy where there was none.
func DocumentOf(r *audit.Record) ([]byte, error) {
	if r.Input == nil {
		return nil, ErrNotByPolicy
	}
	in, err := recordedInput(r)
	if err != nil {
		return nil, err
	}
	return in.Document()
}

func recordedInput(r *audit.Record) (*policy.Input, error) {
	var also replayed
	if err := json.Unmarshal(r.Input, &also, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("the record of decision %s cannot be read: %w", r.DecisionID, err)
	}
	in := &policy.Input{
		Server: policy.Server{Name: r.Server, Labels: also.Server.Labels, Trusted: also.Server.Trusted},
		Context: policy.Context{
			Time: r.Time, Transport: r.Context.Transport, ProtocolVersion: r.Context.ProtocolVersion,
			Session: string(r.Context.Session), Peer: r.Context.Peer, PEP: r.Context.PEP, Direction: r.Frame.Direction,
		},
	}
	if s := r.Subject; s != nil {
		in.Subject = policy.Subject{
			ID: s.ID, Type: s.Type, Groups: s.Groups, Issuer: s.Issuer, Actor: s.Actor,
			Scopes: also.Subject.Scopes, Claims: also.Subject.Claims,
		}
		if also.Subject.Groups != nil {
			in.Subject.Groups = also.Subject.Groups
		}
	}
	if g := also.Grant; g != nil {
		in.Grant = &policy.Grant{
			ID: r.Grant, Labels: g.Labels, Servers: g.Servers, Tools: g.Tools, Classes: g.Classes,
			Policies: g.Policies, Parent: g.Parent, ExpiresAt: g.ExpiresAt,
		}
	}
	if c := r.Client; c != nil {
		in.Client = policy.Client{Name: c.Name, Version: c.Version}
	}
	var tool *catalog.Tool
	if t := r.Tool; t != nil {
		tool = &catalog.Tool{
			Name: r.Frame.Name, Class: t.Class, Risk: t.Risk, Pinned: t.Pinned,
			Traits: also.Tool.Traits, Annotations: also.Tool.Annotations,
		}
	}
	aim(in, r.Frame.Method, r.Frame.Name, r.Arguments, tool)
	return in, nil
}

// Recorded finds inputs of recorded decisions for policy.Service.
type Recorded struct{ Trail *audit.Trail }

// RecordedInput implements policy.Recorded.
func (r Recorded) RecordedInput(ctx context.Context, decisionID string) ([]byte, error) {
	record, err := r.Trail.Find(ctx, decisionID)
	if errors.Is(err, audit.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "there is no record of decision %s", decisionID)
	}
	if err != nil {
		return nil, err
	}
	in, err := InputOf(record)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "decision %s can't be made again: %v", decisionID, err)
	}
	return in.Document()
}

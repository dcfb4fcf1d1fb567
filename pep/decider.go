package pep

import (
	"context"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Decider makes decisions. The PDP's engine is one in process, and [Client] is
// one over gRPC. An error means that no decision was made.
//
// Implementations must be safe for concurrent use and must not keep a request
// after they returned. They must return when their context ends, at its
// deadline at the latest, whatever they wait for: they are called on the
// goroutine of the frame, which is held for as long. A decision after the
// deadline is refused all the same.
type Decider interface {
	Decide(context.Context, *v1.DecideRequest) (*v1.DecideResponse, error)
	DecideList(context.Context, *v1.DecideListRequest) (*v1.DecideListResponse, error)
	Complete(context.Context, *v1.CompleteRequest) (*v1.CompleteResponse, error)
	// RenewCredential and DelegateGrant are DecisionService's.
	RenewCredential(context.Context, *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error)
	DelegateGrant(context.Context, *v1.DelegateGrantRequest) (*v1.DelegateGrantResponse, error)
	// AwaitApproval is the one that waits by design; see [Enforcer.Await].
	AwaitApproval(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error)
}

package approval

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound says that there is no approval of that id.
	ErrNotFound = errors.New("no such approval")
	// ErrTooManyPending says that too many calls under the grant wait already.
	ErrTooManyPending = errors.New("too many calls under this grant wait for approval")
)

// Store keeps approvals. Its methods are safe for concurrent use, also by
// several processes over one database. Times are kept to the microsecond at
// least, in UTC.
type Store interface {
	// OpenApproval returns the record with the same Binding that stands at
	// a.CreatedAt (see State.Stands; it has not expired), or stores a and returns
	// it when there is none. A record that had stood is Expired from then on.
	// Of concurrent callers with one binding exactly one stores. It returns
	// ErrTooManyPending when maxPending records of a.GrantID are pending and not
	// expired, and none of them is this one.
	OpenApproval(ctx context.Context, a Approval, maxPending int) (Approval, error)
	// ChangeApproval reads the record, lets change work on it, and stores what
	// has become of it, in one transaction: no other change of the record comes
	// in between. change may be called again when the transaction is tried again,
	// each time with the record as it is then. Its error is returned as it is, and
	// nothing is stored then. The call that the record is for, its id, its opening
	// and its creation are never changed. ErrNotFound for an id that it does not have.
	ChangeApproval(ctx context.Context, id string, change func(a *Approval) error) (Approval, error)
	// ForgetApprovals deletes at most limit records whose time was over before
	// the given one, the oldest first.
	ForgetApprovals(ctx context.Context, before time.Time, limit int) error
	// Approval returns ErrNotFound for an id that it does not have.
	Approval(ctx context.Context, id string) (Approval, error)
	// Approvals returns at most limit records, newest first; with a non-zero
	// pendingAt only those that are pending and not expired at that time.
	Approvals(ctx context.Context, limit int, pendingAt time.Time) ([]Approval, error)
}

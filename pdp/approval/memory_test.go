package approval

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// memory is a store for tests.
type memory struct {
	mu   sync.Mutex
	list []Approval
	away error
}

func (m *memory) OpenApproval(_ context.Context, a Approval, maxPending int) (Approval, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return Approval{}, m.away
	}
	pending := 0
	for i := range m.list {
		other := &m.list[i]
		if other.At(a.CreatedAt).State == Pending && other.GrantID == a.GrantID {
			pending++
		}
		if other.Binding() != a.Binding() {
			continue
		}
		if *other = other.At(a.CreatedAt); other.State.Stands() {
			return *other, nil
		}
	}
	if pending >= maxPending {
		return Approval{}, ErrTooManyPending
	}
	m.list = append(m.list, a)
	return a, nil
}

func (m *memory) ChangeApproval(_ context.Context, id string, change func(a *Approval) error) (Approval, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, err := m.find(id)
	if err != nil {
		return Approval{}, err
	}
	a := m.list[i]
	if err := change(&a); err != nil {
		return Approval{}, err
	}
	m.list[i] = a
	return a, nil
}

func (m *memory) ForgetApprovals(_ context.Context, before time.Time, limit int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = slices.DeleteFunc(m.list, func(a Approval) bool {
		limit--
		return limit >= 0 && a.ExpiresAt.Before(before)
	})
	return m.away
}

func (m *memory) find(id string) (int, error) {
	i := slices.IndexFunc(m.list, func(a Approval) bool { return a.ID == id })
	if m.away != nil {
		return 0, m.away
	}
	if i < 0 {
		return 0, ErrNotFound
	}
	return i, nil
}

func (m *memory) Approval(_ context.Context, id string) (Approval, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, err := m.find(id)
	if err != nil {
		return Approval{}, err
	}
	return m.list[i], nil
}

func (m *memory) Approvals(_ context.Context, limit int, pendingAt time.Time) ([]Approval, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Approval
	for _, a := range slices.Backward(m.list) {
		if len(list) < limit && (pendingAt.IsZero() || a.At(pendingAt).State == Pending) {
			list = append(list, a)
		}
	}
	return list, m.away
}

// acts is a recorder for tests.
type acts struct {
	mu   sync.Mutex
	list []Act
	away error
}

func (r *acts) Act(_ context.Context, a Act) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away == nil {
		r.list = append(r.list, a)
	}
	return r.away
}

// results are those of the acts so far.
func (r *acts) results() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.list {
		list = append(list, a.Act+": "+a.Result)
	}
	return list
}

var errAway = errors.New("gone")

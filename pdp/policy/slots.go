package policy

import (
	"runtime"
	"time"
)

// Slots bound how many evaluations are under way, the abandoned ones included.
// They are safe for concurrent use and need no closing.
//
// An evaluation that is late cannot be stopped from outside: OPA looks at its
// cancel flag between steps, and a built-in function may take long in one step.
// So that nobody has to wait for it, evaluations of policies that use such
// functions run on goroutines of their own, and the caller waits for the answer
// or the deadline, whichever is first. (All others run where they are asked
// for, see prompt.go.)
// Starting a goroutine for each would grow a fresh stack to the depth of the
// evaluation every time; a worker that has finished instead takes the next one,
// and ends when none comes for a while. There are never more workers than
// slots, and one that is stuck keeps its slot until it comes back.
type Slots struct {
	work    chan func()   // unbuffered: handed from a caller to an idle worker
	workers chan struct{} // one element for each slot that is taken
}

// linger is how long a worker waits for further work.
const linger = 100 * time.Millisecond

// NewSlots returns n slots; n < 1 means 16 for each processor.
func NewSlots(n int) *Slots {
	if n < 1 {
		n = 16 * runtime.GOMAXPROCS(0)
	}
	return &Slots{work: make(chan func()), workers: make(chan struct{}, n)}
}

// enter takes a slot for the calling goroutine, if one is free; leave gives it
// back.
func (s *Slots) enter() bool {
	select {
	case s.workers <- struct{}{}:
		return true
	default:
		return false
	}
}

// wait takes a slot as enter does, and waits for one until late is closed or
// received from.
func (s *Slots) wait(late <-chan time.Time, cancelled <-chan struct{}) bool {
	select {
	case s.workers <- struct{}{}:
		return true
	case <-late:
	case <-cancelled:
	}
	return false
}

func (s *Slots) leave() { <-s.workers }

// run has a worker call f, and says whether one was free before late was
// closed or received from.
func (s *Slots) run(f func(), late <-chan time.Time, cancelled <-chan struct{}) bool {
	select {
	case s.work <- f: // an idle worker, rather than a further one
		return true
	default:
	}
	select {
	case s.work <- f:
		return true
	case s.workers <- struct{}{}:
		go s.worker(f)
		return true
	case <-late:
	case <-cancelled:
	}
	return false
}

func (s *Slots) worker(f func()) {
	defer func() { <-s.workers }()
	idle := time.NewTimer(linger)
	defer idle.Stop()
	for {
		f()
		idle.Reset(linger)
		select {
		case f = <-s.work:
		case <-idle.C:
			return
		}
	}
}

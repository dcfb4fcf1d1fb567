package audit

import "sync"

// cleanInputs remembers inputs in which there was nothing to mask. What a policy
// sees beside a call changes with the grant, the server and the tool, not from call
// to call, so it need not be searched for secrets each time. An input is only ever
// compared as a whole.
type cleanInputs struct {
	mu   sync.RWMutex
	seen map[string]struct{}
}

const (
	// cleanInput is the size up to which an input is remembered, in bytes.
	cleanInput = 4 << 10
	// mostClean bounds how many are; then all are forgotten.
	mostClean = 1 << 10
)

func (c *cleanInputs) has(input []byte) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.seen[string(input)]
	return ok
}

func (c *cleanInputs) add(input []byte) {
	if len(input) > cleanInput {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= mostClean {
		c.seen = make(map[string]struct{})
	}
	c.seen[string(input)] = struct{}{}
}

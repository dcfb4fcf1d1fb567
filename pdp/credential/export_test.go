package credential

import (
	"maps"
	"slices"
)

// OpenDataKeys returns the numbers of the data keys that are in memory.
func (v *SealedVault) OpenDataKeys() []int64 {
	v.keys.mu.RLock()
	defer v.keys.mu.RUnlock()
	return slices.Sorted(maps.Keys(v.keys.opened))
}

// MaxCached is how many secrets are cached at most.
const MaxCached = maxCached

// Cached returns how many secrets are.
func (v *Values) Cached() int {
	v.secrets.mu.RLock()
	defer v.secrets.mu.RUnlock()
	return len(v.secrets.secrets)
}

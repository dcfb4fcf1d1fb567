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

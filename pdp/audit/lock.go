package audit

import (
	"errors"
	"os"
	"time"
)

// lockName is the file that the writing process holds a lock on.
const lockName = "lock"

// takeLock takes the lock. Somebody who merely asks whether it is taken holds it
// for a moment, so it is tried more than once.
func takeLock(path string) (f *os.File, err error) {
	for range 5 {
		if f, err = lock(path); !errors.Is(err, errLocked) {
			return f, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, err
}

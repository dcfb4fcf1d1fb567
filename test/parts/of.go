package parts

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"
)

// installed are the parts, installed once for all tests of a program.
var installed = sync.OnceValues(func() (Parts, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	return Install(ctx, os.Stderr)
})

// Of returns the parts for a test, which ends here, by the part's name, where one
// can't be had.
func Of(t testing.TB) Parts {
	t.Helper()
	p, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

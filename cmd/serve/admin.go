package serve

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Admin is the operators' listener: /healthz, /readyz and /metrics, which need
// no sign-in and show nothing of any call, and the pages of the console.
type Admin struct {
	*http.Server
	draining atomic.Bool
}

// NewAdmin returns the listener for addr. pages is everything else there, nil for
// nothing; ready says why the program can't serve now, or nil.
func NewAdmin(addr string, metrics, pages http.Handler, ready func() error) *Admin {
	a := &Admin{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := ready()
		if a.draining.Load() {
			err = fmt.Errorf("draining")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", metrics)
	if pages != nil {
		mux.Handle("/", pages)
	}
	a.Server = &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	return a
}

// Drain makes /readyz say no, so that balancers send new calls elsewhere.
func (a *Admin) Drain() { a.draining.Store(true) }

// Service runs the listener on l.
func (a *Admin) Service(l net.Listener) Service {
	return Service{Name: "admin", Stop: a.Shutdown, Run: func() error {
		if err := a.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}}
}

package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Service is one part of a running program.
type Service struct {
	Name string
	// Run serves until Stop, or until it fails.
	Run func() error
	// Stop ends Run and waits, until ctx ends, for what is under way.
	Stop func(ctx context.Context) error
}

// gcPercent is how much garbage may lie about beside what is in use. A gateway
// uses little memory and leaves much garbage with every call: at Go's own 100 it
// would collect several times a second. GOGC in the environment comes first.
const gcPercent = 400

// Run runs the services until SIGINT, SIGTERM or the first failure, then stops
// them in the given order: what takes in new work first, what the others need
// last. drain bounds the stopping; a second signal ends it at once.
func Run(ctx context.Context, log *slog.Logger, drain time.Duration, services ...Service) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	group, running := errgroup.WithContext(ctx)
	for _, s := range services {
		if s.Run != nil {
			group.Go(s.Run)
		}
	}
	select {
	case <-running.Done():
	case sig := <-signals:
		log.Info("draining; a second signal stops at once", "signal", sig.String(), "for", drain.String())
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	go func() {
		select {
		case <-signals:
			cancel()
		case <-bounded.Done():
		}
	}()
	var failed error
	for _, s := range services {
		if s.Stop == nil {
			continue
		}
		if err := s.Stop(bounded); err != nil {
			log.Warn("not stopped cleanly", "part", s.Name, "error", err)
			failed = errors.Join(failed, err)
		}
	}
	if err := group.Wait(); !errors.Is(err, errEnded) {
		failed = errors.Join(err, failed)
	}
	return failed
}

// Listen opens a TCP listener and says in its error which key to change.
func Listen(ctx context.Context, key, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, errors.Join(errors.New(key+": choose another address"), err)
	}
	return l, nil
}

// errEnded is the result of a conversation that its client ended.
var errEnded = errors.New("the client has gone")

// Conversation is a service that ends the program when it returns.
func Conversation(name string, run func(context.Context) error) Service {
	ctx, cancel := context.WithCancel(context.Background())
	return Service{
		Name: name,
		Run: func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			return errEnded
		},
		Stop: func(context.Context) error { cancel(); return nil },
	}
}

package serve

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"

	"google.golang.org/grpc"
)

// GRPC is a gRPC server on a listener as a part of a program. Stopping it waits
// for the calls that are under way.
func GRPC(name string, s *grpc.Server, l net.Listener) Service {
	return Service{
		Name: name,
		Run:  func() error { return s.Serve(l) },
		Stop: func(ctx context.Context) error {
			done := make(chan struct{})
			go func() { s.GracefulStop(); close(done) }()
			select {
			case <-done:
			case <-ctx.Done():
				s.Stop()
				<-done
			}
			return nil
		},
	}
}

// ListenUnix opens a socket that only the own user may connect to, in place of
// one that is there: the caller knows that it is a dead process's.
func ListenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

package databases

import (
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Link is the way of one client to a server, which a test can cut. It ends with
// the test.
type Link struct {
	address, target string

	mu       sync.Mutex
	listener net.Listener // nil while connections are refused
	silent   bool
	conns    map[net.Conn]bool // both ends of every connection
	pumps    sync.WaitGroup
}

// Link makes a whole way to the server.
func (s *server) Link(t testing.TB) *Link {
	t.Helper()
	l := &Link{address: freeAddress(t), target: s.address, conns: map[net.Conn]bool{}}
	l.listen(t)
	t.Cleanup(func() {
		l.Refuse(t)
		l.pumps.Wait()
	})
	return l
}

// Through is the server's URL by way of the link.
func (l *Link) Through(t testing.TB, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.address
	return u.String()
}

// Refuse cuts the link as a host does whose server has ended: connections are
// reset, and new ones refused.
func (l *Link) Refuse(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == nil {
		return
	}
	if err := l.listener.Close(); err != nil {
		t.Error(err)
	}
	l.listener = nil
	for c := range l.conns {
		reset(c)
	}
}

// Silence cuts the link as a network does that loses every packet: connections
// stay open, also new ones, and nothing arrives any more. A connection that has
// lost something stays dead when the link is healed, as behind a firewall that
// has forgotten it.
func (l *Link) Silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

// Heal makes the link whole for new connections.
func (l *Link) Heal(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = false
	if l.listener == nil {
		l.listen(t)
	}
}

func (l *Link) listen(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		t.Fatal(err)
	}
	l.listener = listener
	l.pumps.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			l.connect(client)
		}
	})
}

// connect joins a client to the server, unless the link is cut.
func (l *Link) connect(client net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == nil {
		reset(client)
		return
	}
	l.conns[client] = true
	if l.silent {
		l.pumps.Go(func() { l.drop(client) })
		return
	}
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		delete(l.conns, client)
		reset(client)
		return
	}
	l.conns[server] = true
	l.pumps.Go(func() { l.carry(client, server) })
	l.pumps.Go(func() { l.carry(server, client) })
}

// carry moves what one end says to the other until one of them has ended, or the
// link has lost something: then nothing arrives any more, not even the end.
func (l *Link) carry(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		l.mu.Lock()
		lost := l.silent
		l.mu.Unlock()
		if lost {
			l.drop(from)
			return
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			l.close(from, to)
			return
		}
	}
}

// drop reads what nobody is ever to hear.
func (l *Link) drop(from net.Conn) {
	_, _ = io.Copy(io.Discard, from)
	l.close(from)
}

func (l *Link) close(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		delete(l.conns, c)
		_ = c.Close() // it may be closed already
	}
}

// reset closes a connection without the usual goodbye.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		panic(err) // never seen; the test would show nothing
	}
}

package databases

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/parts"
)

// RedisServer is a Redis or a Valkey that appends every write to a file and
// syncs the file once a second, as such servers are commonly run.
type RedisServer struct{ *server }

// Redis starts a server that ends with the test. Settings are further arguments
// of the program, such as "--appendfsync", "always".
func Redis(t testing.TB, settings ...string) *RedisServer {
	t.Helper()
	s := &RedisServer{newServer(t, "redis")}
	s.quit, s.ready = syscall.SIGTERM, s.ping
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.command = append([]string{
		parts.Redis(t), "--bind", host, "--port", port, "--dir", s.dir, "--appendonly", "yes", "--save", "",
	}, settings...)
	s.Start(t)
	return s
}

// URL is the server's address for clients.
func (s *RedisServer) URL() string { return "redis://" + s.address + "/0" }

// ping asks for a sign of life; a server that still reads its file has none.
func (s *RedisServer) ping() error {
	conn, err := net.DialTimeout("tcp", s.address, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(answer, "+PONG") {
		return fmt.Errorf("it answers %q", answer)
	}
	return err
}

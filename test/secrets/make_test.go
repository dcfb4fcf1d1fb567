package secrets

import (
	"crypto/rand"
	"encoding/base64"
	"hash/crc32"
	"net/http"
	"os"
	"time"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// initialize is the frame with which a client begins.
const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// letters are random letters and digits.
func letters(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = base62[int(b[i])%len(base62)]
	}
	return string(b)
}

// neverIssued is a well-formed grant token that nobody has issued.
func neverIssued() string {
	body := "mcpg_" + letters(16+43)
	sum, check := crc32.ChecksumIEEE([]byte(body)), [6]byte{}
	for i := len(check) - 1; i >= 0; i-- {
		check[i] = base62[sum%62]
		sum /= 62
	}
	return body + string(check[:])
}

// masterKey is one as `openssl rand -base64 32` makes it.
func masterKey() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}

// basic is the header of a user with a password.
func basic(password string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth("ada", password)
	return r.Header
}

// executable is the test's own.
func executable(s *site) string {
	s.Helper()
	name, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	return name
}

func (s *site) read(name string) string {
	s.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		s.Fatal(err)
	}
	return string(b)
}

// within waits for something that replicas learn by and by.
func (s *site) within(done func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatal("it does not happen")
		}
	}
}

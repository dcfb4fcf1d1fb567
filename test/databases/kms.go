package databases

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/mcpermit/mcpermit/test/parts"
)

// KMSServer answers as the KMS of AWS does, and encrypts for real. It keeps its
// keys in memory: one that was ended has lost them.
type KMSServer struct{ *server }

// KMS starts a server that ends with the test.
func KMS(t testing.TB) *KMSServer {
	t.Helper()
	s := &KMSServer{newServer(t, "kms")}
	s.quit = syscall.SIGTERM
	s.ready = func() error {
		_, err := s.ask("ListKeys", `{}`)
		return err
	}
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.command = []string{parts.KMS(t), "--host", host, "--port", port}
	s.Start(t)
	return s
}

// Key makes a key and returns its URL.
func (s *KMSServer) Key(t testing.TB) string {
	t.Helper()
	answer, err := s.ask("CreateKey", `{}`)
	if err != nil {
		t.Fatal(err)
	}
	return "awskms:///" + answer.KeyMetadata.KeyId + "?region=us-east-1&endpoint=http://" + s.address
}

type kmsAnswer struct{ KeyMetadata struct{ KeyId string } }

// ask calls the server without a client library. It does not check signatures, and
// knows by one which of its services is meant.
func (s *KMSServer) ask(action, body string) (answer kmsAnswer, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+s.address+"/", strings.NewReader(body))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "TrentService."+action)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20261125/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0")
	client := http.Client{Timeout: patience}
	res, err := client.Do(req)
	if err != nil {
		return answer, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("%s answers %s", action, res.Status)
	}
	return answer, json.NewDecoder(res.Body).Decode(&answer)
}

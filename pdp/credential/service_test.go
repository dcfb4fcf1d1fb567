package credential_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/mcpermit/mcpermit/pdp/credential"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// client returns a client of the service, over a connection in memory.
func client(t *testing.T, s *credential.Service) v1.CredentialServiceClient {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	v1.RegisterCredentialServiceServer(server, s)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		if err := errors.Join(conn.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return v1.NewCredentialServiceClient(conn)
}

func wantCode(t *testing.T, what string, err error, want codes.Code, text string) {
	t.Helper()
	if status.Code(err) != want || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("%s: %v; want %s with %q", what, err, want, text)
	}
}

func rekeyed(t *testing.T, c v1.CredentialServiceClient) (last *v1.RekeyResponse, err error) {
	t.Helper()
	stream, err := c.Rekey(t.Context(), &v1.RekeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = next
	}
}

func TestServiceKeepsSecrets(t *testing.T) {
	v := newVault(t, newStore(t), "a")
	c := client(t, credential.NewService(v, credential.ServiceOptions{}))
	for _, holder := range []string{"", "ada", ""} {
		res, err := c.SetSecret(t.Context(), &v1.SetSecretRequest{Name: "key", Holder: holder, Value: []byte("of " + holder)})
		if err != nil || res.GetCredential().GetName() != "key" || res.GetCredential().GetHolder() != holder {
			t.Fatalf("set: %v, %v", res, err)
		}
	}
	account := credential.Entry{Key: credential.Key{Kind: credential.KindAccount, Name: "s/main", Holder: "ada"}, Generation: 1, Value: []byte("x"), ExpiresAt: start.Add(time.Hour)}
	flow := credential.Entry{Key: credential.Key{Kind: credential.KindFlow, Name: "state"}, Generation: 1, Value: []byte("x"), ExpiresAt: start.Add(time.Hour)}
	if err := errors.Join(v.Put(t.Context(), account), v.Put(t.Context(), flow)); err != nil {
		t.Fatal(err)
	}
	wantValue(t, v, secret("key", "ada"), "of ada")
	wantValue(t, v, secret("key", ""), "of ")

	list, err := c.ListCredentials(t.Context(), &v1.ListCredentialsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range list.GetCredentials() {
		expires := "never"
		if l.GetExpiresAt() != nil {
			expires = l.GetExpiresAt().AsTime().Sub(start).String()
		}
		got = append(got, fmt.Sprint(l.GetKind(), " ", l.GetName(), " ", l.GetHolder(), " ", l.GetGeneration(), " ", l.GetUpdatedAt().AsTime().Equal(start), " ", expires))
	}
	want := "CREDENTIAL_KIND_SECRET key  2 true never\nCREDENTIAL_KIND_SECRET key ada 1 true never\nCREDENTIAL_KIND_ACCOUNT s/main ada 1 true 1h0m0s"
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("list:\n%s\nwant:\n%s", text, want)
	}

	if last, err := rekeyed(t, c); err != nil || last.GetDone() != 4 || last.GetTotal() != 4 {
		t.Errorf("rekey ended with %v, %v", last, err)
	}
	wantValue(t, v, secret("key", "ada"), "of ada")

	remove := func(kind v1.CredentialKind, name, holder string) error {
		_, err := c.DeleteCredential(t.Context(), &v1.DeleteCredentialRequest{Kind: kind, Name: name, Holder: holder})
		return err
	}
	wantCode(t, "no kind", remove(0, "key", "ada"), codes.InvalidArgument, "which kind")
	wantCode(t, "another kind", remove(v1.CredentialKind_CREDENTIAL_KIND_ACCOUNT, "key", "ada"), codes.NotFound, "credentials list")
	if err := remove(v1.CredentialKind_CREDENTIAL_KIND_SECRET, "key", "ada"); err != nil {
		t.Error(err)
	}
	if err := remove(v1.CredentialKind_CREDENTIAL_KIND_ACCOUNT, "s/main", "ada"); err != nil {
		t.Error(err)
	}
	wantValue(t, v, secret("key", ""), "of ")
}

func TestI6_ServiceRefusesWithoutShowingWhatItRefuses(t *testing.T) {
	const canary = "sk_live_c4n4ry"
	var log bytes.Buffer
	v := newVault(t, newStore(t), "a")
	c := client(t, credential.NewService(v, credential.ServiceOptions{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Check: func(name string, _ []byte) error {
			if name == "header" {
				return errors.New("a header can't carry it")
			}
			return nil
		},
	}))
	for what, r := range map[string]struct {
		req  *v1.SetSecretRequest
		want string
	}{
		"no name":            {&v1.SetSecretRequest{Value: []byte(canary)}, "the name of a secret is 1 to 63"},
		"a value for a name": {&v1.SetSecretRequest{Name: canary + "/+", Value: []byte(canary)}, "the name of a secret is"},
		"no value":           {&v1.SetSecretRequest{Name: "a"}, "the value is empty"},
		"too long":           {&v1.SetSecretRequest{Name: "a", Value: bytes.Repeat([]byte(canary), 10_000)}, "longer than 65536 bytes"},
		"holder too long":    {&v1.SetSecretRequest{Name: "a", Holder: strings.Repeat("a", 1025), Value: []byte(canary)}, "the holder is longer"},
		"not for a header":   {&v1.SetSecretRequest{Name: "header", Value: []byte(canary)}, "a header can't carry it"},
	} {
		_, err := c.SetSecret(t.Context(), r.req)
		wantCode(t, what, err, codes.InvalidArgument, r.want)
		if strings.Contains(fmt.Sprint(err), "c4n4ry") {
			t.Errorf("%s shows it: %v", what, err)
		}
	}
	if _, err := c.SetSecret(t.Context(), &v1.SetSecretRequest{Name: "good", Value: []byte(canary)}); err != nil {
		t.Error(err)
	}
	if _, err := rekeyed(t, c); err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "c4n4ry") || !strings.Contains(log.String(), "secret set") {
		t.Errorf("log:\n%s", log.String())
	}
	if list, err := v.List(t.Context(), ""); err != nil || len(list) != 1 {
		t.Errorf("stored: %v, %v", list, err)
	}
}

func TestServiceWithoutAVaultSaysWhatToSet(t *testing.T) {
	c := client(t, credential.NewService(nil, credential.ServiceOptions{}))
	_, set := c.SetSecret(t.Context(), &v1.SetSecretRequest{Name: "a", Value: []byte("x")})
	_, list := c.ListCredentials(t.Context(), &v1.ListCredentialsRequest{})
	_, rotate := c.RotateCredential(t.Context(), &v1.RotateCredentialRequest{})
	_, remove := c.DeleteCredential(t.Context(), &v1.DeleteCredentialRequest{})
	_, rekey := rekeyed(t, c)
	for what, err := range map[string]error{"set": set, "list": list, "rotate": rotate, "delete": remove, "rekey": rekey} {
		wantCode(t, what, err, codes.FailedPrecondition, "vault.master_key")
	}
}

// accounts renews as its error says.
type accounts struct{ err error }

func (a accounts) Rotate(context.Context, credential.AccountRef) error { return a.err }

func TestServiceRotatesAccounts(t *testing.T) {
	v := newVault(t, newStore(t), "a")
	for generation := range int64(7) {
		k := credential.Key{Kind: credential.KindAccount, Name: "s/main", Holder: "ada"}
		if err := v.Put(t.Context(), credential.Entry{Key: k, Generation: generation + 1, Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	rotate := func(a credential.Accounts) (*v1.RotateCredentialResponse, error) {
		c := client(t, credential.NewService(v, credential.ServiceOptions{Accounts: a, Log: slog.New(slog.DiscardHandler)}))
		return c.RotateCredential(t.Context(), &v1.RotateCredentialRequest{Name: "s/main", Holder: "ada"})
	}
	res, err := rotate(accounts{})
	if got := res.GetCredential(); err != nil || got.GetGeneration() != 7 || got.GetName() != "s/main" || got.GetKind() != v1.CredentialKind_CREDENTIAL_KIND_ACCOUNT {
		t.Errorf("rotated: %v, %v", got, err)
	}
	for what, c := range map[string]struct {
		a    credential.Accounts
		code codes.Code
		text string
	}{
		"none":            {nil, codes.Unimplemented, "no server of the configuration"},
		"unknown":         {accounts{&credential.UnknownError{Server: "s", Name: "main"}}, codes.NotFound, "no such credential"},
		"connect again":   {accounts{&credential.AccountNeeded{Server: "s", Name: "main", Holder: "ada"}}, codes.FailedPrecondition, "ada has to connect an account of s"},
		"does not open":   {accounts{&credential.UnreadableError{What: "account"}}, codes.FailedPrecondition, "does not open"},
		"taken by others": {accounts{credential.ErrConflict}, codes.Aborted, "try again"},
		"away":            {accounts{errors.New("refresh_token=c4n4ry")}, codes.Unavailable, "the log of the PDP says why"},
	} {
		_, err := rotate(c.a)
		wantCode(t, what, err, c.code, c.text)
		if strings.Contains(fmt.Sprint(err), "c4n4ry") {
			t.Errorf("%s shows it: %v", what, err)
		}
	}
}

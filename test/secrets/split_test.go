package secrets

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"

	"github.com/mcpermit/mcpermit/test/databases"
	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
)

// twoProcesses drives `mcpermit pdp` and `mcpermit-pep`, which share nothing but a
// socket; the state is in a PostgreSQL and a Redis, and the policy comes as a bundle.
func (s *site) twoProcesses(collector string) {
	s.Helper()
	l := s.l
	database, counts := s.postgres(), s.redis()
	s.Setenv("SECRETS_TEST_MASTER", l.keep("master key in the environment", masterKey()))
	s.Gateway = gateway.Prepare(s, gateway.Config{Policy: "policy", Servers: map[string]any{
		"plain": s.server("plain", map[string]any{"headers": map[string]any{"Authorization": "Bearer ${secret:split}"}}),
	}, Extra: map[string]any{
		"log": map[string]any{"level": "debug", "format": "json"}, "telemetry": map[string]any{"otlp": collector},
		"quota": map[string]any{"counts": counts}, "vault": map[string]any{"master_key": "env:SECRETS_TEST_MASTER"},
		"people": []any{map[string]any{"id": "ada", "role": "admin"}},
	}})
	s.Configure(s, map[string]any{
		"state":  map[string]any{"dir": s.StateDir, "database": database},
		"policy": map[string]any{"source": s.bundles(), "token": l.plant("token for bundles"), "deadline": "2s"},
	})
	proxy := s.Split(s)
	s.within(func() bool { return s.get(inMetrics, s.AdminURL+"/readyz") != "" && l.seen("token for bundles") })

	s.cli(command{args: []string{"credentials", "set", "split"}, stdin: l.plain("secret in front of two processes")})
	s.grant("grant token in front of two processes")
	s.judged("grant token in front of two processes", true)
	l.use(byVault, "master key in the environment")
	gone := s.grant("grant token, revoked in the shared database")
	s.must("plain", "look", gone.Token, nil)
	s.run("grants", "revoke", gone.ID)
	s.within(func() bool { return !s.calls("plain", "look", gone.Token, nil) })
	s.judged("grant token, revoked in the shared database", false)
	s.calls("plain", "pay", l.of("grant token in front of two processes"), map[string]any{"amount": 2})
	s.stdioClient()
	s.usedBy(database, counts)
	s.inspect()

	s.dump(database)
	s.stop("mcpermit-pep proxy", proxy)
	s.stop("mcpermit pdp", s.Process)
	s.p.directory(s.T, inState, s.StateDir)
	s.contents(counts)
}

// stdioClient makes a call as a client whose configuration knows only a command.
func (s *site) stdioClient() {
	s.Helper()
	const canary = "grant token of a stdio client"
	s.grant(canary)
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, gateway.Program(s, "mcpermit-pep"), "stdio", "--server", "plain", "--pdp", s.PDP, "-c", s.ConfigFile)
	cmd.Env = append(os.Environ(), "MCPERMIT_TOKEN="+s.l.of(canary))
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	for _, frame := range []string{
		initialize,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`, call("look", nil), `{"token": "` + s.l.of(canary) + `"`,
	} {
		fmt.Fprintln(in, frame)
	}
	_ = in.Close() // with which it ends
	if err := cmd.Wait(); err != nil {
		s.Errorf("mcpermit-pep stdio: %v\n%s", err, stderr.Bytes())
	}
	if strings.Contains(out.String(), `"text":"done"`) {
		s.l.use(byGateway, canary)
	} else {
		s.Errorf("the stdio client is told %s\n%s", out.Bytes(), stderr.Bytes())
	}
	s.p.add(inAnswers, "mcpermit-pep stdio", out.Bytes())
	s.p.add(inOutput, "mcpermit-pep stdio", stderr.Bytes())
}

// bundles serves the policy as a bundle, to who has the token.
func (s *site) bundles() string {
	s.Helper()
	file := s.dir + "/bundle.tar.gz"
	build := gateway.Run(s, gateway.Program(s, "mcpermit"), "policy", "build", "policy", "--revision", "1", "-O", file)
	if err := build.Wait(patience); err != nil {
		s.Fatalf("%v\n%s", err, build.Output())
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.l.saw(byBundles, r.Header.Get("Authorization"))
		http.ServeFile(w, r, file)
	}))
	s.Cleanup(server.Close)
	return server.URL + "/bundle.tar.gz"
}

// postgres makes a user with a password, and a database of theirs.
func (s *site) postgres() string {
	s.Helper()
	address := databases.Postgres(s, "-c", "fsync=off").Database(s)
	conn, err := pgx.Connect(s.Context(), address)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close(s.Context())
	password := s.l.plant("password of PostgreSQL")
	u, err := url.Parse(address)
	if err != nil {
		s.Fatal(err)
	}
	for _, q := range []string{
		"CREATE ROLE gate LOGIN PASSWORD '" + password + "'", "ALTER DATABASE " + strings.Trim(u.Path, "/") + " OWNER TO gate",
	} {
		if _, err := conn.Exec(s.Context(), q); err != nil {
			s.Fatal(err)
		}
	}
	u.User = url.UserPassword("gate", password)
	return u.String()
}

// redis makes a user with a password.
func (s *site) redis() string {
	s.Helper()
	password := s.l.plain("password of Redis")
	u, err := url.Parse(databases.Redis(s, "--user", "gate", "on", ">"+password, "~*", "&*", "+@all").URL())
	if err != nil {
		s.Fatal(err)
	}
	u.User = url.UserPassword("gate", password)
	return u.String()
}

// usedBy asks both servers whether the users with a password are there.
func (s *site) usedBy(database, counts string) {
	s.Helper()
	conn, err := pgx.Connect(s.Context(), database)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close(s.Context())
	var n int
	if err := conn.QueryRow(s.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gate' AND application_name = 'mcpermit'").Scan(&n); err != nil || n == 0 {
		s.Errorf("%d connections of the gateway, %v", n, err)
		return
	}
	s.l.use(byPostgres, "password of PostgreSQL")
	clients, err := s.asks(counts, func(c rueidis.Client) rueidis.Completed { return c.B().ClientList().Build() }).ToString()
	if err != nil || !strings.Contains(clients, "name=mcpermit") || !strings.Contains(clients, "user=gate") {
		s.Errorf("the gateway is no client of Redis: %v %s", err, clients)
		return
	}
	s.l.use(byRedis, "password of Redis")
}

func (s *site) asks(counts string, what func(rueidis.Client) rueidis.Completed) rueidis.RedisResult {
	s.Helper()
	option, err := rueidis.ParseURL(counts)
	if err != nil {
		s.Fatal(err)
	}
	option.DisableCache = true
	c, err := rueidis.NewClient(option)
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	return c.Do(s.Context(), what(c))
}

// dump adds what the database has: binary values in hex, which is one of the forms.
func (s *site) dump(database string) {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), filepath.Join(parts.Postgres(s), "pg_dump"), database)
	text, err := cmd.Output()
	if err != nil || !bytes.Contains(text, []byte("COPY public.grants")) {
		s.Fatalf("pg_dump: %v\n%s", err, text)
	}
	s.p.add(inPostgres, "pg_dump", text)
}

// contents adds every key of the Redis, with its value as it is kept.
func (s *site) contents(counts string) {
	s.Helper()
	keys, err := s.asks(counts, func(c rueidis.Client) rueidis.Completed { return c.B().Keys().Pattern("*").Build() }).AsStrSlice()
	if err != nil || len(keys) == 0 {
		s.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, key := range keys {
		value, err := s.asks(counts, func(c rueidis.Client) rueidis.Completed { return c.B().Dump().Key(key).Build() }).ToString()
		if err != nil {
			s.Fatal(err)
		}
		s.p.add(inRedis, key, []byte(key+" "+value))
	}
}

package policy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// TestI11_BadBundleChangesNothing puts one bad bundle after another beside a
// good one that is in force (SECURITY R4).
func TestI11_BadBundleChangesNothing(t *testing.T) {
	key, other := ecKey(t, "prod"), ecKey(t, "prod")
	whole := signed(t, key, good("7")...)
	sign := func(entries ...entry) []byte { return signed(t, key, entries...) }
	resign := func(change func([]entry) []entry) []byte {
		entries, err := unpack(sign(good("8")...), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return tarball(t, change(entries)...)
	}
	tests := []struct {
		name    string
		archive []byte
		want    string
	}{
		{"empty", nil, "no gzip'd tar archive"},
		{"truncated in the header", whole[:5], "no gzip'd tar archive"},
		{"truncated", whole[:len(whole)/2], "unexpected EOF"},
		{"truncated in the checksum", whole[:len(whole)-3], "unexpected EOF"},
		{"corrupt gzip", flip(whole, len(whole)/2), "bundle archive"},
		{"corrupt checksum", flip(whole, len(whole)-6), "checksum"},
		{"behind the gzip", append(bytes.Clone(whole), "more"...), "bundle archive"},
		{"behind the archive", hidden(t, key), "behind the end of the archive"},
		{"no archive", gzipped(t, []byte("not a tar file, but long enough to be read as a header of one"+strings.Repeat(".", 600))), "bundle archive"},
		{"path that leads out", tarball(t, append(good("8"), entry{"../stripe.rego", nil})...), "leads out"},
		{"path that leads out below", tarball(t, append(good("8"), entry{"a/../../x.rego", nil})...), "leads out"},
		{"path with a backslash", tarball(t, append(good("8"), entry{`..\x.rego`, nil})...), "leads out"},
		{"duplicate file", tarball(t, append(good("8"), stripeModule("again"))...), "twice"},
		{"duplicate file by another name", tarball(t, append(good("8"), entry{"/./stripe.rego", []byte("package x")})...), "twice"},
		{"link", linked(t), "link"},
		{"bomb", bomb(t), "limit"},
		{"sparse bomb", sparse(t), "1099511627776 bytes, more than the limit"},
		{"unsigned", tarball(t, good("8")...), "not signed"},
		{"wrong key", signed(t, other, good("8")...), "verify"},
		{"wrong key id", signed(t, ecKey(t, "test"), good("8")...), `"test"`},
		{"wrong algorithm", signed(t, rsaKey(t), good("8")...), "algorithm"},
		{"changed after signing", resign(func(e []entry) []entry { return replaced(e, stripeModule("changed")) }), "digest mismatch"},
		{"data changed after signing", resign(func(e []entry) []entry { return replaced(e, limitsFile("1")) }), "digest mismatch"},
		{"added after signing", resign(func(e []entry) []entry { return append(e, entry{"more.rego", []byte("package more")}) }), "not included in bundle signature"},
		{"removed after signing", resign(func(e []entry) []entry { return removed(e, "stripe.rego") }), "not found in the target bundle"},
		{"two signatures", resign(func(e []entry) []entry {
			return replaced(e, entry{signaturesFile, []byte(`{"signatures": ["a.b.c", "a.b.c"]}`)})
		}), "exactly one"},
		{"delta", tarball(t, entry{"patch.json", []byte(`{"data": [{"op": "upsert", "path": "limits", "value": {}}]}`)}), "delta bundle"},
		{"wasm", tarball(t, append(good("8"), entry{"policy.wasm", []byte("\x00asm")})...), "only Rego"},
		{"manifest elsewhere", tarball(t, append(good("8"), entry{"sub/.manifest", []byte("{}")})...), "root of the bundle"},
		{"misspelt manifest", resign(func(e []entry) []entry { return replaced(e, manifest(`{"revision": "8", "root": ["policy"]}`)) }), "unknown key"},
		{"duplicate key in the manifest", resign(func(e []entry) []entry { return replaced(e, manifest(`{"revision": "1", "revision": "8"}`)) }), "duplicate"},
		{"duplicate key in the data", tarball(t, stripeModule("x"), entry{"data.json", []byte(`{"limits": {"refund": 1}, "limits": {"refund": 2}}`)}), "duplicate"},
		{"hidden module", tarball(t, append(good("8"), entry{"._more.rego", []byte("package more")})...), "hidden"},
		{"older", sign(good("6")...), "older"},
		{"same revision, other content", sign(stripeModule("other"), limitsFile("50000"), manifest(`{"revision": "7"}`)), "other content"},
		{"revision of another kind", sign(good("v1.0.0")...), "no order"},
		{"no revision", sign(stripeModule("none"), limitsFile("50000")), "no order"},
		{"bad Rego", sign(append(good("8"), entry{"bad.rego", []byte("package policy.global.bad\n\nallow contains \"x\" if no.such.function()")})...), "no.such.function"},
		{"cut built-in", sign(append(good("8"), entry{"bad.rego", []byte("package policy.global.bad\n\nallow contains \"x\" if http.send({})")})...), "http.send"},
		{"library's package", sign(append(good("8"), entry{"bad.rego", []byte("package mcpermit\n\ndecision := {\"effect\": \"allow\"}")})...), "mcpermit"},
		{"library's subpackage", sign(append(good("8"), entry{"bad.rego", []byte("package mcpermit.more\n\nx := 1")})...), "mcpermit"},
		{"library's data", sign(stripeModule("x"), entry{"data.json", []byte(`{"mcpermit": {"allow": ["x"]}, "limits": {"refund": 1}}`)}, manifest(`{"revision": "8"}`)), "mcpermit"},
		{"default allow", sign(append(good("8"), entry{"bad.rego", []byte("package policy.global.bad\n\ndefault allow := true")})...), "default allow"},
		{"hide on arguments", sign(append(good("8"), entry{"bad.rego", []byte("package policy.global.bad\n\nhide contains \"x\" if input.arguments.x")})...), "bad.rego:3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, put := fileLoader(t, SourceOptions{
				PublicKey: key.PublicKey(), KeyID: key.ID(),
				Limits: Limits{TotalBytes: 1 << 20},
			})
			put(whole)
			if err := l.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			before, snapshot := l.Status(), l.Current()
			put(tt.archive)
			err := l.Reload(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Reload: %v, want an error with %q", err, tt.want)
			}
			after := l.Status()
			if l.Current() != snapshot {
				t.Error("another policy is in force")
			}
			if after.LastError == "" || after.LastError != err.Error() || after.LastErrorAt.IsZero() {
				t.Errorf("status: %q at %v", after.LastError, after.LastErrorAt)
			}
			after.LastError, after.LastErrorAt = before.LastError, before.LastErrorAt
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the rest of the status changed (-before +after):\n%s", diff)
			}
			// The good bundle coming back ends the error.
			put(whole)
			if err := l.Reload(t.Context()); err != nil || l.Status().LastError != "" || l.Current() != snapshot {
				t.Errorf("the good bundle again: %v, %q", err, l.Status().LastError)
			}
		})
	}
}

// TestI11_BadBundleAtStart: without a good one before it, there is no policy.
func TestI11_BadBundleAtStart(t *testing.T) {
	l, put := fileLoader(t, SourceOptions{})
	if err := l.Reload(t.Context()); err == nil {
		t.Error("a missing bundle loads")
	}
	put([]byte("no bundle"))
	if err := l.Reload(t.Context()); err == nil {
		t.Error("a bad bundle loads")
	}
	if s := l.Status(); l.Current() != nil || s.Ready || s.LastError == "" {
		t.Errorf("in force: %v, status %+v", l.Current(), s)
	}
}

func TestSignatures(t *testing.T) {
	_, edKey, edErr := ed25519.GenerateKey(rand.Reader)
	p384, p384Err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for name, key := range map[string]*SigningKey{
		"RSA": rsaKey(t), "P-256": ecKey(t, "prod"), "P-384": newKey(t, "prod", p384, p384Err), "Ed25519": newKey(t, "prod", edKey, edErr),
	} {
		t.Run(name, func(t *testing.T) {
			l, put := fileLoader(t, SourceOptions{PublicKey: key.PublicKey(), KeyID: "prod"})
			put(signed(t, key, good("1")...))
			if err := l.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			put(signed(t, key, good("2")...))
			if err := l.Reload(t.Context()); err != nil || l.Current().Revision().Revision != "2" {
				t.Fatalf("%v, in force %+v", err, l.Current().Revision())
			}
		})
	}
	t.Run("signed and no key", func(t *testing.T) {
		l, put := fileLoader(t, SourceOptions{})
		put(signed(t, ecKey(t, "prod"), good("1")...))
		if err := l.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "no public key") {
			t.Errorf("Reload: %v", err)
		}
		l, put = fileLoader(t, SourceOptions{Unverified: true})
		put(signed(t, ecKey(t, "prod"), good("1")...))
		if err := l.Reload(t.Context()); err != nil {
			t.Errorf("unverified: %v", err)
		}
	})
}

func TestNewSourceRefuses(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	short, err := x509.MarshalPKIXPublicKey(&weak.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	key := ecKey(t, "prod")
	for _, tt := range []struct {
		location string
		o        SourceOptions
		want     string
	}{
		{"", SourceOptions{}, "no policy source"},
		{"oci://registry.example/policy:1", SourceOptions{}, "oci:// is not supported"},
		{"s3://bucket/bundle.tar.gz", SourceOptions{}, "not supported"},
		{"https://user:secret@example.com/b.tar.gz", SourceOptions{}, "without user name"},
		{"http://example.com/b.tar.gz", SourceOptions{}, "plain http"},
		{"http://example.com/b.tar.gz", SourceOptions{PublicKey: key.PublicKey(), KeyID: "prod", Token: "x"}, "plain http"},
		{"policy", SourceOptions{PublicKey: key.PublicKey()}, "key id"},
		{"policy", SourceOptions{KeyID: "prod"}, "PEM"},
		{"policy", SourceOptions{PublicKey: []byte("secret"), KeyID: "prod"}, "PEM"},
		{"policy", SourceOptions{PublicKey: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: short}), KeyID: "prod"}, "too short"},
		{"policy", SourceOptions{PublicKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: short}), KeyID: "prod"}, "want PUBLIC KEY"},
	} {
		if _, err := NewSource(tt.location, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("NewSource(%q): %v, want an error with %q", tt.location, err, tt.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("I6: the error tells a secret: %v", err)
		}
	}
}

func TestRootsAreRespected(t *testing.T) {
	for _, tt := range []struct {
		name, roots, want string
	}{
		{"all", `["policy", "limits"]`, ""},
		{"deep", `["policy/servers/stripe", "limits/refund"]`, ""},
		{"not the package", `["limits"]`, "do not permit"},
		{"not the data", `["policy"]`, "roots"},
		{"another package", `["policy/servers/github", "limits"]`, "do not permit"},
		{"the library", `["policy", "limits", "mcpermit"]`, "library"},
		{"below the library", `["policy", "limits", "mcpermit/decision"]`, "library"},
		{"overlapping", `["policy", "policy/servers", "limits"]`, "overlapped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entries := []entry{stripeModule("x"), limitsFile("1"), manifest(`{"revision": "1", "roots": ` + tt.roots + `}`)}
			_, inArchive := readArchive(entries, nil, false)
			_, inTree := readTree(entries)
			for _, err := range []error{inArchive, inTree} {
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("%v, want %q", err, tt.want)
				}
			}
		})
	}
}

func TestRootsCoverAttachments(t *testing.T) {
	attachment := entry{path: "policy/attachments/careful.rego", data: []byte("package policy.attachments.careful\n\ndeny contains \"x\" if true\n")}
	for roots, want := range map[string]string{
		`["policy", "limits"]`:                                        "",
		`["policy/servers", "policy/attachments", "limits"]`:          "",
		`["policy/servers", "policy/attachments/careful", "limits"]`:  "",
		`["policy/servers", "policy/attachments/careless", "limits"]`: "do not permit",
	} {
		b, err := readTree([]entry{stripeModule("x"), limitsFile("1"), attachment, manifest(`{"revision": "1", "roots": ` + roots + `}`)})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", roots, err, want)
		}
		if err == nil {
			mustBuild(t, b, Options{})
		}
	}
}

func TestDigestIsOfTheContent(t *testing.T) {
	digest := func(b *bundle.Bundle, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return Digest(b)
	}
	base := good("1")
	want := digest(readArchive(base, nil, false))
	same := map[string]string{
		"directory":      digest(readTree(base)),
		"other order":    digest(readArchive([]entry{base[2], base[1], base[0]}, nil, false)),
		"data as YAML":   digest(readTree([]entry{base[0], {"limits.yaml", []byte("limits: # in cents\n  refund: 50000\n")}, base[2]})),
		"data elsewhere": digest(readTree([]entry{base[0], {"limits/a.json", []byte(`{"refund": 50000}`)}, base[2]})),
		"with a test":    digest(readArchive(append([]entry{{"stripe_test.rego", []byte("package stripe_test\n\ntest_x if true")}}, base...), nil, false)),
		"with a README":  digest(readArchive(append([]entry{{"README.md", []byte("# Policy")}}, base...), nil, false)),
		"signed":         digest(readBack(t, signed(t, ecKey(t, "prod"), base...))),
	}
	for name, got := range same {
		if got != want {
			t.Errorf("%s: digest %s, want %s", name, got, want)
		}
	}
	other := map[string]string{
		"revision":    digest(readArchive(good("2"), nil, false)),
		"rule":        digest(readTree([]entry{stripeModule("other"), base[1], base[2]})),
		"data":        digest(readTree([]entry{base[0], limitsFile("50001"), base[2]})),
		"name":        digest(readTree([]entry{{"renamed.rego", base[0].data}, base[1], base[2]})),
		"more":        digest(readTree(append([]entry{{"more.rego", []byte("package more")}}, base...))),
		"empty value": digest(readTree(append([]entry{{"more.json", []byte(`{"x": {}}`)}}, base...))),
	}
	for name, got := range other {
		if got == want {
			t.Errorf("%s: the digest is the same", name)
		}
	}
}

func readBack(t *testing.T, archive []byte) (*bundle.Bundle, error) {
	t.Helper()
	entries, err := unpack(archive, Limits{})
	if err != nil {
		return nil, err
	}
	return readArchive(entries, nil, true)
}

// TestWriteArchiveIsRepeatable: what is written is what was read, and the same
// each time.
func TestWriteArchiveIsRepeatable(t *testing.T) {
	b, err := readTree(good("1"))
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, w := range []io.Writer{&first, &second} {
		if err := WriteArchive(w, b, nil); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of one bundle differ")
	}
	again, err := readBack(t, first.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if Digest(again) != Digest(b) {
		t.Error("the archive has another digest")
	}
	if diff := cmp.Diff([]string{"limits", "policy"}, *again.Manifest.Roots); diff != "" {
		t.Errorf("roots (-want +got):\n%s", diff)
	}
}

// FuzzUnpack: whatever the bytes, reading ends with a bundle or an error.
func FuzzUnpack(f *testing.F) {
	whole := tarball(f, good("1")...)
	for _, seed := range [][]byte{nil, whole, whole[:len(whole)/2], bomb(f), sparse(f), linked(f), signed(f, ecKey(f, "prod"), good("1")...)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		entries, err := unpack(archive, Limits{FileBytes: 1 << 16, TotalBytes: 1 << 18, Files: 100})
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.path == "" || strings.HasPrefix(e.path, "/") || filepath.Clean(e.path) != e.path || strings.HasPrefix(e.path, "..") {
				t.Errorf("the path %q leads elsewhere", e.path)
			}
		}
		if b, err := readArchive(entries, nil, true); err == nil {
			if _, err := Build(context.Background(), b, Options{}); err == nil && Digest(b) == "" {
				t.Error("no digest")
			}
		}
	})
}

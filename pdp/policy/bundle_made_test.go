package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A small policy; the variants of it are told apart by the reason.
func stripeModule(reason string) entry {
	return entry{path: "stripe.rego", data: []byte(`package policy.servers.stripe

# METADATA
# title: Refund cap
# custom: {id: refund-cap}
deny contains "` + reason + `" if {
	input.tool.name == "create_refund"
	not input.arguments.amount <= data.limits.refund
}

# METADATA
# custom: {id: reading}
allow contains "Reading is free" if input.tool.class == "read"
`)}
}

func limitsFile(limit string) entry {
	return entry{path: "data.json", data: []byte(`{"limits": {"refund": ` + limit + `}}`)}
}

func manifest(text string) entry { return entry{path: manifestFile, data: []byte(text)} }

// good is a policy of the given revision.
func good(revision string) []entry {
	return []entry{stripeModule("revision " + revision), limitsFile("50000"), manifest(`{"revision": "` + revision + `"}`)}
}

// tarball packs the entries as tar does.
func tarball(t testing.TB, entries ...entry) []byte {
	t.Helper()
	return pack(t, func(tw *tar.Writer) {
		for _, e := range entries {
			addFile(t, tw, e.path, e.data)
		}
	})
}

func addFile(t testing.TB, tw *tar.Writer, name string, data []byte) {
	t.Helper()
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(data); err != nil {
		t.Fatal(err)
	}
}

func pack(t testing.TB, fill func(*tar.Writer)) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	fill(tw)
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// signed packs and signs the entries.
func signed(t testing.TB, key *SigningKey, entries ...entry) []byte {
	t.Helper()
	b, err := readArchive(entries, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := WriteArchive(&buf, b, key); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newKey makes a key of its own kind.
func newKey(t testing.TB, id string, private any, err error) *SigningKey {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewSigningKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), id)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecKey(t testing.TB, id string) *SigningKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return newKey(t, id, private, err)
}

// fileLoader is a loader over a bundle.tar.gz that put replaces.
func fileLoader(t testing.TB, o SourceOptions) (l *Loader, put func([]byte)) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bundle.tar.gz")
	source, err := NewSource(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return NewLoader(source, LoaderOptions{Log: slog.New(slog.DiscardHandler)}), func(archive []byte) {
		if err := os.WriteFile(name, archive, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[at] ^= 0xff
	return data
}

func replaced(entries []entry, with entry) []entry {
	for i := range entries {
		if entries[i].path == with.path {
			entries[i] = with
		}
	}
	return entries
}

func removed(entries []entry, name string) []entry {
	var out []entry
	for _, e := range entries {
		if e.path != name {
			out = append(out, e)
		}
	}
	return out
}

func rsaKey(t testing.TB) *SigningKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	return newKey(t, "prod", private, err)
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := zw.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// hidden is a signed archive with another one behind its end.
func hidden(t testing.TB, key *SigningKey) []byte {
	t.Helper()
	plain := func(archive []byte) []byte {
		zr, err := gzip.NewReader(bytes.NewReader(archive))
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	first := plain(signed(t, key, good("8")...))
	return gzipped(t, append(first, plain(tarball(t, good("9")...))...))
}

// bomb is a few kilobytes that unpack to 64 MiB.
func bomb(t testing.TB) []byte {
	return tarball(t, append(good("8"), entry{"data/data.json", make([]byte, 64<<20)})...)
}

// sparse claims a file of 1 TiB of which nothing is there (PAX, GNU 1.0).
func sparse(t testing.TB) []byte {
	t.Helper()
	var records strings.Builder
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=data.json", "GNU.sparse.realsize=1099511627776"} {
		fmt.Fprintf(&records, "%d %s\n", len(r)+4, r) // two digits, a space and the line break
	}
	archive := rawMember('x', "PaxHeaders/data.json", records.String())
	archive += rawMember('0', "GNUSparseFile.0/data.json", "0\n"+strings.Repeat("\x00", 510))
	return gzipped(t, []byte(archive+strings.Repeat("\x00", 1024)))
}

// rawMember is a header and its content as the writer of the standard library
// would not write them.
func rawMember(kind byte, name, content string) string {
	header := make([]byte, 512)
	copy(header, name)
	copy(header[100:], "0000644\x00")
	copy(header[124:], fmt.Sprintf("%011o\x00", len(content)))
	copy(header[148:], "        ")
	header[156] = kind
	copy(header[257:], "ustar\x0000")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(header) + content + strings.Repeat("\x00", (512-len(content)%512)%512)
}

// linked is an archive with a link.
func linked(t testing.TB) []byte {
	t.Helper()
	return pack(t, func(tw *tar.Writer) {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "data.json", Linkname: "/etc/passwd"}); err != nil {
			t.Fatal(err)
		}
	})
}

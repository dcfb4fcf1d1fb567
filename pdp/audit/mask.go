package audit

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// masked stands for what must not be written.
const masked = "[masked]"

// Mask returns the JSON value in arguments without its secrets. These become the
// string "[masked]", whatever type they had:
//
//   - the values at the JSON pointers (RFC 6901). Names in a pointer are compared
//     without case, and the segment "*" stands for every member or element. A
//     pointer to nothing masks nothing.
//   - any string, number, object or array that is the value of a member whose name
//     means a secret: password, passphrase, secret, token, api_key, private_key,
//     authorization, credential, cookie, pin, otp, cvv and their likes, alone or as
//     part of a longer name (`stripeApiKey`, `DB_PASSWORD`, `x-auth-token`), in any
//     case, with any separator. true, false and null stay. Names of listings' places
//     (page_token) and of facts about a secret (password_length, secret_arn) do
//     not count; for these, and for names such as key, code, session or signature,
//     only a string that looks generated is masked: 20 or more characters of one
//     word, letters and digits, at least 3 bits of entropy each, no UUID.
//   - the `value` of an object whose `name` or `key` is such a name, and the array
//     element that follows a flag with such a name (["--token", "x"]).
//
// Within other strings, and within names of members, only the secret part is
// replaced, and only in these cases: grant tokens (mcpg_…); credentials with a prefix
// that their issuer has made recognisable (ghp_, xoxb-, sk_live_, AKIA, … ); PEM
// private keys; JSON Web Tokens; what follows Bearer or Basic; passwords in URLs; and
// what follows the name of a secret and `=`, `:` or, after `--`, a space (shell
// commands, header lines, connection strings, JSON within a string).
//
// Every other byte stays as it was; without secrets, arguments itself is returned.
// What is not one JSON value in valid UTF-8 comes back as "[masked]" as a whole.
// Mask cannot know a secret without a name or a form: for those, policy names pointers.
func Mask(arguments []byte, pointers []string) []byte {
	m := masker{pointers: splitPointers(pointers)}
	out, err := m.mask(arguments)
	if err != nil {
		return []byte(`"` + masked + `"`)
	}
	return out
}

// masker masks one JSON value.
type masker struct {
	pointers [][]string
	names    sensitiveNames

	raw   []byte
	all   string // raw again, so that texts within it need no copies
	dec   *jsontext.Decoder
	path  []string // reference tokens of the value at hand
	cuts  []cut    // ascending, apart
	found []string // JSON pointers to what was masked
	plain []string // what was masked, decoded: it may turn up in other texts
}

// cut is a range of raw to replace. A whole value needs quotes, a part of a
// string has them.
type cut struct {
	byteRange
	whole bool
}

func (m *masker) mask(raw []byte) ([]byte, error) {
	m.raw, m.all = raw, string(raw)
	m.dec = jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if err := m.value(plain); err != nil {
		return nil, err
	}
	if _, err := m.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	if len(m.cuts) == 0 {
		return raw, nil
	}
	out := make([]byte, 0, len(raw)+8*len(m.cuts))
	at := 0
	for _, c := range m.cuts {
		out = append(out, raw[at:c.from]...)
		if c.whole {
			out = append(out, '"')
		}
		out = append(out, masked...)
		if c.whole {
			out = append(out, '"')
		}
		at = c.to
	}
	return append(out, raw[at:]...), nil
}

// value reads the next value, whose name or neighbour says s.
func (m *masker) value(s sensitivity) error {
	kind := m.dec.PeekKind()
	if m.pointed() || s == secret && kind != 't' && kind != 'f' && kind != 'n' {
		raw, at, err := m.read()
		if err != nil {
			return err
		}
		m.take(at, raw)
		return nil
	}
	switch kind {
	case '{':
		return m.object()
	case '[':
		return m.array()
	case '"':
		raw, at, err := m.read()
		if err != nil {
			return err
		}
		return m.text(raw, at, s)
	default:
		_, _, err := m.read()
		return err
	}
}

// read reads a whole value and tells where it begins.
func (m *masker) read() (jsontext.Value, int, error) {
	v, err := m.dec.ReadValue()
	return v, int(m.dec.InputOffset()) - len(v), err
}

// unquote decodes the string that begins at offset at, which has been read.
func (m *masker) unquote(raw jsontext.Value, at int) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return m.all[at+1 : at+len(raw)-1], nil
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	return string(s), err
}

// take masks a whole value.
func (m *masker) take(at int, raw jsontext.Value) {
	m.cuts = append(m.cuts, cut{byteRange{at, at + len(raw)}, true})
	m.found = append(m.found, m.pointer())
	if raw.Kind() == '"' {
		if s, err := m.unquote(raw, at); err == nil {
			m.plain = append(m.plain, s)
		}
	}
}

func (m *masker) object() error {
	if _, err := m.dec.ReadToken(); err != nil {
		return err
	}
	var (
		named   = plain // what the value of a name or key member says of its sibling
		sibling = -1    // how many cuts there were before the `value` member
		held    jsontext.Value
		heldAt  int
	)
	for m.dec.PeekKind() != '}' {
		raw, at, err := m.read()
		if err != nil {
			return err
		}
		name, err := m.unquote(raw, at)
		if err != nil {
			return err
		}
		m.path = append(m.path, name)
		if err := m.name(raw, at); err != nil {
			return err
		}
		from := int(m.dec.InputOffset())
		before := len(m.cuts)
		if err := m.value(m.names.of(name)); err != nil {
			return err
		}
		m.path = m.path[:len(m.path)-1]
		switch v, at := m.since(from); strings.ToLower(name) {
		case "name", "key", "header":
			if v.Kind() != '"' {
				continue
			}
			if s, err := m.unquote(v, at); err == nil {
				named = max(named, m.names.of(s))
			}
		case "value":
			sibling, held, heldAt = before, v, at
		}
	}
	if _, err := m.dec.ReadToken(); err != nil {
		return err
	}
	if named == secret && sibling >= 0 {
		m.retake(sibling, held, heldAt)
	}
	return nil
}

// since returns the value that was read last, and where it begins; from is a
// place before it, behind its name.
func (m *masker) since(from int) (jsontext.Value, int) {
	to := int(m.dec.InputOffset())
	for from < to && strings.IndexByte(" \t\r\n:", m.raw[from]) >= 0 {
		from++
	}
	return jsontext.Value(m.raw[from:to]), from
}

// retake masks a value as a whole that was passed already, after n cuts.
func (m *masker) retake(n int, raw jsontext.Value, at int) {
	if k := raw.Kind(); k == 't' || k == 'f' || k == 'n' {
		return
	}
	end := n
	for end < len(m.cuts) && m.cuts[end].from < at+len(raw) {
		end++
	}
	after := append([]cut(nil), m.cuts[end:]...)
	m.cuts = m.cuts[:n]
	m.path = append(m.path, "value")
	m.take(at, raw)
	m.path = m.path[:len(m.path)-1]
	m.cuts = append(m.cuts, after...)
}

func (m *masker) array() error {
	if _, err := m.dec.ReadToken(); err != nil {
		return err
	}
	next := plain
	for i := 0; m.dec.PeekKind() != ']'; i++ {
		from := int(m.dec.InputOffset())
		m.path = append(m.path, strconv.Itoa(i))
		if err := m.value(next); err != nil {
			return err
		}
		m.path = m.path[:len(m.path)-1]
		for from < len(m.raw) && strings.IndexByte(" \t\r\n,", m.raw[from]) >= 0 {
			from++
		}
		next = m.flag(m.raw[from:int(m.dec.InputOffset())])
	}
	_, err := m.dec.ReadToken()
	return err
}

// flag says what an array element tells of the one after it.
func (m *masker) flag(raw jsontext.Value) sensitivity {
	if !bytes.HasPrefix(raw, []byte(`"-`)) {
		return plain
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil || bytes.ContainsAny(s, " =") || m.names.of(string(s)) != secret {
		return plain
	}
	return secret
}

// name masks secrets within a member's name.
func (m *masker) name(raw jsontext.Value, at int) error {
	for _, r := range secretsIn(m.path[len(m.path)-1], identifier, m.names) {
		m.part(raw, at, r)
	}
	return nil
}

// text masks a string, or secrets within it.
func (m *masker) text(raw jsontext.Value, at int, s sensitivity) error {
	text, err := m.unquote(raw, at)
	if err != nil {
		return err
	}
	if s == hint && random(text) {
		m.take(at, raw)
		return nil
	}
	parts := secretsIn(text, prose, m.names)
	for _, r := range parts {
		m.part(raw, at, r)
		m.plain = append(m.plain, text[r.from:r.to])
	}
	if len(parts) > 0 {
		m.found = append(m.found, m.pointer())
	}
	return nil
}

// part masks a range of the decoded string whose raw form begins at offset at.
func (m *masker) part(raw jsontext.Value, at int, r byteRange) {
	m.cuts = append(m.cuts, cut{byteRange{at + rawOffset(raw, r.from), at + rawOffset(raw, r.to)}, false})
}

// rawOffset tells where byte n of the decoded string stands in its raw form.
func rawOffset(raw []byte, n int) int {
	i := 1 // behind the quote
	for n > 0 && i < len(raw)-1 {
		if raw[i] != '\\' {
			i, n = i+1, n-1
			continue
		}
		if raw[i+1] != 'u' {
			i, n = i+2, n-1
			continue
		}
		end := i + 6
		if end < len(raw)-6 && raw[end] == '\\' && raw[end+1] == 'u' && surrogate(raw[i:end]) {
			end += 6
		}
		s, err := jsontext.AppendUnquote(nil, append(append([]byte{'"'}, raw[i:end]...), '"'))
		if err != nil {
			s = s[:max(utf8.RuneLen(utf8.RuneError), 1)]
		}
		i, n = end, n-len(s)
	}
	return i
}

// surrogate reports whether \uXXXX is the first half of a pair.
func surrogate(escape []byte) bool {
	u, err := strconv.ParseUint(string(escape[2:6]), 16, 16)
	return err == nil && 0xD800 <= u && u < 0xDC00
}

// pointed reports whether a pointer leads to the value at hand.
func (m *masker) pointed() bool {
	for _, p := range m.pointers {
		if len(p) != len(m.path) {
			continue
		}
		same := true
		for i := range p {
			same = same && (p[i] == "*" || strings.EqualFold(p[i], m.path[i]))
		}
		if same {
			return true
		}
	}
	return false
}

// pointer returns the JSON pointer to the value at hand.
func (m *masker) pointer() string {
	var b strings.Builder
	for _, s := range m.path {
		b.WriteByte('/')
		b.WriteString(pointerEscape.Replace(maskText(s, identifier)))
	}
	return b.String()
}

var (
	pointerEscape   = strings.NewReplacer("~", "~0", "/", "~1")
	pointerUnescape = strings.NewReplacer("~1", "/", "~0", "~")
)

func splitPointers(pointers []string) [][]string {
	var out [][]string
	for _, p := range pointers {
		if p == "" {
			out = append(out, []string{})
			continue
		}
		parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
		for i := range parts {
			parts[i] = pointerUnescape.Replace(parts[i])
		}
		out = append(out, parts)
	}
	return out
}

// maskText masks secrets within a text.
func maskText(s string, c care) string {
	found := secretsIn(s, c, nil)
	if len(found) == 0 {
		return s
	}
	var b strings.Builder
	at := 0
	for _, r := range found {
		b.WriteString(s[at:r.from])
		b.WriteString(masked)
		at = r.to
	}
	b.WriteString(s[at:])
	return b.String()
}

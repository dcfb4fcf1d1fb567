package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"strings"
	"testing"
)

// window is how many characters of a secret are too many: logs cut what is long.
const window = 12

// needle is one form in which a secret may turn up.
type needle struct {
	form string
	text []byte
}

// needles are the forms of a value: the value as it is, in the usual encodings, and
// pieces of it, as of what was cut off.
func needles(value string) []needle {
	var all []needle
	seen := map[string]bool{}
	add := func(form, text string) {
		if len(text) >= window && !seen[text] {
			seen[text] = true
			all = append(all, needle{form, []byte(text)})
		}
	}
	add("as it is", value)
	for _, piece := range pieces(value) {
		add("the beginning of a piece", piece[:window])
		add("the end of a piece", piece[len(piece)-window:])
	}
	add("URL-escaped", url.QueryEscape(value))
	add("URL-escaped", url.PathEscape(value))
	add("HTML-escaped", html.EscapeString(value))
	add("in hex", hex.EncodeToString([]byte(value)))
	add("in hex", strings.ToUpper(hex.EncodeToString([]byte(value))))
	add("JSON-escaped", quoted(value, true))
	add("JSON-escaped", quoted(value, false))
	add("JSON-escaped twice", quoted(quoted(value, false), false))
	for _, of := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 { // where in a group of three bytes it begins
			add("in base64", aligned(of, value, shift))
		}
	}
	return all
}

// pieces are the runs of letters and digits, - and _, in a value. Of a token
// that is the part which is secret: not the id of a grant, not the head of a JWT.
func pieces(value string) []string {
	switch {
	case strings.HasPrefix(value, "mcpg_"):
		value = value[len("mcpg_")+16:]
	case strings.HasPrefix(value, "eyJ") && strings.Count(value, ".") == 2:
		value = value[strings.LastIndexByte(value, '.'):]
	case strings.HasPrefix(value, "-----BEGIN"):
		lines := strings.Split(value, "\n") // the number itself begins behind what is the same of every P-256 key
		return []string{lines[1][48:], lines[2][:24]}
	}
	var all []string
	for _, run := range strings.FieldsFunc(value, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	}) {
		if len(run) >= window {
			all = append(all, run)
		}
	}
	return all
}

func quoted(s string, escapeHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	_ = e.Encode(s) // a string can be encoded
	return strings.TrimSuffix(b.String()[1:], "\"\n")
}

// aligned is what is the same of the value's base64 whatever stands around it.
func aligned(of *base64.Encoding, value string, shift int) string {
	text := of.EncodeToString(append(make([]byte, shift), value...))
	from := []int{0, 2, 3}[shift]
	return text[from : (shift+len(value))/3*4]
}

// TestForms holds that each form is found, with text of any length before it.
func TestForms(t *testing.T) {
	const value = `SECRETSECRETSECRET/+&="<~OTHEROTHEROTHER`
	found := func(text string) bool {
		for _, n := range needles(value) {
			if bytes.Contains([]byte(text), n.text) {
				return true
			}
		}
		return false
	}
	for _, before := range []string{"", "a", "ab", "abc"} {
		text := before + value + "z"
		for name, s := range map[string]string{
			"plain": text, "base64": base64.StdEncoding.EncodeToString([]byte(text)), "base64url": base64.URLEncoding.EncodeToString([]byte(text)),
			"hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
			"URL": url.QueryEscape(text), "JSON": quoted(text, true), "HTML": html.EscapeString(text), "cut": before + value[:14] + "...",
		} {
			if !found(s) {
				t.Errorf("%s after %q is not found", name, before)
			}
		}
	}
	if found("SECRETSEC") {
		t.Error("nine characters are found")
	}
}

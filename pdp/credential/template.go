package credential

import (
	"fmt"
	"regexp"
	"strings"
)

// secretName is what a secret may be called, so that ${secret:NAME} can name it.
var secretName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

const secretNameRule = "1 to 63 of letters, digits, - _ and ., the first a letter or digit"

// accountName is SERVER/CREDENTIAL, as the configuration names them.
var accountName = regexp.MustCompile(`^[a-z0-9-]{1,63}/[a-z0-9_-]{1,63}$`)

// ShownName is a name of a kind ([KindSecret], [KindAccount]) as it may be shown and
// put on record: what cannot be one may be a secret that stands in the wrong place.
func ShownName(kind, name string) string {
	if kind == KindSecret && secretName.MatchString(name) || kind == KindAccount && accountName.MatchString(name) {
		return name
	}
	return "[not a name]"
}

// template is a value with references in it.
type template struct {
	name  string
	parts []part
}

// part is text, or the name of a secret that stands for its value.
type part struct {
	text   string
	secret string
}

// parseTemplate reads the references of a configured value. What a secret itself
// holds is never read for references.
func parseTemplate(h Header) (template, error) {
	t := template{name: h.Name}
	for rest := h.Value; ; {
		text, after, found := strings.Cut(rest, "${secret:")
		if text != "" {
			t.parts = append(t.parts, part{text: text})
		}
		if !found {
			return t, nil
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed || !secretName.MatchString(name) {
			return template{}, fmt.Errorf("${secret:NAME}: a name is %s", secretNameRule)
		}
		t.parts = append(t.parts, part{secret: name})
		rest = behind
	}
}

func (t template) secrets() []string {
	var names []string
	for _, p := range t.parts {
		if p.secret != "" {
			names = append(names, p.secret)
		}
	}
	return names
}

// fill returns the value, and whether something of a holder's own is in it.
func (t template) fill(secret func(name string) (value string, own bool, err error)) (value string, own bool, err error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.secret == "" {
			b.WriteString(p.text)
			continue
		}
		value, of, err := secret(p.secret)
		if err != nil {
			return "", false, err
		}
		b.WriteString(value)
		own = own || of
	}
	return b.String(), own, nil
}

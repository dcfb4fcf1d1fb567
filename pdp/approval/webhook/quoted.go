package webhook

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

const masked = "[masked]"

// shortest is the length from which a masked value is looked for in other texts:
// shorter ones are in too many words by chance.
const shortest = 4

// quoting returns the approval without what its arguments have masked in the
// reasons that quote it. It changes a copy.
func (s *Sender) quoting(a *approval.Approval) *approval.Approval {
	if s.options.Mask == nil || len(a.Arguments) == 0 {
		return a
	}
	secrets := differing(a.Arguments, s.options.Mask(a.Arguments, a.Masked))
	if len(secrets) == 0 {
		return a
	}
	c := *a
	c.Reason = without(secrets, a.Reason)
	c.Rules = nil
	for _, r := range a.Rules {
		r.Reason = without(secrets, r.Reason)
		c.Rules = append(c.Rules, r)
	}
	return &c
}

func without(secrets []string, text string) string {
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, masked)
	}
	return text
}

// differing are the texts and numbers of a JSON value that are not in the same
// place of another.
func differing(whole, shown []byte) []string {
	var found []string
	collect(decoded(whole), decoded(shown), &found)
	return found
}

func decoded(b []byte) (v any) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

func collect(whole, shown any, found *[]string) {
	switch w := whole.(type) {
	case map[string]any:
		s, _ := shown.(map[string]any)
		for name, v := range w {
			collect(v, s[name], found)
		}
	case []any:
		s, _ := shown.([]any)
		for i, v := range w {
			var other any
			if i < len(s) {
				other = s[i]
			}
			collect(v, other, found)
		}
	case string:
		if w != shown && len(w) >= shortest {
			*found = append(*found, w)
		}
	case json.Number:
		if whole != shown && len(w) >= shortest {
			*found = append(*found, w.String())
		}
	}
}

package credential

import (
	"strings"
)

// challenge is one of a WWW-Authenticate field (RFC 9110, section 11.6.1). Names of
// parameters are in lower case.
type challenge struct {
	scheme string // in lower case
	params map[string]string
}

// bearerChallenge is the first for bearer tokens among the fields' values.
func bearerChallenge(fields []string) (challenge, bool) {
	for _, field := range fields {
		for _, c := range parseChallenges(field) {
			if c.scheme == "bearer" {
				return c, true
			}
		}
	}
	return challenge{}, false
}

// parseChallenges reads a field's challenges, up to what is none. A parameter that
// is there twice makes all of the field none: two readers may take either.
func parseChallenges(field string) []challenge {
	p := params{rest: field}
	var list []challenge
	for {
		p.skip(" \t,")
		name := p.token()
		if name == "" {
			return list
		}
		space := p.skip(" \t")
		if len(list) > 0 && p.next('=') {
			if !p.value(list[len(list)-1], name) {
				return nil
			}
			continue
		}
		c := challenge{scheme: strings.ToLower(name), params: map[string]string{}}
		list = append(list, c)
		if space > 0 {
			p.credentials()
		}
	}
}

// params is what is left to read of a field.
type params struct{ rest string }

// skip passes the characters, and says how many they were.
func (p *params) skip(chars string) int {
	before := len(p.rest)
	p.rest = strings.TrimLeft(p.rest, chars)
	return before - len(p.rest)
}

// token passes a token (RFC 9110, section 5.6.2), or nothing.
func (p *params) token() string {
	end := strings.IndexFunc(p.rest, func(r rune) bool { return !isTokenChar(r) })
	if end < 0 {
		end = len(p.rest)
	}
	t := p.rest[:end]
	p.rest = p.rest[end:]
	return t
}

func (p *params) next(c byte) bool { return p.rest != "" && p.rest[0] == c }

// value passes = and the value of a parameter of the challenge.
func (p *params) value(of challenge, name string) bool {
	p.rest = p.rest[1:]
	p.skip(" \t")
	value, ok := p.token(), true
	if value == "" {
		value, ok = p.quoted()
	}
	name = strings.ToLower(name)
	if _, twice := of.params[name]; twice || !ok {
		return false
	}
	of.params[name] = value
	return true
}

// quoted passes a quoted string.
func (p *params) quoted() (string, bool) {
	if !p.next('"') {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			return b.String(), true
		case '\\':
			if i++; i < len(p.rest) {
				b.WriteByte(p.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// credentials passes the token68 of a scheme that has one in place of parameters,
// such as Negotiate.
func (p *params) credentials() {
	end := strings.IndexAny(p.rest, " \t,")
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	bare := strings.TrimRight(word, "=")
	after := strings.TrimLeft(p.rest[end:], " \t")
	if bare != "" && !strings.ContainsAny(bare, `="`) && (after == "" || after[0] == ',') {
		p.rest = p.rest[end:]
	}
}

func isTokenChar(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

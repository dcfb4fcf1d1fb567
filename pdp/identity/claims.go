package identity

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// claims are those of a token, each as it was written.
type claims map[string]jsontext.Value

// lookup finds a claim by its name; a dot goes into an object, unless it is part
// of a name ("kubernetes.io"). What is null is not there.
func (c claims) lookup(path string) (jsontext.Value, bool) {
	if v, ok := c[path]; ok {
		return v, v.Kind() != 'n'
	}
	for i, char := range path {
		if char != '.' {
			continue
		}
		var inner claims
		if c[path[:i]].Kind() != '{' || json.Unmarshal(c[path[:i]], &inner) != nil {
			continue
		}
		if v, ok := inner.lookup(path[i+1:]); ok {
			return v, true
		}
	}
	return nil, false
}

// texts reads a claim that is a string or an array of strings.
func texts(v jsontext.Value) ([]string, bool) {
	if s, ok := text(v); ok {
		return []string{s}, true
	}
	var all []string
	if v.Kind() != '[' {
		return nil, false
	}
	var members []jsontext.Value
	if json.Unmarshal(v, &members) != nil {
		return nil, false
	}
	for _, m := range members {
		s, ok := text(m)
		if !ok {
			return nil, false
		}
		all = append(all, s)
	}
	return all, true
}

// latest is the end of the year 9999, in seconds.
const latest = 253402300799

// date reads a NumericDate (RFC 7519, section 2): a JSON number of seconds, which
// may have a fraction. It returns the zero time where the claim is not there.
func (c claims) date(name string) (time.Time, error) {
	v, has := c[name]
	if !has {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseFloat(string(v), 64) // of valid JSON it reads numbers alone
	if err != nil || seconds < 1 || seconds > latest {
		return time.Time{}, invalidToken("has no time as its %s", name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
}

// scopes are those of RFC 9068, section 2.2.3, in the two ways in which they are
// written: a list with spaces, and an array.
func (c claims) scopes() ([]string, error) {
	v, has := c.lookup("scope")
	if !has {
		v, has = c.lookup("scp")
	}
	if !has {
		return nil, nil
	}
	all, ok := texts(v)
	if s, one := text(v); one {
		all = strings.Fields(s)
	}
	if !ok || len(all) > maxScope {
		return nil, invalidToken("has no list of scopes as its scope")
	}
	for _, s := range all {
		if !isScope(s) {
			return nil, invalidToken("has a scope with characters that scopes do not have")
		}
	}
	return all, nil
}

// isScope is by RFC 6749, section 3.3.
func isScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= maxText
}

// shown returns the named claims as one JSON object, each as it was written, and
// nil where there is none of them.
func (c claims) shown(names []string) (jsontext.Value, error) {
	some := map[string]jsontext.Value{}
	for _, name := range names {
		if v, ok := c.lookup(name); ok {
			some[name] = v
		}
	}
	if len(some) == 0 {
		return nil, nil
	}
	return json.Marshal(some, json.Deterministic(true))
}

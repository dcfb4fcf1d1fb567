package policy

import (
	"errors"
	"strings"
)

// resource is a resource URI as rules see it: normalised as RFC 3986, section
// 6.2.2 says (case, percent-encoding, dot segments), with the raw one beside.
type resource struct {
	uri    string
	raw    string
	scheme string
	host   string // without user information and port
	path   string
}

var errAmbiguousURI = errors.New("the resource URI can be read in more than one way: it has a control character, a backslash, or space at an end")

// parseResource normalises a URI or a URI template. It does not fail for what
// is no URI: that has no scheme, and its path is all of it. It fails for what
// readers of URIs are known to read differently: some drop control characters
// and outer spaces, and take a backslash for a slash.
func parseResource(raw string) (resource, error) {
	if strings.TrimSpace(raw) != raw || strings.ContainsFunc(raw, func(c rune) bool {
		return c < ' ' || c == 0x7f || c == '\\'
	}) {
		return resource{}, errAmbiguousURI
	}
	r := resource{raw: raw}
	rest := raw
	if scheme, after, ok := strings.Cut(rest, ":"); ok && isScheme(scheme) {
		r.scheme, rest = lowerASCII(scheme), after
	}
	rest, fragment := cutBefore(rest, "#")
	rest, query := cutBefore(rest, "?")
	var authority string
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		authority, rest = cutBefore(after, "/")
		user, address := splitUser(authority)
		address = lowerASCII(decodeUnreserved(address))
		r.host = hostOf(address)
		authority = "//" + user + address
	}
	r.path = removeDotSegments(decodeUnreserved(rest))
	if authority == "" && strings.HasPrefix(r.path, "//") {
		authority = "/." // else the path would read as an authority (RFC 3986, section 4.2)
	}
	r.uri = authority + r.path + decodeUnreserved(query) + decodeUnreserved(fragment)
	if r.scheme != "" {
		r.uri = r.scheme + ":" + r.uri
	}
	return r, nil
}

// cutBefore splits s before the first sep.
func cutBefore(s, sep string) (before, from string) {
	if i := strings.Index(s, sep); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// splitUser cuts an authority before its host.
func splitUser(authority string) (user, address string) {
	i := strings.LastIndexByte(authority, '@') + 1
	return authority[:i], authority[i:]
}

// hostOf returns the address without its port.
func hostOf(address string) string {
	if end := strings.IndexByte(address, ']'); strings.HasPrefix(address, "[") && end > 0 {
		return address[:end+1]
	}
	if port := strings.LastIndexByte(address, ':'); port >= 0 {
		return address[:port]
	}
	return address
}

func lowerASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

// decodeUnreserved decodes the percent-encodings of unreserved characters and
// writes the hex digits of the others in upper case.
func decodeUnreserved(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) {
			b.WriteByte(s[i])
			continue
		}
		high, low := unhex(s[i+1]), unhex(s[i+2])
		if high < 0 || low < 0 {
			b.WriteByte(s[i])
			continue
		}
		if c := byte(high<<4 | low); isUnreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteString(strings.ToUpper(s[i : i+3]))
		}
		i += 2
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// removeDotSegments resolves "." and ".." (RFC 3986, section 5.2.4).
func removeDotSegments(path string) string {
	if !strings.Contains(path, ".") {
		return path
	}
	var out []string
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".":
		case "..":
			// The empty first segment of an absolute path stays.
			if len(out) > 1 || len(out) == 1 && out[0] != "" {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, segment)
			continue
		}
		if last {
			out = append(out, "") // "/a/." is the directory /a/
		}
	}
	return strings.Join(out, "/")
}

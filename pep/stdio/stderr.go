package stdio

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/time/rate"
)

const (
	stderrLine  = 2 << 10 // bytes of a line that are logged
	stderrRate  = 20      // lines a second, in the long run
	stderrBurst = 100
	// secretLength is from where on a configured value is taken for a secret:
	// blotting out "1" or "true" would only make the log unreadable.
	secretLength = 8
)

// logStderr logs what the process writes to stderr, line by line, until it
// ends: bounded in length and rate, control characters escaped, configured
// values blotted out (I6).
func logStderr(log *slog.Logger, stderr io.Reader, env []string) {
	secrets, longest := secretsOf(env)
	lines := &lineReader{r: bufio.NewReader(stderr), max: stderrLine + longest}
	limit := rate.NewLimiter(stderrRate, stderrBurst)
	dropped := 0
	for {
		line, _, err := lines.next()
		switch {
		case isBlank(line):
		case !limit.Allow():
			dropped++
		default:
			if dropped > 0 {
				log.Warn("stdio server writes too much to stderr", "dropped_lines", dropped)
				dropped = 0
			}
			log.Info("stdio server", "stderr", printable(secrets.Replace(string(line))))
		}
		if err != nil {
			break
		}
	}
	if dropped > 0 {
		log.Warn("stdio server wrote too much to stderr", "dropped_lines", dropped)
	}
}

// secretsOf returns what blots out the configured values, and the length of
// the longest: a line is cut only after it was searched.
func secretsOf(env []string) (*strings.Replacer, int) {
	var pairs []string
	longest := 0
	for _, entry := range env {
		name, value, given := strings.Cut(entry, "=")
		if !given {
			value = os.Getenv(name)
		}
		if len(value) >= secretLength {
			pairs = append(pairs, value, "["+name+"]")
			longest = max(longest, len(value))
		}
	}
	return strings.NewReplacer(pairs...), longest
}

// printable escapes what a terminal could take for a command and cuts what is
// too long.
func printable(s string) string {
	var b bytes.Buffer
	for i := 0; i < len(s); {
		if b.Len() >= stderrLine {
			b.WriteString("…")
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += size
	}
	return b.String()
}

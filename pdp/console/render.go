package console

import (
	"bytes"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mcpermit/mcpermit/pdp/inert"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates
var templateFiles embed.FS

// pages maps the name of a page to its template, with layout and parts.
var pages = parsePages()

// parsePages joins layout.html and parts.html with each of the other files.
func parsePages() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is malformed
	}
	pages := map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name != "layout" && name != "parts" {
			pages[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, file))
		}
	}
	return pages
}

// render makes a page. html/template keeps text from becoming markup; what is
// left are characters that do not show themselves. They are written out here,
// behind all templates, so that no page can forget to.
func render(page string, data shown) ([]byte, error) {
	t, ok := pages[page]
	if !ok {
		return nil, fmt.Errorf("there is no template %q", page)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "layout", data); err != nil {
		return nil, fmt.Errorf("render %s: %w", page, err)
	}
	return []byte(inert.Text(b.String())), nil
}

// functions are what templates call.
var functions = template.FuncMap{
	"join":      strings.Join,
	"machine":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"moment":    func(t time.Time) string { return t.UTC().Format("2 Jan 15:04:05") },
	"day":       func(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04") },
	"line":      inert.Line,
	"hex":       func(d [32]byte) string { return hex.EncodeToString(d[:]) },
	"ruleAt":    ruleAt,
	"plural":    plural,
	"plural64":  func(n int64, one, many string) string { return plural(int(n), one, many) },
	"clip":      clip,
	"brief":     brief,
	"text":      func(v jsontext.Value) string { return string(v) },
	"trimSlash": func(s string) string { return strings.TrimPrefix(s, "/") },
}

// clip and brief are inert.Line of names and sentences that may be too long for
// their place in a table.
func clip(s string) string  { return clipped(s, 80) }
func brief(s string) string { return clipped(s, 240) }

func clipped(s string, most int) string {
	n := 0
	for i := range s {
		if n++; n > most {
			return inert.Line(s[:i]) + "…"
		}
	}
	return inert.Line(s)
}

// plural is "1 call", "2 calls".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// span is a duration as people say it: the two largest units.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	days, hours, minutes, seconds := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case d <= 0:
		return "no time"
	case days > 0 && hours > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case days > 0:
		return fmt.Sprintf("%d d", days)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case minutes >= 10:
		return fmt.Sprintf("%d min", minutes)
	case minutes > 0:
		return fmt.Sprintf("%d min %d s", minutes, seconds)
	}
	return fmt.Sprintf("%d s", seconds)
}

// assets serves the style sheet and the scripts. They are the program's, and so
// are checked again after a while only.
func assets() http.Handler {
	files := http.FileServerFS(assetFiles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "private, max-age=300")
		files.ServeHTTP(w, r)
	})
}

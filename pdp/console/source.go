package console

import (
	"slices"
	"strings"

	"github.com/mcpermit/mcpermit/pdp/policy"
)

// sourceLine is one line of a file.
type sourceLine struct {
	Number int
	Text   string
	Mark   bool // the rule's head
}

// sourcePart is a stretch of a file; without lines, its source is not known.
type sourcePart struct {
	File  string
	Lines []sourceLine
	Cut   bool // there is more of it
}

// mostRuleLines is how much of one rule is shown.
const mostRuleLines = 60

// fileNamed returns -1 where there is no file of that path.
func fileNamed(files []policy.File, path string) int {
	return slices.IndexFunc(files, func(f policy.File) bool { return f.Path == path })
}

// ruleSource is the rule whose head is in that line, from the comments above it
// to its end.
func ruleSource(files []policy.File, path string, line int) sourcePart {
	i := fileNamed(files, path)
	if i < 0 {
		return sourcePart{}
	}
	lines := strings.Split(strings.TrimSuffix(files[i].Source, "\n"), "\n")
	if line < 1 || line > len(lines) {
		return sourcePart{}
	}
	part := sourcePart{File: path}
	from := line - 1
	for from > 0 && strings.HasPrefix(lines[from-1], "#") {
		from--
	}
	to := line
	for to < len(lines) && within(lines[to:]) {
		to++
	}
	if to-from > mostRuleLines {
		part.Cut = true
		from, to = line-1, min(to, line-1+mostRuleLines)
	}
	for n := from; n < to; n++ {
		part.Lines = append(part.Lines, sourceLine{n + 1, lines[n], n == line-1})
	}
	return part
}

// within reports whether the first of the lines still belongs to the rule above
// it: it is indented, closes it, or is empty and followed by one that does.
func within(lines []string) bool {
	for _, line := range lines {
		switch {
		case strings.TrimSpace(line) == "":
			continue
		default:
			return strings.ContainsAny(line[:1], " \t}])")
		}
	}
	return false
}

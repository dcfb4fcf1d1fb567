package catalog

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// run returns whether an expression matches, or "?" when it cannot be run.
func run(source, s string) (answer string) {
	m := &meter{}
	m.reset()
	defer func() {
		if recover() != nil {
			answer = "?"
		}
	}()
	if newPattern(source, m).MatchString(s) {
		return "yes"
	}
	return "no"
}

func TestPatterns(t *testing.T) {
	// What a much used schema generator writes for an e-mail address.
	const email = `^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$`
	for _, test := range []struct{ source, s, want string }{
		{`a`, `bab`, "yes"}, // expressions are not anchored
		{`^a$`, `bab`, "no"},
		{`^a$`, "a\n", "no"},
		{`^\u00e9\u{1F600}$`, `é😀`, "yes"},
		{`^\ud83d\ude00$`, `😀`, "yes"},
		{`^[\u0061-\u0063]+$`, `abc`, "yes"},
		{`^\/\-\_\@$`, `/-_@`, "yes"},
		{`^\d+\.\d$`, `12.5`, "yes"},
		{`^\p{L}+$`, `été`, "yes"},
		{`^(?<year>\d{4})$`, `2026`, "yes"},
		{`^(?:a|b)$`, `b`, "yes"},
		{`\0`, "\x00", "yes"},

		{email, `a.b@example.com`, "yes"},
		{email, `.a@example.com`, "no"},
		{email, `a..b@example.com`, "no"},
		{`^(?=.*[0-9])(?=.*[a-z]).{4,}$`, `abc1`, "yes"},
		{`^(?=.*[0-9])(?=.*[a-z]).{4,}$`, `abcd`, "no"},
		{`^(?=.*[0-9])(?=.*[a-z]).{4,}$`, `1a`, "no"},
		{`^(?!(?:admin|root)$)[a-z]+$`, `root`, "no"},
		{`^(?!(?:admin|root)$)[a-z]+$`, `roots`, "yes"},
		{`^(?![)|])a`, `a`, "yes"},
		{`^(?![)|])a`, `)a`, "no"},
		{`^(?!a)`, `b`, "yes"},
		{`^(?!a)`, `a`, "no"},

		// Not to be run without loss.
		{`(?<=a)b`, `ab`, "?"},
		{`(?<!a)b`, `cb`, "?"},
		{`a(?=b)`, `ab`, "?"},
		{`(?!a)b`, `b`, "?"},
		{`^(?!a)b|c`, `c`, "?"}, // the look-ahead is for the first alternative alone
		{`^(?!a(?!b))c`, `c`, "?"},
		{`(a)\1`, `aa`, "?"},
		{`\k<x>`, `x`, "?"},
		{`^\u12$`, `x`, "?"},
		{`^\ud83d$`, `x`, "?"},
		{`\A`, `A`, "?"}, // the letter in ECMA-262, the beginning of the text in Go
		{`\Qa\E`, `a`, "?"},
		{`\z`, `z`, "?"},
		{`\a`, `a`, "?"},
		{`[]`, ``, "?"},
		{`[^]`, `x`, "?"},
		{`(`, ``, "?"},
		{`a{1,5000}`, `a`, "?"},
		{`\`, ``, "?"},
		{strings.Repeat("a", maxPatternLen+1), ``, "?"},
		{`((a{100}){100}){100}`, ``, "?"},
		{`(?:[a-z]{500}[0-9]{500}){9}x{990}`, ``, "?"},
	} {
		if got := run(test.source, test.s); got != test.want {
			t.Errorf("%.60s on %q: %s, want %s", test.source, test.s, got, test.want)
		}
	}
}

// The estimate is never below what Go makes of the expression.
func TestProgramSize(t *testing.T) {
	for _, source := range []string{
		`a`, `abc`, `a*`, `a+?`, `[a-z]{3,7}`, `(a|b){0,5}c{10,}`, `((x{10}){10}){10}`, `(?:)`, `^$`, `(a{2}|b{3,}){2,4}`, `.{1000}`, `(a?){900}`, `\p{L}{50}`,
	} {
		parsed, err := syntax.Parse(source, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		if got := programSize(parsed) + 2; got < len(program.Inst) {
			t.Errorf("%s: estimated %d, made into %d", source, got, len(program.Inst))
		}
	}
}

// A schema of many small expressions that become large ones is refused before
// they do.
func TestExpressionsOfASchemaAreBounded(t *testing.T) {
	c := newCatalog(t, &memory{})
	var properties []string
	for i := range 2000 {
		properties = append(properties, fmt.Sprintf(`"p%d":{"pattern":"[a-z]{1000}x{999}y{999}z{%d}"}`, i, i%1000))
	}
	schema := `{"properties":{` + strings.Join(properties, ",") + `}}`
	for _, arguments := range []string{`{"p1999":"a"}`, `{"p0":"a"}`, `{}`} { // not only the calls that come to the last of them
		if got := check(t, c, schema, arguments); got != "?" {
			t.Errorf("%s: %q", arguments, got)
		}
	}
}

// An expression that cannot be run spoils only the calls that need it.
func TestI1_AnExpressionThatCannotBeRun(t *testing.T) {
	c := newCatalog(t, &memory{})
	const schema = `{"properties":{"a":{"type":"string","pattern":"(?<=x)y"},"b":{"type":"string"}}}`
	for arguments, want := range map[string]string{`{"b":"z"}`: "", `{"a":"xy"}`: "?", `{"a":"z"}`: "?", `{"a":5}`: "/a type"} {
		if got := check(t, c, schema, arguments); got != want {
			t.Errorf("%s: %q, want %q", arguments, got, want)
		}
	}
	// Neither a match nor a mismatch may stand in for the answer.
	for _, schema := range []string{
		`{"properties":{"a":{"not":{"pattern":"(?<=x)y"}}}}`,
		`{"properties":{"a":{"anyOf":[{"pattern":"(?<=x)y"},{}]}}}`,
		`{"properties":{"a":{"if":{"pattern":"(?<=x)y"}}}}`,
		`{"patternProperties":{"(?<=x)y":{"type":"number"}}}`,
		`{"propertyNames":{"pattern":"(?<=x)y"}}`,
	} {
		if got := check(t, c, schema, `{"a":"xy"}`); got != "?" {
			t.Errorf("%s: %q", schema, got)
		}
	}
}

// Leading look-aheads are conditions on the whole text: the expression says
// what its parts say one by one.
func TestLookAheadsAreConditions(t *testing.T) {
	part := rapid.SampledFrom([]string{`a`, `.*b`, `[ab]c`, `a|b`, `(?:a|.c)$`, `$`, `\.`, `a*`, `[)(|]`, `a\)`})
	letters := rapid.StringOfN(rapid.RuneFrom([]rune("abc.)(|")), 0, 5, -1)
	rapid.Check(t, func(t *rapid.T) {
		s, rest := letters.Draw(t, "text"), part.Draw(t, "rest")
		if strings.Contains(rest, "a|b") {
			return
		}
		source, want := "^", true
		for range rapid.IntRange(1, 3).Draw(t, "look-aheads") {
			p := part.Draw(t, "part")
			matches := regexp.MustCompile("^(?:" + p + ")").MatchString(s)
			if rapid.Bool().Draw(t, "negative") {
				source, want = source+"(?!"+p+")", want && !matches
			} else {
				source, want = source+"(?="+p+")", want && matches
			}
		}
		source += rest
		want = want && regexp.MustCompile("^(?:"+rest+")").MatchString(s)
		if got := run(source, s); got != map[bool]string{true: "yes", false: "no"}[want] {
			t.Fatalf("%s on %q: %s, want %v", source, s, got, want)
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{`^(?!\.)(?=.*[a-z])[^\]]+$`, `\ud83d\ude00`, `\u{61}`, `[\]]`, `((`, `^(?=`, `\`} {
		f.Add(s, "text")
	}
	f.Fuzz(func(t *testing.T, source, s string) {
		if len(s) > 1000 {
			return
		}
		got := run(source, s)
		// Without anything that is ours to translate, it is Go's regexp.
		if strings.ContainsAny(source, `\`) || strings.Contains(source, "(?") || got == "?" {
			return
		}
		re, err := regexp.Compile(source)
		if err != nil {
			t.Fatalf("%q ran and does not compile: %v", source, err)
		}
		if re.MatchString(s) != (got == "yes") {
			t.Fatalf("%q on %q: %s", source, s, got)
		}
	})
}

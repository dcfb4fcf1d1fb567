package mcp

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// span is a JSON value's place in the frame. The zero span means that there is
// no such value: nothing that is looked for stands at offset 0.
type span struct{ at, end int }

func (v span) present() bool { return v.end > 0 }

// scan reads one frame in one pass. The first fault stays: after it every
// method does nothing.
type scan struct {
	dec    jsontext.Decoder
	src    bytes.Buffer
	b      []byte
	dir    Direction
	lim    Limits
	values int
	fault  *Fault
	names  nameStack
	found  [slotCount]span
	extra  [slotCount]int // offset of the first undeclared member of the object in a slot
	items  []listed
	plain  []byte // scratch for a name with escapes
}

var (
	scans = sync.Pool{New: func() any { return new(scan) }}

	// Duplicates are found by the scan itself, with the folded form of the
	// names. What a server sends may have lone surrogates in content that is
	// only passed on; that the bytes are UTF-8 is checked apart.
	strictText = []jsontext.Options{jsontext.AllowDuplicateNames(true)}
	looseText  = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
)

func newScan(b []byte, dir Direction, lim Limits) *scan {
	s := scans.Get().(*scan)
	s.b, s.dir, s.lim = b, dir, lim.forDirection(dir)
	s.src = *bytes.NewBuffer(b)
	if dir == ToClient {
		s.dec.Reset(&s.src, looseText...)
	} else {
		s.dec.Reset(&s.src, strictText...)
	}
	return s
}

// release gives the scan back, without anything of the frame.
func (s *scan) release() {
	s.src = bytes.Buffer{}
	s.dec.Reset(&s.src)
	s.names.reset()
	if cap(s.plain) > keptScratch {
		s.plain = nil
	}
	s.b, s.fault, s.values, s.items = nil, nil, 0, nil
	s.found, s.extra = [slotCount]span{}, [slotCount]int{}
	scans.Put(s)
}

func (s *scan) fail(code int, rule, reason string, offset int) {
	if s.fault == nil {
		s.fault = refuse(code, rule, reason, offset)
	}
}

// document reads the whole frame: one value with nothing but white space
// around it, guided by the given node.
func (s *scan) document(root *node) {
	switch {
	case len(s.b) > s.lim.Bytes:
		s.fail(CodeInvalidRequest, RuleTooLarge, "the frame is longer than the limit", s.lim.Bytes)
		s.fault.Status = 413
		return
	case bytes.HasPrefix(s.b, []byte("\xef\xbb\xbf")):
		s.fail(CodeParseError, RuleByteOrderMark, "the frame begins with a byte order mark", 0)
		return
	case s.dir == ToClient && !utf8.Valid(s.b):
		s.fail(CodeParseError, RuleUTF8, "the frame is not UTF-8", invalidUTF8(s.b))
		return
	}
	start := skipSpace(s.b, 0)
	if start == len(s.b) {
		s.fail(CodeParseError, RuleEmpty, "the frame is empty", 0)
		return
	}
	switch s.kind() {
	case jsontext.KindInvalid:
		return
	case jsontext.KindBeginObject:
	case jsontext.KindBeginArray:
		s.fail(CodeInvalidRequest, RuleBatch, "batches are not accepted; send one message at a time", start)
		return
	default:
		s.fail(CodeInvalidRequest, RuleNotObject, "the frame is not a JSON object", start)
		return
	}
	s.value(1, root)
	if s.fault != nil {
		return
	}
	if end := skipSpace(s.b, int(s.dec.InputOffset())); end < len(s.b) {
		s.fail(CodeParseError, RuleTrailing, "something follows the JSON value", end)
	}
}

// kind peeks at the next token; at a syntax error it records the fault.
func (s *scan) kind() jsontext.Kind {
	if s.fault != nil {
		return jsontext.KindInvalid
	}
	k := s.dec.PeekKind()
	if k == jsontext.KindInvalid {
		_, err := s.dec.ReadToken()
		s.syntax(err)
	}
	return k
}

// value reads the next value, which lies at the given depth (the frame is at
// depth 1), and all that is in it.
func (s *scan) value(depth int, n *node) span {
	k := s.kind()
	if s.fault != nil {
		return span{}
	}
	if s.values++; s.values > s.lim.Values {
		s.fail(CodeInvalidRequest, RuleTooMany, "the frame has more values than the limit", int(s.dec.InputOffset()))
		return span{}
	}
	var v span
	switch k {
	case jsontext.KindBeginObject:
		v = s.object(depth, n)
	case jsontext.KindBeginArray:
		v = s.array(depth, n)
	default:
		raw := s.text()
		if k == jsontext.KindNumber {
			s.number(raw)
		}
		v = raw
	}
	if s.fault != nil {
		return span{}
	}
	if n != nil && n.slot != slotNone {
		s.found[n.slot] = v
	}
	return v
}

// text reads a string, a number or a literal.
func (s *scan) text() span {
	raw, err := s.dec.ReadValue()
	if err != nil {
		s.syntax(err)
		return span{}
	}
	end := int(s.dec.InputOffset())
	return span{end - len(raw), end}
}

// open reads the opening delimiter of an object or array and returns its offset.
func (s *scan) open(depth int) int {
	if _, err := s.dec.ReadToken(); err != nil {
		s.syntax(err)
		return 0
	}
	at := int(s.dec.InputOffset()) - 1
	if depth > s.lim.Depth {
		s.fail(CodeInvalidRequest, RuleTooDeep, "objects and arrays are nested deeper than the limit", at)
	}
	return at
}

func (s *scan) object(depth int, n *node) span {
	at := s.open(depth)
	set := s.names.push()
	for s.fault == nil {
		switch s.kind() {
		case jsontext.KindInvalid:
		case jsontext.KindEndObject:
			end := s.end()
			s.names.pop(set)
			return span{at, end}
		default:
			s.value(depth+1, s.name(&set, n))
		}
	}
	return span{}
}

func (s *scan) array(depth int, n *node) span {
	at := s.open(depth)
	for s.fault == nil {
		switch s.kind() {
		case jsontext.KindInvalid:
		case jsontext.KindEndArray:
			return span{at, s.end()}
		default:
			s.element(depth+1, n)
		}
	}
	return span{}
}

func (s *scan) end() int {
	if _, err := s.dec.ReadToken(); err != nil {
		s.syntax(err)
	}
	return int(s.dec.InputOffset())
}

// name reads a member's name, holds it against those before it in the same
// object, and returns the node that the member's value is read with.
//
// An object that the gateway takes something out of, and every object that a
// client sends, has no two names that fold to one. In the rest
// of what a server sends, which is only passed on, a name may not occur twice
// to the letter.
func (s *scan) name(set *nameSet, n *node) *node {
	raw := s.text()
	if s.fault != nil {
		return nil
	}
	strict := s.dir == ToServer || n.guides()
	name := s.b[raw.at+1 : raw.end-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var err error
		s.plain, err = jsontext.AppendUnquote(s.plain[:0], s.b[raw.at:raw.end])
		if err != nil && strict {
			s.fail(CodeParseError, RuleSurrogate, "a name has a lone surrogate", raw.at)
			return nil
		}
		name = s.plain
	}
	if strict && hasControl(name) {
		s.fail(CodeInvalidRequest, RuleControlName, "a name has a control character", raw.at)
		return nil
	}
	switch folded, same := s.names.add(set, name, strict, raw.at); {
	case same == 0:
		return s.declared(n, name, folded, raw.at)
	case s.sameName(same-1, name):
		s.fail(CodeInvalidRequest, RuleDuplicate, "a name occurs twice in one object", raw.at)
	default:
		s.fail(CodeInvalidRequest, RuleFold, "two names in one object differ only in case, '_' or '-'", raw.at)
	}
	return nil
}

// declared looks the member up among those that the node declares.
func (s *scan) declared(n *node, name, folded []byte, at int) *node {
	if !n.guides() {
		return nil
	}
	if m, ok := n.members[string(name)]; ok {
		return m
	}
	if _, ok := n.folded[string(folded)]; ok {
		s.fail(CodeInvalidRequest, RuleFold, "a name differs from a protocol member only in case, '_' or '-'", at)
		return nil
	}
	if s.extra[n.slot] == 0 {
		s.extra[n.slot] = at
	}
	return nil
}

// sameName reports whether the name whose token starts at the given offset is
// this one to the letter.
func (s *scan) sameName(at int, name []byte) bool {
	end := at + 1
	for s.b[end] != '"' {
		if s.b[end] == '\\' {
			end++
		}
		end++
	}
	other, _ := jsontext.AppendUnquote(nil, s.b[at:end+1])
	return bytes.Equal(other, name)
}

func (s *scan) number(v span) {
	if s.fault != nil || s.dir == ToClient {
		return
	}
	if rule, reason := checkNumber(s.b[v.at:v.end], s.lim.ExactNumbers); rule != "" {
		s.fail(CodeInvalidRequest, rule, reason, v.at)
	}
}

// syntax records why the decoder stopped.
func (s *scan) syntax(err error) {
	at := int(s.dec.InputOffset())
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		at = int(syn.ByteOffset)
	}
	at = min(at, len(s.b))
	switch bad := invalidUTF8(s.b); {
	case 0 <= bad && bad <= at+utf8.UTFMax:
		s.fail(CodeParseError, RuleUTF8, "the frame is not UTF-8", bad)
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		s.fail(CodeParseError, RuleTruncated, "the JSON value does not end", len(s.b))
	case isSurrogate(s.b[at:]):
		s.fail(CodeParseError, RuleSurrogate, "a string has a lone surrogate", at)
	default:
		s.fail(CodeParseError, RuleSyntax, "the frame is not JSON", at)
	}
}

// isSurrogate reports whether b begins with an escaped surrogate.
func isSurrogate(b []byte) bool {
	return len(b) >= 4 && b[0] == '\\' && b[1] == 'u' && b[2]|0x20 == 'd' && '8' <= b[3]
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// skipSpace returns the offset of the first byte from i on that is no JSON
// white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

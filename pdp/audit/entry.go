package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	seqOpen  = `{"seq":`
	typeOpen = `,"type":"`
	timeOpen = `","time":"`
	idOpen   = `","decision_id":"`
	prevOpen = `,"prev":"`
	hashOpen = `,"hash":"`
	lineEnd  = `"}`

	hashHex = 2 * sha256.Size
	// hashTail is how many bytes at a line's end the hash does not cover.
	hashTail = len(hashOpen) + hashHex + len(lineEnd)
	// maxLine bounds what a reader holds in memory for one entry.
	maxLine = 4 << 20
)

// digest is a SHA-256 as it stands in the trail: lower-case hexadecimal.
type digest [hashHex]byte

// genesis is the prev of the first entry.
var genesis = digest(bytes.Repeat([]byte("0"), hashHex))

func (d digest) String() string { return string(d[:]) }

func hashOf(b []byte) (d digest) {
	sum := sha256.Sum256(b)
	hex.Encode(d[:], sum[:])
	return d
}

// chain is a place in the trail: the last entry's number and hash.
type chain struct {
	seq  uint64
	hash digest
}

// append adds one entry to dst. body is the entry's JSON object without seq,
// prev and hash, never empty.
func (c *chain) append(dst, body []byte) []byte {
	start := len(dst)
	dst = append(dst, seqOpen...)
	dst = strconv.AppendUint(dst, c.seq+1, 10)
	dst = append(dst, ',')
	dst = append(dst, body[1:len(body)-1]...)
	dst = append(dst, prevOpen...)
	dst = append(dst, c.hash[:]...)
	dst = append(dst, '"')
	c.seq, c.hash = c.seq+1, hashOf(dst[start:])
	dst = append(dst, hashOpen...)
	dst = append(dst, c.hash[:]...)
	return append(dst, lineEnd+"\n"...)
}

// entry is a line of the trail, read just far enough to file it. Its slices
// alias the line.
type entry struct {
	line []byte // without its line feed
	seq  uint64
	kind []byte
	time []byte // RFC 3339
	id   []byte // decision id as it stands between its quotes; nil where the type has none
	prev digest
	hash digest // as written; intact compares it
}

// parseEntry reads the fixed parts of a line without its line feed; false when
// the line is no entry of a trail.
func parseEntry(line []byte) (entry, bool) {
	e := entry{line: line}
	rest, ok := bytes.CutPrefix(line, []byte(seqOpen))
	if !ok || len(line) < hashTail+len(prevOpen)+hashHex+1 {
		return e, false
	}
	number, rest, ok := bytes.Cut(rest, []byte(typeOpen))
	if !ok || len(number) == 0 || len(number) > 20 || number[0] == '0' {
		return e, false
	}
	seq, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return e, false
	}
	e.seq = seq
	if e.kind, rest, ok = bytes.Cut(rest, []byte(timeOpen)); !ok {
		return e, false
	}
	if e.time, rest, ok = cutString(rest); !ok {
		return e, false
	}
	if after, has := bytes.CutPrefix(rest, []byte(idOpen)); has {
		if e.id, _, ok = cutString(after); !ok {
			return e, false
		}
	}
	return e, e.readTail()
}

// readTail reads prev and hash, which stand at fixed distances from the end.
func (e *entry) readTail() bool {
	tail := e.line[len(e.line)-hashTail:]
	prev := e.line[len(e.line)-hashTail-len(prevOpen)-hashHex-1 : len(e.line)-hashTail]
	if !bytes.HasPrefix(tail, []byte(hashOpen)) || !bytes.HasSuffix(tail, []byte(lineEnd)) ||
		!bytes.HasPrefix(prev, []byte(prevOpen)) || prev[len(prev)-1] != '"' {
		return false
	}
	copy(e.hash[:], tail[len(hashOpen):])
	copy(e.prev[:], prev[len(prevOpen):])
	return true
}

// cutString splits b before the quote that ends the JSON string in which b begins.
func cutString(b []byte) (s, rest []byte, ok bool) {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[:i], b[i:], true
		}
	}
	return nil, nil, false
}

// intact reports whether the entry's hash is the hash of its line.
func (e *entry) intact() bool {
	return hashOf(e.line[:len(e.line)-hashTail]) == e.hash
}

// follows reports whether the entry is the next one after c.
func (e *entry) follows(c chain) bool {
	return e.seq == c.seq+1 && e.prev == c.hash && e.intact()
}

func (e *entry) is(kind string) bool { return string(e.kind) == kind }

func (e *entry) at() (time.Time, error) { return time.Parse(time.RFC3339Nano, string(e.time)) }

// decisionID returns the decoded decision id.
func (e *entry) decisionID() string {
	if bytes.IndexByte(e.id, '\\') < 0 {
		return string(e.id)
	}
	quoted := append(append([]byte{'"'}, e.id...), '"')
	id, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return string(e.id)
	}
	return string(id)
}

// note is an entry that is not a record.
type note struct {
	Seq        uint64    `json:"seq,omitzero"`
	Type       string    `json:"type"`
	Time       time.Time `json:"time"`
	DecisionID string    `json:"decision_id,omitzero"`
	Outcome    *Outcome  `json:"outcome,omitzero"`
	// of a seal: how many records the segment holds, and their times
	Records int64     `json:"records,omitzero"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	// of a repair
	Reason string `json:"reason,omitzero"`
	// Lost is true when entries were missing or altered, not just cut short by a crash.
	Lost bool   `json:"lost,omitzero"`
	Prev string `json:"prev,omitzero"`
	Hash string `json:"hash,omitzero"`
}

func (n *note) encode() []byte {
	if b, ok := writeObject(true, func(o *object) { o.note(n) }); ok {
		return b
	}
	b, err := json.Marshal(n, encoding)
	if err != nil {
		// Every member is a number, a time, or text that was made valid UTF-8.
		panic("audit: encode " + n.Type + ": " + err.Error())
	}
	return b
}

func parseNote(line []byte) (*note, error) {
	var n note
	if err := json.Unmarshal(line, &n, encoding); err != nil {
		return nil, err
	}
	return &n, nil
}

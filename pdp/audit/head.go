package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/go-json-experiment/json"
)

const (
	headName = "head"
	slotSize = 512
)

// headSlot is one of the two slots of the head file.
type headSlot struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
	// Sum tells a slot that was written whole: half a SHA-256 over the rest.
	Sum string `json:"sum"`
}

// slotBlank is a slot without what it says.
var slotBlank = append(bytes.Repeat([]byte(" "), slotSize-1), '\n')

// appendSlot returns the slot for c, padded to its size.
func appendSlot(dst []byte, c chain) []byte {
	start := len(dst)
	dst = append(dst, slotBlank...)
	sum := c.sum()
	b := append(dst[start:start], seqOpen...)
	b = strconv.AppendUint(b, c.seq, 10)
	b = append(b, hashOpen...)
	b = append(b, c.hash[:]...)
	b = append(b, `","sum":"`...)
	b = append(b, sum[:hashHex/2]...)
	copy(dst[start+len(b):], lineEnd)
	return dst
}

// sum tells a slot that was written whole.
func (c chain) sum() digest {
	var b [20 + 1 + hashHex]byte
	return hashOf(append(append(strconv.AppendUint(b[:0], c.seq, 10), ' '), c.hash[:]...))
}

// parseSlot accepts nothing but the bytes that appendSlot makes.
func parseSlot(b []byte) (chain, bool) {
	var s headSlot
	if err := json.Unmarshal(bytes.TrimRight(b, " \n"), &s); err != nil || len(s.Hash) != hashHex {
		return chain{}, false
	}
	if _, err := hex.DecodeString(s.Hash); err != nil {
		return chain{}, false
	}
	c := chain{seq: s.Seq, hash: digest([]byte(s.Hash))}
	return c, bytes.Equal(b, appendSlot(nil, c))
}

// headFile repeats number and hash of the last entry, in two slots that are
// written in turn, so that a write that is cut short leaves the other one.
type headFile struct {
	f     file
	turn  int64 // which slot is written next
	dirty bool  // written since the last sync
	buf   []byte
}

func (h *headFile) write(c chain) error {
	h.buf = appendSlot(h.buf[:0], c)
	if _, err := h.f.WriteAt(h.buf, h.turn*slotSize); err != nil {
		return err
	}
	h.turn, h.dirty = 1-h.turn, true
	return nil
}

func (h *headFile) sync() error {
	if !h.dirty {
		return nil
	}
	if err := h.f.Sync(); err != nil {
		return err
	}
	h.dirty = false
	return nil
}

// reset writes both slots, and makes them durable.
func (h *headFile) reset(c chain) error {
	if err := h.f.Truncate(2 * slotSize); err != nil {
		return err
	}
	return errors.Join(h.write(c), h.write(c), h.sync())
}

var (
	errNoHead  = errors.New("the head file is missing")
	errBadHead = errors.New("the head file is damaged")
	errBadSlot = errors.New("one of the two slots of the head file is damaged")
)

// readHead returns what the head file in dir says. With errBadSlot the chain is
// that of the other slot.
func readHead(dir string) (chain, error) {
	f, err := os.Open(filepath.Join(dir, headName))
	if errors.Is(err, fs.ErrNotExist) {
		return chain{}, errNoHead
	}
	if err != nil {
		return chain{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 2*slotSize+1))
	if err != nil {
		return chain{}, err
	}
	if len(b) < 2*slotSize {
		b = append(b, make([]byte, 2*slotSize-len(b))...)
	}
	first, ok1 := parseSlot(b[:slotSize])
	second, ok2 := parseSlot(b[slotSize : 2*slotSize])
	switch {
	case !ok1 && !ok2:
		return chain{}, errBadHead
	case !ok1:
		return second, errBadSlot
	case !ok2:
		return first, errBadSlot
	case len(b) > 2*slotSize:
		return later(first, second), errBadSlot
	}
	return later(first, second), nil
}

func later(a, b chain) chain {
	if b.seq > a.seq {
		return b
	}
	return a
}

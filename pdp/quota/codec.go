package quota

import (
	"encoding/binary"
	"errors"
	"math/big"
	"math/bits"
)

// A state is one byte of version, then numbers as varints: epoch, last, keep,
// fine, dropped; limit, window and level of the base; and the entries, each as
// the time since the one before and an amount.

const stateVersion = 1

var errState = errors.New("the state of a counter can't be read")

func (l *log) encode() []byte {
	b := append(make([]byte, 0, 64+8*len(l.entries)), stateVersion)
	for _, n := range []int64{l.epoch, l.last, l.keep, l.fine, l.dropped} {
		b = binary.AppendVarint(b, n)
	}
	b = appendAmount(b, l.base.limit)
	b = binary.AppendVarint(b, l.base.window)
	scaled := l.base.scaled.Bytes()
	b = binary.AppendUvarint(b, uint64(len(scaled)))
	b = append(b, scaled...)
	b = binary.AppendUvarint(b, uint64(len(l.entries)))
	from := l.dropped
	for _, e := range l.entries {
		b = binary.AppendUvarint(b, uint64(e.at-from))
		b = appendAmount(b, e.amount)
		from = e.at
	}
	return b
}

func decodeLog(b []byte) (*log, error) {
	r := reader{rest: b}
	l := &log{}
	version := r.bytes(1)
	for _, n := range []*int64{&l.epoch, &l.last, &l.keep, &l.fine, &l.dropped} {
		*n = r.varint()
	}
	l.base.limit = r.amount()
	l.base.window = r.varint()
	l.base.scaled = *new(big.Int).SetBytes(r.bytes(r.uvarint()))
	entries := r.uvarint()
	if entries > uint64(len(r.rest)) { // each has two bytes at least
		return nil, errState
	}
	l.entries = make([]entry, entries)
	at := l.dropped
	for i := range l.entries {
		step := int64(r.uvarint())
		r.bad = r.bad || step <= 0 || at+step < at
		at += step
		l.entries[i] = entry{at, r.amount()}
	}
	if r.bad || len(r.rest) > 0 || version[0] != stateVersion || !l.sound() {
		return nil, errState
	}
	return l, nil
}

// sound says whether the numbers can be those of a log.
func (l *log) sound() bool {
	return l.last >= l.lastEntry() && l.fine >= 0 && l.keep >= l.fine && l.base.window >= 0 && l.keep <= MaxLength.Microseconds()
}

// reader reads numbers until one is bad; then all that follow are 0.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return make([]byte, 1)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) varint() int64 {
	n, size := binary.Varint(r.rest)
	r.bytes(uint64(max(size, 0)))
	r.bad = r.bad || size <= 0
	return n
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	r.bytes(uint64(max(size, 0)))
	r.bad = r.bad || size <= 0
	if r.bad {
		return 0
	}
	return n
}

// An amount is what it is a multiple of, and how many times that: counts and
// cents are short. The byte that says the first has 4 added when the second
// has more than 64 bits, which then follow.
var multiples = [4]uint64{1, 1_000_000_000_000, 10_000_000_000_000_000, one}

const long = 4

func appendAmount(b []byte, a Amount) []byte {
	which := len(multiples) - 1
	times, rest := a.divide(multiples[which])
	for rest != 0 {
		which--
		times, rest = a.divide(multiples[which])
	}
	if times.hi == 0 {
		return binary.AppendUvarint(append(b, byte(which)), times.lo)
	}
	b = binary.AppendUvarint(append(b, byte(which)|long), times.lo)
	return binary.AppendUvarint(b, times.hi)
}

func (r *reader) amount() Amount {
	head := r.bytes(1)[0]
	times := Amount{lo: r.uvarint()}
	if head&long != 0 {
		times.hi = r.uvarint()
	}
	if head >= 2*long {
		r.bad = true
	}
	multiple := multiples[head&(long-1)]
	over, hi := bits.Mul64(times.hi, multiple)
	carry, lo := bits.Mul64(times.lo, multiple)
	hi, more := bits.Add64(hi, carry, 0)
	r.bad = r.bad || over != 0 || more != 0
	return Amount{hi, lo}
}

// divide by something that is not 0.
func (a Amount) divide(by uint64) (quotient Amount, rest uint64) {
	quotient.hi = a.hi / by
	quotient.lo, rest = bits.Div64(a.hi%by, a.lo, by)
	return quotient, rest
}

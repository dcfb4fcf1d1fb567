package mcp

import "bytes"

// nameStack keeps the member names of the objects that are open, in one piece
// of memory that is used again from frame to frame.
type nameStack struct {
	text  []byte
	names []seenName
}

// seenName is a name in the form in which it is compared.
type seenName struct {
	from, to int // in nameStack.text
	at       int // of its token in the frame
}

// nameSet holds the names of one open object: the stack's top from here on.
type nameSet struct {
	names, text int
	index       map[string]int // only for an object with many names
}

// keptScratch is how much memory, in bytes, a scan keeps for the next one.
const keptScratch = 64 << 10

// manyNames is when comparing one by one ends.
const manyNames = 24

func (n *nameStack) push() nameSet { return nameSet{names: len(n.names), text: len(n.text)} }

func (n *nameStack) pop(set nameSet) {
	n.names, n.text = n.names[:set.names], n.text[:set.text]
}

// reset empties the stack, and lets go of memory that one huge frame needed.
func (n *nameStack) reset() {
	if cap(n.text) > keptScratch || cap(n.names) > keptScratch/16 {
		n.text, n.names = nil, nil
	}
	n.names, n.text = n.names[:0], n.text[:0]
}

// add puts a name into the set and returns the form under which it is
// compared (valid until the next add), and one more than the token offset of a
// name that is already there under the same form, or 0.
func (n *nameStack) add(set *nameSet, name []byte, fold bool, at int) (form []byte, same int) {
	from := len(n.text)
	if fold {
		n.text = appendFold(n.text, name)
	} else {
		n.text = append(n.text, name...)
	}
	form = n.text[from:]
	if other, ok := n.find(set, form); ok {
		return form, other + 1
	}
	n.names = append(n.names, seenName{from, len(n.text), at})
	if set.index != nil {
		set.index[string(form)] = at
	}
	return form, 0
}

func (n *nameStack) find(set *nameSet, form []byte) (at int, ok bool) {
	if set.index != nil {
		at, ok = set.index[string(form)]
		return at, ok
	}
	mine := n.names[set.names:]
	for _, other := range mine {
		if bytes.Equal(n.text[other.from:other.to], form) {
			return other.at, true
		}
	}
	if len(mine) >= manyNames {
		set.index = make(map[string]int, 2*len(mine))
		for _, other := range mine {
			set.index[string(n.text[other.from:other.to])] = other.at
		}
	}
	return 0, false
}

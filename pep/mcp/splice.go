package mcp

import (
	"cmp"
	"slices"
)

// edit replaces a part of a frame.
type edit struct {
	span
	with []byte
}

// splice returns a copy of b with the edits made; they must not overlap.
func splice(b []byte, edits []edit) []byte {
	slices.SortFunc(edits, func(x, y edit) int { return cmp.Compare(x.at, y.at) })
	size := len(b)
	for _, e := range edits {
		size += len(e.with) - (e.end - e.at)
	}
	out, last := make([]byte, 0, size), 0
	for _, e := range edits {
		out = append(append(out, b[last:e.at]...), e.with...)
		last = e.end
	}
	return append(out, b[last:]...)
}

// replace returns a copy of the frame with one token replaced, and the bytes
// themselves when the frame has no such token.
func (f *Frame) replace(at int, old, token []byte) []byte {
	if at == 0 {
		return f.Bytes
	}
	return splice(f.Bytes, []edit{{span{at, at + len(old)}, token}})
}

// WithID returns the frame's bytes with nothing but its id replaced by the
// given raw token. A frame without an id is returned as it is.
func WithID(f *Frame, id []byte) []byte { return f.replace(f.idAt, f.ID, id) }

// WithRequestID does the same with the requestId of notifications/cancelled.
func WithRequestID(f *Frame, id []byte) []byte { return f.replace(f.requestIDAt, f.RequestID, id) }

// WithSubscriptionID does the same with the subscriptionId in _meta.
func WithSubscriptionID(f *Frame, id []byte) []byte {
	return f.replace(f.subscriptionAt, f.SubscriptionID, id)
}

// WithProgressToken does the same with the progress token of a request or of
// notifications/progress.
func WithProgressToken(f *Frame, token []byte) []byte {
	return f.replace(f.tokenAt, f.Meta.ProgressToken, token)
}

// WithTokens replaces id and progress token of a request at once; a nil token
// stays as it is.
func WithTokens(f *Frame, id, token []byte) []byte {
	var edits []edit
	if f.idAt > 0 && id != nil {
		edits = append(edits, edit{span{f.idAt, f.idAt + len(f.ID)}, id})
	}
	if f.tokenAt > 0 && token != nil {
		edits = append(edits, edit{span{f.tokenAt, f.tokenAt + len(f.Meta.ProgressToken)}, token})
	}
	return splice(f.Bytes, edits)
}

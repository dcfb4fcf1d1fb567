package catalog

import "github.com/go-json-experiment/json/jsontext"

// hints are the boolean annotations that a definition states
// (MCP ToolAnnotations); nil where it does not.
type hints struct {
	readOnly, destructive, idempotent, openWorld *bool
}

// readHints takes nothing from annotations that are not an object, and no hint
// that is not a boolean: neither says anything.
func readHints(annotations []byte) hints {
	if annotations == nil {
		return hints{}
	}
	members, err := readMembers(annotations)
	if err != nil {
		return hints{}
	}
	hint := func(name string) *bool {
		switch v := members[name]; v.Kind() {
		case 't', 'f':
			b := v.Kind() == jsontext.Kind('t')
			return &b
		default:
			return nil
		}
	}
	return hints{hint("readOnlyHint"), hint("destructiveHint"), hint("idempotentHint"), hint("openWorldHint")}
}

func says(hint *bool, value bool) bool { return hint != nil && *hint == value }

// filler reports whether the hints are exactly the specification's defaults, as
// SDKs write them out: they say nothing.
func (h hints) filler() bool {
	return says(h.readOnly, false) && says(h.destructive, true) && says(h.idempotent, false) && says(h.openWorld, true)
}

// class is what the hints make of a tool that nothing else is known of.
// A trusted server's are believed: read-only is read, not destructive is
// write. Every server's may make it destructive, which the specification gives
// a meaning only where the tool is not said to be read-only.
func (h hints) class(trusted bool) string {
	switch {
	case h.filler():
		return Unknown
	case says(h.destructive, true) && !says(h.readOnly, true):
		return Destructive
	case !trusted:
		return Unknown
	case says(h.readOnly, true):
		return Read
	case says(h.destructive, false):
		return Write
	}
	return Unknown
}

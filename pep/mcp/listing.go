package mcp

import "strconv"

// Item is one entry of a listing.
type Item struct {
	Name string // tool or prompt name, resource uri, uriTemplate
	Raw  []byte // the entry's bytes
}

// Listing is the result of tools/list, resources/list, resources/templates/list
// or prompts/list, inside its whole response frame.
type Listing struct {
	Frame *Frame
	// Items are the entries that can be named. An entry that cannot (no object,
	// no name, an ill-formed name) is not among them, and Keep never keeps it:
	// no call could reach it either.
	Items      []Item
	Dropped    int    // entries that are not among Items
	NextCursor []byte // raw token, nil on the last page

	array      span
	entries    []listed // all, the dropped ones too
	cacheScope span
	ttl        span
}

// listed is an entry's place in the frame, and what names it.
type listed struct {
	entry, name span
	dropped     bool
}

// listing tells how the result of a list method is read.
type listing struct {
	root  *node
	limit int // of the name
}

func listingNode(array, name string) *node {
	list := leaf(slotList)
	list.item = branch(slotItem, map[string]*node{name: leaf(slotItemName)})
	members := map[string]*node{
		array:        list,
		"nextCursor": leaf(slotNextCursor),
		"cacheScope": leaf(slotCacheScope),
		"ttlMs":      leaf(slotTTL),
	}
	for name, n := range resultMembers {
		members[name] = n
	}
	return envelope(branch(slotResult, members))
}

var listings = map[string]listing{
	methodToolsList:     {listingNode("tools", "name"), maxName},
	methodPromptsList:   {listingNode("prompts", "name"), maxName},
	methodResourcesList: {listingNode("resources", "uri"), maxURI},
	methodTemplatesList: {listingNode("resourceTemplates", "uriTemplate"), maxURI},
}

// IsListing reports whether the result of the method is read by ReadListing.
func IsListing(method string) bool {
	_, ok := listings[method]
	return ok
}

// element reads one element of an array.
func (s *scan) element(depth int, n *node) {
	if n == nil || n.item == nil {
		s.value(depth, nil)
		return
	}
	s.found[slotItemName] = span{}
	entry := s.value(depth, n.item)
	s.items = append(s.items, listed{entry: entry, name: s.found[slotItemName]})
}

// ReadListing reads a response frame that answers the given list method. A
// frame that is a JSON-RPC error gives (nil, nil). What cannot be read is a
// *Fault: it must not reach the client.
func ReadListing(method string, b []byte, lim Limits) (*Listing, error) {
	how, ok := listings[method]
	if !ok {
		return nil, refuse(CodeInvalidRequest, RuleListing, "the method does not list anything that is filtered", -1)
	}
	s := newScan(b, ToClient, lim)
	defer s.release()
	f := s.frame(how.root)
	if s.fault == nil && f.Error != nil {
		return nil, nil
	}
	if s.fault == nil {
		s.listed(f)
	}
	if s.fault != nil {
		s.fault.ID = rawID(b, s.lim.Bytes)
		return nil, s.fault
	}
	return s.listing(f, how.limit), nil
}

// listed refuses what is no listing.
func (s *scan) listed(f *Frame) {
	switch {
	case f.Kind != KindResponse:
		s.fail(CodeInvalidRequest, RuleListing, "the frame does not answer a list request", -1)
	case !s.is(slotList, '['):
		s.fail(CodeInvalidRequest, RuleListing, "the result has no list", max(s.found[slotList].at, s.found[slotResult].at))
	}
}

// listing makes the listing of what was found.
func (s *scan) listing(f *Frame, limit int) *Listing {
	l := &Listing{
		Frame:      f,
		Items:      make([]Item, 0, len(s.items)),
		NextCursor: s.raw(slotNextCursor),
		array:      s.found[slotList],
		entries:    s.items,
		cacheScope: s.found[slotCacheScope],
		ttl:        s.found[slotTTL],
	}
	for i, e := range l.entries {
		s.found[slotItemName] = e.name
		name, ok := s.str(slotItemName)
		if l.entries[i].dropped = !ok || !isName(name, limit); l.entries[i].dropped {
			l.Dropped++
			continue
		}
		l.Items = append(l.Items, Item{Name: name, Raw: s.b[e.entry.at:e.entry.end:e.entry.end]})
	}
	return l
}

// Keep returns the frame with only those items whose flag is set: order and
// bytes of what stays are unchanged; cacheScope becomes "private" and ttlMs
// at most maxTTLms milliseconds where they are present (they are not added).
// keep has one flag for each of Items; what lies beyond its end is not kept.
func (l *Listing) Keep(keep []bool, maxTTLms int64) []byte {
	b := l.Frame.Bytes
	edits := make([]edit, 0, 3)
	edits = append(edits, edit{span{l.array.at + 1, l.array.end - 1}, l.kept(keep)})
	if l.cacheScope.present() {
		edits = append(edits, edit{l.cacheScope, []byte(`"private"`)})
	}
	if l.ttl.present() {
		edits = append(edits, edit{l.ttl, clampTTL(b[l.ttl.at:l.ttl.end], maxTTLms)})
	}
	return splice(b, edits)
}

// kept returns what stands between the brackets of the filtered array. White
// space and the comma stay with the entry that they precede; the first entry
// that stays gets the white space of the first one that was there.
func (l *Listing) kept(keep []bool) []byte {
	b := l.Frame.Bytes
	out := make([]byte, 0, l.array.end-l.array.at)
	end, item := l.array.at+1, 0
	var lead []byte
	for i, e := range l.entries {
		gap := b[end:e.entry.at]
		end = e.entry.end
		if i == 0 {
			lead = gap
		}
		if e.dropped {
			continue
		}
		stays := item < len(keep) && keep[item]
		item++
		if !stays {
			continue
		}
		if len(out) == 0 {
			gap = lead
		}
		out = append(append(out, gap...), b[e.entry.at:e.entry.end]...)
	}
	return append(out, b[end:l.array.end-1]...)
}

// clampTTL returns the raw ttlMs if it is an integer from 0 to limit, else the
// limit, or 0 for what is no time at all.
func clampTTL(raw []byte, limit int64) []byte {
	if limit < 0 {
		limit = 0
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err != nil || n < 0:
		return []byte("0")
	case n <= float64(limit):
		return raw
	}
	return strconv.AppendInt(nil, limit, 10)
}

package mcp

// ListRequest builds a list request of the gateway's own: to learn an
// upstream's catalog, or to go on behind a page that was filtered empty.
// cursor is the raw nextCursor token of the page before, nil for the first. id
// becomes a string id. m is the Meta of the client's frame on whose behalf the
// gateway asks; its era is the request's, and a modern request repeats the
// client's version, clientInfo and capabilities, but no progress token and no
// trace context. The zero Meta asks in the legacy era.
func ListRequest(method string, cursor []byte, id string, m Meta) []byte {
	b := append(make([]byte, 0, 256), `{"jsonrpc":"2.0","id":`...)
	b = append(appendString(b, id), `,"method":`...)
	b = append(appendString(b, method), `,"params":{`...)
	if cursor != nil {
		b = append(append(b, `"cursor":`...), cursor...)
		if m.Modern {
			b = append(b, ',')
		}
	}
	if m.Modern {
		b = m.append(b)
	}
	return append(b, `}}`...)
}

// append writes the members of _meta that every modern request has.
func (m Meta) append(b []byte) []byte {
	b = append(b, `"_meta":{"`+metaVersion+`":`...)
	b = append(appendString(b, m.ProtocolVersion), `,"`+metaInfo+`":`...)
	if m.ClientInfo != nil {
		b = append(b, m.ClientInfo...)
	} else {
		b = append(appendString(append(b, `{"name":`...), m.ClientName), `,"version":`...)
		b = append(appendString(b, m.ClientVersion), '}')
	}
	b = append(b, `,"`+metaCapabilities+`":`...)
	if m.Capabilities != nil {
		b = append(b, m.Capabilities...)
	} else {
		b = append(b, `{}`...)
	}
	return append(b, '}')
}

// Cancelled builds the notification that a request is no longer wanted, in the
// legacy era and on stdio. id is the raw id of the request.
func Cancelled(id []byte, reason string) []byte {
	b := append([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), id...)
	return append(appendString(append(b, `,"reason":`...), reason), `}}`...)
}

package envoy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
)

// contextServer is the context extension of a route by which Envoy's
// configuration says which server it leads to. Where it is absent the path
// names the server, as it does for the standalone proxy.
const contextServer = bootstrap.ServerKey

var (
	errAttributes = errors.New("the check has no HTTP request in it")
	// As text, Envoy writes "!" for every byte that is not UTF-8, and forwards the
	// byte: what was decided on would not be what goes on. (I2)
	errText = errors.New("the check has the body as text; configure with_request_body with pack_as_bytes")
)

// headerPartial is how Envoy says of the body that it shows whether it is all.
// With HTTP/2 it may show a part, and forward the whole, although it was told not
// to (1.40: when the frame that exceeds the limit is the last). A part is taken
// for a body beyond every limit.
const headerPartial = "X-Envoy-Auth-Partial-Body"

// newRequest is the request that Envoy asks about as the proxy would have seen
// it. Envoy has ended the connection, the framing and any TLS.
func (s *Server) newRequest(ctx context.Context, check *authv3.CheckRequest) (*http.Request, error) {
	attributes := check.GetAttributes()
	from := attributes.GetRequest().GetHttp()
	if from == nil {
		return nil, errAttributes
	}
	body := from.GetRawBody()
	if len(body) == 0 && from.GetBody() != "" {
		return nil, errText
	}
	target := s.target(from.GetPath(), attributes.GetContextExtensions()[contextServer])
	h, length := header(from), int64(len(body))
	for _, partial := range h[headerPartial] {
		if partial != "false" {
			length = math.MaxInt64
		}
	}
	r := &http.Request{
		Method: from.GetMethod(), RequestURI: target, Host: from.GetHost(),
		// An Envoy speaks each protocol to the end by itself, so that what the
		// proxy knows about HTTP/1 connections is not to be looked for.
		Proto: "HTTP/2.0", ProtoMajor: 2,
		URL: &url.URL{Path: target}, Header: h,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: length,
		RemoteAddr: address(attributes.GetSource()),
		TLS:        certificates(attributes.GetSource(), h, s.trusted),
	}
	return r.WithContext(ctx), nil
}

// target is the request target as the proxy would have seen it, where the route
// says which server it leads to. Which kind of token is shown there is the path's
// to say; the form of it, with a slash at its end or without, stays the client's,
// who looks for the metadata of just that one.
func (s *Server) target(path, server string) string {
	if server == "" {
		return path
	}
	path, query, has := strings.Cut(path, "?")
	target := "/mcp/" + server
	if s.oauthPath != "" && strings.HasPrefix(path, s.oauthPath+"/") {
		target = s.oauthPath + target
	}
	if strings.HasSuffix(path, "/") {
		target += "/"
	}
	if has {
		target += "?" + query
	}
	return target
}

// header returns the client's headers. Repeated ones stay apart where Envoy
// sends them so (encode_raw_headers), and are otherwise joined by it.
func header(from *authv3.AttributeContext_HttpRequest) http.Header {
	h := http.Header{}
	add := func(name, value string) {
		if strings.HasPrefix(name, ":") {
			return // the request line of HTTP/2
		}
		switch name = textproto.CanonicalMIMEHeaderKey(name); name {
		case "Host", "Content-Length", "Transfer-Encoding":
			return // of the framing, which Envoy has ended
		}
		h[name] = append(h[name], value)
	}
	if raw := from.GetHeaderMap().GetHeaders(); raw != nil {
		for _, v := range raw {
			add(v.GetKey(), valueOf(v))
		}
		return h
	}
	for name, value := range from.GetHeaders() {
		add(name, value)
	}
	return h
}

// valueOf is a header's value, which Envoy sends as bytes or as text.
func valueOf(v *corev3.HeaderValue) string {
	if v.GetRawValue() != nil {
		return string(v.GetRawValue())
	}
	return v.GetValue()
}

// address is the peer as net/http writes it.
func address(peer *authv3.AttributeContext_Peer) string {
	s := peer.GetAddress().GetSocketAddress()
	if s == nil {
		return ""
	}
	return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
}

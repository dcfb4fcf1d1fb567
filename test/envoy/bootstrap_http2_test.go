package envoy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Where the DATA frame that goes over the limit is the last one, Envoy asks
// about the beginning of the body and forwards all of it. What is cut off must
// then be too long for the enforcement point.
func TestNoBodyIsForwardedThatWasSeenInPart_I2(t *testing.T) {
	const part = 16 << 10
	var seen, forwarded atomic.Int64
	p := &point{check: func(r *authv3.CheckRequest) *authv3.CheckResponse {
		size := len(body(r))
		seen.Store(int64(size))
		if size > limit {
			return deny(http.StatusRequestEntityTooLarge, "refused")
		}
		for _, h := range r.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
			if h.GetKey() == "x-envoy-auth-partial-body" && string(h.GetRawValue()) != "false" {
				t.Error("the enforcement point was asked about a part of a body, and could not know")
			}
		}
		return allow()
	}}
	b := set(t, p, func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		forwarded.Store(n)
	})
	for _, declared := range []bool{true, false} {
		for _, size := range []int{limit - 1, limit, limit + 1, limit + 2, limit + 1000, limit + part - 1, limit + part} {
			seen.Store(-1)
			forwarded.Store(-1)
			status, text := postFrames(t, b.address, size, part, declared)
			whole := seen.Load() == int64(size) && forwarded.Load() == int64(size)
			if size <= limit && (status != "200" || !whole) || size > limit && (status != "413" || forwarded.Load() != -1) {
				t.Errorf("%d bytes (declared: %t): %s %q, %d were seen and %d forwarded", size, declared, status, text, seen.Load(), forwarded.Load())
			}
		}
	}
}

// postFrames sends a body over HTTP/2 in DATA frames of which the last one ends
// the stream, and returns the answer.
func postFrames(t *testing.T, address string, size, part int, declared bool) (status, body string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "localhost"}, {":path", "/mcp/pay/"}}
	if declared {
		fields = append(fields, [2]string{"content-length", strconv.Itoa(size)})
	}
	for _, field := range fields {
		_ = enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // to memory
	}
	err = f.WriteSettings()
	if err == nil {
		err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	}
	for sent := 0; err == nil && sent < size; sent += part {
		n := min(part, size-sent)
		err = f.WriteData(1, sent+n == size, bytes.Repeat([]byte("x"), n))
	}
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, f)
}

func readAnswer(t *testing.T, f *http2.Framer) (status, body string) {
	t.Helper()
	dec := hpack.NewDecoder(4096, func(h hpack.HeaderField) {
		if h.Name == ":status" {
			status = h.Value
		}
	})
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			if _, err := dec.Write(frame.HeaderBlockFragment()); err != nil {
				t.Fatal(err)
			}
		case *http2.DataFrame:
			body += string(frame.Data())
		}
		if h := frame.Header(); h.StreamID == 1 && h.Flags.Has(http2.FlagDataEndStream) && (h.Type == http2.FrameData || h.Type == http2.FrameHeaders) {
			return status, body
		}
	}
}

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// serveUpstream is as little of an MCP server as there can be, so that what
// stands before it is what is measured.
func serveUpstream(addr string) error {
	list := toolList()
	call := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Refunded 50.00 of ch_105"}]}}`)
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer := call
		if bytes.Contains(body[:min(len(body), 256)], []byte("tools/list")) {
			answer = list
			if _, id, ok := bytes.Cut(body, []byte(`"id":"`)); ok { // the gateway's own question
				id, _, _ = bytes.Cut(id, []byte(`"`))
				answer = bytes.Replace(list, []byte(`"id":1`), []byte(`"id":"`+string(id)+`"`), 1)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
}

// toolList has 100 tools, one of which the policy hides.
func toolList() []byte {
	const schema = `{"type":"object","properties":{"charge_id":{"type":"string"},"amount":{"type":"integer","description":"in cents"},"note":{"type":"string"}},"required":["charge_id","amount"]}`
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"create_refund","description":"Give money back.","inputSchema":%s},{"name":"delete_customer","inputSchema":{"type":"object"}}`, schema)
	for i := range 98 {
		fmt.Fprintf(&b, `,{"name":"list_things_%02d","description":"List the things of kind %d.","inputSchema":%s}`, i, i, schema)
	}
	b.WriteString(`]}}`)
	return b.Bytes()
}

// servePlain is the do-nothing proxy.
func servePlain(addr, upstream string) error {
	u, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	return http.ListenAndServe(addr, &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	})
}

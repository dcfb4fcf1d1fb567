package mcp

import (
	"fmt"
	"strings"
	"testing"
)

// smallCall is a call of about 350 bytes, as an agent sends it.
func smallCall() []byte {
	return []byte(`{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"create_refund","arguments":{"charge_id":"ch_105","amount":5000,"reason":"requested_by_customer"},` + modern + `}}`)
}

// largeCall has about 60 kB of arguments in many small values.
func largeCall() []byte {
	var items strings.Builder
	for i := range 1000 {
		if i > 0 {
			items.WriteByte(',')
		}
		fmt.Fprintf(&items, `{"account":"acct_%04d","amount":%d.5,"note":"refund","ok":true}`, i, i)
	}
	return []byte(call(`{"items":[` + items.String() + `]}`))
}

// textCall is a call with one long string.
func textCall() []byte {
	return []byte(call(`{"text":"` + strings.Repeat("lorem ipsum ", 5000) + `"}`))
}

func toolList(n int) []byte {
	var tools strings.Builder
	for i := range n {
		if i > 0 {
			tools.WriteByte(',')
		}
		fmt.Fprintf(&tools, `{"name":"tool_%d","description":"Does the thing number %d, and says so at some length.","inputSchema":{"type":"object","properties":{"id":{"type":"string"},"limit":{"type":"integer","minimum":1}},"required":["id"]}}`, i, i)
	}
	return []byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[` + tools.String() + `],"nextCursor":"n","ttlMs":60000,"cacheScope":"public"}}`)
}

func BenchmarkRead(b *testing.B) {
	for _, c := range []struct {
		name  string
		frame []byte
	}{{"small", smallCall()}, {"60kB-values", largeCall()}, {"60kB-text", textCall()}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Read(c.frame, ToServer, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadListing(b *testing.B) {
	list := toolList(100)
	keep := make([]bool, 100)
	for i := range keep {
		keep[i] = i%2 == 0
	}
	b.SetBytes(int64(len(list)))
	b.ReportAllocs()
	for b.Loop() {
		l, err := ReadListing("tools/list", list, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		l.Keep(keep, 1000)
	}
}

func BenchmarkCheckHeaders(b *testing.B) {
	f, err := Read(smallCall(), ToServer, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	h := Header{
		"Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer x"}, "Content-Type": {"application/json"},
		"Content-Length": {"350"}, "User-Agent": {"x"}, "Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"create_refund"},
	}
	b.ReportAllocs()
	for b.Loop() {
		if fault := CheckTransport(h); fault != nil {
			b.Fatal(fault)
		}
		if fault := CheckHeaders(h, f, nil); fault != nil {
			b.Fatal(fault)
		}
	}
}

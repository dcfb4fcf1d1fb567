package accounts

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// arrival is a request as it came.
type arrival struct {
	header    http.Header
	body, all string
}

// secret is what the request carries for the server.
func (a arrival) secret() string { return cmp.Or(bearerOf(a.header), a.header.Get("X-Key")) }

func bearerOf(h http.Header) string { return strings.TrimPrefix(h.Get("Authorization"), "Bearer ") }

// recorder keeps what arrives.
type recorder struct {
	recording sync.Mutex
	arrived   []arrival
}

func (l *recorder) recorded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, err := httputil.DumpRequest(r, true)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, body, _ := strings.Cut(string(all), "\r\n\r\n")
		l.recording.Lock()
		l.arrived = append(l.arrived, arrival{r.Header.Clone(), body, string(all)})
		l.recording.Unlock()
		next.ServeHTTP(w, r)
	})
}

// arrivals are the requests whose body has the text, so far.
func (l *recorder) arrivals(text string) []arrival {
	l.recording.Lock()
	defer l.recording.Unlock()
	var list []arrival
	for _, a := range l.arrived {
		if strings.Contains(a.body, text) {
			list = append(list, a)
		}
	}
	return list
}

// ofBothEras serves both eras of the protocol: the SDK speaks the newest version only
// where there are no sessions.
func ofBothEras(server *mcp.Server) http.Handler {
	handler := func(stateless bool) http.Handler {
		return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{JSONResponse: true, Stateless: stateless})
	}
	modern, legacy := handler(true), handler(false)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") == "2026-07-28" {
			modern.ServeHTTP(w, r)
		} else {
			legacy.ServeHTTP(w, r)
		}
	})
}

// tool adds one that takes nothing and says something.
func tool(server *mcp.Server, name string, says func(r *mcp.CallToolRequest) string) {
	mcp.AddTool(server, &mcp.Tool{Name: name}, func(_ context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: says(r)}}}, nil, nil
	})
}

// keyed is an MCP server that says with which key it was called.
type keyed struct {
	*httptest.Server
	recorder
}

func startKeyed(t *testing.T) *keyed {
	t.Helper()
	k := &keyed{}
	server := mcp.NewServer(&mcp.Implementation{Name: "keyed", Version: "1"}, nil)
	tool(server, "key", func(r *mcp.CallToolRequest) string { return r.Extra.Header.Get("X-Key") })
	k.Server = httptest.NewServer(k.recorded(ofBothEras(server)))
	t.Cleanup(func() {
		k.CloseClientConnections()
		k.Close()
	})
	return k
}

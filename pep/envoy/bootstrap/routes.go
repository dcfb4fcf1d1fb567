package bootstrap

import (
	"net/http"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// ServerKey is the context extension in which the enforcement point finds the
// name of the server that a request is for. It is the route's word, never the
// client's.
const ServerKey = "mcp_server"

// routes lead exactly /mcp/NAME and /mcp/NAME/ to a server, the same below the path
// for access tokens if there is one, and all else nowhere.
func (s *settled) routes(p *packer) *routev3.RouteConfiguration {
	host := &routev3.VirtualHost{Name: "mcp", Domains: []string{"*"}}
	for i := range s.upstreams {
		up := &s.upstreams[i]
		host.Routes = append(host.Routes, up.route(p, "/mcp/"+up.name), up.route(p, "/mcp/"+up.name+"/"))
		if s.oauthPath != "" {
			at := s.oauthPath + "/mcp/" + up.name
			host.Routes = append(host.Routes, up.route(p, at), up.route(p, at+"/"), asked(metadataPath+at), asked(metadataPath+at+"/"))
		}
	}
	host.Routes = append(host.Routes, nowhere(p))
	return &routev3.RouteConfiguration{
		Name: "mcp", VirtualHosts: []*routev3.VirtualHost{host},
		// What Envoy adds for the filters is none of the server's business.
		RequestHeadersToRemove: []string{"x-envoy-external-address", "x-forwarded-for", "x-forwarded-proto"},
	}
}

func (up *upstream) route(p *packer, path string) *routev3.Route {
	return &routev3.Route{
		Name:  up.name,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: up.clusterName()},
			// The match is exact, so that the "prefix" is the whole path.
			PrefixRewrite:        up.target,
			HostRewriteSpecifier: &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: up.authority},
			Timeout:              durationpb.New(0), // streams
		}},
		TypedPerFilterConfig: map[string]*anypb.Any{decideFilter: p.pack(&authzv3.ExtAuthzPerRoute{
			Override: &authzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: &authzv3.CheckSettings{
				ContextExtensions: map[string]string{ServerKey: up.name},
			}},
		})},
	}
}

// metadataPath is where clients look for the metadata of what is behind it (RFC
// 9728, section 3.1).
const metadataPath = "/.well-known/oauth-protected-resource"

// asked leads nowhere either, but the enforcement point is asked, and answers.
func asked(path string) *routev3.Route {
	return &routev3.Route{
		Name:  "metadata",
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: http.StatusNotFound,
		}},
	}
}

// nowhere answers what names no server, without asking: there is nothing behind
// it that could be let through. That /.well-known/ is not found tells clients
// that there is no authorization server to look for where grant tokens are shown.
func nowhere(p *packer) *routev3.Route {
	return &routev3.Route{
		Name:  "nowhere",
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: http.StatusNotFound,
			Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
				InlineString: "not found; servers are under /mcp/NAME/\n",
			}},
		}},
		ResponseHeadersToAdd: headers("content-type", "text/plain; charset=utf-8", "cache-control", "no-store", "x-content-type-options", "nosniff"),
		TypedPerFilterConfig: map[string]*anypb.Any{decideFilter: p.pack(&authzv3.ExtAuthzPerRoute{
			Override: &authzv3.ExtAuthzPerRoute_Disabled{Disabled: true},
		})},
	}
}

// headers takes names and values in turn. Each replaces what is there.
func headers(pairs ...string) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for ; len(pairs) >= 2; pairs = pairs[2:] {
		out = append(out, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: pairs[0], Value: pairs[1]},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return out
}

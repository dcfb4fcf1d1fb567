package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// ServersCmd shows the catalog: what is known of each server's tools.
type ServersCmd struct {
	List     ServersListCmd     `cmd:"" help:"List the servers of the configuration."`
	Tools    ServersToolsCmd    `cmd:"" help:"List a server's tools as last seen, with class, risk and pin."`
	Classify ServersClassifyCmd `cmd:"" help:"Set the classes of tools from a YAML file; they win over every other source."`
	Pin      ServersPinCmd      `cmd:"" help:"Take the definitions last seen as the reviewed ones; a later change is drift and refused."`
	Diff     ServersDiffCmd     `cmd:"" help:"Show how definitions differ from the pinned ones."`
}

// ServersListCmd is `mcpermit servers list`.
type ServersListCmd struct{}

// Run lists the servers.
func (c *ServersListCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewServerServiceClient(conn).ListServers(ctx, &v1.ListServersRequest{})
		if err != nil {
			return err
		}
		t := g.table("NAME", "TOOLS", "DRIFTED", "TRUSTED", "LISTED")
		for _, s := range res.GetServers() {
			v := serverView{s.GetName(), s.GetLabels(), s.GetTrusted(), s.GetTools(), s.GetDrifted(), moment(s.GetListedAt())}
			listed := "not yet"
			if v.ListedAt != nil {
				listed = v.ListedAt.Local().Format(time.DateTime)
			}
			t.row(v, v.Name, strconv.Itoa(int(v.Tools)), strconv.Itoa(int(v.Drifted)), strconv.FormatBool(v.Trusted), listed)
		}
		return t.flush()
	})
}

type serverView struct {
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels,omitempty"`
	Trusted  bool              `json:"trusted"`
	Tools    int32             `json:"tools"`
	Drifted  int32             `json:"drifted"`
	ListedAt *time.Time        `json:"listed_at,omitempty"`
}

// ServersToolsCmd is `mcpermit servers tools`.
type ServersToolsCmd struct {
	Name string `arg:"" help:"Name of the server."`
}

// Run lists the tools.
func (c *ServersToolsCmd) Run(g *Globals) error {
	return g.tools(c.Name, func(tools []*v1.Tool) error {
		t := g.table("TOOL", "CLASS", "RISK", "PINNED", "TRAITS")
		for _, tool := range tools {
			v := viewTool(tool)
			t.row(v, v.Name, v.Class, v.Risk, v.Pinned, strings.Join(v.Traits, ","))
		}
		return t.flush()
	})
}

type toolView struct {
	Name   string   `json:"name"`
	Class  string   `json:"class"`
	Risk   string   `json:"risk"`
	Traits []string `json:"traits,omitempty"`
	Pinned string   `json:"pinned"`
	Digest string   `json:"digest"`
	Diff   string   `json:"diff,omitempty"`
}

func viewTool(t *v1.Tool) toolView {
	return toolView{Name: t.GetName(), Class: t.GetClass(), Risk: t.GetRisk(), Traits: t.GetTraits(), Pinned: t.GetPinned(), Digest: t.GetDigest()}
}

func (g *Globals) tools(server string, show func([]*v1.Tool) error) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewServerServiceClient(conn).ListTools(ctx, &v1.ListToolsRequest{Server: server})
		if err != nil {
			return err
		}
		return show(res.GetTools())
	})
}

// ServersClassifyCmd is `mcpermit servers classify`. The file maps servers to
// tools to a class, or to {class, traits}; a class of "" removes the override:
//
//	stripe:
//	  create_refund: financial
//	  fetch_page: {class: read, traits: [takes-url]}
type ServersClassifyCmd struct {
	File string `arg:"" type:"existingfile" help:"YAML file: server → tool → class, or {class, traits}."`
}

// Run sets the classes.
func (c *ServersClassifyCmd) Run(g *Globals) error {
	b, err := os.ReadFile(c.File)
	if err != nil {
		return misuse("%w", err)
	}
	var doc map[string]map[string]classification
	if err := yaml.Load(b, &doc); err != nil {
		return misuse("%s: %w", c.File, err)
	}
	req := &v1.ClassifyToolsRequest{}
	for server, tools := range doc {
		for tool, cl := range tools {
			req.Classifications = append(req.Classifications, &v1.Classification{Server: server, Tool: tool, Class: cl.Class, Traits: cl.Traits})
		}
	}
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewServerServiceClient(conn).ClassifyTools(ctx, req)
		if err != nil {
			return err
		}
		return g.print(map[string]int32{"changed": res.GetChanged()}, func() { g.line("%d changed", res.GetChanged()) })
	})
}

type classification struct {
	Class  string   `yaml:"class"`
	Traits []string `yaml:"traits"`
}

// UnmarshalYAML accepts a bare class in place of the mapping.
func (c *classification) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		c.Class = n.Value
		return nil
	}
	type plain classification
	return n.Load((*plain)(c), yaml.WithKnownFields())
}

// ServersPinCmd is `mcpermit servers pin`.
type ServersPinCmd struct {
	Name string `arg:"" help:"Name of the server."`
}

// Run pins the definitions.
func (c *ServersPinCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewServerServiceClient(conn).PinServer(ctx, &v1.PinServerRequest{Server: c.Name})
		if err != nil {
			return err
		}
		return g.print(map[string]int32{"pinned": res.GetPinned()}, func() { g.line("%d tools pinned", res.GetPinned()) })
	})
}

// ServersDiffCmd is `mcpermit servers diff`; it exits with 1 when there is drift.
type ServersDiffCmd struct {
	Name string `arg:"" help:"Name of the server."`
}

// Run shows the drift.
func (c *ServersDiffCmd) Run(g *Globals) error {
	return g.tools(c.Name, func(tools []*v1.Tool) error {
		drifted := 0
		for _, tool := range tools {
			if tool.GetPinned() != "drift" {
				continue
			}
			drifted++
			v := viewTool(tool)
			v.Diff = cmp.Diff(string(tool.GetPinnedDefinition()), string(tool.GetDefinition()))
			if err := g.print(v, func() { g.line("%s\n%s", v.Name, v.Diff) }); err != nil {
				return err
			}
		}
		if drifted > 0 {
			return refused("%d tools differ from what was pinned: review them, then `mcpermit servers pin %s`", drifted, c.Name)
		}
		return nil
	})
}

package console

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

func (c *Console) serverRoutes() []route {
	return []route{
		{pattern: "GET /servers", least: signin.Viewer, serve: c.serversPage},
		{pattern: "GET /servers/{name}", least: signin.Viewer, serve: c.serverPage},
		// Names of tools are anything, so they are no part of a path.
		{pattern: "GET /servers/{name}/tool", least: signin.Viewer, serve: c.toolPage},
		{pattern: "POST /servers/{name}/pin", least: signin.Admin, body: pinFormBytes, serve: c.pinTools},
		{pattern: "POST /servers/{name}/classify", least: signin.Admin, serve: c.classifyTool},
	}
}

func (c *Console) serversPage(v *visit) error { return v.show("servers", c.catalog.Servers()) }

// serverView is a server and its tools.
type serverView struct {
	catalog.Status
	Entries []catalog.Entry
	// Fresh are the tools whose definition is not the pinned one: what pinning
	// the server would change.
	Fresh []catalog.Entry
}

// server finds the one that the path names, and its tools.
func (c *Console) server(v *visit) (s serverView, err error) {
	name := v.r.PathValue("name")
	all := c.catalog.Servers()
	i := slices.IndexFunc(all, func(s catalog.Status) bool { return s.Name == name })
	if i < 0 {
		return s, notFound("No server of that name is configured.")
	}
	s.Status = all[i]
	if s.Entries, err = c.catalog.Tools(name); err != nil {
		return s, err
	}
	for _, e := range s.Entries {
		if e.Listed && e.Pinned != catalog.Match {
			s.Fresh = append(s.Fresh, e)
		}
	}
	return s, nil
}

func (c *Console) serverPage(v *visit) error {
	s, err := c.server(v)
	if err != nil {
		return err
	}
	return v.show("server", s)
}

// toolView is one tool.
type toolView struct {
	catalog.Entry
	Server      string
	Classes     []string
	Traits      string // of the override, for the form
	Definition  string
	Pinned      string // the definition; Entry.Pinned says whether it is this one
	Changes     []diffLine
	Same        bool // the pinned definition reads the same
	TooBig      bool // to be compared
	Grants      []listedFor
	MoreGrants  bool
	NotJudged   string // why it is not known for whom it is listed
	Problem     string
	ProblemWith string // the id of the field
}

// listedFor is a grant, and whether the tool is listed for it.
type listedFor struct {
	identity.Grant
	Listed bool
}

// mostGrants is for how many grants, the newest, it is worked out whether a tool
// is listed.
const mostGrants = 50

func (c *Console) toolPage(v *visit) error {
	s, e, err := c.tool(v, v.r.URL.Query().Get("name"))
	if err != nil {
		return err
	}
	return c.showTool(v, s, e, "", "")
}

// tool finds a tool of the server that the path names.
func (c *Console) tool(v *visit, name string) (serverView, catalog.Entry, error) {
	s, err := c.server(v)
	if err != nil {
		return s, catalog.Entry{}, err
	}
	i := slices.IndexFunc(s.Entries, func(e catalog.Entry) bool { return e.Name == name })
	if i < 0 {
		return s, catalog.Entry{}, notFound("Nothing is known of a tool of that name on this server. A client has to list the server's tools first.")
	}
	return s, s.Entries[i], nil
}

func (c *Console) showTool(v *visit, s serverView, e catalog.Entry, problem, with string) error {
	view := toolView{
		Entry: e, Server: s.Name, Classes: catalog.Classes(), Traits: strings.Join(e.Override.Traits, ", "),
		Definition: indented(e.Definition), Pinned: indented(e.PinnedDefinition), Problem: problem, ProblemWith: with,
	}
	switch {
	case e.Definition == nil || e.PinnedDefinition == nil:
	case view.Pinned == view.Definition:
		view.Same = true
	case len(view.Pinned)+len(view.Definition) > maxCompared:
		view.TooBig = true
	default:
		view.Changes = compared(view.Pinned, view.Definition)
	}
	var err error
	if view.Grants, view.MoreGrants, err = c.listedFor(v.r.Context(), s.Name, e); err != nil {
		c.log.WarnContext(v.r.Context(), "it is not known for whom a tool is listed", "server", s.Name, "error", err)
		view.NotJudged = "The policy could not say in time for whom it is listed. Load the page again."
	}
	return v.show("tool", view)
}

// listedFor asks the policy in force about the newest grants.
func (c *Console) listedFor(ctx context.Context, server string, e catalog.Entry) (list []listedFor, more bool, err error) {
	grants, err := c.grants.List(ctx, mostGrants+1, false)
	if err != nil {
		return nil, false, err
	}
	if more = len(grants) > mostGrants; more {
		grants = grants[:mostGrants]
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i := range grants {
		g := listedFor{Grant: grants[i]}
		if e.Listed && g.CoversServer(server) {
			is, err := c.engine.Listed(ctx, &identity.Identity{Subject: g.Subject, Grant: &grants[i]}, server, []catalog.Tool{e.Tool})
			if err != nil {
				return nil, more, err
			}
			g.Listed = is[0]
		}
		list = append(list, g)
	}
	return list, more, nil
}

// pinFormBytes is room for a name and a digest of each of a server's tools.
const pinFormBytes = 1 << 20

// pinTools takes the definitions that the visitor has looked at for good. The
// form names them by their digests, so that one that has changed meanwhile is not
// pinned unseen.
func (c *Console) pinTools(v *visit) error {
	s, err := c.server(v)
	if err != nil {
		return err
	}
	seen, err := readSeen(v.r.PostForm["seen"])
	if err != nil {
		return err
	}
	target, back := s.Name, "/servers/"+url.PathEscape(s.Name)
	if tool := v.r.PostForm.Get("tool"); tool != "" { // from the tool's own page
		if _, only := seen[tool]; !only || len(seen) > 1 {
			return errForm
		}
		target, back = s.Name+"/"+tool, toolAddress(s.Name, tool)
	}
	err = c.recorded(v, audit.Act{Act: "pin", Target: target, Reason: fmt.Sprintf("%d definitions", len(seen))}, func(ctx context.Context) error {
		_, err := c.catalog.PinSeen(ctx, s.Name, seen)
		return err
	})
	switch {
	case errors.Is(err, catalog.ErrChanged), errors.Is(err, catalog.ErrNotListed):
		return &problem{http.StatusConflict, "The server lists it otherwise by now, so nothing was pinned. Go back, load the page again, and look at what has changed."}
	case err != nil:
		return err
	}
	return v.done(back, "pinned")
}

// readSeen reads what pin forms carry: a digest, a space, and a name.
func readSeen(values []string) (map[string]catalog.Digest, error) {
	seen := map[string]catalog.Digest{}
	for _, value := range values {
		digest, name, ok := strings.Cut(value, " ")
		b, err := hex.DecodeString(digest)
		if !ok || err != nil || len(b) != len(catalog.Digest{}) {
			return nil, errForm
		}
		seen[name] = catalog.Digest(b)
	}
	if len(seen) == 0 {
		return nil, badRequest("There is nothing to pin: each listed tool is as it was pinned.")
	}
	return seen, nil
}

// classifyTool sets or removes an admin's word on one tool.
func (c *Console) classifyTool(v *visit) error {
	s, e, err := c.tool(v, v.r.PostForm.Get("tool"))
	if err != nil {
		return err
	}
	o := catalog.Classification{Server: s.Name, Tool: e.Name, Class: v.form("class"), Traits: readList(v.form("traits"))}
	if o.Class == "" {
		o.Traits = nil
	}
	if err := o.Validate(); err != nil {
		v.status = http.StatusUnprocessableEntity
		return c.showTool(v, s, e, sentence(err.Error()), "traits")
	}
	said := strings.Join(append([]string{o.Class}, o.Traits...), " ")
	if o.Class == "" {
		said = "as derived"
	}
	err = c.recorded(v, audit.Act{Act: "classify", Target: s.Name + "/" + e.Name, Reason: said}, func(ctx context.Context) error {
		_, err := c.catalog.Classify(ctx, []catalog.Classification{o})
		return err
	})
	if err != nil {
		return err
	}
	return v.done(toolAddress(s.Name, e.Name), "classified")
}

// readList reads words with commas or spaces between them.
func readList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' || r == '\r' })
}

func toolAddress(server, tool string) string {
	return "/servers/" + url.PathEscape(server) + "/tool?" + url.Values{"name": {tool}}.Encode()
}

package main

import "runtime/debug"

// VersionCmd is `mcpermit version`.
type VersionCmd struct{}

// Run prints the version that the build recorded.
func (VersionCmd) Run(g *Globals) error {
	v := struct {
		Version string `json:"version"`
		Go      string `json:"go"`
	}{Version: "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Version, v.Go = info.Main.Version, info.GoVersion
	}
	return g.print(v, func() { g.line("mcpermit %s, %s", v.Version, v.Go) })
}

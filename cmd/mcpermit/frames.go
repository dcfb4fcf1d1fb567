package main

import (
	"errors"
	"io"
	"os"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

// FramesCmd shows how the strict reader judges frames.
type FramesCmd struct {
	Check FramesCheckCmd `cmd:"" help:"Say whether each frame is accepted, and which rule it breaks if not."`
}

// FramesCheckCmd is `mcpermit frames check`.
type FramesCheckCmd struct {
	Files []string `arg:"" optional:"" help:"Files with one frame each; standard input when none is given."`
	Lines bool     `help:"Each line is a frame, as on stdio." `
	From  string   `default:"client" enum:"client,server" help:"Who sent the frames: client or server."`
}

// Run judges the frames; it exits with 1 when one is refused.
func (c *FramesCheckCmd) Run(g *Globals) error {
	files := c.Files
	if len(files) == 0 {
		files = []string{"-"}
	}
	refusals := 0
	for _, name := range files {
		b, err := readFrameFile(name)
		if err != nil {
			return misuse("%w", err)
		}
		n, err := c.check(g, name, b)
		if err != nil {
			return err
		}
		refusals += n
	}
	if refusals > 0 {
		return refused("%d refused", refusals)
	}
	return nil
}

func readFrameFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

package main

import (
	"bytes"
	"fmt"
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

func (c *FramesCheckCmd) check(g *Globals, name string, b []byte) (refusals int, err error) {
	frames := [][]byte{b}
	if c.Lines {
		frames = nil
		for line := range bytes.Lines(b) {
			frames = append(frames, bytes.TrimSuffix(line, []byte("\n")))
		}
	}
	for i, frame := range frames {
		v := c.judge(frame)
		v.File = name
		if c.Lines {
			v.Frame = i + 1
		}
		if !v.Accepted {
			refusals++
		}
		if err := g.print(v, func() { g.line("%s", v) }); err != nil {
			return refusals, err
		}
	}
	return refusals, nil
}

func (c *FramesCheckCmd) judge(frame []byte) frameVerdict {
	direction := mcp.ToServer
	if c.From == "server" {
		direction = mcp.ToClient
	}
	if c.Lines {
		if f := mcp.CheckLine(frame); f != nil {
			return refusedFrame(f, 0, 0)
		}
	}
	e := mcp.Explain(frame, direction, mcp.Limits{})
	if e.Fault != nil {
		return refusedFrame(e.Fault, e.Line, e.Column)
	}
	v := frameVerdict{Accepted: true, Method: e.Frame.Method, Name: e.Frame.Name, ID: string(e.Frame.ID), Era: "legacy"}
	if e.Frame.Meta.Modern {
		v.Era = e.Frame.Meta.ProtocolVersion
	}
	return v
}

// frameVerdict is what the command says of one frame.
type frameVerdict struct {
	File     string `json:"file"`
	Frame    int    `json:"frame,omitempty"` // counted from 1 with --lines
	Accepted bool   `json:"accepted"`

	Method string `json:"method,omitempty"`
	Name   string `json:"name,omitempty"`
	ID     string `json:"id,omitempty"`
	Era    string `json:"era,omitempty"`

	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason,omitempty"`
	Code   int    `json:"code,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

func refusedFrame(f *mcp.Fault, line, column int) frameVerdict {
	return frameVerdict{Rule: f.Rule, Reason: f.Reason, Code: f.Code, Line: line, Column: column}
}

// String is the verdict as text.
func (v frameVerdict) String() string {
	at := v.File
	if v.Frame > 0 {
		at += fmt.Sprintf(" frame %d", v.Frame)
	}
	if v.Accepted {
		return fmt.Sprintf("%s: accepted: %s %s (id %s, %s)", at, v.Method, v.Name, v.ID, v.Era)
	}
	if v.Line > 0 {
		at += fmt.Sprintf(":%d:%d", v.Line, v.Column)
	}
	return fmt.Sprintf("%s: refused: %s [%s, %d]", at, v.Reason, v.Rule, v.Code)
}

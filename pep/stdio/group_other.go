//go:build !unix

package stdio

import (
	"errors"
	"os/exec"
)

// group is the started child alone: what it starts itself is not ended with
// it on this system.
type group struct{ cmd *exec.Cmd }

func ownGroup(*exec.Cmd) {}

func (g *group) terminate() { _ = g.cmd.Process.Kill() }
func (g *group) kill()      { _ = g.cmd.Process.Kill() }
func (g *group) reap()      { _ = g.cmd.Wait() }

func (l Rlimits) apply(int) error {
	if l != (Rlimits{}) {
		return errors.New("resource limits for children need Linux: remove them from the configuration")
	}
	return nil
}

package parts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// part is one directory below the parts directory that is made as a whole.
type part struct {
	name string
	// inputs are what the content depends on; the stamp is their digest.
	inputs []string
	// needs are the programs that making it takes.
	needs []string
	// build fills the empty directory dir.
	build func(ctx context.Context, dir string, run runner) error
	// files must exist afterwards, and for a warm directory to count.
	files []string
}

// runner runs one command in a directory and returns what it wrote to
// standard output; its error holds the end of standard error.
type runner func(dir string, env []string, command ...string) ([]byte, error)

func (p part) install(ctx context.Context, root string, out io.Writer) error {
	dir := filepath.Join(root, p.name)
	stamp := filepath.Join(root, p.name+".stamp")
	digest := p.digest(dir)
	if have, err := os.ReadFile(stamp); err == nil && string(have) == digest && p.complete(dir) == nil {
		fmt.Fprintf(out, "parts: %-8s up to date\n", p.name)
		return nil
	}
	for _, program := range p.needs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("needs %s on the PATH; install it (%s)", program, packageOf[program])
		}
	}
	start := time.Now()
	fmt.Fprintf(out, "parts: %-8s installing …\n", p.name)
	err := os.Remove(stamp)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	if err := p.build(ctx, dir, commands(ctx)); err != nil {
		return err
	}
	if err := p.complete(dir); err != nil {
		return err
	}
	if err := writeFile(stamp, []byte(digest)); err != nil {
		return err
	}
	fmt.Fprintf(out, "parts: %-8s installed in %.0f s\n", p.name, time.Since(start).Seconds())
	return nil
}

// packageOf names where the needed programs come from on Debian and its kin.
var packageOf = map[string]string{
	"npm":     "apt-get install npm",
	"python3": "apt-get install python3 python3-venv",
	"git":     "apt-get install git",
	"go":      "https://go.dev/dl",
}

// digest stands for everything that the built directory depends on. The
// directory's own path counts, since Python environments cannot be moved.
func (p part) digest(dir string) string {
	sum := sha256.New()
	for _, input := range append([]string{platform(), dir}, p.inputs...) {
		fmt.Fprintf(sum, "%d:%s", len(input), input)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// complete says whether the files are there that the tests start.
func (p part) complete(dir string) error {
	for _, file := range p.files {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(file))); err != nil {
			return fmt.Errorf("installed, but incomplete: %w", err)
		}
	}
	return nil
}

func commands(ctx context.Context) runner {
	return func(dir string, env []string, command ...string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
		defer cancel()
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
		cmd.Env = append(os.Environ(), env...)
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, tail(stderr.String(), 12))
		}
		return stdout.Bytes(), nil
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

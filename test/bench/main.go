// Command bench measures what MCPermit costs: the same calls to the same thin
// upstream, directly, through a do-nothing httputil.ReverseProxy, and through
// `mcpermit up` with policy, grants and the audit trail on. All run as
// processes of their own on loopback in one run; what counts are ratios.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "upstream":
			log.Fatal(serveUpstream(os.Args[2]))
		case "plain":
			log.Fatal(servePlain(os.Args[2], os.Args[3]))
		}
	}
	var (
		span    = flag.Duration("for", 3*time.Second, "how long each figure is measured")
		rounds  = flag.Int("rounds", 1, "how often the whole is repeated; the median counts")
		asJSON  = flag.Bool("json", false, "one JSON object a line")
		program = flag.String("mcpermit", "bin/mcpermit", "the program to measure")
		only    = flag.String("load", "", "measure only the loads whose names contain this")
		at      []int
	)
	flag.Func("connections", "measure at this number of connections; may be repeated (default 1, 16 and 64)", func(s string) error {
		n, err := strconv.Atoi(s)
		at = append(at, n)
		return err
	})
	flag.Parse()
	if at == nil {
		at = []int{1, 16, 64}
	}
	if err := run(*program, *only, at, *span, *rounds, *asJSON); err != nil {
		log.Fatal(err)
	}
}

func run(program, only string, at []int, span time.Duration, rounds int, asJSON bool) error {
	dir, err := os.MkdirTemp("", "mcpermit-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	targets, stop, err := startTargets(program, dir)
	defer stop()
	if err != nil {
		return err
	}
	var rows []row
	for _, load := range loads() {
		if !strings.Contains(load.name, only) {
			continue
		}
		for _, connections := range at {
			measured := map[string][]figures{}
			for range rounds {
				for _, t := range targets {
					f, err := measure(context.Background(), t, load, connections, span)
					if err != nil {
						return fmt.Errorf("%s, %s, %d connections: %w", t.name, load.name, connections, err)
					}
					measured[t.name] = append(measured[t.name], f)
				}
			}
			rows = append(rows, compare(load.name, connections, targets, measured)...)
			fmt.Fprintf(os.Stderr, "%s at %d connections: done\n", load.name, connections)
		}
	}
	return report(rows, asJSON)
}

// row is one line of the report.
type row struct {
	Load        string  `json:"load"`
	Connections int     `json:"connections"`
	Target      string  `json:"target"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	PerSecond   float64 `json:"per_second"`
	// CPU is the target process's own time for one request, microseconds; 0 for
	// direct.
	CPU float64 `json:"cpu_us"`
	// Ratio of CPU to that of the plain proxy; 0 where there is none.
	Ratio float64 `json:"cpu_ratio"`
	// Lost is the share of requests that got no whole answer.
	Lost float64 `json:"lost"`
}

func compare(load string, connections int, targets []target, measured map[string][]figures) []row {
	plain := median(measured["plain"], func(f figures) float64 { return f.cpu })
	var out []row
	for _, t := range targets {
		m := measured[t.name]
		r := row{
			Load: load, Connections: connections, Target: t.name,
			P50: median(m, func(f figures) float64 { return f.p50 }), P99: median(m, func(f figures) float64 { return f.p99 }),
			PerSecond: median(m, func(f figures) float64 { return f.perSecond }), CPU: median(m, func(f figures) float64 { return f.cpu }),
			Lost: median(m, func(f figures) float64 { return f.lost }),
		}
		if plain > 0 {
			r.Ratio = r.CPU / plain
		}
		out = append(out, r)
	}
	return out
}

func report(rows []row, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(os.Stdout)
		for _, r := range rows {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "load\tconnections\ttarget\tp50 µs\tp99 µs\trequests/s\tCPU µs/request\tCPU ÷ plain\tlost %\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t\n", r.Load, r.Connections, r.Target, r.P50, r.P99, r.PerSecond, r.CPU, r.Ratio, 100*r.Lost)
	}
	return w.Flush()
}

// startTargets runs the upstream and what stands before it. stop is never nil.
func startTargets(program, dir string) (targets []target, stop func(), err error) {
	var running []*exec.Cmd
	stop = func() {
		for _, c := range running {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, stop, err
	}
	start := func(name string, args ...string) (int, error) {
		c := exec.Command(name, args...)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			return 0, fmt.Errorf("%s: %w (`make build` first?)", name, err)
		}
		running = append(running, c)
		return c.Process.Pid, nil
	}
	upstream, plain, ours, admin := freeAddress(), freeAddress(), freeAddress(), freeAddress()
	if _, err = start(self, "upstream", upstream); err != nil {
		return nil, stop, err
	}
	plainPID, err := start(self, "plain", plain, "http://"+upstream)
	if err != nil {
		return nil, stop, err
	}
	config := filepath.Join(dir, "mcpermit.yaml")
	if err = writeConfig(config, ours, admin, upstream); err != nil {
		return nil, stop, err
	}
	oursPID, err := start(program, "up", "-c", config)
	if err != nil {
		return nil, stop, err
	}
	for _, addr := range []string{upstream, plain, ours, admin} {
		if err = await(addr); err != nil {
			return nil, stop, err
		}
	}
	token, err := grant(program, config)
	return []target{
		{name: "direct", url: "http://" + upstream + "/mcp"},
		{name: "plain", url: "http://" + plain + "/mcp", pid: plainPID, mayLose: 0.2},
		{name: "mcpermit", url: "http://" + ours + "/mcp/bench/", pid: oursPID, token: token, mayLose: 0.01},
	}, stop, err
}

func writeConfig(name, listen, admin, upstream string) error {
	policy, err := filepath.Abs("test/bench/policy")
	if err != nil {
		return err
	}
	b, err := json.Marshal(map[string]any{
		"listen": listen, "admin": admin, "state": "state", "log": map[string]any{"level": "warn"},
		// Ample deadlines: on a saturated machine what is measured is the cost of
		// a call and not how many are shed.
		"policy": map[string]any{"source": policy, "deadline": "10s"}, "pdp": map[string]any{"deadline": "20s"},
		"servers": map[string]any{"bench": map[string]any{"url": "http://" + upstream + "/mcp"}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o600)
}

func grant(program, config string) (string, error) {
	out, err := exec.Command(program, "grants", "create", "-c", config, "--subject", "bench", "--server", "bench", "-o", "json").Output()
	if err != nil {
		return "", fmt.Errorf("grants create: %w", err)
	}
	var g struct{ Token string }
	return g.Token, json.Unmarshal(out, &g)
}

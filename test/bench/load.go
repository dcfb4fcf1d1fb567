package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// target is one way to the upstream.
type target struct {
	name, url, token string
	pid              int // 0: its CPU time is not of interest
	// mayLose is the share of lost requests from which a measurement is none:
	// httputil.ReverseProxy cuts off some answers, and MCPermit refuses what it
	// can't decide in time. The report says how many there were.
	mayLose float64
}

// load is one kind of request.
type load struct {
	name string
	body []byte
}

func loads() []load {
	const small = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"charge_id":"ch_105","amount":5000}}}`
	return []load{
		{"small call", []byte(small)},
		{"100-tool list", []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)},
		{"64 KiB call", padded(64 << 10)},
		{"1 MiB call", padded(1 << 20)},
	}
}

// padded is a call whose whole frame has n bytes.
func padded(n int) []byte {
	const head = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"charge_id":"ch_105","amount":5000,"note":"`
	const tail = `"}}}`
	return []byte(head + strings.Repeat("x", n-len(head)-len(tail)) + tail)
}

// figures are what one measurement found: microseconds, requests a second, and
// the share of requests that got no whole answer.
type figures struct{ p50, p99, perSecond, cpu, lost float64 }

// measure sends the load over so many connections, each waiting for its answer
// before it sends again.
func measure(ctx context.Context, t target, l load, connections int, span time.Duration) (figures, error) {
	if _, _, err := drive(ctx, t, l, connections, span/6); err != nil { // warm up
		return figures{}, err
	}
	before, began := cpuTime(t.pid), time.Now()
	took, lost, err := drive(ctx, t, l, connections, span)
	if err != nil {
		return figures{}, err
	}
	elapsed, cpu, n := time.Since(began), cpuTime(t.pid)-before, len(took)
	slices.Sort(took)
	return figures{
		p50: micros(took[len(took)/2]), p99: micros(took[len(took)*99/100]),
		perSecond: float64(n) / elapsed.Seconds(), cpu: micros(cpu) / float64(n), lost: float64(lost) / float64(n),
	}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// drive returns how long each answered request took, and how many were lost.
func drive(ctx context.Context, t target, l load, connections int, span time.Duration) (took []time.Duration, lost int, err error) {
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		last   error
		client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}}
	)
	defer client.CloseIdleConnections()
	for range connections {
		wg.Go(func() {
			var mine []time.Duration
			var failures []error
			for ctx.Err() == nil {
				began := time.Now()
				if e := once(client, t, l); e != nil {
					failures = append(failures, e)
					continue
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			if lost += len(failures); len(failures) > 0 {
				last = failures[0]
			}
		})
	}
	wg.Wait()
	if float64(lost) > t.mayLose*float64(len(took)) || len(took) == 0 {
		return nil, 0, fmt.Errorf("%d answered, %d not: %w", len(took), lost, last)
	}
	return took, lost, nil
}

// once sends one request and checks that it came through.
func once(client *http.Client, t target, l load) error {
	req, err := http.NewRequest(http.MethodPost, t.url, bytes.NewReader(l.body))
	if err != nil {
		return err
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
		"Mcp-Protocol-Version": {"2025-11-25"},
	}
	if t.token != "" {
		req.Header.Set("Authorization", "Bearer "+t.token)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"result"`)) || bytes.Contains(body, []byte(`"isError":true`)) {
		return fmt.Errorf("%s: %.300s", res.Status, body)
	}
	return nil
}

// cpuTime is the user and system time of a process so far, from /proc.
func cpuTime(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The fields after the parenthesised name: utime and stime are the 12th and
	// 13th, in ticks of 10 ms.
	_, after, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(after)
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func median(m []figures, of func(figures) float64) float64 {
	if len(m) == 0 {
		return math.NaN()
	}
	v := make([]float64, len(m))
	for i, f := range m {
		v[i] = of(f)
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func await(addr string) error {
	var err error
	for range 200 {
		var conn net.Conn
		if conn, err = net.Dial("tcp", addr); err == nil {
			return conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

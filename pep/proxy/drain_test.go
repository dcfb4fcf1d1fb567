package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestR12_DrainingLosesNoCall(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if r.Method == http.MethodGet {
			say(w, ": x\n\n")
			<-r.Context().Done()
			return
		}
		close(started)
		<-finish
		tools(w, r, body)
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	stream := g.open(t, g.request(http.MethodGet, ""))
	stream.next()
	done := make(chan answer)
	go func() { done <- g.post(t, ping) }()
	<-started
	drained := make(chan error)
	go func() { drained <- g.Shutdown(context.Background()) }()
	if got := stream.next(); got != "end" {
		t.Errorf("the stream got %q", got)
	}
	if got := g.do(t, g.request(http.MethodGet, "")); got.Status != 503 || got.Header.Get("Retry-After") == "" {
		t.Errorf("a new stream: %d", got.Status)
	}
	close(finish)
	if got := <-done; got.Status != 200 || !strings.Contains(got.Body, "done") {
		t.Errorf("the call in flight: %d %s", got.Status, got.Body)
	}
	if err := <-drained; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if diff := cmp.Diff([]string{"stream/open", "ping", "stream/open !overload"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}

func TestR12_DrainingUnderLoadEnds(t *testing.T) {
	started, finish := make(chan string), map[string]chan struct{}{"1": make(chan struct{}), "2": make(chan struct{})}
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		started <- idOf(body)
		<-finish[idOf(body)]
		tools(w, r, body)
	})
	g := newGateway(t, up.URL, &fakePDP{})
	answers := make(chan answer)
	post := func(id string) {
		go func() { answers <- g.post(t, strings.Replace(ping, `"id":1`, `"id":`+id, 1)) }()
		<-started
	}
	post("1")
	drained := make(chan error)
	go func() { drained <- g.Shutdown(context.Background()) }()
	<-g.gate.draining.Done()
	post("2")
	close(finish["1"])
	if err := <-drained; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	close(finish["2"])
	for range 2 {
		if got := <-answers; got.Status != 200 || !strings.Contains(got.Body, "done") {
			t.Errorf("%d %s", got.Status, got.Body)
		}
	}
}

func TestShutdownCutsOffWhatDoesNotEnd(t *testing.T) {
	started := make(chan struct{})
	up := newServer(t, func(_ http.ResponseWriter, r *http.Request, _ string) {
		close(started)
		<-r.Context().Done()
	})
	g := newGateway(t, up.URL, &fakePDP{})
	done := make(chan answer)
	go func() { done <- g.post(t, ping) }()
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g.Shutdown(ctx); err == nil {
		t.Error("Shutdown says that all calls ended")
	}
	if got := <-done; got.Body != failed("The gateway shuts down; try again.") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}

func TestALineThatBeginsAfterTheCutIsCut(t *testing.T) {
	p := &Proxy{gate: newGate(1, 1)}
	before := p.newLine(t.Context(), time.Minute)
	p.gate.cutNow()
	after := p.newLine(t.Context(), time.Minute)
	for _, l := range []*line{before, after} {
		if err := l.why(io.EOF); !errors.Is(err, errCut) {
			t.Errorf("broken by %v", err)
		}
		l.close()
	}
	if n := len(p.gate.lines); n != 0 {
		t.Errorf("the gate still keeps %d lines", n)
	}
}

func TestR8_WhatIsTooMuchIsRefusedAndRecorded(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		close(started)
		<-finish
		tools(w, r, body)
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp, func(o *Options) { o.MaxCalls = 1 })
	done := make(chan answer)
	go func() { done <- g.post(t, ping) }()
	<-started
	if got := g.post(t, ping); got.Status != 503 || got.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %v", got.Status, got.Header)
	}
	close(finish)
	<-done
	if diff := cmp.Diff([]string{"ping", "!overload"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}

package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faults is a disk that fails when it is told to.
type faults struct {
	disk
	mu sync.Mutex
	// fail is asked before each call: "create", "open", "write", "sync", "truncate",
	// "stat", "syncdir". A write that fails has written half.
	fail func(op, name string) error
	hang atomic.Pointer[chan struct{}] // writes of segments wait for it
}

func (d *faults) set(fail func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

// setErr lets these operations on segments fail; nil: none.
func (d *faults) setErr(err error, ops ...string) {
	d.set(func(op, name string) error {
		if err != nil && name != headName && strings.Contains(" "+strings.Join(ops, " ")+" ", " "+op+" ") {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
		return nil
	})
}

func (d *faults) ask(op, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	return d.fail(op, name)
}

func (d *faults) Create(name string) (file, error) {
	if err := d.ask("create", name); err != nil {
		return nil, err
	}
	f, err := d.disk.Create(name)
	return d.wrap(f, name), err
}

func (d *faults) Open(name string) (file, error) {
	if err := d.ask("open", name); err != nil {
		return nil, err
	}
	f, err := d.disk.Open(name)
	return d.wrap(f, name), err
}

func (d *faults) Stat(name string) (fs.FileInfo, error) {
	if err := d.ask("stat", name); err != nil {
		return nil, err
	}
	return d.disk.Stat(name)
}

func (d *faults) SyncDir() error {
	if err := d.ask("syncdir", ""); err != nil {
		return err
	}
	return d.disk.SyncDir()
}

func (d *faults) wrap(f file, name string) file {
	if f == nil {
		return nil
	}
	return &faultyFile{f, d, name}
}

type faultyFile struct {
	file
	d    *faults
	name string
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if hang := f.d.hang.Load(); hang != nil && f.name != headName {
		<-*hang
	}
	if err := f.d.ask("write", f.name); err != nil {
		n, _ := f.file.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.file.WriteAt(p, off)
}

func (f *faultyFile) Sync() error {
	if err := f.d.ask("sync", f.name); err != nil {
		return err
	}
	return f.file.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.d.ask("truncate", f.name); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

func onFaults(t *testing.T, opt Options) (*Log, *faults) {
	t.Helper()
	dev := &faults{disk: disk(opt.Dir)}
	return openLog(t, opt, dev), dev
}

// Each way in which a device can fail refuses records while it lasts, says what to
// do, and leaves a whole chain without the refused ones when it is over.
func TestI5_FailingDevice(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		ops    []string
		remedy string
	}{
		{"full disk", syscall.ENOSPC, []string{"write"}, "free space"},
		{"full disk, no new files", syscall.ENOSPC, []string{"write", "create"}, "free space"},
		{"bad disk", syscall.EIO, []string{"write"}, "check the disk"},
		{"fsync fails", syscall.EIO, []string{"sync"}, "check the disk"},
		{"fsync fails and so does cleaning up", syscall.EIO, []string{"sync", "truncate"}, "check the disk"},
		{"read-only", syscall.EROFS, []string{"write", "truncate", "sync", "open", "create"}, "writable"},
		{"not even open", syscall.EIO, []string{"open", "write"}, "check the disk"},
		{"no more descriptors", syscall.EMFILE, []string{"create", "open", "write"}, "limit of open files"},
	} {
		// In the middle of a segment, and where a new one is due.
		for _, segment := range []int64{1 << 20, 700} {
			t.Run(fmt.Sprintf("%s/%d", c.name, segment), func(t *testing.T) {
				dir := t.TempDir()
				l, dev := onFaults(t, Options{Dir: dir, SegmentBytes: segment})
				mustRecord(t, l, testRecord(0), testRecord(1))
				for i := range 3 {
					dev.setErr(c.err, c.ops...)
					for n := range 2 {
						err := l.Record(context.Background(), testRecord(100+n))
						if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.remedy) {
							t.Fatalf("Record on a failing device: %v; want %v and %q", err, c.err, c.remedy)
						}
					}
					if err := l.Status().Err; err == nil {
						t.Error("Status says that all is well")
					}
					l.Outcome("d-000000", Outcome{Forwarded: true, Bytes: int64(i)})
					dev.setErr(nil)
					mustRecord(t, l, testRecord(2+i))
				}
				if err := l.Status().Err; err != nil {
					t.Errorf("Status after recovery: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				trail := NewTrail(dir)
				report := mustVerify(t, trail)
				got := query(t, trail, Filter{}, 0)
				if want := []string{"d-000000", "d-000001", "d-000002", "d-000003", "d-000004"}; strings.Join(ids(got), " ") != strings.Join(want, " ") {
					t.Errorf("records %v, want %v", ids(got), want)
				}
				if o := got[0].Outcome; o == nil || o.Bytes != 2 {
					t.Errorf("outcome of the first record: %+v, want the last of those written while the device failed", o)
				}
				if len(report.Repairs) != 3 || !strings.Contains(report.Repairs[0].Reason, "nothing could be written since") {
					t.Errorf("repairs %+v, want the three outages", report.Repairs)
				}
			})
		}
	}
}

// What failed half does not come back when the process ends before the device recovers.
func TestI5_FailedDeviceThenRestart(t *testing.T) {
	dir := t.TempDir()
	l, dev := onFaults(t, Options{Dir: dir})
	mustRecord(t, l, testRecord(0))
	dev.setErr(syscall.EIO, "write", "truncate", "sync", "open")
	if err := l.Record(context.Background(), testRecord(1)); err == nil {
		t.Fatal("Record on a failing device went well")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = testLog(t, Options{Dir: dir})
	mustRecord(t, l, testRecord(2))
	report := mustVerify(t, l)
	if got := ids(query(t, l, Filter{}, 0)); strings.Join(got, " ") != "d-000000 d-000002" {
		t.Errorf("records %v", got)
	}
	if len(report.Repairs) != 1 || !strings.Contains(report.Repairs[0].Reason, "cut short") {
		t.Errorf("repairs %+v", report.Repairs)
	}
}

// A crash, here a failing device, between the end of a segment and the next one.
func TestI5_RestartBehindASeal(t *testing.T) {
	dir := t.TempDir()
	l, dev := onFaults(t, Options{Dir: dir, SegmentBytes: 1})
	mustRecord(t, l, testRecord(0))
	dev.setErr(syscall.ENOSPC, "create")
	if err := l.Record(context.Background(), testRecord(1)); err == nil {
		t.Fatal("Record without a segment went well")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readFile(t, dir+"/"+segmentName(1))), `"type":"seal"`) {
		t.Fatal("the segment was not sealed")
	}
	l = testLog(t, Options{Dir: dir, SegmentBytes: 1})
	mustRecord(t, l, testRecord(2))
	if r := mustVerify(t, l); r.Records != 2 || len(r.Repairs) != 0 {
		t.Errorf("%+v", r)
	}
}

// An outcome whose commit has failed is written with the next one, before what came since.
func TestOutcomeOutlastsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, dev := onFaults(t, Options{Dir: dir})
		mustRecord(t, l, testRecord(0), testRecord(1))
		dev.setErr(syscall.ENOSPC, "write")
		l.Outcome(testRecord(0).DecisionID, Outcome{Bytes: 1})
		time.Sleep(outcomeDelay)
		synctest.Wait() // its commit has failed
		if l.Status().Err == nil {
			t.Error("the outcome was not tried by itself")
		}
		l.Outcome(testRecord(0).DecisionID, Outcome{Bytes: 2})
		l.Outcome(testRecord(1).DecisionID, Outcome{Bytes: 3})
		synctest.Wait()
		dev.setErr(nil)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got := query(t, NewTrail(dir), Filter{}, 0)
		if got[0].Outcome == nil || got[0].Outcome.Bytes != 2 || got[1].Outcome == nil {
			t.Errorf("outcomes %+v and %+v", got[0].Outcome, got[1].Outcome)
		}
		if r := mustVerify(t, NewTrail(dir)); r.Entries != 6 { // records, outcomes, the outage
			t.Errorf("%+v", r)
		}
	})
}

// Without anybody asking for a record, a recovered device is noticed: readiness
// must not depend on traffic that readiness keeps away.
func TestRecoveryIsNoticedWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dev := onFaults(t, Options{Dir: t.TempDir()})
		dev.setErr(syscall.ENOSPC, "write")
		if err := l.Record(t.Context(), testRecord(0)); err == nil {
			t.Fatal("Record on a full disk went well")
		}
		time.Sleep(10 * time.Second)
		if l.Status().Err == nil {
			t.Error("Status is well while the disk is full")
		}
		dev.setErr(nil)
		time.Sleep(2 * time.Second)
		if err := l.Status().Err; err != nil {
			t.Errorf("Status after recovery: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A device that does not answer: Record gives up within the timeout, later ones at
// once; when the device comes back the late record is there, marked as refused.
func TestI5_StalledDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, dev := onFaults(t, Options{Dir: dir, Timeout: 2 * time.Second})
		hang := make(chan struct{})
		dev.hang.Store(&hang)
		start := time.Now()
		if err := l.Record(t.Context(), testRecord(0)); !errors.Is(err, errStalled) {
			t.Fatalf("Record: %v, want %v", err, errStalled)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("Record gave up after %v, want 2s", d)
		}
		if err := l.Record(t.Context(), testRecord(1)); !errors.Is(err, errStalled) || time.Since(start) != 2*time.Second {
			t.Errorf("Record on a stalled device: %v after %v, want an error at once", err, time.Since(start))
		}
		if !errors.Is(l.Status().Err, errStalled) {
			t.Errorf("Status: %v", l.Status().Err)
		}
		dev.hang.Store(nil)
		close(hang)
		synctest.Wait()
		mustRecord(t, l, testRecord(2))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		mustVerify(t, NewTrail(dir))
		got := query(t, NewTrail(dir), Filter{}, 0)
		if strings.Join(ids(got), " ") != "d-000000 d-000002" {
			t.Fatalf("records %v, want the late one and the last", ids(got))
		}
		if o := got[0].Outcome; o == nil || o.Forwarded || !strings.Contains(o.Error, "refused") {
			t.Errorf("outcome of the late record: %+v, want one that says it was refused", o)
		}
	})
}

// A record that still waits for its turn when its caller gives up is never written.
func TestI5_AbandonedBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, dev := onFaults(t, Options{Dir: dir, Timeout: time.Minute})
		hang := make(chan struct{})
		dev.hang.Store(&hang)
		go func() { _ = l.Record(context.Background(), testRecord(0)) }()
		synctest.Wait() // it is being written
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("client gone"))
		defer cancel()
		if err := l.Record(ctx, testRecord(1)); err == nil || !strings.Contains(err.Error(), "client gone") {
			t.Errorf("Record: %v", err)
		}
		dev.hang.Store(nil)
		close(hang)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := ids(query(t, NewTrail(dir), Filter{}, 0)); strings.Join(got, " ") != "d-000000" {
			t.Errorf("records %v", got)
		}
	})
}

// The queue is bounded: outcomes that find it full are dropped and counted.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dev := onFaults(t, Options{Dir: t.TempDir(), Timeout: time.Hour})
		hang := make(chan struct{})
		dev.hang.Store(&hang)
		go func() { _ = l.Record(context.Background(), testRecord(0)) }()
		synctest.Wait()
		long := strings.Repeat("x", 1000)
		for range maxQueue / 1000 {
			l.Outcome("d-000000", Outcome{Error: long})
		}
		big := testRecord(1)
		big.Reason = strings.Repeat("y ", 1000)
		if err := l.Record(t.Context(), big); !errors.Is(err, errQueue) {
			t.Errorf("Record with a full queue: %v, want %v", err, errQueue)
		}
		if l.Status().Dropped == 0 {
			t.Error("no outcome was dropped")
		}
		close(hang)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseOfAStalledDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dev := onFaults(t, Options{Dir: t.TempDir()})
		hang := make(chan struct{})
		dev.hang.Store(&hang)
		l.Outcome("d", Outcome{})
		if err := l.Close(); !errors.Is(err, errStalled) {
			t.Errorf("Close: %v, want %v", err, errStalled)
		}
		close(hang) // lets the writing goroutine end
	})
}

// A trail that is taken away or changed under the log is noticed before a record
// goes to a file that nobody will read.
func TestI5_TrailTakenAway(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"removed":  func(dir string) error { return os.RemoveAll(dir) },
		"renamed":  func(dir string) error { return os.Rename(dir+"/"+segmentName(1), dir+"/old") },
		"replaced": func(dir string) error { return replaceFile(dir + "/" + segmentName(1)) },
		"shorter":  func(dir string) error { return os.Truncate(dir+"/"+segmentName(1), 10) },
		"longer":   func(dir string) error { return os.Truncate(dir+"/"+segmentName(1), 10000) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/audit"
			l := openLog(t, Options{Dir: dir}, nil)
			mustRecord(t, l, testRecord(0))
			if err := take(dir); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := l.Record(context.Background(), testRecord(1)); !errors.Is(err, errTouched) {
					t.Fatalf("Record: %v, want %v", err, errTouched)
				}
			}
			_ = l.Close()
		})
	}
}

func replaceFile(name string) error {
	b, err := os.ReadFile(name)
	return errors.Join(err, os.Remove(name), os.WriteFile(name, b, 0o600))
}

// No secret gets into the log's own messages, and a failure is logged once, not
// once for each record.
func TestI6_FailureIsLoggedOnce(t *testing.T) {
	var b strings.Builder
	opt := Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&b, nil))}
	l, dev := onFaults(t, opt)
	dev.setErr(syscall.ENOSPC, "write")
	for range 5 {
		r := testRecord(0)
		r.Arguments = []byte(`{"password":"hunter2"}`)
		if err := l.Record(context.Background(), r); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Record: %v", err)
		}
	}
	dev.setErr(nil)
	mustRecord(t, l, testRecord(1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	if strings.Count(out, "cannot be written") != 1 || strings.Count(out, "can be written again") != 1 || strings.Contains(out, "hunter2") {
		t.Errorf("log:\n%s", out)
	}
}

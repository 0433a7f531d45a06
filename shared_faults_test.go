package thumbcache_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/sharedtest"
)

// A slowRemoval is an engine whose Remove waits.
type slowRemoval struct {
	*sharedtest.Machine
	goOn chan bool
}

func (e slowRemoval) Remove(ctx context.Context, source string) error {
	<-e.goOn
	return e.Machine.Remove(ctx, source)
}

// A Get while Invalidate is in progress may return the old thumbnail. One that starts later may not, although the first has read it
// from the engine in the meantime.
func TestSharedGetDuringInvalidate(t *testing.T) {
	for _, dir := range []bool{false, true} {
		t.Run(fmt.Sprintf("dir=%v", dir), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, l := &sharedtest.Memory{}, newFleetMedia()
				l.set("a", "1", red)
				removal := slowRemoval{engine.Machine(), make(chan bool)}
				c := machine(t, removal, l, func(cfg *thumbcache.Config) {
					if dir {
						cfg.Dir = t.TempDir()
					}
				})
				check(t, c, "a", red)
				synctest.Wait()
				l.set("a", "1", blue)
				done := make(chan error)
				go func() { done <- c.Invalidate("p", "a") }()
				synctest.Wait()
				check(t, c, "a", red)
				synctest.Wait()
				removal.goOn <- true
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				check(t, c, "a", blue)
			})
		})
	}
}

// Invalidate of an id reaches the other machines, which may know another target.
func TestSharedInvalidateID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("red", "1", red)
		l.set("blue", "1", blue)
		var mu sync.Mutex
		target := "red"
		withIDs := func(cfg *thumbcache.Config) {
			cfg.Revalidate = -1
			cfg.Providers["id"] = thumbcache.Resolve(func(context.Context, string) (thumbcache.Target, error) {
				mu.Lock()
				defer mu.Unlock()
				return thumbcache.Target{Provider: "p", Path: target}, nil
			})
		}
		a, b := machine(t, engine.Machine(), l, withIDs), machine(t, engine.Machine(), l, withIDs)
		synctest.Wait()
		before, err := b.Get(t.Context(), "id", "7", 20)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		target = "blue"
		mu.Unlock()
		if err := a.Invalidate("id", "7"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		after, err := b.Get(t.Context(), "id", "7", 20)
		if err != nil || after.ETag == before.ETag {
			t.Errorf("the other machine uses the old target; %v", err)
		}
	})
}

// An engine that does not answer leaves a provider with little time enough of it.
func TestSharedTimeoutOfProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		engine.Freeze()
		c := machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) {
			cfg.SharedTimeout = -1
			cfg.Providers["p"] = thumbcache.With(l, thumbcache.Settings{Timeout: 80 * time.Millisecond})
		})
		check(t, c, "a", red)
	})
}

// Of many requests at once, none waits longer for a frozen engine than its time.
func TestSharedFrozenForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		engine.Freeze()
		c := machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) { cfg.Queue = 2000 })
		synctest.Wait()
		var wg sync.WaitGroup
		for i := range 500 {
			l.set(fmt.Sprint(i), "1", red)
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Microsecond)
				start := time.Now()
				check(t, c, fmt.Sprint(i), red)
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("Get took %v", took)
				}
			})
		}
		wg.Wait()
	})
}

// A lateLease is an engine whose Lease ignores cancellation, and takes the lease when it goes on.
type lateLease struct {
	*sharedtest.Machine
	goOn chan bool
}

func (e lateLease) Lease(_ context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
	<-e.goOn
	return e.Machine.Lease(context.Background(), source, variant, life)
}

// A lease that arrives after its request has gone does not delay other machines.
func TestSharedLateLease(t *testing.T) {
	for _, canceled := range []bool{false, true} {
		t.Run(fmt.Sprintf("canceled=%v", canceled), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, l := &sharedtest.Memory{}, newFleetMedia()
				l.set("a", "1", red)
				late := lateLease{engine.Machine(), make(chan bool)}
				a, b := machine(t, late, l), machine(t, engine.Machine(), l)
				ctx, cancel := context.WithCancel(t.Context())
				if canceled {
					time.AfterFunc(10*time.Millisecond, cancel)
				}
				a.Get(ctx, "p", "a", 20)
				cancel()
				late.goOn <- true
				synctest.Wait()
				start := time.Now()
				check(t, b, "a", red)
				if took := time.Since(start); took > time.Second {
					t.Errorf("another machine waited for %v", took)
				}
			})
		})
	}
}

// A canceledLease is an engine whose Lease takes a lease, and then waits for an answer that does not come if the call is canceled.
type canceledLease struct{ *sharedtest.Machine }

func (e canceledLease) Lease(ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
	lease, err := e.Machine.Lease(ctx, source, variant, life)
	select {
	case <-time.After(50 * time.Millisecond):
		return lease, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A request that is canceled while it takes a lease does not delay other machines.
func TestSharedCanceledLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		a, b := machine(t, canceledLease{engine.Machine()}, l), machine(t, engine.Machine(), l)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := a.Get(ctx, "p", "a", 20); err == nil {
			t.Fatal("the request was not canceled")
		}
		start := time.Now()
		check(t, b, "a", red)
		if took := time.Since(start); took > time.Second {
			t.Errorf("another machine waited for %v", took)
		}
	})
}

// noLease is an engine that returns neither a lease nor an error.
type noLease struct{ *sharedtest.Machine }

func (noLease) Lease(context.Context, string, string, time.Duration) (thumbcache.Lease, error) {
	return nil, nil
}

func TestSharedNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		l.open = func(context.Context, string) error { time.Sleep(10 * time.Second); return nil } // longer than until a renewal
		c := machine(t, noLease{engine.Machine()}, l)
		check(t, c, "a", red)
		synctest.Wait()
		if s := c.Stats(); s.SharedErrors == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A full engine can be read. Its trouble is logged once, although some calls succeed.
func TestSharedFullLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		engine.Fail(errors.New("engine: full"), "Put", "Commit", "Lease", "Remove")
		var log logBuffer
		c := machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		if err := c.Invalidate("p", "other"); err == nil {
			t.Error("Invalidate returned no error")
		}
		for i := range 600 { // a minute
			l.set(fmt.Sprint(i), "1", red)
			check(t, c, fmt.Sprint(i), red)
			time.Sleep(100 * time.Millisecond)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines:\n%.2000s", n, &log)
		}
	})
}

// A disconnecting engine cannot keep a connection for messages.
type disconnecting struct{ *sharedtest.Machine }

func (disconnecting) Listen(_ context.Context, heard func([]byte)) error {
	heard(nil)
	return errors.New("engine: the connection was lost")
}

func TestSharedListenLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		c := machine(t, disconnecting{(&sharedtest.Memory{}).Machine()}, newFleetMedia(), func(cfg *thumbcache.Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		time.Sleep(5 * time.Minute)
		c.Close()
		if n := strings.Count(log.String(), "\n"); n < 1 || n > 12 {
			t.Errorf("%d lines in 5 minutes", n)
		}
	})
}

// A removal that fails is tried again, but not with every request, and the other machines are not told each time.
func TestSharedRemovalRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, turns, l := &sharedtest.Memory{}, &sharedtest.Memory{}, newFleetMedia()
		c := machine(t, thumbcache.Compose(values.Machine(), turns.Machine()), l)
		values.Fail(errors.New("engine: broken"))
		if err := c.Invalidate("p", "a"); err == nil {
			t.Error("Invalidate returned no error")
		}
		for i := range 100 { // 10 seconds
			l.set(fmt.Sprint(i), "1", red)
			check(t, c, fmt.Sprint(i), red)
			time.Sleep(100 * time.Millisecond)
		}
		if removals, messages := turns.Calls("Remove"), turns.Calls("Notify"); removals > 15 || messages != 1 {
			t.Errorf("%d removals, %d messages in 10 seconds", removals, messages)
		}
	})
}

// A value that is dropped leaves no lease.
func TestSharedDroppedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		connection := engine.Machine()
		a, b := machine(t, connection, l, func(cfg *thumbcache.Config) { cfg.Workers = 200 }), machine(t, engine.Machine(), l)
		goOn := make(chan bool)
		l.open = func(context.Context, string) error { <-goOn; return nil }
		var wg sync.WaitGroup
		for i := range 180 {
			l.set(fmt.Sprint(i), "1", red)
			wg.Go(func() { check(t, a, fmt.Sprint(i), red) })
		}
		synctest.Wait()
		connection.Slow(90 * time.Millisecond)
		l.open = nil
		close(goOn)
		wg.Wait()
		if s := a.Stats(); s.SharedDropped == 0 {
			t.Fatal("nothing was dropped")
		}
		time.Sleep(time.Second)
		start := time.Now()
		for i := range 180 {
			check(t, b, fmt.Sprint(i), red)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("another machine waited for %v", took)
		}
	})
}

// A request that joins the work of Warm does not wait until an engine has stored the result.
func TestSharedJoinWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		c := machine(t, engine.Machine(), l)
		goOn := make(chan bool)
		l.open = func(context.Context, string) error { <-goOn; return nil }
		warmed := make(chan bool)
		go func() { c.Warm(t.Context(), "p", slices.Values([]string{"a"}), 20); close(warmed) }()
		synctest.Wait()
		engine.Freeze()
		goOn <- true
		synctest.Wait()
		start := time.Now()
		check(t, c, "a", red)
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("Get took %v", took)
		}
		<-warmed
	})
}

// After the wait for a lease whose holder has died, a value that arrived meanwhile is served.
func TestSharedValueWithoutLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		a, b := machine(t, struct{ thumbcache.Shared }{engine.Machine()}, l), machine(t, heldEngine{engine.Machine()}, l)
		done := make(chan bool)
		go func() { check(t, b, "a", red); close(done) }()
		synctest.Wait()
		check(t, a, "a", red)
		<-done
		if n := extractions(b); n != 0 {
			t.Errorf("%d extractions", n)
		}
	})
}

// A heldEngine has leases that another machine keeps for ever.
type heldEngine struct{ *sharedtest.Machine }

func (heldEngine) Lease(context.Context, string, string, time.Duration) (thumbcache.Lease, error) {
	return nil, thumbcache.ErrHeld
}

// A machine with a Dir waits only for the lease, and not for the lock in Dir that it has itself.
func TestSharedWaitWithDir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		l.open = func(context.Context, string) error { time.Sleep(2 * time.Second); return nil }
		a, b := machine(t, engine.Machine(), l, withDir(t.TempDir())), machine(t, engine.Machine(), l, withDir(t.TempDir()))
		var wg sync.WaitGroup
		wg.Go(func() { check(t, a, "a", red) })
		synctest.Wait()
		start := time.Now()
		check(t, b, "a", red)
		wg.Wait()
		if took := time.Since(start); took > 2010*time.Millisecond || extractions(b) > 0 {
			t.Errorf("the second machine waited for %v; %d extractions", took, extractions(b))
		}
	})
}

// A name that no message has room for does not make the engine refuse calls.
func TestSharedLongPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		c := machine(t, engine.Machine(), l)
		synctest.Wait()
		err := c.Invalidate("p", strings.Repeat("x", 100<<10))
		if err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Error(err)
		}
		if n := c.Stats().SharedErrors; n != 0 {
			t.Errorf("%d errors", n)
		}
	})
}

// A slowCommit is an engine that takes long to store values.
type slowCommit struct{ *sharedtest.Machine }

func (e slowCommit) Commit(ctx context.Context, lease thumbcache.Lease, source, variant string, sealed []byte) error {
	time.Sleep(500 * time.Millisecond)
	return e.Machine.Commit(ctx, lease, source, variant, sealed)
}

// Warm does not outrun the engine.
func TestSharedWarmSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		var paths []string
		for i := range 300 {
			paths = append(paths, fmt.Sprint(i))
			l.set(paths[i], "1", red)
		}
		c := machine(t, slowCommit{engine.Machine()}, l)
		got, err := c.Warm(t.Context(), "p", slices.Values(paths), 20)
		if err != nil || got.Extracted != 300 || c.Stats().SharedDropped > 0 {
			t.Errorf("%+v, %v; %d dropped", got, err, c.Stats().SharedDropped)
		}
	})
}

// While a removal is still to come, this machine neither uses nor stores values of the source. When it succeeds, the other machines
// are told.
func TestSharedRemovalToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		a := machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) { cfg.MemoryEntries = -1 })
		check(t, a, "a", red)
		synctest.Wait()
		engine.Fail(errors.New("engine: not allowed"), "Remove")
		l.set("a", "1", blue)
		if err := a.Invalidate("p", "a"); err == nil {
			t.Error("Invalidate returned no error")
		}
		b := machine(t, engine.Machine(), l)
		synctest.Wait()
		time.Sleep(300 * time.Millisecond) // then calls are tried again
		commits := engine.Calls("Commit")
		check(t, a, "a", blue)
		synctest.Wait()
		if n := engine.Calls("Commit") - commits; n > 0 {
			t.Errorf("%d values stored before the removal", n)
		}
		check(t, b, "a", red)
		engine.Fail(nil)
		time.Sleep(5 * time.Second)
		check(t, a, "a", blue)
		time.Sleep(5 * time.Second)
		check(t, b, "a", blue)
	})
}

// A slowPut is an engine without leases whose Put waits.
type slowPut struct {
	thumbcache.Shared
	thumbcache.Notifier
	begun, goOn chan bool
}

func (e slowPut) Put(ctx context.Context, source, variant string, sealed []byte) error {
	e.begun <- true
	<-e.goOn
	return e.Shared.Put(ctx, source, variant, sealed)
}

// Invalidate, here or on another machine, comes while a value is being stored.
func TestSharedInvalidateDuringPut(t *testing.T) {
	for _, here := range []bool{false, true} {
		t.Run(fmt.Sprintf("here=%v", here), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, l := &sharedtest.Memory{}, newFleetMedia()
				l.set("a", "1", red)
				connection := engine.Machine()
				e := slowPut{connection, connection, make(chan bool), make(chan bool)}
				a, b := machine(t, e, l), machine(t, engine.Machine(), l)
				synctest.Wait()
				check(t, a, "a", red)
				<-e.begun
				done := make(chan bool)
				go func() {
					if here {
						a.Invalidate("p", "a")
					} else {
						b.Invalidate("p", "a")
					}
					close(done)
				}()
				synctest.Wait()
				select {
				case <-done:
					if here {
						t.Error("Invalidate did not wait for the value")
					}
				default:
					if !here {
						t.Error("Invalidate waits for another machine")
					}
				}
				e.goOn <- true
				<-done
				synctest.Wait()
				if values := engine.Values(); len(values) > 0 {
					t.Errorf("stored after Invalidate: %q", values)
				}
			})
		})
	}
}

// lateMessages is an engine whose messages take a second.
type lateMessages struct{ *sharedtest.Machine }

func (e lateMessages) Listen(ctx context.Context, heard func([]byte)) error {
	return e.Machine.Listen(ctx, func(m []byte) { time.Sleep(time.Second); heard(m) })
}

// A machine that makes one more size of a picture, or of a failure that it remembers, before it hears of an Invalidate, removes it
// when it hears. Other machines do not do so once more.
func TestSharedEarlyValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		a, b := machine(t, engine.Machine(), l), machine(t, lateMessages{engine.Machine()}, l)
		synctest.Wait()
		if _, err := b.Get(t.Context(), "p", "a", 30); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		l.set("a", "1", blue) // in the same state
		if err := a.Invalidate("p", "a"); err != nil {
			t.Fatal(err)
		}
		check(t, b, "a", red) // which has not heard yet
		synctest.Wait()
		if values := engine.Values(); len(values) != 1 {
			t.Errorf("values: %q", values)
		}
		time.Sleep(5 * time.Second)
		if values := engine.Values(); len(values) != 0 {
			t.Errorf("values after the message: %q", values)
		}
		check(t, a, "a", blue)
		check(t, b, "a", blue)
		if n := engine.Calls("Remove"); n != 2 {
			t.Errorf("%d removals", n)
		}
	})
}

// A machine ignores its own messages.
func TestSharedOwnMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		c := machine(t, lateMessages{engine.Machine()}, l, func(cfg *thumbcache.Config) { cfg.Revalidate = time.Hour })
		time.Sleep(2 * time.Second)
		if err := c.Invalidate("p", "a"); err != nil {
			t.Fatal(err)
		}
		check(t, c, "a", red)
		time.Sleep(10 * time.Second)
		check(t, c, "a", red)
		if s := c.Stats(); s.MemoryHits != 1 || s.StaleServed != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Requests that are canceled say nothing about the engine.
func TestSharedCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		c := machine(t, engine.Machine(), l)
		synctest.Wait()
		engine.Slow(50 * time.Millisecond)
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			c.Get(ctx, "p", "a", 20)
			cancel()
			synctest.Wait()
		}
		if n := c.Stats().SharedErrors; n != 0 {
			t.Errorf("%d errors", n)
		}
	})
}

// noLeases is an engine that turns out to have no leases.
type noLeases struct{ *sharedtest.Machine }

func (noLeases) Lease(context.Context, string, string, time.Duration) (thumbcache.Lease, error) {
	return nil, errors.ErrUnsupported
}

func TestSharedUnsupportedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		a, b := machine(t, noLeases{engine.Machine()}, l), machine(t, noLeases{engine.Machine()}, l)
		check(t, a, "a", red)
		synctest.Wait()
		check(t, b, "a", red)
		if extractions(a, b) != 1 || a.Stats().SharedErrors != 0 {
			t.Errorf("%d extractions, %+v", extractions(a, b), a.Stats())
		}
	})
}

// Waiting for a lease takes neither a worker nor the time of the thumbnail. A failure of the holder is the answer for those that
// wait.
func TestSharedWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.setData("text", "1", []byte("no picture"))
		l.set("a", "1", red)
		l.open = func(_ context.Context, path string) error {
			if path == "text" {
				time.Sleep(5 * time.Second)
			}
			return nil
		}
		a := machine(t, engine.Machine(), l)
		b := machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) { cfg.Workers, cfg.Timeout = 1, time.Second })
		var wg sync.WaitGroup
		for _, c := range []*thumbcache.Cache{a, b} {
			wg.Go(func() {
				if _, err := c.Get(t.Context(), "p", "text", 20); !errors.Is(err, thumbcache.ErrUnsupported) {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		start := time.Now()
		check(t, b, "a", red)
		if took := time.Since(start); took > 0 {
			t.Errorf("another thumbnail took %v", took)
		}
		wg.Wait()
		if n := extractions(b); n != 1 {
			t.Errorf("%d extractions on the second machine, want 1", n)
		}
		gets := engine.Calls("Get")
		b.Get(t.Context(), "p", "text", 30)
		if n := engine.Calls("Get") - gets; n > 1 {
			t.Errorf("%d values read, want 1: the failure is in memory", n)
		}
	})
}

// hungStat is media whose state cannot be asked for.
type hungStat struct{ *fleetMedia }

func (hungStat) Stat(ctx context.Context, _ string) (thumbcache.Stamp, error) {
	<-ctx.Done()
	return thumbcache.Stamp{}, ctx.Err()
}

// A source that does not answer delays what another machine has made by a second.
func TestSharedHungSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		check(t, machine(t, engine.Machine(), l), "a", red)
		synctest.Wait()
		b := machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) { cfg.Providers["p"] = hungStat{l} })
		start := time.Now()
		check(t, b, "a", red)
		if took := time.Since(start); took != time.Second {
			t.Errorf("Get took %v", took)
		}
	})
}

// The value of another source is a miss.
func TestSharedForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("b", "1", blue)
		check(t, machine(t, engine.Machine(), l), "b", blue)
		synctest.Wait()
		source, variant, _ := strings.Cut(engine.Values()[0], "/")
		foreign, err := engine.Machine().Get(t.Context(), source, variant)
		if err != nil {
			t.Fatal(err)
		}
		l.set("a", "1", red)
		check(t, machine(t, engine.Machine(), l), "a", red)
		synctest.Wait()
		engine.Garble(func([]byte) []byte { return foreign })
		check(t, machine(t, engine.Machine(), l), "a", red)
	})
}

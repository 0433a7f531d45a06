package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"testing"

	"golang.org/x/sync/singleflight"

	"github.com/thumbcache/thumbcache/internal/flight"
)

// sharedGroup gives singleflight the guarantees of internal/flight: a caller may leave, work whose last caller has left is
// canceled, the next caller does not join it, and a panic or Goexit is an error for every caller.
type sharedGroup struct {
	group singleflight.Group
	mu    sync.Mutex // protects calls; a call and the key in group change together under it
	calls map[string]*sharedCall
}

type sharedCall struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	callers int
}

var (
	errAbandoned = errors.New("no caller waits any more")
	errGoexit    = errors.New("the function called runtime.Goexit")
)

func (g *sharedGroup) Do(ctx context.Context, key string, fn func(context.Context) (any, error)) (any, error) {
	g.mu.Lock()
	c := g.calls[key]
	if c == nil {
		c = &sharedCall{}
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
		if g.calls == nil {
			g.calls = make(map[string]*sharedCall)
		}
		g.calls[key] = c
	}
	c.callers++
	done := g.group.DoChan(key, func() (v any, err error) {
		defer func() { g.remove(key, c, nil) }()
		// DoChan turns a panic into a crash of the process, and after Goexit its callers wait forever. So the function has a goroutine
		// of its own.
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			err = errGoexit
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			v, err = fn(c.ctx)
		}()
		<-returned
		return v, err
	})
	g.mu.Unlock()
	select {
	case r := <-done:
		return r.Val, r.Err
	case <-ctx.Done():
		g.leave(key, c)
		return nil, ctx.Err()
	}
}

func (g *sharedGroup) leave(key string, c *sharedCall) {
	g.mu.Lock()
	c.callers--
	last := c.callers == 0
	g.mu.Unlock()
	if last {
		g.remove(key, c, errAbandoned)
	}
}

func (g *sharedGroup) remove(key string, c *sharedCall, cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[key] == c && (cause == nil || c.callers == 0) {
		delete(g.calls, key)
		g.group.Forget(key)
	}
	c.cancel(cause)
}

// BenchmarkFlight compares internal/flight with singleflight, which promises less, and with singleflight made to promise the
// same. Callers is how many want the same result at once.
func BenchmarkFlight(b *testing.B) {
	ctx := context.Background()
	for _, callers := range []int{1, 10, 100} {
		for _, way := range []struct {
			name string
			do   func() func(key string, work func())
		}{
			{"flight", func() func(string, func()) {
				var g flight.Group[string, int]
				return func(key string, work func()) {
					g.Do(ctx, key, func(*flight.Work) (int, error) { work(); return 1, nil })
				}
			}},
			{"singleflight made equal", func() func(string, func()) {
				var g sharedGroup
				return func(key string, work func()) {
					g.Do(ctx, key, func(context.Context) (any, error) { work(); return 1, nil })
				}
			}},
			{"singleflight.Do", func() func(string, func()) {
				var g singleflight.Group
				return func(key string, work func()) {
					g.Do(key, func() (any, error) { work(); return 1, nil })
				}
			}},
		} {
			b.Run(fmt.Sprintf("callers=%d/%s", callers, way.name), func(b *testing.B) {
				b.ReportAllocs()
				do := way.do()
				if callers == 1 {
					for b.Loop() {
						do("key", func() {})
					}
					return
				}
				for b.Loop() {
					var wg, waiting sync.WaitGroup
					waiting.Add(callers - 1)
					for i := range callers {
						wg.Go(func() {
							if i > 0 {
								waiting.Done()
							}
							do("key", waiting.Wait)
						})
					}
					wg.Wait()
				}
			})
		}
	}
}

// The comparison is fair only if the other group keeps the promises too.
func TestSharedGroup(t *testing.T) {
	var g sharedGroup
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	started := make(chan struct{})
	left := make(chan error)
	go func() {
		_, err := g.Do(ctx, "k", func(ctx context.Context) (any, error) {
			close(started)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, nil
		})
		left <- err
	}()
	<-started
	cancel()
	if err := <-left; err != context.Canceled {
		t.Errorf("the caller got %v", err)
	}
	if v, err := g.Do(t.Context(), "k", func(context.Context) (any, error) { return 2, nil }); v != 2 || err != nil {
		t.Errorf("the next caller got %v, %v", v, err)
	}
	if err := <-ended; err != errAbandoned {
		t.Errorf("cause: %v", err)
	}
	if _, err := g.Do(t.Context(), "k", func(context.Context) (any, error) { panic("p") }); err == nil {
		t.Error("a panic is no error")
	}
}

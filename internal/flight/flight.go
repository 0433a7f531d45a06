// Package flight merges concurrent calls for the same key: one goroutine does the work, and all callers share its result. Work that
// waits needs no goroutine, see [Group.Begin] and [Later].
//
// It differs from [golang.org/x/sync/singleflight] in who owns the work. There the first caller runs the function under its
// own context. Here the work belongs to all callers that wait for it. A caller whose context ends returns at once. When the
// last caller has left, the work is canceled, and the next caller starts it again. A panic becomes an error for every caller.
package flight

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// ErrAbandoned is the cause of a canceled [Work] whose last caller has left.
var ErrAbandoned = errors.New("flight: no caller waits for the work any more")

var (
	errGoexit   = errors.New("flight: the function called runtime.Goexit")
	errReturned = errors.New("flight: the function has returned") // the cause of work that was not canceled
)

// A PanicError is the error of a call whose function panicked. It wraps no other error, even if the function panicked with
// one: a panic value is not an answer.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Work is the context of a function that a [Group] runs. It ends when the last caller has left, when the limit has passed,
// when the group closes, and when End is called.
type Work struct {
	context.Context

	cancel context.CancelCauseFunc
	limit  time.Duration // 0: none

	mu    sync.Mutex  // protects waits, and the timer against a late Reset
	waits int         // calls of Waiting that are not done
	timer *time.Timer // nil until the function begins, and without a limit
}

// End cancels the work with err as its cause. Callers get err at once, even if the function hangs in a system call and does
// not return.
func (w *Work) End(err error) { w.cancel(err) }

// Waiting stops the clock of [Group.Limit] while the function waits for a shared resource, such as a turn. The limit starts
// over when done is called. Done may be called more than once.
func (w *Work) Waiting() (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits++
	if w.timer != nil {
		w.timer.Stop()
	}
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.waits--; w.waits == 0 && w.timer != nil && w.Err() == nil {
			w.timer.Reset(w.limit)
		}
	})
}

// begin starts the clock of the limit, unless it runs already.
func (w *Work) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit > 0 && w.timer == nil {
		w.timer = time.AfterFunc(w.limit, func() { w.End(context.DeadlineExceeded) })
	}
}

// finish releases the context and the timer when the function has returned. It returns the cause if the work has ended before.
func (w *Work) finish() (cause error) {
	w.cancel(errReturned)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	if cause = context.Cause(w); cause == errReturned {
		return nil
	}
	return cause
}

// idleKey is the context key of the channel that Idle returns.
type idleKey struct{}

// WithIdle returns a copy of ctx for a caller in no hurry, such as a job that runs in the background.
func WithIdle(ctx context.Context) context.Context {
	return context.WithValue(ctx, idleKey{}, make(chan struct{}))
}

// Idle returns a channel that is closed as soon as a caller in a hurry waits for the work that ctx belongs to. It returns
// nil if there is one already: work is idle only if all its callers used [WithIdle]. Work inherits this from work that waits
// for it.
func Idle(ctx context.Context) <-chan struct{} {
	hurry, _ := ctx.Value(idleKey{}).(chan struct{})
	select {
	case <-hurry:
		return nil
	default:
		return hurry
	}
}

// Later is the error of a function that has more to do after a wait. While it waits, the call is in progress without a
// goroutine: thousands of calls that wait for their turn take little memory. Group.Limit counts meanwhile, unless the function has
// called [Work.Waiting].
type Later[V any] struct {
	// Wait is called when the function has returned. It must arrange that resume is called once, at once or later, also if the work
	// ends first. Resume runs Then, and returns when Then has returned.
	Wait func(resume func())

	// Then returns the result of the call, or another Later.
	Then func(*Work) (V, error)
}

func (*Later[V]) Error() string { return "flight: there is more to do" }

// A Group runs at most one function at a time for each key. The zero value is ready to use. A Group must not be copied, and
// may be used from several goroutines at once.
type Group[K comparable, V any] struct {
	// Limit returns how long the work of a call may take. Then it ends with context.DeadlineExceeded. Zero, or a nil Limit, means no
	// limit. Limit must not change after the first call.
	Limit func(K) time.Duration

	// Begin, if not nil, decides when the function of a call begins, unless the call is idle, see [WithIdle]. It must arrange that
	// begin is called once, at once or later, also if the work ends first. Begin starts a goroutine, which calls end when the function
	// has returned, even if that was to wait. Begin must not call the Group, and must not change after the first call.
	Begin func(w *Work, begin func(end func()))

	mu      sync.Mutex
	calls   map[K]*call[V] // calls that callers may join; the work of all others has ended
	running int            // functions that have not returned
	closed  error          // why no call starts any more
	wg      sync.WaitGroup
}

type call[V any] struct {
	work    *Work
	callers int           // guarded by Group.mu
	hurry   chan struct{} // closed when a caller is in a hurry; nil if the first one was; guarded by Group.mu
	done    chan struct{} // closed when val and err are final
	val     V             // written before done is closed, read after
	err     error
}

// Do returns the result of fn for key. It runs fn in a new goroutine unless a call for key is in progress; joined reports
// which. If ctx ends first, Do returns its error at once. If fn panics or calls runtime.Goexit, Do returns an error.
func (g *Group[K, V]) Do(ctx context.Context, key K, fn func(*Work) (V, error)) (v V, joined bool, err error) {
	if ctx.Err() != nil {
		return v, false, ctx.Err()
	}
	idle := Idle(ctx)
	c, joined, err := g.join(key, fn, idle != nil)
	if err != nil {
		return v, false, err
	}
	for {
		select {
		case <-c.done:
			// The goroutine that finished the call has removed it.
			return c.val, joined, c.err
		case <-ctx.Done():
			g.leave(key, c)
			return v, joined, ctx.Err()
		case <-idle:
			g.hasten(c)
			idle = nil
		case <-c.work.Done():
			if err := context.Cause(c.work); err != errReturned {
				g.leave(key, c)
				return v, joined, err
			}
			<-c.done
		}
	}
}

// Start runs fn for key in the background unless a call for key is in progress. The call does not end when callers leave. Start
// reports whether it started fn.
func (g *Group[K, V]) Start(key K, fn func(*Work) (V, error)) bool {
	_, joined, err := g.join(key, fn, false) // and never leaves
	return err == nil && !joined
}

// Len returns the number of functions that are running.
func (g *Group[K, V]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running
}

// Close makes every later call fail with err. It gives calls in progress some time to finish, then ends them with err, and waits
// until all functions have returned.
func (g *Group[K, V]) Close(err error, grace time.Duration) {
	g.mu.Lock()
	if g.closed == nil {
		g.closed = err
	}
	g.mu.Unlock()
	end := time.AfterFunc(grace, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, c := range g.calls {
			c.work.End(g.closed)
		}
	})
	defer end.Stop()
	g.wg.Wait()
}

// join adds a caller to the call for key, and starts the call if there is none.
func (g *Group[K, V]) join(key K, fn func(*Work) (V, error), idle bool) (c *call[V], joined bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		return nil, false, g.closed
	}
	// A call may have ended although its callers have not all woken up yet. Such a call cannot be joined.
	if c = g.calls[key]; c != nil && c.work.Err() == nil {
		c.callers++
		if !idle {
			c.hastenLocked()
		}
		return c, true, nil
	}
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
	}
	c = &call[V]{callers: 1, done: make(chan struct{})}
	ctx := context.Background()
	if idle {
		c.hurry = make(chan struct{})
		ctx = context.WithValue(ctx, idleKey{}, c.hurry)
	}
	var limit time.Duration
	if g.Limit != nil {
		limit = g.Limit(key)
	}
	c.work = &Work{limit: limit}
	c.work.Context, c.work.cancel = context.WithCancelCause(ctx)
	g.calls[key] = c
	g.running++
	g.wg.Add(1)
	begin := func(end func()) { go g.run(key, c, fn, end) }
	if g.Begin == nil || idle {
		begin(func() {})
	} else {
		g.Begin(c.work, begin)
	}
	return c, false, nil
}

// hasten notes that a caller of c is in a hurry now.
func (g *Group[K, V]) hasten(c *call[V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.hastenLocked()
}

func (c *call[V]) hastenLocked() {
	if c.hurry != nil {
		close(c.hurry)
		c.hurry = nil
	}
}

// leave removes a caller. Removing the last one and closing the call to new ones is a single step under the lock.
func (g *Group[K, V]) leave(key K, c *call[V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.callers--; c.callers > 0 {
		return
	}
	g.removeLocked(key, c)
	c.work.End(ErrAbandoned)
}

// removeLocked removes c, unless a newer call has taken its key.
func (g *Group[K, V]) removeLocked(key K, c *call[V]) {
	if g.calls[key] == c {
		delete(g.calls, key)
	}
}

// run runs fn, which calls end when it has returned, and what it leaves for later.
func (g *Group[K, V]) run(key K, c *call[V], fn func(*Work) (V, error), end func()) {
	c.work.begin()
	if later := g.call(key, c, fn, end); later != nil {
		later.Wait(func() { g.run(key, c, later.Then, func() {}) })
	}
}

// call calls fn and then end. It finishes the call unless there is more to do.
func (g *Group[K, V]) call(key K, c *call[V], fn func(*Work) (V, error), end func()) (later *Later[V]) {
	defer end()
	c.err = errGoexit // unless fn returns
	defer func() {
		if p := recover(); p != nil {
			c.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		if later != nil {
			return
		}
		if cause := c.work.finish(); cause != nil {
			c.val, c.err = *new(V), cause // as callers that woke up earlier got it
		}
		g.mu.Lock()
		g.removeLocked(key, c)
		g.running--
		g.mu.Unlock()
		close(c.done)
		g.wg.Done()
	}()
	c.val, c.err = fn(c.work)
	later, _ = c.err.(*Later[V])
	return later
}

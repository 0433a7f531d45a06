// Package flight coalesces calls that want the same thing: one does the work, all of them share what it returns.
//
// It differs from [golang.org/x/sync/singleflight] in whose work it is. There the first caller runs the function, under
// its own context; here the call belongs to everybody who waits for it. A caller that gives up returns at once, and when
// the last one has, the context of the work is cancelled and the next caller starts afresh. A panic becomes an error.
package flight

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// ErrAbandoned is the cause of the context of a call whose last waiter has left.
var ErrAbandoned = errors.New("flight: nobody waits for it any more")

var errGoexit = errors.New("flight: the function ended its goroutine")

// A PanicError is what the waiters of a call get when its function panicked. It matches no other error, whatever the value
// is: what somebody panicked with is no answer.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// A Func does the work of a call. Its context ends when the last waiter has left, when the group closes, and when end is
// called: end releases the waiters with an error although the function has not returned yet, as it may have to when it
// hangs in a system call that nothing can interrupt.
type Func[V any] func(ctx context.Context, end context.CancelCauseFunc) (V, error)

// A Group is a set of calls, at most one under way for each key. The zero value is ready; it must not be copied, and may
// be used from several goroutines.
type Group[K comparable, V any] struct {
	mu      sync.Mutex
	calls   map[K]*call[V] // calls that a newcomer may join; the context of all others has ended
	running int            // functions that have not returned
	closed  error          // why no call starts any more
	wg      sync.WaitGroup
}

type call[V any] struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	waiters int           // guarded by Group.mu
	done    chan struct{} // closed when val and err are final
	val     V             // written before done is closed, read after
	err     error
}

// Do returns what fn returns for key, calling it in a goroutine of its own unless a call for key is under way; joined
// tells which. When ctx ends first, Do returns its error at once. A function that panics or ends its goroutine is an error.
func (g *Group[K, V]) Do(ctx context.Context, key K, fn Func[V]) (v V, joined bool, err error) {
	if ctx.Err() != nil {
		return v, false, ctx.Err()
	}
	c, joined, err := g.join(key, fn)
	if err != nil {
		return v, false, err
	}
	select {
	case <-c.done:
		// Nothing is left to do: whoever finished the call has removed it.
		return c.val, joined, c.err
	case <-ctx.Done():
		g.leave(key, c)
		return v, joined, ctx.Err()
	case <-c.ctx.Done():
	}
	// The context of a call that has returned is done too, and select chooses at random.
	select {
	case <-c.done:
		return c.val, joined, c.err
	default:
		g.leave(key, c)
		return v, joined, context.Cause(c.ctx)
	}
}

// Start calls fn for key unless such a call is under way, and does not wait for it. The call then ends only by itself or
// with the group. It reports whether fn was started.
func (g *Group[K, V]) Start(key K, fn Func[V]) bool {
	_, joined, err := g.join(key, fn) // and never leaves
	return err == nil && !joined
}

// Len returns how many functions are running.
func (g *Group[K, V]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running
}

// Close makes every call that is under way, and every later one, end with err, and waits until all functions have returned.
func (g *Group[K, V]) Close(err error) {
	g.mu.Lock()
	if g.closed == nil {
		g.closed = err
	}
	for _, c := range g.calls {
		c.cancel(g.closed)
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// join adds a waiter to the call for key, starting one where there is none.
func (g *Group[K, V]) join(key K, fn Func[V]) (c *call[V], joined bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		return nil, false, g.closed
	}
	// A call that was ended, but whose waiters have not all woken up yet, is nothing to join.
	if c = g.calls[key]; c != nil && c.ctx.Err() == nil {
		c.waiters++
		return c, true, nil
	}
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
	}
	c = &call[V]{waiters: 1, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	g.calls[key] = c
	g.running++
	g.wg.Go(func() { g.run(key, c, fn) })
	return c, false, nil
}

// leave takes a waiter away. That the last one leaves, and that nobody can join any more, is one step under the lock.
func (g *Group[K, V]) leave(key K, c *call[V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.waiters--; c.waiters > 0 {
		return
	}
	g.removeLocked(key, c)
	c.cancel(ErrAbandoned)
}

// removeLocked forgets c, but not a newer call for the same key.
func (g *Group[K, V]) removeLocked(key K, c *call[V]) {
	if g.calls[key] == c {
		delete(g.calls, key)
	}
}

func (g *Group[K, V]) run(key K, c *call[V], fn Func[V]) {
	c.err = errGoexit // unless fn comes back
	defer func() {
		if p := recover(); p != nil {
			c.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		g.mu.Lock()
		g.removeLocked(key, c)
		g.running--
		g.mu.Unlock()
		close(c.done)
		c.cancel(nil)
	}()
	c.val, c.err = fn(c.ctx, c.cancel)
	if err := c.ctx.Err(); err != nil && errors.Is(c.err, err) {
		c.err = context.Cause(c.ctx) // which is what those get who did not wait until now
	}
}

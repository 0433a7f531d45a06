package flight

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type group = Group[string, int]

// after returns a Func that takes d, or less if its context ends.
func after(d time.Duration, v int, calls *atomic.Int32) Func[int] {
	return func(ctx context.Context, _ context.CancelCauseFunc) (int, error) {
		calls.Add(1)
		select {
		case <-time.After(d):
			return v, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		var calls, joins atomic.Int32
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				v, joined, err := g.Do(t.Context(), "k", after(time.Second, 7, &calls))
				if v != 7 || err != nil {
					t.Errorf("%d, %v", v, err)
				}
				if joined {
					joins.Add(1)
				}
			})
		}
		wg.Go(func() { g.Do(t.Context(), "other", after(time.Second, 8, &calls)) })
		synctest.Wait()
		if g.Len() != 2 {
			t.Errorf("%d running", g.Len())
		}
		wg.Wait()
		if calls.Load() != 2 || joins.Load() != 999 {
			t.Errorf("%d calls, %d joined", calls.Load(), joins.Load())
		}
		synctest.Wait()
		if g.Len() != 0 || len(g.calls) != 0 {
			t.Errorf("%d running, %d kept", g.Len(), len(g.calls))
		}
	})
}

func TestLastWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		var calls atomic.Int32
		ended := make(chan error, 1)
		stubborn := func(ctx context.Context, _ context.CancelCauseFunc) (int, error) {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			time.Sleep(time.Second) // takes its time to go
			return 1, nil
		}
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithTimeout(t.Context(), time.Minute)
		defer cancelSecond()
		errs := make(chan error, 2)
		for _, ctx := range []context.Context{first, second} {
			go func() {
				_, _, err := g.Do(ctx, "k", stubborn)
				errs <- err
			}()
			synctest.Wait()
		}
		cancelFirst()
		if err := <-errs; err != context.Canceled {
			t.Errorf("the first to leave got %v", err)
		}
		synctest.Wait()
		if len(ended) != 0 {
			t.Fatal("the call ended with a waiter left")
		}
		if err := <-errs; err != context.DeadlineExceeded {
			t.Errorf("the last to leave got %v", err)
		}
		if err := <-ended; err != ErrAbandoned {
			t.Errorf("cause: %v", err)
		}
		// The abandoned one is still running; a newcomer does not get its result.
		if v, joined, err := g.Do(t.Context(), "k", after(0, 9, &calls)); v != 9 || joined || err != nil {
			t.Errorf("a newcomer got %d, %v, %v", v, joined, err)
		}
		g.Close(ErrAbandoned)
	})
}

func TestContextIsOver(t *testing.T) {
	var g group
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := g.Do(ctx, "k", func(context.Context, context.CancelCauseFunc) (int, error) {
		t.Error("called")
		return 0, nil
	})
	if err != context.Canceled {
		t.Error(err)
	}
}

// end releases the waiters although the function hangs, and the next caller does not join it.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		var calls atomic.Int32
		late := errors.New("too late")
		free := make(chan struct{})
		hang := func(_ context.Context, end context.CancelCauseFunc) (int, error) {
			time.AfterFunc(time.Second, func() { end(late) })
			<-free
			return 1, nil
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, _, err := g.Do(t.Context(), "k", hang); err != late {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if v, joined, err := g.Do(t.Context(), "k", after(0, 2, &calls)); v != 2 || joined || err != nil {
			t.Errorf("got %d, %v, %v", v, joined, err)
		}
		close(free)
	})
}

func TestPanicAndGoexit(t *testing.T) {
	var g group
	cause := errors.New("cause")
	_, _, err := g.Do(t.Context(), "k", func(context.Context, context.CancelCauseFunc) (int, error) { panic(cause) })
	var pe *PanicError
	if !errors.As(err, &pe) || pe.Value != cause || errors.Is(err, cause) || !strings.Contains(string(pe.Stack), "TestPanicAndGoexit") {
		t.Errorf("got %v", err)
	}
	_, _, err = g.Do(t.Context(), "k", func(context.Context, context.CancelCauseFunc) (int, error) { runtime.Goexit(); return 0, nil })
	if err != errGoexit {
		t.Errorf("got %v", err)
	}
	if g.Len() != 0 {
		t.Error("still running")
	}
}

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		var calls atomic.Int32
		if !g.Start("k", after(time.Minute, 5, &calls)) || g.Start("k", after(time.Minute, 5, &calls)) {
			t.Error("started once and only once: no")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, joined, err := g.Do(ctx, "k", nil); !joined || err != context.DeadlineExceeded {
			t.Errorf("joined %v, %v", joined, err)
		}
		// Nobody waits, and yet it goes on.
		if v, joined, err := g.Do(t.Context(), "k", nil); !joined || v != 5 || err != nil || calls.Load() != 1 {
			t.Errorf("got %d, %v, %v", v, joined, err)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		var calls atomic.Int32
		closed := errors.New("closed")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, _, err := g.Do(t.Context(), "k", after(time.Hour, 1, &calls)); err != closed {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		g.Start("other", after(time.Hour, 1, &calls))
		g.Close(closed)
		if g.Len() != 0 {
			t.Error("Close did not wait")
		}
		wg.Wait()
		g.Close(errors.New("another"))
		if _, _, err := g.Do(t.Context(), "k", nil); err != closed {
			t.Errorf("after Close: %v", err)
		}
		if g.Start("k", nil) {
			t.Error("started after Close")
		}
	})
}

// Everybody joins, leaves and is cancelled at random; run it with -race.
func TestChurn(t *testing.T) {
	var g Group[int, int]
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				key := i % 3
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(w*i%50)*time.Microsecond)
				v, _, err := g.Do(ctx, key, func(ctx context.Context, _ context.CancelCauseFunc) (int, error) {
					select {
					case <-ctx.Done():
						return -1, ctx.Err()
					case <-time.After(20 * time.Microsecond):
						return key, nil
					}
				})
				if err == nil && v != key || err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Errorf("got %d, %v", v, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	g.Close(ErrAbandoned)
	if g.Len() != 0 || len(g.calls) != 0 {
		t.Errorf("%d running, %d kept", g.Len(), len(g.calls))
	}
}

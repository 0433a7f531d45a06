package flight

import (
	"cmp"
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

// limit returns a Group.Limit that is the same for all keys.
func limit[K comparable](d time.Duration) func(K) time.Duration {
	return func(K) time.Duration { return d }
}

// after returns a function that takes d, or less if its work ends.
func after(d time.Duration, v int, calls *atomic.Int32) func(*Work) (int, error) {
	return func(w *Work) (int, error) {
		calls.Add(1)
		select {
		case <-time.After(d):
			return v, nil
		case <-w.Done():
			return 0, context.Cause(w)
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

func TestLastCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		var calls atomic.Int32
		ended := make(chan error, 1)
		stubborn := func(w *Work) (int, error) {
			<-w.Done()
			ended <- context.Cause(w)
			time.Sleep(time.Second) // takes its time to return
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
			t.Fatal("the work ended although a caller waits for it")
		}
		if err := <-errs; err != context.DeadlineExceeded {
			t.Errorf("the last to leave got %v", err)
		}
		if err := <-ended; err != ErrAbandoned {
			t.Errorf("cause: %v", err)
		}
		// The abandoned function is still running; the next caller does not get its result.
		if v, joined, err := g.Do(t.Context(), "k", after(0, 9, &calls)); v != 9 || joined || err != nil {
			t.Errorf("the next caller got %d, %v, %v", v, joined, err)
		}
		g.Close(ErrAbandoned, 0)
	})
}

func TestContextIsOver(t *testing.T) {
	var g group
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := g.Do(ctx, "k", func(*Work) (int, error) {
		t.Error("called")
		return 0, nil
	})
	if err != context.Canceled {
		t.Error(err)
	}
}

// End and Limit release the callers although the function hangs, and the next caller does not join it.
func TestEndAndLimit(t *testing.T) {
	late := errors.New("too late")
	for name, tt := range map[string]struct {
		limit time.Duration
		start func(*Work)
		want  error
	}{
		"end":       {0, func(w *Work) { time.AfterFunc(time.Second, func() { w.End(late) }) }, late},
		"limit":     {time.Second, func(*Work) {}, context.DeadlineExceeded},
		"end first": {time.Second, func(w *Work) { w.End(late) }, late},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := group{Limit: limit[string](tt.limit)}
			var calls atomic.Int32
			free := make(chan struct{})
			hang := func(w *Work) (int, error) {
				tt.start(w)
				<-free
				return 1, nil
			}
			begin := time.Now()
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if _, _, err := g.Do(t.Context(), "k", hang); err != tt.want {
						t.Errorf("%s: got %v", name, err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(begin); took > time.Second {
				t.Errorf("%s: took %v", name, took)
			}
			if v, joined, err := g.Do(t.Context(), "k", after(0, 2, &calls)); v != 2 || joined || err != nil {
				t.Errorf("%s: the next caller got %d, %v, %v", name, v, joined, err)
			}
			close(free)
		})
	}
}

// Each key has its own limit, and a key without one is not limited.
func TestLimitOfKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group{Limit: func(key string) time.Duration {
			return map[string]time.Duration{"short": time.Second, "long": time.Minute}[key]
		}}
		for key, want := range map[string]error{"short": context.DeadlineExceeded, "long": context.DeadlineExceeded, "none": nil} {
			start := time.Now()
			var calls atomic.Int32
			_, _, err := g.Do(t.Context(), key, after(time.Hour, 1, &calls))
			if err != want {
				t.Errorf("%s: %v", key, err)
			}
			if took := time.Since(start); took != cmp.Or(g.Limit(key), time.Hour) {
				t.Errorf("%s: took %v", key, took)
			}
		}
	})
}

// While work waits for something shared, its limit does not count. Afterwards it starts over.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group{Limit: limit[string](time.Minute)}
		var late func()
		start := time.Now()
		_, _, err := g.Do(t.Context(), "k", func(w *Work) (int, error) {
			time.Sleep(50 * time.Second)
			outer := w.Waiting()
			inner := w.Waiting()
			time.Sleep(time.Hour)
			inner()
			inner() // has no effect
			time.Sleep(time.Hour)
			outer()
			time.Sleep(50 * time.Second)
			if w.Err() != nil {
				t.Error("the wait was counted")
			}
			late = w.Waiting()
			late()
			<-w.Done()
			return 0, w.Err()
		})
		if took := time.Since(start); err != context.DeadlineExceeded || took != 2*time.Hour+50*time.Second+50*time.Second+time.Minute {
			t.Errorf("%v after %v", err, took)
		}

		// A wait that ends after the work leaves no timer running.
		var w *Work
		if _, _, err := g.Do(t.Context(), "k", func(work *Work) (int, error) {
			w, late = work, work.Waiting()
			return 0, nil
		}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		late()
		if w.timer.Stop() {
			t.Error("the timer was running")
		}

		// Without a limit there is nothing to stop.
		g = group{}
		if _, _, err := g.Do(t.Context(), "k", func(w *Work) (int, error) {
			w.Waiting()()
			time.Sleep(time.Hour)
			return 0, w.Err()
		}); err != nil {
			t.Error(err)
		}
	})
}

// Work is idle until a caller in a hurry joins it, and so is work that it waits for.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var outer, inner group
		finish := make(chan struct{})
		var works [2]*Work // of outer and inner
		var wg sync.WaitGroup
		do := func(ctx context.Context) {
			wg.Go(func() {
				_, _, err := outer.Do(ctx, "k", func(w *Work) (int, error) {
					works[0] = w
					v, _, err := inner.Do(w, "k", func(w *Work) (int, error) {
						works[1] = w
						<-finish
						return 1, nil
					})
					return v, err
				})
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		check := func(idle bool) {
			t.Helper()
			for i, w := range works {
				if (Idle(w) != nil) != idle {
					t.Errorf("work %d is idle: %v", i, !idle)
				}
			}
		}
		do(WithIdle(t.Context()))
		do(WithIdle(t.Context()))
		check(true)
		promoted := Idle(works[1])
		do(t.Context())
		check(false)
		<-promoted
		do(t.Context())
		do(WithIdle(t.Context()))
		check(false)
		finish <- struct{}{}
		wg.Wait()

		do(t.Context()) // in a hurry from the start
		check(false)
		finish <- struct{}{}
		wg.Wait()
		if Idle(t.Context()) != nil {
			t.Error("an ordinary context is idle")
		}
	})
}

func TestPanicAndGoexit(t *testing.T) {
	var g group
	cause := errors.New("cause")
	_, _, err := g.Do(t.Context(), "k", func(*Work) (int, error) { panic(cause) })
	var pe *PanicError
	if !errors.As(err, &pe) || pe.Value != cause || errors.Is(err, cause) || !strings.Contains(string(pe.Stack), "TestPanicAndGoexit") {
		t.Errorf("got %v", err)
	}
	_, _, err = g.Do(t.Context(), "k", func(*Work) (int, error) { runtime.Goexit(); return 0, nil })
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
			t.Error("not started exactly once")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, joined, err := g.Do(ctx, "k", nil); !joined || err != context.DeadlineExceeded {
			t.Errorf("joined %v, %v", joined, err)
		}
		// The work goes on without a caller.
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
		g.Close(closed, 0)
		if g.Len() != 0 {
			t.Error("Close did not wait")
		}
		wg.Wait()
		g.Close(errors.New("another"), 0)
		if _, _, err := g.Do(t.Context(), "k", nil); err != closed {
			t.Errorf("after Close: %v", err)
		}
		if g.Start("k", nil) {
			t.Error("started after Close")
		}
	})
}

func TestCloseGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[time.Duration, int]
		var calls atomic.Int32
		var wg sync.WaitGroup
		for _, d := range []time.Duration{time.Second, time.Hour} {
			wg.Go(func() {
				if _, _, err := g.Do(t.Context(), d, after(d, 1, &calls)); (err == nil) != (d == time.Second) {
					t.Errorf("%v: %v", d, err)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		go func() {
			time.Sleep(time.Second / 2)
			if _, _, err := g.Do(t.Context(), 0, nil); err != ErrAbandoned {
				t.Errorf("a call while the group closes: %v", err)
			}
		}()
		g.Close(ErrAbandoned, time.Minute)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %v", took)
		}
		wg.Wait()
	})
}

// All callers get the same answer, also if the function returns in the moment in which its time is over.
func TestReturnAtLimit(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			g := group{Limit: limit[string](time.Second)}
			var calls atomic.Int32
			var answers [10]error
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() { _, _, answers[i] = g.Do(t.Context(), "k", after(time.Second, 1, &calls)) })
			}
			wg.Wait()
			for _, err := range answers {
				if err != answers[0] || err != nil && err != context.DeadlineExceeded {
					t.Fatalf("answers: %v", answers)
				}
			}
		})
	}
}

// Callers join, leave and are canceled at random. Run it with -race.
func TestChurn(t *testing.T) {
	g := Group[int, int]{Limit: limit[int](100 * time.Microsecond)}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				key := i % 3
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(w*i%50)*time.Microsecond)
				if w%2 == 0 {
					ctx = WithIdle(ctx)
				}
				v, _, err := g.Do(ctx, key, func(w *Work) (int, error) {
					defer w.Waiting()()
					select {
					case <-w.Done():
						return -1, w.Err()
					case <-Idle(w):
						return key, nil
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
	g.Close(ErrAbandoned, 0)
	if g.Len() != 0 || len(g.calls) != 0 {
		t.Errorf("%d running, %d kept", g.Len(), len(g.calls))
	}
}

// While a function waits, its call is in progress without a goroutine. What it does later counts as the rest of the call.
func TestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := group{Limit: limit[string](time.Minute)}
		var resume func()
		steps := func(w *Work) (int, error) {
			done := w.Waiting()
			return 0, &Later[int]{
				Wait: func(r func()) { resume = r },
				Then: func(w *Work) (int, error) {
					done()
					time.Sleep(50 * time.Second)
					return 0, &Later[int]{
						Wait: func(resume func()) { resume() },
						Then: func(w *Work) (int, error) { return 7, w.Err() },
					}
				},
			}
		}
		var wg sync.WaitGroup
		before := runtime.NumGoroutine()
		for range 3 {
			wg.Go(func() {
				if v, _, err := g.Do(t.Context(), "k", steps); v != 7 || err != nil {
					t.Errorf("%d, %v", v, err)
				}
			})
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n != 3 || g.Len() != 1 {
			t.Errorf("%d goroutines for 3 callers, %d calls in progress", n, g.Len())
		}
		time.Sleep(time.Hour) // does not count
		go resume()
		wg.Wait()
		if g.Len() != 0 {
			t.Errorf("%d calls in progress", g.Len())
		}
	})
}

// A call that waits ends when its callers have left and when the group closes. What it does later gets to know, and a panic
// in it is an error.
func TestLaterEnds(t *testing.T) {
	closed := errors.New("closed")
	for name, tt := range map[string]struct {
		end  func(g *group, leave func())
		want error // of the callers
	}{
		"the last caller leaves": {func(_ *group, leave func()) { leave() }, context.Canceled},
		"the group closes":       {func(g *group, _ func()) { g.Close(closed, 0) }, closed},
		"the limit passes":       {func(*group, func()) { time.Sleep(time.Minute) }, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := group{Limit: limit[string](time.Minute)}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			var ended error
			got := make(chan error, 1)
			go func() {
				_, _, err := g.Do(ctx, "k", func(w *Work) (int, error) {
					return 0, &Later[int]{
						Wait: func(resume func()) { context.AfterFunc(w, resume) },
						Then: func(w *Work) (int, error) {
							ended = w.Err()
							time.Sleep(time.Second) // the callers do not wait for this
							panic("late")
						},
					}
				})
				got <- err
			}()
			synctest.Wait()
			tt.end(&g, leave)
			if err := <-got; err != tt.want {
				t.Errorf("%s: got %v", name, err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if ended == nil || g.Len() != 0 {
				t.Errorf("%s: the rest got %v, %d calls in progress", name, ended, g.Len())
			}
		})
	}
}

// Begin decides when calls begin. It is told when their functions have returned, whatever they do later, and however they end.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // protects the following
		var waiting []func(end func())
		ends := 0
		g := group{Begin: func(_ *Work, begin func(end func())) {
			mu.Lock()
			defer mu.Unlock()
			waiting = append(waiting, begin)
		}}
		resumes := make(chan func(), 1)
		results := make(chan error, 10)
		for key, fn := range map[string]func(*Work) (int, error){
			"returns": func(*Work) (int, error) { return 1, nil },
			"panics":  func(*Work) (int, error) { panic("no") },
			"exits":   func(*Work) (int, error) { runtime.Goexit(); return 0, nil },
			"waits": func(*Work) (int, error) {
				return 0, &Later[int]{
					Wait: func(resume func()) { resumes <- resume },
					Then: func(*Work) (int, error) { return 1, nil },
				}
			},
		} {
			go func() {
				_, _, err := g.Do(t.Context(), key, fn)
				results <- err
			}()
		}
		idle := func() {
			if _, _, err := g.Do(WithIdle(t.Context()), "idle", func(*Work) (int, error) { return 1, nil }); err != nil {
				t.Error(err)
			}
		}
		idle() // begins at once
		synctest.Wait()
		if len(waiting) != 4 || g.Len() != 4 || len(results) != 0 {
			t.Fatalf("%d calls were about to begin, %d are in progress, %d have ended", len(waiting), g.Len(), len(results))
		}
		for _, begin := range waiting {
			begin(func() {
				mu.Lock()
				defer mu.Unlock()
				ends++
			})
		}
		synctest.Wait()
		if ends != 4 || g.Len() != 1 || len(results) != 3 {
			t.Errorf("%d functions have returned, %d calls are in progress, %d have ended", ends, g.Len(), len(results))
		}
		(<-resumes)()
		synctest.Wait()
		if ends != 4 || g.Len() != 0 || len(results) != 4 {
			t.Errorf("%d functions have returned, %d calls are in progress, %d have ended", ends, g.Len(), len(results))
		}
	})
}

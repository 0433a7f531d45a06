package turns

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// checkEmpty fails unless nothing is left in q.
func checkEmpty(t *testing.T, q *Queue) {
	t.Helper()
	synctest.Wait()
	if q.taken != 0 || len(q.takenBy) != 0 || q.waiters.Len() != 0 || len(q.waitFor) != 0 || q.urgent != 0 || q.idle != nil {
		t.Errorf("left: %d slots taken by %v, %d waiters of %v, %d urgent", q.taken, q.takenBy, q.waiters.Len(), q.waitFor, q.urgent)
	}
}

func acquire(t *testing.T, q *Queue, idle <-chan struct{}, groups ...string) (release func()) {
	t.Helper()
	release, err := q.Acquire(t.Context(), idle, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func TestOrderOfArrival(t *testing.T) {
	for _, groups := range [][][]string{
		{nil, nil, nil, nil, nil}, {{"a"}, {"a"}, {"a"}, {"a"}, {"a"}}, {{"a"}, nil, {"b"}, nil, {"c"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			q := New(1, -1)
			release := acquire(t, q, nil)
			var got []int
			for i, groups := range groups {
				go func() {
					release := acquire(t, q, nil, groups...)
					got = append(got, i) // one at a time
					release()
				}()
				synctest.Wait()
			}
			if n := q.Waiting(); n != 5 {
				t.Errorf("%d are waiting", n)
			}
			release()
			release() // has no effect
			synctest.Wait()
			if !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
				t.Errorf("%q: got %v", groups, got)
			}
			checkEmpty(t, q)
		})
	}
}

// A group takes all slots except one, but at least one. Callers without a group may take all.
func TestGroupLeavesSlot(t *testing.T) {
	for _, tt := range []struct{ slots, share int }{{1, 1}, {2, 1}, {4, 3}} {
		synctest.Test(t, func(t *testing.T) {
			q := New(tt.slots, -1)
			var mu sync.Mutex // protects running
			running := make(map[string]int)
			count := func(name string) int {
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				return running[name]
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			start := func(ctx context.Context, name string, groups ...string) {
				for range 10 {
					go func() {
						release, err := q.Acquire(ctx, nil, groups...)
						if err != nil {
							if !errors.Is(err, context.Canceled) {
								t.Errorf("got %v", err)
							}
							return
						}
						defer release()
						mu.Lock()
						running[name]++
						mu.Unlock()
						<-done
					}()
				}
			}
			start(ctx, "slow", "slow")
			if n := count("slow"); n != tt.share {
				t.Errorf("a group has %d of %d slots", n, tt.slots)
			}
			start(t.Context(), "")
			if n := count(""); n != tt.slots-tt.share {
				t.Errorf("%d of %d slots are left", n, tt.slots)
			}
			cancel() // the waiters of the group leave
			synctest.Wait()
			close(done)
			if n := count(""); n != 10 {
				t.Errorf("%d of 10 had a slot", n)
			}
			if n := count("slow"); n != tt.share {
				t.Errorf("%d had a slot after they were canceled", n-tt.share)
			}
			checkEmpty(t, q)
		})
	}
}

// Waiters of a slow group take no share of another group that they are members of.
func TestNestedGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(2, -1)
		for _, groups := range [][]string{{"slow"}, {"slow", "other"}, {"slow", "other"}} {
			go func() {
				if release, err := q.Acquire(t.Context(), nil, groups...); err == nil {
					<-t.Context().Done()
					release()
				}
			}()
			synctest.Wait()
		}
		for _, groups := range [][]string{{"quick"}, nil, {"quick", "other"}} {
			acquire(t, q, nil, groups...)() // the bubble fails if this blocks
		}
	})
}

func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(1, 4)
		release := acquire(t, q, nil, "a")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wait := func(groups ...string) {
			wg.Go(func() {
				if release, err := q.Acquire(ctx, nil, groups...); err == nil {
					release()
				}
			})
			synctest.Wait()
		}
		wait("a")
		wait("a")
		wait("a")
		if _, err := q.Acquire(t.Context(), nil, "a"); err != ErrFull {
			t.Errorf("a fourth waiter of a group got %v", err)
		}
		wait("b")
		for _, groups := range [][]string{nil, {"c"}} {
			if _, err := q.Acquire(t.Context(), nil, groups...); err != ErrFull {
				t.Errorf("a fifth waiter got %v", err)
			}
		}
		cancel()
		wg.Wait()
		release()
		acquire(t, q, nil, "a")()
		checkEmpty(t, q)

		q = New(1, 0)
		release = acquire(t, q, nil)
		if _, err := q.Acquire(t.Context(), nil); err != ErrFull {
			t.Errorf("got %v where none may wait", err)
		}
		release()
	})
}

func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(1, -1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		release := acquire(t, q, nil)
		if _, err := q.Acquire(ctx, nil, "a"); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		release()
		if _, err := q.Acquire(ctx, nil, "a"); err != context.DeadlineExceeded {
			t.Errorf("a free slot was given to a caller that is gone: %v", err)
		}
		checkEmpty(t, q)
	})
}

// Idle work leaves a slot to requests, until a request waits for it: then it waits for a slot as that request would.
func TestIdleWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(2, -1)
		hurry := make(chan struct{})
		first := acquire(t, q, make(chan struct{}))
		got := make(chan func(), 1)
		go func() { got <- acquire(t, q, hurry, "a") }()
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("idle work took the last slot")
		}
		close(hurry)
		synctest.Wait()
		select {
		case release := <-got:
			release()
		default:
			t.Fatal("the work still waits although it is urgent now")
		}
		first()

		// Work that is urgent by now, but has no free slot, keeps its place.
		holders := []func(){acquire(t, q, nil), acquire(t, q, nil)}
		hurry = make(chan struct{})
		var order []string
		for _, w := range []struct {
			name string
			idle <-chan struct{}
		}{{"idle", make(chan struct{})}, {"promoted", hurry}, {"request", nil}} {
			go func() {
				release := acquire(t, q, w.idle)
				order = append(order, w.name) // one at a time
				release()
			}()
			synctest.Wait()
		}
		close(hurry)
		synctest.Wait()
		holders[0]()
		synctest.Wait()
		if !slices.Equal(order, []string{"idle", "promoted", "request"}) {
			t.Errorf("order: %q", order)
		}
		holders[1]()
		checkEmpty(t, q)
	})
}

func TestAwaitIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(1, -1)
		if err := q.AwaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, second := q.Urgent(), q.Urgent()
		var done bool
		go func() { done = q.AwaitIdle(t.Context()) == nil }()
		first()
		synctest.Wait()
		if done {
			t.Error("a request is still in progress")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := q.AwaitIdle(ctx); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		second()
		synctest.Wait()
		next := q.Urgent()
		time.Sleep(time.Second)
		synctest.Wait()
		if done {
			t.Error("the next request came at once")
		}
		next()
		time.Sleep(time.Second)
		synctest.Wait()
		if !done {
			t.Error("no request is in progress")
		}
		if err := q.AwaitIdle(ctx); err != context.DeadlineExceeded {
			t.Errorf("with a context that has ended: %v", err)
		}
		checkEmpty(t, q)
	})
}

// Callers of all kinds come, wait, leave and are canceled. Run it with -race.
func TestChurn(t *testing.T) {
	const slots = 3
	q := New(slots, 8)
	var mu sync.Mutex // protects running
	var running int
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 300 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%40)*10*time.Microsecond)
				var idle chan struct{}
				if w%3 == 0 {
					idle = make(chan struct{})
					time.AfterFunc(time.Duration(i%20)*10*time.Microsecond, func() { close(idle) })
				}
				release, err := q.Acquire(ctx, idle, []string{"a", "b", "c"}[:w%4]...)
				if err == nil {
					mu.Lock()
					if running++; running > slots {
						t.Errorf("%d work at once", running)
					}
					mu.Unlock()
					done := q.Urgent()
					mu.Lock()
					running--
					mu.Unlock()
					done()
					release()
				} else if err != ErrFull && err != context.DeadlineExceeded {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if q.taken != 0 || len(q.takenBy) != 0 || q.waiters.Len() != 0 || len(q.waitFor) != 0 || q.urgent != 0 {
		t.Errorf("left: %d slots taken by %v, %d waiters of %v", q.taken, q.takenBy, q.waiters.Len(), q.waitFor)
	}
}

// Go calls its function as soon as there is a slot, in order of arrival, and no goroutine waits for that.
func TestGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(1, 4)
		ctx, cancel := context.WithCancel(t.Context())
		var order []string
		var first func()
		q.Go(ctx, func(release func(), err error) {
			if err != nil {
				t.Error(err)
			}
			first = release
		})
		if first == nil {
			t.Fatal("the free slot was not given at once")
		}
		wait := func(ctx context.Context, name string) {
			q.Go(ctx, func(release func(), err error) {
				if err != nil {
					name += ": " + err.Error()
				} else {
					defer release()
				}
				order = append(order, name) // one at a time
			}, "a")
		}
		wait(t.Context(), "first")
		wait(ctx, "second")
		wait(t.Context(), "third")
		wait(t.Context(), "fourth") // at most 3/4 of the places are for one group
		cancel()
		synctest.Wait()
		wait(ctx, "fifth")
		first()
		synctest.Wait()
		want := []string{"fourth: " + ErrFull.Error(), "second: context canceled", "fifth: context canceled", "first", "third"}
		if !slices.Equal(order, want) {
			t.Errorf("got %q", order)
		}
		checkEmpty(t, q)
	})
}

// A context that ends while its caller is given a slot leads to one call.
func TestGoAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			q := New(1, -1)
			ctx, cancel := context.WithCancel(t.Context())
			holder := acquire(t, q, nil)
			calls := make(chan error, 2)
			q.Go(ctx, func(release func(), err error) {
				if err == nil {
					release()
				}
				calls <- err
			})
			go cancel()
			go holder()
			synctest.Wait()
			if err := <-calls; err != nil && err != context.Canceled || len(calls) != 0 {
				t.Errorf("%v, and %d more calls", err, len(calls))
			}
			checkEmpty(t, q)
		}
	})
}

// IsFull says beforehand what Acquire would return.
func TestIsFull(t *testing.T) {
	t.Parallel()
	q := New(2, 4)
	check := func(want bool, groups ...string) {
		t.Helper()
		if got := q.IsFull(groups...); got != want {
			t.Errorf("full for %q: %v, want %v", groups, got, want)
		}
	}
	check(false, "a")
	release, err := q.Acquire(t.Context(), nil, "a")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		q.Go(t.Context(), func(func(), error) {}, "a")
	}
	check(true, "a") // it has three quarters of the room
	check(false, "b")
	q.Go(t.Context(), func(func(), error) {}, "b") // gets the other slot
	check(false, "b")
	q.Go(t.Context(), func(func(), error) {}, "b")
	check(true, "b")
	release()
	check(false, "b")

	none := New(1, 0)
	if none.IsFull() {
		t.Error("full with a free slot")
	}
	none.Go(t.Context(), func(func(), error) {})
	if !none.IsFull() {
		t.Error("not full without a slot")
	}
}

// How long one waiter takes to leave must not depend on how many others wait: clients leave in thousands.
func BenchmarkLeave(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			q := New(1, -1)
			if !q.admitLocked(&waiter{}) {
				b.Fatal("no slot")
			}
			for b.Loop() {
				waiters := make([]*waiter, n)
				for i := range waiters {
					waiters[i] = &waiter{}
					q.enqueueLocked(waiters[i])
				}
				for _, i := range rand.Perm(n) {
					q.leave(waiters[i])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/waiter")
		})
	}
}

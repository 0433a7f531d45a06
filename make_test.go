package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestStorm(t *testing.T) {
	s := newTestProvider()
	for i := range 10 {
		s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
	}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() { tryGet(t, c, fmt.Sprint(i%10), 16) })
	}
	wg.Wait()
	st := c.Stats()
	if st.Extractions != 10 || st.Misses != 10 {
		t.Errorf("stats: %+v", st)
	}
	if sum := st.MemoryHits + st.DiskHits + st.Misses + st.Coalesced; sum != 1000 {
		t.Errorf("%d answers to 1000 requests: %+v", sum, st)
	}
	s.set("fresh", tag("1"), plain(1500, 1500, blue))
	for _, size := range []int{64, 300, 1200} {
		wg.Go(func() { tryGet(t, c, "fresh", size) })
	}
	wg.Wait()
	if st := c.Stats(); st.Extractions != 11 {
		t.Errorf("three sizes at once: %d extractions", st.Extractions-10)
	}
}

func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestProvider()
		s.set("a", tag("1"), plain(30, 30, red))
		e, gate, inside := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: e})
		results := make(chan error, 100)
		first, leave := context.WithCancel(t.Context())
		get := func(ctx context.Context) {
			_, err := c.Get(ctx, "p", "a", 10)
			results <- err
		}
		go get(first)
		synctest.Wait()
		others, leaveAll := context.WithCancel(t.Context())
		for range 3 {
			go get(others)
		}
		synctest.Wait()

		leave()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("the one who left got %v", err)
		}
		synctest.Wait()
		if inside.Load() != 1 {
			t.Fatal("work ended although others wait")
		}

		leaveAll()
		for range 3 {
			<-results
		}
		synctest.Wait()
		if inside.Load() != 0 {
			t.Fatal("work goes on although nobody waits")
		}
		if st := c.Stats(); st.Abandoned != 1 || st.InFlight != 0 || st.Failures != 0 || st.Coalesced != 3 {
			t.Errorf("stats: %+v", st)
		}

		go get(t.Context())
		synctest.Wait()
		close(gate)
		if err := <-results; err != nil {
			t.Errorf("a newcomer got %v", err)
		}
	})
}

func TestLeavingTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestProvider()
		for _, path := range []string{"a", "b", "c"} {
			s.set(path, tag("1"), plain(30, 30, red))
		}
		e, gate, inside := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: e, Workers: 1, Queue: 1})
		results := make(chan error, 3)
		get := func(ctx context.Context, path string) {
			_, err := c.Get(ctx, "p", path, 10)
			results <- err
		}
		go get(t.Context(), "a")
		synctest.Wait()
		queued, leave := context.WithCancel(t.Context())
		go get(queued, "b")
		synctest.Wait()
		if _, err := c.Get(t.Context(), "p", "c", 10); !errors.Is(err, ErrBusy) {
			t.Errorf("beyond the queue: %v", err)
		}
		leave()
		<-results
		synctest.Wait()
		go get(t.Context(), "c")
		synctest.Wait()
		if n := inside.Load(); n != 1 {
			t.Errorf("%d at work, want 1", n)
		}
		close(gate)
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if st := c.Stats(); st.Extractions != 2 {
			t.Errorf("%d extractions: queued work was not dropped", st.Extractions)
		}
	})
}

func TestMisbehavior(t *testing.T) {
	s := newTestProvider()
	s.set("a", tag("1"), plain(30, 30, red))
	for name, extract := range map[string]ExtractorFunc{
		"panic":       func(context.Context, *Source) (*Picture, error) { panic("oh") },
		"panic error": func(context.Context, *Source) (*Picture, error) { panic(fs.ErrNotExist) },
		"goexit":      func(context.Context, *Source) (*Picture, error) { runtime.Goexit(); return nil, nil },
		"nothing":     func(context.Context, *Source) (*Picture, error) { return nil, nil },
		"empty":       func(context.Context, *Source) (*Picture, error) { return &Picture{}, nil },
		"not exist":   func(context.Context, *Source) (*Picture, error) { return nil, os.ErrNotExist },
		"invalid":     func(context.Context, *Source) (*Picture, error) { return nil, fs.ErrInvalid },
		"no picture, and a file is missing": func(context.Context, *Source) (*Picture, error) {
			return nil, fmt.Errorf("%w: %w", ErrNoPicture, fs.ErrNotExist)
		},
		"plain error":  func(context.Context, *Source) (*Picture, error) { return nil, errors.New("oh") },
		"missing tool": func(context.Context, *Source) (*Picture, error) { return nil, errNoTool },
	} {
		t.Run(name, func(t *testing.T) {
			bad := true
			c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
				if bad {
					return extract(ctx, src)
				}
				return extractImage(ctx, src)
			}), Workers: 1, Dir: t.TempDir()})
			_, err := c.Get(t.Context(), "p", "a", 10)
			var e *Error
			if !errors.As(err, &e) || e.Op != "extract" || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			want := http.StatusInternalServerError
			switch name {
			case "missing tool":
				want = http.StatusServiceUnavailable
			case "no picture, and a file is missing":
				want = http.StatusNotFound
			}
			if got := HTTPStatus(err); got != want {
				t.Errorf("status %d, want %d", got, want)
			}
			bad = false
			if errors.Is(err, ErrNoPicture) {
				if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, ErrNoPicture) {
					t.Errorf("a verdict was not remembered: %v", err)
				}
				return
			}
			checkColor(t, mustGet(t, c, "p", "a", 10), red) // and not remembered
		})
	}
}

func TestMisbehavingProvider(t *testing.T) {
	for name, hook := range map[string]func(op string) error{
		"panic in stat": func(op string) error { panic(op) },
		"panic in open": func(op string) error {
			if op == "open" {
				panic(op)
			}
			return nil
		},
		"goexit": func(string) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestProvider()
			s.set("a", tag("1"), plain(30, 30, red))
			s.hook = func(_ context.Context, op string) error { return hook(op) }
			c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Workers: 1})
			if _, err := c.Get(t.Context(), "p", "a", 10); err == nil {
				t.Error("no error")
			}
			s.hook = nil
			checkColor(t, mustGet(t, c, "p", "a", 10), red)
		})
	}
}

func TestFailuresAreRemembered(t *testing.T) {
	song := []byte("no music at all")
	for _, test := range []struct {
		err      error
		remember bool
	}{
		{ErrNoPicture, true}, {ErrUnsupported, true}, {ErrCorrupt, true},
		{context.DeadlineExceeded, false}, {errors.New("killed"), false}, {errNoTool, false}, {syscall.EMFILE, false}, {ErrBusy, false},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTestProvider()
				s.set("a", tag("1"), song)
				calls := 0
				cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir(), Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
					calls++
					if src.Stamp.Tag == "2" {
						return extractImage(ctx, src)
					}
					return nil, fmt.Errorf("looking: %w", test.err)
				})}
				c := mustNew(t, cfg)
				get := func(size int) {
					t.Helper()
					if _, err := c.Get(t.Context(), "p", "a", size); !errors.Is(err, test.err) {
						t.Fatalf("got %v", err)
					}
				}
				get(10)
				get(10)
				get(20)
				if !test.remember {
					if calls != 3 {
						t.Errorf("%d calls, want 3", calls)
					}
					if names := filesIn(t, cfg.Dir); len(names) != 0 {
						t.Errorf("on disk: %v", names)
					}
					return
				}
				c.Close()
				c = mustNew(t, cfg)
				get(10)
				time.Sleep(2 * time.Minute)
				get(10)
				if calls != 1 {
					t.Fatalf("%d calls, want 1", calls)
				}
				s.fail(syscall.EIO) // out of reach changes nothing
				time.Sleep(2 * time.Minute)
				get(10)
				s.fail(nil)
				if st := c.Stats(); st.NegativeHits != 3 || st.Misses != 0 {
					t.Errorf("stats: %+v", st)
				}
				time.Sleep(7 * time.Minute)
				get(10)
				if calls != 2 {
					t.Errorf("%d calls after FailureTTL, want 2", calls)
				}
				time.Sleep(2 * time.Minute)
				s.set("a", tag("2"), plain(30, 30, red))
				checkColor(t, mustGet(t, c, "p", "a", 10), red)
				c.Close()
				c = mustNew(t, cfg)
				checkColor(t, mustGet(t, c, "p", "a", 20), red) // the failure on disk is of another stamp
			})
		})
	}
}

// A song that loses its cover must not go on showing it.
func TestChangeForTheWorse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestProvider()
		s.set("a", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir(), Extractor: Images()}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		mustGet(t, c, "p", "a", 20)
		s.set("a", tag("2"), []byte("words"))
		time.Sleep(2 * time.Minute)
		mustGet(t, c, "p", "a", 10)
		synctest.Wait()
		for _, size := range []int{10, 20} {
			if _, err := c.Get(t.Context(), "p", "a", size); !errors.Is(err, ErrUnsupported) {
				t.Errorf("size %d: %v", size, err)
			}
		}
		if names := filesIn(t, cfg.Dir); len(names) != 1 || !strings.HasSuffix(names[0], ".none") {
			t.Errorf("on disk: %v", names)
		}
	})
}

// A source that has a picture for a while, between two times without, is served by what it is now.
func TestChangeBack(t *testing.T) {
	for _, dir := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newTestProvider()
			// A Revalidate that is over before anything is done has to work too.
			cfg := Config{Providers: map[string]Provider{"p": s}, Extractor: Images(), Revalidate: time.Nanosecond, FailureTTL: time.Hour}
			if dir {
				cfg.Dir = t.TempDir()
			}
			c := mustNew(t, cfg)
			for range 3 {
				s.set("a", tag("1"), []byte("words"))
				time.Sleep(time.Second)
				c.Get(t.Context(), "p", "a", 10) // what was there, while it is looked at
				time.Sleep(time.Second)
				if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, ErrUnsupported) {
					t.Errorf("without a picture: %v", err)
				}
				s.set("a", tag("2"), plain(30, 30, red))
				time.Sleep(time.Second)
				checkColor(t, mustGet(t, c, "p", "a", 10), red)
				if dir {
					if names := filesIn(t, cfg.Dir); len(names) != 1 || strings.HasSuffix(names[0], ".none") {
						t.Errorf("on disk: %v", names)
					}
				}
			}
		})
	}
}

func TestChangedWhileExtracting(t *testing.T) {
	s := newTestProvider()
	s.set("a", tag("1"), plain(30, 30, red))
	dir := t.TempDir()
	change := true
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir, Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
		pic, err := extractImage(ctx, src)
		if change {
			s.set("a", tag("2"), plain(30, 30, blue))
		}
		return pic, err
	})})
	checkColor(t, mustGet(t, c, "p", "a", 10), red)
	if names := filesIn(t, dir); len(names) != 0 {
		t.Errorf("stored: %v", names)
	}
	change = false
	checkColor(t, mustGet(t, c, "p", "a", 10), blue)
}

// A provider that hangs and does not heed its context must not keep anybody waiting, nor take all workers for ever.
func TestHungProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		s, good := newTestProvider(), newTestProvider()
		s.hook = func(context.Context, string) error { <-hung; return syscall.EIO }
		good.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"bad": s, "good": good}, Workers: 1, Timeout: time.Second})
		for i := range 30 {
			start := time.Now()
			_, err := c.Get(t.Context(), "bad", fmt.Sprint(i), 10)
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrBusy) || time.Since(start) > 2*time.Second {
				t.Fatalf("call %d: %v after %v", i, err, time.Since(start))
			}
		}
		if stats, _ := s.calls(); stats > 1+hungCalls {
			t.Errorf("%d calls hang", stats)
		}
		checkColor(t, mustGet(t, c, "good", "a", 10), red)
		close(hung)
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestProvider()
		s.set("a", tag("1"), plain(30, 30, red))
		e, gate, _ := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: e})
		start := time.Now()
		_, err := c.Get(t.Context(), "p", "a", 10)
		if !errors.Is(err, context.DeadlineExceeded) || HTTPStatus(err) != http.StatusGatewayTimeout {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("after %v", d)
		}
		close(gate)
		checkColor(t, mustGet(t, c, "p", "a", 10), red)
		synctest.Wait() // for the flight that was ended: it counts after its waiters have gone
		if st := c.Stats(); st.Failures != 1 || st.Abandoned != 0 {
			t.Errorf("stats: %+v", st)
		}
	})
}

// The wait for the memory that other pictures take is no part of Timeout.
func TestWaitForDecodeBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestProvider()
		s.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}})
		if err := c.decoding.Acquire(t.Context(), c.decodeBytes); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Hour, func() { c.decoding.Release(c.decodeBytes) })
		checkColor(t, mustGet(t, c, "p", "a", 10), red)
	})
}

// A provider that answers nothing leaves a worker and a part of the queue to the others.
func TestSlowProvider(t *testing.T) {
	for _, workers := range []int{0, 2, 4} {
		synctest.Test(t, func(t *testing.T) {
			slow, good := newTestProvider(), newTestProvider()
			slow.hook = func(ctx context.Context, op string) error {
				<-ctx.Done()
				return ctx.Err()
			}
			good.set("a", tag("1"), plain(30, 30, red))
			c := mustNew(t, Config{Providers: map[string]Provider{"slow": slow, "good": good}, Workers: workers, Queue: 40, Timeout: time.Hour})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() { c.Get(ctx, "slow", fmt.Sprint(i), 10) })
			}
			synctest.Wait()
			start := time.Now()
			for size := range 8 {
				mustGet(t, c, "good", "a", size+1)
			}
			if took := time.Since(start); took > 0 {
				t.Errorf("%d workers: the good provider had to wait for %v", workers, took)
			}
			cancel()
			wg.Wait()
		})
	}
}

// One provider alone may use every worker.
func TestAllWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestProvider()
		s.hook = func(ctx context.Context, op string) error {
			<-ctx.Done()
			return ctx.Err()
		}
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Workers: 3, Timeout: time.Minute})
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() { c.Get(t.Context(), "p", fmt.Sprint(i), 10) })
		}
		synctest.Wait()
		if n := c.workers.Waiting(); n != 2 {
			t.Errorf("%d wait for a worker, want 2", n)
		}
		wg.Wait()
	})
}

package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Warm can be canceled and started again. It reports what it has done, and keeps its thumbnails on disk only.
func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(20)
		paths := numbers(20)
		p.set("text", tag("1"), []byte("no picture at all"))
		paths = append(paths, "text", "missing")
		var last Warmed // as the Observer was told
		told := 0       // how often
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Workers: 3, Extractor: Images(), Observer: &Observer{
			Warmed: func(path string, sofar Warmed, err error) { last, told = sofar, told+1 },
		}}
		c := mustNew(t, cfg)

		// Warm is canceled in the middle,
		ctx, cancel := context.WithCancel(t.Context())
		some := func(yield func(string) bool) {
			for i, path := range paths {
				if i == 10 {
					synctest.Wait()
					cancel()
				}
				if !yield(path) {
					return
				}
			}
		}
		got, err := c.Warm(ctx, "p", some, 10, 20)
		if want := (Warmed{Extracted: 10}); got != want || !errors.Is(err, context.Canceled) || last != want {
			t.Errorf("canceled: %+v, %v; the Observer was told %+v", got, err, last)
		}
		// and started again.
		told = 0
		got, err = c.Warm(t.Context(), "p", slices.Values(paths), 10, 20)
		if want := (Warmed{Extracted: 10, Reused: 10, NoPicture: 1, Failed: 1}); got != want || err != nil || last != want || told != 22 {
			t.Errorf("started again: %+v, %v; the Observer was told %d times, at last %+v", got, err, told, last)
		}
		if n := c.Stats().MemoryEntries; n != 0 {
			t.Errorf("%d thumbnails in memory", n)
		}
		if n := len(filesIn(t, cfg.Dir)); n != 41 {
			t.Errorf("%d files, want 40 thumbnails and 1 failure", n)
		}
		if _, err := c.Warm(t.Context(), "q", slices.Values(paths)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no such provider: %v", err)
		}
		c.Close()
		if _, err := c.Warm(t.Context(), "p", slices.Values(paths)); err != ErrClosed {
			t.Errorf("closed: %v", err)
		}
	})
}

// numbers returns the paths of numberedPictures.
func numbers(n int) (paths []string) {
	for i := range n {
		paths = append(paths, fmt.Sprint(i))
	}
	return paths
}

// Warm checks each source before it reuses a stored thumbnail, unless the source cannot be reached.
func TestWarmChecksSources(t *testing.T) {
	t.Parallel()
	p := numberedPictures(100)
	paths := numbers(100)
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
	warm := func(what string, want Warmed) {
		t.Helper()
		c := mustNew(t, cfg) // a restart
		defer c.Close()
		if got, err := c.Warm(t.Context(), "p", slices.Values(paths), 10, 20); got != want || err != nil {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	warm("at first", Warmed{Extracted: 100})
	for i := range 50 {
		p.set(fmt.Sprint(i), tag("2"), plain(30, 30, blue))
	}
	p.remove("99")
	warm("half of them changed", Warmed{Extracted: 50, Reused: 49, Failed: 1})
	warm("nothing changed", Warmed{Reused: 99, Failed: 1})
	p.setHook(func(context.Context, string) error { return syscall.EIO })
	warm("offline", Warmed{Reused: 99, Failed: 1})
	c := mustNew(t, cfg)
	checkColor(t, mustGet(t, c, "p", "7", 20), blue)
	if _, ok := c.Peek(t.Context(), Request{Provider: "p", Path: "99", Size: 20}); ok {
		t.Error("the thumbnail of a source that does not exist is still stored")
	}
}

// Warm starts nothing while a request waits for a thumbnail, and never takes the last worker.
func TestWarmYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(100)
		p.setHook(func(ctx context.Context, op string) error {
			if op == "open" {
				time.Sleep(time.Second)
			}
			return nil
		})
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Workers: 3, MemoryEntries: 200})
		var started atomic.Int32 // paths
		paths := func(yield func(string) bool) {
			for _, path := range numbers(100) {
				if started.Add(1); !yield(path) {
					return
				}
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if got, err := c.Warm(t.Context(), "p", paths, 10); got.Extracted != 100 || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
		time.Sleep(1500 * time.Millisecond)
		start := time.Now()
		mustGet(t, c, "p", "99", 5)
		if took := time.Since(start); took > time.Second {
			t.Errorf("a request waited for %v", took)
		}
		// For ten seconds, there is always a request that waits.
		time.Sleep(2 * time.Second)
		before := started.Load()
		for i := range 10 {
			mustGet(t, c, "p", fmt.Sprint(80+i), 20)
		}
		if n := started.Load() - before; n > 3 {
			t.Errorf("Warm started %d paths while requests waited", n)
		}
		wg.Wait()
	})
}

// While a request waits for a thumbnail, Warm does not even start the next size of a path.
func TestWarmYieldsBetweenSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(2)
		gates := map[string]chan struct{}{"0": make(chan struct{}), "1": make(chan struct{})}
		e := ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			<-gates[src.Name]
			return extractImage(ctx, src)
		})
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: e, Workers: 2})
		var wg sync.WaitGroup
		wg.Go(func() {
			if got, err := c.Warm(t.Context(), "p", slices.Values([]string{"0"}), 10, 20, 30); got.Extracted != 1 || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
		synctest.Wait()
		wg.Go(func() { tryGet(t, c, "1", 10) })
		synctest.Wait()
		close(gates["0"])
		synctest.Wait()
		if n := c.Stats().Misses; n != 2 {
			t.Errorf("Warm started %d more sizes while a request waited", n-2)
		}
		close(gates["1"])
		wg.Wait()
		if n := c.Stats().Misses; n != 4 {
			t.Errorf("%d thumbnails made, want 4", n)
		}
	})
}

// Several calls of Warm at once leave calls of a slow provider to requests.
func TestSeveralWarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const warms, each = 8, 20
		paths := numbers(warms*each + 1)
		p := numberedPictures(len(paths))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Workers: 4}
		c := mustNew(t, cfg)
		if _, err := c.Warm(t.Context(), "p", slices.Values(paths), 10); err != nil {
			t.Fatal(err)
		}
		c.Close()
		c = mustNew(t, cfg)
		p.setHook(func(context.Context, string) error { time.Sleep(time.Second); return nil })
		var wg sync.WaitGroup
		for i := range warms {
			wg.Go(func() {
				got, err := c.Warm(t.Context(), "p", slices.Values(paths[i*each:(i+1)*each]), 10)
				if got != (Warmed{Reused: each}) || err != nil {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		synctest.Wait()
		tryGet(t, c, paths[warms*each], 20) // not on disk, so it needs the provider
		wg.Wait()
	})
}

// Without sizes, Warm makes the smallest of Config.Sizes, or 300.
func TestWarmWithoutSizes(t *testing.T) {
	for _, test := range []struct {
		sizes []int
		want  int
	}{{nil, 300}, {[]int{200, 50, 100}, 50}} {
		p := newTestProvider()
		p.set("a", tag("1"), plain(400, 400, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Sizes: test.sizes})
		if got, err := c.Warm(t.Context(), "p", slices.Values([]string{"a"})); got.Extracted != 1 || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
		thumb := mustGet(t, c, "p", "a", test.want)
		if st := c.Stats(); st.Misses != 1 || st.MemoryHits != 1 || thumb.Width != test.want {
			t.Errorf("sizes %v: width %d, stats: %+v", test.sizes, thumb.Width, st)
		}
	}
}

// Warm can be canceled while it waits for requests.
func TestWarmCanceledWhileRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, gate, _ := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(2)}, Extractor: e})
		var wg sync.WaitGroup
		wg.Go(func() { tryGet(t, c, "0", 10) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := c.Warm(ctx, "p", slices.Values([]string{"1"}), 10); got != (Warmed{}) || err != context.DeadlineExceeded {
			t.Errorf("%+v, %v", got, err)
		}
		close(gate)
		wg.Wait()
		if st := c.Stats(); st.Misses != 1 {
			t.Errorf("stats: %+v", st)
		}
	})
}

// A request that joins a flight of Warm is treated like any request: its extraction is no idle work any more, and the thumbnail is
// kept in memory.
func TestRequestJoinsWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		free := make(chan struct{})
		for _, path := range []string{"asked", "other"} {
			p.set(path, tag("1"), plain(30, 30, red))
		}
		var idle atomic.Int32 // extractions that are idle work when they end
		slow := ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			<-free
			if hurry := searchOf(ctx).caller.Idle; hurry != nil {
				select {
				case <-hurry:
				default:
					idle.Add(1)
				}
			}
			return Images().Extract(ctx, src)
		})
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Workers: 3, Extractor: slow})
		var wg sync.WaitGroup
		wg.Go(func() {
			if got, err := c.Warm(t.Context(), "p", slices.Values([]string{"asked", "other"}), 10); got.Extracted != 2 || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
		synctest.Wait()
		wg.Go(func() { mustGet(t, c, "p", "asked", 10) })
		synctest.Wait()
		close(free)
		wg.Wait()
		if got := c.Stats(); got.MemoryEntries != 1 || got.Extractions != 2 || got.Coalesced != 1 || idle.Load() != 1 {
			t.Errorf("%d thumbnails in memory, %d extractions, %d callers joined, %d idle", got.MemoryEntries, got.Extractions, got.Coalesced, idle.Load())
		}
	})
}

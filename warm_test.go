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

func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		var paths []string
		for i := range 20 {
			paths = append(paths, fmt.Sprint(i))
			p.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
		}
		p.set("text", tag("1"), []byte("no picture at all"))
		paths = append(paths, "text", "missing")
		var last Warmed
		told := 0
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Workers: 3, Extractor: Images(), Observer: &Observer{
			Warmed: func(path string, sofar Warmed, err error) { last, told = sofar, told+1 },
		}}
		c := mustNew(t, cfg)

		// It is canceled in the middle.
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
			t.Errorf("canceled: %+v, %v, last told %+v", got, err, last)
		}
		// And begun again.
		told = 0
		got, err = c.Warm(t.Context(), "p", slices.Values(paths), 10, 20)
		if want := (Warmed{Extracted: 10, Reused: 10, NoPicture: 1, Failed: 1}); got != want || err != nil || last != want || told != 22 {
			t.Errorf("resumed: %+v, %v, last of %d told %+v", got, err, told, last)
		}
		if n := c.Stats().MemoryEntries; n != 0 {
			t.Errorf("%d thumbnails in memory", n)
		}
		if n := len(filesIn(t, cfg.Dir)); n != 41 {
			t.Errorf("%d files, want 40 thumbnails and a failure", n)
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

// While a person waits, warm-up begins nothing, and it never takes the last worker.
// Warm-up has the time to look at each source first.
func TestWarmLooks(t *testing.T) {
	p := newTestProvider()
	var paths []string
	for i := range 100 {
		paths = append(paths, fmt.Sprint(i))
		p.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
	}
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
	warm := func(what string, want Warmed) {
		t.Helper()
		c := mustNew(t, cfg) // as after a restart
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
	p.hook = func(context.Context, string) error { return syscall.EIO }
	warm("offline", Warmed{Reused: 99, Failed: 1})
	c := mustNew(t, cfg)
	checkColor(t, mustGet(t, c, "p", "7", 20), blue)
	if _, ok := c.Peek(t.Context(), Request{Provider: "p", Path: "99", Size: 20}); ok {
		t.Error("what does not exist is still there")
	}
}

func TestWarmYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warm, people := newTestProvider(), newTestProvider()
		var begun atomic.Int32
		for i := range 100 {
			warm.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
			people.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
		}
		slowly := func(ctx context.Context, op string) error {
			if op == "open" {
				time.Sleep(time.Second)
			}
			return nil
		}
		warm.hook, people.hook = slowly, slowly
		c := mustNew(t, Config{Providers: map[string]Provider{"p": warm}, Workers: 3, MemoryEntries: 200})
		paths := func(yield func(string) bool) {
			for i := range 100 {
				if begun.Add(1); !yield(fmt.Sprint(i)) {
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
			t.Errorf("a person waited for %v", took)
		}
		// People for ten seconds on end.
		time.Sleep(2 * time.Second)
		before := begun.Load()
		for i := range 10 {
			mustGet(t, c, "p", fmt.Sprint(80+i), 20)
		}
		if n := begun.Load() - before; n > 3 {
			t.Errorf("warm-up began %d while people waited", n)
		}
		wg.Wait()
	})
}

// A request that joins what Warm has begun is served as any request: its turn comes although Warm has all the workers that it
// may take, and the thumbnail is kept in memory.
func TestRequestJoinsWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		free := make(chan struct{})
		p.set("slow", tag("1"), plain(30, 30, red))
		p.set("quick", tag("1"), plain(30, 30, red))
		slow := ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			if src.Name == "slow" {
				<-free
			}
			return Images().Extract(ctx, src)
		})
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Workers: 2, Extractor: slow})
		var wg sync.WaitGroup
		for _, path := range []string{"slow", "quick"} {
			wg.Go(func() {
				if got, err := c.Warm(t.Context(), "p", slices.Values([]string{path}), 10); got.Extracted != 1 || err != nil {
					t.Errorf("%s: %+v, %v", path, got, err)
				}
			})
			synctest.Wait()
		}
		if n := c.workers.Waiting(); n != 1 {
			t.Fatalf("%d wait for a worker, want what the second Warm began", n)
		}
		mustGet(t, c, "p", "quick", 10) // the bubble fails if this waits for the slow one
		if got := c.Stats(); got.MemoryEntries != 1 || got.Coalesced != 1 {
			t.Errorf("%d thumbnails in memory, %d callers joined", got.MemoryEntries, got.Coalesced)
		}
		close(free)
		wg.Wait()
		if got := c.Stats(); got.MemoryEntries != 1 || got.Extractions != 2 {
			t.Errorf("%d thumbnails in memory, %d extractions", got.MemoryEntries, got.Extractions)
		}
	})
}

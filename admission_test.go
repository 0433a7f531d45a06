package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache/internal/sysmem"
)

// While memory is short, most thumbnails and all pictures are dropped, and large pictures are decoded one at a time. Misses find
// out about both, once a second, and hits do not.
func TestShortOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(40)
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, MemoryBytes: 40_000, DecodeBytes: 64 << 20})
		var left int64 = 1 << 30
		reads := 0
		c.watch.read = func() []sysmem.Bound {
			reads++
			return []sysmem.Bound{{Name: "test", Limit: 2 << 30, Left: left}}
		}
		get := func(from, to int) {
			t.Helper()
			for i := from; i < to; i++ {
				mustGet(t, c, "p", fmt.Sprint(i), 30)
			}
		}
		get(0, 30)
		full := c.Stats()
		if reads != 1 || full.MemoryEntries != 30 || c.memory.recentBytes == 0 || c.decodingWeight(1000) != 1000 {
			t.Fatalf("%d reads, %+v, %d bytes of pictures", reads, full, c.memory.recentBytes)
		}
		c.memory.maxBytes, c.memory.room = full.MemoryBytes, full.MemoryBytes // exactly full

		left = 32 << 20
		time.Sleep(memoryInterval)
		get(0, 30)
		if reads != 1 {
			t.Errorf("hits have read the memory that is left")
		}
		get(30, 35)
		if st := c.Stats(); reads != 2 || st.MemoryBytes > full.MemoryBytes/4 || st.MemoryEntries == 0 || c.memory.recentBytes != 0 || c.memory.prepared.Len() != 0 {
			t.Errorf("%d reads, %+v, %d bytes of pictures", reads, st, c.memory.recentBytes)
		}
		for cost, want := range map[int64]int64{1 << 20: 4 << 20, 8 << 20: 32 << 20, 16 << 20: 64 << 20, 64 << 20: 64 << 20} {
			if w := c.decodingWeight(cost); w != want {
				t.Errorf("%d MiB weigh %d MiB, want %d", cost>>20, w>>20, want>>20)
			}
		}

		left = 1 << 30
		time.Sleep(memoryInterval)
		get(35, 36)
		get(0, 30)
		if st := c.Stats(); reads != 3 || st.MemoryEntries < 25 || c.memory.recentBytes == 0 || c.decodingWeight(1000) != 1000 {
			t.Errorf("%d reads, %+v, %d bytes of pictures", reads, st, c.memory.recentBytes)
		}
	})
}

// Memory that is no longer short is noticed also if all thumbnails are on disk.
func TestShortageEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(3)}, Dir: t.TempDir(), MemoryEntries: 1})
		var left int64
		c.watch.read = func() []sysmem.Bound { return []sysmem.Bound{{Name: "test", Limit: 2 << 30, Left: left}} }
		for i := range 3 {
			mustGet(t, c, "p", fmt.Sprint(i), 30)
		}
		if !c.memory.short {
			t.Fatal("memory is not short")
		}
		left = 1 << 30
		time.Sleep(memoryInterval)
		mustGet(t, c, "p", "0", 30)
		if st := c.Stats(); st.DiskHits != 1 || st.Misses != 3 || c.memory.short || c.memory.room != c.memory.maxBytes {
			t.Errorf("short: %v, room for %d bytes, %+v", c.memory.short, c.memory.room, st)
		}
	})
}

// Nothing is done about memory after Close.
func TestShortageAfterClose(t *testing.T) {
	c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(1)}})
	c.watch.read = func() []sysmem.Bound { return []sysmem.Bound{{Name: "test", Limit: 2 << 30}} }
	c.Close()
	c.watchMemory()
	if c.watch.short || !c.watch.freed.IsZero() {
		t.Error("the watch goes on")
	}
}

// Memory that is short again and again is logged once a minute.
func TestShortageLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(1)}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		left := int64(1 << 30)
		c.watch.read = func() []sysmem.Bound { return []sysmem.Bound{{Name: "test", Limit: 2 << 30, Left: left}} }
		change := func() {
			left ^= 1 << 30
			time.Sleep(memoryInterval)
			c.watchMemory()
		}
		check := func(want int) {
			t.Helper()
			for _, line := range []string{"memory is short", "memory is no longer short"} {
				if n := strings.Count(log.String(), line); n != want {
					t.Errorf("%q is logged %d times, want %d", line, n, want)
				}
			}
		}
		for range 50 {
			change()
		}
		check(1)
		time.Sleep(time.Minute)
		change()
		change()
		check(2)
	})
}

// A slowEngine is a Shared that has nothing, and takes a while to say so.
type slowEngine time.Duration

func (e slowEngine) wait(ctx context.Context) error {
	select {
	case <-time.After(time.Duration(e)):
		return fs.ErrNotExist
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e slowEngine) Get(ctx context.Context, _, _ string) ([]byte, error) { return nil, e.wait(ctx) }
func (e slowEngine) Put(ctx context.Context, _, _ string, _ []byte) error { return e.wait(ctx) }
func (e slowEngine) Remove(ctx context.Context, _ string) error           { return e.wait(ctx) }

// A tier that is slow, and not broken, does not hold up requests for long: after a second they count as misses.
func TestSlowLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(1000)
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Shared: slowEngine(900 * time.Millisecond), SharedTimeout: time.Second})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() { tryGet(t, c, fmt.Sprint(i), 20) })
		}
		wg.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		if st := c.Stats(); st.Misses != 1000 {
			t.Errorf("stats: %+v", st)
		}
	})
}

// Requests that wait for a lookup leave when their contexts end, and when the cache is closed.
func TestLeaveLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(1)
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Shared: slowEngine(time.Hour), SharedTimeout: 2 * time.Hour, Timeout: 24 * time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 800)
		for i := range 800 {
			go func() {
				callers := ctx
				if i%2 == 0 {
					callers = t.Context()
				}
				_, err := c.Get(callers, "p", fmt.Sprint(i), 20)
				errs <- err
			}()
		}
		synctest.Wait()
		if n := c.lookups.Waiting(); n != 800-maxSharedLookups {
			t.Errorf("%d wait", n)
		}
		cancel()
		synctest.Wait()
		if len(errs) != 400 || c.Stats().Abandoned < 250 {
			t.Errorf("%d have left, %+v", len(errs), c.Stats())
		}
		go c.Close()
		synctest.Wait()
		if len(errs) != 800 {
			t.Errorf("%d have left", len(errs))
		}
	})
}

// A request that had no turn to read the disk does so when it has a worker, so that a stored thumbnail is not made again and a
// remembered failure not tried again.
func TestSkippedLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), jpegOf(image.NewGray(image.Rect(0, 0, 64, 64))))
		p.set("bad", tag("1"), []byte("neither picture nor film"))
		none := ExtractorFunc(func(context.Context, *Source) (*Picture, error) { return nil, ErrNoPicture })
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: FirstOf(Images(), none)}
		c := mustNew(t, cfg)
		for _, path := range []string{"a", "bad"} {
			c.Get(t.Context(), "p", path, 20)
		}
		c.Close()
		c = mustNew(t, cfg)
		var held []func()
		for range maxLookups {
			c.lookups.Go(t.Context(), func(release func(), _ error) { held = append(held, release) })
		}
		var wg sync.WaitGroup
		for path, want := range map[string]error{"a": nil, "bad": ErrNoPicture} {
			wg.Go(func() {
				if _, err := c.Get(t.Context(), "p", path, 20); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", path, err, want)
				}
			})
		}
		time.Sleep(lookupPatience + time.Second)
		for _, release := range held {
			release()
		}
		wg.Wait()
		if st := c.Stats(); st.Extractions != 0 {
			t.Errorf("made again: %+v", st)
		}
	})
}

// An Observer that panics costs no worker, and is logged once.
func TestObserverPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(3)
		panics := true
		var log bytes.Buffer
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Workers: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)), Observer: &Observer{
			Stage: func(_, _, stage string, _ time.Duration, _ error) {
				if panics && stage == "queue" {
					panic("test")
				}
			},
		}})
		if _, err := c.Get(t.Context(), "p", "0", 20); err == nil {
			t.Error("no error")
		}
		if w, err := c.Warm(t.Context(), "p", slices.Values([]string{"1"}), 20); err != nil || w.Failed != 1 {
			t.Errorf("%+v, %v", w, err)
		}
		if n := strings.Count(log.String(), "thumbcache: panic"); n != 2 {
			t.Errorf("%d lines in the log", n)
		}
		panics = false
		mustGet(t, c, "p", "2", 20)
	})
}

package thumbcache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestTiers runs the same requests with each combination of tiers.
func TestTiers(t *testing.T) {
	for _, test := range []struct {
		name    string
		entries int
		disk    bool
	}{{"memory", 0, false}, {"disk", -1, true}, {"both", 0, true}, {"neither", -1, false}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTestProvider()
				p.set("a", tag("1"), plain(40, 20, red))
				cfg := Config{Providers: map[string]Provider{"p": p}, MemoryEntries: test.entries}
				if test.disk {
					cfg.Dir = t.TempDir()
				}
				c := mustNew(t, cfg)
				first := mustGet(t, c, "p", "a", 10)
				checkColor(t, first, red)
				if first.Width != 10 || first.Height != 5 {
					t.Errorf("%dx%d, want 10x5", first.Width, first.Height)
				}
				again := mustGet(t, c, "p", "a", 10)
				if !bytes.Equal(first.Data, again.Data) || first.ETag != again.ETag || first.ContentType != again.ContentType {
					t.Error("the second thumbnail differs from the first")
				}
				st := c.Stats()
				// Even without tiers, the extracted picture is kept for a moment.
				if st.Extractions != 1 {
					t.Errorf("%d extractions", st.Extractions)
				}
				var hits, misses uint64 = st.MemoryHits + st.DiskHits, st.Misses
				if want := test.name != "neither"; want != (hits == 1) || want != (misses == 1) {
					t.Errorf("stats: %+v", st)
				}
				if test.disk {
					c.Close()
					c := mustNew(t, cfg)
					if got := mustGet(t, c, "p", "a", 10); !bytes.Equal(got.Data, first.Data) || got.ETag != first.ETag || got.Width != first.Width {
						t.Error("the thumbnail differs after a restart")
					}
					if st := c.Stats(); st.DiskHits != 1 || st.Extractions != 0 {
						t.Errorf("after a restart: %+v", st)
					}
				}
			})
		})
	}
}

// A thumbnail is served without a check for Revalidate. The next request triggers a check in the background, and a source that
// has changed gets new thumbnails, in all sizes.
func TestFreshness(t *testing.T) {
	for _, dir := range []bool{false, true} {
		t.Run(fmt.Sprint("disk=", dir), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTestProvider()
				p.set("a", tag("1"), plain(30, 30, red))
				cfg := Config{Providers: map[string]Provider{"p": p}}
				if dir {
					cfg.Dir = t.TempDir()
				}
				c := mustNew(t, cfg)
				red10 := mustGet(t, c, "p", "a", 10)
				mustGet(t, c, "p", "a", 20)
				stats, _ := p.calls()

				time.Sleep(30 * time.Second)
				mustGet(t, c, "p", "a", 10)
				synctest.Wait()
				if now, _ := p.calls(); now != stats {
					t.Error("checked before Revalidate had passed")
				}

				time.Sleep(31 * time.Second)
				p.set("a", tag("2"), plain(30, 30, blue))
				checkColor(t, mustGet(t, c, "p", "a", 10), red) // stale, and checked in the background
				synctest.Wait()
				blue10 := mustGet(t, c, "p", "a", 10)
				checkColor(t, blue10, blue)
				if red10.ETag == blue10.ETag {
					t.Error("two pictures have the same ETag")
				}
				checkColor(t, mustGet(t, c, "p", "a", 20), blue) // the check of the other size counts
				if dir {
					if n := len(filesIn(t, cfg.Dir)); n != 2 {
						t.Errorf("%d files, want 2", n)
					}
				}
				if st := c.Stats(); st.StaleServed != 1 || st.Extractions != 2 {
					t.Errorf("stats: %+v", st)
				}
			})
		})
	}
}

// While a source cannot be reached, its thumbnails are served. When it does not exist, they are removed.
func TestOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		p.set("b", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		for _, offline := range []error{syscall.EIO, context.DeadlineExceeded, errors.New("connection refused")} {
			p.fail(offline)
			for range 3 {
				time.Sleep(2 * time.Minute)
				checkColor(t, mustGet(t, c, "p", "a", 10), red)
				synctest.Wait()
			}
			_, err := c.Get(t.Context(), "p", "b", 10)
			if !errors.Is(err, offline) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("not cached: %v", err)
			}
		}
		c.Close()
		c = mustNew(t, cfg)
		checkColor(t, mustGet(t, c, "p", "a", 10), red)
		synctest.Wait()

		// The source comes back with another picture.
		p.fail(nil)
		p.set("a", tag("2"), plain(30, 30, blue))
		time.Sleep(2 * time.Minute)
		mustGet(t, c, "p", "a", 10)
		synctest.Wait()
		checkColor(t, mustGet(t, c, "p", "a", 10), blue)

		// The source is known to have changed, and cannot be opened.
		p.set("a", tag("3"), plain(30, 30, red))
		time.Sleep(2 * time.Minute)
		p.setHook(failOn("open", syscall.EIO))
		for range 3 {
			checkColor(t, mustGet(t, c, "p", "a", 10), blue)
			synctest.Wait()
		}
		p.setHook(nil)

		// The source does not exist any more.
		p.remove("a")
		time.Sleep(2 * time.Minute)
		c.Get(t.Context(), "p", "a", 10)
		synctest.Wait()
		if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the source does not exist: %v", err)
		}
		if names := filesIn(t, cfg.Dir); len(names) != 0 {
			t.Errorf("still stored: %v", names)
		}
	})
}

// A check that fails changes nothing that is known about a source: a thumbnail of its last known state does not wait for the next
// check.
func TestFailedCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
		mustGet(t, c, "p", "a", 10)
		time.Sleep(2 * time.Minute)
		p.set("a", tag("2"), plain(30, 30, blue))
		mustGet(t, c, "p", "a", 20) // sees the change
		p.fail(syscall.EIO)
		time.Sleep(2 * time.Minute)
		mustGet(t, c, "p", "a", 10) // of the previous state; its check fails
		synctest.Wait()
		p.setHook(hang)
		start := time.Now()
		checkColor(t, mustGet(t, c, "p", "a", 20), blue)
		if took := time.Since(start); took > 0 {
			t.Errorf("a cached thumbnail waited for %v", took)
		}
	})
}

// A check that fails after a restart says nothing about the state of a source: all stored sizes are served, from whichever state
// they were made.
func TestFailedCheckAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		time.Sleep(2 * time.Minute)
		p.set("a", tag("2"), plain(30, 30, blue))
		mustGet(t, c, "p", "a", 20)
		c.Close()
		c = mustNew(t, cfg)
		p.fail(syscall.EIO)
		before, _ := p.calls()
		mustGet(t, c, "p", "a", 10) // its check fails
		synctest.Wait()
		p.setHook(hang)
		start := time.Now()
		for range 2 { // from disk, and from memory
			checkColor(t, mustGet(t, c, "p", "a", 10), red)
			checkColor(t, mustGet(t, c, "p", "a", 20), blue)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("stored thumbnails waited for %v", took)
		}
		if after, _ := p.calls(); after != before+1 {
			t.Errorf("%d checks, want one until retryLook has passed", after-before)
		}
		time.Sleep(2 * retryLook)
		p.fail(nil)
		p.setHook(nil)
		mustGet(t, c, "p", "a", 10)
		synctest.Wait()
		checkColor(t, mustGet(t, c, "p", "a", 10), blue)
	})
}

// With a negative Revalidate, sources are never checked, not even after a restart.
func TestNeverRevalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		p.set("b", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Revalidate: -1}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		if _, err := c.Do(t.Context(), Request{Provider: "p", Path: "b", Size: 10, Version: "v"}); err != nil {
			t.Fatal(err)
		}
		stats, _ := p.calls()
		p.set("a", tag("2"), plain(30, 30, blue))
		p.set("b", tag("2"), plain(30, 30, blue))
		for range 2 {
			for _, path := range []string{"a", "b"} {
				time.Sleep(time.Hour)
				checkColor(t, mustGet(t, c, "p", path, 10), red)
				synctest.Wait()
			}
			c.Close()
			c = mustNew(t, cfg)
		}
		if now, _ := p.calls(); now != stats {
			t.Errorf("%d checks, want 0", now-stats)
		}
	})
}

// With a negative Revalidate, all stored sizes of a source are trusted, even if they were made from different states of it.
func TestNeverRevalidateSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		time.Sleep(2 * time.Minute)
		p.set("a", tag("2"), plain(30, 30, blue))
		mustGet(t, c, "p", "a", 20)
		c.Close()
		p.setHook(hang)
		cfg.Revalidate = -1
		c = mustNew(t, cfg)
		start := time.Now()
		for range 2 { // from disk, and from memory
			checkColor(t, mustGet(t, c, "p", "a", 10), red)
			checkColor(t, mustGet(t, c, "p", "a", 20), blue)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("trusted thumbnails waited for %v", took)
		}
	})
}

// Invalidate removes all sizes and failures of one source, and nothing else.
func TestInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		p.set("b", tag("1"), plain(30, 30, red))
		p.set("none", tag("1"), []byte("words"))
		dir := t.TempDir()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir, Extractor: Images()})
		for _, size := range []int{0, 10, 20} {
			mustGet(t, c, "p", "a", size)
		}
		c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Fit: Cover, Format: PNG})
		mustGet(t, c, "p", "b", 10)
		c.Get(t.Context(), "p", "none", 10)
		if n := len(filesIn(t, dir)); n != 6 {
			t.Fatalf("%d files, want 6: %v", n, filesIn(t, dir))
		}
		// The picture changes and the stamp does not, so only Invalidate can help.
		p.set("a", tag("1"), plain(30, 30, blue))
		p.set("none", tag("1"), plain(30, 30, blue))
		for _, path := range []string{"a", "none"} {
			if err := c.Invalidate("p", path); err != nil {
				t.Fatal(err)
			}
			checkColor(t, mustGet(t, c, "p", path, 10), blue)
		}
		if names := filesIn(t, dir); len(names) != 3 {
			t.Errorf("files: %v", names)
		}
		if err := c.Invalidate("q", "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unknown provider: %v", err)
		}
	})
}

// If files cannot be removed, Invalidate returns an error.
func TestInvalidateFails(t *testing.T) {
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(1)}, Dir: dir})
	mustGet(t, c, "p", "0", 10)
	folder := filepath.Join(dir, hashOf(source{"p", "0"})[:2])
	replaceFolder(t, folder, func() error { return os.WriteFile(folder, nil, 0o644) })
	var e *Error
	if err := c.Invalidate("p", "0"); !errors.As(err, &e) || e.Path != "0" {
		t.Errorf("got %v", err)
	}
	checkColor(t, mustGet(t, c, "p", "0", 10), red)
}

// A picture that was extracted before Invalidate is not served afterwards, even if its thumbnail was still being made.
func TestInvalidateDuringExtraction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		dir := t.TempDir()
		gate := make(chan struct{})
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir, Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			pic, err := extractImage(ctx, src)
			<-gate
			return pic, err
		})})
		old := make(chan *Thumbnail)
		go func() { old <- mustGet(t, c, "p", "a", 10) }()
		synctest.Wait()
		p.set("a", tag("1"), plain(30, 30, blue))
		if err := c.Invalidate("p", "a"); err != nil {
			t.Fatal(err)
		}
		fresh := make(chan *Thumbnail)
		go func() { fresh <- mustGet(t, c, "p", "a", 10) }()
		synctest.Wait()
		close(gate)
		checkColor(t, <-old, red)
		checkColor(t, <-fresh, blue)
		synctest.Wait()
		checkColor(t, mustGet(t, c, "p", "a", 10), blue)
		checkColor(t, mustGet(t, c, "p", "a", 20), blue)
		c.Close()
		c = mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir})
		checkColor(t, mustGet(t, c, "p", "a", 10), blue)
	})
}

// A request with a Version gets a thumbnail of that version, without a call of Stat.
// TestPartial checks that a thumbnail of a part of the media is served and not kept, neither with a stamp nor with a version.
func TestPartial(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(30, 30, red))
	var partial atomic.Bool
	p.wrap = func(src *Source) {
		if src.Partial = partial.Load(); src.Partial {
			src.Stamp = tag("part")
		}
	}
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir})
	partial.Store(true)
	var part *Thumbnail
	for n := range 2 {
		part = mustGet(t, c, "p", "a", 10)
		checkColor(t, part, red)
		if stats, opens := p.calls(); stats != n+1 || opens != n+1 {
			t.Errorf("%d requests: %d stats, %d opens", n+1, stats, opens)
		}
	}
	versioned := Request{Provider: "p", Path: "a", Size: 10, Version: "v1"}
	_, err := c.Do(t.Context(), versioned)
	if err == nil || isPermanent(err) {
		t.Errorf("got %v, want an error that may pass", err)
	}
	if files := filesIn(t, dir); len(files) > 0 {
		t.Errorf("stored: %v", files)
	}
	partial.Store(false)
	p.set("a", tag("1"), plain(30, 30, blue))
	whole := mustGet(t, c, "p", "a", 10)
	checkColor(t, whole, blue)
	if whole.ETag == part.ETag {
		t.Error("the whole has the ETag of the part")
	}
	if _, err := c.Do(t.Context(), versioned); err != nil {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
		c := mustNew(t, cfg)
		get := func(version string) *Thumbnail {
			t.Helper()
			thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Version: version})
			if err != nil {
				t.Fatal(err)
			}
			return thumb
		}
		checkColor(t, get("v1"), red)
		p.set("a", tag("2"), plain(30, 30, blue))
		checkColor(t, get("v1"), red)
		checkColor(t, get("v2"), blue) // not stale
		time.Sleep(time.Hour)
		get("v2")
		c.Close()
		c = mustNew(t, cfg)
		get("v2")
		if stats, opens := p.calls(); stats != 0 || opens != 2 {
			t.Errorf("%d stats, %d opens", stats, opens)
		}
		if st := c.Stats(); st.DiskHits != 1 {
			t.Errorf("stats: %+v", st)
		}
		// Without a version, the source is checked as usual.
		p.set("a", tag("3"), plain(30, 30, red))
		checkColor(t, get(""), blue)
		synctest.Wait()
		checkColor(t, get(""), red)
		// The source cannot be reached. A thumbnail of another version is not served.
		p.fail(syscall.EIO)
		if _, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Version: "v3"}); !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v", err)
		}
	})
}

// Close cancels all work and waits for it. Then every call fails with ErrClosed.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		for i := range 20 {
			p.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
		}
		e, _, calls := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: e, Dir: t.TempDir(), Workers: 2})
		errs := make(chan error, 20)
		for i := range 20 {
			go func() {
				_, err := c.Get(t.Context(), "p", fmt.Sprint(i), 10)
				errs <- err
			}()
		}
		synctest.Wait()
		c.Close()
		c.Close()
		if calls.Load() != 0 {
			t.Error("Close did not wait for the extractions")
		}
		for range 20 {
			if err := <-errs; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := c.Get(t.Context(), "p", "0", 10); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := c.Invalidate("p", "0"); !errors.Is(err, ErrClosed) {
			t.Errorf("Invalidate after Close: %v", err)
		}
	})
}

// Close cancels the check of a source that a request waits for at once. Only background checks get time to finish.
func TestCloseCancelsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(1)
		p.setHook(hang)
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
		start := time.Now()
		answer := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), "p", "0", 10)
			answer <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-answer; !errors.Is(err, ErrClosed) {
			t.Errorf("the request got %v", err)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("Close took %v", took)
		}
	})
}

// If Close interrupts the work on a source that is known to have changed, it removes the old thumbnail, so that the next process
// does not serve it. A background check gets time to find that out.
func TestCloseDuringChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
		get := func(path string, want color.NRGBA) {
			t.Helper()
			checkColor(t, mustGet(t, mustNew(t, cfg), "p", path, 10), want)
		}
		for _, path := range []string{"a", "b"} {
			p.set(path, tag("1"), plain(30, 30, red))
			get(path, red)
			p.set(path, tag("2"), plain(30, 30, blue))
		}
		c := mustNew(t, cfg)
		p.setHook(func(ctx context.Context, _ string) error {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			return ctx.Err()
		})
		mustGet(t, c, "p", "a", 10) // triggers a check
		time.Sleep(120 * time.Millisecond)
		mustGet(t, c, "p", "b", 10)
		synctest.Wait() // a is being made again, b is being checked
		start := time.Now()
		c.Close()
		if took := time.Since(start); took < 100*time.Millisecond || took >= closeGrace {
			t.Errorf("Close took %v, want as long as the check of b", took)
		}
		p.setHook(nil)
		get("a", blue)
		get("b", blue)
	})
}

// Close ends requests, checks and invalidations of all kinds, and nothing is written to Dir afterwards. Run it with -race.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	for range series(3, 15) {
		const pictures = 8
		p := numberedPictures(pictures)
		dir := t.TempDir()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir, Revalidate: time.Millisecond, MemoryEntries: 4})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := i; ; n++ {
					path := fmt.Sprint(n % pictures)
					switch {
					case n%17 == 0:
						c.Invalidate("p", path)
					case n%13 == 0:
						p.set(path, tag(fmt.Sprint(n)), plain(30, 30, blue))
					case n%11 == 0:
						c.Peek(t.Context(), Request{Provider: "p", Path: path, Size: 10})
					}
					if _, err := c.Get(t.Context(), "p", path, 10+n%3); errors.Is(err, ErrClosed) {
						return
					} else if err != nil {
						t.Error(err)
					}
				}
			})
		}
		eventually(t, "the sources are checked", func() bool { return c.Stats().StaleServed > 100 })
		c.Close()
		before := filesIn(t, dir)
		wg.Wait()
		if after := filesIn(t, dir); !slices.Equal(before, after) {
			t.Errorf("files at the end of Close: %q, later: %q", before, after)
		}
	}
}

// Checks of many sources on a slow share delay no request.
func TestManyChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		for i := range 100 {
			p.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
		}
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, MemoryEntries: 100, Workers: 1})
		for i := range 99 {
			mustGet(t, c, "p", fmt.Sprint(i), 10)
		}
		time.Sleep(2 * time.Minute)
		p.setHook(func(context.Context, string) error { time.Sleep(300 * time.Millisecond); return nil })
		for i := range 99 {
			mustGet(t, c, "p", fmt.Sprint(i), 10)
		}
		mustGet(t, c, "p", "99", 5)
	})
}

// Invalid requests fail with an *Error, and store nothing.
func TestBadRequests(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(30, 30, red))
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir})
	for _, test := range []struct {
		req  Request
		want error
	}{
		{Request{Provider: "q", Path: "a"}, fs.ErrNotExist},
		{Request{Provider: "", Path: "a"}, fs.ErrNotExist},
		{Request{Provider: "p/a", Path: ""}, fs.ErrNotExist},
		{Request{Provider: "p", Path: "b"}, fs.ErrNotExist},
		{Request{Provider: "p", Path: "a\x00"}, fs.ErrInvalid},
		{Request{Provider: "p", Path: strings.Repeat("a", 1<<20)}, fs.ErrInvalid},
		{Request{Provider: "p", Path: "a", Version: strings.Repeat("a", 1<<20)}, fs.ErrInvalid},
		{Request{Provider: "p", Path: "a", Format: 9}, fs.ErrInvalid},
	} {
		_, err := c.Do(t.Context(), test.req)
		var e *Error
		if !errors.Is(err, test.want) || !errors.As(err, &e) || e.Provider != test.req.Provider {
			t.Errorf("%.50v: %.100v", test.req, err)
		}
	}
	if names := filesIn(t, dir); len(names) > 0 {
		t.Errorf("stored: %v", names)
	}
}

// The JSON names of Stats are those of its fields, in snake_case.
func TestStatsJSON(t *testing.T) {
	b, err := json.Marshal(Stats{MemoryHits: 1})
	if err != nil || !bytes.Contains(b, []byte(`"memory_hits":1`)) {
		t.Errorf("%s, %v", b, err)
	}
	typ := reflect.TypeFor[Stats]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		var snake []byte
		for j, r := range f.Name {
			if r >= 'A' && r <= 'Z' && j > 0 {
				snake = append(snake, '_')
			}
			snake = append(snake, strings.ToLower(string(r))...)
		}
		if f.Tag.Get("json") != string(snake) {
			t.Errorf("%s is %q", f.Name, f.Tag.Get("json"))
		}
	}
}

// A disk that fails is logged once, not for each thumbnail.
func TestLogger(t *testing.T) {
	var log syncBuffer
	p := numberedPictures(20)
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	replaceFolder(t, dir, func() error { return os.WriteFile(dir, []byte("in the way"), 0o644) })
	for i := range 20 {
		checkColor(t, mustGet(t, c, "p", fmt.Sprint(i), 10), red)
	}
	if n := strings.Count(log.String(), "cannot be stored"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
	if c.Stats().DiskErrors == 0 {
		t.Error("DiskErrors is 0")
	}
}

// Peek returns thumbnails from memory and from disk, and makes none.
func TestPeek(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(30, 30, red))
	dir := t.TempDir()
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: dir, MemoryEntries: -1}
	for _, entries := range []int{0, -1} {
		cfg.MemoryEntries = entries
		c := mustNew(t, cfg)
		req := Request{Provider: "p", Path: "a", Size: 10 + entries, Version: "1"}
		if thumb, ok := c.Peek(t.Context(), req); ok {
			t.Errorf("found before it was made: %v", thumb)
		}
		if _, err := c.Do(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		before := c.Stats()
		for _, version := range []string{"1", ""} {
			req.Version = version
			if thumb, ok := c.Peek(t.Context(), req); !ok {
				t.Errorf("version %q: not found", version)
			} else {
				checkColor(t, thumb, red)
			}
		}
		req.Version = "2"
		if _, ok := c.Peek(t.Context(), req); ok {
			t.Error("found another version")
		}
		for _, bad := range []Request{{Provider: "p", Path: "a", Size: -1}, {Provider: "q", Path: "a"}, {Provider: "p", Path: strings.Repeat("a", 1<<20)}} {
			if _, ok := c.Peek(t.Context(), bad); ok {
				t.Errorf("found %.50v", bad)
			}
		}
		if after := c.Stats(); after != before {
			t.Errorf("Peek changed the stats: before %+v, after %+v", before, after)
		}
	}
}

// Every thumbnail has a ThumbHash, which is stored with it.
func TestThumbHash(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(60, 30, red))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), MemoryEntries: -1})
	made := mustGet(t, c, "p", "a", 10)
	if n := len(made.ThumbHash); n < 5 || n > 25 {
		t.Fatalf("%d bytes", n)
	}
	stored := mustGet(t, c, "p", "a", 10)
	if c.Stats().DiskHits != 1 || !bytes.Equal(stored.ThumbHash, made.ThumbHash) {
		t.Errorf("made %x, stored %x", made.ThumbHash, stored.ThumbHash)
	}
	// The first 6 bits are the mean lightness: that of red is a third.
	if h := made.ThumbHash; h[0]&63 < 19 || h[0]&63 > 23 {
		t.Errorf("lightness %d of 63, want 19 to 23", h[0]&63)
	}
}

// A thumbnail that was made without a version, such as by Warm, serves requests for the version of its stamp. One that was made
// for that version serves requests without a version.
func TestMadeWithoutVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		stamp := Stamp{Size: 5, ModTime: time.Unix(1e9, 7)}
		p.set("a", stamp, plain(60, 30, red))
		p.set("b", stamp, plain(60, 30, red))
		p.set("text", stamp, []byte("no picture at all"))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: Images()}
		c := mustNew(t, cfg)
		do := func(path, version string) error {
			_, err := c.Do(t.Context(), Request{Provider: "p", Path: path, Size: 10, Version: version})
			synctest.Wait()
			return err
		}
		do("a", "")
		do("b", stamp.Version())
		do("text", "")
		c.Close()
		misses := c.Stats().Misses
		c = mustNew(t, cfg)
		for range 2 { // from disk, and from memory
			if err := errors.Join(do("a", stamp.Version()), do("b", "")); err != nil {
				t.Fatal(err)
			}
			if err := do("text", stamp.Version()); !errors.Is(err, ErrUnsupported) {
				t.Errorf("got %v", err)
			}
		}
		if got := c.Stats(); misses != 3 || got.Misses != 0 {
			t.Errorf("%d thumbnails made, and %d made again", misses, got.Misses)
		}
		tags := make(map[string]bool) // does not depend on the version in the request, so a client need not load a thumbnail again
		for _, version := range []string{"", stamp.Version()} {
			for _, path := range []string{"a", "b"} {
				thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: path, Size: 10, Version: version})
				if err != nil {
					t.Fatal(err)
				}
				tags[thumb.ETag] = true
			}
		}
		synctest.Wait()
		tags[c.recipe.etag(hashOf(source{"p", "a"}), &key{shape: shape{size: 10}}, &made{version: stamp.Version()})] = true // as the handler computes it, before the thumbnail is looked up
		if len(tags) != 2 {
			t.Errorf("two pictures have %d ETags", len(tags))
		}
		stamp.Size++
		p.set("a", stamp, plain(60, 30, red))
		if do("a", stamp.Version()); c.Stats().Misses != 1 {
			t.Error("an outdated thumbnail was served")
		}
	})
}

// An Observer is told where each answer came from, and each step of the work.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		p.set("text", tag("1"), []byte("no picture at all"))
		var mu sync.Mutex
		var told []string
		tell := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf(format, args...))
		}
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), MemoryEntries: 1, Extractor: Images(), Observer: &Observer{
			Request: func(_ context.Context, req Request, from string, took time.Duration, err error) {
				tell("%s %d from %s: %v", req.Path, req.Size, from, causeOf(err))
			},
			Stage: func(provider, path, stage string, took time.Duration, err error) {
				if stage != "stat" { // their number is not specified
					tell("%s: %v", stage, err != nil)
				}
			},
		}})
		for _, step := range []struct {
			path string
			size int
			want []string
		}{
			{"a", 10, []string{"queue: false", "open: false", "extract: false", "render: false", "store: false", "a 10 from made: a picture"}},
			{"a", 10, []string{"a 10 from memory: a picture"}},
			{"a", 20, []string{"queue: false", "render: false", "store: false", "a 20 from made: a picture"}},
			{"a", 10, []string{"a 10 from disk: a picture"}},
			{"text", 10, []string{"queue: false", "open: false", "extract: true", "store: false", "text 10 from made: unsupported"}},
			{"text", 10, []string{"text 10 from failure: unsupported"}},
		} {
			told = nil
			c.Get(t.Context(), "p", step.path, step.size)
			synctest.Wait()
			if !slices.Equal(told, step.want) {
				t.Errorf("%s %d: told %q, want %q", step.path, step.size, told, step.want)
			}
		}
		// Requests that join a flight.
		told = nil
		var wg sync.WaitGroup
		p.setHook(func(context.Context, string) error { time.Sleep(time.Second); return nil })
		for range 3 {
			wg.Go(func() { c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 5, Version: "2"}) })
		}
		wg.Wait()
		joined := 0
		for _, line := range told {
			if line == "a 5 from joined: a picture" {
				joined++
			}
		}
		if joined != 2 {
			t.Errorf("told %q, want 2 joined", told)
		}
	})
}

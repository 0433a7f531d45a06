package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A database maps ids to targets. A test can change it, make calls fail, and count them.
type database struct {
	mu      sync.Mutex
	targets map[string]Target
	errs    map[string]error
	calls   map[string]int
	hook    func(ctx context.Context) // runs in every call, without the lock
}

func newDatabase() *database {
	return &database{targets: make(map[string]Target), errs: make(map[string]error), calls: make(map[string]int)}
}

// set sets the target of an id, which is "provider/path".
func (db *database) set(id, target string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	provider, path, _ := strings.Cut(target, "/")
	db.targets[id] = Target{provider, path}
	delete(db.errs, id)
}

func (db *database) fail(id string, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.errs[id] = err
}

func (db *database) called(id string) int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.calls[id]
}

func (db *database) target(ctx context.Context, id string) (Target, error) {
	db.mu.Lock()
	db.calls[id]++
	t, known := db.targets[id]
	err := db.errs[id]
	hook := db.hook
	db.mu.Unlock()
	if hook != nil {
		hook(ctx)
	}
	if err == nil && !known {
		err = fs.ErrNotExist
	}
	return t, err
}

// resolving returns a Config with a provider "id" whose targets db has, and p as its provider "p".
func resolving(db *database, p Provider) Config {
	return Config{Providers: map[string]Provider{"id": Resolve(db.target), "p": p}}
}

// Twelve ids of one target share one extraction, one thumbnail and one file, and each id is resolved once.
func TestResolveShares(t *testing.T) {
	p := newTestProvider()
	p.set("cover", tag("1"), plain(30, 30, red))
	db := newDatabase()
	cfg := resolving(db, p)
	cfg.Dir = t.TempDir()
	c := mustNew(t, cfg)
	etags := make(map[string]bool)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 12 {
		id := fmt.Sprint("tr-", i)
		db.set(id, "p/cover")
		for range 10 {
			wg.Go(func() {
				thumb, err := c.Get(t.Context(), "id", id, 10)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				etags[thumb.ETag] = true
			})
		}
	}
	wg.Wait()
	if direct := mustGet(t, c, "p", "cover", 10); len(etags) != 1 || !etags[direct.ETag] {
		t.Errorf("%d ETags, and the target has %s", len(etags), direct.ETag)
	}
	if st := c.Stats(); st.Extractions != 1 || st.Misses != 1 || st.MemoryEntries != 1 {
		t.Errorf("stats: %+v", st)
	}
	if _, opens := p.calls(); opens != 1 {
		t.Errorf("the target was opened %d times", opens)
	}
	for i := range 12 {
		if n := db.called(fmt.Sprint("tr-", i)); n != 1 {
			t.Errorf("id %d was resolved %d times", i, n)
		}
	}
	c.Close()
	if names := filesIn(t, cfg.Dir); len(names) != 1 || !strings.HasPrefix(names[0], hashOf(source{"p", "cover"})) {
		t.Errorf("files: %v", names)
	}
	c = mustNew(t, cfg)
	mustGet(t, c, "id", "tr-7", 10)
	if st := c.Stats(); st.DiskHits != 1 || st.Extractions != 0 || db.called("tr-7") != 2 {
		t.Errorf("after a restart: %+v, %d calls", st, db.called("tr-7"))
	}
}

// A changed target is noticed by the next look at the id. Until then, and in the request that triggers the look, the thumbnail of
// the old one is served.
func TestTargetChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("red", tag("1"), plain(30, 30, red))
		p.set("blue", tag("1"), plain(30, 30, blue))
		db := newDatabase()
		db.set("a", "p/red")
		c := mustNew(t, resolving(db, p))
		checkColor(t, mustGet(t, c, "id", "a", 10), red)
		db.set("a", "p/blue")
		time.Sleep(59 * time.Second)
		checkColor(t, mustGet(t, c, "id", "a", 10), red)
		synctest.Wait()
		if n := db.called("a"); n != 1 {
			t.Errorf("resolved %d times within Revalidate", n)
		}
		time.Sleep(2 * time.Second)
		checkColor(t, mustGet(t, c, "id", "a", 10), red) // the look runs in the background
		synctest.Wait()
		checkColor(t, mustGet(t, c, "id", "a", 10), blue)
		if n := db.called("a"); n != 2 {
			t.Errorf("resolved %d times, want 2", n)
		}

		// The media at the target changes, as it does without a Resolve.
		p.set("blue", tag("2"), plain(30, 30, green))
		time.Sleep(2 * time.Minute)
		checkColor(t, mustGet(t, c, "id", "a", 10), blue)
		synctest.Wait()
		checkColor(t, mustGet(t, c, "id", "a", 10), green)
	})
}

// The providers of ids have settings of their own.
func TestResolveSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("red", tag("1"), plain(30, 30, red))
		db := newDatabase()
		for _, id := range []string{"a", "b"} {
			db.set(id, "p/red")
		}
		c := mustNew(t, Config{Providers: map[string]Provider{
			"hourly": With(Resolve(db.target), Settings{Revalidate: time.Hour}),
			"never":  With(Resolve(db.target), Settings{Revalidate: -1}),
			"p":      p,
		}})
		for range 30 {
			mustGet(t, c, "hourly", "a", 10)
			mustGet(t, c, "never", "b", 10)
			time.Sleep(5 * time.Minute)
			synctest.Wait()
		}
		if a, b := db.called("a"), db.called("b"); a != 3 || b != 1 {
			t.Errorf("%d and %d calls, want 3 and 1", a, b)
		}
	})
}

// While the database fails, known targets are used, and unknown ones are errors. An id that does not exist is forgotten.
func TestDatabaseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(1)
		db := newDatabase()
		db.set("a", "p/0")
		db.set("b", "p/0")
		c := mustNew(t, resolving(db, p))
		mustGet(t, c, "id", "a", 10)
		offline := errors.New("connection refused")
		db.fail("a", offline)
		db.fail("b", offline)
		for range 5 {
			time.Sleep(2 * time.Minute)
			mustGet(t, c, "id", "a", 10)
			synctest.Wait()
			_, err := c.Get(t.Context(), "id", "b", 10)
			if !errors.Is(err, offline) || HTTPStatus(err) != 503 {
				t.Errorf("an unknown target: %v", err)
			}
		}
		if n := db.called("a"); n != 6 {
			t.Errorf("%d calls, want 6", n)
		}
		db.fail("a", fs.ErrNotExist)
		time.Sleep(2 * time.Minute)
		mustGet(t, c, "id", "a", 10)
		synctest.Wait()
		if _, err := c.Get(t.Context(), "id", "a", 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an id that does not exist: %v", err)
		}
		db.set("a", "p/0")
		mustGet(t, c, "id", "a", 10)
	})
}

// The errors of a target mean what those of a provider mean. They name the id that was requested.
func TestResolveErrors(t *testing.T) {
	failed := errors.New("oh")
	db := newDatabase()
	p := numberedPictures(1)
	c := mustNew(t, resolving(db, p))
	db.set("loop", "id/loop")
	db.set("circle", "id/circle2")
	db.set("circle2", "id/circle")
	db.set("unknown provider", "q/0")
	db.set("no provider", "/0")
	db.set("missing", "p/missing")
	db.set("zero byte", "p/0\x00")
	db.set("via", "id/missing")
	db.set("chain", "id/chain2")
	db.set("chain2", "id/good")
	db.set("good", "p/0")
	db.targets["slash"] = Target{"p/0", ""}
	db.fail("none", fmt.Errorf("album 7: %w", ErrNoMedia))
	db.fail("no picture", ErrNoPicture)
	db.fail("bad id", fs.ErrInvalid)
	db.fail("fails", failed)
	for id, want := range map[string]struct {
		err    error
		status int
		calls  int // by five requests
	}{
		"unknown":          {fs.ErrNotExist, 404, 5},
		"none":             {ErrNoMedia, 404, 1},
		"no picture":       {ErrNoPicture, 404, 1},
		"bad id":           {fs.ErrInvalid, 400, 5},
		"fails":            {failed, 503, 5},
		"missing":          {fs.ErrNotExist, 404, 1},
		"via":              {fs.ErrNotExist, 404, 1},
		"loop":             {nil, 503, 1},
		"circle":           {nil, 503, 1},
		"unknown provider": {nil, 503, 1},
		"no provider":      {nil, 503, 5},
		"slash":            {nil, 503, 5},
		"zero byte":        {fs.ErrInvalid, 400, 1},
		"chain":            {nil, 200, 1},
	} {
		for range 5 {
			_, err := c.Get(t.Context(), "id", id, 10)
			if want.err != nil && !errors.Is(err, want.err) || HTTPStatus(err) != want.status {
				t.Errorf("%s: %v", id, err)
			}
			if want.err == nil && errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: a mistake counts as a missing source: %v", id, err)
			}
			if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Provider != "id" || e.Path != id) {
				t.Errorf("%s: the error is about %+v", id, e)
			}
		}
		if n := db.called(id); n != want.calls {
			t.Errorf("%s: resolved %d times, want %d", id, n, want.calls)
		}
	}
	if st := c.Stats(); st.NegativeHits != 8 {
		t.Errorf("%d remembered failures served, want 8", st.NegativeHits)
	}
}

// An id whose verdict was "no media" gets a picture by the next look, or at once by Invalidate.
func TestVerdictOfTargetEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("red", tag("1"), plain(30, 30, red))
		db := newDatabase()
		db.fail("a", ErrNoMedia)
		db.fail("b", ErrNoMedia)
		c := mustNew(t, resolving(db, p))
		for _, id := range []string{"a", "b"} {
			if _, err := c.Get(t.Context(), "id", id, 10); !errors.Is(err, ErrNoMedia) {
				t.Fatal(err)
			}
			db.set(id, "p/red")
		}
		if err := c.Invalidate("id", "b"); err != nil {
			t.Fatal(err)
		}
		mustGet(t, c, "id", "b", 10)
		time.Sleep(2 * time.Minute)
		c.Get(t.Context(), "id", "a", 10)
		synctest.Wait()
		mustGet(t, c, "id", "a", 10)
	})
}

// After Invalidate, an id has the picture of its present target in its present state, whatever was known of either. So it is after
// a restart.
func TestInvalidateResolved(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart=", restart), func(t *testing.T) {
			p := newTestProvider()
			p.set("x", tag("1"), plain(30, 30, red))
			p.set("y", tag("1"), plain(30, 30, red))
			db := newDatabase()
			db.set("a", "p/x")
			db.set("chain", "id/a")
			cfg := resolving(db, p)
			cfg.Dir = t.TempDir()
			c := mustNew(t, cfg)
			mustGet(t, c, "id", "a", 10)
			mustGet(t, c, "id", "chain", 20)
			mustGet(t, c, "p", "y", 10)
			invalidate := func(id string) {
				t.Helper()
				if restart {
					c.Close()
					c = mustNew(t, cfg)
				}
				if err := c.Invalidate("id", id); err != nil {
					t.Fatal(err)
				}
			}
			// The picture changes, and its stamp does not.
			p.set("x", tag("1"), plain(30, 30, blue))
			invalidate("a")
			if names := filesIn(t, cfg.Dir); len(names) != 1 {
				t.Errorf("stored: %v", names)
			}
			checkColor(t, mustGet(t, c, "id", "a", 10), blue)

			// The target changes, and the new one has changed, too.
			p.set("y", tag("1"), plain(30, 30, green))
			db.set("a", "p/y")
			invalidate("chain")
			checkColor(t, mustGet(t, c, "id", "a", 10), green)
			checkColor(t, mustGet(t, c, "id", "chain", 20), green)

			// The id is deleted. Its thumbnails are removed if it is known where they are.
			db.fail("a", fs.ErrNotExist)
			invalidate("a")
			if names := filesIn(t, cfg.Dir); len(names) != 0 && !restart {
				t.Errorf("stored: %v", names)
			}
			if _, err := c.Get(t.Context(), "id", "a", 10); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v", err)
			}

			// If the target cannot be found now, that is an error, because its thumbnails remain.
			db.fail("a", syscall.EIO)
			if err := c.Invalidate("id", "a"); !errors.Is(err, syscall.EIO) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A call of target that began before Invalidate says nothing about the time after it.
func TestInvalidateDuringResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("red", tag("1"), plain(30, 30, red))
		p.set("blue", tag("1"), plain(30, 30, blue))
		db := newDatabase()
		db.set("a", "p/red")
		db.hook = func(context.Context) { time.Sleep(time.Second) }
		c := mustNew(t, resolving(db, p))
		for _, version := range []string{"", "1"} {
			req := Request{Provider: "id", Path: "a", Size: 10, Version: version}
			db.set("a", "p/red")
			c.Invalidate("id", "a")
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := c.Do(t.Context(), req); err != nil {
					t.Error(err)
				}
			}()
			time.Sleep(time.Millisecond)
			db.set("a", "p/blue")
			if err := c.Invalidate("id", "a"); err != nil {
				t.Fatal(err)
			}
			thumb, err := c.Do(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			checkColor(t, thumb, blue)
			<-done
			if thumb, err = c.Do(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			checkColor(t, thumb, blue)
		}
	})
}

// Each version of an id is resolved once, and a thumbnail of another version is never returned.
func TestResolveVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("red", tag("1"), plain(30, 30, red))
		p.set("blue", tag("1"), plain(30, 30, blue))
		db := newDatabase()
		db.set("a", "p/red")
		cfg := resolving(db, p)
		cfg.Dir = t.TempDir()
		c := mustNew(t, cfg)
		do := func(version string) *Thumbnail {
			t.Helper()
			thumb, err := c.Do(t.Context(), Request{Provider: "id", Path: "a", Size: 10, Version: version})
			if err != nil {
				t.Fatal(err)
			}
			return thumb
		}
		v1 := do("1")
		checkColor(t, v1, red)
		db.set("a", "p/blue")
		checkColor(t, do("2"), blue)
		checkColor(t, do("1"), red)
		time.Sleep(time.Hour)
		checkColor(t, do("1"), red)
		checkColor(t, do("2"), blue)
		synctest.Wait()
		if n := db.called("a"); n != 2 {
			t.Errorf("resolved %d times, want 2", n)
		}
		if stats, opens := p.calls(); stats != 0 || opens != 2 {
			t.Errorf("%d Stats and %d Opens", stats, opens)
		}

		// A URL with a version is answered by 304 without the thumbnail, if the target is known.
		req := Request{Provider: "id", Path: "a", Size: 10, Version: "1"}
		r := httptest.NewRequest("GET", req.URL(), nil)
		r.Header.Set("If-None-Match", v1.ETag)
		for range 2 {
			w := httptest.NewRecorder()
			c.Handler().ServeHTTP(w, r)
			if w.Code != 304 || w.Header().Get("ETag") != v1.ETag {
				t.Errorf("status %d, %v", w.Code, w.Header())
			}
			db.set("a", "p/red")
			c.Close()
			c = mustNew(t, cfg)
		}
	})
}

// Peek and Handler know targets, and Peek does not call for them.
func TestPeekResolved(t *testing.T) {
	db := newDatabase()
	db.set("a", "p/0")
	cfg := resolving(db, numberedPictures(1))
	cfg.Dir = t.TempDir()
	c := mustNew(t, cfg)
	req := Request{Provider: "id", Path: "a", Size: 10}
	if _, ok := c.Peek(t.Context(), req); ok || db.called("a") != 0 {
		t.Error("nothing was made yet")
	}
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest("GET", req.URL(), nil))
	if w.Code != 200 {
		t.Errorf("status %d", w.Code)
	}
	thumb, ok := c.Peek(t.Context(), req)
	if !ok || thumb.ETag != w.Header().Get("ETag") || db.called("a") != 1 {
		t.Errorf("%+v, %v, %d calls", thumb, ok, db.called("a"))
	}
}

// Settings and folder art of the target's provider apply.
func TestResolveFolderArt(t *testing.T) {
	p := newFolderProvider()
	p.set("album/song.mp3", tag("1"), []byte("no picture in it"))
	p.set("album/sleeve.png", tag("1"), plain(30, 30, red))
	p.set("album/cover.png", tag("1"), plain(30, 30, blue))
	db := newDatabase()
	db.set("tr-1", "p/album/song.mp3")
	db.set("al-1", "p/album")
	none := ExtractorFunc(func(context.Context, *Source) (*Picture, error) { return nil, ErrNoPicture })
	cfg := resolving(db, With(p, Settings{FolderArt: []string{"sleeve.*"}}))
	cfg.Extractor = FirstOf(Images(), none)
	c := mustNew(t, cfg)
	checkColor(t, mustGet(t, c, "id", "tr-1", 10), red)
	checkColor(t, mustGet(t, c, "id", "al-1", 10), red)
}

// Warm resolves ids. Those that share a target are made once.
func TestWarmResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase()
		var ids []string
		for i := range 12 {
			ids = append(ids, fmt.Sprint(i))
			db.set(fmt.Sprint(i), fmt.Sprint("p/", i/6))
		}
		db.fail("none", ErrNoMedia)
		ids = append(ids, "none")
		p := numberedPictures(3)
		cfg := resolving(db, p)
		cfg.Dir = t.TempDir()
		c := mustNew(t, cfg)
		done, err := c.Warm(t.Context(), "id", slices.Values(ids), 10)
		if err != nil || done.Extracted != 2 || done.Reused != 10 || done.NoPicture != 1 {
			t.Errorf("%+v, %v", done, err)
		}
		// Warm waits for a look that is due, and finds the new target.
		db.set("0", "p/2")
		time.Sleep(2 * time.Minute)
		done, err = c.Warm(t.Context(), "id", slices.Values([]string{"0", "1"}), 10)
		if err != nil || done.Extracted != 1 || done.Reused != 1 {
			t.Errorf("%+v, %v", done, err)
		}
		// While the database fails, Warm uses the target that it knows.
		db.fail("0", syscall.EIO)
		time.Sleep(2 * time.Minute)
		done, err = c.Warm(t.Context(), "id", slices.Values([]string{"0"}), 10)
		if err != nil || done.Reused != 1 {
			t.Errorf("%+v, %v", done, err)
		}
	})
}

// A thousand ids at once wait for the database. None is refused, and the database is asked once for each.
func TestResolveStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(1)
		db := newDatabase()
		db.hook = func(context.Context) { time.Sleep(time.Second) }
		cfg := resolving(db, p)
		cfg.Workers = 2
		c := mustNew(t, cfg)
		var wg sync.WaitGroup
		for i := range 1000 {
			id := fmt.Sprint(i)
			db.set(id, "p/0")
			for range 2 {
				wg.Go(func() {
					if _, err := c.Get(t.Context(), "id", id, 10); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		for id, n := range db.calls {
			if n != 1 {
				t.Errorf("%s: %d calls", id, n)
			}
		}
	})
}

// A database that hangs delays its requests by Timeout at most. A caller may leave earlier.
func TestHungDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, hung := newDatabase(), make(chan struct{})
		db.hook = func(context.Context) { <-hung }
		db.set("a", "p/0")
		c := mustNew(t, resolving(db, numberedPictures(1)))
		start := time.Now()
		if _, err := c.Get(t.Context(), "id", "a", 10); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, err := c.Get(ctx, "id", "a", 10); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		close(hung)
		c.Close()
		if _, err := c.Get(t.Context(), "id", "a", 10); err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A provider of ids does no work itself, so the only provider of media may use all workers.
func TestResolveLeavesWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase()
		e, gate, calls := gated()
		cfg := resolving(db, numberedPictures(8))
		cfg.Extractor, cfg.Workers = e, 4
		c := mustNew(t, cfg)
		for i := range 8 {
			db.set(fmt.Sprint(i), fmt.Sprint("p/", i))
			go c.Get(t.Context(), "id", fmt.Sprint(i), 10)
		}
		synctest.Wait()
		if n := calls.Load(); n != 4 {
			t.Errorf("%d workers are used, want 4", n)
		}
		close(gate)
		synctest.Wait()
	})
}

// A Resolve is no provider outside of a Config, and New refuses one without a function.
func TestResolveAlone(t *testing.T) {
	r := Resolve(newDatabase().target)
	if _, err := r.Stat(t.Context(), "a"); err == nil {
		t.Error("Stat has no error")
	}
	if _, err := r.Open(t.Context(), "a"); err == nil {
		t.Error("Open has no error")
	}
	if _, err := New(Config{Providers: map[string]Provider{"id": Resolve(nil)}}); err == nil || !strings.Contains(err.Error(), `"id"`) {
		t.Errorf("without a function: %v", err)
	}
}

// An Observer sees the request as it was made, and the stages of the id and of its target.
func TestObserveResolved(t *testing.T) {
	db := newDatabase()
	db.set("a", "p/0")
	var requests, stages atomic.Int32
	cfg := resolving(db, numberedPictures(1))
	cfg.Observer = &Observer{
		Request: func(_ context.Context, req Request, from string, _ time.Duration, err error) {
			if req.Provider != "id" || req.Path != "a" || err != nil || from != []string{"made", "memory"}[requests.Add(1)-1] {
				t.Errorf("%+v from %q, %v", req, from, err)
			}
		},
		Stage: func(provider, path, stage string, _ time.Duration, _ error) {
			if stages.Add(1) == 1 && (provider != "id" || path != "a" || stage != "stat") {
				t.Errorf("first stage: %s of %s/%s", stage, provider, path)
			}
		},
	}
	c := mustNew(t, cfg)
	mustGet(t, c, "id", "a", 10)
	mustGet(t, c, "id", "a", 10)
	if requests.Load() != 2 || stages.Load() < 5 {
		t.Errorf("%d requests, %d stages", requests.Load(), stages.Load())
	}
}

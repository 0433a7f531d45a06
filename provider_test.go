package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A lasting verdict of a provider is remembered until FailureTTL has passed or the source is in another state, after a restart too.
// The thumbnail from before is not served any more.
func TestProviderVerdict(t *testing.T) {
	for _, op := range []string{"stat", "open"} {
		for _, verdict := range []error{ErrNoMedia, ErrNoPicture, ErrUnsupported, ErrCorrupt} {
			for _, version := range []string{"", "v1"} {
				if op == "stat" && version != "" {
					continue // Stat is not called
				}
				t.Run(fmt.Sprint(op, version, " ", verdict), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testProviderVerdict(t, op, verdict, version) })
				})
			}
		}
	}
}

func testProviderVerdict(t *testing.T, op string, verdict error, version string) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(30, 30, red))
	p.set("b", tag("1"), plain(30, 30, red))
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: Images()} // FFmpeg would be asked for its build
	c := mustNew(t, cfg)
	get := func(path string) error {
		_, err := c.Do(t.Context(), Request{Provider: "p", Path: path, Size: 10, Version: version})
		synctest.Wait()
		return err
	}
	mustGet(t, c, "p", "a", 10)

	p.setHook(failOn(op, fmt.Errorf("album 7: %w", verdict)))
	count := func() int { stats, opens := p.calls(); return stats + opens }
	before := count()
	for range 5 {
		if err := get("b"); !errors.Is(err, verdict) {
			t.Fatalf("got %v", err)
		}
	}
	want := map[string]int{"stat": 1, "open": 2}[op] // Stat and Open
	if version != "" {
		want = 1
	}
	if n := count() - before; n != want {
		t.Errorf("%d calls for 5 requests, want %d", n, want)
	}
	if st := c.Stats(); st.NegativeHits != 4 || st.Failures != 1 {
		t.Errorf("stats: %+v", st)
	}

	// It is still known after a restart, although the source is looked at again.
	c.Close()
	c = mustNew(t, cfg)
	before = count()
	if err := get("b"); !errors.Is(err, verdict) {
		t.Errorf("after a restart: %v", err)
	}
	want = 1
	if version != "" {
		want = 0
	}
	if n := count() - before; n != want || c.Stats().NegativeHits != 1 {
		t.Errorf("after a restart: %d calls, want %d; %+v", n, want, c.Stats())
	}

	// The source that had a thumbnail loses it by the next look, unless Stat sees no change.
	time.Sleep(2 * time.Minute)
	if op == "open" {
		p.set("a", tag("2"), nil)
	}
	get("a")
	if err := get("a"); !errors.Is(err, verdict) {
		t.Errorf("the old picture is served: %v", err)
	}
	for _, name := range filesIn(t, cfg.Dir) {
		if !strings.HasSuffix(name, ".none") {
			t.Errorf("stored: %v", name)
		}
	}

	// After FailureTTL it is tried again.
	time.Sleep(11 * time.Minute)
	before = count()
	if err := get("b"); !errors.Is(err, verdict) || count() == before {
		t.Errorf("after FailureTTL: %v, %d calls", err, count()-before)
	}

	// The source has a picture again.
	p.setHook(nil)
	p.set("b", tag("3"), plain(30, 30, blue))
	time.Sleep(2 * time.Minute)
	if version != "" {
		version = "v2"
	}
	get("b")
	if err := get("b"); err != nil {
		t.Errorf("the new picture: %v", err)
	}
	for _, name := range filesIn(t, cfg.Dir) {
		if strings.HasPrefix(name, hashOf(source{"p", "b"})) && strings.HasSuffix(name, ".none") {
			t.Errorf("still stored: %s", name)
		}
	}
}

// A source that does not exist is not remembered, whatever else its error matches: clients can invent any number of them.
func TestMissingIsNotRemembered(t *testing.T) {
	p := newTestProvider()
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir})
	p.setHook(failOn("stat", fmt.Errorf("%w: %w", ErrNoMedia, fs.ErrNotExist)))
	for range 5 {
		if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
	if stats, _ := p.calls(); stats != 5 {
		t.Errorf("%d calls, want 5", stats)
	}
	if names := filesIn(t, dir); len(names) != 0 {
		t.Errorf("stored: %v", names)
	}
}

// The stamp of a verdict is no stamp that a provider returns, and each verdict has its own.
func TestVerdictStamp(t *testing.T) {
	seen := make(map[string]bool)
	for _, want := range verdicts {
		s := verdictStamp(fmt.Errorf("%w: more", want))
		if got := s.verdict(); got != want {
			t.Errorf("%v became %v", want, got)
		}
		seen[s.Version()] = true
	}
	if len(seen) != len(verdicts) {
		t.Errorf("%d stamps for %d verdicts", len(seen), len(verdicts))
	}
	for _, s := range []Stamp{{}, tag("thumbcache: no media for this source"), tag(verdictTag), tag(verdictTag + "other")} {
		if err := s.verdict(); err != nil {
			t.Errorf("%q is %v", s.Tag, err)
		}
	}
}

// Clients see a status and a text that says why, and nothing of what the provider said.
func TestServeNoMedia(t *testing.T) {
	p := newTestProvider()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
	p.setHook(failOn("stat", fmt.Errorf("SELECT secret: %w", ErrNoMedia)))
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/thumb/p/a", nil))
	if w.Code != 404 || w.Body.String() != "there is no media for this\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// Each provider has its own Revalidate, Timeout and FailureTTL.
func TestSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		providers := make(map[string]*testProvider)
		given := make(map[string]Provider)
		for name, s := range map[string]Settings{
			"config": {},
			"own":    {Revalidate: time.Hour, Timeout: time.Second, FailureTTL: time.Hour},
			"off":    {Revalidate: -1, Timeout: -1, FailureTTL: -1},
		} {
			p := newTestProvider()
			p.set("a", tag("1"), plain(30, 30, red))
			p.set("none", tag("1"), []byte("words"))
			providers[name], given[name] = p, With(p, s)
		}
		c := mustNew(t, Config{Providers: given, Extractor: Images(), Revalidate: 10 * time.Minute, Timeout: time.Minute, FailureTTL: 5 * time.Minute})

		type calls struct{ stats, opens int }
		got := make(map[string]calls)
		for range 12 { // in 55 minutes
			for name := range providers {
				mustGet(t, c, name, "a", 10)
				if _, err := c.Get(t.Context(), name, "none", 10); !errors.Is(err, ErrUnsupported) {
					t.Errorf("%s: %v", name, err)
				}
			}
			synctest.Wait()
			time.Sleep(5*time.Minute + time.Second)
		}
		for name, p := range providers {
			stats, opens := p.calls()
			got[name] = calls{stats, opens}
		}
		// Each picture and each attempt at "none" costs one Stat and one Open. Checks of the picture cost a Stat.
		want := map[string]calls{"config": {13 + 5, 13}, "own": {2, 2}, "off": {13, 13}}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s: %+v, want %+v", name, got[name], want[name])
			}
		}

		for name, want := range map[string]time.Duration{"config": time.Minute, "own": time.Second, "off": 100 * time.Hour} {
			providers[name].setHook(hang)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
			defer cancel()
			start := time.Now()
			if _, err := c.Get(ctx, name, "b", 10); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != want {
				t.Errorf("%s: %v after %v, want %v", name, err, time.Since(start), want)
			}
		}
	})
}

// The settings of an outer With replace those of an inner one.
func TestNestedWith(t *testing.T) {
	p := newTestProvider()
	outer := With(With(p, Settings{Revalidate: 1, Timeout: 2, FolderArt: []string{"a"}, Internal: true}),
		Settings{Revalidate: 3, FailureTTL: 4, FolderFirst: true}).(*providerWith)
	got := fmt.Sprintf("%+v", outer.settings)
	want := fmt.Sprintf("%+v", Settings{Revalidate: 3, Timeout: 2, FailureTTL: 4, FolderArt: []string{"a"}, FolderFirst: true, Internal: true})
	if outer.Provider != Provider(p) || got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := New(Config{Providers: map[string]Provider{"p": With(nil, Settings{})}}); err == nil {
		t.Error("nil in With is accepted")
	}
}

// Handler does not serve an internal provider, not even what is in memory. The server itself and Resolve can use it.
func TestInternal(t *testing.T) {
	db := newDatabase()
	db.set("a", "p/0")
	c := mustNew(t, resolving(db, With(numberedPictures(1), Settings{Internal: true})))
	thumb := mustGet(t, c, "p", "0", 300)
	mustGet(t, c, "id", "a", 300)
	for url, want := range map[string]int{
		"/thumb/id/a": 200, "/thumb/p/0": 404, "/thumb/?provider=p&path=0": 404, "/thumb/p/0?size=300&v=1": 404,
	} {
		r := httptest.NewRequest("GET", url, nil)
		for _, match := range []string{"", thumb.ETag, "*"} {
			if match != "" && want == 200 {
				continue
			}
			r.Header.Set("If-None-Match", match)
			w := httptest.NewRecorder()
			c.Handler().ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s: status %d, want %d", url, w.Code, want)
			}
		}
	}
}

// A verdict that Stat returns in the background, while the old thumbnail is served, removes that thumbnail. An error that may pass
// does not.
func TestCoverIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()})
		mustGet(t, c, "p", "a", 10)
		for _, test := range []struct {
			err  error
			kept bool
		}{{syscall.EIO, true}, {ErrNoMedia, false}} {
			p.setHook(failOn("stat", test.err))
			time.Sleep(2 * time.Minute)
			mustGet(t, c, "p", "a", 10)
			synctest.Wait()
			if _, err := c.Get(t.Context(), "p", "a", 10); (err == nil) != test.kept {
				t.Errorf("after %v: %v", test.err, err)
			}
		}
	})
}

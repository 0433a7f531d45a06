package thumbcache

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// eventually polls until ok reports true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) { // real files, a real clock
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 seconds", what)
		}
	}
}

// shelf is a Provider over pictures in memory that can be changed, broken and counted.
type shelf struct {
	mu    sync.Mutex
	media map[string]*Source
	err   error // of every call
	stats int
	opens int
	hook  func(ctx context.Context, op string) error // runs without the lock
}

func newShelf() *shelf { return &shelf{media: make(map[string]*Source)} }

func (s *shelf) set(path string, stamp Stamp, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.media[path] = BytesSource(path, stamp, data)
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shelf) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.media, path)
}

func (s *shelf) calls() (stats, opens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats, s.opens
}

func (s *shelf) find(ctx context.Context, op, path string, count *int) (*Source, error) {
	s.mu.Lock()
	*count++
	src, err, hook := s.media[path], s.err, s.hook
	s.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, op); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	if src == nil {
		return nil, fs.ErrNotExist
	}
	return src, nil
}

func (s *shelf) Stat(ctx context.Context, path string) (Stamp, error) {
	src, err := s.find(ctx, "stat", path, &s.stats)
	if err != nil {
		return Stamp{}, err
	}
	return src.Stamp, nil
}

func (s *shelf) Open(ctx context.Context, path string) (*Source, error) {
	return s.find(ctx, "open", path, &s.opens)
}

// tag makes a stamp that differs from those with another text.
func tag(text string) Stamp { return Stamp{Tag: text} }

// plain returns a PNG of one colour.
func plain(w, h int, c color.Color) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

var (
	red  = color.NRGBA{200, 30, 30, 255}
	blue = color.NRGBA{30, 30, 200, 255}
)

func mustNew(t testing.TB, cfg Config) *Cache {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustGet(t testing.TB, c *Cache, provider, path string, size int) *Thumbnail {
	t.Helper()
	thumb, err := c.Get(t.Context(), provider, path, size)
	if err != nil {
		t.Fatal(err)
	}
	return thumb
}

// colour decodes a thumbnail, checks what it says of itself, and returns the colour of its middle.
func colour(t testing.TB, thumb *Thumbnail) color.NRGBA {
	t.Helper()
	img, format, err := image.Decode(bytes.NewReader(thumb.Data))
	if err != nil {
		t.Fatal(err)
	}
	if want := "image/" + format; thumb.ContentType != want {
		t.Errorf("content type %q of a %s", thumb.ContentType, format)
	}
	if b := img.Bounds(); b.Dx() != thumb.Width || b.Dy() != thumb.Height {
		t.Errorf("says %dx%d, is %v", thumb.Width, thumb.Height, b)
	}
	return color.NRGBAModel.Convert(img.At(thumb.Width/2, thumb.Height/2)).(color.NRGBA)
}

func isColour(t testing.TB, thumb *Thumbnail, want color.NRGBA) {
	t.Helper()
	got := colour(t, thumb)
	for _, d := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
		if d < -6 || d > 6 {
			t.Fatalf("colour %v, want %v", got, want)
		}
	}
}

// filesIn returns the names of all files below dir that are ours.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(d.Name()) > 64 {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestTiers runs one story on every stacking of tiers.
func TestTiers(t *testing.T) {
	for _, test := range []struct {
		name    string
		entries int
		disk    bool
	}{{"memory", 0, false}, {"disk", -1, true}, {"both", 0, true}, {"neither", -1, false}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf()
				s.set("a", tag("1"), plain(40, 20, red))
				cfg := Config{Providers: map[string]Provider{"p": s}, MemoryEntries: test.entries}
				if test.disk {
					cfg.Dir = t.TempDir()
				}
				c := mustNew(t, cfg)
				first := mustGet(t, c, "p", "a", 10)
				isColour(t, first, red)
				if first.Width != 10 || first.Height != 5 {
					t.Errorf("%dx%d, want 10x5", first.Width, first.Height)
				}
				again := mustGet(t, c, "p", "a", 10)
				if !bytes.Equal(first.Data, again.Data) || first.ETag != again.ETag || first.ContentType != again.ContentType {
					t.Error("the second is not the first")
				}
				st := c.Stats()
				// Even without tiers the picture is kept for a moment.
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
						t.Error("after a restart it is another")
					}
					if st := c.Stats(); st.DiskHits != 1 || st.Extractions != 0 {
						t.Errorf("after a restart: %+v", st)
					}
				}
			})
		})
	}
}

func TestStorm(t *testing.T) {
	s := newShelf()
	for i := range 10 {
		s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
	}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() { mustGetQuiet(t, c, fmt.Sprint(i%10), 16) })
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
		wg.Go(func() { mustGetQuiet(t, c, "fresh", size) })
	}
	wg.Wait()
	if st := c.Stats(); st.Extractions != 11 {
		t.Errorf("three sizes at once: %d extractions", st.Extractions-10)
	}
}

func mustGetQuiet(t *testing.T, c *Cache, path string, size int) {
	if thumb, err := c.Get(t.Context(), "p", path, size); err != nil || len(thumb.Data) == 0 {
		t.Errorf("%s: %v", path, err)
	}
}

// gated returns an extractor that waits to be let through, and how many are in it.
func gated() (e Extractor, gate chan struct{}, inside *atomic.Int32) {
	gate, inside = make(chan struct{}), new(atomic.Int32)
	return ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
		inside.Add(1)
		defer inside.Add(-1)
		select {
		case <-gate:
			return extractImage(ctx, src)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}), gate, inside
}

func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
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
		s := newShelf()
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

func TestMisbehaviour(t *testing.T) {
	s := newShelf()
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
			isColour(t, mustGet(t, c, "p", "a", 10), red) // and not remembered
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
			s := newShelf()
			s.set("a", tag("1"), plain(30, 30, red))
			s.hook = func(_ context.Context, op string) error { return hook(op) }
			c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Workers: 1})
			if _, err := c.Get(t.Context(), "p", "a", 10); err == nil {
				t.Error("no error")
			}
			s.hook = nil
			isColour(t, mustGet(t, c, "p", "a", 10), red)
		})
	}
}

func TestFreshness(t *testing.T) {
	for _, dir := range []bool{false, true} {
		t.Run(fmt.Sprint("disk=", dir), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf()
				s.set("a", tag("1"), plain(30, 30, red))
				cfg := Config{Providers: map[string]Provider{"p": s}}
				if dir {
					cfg.Dir = t.TempDir()
				}
				c := mustNew(t, cfg)
				red10 := mustGet(t, c, "p", "a", 10)
				mustGet(t, c, "p", "a", 20)
				stats, _ := s.calls()

				time.Sleep(30 * time.Second)
				mustGet(t, c, "p", "a", 10)
				synctest.Wait()
				if now, _ := s.calls(); now != stats {
					t.Error("looked at before its time")
				}

				time.Sleep(31 * time.Second)
				s.set("a", tag("2"), plain(30, 30, blue))
				isColour(t, mustGet(t, c, "p", "a", 10), red) // at once, and looked at behind
				synctest.Wait()
				blue10 := mustGet(t, c, "p", "a", 10)
				isColour(t, blue10, blue)
				if red10.ETag == blue10.ETag {
					t.Error("same tag for another picture")
				}
				isColour(t, mustGet(t, c, "p", "a", 20), blue) // known to be outdated, though not looked at itself
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

func TestOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.set("a", tag("1"), plain(30, 30, red))
		s.set("b", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir()}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		for _, offline := range []error{syscall.EIO, context.DeadlineExceeded, errors.New("connection refused")} {
			s.fail(offline)
			for range 3 {
				time.Sleep(2 * time.Minute)
				isColour(t, mustGet(t, c, "p", "a", 10), red)
				synctest.Wait()
			}
			_, err := c.Get(t.Context(), "p", "b", 10)
			if !errors.Is(err, offline) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what was never cached: %v", err)
			}
		}
		c.Close()
		c = mustNew(t, cfg)
		isColour(t, mustGet(t, c, "p", "a", 10), red)
		synctest.Wait()

		// Back, with another picture: soon noticed.
		s.fail(nil)
		s.set("a", tag("2"), plain(30, 30, blue))
		time.Sleep(2 * time.Minute)
		mustGet(t, c, "p", "a", 10)
		synctest.Wait()
		isColour(t, mustGet(t, c, "p", "a", 10), blue)

		// Gone again, just when it is known to have changed.
		s.set("a", tag("3"), plain(30, 30, red))
		time.Sleep(2 * time.Minute)
		s.hook = func(_ context.Context, op string) error {
			if op == "open" {
				return syscall.EIO
			}
			return nil
		}
		for range 3 {
			isColour(t, mustGet(t, c, "p", "a", 10), blue)
			synctest.Wait()
		}
		s.hook = nil

		// A sure "does not exist" drops it.
		s.remove("a")
		time.Sleep(2 * time.Minute)
		c.Get(t.Context(), "p", "a", 10)
		synctest.Wait()
		if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after it was removed: %v", err)
		}
		if names := filesIn(t, cfg.Dir); len(names) != 0 {
			t.Errorf("left on disk: %v", names)
		}
	})
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
				s := newShelf()
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
				isColour(t, mustGet(t, c, "p", "a", 10), red)
				c.Close()
				c = mustNew(t, cfg)
				isColour(t, mustGet(t, c, "p", "a", 20), red) // the failure on disk is of another stamp
			})
		})
	}
}

// A song that loses its cover must not go on showing it.
func TestChangeForTheWorse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
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
			s := newShelf()
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
				isColour(t, mustGet(t, c, "p", "a", 10), red)
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
	s := newShelf()
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
	isColour(t, mustGet(t, c, "p", "a", 10), red)
	if names := filesIn(t, dir); len(names) != 0 {
		t.Errorf("stored: %v", names)
	}
	change = false
	isColour(t, mustGet(t, c, "p", "a", 10), blue)
}

func TestInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.set("a", tag("1"), plain(30, 30, red))
		s.set("b", tag("1"), plain(30, 30, red))
		s.set("none", tag("1"), []byte("words"))
		dir := t.TempDir()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir, Extractor: Images()})
		for _, size := range []int{0, 10, 20} {
			mustGet(t, c, "p", "a", size)
		}
		c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Fit: Cover, Format: PNG})
		mustGet(t, c, "p", "b", 10)
		c.Get(t.Context(), "p", "none", 10)
		if n := len(filesIn(t, dir)); n != 6 {
			t.Fatalf("%d files, want 6: %v", n, filesIn(t, dir))
		}
		// Same stamp, another picture: only Invalidate can know.
		s.set("a", tag("1"), plain(30, 30, blue))
		s.set("none", tag("1"), plain(30, 30, blue))
		for _, path := range []string{"a", "none"} {
			if err := c.Invalidate("p", path); err != nil {
				t.Fatal(err)
			}
			isColour(t, mustGet(t, c, "p", path, 10), blue)
		}
		if names := filesIn(t, dir); len(names) != 3 {
			t.Errorf("files: %v", names)
		}
		if err := c.Invalidate("q", "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unknown provider: %v", err)
		}
	})
}

// A picture that was extracted before Invalidate must not show up after it, whatever was under way.
func TestInvalidateDuringExtraction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.set("a", tag("1"), plain(30, 30, red))
		dir := t.TempDir()
		gate := make(chan struct{})
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir, Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			pic, err := extractImage(ctx, src)
			<-gate
			return pic, err
		})})
		old := make(chan *Thumbnail)
		go func() { old <- mustGet(t, c, "p", "a", 10) }()
		synctest.Wait()
		s.set("a", tag("1"), plain(30, 30, blue))
		if err := c.Invalidate("p", "a"); err != nil {
			t.Fatal(err)
		}
		fresh := make(chan *Thumbnail)
		go func() { fresh <- mustGet(t, c, "p", "a", 10) }()
		synctest.Wait()
		close(gate)
		isColour(t, <-old, red)
		isColour(t, <-fresh, blue)
		synctest.Wait()
		isColour(t, mustGet(t, c, "p", "a", 10), blue)
		isColour(t, mustGet(t, c, "p", "a", 20), blue)
		c.Close()
		c = mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir})
		isColour(t, mustGet(t, c, "p", "a", 10), blue)
	})
}

func TestVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.set("a", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir()}
		c := mustNew(t, cfg)
		get := func(version string) *Thumbnail {
			t.Helper()
			thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Version: version})
			if err != nil {
				t.Fatal(err)
			}
			return thumb
		}
		isColour(t, get("v1"), red)
		s.set("a", tag("2"), plain(30, 30, blue))
		isColour(t, get("v1"), red)
		isColour(t, get("v2"), blue) // at once, not behind
		time.Sleep(time.Hour)
		get("v2")
		c.Close()
		c = mustNew(t, cfg)
		get("v2")
		if stats, opens := s.calls(); stats != 0 || opens != 2 {
			t.Errorf("%d stats, %d opens", stats, opens)
		}
		if st := c.Stats(); st.DiskHits != 1 {
			t.Errorf("stats: %+v", st)
		}
		// Without a version it is checked as usual.
		s.set("a", tag("3"), plain(30, 30, red))
		isColour(t, get(""), blue)
		synctest.Wait()
		isColour(t, get(""), red)
		// Not reachable: an explicit version never gets another one's picture.
		s.fail(syscall.EIO)
		if _, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Version: "v3"}); !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v", err)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		for i := range 20 {
			s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
		}
		e, _, inside := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: e, Dir: t.TempDir(), Workers: 2})
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
		if inside.Load() != 0 {
			t.Error("Close did not wait")
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

// A provider that hangs and does not heed its context must not keep anybody waiting, nor take all workers for ever.
func TestHungProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		s, good := newShelf(), newShelf()
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
		isColour(t, mustGet(t, c, "good", "a", 10), red)
		close(hung)
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
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
		isColour(t, mustGet(t, c, "p", "a", 10), red)
		synctest.Wait() // for the flight that was ended: it counts after its waiters have gone
		if st := c.Stats(); st.Failures != 1 || st.Abandoned != 0 {
			t.Errorf("stats: %+v", st)
		}
	})
}

// The wait for the memory that other pictures take is no part of Timeout.
func TestWaitForDecodeBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}})
		if err := c.decoding.Acquire(t.Context(), c.decodeBytes); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Hour, func() { c.decoding.Release(c.decodeBytes) })
		isColour(t, mustGet(t, c, "p", "a", 10), red)
	})
}

func TestSizes(t *testing.T) {
	s := newShelf()
	s.set("a", tag("1"), plain(600, 300, red))
	s.set("sliver", tag("1"), plain(1, 3000, red))
	for _, test := range []struct {
		cfg       Config
		path      string
		size      int
		fit       Fit
		w, h      int
		wantError error
	}{
		{path: "a", size: 100, w: 100, h: 50},
		{path: "a", size: 0, w: 600, h: 300},
		{path: "a", size: 5000, w: 600, h: 300},
		{path: "a", size: 1<<31 - 1, w: 600, h: 300},
		{path: "a", size: 1, w: 1, h: 1},
		{path: "a", size: -1, wantError: fs.ErrInvalid},
		{path: "a", size: -1 << 31, wantError: fs.ErrInvalid},
		{path: "a", size: 100, fit: Cover, w: 100, h: 100},
		{path: "a", size: 0, fit: Cover, w: 300, h: 300},
		{path: "a", size: 500, fit: Cover, w: 300, h: 300},
		{path: "a", size: 10, fit: 7, wantError: fs.ErrInvalid},
		{path: "sliver", size: 100, w: 1, h: 100},
		{path: "a", size: 0, cfg: Config{MaxSize: 200}, w: 200, h: 100},
		{path: "a", size: 300, cfg: Config{MaxSize: 200}, w: 200, h: 100},
		{path: "a", size: 0, cfg: Config{MaxSize: -1}, w: 600, h: 300},
		{path: "a", size: 70, cfg: Config{Sizes: []int{300, 64, 128}}, w: 128, h: 64},
		{path: "a", size: 64, cfg: Config{Sizes: []int{300, 64, 128}}, w: 64, h: 32},
		{path: "a", size: 301, cfg: Config{Sizes: []int{300, 64, 128}}, w: 300, h: 150},
		{path: "a", size: 0, cfg: Config{Sizes: []int{300, 64, 128}}, w: 300, h: 150},
		{path: "a", size: 400, cfg: Config{Sizes: []int{64, 500}, MaxSize: 200}, w: 200, h: 100},
		{path: "a", size: -5, cfg: Config{Sizes: []int{64}}, wantError: fs.ErrInvalid},
		{path: "a", size: 0, cfg: Config{DecodeBytes: 1000}, wantError: ErrTooLarge},
		{path: "a", size: 0, cfg: Config{DecodeBytes: -1}, w: 600, h: 300},
	} {
		cfg := test.cfg
		cfg.Providers = map[string]Provider{"p": s}
		cfg.Dir = t.TempDir()
		c := mustNew(t, cfg)
		thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: test.path, Size: test.size, Fit: test.fit})
		if !errors.Is(err, test.wantError) {
			t.Errorf("%+v: %v", test, err)
		}
		if test.wantError != nil {
			if names := filesIn(t, cfg.Dir); len(names) > 0 {
				t.Errorf("%+v: written: %v", test, names)
			}
			continue
		}
		isColour(t, thumb, red)
		if thumb.Width != test.w || thumb.Height != test.h {
			t.Errorf("%+v: %dx%d", test, thumb.Width, thumb.Height)
		}
	}
}

// An original that was stored under another limit is made anew.
func TestMaxSizeChanges(t *testing.T) {
	s := newShelf()
	s.set("a", tag("1"), plain(600, 300, red))
	cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir()}
	tags := make(map[string]bool)
	for _, limit := range []int{0, 100, 200} {
		cfg.MaxSize = limit
		c := mustNew(t, cfg)
		thumb := mustGet(t, c, "p", "a", 0)
		if want := min(600, cmp.Or(limit, 2048)); thumb.Width != want {
			t.Errorf("limit %d: %d wide", limit, thumb.Width)
		}
		tags[thumb.ETag] = true
		c.Close()
	}
	if len(tags) != 3 {
		t.Errorf("%d tags for 3 pictures", len(tags))
	}
}

// A page full of covers that are due to be looked at, on a slow share, is in nobody's way.
func TestManyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		for i := range 100 {
			s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
		}
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, MemoryEntries: 100, Workers: 1})
		for i := range 99 {
			mustGet(t, c, "p", fmt.Sprint(i), 10)
		}
		time.Sleep(2 * time.Minute)
		s.hook = func(context.Context, string) error { time.Sleep(300 * time.Millisecond); return nil }
		for i := range 99 {
			mustGet(t, c, "p", fmt.Sprint(i), 10)
		}
		mustGet(t, c, "p", "99", 5)
	})
}

// 10,000 sizes asked of a ladder are as many files as it has steps.
func TestLadder(t *testing.T) {
	s := newShelf()
	s.set("a", tag("1"), plain(600, 300, red))
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir, Sizes: []int{64, 128, 256}})
	for size := range 10_000 {
		mustGet(t, c, "p", "a", size)
	}
	if names := filesIn(t, dir); len(names) != 3 {
		t.Errorf("%v", names)
	}
}

func TestBadRequests(t *testing.T) {
	s := newShelf()
	s.set("a", tag("1"), plain(30, 30, red))
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir})
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
		t.Errorf("written: %v", names)
	}
}

func TestConfig(t *testing.T) {
	ok := map[string]Provider{"p": newShelf()}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o644)
	full := t.TempDir()
	os.WriteFile(filepath.Join(full, "precious.txt"), nil, 0o644)
	for field, cfg := range map[string]Config{
		"Providers": {},
		"Workers":   {Providers: ok, Workers: -1},
		"Quality":   {Providers: ok, Quality: 101},
		"Sizes":     {Providers: ok, Sizes: []int{10, 0}},
		"Dir":       {Providers: ok, Dir: file},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Config."+field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, name := range []string{"", "a/b", "/", "a\x00"} {
		if _, err := New(Config{Providers: map[string]Provider{name: newShelf()}}); err == nil {
			t.Errorf("provider %q accepted", name)
		}
	}
	if _, err := New(Config{Providers: map[string]Provider{"p": nil}}); err == nil {
		t.Error("nil provider accepted")
	}
	if _, err := New(Config{Providers: ok, Dir: full}); err == nil || !strings.Contains(err.Error(), full) {
		t.Errorf("a folder with other things in it: %v", err)
	}
	// As much as there is, and nothing, are both fine.
	for _, n := range []int{math.MaxInt, math.MaxInt / 2, -1, math.MinInt} {
		s := newShelf()
		s.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{
			Providers: map[string]Provider{"p": s}, MemoryEntries: n, MemoryBytes: int64(n), DiskBytes: int64(n), DecodeBytes: int64(n),
			MaxSize: n, Timeout: time.Duration(n), Revalidate: time.Duration(n), FailureTTL: time.Duration(n), Dir: t.TempDir(),
		})
		isColour(t, mustGet(t, c, "p", "a", 10), red)
		isColour(t, mustGet(t, c, "p", "a", 10), red)
	}
	// New keeps nothing of the caller's.
	sizes := []int{300, 100}
	providers := map[string]Provider{"p": newShelf()}
	c := mustNew(t, Config{Providers: providers, Sizes: sizes})
	if sizes[0] != 300 {
		t.Error("Sizes were sorted in place")
	}
	delete(providers, "p")
	if _, err := c.Get(t.Context(), "p", "a", 1); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "provider") {
		t.Errorf("got %v", err)
	}
}

func TestFormats(t *testing.T) {
	s := newShelf()
	s.set("glass", tag("1"), plain(30, 30, color.NRGBA{0, 0, 200, 0}))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}})
	isColour(t, mustGet(t, c, "p", "glass", 10), color.NRGBA{255, 255, 255, 255})
	thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "glass", Size: 10, Format: PNG})
	if err != nil {
		t.Fatal(err)
	}
	if got := colour(t, thumb); got.A != 0 {
		t.Errorf("alpha lost: %v", got)
	}
}

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

func TestMemoryBounds(t *testing.T) {
	s := newShelf()
	for i := range 100 {
		s.set(fmt.Sprint(i), tag("1"), plain(40, 40, red))
	}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, MemoryEntries: 3})
	for i := range 100 {
		mustGet(t, c, "p", fmt.Sprint(i), 10)
	}
	if st := c.Stats(); st.MemoryEntries != 3 {
		t.Errorf("%d entries", st.MemoryEntries)
	}
	mustGet(t, c, "p", "97", 10) // used last now
	mustGet(t, c, "p", "1", 10)
	hits := c.Stats().MemoryHits
	mustGet(t, c, "p", "97", 10)
	if got := c.Stats().MemoryHits; got != hits+1 {
		t.Error("the one used last was evicted")
	}
	mustGet(t, c, "p", "98", 10)
	if got := c.Stats().MemoryHits; got != hits+1 {
		t.Error("the one used longest ago was kept")
	}

	size := int64(len(mustGet(t, c, "p", "1", 10).Data))
	c = mustNew(t, Config{Providers: map[string]Provider{"p": s}, MemoryBytes: 5*size + size/2})
	for i := range 100 {
		mustGet(t, c, "p", fmt.Sprint(i), 10)
	}
	if st := c.Stats(); st.MemoryBytes > 5*size+size/2 || st.MemoryEntries != 5 {
		t.Errorf("%d bytes in %d entries", st.MemoryBytes, st.MemoryEntries)
	}
}

// The log gets one line about a disk that fails, not one for each thumbnail.
func TestLogger(t *testing.T) {
	var b bytes.Buffer
	s := newShelf()
	for i := range 20 {
		s.set(fmt.Sprint(i), tag("1"), plain(40, 40, red))
	}
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir, Logger: slog.New(slog.NewTextHandler(&b, nil))})
	replace(t, dir, func() error { return os.WriteFile(dir, []byte("in the way"), 0o644) })
	for i := range 20 {
		isColour(t, mustGet(t, c, "p", fmt.Sprint(i), 10), red)
	}
	if n := strings.Count(b.String(), "cannot be stored"); n != 1 {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
	if c.Stats().DiskErrors == 0 {
		t.Error("not counted")
	}
}

// TestArrows pins the table of CONTRIBUTING: what each file of the root may import, and that rooms do not import each other.
func TestArrows(t *testing.T) {
	imports := func(file string) []string {
		t.Helper()
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, block, _ := strings.Cut(string(src), "import (")
		block, _, _ = strings.Cut(block, ")")
		var paths []string
		for line := range strings.Lines(block) {
			if _, path, ok := strings.Cut(line, `"`); ok {
				paths = append(paths, strings.TrimSuffix(strings.TrimSpace(path), `"`))
			}
		}
		return paths
	}
	const module = "github.com/thumbcache/thumbcache/"
	for file, banned := range map[string][]string{
		"http.go":       {"image", "os", "os/exec", "path/filepath", module},
		"thumbcache.go": {"image", "net/http", "os", "os/exec", "path/filepath", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/proc", module + "internal/render", module + "internal/store"},
		"make.go":       {"image", "net/http", "os", "os/exec", "path/filepath", module + "internal/coverart", module + "internal/ffmpeg", module + "internal/proc"},
		"memory.go":     {"image", "os", "net/http", module},
		"disk.go":       {"image", "net/http", module + "internal/render", module + "internal/coverart", module + "internal/ffmpeg"},
		"extract.go":    {"net/http", module + "internal/flight", module + "internal/store"},
	} {
		for _, path := range imports(file) {
			for _, ban := range banned {
				if path == ban || strings.HasPrefix(path, strings.TrimSuffix(ban, "/")+"/") {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
	allowed := []string{"golang.org/x/sync", "golang.org/x/image", "golang.org/x/sys", "github.com/hashicorp/golang-lru/v2"}
	filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		if d.IsDir() && path != "." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		for _, imp := range imports(path) {
			if !strings.Contains(strings.Split(imp, "/")[0], ".") {
				continue
			}
			room := filepath.ToSlash(filepath.Dir(path))
			ours := strings.HasPrefix(imp+"/", module)
			below := strings.HasPrefix(imp, module+room+"/") || slices.Contains(map[string][]string{
				"internal/ffmpeg":   {module + "internal/proc", module + "internal/heif", module + "internal/jpegdec", module + "internal/turns"},
				"internal/rawphoto": {module + "internal/tiff"},
				"internal/render":   {module + "internal/jpegdec", module + "internal/tiff"},
				"internal/tiff":     {module + "internal/jpegdec"},
				"internal/rootfs":   {module + "internal/canonical"},
				"internal/store":    {module + "internal/readfile"},
			}[room], imp)
			switch {
			case ours && room != "." && !below:
				t.Errorf("%s imports %s", path, imp)
			case !ours && !slices.ContainsFunc(allowed, func(a string) bool { return imp == a || strings.HasPrefix(imp, a+"/") }):
				t.Errorf("%s imports %s", path, imp)
			}
		}
		return nil
	})
}

// BenchmarkMemoryHit compares a hit with golang-lru's raw Get of the same key: see the ratio of the two.
func BenchmarkMemoryHit(b *testing.B) {
	s := newShelf()
	const path = "Artist Name/Album Name/01 - Song.flac"
	s.set(path, tag("1"), plain(300, 300, red))
	c := mustNew(b, Config{Providers: map[string]Provider{"music": s}})
	ctx := b.Context()
	if _, err := c.Get(ctx, "music", path, 300); err != nil {
		b.Fatal(err)
	}
	k := key{source: source{"music", path}, size: 300}
	raw, _ := lru.New[key, *Thumbnail](50)
	raw.Add(k, nil)
	b.Run("thumbcache", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Get(ctx, "music", path, 300)
		}
	})
	b.Run("golang-lru", func(b *testing.B) {
		for b.Loop() {
			raw.Get(k)
		}
	})
	b.Run("thumbcache-parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.Get(ctx, "music", path, 300)
			}
		})
	})
	b.Run("golang-lru-parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				raw.Get(k)
			}
		})
	})
	if c.Stats().Extractions != 1 {
		b.Fatal("not all were hits")
	}
}

// noisy makes a JPEG of w x h that does not compress well, as covers do not.
func noisy(w, h, quality int) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	state := uint32(1)
	for i := range img.Pix {
		state = state*1664525 + 1013904223
		img.Pix[i] = byte(128 + int(state>>24)/4 + 40*(i/4%w)/w)
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// BenchmarkDiskHit compares a hit on disk (flight, read, check, insert) with os.ReadFile of the same file.
func BenchmarkDiskHit(b *testing.B) {
	s := newShelf()
	data := noisy(300, 300, 85)
	s.set("a", tag("1"), data)
	s.set("b", tag("1"), data)
	dir := b.TempDir()
	c := mustNew(b, Config{Providers: map[string]Provider{"music": s}, Dir: dir, MemoryEntries: 1})
	for _, path := range []string{"a", "b"} {
		mustGet(b, c, "music", path, 260)
	}
	names := filesIn(b, dir)
	file := filepath.Join(dir, names[0][:2], names[0])
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d bytes", info.Size())
	b.Run("thumbcache", func(b *testing.B) {
		ctx := b.Context()
		for i := 0; b.Loop(); i++ {
			c.Get(ctx, "music", "ab"[i%2:i%2+1], 260)
		}
	})
	b.Run("os.ReadFile", func(b *testing.B) {
		for b.Loop() {
			os.ReadFile(file)
		}
	})
	if st := c.Stats(); st.Misses != 2 {
		b.Fatalf("not all were hits: %+v", st)
	}
}

// Peek finds what is there, in memory or on disk, and makes nothing.
func TestPeek(t *testing.T) {
	s := newShelf()
	s.set("a", tag("1"), plain(30, 30, red))
	dir := t.TempDir()
	cfg := Config{Providers: map[string]Provider{"p": s}, Dir: dir, MemoryEntries: -1}
	for _, entries := range []int{0, -1} {
		cfg.MemoryEntries = entries
		c := mustNew(t, cfg)
		req := Request{Provider: "p", Path: "a", Size: 10 + entries, Version: "1"}
		if thumb, ok := c.Peek(t.Context(), req); ok {
			t.Errorf("found %v before it was made", thumb)
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
				isColour(t, thumb, red)
			}
		}
		req.Version = "2"
		if _, ok := c.Peek(t.Context(), req); ok {
			t.Error("found another version")
		}
		if after := c.Stats(); after != before {
			t.Errorf("counted: %+v, before %+v", after, before)
		}
	}
}

// Every thumbnail has a ThumbHash, and the same one from disk. Of one colour it is that colour.
func TestThumbHash(t *testing.T) {
	s := newShelf()
	s.set("a", tag("1"), plain(60, 30, red))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir(), MemoryEntries: -1})
	made := mustGet(t, c, "p", "a", 10)
	if n := len(made.ThumbHash); n < 5 || n > 25 {
		t.Fatalf("%d bytes", n)
	}
	stored := mustGet(t, c, "p", "a", 10)
	if c.Stats().DiskHits != 1 || !bytes.Equal(stored.ThumbHash, made.ThumbHash) {
		t.Errorf("made %x, stored %x", made.ThumbHash, stored.ThumbHash)
	}
	// The first bits are the mean lightness, the next ones how red and how yellow it is.
	if h := made.ThumbHash; h[0]&63 < 19 || h[0]&63 > 23 {
		t.Errorf("lightness %d of 63, want a third", h[0]&63)
	}
}

// What was made without a version, by Warm, say, serves those who ask by that of its stamp, and the other way round.
func TestMadeWithoutVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		stamp := Stamp{Size: 5, ModTime: time.Unix(1e9, 7)}
		s.set("a", stamp, plain(60, 30, red))
		s.set("b", stamp, plain(60, 30, red))
		s.set("text", stamp, []byte("no picture at all"))
		cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir(), Extractor: Images()}
		c := mustNew(t, cfg)
		ask := func(path, version string) error {
			_, err := c.Do(t.Context(), Request{Provider: "p", Path: path, Size: 10, Version: version})
			synctest.Wait()
			return err
		}
		ask("a", "")
		ask("b", stamp.Version())
		ask("text", "")
		c.Close()
		misses := c.Stats().Misses
		c = mustNew(t, cfg)
		for range 2 { // from disk, and from memory
			if err := errors.Join(ask("a", stamp.Version()), ask("b", "")); err != nil {
				t.Fatal(err)
			}
			if err := ask("text", stamp.Version()); !errors.Is(err, ErrUnsupported) {
				t.Errorf("got %v", err)
			}
		}
		if got := c.Stats(); misses != 3 || got.Misses != 0 {
			t.Errorf("%d made, and then %d again", misses, got.Misses)
		}
		tags := make(map[string]bool) // a client that has it need not get it again, however it asked
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
		tags[c.recipe.etag(hashOf(source{"p", "a"}), &key{size: 10}, &made{version: stamp.Version()})] = true // before it is looked for
		if len(tags) != 2 {
			t.Errorf("two pictures have %d tags", len(tags))
		}
		stamp.Size++
		s.set("a", stamp, plain(60, 30, red))
		if ask("a", stamp.Version()); c.Stats().Misses != 1 {
			t.Error("an old one was served")
		}
	})
}

// A provider that answers nothing leaves a worker and a part of the queue to the others.
func TestSlowProvider(t *testing.T) {
	for _, workers := range []int{0, 2, 4} {
		synctest.Test(t, func(t *testing.T) {
			slow, good := newShelf(), newShelf()
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
		s := newShelf()
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

func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		var paths []string
		for i := range 20 {
			paths = append(paths, fmt.Sprint(i))
			s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
		}
		s.set("text", tag("1"), []byte("no picture at all"))
		paths = append(paths, "text", "missing")
		var last Warmed
		told := 0
		cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir(), Workers: 3, Extractor: Images(), Observer: &Observer{
			Warmed: func(path string, sofar Warmed, err error) { last, told = sofar, told+1 },
		}}
		c := mustNew(t, cfg)

		// It is cancelled in the middle.
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
			t.Errorf("cancelled: %+v, %v, last told %+v", got, err, last)
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
	s := newShelf()
	var paths []string
	for i := range 100 {
		paths = append(paths, fmt.Sprint(i))
		s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
	}
	cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir()}
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
		s.set(fmt.Sprint(i), tag("2"), plain(30, 30, blue))
	}
	s.remove("99")
	warm("half of them changed", Warmed{Extracted: 50, Reused: 49, Failed: 1})
	warm("nothing changed", Warmed{Reused: 99, Failed: 1})
	s.hook = func(context.Context, string) error { return syscall.EIO }
	warm("offline", Warmed{Reused: 99, Failed: 1})
	c := mustNew(t, cfg)
	isColour(t, mustGet(t, c, "p", "7", 20), blue)
	if _, ok := c.Peek(t.Context(), Request{Provider: "p", Path: "99", Size: 20}); ok {
		t.Error("what does not exist is still there")
	}
}

func TestWarmYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warm, people := newShelf(), newShelf()
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

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.set("a", tag("1"), plain(30, 30, red))
		s.set("text", tag("1"), []byte("no picture at all"))
		var mu sync.Mutex
		var told []string
		tell := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf(format, args...))
		}
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir(), MemoryEntries: 1, Extractor: Images(), Observer: &Observer{
			Request: func(_ context.Context, req Request, from string, took time.Duration, err error) {
				tell("%s %d from %s: %v", req.Path, req.Size, from, causeOf(err))
			},
			Stage: func(provider, path, stage string, took time.Duration, err error) {
				if stage != "stat" { // how often is not said
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
		// Those who join are told so.
		told = nil
		var wg sync.WaitGroup
		s.hook = func(context.Context, string) error { time.Sleep(time.Second); return nil }
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

package thumbcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/store"
	"github.com/thumbcache/thumbcache/sharedtest"
)

var (
	red  = color.RGBA{200, 30, 30, 255}
	blue = color.RGBA{30, 30, 200, 255}
)

// fleetMedia is the media that all machines of a fleet see.
type fleetMedia struct {
	mu     sync.Mutex
	media  map[string]*thumbcache.Source
	opens  atomic.Int64
	open   func(ctx context.Context, path string) error // runs in each Open; may be nil
	failed atomic.Pointer[error]                        // of each call
}

func newFleetMedia() *fleetMedia { return &fleetMedia{media: make(map[string]*thumbcache.Source)} }

// set makes path a picture of one colour, in a state of its own.
func (l *fleetMedia) set(path, state string, c color.Color) {
	l.setData(path, state, plainPNG(40, 40, c))
}

func (l *fleetMedia) setData(path, state string, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.media[path] = thumbcache.BytesSource(path, thumbcache.Stamp{Tag: state}, data)
}

func (l *fleetMedia) remove(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.media, path)
}

func (l *fleetMedia) find(path string) (*thumbcache.Source, error) {
	if err := l.failed.Load(); err != nil {
		return nil, *err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if src := l.media[path]; src != nil {
		return src, nil
	}
	return nil, fs.ErrNotExist
}

func (l *fleetMedia) Stat(ctx context.Context, path string) (thumbcache.Stamp, error) {
	src, err := l.find(path)
	if err != nil {
		return thumbcache.Stamp{}, err
	}
	return src.Stamp, nil
}

func (l *fleetMedia) Open(ctx context.Context, path string) (*thumbcache.Source, error) {
	l.opens.Add(1)
	if l.open != nil {
		if err := l.open(ctx, path); err != nil {
			return nil, err
		}
	}
	return l.find(path)
}

func plainPNG(w, h int, c color.Color) []byte {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.Set(i%w, i/w, c)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// A logBuffer collects what several goroutines log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// machine returns the cache of another machine.
func machine(t *testing.T, engine thumbcache.Shared, l *fleetMedia, change ...func(*thumbcache.Config)) *thumbcache.Cache {
	t.Helper()
	cfg := thumbcache.Config{
		Providers: map[string]thumbcache.Provider{"p": l},
		Extractor: thumbcache.Images(),
		Shared:    engine,
	}
	for _, change := range change {
		change(&cfg)
	}
	c, err := thumbcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func withDir(dir string) func(*thumbcache.Config) {
	return func(cfg *thumbcache.Config) { cfg.Dir = dir }
}

// check checks that a thumbnail has the colour, and returns it.
func check(t *testing.T, c *thumbcache.Cache, path string, want color.RGBA) *thumbcache.Thumbnail {
	t.Helper()
	thumb, err := c.Get(t.Context(), "p", path, 20)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return nil
	}
	img, err := jpeg.Decode(bytes.NewReader(thumb.Data))
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return nil
	}
	r, _, b, _ := img.At(10, 10).RGBA()
	if (r > b) != (want.R > want.B) {
		t.Errorf("%s: wrong colour", path)
	}
	return thumb
}

// extractions returns the sum over machines.
func extractions(machines ...*thumbcache.Cache) (n uint64) {
	for _, c := range machines {
		n += c.Stats().Extractions
	}
	return n
}

// Of many requests on several machines for the same thumbnails, each thumbnail is made once.
func TestSharedStorm(t *testing.T) {
	for _, dirs := range []bool{false, true} {
		t.Run(fmt.Sprintf("dirs=%v", dirs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, l := &sharedtest.Memory{}, newFleetMedia()
				engine.Slow(time.Millisecond)
				l.open = func(context.Context, string) error { time.Sleep(50 * time.Millisecond); return nil }
				for i := range 50 {
					l.set(fmt.Sprint(i), "1", red)
				}
				var machines []*thumbcache.Cache
				for range 4 {
					c := machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) { cfg.Workers = 4 })
					if dirs {
						c = machine(t, engine.Machine(), l, withDir(t.TempDir()))
					}
					machines = append(machines, c)
				}
				var wg sync.WaitGroup
				for i := range 4 * 200 {
					wg.Go(func() { check(t, machines[i%4], fmt.Sprint(i/4%50), red) })
				}
				wg.Wait()
				if n := l.opens.Load(); n != 50 || uint64(n) != extractions(machines...) {
					t.Errorf("opened %d times, %d extractions", n, extractions(machines...))
				}
				var waited, hits, errs uint64
				for _, c := range machines {
					s := c.Stats()
					waited, hits, errs = waited+s.LeasesWaited, hits+s.SharedHits, errs+s.SharedErrors+s.SharedDropped
				}
				if waited == 0 || hits == 0 || errs > 0 {
					t.Errorf("%d waited for leases, %d shared hits, %d errors", waited, hits, errs)
				}
			})
		})
	}
}

// A WebP has a name of its own in the shared tier, and keeps its type.
func TestSharedWebP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		req := thumbcache.Request{Provider: "p", Path: "a", Size: 20, Format: thumbcache.WebP}
		a, b := machine(t, engine.Machine(), l), machine(t, engine.Machine(), l, withDir(t.TempDir()))
		made, err := a.Do(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if values := engine.Values(); len(values) != 1 || !strings.HasSuffix(values[0], ".webp") {
			t.Errorf("values: %q", values)
		}
		shared, err := b.Do(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if shared.ContentType != "image/webp" || shared.ETag != made.ETag || !bytes.Equal(shared.Data, made.Data) || extractions(b) != 0 {
			t.Errorf("%s %s, want %s; %d extractions", shared.ContentType, shared.ETag, made.ETag, extractions(b))
		}
	})
}

// What one machine has made, the others serve with the same ETag, and keep.
func TestSharedHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		l.setData("text", "1", []byte("no picture"))
		a := machine(t, engine.Machine(), l)
		first := check(t, a, "a", red)
		_, firstErr := a.Get(t.Context(), "p", "text", 20)
		synctest.Wait()
		if got := engine.Values(); len(got) != 2 {
			t.Fatalf("values: %q", got)
		}

		dir := t.TempDir()
		var from []string
		b := machine(t, engine.Machine(), l, withDir(dir), func(cfg *thumbcache.Config) {
			cfg.Observer = &thumbcache.Observer{
				Request: func(_ context.Context, _ thumbcache.Request, f string, _ time.Duration, _ error) {
					from = append(from, f)
				},
			}
		})
		second := check(t, b, "a", red)
		_, secondErr := b.Get(t.Context(), "p", "text", 20)
		check(t, b, "a", red)
		b.Get(t.Context(), "p", "text", 20)
		if n := extractions(b); n != 0 || first.ETag != second.ETag || !bytes.Equal(first.Data, second.Data) {
			t.Errorf("%d extractions; ETags %s and %s", n, first.ETag, second.ETag)
		}
		if !errors.Is(firstErr, thumbcache.ErrUnsupported) || !errors.Is(secondErr, thumbcache.ErrUnsupported) {
			t.Errorf("errors %v and %v", firstErr, secondErr)
		}
		if want := []string{"shared", "failure", "memory", "failure"}; !slices.Equal(from, want) {
			t.Errorf("answers from %q, want %q", from, want)
		}
		time.Sleep(time.Minute)
		if n := engine.Calls("Renew"); n != 0 {
			t.Errorf("%d renewals of leases that have ended", n)
		}
		b.Close()
		if files, _ := filepath.Glob(filepath.Join(dir, "??", "*")); len(files) != 2 {
			t.Errorf("files of the second machine: %q", files)
		}
	})
}

// A value of another state of the source is not served, and neither is one whose source is gone. If the source cannot be
// reached, the value is served.
func TestSharedState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("changed", "1", red)
		l.set("gone", "1", red)
		l.set("away", "1", red)
		a := machine(t, engine.Machine(), l)
		synctest.Wait() // it listens
		for _, path := range []string{"changed", "gone", "away"} {
			check(t, a, path, red)
		}
		synctest.Wait()
		l.set("changed", "2", blue)
		l.remove("gone")
		b := machine(t, engine.Machine(), l)
		check(t, b, "changed", blue)
		if _, err := b.Get(t.Context(), "p", "gone", 20); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("gone: %v", err)
		}
		away := errors.New("the share is away")
		l.failed.Store(&away)
		check(t, b, "away", red)
		if s := b.Stats(); s.StaleServed != 1 {
			t.Errorf("%d served stale", s.StaleServed)
		}
		l.failed.Store(nil)

		// The first machine has heard of the change, so its next request makes it check the source.
		synctest.Wait()
		synctest.Wait()
		check(t, a, "away", red)
		if s := a.Stats(); s.StaleServed != 0 {
			t.Errorf("%d served stale, although nothing changed", s.StaleServed)
		}
		check(t, a, "changed", red)
		synctest.Wait()
		check(t, a, "changed", blue)
		if n := extractions(a); n != 3 {
			t.Errorf("%d extractions on the first machine, want 3: the new picture is shared", n)
		}
	})
}

// Invalidate removes a source from all machines. What another machine was extracting is not stored.
func TestSharedInvalidate(t *testing.T) {
	engines := map[string]func(m *sharedtest.Memory) thumbcache.Shared{
		"all abilities": func(m *sharedtest.Memory) thumbcache.Shared { return m.Machine() },
		"composed": func(m *sharedtest.Memory) thumbcache.Shared {
			machine := m.Machine()
			return thumbcache.Compose(machine, machine)
		},
		"no leases": func(m *sharedtest.Memory) thumbcache.Shared {
			machine := m.Machine()
			return struct {
				thumbcache.Shared
				thumbcache.Notifier
			}{machine, machine}
		},
	}
	for name, connect := range engines {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, l := &sharedtest.Memory{}, newFleetMedia()
				engine.Slow(time.Millisecond)
				l.set("a", "1", red)
				a, b := machine(t, connect(engine), l), machine(t, connect(engine), l, withDir(t.TempDir()))
				synctest.Wait()
				check(t, a, "a", red)
				time.Sleep(time.Second)
				check(t, b, "a", red)

				// The source changes without a sign of it, so only Invalidate tells.
				l.set("a", "1", blue)
				if err := a.Invalidate("p", "a"); err != nil {
					t.Fatal(err)
				}
				check(t, a, "a", blue)
				time.Sleep(time.Second)
				check(t, b, "a", blue)

				// Invalidate comes while another machine extracts the old picture.
				opened, goOn := make(chan bool), make(chan bool)
				l.open = func(context.Context, string) error { opened <- true; <-goOn; return nil }
				if err := a.Invalidate("p", "a"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				done := make(chan bool)
				go func() { b.Get(t.Context(), "p", "a", 20); close(done) }()
				<-opened
				if err := a.Invalidate("p", "a"); err != nil {
					t.Fatal(err)
				}
				if name == "no leases" {
					time.Sleep(time.Second) // the message must have arrived
				}
				puts := engine.Calls("Put")
				goOn <- true
				<-done
				time.Sleep(time.Second)
				if values := engine.Values(); len(values) > 0 {
					t.Errorf("stored after Invalidate: %q", values)
				}
				if n := engine.Calls("Put") - puts; n > 0 && name == "no leases" {
					t.Errorf("%d values stored, and removed again", n)
				}
			})
		})
	}
}

// If the shared copies cannot be removed, Invalidate says so. This machine does not use them, and removes them later.
func TestSharedInvalidateLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		l.set("b", "1", red)
		c := machine(t, engine.Machine(), l)
		check(t, c, "a", red)
		synctest.Wait()
		engine.Fail(errors.New("engine: broken"))
		l.set("a", "1", blue)
		if err := c.Invalidate("p", "a"); err == nil {
			t.Error("Invalidate returned no error")
		}
		check(t, c, "a", blue)
		engine.Fail(nil)
		time.Sleep(5 * time.Second)
		if err := c.Invalidate("p", "other"); err != nil { // the engine works again
			t.Error(err)
		}
		time.Sleep(time.Second)
		if values := engine.Values(); len(values) > 0 {
			t.Errorf("not removed: %q", values)
		}
	})
}

// A machine that may have missed a message checks everything that it has.
func TestSharedMissedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		connection := engine.Machine()
		a, b := machine(t, engine.Machine(), l), machine(t, connection, l)
		check(t, b, "a", red)
		synctest.Wait()

		connection.Fail(errors.New("engine: no connection"))
		l.set("a", "2", blue)
		if err := a.Invalidate("p", "a"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		connection.Fail(nil)
		time.Sleep(2 * time.Second)
		check(t, b, "a", red) // and checks it
		synctest.Wait()
		check(t, b, "a", blue)
	})
}

// A machine that dies with a lease delays the others by the life of the lease, and what it stores later is refused.
func TestSharedHolderDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		goOn := make(chan bool)
		first := true
		l.open = func(context.Context, string) error {
			if first {
				first = false
				<-goOn
			}
			return nil
		}
		connection := engine.Machine()
		a, b := machine(t, connection, l), machine(t, engine.Machine(), l)
		done := make(chan bool)
		go func() { a.Get(t.Context(), "p", "a", 20); close(done) }()
		synctest.Wait()
		connection.Freeze()
		start := time.Now()
		check(t, b, "a", red)
		if took := time.Since(start); took < 6*time.Second || took > 8*time.Second {
			t.Errorf("the second machine waited for %v", took)
		}
		if s := b.Stats(); s.LeasesWaited != 1 || s.Extractions != 1 {
			t.Errorf("%+v", s)
		}
		synctest.Wait()
		connection.Thaw()
		commits := engine.Calls("Commit")
		goOn <- true
		<-done
		time.Sleep(10 * time.Second)
		if n := engine.Calls("Commit"); n > commits+1 || len(engine.Values()) != 1 {
			t.Errorf("%d commits, values %q", n, engine.Values())
		}
	})
}

// When a machine has died with a lease, one of those that wait makes the thumbnail, and the others wait for that one.
func TestSharedOneReplacesTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		opened := make(chan bool, 1)
		l.open = func(ctx context.Context, _ string) error {
			select {
			case opened <- true: // the first machine
				<-ctx.Done()
				return ctx.Err()
			default:
				time.Sleep(time.Second)
				return nil
			}
		}
		dead := engine.Machine()
		go machine(t, dead, l, func(cfg *thumbcache.Config) { cfg.Timeout = time.Minute }).Get(t.Context(), "p", "a", 20)
		synctest.Wait()
		dead.Freeze()
		var others []*thumbcache.Cache
		var wg sync.WaitGroup
		for range 3 {
			c := machine(t, engine.Machine(), l)
			others = append(others, c)
			wg.Go(func() { check(t, c, "a", red) })
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		if n := extractions(others...); n != 1 {
			t.Errorf("%d extractions by three machines, want 1", n)
		}
		dead.Thaw()
	})
}

// The first renewal comes soon, because an engine may let a lease that was not renewed end early.
func TestSharedFirstRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		l.open = func(context.Context, string) error {
			time.Sleep(time.Second)
			if n := engine.Calls("Renew"); n != 1 {
				t.Errorf("%d renewals in the first second, want 1", n)
			}
			return nil
		}
		check(t, machine(t, engine.Machine(), l), "a", red)
	})
}

// A machine that takes long renews its lease. The others wait for a while, and then make the thumbnail themselves.
func TestSharedHolderIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		l.set("b", "1", red)
		l.open = func(_ context.Context, path string) error {
			time.Sleep(map[string]time.Duration{"a": 25 * time.Second, "b": 8 * time.Second}[path])
			return nil
		}
		a, b := machine(t, engine.Machine(), l), machine(t, engine.Machine(), l)
		for path, want := range map[string]uint64{"a": 2, "b": 1} {
			before := extractions(a, b)
			var wg sync.WaitGroup
			wg.Go(func() { check(t, a, path, red) })
			synctest.Wait()
			wg.Go(func() { check(t, b, path, red) })
			wg.Wait()
			if n := extractions(a, b) - before; n != want {
				t.Errorf("%s: %d extractions, want %d", path, n, want)
			}
			time.Sleep(time.Second)
		}
		if n := engine.Calls("Renew"); n < 5 {
			t.Errorf("%d renewals", n)
		}
	})
}

// A holder that fails releases its lease at once, so the next machine tries without waiting.
func TestSharedHolderFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		first := true
		l.open = func(context.Context, string) error {
			time.Sleep(time.Second)
			if first {
				first = false
				return errors.New("the share is away")
			}
			return nil
		}
		a, b := machine(t, engine.Machine(), l), machine(t, engine.Machine(), l)
		failed := make(chan error)
		go func() { _, err := a.Get(t.Context(), "p", "a", 20); failed <- err }()
		synctest.Wait()
		start := time.Now()
		go check(t, b, "a", red)
		if err := <-failed; err == nil {
			t.Error("the first machine did not fail")
		}
		time.Sleep(1500 * time.Millisecond)
		if s := b.Stats(); s.Extractions != 1 || s.InFlight != 0 {
			t.Errorf("after %v: %+v", time.Since(start), s)
		}
	})
}

// blocking is an engine whose calls ignore cancellation.
type blocking struct{ release chan bool }

func (b blocking) Get(context.Context, string, string) ([]byte, error) {
	<-b.release
	return nil, fs.ErrNotExist
}
func (b blocking) Put(context.Context, string, string, []byte) error { <-b.release; return nil }
func (b blocking) Remove(context.Context, string) error              { <-b.release; return nil }

// panicking is an engine that panics.
type panicking struct{ thumbcache.Shared }

func (panicking) Lease(context.Context, string, string, time.Duration) (thumbcache.Lease, error) {
	panic("engine: lease")
}

func (panicking) Listen(context.Context, func([]byte)) error { panic("engine: listen") }
func (panicking) Notify(context.Context, []byte) error       { panic("engine: notify") }

// No Get fails because of the engine, and none waits longer than the engine's time.
func TestSharedFaults(t *testing.T) {
	broken := errors.New("engine: broken")
	garble := func(change func([]byte) []byte) func(*testing.T, *sharedtest.Memory) thumbcache.Shared {
		return func(t *testing.T, m *sharedtest.Memory) thumbcache.Shared { m.Garble(change); return m.Machine() }
	}
	faults := map[string]func(*testing.T, *sharedtest.Memory) thumbcache.Shared{
		"none":   func(_ *testing.T, m *sharedtest.Memory) thumbcache.Shared { return m.Machine() },
		"absent": func(_ *testing.T, m *sharedtest.Memory) thumbcache.Shared { m.Fail(broken); return m.Machine() },
		"full": func(_ *testing.T, m *sharedtest.Memory) thumbcache.Shared {
			m.Fail(broken, "Put", "Commit", "Lease")
			return m.Machine()
		},
		"frozen": func(_ *testing.T, m *sharedtest.Memory) thumbcache.Shared { m.Freeze(); return m.Machine() },
		"slow": func(_ *testing.T, m *sharedtest.Memory) thumbcache.Shared {
			m.Slow(30 * time.Millisecond)
			return m.Machine()
		},
		"too slow":  func(_ *testing.T, m *sharedtest.Memory) thumbcache.Shared { m.Slow(time.Second); return m.Machine() },
		"truncated": garble(func(b []byte) []byte { return b[:len(b)/2] }),
		"flipped":   garble(func(b []byte) []byte { b[len(b)/3] ^= 1; return b }),
		"zeros":     garble(func(b []byte) []byte { return make([]byte, len(b)) }),
		"empty":     garble(func([]byte) []byte { return nil }),
		"huge":      garble(func(b []byte) []byte { return make([]byte, 2<<20) }),
		"blocking": func(t *testing.T, _ *sharedtest.Memory) thumbcache.Shared {
			b := blocking{make(chan bool)}
			t.Cleanup(func() { close(b.release) })
			return b
		},
		"panicking": func(_ *testing.T, m *sharedtest.Memory) thumbcache.Shared { return panicking{m.Machine()} },
	}
	for name, connect := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, l := &sharedtest.Memory{}, newFleetMedia()
				for i := range 20 {
					l.set(fmt.Sprint(i), "1", red)
				}
				other := machine(t, engine.Machine(), l) // from before the fault
				for i := range 10 {
					check(t, other, fmt.Sprint(i), red)
				}
				synctest.Wait()
				var log logBuffer
				closed := make(chan bool)
				t.Cleanup(func() { <-closed }) // after what connect cleans up
				shared := connect(t, engine)
				c, err := thumbcache.New(thumbcache.Config{
					Providers: map[string]thumbcache.Provider{"p": l},
					Extractor: thumbcache.Images(),
					Shared:    shared,
					Logger:    slog.New(slog.NewTextHandler(&log, nil)),
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { go func() { c.Close(); close(closed) }() })
				slow := 0
				for i := range 20 {
					start := time.Now()
					check(t, c, fmt.Sprint(i), red)
					took := time.Since(start)
					if took > 150*time.Millisecond {
						t.Errorf("Get took %v", took)
					}
					if took >= 100*time.Millisecond {
						slow++
					}
				}
				if slow > 1 && name != "slow" {
					t.Errorf("%d requests waited for the engine, want 1 at most", slow)
				}
				s := c.Stats()
				if name == "none" && (s.SharedHits != 10 || s.SharedErrors != 0 || s.Extractions != 10) {
					t.Errorf("%+v", s)
				}
				if name != "none" && name != "slow" && s.SharedErrors == 0 && s.Extractions != 20 {
					t.Errorf("the fault was not met: %+v", s)
				}
				if n := strings.Count(log.String(), "shared tier does not work"); n > 1 {
					t.Errorf("%d warnings:\n%s", n, &log)
				}
			})
		})
	}
}

// If one of two composed engines does not work, the other is used.
func TestSharedComposedFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, turns, l := &sharedtest.Memory{}, &sharedtest.Memory{}, newFleetMedia()
		connect := func() *thumbcache.Cache {
			return machine(t, thumbcache.Compose(values.Machine(), turns.Machine()), l)
		}
		for i := range 6 {
			l.set(fmt.Sprint(i), "1", red)
		}
		a, b := connect(), connect()
		turns.Freeze()
		for i := range 3 {
			check(t, a, fmt.Sprint(i), red)
			time.Sleep(time.Second)
			check(t, b, fmt.Sprint(i), red)
		}
		if s := b.Stats(); s.SharedHits != 3 || len(values.Values()) != 3 || len(turns.Values()) != 0 {
			t.Errorf("without leases: %+v, values %q", s, values.Values())
		}
		// The removal of the leases is still to come, and does not keep the values from being used.
		if err := a.Invalidate("p", "0"); err == nil {
			t.Error("Invalidate returned no error")
		}
		for i := range 3 {
			check(t, connect(), fmt.Sprint(i), red)
		}
		time.Sleep(time.Second)
		if n := len(values.Values()); n != 3 {
			t.Errorf("%d values", n)
		}
		turns.Thaw()
		time.Sleep(5 * time.Second)

		values.Freeze()
		l.open = func(context.Context, string) error { time.Sleep(time.Second); return nil }
		before, start := extractions(a, b), time.Now()
		var wg sync.WaitGroup
		for _, c := range []*thumbcache.Cache{a, b} {
			wg.Go(func() { check(t, c, "5", red) })
		}
		wg.Wait()
		if waited := a.Stats().LeasesWaited + b.Stats().LeasesWaited; waited != 1 || extractions(a, b)-before != 2 {
			t.Errorf("without values: %d waited, %d extractions", waited, extractions(a, b)-before)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("without values: the second machine waited for %v, although the first had failed to store", took)
		}
		values.Thaw()
	})
}

// An engine that comes back is used again, and that is logged once, when it has worked for a while.
func TestSharedRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		engine.Freeze()
		var log logBuffer
		c := machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		waited := 0
		for i := range 600 { // a minute
			l.set(fmt.Sprint(i), "1", red)
			start := time.Now()
			check(t, c, fmt.Sprint(i), red)
			if time.Since(start) > 0 {
				waited++
			}
			time.Sleep(100*time.Millisecond - time.Since(start))
		}
		if waited < 10 || waited > 20 {
			t.Errorf("%d requests of a minute waited for the frozen engine", waited)
		}
		engine.Thaw()
		time.Sleep(5 * time.Second)
		for i := range 10 {
			l.set(fmt.Sprint("new", i), "1", red)
			check(t, c, fmt.Sprint("new", i), red)
		}
		synctest.Wait()
		if n := len(engine.Values()); n != 10 {
			t.Errorf("%d values", n)
		}
		for i := range 3 {
			time.Sleep(30 * time.Second)
			l.set(fmt.Sprint("later", i), "1", red)
			check(t, c, fmt.Sprint("later", i), red)
		}
		if warned, recovered := strings.Count(log.String(), "does not work"), strings.Count(log.String(), "works again"); warned != 1 || recovered != 1 {
			t.Errorf("%d warnings and %d recoveries:\n%s", warned, recovered, &log)
		}
	})
}

// An engine that has lost everything is filled again.
func TestSharedRestartsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		a, b := machine(t, engine.Machine(), l), machine(t, engine.Machine(), l)
		check(t, a, "a", red)
		synctest.Wait()
		engine.Restart()
		check(t, b, "a", red)
		synctest.Wait()
		if n := len(engine.Values()); n != 1 {
			t.Errorf("%d values", n)
		}
	})
}

// Writes do not wait for an engine that cannot keep up: they are dropped, and counted.
func TestSharedDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		onlyValues := struct{ thumbcache.Shared }{engine.Machine()} // waiting for leases would slow down the machine, too
		c := machine(t, onlyValues, l, func(cfg *thumbcache.Config) { cfg.SharedTimeout = time.Second })
		synctest.Wait()
		engine.Slow(900 * time.Millisecond)
		var wg sync.WaitGroup
		for i := range 400 {
			l.set(fmt.Sprint(i), "1", red)
			wg.Go(func() { check(t, c, fmt.Sprint(i), red) })
		}
		wg.Wait()
		if s := c.Stats(); s.SharedDropped == 0 {
			t.Errorf("nothing dropped: %+v", s)
		}
	})
}

// Machines with other settings do not replace each other's values.
func TestSharedSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		l.set("a", "1", red)
		for range 3 {
			for _, quality := range []int{50, 85} {
				check(t, machine(t, engine.Machine(), l, func(cfg *thumbcache.Config) { cfg.Quality = quality }), "a", red)
				synctest.Wait()
			}
		}
		if n := l.opens.Load(); n != 2 {
			t.Errorf("%d extractions, want 2", n)
		}
	})
}

// A large thumbnail is not shared.
func TestSharedLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		img := image.NewNRGBA(image.Rect(0, 0, 700, 700))
		for i := range img.Pix {
			img.Pix[i] = byte(rand.Uint32())
		}
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		l.setData("noise", "1", b.Bytes())
		c := machine(t, engine.Machine(), l)
		thumb, err := c.Do(t.Context(), thumbcache.Request{Provider: "p", Path: "noise", Format: thumbcache.PNG})
		if err != nil || len(thumb.Data) <= 1<<20 {
			t.Fatal(err)
		}
		synctest.Wait()
		if values := engine.Values(); len(values) > 0 || engine.Calls("Release") != 1 {
			t.Errorf("values %q, %d leases released", values, engine.Calls("Release"))
		}
	})
}

// What one machine has warmed, Warm reuses on another.
func TestSharedWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		engine.Slow(time.Millisecond)
		var paths []string
		for i := range 300 {
			paths = append(paths, fmt.Sprint(i))
			l.set(paths[i], "1", red)
		}
		for _, want := range []thumbcache.Warmed{{Extracted: 300}, {Reused: 300}} {
			c := machine(t, engine.Machine(), l, withDir(t.TempDir()))
			got, err := c.Warm(t.Context(), "p", slices.Values(paths), 20)
			if err != nil || got != want || c.Stats().SharedDropped > 0 {
				t.Errorf("%+v, %v; %d dropped", got, err, c.Stats().SharedDropped)
			}
		}
		c := machine(t, engine.Machine(), l)
		if got, err := c.Warm(t.Context(), "p", slices.Values(paths), 20, 30); err != nil || got.Extracted != 300 || c.Stats().MemoryEntries > 0 {
			t.Errorf("without a Dir: %+v, %v; %d kept in memory", got, err, c.Stats().MemoryEntries)
		}
	})
}

// A failure that a machine with a wrong clock has recorded counts, unless the clock is very wrong.
func TestSharedClocks(t *testing.T) {
	for ahead, want := range map[time.Duration]int64{time.Hour: 0, -time.Minute: 0, -time.Hour: 1, 48 * time.Hour: 1} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, l := &sharedtest.Memory{}, newFleetMedia()
				l.setData("text", "1", []byte("no picture"))
				machine(t, engine.Machine(), l).Get(t.Context(), "p", "text", 20)
				synctest.Wait()
				connection := engine.Machine()
				connection.Garble(func(b []byte) []byte {
					e, err := store.Unseal(b, &store.Key{Provider: "p", Path: "text", None: true})
					if err != nil {
						t.Fatal(err)
					}
					e.Made = e.Made.Add(ahead)
					b, err = e.Seal()
					if err != nil {
						t.Fatal(err)
					}
					return b
				})
				before := l.opens.Load()
				if _, err := machine(t, connection, l).Get(t.Context(), "p", "text", 20); !errors.Is(err, thumbcache.ErrUnsupported) {
					t.Error(err)
				}
				if n := l.opens.Load() - before; n != want {
					t.Errorf("%d extractions, want %d", n, want)
				}
			})
		})
	}
}

// Values from before a restart of the process are found, and Close leaves nothing behind.
func TestSharedClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, l := &sharedtest.Memory{}, newFleetMedia()
		engine.Slow(10 * time.Millisecond)
		l.set("a", "1", red)
		c := machine(t, engine.Machine(), l)
		check(t, c, "a", red)
		c.Close() // which waits for the write
		if n := len(engine.Values()); n != 1 {
			t.Errorf("%d values", n)
		}
		if err := c.Invalidate("p", "a"); err != thumbcache.ErrClosed {
			t.Errorf("Invalidate: %v", err)
		}
	})
}

// The error of a machine without its media names no engine.
func TestSharedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &sharedtest.Memory{}
		engine.Fail(os.ErrPermission)
		_, err := machine(t, engine.Machine(), newFleetMedia()).Get(t.Context(), "p", "missing", 20)
		if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			t.Error(err)
		}
	})
}

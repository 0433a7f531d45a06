package thumbcache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache/internal/flight"
)

// Many concurrent requests for a few sources cost one extraction for each source.
func TestStorm(t *testing.T) {
	p := numberedPictures(10)
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()})
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
	p.set("fresh", tag("1"), plain(1500, 1500, blue))
	for _, size := range []int{64, 300, 1200} {
		wg.Go(func() { tryGet(t, c, "fresh", size) })
	}
	wg.Wait()
	if st := c.Stats(); st.Extractions != 11 {
		t.Errorf("three sizes at once: %d extractions", st.Extractions-10)
	}
}

// A caller whose context ends returns at once. The work goes on for the other callers, and is canceled when the last one has
// left. The next caller starts it again.
func TestCallersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		e, gate, calls := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: e})
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
			t.Errorf("the caller that left got %v", err)
		}
		synctest.Wait()
		if calls.Load() != 1 {
			t.Fatal("the work ended although other callers wait")
		}

		leaveAll()
		for range 3 {
			<-results
		}
		synctest.Wait()
		if calls.Load() != 0 {
			t.Fatal("the work goes on although no caller waits")
		}
		if st := c.Stats(); st.Abandoned != 1 || st.InFlight != 0 || st.Failures != 0 || st.Coalesced != 3 {
			t.Errorf("stats: %+v", st)
		}

		go get(t.Context())
		synctest.Wait()
		close(gate)
		if err := <-results; err != nil {
			t.Errorf("the next caller got %v", err)
		}
	})
}

// A caller that leaves makes room in the queue.
func TestCallerLeavesQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		for _, path := range []string{"a", "b", "c"} {
			p.set(path, tag("1"), plain(30, 30, red))
		}
		e, gate, calls := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: e, Workers: 1, Queue: 1})
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
			t.Errorf("with a full queue: %v", err)
		}
		leave()
		<-results
		synctest.Wait()
		go get(t.Context(), "c")
		synctest.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d extractions run, want 1", n)
		}
		close(gate)
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if st := c.Stats(); st.Extractions != 2 {
			t.Errorf("%d extractions, want 2: queued work was not dropped", st.Extractions)
		}
	})
}

// Whatever an extractor does, the caller gets an error of step "extract", and the next Get works.
func TestBadExtractor(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(30, 30, red))
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
		"missing tool, and a path": func(context.Context, *Source) (*Picture, error) {
			return nil, &exec.Error{Name: "/opt/secret/tool", Err: fmt.Errorf("%w: %w", exec.ErrNotFound, fs.ErrNotExist)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad := true
			c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
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
			case "missing tool", "missing tool, and a path":
				want = http.StatusServiceUnavailable
			case "no picture, and a file is missing":
				want = http.StatusNotFound
			}
			if got := HTTPStatus(err); got != want || strings.Contains(err.Error(), "secret") {
				t.Errorf("status %d, want %d: %v", got, want, err)
			}
			bad = false
			if errors.Is(err, ErrNoPicture) {
				if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, ErrNoPicture) {
					t.Errorf("the failure was not remembered: %v", err)
				}
				return
			}
			checkColor(t, mustGet(t, c, "p", "a", 10), red) // the failure was not remembered
		})
	}
}

// A provider that panics or ends its goroutine fails the request, and the next Get works.
func TestProviderPanics(t *testing.T) {
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
			p := newTestProvider()
			p.set("a", tag("1"), plain(30, 30, red))
			p.setHook(func(_ context.Context, op string) error { return hook(op) })
			c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Workers: 1})
			if _, err := c.Get(t.Context(), "p", "a", 10); err == nil {
				t.Error("no error")
			}
			p.setHook(nil)
			checkColor(t, mustGet(t, c, "p", "a", 10), red)
		})
	}
}

// A panic in a background check is logged. The next check waits for its turn, as after any check that failed.
func TestPanicInBackgroundCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := numberedPictures(1)
		var log syncBuffer
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		mustGet(t, c, "p", "0", 10)
		time.Sleep(2 * time.Minute)
		p.setHook(func(_ context.Context, op string) error { panic("oh: " + op) })
		before, _ := p.calls()
		for range 5 {
			mustGet(t, c, "p", "0", 10)
			synctest.Wait()
		}
		if after, _ := p.calls(); after != before+1 {
			t.Errorf("%d checks for 5 hits, want 1", after-before)
		}
		if text := log.String(); strings.Count(text, "oh: stat") != 1 {
			t.Errorf("log: %s", text)
		}
		time.Sleep(2 * retryLook)
		p.setHook(nil)
		mustGet(t, c, "p", "0", 10)
		synctest.Wait()
		if after, _ := p.calls(); after != before+2 {
			t.Errorf("%d checks, want another one later", after-before)
		}
	})
}

// A panic while a thumbnail is made again in the background is logged.
func TestPanicInReplace(t *testing.T) {
	for _, stage := range []string{"extract", "render"} {
		synctest.Test(t, func(t *testing.T) {
			p := newTestProvider()
			p.set("a", tag("1"), plain(30, 30, red))
			var log syncBuffer
			c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Logger: slog.New(slog.NewTextHandler(&log, nil)), Observer: &Observer{
				Stage: func(_, _, now string, _ time.Duration, _ error) {
					if stats, _ := p.calls(); now == stage && stats > 2 {
						panic("oh: " + stage)
					}
				},
			}})
			mustGet(t, c, "p", "a", 10)
			p.set("a", tag("2"), plain(30, 30, blue))
			time.Sleep(2 * time.Minute)
			mustGet(t, c, "p", "a", 10)
			synctest.Wait()
			if text := log.String(); strings.Count(text, "panic=\"oh: "+stage) != 1 {
				t.Errorf("%s: log: %s", stage, text)
			}
		})
	}
}

// A picture that has become too large is an error at once, and the old thumbnail is not served now and then.
func TestPictureBecomesTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), DecodeBytes: 400 << 10}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		p.set("a", tag("2"), plain(1000, 1000, blue))
		time.Sleep(2 * time.Minute)
		mustGet(t, c, "p", "a", 10) // stale, and checked in the background
		synctest.Wait()
		for range 3 {
			if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v", err)
			}
			time.Sleep(2 * time.Minute)
		}
		if names := filesIn(t, cfg.Dir); len(names) > 0 {
			t.Errorf("still stored: %v", names)
		}
	})
}

// Failures that are due to the media are remembered, also over a restart, until FailureTTL has passed or the source changes.
// Failures that may pass are not remembered.
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
				p := newTestProvider()
				p.set("a", tag("1"), song)
				calls := 0
				cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
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
						t.Errorf("stored: %v", names)
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
				p.fail(syscall.EIO) // a source that cannot be reached keeps its failure
				time.Sleep(2 * time.Minute)
				get(10)
				p.fail(nil)
				if st := c.Stats(); st.NegativeHits != 3 || st.Misses != 0 {
					t.Errorf("stats: %+v", st)
				}
				time.Sleep(7 * time.Minute)
				get(10)
				if calls != 2 {
					t.Errorf("%d calls after FailureTTL, want 2", calls)
				}
				time.Sleep(2 * time.Minute)
				p.set("a", tag("2"), plain(30, 30, red))
				checkColor(t, mustGet(t, c, "p", "a", 10), red)
				c.Close()
				c = mustNew(t, cfg)
				checkColor(t, mustGet(t, c, "p", "a", 20), red) // the failure on disk has another stamp
			})
		})
	}
}

// A remembered failure is checked when it is due: it is forgotten if the source does not exist any more. A caller that leaves
// meanwhile ends the check.
func TestFailureOfMissingSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), []byte("words"))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: Images(), FailureTTL: time.Hour}
		c := mustNew(t, cfg)
		if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, ErrUnsupported) {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Minute)
		p.setHook(hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Get(ctx, "p", "a", 10); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that left: %v", err)
		}
		synctest.Wait()
		if st := c.Stats(); st.Abandoned != 1 || st.InFlight != 0 || st.NegativeHits != 0 {
			t.Errorf("stats: %+v", st)
		}
		p.setHook(nil)
		p.remove("a")
		if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing source: %v", err)
		}
		if names := filesIn(t, cfg.Dir); len(names) > 0 {
			t.Errorf("still stored: %v", names)
		}
		p.set("a", tag("1"), plain(30, 30, red)) // the stamp of the failure
		checkColor(t, mustGet(t, c, "p", "a", 10), red)
	})
}

// Another process stored a failure of the source in its present state, and thumbnails of its previous state are still there.
// The failure holds.
func TestFailureReplacesThumbnails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: Images()}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		mustGet(t, c, "p", "a", 20)
		p.set("a", tag("2"), []byte("words"))
		s := source{"p", "a"}
		c.disk.saveFailure(sourceFlight{source: s, gen: c.generations.of(s)}, &failure{made: made{stamp: tag("2")}, err: ErrNoPicture, at: time.Now()})
		time.Sleep(2 * time.Minute)
		mustGet(t, c, "p", "a", 10) // stale, and checked in the background
		synctest.Wait()
		for _, size := range []int{10, 20} {
			if _, err := c.Get(t.Context(), "p", "a", size); !errors.Is(err, ErrNoPicture) {
				t.Errorf("size %d: %v", size, err)
			}
		}
		if names := filesIn(t, cfg.Dir); len(names) != 1 || !strings.HasSuffix(names[0], ".none") {
			t.Errorf("stored: %v", names)
		}
		if st := c.Stats(); st.Extractions != 1 {
			t.Errorf("%d extractions, want 1", st.Extractions)
		}
	})
}

// A flight looks into memory first, because another flight for the same thumbnail may just have ended.
func TestFlightFindsThumbnailInMemory(t *testing.T) {
	p := numberedPictures(1)
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
	want := mustGet(t, c, "p", "0", 10)
	s := source{"p", "0"}
	j := &job{thumbFlight: thumbFlight{key: key{source: s, shape: shape{size: 10}}, gen: c.generations.of(s)}, hash: hashOf(s)}
	if got, err := c.await(t.Context(), j); got != want || err != nil {
		t.Errorf("%p, want %p: %v", got, want, err)
	}
	if st := c.Stats(); st.Misses != 1 || st.MemoryHits != 1 {
		t.Errorf("stats: %+v", st)
	}
}

// The source of a thumbnail has changed, and a flight in progress is about to serve the old thumbnail. It is made again all the
// same.
func TestReplaceDuringFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("2"), plain(30, 30, blue))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
		s := source{"p", "a"}
		j := &job{thumbFlight: thumbFlight{key: key{source: s, shape: shape{size: 10}}, gen: c.generations.of(s)}, hash: hashOf(s)}
		served := make(chan struct{})
		c.thumbs.Start(j.thumbFlight, func(*flight.Work) (*Thumbnail, error) {
			<-served
			return nil, ErrBusy
		})
		c.replace(j, tag("2"))
		synctest.Wait()
		if e := c.memory.get(&j.key); e == nil || !e.fresh("") {
			t.Errorf("not made again: %+v", e)
		} else {
			checkColor(t, e.thumb, blue)
		}
		close(served)
	})
}

// Pictures that cannot be decoded fail with an error of step "decode".
func TestBadPictures(t *testing.T) {
	huge := plain(1, 1, red)
	binary.BigEndian.PutUint32(huge[16:], 1<<30) // the width in the header of a PNG
	binary.BigEndian.PutUint32(huge[20:], 1<<30)
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	truncated := plain(30, 30, red)
	for name, test := range map[string]struct {
		data []byte
		want error
	}{
		"too large": {huge, ErrTooLarge},
		"truncated": {truncated[:len(truncated)/2], ErrCorrupt},
		"words":     {[]byte("words"), ErrUnsupported},
	} {
		p := newTestProvider()
		p.set("a", tag("1"), test.data)
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: ExtractorFunc(func(context.Context, *Source) (*Picture, error) {
			return &Picture{Data: test.data}, nil
		})})
		_, err := c.Get(t.Context(), "p", "a", 10)
		var e *Error
		if !errors.Is(err, test.want) || !errors.As(err, &e) || e.Op != "decode" {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// A song that loses its cover is not served with the old one.
func TestPictureIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: Images()}
		c := mustNew(t, cfg)
		mustGet(t, c, "p", "a", 10)
		mustGet(t, c, "p", "a", 20)
		p.set("a", tag("2"), []byte("words"))
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

// A source alternates between having a picture and having none. Each request gets what the source has now.
func TestPictureComesAndGoes(t *testing.T) {
	for _, dir := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newTestProvider()
			// Even such a short Revalidate works.
			cfg := Config{Providers: map[string]Provider{"p": p}, Extractor: Images(), Revalidate: time.Nanosecond, FailureTTL: time.Hour}
			if dir {
				cfg.Dir = t.TempDir()
			}
			c := mustNew(t, cfg)
			for range 3 {
				p.set("a", tag("1"), []byte("words"))
				time.Sleep(time.Second)
				c.Get(t.Context(), "p", "a", 10) // may be stale: the source is checked in the background
				time.Sleep(time.Second)
				if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, ErrUnsupported) {
					t.Errorf("without a picture: %v", err)
				}
				p.set("a", tag("2"), plain(30, 30, red))
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

// A picture whose content changes during the extraction is served, but not stored.
func TestChangedWhileExtracting(t *testing.T) {
	changing := func(change func()) Extractor {
		return ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			pic, err := extractImage(ctx, src)
			change()
			return pic, err
		})
	}
	check := func(t *testing.T, cfg Config, path string) {
		t.Helper()
		cfg.Dir = t.TempDir()
		c := mustNew(t, cfg)
		checkColor(t, mustGet(t, c, "p", path, 10), red)
		if names := filesIn(t, cfg.Dir); len(names) != 0 {
			t.Errorf("stored: %v", names)
		}
		checkColor(t, mustGet(t, c, "p", path, 10), blue)
		if names := filesIn(t, cfg.Dir); len(names) != 1 {
			t.Errorf("stored: %v", names)
		}
	}
	t.Run("content of a kind of its own", func(t *testing.T) {
		p := newTestProvider()
		p.wrap = func(src *Source) { src.Content = plainContent{src.Content} }
		p.set("a", tag("1"), plain(30, 30, red))
		change := sync.OnceFunc(func() { p.set("a", tag("2"), plain(30, 30, blue)) })
		check(t, Config{Providers: map[string]Provider{"p": p}, Extractor: changing(change)}, "a")
	})
	t.Run("a file", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "a.png")
		write := func(data []byte) {
			if err := os.WriteFile(name, data, 0o644); err != nil { // in place
				t.Error(err)
			}
		}
		write(plain(30, 30, red))
		past := time.Now().Add(-time.Hour)
		if err := os.Chtimes(name, past, past); err != nil {
			t.Fatal(err)
		}
		change := sync.OnceFunc(func() { write(plain(30, 30, blue)) })
		check(t, Config{Providers: map[string]Provider{"p": Files(filepath.Dir(name))}, Extractor: changing(change)}, "a.png")
	})
}

// plainContent has no methods but those of a Content.
type plainContent struct {
	content interface {
		io.ReaderAt
		io.Closer
	}
}

func (c plainContent) ReadAt(p []byte, off int64) (int, error) { return c.content.ReadAt(p, off) }
func (c plainContent) Close() error                            { return c.content.Close() }

// Content in memory cannot change. A source that changes during the extraction has a thumbnail of its state before, until it is
// looked at again.
func TestReplacedWhileExtracting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		change := sync.OnceFunc(func() { p.set("a", tag("2"), plain(30, 30, blue)) })
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			time.Sleep(20 * time.Second)
			change()
			return extractImage(ctx, src)
		})})
		checkColor(t, mustGet(t, c, "p", "a", 10), red)
		time.Sleep(39 * time.Second)
		mustGet(t, c, "p", "a", 10)
		time.Sleep(2 * time.Second) // a minute after the look, which was before the extraction
		mustGet(t, c, "p", "a", 10)
		time.Sleep(21 * time.Second)
		checkColor(t, mustGet(t, c, "p", "a", 10), blue)
	})
}

// A cold thumbnail costs one Stat and one Open. If Open does not return the stamp of Stat, or the content cannot tell whether it
// has changed, it costs another Stat.
func TestLookups(t *testing.T) {
	for _, test := range []struct {
		name  string
		wrap  func(src *Source)
		stats int
	}{
		{"in memory", nil, 1},
		{"no stamp", func(src *Source) { src.Stamp = Stamp{} }, 2},
		{"another stamp", func(src *Source) { src.Stamp = tag("other") }, 2},
		{"content of a kind of its own", func(src *Source) { src.Content = plainContent{src.Content} }, 2},
	} {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		p.wrap = test.wrap
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()})
		for range 5 {
			for _, size := range []int{10, 20} {
				mustGet(t, c, "p", "a", size)
			}
		}
		if stats, opens := p.calls(); stats != test.stats || opens != 1 {
			t.Errorf("%s: %d Stats and %d Opens, want %d and 1", test.name, stats, opens, test.stats)
		}
	}

	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a.png"), plain(30, 30, red), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &countingProvider{Provider: Files(folder)}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
	mustGet(t, c, "p", "a.png", 10)
	if p.stats.Load() != 1 || p.opens.Load() != 1 {
		t.Errorf("a file: %d Stats and %d Opens, want 1 and 1", p.stats.Load(), p.opens.Load())
	}
}

// A countingProvider counts the calls of a Provider.
type countingProvider struct {
	Provider
	stats, opens atomic.Int32
}

func (p *countingProvider) Stat(ctx context.Context, path string) (Stamp, error) {
	p.stats.Add(1)
	return p.Provider.Stat(ctx, path)
}

func (p *countingProvider) Open(ctx context.Context, path string) (*Source, error) {
	p.opens.Add(1)
	return p.Provider.Open(ctx, path)
}

// A provider that hangs and ignores cancellation delays its requests by Timeout at most, and does not occupy the workers.
func TestHungProvider(t *testing.T) {
	for name, version := range map[string]string{"Stat hangs": "", "Open hangs": "1"} { // a request with a version calls no Stat
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hung := make(chan struct{})
				bad, good := newTestProvider(), newTestProvider()
				bad.setHook(func(context.Context, string) error { <-hung; return syscall.EIO })
				good.set("a", tag("1"), plain(30, 30, red))
				c := mustNew(t, Config{Providers: map[string]Provider{"bad": bad, "good": good}, Workers: 1, Timeout: time.Second})
				busy := 0
				for i := range 30 {
					start := time.Now()
					_, err := c.Do(t.Context(), Request{Provider: "bad", Path: fmt.Sprint(i), Size: 10, Version: version})
					if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrBusy) || time.Since(start) > 2*time.Second {
						t.Fatalf("call %d: %v after %v", i, err, time.Since(start))
					}
					if errors.Is(err, ErrBusy) {
						busy++
					}
				}
				if stats, opens := bad.calls(); stats+opens > 2+hungCalls || busy != 30-stats-opens {
					t.Errorf("%d calls hang, want at most %d; %d requests were refused", stats+opens, 2+hungCalls, busy)
				}
				checkColor(t, mustGet(t, c, "good", "a", 10), red)
				close(hung)
			})
		})
	}
}

// A thumbnail that takes longer than Timeout fails. The failure is not remembered.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		e, gate, _ := gated()
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: e})
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
		synctest.Wait() // for the flight that timed out: it counts its failure after its callers have left
		if st := c.Stats(); st.Failures != 1 || st.Abandoned != 0 {
			t.Errorf("stats: %+v", st)
		}
	})
}

// Waiting for memory, which other pictures use, does not count as part of Timeout. A caller that leaves ends it.
func TestWaitForDecodeBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
		if err := c.decoding.Acquire(t.Context(), c.decodeBytes); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Get(ctx, "p", "a", 10); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if st := c.Stats(); st.Abandoned != 1 || st.InFlight != 0 {
			t.Errorf("stats: %+v", st)
		}
		time.AfterFunc(time.Hour, func() { c.decoding.Release(c.decodeBytes) })
		checkColor(t, mustGet(t, c, "p", "a", 10), red)
	})
}

// A provider that hangs leaves a worker and a part of the queue to the other providers.
func TestSlowProvider(t *testing.T) {
	for _, workers := range []int{0, 2, 4} {
		synctest.Test(t, func(t *testing.T) {
			slow, good := newTestProvider(), newTestProvider()
			slow.setHook(hang)
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
				t.Errorf("%d workers: the good provider waited for %v", workers, took)
			}
			cancel()
			wg.Wait()
		})
	}
}

// If there is only one provider, it may use all workers.
func TestAllWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.setHook(hang)
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Workers: 3, Timeout: time.Minute})
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() { c.Get(t.Context(), "p", fmt.Sprint(i), 10) })
		}
		synctest.Wait()
		if n := c.workers.Waiting(); n != 2 {
			t.Errorf("%d requests wait for a worker, want 2", n)
		}
		wg.Wait()
	})
}

// A source has changed, but no thumbnail of it can be made now. Requests get the old one from memory or from disk, except those
// that name the new version.
func TestStaleWhileBusy(t *testing.T) {
	for name, test := range map[string]struct {
		block func(t *testing.T, c *Cache, p *testProvider) (unblock func())
		err   error // of a request that names the new version
	}{
		"no worker is free": {func(t *testing.T, c *Cache, _ *testProvider) func() {
			release, err := c.workers.Acquire(t.Context(), nil)
			if err != nil {
				t.Error(err)
			}
			return release
		}, ErrBusy},
		"the provider hangs": {func(_ *testing.T, _ *Cache, p *testProvider) func() {
			hung := make(chan struct{})
			p.setHook(func(_ context.Context, op string) error {
				if op == "open" {
					<-hung
				}
				return nil
			})
			return func() { p.setHook(nil); close(hung) }
		}, context.DeadlineExceeded},
	} {
		for _, disk := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/disk=%v", name, disk), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newTestProvider()
					p.set("a", tag("1"), plain(30, 30, red))
					cfg := Config{Providers: map[string]Provider{"p": p}, Workers: 1, Queue: -1, Timeout: time.Second}
					want := "memory"
					if disk {
						want = "disk"
						cfg.Dir, cfg.MemoryEntries = t.TempDir(), -1
					}
					var from string // where the last answer came from
					cfg.Observer = &Observer{Request: func(_ context.Context, _ Request, origin string, _ time.Duration, _ error) { from = origin }}
					c := mustNew(t, cfg)
					mustGet(t, c, "p", "a", 10)
					p.set("a", tag("2"), plain(30, 30, blue))
					time.Sleep(2 * time.Minute)
					unblock := test.block(t, c, p)
					mustGet(t, c, "p", "a", 10) // triggers a check of the source
					synctest.Wait()
					before := c.Stats()
					checkColor(t, mustGet(t, c, "p", "a", 10), red)
					if from != want && from != "joined" { // the flight that makes it again
						t.Errorf("served from %q, want %q", from, want)
					}
					if st := c.Stats(); st.StaleServed != before.StaleServed+1 || st.Failures <= before.Failures {
						t.Errorf("before %+v, after %+v", before, st)
					}
					if _, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Version: "2"}); !errors.Is(err, test.err) {
						t.Errorf("with a version: %v, want %v", err, test.err)
					}
					unblock()
					synctest.Wait()
					checkColor(t, mustGet(t, c, "p", "a", 10), blue)
				})
			})
		}
	}
}

// otherProcess is a cache that does for a test what another process with the same Dir may do. It holds the lock for making
// thumbnail "a" of provider "p".
type otherProcess struct {
	*Cache
	key    key
	unlock func()
}

func newOtherProcess(t *testing.T, cfg Config) *otherProcess {
	t.Helper()
	o := &otherProcess{mustNew(t, cfg), key{source: source{"p", "a"}, shape: shape{size: 10}}, nil}
	lock := func(c *Cache) (unlock func(), free bool) {
		return c.disk.lockMaking(t.Context(), &o.key, hashOf(o.key.source), 0)
	}
	o.unlock, _ = lock(o.Cache)
	if unlock, free := lock(mustNew(t, cfg)); free {
		unlock()
		t.Skip("processes cannot lock files against each other here")
	}
	return o
}

// isUnlocked reports whether a process could take the lock now.
func (o *otherProcess) isUnlocked(t *testing.T) bool {
	unlock, free := o.disk.lockMaking(t.Context(), &o.key, hashOf(o.key.source), 0)
	if free {
		unlock()
	}
	return free
}

// store stores the thumbnail, as if it had made it.
func (o *otherProcess) store(thumb *Thumbnail, stamp Stamp, version string) {
	e := &entry{made: made{stamp, version}, key: o.key, thumb: thumb}
	o.disk.save(o.generations.of(o.key.source), e, false)
}

// storeFailure stores that the source has no picture, as if it had found that out.
func (o *otherProcess) storeFailure(stamp Stamp, version string) {
	f := sourceFlight{o.key.source, version, o.generations.of(o.key.source)}
	o.disk.saveFailure(f, &failure{made: made{stamp, version}, err: ErrNoPicture, at: time.Now()})
}

// While another process makes a thumbnail, a request waits without a worker. Then it uses what the other process has stored.
func TestWaitForOtherProcess(t *testing.T) {
	stamp := tag("1")
	for _, test := range []struct {
		name    string
		version string
		before  func(o *otherProcess, thumb *Thumbnail) // before the other process unlocks
		leave   bool                                    // the caller leaves while it waits for the other process
		busy    bool                                    // the worker is taken when the other process unlocks
		want    error
		check   func(Stats) bool
	}{
		{
			name:   "made",
			before: func(o *otherProcess, thumb *Thumbnail) { o.store(thumb, stamp, "") },
			check:  func(st Stats) bool { return st.DiskHits == 1 && st.Misses == 0 && st.Extractions == 0 },
		},
		{
			name: "made for the version", version: "v",
			before: func(o *otherProcess, thumb *Thumbnail) { o.store(thumb, stamp, "v") },
			check:  func(st Stats) bool { return st.DiskHits == 1 && st.Misses == 0 && st.Extractions == 0 },
		},
		{
			name: "made for another version", version: "v",
			before: func(o *otherProcess, thumb *Thumbnail) { o.store(thumb, stamp, "w") },
			check:  func(st Stats) bool { return st.DiskHits == 0 && st.Misses == 1 && st.Extractions == 1 },
		},
		{
			name:   "failed",
			before: func(o *otherProcess, _ *Thumbnail) { o.storeFailure(stamp, "") },
			want:   ErrNoPicture,
			check:  func(st Stats) bool { return st.NegativeHits == 1 && st.Misses == 0 && st.Extractions == 0 },
		},
		{
			name: "failed for the version", version: "v",
			before: func(o *otherProcess, _ *Thumbnail) { o.storeFailure(stamp, "v") },
			want:   ErrNoPicture,
			check:  func(st Stats) bool { return st.NegativeHits == 1 && st.Misses == 0 && st.Extractions == 0 },
		},
		{
			name:   "failed before the source changed",
			before: func(o *otherProcess, _ *Thumbnail) { o.storeFailure(tag("0"), "") },
			check:  func(st Stats) bool { return st.NegativeHits == 0 && st.Misses == 1 && st.Extractions == 1 },
		},
		{
			name:   "killed",
			before: func(o *otherProcess, _ *Thumbnail) {},
			check:  func(st Stats) bool { return st.Misses == 1 && st.Extractions == 1 },
		},
		{
			name:   "made, and no worker is free here",
			before: func(o *otherProcess, thumb *Thumbnail) { o.store(thumb, stamp, "") },
			busy:   true,
			check:  func(st Stats) bool { return st.DiskHits == 1 && st.Failures == 0 },
		},
		{
			name:    "failed, and no worker is free here",
			version: "v",
			before:  func(o *otherProcess, _ *Thumbnail) { o.storeFailure(stamp, "v") },
			busy:    true,
			want:    ErrNoPicture,
			check:   func(st Stats) bool { return st.NegativeHits == 1 && st.Failures == 0 },
		},
		{
			name:   "the queue is full afterwards",
			before: func(o *otherProcess, _ *Thumbnail) {},
			busy:   true,
			want:   ErrBusy,
			check:  func(st Stats) bool { return st.Failures == 1 && st.Misses == 0 },
		},
		{
			name:   "the caller leaves",
			before: func(o *otherProcess, _ *Thumbnail) {},
			leave:  true,
			want:   context.Canceled,
			check:  func(st Stats) bool { return st.Abandoned == 1 && st.Misses == 0 && st.Failures == 0 },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newTestProvider()
			p.set("a", stamp, plain(30, 30, red))
			cfg := Config{Providers: map[string]Provider{"p": p}, Extractor: Images()}
			thumb := mustGet(t, mustNew(t, cfg), "p", "a", 10)
			cfg.Dir, cfg.Workers, cfg.Queue = t.TempDir(), 1, -1
			other := newOtherProcess(t, cfg)
			turns := make(chan struct{}, 10)
			cfg.Observer = &Observer{Stage: func(_, _, stage string, _ time.Duration, _ error) {
				if stage == "queue" {
					turns <- struct{}{}
				}
			}}
			c := mustNew(t, cfg)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			answer := make(chan error, 1)
			go func() {
				_, err := c.Do(ctx, Request{Provider: "p", Path: "a", Size: 10, Version: test.version})
				answer <- err
			}()
			// The request has its turn, finds the lock taken, and gives its worker back.
			<-turns
			var release func()
			eventually(t, "the worker is free", func() (ok bool) {
				var err error
				release, err = c.workers.Acquire(t.Context(), nil)
				return err == nil
			})
			if !test.busy {
				release()
			}
			var err error
			if test.leave {
				leave()
				err = <-answer
			}
			test.before(other, thumb)
			other.unlock()
			if !test.leave {
				err = <-answer
			}
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			release()
			eventually(t, "the flight has ended", func() bool { return c.Stats().InFlight == 0 })
			if st := c.Stats(); !test.check(st) {
				t.Errorf("stats: %+v", st)
			}
			eventually(t, "the lock is free", func() bool { return other.isUnlocked(t) })
			release, err = c.workers.Acquire(t.Context(), nil)
			if err != nil {
				t.Fatalf("the worker was not released: %v", err)
			}
			release()
		})
	}
}

// A process that makes a thumbnail for too long is no longer waited for.
func TestOtherProcessHangs(t *testing.T) {
	t.Parallel()
	p := newTestProvider()
	p.set("a", tag("1"), plain(30, 30, red))
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Timeout: 3 * time.Second}
	other := newOtherProcess(t, cfg)
	defer other.unlock()
	c := mustNew(t, cfg)
	start := time.Now()
	checkColor(t, mustGet(t, c, "p", "a", 10), red)
	if took := time.Since(start); took < cfg.Timeout {
		t.Errorf("waited for %v, want %v", took, cfg.Timeout)
	}
	if st := c.Stats(); st.Misses != 1 {
		t.Errorf("stats: %+v", st)
	}
}

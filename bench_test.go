package thumbcache

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// BenchmarkMemoryHit compares a hit in memory with Get of golang-lru for the same key, and with a hit by an id that leads to it.
func BenchmarkMemoryHit(b *testing.B) {
	p := newTestProvider()
	const path = "Artist Name/Album Name/01 - Song.flac"
	p.set(path, tag("1"), plain(300, 300, red))
	c := mustNew(b, Config{Providers: map[string]Provider{
		"music": p,
		"id":    Resolve(func(context.Context, string) (Target, error) { return Target{"music", path}, nil }),
	}})
	ctx := b.Context()
	if _, err := c.Get(ctx, "music", path, 300); err != nil {
		b.Fatal(err)
	}
	k := key{source: source{"music", path}, shape: shape{size: 300}}
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
	b.Run("resolved", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Get(ctx, "id", "tr-4711", 300)
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
		b.Fatal("not all requests were hits")
	}
}

// BenchmarkDiskHit compares a hit on disk, which reads, checks and decodes a file, with os.ReadFile of the same file.
func BenchmarkDiskHit(b *testing.B) {
	p := newTestProvider()
	data := noisy(300, 300, 85)
	p.set("a", tag("1"), data)
	p.set("b", tag("1"), data)
	dir := b.TempDir()
	c := mustNew(b, Config{Providers: map[string]Provider{"music": p}, Dir: dir, MemoryEntries: 1})
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
		b.Fatalf("not all requests were hits: %+v", st)
	}
}

// populate stores n thumbnails in a folder. It is fast because most are links to one file. It returns the length of one.
func populate(b *testing.B, dir string, n int) (length int64) {
	b.Helper()
	p := newTestProvider()
	p.set("0", tag("1"), plain(30, 30, red))
	c := mustNew(b, Config{Providers: map[string]Provider{"p": p}, Dir: dir})
	mustGet(b, c, "p", "0", 10)
	c.Close()
	first := filesIn(b, dir)[0]
	first = filepath.Join(dir, first[:2], first)
	data, err := os.ReadFile(first)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	long := time.Now().Add(-100 * time.Hour)
	var target string
	for i := range n {
		hash := hashOf(source{"p", fmt.Sprint("file", i)})
		name := filepath.Join(dir, hash[:2], hash+"_10.jpg")
		if i%50_000 == 0 { // some file systems allow no more links to a file
			err = os.WriteFile(name, data, 0o644)
			target = name
			os.Chtimes(name, long, long)
		} else {
			err = os.Link(target, name)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	// Without the account, a cache has to count all files.
	if err := os.Remove(filepath.Join(dir, "usage")); err != nil {
		b.Fatal(err)
	}
	return int64(len(data))
}

// BenchmarkNew measures a start with many files in the folder: New, the first Get of a stored thumbnail, and the first Get of a
// new one, all while the files are being counted. THUMBCACHE_BENCH_FILES adds a run with that number of files.
func BenchmarkNew(b *testing.B) {
	counts := []int{1000, 100_000}
	if n, err := strconv.Atoi(os.Getenv("THUMBCACHE_BENCH_FILES")); err == nil {
		counts = append(counts, n)
	}
	for _, n := range counts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			populate(b, dir, n)
			p := newTestProvider()
			p.set("0", tag("1"), plain(30, 30, red))
			var took [3][]time.Duration
			for i := 0; b.Loop(); i++ {
				p.set(fmt.Sprint("new", i), tag("1"), plain(30, 30, red))
				start := time.Now()
				c, err := New(Config{Providers: map[string]Provider{"p": p}, Dir: dir, DiskBytes: -1})
				took[0] = append(took[0], time.Since(start))
				if err != nil {
					b.Fatal(err)
				}
				start = time.Now()
				mustGet(b, c, "p", "0", 10)
				took[1] = append(took[1], time.Since(start))
				start = time.Now()
				mustGet(b, c, "p", fmt.Sprint("new", i), 10)
				took[2] = append(took[2], time.Since(start))
				c.Close()
			}
			for i, name := range []string{"µs/New", "µs/stored", "µs/new"} {
				slices.Sort(took[i])
				b.ReportMetric(float64(took[i][len(took[i])/2].Microseconds()), name)
			}
		})
	}
}

// BenchmarkTrim measures hits on disk with and without an eviction of 100,000 files in the background.
func BenchmarkTrim(b *testing.B) {
	const files, hits = 100_000, 50
	for _, trim := range []bool{false, true} {
		b.Run(fmt.Sprintf("trim=%v", trim), func(b *testing.B) {
			p := newTestProvider()
			for i := range hits {
				p.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
			}
			cfg := Config{Providers: map[string]Provider{"p": p}, Dir: b.TempDir(), DiskBytes: -1, MemoryEntries: -1, Revalidate: -1}
			length := populate(b, cfg.Dir, files)
			c := mustNew(b, cfg)
			for i := range hits {
				mustGet(b, c, "p", fmt.Sprint(i), 10)
			}
			c.Close()
			if trim {
				cfg.DiskBytes = 2 * hits * length
			}
			c = mustNew(b, cfg)
			for !trim && c.Stats().DiskEntries < files {
				time.Sleep(10 * time.Millisecond) // until all are counted, so that nothing else runs
			}
			var took []time.Duration
			b.ResetTimer()
			start := time.Now()
			trimming := trim
			for i := 0; i < b.N || trimming; i++ {
				if i%1000 == 0 {
					trimming = trim && c.Stats().DiskEntries > 2*hits
				}
				start := time.Now()
				if _, err := c.Get(b.Context(), "p", fmt.Sprint(i%hits), 10); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(len(took))/time.Since(start).Seconds(), "hits/s")
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "µs/p50")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "µs/p99")
			b.ReportMetric(float64(c.Stats().Evictions), "evictions")
		})
	}
}

// handlers are those that the benchmarks compare.
type handlers struct {
	bare      http.Handler // writes the bytes of a thumbnail with the headers that the cache sends
	empty     http.Handler // does nothing
	thumbnail http.Handler // Thumbnail.ServeHTTP
	handler   http.Handler // Cache.Handler

	// Cache.Handler for the URL without a version: not negotiated, and negotiated to a thumbnail of the same length.
	fixed, negotiated http.Handler

	etag  string // of the thumbnail
	match string // a header line If-None-Match with it
}

func newHandlers(b *testing.B) (s handlers) {
	media := newTestProvider()
	media.set("Artist/Album/01 - Song.flac", Stamp{ModTime: time.Unix(1e9, 0), Tag: "1"}, plain(300, 300, red))
	c := mustNew(b, Config{Providers: map[string]Provider{"music": media}, MaxSize: 300})
	t, err := c.Do(b.Context(), Request{Provider: "music", Path: "Artist/Album/01 - Song.flac", Size: 300, Version: "1"})
	if err != nil {
		b.Fatal(err)
	}
	t.Data = append(t.Data, make([]byte, 20<<10)...) // about the length of a cover
	s.bare = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "image/jpeg")
		h.Set("Content-Length", strconv.Itoa(len(t.Data)))
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("ETag", t.ETag)
		h.Set("Last-Modified", "Sun, 09 Sep 2001 01:46:40 GMT")
		h.Set("Accept-Ranges", "bytes")
		h.Set("X-Content-Type-Options", "nosniff")
		w.Write(t.Data)
	})
	s.thumbnail = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		t.ServeHTTP(w, r)
	})
	s.handler = c.Handler()
	s.fixed = withoutVersion(c.Handler())
	n := mustNew(b, Config{Providers: map[string]Provider{"music": media}, MaxSize: 300, Negotiate: true})
	s.negotiated = withoutVersion(n.Handler())
	for cache, format := range map[*Cache]Format{c: JPEG, n: WebP} {
		same, err := cache.Do(b.Context(), Request{Provider: "music", Path: "Artist/Album/01 - Song.flac", Size: 300, Format: format})
		if err != nil {
			b.Fatal(err)
		}
		same.Data = t.Data
	}
	s.empty = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	s.etag, s.match = t.ETag, "If-None-Match: "+t.ETag+"\r\n"
	return s
}

func withoutVersion(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawQuery = strings.TrimSuffix(r.URL.RawQuery, "&v=1")
		h.ServeHTTP(w, r)
	})
}

// clients returns a function that sends n requests to h over loopback, through four connections that stay open.
func clients(b *testing.B, h http.Handler, header string) (send func(n int)) {
	mux := http.NewServeMux()
	mux.Handle("/thumb/{provider}/{path...}", h)
	server := httptest.NewServer(mux)
	b.Cleanup(server.Close)
	request := []byte("GET /thumb/music/Artist/Album/01%20-%20Song.flac?size=300&v=1 HTTP/1.1\r\nHost: a\r\n" + header + "\r\n")
	var conns [4]net.Conn
	var readers [len(conns)]*bufio.Reader
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", server.Listener.Addr().String()); err != nil {
			b.Fatal(err)
		}
		readers[i] = bufio.NewReaderSize(conns[i], 64<<10)
		b.Cleanup(func() { conns[i].Close() })
	}
	return func(n int) {
		var wg sync.WaitGroup
		for i := range conns {
			wg.Go(func() {
				for range (n + len(conns) - 1) / len(conns) {
					conns[i].Write(request)
					res, err := http.ReadResponse(readers[i], nil)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, res.Body)
				}
			})
		}
		wg.Wait()
	}
}

func benchServe(b *testing.B, h http.Handler, header string) {
	send := clients(b, h, header)
	b.ResetTimer()
	send(b.N)
}

func BenchmarkServeBare(b *testing.B) { benchServe(b, newHandlers(b).bare, "") }

func BenchmarkServeMemoryHit(b *testing.B) { benchServe(b, newHandlers(b).thumbnail, "") }

func BenchmarkServeHandler(b *testing.B) { benchServe(b, newHandlers(b).handler, "") }

func Benchmark304Empty(b *testing.B) { s := newHandlers(b); benchServe(b, s.empty, s.match) }

func Benchmark304Thumbnail(b *testing.B) { s := newHandlers(b); benchServe(b, s.thumbnail, s.match) }

func Benchmark304Handler(b *testing.B) { s := newHandlers(b); benchServe(b, s.handler, s.match) }

// BenchmarkServeRatio compares handlers with a simpler one, in short turns over the same connections, because the speed of a
// machine changes from one second to the next. The result is the ratio of the speeds: more than 1 is faster.
func BenchmarkServeRatio(b *testing.B) {
	s := newHandlers(b)
	for _, test := range []struct {
		name    string
		base, h http.Handler
		header  string
	}{
		{"thumbnail", s.bare, s.thumbnail, ""},
		{"handler", s.bare, s.handler, ""},
		{"negotiated", s.fixed, s.negotiated, "Accept: " + chromeAccept + "\r\n"},
		{"304-thumbnail", s.empty, s.thumbnail, s.match},
		{"304-handler", s.empty, s.handler, s.match},
		{"304-bare", s.empty, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // the least that a 304 costs
			w.Header().Set("ETag", s.etag)
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.WriteHeader(http.StatusNotModified)
		}), s.match},
	} {
		b.Run(test.name, func(b *testing.B) {
			var turn atomic.Bool
			send := clients(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if turn.Load() {
					test.h.ServeHTTP(w, r)
				} else {
					test.base.ServeHTTP(w, r)
				}
			}), test.header)
			timed := func(ours bool) float64 {
				turn.Store(ours)
				start := time.Now()
				send(200)
				return float64(time.Since(start))
			}
			timed(false)
			timed(true)
			b.ResetTimer()
			var ratios []float64
			for range b.N {
				base, ours := timed(false), timed(true)
				ours += timed(true)
				ratios = append(ratios, (base+timed(false))/ours)
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "x")
		})
	}
}

package thumbcache

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// served are the handlers that the benchmarks compare: bare writes the bytes of a thumbnail with the headers that the cache
// sends, empty does nothing.
func served(b *testing.B) (bare, thumbnail, handler, empty http.Handler, etag string) {
	noise := make([]byte, 300*300*3)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	s := newShelf()
	s.set("Artist/Album/01 - Song.flac", Stamp{ModTime: time.Unix(1e9, 0), Tag: "1"}, plain(300, 300, red))
	c := mustNew(b, Config{Providers: map[string]Provider{"music": s}, MaxSize: 300})
	t, err := c.Do(b.Context(), Request{Provider: "music", Path: "Artist/Album/01 - Song.flac", Size: 300, Version: "1"})
	if err != nil {
		b.Fatal(err)
	}
	t.Data = append(t.Data, noise[:20<<10]...) // as much as a cover has
	bare = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	thumbnail = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		t.ServeHTTP(w, r)
	})
	return bare, thumbnail, c.Handler(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), t.ETag
}

// clients ask h over loopback, four at a time, each on a connection of its own that it keeps.
func clients(b *testing.B, h http.Handler, header string) (ask func(n int)) {
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
	if os.Getenv("TR") != "" {
		tr := &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}
		b.Cleanup(tr.CloseIdleConnections)
		return func(n int) {
			var wg sync.WaitGroup
			for range conns {
				wg.Go(func() {
					for range n / len(conns) {
						r, _ := http.NewRequest("GET", server.URL+"/thumb/music/Artist/Album/01%20-%20Song.flac?size=300&v=1", nil)
						if _, v, ok := strings.Cut(header, ": "); ok {
							r.Header.Set("If-None-Match", strings.TrimSpace(v))
						}
						res, err := tr.RoundTrip(r)
						if err != nil {
							b.Error(err)
							return
						}
						io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
				})
			}
			wg.Wait()
		}
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

func BenchmarkServeBare(b *testing.B) {
	bare, _, _, _, _ := served(b)
	ask := clients(b, bare, "")
	b.ResetTimer()
	ask(b.N)
}

func BenchmarkServeMemoryHit(b *testing.B) {
	_, thumbnail, _, _, _ := served(b)
	ask := clients(b, thumbnail, "")
	b.ResetTimer()
	ask(b.N)
}

func BenchmarkServeHandler(b *testing.B) {
	_, _, handler, _, _ := served(b)
	ask := clients(b, handler, "")
	b.ResetTimer()
	ask(b.N)
}

func Benchmark304Empty(b *testing.B) {
	_, _, _, empty, etag := served(b)
	ask := clients(b, empty, "If-None-Match: "+etag+"\r\n")
	b.ResetTimer()
	ask(b.N)
}

func Benchmark304(b *testing.B) {
	_, _, handler, _, etag := served(b)
	ask := clients(b, handler, "If-None-Match: "+etag+"\r\n")
	b.ResetTimer()
	ask(b.N)
}

// BenchmarkServeRatio sets each against what it is measured by, in short turns over the same connections, since a machine is
// not as fast from one second to the next: 1 is as fast, more is faster.
func BenchmarkServeRatio(b *testing.B) {
	bare, thumbnail, handler, empty, etag := served(b)
	match := "If-None-Match: " + etag + "\r\n"
	for _, test := range []struct {
		name    string
		base, h http.Handler
		header  string
	}{
		{"thumbnail", bare, thumbnail, ""},
		{"handler", bare, handler, ""},
		{"304-thumbnail", empty, thumbnail, match},
		{"304-handler", empty, handler, match},
		{"same", bare, bare, ""},
		{"same-empty", empty, empty, match},
	} {
		b.Run(test.name, func(b *testing.B) {
			var turn atomic.Bool
			ask := clients(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if turn.Load() {
					test.h.ServeHTTP(w, r)
				} else {
					test.base.ServeHTTP(w, r)
				}
			}), test.header)
			timed := func(ours bool) float64 {
				turn.Store(ours)
				start := time.Now()
				ask(200)
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

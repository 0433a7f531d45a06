package thumbcache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache/internal/render"
	"github.com/thumbcache/thumbcache/internal/store"
)

// The size of a thumbnail follows from the request, the source, and Config.Sizes, MaxSize and DecodeBytes.
func TestSizes(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(600, 300, red))
	p.set("sliver", tag("1"), plain(1, 3000, red))
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
		cfg.Providers = map[string]Provider{"p": p}
		cfg.Dir = t.TempDir()
		c := mustNew(t, cfg)
		thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: test.path, Size: test.size, Fit: test.fit})
		if !errors.Is(err, test.wantError) {
			t.Errorf("%+v: %v", test, err)
		}
		if test.wantError != nil {
			if names := filesIn(t, cfg.Dir); len(names) > 0 {
				t.Errorf("%+v: stored: %v", test, names)
			}
			continue
		}
		checkColor(t, thumb, red)
		if thumb.Width != test.w || thumb.Height != test.h {
			t.Errorf("%+v: %dx%d", test, thumb.Width, thumb.Height)
		}
	}
}

// A thumbnail in the original's size is made again if MaxSize has changed.
func TestMaxSizeChanges(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(600, 300, red))
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
	tags := make(map[string]bool)
	for _, limit := range []int{0, 100, 200} {
		cfg.MaxSize = limit
		c := mustNew(t, cfg)
		thumb := mustGet(t, c, "p", "a", 0)
		if want := min(600, cmp.Or(limit, 2048)); thumb.Width != want {
			t.Errorf("limit %d: width %d", limit, thumb.Width)
		}
		tags[thumb.ETag] = true
		c.Close()
	}
	if len(tags) != 3 {
		t.Errorf("%d ETags for 3 thumbnails", len(tags))
	}
}

// Requests for 10,000 sizes store no more files than Config.Sizes has sizes.
func TestManySizes(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(600, 300, red))
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir, Sizes: []int{64, 128, 256}})
	for size := range 10_000 {
		mustGet(t, c, "p", "a", size)
	}
	if names := filesIn(t, dir); len(names) != 3 {
		t.Errorf("stored: %v", names)
	}
}

// The error of New names the field at fault.
func TestConfig(t *testing.T) {
	ok := map[string]Provider{"p": newTestProvider()}
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
		"FolderArt": {Providers: ok, FolderArt: []string{"cover.*", "["}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Config."+field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, name := range []string{"", "a/b", "/", "a\x00"} {
		if _, err := New(Config{Providers: map[string]Provider{name: newTestProvider()}}); err == nil {
			t.Errorf("provider %q accepted", name)
		}
	}
	if _, err := New(Config{Providers: map[string]Provider{"p": nil}}); err == nil {
		t.Error("nil provider accepted")
	}
	if _, err := New(Config{Providers: ok, Dir: full}); err == nil || !strings.Contains(err.Error(), full) {
		t.Errorf("a folder that holds other files: %v", err)
	}
	// The largest and the smallest numbers are valid.
	for _, n := range []int{math.MaxInt, math.MaxInt / 2, -1, math.MinInt} {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{
			Providers: map[string]Provider{"p": p}, MemoryEntries: n, MemoryBytes: int64(n), DiskBytes: int64(n), DecodeBytes: int64(n),
			MaxSize: n, Timeout: time.Duration(n), Revalidate: time.Duration(n), FailureTTL: time.Duration(n), Dir: t.TempDir(),
		})
		checkColor(t, mustGet(t, c, "p", "a", 10), red)
		checkColor(t, mustGet(t, c, "p", "a", 10), red)
	}
	// New does not keep or change the slices and maps of the caller.
	sizes := []int{300, 100}
	providers := map[string]Provider{"p": newTestProvider()}
	c := mustNew(t, Config{Providers: providers, Sizes: sizes})
	if sizes[0] != 300 {
		t.Error("Sizes were sorted in place")
	}
	delete(providers, "p")
	if _, err := c.Get(t.Context(), "p", "a", 1); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "provider") {
		t.Errorf("got %v", err)
	}
}

// JPEG replaces transparency by white, PNG keeps it.
func TestFormats(t *testing.T) {
	p := newTestProvider()
	p.set("glass", tag("1"), plain(30, 30, color.NRGBA{0, 0, 200, 0}))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), MemoryEntries: -1})
	checkColor(t, mustGet(t, c, "p", "glass", 10), color.NRGBA{255, 255, 255, 255})
	for range 2 { // made, then read from disk
		thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "glass", Size: 10, Format: PNG})
		if err != nil {
			t.Fatal(err)
		}
		if got := middleColor(t, thumb); got.A != 0 {
			t.Errorf("not transparent: %v", got)
		}
	}
}

// A box, its fit, focus and background decide the size of a thumbnail and the name of its file. Requests for the same thumbnail
// share a file.
func TestBoxes(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(600, 300, red))
	sizes := Config{Sizes: []int{64, 128, 300}}
	for _, test := range []struct {
		cfg  Config
		req  Request
		w, h int
		file string // after the hash; "": the request is invalid
	}{
		{req: Request{Width: 300, Height: 200}, w: 300, h: 150, file: "_300x200.jpg"},
		{req: Request{Width: 300, Height: 300}, w: 300, h: 150, file: "_300.jpg"},
		{req: Request{Width: 300}, w: 300, h: 150, file: "_300x2048.jpg"},
		{req: Request{Height: 100}, w: 200, h: 100, file: "_2048x100.jpg"},
		{req: Request{Width: 900, Height: 800}, w: 600, h: 300, file: "_900x800.jpg"},
		{req: Request{Width: 3000, Height: 2500, Fit: Cover}, w: 300, h: 300, file: "_2048c.jpg"},
		{req: Request{Width: 200, Height: 50, Fit: Cover, Format: PNG}, w: 200, h: 50, file: "_200x50c.png"},
		{req: Request{Width: 200, Height: 50, Fit: Cover, FocusX: 0.3}, w: 200, h: 50, file: "_200x50c30x50.jpg"},
		{req: Request{Size: 90, Fit: Cover, FocusX: 0.5, FocusY: 0.5}, w: 90, h: 90, file: "_90c.jpg"},
		{req: Request{Size: 90, Fit: Cover, FocusX: 1e-9, FocusY: 1}, w: 90, h: 90, file: "_90c1x100.jpg"},
		{req: Request{Size: 90, FocusX: 0.3, Background: "no color"}, w: 90, h: 45, file: "_90.jpg"}, // neither matters
		{req: Request{Size: 90, Fit: Pad}, w: 90, h: 90, file: "_90pffffff.jpg"},
		{req: Request{Width: 90, Height: 90, Fit: Pad, Background: "FFFFFF"}, w: 90, h: 90, file: "_90pffffff.jpg"},
		{req: Request{Width: 900, Height: 50, Fit: Pad, Background: "blur"}, w: 900, h: 50, file: "_900x50pblur.jpg"},
		{req: Request{Width: 90, Height: 80, Fit: Pad, Background: "transparent", Format: PNG}, w: 90, h: 80, file: "_90x80ptransparent.png"},
		{req: Request{Width: 90, Height: 80, Fit: Pad, Background: "transparent"}, w: 90, h: 80, file: "_90x80pffffff.jpg"},
		{req: Request{Fit: Pad, Background: "000000"}, w: 600, h: 600, file: "_0p000000.jpg"},

		{cfg: sizes, req: Request{Width: 65, Height: 10}, w: 128, h: 64, file: "_128x64.jpg"},
		{cfg: sizes, req: Request{Width: 65}, w: 128, h: 64, file: "_128x300.jpg"},
		{cfg: sizes, req: Request{Width: 1 << 30, Height: 1 << 30, Fit: Pad}, w: 300, h: 300, file: "_300pffffff.jpg"},
		{cfg: Config{MaxSize: 100}, req: Request{Width: 300, Height: 50, Fit: Cover}, w: 100, h: 50, file: "_100x50c.jpg"},
		{cfg: Config{MaxSize: -1}, req: Request{Width: 1 << 30, Height: 1}, w: 2, h: 1, file: "_65535x1.jpg"},

		{req: Request{Size: 10, Width: 300, Height: 200}},
		{req: Request{Width: -1, Height: 200}},
		{req: Request{Width: 1, Height: -1}},
		{req: Request{Width: 1, Fit: Cover}},
		{req: Request{Height: 1, Fit: Pad}},
		{req: Request{Size: 1, Fit: Cover, FocusX: 1.01}},
		{req: Request{Size: 1, Fit: Cover, FocusY: -0.01}},
		{req: Request{Size: 1, Fit: Cover, FocusY: math.NaN()}},
		{req: Request{Size: 1, Fit: Pad, Background: "fff"}},
		{req: Request{Size: 1, Fit: Pad, Background: "1fffffff"}},
		{req: Request{Size: 1, Fit: Pad, Background: "+fffff"}},
	} {
		test.req.Provider, test.req.Path = "p", "a"
		cfg := test.cfg
		cfg.Providers, cfg.Dir = map[string]Provider{"p": p}, t.TempDir()
		c := mustNew(t, cfg)
		thumb, err := c.Do(t.Context(), test.req)
		if test.file == "" {
			if !errors.Is(err, fs.ErrInvalid) || len(filesIn(t, cfg.Dir)) > 0 {
				t.Errorf("%+v: %v", test.req, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		checkColor(t, thumb, red)
		c.Close()
		if names := filesIn(t, cfg.Dir); thumb.Width != test.w || thumb.Height != test.h || len(names) != 1 || names[0][64:] != test.file {
			t.Errorf("%+v: %dx%d, files %v, want %s", test.req, thumb.Width, thumb.Height, names, test.file)
		}
		c = mustNew(t, cfg)
		again, err := c.Do(t.Context(), test.req)
		if err != nil || again.ETag != thumb.ETag || c.Stats().DiskHits != 1 {
			t.Errorf("%+v: from disk: %v, %+v", test.req, err, c.Stats())
		}
	}
}

func TestBackgrounds(t *testing.T) {
	if render.Blur != store.Blur || render.Transparent != store.Transparent {
		t.Error("package render and package store have other numbers for a background")
	}
}

// Each shape has an ETag of its own, and equal pictures share the bytes of each of their shapes.
func TestBoxesShare(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(60, 30, red))
	p.set("b", tag("1"), plain(60, 30, red))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
	tags := make(map[string]Request)
	for _, req := range []Request{
		{Size: 20}, {Width: 20, Height: 10}, {Width: 10, Height: 20}, {Size: 20, Fit: Cover}, {Size: 20, Fit: Cover, FocusX: 0.1}, {Size: 20, Fit: Cover, FocusY: 0.1},
		{Size: 20, Fit: Pad}, {Size: 20, Fit: Pad, Background: "blur"}, {Size: 20, Fit: Pad, Background: "00000a"}, {Width: 20, Height: 10, Fit: Pad},
	} {
		req.Provider, req.Path = "p", "a"
		a, err := c.Do(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := tags[a.ETag]; ok {
			t.Errorf("%+v has the ETag of %+v", req, other)
		}
		tags[a.ETag] = req
		req.Path = "b"
		b, err := c.Do(t.Context(), req)
		if err != nil || &a.Data[0] != &b.Data[0] {
			t.Errorf("%+v: the second song has a thumbnail of its own: %v", req, err)
		}
	}
}

// An automatic format follows from what the thumbnail shows, with everything that depends on the format. The ETag does not need it.
func TestAuto(t *testing.T) {
	p := newTestProvider()
	half := image.NewNRGBA(image.Rect(0, 0, 60, 30)) // red on the left, transparent on the right
	for y := range 30 {
		for x := range 30 {
			half.SetNRGBA(x, y, red)
		}
	}
	p.set("half", tag("1"), pngOf(half))
	p.set("opaque", tag("1"), plain(60, 30, red))
	p.set("photo", tag("1"), noisy(60, 30, 85))
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir()}
	for _, test := range []struct {
		req  Request
		want string
	}{
		{Request{Path: "half", Size: 20}, "image/png"},
		{Request{Path: "half"}, "image/png"},
		{Request{Path: "half", Width: 10, Height: 30, Fit: Cover, FocusX: 0.01}, "image/jpeg"}, // only the left half
		{Request{Path: "half", Width: 10, Height: 30, Fit: Cover, FocusX: 1}, "image/png"},
		{Request{Path: "half", Size: 20, Fit: Pad}, "image/jpeg"},
		{Request{Path: "half", Size: 20, Fit: Pad, Background: "transparent"}, "image/png"},
		{Request{Path: "opaque", Size: 20}, "image/jpeg"},
		{Request{Path: "opaque", Size: 20, Fit: Pad, Background: "transparent"}, "image/png"},
		{Request{Path: "photo", Size: 20}, "image/jpeg"},
		{Request{Path: "photo", Size: 20, Fit: Cover}, "image/jpeg"},
		{Request{Path: "photo", Size: 20, Fit: Pad, Background: "transparent"}, "image/png"},
	} {
		test.req.Provider, test.req.Format, test.req.Version = "p", Auto, "1"
		var tag string
		for _, from := range []string{"made", "disk"} {
			c := mustNew(t, cfg)
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", test.req.URL(), nil)
			c.Handler().ServeHTTP(w, r)
			_, format, err := image.Decode(w.Body)
			if err != nil || w.Header().Get("Content-Type") != test.want || "image/"+format != test.want {
				t.Errorf("%s %+v: %s %s %v, want %s", from, test.req, w.Header().Get("Content-Type"), format, err, test.want)
			}
			if tag = cmp.Or(tag, w.Header().Get("ETag")); w.Header().Get("ETag") != tag {
				t.Errorf("%s %+v: ETag %s, want %s", from, test.req, w.Header().Get("ETag"), tag)
			}
			if s := c.Stats(); s.DiskHits+s.Misses != 1 || (s.DiskHits == 1) != (from == "disk") {
				t.Errorf("%s %+v: %+v", from, test.req, s)
			}
			c.Close()
		}
		// A client that has the thumbnail needs no work, and another cache does not know the format yet.
		c := mustNew(t, Config{Providers: cfg.Providers})
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", test.req.URL(), nil)
		r.Header.Set("If-None-Match", tag)
		c.Handler().ServeHTTP(w, r)
		if w.Code != 304 || c.Stats().Misses != 0 {
			t.Errorf("%+v: status %d, %+v", test.req, w.Code, c.Stats())
		}
	}
	for _, name := range filesIn(t, cfg.Dir) {
		if !strings.HasSuffix(name, ".auto") {
			t.Errorf("file %s", name)
		}
	}
}

// A WebP keeps transparency, and says its type wherever it comes from.
func TestWebP(t *testing.T) {
	half := image.NewNRGBA(image.Rect(0, 0, 60, 30)) // red on the left, transparent on the right
	for y := range 30 {
		for x := range 30 {
			half.SetNRGBA(x, y, red)
		}
	}
	p := newTestProvider()
	p.set("half", tag("1"), pngOf(half))
	var got string // where the last answer came from
	observer := &Observer{Request: func(_ context.Context, _ Request, from string, _ time.Duration, _ error) { got = from }}
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Observer: observer}
	for _, test := range []struct {
		req  Request
		w, h int
		file string
	}{
		{Request{Size: 40}, 40, 20, "_40.webp"},
		{Request{}, 60, 30, "_0.webp"},
		{Request{Width: 40, Height: 30, Fit: Pad, Background: "transparent"}, 40, 30, "_40x30ptransparent.webp"},
	} {
		test.req.Provider, test.req.Path, test.req.Format = "p", "half", WebP
		var first *httptest.ResponseRecorder
		for _, from := range [][]string{{"made", "memory"}, {"disk"}} {
			c := mustNew(t, cfg)
			for _, from := range from {
				w := httptest.NewRecorder()
				c.Handler().ServeHTTP(w, httptest.NewRequest("GET", test.req.URL(), nil))
				if first == nil {
					first = w
				}
				if w.Code != 200 || w.Header().Get("Content-Type") != "image/webp" || w.Header().Get("ETag") != first.Header().Get("ETag") || !bytes.Equal(w.Body.Bytes(), first.Body.Bytes()) {
					t.Errorf("%s %+v: status %d, %v", from, test.req, w.Code, w.Header())
				}
				if got != from {
					t.Errorf("%+v: from %s, want %s", test.req, got, from)
				}
			}
			c.Close()
		}
		if kind := http.DetectContentType(first.Body.Bytes()); kind != "image/webp" {
			t.Errorf("%+v: data is %s", test.req, kind)
		}
		decoded, err := Render(t.Context(), first.Body.Bytes(), Request{Format: PNG})
		if err != nil {
			t.Fatal(err)
		}
		m, err := png.Decode(bytes.NewReader(decoded.Data))
		if err != nil || m.Bounds() != image.Rect(0, 0, test.w, test.h) {
			t.Fatalf("%+v: %v, %v", test.req, err, m)
		}
		left := color.NRGBAModel.Convert(m.At(test.w/4, test.h/2)).(color.NRGBA)
		_, _, _, right := m.At(test.w*3/4, test.h/2).RGBA()
		if !isSimilar(left, red) || left.A != 255 || right != 0 {
			t.Errorf("%+v: left %v, alpha on the right %d", test.req, left, right)
		}
		if !slices.ContainsFunc(filesIn(t, cfg.Dir), func(name string) bool { return name[64:] == test.file }) {
			t.Errorf("no %s in %v", test.file, filesIn(t, cfg.Dir))
		}
	}
}

// A picture that becomes transparent gets another format, under the same name.
func TestAutoChanges(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(60, 30, red))
	dir := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir})
	for i, want := range []string{"image/jpeg", "image/png", "image/jpeg"} {
		version := fmt.Sprint(i)
		p.set("a", tag(version), plain(60, 30, []color.Color{red, color.NRGBA{}, red}[i]))
		thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 20, Format: Auto, Version: version})
		if err != nil || thumb.ContentType != want {
			t.Errorf("%d: %v, %+v", i, err, thumb)
		}
	}
	c.Close()
	if names := filesIn(t, dir); len(names) != 1 {
		t.Errorf("files %v", names)
	}
}

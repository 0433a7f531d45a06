package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHTTPStatus(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 200}, {fs.ErrInvalid, 400}, {fs.ErrNotExist, 404}, {ErrNoPicture, 404}, {ErrTooLarge, 413}, {ErrUnsupported, 415},
		{ErrCorrupt, 415}, {context.Canceled, 499}, {ErrBusy, 503}, {ErrClosed, 503}, {errNoTool, 503},
		{context.DeadlineExceeded, 504}, {errors.New("other"), 500},
	} {
		for _, err := range []error{test.err, &Error{Op: "extract", Err: test.err}} {
			if test.err == nil {
				err = nil
			}
			if got := HTTPStatus(err); got != test.want {
				t.Errorf("%v: %d, want %d", err, got, test.want)
			}
		}
	}
	if got := HTTPStatus(&Error{Op: "stat", Err: syscall.EIO}); got != 503 {
		t.Errorf("out of reach: %d", got)
	}
}

func TestHandler(t *testing.T) {
	s := newShelf()
	s.set("Artist/Ä b?#%.png", Stamp{ModTime: time.Unix(1e9, 0), Tag: "1"}, plain(600, 300, red))
	s.set("words", tag("1"), []byte("words"))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: FirstOf(Images(), CoverArt())})
	mux := http.NewServeMux()
	mux.Handle("/thumb/{provider}/{path...}", c.Handler())
	mux.Handle("/query", c.Handler())
	const path = "/thumb/p/Artist/%C3%84%20b%3F%23%25.png"

	get := func(h http.Handler, method, url string, header ...string) *http.Response {
		t.Helper()
		r := httptest.NewRequest(method, url, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	body := func(r *http.Response) string {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		return b.String()
	}
	for _, test := range []struct {
		url    string
		status int
		w, h   int
	}{
		{path, 200, 300, 150},
		{path + "?size=100", 200, 100, 50},
		{path + "?size=0", 200, 600, 300},
		{path + "?size=99999999999999999999", 200, 600, 300},
		{path + "?size=100&fit=cover", 200, 100, 100},
		{path + "?size=100&fit=contain&format=jpeg", 200, 100, 50},
		{path + "?size=100&format=png", 200, 100, 50},
		{"/query?provider=p&path=Artist%2F%C3%84+b%3F%23%25.png&size=10", 200, 10, 5},
		{path + "?size=-1", 400, 0, 0},
		{path + "?size=x", 400, 0, 0},
		{path + "?size=-99999999999999999999", 400, 0, 0},
		{path + "?fit=stretch", 400, 0, 0},
		{path + "?format=tiff", 400, 0, 0},
		{"/thumb/q/a", 404, 0, 0},
		{"/thumb/p/none", 404, 0, 0},
		{"/thumb/p/a%00", 400, 0, 0},
		{"/thumb/p/words", 415, 0, 0},
		{"/query", 404, 0, 0},
	} {
		for _, h := range []http.Handler{mux, c.Handler()} {
			r := get(h, "GET", test.url)
			if r.StatusCode != test.status {
				t.Errorf("%s: %s", test.url, r.Status)
				continue
			}
			data := body(r)
			if r.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: no nosniff", test.url)
			}
			if test.status != 200 {
				if r.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: Cache-Control %q", test.url, r.Header.Get("Cache-Control"))
				}
				continue
			}
			cfg, format, err := image.DecodeConfig(strings.NewReader(data))
			if err != nil || cfg.Width != test.w || cfg.Height != test.h || r.Header.Get("Content-Type") != "image/"+format {
				t.Errorf("%s: %v %dx%d %s", test.url, err, cfg.Width, cfg.Height, r.Header.Get("Content-Type"))
			}
			if r.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("%s: Cache-Control %q", test.url, r.Header.Get("Cache-Control"))
			}
		}
	}

	full := get(mux, "GET", path)
	data, etag := body(full), full.Header.Get("ETag")
	if full.Header.Get("Last-Modified") == "" || full.Header.Get("Content-Length") != fmt.Sprint(len(data)) {
		t.Errorf("headers: %v", full.Header)
	}
	head := get(mux, "HEAD", path)
	if body(head) != "" || head.Header.Get("Content-Length") != fmt.Sprint(len(data)) || head.Header.Get("ETag") != etag {
		t.Errorf("HEAD: %v", head.Header)
	}
	if r := get(mux, "GET", path, "If-None-Match", etag); r.StatusCode != 304 || body(r) != "" {
		t.Errorf("If-None-Match: %s", r.Status)
	}
	if r := get(mux, "GET", path, "Range", "bytes=2-5"); r.StatusCode != 206 || body(r) != data[2:6] {
		t.Errorf("Range: %s", r.Status)
	}
	if r := get(mux, "POST", path); r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s %v", r.Status, r.Header)
	}

	// With a version: for ever, and a 304 costs nothing.
	v := get(mux, "GET", path+"?v=7")
	if cc := v.Header.Get("Cache-Control"); v.StatusCode != 200 || !strings.Contains(cc, "immutable") {
		t.Errorf("?v=: %s %q", v.Status, cc)
	}
	before := c.Stats()
	r := get(mux, "GET", path+"?v=7", "If-None-Match", `"x", `+v.Header.Get("ETag"))
	if r.StatusCode != 304 || r.Header.Get("ETag") != v.Header.Get("ETag") || !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("304 with a version: %s %v", r.Status, r.Header)
	}
	if c.Stats() != before {
		t.Error("a 304 with a version did some work")
	}
	if r := get(mux, "GET", path+"?v=8", "If-None-Match", v.Header.Get("ETag")); r.StatusCode != 200 {
		t.Errorf("another version: %s", r.Status)
	}
	c.Close()
	if r := get(mux, "GET", path); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("closed: %s", r.Status)
	}
}

// A client sees no path of the host and nothing that ffmpeg said.
func TestErrorsTellNothing(t *testing.T) {
	root := t.TempDir()
	os.WriteFile(filepath.Join(root, "words.txt"), []byte("words"), 0o644)
	os.Mkdir(filepath.Join(root, "dir"), 0o755)
	os.Symlink("/etc/passwd", filepath.Join(root, "out"))
	os.Symlink("loop", filepath.Join(root, "loop"))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root), "gone": Files(filepath.Join(root, "offline"))}})
	for _, path := range []string{"words.txt", "dir", "out", "loop", "none", "words.txt/x", strings.Repeat("x", 300), "../x", "", "."} {
		for _, provider := range []string{"p", "gone"} {
			_, err := c.Get(t.Context(), provider, path, 10)
			if err == nil || strings.Contains(err.Error(), root) {
				t.Errorf("%s: %v", path, err)
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/", nil)
			r.SetPathValue("provider", provider)
			r.SetPathValue("path", path)
			c.Handler().ServeHTTP(w, r)
			if strings.Contains(w.Body.String(), root) || len(w.Body.String()) > 60 {
				t.Errorf("%s: %q", path, w.Body)
			}
			if provider == "gone" && path == "none" && w.Code == 404 {
				t.Error("an offline root is taken for a missing file")
			}
		}
	}
}

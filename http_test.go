package thumbcache

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// HTTPStatus finds the status of an error, also if an *Error wraps it.
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
		t.Errorf("a source that cannot be reached: %d", got)
	}
}

// TestHandler is an overview of the Handler: parameters, headers, conditional requests and versions.
// Serve answers a request that the server has parsed as Handler answers its own: conditions, caching, errors, placeholders.
func TestServe(t *testing.T) {
	p := newTestProvider()
	p.set("a", Stamp{ModTime: time.Unix(1e9, 0), Tag: "1"}, plain(600, 300, red))
	p.set("words", tag("1"), []byte("words"))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: Images(), Placeholder: func(_ Request, err error) *Thumbnail {
		if errors.Is(err, ErrUnsupported) {
			return LetterTile("words", 0)
		}
		return nil
	}})
	get := func(method, path string, req Request, header ...string) *http.Response {
		r := httptest.NewRequest(method, "/art?id=7", nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		req.Provider, req.Path = "p", path
		w := httptest.NewRecorder()
		c.Serve(w, r, req)
		return w.Result()
	}
	first := get("GET", "a", Request{Size: 100})
	etag := first.Header.Get("ETag")
	for name, test := range map[string]struct {
		got          *http.Response
		status       int
		cacheControl string
	}{
		"picture":        {first, 200, "no-cache"},
		"unchanged":      {get("GET", "a", Request{Size: 100}, "If-None-Match", etag), 304, "no-cache"},
		"immutable":      {get("GET", "a", Request{Size: 100, Version: "5"}), 200, "public, max-age=31536000, immutable"},
		"range":          {get("GET", "a", Request{Size: 100}, "Range", "bytes=0-9"), 206, "no-cache"},
		"placeholder":    {get("GET", "words", Request{Size: 100}), 200, "no-cache"},
		"missing":        {get("GET", "b", Request{Size: 100}), 404, "no-store"},
		"invalid":        {get("GET", "a", Request{Size: -1}), 400, "no-store"},
		"invalid format": {get("GET", "a", Request{Format: 77}), 400, "no-store"},
		"post":           {get("POST", "a", Request{Size: 100}), 405, "no-store"},
		"head":           {get("HEAD", "a", Request{Size: 100}), 200, "no-cache"},
	} {
		if cacheControl := test.got.Header.Get("Cache-Control"); test.got.StatusCode != test.status || cacheControl != test.cacheControl {
			t.Errorf("%s: %d with Cache-Control %q, want %d with %q", name, test.got.StatusCode, cacheControl, test.status, test.cacheControl)
		}
	}

	// A Cache-Control of the server's own is kept, except for an error.
	for path, want := range map[string]string{"a": "private, no-cache", "b": "no-store"} {
		w := httptest.NewRecorder()
		w.Header().Set("Cache-Control", "private, no-cache")
		c.Serve(w, httptest.NewRequest("GET", "/", nil), Request{Provider: "p", Path: path, Size: 100})
		if got := w.Header().Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", path, got, want)
		}
	}

	// A client that has the thumbnail of a version gets the 304 before any work.
	versioned := get("GET", "a", Request{Size: 100, Version: "6"}).Header.Get("ETag")
	_, before := p.calls()
	if r := get("GET", "a", Request{Size: 100, Version: "6"}, "If-None-Match", versioned); r.StatusCode != 304 {
		t.Errorf("version: %d", r.StatusCode)
	}
	if _, opens := p.calls(); opens != before {
		t.Error("the source was opened for a 304")
	}
}

func TestHandler(t *testing.T) {
	p := newTestProvider()
	p.set("Artist/Ä b?#%.png", Stamp{ModTime: time.Unix(1e9, 0), Tag: "1"}, plain(600, 300, red))
	p.set("words", tag("1"), []byte("words"))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: FirstOf(Images(), CoverArt())})
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

	// With a version the answer is immutable, and a 304 needs no thumbnail.
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
		t.Error("a 304 with a version changed the stats")
	}
	if r := get(mux, "GET", path+"?v=8", "If-None-Match", v.Header.Get("ETag")); r.StatusCode != 200 {
		t.Errorf("another version: %s", r.Status)
	}
	c.Close()
	if r := get(mux, "GET", path); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("closed: %s", r.Status)
	}
}

// Errors do not contain paths of the host, and clients get short texts only.
func TestErrorsHidePaths(t *testing.T) {
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
				t.Error("404 although the root cannot be reached")
			}
		}
	}
}

// serve sends h a request, with headers given as name, value, name, value.
func serve(h http.Handler, method, url string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestServeHTTP compares ServeHTTP, which answers simple requests itself, with http.ServeContent.
func TestServeHTTP(t *testing.T) {
	date := time.Date(2001, 9, 9, 1, 46, 40, 5e8, time.FixedZone("", 3600))
	thumbs := []*Thumbnail{
		{Data: []byte("0123456789"), ContentType: "image/jpeg", ETag: `W/"abc-1"`, ModTime: date},
		{Data: []byte("0123456789"), ContentType: "image/png", ETag: `"abc-1"`, ModTime: time.Unix(0, 0)},
		{Data: []byte("0123456789"), ContentType: "image/png", ETag: `"abc-1"`},
		{Data: nil, ContentType: "image/png", ETag: `"é"`, ModTime: date},
	}
	last, later, earlier := date.UTC().Format(http.TimeFormat), date.Add(time.Hour).UTC().Format(http.TimeFormat), date.Add(-time.Hour).UTC().Format(http.TimeFormat)
	headers := [][]string{
		nil,
		{"If-None-Match", ""},
		{"If-None-Match", `W/"abc-1"`},
		{"If-None-Match", `"abc-1"`},
		{"If-None-Match", `"abc-2"`},
		{"If-None-Match", `abc-1`},
		{"If-None-Match", `"x", W/"abc-1"`},
		{"If-None-Match", "\t,, \"x\" ,\t\"abc-1\", "},
		{"If-None-Match", `"x""abc-1"`},
		{"If-None-Match", `"a b", "abc-1"`},
		{"If-None-Match", `"abc-1`},
		{"If-None-Match", `"xabc-1"`},
		{"If-None-Match", `"x", *`},
		{"If-None-Match", "*"},
		{"If-None-Match", `W/ "abc-1"`},
		{"If-None-Match", `w/"abc-1"`},
		{"If-None-Match", `"é"`},
		{"If-None-Match", `"x"`, "If-None-Match", `"abc-1"`},
		{"If-None-Match", `"x"`, "If-Modified-Since", later},
		{"If-None-Match", `"abc-1"`, "If-Modified-Since", earlier},
		{"If-None-Match", ``, "If-Modified-Since", later},
		{"If-None-Match", `"abc-1"`, "Range", "bytes=0-1"},
		{"If-None-Match", `"x"`, "Range", "bytes=0-1"},
		{"If-None-Match", `"abc-1"`, "If-Match", `"x"`},
		{"If-Modified-Since", last},
		{"If-Modified-Since", later},
		{"If-Modified-Since", earlier},
		{"If-Modified-Since", "yesterday"},
		{"If-Unmodified-Since", earlier},
		{"If-Unmodified-Since", later},
		{"If-Match", "*"},
		{"If-Match", `"abc-1"`},
		{"If-Match", `"x"`},
		{"Range", "bytes=2-5"},
		{"Range", "bytes=-3"},
		{"Range", "bytes=8-100"},
		{"Range", "bytes=10-"},
		{"Range", "bytes=0-1,4-5"},
		{"Range", "lines=1"},
		{"Range", ""},
		{"Range", "bytes=2-5", "If-Range", `"abc-1"`},
		{"Range", "bytes=2-5", "If-Range", `"x"`},
		{"Range", "bytes=2-5", "If-Range", last},
		{"If-Range", `"x"`},
	}
	for _, thumb := range thumbs {
		plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", thumb.ContentType)
			w.Header().Set("ETag", thumb.ETag)
			http.ServeContent(w, r, "", thumb.ModTime, bytes.NewReader(thumb.Data))
		})
		for _, outer := range []string{"", "Content-Encoding", "Content-Length", "Content-Type", "Cache-Control"} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				for _, header := range headers {
					within := func(h http.Handler) http.Handler {
						return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if outer != "" {
								w.Header().Set(outer, "7")
							}
							h.ServeHTTP(w, r)
						})
					}
					got, want := serve(within(thumb), method, "/", header...).Result(), serve(within(plain), method, "/", header...).Result()
					body := func(r *http.Response) string {
						b, _ := io.ReadAll(r.Body)
						if kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "multipart/byteranges" {
							r.Header.Set("Content-Type", kind)
							return strings.ReplaceAll(string(b), params["boundary"], "")
						}
						return string(b)
					}
					if a, b := body(got), body(want); a != b {
						t.Errorf("%s %q: body %q, want %q", method, header, a, b)
					}
					if nosniff := got.Header.Get("X-Content-Type-Options") == "nosniff"; nosniff == (got.StatusCode == 304) {
						t.Errorf("%s %q: %d, nosniff: %v", method, header, got.StatusCode, nosniff)
					}
					got.Header.Del("X-Content-Type-Options")
					want.Header.Del("X-Content-Type-Options")
					if want.StatusCode >= 400 {
						want.Header.Set("Cache-Control", "no-store")
					}
					if got.StatusCode != want.StatusCode || !reflect.DeepEqual(got.Header, want.Header) {
						t.Errorf("%s %q, %s: %d %v,\nwant %d %v", method, header, outer, got.StatusCode, got.Header, want.StatusCode, want.Header)
					}
				}
			}
		}
	}
}

// A source from the future has a Last-Modified of now, because a later date is not allowed.
func TestLastModifiedInFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that now stays the same
		thumb := &Thumbnail{Data: []byte("picture"), ContentType: "image/png", ETag: `"1"`, ModTime: time.Now().Add(time.Hour)}
		now := time.Now().UTC().Format(http.TimeFormat)
		for _, header := range [][]string{nil, {"Range", "bytes=0-1"}} {
			if got := serve(thumb, "GET", "/", header...).Header().Get("Last-Modified"); got != now {
				t.Errorf("%q: %s, want %s", header, got, now)
			}
		}
	})
}

// FuzzIfNoneMatch compares matches with http.ServeContent.
func FuzzIfNoneMatch(f *testing.F) {
	for _, s := range []string{"*", `"a"`, `W/"a"`, `"b", W/"a"`, `"b" "a"`, `"b`, ",", "W/", `"a b"`, "\"\x80\", \"a\""} {
		f.Add(s, `W/"a"`)
	}
	f.Fuzz(func(t *testing.T, field, tag string) {
		if !strings.HasPrefix(tag, `W/"`) || !strings.HasSuffix(tag, `"`) || len(tag) < 4 ||
			strings.ContainsFunc(tag[3:len(tag)-1], func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
			return
		}
		w := httptest.NewRecorder()
		w.Header().Set("ETag", tag)
		r := &http.Request{Method: "GET", Header: http.Header{"If-None-Match": {field}}}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("x"))
		if got := field != "" && matches(field, tag); got != (w.Code == 304) {
			t.Errorf("%q matches %q: %v, status of ServeContent: %d", field, tag, got, w.Code)
		}
	})
}

// Callers and middleware may change one header without changing another, or another answer.
func TestServeHTTPHeadersAreSeparate(t *testing.T) {
	thumb := &Thumbnail{Data: []byte("x"), ContentType: "image/png", ETag: `"a"`, ModTime: time.Unix(1e9, 0)}
	w := httptest.NewRecorder()
	thumb.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	want := len(w.Header())
	for name := range w.Header() {
		w.Header().Add(name, "more")
		w.Header()[name][0] = "changed"
	}
	for name, values := range w.Header() {
		if len(w.Header()) != want || len(values) != 2 || values[0] != "changed" || values[1] != "more" {
			t.Errorf("%s: %q", name, values)
		}
	}
	w = httptest.NewRecorder()
	thumb.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Header().Get("Content-Type") != "image/png" {
		t.Errorf("the next answer is different: %v", w.Header())
	}
}

// TestHandlerMounts sends requests for one source through the routers in use, which pass the path to a handler in different ways.
func TestHandlerMounts(t *testing.T) {
	c := mustNew(t, Config{Providers: map[string]Provider{"p q": newTestProvider()}})
	type values map[string]string
	set := func(v values) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for name, value := range v {
					r.SetPathValue(name, value)
				}
				h.ServeHTTP(w, r)
			})
		}
	}
	mux := func(pattern string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			m := http.NewServeMux()
			m.Handle(pattern, h)
			return m
		}
	}
	strip := func(pattern, prefix string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler { return mux(pattern)(http.StripPrefix(prefix, h)) }
	}
	bare := func(h http.Handler) http.Handler { return h }
	const (
		plain   = "A b/(1) 100%.png"
		escaped = "A%20b/%281%29%20100%25.png" // RawPath is empty
		mixed   = "A%20b/(1)%20100%25.png"     // as browsers send it; RawPath is set
	)
	for _, test := range []struct {
		name  string
		mount func(http.Handler) http.Handler
		url   string
		want  string
	}{
		{"mux, everything", mux("GET /thumb/"), "/thumb/p%20q/" + escaped, plain},
		{"mux, everything, mixed", mux("GET /thumb/"), "/thumb/p%20q/" + mixed, plain},
		{"mux, values", mux("/thumb/{provider}/{path...}"), "/thumb/p%20q/" + mixed, plain},
		{"mux, values elsewhere", mux("/api/art/{provider}/{path...}"), "/api/art/p%20q/" + mixed, plain},
		{"mux, values that look escaped", mux("/art/{provider}/{path...}"), "/art/p%20q/(%2541", "(%41"},
		{"mux, values and StripPrefix", strip("/api/{provider}/{path...}", "/api"), "/api/p%20q/" + mixed, plain},
		{"mux, the other way round", mux("/art/{path}/of/{provider}"), "/art/(%2541)/of/p%20q", "(%41)"},
		{"mux, path in the query", mux("/art/{provider}"), "/art/p%20q?path=" + escaped, plain},
		{"mux, provider in the query", mux("/art/{path...}"), "/art/" + mixed + "?provider=p+q", plain},
		{"StripPrefix", strip("/api/", "/api"), "/api/p%20q/" + mixed, plain},
		{"StripPrefix, no slash left", strip("/api/", "/api/"), "/api/p%20q/" + mixed, plain},
		{"StripPrefix before /thumb/", strip("/api/", "/api"), "/api/thumb/p%20q/" + mixed, plain},
		{"query", mux("/art"), "/art?provider=p%20q&path=" + escaped, plain},
		{"query under /thumb/", mux("GET /thumb/"), "/thumb/?path=" + escaped + "&provider=p+q", plain},
		{"the first of two", mux("/art"), "/art?provider=p%20q&path=a&path=b", "a"},
		{"dots", mux("GET /thumb/"), "/thumb/?provider=p%20q&path=..%2Fa%2F%2Fb", "../a//b"},
		{"chi and echo 5, RawPath empty", set(values{"provider": "p q", "*": plain}), "/art/p%20q/" + escaped, plain},
		{"chi and echo 5, RawPath set", set(values{"provider": "p%20q", "*": mixed}), "/art/p%20q/" + mixed, plain},
		{"chi, named", set(values{"provider": "p%20q", "path": "(%2541"}), "/art/p%20q/(%2541", "(%41"},
		{"chi, only *", set(values{"*": "p%20q/" + mixed}), "/art/p%20q/" + mixed, plain},
		{"chi, mounted, RawPath empty", set(values{"*": "p q/" + plain}), "/art/p%20q/" + escaped, plain},
		{"echo 5, unescaping", set(values{"provider": "p q", "*": plain}), "/art/p%20q/" + mixed, plain},
		{"echo 4 and gin", bare, "/thumb/p%20q/" + mixed, plain},
		{"a path that is set by hand", set(values{"provider": "p q", "path": "100%41"}), "/(", "100%41"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got Request
			h := test.mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got, _, _ = c.parseRequest(r) }))
			w := serve(h, "GET", test.url)
			if w.Code != 200 || got.Provider != "p q" || got.Path != test.want {
				t.Errorf("%d, %q of %q", w.Code, got.Path, got.Provider)
			}
		})
	}
}

// The size of a thumbnail follows from size, dpr and Config.Sizes.
func TestHandlerSizes(t *testing.T) {
	for _, test := range []struct {
		query string
		sizes []int
		want  int // -1: 400
	}{
		{"", nil, 300},
		{"", []int{512, 64}, 64},
		{"size=0", nil, 0},
		{"size=100", nil, 100},
		{"size=100&dpr=2", nil, 200},
		{"size=100&dpr=1", nil, 100},
		{"size=100&dpr=", nil, 100},
		{"size=100&dpr=4", nil, 400},
		{"size=100&dpr=4.000", nil, 400},
		{"size=101&dpr=1.5", nil, 152},
		{"size=100&dpr=1.333", nil, 133},
		{"size=0&dpr=3", nil, 0},
		{"dpr=2", nil, 600},
		{"dpr=2", []int{64, 128}, 128},
		{"size=99999999999999999999&dpr=1.5", nil, math.MaxInt32},
		{"size=100&dpr=0", nil, -1},
		{"size=100&dpr=0.99", nil, -1},
		{"size=100&dpr=4.01", nil, -1},
		{"size=100&dpr=-1", nil, -1},
		{"size=100&dpr=2x", nil, -1},
		{"size=100&dpr=1e0", nil, -1},
		{"size=100&dpr=0x2", nil, -1},
		{"size=100&dpr=NaN", nil, -1},
		{"size=100&dpr=inf", nil, -1},
		{"size=100&dpr=.", nil, -1},
		{"size=100&dpr=1,5", nil, -1},
		{"size=1.5", nil, -1},
		{"size=-1", nil, -1},
		{"size=-1&dpr=2", nil, -1},
		{"size=%zz", nil, -1},
		{"size=5;v=3", nil, -1},
		{"other=%", nil, -1},
	} {
		c := mustNew(t, Config{Providers: map[string]Provider{"p": newTestProvider()}, Sizes: test.sizes})
		got, _, bad := c.parseRequest(httptest.NewRequest("GET", "/thumb/p/a?"+test.query, nil))
		if bad != "" {
			got.Size = -1
		}
		if got.Size != test.want {
			t.Errorf("%s: %d %s, want %d", test.query, got.Size, bad, test.want)
		}
	}
	p := newTestProvider()
	p.set("a", tag("1"), plain(600, 300, red))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Sizes: []int{100, 250}})
	cfg, _, err := image.DecodeConfig(serve(c.Handler(), "GET", "/thumb/p/a?size=60&dpr=2").Body)
	if err != nil || cfg.Width != 250 {
		t.Errorf("dpr and Config.Sizes: width %d, %v", cfg.Width, err)
	}
}

// TestHandlerErrors checks the answer to each kind of error, and that only faults of the server are logged.
func TestHandlerErrors(t *testing.T) {
	const secret = "/srv/secret/of/the/host"
	var err error
	p := newTestProvider()
	p.set("a", tag("1"), plain(8, 8, red))
	p.setHook(func(context.Context, string) error { return err })
	extractor := ExtractorFunc(func(context.Context, *Source) (*Picture, error) { return nil, fmt.Errorf("%s: %w", secret, err) })
	for _, test := range []struct {
		method, url string
		source      error // of the provider
		extract     error
		status      int
		text        string
	}{
		{"GET", "/thumb/p/a?size=x", nil, nil, 400, "bad size"},
		{"GET", "/thumb/p/a?dpr=9", nil, nil, 400, "bad dpr"},
		{"GET", "/thumb/p/a?fit=fill", nil, nil, 400, "bad fit"},
		{"GET", "/thumb/p/a?format=gif", nil, nil, 400, "bad format"},
		{"GET", "/thumb/p/a?%", nil, nil, 400, "bad query"},
		{"GET", "/thumb/p/a%00", nil, nil, 400, "Bad Request"},
		{"GET", "/thumb/p/a?v=" + strings.Repeat("v", maxVersion+1), nil, nil, 400, "Bad Request"},
		{"GET", "/thumb/p/a", fmt.Errorf("%s: %w", secret, fs.ErrInvalid), nil, 400, "Bad Request"},
		{"GET", "/thumb/unknown/a", nil, nil, 404, "Not Found"},
		{"GET", "/thumb/p/none", nil, nil, 404, "Not Found"},
		{"GET", "/thumb/p/none?v=1", nil, nil, 404, "Not Found"},
		{"GET", "/thumb/p/a", nil, ErrNoPicture, 404, "there is no picture in this media"},
		{"GET", "/thumb/p/a?v=1", nil, ErrNoPicture, 404, "there is no picture in this media"},
		{"POST", "/thumb/p/a", nil, nil, 405, "Method Not Allowed"},
		{"OPTIONS", "/thumb/p/a", nil, nil, 405, "Method Not Allowed"},
		{"GET", "/thumb/p/a", nil, ErrTooLarge, 413, "this picture is too large"},
		{"GET", "/thumb/p/a", nil, ErrUnsupported, 415, "this kind of media is not supported"},
		{"GET", "/thumb/p/a", nil, ErrCorrupt, 415, "this media is broken"},
		{"GET", "/thumb/p/a", nil, errors.New(secret), 500, "Internal Server Error"},
		{"GET", "/thumb/p/a", errors.New(secret), nil, 503, "Service Unavailable"},
		{"GET", "/thumb/p/a", ErrBusy, nil, 503, "too much work is waiting"},
		{"GET", "/thumb/p/a", context.Canceled, nil, 503, "Service Unavailable"}, // the provider's, not the client's
		{"GET", "/thumb/p/a", nil, errNoTool, 503, "ffmpeg was not found on this server"},
		{"GET", "/thumb/p/a", context.DeadlineExceeded, nil, 504, "Gateway Timeout"},
	} {
		for _, accept := range []string{"", "application/json"} {
			for _, method := range []string{test.method, "HEAD"} {
				if method == "HEAD" && test.method != "GET" {
					continue
				}
				var log bytes.Buffer
				cfg := Config{Providers: map[string]Provider{"p": p}, Logger: slog.New(slog.NewTextHandler(&log, nil)), Extractor: extractor}
				c := mustNew(t, cfg)
				err = cmp.Or(test.source, test.extract)
				p.setHook(nil)
				if test.source != nil {
					p.setHook(func(context.Context, string) error { return test.source })
				}
				w := serve(c.Handler(), method, test.url, "Accept", accept)
				name := fmt.Sprintf("%s %.40s %v %v %s", method, test.url, test.source, test.extract, accept)
				want, kind := test.text+"\n", "text/plain; charset=utf-8"
				if accept != "" {
					want, kind = fmt.Sprintf(`{"status":%d,"error":%q}`+"\n", test.status, test.text), "application/json"
				}
				h := w.Header()
				if h.Get("Content-Length") != fmt.Sprint(len(want)) {
					t.Errorf("%s: Content-Length %s", name, h.Get("Content-Length"))
				}
				if method == "HEAD" {
					want = ""
				}
				if w.Code != test.status || w.Body.String() != want || h.Get("Content-Type") != kind {
					t.Errorf("%s: %d %q %q", name, w.Code, w.Body, h.Get("Content-Type"))
				}
				if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("ETag")+h.Get("Last-Modified") != "" {
					t.Errorf("%s: %v", name, h)
				}
				if (w.Code == 405) != (h.Get("Allow") != "") || (w.Code == 503) != (h.Get("Retry-After") != "") {
					t.Errorf("%s: %v", name, h)
				}
				if logged := log.Len() > 0; logged != (w.Code >= 500) {
					t.Errorf("%s: log %q", name, log.String())
				}
			}
		}
	}
}

// Errors are in JSON only for clients that prefer JSON to text and images.
func TestWantsJSON(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                         false,
		"*/*":                                      false,
		"image/avif,image/webp,*/*;q=0.8":          false,
		"text/html,application/xml;q=0.9":          false,
		"application/json":                         true,
		"Application/JSON; charset=utf-8":          true,
		"application/json, text/plain, */*":        true, // axios
		"application/json;q=0.5, text/plain":       false,
		"application/json;q=0.1, */*":              false,
		"application/json;q=0":                     false,
		"image/*, application/json;q=0.2":          true,
		"text/plain;q=0.5, application/json;q=0.9": true,
		"application/json;q=x":                     false,
		";;,/,application/":                        false,
	} {
		if got := wantsJSON([]string{accept}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// A client that leaves gets no placeholder, and is not logged.
func TestHandlerClientLeft(t *testing.T) {
	var log bytes.Buffer
	p := newTestProvider()
	called, left := make(chan struct{}), make(chan struct{})
	p.setHook(func(ctx context.Context, op string) error {
		close(called)
		<-ctx.Done() // the last caller has left
		return ctx.Err()
	})
	placeholder := func(Request, error) *Thumbnail { t.Error("a placeholder for a client that left"); return nil }
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Logger: logger, Placeholder: placeholder})
	var status int
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		rec := httptest.NewRecorder()
		c.Handler().ServeHTTP(rec, r)
		status = rec.Code
	}))
	server.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelError)
	server.Start()
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-called
		cancel()
	}()
	r, _ := http.NewRequestWithContext(ctx, "GET", server.URL+"/thumb/p/a", nil)
	if _, err := server.Client().Do(r); !errors.Is(err, context.Canceled) {
		t.Errorf("client: %v", err)
	}
	<-left
	c.Close()
	if status != 499 || log.Len() > 0 {
		t.Errorf("%d, log: %s", status, log.String())
	}

	// It is not logged either if there was an error at the same time.
	w := httptest.NewRecorder()
	c.serveError(w, r, &Request{}, errors.New("other"))
	if w.Code != 499 || log.Len() > 0 {
		t.Errorf("%d, log: %s", w.Code, log.String())
	}
}

// Conditional requests and ranges get the right status, headers and body.
func TestHandlerConditions(t *testing.T) {
	p := newTestProvider()
	p.set("a", Stamp{ModTime: time.Unix(1e9, 0)}, plain(30, 30, red))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
	h := c.Handler()
	for _, v := range []string{"", "&v=1"} {
		url := "/thumb/p/a?size=20" + v
		full := serve(h, "GET", url)
		etag, control := full.Header().Get("ETag"), full.Header().Get("Cache-Control")
		if full.Code != 200 || etag == "" || strings.Contains(control, "immutable") != (v != "") || v == "" && control != "no-cache" {
			t.Errorf("%s: %d %v", url, full.Code, full.Header())
		}
		for _, test := range []struct {
			header []string
			status int
		}{
			{[]string{"If-None-Match", etag}, 304},
			{[]string{"If-None-Match", strings.TrimPrefix(etag, "W/")}, 304},
			{[]string{"If-None-Match", `"x", ` + etag}, 304},
			{[]string{"If-None-Match", "*"}, 304},
			{[]string{"If-None-Match", `"x` + strings.TrimPrefix(etag, `W/"`)}, 200},
			{[]string{"If-None-Match", strings.Trim(etag, `W/"`)}, 200}, // not quoted
			{[]string{"If-None-Match", etag, "If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"}, 304},
			{[]string{"If-None-Match", etag, "Range", "bytes=0-1"}, 304},
			{[]string{"If-None-Match", etag, "If-Match", `"x"`}, 412},
			{[]string{"If-None-Match", etag, "If-Match", `"x"`, "Range", "bytes=0-1"}, 412},
			{[]string{"If-Match", etag}, 412}, // a weak tag never matches here
			{[]string{"If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"}, 412},
			{[]string{"If-Modified-Since", full.Header().Get("Last-Modified")}, 304},
			{[]string{"Range", "bytes=2-5"}, 206},
			{[]string{"Range", "bytes=0-0,2-3"}, 206},
			{[]string{"Range", "bytes=2-5", "If-Range", etag}, 200},
			{[]string{"Range", "bytes=999999-"}, 416},
		} {
			for _, method := range []string{"GET", "HEAD"} {
				w := serve(h, method, url, test.header...)
				want := control
				if test.status >= 400 {
					want = "no-store"
				}
				if w.Code != test.status || w.Header().Get("Cache-Control") != want {
					t.Errorf("%s %s %q: %d %q", method, url, test.header, w.Code, w.Header().Get("Cache-Control"))
				}
				if (method == "HEAD" && w.Code < 400 || w.Code == 304) && w.Body.Len() > 0 { // a server drops the body of an error
					t.Errorf("%s %s %q: a body", method, url, test.header)
				}
				if test.status == 304 && (w.Header().Get("ETag") != etag || w.Header().Get("Content-Type")+w.Header().Get("Content-Length") != "") {
					t.Errorf("%s %s %q: %v", method, url, test.header, w.Header())
				}
			}
		}
	}

	// A 304 with a version needs no thumbnail. For If-None-Match: * it must be known that there is one.
	c.Invalidate("p", "a")
	etag := c.recipe.etag(hashOf(source{"p", "a"}), &key{shape: shape{size: 20}}, &made{version: "1"})
	_, opens := p.calls()
	if w := serve(h, "GET", "/thumb/p/a?size=20&v=1", "If-None-Match", etag); w.Code != 304 {
		t.Errorf("%d", w.Code)
	}
	if _, now := p.calls(); now != opens {
		t.Error("a 304 with a version opened the source")
	}
	if w := serve(h, "GET", "/thumb/p/none?v=1", "If-None-Match", "*"); w.Code != 404 {
		t.Errorf("* for a missing source: %d", w.Code)
	}
	if w := serve(h, "GET", "/thumb/none/a?v=1", "If-None-Match", etag); w.Code != 404 {
		t.Errorf("unknown provider: %d", w.Code)
	}
}

// TestHandlerHEAD compares the answers to HEAD and GET through a real server, which adds and removes headers.
func TestHandlerHEAD(t *testing.T) {
	p := newTestProvider()
	p.set("a", Stamp{ModTime: time.Unix(1e9, 0)}, plain(300, 300, red))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
	mux := http.NewServeMux()
	mux.Handle("/thumb/", c.Handler())
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, test := range []struct {
		req    Request
		header http.Header
		status int
	}{
		{Request{Provider: "p", Path: "a", Size: 200}, nil, 200},
		{Request{Provider: "p", Path: "a", Size: 200, Version: "1"}, nil, 200},
		{Request{Provider: "p", Path: "a", Size: 200, Format: PNG}, nil, 200},
		{Request{Provider: "p", Path: "a", Size: 200}, http.Header{"If-None-Match": {"*"}}, 304},
		{Request{Provider: "p", Path: "a", Size: 200}, http.Header{"Range": {"bytes=1-2"}}, 206},
		{Request{Provider: "p", Path: "../b"}, nil, 404},
		{Request{Provider: "p", Path: "b"}, http.Header{"Accept": {"application/json"}}, 404},
		{Request{Provider: "p", Path: "a", Size: -1}, nil, 400},
	} {
		var answers [2]*http.Response
		var size int
		for i, method := range []string{"GET", "HEAD"} {
			r, err := http.NewRequest(method, server.URL+test.req.URL(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.header != nil {
				r.Header = test.header
			}
			res, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || method == "HEAD" && len(body) > 0 {
				t.Errorf("%s %s: %d bytes, %v", method, r.URL, len(body), err)
			}
			size += len(body)
			res.Header.Del("Date")
			answers[i] = res
		}
		get, head := answers[0], answers[1]
		if get.StatusCode != test.status || head.StatusCode != test.status || !reflect.DeepEqual(get.Header, head.Header) {
			t.Errorf("%+v: %d %v, HEAD %d %v", test.req, get.StatusCode, get.Header, head.StatusCode, head.Header)
		}
		if length := get.Header.Get("Content-Length"); length != fmt.Sprint(size) && size > 0 {
			t.Errorf("%+v: Content-Length %s, %d bytes", test.req, length, size)
		}
	}
}

// FuzzRequest compares parseRequest with url.ParseQuery, and checks that its results are valid requests.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"size=5&size=6", "provider=p&path=a%2Fb&v=1", "fit=cover&format=png&dpr=1.5", "%", "a;b", "=&&=", "si%7ae=3", "path=+%2B", "size=-0", "size=9223372036854775808&dpr=4"} {
		f.Add("/thumb/p/a", s)
	}
	f.Add("//a%2f/../b", "provider=")
	c := mustNew(f, Config{Providers: map[string]Provider{"p": newTestProvider()}, Sizes: []int{10, 20}})
	f.Fuzz(func(t *testing.T, path, query string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			u = &url.URL{Path: path}
		}
		u.RawQuery = query
		r := &http.Request{Method: "GET", URL: u, Header: http.Header{}}
		got, _, bad := c.parseRequest(r)
		values, err := url.ParseQuery(query)
		if err != nil && bad != "query" {
			t.Errorf("%v: %q", err, bad)
		}
		if bad != "" {
			return
		}
		if got.Size < 0 || got.Fit > Pad || got.Format > WebP || got.Version != values.Get("v") {
			t.Errorf("%+v", got)
		}
		if values.Get("provider") != "" && (got.Provider != values.Get("provider") || got.Path != values.Get("path")) {
			t.Errorf("%+v", got)
		}
		if n, err := strconv.Atoi(values.Get("size")); err == nil && values.Get("dpr") == "" && n != got.Size {
			t.Errorf("%+v", got)
		}
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, r)
		if w.Code != 404 && w.Code != 400 {
			t.Errorf("%+v: %d", got, w.Code)
		}
	})
}

// FuzzRequestURL checks that a request survives Request.URL, a browser, a mux, which cleans paths and redirects, and parseRequest.
func FuzzRequestURL(f *testing.F) {
	for _, path := range []string{
		"Artist/Album (Deluxe)/01 - Ä?#%.flac", "", "/", "a", "/a", "a/", "a//b", "./a", "a/.", "..", "../../etc/passwd", "a/../b", "...", "%2e%2e/%41", "%", "a+b c&d=e;f,g",
		"\\a\\b", "\x00\xff\n", "thumb/x", "*", ":", "http://host/x.jpg", "a\u2028b", "'\"<>()", "~",
	} {
		f.Add("music", path, 300, uint8(0), uint8(0), "")
		f.Add("p q", path, 0, uint8(1), uint8(1), "2001-01-01T00:00:00+01:00 &;%")
	}
	for _, provider := range []string{"", ".", "..", "a/b", "thumb", "%2F", "a:b", "?", "provider=x"} {
		f.Add(provider, "a/b", 20, uint8(1), uint8(0), "1")
	}
	f.Add("p", "a", 20, uint8(3), uint8(0), "") // invalid
	f.Add("p", "a", 20, uint8(0), uint8(4), "")
	f.Add("p", "a", 20, uint8(0), uint8(3), "1")
	f.Add("p", "a", 20, uint8(2), uint8(2), "")
	c := mustNew(f, Config{Providers: map[string]Provider{"p": newTestProvider()}})
	f.Fuzz(func(t *testing.T, provider, path string, size int, fit, format uint8, version string) {
		want := Request{Provider: provider, Path: path, Size: size, Fit: Fit(fit), Format: Format(format), Version: version}
		mux := http.NewServeMux()
		var got Request
		bad := "not found"
		mux.HandleFunc("GET /thumb/", func(w http.ResponseWriter, r *http.Request) { got, _, bad = c.parseRequest(r) })
		u, err := url.Parse(want.URL())
		if err != nil {
			t.Fatal(err)
		}
		if u.RawPath != "" || u.Fragment != "" || u.Host != "" {
			t.Errorf("%#v", u)
		}
		if u.ResolveReference(&url.URL{}).String() != want.URL() || (&url.URL{Path: "/"}).ResolveReference(u).String() != want.URL() {
			t.Errorf("%q: a browser changes it", want.URL())
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, &http.Request{Method: "GET", URL: u})
		if size < 0 || Fit(fit) > Pad || Format(format) > WebP {
			if bad == "" || bad == "not found" {
				t.Errorf("%s: %+v", want.URL(), got)
			}
			return
		}
		if w.Code != 200 || bad != "" || got != want {
			t.Errorf("%s: %d %s %+v, want %+v", want.URL(), w.Code, bad, got, want)
		}
	})
}

// Stamps have different versions if they differ, the same in every time zone, and in every release.
func TestStampVersion(t *testing.T) {
	date := time.Unix(1e9, 5)
	stamps := []Stamp{
		{}, {Size: 1}, {Size: 1 << 40}, {ModTime: date}, {ModTime: date.Add(1)}, {ModTime: date.Add(time.Hour)}, {ModTime: time.Unix(0, 0)}, {Tag: "1"}, {Tag: "2"},
		{Size: 1, ModTime: date, Tag: "1"}, {ModTime: time.Unix(1<<40, 0)},
	}
	seen := make(map[string]Stamp)
	for _, s := range stamps {
		v := s.Version()
		if old, ok := seen[v]; ok {
			t.Errorf("%v and %v: %q", old, s, v)
		}
		seen[v] = s
		if url.QueryEscape(v) != v || len(v) > 20 || (v == "") != s.equal(Stamp{}) {
			t.Errorf("%v: %q", s, v)
		}
		s.ModTime = s.ModTime.In(time.FixedZone("", 3600))
		if s.Version() != v {
			t.Errorf("%v: the version depends on the time zone", s)
		}
	}
	if got := (Stamp{Size: 1, ModTime: date, Tag: "1"}).Version(); got != "UlbZDm-VAvPyTYpR" {
		t.Errorf("%q: this changes every versioned URL", got)
	}
}

// A Placeholder answers in place of an error. It has no date and is not immutable, so that clients see a picture that appears later.
func TestPlaceholder(t *testing.T) {
	var log bytes.Buffer
	date := time.Unix(2e9, 0)
	p := newTestProvider()
	p.set("empty", Stamp{ModTime: time.Unix(1e9, 0)}, []byte("words"))
	none := errors.New("none")
	extract := func(ctx context.Context, src *Source) (*Picture, error) {
		if none != nil {
			return nil, none
		}
		return &Picture{Data: plain(40, 40, red)}, nil
	}
	own := &Thumbnail{Data: []byte("my own"), ModTime: date} // without ETag and ContentType
	c := mustNew(t, Config{
		Providers: map[string]Provider{"p": p},
		Extractor: ExtractorFunc(extract),
		Logger:    slog.New(slog.NewTextHandler(&log, nil)),
		Placeholder: func(req Request, err error) *Thumbnail {
			switch {
			case errors.Is(err, ErrNoPicture):
				return LetterTile(req.Path, req.Size)
			case errors.Is(err, ErrCorrupt), HTTPStatus(err) == 500:
				return own
			}
			return nil
		},
	})
	h := c.Handler()
	for _, v := range []string{"", "&v=1"} {
		url := "/thumb/p/empty?size=40" + v
		none = ErrNoPicture
		w := serve(h, "GET", url)
		etag := w.Header().Get("ETag")
		if w.Code != 200 || w.Header().Get("Content-Type") != "image/svg+xml" || w.Header().Get("Cache-Control") != "no-cache" || etag == "" ||
			w.Header().Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(w.Body.String(), ">E<") || !strings.Contains(w.Body.String(), `width="40"`) {
			t.Errorf("%s: %d %v %s", url, w.Code, w.Header(), w.Body)
		}
		if again := serve(h, "GET", url, "If-None-Match", etag); again.Code != 304 || again.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s again: %d %v", url, again.Code, again.Header())
		}
		if head := serve(h, "HEAD", url); head.Code != 200 || head.Body.Len() > 0 || head.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
			t.Errorf("HEAD %s: %d %v", url, head.Code, head.Header())
		}

		// A picture appears. It is older than the placeholder that the client has.
		none = ErrCorrupt
		c.Invalidate("p", "empty")
		w = serve(h, "GET", url, "If-Modified-Since", date.UTC().Format(http.TimeFormat))
		etag = w.Header().Get("ETag")
		if w.Code != 200 || w.Body.String() != "my own" || w.Header().Get("Last-Modified") != "" || etag == "" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %d %v %s", url, w.Code, w.Header(), w.Body)
		}
		none = nil
		c.Invalidate("p", "empty")
		w = serve(h, "GET", url, "If-None-Match", etag)
		if w.Code != 200 || w.Header().Get("Content-Type") != "image/jpeg" || strings.Contains(w.Header().Get("Cache-Control"), "immutable") != (v != "") {
			t.Errorf("%s: the picture: %d %v", url, w.Code, w.Header())
		}
		c.Invalidate("p", "empty")
	}
	if log.Len() > 0 {
		t.Errorf("log: %s", log.String())
	}

	// Without a placeholder the client gets the error. A fault of the server is logged even with one.
	if w := serve(h, "GET", "/thumb/p/gone"); w.Code != 404 {
		t.Errorf("gone: %d", w.Code)
	}
	if w := serve(h, "GET", "/thumb/p/empty?size=x"); w.Code != 400 {
		t.Errorf("bad size: %d", w.Code)
	}
	none = errors.New("other")
	if w := serve(h, "GET", "/thumb/p/empty"); w.Code != 200 || !strings.Contains(log.String(), "other") {
		t.Errorf("%d, log: %s", w.Code, log.String())
	}
	if own.ETag != "" || own.ContentType != "" || !own.ModTime.Equal(date) {
		t.Error("the placeholder was modified")
	}
}

// A LetterTile shows the first letter of a text, as valid SVG, in a color with enough contrast.
func TestLetterTile(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "?",
		"  \n":                               "?",
		"\xff\xfe":                           "?",
		"beatles":                            "B",
		" (what's the story)":                "W",
		"...And Justice":                     "A",
		"99 Luftballons":                     "9",
		"!!!":                                "!",
		"<script>":                           "S",
		"<>":                                 "<",
		"&":                                  "&",
		"\"":                                 "\"",
		"éa":                                 "É",
		"e\u0301a":                           "E\u0301",
		"ñandú":                              "Ñ",
		"ßa":                                 "ß",
		"日本語":                                "日",
		"कि":                                 "कि",
		"שלום":                               "ש",
		"\u200f\u202eمرحبا":                  "م",
		"👍🏽 up":                              "👍🏽",
		"👩‍👩‍👧‍👦 family":                     "👩‍👩‍👧‍👦",
		"❤️ love":                            "❤️",
		"🇩🇪🇫🇷":                               "🇩🇪",
		"🇩 x":                                "🇩",
		"🎵a":                                 "🎵",
		"1\ufe0f\u20e3":                      "1\ufe0f\u20e3",
		"a\u200db":                           "A\u200d",
		"\u0301":                             "?",
		"a" + strings.Repeat("\u0301", 1000): "A" + strings.Repeat("\u0301", 11),
	} {
		tile := LetterTile(text, 64)
		var svg struct {
			XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
			Width   int      `xml:"width,attr"`
			Height  int      `xml:"height,attr"`
			Rect    struct {
				Fill string `xml:"fill,attr"`
			} `xml:"rect"`
			Text string `xml:"text"`
		}
		if err := xml.Unmarshal(tile.Data, &svg); err != nil {
			t.Errorf("%q: %v in %s", text, err, tile.Data)
		}
		if svg.Text != want || svg.Width != 64 || svg.Height != 64 || tile.Width != 64 || tile.Height != 64 {
			t.Errorf("%q: %q, want %q", text, svg.Text, want)
		}
		if again := LetterTile(text, 64); again.ETag != tile.ETag || !bytes.Equal(again.Data, tile.Data) {
			t.Errorf("%q: two tiles differ", text)
		}
		if len(tile.Data) > 500 {
			t.Errorf("%q: %d bytes", text, len(tile.Data))
		}
	}
	for size, want := range map[int]int{-1: 300, 0: 300, 1: 1, 1 << 30: 65535} {
		if got := LetterTile("a", size).Width; got != want {
			t.Errorf("size %d: %d", size, got)
		}
	}
	for _, fill := range tileColors {
		var rgb [3]float64
		for i := range rgb {
			n, err := strconv.ParseUint(fill[1+2*i:3+2*i], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			rgb[i] = math.Pow((float64(n)/255+0.055)/1.055, 2.4)
		}
		// The contrast to white, as WCAG 2 defines it.
		if contrast := 1.05 / (0.2126*rgb[0] + 0.7152*rgb[1] + 0.0722*rgb[2] + 0.05); contrast < 4.5 {
			t.Errorf("%s: contrast %.2f", fill, contrast)
		}
	}

	// An SVG may be opened as a page of its own.
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
		LetterTile("a", 10).ServeHTTP(w, r)
	})
	if got := serve(h, "GET", "/").Header()["Content-Security-Policy"]; len(got) != 2 || got[1] != "default-src 'none'; sandbox" {
		t.Errorf("%q", got)
	}
	if got := serve(&Thumbnail{Data: []byte("\xff\xd8\xff")}, "GET", "/").Header(); got.Get("Content-Security-Policy") != "" || got.Get("Content-Type") != "image/jpeg" {
		t.Errorf("%q", got)
	}
}

// The parameters of boxes become the fields of a request, and Request.URL writes them.
func TestBoxParameters(t *testing.T) {
	c := mustNew(t, Config{Providers: map[string]Provider{"p": newTestProvider()}})
	for query, want := range map[string]Request{
		"width=300&height=200":                    {Width: 300, Height: 200},
		"width=300":                               {Width: 300},
		"size=0&height=200":                       {Height: 200},
		"width=10&height=20&dpr=1.5":              {Width: 15, Height: 30},
		"width=99999999999999999999&height=1":     {Width: math.MaxInt, Height: 1},
		"size=9&fit=cover&focus=0.3,0.7":          {Size: 9, Fit: Cover, FocusX: 0.3, FocusY: 0.7},
		"size=9&fit=cover&focus=0,1":              {Size: 9, Fit: Cover, FocusX: 0.01, FocusY: 1},
		"size=9&fit=cover&focus=,0.7":             {Size: 9, Fit: Cover, FocusY: 0.7},
		"size=9&fit=cover&focus=0.3,":             {Size: 9, Fit: Cover, FocusX: 0.3},
		"size=9&fit=pad&background=blur":          {Size: 9, Fit: Pad, Background: "blur"},
		"width=9&height=8&fit=pad&format=auto":    {Width: 9, Height: 8, Fit: Pad, Format: Auto},
		"size=9&format=webp":                      {Size: 9, Format: WebP},
		"size=9&fit=pad&background=%23ff00ff":     {Size: 9, Fit: Pad, Background: "#ff00ff"}, // which Do refuses
		"profile=dlna-tn":                         {Profile: "dlna-tn"},
		"profile=%26&size=9":                      {Profile: "&", Size: 9}, // which Do refuses
		"width=1&height=1&background=transparent": {Width: 1, Height: 1, Background: "transparent"},
	} {
		want.Provider, want.Path = "p", "a"
		got, _, bad := c.parseRequest(httptest.NewRequest("GET", "/thumb/p/a?"+query, nil))
		if bad != "" || got != want {
			t.Errorf("%s: bad %q, %+v", query, bad, got)
		}
		if again, _, bad := c.parseRequest(httptest.NewRequest("GET", want.URL(), nil)); bad != "" || again != want {
			t.Errorf("%s: bad %q, %+v", want.URL(), bad, again)
		}
	}
	for query, want := range map[string]string{
		"width=-1": "width", "height=x": "height", "width=1&size=x": "size", "fit=fill": "fit", "focus=0.5": "focus", "focus=1.1,0": "focus",
		"focus=-0.1,0": "focus", "focus=1e-1,0": "focus", "focus=0,0,0": "focus", "focus=NaN,0": "focus", "format=avif": "format",
	} {
		if _, _, bad := c.parseRequest(httptest.NewRequest("GET", "/thumb/p/a?"+query, nil)); bad != want {
			t.Errorf("%s: bad %q, want %q", query, bad, want)
		}
	}
}

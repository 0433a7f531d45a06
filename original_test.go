package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// original requests the original of a source.
func original(c *Cache, req Request, header ...string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	req.Provider = "p"
	c.ServeOriginal(w, r, req)
	return w
}

func TestServeOriginal(t *testing.T) {
	p := newTestProvider()
	photo, gif := noisy(60, 40, 85), []byte("GIF89a with many frames, of which none is decoded")
	p.set("photo", tag("1"), photo)
	p.set("gif", tag("1"), gif)
	p.set("song", tag("1"), flacWith(photo))
	p.set("silent", tag("1"), flacWith())
	p.set("odd song", tag("1"), flacWith([]byte("<svg onload='alert(1)'/>")))
	p.set("svg", tag("1"), []byte("<svg xmlns='http://www.w3.org/2000/svg'/>"))
	p.set("page", tag("1"), []byte("<html><script>alert(1)</script>"))
	p.set("empty", tag("1"), nil)
	broken := errors.New("/srv/secret: no medium")
	dir := t.TempDir()
	c := mustNew(t, Config{Dir: dir, Extractor: Images(), Providers: map[string]Provider{
		"p":  p,
		"id": Resolve(func(_ context.Context, id string) (Target, error) { return Target{"p", id}, nil }),
	}})
	for _, test := range []struct {
		path, kind string
		status     int
		body       []byte
	}{
		{"photo", "image/jpeg", 200, photo},
		{"gif", "image/gif", 200, gif},
		{"song", "image/jpeg", 200, photo},
		{"silent", "", 404, nil},
		{"odd song", "", 404, nil},
		{"svg", "", 415, nil},
		{"page", "", 415, nil},
		{"empty", "", 415, nil},
		{"none", "", 404, nil},
		{"\x00", "", 400, nil},
	} {
		w := original(c, Request{Path: test.path})
		h := w.Header()
		if w.Code != test.status || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", test.path, w.Code, h)
		}
		if test.body == nil {
			if h.Get("Cache-Control") != "no-store" || h.Get("ETag") != "" {
				t.Errorf("%s: %v", test.path, h)
			}
			continue
		}
		if !bytes.Equal(w.Body.Bytes(), test.body) || h.Get("Content-Type") != test.kind || h.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %v, %d bytes", test.path, h, w.Body.Len())
		}
		etag := h.Get("ETag")
		w = original(c, Request{Path: test.path}, "Range", "bytes=5-9", "If-Range", etag)
		if w.Code != 206 || !bytes.Equal(w.Body.Bytes(), test.body[5:10]) {
			t.Errorf("%s: range: %d %q", test.path, w.Code, w.Body)
		}
		_, opens := p.calls()
		if w = original(c, Request{Path: test.path}, "If-None-Match", etag); w.Code != 304 || w.Body.Len() > 0 || w.Header().Get("ETag") != etag {
			t.Errorf("%s: 304: %d", test.path, w.Code)
		}
		if _, now := p.calls(); now != opens {
			t.Errorf("%s: opened for a 304", test.path)
		}
		p.set(test.path, tag("2"), test.body)
		if w = original(c, Request{Path: test.path}, "If-None-Match", etag); w.Code != 200 {
			t.Errorf("%s: changed: %d", test.path, w.Code)
		}
		w = httptest.NewRecorder()
		c.ServeOriginal(w, httptest.NewRequest("HEAD", "/", nil), Request{Provider: "id", Path: test.path})
		if w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Content-Type") != test.kind {
			t.Errorf("%s: HEAD by id: %d %v", test.path, w.Code, w.Header())
		}
	}
	stats, _ := p.calls()
	w := original(c, Request{Path: "photo", Version: "7"})
	if etag := w.Header().Get("ETag"); original(c, Request{Path: "photo", Version: "7"}, "If-None-Match", etag).Code != 304 {
		t.Error("with a version: no 304")
	}
	if now, _ := p.calls(); now != stats {
		t.Error("with a version: Stat was called")
	}
	p.fail(broken)
	if w := original(c, Request{Path: "photo"}); w.Code != 503 || bytes.Contains(w.Body.Bytes(), []byte("secret")) {
		t.Errorf("unreachable: %d %s", w.Code, w.Body)
	}
	if names := filesIn(t, dir); len(names) > 0 || c.Stats().Extractions > 0 {
		t.Errorf("stored %v, %+v", names, c.Stats())
	}
	if !c.originals.TryAcquire(maxOriginals) {
		t.Error("memory is still reserved")
	}
	c.Close()
	if w := original(c, Request{Path: "photo"}); w.Code != http.StatusServiceUnavailable {
		t.Errorf("closed: %d", w.Code)
	}
}

// A thumbnail stays fresh when its original is requested, although it also depends on the pictures beside it.
func TestOriginalKeepsLook(t *testing.T) {
	root := writeFiles(t, map[string][]byte{"a.jpg": noisy(60, 40, 85), "cover.jpg": noisy(30, 30, 85)})
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, FolderFirst: true})
	mustGet(t, c, "p", "a.jpg", 20)
	w := original(c, Request{Path: "a.jpg"})
	if etag := w.Header().Get("ETag"); w.Code != 200 || original(c, Request{Path: "a.jpg"}, "If-None-Match", etag).Code != 304 {
		t.Errorf("status %d, ETag %s", w.Code, etag)
	}
	if mustGet(t, c, "p", "a.jpg", 20); c.Stats().MemoryHits != 1 {
		t.Errorf("%+v", c.Stats())
	}
}

// Content that fails or panics while it is read gives back what it has reserved.
func TestOriginalFails(t *testing.T) {
	p := newTestProvider()
	p.set("song", tag("1"), flacWith(noisy(60, 40, 85)))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}})
	for _, content := range []badContent{{errors.New("bad sector")}, {nil}} {
		p.wrap = func(src *Source) { src.Content = content }
		func() {
			defer func() {
				if r := recover(); (r != nil) != (content.err == nil) {
					t.Errorf("recovered %v", r)
				}
			}()
			if w := original(c, Request{Path: "song"}); w.Code < 500 {
				t.Errorf("status %d", w.Code)
			}
		}()
	}
	if !c.originals.TryAcquire(maxOriginals) {
		t.Error("memory is still reserved")
	}
}

// badContent fails or, without an error, panics behind its first bytes.
type badContent struct{ err error }

func (c badContent) ReadAt(p []byte, off int64) (int, error) {
	if off == 0 && len(p) <= 64 {
		return copy(p, "fLaC"), io.EOF
	}
	if c.err == nil {
		panic("content")
	}
	return 0, c.err
}

func (badContent) Close() error { return nil }

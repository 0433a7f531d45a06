package thumbcache

import (
	"cmp"
	"errors"
	"image"
	"image/color"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "golang.org/x/image/webp"
)

// The Accept headers of requests for images.
const (
	chromeAccept  = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
	firefoxAccept = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
	safariAccept  = "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
	oldSafari     = "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5" // Safari 13, which cannot show WebP
)

func TestAcceptsWebP(t *testing.T) {
	for _, test := range []struct {
		accept string // lines, separated by "|"
		want   bool
	}{
		{chromeAccept, true},
		{firefoxAccept, true},
		{safariAccept, true},
		{oldSafari, false},
		{"image/webp,*/*", true},                 // Firefox 65 to 91
		{"image/webp,*/*;q=0.8", true},           // Android
		{"image/png, image/*;q=0.8, */*", false}, // Firefox before 65
		{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7", true}, // a new tab
		{"*/*", false}, // curl, media players and fetch
		{"image/*", false},
		{"image/*,*/*", false},
		{"", false},

		{"image/webp", true},
		{"IMAGE/WebP", true},
		{" image/webp\t;\tq=0.5 ", true},
		{",, image/webp,", true},
		{"image/webp;q=0", false},
		{"image/webp;q=0.000", false},
		{"image/webp; Q=0", false},
		{"image/webp;q=0.001", true},
		{"image/webp;q=1.000", true},
		{"image/webp ; q = 0, */*", false},
		{"image/webp;a=b;q=0", false},
		{"image/webp;q=0;a=b", false},
		{"image/webp;a=b", true},
		{`image/webp;a="x;q=1,";q=0`, false},
		{`image/webp;a="\";q=1,";q=0`, false},
		{`text/plain;a=",image/webp,"`, false},
		{`text/plain;a="\",image/webp`, false}, // an open quote
		{`text/plain;a="\",",image/webp`, true},

		// A weight that is none is a refusal, because JPEG is always right.
		{"image/webp;q", false},
		{"image/webp;q=", false},
		{"image/webp;q=x", false},
		{"image/webp;q=1.1", false},
		{"image/webp;q=-1", false},
		{"image/webp;q=NaN", false},
		{"image/webp;q=Inf", false},
		{"image/webp;q=1e-1", false},
		{"image/webp;q=0x1", false},
		{`image/webp;q="1"`, false},

		// Others that contain the name.
		{"image/webp2", false},
		{"ximage/webp", false},
		{"image/web", false},
		{"image/webp/x", false},
		{"webp", false},
		{"image webp", false},
		{"application/json;image/webp", false},

		// A client may prefer JPEG.
		{"image/jpeg, image/webp;q=0.9", false},
		{"image/jpeg;q=0.9, image/webp;q=0.9", true},
		{"image/webp;q=0.5, image/*", false},
		{"image/webp;q=0.5, */*", false},
		{"image/webp;q=0.5, image/*;q=0.1, */*", true},
		{"image/webp;q=0.5, image/jpeg;q=0, */*", true},
		{"image/webp;q=0.5, image/jpeg;q=0.4, image/*, */*", true},
		{"image/webp;q=0.5, image/png", true},

		{"text/html|image/webp", true},
		{"image/webp;q=0|text/html", false},
		{"image/webp;q=0.5|image/jpeg", false},
		{`text/plain;a="|image/webp"`, false},
	} {
		if got := acceptsWebP(strings.Split(test.accept, "|")); got != test.want {
			t.Errorf("%q: %v", test.accept, got)
		}
	}
	if acceptsWebP(nil) {
		t.Error("no header: true")
	}
	lines := []string{"text/html", safariAccept}
	if n := testing.AllocsPerRun(100, func() { acceptsWebP(lines) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzAccept checks that what does not matter in an Accept header does not matter: case, spaces and lines. It compares headers that
// package mime understands with its results.
func FuzzAccept(f *testing.F) {
	for _, s := range []string{chromeAccept, firefoxAccept, safariAccept, "", "image/webp;q=0", `a/b;c="\",";q=1, image/webp`, "image/webp;q=.5,,*/*", "image/webp;q=0.3, image/*;q=0.2", `;="`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		got := acceptsWebP([]string{accept})
		wantsJSON([]string{accept})
		if got && !strings.Contains(strings.ToLower(accept), "image/webp") {
			t.Errorf("%q does not name WebP", accept)
		}
		if isASCII(accept) && acceptsWebP([]string{strings.ToUpper(accept)}) != got {
			t.Errorf("%q: upper case matters", accept)
		}
		if strings.ContainsAny(accept, `"\`) {
			return
		}
		items := strings.Split(accept, ",")
		for name, same := range map[string][]string{
			"lines":    items,
			"in order": {strings.Join(items, " ,\t")},
			"more":     {"text/html, " + accept, "video/*;q=0.1"},
		} {
			if acceptsWebP(same) != got {
				t.Errorf("%q: %v, but %s: %v", accept, got, name, !got)
			}
		}
		weights := make(map[string]float64)
		for _, item := range items {
			kind, params, err := mime.ParseMediaType(item)
			q, qErr := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
			if err != nil || qErr != nil || q > 1 || strings.Trim(params["q"], "0123456789.") != "" || params["q"] == "" && strings.Contains(item, "=") {
				return
			}
			if _, ok := weights[kind]; !ok {
				weights[kind] = q
			}
		}
		jpeg := 0.0
		for _, kind := range []string{"*/*", "image/*", "image/jpeg"} { // the most specific last
			if q, ok := weights[kind]; ok {
				jpeg = q
			}
		}
		if want := weights["image/webp"] > 0 && weights["image/webp"] >= jpeg; got != want {
			t.Errorf("%q: %v, want %v", accept, got, want)
		}
	})
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

// glass returns a PNG that is half transparent.
func glass() []byte {
	m := image.NewNRGBA(image.Rect(0, 0, 60, 60))
	for i := range m.Pix {
		m.Pix[i] = 0x80
	}
	return pngOf(m)
}

// newNegotiator returns a cache with the pictures "a", and "glass", which has transparency.
func newNegotiator(t *testing.T, cfg Config) *Cache {
	p := newTestProvider()
	p.set("a", Stamp{ModTime: time.Unix(1e9, 0), Tag: "1"}, plain(60, 30, red))
	p.set("glass", tag("1"), glass())
	p.set("words", tag("1"), []byte("words"))
	cfg.Providers = map[string]Provider{"p": p, "hidden": With(p, Settings{Internal: true})}
	cfg.Profiles, cfg.Extractor = DLNAProfiles(), Images()
	return mustNew(t, cfg)
}

// The format of an answer follows from the URL, the client and Config.Negotiate. Exactly the answers that depend on the client say so.
func TestNegotiate(t *testing.T) {
	const jpeg, png, webp = "image/jpeg", "image/png", "image/webp"
	off, on := newNegotiator(t, Config{}).Handler(), newNegotiator(t, Config{Negotiate: true}).Handler()
	for _, test := range []struct {
		url       string
		other     string // content type for a client that does not accept WebP
		off, on   string // for one that does
		offVaries bool
		onVaries  bool
	}{
		{"a?size=20", jpeg, jpeg, webp, false, true},
		{"a", jpeg, jpeg, webp, false, true},
		{"a?size=0", jpeg, jpeg, webp, false, true},
		{"a?size=20&format=", jpeg, jpeg, webp, false, true},
		{"a?size=20&profile=&v=", jpeg, jpeg, webp, false, true},
		{"a?size=20&fit=cover&focus=0.3,0.7", jpeg, jpeg, webp, false, true},
		{"a?width=20&height=30&dpr=1.5", jpeg, jpeg, webp, false, true},
		{"a?width=20&height=30&fit=pad&background=blur", jpeg, jpeg, webp, false, true},
		{"a?width=20&height=30&fit=pad&background=transparent", jpeg, jpeg, webp, false, true},
		{"glass?size=20", jpeg, jpeg, webp, false, true},

		{"a?size=20&format=jpeg", jpeg, jpeg, jpeg, false, false},
		{"a?size=20&format=jpg", jpeg, jpeg, jpeg, false, false},
		{"a?size=20&format=png", png, png, png, false, false},
		{"a?size=20&format=webp", webp, webp, webp, false, false},
		{"a?profile=dlna-tn", jpeg, jpeg, jpeg, false, false},
		{"a?profile=dlna-png-tn", png, png, png, false, false},
		{"a?size=20&v=1", jpeg, jpeg, jpeg, false, false},
		{"a?size=20&v=1&format=png", png, png, png, false, false},

		{"a?size=20&format=auto", jpeg, webp, webp, true, true},
		{"glass?size=20&format=auto", png, webp, webp, true, true},
		{"a?size=20&format=auto&v=1", jpeg, webp, webp, true, true},
		{"a?width=20&height=30&fit=pad&background=transparent&format=auto", png, webp, webp, true, true},
	} {
		for name, h := range map[string]http.Handler{"off": off, "on": on} {
			want, varies := test.off, test.offVaries
			if name == "on" {
				want, varies = test.on, test.onVaries
			}
			other := serve(h, "GET", "/thumb/p/"+test.url, "Accept", "*/*")
			ours := serve(h, "GET", "/thumb/p/"+test.url, "Accept", chromeAccept)
			for _, w := range []struct {
				*httptest.ResponseRecorder
				want string
			}{{other, test.other}, {ours, want}} {
				_, format, err := image.DecodeConfig(w.Body)
				if w.Code != 200 || err != nil || "image/"+format != w.want || w.Header().Get("Content-Type") != w.want {
					t.Errorf("%s, %s: %d %q %v, want %s", name, test.url, w.Code, w.Header().Get("Content-Type"), err, w.want)
				}
				if vary := w.Header().Values("Vary"); varies != slices.Equal(vary, []string{"Accept"}) || !varies && vary != nil {
					t.Errorf("%s, %s: Vary %q", name, test.url, vary)
				}
			}
			if same := other.Header().Get("ETag") == ours.Header().Get("ETag"); same != (test.other == want) {
				t.Errorf("%s, %s: %s and %s have the ETags %q and %q", name, test.url, test.other, want, other.Header().Get("ETag"), ours.Header().Get("ETag"))
			}
		}
	}
}

// A negotiated answer of every kind has Vary, and a client that accepts another format than before gets that.
func TestNegotiateConditions(t *testing.T) {
	c := newNegotiator(t, Config{Negotiate: true})
	h := c.Handler()
	for _, url := range []string{"/thumb/p/a?size=20", "/thumb/p/a?size=20&format=auto", "/thumb/p/a?size=20&format=auto&v=1"} {
		jpeg, webp := serve(h, "GET", url), serve(h, "GET", url, "Accept", firefoxAccept)
		jpegTag, webpTag := jpeg.Header().Get("ETag"), webp.Header().Get("ETag")
		if immutable := strings.Contains(webp.Header().Get("Cache-Control"), "immutable"); immutable != strings.Contains(url, "v=1") {
			t.Errorf("%s: Cache-Control %q", url, webp.Header().Get("Cache-Control"))
		}
		opened := c.Stats().Misses
		for _, test := range []struct {
			accept string
			header []string
			status int
			tag    string
		}{
			{"*/*", []string{"If-None-Match", jpegTag}, 304, jpegTag},
			{"*/*", []string{"If-None-Match", webpTag}, 200, jpegTag},
			{firefoxAccept, []string{"If-None-Match", webpTag}, 304, webpTag},
			{firefoxAccept, []string{"If-None-Match", jpegTag}, 200, webpTag},
			{firefoxAccept, []string{"If-None-Match", jpegTag + ", " + webpTag}, 304, webpTag},
			{"*/*", []string{"If-None-Match", jpegTag + ", " + webpTag}, 304, jpegTag},
			{firefoxAccept, []string{"If-None-Match", "*"}, 304, webpTag},
			{firefoxAccept, []string{"Range", "bytes=0-3"}, 206, webpTag},
			{"*/*", []string{"Range", "bytes=0-3"}, 206, jpegTag},
			{firefoxAccept, []string{"Range", "bytes=999999-"}, 416, ""},
			{firefoxAccept, []string{"If-Match", `"x"`}, 412, webpTag},
		} {
			for _, method := range []string{"GET", "HEAD"} {
				w := serve(h, method, url, append(test.header, "Accept", test.accept)...)
				if w.Code != test.status || !slices.Equal(w.Header().Values("Vary"), []string{"Accept"}) || w.Header().Get("ETag") != test.tag {
					t.Errorf("%s %s %.20s %q: %d %v", method, url, test.accept, test.header, w.Code, w.Header())
				}
			}
		}
		if now := c.Stats().Misses; now != opened {
			t.Errorf("%s: %d thumbnails were made again", url, now-opened)
		}
	}

	// The 304 of a version needs no work, in either format.
	for accept, format := range map[string]Format{"*/*": Auto, chromeAccept: WebP} {
		etag := c.recipe.etag(hashOf(source{"p", "a"}), &key{shape: shape{size: 21, format: format}}, &made{version: "2"})
		before := c.Stats()
		if w := serve(h, "GET", "/thumb/p/a?size=21&format=auto&v=2", "Accept", accept, "If-None-Match", etag); w.Code != 304 || c.Stats() != before {
			t.Errorf("%s: %d, %+v", accept, w.Code, c.Stats())
		}
	}
}

// Errors and placeholders of negotiated URLs have Vary too. A placeholder is told the format that the client gets.
func TestNegotiateErrors(t *testing.T) {
	var told []Format
	c := newNegotiator(t, Config{Negotiate: true, Placeholder: func(req Request, err error) *Thumbnail {
		if !errors.Is(err, ErrUnsupported) && req.Provider != "hidden" {
			return nil
		}
		told = append(told, req.Format)
		return LetterTile(req.Path, 0)
	}})
	for _, test := range []struct {
		url    string
		status int
		vary   string
	}{
		{"p/words", 200, "Accept"},
		{"hidden/a", 200, "Accept"},
		{"hidden/a?format=auto", 200, "Accept"},
		{"hidden/a?format=jpeg", 200, ""},
		{"p/words?v=1", 200, ""},
		{"p/none", 404, "Accept"},
		{"p/none?v=1", 404, "Accept"}, // text or JSON
		{"p/a?size=x", 400, "Accept"},
		{"p/a?profile=dlna-tn&format=auto", 400, "Accept"},
	} {
		w := serve(c.Handler(), "GET", "/thumb/"+test.url, "Accept", chromeAccept)
		if w.Code != test.status || strings.Join(w.Header().Values("Vary"), "|") != test.vary {
			t.Errorf("%s: %d, Vary %q", test.url, w.Code, w.Header()["Vary"])
		}
		if test.status == 200 && w.Header().Get("Content-Type") != "image/svg+xml" {
			t.Errorf("%s: %v", test.url, w.Header())
		}
	}
	if want := []Format{WebP, WebP, WebP, JPEG, JPEG}; !slices.Equal(told, want) {
		t.Errorf("the placeholder was told %v, want %v", told, want)
	}
}

// Vary is added to the server's own.
func TestVary(t *testing.T) {
	for _, test := range []struct{ before, want []string }{
		{nil, []string{"Accept"}},
		{[]string{"Origin"}, []string{"Origin", "Accept"}},
		{[]string{"Origin, Accept-Encoding", "Cookie"}, []string{"Origin, Accept-Encoding", "Cookie", "Accept"}},
		{[]string{"Origin,accept"}, []string{"Origin,accept"}},
		{[]string{"Origin", " ACCEPT\t, Cookie"}, []string{"Origin", " ACCEPT\t, Cookie"}},
		{[]string{"*"}, []string{"*"}},
		{[]string{""}, []string{"", "Accept"}},
	} {
		backing := append(slices.Clone(test.before), "the server's") // which must not be overwritten
		h := http.Header{}
		if test.before != nil {
			h["Vary"] = backing[:len(test.before):len(test.before)]
		}
		for range 2 {
			if varyByAccept(h); !slices.Equal(h["Vary"], test.want) || backing[len(test.before)] != "the server's" {
				t.Errorf("%q: %q, want %q", test.before, h["Vary"], test.want)
			}
		}
	}
}

// Serve negotiates Auto only. Do knows no client.
func TestServeAuto(t *testing.T) {
	c := newNegotiator(t, Config{Negotiate: true})
	for _, test := range []struct {
		req    Request
		accept string
		want   string
		vary   string
	}{
		{Request{Path: "a", Format: Auto}, chromeAccept, "image/webp", "Origin|Accept"},
		{Request{Path: "a", Format: Auto}, "", "image/jpeg", "Origin|Accept"},
		{Request{Path: "glass", Format: Auto, Version: "1"}, chromeAccept, "image/webp", "Origin|Accept"},
		{Request{Path: "glass", Format: Auto, Version: "1"}, "image/*", "image/png", "Origin|Accept"},
		{Request{Path: "a"}, chromeAccept, "image/jpeg", "Origin"},
		{Request{Path: "a", Format: PNG}, chromeAccept, "image/png", "Origin"},
		{Request{Path: "a", Format: WebP}, "", "image/webp", "Origin"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", test.accept)
		w := httptest.NewRecorder()
		w.Header().Set("Vary", "Origin")
		test.req.Provider, test.req.Size = "p", 20
		c.Serve(w, r, test.req)
		if w.Code != 200 || w.Header().Get("Content-Type") != test.want || strings.Join(w.Header()["Vary"], "|") != test.vary {
			t.Errorf("%+v %q: %d %v", test.req, test.accept, w.Code, w.Header())
		}
		if thumb, err := c.Do(t.Context(), test.req); err != nil || test.req.Format == Auto && thumb.ContentType == "image/webp" {
			t.Errorf("Do, %+v: %v", test.req, err)
		}
	}
}

// A thumbnail of a transparent picture is transparent as WebP, and white behind it as JPEG.
func TestNegotiateTransparency(t *testing.T) {
	c := newNegotiator(t, Config{Negotiate: true})
	for accept, opaque := range map[string]bool{chromeAccept: false, "*/*": true} {
		for _, url := range []string{"/thumb/p/glass?size=20", "/thumb/p/a?width=20&height=30&fit=pad&background=transparent"} {
			m, _, err := image.Decode(serve(c.Handler(), "GET", url, "Accept", accept).Body)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, a := m.At(0, 0).RGBA(); (a == 0xffff) != opaque {
				t.Errorf("%s %s: alpha %x", accept, url, a)
			}
			if r, _, _, _ := m.At(0, 0).RGBA(); opaque && strings.Contains(url, "pad") && r>>8 < 0xfa {
				t.Errorf("%s: %v, want white", url, color.NRGBAModel.Convert(m.At(0, 0)))
			}
		}
	}
}

// A sharedCache is a caching proxy that knows nothing of thumbnails, only of Vary and Cache-Control (RFC 9111, section 4.1).
type sharedCache struct {
	origin http.Handler
	stored map[string]*http.Response // by URL, and the request headers that Vary names
	vary   map[string][]string       // by URL
	asked  int
}

func (s *sharedCache) key(url string, header http.Header) string {
	k := url
	for _, name := range s.vary[url] {
		k += "\n" + name + ": " + strings.Join(header.Values(name), ", ")
	}
	return k
}

// get answers a client that sends Accept. It revalidates what is not immutable.
func (s *sharedCache) get(url, accept string) *http.Response {
	r := httptest.NewRequest("GET", url, nil)
	r.Header.Set("Accept", accept)
	old := s.stored[s.key(url, r.Header)]
	if old != nil {
		if strings.Contains(old.Header.Get("Cache-Control"), "immutable") {
			return old
		}
		r.Header.Set("If-None-Match", old.Header.Get("ETag"))
	}
	s.asked++
	w := httptest.NewRecorder()
	s.origin.ServeHTTP(w, r)
	if w.Code == http.StatusNotModified && old != nil {
		return old
	}
	s.vary[url] = nil
	for _, line := range w.Header().Values("Vary") {
		s.vary[url] = append(s.vary[url], strings.Split(line, ", ")...)
	}
	s.stored[s.key(url, r.Header)] = w.Result()
	return w.Result()
}

// Every client of a shared cache gets a format that it accepts, from the cache if the URL is immutable.
func TestNegotiateSharedCache(t *testing.T) {
	c := newNegotiator(t, Config{Negotiate: true})
	proxy := &sharedCache{c.Handler(), map[string]*http.Response{}, map[string][]string{}, 0}
	urls := map[string]string{ // and what clients get that do not accept WebP
		"/thumb/p/a?size=20":                     "image/jpeg",
		"/thumb/p/a?size=20&v=1":                 "image/jpeg",
		"/thumb/p/a?size=20&format=auto&v=1":     "image/jpeg",
		"/thumb/p/glass?size=20&format=auto&v=1": "image/png",
	}
	clients := map[string]bool{chromeAccept: true, firefoxAccept: true, safariAccept: true, oldSafari: false, "*/*": false, "": false, "image/webp;q=0,*/*": false}
	rng := rand.New(rand.NewPCG(1, 2))
	allURLs, accepts := slices.Sorted(maps.Keys(urls)), slices.Sorted(maps.Keys(clients))
	for range 500 {
		url, accept := allURLs[rng.IntN(len(allURLs))], accepts[rng.IntN(len(accepts))]
		want := urls[url]
		if clients[accept] && url != "/thumb/p/a?size=20&v=1" {
			want = "image/webp"
		}
		if r := proxy.get(url, accept); r.StatusCode != 200 || r.Header.Get("Content-Type") != want {
			t.Fatalf("%s for %q: %d %q, want %s", url, accept, r.StatusCode, r.Header.Get("Content-Type"), want)
		}
	}
	proxy.asked = 0
	for _, accept := range accepts {
		for _, url := range allURLs[1:] {
			proxy.get(url, accept)
		}
	}
	if !strings.HasSuffix(allURLs[0], "size=20") || proxy.asked != 0 {
		t.Errorf("the cache has asked %d times for immutable URLs of %q", proxy.asked, allURLs[1:])
	}
}

// Warm makes the format that most clients get.
func TestWarmNegotiated(t *testing.T) {
	for extension, negotiate := range map[string]bool{".jpg": false, ".webp": true} {
		cfg := Config{Dir: t.TempDir(), Negotiate: negotiate}
		c := newNegotiator(t, cfg)
		n, err := c.Warm(t.Context(), "p", slices.Values([]string{"a"}), 10, 20)
		if err != nil || n != (Warmed{Extracted: 1}) {
			t.Errorf("%+v, %v", n, err)
		}
		if w := serve(c.Handler(), "GET", "/thumb/p/a?size=20", "Accept", safariAccept); w.Code != 200 || c.Stats().Extractions != 1 || c.Stats().Misses > 2 {
			t.Errorf("%d, %+v", w.Code, c.Stats())
		}
		c.Close()
		files := filesIn(t, cfg.Dir)
		if len(files) != 2 || slices.ContainsFunc(files, func(name string) bool { return filepath.Ext(name) != extension }) {
			t.Errorf("files %q, want 2 %s", files, extension)
		}
	}
}

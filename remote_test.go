package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// loopback allows the addresses of test servers.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// serveTest returns the URL of a test server.
func serveTest(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// A roundTripper answers requests without a network.
type roundTripper func(r *http.Request) *http.Response

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := f(r)
	resp.Request = r
	return resp, nil
}

// answerWith returns a response with the header fields of pairs.
func answerWith(status int, body []byte, pairs ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
	for i := 0; i < len(pairs); i += 2 {
		resp.Header.Set(pairs[i], pairs[i+1])
	}
	return resp
}

// Requests to addresses that are not public are refused before they are made, however they are written, and so are other
// schemes.
func TestHTTPRefuses(t *testing.T) {
	var requests atomic.Int32
	url := serveTest(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	port := url[strings.LastIndex(url, ":"):]
	p := HTTP(HTTPOptions{})
	for _, path := range []string{
		url, "http://localhost" + port, "http://LOCALHOST" + port, "http://127.0.0.1" + port + "/a.jpg",
		"http://0.0.0.0" + port, "http://[::1]" + port, "http://[::]" + port, "http://[::ffff:127.0.0.1]" + port, "http://[::ffff:7f00:1]" + port,
		"http://user:secret@127.0.0.1" + port, "http://127.0.0.1:80@127.0.0.1" + port,
		"http://10.0.0.1", "http://172.16.0.1", "http://192.168.0.1", "http://100.64.0.1", "http://169.254.169.254/latest/meta-data/",
		"http://[fd00:ec2::254]/", "http://[fe80::1%25eth0]/", "http://[64:ff9b::a00:1]", "http://[2002:a00:1::]", "http://224.0.0.1",
		"http://255.255.255.255", "https://127.0.0.1", "http://[::127.0.0.1]" + port,
		"", "a.jpg", "/etc/passwd", "//127.0.0.1" + port, "http:", "http://", "http:///a", "http://:80/", "http:127.0.0.1", "file:///etc/passwd",
		"ftp://example.org/a", "gopher://127.0.0.1" + port, "javascript:1", "data:image/png;base64,", "http://exa mple.org", "http://[::1",
		"http://%31%32%37.0.0.1" + port, "\x00", "http://127.0.0.1" + port + "\r\nHost: a", "unix:///run/x.sock", "HTTP+unix://x",
	} {
		_, statErr := p.Stat(t.Context(), path)
		_, openErr := p.Open(t.Context(), path)
		for _, err := range []error{statErr, openErr} {
			if !errors.Is(err, fs.ErrInvalid) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", path, err)
			}
		}
	}
	// Whether these are names or addresses is up to the system's resolver. They lead nowhere in either case.
	for _, host := range []string{"127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "localhost.", "127。0。0。1", "①27.0.0.1"} {
		if _, err := p.Open(t.Context(), "http://"+host+port); err == nil {
			t.Errorf("%s: no error", host)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// A redirect leads nowhere that a URL would not, and not on and on. It does not tell the next server where it comes from.
func TestHTTPRedirects(t *testing.T) {
	var reached atomic.Int32
	var url string
	url = serveTest(t, func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		if r.Referer() != "" {
			t.Errorf("Referer: %s", r.Referer())
		}
		to := r.FormValue("to")
		if n := len(r.FormValue("n")); n > 0 {
			to = fmt.Sprintf("%s?token=secret&n=%s", url, strings.Repeat("x", n-1))
		}
		if to == "" {
			w.Header().Set("ETag", `"1"`)
			w.Write([]byte("here"))
			return
		}
		http.Redirect(w, r, to, http.StatusFound)
	})
	p := HTTP(HTTPOptions{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	for query, want := range map[string]struct {
		ok   bool
		hops int32
	}{
		"?to=" + url: {true, 2}, "?n=xxxxx": {true, 6}, "?n=xxxxxx": {false, 6}, "?to=http://127.0.0.2": {false, 1}, "?to=http://[::1]/": {false, 1},
		"?to=http://169.254.169.254/": {false, 1}, "?to=file:///etc/passwd": {false, 1}, "?to=//192.168.0.1/": {false, 1}, "?to=ftp://127.0.0.1/": {false, 1},
	} {
		reached.Store(0)
		src, err := p.Open(t.Context(), url+query)
		if (err == nil) != want.ok || reached.Load() != want.hops {
			t.Errorf("%s: %v after %d requests", query, err, reached.Load())
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || want.hops == 1 && !errors.Is(err, fs.ErrInvalid)) {
			t.Errorf("%s: %v", query, err)
		}
		if err == nil && src.Size != 4 {
			t.Errorf("%s: %+v", query, src)
		}
	}
	// The client's own rule is asked, too.
	never := errors.New("never")
	p = HTTP(HTTPOptions{Allow: loopback, Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return never }}})
	if _, err := p.Open(t.Context(), url+"?to="+url); !errors.Is(err, never) {
		t.Errorf("got %v", err)
	}
}

// With a Base, no path leads to another server or above the Base.
func TestHTTPBase(t *testing.T) {
	var got atomic.Value
	url := serveTest(t, func(w http.ResponseWriter, r *http.Request) { got.Store(r.RequestURI) })
	for _, base := range []string{url + "/covers", url + "/covers/"} {
		p := HTTP(HTTPOptions{Base: base + "?key=secret", Allow: loopback})
		for path, want := range map[string]string{
			"a.jpg": "/covers/a.jpg?key=secret", "x/y z?a=b#c": "/covers/x/y%20z%3Fa=b%23c?key=secret", "100%.jpg": "/covers/100%25.jpg?key=secret",
			"%2e%2e/a": "/covers/%252e%252e/a?key=secret", "http:/a": "/covers/http:/a?key=secret", "..\\a": "/covers/..%5Ca?key=secret",
			"../a": "", "a/../../b": "", "/a": "", "//host/a": "", "http://127.0.0.2/a": "", "": "", ".": "", "a/": "", "./a": "",
		} {
			got.Store("")
			_, err := p.Open(t.Context(), path)
			if got.Load() != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: %q, %v", path, got.Load(), err)
			}
		}
	}
	for _, base := range []string{"covers", "ftp://example.org", "http://", "http://192.168.0.1/", "http://%zz", "http://user:secret@host:port/"} {
		p := HTTP(HTTPOptions{Base: base})
		_, err := New(Config{Providers: map[string]Provider{"web": p}})
		if err == nil || !strings.Contains(err.Error(), "Base") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", base, err)
		}
		if _, err := p.Open(t.Context(), "http://127.0.0.1/"); err == nil {
			t.Errorf("%s: opened", base)
		}
	}
}

// The state of a source is its ETag and time, or a hash of it. It is compared by a conditional request.
func TestHTTPStates(t *testing.T) {
	const early, late = "Sat, 01 Jan 2011 00:00:00 GMT", "Sun, 02 Jan 2011 00:00:00 GMT"
	var header http.Header
	var body string
	var sent, full atomic.Int32
	url := serveTest(t, func(w http.ResponseWriter, r *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		sent.Add(1)
		if match := r.Header.Get("If-None-Match"); match != "" && match == header.Get("ETag") ||
			match == "" && r.Header.Get("If-Modified-Since") != "" && r.Header.Get("If-Modified-Since") == header.Get("Last-Modified") {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full.Add(1)
		io.WriteString(w, body)
	})
	fields := func(pairs ...string) http.Header {
		h := make(http.Header)
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	p := HTTP(HTTPOptions{Allow: loopback}).(*providerWith).Provider.(*remote)
	for _, test := range []struct {
		name          string
		before, after http.Header
		newBody       string
		changed       bool
		conditional   bool // the answer about an unchanged source has no body
	}{
		{"same ETag", fields("ETag", `"1"`), fields("ETag", `"1"`), "one", false, true},
		{"same weak ETag", fields("ETag", `W/"1"`), fields("ETag", `W/"1"`), "one", false, true},
		{"another ETag", fields("ETag", `"1"`), fields("ETag", `"2"`), "one", true, false},
		{"same time", fields("Last-Modified", early), fields("Last-Modified", early), "one", false, true},
		{"another time", fields("Last-Modified", early), fields("Last-Modified", late), "one", true, false},
		{"same ETag and time", fields("ETag", `"1"`, "Last-Modified", early), fields("ETag", `"1"`, "Last-Modified", early), "one", false, true},
		{"ETag is lost", fields("ETag", `"1"`), fields(), "one", true, false},
		{"nothing, same body", fields(), fields(), "one", false, false},
		{"nothing, another body", fields(), fields(), "two", true, false},
		{"no valid ETag", fields("ETag", "1", "Last-Modified", "today"), fields("ETag", "2"), "one", false, false},
		{"ETag with a space", fields("ETag", `"a b"`), fields("ETag", `"a c"`), "one", false, false},
		{"very long ETag", fields("ETag", `"`+strings.Repeat("x", 2000)+`"`), fields(), "one", false, false},
	} {
		header, body = test.before, "one"
		src, err := p.Open(t.Context(), url+"/a.jpg")
		if err != nil {
			t.Fatal(err)
		}
		if stamp, err := p.Stat(t.Context(), url+"/a.jpg"); err != nil || !stamp.equal(src.Stamp) || src.Name != "a.jpg" {
			t.Errorf("%s: Stat: %+v, %v; Open: %+v", test.name, stamp, err, src)
		}
		header, body = test.after, test.newBody
		sent.Store(0)
		full.Store(0)
		stamp, err := p.statSince(t.Context(), url+"/a.jpg", src.Stamp)
		if err != nil || stamp.equal(src.Stamp) == test.changed {
			t.Errorf("%s: %+v became %+v, %v", test.name, src.Stamp, stamp, err)
		}
		if sent.Load() != 1 || (full.Load() == 0) != test.conditional {
			t.Errorf("%s: %d requests, %d bodies", test.name, sent.Load(), full.Load())
		}
	}
}

// Each status has a meaning.
func TestHTTPStatuses(t *testing.T) {
	var status int
	client := &http.Client{Transport: roundTripper(func(*http.Request) *http.Response { return answerWith(status, []byte("x"), "ETag", `"1"`) })}
	p := HTTP(HTTPOptions{Client: client})
	for _, status = range []int{200, 204, 206, 300, 304, 400, 401, 403, 404, 410, 418, 429, 451, 500, 503} {
		_, statErr := p.Stat(t.Context(), "https://example.org/a")
		_, openErr := p.Open(t.Context(), "https://example.org/a")
		for _, err := range []error{statErr, openErr} {
			gone := status == 404 || status == 410
			if (err == nil) != (status == 200) || errors.Is(err, ErrNoMedia) != gone || isPermanent(err) != gone {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}

// A body has a limit, whether its length is announced or not. A server that takes too long is given up.
func TestHTTPLimits(t *testing.T) {
	url := serveTest(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/announced":
			w.Header().Set("Content-Length", "1000")
			w.Write(make([]byte, 1000))
		case "/chunked":
			for range 100 {
				w.Write(make([]byte, 10))
				w.(http.Flusher).Flush()
			}
		case "/short":
			w.Header().Set("Content-Length", "1000")
			w.Write(make([]byte, 10))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/slow":
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})
	open := func(max int64, path string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if path == "/slow" {
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
		}
		src, err := HTTP(HTTPOptions{Allow: loopback, MaxBytes: max}).Open(ctx, url+path)
		if err == nil && src.Size != 1000 {
			t.Errorf("%s: %d bytes", path, src.Size)
		}
		return err
	}
	for _, path := range []string{"/announced", "/chunked"} {
		for max, want := range map[int64]error{999: ErrTooLarge, 1000: nil, 0: nil, -1: nil} {
			if err := open(max, path); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s, at most %d: %v", path, max, err)
			}
		}
	}
	if err := open(0, "/short"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short: %v", err)
	}
	if err := open(0, "/slow"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
}

// A Transport of the client's own decides what it connects to. Addresses in URLs are checked in any case.
func TestHTTPTransport(t *testing.T) {
	proxied := 0
	client := &http.Client{Transport: roundTripper(func(r *http.Request) *http.Response {
		proxied++
		if r.Header.Get("User-Agent") == "" {
			t.Error("no User-Agent")
		}
		return answerWith(200, []byte("x"))
	})}
	p := HTTP(HTTPOptions{Client: client})
	if _, err := p.Open(t.Context(), "http://covers.internal/a"); err != nil || proxied != 1 {
		t.Errorf("%v, %d requests", err, proxied)
	}
	if _, err := p.Open(t.Context(), "http://10.0.0.1/a"); !errors.Is(err, fs.ErrInvalid) || proxied != 1 {
		t.Errorf("%v, %d requests", err, proxied)
	}
	if client.CheckRedirect != nil {
		t.Error("the caller's client was changed")
	}
	// A client without a Transport does not lift the restriction.
	url := serveTest(t, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	if _, err := HTTP(HTTPOptions{Client: &http.Client{Timeout: time.Minute}}).Open(t.Context(), strings.Replace(url, "127.0.0.1", "localhost", 1)); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// A cold picture costs one request, and the next one comes after a day and has a condition. After a restart it is the same.
func TestHTTPCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etag, picture, status := `"1"`, plain(30, 30, red), 200
		var log []string
		client := &http.Client{Transport: roundTripper(func(r *http.Request) *http.Response {
			log = append(log, r.Header.Get("If-None-Match"))
			if r.Header.Get("If-None-Match") == etag {
				return answerWith(304, nil)
			}
			return answerWith(status, picture, "ETag", etag)
		})}
		const url = "https://example.org/artist.png"
		cfg := Config{Providers: map[string]Provider{"web": HTTP(HTTPOptions{Client: client})}, Dir: t.TempDir(), Revalidate: time.Minute, Extractor: Images()}
		c := mustNew(t, cfg)
		check := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := fmt.Sprintf("%q", log); got != want {
				t.Errorf("requests: %s, want %s", got, want)
			}
			log = nil
		}
		for _, size := range []int{10, 20, 10} {
			checkColor(t, mustGet(t, c, "web", url, size), red)
		}
		time.Sleep(23 * time.Hour)
		mustGet(t, c, "web", url, 10)
		check(`[""]`)
		time.Sleep(2 * time.Hour)
		mustGet(t, c, "web", url, 10)
		check(`["\"1\""]`)
		mustGet(t, c, "web", url, 20)
		check(`[]`)
		c.Close()
		c = mustNew(t, cfg)
		mustGet(t, c, "web", url, 20)
		check(`["\"1\""]`)

		etag, picture = `"2"`, plain(30, 30, blue)
		time.Sleep(25 * time.Hour)
		mustGet(t, c, "web", url, 10) // asks, and then fetches
		synctest.Wait()
		checkColor(t, mustGet(t, c, "web", url, 10), blue)
		log = log[len(log)-1:]
		check(`[""]`)

		// It cannot be reached for a while, and is gone in the end. That is asked about once an hour.
		status, etag = 500, `"3"`
		time.Sleep(25 * time.Hour)
		checkColor(t, mustGet(t, c, "web", url, 10), blue)
		synctest.Wait()
		checkColor(t, mustGet(t, c, "web", url, 10), blue)
		status = 410
		time.Sleep(time.Hour)
		mustGet(t, c, "web", url, 10)
		synctest.Wait()
		log = nil
		for range 5 {
			if _, err := c.Get(t.Context(), "web", url, 10); !errors.Is(err, ErrNoMedia) || HTTPStatus(err) != 404 {
				t.Errorf("gone: %v", err)
			}
		}
		check(`[""]`) // removing the thumbnail has removed what was known of the source
		time.Sleep(time.Hour)
		for range 5 {
			c.Get(t.Context(), "web", url, 10)
			synctest.Wait()
		}
		check(`[""]`)
		for range 5 {
			if _, err := c.Get(t.Context(), "web", url+"?never", 10); !errors.Is(err, ErrNoMedia) {
				t.Errorf("never there: %v", err)
			}
		}
		check(`[""]`)
		if names := filesIn(t, cfg.Dir); len(names) != 2 || !strings.HasSuffix(names[0], ".none") || !strings.HasSuffix(names[1], ".none") {
			t.Errorf("stored: %v", names)
		}
	})
}

// A remote body that is no picture is remembered as such.
func TestHTTPNoPicture(t *testing.T) {
	requests := 0
	client := &http.Client{Transport: roundTripper(func(*http.Request) *http.Response {
		requests++
		return answerWith(200, []byte("<html>"))
	})}
	c := mustNew(t, Config{Providers: map[string]Provider{"web": HTTP(HTTPOptions{Client: client})}, Extractor: Images()})
	for range 5 {
		if _, err := c.Get(t.Context(), "web", "https://example.org/", 10); !errors.Is(err, ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	}
	if requests != 1 {
		t.Errorf("%d requests, want 1", requests)
	}
}

// With a Base, every path that is not refused is a path below it, on the same server. Without one, no URL has another scheme or an
// address that is not public.
func FuzzHTTPPath(f *testing.F) {
	for _, path := range []string{"a.jpg", "../a", "%2e%2e/a", "http://127.0.0.1/", "//host", "http://[::ffff:10.0.0.1]:80/", "a?b#c", "http:a", "\\\\a", "http://a@b@c"} {
		f.Add(path)
	}
	open := HTTP(HTTPOptions{}).(*providerWith).Provider.(*remote)
	based := HTTP(HTTPOptions{Base: "https://example.org/covers/?key=1"}).(*providerWith).Provider.(*remote)
	f.Fuzz(func(t *testing.T, path string) {
		if u, err := based.url(path); err == nil {
			again, err := url.Parse(u.String())
			if err != nil || again.Host != "example.org" || again.RawQuery != "key=1" || again.Path != "/covers/"+path ||
				!strings.HasPrefix(again.JoinPath().Path, "/covers/") {
				t.Errorf("%q is %q, %v", path, u, err)
			}
		}
		if u, err := open.url(path); err == nil {
			again, err := url.Parse(u.String())
			if err != nil || again.Scheme != "http" && again.Scheme != "https" || again.Hostname() == "" || open.guard.CheckHost(again.Hostname()) != nil {
				t.Errorf("%q is %q, %v", path, u, err)
			}
		}
	})
}

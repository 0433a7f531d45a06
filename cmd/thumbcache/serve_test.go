package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "image/jpeg"

	"github.com/thumbcache/thumbcache"
)

// startSite serves a folder until the end of the test.
func startSite(t *testing.T, folder string) *httptest.Server {
	t.Helper()
	config := newConfig(folder)
	config.Dir = filepath.Join(t.TempDir(), "thumbs")
	site, err := newSite(folder, config)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(site.handler())
	t.Cleanup(func() {
		s.Close()
		site.close()
	})
	return s
}

func fetch(t *testing.T, u string) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, body
}

// setSize sets the size in the URL of a thumbnail, as the page does.
func setSize(thumb string, size int) string {
	return strings.Replace(thumb, "?size=0", fmt.Sprintf("?size=%d", size), 1)
}

func fetchList(t *testing.T, s *httptest.Server, query string) listing {
	t.Helper()
	status, _, body := fetch(t, s.URL+"/list.json"+query)
	var l listing
	if err := json.Unmarshal(body, &l); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %v %s", query, status, err, body)
	}
	return l
}

// encodePicture returns a PNG of 40 x 30 pixels.
var encodePicture = sync.OnceValues(func() ([]byte, error) {
	img := image.NewGray(image.Rect(0, 0, 40, 30))
	img.SetGray(3, 3, color.Gray{200})
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
})

// writePicture writes a picture to a file, and creates the folders above it.
func writePicture(t *testing.T, path string) {
	t.Helper()
	data, err := encodePicture()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPage(t *testing.T) {
	s := startSite(t, t.TempDir())
	for _, path := range []string{"/", "/dom.js", "/gallery.js", "/live.js", "/state.js", "/storm.js", "/thumbhash.js", "/viewer.js", "/style.css", "/icon.svg", "/stats.json", "/about.json"} {
		status, h, body := fetch(t, s.URL+path)
		if status != http.StatusOK || len(body) == 0 || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d, %d bytes, %v", path, status, len(body), h)
		}
		// Browsers request neither XML namespaces nor URLs in comments.
		for _, name := range []string{"http://www.w3.org/2000/svg", "(https://evanw.github.io/thumbhash/)"} {
			body = bytes.ReplaceAll(body, []byte(name), nil)
		}
		if regexp.MustCompile(`https?://`).Match(body) {
			t.Errorf("%s refers to another host", path)
		}
	}
}

// The listing escapes names such that every URL leads to its thumbnail.
func TestOddNames(t *testing.T) {
	root := t.TempDir()
	names := []string{"a b.png", "100%.png", "what?.png", "#1.png", "ünï.png", "q&a=b.png", "\xff.png", `back\slash.png`, "%2e%2e.png", "..png"}
	if runtime.GOOS == "windows" {
		names = slices.DeleteFunc(names, func(name string) bool { return strings.ContainsAny(name, `?\`) }) // not allowed in names
	}
	for _, name := range names {
		writePicture(t, filepath.Join(root, "some folder", name))
	}
	writePicture(t, filepath.Join(root, ".hidden.png"))
	s := startSite(t, root)
	l := fetchList(t, s, "")
	if want := len(names) - 1; len(l.Entries) != want { // ..png is hidden
		t.Fatalf("%d entries, want %d: %+v", len(l.Entries), want, l)
	}
	for _, e := range l.Entries {
		if status, _, body := fetch(t, s.URL+"/"+setSize(e.Thumb, 160)); status != http.StatusOK {
			t.Errorf("%+v: %d %s", e, status, body)
		}
	}
}

func TestListFolders(t *testing.T) {
	root := t.TempDir()
	for i := range maxFlatEntries + maxPageEntries + 50 {
		writePicture(t, filepath.Join(root, "many", strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String()+".png"))
	}
	writePicture(t, filepath.Join(root, "few", "one.png"))
	if err := os.Symlink("/", filepath.Join(root, "out")); err != nil {
		t.Log(err)
	}
	s := startSite(t, root)
	top := fetchList(t, s, "")
	if len(top.Entries) != 2 || top.Entries[0].Name != "few" || top.Entries[0].Folder == "" || top.Entries[1].Folder == "" {
		t.Fatalf("%+v", top) // the link that leaves the folder is not listed
	}
	for _, e := range top.Entries {
		if status, _, body := fetch(t, s.URL+"/"+setSize(e.Thumb, 160)); status != http.StatusOK || http.DetectContentType(body) != "image/jpeg" {
			t.Errorf("cover of %s: %d %.40q", e.Name, status, body)
		}
	}
	for _, folder := range []string{"out", "..%2f..", "none", "few/one.png"} {
		if status, _, body := fetch(t, s.URL+"/cover/"+folder+"?size=160"); status != http.StatusNotFound {
			t.Errorf("cover of %q: %d %.40q", folder, status, body)
		}
	}
	seen := make(map[string]bool)
	query := "?folder=" + top.Entries[1].Folder
	for next := ""; ; {
		l := fetchList(t, s, query+"&after="+next)
		for _, e := range l.Entries {
			if seen[e.Thumb] {
				t.Fatalf("%s is listed twice", e.Name)
			}
			seen[e.Thumb] = true
		}
		if next = l.Next; next == "" {
			break
		}
	}
	if len(seen) != maxFlatEntries+maxPageEntries+50 {
		t.Errorf("%d entries on all pages", len(seen))
	}
	if mkfifo, err := exec.LookPath("mkfifo"); err == nil {
		if err := exec.Command(mkfifo, filepath.Join(root, "pipe")).Run(); err != nil {
			t.Log(err)
		}
	}
	for _, folder := range []string{"pipe", "few/one.png", "..", "../..", "/", "/etc", "out", "out/etc", "few/../..", "none", "\x00"} {
		if status, _, body := fetch(t, s.URL+"/list.json?folder="+url.QueryEscape(folder)); status != http.StatusNotFound {
			t.Errorf("%q: %d %s", folder, status, body)
		}
	}
}

// A folder that cannot be read is reported for what it is, without its path.
func TestFolderErrors(t *testing.T) {
	for want, err := range map[string]error{
		"403 Permission denied: the server cannot read this folder.":  &fs.PathError{Op: "open", Path: "/secret", Err: fs.ErrPermission},
		"403 Permission denied: the server cannot read this folder. ": libraryError{&fs.PathError{Op: "open", Path: "/secret", Err: fs.ErrPermission}},
		"503 The folder of this library is missing on the server.":    libraryError{&fs.PathError{Op: "open", Path: "/secret", Err: fs.ErrNotExist}},
		"503 The server cannot read the folder of this library.":      libraryError{errors.New("/secret: input/output error")},
		"404 There is no such folder.":                                &fs.PathError{Op: "open", Path: "/secret", Err: fs.ErrNotExist},
	} {
		w := httptest.NewRecorder()
		writeFolderError(w, err)
		if got := fmt.Sprintf("%d %s", w.Code, strings.TrimSpace(w.Body.String())); got != strings.TrimSpace(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	root := filepath.Join(t.TempDir(), "library")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkReadable(root); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	s := startSite(t, root)
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if status, _, body := fetch(t, s.URL+"/list.json"); status != http.StatusServiceUnavailable || strings.Contains(string(body), root) {
		t.Errorf("a missing library: %d %s", status, body)
	}
	if err := checkReadable(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing library: %v", err)
	}
}

// Lists in JSON are never null.
func TestListsAreNotNull(t *testing.T) {
	root := t.TempDir()
	s := startSite(t, root)
	check := func(what string, data []byte) {
		t.Helper()
		if bytes.Contains(data, []byte("null")) || !json.Valid(data) {
			t.Errorf("%s: %s", what, data)
		}
	}
	for _, path := range []string{"/list.json", "/list.json?filter=none", "/list.json?after=f0/zzz", "/list.json?search=none", "/explain.json?path=a.png", "/about.json", "/stats.json"} {
		_, _, body := fetch(t, s.URL+path)
		check(path, body)
	}
	writePicture(t, filepath.Join(root, "a.png"))
	if l := fetchList(t, s, "?filter=none"); l.Entries == nil || len(l.Entries) > 0 {
		t.Errorf("got %#v", l)
	}
	media, dir := t.TempDir(), t.TempDir()
	for _, args := range [][]string{
		{"warm", media, "--dir", dir}, {"stat", dir}, {"verify", dir}, {"verify", dir, "--repair"}, {"gc", dir, "--max-bytes", "0"}, {"gc", dir, "--max-bytes", "0", "--dry-run"},
		{"rm", dir, providerName, "a"}, {"doctor", dir}, {"explain", dir, providerName, "a", "20"}, {"explain", dir, providerName, "a", "20", "--media", media},
		{"get", filepath.Join(root, "a.png"), "-o", filepath.Join(t.TempDir(), "a.jpg")},
	} {
		r := runCommand(t, append(args, "--json")...)
		if r.code != exitOK {
			t.Errorf("%v: %+v", args, r)
		}
		check(strings.Join(args, " "), []byte(r.out))
	}
}

// The URL of a thumbnail changes with its file and with the cover images in the folder, so browsers may keep the response.
func TestURLVersionFollowsFile(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "album", "a.png")
	writePicture(t, file)
	s := startSite(t, root)
	first := fetchList(t, s, "").Entries[0]
	_, h, _ := fetch(t, s.URL+"/"+setSize(first.Thumb, 320))
	if !strings.Contains(h.Get("Cache-Control"), "immutable") {
		t.Errorf("%s: %v", first.Thumb, h)
	}
	again := fetchList(t, s, "").Entries[0]
	if again.Thumb != first.Thumb || first.Hash != nil || len(again.Hash) < 5 {
		t.Errorf("%+v; after its thumbnail was made: %+v", first, again)
	}
	now := time.Now().Add(time.Hour)
	if err := os.Chtimes(file, now, now); err != nil {
		t.Fatal(err)
	}
	touched := fetchList(t, s, "").Entries[0]
	if touched.Thumb == first.Thumb || touched.Hash != nil {
		t.Errorf("after the file has changed: %+v", touched)
	}
	writePicture(t, filepath.Join(root, "album", "Cover.png"))
	if e := fetchList(t, s, "").Entries[0]; e.Name != "a.png" || e.Thumb == touched.Thumb {
		t.Errorf("after a cover image was added: %+v", e)
	}
}

func TestFilterAndOrder(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"b.png", "A.png", "C/x.png", "C/aX.png"} {
		writePicture(t, filepath.Join(root, filepath.FromSlash(name)))
	}
	s := startSite(t, root)
	for query, want := range map[string]string{
		"":                     "A.png b.png aX.png x.png",
		"?filter=X":            "aX.png x.png",
		"?filter=none":         "",
		"?folder=C&filter=AX.": "aX.png",
	} {
		var names []string
		for _, e := range fetchList(t, s, query).Entries {
			names = append(names, e.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	root := t.TempDir()
	writePicture(t, filepath.Join(root, "a.png"))
	s, other := startSite(t, root), startSite(t, root) // two sites in one process
	fetch(t, s.URL+"/thumb/library/a.png?size=20")
	for server, want := range map[*httptest.Server]string{s: "1", other: "0"} {
		status, _, body := fetch(t, server.URL+"/metrics")
		if status != http.StatusOK || !strings.Contains(string(body), "\nthumbcache_misses_total "+want+"\n") || !strings.Contains(string(body), "\ngo_goroutines ") {
			t.Errorf("%d %s", status, body)
		}
		var vars struct {
			Cmdline  []string
			Memstats struct{ HeapAlloc uint64 }
			Cache    thumbcache.Stats `json:"thumbcache"`
		}
		_, _, body = fetch(t, server.URL+"/debug/vars")
		if err := json.Unmarshal(body, &vars); err != nil || len(vars.Cmdline) == 0 || vars.Memstats.HeapAlloc == 0 || fmt.Sprint(vars.Cache.Misses) != want {
			t.Errorf("%v %.300s", err, body)
		}
	}
}

// fetchWith sends the request that the page would send, modified by edit.
func fetchWith(t *testing.T, u string, edit func(*http.Request)) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	edit(r)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, body
}

func TestUncached(t *testing.T) {
	root, err := findSampleLibrary()
	if err != nil {
		t.Fatal(err)
	}
	s := startSite(t, root)
	for range 3 {
		if status, body := fetchWith(t, s.URL+"/uncached/Pictures/Glass.png?size=30", func(*http.Request) {}); status != http.StatusOK || http.DetectContentType(body) != "image/jpeg" {
			t.Fatalf("%d %.40q", status, body)
		}
	}
	var stats struct {
		Misses   uint64
		Uncached thumbcache.Stats
	}
	_, _, body := fetch(t, s.URL+"/stats.json")
	if err := json.Unmarshal(body, &stats); err != nil || stats.Misses != 0 || stats.Uncached.Extractions != 3 || stats.Uncached.MemoryHits != 0 {
		t.Errorf("%v %s", err, body)
	}
	for want, paths := range map[int][]string{
		http.StatusBadRequest: {"Pictures/Glass.png", "Pictures/Glass.png?size=0", "Pictures/Glass.png?size=-1", "Pictures/Glass.png?size=x"},
		http.StatusNotFound:   {"none.png?size=30", "none/Glass.png?size=30"},
	} {
		for _, path := range paths {
			if status, body := fetchWith(t, s.URL+"/uncached/"+path, func(*http.Request) {}); status != want {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
	}
	if status, body := fetchWith(t, s.URL+"/uncached/..%2f..%2fetc%2fpasswd?size=30", func(*http.Request) {}); status < 400 {
		t.Errorf("%d %.40q", status, body)
	}
}

// Only requests from this computer may use expensive endpoints, and those that reveal its paths.
func TestLocalRequestsOnly(t *testing.T) {
	root := t.TempDir()
	writePicture(t, filepath.Join(root, "a.png"))
	s := startSite(t, root)
	for name, edit := range map[string]func(*http.Request){
		"X-Forwarded-For":   func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") },
		"Forwarded":         func(r *http.Request) { r.Header.Set("Forwarded", "for=192.0.2.1") },
		"another host name": func(r *http.Request) { r.Host = "example.com" },
	} {
		for _, path := range []string{"/uncached/a.png?size=30", "/debug/vars"} {
			if status, body := fetchWith(t, s.URL+path, edit); status != http.StatusForbidden {
				t.Errorf("request with %s for %s: %d %s", name, path, status, body)
			}
		}
		if _, body := fetchWith(t, s.URL+"/about.json", edit); strings.Contains(string(body), "uncached") {
			t.Errorf("request with %s is offered /uncached: %s", name, body)
		}
	}
	for _, site := range []string{"cross-site", "same-site", "none", ""} {
		if status, _ := fetchWith(t, s.URL+"/uncached/a.png?size=30", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) }); status != http.StatusForbidden {
			t.Errorf("Sec-Fetch-Site %q: %d", site, status)
		}
	}
	for mode, want := range map[string]int{"no-cors": http.StatusForbidden, "cors": http.StatusForbidden, "navigate": http.StatusOK} {
		if status, _ := fetchWith(t, s.URL+"/thumb/library/a.png?size=30", func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", mode)
		}); status != want {
			t.Errorf("cross-site request with mode %s: %d", mode, status)
		}
	}
	for remote, want := range map[string]bool{"127.0.0.1:9": true, "[::1]:9": true, "[::ffff:127.0.0.1]:9": true, "192.0.2.1:9": false, "": false} {
		for host, isOurs := range map[string]bool{"localhost": true, "localhost:8420": true, "127.0.0.1:1": true, "[::1]:8420": true, "[::1]": true, "192.0.2.1": false, "": false} {
			if got := isLocal(&http.Request{RemoteAddr: remote, Host: host}); got != (want && isOurs) {
				t.Errorf("from %s to %s: %v", remote, host, got)
			}
		}
	}
}

// TestSampleLibrary checks the page of the sample library, which is what a new user sees first.
func TestSampleLibrary(t *testing.T) {
	folder, err := findSampleLibrary()
	if err != nil {
		t.Fatal(err)
	}
	s := startSite(t, folder)
	_, ffmpegErr := exec.LookPath("ffmpeg")
	if ffmpegErr != nil && os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
		t.Fatal(ffmpegErr)
	}
	pictures := 0
	for _, e := range fetchList(t, s, "").Entries {
		status, h, body := fetch(t, s.URL+"/"+setSize(e.Thumb, 160))
		if status != http.StatusOK {
			t.Errorf("%s: %d", e.Name, status)
		}
		text := ""
		switch {
		case strings.HasPrefix(e.Name, "No Cover"):
			text = "no picture in this file"
		case strings.HasPrefix(e.Name, "Broken"):
			text = "file is corrupt"
		case strings.HasSuffix(e.Name, ".mp4") && ffmpegErr != nil:
			text = "ffmpeg is not installed on this server"
		}
		if text != "" {
			if string(body) != text || h.Get("Cache-Control") != "no-cache" {
				t.Errorf("%s: %q %v", e.Name, body, h)
			}
			continue
		}
		if _, _, err := image.Decode(bytes.NewReader(body)); err != nil || h.Get("Content-Type") != "image/jpeg" || h["Vary"] != nil {
			t.Errorf("%s: %v, %s", e.Name, err, h.Get("Content-Type"))
		}
		pictures++
	}
	if pictures < 14 {
		t.Errorf("only %d pictures", pictures)
	}
}

// startServer runs serve until the end of the test. It returns what the server has printed up to its first URL, that URL,
// and a function that stops the server and returns its standard error.
func startServer(t *testing.T, folder string, o serveOptions) (printed, page string, stop func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var messages bytes.Buffer
	done := make(chan error, 1)
	go func() {
		err := serve(ctx, &console{out: w, err: &messages}, folder, o)
		w.CloseWithError(err)
		done <- err
	}()
	for output := bufio.NewScanner(r); page == ""; {
		if !output.Scan() {
			t.Fatalf("the server printed no address: %v", output.Err())
		}
		printed += output.Text() + "\n"
		page = regexp.MustCompile(`http://\S+/`).FindString(output.Text())
	}
	go io.Copy(io.Discard, r)
	stop = sync.OnceValue(func() string {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return messages.String()
	})
	t.Cleanup(func() { stop() })
	return printed, page, stop
}

func TestServe(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	writePicture(t, filepath.Join(root, "a.png"))
	printed, page, stop := startServer(t, root, serveOptions{addr: "localhost:0", dir: dir, sizes: []int{100}, limit: 5 << 20})
	if status, _, _ := fetch(t, page+"thumb/library/a.png"); status != http.StatusOK {
		t.Errorf("got %d", status)
	}
	checkContains(t, printed, "thumbcache  "+buildVersion()+"\n", "\nServing     "+root+"\n", "\nThumbnails  "+dir+", at most 5.0 MiB\n", "\nffmpeg      ", "\nOpen        http://localhost:")
	if messages := stop(); messages != "" {
		t.Errorf("got %q", messages)
	}
}

// With --negotiate, a client that accepts WebP gets it for a URL that leaves the format open. The page asks for WebP.
func TestServeNegotiate(t *testing.T) {
	root := t.TempDir()
	writePicture(t, filepath.Join(root, "a.png"))
	if err := os.Mkdir(filepath.Join(root, "album"), 0o755); err != nil {
		t.Fatal(err)
	}
	writePicture(t, filepath.Join(root, "album", "cover.png"))
	for _, negotiate := range []bool{false, true} {
		_, page, _ := startServer(t, root, serveOptions{addr: "localhost:0", noDir: true, limit: 5 << 20, negotiate: negotiate})
		pageWant := "image/jpeg"
		if negotiate {
			pageWant = "image/webp"
		}
		_, list := fetchWith(t, page+"list.json", func(*http.Request) {})
		var l listing
		if err := json.Unmarshal(list, &l); err != nil || len(l.Entries) != 2 {
			t.Fatalf("%v %s", err, list)
		}
		for _, e := range l.Entries {
			if _, body := fetchWith(t, page+setSize(e.Thumb, 20), func(*http.Request) {}); http.DetectContentType(body) != pageWant {
				t.Errorf("negotiate %v, %s: %.20q, want %s", negotiate, e.Thumb, body, pageWant)
			}
		}
		for _, accept := range []string{"image/webp,*/*", "*/*"} {
			want := "image/jpeg"
			if negotiate && accept != "*/*" {
				want = "image/webp"
			}
			status, body := fetchWith(t, page+"thumb/library/a.png?size=20", func(r *http.Request) { r.Header.Set("Accept", accept) })
			if status != http.StatusOK || http.DetectContentType(body) != want {
				t.Errorf("negotiate %v, %s: %d %.20q, want %s", negotiate, accept, status, body, want)
			}
		}
	}
}

// The option --open runs the system's command for opening a URL.
func TestServeOpensBrowser(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Setenv("PATH", "") // the system's own command must not be run
	} else {
		bin, opened := t.TempDir(), filepath.Join(t.TempDir(), "opened")
		script := "#!/bin/sh\necho \"$1\" >" + opened + ".tmp && mv " + opened + ".tmp " + opened + "\n"
		if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		path := os.Getenv("PATH")
		t.Setenv("PATH", bin+string(filepath.ListSeparator)+path)
		_, page, _ := startServer(t, t.TempDir(), serveOptions{addr: "localhost:0", dir: t.TempDir(), open: true})
		var text []byte
		for range 1000 {
			if text, _ = os.ReadFile(opened); text != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if strings.TrimSpace(string(text)) != page {
			t.Errorf("opened %q, want %q", text, page)
		}
		t.Setenv("PATH", t.TempDir())
	}
	if err := openBrowser(t.Context(), "http://localhost:1/"); err == nil {
		t.Error("no error without the system's command")
	}
}

func TestPageURLs(t *testing.T) {
	addrs := func() ([]net.Addr, error) {
		var list []net.Addr
		for _, text := range []string{"127.0.0.1/8", "::1/128", "fe80::1/64", "2001:db8::7/64", "192.0.2.7/24", "169.254.1.1/16", "10.0.0.7/8", "10.0.1.7/8", "10.0.2.7/8"} {
			ip, n, err := net.ParseCIDR(text)
			if err != nil {
				return nil, err
			}
			list = append(list, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return list, nil
	}
	onlyIPv6 := func() ([]net.Addr, error) {
		list, err := addrs()
		return list[:4], err
	}
	none := func() ([]net.Addr, error) { return nil, errors.New("not allowed") }
	port := &net.TCPAddr{IP: net.IPv6unspecified, Port: 8443}
	for _, tc := range []struct {
		addr  string
		addrs func() ([]net.Addr, error)
		want  string
	}{
		{"localhost:0", none, "http://localhost:8443/"},
		{"music.example:80", addrs, "http://music.example:8443/"},
		{"[::1]:8443", addrs, "http://[::1]:8443/"},
		{":8443", addrs, "http://localhost:8443/ http://192.0.2.7:8443/ http://10.0.0.7:8443/ http://10.0.1.7:8443/"},
		{"0.0.0.0:8443", addrs, "http://localhost:8443/ http://192.0.2.7:8443/ http://10.0.0.7:8443/ http://10.0.1.7:8443/"},
		{"[::]:8443", onlyIPv6, "http://localhost:8443/ http://[2001:db8::7]:8443/"},
		{":8443", none, "http://localhost:8443/"},
	} {
		if got := strings.Join(pageURLs(tc.addr, port, tc.addrs), " "); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.addr, got, tc.want)
		}
	}
}

// Without a home folder, the error of a command that needs the default thumbnail folder names the option.
func TestWithoutHome(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
		t.Setenv(name, "")
	}
	media := t.TempDir()
	for _, args := range [][]string{{"serve", media}, {"warm", media}} {
		r := runCommand(t, args...)
		checkContains(t, r.err, "there is no default thumbnail folder: ", "; name a thumbnail folder with --dir\n")
		if r.code != exitFailed {
			t.Errorf("%v: %+v", args, r)
		}
	}
	for _, args := range [][]string{{"doctor"}, {"explain", providerName, "a", "20", "--media", media}} {
		r := runCommand(t, args...)
		checkContains(t, r.err, "there is no default thumbnail folder: ", "; name DIR\n")
		if r.code != exitFailed {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestFolderArgument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writePicture(t, file)
	for _, args := range [][]string{{file}, {file + ".none"}} {
		if _, err := absFolder(args); err == nil {
			t.Errorf("%v did not fail", args)
		}
	}
	t.Chdir(t.TempDir())
	if _, err := absFolder(nil); err == nil || !strings.Contains(err.Error(), "name a folder") {
		t.Errorf("got %v", err)
	}
}

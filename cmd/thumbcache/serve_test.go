package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	_ "image/jpeg"

	"github.com/thumbcache/thumbcache"
)

// server serves a folder, and ends with the test.
func server(t *testing.T, folder string) *httptest.Server {
	t.Helper()
	cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{provider: thumbcache.Files(folder)}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(handler(cache, folder))
	t.Cleanup(func() {
		s.Close()
		cache.Close()
	})
	return s
}

func get(t *testing.T, u string) (int, http.Header, []byte) {
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

func listOf(t *testing.T, s *httptest.Server, query string) listing {
	t.Helper()
	status, _, body := get(t, s.URL+"/list.json"+query)
	var l listing
	if err := json.Unmarshal(body, &l); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %v %s", query, status, err, body)
	}
	return l
}

func picture(t *testing.T, path string) {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 40, 30))
	img.SetGray(3, 3, color.Gray{200})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPage(t *testing.T) {
	s := server(t, t.TempDir())
	for _, path := range []string{"/", "/app.js", "/style.css", "/icon.svg", "/stats.json"} {
		status, h, body := get(t, s.URL+path)
		if status != http.StatusOK || len(body) == 0 || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d, %d bytes, %v", path, status, len(body), h)
		}
		if regexp.MustCompile(`https?://`).Match(bytes.ReplaceAll(body, []byte("http://www.w3.org/2000/svg"), nil)) {
			t.Errorf("%s names another host", path)
		}
	}
}

// Whatever a file is called, its tile leads to its thumbnail.
func TestOddNames(t *testing.T) {
	root := t.TempDir()
	names := []string{"a b.png", "100%.png", "what?.png", "#1.png", "ünï.png", "q&a=b.png", "\xff.png", `back\slash.png`, "%2e%2e.png", "..png"}
	for _, name := range names {
		picture(t, filepath.Join(root, "some folder", name))
	}
	picture(t, filepath.Join(root, ".hidden.png"))
	s := server(t, root)
	l := listOf(t, s, "")
	if want := len(names) - 1; len(l.Entries) != want { // ..png is hidden
		t.Fatalf("%d entries, want %d: %+v", len(l.Entries), want, l)
	}
	for _, e := range l.Entries {
		if status, _, body := get(t, s.URL+"/"+e.Thumb+"?size=160"); status != http.StatusOK {
			t.Errorf("%+v: %d %s", e, status, body)
		}
	}
}

func TestFolders(t *testing.T) {
	root := t.TempDir()
	for i := range maxFlat + perPage + 50 {
		picture(t, filepath.Join(root, "many", strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String()+".png"))
	}
	picture(t, filepath.Join(root, "few", "one.png"))
	if err := os.Symlink("/", filepath.Join(root, "out")); err != nil {
		t.Log(err)
	}
	s := server(t, root)
	top := listOf(t, s, "")
	if len(top.Entries) != 3 || top.Entries[0].Name != "few" || top.Entries[0].Folder == "" || top.Entries[2].Folder != "" {
		t.Fatalf("%+v", top)
	}
	for _, e := range top.Entries[:2] {
		if status, _, body := get(t, s.URL+"/"+e.Thumb+"?size=160"); status != http.StatusOK || http.DetectContentType(body) != "image/jpeg" {
			t.Errorf("cover of %s: %d %.40q", e.Name, status, body)
		}
	}
	for _, folder := range []string{"out", "..%2f..", "none", "few/one.png"} {
		if status, _, body := get(t, s.URL+"/cover/"+folder+"?size=160"); status != http.StatusNotFound {
			t.Errorf("cover of %q: %d %.40q", folder, status, body)
		}
	}
	seen := make(map[string]bool)
	query := "?folder=" + top.Entries[1].Folder
	for next := ""; ; {
		l := listOf(t, s, query+"&after="+next)
		for _, e := range l.Entries {
			if seen[e.Thumb] {
				t.Fatalf("%s comes twice", e.Name)
			}
			seen[e.Thumb] = true
		}
		if next = l.Next; next == "" {
			break
		}
	}
	if len(seen) != maxFlat+perPage+50 {
		t.Errorf("%d entries", len(seen))
	}
	if mkfifo, err := exec.LookPath("mkfifo"); err == nil {
		if err := exec.Command(mkfifo, filepath.Join(root, "pipe")).Run(); err != nil {
			t.Log(err)
		}
	}
	for _, folder := range []string{"pipe", "few/one.png", "..", "../..", "/", "/etc", "out", "out/etc", "few/../..", "none", "\x00"} {
		if status, _, body := get(t, s.URL+"/list.json?folder="+url.QueryEscape(folder)); status != http.StatusNotFound {
			t.Errorf("%q: %d %s", folder, status, body)
		}
	}
}

// TestSampleLibrary is the first thing a new user sees.
func TestSampleLibrary(t *testing.T) {
	folder, err := sampleLibrary()
	if err != nil {
		t.Fatal(err)
	}
	s := server(t, folder)
	_, ffmpegErr := exec.LookPath("ffmpeg")
	if ffmpegErr != nil && os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
		t.Fatal(ffmpegErr)
	}
	good := 0
	for _, e := range listOf(t, s, "").Entries {
		status, h, body := get(t, s.URL+"/"+e.Thumb+"?size=160")
		want := http.StatusOK
		switch {
		case strings.HasPrefix(e.Name, "No Cover"):
			want = http.StatusNotFound
		case strings.HasPrefix(e.Name, "Broken"):
			want = http.StatusUnsupportedMediaType
		case strings.HasSuffix(e.Name, ".mp4") && ffmpegErr != nil:
			want = http.StatusServiceUnavailable
			if !strings.Contains(string(body), "ffmpeg was not found") {
				t.Errorf("%s: %s", e.Name, body)
			}
		}
		if status != want {
			t.Errorf("%s: %d, want %d", e.Name, status, want)
		}
		if status != http.StatusOK {
			continue
		}
		if _, _, err := image.Decode(bytes.NewReader(body)); err != nil || h.Get("Content-Type") != "image/jpeg" {
			t.Errorf("%s: %v, %s", e.Name, err, h.Get("Content-Type"))
		}
		good++
	}
	if good < 14 {
		t.Errorf("only %d pictures", good)
	}
}

// lines is an output that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestServe(t *testing.T) {
	root := t.TempDir()
	picture(t, filepath.Join(root, "a.png"))
	ctx, stop := context.WithCancel(t.Context())
	var out lines
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, root, options{addr: "localhost:0", dir: t.TempDir(), sizes: []int{100}}, &out)
	}()
	address := regexp.MustCompile(`http://\S+/`)
	for range 500 {
		if address.MatchString(out.String()) {
			break
		}
		time.Sleep(10 * time.Millisecond) // a real server
	}
	u := address.FindString(out.String())
	if u == "" {
		t.Fatalf("it says %q", out.String())
	}
	if status, _, _ := get(t, u+"thumb/library/a.png"); status != http.StatusOK {
		t.Errorf("%d", status)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	picture(t, file)
	for _, args := range [][]string{{file}, {file + ".none"}} {
		if _, err := libraryFolder(args); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	t.Chdir(t.TempDir())
	if _, err := libraryFolder(nil); err == nil || !strings.Contains(err.Error(), "name a folder") {
		t.Errorf("got %v", err)
	}
}

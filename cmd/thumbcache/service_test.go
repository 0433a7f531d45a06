package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache"
)

const testToken = "correct-horse-battery"

// An apiServer is a running 'thumbcache serve --no-page'.
type apiServer struct {
	url     string // without a slash at the end
	printed string
	client  *http.Client
	stop    func() commandResult // stops the server
}

// startAPI runs "serve --no-page" with more arguments until the end of the test.
func startAPI(t *testing.T, args ...string) *apiServer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan commandResult, 1)
	go func() {
		result := runCommandOn(ctx, &console{out: w}, append([]string{"serve", "--no-page"}, args...)...)
		w.CloseWithError(errors.New(result.err))
		done <- result
	}()
	s := &apiServer{client: http.DefaultClient}
	var where string
	for output := bufio.NewScanner(r); where == ""; {
		if !output.Scan() {
			t.Fatalf("the server does not run: %v", output.Err())
		}
		s.printed += output.Text() + "\n"
		if rest, ok := strings.CutPrefix(output.Text(), "Listening "); ok {
			where = strings.TrimSpace(rest)
		}
	}
	s.url = strings.TrimSuffix(where, "/")
	if name, ok := strings.CutPrefix(where, socketPrefix); ok {
		s.url = "http://thumbcache"
		s.client = socketClient(name)
	}
	go io.Copy(io.Discard, r)
	s.stop = sync.OnceValue(func() commandResult {
		cancel()
		s.client.CloseIdleConnections()
		return <-done
	})
	t.Cleanup(func() { s.stop() })
	return s
}

func socketClient(name string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", name)
	}}}
}

// An apiAnswer is the answer to a request.
type apiAnswer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request. A request with a body is one with JSON. Headers are pairs of name and value.
func (s *apiServer) ask(t *testing.T, method, path, body string, headers ...string) apiAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return apiAnswer{answer.StatusCode, answer.Header, string(text)}
}

// stats returns the figures of a server whose token is testToken.
func (s *apiServer) stats(t *testing.T) (stats struct {
	thumbcache.Stats
	Warm warmReport
}) {
	t.Helper()
	a := s.ask(t, "GET", "/stats", "", "Authorization", "Bearer "+testToken)
	if err := json.Unmarshal([]byte(a.body), &stats); err != nil {
		t.Fatal(err, a)
	}
	return stats
}

// waitUntilWarm waits until everything is warm.
func (s *apiServer) waitUntilWarm(t *testing.T) warmReport {
	t.Helper()
	for range 3000 {
		if warm := s.stats(t).Warm; warm.Waiting == 0 {
			return warm
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not warm after 30 s")
	return warmReport{}
}

// writeToken returns the name of a file with testToken.
func writeToken(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(testToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// With --negotiate, what /warm makes is what browsers get.
func TestAPINegotiate(t *testing.T) {
	media := t.TempDir()
	writePicture(t, filepath.Join(media, "a.png"))
	s := startAPI(t, "--media", "photos="+media, "--dir", t.TempDir(), "--addr", "127.0.0.1:0", "--token-file", writeToken(t), "--sizes", "50", "--negotiate")
	token := []string{"Authorization", "Bearer " + testToken}
	if a := s.ask(t, "POST", "/warm", `{"provider":"photos","paths":["a.png"]}`, token...); a.status != http.StatusAccepted {
		t.Fatalf("%+v", a)
	}
	if got := s.waitUntilWarm(t); got.Extracted != 1 {
		t.Errorf("warm: %+v", got)
	}
	for accept, want := range map[string]string{"image/avif,image/webp,*/*;q=0.8": "image/webp", "*/*": "image/jpeg"} {
		misses := s.stats(t).Misses
		a := s.ask(t, "GET", "/thumb/photos/a.png?size=50", "", append(token, "Accept", accept)...)
		if a.status != http.StatusOK || a.header.Get("Content-Type") != want || a.header.Get("Vary") != "Accept" {
			t.Errorf("%s: %d %v", accept, a.status, a.header)
		}
		if made := s.stats(t).Misses - misses; want == "image/webp" && made != 0 {
			t.Errorf("%s: a warm thumbnail was made again", accept)
		}
	}
}

func TestAPI(t *testing.T) {
	photos, more := t.TempDir(), t.TempDir()
	writePicture(t, filepath.Join(photos, "a.png"))
	writePicture(t, filepath.Join(more, "b.png"))
	dir := filepath.Join(t.TempDir(), "thumbs")
	s := startAPI(t, "--media", "music="+sampleFolder(t), "--media", "photos="+photos, "--media", "photos="+more, "--dir", dir, "--addr", "127.0.0.1:0", "--token-file", writeToken(t), "--sizes", "50,100")
	checkContains(t, s.printed, "\nServing     music = "+sampleFolder(t)+"\n            photos = "+photos+"\n", "\nThumbnails  "+dir, "\nAccess      with a token\n")
	token := []string{"Authorization", "Bearer " + testToken}

	const song = "Ada Rings/Lossless/01 One Cover.flac"
	body, err := json.Marshal(sourceList{Provider: "music", Paths: []string{song, "Nobody/No Cover.mp3", "none.flac"}, Sizes: []int{50}})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.ask(t, "POST", "/warm", string(body), token...); a.status != http.StatusAccepted {
		t.Fatalf("%+v", a)
	}
	if got, want := s.waitUntilWarm(t), (warmReport{0, thumbcache.Warmed{Extracted: 1, NoPicture: 1, Failed: 1}}); got != want {
		t.Errorf("warm: %+v, want %+v", got, want)
	}
	misses := s.stats(t).Misses
	thumb := func(path string) {
		t.Helper()
		if a := s.ask(t, "GET", path, "", token...); a.status != http.StatusOK || a.header.Get("Content-Type") != "image/jpeg" {
			t.Errorf("%s: %d %v %.60q", path, a.status, a.header, a.body)
		}
	}
	song50 := thumbcache.Request{Provider: "music", Path: song, Size: 50}.URL()
	thumb(song50)
	if got := s.stats(t).Misses; got != misses {
		t.Errorf("a warm thumbnail was made again: %d misses, then %d", misses, got)
	}
	thumb("/thumb/photos/a.png?size=50")
	thumb("/thumb/photos/a.png?profile=dlna-tn")
	thumb("/thumb/?provider=photos&path=b.png&size=50") // in the second folder of the provider
	if a := s.ask(t, "POST", "/warm", `{"provider":"photos","paths":["a.png"]}`, token...); a.status != http.StatusAccepted {
		t.Fatalf("%+v", a)
	}
	if got := s.waitUntilWarm(t); got.Extracted != 2 { // 100 was missing
		t.Errorf("all sizes: %+v", got)
	}
	misses = s.stats(t).Misses
	body, _ = json.Marshal(map[string]any{"provider": "music", "paths": []string{song, "none.flac"}})
	if a := s.ask(t, "POST", "/invalidate", string(body), token...); a.status != http.StatusNoContent || a.body != "" {
		t.Fatalf("%+v", a)
	}
	thumb(song50)
	if got := s.stats(t).Misses; got != misses+1 {
		t.Errorf("after Invalidate: %d misses, then %d", misses, got)
	}
	if a := s.ask(t, "GET", "/metrics", "", token...); !strings.Contains(a.body, "\nthumbcache_misses_total ") {
		t.Errorf("%+v", a)
	}
	if a := s.ask(t, "GET", "/list.json", "", token...); a.status != http.StatusNotFound {
		t.Errorf("there is more than the API: %+v", a)
	}
	if r := s.stop(); r.code != exitOK || r.err != "" {
		t.Errorf("%+v", r)
	}
}

// TestAPIAccess checks which request needs what.
func TestAPIAccess(t *testing.T) {
	media := t.TempDir()
	writePicture(t, filepath.Join(media, "a.png"))
	start := func(args ...string) *apiServer {
		return startAPI(t, append(args, media, "--dir", t.TempDir(), "--addr", "127.0.0.1:0")...)
	}
	right, wrong := []string{"Authorization", "bearer " + testToken}, []string{"Authorization", "Bearer " + testToken + "x"}
	basic, foreign := []string{"Authorization", "Basic " + testToken}, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}
	open, withToken, public := start(), start("--token-file", writeToken(t)), start("--public", "--token-file", writeToken(t))
	const thumb, stats, invalidate = "GET /thumb/library/a.png", "GET /stats", "POST /invalidate"
	for _, tc := range []struct {
		name    string
		server  *apiServer
		headers []string
		what    string
		want    int
	}{
		{"no token on the server", open, nil, thumb, 200},
		{"no token on the server", open, nil, stats, 200},
		{"no token on the server", open, nil, invalidate, 403},
		{"no token on the server", open, right, invalidate, 403},
		{"no token on the server, from another site", open, foreign, thumb, 403},
		{"no token", withToken, nil, thumb, 401},
		{"no token", withToken, nil, stats, 401},
		{"no token", withToken, nil, invalidate, 401},
		{"no token", withToken, nil, "GET /healthz", 200},
		{"no token", withToken, nil, "GET /readyz", 200},
		{"wrong token", withToken, wrong, thumb, 401},
		{"wrong token", withToken, wrong, invalidate, 401},
		{"wrong scheme", withToken, basic, thumb, 401},
		{"right token", withToken, right, thumb, 200},
		{"right token", withToken, right, "HEAD /thumb/library/a.png", 200},
		{"right token", withToken, right, stats, 200},
		{"right token", withToken, right, invalidate, 204},
		{"public", public, nil, thumb, 200},
		{"public, from another site", public, foreign, thumb, 200},
		{"public", public, nil, stats, 401},
		{"public", public, nil, invalidate, 401},
		{"public, right token", public, right, invalidate, 204},
		{"right token", withToken, right, "PUT /invalidate", 405},
	} {
		method, path, _ := strings.Cut(tc.what, " ")
		body := ""
		if method == "POST" {
			body = `{"provider":"library","paths":["a.png"]}`
		}
		if a := tc.server.ask(t, method, path, body, tc.headers...); a.status != tc.want {
			t.Errorf("%s: %s: %d %s, want %d", tc.name, tc.what, a.status, a.body, tc.want)
		}
	}
}

func TestAPIBodies(t *testing.T) {
	s := startAPI(t, t.TempDir(), "--dir", t.TempDir(), "--addr", "127.0.0.1:0", "--token-file", writeToken(t))
	many := `["` + strings.Repeat(`a","`, maxPaths) + `a"]`
	for _, tc := range []struct {
		body, why string
		status    int
	}{
		{`{"provider":"library","paths":["a"`, "unexpected EOF", 400},
		{`[]`, "the body must not be of type array", 400},
		{`{"provider":"library","paths":["a"],"size":1}`, `unknown field "size"`, 400},
		{`{"provider":"library","paths":["a"]} {}`, "something follows", 400},
		{`{"provider":"library"}`, "paths must have 1 to 1000 items", 400},
		{`{"provider":"library","paths":[]}`, "paths must have 1 to 1000 items", 400},
		{`{"provider":"library","paths":` + many + `}`, "paths must have 1 to 1000 items", 400},
		{`{"provider":"library","paths":["a"],"sizes":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}`, "sizes must have at most 16 items", 400},
		{`{"provider":"library","paths":["a"],"sizes":[-1]}`, "must not be negative", 400},
		{`{"provider":"library","paths":["a"],"sizes":[1.5]}`, "sizes must not be of type number 1.5", 400},
		{"{\"provider\":\"library\",\"paths\":[\"\xff\"]}", "not UTF-8", 400},
		{`{"provider":"library","paths":["\udcff"]}`, "a path is not Unicode", 400},
		{`{"provider":"none","paths":["a"]}`, "no such provider", 404},
		{`{"provider":"library","paths":["` + strings.Repeat("a", maxBody) + `"]}`, "longer than 1048576 bytes", 413},
	} {
		for _, path := range []string{"/warm", "/invalidate"} {
			a := s.ask(t, "POST", path, tc.body, "Authorization", "Bearer "+testToken)
			var p problem
			if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != tc.status || p.Status != tc.status || !strings.Contains(p.Error, tc.why) {
				t.Errorf("%s %.80s: %d %s, want %d and %q", path, tc.body, a.status, a.body, tc.status, tc.why)
			}
		}
	}
	if a := s.ask(t, "POST", "/invalidate", `{"provider":"library","paths":["a"],"sizes":[1]}`, "Authorization", "Bearer "+testToken); a.status != 400 {
		t.Errorf("sizes of /invalidate: %+v", a)
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", ""} {
		if a := s.ask(t, "POST", "/warm", `{"provider":"library","paths":["a"]}`, "Authorization", "Bearer "+testToken, "Content-Type", kind); a.status != http.StatusUnsupportedMediaType {
			t.Errorf("%q: %+v", kind, a)
		}
	}
}

// FuzzBody checks that bodies of POST requests are refused with a reason, or read as what they say.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"provider":"music","paths":["a","b/c"],"sizes":[300,0]}`, `{"provider":"music","paths":["\udcff"]}`, `{"provider":"","paths":["\u0000"]} `,
		`{"PROVIDER":"a","paths":null}`, `{"paths":[1]}`, `{"sizes":[1e3,-1,99999999999999999999]}`, `[]`, `null`, ``, "\xff", `{}{}`,
	} {
		f.Add([]byte(seed))
	}
	read := func(body []byte) (list sourceList, err error) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		if err = decodeBody(httptest.NewRecorder(), r, &list); err == nil {
			err = list.check()
		}
		return list, err
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := read(body)
		if err != nil {
			if bad, ok := errors.AsType[badBody](err); !ok || bad.status < 400 || bad.status > 499 || bad.why == "" || strings.Contains(bad.why, "main.") {
				t.Errorf("%q: %#v", body, err)
			}
			return
		}
		if len(list.Paths) == 0 || len(list.Paths) > maxPaths || len(list.Sizes) > maxSizes {
			t.Errorf("%q: %d paths and %d sizes", body, len(list.Paths), len(list.Sizes))
		}
		again, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := read(again); err != nil || !slices.Equal(same.Paths, list.Paths) || !slices.Equal(same.Sizes, list.Sizes) || same.Provider != list.Provider {
			t.Errorf("%q: %+v, then %+v (%v)", body, list, same, err)
		}
	})
}

// newTestService returns a service of an empty folder.
func newTestService(t *testing.T) *service {
	t.Helper()
	s, err := newService([]mediaSource{{"music", []string{t.TempDir()}}}, thumbcache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.isSocket = true // so that POST is allowed
	t.Cleanup(func() { s.cache.Close() })
	return s
}

// call returns the answer of a service without a network.
func call(s *service, method, path, body string) apiAnswer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	return apiAnswer{w.Code, w.Header(), w.Body.String()}
}

func TestWarmQueueIsBounded(t *testing.T) {
	s := newTestService(t) // nothing takes batches
	for i := range maxBatches + 1 {
		want := http.StatusAccepted
		if i == maxBatches {
			want = http.StatusServiceUnavailable
		}
		if a := call(s, "POST", "/warm", `{"provider":"music","paths":["a","b"]}`); a.status != want || (want >= 400) != (a.header.Get("Retry-After") != "") {
			t.Errorf("batch %d: %+v", i, a)
		}
	}
	if got := s.warm.report().Waiting; got != 2*maxBatches {
		t.Errorf("%d paths wait", got)
	}
}

// A client must know that a thumbnail may still be there.
func TestInvalidateReportsFailure(t *testing.T) {
	s := newTestService(t)
	s.cache.Close()
	if a := call(s, "POST", "/invalidate", `{"provider":"music","paths":["a","b"]}`); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "2 of 2 paths") {
		t.Errorf("%+v", a)
	}
}

func TestReady(t *testing.T) {
	parent := t.TempDir()
	media, dir := filepath.Join(parent, "secret-media"), filepath.Join(parent, "secret-thumbs")
	if err := os.Mkdir(media, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := newService([]mediaSource{{"music", []string{t.TempDir(), media}}}, thumbcache.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.cache.Close()
	if a := call(s, "GET", "/readyz", ""); a.status != http.StatusOK {
		t.Errorf("%+v", a)
	}
	for folder, want := range map[string]string{media: "media music, folder 2", dir: "thumbnail folder"} {
		if err := os.Rename(folder, folder+".gone"); err != nil {
			t.Skip(err) // Windows does not rename a folder that is in use
		}
		a := call(s, "GET", "/readyz", "")
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, want+`"`) || strings.Contains(a.body, "secret") {
			t.Errorf("%+v, want %s", a, want)
		}
		if a := call(s, "GET", "/healthz", ""); a.status != http.StatusOK {
			t.Errorf("%+v", a)
		}
		if err := os.Rename(folder+".gone", folder); err != nil {
			t.Fatal(err)
		}
	}
	if a := call(s, "GET", "/readyz", ""); a.status != http.StatusOK {
		t.Errorf("%+v", a)
	}
	if names, err := filepath.Glob(filepath.Join(dir, ".thumbcache-ready-*")); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// Requests for readiness do not pile up on a share that hangs.
func TestReadyWithHangingShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var checks atomic.Int32
		hanging := &probe{name: "media music", check: func() error {
			checks.Add(1)
			<-release
			return nil
		}}
		fine := &probe{name: "thumbnail folder", check: func() error { return nil }}
		for range 3 {
			start := time.Now()
			failing := runProbes(t.Context(), []*probe{hanging, fine})
			if fmt.Sprint(failing) != "[media music]" || time.Since(start) != readyTimeout {
				t.Errorf("%q after %s", failing, time.Since(start))
			}
		}
		close(release)
		synctest.Wait()
		if failing := runProbes(t.Context(), []*probe{hanging}); failing != nil || checks.Load() != 2 {
			t.Errorf("%q after %d checks", failing, checks.Load())
		}
	})
}

// blockingMedia is a provider whose files cannot be opened before release is closed.
type blockingMedia struct {
	thumbcache.Provider
	opened, release chan struct{}
}

func (m *blockingMedia) Open(ctx context.Context, path string) (*thumbcache.Source, error) {
	m.opened <- struct{}{}
	select {
	case <-m.release:
		return m.Provider.Open(ctx, path)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A service that stops finishes the requests in progress, and cancels those that take too long.
func TestServiceStops(t *testing.T) {
	media := t.TempDir()
	writePicture(t, filepath.Join(media, "a.png"))
	for _, tc := range []struct {
		name   string
		hangs  bool
		limit  time.Duration
		status int
	}{
		{"in time", false, time.Minute, http.StatusOK},
		{"too late", true, time.Millisecond, http.StatusServiceUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &blockingMedia{thumbcache.Files(media), make(chan struct{}, 1), make(chan struct{})}
			s := newTestService(t)
			s.stopLimit = tc.limit
			s.cache.Close()
			var err error
			if s.cache, err = thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"music": m}}); err != nil {
				t.Fatal(err)
			}
			defer s.cache.Close()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			stopped := make(chan error, 1)
			go func() { stopped <- s.serve(ctx, listener) }()
			status := make(chan int, 1)
			go func() {
				answer, err := http.Get("http://" + listener.Addr().String() + "/thumb/music/a.png")
				if err != nil {
					t.Error(err)
					status <- 0
					return
				}
				defer answer.Body.Close()
				io.Copy(io.Discard, answer.Body)
				status <- answer.StatusCode
			}()
			<-m.opened
			stop()
			if !tc.hangs {
				for { // until no more requests are accepted
					conn, err := net.Dial("tcp", listener.Addr().String())
					if err != nil {
						break
					}
					conn.Close()
					time.Sleep(time.Millisecond)
				}
				close(m.release)
			}
			if got := <-status; got != tc.status {
				t.Errorf("status %d, want %d", got, tc.status)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestToken(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	t.Setenv(tokenVariable, "")
	if got, err := readToken(""); got != nil || err != nil {
		t.Errorf("no token: %v, %v", got, err)
	}
	for text, ok := range map[string]bool{
		testToken: true, testToken + "\r\n": true,
		"": false, "\n": false, "short": false, strings.Repeat("a", maxTokenLength+1): false,
		testToken + " " + testToken: false, testToken + "é": false, testToken + "\x00": false,
	} {
		got, err := readToken(write(text))
		if (err == nil) != ok || (got != nil) != ok {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if err != nil && len(text) > 3 && strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("the error contains the token: %v", err)
		}
	}
	if _, err := readToken(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	t.Setenv(tokenVariable, testToken+"-of-the-environment")
	fromEnvironment, err := readToken("")
	if err != nil {
		t.Fatal(err)
	}
	fromFile, err := readToken(write(testToken))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+testToken)
	if fromEnvironment.isIn(r) || !fromFile.isIn(r) {
		t.Error("the file does not replace the environment")
	}
}

func TestAPIFlags(t *testing.T) {
	t.Setenv(tokenVariable, "")
	media, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(media, "a.png")
	writePicture(t, file)
	check := func(code int, why string, args ...string) {
		t.Helper()
		r := runCommand(t, append([]string{"serve", "--addr", "localhost:-1"}, args...)...) // an address that fails, if nothing else does
		if r.code != code || !strings.Contains(r.err, why) {
			t.Errorf("%q: %+v, want %d and %q", args, r, code, why)
		}
	}
	check(exitUsage, "--media needs --no-page", "--media", "music="+media, "--dir", dir)
	check(exitUsage, "--media needs --dir", "--no-page", "--media", "music="+media)
	check(exitUsage, "either FOLDER or --media", "--no-page", "--media", "music="+media, media, "--dir", dir)
	check(exitUsage, "is not NAME=FOLDER", "--no-page", "--media", "music", "--dir", dir)
	check(exitUsage, "is not NAME=FOLDER", "--no-page", "--media", "music=", "--dir", dir)
	check(exitUsage, "invalid provider name", "--no-page", "--media", "a/b="+media, "--dir", dir)
	check(exitFailed, "is not a folder", "--no-page", "--media", "music="+file, "--dir", dir)
	check(exitUsage, "--open needs the page", "--no-page", "--open", media)
	check(exitUsage, "--public needs --no-page", "--public", media)
	check(exitUsage, "needs --no-page", "--token-file", file, media)
	check(exitUsage, "a Unix socket needs --no-page", "--addr", "unix:/x", media)
	check(exitUsage, "the name of the socket is missing", "--no-page", "--addr", "unix:", media, "--dir", dir)
	check(exitUsage, "longer than 103 bytes", "--no-page", "--addr", "unix:/"+strings.Repeat("x", maxSocketName), media, "--dir", dir)
	check(exitFailed, "invalid port", "--no-page", "--media", "music="+media, "--dir", dir)
	t.Setenv(tokenVariable, testToken)
	check(exitUsage, "needs --no-page", media)
}

// A tier that several machines share works with several providers too, and so does a server without a disk.
func TestAPIWithShared(t *testing.T) {
	media := t.TempDir()
	writePicture(t, filepath.Join(media, "a.png"))
	s := startAPI(t, "--media", "photos="+media, "--media", "music="+filepath.Join(media, "none"), "--dir", "", "--shared", "redis://127.0.0.1:1/0", "--addr", "127.0.0.1:0")
	checkContains(t, s.printed, "\nThumbnails  not on the disk of this machine\n", "\nShared      redis at 127.0.0.1:1/0\n")
	if a := s.ask(t, "GET", "/thumb/photos/a.png", ""); a.status != http.StatusOK {
		t.Errorf("%+v", a)
	}
	if a := s.ask(t, "GET", "/readyz", ""); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `: media music"`) {
		t.Errorf("%+v", a)
	}
	checkContains(t, s.stop().err, "does not work now", "/readyz fails until it can be read")
}

// shortTempDir returns a folder for a socket. The name of t.TempDir is too long on macOS.
func shortTempDir(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "tc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

func TestSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Unix sockets are not supported on Windows")
	}
	media := t.TempDir()
	writePicture(t, filepath.Join(media, "a.png"))
	folder := shortTempDir(t)
	name := filepath.Join(folder, "thumbs.sock")
	args := []string{media, "--dir", t.TempDir(), "--addr", socketPrefix + name}

	// A server that was killed leaves a socket behind.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()

	s := startAPI(t, args...)
	info, err := os.Lstat(name)
	if err != nil || info.Mode() != fs.ModeSocket|socketMode {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(folder); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	if a := s.ask(t, "GET", "/thumb/library/a.png", ""); a.status != http.StatusOK {
		t.Errorf("%+v", a)
	}
	if a := s.ask(t, "POST", "/invalidate", `{"provider":"library","paths":["a.png"]}`); a.status != http.StatusNoContent {
		t.Errorf("%+v", a)
	}
	if r := runCommand(t, append([]string{"serve", "--no-page"}, args...)...); r.code != exitFailed || !strings.Contains(r.err, "another server listens on it") {
		t.Errorf("a second server: %+v", r)
	}
	if r := s.stop(); r.code != exitOK {
		t.Errorf("%+v", r)
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}

	// Files of others are neither replaced nor removed.
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runCommand(t, append([]string{"serve", "--no-page"}, args...)...); r.code != exitFailed || !strings.Contains(r.err, "is no socket") {
		t.Errorf("a file: %+v", r)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	l, err := listenUnix(name)
	if err != nil {
		t.Fatal(err)
	}
	other, err := listenUnix(name) // replaces it
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	conn, err := net.Dial("unix", name)
	if err != nil {
		t.Fatalf("the socket of the other server is gone: %v", err)
	}
	conn.Close()
	other.Close()
}

// runProgram runs a program in a folder, with testToken in the environment, and returns its output.
func runProgram(t *testing.T, folder, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip(program + " is not installed")
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), tokenVariable+"="+testToken)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// lookCurl skips the test if the examples with curl cannot run.
func lookCurl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	if runtime.GOOS == "windows" {
		t.Skip("the examples are for a Unix shell")
	}
}

// findExample returns the absolute path of a file in contrib/examples.
func findExample(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "contrib", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func checkJPEG(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil || http.DetectContentType(data) != "image/jpeg" {
		t.Errorf("%v, %.20q", err, data)
	}
}

const sampleSong = "Ada Rings/Lossless/01 One Cover.flac"

func TestExamplePython(t *testing.T) {
	s := startAPI(t, "--media", "music="+sampleFolder(t), "--dir", t.TempDir(), "--addr", "127.0.0.1:0", "--token-file", writeToken(t))
	folder := t.TempDir()
	out := runProgram(t, folder, "python3", findExample(t, "thumbcache.py"), s.url, "music", sampleSong, "cover.jpg")
	checkContains(t, out, `"extracted": 1`, "saved: ")
	checkJPEG(t, filepath.Join(folder, "cover.jpg"))
	if stats := s.stats(t); stats.MemoryEntries != 0 || stats.DiskEntries != 0 {
		t.Errorf("not forgotten: %+v", stats)
	}
}

func TestExampleCurl(t *testing.T) {
	lookCurl(t)
	socket := filepath.Join(shortTempDir(t), "s")
	startAPI(t, "--media", "music="+sampleFolder(t), "--dir", t.TempDir(), "--addr", socketPrefix+socket)
	folder := t.TempDir()
	out := runProgram(t, folder, "sh", findExample(t, "thumbcache.sh"), socket, "music", sampleSong, "cover.jpg")
	checkContains(t, out, "ready\n", `"waiting":`)
	checkJPEG(t, filepath.Join(folder, "cover.jpg"))
}

// TestReadmeService runs the commands in the README.
func TestReadmeService(t *testing.T) {
	lookCurl(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(text), "\n## From other languages\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	var commands []string
	for line := range strings.Lines(chapter) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	if len(commands) != 3 {
		t.Fatalf("%d commands, want 3: %q", len(commands), commands)
	}
	folder, media := t.TempDir(), t.TempDir()
	writePicture(t, filepath.Join(media, "Artist", "Album", "01.flac")) // a picture is recognized by its content
	if err := os.WriteFile(filepath.Join(folder, "token"), []byte(testToken), 0o600); err != nil {
		t.Fatal(err)
	}
	serve, ok := strings.CutPrefix(commands[0], "thumbcache serve --no-page ")
	if !ok {
		t.Fatal(commands[0])
	}
	places := strings.NewReplacer("/srv/music", media, "/srv/photos", t.TempDir(), "/var/cache/thumbs", t.TempDir(), "--token-file token", "--token-file "+filepath.Join(folder, "token"))
	s := startAPI(t, append(strings.Fields(places.Replace(serve)), "--addr", "127.0.0.1:0")...)
	for _, command := range commands[1:] {
		runProgram(t, folder, "sh", "-c", strings.NewReplacer("curl ", "curl --silent --show-error --fail ", "http://localhost:8420", s.url).Replace(command))
	}
	checkJPEG(t, filepath.Join(folder, "cover.jpg"))
	if got := s.waitUntilWarm(t); got.Extracted+got.Reused != 1 {
		t.Errorf("%+v", got)
	}
}

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A server is a running "thumbcache serve".
type server struct {
	url    string
	stderr lockedBuffer
	stop   func()
}

// serve runs the command to serve folder. It returns the address of the page.
func serve(t *testing.T, folder string) string {
	t.Helper()
	return startServer(t, folder, "localhost:0").url
}

var binaryFolder string // removed by TestMain

// buildCommand builds the command, once for all tests. It returns its path.
var buildCommand = sync.OnceValues(func() (string, error) {
	var err error
	if binaryFolder, err = os.MkdirTemp("", "thumbcache-e2e-"); err != nil {
		return "", err
	}
	if err := os.Chmod(binaryFolder, 0o755); err != nil { // so that another user can run it
		return "", err
	}
	binary := filepath.Join(binaryFolder, "thumbcache")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join("..", "cmd", "thumbcache")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryFolder != "" {
		_ = os.RemoveAll(binaryFolder)
	}
	os.Exit(code)
}

// startServer runs the command to serve folder at an address. A command in front may run it as another user.
func startServer(t *testing.T, folder, addr string, prefix ...string) *server {
	t.Helper()
	binary, err := buildCommand()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if len(prefix) > 0 { // the other user must be able to write thumbnails
		for name, mode := range map[string]os.FileMode{dir: 0o777, filepath.Dir(dir): 0o755} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	args := append(prefix, binary, "serve", "--addr", addr, "--dir", filepath.Join(dir, "thumbs"), folder)
	cmd := exec.Command(args[0], args[1:]...)
	s := &server{}
	cmd.Stderr = io.MultiWriter(os.Stderr, &s.stderr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server failed: %v", err)
		}
	})
	t.Cleanup(s.stop)
	address := regexp.MustCompile(`http://\S+/`)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if s.url = address.FindString(lines.Text()); s.url != "" {
			go io.Copy(io.Discard, out)
			return s
		}
	}
	t.Fatal("the server printed no address")
	return nil
}

// A lockedBuffer is a buffer that may be read while it is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// findChromium returns the path of the browser, or skips the test if there is none.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("THUMBCACHE_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	if os.Getenv("THUMBCACHE_REQUIRE_BROWSER") != "" {
		t.Fatal("chromium was not found")
	}
	t.Skip("chromium was not found; it must be in PATH, or THUMBCACHE_CHROMIUM must be its path")
	return ""
}

// A tab is a page in its own browser, with an empty browser cache at the start.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	requests   []request
	complaints []string // console errors, exceptions and violations of the Content-Security-Policy
}

type request struct {
	id     network.RequestID
	url    string
	cached bool // answered from the browser's cache, without sending it
}

// A look is a window size and a color scheme.
type look struct {
	width, height int64
	phone, dark   bool
}

var (
	desktop = look{width: 1440, height: 900}
	tablet  = look{width: 768, height: 1024}
	phone   = look{width: 390, height: 844, phone: true}
)

func (l look) String() string {
	device, scheme := "desktop", "light"
	switch l.width {
	case phone.width:
		device = "phone"
	case tablet.width:
		device = "tablet"
	}
	if l.dark {
		scheme = "dark"
	}
	return device + "-" + scheme
}

// openTab starts a browser. It is closed at the end of the test.
func openTab(t *testing.T, l look) *tab {
	t.Helper()
	b := &tab{t: t}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(findChromium(t)), chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // the sandbox does not work as root
	}
	ctx, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	quiet := func(string, ...any) {} // a chromium newer than this library sends events that it does not know
	ctx, cancelTab := chromedp.NewContext(ctx, chromedp.WithListener(b.listen), chromedp.WithErrorf(quiet), chromedp.WithLogf(quiet))
	ctx, cancelTime := context.WithTimeout(ctx, 4*time.Minute)
	b.ctx = ctx
	t.Cleanup(func() {
		cancelTime()
		cancelTab()
		cancelAllocator()
	})
	b.setLook(l)
	return b
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, request{id: e.RequestID, url: e.Request.URL})
	case *network.EventRequestServedFromCache:
		b.markCachedLocked(e.RequestID)
	case *network.EventResponseReceived:
		if e.Response.FromDiskCache {
			b.markCachedLocked(e.RequestID)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("exception: %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			b.complaints = append(b.complaints, fmt.Sprintf("console: %v", e.Args))
		}
	}
}

func (b *tab) markCachedLocked(id network.RequestID) {
	for i := range b.requests {
		if b.requests[i].id == id {
			b.requests[i].cached = true
		}
	}
}

// countRequests returns how many requests for URLs containing match were sent to the server since the last sentURLs.
func (b *tab) countRequests(match string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if !r.cached && strings.Contains(r.url, match) {
			n++
		}
	}
	return n
}

// sentURLs returns the URLs containing match that were requested from the server since the last call.
func (b *tab) sentURLs(match string) (urls []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if !r.cached && strings.Contains(r.url, match) {
			urls = append(urls, r.url)
		}
	}
	b.requests = nil
	return urls
}

// checkComplaints fails the test if the browser has logged an error or a warning.
func (b *tab) checkComplaints() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.t.Errorf("logged by the browser: %s", c)
	}
}

// run performs browser actions, and fails the test if one fails.
func (b *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// setLook sets the window size and the color scheme.
func (b *tab) setLook(l look) {
	b.t.Helper()
	options := []chromedp.EmulateViewportOption{chromedp.EmulateScale(1)}
	if l.phone {
		options = []chromedp.EmulateViewportOption{chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait}
	}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	b.run(chromedp.EmulateViewport(l.width, l.height, options...), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// visit opens a page, and waits until its grid is filled and every visible picture has loaded or failed.
func (b *tab) visit(url string) {
	b.t.Helper()
	b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
	b.waitUntilSettled()
}

// visitEmpty opens a page whose grid stays empty, and waits until it says why.
func (b *tab) visitEmpty(url string) {
	b.t.Helper()
	b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
	b.waitFor(`document.getElementById("end")?.textContent`)
}

// waitUntilSettled waits until the grid is filled and every visible picture has loaded or failed.
func (b *tab) waitUntilSettled() {
	b.t.Helper()
	b.waitFor(`document.querySelectorAll("#grid li").length > 0`)
	// Pictures outside the window load lazily.
	b.waitFor(`[...document.querySelectorAll("#grid img")].every((i) => {
		if (i.complete) return true;
		const r = i.getBoundingClientRect();
		return r.top > innerHeight || r.bottom < 0;
	})`)
}

// evaluate returns the value of a JavaScript expression in the page.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, func(p *runtime.EvaluateParams) {
		yes := true
		p.AwaitPromise = &yes
	}))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// waitFor waits until a JavaScript expression is true. It does not use chromedp.Poll, which evaluates strings inside the page;
// the Content-Security-Policy forbids that.
func (b *tab) waitFor(expression string) {
	b.t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if evaluate[bool](b, "!!("+expression+")") {
			return
		}
	}
	b.saveScreenshot(b.t.Name() + "-failed")
	b.t.Fatalf("timeout waiting for: %s", expression)
}

// press presses keys. The keydown event of a key carries its text, as with a keyboard, so that the page can prevent the input.
// (chromedp.KeyEvent sends the text in a separate event.)
func (b *tab) press(keys ...string) {
	b.t.Helper()
	b.run(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for _, key := range strings.Join(keys, "") {
			events := kb.Encode(key)
			down, up := *events[0], *events[len(events)-1]
			if len(events) == 3 {
				down.Type, down.Text, down.UnmodifiedText = input.DispatchKeyEventTypeKeyDown, events[1].Text, events[1].UnmodifiedText
			}
			for _, e := range []input.DispatchKeyEventParams{down, up} {
				if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, e); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// takeScreenshot saves a screenshot of the window once all animations have ended.
func (b *tab) takeScreenshot(name string) {
	b.t.Helper()
	// Pictures fade in. The charts in SVG are always animated.
	b.waitFor(`document.getAnimations().every((a) => a.playState !== "running" || a.effect.target.closest("svg"))`)
	b.saveScreenshot(name)
}

// saveScreenshot saves a screenshot of the window in THUMBCACHE_SCREENSHOTS, if that is set.
func (b *tab) saveScreenshot(name string) {
	b.t.Helper()
	folder := os.Getenv("THUMBCACHE_SCREENSHOTS")
	if folder == "" {
		return
	}
	data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = cmp.Or(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, name+".png"), data, 0o644))
	}
	if err != nil {
		b.t.Error(err)
	}
}

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

// serve builds the command and serves folder with it. It returns the address of the page.
func serve(t *testing.T, folder string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "thumbcache")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join("..", "cmd", "thumbcache")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary, "serve", "--addr", "localhost:0", "--dir", filepath.Join(t.TempDir(), "thumbs"), folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	address := regexp.MustCompile(`http://\S+/`)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if u := address.FindString(lines.Text()); u != "" {
			go io.Copy(io.Discard, out)
			return u
		}
	}
	t.Fatal("the server does not say where it is")
	return ""
}

// chromium returns the browser's path, or skips the test.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("THUMBCACHE_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	if os.Getenv("THUMBCACHE_REQUIRE_BROWSER") != "" {
		t.Fatal("there is no chromium")
	}
	t.Skip("there is no chromium in PATH, nor does THUMBCACHE_CHROMIUM name one")
	return ""
}

// A tab is a page of a browser of its own, with a cache of its own.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	requests   []request
	complaints []string // of the console, and of what enforces our Content-Security-Policy
}

type request struct {
	id     network.RequestID
	url    string
	cached bool // it was not sent
}

// A look is a size of window and a colour scheme.
type look struct {
	width, height int64
	phone, dark   bool
}

var (
	desktop = look{width: 1440, height: 900}
	phone   = look{width: 390, height: 844, phone: true}
)

func (l look) String() string {
	device, scheme := "desktop", "light"
	if l.phone {
		device = "phone"
	}
	if l.dark {
		scheme = "dark"
	}
	return device + "-" + scheme
}

func openTab(t *testing.T, l look) *tab {
	t.Helper()
	b := &tab{t: t}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(findChromium(t)), chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // as root there is none
	}
	ctx, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	quiet := func(string, ...any) {} // a chromium that is newer than the library sends what that does not know
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

// sent returns the URLs that requests were sent to since it was last called, of those that match.
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

// clean fails the test if the page complained of anything.
func (b *tab) checkComplaints() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.t.Errorf("the browser says: %s", c)
	}
}

func (b *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

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

// visit opens a page and waits until its grid is there and every picture has come or failed.
func (b *tab) visit(url string) {
	b.t.Helper()
	b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
	b.waitUntilSettled()
}

func (b *tab) waitUntilSettled() {
	b.t.Helper()
	b.waitFor(`document.querySelectorAll("#grid li").length > 0`)
	// Those that are far below have not been asked for yet.
	b.waitFor(`[...document.querySelectorAll("#grid img")].every((i) => {
		if (i.complete) return true;
		const r = i.getBoundingClientRect();
		return r.top > innerHeight || r.bottom < 0;
	})`)
}

// value evaluates an expression in the page.
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

// until waits for an expression to be true. (chromedp.Poll would have to evaluate strings, which the page forbids.)
func (b *tab) waitFor(expression string) {
	b.t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if evaluate[bool](b, "!!("+expression+")") {
			return
		}
	}
	b.saveScreenshot(b.t.Name() + "-failed")
	b.t.Fatalf("it never came true: %s", expression)
}

// press presses keys. The text of one comes with its keydown, as from a keyboard, so that a page can prevent it.
// (chromedp.KeyEvent sends it on its own.)
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

// shoot leaves a picture of the window for a person to look at.
func (b *tab) takeScreenshot(name string) {
	b.t.Helper()
	// What comes into view fades in.
	b.waitFor(`document.getAnimations().every((a) => a.playState !== "running" || a.effect.target.closest("svg"))`)
	b.saveScreenshot(name)
}

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

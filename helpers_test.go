package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache/internal/store"
)

// TestMain lets more tests run in parallel than there are processors: those that call t.Parallel mostly wait for processes,
// disks and pauses. If the flag -parallel is given, it decides.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// series returns full if THUMBCACHE_FULL is set, as in CI, and otherwise short. It is the size of a test that takes long.
func series[T any](short, full T) T {
	if os.Getenv("THUMBCACHE_FULL") != "" {
		return full
	}
	return short
}

// eventually polls until ok reports true. It is for real files and processes; synctest is for everything else.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// A testProvider is a Provider of media in memory. A test can change the media, make calls fail, and count them.
type testProvider struct {
	mu    sync.Mutex
	media map[string]*Source
	err   error                                      // of every call
	stats int                                        // calls of Stat
	opens int                                        // calls of Open
	hook  func(ctx context.Context, op string) error // runs in every call, without the lock
	wrap  func(src *Source)                          // changes what Open returns; set before use
}

func newTestProvider() *testProvider { return &testProvider{media: make(map[string]*Source)} }

// numberedPictures returns a provider of n pictures, named by their number. Picture i is 30+i pixels wide.
func numberedPictures(n int) *testProvider {
	p := newTestProvider()
	for i := range n {
		p.set(fmt.Sprint(i), tag("1"), plain(30+i, 30, red))
	}
	return p
}

func (p *testProvider) set(path string, stamp Stamp, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.media[path] = BytesSource(path, stamp, data)
}

func (p *testProvider) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *testProvider) remove(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.media, path)
}

func (p *testProvider) setHook(hook func(ctx context.Context, op string) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook = hook
}

func (p *testProvider) calls() (stats, opens int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats, p.opens
}

func (p *testProvider) find(ctx context.Context, op, path string, count *int) (*Source, error) {
	p.mu.Lock()
	*count++
	src, err, hook := p.media[path], p.err, p.hook
	p.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, op); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	if src == nil {
		return nil, fs.ErrNotExist
	}
	return src, nil
}

func (p *testProvider) Stat(ctx context.Context, path string) (Stamp, error) {
	src, err := p.find(ctx, "stat", path, &p.stats)
	if err != nil {
		return Stamp{}, err
	}
	return src.Stamp, nil
}

func (p *testProvider) Open(ctx context.Context, path string) (*Source, error) {
	src, err := p.find(ctx, "open", path, &p.opens)
	if src == nil || p.wrap == nil {
		return src, err
	}
	wrapped := *src
	p.wrap(&wrapped)
	return &wrapped, err
}

// failOn returns a hook that makes all calls of one operation fail.
func failOn(failing string, err error) func(context.Context, string) error {
	return func(_ context.Context, op string) error {
		if op == failing {
			return err
		}
		return nil
	}
}

// hang is a hook that makes every call wait until it is canceled.
func hang(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// A folderProvider is a testProvider that is also a Lister. Its folders are those of its media. Hooks run in List, too.
type folderProvider struct{ *testProvider }

func newFolderProvider() folderProvider { return folderProvider{newTestProvider()} }

// names returns the names of the media in a folder.
func (p folderProvider) names(folder string) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.media {
		if path.Dir(name) == folder {
			names = append(names, path.Base(name))
		}
	}
	return names
}

func (p folderProvider) Stat(ctx context.Context, name string) (Stamp, error) {
	stamp, err := p.testProvider.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) && p.names(name) != nil {
		err = fs.ErrInvalid
	}
	return stamp, err
}

func (p folderProvider) Open(ctx context.Context, name string) (*Source, error) {
	src, err := p.testProvider.Open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) && p.names(name) != nil {
		err = fs.ErrInvalid
	}
	return src, err
}

func (p folderProvider) List(ctx context.Context, folder string) ([]string, error) {
	p.mu.Lock()
	hook := p.hook
	p.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, "list"); err != nil {
			return nil, err
		}
	}
	return p.names(folder), nil
}

// tag returns a stamp that consists of a tag only.
func tag(text string) Stamp { return Stamp{Tag: text} }

var (
	red   = color.NRGBA{200, 30, 30, 255}
	green = color.NRGBA{30, 150, 30, 255}
	blue  = color.NRGBA{30, 30, 200, 255}
)

// plain returns a PNG of one color.
func plain(w, h int, c color.Color) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// noisy returns a JPEG of w x h that does not compress well, as covers do not.
func noisy(w, h, quality int) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	state := uint32(1)
	for i := range img.Pix {
		state = state*1664525 + 1013904223
		img.Pix[i] = byte(128 + int(state>>24)/4 + 40*(i/4%w)/w)
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// mustNew returns a Cache that is closed at the end of the test.
func mustNew(t testing.TB, cfg Config) *Cache {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustGet returns a thumbnail. An error ends the test, so it must be called on the test's goroutine.
func mustGet(t testing.TB, c *Cache, provider, path string, size int) *Thumbnail {
	t.Helper()
	thumb, err := c.Get(t.Context(), provider, path, size)
	if err != nil {
		t.Fatal(err)
	}
	return thumb
}

// tryGet gets a thumbnail of provider p. It reports an error and lets the test go on, so any goroutine may call it.
func tryGet(t *testing.T, c *Cache, path string, size int) {
	if thumb, err := c.Get(t.Context(), "p", path, size); err != nil || len(thumb.Data) == 0 {
		t.Errorf("%s: %v", path, err)
	}
}

// getNumbered gets picture i of numberedPictures in its own size. Any goroutine may call it.
func getNumbered(t *testing.T, c *Cache, i int) {
	thumb, err := c.Get(context.Background(), "p", fmt.Sprint(i), 0)
	if err != nil || thumb.Width != 30+i {
		t.Errorf("picture %d: %+v, %v", i, thumb, err)
	}
}

// middleColor checks that a thumbnail has the type and the dimensions that it says it has. It returns the color of the middle.
func middleColor(t testing.TB, thumb *Thumbnail) color.NRGBA {
	t.Helper()
	img, format, err := image.Decode(bytes.NewReader(thumb.Data))
	if err != nil {
		t.Fatal(err)
	}
	if want := "image/" + format; thumb.ContentType != want {
		t.Errorf("content type %q of a %s", thumb.ContentType, format)
	}
	if b := img.Bounds(); b.Dx() != thumb.Width || b.Dy() != thumb.Height {
		t.Errorf("Width and Height say %dx%d, the picture is %v", thumb.Width, thumb.Height, b)
	}
	return color.NRGBAModel.Convert(img.At(thumb.Width/2, thumb.Height/2)).(color.NRGBA)
}

func checkColor(t testing.TB, thumb *Thumbnail, want color.NRGBA) {
	t.Helper()
	if got := middleColor(t, thumb); !isSimilar(got, want) {
		t.Fatalf("color %v, want %v", got, want)
	}
}

// isSimilar reports whether two colors are the same, except for what JPEG changes.
func isSimilar(a, b color.NRGBA) bool {
	for _, d := range []int{int(a.R) - int(b.R), int(a.G) - int(b.G), int(a.B) - int(b.B)} {
		if d < -6 || d > 6 {
			return false
		}
	}
	return true
}

// gated returns an extractor that waits until gate is closed, and the number of its calls in progress.
func gated() (e Extractor, gate chan struct{}, calls *atomic.Int32) {
	gate, calls = make(chan struct{}), new(atomic.Int32)
	return ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
		calls.Add(1)
		defer calls.Add(-1)
		select {
		case <-gate:
			return extractImage(ctx, src)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}), gate, calls
}

// filesIn returns the names of the thumbnails and failures below dir, and of temporary files.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(d.Name()) > 64 { // longer than a hash
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// isStored reports whether dir holds an undamaged file for a picture of provider p in its own size.
func isStored(dir, path string) bool {
	hash := store.Hash("p", path)
	data, err := os.ReadFile(filepath.Join(dir, hash[:2], hash+"_0.jpg"))
	if err != nil {
		return false
	}
	_, err = store.Unseal(data, &store.Key{})
	return err == nil
}

// replaceFolder removes dir and calls put, which may put something else in its place. It tries again if the cache, which works
// in the background, has written to dir meanwhile.
func replaceFolder(t *testing.T, dir string, put func() error) {
	t.Helper()
	eventually(t, dir+" is replaced", func() bool { return os.RemoveAll(dir) == nil && put() == nil })
}

// childEnv holds the argument of a test that runs in a child process.
const childEnv = "THUMBCACHE_TEST_CHILD"

// reexec returns a command that runs the same test in a child process, which finds arg in childEnv.
func reexec(t *testing.T, arg string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command(exe, "-test.run=^"+name+"$")
	// With -cover a child that calls os.Exit writes its counters to GOCOVERDIR, and a warning to its output if there is none.
	cmd.Env = append(os.Environ(), childEnv+"="+arg, "GOCOVERDIR="+t.TempDir())
	return cmd
}

// A syncBuffer is a bytes.Buffer for several goroutines, such as those that write to a log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

package thumbcache

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache/internal/store"
)

// eventually polls until ok reports true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) { // real files, a real clock
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 seconds", what)
		}
	}
}

// shelf is a Provider over pictures in memory that can be changed, broken and counted.
type shelf struct {
	mu    sync.Mutex
	media map[string]*Source
	err   error // of every call
	stats int
	opens int
	hook  func(ctx context.Context, op string) error // runs without the lock
}

func newShelf() *shelf { return &shelf{media: make(map[string]*Source)} }

func (s *shelf) set(path string, stamp Stamp, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.media[path] = BytesSource(path, stamp, data)
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shelf) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.media, path)
}

func (s *shelf) calls() (stats, opens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats, s.opens
}

func (s *shelf) find(ctx context.Context, op, path string, count *int) (*Source, error) {
	s.mu.Lock()
	*count++
	src, err, hook := s.media[path], s.err, s.hook
	s.mu.Unlock()
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

func (s *shelf) Stat(ctx context.Context, path string) (Stamp, error) {
	src, err := s.find(ctx, "stat", path, &s.stats)
	if err != nil {
		return Stamp{}, err
	}
	return src.Stamp, nil
}

func (s *shelf) Open(ctx context.Context, path string) (*Source, error) {
	return s.find(ctx, "open", path, &s.opens)
}

// tag makes a stamp that differs from those with another text.
func tag(text string) Stamp { return Stamp{Tag: text} }

// plain returns a PNG of one colour.
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

var (
	red  = color.NRGBA{200, 30, 30, 255}
	blue = color.NRGBA{30, 30, 200, 255}
)

func mustNew(t testing.TB, cfg Config) *Cache {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustGet(t testing.TB, c *Cache, provider, path string, size int) *Thumbnail {
	t.Helper()
	thumb, err := c.Get(t.Context(), provider, path, size)
	if err != nil {
		t.Fatal(err)
	}
	return thumb
}

// colour decodes a thumbnail, checks what it says of itself, and returns the colour of its middle.
func colour(t testing.TB, thumb *Thumbnail) color.NRGBA {
	t.Helper()
	img, format, err := image.Decode(bytes.NewReader(thumb.Data))
	if err != nil {
		t.Fatal(err)
	}
	if want := "image/" + format; thumb.ContentType != want {
		t.Errorf("content type %q of a %s", thumb.ContentType, format)
	}
	if b := img.Bounds(); b.Dx() != thumb.Width || b.Dy() != thumb.Height {
		t.Errorf("says %dx%d, is %v", thumb.Width, thumb.Height, b)
	}
	return color.NRGBAModel.Convert(img.At(thumb.Width/2, thumb.Height/2)).(color.NRGBA)
}

func isColour(t testing.TB, thumb *Thumbnail, want color.NRGBA) {
	t.Helper()
	got := colour(t, thumb)
	for _, d := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
		if d < -6 || d > 6 {
			t.Fatalf("colour %v, want %v", got, want)
		}
	}
}

// filesIn returns the names of all files below dir that are ours.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(d.Name()) > 64 {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func mustGetQuiet(t *testing.T, c *Cache, path string, size int) {
	if thumb, err := c.Get(t.Context(), "p", path, size); err != nil || len(thumb.Data) == 0 {
		t.Errorf("%s: %v", path, err)
	}
}

// gated returns an extractor that waits to be let through, and how many are in it.
func gated() (e Extractor, gate chan struct{}, inside *atomic.Int32) {
	gate, inside = make(chan struct{}), new(atomic.Int32)
	return ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
		inside.Add(1)
		defer inside.Add(-1)
		select {
		case <-gate:
			return extractImage(ctx, src)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}), gate, inside
}

// noisy makes a JPEG of w x h that does not compress well, as covers do not.
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

// replace removes the folder and puts something else in its place, again where the cache, which counts behind what it holds,
// wrote into the folder or made it anew meanwhile.
func replace(t *testing.T, dir string, put func() error) {
	t.Helper()
	eventually(t, dir+" is replaced", func() bool { return os.RemoveAll(dir) == nil && put() == nil })
}

// reexec returns this test as a process of its own, which finds args in THUMBCACHE_TEST_CHILD.
func reexec(t *testing.T, args string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command(exe, "-test.run=^"+name+"$")
	cmd.Env = append(os.Environ(), "THUMBCACHE_TEST_CHILD="+args)
	return cmd
}

// shelfOf returns a shelf of n pictures that can be told apart: number i is 30+i wide.
func shelfOf(n int) *shelf {
	s := newShelf()
	for i := range n {
		s.set(fmt.Sprint(i), tag("1"), plain(30+i, 30, red))
	}
	return s
}

// stored reports whether a good file for a picture of provider p lies in dir.
func isStored(dir, path string) bool {
	hash := store.Hash("p", path)
	data, err := os.ReadFile(filepath.Join(dir, hash[:2], hash+"_0.jpg"))
	if err != nil {
		return false
	}
	_, err = store.Unseal(data, &store.Key{})
	return err == nil
}

// A syncBuffer is a log.
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

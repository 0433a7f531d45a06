package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache/internal/store"
)

// tree makes a folder root with pictures, and beside it the folder outside with a secret picture.
func tree(t *testing.T) (root, outside string) {
	t.Helper()
	base := t.TempDir()
	root, outside = filepath.Join(base, "root"), filepath.Join(base, "outside")
	for _, dir := range []string{filepath.Join(root, "sub", "deep"), outside} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, c := range map[string]color.Color{
		filepath.Join(root, "a.png"): blue, filepath.Join(root, "sub", "deep", "b.png"): blue, filepath.Join(outside, "secret.png"): red,
	} {
		if err := os.WriteFile(path, plain(20, 20, c), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root, outside
}

// Files reaches nothing outside its root.
func TestFilesReach(t *testing.T) {
	root, outside := tree(t)
	paths := map[string]error{
		"a.png":                                nil,
		"./a.png":                              nil,
		"sub//deep/b.png":                      nil,
		"sub/../a.png":                         nil,
		filepath.Join(root, "a.png"):           nil,
		root + "/sub/../../outside/secret.png": fs.ErrInvalid,
		"../outside/secret.png":                fs.ErrInvalid,
		"sub/../../outside/secret.png":         fs.ErrInvalid,
		outside + "/secret.png":                fs.ErrInvalid,
		"/etc/passwd":                          fs.ErrInvalid,
		"":                                     fs.ErrInvalid,
		".":                                    fs.ErrInvalid,
		"sub":                                  fs.ErrInvalid,
		root:                                   fs.ErrInvalid,
		"a.png\x00":                            fs.ErrInvalid,
		strings.Repeat("x", 300):               fs.ErrInvalid,
		strings.Repeat("x/", 5000):             fs.ErrNotExist,
		"none.png":                             fs.ErrNotExist,
		"a.png/more":                           fs.ErrNotExist,
		"a.png/":                               fs.ErrNotExist,
		"..\\outside\\secret.png":              fs.ErrNotExist,
		"%2e%2e/outside/secret.png":            fs.ErrNotExist,
		"\xc0\xae\xc0\xae/outside":             fs.ErrNotExist,
	}
	if link := filepath.Join(root, "inside"); os.Symlink("a.png", link) == nil && isFile(link) {
		paths["inside"] = nil
		for _, link := range []struct {
			name, target, path string
			want               error
		}{
			{"sub/back", "../a.png", "sub/back", nil},
			{"up", "../outside", "up/secret.png", fs.ErrInvalid},
			{"abs", outside, "abs/secret.png", fs.ErrInvalid},
			{"etc", "/etc", "etc/passwd", fs.ErrInvalid},
			{"loop", "loop", "loop", fs.ErrInvalid},
			{"dangling", "nothing", "dangling", fs.ErrNotExist},
		} {
			if err := os.Symlink(link.target, filepath.Join(root, link.name)); err != nil {
				t.Fatal(err)
			}
			paths[link.path] = link.want
		}
	} else {
		t.Log("without symbolic links, which cannot be made here")
	}
	for _, f := range []Provider{Files(root), Files(t.TempDir(), root), Files(root, t.TempDir())} {
		checkReach(t, f, root, paths)
	}
}

// checkReach checks the errors of Stat and Open for paths below root.
func checkReach(t *testing.T, f Provider, root string, paths map[string]error) {
	t.Helper()
	ctx := t.Context()
	for path, want := range paths {
		_, statErr := f.Stat(ctx, path)
		src, openErr := f.Open(ctx, path)
		if src != nil {
			src.Content.Close()
		}
		for _, err := range []error{statErr, openErr} {
			// On Windows other names are never valid.
			refused := runtime.GOOS == "windows" && want != nil && (errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrNotExist))
			if !refused && (!errors.Is(err, want) || (err == nil) != (want == nil)) {
				t.Errorf("%.80q: %v, want %v", path, err, want)
			}
			if err != nil && strings.Contains(err.Error(), root) {
				t.Errorf("%.80q: the error contains the root: %v", path, err)
			}
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, statErr := f.Stat(canceled, "a.png")
	_, openErr := f.Open(canceled, "a.png")
	_, listErr := f.(Lister).List(canceled, "sub")
	for _, err := range []error{statErr, openErr, listErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// The files of a root that is missing cannot be reached, which is not the same as files that do not exist. The root may come
// back.
func TestFilesOffline(t *testing.T) {
	root, _ := tree(t)
	f := Files(root)
	away := root + "-away"
	if err := os.Rename(root, away); err != nil {
		t.Fatal(err)
	}
	_, statErr := f.Stat(t.Context(), "a.png")
	_, openErr := f.Open(t.Context(), "a.png")
	for _, err := range []error{statErr, openErr} {
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			t.Errorf("offline: %v", err)
		}
	}
	if err := os.Rename(away, root); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat(t.Context(), "a.png"); err != nil {
		t.Errorf("back: %v", err)
	}
}

// Only regular files are opened. A FIFO does not block.
func TestFilesSpecial(t *testing.T) {
	root, _ := tree(t)
	for name, args := range map[string][]string{"fifo": {"mkfifo"}, "zero": {"mknod", "", "c", "1", "5"}} {
		path := filepath.Join(root, name)
		cmd := exec.Command(args[0], append([]string{path}, args[min(len(args), 2):]...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("%s cannot be made here: %v %s", name, err, out)
			continue
		}
		done := make(chan error, 1)
		go func() {
			_, err := Files(root).Open(context.Background(), name)
			done <- err
		}()
		select {
		case err := <-done:
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s blocks", name)
		}
	}
}

// A link that is replaced between a check and its use never leads to the secret picture.
func TestFilesRace(t *testing.T) {
	root, outside := tree(t)
	link := filepath.Join(root, "link")
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			target := "a.png"
			if i%2 == 0 {
				target = filepath.Join(outside, "secret.png")
			}
			os.Symlink(target, link+".new")
			os.Rename(link+".new", link)
		}
	})
	secret := plain(20, 20, red)
	opened := 0
	for range 5000 {
		src, err := Files(root).Open(t.Context(), "link")
		if err != nil {
			continue
		}
		opened++
		data, _ := io.ReadAll(io.NewSectionReader(src.Content, 0, src.Size))
		src.Content.Close()
		if bytes.Equal(data, secret) {
			t.Error("the secret was read")
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("opened %d times", opened)
}

// Names with a meaning for a shell, for ffmpeg or in a URL are plain names.
func TestOddNames(t *testing.T) {
	root := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Dir: t.TempDir()})
	noColons := runtime.GOOS == "windows" // where they name another stream of a file
	for _, name := range []string{
		"-i", "-y", "concat:a|b.mp4", "subfile,,start,0,end,9,,:x", "data:image,x", "tcp:x", "pipe:0", "-", "Artist: Title.mp3",
		"img%03d.png", "a\nb", "\xff\xfe", "a b", "'\"`$(x)", strings.Repeat("n", 255), "http:", "*?",
	} {
		if noColons && strings.Contains(name, ":") {
			if _, err := c.Get(t.Context(), "p", name, 10); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: got %v", name, err)
			}
			continue
		}
		if err := os.WriteFile(filepath.Join(root, name), plain(20, 20, blue), 0o644); err != nil {
			t.Logf("%q is not a valid name here: %v", name, err)
			continue
		}
		checkColor(t, mustGet(t, c, "p", name, 10), blue)
	}
	os.MkdirAll(filepath.Join(root, "http:", "host"), 0o755)
	if _, err := c.Get(t.Context(), "p", "http://host/x", 10); !errors.Is(err, fs.ErrNotExist) && !noColons {
		t.Errorf("got %v", err)
	}
}

// FirstOf asks the next extractor only after ErrUnsupported.
func TestFirstOf(t *testing.T) {
	asked := ""
	says := func(name string, pic *Picture, err error) Extractor {
		return ExtractorFunc(func(context.Context, *Source) (*Picture, error) {
			asked += name
			return pic, err
		})
	}
	pic := &Picture{Data: []byte("x")}
	for _, test := range []struct {
		e     Extractor
		asked string
		pic   *Picture
		err   error
	}{
		{FirstOf(), "", nil, ErrUnsupported},
		{FirstOf(says("a", nil, ErrUnsupported), says("b", pic, nil), says("c", nil, nil)), "ab", pic, nil},
		{FirstOf(says("a", nil, ErrNoPicture), says("b", pic, nil)), "a", nil, ErrNoPicture},
		{FirstOf(says("a", nil, ErrUnsupported), says("b", nil, ErrCorrupt)), "ab", nil, ErrCorrupt},
		{FirstOf(says("a", nil, ErrUnsupported)), "a", nil, ErrUnsupported},
		{FirstOf(says("a", nil, syscall.EIO), says("b", pic, nil)), "a", nil, syscall.EIO},
	} {
		asked = ""
		got, err := test.e.Extract(t.Context(), nil)
		if got != test.pic || !errors.Is(err, test.err) || asked != test.asked {
			t.Errorf("asked %q, got %v, %v; want %+v", asked, got, err, test)
		}
	}
}

// openFunc is the Provider of Files with another Open.
type openFunc struct {
	Provider
	open func(ctx context.Context, path string) (*Source, error)
}

func (p openFunc) Open(ctx context.Context, path string) (*Source, error) { return p.open(ctx, path) }

func (p openFunc) List(ctx context.Context, path string) ([]string, error) {
	return p.Provider.(Lister).List(ctx, path)
}

// closer is content that counts its calls of Close.
type closer struct {
	io.ReaderAt
	closed int
}

func (c *closer) Close() error { c.closed++; return nil }

// A provider whose Open breaks its promises fails the request, and nothing is remembered.
func TestBadSource(t *testing.T) {
	root := t.TempDir()
	writeAlbum(t, root)
	picture := plain(20, 20, blue)
	for _, test := range []struct {
		name string
		open func(content *closer) (*Source, error)
		want error // nil: any error that says nothing about the media
	}{
		{"nothing", func(*closer) (*Source, error) { return nil, nil }, nil},
		{"no content", func(*closer) (*Source, error) { return &Source{Size: 10}, nil }, nil},
		{"a negative size", func(c *closer) (*Source, error) { return &Source{Size: -1, Content: c}, nil }, nil},
		{"a source and an error", func(c *closer) (*Source, error) { return &Source{Size: 10, Content: c}, syscall.EIO }, syscall.EIO},
		{"a source without content and an error", func(c *closer) (*Source, error) { return &Source{}, syscall.EIO }, syscall.EIO},
	} {
		for _, path := range []string{"album/own.png", "album/1.mp3", "album"} { // opened for itself, or for the folder's picture
			t.Run(test.name+"/"+path, func(t *testing.T) {
				bad, content := true, &closer{ReaderAt: bytes.NewReader(picture)}
				p := openFunc{Files(root), func(ctx context.Context, name string) (*Source, error) {
					if bad && name != "album/1.mp3" && name != "album" {
						return test.open(content)
					}
					return Files(root).Open(ctx, name)
				}}
				c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Workers: 1})
				_, err := c.Get(t.Context(), "p", path, 10)
				if err == nil || isPermanent(err) || test.want != nil && !errors.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
				if opened := test.want == syscall.EIO && strings.HasPrefix(test.name, "a source and"); opened != (content.closed == 1) {
					t.Errorf("closed %d times", content.closed)
				}
				bad = false
				mustGet(t, c, "p", path, 10)
			})
		}
	}
}

// Images refuses files that are too large before it reads them. A file that becomes shorter while it is read is not corrupt.
func TestImagesSize(t *testing.T) {
	data := plain(20, 20, red)
	for _, test := range []struct {
		size int64
		want error
	}{
		{int64(len(data)), nil},
		{maxImageFile + 1, ErrTooLarge},
		{math.MaxInt64, ErrTooLarge},
		{int64(len(data)) + 1, io.ErrUnexpectedEOF},
	} {
		pic, err := Images().Extract(t.Context(), &Source{Size: test.size, Content: &closer{ReaderAt: bytes.NewReader(data)}})
		if !errors.Is(err, test.want) || (pic == nil) == (test.want == nil) || isVerdict(err) {
			t.Errorf("size %d: %v, want %v", test.size, err, test.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Images().Extract(ctx, BytesSource("a", Stamp{}, data)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A source that cannot be read is not corrupt: it may be readable the next time.
func TestReadErrors(t *testing.T) {
	data := plain(30, 30, red)
	for _, e := range []Extractor{Images(), CoverArt()} {
		_, err := e.Extract(t.Context(), &Source{Size: int64(len(data)), Content: failing{}})
		if !errors.Is(err, syscall.EIO) || causeOf(err) != store.Picture {
			t.Errorf("got %v", err)
		}
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, syscall.EIO }

func (failing) Close() error { return nil }

// TestLibrary makes a thumbnail of every file in the sample library, and counts the processes.
func TestLibrary(t *testing.T) {
	root := filepath.Join("testdata", "library")
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Dir: t.TempDir()})
	_, err := exec.LookPath("ffmpeg")
	haveFFmpeg := err == nil
	seen := map[string]int{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		thumb, err := c.Get(t.Context(), "p", name, 100)
		kind := strings.ToLower(filepath.Ext(name))
		switch {
		case err == nil:
			if _, _, err := image.Decode(bytes.NewReader(thumb.Data)); err != nil || max(thumb.Width, thumb.Height) != 100 {
				t.Errorf("%s: %dx%d, %v", name, thumb.Width, thumb.Height, err)
			}
			seen[kind]++
		case errors.Is(err, ErrNoPicture):
			seen["none"]++
		case errors.Is(err, exec.ErrNotFound) && !haveFFmpeg:
			seen["ffmpeg"]++
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported):
			seen["broken"]++
		default:
			t.Errorf("%s: %v", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind, n := range map[string]int{".mp3": 3, ".flac": 2, ".m4a": 1, ".ogg": 1, ".opus": 1, ".jpg": 1, ".png": 1, "none": 1} {
		if seen[kind] < n {
			t.Errorf("%d of %s, want at least %d", seen[kind], kind, n)
		}
	}
	if !haveFFmpeg {
		return
	}
	// One process for the video, and two that ask ffmpeg for its features.
	if st := c.Stats(); st.Processes != 3 || st.ProcessesRunning != 0 {
		t.Errorf("%d processes, %d running", st.Processes, st.ProcessesRunning)
	}
}

// An extractor may hand over pixels. They are a picture like any other: one extraction for all sizes, and shared by equal sources.
func TestPictureImage(t *testing.T) {
	p := newTestProvider()
	for _, path := range []string{"a", "b", "half"} {
		p.set(path, tag("1"), []byte(path))
	}
	whole := image.NewRGBA(image.Rect(-30, 100, 50, 140))
	draw.Draw(whole, whole.Rect, image.NewUniform(red), image.Point{}, draw.Src)
	half := image.NewNRGBA(image.Rect(0, 0, 80, 40))
	draw.Draw(half, image.Rect(0, 0, 40, 40), image.NewUniform(red), image.Point{}, draw.Src)
	e := ExtractorFunc(func(_ context.Context, src *Source) (*Picture, error) {
		if src.Name == "half" {
			return &Picture{Image: half}, nil
		}
		return &Picture{Image: whole}, nil
	})
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: FirstOf(e, &FFmpeg{Path: "/no such file"}), Dir: t.TempDir()})
	thumb := mustGet(t, c, "p", "a", 20)
	if checkColor(t, thumb, red); thumb.Width != 20 || thumb.Height != 10 {
		t.Errorf("%d x %d", thumb.Width, thumb.Height)
	}
	mustGet(t, c, "p", "a", 40)
	if other := mustGet(t, c, "p", "b", 20); &other.Data[0] != &thumb.Data[0] || c.Stats().Extractions != 2 {
		t.Errorf("not shared: %+v", c.Stats())
	}
	if thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "half", Format: Auto}); err != nil || thumb.ContentType != "image/png" || thumb.Width != 80 {
		t.Errorf("transparent: %v, %+v", err, thumb)
	}
	if s := c.Stats(); s.Processes > 0 || s.Failures > 0 {
		t.Errorf("%+v", s)
	}
}

// An image of any kind fails its own request only.
func TestPictureImageHostile(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), []byte("a"))
	var img image.Image
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: ExtractorFunc(func(context.Context, *Source) (*Picture, error) {
		return &Picture{Image: img}, nil
	})})
	broken := image.NewRGBA(image.Rect(0, 0, 50, 50))
	broken.Pix = broken.Pix[:100]
	for name, hostile := range map[string]image.Image{
		"no pixels":   image.NewRGBA(image.Rectangle{}),
		"nil pointer": (*image.RGBA)(nil),
		"short":       broken,
		"nil inside":  struct{ image.Image }{},
		"infinite":    image.NewUniform(red),
		"huge":        &image.Gray{Rect: image.Rect(0, 0, 1<<24, 1<<24)},
	} {
		img = hostile
		_, err := c.Get(t.Context(), "p", "a", 20)
		if err == nil || isVerdict(err) {
			t.Errorf("%s: %v", name, err)
		}
		if tooLarge := name == "infinite" || name == "huge"; errors.Is(err, ErrTooLarge) != tooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	img = image.NewGray(image.Rect(0, 0, 30, 30))
	if _, err := c.Get(t.Context(), "p", "a", 20); err != nil {
		t.Error(err)
	}
}

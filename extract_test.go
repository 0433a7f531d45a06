package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"io"
	"io/fs"
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

// tree makes a root with a picture at several places and a secret picture outside.
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
		t.Log("without symbolic links, which there are none of here")
	}
	f := Files(root)
	ctx := t.Context()
	for path, want := range paths {
		_, statErr := f.Stat(ctx, path)
		src, openErr := f.Open(ctx, path)
		if src != nil {
			src.Content.Close()
		}
		for _, err := range []error{statErr, openErr} {
			// Windows has names that can be no file's where others have names that are none's.
			refused := runtime.GOOS == "windows" && want != nil && (errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrNotExist))
			if !refused && (!errors.Is(err, want) || (err == nil) != (want == nil)) {
				t.Errorf("%.80q: %v, want %v", path, err, want)
			}
			if err != nil && strings.Contains(err.Error(), root) {
				t.Errorf("%.80q: tells the root: %v", path, err)
			}
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.Stat(canceled, "a.png"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// A share that is not there is no missing file, and may come and go.
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

// Nothing but a regular file is opened, and a FIFO does not block.
func TestFilesSpecial(t *testing.T) {
	root, _ := tree(t)
	for name, args := range map[string][]string{"fifo": {"mkfifo"}, "zero": {"mknod", "", "c", "1", "5"}} {
		path := filepath.Join(root, name)
		cmd := exec.Command(args[0], append([]string{path}, args[min(len(args), 2):]...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("%s not tried: %v %s", name, err, out)
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
		case <-time.After(10 * time.Second):
			t.Fatalf("%s blocks", name)
		}
	}
}

// A link that is swapped between check and use never shows the secret.
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

// Names that mean something to a shell, to ffmpeg or to a URL are only names.
func TestOddNames(t *testing.T) {
	root := t.TempDir()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Dir: t.TempDir()})
	noColons := runtime.GOOS == "windows" // they name another stream of a file
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
			t.Logf("%q cannot be a name here: %v", name, err)
			continue
		}
		checkColor(t, mustGet(t, c, "p", name, 10), blue)
	}
	os.MkdirAll(filepath.Join(root, "http:", "host"), 0o755)
	if _, err := c.Get(t.Context(), "p", "http://host/x", 10); !errors.Is(err, fs.ErrNotExist) && !noColons {
		t.Errorf("got %v", err)
	}
}

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

// The folder's picture stands for the folder and for songs without a cover, is followed when it changes, and found when it
// comes.
func TestFolderArt(t *testing.T) {
	root := t.TempDir()
	write := func(name string, c color.Color) {
		t.Helper()
		name = filepath.Join(root, name)
		data := []byte("\xff\xfb\x90\x64" + strings.Repeat("\x00", 413)) // an MPEG frame
		data = append(data, data...)
		if c != nil {
			data = plain(20, 20, c)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	green := color.NRGBA{30, 150, 30, 255}
	write("bare/1.mp3", nil)
	write("album/1.mp3", nil)
	write("album/2.mp3", nil)
	write("album/own.png", green)
	write("album/Folder.JPG", red)
	write("album/AlbumArt_{x}_Large.jpg", green)
	write("top.mp3", nil)
	for _, test := range []struct {
		name string
		cfg  Config
		path string
		want *color.NRGBA
	}{
		{"beside a song", Config{}, "album/1.mp3", &red},
		{"of a folder", Config{}, "album", &red},
		{"of a folder by another name", Config{}, "album/", &red},
		{"a picture is its own", Config{}, "album/own.png", &green},
		{"folder first", Config{FolderFirst: true}, "album/own.png", &red},
		{"other names", Config{FolderArt: []string{"*large*"}}, "album/1.mp3", &green},
		{"no folder picture", Config{}, "bare/1.mp3", nil},
		{"a folder without", Config{}, "bare", nil},
		{"the root", Config{}, ".", nil},
		{"in the root", Config{}, "top.mp3", nil},
		{"off", Config{FolderArt: []string{}}, "album/1.mp3", nil},
	} {
		cfg := test.cfg
		cfg.Providers = map[string]Provider{"p": Files(root)}
		c := mustNew(t, cfg)
		thumb, err := c.Get(t.Context(), "p", test.path, 10)
		switch {
		case test.want == nil && !errors.Is(err, ErrNoPicture), test.want != nil && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != nil:
			checkColor(t, thumb, *test.want)
		}
	}
	// Nothing outside is reached by way of a folder.
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(filepath.Join(root, "bare"))}})
	for _, path := range []string{"..", "../album", filepath.Join(root, "album"), "/"} {
		if _, err := c.Get(t.Context(), "p", path, 10); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", path, err)
		}
	}

	// The choice holds for what is stored already.
	kept := t.TempDir()
	c = mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Dir: kept})
	checkColor(t, mustGet(t, c, "p", "album/own.png", 10), green)
	c.Close()
	c = mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Dir: kept, FolderFirst: true})
	for range 200 {
		if got := middleColor(t, mustGet(t, c, "p", "album/own.png", 10)); got.R > 150 {
			break
		}
		time.Sleep(5 * time.Millisecond) // it is looked at behind the request
	}
	checkColor(t, mustGet(t, c, "p", "album/own.png", 10), red)
	// One that may not be read is not the end of it.
	c = mustNew(t, Config{Providers: map[string]Provider{"p": &strict{Provider: Files(root), Lister: Files(root).(Lister), name: "album/Folder.JPG"}}})
	checkColor(t, mustGet(t, c, "p", "album/1.mp3", 10), green)

	// It comes, changes, is bettered and goes.
	dir := t.TempDir()
	cfg := Config{Providers: map[string]Provider{"p": Files(root)}, Dir: dir, Revalidate: time.Millisecond}
	c = mustNew(t, cfg)
	gets := func(want *color.NRGBA, what string) {
		t.Helper()
		for _, path := range []string{"bare/1.mp3", "bare"} {
			var err error
			for range 200 { // real files, real time: what is stale is served while it is looked at
				var thumb *Thumbnail
				time.Sleep(2 * time.Millisecond)
				thumb, err = c.Get(t.Context(), "p", path, 10)
				if want == nil && errors.Is(err, ErrNoPicture) {
					break
				}
				if err == nil && want != nil {
					if got := middleColor(t, thumb); max(got.R, want.R)-min(got.R, want.R) < 9 && max(got.B, want.B)-min(got.B, want.B) < 9 {
						break
					}
				}
				err = errors.Join(err, errors.New("not it"))
			}
			if err != nil && want != nil || want == nil && !errors.Is(err, ErrNoPicture) {
				t.Errorf("%s, %s: %v", what, path, err)
			}
		}
	}
	gets(nil, "none yet")
	write("bare/front.png", red)
	gets(&red, "it comes")
	write("bare/front.png", blue)
	gets(&blue, "it changes")
	write("bare/COVER.png", red)
	gets(&red, "a better one comes")
	c.Close()
	c = mustNew(t, cfg)
	gets(&red, "after a restart")
	os.WriteFile(filepath.Join(root, "bare/COVER.png"), []byte("<svg/>"), 0o644)
	gets(&blue, "the better one is no picture")
	os.Remove(filepath.Join(root, "bare/COVER.png"))
	os.Remove(filepath.Join(root, "bare/front.png"))
	gets(nil, "it goes")
}

// strict is a provider that refuses to open one file.
type strict struct {
	Provider
	Lister
	name string
}

func (s *strict) Open(ctx context.Context, path string) (*Source, error) {
	if path == s.name {
		return nil, fs.ErrPermission
	}
	return s.Provider.Open(ctx, path)
}

// A source that fails to be read is not broken: it fails today.
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

// TestLibrary gets every thumbnail of the sample library, and counts what that took.
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
	// One process for the video, and two to ask ffmpeg what it can do.
	if st := c.Stats(); st.Processes != 3 || st.ProcessesRunning != 0 {
		t.Errorf("%d processes, %d running", st.Processes, st.ProcessesRunning)
	}
}

package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.Stat(cancelled, "a.png"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
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
		isColour(t, mustGet(t, c, "p", name, 10), blue)
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
			isColour(t, thumb, *test.want)
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
	isColour(t, mustGet(t, c, "p", "album/own.png", 10), green)
	c.Close()
	c = mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Dir: kept, FolderFirst: true})
	for range 200 {
		if got := colour(t, mustGet(t, c, "p", "album/own.png", 10)); got.R > 150 {
			break
		}
		time.Sleep(5 * time.Millisecond) // it is looked at behind the request
	}
	isColour(t, mustGet(t, c, "p", "album/own.png", 10), red)
	// One that may not be read is not the end of it.
	c = mustNew(t, Config{Providers: map[string]Provider{"p": &strict{Provider: Files(root), Lister: Files(root).(Lister), name: "album/Folder.JPG"}}})
	isColour(t, mustGet(t, c, "p", "album/1.mp3", 10), green)

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
					if got := colour(t, thumb); max(got.R, want.R)-min(got.R, want.R) < 9 && max(got.B, want.B)-min(got.B, want.B) < 9 {
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
func (failing) Close() error                      { return nil }

// needFFmpeg skips a test where there is no ffmpeg, unless that was forbidden.
func needFFmpeg(t testing.TB) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
			t.Fatal(err)
		}
		t.Skip("ffmpeg is not installed")
	}
}

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

// standIn returns an FFmpeg that is a script, which is asked nothing but for pictures.
func standIn(t *testing.T, script string, processes int) *FFmpeg {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("scripts are no programs on Windows")
	}
	path := filepath.Join(t.TempDir(), "ffmpeg")
	script = "#!/bin/sh\ncase \"$*\" in *-protocols) echo 'Input: file Output: file'; exit;; *-filters) exit;; esac\n" + script + "\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return &FFmpeg{Path: path, Processes: processes}
}

// A provider whose media makes ffmpeg hang leaves a process to the others, also if it is warmed at the same time.
func TestSlowProviderAndWarm(t *testing.T) {
	slow, good := newShelf(), newShelf()
	for i := range 10 {
		slow.set(fmt.Sprint(i), tag("1"), []byte("slow film"))
	}
	good.set("a", tag("1"), []byte("some film"))
	c := mustNew(t, Config{
		Providers: map[string]Provider{"slow": slow, "good": good}, Workers: 8,
		Extractor: standIn(t, `case $(head -c 4) in slow) sleep 60; esac; echo 'x: Invalid data found' >&2; exit 1`, 2),
	})
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.Warm(ctx, "slow", slices.Values([]string{"0", "1", "2"}), 10) })
	eventually(t, "warm-up runs", func() bool { return c.Stats().ProcessesRunning == 1 })
	for i := range 7 {
		wg.Go(func() { c.Get(ctx, "slow", fmt.Sprint(3+i), 10) })
	}
	eventually(t, "people wait", func() bool { return c.Stats().InFlight > 3 })
	short, stop := context.WithTimeout(t.Context(), 15*time.Second)
	defer stop()
	if _, err := c.Get(short, "good", "a", 10); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	leave()
	wg.Wait()
}

// The wait for a process does not count as the time of making.
func TestWaitForProcess(t *testing.T) {
	s := newShelf()
	const films = 6
	for i := range films {
		s.set(fmt.Sprint(i), tag("1"), []byte("some film"))
	}
	c := mustNew(t, Config{
		Providers: map[string]Provider{"p": s}, Workers: films, Timeout: 3 * time.Second,
		Extractor: standIn(t, `sleep 0.7; echo 'x: Invalid data found' >&2; exit 1`, 1),
	})
	var wg sync.WaitGroup
	for i := range films {
		wg.Go(func() {
			if _, err := c.Get(t.Context(), "p", fmt.Sprint(i), 10); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// When the last one who waits has left, ffmpeg is gone within a second, with what it has started, and the next one starts
// afresh. Without ffmpeg the error says so.
func TestLeavingFFmpeg(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "ffmpeg")
	// It may write no file, so the processes are known by the name of the script.
	text := "#!/bin/sh\ntrap '' TERM INT\nsh -c 'sleep 600; :' " + script + " &\nwait\nwait\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil || runtime.GOOS == "windows" {
		t.Skip("without /proc there is no telling which processes live")
	}
	alive := func() (n int) {
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // of a zombie it is empty
		for _, line := range lines {
			if data, err := os.ReadFile(line); err == nil && bytes.Contains(data, []byte(script)) {
				n++
			}
		}
		return n
	}
	waitFor := func(what string, limit time.Duration, ok func() bool) {
		t.Helper()
		for start := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) { // processes are real
			if time.Since(start) > limit {
				t.Fatal(what)
			}
		}
	}
	s := newShelf()
	s.set("a", tag("1"), []byte("a film of a kind that nobody knows"))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: &FFmpeg{Path: script}})
	for range 2 {
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := c.Get(ctx, "p", "a", 10)
			done <- err
		}()
		waitFor("ffmpeg was not started", 10*time.Second, func() bool { return alive() == 2 })
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		waitFor("ffmpeg lives on", time.Second, func() bool { return alive() == 0 && c.Stats().ProcessesRunning == 0 })
	}
	if st := c.Stats(); st.Abandoned != 2 || st.Processes != 2 {
		t.Errorf("stats: %+v", st)
	}
	if err := os.Remove(script); err != nil {
		t.Fatal(err)
	}
	_, err := c.Get(t.Context(), "p", "a", 10)
	if !errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || HTTPStatus(err) != 503 || strings.Contains(err.Error(), dir) {
		t.Errorf("without ffmpeg: %v", err)
	}
}

// A video goes through ffmpeg, the limit holds, and what counts them is not lost when the extractor is wrapped.
func TestProcesses(t *testing.T) {
	needFFmpeg(t)
	root := t.TempDir()
	video := filepath.Join(root, "v.mp4")
	if out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x240:d=2", "-pix_fmt", "yuv420p", video).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(video)
	if err != nil {
		t.Fatal(err)
	}
	s := newShelf()
	names := make([]string, 12)
	for i := range names {
		names[i] = string(rune('a' + i))
		s.set(names[i], tag("1"), data)
	}
	ffmpeg := &FFmpeg{Processes: 2}
	c := mustNew(t, Config{
		Providers: map[string]Provider{"p": s, "f": Files(root)},
		Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) { return ffmpeg.Extract(ctx, src) }),
		Workers:   8,
	})
	mustGet(t, c, "f", "v.mp4", 100)
	var wg sync.WaitGroup
	var highest int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c.Stats().Extractions < 13 || c.Stats().InFlight > 0 {
			highest = max(highest, c.Stats().ProcessesRunning)
			time.Sleep(time.Millisecond) // processes are real
		}
	}()
	for _, name := range names {
		wg.Go(func() { mustGetQuiet(t, c, name, 100) })
	}
	wg.Wait()
	<-done
	if st := c.Stats(); highest < 1 || highest > 2 || st.Processes < 13 || st.ProcessesRunning != 0 {
		t.Errorf("at most %d at once; stats %+v", highest, st)
	}
}

// jpeg2000 returns a picture of one colour that Go cannot decode.
func jpeg2000(t testing.TB) []byte {
	t.Helper()
	needFFmpeg(t)
	cmd := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=red:size=64x48", "-frames:v", "1", "-c:v", "jpeg2000", "-f", "image2pipe", "-")
	data, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A picture that Go cannot decode is decoded by ffmpeg, once for all sizes, whoever found it.
func TestRescue(t *testing.T) {
	data := jpeg2000(t)
	s := newShelf()
	s.set("a", tag("1"), []byte("some song"))
	found := &Picture{Data: data} // the same one each time
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: FirstOf(
		ExtractorFunc(func(context.Context, *Source) (*Picture, error) { return found, nil }),
		&FFmpeg{},
	)})
	var wg sync.WaitGroup
	for size := 10; size < 14; size++ {
		wg.Go(func() {
			thumb, err := c.Get(t.Context(), "p", "a", size)
			if err != nil {
				t.Error(err)
				return
			}
			if thumb.Width != size {
				t.Errorf("width %d, want %d", thumb.Width, size)
			}
			isColour(t, thumb, color.NRGBA{254, 0, 0, 255})
		})
	}
	wg.Wait()
	const probes = 2
	if got := c.Stats(); got.Processes != 1+probes || got.Extractions != 1 {
		t.Errorf("%d processes and %d extractions, want 1 and 1, and %d that ask what ffmpeg can do", got.Processes, got.Extractions, probes)
	}
}

// What ffmpeg cannot decode either is remembered, over restarts too, until there is another ffmpeg.
func TestRescueRemembered(t *testing.T) {
	needFFmpeg(t)
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(own, program, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newShelf()
	s.set("a", tag("1"), []byte("some song"))
	extractions := 0
	cfg := Config{Providers: map[string]Provider{"p": s}, Dir: t.TempDir(), Extractor: FirstOf(
		ExtractorFunc(func(context.Context, *Source) (*Picture, error) {
			extractions++
			return &Picture{Data: []byte("no picture at all")}, nil
		}),
		&FFmpeg{Path: own},
	)}
	for _, step := range []struct {
		before func()
		want   int
	}{
		{func() {}, 1},
		{func() {}, 1},
		{func() { os.Chtimes(own, time.Time{}, time.Now().Add(-time.Hour)) }, 2},
		{func() {}, 2},
	} {
		step.before()
		c := mustNew(t, cfg)
		for range 2 {
			if _, err := c.Get(t.Context(), "p", "a", 10); !errors.Is(err, ErrUnsupported) {
				t.Errorf("got %v", err)
			}
		}
		c.Close()
		if extractions != step.want {
			t.Errorf("%d extractions, want %d", extractions, step.want)
		}
	}
}

// Without ffmpeg it is not known whether such a picture can be decoded; a damaged one is what it is.
func TestRescueWithoutFFmpeg(t *testing.T) {
	for _, test := range []struct {
		data   []byte
		status int
	}{
		{[]byte("\xff\x4f\xff\x51 JPEG 2000, or so it begins"), http.StatusServiceUnavailable},
		{noisy(50, 50, 50)[:30], http.StatusUnsupportedMediaType},
	} {
		s := newShelf()
		s.set("a", tag("1"), []byte("some song"))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Extractor: FirstOf(
			ExtractorFunc(func(context.Context, *Source) (*Picture, error) { return &Picture{Data: test.data}, nil }),
			&FFmpeg{Path: filepath.Join(t.TempDir(), "none")},
		)})
		for range 2 {
			if _, err := c.Get(t.Context(), "p", "a", 10); HTTPStatus(err) != test.status {
				t.Errorf("%.8q: %d, want %d: %v", test.data, HTTPStatus(err), test.status, err)
			}
		}
		if remembered := c.Stats().NegativeHits == 1; remembered != (test.status == http.StatusUnsupportedMediaType) {
			t.Errorf("%.8q: remembered is %v", test.data, remembered)
		}
	}
}

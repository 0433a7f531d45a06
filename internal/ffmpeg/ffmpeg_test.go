package ffmpeg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// needFFmpeg skips a test where there is no ffmpeg, unless THUMBCACHE_REQUIRE_FFMPEG=1 says that there has to be one.
func needFFmpeg(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		skip(t, "ffmpeg was not found")
	}
}

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// makeFile makes a file by running ffmpeg with args, which speak of files made before by their names.
func makeFile(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	needFFmpeg(t)
	cmd := exec.Command("ffmpeg", append(append([]string{"-nostdin", "-v", "error", "-y"}, args...), name)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("this ffmpeg cannot make %s: %v\n%s", name, err, out))
	}
	return filepath.Join(dir, name)
}

const fractal = "mandelbrot=s=320x180:r=25" // is nowhere black and never the same

func makePlain(t testing.TB, dir string) string {
	return makeFile(t, dir, "plain.mp4", "-f", "lavfi", "-i", fractal, "-t", "3",
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p")
}

func makeCover(t testing.TB, dir, name, source string) string {
	return makeFile(t, dir, name, "-f", "lavfi", "-i", source+"=s=120x100", "-frames:v", "1")
}

func extract(t testing.TB, tool *Tool, path string) ([]byte, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return tool.Extract(t.Context(), f, info.Size(), Caller{})
}

// system is the ffmpeg of the system, or another one that is to be tested. It is shared, so that it is asked only once what it
// can do.
var system = &Tool{Path: os.Getenv("THUMBCACHE_FFMPEG")}

func decode(t testing.TB, data []byte) image.Image {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal("not a picture:", err)
	}
	return img
}

func TestOneProcessPerFilm(t *testing.T) {
	dir := t.TempDir()
	plain := makePlain(t, dir)
	makeFile(t, dir, "plain.mkv", "-i", "plain.mp4", "-c", "copy")
	makeFile(t, dir, "plain.avi", "-i", "plain.mp4", "-c:v", "mpeg4")
	makeFile(t, dir, "one key.mp4", "-i", "plain.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "250")
	extract(t, system, plain) // which asks the binary what it can do
	for _, name := range []string{"plain.mp4", "plain.mkv", "plain.avi", "one key.mp4"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, _ := f.Stat()
		n := 0
		if _, err := system.Extract(t.Context(), f, info.Size(), Caller{Started: func() func() { n++; return func() {} }}); err != nil || n != 1 {
			t.Errorf("%s: %d processes, %v", name, n, err)
		}
	}
}

func TestCovers(t *testing.T) {
	dir := t.TempDir()
	makePlain(t, dir)
	front, err := os.ReadFile(makeCover(t, dir, "front.jpg", "testsrc"))
	if err != nil {
		t.Fatal(err)
	}
	makeCover(t, dir, "back.png", "smptebars")
	sine := []string{"-f", "lavfi", "-i", "sine=d=1"}
	attach := []string{"-i", "back.png", "-i", "front.jpg", "-map", "0", "-map", "1", "-map", "2", "-c:v", "copy",
		"-metadata:s:v:0", "comment=Cover (back)", "-metadata:s:v:1", "comment=Cover (front)"}
	for name, args := range map[string][]string{
		"song.mp3":  append(sine, attach...),
		"song.flac": append(append(sine, attach...), "-disposition:v", "attached_pic"),
		"film.mp4": {"-i", "plain.mp4", "-i", "front.jpg", "-map", "0", "-map", "1", "-c", "copy",
			"-disposition:v:1", "attached_pic"},
		"film.mkv": {"-i", "plain.mp4", "-c", "copy", "-attach", "back.png", "-metadata:s:t:0", "mimetype=image/png",
			"-attach", "front.jpg", "-metadata:s:t:1", "mimetype=image/jpeg", "-metadata:s:t:1", "filename=cover.jpg"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := extract(t, system, makeFile(t, dir, name, args...))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data, front) {
				t.Errorf("got %d bytes that are not the front cover", len(data))
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	dir := t.TempDir()
	plain, err := os.ReadFile(makePlain(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	sine := []string{"-f", "lavfi", "-i", "sine=d=1"}
	for name, args := range map[string][]string{
		"audio.mp4": sine, "audio.mka": sine, "audio.wav": sine, "audio.mp3": sine, "audio.ogg": sine,
	} {
		if _, err := extract(t, system, makeFile(t, dir, name, args...)); !errors.Is(err, ErrNoPicture) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	mdat := bytes.Index(plain, []byte("mdat"))
	moov := bytes.Index(plain, []byte("moov"))
	blank := bytes.Clone(plain)
	clear(blank[mdat+4 : moov-4])
	for _, tt := range []struct {
		name string
		data []byte
		want error
	}{
		{"cut off", plain[:len(plain)/2], ErrCorrupt},
		{"blank", blank, ErrCorrupt},
		{"empty", nil, ErrUnsupported},
		{"text", []byte(strings.Repeat("All work and no play. ", 100)), ErrUnsupported},
		{"zeros", make([]byte, 10000), ErrUnsupported},
		{"nothing but a header.mkv", []byte("\x1aE\xdf\xa3\x8bB\x82\x88matroska"), ErrUnsupported},
		{"damaged tiff", append([]byte("II*\x00"), make([]byte, 100)...), ErrCorrupt},
	} {
		_, err := system.Extract(t.Context(), bytes.NewReader(tt.data), int64(len(tt.data)), Caller{})
		if !errors.Is(err, tt.want) {
			e, _ := errors.AsType[*Error](err)
			t.Errorf("%s: got %v\n%+v", tt.name, err, e)
		}
	}
}

// The table of attacks: media that is really a list of other media. ffmpeg is given none of it, whatever the name says.
func TestAttacks(t *testing.T) {
	dir := t.TempDir()
	makePlain(t, dir)
	makeFile(t, dir, "secret.ts", "-i", "plain.mp4", "-c", "copy")
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var asked atomic.Int32
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			c.Close()
		}
	}()
	hls := "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%s\n#EXT-X-ENDLIST\n"
	dash := `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S">` +
		`<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>%s</BaseURL>` +
		`</Representation></AdaptationSet></Period></MPD>`
	web := "http://" + server.Addr().String() + "/secret.ts"
	for what, data := range map[string]string{
		"HLS":             fmt.Sprintf(hls, dir+"/secret.ts"),
		"HLS, relative":   fmt.Sprintf(hls, "secret.ts"),
		"HLS, file":       fmt.Sprintf(hls, "file://"+dir+"/secret.ts"),
		"HLS, http":       fmt.Sprintf(hls, web),
		"HLS, concat":     fmt.Sprintf(hls, "concat:"+dir+"/secret.ts|"+dir+"/secret.ts"),
		"ffconcat":        "ffconcat version 1.0\nfile secret.ts\n",
		"ffconcat, names": "ffconcat version 1.0\nfile '" + dir + "/secret.ts'\n",
		"DASH":            fmt.Sprintf(dash, dir+"/plain.mp4"),
		"DASH, http":      fmt.Sprintf(dash, web),
		"SVG": `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">` +
			`<image width="9" height="9" xlink:href="` + web + `"/><image width="9" height="9" xlink:href="file://` + dir + `/secret.ts"/></svg>`,
		"SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
	} {
		for _, name := range []string{"film.mp4", "film.m3u8"} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if data, err := extract(t, system, path); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s as %s: got %d bytes, %v", what, name, len(data), err)
			}
			os.Remove(path)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// Names that mean something to ffmpeg are names.
func TestNames(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("these are no names on Windows")
	}
	dir := t.TempDir()
	plain, err := os.ReadFile(makePlain(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"-y", "-i", "-", "concat:a|b", "subfile,,start,0,end,9,,:f", "data:text", "tcp:", "pipe:0", "Artist: Title.mp3", "img%03d.png",
		"two\nlines.mp4", "\xff\xfe.mp4", strings.Repeat("n", 255), "playlist.m3u8", "list.ffconcat",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, plain, 0o600); err != nil {
			t.Fatal(err)
		}
		if data, err := extract(t, system, path); err != nil {
			t.Errorf("%q: %v", name, err)
		} else {
			decode(t, data)
		}
	}
}

// Content that is no file goes through a temporary one, of which nothing is left.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	plain, err := os.ReadFile(makePlain(t, dir)) // whose index is at the end
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	size := int64(len(plain))
	data, err := system.Extract(t.Context(), bytes.NewReader(plain), size, Caller{})
	if err != nil {
		t.Fatal(err)
	}
	decode(t, data)

	broken := errors.New("offline")
	if _, err := system.Extract(t.Context(), failing{broken}, size, Caller{}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := system.Extract(t.Context(), failing{broken}, maxSpool+1, Caller{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("too large: got %v", err)
	}
	// Half of a film that has come is nothing to judge the film by.
	if _, err := system.Extract(t.Context(), bytes.NewReader(plain[:size/2]), size, Caller{}); !errors.Is(err, io.ErrUnexpectedEOF) || isSure(err) {
		t.Errorf("shorter than promised: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := system.Extract(ctx, bytes.NewReader(plain), size, Caller{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// The caller's own descriptor is left alone.
func TestOffset(t *testing.T) {
	f, err := os.Open(makePlain(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, _ := f.Stat()
	f.Seek(7, io.SeekStart)
	if _, err := system.Extract(t.Context(), f, info.Size(), Caller{}); err != nil {
		t.Error(err)
	}
	if n, _ := f.Seek(0, io.SeekCurrent); n != 7 {
		t.Errorf("the offset has become %d", n)
	}
}

// standIn is a program in the place of ffmpeg.
func standIn(t *testing.T, script string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("scripts are no programs on Windows")
	}
	path := filepath.Join(t.TempDir(), "ffmpeg")
	script = "#!/bin/sh\ncase \"$*\" in *-protocols) echo 'Input: file Output: file'; exit;; *-filters) exit;; esac\n" + script + "\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

var someMedia = bytes.Repeat([]byte("media"), 100)

func extractSome(ctx context.Context, tool *Tool) ([]byte, error) {
	return tool.Extract(ctx, bytes.NewReader(someMedia), int64(len(someMedia)), Caller{})
}

func isSure(err error) bool {
	return errors.Is(err, ErrNoPicture) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrCorrupt)
}

// Whatever the program does, it is an error of the moment unless it says clearly that the media is at fault.
func TestStandIns(t *testing.T) {
	listing := "echo 'Input #0, mov, from fd:\n  Duration: 00:00:03.00, start: 0\n  Stream #0:0: Video: h264, yuv420p, 64x64' >&2\n"
	for _, tt := range []struct{ name, script string }{
		{"nothing", "true"},
		{"failure", "exit 1"},
		{"text", "echo hello"},
		{"a film", "head -c 100000 " + os.Args[0]}, // or so
		{"the end of a picture", `printf 'junk\377\331'`},
		{"a flood", "yes"},
		{"a flood of messages", "yes >&2"},
		{"too old", "echo 'Unrecognized option max_pixels.' >&2; exit 1"},
		{"i/o error", listing + "echo 'fd:: Input/output error' >&2; exit 1"},
		{"killed", "kill -9 $$"},
		{"crash", "kill -SEGV $$"},
	} {
		_, err := extractSome(t.Context(), &Tool{Path: standIn(t, tt.script), Timeout: time.Second})
		if err == nil || isSure(err) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	broken := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho 'error while loading shared libraries' >&2; exit 127\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := extractSome(t.Context(), &Tool{Path: broken})
	if err == nil || isSure(err) {
		t.Errorf("broken: got %v", err)
	}
	_, err = extractSome(t.Context(), &Tool{Path: standIn(t, listing+`printf '\377\330\377cut off'`)})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("cut off: got %v", err)
	}
}

// X1: it hangs, ignores SIGTERM and has a child that holds the pipes. Nobody waits longer than the timeout says, and the slot
// is free again.
func TestTimeout(t *testing.T) {
	tool := &Tool{Path: standIn(t, `trap "" TERM; sleep 60 & wait`), Processes: 1, Timeout: 300 * time.Millisecond}
	for range 2 {
		start := time.Now()
		_, err := extractSome(t.Context(), tool)
		if !errors.Is(err, context.DeadlineExceeded) || isSure(err) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d > 5*time.Second { // 1.3s where nobody else is at work
			t.Errorf("it took %v", d)
		}
	}
}

// X6: nothing of the parent's environment, and the current folder is not looked for programs.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "1")
	path := standIn(t, "pwd >&2; env >&2; exit 1")
	_, err := extractSome(t.Context(), &Tool{Path: path})
	e, ok := errors.AsType[*Error](err)
	if !ok || bytes.Contains(e.Stderr, []byte("SECRET")) || !bytes.Contains(e.Stderr, []byte("LC_ALL=C\n")) || !bytes.HasPrefix(e.Stderr, []byte("/\n")) {
		t.Errorf("got %+v", e)
	}
	t.Chdir(filepath.Dir(path))
	for _, list := range []string{".", "", ":", "./"} {
		t.Setenv("PATH", list)
		if _, err := extractSome(t.Context(), &Tool{}); !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("PATH=%s: got %v", list, err)
		}
	}
}

// Only ffmpeg 6 and later can read a descriptor without opening it again.
func TestProtocol(t *testing.T) {
	for protocols, want := range map[string]string{
		"Input:\n fd\n file\nOutput:\n file": "-protocol_whitelist fd -fd 0 -i fd:",
		"Input:\n file\nOutput:\n fd":        "-protocol_whitelist file -i file:/",
	} {
		path := standIn(t, `echo "$@" >&2; exit 1`)
		script, _ := os.ReadFile(path)
		os.WriteFile(path, bytes.Replace(script, []byte("Input: file Output: file"), []byte(protocols), 1), 0o755)
		_, err := extractSome(t.Context(), &Tool{Path: path})
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(string(e.Stderr), want) {
			t.Errorf("got %+v, want %q", e, want)
		}
		if ok && strings.Contains(err.Error(), "whitelist") {
			t.Error("the text of the error quotes ffmpeg")
		}
	}
}

func TestNotFound(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, path := range []string{"", "ffmpeg", filepath.Join(t.TempDir(), "ffmpeg")} {
		_, err := extractSome(t.Context(), &Tool{Path: path})
		if !errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: got %v", path, err)
		}
	}

	// It comes, changes and goes.
	path := standIn(t, "echo hello")
	t.Setenv("PATH", filepath.Dir(path))
	tool := &Tool{}
	asked := func() int {
		n := 0
		tool.Extract(t.Context(), bytes.NewReader(someMedia), int64(len(someMedia)), Caller{Started: func() func() { n++; return func() {} }})
		return n
	}
	if n, m := asked(), asked(); n != m+2 {
		t.Errorf("%d processes, then %d; the binary should be asked once what it can do", n, m)
	}
	os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour))
	if n, m := asked(), asked(); n != m+2 {
		t.Errorf("%d processes, then %d; the binary has changed", n, m)
	}
	os.Remove(path)
	if _, err := extractSome(t.Context(), tool); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("removed: got %v", err)
	}
}

// X5: what is there but cannot be run, and what goes away while it runs.
func TestNotRunnable(t *testing.T) {
	path := standIn(t, "true")
	os.Chmod(path, 0o644)
	_, err := extractSome(t.Context(), &Tool{Path: path})
	if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), path) {
		t.Errorf("not executable: got %v", err)
	}
	os.WriteFile(path, []byte("\x7fELF of another world"), 0o755)
	os.Chmod(path, 0o755)
	_, err = extractSome(t.Context(), &Tool{Path: path})
	if err == nil || isSure(err) || errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), path) {
		t.Errorf("alien: got %v", err)
	}

	tool := &Tool{Path: standIn(t, "rm $0; sleep 0.1; echo 'Input/output error' >&2; exit 1")}
	if _, err = extractSome(t.Context(), tool); err == nil || isSure(err) || errors.Is(err, exec.ErrNotFound) {
		t.Errorf("removed while it runs: got %v", err)
	}
	if _, err = extractSome(t.Context(), tool); !errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("afterwards: got %v", err)
	}
}

func TestProcesses(t *testing.T) {
	tool := &Tool{Path: standIn(t, "sleep 0.01"), Processes: 3}
	var running, peak, total atomic.Int32
	started := func() func() {
		total.Add(1)
		n := running.Add(1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		return func() { running.Add(-1) }
	}
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			tool.Extract(t.Context(), bytes.NewReader(someMedia), int64(len(someMedia)), Caller{Started: started})
		})
	}
	wg.Wait()
	if peak.Load() > 3 || running.Load() != 0 || total.Load() < 40 {
		t.Errorf("%d at once, %d left, %d in all", peak.Load(), running.Load(), total.Load())
	}
}

// Who leaves while waiting for a slot is not kept; who leaves while ffmpeg runs takes it with him.
func TestCancel(t *testing.T) {
	tool := &Tool{Path: standIn(t, "sleep 60"), Processes: 1}
	ctx, cancel := context.WithCancel(t.Context())
	up, done := make(chan struct{}, 10), make(chan error)
	go func() {
		_, err := tool.Extract(ctx, bytes.NewReader(someMedia), int64(len(someMedia)), Caller{Started: func() func() { up <- struct{}{}; return func() {} }})
		done <- err
	}()
	<-up
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := extractSome(short, tool); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: got %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("running: got %v", err)
	}
	_, err := tool.Extract(ctx, bytes.NewReader(someMedia), int64(len(someMedia)), Caller{Started: func() func() {
		t.Error("started although nobody wants it")
		return func() {}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("afterwards: got %v", err)
	}
}

// A group whose media hangs in ffmpeg, or on its way to it, cannot keep the others from it.
func TestGroups(t *testing.T) {
	for _, processes := range []int{2, 3} {
		stuck := make(chan struct{})
		for what, media := range map[string]io.ReaderAt{"ffmpeg": strings.NewReader("slow"), "reading": stuckReader{stuck}} {
			tool := &Tool{Path: standIn(t, `case $(head -c 4) in slow) sleep 60; esac; exit 1`), Processes: processes}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			var running atomic.Int32
			started := func() func() { running.Add(1); return func() { running.Add(-1) } }
			for range 10 {
				wg.Go(func() { tool.Extract(ctx, media, 4, Caller{Groups: []string{"slow"}, Started: started}) })
			}
			for what == "ffmpeg" && running.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			for i := range 5 {
				short, stop := context.WithTimeout(t.Context(), 10*time.Second)
				if _, err := tool.Extract(short, strings.NewReader("fast"), 4, Caller{Groups: []string{"fast"}}); errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s is slow, %d processes: the %dth of another group could not get one", what, processes, i)
				}
				stop()
			}
			if n := running.Load(); n > max(1, int32(processes)-1) {
				t.Errorf("of %d processes a group has %d", processes, n)
			}
			cancel()
			if what == "reading" {
				close(stuck)
			}
			wg.Wait()
		}
	}
}

// A picture that is in memory does not wait for content that comes slowly, and who waits for a process says so.
func TestDecodeBesideSpooling(t *testing.T) {
	stuck := make(chan struct{})
	tool := &Tool{Path: standIn(t, "exit 1"), Processes: 1}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { tool.Extract(t.Context(), stuckReader{stuck}, 4, Caller{}) })
	}
	short, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	var waits, waited int
	by := Caller{Waits: func() func() { waits++; return func() { waited++ } }}
	if _, err := tool.Decode(short, []byte("\x89PNG\r\n\x1a\n"), by); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if waits != 1 || waited != 1 {
		t.Errorf("%d waits, %d ends", waits, waited)
	}
	close(stuck)
	wg.Wait()
}

// A stuckReader gives nothing until its channel is closed.
type stuckReader struct{ stuck chan struct{} }

func (r stuckReader) ReadAt([]byte, int64) (int, error) {
	<-r.stuck
	return 0, io.ErrUnexpectedEOF
}

// BenchmarkFrame compares the frame of a minute of 1080p with the best and the usual command line.
func BenchmarkFrame(b *testing.B) {
	dir := b.TempDir()
	path := makeFile(b, dir, "minute.mp4", "-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=25:d=60", "-c:v", "libx264", "-preset", "veryfast",
		"-pix_fmt", "yuv420p", "-movflags", "+faststart")
	if _, err := extract(b, system, path); err != nil {
		b.Fatal(err)
	}
	b.Run("ours", func(b *testing.B) {
		before := cpuTime()
		for b.Loop() {
			extract(b, system, path)
		}
		b.ReportMetric(float64((cpuTime()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
	})
	for name, args := range map[string][]string{
		"best": {"-v", "error", "-threads", "1", "-noaccurate_seek", "-skip_frame", "nokey", "-ss", "6", "-i", path, "-an", "-sn", "-dn",
			"-frames:v", "1", "-vf", "scale=1280:-2", "-f", "mjpeg", "-"},
		"usual": {"-v", "error", "-ss", "6", "-i", path, "-frames:v", "1", "-f", "mjpeg", "-"},
	} {
		b.Run(name, func(b *testing.B) {
			before := cpuTime()
			for b.Loop() {
				if err := exec.Command("ffmpeg", args...).Run(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpuTime is what this process and its children have used, where that can be known.
var cpuTime = func() time.Duration { return 0 }

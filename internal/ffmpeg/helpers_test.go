package ffmpeg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// isFull reports whether THUMBCACHE_FULL=1 asks for the long series of tests. It is not a variable, because "go test" only
// notices changes of environment variables that are read while tests run.
func isFull() bool { return os.Getenv("THUMBCACHE_FULL") == "1" }

// Some tests need a process of their own. It is this test binary, run with the name of a function in childModes.
const childEnv = "FFMPEG_TEST_CHILD"

var childModes = map[string]func(){}

func TestMain(m *testing.M) {
	if mode := childModes[os.Getenv(childEnv)]; mode != nil {
		mode()
		syscall.Exit(0) // os.Exit would print to standard error in a binary built with -cover
	}
	code := m.Run()
	if sharedDir != "" {
		os.RemoveAll(sharedDir)
	}
	os.Exit(code)
}

// needFFmpeg skips a test if there is no ffmpeg. With THUMBCACHE_REQUIRE_FFMPEG=1 the test fails instead.
func needFFmpeg(t testing.TB) {
	t.Helper()
	os.Getenv("THUMBCACHE_FFMPEG") // so that "go test" notices a change of it; see system
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

// runFFmpeg runs ffmpeg in dir.
func runFFmpeg(dir string, args ...string) error {
	ctx, stop := context.WithTimeout(context.Background(), awaitLimit)
	defer stop()
	cmd := exec.CommandContext(ctx, "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// makeFile makes a file by running ffmpeg with args in dir.
func makeFile(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	needFFmpeg(t)
	if err := runFFmpeg(dir, append(args, name)...); err != nil {
		skip(t, fmt.Sprintf("this ffmpeg cannot make %s: %v", name, err))
	}
	return filepath.Join(dir, name)
}

// makeFiles makes files in dir out of the same inputs. Each output has the arguments of ffmpeg for one file, the last of which is
// its name. One process makes all of them, because its start takes longer than most files. If that fails, each file has a
// process of its own, and those that this ffmpeg cannot make are missing; see madeFile.
func makeFiles(t testing.TB, dir string, inputs []string, outputs ...[]string) {
	t.Helper()
	needFFmpeg(t)
	if runFFmpeg(dir, slices.Concat(inputs, slices.Concat(outputs...))...) == nil {
		return
	}
	for _, args := range outputs {
		if err := runFFmpeg(dir, slices.Concat(inputs, args)...); err != nil {
			t.Logf("%q: %v", args, err)
			os.Remove(filepath.Join(dir, args[len(args)-1]))
		}
	}
}

// madeFile returns the path of a file that makeFiles has made.
func madeFile(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		skip(t, "this ffmpeg cannot make "+name)
	}
	return path
}

// sharedDir holds files that several tests read.
var sharedDir string

// plainVideo returns the path of plain.mp4, which lasts 3 seconds, shows a fractal that is never black and never the same, and
// has its index at the end. Tests must not write to its folder.
func plainVideo(t testing.TB) string {
	t.Helper()
	return plainVideoAs(t, "plain.mp4")
}

// plainVideoAs returns the path of plain.mp4, plain.mov, plain.mkv, plain.ts, plain.avi or "one key frame.mp4", which show the same.
func plainVideoAs(t testing.TB, name string) string {
	t.Helper()
	needFFmpeg(t)
	makePlainVideos(t)
	return madeFile(t, sharedDir, name)
}

var plainVideosOnce sync.Once

func makePlainVideos(t testing.TB) {
	plainVideosOnce.Do(func() {
		var err error
		if sharedDir, err = os.MkdirTemp("", "ffmpeg-test-*"); err != nil {
			t.Fatal(err)
		}
		h264 := []string{"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"}
		makeFile(t, sharedDir, "plain.mp4", append([]string{"-f", "lavfi", "-i", "mandelbrot=s=320x180:r=25", "-t", "3", "-g", "25"}, h264...)...)
		makeFiles(t, sharedDir, []string{"-i", "plain.mp4"},
			[]string{"-c", "copy", "-movflags", "+faststart", "plain.mov"}, []string{"-c", "copy", "plain.mkv"}, []string{"-c", "copy", "plain.ts"},
			[]string{"-c:v", "mpeg4", "plain.avi"}, append(h264, "-g", "250", "one key frame.mp4"))
	})
}

// makeCover writes a picture of 120 x 100 pixels with sharp edges, as a PNG or JPEG, and returns its path.
func makeCover(t testing.TB, dir, name string) string {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 120, 100))
	for i := range 120 * 100 {
		tile := i%120/10 + i/120/10*7
		copy(img.Pix[4*i:], []byte{byte(tile % 5 * 60), byte(tile % 3 * 120), byte(tile % 2 * 250), 255})
	}
	var b bytes.Buffer
	var err error
	if filepath.Ext(name) == ".png" {
		err = png.Encode(&b, img)
	} else {
		err = jpeg.Encode(&b, img, nil)
	}
	path := filepath.Join(dir, name)
	if err := errors.Join(err, os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// system is the ffmpeg of the system, or the one that THUMBCACHE_FFMPEG names. Tests share it, so that its abilities are probed
// only once.
var system = &Tool{Path: os.Getenv("THUMBCACHE_FFMPEG")}

// extractFile extracts the picture from the file at path.
func extractFile(t testing.TB, tool *Tool, path string, by Caller) ([]byte, error) {
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
	return tool.Extract(t.Context(), f, info.Size(), by)
}

// extract extracts the picture from the file at path.
func extract(t testing.TB, tool *Tool, path string) ([]byte, error) {
	t.Helper()
	return extractFile(t, tool, path, Caller{})
}

// extractCounted extracts the picture from the file at path, and counts the processes for it.
func extractCounted(t testing.TB, path string) (data []byte, processes int, err error) {
	t.Helper()
	probeSystem(t)
	data, err = extractFile(t, system, path, countProcesses(&processes))
	return data, processes, err
}

// countProcesses returns a Caller that counts processes in n.
func countProcesses(n *int) Caller {
	return Caller{Started: func() func() { *n++; return func() {} }}
}

// probeSystem makes sure that system has probed the binary, so that later calls start no processes for that.
func probeSystem(t testing.TB) {
	t.Helper()
	needFFmpeg(t)
	probeOnce.Do(func() { system.Decode(context.Background(), nil, Caller{}) })
}

var probeOnce sync.Once

// A gauge counts running processes and remembers the peak.
type gauge struct{ running, peak, total atomic.Int32 }

// started is a Caller.Started.
func (g *gauge) started() func() {
	g.total.Add(1)
	n := g.running.Add(1)
	for p := g.peak.Load(); n > p && !g.peak.CompareAndSwap(p, n); p = g.peak.Load() {
	}
	return func() { g.running.Add(-1) }
}

func decode(t testing.TB, data []byte) image.Image {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal("not a picture:", err)
	}
	return img
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fakeFFmpeg returns the path of a shell script that answers like ffmpeg when its abilities are probed, and otherwise runs
// the given commands.
func fakeFFmpeg(t *testing.T, script string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not run shell scripts")
	}
	path := filepath.Join(t.TempDir(), "ffmpeg")
	script = "#!/bin/sh\ncase \"$*\" in *-protocols) echo 'Input: file Output: file'; exit;; *-filters) exit;; esac\n" + script + "\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// someMedia is content for tests whose ffmpeg does not read it.
var someMedia = bytes.Repeat([]byte("media"), 100)

func extractSome(ctx context.Context, tool *Tool) ([]byte, error) {
	return extractSomeBy(ctx, tool, Caller{})
}

func extractSomeBy(ctx context.Context, tool *Tool, by Caller) ([]byte, error) {
	return tool.Extract(ctx, bytes.NewReader(someMedia), int64(len(someMedia)), by)
}

// messages returns what ffmpeg said, if err is an *Error.
func messages(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return string(e.Stderr)
	}
	return ""
}

// isPermanent reports whether err says that the media itself is the cause.
func isPermanent(err error) bool {
	return errors.Is(err, ErrNoPicture) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrCorrupt)
}

// awaitLimit keeps a failing test from hanging. It is far longer than any wait of a passing test.
const awaitLimit = time.Minute

// await waits until condition is true, and fails with a message if it stays false.
func await(t *testing.T, message string, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); time.Sleep(time.Millisecond) {
		if time.Since(start) > awaitLimit {
			t.Fatal(message)
		}
	}
}

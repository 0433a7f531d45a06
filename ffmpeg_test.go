package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache/internal/ffmpeg"
)

// needFFmpeg skips a test if ffmpeg is not installed. If THUMBCACHE_REQUIRE_FFMPEG is set, the test fails.
func needFFmpeg(t testing.TB) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
			t.Fatal(err)
		}
		t.Skip("ffmpeg is not installed")
	}
}

// writeProgram writes an executable file. No process is started meanwhile: it would inherit the open file, and while it has it
// the program could not be run ("text file busy").
func writeProgram(t *testing.T, path string, program []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
}

// fakeFFmpeg returns an FFmpeg that runs a shell script for each picture. It reports the features of an ffmpeg without running
// the script.
func fakeFFmpeg(t *testing.T, script string, processes int) *FFmpeg {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not run shell scripts")
	}
	path := filepath.Join(t.TempDir(), "ffmpeg")
	script = "#!/bin/sh\ncase \"$*\" in *-protocols) echo 'Input: file Output: file'; exit;; *-filters) exit;; esac\n" + script + "\n"
	writeProgram(t, path, []byte(script))
	return &FFmpeg{Path: path, Processes: processes}
}

// stderrOf returns what ffmpeg has said about a failure, on a line of its own.
func stderrOf(err error) string {
	if e, ok := errors.AsType[*ffmpeg.Error](err); ok {
		return fmt.Sprintf("\nffmpeg: %q", e.Stderr)
	}
	return ""
}

// A picture that was put beside a film is preferred to a frame. It costs no process.
func TestPosterOfFilm(t *testing.T) {
	root := writeFiles(t, map[string][]byte{"film.mkv": []byte("some film"), "film-poster.png": plain(20, 20, red)})
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Extractor: FirstOf(Images(), fakeFFmpeg(t, "exit 1", 1))})
	checkColor(t, mustGet(t, c, "p", "film.mkv", 10), red)
	if st := c.Stats(); st.Processes != 0 {
		t.Errorf("%d processes, want 0", st.Processes)
	}
}

// A provider whose media makes ffmpeg hang leaves a process to the other providers, even if it is warmed at the same time.
func TestSlowProviderAndWarm(t *testing.T) {
	t.Parallel()
	slow, good := newTestProvider(), newTestProvider()
	for i := range 10 {
		slow.set(fmt.Sprint(i), tag("1"), []byte("slow film"))
	}
	good.set("a", tag("1"), []byte("some film"))
	ffmpeg := fakeFFmpeg(t, `case $(head -c 4) in slow) sleep 600; esac; echo 'x: Invalid data found' >&2; exit 1`, 2)
	ffmpeg.Timeout = 10 * time.Minute
	c := mustNew(t, Config{
		Providers: map[string]Provider{"slow": slow, "good": good}, Workers: 8, Extractor: ffmpeg, Timeout: 10 * time.Minute,
	})
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.Warm(ctx, "slow", slices.Values([]string{"0", "1", "2"}), 10) })
	eventually(t, "Warm runs a process", func() bool { return c.Stats().ProcessesRunning == 1 })
	for i := range 7 {
		wg.Go(func() { c.Get(ctx, "slow", fmt.Sprint(3+i), 10) })
	}
	eventually(t, "requests wait", func() bool { return c.Stats().InFlight > 3 })
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Get(short, "good", "a", 10); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	leave()
	wg.Wait()
}

// Waiting for a process does not count as part of Timeout.
func TestWaitForProcess(t *testing.T) {
	t.Parallel()
	p := newTestProvider()
	p.set("slow", tag("1"), []byte("slow film"))
	films := numbers(6)
	for _, path := range films {
		p.set(path, tag("1"), []byte("some film"))
	}
	ffmpeg := fakeFFmpeg(t, `case $(head -c 4) in slow) sleep 600; esac; echo 'x: Invalid data found' >&2; exit 1`, 1)
	ffmpeg.Timeout = 10 * time.Minute
	cfg := Config{Providers: map[string]Provider{"p": p}, Workers: len(films), Extractor: ffmpeg, Timeout: 10 * time.Minute}
	slow := mustNew(t, cfg)
	cfg.Timeout = 8 * time.Second // a busy machine takes seconds to start a process
	c := mustNew(t, cfg)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var wg sync.WaitGroup
	wg.Go(func() { slow.Get(ctx, "p", "slow", 10) })
	eventually(t, "the only process runs", func() bool { return slow.Stats().ProcessesRunning == 1 })
	for _, path := range films {
		wg.Go(func() {
			if _, err := c.Get(t.Context(), "p", path, 10); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: %v%s", path, err, stderrOf(err))
			}
		})
	}
	eventually(t, "the films wait", func() bool { return c.Stats().Extractions == uint64(len(films)) })
	time.AfterFunc(cfg.Timeout+time.Second, leave) // when a Timeout that counted the wait would have passed
	wg.Wait()
}

// When the last caller leaves, ffmpeg is killed with all processes that it has started. The next caller starts it again. If
// ffmpeg is missing, the error says so.
func TestLastCallerLeavesFFmpeg(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "ffmpeg")
	// The script may not write files, so its processes are recognized by its name in their arguments.
	text := "#!/bin/sh\ntrap '' TERM INT\nsh -c 'sleep 600; :' " + script + " &\nwait\nwait\n"
	writeProgram(t, script, []byte(text))
	if _, err := os.Stat("/proc/self/stat"); err != nil || runtime.GOOS == "windows" {
		t.Skip("without /proc the processes cannot be seen")
	}
	alive := func() (n int) {
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // empty for a zombie
		for _, line := range lines {
			if data, err := os.ReadFile(line); err == nil && bytes.Contains(data, []byte(script)) {
				n++
			}
		}
		return n
	}
	p := newTestProvider()
	p.set("a", tag("1"), []byte("a film of an unknown kind"))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: &FFmpeg{Path: script}})
	for range 2 {
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := c.Get(ctx, "p", "a", 10)
			done <- err
		}()
		eventually(t, "ffmpeg runs", func() bool { return alive() == 2 })
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		eventually(t, "ffmpeg is gone", func() bool { return alive() == 0 && c.Stats().ProcessesRunning == 0 })
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

// ffmpeg makes pictures of videos. The limit of its processes holds, and they are counted even if the FFmpeg is wrapped in
// another Extractor.
func TestProcesses(t *testing.T) {
	t.Parallel()
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
	s := newTestProvider()
	names := make([]string, series(4, 12))
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
		for c.Stats().Extractions <= uint64(len(names)) || c.Stats().InFlight > 0 {
			highest = max(highest, c.Stats().ProcessesRunning)
			time.Sleep(time.Millisecond)
		}
	}()
	for _, name := range names {
		wg.Go(func() { tryGet(t, c, name, 100) })
	}
	wg.Wait()
	<-done
	if st := c.Stats(); highest < 1 || highest > 2 || st.Processes <= uint64(len(names)) || st.ProcessesRunning != 0 {
		t.Errorf("at most %d processes at the same time; stats: %+v", highest, st)
	}
}

// jpeg2000 returns a picture of one color that Go cannot decode.
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

// ffmpeg decodes a picture that Go cannot decode, once for all sizes, whichever extractor found the picture.
func TestRescue(t *testing.T) {
	t.Parallel()
	data := jpeg2000(t)
	p := newTestProvider()
	p.set("a", tag("1"), []byte("some song"))
	found := &Picture{Data: data} // returned by each call
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: FirstOf(
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
			checkColor(t, thumb, color.NRGBA{254, 0, 0, 255})
		})
	}
	wg.Wait()
	const probes = 2
	if got := c.Stats(); got.Processes != 1+probes || got.Extractions != 1 {
		t.Errorf("%d processes and %d extractions, want 1 and 1, and %d processes that ask ffmpeg for its features", got.Processes, got.Extractions, probes)
	}
}

// A picture that ffmpeg cannot decode either is remembered, also over a restart, until another ffmpeg is installed.
func TestRescueRemembered(t *testing.T) {
	t.Parallel()
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
	writeProgram(t, own, program)
	p := newTestProvider()
	p.set("a", tag("1"), []byte("some song"))
	extractions := 0
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: FirstOf(
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

// Without ffmpeg it is not known whether a picture of an unknown kind can be decoded, so the failure is not remembered. A
// damaged picture of a known kind is corrupt.
func TestRescueWithoutFFmpeg(t *testing.T) {
	for _, test := range []struct {
		data   []byte
		status int
	}{
		{[]byte("\xff\x4f\xff\x51 begins like JPEG 2000"), http.StatusServiceUnavailable},
		{noisy(50, 50, 50)[:30], http.StatusUnsupportedMediaType},
	} {
		p := newTestProvider()
		p.set("a", tag("1"), []byte("some song"))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Extractor: FirstOf(
			ExtractorFunc(func(context.Context, *Source) (*Picture, error) { return &Picture{Data: test.data}, nil }),
			&FFmpeg{Path: filepath.Join(t.TempDir(), "none")},
		)})
		for range 2 {
			if _, err := c.Get(t.Context(), "p", "a", 10); HTTPStatus(err) != test.status {
				t.Errorf("%.8q: %d, want %d: %v", test.data, HTTPStatus(err), test.status, err)
			}
		}
		if remembered := c.Stats().NegativeHits == 1; remembered != (test.status == http.StatusUnsupportedMediaType) {
			t.Errorf("%.8q: remembered: %v", test.data, remembered)
		}
	}
}

package ffmpeg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOneProcessPerVideo(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain.mp4", "plain.mkv", "plain.avi", "one key frame.mp4"} {
		if _, n, err := extractCounted(t, plainVideoAs(t, name)); err != nil || n != 1 {
			t.Errorf("%s: %d processes, %v", name, n, err)
		}
	}
}

// The front cover comes out unchanged.
func TestCovers(t *testing.T) {
	t.Parallel()
	dir, plain := t.TempDir(), plainVideo(t)
	front := readFile(t, makeCover(t, dir, "front.jpg"))
	makeCover(t, dir, "back.png")
	attach := []string{"-map", "0", "-map", "1", "-map", "2", "-c:v", "copy",
		"-metadata:s:v:0", "comment=Cover (back)", "-metadata:s:v:1", "comment=Cover (front)"}
	makeFiles(t, dir, []string{"-f", "lavfi", "-i", "sine=d=1", "-i", "back.png", "-i", "front.jpg"},
		slices.Concat(attach, []string{"song.mp3"}), slices.Concat(attach, []string{"-disposition:v", "attached_pic", "song.flac"}))
	makeFiles(t, dir, []string{"-i", plain, "-i", "front.jpg"},
		[]string{"-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic", "video.mp4"},
		[]string{"-map", "0", "-c", "copy", "-attach", "back.png", "-metadata:s:t:0", "mimetype=image/png",
			"-attach", "front.jpg", "-metadata:s:t:1", "mimetype=image/jpeg", "-metadata:s:t:1", "filename=cover.jpg", "video.mkv"})
	for _, name := range []string{"song.mp3", "song.flac", "video.mp4", "video.mkv"} {
		t.Run(name, func(t *testing.T) {
			data, err := extract(t, system, madeFile(t, dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data, front) {
				t.Errorf("got %d bytes other than the front cover", len(data))
			}
		})
	}
}

// Media without a picture that can be decoded have a permanent error, and cost few processes.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	probeSystem(t)
	dir := t.TempDir()
	plain := readFile(t, plainVideo(t))
	sounds := []string{"audio.mp4", "audio.wav", "audio.mka", "audio.mp3", "audio.ogg"}
	if !isFull() {
		sounds = sounds[:2]
	}
	var outputs [][]string
	for _, name := range sounds {
		outputs = append(outputs, []string{name})
	}
	makeFiles(t, dir, []string{"-f", "lavfi", "-i", "sine=d=1"}, outputs...)
	for _, name := range sounds {
		if _, err := extract(t, system, madeFile(t, dir, name)); !errors.Is(err, ErrNoPicture) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	mdat, moov := bytes.Index(plain, []byte("mdat")), bytes.Index(plain, []byte("moov"))
	blank := bytes.Clone(plain)
	clear(blank[mdat+4 : moov-4])
	stream := readFile(t, plainVideoAs(t, "plain.ts"))
	for n := 188; n+188 <= len(stream); n += 188 { // blanks the packets of the video, which has ID 0x100
		if stream[n+1]&0x1f == 1 && stream[n+2] == 0 {
			clear(stream[n+32 : n+188])
		}
	}
	for _, tt := range []struct {
		name string
		data []byte
		want error // nil if versions of ffmpeg differ in it
		most int   // processes
	}{
		{"unknown codec.mp4", bytes.ReplaceAll(plain, []byte("avc1"), []byte("none")), nil, 1},
		{"blank.mp4", blank, ErrCorrupt, 2},
		{"truncated.mp4", plain[:moov-4], ErrCorrupt, 1},
		{"blank.ts", stream, nil, 3},
		{"empty", nil, ErrUnsupported, 2},
		{"text", []byte(strings.Repeat("All work and no play. ", 100)), ErrUnsupported, 2},
		{"zeros", make([]byte, 10000), ErrUnsupported, 2},
		{"only a header.mkv", []byte("\x1aE\xdf\xa3\x8bB\x82\x88matroska"), ErrUnsupported, 2},
		{"damaged tiff", append([]byte("II*\x00"), make([]byte, 100)...), ErrCorrupt, 2},
	} {
		n := 0
		_, err := system.Extract(t.Context(), bytes.NewReader(tt.data), int64(len(tt.data)), countProcesses(&n))
		if !isPermanent(err) || tt.want != nil && !errors.Is(err, tt.want) || n > tt.most {
			t.Errorf("%s: %d processes, want at most %d; got %v, want %v\n%s", tt.name, n, tt.most, err, tt.want, messages(err))
		}
	}
}

// A file that is a list of other media is refused, whatever its name, and nothing that it names is opened.
func TestPlaylists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for secret, video := range map[string]string{"secret.ts": "plain.ts", "secret.mp4": "plain.mp4"} {
		if err := os.WriteFile(filepath.Join(dir, secret), readFile(t, plainVideoAs(t, video)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var connections atomic.Int32
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			c.Close()
		}
	}()
	hls := "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%s\n#EXT-X-ENDLIST\n"
	dash := `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S">` +
		`<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>%s</BaseURL>` +
		`</Representation></AdaptationSet></Period></MPD>`
	web := "http://" + server.Addr().String() + "/secret.ts"
	for kind, data := range map[string]string{
		"HLS":             fmt.Sprintf(hls, dir+"/secret.ts"),
		"HLS, relative":   fmt.Sprintf(hls, "secret.ts"),
		"HLS, file":       fmt.Sprintf(hls, "file://"+dir+"/secret.ts"),
		"HLS, http":       fmt.Sprintf(hls, web),
		"HLS, concat":     fmt.Sprintf(hls, "concat:"+dir+"/secret.ts|"+dir+"/secret.ts"),
		"ffconcat":        "ffconcat version 1.0\nfile secret.ts\n",
		"ffconcat, names": "ffconcat version 1.0\nfile '" + dir + "/secret.ts'\n",
		"DASH":            fmt.Sprintf(dash, dir+"/secret.mp4"),
		"DASH, http":      fmt.Sprintf(dash, web),
		"SVG": `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">` +
			`<image width="9" height="9" xlink:href="` + web + `"/><image width="9" height="9" xlink:href="file://` + dir + `/secret.ts"/></svg>`,
		"SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
	} {
		names := []string{"video.mp4"} // versions of ffmpeg differ in the names that they accept
		if isFull() {
			names = append(names, "video.m3u8", "video.ts")
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if data, err := extract(t, system, path); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s as %s: got %d bytes, %v", kind, name, len(data), err)
			}
			os.Remove(path)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// File names that ffmpeg would interpret have no effect.
func TestNames(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not allow these names")
	}
	dir := t.TempDir()
	plain := plainVideo(t)
	for i, name := range []string{
		"-y", "-i", "-", "concat:a|b", "subfile,,start,0,end,9,,:f", "data:text", "tcp:", "pipe:0", "Artist: Title.mp3", "img%03d.png",
		"two\nlines.mp4", "\xff\xfe.mp4", strings.Repeat("n", 255), "playlist.m3u8", "list.ffconcat",
	} {
		if !isFull() && i%5 != 0 {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.Link(plain, path); err != nil {
			t.Fatal(err)
		}
		if data, err := extract(t, system, path); err != nil {
			t.Errorf("%q: %v", name, err)
		} else {
			decode(t, data)
		}
	}
}

// Content that is not a file goes through a temporary file, which is removed.
func TestSpool(t *testing.T) {
	plain := readFile(t, plainVideo(t))
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	size := int64(len(plain))
	data, err := system.Extract(t.Context(), bytes.NewReader(plain), size, Caller{})
	if err != nil {
		t.Fatal(err)
	}
	decode(t, data)

	offline := errors.New("offline")
	if _, err := system.Extract(t.Context(), failingReader{offline}, size, Caller{}); !errors.Is(err, offline) {
		t.Errorf("got %v", err)
	}
	if _, err := system.Extract(t.Context(), failingReader{offline}, maxSpool+1, Caller{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("too large: got %v", err)
	}
	// Content that is shorter than its size allows no permanent verdict.
	_, err = system.Extract(t.Context(), bytes.NewReader(plain[:size/2]), size, Caller{})
	if !errors.Is(err, io.ErrUnexpectedEOF) || isPermanent(err) {
		t.Errorf("shorter than its size: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := system.Extract(ctx, bytes.NewReader(plain), size, Caller{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(temp); len(files) != 0 {
		t.Errorf("temporary files leaked: %v", files)
	}
}

// Without a writable folder for temporary files, content goes to memory on Linux, then to TempDirs.
func TestNoTempDir(t *testing.T) {
	needFFmpeg(t)
	plain := readFile(t, plainVideo(t))
	missing, spare := filepath.Join(t.TempDir(), "missing"), t.TempDir()
	unwritable := []string{missing}
	if runtime.GOOS == "linux" {
		unwritable = append(unwritable, "/proc") // even root cannot write there
		if isFull() {
			unwritable = append(unwritable, "/sys")
		}
	}
	tool := &Tool{Path: system.Path, TempDirs: []string{missing, spare}}
	for _, dir := range unwritable {
		t.Setenv("TMPDIR", dir)
		t.Setenv("TMP", dir)
		data, err := tool.Extract(t.Context(), bytes.NewReader(plain), int64(len(plain)), Caller{})
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		decode(t, data)
		if _, err := tool.Decode(t.Context(), bmp(40, 30, 12), Caller{}); err != nil {
			t.Errorf("%s: Decode: %v", dir, err)
		}

		// Large content never goes to memory.
		in, err := createSpool(maxMemorySpool+1, tool.TempDirs)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(in.Name(), spare) {
			t.Errorf("%s: got %s, want a file in %s", dir, in.Name(), spare)
		}
		in.close()
		_, err = createSpool(maxMemorySpool+1, []string{missing})
		if err == nil || !strings.Contains(err.Error(), "no folder for temporary files") || strings.Contains(err.Error(), dir) ||
			isPermanent(err) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v", dir, err)
		}
	}
	if files, _ := os.ReadDir(spare); len(files) != 0 {
		t.Errorf("temporary files leaked: %v", files)
	}
}

// A failingReader returns an error from every call.
type failingReader struct{ err error }

func (r failingReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// Extract does not move the offset of the caller's file.
func TestOffset(t *testing.T) {
	f, err := os.Open(plainVideo(t))
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
		t.Errorf("the offset is %d, want 7", n)
	}
}

// Every failure of the program is temporary unless its messages clearly blame the media.
func TestFailingPrograms(t *testing.T) {
	t.Parallel()
	listing := "echo 'Input #0, mov, from fd:\n  Duration: 00:00:03.00, start: 0\n  Stream #0:0: Video: h264, yuv420p, 64x64' >&2\n"
	for _, tt := range []struct{ name, script string }{
		{"nothing", "true"},
		{"failure", "exit 1"},
		{"text", "echo hello"},
		{"binary data", "head -c 100000 " + os.Args[0]},
		{"a picture without a start", `printf 'junk\377\331'`},
		{"endless output", "yes"},
		{"endless messages", "yes >&2"},
		{"too old", "echo 'Unrecognized option max_pixels.' >&2; exit 1"},
		{"i/o error", listing + "echo 'fd:: Input/output error' >&2; exit 1"},
		{"killed", "kill -9 $$"},
		{"crash", "kill -SEGV $$"},
	} {
		limit := time.Minute
		if tt.name == "endless messages" { // nothing but the limit ends it
			limit = 200 * time.Millisecond
		}
		_, err := extractSome(t.Context(), &Tool{Path: fakeFFmpeg(t, tt.script), Timeout: limit})
		if err == nil || isPermanent(err) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	broken := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho 'error while loading shared libraries' >&2; exit 127\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := extractSome(t.Context(), &Tool{Path: broken})
	if err == nil || isPermanent(err) {
		t.Errorf("broken: got %v", err)
	}
	_, err = extractSome(t.Context(), &Tool{Path: fakeFFmpeg(t, listing+`printf '\377\330\377truncated'`)})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("truncated cover: got %v", err)
	}
}

// The timeout ends a program that hangs, ignores SIGTERM and has a child that holds its pipes. Its slot becomes free.
func TestTimeout(t *testing.T) {
	t.Parallel()
	tool := &Tool{Path: fakeFFmpeg(t, `trap "" TERM; sleep 3600 & wait`), Processes: 1, Timeout: 300 * time.Millisecond}
	for range 2 {
		start := time.Now()
		_, err := extractSome(t.Context(), tool)
		if !errors.Is(err, context.DeadlineExceeded) || isPermanent(err) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d > awaitLimit/2 { // the program would run for an hour
			t.Errorf("Extract took %v", d)
		}
	}
}

// A frame that was found before the timeout is used if it is visible.
func TestTimeoutWithFrame(t *testing.T) {
	t.Parallel()
	path := plainVideo(t)
	frame := paint(t, tiles(9, 9)) // blurred, so that the search goes on
	name := filepath.Join(t.TempDir(), "frame.jpg")
	if err := os.WriteFile(name, frame, 0o600); err != nil {
		t.Fatal(err)
	}
	listing := "echo 'Input #0, mov, from fd:\n  Stream #0:0: Video: h264, yuv420p, 64x64' >&2\n"
	data, err := extract(t, &Tool{Path: fakeFFmpeg(t, listing+"cat "+name+"; sleep 3600"), Timeout: 3 * time.Second}, path)
	if err != nil || !bytes.Equal(data, frame) {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
}

// The program gets no environment variable of the parent, and is never looked for in the current folder.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "1")
	path := fakeFFmpeg(t, "pwd >&2; env >&2; exit 1")
	_, err := extractSome(t.Context(), &Tool{Path: path})
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	if said := string(e.Stderr); strings.Contains(said, "SECRET") || !strings.Contains(said, "LC_ALL=C\n") || !strings.HasPrefix(said, "/\n") {
		t.Errorf("got %s", said)
	}
	t.Chdir(filepath.Dir(path))
	for _, list := range []string{".", "", ":", "./"} {
		t.Setenv("PATH", list)
		if _, err := extractSome(t.Context(), &Tool{}); !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("PATH=%s: got %v", list, err)
		}
	}
}

// Only ffmpeg 6 and later can read a descriptor without reopening it.
func TestProtocol(t *testing.T) {
	for protocols, want := range map[string]string{
		"Input:\n fd\n file\nOutput:\n file": "-protocol_whitelist fd -fd 0 -i fd:",
		"Input:\n file\nOutput:\n fd":        "-protocol_whitelist file -i file:/",
	} {
		path := fakeFFmpeg(t, `echo "$@" >&2; exit 1`)
		os.WriteFile(path, bytes.Replace(readFile(t, path), []byte("Input: file Output: file"), []byte(protocols), 1), 0o755)
		_, err := extractSome(t.Context(), &Tool{Path: path})
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(string(e.Stderr), want) {
			t.Errorf("got %+v, want %q", e, want)
		}
		if ok && strings.Contains(err.Error(), "whitelist") {
			t.Error("the error text contains output of ffmpeg")
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

}

// The abilities of a binary are probed with two processes, once for each version of the file.
func TestReplacedBinary(t *testing.T) {
	path := fakeFFmpeg(t, "echo hello")
	t.Setenv("PATH", filepath.Dir(path))
	tool := &Tool{}
	processes := func() (n int) {
		extractSomeBy(t.Context(), tool, countProcesses(&n))
		return n
	}
	if n, m := processes(), processes(); n != m+2 {
		t.Errorf("%d processes in the first call and %d in the next, want a difference of 2", n, m)
	}
	os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour))
	if n, m := processes(), processes(); n != m+2 {
		t.Errorf("replaced: %d processes in the first call and %d in the next, want a difference of 2", n, m)
	}
	os.Remove(path)
	if _, err := extractSome(t.Context(), tool); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("removed: got %v", err)
	}
}

// A binary that cannot run, or is removed while it runs, is a temporary error.
func TestNotRunnable(t *testing.T) {
	path := fakeFFmpeg(t, "true")
	os.Chmod(path, 0o644)
	_, err := extractSome(t.Context(), &Tool{Path: path})
	if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), path) {
		t.Errorf("not executable: got %v", err)
	}
	os.WriteFile(path, []byte("\x7fELF of another system"), 0o755)
	os.Chmod(path, 0o755)
	_, err = extractSome(t.Context(), &Tool{Path: path})
	if err == nil || isPermanent(err) || errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), path) {
		t.Errorf("of another system: got %v", err)
	}

	tool := &Tool{Path: fakeFFmpeg(t, "rm $0; echo 'Input/output error' >&2; exit 1")}
	if _, err = extractSome(t.Context(), tool); err == nil || isPermanent(err) || errors.Is(err, exec.ErrNotFound) {
		t.Errorf("removed while it runs: got %v", err)
	}
	if _, err = extractSome(t.Context(), tool); !errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after removal: got %v", err)
	}
}

func TestProcesses(t *testing.T) {
	tool := &Tool{Path: fakeFFmpeg(t, "true"), Processes: 3}
	var counted gauge
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() { extractSomeBy(t.Context(), tool, Caller{Started: counted.started}) })
	}
	wg.Wait()
	if peak, running, total := counted.peak.Load(), counted.running.Load(), counted.total.Load(); peak > 3 || running != 0 || total < 40 {
		t.Errorf("limit of 3: at most %d at once, %d never ended, %d in all", peak, running, total)
	}
}

// Cancellation ends the wait for a slot and kills a running ffmpeg.
func TestCancel(t *testing.T) {
	tool := &Tool{Path: fakeFFmpeg(t, "sleep 3600"), Processes: 1}
	ctx, cancel := context.WithCancel(t.Context())
	up, done := make(chan struct{}, 10), make(chan error)
	go func() {
		_, err := extractSomeBy(ctx, tool, Caller{Started: func() func() { up <- struct{}{}; return func() {} }})
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
	n := 0
	if _, err := extractSomeBy(ctx, tool, countProcesses(&n)); !errors.Is(err, context.Canceled) || n != 0 {
		t.Errorf("canceled before: got %v and %d processes", err, n)
	}
}

// A group whose media hangs in ffmpeg or while it is read does not block other groups.
func TestGroups(t *testing.T) {
	for _, processes := range []int{2, 3} {
		stuck := make(chan struct{})
		for slowPart, media := range map[string]io.ReaderAt{"ffmpeg": strings.NewReader("slow"), "reading": stuckReader{stuck}} {
			tool := &Tool{Path: fakeFFmpeg(t, `case $(head -c 4) in slow) sleep 3600; esac; exit 1`), Processes: processes, Timeout: time.Hour}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			var slow gauge
			for range 10 {
				wg.Go(func() { tool.Extract(ctx, media, 4, Caller{Groups: []string{"slow"}, Started: slow.started}) })
			}
			if slowPart == "ffmpeg" {
				await(t, "ffmpeg was not started", func() bool { return slow.running.Load() > 0 })
			}
			for i := range 5 {
				ctx, stop := context.WithTimeout(t.Context(), awaitLimit)
				_, err := tool.Extract(ctx, strings.NewReader("fast"), 4, Caller{Groups: []string{"fast"}})
				if errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("slow %s, %d processes: call %d of another group got no process", slowPart, processes, i)
				}
				stop()
			}
			if n := slow.peak.Load(); n > max(1, int32(processes)-1) {
				t.Errorf("one group got %d of %d processes", n, processes)
			}
			cancel()
			if slowPart == "reading" {
				close(stuck)
			}
			wg.Wait()
		}
	}
}

// Decode does not wait for content that is read slowly, and reports its wait for a slot.
func TestDecodeDuringSlowSpool(t *testing.T) {
	stuck := make(chan struct{})
	tool := &Tool{Path: fakeFFmpeg(t, "exit 1"), Processes: 1}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { tool.Extract(t.Context(), stuckReader{stuck}, 4, Caller{}) })
	}
	ctx, stop := context.WithTimeout(t.Context(), awaitLimit)
	defer stop()
	var waits, ends int
	by := Caller{Waits: func() func() { waits++; return func() { ends++ } }}
	if _, err := tool.Decode(ctx, []byte("\x89PNG\r\n\x1a\n"), by); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if waits != 1 || ends != 1 {
		t.Errorf("%d waits began and %d ended, want 1", waits, ends)
	}
	close(stuck)
	wg.Wait()
}

// A stuckReader blocks until its channel is closed.
type stuckReader struct{ stuck chan struct{} }

func (r stuckReader) ReadAt([]byte, int64) (int, error) {
	<-r.stuck
	return 0, io.ErrUnexpectedEOF
}

// BenchmarkFrame takes a frame of a 1080p video, and compares that with the fastest and with the common command line.
func BenchmarkFrame(b *testing.B) {
	dir := b.TempDir()
	path := makeFile(b, dir, "minute.mp4", "-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=25:d=60", "-c:v", "libx264", "-preset", "veryfast",
		"-pix_fmt", "yuv420p", "-movflags", "+faststart")
	if _, err := extract(b, system, path); err != nil {
		b.Fatal(err)
	}
	b.Run("Extract", func(b *testing.B) {
		before := cpuTime()
		for b.Loop() {
			extract(b, system, path)
		}
		b.ReportMetric(float64((cpuTime()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
	})
	for name, args := range map[string][]string{
		"fastest": {"-v", "error", "-threads", "1", "-noaccurate_seek", "-skip_frame", "nokey", "-ss", "6", "-i", path, "-an", "-sn", "-dn",
			"-frames:v", "1", "-vf", "scale=1280:-2", "-f", "mjpeg", "-"},
		"common": {"-v", "error", "-ss", "6", "-i", path, "-frames:v", "1", "-f", "mjpeg", "-"},
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

// cpuTime returns the CPU time of this process and its children, or 0 if the system does not tell.
var cpuTime = func() time.Duration { return 0 }

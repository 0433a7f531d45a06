// Package ffmpeg runs ffmpeg to get a picture out of a media file. Media files cannot use ffmpeg to reach other files or the
// network.
//
// ffmpeg gets an open descriptor instead of a file name, because it interprets names ("concat:a|b", "img%03d"). It may use only
// demuxers that open no other file, and only the protocol that reads the descriptor. So it refuses a playlist even if that is
// named video.mp4. Package proc limits the time, memory and output of each process.
//
// Most media needs one process: it takes a frame and also lists the streams. The exit status of ffmpeg is not reliable, so this
// package reads the messages on standard error. ffmpeg runs again if the listing shows something better than the frame (an
// attached picture, or a video that needs deinterlacing or tone mapping), or if no good frame was found. Frames are rated while
// ffmpeg runs. It is killed as soon as one of them is certainly good.
//
// # Systems other than Linux
//
// On every system the lists of demuxers and protocols hold, and so do the limits of time and output and ffmpeg's own limits
// (256 MiB for one allocation, 100 million pixels). Some protections are missing elsewhere:
//
//   - macOS and other Unix: there are no limits of address space, CPU, descriptors and written files, and ffmpeg can use the
//     network. It survives a parent that is killed by SIGKILL. A file is reopened by its name, and refused if the name now
//     belongs to another file. Versions before 6 read /dev/fd/0.
//   - Windows: there are no limits of descriptors and written files, and ffmpeg can use the network. The limits of memory and
//     CPU start just after the process. A file is reopened by its name as on macOS. Temporary files keep their names until they
//     are closed, so they remain if the parent is killed. Versions before 6 are refused.
//
// On Linux, versions before 6 read /proc/self/fd/0, so /proc must be mounted and the user must be permitted to reopen the file.
// If a container or a security module forbids namespaces or ptrace, ffmpeg can use the network, or its limits start just
// after the process.
package ffmpeg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/turns"
)

// Permanent properties of the media. Any other error is temporary.
var (
	ErrNoPicture   = errors.New("no picture")
	ErrUnsupported = errors.New("not supported")
	ErrCorrupt     = errors.New("corrupt")
)

// An Error says why ffmpeg did not make a picture. Its text contains no output of ffmpeg and no paths, so it may be shown to
// clients.
type Error struct {
	Err    error
	Stderr []byte // the last 4 KiB of ffmpeg's messages, for logs only
}

func (e *Error) Error() string { return "ffmpeg: " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// stderrTail returns a copy of the last 4 KiB of stderr.
func stderrTail(stderr []byte) []byte { return bytes.Clone(stderr[max(0, len(stderr)-4<<10):]) }

// A Tool runs an ffmpeg binary. Its fields must not change after the first call of a method. Methods may be called
// concurrently.
type Tool struct {
	Path      string        // "" means ffmpeg in PATH
	Processes int           // limit of concurrent processes; 0 or less means 2
	At        float64       // position of a frame as a fraction of the video's duration; outside (0, 1] means 0.1
	Timeout   time.Duration // for one process; 0 or less means 20s

	// TempDirs are folders for temporary files, in case os.TempDir cannot be written and, on Linux, the content is too large for
	// memory. The first one that can be written is used.
	TempDirs []string

	once    sync.Once
	slots   *turns.Queue
	spools  *turns.Queue        // limits temporary files that wait for a slot, so that slow content occupies no process slot
	probe   *semaphore.Weighted // weight 1; guards program
	program program
}

// A program is one ffmpeg binary and what it can do.
type program struct {
	path    string
	size    int64
	modTime time.Time

	hasFD   bool // has the protocol "fd", as version 6 and later do
	filters map[string]bool
	lacks   *sync.Map // codecs of HEIF pictures that it has no decoder for
}

func (t *Tool) init() {
	if t.Processes <= 0 {
		t.Processes = 2
	}
	if !(t.At > 0 && t.At <= 1) {
		t.At = 0.1
	}
	if t.Timeout <= 0 {
		t.Timeout = 20 * time.Second
	}
	t.slots = turns.New(t.Processes, -1)
	t.spools = turns.New(t.Processes, -1)
	t.probe = semaphore.NewWeighted(1)
}

// A Caller describes on whose behalf a Tool works.
type Caller struct {
	// Groups are the names of the groups that the work belongs to, such as its provider. A group gets at most Processes-1
	// slots, but at least one, so that one slow group does not block the others.
	Groups []string

	// Idle is nil if a request waits for the picture. Otherwise it is closed as soon as one does. Idle work leaves a slot to
	// requests.
	Idle <-chan struct{}

	// NoCover makes Extract return a frame although there is an attached picture, which turned out to be broken.
	NoCover bool

	// Edge is how many pixels the longest edge of the picture needs, or 0 if it needs the most. Reduced, if not nil, is called if
	// the picture is good for Edge pixels only, because a smaller one in the file was enough.
	Edge    int
	Reduced func()

	// Waits, if not nil, is called before waiting for a slot, and its result when the wait has ended.
	Waits func() (done func())

	// Started, if not nil, is called before a process starts, and its result when the process has ended.
	Started func() (done func())
}

// wait waits for a slot of q.
func (by Caller) wait(ctx context.Context, q *turns.Queue) (release func(), err error) {
	if by.Waits != nil {
		defer by.Waits()()
	}
	return q.Acquire(ctx, by.Idle, by.Groups...)
}

// Extract returns the picture in the media of size bytes in r as an encoded image. It prefers an attached picture, which it
// returns unchanged if Go can decode the format. Otherwise it returns a frame of the video with no edge above 1280 pixels, or
// a still picture with no edge above 2048 pixels. Callers get process slots in first-come, first-served order.
//
// It fails with ErrNoPicture, ErrUnsupported or ErrCorrupt if the media itself is the permanent cause, and with the error of
// ctx. It fails with context.DeadlineExceeded after Timeout, and with exec.ErrNotFound if there is no ffmpeg. All other errors
// are temporary.
func (t *Tool) Extract(ctx context.Context, r io.ReaderAt, size int64, by Caller) ([]byte, error) {
	t.once.Do(t.init)
	if size == 0 {
		return nil, &Error{Err: ErrUnsupported}
	}
	path, err := t.locate()
	if err != nil {
		return nil, err
	}
	in, err := t.open(ctx, r, size, by)
	if err != nil {
		return nil, err
	}
	defer in.close()
	release, err := by.wait(ctx, t.slots)
	if err != nil {
		return nil, err
	}
	defer release()
	in.releaseSpool()
	j, err := t.newJob(ctx, path, in, by)
	if err != nil {
		return nil, err
	}
	if j.isHEIF() {
		return j.heif(ctx, by)
	}
	return j.picture(ctx, by.NoCover)
}

// Decode returns the picture in data as PNG with no edge above 2048 pixels. It is for formats that Go cannot decode and for
// damaged pictures: of a truncated one it returns the part that exists. The PNG of a JPEG includes the EXIF data, whose
// orientation has not been applied.
//
// It fails as Extract does. ErrCorrupt means that this ffmpeg knows the format and could decode nothing. ErrUnsupported
// means that it does not know the format, which another [Tool.Build] may.
func (t *Tool) Decode(ctx context.Context, data []byte, by Caller) ([]byte, error) {
	t.once.Do(t.init)
	path, err := t.locate()
	if err != nil {
		return nil, err
	}
	release, err := by.wait(ctx, t.slots)
	if err != nil {
		return nil, err
	}
	defer release()
	in, err := openPicture(ctx, data, t.TempDirs)
	if err != nil {
		return nil, err
	}
	defer in.close()
	j, err := t.newJob(ctx, path, in, by)
	if err != nil {
		return nil, err
	}
	if j.isHEIF() {
		return j.heif(ctx, by)
	}
	return j.still(ctx)
}

// Build returns a short text that identifies the ffmpeg binary and changes when it is replaced, or "" if there is none. It
// costs a few calls of stat.
func (t *Tool) Build() string {
	path, err := t.locate()
	if err != nil {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(info.Size(), 36) + "-" + strconv.FormatInt(info.ModTime().UnixNano(), 36)
}

// newJob returns a job for an input that has its slot.
func (t *Tool) newJob(ctx context.Context, path string, in *input, by Caller) (*job, error) {
	j := &job{timeout: t.Timeout, at: t.At, tempDirs: t.TempDirs, in: in, started: by.Started}
	if err := t.probeProgram(ctx, path, j); err != nil {
		return nil, err
	}
	if !j.program.hasFD && runtime.GOOS == "windows" {
		// Windows has no file name that stands for a descriptor, and ffmpeg must not get the real name.
		return nil, errors.New("ffmpeg: Windows needs version 6 or later")
	}
	return j, nil
}

// locate returns the path of the binary. It looks each time, because binaries are installed, replaced and removed. A missing
// binary is exec.ErrNotFound and never fs.ErrNotExist, which callers would take for a missing media file.
func (t *Tool) locate() (string, error) {
	name := t.Path
	if name == "" {
		name = "ffmpeg"
	}
	path, err := exec.LookPath(name) // never finds a program in the current folder, even if that is in PATH
	if err == nil {
		path, err = filepath.Abs(path)
	}
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("ffmpeg: %w", fs.ErrPermission)
	}
	return "", fmt.Errorf("ffmpeg: %w", exec.ErrNotFound)
}

// probeProgram sets j.program. It runs the binary at path the first time and after the file has changed.
func (t *Tool) probeProgram(ctx context.Context, path string, j *job) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("ffmpeg: %w", exec.ErrNotFound)
	}
	if err := t.probe.Acquire(ctx, 1); err != nil {
		return err
	}
	defer t.probe.Release(1)
	b := program{path: path, size: info.Size(), modTime: info.ModTime(), filters: make(map[string]bool), lacks: new(sync.Map)}
	if t.program.path == b.path && t.program.size == b.size && t.program.modTime.Equal(b.modTime) {
		j.program = t.program
		return nil
	}
	j.program = b
	protocols, err := j.run(ctx, "-hide_banner", "-protocols")
	if err != nil {
		return err
	}
	input, _, ok := strings.Cut(string(protocols.Stdout), "Output:")
	if !ok {
		return &Error{errors.New("the program does not work"), stderrTail(protocols.Stderr)}
	}
	b.hasFD = slices.Contains(strings.Fields(input), "fd")
	filters, err := j.run(ctx, "-hide_banner", "-filters")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(filters.Stdout)) {
		if f := strings.Fields(line); len(f) > 2 { // flags, name, from->to
			b.filters[f[1]] = true
		}
	}
	t.program, j.program = b, b
	return nil
}

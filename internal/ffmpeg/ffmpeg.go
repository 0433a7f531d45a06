// Package ffmpeg makes ffmpeg find the picture in a piece of media, in such a way that the media cannot turn ffmpeg against
// the host.
//
// ffmpeg gets an open descriptor and never a name, since names are a language in ffmpeg ("concat:a|b", "img%03d"). It may
// use only demuxers that open nothing else, and only the protocol that reads the descriptor: a playlist named film.mp4 is
// refused by content. It runs as package proc runs a child, under limits of time, memory and output.
//
// The exit status of ffmpeg tells nothing, so what it lists on standard error is read. One process is the normal case: it
// takes a frame and tells about the media by the way. Only if that shows something better than the frame (a cover, a film
// that has to be deinterlaced or tone-mapped first) or no good frame came out, it runs again. Frames are looked at as they come;
// at the first one that is good without doubt ffmpeg is killed.
//
// # Elsewhere than on Linux
//
// The lists of demuxers and protocols hold everywhere, as do the limits of time and output, and those that ffmpeg sets
// itself (256 MiB for one allocation, 100 million pixels). What is lost:
//
//   - On macOS and other Unix: the limits of address space, CPU, descriptors and written files; the network is not taken away;
//     ffmpeg outlives a parent that is killed by SIGKILL. A file that is handed over is opened once more by its name, and taken
//     only if that is still the same file. Before version 6, ffmpeg opens /dev/fd/0.
//   - On Windows: the limits of descriptors and written files, and the network is not taken away; memory and CPU are limited
//     from a moment after the start. A file is opened once more by its name, as on macOS. Temporary files keep their names until
//     they are closed, and so are left behind if the parent is killed. Before version 6, ffmpeg is not used at all.
//
// On Linux before version 6, ffmpeg opens /proc/self/fd/0, so there has to be /proc, and the user must be allowed to open the
// file again. Where containers or security modules forbid namespaces or ptrace, the network stays, and the limits come a moment
// after the start.
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

	"github.com/thumbcache/thumbcache/internal/proc"
	"github.com/thumbcache/thumbcache/internal/turns"
	"golang.org/x/sync/semaphore"
)

// What is for sure the case with the media. Any other error is one of the moment.
var (
	ErrNoPicture   = errors.New("no picture in it")
	ErrUnsupported = errors.New("not supported")
	ErrCorrupt     = errors.New("corrupt")
)

// An Error is what became of media that ffmpeg could not make a picture of. Its text may be shown to anybody.
type Error struct {
	Err    error
	Stderr []byte // the last 4 KiB of what ffmpeg said, for logs only
}

func (e *Error) Error() string { return "ffmpeg: " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// last returns the end of what ffmpeg said, short enough to be kept.
func last(stderr []byte) []byte { return bytes.Clone(stderr[max(0, len(stderr)-4<<10):]) }

// A Tool is an ffmpeg and how it is used. Its fields must not be changed after the first call of a method. Methods may be called
// by several goroutines at once.
type Tool struct {
	Path      string        // "" means ffmpeg in PATH
	Processes int           // at once; 0 or less means 2
	At        float64       // where in a film, as a fraction of its length; what is not in (0, 1] means 0.1
	Timeout   time.Duration // for one process; 0 or less means 20s

	once   sync.Once
	slots  *turns.Queue
	spools *turns.Queue        // temporary files that have no slot yet: content that comes slowly keeps nobody from one
	asking *semaphore.Weighted // 1; guards build
	build  build
}

// A build is one ffmpeg binary and what it can do.
type build struct {
	path    string
	size    int64
	modTime time.Time

	fd      bool // has the protocol "fd", as ffmpeg 6 and later do
	filters map[string]bool
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
	t.asking = semaphore.NewWeighted(1)
}

// A Caller is for whom a Tool works.
type Caller struct {
	// Groups are whose work it is, as a provider's name. At most Processes-1 of a group run at once, but at least one, so that a
	// slow group cannot keep the others waiting.
	Groups []string

	// Idle is nil if a request waits for the picture. Otherwise it is closed as soon as one does. Idle work leaves a process to
	// requests.
	Idle <-chan struct{}

	// Waits, if it is not nil, is called when the wait for others begins, and what it returns when that has ended.
	Waits func() (done func())

	// Started, if it is not nil, is called when a process starts, and what it returns when that has ended.
	Started func() (done func())
}

// wait waits for a slot of q.
func (by Caller) wait(ctx context.Context, q *turns.Queue) (release func(), err error) {
	if by.Waits != nil {
		defer by.Waits()()
	}
	return q.Acquire(ctx, by.Idle, by.Groups...)
}

// Extract returns the picture in the media of size bytes in r, as an encoded image: an attached picture as it is, else a
// frame with no edge above 1280 pixels, or a still picture with none above 2048. Those who wait for a process get it in the
// order of waiting.
//
// It fails with ErrNoPicture, ErrUnsupported or ErrCorrupt if that is for sure; with the error of ctx; with
// context.DeadlineExceeded; with exec.ErrNotFound if there is no ffmpeg; or with another error of the moment.
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
	return t.do(ctx, path, in, by, (*job).picture)
}

// Decode returns the picture in data as PNG with no edge above 2048 pixels. It is for pictures of kinds that Go does not
// know, and for damaged ones: of what is cut off it returns what there is. A JPEG keeps its EXIF data, and with it the
// orientation, which remains to be applied.
//
// It fails as Extract does: with ErrCorrupt if this ffmpeg knows the kind of picture and nothing can be seen in this one;
// with ErrUnsupported if it does not know the kind, which may be different with another [Tool.Build].
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
	in, err := openPicture(ctx, data)
	if err != nil {
		return nil, err
	}
	defer in.close()
	return t.do(ctx, path, in, by, (*job).still)
}

// Build returns a short text that is another one when ffmpeg has been replaced, and "" if there is none. It costs a few
// calls of stat.
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

// do does work with an input for which there is a slot.
func (t *Tool) do(ctx context.Context, path string, in *input, by Caller, work func(*job, context.Context) ([]byte, error)) ([]byte, error) {
	j := job{tool: t, in: in, started: by.Started}
	var err error
	if j.build, err = t.ask(ctx, path, &j); err != nil {
		return nil, err
	}
	if !j.build.fd && runtime.GOOS == "windows" {
		// There is no file name there that means a descriptor, and to hand over the real one is what we do not do.
		return nil, errors.New("ffmpeg: version 6 or later is needed on Windows")
	}
	return work(&j, ctx)
}

// locate finds the binary. It is done each time, since binaries come, go and are updated; it costs a few calls of stat. What
// is missing is exec.ErrNotFound and never fs.ErrNotExist, which would seem to be said of the media.
func (t *Tool) locate() (string, error) {
	name := t.Path
	if name == "" {
		name = "ffmpeg"
	}
	path, err := exec.LookPath(name) // refuses the current folder, even if it is in PATH
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

// ask returns what the binary at path can do. It runs the binary the first time, and again when it has changed.
func (t *Tool) ask(ctx context.Context, path string, j *job) (build, error) {
	info, err := os.Stat(path)
	if err != nil {
		return build{}, fmt.Errorf("ffmpeg: %w", exec.ErrNotFound)
	}
	if err := t.asking.Acquire(ctx, 1); err != nil {
		return build{}, err
	}
	defer t.asking.Release(1)
	b := build{path: path, size: info.Size(), modTime: info.ModTime(), filters: make(map[string]bool)}
	if t.build.path == b.path && t.build.size == b.size && t.build.modTime.Equal(b.modTime) {
		return t.build, nil
	}
	j.build = b
	protocols, err := j.run(ctx, "-hide_banner", "-protocols")
	if err != nil {
		return b, err
	}
	input, _, ok := strings.Cut(string(protocols.Stdout), "Output:")
	if !ok {
		return b, &Error{errors.New("the program does not work"), last(protocols.Stderr)}
	}
	b.fd = slices.Contains(strings.Fields(input), "fd")
	filters, err := j.run(ctx, "-hide_banner", "-filters")
	if err != nil {
		return b, err
	}
	for line := range strings.Lines(string(filters.Stdout)) {
		if f := strings.Fields(line); len(f) > 2 { // flags, name, from->to
			b.filters[f[1]] = true
		}
	}
	t.build = b
	return b, nil
}

// A job is one Extract or Decode that has its slot.
type job struct {
	tool    *Tool
	build   build
	in      *input
	started func() (done func()) // as in Caller
}

// run runs ffmpeg. A Result without an error may still be that of a failure: see verdict.
func (j *job) run(ctx context.Context, args ...string) (proc.Result, error) {
	return j.runUntil(ctx, nil, args...)
}

// runUntil runs ffmpeg until its output is enough.
func (j *job) runUntil(ctx context.Context, enough func(output []byte) bool, args ...string) (proc.Result, error) {
	if _, err := j.in.Seek(0, io.SeekStart); err != nil { // the descriptor's offset is shared with the child before
		return proc.Result{}, fmt.Errorf("ffmpeg: rewinding: %w", err)
	}
	if j.started != nil {
		defer j.started()()
	}
	res, err := proc.Run(ctx, proc.Cmd{
		Path:      j.build.path,
		Args:      args,
		Env:       []string{"AV_LOG_FORCE_NOCOLOR=1", "LC_ALL=C"},
		Stdin:     j.in.File,
		Enough:    enough,
		MaxStderr: 64 << 10, // the list of streams stands before the messages
		Timeout:   j.tool.Timeout,
		Limits:    proc.Limits{AddressSpace: 2 << 30, CPU: j.tool.Timeout + time.Second, OpenFiles: 64},
	})
	if pe, ok := errors.AsType[*proc.Error](err); ok && pe.Err == nil && pe.Signal == nil {
		return res, nil // an exit status
	}
	if err != nil {
		return res, fmt.Errorf("ffmpeg: %w", err)
	}
	return res, nil
}

// A shot is one way to take frames.
type shot struct {
	seek  bool    // go to where the frame is wanted, or
	exact bool    // to there and not to the key frame before, which may be far away
	keys  bool    // key frames only, and the first that is good without doubt will do
	every float64 // seconds of film from one frame to the next
	span  float64 // give up after that many seconds of film; 0 is never
	most  int     // frames that show something; 0 is one frame, whatever it shows
	few   int     // if there are fewer of them than that, go on with the next shot
}

// shots are taken until there is a frame to choose. The first is the cheap one, and does for nearly every film. The second is
// for short clips whose only key frame is black, blurred or in a fade, and the third for where it is black for long. Then any
// frame will do, at last the first: the picture may end long before the sound does.
var shots = []shot{
	{seek: true, keys: true, every: 1, span: 40, most: 5, few: 3},
	{seek: true, every: 0.5, span: 8, most: 8, few: 1},
	{exact: true, every: 0.5, span: 8, most: 1, few: 1},
	{seek: true},
	{},
}

// shoot adds the frames of a shot to c, and reports whether they do.
func (j *job) shoot(ctx context.Context, s shot, m media, c *choice) (res proc.Result, done bool, err error) {
	res, err = j.runUntil(ctx, c.collect(s.keys, max(1, s.most)), j.frames(s, m)...)
	if err != nil && ctx.Err() == nil && (c.some > 0 || s.exact && len(c.frames) > 0) {
		return res, true, nil // there was not enough time to look for better ones
	}
	return res, c.clear || len(c.frames) > 0 && c.some >= s.few, err
}

func (j *job) picture(ctx context.Context) ([]byte, error) {
	if isStill(j.in) {
		return j.still(ctx)
	}
	var (
		res  proc.Result
		m    media
		c    choice
		err  error
		left = shots
	)
	if n := length(j.in, j.in.size); n > 0 {
		m.length = n
		var done bool
		if res, done, err = j.shoot(ctx, shots[0], m, &c); err != nil {
			return nil, err
		}
		m = parse(res.Stderr)
		m.length = n
		if m.cover == nil && !m.needsFilters() {
			if done {
				return c.best(), nil
			}
			left = shots[1:]
		}
	} else {
		// Without an output ffmpeg lists what there is.
		if res, err = j.run(ctx, j.input()...); err != nil {
			return nil, err
		}
		m = parse(res.Stderr)
	}
	if m.cover != nil {
		cover, err := j.run(ctx, j.attached(m.cover)...)
		if err != nil {
			return nil, err
		}
		if demuxerOf(cover.Stdout) != "" {
			return cover.Stdout, nil
		}
	}
	if m.film == nil {
		return nil, verdict(res)
	}
	if len(left) == len(shots) {
		c = choice{} // what there is was taken without the filters
	}
	for _, s := range left {
		if s.most == 0 && len(c.frames) > 0 {
			break
		}
		var done bool
		if res, done, err = j.shoot(ctx, s, m, &c); err != nil {
			return nil, err
		}
		if done {
			return c.best(), nil
		}
	}
	if best := c.best(); best != nil {
		return best, nil
	}
	return nil, verdict(res)
}

// formats are the demuxers that may be used. None of them opens anything else, which is the point: hls, dash, concat, image2
// and the like do. Those named ..._pipe are for pictures. A name that this ffmpeg does not know does no harm.
const formats = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,rm,dv,mxf," +
	"ogg,mp3,flac,wav,aiff,ape,wv,tta,tak,mpc,mpc8,aac,dsf,w64,caf," +
	"h264,hevc,obu,mjpeg,ivf,nut,yuv4mpegpipe,wtv,gxf,nsv," +
	"gif,apng,ico,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,pam_pipe,pbm_pipe,pgm_pipe,ppm_pipe,exr_pipe," +
	"j2k_pipe,jpegxl_pipe,jpegxl_anim,qoi_pipe,psd_pipe"

// input returns the arguments up to the input, with more options for it.
func (j *job) input(options ...string) []string {
	args := []string{
		"-nostdin", "-hide_banner", "-nostats", "-loglevel", "info", "-max_alloc", "268435456", "-filter_threads", "1",
		"-threads", "1", "-max_pixels", "100000000", "-probesize", "10000000", "-analyzeduration", "5000000",
		"-format_whitelist", formats,
	}
	args = append(args, options...)
	switch {
	case j.build.fd:
		return append(args, "-protocol_whitelist", "fd", "-fd", "0", "-i", "fd:")
	case runtime.GOOS == "linux":
		return append(args, "-protocol_whitelist", "file", "-i", "file:/proc/self/fd/0")
	}
	return append(args, "-protocol_whitelist", "file", "-i", "file:/dev/fd/0")
}

// output returns the arguments for a number of pictures: JPEG for frames of a film, quickly; PNG for what may be transparent;
// "copy" for what is a picture already.
func output(codec string, n int) []string {
	return []string{
		"-frames:v", strconv.Itoa(n), "-threads", "1", "-c:v", codec, "-q:v", "2", "-compression_level", "1",
		"-map_metadata", "-1", "-f", "image2pipe", "pipe:1",
	}
}

// attached returns the arguments that bring out an attached picture.
func (j *job) attached(s *stream) []string {
	args := append(j.input(), "-map", "0:"+s.index)
	switch s.codec {
	case "mjpeg", "png", "gif", "webp", "bmp", "tiff":
		return append(args, output("copy", 1)...)
	}
	return append(append(args, "-vf", scale(maxStill)), output("png", 1)...)
}

// The longest edges of what comes out.
const (
	maxFrame = 1280
	maxStill = 2048
)

// frames returns the arguments that take a shot of the film m.
func (j *job) frames(s shot, m media) []string {
	var options []string
	if s.keys {
		options = append(options, "-skip_frame", "nokey")
	}
	if at := m.length * j.tool.At; (s.seek || s.exact) && at > 0 {
		if s.seek {
			options = append(options, "-noaccurate_seek")
		}
		options = append(options, "-ss", strconv.FormatFloat(at, 'f', 3, 64))
	}
	n := 1
	if s.span > 0 {
		options = append(options, "-t", strconv.FormatFloat(s.span, 'f', 3, 64))
		n = int(s.span/s.every) + 1
	}

	var filters []string
	add := func(name, options string) { // small builds lack much
		if j.build.filters[name] {
			filters = append(filters, name+options)
		}
	}
	if s.every > 0 {
		add("select", fmt.Sprintf("='isnan(prev_selected_t)+gte(t-prev_selected_t,%g)'", s.every))
	}
	if m.film != nil && m.film.interlaced {
		add("yadif", "")
	}
	if m.film != nil && m.film.hdr && j.build.tonemaps() {
		filters = append(filters, scale(maxFrame), tonemap+":m=bt470bg:r=tv")
	} else {
		// JPEG knows one colour matrix only, whatever the film has.
		filters = append(filters, scale(maxFrame)+":out_color_matrix=bt601:out_range=limited")
	}
	add("setsar", "=1")
	filters = append(filters, "format=yuv420p", "scale=out_range=full", "format=yuvj420p")
	args := append(j.input(options...), "-map", "0:V:0", "-vf", strings.Join(filters, ","))
	// All frames that there are, whatever their times: the key frame before the place that was asked for has a negative one.
	if j.build.fd {
		args = append(args, "-fps_mode", "passthrough")
	} else {
		args = append(args, "-vsync", "0") // its name before ffmpeg 5.1
	}
	return append(args, output("mjpeg", n)...)
}

// scale returns the filter that makes square pixels, no edge of more than max of them, and nothing larger than it is.
func scale(max int) string {
	const (
		width  = "iw*max(1,sar)" // pixels that are not square grow and do not shrink
		height = "ih/min(1,sar)"
	)
	fit := fmt.Sprintf("min(1,%d/max(%s,%s))", max, width, height)
	return fmt.Sprintf("scale=w='max(1,trunc(%s*%s))':h='max(1,trunc(%s*%s))'", width, fit, height, fit)
}

func (b build) tonemaps() bool { return b.filters["zscale"] && b.filters["tonemap"] }

// tonemap is the filters that bring what is brighter than white (which is 203 cd/m2 there, by BT.2408) to where it can be
// seen.
const tonemap = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius:desat=0,zscale=t=iec61966-2-1"

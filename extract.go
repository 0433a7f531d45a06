package thumbcache

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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/thumbcache/thumbcache/internal/coverart"
	"github.com/thumbcache/thumbcache/internal/ffmpeg"
	"github.com/thumbcache/thumbcache/internal/render"
)

// A Provider gives access to media. A path means whatever the provider says it means: a file name, a database id, a URL.
// Its methods are called by several goroutines at once and should return when ctx ends.
//
// An error that matches [fs.ErrNotExist] says for sure that there is no such thing, and drops what was cached of it. Any
// other error says "not now": what is cached stays and is served.
type Provider interface {
	// Stat tells the present state of a piece of media. It should be cheap: it is called about once per source and
	// [Config.Revalidate], and before and after every extraction.
	Stat(ctx context.Context, path string) (Stamp, error)
	// Open opens a piece of media. The cache closes the Content of what it returns.
	Open(ctx context.Context, path string) (*Source, error)
}

// A Stamp tells one state of a piece of media from another. Stamps are compared field by field; what a provider does not
// know it leaves zero.
type Stamp struct {
	Size    int64     // in bytes
	ModTime time.Time // to the nanosecond, if that is known
	Tag     string    // anything else that changes with the content: an ETag, a revision, a hash
}

func (s Stamp) equal(t Stamp) bool {
	return s.Size == t.Size && s.Tag == t.Tag && s.ModTime.Equal(t.ModTime)
}

// A Source is one open piece of media. Content may be read by several goroutines at once and is closed by the cache.
type Source struct {
	Name    string // a label for logs, never opened
	Size    int64  // of Content, in bytes
	Stamp   Stamp  // the state of what was opened
	Content interface {
		io.ReaderAt
		io.Closer
	} // an *os.File where there is one: ffmpeg then gets its descriptor, anything else is spooled to a temporary file
}

// BytesSource returns a Source for media that is already in memory. It does not copy data, which must not change any more.
func BytesSource(name string, stamp Stamp, data []byte) *Source {
	return &Source{Name: name, Size: int64(len(data)), Stamp: stamp, Content: bytesContent{bytes.NewReader(data)}}
}

type bytesContent struct{ *bytes.Reader }

func (bytesContent) Close() error { return nil }

// Files returns a Provider for the regular files below the folder root. A path is relative to root, or absolute and
// inside it. Nothing outside root can be reached, be it by "..", by a symbolic link or by a race: links are followed as
// long as they stay inside. What it refuses matches [fs.ErrInvalid] or [fs.ErrNotExist].
//
// Files opens nothing by itself, so root may come and go, as a network share does. While it is missing it "cannot be
// reached", which is never the same as a file that does not exist.
func Files(root string) Provider {
	// An error means that there is no working directory. Then root stays relative, and opening it says so.
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	return files{root}
}

type files struct{ root string }

func (f files) Stat(ctx context.Context, path string) (Stamp, error) {
	var stamp Stamp
	err := f.in(ctx, path, func(root *os.Root, name string) error {
		info, err := root.Stat(name)
		if err != nil {
			return err
		}
		stamp = stampOf(info)
		return regular(info)
	})
	return stamp, err
}

func (f files) Open(ctx context.Context, path string) (*Source, error) {
	var src *Source
	err := f.in(ctx, path, func(root *os.Root, name string) error {
		// A FIFO without a writer would block for ever here, and no context could free it.
		file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err == nil {
			err = regular(info)
		}
		if err != nil {
			file.Close()
			return err
		}
		src = &Source{Name: info.Name(), Size: info.Size(), Stamp: stampOf(info), Content: file}
		return nil
	})
	return src, err
}

// in calls use with the opened root and the name of path below it. The root is opened anew each time: a descriptor that
// is kept would go on naming a share that has since been unmounted.
func (f files) in(ctx context.Context, path string, use func(root *os.Root, name string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name := path
	if filepath.IsAbs(path) {
		var err error
		if name, err = filepath.Rel(f.root, path); err != nil || !filepath.IsLocal(name) {
			return fmt.Errorf("path outside the root: %w", fs.ErrInvalid)
		}
	}
	if name == "" {
		return fmt.Errorf("empty path: %w", fs.ErrInvalid)
	}
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return errNoRoot
	}
	defer root.Close()
	return fileError(use(root, name))
}

var errNoRoot = errors.New("the folder of the provider cannot be reached")

func stampOf(info fs.FileInfo) Stamp { return Stamp{Size: info.Size(), ModTime: info.ModTime()} }

func regular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	}
	return nil
}

// fileError sorts what the operating system said into "does not exist", "is no proper path" and "not now", and takes the
// host's path out of it.
func fileError(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	errno, isErrno := errors.AsType[syscall.Errno](err)
	switch {
	case err == nil, errors.Is(err, fs.ErrInvalid), errors.Is(err, fs.ErrNotExist):
		return err
	case isErrno && notFound(errno):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case !isErrno || malformed(errno):
		// What is no error number is os.Root's own refusal: the path leaves the root.
		return fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	return err
}

// notFound: a path that goes on below a file. malformed: what no retry can mend. Both exist on every system by these names.
func notFound(e syscall.Errno) bool { return e == syscall.ENOTDIR }
func malformed(e syscall.Errno) bool {
	return e == syscall.EINVAL || e == syscall.ELOOP || e == syscall.ENAMETOOLONG || e == syscall.EILSEQ || e == syscall.ENXIO
}

// An Extractor finds the picture in a piece of media. It is called by several goroutines at once. Its errors mean:
//
//   - [ErrUnsupported]: not mine, ask the next one.
//   - [ErrNoPicture]: mine, healthy, and I have looked everywhere: there is none. This is final, and remembered.
//   - [ErrCorrupt]: mine, and broken. This is remembered too.
//   - Anything else is a failure of the moment and is not remembered. It never counts as the source's [fs.ErrNotExist].
//
// A panic becomes an error of the Get that caused it, unless it happens in a goroutine that the Extractor started.
type Extractor interface {
	Extract(ctx context.Context, src *Source) (*Picture, error)
}

// An ExtractorFunc is a function that is an [Extractor].
type ExtractorFunc func(ctx context.Context, src *Source) (*Picture, error)

// Extract calls f.
func (f ExtractorFunc) Extract(ctx context.Context, src *Source) (*Picture, error) {
	return f(ctx, src)
}

// A Picture is what an Extractor found.
type Picture struct {
	Data []byte // an encoded image; it belongs to the cache from now on
}

// FirstOf returns an Extractor that asks one after the other for as long as they answer [ErrUnsupported]. Any other
// answer is final.
func FirstOf(extractors ...Extractor) Extractor {
	return ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
		for _, e := range extractors {
			pic, err := e.Extract(ctx, src)
			if !errors.Is(err, ErrUnsupported) {
				return pic, err
			}
		}
		return nil, ErrUnsupported
	})
}

// DefaultExtractor returns FirstOf(Images(), CoverArt(), &FFmpeg{}).
func DefaultExtractor() Extractor { return FirstOf(Images(), CoverArt(), &FFmpeg{}) }

// maxImageFile bounds the file that Images reads into memory. A picture that is larger cannot be decoded in the default
// DecodeBytes anyway.
const maxImageFile = 64 << 20

// Images returns an Extractor for media that is itself a picture, told by content: JPEG, PNG, GIF, WebP, BMP and TIFF.
// One of more than 64 MiB is ErrTooLarge.
func Images() Extractor { return ExtractorFunc(extractImage) }

func extractImage(ctx context.Context, src *Source) (*Picture, error) {
	head := make([]byte, min(src.Size, 64))
	if _, err := src.Content.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if _, ok := render.Sniff(head); !ok {
		return nil, ErrUnsupported
	}
	if src.Size > maxImageFile {
		return nil, fmt.Errorf("%w: a picture of %d bytes", ErrTooLarge, src.Size)
	}
	data := make([]byte, src.Size)
	r := io.NewSectionReader(src.Content, 0, src.Size)
	for n := 0; n < len(data); {
		// In steps, so that a slow share does not hold up a caller who has left.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := io.ReadFull(r, data[n:min(n+1<<20, len(data))])
		n += m
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return &Picture{Data: data[:n]}, nil // cut off under us; the decoder says what that is worth
		}
		if err != nil {
			return nil, fmt.Errorf("reading: %w", err)
		}
	}
	return &Picture{Data: data}, nil
}

// CoverArt returns an Extractor for the covers that are embedded in music. It reads them where they lie, in Go, with no
// process and little more I/O than the picture itself. A song without one is [ErrNoPicture]; a film without one is
// [ErrUnsupported], since its picture is a frame.
func CoverArt() Extractor { return ExtractorFunc(extractCover) }

func extractCover(ctx context.Context, src *Source) (*Picture, error) {
	data, err := coverart.Find(ctx, src.Content, src.Size)
	switch {
	case err == nil:
		return &Picture{Data: data}, nil
	case errors.Is(err, coverart.ErrUnsupported):
		return nil, ErrUnsupported
	case errors.Is(err, coverart.ErrNoPicture):
		return nil, ErrNoPicture
	case errors.Is(err, coverart.ErrCorrupt):
		return nil, ErrCorrupt
	}
	return nil, err
}

// FFmpeg is an [Extractor] for everything else: it runs ffmpeg, one process at a time and never more than Processes. The
// zero value is ready. It is used by pointer and must not be copied; the limit is the value's, so one that is shared by
// two caches limits them together.
//
// No file can turn it against the host: ffmpeg gets an open descriptor and no name, may read no other file and no
// network, and runs under limits of memory, time and output. Where ffmpeg is missing the error matches exec.ErrNotFound.
type FFmpeg struct {
	Path      string        // "" means ffmpeg in PATH
	Processes int           // at once; 0 means 2
	At        float64       // where in a video, as a fraction of its length; 0 means 0.1
	Timeout   time.Duration // for one process; 0 means 20s

	once sync.Once
	tool *ffmpeg.Tool
}

// Extract implements [Extractor].
func (f *FFmpeg) Extract(ctx context.Context, src *Source) (*Picture, error) {
	f.once.Do(func() {
		f.tool = &ffmpeg.Tool{Path: f.Path, Processes: f.Processes, At: f.At, Timeout: f.Timeout}
	})
	data, err := f.tool.Extract(ctx, src.Content, src.Size, func() func() { return countProcess(ctx) })
	switch {
	case err == nil:
		return &Picture{Data: data}, nil
	case errors.Is(err, ffmpeg.ErrUnsupported):
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.Is(err, ffmpeg.ErrNoPicture):
		return nil, fmt.Errorf("%w: %w", ErrNoPicture, err)
	case errors.Is(err, ffmpeg.ErrCorrupt):
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil, err
}

// processCounter counts child processes. It travels in the context, so that a process counts for the cache that it works
// for although its FFmpeg may be wrapped or shared.
type processCounter struct {
	started atomic.Uint64
	running atomic.Int64
}

type processCounterKey struct{}

func (n *processCounter) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, processCounterKey{}, n)
}

// countProcess counts a process that is being started. The caller calls ended when it is gone.
func countProcess(ctx context.Context) (ended func()) {
	n, ok := ctx.Value(processCounterKey{}).(*processCounter)
	if !ok {
		return func() {}
	}
	n.started.Add(1)
	n.running.Add(1)
	return func() { n.running.Add(-1) }
}

// errNoTool says that ffmpeg is missing, and not where it was looked for.
var errNoTool = fmt.Errorf("ffmpeg: %w", exec.ErrNotFound)

func missingTool(err error) bool { return errors.Is(err, exec.ErrNotFound) }

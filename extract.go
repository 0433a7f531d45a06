package thumbcache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
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
	// [Config.Revalidate], and before and after every extraction, but for requests with a Version.
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

	folder bool // what was opened is a folder
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
// reached", which is never the same as a file that does not exist. So name a folder inside a share: its mount point stays, and
// is empty, when the share goes.
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

// List implements [Lister]. Of a folder with very many entries it returns some.
func (f files) List(ctx context.Context, path string) ([]string, error) {
	const enough = 20_000
	var names []string
	err := f.in(ctx, path, func(root *os.Root, name string) error {
		dir, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer dir.Close()
		if info, err := dir.Stat(); err != nil || !info.IsDir() {
			return cmp.Or(err, fmt.Errorf("not a folder: %w", fs.ErrInvalid))
		}
		for ctx.Err() == nil && len(names) < enough {
			some, err := dir.Readdirnames(1000)
			names = append(names, some...)
			if err != nil {
				if err == io.EOF {
					err = nil
				}
				return err
			}
		}
		return ctx.Err()
	})
	return names, err
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

// A Lister is a [Provider] that also tells what is in a folder, as the one of [Files] does. Then a folder, and a song without
// a cover, has the picture that lies there: see [Config.FolderArt]. The elements of its paths are separated by slashes.
type Lister interface {
	// List returns the names in a folder, in any order.
	List(ctx context.Context, path string) ([]string, error)
}

// folderArt finds the pictures that stand for a folder. It knows them only through the provider.
type folderArt struct {
	Provider
	Lister
	patterns []string // of lower-case names, the best first
}

// newFolderArt returns nil if p is no Lister or there are no patterns.
func newFolderArt(p Provider, patterns []string) *folderArt {
	l, ok := p.(Lister)
	if !ok || len(patterns) == 0 {
		return nil
	}
	return &folderArt{p, l, patterns}
}

// maxArt bounds how many pictures of one folder are considered.
const maxArt = 8

// An artFile is a file that may be the picture of its folder.
type artFile struct {
	path  string
	stamp Stamp
}

// candidates returns the files of a folder that match the patterns, the best first.
func (a *folderArt) candidates(ctx context.Context, folder string) ([]artFile, error) {
	names, err := a.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var found []artFile
	for _, pattern := range a.patterns {
		for _, name := range names {
			if ok, _ := path.Match(pattern, strings.ToLower(name)); !ok || len(found) == maxArt {
				continue
			}
			file := path.Join(folder, name)
			if slices.ContainsFunc(found, func(f artFile) bool { return f.path == file }) {
				continue
			}
			stamp, err := a.Stat(ctx, file)
			switch {
			case err == nil:
				found = append(found, artFile{file, stamp})
			case !sure(err): // a folder called cover.d is no reason to give up, a share that has gone is
				return nil, err
			}
		}
	}
	return found, nil
}

// extract returns the first candidate that is a picture, or ErrNoPicture.
func (a *folderArt) extract(ctx context.Context, found []artFile) (*Picture, error) {
	for _, file := range found {
		pic, err := a.extractFile(ctx, file.path)
		if err == nil || !sure(err) && !errors.Is(err, fs.ErrPermission) {
			return pic, err
		}
	}
	return nil, ErrNoPicture
}

func (a *folderArt) extractFile(ctx context.Context, path string) (*Picture, error) {
	src, err := checked(a.Open(ctx, path))
	if err != nil {
		return nil, err
	}
	defer src.Content.Close()
	return extractImage(ctx, src)
}

// checked is for what a provider's Open returns: a source or an error.
func checked(src *Source, err error) (*Source, error) {
	switch {
	case err != nil && src != nil && src.Content != nil:
		src.Content.Close()
		return nil, err
	case err == nil && (src == nil || src.Content == nil || src.Size < 0):
		return nil, errors.New("the provider returned nothing, or a size below 0")
	}
	return src, err
}

// artTag begins the part of a stamp's tag that tells the state of the folder's pictures. A stamp has that part if they were
// considered, be it that there were none.
const artTag = "\x00art"

// withArt returns s with the state of the folder's pictures.
func (s Stamp) withArt(found []artFile) Stamp {
	s.Tag += artTag
	for _, f := range found {
		s.Tag += fmt.Sprintf("\x00%s\x00%d\x00%d\x00%s", path.Base(f.path), f.stamp.Size, f.stamp.ModTime.UnixNano(), f.stamp.Tag)
	}
	return s
}

func (s Stamp) hasArt() bool { return strings.Contains(s.Tag, artTag) }

// beside returns the candidates in the folder that name is in. One that cannot be listed has none.
func (a *folderArt) beside(ctx context.Context, name string) ([]artFile, error) {
	found, err := a.candidates(ctx, path.Dir(filepath.ToSlash(name)))
	if err != nil && (sure(err) || errors.Is(err, fs.ErrPermission)) {
		return nil, nil
	}
	return found, err
}

// stat returns the state of the media at name, and of the pictures beside it too if art is set. Of a folder it returns the
// state of the pictures in it.
func (p *provider) stat(ctx context.Context, name string, art bool) (Stamp, error) {
	stamp, err := p.Stat(ctx, name)
	if p.art == nil {
		return stamp, err
	}
	if errors.Is(err, fs.ErrInvalid) {
		if found, listErr := p.art.candidates(ctx, name); listErr == nil {
			return Stamp{}.withArt(found), nil
		}
	}
	if err != nil || !art {
		return stamp, err
	}
	found, err := p.art.beside(ctx, name)
	return stamp.withArt(found), err
}

// open opens the media at name. A folder is opened as a source of nothing: its picture is that of its files.
func (p *provider) open(ctx context.Context, name string) (*Source, error) {
	src, err := checked(p.Open(ctx, name))
	if errors.Is(err, fs.ErrInvalid) && p.art != nil {
		if found, listErr := p.art.candidates(ctx, name); listErr == nil {
			src, err = BytesSource(name, Stamp{}.withArt(found), nil), nil
			src.folder = true
		}
	}
	return src, err
}

// extract returns the picture in src, which was opened at name in the state of stamp, or the one of its folder. The stamp
// that it returns is that of all that was considered.
func (p *provider) extract(ctx context.Context, e Extractor, src *Source, name string, stamp Stamp, folderFirst bool) (*Picture, Stamp, error) {
	if src.folder {
		found, err := p.art.candidates(ctx, name)
		if err != nil {
			return nil, stamp, err
		}
		pic, err := p.art.extract(ctx, found)
		if errors.Is(err, ErrNoPicture) {
			err = fmt.Errorf("%w: a folder without one: %w", ErrNoPicture, fs.ErrInvalid)
		}
		return pic, stamp, err
	}
	if p.art != nil && folderFirst {
		if pic, now, err := p.extractBeside(ctx, name, stamp); !errors.Is(err, ErrNoPicture) {
			return pic, now, err
		} else {
			stamp = now
		}
	}
	pic, err := e.Extract(ctx, src)
	if err == nil && (pic == nil || len(pic.Data) == 0) {
		err = errors.New("the extractor returned nothing")
	}
	if p.art != nil && !folderFirst && errors.Is(err, ErrNoPicture) {
		return p.extractBeside(ctx, name, stamp)
	}
	return pic, stamp, ownError(err)
}

func (p *provider) extractBeside(ctx context.Context, name string, stamp Stamp) (*Picture, Stamp, error) {
	found, err := p.art.beside(ctx, name)
	if err != nil {
		return nil, stamp, err
	}
	if !stamp.hasArt() {
		stamp = stamp.withArt(found)
	}
	pic, err := p.art.extract(ctx, found)
	return pic, stamp, err
}

// ownError keeps an extractor's error from passing for a statement about the source: that something else is missing or
// invalid does not mean that the source is.
func ownError(err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	if missingTool(err) {
		return errNoTool
	}
	for _, verdict := range []error{ErrNoPicture, ErrUnsupported, ErrCorrupt, ErrTooLarge} {
		if errors.Is(err, verdict) {
			return verdict
		}
	}
	return errors.New(err.Error())
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

	ffmpeg      *FFmpeg // to decode Data if Go cannot; nil: there is none, or it has done so
	orientation int     // as in EXIF; 0: as Data says
}

func (p *Picture) canRescue() bool { return p.ffmpeg != nil }

// rescuedBy returns p with f, if it has none. It is another Picture, since an Extractor may return one and the same many times.
func (p *Picture) rescuedBy(f *FFmpeg) *Picture {
	if p == nil || p.ffmpeg != nil || f == nil {
		return p
	}
	return &Picture{p.Data, f, p.orientation}
}

// rescue returns p as decoded by ffmpeg.
func (p *Picture) rescue(ctx context.Context) (*Picture, error) {
	data, err := p.ffmpeg.decode(ctx, p.Data)
	if err != nil {
		return nil, ownError(err)
	}
	return &Picture{Data: data, orientation: render.Orientation(p.Data)}, nil
}

// FirstOf returns an Extractor that asks one after the other for as long as they answer [ErrUnsupported]. Any other
// answer is final. If an [FFmpeg] is among them, it also decodes the pictures of the others that Go cannot decode, be it
// that they are damaged or of a kind like AVIF.
func FirstOf(extractors ...Extractor) Extractor { return firstOf(slices.Clone(extractors)) }

type firstOf []Extractor

func (list firstOf) Extract(ctx context.Context, src *Source) (*Picture, error) {
	for _, e := range list {
		pic, err := e.Extract(ctx, src)
		if errors.Is(err, ErrUnsupported) {
			continue
		}
		return pic.rescuedBy(ffmpegOf(list)), err
	}
	return nil, ErrUnsupported
}

// ffmpegOf returns the FFmpeg that e is or asks, as far as that can be seen.
func ffmpegOf(e Extractor) *FFmpeg {
	switch e := e.(type) {
	case *FFmpeg:
		return e
	case firstOf:
		for _, e := range e {
			if f := ffmpegOf(e); f != nil {
				return f
			}
		}
	}
	return nil
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
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // cut off under us
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

// FFmpeg is an [Extractor] for everything else: it runs ffmpeg, never more than Processes at once. The zero value is
// ready. It is used by pointer and must not be copied; the limit is the value's, so one that is shared by two caches
// limits them together.
//
// No file makes it read another file or reach for the network: ffmpeg gets an open descriptor and no name, and runs under
// limits of memory, time and output. SECURITY.md tells what else is taken from it on which system. Where ffmpeg is missing
// the error matches exec.ErrNotFound.
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
	data, err := f.use().Extract(ctx, src.Content, src.Size, callerOf(ctx))
	if err != nil {
		return nil, ffmpegError(err)
	}
	return &Picture{Data: data}, nil
}

// decode decodes a picture that Go cannot, or that is damaged.
func (f *FFmpeg) decode(ctx context.Context, data []byte) ([]byte, error) {
	data, err := f.use().Decode(ctx, data, callerOf(ctx))
	return data, ffmpegError(err)
}

// build identifies the binary; it is "" if there is none.
func (f *FFmpeg) build() string { return f.use().Build() }

func (f *FFmpeg) use() *ffmpeg.Tool {
	f.once.Do(func() {
		f.tool = &ffmpeg.Tool{Path: f.Path, Processes: f.Processes, At: f.At, Timeout: f.Timeout}
	})
	return f.tool
}

func ffmpegError(err error) error {
	switch {
	case errors.Is(err, ffmpeg.ErrUnsupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.Is(err, ffmpeg.ErrNoPicture):
		return fmt.Errorf("%w: %w", ErrNoPicture, err)
	case errors.Is(err, ffmpeg.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// processCounter counts child processes.
type processCounter struct {
	started atomic.Uint64
	running atomic.Int64
}

func (n *processCounter) start() (ended func()) {
	n.started.Add(1)
	n.running.Add(1)
	return func() { n.running.Add(-1) }
}

// callerKey is the key of an ffmpeg.Caller: for whom an extractor works. It travels in the context, so that a process counts
// for the cache that it works for although its FFmpeg may be wrapped or shared.
type callerKey struct{}

func withCaller(ctx context.Context, groups []string, started, waits func() (done func())) context.Context {
	return context.WithValue(ctx, callerKey{}, ffmpeg.Caller{Groups: groups, Started: started, Waits: waits})
}

func callerOf(ctx context.Context) ffmpeg.Caller {
	by, _ := ctx.Value(callerKey{}).(ffmpeg.Caller)
	return by
}

// errNoTool says that ffmpeg is missing, and not where it was looked for.
var errNoTool = fmt.Errorf("ffmpeg: %w", exec.ErrNotFound)

func missingTool(err error) bool { return errors.Is(err, exec.ErrNotFound) }

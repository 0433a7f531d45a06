package thumbcache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thumbcache/thumbcache/internal/coverart"
	"github.com/thumbcache/thumbcache/internal/ffmpeg"
	"github.com/thumbcache/thumbcache/internal/rawphoto"
	"github.com/thumbcache/thumbcache/internal/render"
)

// A Provider gives access to media. It decides what a path means: a file name, a database id, a URL. Its methods are called by
// several goroutines at once and should return when ctx ends.
//
// Their errors mean:
//
//   - [fs.ErrNotExist]: the source does not exist. Its cached thumbnails are removed.
//   - [ErrNoMedia]: the source exists, such as an album in a database, and has no media. Its cached thumbnails are removed, and the
//     error is remembered. So are [ErrNoPicture], [ErrUnsupported] and [ErrCorrupt], as if an Extractor had returned them.
//   - Any other error: the source cannot be reached now. Cached thumbnails are kept and served.
//
// Several callers may wait for one call, so ctx has no values of their contexts.
type Provider interface {
	// Stat returns the present state of a source. It should be cheap. It is called about once per source and [Config.Revalidate],
	// and before every extraction, unless the request has a Version. It is called after an extraction, too, if the Content cannot
	// tell whether it has changed: if it is neither in memory nor an *os.File, or if Open returned another Stamp than Stat. If
	// folder art is used, it is also called for some pictures beside the source.
	Stat(ctx context.Context, path string) (Stamp, error)
	// Open opens a source. The cache closes its Content.
	Open(ctx context.Context, path string) (*Source, error)
}

// A Stamp identifies one state of a source. Stamps are equal if all fields are. A provider leaves fields zero that it does
// not know.
type Stamp struct {
	Size    int64     // in bytes
	ModTime time.Time // to the nanosecond, if that is known
	Tag     string    // anything else that changes with the content: an ETag, a revision, a hash
}

func (s Stamp) equal(t Stamp) bool {
	return s.Size == t.Size && s.Tag == t.Tag && s.ModTime.Equal(t.ModTime)
}

// Version returns a short text that changes with the stamp, made of letters, digits, "-" and "_". Use it as a [Request.Version]
// if there is no better one. The version of the zero Stamp is empty. The stamp that a provider's Stat returns does not cover
// pictures beside the source: in an immutable URL, a changed cover.jpg goes unnoticed.
func (s Stamp) Version() string {
	if s.equal(Stamp{}) {
		return ""
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(s.Size))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.ModTime.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(s.ModTime.Nanosecond()))
	return digest(append(b, s.Tag...))
}

// A Source is one opened piece of media. Its Content may be read by several goroutines at once. The cache closes it.
type Source struct {
	Name    string // a label for logs, never opened
	Size    int64  // of Content, in bytes
	Stamp   Stamp  // the state of the source when it was opened
	Content interface {
		io.ReaderAt
		io.Closer
	} // an *os.File if possible: ffmpeg gets its descriptor; other content is copied to a temporary file

	// Partial says that a part of the media cannot be reached now, such as a picture of a collage. A thumbnail of the rest is served
	// and not kept. A request with a Version fails, because its answer would be immutable.
	Partial bool

	folder bool // the source is a folder
}

// isSteady reports whether src was opened in the state of stamp and its Content has not changed since. If the Content cannot tell,
// or the state includes pictures beside the source, isSteady reports false.
func (src *Source) isSteady(stamp Stamp) bool {
	if src.folder || !src.Stamp.equal(stamp) {
		return false
	}
	switch content := src.Content.(type) {
	case bytesContent:
		return true
	case interface{ Stat() (fs.FileInfo, error) }: // such as an *os.File
		info, err := content.Stat()
		return err == nil && info.Size() == src.Size && info.ModTime().Equal(src.Stamp.ModTime)
	}
	return false
}

// BytesSource returns a Source for media in memory. It does not copy data, which must not be modified afterwards.
func BytesSource(name string, stamp Stamp, data []byte) *Source {
	return &Source{Name: name, Size: int64(len(data)), Stamp: stamp, Content: bytesContent{bytes.NewReader(data)}}
}

type bytesContent struct{ *bytes.Reader }

func (bytesContent) Close() error { return nil }

// checkSource makes sure that there is either a source or an error. Its arguments are the results of a provider's Open.
func checkSource(src *Source, err error) (*Source, error) {
	switch {
	case err != nil && src != nil && src.Content != nil:
		src.Content.Close()
		return nil, err
	case err == nil && (src == nil || src.Content == nil || src.Size < 0):
		return nil, errors.New("the provider returned no content, or a negative size")
	}
	return src, err
}

// watchesArt reports whether the pictures beside a source are part of its state. s is a stamp of the source.
func (p *provider) watchesArt(s Stamp) bool { return p.settings.FolderFirst || s.hasArt() }

// A sinceProvider is a Provider whose Stat is better told what was known before. before is zero if nothing was.
type sinceProvider interface {
	statSince(ctx context.Context, path string, before Stamp) (Stamp, error)
}

// opensFirst reports whether Open gives the state of a source with its content, and is hardly dearer than Stat.
func (p *provider) opensFirst() bool {
	_, ok := p.Provider.(*remote)
	return ok
}

// stat returns the state of the media at name, which was in the state before. A lasting verdict is a state, too. The state of a
// folder is that of the pictures in it.
func (p *provider) stat(ctx context.Context, name string, before Stamp) (stamp Stamp, err error) {
	if since, ok := p.Provider.(sinceProvider); ok {
		stamp, err = since.statSince(ctx, name, before)
	} else {
		stamp, err = p.Stat(ctx, name)
	}
	if isVerdict(err) && !errors.Is(err, fs.ErrNotExist) {
		return verdictStamp(err), nil
	}
	if p.art == nil {
		return stamp, err
	}
	if errors.Is(err, fs.ErrInvalid) {
		found, listErr := p.art.ofFolder(ctx, name, "")
		if listErr == nil {
			return Stamp{}.withArt(found...), nil
		}
		if !isSkipped(listErr) { // it may be a folder that cannot be listed now
			return stamp, listErr
		}
	}
	if err != nil || !p.watchesArt(before) {
		return stamp, err
	}
	own, folder, err := p.art.beside(ctx, name)
	return stamp.withArt(slices.Concat(own, folder)...), err
}

// verdicts are the errors that are remembered.
var verdicts = [...]error{ErrNoPicture, ErrNoMedia, ErrUnsupported, ErrCorrupt}

// verdictTag begins the tag of a stamp that stands for a provider's verdict.
const verdictTag = "\x00verdict "

// verdictStamp returns the state of a source about which the provider has said err.
func verdictStamp(err error) Stamp {
	i := slices.IndexFunc(verdicts[:], func(v error) bool { return errors.Is(err, v) })
	return Stamp{Tag: verdictTag + verdicts[i].Error()}
}

// verdict returns the error that a verdictStamp stands for, or nil.
func (s Stamp) verdict() error {
	if text, ok := strings.CutPrefix(s.Tag, verdictTag); ok {
		for _, v := range verdicts {
			if v.Error() == text {
				return v
			}
		}
	}
	return nil
}

// open opens the media at name. A folder becomes a source without content: its picture is one of its files.
func (p *provider) open(ctx context.Context, name string) (*Source, error) {
	src, err := checkSource(p.Open(ctx, name))
	if errors.Is(err, fs.ErrInvalid) && p.art != nil {
		found, listErr := p.art.ofFolder(ctx, name, "")
		switch {
		case listErr == nil:
			src, err = BytesSource(name, Stamp{}.withArt(found...), nil), nil
			src.folder = true
		case !isSkipped(listErr):
			return nil, listErr
		}
	}
	return src, err
}

// extract returns the best picture in src or beside it that ctx does not reject. src was opened at name in the state of stamp.
// extract returns the stamp of everything that was considered.
func (p *provider) extract(ctx context.Context, src *Source, name string, stamp Stamp) (*Picture, Stamp, error) {
	if src.folder {
		found, err := p.art.ofFolder(ctx, name, "")
		if err != nil {
			return nil, stamp, err
		}
		pic, err := p.art.extract(ctx, found)
		if errors.Is(err, ErrNoPicture) {
			err = fmt.Errorf("%w: a folder without a picture: %w", ErrNoPicture, fs.ErrInvalid)
		}
		return pic.withNext(), stamp, err
	}
	if p.art == nil {
		pic, err := p.extractEmbedded(ctx, src)
		return pic, stamp, err
	}
	var own, folder []artFile
	list := sync.OnceValue(func() (err error) {
		own, folder, err = p.art.beside(ctx, name)
		stamp = stamp.withArt(slices.Concat(own, folder)...)
		return err
	})
	beside := func() (*Picture, error) {
		if err := list(); err != nil {
			return nil, err
		}
		return p.art.extract(ctx, slices.Concat(own, folder))
	}
	if p.settings.FolderFirst {
		if pic, err := beside(); !errors.Is(err, ErrNoPicture) {
			return pic.withNext(), stamp, err
		}
	}
	s := searchOf(ctx)
	isPicture := isPicture(src) // then no other picture can take its place
	if !isPicture {
		s.own = func(ctx context.Context) (*Picture, error) {
			if err := list(); err != nil {
				return nil, err
			}
			return p.art.extract(ctx, own)
		}
	}
	pic, err := p.extractEmbedded(withSearch(ctx, s), src)
	if !isPicture {
		pic = pic.withNext()
	}
	if !isPicture && !p.settings.FolderFirst && (errors.Is(err, ErrNoPicture) || errors.Is(err, ErrCorrupt)) {
		if pic, besideErr := beside(); !errors.Is(besideErr, ErrNoPicture) {
			return pic.withNext(), stamp, besideErr
		}
	}
	return pic, stamp, err
}

// extractEmbedded returns the best picture that the extractor finds in src, unless ctx rejects it.
func (p *provider) extractEmbedded(ctx context.Context, src *Source) (*Picture, error) {
	pic, err := p.extractor.Extract(ctx, src)
	switch {
	case err != nil:
		return nil, extractorError(err)
	case pic == nil || len(pic.Data) == 0 && pic.Image == nil:
		return nil, errors.New("the extractor returned no picture and no error")
	case len(pic.Data) == 0:
		if pic, err = pictureOf(ctx, pic.Image); err != nil {
			return nil, err
		}
	}
	if searchOf(ctx).hasRejected(pic) {
		return nil, ErrNoPicture
	}
	return pic, nil
}

// pictureOf returns an image as a Picture with Data.
func pictureOf(ctx context.Context, img image.Image) (*Picture, error) {
	data, err := render.Bitmap(ctx, img)
	if err != nil {
		return nil, renderError(err)
	}
	return &Picture{Data: data, noRescue: true}, nil
}

// extractorError removes fs.ErrNotExist and fs.ErrInvalid from an extractor's error. They would say that the source is missing or
// invalid, and not something that the extractor needs.
func extractorError(err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	if isMissingTool(err) {
		return errNoTool
	}
	for _, verdict := range append(verdicts[:], ErrTooLarge) {
		if errors.Is(err, verdict) {
			return verdict
		}
	}
	return errors.New(err.Error())
}

// An Extractor finds the picture in a piece of media. It is called by several goroutines at once. Its errors mean:
//
//   - [ErrUnsupported]: the extractor does not know this kind of media. The next extractor is asked.
//   - [ErrNoPicture]: the media is of a known kind, intact, and has no picture anywhere. This is final, and remembered.
//   - [ErrCorrupt]: the media is of a known kind, and broken. This is remembered too.
//   - Any other error may pass, and is not remembered. It never counts as the source's [fs.ErrNotExist].
//
// A panic becomes the error of the Get that caused it, unless it happens in a goroutine that the Extractor started.
type Extractor interface {
	Extract(ctx context.Context, src *Source) (*Picture, error)
}

// An ExtractorFunc is a function used as an [Extractor].
type ExtractorFunc func(ctx context.Context, src *Source) (*Picture, error)

// Extract calls f.
func (f ExtractorFunc) Extract(ctx context.Context, src *Source) (*Picture, error) {
	return f(ctx, src)
}

// A Picture is the result of an Extractor.
type Picture struct {
	Data []byte // an encoded image; it must not be modified afterwards

	// Image is the picture as pixels, upright, if there is no Data: for an Extractor that draws or decodes pictures itself. It may have
	// 16 megapixels; a larger one is ErrTooLarge. The cache copies it at once.
	Image image.Image

	ffmpeg      *FFmpeg // decodes Data if Go cannot; nil: there is none, or Data was decoded by it
	orientation int     // as in EXIF; 0: as Data says
	edge        int     // the picture is a smaller copy, good for thumbnails of up to so many pixels; 0: for all
	noRescue    bool    // ffmpeg is not asked about it: it is a preview in a RAW photo, or was given as pixels
	hasNext     bool    // there may be another picture if this one cannot be decoded
	sum         string  // digest of the picture as it was extracted; "" if it is not known yet
}

// isEnough reports whether p is large enough for a thumbnail that needs edge pixels, as in search.
func (p *Picture) isEnough(edge int) bool { return p.edge == 0 || edge != 0 && edge <= p.edge }

// digest identifies a picture by its content, as it was extracted: what ffmpeg decodes of it has the same digest.
func (p *Picture) digest() string {
	if p.sum != "" {
		return p.sum
	}
	h := sha256.New()
	h.Write([]byte{byte(p.orientation)})
	h.Write(p.Data)
	return string(h.Sum(nil))
}

// withNext returns p, which may be nil, as one of several pictures.
func (p *Picture) withNext() *Picture {
	if p == nil || p.hasNext {
		return p
	}
	q := *p
	q.hasNext = true
	return &q
}

func (p *Picture) canRescue() bool { return p.ffmpeg != nil }

// rescuedBy returns p with f unless p has an ffmpeg or needs none. It returns a copy, because an Extractor may return the same Picture often.
func (p *Picture) rescuedBy(f *FFmpeg) *Picture {
	if p == nil || p.ffmpeg != nil || p.noRescue || f == nil {
		return p
	}
	q := *p
	q.ffmpeg = f
	return &q
}

// rescue returns the picture that ffmpeg decodes from p.
func (p *Picture) rescue(ctx context.Context) (*Picture, error) {
	rescued, err := p.ffmpeg.decode(ctx, p.Data)
	if err != nil {
		return nil, extractorError(err)
	}
	rescued.orientation, rescued.hasNext, rescued.sum = render.Orientation(p.Data), p.hasNext, p.digest()
	return rescued, nil
}

// FirstOf returns an Extractor that asks each of extractors in turn, until one answers anything except [ErrUnsupported]. If an
// [FFmpeg] is among them, it also decodes pictures of the others that Go cannot decode: damaged ones, and kinds such as AVIF.
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

// ffmpegOf returns the FFmpeg that e is or that a FirstOf contains, or nil.
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

// maxImageFile is the length of the largest file that Images reads into memory. Larger ones rarely fit in the default
// DecodeBytes.
const maxImageFile = 64 << 20

// Images returns an Extractor for media that is itself a picture, recognized by content: JPEG, PNG, GIF, WebP, BMP, ICO and TIFF,
// and the previews in RAW photos (DNG, NEF, CR2, CR3, ARW, ORF, RW2, RAF, PEF). A file of more than 64 MiB is [ErrTooLarge], unless
// it is a RAW photo.
func Images() Extractor { return ExtractorFunc(extractImage) }

func extractImage(ctx context.Context, src *Source) (*Picture, error) {
	pic, err := extractPreview(ctx, src)
	if !errors.Is(err, ErrUnsupported) {
		return pic, err
	}
	return readPicture(ctx, src, func(_ string, decodable bool) bool { return decodable })
}

// isPicture reports whether media is itself a picture, judging by its first bytes.
func isPicture(src *Source) bool {
	head, err := readHead(src)
	if err != nil {
		return false
	}
	kind, _ := render.Sniff(head)
	return kind != "" || rawphoto.Sniff(head)
}

// extractPreview returns the smallest preview in a RAW photo that is large enough. It reads little more than that.
func extractPreview(ctx context.Context, src *Source) (*Picture, error) {
	head, err := readHead(src)
	if err != nil {
		return nil, err
	}
	if !rawphoto.Sniff(head) {
		return nil, ErrUnsupported
	}
	s := searchOf(ctx)
	for n := range maxPictures {
		data, orientation, err := rawphoto.Preview(ctx, src.Content, src.Size, s.edge, n)
		switch {
		case errors.Is(err, rawphoto.ErrUnsupported):
			return nil, ErrUnsupported
		case errors.Is(err, rawphoto.ErrNoPicture):
			return nil, ErrNoPicture
		case errors.Is(err, rawphoto.ErrCorrupt):
			return nil, ErrCorrupt
		case err != nil:
			return nil, err
		}
		pic := &Picture{Data: data, orientation: orientation, edge: s.edge, noRescue: true, hasNext: true}
		if !s.hasRejected(pic) {
			return pic, nil
		}
	}
	return nil, ErrNoPicture
}

// readHead returns the first bytes of src, which tell its kind.
func readHead(src *Source) ([]byte, error) {
	head := make([]byte, min(src.Size, 64))
	if _, err := src.Content.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading: %w", err)
	}
	return head, nil
}

// readPicture reads the picture that src is, if its kind is wanted. Decodable says whether Go can decode that kind.
func readPicture(ctx context.Context, src *Source, wanted func(kind string, decodable bool) bool) (*Picture, error) {
	head, err := readHead(src)
	if err != nil {
		return nil, err
	}
	if !wanted(render.Sniff(head)) {
		return nil, ErrUnsupported
	}
	if src.Size > maxImageFile {
		return nil, fmt.Errorf("%w: a picture of %d bytes", ErrTooLarge, src.Size)
	}
	data := make([]byte, src.Size)
	r := io.NewSectionReader(src.Content, 0, src.Size)
	for n := 0; n < len(data); {
		// In steps, so that reading from a slow share ends soon after it is canceled.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := io.ReadFull(r, data[n:min(n+1<<20, len(data))])
		n += m
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // the file became shorter meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("reading: %w", err)
		}
	}
	return &Picture{Data: data}, nil
}

// CoverArt returns an Extractor for covers that are embedded in audio files. It is written in Go, starts no process, and reads
// little more than the picture itself. A song without a cover is [ErrNoPicture]. A film without one is [ErrUnsupported], because
// its picture is a frame.
func CoverArt() Extractor { return ExtractorFunc(extractCover) }

func extractCover(ctx context.Context, src *Source) (*Picture, error) {
	s := searchOf(ctx)
	for n := range maxPictures {
		data, err := coverart.FindNth(ctx, src.Content, src.Size, n)
		if err != nil {
			return nil, coverError(err)
		}
		if pic := (&Picture{Data: data, hasNext: true}); !s.hasRejected(pic) {
			return pic, nil
		}
	}
	return nil, ErrNoPicture
}

// FFmpeg is an [Extractor] that runs ffmpeg: for videos, and for pictures and audio files that Go cannot read. The zero value is
// ready to use. An FFmpeg is used by pointer and must not be copied. Two caches that share one share its limit of processes.
//
// No media file can make ffmpeg read another file or use the network: ffmpeg gets an open descriptor instead of a name, and runs
// under limits of memory, time and output. SECURITY.md lists what else is restricted on which system. If ffmpeg is missing, the
// error matches [exec.ErrNotFound].
type FFmpeg struct {
	Path      string        // "" means ffmpeg in PATH
	Processes int           // at once; 0 or less means 2
	At        float64       // where in a video, as a fraction of its length; 0 means 0.1
	Timeout   time.Duration // for one process; 0 means 20s

	once     sync.Once
	tool     *ffmpeg.Tool
	mu       sync.Mutex // protects tempDirs
	tempDirs []string
}

// addTempDir adds a folder for temporary files, in case the system has none that can be written. It has no effect after the first
// use of f.
func (f *FFmpeg) addTempDir(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tempDirs = append(f.tempDirs, dir)
}

// Extract implements [Extractor].
func (f *FFmpeg) Extract(ctx context.Context, src *Source) (*Picture, error) {
	s := searchOf(ctx)
	if s.own != nil {
		// A picture that was put beside a film is better than any frame of it.
		if pic, err := s.own(ctx); !errors.Is(err, ErrNoPicture) {
			return pic, err
		}
	}
	pic := &Picture{hasNext: !isPicture(src)} // an attached cover may be broken
	by := s.callerFor(pic)
	for {
		data, err := f.use().Extract(ctx, src.Content, src.Size, by)
		if err != nil {
			return nil, ffmpegError(err)
		}
		pic.Data = data
		if by.NoCover || !s.hasRejected(pic) {
			return pic, nil
		}
		by.NoCover = true
	}
}

// decode decodes a picture that Go cannot decode, such as a damaged one.
func (f *FFmpeg) decode(ctx context.Context, data []byte) (*Picture, error) {
	pic := &Picture{}
	by := searchOf(ctx).callerFor(pic)
	data, err := f.use().Decode(ctx, data, by)
	if err != nil {
		return nil, ffmpegError(err)
	}
	pic.Data = data
	return pic, nil
}

// build identifies the ffmpeg binary. It returns "" if there is none.
func (f *FFmpeg) build() string { return f.use().Build() }

func (f *FFmpeg) use() *ffmpeg.Tool {
	f.once.Do(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tool = &ffmpeg.Tool{Path: f.Path, Processes: f.Processes, At: f.At, Timeout: f.Timeout, TempDirs: f.tempDirs}
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

// A search is what an extractor of this package knows besides its source. It travels in the context, because the extractor may be
// wrapped in another one.
type search struct {
	caller   ffmpegCaller
	edge     int                                     // pixels that the longest edge of the picture needs; 0: as many as there are
	rejected []string                                // digests of pictures that cannot be decoded
	own      func(context.Context) (*Picture, error) // a picture beside the media that belongs to it alone; may be nil

	// readArt reads a picture beside the media, once for all media beside it; may be nil.
	readArt func(context.Context, artFile) (*Picture, error)
}

type ffmpegCaller = ffmpeg.Caller

// maxPictures is how many pictures of one source are tried. Each that cannot be decoded costs an extraction, and often a process.
const maxPictures = 8

// hasRejected reports whether p was tried and cannot be decoded.
func (s search) hasRejected(p *Picture) bool {
	return len(s.rejected) > 0 && slices.Contains(s.rejected, p.digest())
}

// callerFor returns the caller for an ffmpeg that makes pic. It notes in pic if the picture is good for the wanted edge only.
func (s search) callerFor(pic *Picture) ffmpegCaller {
	by := s.caller
	by.Edge, by.Reduced = s.edge, func() { pic.edge = s.edge }
	return by
}

// accepts reports whether p, which was extracted before, is what the search is for.
func (s search) accepts(p *Picture) bool { return !s.hasRejected(p) && p.isEnough(s.edge) }

type searchKey struct{}

func withSearch(ctx context.Context, s search) context.Context {
	return context.WithValue(ctx, searchKey{}, s)
}

func searchOf(ctx context.Context) search {
	s, _ := ctx.Value(searchKey{}).(search)
	return s
}

// errNoTool says that ffmpeg is missing, without the path that was searched.
var errNoTool = fmt.Errorf("ffmpeg: %w", exec.ErrNotFound)

func isMissingTool(err error) bool { return errors.Is(err, exec.ErrNotFound) }

// needsTempDir reports whether err says that no folder for temporary files can be written.
func needsTempDir(err error) bool { return errors.Is(err, ffmpeg.ErrNoTempDir) }

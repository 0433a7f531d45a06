// Package rawphoto finds the JPEG previews that cameras put into RAW photos.
//
// Developing the sensor's data takes much work, but the camera has already made a picture: most files have two to four
// previews, from 160 pixels wide to the full size. The package reads the tables of the file, the headers of the previews,
// and the chosen preview. It reads nothing else.
//
// It supports DNG, NEF and NRW (Nikon), CR2 and CR3 (Canon), ARW and SR2 (Sony), ORF (Olympus, OM System), RW2 and RWL
// (Panasonic, Leica), RAF (Fujifilm), PEF (Pentax) and SRW (Samsung). It also supports other kinds that are built like
// TIFF files, if TIFF fields name their previews.
package rawphoto

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/thumbcache/thumbcache/internal/tiff"
)

var (
	ErrUnsupported = errors.New("rawphoto: not a RAW photo of a known kind")
	ErrNoPicture   = errors.New("rawphoto: no preview in the RAW photo")
	ErrCorrupt     = errors.New("rawphoto: broken RAW photo")
)

// Limits on what is read of a file.
const (
	maxPreview  = 64 << 20 // bytes of a preview; one of 100 megapixels has 40 MiB
	maxPreviews = 32       // previews of a file; cameras write up to 4

	// Directories of a file; cameras write up to 8. A document of many pages is not read to its end.
	maxDirectories = 32

	maxSegments = 64 // JPEG segments before the frame header
	maxBoxes    = 64 // boxes in a box of a CR3 file
)

// Sniff reports whether a file may be a RAW photo, by its first 16 bytes or more. Most kinds begin like any TIFF file,
// and only [Preview] tells them apart.
func Sniff(head []byte) bool {
	return kindOf(head) != kindOther
}

// A kind is how a file is built.
type kind uint8

const (
	kindOther  kind = iota
	kindTIFF        // like TIFF; may be any TIFF file
	kindVendor      // like TIFF, with a vendor's own mark
	kindCR3         // like MP4
	kindRAF
)

// Magic numbers of ORF and RW2, in place of TIFF's 42.
const (
	magicORF    = 0x4f52
	magicORFNew = 0x5352
	magicRW2    = 0x0055
)

const (
	rafMagic = "FUJIFILMCCD-RAW "
	sniffLen = len(rafMagic) // bytes that tell the kinds apart
)

func kindOf(head []byte) kind {
	if len(head) < sniffLen {
		return kindOther
	}
	switch string(head[:4]) {
	case "IIRO", "IIRS", "MMOR", "IIU\x00":
		return kindVendor
	case "II*\x00", "MM\x00*", "II+\x00", "MM\x00+":
		switch string(head[8:12]) {
		case "CR\x02\x00", "IIII", "MMMM": // Canon, Phase One
			return kindVendor
		}
		return kindTIFF
	}
	switch {
	case string(head[4:12]) == "ftypcrx ":
		return kindCR3
	case string(head[:len(rafMagic)]) == rafMagic:
		return kindRAF
	}
	return kindOther
}

// Preview returns a preview of a RAW photo: the smallest whose longest edge has at least want pixels, or else the
// largest. A want of 0 means the largest. With n above 0, the n best previews are left out, because they turned out to be broken.
//
// The caller applies the orientation, 1 to 8 as in EXIF, to the preview and ignores the preview's own EXIF.
//
// The error is [ErrUnsupported] if the file is no RAW photo, [ErrNoPicture], [ErrCorrupt], or that of r or ctx.
func Preview(ctx context.Context, r io.ReaderAt, size int64, want, n int) (jpeg []byte, orientation int, err error) {
	s := &search{r: &reader{ctx, r}, size: size}
	head := s.read(0, sniffLen)
	switch kind := kindOf(head); kind {
	case kindTIFF, kindVendor:
		err = s.readTIFF(kind == kindVendor)
	case kindCR3:
		s.readCR3()
	case kindRAF:
		s.readRAF()
	default:
		err = ErrUnsupported
	}
	if s.err != nil {
		err = s.err
	}
	if err != nil {
		return nil, 0, err
	}
	p, ok := s.choose(want)
	for range n {
		s.previews = slices.DeleteFunc(s.previews, func(other preview) bool { return other == p })
		p, ok = s.choose(want)
	}
	if s.err != nil {
		return nil, 0, s.err
	}
	if !ok {
		if s.broken {
			return nil, 0, ErrCorrupt
		}
		return nil, 0, ErrNoPicture
	}
	file := tiff.NewFile(s.r, size, nil)
	jpeg = file.Bytes(p.at, p.size)
	if jpeg == nil {
		if file.Err() != nil {
			return nil, 0, file.Err()
		}
		return nil, 0, ErrCorrupt
	}
	return jpeg, s.turn(p), nil
}

// A reader fails when ctx is done.
type reader struct {
	ctx context.Context
	r   io.ReaderAt
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.ReadAt(p, off)
}

// A search is for the previews of one file.
type search struct {
	r    *reader
	size int64
	err  error // the first failed read; nothing is read after it

	previews    []preview
	broken      bool // a named preview is outside the file, or is no JPEG
	orientation int  // of the RAW photo, 0 if absent
	width       int64
	height      int64 // of the RAW photo, 0 if unknown
}

// A preview is a JPEG stream in the file.
type preview struct {
	at, size      int64
	width, height int
	orientation   int // of its own EXIF, 0 if absent
}

func (p preview) edge() int { return max(p.width, p.height) }

// fail records a failed read.
func (s *search) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// read returns a few bytes, or nil if they are not inside the file.
func (s *search) read(off int64, n int) []byte {
	if s.err != nil || n <= 0 || off < 0 || off > s.size || int64(n) > s.size-off {
		return nil
	}
	p := make([]byte, n)
	if got, err := s.r.ReadAt(p, off); got < n {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			s.fail(err)
		}
		return nil
	}
	return p
}

// add adds a preview if there is one at an offset. It reports whether there is.
func (s *search) add(at, size int64) bool {
	if len(s.previews) >= maxPreviews || slices.ContainsFunc(s.previews, func(p preview) bool { return p.at == at }) {
		return false
	}
	if at <= 0 || at >= s.size || size <= 0 || size > s.size-at {
		s.broken = true // the file may be truncated
		return false
	}
	if size > maxPreview {
		return false
	}
	p := preview{at: at, size: size}
	if !s.readJPEG(&p) {
		return false
	}
	s.previews = append(s.previews, p)
	return true
}

// readJPEG reads the header of a preview (ITU-T T.81, annex B). It reports false if the stream is not a JPEG picture, or a
// lossless one, because sensor data is often lossless JPEG.
func (s *search) readJPEG(p *preview) bool {
	end := p.at + p.size
	if b := s.read(p.at, 2); b == nil || b[0] != 0xff || b[1] != 0xd8 {
		s.broken = s.broken || b != nil
		return false
	}
	at := p.at + 2
	for range maxSegments {
		b := s.read(at, int(min(18, s.size-at)))
		for len(b) > 1 && b[0] == 0xff && b[1] == 0xff { // fill bytes
			b = b[1:]
			at++
		}
		if len(b) < 10 || b[0] != 0xff || at+10 > end {
			s.broken = true
			return false
		}
		length := int64(b[2])<<8 | int64(b[3])
		switch marker := b[1]; {
		case marker >= 0xc0 && marker <= 0xc2: // baseline, extended, progressive
			p.height, p.width = int(b[5])<<8|int(b[6]), int(b[7])<<8|int(b[8])
			return b[4] == 8 && p.width > 0 && p.height > 0
		case marker > 0xc2 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc:
			return false // lossless and others
		case marker < 0xc0, marker >= 0xd0 && marker <= 0xda, length < 2:
			s.broken = true
			return false
		case marker == 0xe1 && len(b) >= 10 && string(b[4:10]) == "Exif\x00\x00" && p.orientation == 0:
			p.orientation = s.readOrientation(at+10, min(length-8, end-at-10))
		}
		at += 2 + length
	}
	return false
}

// readOrientation returns the orientation in the first directory of a TIFF structure, 0 if there is none.
func (s *search) readOrientation(at, size int64) int {
	if size <= 0 || at > s.size || size > s.size-at {
		return 0
	}
	f, err := tiff.Open(io.NewSectionReader(s.r, at, size), size)
	if err != nil {
		if !errors.Is(err, tiff.ErrCorrupt) {
			s.fail(err)
		}
		return 0
	}
	d, _ := f.Directory(f.First())
	o := orientationOf(d)
	if f.Err() != nil {
		s.fail(f.Err())
	}
	return o
}

// orientationOf returns the orientation in a directory, 0 if it is absent or invalid.
func orientationOf(d tiff.Directory) int {
	if o := d.Uint(tagOrientation, 0); o <= 8 {
		return int(o)
	}
	return 0
}

// choose returns the smallest preview that is large enough, or else the largest.
//
// Small previews often have black bars, because they are 160 x 120 whatever the photo's shape. Those of another shape
// than the largest preview are not chosen.
func (s *search) choose(want int) (best preview, ok bool) {
	if len(s.previews) == 0 {
		return best, false
	}
	best = slices.MaxFunc(s.previews, func(a, b preview) int { return a.edge() - b.edge() })
	if want <= 0 {
		return best, true
	}
	largest := best
	for _, p := range s.previews {
		if p.edge() >= want && p.edge() < best.edge() && sameShape(p, largest) {
			best = p
		}
	}
	return best, true
}

// sameShape reports whether two previews have the same ratio of edges, within 3 percent. One may be rotated.
func sameShape(a, b preview) bool {
	x := int64(a.edge()) * int64(min(b.width, b.height))
	y := int64(b.edge()) * int64(min(a.width, a.height))
	return 100*max(x-y, y-x) <= 3*max(x, y)
}

// turn returns the orientation that the caller applies to a preview.
//
// Cameras store previews as the sensor saw them, so the RAW photo's orientation applies. If the RAW photo has none, the
// preview's own applies. Some programs rotate previews before they store them. Then the preview is tall and the RAW photo
// wide, although the orientation asks for a quarter turn.
func (s *search) turn(p preview) int {
	if s.orientation == 0 {
		return max(1, p.orientation)
	}
	if s.orientation >= 5 && p.width != p.height {
		// Without a size the RAW photo counts as wide, as sensors are.
		wide := s.width == 0 || s.width >= s.height
		if (p.width > p.height) != wide {
			return 1
		}
	}
	return s.orientation
}

// readRAF reads a Fujifilm RAW photo. Its header names one JPEG stream, which also carries the photo's EXIF.
func (s *search) readRAF() {
	b := s.read(84, 8)
	if b == nil {
		s.broken = true
		return
	}
	s.add(be32(b), be32(b[4:]))
}

func be32(b []byte) int64 {
	return int64(b[0])<<24 | int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3])
}

// Package heif reads HEIF files, which are the HEIC pictures of phones and AVIF, and has ffmpeg decode only their codecs. Before
// version 7.1 ffmpeg cannot read HEIC at all, and of AVIF it loses rotation, mirroring, profile and transparency.
//
// [Parse] reads the list of items. [File.Plan] chooses the item for a wanted size and returns a [Plan]: its coded tiles as one
// [Stream] for ffmpeg, its transparency as another, and its colour profile. The caller writes each stream to a file with
// [Stream.Copy] and runs
//
//	ffmpeg -f DEMUXER -i FILE -map 0:v:0 -vf FILTER -fps_mode passthrough -frames:v FRAMES -f rawvideo pipe:1
//
// with the fields of the stream. [Plan.Assemble] makes the picture from the raw frames: it joins the tiles, converts the samples
// to RGB, crops, rotates, mirrors and adds the transparency. The package runs no process itself.
//
// The formats are specified in ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (items and properties), ISO/IEC 23000-22 (MIAF) and
// the AV1 Image File Format of AOMedia. Each declared length and count is checked against the file and against a limit before
// anything is allocated, so the cost of a hostile file is bounded.
package heif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Errors about the file. Other errors come from the reader, the writer or the context, and say nothing about the file.
var (
	ErrUnsupported = errors.New("heif: not supported") // an unknown kind of file, item, property or codec
	ErrCorrupt     = errors.New("heif: corrupt")       // the file contradicts itself, or frames are missing
	ErrTooLarge    = errors.New("heif: too large")     // more pixels or bytes than the limits below
)

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTooLarge, fmt.Sprintf(format, args...))
}

// Limits. Counts are far above those of cameras: a picture of 48 megapixels has about 200 items.
const (
	maxBoxes      = 4096      // boxes in one container box
	maxItems      = 4096      // items in a file
	maxExtents    = 16384     // of all items together
	maxReferences = 65536     // references between items
	maxProperties = 4096      // properties in a file
	maxPerItem    = 64        // properties of one item
	maxTiles      = 1024      // tiles of one picture
	maxList       = 1 << 20   // bytes of each box that lists items, their places, references or properties
	maxConfig     = 16 << 10  // bytes of a decoder configuration
	maxProfile    = 4 << 20   // bytes of a colour profile, as in package render
	maxJPEG       = 32 << 20  // bytes of a JPEG item, which is loaded as a whole
	maxCoded      = 256 << 20 // bytes of all coded tiles of one picture
	maxEdge       = 65535     // pixels
	maxPixels     = 1 << 28   // coded pixels of all tiles of one picture
	maxOutput     = 1 << 26   // pixels of one picture after ffmpeg has reduced it
)

// pictureBrands are the brands of files with a primary item.
var pictureBrands = []string{
	"heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "msf1", "miaf", "avif", "avis",
}

// filmBrands are major brands of files that are films, even if they also have a primary item.
var filmBrands = []string{
	"isom", "iso2", "iso3", "iso4", "iso5", "iso6", "iso7", "iso8", "iso9", "mp41", "mp42", "mp71", "avc1", "qt  ", "dash",
	"M4V ", "M4A ", "M4B ", "f4v ", "3gp4", "3gp5", "3gp6", "3g2a",
}

// Sniff reports whether a file that begins with head is a picture in a HEIF container, and not a film.
func Sniff(head []byte) bool {
	if len(head) < 16 || string(head[4:8]) != "ftyp" {
		return false
	}
	major := string(head[8:12])
	if slices.Contains(pictureBrands, major) {
		return true
	}
	if slices.Contains(filmBrands, major) {
		return false
	}
	end := min(int64(binary.BigEndian.Uint32(head)), int64(len(head)))
	for i := int64(16); i+4 <= end; i += 4 {
		if slices.Contains(pictureBrands, string(head[i:i+4])) {
			return true
		}
	}
	return false
}

// A File is the list of items in a HEIF file. It is not safe for concurrent use, nor are the plans and streams made from it.
type File struct {
	src        source
	primary    uint32
	items      map[uint32]*item
	references []reference
	properties []box
	idat       box
	sequences  map[int]sequence // decoder configurations read so far, by index of the property
}

// An item is an entry of the item list: a coded picture, a picture derived from others, or metadata.
type item struct {
	id           uint32
	kind         string // such as hvc1, av01, grid or Exif
	inaccessible bool   // it is encrypted or in another file
	method       uint16 // 0: extents are in the file, 1: in the idat box
	extents      []extent
	properties   []association
}

// An extent is a part of the data of an item. A length of 0 means up to the end of the file or the idat box.
type extent struct{ offset, length uint64 }

// An association gives a property to an item. An item with an unknown essential property must not be shown.
type association struct {
	index     int // from 1; 0 is none
	essential bool
}

// A reference points from an item to other items, by their ids.
type reference struct {
	kind string
	from uint32
	to   []uint32
}

// Parse reads the list of items in r, a file of size bytes, without coded data and profiles. It returns ErrUnsupported for a file
// without a primary item, such as a film or an image sequence.
func Parse(ctx context.Context, r io.ReaderAt, size int64) (*File, error) {
	f := &File{
		src:       source{r: r, size: size},
		items:     make(map[uint32]*item),
		sequences: make(map[int]sequence),
	}
	head, err := f.src.peek(ctx, 0, int(min(size, 256)))
	if err != nil {
		return nil, err
	}
	if !Sniff(head) {
		return nil, unsupported("no brand of pictures")
	}
	var last box
	err = f.src.boxes(ctx, 0, size, func(b box) (bool, error) {
		last = b
		return b.kind != "meta", nil
	})
	switch {
	case err != nil:
		return nil, err
	case last.end > size:
		return nil, corrupt("the file ends early")
	case last.kind != "meta":
		return nil, unsupported("no primary picture")
	}
	if err := f.readMeta(ctx, last); err != nil {
		return nil, err
	}
	return f, nil
}

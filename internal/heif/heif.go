// Package heif reads still pictures in HEIF containers (HEIC of phones, AVIF) so that ffmpeg, which knows the codecs but
// hardly the container, can decode them.
//
// [Parse] reads the description of the items in a file. [File.Plan] chooses the item to show at a wanted size and returns a
// [Plan]: the coded tiles as one elementary stream for ffmpeg, another one for transparency, and a profile of the colours.
// [Plan.Assemble] makes the picture of the raw frames that ffmpeg writes: it puts tiles together, converts their samples to
// RGB, crops, rotates, mirrors and adds the transparency. The package itself runs nothing.
//
// The formats are those of ISO/IEC 14496-12 (boxes), 23008-12 (items and their properties), 23000-22 (MIAF) and the AV1
// Image File Format of AOMedia. Every length and count that a file declares is compared with the file and with a limit before
// anything is allocated, so a file of any content costs little memory and time.
package heif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Errors about the file. Any other error comes from reading, writing or the context, and says nothing about the file.
var (
	ErrUnsupported = errors.New("heif: not supported") // a kind of file, item, property or codec that this package does not know
	ErrCorrupt     = errors.New("heif: corrupt")       // the file contradicts itself, or frames are missing
	ErrTooLarge    = errors.New("heif: too large")     // more pixels or coded bytes than the limits below
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

// Limits. Those of counts are far above what cameras write: a picture of 48 megapixels has about 200 items.
const (
	maxBoxes      = 4096      // boxes in one container box
	maxItems      = 4096      // items in a file
	maxExtents    = 16384     // pieces of data of all items together
	maxReferences = 65536     // references between items
	maxProperties = 4096      // properties in a file
	maxPerItem    = 64        // properties of one item
	maxTiles      = 1024      // tiles of one picture
	maxList       = 1 << 20   // bytes of each box that lists items, places, references or properties of items
	maxConfig     = 16 << 10  // bytes of a decoder configuration
	maxProfile    = 4 << 20   // bytes of a colour profile, as in package render
	maxJPEG       = 32 << 20  // bytes of a JPEG item, which is returned as a whole
	maxCoded      = 256 << 20 // bytes of all coded tiles of one picture
	maxEdge       = 65535     // pixels
	maxPixels     = 1 << 28   // pixels of all tiles of one picture, as coded
	maxOutput     = 1 << 26   // pixels of one decoded picture, after the reduction by ffmpeg
)

// pictureBrands are the brands of files with a primary picture.
var pictureBrands = []string{
	"heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "msf1", "miaf", "avif", "avis",
}

// filmBrands are major brands of files that are films in the first place, even if they hold a picture too.
var filmBrands = []string{
	"isom", "iso2", "iso3", "iso4", "iso5", "iso6", "iso7", "iso8", "iso9", "mp41", "mp42", "mp71", "avc1", "qt  ", "dash",
	"M4V ", "M4A ", "M4B ", "f4v ", "3gp4", "3gp5", "3gp6", "3g2a",
}

// Sniff reports whether a file that begins with head is a still picture in a HEIF container.
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

// A File is the description of the items in a HEIF file. Its methods must not be called by several goroutines at once.
type File struct {
	src        source
	primary    uint32
	items      map[uint32]*item
	references []reference
	properties []box
	idat       box
	sequences  map[int]sequence // what was read from decoder configurations, by the property's number
}

// An item is one entry of the item list: a picture, the description of a derived one, or metadata.
type item struct {
	id         uint32
	kind       string // as in hvc1, av01, grid, Exif
	sealed     bool   // encrypted, or in another file
	method     uint16 // 0: extents are in the file, 1: in the idat box
	extents    []extent
	properties []association
}

// An extent is a piece of an item's data. A length of 0 means all that follows.
type extent struct{ offset, length uint64 }

// An association gives a property to an item. Readers that do not know an essential property must not show the item.
type association struct {
	index     int // from 1; 0 is none
	essential bool
}

// A reference points from an item to others, by their numbers.
type reference struct {
	kind string
	from uint32
	to   []uint32
}

// Parse reads the description of the items in r, a file of size bytes. It reads neither coded data nor profiles. It fails
// with ErrUnsupported for files without a primary picture, which films and sequences of pictures are.
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
	if err := f.meta(ctx, last); err != nil {
		return nil, err
	}
	return f, nil
}

// meta reads the children of the meta box (ISO/IEC 14496-12, 8.11.1).
func (f *File) meta(ctx context.Context, meta box) error {
	found := make(map[string]box)
	err := f.src.boxes(ctx, meta.start+4, meta.end, func(b box) (bool, error) {
		if b.end > meta.end {
			return false, corrupt("%s is longer than what it is in", b.kind)
		}
		if _, ok := found[b.kind]; !ok { // the first one counts
			found[b.kind] = b
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	hdlr, err := f.src.load(ctx, found["hdlr"], 1024)
	if err != nil {
		return err
	}
	if len(hdlr) < 12 || string(hdlr[8:12]) != "pict" {
		return unsupported("no description of pictures")
	}
	f.idat = found["idat"]
	// Items come before what is said about them.
	for _, list := range []struct {
		kind string
		read func(*cursor) error
	}{
		{"iinf", f.iinf}, {"pitm", f.pitm}, {"iloc", f.iloc}, {"iref", f.iref},
	} {
		b, ok := found[list.kind]
		if !ok {
			continue
		}
		data, err := f.src.load(ctx, b, maxList)
		if err != nil {
			return err
		}
		if err := list.read(&cursor{data: data}); err != nil {
			return err
		}
	}
	if iprp, ok := found["iprp"]; ok {
		if err := f.iprp(ctx, iprp); err != nil {
			return err
		}
	}
	if f.items[f.primary] == nil {
		return corrupt("no primary item")
	}
	return nil
}

// pitm reads the number of the primary item.
func (f *File) pitm(c *cursor) error {
	version, _ := c.fullBox()
	f.primary = c.id(version > 0)
	return c.end("pitm")
}

// iinf reads the list of items.
func (f *File) iinf(c *cursor) error {
	version, _ := c.fullBox()
	n := c.id(version > 0)
	if n > maxItems {
		return corrupt("%d items", n)
	}
	for range n {
		size, kind := c.u32(), c.str(4)
		entry := cursor{data: c.bytes(int64(size) - 8)}
		if c.bad || kind != "infe" {
			return corrupt("iinf")
		}
		version, _ := entry.fullBox()
		if version < 2 { // items of MPEG-21, which have no type
			continue
		}
		it := &item{id: entry.id(version > 2)}
		it.sealed = entry.u16() != 0
		it.kind = entry.str(4)
		if err := entry.end("infe"); err != nil {
			return err
		}
		if f.items[it.id] != nil {
			return corrupt("two items have number %d", it.id)
		}
		f.items[it.id] = it
	}
	return nil
}

// iloc reads where the data of items is.
func (f *File) iloc(c *cursor) error {
	version, _ := c.fullBox()
	if version > 2 {
		return unsupported("iloc of version %d", version)
	}
	sizes := c.u16()
	offsetSize, lengthSize, baseSize, indexSize := int(sizes>>12), int(sizes>>8&15), int(sizes>>4&15), int(sizes&15)
	if version == 0 {
		indexSize = 0
	}
	for _, size := range []int{offsetSize, lengthSize, baseSize, indexSize} {
		if size != 0 && size != 4 && size != 8 {
			return corrupt("iloc")
		}
	}
	n := c.id(version == 2)
	if n > maxItems {
		return corrupt("places of %d items", n)
	}
	total := 0
	for range n {
		id := c.id(version == 2)
		var method uint16
		if version > 0 {
			method = c.u16() & 15
		}
		elsewhere := c.u16() != 0
		base := c.number(baseSize)
		count := int(c.u16())
		if total += count; total > maxExtents {
			return corrupt("more than %d extents", maxExtents)
		}
		if c.bad {
			break
		}
		extents := make([]extent, 0, min(count, len(c.data)))
		for range count {
			c.number(indexSize)
			e := extent{offset: c.number(offsetSize), length: c.number(lengthSize)}
			if e.offset += base; e.offset < base {
				return corrupt("an item is beyond the file")
			}
			if c.bad {
				break
			}
			extents = append(extents, e)
		}
		if it := f.items[id]; it != nil && it.extents == nil {
			it.method, it.extents = method, extents
			it.sealed = it.sealed || elsewhere
		}
	}
	return c.end("iloc")
}

// iref reads the references between items.
func (f *File) iref(c *cursor) error {
	version, _ := c.fullBox()
	total := 0
	for len(c.data) > 0 {
		size, kind := c.u32(), c.str(4)
		entry := cursor{data: c.bytes(int64(size) - 8)}
		if c.bad {
			return corrupt("iref")
		}
		ref := reference{kind: kind, from: entry.id(version > 0)}
		n := int(entry.u16())
		if total += n + 1; total > maxReferences {
			return corrupt("more than %d references", maxReferences)
		}
		for range n {
			if entry.bad {
				break
			}
			ref.to = append(ref.to, entry.id(version > 0))
		}
		if err := entry.end("iref"); err != nil {
			return err
		}
		f.references = append(f.references, ref)
	}
	return nil
}

// iprp reads the list of properties and which items have them.
func (f *File) iprp(ctx context.Context, iprp box) error {
	return f.src.boxes(ctx, iprp.start, iprp.end, func(b box) (bool, error) {
		if b.end > iprp.end {
			return false, corrupt("%s is longer than what it is in", b.kind)
		}
		switch b.kind {
		case "ipco":
			if f.properties != nil {
				return false, corrupt("two lists of properties")
			}
			return true, f.src.boxes(ctx, b.start, b.end, func(p box) (bool, error) {
				if p.end > b.end {
					return false, corrupt("%s is longer than what it is in", p.kind)
				}
				f.properties = append(f.properties, p)
				if len(f.properties) > maxProperties {
					return false, corrupt("more than %d properties", maxProperties)
				}
				return true, nil
			})
		case "ipma":
			data, err := f.src.load(ctx, b, maxList)
			if err != nil {
				return false, err
			}
			return true, f.ipma(&cursor{data: data})
		}
		return true, nil
	})
}

func (f *File) ipma(c *cursor) error {
	version, flags := c.fullBox()
	n := c.u32()
	if n > maxItems {
		return corrupt("properties of %d items", n)
	}
	for range n {
		id := c.id(version > 0)
		count := int(c.u8())
		if c.bad {
			break
		}
		if count > maxPerItem {
			return corrupt("%d properties of an item", count)
		}
		it := f.items[id]
		if it != nil && len(it.properties)+count > maxPerItem {
			return corrupt("more than %d properties of an item", maxPerItem)
		}
		for range count {
			var a association
			if flags&1 != 0 {
				v := c.u16()
				a = association{int(v & 0x7fff), v>>15 != 0}
			} else {
				v := c.u8()
				a = association{int(v & 0x7f), v>>7 != 0}
			}
			if it != nil && a.index != 0 {
				it.properties = append(it.properties, a)
			}
		}
	}
	return c.end("ipma")
}

// pointed returns the items that have a reference of a kind to id, in order.
func (f *File) pointed(kind string, id uint32) []*item {
	var from []*item
	for _, ref := range f.references {
		if it := f.items[ref.from]; it != nil && ref.kind == kind && slices.Contains(ref.to, id) {
			from = append(from, it)
		}
	}
	return from
}

// inputs returns the items from which a derived one is made.
func (f *File) inputs(id uint32) ([]*item, error) {
	for _, ref := range f.references {
		if ref.kind != "dimg" || ref.from != id {
			continue
		}
		if len(ref.to) > maxTiles {
			return nil, corrupt("%d tiles", len(ref.to))
		}
		items := make([]*item, len(ref.to))
		for i, to := range ref.to {
			if items[i] = f.items[to]; items[i] == nil || to == id {
				return nil, corrupt("item %d is missing", to)
			}
		}
		return items, nil
	}
	return nil, corrupt("nothing to derive item %d from", id)
}

package rawphoto

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/thumbcache/thumbcache/internal/tiff"
)

const (
	tagWidth           = 0x0100
	tagLength          = 0x0101
	tagCompression     = 0x0103
	tagPhotometric     = 0x0106
	tagStripOffsets    = 0x0111
	tagOrientation     = 0x0112
	tagStripByteCounts = 0x0117
	tagJPEGStream      = 0x0201
	tagJPEGLength      = 0x0202
	tagExif            = 0x8769
	tagMakerNote       = 0x927c
	tagDNGVersion      = 0xc612

	tagSensorWidth  = 0x0002 // of RW2, as the next three
	tagSensorHeight = 0x0003
	tagJpgFromRaw   = 0x002e
	tagJpgFromRaw2  = 0x0127
)

// isSensorData reports whether a directory describes the data of a sensor.
func isSensorData(d tiff.Directory) bool {
	switch d.Uint(tagPhotometric, 0) {
	case 32803, 34892: // colour filter array, linear RAW
		return true
	}
	switch d.Uint(tagCompression, 0) {
	case 262, 32767, 32769, 32770, 34713, 65000, 65535: // Kodak, Sony, packed, Samsung, Nikon, Kodak, Pentax
		return true
	}
	return false
}

// readTIFF adds the previews in all directories. Unless certain is set, the file is a RAW photo only if a directory
// describes sensor data or a DNG.
func (s *search) readTIFF(certain bool) error {
	f, err := tiff.Open(s.r, s.size, magicORF, magicORFNew, magicRW2)
	if err != nil {
		if errors.Is(err, tiff.ErrCorrupt) {
			return ErrCorrupt
		}
		return err
	}
	raw := certain
	var all []tiff.Directory
	for d := range f.Directories(f.First(), true) {
		if len(all) == maxDirectories {
			break
		}
		all = append(all, d)
		sensor := isSensorData(d)
		raw = raw || sensor || d.Has(tagDNGVersion)
		if w, h := d.Uint(tagWidth, 0), d.Uint(tagLength, 0); sensor && w < math.MaxInt32 && h < math.MaxInt32 {
			s.width, s.height = int64(w), int64(h)
		}
	}
	if f.Err() != nil {
		return f.Err()
	}
	if !raw {
		return ErrUnsupported
	}
	if len(all) == 0 {
		return ErrCorrupt
	}
	s.orientation = orientationOf(all[0])
	if f.Magic() == magicRW2 {
		s.width, s.height = small(all[0], tagSensorWidth), small(all[0], tagSensorHeight)
	}
	for _, d := range all {
		s.readDirectory(d, 0)
	}
	exif, _ := f.Directory(small(all[0], tagExif))
	if note, ok := exif.Find(tagMakerNote); ok {
		s.readMakerNote(f, note)
	}
	return f.Err()
}

// small returns the first value of a tag, 0 if there is none.
func small(d tiff.Directory, tag uint16) int64 {
	v := d.Uint(tag, 0)
	if v > math.MaxInt64 {
		return 0
	}
	return int64(v)
}

// readDirectory adds the previews that a directory names. Its offsets count from base.
func (s *search) readDirectory(d tiff.Directory, base int64) {
	if at := small(d, tagJPEGStream); at > 0 {
		s.add(base+at, small(d, tagJPEGLength))
	}
	for _, tag := range []uint16{tagJpgFromRaw, tagJpgFromRaw2} {
		if field, ok := d.Find(tag); ok && field.Type == tiff.Undefined {
			s.add(base+field.At, field.Len())
		}
	}
	if c := d.Uint(tagCompression, 0); (c == 6 || c == 7) && !isSensorData(d) {
		// A preview is a single strip.
		offsets, _ := d.Find(tagStripOffsets)
		if offsets.Count == 1 {
			// Canon's sensor data looks the same, but is lossless JPEG, which add refuses.
			s.add(base+small(d, tagStripOffsets), small(d, tagStripByteCounts))
		}
	}
}

// readMakerNote adds the previews that the maker note, the vendor's own directory, names.
func (s *search) readMakerNote(f *tiff.File, note tiff.Field) {
	head := s.read(note.At, int(min(16, note.Len())))
	has := func(prefix string) bool { return len(head) >= len(prefix) && string(head[:len(prefix)]) == prefix }
	switch {
	case has("Nikon\x00") && note.Len() > 18:
		// A TIFF file of its own follows.
		s.readNikon(note.At+10, note.Len()-10)
	case has("OLYMPUS\x00") && len(head) >= 12:
		s.readOlympus(f, note, 12, head[8:10], true)
	case has("OM SYSTEM\x00") && len(head) >= 16:
		s.readOlympus(f, note, 16, head[12:14], true)
	case has("OLYMP\x00"):
		s.readOlympus(f, note, 8, nil, false)
	case has("AOC\x00"):
		s.readPentax(f, note, 6, head[4:6], false)
	case has("PENTAX \x00") && len(head) >= 10:
		s.readPentax(f, note, 10, head[8:10], true)
	case has("SONY"):
		s.readSony(f, note.At+12)
	}
}

// within returns a File whose offsets count from base.
func (s *search) within(base int64, order binary.ByteOrder) *tiff.File {
	return tiff.NewFile(io.NewSectionReader(s.r, base, s.size-base), s.size-base, order)
}

// orderOf returns the byte order for II or MM, and the default for any other letters.
func orderOf(letters []byte, otherwise binary.ByteOrder) binary.ByteOrder {
	switch string(letters) {
	case "II":
		return binary.LittleEndian
	case "MM":
		return binary.BigEndian
	}
	return otherwise
}

// readNikon adds the preview in the directory that field 0x11 names.
func (s *search) readNikon(base, size int64) {
	f, err := tiff.Open(io.NewSectionReader(s.r, base, s.size-base), s.size-base)
	if err != nil {
		if !errors.Is(err, tiff.ErrCorrupt) {
			s.fail(err)
		}
		return
	}
	d, _ := f.Directory(f.First())
	preview, _ := f.Directory(small(d, 0x11))
	s.readDirectory(preview, base)
	if f.Err() != nil {
		s.fail(f.Err())
	}
}

// readOlympus adds the preview that the camera settings, field 0x2020, name.
func (s *search) readOlympus(f *tiff.File, note tiff.Field, at int64, order []byte, own bool) {
	base := int64(0)
	if own {
		base = note.At
	}
	g := s.within(base, orderOf(order, f.Order()))
	d, _ := g.Directory(note.At - base + at)
	if settings, ok := d.Find(0x2020); ok {
		off := settings.At
		if settings.Type == tiff.Long || settings.Type == tiff.IFD {
			off = small(d, 0x2020)
		}
		e, _ := g.Directory(off)
		s.addPair(e, 0x101, 0x102, base)
	}
	s.addPair(d, 0x88, 0x89, base) // older cameras
	if g.Err() != nil {
		s.fail(g.Err())
	}
}

// readPentax adds the preview that fields 3 and 4 name.
func (s *search) readPentax(f *tiff.File, note tiff.Field, at int64, order []byte, own bool) {
	base := int64(0)
	if own {
		base = note.At
	}
	g := s.within(base, orderOf(order, f.Order()))
	d, _ := g.Directory(note.At - base + at)
	s.addPair(d, 0x4, 0x3, base)
	if g.Err() != nil {
		s.fail(g.Err())
	}
}

// readSony adds the preview in field 0x2001, which may begin with a header of 32 bytes.
func (s *search) readSony(f *tiff.File, at int64) {
	d, _ := f.Directory(at)
	field, ok := d.Find(0x2001)
	if !ok {
		return
	}
	for _, skip := range []int64{0, 0x20} {
		if b := s.read(field.At+skip, 2); len(b) == 2 && b[0] == 0xff && b[1] == 0xd8 {
			s.add(field.At+skip, field.Len()-skip)
			return
		}
	}
}

// addPair adds the preview whose offset and length are in two fields.
func (s *search) addPair(d tiff.Directory, offset, length uint16, base int64) {
	if at, n := small(d, offset), small(d, length); at > 0 && n > 0 {
		s.add(base+at, n)
	}
}

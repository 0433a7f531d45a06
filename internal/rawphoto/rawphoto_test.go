package rawphoto

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"io"
	"slices"
	"strings"
	"testing"
)

// photo encodes a JPEG, with an orientation in EXIF if that is not 0.
func photo(w, h, orientation int) []byte {
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = byte(i % w)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 50}); err != nil {
		panic(err)
	}
	data := b.Bytes()
	if orientation == 0 {
		return data
	}
	exif := newFile("MM\x00*")
	exif.link(exif.directory(short(tagOrientation, orientation)))
	segment := append([]byte("\xff\xe1\x00\x00Exif\x00\x00"), exif.buf...)
	binary.BigEndian.PutUint16(segment[2:], uint16(len(segment)-2))
	return slices.Concat(data[:2], segment, data[2:])
}

// sensor returns what is like the data of a sensor: lossless JPEG (SOF3) that goes on.
func sensor(n int) []byte {
	return append([]byte("\xff\xd8\xff\xc4\x00\x03\x00\xff\xc3\x00\x0b\x08\x10\x00\x18\x00\x01\x00\x11\x00\xff\xda"), make([]byte, n)...)
}

// A field is one of a directory that a test writes.
type field struct {
	tag, kind uint16
	count     int
	value     uint32
	data      []byte // in place of value
}

func short(tag uint16, v int) field { return field{tag: tag, kind: 3, count: 1, value: uint32(v)} }
func long(tag uint16, v int) field  { return field{tag: tag, kind: 4, count: 1, value: uint32(v)} }
func text(tag uint16, s string) field {
	return field{tag: tag, kind: 2, count: len(s) + 1, data: []byte(s + "\x00")}
}
func blob(tag uint16, p []byte) field { return field{tag: tag, kind: 7, count: len(p), data: p} }

type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// A file is one of TIFF structure that a test writes.
type file struct {
	order byteOrder
	buf   []byte
	next  int // where the offset of the next directory goes
}

func newFile(magic string) *file {
	f := &file{order: binary.LittleEndian, buf: []byte(magic + "\x00\x00\x00\x00"), next: 4}
	if magic[0] == 'M' {
		f.order = binary.BigEndian
	}
	return f
}

// add appends data and returns where it is.
func (f *file) add(p []byte) int {
	at := len(f.buf)
	f.buf = append(f.buf, p...)
	return at
}

// directory appends a directory and returns where it is.
func (f *file) directory(fields ...field) int {
	for i, e := range fields {
		if len(e.data) > 4 {
			fields[i].value = uint32(f.add(e.data))
		}
	}
	at := len(f.buf)
	f.buf = f.order.AppendUint16(f.buf, uint16(len(fields)))
	for _, e := range fields {
		f.buf = f.order.AppendUint16(f.buf, e.tag)
		f.buf = f.order.AppendUint16(f.buf, e.kind)
		f.buf = f.order.AppendUint32(f.buf, uint32(e.count))
		switch {
		case len(e.data) > 0 && len(e.data) <= 4:
			f.buf = append(f.buf, append(bytes.Clone(e.data), 0, 0, 0)[:4]...)
		case e.kind == 3:
			f.buf = f.order.AppendUint16(f.buf, uint16(e.value))
			f.buf = f.order.AppendUint16(f.buf, 0)
		default:
			f.buf = f.order.AppendUint32(f.buf, e.value)
		}
	}
	f.buf = f.order.AppendUint32(f.buf, 0)
	return at
}

// link makes a directory the next one of the chain.
func (f *file) link(at int) {
	f.order.PutUint32(f.buf[f.next:], uint32(at))
	f.next = at + 2 + 12*int(f.order.Uint16(f.buf[at:]))
}

// note returns the field of a maker note, which is what build appends to head: its directory, then the rest.
func note(order byteOrder, head string, build func(f *file)) field {
	f := &file{order: order, buf: []byte(head)}
	build(f)
	return blob(tagMakerNote, f.buf)
}

const filler = 3 << 20 // bytes of sensor data, which are not to be read

func stripJPEG(at, n int) []field {
	return []field{short(tagCompression, 6), long(tagStripOffsets, at), long(tagStripByteCounts, n)}
}

func streamJPEG(at, n int) []field {
	return []field{long(tagJPEGStream, at), long(tagJPEGLength, n)}
}

// raw is the directory of a sensor's data.
func (f *file) raw(w, h int) []field {
	at := f.add(sensor(filler))
	return []field{long(tagWidth, w), long(tagLength, h), short(tagCompression, 7), short(tagPhotometric, 32803),
		long(tagStripOffsets, at), long(tagStripByteCounts, filler)}
}

// file returns RAW photos of all kinds. All have previews of 160 x 120 with bars, of 480 x 320 and of 960 x 640, unless
// the name says otherwise, and are to be turned by orientation 6.
func files() map[string][]byte {
	bars, middle, large := photo(160, 120, 0), photo(480, 320, 0), photo(960, 640, 1)
	all := map[string][]byte{}

	f := newFile("MM\x00*") // previews in SubIFDs
	jpegs, sensors := f.directory(streamJPEG(f.add(large), len(large))...), f.directory(f.raw(6000, 4000)...)
	f.link(f.directory(long(tagWidth, 160), short(tagCompression, 1), text(0x10f, "NIKON CORPORATION"), short(tagOrientation, 6),
		field{tag: 0x14a, kind: 4, count: 2, data: f.order.AppendUint32(f.order.AppendUint32(nil, uint32(jpegs)), uint32(sensors))},
		long(tagExif, f.nikonNote(middle))))
	all["NEF"] = f.buf

	f = newFile("II*\x00\x10\x00\x00\x00CR\x02\x00")
	f.buf, f.next = append(f.buf[:4], f.buf[4:]...), 4
	at := f.add(large)
	f.link(f.directory(append(stripJPEG(at, len(large)), text(0x10f, "Canon"), short(tagOrientation, 6))...))
	f.link(f.directory(streamJPEG(f.add(bars), len(bars))...))
	f.link(f.directory(stripJPEG(f.add(middle), len(middle))...))
	f.link(f.directory(stripJPEG(f.add(sensor(filler)), filler)...))
	all["CR2"] = f.buf

	f = newFile("II*\x00")
	f.link(f.directory(append(streamJPEG(f.add(middle), len(middle)), text(0x10f, "SONY"), short(tagOrientation, 6),
		long(0x14a, f.directory(f.raw(6000, 4000)...)))...))
	f.link(f.directory(streamJPEG(f.add(bars), len(bars))...))
	f.link(f.directory(streamJPEG(f.add(large), len(large))...))
	all["ARW"] = f.buf

	f = newFile("II*\x00")
	f.add(make([]byte, 8))
	previews := []int{f.directory(stripJPEG(f.add(middle), len(middle))...), f.directory(stripJPEG(f.add(large), len(large))...),
		f.directory(f.raw(6000, 4000)...)}
	subs := field{tag: 0x14a, kind: 4, count: 3}
	for _, p := range previews {
		subs.data = f.order.AppendUint32(subs.data, uint32(p))
	}
	f.link(f.directory(append(stripJPEG(f.add(bars), len(bars)), blob(tagDNGVersion, []byte{1, 4, 0, 0}), short(tagOrientation, 6), subs)...))
	all["DNG"] = f.buf

	for _, magic := range []string{"IIRO", "IIRS", "MMOR"} {
		f = newFile(magic)
		f.add(make([]byte, 8))
		exif := f.directory(f.olympusNote("OLYMPUS\x00II\x03\x00", large))
		f.link(f.directory(text(0x10f, "OLYMPUS"), short(tagOrientation, 6), long(tagExif, exif), long(tagStripOffsets, f.add(sensor(filler)))))
		f.link(f.directory(streamJPEG(f.add(middle), len(middle))...))
		f.link(f.directory(streamJPEG(f.add(bars), len(bars))...))
		all["ORF "+magic] = f.buf
	}
	f = newFile("IIRO")
	f.add(make([]byte, 8))
	exif := f.directory(f.olympusNote("OM SYSTEM\x00\x00\x00II\x04\x00", large))
	f.link(f.directory(short(tagOrientation, 6), long(tagExif, exif)))
	f.link(f.directory(append(streamJPEG(f.add(middle), len(middle)), short(tagCompression, 6))...))
	f.link(f.directory(streamJPEG(f.add(bars), len(bars))...))
	all["ORF of OM"] = f.buf

	f = newFile("IIU\x00")
	f.add(make([]byte, 16))
	f.link(f.directory(short(tagSensorWidth, 6000), short(tagSensorHeight, 4000), blob(tagJpgFromRaw, large), short(tagOrientation, 6),
		blob(tagJpgFromRaw2, middle), long(tagStripOffsets, f.add(sensor(filler)))))
	f.link(f.directory(streamJPEG(f.add(bars), len(bars))...))
	all["RW2"] = f.buf

	f = newFile("MM\x00*")
	at = f.add(large)
	exif = f.directory(note(binary.BigEndian, "AOC\x00MM", func(n *file) { n.directory(long(3, len(large)), long(4, at)) }))
	f.link(f.directory(append(f.raw(6000, 4000), text(0x10f, "PENTAX"), short(tagOrientation, 6), long(tagExif, exif))...))
	f.link(f.directory(streamJPEG(f.add(middle), len(middle))...))
	f.link(f.directory(streamJPEG(f.add(bars), len(bars))...))
	all["PEF"] = f.buf

	all["CR3"] = cr3(bars, middle, large)
	return all
}

func (f *file) nikonNote(middle []byte) int {
	inner := newFile("MM\x00*")
	preview := inner.directory(streamJPEG(inner.add(middle), len(middle))...)
	inner.link(inner.directory(long(0x11, preview)))
	return f.directory(blob(tagMakerNote, append([]byte("Nikon\x00\x02\x10\x00\x00"), inner.buf...)))
}

// olympusNote writes a maker note whose settings name a preview that is after it in the file.
func (f *file) olympusNote(head string, large []byte) field {
	return note(binary.LittleEndian, head, func(n *file) {
		// The directory comes first: two entries of 12 bytes, and 6 more. Then the settings, then the preview.
		settings := len(head) + 1*12 + 6
		preview := settings + 2*12 + 6
		n.directory(field{tag: 0x2020, kind: 13, count: 1, value: uint32(settings)})
		n.directory(long(0x101, preview), long(0x102, len(large)))
		n.add(large)
	})
}

// atom writes a box.
func atom(kind string, contents ...[]byte) []byte {
	p := slices.Concat(contents...)
	return slices.Concat(binary.BigEndian.AppendUint32(nil, uint32(8+len(p))), []byte(kind), p)
}

func cr3(bars, middle, large []byte) []byte {
	meta := newFile("II*\x00")
	meta.link(meta.directory(long(tagWidth, 6000), short(tagOrientation, 6)))
	build := func(at int) []byte {
		track := func(off, n int) []byte {
			return atom("trak", atom("tkhd", make([]byte, 84)), atom("mdia", atom("minf", atom("stbl",
				atom("stsd", make([]byte, 100)),
				atom("stsz", make([]byte, 4), binary.BigEndian.AppendUint32(nil, uint32(n)), []byte{0, 0, 0, 1}),
				atom("co64", []byte{0, 0, 0, 0, 0, 0, 0, 1}, binary.BigEndian.AppendUint64(nil, uint64(off)))))))
		}
		return slices.Concat(
			atom("ftyp", []byte("crx \x00\x00\x00\x01crx isom")),
			atom("moov",
				atom("uuid", []byte(uuidMetadata), atom("CNCV", []byte("CanonCR3")), atom("CMT1", meta.buf),
					atom("THMB", []byte{0, 0, 0, 0, 0, 160, 0, 120}, binary.BigEndian.AppendUint32(nil, uint32(len(bars))), []byte{0, 1, 0, 0}, bars)),
				track(at, len(large)), track(at+len(large), filler)),
			atom("uuid", []byte("another uuid 16b"), make([]byte, 100)),
			atom("uuid", []byte(uuidPreview), make([]byte, 8),
				atom("PRVW", []byte{0, 0, 0, 0, 0, 1, 1, 224, 1, 64, 0, 1}, binary.BigEndian.AppendUint32(nil, uint32(len(middle))), middle)),
			// The media data has a size of 64 bits.
			[]byte{0, 0, 0, 1}, []byte("mdat"), binary.BigEndian.AppendUint64(nil, uint64(16+len(large)+filler)))
	}
	head := build(0)
	return slices.Concat(build(len(head)), large, make([]byte, filler))
}

func raf(orientation int) []byte {
	large := photo(960, 640, orientation)
	b := make([]byte, 148)
	copy(b, rafMagic)
	binary.BigEndian.PutUint32(b[84:], 148)
	binary.BigEndian.PutUint32(b[88:], uint32(len(large)))
	return slices.Concat(b, large, make([]byte, filler))
}

// A countingReader counts what is read.
type countingReader struct {
	io.ReaderAt
	bytes int
	fail  int // the number of the read that fails; 0 means none
	reads int
}

var errDisk = errors.New("the disk is gone")

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	if r.reads++; r.reads == r.fail {
		return 0, errDisk
	}
	n, err := r.ReaderAt.ReadAt(p, off)
	r.bytes += n
	return n, err
}

func find(data []byte, want int) ([]byte, int, error) {
	return Preview(context.Background(), bytes.NewReader(data), int64(len(data)), want, 0)
}

// The best previews are left out, up to the last.
func TestNext(t *testing.T) {
	for name, data := range files() {
		r := bytes.NewReader(data)
		var last []byte
		for n := 0; ; n++ {
			got, _, err := Preview(t.Context(), r, r.Size(), 1000, n)
			if err != nil {
				if n < 2 || !errors.Is(err, ErrNoPicture) {
					t.Errorf("%s, %d left out: %v", name, n, err)
				}
				break
			}
			if n > 0 && len(got) > len(last) || bytes.Equal(got, last) {
				t.Errorf("%s, %d left out: a preview of %d bytes after one of %d", name, n, len(got), len(last))
			}
			last = got
		}
	}
}

func TestKinds(t *testing.T) {
	for name, data := range files() {
		if !Sniff(data[:16]) {
			t.Errorf("%s is not known by its first bytes", name)
		}
		for want, width := range map[int]int{0: 960, 1: 480, 160: 480, 300: 480, 480: 480, 481: 960, 960: 960, 5000: 960} {
			r := &countingReader{ReaderAt: bytes.NewReader(data)}
			got, orientation, err := Preview(context.Background(), r, int64(len(data)), want, 0)
			if err != nil {
				t.Errorf("%s, %d: %v", name, want, err)
				continue
			}
			config, err := jpeg.DecodeConfig(bytes.NewReader(got))
			if err != nil || config.Width != width {
				t.Errorf("%s, %d: %d x %d, %v, want %d", name, want, config.Width, config.Height, err, width)
			}
			if _, err := jpeg.Decode(bytes.NewReader(got)); err != nil {
				t.Errorf("%s, %d: %v", name, want, err)
			}
			if orientation != 6 {
				t.Errorf("%s, %d: orientation %d", name, want, orientation)
			}
			if extra := r.bytes - len(got); extra > 64<<10 {
				t.Errorf("%s, %d: %d bytes were read besides the preview", name, want, extra)
			}
		}
	}
}

func TestRAF(t *testing.T) {
	for _, orientation := range []int{0, 1, 3, 8} {
		data := raf(orientation)
		r := &countingReader{ReaderAt: bytes.NewReader(data)}
		got, o, err := Preview(context.Background(), r, int64(len(data)), 100, 0)
		if err != nil || o != max(1, orientation) || !bytes.Equal(got, photo(960, 640, orientation)) {
			t.Errorf("orientation %d: %d, %v", orientation, o, err)
		}
		if extra := r.bytes - len(got); extra > 64<<10 {
			t.Errorf("%d bytes were read besides the preview", extra)
		}
	}
}

// The orientation of the RAW photo holds, unless it says none or the preview is upright already.
func TestOrientation(t *testing.T) {
	for _, test := range []struct {
		raw, preview  int // orientations
		width, height int // of the preview
		rawW, rawH    int
		want          int
	}{
		{6, 0, 480, 320, 6000, 4000, 6},
		{6, 1, 480, 320, 6000, 4000, 6},
		{6, 8, 480, 320, 6000, 4000, 6},
		{3, 1, 480, 320, 6000, 4000, 3},
		{1, 6, 480, 320, 6000, 4000, 1},
		{0, 6, 480, 320, 6000, 4000, 6},
		{0, 0, 480, 320, 6000, 4000, 1},
		{9, 8, 480, 320, 6000, 4000, 8},
		{6, 1, 320, 480, 6000, 4000, 1}, // turned by the camera
		{6, 1, 320, 480, 0, 0, 1},
		{8, 8, 320, 480, 6000, 4000, 1},
		{6, 1, 320, 480, 4000, 6000, 6}, // the sensor is tall
		{6, 1, 300, 300, 3000, 3000, 6},
		{2, 1, 320, 480, 6000, 4000, 2},
	} {
		f := newFile("II*\x00")
		p := photo(test.width, test.height, test.preview)
		fields := streamJPEG(f.add(p), len(p))
		if test.raw != 0 {
			fields = append(fields, short(tagOrientation, test.raw))
		}
		f.link(f.directory(append(fields, long(0x14a, f.directory(f.raw(test.rawW, test.rawH)...)))...))
		if _, got, err := find(f.buf, 0); err != nil || got != test.want {
			t.Errorf("%+v: %d, %v", test, got, err)
		}
	}
}

// Previews that cameras describe in their own directories only.
func TestMakerNotes(t *testing.T) {
	large := photo(600, 400, 0)
	for name, build := range map[string]func(f *file) field{
		"Olympus, old": func(f *file) field {
			at := f.add(large)
			return note(binary.LittleEndian, "OLYMP\x00\x01\x00", func(n *file) { n.directory(long(0x88, at), long(0x89, len(large))) })
		},
		"Pentax of a DNG": func(f *file) field {
			return note(binary.BigEndian, "PENTAX \x00MM", func(n *file) {
				n.directory(long(3, len(large)), long(4, 10+2+24+4))
				n.add(large)
			})
		},
		"Sony": func(f *file) field {
			// Its offsets are from the beginning of the file.
			at := f.add(slices.Concat(make([]byte, 32), large))
			return note(binary.LittleEndian, "SONY DSC \x00\x00\x00", func(n *file) {
				n.directory(field{tag: 0x2001, kind: 7, count: 32 + len(large), value: uint32(at)})
			})
		},
	} {
		f := newFile("II*\x00")
		exif := f.directory(build(f))
		f.link(f.directory(append(f.raw(6000, 4000), long(tagExif, exif))...))
		if got, _, err := find(f.buf, 0); err != nil || !bytes.Equal(got, large) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestRefused(t *testing.T) {
	large := photo(600, 400, 0)
	plain := newFile("II*\x00")
	plain.link(plain.directory(append(streamJPEG(plain.add(large), len(large)), text(0x10f, "Canon"), text(0x110, "EOS"),
		short(tagPhotometric, 2), short(tagOrientation, 6))...))
	bare := newFile("II*\x00")
	bare.link(bare.directory(bare.raw(60, 40)...))
	broken := newFile("II*\x00")
	broken.link(broken.directory(append(broken.raw(60, 40), streamJPEG(9, 500)...)...))
	outside := newFile("IIRO")
	outside.link(outside.directory(streamJPEG(1<<30, 500)...))
	for name, test := range map[string]struct {
		data string
		want error
	}{
		"empty":               {"", ErrUnsupported},
		"JPEG":                {string(large), ErrUnsupported},
		"MP4":                 {string(atom("ftyp", []byte("isom\x00\x00\x00\x01"))), ErrUnsupported},
		"TIFF of a camera":    {string(plain.buf), ErrUnsupported},
		"no preview":          {string(bare.buf), ErrNoPicture},
		"no JPEG there":       {string(broken.buf), ErrCorrupt},
		"preview outside":     {string(outside.buf), ErrCorrupt},
		"TIFF without end":    {"II*\x00\x08\x00\x00\x00........", ErrUnsupported},
		"ORF without end":     {"IIRO\x08\x00\x00\x00........", ErrCorrupt},
		"RAF without end":     {rafMagic, ErrCorrupt},
		"RAF without preview": {rafMagic + strings.Repeat("\x00", 200), ErrCorrupt},
		"CR3 without end":     {string(atom("ftyp", []byte("crx \x00\x00\x00\x01"))), ErrCorrupt},
		"CR3 without preview": {string(atom("ftyp", []byte("crx \x00\x00\x00\x01"))) + string(atom("moov")), ErrNoPicture},
	} {
		if _, _, err := find([]byte(test.data), 0); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// A file that is cut short has a preview that is whole, or is broken.
func TestCutShort(t *testing.T) {
	for name, data := range files() {
		for n := 16; n < len(data); n += len(data)/60 + 1 {
			p, _, err := find(data[:n], 0)
			switch {
			case err == nil:
				if !bytes.HasSuffix(p, []byte{0xff, 0xd9}) {
					t.Errorf("%s cut at %d: the preview is not whole", name, n)
				}
			case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrNoPicture):
				t.Errorf("%s cut at %d: %v", name, n, err)
			}
		}
	}
}

// A failure to read is what it is, and says nothing about the file.
func TestReadError(t *testing.T) {
	for name, data := range files() {
		for fail := 1; ; fail++ {
			r := &countingReader{ReaderAt: bytes.NewReader(data), fail: fail}
			_, _, err := Preview(context.Background(), r, int64(len(data)), 0, 0)
			if r.reads < fail {
				break
			}
			if !errors.Is(err, errDisk) {
				t.Errorf("%s, read %d: %v", name, fail, err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := Preview(ctx, bytes.NewReader(data), int64(len(data)), 0, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPreview(f *testing.F) {
	// Without most of the sensor's data, which is zeros.
	for _, data := range files() {
		f.Add(bytes.ReplaceAll(data, make([]byte, 64<<10), make([]byte, 16)), uint16(300))
	}
	f.Fuzz(func(t *testing.T, data []byte, want uint16) {
		r := &countingReader{ReaderAt: bytes.NewReader(data)}
		p, orientation, err := Preview(context.Background(), r, int64(len(data)), int(want), 0)
		if r.reads > 20000 {
			t.Fatalf("%d reads", r.reads)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrNoPicture) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.HasPrefix(p, []byte{0xff, 0xd8}) || !bytes.Contains(data, p) || orientation < 1 || orientation > 8 {
			t.Fatalf("%d bytes, orientation %d", len(p), orientation)
		}
		if !Sniff(data) {
			t.Fatal("a preview of what is no RAW photo")
		}
	})
}

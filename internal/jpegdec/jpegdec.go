// Package jpegdec decodes JPEG pictures that are to become thumbnails.
//
// It differs from image/jpeg in four ways. It is faster. It can decode to a
// half, a quarter or an eighth of the size in a fraction of the time, by leaving
// out the frequencies that the reduced picture cannot show. It leaves every
// component as a plane of its own size, because whoever scales the planes next
// can bring them to one size on the way. And it shows what there is of a file
// that was cut short or damaged, as browsers do.
//
// It reads the baseline, extended and progressive processes of ITU-T T.81 with
// 8-bit samples, one, three or four components, and any sampling factors. The
// rest is [ErrUnsupported].
//
// At full size a sample of an undamaged picture differs by at most one from that
// of image/jpeg.
package jpegdec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"math"
)

// ErrUnsupported means that the data may be a sound JPEG file, but of a process
// that this package does not know: arithmetic coding, lossless, hierarchical, 12
// bits, two components, a height that is told only after the picture.
var ErrUnsupported = errors.New("jpegdec: unsupported JPEG process")

// A FormatError says why the data is not a JPEG file, or one without a picture.
type FormatError string

func (e FormatError) Error() string { return "jpegdec: " + string(e) }

// A Model says what the planes of a picture are.
type Model uint8

const (
	Gray  Model = iota
	YCbCr       // as in JFIF: ITU-R BT.601, full range
	RGB
	CMYK
	YCCK // C, M and Y as YCbCr of their complements, and K
)

// A Header is what a file says of its picture.
type Header struct {
	Width, Height int
	Progressive   bool
	Model         Model
	Adobe         bool // there is an Adobe marker, so CMYK and YCCK are inverted
	N             int  // number of components: 1, 3 or 4
	Sampling      [4]Sampling
}

// Sampling is how many samples a component has, relative to the others.
type Sampling struct {
	H, V int
}

// Options say what to decode.
type Options struct {
	// Scale is 1, 2, 4 or 8: the picture is decoded at 1/Scale of its size. All
	// else means 1.
	Scale int

	// ChromaScale is Scale for the components that have fewer samples than
	// others. Zero means Scale too. At half of it the planes of a 4:2:0 picture
	// are all of one size, with nothing of the colour lost.
	ChromaScale int

	// Crop is the part of the picture that is needed, in pixels of the file. The
	// zero Rectangle means all of it. What is not needed costs less time, and
	// for a picture that is not progressive less memory.
	Crop image.Rectangle
}

// An Image is a decoded picture. Its zero value is ready to be decoded to, and
// one that was decoded to before saves the memory of the next.
type Image struct {
	Header

	// Rect is the part of the picture that the planes show, in pixels of the
	// file: all of it, or what contains Options.Crop.
	Rect image.Rectangle

	Planes [4]Plane // the first N are set

	// Damaged reports that the file was cut short, or that its data was not what
	// an encoder writes. What there was no data of is grey.
	Damaged bool

	work *decoder
}

// Held returns how many bytes of memory m holds on to, for whoever keeps it for
// the next picture.
func (m *Image) Held() int64 {
	n := 0
	for i := range m.Planes {
		n += cap(m.Planes[i].Pix)
	}
	if m.work != nil {
		n += decoderBytes
		for i := range m.work.comp {
			c := &m.work.comp[i]
			n += 2*cap(c.coef) + 8*cap(c.nonzero)
		}
	}
	return int64(n)
}

// A Plane holds the samples of one component.
type Plane struct {
	Pix    []byte // sample (x, y) is Pix[y*Stride+x]
	Stride int
	W, H   int

	// How many pixels of the file one sample is wide and high. The plane's upper
	// left corner is that of Rect. Its other end may be outside, by less than a
	// sample.
	StepX, StepY float64
}

const (
	markerSOF0  = 0xc0 // baseline
	markerSOF2  = 0xc2 // progressive
	markerDHT   = 0xc4
	markerJPG   = 0xc8
	markerDAC   = 0xcc
	markerSOF15 = 0xcf
	markerRST0  = 0xd0
	markerRST7  = 0xd7
	markerSOI   = 0xd8
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerDQT   = 0xdb
	markerDRI   = 0xdd
	markerAPP0  = 0xe0
	markerAPP14 = 0xee
)

// A segment is a marker with its parameters (T.81 B.1.1).
type segment struct {
	marker byte
	data   []byte
	end    int // where it ends in the file
}

// nextMarker returns the first marker in data[pos:] and where its parameters
// begin, or 0 and the end of the data. Codes below SOF0 are no markers of a file
// that can be decoded.
func nextMarker(data []byte, pos int) (marker byte, end int) {
	for {
		i := bytes.IndexByte(data[pos:], 0xff)
		if i < 0 || pos+i+1 >= len(data) {
			return 0, len(data)
		}
		pos += i + 1
		if m := data[pos]; m >= markerSOF0 && m < 0xff {
			return m, pos + 1
		}
	}
}

// nextSegment returns the first segment in data[pos:], skipping what is no
// segment: fill bytes, garbage, and entropy-coded data with its restart markers.
// It reports false where the file ends before the segment does.
func nextSegment(data []byte, pos int) (s segment, ok bool) {
	for {
		s.marker, pos = nextMarker(data, pos)
		if s.marker < markerRST0 || s.marker > markerSOI {
			break
		}
	}
	if s.marker == markerEOI {
		s.end = pos
		return s, true
	}
	if pos+2 > len(data) {
		return s, false
	}
	n := int(binary.BigEndian.Uint16(data[pos:]))
	if n < 2 || n > len(data)-pos {
		return s, false
	}
	s.data, s.end = data[pos+2:pos+n], pos+n
	return s, true
}

// ReadHeader reads what the file says before its first scan.
func ReadHeader(data []byte) (Header, error) {
	h, _, err := readHeader(data)
	return h, err
}

// frame is what only the decoder needs of a frame header.
type frame struct {
	id    [4]byte // of the components
	quant [4]byte // the numbers of their tables
}

func readHeader(data []byte) (h Header, f frame, err error) {
	if len(data) < 2 || data[0] != 0xff || data[1] != markerSOI {
		return h, f, FormatError("no JPEG file")
	}
	jfif, transform := false, -1
	for pos := 2; ; {
		s, ok := nextSegment(data, pos)
		if !ok {
			return h, f, FormatError("header is cut short")
		}
		pos = s.end
		switch p := s.data; s.marker {
		case markerSOF0, markerSOF0 + 1, markerSOF2:
			if h.N != 0 {
				return h, f, FormatError("two frames")
			}
			h.Progressive = s.marker == markerSOF2
			if err := f.parse(&h, p); err != nil {
				return h, f, err
			}
		case markerAPP0:
			jfif = jfif || len(p) >= 5 && string(p[:5]) == "JFIF\x00"
		case markerAPP14:
			if len(p) >= 12 && string(p[:5]) == "Adobe" {
				transform = int(p[11])
			}
		case markerSOS:
			if h.N == 0 {
				return h, f, FormatError("scan without a frame")
			}
			h.Adobe = transform >= 0
			h.Model = model(h.N, f.id, jfif, transform)
			return h, f, nil
		case markerEOI:
			return h, f, FormatError("no picture in the file")
		case markerDHT, markerJPG:
		default:
			if markerSOF0 <= s.marker && s.marker <= markerSOF15 {
				return h, f, ErrUnsupported
			}
		}
	}
}

// parse reads the frame header p (T.81 B.2.2).
func (f *frame) parse(h *Header, p []byte) error {
	if len(p) < 6 || len(p) < 6+3*int(p[5]) {
		return FormatError("frame header is cut short")
	}
	h.Height = int(binary.BigEndian.Uint16(p[1:]))
	h.Width = int(binary.BigEndian.Uint16(p[3:]))
	n := int(p[5])
	switch {
	case h.Width == 0:
		return FormatError("no width")
	case p[0] != 8, h.Height == 0, n != 1 && n != 3 && n != 4:
		return ErrUnsupported
	}
	h.N = n
	for i := range n {
		c := p[6+3*i:]
		s := Sampling{H: int(c[1] >> 4), V: int(c[1] & 15)}
		if s.H < 1 || s.H > 4 || s.V < 1 || s.V > 4 || c[2] > 3 {
			return FormatError("bad component")
		}
		if n == 1 {
			s = Sampling{H: 1, V: 1} // whatever it says: there is nothing to relate it to
		}
		h.Sampling[i] = s
		f.id[i], f.quant[i] = c[0], c[2]
	}
	return nil
}

// model guesses the colour model as libjpeg does, and with it everybody.
// transform is that of the Adobe marker, or negative if there is none.
func model(n int, id [4]byte, jfif bool, transform int) Model {
	switch {
	case n == 1:
		return Gray
	case n == 4 && transform <= 0:
		return CMYK
	case n == 4:
		return YCCK
	case jfif:
		return YCbCr
	case transform == 0, transform < 0 && string(id[:3]) == "RGB":
		return RGB
	}
	return YCbCr
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// A geometry says where the samples of a component are. Blocks are numbered from
// the upper left corner of the picture.
type geometry struct {
	size             int             // of a block's edge, in samples of the plane
	blocksX, blocksY int             // that the component has
	window           image.Rectangle // blocks that the plane has, in whole MCUs
	coefStride       int             // blocks in a row of coefficients

	plane Plane // without samples
	bytes int64 // of the plane
	kept  int64 // blocks of which coefficients are kept
}

// layout returns the geometry of all components, the pixels that it covers, and
// how many MCUs there are in an interleaved scan.
func (h *Header) layout(o Options) (g [4]geometry, rect image.Rectangle, mcus image.Point) {
	maxH, maxV := 1, 1
	for _, s := range h.Sampling[:h.N] {
		maxH, maxV = max(maxH, s.H), max(maxV, s.V)
	}
	mcus = image.Pt(ceilDiv(h.Width, 8*maxH), ceilDiv(h.Height, 8*maxV))

	all := image.Rect(0, 0, h.Width, h.Height)
	crop := o.Crop.Intersect(all)
	if crop.Empty() {
		crop = all
	}
	window := image.Rect(
		crop.Min.X/(8*maxH), crop.Min.Y/(8*maxV),
		ceilDiv(crop.Max.X, 8*maxH), ceilDiv(crop.Max.Y, 8*maxV))
	rect = image.Rect(
		window.Min.X*8*maxH, window.Min.Y*8*maxV,
		window.Max.X*8*maxH, window.Max.Y*8*maxV).Intersect(all)

	for i, s := range h.Sampling[:h.N] {
		c := &g[i]
		scale := o.Scale
		if o.ChromaScale != 0 && (s.H < maxH || s.V < maxV) {
			scale = o.ChromaScale
		}
		if scale != 2 && scale != 4 && scale != 8 {
			scale = 1
		}
		c.size = 8 / scale
		c.blocksX = ceilDiv(ceilDiv(h.Width*s.H, maxH), 8)
		c.blocksY = ceilDiv(ceilDiv(h.Height*s.V, maxV), 8)
		c.window = image.Rect(window.Min.X*s.H, window.Min.Y*s.V, window.Max.X*s.H, window.Max.Y*s.V)
		c.coefStride = mcus.X * s.H

		c.plane = Plane{
			Stride: c.window.Dx() * c.size,
			W:      ceilDiv(ceilDiv(rect.Dx()*s.H, maxH), scale),
			H:      ceilDiv(ceilDiv(rect.Dy()*s.V, maxV), scale),
			StepX:  float64(scale*maxH) / float64(s.H),
			StepY:  float64(scale*maxV) / float64(s.V),
		}
		c.bytes = int64(c.plane.Stride) * int64(c.window.Dy()*c.size)
		if h.Progressive {
			c.kept = int64(c.coefStride) * int64(c.window.Max.Y)
		}
	}
	return g, rect, mcus
}

// coefBytes is how many bytes the coefficients of one block take.
func (g *geometry) coefBytes() int64 { return 2*int64(lastCoefficient[g.size]+1) + 8 }

// Cost returns how many bytes of memory a decoding allocates at most.
func (h Header) Cost(o Options) int64 {
	// The allocator rounds up: large sizes to pages, small ones by an eighth.
	const page = 8 << 10
	n := int64(decoderBytes)
	g, _, _ := h.layout(o)
	for i := range h.N {
		n += g[i].bytes + g[i].kept*g[i].coefBytes() + 3*page
	}
	return n
}

// decoderBytes is not less than the size of a decoder, which is mostly tables.
const decoderBytes = 128 << 10

// maxScans is how many scans are read of a file. Encoders make about ten. A file
// can be made that has thousands and is small, since a scan can be empty.
const maxScans = 100

type decoder struct {
	*Image
	bits  bitReader
	quant [4][64]uint16 // in zig-zag order
	has   [4]bool       // quantisation tables
	huff  [2][4]table   // of DC and AC coefficients
	comp  [4]component

	restart      int // MCUs between restart markers, or 0
	mcusX, mcusY int // of an interleaved scan
	eobRun       int // blocks of which the band has ended (T.81 G.1.2.2)
	decoded      bool
}

type component struct {
	geometry
	Sampling
	id         byte
	table      byte
	index      int
	seen       bool // a scan of it was read
	prediction int32
	quant      dequant
	pix        []byte
	stride     int
	coef       []int16  // the first coefficients of each block, in zig-zag order
	nonzero    []uint64 // one bit for each coefficient of a block
}

// Decode decodes the picture in data to dst.
//
// It is an error if there is nothing of the picture. If there is something, the
// error is nil, or that of ctx, and dst.Damaged may be set.
//
// The memory it takes is that of [Header.Cost], which the caller should look at
// first: it is the file that says how large the picture is.
func Decode(ctx context.Context, data []byte, o Options, dst *Image) error {
	h, f, err := readHeader(data)
	if err != nil {
		return err
	}
	if h.Cost(o) > math.MaxInt {
		return ErrUnsupported
	}
	d := dst.work
	if d == nil {
		d = new(decoder)
	}
	planes := dst.Planes
	*dst = Image{Header: h, work: d}
	d.reset(dst, data)
	var g [4]geometry
	var mcus image.Point
	g, dst.Rect, mcus = h.layout(o)
	d.mcusX, d.mcusY = mcus.X, mcus.Y
	for i := h.N; i < len(planes); i++ {
		dst.Planes[i].Pix = planes[i].Pix[:0] // for a picture that has more
	}
	for i := range h.N {
		c := &d.comp[i]
		c.geometry, c.Sampling = g[i], h.Sampling[i]
		c.id, c.table, c.index = f.id[i], f.quant[i], i
		dst.Planes[i] = c.plane
		dst.Planes[i].Pix = grow(planes[i].Pix, c.bytes)
		c.pix, c.stride = dst.Planes[i].Pix, c.plane.Stride
		if h.Progressive {
			c.coef = grow(c.coef, c.kept*int64(lastCoefficient[c.size]+1))
			clear(c.coef)
			c.nonzero = grow(c.nonzero, c.kept)
			clear(c.nonzero)
		}
	}
	return d.decode(ctx)
}

// grow returns a slice of n elements, s if it is large enough.
func grow[T any](s []T, n int64) []T {
	if int64(cap(s)) < n {
		return make([]T, n)
	}
	return s[:n]
}

// reset makes d as good as new, but for the memory of it.
func (d *decoder) reset(dst *Image, data []byte) {
	d.Image = dst
	d.bits.data, d.bits.damaged = data, false
	d.has = [4]bool{}
	for class := range d.huff {
		for i := range d.huff[class] {
			// Files without tables are frames of Motion JPEG: theirs are those
			// of T.81 annex K, for luminance and for chrominance.
			s := &standardTables[class][i&1]
			d.huff[class][i].define(&s.counts, s.vals)
		}
	}
	for i := range d.comp {
		c := &d.comp[i]
		*c = component{coef: c.coef, nonzero: c.nonzero}
	}
	d.restart, d.decoded = 0, false
}

// decode reads all segments.
func (d *decoder) decode(ctx context.Context) error {
	// Nothing of the file or of the picture is to stay alive with the buffers.
	defer func() { d.Image, d.bits.data = nil, nil }()

	var needed [maxScans]bool
	if d.Progressive {
		needed = d.neededScans(2)
	}
	scans := 0
	for pos := 2; ; {
		s, ok := nextSegment(d.bits.data, pos)
		if !ok || s.marker == markerEOI {
			break
		}
		pos = s.end
		switch {
		case s.marker == markerDQT:
			ok = d.defineQuant(s.data)
		case s.marker == markerDHT:
			ok = d.defineHuffman(s.data)
		case s.marker == markerDRI:
			ok = len(s.data) >= 2
			if ok {
				d.restart = int(binary.BigEndian.Uint16(s.data))
			}
		case s.marker == markerSOS:
			ok = scans < maxScans
			if ok && (needed[scans] || !d.Progressive) {
				var err error
				ok, err = d.scan(ctx, s)
				if err != nil {
					return err
				}
				pos = max(pos, d.bits.next)
			}
			scans++
		}
		if !ok {
			d.Damaged = true
			break
		}
	}
	if !d.decoded {
		return FormatError("no picture in the file")
	}
	for i := range d.N {
		c := &d.comp[i]
		switch {
		case !c.seen:
			d.Damaged = true
			fill(c.pix, 128)
		case d.Progressive:
			if err := c.render(ctx); err != nil {
				return err
			}
		}
	}
	d.Damaged = d.Damaged || d.bits.damaged
	return nil
}

func fill(p []byte, v byte) {
	for i := range p {
		p[i] = v
	}
}

// scan reads the scan that the SOS segment announces. It reports whether there
// is any use in reading on.
func (d *decoder) scan(ctx context.Context, seg segment) (ok bool, err error) {
	s, ok := d.parseScan(seg.data)
	if !ok {
		return false, nil
	}
	for i := range s.n {
		t := &s.parts[i]
		if t.seen && !d.Progressive {
			d.Damaged = true
			return true, nil // there is nothing that could be added to it
		}
		if !t.seen {
			// The tables are those at the first scan (libjpeg's rule too: the
			// spec does not allow for others).
			if !d.has[t.table] {
				return false, nil
			}
			t.quant.set(&d.quant[t.table], t.size)
		}
		d.prepareTables(&s, t)
	}
	for i := range s.n {
		s.parts[i].seen = true
	}
	d.resetPredictions(&s)
	d.bits.start(seg.end)
	return true, d.read(ctx, &s)
}

// prepareTables builds what the scan needs of its Huffman tables.
func (d *decoder) prepareTables(s *scan, t *part) {
	dc, ac := &d.huff[0][t.dc], &d.huff[1][t.ac]
	if !d.Progressive {
		dc.build(kindDC)
		ac.build(kindAC)
		ac.buildSkip()
		return
	}
	switch {
	case s.first == 0:
		dc.build(kindDC)
	case s.high == 0:
		ac.build(kindProgressiveAC)
	default:
		ac.build(kindRefineAC)
	}
}

// defineQuant reads a DQT segment (T.81 B.2.4.1).
func (d *decoder) defineQuant(p []byte) bool {
	for len(p) > 0 {
		wide, i := p[0]>>4, p[0]&15
		p = p[1:]
		size := 64 << (wide & 1)
		if wide > 1 || i > 3 || len(p) < size {
			return false
		}
		for k := range 64 {
			if wide == 1 {
				d.quant[i][k] = binary.BigEndian.Uint16(p[2*k:])
			} else {
				d.quant[i][k] = uint16(p[k])
			}
		}
		d.has[i] = true
		p = p[size:]
	}
	return true
}

// defineHuffman reads a DHT segment (T.81 B.2.4.2).
func (d *decoder) defineHuffman(p []byte) bool {
	for len(p) > 0 {
		class, i := p[0]>>4, p[0]&15
		if class > 1 || i > 3 || len(p) < 17 {
			return false
		}
		counts := (*[16]byte)(p[1:17])
		n := 0
		for _, c := range counts {
			n += int(c)
		}
		p = p[17:]
		if n > len(p) || !d.huff[class][i].define(counts, p[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

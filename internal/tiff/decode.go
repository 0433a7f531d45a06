package tiff

import (
	"context"
	"encoding/binary"
	"image"
	"io"
	"math"

	"github.com/thumbcache/thumbcache/internal/reduce"
)

// Options say how to decode.
type Options struct {
	// Scale reduces the picture to 1/Scale of its width and height, rounded up. Each pixel is the mean of Scale x Scale
	// pixels. 0 means 1; values above MaxScale mean MaxScale.
	Scale int

	// Inks converts pixels of cyan, magenta, yellow and black to opaque RGBA, in place. With it, Decode returns an
	// *image.RGBA in place of an *image.CMYK. It is called before pixels are summed up for Scale, since the mean of inks is
	// not the mean of their colours. The number of pixels varies from call to call.
	Inks func(pix []byte)
}

// MaxScale is the largest value of [Options.Scale].
const MaxScale = reduce.MaxScale

func (o Options) scale() int { return max(1, min(o.Scale, MaxScale)) }

// Decode decodes the picture of a file, before its orientation is applied. The result is
//
//   - *image.Gray for grey,
//   - *image.CMYK for inks, with 0 for no ink, unless there is [Options.Inks],
//   - *image.NRGBA for colours with unassociated alpha at full size,
//   - *image.RGBA for everything else.
//
// Samples of more than 8 bits are rounded to 8. Palettes, YCbCr, and inks with alpha are converted to RGB; L*a*b* is
// converted to sRGB. Of several pictures in a file it decodes the first full one, which is neither a mask nor the
// reduced version of another.
//
// The least value of an integer type is black and its greatest white, for signed types too. For floats 0 is black and 1
// is white. If SMinSampleValue or SMaxSampleValue is outside that range, those are black and white.
//
// It allocates at most what [Header.Cost] returns, which the caller should look at first. Besides the result, it holds a
// few rows of a strip or tile, or if the data is JPEG, one strip or tile.
//
// The error is [ErrUnsupported], [ErrCorrupt], or that of r or ctx.
func Decode(ctx context.Context, r io.ReaderAt, size int64, o Options) (image.Image, error) {
	p, err := open(r, size)
	if err != nil {
		return nil, err
	}
	h := p.header()
	if h.Cost(o) > math.MaxInt {
		return nil, unsupported("%d x %d pixels", p.width, p.height)
	}
	img, c := p.newCanvas(h, o)
	if err := p.decode(ctx, c); err != nil {
		return nil, err
	}
	if p.guessed {
		c.showInvisible()
	}
	return img, nil
}

// decode decodes all strips or tiles to c.
func (p *photo) decode(ctx context.Context, c *canvas) error {
	switch p.compression {
	case compOldJPEG, compJPEG:
		return p.decodeJPEG(ctx, c)
	}
	planes := make([]*plane, p.planes())
	for i := range planes {
		planes[i] = p.newPlane(ctx)
	}
	conv := p.newConverter()
	conv.row, conv.samples = make([]byte, p.rowBytes()), make([]uint16, p.blockW*p.samples)
	for by := range p.down {
		for bx := range p.across {
			for i, pl := range planes {
				off, n, err := p.block(by*p.across+bx, int64(i))
				if err != nil {
					return err
				}
				if err := pl.begin(off, n); err != nil {
					return err
				}
			}
			x, y := int(bx)*p.blockW, int(by)*p.blockH
			w, h := min(p.blockW, p.width-x), min(p.blockH, p.height-y)
			for j := range h {
				if err := conv.next(planes, w); err != nil {
					return err
				}
				conv.draw(c, x, y+j, w)
			}
		}
		c.flush(int(min(int64(p.height), (by+1)*int64(p.blockH))))
	}
	return conv.check()
}

// block returns the offset and the length of block i of a plane.
func (p *photo) block(i, plane int64) (off, n int64, err error) {
	i += plane * p.across * p.down
	v, ok := p.offsets.Uint(i)
	off = offset(v)
	n = p.file.size - off
	if p.counts.Count > 0 {
		v, valid := p.counts.Uint(i)
		ok = ok && valid
		if v > 0 || p.compression != compNone { // some programs write 0 for uncompressed data
			n = min(n, offset(v)) // the last block may claim more bytes than the file has
		}
	}
	for _, f := range []*File{p.offsets.f, p.counts.f} {
		if f.err != nil {
			return 0, 0, f.err
		}
	}
	if !ok || off <= 0 || off >= p.file.size || n <= 0 {
		return 0, 0, corrupt("strip or tile %d is not in the file", i)
	}
	if p.compression != compJPEG {
		// No encoder makes the samples so much larger. The limit bounds the time that a hostile file can cost.
		n = min(n, 8*p.rowBytes()*int64(p.blockH)+64<<10)
	}
	return off, n, nil
}

// A converter turns packed samples into pixels, row by row.
type converter struct {
	*photo
	order binary.ByteOrder // of the samples

	// direct converts a row of 8-bit samples in a common format without unpacking. It is nil for other formats.
	direct func(dst, row []byte)
	narrow bool // the samples have 16 bits, and are narrowed for direct

	row     []byte      // of a plane, in the packing of the file
	samples []uint16    // of the pixels of a row
	scale   [256]uint16 // 16-bit values of samples of up to 8 bits
	ycc     *yccTables
	lab     *labTables
	total   int64 // number of floats
	outside int64 // number of floats below black or above white
}

func (p *photo) newConverter() *converter {
	c := &converter{photo: p, order: p.file.order}
	if p.predictor == 3 {
		c.order = binary.BigEndian
	}
	if p.bits <= 8 && p.photometric != palette {
		top := 1<<p.bits - 1
		for i := range c.scale {
			c.scale[i] = uint16(i * 65535 / max(top, 1))
		}
	} else {
		for i := range c.scale {
			c.scale[i] = uint16(i)
		}
	}
	switch p.photometric {
	case photoYCbCr:
		c.ycc = p.newYCCTables()
	case cieLab, iccLab:
		c.lab = p.newLabTables()
	}
	if (p.bits == 8 || p.bits == 16) && p.format == formatUint && !p.planar {
		c.direct, c.narrow = p.newDirect(), p.bits == 16
	}
	return c
}

// newDirect returns the function for [converter.direct].
func (p *photo) newDirect() func(dst, row []byte) {
	copyRow := func(dst, row []byte) { copy(dst, row) }
	switch {
	case p.photometric == blackIsZero && p.samples == 1:
		return copyRow
	case p.isRGB():
		return func(dst, row []byte) {
			for ; len(dst) >= 4 && len(row) >= 3; dst, row = dst[4:], row[3:] {
				dst[0], dst[1], dst[2], dst[3] = row[0], row[1], row[2], 255
			}
		}
	case p.photometric == photoRGB && p.samples == 4 && p.alpha == unassociated,
		p.photometric == separated && p.samples == 4 && !p.inverted:
		return copyRow
	case p.photometric == palette && p.samples == 1 && p.bits == 8:
		var table [256][4]byte
		for i := range table {
			m := p.colorMap[3*i:][:3]
			table[i] = [4]byte{narrow(m[0]), narrow(m[1]), narrow(m[2]), 255}
		}
		return func(dst, row []byte) {
			for i, v := range row[:len(dst)/4] {
				*(*[4]byte)(dst[4*i:]) = table[v]
			}
		}
	}
	return nil
}

// isRGB reports whether a pixel has three samples of red, green and blue.
func (p *photo) isRGB() bool { return p.photometric == photoRGB && p.samples == 3 }

// next reads w pixels of the next row of a block.
func (c *converter) next(planes []*plane, w int) error {
	n := c.photo.samples
	for i, pl := range planes {
		if err := pl.next(c.row); err != nil {
			return err
		}
		switch {
		case c.narrow && c.direct != nil:
			c.narrowRow(w * n)
		case c.direct != nil:
		case c.planar:
			c.unpack(c.samples[i:], n, c.row, w)
		default:
			c.unpack(c.samples, 1, c.row, w*n)
		}
	}
	return nil
}

// draw draws the w pixels that have been read last to row y of a canvas, from x on.
func (c *converter) draw(to *canvas, x, y, w int) {
	if c.direct != nil && c.isRGB() && to.scale > 1 {
		to.add(x, y, c.row[:3*w], 3)
		return
	}
	dst := to.row(x, y, w)
	if c.direct != nil {
		c.direct(dst, c.row)
	} else {
		c.convert(dst, c.samples[:w*c.photo.samples])
	}
	to.done(x, y, w)
}

// narrowRow narrows n samples of 16 bits to 8, in place.
func (c *converter) narrowRow(n int) {
	to, row := c.row[:n], c.row[:2*n]
	if c.order == binary.BigEndian {
		for i := range to {
			to[i] = narrow(binary.BigEndian.Uint16(row[2*i:]))
		}
		return
	}
	for i := range to {
		to[i] = narrow(binary.LittleEndian.Uint16(row[2*i:]))
	}
}

// unpack unpacks n samples to dst[0], dst[step], dst[2*step] and so on. Palette indices and the samples of L*a*b* keep
// their values. All other samples are scaled to 16 bits.
func (c *converter) unpack(dst []uint16, step int, row []byte, n int) {
	switch {
	case c.format == formatFloat:
		c.unpackFloats(dst, step, row, n)
	case c.bits == 16 && c.format == formatUint, c.bits == 16 && c.lab != nil:
		c.unpack16(dst, step, row, n, 2)
	case c.lab != nil:
		for i := range n {
			dst[i*step] = uint16(row[i])
		}
	case c.format == formatInt:
		c.unpackSigned(dst, step, row, n)
	case c.bits == 8:
		for i := range n {
			dst[i*step] = c.scale[row[i]]
		}
	case c.bits < 8 && 8%c.bits == 0:
		// Samples begin at the highest bit.
		top := byte(1<<c.bits - 1)
		per := 8 / c.bits
		for i := range n {
			dst[i*step] = c.scale[row[i/per]>>(8-c.bits-i%per*c.bits)&top]
		}
	case c.bits < 16:
		// Samples are a stream of bits, highest first, in either byte order.
		top := uint32(1)<<c.bits - 1
		var acc uint32
		have := 0
		for i := range n {
			for have < c.bits {
				acc = acc<<8 | uint32(row[0])
				row = row[1:]
				have += 8
			}
			have -= c.bits
			v := acc >> have & top
			if c.photometric != palette {
				v = v * 65535 / top
			}
			dst[i*step] = uint16(v)
		}
	default:
		// The two most significant bytes.
		size := c.bits / 8
		if c.order == binary.LittleEndian {
			row = row[size-2:]
		}
		c.unpack16(dst, step, row, n, size)
	}
}

// unpack16 reads the first 16 bits of every size bytes.
func (c *converter) unpack16(dst []uint16, step int, row []byte, n, size int) {
	if c.order == binary.LittleEndian {
		for i := range n {
			dst[i*step] = binary.LittleEndian.Uint16(row[i*size:])
		}
		return
	}
	for i := range n {
		dst[i*step] = binary.BigEndian.Uint16(row[i*size:])
	}
}

// unpackSigned reads signed integers. The least one is black, as the default of SMinSampleValue says.
func (c *converter) unpackSigned(dst []uint16, step int, row []byte, n int) {
	size := c.bits / 8
	if c.order == binary.LittleEndian && size > 1 {
		row = row[size-2:]
	}
	for i := range n {
		if size == 1 {
			dst[i*step] = uint16(row[i]^0x80) * 257
		} else {
			dst[i*step] = c.order.Uint16(row[i*size:]) ^ 0x8000
		}
	}
}

func (c *converter) unpackFloats(dst []uint16, step int, row []byte, n int) {
	size := c.bits / 8
	// Rounding may lead a little beyond black and white.
	const slack = 1.0 / 256
	for i := range n {
		p := row[i*size:][:size]
		var v float64
		switch size {
		case 2:
			v = half(c.order.Uint16(p))
		case 4:
			v = float64(math.Float32frombits(c.order.Uint32(p)))
		case 8:
			v = math.Float64frombits(c.order.Uint64(p))
		}
		v = (v - c.low) / (c.top - c.low)
		c.total++
		if !(v >= -slack && v <= 1+slack) { // NaN as well
			c.outside++
		}
		switch {
		case v >= 1:
			dst[i*step] = 65535
		case v > 0:
			dst[i*step] = uint16(v*65535 + 0.5)
		default:
			dst[i*step] = 0
		}
	}
}

// half converts a float of 16 bits: a sign, 5 bits of exponent, 10 of fraction.
func half(b uint16) float64 {
	fraction, exponent := float64(b&(1<<10-1)), int(b>>10&31)
	var v float64
	switch exponent {
	case 0:
		v = math.Ldexp(fraction, -24)
	case 31:
		return math.NaN() // infinity counts as NaN here
	default:
		v = math.Ldexp(fraction+(1<<10), exponent-25)
	}
	if b>>15 == 1 {
		v = -v
	}
	return v
}

// check refuses a picture when most of its floats are below black or above white. Such floats are measurements, heights
// for example, in a range that the file does not tell.
func (c *converter) check() error {
	if c.outside > c.total/2 {
		return unsupported("floating-point samples of an unknown range")
	}
	return nil
}

package render

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/thumbcache/thumbcache/internal/reduce"
)

// A dib is a device-independent bitmap: what follows the file header of a BMP, and most images of an icon. Its slices are
// parts of the file.
type dib struct {
	width, height int
	topDown       bool
	bits          int // per pixel
	encoding      dibEncoding
	masks         [4]uint32 // of red, green, blue and alpha in pixels of 16 and 32 bits
	palette       []byte
	entrySize     int // bytes of a palette entry: blue, green, red and perhaps a reserved byte
	pixels        []byte
	icc           []byte // embedded colour profile
	icon          bool   // a mask of transparent pixels follows the pixels
}

// A dibEncoding tells how pixels are stored. Its values do not equal those in files, since OS/2 and Windows differ.
type dibEncoding uint8

const (
	dibPlain dibEncoding = iota
	dibRLE
	dibJPEG
	dibPNG
)

// Sizes of the information headers that tell which fields there are.
const (
	dibCore    = 12  // OS/2 1.x: 16-bit dimensions, palette entries of 3 bytes
	dibOS2Min  = 16  // OS/2 2.x, with all optional fields left out
	dibOS2Max  = 64  // OS/2 2.x
	dibInfo    = 40  // Windows 3
	dibInfoRGB = 52  // with masks of red, green and blue
	dibInfoA   = 56  // with a mask of alpha too
	dibV4      = 108 // Windows 95
	dibV5      = 124 // Windows 98
)

// isDIBHeaderSize reports whether n is the size of a known information header.
func isDIBHeaderSize(n uint32) bool {
	return n == dibCore || n == dibV4 || n == dibV5 || n >= dibOS2Min && n <= dibOS2Max && n%4 == 0
}

// readBMP reads the headers of a BMP. It returns the JPEG or PNG that the file consists of, if there is one.
func (h *header) readBMP(data []byte) (embedded []byte, err error) {
	start := 0
	if data[1] == 'A' {
		start = 14 // OS/2 bitmap array: its first bitmap
	}
	const fileHeader = 14
	if len(data) < start+fileHeader+4 {
		return nil, corrupt("short BMP")
	}
	at := start + fileHeader
	pixels := int64(binary.LittleEndian.Uint32(data[start+10:]))
	d, err := readDIB(data[at:], pixels-int64(at))
	if err != nil {
		return nil, err
	}
	if d.encoding == dibJPEG || d.encoding == dibPNG {
		return d.pixels, nil
	}
	h.setDIB(d)
	return nil, nil
}

func (h *header) setDIB(d dib) {
	h.dib = d
	h.width, h.height = d.width, d.height
	h.icc = d.icc
	h.memory = 4*h.pixels() + 64<<10
}

// readDIB reads the information header and the palette of a bitmap. The pixels are at the given offset, or behind the
// palette if the offset makes no sense.
func readDIB(data []byte, pixels int64) (d dib, err error) {
	if len(data) < dibCore {
		return d, corrupt("short bitmap header")
	}
	size := binary.LittleEndian.Uint32(data)
	if !isDIBHeaderSize(size) || int(size) > len(data) {
		return d, corrupt("bitmap header of %d bytes", size)
	}
	compression, colours, err := d.readInfo(data[:size])
	if err != nil {
		return d, err
	}
	tables := data[size:] // masks, palette
	if err := d.setEncoding(compression, size, &tables); err != nil {
		return d, err
	}
	d.setMasks(data[:size], compression)
	if size == dibV5 {
		d.icc = embeddedProfile(data)
	}

	// The palette may be shorter than the header says.
	palette := len(data) - len(tables)
	length := 0
	if d.bits >= 1 && d.bits <= 8 {
		if colours == 0 || colours > 256 {
			colours = 1 << d.bits
		}
		length = min(int(colours)*d.entrySize, len(tables))
	}
	// An offset that leaves no room for a palette that must be there is wrong.
	first := int64(palette)
	if length > 0 {
		first++
	}
	if pixels >= first && pixels <= int64(len(data)) {
		length = min(length, int(pixels)-palette)
	} else {
		pixels = int64(palette + length)
	}
	d.palette, d.pixels = tables[:length], data[pixels:]
	d.sniffEmbedded(compression)
	return d, nil
}

// embeddedProfile returns the colour profile of a bitmap with a V5 header, or nil.
func embeddedProfile(data []byte) []byte {
	const embedded = 0x4d424544 // "MBED"
	at, size := int64(binary.LittleEndian.Uint32(data[112:])), int64(binary.LittleEndian.Uint32(data[116:]))
	if binary.LittleEndian.Uint32(data[56:]) != embedded || size > maxProfile || at+size > int64(len(data)) {
		return nil
	}
	return data[at : at+size]
}

// readInfo reads the dimensions and the number of bits from an information header.
func (d *dib) readInfo(info []byte) (compression, colours uint32, err error) {
	var w, h int64
	if len(info) == dibCore {
		w, h = int64(binary.LittleEndian.Uint16(info[4:])), int64(binary.LittleEndian.Uint16(info[6:]))
		d.bits, d.entrySize = int(binary.LittleEndian.Uint16(info[10:])), 3
	} else {
		w, h = int64(int32(binary.LittleEndian.Uint32(info[4:]))), int64(int32(binary.LittleEndian.Uint32(info[8:])))
		d.bits, d.entrySize = int(binary.LittleEndian.Uint16(info[14:])), 4
	}
	if len(info) >= 20 {
		compression = binary.LittleEndian.Uint32(info[16:])
	}
	if len(info) >= 36 {
		colours = binary.LittleEndian.Uint32(info[32:])
	}
	if h < 0 {
		d.topDown, h = true, -h
	}
	if w <= 0 || h <= 0 || h > 1<<31-1 {
		return 0, 0, corrupt("bitmap of %d x %d", w, h)
	}
	d.width, d.height = int(w), int(h)
	return compression, colours, nil
}

// Values of the compression field. OS/2 2.x has Huffman coding for 3 and RLE24 for 4.
const (
	biRGB = iota
	biRLE8
	biRLE4
	biBitfields
	biJPEG // or RLE24
	biPNG
	biAlphaBitfields
)

// setEncoding derives the encoding from the compression field. If masks follow the header, it moves tables behind them.
func (d *dib) setEncoding(compression, size uint32, tables *[]byte) error {
	following := 0 // bytes of masks behind the header
	switch {
	case compression == biRGB:
	case compression == biRLE8 && d.bits == 8, compression == biRLE4 && d.bits == 4:
		d.encoding = dibRLE
	case compression == biBitfields && (d.bits == 16 || d.bits == 32):
		following = 12
	case compression == biAlphaBitfields && (d.bits == 16 || d.bits == 32):
		following = 16
	case compression == biJPEG && d.bits == 24 && size != dibV4 && size != dibV5:
		d.encoding = dibRLE // unless a JPEG is found, see sniffEmbedded
	case compression == biJPEG, compression == biPNG:
		return nil
	default:
		return fmt.Errorf("%w: bitmap with compression %d and %d bits", ErrUnsupported, compression, d.bits)
	}
	switch d.bits {
	case 1, 2, 4, 8, 16, 24, 32:
	default:
		return fmt.Errorf("%w: bitmap with %d bits", ErrUnsupported, d.bits)
	}
	if following > 0 && size < dibInfoRGB {
		if len(*tables) < following {
			return corrupt("bitmap without its masks")
		}
		d.masks[3] = 0
		for i := range following / 4 {
			d.masks[i] = binary.LittleEndian.Uint32((*tables)[4*i:])
		}
		*tables = (*tables)[following:]
	}
	return nil
}

// setMasks sets the masks of pixels of 16 and 32 bits, unless they were read already.
func (d *dib) setMasks(info []byte, compression uint32) {
	switch {
	case compression == biBitfields || compression == biAlphaBitfields:
		if len(info) >= dibInfoRGB {
			for i := range 3 {
				d.masks[i] = binary.LittleEndian.Uint32(info[40+4*i:])
			}
		}
		if len(info) >= dibInfoA && len(info) != dibOS2Max {
			d.masks[3] = binary.LittleEndian.Uint32(info[52:])
		}
	case d.bits == 16:
		d.masks = [4]uint32{0x7c00, 0x03e0, 0x001f, 0}
	case d.bits == 32:
		// The fourth byte is reserved. What programs leave there is not alpha, whatever the version of the header.
		d.masks = [4]uint32{0xff0000, 0xff00, 0xff, 0}
	}
}

// sniffEmbedded recognises a JPEG or PNG in place of pixels.
func (d *dib) sniffEmbedded(compression uint32) {
	if compression != biJPEG && compression != biPNG {
		return
	}
	switch contentType, _ := Sniff(d.pixels); contentType {
	case typeJPEG:
		d.encoding = dibJPEG
	case typePNG:
		d.encoding = dibPNG
	}
}

// stride returns the bytes of a row of pixels. Rows are padded to 4 bytes.
func (d *dib) stride() int64 { return (int64(d.width)*int64(d.bits) + 31) / 32 * 4 }

// minRows is the share of a bitmap's rows, as one part of so many, that a file which ends early must have.
const minRows = 8

// decodeDIB decodes a bitmap. Rows that are missing at the end of the file are transparent.
func decodeDIB(ctx context.Context, d *dib) (raster, error) {
	if d.encoding > dibRLE || d.bits < 1 {
		return raster{}, corrupt("bitmap without the picture that should be embedded")
	}
	if d.encoding == dibPlain && int64(len(d.pixels)) < d.stride()*int64((d.height+minRows-1)/minRows) {
		return raster{}, corrupt("%d bytes of pixels for a bitmap of %d x %d with %d bits", len(d.pixels), d.width, d.height, d.bits)
	}
	canvas := newCanvas(d.width, d.height)
	var err error
	if d.encoding == dibRLE {
		err = d.decodeRLE(ctx, canvas)
	} else {
		err = d.decodePlain(ctx, canvas)
	}
	if err != nil {
		return raster{}, err
	}
	if d.icon {
		d.applyMask(canvas)
	} else if d.masks[3] != 0 {
		setOpaqueIfClear(canvas.pix)
	}
	if d.masks[3] != 0 {
		reduce.Premultiply(canvas.pix)
	}
	return raster{kind: rgba, planes: [3]plane{canvas}}, nil
}

// row returns row y of the canvas, counted as they are stored.
func (d *dib) row(canvas plane, y int) []byte {
	if !d.topDown {
		y = d.height - 1 - y
	}
	return canvas.pix[y*canvas.stride:][:canvas.stride]
}

func (d *dib) decodePlain(ctx context.Context, canvas plane) error {
	table := d.table()
	channels := d.channels()
	stride := int(d.stride())
	rest := d.pixels
	for y := 0; y < d.height && len(rest) > 0; y++ {
		if y%64 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		from := rest[:min(stride, len(rest))]
		rest = rest[len(from):]
		to := d.row(canvas, y)
		// A row that is cut short has fewer pixels.
		to = to[:min(len(to), 4*(8*len(from)/d.bits))]
		switch d.bits {
		case 24:
			for ; len(to) >= 4; to, from = to[4:], from[3:] {
				to[0], to[1], to[2], to[3] = from[2], from[1], from[0], 255
			}
		case 16:
			for ; len(to) >= 4; to, from = to[4:], from[2:] {
				channels.split(to, uint32(binary.LittleEndian.Uint16(from)))
			}
		case 32:
			for ; len(to) >= 4; to, from = to[4:], from[4:] {
				channels.split(to, binary.LittleEndian.Uint32(from))
			}
		default:
			d.indexed(to, from, table)
		}
	}
	return nil
}

// indexed converts a row of palette indices of 1, 2, 4 or 8 bits.
func (d *dib) indexed(to, from []byte, table *[256][4]byte) {
	perByte, mask := 8/d.bits, byte(1<<d.bits-1)
	for x := 0; len(to) >= 4; x++ {
		shift := 8 - d.bits*(1+x%perByte)
		*(*[4]byte)(to) = table[from[x/perByte]>>shift&mask]
		to = to[4:]
	}
}

// table returns the colours of the palette. An index beyond it is black.
func (d *dib) table() *[256][4]byte {
	var t [256][4]byte
	for i := range t {
		t[i][3] = 255
		if at := i * d.entrySize; at+3 <= len(d.palette) {
			t[i] = [4]byte{d.palette[at+2], d.palette[at+1], d.palette[at], 255}
		}
	}
	return &t
}

// A dibChannel extracts one channel from a pixel: pixel >> shift & most, scaled to 255.
type dibChannel struct {
	shift      uint
	most, half uint32
}

type dibChannels [4]dibChannel

// channels returns the channels that the masks describe. A channel without a mask is 0.
func (d *dib) channels() (c dibChannels) {
	for i, mask := range d.masks {
		if mask == 0 {
			continue
		}
		shift := uint(bits.TrailingZeros32(mask))
		width := uint(bits.Len32(mask)) - shift
		if width > 8 {
			shift, width = shift+width-8, 8
		}
		c[i] = dibChannel{shift: shift, most: 1<<width - 1, half: (1<<width - 1) / 2}
	}
	return c
}

// split sets an RGBA pixel. It is opaque if there is no mask of alpha.
func (c *dibChannels) split(to []byte, pixel uint32) {
	for i, ch := range c {
		switch ch.most {
		case 0:
			to[i] = 0
		case 255:
			to[i] = byte(pixel >> ch.shift)
		default:
			to[i] = byte(((pixel>>ch.shift&ch.most)*255 + ch.half) / ch.most)
		}
	}
	if c[3].most == 0 {
		to[3] = 255
	}
}

// setOpaqueIfClear makes all pixels opaque if all of them are transparent: the program that wrote them does not know alpha.
func setOpaqueIfClear(pix []byte) {
	if hasAlpha(pix) {
		return
	}
	for i := 3; i < len(pix); i += 4 {
		pix[i] = 255
	}
}

// A rleDecoder draws the pixels of RLE4, RLE8 or RLE24. Pixels beyond the bitmap are dropped.
type rleDecoder struct {
	*dib
	canvas plane
	table  *[256][4]byte
	x, y   int // of the next pixel
}

// decodeRLE decodes RLE4, RLE8 and RLE24. Pixels that are not drawn are transparent.
func (d *dib) decodeRLE(ctx context.Context, canvas plane) error {
	r := rleDecoder{dib: d, canvas: canvas, table: d.table()}
	in := d.pixels
	for steps := 0; len(in) >= 2 && r.y < d.height; steps++ {
		if steps%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		count, code := int(in[0]), int(in[1])
		switch {
		case count > 0:
			in = r.run(count, in[1:])
		case code > 2:
			in = r.literal(code, in[2:])
		default:
			in = r.escape(code, in[2:])
		}
	}
	return nil
}

// run draws a pixel, or the two of a byte in turn, count times. It returns the data behind it.
func (r *rleDecoder) run(count int, in []byte) []byte {
	length := r.size(1)
	if len(in) < length {
		return nil
	}
	for i := range count {
		if r.bits == 4 {
			r.draw(r.colour(in, i&1))
		} else {
			r.draw(r.colour(in, 0))
		}
	}
	return in[length:]
}

// literal draws count pixels that are not encoded, and are padded to 2 bytes.
func (r *rleDecoder) literal(count int, in []byte) []byte {
	length := r.size(count)
	if len(in) < length {
		return nil
	}
	for i := range count {
		r.draw(r.colour(in, i))
	}
	return in[min(length+length&1, len(in)):]
}

// escape executes a code that draws nothing.
func (r *rleDecoder) escape(code int, in []byte) []byte {
	switch code {
	case 0: // end of line
		r.x, r.y = 0, r.y+1
		return in
	case 2: // move
		if len(in) >= 2 {
			r.x, r.y = min(r.x+int(in[0]), r.width), r.y+int(in[1])
			return in[2:]
		}
	}
	return nil // end of bitmap
}

// size returns the bytes of n pixels.
func (r *rleDecoder) size(n int) int { return (n*r.bits + 7) / 8 }

// colour returns the colour of pixel i in data.
func (r *rleDecoder) colour(data []byte, i int) [4]byte {
	switch r.bits {
	case 4:
		return r.table[data[i/2]>>(4*(1-i&1))&15]
	case 8:
		return r.table[data[i]]
	}
	return [4]byte{data[3*i+2], data[3*i+1], data[3*i], 255}
}

// draw draws a pixel and moves to the next one.
func (r *rleDecoder) draw(c [4]byte) {
	if r.x < r.width && r.y < r.height {
		*(*[4]byte)(r.row(r.canvas, r.y)[4*r.x:]) = c
		r.x++
	}
}

// Package pngdec decodes the pictures in PNG files, also at a fraction of their size.
//
// It streams: it decompresses, unfilters and reduces one row after another. If the picture is reduced, memory holds only the
// result and a few rows, whatever the size of the picture. It reads all color types and depths, interlaced pictures, the
// frames of APNG and Apple's CgBI. It does not look at anything that describes colors, such as gamma and profiles.
package pngdec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/thumbcache/thumbcache/internal/inflate"
	"github.com/thumbcache/thumbcache/internal/reduce"
)

// Color types (W3C PNG, third edition, 11.2.1).
const (
	Gray      = 0
	RGB       = 2
	Paletted  = 3
	GrayAlpha = 4
	RGBA      = 6
)

// A FormatError says why data is not a PNG file, or why it has no picture.
type FormatError string

func (e FormatError) Error() string { return "pngdec: " + string(e) }

// ErrTooLarge means that decoding needs more memory than can be addressed.
var ErrTooLarge = errors.New("pngdec: picture too large")

// A Header describes the pictures in a file.
type Header struct {
	Width, Height int
	Depth         byte // bits per sample: 1, 2, 4, 8 or 16
	Color         byte // color type
	Interlaced    bool
	Apple         bool   // CgBI: no zlib header, and premultiplied BGRA
	Palette       []byte // RGB of each color, from chunk PLTE
	Transparency  []byte // alpha of each color, or the transparent color, from chunk tRNS; may be nil
}

// ReadHeader returns what chunk IHDR says.
func ReadHeader(c Chunk) (h Header, err error) {
	if c.Name() != "IHDR" || len(c.Data) < 13 {
		return h, FormatError("no header")
	}
	if !c.Intact {
		return h, FormatError("header with a wrong checksum")
	}
	width, height := binary.BigEndian.Uint32(c.Data), binary.BigEndian.Uint32(c.Data[4:])
	if width > math.MaxInt32 || height > math.MaxInt32 || width == 0 || height == 0 {
		return h, FormatError(fmt.Sprintf("size of %d x %d", width, height))
	}
	h = Header{Width: int(width), Height: int(height), Depth: c.Data[8], Color: c.Data[9], Interlaced: c.Data[12] == 1}
	ok := false
	switch h.Color {
	case Gray:
		ok = h.Depth == 1 || h.Depth == 2 || h.Depth == 4 || h.Depth == 8 || h.Depth == 16
	case Paletted:
		ok = h.Depth == 1 || h.Depth == 2 || h.Depth == 4 || h.Depth == 8
	case RGB, GrayAlpha, RGBA:
		ok = h.Depth == 8 || h.Depth == 16
	}
	if !ok || c.Data[10] != 0 || c.Data[11] != 0 || c.Data[12] > 1 {
		return h, FormatError(fmt.Sprintf("color type %d with %d bits, methods %v", h.Color, h.Depth, c.Data[10:13]))
	}
	return h, nil
}

// SetTransparency takes the data of chunk tRNS. It ignores data that the color type has no use for.
func (h *Header) SetTransparency(data []byte) {
	if h.Color == Paletted || h.Color == Gray && len(data) >= 2 || h.Color == RGB && len(data) >= 6 {
		h.Transparency = data
	}
}

// IsGray reports whether the picture is gray and opaque.
func (h *Header) IsGray() bool { return h.Color == Gray && h.Transparency == nil }

// BitsPerPixel returns the number of bits that a pixel has in the file.
func (h *Header) BitsPerPixel() int { return h.samplesPerPixel() * int(h.Depth) }

func (h *Header) samplesPerPixel() int {
	return [7]int{Gray: 1, RGB: 3, Paletted: 1, GrayAlpha: 2, RGBA: 4}[h.Color]
}

// rowBytes returns the number of bytes of a row of the given number of pixels, without the filter type.
func (h *Header) rowBytes(width int) int64 { return (int64(width)*int64(h.BitsPerPixel()) + 7) / 8 }

// MaxScale is the largest value of [Options.Scale].
const MaxScale = reduce.MaxScale

// LinearBits is the number of high bits of a sample that [Options.Linear] is a table of.
const LinearBits = 12

// Options select how a picture is decoded.
type Options struct {
	// Scale reduces the picture to 1/Scale of its width and height, rounded up. A pixel is the mean of Scale x Scale
	// premultiplied pixels, or of fewer at the right and lower edge. 0 means 1; values above MaxScale mean MaxScale.
	Scale int

	// RGBA decodes to RGBA even if the picture is gray and opaque.
	RGBA bool

	// Linear replaces the high bits of 16-bit samples, except those of alpha, by samples of 8 bits. Nil means that the
	// high bytes are taken.
	Linear *[1 << LinearBits]byte
}

func (o Options) scale() int { return max(1, min(o.Scale, MaxScale)) }

// channels returns the number of samples of a decoded pixel.
func (h *Header) channels(o Options) int {
	if h.IsGray() && !o.RGBA {
		return 1
	}
	return 4
}

// Cost returns the most bytes of memory that [Decode] allocates.
func (h *Header) Cost(o Options) int64 {
	// The allocator rounds up: large sizes to pages, small ones by an eighth.
	const page = 8 << 10
	scale, channels, row := int64(o.scale()), int64(h.channels(o)), int64(h.Width)
	width, height := (row+scale-1)/scale, (int64(h.Height)+scale-1)/scale
	cost := decoderBytes + channels*width*height + 3*h.rowBytes(h.Width) + 7*page
	if h.Depth != 8 {
		cost += int64(h.samplesPerPixel()) * row
	}
	if h.Interlaced || scale > 1 {
		cost += channels * row
	}
	switch {
	case scale > 1 && h.Interlaced:
		cost += 4 * channels * width * height
	case scale > 1:
		cost += 4 * channels * width
	}
	return cost
}

// decoderBytes is an upper bound of the size of a decoder without its slices.
const decoderBytes = 152 << 10

// An Image is a decoded picture: gray, or premultiplied RGBA. The zero value is ready for use. Decoding to an Image again
// reuses its memory.
type Image struct {
	Pix           []byte
	Width, Height int // in pixels of Pix
	Channels      int // 1 or 4

	// Missing reports that the file is cut or damaged. Missing rows are transparent, or white in a gray picture. Missing
	// pixels of an interlaced picture have the color of a neighbor.
	Missing bool

	work *decoder // kept to reuse its buffers
}

// A decoder holds the buffers for decoding.
type decoder struct {
	chunks   chunks
	inflater inflate.Reader
	table    [256][4]byte // premultiplied colors of samples of at most 8 bits
	raw      []byte       // a filtered row
	rows     [2][]byte    // the current row and the one above
	line     []byte       // a row with a byte for each sample
	pixels   []byte       // a row in the format of the result
	sums     []uint32     // sums of samples, for a row of the result or for all of it
}

// A picture is the state of one call of Decode.
type picture struct {
	*decoder
	*Header
	Options
	dst *Image
}

// Decode decodes a picture to dst. file is the file from the first chunk that has data of the picture;
// it ends with the picture's last one, or goes on with other chunks.
//
// It returns a nil error and sets dst.Missing if the data is damaged or cut, but at least half of the rows, or a quarter of
// the rows and columns of an interlaced picture, can be decoded. It allocates at most [Header.Cost] bytes. Callers should
// check that first.
func Decode(ctx context.Context, h *Header, file []byte, o Options, dst *Image) error {
	if h.Cost(o) > math.MaxInt {
		return ErrTooLarge
	}
	d := dst.work
	if d == nil {
		d = new(decoder)
	}
	o.Scale = o.scale()
	p := picture{d, h, o, dst}
	*dst = Image{
		Pix: dst.Pix, Width: ceilDiv(h.Width, o.Scale), Height: ceilDiv(h.Height, o.Scale), Channels: h.channels(o), work: d,
	}
	p.allocate()
	d.setTable(h)
	d.chunks.rest = file
	d.inflater.Reset(ctx, &d.chunks)
	defer d.release()
	if !h.Apple {
		if err := d.inflater.ZlibHeader(); err != nil {
			return missing(ctx, "no data", err)
		}
	}
	switch {
	case !h.Interlaced:
		return p.decodeRows(ctx)
	case o.Scale == 1:
		return p.decodePasses(ctx)
	}
	return p.reducePasses(ctx)
}

// release drops the file, so that a kept decoder does not keep it alive.
func (d *decoder) release() {
	d.chunks.rest = nil
	d.inflater.Release()
}

// allocate makes room for the result and for whole rows.
func (p *picture) allocate() {
	pixels := p.dst.Width * p.dst.Height * p.dst.Channels
	p.dst.Pix = resize(p.dst.Pix, pixels)
	length := int(p.rowBytes(p.Width))
	p.raw = resize(p.raw, 1+length+wideStore)
	for i := range p.rows {
		p.rows[i] = resize(p.rows[i], length+wideStore)
	}
	if p.Depth != 8 {
		p.line = resize(p.line, p.Width*p.samplesPerPixel())
	}
	if p.Interlaced || p.Scale > 1 {
		p.pixels = resize(p.pixels, p.Width*p.dst.Channels)
	}
	switch {
	case p.Scale > 1 && p.Interlaced:
		p.sums = resize(p.sums, pixels)
		clear(p.sums)
	case p.Scale > 1:
		p.sums = resize(p.sums, p.dst.Width*p.dst.Channels)
		clear(p.sums)
	}
}

// missing returns the error for a picture of which too much is missing.
func missing(ctx context.Context, what string, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	return fmt.Errorf("%w: %w", FormatError(what), err)
}

// decodeRows decodes a picture that is not interlaced.
func (p *picture) decodeRows(ctx context.Context) error {
	stride := p.dst.Width * p.dst.Channels
	rows, err := p.eachRow(p.Width, p.Height, func(y int, row []byte) {
		to := p.dst.Pix[y/p.Scale*stride:][:stride]
		if p.Scale == 1 {
			p.convert(to, row)
			return
		}
		p.sumRow(p.sums, row)
		if (y+1)%p.Scale == 0 || y == p.Height-1 {
			p.means(to, p.sums, y%p.Scale+1)
		}
	})
	if err == nil {
		return nil
	}
	if rows < (p.Height+1)/2 || errors.Is(err, ctx.Err()) {
		return missing(ctx, fmt.Sprintf("%d rows of %d", rows, p.Height), err)
	}
	p.dst.Missing = true
	blank := p.dst.Pix[rows/p.Scale*stride:]
	if n := rows % p.Scale; n > 0 {
		p.means(blank, p.sums, n)
		blank = blank[stride:]
	}
	clear(blank) // transparent
	if p.dst.Channels == 1 {
		for i := range blank {
			blank[i] = 255
		}
	}
	return nil
}

// eachRow calls f with the bytes of each row of the picture or of one of its passes. It returns the number of rows.
func (p *picture) eachRow(width, height int, f func(y int, row []byte)) (rows int, err error) {
	length := int(p.rowBytes(width))
	clear(p.rows[1][:length])
	pixel := max(1, p.BitsPerPixel()/8)
	for y := range height {
		row, previous := p.rows[0], p.rows[1]
		if _, err := p.inflater.Read(p.raw[:1+length]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return y, err
		}
		if !unfilter(row, p.raw, previous, length, pixel) {
			return y, FormatError(fmt.Sprintf("filter %d", p.raw[0]))
		}
		f(y, row[:length])
		p.rows[0], p.rows[1] = previous, row
	}
	return height, nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// resize returns a slice of n elements, which is s if s has the capacity. Its contents are undefined.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

package tiff

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"

	"github.com/thumbcache/thumbcache/internal/inflate"
	"github.com/thumbcache/thumbcache/internal/lzw"
)

// A blockReader reads the stored bytes of one block.
type blockReader struct {
	ctx      context.Context
	r        io.ReaderAt
	at, end  int64 // the part of the block that is not in the buffer yet
	reversed bool  // the bits of each byte

	buf  [32 << 10]byte
	left []byte // of buf
	err  error  // failure of r or ctx
}

// reset begins a block.
func (b *blockReader) reset(at, n int64) { b.at, b.end, b.left = at, at+n, nil }

// fill reads on when the buffer is empty.
func (b *blockReader) fill() error {
	if b.err == nil {
		b.err = b.ctx.Err()
	}
	if b.err != nil {
		return b.err
	}
	if b.at >= b.end {
		return io.EOF
	}
	n, err := b.r.ReadAt(b.buf[:min(int64(len(b.buf)), b.end-b.at)], b.at)
	if n == 0 {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			b.err = err
			return err
		}
		return io.EOF // the file is shorter than it was
	}
	b.left = b.buf[:n]
	b.at += int64(n)
	if b.reversed {
		for i, v := range b.left {
			b.left[i] = bits.Reverse8(v)
		}
	}
	return nil
}

// ReadByte implements [io.ByteReader].
func (b *blockReader) ReadByte() (byte, error) {
	if len(b.left) == 0 {
		if err := b.fill(); err != nil {
			return 0, err
		}
	}
	v := b.left[0]
	b.left = b.left[1:]
	return v, nil
}

// Read implements [io.Reader].
func (b *blockReader) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		if err := b.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}

// Next implements [inflate.Source].
func (b *blockReader) Next() []byte {
	if len(b.left) == 0 && b.fill() != nil {
		return nil
	}
	p := b.left
	b.left = nil
	return p
}

// lzwFormat returns how the codes of a block are packed. Before TIFF 5.0 some programs wrote them like GIF. Such a block begins
// with a byte of 0, the low bits of the clear code.
func (b *blockReader) lzwFormat() lzw.Format {
	b.fill() // its error comes again with the first read
	if len(b.left) >= 2 && b.left[0] == 0 && b.left[1]&1 == 1 {
		return lzw.GIF
	}
	return lzw.TIFF
}

// A plane decompresses blocks: those of one sample if the samples are stored apart, or else all blocks.
type plane struct {
	photo *photo
	in    blockReader
	data  io.Reader // decompressed bytes of the block; nil for facsimile data

	zlib     *inflate.Reader
	lzw      *lzw.Reader
	packBits packBitsReader
	fax      *faxReader

	unit []byte // a row of subsampled units
	line int    // the next line of the unit
	swap []byte // a row of a floating-point predictor
}

func (p *photo) newPlane(ctx context.Context) *plane {
	pl := &plane{photo: p}
	pl.in = blockReader{ctx: ctx, r: p.file.r, reversed: p.reversed}
	switch p.compression {
	case compRLE, compG3, compG4:
		pl.fax = newFaxReader(&pl.in, p.blockW, p.fax)
	case compLZW:
		pl.lzw = new(lzw.Reader)
		pl.data = pl.lzw
	case compDeflate, compOldDeflate:
		pl.zlib = new(inflate.Reader)
		pl.data = pl.zlib
	case compPackBits:
		pl.packBits.in = &pl.in
		pl.data = &pl.packBits
	case compNone:
		pl.data = &pl.in
	}
	if p.sub != [2]int{1, 1} {
		units := ceilDiv(p.blockW, p.sub[0])
		pl.unit = make([]byte, units*(p.sub[0]*p.sub[1]+2))
	}
	if p.predictor == 3 {
		pl.swap = make([]byte, p.rowBytes())
	}
	return pl
}

// begin starts to decompress the block that is stored in the n bytes at off.
func (pl *plane) begin(off, n int64) error {
	pl.in.reset(off, n)
	pl.line = 0
	switch p := pl.photo; p.compression {
	case compRLE, compG3, compG4:
		pl.fax.reset()
	case compLZW:
		pl.lzw.Reset(&pl.in, pl.in.lzwFormat(), 8)
	case compPackBits:
		pl.packBits = packBitsReader{in: &pl.in}
	case compDeflate, compOldDeflate:
		pl.zlib.Reset(pl.in.ctx, &pl.in)
		return pl.failure(pl.zlib.ZlibHeader())
	}
	return nil
}

// failure converts the error of a decompressor.
func (pl *plane) failure(err error) error {
	switch {
	case err == nil:
		return nil
	case pl.in.err != nil:
		return pl.in.err
	case pl.in.ctx.Err() != nil:
		return pl.in.ctx.Err()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return corrupt("a strip or tile is too short")
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported):
		return err
	}
	return corrupt("%w", err)
}

// next fills row with the next row of the block, in the packing of the file.
func (pl *plane) next(row []byte) error {
	if pl.fax != nil {
		return pl.failure(pl.fax.next(row))
	}
	if pl.unit != nil {
		return pl.nextSubsampled(row)
	}
	if _, err := io.ReadFull(pl.data, row); err != nil {
		return pl.failure(err)
	}
	switch p := pl.photo; p.predictor {
	case 2:
		addRow(row, p.bits, p.chunk(), p.file.order)
	case 3:
		pl.joinFloats(row)
	}
	return nil
}

// nextSubsampled fills a row with Y, Cb and Cr of each pixel.
//
// The file has units (TIFF 6.0, section 21): the luma of 1 to 4 x 1 to 4 pixels, row by row, then one Cb and one Cr.
func (pl *plane) nextSubsampled(row []byte) error {
	w, h := pl.photo.sub[0], pl.photo.sub[1]
	if pl.line == 0 {
		if _, err := io.ReadFull(pl.data, pl.unit); err != nil {
			return pl.failure(err)
		}
	}
	for x := 0; 3*x < len(row); x++ {
		unit := pl.unit[x/w*(w*h+2):]
		row[3*x] = unit[pl.line*w+x%w]
		row[3*x+1], row[3*x+2] = unit[w*h], unit[w*h+1]
	}
	pl.line = (pl.line + 1) % h
	return nil
}

// addRow undoes horizontal differencing (TIFF 6.0, section 14): each sample is stored as its difference from the pixel on
// the left. A pixel has n samples.
func addRow(row []byte, bits, n int, order binary.ByteOrder) {
	switch bits {
	case 8:
		addBytes(row, n)
	case 16:
		for i := 2 * n; i < len(row); i += 2 {
			order.PutUint16(row[i:], order.Uint16(row[i:])+order.Uint16(row[i-2*n:]))
		}
	case 32:
		for i := 4 * n; i < len(row); i += 4 {
			order.PutUint32(row[i:], order.Uint32(row[i:])+order.Uint32(row[i-4*n:]))
		}
	case 64:
		for i := 8 * n; i < len(row); i += 8 {
			order.PutUint64(row[i:], order.Uint64(row[i:])+order.Uint64(row[i-8*n:]))
		}
	}
}

// addBytes adds the byte n before to each byte. Of the usual pixels the processor works on all samples at once.
func addBytes(row []byte, n int) {
	switch n {
	case 1:
		var a byte
		for i, v := range row {
			a += v
			row[i] = a
		}
	case 3:
		var a, b, c byte
		for ; len(row) >= 3; row = row[3:] {
			a, b, c = a+row[0], b+row[1], c+row[2]
			row[0], row[1], row[2] = a, b, c
		}
	case 4:
		var a, b, c, d byte
		for ; len(row) >= 4; row = row[4:] {
			a, b, c, d = a+row[0], b+row[1], c+row[2], d+row[3]
			row[0], row[1], row[2], row[3] = a, b, c, d
		}
	default:
		for i := n; i < len(row); i++ {
			row[i] += row[i-n]
		}
	}
}

// joinFloats undoes the floating-point predictor (TIFF Technical Note 3). The row is split into the most significant
// bytes of all samples, then the next bytes, and so on. Each byte is stored as a difference. The result is big-endian in
// every file.
func (pl *plane) joinFloats(row []byte) {
	addBytes(row, pl.photo.chunk())
	copy(pl.swap, row)
	size := pl.photo.bits / 8
	count := len(row) / size
	for k := range size {
		for i, v := range pl.swap[k*count:][:count] {
			row[i*size+k] = v
		}
	}
}

// A packBitsReader decompresses PackBits (TIFF 6.0, section 9).
type packBitsReader struct {
	in     *blockReader
	left   int // bytes of the run that are not read yet
	copies bool
	value  byte
}

func (r *packBitsReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		v, err := r.in.ReadByte()
		if err != nil {
			return 0, err
		}
		switch n := int(int8(v)); {
		case n >= 0:
			r.left, r.copies = n+1, false
		case n > -128:
			r.left, r.copies = 1-n, true
			if r.value, err = r.in.ReadByte(); err != nil {
				return 0, err
			}
		}
	}
	p = p[:min(len(p), r.left)]
	if r.copies {
		for i := range p {
			p[i] = r.value
		}
		r.left -= len(p)
		return len(p), nil
	}
	n, err := r.in.Read(p)
	r.left -= n
	return n, err
}

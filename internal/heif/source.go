package heif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// A source reads a file of a known size through a small window.
type source struct {
	r      io.ReaderAt
	size   int64
	window []byte // the bytes at start
	start  int64
	moves  int
}

const (
	windowSize = 16 << 10 // bytes; holds the whole list of items of most files
	maxMoves   = 8192     // of the window; bounds the reading of scattered properties to 128 MiB
)

// peek returns the n bytes at off, which are valid until the next call. Callers bound n.
func (s *source) peek(ctx context.Context, off int64, n int) ([]byte, error) {
	if off < 0 || int64(n) > s.size-off {
		return nil, corrupt("the file ends early")
	}
	if off < s.start || off+int64(n) > s.start+int64(len(s.window)) {
		if s.moves++; s.moves > maxMoves {
			return nil, corrupt("its description is scattered")
		}
		length := int(min(int64(max(n, windowSize)), s.size-off))
		if cap(s.window) < length {
			s.window = make([]byte, length)
		}
		s.window, s.start = s.window[:length], off
		if err := s.read(ctx, s.window, off); err != nil {
			s.window = s.window[:0]
			return nil, err
		}
	}
	i := int(off - s.start)
	return s.window[i : i+n], nil
}

// read fills p with the bytes at off. A reader that ends before its size returns io.ErrUnexpectedEOF: the file has changed.
func (s *source) read(ctx context.Context, p []byte, off int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := s.r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("heif: reading: %w", err)
}

// load returns the payload of a box, at most limit bytes.
func (s *source) load(ctx context.Context, b box, limit int64) ([]byte, error) {
	n := b.end - b.start
	if n > limit || b.end > s.size {
		return nil, corrupt("%s has %d bytes", b.kind, n)
	}
	data := make([]byte, n)
	if n <= windowSize {
		p, err := s.peek(ctx, b.start, int(n))
		copy(data, p)
		return data, err
	}
	return data, s.read(ctx, data, b.start)
}

// A box is the range [start, end) of the payload of a box. The end may be beyond the file.
type box struct {
	kind       string
	start, end int64
}

// boxes calls yield for each of the boxes in [pos, limit) until it returns false or an error.
func (s *source) boxes(ctx context.Context, pos, limit int64, yield func(box) (bool, error)) error {
	for n := 0; pos < limit; n++ {
		if n == maxBoxes {
			return corrupt("more than %d boxes", maxBoxes)
		}
		if limit-pos < 8 {
			return corrupt("%d bytes in place of a box", limit-pos)
		}
		h, err := s.peek(ctx, pos, int(min(16, limit-pos)))
		if err != nil {
			return err
		}
		b := box{kind: string(h[4:8]), start: pos + 8}
		size := uint64(binary.BigEndian.Uint32(h))
		switch {
		case size == 0: // to the end
			size = uint64(limit - pos)
		case size == 1 && len(h) == 16:
			size = binary.BigEndian.Uint64(h[8:])
			b.start += 8
		}
		if size < uint64(b.start-pos) || size > math.MaxInt64-uint64(pos) {
			return corrupt("%q box of %d bytes", b.kind, size)
		}
		b.end = pos + int64(size)
		if more, err := yield(b); err != nil || !more {
			return err
		}
		pos = b.end
	}
	return nil
}

// A cursor reads big-endian numbers. Reads beyond the end return zero and set bad.
type cursor struct {
	data []byte
	bad  bool
}

// bytes returns the next n bytes, or nil if there are fewer.
func (c *cursor) bytes(n int64) []byte {
	if n < 0 || n > int64(len(c.data)) {
		c.data, c.bad = nil, true
		return nil
	}
	b := c.data[:n]
	c.data = c.data[n:]
	return b
}

// number returns the next n bytes as a number, n being at most 8.
func (c *cursor) number(n int) (v uint64) {
	for _, b := range c.bytes(int64(n)) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (c *cursor) u8() uint8        { return uint8(c.number(1)) }
func (c *cursor) u16() uint16      { return uint16(c.number(2)) }
func (c *cursor) u32() uint32      { return uint32(c.number(4)) }
func (c *cursor) str(n int) string { return string(c.bytes(int64(n))) }

// id returns an item id or a count of items: 32 bits in later versions of boxes, 16 in earlier ones.
func (c *cursor) id(long bool) uint32 {
	if long {
		return c.u32()
	}
	return uint32(c.u16())
}

// fullBox returns the version and the flags at the start of many boxes.
func (c *cursor) fullBox() (version uint8, flags uint32) {
	v := c.u32()
	return uint8(v >> 24), v & 0xffffff
}

// end returns ErrCorrupt if there was a read beyond the end.
func (c *cursor) end(kind string) error {
	if c.bad {
		return corrupt("%s is too short", kind)
	}
	return nil
}

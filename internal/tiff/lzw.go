package tiff

import "io"

// LZW (TIFF 6.0, section 13) has codes of 9 to 12 bits, highest bit first. Codes grow one code earlier than necessary.
//
// Before TIFF 5.0 some programs wrote the lowest bit first, and codes grew when necessary. Such a block begins with a
// byte of 0, the low bits of the clear code.
const (
	lzwClear   = 256
	lzwEnd     = 257
	lzwFirst   = 258
	lzwMaxBits = 12
)

type lzwReader struct {
	in *blockReader

	old   bool // lowest bit first
	began bool
	bits  uint32
	n     uint // bits in bits
	width uint // of a code

	prev   int // the code before, or -1 after a clear code
	free   int // the next code to be defined
	prefix [1 << lzwMaxBits]uint16
	suffix [1 << lzwMaxBits]byte
	out    [1 << lzwMaxBits]byte // a string, filled from its end
	left   []byte                // of out
	err    error
}

func (r *lzwReader) reset() {
	r.began, r.old, r.err, r.left = false, false, nil, nil
	r.bits, r.n = 0, 0
	r.clear()
}

func (r *lzwReader) clear() { r.width, r.prev, r.free = 9, -1, lzwFirst }

func (r *lzwReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(r.left) == 0 {
			if r.err == nil {
				r.err = r.step()
			}
			if r.err != nil {
				return n, r.err
			}
			continue
		}
		k := copy(p[n:], r.left)
		r.left = r.left[k:]
		n += k
	}
	return n, nil
}

// code reads the next code.
func (r *lzwReader) code() (int, error) {
	for r.n < r.width {
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, err
		}
		if !r.began {
			r.began = true
			next, err := r.in.ReadByte()
			if err != nil {
				return 0, err
			}
			r.old = b == 0 && next&1 == 1
			if r.old {
				r.bits, r.n = uint32(b)|uint32(next)<<8, 16
			} else {
				r.bits, r.n = uint32(b)<<8|uint32(next), 16
			}
			continue
		}
		if r.old {
			r.bits |= uint32(b) << r.n
		} else {
			r.bits = r.bits<<8 | uint32(b)
		}
		r.n += 8
	}
	r.n -= r.width
	if r.old {
		c := r.bits & (1<<r.width - 1)
		r.bits >>= r.width
		return int(c), nil
	}
	return int(r.bits >> r.n & (1<<r.width - 1)), nil
}

// step decodes one code.
func (r *lzwReader) step() error {
	c, err := r.code()
	if err != nil {
		return err
	}
	switch {
	case c == lzwClear:
		r.clear()
		return nil
	case c == lzwEnd:
		return io.EOF
	case c > r.free || c == r.free && r.prev < 0, c > lzwEnd && r.prev < 0:
		return corrupt("LZW code %d is not defined", c)
	}
	// The code that this step defines stands for the previous string and its first byte.
	at, s := len(r.out), c
	if c == r.free {
		at--
		s = r.prev
	}
	for s >= lzwFirst {
		at--
		r.out[at] = r.suffix[s]
		s = int(r.prefix[s])
	}
	at--
	first := byte(s)
	r.out[at] = first
	if c == r.free {
		r.out[len(r.out)-1] = first
	}
	r.left = r.out[at:]
	if r.prev >= 0 && r.free < 1<<lzwMaxBits {
		r.prefix[r.free], r.suffix[r.free] = uint16(r.prev), first
		r.free++
		limit := 1<<r.width - 1
		if r.old {
			limit++
		}
		if r.free >= limit && r.width < lzwMaxBits {
			r.width++
		}
	}
	r.prev = c
	return nil
}

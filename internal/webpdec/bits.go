package webpdec

import "encoding/binary"

// A bitReader reads numbers of a lossless bitstream, from the lowest bit up.
type bitReader struct {
	bitState
	pos  int // of the next byte; after the end of data, zeros are read
	data []byte
}

// A bitState holds the next bits of a bitReader. Its methods return a new value rather than change it, so that the compiler
// keeps it in registers.
type bitState struct {
	value uint64
	n     uint // number of bits in value
}

// symbol returns the next symbol of a prefix code.
func (s bitState) symbol(c *prefixCode) (uint16, bitState) {
	symbol, n := c.next(s.value)
	return symbol, bitState{s.value >> (n & 63), s.n - n}
}

// ready returns s with at least n bits.
func (b *bitReader) ready(s bitState, n uint) bitState {
	if s.n < n {
		b.bitState = s
		b.fill()
		s = b.bitState
	}
	return s
}

// fill makes value hold at least 56 bits.
func (b *bitReader) fill() {
	if b.pos+8 <= len(b.data) {
		// Bits of a byte that fits only in part are added again by the next call, which does no harm.
		b.value |= binary.LittleEndian.Uint64(b.data[b.pos:]) << (b.n & 63)
		k := (63 - b.n) / 8
		b.pos += int(k)
		b.n += 8 * k
		return
	}
	for ; b.n <= 56; b.n += 8 {
		if b.pos < len(b.data) {
			b.value |= uint64(b.data[b.pos]) << (b.n & 63)
		}
		b.pos++
	}
}

// overrun reports whether bits after the end of the data have been consumed.
func (b *bitReader) overrun() bool {
	return int64(b.pos)*8-int64(b.n) > int64(len(b.data))*8
}

// read returns a number of n bits, at most 32.
func (b *bitReader) read(n uint) uint32 {
	if b.n < n {
		b.fill()
	}
	v := uint32(b.value & (1<<n - 1))
	b.value >>= n
	b.n -= n
	return v
}

// symbol returns the next symbol of a prefix code.
func (b *bitReader) symbol(c *prefixCode) uint16 {
	s, rest := b.ready(b.bitState, maxCodeLength).symbol(c)
	b.bitState = rest
	return s
}

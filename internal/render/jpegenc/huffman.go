package jpegenc

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A codeTable holds the Huffman codes for luma or chroma. An entry is the code shifted left by 8, plus its length.
type codeTable struct {
	dc [12]uint32  // by size of the difference in bits
	ac [256]uint32 // by number of zeros (high half) and size in bits (low half)
}

// bitWriter writes entropy-coded data.
type bitWriter struct {
	out   []byte
	bits  uint64 // its low n bits are not in out yet
	n     uint   // less than 32
	coefs [64]int32
	edge  [64]byte
}

// reserve grows out so that n blocks of the largest size fit: 64 codes of 16 bits with 11 more bits, every byte stuffed.
// The capacity at least doubles when it grows.
func (w *bitWriter) reserve(n int) {
	if n *= 64 * 27 / 8 * 2; cap(w.out)-len(w.out) < n {
		w.out = slices.Grow(w.out, max(n, cap(w.out)))
	}
}

// block writes one block of a component.
func (w *bitWriter) block(c *component, left, top int) {
	// A block at the edge may be partly or entirely outside the plane.
	if left+8 <= c.width && top+8 <= c.height {
		forward(&w.coefs, c.pix[top*c.stride+left:], c.stride)
	} else {
		c.copyEdge(&w.edge, left, top)
		forward(&w.coefs, w.edge[:], 8)
	}

	var values [64]int32
	var nonzero uint64 // one bit for each value
	q := c.quantiser
	for i, at := range &zigzag {
		v := (int64(w.coefs[at&63])*q.inverse[i] + 1<<(inverseBits-1)) >> inverseBits
		values[i] = int32(v)
		nonzero = nonzero>>1 | uint64(v|-v)&(1<<63) // v or -v is negative, unless v is 0
	}

	codes := c.codes
	size, low := magnitude(values[0] - c.dc)
	c.dc = values[0]
	code := codes.dc[size]
	w.write(code>>8<<(size&15)|low, uint(code&0xff)+size)

	last := 0
	for nonzero &^= 1; nonzero != 0; nonzero &= nonzero - 1 {
		i := bits.TrailingZeros64(nonzero)
		run := i - last - 1
		last = i
		for ; run > 15; run -= 16 {
			code := codes.ac[0xf0]
			w.write(code>>8, uint(code&0xff))
		}
		size, low := magnitude(values[i&63])
		code := codes.ac[byte(run<<4)|byte(size)]
		w.write(code>>8<<(size&15)|low, uint(code&0xff)+size)
	}
	if last != 63 {
		code := codes.ac[0]
		w.write(code>>8, uint(code&0xff))
	}
}

// magnitude returns the size of v in bits, and those bits of v, or of v-1 if v is negative.
func magnitude(v int32) (size uint, low uint32) {
	sign := v >> 31
	size = uint(bits.Len32(uint32((v ^ sign) - sign)))
	return size, uint32(v+sign) & (1<<(size&15) - 1)
}

// write writes n bits, at most 27.
func (w *bitWriter) write(v uint32, n uint) {
	w.bits = w.bits<<(n&31) | uint64(v) // the mask saves a comparison in the shift
	w.n += n
	if w.n >= 32 {
		w.flush()
	}
}

// flush moves 32 bits to out, which must have room for them: see reserve.
func (w *bitWriter) flush() {
	w.n -= 32
	v := uint32(w.bits >> (w.n & 31))
	// The test is true if no byte is 0xff: the complement of 0xff is 0, and subtracting 1 from it borrows into the high
	// bit of that byte, which v has set too.
	if (^v-0x01010101)&v&0x80808080 == 0 {
		at := len(w.out)
		w.out = w.out[:at+4]
		binary.BigEndian.PutUint32(w.out[at:], v)
		return
	}
	for shift := 24; shift >= 0; shift -= 8 {
		b := byte(v >> shift)
		w.out = append(w.out, b)
		if b == 0xff {
			w.out = append(w.out, 0) // stuffing, else it would start a marker
		}
	}
}

// finish writes the remaining bits, padded with ones, and returns out.
func (w *bitWriter) finish() []byte {
	for w.n > 0 {
		pad := (8 - w.n%8) % 8
		w.bits, w.n = w.bits<<pad|(1<<pad-1), w.n+pad
		w.n -= 8
		b := byte(w.bits >> w.n)
		w.out = append(w.out, b)
		if b == 0xff {
			w.out = append(w.out, 0)
		}
	}
	return w.out
}

// A huffmanSpec defines a Huffman table: the number of codes of each length from 1 to 16, and their symbols.
type huffmanSpec struct {
	counts  [16]byte
	symbols string
}

// The tables of ITU-T T.81, annex K.3: luma DC, luma AC, chroma DC, chroma AC. Tables optimised for each picture would save
// only 2 to 3 % of its size and need a second pass over it.
var standardTables = [4]huffmanSpec{
	{
		[16]byte{0, 1, 5, 1, 1, 1, 1, 1, 1},
		"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b",
	},
	{
		[16]byte{0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125},
		"\x01\x02\x03\x00\x04\x11\x05\x12\x21\x31\x41\x06\x13\x51\x61\x07" +
			"\x22\x71\x14\x32\x81\x91\xa1\x08\x23\x42\xb1\xc1\x15\x52\xd1\xf0" +
			"\x24\x33\x62\x72\x82\x09\x0a\x16\x17\x18\x19\x1a\x25\x26\x27\x28" +
			"\x29\x2a\x34\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48\x49" +
			"\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68\x69" +
			"\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x83\x84\x85\x86\x87\x88\x89" +
			"\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\xa6\xa7" +
			"\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3\xc4\xc5" +
			"\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xe1\xe2" +
			"\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8" +
			"\xf9\xfa",
	},
	{
		[16]byte{0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},
		"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b",
	},
	{
		[16]byte{0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119},
		"\x00\x01\x02\x03\x11\x04\x05\x21\x31\x06\x12\x41\x51\x07\x61\x71" +
			"\x13\x22\x32\x81\x08\x14\x42\x91\xa1\xb1\xc1\x09\x23\x33\x52\xf0" +
			"\x15\x62\x72\xd1\x0a\x16\x24\x34\xe1\x25\xf1\x17\x18\x19\x1a\x26" +
			"\x27\x28\x29\x2a\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48" +
			"\x49\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68" +
			"\x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x82\x83\x84\x85\x86\x87" +
			"\x88\x89\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5" +
			"\xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3" +
			"\xc4\xc5\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda" +
			"\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf2\xf3\xf4\xf5\xf6\xf7\xf8" +
			"\xf9\xfa",
	},
}

var lumaCodes, chromaCodes = makeCodes(standardTables[0], standardTables[1]), makeCodes(standardTables[2], standardTables[3])

func makeCodes(dc, ac huffmanSpec) (t codeTable) {
	dc.codes(t.dc[:])
	ac.codes(t.ac[:])
	return t
}

// codes fills a table with the codes of s.
func (s huffmanSpec) codes(table []uint32) {
	code, k := uint32(0), 0
	for i, n := range s.counts {
		for range n {
			table[s.symbols[k]] = code<<8 | uint32(i+1)
			code++
			k++
		}
		code <<= 1
	}
}

package webpdec

import (
	"encoding/binary"
	"math/bits"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A boolReader is the boolean entropy decoder of RFC 6386, section 7.
type boolReader struct {
	value uint64 // the next bits, from the highest bit down
	rng   uint64 // range of the arithmetic coder, 128 to 255
	count int    // number of bits in value, less the 8 that every decision needs
	data  []byte // not yet in value
	past  int    // number of zero bits in value that have been added after the end of data
}

// normShift holds the shift that makes a range at least 128.
var normShift = func() (t [256]uint8) {
	for i := range t {
		t[i] = uint8(min(7, bits.LeadingZeros8(uint8(i))))
	}
	return t
}()

func newBoolReader(data []byte) boolReader {
	return boolReader{rng: 255, count: -8, data: data}
}

// overrun reports whether bits after the end of the data have been consumed.
func (b *boolReader) overrun() bool { return b.past > b.count+8 }

// fill adds whole bytes to value until it is full.
func (b *boolReader) fill() {
	valid := uint(b.count + 8)
	if len(b.data) >= 8 {
		// Bits of a byte that fits only in part are added again by the next call, which does no harm.
		b.value |= binary.BigEndian.Uint64(b.data) >> valid
		n := (64 - valid) / 8
		b.data = b.data[n:]
		b.count += int(8 * n)
		return
	}
	for ; valid <= 56; valid += 8 {
		if len(b.data) == 0 {
			b.past += 8
			continue
		}
		b.value |= uint64(b.data[0]) << (56 - valid)
		b.data = b.data[1:]
	}
	b.count = int(valid) - 8
}

// bit returns the next decision: true with a probability of 1 - prob/256.
func (b *boolReader) bit(prob uint8) bool {
	if b.count < 0 {
		b.fill()
	}
	split := 1 + ((b.rng-1)*uint64(prob))>>8
	set := b.value >= split<<56
	if set {
		b.value -= split << 56
		b.rng -= split
	} else {
		b.rng = split
	}
	s := normShift[uint8(b.rng)]
	b.value <<= s & 63
	b.rng <<= s & 63
	b.count -= int(s)
	return set
}

// uint returns an unsigned number of n bits.
func (b *boolReader) uint(n int) (v int) {
	for range n {
		v <<= 1
		if b.bit(128) {
			v |= 1
		}
	}
	return v
}

// optional returns a number with a sign, or 0 if it is not present.
func (b *boolReader) optional(n int) int {
	if !b.bit(128) {
		return 0
	}
	v := b.uint(n)
	if b.bit(128) {
		return -v
	}
	return v
}

// coefficients reads the coefficients of a block, from the one at position n on, and stores them multiplied by the
// quantization steps dc and ac: section 13. It returns the position after the last one. probs are those of each
// position.
//
// Decisions are made on local variables, which the compiler keeps in registers.
func (b *boolReader) coefficients(probs *[17][3][11]uint8, context uint8, n int, dc, ac int32, out *[16]int16) int {
	value, rng, count := b.value, b.rng, b.count
	p := &probs[n][context]
	step := ac
	if n == 0 {
		step = dc
	}
	for n < 16 {
		// Is there another coefficient?
		if count < 0 {
			b.value, b.count = value, count
			b.fill()
			value, count = b.value, b.count
		}
		split := 1 + ((rng-1)*uint64(p[0]))>>8
		if value < split<<56 {
			s := normShift[uint8(split)]
			b.value, b.rng, b.count = value<<(s&63), split<<(s&63), count-int(s)
			return n
		}
		value -= split << 56
		rng -= split
		s := normShift[uint8(rng)]
		value, rng, count = value<<(s&63), rng<<(s&63), count-int(s)

		// Is it zero?
		for {
			if count < 0 {
				b.value, b.count = value, count
				b.fill()
				value, count = b.value, b.count
			}
			split := 1 + ((rng-1)*uint64(p[1]))>>8
			if value >= split<<56 {
				value -= split << 56
				rng -= split
				s := normShift[uint8(rng)]
				value, rng, count = value<<(s&63), rng<<(s&63), count-int(s)
				break
			}
			s := normShift[uint8(split)]
			value, rng, count = value<<(s&63), split<<(s&63), count-int(s)
			n++
			step = ac
			if n == 16 {
				b.value, b.rng, b.count = value, rng, count
				return n
			}
			p = &probs[n&15][0]
		}

		// Is it one?
		if count < 0 {
			b.value, b.count = value, count
			b.fill()
			value, count = b.value, b.count
		}
		split = 1 + ((rng-1)*uint64(p[2]))>>8
		v := int32(1)
		next := &probs[(n&15)+1]
		if value < split<<56 {
			s := normShift[uint8(split)]
			value, rng, count = value<<(s&63), split<<(s&63), count-int(s)
			p = &next[1]
		} else {
			value -= split << 56
			rng -= split
			s := normShift[uint8(rng)]
			b.value, b.rng, b.count = value<<(s&63), rng<<(s&63), count-int(s)
			v = b.large(p)
			value, rng, count = b.value, b.rng, b.count
			p = &next[2]
		}

		// Its sign has a probability of 128, and so the shift is 1, or 0 once the range is exactly 255.
		if count < 0 {
			b.value, b.count = value, count
			b.fill()
			value, count = b.value, b.count
		}
		split = 1 + (rng-1)>>1
		v *= step
		if value < split<<56 {
			rng = split
		} else {
			value -= split << 56
			rng -= split
			v = -v
		}
		s = normShift[uint8(rng)]
		value, rng, count = value<<(s&63), rng<<(s&63), count-int(s)
		out[vp8.Zigzag[n&15]] = int16(v)
		n++
		step = ac
	}
	b.value, b.rng, b.count = value, rng, count
	return n
}

// large returns the absolute value of a coefficient that is at least 2.
func (b *boolReader) large(p *[11]uint8) int32 {
	if !b.bit(p[3]) {
		if !b.bit(p[4]) {
			return 2
		}
		return 3 + b.extra(p[5])
	}
	if !b.bit(p[6]) {
		if !b.bit(p[7]) {
			return 5 + b.extra(159)
		}
		v := 7 + 2*b.extra(165)
		return v + b.extra(145)
	}
	category := 0
	if b.bit(p[8]) {
		category = 2 + int(b.extra(p[10]))
	} else {
		category = int(b.extra(p[9]))
	}
	var v int32
	for _, prob := range vp8.ExtraBitProbs[category] {
		v = 2*v + b.extra(prob)
	}
	return v + 3 + 8<<category
}

// extra returns the next decision as a number.
func (b *boolReader) extra(prob uint8) int32 {
	if b.bit(prob) {
		return 1
	}
	return 0
}

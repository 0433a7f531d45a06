package webpdec

import (
	"encoding/binary"
	"math/bits"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A boolReader is the boolean entropy decoder of RFC 6386, section 7.
type boolReader struct {
	boolState
	data []byte // not yet in value
	past int    // number of zero bits in value that have been added after the end of data
}

// A boolState is the state of a boolReader between decisions. Its methods return a new value rather than change it, so that
// the compiler keeps it in registers.
type boolState struct {
	value uint64 // the next bits, from the highest bit down
	rng   uint64 // range of the arithmetic coder, 128 to 255
	count int    // number of bits in value, less the 8 that every decision needs
}

// split returns the part of the range that means false.
func (s boolState) split(prob uint8) uint64 { return 1 + ((s.rng-1)*uint64(prob))>>8 }

// no returns the state after the decision was false.
func (s boolState) no(split uint64) boolState {
	n := normShift[uint8(split)]
	return boolState{s.value << (n & 63), split << (n & 63), s.count - int(n)}
}

// yes returns the state after the decision was true.
func (s boolState) yes(split uint64) boolState {
	s.value -= split << 56
	return s.no(s.rng - split)
}

// normShift holds the shift that makes a range at least 128.
var normShift = func() (t [256]uint8) {
	for i := range t {
		t[i] = uint8(min(7, bits.LeadingZeros8(uint8(i))))
	}
	return t
}()

func newBoolReader(data []byte) boolReader {
	return boolReader{boolState: boolState{rng: 255, count: -8}, data: data}
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
	s := b.ready(b.boolState)
	split := s.split(prob)
	set := s.value >= split<<56
	if set {
		b.boolState = s.yes(split)
	} else {
		b.boolState = s.no(split)
	}
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

// ready returns s with at least the bits that a decision needs.
func (b *boolReader) ready(s boolState) boolState {
	if s.count < 0 {
		b.boolState = s
		b.fill()
		s = b.boolState
	}
	return s
}

// A blockKind tells how the coefficients of a block are coded.
type blockKind struct {
	probs *[17][3][11]uint8 // by position and context
	first int               // position of the first coefficient
	steps [2]int32          // quantization steps of the coefficient at position 0, and of others
}

// coefficients reads the coefficients of a block and stores them multiplied by their quantization step: section 13. It
// returns the position after the last one.
func (b *boolReader) coefficients(k *blockKind, context uint8, out *[16]int16) int {
	s := b.boolState
	n := k.first
	p := &k.probs[n][context]
	step := k.steps[min(n, 1)]
	for n < 16 {
		// Is there another coefficient?
		s = b.ready(s)
		split := s.split(p[0])
		if s.value < split<<56 {
			s = s.no(split)
			break
		}
		s = s.yes(split)

		// Is it zero?
		for {
			s = b.ready(s)
			split = s.split(p[1])
			if s.value >= split<<56 {
				break
			}
			s = s.no(split)
			n++
			step = k.steps[1]
			if n == 16 {
				b.boolState = s
				return n
			}
			p = &k.probs[n&15][0]
		}
		s = s.yes(split)

		// Is it one?
		s = b.ready(s)
		v := int32(1)
		next := &k.probs[(n&15)+1]
		split = s.split(p[2])
		if s.value < split<<56 {
			s = s.no(split)
			p = &next[1]
		} else {
			s = s.yes(split)
			b.boolState = s
			v = b.large(p)
			s = b.boolState
			p = &next[2]
		}

		// Its sign has a probability of 128.
		s = b.ready(s)
		v *= step
		split = s.split(128)
		if s.value < split<<56 {
			s = s.no(split)
		} else {
			s = s.yes(split)
			v = -v
		}
		out[vp8.Zigzag[n&15]] = int16(v)
		n++
		step = k.steps[1]
	}
	b.boolState = s
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

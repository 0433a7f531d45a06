package webpenc

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// A boolWriter is the boolean entropy encoder of RFC 6386, section 7.
type boolWriter struct {
	out   []byte
	low   uint64 // lower end of the interval. Its bits from count+8 up are not in out yet, the one above them is a carry.
	rng   uint32 // size of the interval, 128 to 255
	count int    // number of bits in low, less the 8 that may still change
}

func newBoolWriter(out []byte) boolWriter { return boolWriter{out: out, rng: 255} }

// bit writes a decision that is true with a probability of 1 - prob/256.
func (w *boolWriter) bit(set bool, prob uint8) {
	split := 1 + (w.rng-1)*uint32(prob)>>8
	if set {
		w.low += uint64(split)
		split = w.rng - split
	}
	shift := uint(bits.LeadingZeros8(uint8(split)))
	w.rng = split << (shift & 31)
	w.low <<= shift & 63
	if w.count += int(shift); w.count >= 40 {
		w.flush()
	}
}

// flush moves 32 bits to out.
func (w *boolWriter) flush() {
	w.count -= 32
	shift := uint(w.count+8) & 63
	v := w.low >> shift
	w.low &= 1<<shift - 1
	if v > math.MaxUint32 {
		for i := len(w.out) - 1; ; i-- { // ends: all that was written is less than 1
			if w.out[i]++; w.out[i] != 0 {
				break
			}
		}
	}
	w.out = binary.BigEndian.AppendUint32(w.out, uint32(v))
}

// uint writes a number of n bits.
func (w *boolWriter) uint(v uint, n int) {
	for n--; n >= 0; n-- {
		w.bit(v>>n&1 != 0, 128)
	}
}

// optional writes a number of n bits and a sign, or one bit if it is 0.
func (w *boolWriter) optional(v, n int) {
	w.bit(v != 0, 128)
	if v != 0 {
		w.uint(uint(max(v, -v)), n)
		w.bit(v < 0, 128)
	}
}

// finish writes the remaining bits and returns out.
func (w *boolWriter) finish() []byte {
	if w.count >= 32 {
		w.flush()
	}
	size := len(w.out) + (w.count+8+7)/8
	for len(w.out) < size {
		w.low <<= uint(32 - w.count)
		w.count = 32
		w.flush()
	}
	return w.out[:size]
}

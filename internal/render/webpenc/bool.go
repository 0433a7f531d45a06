package webpenc

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// A boolWriter is the boolean entropy encoder of RFC 6386, section 7.
type boolWriter struct {
	interval
	out []byte
}

// An interval is the state of the encoder. Functions with many decisions keep it in registers.
type interval struct {
	low   uint64 // lower end. Its bits from count+8 up are not in out yet, the one above them is a carry.
	last  uint32 // size less 1, 127 to 254
	count int    // number of bits in low, less the 8 that may still change; 55 at most
}

func newBoolWriter(out []byte) boolWriter { return boolWriter{interval{last: 254}, out} }

// norms holds the shift that makes an interval large enough, and what last is then in the high byte, by last.
var norms = func() (t [256]uint16) {
	for last := range t {
		size := uint8(min(last+1, 255))
		shift := bits.LeadingZeros8(size)
		t[last] = uint16(size<<shift-1)<<8 | uint16(shift)
	}
	return t
}()

// add narrows the interval: by a decision 0 with a probability of prob/256, or 1. It adds up to 7 to count.
func (v interval) add(decision uint32, prob uint8) interval {
	// The size of the part is rounded down for 0, and up for 1. Masks replace a branch, which would be unpredictable.
	upper := -decision
	share := (uint32(prob) ^ upper) + decision + upper&256
	last := (v.last*share + upper) >> 8
	low := v.low + uint64((v.last-last)&upper)
	n := norms[uint8(last)]
	shift := n & 63
	return interval{low << shift, uint32(n >> 8), v.count + int(shift)}
}

// word is the number of bits that flush moves. It is due once count is as large.
const word = 32

// bit writes a decision that is true with a probability of 1 - prob/256.
func (w *boolWriter) bit(set bool, prob uint8) {
	var decision uint32
	if set {
		decision = 1
	}
	if w.interval = w.add(decision, prob); w.count >= word {
		w.flush()
	}
}

// flush moves 32 bits to out.
func (w *boolWriter) flush() {
	w.count -= word
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
	if w.count >= word {
		w.flush()
	}
	size := len(w.out) + (w.count+8+7)/8
	for len(w.out) < size {
		w.low <<= uint(word - w.count)
		w.count = word
		w.flush()
	}
	return w.out[:size]
}

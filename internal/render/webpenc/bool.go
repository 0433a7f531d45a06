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

// norms holds the shift that makes an interval large enough, and what it is then, by last.
var norms = func() (t [256]struct{ shift, last uint8 }) {
	for last := range t {
		size := uint8(min(last+1, 255))
		shift := bits.LeadingZeros8(size)
		t[last].shift, t[last].last = uint8(shift), size<<shift-1
	}
	return t
}()

// add narrows the interval: by a decision 0 with a probability of prob/256, or 1. It adds up to 7 to count.
func (v interval) add(decision uint32, prob uint8) interval {
	split := v.last * uint32(prob) >> 8
	mask := -decision // instead of a branch, which would be unpredictable
	low := v.low + uint64((split+1)&mask)
	n := norms[uint8(split+(v.last-2*split-1)&mask)]
	return interval{low << (n.shift & 63), uint32(n.last), v.count + int(n.shift)}
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

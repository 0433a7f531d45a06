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
	size  uint32 // 128 to 255
	count int    // number of bits in low, less the 8 that may still change; 55 at most
}

func newBoolWriter(out []byte) boolWriter { return boolWriter{interval{size: 255}, out} }

// normShift holds the shift that makes a size at least 128.
var normShift = func() (t [256]uint8) {
	for i := range t {
		t[i] = uint8(min(7, bits.LeadingZeros8(uint8(i))))
	}
	return t
}()

// add narrows the interval: by a decision 0 with a probability of prob/256, or 1. It adds up to 7 to count.
func (v interval) add(decision uint32, prob uint8) interval {
	split := 1 + (v.size-1)*uint32(prob)>>8
	mask := -decision
	size := split + (v.size-2*split)&mask // without a branch, which would be unpredictable
	shift := normShift[uint8(size)]
	return interval{(v.low + uint64(split&mask)) << (shift & 63), size << (shift & 31), v.count + int(shift)}
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

package webpenc

import (
	"math/rand/v2"
	"testing"
)

// readBits decodes decisions as RFC 6386, section 7.3, does.
func readBits(data []byte, probs []uint8) (bits []bool) {
	var value, rng uint32 = 0, 255
	next := func() (b uint32) {
		if len(data) > 0 {
			b = uint32(data[0])
			data = data[1:]
		}
		return b
	}
	value = next()<<8 | next()
	count := 0
	for _, p := range probs {
		split := 1 + (rng-1)*uint32(p)>>8
		set := value >= split<<8
		if set {
			rng -= split
			value -= split << 8
		} else {
			rng = split
		}
		for rng < 128 {
			value <<= 1
			rng <<= 1
			if count++; count == 8 {
				count = 0
				value |= next()
			}
		}
		bits = append(bits, set)
	}
	return bits
}

func TestBoolWriter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 3000 {
		probs := make([]uint8, n%500)
		want := make([]bool, len(probs))
		w := newBoolWriter(nil)
		for i := range probs {
			probs[i] = uint8(1 + r.IntN(255))
			switch n % 3 {
			case 0:
				want[i] = r.IntN(256) >= int(probs[i])
			case 1:
				want[i] = r.IntN(2) == 0
			case 2:
				want[i] = i%100 != 0 // many carries
			}
			w.bit(want[i], probs[i])
		}
		out := w.finish()
		for i, got := range readBits(out, probs) {
			if got != want[i] {
				t.Fatalf("series %d: decision %d of %d is %v", n, i, len(probs), got)
			}
		}
	}
}

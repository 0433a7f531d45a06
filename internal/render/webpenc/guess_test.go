package webpenc

import (
	"math/rand/v2"
	"testing"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// hadamard computes a guess as it is defined.
func hadamard(src, pred *vp8.Area, at int) (total int32) {
	for u := range 4 {
		for v := range 4 {
			var sum int32
			for i := range 16 {
				x, y := i%4, i/4
				d := int32(src[at+y*vp8.Stride+x]) - int32(pred[at+y*vp8.Stride+x])
				// Rows of the matrix: ++++, +-+-, ++--, +--+.
				if (x&u&1)^(x>>1&(u>>1))^(y&v&1)^(y>>1&(v>>1)) != 0 {
					d = -d
				}
				sum += d
			}
			total += max(sum, -sum)
		}
	}
	return total
}

// Guesses are the sum of the transformed differences of source and prediction.
func TestGuess(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		var src, area vp8.Area
		for i := range src {
			switch n % 3 {
			case 0:
				src[i], area[i] = byte(r.IntN(256)), byte(r.IntN(256))
			case 1:
				src[i], area[i] = byte(-r.IntN(2)), byte(-r.IntN(2))
			default:
				src[i], area[i] = byte(100+r.IntN(20)), byte(100+r.IntN(20)) // no sample of TM is out of range
			}
		}
		at := atBlock(n % 16)
		var p pattern
		var e edges
		p.set(&src, at)
		e.set(&area, at)
		var got [vp8.NumModes]int32
		for mode, guess := range p.guessStraight(&e) {
			got[mode] = guess
		}
		for mode := range uint8(vp8.NumModes) {
			if mode >= vp8.RD {
				rows := e.rows(mode)
				got[mode] = p.guess(&rows)
			}
			area.Predict4(at, mode)
			want := hadamard(&src, &area, at)
			if got[mode] != want && (mode != vp8.TM || n%3 == 2) {
				t.Fatalf("block %d, mode %d: %d, want %d", n, mode, got[mode], want)
			}
		}
	}
}

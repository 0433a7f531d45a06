package webpenc

import (
	"math/rand/v2"
	"testing"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// hadamard returns the transform of the difference of a block from its prediction, as it is defined.
func hadamard(src, pred *vp8.Area, at int) (h [4][4]int32) {
	for u := range 4 {
		for v := range 4 {
			for i := range 16 {
				x, y := i%4, i/4
				d := int32(src[at+y*vp8.Stride+x]) - int32(pred[at+y*vp8.Stride+x])
				// Rows of the matrix: ++++, +-+-, ++--, +--+.
				if (x&u&1)^(x>>1&(u>>1))^(y&v&1)^(y>>1&(v>>1)) != 0 {
					d = -d
				}
				h[v][u] += d
			}
		}
	}
	return h
}

// randomAreas returns a source and what it is predicted from. Of the third kind, no sample of TM is out of range.
func randomAreas(r *rand.Rand, kind int) (src, area vp8.Area) {
	for i := range src {
		switch kind {
		case 0:
			src[i], area[i] = byte(r.IntN(256)), byte(r.IntN(256))
		case 1:
			src[i], area[i] = byte(-r.IntN(2)), byte(-r.IntN(2))
		default:
			src[i], area[i] = byte(100+r.IntN(20)), byte(100+r.IntN(20))
		}
	}
	return src, area
}

// Guesses are the sums of the first row and the first column of the transform. The rest is the same for all modes.
func TestGuess(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		src, area := randomAreas(r, n%3)
		at := atBlock(n % 16)
		var p pattern
		p.set(&src, at)
		var rest [4]int32
		for mode, got := range p.guess(&area, at) {
			area.Predict4(at, uint8(mode))
			var want int32
			for v, row := range hadamard(&src, &area, at) {
				for u, h := range row {
					if u == 0 || v == 0 {
						want += abs(h)
					} else {
						rest[mode] += abs(h)
					}
				}
			}
			if mode == vp8.TM && n%3 != 2 {
				continue // the guess does not know that samples are limited
			}
			if got != want {
				t.Fatalf("block %d, mode %d: %d, want %d", n, mode, got, want)
			}
			if rest[mode] != rest[0] {
				t.Fatalf("block %d, mode %d: the rest is %d, and %d of another mode", n, mode, rest[mode], rest[0])
			}
		}
	}
}

// Guesses for a whole macroblock are the same, but the means are transformed again.
func TestGuessWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 500 {
		src, area := randomAreas(r, n%3)
		var patterns [16]pattern
		for i := range patterns {
			patterns[i].set(&src, atBlock(i))
		}
		mbx, mby := n>>2&1, n>>3&1
		for mode, got := range guessWhole(&patterns, &area, mbx > 0, mby > 0) {
			if mode == vp8.TM && n%3 != 2 {
				continue
			}
			area.PredictWhole(vp8.AtY, 16, uint8(mode), mbx, mby)
			var want int32
			var means [16]int32
			for i := range means {
				h := hadamard(&src, &area, atBlock(i))
				for k := 1; k < 4; k++ {
					want += abs(h[0][k]) + abs(h[k][0])
				}
				means[i] = h[0][0]
			}
			var sum int32
			for k := range 16 {
				var h int32
				for i, m := range means {
					if x, y, u, v := i%4, i/4, k%4, k/4; (x&u&1)^(x>>1&(u>>1))^(y&v&1)^(y>>1&(v>>1)) != 0 {
						m = -m
					}
					h += m
				}
				sum += abs(h)
			}
			if want += sum / 4; got != want {
				t.Fatalf("macroblock %d, mode %d: %d, want %d", n, mode, got, want)
			}
		}
	}
}

func TestSmaller(t *testing.T) {
	for _, v := range [][3]int32{{1, 2, 1}, {2, 1, 1}, {-3, 5, -3}, {5, -3, -3}, {7, 7, 7}, {0, 1<<31 - 1, 0}} {
		if got := smaller(v[0], v[1]); got != v[2] {
			t.Errorf("smaller(%d, %d) is %d", v[0], v[1], got)
		}
	}
}

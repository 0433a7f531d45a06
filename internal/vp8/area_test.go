package vp8

import (
	"math"
	"math/rand/v2"
	"testing"
)

// randomArea returns an area of samples: any, 0 and 255 only, or similar ones.
func randomArea(r *rand.Rand, kind int) (a Area) {
	for i := range a {
		switch kind % 3 {
		case 0:
			a[i] = byte(r.IntN(256))
		case 1:
			a[i] = byte(-r.IntN(2))
		default:
			a[i] = byte(100 + r.IntN(30))
		}
	}
	return a
}

// sameBlock compares a block with what it should be, and checks that the rest of the area did not change.
func sameBlock(t *testing.T, got, before *Area, at, n int, want func(x, y int) byte) {
	t.Helper()
	wanted := *before
	for y := range n {
		for x := range n {
			wanted[at+y*Stride+x] = want(x, y)
		}
	}
	for i := range got {
		if got[i] != wanted[i] {
			t.Fatalf("sample at %d, %d is %d, want %d", i%Stride-at%Stride, i/Stride-at/Stride, got[i], wanted[i])
		}
	}
}

// definition4 returns a prediction as section 12.3 of the RFC defines it, from its array of edges: E[0] is the corner, E[1] and on are
// above, E[-1] and on are to the left.
func definition4(a *Area, at int, mode uint8) func(x, y int) byte {
	edge := func(i int) int {
		if i < 0 {
			return int(a[at+(-i-1)*Stride-1])
		}
		return int(a[at-Stride-1+i])
	}
	mean2 := func(i int) byte { return byte((edge(i) + edge(i+1) + 1) / 2) }
	mean3 := func(i int) byte { return byte((edge(i-1) + 2*edge(i) + edge(i+1) + 2) / 4) }
	return func(x, y int) byte {
		switch mode {
		case DC:
			sum := 4
			for i := 1; i <= 4; i++ {
				sum += edge(i) + edge(-i)
			}
			return byte(sum / 8)
		case TM:
			return byte(max(0, min(edge(-1-y)+edge(1+x)-edge(0), 255)))
		case VE:
			return mean3(1 + x)
		case HE:
			if y == 3 {
				return byte((edge(-3) + 3*edge(-4) + 2) / 4)
			}
			return mean3(-1 - y)
		case RD:
			return mean3(x - y)
		case LD:
			if x+y == 6 {
				return byte((edge(7) + 3*edge(8) + 2) / 4)
			}
			return mean3(2 + x + y)
		case VR:
			switch i := 2*x - y; {
			case i >= 0 && i%2 == 0:
				return mean2(i / 2)
			case i >= -1:
				return mean3((i + 1) / 2)
			default:
				return mean3(i + 1)
			}
		case HD:
			switch i := 2*y - x; {
			case i >= 0 && i%2 == 0:
				return mean2(-i/2 - 1)
			case i >= -1:
				return mean3(-(i + 1) / 2)
			default:
				return mean3(-i - 1)
			}
		case VL:
			switch {
			case x == 3 && y == 2: // these two do not follow the pattern
				return mean3(6)
			case x == 3 && y == 3:
				return mean3(7)
			case y%2 == 0:
				return mean2(1 + x + y/2)
			default:
				return mean3(2 + x + y/2)
			}
		}
		// HU
		switch i := 2*y + x; {
		case i > 5:
			return byte(edge(-4))
		case i == 5:
			return byte((edge(-3) + 3*edge(-4) + 2) / 4)
		case i%2 == 0:
			return mean2(-2 - i/2)
		default:
			return mean3(-2 - i/2)
		}
	}
}

// Modes of 4x4 blocks predict what they are defined to.
func TestPredict4(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		before := randomArea(r, n)
		at := AtY + n%4*4 + n/4%4*4*Stride
		for mode := range uint8(NumModes) {
			got := before
			got.Predict4(at, mode)
			sameBlock(t, &got, &before, at, 4, definition4(&before, at, mode))
		}
	}
}

// So do modes of 8x8 and 16x16 blocks, in each place of a picture.
func TestPredictWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 100 {
		before := randomArea(r, n)
		for _, b := range []struct{ at, size int }{{AtY, 16}, {AtU, 8}, {AtV, 8}} {
			above := func(x int) int { return int(before[b.at-Stride+x]) }
			left := func(y int) int { return int(before[b.at+y*Stride-1]) }
			for place := range 4 {
				mbx, mby := place%2, place/2
				mean, count := 0, 0
				for i := range b.size {
					mean, count = mean+mby*above(i)+mbx*left(i), count+mbx+mby
				}
				if count == 0 {
					mean = 128
				} else {
					mean = (mean + count/2) / count
				}
				for mode, want := range map[uint8]func(x, y int) byte{
					DC: func(x, y int) byte { return byte(mean) },
					VE: func(x, y int) byte { return byte(above(x)) },
					HE: func(x, y int) byte { return byte(left(y)) },
					TM: func(x, y int) byte { return byte(max(0, min(left(y)+above(x)-above(-1), 255))) },
				} {
					got := before
					got.PredictWhole(b.at, b.size, mode, mbx, mby)
					sameBlock(t, &got, &before, b.at, b.size, want)
				}
			}
		}
	}
}

// Samples outside the picture are 127 above it and 129 to the left. Inside, they are those of the macroblocks there.
func TestPrepare(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var above, right Samples
	source := randomArea(r, 0)
	source.Save(&above)
	other := randomArea(r, 0)
	other.Save(&right)
	if above.Y[3] != source[AtY+15*Stride+3] || above.U[2] != source[AtU+7*Stride+2] || above.V[7] != source[AtV+7*Stride+7] {
		t.Fatal("the samples are not those of the last row")
	}
	for place := range 8 {
		mbx, mby, last := place%2, place/2%2, place/4 == 1
		before := randomArea(r, 0)
		got := before
		to := &right
		if last {
			to = nil
		}
		got.Prepare(&above, to, mbx, mby)
		check := func(name string, got, outside, inside byte, in bool) {
			t.Helper()
			if want := map[bool]byte{false: outside, true: inside}[in]; got != want {
				t.Errorf("macroblock %d, %d: %s is %d, want %d", mbx, mby, name, got, want)
			}
		}
		check("luma above", got[AtY-Stride+5], 127, above.Y[5], mby > 0)
		check("chroma above", got[AtU-Stride+5], 127, above.U[5], mby > 0)
		check("chroma above", got[AtV-Stride+5], 127, above.V[5], mby > 0)
		check("luma to the left", got[AtY+9*Stride-1], 129, before[AtY+9*Stride+15], mbx > 0)
		check("chroma to the left", got[AtU+4*Stride-1], 129, before[AtU+4*Stride+7], mbx > 0)
		check("chroma to the left", got[AtV+4*Stride-1], 129, before[AtV+4*Stride+7], mbx > 0)
		corner := right.Y[2]
		if last {
			corner = above.Y[15]
		}
		for y := 0; y < 16; y += 4 {
			check("luma above to the right", got[AtY-Stride+16+y*Stride+2], 127, corner, mby > 0)
		}
	}
}

// The inverse DCT is the one of mathematics, apart from rounding.
func TestAddDCT(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	scale := func(k int) float64 {
		if k == 0 {
			return math.Sqrt(0.25)
		}
		return math.Sqrt(0.5)
	}
	for n := range 3000 {
		var c [16]int16
		for range 1 + n%16 {
			c[r.IntN(16)] = int16(r.IntN(601) - 300)
		}
		before := randomArea(r, n)
		got := before
		got.AddDCT(AtY, &c)
		for y := range 4 {
			for x := range 4 {
				var sum float64
				for i, v := range c {
					u, v, value := i%4, i/4, float64(v)
					sum += value * scale(u) * scale(v) * math.Cos(float64(2*x+1)*float64(u)*math.Pi/8) * math.Cos(float64(2*y+1)*float64(v)*math.Pi/8)
				}
				// The coefficients are twice as large as those of an orthonormal transform.
				want := max(0, min(float64(before[AtY+y*Stride+x])+sum/2, 255))
				if d := math.Abs(float64(got[AtY+y*Stride+x]) - want); d > 1.3 {
					t.Fatalf("coefficients %v: sample at %d, %d is %d, want %.2f", c, x, y, got[AtY+y*Stride+x], want)
				}
			}
		}
	}
}

// AddDC is AddDCT without other coefficients.
func TestAddDC(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for n := range 2000 {
		before := randomArea(r, n)
		dc := int16(r.IntN(4401) - 2200)
		got, want := before, before
		got.AddDC(AtU, dc)
		want.AddDCT(AtU, &[16]int16{dc})
		if got != want {
			t.Fatalf("coefficient %d", dc)
		}
	}
}

// The inverse Walsh-Hadamard transform adds up coefficients with signs, and rounds.
func TestInverseWHT(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	// The rows in the order of how often the sign changes.
	signs := [4][4]int{{1, 1, 1, 1}, {1, 1, -1, -1}, {1, -1, -1, 1}, {1, -1, 1, -1}}
	for range 2000 {
		var c [16]int16
		for i := range c {
			c[i] = int16(r.IntN(4001) - 2000)
		}
		var blocks [25][16]int16
		InverseWHT(&c, &blocks)
		for i := range 16 {
			sum := 3
			for k, v := range c {
				sum += int(v) * signs[k%4][i%4] * signs[k/4][i/4]
			}
			if got, want := blocks[i][0], int16(sum>>3); got != want {
				t.Fatalf("block %d has %d, want %d", i, got, want)
			}
		}
	}
}

func TestClamp(t *testing.T) {
	for v, want := range map[int32]byte{-1 << 31: 0, -1: 0, 0: 0, 1: 1, 255: 255, 256: 255, 1<<31 - 1: 255} {
		if got := Clamp(v); got != want {
			t.Errorf("Clamp(%d) is %d, want %d", v, got, want)
		}
	}
}

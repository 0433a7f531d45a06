package reduce

import (
	"math/rand/v2"
	"testing"
)

// Means are rounded exactly, halves up.
func TestMeans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const width = 3*MaxScale + 5
	row := make([]byte, 4*width)
	for _, channels := range []int{1, 3, 4} {
		to := channels // of the sums
		if channels == 3 {
			to = 4
		}
		for _, n := range []int{1, 2, 3, 7, 8, 100, MaxScale} {
			columns := (width + n - 1) / n
			sums, want := make([]uint32, to*columns), make([]uint32, to*columns)
			for range n {
				for i := range row {
					row[i] = byte(r.Uint32())
					if n == MaxScale {
						row[i] = 255
					}
				}
				for x := range width {
					for c := range to {
						v := uint32(255)
						if c < channels {
							v = uint32(row[x*channels+c])
						}
						want[x/n*to+c] += v
					}
				}
				if channels == 3 {
					AddRGB(sums, row[:3*width], n)
				} else {
					Add(sums, row[:channels*width], channels, n)
				}
			}
			got := make([]byte, len(sums))
			last := to * (columns - 1)
			lastCount := (width - (columns-1)*n) * n
			Divide(got[:last], sums[:last], n*n)
			Divide(got[last:], sums[last:], lastCount)
			for i, v := range got {
				count := n * n
				if i >= last {
					count = lastCount
				}
				if want := (int(want[i]) + count/2) / count; int(v) != want {
					t.Fatalf("%d channels, squares of %d: mean %d is %d, want %d", channels, n, i, v, want)
				}
				if sums[i] != 0 {
					t.Fatal("a sum was not cleared")
				}
			}
		}
	}
}

func TestDivide(t *testing.T) {
	var to [1]byte
	for _, n := range []int{1, 2, 3, 12, 36, 196, 255 * 256, MaxScale * MaxScale} {
		for sum := 0; sum <= 255*n; sum += 1 + n/200 {
			if Divide(to[:], []uint32{uint32(sum)}, n); int(to[0]) != (sum+n/2)/n {
				t.Fatalf("%d/%d is %d", sum, n, to[0])
			}
		}
		for k := range 255 { // at a half, and just below
			for _, sum := range []int{k*n + n - n/2, k*n + n - n/2 - 1} {
				if Divide(to[:], []uint32{uint32(sum)}, n); int(to[0]) != (sum+n/2)/n {
					t.Fatalf("%d/%d is %d", sum, n, to[0])
				}
			}
		}
	}
}

package pngdec

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A kind is a color type with a depth.
type kind struct {
	color, depth byte
	transparency []byte
}

func (k kind) String() string {
	return fmt.Sprintf("color type %d, depth %d, transparency %v", k.color, k.depth, k.transparency)
}

// kinds are all color types and depths, each with and without transparency.
func kinds() (all []kind) {
	for color, depths := range map[byte][]byte{0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}} {
		for _, depth := range depths {
			all = append(all, kind{color, depth, nil})
			if t := map[byte][]byte{0: {0, 1}, 2: {0, 9, 0, 9, 0, 9}, 3: {0, 100}}[color]; t != nil {
				all = append(all, kind{color, depth, t})
			}
		}
	}
	return all
}

// make returns a picture of the kind with random rows, of which some are easy to compress.
func (k kind) make(r *rand.Rand, width, height int, interlaced bool) testPNG {
	m := testPNG{width: width, height: height, depth: k.depth, color: k.color, interlaced: interlaced, transparency: k.transparency}
	m.level = []int{-1, 0, 1, 9, -2}[r.IntN(5)] // -2: Huffman codes only
	if r.IntN(2) == 0 {
		m.chunk = 1 + r.IntN(100)
	}
	if k.color == 3 {
		for range 3 << k.depth {
			m.palette = append(m.palette, byte(r.IntN(256)))
		}
	}
	most := []int{256, 4, 2, 1}[r.IntN(4)]
	m.raw = m.rows(r, func() byte { return byte(r.IntN(most)) })
	return m
}

// Every kind of picture decodes to the pixels of image/png, and to their means when reduced.
func TestAgainstStandardLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, k := range kinds() {
		for _, size := range [][2]int{{1, 1}, {37, 23}, {3, 9}, {1, 50}, {50, 1}, {2, 7}, {300, 40}} {
			for _, interlaced := range []bool{false, true} {
				file := k.make(r, size[0], size[1], interlaced).encode()
				want := reference(t, file)
				full := decode(t, file, Options{})
				if d := differ(full.rgba(), want); d != 0 || full.Missing {
					t.Errorf("%v, interlaced %v, %v: differs by %d, missing %v", k, interlaced, size, d, full.Missing)
					continue
				}
				if forced := decode(t, file, Options{RGBA: true}); differ(forced.Pix, want) != 0 {
					t.Errorf("%v, interlaced %v, %v: differs with RGBA", k, interlaced, size)
				}
				for _, scale := range []int{2, 3, 4, 5, 7, 8, 9, 16, 33, 256} {
					small := decode(t, file, Options{Scale: scale})
					if d := differ(small.rgba(), reduced(want, size[0], size[1], scale)); d > 1 {
						t.Errorf("%v, interlaced %v, %v, 1/%d: differs by %d", k, interlaced, size, scale, d)
					}
				}
			}
		}
	}
}

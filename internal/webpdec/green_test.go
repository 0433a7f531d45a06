package webpdec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A predicted is a picture with random differences in green. In the other channels, all pixels before the one numbered same are
// equal, if the modes of the predictor look at neighbors.
type predicted struct {
	width, height, same int
	modes               []int // of the predictor, at random
	subtract            bool  // the subtraction of green comes after the predictor
}

// modesOfNeighbors are the modes of the predictor that look at neighbors.
var modesOfNeighbors = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}

func (p predicted) bytes() []byte {
	width, height := p.width, p.height
	rnd := rand.New(rand.NewPCG(uint64(width*height), uint64(p.same)))
	w := newBitWriter(width, height)
	w.write(1, 1) // a transform
	w.write(transformPredictor, 2)
	w.write(0, 3) // tiles of 4 x 4
	w.write(0, 1) // no color cache
	w.twoLengths(16, 0, 4)
	for range 4 {
		w.single(0)
	}
	for range ceilDiv(width, 4) * ceilDiv(height, 4) {
		w.symbol(p.modes[rnd.IntN(len(p.modes))], 16, 4)
	}
	if p.subtract {
		w.write(1, 1)
		w.write(transformSubtractGreen, 2)
	}
	w.write(0, 1) // no other transform
	w.write(0, 1) // no color cache
	w.write(0, 1) // one group of codes
	w.twoLengths(256, 0, 8)
	w.twoLengths(2, 0, 1)
	w.single(0)
	w.twoLengths(2, 0, 1)
	w.single(0)
	for i := range width * height {
		w.symbol(rnd.IntN(256), 256, 8)
		red, alpha := 0, 0
		switch {
		case i == 0:
			red, alpha = 1, rnd.IntN(2) // with 1, alpha becomes 0, as in pictures of cwebp
		case i >= p.same:
			red = rnd.IntN(2)
		}
		w.symbol(red, 2, 1)
		w.symbol(alpha, 2, 1)
	}
	return w.bytes()
}

// The green channel alone is that of the picture, whatever the other channels do.
func TestGreen(t *testing.T) {
	pictures := map[string][]byte{"far copies": farCopies(1300, 1250), "codes": manyCodes(10)}
	for name, f := range testdata(t) {
		switch {
		case f.VP8L != nil:
			pictures[name] = f.VP8L
		case f.ALPH != nil && f.ALPH[0]&3 == 1:
			w, h, _ := f.Size()
			pictures[name] = append(newBitWriter(w, h).out, f.ALPH[1:]...)
		}
	}
	for _, size := range [][2]int{{1, 1}, {1, 9}, {9, 1}, {2, 2}, {64, 40}, {101, 37}} {
		for _, same := range []int{0, size[0] - 1, size[0]*size[1]/2 + 1, size[0] * size[1]} {
			for _, modes := range [][]int{modesOfNeighbors, {11, 12}, {0, 11}, {5, 11, 14}, {5, 11, 15}} {
				for _, subtract := range []bool{false, true} {
					p := predicted{size[0], size[1], same, modes, subtract}
					pictures[fmt.Sprintf("%+v", p)] = p.bytes()
				}
			}
		}
	}
	for name, data := range pictures {
		w, h, err := vp8lSize(data)
		if err != nil {
			t.Fatal(name, err)
		}
		d, err := readVP8L(data[5:], w, h)
		if err != nil {
			t.Fatal(name, err)
		}
		g, err := newGreenReader(data[5:], w, h)
		if err != nil {
			t.Fatal(name, err)
		}
		got, want := make([]byte, w), make([]byte, w)
		for y := range h {
			pixels, err := d.nextRow()
			if err != nil {
				t.Fatal(name, err)
			}
			greensOf(want, pixels)
			if err := g.nextRow(got); err != nil {
				t.Fatal(name, err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: row %d is %v, want %v", name, y, got, want)
				break
			}
		}
	}
}

// The predictor works on green alone until the other channels of a pixel differ.
func TestGreenIsNarrow(t *testing.T) {
	const w, h = 50, 30
	for _, same := range []int{w + 1, 7*w + 20, w * h} {
		g, err := newGreenReader(predicted{w, h, same, modesOfNeighbors, false}.bytes()[5:], w, h)
		if err != nil {
			t.Fatal(err)
		}
		row := make([]byte, w)
		for y := range h {
			if err := g.nextRow(row); err != nil {
				t.Fatal(err)
			}
			if full := (y+1)*w <= same; full && g.wide || same < y*w && !g.wide {
				t.Errorf("%d equal pixels: wide is %v after row %d", same, g.wide, y)
			}
		}
	}
}

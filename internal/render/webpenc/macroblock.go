package webpenc

import (
	"math"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// choose chooses how a macroblock is coded.
func (f *frame) choose(mbx, mby int) {
	mb := &f.mbs[mby*f.mbw+mbx]
	above := &f.above[mbx]
	var right *vp8.Samples
	if mbx < f.mbw-1 {
		right = &f.above[mbx+1].Samples
	}
	f.loadMacroblock(mbx, mby)
	f.area.Prepare(&above.Samples, right, mbx, mby)
	if f.transparent(mbx, mby) {
		f.leaveOut(mb, mbx, mby)
		return
	}
	for i := range f.patterns {
		f.patterns[i].set(&f.src, atBlock(i))
	}
	s := &f.segments[mb.segment]
	mode, guess := f.guessWhole(s, mbx, mby)
	mb.split = !f.noSplit && f.chooseSplit(mb, s, mbx, guess)
	if !mb.split {
		mb.modes[0] = mode
		above.modes = [4]uint8{mode, mode, mode, mode}
		f.left.modes = above.modes
		f.takeWhole(mb, s, mbx, mby)
	}
	f.chooseChroma(mb, s, mbx, mby)

	if mb.skip = !mb.coded(); !mb.skip {
		f.count(mb)
	}
	f.area.Save(&above.Samples)
}

// transparent reports whether nothing can be seen of a macroblock.
func (f *frame) transparent(mbx, mby int) bool {
	if f.alpha.pix == nil {
		return false
	}
	for y := 16 * mby; y < min(16*mby+16, f.alpha.height); y++ {
		for _, v := range f.alpha.pix[y*f.alpha.stride:][16*mbx : min(16*mbx+16, f.alpha.width)] {
			if v != 0 {
				return false
			}
		}
	}
	return true
}

// leaveOut codes a macroblock in the shortest way.
func (f *frame) leaveOut(mb *macroblock, mbx, mby int) {
	mb.split, mb.skip, mb.modes[0], mb.chroma = false, true, vp8.DC, vp8.DC
	f.area.PredictWhole(vp8.AtY, 16, vp8.DC, mbx, mby)
	f.area.PredictWhole(vp8.AtU, 8, vp8.DC, mbx, mby)
	f.area.PredictWhole(vp8.AtV, 8, vp8.DC, mbx, mby)
	above := &f.above[mbx]
	above.neighbour, f.left = neighbour{}, neighbour{} // DC is 0
	f.area.Save(&above.Samples)
}

// coded reports whether a macroblock has any coefficient.
func (mb *macroblock) coded() bool {
	first := int16(0)
	if !mb.split {
		first = 1
		if mb.blocks[24].count > 0 {
			return true
		}
	}
	for i := range mb.blocks[:16] {
		if mb.blocks[i].count > first {
			return true
		}
	}
	for i := range mb.blocks[16:24] {
		if mb.blocks[16+i].count > 0 {
			return true
		}
	}
	return false
}

// count counts the tokens of a macroblock.
func (f *frame) count(mb *macroblock) {
	first, plane := 0, vp8.PlaneY
	if !mb.split {
		f.counts.add(vp8.PlaneY2, 0, &mb.blocks[24])
		first, plane = 1, vp8.PlaneYAfterY2
	}
	for i := range mb.blocks[:16] {
		f.counts.add(plane, first, &mb.blocks[i])
	}
	for i := range mb.blocks[16:24] {
		f.counts.add(vp8.PlaneC, 0, &mb.blocks[16+i])
	}
}

// guessWhole chooses the mode that predicts all of luma. It returns a guess of its cost too.
func (f *frame) guessWhole(s *segment, mbx, mby int) (mode uint8, guess int32) {
	w := whole{f.patterns[:16], 4, mbx > 0, mby > 0}
	var guesses [4]int32
	w.guess(&f.area, vp8.AtY, &guesses)
	return cheapest(&guesses, &wholeCosts, s.y.step[1])
}

// cheapest returns the mode with the lowest guess, including what the mode itself costs.
func cheapest(guesses, costs *[4]int32, step int32) (mode uint8, guess int32) {
	for m, g := range guesses {
		if g += worth(costs[m], step); m == 0 || g < guess {
			mode, guess = uint8(m), g
		}
	}
	return mode, guess
}

// atBlock returns where in an area a block is.
func atBlock(i int) int {
	switch {
	case i < 16:
		return vp8.AtY + i/4*4*vp8.Stride + i%4*4
	case i < 20:
		return vp8.AtU + (i-16)/2*4*vp8.Stride + i%2*4
	}
	return vp8.AtV + (i-20)/2*4*vp8.Stride + i%2*4
}

// takeWhole quantises and reconstructs luma that is predicted as a whole.
func (f *frame) takeWhole(mb *macroblock, s *segment, mbx, mby int) {
	f.area.PredictWhole(vp8.AtY, 16, mb.modes[0], mbx, mby)
	above, left := &f.above[mbx].nonzero, &f.left.nonzero
	for i := range 16 {
		c := &f.coefs[i]
		c.forward(&f.src, &f.area, atBlock(i))
		a, l := &above[i%4], &left[i/4]
		b := &mb.blocks[i]
		b.context = *a + *l
		s.y.quantise(b, c, 1)
		*a = 0
		if b.count > 1 {
			*a = 1
		}
		*l = *a
		s.y.dequantise(b, 1, &f.values[i])
	}
	var y2 coefficients
	y2.forwardWHT(&f.coefs)
	b := &mb.blocks[24]
	b.context = above[8] + left[8]
	s.y2.quantise(b, &y2, 0)
	above[8] = 0
	if b.count > 0 {
		above[8] = 1
	}
	left[8] = above[8]
	s.y2.dequantise(&mb.blocks[24], 0, &f.values[24])
	vp8.InverseWHT(&f.values[24], &f.values)
	for i := range 16 {
		if mb.blocks[i].count > 1 {
			f.area.AddDCT(atBlock(i), &f.values[i])
		} else if f.values[i][0] != 0 {
			f.area.AddDC(atBlock(i), f.values[i][0])
		}
	}
}

// chooseSplit chooses modes for each luma block, unless that is no better than the given guess. It reports whether it is.
func (f *frame) chooseSplit(mb *macroblock, s *segment, mbx int, limit int32) bool {
	above := &f.above[mbx]
	modesAbove, modesLeft := above.modes, f.left.modes
	nzAbove, nzLeft := above.nonzero, f.left.nonzero
	limit += limit / 32
	step := s.y.step[1]
	total := worth(splitCost, step)
	for i := range 16 {
		x, y := i%4, i/4
		at := atBlock(i)
		costs := &modeCosts[modesAbove[x]][modesLeft[y]]
		p := &f.patterns[i]
		var e edges
		var guesses [vp8.NumModes]int32
		e.set(&f.area, at)
		p.guessStraight(&e, &guesses)
		best, mode := int32(math.MaxInt32), uint8(0)
		for m := range uint8(vp8.RD) {
			if g := guesses[m] + worth(int32(costs[m]), step); g < best {
				best, mode = g, m
			}
		}
		if p.inner >= step {
			for _, m := range p.diagonals() {
				r := e.rows(m)
				if g := p.guess(&r) + worth(int32(costs[m]), step); g < best {
					best, mode = g, m
				}
			}
		}
		if total += best; total >= limit {
			return false
		}
		mb.modes[i] = mode
		modesAbove[x], modesLeft[y] = mode, mode
		f.area.Predict4(at, mode)
		var c coefficients
		c.forward(&f.src, &f.area, at)
		b := &mb.blocks[i]
		b.context = nzAbove[x] + nzLeft[y]
		s.y.quantise(b, &c, 0)
		nzAbove[x] = 0
		if b.count > 0 {
			nzAbove[x] = 1
			v := &f.values[0]
			s.y.dequantise(b, 0, v)
			if b.count == 1 {
				f.area.AddDC(at, v[0])
			} else {
				f.area.AddDCT(at, v)
			}
		}
		nzLeft[y] = nzAbove[x]
	}
	above.modes, f.left.modes = modesAbove, modesLeft
	above.nonzero, f.left.nonzero = nzAbove, nzLeft
	return true
}

// chooseChroma chooses the mode of chroma, and its coefficients.
func (f *frame) chooseChroma(mb *macroblock, s *segment, mbx, mby int) {
	var guesses [4]int32
	for i, at := range [2]int{vp8.AtU, vp8.AtV} {
		w := whole{f.patterns[16+4*i:][:4], 2, mbx > 0, mby > 0}
		w.guess(&f.area, at, &guesses)
	}
	mb.chroma, _ = cheapest(&guesses, &chromaCosts, s.uv.step[1])
	f.area.PredictWhole(vp8.AtU, 8, mb.chroma, mbx, mby)
	f.area.PredictWhole(vp8.AtV, 8, mb.chroma, mbx, mby)
	nzAbove, nzLeft := &f.above[mbx].nonzero, &f.left.nonzero
	for i := range 8 {
		at := atBlock(16 + i)
		a, l := &nzAbove[4+i/4*2+i%2], &nzLeft[4+i/2]
		var c coefficients
		c.forward(&f.src, &f.area, at)
		b := &mb.blocks[16+i]
		b.context = *a + *l
		s.uv.quantise(b, &c, 0)
		*a = 0
		if b.count > 0 {
			*a = 1
			v := &f.values[0]
			s.uv.dequantise(b, 0, v)
			f.area.AddDCT(at, v)
		}
		*l = *a
	}
}

// worth returns what bits are worth in a guess, with a quantiser of the given step.
func worth(cost, step int32) int32 { return cost * step * 5 >> 11 }

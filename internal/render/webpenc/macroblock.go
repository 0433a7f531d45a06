package webpenc

import (
	"math"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A macroblock is what is written of 16x16 pixels.
type macroblock struct {
	blocks  [25]block // 16 of luma, 4 of each chroma, and the first coefficients of luma if it is predicted as a whole
	modes   [16]uint8 // of the 4x4 luma blocks; the first is that of all unless split is set
	segment uint8
	split   bool // the luma blocks have modes of their own
	skip    bool // all coefficients are 0
}

// visit calls what for each block in the order of the file: with its plane, and the position of its first coefficient.
func (mb *macroblock) visit(what func(plane, first int, b *block)) {
	plane, first := vp8.PlaneY, 0
	if !mb.split {
		what(vp8.PlaneY2, 0, &mb.blocks[24])
		plane, first = vp8.PlaneYAfterY2, 1
	}
	for i := range 16 {
		what(plane, first, &mb.blocks[i])
	}
	for i := 16; i < 24; i++ {
		what(vp8.PlaneC, 0, &mb.blocks[i])
	}
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

// choose chooses how a macroblock is coded.
func (f *frame) choose(mbx, mby int) {
	mb, above := &f.mbs[mby*f.mbw+mbx], &f.above[mbx]
	var right *vp8.Samples
	if mbx < f.mbw-1 {
		right = &f.above[mbx+1].Samples
	}
	f.area.Prepare(&above.Samples, right, mbx, mby)
	if f.transparent(mbx, mby) {
		f.leaveOut(mb, mbx, mby)
	} else {
		f.loadMacroblock(mbx, mby)
		for i := range f.patterns {
			f.patterns[i].set(&f.src, atBlock(i))
		}
		f.chooseLuma(mb, mbx, mby)
		f.codeChroma(mb, mbx, mby)
		mb.skip = true
		mb.visit(func(_, _ int, b *block) { mb.skip = mb.skip && b.nonzero == 0 })
	}
	if i := mby*f.mbw + mbx; !mb.skip && i%f.sampling() == 0 {
		mb.visit(f.counts.add)
	}
	f.area.Save(&above.Samples)
}

// transparent reports whether nothing can be seen of a macroblock.
func (f *frame) transparent(mbx, mby int) bool {
	a := &f.alpha
	if a.pix == nil {
		return false
	}
	for y := 16 * mby; y < min(16*mby+16, a.height); y++ {
		for _, v := range a.pix[y*a.stride:][16*mbx : min(16*mbx+16, a.width)] {
			if v != 0 {
				return false
			}
		}
	}
	return true
}

// leaveOut codes a macroblock in the shortest way.
func (f *frame) leaveOut(mb *macroblock, mbx, mby int) {
	mb.split, mb.skip, mb.modes[0] = false, true, vp8.DC
	f.area.PredictWhole(vp8.AtY, 16, vp8.DC, mbx, mby)
	f.area.PredictWhole(vp8.AtU, 8, vp8.DC, mbx, mby)
	f.area.PredictWhole(vp8.AtV, 8, vp8.DC, mbx, mby)
	f.above[mbx].neighbour, f.left = neighbour{}, neighbour{} // DC is 0
}

// chooseLuma chooses between one mode and one for each block.
func (f *frame) chooseLuma(mb *macroblock, mbx, mby int) {
	guesses := guessWhole(&f.patterns, &f.area, mbx > 0, mby > 0)
	mode, guess := cheapest(&guesses, &wholeCosts, f.segments[mb.segment].y.step[1])
	limit := guess + guess/32 // a little in favour of small blocks was best
	if mb.split = !f.noSplit && f.chooseSplit(mb, mbx, limit); mb.split {
		return
	}
	mb.modes[0] = mode
	f.area.PredictWhole(vp8.AtY, 16, mode, mbx, mby)
	f.codeWhole(mb, mbx)
	f.left.modes = [4]uint8{mode, mode, mode, mode}
	f.above[mbx].modes = f.left.modes
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

// worth returns what bits are worth in a guess, with a quantiser of the given step. It was found by trying.
func worth(cost, step int32) int32 { return cost * step * 5 >> 11 }

// chooseSplit chooses a mode for each luma block, and codes it. It gives up if the guesses exceed a limit, and reports whether
// they do not.
func (f *frame) chooseSplit(mb *macroblock, mbx int, limit int32) bool {
	q := &f.segments[mb.segment].y
	step := q.step[1]
	above, left := f.above[mbx].neighbour, f.left
	total := worth(splitCost, step)
	for i := range 16 {
		x, y, at := i%4, i/4, atBlock(i)
		costs := &modeCosts[above.modes[x]][left.modes[y]]
		mode, guess := f.patterns[i].choose(&f.area, at, costs, step)
		if total += guess; total >= limit {
			return false
		}
		mb.modes[i] = mode
		above.modes[x], left.modes[y] = mode, mode
		f.area.Predict4(at, mode)
		b := &mb.blocks[i]
		b.context = above.nonzero[x] + left.nonzero[y]
		f.code(b, q, at)
		above.nonzero[x], left.nonzero[y] = b.coded(), b.coded()
	}
	f.above[mbx].neighbour, f.left = above, left
	return true
}

// choose returns the mode of a 4x4 block with the best guess, and the guess with the cost of the mode.
func (p *pattern) choose(a *vp8.Area, at int, costs *[numModes]uint16, step int32) (mode uint8, guess int32) {
	best := int32(math.MaxInt32)
	for m, g := range p.guess(a, at) {
		best = smaller(best, (g+worth(int32(costs[m]), step))<<2|int32(m))
	}
	return uint8(best & 3), best >> 2
}

// code quantises a block whose prediction is in the area, and reconstructs it.
func (f *frame) code(b *block, q *quantiser, at int) {
	var c coefficients
	c.forward(&f.src, &f.area, at)
	q.quantise(b, &c, 0)
	v := &f.values[0]
	q.dequantise(b, v)
	switch b.count {
	case 0:
	case 1:
		f.area.AddDC(at, v[0])
	default:
		f.area.AddDCT(at, v)
	}
}

// codeWhole quantises luma whose prediction is in the area, and reconstructs it.
func (f *frame) codeWhole(mb *macroblock, mbx int) {
	s := &f.segments[mb.segment]
	above, left := &f.above[mbx].nonzero, &f.left.nonzero
	for i := range 16 {
		b, x, y := &mb.blocks[i], i%4, i/4
		b.context = above[x] + left[y]
		f.coefs[i].forward(&f.src, &f.area, atBlock(i))
		s.y.quantise(b, &f.coefs[i], 1)
		s.y.dequantise(b, &f.values[i])
		above[x], left[y] = b.coded(), b.coded()
	}
	b := &mb.blocks[24]
	b.context = above[8] + left[8]
	var c coefficients
	c.forwardWHT(&f.coefs)
	s.y2.quantise(b, &c, 0)
	s.y2.dequantise(b, &f.values[24])
	above[8], left[8] = b.coded(), b.coded()
	vp8.InverseWHT(&f.values[24], &f.values)
	for i := range 16 {
		if mb.blocks[i].count > 1 {
			f.area.AddDCT(atBlock(i), &f.values[i])
		} else {
			f.area.AddDC(atBlock(i), f.values[i][0])
		}
	}
}

// codeChroma codes chroma. Its mode is always DC: a choice would save 1 % of the bytes, and take 4 % more time.
func (f *frame) codeChroma(mb *macroblock, mbx, mby int) {
	q := &f.segments[mb.segment].uv
	f.area.PredictWhole(vp8.AtU, 8, vp8.DC, mbx, mby)
	f.area.PredictWhole(vp8.AtV, 8, vp8.DC, mbx, mby)
	above, left := &f.above[mbx].nonzero, &f.left.nonzero
	for i := range 8 {
		b, x, y := &mb.blocks[16+i], 4+i/4*2+i%2, 4+i/2
		b.context = above[x] + left[y]
		f.code(b, q, atBlock(16+i))
		above[x], left[y] = b.coded(), b.coded()
	}
}

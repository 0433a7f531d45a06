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
	for i := range f.patterns {
		f.patterns[i].set(&f.src, atLuma(i))
	}

	s := &f.segments[mb.segment]
	mode, guess := f.guessWhole(s, mbx, mby)
	mb.split = f.chooseSplit(mb, s, mbx, guess)
	if !mb.split {
		mb.modes[0] = mode
		above.modes = [4]uint8{mode, mode, mode, mode}
		f.left.modes = above.modes
		f.takeWhole(mb, s, mbx, mby)
	}
	f.chooseChroma(mb, s, mbx, mby)

	mb.skip = !mb.coded()
	mb.visit(&above.nonzero, &f.left.nonzero, f.counts.add)
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

// guessWhole chooses the mode that predicts all of luma. It returns a guess of its cost too.
func (f *frame) guessWhole(s *segment, mbx, mby int) (mode uint8, guess int32) {
	a := &f.area
	var rows, columns [4]uint64
	var mean int32
	for i := range 4 {
		above := spread(leUint32(a[vp8.AtY-vp8.Stride+4*i:]))
		at := vp8.AtY + 4*i*vp8.Stride - 1
		left := uint64(a[at]) | uint64(a[at+vp8.Stride])<<16 | uint64(a[at+2*vp8.Stride])<<32 | uint64(a[at+3*vp8.Stride])<<48
		rows[i], columns[i] = fourfold(above), fourfold(left)
		if mby > 0 {
			mean += sum(above)
		}
		if mbx > 0 {
			mean += sum(left)
		}
	}
	switch {
	case mbx > 0 && mby > 0:
		mean = (mean + 16) >> 5
	case mbx > 0 || mby > 0:
		mean = (mean + 8) >> 4
	default:
		mean = 128
	}
	corner := int32(a[vp8.AtY-vp8.Stride-1])
	var guesses [4]int32
	var dc [4][16]int32
	for i := range f.patterns {
		p := &f.patterns[i]
		row, column := rows[i%4], columns[i/4]
		d := first(p.row)
		dc[vp8.DC][i] = d - 16*mean
		dc[vp8.VE][i] = d - first(row)
		dc[vp8.HE][i] = d - first(column)
		dc[vp8.TM][i] = d - first(row) - first(column) + 16*corner
		r := sum(magnitudes(p.row+offset-row) &^ 0xffff)
		c := sum(magnitudes(p.column+offset-column) &^ 0xffff)
		guesses[vp8.DC] += p.inner + p.acRow + p.acCol
		guesses[vp8.VE] += p.inner + r + p.acCol
		guesses[vp8.HE] += p.inner + p.acRow + c
		guesses[vp8.TM] += p.inner + r + c
	}
	for m := range guesses {
		g := (guesses[m]+hadamard16(&dc[m]))*4 + wholeCosts[m]*s.y.step[1]*modeWeight/1024
		if m == 0 || g < guess {
			mode, guess = uint8(m), g
		}
	}
	return mode, guess
}

// hadamard16 returns the sum of the absolute values of the transform of 4x4 numbers, divided by its norm.
func hadamard16(v *[16]int32) (sum int32) {
	for y := range 4 {
		r := v[4*y:][:4]
		a, b, c, d := r[0]+r[2], r[1]+r[3], r[0]-r[2], r[1]-r[3]
		r[0], r[1], r[2], r[3] = a+b, a-b, c+d, c-d
	}
	abs := func(v int32) int32 { return max(v, -v) }
	for x := range 4 {
		a, b, c, d := v[x]+v[8+x], v[4+x]+v[12+x], v[x]-v[8+x], v[4+x]-v[12+x]
		sum += abs(a+b) + abs(a-b) + abs(c+d) + abs(c-d)
	}
	return sum / 4
}

// atLuma returns where in an area a luma block is.
func atLuma(i int) int { return vp8.AtY + i/4*4*vp8.Stride + i%4*4 }

// takeWhole quantises and reconstructs luma that is predicted as a whole.
func (f *frame) takeWhole(mb *macroblock, s *segment, mbx, mby int) {
	f.area.PredictWhole(vp8.AtY, 16, mb.modes[0], mbx, mby)
	above, left := f.above[mbx].nonzero, f.left.nonzero
	for i := range 16 {
		c := &f.coefs[i]
		c.forward(&f.src, &f.area, atLuma(i))
		a, l := &above[i%4], &left[i/4]
		b := &mb.blocks[i]
		s.y.quantise(b, c, &f.costs[vp8.PlaneYAfterY2], int(*a+*l), 1)
		*a = 0
		if b.count > 1 {
			*a = 1
		}
		*l = *a
		s.y.dequantise(b, 1, &f.values[i])
	}
	var y2 coefficients
	y2.forwardWHT(&f.coefs)
	s.y2.quantise(&mb.blocks[24], &y2, &f.costs[vp8.PlaneY2], int(above[8]+left[8]), 0)
	s.y2.dequantise(&mb.blocks[24], 0, &f.values[24])
	vp8.InverseWHT(&f.values[24], &f.values)
	for i := range 16 {
		if mb.blocks[i].count > 1 {
			f.area.AddDCT(atLuma(i), &f.values[i])
		} else if f.values[i][0] != 0 {
			f.area.AddDC(atLuma(i), f.values[i][0])
		}
	}
}

var topModes = 1
var modeWeight = int32(10)
var splitBonus = 1.03
var family = 0.0
var innerMin = 0.0

// chooseSplit chooses modes for each luma block, unless that is no better than the given guess. It reports whether it is.
func (f *frame) chooseSplit(mb *macroblock, s *segment, mbx int, limit int32) bool {
	above := &f.above[mbx]
	modesAbove, modesLeft := above.modes, f.left.modes
	nzAbove, nzLeft := above.nonzero, f.left.nonzero
	limit = int32(splitBonus * float64(limit))
	total := splitCost * s.y.step[1] * modeWeight / 64
	for i := range 16 {
		x, y := i%4, i/4
		at := atLuma(i)
		costs := &modeCosts[modesAbove[x]][modesLeft[y]]
		p := &f.patterns[i]
		var e edges
		var guesses [vp8.NumModes]int32
		e.set(&f.area, at)
		p.guessStraight(&e, &guesses)
		best, mode := int32(math.MaxInt32), uint8(0)
		for m := range uint8(vp8.NumModes) {
			if m >= vp8.RD {
				r := e.rows(m)
				guesses[m] = p.guess(&r)
			}
			if g := guesses[m]*4 + int32(costs[m])*s.y.step[1]*modeWeight/1024; g < best {
				best, mode = g, m
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
		s.y.quantise(b, &c, &f.costs[vp8.PlaneY], int(nzAbove[x]+nzLeft[y]), 0)
		nzAbove[x] = 0
		if b.count > 0 {
			nzAbove[x] = 1
			v := &f.values[0]
			s.y.dequantise(b, 0, v)
			f.area.AddDCT(at, v)
		}
		nzLeft[y] = nzAbove[x]
	}
	above.modes, f.left.modes = modesAbove, modesLeft
	return true
}

// chooseChroma chooses the mode of chroma, and its coefficients.
func (f *frame) chooseChroma(mb *macroblock, s *segment, mbx, mby int) {
	var best int64
	predict := func(m uint8) {
		f.area.PredictWhole(vp8.AtU, 8, m, mbx, mby)
		f.area.PredictWhole(vp8.AtV, 8, m, mbx, mby)
	}
	for m := uint8(vp8.DC); m <= vp8.HE; m++ {
		predict(m)
		d := int64(absoluteDifference(&f.src, &f.area, vp8.AtU, 8)) + int64(absoluteDifference(&f.src, &f.area, vp8.AtV, 8))
		d = d*256 + int64(chromaCosts[m]*s.uv.step[1])
		if m == 0 || d < best {
			best, mb.chroma = d, m
		}
	}
	predict(mb.chroma)
	nzAbove, nzLeft := f.above[mbx].nonzero, f.left.nonzero
	for i := range 8 {
		at := vp8.AtU + i/4*(vp8.AtV-vp8.AtU) + i%4/2*4*vp8.Stride + i%2*4
		a, l := &nzAbove[4+i/4*2+i%2], &nzLeft[4+i/2]
		var c coefficients
		c.forward(&f.src, &f.area, at)
		b := &mb.blocks[16+i]
		s.uv.quantise(b, &c, &f.costs[vp8.PlaneC], int(*a+*l), 0)
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

func leUint32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

package webpenc

import (
	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A trial holds what may become a macroblock.
type trial struct {
	coefs  [16]coefficients
	whole  [17]block // luma blocks and their first coefficients, predicted as a whole
	values [25][16]int16
}

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

	s := &f.segments[mb.segment]
	mode, score := f.chooseWhole(s, mbx, mby)
	mb.split = f.chooseSplit(mb, s, mbx, score)
	if !mb.split {
		mb.modes[0] = mode
		above.modes = [4]uint8{mode, mode, mode, mode}
		f.left.modes = above.modes
		f.takeWhole(mb, s, mbx, mby)
	}
	f.chooseChroma(mb, s, mbx, mby)

	mb.skip = true
	for i := range mb.blocks[:24] {
		first := 0
		if i < 16 && !mb.split {
			first = 1
		}
		if int(mb.blocks[i].count) > first {
			mb.skip = false
		}
	}
	if !mb.split && mb.blocks[24].count > 0 {
		mb.skip = false
	}
	mb.visit(&above.nonzero, &f.left.nonzero, f.counts.add)
	f.area.Save(&above.Samples)
}

// chooseWhole chooses the mode that predicts all of luma. It returns its score too.
func (f *frame) chooseWhole(s *segment, mbx, mby int) (mode uint8, score int64) {
	var best int64
	for m := uint8(vp8.DC); m <= vp8.HE; m++ {
		f.area.PredictWhole(vp8.AtY, 16, m, mbx, mby)
		d := int64(absoluteDifference(&f.src, &f.area, vp8.AtY, 16))*256 + int64(wholeCosts[m]*s.y.step[1])
		if m == 0 || d < best {
			best, mode = d, m
		}
	}
	f.area.PredictWhole(vp8.AtY, 16, mode, mbx, mby)
	t := &f.trial
	for i := range t.coefs {
		t.coefs[i].forward(&f.src, &f.area, atLuma(i))
	}
	var y2 coefficients
	y2.forwardWHT(&t.coefs)
	above := &f.above[mbx]
	score = s.y.lambda*int64(wholeCosts[mode]) + s.y2.choose(&t.whole[16], &y2, &f.costs[vp8.PlaneY2], int(above.nonzero[8]+f.left.nonzero[8]), 0)
	nzAbove, nzLeft := above.nonzero, f.left.nonzero
	for i := range t.coefs {
		a, l := &nzAbove[i%4], &nzLeft[i/4]
		b := &t.whole[i]
		score += s.y.choose(b, &t.coefs[i], &f.costs[vp8.PlaneYAfterY2], int(*a+*l), 1)
		*a = 0
		if b.count > 1 {
			*a = 1
		}
		*l = *a
	}
	return mode, score
}

// atLuma returns where in an area a luma block is.
func atLuma(i int) int { return vp8.AtY + i/4*4*vp8.Stride + i%4*4 }

// takeWhole reconstructs what chooseWhole has chosen.
func (f *frame) takeWhole(mb *macroblock, s *segment, mbx, mby int) {
	t := &f.trial
	copy(mb.blocks[:16], t.whole[:])
	mb.blocks[24] = t.whole[16]
	f.area.PredictWhole(vp8.AtY, 16, mb.modes[0], mbx, mby)
	for i := range 16 {
		s.y.dequantise(&mb.blocks[i], 1, &t.values[i])
	}
	s.y2.dequantise(&mb.blocks[24], 0, &t.values[24])
	vp8.InverseWHT(&t.values[24], &t.values)
	for i := range 16 {
		if mb.blocks[i].count > 1 {
			f.area.AddDCT(atLuma(i), &t.values[i])
		} else {
			f.area.AddDC(atLuma(i), t.values[i][0])
		}
	}
}

var topModes = 3
var modeWeight = int32(2)

// chooseSplit chooses modes for each luma block, unless that is no better than the given score. It reports whether it is.
func (f *frame) chooseSplit(mb *macroblock, s *segment, mbx int, limit int64) bool {
	above := &f.above[mbx]
	modesAbove, modesLeft := above.modes, f.left.modes
	nzAbove, nzLeft := above.nonzero, f.left.nonzero
	score := s.y.lambda * int64(splitCost)
	for i := range 16 {
		x, y := i%4, i/4
		at := atLuma(i)
		costs := &modeCosts[modesAbove[x]][modesLeft[y]]
		ctx := int(nzAbove[x] + nzLeft[y])

		// The modes with the best guesses are tried.
		var guesses [vp8.NumModes]int32
		for m := range guesses {
			f.area.Predict4(at, uint8(m))
			guesses[m] = difference(&f.src, &f.area, at)*256 + int32(costs[m])*s.y.step[1]*modeWeight
		}
		best := int64(-1)
		for range topModes {
			m := 0
			for i, g := range guesses {
				if g < guesses[m] {
					m = i
				}
			}
			guesses[m] = 1<<31 - 1
			var c coefficients
			var b block
			f.area.Predict4(at, uint8(m))
			c.forward(&f.src, &f.area, at)
			n := s.y.choose(&b, &c, &f.costs[vp8.PlaneY], ctx, 0) + s.y.lambda*int64(costs[m])
			if best < 0 || n < best {
				best = n
				mb.blocks[i] = b
				mb.modes[i] = uint8(m)
			}
		}
		if score += best; score >= limit {
			return false
		}
		mode := mb.modes[i]
		modesAbove[x], modesLeft[y] = mode, mode
		f.area.Predict4(at, mode)
		nzAbove[x] = 0
		if b := &mb.blocks[i]; b.count > 0 {
			nzAbove[x] = 1
			v := &f.trial.values[0]
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
		s.uv.choose(b, &c, &f.costs[vp8.PlaneC], int(*a+*l), 0)
		*a = 0
		if b.count > 0 {
			*a = 1
			v := &f.trial.values[0]
			s.uv.dequantise(b, 0, v)
			f.area.AddDCT(at, v)
		}
		*l = *a
	}
}

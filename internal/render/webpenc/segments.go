package webpenc

import (
	"math"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A segment has the quantisers of a group of macroblocks.
type segment struct {
	index     int // of the steps
	y, y2, uv quantiser
}

// Settings that were found by measuring.
var (
	roundDC         = int32(29491)
	roundAC         = int32(29491)
	lambdaFactor    = 0.09
	segmentStrength = 0.5
	numSegs         = 4
)

func newSegment(index int) segment {
	index = max(0, min(index, 127))
	dc, ac := int32(vp8.DCSteps[index]), int32(vp8.ACSteps[index])
	uvDC := int32(vp8.DCSteps[min(index, 117)]) // at most 132
	lambda := int32(math.Round(lambdaFactor * float64(ac*ac)))
	s := segment{index: index}
	s.y = newQuantiser(dc, ac, lambda)
	s.y2 = newQuantiser(2*dc, max(8, ac*155/100), 4*lambda) // its coefficients are twice as large again
	s.uv = newQuantiser(uvDC, ac, lambda)
	return s
}

// setSegments groups the macroblocks.
func (f *frame) setSegments(quality int) {
	base := baseIndex(quality)
	f.numSegments = 1
	for i := range f.mbs {
		f.mbs[i].segment = 0
	}
	f.segments[0] = newSegment(base)
	if numSegs > 1 && len(f.mbs) >= 16 {
		f.split(base)
	}
}

// contrast returns the logarithm to base 2 of the step that suits a macroblock. It looks at every second row.
func (f *frame) contrast(mbx, mby int) float64 {
	p := &f.planes[0]
	var weight float64
	for i := range 4 {
		x, y := 16*mbx+i%2*8, 16*mby+i/2*8
		var n, sum, squares int
		for j := 0; j < 8 && y+j < p.height && x < p.width; j += 2 {
			row := p.pix[(y+j)*p.stride+x:][:min(8, p.width-x)]
			for _, v := range row {
				sum += int(v)
				squares += int(v) * int(v)
			}
			n += len(row)
		}
		if n == 0 {
			continue
		}
		variance := float64(n*squares-sum*sum) / float64(n*n)
		weight += 1 / (2*variance + 58)
	}
	return -0.5 * math.Log2(weight/4)
}

const contrastSteps = 16

func (f *frame) split(base int) {
	// A histogram
	const least, size = 2.0, 6.0
	var hist [64]int
	bins := make([]uint8, len(f.mbs))
	for i := range f.mbs {
		c := f.contrast(i%f.mbw, i/f.mbw)
		b := int(max(0, min((c-least)/size*64, 63)))
		bins[i] = uint8(b)
		hist[b]++
	}
	// k-means
	lo, hi := 0, 63
	for hist[lo] == 0 {
		lo++
	}
	for hist[hi] == 0 {
		hi--
	}
	k := numSegs
	var centers [4]float64
	for i := range k {
		centers[i] = float64(lo) + float64(hi-lo)*(float64(i)+0.5)/float64(k)
	}
	var assign [64]uint8
	for range 8 {
		var sum, n [4]float64
		for b := lo; b <= hi; b++ {
			best := 0
			for i := range k {
				if math.Abs(float64(b)-centers[i]) < math.Abs(float64(b)-centers[best]) {
					best = i
				}
			}
			assign[b] = uint8(best)
			sum[best] += float64(b * hist[b])
			n[best] += float64(hist[b])
		}
		for i := range k {
			if n[i] > 0 {
				centers[i] = sum[i] / n[i]
			}
		}
	}
	f.numSegments = k
	for i := range k {
		c := centers[i]/64*size + least
		ac := float64(vp8.ACSteps[base]) * math.Exp2(segmentStrength*(c-refContrast))
		f.segments[i] = newSegment(indexOf(ac))
	}
	for i := range f.mbs {
		f.mbs[i].segment = assign[bins[i]]
	}
	var n [4]int
	for i := range f.mbs {
		n[f.mbs[i].segment]++
	}
	prob := func(a, b int) uint8 {
		if a+b == 0 {
			return 255
		}
		return uint8(max(1, min(255, (a*256+(a+b)/2)/(a+b))))
	}
	f.segmentProbs = [3]uint8{prob(n[0]+n[1], n[2]+n[3]), prob(n[0], n[1]), prob(n[2], n[3])}
}

var refContrast = 4.0

func indexOf(ac float64) int {
	for i, s := range vp8.ACSteps {
		if float64(s) >= ac {
			return i
		}
	}
	return 127
}

var filterFactor = 0.5

// filterLevel
func (f *frame) filterLevel() int { return min(63, int(filterFactor*float64(f.segments[0].y.step[1]))) }

var forceIndex = -1

func baseIndex(quality int) int {
	if forceIndex >= 0 {
		return forceIndex
	}
	return 100 - quality
}

// writeSegments writes the settings of the segments: section 9.3.
func (f *frame) writeSegments(w *boolWriter) {
	w.bit(f.numSegments > 1, 128)
	if f.numSegments == 1 {
		return
	}
	w.bit(true, 128) // the segment of each macroblock is written
	w.bit(true, 128) // the settings too
	w.bit(true, 128) // absolute
	for i := range f.segments {
		w.optional(f.segments[i].index, 7)
	}
	for i := range f.segments {
		w.optional(min(63, int(filterFactor*float64(f.segments[i].y.step[1]))), 6)
	}
	for _, p := range f.segmentProbs {
		w.bit(true, 128)
		w.uint(uint(p), 8)
	}
}

func (f *frame) writeSegment(w *boolWriter, segment uint8) {
	if f.numSegments == 1 {
		return
	}
	w.bit(segment >= 2, f.segmentProbs[0])
	w.bit(segment&1 != 0, f.segmentProbs[1+segment>>1])
}

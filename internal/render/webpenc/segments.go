package webpenc

import (
	"math"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A segment is a group of macroblocks with the same quantisers.
type segment struct {
	index     int // of the steps: 0 to 127
	y, y2, uv quantiser
}

func newSegment(index int) segment {
	dc, ac := int32(vp8.DCSteps[index]), int32(vp8.ACSteps[index])
	return segment{
		index: index,
		y:     newQuantiser(dc, ac),
		y2:    newQuantiser(2*dc, max(8, ac*155/100)),
		uv:    newQuantiser(min(dc, 132), ac),
	}
}

// filterLevel returns the strength of the loop filter. Half the step was best by SSIM, and by PSNR too.
func (s *segment) filterLevel() int { return min(int(s.y.step[1]/2), 63) }

// indexes holds which steps give the SSIM of a JPEG of some qualities. It was measured with 11 pictures of 128 and 256 pixels.
var indexes = [...]struct{ quality, index float64 }{
	{1, 127}, {5, 112}, {10, 84}, {20, 63}, {30, 53}, {40, 44}, {50, 39.5}, {60, 32.5}, {70, 26.5}, {80, 19.5}, {85, 15}, {90, 10}, {95, 3}, {97, 0}, {100, 0},
}

// stepFor returns the step of luma for a quality, in a macroblock of medium contrast.
func stepFor(quality int) float64 {
	q := float64(max(1, min(quality, 100)))
	i := 1
	for indexes[i].quality < q {
		i++
	}
	a, b := indexes[i-1], indexes[i]
	index := a.index + (b.index-a.index)*(q-a.quality)/(b.quality-a.quality)
	low := int(index)
	part := index - float64(low)
	return float64(vp8.ACSteps[low])*(1-part) + float64(vp8.ACSteps[min(low+1, 127)])*part
}

// indexOf returns the index of the step that is nearest.
func indexOf(step float64) int {
	for i, s := range vp8.ACSteps[:127] {
		if step < float64(s+vp8.ACSteps[i+1])/2 {
			return i
		}
	}
	return 127
}

// Errors are less visible where there is more contrast, and SSIM divides them by it too. So the step grows with the contrast: with its
// square root, which lies between what is best by SSIM and what is best by PSNR.
const (
	contrastPower  = 0.5
	mediumContrast = 4.0 // logarithm to base 2
)

// Contrasts are counted in steps of 1/contrastSteps, from leastContrast on.
const (
	leastContrast = 2.0
	contrastSteps = 10
	numContrasts  = 64
)

// setSegments groups the macroblocks by their contrast, as quality demands.
func (f *frame) setSegments(quality int) {
	var counts [numContrasts]int
	for i := range f.mbs {
		c := (f.contrast(i%f.mbw, i/f.mbw) - leastContrast) * contrastSteps
		c = max(0, min(c, numContrasts-1))
		f.mbs[i].segment = uint8(c) // for now
		counts[int(c)]++
	}
	means, groups := cluster(&counts)
	if few := 16; len(f.mbs) < few { // the settings would cost more than they save
		means, groups = [4]float64{mean(&counts)}, [numContrasts]uint8{}
		means[1], means[2], means[3] = means[0], means[0], means[0]
	}
	step := stepFor(quality)
	for i, mean := range means {
		contrast := leastContrast + (mean+0.5)/contrastSteps
		f.segments[i] = newSegment(indexOf(step * math.Exp2(contrastPower*(contrast-mediumContrast))))
	}
	var sizes [len(means)]int
	for i := range f.mbs {
		s := groups[f.mbs[i].segment]
		f.mbs[i].segment = s
		sizes[s]++
	}
	f.segmentProbs = [3]uint8{
		probability(sizes[0]+sizes[1], sizes[2]+sizes[3]), probability(sizes[0], sizes[1]), probability(sizes[2], sizes[3]),
	}
}

// contrast returns the logarithm of the standard deviation of luma in a macroblock. Parts with little of it count most: it is a mean
// of the inverse variances. It looks at every second row.
func (f *frame) contrast(mbx, mby int) float64 {
	const enough = 58 // the constant that SSIM adds to variances, 0.03² * 255²
	p := &f.planes[0]
	var sum, parts float64
	for i := range 4 {
		x, y := 16*mbx+i%2*8, 16*mby+i/2*8
		if x >= p.width || y >= p.height {
			continue
		}
		var n, total, squares int
		for ; y < min(16*mby+i/2*8+8, p.height); y += 2 {
			for _, v := range p.pix[y*p.stride:][x:min(x+8, p.width)] {
				total += int(v)
				squares += int(v) * int(v)
				n++
			}
		}
		variance := float64(n*squares-total*total) / float64(n*n)
		sum += 1 / (2*variance + enough)
		parts++
	}
	return -0.5 * math.Log2(sum/parts)
}

// cluster divides a histogram into groups with little variance, and returns their means, which rise.
func cluster(counts *[numContrasts]int) (means [4]float64, groups [numContrasts]uint8) {
	low, high := 0, numContrasts-1
	for counts[low] == 0 {
		low++
	}
	for counts[high] == 0 {
		high--
	}
	for i := range means {
		means[i] = float64(low) + float64(high-low)*(float64(i)+0.5)/float64(len(means))
	}
	for range 8 { // there is little change afterwards
		var sums, sizes [len(means)]int
		group := 0
		for c := low; c <= high; c++ {
			for group+1 < len(means) && float64(2*c) > means[group]+means[group+1] {
				group++
			}
			groups[c] = uint8(group)
			sums[group] += c * counts[c]
			sizes[group] += counts[c]
		}
		for i, n := range sizes {
			if n > 0 {
				means[i] = float64(sums[i]) / float64(n)
			}
		}
	}
	return means, groups
}

// mean returns the mean of a histogram.
func mean(counts *[numContrasts]int) float64 {
	var sum, n int
	for c, count := range counts {
		sum += c * count
		n += count
	}
	return float64(sum) / float64(n)
}

// probability returns the probability of a decision that was 0 and 1 so often, in 1/256.
func probability(zeros, ones int) uint8 {
	if zeros+ones == 0 {
		return 255
	}
	return uint8(max(1, min((256*zeros+(zeros+ones)/2)/(zeros+ones), 255)))
}

// segmented reports whether the segments differ. Their steps rise.
func (f *frame) segmented() bool { return f.segments[0].index != f.segments[3].index }

// writeSegments writes the settings of the segments: RFC 6386, section 9.3.
func (f *frame) writeSegments(w *boolWriter) {
	if w.bit(f.segmented(), 128); !f.segmented() {
		return
	}
	w.bit(true, 128) // the segment of each macroblock is written
	w.bit(true, 128) // the settings are written
	w.bit(true, 128) // they are not differences
	for i := range f.segments {
		w.optional(f.segments[i].index, 7)
	}
	for i := range f.segments {
		w.optional(f.segments[i].filterLevel(), 6)
	}
	for _, p := range f.segmentProbs {
		w.bit(true, 128)
		w.uint(uint(p), 8)
	}
}

// writeSegment writes the segment of a macroblock.
func (f *frame) writeSegment(w *boolWriter, segment uint8) {
	if !f.segmented() {
		return
	}
	w.bit(segment >= 2, f.segmentProbs[0])
	w.bit(segment%2 != 0, f.segmentProbs[1+segment/2])
}

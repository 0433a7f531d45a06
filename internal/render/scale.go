package render

import (
	"math"
	"sync"

	"github.com/thumbcache/thumbcache/internal/reduce"
)

// A plane holds rows of 8-bit samples, with chans interleaved samples per pixel.
type plane struct {
	pix           []byte
	stride        int
	width, height int // in pixels
	chans         int
	left, top     int     // picture pixel at which the plane begins
	pitchX        float64 // picture pixels per pixel of the plane, horizontally
	pitchY        float64 // and vertically
}

// Weights are 14-bit fractions. The vertical pass keeps 4 bits more than a sample has, so that only the horizontal pass
// rounds noticeably.
const (
	weightBits = 14
	extraBits  = 4
)

// An axis holds the filter weights of a span on one plane: result i is the sum of weights[i*taps+k] * sample[first[i]+k].
type axis struct {
	first   []int32
	weights []int16 // of all results in one slice, in the order of the inner loop
	taps    int
	both    []int64   // weights of two results, see pairWeights
	scratch []float64 // weights of one result
}

// set computes the weights of a span over size samples.
func (a *axis) set(s span, size int) {
	step := math.Abs(s.step)
	kernel, radius := lanczos3, 3*step
	switch {
	case step == 1 && s.start == math.Trunc(s.start):
		kernel, radius = box, 0.5 // plain copy
	case step < 1:
		// Only chroma is magnified. A triangle filter does not ring.
		kernel, radius, step = triangle, 1, 1
	}
	a.taps = min(int(math.Ceil(2*radius))+1, size)
	if radius == 0.5 {
		a.taps = 1
	}
	a.first = grow(a.first, s.n)
	a.weights = grow(a.weights, s.n*a.taps)
	a.scratch = grow(a.scratch, a.taps)
	for i := range s.n {
		middle := s.start + (float64(i)+0.5)*s.step
		first := int(math.Ceil(middle - radius - 0.5))
		first = max(0, min(first, size-a.taps))
		a.first[i] = int32(first)
		var sum float64
		for k := range a.scratch {
			a.scratch[k] = kernel((float64(first+k) + 0.5 - middle) / step)
			sum += a.scratch[k]
		}
		weights := a.weights[i*a.taps:][:a.taps]
		if sum < step/4 {
			// Most of the filter is beyond the last sample: use that sample alone.
			clear(weights)
			weights[max(0, min(int(middle)-first, a.taps-1))] = 1 << weightBits
			continue
		}
		quantise(weights, a.scratch, sum)
	}
}

// quantise converts weights to fractions that add up to exactly one.
func quantise(to []int16, weights []float64, sum float64) {
	rest, largest := 1<<weightBits, 0
	for k, w := range weights {
		to[k] = int16(math.Round(w / sum * (1 << weightBits)))
		rest -= int(to[k])
		if to[k] > to[largest] {
			largest = k
		}
	}
	to[largest] += int16(rest)
}

func box(x float64) float64 { return 1 }

func triangle(x float64) float64 { return max(0, 1-math.Abs(x)) }

// lanczos3 interpolates lanczos3Exact from a table. Computing sines would take a tenth of the time of a thumbnail.
func lanczos3(x float64) float64 {
	x = math.Abs(x) * lanczosSteps
	i := int(x)
	if i >= 3*lanczosSteps {
		return 0
	}
	t := lanczosTable()
	return t[i] + (t[i+1]-t[i])*(x-float64(i))
}

// lanczosSteps is the number of table entries per unit. Linear interpolation between them is off by less than a hundredth
// of the smallest weight.
const lanczosSteps = 1024

var lanczosTable = sync.OnceValue(func() *[3*lanczosSteps + 1]float64 {
	var t [3*lanczosSteps + 1]float64
	for i := range t {
		t[i] = lanczos3Exact(float64(i) / lanczosSteps)
	}
	return &t
})

func lanczos3Exact(x float64) float64 {
	switch x = math.Abs(x); {
	case x < 1e-9:
		return 1
	case x >= 3:
		return 0
	}
	x *= math.Pi
	return 3 * math.Sin(x) * math.Sin(x/3) / (x * x)
}

// scale resamples src into dst, which has the size of the spans. The spans are in pixels of the picture. It may reduce src in
// place, as far as smaller sizes do not need more.
func (ws *workspace) scale(dst plane, from *plane, x, y span) {
	x, y = x.on(from.left, from.pitchX), y.on(from.top, from.pitchY)
	x, y = ws.averageSquares(from, x, y)
	src := *from
	ws.x.set(x, src.width)
	ws.y.set(y, src.height)
	ws.rows = grow(ws.rows, src.width*src.chans)
	for top := 0; top < dst.height; top += 2 {
		// An odd last row is computed twice.
		bottom := min(top+1, dst.height-1)
		ws.vertical(src, top, bottom)
		rowA, rowB := dst.pix[top*dst.stride:], dst.pix[bottom*dst.stride:]
		if src.chans == 1 {
			ws.horizontal1(rowA, rowB, dst.width)
		} else {
			ws.horizontal4(rowA, rowB, dst.width)
		}
	}
}

// vertical computes two rows of the result from the rows of src. Neighbouring rows of the result share nearly all rows
// of src.
//
// The two rows also share their multiplications: the sum of sample * (a + b<<32) over the taps is exactly A + B<<32,
// whatever the signs, if A and B fit 32 bits. Sums of 8-bit samples with 14-bit weights do.
func (ws *workspace) vertical(src plane, top, bottom int) {
	first, weights := ws.y.pairWeights(top, bottom)
	pix := src.pix[first*src.stride:]
	n := len(ws.rows)
	stride := src.stride
	if n < 4 {
		for x := range ws.rows {
			var sum int64
			for k, w := range weights {
				sum += int64(pix[k*stride+x]) * w
			}
			ws.rows[x] = roundSums(sum)
		}
		return
	}
	for x := 0; ; x += 4 {
		x = min(x, n-4) // the last four may overlap those before
		s0, s1, s2, s3 := columns(pix[x:], stride, weights)
		r := ws.rows[x:][:4]
		r[0], r[1], r[2], r[3] = roundSums(s0), roundSums(s1), roundSums(s2), roundSums(s3)
		if x == n-4 {
			return
		}
	}
}

// columns computes the weighted sums of four columns. Inlined, its sums would not stay in registers, and it would be a
// third slower.
//
//go:noinline
func columns(pix []byte, stride int, weights []int64) (s0, s1, s2, s3 int64) {
	at := 0
	for _, w := range weights {
		p := pix[at : at+4 : at+4]
		s0 += int64(p[0]) * w
		s1 += int64(p[1]) * w
		s2 += int64(p[2]) * w
		s3 += int64(p[3]) * w
		at += stride
	}
	return s0, s1, s2, s3
}

// pairWeights returns the weights of results i and j combined, with those of j in the high half, and the first sample of
// both.
func (a *axis) pairWeights(i, j int) (first int, weights []int64) {
	first = int(min(a.first[i], a.first[j]))
	a.both = grow(a.both, int(max(a.first[i], a.first[j]))-first+a.taps)
	clear(a.both)
	for k, w := range a.weights[i*a.taps:][:a.taps] {
		a.both[int(a.first[i])-first+k] = int64(w)
	}
	for k, w := range a.weights[j*a.taps:][:a.taps] {
		a.both[int(a.first[j])-first+k] += int64(w) << 32
	}
	return first, a.both
}

// splitSums splits a pair of sums into its low and high half.
func splitSums(sum int64) (low, high int32) {
	low = int32(sum)
	return low, int32((sum - int64(low)) >> 32)
}

// roundSums rounds both sums of a pair to the precision between the passes.
func roundSums(sum int64) int64 {
	const shift = weightBits - extraBits
	low, high := splitSums(sum)
	return int64((low+1<<(shift-1))>>shift) + int64((high+1<<(shift-1))>>shift)<<32
}

// horizontal1 filters the pair of rows in ws.rows into two rows of n pixels with one channel.
func (ws *workspace) horizontal1(rowA, rowB []byte, n int) {
	taps := ws.x.taps
	rowA, rowB = rowA[:n], rowB[:n]
	for i := range rowA {
		weights := ws.x.weights[i*taps:][:taps]
		rows := ws.rows[ws.x.first[i]:][:len(weights)]
		var sum int64
		for k, w := range weights {
			sum += rows[k] * int64(w)
		}
		rowA[i], rowB[i] = roundSamples(sum)
	}
}

// horizontal4 is horizontal1 for four channels.
func (ws *workspace) horizontal4(rowA, rowB []byte, n int) {
	taps := ws.x.taps
	for i := range n {
		weights := ws.x.weights[i*taps:][:taps]
		rows := ws.rows[4*ws.x.first[i]:][:4*taps]
		var s0, s1, s2, s3 int64
		for _, w := range weights {
			w := int64(w)
			s0 += rows[0] * w
			s1 += rows[1] * w
			s2 += rows[2] * w
			s3 += rows[3] * w
			rows = rows[4:]
		}
		a, b := rowA[4*i:][:4], rowB[4*i:][:4]
		a[0], b[0] = roundSamples(s0)
		a[1], b[1] = roundSamples(s1)
		a[2], b[2] = roundSamples(s2)
		a[3], b[3] = roundSamples(s3)
	}
}

// averageSquares replaces squares of samples by their mean, in place, if there are many samples for each result. The filter
// would spend much more time for nearly the same result.
func (ws *workspace) averageSquares(p *plane, x, y span) (span, span) {
	n := 1
	if step := min(math.Abs(x.step), math.Abs(y.step)); step >= 6 { // see meanReduction; below, the filter is fast enough
		n = meanReduction(step)
	}
	if n = min(n, 16); n == 1 {
		return x, y
	}
	small := *p
	small.width, small.height = (p.width+n-1)/n, (p.height+n-1)/n
	ws.sums = grow(ws.sums, small.width*p.chans)
	clear(ws.sums)
	last := len(ws.sums) - p.chans
	for row := range small.height {
		high := min(n, p.height-row*n)
		for y := range high {
			reduce.Add(ws.sums, p.pix[(row*n+y)*p.stride:][:p.width*p.chans], p.chans, n)
		}
		to := p.pix[row*p.stride:]
		reduce.Divide(to[:last], ws.sums[:last], n*high)
		reduce.Divide(to[last:len(ws.sums)], ws.sums[last:], (p.width-(small.width-1)*n)*high)
	}
	small.pitchX *= float64(n)
	small.pitchY *= float64(n)
	*p = small
	return x.on(0, float64(n)), y.on(0, float64(n))
}

// roundSamples rounds a pair of sums to two samples.
func roundSamples(sum int64) (a, b byte) {
	const shift = weightBits + extraBits
	low, high := splitSums(sum)
	return clamp((low + 1<<(shift-1)) >> shift), clamp((high + 1<<(shift-1)) >> shift)
}

func clamp(v int32) byte {
	if uint32(v) > 255 {
		return byte(^(v >> 31)) // 0 below, 255 above
	}
	return byte(v)
}

// transpose writes src to dst with rows and columns exchanged.
func transpose(dst, src plane) {
	n := src.chans
	for y := range src.height {
		row := src.pix[y*src.stride:][:src.width*n]
		for x := 0; x < src.width; x++ {
			copy(dst.pix[x*dst.stride+y*n:][:n], row[x*n:])
		}
	}
}

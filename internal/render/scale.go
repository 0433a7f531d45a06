package render

import (
	"encoding/binary"
	"math"
)

// A plane is samples in rows, chans of them interleaved for each pixel.
type plane struct {
	pix           []byte
	stride        int
	width, height int // in pixels
	chans         int
	left, top     int     // pixel of the picture at which the plane begins
	pitchX        float64 // pixels of the picture for every one of the plane
	pitchY        float64
}

// Weights are 14-bit fractions. The vertical pass keeps 4 bits more than a sample has, so that rounding is done once.
const (
	weightBits = 14
	extraBits  = 4
)

// An axis holds the weights of a span on one plane: result i is the sum of weights[i*taps+k] * sample[first[i]+k].
type axis struct {
	first   []int32
	weights []int16 // one slice for all: the inner loop walks it
	taps    int
	scratch []float64
}

// set makes the axis of a span over size samples.
func (a *axis) set(s span, size int) {
	step := math.Abs(s.step)
	kernel, radius := lanczos3, 3*step
	switch {
	case step == 1 && s.start == math.Trunc(s.start):
		kernel, radius = box, 0.5 // a copy
	case step < 1:
		// Magnified chroma: a triangle does not ring.
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
		quantise(a.weights[i*a.taps:][:a.taps], a.scratch, sum)
	}
}

// quantise makes weights that add up to exactly one.
func quantise(to []int16, weights []float64, sum float64) {
	if math.Abs(sum) < 1e-6 {
		// The window lies beyond the last sample, which therefore stands for all.
		clear(to)
		to[len(to)-1] = 1 << weightBits
		return
	}
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

func lanczos3(x float64) float64 {
	switch x = math.Abs(x); {
	case x < 1e-9:
		return 1
	case x >= 3:
		return 0
	}
	x *= math.Pi
	return 3 * math.Sin(x) * math.Sin(x/3) / (x * x)
}

// scale resamples src into dst, whose size is that of the spans, which are in pixels of the picture.
func (ws *workspace) scale(dst, src plane, x, y span) {
	ws.x.set(x.on(src.left, src.pitchX), src.width)
	ws.y.set(y.on(src.top, src.pitchY), src.height)
	ws.rows = grow(ws.rows, src.width*src.chans)
	for top := 0; top < dst.height; top += 2 {
		// Two rows share the horizontal pass, as the halves of an int64. An odd last row is done twice.
		bottom := min(top+1, dst.height-1)
		ws.vertical(src, top, false)
		ws.vertical(src, bottom, true)
		rowA, rowB := dst.pix[top*dst.stride:], dst.pix[bottom*dst.stride:]
		if src.chans == 1 {
			ws.horizontal1(rowA, rowB, dst.width)
		} else {
			ws.horizontal4(rowA, rowB, dst.width)
		}
	}
}

// vertical weighs the rows of src into the low or the high half of ws.rows.
//
// Two samples share a multiplication: the sum of (a + b<<32)*w over the taps is A + B<<32, exactly, whatever the signs,
// so long as A and B fit 32 bits in the end; and as 8-bit samples by 14-bit weights they do.
func (ws *workspace) vertical(src plane, i int, high bool) {
	weights := ws.y.weights[i*ws.y.taps:][:ws.y.taps]
	pix := src.pix[int(ws.y.first[i])*src.stride:]
	n := len(ws.rows)
	if n < 8 {
		for x := range n {
			var sum int64
			for k, w := range weights {
				sum += int64(pix[k*src.stride+x]) * int64(w)
			}
			ws.put(x, sum, high)
		}
		return
	}
	const even = 0x000000FF_000000FF
	for x := 0; ; x += 8 {
		x = min(x, n-8) // the last eight may overlap those before
		var s0, s1, s2, s3 int64
		at := x
		for _, w := range weights {
			v := binary.LittleEndian.Uint64(pix[at : at+8])
			w := int64(w)
			s0 += int64(v&even) * w
			s1 += int64(v>>8&even) * w
			s2 += int64(v>>16&even) * w
			s3 += int64(v>>24&even) * w
			at += src.stride
		}
		if high {
			r := ws.rows[x:][:8]
			addHigh(&r[0], &r[4], s0)
			addHigh(&r[1], &r[5], s1)
			addHigh(&r[2], &r[6], s2)
			addHigh(&r[3], &r[7], s3)
		} else {
			r := ws.rows[x:][:8]
			setLow(&r[0], &r[4], s0)
			setLow(&r[1], &r[5], s1)
			setLow(&r[2], &r[6], s2)
			setLow(&r[3], &r[7], s3)
		}
		if x == n-8 {
			return
		}
	}
}

// halves splits a sum of two packed sums.
func halves(sum int64) (low, high int32) {
	low = int32(sum)
	return low, int32((sum - int64(low)) >> 32)
}

const (
	vertShift = weightBits - extraBits
	vertHalf  = 1 << (vertShift - 1)
)

func setLow(a, b *int64, sum int64) {
	low, high := halves(sum)
	*a = int64((low + vertHalf) >> vertShift)
	*b = int64((high + vertHalf) >> vertShift)
}

// addHigh sets the high half of two sums, of which the low half is set, perhaps together with an older high one.
func addHigh(a, b *int64, sum int64) {
	low, high := halves(sum)
	*a = int64(int32(*a)) + int64((low+vertHalf)>>vertShift)<<32
	*b = int64(int32(*b)) + int64((high+vertHalf)>>vertShift)<<32
}

func (ws *workspace) put(x int, sum int64, high bool) {
	v := (sum + vertHalf) >> vertShift
	if high {
		ws.rows[x] = int64(int32(ws.rows[x])) + v<<32
	} else {
		ws.rows[x] = v
	}
}

// horizontal1 weighs the pair of rows in ws.rows into two rows of n pixels of one channel.
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
		rowA[i], rowB[i] = samples(sum)
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
		a[0], b[0] = samples(s0)
		a[1], b[1] = samples(s1)
		a[2], b[2] = samples(s2)
		a[3], b[3] = samples(s3)
	}
}

// samples rounds a pair of sums to samples.
func samples(sum int64) (a, b byte) {
	const shift = weightBits + extraBits
	low, high := halves(sum)
	return clamp((low + 1<<(shift-1)) >> shift), clamp((high + 1<<(shift-1)) >> shift)
}

func clamp(v int32) byte {
	if uint32(v) > 255 {
		return byte(^(v >> 31)) // 0 below, 255 above
	}
	return byte(v)
}

// transpose exchanges rows and columns of src into dst.
func transpose(dst, src plane) {
	n := src.chans
	for y := range src.height {
		row := src.pix[y*src.stride:][:src.width*n]
		for x := 0; x < src.width; x++ {
			copy(dst.pix[x*dst.stride+y*n:][:n], row[x*n:])
		}
	}
}

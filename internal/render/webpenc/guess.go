package webpenc

import (
	"encoding/binary"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// What a mode costs is guessed before any coefficient is computed: it is the sum of the absolute values of the Hadamard
// transform of the difference between source and prediction, which takes additions only. Words hold four numbers in lanes of
// 16 bits. A lane whose number may be negative has an offset added, so that it does not borrow from the next one.
//
// The transform is linear, and the prediction from the row above is the same in each row: its transform is 0 except for the
// first row. So the source is transformed once, and the guesses for four of the modes need few operations more.

const (
	lanes  = 0x0001_0001_0001_0001
	offset = 0x2000 * lanes // of transformed numbers
)

// spread moves four samples to lanes.
func spread(v uint32) uint64 {
	x := (uint64(v) | uint64(v)<<16) & 0x0000ffff_0000ffff
	return (x | x<<8) & 0x00ff00ff_00ff00ff
}

// across transforms a row of numbers from -1020 to 1020, in signed lanes.
func across(v uint64) uint64 {
	v += 0x0800 * lanes
	low, high := v&0xffffffff, v>>32
	v = (low + high) | (low+0x1000_1000-high)<<32
	even, odd := v&0x0000ffff_0000ffff, v>>16&0x0000ffff_0000ffff
	return (even + odd) | (even+0x2000_0000_2000-odd)<<16
}

// fourfold is across, times four, of a row of samples. It is the transform of a block that has this row four times.
func fourfold(v uint64) uint64 { return 4*across(v) - 3*offset }

// magnitudes returns the absolute values of transformed numbers.
func magnitudes(v uint64) uint64 {
	negative := ^v >> 13 & lanes
	return v&(0x1fff*lanes) ^ negative*0x1fff + negative
}

// sum adds up lanes. The sum must be less than 1<<16.
func sum(v uint64) int32 { return int32(v * lanes >> 48) }

// A pattern is the transform of a block.
type pattern struct {
	source [4]uint64 // rows of samples
	row    uint64    // first row of the transform
	column uint64    // first column
	inner  int32     // sum of the absolute values outside of both
	acRow  int32     // sum of the absolute values in the first row, without the first
	acCol  int32     // the same for the column
}

func (p *pattern) set(src *vp8.Area, at int) {
	for y := range p.source {
		p.source[y] = spread(binary.LittleEndian.Uint32(src[at+y*vp8.Stride:]))
	}
	a, b := p.source[0]+p.source[2], p.source[1]+p.source[3]
	c, d := p.source[0]-p.source[2], p.source[1]-p.source[3]
	r0, r1, r2, r3 := across(a+b), across(a-b), across(c+d), across(c-d)
	p.row = r0
	p.column = r0&0xffff | r1&0xffff<<16 | r2&0xffff<<32 | r3<<48
	m := magnitudes(r1) + magnitudes(r2) + magnitudes(r3)
	p.acCol = int32(m & 0xffff)
	p.inner = sum(m &^ 0xffff)
	p.acRow = sum(magnitudes(r0) &^ 0xffff)
}

// mean16 returns the first number of a transform, 16 times the mean.
func mean16(v uint64) int32 { return int32(v&0xffff) - 0x2000 }

// guess returns the guess for a prediction in rows.
func (p *pattern) guess(r *[4]uint64) int32 {
	d0, d1, d2, d3 := p.source[0]-r[0], p.source[1]-r[1], p.source[2]-r[2], p.source[3]-r[3]
	a, b, c, d := d0+d2, d1+d3, d0-d2, d1-d3
	return sum(magnitudes(across(a+b)) + magnitudes(across(a-b)) + magnitudes(across(c+d)) + magnitudes(across(c-d)))
}

// whole holds the blocks that are predicted together, n of them in each direction.
type whole struct {
	patterns    []pattern
	n           int
	left, above bool // there are samples
}

// guess adds the guesses for each mode: RFC 6386, section 12.2.
func (w *whole) guess(a *vp8.Area, at int, guesses *[4]int32) {
	var rows, columns [4]uint64
	var total int32
	for i := range w.n {
		row := spread(binary.LittleEndian.Uint32(a[at-vp8.Stride+4*i:]))
		column := leftOf(a, at+4*i*vp8.Stride)
		rows[i], columns[i] = fourfold(row), fourfold(column)
		if w.above {
			total += sum(row)
		}
		if w.left {
			total += sum(column)
		}
	}
	mean, count := int32(128), int32(4*w.n)
	switch {
	case w.above && w.left:
		mean = (total + count) / (2 * count)
	case w.above || w.left:
		mean = (total + count/2) / count
	}
	corner := int32(a[at-vp8.Stride-1])
	var means [4][16]int32 // first numbers of the transforms
	for i := range w.patterns {
		p := &w.patterns[i]
		row, column := rows[i&(w.n-1)&3], columns[i>>(w.n/2)&3]
		dc := mean16(p.row)
		means[vp8.DC][i] = dc - 16*mean
		means[vp8.VE][i] = dc - mean16(row)
		means[vp8.HE][i] = dc - mean16(column)
		means[vp8.TM][i] = dc - mean16(row) - mean16(column) + 16*corner
		r := sum(magnitudes(p.row+offset-row) &^ 0xffff)
		c := sum(magnitudes(p.column+offset-column) &^ 0xffff)
		guesses[vp8.DC] += p.inner + p.acRow + p.acCol
		guesses[vp8.VE] += p.inner + r + p.acCol
		guesses[vp8.HE] += p.inner + p.acRow + c
		guesses[vp8.TM] += p.inner + r + c
	}
	for m := range guesses {
		if w.n == 4 {
			guesses[m] += secondTransform(&means[m])
			continue
		}
		for _, v := range means[m] {
			guesses[m] += abs(v)
		}
	}
}

// secondTransform returns the sum of the absolute values of the transform of 4x4 numbers, divided by its norm. The means of luma
// blocks that are predicted together are transformed again.
func secondTransform(v *[16]int32) (sum int32) {
	for y := range 4 {
		r := v[4*y:][:4]
		a, b, c, d := r[0]+r[2], r[1]+r[3], r[0]-r[2], r[1]-r[3]
		r[0], r[1], r[2], r[3] = a+b, a-b, c+d, c-d
	}
	for x := range 4 {
		a, b, c, d := v[x]+v[8+x], v[4+x]+v[12+x], v[x]-v[8+x], v[4+x]-v[12+x]
		sum += abs(a+b) + abs(a-b) + abs(c+d) + abs(c-d)
	}
	return sum / 4
}

func abs(v int32) int32 {
	sign := v >> 31
	return (v ^ sign) - sign
}

// smaller returns the smaller number. It has no branch, unlike min, which is slow if it cannot be predicted.
func smaller(a, b int32) int32 { return b + (a-b)&((a-b)>>31) }

// leftOf returns the four samples to the left of a block, from above.
func leftOf(a *vp8.Area, at int) uint64 {
	s := a[at-1 : at+3*vp8.Stride]
	return uint64(s[0]) | uint64(s[vp8.Stride])<<16 | uint64(s[2*vp8.Stride])<<32 | uint64(s[3*vp8.Stride])<<48
}

// edges are the samples from which a 4x4 block is predicted, and their means. They are numbered from the lowest one on the left, 0, by
// the corner, 4, to the last one above, 12.
type edges struct {
	left   uint64    // 0 to 3
	corner uint64    // 4
	above  uint64    // 5 to 8
	right  uint64    // 9 to 12
	means2 [2]uint64 // of two neighbours, the first of which is 0 to 3, 4 to 7
	means3 [3]uint64 // weighted means of three neighbours, the middle one of which is 1 to 4, 5 to 8, 9 to 12
}

func mean3(a, b, c uint64) uint64 { return (a + 2*b + c + 2*lanes) >> 2 & (0xff * lanes) }
func mean2(a, b uint64) uint64    { return (a + b + lanes) >> 1 & (0xff * lanes) }

// window returns four lanes of two words, from lane n on.
func window(low, high uint64, n uint) uint64 { return low>>(16*n) | high<<(64-16*n) }

func (e *edges) set(a *vp8.Area, at int) {
	above := binary.LittleEndian.Uint64(a[at-vp8.Stride:])
	fromAbove := leftOf(a, at)
	e.left = fromAbove>>48 | fromAbove>>32&0xffff<<16 | fromAbove>>16&0xffff<<32 | fromAbove<<48
	e.corner = uint64(a[at-vp8.Stride-1])
	e.above, e.right = spread(uint32(above)), spread(uint32(above>>32))
	after := e.above<<16 | e.corner // 4 to 7
	e.means2[0] = mean2(e.left, window(e.left, after, 1))
	e.means2[1] = mean2(after, e.above)
	e.means3[0] = mean3(e.left, window(e.left, after, 1), window(e.left, after, 2))
	e.means3[1] = mean3(after, e.above, window(e.above, e.right, 1))
	e.means3[2] = mean3(window(e.above, e.right, 3), e.right, e.right>>16|e.right>>48<<48)
}

// rows returns the prediction of a diagonal mode: RFC 6386, section 12.3.
func (e *edges) rows(mode uint8) (r [4]uint64) {
	m, n, o := e.means3[0], e.means3[1], e.means3[2]
	s, t := e.means2[0], e.means2[1]
	switch mode {
	case vp8.RD:
		return [4]uint64{window(m, n, 3), window(m, n, 2), window(m, n, 1), m}
	case vp8.LD:
		return [4]uint64{window(n, o, 1), window(n, o, 2), window(n, o, 3), o}
	case vp8.VR:
		r1 := window(m, n, 3)
		return [4]uint64{t, r1, t<<16 | m>>32&0xffff, r1<<16 | m>>16&0xffff}
	case vp8.VL:
		r0 := t>>16 | mean2(e.above>>48, e.right&0xff)<<48
		r1 := window(n, o, 1)
		return [4]uint64{r0, r1, r0>>16 | o>>16<<48, r1>>16 | o>>32<<48}
	case vp8.HD:
		r0 := window(m, n, 2)&^0xffff | s>>48
		r1 := r0<<32 | s>>32&0xffff | m>>32&0xffff<<16
		r2 := r1<<32 | s>>16&0xffff | m>>16&0xffff<<16
		return [4]uint64{r0, r1, r2, r2<<32 | s&0xffff | m&0xffff<<16}
	}
	// HU
	l3 := e.left & 0xffff
	l2 := e.left >> 16 & 0xffff
	r0 := s>>32&0xffff | m>>16&0xffff<<16 | s>>16&0xffff<<32 | m<<48
	r1 := r0>>32 | s&0xffff<<32 | mean3(l2, l3, l3)<<48
	return [4]uint64{r0, r1, r1>>32 | l3<<32 | l3<<48, l3 * lanes}
}

// guessStraight guesses the modes that are not diagonal.
func (p *pattern) guessStraight(e *edges) (g [4]int32) {
	dc := mean16(p.row)
	left := e.left>>48 | e.left>>32&0xffff<<16 | e.left>>16&0xffff<<32 | e.left<<48 // from above
	mean := (sum(e.above) + sum(left) + 4) >> 3
	g[vp8.DC] = p.inner + p.acRow + p.acCol + abs(dc-16*mean)

	smooth := mean3(e.above<<16|e.corner, e.above, window(e.above, e.right, 1))
	g[vp8.VE] = p.inner + p.acCol + sum(magnitudes(p.row+offset-fourfold(smooth)))
	smooth = mean3(left<<16|e.corner, left, left>>16|left>>48<<48)
	g[vp8.HE] = p.inner + p.acRow + sum(magnitudes(p.column+offset-fourfold(smooth)))

	row, column := fourfold(e.above), fourfold(left)
	dc -= mean16(row) + mean16(column) - 16*int32(e.corner)
	g[vp8.TM] = p.inner + sum(magnitudes(p.row+offset-row)&^0xffff) + sum(magnitudes(p.column+offset-column)&^0xffff) + abs(dc)
	return g
}

// diagonals returns the diagonal modes that are worth a guess: those near the direction in which the source changes least.
func (p *pattern) diagonals() [2]uint8 {
	// The third numbers tell how the left half differs from the right one, and the upper from the lower one.
	x, y := int32(p.row>>32&0xffff)-0x2000, int32(p.column>>32&0xffff)-0x2000
	steep := abs(x) > abs(y)
	switch {
	case x*y >= 0 && steep:
		return [2]uint8{vp8.VL, vp8.LD}
	case x*y >= 0:
		return [2]uint8{vp8.LD, vp8.HU}
	case steep:
		return [2]uint8{vp8.VR, vp8.RD}
	}
	return [2]uint8{vp8.RD, vp8.HD}
}

package webpenc

import (
	"encoding/binary"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A block holds quantised coefficients in coding order.
type block struct {
	levels [16]int16
	count  int16 // position after the last one that is not 0, or the first that is coded
}

// coefficients are those of a block in rows. They are twice as large as those of an orthonormal transform.
type coefficients [16]int32

// The factors of the transform, with 12 fraction bits: sqrt(2)*cos(pi/8) and sqrt(2)*sin(pi/8).
const (
	factor1 = 5352
	factor2 = 2217
)

// forward transforms the difference of a block from its prediction: RFC 6386, section 14.4 has the inverse.
func (c *coefficients) forward(src, pred *vp8.Area, at int) {
	for y := range 4 {
		s, p := src[at+y*vp8.Stride:][:4], pred[at+y*vp8.Stride:][:4]
		d0, d1 := int32(s[0])-int32(p[0]), int32(s[1])-int32(p[1])
		d2, d3 := int32(s[2])-int32(p[2]), int32(s[3])-int32(p[3])
		a0, a1, a2, a3 := d0+d3, d1+d2, d1-d2, d0-d3
		row := c[4*y:][:4]
		row[0] = (a0 + a1) * 8
		row[1] = (a3*factor1 + a2*factor2 + 1<<8) >> 9
		row[2] = (a0 - a1) * 8
		row[3] = (a3*factor2 - a2*factor1 + 1<<8) >> 9
	}
	for x := range 4 {
		d0, d1, d2, d3 := c[x], c[4+x], c[8+x], c[12+x]
		a0, a1, a2, a3 := d0+d3, d1+d2, d1-d2, d0-d3
		c[x] = (a0 + a1 + 8) >> 4
		c[4+x] = (a3*factor1 + a2*factor2 + 1<<15) >> 16
		c[8+x] = (a0 - a1 + 8) >> 4
		c[12+x] = (a3*factor2 - a2*factor1 + 1<<15) >> 16
	}
}

// forwardWHT transforms the first coefficients of the luma blocks: section 14.3 has the inverse.
func (c *coefficients) forwardWHT(blocks *[16]coefficients) {
	for y := range 4 {
		d0, d1, d2, d3 := blocks[4*y][0], blocks[4*y+1][0], blocks[4*y+2][0], blocks[4*y+3][0]
		a0, a1, a2, a3 := d0+d3, d1+d2, d1-d2, d0-d3
		c[4*y], c[4*y+1], c[4*y+2], c[4*y+3] = a0+a1, a3+a2, a0-a1, a3-a2
	}
	for x := range 4 {
		d0, d1, d2, d3 := c[x], c[4+x], c[8+x], c[12+x]
		a0, a1, a2, a3 := d0+d3, d1+d2, d1-d2, d0-d3
		c[x], c[4+x], c[8+x], c[12+x] = (a0+a1+1)>>1, (a3+a2+1)>>1, (a0-a1+1)>>1, (a3-a2+1)>>1
	}
}

// A quantiser divides coefficients by their steps. The first entries are for the first coefficient.
type quantiser struct {
	step    [2]int32
	inverse [2]int32 // of the steps, with 16 fraction bits
	round   [2]int32 // what is added before fractions are cut off
	lambda  int64    // what 1/256 bit is worth in errors: see score
	shift   uint     // brings squared errors to the scale of scores
}

// A score is a sum of squared errors and of costs, weighted so that both can be compared.
const scoreBits = 12

func newQuantiser(dc, ac int32, lambda int64) quantiser {
	q := quantiser{step: [2]int32{dc, ac}, lambda: lambda, shift: scoreBits}
	for i, s := range q.step {
		q.inverse[i] = (1<<16 + s/2) / s
	}
	q.round = [2]int32{roundDC, roundAC}
	return q
}

// choose quantises coefficients from position first on. It cuts off the last ones where the bits are not worth it. It returns
// the score.
func (q *quantiser) choose(b *block, c *coefficients, costs *planeCosts, ctx, first int) int64 {
	last := -1
	var errors int64 // if all were 0
	for n := first; n < 16; n++ {
		v := c[vp8.Zigzag[n]]
		errors += int64(v) * int64(v)
		i := min(n, 1)
		sign := v >> 31
		level := (((v^sign)-sign)*q.inverse[i] + q.round[i]) >> 16
		b.levels[n] = int16((level ^ sign) - sign)
		if level != 0 {
			last = n
		}
	}
	errors <<= q.shift
	t := &costs[first][ctx]
	best := errors + q.lambda*int64(t.end)
	b.count = int16(first)
	if last < 0 {
		return best
	}
	bits := int64(0)
	if ctx == 0 {
		bits = int64(t.more)
	}
	for n := first; n <= last; n++ {
		level := int32(b.levels[n])
		size := max(level, -level)
		v := values[size&maxLevel]
		bits += int64(t.token[v.token] + v.extra)
		t = &costs[n+1][min(size, 2)]
		if level == 0 {
			continue
		}
		x := int64(c[vp8.Zigzag[n]])
		e := x - int64(level)*int64(q.step[min(n, 1)])
		errors -= (x*x - e*e) << q.shift
		if score := errors + q.lambda*(bits+int64(t.end)); score < best {
			best = score
			b.count = int16(n + 1)
		}
	}
	return best
}

// dequantise returns the coefficients that a decoder finds, in rows.
func (q *quantiser) dequantise(b *block, first int, to *[16]int16) {
	*to = [16]int16{}
	for n := first; n < int(b.count); n++ {
		to[vp8.Zigzag[n]] = int16(int32(b.levels[n]) * q.step[min(n, 1)])
	}
}

const lanes = 0x0001_0001_0001_0001

// spread moves four bytes to lanes of 16 bits.
func spread(v uint32) uint64 {
	x := (uint64(v) | uint64(v)<<16) & 0x0000ffff_0000ffff
	return (x | x<<8) & 0x00ff00ff_00ff00ff
}

// difference returns the sum of the absolute values of the Hadamard transform of the difference of two 4x4 blocks. That is
// a guess at what the difference costs. Words hold a row of numbers in lanes of 16 bits.
func difference(src, pred *vp8.Area, at int) int32 {
	row := func(y int) uint64 {
		s := binary.LittleEndian.Uint32(src[at+y*vp8.Stride:])
		return spread(s) - spread(binary.LittleEndian.Uint32(pred[at+y*vp8.Stride:]))
	}
	d0, d1, d2, d3 := row(0), row(1), row(2), row(3)
	a, b, c, d := d0+d2, d1+d3, d0-d2, d1-d3
	sum := across(a+b) + across(a-b) + across(c+d) + across(c-d)
	return int32(sum * lanes >> 48)
}

// across transforms a row and returns the absolute values in lanes.
func across(v uint64) uint64 {
	// Constants that are added keep every lane from being negative.
	v += 0x0800 * lanes
	low, high := v&0xffffffff, v>>32
	v = (low + high) | (low+0x1000_1000-high)<<32
	even, odd := v&0x0000ffff_0000ffff, v>>16&0x0000ffff_0000ffff
	v = (even + odd) | (even+0x2000_0000_2000-odd)<<16 // 0x2000 too large
	negative := ^v >> 13 & lanes
	return v&(0x1fff*lanes) ^ negative*0x1fff + negative
}

// absoluteDifference returns the sum of absolute differences of two blocks with n x n samples.
func absoluteDifference(src, pred *vp8.Area, at, n int) int32 {
	const even = 0x00ff * lanes
	var sum uint64
	for y := range n {
		s, p := src[at+y*vp8.Stride:][:n], pred[at+y*vp8.Stride:][:n]
		for ; len(s) >= 8 && len(p) >= 8; s, p = s[8:], p[8:] {
			a, b := binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(p)
			sum += laneDifferences(a&even, b&even) + laneDifferences(a>>8&even, b>>8&even)
		}
	}
	return int32(sum&0xffff + sum>>16&0xffff + sum>>32&0xffff + sum>>48)
}

// laneDifferences returns the absolute differences of samples in lanes.
func laneDifferences(a, b uint64) uint64 {
	x := a + 0x100*lanes - b
	negative := ^x >> 8 & lanes
	return x&(0xff*lanes) ^ negative*0xff + negative
}

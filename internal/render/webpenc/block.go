package webpenc

import (
	"math/bits"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A block holds quantised coefficients in coding order.
type block struct {
	levels  [16]int16
	nonzero uint16 // a bit for each that is not 0
	count   uint8  // position after the last one that is not 0, or of the first that is coded
	context uint8  // how many of the blocks above and to the left have coefficients
}

// coded returns 1 if a block has coefficients, and 0 if not.
func (b *block) coded() uint8 { return uint8(min(b.nonzero, 1)) }

// coefficients are those of a block in coding order. They are twice as large as those of an orthonormal transform.
type coefficients [16]int32

// The factors of the transform, with 12 fraction bits: sqrt(2)*cos(pi/8) and sqrt(2)*sin(pi/8).
const (
	factor1 = 5352
	factor2 = 2217
)

// forward transforms the difference of a block from its prediction: RFC 6386, section 14.4 has the inverse.
func (c *coefficients) forward(src, pred *vp8.Area, at int) {
	var m [16]int32
	for y := range 4 {
		s, p := src[at+y*vp8.Stride:][:4], pred[at+y*vp8.Stride:][:4]
		d0, d1 := int32(s[0])-int32(p[0]), int32(s[1])-int32(p[1])
		d2, d3 := int32(s[2])-int32(p[2]), int32(s[3])-int32(p[3])
		a0, a1, a2, a3 := d0+d3, d1+d2, d1-d2, d0-d3
		row := m[4*y:][:4]
		row[0], row[1] = (a0+a1)*8, (a3*factor1+a2*factor2+1<<8)>>9
		row[2], row[3] = (a0-a1)*8, (a3*factor2-a2*factor1+1<<8)>>9
	}
	c[0], c[2], c[3], c[9] = column(m[0], m[4], m[8], m[12])
	c[1], c[4], c[8], c[10] = column(m[1], m[5], m[9], m[13])
	c[5], c[7], c[11], c[14] = column(m[2], m[6], m[10], m[14])
	c[6], c[12], c[13], c[15] = column(m[3], m[7], m[11], m[15])
}

// column transforms a column after the rows.
func column(d0, d1, d2, d3 int32) (_, _, _, _ int32) {
	a0, a1, a2, a3 := d0+d3, d1+d2, d1-d2, d0-d3
	return (a0 + a1 + 8) >> 4, (a3*factor1 + a2*factor2 + 1<<15) >> 16,
		(a0 - a1 + 8) >> 4, (a3*factor2 - a2*factor1 + 1<<15) >> 16
}

// forwardWHT transforms the first coefficients of the luma blocks: section 14.3 has the inverse.
func (c *coefficients) forwardWHT(blocks *[16]coefficients) {
	for y := range 4 {
		d0, d1, d2, d3 := blocks[4*y][0], blocks[4*y+1][0], blocks[4*y+2][0], blocks[4*y+3][0]
		a0, a1, a2, a3 := d0+d3, d1+d2, d1-d2, d0-d3
		c[4*y], c[4*y+1], c[4*y+2], c[4*y+3] = a0+a1, a3+a2, a0-a1, a3-a2
	}
	var m [16]int32
	for x := range 4 {
		d0, d1, d2, d3 := c[x], c[4+x], c[8+x], c[12+x]
		a0, a1, a2, a3 := d0+d3, d1+d2, d1-d2, d0-d3
		m[x], m[4+x], m[8+x], m[12+x] = (a0+a1+1)>>1, (a3+a2+1)>>1, (a0-a1+1)>>1, (a3-a2+1)>>1
	}
	for n, at := range vp8.Zigzag {
		c[n] = m[at]
	}
}

// A quantiser divides coefficients by their steps. The first entries are for the first coefficient.
type quantiser struct {
	step    [2]int32
	inverse [2]uint64 // of the steps, with 16 fraction bits
	round   [2]uint64 // what is added before fractions are cut off
	lambda  int32     // the squared error that is worth one bit
}

// Fractions are rounded up from a little more than 1/2: a smaller number has fewer bits. And a bit is worth a part of the square of the
// step. These were found by trying.
const (
	rounding  = 0x7333 / 65536.0
	bitsWorth = 0.09
)

func newQuantiser(dc, ac int32) quantiser {
	const round = rounding * 0x10000
	q := quantiser{
		step:   [2]int32{dc, ac},
		round:  [2]uint64{round, round * pair},
		lambda: max(1, int32(bitsWorth*float64(ac*ac))),
	}
	for i, s := range q.step {
		q.inverse[i] = uint64((1<<16 + s/2) / s)
	}
	return q
}

// pair repeats a number in both halves of a word.
const pair = 1<<32 + 1

// quantise quantises coefficients from position first on.
func (q *quantiser) quantise(b *block, c *coefficients, first int) {
	var nonzero uint32 // a bit for each position
	for n := 0; n < 16; n += 2 {
		// Two at a time: signs, absolute values, quotients.
		v := uint64(uint32(c[n])) | uint64(c[n+1])<<32
		sign := v >> 31 & pair
		v = (v ^ sign*(1<<32-1)) + sign
		v = (v*q.inverse[1] + q.round[1]) >> 16 & (0xffff * pair)
		bits := (v + 0xffff*pair) >> 16 & pair // a number that is not 0 has a carry
		nonzero |= uint32(bits|bits>>31) & 3 << n
		v = (v ^ sign*0xffff) + sign
		b.levels[n], b.levels[n+1] = int16(v), int16(v>>32)
	}
	nonzero &^= 1
	if first == 0 {
		sign := c[0] >> 31
		level := int32((uint64(abs(c[0]))*q.inverse[0] + q.round[0]) >> 16)
		b.levels[0] = int16((level ^ sign) - sign)
		nonzero |= uint32(-level) >> 31
	} else {
		b.levels[0] = 0
	}
	b.nonzero = uint16(q.trim(b, c, first, nonzero))
	b.count = uint8(max(first, bits.Len16(b.nonzero)))
}

// trim cuts off the last coefficients while they are not worth their bits. It returns those that remain.
func (q *quantiser) trim(b *block, c *coefficients, first int, nonzero uint32) uint32 {
	for nonzero != 0 {
		last := bits.Len32(nonzero) - 1
		if uint16(b.levels[last&15]+1) > 2 {
			break // more than 1
		}
		rest := nonzero &^ (1 << last)
		zeros := last - max(bits.Len32(rest), first)
		// Guesses of the cost of the coefficient and its end, and of each 0 before it, in 1/256 bit.
		cost := int32(750 + 200*zeros)
		step := q.step[min(last, 1)]
		if step*(2*abs(c[last&15])-step)*256 > q.lambda*cost { // how much the squared error grows
			break
		}
		nonzero = rest
	}
	return nonzero
}

// dequantise returns the coefficients that a decoder finds, in rows.
func (q *quantiser) dequantise(b *block, to *[16]int16) {
	*to = [16]int16{}
	for left := b.nonzero; left != 0; left &= left - 1 {
		n := bits.TrailingZeros16(left) & 15
		to[vp8.Zigzag[n]] = int16(int32(b.levels[n]) * q.step[min(n, 1)])
	}
}

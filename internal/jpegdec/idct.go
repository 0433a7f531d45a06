package jpegdec

import "encoding/binary"

// The inverse DCT computes with two numbers in one int64: the pair (a, b) is a<<32 + b. Adding, subtracting, shifting
// left and multiplying by a constant are linear, so they act on both numbers of a pair as long as both stay within 32
// bits. A negative b borrows one from a. That is not corrected when a pair is split, because it only changes the lowest
// of at least eleven bits that are rounded away.
//
// Coefficients of undamaged pictures stay far within 32 bits. Overflow in a damaged file only makes a block look worse.

// blockSlots is the number of pairs in a block.
const blockSlots = 32

// A block holds the dequantized coefficients of one block row by row, in pairs of an even column and the next one. A
// reduced block of 4x4 or 2x2 has only the first rows and columns, without gaps.
type block [blockSlots]int64

// A dequant maps coefficients in zig-zag order to pairs of a block, for one component at one scale.
type dequant struct {
	last int       // zig-zag index of the last coefficient that the scale needs
	mul  [64]int64 // quantization step, shifted to its half of the pair; 0 if the scale does not need the coefficient
	slot [64]uint8 // index of the pair
	step int32     // quantization step of the DC coefficient
}

// zigzag maps a zig-zag index to 8*row + column (T.81 figure A.6).
var zigzag = [64]uint8{
	0, 1, 8, 16, 9, 2, 3, 10,
	17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34,
	27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36,
	29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46,
	53, 60, 61, 54, 47, 55, 62, 63,
}

// lastCoefficient[n] is the largest zig-zag index of a coefficient in the first n rows and columns.
var lastCoefficient = [9]int{1: 0, 2: 4, 4: 24, 8: 63}

// set prepares q for blocks of size x size samples.
func (q *dequant) set(steps *[64]uint16, size int) {
	*q = dequant{last: lastCoefficient[size], step: int32(steps[0])}
	for k := range q.last + 1 {
		row, col := int(zigzag[k])/8, int(zigzag[k])%8
		if row >= size || col >= size {
			continue
		}
		q.slot[k] = uint8((row*size + col) / 2)
		q.mul[k] = int64(steps[k])
		if col%2 == 0 {
			q.mul[k] <<= 32
		}
	}
}

// dc dequantizes a DC coefficient. It bounds the result, because the coefficient is a sum of differences and damage
// anywhere before it can make it large.
func (q *dequant) dc(v int32) int64 {
	return min(max(int64(v)*int64(q.step), -1<<13), 1<<13)
}

const (
	// Constants have 13 fraction bits, and the results of the first pass have 2. The two passes together scale by 8.
	// So 18 bits are dropped in the end.
	constBits = 13
	passBits  = 2
	shift1    = constBits - passBits
	shift2    = constBits + passBits + 3

	both      = 1<<32 + 1 // both*n is the pair (n, n)
	upperHalf = -1 << 32  // mask of the first number of a pair

	round1 = both << (shift1 - 1)
	// The second rounding includes the level shift of T.81 A.3.1.
	round2 = both * (128<<shift2 + 1<<(shift2-1))

	// overflow is the mask of the bits that are clear in a pair of samples from 0 to 255.
	overflow = -1<<(32+8+shift2) | 0xffffffff&^(1<<(8+shift2)-1)
)

// idct8 writes the 8x8 samples of b to dst and clears b. The coefficients after the zig-zag index last are zero. It is
// the algorithm of Loeffler, Ligtenberg and Moschytz (ICASSP 1989), in the arrangement of libjpeg.
func idct8(b *block, last int, dst []byte, stride int) {
	var rows block   // pairs of rows: the even row and the next one, by columns
	low := last < 10 // all coefficients are in the first four rows and columns
	pairs := 4
	if low {
		pairs = 2
	}
	for i := range pairs {
		var e0, e1, e2, e3, o0, o1, o2, o3 int64
		if low {
			e0, e1, e2, e3 = evenLow(b[i], b[8+i], round1)
			o0, o1, o2, o3 = oddLow(b[4+i], b[12+i])
		} else {
			e0, e1, e2, e3 = even(b[i], b[8+i], b[16+i], b[24+i], round1)
			o0, o1, o2, o3 = odd(b[4+i], b[12+i], b[20+i], b[28+i])
		}
		upper, lower := rows[2*i:], rows[2*i+1:]
		upper[0], lower[0] = transpose(e0+o0, e1+o1)
		upper[8], lower[8] = transpose(e2+o2, e3+o3)
		upper[16], lower[16] = transpose(e3-o3, e2-o2)
		upper[24], lower[24] = transpose(e1-o1, e0-o0)
	}
	*b = block{}
	for i := range 4 {
		w := rows[8*i : 8*i+8 : 8*i+8]
		var e0, e1, e2, e3, o0, o1, o2, o3 int64
		if low {
			e0, e1, e2, e3 = evenLow(w[0], w[2], round2)
			o0, o1, o2, o3 = oddLow(w[1], w[3])
		} else {
			e0, e1, e2, e3 = even(w[0], w[2], w[4], w[6], round2)
			o0, o1, o2, o3 = odd(w[1], w[3], w[5], w[7])
		}
		x0, x1, x2, x3 := e0+o0, e1+o1, e2+o2, e3+o3
		x4, x5, x6, x7 := e3-o3, e2-o2, e1-o1, e0-o0
		d0 := (*[8]byte)(dst)
		d1 := (*[8]byte)(dst[stride:])
		if (x0|x1|x2|x3|x4|x5|x6|x7)&overflow == 0 {
			l, r := pack(x0, x1, x2, x3), pack(x4, x5, x6, x7)
			binary.LittleEndian.PutUint64(d0[:], l>>32|r&^0xffffffff)
			binary.LittleEndian.PutUint64(d1[:], l&0xffffffff|r<<32)
		} else {
			d0[0], d1[0] = clamp(x0)
			d0[1], d1[1] = clamp(x1)
			d0[2], d1[2] = clamp(x2)
			d0[3], d1[3] = clamp(x3)
			d0[4], d1[4] = clamp(x4)
			d0[5], d1[5] = clamp(x5)
			d0[6], d1[6] = clamp(x6)
			d0[7], d1[7] = clamp(x7)
		}
		if i < 3 {
			dst = dst[2*stride:]
		}
	}
}

// Constants are named by their value, such as 0.275. In the comments cn is √2·cos(nπ/16).
const (
	f0275 = 2260  // c7
	f0298 = 2446  // -c1 + c3 + c5 - c7
	f0390 = 3196  // c3 - c5
	f0541 = 4433  // c6
	f0765 = 6270  // c2 - c6
	f0785 = 6437  // c5
	f0899 = 7373  // c3 - c7
	f1175 = 9633  // c3
	f1306 = 10703 // c2
	f1387 = 11363 // c1
	f1501 = 12299 // c1 + c3 - c5 - c7
	f1847 = 15137 // c2 + c6
	f1961 = 16069 // c3 + c5
	f2053 = 16819 // c1 + c3 - c5 + c7
	f2562 = 20995 // c1 + c3
	f3072 = 25172 // c1 + c3 + c5 - c7
)

// The 8-point inverse DCT, times √8·2^constBits, is computed in two halves. Its results are e0 + o0, e1 + o1, e2 + o2,
// e3 + o3, e3 - o3, e2 - o2, e1 - o1, e0 - o0. Parameters and results are passed in registers; arrays would be passed in
// memory.

// even returns the half of the even frequencies, plus round.
func even(x0, x2, x4, x6, round int64) (e0, e1, e2, e3 int64) {
	z := (x2 + x6) * f0541
	s := z - x6*f1847
	t := z + x2*f0765
	u := (x0+x4)<<constBits + round
	v := (x0-x4)<<constBits + round
	return u + t, v + s, v - s, u - t
}

// odd returns the half of the odd frequencies.
func odd(x1, x3, x5, x7 int64) (o0, o1, o2, o3 int64) {
	z17 := (x1 + x7) * -f0899
	z35 := (x3 + x5) * -f2562
	z := (x1 + x5 + (x3 + x7)) * f1175
	z15 := z - (x1+x5)*f0390
	z37 := z - (x3+x7)*f1961
	o0 = x1*f1501 + z17 + z15
	o1 = x3*f3072 + z35 + z37
	o2 = x5*f2053 + z35 + z15
	o3 = x7*f0298 + z17 + z37
	return o0, o1, o2, o3
}

// evenLow is even with the upper four frequencies zero.
func evenLow(x0, x2, round int64) (e0, e1, e2, e3 int64) {
	e := x0<<constBits + round
	s := x2 * f0541
	t := x2 * f1306
	return e + t, e + s, e - s, e - t
}

// oddLow is odd with the upper four frequencies zero.
func oddLow(x1, x3 int64) (o0, o1, o2, o3 int64) {
	return x1*f1387 + x3*f1175, x1*f1175 - x3*f0275, x1*f0785 - x3*f1387, x1*f0275 - x3*f0785
}

// transpose turns two pairs of columns, (a, b) and (c, d), into two pairs of rows, (a, c) and (b, d). It drops shift1
// fraction bits.
func transpose(ab, cd int64) (ac, bd int64) {
	ac = ab>>shift1&upperHalf + cd>>(32+shift1)
	bd = ab<<32>>shift1&upperHalf + cd<<32>>(32+shift1)
	return ac, bd
}

// pack returns four pairs of samples as bytes: the even row in the upper half, the odd row in the lower half.
func pack(x0, x1, x2, x3 int64) uint64 {
	return uint64(x0)>>shift2&0x000000ff_000000ff |
		uint64(x1)>>(shift2-8)&0x0000ff00_0000ff00 |
		uint64(x2)>>(shift2-16)&0x00ff0000_00ff0000 |
		uint64(x3)<<(24-shift2)&0xff000000_ff000000
}

// clamp returns a pair of samples as bytes.
func clamp(x int64) (even, odd byte) {
	return clampByte(x >> (32 + shift2)), clampByte(x << 32 >> (32 + shift2))
}

func clampByte(x int64) byte {
	return byte(min(max(x, 0), 255))
}

// idct4 writes 4x4 samples to dst and clears b, which has the first 4 rows and columns of a block. A 4-point transform
// of the lower half of the frequencies in each direction gives the picture at half its size.
func idct4(b *block, dst []byte, stride int) {
	var rows [8]int64
	for i := range 2 {
		x0, x1, x2, x3 := transform4(b[i], b[2+i], b[4+i], b[6+i], round1)
		rows[2*i], rows[2*i+1] = transpose(x0, x1)
		rows[2*i+4], rows[2*i+5] = transpose(x2, x3)
	}
	*(*[8]int64)(b[:]) = [8]int64{}
	for i := range 2 {
		w := rows[4*i : 4*i+4 : 4*i+4]
		x0, x1, x2, x3 := transform4(w[0], w[1], w[2], w[3], round2)
		d0 := (*[4]byte)(dst[2*i*stride:])
		d1 := (*[4]byte)(dst[(2*i+1)*stride:])
		if (x0|x1|x2|x3)&overflow == 0 {
			p := pack(x0, x1, x2, x3)
			binary.LittleEndian.PutUint32(d0[:], uint32(p>>32))
			binary.LittleEndian.PutUint32(d1[:], uint32(p))
		} else {
			d0[0], d1[0] = clamp(x0)
			d0[1], d1[1] = clamp(x1)
			d0[2], d1[2] = clamp(x2)
			d0[3], d1[3] = clamp(x3)
		}
	}
}

// transform4 returns the 4-point inverse DCT, scaled as that of 8 points.
func transform4(x0, x1, x2, x3, round int64) (_, _, _, _ int64) {
	e0 := (x0+x2)<<constBits + round
	e1 := (x0-x2)<<constBits + round
	o0 := x1*f1306 + x3*f0541
	o1 := x1*f0541 - x3*f1306
	return e0 + o0, e1 + o1, e1 - o1, e0 - o0
}

// idct2 writes 2x2 samples to dst and clears b, which has the first 2 rows and columns of a block.
func idct2(b *block, dst []byte, stride int) {
	top, bottom := b[0]+b[1], b[0]-b[1]
	b[0], b[1] = 0, 0
	top += 128<<35 + 4<<32
	bottom += 128<<35 + 4<<32
	t, u := top>>32, top<<32>>32
	dst[0], dst[1] = clampByte((t+u)>>3), clampByte((t-u)>>3)
	t, u = bottom>>32, bottom<<32>>32
	dst[stride], dst[stride+1] = clampByte((t+u)>>3), clampByte((t-u)>>3)
}

// writeFlat writes the size x size samples of a block without AC coefficients to dst.
func writeFlat(dc int64, dst []byte, stride, size int) {
	v := clampByte((dc+4)>>3 + 128)
	switch size {
	case 8:
		for y := range 8 {
			binary.LittleEndian.PutUint64(dst[y*stride:], uint64(v)*0x0101010101010101)
		}
	case 4:
		for y := range 4 {
			binary.LittleEndian.PutUint32(dst[y*stride:], uint32(v)*0x01010101)
		}
	case 2:
		dst[0], dst[1], dst[stride], dst[stride+1] = v, v, v, v
	case 1:
		dst[0] = v
	}
}

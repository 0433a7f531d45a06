package jpegenc

import (
	"encoding/binary"
	"math"
)

// The transform is the one of Arai, Agui and Nakajima. It needs five multiplications for eight samples, and its outputs are
// scaled by factors that quantising removes. No product is multiplied again, so it can use integers without rounding, and
// is exactly linear. Hence two transforms can share their arithmetic: the transform of a + b<<32 is A + B<<32, if A and B
// fit 32 bits.

// Fraction bits of the constants in the first and in the second pass, and of the values between the passes. The largest
// result is the sum of 64 samples of 255. With the fraction bits of the second pass it is just below 2^31.
const (
	bits1   = 18
	bits2   = 13
	between = 4
)

// transform applies the one-dimensional transform to eight pairs of values. bits is the number of fraction bits of the
// constants c.
func transform(v *[8]int64, bits uint, c *[4]int64) {
	s07, d07 := v[0]+v[7], v[0]-v[7]
	s16, d16 := v[1]+v[6], v[1]-v[6]
	s25, d25 := v[2]+v[5], v[2]-v[5]
	s34, d34 := v[3]+v[4], v[3]-v[4]

	a, d := s07+s34, s07-s34
	b, e := s16+s25, s16-s25
	v[0] = (a + b) << bits
	v[4] = (a - b) << bits
	z := (e + d) * c[0]
	d <<= bits
	v[2] = d + z
	v[6] = d - z

	p, q, r := d34+d25, d25+d16, d16+d07
	z5 := (p - r) * c[1]
	z2 := p*c[2] + z5
	z4 := r*c[3] + z5
	z3 := q * c[0]
	d07 <<= bits
	z11, z13 := d07+z3, d07-z3
	v[5] = z13 + z2
	v[3] = z13 - z2
	v[1] = z11 + z4
	v[7] = z11 - z4
}

// constants returns the constants of transform: cos 4, cos 6, cos 2 - cos 6 and cos 2 + cos 6, with angles in sixteenths
// of pi.
func constants(bits uint) *[4]int64 {
	one := float64(int64(1) << bits)
	c2, c4, c6 := math.Cos(math.Pi/8), math.Cos(math.Pi/4), math.Cos(3*math.Pi/8)
	return &[4]int64{
		int64(math.Round(c4 * one)), int64(math.Round(c6 * one)),
		int64(math.Round((c2 - c6) * one)), int64(math.Round((c2 + c6) * one)),
	}
}

var constants1, constants2 = constants(bits1), constants(bits2)

// forward transforms a block of samples. The results are scaled and have bits2+between fraction bits.
func forward(to *[64]int32, pix []byte, stride int) {
	// Columns first, j and j+4 as a pair. In mid, rows 2i and 2i+1 form a pair.
	var mid [4][8]int64
	var rows [8]uint64
	for y := range rows {
		rows[y] = binary.LittleEndian.Uint64(pix[y*stride:])
	}
	for j := range 4 {
		const even = 0x000000FF_000000FF
		var v [8]int64
		for y := range v {
			v[y] = int64(rows[y] >> (8 * j) & even)
		}
		transform(&v, bits1, constants1)
		for i := range 4 {
			a, b := split(v[2*i])
			c, d := split(v[2*i+1])
			mid[i][j] = round(a) + round(c)<<32
			mid[i][j+4] = round(b) + round(d)<<32
		}
	}
	for i := range mid {
		transform(&mid[i], bits2, constants2)
		row := to[16*i:][:16]
		for x, v := range mid[i] {
			row[x], row[8+x] = split(v)
		}
	}
	// JPEG transforms samples from -128 to 127. That changes only the mean.
	to[0] -= 128 * 64 << (bits2 + between)
}

// split splits a pair into its low and high half.
func split(v int64) (low, high int32) {
	low = int32(v)
	return low, int32((v - int64(low)) >> 32)
}

// round rounds a value to the precision between the passes.
func round(v int32) int64 {
	return int64((v + 1<<(bits1-between-1)) >> (bits1 - between))
}

// A quantiser divides coefficients by their quantisation steps. It multiplies by the inverse, which is faster.
type quantiser struct {
	steps   [64]byte  // in zigzag order, as in the file
	inverse [64]int64 // in zigzag order, for the results of forward
}

const inverseBits = 44

func (q *quantiser) set(base *[64]byte, quality int) {
	quality = max(1, min(quality, 100))
	scale := 200 - 2*quality
	if quality < 50 {
		scale = 5000 / quality
	}
	for i, b := range base {
		step := max(1, min((int(b)*scale+50)/100, 255))
		q.steps[i] = byte(step)
		at := zigzag[i]
		q.inverse[i] = int64(math.Round(inverseScale[at/8] * inverseScale[at%8] / float64(step)))
	}
}

// inverseScale undoes the scaling of transform, for one of the two dimensions.
var inverseScale = func() (s [8]float64) {
	one := math.Exp2((inverseBits - bits2 - between) / 2.0)
	for i := range s {
		s[i] = one / math.Sqrt(8)
		if i > 0 {
			s[i] /= math.Sqrt2 * math.Cos(float64(i)*math.Pi/16)
		}
	}
	return s
}()

// zigzag maps a position in coding order to the position in the block.
var zigzag = [64]byte{
	0, 1, 8, 16, 9, 2, 3, 10,
	17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34,
	27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36,
	29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46,
	53, 60, 61, 54, 47, 55, 62, 63,
}

// Quantisation steps of quality 50, from ITU-T T.81, annex K.1, in zigzag order.
var lumaSteps = [64]byte{
	16, 11, 12, 14, 12, 10, 16, 14,
	13, 14, 18, 17, 16, 19, 24, 40,
	26, 24, 22, 22, 24, 49, 35, 37,
	29, 40, 58, 51, 61, 60, 57, 51,
	56, 55, 64, 72, 92, 78, 64, 68,
	87, 69, 55, 56, 80, 109, 81, 87,
	95, 98, 103, 104, 103, 62, 77, 113,
	121, 112, 100, 120, 92, 101, 103, 99,
}

var chromaSteps = [64]byte{
	17, 18, 18, 24, 21, 24, 47, 26,
	26, 47, 99, 66, 56, 66, 99, 99,
	99, 99, 99, 99, 99, 99, 99, 99,
	99, 99, 99, 99, 99, 99, 99, 99,
	99, 99, 99, 99, 99, 99, 99, 99,
	99, 99, 99, 99, 99, 99, 99, 99,
	99, 99, 99, 99, 99, 99, 99, 99,
	99, 99, 99, 99, 99, 99, 99, 99,
}

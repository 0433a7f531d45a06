package heif

import (
	"math"
	"slices"
)

// A cicp is the colours of a picture by the code points of ITU-T H.273.
type cicp struct {
	primaries, transfer, matrix uint16
	fullRange                   bool
}

// Code points that the code below names.
const (
	codeUnspecified = 2

	matrixIdentity = 0
	matrixYCgCo    = 8
	matrixFrom     = 12 // derived from the primaries

	transferGamma22 = 4
	transferGamma28 = 5
	transferLinear  = 8
	transferPQ      = 16
	transferHLG     = 18
)

var unspecified = cicp{primaries: codeUnspecified, transfer: codeUnspecified, matrix: codeUnspecified}

// orElse returns the colours that the container specifies. Those that it leaves unspecified come from the bitstream.
func (c *cicp) orElse(bitstream cicp) cicp {
	if c == nil {
		return bitstream
	}
	all := *c
	if all.primaries == codeUnspecified {
		all.primaries = bitstream.primaries
	}
	if all.transfer == codeUnspecified {
		all.transfer = bitstream.transfer
	}
	if all.matrix == codeUnspecified {
		all.matrix = bitstream.matrix
	}
	return all
}

// A conversion converts luma and chroma to red, green and blue of 8 bits. Each of these is a weighted sum of the samples plus an
// offset, in units of 1/2^fraction. Chroma is multiplied by chromaSteps beforehand.
type conversion [3]struct{ luma, blue, red, offset int32 }

const (
	fraction    = 20
	chromaSteps = 16 // units per chroma sample, so that interpolation loses nothing
)

// luminance returns the weights of red and blue in luma.
func (c cicp) luminance() (red, blue float64) {
	switch c.matrix {
	case 1:
		return 0.2126, 0.0722
	case 4:
		return 0.30, 0.11
	case 7:
		return 0.212, 0.087
	case 9, 10:
		return 0.2627, 0.0593
	case matrixFrom:
		xyz := rgbToXYZ(c.chromaticities())
		return xyz[1][0], xyz[1][2]
	}
	return 0.299, 0.114 // 5, 6, and the default of MIAF
}

// conversion returns the conversion of samples of depth bits. If mono is set, there is no chroma.
func (c cicp) conversion(depth int, mono bool) (conversion, error) {
	// The rows give red, green and blue from luma in [0, 1] and chroma in [-0.5, 0.5].
	var m [3][3]float64
	switch {
	case mono:
		m = [3][3]float64{{1}, {1}, {1}}
	case c.matrix == matrixIdentity:
		m = [3][3]float64{{0, 0, 1}, {1, 0, 0}, {0, 1, 0}}
	case c.matrix == matrixYCgCo:
		m = [3][3]float64{{1, -1, 1}, {1, 1, 0}, {1, -1, -1}}
	case slices.Contains([]uint16{1, 2, 3, 4, 5, 6, 7, 9, 10, matrixFrom}, c.matrix):
		red, blue := c.luminance()
		green := 1 - red - blue
		if red <= 0 || blue <= 0 || green <= 0 {
			return conversion{}, corrupt("primaries %d", c.primaries)
		}
		m = [3][3]float64{
			{1, 0, 2 * (1 - red)},
			{1, -2 * (1 - blue) * blue / green, -2 * (1 - red) * red / green},
			{1, 2 * (1 - blue), 0},
		}
	default:
		return conversion{}, unsupported("matrix %d", c.matrix)
	}
	most := float64(int(1)<<depth - 1)
	unit := float64(int(1) << (depth - 8))
	black, lumaSpan, chromaSpan, middle := 0.0, most, most, 128*unit
	if !c.fullRange {
		black, lumaSpan, chromaSpan = 16*unit, 219*unit, 224*unit
	}
	if c.matrix == matrixIdentity && !mono { // all three samples have the range of luma
		chromaSpan, middle = lumaSpan, black
	}
	var out conversion
	for i, row := range m {
		scale := 255 * float64(int(1)<<fraction)
		luma, blue, red := row[0]*scale/lumaSpan, row[1]*scale/chromaSpan, row[2]*scale/chromaSpan
		out[i].luma = int32(math.Round(luma))
		out[i].blue = int32(math.Round(blue / chromaSteps))
		out[i].red = int32(math.Round(red / chromaSteps))
		out[i].offset = int32(math.Round(-luma*black-(blue+red)*middle)) + 1<<(fraction-1)
	}
	return out, nil
}

// chromaticities are x and y in CIE 1931 of red, green, blue and white.
type chromaticities [4][2]float64

var (
	whiteD65 = [2]float64{0.3127, 0.3290}
	whiteC   = [2]float64{0.310, 0.316}
)

// chromaticities returns the primaries of c, or those of sRGB if c does not specify them.
func (c cicp) chromaticities() chromaticities {
	switch c.primaries {
	case 4:
		return chromaticities{{0.67, 0.33}, {0.21, 0.71}, {0.14, 0.08}, whiteC}
	case 5:
		return chromaticities{{0.64, 0.33}, {0.29, 0.60}, {0.15, 0.06}, whiteD65}
	case 6, 7:
		return chromaticities{{0.630, 0.340}, {0.310, 0.595}, {0.155, 0.070}, whiteD65}
	case 8:
		return chromaticities{{0.681, 0.319}, {0.243, 0.692}, {0.145, 0.049}, whiteC}
	case 9:
		return chromaticities{{0.708, 0.292}, {0.170, 0.797}, {0.131, 0.046}, whiteD65}
	case 10:
		return chromaticities{{1, 0}, {0, 1}, {0, 0}, {1. / 3, 1. / 3}}
	case 11:
		return chromaticities{{0.680, 0.320}, {0.265, 0.690}, {0.150, 0.060}, {0.314, 0.351}}
	case 12:
		return chromaticities{{0.680, 0.320}, {0.265, 0.690}, {0.150, 0.060}, whiteD65}
	case 22:
		return chromaticities{{0.630, 0.340}, {0.295, 0.605}, {0.155, 0.077}, whiteD65}
	}
	return chromaticities{{0.64, 0.33}, {0.30, 0.60}, {0.15, 0.06}, whiteD65}
}

// xyz returns the colour at x, y with a luminance of 1.
func xyz(at [2]float64) [3]float64 {
	return [3]float64{at[0] / at[1], 1, (1 - at[0] - at[1]) / at[1]}
}

// rgbToXYZ returns the matrix from linear RGB to XYZ.
func rgbToXYZ(c chromaticities) [3][3]float64 {
	var m [3][3]float64
	for i := range 3 { // columns are primaries, scaled below; y may be 0
		x, y := c[i][0], c[i][1]
		m[0][i], m[1][i], m[2][i] = x, y, 1-x-y
	}
	inv := invert(m)
	white := apply(inv, xyz(c[3]))
	for row := range 3 {
		for i := range 3 {
			m[row][i] *= white[i]
		}
	}
	return m
}

func apply(m [3][3]float64, v [3]float64) (out [3]float64) {
	for row := range 3 {
		out[row] = m[row][0]*v[0] + m[row][1]*v[1] + m[row][2]*v[2]
	}
	return out
}

func multiply(a, b [3][3]float64) (out [3][3]float64) {
	for row := range 3 {
		for col := range 3 {
			for k := range 3 {
				out[row][col] += a[row][k] * b[k][col]
			}
		}
	}
	return out
}

func invert(m [3][3]float64) (out [3][3]float64) {
	minor := func(r, c int) float64 {
		r1, r2, c1, c2 := (r+1)%3, (r+2)%3, (c+1)%3, (c+2)%3
		return m[r1][c1]*m[r2][c2] - m[r1][c2]*m[r2][c1]
	}
	det := m[0][0]*minor(0, 0) + m[0][1]*minor(0, 1) + m[0][2]*minor(0, 2)
	for row := range 3 {
		for col := range 3 {
			out[col][row] = minor(row, col) / det
		}
	}
	return out
}

// toD50 returns the matrix that adapts XYZ from a white point to the D50 of profiles (Bradford, ICC.1 annex E).
func toD50(white [2]float64) [3][3]float64 {
	bradford := [3][3]float64{{0.8951, 0.2664, -0.1614}, {-0.7502, 1.7135, 0.0367}, {0.0389, -0.0685, 1.0296}}
	from, to := apply(bradford, xyz(white)), apply(bradford, whiteD50)
	var scale [3][3]float64
	for i := range 3 {
		scale[i][i] = to[i] / from[i]
	}
	return multiply(invert(bradford), multiply(scale, bradford))
}

var whiteD50 = [3]float64{0.9642, 1, 0.8249}

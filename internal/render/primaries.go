package render

import (
	"encoding/binary"
	"math"

	"github.com/thumbcache/thumbcache/internal/pngdec"
)

// A point is a chromaticity: x and y of CIE 1931.
type point struct{ x, y float64 }

// primaries are the chromaticities of red, green, blue and white.
type primaries [4]point

var (
	whiteD65   = point{0.3127, 0.329}
	whiteC     = point{0.31, 0.316}
	whiteDCI   = point{0.314, 0.351}
	primSRGB   = primaries{{0.64, 0.33}, {0.3, 0.6}, {0.15, 0.06}, whiteD65}
	primAdobe  = primaries{{0.64, 0.33}, {0.21, 0.71}, {0.15, 0.06}, whiteD65}
	primP3     = primaries{{0.68, 0.32}, {0.265, 0.69}, {0.15, 0.06}, whiteD65}
	primBT2020 = primaries{{0.708, 0.292}, {0.17, 0.797}, {0.131, 0.046}, whiteD65}
)

// cicpPrimaries returns the primaries of a ColourPrimaries code (ITU-T H.273, table 2).
func cicpPrimaries(code byte) (p primaries, ok bool) {
	switch code {
	case 1:
		return primSRGB, true
	case 4:
		return primaries{{0.67, 0.33}, {0.21, 0.71}, {0.14, 0.08}, whiteC}, true
	case 5:
		return primaries{{0.64, 0.33}, {0.29, 0.6}, {0.15, 0.06}, whiteD65}, true
	case 6, 7:
		return primaries{{0.63, 0.34}, {0.31, 0.595}, {0.155, 0.07}, whiteD65}, true
	case 8:
		return primaries{{0.681, 0.319}, {0.243, 0.692}, {0.145, 0.049}, whiteC}, true
	case 9:
		return primBT2020, true
	case 10:
		return primaries{{1, 0}, {0, 1}, {0, 0}, {1.0 / 3, 1.0 / 3}}, true
	case 11:
		p = primP3
		p[3] = whiteDCI
		return p, true
	case 12:
		return primP3, true
	case 22:
		return primaries{{0.63, 0.34}, {0.295, 0.605}, {0.155, 0.077}, whiteD65}, true
	}
	return p, false
}

// hdrWhite is the luminance in cd/m2 of white in graphics and text, which becomes sRGB white before tone mapping
// (ITU-R BT.2408).
const hdrWhite = 203

// cicpTransfer returns the function from samples to linear light of a TransferCharacteristics code (ITU-T H.273, table 3),
// or nil if it is unknown. Those with a high dynamic range exceed 1.
func cicpTransfer(code byte) (f func(x float64) float64, hdr bool) {
	switch code {
	case 1, 6, 7, 11, 12, 13, 14, 15:
		// Displays show BT.709 video and sRGB pictures alike.
		return srgbToLinear, false
	case 4:
		return power(2.2), false
	case 5:
		return power(2.8), false
	case 8:
		return power(1), false
	case 16:
		return pqToLinear, true
	case 17:
		return func(x float64) float64 { return 52.37 / 48 * math.Pow(x, 2.6) }, false
	case 18:
		return hlgToLinear, true
	}
	return nil, false
}

func power(gamma float64) func(x float64) float64 {
	return func(x float64) float64 { return math.Pow(x, gamma) }
}

func srgbToLinear(x float64) float64 {
	if x <= 0.04045 {
		return x / 12.92
	}
	return math.Pow((x+0.055)/1.055, 2.4)
}

// pqToLinear is the EOTF of SMPTE ST 2084, relative to hdrWhite.
func pqToLinear(x float64) float64 {
	const m1, m2 = 2610.0 / 16384, 2523.0 / 4096 * 128
	const c1, c2, c3 = 3424.0 / 4096, 2413.0 / 4096 * 32, 2392.0 / 4096 * 32
	p := math.Pow(x, 1/m2)
	return 10000.0 / hdrWhite * math.Pow(max(0, p-c1)/(c2-c3*p), 1/m1)
}

// hlgToLinear is the EOTF of ITU-R BT.2100 HLG on a display of 1000 cd/m2, relative to hdrWhite. The system gamma is
// applied to each channel, which is exact for grey.
func hlgToLinear(x float64) float64 {
	const a, b, c = 0.17883277, 0.28466892, 0.55991073
	light := x * x / 3
	if x > 0.5 {
		light = (math.Exp((x-c)/a) + b) / 12
	}
	return 1000.0 / hdrWhite * math.Pow(light, 1.2)
}

// toneMap compresses light from 0 to infinity to 0 to 1. It leaves dark and middle tones alone.
func toneMap(v float32) float32 {
	const knee = 0.6
	if v <= knee {
		return v
	}
	return float32(1 - (1-knee)*math.Exp(-(float64(v)-knee)/(1-knee)))
}

// makeProfile returns the profile of a picture that has no ICC profile, but the given primaries and transfer function.
func makeProfile(p primaries, transfer func(x float64) float64, hdr bool, k kind) profile {
	var c curve
	most := 1.0
	if hdr {
		most = math.Inf(1)
	}
	for i := range c {
		y := transfer(float64(i) / 255)
		if math.IsNaN(y) {
			return profile{}
		}
		c[i] = float32(max(0, min(y, most)))
	}
	if k == grey {
		if hdr {
			for i, v := range c {
				c[i] = toneMap(v)
			}
		}
		return profile{grey: c.grey()}
	}
	matrix, ok := p.toSRGB()
	if !ok {
		return profile{}
	}
	t := &toSRGB{curves: [3]curve{c, c, c}, matrix: matrix, hdr: hdr}
	if t.isSRGB() {
		return profile{}
	}
	return profile{rgb: t}
}

// toSRGB returns the matrix from linear RGB with the primaries p to linear sRGB. It fails if the primaries span no gamut.
func (p primaries) toSRGB() (m [3][3]float32, ok bool) {
	xyz, ok := p.toXYZ()
	if !ok {
		return m, false
	}
	for i := range m {
		for j := range m {
			var sum float64
			for k := range m {
				sum += fromXYZ[i][k] * xyz[k][j]
			}
			if m[i][j] = float32(sum); !(math.Abs(sum) < 1000) {
				return m, false
			}
		}
	}
	return m, true
}

type matrix3 [3][3]float64

// toXYZ returns the matrix from linear RGB with the primaries p to XYZ under D50.
func (p primaries) toXYZ() (m matrix3, ok bool) {
	for i, c := range p {
		if !(c.x >= 0 && c.y >= 0 && c.x <= 1 && c.y <= 1) || i == 3 && c.y < 0.01 {
			return m, false
		}
	}
	// Columns are the XYZ of the primaries, each scaled so that their sum is white with Y = 1.
	for i, c := range p[:3] {
		m[0][i], m[1][i], m[2][i] = c.x, c.y, 1-c.x-c.y
	}
	inverse, ok := m.inverse()
	if !ok {
		return m, false
	}
	white := [3]float64{p[3].x / p[3].y, 1, (1 - p[3].x - p[3].y) / p[3].y}
	scale := inverse.apply(white)
	for i := range m {
		for j := range m {
			m[i][j] *= scale[j]
		}
	}
	return adaptation(white).multiply(m), true
}

// bradford converts XYZ to the responses in which the Bradford method adapts colours to another white.
var bradford = matrix3{{0.8951, 0.2664, -0.1614}, {-0.7502, 1.7135, 0.0367}, {0.0389, -0.0685, 1.0296}}

// whiteD50 is the white of the profile connection space (ICC.1:2022, 6.3.4.3).
var whiteD50 = [3]float64{0.9642, 1, 0.8249}

// adaptation returns the matrix that adapts XYZ from the given white to D50.
func adaptation(white [3]float64) matrix3 {
	from, to := bradford.apply(white), bradford.apply(whiteD50)
	scaled := bradford
	for i := range scaled {
		for j := range scaled {
			scaled[i][j] *= to[i] / from[i]
		}
	}
	inverse, _ := bradford.inverse()
	return inverse.multiply(scaled)
}

func (m matrix3) apply(v [3]float64) (r [3]float64) {
	for i, row := range m {
		r[i] = row[0]*v[0] + row[1]*v[1] + row[2]*v[2]
	}
	return r
}

func (m matrix3) multiply(n matrix3) (r matrix3) {
	for i := range r {
		for j := range r {
			for k := range r {
				r[i][j] += m[i][k] * n[k][j]
			}
		}
	}
	return r
}

// inverse returns the inverse of m, and reports whether there is one that is numerically sound.
func (m matrix3) inverse() (r matrix3, ok bool) {
	for i := range r {
		for j := range r {
			a, b, c, d := (j+1)%3, (j+2)%3, (i+1)%3, (i+2)%3
			r[i][j] = m[a][c]*m[b][d] - m[a][d]*m[b][c]
		}
	}
	det := m[0][0]*r[0][0] + m[0][1]*r[1][0] + m[0][2]*r[2][0]
	for i := range r {
		for j := range r {
			r[i][j] /= det
		}
	}
	return r, math.Abs(det) > 1e-6
}

// pngProfile returns the profile that the chunks of a PNG describe. Their order of precedence is cICP, iCCP, sRGB, and gAMA
// with cHRM (W3C PNG, third edition, 4.3).
func (h *header) pngProfile(k kind) profile {
	p := &h.png
	if len(p.cicp) >= 4 {
		primaries, known := cicpPrimaries(p.cicp[0])
		transfer, hdr := cicpTransfer(p.cicp[1])
		if known && transfer != nil {
			if p.cicp[3] == 0 {
				full := transfer
				transfer = func(x float64) float64 { return full(max(0, min((255*x-16)/219, 1))) }
			}
			return makeProfile(primaries, transfer, hdr, k)
		}
	}
	if h.icc != nil {
		if profile, ok := readProfile(inflateICC(h.icc), k); ok {
			return profile
		}
	}
	if p.srgb {
		return profile{}
	}
	transfer, hasGamma := pngGamma(p.gamma)
	if h.isLinear16() {
		transfer = srgbToLinear
	}
	primaries, hasPrimaries := pngPrimaries(p.primaries)
	if !hasGamma && !hasPrimaries {
		return h.adobeProfile(k)
	}
	return makeProfile(primaries, transfer, false, k)
}

// linearBits is the number of high bits of a sample in linear light that are enough for 8 bits of sRGB: the darkest step is
// less than one.
const linearBits = pngdec.LinearBits

// isLinear16 reports whether a PNG has 16-bit samples that are nearly linear light. If only their high bytes were kept,
// dark tones would show bands. So the decoder encodes them as in sRGB.
func (h *header) isLinear16() bool {
	p := &h.png
	return p.Depth == 16 && len(p.gamma) >= 4 && binary.BigEndian.Uint32(p.gamma) > 60000 && h.icc == nil && !p.srgb && p.cicp == nil &&
		p.Transparency == nil // which the samples are compared with
}

// linearTable returns a table from the high bits of samples to samples of sRGB.
func linearTable(gamma []byte) *[1 << linearBits]byte {
	transfer, _ := pngGamma(gamma)
	out := encodeTable()
	t := new([1 << linearBits]byte)
	for i := range t {
		y := transfer((float64(i) + 0.5) / (1 << linearBits))
		t[i] = out[int(max(0, min(y, 1))*(encodeSteps-1)+0.5)]
	}
	return t
}

// pngGamma returns the transfer function of a gAMA chunk, or that of sRGB.
func pngGamma(chunk []byte) (transfer func(x float64) float64, ok bool) {
	if len(chunk) < 4 {
		return srgbToLinear, false
	}
	switch gamma := binary.BigEndian.Uint32(chunk); {
	case gamma < 1000 || gamma > 1000000:
		return srgbToLinear, false
	case gamma >= 45000 && gamma <= 46000:
		return srgbToLinear, true // 45455 is what encoders write for sRGB
	default:
		return power(100000 / float64(gamma)), true
	}
}

// pngPrimaries returns the primaries of a cHRM chunk, or those of sRGB.
func pngPrimaries(chunk []byte) (p primaries, ok bool) {
	if len(chunk) < 32 {
		return primSRGB, false
	}
	at := func(i int) float64 { return float64(binary.BigEndian.Uint32(chunk[4*i:])) / 100000 }
	p = primaries{{at(2), at(3)}, {at(4), at(5)}, {at(6), at(7)}, {at(0), at(1)}}
	if _, ok := p.toXYZ(); !ok {
		return primSRGB, false
	}
	return p, true
}

// adobeProfile returns the profile of a picture without a colour profile: Adobe RGB (1998) if its EXIF data says so,
// otherwise sRGB.
func (h *header) adobeProfile(k kind) profile {
	if !h.adobeRGB {
		return profile{}
	}
	return makeProfile(primAdobe, power(563.0/256), false, k)
}

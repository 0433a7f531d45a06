package heif

import (
	"encoding/binary"
	"math"
	"slices"
)

// A cicp is the colours of a picture by the code points of ITU-T H.273.
type cicp struct {
	primaries, transfer, matrix uint16
	fullRange                   bool
}

// Code points with a meaning of their own here.
const (
	codeUnspecified = 2

	matrixIdentity = 0
	matrixYCgCo    = 8
	matrixFrom     = 12 // the primaries give the matrix

	transferGamma22 = 4
	transferGamma28 = 5
	transferLinear  = 8
	transferPQ      = 16
	transferHLG     = 18
)

var unspecified = cicp{primaries: codeUnspecified, transfer: codeUnspecified, matrix: codeUnspecified}

// or returns the colours that the container tells, and for those that it does not tell, what the bitstream says.
func (c *cicp) or(bitstream cicp) cicp {
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

// A conversion turns samples of luma and chroma into RGB of 8 bits: each is the sum of factors times samples and an offset, in
// units of 1/2^fraction. The samples of chroma are those of chromaLine, which are multiplied.
type conversion [3]struct{ luma, blue, red, offset int32 }

const (
	fraction    = 20
	chromaSteps = 16 // by how much samples of chroma are multiplied
)

// luminance returns the share of red and of blue in luma.
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
	return 0.299, 0.114 // 5 and 6, and what MIAF assumes when it is not told
}

// conversion returns how samples of depth bits become RGB; if mono, there is no chroma.
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
	if c.matrix == matrixIdentity && !mono { // all three are like luma
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

// White points and primaries, as x and y of CIE 1931: red, green, blue, white.
type chromaticities [4][2]float64

var (
	whiteD65 = [2]float64{0.3127, 0.3290}
	whiteC   = [2]float64{0.310, 0.316}
)

// chromaticities returns the primaries of c; those of sRGB if they are not known.
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
	for i := range 3 { // columns are the primaries, not yet of the right luminance; one of them may have y = 0
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

// profile returns an ICC profile for samples in RGB with the colours of c, nil if they are those of sRGB. The transfer
// functions of video (1, 6, 7, 14, 15) count as that of sRGB: they describe cameras, and screens show both alike.
func (c cicp) profile() []byte {
	var curve []byte
	switch c.transfer {
	case transferGamma22:
		curve = gammaCurve(2.2)
	case transferGamma28:
		curve = gammaCurve(2.8)
	case transferLinear:
		curve = gammaCurve(1)
	case 17:
		curve = gammaCurve(2.6)
	case transferPQ:
		curve = tableCurve(pq)
	case transferHLG:
		curve = tableCurve(hlg)
	default:
		if c.chromaticities() == (cicp{}).chromaticities() {
			return nil
		}
		curve = parametricCurve(3, 2.4, 1/1.055, 0.055/1.055, 1/12.92, 0.04045)
	}
	return makeProfile(c.chromaticities(), curve)
}

// Names of ffmpeg for primaries and transfer functions.
var (
	primariesNames = map[string]uint16{
		"bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9, "smpte428": 10,
		"smpte431": 11, "smpte432": 12, "ebu3213": 22,
	}
	transferNames = map[string]uint16{
		"bt709": 1, "gamma22": transferGamma22, "bt470m": transferGamma22, "gamma28": transferGamma28, "bt470bg": transferGamma28,
		"smpte170m": 6, "smpte240m": 7, "linear": transferLinear, "iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15,
		"smpte2084": transferPQ, "smpte428": 17, "arib-std-b67": transferHLG,
	}
)

// ProfileOf returns an ICC profile for primaries and a transfer function as ffmpeg names them in its list of streams, nil if they
// are those of sRGB or not known. ffmpeg tells them of JPEG XL, but its PNG does not.
func ProfileOf(primaries, transfer string) []byte {
	c := unspecified
	if code, ok := primariesNames[primaries]; ok {
		c.primaries = code
	}
	if code, ok := transferNames[transfer]; ok {
		c.transfer = code
	}
	return c.profile()
}

// The brightest that HDR pictures show, and white paper in them (ITU-R BT.2408), in cd/m2.
const (
	hdrPeak  = 1000.0
	hdrWhite = 203.0
)

// pq is the SMPTE ST 2084 transfer function, with the brightness brought to where a screen can show it.
func pq(x float64) float64 {
	const m1, m2, c1, c2, c3 = 2610. / 16384, 2523. / 4096 * 128, 3424. / 4096, 2413. / 4096 * 32, 2392. / 4096 * 32
	p := math.Pow(x, 1/m2)
	return compress(10000 / hdrWhite * math.Pow(max(0, p-c1)/(c2-c3*p), 1/m1))
}

// hlg is the transfer function of hybrid log-gamma (ITU-R BT.2100) with that of a screen, for each channel by itself.
func hlg(x float64) float64 {
	const a, b, c = 0.17883277, 0.28466892, 0.55991073
	light := x * x / 3
	if x > 0.5 {
		light = (math.Exp((x-c)/a) + b) / 12
	}
	return compress(hdrPeak / hdrWhite * math.Pow(light, 1.2))
}

// compress brings light, 1 being white, to [0, 1]: what is dark stays as it is, what is brighter bends (Mobius).
func compress(x float64) float64 {
	const knee, peak = 0.3, hdrPeak / hdrWhite
	if x <= knee {
		return x
	}
	const (
		a = -knee * knee * (peak - 1) / (knee*knee - 2*knee + peak)
		b = (knee*knee - 2*knee*peak + peak) / (peak - 1)
	)
	return min(1, (b*b+2*b*knee+knee*knee)/(b-a)*(x+a)/(x+b))
}

// What follows writes profiles as ICC.1:2010 (version 4.3) defines them.

func parametricCurve(kind uint16, parameters ...float64) []byte {
	b := append([]byte("para\x00\x00\x00\x00"), byte(kind>>8), byte(kind), 0, 0)
	for _, p := range parameters {
		b = appendFixed(b, p)
	}
	return b
}

func gammaCurve(gamma float64) []byte { return parametricCurve(0, gamma) }

// tableCurve returns f at 1024 places.
func tableCurve(f func(float64) float64) []byte {
	const n = 1024
	b := binary.BigEndian.AppendUint32([]byte("curv\x00\x00\x00\x00"), n)
	for i := range n {
		b = binary.BigEndian.AppendUint16(b, uint16(math.Round(65535*f(float64(i)/(n-1)))))
	}
	return b
}

func appendFixed(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(v*65536))))
}

func appendXYZ(b []byte, v [3]float64) []byte {
	for _, x := range v {
		b = appendFixed(b, x)
	}
	return b
}

func textTag(text string) []byte {
	b := []byte("mluc\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0cenUS")
	b = binary.BigEndian.AppendUint32(b, uint32(2*len(text)))
	b = binary.BigEndian.AppendUint32(b, 28)
	for _, r := range text {
		b = append(b, 0, byte(r))
	}
	return b
}

// makeProfile returns a profile for a screen with three primaries and one curve.
func makeProfile(c chromaticities, curve []byte) []byte {
	adapt := toD50(c[3])
	m := multiply(adapt, rgbToXYZ(c))
	colourTag := func(v [3]float64) []byte { return appendXYZ([]byte("XYZ \x00\x00\x00\x00"), v) }
	column := func(i int) []byte { return colourTag([3]float64{m[0][i], m[1][i], m[2][i]}) }
	chad := []byte("sf32\x00\x00\x00\x00")
	for _, row := range adapt {
		chad = appendXYZ(chad, row)
	}
	tags := []struct {
		names string // four bytes each; they share the data
		data  []byte
	}{
		{"desc", textTag("RGB by code points")}, {"cprt", textTag("None")}, {"wtpt", colourTag(whiteD50)}, {"chad", chad},
		{"rXYZ", column(0)}, {"gXYZ", column(1)}, {"bXYZ", column(2)}, {"rTRCgTRCbTRC", curve},
	}
	const count, header = 10, 128
	at := header + 4 + 12*count
	table := binary.BigEndian.AppendUint32(nil, count)
	var body []byte
	for _, t := range tags {
		for name := t.names; name != ""; name = name[4:] {
			table = append(table, name[:4]...)
			table = binary.BigEndian.AppendUint32(table, uint32(at+len(body)))
			table = binary.BigEndian.AppendUint32(table, uint32(len(t.data)))
		}
		body = append(body, t.data...)
		body = append(body, make([]byte, -len(body)&3)...)
	}
	h := make([]byte, 0, at+len(body))
	h = binary.BigEndian.AppendUint32(h, uint32(at+len(body)))
	h = append(h, "\x00\x00\x00\x00\x04\x30\x00\x00mntrRGB XYZ "...)
	h = append(h, 0x07, 0xe8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0) // a date, always the same
	h = append(h, "acsp"...)
	h = append(h, make([]byte, 68-40)...)
	h = appendXYZ(h, whiteD50)
	h = append(h, make([]byte, header-len(h))...)
	return append(append(h, table...), body...)
}

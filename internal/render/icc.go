package render

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/thumbcache/thumbcache/internal/render/jpegenc"
)

// Limits of colour profiles in bytes. A thumbnail can carry only a profile that fits one JPEG segment.
const (
	maxProfile  = 4 << 20           // that is read
	maxCarried  = jpegenc.MaxICC    // that is copied to a thumbnail
	iccHeader   = 128               // length of a profile's header
	iccSegments = "ICC_PROFILE\x00" // prefix of a JPEG segment with a part of a profile
)

// A profile converts the colours of a picture to sRGB. The zero profile is sRGB and changes nothing.
type profile struct {
	rgb     *toSRGB    // converts RGB
	table   *lut       // converts RGB too
	grey    *[256]byte // converts grey
	carried []byte     // ICC profile that cannot be converted here; the thumbnail carries it
}

func (p profile) converts() bool { return p.rgb != nil || p.table != nil }

func (p profile) convert(pix []byte) {
	switch {
	case p.rgb != nil:
		p.rgb.convert(pix)
	case p.table != nil:
		p.table.convert(pix, nil)
	}
}

// profile returns the profile to convert a picture of kind k with.
func (h *header) profile(k kind) profile {
	switch h.contentType {
	case typePNG:
		return h.pngProfile(k)
	case typeJPEG:
		if h.jpeg.N == 4 {
			return profile{} // applied before, see inkTable
		}
		if h.icc != nil {
			if p, ok := readProfile(jpegICC(h.data), k); ok {
				return p
			}
		}
	default:
		if p, ok := readProfile(h.icc, k); ok {
			return p
		}
	}
	return h.adobeProfile(k)
}

// readProfile reads an ICC profile that was embedded in a picture. It reports false if the data is corrupt or describes
// another colour model than the picture's.
func readProfile(icc []byte, k kind) (p profile, ok bool) {
	if len(icc) < iccHeader+4 || string(icc[36:40]) != "acsp" {
		return p, false
	}
	switch space := string(icc[16:20]); {
	case space == "GRAY" && k == grey:
		if curve, ok := readCurve(tag(icc, "kTRC")); ok {
			return profile{grey: curve.grey()}, true
		}
	case space == "RGB " && k != grey:
		if c, ok := readMatrix(icc); ok {
			if c.isSRGB() {
				return p, true
			}
			return profile{rgb: c}, true
		}
		if t, ok := readLUT(icc, 3); ok {
			return profile{table: t}, true
		}
		if len(icc) <= maxCarried && tag(icc, "A2B0") != nil {
			return profile{carried: icc}, true
		}
	}
	return p, false
}

// tag returns the data of a tag of a profile, or nil if there is no such tag.
func tag(icc []byte, name string) []byte {
	entries := icc[iccHeader+4:]
	n := min(binary.BigEndian.Uint32(icc[iccHeader:]), uint32(len(entries)/12), 100)
	for ; n > 0; n, entries = n-1, entries[12:] {
		if string(entries[:4]) != name {
			continue
		}
		at, size := int64(binary.BigEndian.Uint32(entries[4:])), int64(binary.BigEndian.Uint32(entries[8:]))
		if at+size > int64(len(icc)) {
			return nil
		}
		return icc[at : at+size]
	}
	return nil
}

// A curve maps samples to linear light from 0 to 1. Light of a high dynamic range exceeds 1.
type curve [256]float32

// fixed returns an s15Fixed16Number: a signed number with 16 fraction bits.
func fixed(b []byte) float64 { return float64(int32(binary.BigEndian.Uint32(b))) / 65536 }

// readCurve reads a tone curve: a curveType or a parametricCurveType (ICC.1:2022, 10.6 and 10.18).
func readCurve(b []byte) (c curve, ok bool) {
	f := readCurveFunc(b)
	if f == nil {
		return c, false
	}
	for i := range c {
		y := f(float64(i) / 255)
		if math.IsNaN(y) {
			return c, false
		}
		c[i] = float32(max(0, min(y, 1)))
	}
	return c, true
}

// readCurveFunc reads a tone curve as a function from 0 to 1, or returns nil if the data is corrupt.
func readCurveFunc(b []byte) func(x float64) float64 {
	if len(b) < 12 {
		return nil
	}
	switch string(b[:4]) {
	case "curv":
		n := int64(binary.BigEndian.Uint32(b[8:]))
		if int64(len(b)-12) < 2*n {
			return nil
		}
		return sampledCurve(b[12:][:2*n])
	case "para":
		return parametricCurve(int(binary.BigEndian.Uint16(b[8:])), b[12:])
	}
	return nil
}

// sampledCurve returns the function of a table of 16-bit samples. No samples mean identity, one sample is an exponent.
func sampledCurve(table []byte) func(x float64) float64 {
	at := func(i int) float64 { return float64(binary.BigEndian.Uint16(table[2*i:])) }
	n := len(table) / 2
	switch n {
	case 0:
		return func(x float64) float64 { return x }
	case 1:
		gamma := at(0) / 256
		return func(x float64) float64 { return math.Pow(x, gamma) }
	}
	return func(x float64) float64 {
		x = max(0, min(x, 1)) * float64(n-1)
		i := min(int(x), n-2)
		return (at(i) + (at(i+1)-at(i))*(x-float64(i))) / 65535
	}
}

// parameterCounts are the numbers of parameters of the types of parametric curves.
var parameterCounts = [...]int{1, 3, 4, 5, 7}

// parametricCurve returns a function of the given type, or nil if there is no such type or the data is short.
func parametricCurve(kind int, data []byte) func(x float64) float64 {
	if kind >= len(parameterCounts) || len(data) < 4*parameterCounts[kind] {
		return nil
	}
	p := [7]float64{0, 1} // g a b c d e f
	for i := range parameterCounts[kind] {
		p[i] = fixed(data[4*i:])
	}
	switch kind {
	case 1:
		p[4] = -p[2] / p[1]
	case 2:
		p[4], p[5], p[6] = -p[2]/p[1], p[3], p[3]
		p[3] = 0
	}
	return func(x float64) float64 {
		if x >= p[4] {
			return math.Pow(p[1]*x+p[2], p[0]) + p[5]
		}
		return p[3]*x + p[6]
	}
}

// grey returns a table from samples with curve c to samples in sRGB.
func (c curve) grey() *[256]byte {
	out := encodeTable()
	var t [256]byte
	for i, v := range c {
		t[i] = out[int(v*(encodeSteps-1)+0.5)]
	}
	return &t
}

// encodeSteps is the size of encodeTable. At the dark end, where the curve is steepest, a step is a fifth of a sample.
const encodeSteps = 1 << 14

// encodeTable returns a table from linear light to samples in sRGB.
var encodeTable = sync.OnceValue(func() *[encodeSteps]byte {
	var t [encodeSteps]byte
	for i := range t {
		x := float64(i) / (encodeSteps - 1)
		if x <= 0.0031308 {
			x *= 12.92
		} else {
			x = 1.055*math.Pow(x, 1/2.4) - 0.055
		}
		t[i] = byte(255*x + 0.5)
	}
	return &t
})

// A toSRGB converts RGB samples to sRGB by three curves and a matrix.
type toSRGB struct {
	curves [3]curve
	matrix [3][3]float32 // from linear RGB of the profile to linear sRGB
	hdr    bool          // the picture has a high dynamic range: map its tones
}

// fromXYZ converts XYZ under D50, the connection space of profiles, to linear sRGB.
var fromXYZ = [3][3]float64{
	{3.1338561, -1.6168667, -0.4906146},
	{-0.9787684, 1.9161415, 0.0334540},
	{0.0719453, -0.2289914, 1.4052427},
}

func readMatrix(icc []byte) (*toSRGB, bool) {
	if string(icc[20:24]) != "XYZ " {
		return nil, false
	}
	var t toSRGB
	for i, colour := range []string{"r", "g", "b"} {
		xyz := tag(icc, colour+"XYZ")
		if len(xyz) < 20 || string(xyz[:4]) != "XYZ " {
			return nil, false
		}
		x, y, z := fixed(xyz[8:]), fixed(xyz[12:]), fixed(xyz[16:])
		for j, m := range fromXYZ {
			t.matrix[j][i] = float32(m[0]*x + m[1]*y + m[2]*z)
		}
		var ok bool
		if t.curves[i], ok = readCurve(tag(icc, colour+"TRC")); !ok {
			return nil, false
		}
	}
	return &t, true
}

// convert converts RGBA samples that are not premultiplied, in place.
func (t *toSRGB) convert(pix []byte) {
	out := encodeTable()
	m := &t.matrix
	for i := 0; i+4 <= len(pix); i += 4 {
		p := pix[i:][:4]
		r, g, b := t.curves[0][p[0]], t.curves[1][p[1]], t.curves[2][p[2]]
		if t.hdr {
			// The same factor for all three keeps the hue.
			if most := max(r, g, b); most > 0 {
				scale := toneMap(most) / most
				r, g, b = r*scale, g*scale, b*scale
			}
		}
		for c := range 3 {
			v := m[c][0]*r + m[c][1]*g + m[c][2]*b
			p[c] = out[int(max(0, min(v, 1))*(encodeSteps-1)+0.5)]
		}
	}
}

// isSRGB reports whether t changes no colour of a grid by more than two steps. The name of a profile says nothing reliable
// about its colours.
func (t *toSRGB) isSRGB() bool {
	for i := range 6 * 6 * 6 {
		was := [4]byte{byte(i % 6 * 51), byte(i / 6 % 6 * 51), byte(i / 36 * 51)}
		is := was
		t.convert(is[:])
		for c := range 3 {
			if d := int(is[c]) - int(was[c]); d < -2 || d > 2 {
				return false
			}
		}
	}
	return true
}

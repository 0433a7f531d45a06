package heif

import (
	"encoding/binary"
	"math"
)

// profile returns an ICC profile of RGB samples with the colours of c, or nil if they are those of sRGB. The transfer functions of
// video (1, 6, 7, 14, 15) count as sRGB: they describe cameras, while players show such video on sRGB screens unchanged.
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

// ffmpeg's names of primaries and transfer functions.
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

// ProfileOf returns an ICC profile for primaries and a transfer function by the names in ffmpeg's list of streams, or nil if they
// are those of sRGB or unknown. It is for JPEG XL: ffmpeg lists its colours, but stores only a part of them in PNG.
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

// The brightest highlight and the white of paper in HDR pictures (ITU-R BT.2408), in cd/m2.
const (
	hdrPeak  = 1000.0
	hdrWhite = 203.0
)

// pq is the transfer function of SMPTE ST 2084, tone-mapped for an SDR screen.
func pq(x float64) float64 {
	const m1, m2, c1, c2, c3 = 2610. / 16384, 2523. / 4096 * 128, 3424. / 4096, 2413. / 4096 * 32, 2392. / 4096 * 32
	p := math.Pow(x, 1/m2)
	return toneMap(10000 / hdrWhite * math.Pow(max(0, p-c1)/(c2-c3*p), 1/m1))
}

// hlg is the transfer function of hybrid log-gamma (ITU-R BT.2100), tone-mapped for an SDR screen. Its system gamma, which
// depends on luminance, is applied to each channel instead.
func hlg(x float64) float64 {
	const a, b, c = 0.17883277, 0.28466892, 0.55991073
	light := x * x / 3
	if x > 0.5 {
		light = (math.Exp((x-c)/a) + b) / 12
	}
	return toneMap(hdrPeak / hdrWhite * math.Pow(light, 1.2))
}

// toneMap maps linear light, of which 1 is white, to [0, 1]. Light below the knee stays as it is; above it the curve is that of the
// filter "tonemap=mobius" of ffmpeg.
func toneMap(x float64) float64 {
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

func parametricCurve(kind uint16, parameters ...float64) []byte {
	b := append([]byte("para\x00\x00\x00\x00"), byte(kind>>8), byte(kind), 0, 0)
	for _, p := range parameters {
		b = appendFixed(b, p)
	}
	return b
}

func gammaCurve(gamma float64) []byte { return parametricCurve(0, gamma) }

// tableCurve returns a curve of 1024 samples of f.
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

// makeProfile returns an ICC profile (ICC.1:2010, version 4.3) of a screen with three primaries and one curve.
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
		names string // of four bytes each; these tags share the data
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
	h = append(h, 0x07, 0xe8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0) // a fixed date, so that equal colours have equal profiles
	h = append(h, "acsp"...)
	h = append(h, make([]byte, 68-40)...)
	h = appendXYZ(h, whiteD50)
	h = append(h, make([]byte, header-len(h))...)
	return append(append(h, table...), body...)
}

package tiff

import "math"

// narrow rounds 16 bits to 8.
func narrow(v uint16) byte { return byte((uint32(v)*255 + 32767) / 65535) }

// convert converts unpacked samples to pixels.
func (c *converter) convert(dst []byte, samples []uint16) {
	switch c.photometric {
	case whiteIsZero, blackIsZero:
		c.convertGrey(dst, samples)
	case photoRGB:
		c.convertRGB(dst, samples)
	case palette:
		c.convertIndices(dst, samples)
	case separated:
		c.convertInks(dst, samples)
	case photoYCbCr:
		c.convertYCbCr(dst, samples)
	case cieLab, iccLab:
		c.convertLab(dst, samples)
	}
}

// convertGrey stores grey, or RGBA if there is alpha.
func (c *converter) convertGrey(dst []byte, samples []uint16) {
	n := c.photo.samples
	flip := uint16(0)
	if c.photometric == whiteIsZero {
		flip = 65535
	}
	if c.alpha == opaque {
		for i := range dst {
			dst[i] = narrow(samples[i*n] ^ flip)
		}
		return
	}
	for i := 0; i < len(dst); i += 4 {
		s := samples[i/4*n:]
		v := s[0] ^ flip
		if flip != 0 && c.alpha == associated {
			v = s[1] - min(s[0], s[1]) // the sample counts from white
		}
		c.put(dst[i:], v, v, v, s[1])
	}
}

func (c *converter) convertRGB(dst []byte, samples []uint16) {
	n := c.photo.samples
	for i := 0; i < len(dst); i += 4 {
		s := samples[i/4*n:]
		if c.alpha != opaque {
			c.put(dst[i:], s[0], s[1], s[2], s[3])
			continue
		}
		d := dst[i:][:4]
		d[0], d[1], d[2], d[3] = narrow(s[0]), narrow(s[1]), narrow(s[2]), 255
	}
}

// convertIndices looks colours up in the palette.
func (c *converter) convertIndices(dst []byte, samples []uint16) {
	n := c.photo.samples
	for i := 0; i < len(dst); i += 4 {
		s := samples[i/4*n:]
		m := c.colorMap[3*int(s[0]):][:3]
		a := uint16(65535)
		if c.alpha != opaque {
			a = uint16(uint32(s[1]) * 65535 / (1<<c.bits - 1))
		}
		c.put(dst[i:], m[0], m[1], m[2], a)
	}
}

func (c *converter) convertYCbCr(dst []byte, samples []uint16) {
	n := c.photo.samples
	for i := 0; i < len(dst); i += 4 {
		s := samples[i/4*n:]
		r, g, b := c.ycc.rgb(byte(s[0]>>8), byte(s[1]>>8), byte(s[2]>>8))
		if c.alpha != opaque {
			c.put(dst[i:], uint16(r)*257, uint16(g)*257, uint16(b)*257, s[3])
			continue
		}
		d := dst[i:][:4]
		d[0], d[1], d[2], d[3] = r, g, b, 255
	}
}

func (c *converter) convertLab(dst []byte, samples []uint16) {
	n := c.photo.samples
	for i := 0; i < len(dst); i += 4 {
		s := samples[i/4*n:]
		r, g, b := c.lab.srgb(c.labValues(s))
		a := uint16(65535)
		if c.alpha != opaque {
			a = s[3]
			if c.bits == 8 {
				a *= 257
			}
		}
		c.put(dst[i:], r, g, b, a)
	}
}

// put stores a pixel. A colour that is multiplied by alpha cannot exceed alpha.
func (c *converter) put(dst []byte, r, g, b, a uint16) {
	if c.alpha == associated {
		r, g, b = min(r, a), min(g, a), min(b, a)
	}
	dst[0], dst[1], dst[2], dst[3] = narrow(r), narrow(g), narrow(b), narrow(a)
}

// convertInks stores inks, or RGB if there is alpha, because image.CMYK has no alpha.
func (c *converter) convertInks(dst []byte, samples []uint16) {
	flip := uint16(0)
	if c.inverted {
		flip = 65535
	}
	for i := 0; i < len(dst); i += 4 {
		s := samples[i/4*c.photo.samples:]
		if c.alpha == opaque {
			for k := range 4 {
				dst[i+k] = narrow(s[k] ^ flip)
			}
			continue
		}
		// Associated inks are multiplied by alpha.
		a := uint32(s[4])
		var ink [4]uint32
		for k := range ink {
			ink[k] = uint32(s[k] ^ flip)
			if c.alpha == associated && a > 0 {
				ink[k] = min(65535, ink[k]*65535/a)
			}
		}
		rest := 65535 - ink[3]
		var rgb [3]uint16
		for k := range rgb {
			v := (65535 - ink[k]) * rest / 65535
			if c.alpha == associated {
				v = v * a / 65535
			}
			rgb[k] = uint16(v)
		}
		c.put(dst[i:], rgb[0], rgb[1], rgb[2], s[4])
	}
}

// yccTables convert YCbCr to RGB (TIFF 6.0, section 21). They hold what each sample adds to each colour, with 16 bits
// after the point.
type yccTables struct {
	y, crR, crG, cbG, cbB [256]int32
}

// newYCCTables reads the coefficients and levels of the conversion. Invalid ones are replaced by the defaults, ITU-R
// BT.601 with full range.
func (p *photo) newYCCTables() *yccTables {
	luma := p.numbers(tagYCbCrCoeffs, []float64{0.299, 0.587, 0.114})
	if !(luma[0] > 0 && luma[1] > 0 && luma[2] > 0) {
		luma = []float64{0.299, 0.587, 0.114}
	}
	levels := p.numbers(tagReferenceBW, []float64{0, 255, 128, 255, 128, 255})
	if levels[0] >= levels[1] || levels[2] >= levels[3] || levels[4] >= levels[5] {
		levels = []float64{0, 255, 128, 255, 128, 255}
	}
	t := new(yccTables)
	for i := range 256 {
		v := float64(i)
		y := (v - levels[0]) * 255 / (levels[1] - levels[0])
		cb := (v - levels[2]) * 127 / (levels[3] - levels[2])
		cr := (v - levels[4]) * 127 / (levels[5] - levels[4])
		t.y[i] = point16(y + 0.5)
		t.crR[i] = point16(cr * (2 - 2*luma[0]))
		t.cbB[i] = point16(cb * (2 - 2*luma[2]))
		t.crG[i] = point16(-cr * (2 - 2*luma[0]) * luma[0] / luma[1])
		t.cbG[i] = point16(-cb * (2 - 2*luma[2]) * luma[2] / luma[1])
	}
	return t
}

// point16 returns v with 16 bits after the point. The limits keep sums of hostile values within an int32.
func point16(v float64) int32 { return int32(math.Round(max(-4096, min(v, 4096)) * 65536)) }

// numbers returns the values of a field, or the given ones if the field is absent or incomplete.
func (p *photo) numbers(tag uint16, otherwise []float64) []float64 {
	field, _ := p.dir.Find(tag)
	v := make([]float64, len(otherwise))
	for i := range v {
		var ok bool
		if v[i], ok = field.Float(int64(i)); !ok {
			return otherwise
		}
	}
	return v
}

func (t *yccTables) rgb(y, cb, cr byte) (r, g, b byte) {
	v := t.y[y]
	return clamp(v + t.crR[cr]), clamp(v + t.cbG[cb] + t.crG[cr]), clamp(v + t.cbB[cb])
}

func clamp(v int32) byte { return byte(max(0, min(v>>16, 255))) }

// labValues returns L*, a* and b* of a pixel.
//
// In CIELab a* and b* are signed, and an L* of 100 is the greatest value. In ICCLab, as in ICC profiles of version 2, a*
// and b* have an offset, and an L* of 100 is 0xff or 0xff00.
func (c *converter) labValues(s []uint16) (l, a, b float32) {
	switch {
	case c.photometric == cieLab && c.bits == 8:
		return float32(s[0]) * 100 / 255, float32(int8(s[1])), float32(int8(s[2]))
	case c.photometric == cieLab:
		return float32(s[0]) * 100 / 65535, float32(int16(s[1])) / 256, float32(int16(s[2])) / 256
	case c.bits == 8:
		return float32(s[0]) * 100 / 255, float32(s[1]) - 128, float32(s[2]) - 128
	}
	return float32(s[0]) * 100 / 0xff00, float32(s[1])/256 - 128, float32(s[2])/256 - 128
}

// labTables convert CIE L*a*b* to sRGB. The white of L*a*b* becomes the white of sRGB, as with colour profiles.
type labTables struct {
	encode [4097]uint16  // linear light to sRGB
	white  [3]float32    // XYZ of L*a*b*'s white
	matrix [3][3]float32 // XYZ to linear sRGB
}

var (
	// XYZ to the responses of the eye's cones, by Bradford, and back.
	bradford = [3][3]float64{
		{0.8951, 0.2664, -0.1614}, {-0.7502, 1.7135, 0.0367}, {0.0389, -0.0685, 1.0296},
	}
	bradfordInverse = [3][3]float64{
		{0.9869929, -0.1470543, 0.1599627}, {0.4323053, 0.5183603, 0.0492912}, {-0.0085287, 0.0400428, 0.9684867},
	}
	// XYZ to linear sRGB (IEC 61966-2-1).
	xyzToSRGB = [3][3]float64{
		{3.2404542, -1.5371385, -0.4985314}, {-0.9692660, 1.8760108, 0.0415560}, {0.0556434, -0.2040259, 1.0572252},
	}
	whiteOfSRGB = [2]float64{0.3127, 0.3290}
	whiteOfICC  = [2]float64{0.3457, 0.3585} // D50, also the default of files without a white point
)

func (p *photo) newLabTables() *labTables {
	t := new(labTables)
	for i := range t.encode {
		v := float64(i) / float64(len(t.encode)-1)
		if v <= 0.0031308 {
			v *= 12.92
		} else {
			v = 1.055*math.Pow(v, 1/2.4) - 0.055
		}
		t.encode[i] = uint16(v*65535 + 0.5)
	}
	from := whiteOfICC
	if p.photometric == cieLab {
		if w := p.numbers(tagWhitePoint, from[:]); w[0] > 0.2 && w[0] < 0.5 && w[1] > 0.2 && w[1] < 0.5 {
			from = [2]float64(w)
		}
	}
	fromXYZ, toXYZ := whiteXYZ(from), whiteXYZ(whiteOfSRGB)
	fromCones, toCones := apply(bradford, fromXYZ), apply(bradford, toXYZ)
	for column := range 3 {
		var unit [3]float64
		unit[column] = 1
		v := apply(bradford, unit)
		for i := range v {
			v[i] *= toCones[i] / fromCones[i]
		}
		v = apply(xyzToSRGB, apply(bradfordInverse, v))
		for i := range v {
			t.matrix[i][column] = float32(v[i])
		}
		t.white[column] = float32(fromXYZ[column])
	}
	return t
}

// whiteXYZ returns the XYZ of a white with a Y of 1.
func whiteXYZ(xy [2]float64) [3]float64 {
	return [3]float64{xy[0] / xy[1], 1, (1 - xy[0] - xy[1]) / xy[1]}
}

func apply(m [3][3]float64, v [3]float64) (w [3]float64) {
	for i := range w {
		w[i] = m[i][0]*v[0] + m[i][1]*v[1] + m[i][2]*v[2]
	}
	return w
}

func (t *labTables) srgb(l, a, b float32) (r, g, bl uint16) {
	inverse := func(f float32) float32 {
		if f > 6.0/29 {
			return f * f * f
		}
		return (f - 4.0/29) * 3 * (6.0 / 29) * (6.0 / 29)
	}
	fy := (l + 16) / 116
	x, y, z := t.white[0]*inverse(fy+a/500), t.white[1]*inverse(fy), t.white[2]*inverse(fy-b/200)
	m := &t.matrix
	return t.at(m[0][0]*x + m[0][1]*y + m[0][2]*z),
		t.at(m[1][0]*x + m[1][1]*y + m[1][2]*z),
		t.at(m[2][0]*x + m[2][1]*y + m[2][2]*z)
}

// at encodes linear light.
func (t *labTables) at(v float32) uint16 {
	v = max(0, min(v, 1)) * float32(len(t.encode)-1)
	i := min(int(v), len(t.encode)-2)
	low, high := float32(t.encode[i]), float32(t.encode[i+1])
	return uint16(low + (high-low)*(v-float32(i)) + 0.5)
}

package render

import (
	"encoding/binary"
	"math"
)

// A lut converts CMYK or RGB samples to sRGB by the tables of an ICC profile (ICC.1:2022, 10.10 to 10.12), relative
// colorimetric with black point compensation. Samples pass through input curves, a grid of nodes with interpolation, and
// output curves. The result is in the profile connection space and is converted from there to sRGB.
type lut struct {
	inputs   int                 // 3 or 4
	outputs  int                 // 3; 4 in the other direction
	position [4][256]float32     // of a sample in the grid, after the input curve
	points   [4]int              // nodes of the grid for each input
	nodes    []byte              // values of the outputs, 8 bits or 16 each, a part of the profile
	wide     bool                // nodes have 16 bits
	middle   [3]*lutCurve        // before matrix; nil means none
	matrix   *[3][4]float32      // with an offset in the last column; nil means none
	output   [4]*lutCurve        // nil means none
	decode   func(v *[3]float32) // from the encoding of the profile connection space to XYZ
	black    float32             // luminance of the darkest colour, which becomes sRGB black
}

// A lutCurve is a curve from 0 to 1, sampled densely enough to interpolate linearly.
type lutCurve [1025]float32

func newLUTCurve(f func(x float64) float64) (c *lutCurve, ok bool) {
	c = new(lutCurve)
	for i := range c {
		y := f(float64(i) / float64(len(c)-1))
		if math.IsNaN(y) {
			return nil, false
		}
		c[i] = float32(max(0, min(y, 1)))
	}
	return c, true
}

func (c *lutCurve) at(x float32) float32 {
	x = max(0, min(x, 1)) * float32(len(c)-1)
	i := min(int(x), len(c)-2)
	return c[i] + (c[i+1]-c[i])*(x-float32(i))
}

// readLUT reads the table of a profile whose device colours have the given number of channels.
func readLUT(icc []byte, inputs int) (*lut, bool) {
	data := tag(icc, "A2B1") // relative colorimetric
	if data == nil {
		data = tag(icc, "A2B0")
	}
	if len(data) < 32 || int(data[8]) != inputs || data[9] != 3 {
		return nil, false
	}
	t := &lut{inputs: inputs, outputs: 3}
	kind := string(data[:4])
	ok := false
	switch kind {
	case "mft1", "mft2":
		ok = t.readTables(data, kind == "mft2")
	case "mAB ":
		ok = t.readStages(data)
	}
	if !ok {
		return nil, false
	}
	switch space := string(icc[20:24]); {
	case space == "XYZ " && kind != "mft1":
		t.decode = decodeXYZ
	case space == "Lab " && kind == "mft2":
		t.decode = decodeLegacyLab
	case space == "Lab ":
		t.decode = decodeLab
	default:
		return nil, false
	}
	t.setBlack(icc)
	return t, true
}

// readTables reads a lut8Type or, if wide, a lut16Type. Its matrix applies to XYZ input only.
func (t *lut) readTables(data []byte, wide bool) bool {
	start, inputEntries, outputEntries, size := 48, 256, 256, 1
	if wide {
		if len(data) < 52 {
			return false
		}
		start, size = 52, 2
		inputEntries, outputEntries = int(binary.BigEndian.Uint16(data[48:])), int(binary.BigEndian.Uint16(data[50:]))
	}
	if inputEntries < 2 || outputEntries < 2 || len(data) < start {
		return false
	}
	t.wide = wide
	rest := data[start:]
	for i := range t.inputs {
		t.points[i] = int(data[10])
		if len(rest) < inputEntries*size {
			return false
		}
		if !t.setPosition(i, tableCurve(rest[:inputEntries*size], size)) {
			return false
		}
		rest = rest[inputEntries*size:]
	}
	if rest = t.takeNodes(rest, size); rest == nil {
		return false
	}
	for i := range t.outputs {
		if len(rest) < outputEntries*size {
			return false
		}
		var ok bool
		if t.output[i], ok = newLUTCurve(tableCurve(rest[:outputEntries*size], size)); !ok {
			return false
		}
		rest = rest[outputEntries*size:]
	}
	return true
}

// tableCurve returns the function of a table of samples of 1 or 2 bytes.
func tableCurve(table []byte, size int) func(x float64) float64 {
	if size == 2 {
		return sampledCurve(table)
	}
	n := len(table)
	return func(x float64) float64 {
		x = max(0, min(x, 1)) * float64(n-1)
		i := min(int(x), n-2)
		a, b := float64(table[i]), float64(table[i+1])
		return (a + (b-a)*(x-float64(i))) / 255
	}
}

// setPosition sets the positions of samples of an input in the grid.
func (t *lut) setPosition(input int, curve func(x float64) float64) bool {
	most := float64(t.points[input] - 1)
	if most < 1 {
		return false
	}
	for v := range t.position[input] {
		y := curve(float64(v) / 255)
		if math.IsNaN(y) {
			return false
		}
		t.position[input][v] = float32(max(0, min(y, 1)) * most)
	}
	return true
}

// takeNodes takes the nodes off data. It returns the rest, or nil if data is too short.
func (t *lut) takeNodes(data []byte, size int) []byte {
	length := int64(t.outputs * size)
	for _, n := range t.points[:t.inputs] {
		if length *= int64(n); length > int64(len(data)) {
			return nil
		}
	}
	t.nodes = data[:length]
	return data[length:]
}

// readStages reads a lutAToBType that has a grid.
func (t *lut) readStages(data []byte) bool {
	at := func(field int) []byte { // what the offset in a field of the header refers to
		offset := int64(binary.BigEndian.Uint32(data[field:]))
		if offset == 0 || offset > int64(len(data)) {
			return nil
		}
		return data[offset:]
	}
	grid := at(24)
	if len(grid) < 20 {
		return false
	}
	for i := range t.inputs {
		t.points[i] = int(grid[i])
	}
	size := int(grid[16])
	if size != 1 && size != 2 {
		return false
	}
	t.wide = size == 2
	if t.takeNodes(grid[20:], size) == nil {
		return false
	}
	curves := at(28)
	for i := range t.inputs {
		curve, rest := takeCurve(curves)
		if curve == nil || !t.setPosition(i, curve) {
			return false
		}
		curves = rest
	}
	if curves := at(20); curves != nil && !takeCurves(t.middle[:], curves) {
		return false
	}
	if m := at(16); m != nil {
		if len(m) < 48 {
			return false
		}
		t.matrix = new([3][4]float32)
		for i := range 3 {
			for j := range 3 {
				t.matrix[i][j] = float32(fixed(m[4*(3*i+j):]))
			}
			t.matrix[i][3] = float32(fixed(m[36+4*i:]))
		}
	}
	curves = at(12)
	return curves != nil && takeCurves(t.output[:3], curves)
}

// takeCurves reads three curves that follow one another.
func takeCurves(to []*lutCurve, data []byte) bool {
	for i := range to {
		curve, rest := takeCurve(data)
		if curve == nil {
			return false
		}
		var ok bool
		if to[i], ok = newLUTCurve(curve); !ok {
			return false
		}
		data = rest
	}
	return true
}

// takeCurve takes a curve off data. The next one begins at a multiple of four bytes.
func takeCurve(data []byte) (curve func(x float64) float64, rest []byte) {
	curve = readCurveFunc(data)
	if curve == nil {
		return nil, nil
	}
	length := int64(12)
	if string(data[:4]) == "curv" {
		length += 2 * int64(binary.BigEndian.Uint32(data[8:]))
	} else {
		length += 4 * int64(parameterCounts[binary.BigEndian.Uint16(data[8:])])
	}
	return curve, data[min((length+3)/4*4, int64(len(data))):]
}

// decodeXYZ decodes PCSXYZ: u1Fixed15Numbers.
func decodeXYZ(v *[3]float32) {
	for i := range v {
		v[i] *= 65535.0 / 32768
	}
}

// decodeLab decodes PCSLAB of 8 bits, and of 16 bits in all types except lut16Type.
func decodeLab(v *[3]float32) {
	labToXYZ(v, v[0]*100, v[1]*255-128, v[2]*255-128)
}

// decodeLegacyLab decodes PCSLAB of 16 bits in a lut16Type, in which 0xff00 means 100 and 127.
func decodeLegacyLab(v *[3]float32) {
	const most = 65535.0 / 65280
	labToXYZ(v, v[0]*100*most, v[1]*255*most-128, v[2]*255*most-128)
}

// labToXYZ converts CIELAB to XYZ, both under D50.
func labToXYZ(xyz *[3]float32, l, a, b float32) {
	y := (l + 16) / 116
	for i, f := range [3]float32{y + a/500, y, y - b/200} {
		if f > 6.0/29 {
			f = f * f * f
		} else {
			f = (f - 16.0/116) * (108.0 / 841)
		}
		xyz[i] = f * float32(whiteD50[i])
	}
}

// setBlack sets the black point: the luminance of what the profile prints for black.
func (t *lut) setBlack(icc []byte) {
	darkest := [4]byte{255, 255, 255, 255} // most ink
	if t.inputs == 3 {
		darkest = [4]byte{} // least light
	} else if ink, ok := blackInk(icc); ok {
		darkest = ink
	}
	v := t.xyz(&darkest)
	const most = 0.1842 // L* of 50, beyond which this is no black
	t.black = max(0, min(v[1], most))
}

// blackInk returns the inks that a CMYK profile prints black with. Real inks can be limited to less than all.
func blackInk(icc []byte) (ink [4]byte, ok bool) {
	data := tag(icc, "B2A0")
	if len(data) < 32 || data[8] != 3 || data[9] != 4 {
		return ink, false
	}
	kind := string(data[:4])
	t := &lut{inputs: 3, outputs: 4}
	if kind != "mft1" && kind != "mft2" || !t.readTables(data, kind == "mft2") {
		return ink, false
	}
	black := [4]byte{0, 128, 128} // L*, a* and b*
	if string(icc[20:24]) == "XYZ " {
		black = [4]byte{}
	}
	v := t.interpolate(&black)
	for i, c := range t.output {
		ink[i] = byte(255*c.at(v[i]) + 0.5)
	}
	return ink, true
}

// xyz returns the XYZ of device samples.
func (t *lut) xyz(samples *[4]byte) (v [3]float32) {
	nodes := t.interpolate(samples)
	v = [3]float32(nodes[:3])
	for i, c := range t.middle {
		if c != nil {
			v[i] = c.at(v[i])
		}
	}
	if m := t.matrix; m != nil {
		u := v
		for i := range v {
			v[i] = m[i][0]*u[0] + m[i][1]*u[1] + m[i][2]*u[2] + m[i][3]
		}
	}
	for i, c := range t.output[:3] {
		if c != nil {
			v[i] = c.at(v[i])
		}
	}
	t.decode(&v)
	return v
}

// interpolate returns the value of the grid at the position of device samples, linear in each of them.
func (t *lut) interpolate(samples *[4]byte) (v [4]float32) {
	var fraction [4]float32
	var step [4]int // from a node to the next one of an input
	base, stride := 0, t.outputs
	for i := t.inputs - 1; i >= 0; i-- {
		p := t.position[i][samples[i]]
		n := min(int(p), t.points[i]-2)
		fraction[i], step[i] = p-float32(n), stride
		base += n * stride
		stride *= t.points[i]
	}
	for corner := range 1 << t.inputs {
		weight, at := float32(1), base
		for i := range t.inputs {
			if corner>>i&1 != 0 {
				weight, at = weight*fraction[i], at+step[i]
			} else {
				weight *= 1 - fraction[i]
			}
		}
		if weight == 0 {
			continue
		}
		if t.wide {
			for i, node := 0, t.nodes[2*at:]; i < t.outputs; i, node = i+1, node[2:] {
				v[i] += weight / 65535 * float32(binary.BigEndian.Uint16(node))
			}
			continue
		}
		for i, node := range t.nodes[at:][:t.outputs] {
			v[i] += weight / 255 * float32(node)
		}
	}
	return v
}

// convert converts a row of RGBA, in place, to sRGB. If there are four inputs they are amounts of ink: cyan, magenta and
// yellow are in place of red, green and blue, and black is in a row of its own.
func (t *lut) convert(row, black []byte) {
	out := encodeTable()
	var last [4]byte
	var result [3]byte
	for i := 0; 4*i+4 <= len(row); i++ {
		p := row[4*i:][:4]
		samples := [4]byte{p[0], p[1], p[2]}
		if t.inputs == 4 {
			samples[3] = black[i]
		}
		if i == 0 || samples != last { // neighbours are often equal
			v := t.xyz(&samples)
			for c, white := range whiteD50 {
				v[c] = (v[c] - t.black*float32(white)) / (1 - t.black)
			}
			for c, m := range fromXYZ {
				linear := float32(m[0])*v[0] + float32(m[1])*v[1] + float32(m[2])*v[2]
				result[c] = out[int(max(0, min(linear, 1))*(encodeSteps-1)+0.5)]
			}
			last = samples
		}
		p[0], p[1], p[2] = result[0], result[1], result[2]
	}
}

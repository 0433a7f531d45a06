package webpdec

import (
	"context"
	"encoding/binary"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A keyFrame decodes a key frame of VP8: RFC 6386.
type keyFrame struct {
	width, height int
	mbw, mbh      int // in macroblocks

	header     boolReader // first partition: header and modes
	partitions [8]boolReader
	numParts   int

	segments     [4]segment
	useSegments  bool
	absolute     bool // the settings of segments replace those of the frame, instead of being added to them
	updateMap    bool
	segmentProbs [3]uint8
	segment      uint8 // of the current macroblock

	simpleFilter bool
	level        int // of the loop filter; 0 means none
	sharpness    int
	probs        [4][17][3][11]uint8 // of coefficients, by plane, position and context
	useSkip      bool
	skipProb     uint8

	above []aboveMB // state of the macroblocks above, by column
	left  leftMB
	modes [16]uint8

	area   vp8.Area
	coeffs [25][16]int16 // 16 blocks of luma, 4 of each chroma, and the first coefficients of luma
	last   [25]uint8     // number of coefficients of each block, counted up to the last one

	// Rows of samples. The first rows are those of the macroblocks above, which the loop filter may still
	// change.
	planes [3][]byte
	stride [3]int
}

// A segment holds the settings of a group of macroblocks.
type segment struct {
	quantizer int
	strength  int // of the filter
	y, y2, uv [2]int32
	filter    [2]filterLevel // of macroblocks that are predicted as a whole, and of others
}

// An aboveMB is what the macroblock below needs to know.
type aboveMB struct {
	modes   [4]uint8
	nonzero [9]uint8 // blocks with coefficients: 4 of luma, 2 of each chroma, and the first coefficients of luma
	filter  filterLevel
	vp8.Samples
}

// A leftMB is what the macroblock to the right needs to know.
type leftMB struct {
	modes   [4]uint8
	nonzero [9]uint8
}

const (
	borderY = 8
	borderC = 4
)

// readVP8 reads the header of a frame: section 9.
func readVP8(data []byte) (*keyFrame, error) {
	width, height, err := vp8Size(data)
	if err != nil {
		return nil, err
	}
	d := &keyFrame{width: width, height: height, mbw: ceilDiv(width, 16), mbh: ceilDiv(height, 16)}
	n := int(data[0])>>5 | int(data[1])<<3 | int(data[2])<<11
	data = data[10:]
	if n > len(data) {
		return nil, errTruncated
	}
	b := &d.header
	*b = newBoolReader(data[:n])
	b.uint(2) // color space and clamping: nothing to do
	d.readSegments()
	d.readFilter()
	if err := d.readPartitions(data[n:]); err != nil {
		return nil, err
	}
	d.readQuantizers()
	b.bit(128) // refresh of entropy, for video
	d.readProbs()
	if d.useSkip = b.bit(128); d.useSkip {
		d.skipProb = uint8(b.uint(8))
	}
	if b.overrun() {
		return nil, errTruncated
	}
	return d, nil
}

// vp8Size returns the size of a frame.
func vp8Size(data []byte) (width, height int, err error) {
	if len(data) < 10 {
		return 0, 0, errTruncated
	}
	if data[0]&1 != 0 || string(data[3:6]) != "\x9d\x01\x2a" {
		return 0, 0, FormatError("not a VP8 key frame")
	}
	width = int(binary.LittleEndian.Uint16(data[6:]) & 0x3fff)
	height = int(binary.LittleEndian.Uint16(data[8:]) & 0x3fff)
	if width == 0 || height == 0 {
		return 0, 0, FormatError("VP8 frame without pixels")
	}
	return width, height, nil
}

// readSegments reads the settings of segments: section 9.3.
func (d *keyFrame) readSegments() {
	b := &d.header
	if d.useSegments = b.bit(128); !d.useSegments {
		return
	}
	d.updateMap = b.bit(128)
	d.absolute = true
	if b.bit(128) {
		d.absolute = b.bit(128)
		for i := range d.segments {
			d.segments[i].quantizer = b.optional(7)
		}
		for i := range d.segments {
			d.segments[i].strength = b.optional(6)
		}
	}
	if !d.updateMap {
		return
	}
	for i := range d.segmentProbs {
		d.segmentProbs[i] = 255
		if b.bit(128) {
			d.segmentProbs[i] = uint8(b.uint(8))
		}
	}
}

// readFilter reads the settings of the loop filter: section 9.6.
func (d *keyFrame) readFilter() {
	b := &d.header
	d.simpleFilter = b.bit(128)
	d.level = b.uint(6)
	d.sharpness = b.uint(3)
	var delta [2]int // for this kind of frame, and for macroblocks that are not predicted as a whole
	if useDeltas := b.bit(128); useDeltas {
		var deltas [8]int // zero unless they are stored
		if b.bit(128) {
			for i := range deltas {
				deltas[i] = b.optional(6)
			}
		}
		delta = [2]int{deltas[0], deltas[0] + deltas[4]}
	}
	for i := range d.segments {
		s := &d.segments[i]
		level := d.level
		if d.useSegments {
			level = s.strength
			if !d.absolute {
				level += d.level
			}
		}
		for j := range s.filter {
			if d.level > 0 {
				s.filter[j] = newFilterLevel(level+delta[j], d.sharpness)
			}
			s.filter[j].inner = j == 1
		}
	}
}

// newFilterLevel returns the limits for a level: section 15.2.
func newFilterLevel(level, sharpness int) filterLevel {
	if level <= 0 {
		return filterLevel{}
	}
	level = min(level, 63)
	interior := level
	if sharpness > 0 {
		interior >>= 1
		if sharpness > 4 {
			interior >>= 1
		}
		interior = min(interior, 9-sharpness)
	}
	interior = max(interior, 1)
	f := filterLevel{edge: uint8(2*level + interior), interior: uint8(interior)}
	if level >= 40 {
		f.variance = 2
	} else if level >= 15 {
		f.variance = 1
	}
	return f
}

// readPartitions finds the partitions with coefficients: section 9.5.
func (d *keyFrame) readPartitions(data []byte) error {
	d.numParts = 1 << d.header.uint(2)
	sizes := 3 * (d.numParts - 1)
	if sizes > len(data) {
		return errTruncated
	}
	rest := data[sizes:]
	for i := range d.numParts {
		n := len(rest)
		if i < d.numParts-1 {
			n = int(data[3*i]) | int(data[3*i+1])<<8 | int(data[3*i+2])<<16
		}
		if n > len(rest) {
			return errTruncated
		}
		d.partitions[i] = newBoolReader(rest[:n])
		rest = rest[n:]
	}
	return nil
}

// readQuantizers reads the quantization steps: section 9.6.
func (d *keyFrame) readQuantizers() {
	b := &d.header
	base := b.uint(7)
	yDC, y2DC, y2AC, uvDC, uvAC := b.optional(4), b.optional(4), b.optional(4), b.optional(4), b.optional(4)
	step := func(steps *[128]uint16, q, limit int) int32 { return int32(steps[max(0, min(limit, q))]) }
	for i := range d.segments {
		s := &d.segments[i]
		q := base
		if d.useSegments {
			q = s.quantizer
			if !d.absolute {
				q += base
			}
		}
		s.y = [2]int32{step(&vp8.DCSteps, q+yDC, 127), step(&vp8.ACSteps, q, 127)}
		s.y2 = [2]int32{2 * step(&vp8.DCSteps, q+y2DC, 127), max(8, step(&vp8.ACSteps, q+y2AC, 127)*155/100)}
		s.uv = [2]int32{step(&vp8.DCSteps, q+uvDC, 117), step(&vp8.ACSteps, q+uvAC, 127)} // the DC step is at most 132
	}
}

// readProbs reads the probabilities of coefficients: section 13.4.
func (d *keyFrame) readProbs() {
	p := vp8.DefaultProbs
	for i := range p {
		for j := range p[i] {
			for k := range p[i][j] {
				for l := range p[i][j][k] {
					if d.header.bit(vp8.UpdateProbs[i][j][k][l]) {
						p[i][j][k][l] = uint8(d.header.uint(8))
					}
				}
			}
		}
		for n, band := range vp8.Bands {
			d.probs[i][n] = p[i][band]
		}
	}
}

// decode decodes the frame and passes its rows to out from top to bottom.
func (d *keyFrame) decode(ctx context.Context, out rowSink) error {
	d.above = make([]aboveMB, d.mbw+1)
	d.stride = [3]int{16 * d.mbw, 8 * d.mbw, 8 * d.mbw}
	d.planes[0] = make([]byte, (borderY+16)*d.stride[0])
	d.planes[1] = make([]byte, (borderC+8)*d.stride[1])
	d.planes[2] = make([]byte, (borderC+8)*d.stride[2])
	for mby := range d.mbh {
		if err := ctx.Err(); err != nil {
			return err
		}
		d.left = leftMB{}
		part := &d.partitions[mby&(d.numParts-1)]
		for mbx := range d.mbw {
			d.macroblock(part, mbx, mby)
		}
		if d.header.overrun() || part.overrun() {
			return errTruncated
		}
		if d.level > 0 {
			d.filterRow(mby)
		}
		first, last := 0, 16
		if mby == 0 {
			first = borderY
		}
		if mby == d.mbh-1 {
			last += borderY
		}
		for row := first; row < last; row++ {
			y := 16*mby - borderY + row
			if y >= d.height {
				break
			}
			c := row / 2
			err := out.addYCbCr(y, d.planes[0][row*d.stride[0]:][:d.width], d.planes[1][c*d.stride[1]:], d.planes[2][c*d.stride[2]:])
			if err != nil {
				return err
			}
		}
		copy(d.planes[0], d.planes[0][16*d.stride[0]:])
		copy(d.planes[1], d.planes[1][8*d.stride[1]:])
		copy(d.planes[2], d.planes[2][8*d.stride[2]:])
	}
	return nil
}

// A rowSink takes the rows of a frame. Those of chroma, which have half the width and come twice, may be too long.
type rowSink interface {
	addYCbCr(y int, luma, cb, cr []byte) error
}

// macroblock decodes a macroblock to planes, unfiltered.
func (d *keyFrame) macroblock(part *boolReader, mbx, mby int) {
	b := &d.header
	if d.updateMap {
		d.readSegment()
	}
	skip := d.useSkip && b.bit(d.skipProb)
	above := &d.above[mbx]
	whole := b.bit(145)
	var yMode uint8
	if whole {
		yMode = d.readWholeMode()
		above.modes = [4]uint8{yMode, yMode, yMode, yMode}
		d.left.modes = above.modes
	} else {
		d.readModes(above)
	}
	uvMode := d.readChromaMode()

	s := &d.segments[d.segment]
	coded := false
	if skip {
		// Whether the first coefficients of luma were coded stays as it was if this macroblock has none of its own.
		y2Left, y2Above := d.left.nonzero[8], above.nonzero[8]
		d.left.nonzero, above.nonzero = [9]uint8{}, [9]uint8{}
		if !whole {
			d.left.nonzero[8], above.nonzero[8] = y2Left, y2Above
		}
	} else {
		coded = d.readCoefficients(part, above, s, whole)
	}

	a := &d.area
	var right *vp8.Samples
	if mbx < d.mbw-1 {
		right = &d.above[mbx+1].Samples
	}
	a.Prepare(&above.Samples, right, mbx, mby)
	if whole {
		a.PredictWhole(vp8.AtY, 16, yMode, mbx, mby)
		if coded {
			for i := range 16 {
				d.addResidual(vp8.AtY+i/4*4*vp8.Stride+i%4*4, i)
			}
		}
	} else {
		for i := range 16 {
			at := vp8.AtY + i/4*4*vp8.Stride + i%4*4
			a.Predict4(at, d.modes[i])
			if coded {
				d.addResidual(at, i)
			}
		}
	}
	a.PredictWhole(vp8.AtU, 8, uvMode, mbx, mby)
	a.PredictWhole(vp8.AtV, 8, uvMode, mbx, mby)
	if coded {
		for i := range 4 {
			at := i/2*4*vp8.Stride + i%2*4
			d.addResidual(vp8.AtU+at, 16+i)
			d.addResidual(vp8.AtV+at, 20+i)
		}
	}
	f := s.filter[1]
	if whole {
		f = s.filter[0]
	}
	f.inner = f.inner || coded
	above.filter = f
	d.storeArea(above, mbx)
}

// readSegment reads the segment of a macroblock: section 10.
func (d *keyFrame) readSegment() {
	b := &d.header
	if b.bit(d.segmentProbs[0]) {
		d.segment = 2 + uint8(b.extra(d.segmentProbs[2]))
	} else {
		d.segment = uint8(b.extra(d.segmentProbs[1]))
	}
}

// readWholeMode returns the mode of the 16x16 luma block: section 11.2.
func (d *keyFrame) readWholeMode() uint8 {
	b := &d.header
	if b.bit(156) {
		if b.bit(128) {
			return vp8.TM
		}
		return vp8.HE
	}
	if b.bit(163) {
		return vp8.VE
	}
	return vp8.DC
}

// readChromaMode returns the mode of both chroma blocks: section 11.2.
func (d *keyFrame) readChromaMode() uint8 {
	b := &d.header
	switch {
	case !b.bit(142):
		return vp8.DC
	case !b.bit(114):
		return vp8.VE
	case !b.bit(183):
		return vp8.HE
	}
	return vp8.TM
}

// readModes reads the modes of the 4x4 luma blocks: section 11.3.
func (d *keyFrame) readModes(above *aboveMB) {
	b := &d.header
	for y := range 4 {
		mode := d.left.modes[y]
		for x := range 4 {
			p := &vp8.ModeProbs[above.modes[x]][mode]
			switch {
			case !b.bit(p[0]):
				mode = vp8.DC
			case !b.bit(p[1]):
				mode = vp8.TM
			case !b.bit(p[2]):
				mode = vp8.VE
			case !b.bit(p[3]):
				switch {
				case !b.bit(p[4]):
					mode = vp8.HE
				case !b.bit(p[5]):
					mode = vp8.RD
				default:
					mode = vp8.VR
				}
			case !b.bit(p[6]):
				mode = vp8.LD
			case !b.bit(p[7]):
				mode = vp8.VL
			case !b.bit(p[8]):
				mode = vp8.HD
			default:
				mode = vp8.HU
			}
			d.modes[4*y+x] = mode
			above.modes[x] = mode
		}
		d.left.modes[y] = mode
	}
}

// readCoefficients reads the coefficients of a macroblock and reports whether it has any: section 13.
func (d *keyFrame) readCoefficients(part *boolReader, above *aboveMB, s *segment, whole bool) (coded bool) {
	luma := blockKind{probs: &d.probs[vp8.PlaneY], steps: s.y}
	left := &d.left
	if whole {
		y2 := blockKind{probs: &d.probs[vp8.PlaneY2], steps: s.y2}
		if d.readBlock(part, &y2, 24, &left.nonzero[8], &above.nonzero[8]) {
			vp8.InverseWHT(&d.coeffs[24], &d.coeffs)
			d.coeffs[24] = [16]int16{}
		}
		luma.probs, luma.first = &d.probs[vp8.PlaneYAfterY2], 1
	}
	for i := range 16 {
		more := d.readBlock(part, &luma, i, &left.nonzero[i/4], &above.nonzero[i%4])
		coded = coded || more || d.coeffs[i][0] != 0
	}
	chroma := blockKind{probs: &d.probs[vp8.PlaneC], steps: s.uv}
	for i := range 8 {
		more := d.readBlock(part, &chroma, 16+i, &left.nonzero[4+i/2], &above.nonzero[4+i/4*2+i%2])
		coded = coded || more
	}
	return coded
}

// readBlock reads the coefficients of block i and reports whether it has any. left and above say the same of the blocks
// beside it, and then of this block.
func (d *keyFrame) readBlock(part *boolReader, k *blockKind, i int, left, above *uint8) bool {
	n := part.coefficients(k, *left+*above, &d.coeffs[i])
	*left = 0
	if n > k.first {
		*left = 1
	}
	*above = *left
	d.last[i] = uint8(n)
	return n > k.first
}

// addResidual adds block i to its prediction, and clears it.
func (d *keyFrame) addResidual(at, i int) {
	c := &d.coeffs[i]
	if d.last[i] > 1 {
		d.area.AddDCT(at, c)
		*c = [16]int16{}
	} else if c[0] != 0 {
		d.area.AddDC(at, c[0])
		c[0] = 0
	}
}

// storeArea copies a macroblock from the area to the planes.
func (d *keyFrame) storeArea(above *aboveMB, mbx int) {
	a := &d.area
	at := borderY*d.stride[0] + 16*mbx
	for y := range 16 {
		*(*[16]byte)(d.planes[0][at:]) = [16]byte(a[vp8.AtY+y*vp8.Stride:])
		at += d.stride[0]
	}
	at = borderC*d.stride[1] + 8*mbx
	for y := range 8 {
		*(*[8]byte)(d.planes[1][at:]) = [8]byte(a[vp8.AtU+y*vp8.Stride:])
		*(*[8]byte)(d.planes[2][at:]) = [8]byte(a[vp8.AtV+y*vp8.Stride:])
		at += d.stride[1]
	}
	a.Save(&above.Samples)
}

// filterRow applies the loop filter to a row of macroblocks: section 15.
func (d *keyFrame) filterRow(mby int) {
	for mbx := range d.mbw {
		f := d.above[mbx].filter
		if f.edge == 0 {
			continue
		}
		at := borderY*d.stride[0] + 16*mbx
		if d.simpleFilter {
			d.filterSimple(at, f, mbx, mby)
			continue
		}
		l := f.limits()
		for i, n := range [3]int{16, 8, 8} {
			pix, stride := d.planes[i], d.stride[i]
			if i == 1 {
				at = borderC*stride + 8*mbx
			}
			if mbx > 0 {
				normalAcross(pix[at-4:], stride, n, &l, true)
			}
			if f.inner {
				for x := 4; x < n; x += 4 {
					normalAcross(pix[at+x-4:], stride, n, &l, false)
				}
			}
			if mby > 0 {
				normalDown(pix[at-4*stride:], stride, n, &l, true)
			}
			if f.inner {
				for y := 4; y < n; y += 4 {
					normalDown(pix[at+(y-4)*stride:], stride, n, &l, false)
				}
			}
		}
	}
}

func (d *keyFrame) filterSimple(at int, f filterLevel, mbx, mby int) {
	pix, stride, limit := d.planes[0], d.stride[0], int32(f.edge)
	if mbx > 0 {
		simpleAcross(pix, at, stride, limit+4)
	}
	if f.inner {
		for x := 4; x < 16; x += 4 {
			simpleAcross(pix, at+x, stride, limit)
		}
	}
	if mby > 0 {
		simpleDown(pix, at, stride, limit+4)
	}
	if f.inner {
		for y := 4; y < 16; y += 4 {
			simpleDown(pix, at+y*stride, stride, limit)
		}
	}
}

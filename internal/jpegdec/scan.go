package jpegdec

import (
	"context"
	"math"
)

// A scan is the content of an SOS segment (T.81 B.2.3).
type scan struct {
	n     int // number of components
	parts [4]part

	// The band of coefficients of a progressive scan, and the position of their lowest bit before the scan, or 0 in a
	// first scan, and after it (T.81 G.1.1.1).
	first, last int
	high, low   uint
}

// A part is the share of one component in a scan.
type part struct {
	*component
	dc, ac       int // numbers of its tables
	across, down int // blocks in one MCU (T.81 A.2)
}

// parseScan reads the SOS segment p. It reports whether the segment is valid.
func (d *decoder) parseScan(p []byte) (s scan, ok bool) {
	if len(p) < 6 || len(p) < 4+2*int(p[0]) {
		return s, false
	}
	s.n = int(p[0])
	if s.n < 1 || s.n > d.N {
		return s, false
	}
	s.last = 63
	if d.Progressive {
		band := p[1+2*s.n:]
		s.first, s.last = int(band[0]), int(band[1])
		s.high, s.low = uint(band[2]>>4), uint(band[2]&15)
		if !s.validBand() {
			return s, false
		}
	}
	for i := range s.n {
		if !d.parsePart(&s, i, p[1+2*i], p[2+2*i]) {
			return s, false
		}
	}
	return s, true
}

// parsePart sets part i of s: that of the component with the identifier id, which uses the tables in the two halves of
// tables. It reports whether these are valid.
func (d *decoder) parsePart(s *scan, i int, id, tables byte) bool {
	t := &s.parts[i]
	for j := range d.N {
		// Some files give two components the same identifier. Those are taken in the order of the frame.
		c := &d.comp[j]
		if c.id == id && !s.has(c) {
			t.component = c
			break
		}
	}
	if t.component == nil {
		return false
	}
	// Encoders may write anything for a table that the scan does not use.
	if s.first == 0 && s.high == 0 {
		t.dc = int(tables >> 4)
	}
	if s.last > 0 {
		t.ac = int(tables & 15)
	}
	t.across, t.down = t.H, t.V
	if s.n == 1 {
		t.across, t.down = 1, 1
	}
	return t.dc <= 3 && t.ac <= 3
}

// validBand reports whether a progressive scan may have the band and the bits that s has (T.81 G.1.1.1).
func (s *scan) validBand() bool {
	return s.first <= s.last && s.last <= 63 &&
		(s.first == 0) == (s.last == 0) && // a scan is either of DC or of AC coefficients
		(s.first == 0 || s.n == 1) && // and AC coefficients are not interleaved
		s.low <= 13 && (s.high == 0 || s.high == s.low+1)
}

func (s *scan) has(c *component) bool {
	for i := range s.parts {
		if s.parts[i].component == c {
			return true
		}
	}
	return false
}

// size returns the number of MCUs in a row and in a column of the scan.
func (s *scan) size(d *decoder) (x, y int) {
	if s.n == 1 {
		return s.parts[0].blocksX, s.parts[0].blocksY
	}
	return d.mcusX, d.mcusY
}

// An interval is the state of a restart interval. A scan without restart markers is one interval.
type interval struct {
	left       int  // MCUs that are not decoded yet
	hasData    bool // the data of the next MCU was found
	decodedAny bool // an MCU was decoded
	expect     byte // number of the restart marker at the end
	lost       int  // intervals without data from this one on
}

// decodeScan reads the data of the scan s. MCUs without data become gray, or keep the coefficients of earlier scans.
func (d *decoder) decodeScan(ctx context.Context, s *scan) error {
	width, rows := s.size(d)
	// Rows below the window are not needed. Neither is the data after them.
	height := min(rows, ceilDiv(s.parts[0].window.Max.Y, s.parts[0].down))
	first := d.wanted == 0
	if first {
		d.wanted = int64(width) * int64(height)
	}
	iv := interval{left: d.restart, hasData: true}
	if d.restart == 0 {
		iv.left = math.MaxInt
	}
	for y := range height {
		if err := ctx.Err(); err != nil {
			return err
		}
		for x := 0; x < width; {
			if iv.left == 0 {
				d.nextInterval(s, &iv)
			}
			end := x + min(width-x, iv.left)
			found := d.decodeInterval(s, &iv, y, x, end)
			if first {
				d.found += int64(found)
			}
			iv.left -= end - x
			x = end
		}
	}
	d.Damaged = d.Damaged || d.eobRun > 0 && height == rows
	return nil
}

// nextInterval goes on to the restart interval after iv.
func (d *decoder) nextInterval(s *scan, iv *interval) {
	if iv.lost > 1 {
		iv.lost--
	} else {
		iv.lost = d.bits.resync(iv.expect, d.hasSurplus())
	}
	iv.left, iv.hasData, iv.expect = d.restart, iv.lost == 0, (iv.expect+1)&7
	d.Damaged = d.Damaged || d.eobRun > 0
	d.beginInterval(s)
}

// decodeInterval decodes the MCUs from x up to end in row y, which are in one restart interval. It returns how many had data.
func (d *decoder) decodeInterval(s *scan, iv *interval, y, x, end int) (found int) {
	for iv.hasData && x < end {
		start := x
		x = d.decodeSpan(s, y, start, end)
		found += x - start
		iv.decodedAny = iv.decodedAny || x > start
		d.decodedAny = d.decodedAny || x > start
		if x < end {
			d.Damaged = true
			// Some files have restart markers, but no DRI segment. Intervals without any data are given up, because a
			// file may have very many.
			iv.hasData = d.restart == 0 && iv.decodedAny && d.bits.skipRestart()
			iv.decodedAny = false
			if iv.hasData {
				d.beginInterval(s)
			}
		}
	}
	if x < end {
		d.Damaged = true
		d.clearSpan(s, y, x, end)
	}
	return found
}

// hasSurplus reports whether the segment has more data than its MCUs take. Then its marker may have been destroyed.
func (d *decoder) hasSurplus() bool {
	r := &d.bits
	switch {
	case !r.ended:
		return true
	case d.Arithmetic:
		return d.arithmetic.unread() >= 24 // the end of the code takes two bits (T.81 D.1.8), and the last byte is padded
	}
	return 8*(r.fill-r.pos)+int(r.n) >= 16 // the last byte is padded
}

// skipRestart begins the segment after the restart marker that ends the current one. It reports false if the current
// segment has no such marker.
func (r *bitReader) skipRestart() bool {
	m, pos := nextMarker(r.data, r.next)
	if !r.ended || m < markerRST0 || m > markerRST7 {
		return false
	}
	r.start(pos)
	return true
}

// resync finds the next restart marker, whose number should be expect, and begins the segment after it. If the marker
// is that of a later interval, resync returns the number of intervals without data before it. surplus tells whether the
// segment before the marker has more data than needed. T.81 leaves the choice to the decoder. This one is close to
// libjpeg's.
func (r *bitReader) resync(expect byte, surplus bool) (lost int) {
	m, pos := nextMarker(r.data, r.next)
	if m < markerRST0 || m > markerRST7 {
		r.next, r.ended = pos-2, true
		return math.MaxInt
	}
	ahead := int(m-markerRST0-expect) & 7
	r.damaged = r.damaged || ahead != 0
	if surplus && (ahead == 1 || ahead == 2) {
		r.next, r.ended = pos-2, true
		return ahead
	}
	r.start(pos)
	return 0
}

// beginInterval prepares for the first MCU of a scan or of a restart interval.
func (d *decoder) beginInterval(s *scan) {
	d.eobRun = 0
	if d.Arithmetic {
		d.arithmetic.start(s)
	}
	for i := range s.n {
		s.parts[i].prediction = 0
	}
}

// decodeSpan decodes the MCUs from x0 up to x1 in row y, all of one restart interval. It returns x1, or the first MCU
// whose data is incomplete.
func (d *decoder) decodeSpan(s *scan, y, x0, x1 int) int {
	switch {
	case d.Arithmetic:
		return d.arithmeticSpan(s, y, x0, x1)
	case !d.Progressive:
		return d.sequentialSpan(s, y, x0, x1)
	case s.first == 0 && s.high == 0:
		return d.dcFirstSpan(s, y, x0, x1)
	case s.first == 0:
		return d.dcRefineSpan(s, y, x0, x1)
	case s.high == 0:
		return d.acFirstSpan(s, y, x0, x1)
	}
	return d.acRefineSpan(s, y, x0, x1)
}

// clearSpan makes the MCUs from x0 up to x1 in row y gray, which have no data. In a progressive picture they keep the
// coefficients of earlier scans.
func (d *decoder) clearSpan(s *scan, y, x0, x1 int) {
	if d.Progressive {
		return
	}
	for x := x0; x < x1; x++ {
		for i := range s.n {
			t := &s.parts[i]
			for j := range t.across * t.down {
				bx, by := x*t.across+j%t.across, y*t.down+j/t.across
				if t.inWindow(bx, by) {
					writeFlat(0, t.samplesAt(bx, by), t.stride, t.size)
				}
			}
		}
	}
}

// sequentialSpan is decodeSpan for a sequential scan. It writes the samples to the planes.
func (d *decoder) sequentialSpan(s *scan, y, x0, x1 int) int {
	r := &d.bits
	var b block
	for x := x0; x < x1; x++ {
		for i := range s.n {
			t := &s.parts[i]
			dc, ac := &d.huffman[0][t.dc], &d.huffman[1][t.ac]
			for v := range t.down {
				for h := range t.across {
					bx, by := x*t.across+h, y*t.down+v
					q := &t.quant
					inside := t.inWindow(bx, by)
					if !inside {
						q = &skipAll
					}
					diff, last, ok := r.readBlock(&b, q, dc, ac)
					if r.pos > r.safe && !r.refill() {
						return x
					}
					if !ok {
						d.Damaged = true
					}
					t.prediction += diff
					if inside {
						t.writeBlock(&b, t.prediction, last, bx, by)
					}
				}
			}
		}
	}
	return x1
}

// skipAll makes readBlock skip all AC coefficients of a block outside the window.
var skipAll dequant

// writeBlock writes the samples of block (x, y), whose coefficients are dc and those in b, and clears b. The AC
// coefficients after the zig-zag index last are zero.
func (c *component) writeBlock(b *block, dc int32, last, x, y int) {
	dst := c.samplesAt(x, y)
	v := c.quant.dc(dc)
	if last == 0 {
		writeFlat(v, dst, c.stride, c.size)
		return
	}
	b[0] += v << 32
	switch c.size {
	case 8:
		idct8(b, last, dst, c.stride)
	case 4:
		idct4(b, dst, c.stride)
	case 2:
		idct2(b, dst, c.stride)
	}
}

// inWindow reports whether the plane shows block (x, y).
func (c *component) inWindow(x, y int) bool {
	return c.window.Min.X <= x && x < c.window.Max.X && c.window.Min.Y <= y && y < c.window.Max.Y
}

// samplesAt returns the samples of the plane from the first of block (x, y) on.
func (c *component) samplesAt(x, y int) []byte {
	return c.pix[((y-c.window.Min.Y)*c.stride+(x-c.window.Min.X))*c.size:]
}

package jpegdec

import (
	"context"
	"math"
)

// A scan is what an SOS segment says (T.81 B.2.3).
type scan struct {
	n     int
	parts [4]part

	// The band of coefficients, and the bits of them, that a progressive scan
	// is of (T.81 G.1.1.1). A sequential scan is of all.
	first, last int
	high, low   uint
}

// A part is one component's of a scan.
type part struct {
	*component
	dc, ac int // numbers of its tables
	// The blocks of one MCU (T.81 A.2).
	across, down int
}

// parseScan reads the SOS segment p. It reports whether it makes sense.
func (d *decoder) parseScan(p []byte) (s scan, ok bool) {
	if len(p) < 6 || len(p) < 4+2*int(p[0]) {
		return s, false
	}
	s.n = int(p[0])
	if s.n < 1 || s.n > d.N {
		return s, false
	}
	for i := range s.n {
		t := &s.parts[i]
		for j := range d.N {
			// Where two components have the same name, which they must not,
			// they come in order.
			c := &d.comp[j]
			if c.id == p[1+2*i] && !s.has(c) {
				t.component = c
				break
			}
		}
		if t.component == nil {
			return s, false
		}
		t.dc, t.ac = int(p[2+2*i]>>4), int(p[2+2*i]&15)
		if t.dc > 3 || t.ac > 3 {
			return s, false
		}
		t.across, t.down = t.H, t.V
		if s.n == 1 {
			t.across, t.down = 1, 1
		}
	}
	s.last = 63
	if !d.Progressive {
		return s, true
	}
	p = p[1+2*s.n:]
	s.first, s.last = int(p[0]), int(p[1])
	s.high, s.low = uint(p[2]>>4), uint(p[2]&15)
	ok = s.first <= s.last && s.last <= 63 && // a band
		(s.first == 0) == (s.last == 0) && // of DC or of AC coefficients
		(s.first == 0 || s.n == 1) &&
		s.low <= 13 && (s.high == 0 || s.high == s.low+1)
	return s, ok
}

func (s *scan) has(c *component) bool {
	for i := range s.parts {
		if s.parts[i].component == c {
			return true
		}
	}
	return false
}

// size returns how many MCUs the scan has across and down.
func (s *scan) size(d *decoder) (x, y int) {
	if s.n == 1 {
		return s.parts[0].blocksX, s.parts[0].blocksY
	}
	return d.mcusX, d.mcusY
}

// read reads the scan s: the MCUs of each row, and of each restart interval, in
// order, as far as there is data of them.
func (d *decoder) read(ctx context.Context, s *scan) error {
	width, rows := s.size(d)
	// Rows below the window are not needed, and nothing follows them.
	height := min(rows, ceilDiv(s.parts[0].window.Max.Y, s.parts[0].down))
	alive := true
	expect := byte(0) // number of the next restart marker
	lost := 0         // restart intervals that there are no data of
	left := d.restart
	if left == 0 {
		left = math.MaxInt
	}
	for y := range height {
		if err := ctx.Err(); err != nil {
			return err
		}
		for x := 0; x < width; {
			if left == 0 {
				left = d.restart
				if lost > 1 {
					lost--
				} else {
					lost = d.bits.resync(expect)
				}
				alive = lost == 0
				d.Damaged = d.Damaged || d.eobRun > 0
				d.resetPredictions(s)
				expect = (expect + 1) & 7
			}
			end := width
			if left < end-x {
				end = x + left
			}
			left -= end - x
			if alive {
				got := d.span(s, y, x, end)
				d.decoded = d.decoded || got > x
				x = got
				alive = got == end
			}
			if x < end {
				d.Damaged = true
				d.missing(s, y, x, end)
			}
			x = end
		}
	}
	d.Damaged = d.Damaged || d.eobRun > 0 && height == rows
	return nil
}

// resync looks for the restart marker of the number that is expected, and
// begins the segment behind it. It returns how many restart intervals have to
// be given up before there is data again. T.81 leaves that to the decoder; this
// is about what libjpeg does.
func (r *bitReader) resync(expect byte) (lost int) {
	// A segment that was read to its end leaves no more than the padding of its
	// last byte. If there is more, a marker may have been destroyed.
	surplus := !r.ended || 8*(r.fill-r.pos)+int(r.n) >= 16
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

// resetPredictions prepares for the first MCU of a scan or of a restart interval.
func (d *decoder) resetPredictions(s *scan) {
	d.eobRun = 0
	for i := range s.n {
		s.parts[i].prediction = 0
	}
}

// span reads the MCUs from x0 up to x1 of row y, between which there is no
// restart. It returns x1, or the first MCU that there is not all data of.
func (d *decoder) span(s *scan, y, x0, x1 int) int {
	switch {
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

// missing does what there is to do for MCUs without data. In a progressive
// picture that is nothing: they have coefficients of earlier scans, or zeros.
func (d *decoder) missing(s *scan, y, x0, x1 int) {
	if d.Progressive {
		return
	}
	for x := x0; x < x1; x++ {
		for i := range s.n {
			t := &s.parts[i]
			for j := range t.across * t.down {
				bx, by := x*t.across+j%t.across, y*t.down+j/t.across
				if t.inWindow(bx, by) {
					flat(0, t.at(bx, by), t.stride, t.size)
				}
			}
		}
	}
}

// sequentialSpan decodes blocks straight to the planes.
func (d *decoder) sequentialSpan(s *scan, y, x0, x1 int) int {
	r := &d.bits
	var b block
	for x := x0; x < x1; x++ {
		for i := range s.n {
			t := &s.parts[i]
			dc, ac := &d.huff[0][t.dc], &d.huff[1][t.ac]
			for v := range t.down {
				for h := range t.across {
					bx, by := x*t.across+h, y*t.down+v
					q := &t.quant
					inside := t.inWindow(bx, by)
					if !inside {
						q = &skipAll
					}
					diff, last, ok := r.block(&b, q, dc, ac)
					if r.pos > r.safe && !r.more() {
						return x
					}
					if !ok {
						d.Damaged = true
					}
					t.prediction += diff
					if inside {
						t.put(&b, t.prediction, last, bx, by)
					}
				}
			}
		}
	}
	return x1
}

// skipAll is for blocks that are not wanted.
var skipAll dequant

// put transforms the AC coefficients in b and the DC coefficient dc, writes the
// samples of block (x, y), and clears b. The AC coefficients behind the zig-zag
// index last are zero.
func (c *component) put(b *block, dc int32, last, x, y int) {
	dst := c.at(x, y)
	v := c.quant.dc(dc)
	if last == 0 {
		flat(v, dst, c.stride, c.size)
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

func (c *component) inWindow(x, y int) bool {
	return c.window.Min.X <= x && x < c.window.Max.X && c.window.Min.Y <= y && y < c.window.Max.Y
}

// at returns the samples of the plane from block (x, y) on.
func (c *component) at(x, y int) []byte {
	return c.pix[((y-c.window.Min.Y)*c.stride+(x-c.window.Min.X))*c.size:]
}

package jpegdec

import (
	"context"
	"math/bits"
)

// A progressive picture (T.81 annex G) is coded in several scans. Each adds a band of coefficients, or one more bit of
// them, to all blocks. Between scans the decoder keeps two things for each block: the coefficients up to the last that
// the scale needs, and one bit for each of the 64 that tells whether it is nonzero. Those bits decide how refinements
// are coded. So a picture that is decoded at 1/4 takes 18 bytes a block instead of 136.

// neededScans returns which scans in the segments from pos on have to be read: those of coefficients that the scale
// needs, and those that decide how the needed refinements are coded. Scans beyond limit must not be read.
func (d *decoder) neededScans(pos int) (needed [maxScans]bool, limit int) {
	var scans [maxScans]scan
	var counts [4][64]int // of scans, by component and coefficient
	n := 0
	limit = maxScans
	for n < limit {
		seg, ok := nextSegment(d.bits.data, pos)
		if !ok || seg.marker == markerEOI || n > 0 && isFrame(seg.marker) {
			break
		}
		pos = seg.end
		if seg.marker == markerSOS {
			s, ok := d.parseScan(seg.data)
			if !ok {
				s = scan{} // counts as needed: reading it reports the damage
			}
			if ok && !s.count(&counts) {
				limit = n
				break
			}
			scans[n] = s
			n++
		}
	}
	var history [4]uint64 // coefficients whose earlier scans are needed
	for i := range d.N {
		history[i] = d.comp[i].neededCoefficients()
	}
	for i := n - 1; i >= 0; i-- {
		s := &scans[i]
		if s.first == 0 {
			needed[i] = true
			continue
		}
		c := s.parts[0].component
		if s.band()&history[c.index] != 0 {
			needed[i] = true
			if s.high > 0 {
				history[c.index] |= s.band()
			}
		}
	}
	return needed, limit
}

// count adds the scan s to counts. It reports whether all counts are within maxScansOfBand.
func (s *scan) count(counts *[4][64]int) bool {
	ok := true
	for i := range s.n {
		for k := s.first; k <= s.last; k++ {
			n := &counts[s.parts[i].index][k]
			*n++
			ok = ok && *n <= maxScansOfBand
		}
	}
	return ok
}

// neededCoefficients returns the mask of the coefficients that the component's scale needs.
func (c *component) neededCoefficients() (mask uint64) {
	for k := range lastCoefficient[c.size] + 1 {
		if row, col := int(zigzag[k])/8, int(zigzag[k])%8; row < c.size && col < c.size {
			mask |= 1 << k
		}
	}
	return mask
}

// band returns the mask of the coefficients that the scan codes.
func (s *scan) band() uint64 {
	return bitsBelow(s.last+1) &^ bitsBelow(s.first)
}

// bitsBelow returns the mask of the bits 0 to k-1.
func bitsBelow(k int) uint64 { return 1<<k - 1 }

// dcFirstSpan is decodeSpan for the upper bits of DC coefficients (T.81 G.1.2.1).
func (d *decoder) dcFirstSpan(s *scan, y, x0, x1 int) int {
	r := &d.bits
	for x := x0; x < x1; x++ {
		for i := range s.n {
			t := &s.parts[i]
			dc := &d.huffman[0][t.dc]
			for v := range t.down {
				for h := range t.across {
					c := r.cursor.need(&r.buf)
					e := dc.lookup(c.acc)
					r.cursor = c.drop(e.bits())
					if r.pos > r.safe && !r.refill() {
						return x
					}
					d.Damaged = d.Damaged || e.advance() != 1
					t.prediction += e.value()
					j := t.blockIndex(x*t.across+h, y*t.down+v)
					t.coef[j*(t.quant.last+1)] = d.coefficient(t.prediction, s.low)
				}
			}
		}
	}
	return x1
}

// dcRefineSpan is decodeSpan for one more bit of DC coefficients (T.81 G.1.2.1).
func (d *decoder) dcRefineSpan(s *scan, y, x0, x1 int) int {
	r := &d.bits
	for x := x0; x < x1; x++ {
		for i := range s.n {
			t := &s.parts[i]
			for v := range t.down {
				for h := range t.across {
					c := r.cursor.need(&r.buf)
					bit := int16(c.acc >> 63)
					r.cursor = c.drop(1)
					if r.pos > r.safe && !r.refill() {
						return x
					}
					j := t.blockIndex(x*t.across+h, y*t.down+v)
					t.coef[j*(t.quant.last+1)] |= bit << s.low
				}
			}
		}
	}
	return x1
}

// acFirstSpan is decodeSpan for the upper bits of AC coefficients (T.81 G.1.2.2).
func (d *decoder) acFirstSpan(s *scan, y, x0, x1 int) int {
	r := &d.bits
	t := &s.parts[0]
	ac := &d.huffman[1][t.ac]
	per := t.quant.last + 1
	for x := x0; x < x1; x++ {
		if d.eobRun > 0 {
			run := min(d.eobRun, x1-x)
			d.eobRun -= run
			x += run - 1
			continue
		}
		j := y*t.coefStride + x
		coef := t.coef[j*per : j*per+per]
		mask := t.nonzero[j]
		c := r.cursor
		for k := s.first - 1; k < s.last; {
			c = c.need(&r.buf)
			e := ac.lookup(c.acc)
			c = c.drop(e.bits())
			k += e.advance()
			if k > s.last {
				if eob <= k && k < bad {
					d.eobRun, c = c.readRun(e, &r.buf)
					d.eobRun--
				} else {
					d.Damaged = true
				}
				break
			}
			v := e.value()
			if k < len(coef) {
				coef[k] = d.coefficient(v, s.low)
			}
			if v != 0 {
				mask |= 1 << k
			}
		}
		r.cursor = c
		if r.pos > r.safe && !r.refill() {
			return x
		}
		t.nonzero[j] = mask
	}
	return x1
}

// readRun reads the number of blocks whose band has no more coefficients. e is the entry of the symbol before it.
func (c cursor) readRun(e entry, buf *buffer) (int, cursor) {
	c = c.need(buf)
	size := uint(e.value()) & 15
	return 1<<size + int(c.acc>>1>>(63-size)), c.drop(size)
}

// acRefineSpan is decodeSpan for one more bit of AC coefficients (T.81 G.1.2.3). The stream has a correction bit for
// each coefficient that is already nonzero. Between these bits, symbols tell which zeros become one, by counting the
// zeros before them.
func (d *decoder) acRefineSpan(s *scan, y, x0, x1 int) int {
	r := &d.bits
	t := &s.parts[0]
	ac := &d.huffman[1][t.ac]
	per := t.quant.last + 1
	band, kept := s.band(), bitsBelow(per)
	for x := x0; x < x1; x++ {
		j := y*t.coefStride + x
		old := t.nonzero[j] & band
		if d.eobRun > 0 && old == 0 {
			d.eobRun--
			continue
		}
		coef := t.coef[j*per : j*per+per]
		zeros, added := band&^old, uint64(0)
		c := r.cursor
		// Correction bits are only collected here and added later. A loop over the coefficients between two symbols
		// would mispredict its end nearly every time.
		rest, corrections := old, uint64(0)
		for d.eobRun == 0 && zeros|rest != 0 {
			c = c.need(&r.buf)
			e := ac.lookup(c.acc)
			c = c.drop(e.bits())
			if e.advance() >= eob {
				d.Damaged = d.Damaged || e.advance() >= bad
				d.eobRun, c = c.readRun(e, &r.buf)
				break
			}
			// The symbol is a number of zeros. The last of them is the new coefficient, or stays zero.
			for range e.advance() - 1 {
				zeros &= zeros - 1
			}
			bit := zeros & -zeros
			if bit == 0 {
				d.Damaged = true
			}
			if v := e.value(); v != 0 {
				added |= bit
				if bit&kept != 0 {
					coef[bits.TrailingZeros64(bit)] = int16(v << s.low)
				}
			}
			below := bit - 1
			corrections, c = c.appendBits(&r.buf, corrections, bits.OnesCount64(rest&below))
			rest &^= below
			zeros &^= bit
		}
		if d.eobRun > 0 {
			d.eobRun--
			corrections, c = c.appendBits(&r.buf, corrections, bits.OnesCount64(rest))
			rest = 0
		}
		r.cursor = c
		if r.pos > r.safe && !r.refill() {
			return x
		}
		t.nonzero[j] |= added
		old &^= rest
		corrections <<= uint(64 - bits.OnesCount64(old))
		addCorrections(coef, old&kept, corrections, s.low)
	}
	return x1
}

// addCorrections adds the upper bits of corrections, shifted left by low, to the magnitudes of the coefficients in mask.
func addCorrections(coef []int16, mask, corrections uint64, low uint) {
	for ; mask != 0; mask &= mask - 1 {
		v := &coef[bits.TrailingZeros64(mask)]
		sign := *v >> 15
		*v += int16(corrections>>63)<<low ^ sign - sign
		corrections <<= 1
	}
}

// appendBits returns to with the next n bits of the stream appended.
func (c cursor) appendBits(buf *buffer, to uint64, n int) (uint64, cursor) {
	c = c.need(buf)
	if n > 32 {
		to, c = to<<32|c.acc>>32, c.drop(32).need(buf)
		n -= 32
	}
	return to<<(n&63) | c.acc>>1>>((63-n)&63), c.drop(uint(n))
}

// coefficient returns v, the upper bits of a coefficient, shifted to their place.
func (d *decoder) coefficient(v int32, low uint) int16 {
	v <<= low
	if v != int32(int16(v)) {
		d.Damaged = true
		return 0
	}
	return int16(v)
}

// blockIndex returns the index of block (x, y) in nonzero. It is valid for all blocks of the MCUs in the rows that are
// read.
func (c *component) blockIndex(x, y int) int { return y*c.coefStride + x }

// render writes the samples of a progressive picture to the plane.
func (c *component) render(ctx context.Context) error {
	var b block
	per := c.quant.last + 1
	low := bitsBelow(per)
	for y := c.window.Min.Y; y < c.window.Max.Y; y++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		for x := c.window.Min.X; x < c.window.Max.X; x++ {
			j := y*c.coefStride + x
			coef := c.coef[j*per : j*per+per]
			last := 0
			for m := c.nonzero[j] & low; m != 0; m &= m - 1 {
				last = bits.TrailingZeros64(m)
				b[c.quant.slot[last&63]%blockSlots] += int64(coef[last]) * c.quant.mul[last&63]
			}
			c.writeBlock(&b, int32(coef[0]), last, x, y)
		}
	}
	return nil
}

package jpegdec

import "math/bits"

// A probability is a state of the probability estimator (T.81 D.1): the probability of the less probable symbol (LPS),
// and the states that follow a decision. The other symbol is the more probable one (MPS).
type probability struct {
	lps      uint16 // width of the LPS's part of an interval, which is at least 0x8000 and less than 0x10000 wide
	afterLPS uint8
	afterMPS uint8
	exchange uint8 // 1 if an LPS becomes the MPS
}

// evenOdds is the state for decisions that are equally likely (T.81 F.1.4.4.2). It never changes.
const evenOdds = 113

// probabilities is T.81 table D.3, and evenOdds. It has an element for each possible value of a bin, which saves bounds
// checks.
var probabilities = [128]probability{
	{0x5a1d, 1, 1, 1}, {0x2586, 14, 2, 0}, {0x1114, 16, 3, 0}, {0x080b, 18, 4, 0},
	{0x03d8, 20, 5, 0}, {0x01da, 23, 6, 0}, {0x00e5, 25, 7, 0}, {0x006f, 28, 8, 0},
	{0x0036, 30, 9, 0}, {0x001a, 33, 10, 0}, {0x000d, 35, 11, 0}, {0x0006, 9, 12, 0},
	{0x0003, 10, 13, 0}, {0x0001, 12, 13, 0}, {0x5a7f, 15, 15, 1}, {0x3f25, 36, 16, 0},
	{0x2cf2, 38, 17, 0}, {0x207c, 39, 18, 0}, {0x17b9, 40, 19, 0}, {0x1182, 42, 20, 0},
	{0x0cef, 43, 21, 0}, {0x09a1, 45, 22, 0}, {0x072f, 46, 23, 0}, {0x055c, 48, 24, 0},
	{0x0406, 49, 25, 0}, {0x0303, 51, 26, 0}, {0x0240, 52, 27, 0}, {0x01b1, 54, 28, 0},
	{0x0144, 56, 29, 0}, {0x00f5, 57, 30, 0}, {0x00b7, 59, 31, 0}, {0x008a, 60, 32, 0},
	{0x0068, 62, 33, 0}, {0x004e, 63, 34, 0}, {0x003b, 32, 35, 0}, {0x002c, 33, 9, 0},
	{0x5ae1, 37, 37, 1}, {0x484c, 64, 38, 0}, {0x3a0d, 65, 39, 0}, {0x2ef1, 67, 40, 0},
	{0x261f, 68, 41, 0}, {0x1f33, 69, 42, 0}, {0x19a8, 70, 43, 0}, {0x1518, 72, 44, 0},
	{0x1177, 73, 45, 0}, {0x0e74, 74, 46, 0}, {0x0bfb, 75, 47, 0}, {0x09f8, 77, 48, 0},
	{0x0861, 78, 49, 0}, {0x0706, 79, 50, 0}, {0x05cd, 48, 51, 0}, {0x04de, 50, 52, 0},
	{0x040f, 50, 53, 0}, {0x0363, 51, 54, 0}, {0x02d4, 52, 55, 0}, {0x025c, 53, 56, 0},
	{0x01f8, 54, 57, 0}, {0x01a4, 55, 58, 0}, {0x0160, 56, 59, 0}, {0x0125, 57, 60, 0},
	{0x00f6, 58, 61, 0}, {0x00cb, 59, 62, 0}, {0x00ab, 61, 63, 0}, {0x008f, 61, 32, 0},
	{0x5b12, 65, 65, 1}, {0x4d04, 80, 66, 0}, {0x412c, 81, 67, 0}, {0x37d8, 82, 68, 0},
	{0x2fe8, 83, 69, 0}, {0x293c, 84, 70, 0}, {0x2379, 86, 71, 0}, {0x1edf, 87, 72, 0},
	{0x1aa9, 87, 73, 0}, {0x174e, 72, 74, 0}, {0x1424, 72, 75, 0}, {0x119c, 74, 76, 0},
	{0x0f6b, 74, 77, 0}, {0x0d51, 75, 78, 0}, {0x0bb6, 77, 79, 0}, {0x0a40, 77, 48, 0},
	{0x5832, 80, 81, 1}, {0x4d1c, 88, 82, 0}, {0x438e, 89, 83, 0}, {0x3bdd, 90, 84, 0},
	{0x34ee, 91, 85, 0}, {0x2eae, 92, 86, 0}, {0x299a, 93, 87, 0}, {0x2516, 86, 71, 0},
	{0x5570, 88, 89, 1}, {0x4ca9, 95, 90, 0}, {0x44d9, 96, 91, 0}, {0x3e22, 97, 92, 0},
	{0x3824, 99, 93, 0}, {0x32b4, 99, 94, 0}, {0x2e17, 93, 86, 0}, {0x56a8, 95, 96, 1},
	{0x4f46, 101, 97, 0}, {0x47e5, 102, 98, 0}, {0x41cf, 103, 99, 0}, {0x3c3d, 104, 100, 0},
	{0x375e, 99, 93, 0}, {0x5231, 105, 102, 0}, {0x4c0f, 106, 103, 0}, {0x4639, 107, 104, 0},
	{0x415e, 103, 99, 0}, {0x5627, 105, 106, 1}, {0x50e7, 108, 107, 0}, {0x4b85, 109, 103, 0},
	{0x5597, 110, 109, 0}, {0x504f, 111, 107, 0}, {0x5a10, 110, 111, 1}, {0x5522, 112, 109, 0},
	{0x59eb, 112, 111, 1},
	evenOdds: {0x5a1d, evenOdds, evenOdds, 0},
}

// A bin holds the estimate for one kind of decision: state<<1 | MPS.
type bin uint8

// The bins of a table are numbered as in T.81 F.1.4.4. Those of AC coefficient k begin at 3*(k-1): one for whether the
// block ends before it, one for whether it is nonzero, and one for whether its magnitude is more than one.
const (
	dcMagnitude     = 20  // first of 14 bins for the size of a DC difference
	acMagnitudeLow  = 189 // first of 14 bins for the size of an AC coefficient, up to conditioning.limit
	acMagnitudeHigh = 217 // the same, above conditioning.limit
	magnitudeBits   = 14  // distance from a bin for the size to the one for the bits of magnitudes of this size
)

// The context of a DC difference is the category of the one before it (T.81 F.1.4.4.1.2), as the first of four bins.
const (
	contextZero          = 0
	contextSmallPositive = 4
	contextSmallNegative = 8
	contextLargePositive = 12
	contextLargeNegative = 16
)

// conditioning holds the parameters that a DAC segment sets (T.81 B.2.4.3), by table.
type conditioning struct {
	lower, upper [4]uint8 // DC differences are small if they are more than 2^lower/2 and at most 2^upper
	limit        [4]uint8 // index of the last AC coefficient that uses acMagnitudeLow
}

// defaultConditioning holds the values of files without a DAC segment (T.81 F.1.4.4.1.4 and F.1.4.4.2).
var defaultConditioning = conditioning{
	upper: [4]uint8{1, 1, 1, 1},
	limit: [4]uint8{5, 5, 5, 5},
}

// define reads a DAC segment. It reports whether the segment is valid.
func (c *conditioning) define(p []byte) bool {
	for ; len(p) >= 2; p = p[2:] {
		class, i, v := p[0]>>4, p[0]&15, p[1]
		switch {
		case class > 1 || i > 3:
			return false
		case class == 0:
			c.lower[i], c.upper[i] = v&15, v>>4
			if c.lower[i] > c.upper[i] {
				return false
			}
		default:
			c.limit[i] = v
		}
	}
	return true
}

// An arithmeticReader decodes the decisions of one entropy-coded segment (T.81 D.2).
//
// T.81 describes a code register of 16 bits into which bits are shifted one at a time. Here code also holds the next
// bits of the stream, and 32 are loaded at once.
type arithmeticReader struct {
	bits *bitReader // for its buffer of unstuffed data

	code  uint64 // the code register, and below it the next n bits of the stream
	width uint32 // of the current interval, in units of the code register's lowest bit
	n     uint   // at least 16 between decisions
	zeros int    // number of bytes loaded beyond the end of the segment, which are zero by definition
	late  int    // number of blocks since bits beyond the end of the segment were shifted out

	even bin // always evenOdds
	dc   [4][64]bin
	ac   [4][256]bin

	conditioning
}

// start begins a segment of the scan s. Its data begins at the position of bits.
func (a *arithmeticReader) start(s *scan) {
	a.width, a.n, a.zeros, a.late = 1<<16, 16, 0, 0
	a.code = uint64(a.load())
	a.even = evenOdds << 1
	for i := range s.n {
		t := &s.parts[i]
		t.context = contextZero
		a.dc[t.dc] = [64]bin{}
		a.ac[t.ac] = [256]bin{}
	}
}

// load returns the next 32 bits of the segment, or zeros after its end.
func (a *arithmeticReader) load() (v uint32) {
	r := a.bits
	if r.pos+4 > r.fill {
		r.refill()
		if r.pos >= r.fill {
			a.zeros += 4
			return 0
		}
	}
	b := r.buf[r.pos:]
	r.pos += 4
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// unread returns the number of bits in the buffer that were not shifted out of the code register yet. It is negative if
// bits beyond the end of the segment were shifted out.
func (a *arithmeticReader) unread() int {
	const register = 16
	return 8*(a.bits.fill-a.bits.pos-a.zeros) + int(a.n) + register
}

// outOfData is called after each block. It reports whether the data ended before the block.
//
// Encoders leave out zero bytes at the end of a segment, so bits beyond it are no error. If the file ends there, it was
// most likely cut: four zero bytes are left out by chance once in 2^32 segments. If a marker follows, more bits are no
// error unless they are more than a picture of equal blocks takes: 13 for each bin, until its decisions are nearly
// certain, and then much less than one for each block.
func (a *arithmeticReader) outOfData() bool {
	n := -a.unread()
	if n <= 0 {
		return false
	}
	a.late++
	const learning = 13 * 4 * (49 + 245) // four tables of each class
	return n > 32 && a.bits.truncated() || n > learning+a.late
}

// decide returns the next decision and adapts its bin (T.81 D.2).
func (a *arithmeticReader) decide(b *bin) bool {
	p := &probabilities[*b>>1]
	mps := *b & 1
	lps := uint32(p.lps)
	a.width -= lps
	top := uint64(a.width) << a.n
	if a.code < top && a.width >= 1<<15 {
		return mps != 0
	}
	// The lower part of the interval is that of the MPS, except if it is narrower than the upper part.
	exchanged := a.width < lps
	upper := a.code >= top
	if upper {
		a.code -= top
		a.width = lps
	}
	shift := uint(bits.LeadingZeros16(uint16(a.width)))
	a.width <<= shift
	a.n -= shift
	if a.n < 16 {
		a.code = a.code<<32 | uint64(a.load())
		a.n += 32
	}
	if upper == exchanged {
		*b = bin(p.afterMPS)<<1 | mps
		return mps != 0
	}
	*b = bin(p.afterLPS)<<1 | mps ^ bin(p.exchange)
	return mps == 0
}

// magnitude reads a magnitude of at least m+1, whose size is coded from bin i on (T.81 F.1.4.3). It reports false if the
// magnitude is too large for a coefficient.
func (a *arithmeticReader) magnitude(bins []bin, i int, m int32) (v int32, ok bool) {
	for a.decide(&bins[i]) {
		m <<= 1
		i++
		if m == 1<<15 {
			return 0, false
		}
	}
	v = m
	for m >>= 1; m != 0; m >>= 1 {
		if a.decide(&bins[i+magnitudeBits]) {
			v |= m
		}
	}
	return v + 1, true
}

// difference reads the DC difference of the next block of t (T.81 F.1.4.1). It reports false if the data is corrupt.
func (a *arithmeticReader) difference(t *part) (v int32, ok bool) {
	bins := a.dc[t.dc][:]
	i := t.context
	t.context = contextZero
	if !a.decide(&bins[i]) {
		return 0, true
	}
	negative := a.decide(&bins[i+1])
	i += 2
	if negative {
		i++
	}
	v = 1
	if a.decide(&bins[i]) {
		if v, ok = a.magnitude(bins, dcMagnitude, 1); !ok {
			return 0, false
		}
	}
	switch small, large := int32(1)<<a.lower[t.dc]>>1, int32(1)<<a.upper[t.dc]; {
	case v <= small:
	case v <= large && negative:
		t.context = contextSmallNegative
	case v <= large:
		t.context = contextSmallPositive
	case negative:
		t.context = contextLargeNegative
	default:
		t.context = contextLargePositive
	}
	if negative {
		v = -v
	}
	return v, true
}

// coefficient reads the next nonzero AC coefficient of the table t, at k or later (T.81 F.1.4.2). It returns its index,
// which is more than last if there is none, and its value. It reports false if the data is corrupt.
func (a *arithmeticReader) coefficient(t, k, last int) (next int, v int32, ok bool) {
	bins := &a.ac[t]
	if a.decide(&bins[3*(k-1)]) {
		return last + 1, 0, true // end of block
	}
	for !a.decide(&bins[3*(k-1)+1]) {
		k++
		if k > last {
			return k, 0, false
		}
	}
	negative := a.decide(&a.even)
	one := &bins[3*(k-1)+2]
	v = 1
	if a.decide(one) {
		v = 2
		if a.decide(one) {
			i := acMagnitudeHigh
			if k <= int(a.limit[t]) {
				i = acMagnitudeLow
			}
			if v, ok = a.magnitude(bins[:], i, 2); !ok {
				return k, 0, false
			}
		}
	}
	if negative {
		v = -v
	}
	return k, v, true
}

// arithmeticSpan is decodeSpan for arithmetic coding. Decisions after corrupt data are meaningless, so it stops there.
func (d *decoder) arithmeticSpan(s *scan, y, x0, x1 int) int {
	for x := x0; x < x1; x++ {
		for i := range s.n {
			t := &s.parts[i]
			for v := range t.down {
				for h := range t.across {
					if !d.arithmeticBlock(s, t, x*t.across+h, y*t.down+v) || d.arithmetic.outOfData() {
						return x
					}
				}
			}
		}
	}
	return x1
}

// arithmeticBlock decodes block (x, y) of t. It reports false if the data is corrupt.
func (d *decoder) arithmeticBlock(s *scan, t *part, x, y int) (ok bool) {
	a := &d.arithmetic
	switch {
	case !d.Progressive:
		return d.arithmeticSequential(t, x, y)
	case s.first == 0 && s.high == 0: // T.81 G.1.3.1
		diff, ok := a.difference(t)
		t.prediction += diff
		t.coef[t.blockIndex(x, y)*(t.quant.last+1)] = d.coefficient(t.prediction, s.low)
		return ok
	case s.first == 0: // T.81 G.1.3.1
		if a.decide(&a.even) {
			t.coef[t.blockIndex(x, y)*(t.quant.last+1)] |= 1 << s.low
		}
		return true
	case s.high == 0:
		return d.arithmeticFirst(s, t, t.blockIndex(x, y))
	}
	return a.refine(s, t, t.blockIndex(x, y))
}

// arithmeticSequential decodes a block of a sequential scan and writes its samples. It reports false if the data is
// corrupt.
func (d *decoder) arithmeticSequential(t *part, x, y int) (ok bool) {
	a := &d.arithmetic
	diff, ok := a.difference(t)
	if !ok {
		return false
	}
	t.prediction += diff
	inside := t.inWindow(x, y)
	q, b, last := &t.quant, &d.block, 0
	if !inside {
		q = &skipAll
	}
	for k := 1; k <= 63; k++ {
		var v int32
		if k, v, ok = a.coefficient(t.ac, k, 63); !ok {
			*b = block{}
			return false
		}
		if k <= q.last {
			b[q.slot[k]%blockSlots] += int64(v) * q.mul[k]
			last = k
		}
	}
	if inside {
		t.writeBlock(b, t.prediction, last, x, y)
	}
	return true
}

// arithmeticFirst decodes the upper bits of the AC coefficients in block j (T.81 G.1.3.2). It reports false if the data
// is corrupt.
func (d *decoder) arithmeticFirst(s *scan, t *part, j int) (ok bool) {
	per := t.quant.last + 1
	for k := s.first; k <= s.last; k++ {
		next, v, ok := d.arithmetic.coefficient(t.ac, k, s.last)
		if !ok {
			return false
		}
		if next > s.last {
			break
		}
		k = next
		t.nonzero[j] |= 1 << k
		if k < per {
			t.coef[j*per+k] = d.coefficient(v, s.low)
		}
	}
	return true
}

// refine decodes one more bit of the AC coefficients in block j (T.81 G.1.3.3). It reports false if the data is corrupt.
func (a *arithmeticReader) refine(s *scan, t *part, j int) (ok bool) {
	per := t.quant.last + 1
	coef, bins := t.coef[j*per:j*per+per], &a.ac[t.ac]
	old := t.nonzero[j] & s.band()
	end := bits.Len64(old) // the block cannot end before this index, since the coefficient before it is already nonzero
	for k := s.first; k <= s.last; k++ {
		if k >= end && a.decide(&bins[3*(k-1)]) {
			return true // end of block
		}
		for old>>k&1 == 0 && !a.decide(&bins[3*(k-1)+1]) {
			k++
			if k > s.last {
				return false
			}
		}
		step := int16(1) << s.low
		if old>>k&1 != 0 {
			if !a.decide(&bins[3*(k-1)+2]) {
				continue
			}
			if k < per && coef[k] < 0 {
				step = -step
			}
		} else {
			t.nonzero[j] |= 1 << k
			if a.decide(&a.even) {
				step = -step
			}
		}
		if k < per {
			coef[k] += step
		}
	}
	return true
}

package webpdec

import (
	"encoding/binary"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A filterLevel holds the limits of the loop filter for a macroblock: RFC 6386, section 15. All is 0 if it is not
// filtered.
type filterLevel struct {
	edge     uint8 // limit of the difference across an edge inside the macroblock; 4 more at its border
	interior uint8 // limit of the differences beside the edge
	variance uint8 // high edge variance: above it, fewer samples are changed
	inner    bool  // edges inside the macroblock are filtered
}

func abs(x int32) int32 {
	sign := x >> 31
	return (x ^ sign) - sign
}

// common changes the two samples beside an edge: section 15.2.
func common(p1, p0, q0, q1 int32) (byte, byte) {
	a := 3*(q0-p0) + max(-128, min(127, p1-q1))
	return vp8.Clamp(p0 + max(-16, min(15, (a+3)>>3))), vp8.Clamp(q0 - max(-16, min(15, (a+4)>>3)))
}

// simpleAcross filters 16 rows across a vertical edge at position at.
func simpleAcross(pix []byte, at, stride int, limit int32) {
	for range 16 {
		r := pix[at-2:][:4]
		p1, p0, q0, q1 := int32(r[0]), int32(r[1]), int32(r[2]), int32(r[3])
		if 2*abs(p0-q0)+abs(p1-q1)>>1 <= limit {
			r[1], r[2] = common(p1, p0, q0, q1)
		}
		at += stride
	}
}

// simpleDown filters 16 columns across a horizontal edge.
func simpleDown(pix []byte, at, stride int, limit int32) {
	const n = 16
	s0, s1, s2, s3 := pix[at-2*stride:][:n], pix[at-stride:][:n], pix[at:][:n], pix[at+stride:][:n]
	for x := range n {
		p1, p0, q0, q1 := int32(s0[x]), int32(s1[x]), int32(s2[x]), int32(s3[x])
		if 2*abs(p0-q0)+abs(p1-q1)>>1 <= limit {
			s1[x], s2[x] = common(p1, p0, q0, q1)
		}
	}
}

// The normal filter changes four places along an edge at once: a word holds a sample of each in a lane of 16 bits. A
// lane with a number that may be negative has a constant added, so that it does not borrow from the next one.

const (
	laneSign  = 14 // this bit of a difference with 1<<laneSign added is set unless it is negative
	laneBytes = 0xff * lanes
)

// limits are those of a filterLevel in lanes, with 1<<laneSign added.
type limits struct {
	border, edge, interior, variance uint64
}

func (f filterLevel) limits() limits {
	all := func(v int) uint64 { return (1<<laneSign + uint64(v)) * lanes }
	return limits{all(int(f.edge) + 4), all(int(f.edge)), all(int(f.interior)), all(int(f.variance))}
}

// within reports in bit laneSign whether samples differ by at most a limit.
func within(a, b, limit uint64) uint64 { return (a + limit - b) & (b + limit - a) }

// wholeLanes makes a mask of the lanes in which bit laneSign is set.
func wholeLanes(v uint64) uint64 { return v >> laneSign & lanes * 0xffff }

// laneDiffs returns the absolute differences of samples.
func laneDiffs(a, b uint64) uint64 {
	x := a + 0x100*lanes - b
	negative := ^(x >> 8) & lanes
	return (x^negative*0xff)&laneBytes + negative
}

// laneSamples limits numbers that are 256 too large, -256 to 511, to samples.
func laneSamples(s uint64) uint64 {
	if s&(0x300*lanes) != 0x100*lanes {
		low, high := ^(s>>8)&^(s>>9)&lanes, s>>9&lanes
		s = s&^(low*0xff) | high*0xff
	}
	return s & laneBytes
}

// laneSigned limits numbers to -128 to 127. They are 4096 too large before, and 128 afterwards.
func laneSigned(s uint64) uint64 {
	s -= (4096 - 128 - 1024) * lanes // now 1024 is 0
	if s&(0x700*lanes) != 0x400*lanes {
		low := wholeLanes(s + (1<<laneSign-0x400)*lanes)
		high := wholeLanes(s + (1<<laneSign-0x500)*lanes)
		s = s&low | high
	}
	return s & laneBytes
}

// samples are those across an edge: p3, p2, p1, p0 before it, and q0, q1, q2, q3 after it.
type samples [8]uint64

// apply returns the mask of the places where the filter applies, and of those with a high variance.
func (s *samples) apply(edge uint64, l *limits) (mask, variance uint64) {
	p3, p2, p1, p0, q0, q1, q2, q3 := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	ok := within(p3, p2, l.interior) & within(p2, p1, l.interior) & within(p1, p0, l.interior)
	ok &= within(q3, q2, l.interior) & within(q2, q1, l.interior) & within(q1, q0, l.interior)
	ok &= edge - 2*laneDiffs(p0, q0) - laneDiffs(p1, q1)>>1&(0x7f*lanes)
	low := within(p1, p0, l.variance) & within(q1, q0, l.variance)
	return wholeLanes(ok), ^wholeLanes(low)
}

// filterInner filters across an edge inside a macroblock: RFC 6386, section 15.3.
func (s *samples) filterInner(l *limits) {
	mask, variance := s.apply(l.edge, l)
	if mask == 0 {
		return
	}
	p1, p0, q0, q1 := s[2], s[3], s[4], s[5]
	outer := laneSigned(p1+4096*lanes-q1) & variance // 128 too large with a high variance
	a := 3*(q0+0x100*lanes-p0) + outer + (4096-3*256-128)*lanes + 128*lanes&^variance
	f1 := laneSigned(a+4*lanes) >> 3 & (0x1f * lanes) // 16 too large
	f2 := laneSigned(a+3*lanes) >> 3 & (0x1f * lanes)
	f3 := (f1 + lanes) >> 1 & (0x1f * lanes) // 8 too large
	s.set(3, mask, laneSamples(p0+f2+(256-16)*lanes))
	s.set(4, mask, laneSamples(q0+(256+16)*lanes-f1))
	mask &^= variance
	s.set(2, mask, laneSamples(p1+f3+(256-8)*lanes))
	s.set(5, mask, laneSamples(q1+(256+8)*lanes-f3))
}

// filterBorder filters across an edge between macroblocks: section 15.3.
func (s *samples) filterBorder(l *limits) {
	mask, variance := s.apply(l.border, l)
	if mask == 0 {
		return
	}
	p2, p1, p0, q0, q1, q2 := s[1], s[2], s[3], s[4], s[5], s[6]
	a := 3*(q0+0x100*lanes-p0) + laneSigned(p1+4096*lanes-q1) + (4096-3*256-128)*lanes
	w := laneSigned(a) // 128 too large
	w0 := (27*w + 63*lanes) >> 7 & laneBytes
	w1 := (18*w + 63*lanes) >> 7 & laneBytes
	w2 := (9*w + 63*lanes) >> 7 & laneBytes
	// With a high variance only the samples beside the edge change, as inside a macroblock. All changes are 32 too large.
	up, down := w0+5*lanes, w0+5*lanes
	if variance&mask != 0 {
		f1 := laneSigned(a+4*lanes)>>3&(0x1f*lanes) + 16*lanes
		f2 := laneSigned(a+3*lanes)>>3&(0x1f*lanes) + 16*lanes
		up = up&^variance | f2&variance
		down = down&^variance | f1&variance
	}
	s.set(3, mask, laneSamples(p0+up+(256-32)*lanes))
	s.set(4, mask, laneSamples(q0+(256+32)*lanes-down))
	mask &^= variance
	s.set(2, mask, laneSamples(p1+w1+(256-18)*lanes))
	s.set(5, mask, laneSamples(q1+(256+18)*lanes-w1))
	s.set(1, mask, laneSamples(p2+w2+(256-9)*lanes))
	s.set(6, mask, laneSamples(q2+(256+9)*lanes-w2))
}

// flat reports whether p1, p0, q0 and q1 are equal.
func (s *samples) flat() bool { return s[2] == s[3] && s[3] == s[4] && s[4] == s[5] }

// set replaces sample i in the lanes of a mask.
func (s *samples) set(i int, mask, v uint64) { s[i] = s[i]&^mask | v&mask }

// normalDown filters n columns across a horizontal edge. pix begins four rows above it.
func normalDown(pix []byte, stride, n int, l *limits, border bool) {
	for at := 0; at < n; at += 8 {
		var rows [8][]byte
		var even, odd samples
		for i := range rows {
			rows[i] = pix[at+i*stride:][:8]
			v := binary.LittleEndian.Uint64(rows[i])
			even[i], odd[i] = v&laneBytes, v>>8&laneBytes
		}
		if even.flat() && odd.flat() {
			continue // nothing to smooth
		}
		if border {
			even.filterBorder(l)
			odd.filterBorder(l)
		} else {
			even.filterInner(l)
			odd.filterInner(l)
		}
		for i := 1; i < 7; i++ {
			binary.LittleEndian.PutUint64(rows[i], even[i]|odd[i]<<8)
		}
	}
}

// turn exchanges the rows and columns of 4x4 lanes.
func turn(a, b, c, d uint64) (_, _, _, _ uint64) {
	const even, low = 0x0000ffff0000ffff, 0x00000000ffffffff
	ab, ba := a&even|b&even<<16, a>>16&even|b&^even
	cd, dc := c&even|d&even<<16, c>>16&even|d&^even
	return ab&low | cd<<32, ba&low | dc<<32, ab>>32 | cd&^low, ba>>32 | dc&^low
}

// normalAcross filters n rows across a vertical edge. pix begins four columns to the left of it.
func normalAcross(pix []byte, stride, n int, l *limits, border bool) {
	for at := 0; n > 0; n, at = n-4, at+4*stride {
		r0, r1, r2, r3 := pix[at:][:8], pix[at+stride:][:8], pix[at+2*stride:][:8], pix[at+3*stride:][:8]
		v0, v1 := binary.LittleEndian.Uint64(r0), binary.LittleEndian.Uint64(r1)
		v2, v3 := binary.LittleEndian.Uint64(r2), binary.LittleEndian.Uint64(r3)
		// If p1, p0, q0 and q1 are equal, there is nothing to smooth.
		const inner = 0xffffff << 16
		if ((v0^v0>>8)|(v1^v1>>8)|(v2^v2>>8)|(v3^v3>>8))&inner == 0 {
			continue
		}
		const b = laneBytes
		var s samples
		s[0], s[2], s[4], s[6] = turn(v0&b, v1&b, v2&b, v3&b)
		s[1], s[3], s[5], s[7] = turn(v0>>8&b, v1>>8&b, v2>>8&b, v3>>8&b)
		if border {
			s.filterBorder(l)
		} else {
			s.filterInner(l)
		}
		e0, e1, e2, e3 := turn(s[0], s[2], s[4], s[6])
		o0, o1, o2, o3 := turn(s[1], s[3], s[5], s[7])
		binary.LittleEndian.PutUint64(r0, e0|o0<<8)
		binary.LittleEndian.PutUint64(r1, e1|o1<<8)
		binary.LittleEndian.PutUint64(r2, e2|o2<<8)
		binary.LittleEndian.PutUint64(r3, e3|o3<<8)
	}
}

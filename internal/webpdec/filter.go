package webpdec

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
	return clamp(p0 + max(-16, min(15, (a+3)>>3))), clamp(q0 - max(-16, min(15, (a+4)>>3)))
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

// six changes three samples on either side of an edge between macroblocks: section 15.3.
func six(p2, p1, p0, q0, q1, q2 int32) (b2, b1, b0, c0, c1, c2 byte) {
	a := max(-128, min(127, 3*(q0-p0)+max(-128, min(127, p1-q1))))
	w := (27*a + 63) >> 7
	b0, c0 = clamp(p0+w), clamp(q0-w)
	w = (18*a + 63) >> 7
	b1, c1 = clamp(p1+w), clamp(q1-w)
	w = (9*a + 63) >> 7
	b2, c2 = clamp(p2+w), clamp(q2-w)
	return
}

// four changes two samples on either side of an edge inside a macroblock: section 15.3.
func four(p1, p0, q0, q1 int32) (b1, b0, c0, c1 byte) {
	a := 3 * (q0 - p0)
	w := max(-16, min(15, (a+4)>>3))
	b0, c0 = clamp(p0+max(-16, min(15, (a+3)>>3))), clamp(q0-w)
	w = (w + 1) >> 1
	b1, c1 = clamp(p1+w), clamp(q1-w)
	return
}

// normalAcross filters n rows across a vertical edge at position at. border means an edge between macroblocks.
func normalAcross(pix []byte, at, stride, n int, f filterLevel, border bool) {
	limit, interior, variance := int32(f.edge), int32(f.interior), int32(f.variance)
	if border {
		limit += 4
	}
	for range n {
		r := pix[at-4:][:8]
		at += stride
		p1, p0, q0, q1 := int32(r[2]), int32(r[3]), int32(r[4]), int32(r[5])
		if 2*abs(p0-q0)+abs(p1-q1)>>1 > limit {
			continue
		}
		p3, p2, q2, q3 := int32(r[0]), int32(r[1]), int32(r[6]), int32(r[7])
		dp, dq := abs(p1-p0), abs(q1-q0)
		if max(abs(p3-p2), abs(p2-p1), dp, dq, abs(q2-q1), abs(q3-q2)) > interior {
			continue
		}
		switch {
		case max(dp, dq) > variance:
			r[3], r[4] = common(p1, p0, q0, q1)
		case border:
			r[1], r[2], r[3], r[4], r[5], r[6] = six(p2, p1, p0, q0, q1, q2)
		default:
			r[2], r[3], r[4], r[5] = four(p1, p0, q0, q1)
		}
	}
}

// normalDown filters n columns across a horizontal edge.
func normalDown(pix []byte, at, stride, n int, f filterLevel, border bool) {
	limit, interior, variance := int32(f.edge), int32(f.interior), int32(f.variance)
	if border {
		limit += 4
	}
	s0, s1, s2, s3 := pix[at-4*stride:][:n], pix[at-3*stride:][:n], pix[at-2*stride:][:n], pix[at-stride:][:n]
	s4, s5, s6, s7 := pix[at:][:n], pix[at+stride:][:n], pix[at+2*stride:][:n], pix[at+3*stride:][:n]
	for x := range n {
		p1, p0, q0, q1 := int32(s2[x]), int32(s3[x]), int32(s4[x]), int32(s5[x])
		if 2*abs(p0-q0)+abs(p1-q1)>>1 > limit {
			continue
		}
		p3, p2, q2, q3 := int32(s0[x]), int32(s1[x]), int32(s6[x]), int32(s7[x])
		dp, dq := abs(p1-p0), abs(q1-q0)
		if max(abs(p3-p2), abs(p2-p1), dp, dq, abs(q2-q1), abs(q3-q2)) > interior {
			continue
		}
		switch {
		case max(dp, dq) > variance:
			s3[x], s4[x] = common(p1, p0, q0, q1)
		case border:
			s1[x], s2[x], s3[x], s4[x], s5[x], s6[x] = six(p2, p1, p0, q0, q1, q2)
		default:
			s2[x], s3[x], s4[x], s5[x] = four(p1, p0, q0, q1)
		}
	}
}

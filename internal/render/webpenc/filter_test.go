package webpenc

// The loop filter of RFC 6386, section 15, as plainly as it is written there. It tells what decoders make of a reconstruction.

// A reconstruction is what the encoder takes for the decoded picture.
type reconstruction struct {
	planes [3]plane
}

// reconstruct encodes a picture as append does, and returns what a decoder should make of it.
func (f *frame) reconstruct(m *Image, quality int) *reconstruction {
	r := new(reconstruction)
	f.load(m)
	f.setSegments(quality)
	clear(f.above)
	for i := range r.planes {
		n := 16
		if i > 0 {
			n = 8
		}
		r.planes[i] = plane{make([]byte, n*n*f.mbw*f.mbh), n * f.mbw, n * f.mbw, n * f.mbh}
	}
	for mby := range f.mbh {
		f.left = neighbour{}
		for mbx := range f.mbw {
			f.choose(mbx, mby)
			for i, at := range [3]int{atBlock(0), atBlock(16), atBlock(20)} {
				p := &r.planes[i]
				n := p.width / f.mbw
				for y := range n {
					copy(p.pix[(n*mby+y)*p.stride+n*mbx:][:n], f.area[at+32*y:])
				}
			}
		}
	}
	for mby := range f.mbh {
		for mbx := range f.mbw {
			mb := &f.mbs[mby*f.mbw+mbx]
			level := f.segments[mb.segment].filterLevel()
			for i := range r.planes {
				r.planes[i].filter(mbx, mby, level, r.planes[i].width/f.mbw, mb.split || !mb.skip)
			}
		}
	}
	return r
}

// filter filters the edges of a macroblock.
func (p *plane) filter(mbx, mby, level, n int, inner bool) {
	at := n*mby*p.stride + n*mbx
	if mbx > 0 {
		p.edge(at, 1, p.stride, n, level, true)
	}
	if inner {
		for x := 4; x < n; x += 4 {
			p.edge(at+x, 1, p.stride, n, level, false)
		}
	}
	if mby > 0 {
		p.edge(at, p.stride, 1, n, level, true)
	}
	if inner {
		for y := 4; y < n; y += 4 {
			p.edge(at+y*p.stride, p.stride, 1, n, level, false)
		}
	}
}

// edge filters n places along an edge. step leads across it.
func (p *plane) edge(at, step, along, n, level int, border bool) {
	limit := 2*level + level
	if border {
		limit += 4
	}
	variance := 0
	if level >= 15 {
		variance = 1
	}
	if level >= 40 {
		variance = 2
	}
	diff := func(a, b int) int { return max(a-b, b-a) }
	signed := func(v int) int { return max(-128, min(v, 127)) }
	for i := range n {
		var v [8]int // p3 to q3
		for j := range v {
			v[j] = int(p.pix[at+i*along+(j-4)*step])
		}
		put := func(j, value int) { p.pix[at+i*along+(j-4)*step] = byte(signed(value-128) + 128) }
		apply := 2*diff(v[3], v[4])+diff(v[2], v[5])/2 <= limit
		for j := range 7 {
			apply = apply && (j == 3 || diff(v[j], v[j+1]) <= level)
		}
		if !apply {
			continue
		}
		high := diff(v[2], v[3]) > variance || diff(v[5], v[4]) > variance
		a := 3 * (v[4] - v[3])
		switch {
		case high:
			a = signed(a + signed(v[2]-v[5]))
			put(3, v[3]+signed(a+3)>>3)
			put(4, v[4]-signed(a+4)>>3)
		case border:
			w := signed(a + signed(v[2]-v[5]))
			for k, factor := range [3]int{27, 18, 9} {
				d := (factor*w + 63) >> 7
				put(3-k, v[3-k]+d)
				put(4+k, v[4+k]-d)
			}
		default:
			a = signed(a)
			put(3, v[3]+signed(a+3)>>3)
			f := signed(a+4) >> 3
			put(4, v[4]-f)
			f = (f + 1) >> 1
			put(2, v[2]+f)
			put(5, v[5]-f)
		}
	}
}

package webpdec

import "encoding/binary"

// A Plane holds the samples of one component, or interleaved R, G, B and A.
type Plane struct {
	Pix    []byte
	Stride int // bytes from one row to the next
	W, H   int // in pixels of the plane
	Step   int // width and height of one of its pixels in pixels of the picture
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// reducedPlane returns a plane for w x h samples that are reduced by scale. It has no memory yet.
func reducedPlane(w, h, scale, chans int) Plane {
	p := Plane{W: ceilDiv(w, scale), H: ceilDiv(h, scale), Step: scale}
	p.Stride = chans * p.W
	return p
}

func (p *Plane) bytes() int64 { return int64(p.Stride) * int64(p.H) }

// A reducer makes a plane from rows that are scale times as wide. A pixel is the mean of a square.
type reducer struct {
	Plane
	scale int
	w     int      // samples in a row that is added
	sums  []uint64 // of the rows so far. A word has four pairs of samples.
	rows  int      // number of rows in sums
	y     int      // next row of the plane
}

func newReducer(w, h, scale int) reducer {
	r := reducer{Plane: reducedPlane(w, h, scale, 1), scale: scale, w: w}
	r.Pix = make([]byte, r.bytes())
	if scale > 1 {
		r.sums = make([]uint64, ceilDiv(w, 8))
	}
	return r
}

// add adds a row of samples.
func (r *reducer) add(row []byte) {
	row = row[:r.w]
	if r.scale == 1 {
		copy(r.Pix[r.y*r.Stride:], row)
		r.y++
		return
	}
	const low = 0x00ff00ff00ff00ff
	sums := r.sums
	for len(row) >= 8 && len(sums) > 0 {
		v := binary.LittleEndian.Uint64(row)
		sums[0] += v&low + v>>8&low
		row, sums = row[8:], sums[1:]
	}
	if len(row) > 0 {
		var last [8]byte
		copy(last[:], row)
		v := binary.LittleEndian.Uint64(last[:])
		sums[0] += v&low + v>>8&low
	}
	if r.rows++; r.rows == r.scale {
		r.flush()
	}
}

// flush stores the means of the rows that have been added.
func (r *reducer) flush() {
	if r.rows == 0 {
		return
	}
	to := r.Pix[r.y*r.Stride:][:r.W]
	n := uint64(r.rows * r.scale)
	half, inverse := n/2, (1<<24+n-1)/n // exact for these sums
	last := len(to) - 1
	const lane = 0xffff
	switch r.scale {
	case 2:
		x := 0
		for _, s := range r.sums[:len(to)/4] {
			b := to[x:][:4]
			b[0] = byte((s&lane + half) * inverse >> 24)
			b[1] = byte((s>>16&lane + half) * inverse >> 24)
			b[2] = byte((s>>32&lane + half) * inverse >> 24)
			b[3] = byte((s>>48 + half) * inverse >> 24)
			x += 4
		}
		for ; x < len(to); x++ {
			to[x] = byte((r.sums[x/4]>>(x%4*16)&lane + half) * inverse >> 24)
		}
	case 4:
		for x := range to {
			s := r.sums[x/2] >> (x % 2 * 32)
			to[x] = byte((s&lane + s>>16&lane + half) * inverse >> 24)
		}
	case 8:
		for x := range to {
			to[x] = byte((r.sums[x]*lanes>>48 + half) * inverse >> 24)
		}
	}
	if wide := r.w - last*r.scale; wide < r.scale {
		// The last square is cut off.
		n := uint64(r.rows * wide)
		var s uint64
		for x := last * r.scale; x < r.w; x += 2 {
			s += r.sums[x/8] >> (x % 8 * 8) & lane
		}
		to[last] = byte((s + n/2) / n)
	}
	clear(r.sums)
	r.rows = 0
	r.y++
}

// A rgbaReducer makes a plane of premultiplied RGBA from rows of ARGB that are not premultiplied.
type rgbaReducer struct {
	Plane
	scale int
	w     int
	sums  []uint64 // of a square: red, blue, green and alpha from the low end
	rows  int
	y     int
}

func newRGBAReducer(w, h, scale int) rgbaReducer {
	r := rgbaReducer{Plane: reducedPlane(w, h, scale, 4), scale: scale, w: w}
	r.Pix = make([]byte, r.bytes())
	if scale > 1 {
		r.sums = make([]uint64, r.W)
	}
	return r
}

// premultiply multiplies the color of ARGB by its alpha.
func premultiply(v uint32) uint32 {
	a := v >> 24
	if a == 255 {
		return v
	}
	return a<<24 | (v>>16&255*a+127)/255<<16 | (v>>8&255*a+127)/255<<8 | (v&255*a+127)/255
}

func (r *rgbaReducer) add(row []uint32) {
	row = row[:r.w]
	if r.scale == 1 {
		to := r.Pix[r.y*r.Stride:][:r.Stride]
		for _, v := range row {
			v = premultiply(v)
			binary.LittleEndian.PutUint32(to, v&0xff00ff00|v>>16&255|v&255<<16)
			to = to[4:]
		}
		r.y++
		return
	}
	const pair = 0x00ff00ff
	sums := r.sums
	if r.scale == 2 {
		for len(row) >= 2 && len(sums) > 0 {
			v, w := premultiply(row[0]), premultiply(row[1])
			sums[0] += uint64(v&pair+w&pair) | uint64(v>>8&pair+w>>8&pair)<<32
			row, sums = row[2:], sums[1:]
		}
	}
	for len(row) > 0 && len(sums) > 0 {
		n := min(r.scale, len(row))
		var low, high uint32
		for _, v := range row[:n] {
			v = premultiply(v)
			low += v & pair
			high += v >> 8 & pair
		}
		sums[0] += uint64(low) | uint64(high)<<32
		row, sums = row[n:], sums[1:]
	}
	if r.rows++; r.rows == r.scale {
		r.flush()
	}
}

func (r *rgbaReducer) flush() {
	if r.rows == 0 {
		return
	}
	to := r.Pix[r.y*r.Stride:][:r.Stride]
	const lane = 0xffff
	for x, s := range r.sums {
		n := uint64(r.rows * min(r.scale, r.w-x*r.scale))
		half := n / 2
		b := to[4*x:][:4]
		if n == uint64(r.scale*r.scale) {
			// A power of two.
			shift := uint(2)
			if n > 4 {
				shift = 4
			}
			if n > 16 {
				shift = 6
			}
			s += half * lanes
			b[2], b[0] = byte(s>>shift), byte(s>>16>>shift)
			b[1], b[3] = byte(s>>32>>shift), byte(s>>48>>shift)
			continue
		}
		b[2], b[0] = byte((s&lane+half)/n), byte((s>>16&lane+half)/n)
		b[1], b[3] = byte((s>>32&lane+half)/n), byte((s>>48+half)/n)
	}
	clear(r.sums)
	r.rows = 0
	r.y++
}

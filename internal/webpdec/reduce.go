package webpdec

import (
	"encoding/binary"
	"math/bits"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

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

// A rgbaReducer makes a plane of premultiplied RGBA from rows that are not premultiplied.
type rgbaReducer struct {
	Plane
	scale int
	w     int
	sums  []uint64 // of a square, in lanes
	rows  int
	y     int
}

func newRGBAReducer(w, h, scale int) rgbaReducer {
	r := rgbaReducer{Plane: reducedPlane(w, h, scale, 4), scale: scale, w: w}
	r.Pix = make([]byte, r.bytes())
	r.sums = make([]uint64, r.W)
	return r
}

// premultiply multiplies the color of ARGB by its alpha. The channels of the result are in lanes as those of [spread]: blue,
// red, green, alpha.
func premultiply(v uint32) uint64 {
	s := spread(v)
	if a := v >> 24; a != 255 {
		s = multiplyLanes(s|0xff<<48, a)
	}
	return s
}

// multiplyLanes multiplies each channel by a/255.
func multiplyLanes(s uint64, a uint32) uint64 {
	s = s*uint64(a) + 127*lanes
	return (s + lanes + s>>8&(0xff*lanes)) >> 8 & (0xff * lanes) // the same as division by 255
}

// rgba returns the pixel in lanes as R, G, B and A from the lowest byte up.
func rgba(s uint64) uint32 { return bits.RotateLeft32(uint32(s), 16) | uint32(s>>24) }

// add adds a row of ARGB.
func (r *rgbaReducer) add(row []uint32) {
	row = row[:r.w]
	if r.scale == 1 {
		to := r.Pix[r.y*r.Stride:][:r.Stride]
		for _, v := range row {
			binary.LittleEndian.PutUint32(to, rgba(premultiply(v)))
			to = to[4:]
		}
		r.y++
		return
	}
	sums := r.sums
	if r.scale == 2 {
		for len(row) >= 2 && len(sums) > 0 {
			sums[0] += premultiply(row[0]) + premultiply(row[1])
			row, sums = row[2:], sums[1:]
		}
	}
	for len(row) > 0 && len(sums) > 0 {
		n := min(r.scale, len(row))
		for _, v := range row[:n] {
			sums[0] += premultiply(v)
		}
		row, sums = row[n:], sums[1:]
	}
	r.endRow()
}

// addYCbCr adds a row that it converts from BT.601 with video levels. Chroma has half the width.
func (r *rgbaReducer) addYCbCr(luma, cb, cr, alpha []byte) {
	n := r.w
	luma, alpha, cb, cr = luma[:n], alpha[:n], cb[:ceilDiv(n, 2)], cr[:ceilDiv(n, 2)]
	shift := uint(bits.TrailingZeros(uint(r.scale))) & 63
	var addRed, addGreen, addBlue int32 // with 16 fraction bits
	for x, l := range luma {
		if x&1 == 0 {
			const black = 1<<15 - 16*76309
			u, v := int32(cb[x/2])-128, int32(cr[x/2])-128
			addRed, addGreen, addBlue = black+104597*v, black-25675*u-53279*v, black+132201*u
		}
		l := 76309 * int32(l)
		red, green, blue := (l+addRed)>>16, (l+addGreen)>>16, (l+addBlue)>>16
		if uint32(red|green|blue) > 255 {
			red, green, blue = int32(vp8.Clamp(red)), int32(vp8.Clamp(green)), int32(vp8.Clamp(blue))
		}
		s := uint64(red)<<16 | uint64(green)<<32 | uint64(blue) | 0xff<<48
		if a := alpha[x]; a != 255 {
			s = multiplyLanes(s, uint32(a))
		}
		r.sums[x>>shift] += s
	}
	r.endRow()
}

func (r *rgbaReducer) endRow() {
	if r.rows++; r.rows == r.scale {
		r.flush()
	}
}

// flush stores the means of the rows that have been added.
func (r *rgbaReducer) flush() {
	if r.rows == 0 {
		return
	}
	to := r.Pix[r.y*r.Stride:][:r.Stride]
	whole := 0 // squares that are not cut off
	if r.rows == r.scale {
		whole = r.w / r.scale
		shift := 2 * uint(bits.TrailingZeros(uint(r.scale))) & 63
		half := uint64(r.scale*r.scale) / 2 * lanes
		for x, s := range r.sums[:whole] {
			binary.LittleEndian.PutUint32(to[4*x:], rgba((s+half)>>shift&(0xff*lanes)))
		}
	}
	for x, s := range r.sums[whole:] {
		x += whole
		n := uint64(r.rows * min(r.scale, r.w-x*r.scale))
		half := n / 2
		const lane = 0xffff
		mean := (s&lane+half)/n | (s>>16&lane+half)/n<<16 | (s>>32&lane+half)/n<<32 | (s>>48+half)/n<<48
		binary.LittleEndian.PutUint32(to[4*x:], rgba(mean))
	}
	clear(r.sums)
	r.rows = 0
	r.y++
}

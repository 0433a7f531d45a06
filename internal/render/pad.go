package render

import "math"

// padded returns a small picture in the middle of the box, on the background. It uses the workspace's plane 5.
func (ws *workspace) padded(src pixels, g layout, o Options) pixels {
	if o.Fit != Pad {
		return src
	}
	dst := pixels{plane: ws.plane(5, g.boxWidth, g.boxHeight, 4), opaque: o.Background != Transparent}
	switch o.Background {
	case Blur:
		blur(dst.plane, src)
	case Transparent:
		clear(dst.pix)
	default:
		c := [4]byte{byte(o.Background >> 16), byte(o.Background >> 8), byte(o.Background), 255}
		for p := dst.pix; len(p) >= 4; p = p[4:] {
			copy(p, c[:])
		}
	}
	left, top := (dst.width-src.width)/2, (dst.height-src.height)/2
	for y := range src.height {
		to := dst.pix[(top+y)*dst.stride+4*left:]
		for x := range src.width {
			drawPixel(to[4*x:][:4], src.at(x, y), dst.opaque)
		}
	}
	return dst
}

// at returns a pixel as RGBA that is not premultiplied.
func (p *pixels) at(x, y int) [4]byte {
	if p.grey {
		v := p.pix[y*p.stride+x]
		return [4]byte{v, v, v, 255}
	}
	return [4]byte(p.pix[y*p.stride+4*x:])
}

// drawPixel writes c to a pixel, or composes both if the pixel is opaque.
func drawPixel(to []byte, c [4]byte, opaque bool) {
	if a := uint32(c[3]); opaque && a < 255 {
		for i := range 3 {
			to[i] = byte((uint32(c[i])*a + uint32(to[i])*(255-a) + 127) / 255)
		}
		return
	}
	copy(to, c[:])
}

// maxBlurred is the longest edge of the miniature that a blurred background is drawn from.
const maxBlurred = 16

// blur fills dst with a blurred copy of src, cropped to the shape of dst. It enlarges a miniature by a cubic B-spline, which is
// smooth, so no blur in the size of dst is necessary.
func blur(dst plane, src pixels) {
	small := miniature(src, dst.width, dst.height)
	x, y := newSpline(dst.width, small.width), newSpline(dst.height, small.height)
	rows := make([]float32, 3*dst.width*small.height) // of the miniature, as wide as dst
	for v := range small.height {
		for u := range dst.width {
			to := rows[3*(v*dst.width+u):][:3]
			for k, w := range x.weights[u] {
				p := small.pix[4*(v*small.width+x.at(u, k)):]
				to[0] += w * float32(p[0])
				to[1] += w * float32(p[1])
				to[2] += w * float32(p[2])
			}
		}
	}
	for v := range dst.height {
		var four [4][]float32
		for k := range four {
			four[k] = rows[3*dst.width*y.at(v, k):][:3*dst.width]
		}
		w := y.weights[v]
		to := dst.pix[v*dst.stride:][:4*dst.width]
		for u := range dst.width {
			for c := range 3 {
				i := 3*u + c
				to[4*u+c] = byte(w[0]*four[0][i] + w[1]*four[1][i] + w[2]*four[2][i] + w[3]*four[3][i] + 0.5)
			}
			to[4*u+3] = 255
		}
	}
}

// miniature returns the middle part of src that has the shape of width to height, as means of at most maxBlurred cells in each
// direction, on white.
func miniature(src pixels, width, height int) plane {
	cropW, cropH := crop(src.width, src.height, width, height)
	left, top := (src.width-cropW)/2, (src.height-cropH)/2
	n := max(width, height)
	w := min(shrink(width, maxBlurred, n), cropW)
	h := min(shrink(height, maxBlurred, n), cropH)
	dst := plane{pix: make([]byte, 4*w*h), stride: 4 * w, width: w, height: h, chans: 4}
	for row := range h {
		y0, y1 := cellRange(row, h, cropH)
		for col := range w {
			x0, x1 := cellRange(col, w, cropW)
			var sum [3]uint64
			for y := y0; y < y1; y++ {
				for x := x0; x < x1; x++ {
					p := src.at(left+x, top+y)
					for c := range sum {
						sum[c] += uint64(p[c])*uint64(p[3]) + 255*uint64(255-p[3])
					}
				}
			}
			n := 255 * uint64(y1-y0) * uint64(x1-x0)
			for c := range sum {
				dst.pix[row*dst.stride+4*col+c] = byte((sum[c] + n/2) / n)
			}
		}
	}
	return dst
}

// A spline holds the weights of a cubic B-spline: result i is the sum of weights[i][k] * sample[at(i, k)].
type spline struct {
	first   []int
	weights [][4]float32
	last    int // sample
}

// newSpline returns the weights for n results of size samples.
func newSpline(n, size int) spline {
	s := spline{first: make([]int, n), weights: make([][4]float32, n), last: size - 1}
	for i := range n {
		at := (float64(i)+0.5)*float64(size)/float64(n) - 0.5
		low := math.Floor(at)
		t := float32(at - low)
		r := 1 - t
		s.first[i] = int(low) - 1
		s.weights[i] = [4]float32{r * r * r / 6, (3*t*t*t - 6*t*t + 4) / 6, (3*r*r*r - 6*r*r + 4) / 6, t * t * t / 6}
	}
	return s
}

// at returns the sample of weight k for result i. Beyond the ends, the last one counts.
func (s *spline) at(i, k int) int { return max(0, min(s.first[i]+k, s.last)) }

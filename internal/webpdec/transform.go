package webpdec

// Pixels are computed on four channels at once: as 4 x 8 bits, or spread to 4 x 16 bits if a result may be negative or
// too large.

const lanes = 0x0001000100010001

func addPixels(a, b uint32) uint32 {
	const even, odd = 0x00ff00ff, 0xff00ff00
	return (a&even+b&even)&even | (a&odd+b&odd)&odd
}

func averagePixels(a, b uint32) uint32 { return (a^b)&0xfefefefe>>1 + a&b }

// spread puts each channel of a pixel in a lane of 16 bits.
func spread(v uint32) uint64 { return uint64(v&0x00ff00ff) | uint64(v&0xff00ff00)<<24 }

// clampLanes returns the pixel of lanes that are 256 too large, with each channel limited to 0 to 255.
func clampLanes(s uint64) uint32 {
	if s&(0x300*lanes) != 0x100*lanes {
		low := ^(s >> 8) & ^(s >> 9) & lanes // below 0
		high := s >> 9 & lanes               // above 255
		s = s&^(low*0xff) | high*0xff
	}
	return uint32(s&0x00ff00ff) | uint32(s>>24)&0xff00ff00
}

// differ returns the sum of the differences between the channels of two pixels.
func differ(a, b uint64) uint64 {
	x := a + 0x100*lanes - b
	negative := ^(x >> 8) & lanes
	x = (x^negative*0xff)&(0xff*lanes) + negative
	return x * lanes >> 48
}

// predict undoes the predictor transform of row y: RFC 9649, section 3.5.1. The result is in t.above.
func (t *transform) predict(src []uint32, y int) {
	w := t.width
	src, dst := src[:w], t.row[:w+1]
	above := t.above[:w+1]
	if y == 0 {
		left := uint32(0xff000000)
		for x, v := range src {
			left = addPixels(left, v)
			dst[x] = left
		}
	} else {
		modes := t.modes[y>>t.bits*t.stride:][:t.stride]
		left := addPixels(src[0], above[0])
		dst[0] = left
		// To the right of the last pixel above is the first one of this row.
		above[w] = left
		for i, mode := range modes {
			from, to := max(1, i<<t.bits), min(w, (i+1)<<t.bits)
			if from < to {
				predictTile(mode, dst[from-1:to], src[from:to], above[from-1:to+1])
			}
		}
	}
	t.above, t.row = t.row, t.above
}

// A neighborhood holds the pixels above those of a tile: to the left, straight and to the right.
type neighborhood struct{ corners, tops, rights []uint32 }

// predictTile predicts len(src) pixels. dst and above begin one pixel to the left, and above ends one to the right.
func predictTile(mode uint8, dst, src, above []uint32) {
	n := len(src)
	left := dst[0]
	dst = dst[1:][:n]
	near := neighborhood{above[:n], above[1:][:n], above[2:][:n]}
	switch mode {
	case 0:
		for x, v := range src {
			dst[x] = addPixels(v, 0xff000000)
		}
	case 2, 3, 4, 8, 9:
		near.predictDown(mode, dst, src)
	case 1, 5, 6, 7, 10, 11, 12, 13:
		near.predictAcross(mode, dst, src, left)
	default: // not defined; the differences are the pixels
		copy(dst, src)
	}
}

// predictDown predicts pixels from those above.
func (near neighborhood) predictDown(mode uint8, dst, src []uint32) {
	corners, tops, rights := near.corners[:len(src)], near.tops[:len(src)], near.rights[:len(src)]
	dst = dst[:len(src)]
	switch mode {
	case 2:
		for x, v := range src {
			dst[x] = addPixels(v, tops[x])
		}
	case 3:
		for x, v := range src {
			dst[x] = addPixels(v, rights[x])
		}
	case 4:
		for x, v := range src {
			dst[x] = addPixels(v, corners[x])
		}
	case 8:
		for x, v := range src {
			dst[x] = addPixels(v, averagePixels(corners[x], tops[x]))
		}
	case 9:
		for x, v := range src {
			dst[x] = addPixels(v, averagePixels(tops[x], rights[x]))
		}
	}
}

// predictAcross predicts pixels from the one to the left, too.
func (near neighborhood) predictAcross(mode uint8, dst, src []uint32, left uint32) {
	corners, tops, rights := near.corners[:len(src)], near.tops[:len(src)], near.rights[:len(src)]
	dst = dst[:len(src)]
	switch mode {
	case 1:
		for x, v := range src {
			left = addPixels(v, left)
			dst[x] = left
		}
	case 5:
		for x, v := range src {
			left = addPixels(v, averagePixels(averagePixels(left, rights[x]), tops[x]))
			dst[x] = left
		}
	case 6:
		for x, v := range src {
			left = addPixels(v, averagePixels(left, corners[x]))
			dst[x] = left
		}
	case 7:
		for x, v := range src {
			left = addPixels(v, averagePixels(left, tops[x]))
			dst[x] = left
		}
	case 10:
		for x, v := range src {
			left = addPixels(v, averagePixels(averagePixels(left, corners[x]), averagePixels(tops[x], rights[x])))
			dst[x] = left
		}
	case 11:
		for x, v := range src {
			corner := spread(corners[x])
			p := tops[x]
			if differ(spread(p), corner) < differ(spread(left), corner) {
				p = left
			}
			left = addPixels(v, p)
			dst[x] = left
		}
	case 12:
		for x, v := range src {
			left = addPixels(v, clampLanes(spread(left)+spread(tops[x])+0x100*lanes-spread(corners[x])))
			dst[x] = left
		}
	case 13:
		for x, v := range src {
			a := spread(averagePixels(left, tops[x]))
			half := a + 0x100*lanes - spread(corners[x])
			half += ^(half >> 8) & lanes // division by two rounds towards zero
			half = half >> 1 & (0x1ff * lanes)
			left = addPixels(v, clampLanes(a+half+0x80*lanes))
			dst[x] = left
		}
	}
}

// addColor undoes the color transform of row y: section 3.5.2.
func (t *transform) addColor(dst, src []uint32, y int) {
	factors := t.factors[y>>t.bits*t.stride:][:t.stride]
	dst = dst[:len(src)]
	for i, f := range factors {
		from, to := i<<t.bits, min(len(src), (i+1)<<t.bits)
		greenToRed, greenToBlue, redToBlue := int32(int8(f)), int32(int8(f>>8)), int32(int8(f>>16))
		src, dst := src[from:to], dst[from:to]
		for x, v := range src {
			green := int32(int8(v >> 8))
			red := v>>16 + uint32(greenToRed*green>>5)
			blue := v + uint32(greenToBlue*green>>5) + uint32(redToBlue*int32(int8(red))>>5)
			dst[x] = v&0xff00ff00 | red&255<<16 | blue&255
		}
	}
}

// addGreen undoes the subtraction of green: section 3.5.3.
func addGreen(dst, src []uint32) {
	dst = dst[:len(src)]
	for x, v := range src {
		const even = 0x00ff00ff
		green := v >> 8 & 255
		dst[x] = v&0xff00ff00 | (v&even+green*0x00010001)&even
	}
}

// lookUp undoes the replacement of colors by indexes, of which a pixel may have several: section 3.5.4.
func (t *transform) lookUp(dst, src []uint32) {
	if t.bits == 0 {
		for x, v := range src {
			dst[x] = t.palette[v>>8&255]
		}
		return
	}
	width := 8 >> t.bits // bits of an index
	mask := uint32(1)<<width - 1
	for x := range dst {
		i := src[x>>t.bits] >> 8 & 255
		dst[x] = t.palette[i>>(x&(1<<t.bits-1)*width)&mask]
	}
}

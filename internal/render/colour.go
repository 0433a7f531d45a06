package render

// clamp16 rounds a number with 16 fraction bits to a sample.
func clamp16(v int32) byte { return clamp((v + 1<<15) >> 16) }

// toRGB fills pix with opaque RGBA from luma and chroma planes of equal size, as defined by JFIF (ITU-T T.871).
func toRGB(pix []byte, yuv [3]plane) {
	ys, us, vs := yuv[0].pix, yuv[1].pix, yuv[2].pix
	us, vs = us[:len(ys)], vs[:len(ys)]
	for i := range ys {
		y, cb, cr := int32(ys[i])<<16, int32(us[i])-128, int32(vs[i])-128
		p := pix[4*i:][:4]
		p[0] = clamp16(y + 91881*cr)
		p[1] = clamp16(y - 22554*cb - 46802*cr)
		p[2] = clamp16(y + 116130*cb)
		p[3] = 255
	}
}

// toYCbCr fills luma, and chroma of half the width and height, from opaque RGBA.
func toYCbCr(dst [3]plane, src plane) {
	for y := 0; y < src.height; y += 2 {
		for x := 0; x < src.width; x += 2 {
			// At an odd edge the last column or row counts twice.
			var r, g, b int32
			for j := range 2 {
				y := min(y+j, src.height-1)
				for i := range 2 {
					x := min(x+i, src.width-1)
					p := src.pix[y*src.stride+4*x:][:3]
					pr, pg, pb := int32(p[0]), int32(p[1]), int32(p[2])
					r, g, b = r+pr, g+pg, b+pb
					dst[0].pix[y*dst[0].stride+x] = clamp16(19595*pr + 38470*pg + 7471*pb)
				}
			}
			at := y/2*dst[1].stride + x/2
			const middle, round = 128 << 18, 1 << 17
			dst[1].pix[at] = clamp((-11058*r - 21710*g + 32768*b + middle + round) >> 18)
			dst[2].pix[at] = clamp((32768*r - 27439*g - 5329*b + middle + round) >> 18)
		}
	}
}

// toFullYCbCr fills luma and chroma planes of equal size from opaque RGBA.
func toFullYCbCr(dst [3]plane, pix []byte) {
	for i := range dst[0].pix {
		p := pix[4*i:][:3]
		r, g, b := int32(p[0]), int32(p[1]), int32(p[2])
		const middle = 128 << 16
		dst[0].pix[i] = clamp16(19595*r + 38470*g + 7471*b)
		dst[1].pix[i] = clamp16(-11058*r - 21710*g + 32768*b + middle)
		dst[2].pix[i] = clamp16(32768*r - 27439*g - 5329*b + middle)
	}
}

// stretch converts video levels (luma 16 to 235, chroma 16 to 240) to full range. Lossy WebP stores video levels.
func stretch(yuv [3]plane) {
	for i, p := range yuv {
		for j, v := range p.pix {
			if i == 0 {
				p.pix[j] = clamp(((int32(v)-16)*255 + 109) / 219)
			} else {
				p.pix[j] = clamp(((int32(v)-128)*255 + 128*224 + 112) / 224)
			}
		}
	}
}

// unmultiply undoes [reduce.Premultiply] and reports whether all pixels are opaque.
func unmultiply(pix []byte) (opaque bool) {
	opaque = true
	for i := 0; i+4 <= len(pix); i += 4 {
		p := pix[i:][:4]
		a := uint32(p[3])
		if a == 255 {
			continue
		}
		opaque = false
		if a == 0 {
			clear(p)
			continue
		}
		// The filter can ring, and then a colour exceeds its alpha.
		p[0] = byte(min(255, (uint32(p[0])*255+a/2)/a))
		p[1] = byte(min(255, (uint32(p[1])*255+a/2)/a))
		p[2] = byte(min(255, (uint32(p[2])*255+a/2)/a))
	}
	return opaque
}

// onWhite composes RGBA samples with a white background.
func onWhite(pix []byte) {
	for i := 0; i+4 <= len(pix); i += 4 {
		p := pix[i:][:4]
		a := uint32(p[3])
		for c := range 3 {
			p[c] = byte((uint32(p[c])*a + 255*(255-a) + 127) / 255)
		}
		p[3] = 255
	}
}

// fillHidden replaces the colour of pixels that are transparent by that of visible ones beside them, which they would darken where
// chroma is shared, and when they are encoded.
func fillHidden(src plane) {
	for y := range src.height {
		row := src.pix[y*src.stride:][:4*src.width]
		first := 0 // that is visible
		for first < len(row) && row[first+3] == 0 {
			first += 4
		}
		for at := 0; at < len(row); at += 4 {
			switch {
			case row[at+3] != 0:
			case at > first:
				copy(row[at:], row[at-4:at-1])
			case first < len(row):
				copy(row[at:], row[first:first+3])
			case y > 0:
				copy(row[at:], src.pix[(y-1)*src.stride+at:][:3])
			}
		}
	}
}

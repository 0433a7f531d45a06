package tiff

import "image"

// A canvas collects decoded pixels. For a reduced image it sums them up, and the means become the image's pixels.
type canvas struct {
	pix  []byte
	size int // bytes of a pixel
	inks func(pix []byte)

	width, height int // of the picture
	scale         int
	across        int // pixels of a row of the image

	// The rest is for a reduced image.
	line        []byte   // pixels that are not summed up yet
	sums        []uint32 // sums of a few rows of the image, used in turn
	rows        int      // number of rows in sums
	flushed     int      // rows of the image that are done
	premultiply bool     // multiply colours by alpha, so that invisible pixels do not count
}

// bandRows returns how many rows of a reduced image are being summed up at one time. Tiles touch several rows before the
// first one is complete.
func (h *Header) bandRows(scale int) int {
	if h.tileRows == 0 {
		return 1
	}
	return (h.tileRows-1)/scale + 2
}

func (p *photo) newCanvas(h Header, o Options) (image.Image, *canvas) {
	scale := o.scale()
	c := &canvas{width: p.width, height: p.height, scale: scale, across: ceilDiv(p.width, scale), size: 4}
	var img image.Image
	switch rect := image.Rect(0, 0, c.across, ceilDiv(p.height, scale)); {
	case h.Gray:
		m := image.NewGray(rect)
		img, c.pix, c.size = m, m.Pix, 1
	case h.CMYK && o.Inks == nil:
		m := image.NewCMYK(rect)
		img, c.pix = m, m.Pix
	case p.alpha == unassociated && (scale == 1 || p.guessed):
		m := image.NewNRGBA(rect)
		img, c.pix = m, m.Pix
	default:
		m := image.NewRGBA(rect)
		img, c.pix = m, m.Pix
		c.premultiply = p.alpha == unassociated
		if h.CMYK {
			c.inks = o.Inks
		}
	}
	if scale > 1 {
		c.rows = h.bandRows(scale)
		c.sums = make([]uint32, c.rows*c.across*c.size)
		c.line = make([]byte, p.blockW*c.size)
	}
	return img, c
}

// row returns the memory for n pixels of the picture, from (x, y) on. The caller fills it and calls done.
func (c *canvas) row(x, y, n int) []byte {
	if c.scale > 1 {
		return c.line[:n*c.size]
	}
	return c.pix[(y*c.width+x)*c.size:][:n*c.size]
}

// done adds the pixels that the caller has written to row.
func (c *canvas) done(x, y, n int) {
	if c.inks != nil {
		c.inks(c.row(x, y, n))
	}
	if c.scale == 1 {
		return
	}
	line := c.line[:n*c.size]
	if c.premultiply {
		for i := 0; i < len(line); i += 4 {
			p := line[i:][:4]
			a := uint32(p[3])
			for k, v := range p[:3] {
				p[k] = byte((uint32(v)*a + 127) / 255)
			}
		}
	}
	sums := c.sums[(y/c.scale%c.rows*c.across+x/c.scale)*c.size:]
	left := c.scale - x%c.scale // pixels that belong to the same sum
	for len(line) > 0 {
		here := line[:min(left*c.size, len(line))]
		for i := 0; i < len(here); i += c.size {
			for k, v := range here[i:][:c.size] {
				sums[k] += uint32(v)
			}
		}
		line = line[len(here):]
		sums, left = sums[c.size:], c.scale
	}
	if c.rows == 1 && ((y+1)%c.scale == 0) {
		c.flush(y + 1)
	}
}

// flush turns sums into pixels, when all rows of the picture above y are summed up.
func (c *canvas) flush(y int) {
	if c.scale == 1 {
		return
	}
	end := y / c.scale
	if y == c.height {
		end = ceilDiv(c.height, c.scale)
	}
	for ; c.flushed < end; c.flushed++ {
		h := min(c.scale, c.height-c.flushed*c.scale)
		sums := c.sums[c.flushed%c.rows*c.across*c.size:][:c.across*c.size]
		dst := c.pix[c.flushed*c.across*c.size:]
		for x := range c.across {
			n := uint32(h * min(c.scale, c.width-x*c.scale))
			for k := x * c.size; k < (x+1)*c.size; k++ {
				dst[k] = byte((sums[k] + n/2) / n)
			}
		}
		clear(sums)
	}
}

// showInvisible makes the image opaque if all of it is transparent. Then the fourth sample was no alpha.
func (c *canvas) showInvisible() {
	for i := 3; i < len(c.pix); i += 4 {
		if c.pix[i] != 0 {
			return
		}
	}
	for i := 3; i < len(c.pix); i += 4 {
		c.pix[i] = 255
	}
}

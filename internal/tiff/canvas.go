package tiff

import (
	"image"

	"github.com/thumbcache/thumbcache/internal/reduce"
)

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
		reduce.Premultiply(line)
	}
	c.add(x, y, line, c.size)
}

// add sums up pixels of a row from (x, y) on: channels samples each, 3 for RGB that becomes RGBA.
func (c *canvas) add(x, y int, line []byte, channels int) {
	sums := c.sums[(y/c.scale%c.rows*c.across+x/c.scale)*c.size:]
	sum := func(n int) { // the next n pixels
		pixels, cells := line[:n*channels], sums[:ceilDiv(n, c.scale)*c.size]
		if channels == 3 {
			reduce.AddRGB(cells, pixels, c.scale)
		} else {
			reduce.Add(cells, pixels, channels, c.scale)
		}
		line, sums = line[len(pixels):], sums[len(cells):]
	}
	if begun := x % c.scale; begun > 0 {
		sum(min(c.scale-begun, len(line)/channels)) // to a sum that another tile has begun
	}
	if len(line) > 0 {
		sum(len(line) / channels)
	}
	if c.rows == 1 && (y+1)%c.scale == 0 {
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
		to := c.pix[c.flushed*c.across*c.size:]
		last := len(sums) - c.size
		reduce.Divide(to[:last], sums[:last], h*c.scale)
		reduce.Divide(to[last:len(sums)], sums[last:], h*(c.width-(c.across-1)*c.scale))
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

package webpenc

import (
	"math"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A plane holds samples. Those of a frame consist of whole macroblocks.
type plane struct {
	pix           []byte
	stride        int
	width, height int
}

// Video levels for each sample of full range: luma is 16 to 235, and chroma is 16 to 240.
var lumaLevels, chromaLevels = levels(0, 16, 219), levels(128, 128, 224)

func levels(from, to, size float64) (t [256]byte) {
	for v := range t {
		t[v] = byte(math.Round(to + (float64(v)-from)*size/255))
	}
	return t
}

// load copies the picture to whole macroblocks.
func (f *frame) load(m *Image) {
	f.mbw, f.mbh = (m.Width+15)/16, (m.Height+15)/16
	f.mbs = grow(f.mbs, f.mbw*f.mbh)
	cw, ch := (m.Width+1)/2, (m.Height+1)/2
	f.planes[0].resize(16*f.mbw, 16*f.mbh)
	f.planes[0].load(plane{m.Y, m.YStride, m.Width, m.Height}, &lumaLevels)
	for i, pix := range [2][]byte{m.Cb, m.Cr} {
		p := &f.planes[1+i]
		p.resize(8*f.mbw, 8*f.mbh)
		if pix != nil {
			p.load(plane{pix, m.CStride, cw, ch}, &chromaLevels)
			continue
		}
		for i := range p.pix {
			p.pix[i] = 128
		}
	}
}

func (p *plane) resize(width, height int) {
	p.pix = grow(p.pix, width*height)
	p.stride, p.width, p.height = width, width, height
}

// load fills p with the levels of the samples of another plane. It repeats the last row and column, which costs the fewest bits.
func (p *plane) load(from plane, table *[256]byte) {
	for y := range p.height {
		row := p.pix[y*p.stride:][:p.width]
		if y >= from.height {
			copy(row, p.pix[(y-1)*p.stride:])
			continue
		}
		for x, v := range from.pix[y*from.stride:][:from.width] {
			row[x] = table[v]
		}
		last := row[from.width-1]
		for x := from.width; x < len(row); x++ {
			row[x] = last
		}
	}
}

// loadMacroblock copies a macroblock to src.
func (f *frame) loadMacroblock(mbx, mby int) {
	p := &f.planes[0]
	from := p.pix[16*mby*p.stride+16*mbx:]
	for y := range 16 {
		*(*[16]byte)(f.src[vp8.AtY+y*vp8.Stride:]) = [16]byte(from[y*p.stride:])
	}
	for i, at := range [2]int{vp8.AtU, vp8.AtV} {
		p := &f.planes[1+i]
		from := p.pix[8*mby*p.stride+8*mbx:]
		for y := range 8 {
			*(*[8]byte)(f.src[at+y*vp8.Stride:]) = [8]byte(from[y*p.stride:])
		}
	}
}

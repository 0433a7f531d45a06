package webpenc

import (
	"math"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A plane holds samples of full range. If pix is nil, a plane of chroma is grey.
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

// load sets the picture.
func (f *frame) load(m *Image) {
	f.mbw, f.mbh = (m.Width+15)/16, (m.Height+15)/16
	f.mbs = grow(f.mbs, f.mbw*f.mbh)
	f.above = grow(f.above, f.mbw)
	cw, ch := (m.Width+1)/2, (m.Height+1)/2
	f.planes = [3]plane{
		{m.Y, m.YStride, m.Width, m.Height},
		{m.Cb, m.CStride, cw, ch},
		{m.Cr, m.CStride, cw, ch},
	}
	f.alpha = plane{m.Alpha, m.Width, m.Width, m.Height}
}

// unload forgets the picture, which may be large.
func (f *frame) unload() { f.planes, f.alpha = [3]plane{}, plane{} }

// loadMacroblock copies a macroblock to src, in video levels.
func (f *frame) loadMacroblock(mbx, mby int) {
	f.planes[0].load(f.src[vp8.AtY:], 16, mbx, mby)
	f.planes[1].load(f.src[vp8.AtU:], 8, mbx, mby)
	f.planes[2].load(f.src[vp8.AtV:], 8, mbx, mby)
}

// load copies a block of n x n samples. It repeats the last row and column of the plane, which costs the fewest bits.
func (p *plane) load(to []byte, n, x, y int) {
	table := &lumaLevels
	if n == 8 {
		table = &chromaLevels
	}
	x, y = n*x, n*y
	width := min(n, p.width-x)
	for i := range n {
		row := to[i*vp8.Stride:][:n]
		if p.pix == nil {
			for x := range row {
				row[x] = 128
			}
			continue
		}
		for x, v := range p.pix[min(y+i, p.height-1)*p.stride+x:][:width] {
			row[x] = table[v]
		}
		for x := width; x < n; x++ {
			row[x] = row[width-1]
		}
	}
}

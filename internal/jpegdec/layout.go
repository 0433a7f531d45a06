package jpegdec

import "image"

// A geometry describes the blocks of one component. Blocks are numbered from the upper left corner of the picture.
type geometry struct {
	size             int             // of a block's edge, in samples of the plane
	blocksX, blocksY int             // number of blocks in a scan of this component alone
	window           image.Rectangle // blocks that the plane shows, in whole MCUs
	coefStride       int             // blocks in a row of coefficients

	plane      Plane // without samples
	planeBytes int64
	coefBlocks int64 // number of blocks whose coefficients are kept
}

// layout returns the geometry of all components, the pixels that the planes show, and the number of MCUs in an
// interleaved scan.
func (h *Header) layout(o Options) (g [4]geometry, rect image.Rectangle, mcus image.Point) {
	maxH, maxV := 1, 1
	for _, s := range h.Sampling[:h.N] {
		maxH, maxV = max(maxH, s.H), max(maxV, s.V)
	}
	mcus = image.Pt(ceilDiv(h.Width, 8*maxH), ceilDiv(h.Height, 8*maxV))

	all := image.Rect(0, 0, h.Width, h.Height)
	crop := o.Crop.Intersect(all)
	if crop.Empty() {
		crop = all
	}
	window := image.Rect(
		crop.Min.X/(8*maxH), crop.Min.Y/(8*maxV),
		ceilDiv(crop.Max.X, 8*maxH), ceilDiv(crop.Max.Y, 8*maxV))
	rect = image.Rect(
		window.Min.X*8*maxH, window.Min.Y*8*maxV,
		window.Max.X*8*maxH, window.Max.Y*8*maxV).Intersect(all)

	for i, s := range h.Sampling[:h.N] {
		c := &g[i]
		scale := o.Scale
		if o.ChromaScale != 0 && (s.H < maxH || s.V < maxV) {
			scale = o.ChromaScale
		}
		if scale != 2 && scale != 4 && scale != 8 {
			scale = 1
		}
		c.size = 8 / scale
		c.blocksX = ceilDiv(ceilDiv(h.Width*s.H, maxH), 8)
		c.blocksY = ceilDiv(ceilDiv(h.Height*s.V, maxV), 8)
		c.window = image.Rect(window.Min.X*s.H, window.Min.Y*s.V, window.Max.X*s.H, window.Max.Y*s.V)
		c.coefStride = mcus.X * s.H

		c.plane = Plane{
			Stride: c.window.Dx() * c.size,
			W:      ceilDiv(ceilDiv(rect.Dx()*s.H, maxH), scale),
			H:      ceilDiv(ceilDiv(rect.Dy()*s.V, maxV), scale),
			StepX:  float64(scale*maxH) / float64(s.H),
			StepY:  float64(scale*maxV) / float64(s.V),
		}
		c.planeBytes = int64(c.plane.Stride) * int64(c.window.Dy()*c.size)
		if h.Progressive {
			c.coefBlocks = int64(c.coefStride) * int64(c.window.Max.Y)
		}
	}
	return g, rect, mcus
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// coefBytes returns the number of bytes that the kept coefficients of one block take.
func (g *geometry) coefBytes() int64 { return 2*int64(lastCoefficient[g.size]+1) + 8 }

// Cost returns the most bytes of memory that [Decode] allocates.
func (h Header) Cost(o Options) int64 {
	// The allocator rounds up: large sizes to pages, small ones by an eighth.
	const page = 8 << 10
	n := int64(decoderBytes)
	g, _, _ := h.layout(o)
	for i := range h.N {
		n += g[i].planeBytes + g[i].coefBlocks*g[i].coefBytes() + 3*page
	}
	return n
}

package render

import (
	"math"

	"github.com/thumbcache/thumbcache/internal/render/webpenc"
)

// A layout is the geometry of one thumbnail. It maps each pixel of the result to the stored picture.
//
// Orientation costs only a transposition of the small result. Mirroring is free, since a span can run backwards.
type layout struct {
	width, height int // of the scaled picture, after orientation
	boxWidth      int // of the result, which is larger only for Pad
	boxHeight     int
	transpose     bool // rows and columns are exchanged after scaling
	x, y          span // in the stored picture, before transposing
	fullChroma    bool // JPEG output has chroma of full resolution
}

// maxPixelArt is the longest edge in pixels of a picture that gets chroma of full resolution. Half the resolution would
// smear the single pixels of small icons, and saves few bytes there.
const maxPixelArt = 32

// A span maps n result samples along one dimension to picture pixels: the centre of result i is start + (i+0.5)*step.
// A mirrored span starts at the far end and has a negative step.
type span struct {
	n           int
	start, step float64
}

// The longest edges of a JPEG and of a WebP in pixels, limits of the formats.
const (
	maxJPEG = 65535
	maxWebP = webpenc.MaxEdge
)

// layOut returns the layout for a picture with the given header.
func layOut(h header, o Options) layout {
	if o.Orientation >= 1 && o.Orientation <= 8 {
		h.orientation = o.Orientation
	}
	// EXIF orientations 5 to 8 exchange rows and columns.
	transpose := h.orientation >= 5
	w, ht := h.width, h.height
	if transpose {
		w, ht = ht, w
	}
	boxW, boxH := o.box(max(w, ht))
	left, top := 0, 0
	cropW, cropH := w, ht
	if o.Fit == Cover {
		cropW, cropH = crop(w, ht, boxW, boxH)
		left, top = focus(o.FocusX, cropW, w), focus(o.FocusY, cropH, ht)
	}
	g := layout{width: cropW, height: cropH, transpose: transpose, fullChroma: max(w, ht) <= maxPixelArt && !o.WebP}
	switch {
	case o.Fit == Cover:
		g.width, g.height = min(cropW, boxW), min(cropH, boxH)
	case int64(w)*int64(boxH) >= int64(ht)*int64(boxW) && w > boxW:
		g.width, g.height = boxW, shrink(ht, boxW, w)
	case ht > boxH:
		g.width, g.height = shrink(w, boxH, ht), boxH
	}
	g.boxWidth, g.boxHeight = g.width, g.height
	if o.Fit == Pad {
		g.boxWidth, g.boxHeight = boxW, boxH
	}

	var mirrorX, mirrorY bool
	switch h.orientation {
	case 2, 8:
		mirrorX = true
	case 3, 7:
		mirrorX, mirrorY = true, true
	case 4, 6:
		mirrorY = true
	}
	g.x = makeSpan(g.width, left, cropW)
	g.y = makeSpan(g.height, top, cropH)
	if transpose {
		g.x, g.y = g.y, g.x
	}
	if mirrorX {
		g.x = g.x.mirror(h.width)
	}
	if mirrorY {
		g.y = g.y.mirror(h.height)
	}
	return g
}

// box returns the edges of the box for a picture with the given longest edge.
func (o *Options) box(longest int) (width, height int) {
	limit := math.MaxInt32
	if o.MaxEdge > 0 {
		limit = o.MaxEdge
	}
	switch {
	case o.WebP:
		limit = min(limit, maxWebP)
	case !o.PNG:
		limit = min(limit, maxJPEG)
	}
	width = min(longest, limit)
	if o.Size > 0 {
		width = min(o.Size, limit)
	}
	if o.Height > 0 {
		return width, min(o.Height, limit)
	}
	return width, width
}

// crop returns the edges of the largest part of a picture that has the shape of a box.
func crop(w, h, boxW, boxH int) (width, height int) {
	if int64(w)*int64(boxH) > int64(h)*int64(boxW) {
		return shrink(h, boxW, boxH), h
	}
	return w, shrink(w, boxH, boxW)
}

// focus returns where a part of the given length begins, so that its middle is as close as possible to at, a fraction of whole.
func focus(at float64, length, whole int) int {
	if !(at > 0 && at <= 1) {
		return (whole - length) / 2
	}
	return max(0, min(int(math.Round(at*float64(whole)-float64(length)/2)), whole-length))
}

// shrink returns edge*limit/long, rounded to nearest, and at least 1.
func shrink(edge, limit, long int) int {
	return max(1, int((2*int64(edge)*int64(limit)+int64(long))/(2*int64(long))))
}

func makeSpan(n, start, length int) span {
	return span{n: n, start: float64(start), step: float64(length) / float64(n)}
}

func (s span) mirror(length int) span {
	return span{n: s.n, start: float64(length) - s.start, step: -s.step}
}

// chroma returns the spans of the chroma planes.
func (g layout) chroma() (x, y span) {
	if g.fullChroma {
		return g.x, g.y
	}
	return g.x.halved(), g.y.halved()
}

// halved returns the span of chroma at half the resolution of s. The last sample may extend beyond the end.
func (s span) halved() span {
	return span{n: (s.n + 1) / 2, start: s.start, step: 2 * s.step}
}

// on converts s from pixels to samples of a plane that begins at pixel origin and has one sample every pitch pixels.
func (s span) on(origin int, pitch float64) span {
	return span{n: s.n, start: (s.start - float64(origin)) / pitch, step: s.step / pitch}
}

// bounds returns the range of picture pixels that s covers.
func (s span) bounds() (low, high int) {
	a, b := s.start, s.start+float64(s.n)*s.step
	return int(math.Floor(min(a, b) + 0.001)), int(math.Ceil(max(a, b) - 0.001))
}

// meanReduction returns the factor by which a decoder may reduce the picture if each pixel of the reduced one is a mean.
func (g layout) meanReduction() int {
	return meanReduction(min(math.Abs(g.x.step), math.Abs(g.y.step)))
}

// meanReduction returns the edge of the squares of which means may replace the samples, if there are step samples for one of
// the result. A mean blurs more than the filter, which is visible unless some of them are left for each sample of the result:
// more of them the larger the square. With these numbers PSNR is within 0.1 dB of the filter alone.
func meanReduction(step float64) int {
	switch {
	case step >= 40:
		return int(step / 4)
	case step >= 6:
		return int(step / 3)
	case step >= 4:
		return 2
	}
	return 1
}

// reduction returns the factor, at most 8, by which a decoder may reduce the picture. The reduced picture has at least
// twice the edge of the result. A reduction to an eighth keeps only the mean of each block, which is visible at less than
// three times the edge.
func (g layout) reduction() int {
	step := min(math.Abs(g.x.step), math.Abs(g.y.step))
	switch {
	case step >= 3*8:
		return 8
	case step >= 2*4:
		return 4
	case step >= 2*2:
		return 2
	}
	return 1
}

// edge returns the longest edge of the scaled picture.
func (g layout) edge() int { return max(g.width, g.height) }

package render

import (
	"image"
	"image/png"
	"slices"
	"sync"

	"github.com/thumbcache/thumbcache/internal/jpegdec"
	"github.com/thumbcache/thumbcache/internal/pngdec"
	"github.com/thumbcache/thumbcache/internal/render/webpenc"
)

// A workspace holds the buffers for making one thumbnail, so that the next one can reuse them.
type workspace struct {
	x, y     axis
	sums     []uint32  // of squares of samples, for a row of their means
	rows     []int64   // two rows between the passes, one in each half of a word
	planes   [6][]byte // three for scaled planes, three for transposed ones
	keep     bool      // the next size is made from the scaled planes
	kept     [3][]byte // copies of scaled planes for that
	jpeg     jpegdec.Image
	jpegSize int64 // upper bound of the bytes that jpeg holds
	png      pngdec.Image
	pngSize  int64 // upper bound of the bytes that png holds
	out      []byte
	grid     grid
	pngState *png.EncoderBuffer
	webp     *webpenc.Encoder // nil until there is a WebP
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// maxKept is the most bytes that a workspace may hold to be reused. Larger ones are left to the garbage collector, so that
// one huge picture does not occupy memory for long.
const maxKept = 8 << 20

func (ws *workspace) release() {
	kept := ws.jpegSize + ws.pngSize + int64(cap(ws.out)+4*cap(ws.sums)+8*cap(ws.rows)+8*cap(ws.grid.sums)+2*cap(ws.grid.columns))
	for _, p := range slices.Concat(ws.planes[:], ws.kept[:]) {
		kept += int64(cap(p))
	}
	if ws.webp != nil {
		kept += ws.webp.Size()
	}
	if kept <= maxKept {
		workspaces.Put(ws)
	}
}

// Get and Put make ws a [png.EncoderBufferPool] of a single buffer.
func (ws *workspace) Get() *png.EncoderBuffer  { return ws.pngState }
func (ws *workspace) Put(b *png.EncoderBuffer) { ws.pngState = b }

// grow returns a slice of length n, with undefined contents, that reuses s if it is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// plane returns the workspace's plane i with the given size. Its contents are undefined.
func (ws *workspace) plane(i, width, height, chans int) plane {
	ws.planes[i] = grow(ws.planes[i], width*height*chans)
	return plane{pix: ws.planes[i], stride: width * chans, width: width, height: height, chans: chans}
}

// scaled returns src scaled to the spans and, if transposed, turned. It uses the workspace's planes i and i+3. If ws.keep is
// set, it replaces src by the scaled plane.
func (ws *workspace) scaled(i int, src *plane, x, y span, transposed bool) plane {
	dst := ws.plane(i, x.n, y.n, src.chans)
	ws.scale(dst, src, x, y)
	if ws.keep {
		ws.kept[i] = append(ws.kept[i][:0], dst.pix...)
		*src = dst
		src.pix, src.left, src.top, src.pitchX, src.pitchY = ws.kept[i], int(x.start), int(y.start), x.step, y.step
	}
	if !transposed {
		return dst
	}
	turned := ws.plane(i+3, y.n, x.n, src.chans)
	transpose(turned, dst)
	return turned
}

// pixels is a small picture in grey or in RGBA that is not premultiplied.
type pixels struct {
	plane
	grey   bool
	opaque bool
}

func (p pixels) image() image.Image {
	r := image.Rect(0, 0, p.width, p.height)
	if p.grey {
		return &image.Gray{Pix: p.pix, Stride: p.stride, Rect: r}
	}
	return &image.NRGBA{Pix: p.pix, Stride: p.stride, Rect: r}
}

// grey returns the thumbnail of a grey picture.
func (ws *workspace) grey(src *raster, g layout, p profile) plane {
	dst := ws.scaled(0, &src.planes[0], g.x, g.y, g.transpose)
	if p.grey != nil {
		for i, v := range dst.pix {
			dst.pix[i] = p.grey[v]
		}
	}
	return dst
}

// ycbcr returns the thumbnail of a picture in luma and chroma. Chroma has half the width and height, unless the layout
// wants it in full.
func (ws *workspace) ycbcr(src *raster, g layout) (dst [3]plane) {
	dst[0] = ws.scaled(0, &src.planes[0], g.x, g.y, g.transpose)
	x, y := g.chroma()
	dst[1] = ws.scaled(1, &src.planes[1], x, y, g.transpose)
	dst[2] = ws.scaled(2, &src.planes[2], x, y, g.transpose)
	if src.video {
		stretch(dst)
	}
	return dst
}

// nrgba returns the thumbnail of any picture in sRGB: as RGBA, or as grey if the picture is grey.
func (ws *workspace) nrgba(src *raster, g layout, p profile) pixels {
	switch src.kind {
	case grey:
		return pixels{plane: ws.grey(src, g, p), grey: true, opaque: true}
	case rgba:
		dst := pixels{plane: ws.scaled(0, &src.planes[0], g.x, g.y, g.transpose)}
		dst.opaque = unmultiply(dst.pix)
		p.convert(dst.pix)
		return dst
	}
	var yuv [3]plane
	for i := range yuv {
		yuv[i] = ws.scaled(i, &src.planes[i], g.x, g.y, g.transpose)
	}
	if src.video {
		stretch(yuv)
	}
	i := 3 // first plane that is free
	if g.transpose {
		i = 0
	}
	dst := pixels{plane: ws.plane(i, g.width, g.height, 4), opaque: true}
	toRGB(dst.pix, yuv)
	p.convert(dst.pix)
	return dst
}

// flatten returns the luma and chroma of a small picture on a white background.
func (ws *workspace) flatten(src pixels, fullChroma bool) (dst [3]plane) {
	if !src.opaque {
		onWhite(src.pix)
	}
	w, h := src.width, src.height
	cw, ch := (w+1)/2, (h+1)/2
	if fullChroma {
		cw, ch = w, h
	}
	// src occupies plane 0, 3 or 5.
	dst[0] = ws.plane(1, w, h, 1)
	dst[1] = ws.plane(2, cw, ch, 1)
	dst[2] = ws.plane(4, cw, ch, 1)
	if fullChroma {
		toFullYCbCr(dst, src.pix)
	} else {
		toYCbCr(dst, src.plane)
	}
	return dst
}

// alpha returns the alpha of a small picture. flatten leaves it as it is.
func (ws *workspace) alpha(src pixels, padded bool) []byte {
	i := 5
	if padded {
		i = 0 // src occupies plane 5
	}
	dst := ws.plane(i, src.width, src.height, 1)
	for i := range dst.pix {
		dst.pix[i] = src.pix[4*i+3]
	}
	return dst.pix
}

package render

import (
	"image"
	"image/png"
	"sync"

	"github.com/thumbcache/thumbcache/internal/jpegdec"
)

// A workspace holds what making one thumbnail needs, for the next one to use again.
type workspace struct {
	x, y     axis
	rows     []int64   // two rows between the passes, one in each half
	planes   [6][]byte // what is scaled, and what is transposed from it
	jpeg     jpegdec.Image
	jpegSize int64 // most that jpeg holds
	out      []byte
	grid     grid
	pngState *png.EncoderBuffer
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// maxKept is the most a workspace may hold when it is kept: an occasional giant is left to the collector.
const maxKept = 8 << 20

func (ws *workspace) release() {
	kept := ws.jpegSize + int64(cap(ws.out)+8*cap(ws.rows)+8*cap(ws.grid.sums)+2*cap(ws.grid.columns))
	for _, p := range ws.planes {
		kept += int64(cap(p))
	}
	if kept <= maxKept {
		workspaces.Put(ws)
	}
}

// Get and Put make ws a [png.EncoderBufferPool] of one.
func (ws *workspace) Get() *png.EncoderBuffer  { return ws.pngState }
func (ws *workspace) Put(b *png.EncoderBuffer) { ws.pngState = b }

// grow returns s with length n, its contents undefined.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// plane returns the workspace's plane i, made as large as needed.
func (ws *workspace) plane(i, width, height, chans int) plane {
	ws.planes[i] = grow(ws.planes[i], width*height*chans)
	return plane{pix: ws.planes[i], stride: width * chans, width: width, height: height, chans: chans}
}

// scaled returns src scaled to the spans and oriented, in the workspace's plane i.
func (ws *workspace) scaled(i int, src plane, x, y span, transposed bool) plane {
	dst := ws.plane(i, x.n, y.n, src.chans)
	ws.scale(dst, src, x, y)
	if !transposed {
		return dst
	}
	turned := ws.plane(i+3, y.n, x.n, src.chans)
	transpose(turned, dst)
	return turned
}

// pixels are 8-bit samples of a small picture, not premultiplied.
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
func (ws *workspace) grey(src raster, g layout, p profile) plane {
	dst := ws.scaled(0, src.planes[0], g.x, g.y, g.transpose)
	if p.grey != nil {
		for i, v := range dst.pix {
			dst.pix[i] = p.grey[v]
		}
	}
	return dst
}

// ycbcr returns the thumbnail of a picture in luma and chroma, with half the chroma either way.
func (ws *workspace) ycbcr(src raster, g layout) (dst [3]plane) {
	dst[0] = ws.scaled(0, src.planes[0], g.x, g.y, g.transpose)
	dst[1] = ws.scaled(1, src.planes[1], g.x.halved(), g.y.halved(), g.transpose)
	dst[2] = ws.scaled(2, src.planes[2], g.x.halved(), g.y.halved(), g.transpose)
	if src.video {
		stretch(dst)
	}
	return dst
}

// nrgba returns the thumbnail of any picture as RGBA in sRGB, or as grey if it is.
func (ws *workspace) nrgba(src raster, g layout, p profile) pixels {
	switch src.kind {
	case grey:
		return pixels{plane: ws.grey(src, g, p), grey: true, opaque: true}
	case rgba:
		dst := pixels{plane: ws.scaled(0, src.planes[0], g.x, g.y, g.transpose)}
		dst.opaque = unmultiply(dst.pix)
		p.convert(dst.pix)
		return dst
	}
	var yuv [3]plane
	for i := range yuv {
		yuv[i] = ws.scaled(i, src.planes[i], g.x, g.y, g.transpose)
	}
	if src.video {
		stretch(yuv)
	}
	i := 3 // the planes that are free
	if g.transpose {
		i = 0
	}
	dst := pixels{plane: ws.plane(i, g.width, g.height, 4), opaque: true}
	toRGB(dst.pix, yuv)
	p.convert(dst.pix)
	return dst
}

// flatten returns the luma and chroma of a small picture on white.
func (ws *workspace) flatten(src pixels) (dst [3]plane) {
	if !src.opaque {
		onWhite(src.pix)
	}
	// src is in plane 0 or 3.
	w, h := src.width, src.height
	dst[0] = ws.plane(1, w, h, 1)
	dst[1] = ws.plane(2, (w+1)/2, (h+1)/2, 1)
	dst[2] = ws.plane(4, (w+1)/2, (h+1)/2, 1)
	toYCbCr(dst, src.plane)
	return dst
}

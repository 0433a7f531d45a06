package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"

	"github.com/thumbcache/thumbcache/internal/render/webpenc"
	"github.com/thumbcache/thumbcache/internal/webpdec"
)

// A webpHeader holds the frames of a WebP, at most maxFrames. A still picture has one.
type webpHeader struct {
	frames []frame
	images []webpdec.Frame
}

// riffChunk splits the first chunk off data. A chunk that is longer than data is cut.
func riffChunk(data []byte) (name string, chunk, rest []byte, ok bool) {
	if len(data) < 8 {
		return "", nil, nil, false
	}
	name = string(data[:4])
	n := int64(binary.LittleEndian.Uint32(data[4:]))
	data = data[8:]
	chunk = data[:min(n, int64(len(data)))]
	return name, chunk, data[min(n+n&1, int64(len(data))):], true
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func (h *header) readWebP(data []byte) error {
	w := &h.webp
	var still webpdec.Frame
	for rest := data[12:]; ; {
		name, chunk, r, ok := riffChunk(rest)
		if !ok {
			break
		}
		rest = r
		switch name {
		case "VP8X":
			if len(chunk) < 10 {
				return corrupt("short WebP header")
			}
			h.width, h.height = 1+uint24(chunk[4:]), 1+uint24(chunk[7:])
		case "ICCP":
			h.icc = chunk
		case "EXIF":
			h.readEXIF(chunk)
		case "ANMF":
			w.readFrame(chunk)
		default:
			readWebPChunk(&still, name, chunk)
		}
	}
	if still.VP8 != nil || still.VP8L != nil || len(w.frames) == 0 {
		width, height, err := still.Size()
		if err != nil {
			return corrupt("%w", err)
		}
		w.frames = []frame{{rect: image.Rect(0, 0, width, height), replace: true}}
		w.images = []webpdec.Frame{still}
	}
	if h.width == 0 {
		h.width, h.height = w.frames[0].rect.Dx(), w.frames[0].rect.Dy()
	}
	if !w.frames[0].rect.In(image.Rect(0, 0, h.width, h.height)) {
		return corrupt("WebP frame outside its canvas")
	}
	return nil
}

// isWhole reports whether the picture is a single frame that fills the canvas.
func (w *webpHeader) isWhole(width, height int) bool {
	return len(w.frames) == 1 && w.frames[0].rect == image.Rect(0, 0, width, height)
}

// webpOptions returns how a single frame that fills the canvas is decoded for the layout.
func webpOptions(g layout, o Options) webpdec.Options {
	webp := webpdec.Options{Scale: g.reduction()}
	if o.PNG || g.fullChroma {
		// JPEG output has half the chroma resolution, PNG output needs all of it.
		webp.ChromaScale = max(1, webp.Scale/2)
	}
	return webp
}

// webpCost returns an upper bound of the bytes that decoding a WebP takes.
func (h *header) webpCost(g layout, o Options) int64 {
	w := &h.webp
	if w.isWhole(h.width, h.height) {
		return w.images[0].Cost(webpOptions(g, o))
	}
	var most int64
	for _, f := range w.images {
		most = max(most, f.Cost(webpdec.Options{RGBA: true}))
	}
	if len(w.images) > 1 {
		most *= 2 // garbage of the frame before
	}
	return most + 4*h.pixels()
}

// readFrame reads an ANMF chunk of an animation.
func (w *webpHeader) readFrame(chunk []byte) {
	const headerSize = 16
	if len(chunk) < headerSize || len(w.frames) == maxFrames {
		return
	}
	var m webpdec.Frame
	for rest := chunk[headerSize:]; ; {
		name, part, r, ok := riffChunk(rest)
		if !ok {
			break
		}
		rest = r
		readWebPChunk(&m, name, part)
	}
	const disposeFlag, noBlendFlag = 1, 2
	width, height, err := m.Size()
	if err != nil {
		return
	}
	at := image.Pt(2*uint24(chunk), 2*uint24(chunk[3:]))
	f := frame{rect: image.Rect(0, 0, width, height).Add(at), replace: chunk[15]&noBlendFlag != 0}
	if chunk[15]&disposeFlag != 0 {
		f.dispose = disposeClear
	}
	w.frames, w.images = append(w.frames, f), append(w.images, m)
}

// readWebPChunk notes a chunk of a frame. The first of each kind counts.
func readWebPChunk(m *webpdec.Frame, name string, chunk []byte) {
	switch {
	case m.VP8 != nil || m.VP8L != nil:
	case name == "ALPH" && m.ALPH == nil:
		m.ALPH = chunk
	case name == "VP8 ":
		m.VP8 = chunk
	case name == "VP8L":
		m.VP8L = chunk
	}
}

// decodeWebP decodes a WebP, or the first frame of an animated one that shows something. It decodes a single frame that
// fills the canvas only as far as the layout needs.
func decodeWebP(ctx context.Context, h *header, g layout, o Options) (raster, error) {
	w := &h.webp
	if w.isWhole(h.width, h.height) {
		m, err := w.images[0].Decode(ctx, webpOptions(g, o))
		if err != nil {
			return raster{}, webpError(err)
		}
		return webpRaster(m), nil
	}
	canvas := newCanvas(h.width, h.height)
	a := animation{canvas: canvas, frames: w.frames}
	a.draw = func(i int) error {
		m, err := w.images[i].Decode(ctx, webpdec.Options{RGBA: true})
		if err != nil {
			return webpError(err)
		}
		canvas.drawAt(webpRaster(m).planes[0], w.frames[i].rect.Min, w.frames[i].replace)
		return nil
	}
	if len(w.frames) == 1 {
		return raster{kind: rgba, planes: [3]plane{canvas}}, a.draw(0)
	}
	return raster{kind: rgba, planes: [3]plane{canvas}}, a.firstVisible()
}

func webpError(err error) error {
	var format webpdec.FormatError
	if errors.As(err, &format) {
		return corrupt("%w", err)
	}
	return err
}

// webpRaster returns a decoded picture as a raster.
func webpRaster(m webpdec.Picture) raster {
	src := raster{kind: ycc, video: true}
	planes, chans := m.Planes[:], 1
	if m.RGBA {
		src = raster{kind: rgba}
		planes, chans = m.Planes[:1], 4
	}
	for i, p := range planes {
		to := newPlane(p.Pix, p.Stride, p.W, p.H, chans)
		to.pitchX, to.pitchY = float64(p.Step), float64(p.Step)
		src.planes[i] = to
	}
	return src
}

// asWebP scales a picture and encodes it as WebP.
func (ws *workspace) asWebP(src *raster, g layout, o Options, p profile) (img Image, err error) {
	img = Image{ContentType: typeWebP, Width: g.boxWidth, Height: g.boxHeight}
	var planes [3]plane
	m := webpenc.Image{Width: g.boxWidth, Height: g.boxHeight}
	if src.kind == grey {
		p.carried = nil // a WebP has colours
	}
	switch {
	case src.kind == grey && o.Fit != Pad:
		planes[0] = ws.grey(src, g, p)
		img.ThumbHash = ws.hashJPEG(planes)
	case src.kind == ycc && o.Fit != Pad && !p.converts():
		planes = ws.ycbcr(src, g)
		img.ThumbHash = ws.hashJPEG(planes)
	default:
		pix := ws.padded(ws.nrgba(src, g, p), g, o)
		img.ThumbHash = ws.hashPNG(pix)
		if !pix.opaque {
			m.Alpha = ws.alpha(pix, o.Fit == Pad)
			fillHidden(pix.plane)
			pix.opaque = true // nothing is below
		}
		planes = ws.flatten(pix, false)
	}
	m.Y, m.Cb, m.Cr = planes[0].pix, planes[1].pix, planes[2].pix
	m.YStride, m.CStride = planes[0].stride, planes[1].stride
	if ws.webp == nil {
		ws.webp = new(webpenc.Encoder)
	}
	ws.out, err = ws.webp.Append(grow(ws.out, g.boxWidth*g.boxHeight/4)[:0], &m, o.Quality, p.carried)
	if err != nil {
		return Image{}, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	img.Data = bytes.Clone(ws.out)
	return img, nil
}

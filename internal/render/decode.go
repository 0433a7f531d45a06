package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"

	"github.com/thumbcache/thumbcache/internal/reduce"
	"github.com/thumbcache/thumbcache/internal/tiff"
)

// A kind is the colour model of a raster.
type kind uint8

const (
	grey kind = iota // one plane
	ycc              // one luma and two chroma planes, each of its own size
	rgba             // one plane of four interleaved channels, premultiplied
)

// A raster is a decoded picture.
type raster struct {
	kind   kind
	planes [3]plane
	video  bool // luma is 16 to 235 and chroma 16 to 240, as in video
}

// A reader checks ctx before every small read, so that a decoder stops soon after ctx is done. It implements no method
// that would bypass the check.
type reader struct {
	ctx  context.Context
	data bytes.Reader
}

func newReader(ctx context.Context, data []byte) *reader {
	r := &reader{ctx: ctx}
	r.data.Reset(data)
	return r
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	const step = 4 << 10
	return r.data.Read(p[:min(len(p), step)])
}

// ReadAt serves the TIFF decoder, which reads at offsets.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.data.ReadAt(p, off)
}

// decode decodes a picture. A JPEG is decoded only as far as the layout needs.
func (ws *workspace) decode(ctx context.Context, h header, g layout, o Options) (raster, error) {
	switch h.contentType {
	case typeJPEG:
		return ws.decodeJPEG(ctx, h, jpegOptions(g, o))
	case typePNG:
		return ws.decodePNG(ctx, &h, h.pngOptions(g))
	case typeGIF:
		return decodeGIF(ctx, &h)
	case typeWebP:
		return decodeWebP(ctx, &h, g, o)
	case typeBMP, typeICO:
		return decodeDIB(ctx, &h.dib)
	case typeTIFF:
		return decodeTIFF(ctx, &h, g)
	}
	return raster{}, ErrUnsupported
}

// tiffOptions returns how a TIFF is decoded for the layout.
func tiffOptions(g layout) tiff.Options { return tiff.Options{Scale: g.reduction()} }

// decodeTIFF decodes a TIFF, reduced as far as the layout allows.
func decodeTIFF(ctx context.Context, h *header, g layout) (raster, error) {
	o := tiffOptions(g)
	table := h.inkTable(4)
	var black []byte
	o.Inks = func(pix []byte) {
		black = black[:0]
		for i := 3; i < len(pix); i += 4 {
			black = append(black, pix[i])
			pix[i] = 255
		}
		if table != nil {
			table.convert(pix, black)
		} else {
			mixInk(pix, black)
		}
	}
	img, err := tiff.Decode(ctx, newReader(ctx, h.data), int64(len(h.data)), o)
	if err != nil {
		return raster{}, decodeError(err)
	}
	src := rasterOf(img)
	src.planes[0].pitchX, src.planes[0].pitchY = float64(o.Scale), float64(o.Scale)
	return src, nil
}

// decodeError wraps a decoder's error in [ErrUnsupported] or [ErrCorrupt].
func decodeError(err error) error {
	if errors.Is(err, tiff.ErrUnsupported) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return corrupt("%w", err)
}

// rasterOf returns a decoder's image as a raster. It converts the samples in place if it can.
func rasterOf(img image.Image) raster {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	switch m := img.(type) {
	case *image.Gray:
		return raster{kind: grey, planes: [3]plane{newPlane(m.Pix, m.Stride, w, h, 1)}}
	case *image.Gray16:
		narrow(m.Pix)
		return raster{kind: grey, planes: [3]plane{newPlane(m.Pix, m.Stride/2, w, h, 1)}}
	case *image.RGBA:
		return rgbaRaster(m.Pix, m.Stride, w, h)
	case *image.NRGBA:
		reduce.Premultiply(m.Pix)
		return rgbaRaster(m.Pix, m.Stride, w, h)
	case *image.RGBA64:
		narrow(m.Pix)
		return rgbaRaster(m.Pix, m.Stride/2, w, h)
	case *image.NRGBA64:
		narrow(m.Pix)
		reduce.Premultiply(m.Pix[:len(m.Pix)/2])
		return rgbaRaster(m.Pix, m.Stride/2, w, h)
	}
	return compose(img, image.Point{}, w, h)
}

// newPlane returns a plane of a whole picture.
func newPlane(pix []byte, stride, w, h, chans int) plane {
	return plane{pix: pix, stride: stride, width: w, height: h, chans: chans, pitchX: 1, pitchY: 1}
}

// rgbaRaster returns a raster of premultiplied RGBA.
func rgbaRaster(pix []byte, stride, w, h int) raster {
	return raster{kind: rgba, planes: [3]plane{newPlane(pix, stride, w, h, 4)}}
}

// narrow packs the high bytes of 16-bit samples. Rounding would gain nothing, since 0xffff becomes 0xff anyway.
func narrow(pix []byte) {
	for i := range len(pix) / 2 {
		pix[i] = pix[2*i]
	}
}

// compose returns a transparent canvas with an image drawn at the given position. The image must fit the canvas.
func compose(img image.Image, at image.Point, width, height int) raster {
	b := img.Bounds()
	canvas := image.NewRGBA(image.Rect(0, 0, width, height))
	frame := b.Sub(b.Min).Add(at)
	switch m := img.(type) {
	case *image.Paletted:
		// An index beyond the palette is transparent here. In image.Paletted it panics.
		var table [256][4]byte
		for i, c := range m.Palette[:min(len(m.Palette), len(table))] {
			c := color.RGBAModel.Convert(c).(color.RGBA)
			table[i] = [4]byte{c.R, c.G, c.B, c.A}
		}
		for y := range b.Dy() {
			row := canvas.Pix[canvas.PixOffset(at.X, at.Y+y):]
			for x, i := range m.Pix[y*m.Stride:][:b.Dx()] {
				*(*[4]byte)(row[4*x:]) = table[i]
			}
		}
	default:
		draw.Draw(canvas, frame, img, b.Min, draw.Src)
	}
	return rgbaRaster(canvas.Pix, canvas.Stride, width, height)
}

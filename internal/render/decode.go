package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// A kind says what the planes of a picture are.
type kind uint8

const (
	grey kind = iota // one plane
	ycc              // luma and two of chroma, of whatever sizes
	rgba             // one plane of four interleaved channels, premultiplied
)

// A raster is a decoded picture.
type raster struct {
	kind   kind
	planes [3]plane
	video  bool // luma and chroma have video levels
}

// A reader feeds a decoder in small steps, so that one which has much to do stops soon after ctx is done.
type reader struct {
	ctx context.Context
	bytes.Reader
}

const readStep = 4 << 10

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p[:min(len(p), readStep)])
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.ReadAt(p, off)
}

// plainReader hides all methods but Read: a decoder given ReadByte would not come by Read's check.
type plainReader struct{ io.Reader }

// decode decodes a picture as far as the layout needs it.
func (ws *workspace) decode(ctx context.Context, data []byte, h header, g layout, o Options) (raster, error) {
	if h.format == formatJPEG {
		return ws.decodeJPEG(ctx, data, jpegOptions(g, o))
	}
	r := &reader{ctx: ctx}
	r.Reset(data)
	var img image.Image
	var err error
	switch h.format {
	case formatPNG:
		img, err = png.Decode(plainReader{r})
	case formatGIF:
		img, err = gif.Decode(plainReader{r})
	case formatWebP:
		img, err = webp.Decode(h.webp.file(ctx))
	case formatBMP:
		img, err = bmp.Decode(plainReader{r})
	case formatTIFF:
		img, err = tiff.Decode(r)
	}
	if err != nil {
		return raster{}, decodeError(err)
	}
	b := img.Bounds()
	frame := image.Rect(0, 0, h.width, h.height)
	switch h.format {
	case formatGIF:
		return compose(img, b, frame), nil
	case formatWebP:
		at := image.Pt(h.webp.left, h.webp.top)
		if b = b.Add(at); b != frame {
			return compose(img, b, frame), nil
		}
	default:
		if b != frame {
			return raster{}, corrupt("%v decoded to %v", frame, b)
		}
	}
	src := rasterOf(img)
	src.video = h.format == formatWebP && src.kind == ycc
	return src, nil
}

// decodeError tells what a decoder cannot do from what is broken.
func decodeError(err error) error {
	var p png.UnsupportedError
	var t tiff.UnsupportedError
	if errors.As(err, &p) || errors.As(err, &t) || errors.Is(err, bmp.ErrUnsupported) {
		return errors.Join(ErrUnsupported, err)
	}
	return corrupt("%w", err)
}

// file returns the frame as a WebP file of its own. The library wants the extended header if there is alpha, and is
// confused by an extended header otherwise, and by animations.
func (w *webpHeader) file(ctx context.Context) io.Reader {
	name := "VP8 "
	if w.lossless {
		name = "VP8L"
	}
	var head []byte
	alpha := w.alpha
	if w.lossless {
		alpha = nil
	}
	if alpha != nil {
		const hasAlpha = 1 << 4
		head = append(head, "VP8X\x0a\x00\x00\x00"...)
		head = append(head, hasAlpha, 0, 0, 0)
		for _, v := range []int{w.width - 1, w.height - 1} {
			head = append(head, byte(v), byte(v>>8), byte(v>>16))
		}
		head = append(head, "ALPH"...)
		head = binary.LittleEndian.AppendUint32(head, uint32(len(alpha)))
	}
	middle := make([]byte, len(alpha)&1, 16)
	middle = append(middle, name...)
	middle = binary.LittleEndian.AppendUint32(middle, uint32(len(w.bitstream)))
	end := make([]byte, len(w.bitstream)&1)
	size := 4 + len(head) + len(alpha) + len(middle) + len(w.bitstream) + len(end)
	riff := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(size))
	riff = append(append(riff, "WEBP"...), head...)

	parts := [][]byte{riff, alpha, middle, w.bitstream, end}
	readers := make([]io.Reader, len(parts))
	for i, p := range parts {
		r := &reader{ctx: ctx}
		r.Reset(p)
		readers[i] = r
	}
	return plainReader{io.MultiReader(readers...)}
}

// rasterOf takes over a decoder's image, converting it within its own memory where that can be.
func rasterOf(img image.Image) raster {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	switch m := img.(type) {
	case *image.Gray:
		return raster{kind: grey, planes: [3]plane{whole(m.Pix, m.Stride, w, h, 1)}}
	case *image.Gray16:
		for i := range len(m.Pix) / 2 {
			m.Pix[i] = m.Pix[2*i]
		}
		return raster{kind: grey, planes: [3]plane{whole(m.Pix, m.Stride/2, w, h, 1)}}
	case *image.YCbCr:
		return raster{kind: ycc, planes: [3]plane{
			whole(m.Y, m.YStride, w, h, 1),
			chroma(m, m.Cb),
			chroma(m, m.Cr),
		}}
	case *image.RGBA:
		return rgbaRaster(m.Pix, m.Stride, w, h)
	case *image.NRGBA:
		multiply(m.Pix)
		return rgbaRaster(m.Pix, m.Stride, w, h)
	case *image.RGBA64:
		narrow(m.Pix)
		return rgbaRaster(m.Pix, m.Stride/2, w, h)
	case *image.NRGBA64:
		narrow(m.Pix)
		multiply(m.Pix[:len(m.Pix)/2])
		return rgbaRaster(m.Pix, m.Stride/2, w, h)
	}
	return compose(img, b, b)
}

func whole(pix []byte, stride, w, h, chans int) plane {
	return plane{pix: pix, stride: stride, width: w, height: h, chans: chans, pitchX: 1, pitchY: 1}
}

func rgbaRaster(pix []byte, stride, w, h int) raster {
	return raster{kind: rgba, planes: [3]plane{whole(pix, stride, w, h, 4)}}
}

// chroma returns a plane of m.
func chroma(m *image.YCbCr, pix []byte) plane {
	across, down := 1, 1
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		across = 2
	case image.YCbCrSubsampleRatio420:
		across, down = 2, 2
	case image.YCbCrSubsampleRatio440:
		down = 2
	case image.YCbCrSubsampleRatio411:
		across = 4
	case image.YCbCrSubsampleRatio410:
		across, down = 4, 2
	}
	w, h := m.Rect.Dx(), m.Rect.Dy()
	p := whole(pix, m.CStride, (w+across-1)/across, (h+down-1)/down, 1)
	p.pitchX, p.pitchY = float64(across), float64(down)
	return p
}

// narrow puts the high bytes of 16-bit samples side by side. 0xffff becomes 0xff, so rounding would gain nothing.
func narrow(pix []byte) {
	for i := range len(pix) / 2 {
		pix[i] = pix[2*i]
	}
}

// compose draws a picture with bounds b on a transparent canvas.
func compose(img image.Image, b, canvas image.Rectangle) raster {
	w, h := canvas.Dx(), canvas.Dy()
	pix := make([]byte, 4*w*h)
	clip := b.Intersect(canvas)
	origin := img.Bounds().Min.Sub(b.Min)
	switch m := img.(type) {
	case *image.Paletted:
		// An index beyond the palette is transparent: image.Paletted itself would panic.
		var table [256][4]byte
		for i, c := range m.Palette {
			r, g, b, a := c.RGBA()
			table[i&255] = [4]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8), byte(a >> 8)}
		}
		for y := clip.Min.Y; y < clip.Max.Y; y++ {
			row := pix[4*((y-canvas.Min.Y)*w+clip.Min.X-canvas.Min.X):]
			from := m.Pix[m.PixOffset(clip.Min.X+origin.X, y+origin.Y):]
			for x := range clip.Dx() {
				*(*[4]byte)(row[4*x:]) = table[from[x]]
			}
		}
	case *image.YCbCr:
		videoRows(pix, canvas, clip, m, nil, 0, origin)
	case *image.NYCbCrA:
		videoRows(pix, canvas, clip, &m.YCbCr, m.A, m.AStride, origin)
	default:
		for y := clip.Min.Y; y < clip.Max.Y; y++ {
			row := pix[4*((y-canvas.Min.Y)*w+clip.Min.X-canvas.Min.X):]
			for x := range clip.Dx() {
				c := color.RGBAModel.Convert(img.At(clip.Min.X+x+origin.X, y+origin.Y)).(color.RGBA)
				*(*[4]byte)(row[4*x:]) = [4]byte{c.R, c.G, c.B, c.A}
			}
		}
	}
	return rgbaRaster(pix, 4*w, w, h)
}

// videoRows draws a lossy WebP, whose samples have video levels, on a canvas.
func videoRows(pix []byte, canvas, clip image.Rectangle, m *image.YCbCr, alpha []byte, alphaStride int, origin image.Point) {
	var line [3]plane
	for i := range line {
		line[i].pix = make([]byte, clip.Dx())
	}
	for y := clip.Min.Y; y < clip.Max.Y; y++ {
		at := clip.Min.X + origin.X
		copy(line[0].pix, m.Y[m.YOffset(at, y+origin.Y):])
		for x := range clip.Dx() {
			c := m.COffset(at+x, y+origin.Y)
			line[1].pix[x], line[2].pix[x] = m.Cb[c], m.Cr[c]
		}
		stretch(line)
		row := pix[4*((y-canvas.Min.Y)*canvas.Dx()+clip.Min.X-canvas.Min.X):][:4*clip.Dx()]
		toRGB(row, line)
		if alpha == nil {
			continue
		}
		for x, a := range alpha[(y+origin.Y-m.Rect.Min.Y)*alphaStride+at-m.Rect.Min.X:][:clip.Dx()] {
			row[4*x+3] = a
		}
		multiply(row)
	}
}

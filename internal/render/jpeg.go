package render

import (
	"context"
	"errors"
	"fmt"
	"image"

	"github.com/thumbcache/thumbcache/internal/render/jpegdec"
)

// jpegOptions returns how much of a JPEG the layout needs.
func jpegOptions(g layout, o Options) jpegdec.Options {
	left, right := g.x.bounds()
	top, bottom := g.y.bounds()
	jpeg := jpegdec.Options{Scale: g.reduction(), Crop: image.Rect(left, top, right, bottom)}
	if o.PNG {
		// A JPEG has half the chroma, a PNG all of it.
		jpeg.ChromaScale = max(1, jpeg.Scale/2)
	}
	return jpeg
}

func jpegError(err error) error {
	var format jpegdec.FormatError
	switch {
	case errors.Is(err, jpegdec.ErrUnsupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.As(err, &format):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

func (ws *workspace) decodeJPEG(ctx context.Context, data []byte, o jpegdec.Options) (raster, error) {
	img := &ws.jpeg
	if err := jpegdec.Decode(ctx, data, o, img); err != nil {
		return raster{}, jpegError(err)
	}
	src := raster{kind: ycc}
	switch img.Model {
	case jpegdec.Gray:
		src.kind = grey
	case jpegdec.YCbCr:
	default:
		return interleave(img), nil
	}
	for i, p := range img.Planes[:img.N] {
		src.planes[i] = plane{
			pix: p.Pix, stride: p.Stride, width: p.W, height: p.H, chans: 1,
			left: img.Rect.Min.X, top: img.Rect.Min.Y, pitchX: p.StepX, pitchY: p.StepY,
		}
	}
	return src, nil
}

// interleave makes opaque RGBA of a picture in RGB, CMYK or YCCK. These are too rare for a way of their own, and ink
// on ink is no sum, so it could not be scaled first.
func interleave(img *jpegdec.Image) raster {
	// The plane with the most samples leads; others that have fewer are repeated.
	var lead jpegdec.Plane
	for _, p := range img.Planes[:img.N] {
		if p.W*p.H > lead.W*lead.H {
			lead = p
		}
	}
	dst := plane{
		pix: make([]byte, 4*lead.W*lead.H), stride: 4 * lead.W, width: lead.W, height: lead.H, chans: 4,
		left: img.Rect.Min.X, top: img.Rect.Min.Y, pitchX: lead.StepX, pitchY: lead.StepY,
	}
	var line [4][]byte // a row of each component, as wide as the lead
	for i := range line {
		line[i] = make([]byte, lead.W)
	}
	for y := range lead.H {
		for i, p := range img.Planes[:img.N] {
			row := p.Pix[scaled(y, p.H, lead.H)*p.Stride:][:p.W]
			for x := range line[i] {
				line[i][x] = row[scaled(x, p.W, lead.W)]
			}
		}
		row := dst.pix[y*dst.stride:][:dst.stride]
		if img.Model == jpegdec.YCCK {
			toRGB(row, [3]plane{{pix: line[0]}, {pix: line[1]}, {pix: line[2]}})
		} else {
			for x := range lead.W {
				row[4*x], row[4*x+1], row[4*x+2], row[4*x+3] = line[0][x], line[1][x], line[2][x], 255
			}
		}
		if img.N == 4 {
			ink(row, line[3], img.Model == jpegdec.YCCK, !img.Adobe)
		}
	}
	return raster{kind: rgba, planes: [3]plane{dst}}
}

// scaled returns i*n/m.
func scaled(i, n, m int) int { return int(int64(i) * int64(n) / int64(m)) }

// ink turns a row of C, M, Y, or of their complements, and its K into RGB. Adobe's programs write all of them inverted,
// which comes to the same as light, and everybody follows; a file without their mark has ink.
func ink(row, black []byte, complements, straight bool) {
	for x, k := range black {
		p := row[4*x:][:3]
		k := uint32(k)
		if straight {
			k = 255 - k
		}
		for c, v := range p {
			if complements != straight {
				v = 255 - v
			}
			p[c] = byte((uint32(v)*k + 127) / 255)
		}
	}
}

package render

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"slices"
)

const (
	bitmapHeader = 14 + 108 // bytes, of a file with a BITMAPV4HEADER
	maxBitmap    = 64 << 20 // bytes of pixels
	maxCoord     = 1 << 29  // so that differences do not overflow
)

// Bitmap returns the pixels of an image as a BMP, which [Make] decodes at little cost. It returns [ErrTooLarge] for more than 16
// megapixels. It does not recover from panics of the image.
func Bitmap(ctx context.Context, img image.Image) ([]byte, error) {
	b := img.Bounds()
	if min(b.Min.X, b.Min.Y) < -maxCoord || max(b.Max.X, b.Max.Y) > maxCoord {
		return nil, fmt.Errorf("%w: bounds %v", ErrTooLarge, b)
	}
	if b.Empty() {
		return nil, errors.New("an image without pixels")
	}
	w, h := b.Dx(), b.Dy()
	if int64(w)*int64(h) > maxBitmap/4 {
		return nil, fmt.Errorf("%w: %d x %d", ErrTooLarge, w, h)
	}
	le := binary.LittleEndian
	data := make([]byte, bitmapHeader, bitmapHeader+4*w*h)
	copy(data, "BM")
	le.PutUint32(data[2:], uint32(cap(data)))
	le.PutUint32(data[10:], bitmapHeader)
	le.PutUint32(data[14:], bitmapHeader-14)
	le.PutUint32(data[18:], uint32(w))
	le.PutUint32(data[22:], uint32(-h)) // from the top
	le.PutUint16(data[26:], 1)
	le.PutUint16(data[28:], 32)
	le.PutUint32(data[30:], 3)           // masks follow
	le.PutUint32(data[54:], 0x000000ff)  // red
	le.PutUint32(data[58:], 0x0000ff00)  // green
	le.PutUint32(data[62:], 0x00ff0000)  // blue
	le.PutUint32(data[66:], 0xff000000)  // alpha
	le.PutUint32(data[70:], 0x7352_4742) // sRGB
	visible := false
	row := image.NewRGBA(image.Rect(0, 0, w, 1))
	for y := range h {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		draw.Draw(row, row.Rect, img, image.Pt(b.Min.X, b.Min.Y+y), draw.Src)
		unmultiply(row.Pix) // which clears transparent pixels
		visible = visible || slices.Max(row.Pix) > 0
		data = append(data, row.Pix...)
	}
	if !visible {
		data[bitmapHeader+3] = 1 // decoders take a bitmap without any alpha for opaque
	}
	return data, nil
}

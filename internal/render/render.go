// Package render makes a thumbnail of an encoded picture. It decodes, orients, scales and encodes on the calling
// goroutine, and [Cost] bounds the memory that takes from the picture's header alone.
//
// The pipeline is short on purpose. JPEG, PNG, WebP and TIFF are reduced while they are decoded. The luma and chroma
// planes of a JPEG or lossy WebP are scaled and encoded without a conversion to RGB. Every other format becomes one
// interleaved RGBA picture, which is scaled first and converted afterwards, when it is small.
package render

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
)

// Options describes the thumbnail to make.
type Options struct {
	Size    int // edge in pixels of the square that the result fits, or of which it has the shape; 0 means the picture's size
	Height  int // makes the square a box that is Size wide; 0 means a square
	MaxEdge int // limit of each edge in pixels, whatever Size is; 0 means no limit
	Fit     Fit
	PNG     bool // encode as PNG and keep alpha; otherwise encode as JPEG on a white background
	WebP    bool // encode as lossy WebP and keep alpha; PNG and Auto are not set then
	Auto    bool // encode as PNG if the result is transparent somewhere, otherwise as JPEG; PNG is not set then
	Quality int  // of the JPEG or WebP, 1 to 100

	FocusX, FocusY float64    // Cover: the point of the picture, from 0 to 1, that should be in the middle; 0 means 0.5
	Background     Background // Pad

	MaxBytes int // Contain: limit of the result, to which first quality and then size give way; 0 means no limit

	Orientation int // EXIF orientation, 1 to 8, that replaces the picture's own; 0 means the picture's own
}

// A Fit says how a picture is fitted to a box. It is never enlarged.
type Fit uint8

const (
	Contain Fit = iota // the whole picture, within the box
	Cover              // cropped to the shape of the box
	Pad                // the whole picture in the middle of the box, which is filled with a background
)

// A Background is a colour 0xRRGGBB, or one of the constants.
type Background uint32

const (
	Blur        Background = 1 << 24 // a blurred copy of the picture
	Transparent Background = 2 << 24 // white in a JPEG
)

// An Image is an encoded picture.
type Image struct {
	Data          []byte
	ContentType   string
	Width, Height int
	ThumbHash     []byte // placeholder for Data, see https://evanw.github.io/thumbhash/
}

var (
	ErrUnsupported = errors.New("unsupported picture format")  // another decoder may read it
	ErrCorrupt     = errors.New("corrupt picture")             // a supported format that cannot be decoded
	ErrTooLarge    = errors.New("picture has too many pixels") // more than can be addressed, whatever the memory
)

// Cost returns an upper bound, in bytes, of the memory that [Make] allocates for data, not counting data itself. It reads
// only the header.
func Cost(data []byte, o Options) (int64, error) {
	h, err := parse(data)
	if err != nil {
		return 0, err
	}
	return h.cost(layOut(h, o), o), nil
}

// Orientation returns the EXIF orientation of a picture, 1 to 8, or 1 (upright) if it has none. It also works for a
// picture that is corrupt otherwise, so that the output of another decoder can be turned: see [Options].
func Orientation(data []byte) int {
	h, _ := parse(data)
	if h.contentType == typeJPEG {
		h.readSegments(h.data) // parse fails on a corrupt header before it reads them
	}
	return max(1, h.orientation)
}

// Make makes one thumbnail. It returns [ErrUnsupported], [ErrCorrupt], [ErrTooLarge] or the error of ctx if it fails.
func Make(ctx context.Context, data []byte, o Options) (Image, error) {
	images, err := MakeSizes(ctx, data, o, []int{o.Size})
	if err != nil {
		return Image{}, err
	}
	return images[0], nil
}

// MakeSizes is like [Make] for several sizes, of which o.Size is the largest and the first. It decodes the picture once, for the
// largest size. Each size costs little more memory than [Cost] says for the largest. If there are several, they are squares to fit,
// without MaxBytes.
func MakeSizes(ctx context.Context, data []byte, o Options, sizes []int) (images []Image, err error) {
	// Decoders of the standard library have panicked on crafted files before. They run on this goroutine, so one recover
	// covers them.
	defer func() {
		if r := recover(); r != nil {
			images, err = nil, fmt.Errorf("%w: decoder panicked: %v", ErrCorrupt, r)
		}
	}()
	h, err := parse(data)
	if err != nil {
		return nil, err
	}
	g := layOut(h, o)
	if cost := h.cost(g, o); cost > math.MaxInt {
		return nil, fmt.Errorf("%w: decoding needs %d bytes", ErrTooLarge, cost)
	}
	ws := workspaces.Get().(*workspace)
	defer ws.release()

	src, err := ws.decode(ctx, h, g, o)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return nil, ctxErr
	}
	if err != nil {
		return nil, err
	}
	profile := h.profile(src.kind)
	if o.MaxBytes > 0 {
		img, err := ws.encodeWithin(ctx, &src, h, o)
		if err != nil {
			return nil, err
		}
		return []Image{img}, nil
	}
	for i := range sizes {
		// The next size is made from this one unless it is more than half as large: the filter needs two samples for each of
		// the result to look as good.
		var next layout
		if ws.keep = i+1 < len(sizes); ws.keep {
			o.Size = sizes[i+1]
			next = layOut(h, o)
			ws.keep = g.edge() >= 2*next.edge()
		}
		img, err := ws.encode(&src, g, o, profile)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
		g = next
	}
	return images, nil
}

const (
	minQuality = 40 // of a JPEG under MaxBytes; at a lower one, blocks are more visible than missing pixels
	maxShrinks = 16 // sizes to try under MaxBytes; each is at most 9/10 of the one before, and most are found in 3
)

// encodeWithin is encode in the largest size in which the result has at most o.MaxBytes, as far as a few steps find it.
func (ws *workspace) encodeWithin(ctx context.Context, src *raster, h header, o Options) (Image, error) {
	p := h.profile(src.kind)
	ws.keep = false // each size is made from src
	for range maxShrinks {
		g := layOut(h, o)
		img, err := ws.encodeBest(ctx, src, g, o, p)
		if err != nil || len(img.Data) <= o.MaxBytes {
			return img, err
		}
		edge := g.edge()
		if edge == 1 {
			break
		}
		shrink := math.Sqrt(float64(o.MaxBytes) / float64(len(img.Data))) // as if all pixels took as many bytes
		o.Size, o.Height = max(1, int(float64(edge)*min(shrink, 0.9))), 0
	}
	return Image{}, fmt.Errorf("%w for %d bytes", ErrTooLarge, o.MaxBytes)
}

// encodeBest is encode in the best quality in which the result has at most o.MaxBytes. If there is none, the result has more.
func (ws *workspace) encodeBest(ctx context.Context, src *raster, g layout, o Options, p profile) (Image, error) {
	best, err := ws.encode(src, g, o, p)
	if err != nil || len(best.Data) <= o.MaxBytes || o.PNG || o.Quality <= minQuality {
		return best, cmp.Or(ctx.Err(), err)
	}
	low, high := minQuality, o.Quality // high is too much
	o.Quality = low
	if best, err = ws.encode(src, g, o, p); err != nil || len(best.Data) > o.MaxBytes {
		return best, cmp.Or(ctx.Err(), err)
	}
	for high-low > 1 {
		if ctx.Err() != nil {
			return Image{}, ctx.Err()
		}
		o.Quality = (low + high) / 2
		img, err := ws.encode(src, g, o, p)
		if err != nil {
			return Image{}, err
		}
		if len(img.Data) <= o.MaxBytes {
			best, low = img, o.Quality
		} else {
			high = o.Quality
		}
	}
	return best, nil
}

// encode scales and encodes a decoded picture. The next size must not be larger.
func (ws *workspace) encode(src *raster, g layout, o Options, p profile) (img Image, err error) {
	img = Image{ContentType: "image/jpeg", Width: g.boxWidth, Height: g.boxHeight}
	switch {
	case o.PNG:
		return ws.asPNG(ws.padded(ws.nrgba(src, g, p), g, o), p)
	case o.WebP:
		return ws.asWebP(src, g, o, p)
	case o.Fit == Pad, o.Auto && src.kind == rgba:
		pix := ws.padded(ws.nrgba(src, g, p), g, o)
		if o.Auto && !pix.opaque {
			return ws.asPNG(pix, p)
		}
		img.Data, img.ThumbHash = ws.encodeJPEG(ws.flatten(pix, g.fullChroma), o.Quality, p.carried)
	case src.kind == grey:
		img.Data, img.ThumbHash = ws.encodeJPEG([3]plane{ws.grey(src, g, p)}, o.Quality, nil)
	case src.kind == ycc && !p.converts():
		img.Data, img.ThumbHash = ws.encodeJPEG(ws.ycbcr(src, g), o.Quality, p.carried)
	default:
		img.Data, img.ThumbHash = ws.encodeJPEG(ws.flatten(ws.nrgba(src, g, p), g.fullChroma), o.Quality, p.carried)
	}
	return img, err
}

// asPNG encodes a small picture as PNG.
func (ws *workspace) asPNG(pix pixels, p profile) (img Image, err error) {
	img = Image{ContentType: typePNG, Width: pix.width, Height: pix.height, ThumbHash: ws.hashPNG(pix)}
	img.Data, err = ws.encodePNG(pix, p.carried)
	return img, err
}

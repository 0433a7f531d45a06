// Package render makes a thumbnail of an encoded picture: it decodes, orients, scales and encodes, on the calling
// goroutine and within a memory cost that the header alone foretells.
//
// The way is short on purpose. A JPEG decoder reduces while it decodes, its luma and chroma planes are scaled as they
// are, and the encoder takes them as they are: RGB never exists. Everything else goes through one interleaved RGBA
// picture, scaled the same way, and is converted when it is small.
package render

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Options says what to make of a picture.
type Options struct {
	Size    int  // longest edge of the result in pixels (Cover: edge of the square); 0 means the picture's own; never enlarged
	MaxEdge int  // no result is larger than this, also for Size 0; 0 means no limit
	Cover   bool // a centre-cropped square, at most the largest the picture has
	PNG     bool // encode as PNG, alpha kept; else JPEG, alpha on white
	Quality int  // of the JPEG, 1 to 100

	Orientation int // 1 to 8, as in EXIF, instead of what the picture itself says; 0 means what it says
}

// An Image is an encoded picture.
type Image struct {
	Data          []byte
	ContentType   string
	Width, Height int
	ThumbHash     []byte // of Data as it is shown, see https://evanw.github.io/thumbhash/
}

var (
	ErrUnsupported = errors.New("not a picture in a format decoded here") // another decoder may know it
	ErrCorrupt     = errors.New("broken picture")                         // ours, and it cannot be decoded
	ErrTooLarge    = errors.New("picture has too many pixels")            // beyond what can be addressed, whatever the memory
)

// Cost returns the most memory, in bytes, that [Make] needs for data besides data itself, told by the header alone.
func Cost(data []byte, o Options) (int64, error) {
	h, err := parse(data)
	if err != nil {
		return 0, err
	}
	return h.cost(layOut(h, o), o), nil
}

// Orientation returns the orientation that a picture says it has, 1 to 8 as in EXIF; 1, upright, if it says nothing. The
// picture may be broken otherwise: it is for what another decoder has made of such a one, see [Options].
func Orientation(data []byte) int {
	h, _ := parse(data)
	if h.contentType == typeJPEG {
		h.readSegments(data) // parse gives up on a broken header before it comes to them
	}
	return max(1, h.orientation)
}

// Make makes one thumbnail. It fails with [ErrUnsupported], [ErrCorrupt], [ErrTooLarge] or the error of ctx.
func Make(ctx context.Context, data []byte, o Options) (img Image, err error) {
	// The decoders of the library have panicked on crafted files before. They run on this goroutine, so this is enough.
	defer func() {
		if r := recover(); r != nil {
			img, err = Image{}, fmt.Errorf("%w: decoder panicked: %v", ErrCorrupt, r)
		}
	}()
	h, err := parse(data)
	if err != nil {
		return Image{}, err
	}
	g := layOut(h, o)
	if cost := h.cost(g, o); cost > math.MaxInt {
		return Image{}, fmt.Errorf("%w: it would take %d bytes", ErrTooLarge, cost)
	}
	ws := workspaces.Get().(*workspace)
	defer ws.release()

	src, err := ws.decode(ctx, data, h, g, o)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return Image{}, ctxErr
	}
	if err != nil {
		return Image{}, err
	}
	profile := readProfile(h.profileData(data), src.kind)
	out := Image{ContentType: "image/jpeg", Width: g.width, Height: g.height}
	switch {
	case o.PNG:
		out.ContentType = "image/png"
		p := ws.nrgba(src, g, profile)
		out.ThumbHash = ws.hashPNG(p)
		out.Data, err = ws.encodePNG(p, profile.keep)
	case src.kind == grey:
		out.Data, out.ThumbHash = ws.encodeJPEG([3]plane{ws.grey(src, g, profile)}, o.Quality, nil)
	case src.kind == ycc && !profile.converts():
		out.Data, out.ThumbHash = ws.encodeJPEG(ws.ycbcr(src, g), o.Quality, profile.keep)
	default:
		out.Data, out.ThumbHash = ws.encodeJPEG(ws.flatten(ws.nrgba(src, g, profile)), o.Quality, profile.keep)
	}
	if err != nil {
		return Image{}, err
	}
	return out, nil
}

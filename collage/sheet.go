package collage

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"

	"github.com/disintegration/imaging"

	"github.com/thumbcache/thumbcache"
)

// SheetOptions are the options of [Sheet]. The zero value selects the defaults.
type SheetOptions struct {
	Columns    int         // pictures in a row; the default is 6
	Size       int         // longest edge of a picture in pixels; the default is 200
	Gap        int         // pixels around pictures; the default is a twentieth of Size; a negative number means none
	Background color.Color // the default is white; transparency is ignored

	// Failed is called, if it is not nil, for each member that is left out.
	Failed func(member thumbcache.Target, err error)
}

const (
	maxSheetPixels = 64 << 20 // 256 MiB in memory
	sheetQuality   = 90
)

// Sheet returns a contact sheet of all members as JPEG: their pictures in rows, whole and in order. Members without a picture, and
// those that cannot be read, are left out; without any picture, the error is [thumbcache.ErrNoPicture], or that of the last member
// that could not be read. A sheet of more than 64 million pixels, or with an edge that JPEG does not allow, is
// [thumbcache.ErrTooLarge]; nothing is made for it.
func Sheet(ctx context.Context, cache *thumbcache.Cache, members []thumbcache.Target, o SheetOptions) ([]byte, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if size := o.sizeOf(len(members)); int64(size.X) > math.MaxUint16 || int64(size.Y) > math.MaxUint16 || int64(size.X)*int64(size.Y) > maxSheetPixels {
		return nil, fmt.Errorf("collage: %w: a sheet of %d x %d pixels", thumbcache.ErrTooLarge, size.X, size.Y)
	}
	var thumbs []*thumbcache.Thumbnail
	err := error(thumbcache.ErrNoPicture)
	for len(members) > 0 {
		row := members[:min(len(members), o.Columns, maxMembers)]
		members = members[len(row):]
		for i, r := range getAll(ctx, cache, row, thumbcache.Request{Size: o.Size}) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if r.err == nil {
				thumbs = append(thumbs, r.thumb)
				continue
			}
			if o.Failed != nil {
				o.Failed(row[i], r.err)
			}
			if !isLasting(r.err) {
				err = r.err
			}
		}
	}
	if len(thumbs) == 0 {
		return nil, err
	}
	return o.draw(ctx, thumbs)
}

// complete sets the defaults. Its error names the field that is wrong.
func (o *SheetOptions) complete() error {
	if o.Columns == 0 {
		o.Columns = 6
	}
	if o.Size == 0 {
		o.Size = 200
	}
	switch {
	case o.Gap == 0:
		o.Gap = o.Size / 20
	case o.Gap < 0:
		o.Gap = 0
	}
	if o.Background == nil {
		o.Background = color.White
	}
	// With these limits, no size of a sheet overflows.
	switch {
	case o.Columns < 1 || o.Columns > 1000:
		return errors.New("collage: SheetOptions.Columns is not between 1 and 1000")
	case o.Size < 1 || o.Size > 2048:
		return errors.New("collage: SheetOptions.Size is not between 1 and 2048")
	case o.Gap > 2048:
		return errors.New("collage: SheetOptions.Gap is more than 2048")
	}
	return nil
}

// sizeOf returns the size of a sheet of n pictures. A size that is too large for an int of 32 bits is cut.
func (o *SheetOptions) sizeOf(n int) image.Point {
	edge := func(cells int) int { return int(min(int64(o.Gap)+int64(cells)*int64(o.Size+o.Gap), math.MaxInt32)) }
	return image.Pt(edge(min(n, o.Columns)), edge((n+o.Columns-1)/o.Columns))
}

// draw returns a sheet of all thumbnails, each in the middle of its place.
func (o *SheetOptions) draw(ctx context.Context, thumbs []*thumbcache.Thumbnail) ([]byte, error) {
	size := o.sizeOf(len(thumbs))
	canvas := image.NewNRGBA(image.Rectangle{Max: size})
	r, g, b, _ := o.Background.RGBA()
	draw.Draw(canvas, canvas.Bounds(), image.NewUniform(color.RGBA64{uint16(r), uint16(g), uint16(b), 0xffff}), image.Point{}, draw.Src)
	for i, t := range thumbs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		img, err := decode(t)
		if err != nil {
			return nil, err
		}
		img = imaging.Fit(img, o.Size, o.Size, imaging.CatmullRom) // Config.Sizes may allow larger ones only
		at := image.Pt(o.Gap+i%o.Columns*(o.Size+o.Gap), o.Gap+i/o.Columns*(o.Size+o.Gap))
		at = at.Add(image.Pt((o.Size-img.Rect.Dx())/2, (o.Size-img.Rect.Dy())/2))
		draw.Draw(canvas, img.Rect.Add(at), img, image.Point{}, draw.Src)
	}
	return encode(canvas, sheetQuality)
}

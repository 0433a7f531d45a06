// Package jpegdec decodes JPEG pictures to be made into thumbnails.
//
// It differs from image/jpeg in four ways:
//
//   - It is faster.
//   - It can decode to 1/2, 1/4 or 1/8 of the size in a fraction of the time, by leaving out the frequencies that the
//     reduced picture cannot show.
//   - It returns each component as a plane of its own size. The scaler that follows brings the planes to one size.
//   - It returns the readable part of a truncated or damaged file, as browsers do.
//
// It reads the baseline, extended and progressive processes of ITU-T T.81, with Huffman or arithmetic coding, 8-bit
// samples, one, three or four components, and any sampling factors. It returns [ErrUnsupported] for all other processes.
//
// At full size, a sample of an undamaged picture differs from that of image/jpeg by at most one.
package jpegdec

import (
	"context"
	"errors"
	"image"
	"math"
)

// ErrUnsupported means that the data may be a valid JPEG file, but of a kind that this package cannot decode:
// lossless, hierarchical, 12 bits a sample, two components, or no height.
var ErrUnsupported = errors.New("jpegdec: unsupported JPEG process")

// A FormatError says why the data is not a JPEG file, or why it has no picture.
type FormatError string

func (e FormatError) Error() string { return "jpegdec: " + string(e) }

// A Model is the color model of a picture's planes.
type Model uint8

const (
	Gray  Model = iota
	YCbCr       // as in JFIF: ITU-R BT.601, full range
	RGB
	CMYK
	YCCK // C, M and Y as YCbCr of their complements, and K
)

// A Header describes the picture in a file.
type Header struct {
	Width, Height int
	Progressive   bool
	Arithmetic    bool // arithmetic coding instead of Huffman coding
	Model         Model
	Adobe         bool // the file has an Adobe marker; then CMYK and YCCK are inverted
	N             int  // number of components: 1, 3 or 4
	Sampling      [4]Sampling
}

// Sampling holds the sampling factors of a component: its number of samples relative to other components.
type Sampling struct {
	H, V int
}

// Options select the part and the size of the picture to decode.
type Options struct {
	// Scale is 1, 2, 4 or 8: the picture is decoded at 1/Scale of its size. Other values mean 1.
	Scale int

	// ChromaScale replaces Scale for the components that have fewer samples than others. Zero means Scale. With half
	// of Scale, all planes of a 4:2:0 picture have the same size and no color detail is lost.
	ChromaScale int

	// Crop is the needed part of the picture, in pixels of the file. The zero Rectangle means all of it. A smaller
	// part takes less time, and less memory unless the picture is progressive.
	Crop image.Rectangle
}

// An Image is a decoded picture. The zero value is ready for use. Decoding to an Image again reuses its memory.
type Image struct {
	Header

	// Rect is the part of the picture that the planes show, in pixels of the file. It contains Options.Crop.
	Rect image.Rectangle

	Planes [4]Plane // the first N are set

	// Damaged reports that the file is truncated or has data that no encoder writes. Parts without data are gray.
	Damaged bool

	// Blank reports that a damaged picture shows next to nothing: less than a tenth of it was found, or all of it is gray.
	Blank bool

	work *decoder // kept to reuse its buffers
}

// A Plane holds the samples of one component.
type Plane struct {
	Pix    []byte // sample (x, y) is Pix[y*Stride+x]
	Stride int
	W, H   int

	// StepX and StepY are the width and height of one sample in pixels of the file. The plane's upper left corner is
	// that of Rect. Its lower right corner may be outside of Rect by less than one sample.
	StepX, StepY float64
}

// Decode decodes the picture in data to dst.
//
// It returns a nil error if any part of the picture could be decoded, and then sets dst.Damaged if a part is missing
// or wrong. Otherwise it returns a [FormatError], [ErrUnsupported], or the error of ctx.
//
// It allocates at most [Header.Cost] bytes. Callers should check that first, because the file decides how large it is.
func Decode(ctx context.Context, data []byte, o Options, dst *Image) error {
	h, f, err := readHeader(data)
	if err != nil {
		return err
	}
	if h.Cost(o) > math.MaxInt {
		return ErrUnsupported
	}
	d := dst.work
	if d == nil {
		d = new(decoder)
	}
	planes := dst.Planes
	*dst = Image{Header: h, work: d}
	d.reset(dst, data)
	d.allocate(o, f, &planes)
	return d.decode(ctx)
}

// allocate lays out the picture and makes room for its samples and coefficients. It reuses the samples of the
// planes old.
func (d *decoder) allocate(o Options, f frame, old *[4]Plane) {
	g, rect, mcus := d.layout(o)
	d.Rect, d.mcusX, d.mcusY = rect, mcus.X, mcus.Y
	for i := d.N; i < len(old); i++ {
		d.Planes[i].Pix = old[i].Pix[:0] // kept for a picture with more components
	}
	for i := range d.N {
		c := &d.comp[i]
		c.geometry, c.Sampling = g[i], d.Sampling[i]
		c.id, c.quantTable, c.index = f.id[i], f.quantTable[i], i
		p := &d.Planes[i]
		*p = c.plane
		p.Pix = resize(old[i].Pix, c.planeBytes)
		c.pix, c.stride = p.Pix, p.Stride
		if d.Progressive {
			c.coef = resize(c.coef, c.coefBlocks*int64(lastCoefficient[c.size]+1))
			clear(c.coef)
			c.nonzero = resize(c.nonzero, c.coefBlocks)
			clear(c.nonzero)
		}
	}
}

// resize returns a slice of n elements, which is s if s has the capacity.
func resize[T any](s []T, n int64) []T {
	if int64(cap(s)) < n {
		return make([]T, n)
	}
	return s[:n]
}

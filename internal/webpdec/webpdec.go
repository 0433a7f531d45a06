// Package webpdec decodes WebP pictures to be made into thumbnails.
//
// It differs from golang.org/x/image/webp in four ways:
//
//   - It is faster.
//   - It reduces rows as they are decoded to 1/2, 1/4 or 1/8 of the size. Except for the result, decoding takes a few
//     rows of memory if the picture is lossy, and at most 6 MiB of pixels if it is lossless.
//   - It bounds the memory for the prefix codes of a lossless picture, which a crafted file can make many of.
//   - It returns lossy pictures as planes, or with their alpha as premultiplied RGBA.
//
// The formats are those of RFC 6386 (VP8, of which a picture is a key frame) and RFC 9649 (WebP). The caller splits the
// container into chunks.
package webpdec

import (
	"bytes"
	"context"
	"math"
	"unsafe"
)

// A FormatError says why the data is not a WebP picture.
type FormatError string

func (e FormatError) Error() string { return "webpdec: " + string(e) }

const (
	errTruncated  = FormatError("truncated data")
	errIncomplete = FormatError("incomplete prefix code")
	errCodes      = FormatError("too many prefix codes")
)

// A Frame holds the chunks of a picture, or of one frame of an animation. One of VP8 and VP8L is set.
type Frame struct {
	VP8  []byte // lossy
	ALPH []byte // alpha of a lossy picture, or nil
	VP8L []byte // lossless
}

// Options select the size of the picture to decode, and its form.
type Options struct {
	// Scale is 1, 2, 4 or 8: the picture is decoded at 1/Scale of its size. Other values mean 1. A pixel is the mean of
	// a square. The last column and row may have a part of one.
	Scale int

	// ChromaScale replaces Scale for the chroma planes of a lossy picture, which have half of its width and height.
	// Zero means Scale.
	ChromaScale int

	// RGBA makes Decode return a lossy picture without alpha as RGBA too.
	RGBA bool
}

// A Picture is a decoded frame.
type Picture struct {
	RGBA bool // there is one plane, of premultiplied RGBA

	// Planes are luma and two planes of chroma unless RGBA is set. They are as in ITU-R BT.601: luma is 16 to 235 and
	// chroma is 16 to 240. The plane's upper left corner is that of the picture.
	Planes [3]Plane
}

func (o Options) scales() (luma, chroma int) {
	valid := func(scale int) int {
		if scale != 2 && scale != 4 && scale != 8 {
			return 1
		}
		return scale
	}
	if o.ChromaScale == 0 {
		o.ChromaScale = o.Scale
	}
	return valid(o.Scale), valid(o.ChromaScale)
}

// Size returns the width and height of the picture.
func (f Frame) Size() (width, height int, err error) {
	if f.VP8L != nil {
		return vp8lSize(f.VP8L)
	}
	return vp8Size(f.VP8)
}

// Decode decodes the frame. It returns a [FormatError], or the error of ctx.
//
// It allocates at most [Frame.Cost] bytes. Callers should check that first, because the data decides how large it is.
func (f Frame) Decode(ctx context.Context, o Options) (Picture, error) {
	width, height, err := f.Size()
	if err != nil {
		return Picture{}, err
	}
	if f.Cost(o) > math.MaxInt {
		return Picture{}, FormatError("too many pixels")
	}
	scale, chromaScale := o.scales()
	if f.VP8L != nil {
		d, err := readVP8L(f.VP8L[5:], width, height)
		if err != nil {
			return Picture{}, err
		}
		out := newRGBAReducer(width, height, scale)
		for y := range height {
			if y%16 == 0 && ctx.Err() != nil {
				return Picture{}, ctx.Err()
			}
			row, err := d.nextRow()
			if err != nil {
				return Picture{}, err
			}
			out.add(row)
		}
		out.flush()
		return Picture{RGBA: true, Planes: [3]Plane{out.Plane}}, nil
	}
	d, err := readVP8(f.VP8)
	if err != nil {
		return Picture{}, err
	}
	if f.ALPH == nil && !o.RGBA {
		cw, ch := (width+1)/2, (height+1)/2
		out := planeSink{newReducer(width, height, scale), newReducer(cw, ch, chromaScale), newReducer(cw, ch, chromaScale)}
		if err := d.decode(ctx, &out); err != nil {
			return Picture{}, err
		}
		p := Picture{}
		for i := range out {
			out[i].flush()
			p.Planes[i] = out[i].Plane
			if i > 0 {
				p.Planes[i].Step *= 2
			}
		}
		return p, nil
	}
	out := rgbaSink{rgba: newRGBAReducer(width, height, scale)}
	if f.ALPH != nil {
		if out.alpha, err = newAlphaReader(f.ALPH, width, height); err != nil {
			return Picture{}, err
		}
	} else {
		out.opaque = bytes.Repeat([]byte{255}, width)
	}
	if err := d.decode(ctx, &out); err != nil {
		return Picture{}, err
	}
	out.rgba.flush()
	return Picture{RGBA: true, Planes: [3]Plane{out.rgba.Plane}}, nil
}

// A planeSink makes planes of luma and chroma.
type planeSink [3]reducer

func (s *planeSink) addYCbCr(y int, luma, cb, cr []byte) error {
	s[0].add(luma)
	if y%2 == 0 {
		s[1].add(cb)
		s[2].add(cr)
	}
	return nil
}

// A rgbaSink makes a plane of premultiplied RGBA.
type rgbaSink struct {
	rgba   rgbaReducer
	alpha  *alphaReader // or nil
	opaque []byte       // then, a row of alpha
}

func (s *rgbaSink) addYCbCr(y int, luma, cb, cr []byte) (err error) {
	alpha := s.opaque
	if s.alpha != nil {
		if alpha, err = s.alpha.nextRow(); err != nil {
			return err
		}
	}
	s.rgba.addYCbCr(luma, cb, cr, alpha)
	return nil
}

// Cost returns the most bytes of memory that [Frame.Decode] allocates. It returns 0 if the frame has no size.
func (f Frame) Cost(o Options) int64 {
	width, height, err := f.Size()
	if err != nil {
		return 0
	}
	// The allocator rounds up: large sizes to pages, small ones by an eighth.
	const page, allocations = 8 << 10, 16
	n := int64(allocations * page)
	w := int64(width)
	scale, chromaScale := o.scales()
	plane := reducedPlane(width, height, scale, 4)
	rgba := plane.bytes() + 8*int64(plane.W)
	if f.VP8L != nil {
		return n + rgba + vp8lCost(width, height, len(f.VP8L))
	}
	mbw := int64(ceilDiv(width, 16))
	n += int64(unsafe.Sizeof(keyFrame{})) + (mbw+1)*int64(unsafe.Sizeof(aboveMB{})) + mbw*((borderY+16)*16+2*(borderC+8)*8)
	if f.ALPH == nil && !o.RGBA {
		luma := reducedPlane(width, height, scale, 1)
		chroma := reducedPlane((width+1)/2, (height+1)/2, chromaScale, 1)
		return n + luma.bytes() + 2*chroma.bytes() + 2*w + 4*page
	}
	n += rgba + w
	if f.ALPH != nil {
		n += 4*(w+1) + 256*8
		if len(f.ALPH) > 0 && f.ALPH[0]&3 == 1 {
			n += vp8lCost(width, height, len(f.ALPH))
		}
	}
	return n
}

// vp8lCost returns the most bytes that a vp8l takes for a picture and data of the given size.
func vp8lCost(width, height, size int) int64 {
	const page, allocations = 8 << 10, 16
	const palette, cache = 256, 1 << 11
	// Every transform, and the groups of codes, may have a value for each tile of 4x4 pixels.
	tiles := smallestTiles(width, height)
	n := int64(allocations*page) + int64(unsafe.Sizeof(vp8l{}))
	n += 4*int64(max(palette, bufferPixels(width, height))) + (1+4+2)*tiles + 4*min(1<<16, int64(size))
	n += 4*(4*int64(width)+2) + 4*5*cache + 4*palette
	return n + codeBudget(width, height, size)
}

// smallestTiles returns the number of tiles if they are as small as possible.
func smallestTiles(width, height int) int64 {
	return int64(ceilDiv(width, 4)) * int64(ceilDiv(height, 4))
}

// codeBudget returns how many bytes the prefix codes of a lossless picture may take. Only files that are made to exceed
// it do.
func codeBudget(width, height, size int) int64 {
	const (
		most = 16 << 20 // encoders make at most 2600 groups of codes, with some 3 KiB each

		// The most bytes of a group: 2704 entries for the largest alphabet, 630 for 256 symbols and 410 for 40. Half as
		// much again is unused memory at the end of chunks.
		ofGroup = (2704+3*630+410)*2*3/2 + codeGroupBytes

		// The most bytes of tables for a byte of data. The code with the largest table for its size has 67 bits and
		// 2304 entries, which may need a chunk of their own.
		ofByte = 1 << 10
	)
	const other = 6 // groups of transforms and tiles
	return min(most, (smallestTiles(width, height)+other)*ofGroup+2*tableChunk, ofByte*int64(size)+64<<10)
}

// Package webpenc encodes luma and chroma planes as WebP: lossy, with exact alpha.
//
// A picture is a key frame of VP8, RFC 6386, in the container of RFC 9649. It takes three steps:
//
//   - Macroblocks are grouped by their contrast into segments, each with a quantiser of its own: segments.go.
//   - A mode is chosen for each block by a guess of what it costs in bits: macroblock.go, and guess.go for the guesses. The difference
//     from its prediction is transformed, quantised, and rid of coefficients that are not worth their bits: block.go.
//   - Everything is written with probabilities that are fitted to the picture: frame.go, cost.go and bool.go.
//
// Alpha is a lossless picture of its own: alpha.go and prefix.go.
package webpenc

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// An Image is a picture in planes of 8-bit samples, as defined by JFIF. The chroma planes have half its width and height, rounded
// up. It is grey if Cb is nil, and opaque if Alpha is nil.
type Image struct {
	Width, Height    int // 1 to MaxEdge
	Y, Cb, Cr        []byte
	YStride, CStride int
	Alpha            []byte // Width bytes a row
}

// MaxEdge is the largest width and height of a WebP picture.
const MaxEdge = 1<<14 - 1

// ErrTooLarge means that a picture does not fit the format. Only those of many megapixels do not.
var ErrTooLarge = errors.New("webpenc: picture too large for WebP")

// An Encoder encodes pictures. It keeps its memory for the next one. The zero value is ready to use.
type Encoder struct {
	frame frame
	alpha alphaWriter
}

// Append encodes m and appends the WebP to dst. Quality, from 1 to 100, makes a picture about as similar to the original, by SSIM, as
// a JPEG of that quality. The WebP has an ICC profile if icc is not empty. The only error is [ErrTooLarge].
func (e *Encoder) Append(dst []byte, m *Image, quality int, icc []byte) ([]byte, error) {
	if m.Width > MaxEdge || m.Height > MaxEdge {
		return dst, ErrTooLarge
	}
	start := len(dst)
	dst = append(dst, "RIFF\x00\x00\x00\x00WEBP"...)
	if len(icc) > 0 || m.Alpha != nil {
		const hasICC, hasAlpha = 1 << 5, 1 << 4
		var flags byte
		if len(icc) > 0 {
			flags |= hasICC
		}
		if m.Alpha != nil {
			flags |= hasAlpha
		}
		w, h := m.Width-1, m.Height-1
		dst = append(dst, "VP8X\x0a\x00\x00\x00"...)
		dst = append(dst, flags, 0, 0, 0, byte(w), byte(w>>8), 0, byte(h), byte(h>>8), 0)
	}
	if len(icc) > 0 {
		at := len(dst)
		dst = endChunk(append(append(dst, "ICCP\x00\x00\x00\x00"...), icc...), at)
	}
	if m.Alpha != nil {
		at := len(dst)
		dst = endChunk(e.alpha.append(append(dst, "ALPH\x00\x00\x00\x00"...), m.Alpha, m.Width), at)
	}
	at := len(dst)
	dst, err := e.frame.append(append(dst, "VP8 \x00\x00\x00\x00"...), m, quality, maxModes)
	if err != nil {
		return dst[:start], err
	}
	return endChunk(endChunk(dst, at), start), nil
}

// Size returns the number of bytes of memory that the encoder keeps.
func (e *Encoder) Size() int64 {
	return int64(unsafe.Sizeof(*e)) + int64(cap(e.frame.mbs))*int64(unsafe.Sizeof(macroblock{})) + int64(cap(e.frame.above))*int64(unsafe.Sizeof(aboveMB{})) +
		int64(cap(e.alpha.filtered)+cap(e.alpha.rest))
}

// endChunk sets the size of the chunk that starts at a position, and pads it to an even one.
func endChunk(dst []byte, at int) []byte {
	n := len(dst) - at - 8
	binary.LittleEndian.PutUint32(dst[at+4:], uint32(n))
	if n%2 != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// Cost returns an upper bound, in bytes, of the memory that an [Encoder] needs for pictures up to a size, not counting the result.
func Cost(width, height int, alpha bool) int64 {
	w, h := int64(width+15)/16, int64(height+15)/16
	n := w*h*int64(unsafe.Sizeof(macroblock{})) + (w+1)*int64(unsafe.Sizeof(aboveMB{}))
	if alpha {
		n += alphaCost(width, height)
	}
	const page, allocations = 8 << 10, 8 // the allocator rounds up
	return n + page*allocations + int64(unsafe.Sizeof(Encoder{}))
}

package render

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/thumbcache/thumbcache/internal/jpegdec"
	"github.com/thumbcache/thumbcache/internal/render/webpenc"
	"github.com/thumbcache/thumbcache/internal/tiff"
)

// Content types of the formats that this package decodes.
const (
	typeJPEG = "image/jpeg"
	typePNG  = "image/png"
	typeGIF  = "image/gif"
	typeWebP = "image/webp"
	typeBMP  = "image/bmp"
	typeTIFF = "image/tiff"
	typeICO  = "image/x-icon" // cursors too
)

// A header describes a picture before it is decoded. Its slices are parts of the picture's data.
type header struct {
	contentType   string
	data          []byte // of the picture; a part of the file if that is a container
	width, height int
	orientation   int // as in EXIF, 1 to 8
	grey          bool
	adobeRGB      bool   // EXIF data says that the colours are those of Adobe RGB (1998)
	memory        int64  // upper bound of the bytes that decoding takes; for JPEG, in addition to jpeg.Cost
	icc           []byte // as embedded; for JPEG, the last segment that has a part of it

	jpeg jpegdec.Header
	dib  dib
	png  pngHeader
	gif  gifHeader
	webp webpHeader
	tiff tiff.Header
}

// Sniff returns the content type of a picture, found from its first bytes, and reports whether [Make] decodes that format.
// The content type is "" if the format is unknown.
func Sniff(data []byte) (contentType string, decodable bool) {
	has := func(at int, magic string) bool {
		return len(data) >= at+len(magic) && string(data[at:at+len(magic)]) == magic
	}
	switch {
	case has(0, "\xff\xd8\xff"):
		return typeJPEG, true
	case has(0, "\x89PNG\r\n\x1a\n"):
		return typePNG, true
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return typeGIF, true
	case has(0, "RIFF") && has(8, "WEBP"):
		return typeWebP, true
	case has(0, "BM") && isBMP(data), has(0, "BA") && has(14, "BM") && isBMP(data[14:]):
		return typeBMP, true
	case has(0, "II*\x00") && !has(8, "CR"), has(0, "MM\x00*"):
		return typeTIFF, true
	case has(0, "II*\x00"):
		return "image/x-canon-cr2", false
	case has(4, "ftypavif"), has(4, "ftypavis"):
		return "image/avif", false
	case has(4, "ftyphei"), has(4, "ftyphev"), has(4, "ftypmif1"), has(4, "ftypmsf1"):
		return "image/heif", false
	case has(0, "\xff\x0a"), has(0, "\x00\x00\x00\x0cJXL \r\n\x87\n"):
		return "image/jxl", false
	case has(0, "\x00\x00\x00\x0cjP  \r\n\x87\n"), has(0, "\xff\x4f\xff\x51"):
		return "image/jp2", false
	case (has(0, "\x00\x00\x01\x00") || has(0, "\x00\x00\x02\x00")) && isIcon(data):
		return typeICO, true
	case has(0, "8BPS\x00\x01"):
		return "image/vnd.adobe.photoshop", false
	case has(0, "qoif"):
		return "image/qoi", false
	case has(0, "\x76\x2f\x31\x01"):
		return "image/x-exr", false
	case has(0, "II+\x00"), has(0, "MM\x00+"):
		return typeTIFF, true // BigTIFF
	}
	return "", false
}

// isBMP reports whether a file header, of which the first two bytes have been checked, is that of a BMP.
func isBMP(data []byte) bool {
	return len(data) >= 18 && binary.LittleEndian.Uint32(data[6:]) == 0 && isDIBHeaderSize(binary.LittleEndian.Uint32(data[14:]))
}

// isIcon reports whether data, of which the first four bytes have been checked, is an icon or cursor: there are images,
// and the first one is behind the directory.
func isIcon(data []byte) bool {
	if len(data) < 22 {
		return false
	}
	count, reserved := int64(binary.LittleEndian.Uint16(data[4:])), data[9]
	return count > 0 && (reserved == 0 || reserved == 255) && int64(binary.LittleEndian.Uint32(data[18:])) >= 6+16*count
}

// corrupt returns an error that wraps [ErrCorrupt].
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// maxPixels is the most pixels of a picture that is decoded to RGBA. It keeps the number of bytes within a 32-bit int.
const maxPixels = 1<<29 - 1

// parse reads the header of a picture. If a bitmap or an icon contains a JPEG or PNG, the header is that of the latter.
func parse(data []byte) (h header, err error) {
	contentType, decodable := Sniff(data)
	if !decodable {
		if contentType == "" {
			return h, ErrUnsupported
		}
		return h, fmt.Errorf("%w: %s", ErrUnsupported, contentType)
	}
	var embedded []byte
	switch contentType {
	case typeBMP:
		embedded, err = h.readBMP(data)
	case typeICO:
		embedded, err = h.readICO(data)
	}
	if embedded != nil {
		data = embedded
		contentType, _ = Sniff(data)
	}
	h.contentType, h.data, h.orientation = contentType, data, 1
	switch contentType {
	case typeJPEG:
		err = h.readJPEG(data)
	case typePNG:
		err = h.readPNG(data)
	case typeGIF:
		err = h.readGIF(data)
	case typeWebP:
		err = h.readWebP(data)
	case typeTIFF:
		err = h.readTIFF(data)
	}
	if err != nil {
		return h, err
	}
	if h.width <= 0 || h.height <= 0 {
		return h, corrupt("no pixels")
	}
	if contentType != typeJPEG && h.pixels() > maxPixels {
		return h, fmt.Errorf("%w: %d x %d", ErrTooLarge, h.width, h.height)
	}
	return h, nil
}

// pixels returns the number of pixels, as an int64 so that products do not overflow on 32-bit systems.
func (h *header) pixels() int64 { return int64(h.width) * int64(h.height) }

// cost returns an upper bound of the bytes that making the thumbnail g takes.
func (h *header) cost(g layout, o Options) int64 {
	// Scaling keeps 8 bytes for each sample of a row, and six weights of 2 bytes for each column and row.
	cost := h.memory + 4*8*int64(h.width) + 12*int64(h.width+h.height) + 128<<10
	if h.contentType == typePNG {
		cost += h.png.Cost(h.pngOptions(g))
	}
	if h.contentType == typeTIFF {
		cost += h.tiff.Cost(tiffOptions(g)) + 2*int64(h.width)
	}
	if h.contentType == typeWebP {
		cost += h.webpCost(g, o)
	}
	if h.contentType == typeJPEG {
		jpeg := jpegOptions(g, o)
		cost += h.jpeg.Cost(jpeg)
		if h.jpeg.Model != jpegdec.Gray && h.jpeg.Model != jpegdec.YCbCr {
			scale := int64(jpeg.Scale)
			cost += 4 * (int64(h.width)/scale + 64) * (int64(h.height)/scale + 64)
		}
	}
	cost += h.resultCost(g, o) * int64(g.boxWidth) * int64(g.boxHeight) / 12
	if o.Fit == Pad {
		// The canvas, its chroma in full, and the blurred rows.
		cost += 8*int64(g.boxWidth)*int64(g.boxHeight) + 3*4*maxBlurred*int64(g.boxWidth) + 24*int64(g.boxWidth+g.boxHeight)
	}
	if o.PNG || o.Auto {
		cost += 1 << 20 // deflate state
	}
	if o.WebP {
		cost += webpenc.Cost(g.boxWidth, g.boxHeight, !h.grey || o.Fit == Pad)
	}
	cost += 16 * int64(g.boxWidth) // column sums of the hash: four channels, 2 bytes each, kept twice
	if h.icc != nil {
		cost += 2*maxCarried + 32<<10
	}
	return cost
}

// resultCost returns the memory for each pixel of the result in twelfths of a byte. It covers the scaled picture, its
// conversion between colour models and the encoded result.
func (h *header) resultCost(g layout, o Options) int64 {
	var scaled, converted, encoded int64
	switch {
	case h.grey && o.Fit != Pad:
		scaled = 12
	case h.contentType == typeJPEG && h.jpeg.Model == jpegdec.YCbCr && !o.PNG && o.Fit != Pad && h.icc == nil && !h.adobeRGB:
		scaled = 18 // luma, and two chroma planes of a quarter each
	default:
		scaled, converted = 48, 48+18
	}
	if g.transpose {
		scaled *= 2
	}
	switch {
	case o.PNG && h.grey && o.Fit != Pad:
		encoded = 12
	case o.PNG, o.Auto && (h.contentType != typeJPEG || o.Fit == Pad):
		encoded = 48
	case o.WebP:
		encoded = 36
	case o.Quality <= 85:
		encoded = 15 // measured with noise
	default:
		encoded = 36
	}
	// The encoder's buffer doubles when it grows, and the result is copied from it.
	return scaled + converted + 5*encoded
}

// readTIFF reads the header of a TIFF's picture.
func (h *header) readTIFF(data []byte) (err error) {
	h.tiff, err = tiff.Config(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return decodeError(err)
	}
	h.width, h.height, h.orientation, h.grey, h.icc = h.tiff.Width, h.tiff.Height, h.tiff.Orientation, h.tiff.Gray, h.tiff.ICC
	if d, ok := readDirectory(data); ok {
		h.adobeRGB = d.isAdobeRGB()
	}
	return nil
}

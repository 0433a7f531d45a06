package render

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/thumbcache/thumbcache/internal/render/jpegdec"
)

type format uint8

const (
	unknown format = iota
	formatJPEG
	formatPNG
	formatGIF
	formatWebP
	formatBMP
	formatTIFF
)

// A header is what a picture says about itself before anything is decoded. Its slices are parts of the picture.
type header struct {
	format        format
	width, height int
	orientation   int // as in EXIF, 1 to 8
	grey          bool
	memory        int64  // most that decoding takes; for JPEG, that is told by jpeg
	icc           []byte // as embedded; not used for JPEG, whose profile comes in pieces

	jpeg jpegdec.Header
	webp webpHeader
}

// Sniff returns the content type of a picture by its first bytes, and whether [Make] can decode that format. The type
// is "" if they begin no picture that is known here.
func Sniff(data []byte) (contentType string, decodable bool) {
	has := func(at int, magic string) bool {
		return len(data) >= at+len(magic) && string(data[at:at+len(magic)]) == magic
	}
	switch {
	case has(0, "\xff\xd8\xff"):
		return "image/jpeg", true
	case has(0, "\x89PNG\r\n\x1a\n"):
		return "image/png", true
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return "image/gif", true
	case has(0, "RIFF") && has(8, "WEBP"):
		return "image/webp", true
	case has(0, "BM") && has(6, "\x00\x00\x00\x00") && len(data) >= 18 && bmpHeaderSize(data[14]):
		return "image/bmp", true
	case has(0, "II*\x00") && !has(8, "CR"), has(0, "MM\x00*"):
		return "image/tiff", true
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
	case has(0, "\x00\x00\x01\x00") && len(data) >= 22 && data[4] > 0 && data[5] == 0 && data[9] == 0:
		return "image/x-icon", false
	case has(0, "8BPS\x00\x01"):
		return "image/vnd.adobe.photoshop", false
	case has(0, "qoif"):
		return "image/qoi", false
	case has(0, "\x76\x2f\x31\x01"):
		return "image/x-exr", false
	case has(0, "II+\x00"), has(0, "MM\x00+"):
		return "image/tiff", false // BigTIFF
	}
	return "", false
}

// bmpHeaderSize reports whether a BMP's second header can have this size.
func bmpHeaderSize(n byte) bool {
	return slices.Contains([]byte{12, 16, 40, 52, 56, 64, 108, 124}, n)
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// maxPixels keeps the bytes of an RGBA picture within an int of 32 bits.
const maxPixels = 1<<29 - 1

// parse reads the header of a picture.
func parse(data []byte) (h header, err error) {
	contentType, decodable := Sniff(data)
	if !decodable {
		if contentType == "" {
			return h, ErrUnsupported
		}
		return h, fmt.Errorf("%w: %s", ErrUnsupported, contentType)
	}
	h.orientation = 1
	switch contentType {
	case "image/jpeg":
		h.format = formatJPEG
		err = h.readJPEG(data)
	case "image/png":
		h.format = formatPNG
		err = h.readPNG(data)
	case "image/gif":
		h.format = formatGIF
		err = h.readGIF(data)
	case "image/webp":
		h.format = formatWebP
		err = h.readWebP(data)
	case "image/bmp":
		h.format = formatBMP
		err = h.readBMP(data)
	case "image/tiff":
		h.format = formatTIFF
		err = h.readTIFF(data)
	}
	if err != nil {
		return h, err
	}
	if h.width <= 0 || h.height <= 0 {
		return h, corrupt("it has no pixels")
	}
	if h.format != formatJPEG && int64(h.width)*int64(h.height) > maxPixels {
		return h, fmt.Errorf("%w: %d x %d", ErrTooLarge, h.width, h.height)
	}
	return h, nil
}

// pixels returns the size of the picture as a number that can be multiplied.
func (h *header) pixels() int64 { return int64(h.width) * int64(h.height) }

// cost returns the most memory that making the thumbnail g takes.
func (h *header) cost(g layout, o Options) int64 {
	// Between the passes there are 8 bytes a sample of a row, and six weights of 2 bytes for each.
	cost := h.memory + 4*8*int64(h.width) + 12*int64(h.width+h.height) + 128<<10
	if h.format == formatJPEG {
		jpeg := jpegOptions(g, o)
		cost += h.jpeg.Cost(jpeg)
		if h.jpeg.Model != jpegdec.Gray && h.jpeg.Model != jpegdec.YCbCr {
			scale := int64(jpeg.Scale)
			cost += 4 * (int64(h.width)/scale + 64) * (int64(h.height)/scale + 64)
		}
	}
	// The result exists scaled, turned, perhaps as RGB from luma and chroma, and encoded: noise gets no smaller by
	// that, its buffer has grown step by step, and it is copied once.
	small := int64(g.width) * int64(g.height)
	samples := 4 * small
	if h.grey {
		samples = small
	}
	cost += 2 * samples
	if o.PNG {
		cost += 2*samples + 4*samples + 1<<20 // most of the constant is deflate's
	} else {
		cost += samples + 9*small
	}
	if h.icc != nil || h.format == formatJPEG {
		cost += 2*maxCarried + 32<<10
	}
	return cost
}

// profileData returns the ICC profile embedded in a picture, or nil.
func (h *header) profileData(data []byte) []byte {
	switch h.format {
	case formatJPEG:
		return jpegICC(data)
	case formatPNG:
		return inflateICC(h.icc)
	}
	return h.icc
}

// A segment of a JPEG file.
type segment struct {
	marker byte
	data   []byte
}

const (
	markerEOI  = 0xd9
	markerSOS  = 0xda
	markerAPP1 = 0xe1
	markerAPP2 = 0xe2
)

// nextSegment returns the first segment in data and what follows it. Entropy-coded data before it is skipped, as are
// stray bytes. There is no other if ok is false.
func nextSegment(data []byte) (s segment, rest []byte, ok bool) {
	for {
		i := bytes.IndexByte(data, 0xff)
		if i < 0 {
			return s, nil, false
		}
		for data = data[i+1:]; len(data) > 0 && data[0] == 0xff; data = data[1:] {
		}
		if len(data) == 0 {
			return s, nil, false
		}
		switch s.marker = data[0]; {
		case s.marker <= 0x01, s.marker >= 0xd0 && s.marker <= 0xd8:
			data = data[1:] // a stuffed byte, or a marker without a segment
			continue
		case s.marker == markerEOI:
			return s, nil, true
		}
		data = data[1:]
		if len(data) < 2 {
			return s, nil, false
		}
		n := int(binary.BigEndian.Uint16(data))
		if n < 2 || n > len(data) {
			return s, nil, false
		}
		s.data = data[2:n]
		return s, data[n:], true
	}
}

func (h *header) readJPEG(data []byte) (err error) {
	if h.jpeg, err = jpegdec.ReadHeader(data); err != nil {
		return jpegError(err)
	}
	h.width, h.height = h.jpeg.Width, h.jpeg.Height
	h.grey = h.jpeg.Model == jpegdec.Gray
	for rest := data[2:]; ; {
		s, r, ok := nextSegment(rest)
		if !ok || s.marker == markerSOS {
			return nil
		}
		rest = r
		switch {
		case s.marker == markerAPP1 && bytes.HasPrefix(s.data, []byte(exifHeader)):
			h.orientation = exifOrientation(s.data)
		case s.marker == markerAPP2 && bytes.HasPrefix(s.data, []byte(iccSegments)):
			h.memory = min(h.memory+int64(len(s.data)), maxProfile) // to put the pieces together
		}
	}
}

// jpegICC puts the pieces of an embedded profile together.
func jpegICC(data []byte) []byte {
	var pieces [256][]byte
	count, size := 0, 0
	for rest := data[2:]; ; {
		s, r, ok := nextSegment(rest)
		if !ok || s.marker == markerSOS {
			break
		}
		rest = r
		const header = len(iccSegments) + 2 // number and count, from 1
		if s.marker != markerAPP2 || len(s.data) < header || string(s.data[:len(iccSegments)]) != iccSegments {
			continue
		}
		number := s.data[len(iccSegments)]
		if pieces[number] == nil {
			count = int(s.data[len(iccSegments)+1])
			pieces[number] = s.data[header:]
			size += len(s.data) - header
		}
	}
	if count == 0 || size > maxProfile {
		return nil
	}
	if count == 1 {
		return pieces[1]
	}
	icc := make([]byte, 0, size)
	for _, p := range pieces[1 : count+1] {
		if p == nil {
			return nil
		}
		icc = append(icc, p...)
	}
	return icc
}

func (h *header) readPNG(data []byte) error {
	var transparent, interlaced bool
	var depth, colour byte
	for rest := data[8:]; len(rest) >= 12; {
		n := int64(binary.BigEndian.Uint32(rest))
		name := string(rest[4:8])
		if n > int64(len(rest))-12 {
			n = int64(len(rest)) - 12 // the decoder will say so
		}
		chunk := rest[8 : 8+n]
		rest = rest[12+n:]
		if h.width == 0 {
			if name != "IHDR" || len(chunk) < 13 {
				return corrupt("PNG without a header")
			}
			w, ht := binary.BigEndian.Uint32(chunk), binary.BigEndian.Uint32(chunk[4:])
			if w > 1<<31-1 || ht > 1<<31-1 || w == 0 {
				return corrupt("PNG of %d x %d", w, ht)
			}
			h.width, h.height = int(w), int(ht)
			depth, colour, interlaced = chunk[8], chunk[9], chunk[12] != 0
			continue
		}
		switch name {
		case "tRNS":
			transparent = true
		case "eXIf":
			h.orientation = exifOrientation(chunk)
		case "iCCP":
			h.icc = chunk
		}
	}
	var size int64 // of a pixel, as the library stores it
	switch {
	case colour == 3:
		size = 1 + 4 // and as RGBA
	case colour == 0 && !transparent:
		h.grey = true
		size = 1
	default:
		size = 4
	}
	if depth == 16 {
		size *= 2
	}
	if interlaced {
		size *= 2 // its seven passes are pictures of their own
	}
	if colour == 3 && interlaced {
		size = 2 + 4
	}
	h.memory = size*h.pixels() + 2*8*int64(h.width) + 96<<10
	if h.icc != nil {
		h.memory += inflateLimit(h.icc) + 64<<10
	}
	return nil
}

func (h *header) readGIF(data []byte) error {
	if len(data) < 13 {
		return corrupt("short GIF")
	}
	h.width, h.height = int(binary.LittleEndian.Uint16(data[6:])), int(binary.LittleEndian.Uint16(data[8:]))
	h.memory = (1+1+4)*h.pixels() + 96<<10 // as palette indices, the same uninterlaced, and as RGBA
	return nil
}

// A webpHeader holds the parts of the first frame.
type webpHeader struct {
	left, top     int // of the frame, on the canvas
	width, height int // of the frame
	alpha         []byte
	bitstream     []byte
	lossless      bool
}

// riffChunk splits the first chunk off data. Its length is cut to what there is.
func riffChunk(data []byte) (name string, chunk, rest []byte, ok bool) {
	if len(data) < 8 {
		return "", nil, nil, false
	}
	name = string(data[:4])
	n := int64(binary.LittleEndian.Uint32(data[4:]))
	data = data[8:]
	chunk = data[:min(n, int64(len(data)))]
	return name, chunk, data[min(n+n&1, int64(len(data))):], true
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func (h *header) readWebP(data []byte) error {
	for rest := data[12:]; ; {
		name, chunk, r, ok := riffChunk(rest)
		if !ok {
			break
		}
		rest = r
		switch name {
		case "VP8X":
			if len(chunk) < 10 {
				return corrupt("short WebP header")
			}
			h.width, h.height = 1+uint24(chunk[4:]), 1+uint24(chunk[7:])
		case "ICCP":
			h.icc = chunk
		case "EXIF":
			h.orientation = exifOrientation(chunk)
		case "ANMF":
			if h.webp.bitstream != nil || len(chunk) < 16 {
				continue
			}
			h.webp.left, h.webp.top = 2*uint24(chunk), 2*uint24(chunk[3:])
			for frame := chunk[16:]; ; {
				name, chunk, r, ok := riffChunk(frame)
				if !ok {
					break
				}
				frame = r
				h.webp.read(name, chunk)
			}
		default:
			h.webp.read(name, chunk)
		}
	}
	w := &h.webp
	if w.width == 0 || w.height == 0 {
		return corrupt("WebP without a picture")
	}
	if h.width == 0 {
		h.width, h.height = w.width, w.height
	}
	if w.left+w.width > h.width || w.top+w.height > h.height {
		return corrupt("WebP frame outside its canvas")
	}
	frame := int64(w.width) * int64(w.height)
	tiles := int64(w.width+3) / 4 * (int64(w.height+3) / 4)
	// The library decodes lossless data twice as large when it has a palette, and may keep up to 2600 groups of
	// Huffman tables, as many as there are tiles, and as the data can describe.
	lossless := 8*frame + 4*tiles + min(2600*24<<10, tiles*24<<10, 1000*int64(len(w.bitstream)+len(w.alpha))) + 256<<10
	if w.lossless {
		h.memory = lossless
	} else {
		blocks := int64(w.width+15) / 16 * (int64(w.height+15) / 16)
		h.memory = blocks*(384+64) + int64(len(w.bitstream)) + 64<<10
		if w.alpha != nil {
			h.memory += lossless + frame + 4*frame // the alpha decoder's, its result, and all as RGBA
		}
	}
	if w.width != h.width || w.height != h.height {
		h.memory += 4*h.pixels() + 4*frame
	}
	return nil
}

// read takes a chunk of a frame; the first of each kind counts.
func (w *webpHeader) read(name string, chunk []byte) {
	switch {
	case w.bitstream != nil:
	case name == "ALPH":
		w.alpha = chunk
	case name == "VP8 " && len(chunk) >= 10:
		w.bitstream = chunk
		w.width = int(binary.LittleEndian.Uint16(chunk[6:]) & 0x3fff)
		w.height = int(binary.LittleEndian.Uint16(chunk[8:]) & 0x3fff)
	case name == "VP8L" && len(chunk) >= 5:
		w.bitstream, w.lossless = chunk, true
		bits := binary.LittleEndian.Uint32(chunk[1:])
		w.width, w.height = 1+int(bits&0x3fff), 1+int(bits>>14&0x3fff)
	}
}

func (h *header) readBMP(data []byte) error {
	if len(data) < 26 {
		return corrupt("short BMP")
	}
	if data[14] < 40 {
		return fmt.Errorf("%w: BMP of an old kind", ErrUnsupported)
	}
	w, ht := int64(int32(binary.LittleEndian.Uint32(data[18:]))), int64(int32(binary.LittleEndian.Uint32(data[22:])))
	if ht < 0 {
		ht = -ht // top-down
	}
	if w <= 0 || ht <= 0 || ht > 1<<31-1 {
		return corrupt("BMP of %d x %d", w, ht)
	}
	h.width, h.height = int(w), int(ht)
	h.memory = 5*h.pixels() + 8*int64(h.width) + 64<<10
	return nil
}

func (h *header) readTIFF(data []byte) error {
	d, ok := readDirectory(data)
	if !ok {
		return corrupt("TIFF without a directory")
	}
	w, ht := d.number(tagWidth, 0), d.number(tagLength, 0)
	if w <= 0 || ht <= 0 || w > 1<<31-1 || ht > 1<<31-1 {
		return corrupt("TIFF of %d x %d", w, ht)
	}
	h.width, h.height = int(w), int(ht)
	h.orientation = d.orientation()
	if _, _, icc := d.find(tagICC); len(icc) > 0 {
		h.icc = icc
	}
	samples, bits := d.number(tagSamplesPerPixel, 1), d.number(tagBitsPerSample, 1)
	blockW, blockH := w, min(ht, d.number(tagRowsPerStrip, ht))
	if tw := d.number(tagTileWidth, 0); tw > 0 {
		blockW, blockH = tw, d.number(tagTileLength, 0)
	}
	if blockW > 1<<24 || blockH > 1<<24 || blockW*blockH > maxPixels || samples > 16 || bits > 64 {
		return fmt.Errorf("%w: TIFF of %d x %d in blocks of %d x %d", ErrTooLarge, w, ht, blockW, blockH)
	}
	// A strip or a tile is read as a whole, and if it is compressed, into a buffer that grows step by step.
	block := (blockW*samples*bits/8 + 1) * blockH
	if d.number(tagCompression, 1) != 1 {
		block *= 5
	}
	size := int64(5)
	if bits > 8 {
		size = 8
	}
	h.memory = size*h.pixels() + block + 1<<20
	return nil
}

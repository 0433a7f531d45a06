package render

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io"

	"github.com/thumbcache/thumbcache/internal/pngdec"
)

// A pngHeader holds what chunks before and between the image data say. Its slices are parts of the file.
type pngHeader struct {
	pngdec.Header
	data      []byte // the file from the first chunk with image data
	frames    []frame
	frameData [][]byte // the file after the fcTL chunk of each frame
	gamma     []byte   // gAMA
	primaries []byte   // cHRM
	srgb      bool     // sRGB
	cicp      []byte   // cICP
}

// readPNG reads all chunks of a PNG except the image data.
func (h *header) readPNG(data []byte) error {
	p := &h.png
	apple := false
	for rest := data[len(pngdec.Signature):]; ; {
		isData := len(rest) >= 8 && (string(rest[4:8]) == "IDAT" || string(rest[4:8]) == "fdAT")
		c, next, ok := pngdec.NextChunk(rest, !isData)
		if !ok || c.Name() == "IEND" {
			break
		}
		switch {
		case c.Name() == "CgBI" && h.width == 0:
			apple = true
		case h.width == 0:
			var err error
			if p.Header, err = pngdec.ReadHeader(c); err != nil {
				return pngError(err)
			}
			p.Apple = apple
			h.width, h.height = p.Width, p.Height
		case c.Name() == "IDAT":
			if p.data == nil {
				p.data = rest
			}
		case c.Name() == "PLTE":
			if !c.Intact {
				return corrupt("PNG palette with a wrong checksum")
			}
			p.Palette = c.Data
		case c.Intact:
			h.readPNGAncillary(c, next)
		}
		rest = next
	}
	switch {
	case h.width == 0:
		return corrupt("PNG without a header")
	case p.Color == pngdec.Paletted && len(p.Palette) < 3:
		return corrupt("PNG without a palette")
	}
	if len(p.frames) < 2 {
		p.frames = nil
	}
	h.grey = p.IsGray() && p.frames == nil
	h.memory = h.pngMemory()
	return nil
}

// pngMemory returns an upper bound of the bytes that decoding a PNG takes in addition to pngdec.Cost.
func (h *header) pngMemory() int64 {
	memory := int64(8 << 10) // the table of isLinear16
	if h.png.frames != nil {
		// A frame, and a copy of the canvas for disposePrevious.
		memory += h.png.Cost(pngdec.Options{RGBA: true}) + 4*h.pixels() + 64<<10
	}
	if h.icc != nil {
		memory += inflateLimit(h.icc) + 64<<10
	}
	return memory
}

// readPNGAncillary reads a chunk that a decoder may ignore. rest is the file after it.
func (h *header) readPNGAncillary(c pngdec.Chunk, rest []byte) {
	p := &h.png
	switch c.Name() {
	case "tRNS":
		if p.data == nil {
			p.SetTransparency(c.Data)
		}
	case "eXIf":
		h.readEXIF(c.Data)
	case "iCCP":
		h.icc = c.Data
	case "gAMA":
		p.gamma = c.Data
	case "cHRM":
		p.primaries = c.Data
	case "sRGB":
		p.srgb = true
	case "cICP":
		p.cicp = c.Data
	case "fcTL":
		if f, ok := readFrameControl(c.Data); ok && len(p.frames) < maxFrames {
			p.frames, p.frameData = append(p.frames, f), append(p.frameData, rest)
		}
	}
}

// readFrameControl reads the fcTL chunk of an animated PNG.
func readFrameControl(c []byte) (f frame, ok bool) {
	if len(c) < 26 {
		return f, false
	}
	var v [4]int // width, height, left, top
	for i := range v {
		n := binary.BigEndian.Uint32(c[4+4*i:])
		if n >= 1<<30 { // so that their sums fit 32 bits
			return f, false
		}
		v[i] = int(n)
	}
	f.rect = image.Rect(v[2], v[3], v[2]+v[0], v[3]+v[1])
	f.dispose = disposal(min(c[24], byte(disposePrevious)))
	f.replace = c[25] == 0
	return f, v[0] > 0 && v[1] > 0
}

// pngOptions returns how a PNG is decoded for the layout. An animated one is decoded in full, since frames are placed on
// pixels of the whole picture.
func (h *header) pngOptions(g layout) pngdec.Options {
	if h.png.frames != nil {
		return pngdec.Options{RGBA: true}
	}
	return pngdec.Options{Scale: min(g.meanReduction(), pngdec.MaxScale)}
}

// decodePNG decodes a PNG, reduced as far as the layout allows, or the first frame of an animated one that shows something.
// A damaged picture is decoded as far as it goes, unless most of it is missing.
func (ws *workspace) decodePNG(ctx context.Context, h *header, o pngdec.Options) (raster, error) {
	p := &h.png
	if p.data == nil {
		return raster{}, corrupt("PNG without image data")
	}
	if h.isLinear16() {
		o.Linear = linearTable(p.gamma)
	}
	ws.pngSize = max(ws.pngSize, p.Cost(o))
	still, err := decodePNGImage(ctx, &p.Header, p.data, o, &ws.png)
	if err != nil {
		return raster{}, err
	}
	if p.frames != nil && still.seen() < showsPicture {
		if err := h.drawFirstVisible(ctx, still, o, &ws.png); err != nil {
			return raster{}, err
		}
	}
	kind := rgba
	if h.grey {
		kind = grey
	}
	return raster{kind: kind, planes: [3]plane{still}}, nil
}

// decodePNGImage decodes an image whose data begins in file. The plane uses the memory of img.
func decodePNGImage(ctx context.Context, h *pngdec.Header, file []byte, o pngdec.Options, img *pngdec.Image) (plane, error) {
	if err := pngdec.Decode(ctx, h, file, o, img); err != nil {
		return plane{}, pngError(err)
	}
	p := newPlane(img.Pix, img.Width*img.Channels, img.Width, img.Height, img.Channels)
	p.pitchX = float64(max(1, o.Scale))
	p.pitchY = p.pitchX
	return p, nil
}

// pngError wraps an error of pngdec in [ErrTooLarge] or [ErrCorrupt].
func pngError(err error) error {
	if errors.Is(err, pngdec.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return corrupt("%w", err)
}

// drawFirstVisible replaces the still image, in which there is little to see, by the first frame that shows something. still
// uses the memory of img.
func (h *header) drawFirstVisible(ctx context.Context, still plane, o pngdec.Options, img *pngdec.Image) error {
	area := image.Rect(0, 0, h.width, h.height)
	seen := still.seen()
	still.fill(area, [4]byte{})
	var frame pngdec.Image
	a := animation{canvas: still, frames: h.png.frames}
	a.draw = func(i int) error {
		r := h.png.frames[i].rect
		if !r.In(area) {
			return corrupt("PNG frame %v outside the picture of %d x %d", r, h.width, h.height)
		}
		part := h.png.Header
		part.Width, part.Height = r.Dx(), r.Dy()
		m, err := decodePNGImage(ctx, &part, h.png.frameData[i], o, &frame)
		if err == nil {
			still.drawAt(m, r.Min, h.png.frames[i].replace)
		}
		return err
	}
	err := a.firstVisible()
	if err != nil || still.seen() <= seen {
		_, err = decodePNGImage(ctx, &h.png.Header, h.png.data, o, img) // into the memory of still
	}
	return err
}

// inflateICC returns the profile in a PNG's iCCP chunk, or nil if the chunk is corrupt.
func inflateICC(chunk []byte) []byte {
	name := bytes.IndexByte(chunk, 0)
	if name < 0 || name > 79 || len(chunk) < name+2 || chunk[name+1] != 0 {
		return nil
	}
	z, err := zlib.NewReader(bytes.NewReader(chunk[name+2:]))
	if err != nil {
		return nil
	}
	// A profile begins with its size, so nothing beyond that is inflated.
	var size [4]byte
	if _, err := io.ReadFull(z, size[:]); err != nil {
		return nil
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	if n < iccHeader || n > inflateLimit(chunk) {
		return nil
	}
	icc := make([]byte, n)
	copy(icc, size[:])
	if _, err := io.ReadFull(z, icc[4:]); err != nil {
		return nil
	}
	return icc
}

// inflateLimit returns the size in bytes of the largest profile that an iCCP chunk can hold.
func inflateLimit(chunk []byte) int64 {
	const most = 1032 // bytes that one byte of deflate can become
	return min(maxProfile, most*int64(len(chunk)))
}

// encodePNG encodes a picture. It inserts the colour profile after the header chunk, since image/png cannot.
func (ws *workspace) encodePNG(p pixels, icc []byte) ([]byte, error) {
	b := bytes.NewBuffer(ws.out[:0])
	enc := png.Encoder{BufferPool: ws}
	if err := enc.Encode(b, p.image()); err != nil {
		return nil, err
	}
	ws.out = b.Bytes()
	data := ws.out
	const header = 8 + 12 + 13 // signature and IHDR
	return bytes.Join([][]byte{data[:header], iccpChunk(icc), data[header:]}, nil), nil
}

// iccpChunk returns an iCCP chunk with a profile, or nil if icc is nil.
func iccpChunk(icc []byte) []byte {
	if icc == nil {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("\x00\x00\x00\x00iCCPicc\x00\x00")
	z := zlib.NewWriter(&b)
	z.Write(icc) // cannot fail, as a Buffer does not
	z.Close()
	chunk := b.Bytes()
	binary.BigEndian.PutUint32(chunk, uint32(len(chunk)-8))
	return binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
}

package render

import (
	"context"
	"encoding/binary"
	"image"
	"io"

	"golang.org/x/image/webp"
)

// A webpHeader holds the frames of a WebP, at most maxFrames. A still picture has one.
type webpHeader struct {
	frames []frame
	images []webpImage
}

// A webpImage holds the chunks of one frame.
type webpImage struct {
	width, height int
	alpha         []byte
	bitstream     []byte
	lossless      bool
}

// riffChunk splits the first chunk off data. A chunk that is longer than data is cut.
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
	w := &h.webp
	var still webpImage
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
			h.readEXIF(chunk)
		case "ANMF":
			w.readFrame(chunk)
		default:
			still.read(name, chunk)
		}
	}
	if still.bitstream != nil || len(w.frames) == 0 {
		w.frames = []frame{{rect: image.Rect(0, 0, still.width, still.height), replace: true}}
		w.images = []webpImage{still}
	}
	if w.images[0].width == 0 || w.images[0].height == 0 {
		return corrupt("WebP without a frame")
	}
	if h.width == 0 {
		h.width, h.height = w.images[0].width, w.images[0].height
	}
	if !w.frames[0].rect.In(image.Rect(0, 0, h.width, h.height)) {
		return corrupt("WebP frame outside its canvas")
	}
	for i := range w.images {
		m := &w.images[i]
		h.memory = max(h.memory, m.memory())
		if r := w.frames[0].rect; r.Dx() != h.width || r.Dy() != h.height || len(w.images) > 1 {
			h.memory = max(h.memory, m.memory()+4*h.pixels()+4*int64(m.width)*int64(m.height))
		}
	}
	if len(w.images) > 1 {
		h.memory += h.memory - 4*h.pixels() // garbage of the frame before
	}
	return nil
}

// readFrame reads an ANMF chunk of an animation.
func (w *webpHeader) readFrame(chunk []byte) {
	const headerSize = 16
	if len(chunk) < headerSize || len(w.frames) == maxFrames {
		return
	}
	var m webpImage
	for rest := chunk[headerSize:]; ; {
		name, part, r, ok := riffChunk(rest)
		if !ok {
			break
		}
		rest = r
		m.read(name, part)
	}
	const disposeFlag, noBlendFlag = 1, 2
	at := image.Pt(2*uint24(chunk), 2*uint24(chunk[3:]))
	f := frame{rect: image.Rect(0, 0, m.width, m.height).Add(at), replace: chunk[15]&noBlendFlag != 0}
	if chunk[15]&disposeFlag != 0 {
		f.dispose = disposeClear
	}
	if m.width > 0 && m.height > 0 {
		w.frames, w.images = append(w.frames, f), append(w.images, m)
	}
}

// memory returns an upper bound of the bytes that the decoder of golang.org/x/image takes.
func (m *webpImage) memory() int64 {
	width, height := int64(m.width), int64(m.height)
	size := width * height
	tiles := (width + 3) / 4 * ((height + 3) / 4)
	// The lossless decoder needs twice the memory of the picture if it has a palette. It keeps up to 2600 groups of
	// Huffman tables, but no more than there are tiles or than the data can describe.
	lossless := 8*size + 4*tiles + min(2600*24<<10, tiles*24<<10, 1000*int64(len(m.bitstream)+len(m.alpha))) + 256<<10
	if m.lossless {
		return lossless
	}
	blocks := (width + 15) / 16 * ((height + 15) / 16)
	memory := blocks*(384+64) + int64(len(m.bitstream)) + 64<<10
	if m.alpha != nil {
		memory += lossless + size + 4*size // alpha decoder, its result, all as RGBA
	}
	return memory
}

// read notes a chunk of a frame. The first of each kind counts.
func (m *webpImage) read(name string, chunk []byte) {
	switch {
	case m.bitstream != nil:
	case name == "ALPH":
		m.alpha = chunk
	case name == "VP8 " && len(chunk) >= 10:
		m.bitstream = chunk
		m.width = int(binary.LittleEndian.Uint16(chunk[6:]) & 0x3fff)
		m.height = int(binary.LittleEndian.Uint16(chunk[8:]) & 0x3fff)
	case name == "VP8L" && len(chunk) >= 5:
		m.bitstream, m.lossless = chunk, true
		bits := binary.LittleEndian.Uint32(chunk[1:])
		m.width, m.height = 1+int(bits&0x3fff), 1+int(bits>>14&0x3fff)
	}
}

// decodeWebP decodes a WebP, or the first frame of an animated one that shows something.
func decodeWebP(ctx context.Context, h *header) (raster, error) {
	w := &h.webp
	if len(w.frames) == 1 {
		m, err := webp.Decode(w.images[0].file(ctx))
		if err != nil {
			return raster{}, corrupt("%w", err)
		}
		r := w.frames[0].rect
		if m.Bounds().Size() != r.Size() {
			return raster{}, corrupt("WebP frame of %v instead of %v", m.Bounds().Size(), r.Size())
		}
		if r.Dx() == h.width && r.Dy() == h.height {
			return rasterOf(m), nil
		}
		return compose(m, r.Min, h.width, h.height), nil
	}
	canvas := newCanvas(h.width, h.height)
	a := animation{canvas: canvas, frames: w.frames}
	a.draw = func(i int) error {
		m, err := webp.Decode(w.images[i].file(ctx))
		if err != nil {
			return corrupt("%w", err)
		}
		src := compose(m, image.Point{}, m.Bounds().Dx(), m.Bounds().Dy())
		canvas.drawAt(src.planes[0], w.frames[i].rect.Min, w.frames[i].replace)
		return nil
	}
	return raster{kind: rgba, planes: [3]plane{canvas}}, a.firstVisible()
}

// file returns the frame as a WebP file of its own. The decoder of golang.org/x/image expects an extended header if there
// is alpha and none otherwise, and it does not read animations.
func (m *webpImage) file(ctx context.Context) io.Reader {
	var parts [][]byte
	add := func(name string, chunk []byte) {
		head := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(chunk)))
		parts = append(parts, head, chunk, make([]byte, len(chunk)&1))
	}
	if m.lossless {
		add("VP8L", m.bitstream)
	} else {
		if m.alpha != nil {
			const hasAlpha = 1 << 4
			r, b := m.width-1, m.height-1
			add("VP8X", []byte{hasAlpha, 0, 0, 0, byte(r), byte(r >> 8), byte(r >> 16), byte(b), byte(b >> 8), byte(b >> 16)})
			add("ALPH", m.alpha)
		}
		add("VP8 ", m.bitstream)
	}
	size := len("WEBP")
	for _, p := range parts {
		size += len(p)
	}
	riff := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(size))
	readers := []io.Reader{newReader(ctx, append(riff, "WEBP"...))}
	for _, p := range parts {
		readers = append(readers, newReader(ctx, p))
	}
	return io.MultiReader(readers...)
}

// videoRaster returns the decoded image of a lossy WebP, which has video levels, as a raster.
func videoRaster(m *image.YCbCr) raster {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	src := raster{kind: ycc, video: true, planes: [3]plane{newPlane(m.Y, m.YStride, w, h, 1)}}
	for i, pix := range [][]byte{m.Cb, m.Cr} {
		p := newPlane(pix, m.CStride, (w+1)/2, (h+1)/2, 1)
		p.pitchX, p.pitchY = 2, 2
		src.planes[1+i] = p
	}
	return src
}

// drawVideo draws the decoded image of a lossy WebP to a part of a canvas. alpha may be nil.
func drawVideo(canvas *image.RGBA, frame image.Rectangle, m *image.YCbCr, alpha []byte, alphaStride int) {
	width := frame.Dx()
	var line [3]plane
	for i := range line {
		line[i].pix = make([]byte, width)
	}
	for y := range frame.Dy() {
		copy(line[0].pix, m.Y[y*m.YStride:])
		for x := range width {
			c := y/2*m.CStride + x/2
			line[1].pix[x], line[2].pix[x] = m.Cb[c], m.Cr[c]
		}
		stretch(line)
		row := canvas.Pix[canvas.PixOffset(frame.Min.X, frame.Min.Y+y):][:4*width]
		toRGB(row, line)
		if alpha == nil {
			continue
		}
		for x, a := range alpha[y*alphaStride:][:width] {
			row[4*x+3] = a
		}
		multiply(row)
	}
}

package render

import (
	"context"
	"encoding/binary"
	"image"
	"io"
)

// A webpHeader holds the chunks of the first frame.
type webpHeader struct {
	left, top     int // position of the frame on the canvas
	width, height int // of the frame
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
		return corrupt("WebP without a frame")
	}
	if h.width == 0 {
		h.width, h.height = w.width, w.height
	}
	if w.left+w.width > h.width || w.top+w.height > h.height {
		return corrupt("WebP frame outside its canvas")
	}
	frame := int64(w.width) * int64(w.height)
	tiles := int64(w.width+3) / 4 * (int64(w.height+3) / 4)
	// The lossless decoder needs twice the memory of the picture if it has a palette. It keeps up to 2600 groups of
	// Huffman tables, but no more than there are tiles or than the data can describe.
	lossless := 8*frame + 4*tiles + min(2600*24<<10, tiles*24<<10, 1000*int64(len(w.bitstream)+len(w.alpha))) + 256<<10
	if w.lossless {
		h.memory = lossless
	} else {
		blocks := int64(w.width+15) / 16 * (int64(w.height+15) / 16)
		h.memory = blocks*(384+64) + int64(len(w.bitstream)) + 64<<10
		if w.alpha != nil {
			h.memory += lossless + frame + 4*frame // alpha decoder, its result, all as RGBA
		}
	}
	if w.width != h.width || w.height != h.height {
		h.memory += 4*h.pixels() + 4*frame
	}
	return nil
}

// read notes a chunk of a frame. The first of each kind counts.
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

// file returns the frame as a WebP file of its own. The decoder of golang.org/x/image expects an extended header if there
// is alpha and none otherwise, and it does not read animations.
func (w *webpHeader) file(ctx context.Context) io.Reader {
	var parts [][]byte
	add := func(name string, chunk []byte) {
		head := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(chunk)))
		parts = append(parts, head, chunk, make([]byte, len(chunk)&1))
	}
	if w.lossless {
		add("VP8L", w.bitstream)
	} else {
		if w.alpha != nil {
			const hasAlpha = 1 << 4
			r, b := w.width-1, w.height-1
			add("VP8X", []byte{hasAlpha, 0, 0, 0, byte(r), byte(r >> 8), byte(r >> 16), byte(b), byte(b >> 8), byte(b >> 16)})
			add("ALPH", w.alpha)
		}
		add("VP8 ", w.bitstream)
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
	src := raster{kind: ycc, video: true, planes: [3]plane{whole(m.Y, m.YStride, w, h, 1)}}
	for i, pix := range [][]byte{m.Cb, m.Cr} {
		p := whole(pix, m.CStride, (w+1)/2, (h+1)/2, 1)
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

package render

import (
	"context"
	"encoding/binary"
	"image"
	"io"

	"github.com/thumbcache/thumbcache/internal/lzw"
)

// A gifHeader holds the frames of a GIF, at most maxFrames.
type gifHeader struct {
	frames []frame
	images []gifImage
}

// A gifImage is the image of one frame. Its slices are parts of the file.
type gifImage struct {
	palette     []byte
	transparent int // palette index, or -1
	interlaced  bool
	codeSize    byte
	data        []byte // the file from the first block of LZW data
}

func (h *header) readGIF(data []byte) error {
	if len(data) < 13 {
		return corrupt("short GIF")
	}
	h.width, h.height = int(binary.LittleEndian.Uint16(data[6:])), int(binary.LittleEndian.Uint16(data[8:]))
	palette, rest := gifPalette(data[10], data[13:])
	g := &h.gif
	g.read(rest, palette)
	if len(g.frames) == 0 {
		return corrupt("GIF without an image")
	}
	// Like browsers, enlarge the canvas if the first frame does not fit. Later frames are clipped.
	first := g.frames[0].rect.Max
	h.width, h.height = max(h.width, first.X), max(h.height, first.Y)
	h.memory = 4*h.pixels() + 256<<10 // RGBA, LZW state and a row of at most 64 KiB
	for _, f := range g.frames {
		if f.dispose == disposePrevious && len(g.frames) > 1 {
			h.memory += 4*h.pixels() + 64<<10 // a copy of the canvas
			break
		}
	}
	return nil
}

// gifPalette splits the palette off data that the packed field of a descriptor announces. It is nil if there is none.
func gifPalette(packed byte, data []byte) (palette, rest []byte) {
	if packed&0x80 == 0 {
		return nil, data
	}
	n := min(3<<(1+packed&7), len(data))
	return data[:n], data[n:]
}

// read reads the blocks behind the header and notes the frames.
func (g *gifHeader) read(data, palette []byte) {
	const extension, imageDescriptor, graphicControl = 0x21, 0x2c, 0xf9
	next := frame{}
	transparent := -1
	for len(data) > 0 && len(g.frames) < maxFrames {
		switch data[0] {
		case extension:
			if len(data) < 3 {
				return
			}
			if data[1] == graphicControl && data[2] >= 4 && len(data) >= 8 {
				next.dispose, transparent = gifControl(data[3:])
			}
			data = skipGIFBlocks(data[2:])
		case imageDescriptor:
			if len(data) < 10 {
				return
			}
			var v [4]int // left, top, width, height
			for i := range v {
				v[i] = int(binary.LittleEndian.Uint16(data[1+2*i:]))
			}
			next.rect = image.Rect(v[0], v[1], v[0]+v[2], v[1]+v[3])
			packed := data[9]
			local, rest := gifPalette(packed, data[10:])
			if local == nil {
				local = palette
			}
			if len(rest) < 2 {
				return
			}
			m := gifImage{palette: local, transparent: transparent, interlaced: packed&0x40 != 0, codeSize: rest[0], data: rest[1:]}
			if !next.rect.Empty() {
				g.frames, g.images = append(g.frames, next), append(g.images, m)
			}
			next, transparent = frame{}, -1
			data = skipGIFBlocks(rest[1:])
		default:
			return // trailer, or garbage
		}
	}
}

// gifControl reads the data of a graphic control extension.
func gifControl(data []byte) (d disposal, transparent int) {
	switch data[0] >> 2 & 7 {
	case 2:
		d = disposeClear
	case 3, 4: // some encoders write 4
		d = disposePrevious
	}
	if data[0]&1 == 0 {
		return d, -1
	}
	return d, int(data[3])
}

// skipGIFBlocks returns data behind a sequence of blocks and its terminator.
func skipGIFBlocks(data []byte) []byte {
	for len(data) > 0 {
		n := int(data[0])
		if n+1 >= len(data) {
			return nil
		}
		data = data[1+n:]
		if n == 0 {
			return data
		}
	}
	return nil
}

// A gifData reads the concatenated blocks of an image. It checks ctx before every block.
type gifData struct {
	ctx   context.Context
	data  []byte // from the next block
	block []byte // not yet read
}

func (r *gifData) Read(p []byte) (int, error) {
	if len(r.block) == 0 {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if len(r.data) < 2 || r.data[0] == 0 {
			return 0, io.EOF
		}
		n := min(1+int(r.data[0]), len(r.data))
		r.block, r.data = r.data[1:n], r.data[n:]
	}
	n := copy(p, r.block)
	r.block = r.block[n:]
	return n, nil
}

// decodeGIF decodes the first frame of a GIF that shows something.
func decodeGIF(ctx context.Context, h *header) (raster, error) {
	canvas := newCanvas(h.width, h.height)
	var z lzw.Reader
	a := animation{canvas: canvas, frames: h.gif.frames}
	a.draw = func(i int) error {
		return h.gif.images[i].draw(ctx, &z, canvas, h.gif.frames[i].rect)
	}
	err := a.firstVisible()
	if ctxErr := ctx.Err(); ctxErr != nil {
		err = ctxErr
	}
	return raster{kind: rgba, planes: [3]plane{canvas}}, err
}

// draw draws the image to the rectangle r of the canvas, of which only a part may be on the canvas. If the file ends early,
// it draws the rows that are in the file. It fails if those are too few to recognise the picture.
func (m *gifImage) draw(ctx context.Context, z *lzw.Reader, canvas plane, r image.Rectangle) error {
	if m.codeSize < 2 || m.codeSize > 8 {
		return corrupt("GIF with a code size of %d", m.codeSize)
	}
	if len(m.palette) < 3 {
		return corrupt("GIF without a palette")
	}
	var table [256][4]byte // an index beyond the palette is transparent
	for i := range min(len(m.palette)/3, len(table)) {
		if i != m.transparent {
			table[i] = [4]byte{m.palette[3*i], m.palette[3*i+1], m.palette[3*i+2], 255}
		}
	}
	z.Reset(&gifData{ctx: ctx, data: m.data}, lzw.GIF, int(m.codeSize))
	row := make([]byte, r.Dx())
	visible := r.Intersect(image.Rect(0, 0, canvas.width, canvas.height))
	for i := range r.Dy() {
		if _, err := io.ReadFull(z, row); err != nil {
			if !m.interlaced && i < (r.Dy()+1)/2 || i < (r.Dy()+7)/8 {
				return corrupt("%d rows of %d: %w", i, r.Dy(), err)
			}
			if m.interlaced {
				fillGIFRows(canvas, r, i)
			}
			return ctx.Err()
		}
		y := r.Min.Y + i
		if m.interlaced {
			y = r.Min.Y + gifRow(i, r.Dy())
		}
		if y >= visible.Max.Y {
			continue
		}
		to := canvas.pix[y*canvas.stride+4*visible.Min.X:]
		for x, v := range row[:visible.Dx()] {
			if c := table[v]; c[3] != 0 {
				*(*[4]byte)(to[4*x:]) = c
			}
		}
	}
	return nil
}

// gifRow returns the row of an interlaced image of the given height that is stored as number i. The passes have every
// eighth row from 0, every eighth from 4, every fourth from 2, and every second from 1.
func gifRow(i, height int) int {
	for _, pass := range [...]struct{ first, step int }{{0, 8}, {4, 8}, {2, 4}, {1, 2}} {
		n := (height - pass.first + pass.step - 1) / pass.step
		if n <= 0 {
			continue
		}
		if i < n {
			return pass.first + i*pass.step
		}
		i -= n
	}
	return height - 1
}

// fillGIFRows fills the missing rows of an interlaced image, of which only the first n stored rows are in the file. Each
// becomes a copy of the nearest row above that a coarser pass has.
func fillGIFRows(canvas plane, r image.Rectangle, n int) {
	stored := make([]bool, r.Dy())
	for i := range n {
		stored[gifRow(i, r.Dy())] = true
	}
	visible := r.Intersect(image.Rect(0, 0, canvas.width, canvas.height))
	row := func(y int) []byte {
		return canvas.pix[(r.Min.Y+y)*canvas.stride+4*visible.Min.X:][:4*visible.Dx()]
	}
	for y := range visible.Dy() {
		if coarser := y &^ (y & -y); !stored[y] && y&7 != 0 {
			copy(row(y), row(coarser))
		}
	}
}

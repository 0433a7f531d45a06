package pngdec

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/thumbcache/thumbcache/internal/reduce"
)

func makeChunk(name string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// A testPNG describes a PNG to be made by a test.
type testPNG struct {
	width, height int
	depth, color  byte
	interlaced    bool
	palette       []byte
	transparency  []byte
	raw           []byte // rows with filter types, of all passes
	level         int    // of compression
	chunk         int    // size of the data chunks; 0 means one chunk
}

// encode returns the file, and the part of it from the first data chunk.
func (m testPNG) encode() []byte {
	ihdr := binary.BigEndian.AppendUint32(nil, uint32(m.width))
	ihdr = binary.BigEndian.AppendUint32(ihdr, uint32(m.height))
	ihdr = append(ihdr, m.depth, m.color, 0, 0, 0)
	if m.interlaced {
		ihdr[12] = 1
	}
	file := append([]byte(Signature), makeChunk("IHDR", ihdr)...)
	if m.palette != nil {
		file = append(file, makeChunk("PLTE", m.palette)...)
	}
	if m.transparency != nil {
		file = append(file, makeChunk("tRNS", m.transparency)...)
	}
	data := deflated(m.raw, m.level)
	for m.chunk > 0 && len(data) > m.chunk {
		file = append(file, makeChunk("IDAT", data[:m.chunk])...)
		data = data[m.chunk:]
	}
	file = append(file, makeChunk("IDAT", data)...)
	return append(file, makeChunk("IEND", nil)...)
}

func deflated(data []byte, level int) []byte {
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, level)
	if err != nil {
		panic(err)
	}
	z.Write(data) // a Buffer takes everything
	z.Close()
	return b.Bytes()
}

// open reads the header of a file. data is the file from the first data chunk.
func open(t testing.TB, file []byte) (h Header, data []byte) {
	t.Helper()
	h, data, err := openFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return h, data
}

func openFile(file []byte) (h Header, data []byte, err error) {
	for rest := file[len(Signature):]; ; {
		c, next, ok := NextChunk(rest, true)
		if !ok {
			return h, nil, io.ErrUnexpectedEOF
		}
		switch c.Name() {
		case "IHDR":
			if h, err = ReadHeader(c); err != nil {
				return h, nil, err
			}
		case "PLTE":
			h.Palette = c.Data
		case "tRNS":
			h.SetTransparency(c.Data)
		case "IDAT":
			return h, rest, nil
		}
		rest = next
	}
}

func decode(t testing.TB, file []byte, o Options) (m Image) {
	t.Helper()
	h, data := open(t, file)
	if err := Decode(context.Background(), &h, data, o, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// rgba returns the pixels of a decoded picture as RGBA.
func (m *Image) rgba() []byte {
	if m.Channels == 4 {
		return m.Pix
	}
	var pix []byte
	for _, v := range m.Pix {
		pix = append(pix, v, v, v, 255)
	}
	return pix
}

// reference returns what image/png decodes, as premultiplied RGBA.
func reference(t testing.TB, file []byte) []byte {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return premultiplied(m)
}

func premultiplied(m image.Image) (pix []byte) {
	b := m.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			var n color.NRGBA
			switch c := m.At(x, y).(type) {
			case color.NRGBA64:
				n = color.NRGBA{byte(c.R >> 8), byte(c.G >> 8), byte(c.B >> 8), byte(c.A >> 8)}
			case color.Gray16:
				n = color.NRGBA{byte(c.Y >> 8), byte(c.Y >> 8), byte(c.Y >> 8), 255}
			default:
				n = color.NRGBAModel.Convert(c).(color.NRGBA)
			}
			p := []byte{n.R, n.G, n.B, n.A}
			reduce.Premultiply(p)
			pix = append(pix, p...)
		}
	}
	return pix
}

// reduced returns the means of n x n pixels of RGBA.
func reduced(pix []byte, width, height, n int) (small []byte) {
	for y := 0; y < height; y += n {
		for x := 0; x < width; x += n {
			var sums [4]int
			count := 0
			for j := y; j < min(y+n, height); j++ {
				for i := x; i < min(x+n, width); i++ {
					for c := range sums {
						sums[c] += int(pix[4*(j*width+i)+c])
					}
					count++
				}
			}
			for _, s := range sums {
				small = append(small, byte((s+count/2)/count))
			}
		}
	}
	return small
}

// differ returns the largest difference of two slices of samples, or 256 if their lengths differ.
func differ(a, b []byte) (most int) {
	if len(a) != len(b) {
		return 256
	}
	for i := range a {
		most = max(most, int(a[i])-int(b[i]), int(b[i])-int(a[i]))
	}
	return most
}

// rows returns rows of all passes, made of samples from next, with random filters. The samples are not what the picture
// shows, since the filters are not applied to them.
func (m testPNG) rows(r *rand.Rand, next func() byte) (raw []byte) {
	h := Header{Depth: m.depth, Color: m.color}
	passes := adam7[:]
	if !m.interlaced {
		passes = []pass{{0, 0, 1, 1}}
	}
	for _, a := range passes {
		columns, rows := a.size(m.width, m.height)
		for range rows {
			raw = append(raw, byte(r.IntN(5)))
			for range h.rowBytes(columns) {
				raw = append(raw, next())
			}
		}
	}
	return raw
}

// series returns the size of a series of tests: the full one with THUMBCACHE_FULL=1.
func series(short, full int) int {
	if os.Getenv("THUMBCACHE_FULL") != "" {
		return full
	}
	return short
}

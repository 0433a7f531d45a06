package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"testing"

	"golang.org/x/image/bmp"
)

// A bitmap describes a BMP or an icon's image to be made by a test. It shows the four quarters.
type bitmap struct {
	width, height int
	header        int // size of the information header
	bits          int
	compression   uint32
	masks         []uint32
	alpha         byte // of pixels that have some
	topDown       bool
	colours       uint32 // palette entries that the header tells; the palette has four or, if that is less, 1<<bits
	pixels        []byte // instead of the quarters
}

// dib returns the information header, the palette and the pixels, and the offset of the pixels.
func (b bitmap) dib() (data []byte, offset int) {
	h := b.height
	if b.topDown {
		h = -h
	}
	info := make([]byte, b.header)
	binary.LittleEndian.PutUint32(info, uint32(b.header))
	if b.header == dibCore {
		binary.LittleEndian.PutUint16(info[4:], uint16(b.width))
		binary.LittleEndian.PutUint16(info[6:], uint16(h))
		binary.LittleEndian.PutUint16(info[8:], 1)
		binary.LittleEndian.PutUint16(info[10:], uint16(b.bits))
	} else {
		full := make([]byte, 124)
		binary.LittleEndian.PutUint32(full, uint32(b.header))
		binary.LittleEndian.PutUint32(full[4:], uint32(b.width))
		binary.LittleEndian.PutUint32(full[8:], uint32(h))
		binary.LittleEndian.PutUint16(full[12:], 1)
		binary.LittleEndian.PutUint16(full[14:], uint16(b.bits))
		binary.LittleEndian.PutUint32(full[16:], b.compression)
		binary.LittleEndian.PutUint32(full[32:], b.colours)
		if b.header >= dibInfoRGB && b.header != dibOS2Max {
			for i, m := range b.masks {
				binary.LittleEndian.PutUint32(full[40+4*i:], m)
			}
		}
		copy(info, full)
	}
	data = info
	if b.header < dibInfoRGB {
		for _, m := range b.masks {
			data = binary.LittleEndian.AppendUint32(data, m)
		}
	}
	if b.bits > 0 && b.bits <= 8 {
		for _, c := range quarterColours[:min(4, 1<<b.bits)] {
			data = append(data, c.B, c.G, c.R)
			if b.header != dibCore {
				data = append(data, 0)
			}
		}
	}
	pixels := b.pixels
	if pixels == nil {
		pixels = b.encode()
	}
	return append(data, pixels...), len(data)
}

// quarter returns the number of the quarter of a pixel. With one bit there are two halves.
func (b bitmap) quarter(x, y int) uint32 {
	q := uint32(0)
	if x >= b.width/2 {
		q = 1
	}
	if y >= b.height/2 && b.bits != 1 {
		q += 2
	}
	return q
}

// encode returns the pixels of the quarters.
func (b bitmap) encode() (pixels []byte) {
	for row := range b.height {
		y := b.height - 1 - row
		if b.topDown {
			y = row
		}
		line := make([]byte, (b.width*b.bits+31)/32*4)
		for x := range b.width {
			q := b.quarter(x, y)
			c := quarterColours[q]
			switch {
			case b.bits == 24:
				copy(line[3*x:], []byte{c.B, c.G, c.R})
			case b.bits <= 8:
				line[x*b.bits/8] |= byte(q) << (8 - b.bits - x*b.bits%8)
			default:
				masks := b.masks
				if masks == nil && b.bits == 16 {
					masks = []uint32{0x7c00, 0x3e0, 0x1f}
				} else if masks == nil {
					masks = []uint32{0xff0000, 0xff00, 0xff, 0xff000000}
				}
				var v uint32
				for i, m := range masks {
					sample := uint64([]byte{c.R, c.G, c.B, b.alpha}[i])
					v |= uint32(sample*uint64(m)/255) & m
				}
				if b.bits == 16 {
					binary.LittleEndian.PutUint16(line[2*x:], uint16(v))
				} else {
					binary.LittleEndian.PutUint32(line[4*x:], v)
				}
			}
		}
		pixels = append(pixels, line...)
	}
	return pixels
}

func (b bitmap) bmp() []byte {
	data, offset := b.dib()
	file := []byte("BM\x00\x00\x00\x00\x00\x00\x00\x00")
	file = binary.LittleEndian.AppendUint32(file, uint32(14+offset))
	return append(file, data...)
}

// checkQuarters makes thumbnails of a picture that shows the quarters and checks their colours.
func checkQuarters(t *testing.T, data []byte, alpha byte, tolerance int) {
	t.Helper()
	for _, o := range []Options{{PNG: true}, {Quality: 95}, {Size: 30, PNG: true}} {
		img, err := Make(context.Background(), data, o)
		if err != nil {
			t.Fatal(err)
		}
		m := decodeThumb(t, img)
		for i, want := range quarterColours {
			want.A = alpha
			tolerance := tolerance
			if !o.PNG {
				tolerance += 8 // chroma bleeds
				p := []byte{want.R, want.G, want.B, alpha}
				onWhite(p)
				want = color.NRGBA{p[0], p[1], p[2], 255}
			}
			x, y := img.Width/4+i%2*(img.Width/2), img.Height/4+i/2*(img.Height/2)
			near(t, fmt.Sprintf("quarter %d, %+v", i, o), m.At(x, y), want, tolerance)
		}
	}
}

func TestBMP(t *testing.T) {
	// Quarters of 40 x 30 from the bottom up, in run-length encodings.
	row := func(left, right string) []byte { return []byte(left + right + "\x00\x00") }
	rle := func(bottom, top []byte) []byte {
		return append(append(bytes.Repeat(bottom, 15), bytes.Repeat(top, 15)...), 0, 1)
	}
	raw := func(left, right byte) string { // 20 pixels each of RLE8, not encoded
		return "\x00\x28" + string(bytes.Repeat([]byte{left}, 20)) + string(bytes.Repeat([]byte{right}, 20))
	}
	rgb := func(i int) string {
		c := quarterColours[i]
		return "\x14" + string([]byte{c.B, c.G, c.R})
	}
	embeddedJPEG, embeddedPNG := encodeAs(t, "jpeg", quarters(40, 30)), encodeAs(t, "png", quarters(40, 30))
	for name, test := range map[string]struct {
		b         bitmap
		alpha     byte
		tolerance int
	}{
		"OS/2 1.x, 4 bits":             {bitmap{header: 12, bits: 4}, 255, 4},
		"OS/2 1.x, 24 bits":            {bitmap{header: 12, bits: 24}, 255, 4},
		"OS/2 2.x, 16 bytes":           {bitmap{header: 16, bits: 8}, 255, 4},
		"OS/2 2.x, 64 bytes":           {bitmap{header: 64, bits: 8}, 255, 4},
		"OS/2 2.x, RLE24":              {bitmap{header: 64, bits: 24, compression: 4, pixels: rle(row(rgb(2), rgb(3)), row(rgb(0), rgb(1)))}, 255, 4},
		"2 bits":                       {bitmap{header: 40, bits: 2}, 255, 4},
		"4 bits":                       {bitmap{header: 40, bits: 4}, 255, 4},
		"8 bits":                       {bitmap{header: 40, bits: 8}, 255, 4},
		"8 bits, short palette":        {bitmap{header: 40, bits: 8, colours: 256}, 255, 4},
		"8 bits, exact palette":        {bitmap{header: 40, bits: 8, colours: 4}, 255, 4},
		"8 bits, top down":             {bitmap{header: 40, bits: 8, topDown: true}, 255, 4},
		"16 bits":                      {bitmap{header: 40, bits: 16}, 255, 9},
		"16 bits, 5-6-5":               {bitmap{header: 40, bits: 16, compression: 3, masks: []uint32{0xf800, 0x7e0, 0x1f}}, 255, 9},
		"16 bits, 4-4-4-4":             {bitmap{header: 40, bits: 16, compression: 6, masks: []uint32{0xf00, 0xf0, 0xf, 0xf000}, alpha: 255}, 255, 18},
		"16 bits, 1-5-5-5, V4":         {bitmap{header: 108, bits: 16, compression: 3, masks: []uint32{0x7c00, 0x3e0, 0x1f, 0x8000}, alpha: 255}, 255, 9},
		"16 bits, 1-5-5-5, no alpha":   {bitmap{header: 108, bits: 16, compression: 3, masks: []uint32{0x7c00, 0x3e0, 0x1f, 0x8000}}, 255, 9},
		"24 bits":                      {bitmap{header: 40, bits: 24}, 255, 4},
		"24 bits, top down":            {bitmap{header: 40, bits: 24, topDown: true}, 255, 4},
		"32 bits":                      {bitmap{header: 40, bits: 32}, 255, 4},
		"32 bits, V5, fourth byte":     {bitmap{header: 124, bits: 32, alpha: 100}, 255, 4},
		"32 bits, masks, V5, alpha":    {bitmap{header: 124, bits: 32, compression: 3, masks: []uint32{0xff0000, 0xff00, 0xff, 0xff000000}, alpha: 128}, 128, 4},
		"32 bits, masks, V5, no alpha": {bitmap{header: 124, bits: 32, compression: 3, masks: []uint32{0xff0000, 0xff00, 0xff, 0xff000000}}, 255, 4},
		"32 bits, odd masks":           {bitmap{header: 40, bits: 32, compression: 3, masks: []uint32{0x3ff, 0xffc00, 0x3ff00000}}, 255, 4},
		"32 bits, 52 bytes":            {bitmap{header: 52, bits: 32, compression: 3, masks: []uint32{0xff, 0xff00, 0xff0000}}, 255, 4},
		"32 bits, 56 bytes, alpha":     {bitmap{header: 56, bits: 32, compression: 3, masks: []uint32{0xff000000, 0xff0000, 0xff00, 0xff}, alpha: 128}, 128, 4},
		"RLE8":                         {bitmap{header: 40, bits: 8, compression: 1, pixels: rle(row("\x14\x02", "\x14\x03"), row("\x14\x00", "\x14\x01"))}, 255, 4},
		"RLE8, not encoded":            {bitmap{header: 40, bits: 8, compression: 1, pixels: rle(row(raw(2, 3), ""), row(raw(0, 1), ""))}, 255, 4},
		"RLE8, no end of bitmap":       {bitmap{header: 40, bits: 8, compression: 1, pixels: rle(row("\x14\x02", "\xff\x03"), row("\x14\x00", "\xff\x01"))[:179]}, 255, 4},
		"RLE4":                         {bitmap{header: 40, bits: 4, compression: 2, pixels: rle(row("\x14\x22", "\x14\x33"), row("\x14\x00", "\x14\x11"))}, 255, 4},
		"RLE4, not encoded":            {bitmap{header: 40, bits: 4, compression: 2, pixels: rle(row("\x14\x22", "\x00\x05\x33\x33\x30\x00\x0f\x33"), row("\x14\x00", "\x00\x05\x11\x11\x10\x00\x0f\x11"))}, 255, 4},
		"JPEG inside":                  {bitmap{header: 40, bits: 0, compression: 4, pixels: embeddedJPEG}, 255, 6},
		"PNG inside":                   {bitmap{header: 124, bits: 0, compression: 5, pixels: embeddedPNG}, 255, 4},
	} {
		t.Run(name, func(t *testing.T) {
			test.b.width, test.b.height = 40, 30
			checkQuarters(t, test.b.bmp(), test.alpha, test.tolerance)
		})
	}
}

func TestBMPOfOneBit(t *testing.T) {
	img, err := Make(context.Background(), bitmap{width: 45, height: 30, header: 40, bits: 1}.bmp(), Options{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	m := decodeThumb(t, img)
	near(t, "left", m.At(10, 15), quarterColours[0], 0)
	near(t, "right", m.At(40, 15), quarterColours[1], 0)
}

// Some programs write the offset of the palette instead of that of the pixels.
func TestBMPOffsetOfPalette(t *testing.T) {
	data := bitmap{width: 40, height: 30, header: 40, bits: 8, colours: 4}.bmp()
	binary.LittleEndian.PutUint32(data[10:], 14+40)
	checkQuarters(t, data, 255, 4)
}

// The colour profile in a BMP is applied.
func TestBMPProfile(t *testing.T) {
	b := bitmap{width: 8, height: 8, header: 124, bits: 24, pixels: bytes.Repeat([]byte{35, 51, 234}, 64)}
	data := b.bmp()
	icc := displayP3()
	copy(data[14+56:], "DEBM")
	binary.LittleEndian.PutUint32(data[14+112:], uint32(len(data)-14))
	binary.LittleEndian.PutUint32(data[14+116:], uint32(len(icc)))
	data = append(data, icc...)
	for _, o := range []Options{{PNG: true}, {Quality: 95}} {
		img, err := Make(context.Background(), data, o)
		if err != nil {
			t.Fatal(err)
		}
		near(t, fmt.Sprintf("%+v", o), decodeThumb(t, img).At(4, 4), color.NRGBA{255, 0, 0, 255}, 4)
	}
}

// An OS/2 bitmap array is shown by its first bitmap, whose offset counts from the start of the file.
func TestBMPArray(t *testing.T) {
	data := bitmap{width: 40, height: 30, header: 40, bits: 8}.bmp()
	binary.LittleEndian.PutUint32(data[10:], binary.LittleEndian.Uint32(data[10:])+14)
	checkQuarters(t, append([]byte("BA\x28\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), data...), 255, 4)
}

// A move in RLE leaves transparent pixels.
func TestRLEMove(t *testing.T) {
	b := bitmap{width: 4, height: 3, header: 40, bits: 8, compression: 1, pixels: []byte("\x00\x02\x01\x01\x02\x03\x00\x01")}
	src, _ := decodeRaster(t, b.bmp())
	c := quarterColours[3]
	want := make([]byte, 4*4*3)
	for x := 1; x < 3; x++ {
		copy(want[4*4+4*x:], []byte{c.R, c.G, c.B, 255})
	}
	if got := src.planes[0].pix; !bytes.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A BMP that ends early shows the rows that there are. The others are transparent.
func TestCutBMP(t *testing.T) {
	for _, bits := range []int{4, 8, 16, 24, 32} {
		b := bitmap{width: 40, height: 32, header: 40, bits: bits}
		data := b.bmp()
		_, offset := b.dib()
		offset += 14
		size := len(data) - offset
		img, err := Make(context.Background(), data[:offset+size*3/4], Options{PNG: true})
		if err != nil {
			t.Fatal(err)
		}
		m := decodeThumb(t, img)
		near(t, "top row", m.At(0, 0), color.NRGBA{}, 0)
		near(t, "row 7", m.At(0, 7), color.NRGBA{}, 0)
		near(t, "row 8", m.At(0, 8), quarterColours[0], 8)
		near(t, "bottom row", m.At(39, 31), quarterColours[3], 8)
		if _, err := Make(context.Background(), data[:offset+size/16], Options{PNG: true}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bits: got %v, want ErrCorrupt", bits, err)
		}
	}
}

// FuzzBMP compares with golang.org/x/image/bmp where that decodes a file.
func FuzzBMP(f *testing.F) {
	for _, b := range []bitmap{{header: 40, bits: 4}, {header: 12, bits: 1}, {header: 40, bits: 24}, {header: 124, bits: 32, alpha: 9},
		{header: 40, bits: 8, compression: 1, pixels: []byte("\x05\x01\x00\x02\x01\x01\x00\x03\x01\x02\x03\x00\x00\x01")}, {header: 56, bits: 16, compression: 3, masks: []uint32{0xf00, 0xf0, 0xf, 0xf000}}} {
		b.width, b.height = 9, 7
		f.Add(b.bmp())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parse(data)
		if err != nil || h.contentType != typeBMP || h.memory > 4<<20 {
			return
		}
		src, err := decodeDIB(context.Background(), &h.dib)
		m, oracleErr := bmp.Decode(bytes.NewReader(data))
		if oracleErr != nil {
			return
		}
		if err != nil {
			t.Fatalf("golang.org/x/image/bmp decodes it, decodeDIB says %v", err)
		}
		if m, ok := m.(*image.NRGBA); ok { // it takes the reserved byte for alpha
			for i := 3; i < len(m.Pix); i += 4 {
				if m.Pix[i] != 255 {
					return
				}
			}
		}
		if !bytes.Equal(rasterRGBA(src), imageRGBA(m)) {
			t.Error("pixels differ from those of golang.org/x/image/bmp")
		}
	})
}

package render

import (
	"bytes"
	"compress/lzw"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"math/rand/v2"
	"testing"
)

// The first frame of an animation can be smaller than the canvas.
func TestSmallGIFFrame(t *testing.T) {
	frame := image.NewPaletted(image.Rect(20, 30, 60, 60), color.Palette{color.NRGBA{200, 0, 0, 255}, color.Transparent})
	for x := 20; x < 40; x++ {
		for y := 30; y < 60; y++ {
			frame.SetColorIndex(x, y, 1)
		}
	}
	var b bytes.Buffer
	err := gif.EncodeAll(&b, &gif.GIF{
		Image: []*image.Paletted{frame, frame}, Delay: []int{1, 1},
		Config: image.Config{Width: 100, Height: 80},
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := Make(context.Background(), b.Bytes(), Options{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	got := decodeThumb(t, img)
	near(t, "outside", got.At(80, 70), color.NRGBA{}, 0)
	near(t, "clear", got.At(30, 45), color.NRGBA{}, 0)
	near(t, "red", got.At(50, 45), color.NRGBA{200, 0, 0, 255}, 0)
}

// A gifFrame is a frame of a GIF to be made by a test. It has one byte per pixel.
type gifFrame struct {
	rect        image.Rectangle
	indices     []byte
	dispose     byte
	transparent int // palette index, or -1
	interlaced  bool
}

// buildGIF returns a GIF with a palette of black, white, red and green.
func buildGIF(width, height int, frames ...gifFrame) []byte {
	data := []byte("GIF89a")
	data = binary.LittleEndian.AppendUint16(data, uint16(width))
	data = binary.LittleEndian.AppendUint16(data, uint16(height))
	data = append(data, 0x81, 0, 0, 0, 0, 0, 255, 255, 255, 200, 0, 0, 0, 200, 0)
	for _, f := range frames {
		flags, transparent := f.dispose<<2, byte(0)
		if f.transparent >= 0 {
			flags, transparent = flags|1, byte(f.transparent)
		}
		data = append(data, 0x21, 0xf9, 4, flags, 10, 0, transparent, 0, 0x2c)
		for _, v := range []int{f.rect.Min.X, f.rect.Min.Y, f.rect.Dx(), f.rect.Dy()} {
			data = binary.LittleEndian.AppendUint16(data, uint16(v))
		}
		packed := byte(0)
		if f.interlaced {
			packed = 0x40
		}
		data = append(data, packed, 2)
		var b bytes.Buffer
		z := lzw.NewWriter(&b, lzw.LSB, 2)
		for i := range f.rect.Dy() {
			if f.interlaced {
				i = gifRow(i, f.rect.Dy())
			}
			z.Write(f.indices[i*f.rect.Dx():][:f.rect.Dx()])
		}
		z.Close()
		for block := b.Bytes(); len(block) > 0; {
			n := min(len(block), 255)
			data = append(append(data, byte(n)), block[:n]...)
			block = block[n:]
		}
		data = append(data, 0)
	}
	return append(data, 0x3b)
}

// solid returns a frame of one colour.
func solid(r image.Rectangle, index byte) gifFrame {
	return gifFrame{rect: r, indices: bytes.Repeat([]byte{index}, r.Dx()*r.Dy()), transparent: -1}
}

func TestAnimatedGIF(t *testing.T) {
	const black, white, red, green = 0, 1, 2, 3 // indices of the palette
	all := image.Rect(0, 0, 40, 20)
	right := image.Rect(20, 0, 40, 20)
	with := func(f gifFrame, dispose byte, transparent int) gifFrame {
		f.dispose, f.transparent = dispose, transparent
		return f
	}
	two := solid(all, red)
	for i := range two.indices {
		if i%40 < 20 {
			two.indices[i] = green
		}
	}
	whiteOnClear := solid(all, white)
	for i := range whiteOnClear.indices {
		if i%40 < 20 {
			whiteOnClear.indices[i] = black
		}
	}
	none, r, g := color.NRGBA{}, color.NRGBA{200, 0, 0, 255}, color.NRGBA{0, 200, 0, 255}
	for name, test := range map[string]struct {
		frames []gifFrame
		want   [2]color.NRGBA // left and right
	}{
		"first frame shows something":   {[]gifFrame{two, solid(all, black)}, [2]color.NRGBA{g, r}},
		"transparent first frame":       {[]gifFrame{with(solid(all, black), 0, black), two}, [2]color.NRGBA{g, r}},
		"black first frames":            {[]gifFrame{solid(all, black), solid(all, black), two}, [2]color.NRGBA{g, r}},
		"frame over the first":          {[]gifFrame{solid(all, red), solid(right, green)}, [2]color.NRGBA{r, g}},
		"first frame cleared":           {[]gifFrame{with(solid(all, red), 2, -1), solid(right, green)}, [2]color.NRGBA{none, g}},
		"previous restored":             {[]gifFrame{solid(all, red), with(solid(all, black), 3, -1), solid(right, green)}, [2]color.NRGBA{r, g}},
		"transparent pixels":            {[]gifFrame{solid(all, red), with(two, 0, red)}, [2]color.NRGBA{g, r}},
		"later frame leaves the canvas": {[]gifFrame{solid(all, red), solid(image.Rect(20, 5, 90, 70), green)}, [2]color.NRGBA{r, g}},
		"later frame outside":           {[]gifFrame{solid(all, red), solid(image.Rect(90, 5, 99, 70), green), two}, [2]color.NRGBA{g, r}},
		"all of one colour":             {[]gifFrame{with(solid(all, red), 2, red), solid(all, green), solid(all, red)}, [2]color.NRGBA{g, g}},
		"white on transparent first":    {[]gifFrame{with(whiteOnClear, 2, black), two}, [2]color.NRGBA{g, r}},
		"only white on transparent":     {[]gifFrame{with(solid(all, black), 2, black), with(whiteOnClear, 2, black), with(solid(all, red), 2, -1)}, [2]color.NRGBA{none, {255, 255, 255, 255}}},
		"one frame of one colour":       {[]gifFrame{solid(all, red)}, [2]color.NRGBA{r, r}},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := Make(context.Background(), buildGIF(40, 20, test.frames...), Options{PNG: true})
			if err != nil {
				t.Fatal(err)
			}
			if img.Width != 40 || img.Height != 20 {
				t.Errorf("%d x %d", img.Width, img.Height)
			}
			got := decodeThumb(t, img)
			near(t, "left", got.At(10, 10), test.want[0], 0)
			near(t, "right", got.At(30, 10), test.want[1], 0)
		})
	}
}

// The canvas grows to the first frame, as in browsers.
func TestGIFFrameLargerThanCanvas(t *testing.T) {
	for _, canvas := range []image.Point{{0, 0}, {10, 10}} {
		img, err := Make(context.Background(), buildGIF(canvas.X, canvas.Y, solid(image.Rect(0, 0, 40, 20), 2)), Options{PNG: true})
		if err != nil {
			t.Fatal(err)
		}
		if img.Width != 40 || img.Height != 20 {
			t.Errorf("canvas of %v: %d x %d", canvas, img.Width, img.Height)
		}
	}
}

// A search for a visible frame ends after maxFrames.
func TestGIFManyBlankFrames(t *testing.T) {
	frames := make([]gifFrame, 1000)
	for i := range frames {
		frames[i] = solid(image.Rect(0, 0, 40, 20), 0)
	}
	frames[maxFrames] = solid(image.Rect(0, 0, 20, 20), 1)
	img, err := Make(context.Background(), buildGIF(40, 20, frames...), Options{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "left", decodeThumb(t, img).At(10, 10), color.NRGBA{0, 0, 0, 255}, 0)
}

// A GIF that ends early is decoded as far as it goes, unless most of it is missing.
func TestCutGIF(t *testing.T) {
	f := solid(image.Rect(0, 0, 64, 64), 0)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range f.indices {
		f.indices[i] = byte(r.IntN(2)) // black and white above red and green
		if i >= 32*64 {
			f.indices[i] += 2
		}
	}
	for _, interlaced := range []bool{false, true} {
		f.interlaced = interlaced
		data := buildGIF(64, 64, f)
		whole, _ := decodeRaster(t, data)
		cut, _ := decodeRaster(t, data[:len(data)*3/4])
		rows := 44
		if interlaced {
			rows = 1
			for y := range 64 {
				if p := cut.planes[0].pix[4*64*y:]; p[3] != 255 || (p[1] == 200 || p[0] == 200) != (y >= 32) {
					t.Fatalf("row %d of an interlaced GIF has colour %v", y, p[:4])
				}
			}
		}
		if n := rows * 64 * 4; !bytes.Equal(whole.planes[0].pix[:n], cut.planes[0].pix[:n]) {
			t.Errorf("interlaced %v: pixels differ", interlaced)
		}
		if _, err := Make(context.Background(), data[:100], Options{PNG: true}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("interlaced %v: got %v, want ErrCorrupt", interlaced, err)
		}
	}
}

// FuzzGIF compares the first frame with that of image/gif.
func FuzzGIF(f *testing.F) {
	all := image.Rect(0, 0, 9, 7)
	m := solid(all, 2)
	m.interlaced, m.transparent = true, 1
	f.Add(buildGIF(9, 7, m))
	f.Add(buildGIF(9, 7, solid(all, 0), solid(image.Rect(2, 2, 90, 5), 3)))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parse(data)
		if err != nil || h.contentType != typeGIF || h.memory > 4<<20 {
			return
		}
		h.gif.frames = h.gif.frames[:1]
		src, err := decodeGIF(context.Background(), &h)
		want, wantErr := gif.Decode(bytes.NewReader(data))
		if wantErr != nil || want.Bounds() != h.gif.frames[0].rect {
			return
		}
		if err != nil {
			t.Fatalf("image/gif decodes it, decodeGIF says %v", err)
		}
		m := want.(*image.Paletted)
		for y := m.Rect.Min.Y; y < m.Rect.Max.Y; y++ {
			for x := m.Rect.Min.X; x < m.Rect.Max.X; x++ {
				var c color.RGBA
				if i := int(m.ColorIndexAt(x, y)); i < len(m.Palette) {
					c = color.RGBAModel.Convert(m.Palette[i]).(color.RGBA)
				}
				if p := src.planes[0].pix[y*src.planes[0].stride+4*x:][:4]; [4]byte(p) != [4]byte{c.R, c.G, c.B, c.A} {
					t.Fatalf("at %d,%d: %v, want %v", x, y, p, c)
				}
			}
		}
	})
}

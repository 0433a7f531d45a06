package render

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"

	"github.com/thumbcache/thumbcache/internal/pngdec"
	"github.com/thumbcache/thumbcache/internal/reduce"
)

// A pngImage describes a PNG to be made by a test.
type pngImage struct {
	width, height int
	depth, colour byte
	before        []byte // chunks between the header and the image data
	interlaced    bool
	raw           []byte // rows, with filter types
}

func (m pngImage) encode() []byte {
	var interlace byte
	if m.interlaced {
		interlace = 1
	}
	data := append(pngStart(uint32(m.width), uint32(m.height), m.depth, m.colour, interlace), m.before...)
	data = append(data, makePNGChunk("IDAT", deflated(m.raw))...)
	return append(data, makePNGChunk("IEND", nil)...)
}

func deflated(data []byte) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write(data)
	z.Close()
	return b.Bytes()
}

// premultiplied returns what image/png makes of a PNG as premultiplied RGBA.
func premultiplied(t *testing.T, data []byte) []byte {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return imageRGBA(m)
}

func imageRGBA(m image.Image) (pix []byte) {
	b := m.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := m.At(x, y)
			n, ok := c.(color.NRGBA)
			switch c := c.(type) {
			case color.NRGBA64:
				n, ok = color.NRGBA{byte(c.R >> 8), byte(c.G >> 8), byte(c.B >> 8), byte(c.A >> 8)}, true
			case color.Gray16:
				n, ok = color.NRGBA{byte(c.Y >> 8), byte(c.Y >> 8), byte(c.Y >> 8), 255}, true
			}
			if !ok {
				n = color.NRGBAModel.Convert(c).(color.NRGBA)
			}
			p := []byte{n.R, n.G, n.B, n.A}
			reduce.Premultiply(p)
			pix = append(pix, p...)
		}
	}
	return pix
}

func decodeRaster(t *testing.T, data []byte) (raster, header) {
	t.Helper()
	h, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	src, err := new(workspace).decode(context.Background(), h, layOut(h, Options{}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return src, h
}

// rasterRGBA returns a grey or RGBA raster as RGBA.
func rasterRGBA(src raster) (pix []byte) {
	p := src.planes[0]
	for y := range p.height {
		for x := range p.width {
			at := y*p.stride + x*p.chans
			if src.kind == grey {
				v := p.pix[at]
				pix = append(pix, v, v, v, 255)
			} else {
				pix = append(pix, p.pix[at:at+4]...)
			}
		}
	}
	return pix
}

func TestPNGColourKey(t *testing.T) {
	m := pngImage{width: 2, height: 1, depth: 16, colour: 2, raw: []byte{0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 7}}
	m.before = makePNGChunk("tRNS", []byte{1, 2, 3, 4, 5, 6})
	src, _ := decodeRaster(t, m.encode())
	if got, want := rasterRGBA(src), []byte{0, 0, 0, 0, 1, 3, 5, 255}; !bytes.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A damaged PNG is decoded as far as it goes, unless most of it is missing.
func TestDamagedPNG(t *testing.T) {
	m := noise(64, 64)
	for i := range m.Pix {
		m.Pix[i] |= 3 // no alpha of 0
	}
	whole := encodeAs(t, "png", m)
	deep := interlacedPNG(m)
	want := func(n int) []byte { return premultiplied(t, whole)[:n] }
	change := func(data []byte, chunk string, offset int) []byte {
		data = bytes.Clone(data)
		data[strings.Index(string(data), chunk)+offset] ^= 1
		return data
	}
	text := bytes.Join([][]byte{whole[:33], makePNGChunk("tEXt", []byte("Title\x00x")), whole[33:]}, nil)
	for name, test := range map[string]struct {
		data []byte
		rows int // that are right, or -1 if the picture is corrupt
	}{
		"no IEND":                     {whole[:len(whole)-12], 64},
		"no IEND, no checksum":        {whole[:len(whole)-16], 64},
		"no Adler checksum":           {whole[:len(whole)-20], 64},
		"wrong checksum of tEXt":      {change(text, "tEXt", 4), 64},
		"wrong checksum of IDAT":      {change(whole, "IEND", -8), 64},
		"wrong Adler checksum":        {change(whole, "IEND", -12), 64},
		"wrong checksum of IEND":      {change(whole, "IEND", 4), 64},
		"garbage after IEND":          {append(bytes.Clone(whole), "garbage"...), 64},
		"cut after three quarters":    {whole[:len(whole)*3/4], 46},
		"cut after a quarter":         {whole[:len(whole)/4], -1},
		"cut before the data":         {whole[:41], -1},
		"wrong checksum of IHDR":      {change(whole, "IHDR", 17), -1},
		"no zlib header":              {change(whole, "IDAT", 4), -1},
		"interlaced, no IEND":         {deep[:len(deep)-16], 64},
		"interlaced, cut in the end":  {deep[:len(deep)*3/4], 1},
		"interlaced, cut in the head": {deep[:len(deep)/40], -1},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := Make(context.Background(), test.data, Options{PNG: true})
			if test.rows < 0 {
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("got %v, want ErrCorrupt", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := imageRGBA(decodeThumb(t, img)); !near64(got[:4*64*test.rows], want(4*64*test.rows)) {
				t.Error("pixels differ")
			}
		})
	}
}

// near64 compares samples that were multiplied by alpha and divided by it again.
func near64(a, b []byte) bool {
	for i := range a {
		if d := int(a[i]) - int(b[i]); d < -2 || d > 2 {
			return false
		}
	}
	return len(a) == len(b)
}

// An interlaced picture that ends early shows its coarse pixels in place of the missing ones.
func TestCutInterlacedPNG(t *testing.T) {
	m, want := noise(96, 64), quarters(96, 64)
	for i := range 96 * 64 {
		copy(m.Pix[4*i:], want.Pix[4*i:][:4])
		m.Pix[4*i] = m.Pix[4*i]&^3 | byte(i*7919>>3)&3 // against compression
	}
	data := interlacedPNG(m)
	for _, share := range []int{40, 60, 80, 95} {
		img, err := Make(context.Background(), data[:33+(len(data)-33)*share/100], Options{PNG: true})
		if err != nil {
			t.Fatalf("%d %%: %v", share, err)
		}
		got := decodeThumb(t, img)
		for y := range 64 {
			for x := range 96 {
				near(t, fmt.Sprintf("%d %%, at %d,%d", share, x, y), got.At(x, y), want.NRGBAAt(x, y), 4)
				if t.Failed() {
					return
				}
			}
		}
	}
}

// applePNG returns a PNG as Apple's pngcrush writes it for iOS.
func applePNG(m *image.NRGBA) []byte {
	raw := new(bytes.Buffer)
	z, _ := flate.NewWriter(raw, -1)
	for y := range m.Rect.Dy() {
		z.Write([]byte{0})
		for x := range m.Rect.Dx() {
			p := bytes.Clone(m.Pix[m.PixOffset(x, y):][:4])
			reduce.Premultiply(p)
			z.Write([]byte{p[2], p[1], p[0], p[3]})
		}
	}
	z.Close()
	start := pngStart(uint32(m.Rect.Dx()), uint32(m.Rect.Dy()), 8, 6, 0)
	return bytes.Join([][]byte{
		start[:8], makePNGChunk("CgBI", []byte{0x50, 0, 0x20, 6}), start[8:],
		makePNGChunk("IDAT", raw.Bytes()[:10]), makePNGChunk("IDAT", raw.Bytes()[10:]), makePNGChunk("IEND", nil),
	}, nil)
}

func TestApplePNG(t *testing.T) {
	m := noise(40, 30)
	img, err := Make(context.Background(), applePNG(m), Options{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	if !near64(imageRGBA(decodeThumb(t, img)), imageRGBA(m)) {
		t.Error("pixels differ")
	}
}

// An apngFrame is a frame of an animated PNG to be made by a test.
type apngFrame struct {
	at             image.Point
	m              *image.NRGBA
	dispose, blend byte
}

// animatedPNG returns an animated PNG. If still is not nil it is the image for programs that do not animate; otherwise
// that is the first frame.
func animatedPNG(width, height int, still *image.NRGBA, frames []apngFrame) []byte {
	rows := func(m *image.NRGBA) []byte {
		var raw []byte
		for y := range m.Rect.Dy() {
			raw = append(append(raw, 0), m.Pix[y*m.Stride:][:4*m.Rect.Dx()]...)
		}
		return deflated(raw)
	}
	data := pngStart(uint32(width), uint32(height), 8, 6, 0)
	data = append(data, makePNGChunk("acTL", binary.BigEndian.AppendUint64(nil, uint64(len(frames))<<32))...)
	if still != nil {
		data = append(data, makePNGChunk("IDAT", rows(still))...)
	}
	sequence := uint32(0)
	for i, f := range frames {
		control := binary.BigEndian.AppendUint32(nil, sequence)
		for _, v := range []int{f.m.Rect.Dx(), f.m.Rect.Dy(), f.at.X, f.at.Y} {
			control = binary.BigEndian.AppendUint32(control, uint32(v))
		}
		data = append(data, makePNGChunk("fcTL", append(control, 0, 1, 0, 10, f.dispose, f.blend))...)
		sequence++
		if i == 0 && still == nil {
			data = append(data, makePNGChunk("IDAT", rows(f.m))...)
			continue
		}
		data = append(data, makePNGChunk("fdAT", append(binary.BigEndian.AppendUint32(nil, sequence), rows(f.m)...))...)
		sequence++
	}
	return append(data, makePNGChunk("IEND", nil)...)
}

func uniform(w, h int, c color.NRGBA) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		m.SetNRGBA(i%w, i/w, c)
	}
	return m
}

func TestAnimatedPNG(t *testing.T) {
	black, clear := color.NRGBA{0, 0, 0, 255}, color.NRGBA{}
	red := color.NRGBA{200, 0, 0, 255}
	for name, test := range map[string]struct {
		still  *image.NRGBA
		frames []apngFrame
		want   [2]color.NRGBA // left and right
	}{
		"first frame shows something": {nil, []apngFrame{{m: half(red, black)}, {m: half(black, red)}}, [2]color.NRGBA{red, black}},
		"blank first frame":           {nil, []apngFrame{{m: uniform(40, 20, clear)}, {m: half(black, red)}}, [2]color.NRGBA{black, red}},
		"black first frames":          {nil, []apngFrame{{m: uniform(40, 20, black)}, {m: uniform(40, 20, black)}, {m: half(black, red)}}, [2]color.NRGBA{black, red}},
		"still image beside frames":   {half(red, black), []apngFrame{{m: half(black, red)}, {m: half(black, red)}}, [2]color.NRGBA{red, black}},
		"blank still image":           {uniform(40, 20, black), []apngFrame{{m: half(black, red)}, {m: half(black, red)}}, [2]color.NRGBA{black, red}},
		"frame over black":            {nil, []apngFrame{{m: uniform(40, 20, black)}, {at: image.Pt(20, 0), m: uniform(20, 20, red)}}, [2]color.NRGBA{black, red}},
		"frame over black, cleared":   {nil, []apngFrame{{m: uniform(40, 20, black), dispose: 1}, {at: image.Pt(20, 0), m: uniform(20, 20, red)}}, [2]color.NRGBA{clear, red}},
		"previous restored":           {nil, []apngFrame{{m: uniform(40, 20, red)}, {m: uniform(40, 20, black), dispose: 2}, {m: uniform(20, 20, black)}}, [2]color.NRGBA{black, red}},
		"composed":                    {nil, []apngFrame{{m: uniform(40, 20, red)}, {m: half(clear, black), blend: 1}}, [2]color.NRGBA{red, black}},
		"replaced":                    {nil, []apngFrame{{m: uniform(40, 20, red)}, {m: half(clear, black)}}, [2]color.NRGBA{clear, black}},
		"all blank":                   {nil, []apngFrame{{m: uniform(40, 20, clear)}, {m: uniform(40, 20, red)}}, [2]color.NRGBA{red, red}},
		"frame outside":               {uniform(40, 20, red), []apngFrame{{at: image.Pt(30, 0), m: uniform(40, 20, black)}, {m: half(black, red)}}, [2]color.NRGBA{red, red}},
	} {
		t.Run(name, func(t *testing.T) {
			data := animatedPNG(40, 20, test.still, test.frames)
			img, err := Make(context.Background(), data, Options{PNG: true})
			if err != nil {
				t.Fatal(err)
			}
			got := decodeThumb(t, img)
			near(t, "left", got.At(10, 10), test.want[0], 0)
			near(t, "right", got.At(30, 10), test.want[1], 0)
		})
	}
}

// half returns a picture with two colours side by side.
func half(left, right color.NRGBA) *image.NRGBA {
	m := uniform(40, 20, left)
	for i := range 20 * 20 {
		m.SetNRGBA(20+i%20, i/20, right)
	}
	return m
}

// A PNG is reduced while it is decoded, by a factor that has a limit. The quarters of the picture stay in their places.
func TestReducedPNG(t *testing.T) {
	m := quarters(1200, 1200)
	plain, interlaced := encodeAs(t, "png", m), interlacedPNG(m)
	for _, test := range []struct {
		data      []byte
		size      int
		tolerance int // two pixels next to each other share the colours of an edge
	}{
		{encodeAs(t, "png", quarters(2400, 2400)), 2, 45},
		{plain, 10, 15}, {plain, 64, 2}, {plain, 150, 2}, {plain, 299, 2}, {plain, 301, 2}, {plain, 700, 2},
		{interlaced, 10, 15}, {interlaced, 64, 2}, {interlaced, 150, 2}, {interlaced, 299, 2}, {interlaced, 301, 2},
	} {
		for _, cover := range []Fit{Contain, Cover} {
			img, err := Make(context.Background(), test.data, Options{Size: test.size, Fit: cover, PNG: true})
			if err != nil {
				t.Fatal(err)
			}
			got := decodeThumb(t, img)
			for i, want := range quarterColours {
				x, y := i%2*(img.Width-1), i/2*(img.Height-1)
				near(t, fmt.Sprintf("%d bytes to %d, quarter %d", len(test.data), test.size, i), got.At(x, y), want, test.tolerance)
			}
		}
	}
}

// The cost of a large PNG is that of its thumbnail and a few rows.
func TestCostOfLargePNG(t *testing.T) {
	for _, test := range []struct {
		interlace byte
		size      int
		most      int64
	}{{0, 256, 8 << 20}, {0, 512, 24 << 20}, {1, 256, 16 << 20}} {
		cost, err := Cost(pngStart(10000, 10000, 8, pngdec.RGBA, test.interlace), Options{Size: test.size, Quality: 85})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("interlacing %d, to %d: Cost is %d", test.interlace, test.size, cost)
		if cost > test.most {
			t.Errorf("interlacing %d, to %d: Cost is %d, more than %d", test.interlace, test.size, cost, test.most)
		}
	}
}

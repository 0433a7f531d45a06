package render

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Every picture shows four coloured quarters. In those with alpha the second quarter is half transparent.
func TestFormats(t *testing.T) {
	m := quarters(120, 80)
	grey := image.NewGray(m.Rect)
	deep := image.NewNRGBA64(m.Rect)
	deepGrey := image.NewGray16(m.Rect)
	paletted := image.NewPaletted(m.Rect, color.Palette{quarterColours[0], quarterColours[1], quarterColours[2], quarterColours[3]})
	for y := range 80 {
		for x := range 120 {
			grey.Set(x, y, m.At(x, y))
			deep.Set(x, y, m.At(x, y))
			deepGrey.Set(x, y, m.At(x, y))
			paletted.Set(x, y, m.At(x, y))
		}
	}
	var interlacedGIF bytes.Buffer
	if err := gif.Encode(&interlacedGIF, paletted, nil); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		data  []byte
		alpha bool
		grey  bool
		turn  bool
	}{
		"lossy.webp":          {data: readTestdata(t, "lossy.webp")},
		"lossless.webp":       {data: readTestdata(t, "lossless.webp")},
		"lossy-alpha.webp":    {data: readTestdata(t, "lossy-alpha.webp"), alpha: true},
		"lossless-alpha.webp": {data: readTestdata(t, "lossless-alpha.webp"), alpha: true},
		"animated.webp":       {data: readTestdata(t, "animated.webp")},
		"animated-alpha.webp": {data: readTestdata(t, "animated-alpha.webp"), alpha: true},
		"exif.webp":           {data: readTestdata(t, "exif.webp"), turn: true},
		"progressive.jpg":     {data: readTestdata(t, "progressive.jpg")},
		"cmyk.jpg":            {data: readTestdata(t, "cmyk.jpg")},
		"grey png":            {data: encodeAs(t, "png", grey), grey: true},
		"deep png":            {data: encodeAs(t, "png", deep)},
		"deep grey png":       {data: encodeAs(t, "png", deepGrey), grey: true},
		"paletted png":        {data: encodeAs(t, "png", paletted)},
		"interlaced png":      {data: interlacedPNG(m)},
		"paletted bmp":        {data: encodeAs(t, "bmp", paletted)},
		"deep tiff":           {data: encodeAs(t, "tiff", deep)},
		"paletted tiff":       {data: encodeAs(t, "tiff", paletted)},
		"gif":                 {data: encodeAs(t, "gif", paletted)},
		"grey jpeg":           {data: encodeAs(t, "jpeg", grey), grey: true},
	} {
		for _, o := range []Options{{Size: 60, Quality: 95}, {Quality: 95}, {Size: 50, PNG: true}} {
			t.Run(fmt.Sprintf("%s %+v", name, o), func(t *testing.T) {
				img, err := Make(context.Background(), test.data, o)
				if err != nil {
					t.Fatal(err)
				}
				got := decodeThumb(t, img)
				for i, want := range quarterColours {
					switch {
					case test.turn:
						want = quarterColours[[]int{2, 0, 3, 1}[i]] // orientation 6
					case test.grey:
						y := color.GrayModel.Convert(want).(color.Gray).Y
						want = color.NRGBA{y, y, y, 255}
					case test.alpha && i == 1 && o.PNG:
						want.A = 128
					case test.alpha && i == 1:
						want = color.NRGBA{142, 227, 147, 255}
					}
					x, y := img.Width/4+i%2*(img.Width/2), img.Height/4+i/2*(img.Height/2)
					near(t, fmt.Sprint("quarter ", i), got.At(x, y), want, 6)
				}
				if _, isGrey := got.(*image.Gray); isGrey != test.grey {
					t.Errorf("decoded to a %T, want grey = %v", got, test.grey)
				}
			})
		}
	}
}

// The orientation tag of a TIFF is applied.
func TestTIFFOrientation(t *testing.T) {
	data := encodeAs(t, "tiff", quarters(60, 40))
	d, ok := readDirectory(data)
	if !ok {
		t.Fatal("no TIFF directory")
	}
	const resolutionUnit = 0x128
	for e := d.entries; len(e) >= 12; e = e[12:] {
		if d.order.Uint16(e) == resolutionUnit {
			d.order.PutUint16(e, tagOrientation)
			d.order.PutUint16(e[8:], 6)
		}
	}
	// golang.org/x/image/tiff requires sorted tags.
	var entries []string
	for e := range slices.Chunk(d.entries, 12) {
		entries = append(entries, string(e))
	}
	slices.SortFunc(entries, func(a, b string) int {
		return cmp.Compare(d.order.Uint16([]byte(a)), d.order.Uint16([]byte(b)))
	})
	copy(d.entries, strings.Join(entries, ""))
	img, err := Make(context.Background(), data, Options{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	got := decodeThumb(t, img)
	for i, q := range [4]int{2, 0, 3, 1} {
		near(t, fmt.Sprint("quarter ", i), got.At(10+i%2*20, 15+i/2*30), quarterColours[q], 0)
	}
}

func TestUnknownFormats(t *testing.T) {
	for data, want := range map[string]string{
		"":                             "",
		"RIFF....WAVE":                 "",
		"BM is not always a picture":   "",
		"\x00\x00\x00\x18ftypheic....": "image/heif",
		"\x00\x00\x00\x18ftypisom....": "",
		"\x00\x00\x00\x18ftypavif....": "image/avif",
		"\xff\x0a..":                   "image/jxl",
		"8BPS\x00\x01":                 "image/vnd.adobe.photoshop",
	} {
		if got, ok := Sniff([]byte(data)); got != want || ok {
			t.Errorf("%q: %q, %v", data, got, ok)
		}
	}
}

// noise returns a picture of random samples, which does not compress.
func noise(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	seed := uint32(1)
	for i := range m.Pix {
		seed = seed*1664525 + 1013904223
		m.Pix[i] = byte(seed >> 24)
	}
	return m
}

// Cost allocates next to nothing, even for a header with huge dimensions.
func TestCostOfHugeDimensions(t *testing.T) {
	big := uint32(50000)
	gifHeader := []byte("GIF89a\x50\xc3\x50\xc3\x00\x00\x00,\x00\x00\x00\x00\x50\xc3\x50\xc3\x00\x08\x00")
	bmpHeader := make([]byte, 64)
	copy(bmpHeader, "BM")
	bmpHeader[14] = 40
	binary.LittleEndian.PutUint32(bmpHeader[18:], big)
	binary.LittleEndian.PutUint32(bmpHeader[22:], big)
	for name, data := range map[string][]byte{
		"png": makePNGHeader(big, big), "gif": gifHeader, "bmp": bmpHeader,
		"webp": append([]byte("RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff\x2f"), 0xff, 0xff, 0xff, 0x0f, 0, 0),
	} {
		var cost int64
		var err error
		used := allocated(func() { cost, err = Cost(data, Options{Size: 256}) })
		least := int64(500 << 20)
		if name == "webp" {
			least = 100 << 20 // decoded row by row; the tiles of the transforms are kept
		}
		if err == nil && cost < least {
			t.Errorf("%s: cost %d", name, cost)
		}
		if used > 16<<10 {
			t.Errorf("%s: reading the header allocated %d bytes", name, used)
		}
	}
}

// With a warm workspace a thumbnail takes few allocations.
func TestAllocationsPerThumbnail(t *testing.T) {
	data := encodeAs(t, "jpeg", smooth(1500, 1500))
	o := Options{Size: 256, Quality: 85}
	make1 := func() {
		if _, err := Make(context.Background(), data, o); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(10, make1); n > 20 {
		t.Errorf("%v allocations, want at most 20", n)
	}
}

// The scaled picture differs from a Lanczos filter in floating point by at most one.
func TestScaleAgainstFloatingPoint(t *testing.T) {
	m := noise(173, 131)
	for i := 3; i < len(m.Pix); i += 4 {
		m.Pix[i] = 255
	}
	img, err := Make(context.Background(), encodeAs(t, "png", m), Options{Size: 64, PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	got, err := png.Decode(bytes.NewReader(img.Data))
	if err != nil {
		t.Fatal(err)
	}
	weights := func(i, n, size int) (first int, w []float64) {
		step := float64(size) / float64(n)
		middle := (float64(i) + 0.5) * step
		first = max(0, int(math.Ceil(middle-3*step-0.5)))
		var sum float64
		for x := first; x < size && float64(x)+0.5 <= middle+3*step; x++ {
			w = append(w, lanczos3Exact((float64(x)+0.5-middle)/step))
			sum += w[len(w)-1]
		}
		for k := range w {
			w[k] /= sum
		}
		return first, w
	}
	for y := range img.Height {
		fy, wy := weights(y, img.Height, 131)
		for x := range img.Width {
			fx, wx := weights(x, img.Width, 173)
			var want [3]float64
			for j, a := range wy {
				for i, b := range wx {
					p := m.Pix[m.PixOffset(fx+i, fy+j):]
					for c := range want {
						want[c] += a * b * float64(p[c])
					}
				}
			}
			g := color.NRGBAModel.Convert(got.At(x, y)).(color.NRGBA)
			for c, v := range [3]byte{g.R, g.G, g.B} {
				if d := float64(v) - max(0, min(want[c], 255)); d < -1 || d > 1 {
					t.Fatalf("at %d,%d: %v, want %.1f", x, y, g, want)
				}
			}
		}
	}
}

// allocated returns the total number of bytes that f allocates when all pools are empty.
func allocated(f func()) int64 {
	runtime.GC()
	runtime.GC() // now the pools are empty
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// quarters returns a picture of four quarters in different colours.
func quarters(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			i := 0
			if x >= w/2 {
				i++
			}
			if y >= h/2 {
				i += 2
			}
			m.SetNRGBA(x, y, quarterColours[i])
		}
	}
	return m
}

var quarterColours = [4]color.NRGBA{{220, 30, 30, 255}, {30, 200, 40, 255}, {40, 40, 210, 255}, {230, 220, 40, 255}}

func encodeAs(t testing.TB, format string, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch format {
	case "jpeg":
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 95})
	case "png":
		err = png.Encode(&b, m)
	case "gif":
		p := image.NewPaletted(m.Bounds(), color.Palette{quarterColours[0], quarterColours[1], quarterColours[2], quarterColours[3]})
		if q, ok := m.(*image.Paletted); ok {
			p = q
		} else {
			draw.Draw(p, p.Rect, m, image.Point{}, draw.Src)
		}
		err = gif.Encode(&b, p, nil)
	case "bmp":
		err = bmp.Encode(&b, m)
	case "tiff":
		err = tiff.Encode(&b, m, &tiff.Options{Compression: tiff.Deflate})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decodeThumb(t testing.TB, img Image) image.Image {
	t.Helper()
	m, name, err := image.Decode(bytes.NewReader(img.Data))
	if err != nil {
		t.Fatal(err)
	}
	if "image/"+name != img.ContentType {
		t.Errorf("decoded as %s, ContentType is %s", name, img.ContentType)
	}
	if got := m.Bounds().Size(); got != image.Pt(img.Width, img.Height) {
		t.Errorf("decoded size is %v, Image says %d x %d", got, img.Width, img.Height)
	}
	return m
}

func near(t testing.TB, what string, got color.Color, want color.NRGBA, tolerance int) {
	t.Helper()
	g := color.NRGBAModel.Convert(got).(color.NRGBA)
	for _, d := range []int{int(g.R) - int(want.R), int(g.G) - int(want.G), int(g.B) - int(want.B), int(g.A) - int(want.A)} {
		if d < -tolerance || d > tolerance {
			t.Errorf("%s: colour %v, want %v", what, g, want)
			return
		}
	}
}

func TestSizes(t *testing.T) {
	for _, test := range []struct {
		w, h         int
		o            Options
		wantW, wantH int
	}{
		{400, 300, Options{Size: 100}, 100, 75},
		{300, 400, Options{Size: 100}, 75, 100},
		{401, 300, Options{Size: 100}, 100, 75},
		{100, 50, Options{Size: 200}, 100, 50},
		{100, 50, Options{}, 100, 50},
		{100, 50, Options{MaxEdge: 40}, 40, 20},
		{100, 50, Options{Size: 60, MaxEdge: 40}, 40, 20},
		{100, 50, Options{Size: 30, MaxEdge: 40}, 30, 15},
		{400, 300, Options{Size: 100, Fit: Cover}, 100, 100},
		{400, 300, Options{Size: 350, Fit: Cover}, 300, 300},
		{400, 300, Options{Fit: Cover}, 300, 300},
		{400, 300, Options{Fit: Cover, MaxEdge: 64}, 64, 64},
		{1, 6000, Options{Size: 256}, 1, 256},
		{6000, 1, Options{Size: 256}, 256, 1},
		{6000, 1, Options{Size: 256, Fit: Cover}, 1, 1},
		{1, 1, Options{Size: 256}, 1, 1},
		{60000, 1, Options{Size: 256}, 256, 1},
		{1, 60000, Options{}, 1, 60000},
		{7, 5, Options{Size: 3}, 3, 2},
		{200, 199, Options{Size: 100}, 100, 100},
		{200, 198, Options{Size: 100}, 100, 99},
		{2, 3, Options{Size: 1}, 1, 1},
		{400, 300, Options{Size: 100, Height: 50}, 67, 50},
		{400, 300, Options{Size: 100, Height: 200}, 100, 75},
		{400, 300, Options{Size: 500, Height: 400}, 400, 300},
		{400, 300, Options{Size: 500, Height: 150}, 200, 150},
		{400, 300, Options{Size: 500, Height: 150, MaxEdge: 100}, 100, 75},
		{400, 300, Options{Size: 200, Height: 50, Fit: Cover}, 200, 50},
		{400, 300, Options{Size: 50, Height: 200, Fit: Cover}, 50, 200},
		{400, 300, Options{Size: 800, Height: 200, Fit: Cover}, 400, 100},
		{400, 300, Options{Size: 1000, Height: 2000, Fit: Cover}, 150, 300},
		{400, 300, Options{Size: 65535, Height: 1, Fit: Cover}, 400, 1},
		{1, 6000, Options{Size: 30, Height: 20, Fit: Cover}, 1, 1},
		{400, 300, Options{Size: 100, Fit: Pad}, 100, 100},
		{400, 300, Options{Size: 100, Height: 20, Fit: Pad, Background: Blur}, 100, 20},
		{40, 30, Options{Size: 100, Height: 120, Fit: Pad, Background: Transparent}, 100, 120},
		{40, 30, Options{Fit: Pad}, 40, 40},
		{40, 30, Options{Fit: Pad, Background: Blur, MaxEdge: 7}, 7, 7},
		{1, 1, Options{Size: 50, Height: 1, Fit: Pad, Background: Blur}, 50, 1},
	} {
		for _, format := range []string{"jpeg", "png", "gif", "bmp", "tiff"} {
			data := encodeAs(t, format, quarters(test.w, test.h))
			for _, asPNG := range []bool{false, true} {
				test.o.PNG, test.o.Quality = asPNG, 85
				t.Run(fmt.Sprintf("%s %dx%d %+v", format, test.w, test.h, test.o), func(t *testing.T) {
					img, err := Make(context.Background(), data, test.o)
					if err != nil {
						t.Fatal(err)
					}
					if img.Width != test.wantW || img.Height != test.wantH {
						t.Errorf("got %d x %d, want %d x %d", img.Width, img.Height, test.wantW, test.wantH)
					}
					decodeThumb(t, img)
				})
			}
		}
	}
}

// exifData returns EXIF data with only an orientation.
func exifData(orientation byte) []byte {
	return append([]byte("MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"), orientation, 0, 0, 0, 0, 0, 0)
}

func withEXIF(t testing.TB, format string, data []byte, orientation byte) []byte {
	exif := exifData(orientation)
	switch format {
	case "jpeg":
		segment := append([]byte("\xff\xe1\x00\x00Exif\x00\x00"), exif...)
		segment[3] = byte(len(segment) - 2)
		return bytes.Join([][]byte{data[:2], segment, data[2:]}, nil)
	case "png":
		chunk := makePNGChunk("eXIf", exif)
		return bytes.Join([][]byte{data[:33], chunk, data[33:]}, nil)
	}
	t.Fatal(format)
	return nil
}

func TestOrientation(t *testing.T) {
	// Quarters of the stored picture that are shown top left, top right, bottom left and bottom right.
	want := [9][4]int{1: {0, 1, 2, 3}, 2: {1, 0, 3, 2}, 3: {3, 2, 1, 0}, 4: {2, 3, 0, 1}, 5: {0, 2, 1, 3}, 6: {2, 0, 3, 1}, 7: {3, 1, 2, 0}, 8: {1, 3, 0, 2}}
	for _, format := range []string{"jpeg", "png"} {
		for orientation := byte(1); orientation <= 8; orientation++ {
			for _, o := range []Options{{Size: 100}, {Size: 61}, {}, {Size: 50, PNG: true}, {Size: 64, Fit: Cover}} {
				o.Quality = 95
				t.Run(fmt.Sprintf("%s %d %+v", format, orientation, o), func(t *testing.T) {
					data := withEXIF(t, format, encodeAs(t, format, quarters(240, 160)), orientation)
					img, err := Make(context.Background(), data, o)
					if err != nil {
						t.Fatal(err)
					}
					m := decodeThumb(t, img)
					w, h := img.Width, img.Height
					if o.Fit == Contain && (w > h) != (orientation < 5) {
						t.Errorf("got %d x %d", w, h)
					}
					for i, q := range want[orientation] {
						x, y := w/4+i%2*(w/2), h/4+i/2*(h/2)
						near(t, fmt.Sprint("quarter ", i), m.At(x, y), quarterColours[q], 6)
					}
				})
			}
		}
	}
}

func TestAlpha(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 200, 200))
	for y := range 200 {
		for x := range 200 {
			c := color.NRGBA{200, 40, 80, 255}
			if x < 100 {
				c = color.NRGBA{0, 255, 0, 0} // transparent; its colour must not bleed
			} else if y < 100 {
				c.A = 128
			}
			m.SetNRGBA(x, y, c)
		}
	}
	data := encodeAs(t, "png", m)
	img, err := Make(context.Background(), data, Options{Size: 50, PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	got := decodeThumb(t, img)
	near(t, "clear", got.At(10, 25), color.NRGBA{}, 0)
	near(t, "half", got.At(40, 10), color.NRGBA{200, 40, 80, 128}, 2)
	near(t, "opaque", got.At(40, 40), color.NRGBA{200, 40, 80, 255}, 2)
	for x := range 50 {
		if c := color.NRGBAModel.Convert(got.At(x, 40)).(color.NRGBA); c.A > 8 && (c.G > 60 || c.R < 180) {
			t.Errorf("at x = %d the transparent colour bleeds: %v", x, c)
		}
	}
	img, err = Make(context.Background(), data, Options{Size: 50, Quality: 95})
	if err != nil {
		t.Fatal(err)
	}
	got = decodeThumb(t, img)
	near(t, "clear on white", got.At(10, 25), color.NRGBA{255, 255, 255, 255}, 3)
	near(t, "half on white", got.At(40, 10), color.NRGBA{227, 147, 167, 255}, 8)
}

// smooth returns a picture without edges, which every good filter scales alike.
func smooth(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			fx, fy := float64(x)/float64(w), float64(y)/float64(h)
			m.SetRGBA(x, y, color.RGBA{
				uint8(128 + 100*math.Sin(6*fx)), uint8(128 + 100*math.Cos(5*fy)), uint8(128 + 100*math.Sin(4*(fx+fy))), 255,
			})
		}
	}
	return m
}

// Each pixel of a thumbnail has the colour of the same place in the picture.
func TestPixelPositions(t *testing.T) {
	m := smooth(301, 207)
	for _, size := range []int{0, 256, 33, 300, 127, 64}[:series(3, 6)] {
		for _, format := range []string{"jpeg", "png", "tiff"} {
			data := encodeAs(t, format, m)
			for _, asPNG := range []bool{false, true} {
				img, err := Make(context.Background(), data, Options{Size: size, PNG: asPNG, Quality: 95})
				if err != nil {
					t.Fatal(err)
				}
				got := decodeThumb(t, img)
				for y := range img.Height {
					for x := range img.Width {
						c := m.RGBAAt(int((float64(x)+0.5)*301/float64(img.Width)), int((float64(y)+0.5)*207/float64(img.Height)))
						near(t, fmt.Sprintf("%s to %d, png %v, at %d,%d", format, size, asPNG, x, y), got.At(x, y), color.NRGBA(c), 12+600/img.Width)
						if t.Failed() {
							t.FailNow()
						}
					}
				}
			}
		}
	}
}

// The single pixels of a small picture keep their colours in a JPEG.
func TestPixelArt(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 32, 24))
	for i := range 32 * 24 {
		m.SetNRGBA(i%32, i/32, quarterColours[(i+i/32)%4])
	}
	turned := withEXIF(t, "png", encodeAs(t, "png", m), 3)
	icc := embed(t, "png", encodeAs(t, "png", m), sRGB(srgbTable()))
	for name, data := range map[string][]byte{"png": encodeAs(t, "png", m), "gif": encodeAs(t, "gif", m), "turned": turned, "profile": icc} {
		img, err := Make(context.Background(), data, Options{Size: 100, Quality: 95})
		if err != nil {
			t.Fatal(err)
		}
		got := decodeThumb(t, img)
		for i := range 32 * 24 {
			x, y := i%32, i/32
			want := m.NRGBAAt(x, y)
			if name == "turned" {
				x, y = 31-x, 23-y
			}
			near(t, fmt.Sprintf("%s at %d,%d", name, x, y), got.At(x, y), want, 20)
			if t.Failed() {
				return
			}
		}
	}
}

func TestCorruptInput(t *testing.T) {
	whole := encodeAs(t, "png", quarters(64, 64))
	for name, test := range map[string]struct {
		data []byte
		want error
	}{
		"nothing":   {nil, ErrUnsupported},
		"text":      {[]byte("not a pic"), ErrUnsupported},
		"svg":       {[]byte("<svg xmlns='http://www.w3.org/2000/svg'/>"), ErrUnsupported},
		"avif":      {[]byte("\x00\x00\x00\x20ftypavif\x00\x00\x00\x00"), ErrUnsupported},
		"magic":     {[]byte("\x89PNG\r\n\x1a\n"), ErrCorrupt},
		"jpeg":      {[]byte("\xff\xd8\xff\xe0"), ErrCorrupt},
		"cut":       {whole[:len(whole)/2], ErrCorrupt},
		"gif":       {[]byte("GIF89a"), ErrCorrupt},
		"webp":      {[]byte("RIFF\x04\x00\x00\x00WEBP"), ErrCorrupt},
		"tiff":      {[]byte("II*\x00\x08\x00\x00\x00\x00\x00"), ErrCorrupt},
		"too large": {makePNGHeader(1<<30, 1<<30), ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Make(context.Background(), test.data, Options{Size: 64}); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, format := range []string{"jpeg", "png", "gif", "bmp", "tiff"} {
		if _, err := Make(ctx, encodeAs(t, format, quarters(64, 64)), Options{Size: 64}); err != context.Canceled {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

// A thumbnail does not depend on what its workspace held before, nor on concurrent calls.
func TestWorkspaceReuse(t *testing.T) {
	type job struct {
		data []byte
		o    Options
		want []byte
	}
	var jobs []job
	files := []string{"lossy-alpha.webp", "lossless.webp", "animated.webp", "exif.webp", "progressive.jpg", "cmyk.jpg"}
	var pictures [][]byte
	for _, name := range files {
		pictures = append(pictures, readTestdata(t, name))
	}
	for _, size := range []int{301, 64, 9} {
		jpeg, png := encodeAs(t, "jpeg", smooth(size, size/2+1)), encodeAs(t, "png", smooth(size, size/2+1))
		pictures = append(pictures, jpeg, png, withEXIF(t, "jpeg", jpeg, 6), embed(t, "jpeg", jpeg, displayP3()), embed(t, "png", png, adobeRGB()))
	}
	for _, data := range pictures {
		for _, o := range []Options{{Size: 40}, {Size: 33, Fit: Cover}, {}, {Size: 41, PNG: true}} {
			o.Quality = 85
			runtime.GC()
			runtime.GC() // now the pools are empty
			img, err := Make(context.Background(), data, o)
			if err != nil {
				t.Fatal(err)
			}
			jobs = append(jobs, job{data, o, img.Data})
		}
	}
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for range series(50, 500) {
				j := jobs[r.IntN(len(jobs))]
				img, err := Make(context.Background(), j.data, j.o)
				if err != nil || !bytes.Equal(img.Data, j.want) {
					t.Errorf("%+v: bytes differ from those with a new workspace, error %v", j.o, err)
				}
			}
		})
	}
	wg.Wait()
}

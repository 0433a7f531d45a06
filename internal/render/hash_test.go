package render

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"testing"
)

// hashColour returns the mean colour and opacity that a hash holds.
func hashColour(hash []byte) color.NRGBA {
	head := int(hash[0]) | int(hash[1])<<8 | int(hash[2])<<16
	l, p, q := float64(head&63)/63, float64(head>>6&63)/31.5-1, float64(head>>12&63)/31.5-1
	b := l - 2*p/3
	r := (3*l - b + q) / 2
	c := color.NRGBA{A: 255}
	for i, v := range []float64{r, r - q, b} {
		*[]*uint8{&c.R, &c.G, &c.B}[i] = clamp(int32(255*v + 0.5))
	}
	if hash[2]>>7 != 0 {
		c.A = hash[5] & 15 * 17
	}
	return c
}

// decodedHash decodes a thumbnail and returns the hash of its pixels.
func decodedHash(t *testing.T, img Image) []byte {
	m := decodeThumb(t, img)
	p := pixels{plane: plane{stride: 4 * img.Width, width: img.Width, height: img.Height, chans: 4}}
	for y := range img.Height {
		for x := range img.Width {
			c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
			p.pix = append(p.pix, c.R, c.G, c.B, c.A)
		}
	}
	return new(workspace).hashPNG(p)
}

// The hash describes the thumbnail as it is shown, for every input format and code path.
func TestThumbHash(t *testing.T) {
	src := smooth(301, 207)
	clear := image.NewNRGBA(src.Rect)
	for i := range clear.Pix {
		clear.Pix[i] = src.Pix[i]
		if i%4 == 3 {
			clear.Pix[i] = src.Pix[i-1]
		}
	}
	grey := image.NewGray(src.Rect)
	for i := range grey.Pix {
		grey.Pix[i] = src.Pix[4*i]
	}
	jpeg := encodeAs(t, "jpeg", src)
	for name, data := range map[string][]byte{
		"jpeg":       jpeg,
		"turned":     withEXIF(t, "jpeg", jpeg, 6),
		"grey":       encodeAs(t, "jpeg", grey),
		"icc":        embed(t, "png", encodeAs(t, "png", src), adobeRGB()),
		"png":        encodeAs(t, "png", src),
		"png grey":   encodeAs(t, "png", grey),
		"alpha":      encodeAs(t, "png", clear),
		"cmyk":       readTestdata(t, "cmyk.jpg"),
		"webp":       readTestdata(t, "lossy.webp"),
		"webp alpha": readTestdata(t, "lossy-alpha.webp"),
	} {
		for _, o := range []Options{{Size: 100}, {Size: 67, Fit: Cover}, {Size: 33}, {Size: 9}, {}, {Size: 100, PNG: true}, {PNG: true, Fit: Cover}} {
			o.Quality = 95
			t.Run(fmt.Sprintf("%s %+v", name, o), func(t *testing.T) {
				img, err := Make(context.Background(), data, o)
				if err != nil {
					t.Fatal(err)
				}
				got, want := img.ThumbHash, decodedHash(t, img)
				if o.PNG && !bytes.Equal(got, want) {
					t.Errorf("got %x, want %x", got, want)
				}
				if !o.PNG && got[2]>>7 != 0 {
					t.Errorf("the hash of a JPEG has alpha: %x", got)
				}
				if len(got) != len(want) || got[3]&7 != want[3]&7 || got[4]>>7 != want[4]>>7 {
					t.Fatalf("shapes differ: got %x, want %x", got, want)
				}
				near(t, "mean", hashColour(got), hashColour(want), 9) // one step of chroma
				// JPEG loss and rounding change a term by a step or two.
				for i := 10; i < 2*len(got) && i < 24; i++ {
					a, b := int(got[i/2]>>(i%2*4)&15), int(want[i/2]>>(i%2*4)&15)
					if a-b < -2 || a-b > 2 {
						t.Errorf("term %d is %d, want %d", i, a, b)
					}
				}
			})
		}
	}
}

// The means of a plane cover all of it, whatever its size and shape.
func TestGridAverage(t *testing.T) {
	for _, size := range []image.Point{{1, 1}, {1, 60000}, {60000, 1}, {33, 31}, {8, 9000}, {257, 255}} {
		for _, chans := range []int{1, 4} {
			p := plane{stride: size.X*chans + 3, width: size.X, height: size.Y, chans: chans}
			p.pix = bytes.Repeat([]byte{255}, p.stride*size.Y-3)
			m := grid{cols: cellCount(size.X), rows: cellCount(size.Y)}
			m.average(m.rgba[:], p)
			if n := m.cols * m.rows * chans; bytes.Count(m.rgba[:n], []byte{255}) != n {
				t.Errorf("%v, %d channels: %v", size, chans, m.rgba[:n])
			}
		}
	}
}

// Options.Orientation replaces the picture's own, so that the output of another decoder can be turned like the original.
func TestOrientationOverride(t *testing.T) {
	upright := encodeAs(t, "png", quarters(240, 160))
	jpeg := encodeAs(t, "jpeg", quarters(240, 160))
	for orientation := byte(1); orientation <= 8; orientation++ {
		original := withEXIF(t, "jpeg", jpeg, orientation)
		frame := bytes.Index(original, []byte("\xff\xc0"))
		broken := bytes.Clone(original)
		broken[frame+4] = 99 // bits a sample
		for name, data := range map[string][]byte{"whole": original, "broken": broken, "cut": original[:frame], "png": withEXIF(t, "png", upright, orientation)} {
			if got := Orientation(data); got != int(orientation) {
				t.Errorf("%s: orientation %d, want %d", name, got, orientation)
			}
		}
		for _, o := range []Options{{Size: 100, PNG: true}, {Size: 64, Fit: Cover, PNG: true}, {PNG: true}} {
			want, err := Make(context.Background(), withEXIF(t, "png", upright, orientation), o)
			if err != nil {
				t.Fatal(err)
			}
			o.Orientation = int(orientation)
			for _, own := range []byte{1, 6, 3} {
				got, err := Make(context.Background(), withEXIF(t, "png", upright, own), o)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.ThumbHash, want.ThumbHash) {
					t.Errorf("%+v: differs from a picture with orientation %d of its own", o, orientation)
				}
			}
		}
	}
	for _, data := range [][]byte{nil, []byte("text"), []byte("\xff\xd8\xff"), jpeg, upright, []byte("II*\x00\x08\x00\x00\x00")} {
		if got := Orientation(data); got != 1 {
			t.Errorf("%.8q: orientation %d", data, got)
		}
	}
}

// BenchmarkThumbHash shows the share of the hash in the time of a thumbnail.
func BenchmarkThumbHash(b *testing.B) {
	src := smooth(1200, 900)
	clear := image.NewNRGBA(src.Rect)
	copy(clear.Pix, src.Pix)
	clear.Pix[3] = 0
	for _, bench := range []struct {
		name string
		data []byte
		o    Options
	}{
		{"jpeg", encodeAs(b, "jpeg", src), Options{Size: 300, Quality: 85}},
		{"png", encodeAs(b, "png", src), Options{Size: 300, PNG: true}},
		{"alpha", encodeAs(b, "png", clear), Options{Size: 300, PNG: true}},
	} {
		b.Run("make/"+bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Make(context.Background(), bench.data, bench.o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	ws := new(workspace)
	yuv := [3]plane{ws.plane(0, 300, 225, 1), ws.plane(1, 150, 113, 1), ws.plane(2, 150, 113, 1)}
	rgba := pixels{plane: ws.plane(3, 300, 225, 4), opaque: true}
	alpha := pixels{plane: rgba.plane}
	for name, hash := range map[string]func() []byte{
		"jpeg":  func() []byte { return ws.hashJPEG(yuv) },
		"png":   func() []byte { return ws.hashPNG(rgba) },
		"alpha": func() []byte { return ws.hashPNG(alpha) },
	} {
		b.Run("hash/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				hash()
			}
		})
	}
}

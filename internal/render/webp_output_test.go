package render

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"math/rand/v2"
	"testing"

	_ "golang.org/x/image/webp"
)

// decodeOwn decodes a WebP with this package: golang.org/x/image/webp takes video levels for those of a JPEG.
func decodeOwn(t *testing.T, img Image) image.Image {
	t.Helper()
	decodeThumb(t, img)
	whole, err := Make(context.Background(), img.Data, Options{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	return decodeThumb(t, whole)
}

// A picture has the same colours as WebP and as PNG, from each kind of source.
func TestWebPOutput(t *testing.T) {
	m := quarters(200, 100)
	grey := image.NewGray(m.Rect)
	for i := range grey.Pix {
		grey.Pix[i] = m.Pix[4*i]
	}
	for name, data := range map[string][]byte{
		"jpeg":        encodeAs(t, "jpeg", m),
		"jpeg turned": withEXIF(t, "jpeg", encodeAs(t, "jpeg", m), 6),
		"jpeg grey":   encodeAs(t, "jpeg", grey),
		"png":         encodeAs(t, "png", m),
		"png grey":    encodeAs(t, "png", grey),
		"display p3":  embed(t, "jpeg", encodeAs(t, "jpeg", m), displayP3()),
		"lossy webp":  readTestdata(t, "lossy.webp"),
	} {
		for size, tolerance := range map[int]int{0: 3, 91: 3, 20: 16} { // chroma of half the resolution is far from that of 20 pixels
			img, err := Make(context.Background(), data, Options{Size: size, WebP: true, Quality: 95})
			if err != nil {
				t.Fatal(err)
			}
			want, err := Make(context.Background(), data, Options{Size: size, PNG: true})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(img.ThumbHash, want.ThumbHash) && size == 0 && name[:3] == "png" {
				t.Errorf("%s: ThumbHash is %x, of PNG %x", name, img.ThumbHash, want.ThumbHash)
			}
			got, reference := decodeOwn(t, img), decodeThumb(t, want)
			b := reference.Bounds()
			for _, at := range []image.Point{{b.Dx() / 4, b.Dy() / 4}, {b.Dx() * 3 / 4, b.Dy() / 4}, {b.Dx() / 4, b.Dy() * 3 / 4}, {b.Dx() * 3 / 4, b.Dy() * 3 / 4}} {
				near(t, name, got.At(at.X, at.Y), color.NRGBAModel.Convert(reference.At(at.X, at.Y)).(color.NRGBA), tolerance)
			}
		}
	}
}

// Alpha is exact, and pixels that cannot be seen do not darken those beside them.
func TestWebPOutputAlpha(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := image.NewNRGBA(image.Rect(0, 0, 90, 70))
	for i := 0; i < len(m.Pix); i += 4 {
		copy(m.Pix[i:], []byte{230, 200, 40, byte(-r.IntN(2))})
		if i/4%90 > 45 {
			m.Pix[i+3] = byte(r.IntN(256))
		}
	}
	img, err := Make(context.Background(), encodeAs(t, "png", m), Options{WebP: true, Quality: 85})
	if err != nil {
		t.Fatal(err)
	}
	got := decodeOwn(t, img).(*image.NRGBA)
	for i := 0; i < len(m.Pix); i += 4 {
		if got.Pix[i+3] != m.Pix[i+3] {
			t.Fatalf("alpha of pixel %d is %d, want %d", i/4, got.Pix[i+3], m.Pix[i+3])
		}
		if m.Pix[i+3] > 100 {
			near(t, "colour", got.At(i/4%90, i/4/90), m.NRGBAAt(i/4%90, i/4/90), 32)
		}
	}
}

// The background of a box is exact where it is transparent, and the picture in the middle keeps its alpha.
func TestWebPOutputPad(t *testing.T) {
	grey := image.NewGray(image.Rect(0, 0, 40, 20))
	for i := range grey.Pix {
		grey.Pix[i] = 90
	}
	red := color.NRGBA{200, 0, 0, 255}
	for _, test := range []struct {
		name       string
		data       []byte
		background Background
		bar        color.NRGBA // above and below the picture
		left       color.NRGBA // half of the picture
		right      color.NRGBA
	}{
		{"alpha on transparent", encodeAs(t, "png", half(red, color.NRGBA{})), Transparent, color.NRGBA{}, red, color.NRGBA{}},
		{"alpha on teal", encodeAs(t, "png", half(red, color.NRGBA{})), 0x108070, color.NRGBA{16, 128, 112, 255}, red, color.NRGBA{16, 128, 112, 255}},
		{"jpeg on transparent", encodeAs(t, "jpeg", uniform(40, 20, red)), Transparent, color.NRGBA{}, red, red},
		{"turned jpeg on transparent", withEXIF(t, "jpeg", encodeAs(t, "jpeg", uniform(20, 40, red)), 6), Transparent, color.NRGBA{}, red, red},
		{"grey on transparent", encodeAs(t, "png", grey), Transparent, color.NRGBA{}, color.NRGBA{90, 90, 90, 255}, color.NRGBA{90, 90, 90, 255}},
		{"grey on blur", encodeAs(t, "png", grey), Blur, color.NRGBA{90, 90, 90, 255}, color.NRGBA{90, 90, 90, 255}, color.NRGBA{90, 90, 90, 255}},
	} {
		img, err := Make(context.Background(), test.data, Options{Size: 40, Fit: Pad, Background: test.background, WebP: true, Quality: 95})
		if err != nil {
			t.Fatal(err)
		}
		if img.Width != 40 || img.Height != 40 {
			t.Errorf("%s: got %d x %d", test.name, img.Width, img.Height)
		}
		m := decodeOwn(t, img)
		for _, at := range []struct {
			x, y int
			want color.NRGBA
		}{{20, 3, test.bar}, {20, 37, test.bar}, {8, 20, test.left}, {31, 20, test.right}} {
			got := color.NRGBAModel.Convert(m.At(at.x, at.y)).(color.NRGBA)
			if got.A != at.want.A {
				t.Errorf("%s: alpha at %d, %d is %d, want %d", test.name, at.x, at.y, got.A, at.want.A)
			}
			if at.want.A > 0 {
				near(t, test.name, got, at.want, 12)
			}
		}
	}
}

// A profile that this package cannot convert is carried.
func TestWebPOutputProfile(t *testing.T) {
	icc := buildICC("RGB ", "Lab ", map[string][]byte{"A2B0": []byte("mft2 and so on")})
	img, err := Make(context.Background(), embed(t, "jpeg", encodeAs(t, "jpeg", quarters(40, 30)), icc), Options{WebP: true, Quality: 85})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(img.Data, icc) {
		t.Error("no profile in the WebP")
	}
	decodeThumb(t, img)
}

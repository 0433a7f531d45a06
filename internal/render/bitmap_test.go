package render

import (
	"context"
	"errors"
	"image"
	"image/color"
	"math"
	"testing"
)

// The pixels of an image survive the way through a bitmap, whatever its type and bounds.
func TestBitmap(t *testing.T) {
	src := quarters(40, 20)
	src.Set(3, 3, color.NRGBA{200, 100, 50, 128})
	src.Set(4, 3, color.NRGBA{})
	moved := *src
	moved.Rect = src.Rect.Add(image.Pt(-7, 1000))
	gray := image.NewGray(src.Rect)
	for i := range gray.Pix {
		gray.Pix[i] = byte(i)
	}
	for name, m := range map[string]image.Image{
		"NRGBA": src, "moved": &moved, "gray": gray, "part": src.SubImage(image.Rect(3, 2, 9, 9)),
		"clear": image.NewNRGBA(image.Rect(0, 0, 2, 2)), "pixel": image.NewRGBA64(image.Rect(5, 5, 6, 6)),
		"own type": struct{ image.Image }{src},
	} {
		data, err := Bitmap(t.Context(), m)
		if err != nil {
			t.Fatal(name, err)
		}
		img, err := Make(t.Context(), data, Options{PNG: true})
		if err != nil {
			t.Fatal(name, err)
		}
		got, b := decodeThumb(t, img), m.Bounds()
		if got.Bounds().Size() != b.Size() {
			t.Fatalf("%s: %v", name, got.Bounds())
		}
		for y := range b.Dy() {
			for x := range b.Dx() {
				want := color.NRGBAModel.Convert(m.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
				near(t, name, got.At(x, y), want, 2)
			}
		}
	}
}

// An image of any bounds is refused before memory is allocated for it.
func TestBitmapBounds(t *testing.T) {
	for _, r := range []image.Rectangle{
		image.Rect(0, 0, 1<<20, 1<<20), {Min: image.Pt(math.MinInt, math.MinInt), Max: image.Pt(math.MaxInt, math.MaxInt)},
		{Min: image.Pt(math.MinInt, 0), Max: image.Pt(math.MinInt+1, 1)}, image.Rect(0, 0, 4097, 4096),
	} {
		if _, err := Bitmap(t.Context(), boundless{r}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: %v", r, err)
		}
	}
	for _, r := range []image.Rectangle{{}, {Min: image.Pt(5, 5)}} {
		if _, err := Bitmap(t.Context(), boundless{r}); err == nil {
			t.Errorf("%v: no error", r)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Bitmap(ctx, quarters(4, 4)); err != context.Canceled {
		t.Error(err)
	}
}

// boundless is an image that claims to have any bounds.
type boundless struct{ r image.Rectangle }

func (m boundless) Bounds() image.Rectangle { return m.r }
func (boundless) ColorModel() color.Model   { return color.GrayModel }
func (boundless) At(x, y int) color.Color   { return color.Black }

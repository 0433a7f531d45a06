package render

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Sizes that are made together are as good as those that are made alone: at most 0.05 dB worse against the full-size picture that
// is scaled in one step.
func TestMakeSizes(t *testing.T) {
	files, err := filepath.Glob("../../bench/testdata/*.jpg")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	sizes := []int{600, 300, 160, 64}
	files = files[:min(len(files), series(2, len(files)))]
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Size: sizes[0], Quality: 85}
		together, err := MakeSizes(t.Context(), data, o, sizes)
		if err != nil {
			t.Fatal(err)
		}
		for i, size := range sizes {
			o.Size = size
			alone, err := Make(t.Context(), data, o)
			if err != nil {
				t.Fatal(err)
			}
			full := scaledInOneStep(t, data, size)
			name := fmt.Sprintf("%s to %d", filepath.Base(file), size)
			if together[i].Width != alone.Width || together[i].Height != alone.Height {
				t.Errorf("%s: %d x %d and %d x %d", name, together[i].Width, together[i].Height, alone.Width, alone.Height)
				continue
			}
			a, b := psnrOf(t, alone.Data, full), psnrOf(t, together[i].Data, full)
			t.Logf("%s: alone %.2f dB, together %.2f dB", name, a, b)
			if b < a-0.05 {
				t.Errorf("%s: alone %.2f dB, together %.2f dB", name, a, b)
			}
		}
	}
}

// Smaller sizes show the same as when they are made alone, whatever the format and the orientation.
func TestMakeSizesOfEveryKind(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 403, 302))
	for y := range 302 {
		for x := range 403 {
			m.SetNRGBA(x, y, color.NRGBA{byte(x / 2), byte(y / 2), byte(255 - x/2), byte(255 - (x+y)/6)})
		}
	}
	gray := image.NewGray(m.Rect)
	draw.Draw(gray, m.Rect, m, image.Point{}, draw.Src)
	files := map[string][]byte{"video": readTestdata(t, "lossy.webp"), "grey": encodeAs(t, "jpeg", gray)}
	for _, format := range []string{"jpeg", "png", "gif", "bmp", "tiff"} {
		files[format] = encodeAs(t, format, m)
	}
	sizes := []int{200, 100, 70, 35, 9, 4}
	for i, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		for orientation := 1; orientation <= 8; orientation++ {
			if (i+orientation)%series(4, 1) != 0 {
				continue // in the short series, each kind has two of the orientations
			}
			for _, png := range []bool{false, true} {
				o := Options{Size: sizes[0], Orientation: orientation, PNG: png, Quality: 100}
				images, err := MakeSizes(t.Context(), data, o, sizes)
				if err != nil {
					t.Fatal(err)
				}
				for i, size := range sizes {
					o.Size = size
					alone, err := Make(t.Context(), data, o)
					if err != nil {
						t.Fatal(err)
					}
					if d := meanDifference(decodeThumb(t, alone), decodeThumb(t, images[i])); d > 4 {
						t.Errorf("%s, orientation %d, PNG %v, size %d: pixels differ by %.1f", name, orientation, png, size, d)
					}
				}
			}
		}
	}
}

// meanDifference returns the mean difference of the samples of two images, or infinity if their sizes differ.
func meanDifference(a, b image.Image) float64 {
	if a.Bounds() != b.Bounds() {
		return math.Inf(1)
	}
	var sum float64
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r1, g1, b1, a1 := a.At(x, y).RGBA()
			r2, g2, b2, a2 := b.At(x, y).RGBA()
			for _, d := range []float64{float64(r1) - float64(r2), float64(g1) - float64(g2), float64(b1) - float64(b2), float64(a1) - float64(a2)} {
				sum += math.Abs(d) / 257
			}
		}
	}
	return sum / float64(4*a.Bounds().Dx()*a.Bounds().Dy())
}

// scaledInOneStep returns a thumbnail that is scaled from the full-size picture, as a JPEG of the best quality.
func scaledInOneStep(t *testing.T, data []byte, size int) []byte {
	t.Helper()
	h, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Quality: 100}
	ws := new(workspace)
	src, err := ws.decode(t.Context(), h, layOut(h, o), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Size = size
	img, err := ws.encode(&src, layOut(h, o), o, h.profile(src.kind))
	if err != nil {
		t.Fatal(err)
	}
	return img.Data
}

// psnrOf returns the peak signal-to-noise ratio of two JPEGs, in decibels.
func psnrOf(t *testing.T, got, want []byte) float64 {
	t.Helper()
	a, err := jpeg.Decode(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	b, err := jpeg.Decode(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r1, g1, b1, _ := a.At(x, y).RGBA()
			r2, g2, b2, _ := b.At(x, y).RGBA()
			for _, d := range []float64{float64(r1) - float64(r2), float64(g1) - float64(g2), float64(b1) - float64(b2)} {
				sum += d * d / (257 * 257)
			}
		}
	}
	return 10 * math.Log10(255*255*float64(3*a.Bounds().Dx()*a.Bounds().Dy())/sum)
}

func BenchmarkMakeSizes(b *testing.B) {
	data, err := os.ReadFile("../../bench/testdata/dense-1400-progressive.jpg")
	if err != nil {
		b.Fatal(err)
	}
	o := Options{Size: 600, Quality: 85}
	for name, sizes := range map[string][]int{"largest": {600}, "together": {600, 300, 160, 64}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := MakeSizes(b.Context(), data, o, sizes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

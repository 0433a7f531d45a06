package render

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"math"
	"os"
	"path/filepath"
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
			o.Quality = 100
			// The reference is scaled from the full-size picture.
			full, err := MakeSizes(t.Context(), data, Options{Size: 0, Quality: 100}, []int{0, size})
			if err != nil {
				t.Fatal(err)
			}
			o.Quality = 85
			name := fmt.Sprintf("%s to %d", filepath.Base(file), size)
			if together[i].Width != alone.Width || together[i].Height != alone.Height {
				t.Errorf("%s: %d x %d and %d x %d", name, together[i].Width, together[i].Height, alone.Width, alone.Height)
				continue
			}
			a, b := psnrOf(t, alone.Data, full[1].Data), psnrOf(t, together[i].Data, full[1].Data)
			t.Logf("%s: alone %.2f dB, together %.2f dB", name, a, b)
			if b < a-0.05 {
				t.Errorf("%s: alone %.2f dB, together %.2f dB", name, a, b)
			}
		}
	}
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

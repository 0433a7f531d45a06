package main

import (
	"bytes"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"
	"testing"

	"github.com/disintegration/imaging"
)

// A thumbnail of a PNG is as near to a Lanczos reduction of the whole picture as that is itself, once it is a JPEG.
func TestPNGQuality(t *testing.T) {
	for _, name := range names {
		large, err := testdata.ReadFile("testdata/" + name + "-3000.jpg")
		if err != nil {
			t.Fatal(err)
		}
		original, err := jpeg.Decode(bytes.NewReader(large))
		if err != nil {
			t.Fatal(err)
		}
		for _, edge := range edges {
			full := imaging.Fit(original, edge, edge, imaging.Lanczos)
			var file bytes.Buffer
			if err := png.Encode(&file, full); err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{64, 128, 200, 256, 300, 512} {
				if size > edge {
					continue
				}
				data, err := ours(file.Bytes(), size)
				if err != nil {
					t.Fatal(err)
				}
				got := rgbaOf(t, data)
				reference := imaging.Resize(full, got.Rect.Dx(), got.Rect.Dy(), imaging.Lanczos)
				usual := rgbaOf(t, encode(reference, quality))
				want := image.NewRGBA(got.Rect)
				draw.Draw(want, want.Rect, reference, image.Point{}, draw.Src)

				p, limit := psnr(got, want), psnr(usual, want)
				t.Logf("%s %d to %d: PSNR %.2f dB (reference %.2f)", name, edge, size, p, limit)
				if p < limit-0.1 {
					t.Errorf("%s %d to %d: PSNR %.2f dB, the reference has %.2f", name, edge, size, p, limit)
				}
			}
		}
	}
}

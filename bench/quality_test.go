package main

import (
	"bytes"
	"image"
	"image/draw"
	"image/jpeg"
	"testing"

	"github.com/disintegration/imaging"
)

// A thumbnail is as close to a Lanczos reduction of the whole picture as that reduction is after it was encoded as JPEG.
func TestQuality(t *testing.T) {
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		full, err := jpeg.Decode(bytes.NewReader(s.data))
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{64, 128, 200, 256, 300, 512} {
			if size > s.edge {
				continue
			}
			data, err := ours(s.data, size)
			if err != nil {
				t.Fatal(err)
			}
			got := rgbaOf(t, data)
			b := got.Bounds()
			reference := imaging.Resize(full, b.Dx(), b.Dy(), imaging.Lanczos)
			usual := rgbaOf(t, encode(reference, quality))
			want := image.NewRGBA(b)
			draw.Draw(want, b, reference, image.Point{}, draw.Src)

			p, limit := psnr(got, want), psnr(usual, want)
			q, least := ssim(got, want), ssim(usual, want)
			t.Logf("%v to %d: PSNR %.2f dB (reference %.2f), SSIM %.4f (%.4f)", s, size, p, limit, q, least)
			if p < limit-0.1 {
				t.Errorf("%v to %d: PSNR %.2f dB, the reference has %.2f", s, size, p, limit)
			}
			if q < least-0.002 {
				t.Errorf("%v to %d: SSIM %.4f, the reference has %.4f", s, size, q, least)
			}
		}
	}
}

func rgbaOf(t *testing.T, data []byte) *image.RGBA {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	m := image.NewRGBA(img.Bounds())
	draw.Draw(m, m.Rect, img, image.Point{}, draw.Src)
	return m
}

package main

import (
	"bytes"
	"image/jpeg"
	"os/exec"
	"testing"
)

// A WebP has the SSIM of a JPEG of the same quality, with much fewer bytes.
func TestWebPQuality(t *testing.T) {
	if _, err := exec.LookPath("dwebp"); err != nil {
		t.Skip("dwebp is not installed")
	}
	for _, quality := range []int{50, 75, 85, 92} {
		var errors, bytesOf [2]float64 // as JPEG and as WebP
		for _, name := range names {
			data, err := testdata.ReadFile("testdata/" + name + "-3000.jpg")
			if err != nil {
				t.Fatal(err)
			}
			m, err := jpeg.Decode(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			thumb, err := newThumb(name, m, 256, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range encoders[:2] {
				s, err := e.sample(thumb, quality)
				if err != nil {
					t.Fatal(err)
				}
				errors[i] += 1 - s.ssim
				bytesOf[i] += s.bytes
			}
		}
		t.Logf("quality %d: errors %.4f and %.4f, %.0f and %.0f bytes", quality, errors[0], errors[1], bytesOf[0], bytesOf[1])
		if ratio := errors[1] / errors[0]; ratio < 0.8 || ratio > 1.3 {
			t.Errorf("quality %d: WebP has %.2f times the error", quality, ratio)
		}
		if ratio := bytesOf[1] / bytesOf[0]; ratio > 0.8 {
			t.Errorf("quality %d: WebP has %.2f times the bytes", quality, ratio)
		}
	}
}

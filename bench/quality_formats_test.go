package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os/exec"
	"testing"

	"github.com/disintegration/imaging"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// A format makes files of a picture. Each holds what decode finds in it.
type format struct {
	name   string
	encode func(t *testing.T, m image.Image) []byte
	decode func(file []byte) (image.Image, error)
}

// with makes an encoder of a function of the standard library or golang.org/x/image.
func with(encode func(b *bytes.Buffer, m image.Image) error) func(t *testing.T, m image.Image) []byte {
	return func(t *testing.T, m image.Image) []byte {
		var b bytes.Buffer
		if err := encode(&b, m); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
}

// cwebp encodes with the command of libwebp.
func cwebp(options ...string) func(t *testing.T, m image.Image) []byte {
	return func(t *testing.T, m image.Image) []byte {
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath("cwebp"); err != nil {
			t.Skip("no cwebp")
		}
		file, err := pipe(b.Bytes(), "cwebp", append(options, "-quiet", "-o", "-", "--", "-")...)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
}

// dwebp decodes with the command of libwebp. golang.org/x/image/webp takes video levels for those of a JPEG.
func dwebp(file []byte) (image.Image, error) {
	out, err := pipe(file, "dwebp", "-quiet", "-o", "-", "--", "-")
	if err != nil {
		return nil, err
	}
	return png.Decode(bytes.NewReader(out))
}

// pipe returns what a command makes of its input.
func pipe(in []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(in)
	return cmd.Output()
}

// of makes a decoder that returns any image.
func of(decode func(r *bytes.Reader) (image.Image, error)) func(file []byte) (image.Image, error) {
	return func(file []byte) (image.Image, error) { return decode(bytes.NewReader(file)) }
}

var formats = []format{
	{"PNG", with(func(b *bytes.Buffer, m image.Image) error {
		return (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(b, m)
	}), of(func(r *bytes.Reader) (image.Image, error) { return png.Decode(r) })},
	{"TIFF", with(func(b *bytes.Buffer, m image.Image) error {
		return tiff.Encode(b, m, &tiff.Options{Compression: tiff.Deflate, Predictor: true})
	}), of(func(r *bytes.Reader) (image.Image, error) { return tiff.Decode(r) })},
	{"BMP", with(func(b *bytes.Buffer, m image.Image) error {
		return bmp.Encode(b, m)
	}), of(func(r *bytes.Reader) (image.Image, error) { return bmp.Decode(r) })},
	{"GIF", with(func(b *bytes.Buffer, m image.Image) error {
		p := image.NewPaletted(m.Bounds(), palette.Plan9)
		draw.FloydSteinberg.Draw(p, p.Rect, m, image.Point{})
		return gif.Encode(b, p, nil)
	}), of(func(r *bytes.Reader) (image.Image, error) { return gif.Decode(r) })},
	{"WebP lossless", cwebp("-lossless", "-z", "1"), dwebp},
	{"WebP lossy", cwebp("-q", "90"), dwebp},
}

// In every format, a thumbnail is as near to a Lanczos reduction of the whole picture as that is itself, once it is a JPEG.
func TestFormatQuality(t *testing.T) {
	for _, name := range names {
		large, err := testdata.ReadFile("testdata/" + name + "-3000.jpg")
		if err != nil {
			t.Fatal(err)
		}
		original, err := jpeg.Decode(bytes.NewReader(large))
		if err != nil {
			t.Fatal(err)
		}
		for _, edge := range []int{500, 1400, 3000} {
			m := imaging.Fit(original, edge, edge, imaging.Lanczos)
			for _, f := range formats {
				t.Run(fmt.Sprintf("%s %s %d", f.name, name, edge), func(t *testing.T) {
					file := f.encode(t, m)
					full, err := f.decode(file)
					if err != nil {
						t.Fatal(err)
					}
					for _, size := range []int{64, 200, 256, 512} {
						if size <= edge {
							checkQuality(t, full, file, size)
						}
					}
				})
			}
		}
	}
}

// checkQuality compares the thumbnail of a file, which holds the full picture.
func checkQuality(t *testing.T, full image.Image, file []byte, size int) {
	t.Helper()
	data, err := ours(file, size)
	if err != nil {
		t.Fatal(err)
	}
	got := rgbaOf(t, data)
	reference := imaging.Resize(full, got.Rect.Dx(), got.Rect.Dy(), imaging.Lanczos)
	usual := rgbaOf(t, encode(reference, quality))
	want := image.NewRGBA(got.Rect)
	draw.Draw(want, want.Rect, reference, image.Point{}, draw.Src)
	p, limit := psnr(got, want), psnr(usual, want)
	t.Logf("to %d: PSNR %.2f dB (reference %.2f)", size, p, limit)
	if p < limit-0.1 {
		t.Errorf("to %d: PSNR %.2f dB, the reference has %.2f", size, p, limit)
	}
}

package webpdec

import (
	"bytes"
	"context"
	"testing"

	"golang.org/x/image/webp"
)

// BenchmarkDecode decodes a picture of 1400 x 1400, at half its size as for a thumbnail of 256.
func BenchmarkDecode(b *testing.B) {
	m := testPicture(1400, 1400, 12, false)
	for name, args := range map[string][]string{
		"lossy":    {"-q", "80"},
		"lossless": {"-lossless", "-m", "2"},
	} {
		data := cwebp(b, m, args...)
		f := parseFile(data)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(1400 * 1400)
			for b.Loop() {
				if _, err := f.Decode(context.Background(), Options{Scale: 2}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/oracle", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(1400 * 1400)
			for b.Loop() {
				if _, err := webp.Decode(bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

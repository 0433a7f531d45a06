package pngdec

import (
	"bytes"
	"context"
	"image/png"
	"math/rand/v2"
	"testing"
	"time"
)

// FuzzDecode decodes what image/png decodes, to the same pixels, and reduces it to their means.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for i, k := range kinds() {
		f.Add(k.make(r, 9+i%5, 7+i%3, i%2 == 0).encode(), uint8(i))
	}
	f.Add(photo(RGB, 40, 30, true).encode(), uint8(3))
	f.Fuzz(func(t *testing.T, file []byte, scale uint8) {
		if !bytes.HasPrefix(file, []byte(Signature)) {
			return
		}
		h, data, err := openFile(file)
		if err != nil || h.Width == 0 || h.Color == Paletted && len(h.Palette) < 3 || h.Cost(Options{}) > 8<<20 {
			return
		}
		var full, small Image
		start := time.Now()
		err = Decode(context.Background(), &h, data, Options{RGBA: true}, &full)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		o := Options{Scale: int(scale), RGBA: true}
		smallErr := Decode(context.Background(), &h, data, o, &small)
		if (err == nil) != (smallErr == nil) {
			t.Errorf("full size: %v, reduced: %v", err, smallErr)
		}
		want, wantErr := png.Decode(bytes.NewReader(file))
		if wantErr != nil {
			return
		}
		// image/png ignores tRNS chunks of some lengths and in some places.
		if err != nil || full.Missing {
			t.Fatalf("image/png decodes it, Decode says %v, missing %v", err, full.Missing)
		}
		pix := premultiplied(want)
		if differ(full.Pix, pix) != 0 {
			t.Error("pixels differ from those of image/png")
		}
		if differ(small.Pix, reduced(pix, h.Width, h.Height, o.scale())) > 1 {
			t.Errorf("1/%d: pixels differ from the means", o.scale())
		}
	})
}

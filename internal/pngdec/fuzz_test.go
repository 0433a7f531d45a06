package pngdec

import (
	"bytes"
	"compress/zlib"
	"context"
	"image/png"
	"io"
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

// FuzzInflate decompresses like compress/zlib, in chunks of any size.
func FuzzInflate(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, level := range []int{-2, 0, 1, 9} {
		for _, most := range []int{2, 256} {
			data := make([]byte, 300)
			for i := range data {
				data[i] = byte(r.IntN(most))
			}
			f.Add(deflated(data, level), uint16(50))
			f.Add(deflated(bytes.Repeat(data[:7], 999), level), uint16(1))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		const limit = 1 << 20
		var want []byte
		z, wantErr := zlib.NewReader(bytes.NewReader(data))
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(z, limit))
		}
		var chunks []byte
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+int(size))
			chunks = append(chunks, makeChunk("IDAT", rest[:n])...)
			rest = rest[n:]
		}
		var in inflater
		in.reset(context.Background(), chunks)
		var got []byte
		err := in.zlibHeader()
		for err == nil && len(got) < limit {
			buf := make([]byte, 1000)
			var n int
			n, err = in.read(buf)
			got = append(got, buf[:n]...)
		}
		got = got[:min(len(got), limit)]
		if wantErr == nil && !bytes.Equal(got, want) {
			t.Errorf("got %d bytes and %v, want %d bytes", len(got), err, len(want))
		}
		if n := min(len(got), len(want)); !bytes.Equal(got[:n], want[:n]) {
			t.Errorf("%d bytes differ", n)
		}
	})
}

package tiff

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"testing"
	"time"

	xtiff "golang.org/x/image/tiff"
)

// seeds are files of all kinds, small ones.
func seeds() (files [][]byte) {
	add := func(p picture) {
		if p.value == nil {
			p.value = smoothSamples
		}
		files = append(files, p.file(binary.LittleEndian, false))
	}
	for _, compression := range []int{compNone, compLZW, compDeflate, compPackBits} {
		add(picture{w: 20, h: 10, samples: 3, bits: 8, photometric: photoRGB, compression: compression, blockH: 4})
		add(picture{w: 20, h: 10, samples: 1, bits: 4, photometric: blackIsZero, compression: compression})
		add(picture{w: 20, h: 10, samples: 4, bits: 16, photometric: separated, compression: compression, planar: true})
		add(picture{w: 20, h: 10, samples: 3, bits: 8, photometric: photoYCbCr, compression: compression, blockW: 16, blockH: 16,
			extra: []entry{short(tagYCbCrSampling, 1, 1)}})
	}
	add(picture{w: 20, h: 10, samples: 3, bits: 8, photometric: photoRGB, compression: compLZW, predictor: 2})
	add(picture{w: 20, h: 10, samples: 1, bits: 8, photometric: blackIsZero, compression: compLZW, oldLZW: true})
	add(picture{w: 20, h: 10, samples: 1, bits: 32, format: formatFloat, photometric: blackIsZero, compression: compDeflate, predictor: 3})
	add(picture{w: 20, h: 10, samples: 3, bits: 16, photometric: cieLab, compression: compNone})
	for _, compression := range []int{compRLE, compG3, compG4} {
		p := picture{w: 40, h: 3}
		w := new(faxWriter)
		for range 3 {
			w.write1D(make([]bool, 40))
		}
		fax(&p, compression, 0, w.bytes())
		add(p)
	}
	return files
}

// FuzzDecode looks for panics, and for files that take more time or memory than they say.
func FuzzDecode(f *testing.F) {
	for _, data := range seeds() {
		f.Add(data, byte(len(data)%4))
	}
	w := newWriter(binary.LittleEndian, false)
	stream := jpegOf(f, 16, 16, false, func(x, y int) color.RGBA { return color.RGBA{byte(x), byte(y), 9, 255} })
	at := w.data(stream)
	w.directory(false, short(tagWidth, 16), short(tagLength, 16), short(tagBitsPerSample, 8), short(tagCompression, compJPEG),
		short(tagPhotometric, photoYCbCr), short(tagSamplesPerPixel, 3), long(tagStripOffsets, at), long(tagStripByteCounts, uint64(len(stream))))
	f.Add(w.buf, byte(1))
	f.Fuzz(func(t *testing.T, data []byte, scale byte) {
		o := Options{Scale: int(scale)}
		start := time.Now()
		var h Header
		var err error
		if used := allocated(func() { h, err = config(data) }); used > 1<<20+8*int64(len(data)) {
			t.Fatalf("the header took %d bytes", used)
		}
		if err != nil {
			if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			if _, err := decode(data); err == nil {
				t.Fatal("there is a picture without a header")
			}
			return
		}
		if h.Cost(o) > 64<<20 {
			return
		}
		var img image.Image
		used := allocated(func() { img, err = Decode(context.Background(), bytes.NewReader(data), int64(len(data)), o) })
		if used > h.Cost(o)+64<<10 { // the test's own work is in it
			t.Fatalf("%d bytes, %d were said", used, h.Cost(o))
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("it took %v", took)
		}
		if err != nil {
			if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		n := max(1, int(scale))
		if img.Bounds() != image.Rect(0, 0, (h.Width+n-1)/n, (h.Height+n-1)/n) {
			t.Fatalf("%v, %d x %d were said", img.Bounds(), h.Width, h.Height)
		}
	})
}

// FuzzDifference compares with golang.org/x/image/tiff what both decode. Where that is wrong, its answer does not count.
func FuzzDifference(f *testing.F) {
	for _, data := range seeds() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := config(data)
		if err != nil || h.Cost(Options{}) > 8<<20 {
			return
		}
		p, err := open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		bits, _ := p.dir.Find(tagBitsPerSample)
		switch {
		case bits.Count != int64(p.samples), // which is the number of samples there
			p.dir.Offset != p.file.first,
			!p.dir.Has(tagPhotometric), // which is 0 there
			p.bits != 8 && p.bits != 16,
			p.format != formatUint,
			p.planar,
			p.reversed,
			p.samples == 4 && p.alpha == opaque,
			p.samples > 4,
			p.photometric != blackIsZero && p.photometric != whiteIsZero && p.photometric != photoRGB,
			p.colours == 1 && p.samples > 1,
			p.predictor == 2 && p.compression == compOldDeflate,
			p.compression == compJPEG || p.compression == compOldJPEG || p.compression == compRLE || p.compression == compG3,
			p.dir.Uint(tagPredictor, 1) != 1 && p.predictor == 0:
			return
		}
		want, err := xtiff.Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		got, err := Decode(context.Background(), bytes.NewReader(data), int64(len(data)), Options{})
		if err != nil {
			return // such as a strip that is too short, which the other fills with black
		}
		for y := range h.Height {
			for x := range h.Width {
				r, g, b, a := want.At(x, y).RGBA()
				r2, g2, b2, a2 := got.At(x, y).RGBA()
				for i, v := range [4]uint32{r, g, b, a} {
					w := [4]uint32{r2, g2, b2, a2}[i]
					if p.alpha == associated && v > a {
						continue
					}
					if d := int(v>>8) - int(w>>8); d < -1 || d > 1 {
						t.Fatalf("%+v at %d,%d: %v, not %v", h, x, y, got.At(x, y), want.At(x, y))
					}
				}
			}
		}
	})
}

// FuzzDirectories looks for panics and endless chains.
func FuzzDirectories(f *testing.F) {
	for _, data := range seeds() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := open1(data)
		if err != nil {
			return
		}
		n := 0
		for d := range file.Directories(file.First(), true) {
			if n++; n > maxDirectories {
				t.Fatal("endless")
			}
			for tag := range uint16(600) {
				field, ok := d.Find(tag)
				if !ok {
					continue
				}
				if field.Count <= 0 || field.Len() > int64(len(data)) {
					t.Fatalf("%+v", field)
				}
				field.Uint(field.Count - 1)
				field.Float(field.Count - 1)
				if p := field.Bytes(int64(len(data))); int64(len(p)) != field.Len() {
					t.Fatalf("%+v: %d bytes", field, len(p))
				}
			}
		}
	})
}

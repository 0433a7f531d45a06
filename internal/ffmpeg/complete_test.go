package ffmpeg

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"path/filepath"
	"strings"
	"testing"
)

// drawing returns a picture of two colours that compresses to almost nothing.
func drawing(w, h int) *image.Paletted {
	img := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.RGBA{220, 30, 30, 255}, color.RGBA{30, 180, 40, 255}})
	for y := range h {
		for x := w / 2; x < w; x++ {
			img.Pix[y*img.Stride+x] = 1
		}
	}
	return img
}

// bmp returns a BMP of one bit per pixel with the header of OS/2 (12 bytes) or of Windows (40 bytes).
func bmp(w, h, header int) []byte {
	le16 := func(n int) []byte { return []byte{byte(n), byte(n >> 8)} }
	le32 := func(n int) []byte { return append(le16(n), le16(n>>16)...) }
	stride, entry := (w+31)/32*4, 3
	var info []byte
	if header == 12 {
		info = bytes.Join([][]byte{le32(12), le16(w), le16(h), le16(1), le16(1)}, nil)
	} else {
		entry = 4
		info = bytes.Join([][]byte{le32(40), le32(w), le32(h), le16(1), le16(1), make([]byte, 24)}, nil)
	}
	offset := 14 + header + 2*entry
	file := bytes.Join([][]byte{[]byte("BM"), le32(offset + stride*h), le32(0), le32(offset), info}, nil)
	for _, c := range [][4]byte{{30, 30, 220, 0}, {40, 180, 30, 0}} {
		file = append(file, c[:entry]...)
	}
	row := make([]byte, stride)
	for x := w / 2; x < w; x++ {
		row[x/8] |= 0x80 >> (x % 8)
	}
	return append(file, bytes.Repeat(row, h)...)
}

// drawings returns whole pictures of two colours by name.
func drawings(t *testing.T) map[string][]byte {
	t.Helper()
	img := drawing(400, 300)
	var p, j, g bytes.Buffer
	if err := errors.Join(png.Encode(&p, img), jpeg.Encode(&j, img, nil), gif.Encode(&g, img, nil)); err != nil {
		t.Fatal(err)
	}
	leaving := bytes.Clone(g.Bytes())
	leaving[6], leaving[7] = 0x80, 0x01 // the width of the canvas: 384 instead of 400
	return map[string][]byte{
		"gif leaving its canvas": leaving,
		"png":                    p.Bytes(), "png without end": bytes.TrimSuffix(p.Bytes(), []byte(pngEnd)), "jpeg": j.Bytes(), "gif": g.Bytes(),
		"bmp": bmp(400, 300, 40), "bmp of OS/2": bmp(400, 300, 12),
	}
}

// A whole picture is decoded with one process, however little it shows.
func TestDrawings(t *testing.T) {
	t.Parallel()
	probeSystem(t)
	for name, data := range drawings(t) {
		if !isComplete(data) {
			t.Errorf("%s: does not seem complete", name)
		}
		n := 0
		got, err := system.Decode(t.Context(), data, countProcesses(&n))
		if err != nil || n != 1 {
			t.Errorf("%s: %d processes, %v\n%s", name, n, err, messages(err))
			continue
		}
		img := decode(t, got)
		for x, want := range map[int]color.RGBA{100: {220, 30, 30, 255}, 300: {30, 180, 40, 255}} {
			if got := color.RGBAModel.Convert(img.At(x, 150)).(color.RGBA); !isNear(got, want, 6) {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
	}
}

// A truncated picture does not seem complete.
func TestIsComplete(t *testing.T) {
	for name, data := range drawings(t) {
		for _, n := range []int{len(data) - 20, len(data) / 2, 30} {
			if isComplete(data[:n]) {
				t.Errorf("%s: %d of %d bytes seem complete", name, n, len(data))
			}
		}
	}
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	for name, data := range map[string]string{
		"webp":            "RIFF\x04\x00\x00\x00WEBP?",
		"tiff":            "II*\x00",
		"bmp of runs":     "BM" + zeros(12) + "\x28\x00\x00\x00" + zeros(12) + "\x01" + zeros(40) + "\x00\x01",
		"unknown formats": "",
	} {
		if !isComplete([]byte(data)) {
			t.Errorf("%s: does not seem complete", name)
		}
	}
}

// No data makes isComplete or mendPNG panic, and mendPNG drops no more than an incomplete chunk header.
func FuzzIsComplete(f *testing.F) {
	var b bytes.Buffer
	png.Encode(&b, drawing(9, 9))
	f.Add(b.Bytes())
	f.Add(bmp(9, 9, 12))
	f.Add(bmp(9, 9, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		isComplete(data)
		if got := mendPNG(data); len(got) < len(data)-12 {
			t.Errorf("%d bytes became %d", len(data), len(got))
		}
	})
}

func TestSharedDrawings(t *testing.T) {
	t.Parallel()
	for _, c := range sharedCases(t, "flat-picture-refused") {
		got, err := system.Decode(t.Context(), readFile(t, c.path), Caller{})
		if err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(c.path), err, messages(err))
			continue
		}
		c.check(t, decode(t, got))
	}
}

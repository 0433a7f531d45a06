package webpenc

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/thumbcache/thumbcache/internal/webpdec"
)

// These tests check that decoders find exactly the samples that the encoder has reconstructed, filtered, and exactly the alpha.

// compare compares a decoded picture with the reconstruction.
func (r *reconstruction) compare(got *image.YCbCr) error {
	w, h := got.Rect.Dx(), got.Rect.Dy()
	cw, ch := (w+1)/2, (h+1)/2
	for i, p := range [3]plane{{got.Y, got.YStride, w, h}, {got.Cb, got.CStride, cw, ch}, {got.Cr, got.CStride, cw, ch}} {
		for y := range p.height {
			row, want := p.pix[y*p.stride:][:p.width], r.planes[i].pix[y*r.planes[i].stride:][:p.width]
			for x := range row {
				if row[x] != want[x] {
					return fmt.Errorf("plane %d at %d, %d is %d, want %d", i, x, y, row[x], want[x])
				}
			}
		}
	}
	return nil
}

// contents are kinds of samples, by position and plane. The planes are luma, two of chroma, and alpha.
var contents = []struct {
	name   string
	sample func(x, y, plane int, r *rand.Rand) byte
}{
	{"noise", func(_, _, _ int, r *rand.Rand) byte { return byte(r.IntN(256)) }},
	{"black and white noise", func(_, _, _ int, r *rand.Rand) byte { return byte(-r.IntN(2)) }},
	{"checker", func(x, y, plane int, _ *rand.Rand) byte { return byte(-((x + y + plane) & 1)) }},
	{"large checker", func(x, y, plane int, _ *rand.Rand) byte { return byte(-((x/5 + y/7 + plane) & 1)) }},
	{"stripes", func(x, _, _ int, _ *rand.Rand) byte { return byte(-(x & 1)) }},
	{"gradient", func(x, y, plane int, _ *rand.Rand) byte { return byte(5*x + 3*y + 60*plane) }},
	{"soft gradient", func(x, y, plane int, _ *rand.Rand) byte { return byte(100 + x/2 + y/3 + 20*plane) }},
	{"black", func(_, _, plane int, _ *rand.Rand) byte { return [4]byte{0, 128, 128, 255}[plane] }},
	{"white", func(_, _, plane int, _ *rand.Rand) byte { return [4]byte{255, 128, 128, 255}[plane] }},
	{"saturated", func(x, y, plane int, _ *rand.Rand) byte {
		return [4]byte{76, byte(-(x / 3 & 1)), byte(-(y / 3 & 1)), byte(-(x / 9 & 1))}[plane]
	}},
	{"point", func(x, y, _ int, _ *rand.Rand) byte {
		if x == 2 && y == 1 {
			return 255
		}
		return 0
	}},
}

// draw returns a picture of some content.
func draw(width, height, content int, seed uint64) *Image {
	r := rand.New(rand.NewPCG(seed, 3))
	fill := func(w, h, plane int) []byte {
		pix := make([]byte, w*h)
		for i := range pix {
			pix[i] = contents[content].sample(i%w, i/w, plane, r)
		}
		return pix
	}
	cw, ch := (width+1)/2, (height+1)/2
	return &Image{
		Width: width, Height: height, YStride: width, CStride: cw,
		Y: fill(width, height, 0), Cb: fill(cw, ch, 1), Cr: fill(cw, ch, 2), Alpha: fill(width, height, 3),
	}
}

// checkPlanes encodes a picture, and compares what golang.org/x/image/webp and our decoder find with the reconstruction.
func checkPlanes(t *testing.T, m *Image, quality int) {
	t.Helper()
	data := encode(t, m, quality, nil)
	want := new(frame).reconstruct(m, quality)
	got, alpha, stride := decode(t, data)
	if size := got.Rect.Size(); size != image.Pt(m.Width, m.Height) {
		t.Fatalf("%d x %d: decoded to %v", m.Width, m.Height, size)
	}
	if err := want.compare(got); err != nil {
		t.Errorf("golang.org/x/image/webp: %v", err)
	}
	if (alpha != nil) != (m.Alpha != nil) {
		t.Errorf("alpha is %t, want %t", alpha != nil, m.Alpha != nil)
	}
	if m.Alpha != nil {
		checkAlpha(t, m, alpha, stride)
	}

	all := chunks(t, data)
	p, err := webpdec.Frame{VP8: all["VP8 "]}.Decode(context.Background(), webpdec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ours := image.YCbCr{
		Y: p.Planes[0].Pix, Cb: p.Planes[1].Pix, Cr: p.Planes[2].Pix, YStride: p.Planes[0].Stride, CStride: p.Planes[1].Stride,
		SubsampleRatio: image.YCbCrSubsampleRatio420, Rect: got.Rect,
	}
	if err := want.compare(&ours); err != nil {
		t.Errorf("webpdec: %v", err)
	}
	if m.Alpha == nil {
		return
	}
	p, err = webpdec.Frame{VP8: all["VP8 "], ALPH: all["ALPH"]}.Decode(context.Background(), webpdec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range m.Alpha {
		if got := p.Planes[0].Pix[i/m.Width*p.Planes[0].Stride+4*(i%m.Width)+3]; got != a {
			t.Fatalf("webpdec: alpha at %d, %d is %d, want %d", i%m.Width, i/m.Width, got, a)
		}
	}
}

// vary makes some of a series of pictures opaque, grey, or both.
func vary(m *Image, i int) *Image {
	if i&1 != 0 {
		m.Alpha = nil
	}
	if i&6 == 2 {
		m.Cb, m.Cr = nil, nil
	}
	return m
}

func isFull() bool { return os.Getenv("THUMBCACHE_FULL") != "" }

// Every size up to three macroblocks, with content and quality in turn. The full series has each content at each size.
func TestPlanesOfSizes(t *testing.T) {
	const most = 40
	n := 0
	for height := 1; height <= most; height++ {
		for width := 1; width <= most; width++ {
			for content := range contents {
				if n++; !isFull() && (n/len(contents))%len(contents) != content {
					continue
				}
				quality := 1 + (37*width+11*height+17*content)%100
				checkPlanes(t, vary(draw(width, height, content, uint64(n)), n*7/3), quality)
				if t.Failed() {
					t.Fatalf("%d x %d, %s, quality %d", width, height, contents[content].name, quality)
				}
			}
		}
	}
}

// Every quality, with each content.
func TestPlanesOfQualities(t *testing.T) {
	for quality := 1; quality <= 100; quality++ {
		for content := range contents {
			if !isFull() && (quality+content)%4 != 0 && quality < 100 {
				continue
			}
			checkPlanes(t, vary(draw(61, 45, content, uint64(quality)), quality+content), quality)
			if t.Failed() {
				t.Fatalf("%s, quality %d", contents[content].name, quality)
			}
		}
		checkPlanes(t, vary(picture(70, 49, quality, uint64(quality)), quality), quality)
	}
}

// libwebp finds the same samples, and nothing to warn of. CI has its tools: see .ci/run.
func TestLibwebp(t *testing.T) {
	for _, name := range []string{"dwebp", "webpinfo"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is not installed")
		}
	}
	for i, size := range []image.Point{{1, 1}, {2, 1}, {1, 2}, {5, 17}, {16, 16}, {33, 31}, {130, 95}} {
		for content := range contents {
			if !isFull() && (i+content)%3 != 0 {
				continue
			}
			quality := []int{1, 20, 60, 85, 100}[(i+content/3)%5]
			var icc []byte
			if content%4 == 1 {
				icc = bytes.Repeat([]byte("profile"), 9)
			}
			checkLibwebp(t, vary(draw(size.X, size.Y, content, 1), i+content/2), quality, icc)
			if t.Failed() {
				t.Fatalf("%v, %s, quality %d", size, contents[content].name, quality)
			}
		}
		checkLibwebp(t, vary(picture(size.X, size.Y, 20, 1), i), 85, nil)
	}
}

// checkLibwebp compares what dwebp finds with the reconstruction.
func checkLibwebp(t *testing.T, m *Image, quality int, icc []byte) {
	t.Helper()
	dir := t.TempDir()
	file, yuv := filepath.Join(dir, "test.webp"), filepath.Join(dir, "test.yuv")
	if err := os.WriteFile(file, encode(t, m, quality, icc), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("webpinfo", file).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("No error detected")) || bytes.Contains(bytes.ToLower(out), []byte("warning")) {
		t.Errorf("webpinfo: %v\n%s", err, out)
	}
	if out, err := exec.Command("dwebp", "-quiet", "-yuv", file, "-o", yuv).CombinedOutput(); err != nil {
		t.Fatalf("dwebp: %v\n%s", err, out)
	}
	pix, err := os.ReadFile(yuv)
	if err != nil {
		t.Fatal(err)
	}
	w, h, cw, ch := m.Width, m.Height, (m.Width+1)/2, (m.Height+1)/2
	got := image.YCbCr{Y: pix, Cb: pix[w*h:], Cr: pix[w*h+cw*ch:], YStride: w, CStride: cw, Rect: image.Rect(0, 0, w, h)}
	if err := new(frame).reconstruct(m, quality).compare(&got); err != nil {
		t.Error(err)
	}
	if m.Alpha != nil {
		checkAlpha(t, m, pix[w*h+2*cw*ch:], w)
	}
}

func FuzzAppend(f *testing.F) {
	for content := range contents {
		f.Add(uint8(content*5), uint8(content*3), 9*content, uint64(1), uint8(content), uint8(content))
	}
	f.Add(uint8(0), uint8(0), 100, uint64(1), uint8(0), uint8(0))
	f.Add(uint8(69), uint8(32), 1, uint64(1), uint8(255), uint8(3))
	f.Fuzz(func(t *testing.T, w, h uint8, quality int, seed uint64, content, kind uint8) {
		width, height := 1+int(w%100), 1+int(h%100)
		m := picture(width, height, int(content), seed)
		if int(content) < len(contents) {
			m = draw(width, height, int(content), seed)
		}
		checkPlanes(t, vary(m, int(kind)), quality)
	})
}

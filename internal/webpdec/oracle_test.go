package webpdec

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/image/webp"
)

// parseFile returns the frame in a still WebP file.
func parseFile(data []byte) (f Frame) {
	if len(data) < 12 {
		return f
	}
	for rest := data[12:]; len(rest) >= 8; {
		n := min(int(binary.LittleEndian.Uint32(rest[4:])), len(rest)-8)
		chunk := rest[8 : 8+n]
		switch string(rest[:4]) {
		case "VP8 ":
			f.VP8 = chunk
		case "VP8L":
			f.VP8L = chunk
		case "ALPH":
			f.ALPH = chunk
		}
		rest = rest[min(8+n+n&1, len(rest)):]
	}
	return f
}

// chunk returns a chunk of a WebP file.
func chunk(name string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data)))
	return append(append(b, data...), make([]byte, len(data)&1)...)
}

// file returns the frame as a file, for another decoder.
func (f Frame) file(w, h int) []byte {
	body := []byte("WEBP")
	if f.VP8L != nil {
		body = append(body, chunk("VP8L", f.VP8L)...)
	} else {
		if f.ALPH != nil {
			body = append(body, chunk("VP8X", []byte{16, 0, 0, 0, byte(w - 1), byte((w - 1) >> 8), 0, byte(h - 1), byte((h - 1) >> 8), 0})...)
			body = append(body, chunk("ALPH", f.ALPH)...)
		}
		body = append(body, chunk("VP8 ", f.VP8)...)
	}
	return chunk("RIFF", body)
}

// testPicture returns a picture with smooth parts, edges and noise.
func testPicture(w, h int, noise int, alpha bool) *image.NRGBA {
	rnd := rand.New(rand.NewPCG(uint64(w), uint64(h)))
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			fx, fy := float64(x)/40, float64(y)/30
			v := func(phase float64) uint8 {
				s := 128 + 60*math.Sin(fx+phase)*math.Cos(fy-phase) + 30*math.Sin(fx*fy/3+phase)
				if (x/37+y/23)%5 == 0 {
					s += 40
				}
				if noise > 0 {
					s += float64(rnd.IntN(noise) - noise/2)
				}
				return uint8(max(0, min(255, s)))
			}
			c := color.NRGBA{v(0), v(1), v(2), 255}
			if alpha {
				c.A = v(3)
				if (x/16+y/16)%3 == 0 {
					c.A = 255
				}
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

// cwebp encodes a picture. It skips the test if cwebp is not installed.
func cwebp(t testing.TB, m image.Image, args ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("cwebp")
	if err != nil {
		t.Skip("cwebp is not installed")
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out.webp")
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(append([]string{"-quiet"}, args...), in, "-o", out)
	if message, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("cwebp %v: %v\n%s", args, err, message)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// samePicture compares a picture at full size with that of golang.org/x/image/webp.
func samePicture(f Frame, got Picture) error {
	w, h, err := f.Size()
	if err != nil {
		return err
	}
	want, err := webp.Decode(bytes.NewReader(f.file(w, h)))
	if err != nil {
		return fmt.Errorf("golang.org/x/image/webp: %w", err)
	}
	switch m := want.(type) {
	case *image.NRGBA:
		return samePlane("RGBA", got.Planes[0], premultiplied(m.Pix), m.Stride, 4*w, h)
	case *image.YCbCr:
		return samePlanes(got, m)
	case *image.NYCbCrA:
		for y := range h {
			for x := range w {
				if got, want := got.Planes[0].Pix[y*got.Planes[0].Stride+4*x+3], m.A[y*m.AStride+x]; got != want {
					return fmt.Errorf("alpha at %d, %d is %d, want %d", x, y, got, want)
				}
			}
		}
	}
	return nil
}

func premultiplied(pix []byte) []byte {
	out := make([]byte, len(pix))
	for i := 0; i < len(pix); i += 4 {
		a := int(pix[i+3])
		for c := range 3 {
			out[i+c] = byte((int(pix[i+c])*a + 127) / 255)
		}
		out[i+3] = byte(a)
	}
	return out
}

func samePlanes(got Picture, m *image.YCbCr) error {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	if err := samePlane("Y", got.Planes[0], m.Y, m.YStride, w, h); err != nil {
		return err
	}
	if err := samePlane("Cb", got.Planes[1], m.Cb, m.CStride, (w+1)/2, (h+1)/2); err != nil {
		return err
	}
	return samePlane("Cr", got.Planes[2], m.Cr, m.CStride, (w+1)/2, (h+1)/2)
}

func samePlane(name string, p Plane, pix []byte, stride, w, h int) error {
	for y := range h {
		got, want := p.Pix[y*p.Stride:][:w], pix[y*stride:][:w]
		if bytes.Equal(got, want) {
			continue
		}
		for x := range w {
			if got[x] != want[x] {
				return fmt.Errorf("%s at %d, %d is %d, want %d", name, x, y, got[x], want[x])
			}
		}
	}
	return nil
}

// All that cwebp makes has the samples that golang.org/x/image/webp finds.
func TestLikeOracle(t *testing.T) {
	sizes := []image.Point{{1, 1}, {15, 17}, {16, 16}, {33, 8}}
	var options [][]string
	for _, q := range []string{"0", "20", "75", "100"} {
		for _, m := range []string{"0", "2", "6"} {
			options = append(options, []string{"-q", q, "-m", m}, []string{"-lossless", "-q", q, "-m", m})
		}
	}
	options = append(options,
		[]string{"-f", "60", "-nostrong"}, []string{"-f", "100", "-strong", "-sharpness", "7"}, []string{"-f", "30", "-sharpness", "3"},
		[]string{"-f", "0"}, []string{"-segments", "1"}, []string{"-partition_limit", "80"}, []string{"-mt", "-sns", "100"},
		[]string{"-alpha_filter", "none"}, []string{"-alpha_filter", "fast"}, []string{"-alpha_filter", "best"},
		[]string{"-alpha_method", "0", "-alpha_filter", "best"}, []string{"-alpha_q", "10"},
		[]string{"-near_lossless", "40"}, []string{"-lossless", "-z", "9"}, []string{"-lossless", "-exact"},
	)
	// Each way to encode is used for a large picture and for one of the small ones, in turn; without THUMBCACHE_FULL=1, each third
	// way.
	step := 3
	if os.Getenv("THUMBCACHE_FULL") == "1" {
		step = 1
	}
	for i := 0; i < len(options); i += step {
		o := options[i]
		alpha := i/2%2 == 0
		compare(t, fmt.Sprint(o), cwebp(t, testPicture(200, 131, 40, alpha), o...))
		size := sizes[i%len(sizes)]
		compare(t, fmt.Sprint(size, o), cwebp(t, testPicture(size.X, size.Y, i%3*20, !alpha), o...))
	}
	for _, colors := range []int{1, 2, 3, 4, 5, 16, 17, 200} {
		m := testPicture(61, 47, 30, false)
		for i := 0; i < len(m.Pix); i += 4 {
			v := int(m.Pix[i]) % colors
			m.Pix[i], m.Pix[i+1], m.Pix[i+2] = byte(5*v), byte(255-3*v), byte(v*v)
		}
		compare(t, strconv.Itoa(colors)+" colors", cwebp(t, m, "-lossless"))
	}
}

func compare(t *testing.T, name string, data []byte) {
	t.Helper()
	f := parseFile(data)
	got, err := f.Decode(context.Background(), Options{})
	if err == nil {
		err = samePicture(f, got)
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// The test pictures of golang.org/x/image have the samples that it finds; those of libwebp-test-data too, if they are in shared.
func TestOracleFiles(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/image").Output()
	if err != nil {
		t.Skip("no go command")
	}
	files, _ := filepath.Glob(filepath.Join(string(bytes.TrimSpace(out)), "testdata", "*.webp"))
	shared, _ := filepath.Glob("../../../shared/libwebp-test-data/*.webp")
	files = append(files, shared...)
	if len(files) == 0 {
		t.Skip("no test pictures of golang.org/x/image")
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, filepath.Base(file), data)
	}
}

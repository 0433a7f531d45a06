package heif

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// These tests compare with other programs: pictures that heif-enc and avifenc write, as heif-convert and avifdec read them. They
// skip where those are not installed.

// drawing returns a picture with edges, gradients, noise and, if it is wanted, transparency.
func drawing(w, h int, alpha bool) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	r := rand.New(rand.NewPCG(1, 2))
	for y := range h {
		for x := range w {
			c := color.NRGBA{uint8(255 * x / w), uint8(255 * y / h), uint8(128 + 100*(x/16%2)), 255}
			if x/20+y/20 == 3 {
				c.R, c.B = c.B, uint8(r.IntN(256))
			}
			if alpha {
				c.A = uint8(55 + 200*y/h)
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return img
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("no ", name, " here: ", err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func TestAgainstOtherReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("runs 60 processes")
	}
	for i, test := range []struct {
		name, arguments string
		width, height   int
		alpha           bool
		mean            float64 // difference of a sample: libheif does not interpolate chroma
	}{
		{"odd.heic", "-q 90", 101, 75, false, 3.5},
		{"422.heic", "-q 90 -p chroma=422", 96, 64, false, 3.5},
		{"lossless.heic", "-L -p chroma=444 --matrix_coefficients=0", 96, 64, false, 0},
		{"709.heic", "-q 90 -p chroma=444 --matrix_coefficients=1", 96, 64, false, 0.7},
		{"alpha-odd.heic", "-q 90 -p chroma=444", 97, 63, true, 0.7},
		{"odd.avif", "-y 420", 101, 75, false, 2},
		{"400.avif", "-y 400", 96, 64, false, 0.7},
		{"12.avif", "-y 444 -d 12 -r limited", 96, 64, false, 0.7},
		{"240m.avif", "-y 444 --cicp 1/13/7", 96, 64, false, 0.7},
		{"ycgco.avif", "-y 444 --cicp 1/13/8", 96, 64, false, 0.7},
		{"derived.avif", "-y 444 --cicp 12/13/12", 96, 64, false, 0.7},
		{"alpha.avif", "-y 444", 96, 64, true, 0.7},
		{"premultiplied.avif", "-y 444 -p", 96, 64, true, 2},
		{"grid-alpha.avif", "-y 444 -g 3x2", 192, 128, true, 0.7},
	} {
		if i%series(3, 1) != 0 {
			continue // TestDecodeSamples has the same kinds
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			in, coded, out := filepath.Join(dir, "in.png"), filepath.Join(dir, test.name), filepath.Join(dir, "out.png")
			f, err := os.Create(in)
			if err != nil {
				t.Fatal(err)
			}
			if err := png.Encode(f, drawing(test.width, test.height, test.alpha)); err != nil {
				t.Fatal(err)
			}
			f.Close()
			args := strings.Fields(test.arguments)
			if filepath.Ext(test.name) == ".heic" {
				tool(t, "heif-enc", append(args, in, "-o", coded)...)
				tool(t, "heif-convert", coded, out)
			} else {
				tool(t, "avifenc", append(args, "-s", "8", in, coded)...)
				tool(t, "avifdec", coded, out)
			}
			data, err := os.ReadFile(coded)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := decode(t, data, 0)
			if f, err = os.Open(out); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			other, err := png.Decode(f)
			if err != nil {
				t.Fatal(err)
			}
			if got.Rect != other.Bounds() {
				t.Fatalf("%v, others say %v", got.Rect, other.Bounds())
			}
			want := image.NewNRGBA(got.Rect)
			if n, ok := other.(*image.NRGBA); ok {
				want = n
			} else {
				draw.Draw(want, want.Rect, other, other.Bounds().Min, draw.Src)
			}
			sum := 0
			for i, v := range want.Pix {
				d := int(v) - int(got.Pix[i])
				sum += max(d, -d)
			}
			if mean := float64(sum) / float64(len(want.Pix)); mean > test.mean {
				t.Errorf("samples differ by %.2f", mean)
			} else {
				t.Logf("samples differ by %.3f", mean)
			}
		})
	}
}

// series returns the size of a series of tests: the full one with THUMBCACHE_FULL=1.
func series(short, full int) int {
	if os.Getenv("THUMBCACHE_FULL") != "" {
		return full
	}
	return short
}

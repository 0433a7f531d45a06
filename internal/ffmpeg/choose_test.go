package ffmpeg

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"testing"

	"github.com/thumbcache/thumbcache/internal/jpegdec"
)

// paint returns a JPEG whose brightness at (x, y) is f(x, y).
func paint(t *testing.T, f func(x, y int) float64) []byte {
	t.Helper()
	img := image.NewYCbCr(image.Rect(0, 0, 320, 180), image.YCbCrSubsampleRatio420)
	for i := range img.Cb {
		img.Cb[i], img.Cr[i] = 128, 128
	}
	for y := range 180 {
		for x := range 320 {
			img.Y[img.YOffset(x, y)] = uint8(max(0, min(255, f(x, y))))
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tiles returns the brightness of a pattern of tiles of 20 x 20 pixels, blurred by a number of pixels across and down.
func tiles(across, down int) func(x, y int) float64 {
	value := func(n int) float64 { return float64(n*37%11)*20 + 20 }
	return func(x, y int) float64 {
		sum := 0.0
		for dy := range down {
			for dx := range across {
				sum += value((x+dx)/20 + (y+dy)/20*7)
			}
		}
		return sum / float64(across*down)
	}
}

func TestRate(t *testing.T) {
	sharp := tiles(1, 1)
	fade := func(to, part float64) func(x, y int) float64 {
		return func(x, y int) float64 { return to + part*(sharp(x, y)-to) }
	}
	noise := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		name          string
		f             func(x, y int) float64
		visible, good bool
	}{
		{"sharp", sharp, true, true},
		{"with bars", func(x, y int) float64 {
			if y < 20 || y >= 160 {
				return 0
			}
			return sharp(x, y)
		}, true, true},
		{"blurred", tiles(9, 9), true, false},
		{"blurred from left to right", tiles(12, 1), true, false},
		{"blurred from top to bottom", tiles(1, 12), true, false},
		{"blurred, with noise", func(x, y int) float64 { return tiles(9, 9)(x, y) + noise.NormFloat64()*5 }, true, false},
		{"half black", fade(0, 0.5), true, false},
		{"half white", fade(255, 0.5), true, false},
		{"nearly black", fade(0, 0.1), false, false},
		{"nearly white", fade(255, 0.1), false, false},
		{"black", fade(0, 0), false, false},
		{"grey", fade(128, 0), false, false},
		{"black, with noise", func(x, y int) float64 { return 8 + noise.NormFloat64()*4 }, false, false},
		{"a title on black", func(x, y int) float64 {
			if y > 80 && y < 100 && x > 100 && x < 220 && x/5%2 == 0 {
				return 240
			}
			return 0
		}, false, false},
	} {
		r, ok := rate(paint(t, tt.f))
		if !ok || r.visible != tt.visible || r.good != tt.good {
			t.Errorf("%s: got %+v, %v", tt.name, r, ok)
		}
	}
	whole := paint(t, sharp)
	var large bytes.Buffer
	jpeg.Encode(&large, image.NewGray(image.Rect(0, 0, 5000, 1)), nil)
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("text"), "truncated": whole[:len(whole)/2], "large": large.Bytes(),
	} {
		if r, ok := rate(data); ok || r != (rating{}) {
			t.Errorf("%s: got %+v, %v", name, r, ok)
		}
	}
	for _, size := range []image.Point{{1, 1}, {1, 50}, {50, 1}, {2, 2}, {3, 9}} {
		ratePlane(jpegdec.Plane{Pix: make([]byte, size.X*size.Y), Stride: size.X, W: size.X, H: size.Y})
	}
}

// The frames are found whatever the pieces in which the output arrives, and the first one near the best sharpness is chosen.
func TestChoice(t *testing.T) {
	sharp, other := paint(t, tiles(1, 1)), paint(t, func(x, y int) float64 { return tiles(1, 1)(x+3, y) })
	faded := paint(t, func(x, y int) float64 { return tiles(1, 1)(x, y) / 2 })
	blurred, black := paint(t, tiles(9, 9)), paint(t, func(x, y int) float64 { return 0 })
	junk := append([]byte("junk"), jpegEnd...)
	for _, tt := range []struct {
		name       string
		frames     [][]byte
		stopAtGood bool
		wanted     int
		used       int // frames after which collect reports true, or 0 if it never does
		best       []byte
	}{
		{"nothing", nil, true, 5, 0, nil},
		{"no frames", [][]byte{junk, junk}, true, 5, 0, nil},
		{"a good one", [][]byte{sharp, other}, true, 5, 1, sharp},
		{"a good one after others", [][]byte{black, junk, faded, blurred, other, sharp}, true, 5, 5, other},
		{"enough", [][]byte{blurred, black, faded, blurred, sharp}, true, 3, 4, faded},
		{"all", [][]byte{faded, blurred, sharp, other}, false, 5, 0, sharp},
		{"one is black", [][]byte{black}, true, 5, 0, black},
		{"all are blurred", [][]byte{black, blurred, blurred}, true, 5, 0, blurred},
	} {
		all := bytes.Join(tt.frames, nil)
		for _, step := range []int{1 << 20, 1000, 7} {
			var c choice
			enough := c.collect(tt.stopAtGood, tt.wanted)
			used := 0
			for n := step; n < len(all)+step; n += step {
				if enough(all[:min(n, len(all))]) {
					used = min(n, len(all))
					break
				}
			}
			want := len(bytes.Join(tt.frames[:tt.used], nil))
			if used < want || tt.used == 0 && used != 0 || tt.used != 0 && used == 0 || step < 1<<20 && used >= want+step {
				t.Errorf("%s in steps of %d: enough after %d bytes, want %d", tt.name, step, used, want)
			}
			if got := c.best(); !bytes.Equal(got, tt.best) {
				t.Errorf("%s in steps of %d: chose the wrong one of %d", tt.name, step, len(c.frames))
			}
		}
	}
}

func BenchmarkRate(b *testing.B) {
	var buf bytes.Buffer
	img := image.NewRGBA(image.Rect(0, 0, 1280, 720))
	for y := range 720 {
		for x := range 1280 {
			v := tiles(1, 1)(x, y)
			img.Set(x, y, color.RGBA{uint8(v), uint8(v), 99, 255})
		}
	}
	jpeg.Encode(&buf, img, &jpeg.Options{Quality: 95})
	for b.Loop() {
		rate(buf.Bytes())
	}
}

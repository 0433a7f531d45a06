package webpenc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/image/webp"
)

// picture returns a picture with smooth parts, edges and noise, and alpha with all kinds of parts.
func picture(w, h, noise int, seed uint64) *Image {
	r := rand.New(rand.NewPCG(seed, 1))
	cw, ch := (w+1)/2, (h+1)/2
	fill := func(w, h int, f float64) []byte {
		pix := make([]byte, w*h)
		for i := range pix {
			x, y := float64(i%w), float64(i/w)
			v := 128 + 100*math.Sin(f*x/20)*math.Cos(f*y/30)
			if noise > 0 {
				v += float64(r.IntN(noise) - noise/2)
			}
			if int(x+y)/24%5 == 0 {
				v -= 60 // diagonal edges
			}
			pix[i] = byte(max(0, min(v, 255)))
		}
		return pix
	}
	m := &Image{
		Width: w, Height: h, YStride: w, CStride: cw,
		Y: fill(w, h, 1), Cb: fill(cw, ch, 2), Cr: fill(cw, ch, 3), Alpha: fill(w, h, 1.5),
	}
	for i := range m.Alpha {
		switch x, y := i%w, i/w; (x/20 + y/20) % 3 {
		case 0:
			m.Alpha[i] = 255
		case 1:
			m.Alpha[i] = 0
		}
	}
	return m
}

// extreme returns a picture of samples that are all 0 or 255.
func extreme(w, h int, seed uint64) *Image {
	m := picture(w, h, 255, seed)
	r := rand.New(rand.NewPCG(seed, 2))
	for _, p := range [][]byte{m.Y, m.Cb, m.Cr, m.Alpha} {
		for i := range p {
			p[i] = byte(-r.IntN(2))
		}
	}
	return m
}

// encode returns the file of a picture, and the frame with what a decoder should make of it, before the loop filter.
func encode(t testing.TB, m *Image, quality int, icc []byte) []byte {
	t.Helper()
	var e Encoder
	data, err := e.Append([]byte("before"), m, quality, icc)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimPrefix(data, []byte("before"))
}

// decode decodes with golang.org/x/image/webp.
func decode(t testing.TB, data []byte) (*image.YCbCr, []byte, int) {
	t.Helper()
	got, err := webp.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	switch got := got.(type) {
	case *image.YCbCr:
		return got, nil, 0
	case *image.NYCbCrA:
		return &got.YCbCr, got.A, got.AStride
	}
	t.Fatalf("decoded to a %T", got)
	return nil, nil, 0
}

// checkAlpha compares the alpha of a file with that of the picture.
func checkAlpha(t *testing.T, m *Image, alpha []byte, stride int) {
	t.Helper()
	for y := range m.Height {
		if got, want := alpha[y*stride:][:m.Width], m.Alpha[y*m.Width:][:m.Width]; !bytes.Equal(got, want) {
			t.Fatalf("alpha of row %d is %v, want %v", y, got, want)
		}
	}
}

// off returns the mean error of visible luma, in full range.
func off(m *Image, got *image.YCbCr) float64 {
	var sum, n float64
	for y := range m.Height {
		for x := range m.Width {
			if m.Alpha != nil && m.Alpha[y*m.Width+x] == 0 {
				continue
			}
			sum += math.Abs(float64(m.Y[y*m.YStride+x]) - (float64(got.Y[y*got.YStride+x])-16)*255/219)
			n++
		}
	}
	return sum / max(n, 1)
}

// Pictures of any size and content are as similar as quality demands, and their alpha is exact.
func TestSizes(t *testing.T) {
	for _, size := range []image.Point{{1, 1}, {1, 40}, {40, 1}, {2, 3}, {15, 17}, {16, 16}, {17, 15}, {33, 31}, {64, 64}, {100, 77}} {
		for _, alpha := range []bool{false, true} {
			m := picture(size.X, size.Y, 10, 1)
			if !alpha {
				m.Alpha = nil
			}
			for quality, limit := range map[int]float64{100: 2, 85: 5, 20: 16} {
				got, a, stride := decode(t, encode(t, m, quality, nil))
				if got.Rect.Size() != size {
					t.Fatalf("%v: decoded to %v", size, got.Rect)
				}
				if d := off(m, got); d > limit {
					t.Errorf("%v, quality %d: luma is off by %.2f", size, quality, d)
				}
				if alpha {
					checkAlpha(t, m, a, stride)
				}
			}
		}
	}
}

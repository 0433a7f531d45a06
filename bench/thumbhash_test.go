package main

import (
	"bytes"
	"context"
	"image"
	"image/color"
	_ "image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/thumbcache/thumbcache/internal/render"
)

// plainHash computes a ThumbHash as https://evanw.github.io/thumbhash/ describes it, from every pixel, one term after the other. It
// shares no code with the package, which averages the cells of a grid and separates the dimensions.
func plainHash(m image.Image) []byte {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	n := float64(w * h)
	at := func(x, y int) [4]float64 {
		c := color.NRGBAModel.Convert(m.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
		return [4]float64{float64(c.R) / 255, float64(c.G) / 255, float64(c.B) / 255, float64(c.A) / 255}
	}
	var mean [4]float64
	for i := range w * h {
		p := at(i%w, i/w)
		for c := range 3 {
			mean[c] += p[c] * p[3] / n
		}
		mean[3] += p[3] / n
	}
	alpha := mean[3] < 1-1e-9
	var lpqa [4][]float64
	for i := range w * h {
		p := at(i%w, i/w)
		for c := range 3 {
			p[c] = p[c]*p[3] + (1-p[3])*mean[c]/math.Max(mean[3], 1e-9)
		}
		for c, v := range []float64{(p[0] + p[1] + p[2]) / 3, (p[0]+p[1])/2 - p[2], p[0] - p[1], p[3]} {
			lpqa[c] = append(lpqa[c], v)
		}
	}
	long, channels := 7.0, 3
	if alpha {
		long, channels = 5, 4
	}
	lx := max(1, int(math.Round(long*float64(w)/float64(max(w, h)))))
	ly := max(1, int(math.Round(long*float64(h)/float64(max(w, h)))))
	var dc, scale [4]float64
	var nibbles []byte
	for c := range channels {
		nx, ny := [4]int{max(3, lx), 3, 3, 5}[c], [4]int{max(3, ly), 3, 3, 5}[c]
		var terms []float64
		for ky := range ny {
			for kx := 0; kx*ny < nx*(ny-ky); kx++ {
				var sum float64
				for i, v := range lpqa[c] {
					sum += v * math.Cos(math.Pi*float64(kx)*(float64(i%w)+0.5)/float64(w)) * math.Cos(math.Pi*float64(ky)*(float64(i/w)+0.5)/float64(h))
				}
				terms = append(terms, sum/n)
			}
		}
		dc[c] = terms[0]
		for _, v := range terms[1:] {
			scale[c] = max(scale[c], math.Abs(v))
		}
		for _, v := range terms[1:] {
			nibbles = append(nibbles, byte(math.Round(7.5+7.5*v/max(scale[c], 1e-9))))
		}
	}
	q := func(v, most float64) int { return int(math.Round(v * most)) }
	head := q(dc[0], 63) | q(dc[1]/2+0.5, 63)<<6 | q(dc[2]/2+0.5, 63)<<12 | q(scale[0], 31)<<18
	shape := lx | q(scale[1], 63)<<3 | q(scale[2], 63)<<9
	if w > h {
		shape += ly - lx + 1<<15
	}
	if alpha {
		head |= 1 << 23
	}
	hash := []byte{byte(head), byte(head >> 8), byte(head >> 16), byte(shape), byte(shape >> 8)}
	if alpha {
		hash = append(hash, byte(q(dc[3], 15)|q(scale[3], 15)<<4))
	}
	for i := 0; i < len(nibbles); i += 2 {
		hash = append(hash, nibbles[i])
		if i+1 < len(nibbles) {
			hash[len(hash)-1] |= nibbles[i+1] << 4
		}
	}
	return hash
}

// unhash returns the placeholder that a hash encodes: 32 x 32 samples of red, green, blue and alpha.
func unhash(hash []byte) (pix [32 * 32 * 4]float64) {
	head, shape := int(hash[0])|int(hash[1])<<8|int(hash[2])<<16, int(hash[3])|int(hash[4])<<8
	dc := [4]float64{float64(head&63) / 63, float64(head>>6&63)/31.5 - 1, float64(head>>12&63)/31.5 - 1, 1}
	scale := [4]float64{float64(head>>18&31) / 31, 1.25 * float64(shape>>3&63) / 63, 1.25 * float64(shape>>9&63) / 63, 0}
	long, channels, rest := 7, 3, hash[5:]
	if head>>23 != 0 {
		dc[3], scale[3] = float64(hash[5]&15)/15, float64(hash[5]>>4)/15
		long, channels, rest = 5, 4, hash[6:]
	}
	lx, ly := shape&7, long
	if shape>>15 != 0 {
		lx, ly = long, shape&7
	}
	var lpqa [4][32 * 32]float64
	k := 0
	for c := range lpqa {
		for i := range lpqa[c] {
			lpqa[c][i] = dc[c]
		}
		if c >= channels {
			continue
		}
		nx, ny := [4]int{max(3, lx), 3, 3, 5}[c], [4]int{max(3, ly), 3, 3, 5}[c]
		for ky := range ny {
			for kx := 0; kx*ny < nx*(ny-ky); kx++ {
				if kx == 0 && ky == 0 {
					continue
				}
				v := (float64(rest[k/2]>>(k%2*4)&15)/7.5 - 1) * scale[c] * 2
				k++
				for i := range lpqa[c] {
					lpqa[c][i] += v * math.Cos(math.Pi*float64(kx)*(float64(i%32)+0.5)/32) * math.Cos(math.Pi*float64(ky)*(float64(i/32)+0.5)/32)
				}
			}
		}
	}
	for i := range 32 * 32 {
		l, p, q := lpqa[0][i], lpqa[1][i], lpqa[2][i]
		b := l - 2*p/3
		r := (3*l - b + q) / 2
		for c, v := range [4]float64{r, r - q, b, lpqa[3][i]} {
			pix[4*i+c] = 255 * max(0, min(1, v))
		}
	}
	return pix
}

// fields returns the numbers encoded in a hash.
func fields(hash []byte) (f []int) {
	head, shape := int(hash[0])|int(hash[1])<<8|int(hash[2])<<16, int(hash[3])|int(hash[4])<<8
	f = []int{head & 63, head >> 6 & 63, head >> 12 & 63, head >> 18 & 31, shape >> 3 & 63, shape >> 9 & 63}
	for _, b := range hash[5:] {
		f = append(f, int(b&15), int(b>>4))
	}
	return f
}

// apart returns the largest difference, in steps, between the numbers of two hashes of equal length.
func apart(a, b []byte) (most int) {
	if (a[2]^b[2])>>7 != 0 || (a[3]^b[3])&7 != 0 || (a[4]^b[4])>>7 != 0 {
		return 99 // of another shape, or only one has alpha
	}
	other := fields(b)
	for i, v := range fields(a) {
		most = max(most, v-other[i], other[i]-v)
	}
	return most
}

// TestThumbHash compares the hash of a thumbnail with a hash of all of its pixels, by the placeholders that they decode to.
func TestThumbHash(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jpg")
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob("../internal/render/testdata/*.*p*")
	for _, file := range append(files, more...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []render.Options{{Size: 100}, {Size: 300}, {Size: 160, PNG: true}, {Size: 75, Fit: render.Cover}, {Size: 31, PNG: true}} {
			o.Quality = 95
			img, err := render.Make(context.Background(), data, o)
			if err != nil {
				continue // no picture
			}
			m, _, err := image.Decode(bytes.NewReader(img.Data))
			if err != nil {
				t.Fatal(err)
			}
			want := plainHash(m)
			got, ref := unhash(img.ThumbHash), unhash(want)
			var sum, most float64
			for i := range got {
				d := math.Abs(got[i] - ref[i])
				sum, most = sum+d, max(most, d)
			}
			mean := sum / float64(len(got))
			t.Logf("%s %+v: off by %.2f, at most %.1f", filepath.Base(file), o, mean, most)
			if o.Size == 31 {
				// The grid has every pixel, so the hash must be equal to the bit.
				if !bytes.Equal(img.ThumbHash, want) {
					t.Errorf("%s %+v: %x, want %x", filepath.Base(file), o, img.ThumbHash, want)
				}
				continue
			}
			// A value near the middle of a step may be rounded either way.
			if len(img.ThumbHash) != len(want) || apart(img.ThumbHash, want) > 1 || mean > 12 {
				t.Errorf("%s %+v: %x, of all pixels %x: off by %.2f, at most %.1f", filepath.Base(file), o, img.ThumbHash, want, mean, most)
			}
		}
	}
}

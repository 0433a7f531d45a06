package jpegdec

import (
	"bytes"
	"context"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// addSeeds adds the files of testdata and random pictures of all processes, some with a DNL segment.
func addSeeds(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.jpg")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for seed := range 24 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 8))
		p := randomPicture(rnd)
		if seed%2 == 0 {
			p.makeArithmetic(rnd)
		}
		if seed%3 == 0 {
			p.dnl = p.h
		}
		f.Add(p.encode())
	}
	f.Add(arithmeticBomb(40, 3))
}

// FuzzDecode checks that Decode does not panic, allocates at most Cost bytes and returns consistent planes.
func FuzzDecode(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ReadHeader(data)
		if err != nil {
			return
		}
		for _, scale := range scales {
			o := Options{Scale: scale}
			cost := h.Cost(o)
			if cost > 8<<20 {
				return
			}
			var m Image
			n := allocated(func() { err = Decode(context.Background(), data, o, &m) })
			if n > cost+4<<10 { // the fuzzer allocates too
				t.Errorf("1/%d: allocated %d bytes, more than the cost of %d", scale, n, cost)
			}
			if err != nil {
				continue
			}
			for i := range m.N {
				if p := &m.Planes[i]; p.W < 1 || p.H < 1 || len(p.Pix) < (p.H-1)*p.Stride+p.W {
					t.Errorf("1/%d: plane %d is %dx%d, with %d samples in rows of %d", scale, i, p.W, p.H, len(p.Pix), p.Stride)
				}
			}
		}
	})
}

// inRange reports whether the coefficients of m, decoded from data at full size, are too small to overflow in a decoder.
func inRange(data []byte, m *Image) bool {
	ok := true
	check := func(steps *[64]uint16, coef func(k int) int) {
		sum := 0
		for k, q := range steps {
			v := coef(k) * int(q)
			sum += max(v, -v)
		}
		ok = ok && sum < 2000
	}
	if !m.Progressive {
		readBlocks(data, func(d *decoder, i, _, _ int, coef *[64]int32) {
			check(&d.quant[d.comp[i].quantTable], func(k int) int { return int(coef[k]) })
		})
		return ok
	}
	for i := range m.N {
		c := &m.work.comp[i]
		for j := range c.nonzero {
			check(&m.work.quant[c.quantTable], func(k int) int { return int(c.coef[64*j+k]) })
		}
	}
	return ok
}

// sameRules reports whether image/jpeg decodes data by the same rules as this package. It has other rules for some
// unusual files.
func sameRules(data []byte, h Header) bool {
	scans := 0
	for pos := 2; ; {
		s, ok := nextSegment(data, pos)
		if !ok || s.marker == markerEOI {
			break
		}
		pos = s.end
		switch {
		case s.marker == markerDQT && scans > 0:
			return false // it uses the last tables for all scans of progressive files
		case s.marker == markerSOS:
			scans++
			if h.N > 1 && s.data[0] == 1 {
				// It computes other sizes of subsampled components, and counts other MCUs between restarts.
				for _, f := range h.Sampling[:h.N] {
					if f != (Sampling{1, 1}) {
						return false
					}
				}
			}
		}
	}
	return true
}

// FuzzDifferential checks that samples differ from those of image/jpeg by at most one.
func FuzzDifferential(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ReadHeader(data)
		if err != nil || h.Cost(Options{}) > 4<<20 {
			return
		}
		img, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		var m Image
		if Decode(context.Background(), data, Options{}, &m) != nil || m.Damaged {
			return
		}
		if b := img.Bounds(); b.Dx() != m.Width || b.Dy() != m.Height {
			t.Fatalf("size %dx%d, want %v", m.Width, m.Height, b)
		}
		if diff, ok := compareStd(&m, img); ok && diff > 1 && sameRules(data, h) && inRange(data, &m) {
			t.Errorf("samples differ by %d", diff)
		}
	})
}

// series returns the size of a series of tests: the full one with THUMBCACHE_FULL=1.
func series(short, full int) int {
	if os.Getenv("THUMBCACHE_FULL") != "" {
		return full
	}
	return short
}

package webpenc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"math"
	"math/rand/v2"
	"runtime"
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

// encode returns the file of a picture.
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

// chunks returns the chunks of a file by name.
func chunks(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	if string(data[:4]) != "RIFF" || string(data[8:12]) != "WEBP" || int(binary.LittleEndian.Uint32(data[4:])) != len(data)-8 {
		t.Fatalf("file starts with % x", data[:12])
	}
	all := map[string][]byte{}
	for rest := data[12:]; len(rest) > 0; {
		n := int(binary.LittleEndian.Uint32(rest[4:]))
		all[string(rest[:4])] = rest[8 : 8+n]
		rest = rest[8+n+n%2:]
	}
	return all
}

// A profile is kept, and files without one or alpha have no chunk more than they need.
func TestContainer(t *testing.T) {
	m := picture(19, 7, 5, 1)
	icc := bytes.Repeat([]byte{7}, 333)
	for _, c := range []struct {
		alpha []byte
		icc   []byte
		flags int
	}{{nil, nil, -1}, {m.Alpha, nil, 0x10}, {nil, icc, 0x20}, {m.Alpha, icc, 0x30}} {
		m := *m
		m.Alpha = c.alpha
		all := chunks(t, encode(t, &m, 85, c.icc))
		if x, ok := all["VP8X"]; ok != (c.flags >= 0) || ok && (int(x[0]) != c.flags || x[4] != 18 || x[7] != 6) {
			t.Errorf("alpha %t, profile %t: VP8X is %v", c.alpha != nil, c.icc != nil, x)
		}
		if !bytes.Equal(all["ICCP"], c.icc) {
			t.Errorf("profile of %d bytes, want %d", len(all["ICCP"]), len(c.icc))
		}
		if _, ok := all["ALPH"]; ok != (c.alpha != nil) || all["VP8 "] == nil {
			t.Errorf("chunks %v", all)
		}
	}
}

// What cannot be seen costs next to nothing.
func TestTransparent(t *testing.T) {
	m := picture(256, 256, 100, 1)
	clear(m.Alpha)
	if n := len(encode(t, m, 85, nil)); n > 300 {
		t.Errorf("a transparent picture has %d bytes", n)
	}
}

// Alpha of all kinds is exact, and masks are small.
func TestAlpha(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	kinds := map[string]func(x, y int) byte{
		"opaque":   func(x, y int) byte { return 255 },
		"mask":     func(x, y int) byte { return byte(-((x/30 + y/20) & 1)) },
		"gradient": func(x, y int) byte { return byte(x + 2*y) },
		"noise":    func(x, y int) byte { return byte(r.IntN(256)) },
		"skewed": func(x, y int) byte { // codes of more than 15 bits, if none was limited
			v := byte(0)
			for v < 40 && r.IntN(2) == 0 {
				v++
			}
			return v
		},
	}
	limits := map[string]int{"opaque": 60, "mask": 300, "gradient": 200, "noise": 200*150 + 1, "skewed": 200 * 150 / 3}
	for name, kind := range kinds {
		m := picture(200, 150, 0, 1)
		for i := range m.Alpha {
			m.Alpha[i] = kind(i%200, i/200)
		}
		data := encode(t, m, 85, nil)
		_, alpha, stride := decode(t, data)
		checkAlpha(t, m, alpha, stride)
		if n := len(chunks(t, data)["ALPH"]); n > limits[name] {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

// The work of compressing alpha is proportional to the number of samples, whatever they are. It was once quadratic for a plane of one
// value: the match at each place was as long as possible, and not worth its bits.
func TestAlphaWork(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	period := func(n int) func(i int) byte { return func(i int) byte { return byte(i%n) * 37 } }
	kinds := map[string]func(i int) byte{
		"one value":       func(i int) byte { return 255 },
		"two halves":      func(i int) byte { return byte(-(i >> 15 & 1)) },
		"period 2":        period(2),
		"period 3":        period(3),
		"period 255":      period(255),
		"period 256":      period(256),
		"period 4097":     period(4097),
		"noise":           func(i int) byte { return byte(r.IntN(256)) },
		"noise of 2":      func(i int) byte { return byte(-r.IntN(2)) },
		"rare points":     func(i int) byte { return byte(-((r.IntN(4000) + 1) / 4000)) },
		"points in order": func(i int) byte { return byte(-((i%4095 + 1) / 4095)) },
		"ever longer":     func(i int) byte { return byte(-(int(math.Sqrt(float64(2*i))) & 1)) },
		"gradient":        func(i int) byte { return byte(i / 256) },
	}
	for name, kind := range kinds {
		for _, size := range []image.Point{{256, 256}, {1, 65536}, {65536 / 4, 4}, {255, 257}, {4095, 16}} {
			alpha := make([]byte, size.X*size.Y)
			for i := range alpha {
				alpha[i] = kind(i)
			}
			var w alphaWriter
			w.append(nil, alpha, size.X)
			// It is parsed twice, with three comparisons at each place. A match that is shorter than another one, but cheaper, is
			// at least a third as long.
			if most := 2 * 3 * 4 * len(alpha); w.compared > most {
				t.Errorf("%s, %v: %d samples are compared, %d for each", name, size, w.compared, w.compared/len(alpha))
			}
		}
	}
}

// A picture that does not fit the format is an error.
func TestTooLarge(t *testing.T) {
	var e Encoder
	m := &Image{Width: MaxEdge + 1, Height: 1, Y: make([]byte, MaxEdge+1)}
	if data, err := e.Append([]byte("before"), m, 85, nil); !errors.Is(err, ErrTooLarge) || string(data) != "before" {
		t.Errorf("%q, %v", data, err)
	}
}

// An encoder allocates no more than Cost says, and nothing for the next picture.
func TestCost(t *testing.T) {
	for _, size := range []image.Point{{16, 16}, {300, 200}, {1000, 30}} {
		for _, alpha := range []bool{false, true} {
			m := picture(size.X, size.Y, 20, 1)
			if !alpha {
				m.Alpha = nil
			}
			out := make([]byte, 0, 1<<20)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			e := new(Encoder)
			if _, err := e.Append(out, m, 85, nil); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if got, most := int64(after.TotalAlloc-before.TotalAlloc), Cost(size.X, size.Y, alpha); got > most {
				t.Errorf("%v, alpha %t: %d bytes, more than %d", size, alpha, got, most)
			}
			if n := testing.AllocsPerRun(5, func() { e.Append(out, m, 85, nil) }); !alpha && n > 0 {
				t.Errorf("%v: %.0f allocations", size, n)
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	m := picture(256, 256, 24, 1)
	m.Alpha = nil
	var e Encoder
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = e.Append(buf[:0], m, 85, nil)
	}
	b.ReportMetric(float64(len(buf)), "bytes")
}

// If the modes do not fit their partition, none are chosen for single blocks. If that is not enough, the picture is too large.
func TestModesTooLarge(t *testing.T) {
	m := picture(200, 150, 30, 1)
	m.Alpha = nil
	var f frame
	whole, err := f.append(nil, m, 85, maxModes)
	if err != nil {
		t.Fatal(err)
	}
	n := (int(whole[0]) | int(whole[1])<<8 | int(whole[2])<<16) >> 5
	data, err := f.append(nil, m, 85, n-1)
	if err != nil || !f.noSplit {
		t.Fatalf("error is %v, single blocks %t", err, !f.noSplit)
	}
	r := frame{noSplit: true}
	got, _, _ := decode(t, endChunk(endChunk(append([]byte("RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00"), data...), 12), 0))
	if err := r.reconstruct(m, 85).compare(got); err != nil {
		t.Error(err)
	}
	if _, err := f.append(nil, m, 85, 100); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

package jpegenc

import (
	"bytes"
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"testing"
)

// picture returns luma and chroma of a gradient with noise added.
func picture(w, h int, noise int, seed uint64) *image.YCbCr {
	r := rand.New(rand.NewPCG(seed, 1))
	m := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	fill := func(pix []byte, stride int, f float64) {
		for i := range pix {
			x, y := float64(i%stride), float64(i/stride)
			v := 128 + 100*math.Sin(f*x/20)*math.Cos(f*y/30)
			if noise > 0 {
				v += float64(r.IntN(noise) - noise/2)
			}
			pix[i] = byte(max(0, min(v, 255)))
		}
	}
	fill(m.Y, m.YStride, 1)
	fill(m.Cb, m.CStride, 2)
	fill(m.Cr, m.CStride, 3)
	return m
}

func planes(m *image.YCbCr) *Image {
	return &Image{Width: m.Rect.Dx(), Height: m.Rect.Dy(), Y: m.Y, Cb: m.Cb, Cr: m.Cr, YStride: m.YStride, CStride: m.CStride}
}

func rms(a, b []byte) float64 {
	var sum float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum / float64(len(a)))
}

func decodeYCbCr(t testing.TB, data []byte) *image.YCbCr {
	t.Helper()
	m, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return m.(*image.YCbCr)
}

// At every quality the result is as close to the picture as that of image/jpeg, and close to that result too.
func TestAgainstStandardLibrary(t *testing.T) {
	for _, quality := range []int{1, 10, 25, 50, 75, 85, 95, 100} {
		for _, noise := range []int{0, 16, 256} {
			m := picture(320, 240, noise, 1)
			ours := Append(nil, planes(m), quality, nil)
			var b bytes.Buffer
			if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}); err != nil {
				t.Fatal(err)
			}
			got, want := decodeYCbCr(t, ours), decodeYCbCr(t, b.Bytes())
			for i, p := range [3][3][]byte{{got.Y, want.Y, m.Y}, {got.Cb, want.Cb, m.Cb}, {got.Cr, want.Cr, m.Cr}} {
				mine, library := rms(p[0], p[2]), rms(p[1], p[2])
				if mine > library*1.01+0.02 {
					t.Errorf("quality %d, noise %d, plane %d: off by %.3f, image/jpeg by %.3f", quality, noise, i, mine, library)
				}
				// A coefficient halfway between two steps may be rounded up or down.
				if d := rms(p[0], p[1]); d > 0.5+library*0.25 {
					t.Errorf("quality %d, noise %d, plane %d: differs from image/jpeg by %.3f", quality, noise, i, d)
				}
			}
			if n := b.Len(); len(ours) > n+n/100+40 {
				t.Errorf("quality %d, noise %d: %d bytes, image/jpeg %d", quality, noise, len(ours), n)
			}
		}
	}
}

// The transform agrees with its definition, computed in floating point.
func TestForwardAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q quantiser
	q.set(&lumaSteps, 100) // steps of 1
	for n := range 1000 {
		var pix [64]byte
		for i := range pix {
			switch n % 3 {
			case 0:
				pix[i] = byte(r.IntN(256))
			case 1:
				pix[i] = byte(-r.IntN(2))
			case 2: // the largest possible coefficient of each frequency
				u, v := n/3%8, n/24%8
				if math.Cos((2*float64(i%8)+1)*float64(u)*math.Pi/16)*math.Cos((2*float64(i/8)+1)*float64(v)*math.Pi/16) > 0 {
					pix[i] = 255
				}
			}
		}
		var got [64]int32
		forward(&got, pix[:], 8)
		for i, at := range zigzag {
			u, v := int(at)%8, int(at)/8
			var want float64
			for j, p := range pix {
				want += (float64(p) - 128) * math.Cos((2*float64(j%8)+1)*float64(u)*math.Pi/16) * math.Cos((2*float64(j/8)+1)*float64(v)*math.Pi/16)
			}
			want /= 4
			if u == 0 {
				want /= math.Sqrt2
			}
			if v == 0 {
				want /= math.Sqrt2
			}
			is := float64(got[at]) * float64(q.inverse[i]) / (1 << inverseBits)
			if math.Abs(is-want) > 0.1+math.Abs(want)/1000 {
				t.Fatalf("block %d, coefficient %d,%d: %.3f, want %.3f", n, u, v, is, want)
			}
		}
	}
}

func TestGreyAndICC(t *testing.T) {
	m := picture(37, 21, 8, 1)
	data := Append([]byte("before"), &Image{Width: 37, Height: 21, Y: m.Y, YStride: m.YStride}, 90, bytes.Repeat([]byte{7}, MaxICC))
	data = bytes.TrimPrefix(data, []byte("before"))
	got, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	g, ok := got.(*image.Gray)
	if !ok || g.Rect != image.Rect(0, 0, 37, 21) {
		t.Fatalf("decoded to a %T of %v", got, got.Bounds())
	}
	for y := range 21 {
		if d := rms(g.Pix[y*g.Stride:][:37], m.Y[y*m.YStride:][:37]); d > 6 {
			t.Errorf("row %d is off by %.2f", y, d)
		}
	}
	if !bytes.Contains(data, append([]byte("ICC_PROFILE\x00\x01\x01"), 7, 7, 7)) {
		t.Error("no ICC profile in the JPEG")
	}
}

// With full chroma a picture keeps the colour of each pixel.
func TestFullChroma(t *testing.T) {
	for _, size := range []image.Point{{1, 1}, {8, 8}, {9, 17}, {32, 31}} {
		m := image.NewYCbCr(image.Rectangle{Max: size}, image.YCbCrSubsampleRatio444)
		for i := range m.Y {
			m.Y[i], m.Cb[i], m.Cr[i] = 128, byte(60+i%2*120), byte(200-i%2*120)
		}
		in := planes(m)
		in.FullChroma = true
		got := decodeYCbCr(t, Append(nil, in, 95, nil))
		if got.SubsampleRatio != image.YCbCrSubsampleRatio444 || got.Rect != m.Rect {
			t.Fatalf("%v: decoded to %v, %v", size, got.Rect, got.SubsampleRatio)
		}
		for y := range size.Y {
			for x := range size.X {
				i, j := m.YOffset(x, y), got.YOffset(x, y)
				for c, v := range [3][2]byte{{got.Y[j], m.Y[i]}, {got.Cb[j], m.Cb[i]}, {got.Cr[j], m.Cr[i]}} {
					if d := int(v[0]) - int(v[1]); d < -6 || d > 6 {
						t.Fatalf("%v: plane %d at %d,%d is %d, want %d", size, c, x, y, v[0], v[1])
					}
				}
			}
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add(uint16(3), uint16(5), 85, uint64(1), 0, false)
	f.Add(uint16(17), uint16(16), 100, uint64(1), 256, true)
	f.Fuzz(func(t *testing.T, w, h uint16, quality int, seed uint64, noise int, grey bool) {
		width, height := 1+int(w%64), 1+int(h%64)
		m := picture(width, height, max(0, noise%512), seed)
		in := planes(m)
		if grey {
			in.Cb, in.Cr = nil, nil
		}
		got, err := jpeg.Decode(bytes.NewReader(Append(nil, in, quality, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if got.Bounds() != m.Bounds() {
			t.Fatalf("%v, want %v", got.Bounds(), m.Bounds())
		}
		if quality < 100 {
			return
		}
		for y := range height {
			for x := range width {
				i := y*m.YStride + x
				var v byte
				switch got := got.(type) {
				case *image.Gray:
					v = got.Pix[y*got.Stride+x]
				case *image.YCbCr:
					v = got.Y[y*got.YStride+x]
				}
				if d := int(v) - int(m.Y[i]); d < -4 || d > 4 {
					t.Fatalf("at %d,%d: %d, want %d", x, y, v, m.Y[i])
				}
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	m := picture(256, 256, 24, 1)
	b.Run("ours", func(b *testing.B) {
		buf := make([]byte, 0, 1<<20)
		for b.Loop() {
			buf = Append(buf[:0], planes(m), 85, nil)
		}
		b.ReportMetric(float64(len(buf)), "bytes")
	})
	b.Run("library", func(b *testing.B) {
		var buf bytes.Buffer
		for b.Loop() {
			buf.Reset()
			jpeg.Encode(&buf, m, &jpeg.Options{Quality: 85})
		}
		b.ReportMetric(float64(buf.Len()), "bytes")
	})
}

package jpegdec

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"
)

var scales = []int{1, 2, 4, 8}

func decode(t testing.TB, data []byte, o Options) *Image {
	t.Helper()
	var m Image
	if err := Decode(context.Background(), data, o, &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

// reference returns the samples of c at 1/scale, computed by the definition of the inverse DCT, and the number of
// samples in a row.
func (c *testComp) reference(scale int) (pix []byte, stride int) {
	n := 8 / scale
	stride = c.bw * n
	pix = make([]byte, stride*c.bh*n)
	var basis [8][8]float64
	for x := range n {
		for u := range n {
			basis[x][u] = math.Sqrt(2/float64(n)) * math.Cos(float64((2*x+1)*u)*math.Pi/float64(2*n))
			if u == 0 {
				basis[x][u] = math.Sqrt(1 / float64(n))
			}
		}
	}
	for j := range c.coef {
		var f [64]float64
		for k, v := range c.coef[j] {
			f[zigzag[k]] = float64(v * int(c.quant[k]))
		}
		var rows [8][8]float64
		for y := range n {
			for u := range n {
				for v := range n {
					rows[y][u] += f[8*v+u] * basis[y][v]
				}
			}
		}
		for y := range n {
			for x := range n {
				s := 0.0
				for u := range n {
					s += rows[y][u] * basis[x][u]
				}
				s = math.Round(s*float64(n)/8) + 128
				pix[(j/c.bw*n+y)*stride+j%c.bw*n+x] = byte(min(max(s, 0), 255))
			}
		}
	}
	return pix, stride
}

// difference returns the largest difference between the samples of p and those of pix.
func difference(p *Plane, pix []byte, stride int) int {
	m := 0
	for y := range p.H {
		for x := range p.W {
			d := int(p.Pix[y*p.Stride+x]) - int(pix[y*stride+x])
			m = max(m, d, -d)
		}
	}
	return m
}

// checkPlanes compares the decoded picture m with the encoded picture p.
func checkPlanes(t testing.TB, p *testPicture, m *Image, scale int) {
	t.Helper()
	if m.Damaged {
		t.Error("Damaged is set for an undamaged file")
	}
	if m.N != len(p.comps) || m.Width != p.w || m.Height != p.h {
		t.Fatalf("got %d components, %dx%d", m.N, m.Width, m.Height)
	}
	for i := range p.comps {
		c, got := &p.comps[i], &m.Planes[i]
		if w, h := ceilDiv(c.compW, scale), ceilDiv(c.compH, scale); got.W != w || got.H != h {
			t.Fatalf("scale %d, plane %d is %dx%d, want %dx%d", scale, i, got.W, got.H, w, h)
		}
		pix, stride := c.reference(scale)
		if d := difference(got, pix, stride); d > 1 {
			t.Errorf("scale %d, plane %d differs by %d", scale, i, d)
		}
	}
}

// randomPicture returns a picture of random size, sampling factors, scans and restart interval.
func randomPicture(rnd *rand.Rand) *testPicture {
	p := &testPicture{w: 1 + rnd.IntN(90), h: 1 + rnd.IntN(90)}
	ids := []byte{1, 2, 3, 4}
	n := []int{1, 3, 3, 3, 4}[rnd.IntN(5)]
	for i := range n {
		c := testComp{id: ids[i], h: 1, v: 1}
		switch {
		case rnd.IntN(3) == 0: // any factors
			c.h, c.v = 1+rnd.IntN(4), 1+rnd.IntN(4)
		case i == 0 || i == 3:
			c.h, c.v = 1+rnd.IntN(2), 1+rnd.IntN(2)
		}
		p.comps = append(p.comps, c)
	}
	switch rnd.IntN(4) {
	case 0:
		for i := range n { // one scan each, in reverse order
			p.scans = append(p.scans, testScan{comps: []int{n - 1 - i}, se: 63})
		}
	case 1, 2:
		p.progressive = true
		p.scans = randomProgression(rnd, n)
		if n == 3 && rnd.IntN(2) == 0 {
			p.scans = simpleProgression
		}
	}
	if rnd.IntN(3) == 0 {
		p.restart = 1 + rnd.IntN(20)
	}
	if rnd.IntN(3) == 0 {
		p.makeArithmetic(rnd)
	}
	p.fillRandom(rnd)
	return p
}

// TestRandomPictures decodes pictures of random shapes at all scales and compares them with the encoded samples.
func TestRandomPictures(t *testing.T) {
	n := 400
	if testing.Short() {
		n = 50
	}
	for seed := range n {
		rnd := rand.New(rand.NewPCG(uint64(seed), 4))
		p := randomPicture(rnd)
		data := p.encode()
		for _, scale := range scales {
			m := decode(t, data, Options{Scale: scale})
			checkPlanes(t, p, m, scale)
			if m.Progressive != p.progressive || m.Arithmetic != p.arithmetic {
				t.Errorf("got %+v", m.Header)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: %dx%d, %d components, progressive %v, arithmetic %v %v, restart %d, scans %v",
				seed, p.w, p.h, len(p.comps), p.progressive, p.arithmetic, p.conditioning, p.restart, p.scans)
		}
	}
}

// TestSamplingFactors tries all factors for the second component.
func TestSamplingFactors(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for h := 1; h <= 4; h++ {
		for v := 1; v <= 4; v++ {
			for _, first := range []Sampling{{1, 1}, {2, 2}, {3, 1}} {
				p := &testPicture{w: 45, h: 37, comps: []testComp{
					{id: 1, h: first.H, v: first.V}, {id: 2, h: h, v: v}, {id: 3, h: 1, v: 1},
				}}
				p.fillRandom(rnd)
				checkPlanes(t, p, decode(t, p.encode(), Options{Scale: 1}), 1)
			}
		}
	}
}

// TestCrop checks that a part of the picture is the same as that part of the whole picture.
func TestCrop(t *testing.T) {
	for seed := range 100 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 9))
		p := randomPicture(rnd)
		data := p.encode()
		x, y := rnd.IntN(p.w), rnd.IntN(p.h)
		crop := image.Rect(x, y, x+1+rnd.IntN(p.w-x), y+1+rnd.IntN(p.h-y))
		for _, scale := range scales {
			whole := decode(t, data, Options{Scale: scale})
			part := decode(t, data, Options{Scale: scale, Crop: crop})
			if part.Damaged || !crop.In(part.Rect) || !part.Rect.In(whole.Rect) {
				t.Fatalf("seed %d: damaged %v, %v in %v in %v", seed, part.Damaged, crop, part.Rect, whole.Rect)
			}
			for i := range part.N {
				a, b := &whole.Planes[i], &part.Planes[i]
				dx, dy := float64(part.Rect.Min.X)/a.StepX, float64(part.Rect.Min.Y)/a.StepY
				if dx != math.Trunc(dx) || dy != math.Trunc(dy) {
					t.Fatal("Rect does not begin at a sample")
				}
				if d := difference(b, a.Pix[int(dy)*a.Stride+int(dx):], a.Stride); d != 0 {
					t.Fatalf("seed %d, scale %d, plane %d differs by %d", seed, scale, i, d)
				}
				if float64(b.W)*b.StepX < float64(part.Rect.Dx()) || float64(b.H)*b.StepY < float64(part.Rect.Dy()) {
					t.Fatalf("plane %d is %dx%d, too small for %v", i, b.W, b.H, part.Rect)
				}
			}
		}
	}
}

// TestChromaScale checks that luma is decoded at Scale and chroma at ChromaScale.
func TestChromaScale(t *testing.T) {
	p := &testPicture{w: 45, h: 37, comps: []testComp{{id: 1, h: 2, v: 2}, {id: 2, h: 1, v: 1}, {id: 3, h: 1, v: 1}}}
	p.fillRandom(rand.New(rand.NewPCG(1, 2)))
	data := p.encode()
	luma, chroma := decode(t, data, Options{Scale: 4}), decode(t, data, Options{Scale: 2})
	m := decode(t, data, Options{Scale: 4, ChromaScale: 2})
	for i := range 3 {
		want := &luma.Planes[i]
		if i > 0 {
			want = &chroma.Planes[i]
			if m.Planes[i].StepX != m.Planes[0].StepX {
				t.Error("the planes do not have the same size")
			}
		}
		if m.Planes[i].W != want.W || difference(&m.Planes[i], want.Pix, want.Stride) != 0 {
			t.Errorf("plane %d differs from that of a decode at its own scale", i)
		}
	}
}

func TestModel(t *testing.T) {
	for _, test := range []struct {
		ids     string
		markers []byte
		want    Model
		adobe   bool
	}{
		{"\x01", nil, Gray, false},
		{"\x01\x02\x03", nil, YCbCr, false},
		{"\x00\x01\x02", nil, YCbCr, false},
		{"YUV", nil, YCbCr, false},
		{"\x01\x02\x03", adobe(7), YCbCr, true},
		{"RGB", nil, RGB, false},
		{"RGB", jfif(), YCbCr, false},
		{"RGB", adobe(1), YCbCr, true},
		{"\x01\x02\x03", adobe(0), RGB, true},
		{"\x01\x02\x03", append(jfif(), adobe(0)...), YCbCr, true},
		{"\x01\x02\x03\x04", nil, CMYK, false},
		{"\x01\x02\x03\x04", adobe(0), CMYK, true},
		{"\x01\x02\x03\x04", adobe(2), YCCK, true},
		{"\x01\x02\x03\x04", adobe(7), YCCK, true},
	} {
		p := &testPicture{w: 8, h: 8, markers: test.markers}
		for i := range test.ids {
			p.comps = append(p.comps, testComp{id: test.ids[i], h: 1, v: 1})
		}
		p.fillRandom(rand.New(rand.NewPCG(1, 2)))
		h, err := ReadHeader(p.encode())
		if err != nil || h.Model != test.want || h.Adobe != test.adobe {
			t.Errorf("%q, %q: %+v, %v", test.ids, test.markers, h, err)
		}
	}
}

// compareStd returns the largest difference between m and the result of image/jpeg. It reports false if they cannot be
// compared.
func compareStd(m *Image, img image.Image) (diff int, ok bool) {
	switch img := img.(type) {
	case *image.Gray:
		return difference(&m.Planes[0], img.Pix, img.Stride), true
	case *image.YCbCr:
		return max(difference(&m.Planes[0], img.Y, img.YStride),
			difference(&m.Planes[1], img.Cb, img.CStride),
			difference(&m.Planes[2], img.Cr, img.CStride)), true
	case *image.RGBA: // it has no planes, so only pictures without subsampling can be compared
		for y := range m.Height {
			for x := range m.Width {
				for i := range 3 {
					p := &m.Planes[i]
					if p.W != m.Width || p.H != m.Height {
						return 0, false
					}
					d := int(p.Pix[y*p.Stride+x]) - int(img.Pix[y*img.Stride+4*x+i])
					diff = max(diff, d, -d)
				}
			}
		}
		return diff, true
	case *image.CMYK:
		for y := range m.Height {
			for x := range m.Width {
				for i := range 4 {
					p := &m.Planes[i]
					if m.Model != CMYK || p.W != m.Width || p.H != m.Height {
						return 0, false
					}
					d := int(p.Pix[y*p.Stride+x]) - int(255-img.Pix[y*img.Stride+4*x+i])
					diff = max(diff, d, -d)
				}
			}
		}
		return diff, true
	}
	return 0, false
}

// photo returns a picture with the falling spectrum of a photograph: noise, blurred at all scales, and some edges.
func photo(w, h int) *image.YCbCr {
	m := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	rnd := rand.New(rand.NewPCG(7, 7))
	plane := func(pix []byte, stride, w, h int, contrast float64) {
		sum := make([]float64, w*h)
		for step, amp := max(w, h)/2, contrast; step > 0; step, amp = step/2, amp*0.55 {
			gw := w/step + 2
			grid := make([]float64, gw*(h/step+2))
			for i := range grid {
				grid[i] = rnd.NormFloat64() * amp
			}
			for y := range h {
				gy, fy := y/step, float64(y%step)/float64(step)
				for x := range w {
					gx, fx := x/step, float64(x%step)/float64(step)
					g := grid[gy*gw+gx:]
					sum[y*w+x] += (g[0]*(1-fx)+g[1]*fx)*(1-fy) + (g[gw]*(1-fx)+g[gw+1]*fx)*fy
				}
			}
		}
		for i, v := range sum {
			if i/w > h/3 && i%w > w/4 && (i/w+i%w)%(w/3+1) < w/9 {
				v = 0.7*v + contrast // some objects
			}
			pix[i/w*stride+i%w] = byte(min(max(v+128, 0), 255))
		}
	}
	plane(m.Y, m.YStride, w, h, 60)
	plane(m.Cb, m.CStride, (w+1)/2, (h+1)/2, 25)
	plane(m.Cr, m.CStride, (w+1)/2, (h+1)/2, 25)
	return m
}

func encodeStd(t testing.TB, m image.Image, quality int) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDifferenceFromStd checks the difference from image/jpeg that the package comment states.
func TestDifferenceFromStd(t *testing.T) {
	compare := func(name string, data []byte) {
		img, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(name, err)
		}
		m := decode(t, data, Options{})
		if diff, ok := compareStd(m, img); !ok || diff > 1 || m.Damaged {
			t.Errorf("%s: compared %v, differs by %d, damaged %v", name, ok, diff, m.Damaged)
		}
	}
	for _, size := range []image.Point{{1, 1}, {7, 9}, {16, 16}, {17, 33}, {200, 120}} {
		for _, q := range []int{5, 50, 85, 100} {
			m := photo(size.X, size.Y)
			compare(fmt.Sprint(size, q), encodeStd(t, m, q))
			gray := &image.Gray{Pix: m.Y, Stride: m.YStride, Rect: m.Rect}
			compare(fmt.Sprint("gray", size, q), encodeStd(t, gray, q))
		}
	}
	files, _ := filepath.Glob("testdata/*.jpg")
	for _, f := range files {
		if data, err := os.ReadFile(f); err != nil {
			t.Error(err)
		} else if filepath.Base(f) != "arithmetic.jpg" {
			compare(f, data)
		}
	}
	if len(files) == 0 {
		t.Error("no files in testdata")
	}
	p := pictureOf(t, photo(200, 120), 85)
	p.progressive, p.scans = true, simpleProgression
	compare("progressive", p.encode())
}

// pictureOf returns a picture of m for the encoder of this package. Its coefficients are those that image/jpeg encodes.
func pictureOf(t testing.TB, m image.Image, quality int) *testPicture {
	data := encodeStd(t, m, quality)
	p := &testPicture{w: m.Bounds().Dx(), h: m.Bounds().Dy(), conditioning: defaultConditioning}
	p.comps = []testComp{{id: 1, h: 2, v: 2}, {id: 2, h: 1, v: 1}, {id: 3, h: 1, v: 1}}
	p.layOut()
	readBlocks(data, func(d *decoder, i, x, y int, coef *[64]int32) {
		c := &p.comps[i]
		c.quant = d.quant[d.comp[i].quantTable]
		for k, v := range coef {
			c.coef[y*c.bw+x][k] = int(v)
		}
	})
	return p
}

// readBlocks calls f with the quantized coefficients of each block of a sequential file.
func readBlocks(data []byte, f func(d *decoder, i, x, y int, coef *[64]int32)) {
	var m Image
	if Decode(context.Background(), data, Options{}, &m) != nil || m.Progressive || m.Arithmetic {
		return
	}
	// The decoder is ready to read the scans again, except for tables that were redefined between them.
	d := m.work
	d.Image, d.bits.data = &m, data
	defer func() { d.Image, d.bits.data = nil, nil }()
	var read [4]bool
	for pos := 2; ; {
		seg, ok := nextSegment(data, pos)
		if !ok || seg.marker == markerEOI {
			return
		}
		pos = seg.end
		switch seg.marker {
		case markerDHT:
			d.defineHuffman(seg.data)
		case markerDRI:
			d.restart = int(seg.data[0])<<8 | int(seg.data[1])
		case markerSOS:
			s, ok := d.parseScan(seg.data)
			if !ok {
				return
			}
			for i := range s.n {
				if read[s.parts[i].index] {
					return
				}
				read[s.parts[i].index] = true
				d.buildTables(&s, &s.parts[i])
			}
			d.bits.start(seg.end)
			readScanBlocks(d, &s, f)
		}
	}
}

// readScanBlocks calls f with the coefficients of each block of the scan s.
func readScanBlocks(d *decoder, s *scan, f func(d *decoder, i, x, y int, coef *[64]int32)) {
	var ones [64]uint16
	for k := range ones {
		ones[k] = 1
	}
	var q dequant
	q.set(&ones, 8)
	d.beginInterval(s)
	w, h := s.size(d)
	for n := range w * h {
		if d.restart > 0 && n > 0 && n%d.restart == 0 {
			d.bits.resync(byte(n/d.restart-1)&7, d.hasSurplus())
			d.beginInterval(s)
		}
		for i := range s.n {
			t := &s.parts[i]
			for j := range t.across * t.down {
				var b block
				diff, _, _ := d.bits.readBlock(&b, &q, &d.huffman[0][t.dc], &d.huffman[1][t.ac])
				if d.bits.pos > d.bits.safe && !d.bits.refill() {
					return
				}
				t.prediction += diff
				coef := [64]int32{t.prediction}
				for k := 1; k < 64; k++ {
					pair := b[zigzag[k]/2]
					coef[k] = int32(pair)
					if zigzag[k]%2 == 0 {
						coef[k] = int32((pair - int64(int32(pair))) >> 32)
					}
				}
				f(d, t.index, n%w*t.across+j%t.across, n/w*t.down+j/t.across, &coef)
			}
		}
	}
}

// TestOverflowMask checks the mask that decides whether samples have to be clamped.
func TestOverflowMask(t *testing.T) {
	for _, test := range []struct {
		a, b int64
		want bool
	}{
		{0, 0, false}, {255, 255, false}, {255, 0, false}, {0, 255, false},
		{256, 0, true}, {0, 256, true}, {-1, 0, true}, {0, -1, true}, {2000, 5, true}, {5, -2000, true},
	} {
		pair := (test.a<<32 + test.b) << shift2
		if got := pair&overflow != 0; got != test.want {
			t.Errorf("samples %d and %d: clamped %v, want %v", test.a, test.b, got, test.want)
		}
	}
}

// TestScale compares reduced pictures with averages of the full-size samples, which are close to them in a photograph.
func TestScale(t *testing.T) {
	data := encodeStd(t, photo(512, 384), 90)
	whole := decode(t, data, Options{})
	for _, test := range []struct {
		scale int
		psnr  float64
	}{{2, 30}, {4, 30}, {8, 45}} {
		m := decode(t, data, Options{Scale: test.scale})
		for i := range 3 {
			a, b := &whole.Planes[i], &m.Planes[i]
			sum := 0.0
			for y := range b.H {
				for x := range b.W {
					mean := 0
					for j := range test.scale * test.scale {
						mean += int(a.Pix[(y*test.scale+j/test.scale)*a.Stride+x*test.scale+j%test.scale])
					}
					d := float64(b.Pix[y*b.Stride+x]) - float64(mean)/float64(test.scale*test.scale)
					sum += d * d
				}
			}
			psnr := 10 * math.Log10(255*255*float64(b.W*b.H)/sum)
			t.Logf("1/%d, plane %d: %.1f dB", test.scale, i, psnr)
			if psnr < test.psnr {
				t.Errorf("1/%d, plane %d: %.1f dB", test.scale, i, psnr)
			}
		}
	}
}

// smallFiles returns a sequential and a progressive file with Huffman coding, and the same with arithmetic coding, all
// with restart markers, for tests that damage each byte.
func smallFiles(t testing.TB) (files [][]byte) {
	for i := range 4 {
		rnd := rand.New(rand.NewPCG(3, uint64(i)))
		p := &testPicture{w: 40, h: 27, comps: []testComp{{id: 1, h: 2, v: 2}, {id: 2, h: 1, v: 1}, {id: 3, h: 1, v: 1}}}
		p.markers = jfif()
		p.restart = 2
		if i%2 == 1 {
			p.progressive, p.scans = true, simpleProgression
		}
		if i >= 2 {
			p.arithmetic, p.conditioning = true, defaultConditioning
		}
		p.fillRandom(rnd)
		files = append(files, p.encode())
	}
	return files
}

// TestTruncated cuts files at each byte. TestArithmeticTruncated does the same for arithmetic coding.
func TestTruncated(t *testing.T) {
	for _, data := range smallFiles(t)[:2] {
		whole := decode(t, data, Options{})
		sos := bytes.Index(data, []byte{0xff, markerSOS})
		for n := range data {
			var m Image
			err := Decode(context.Background(), data[:n:n], Options{}, &m)
			switch {
			case n < sos+14 && err == nil:
				t.Fatalf("%d bytes of %d, without any data of the picture: no error", n, len(data))
			case n > sos+200 && err != nil:
				t.Fatalf("%d bytes of %d: %v", n, len(data), err)
			case n == len(data)-2 && (m.Damaged || !bytes.Equal(m.Planes[0].Pix, whole.Planes[0].Pix)):
				t.Error("the file without its end marker is not decoded like the whole file")
			case err == nil && n < len(data)-3 && !whole.Progressive && !m.Damaged:
				t.Errorf("%d bytes of %d: Damaged is not set", n, len(data))
			}
			if n > (sos+len(data))/2 && !whole.Progressive {
				// The part before the cut is unchanged.
				for x := range 16 {
					if m.Planes[0].Pix[x] != whole.Planes[0].Pix[x] {
						t.Fatalf("%d bytes of %d: sample %d is wrong", n, len(data), x)
					}
				}
			}
		}
	}
}

// TestFlippedBits changes each byte and checks that Decode does not panic.
func TestFlippedBits(t *testing.T) {
	var m Image
	for _, data := range smallFiles(t) {
		for i := range data {
			for j, x := range []byte{0xff, 0x01, 0x80} {
				if j != i%3 && series(0, 1) == 0 {
					continue // one of the three in turn
				}
				bad := bytes.Clone(data)
				bad[i] ^= x
				h, err := ReadHeader(bad)
				if err != nil || h.Cost(Options{}) > 16<<20 {
					continue
				}
				for _, scale := range scales {
					Decode(context.Background(), bad, Options{Scale: scale}, &m)
				}
			}
		}
	}
}

// TestRestartMarkers checks that damage stays within its restart interval.
func TestRestartMarkers(t *testing.T) {
	t.Run("Huffman", func(t *testing.T) { testRestartMarkers(t, false) })
	t.Run("arithmetic", func(t *testing.T) { testRestartMarkers(t, true) })
}

func testRestartMarkers(t *testing.T, arithmetic bool) {
	rnd := rand.New(rand.NewPCG(3, 0))
	p := &testPicture{w: 64, h: 64, comps: []testComp{{id: 1, h: 1, v: 1}}, restart: 8}
	p.arithmetic, p.conditioning = arithmetic, defaultConditioning
	p.fillRandom(rnd)
	data := p.encode()
	whole := decode(t, data, Options{})

	// rows returns + for each correct row of blocks and - for each wrong one.
	rows := func(data []byte) (s string) {
		m := decode(t, data, Options{})
		for y := range 8 {
			n := 8 * y * m.Planes[0].Stride
			ok := bytes.Equal(m.Planes[0].Pix[n:][:512], whole.Planes[0].Pix[n:][:512])
			s += map[bool]string{true: "+", false: "-"}[ok]
		}
		return s
	}
	markerLost := "+++-++++"
	if arithmetic {
		markerLost = "++--++++" // the last decisions before a marker depend on zeros after the data
	}
	marker := func(i int) int {
		return bytes.LastIndex(data, []byte{0xff, markerRST0 + byte(i)})
	}
	edit := func(from, to int, with ...byte) []byte {
		return append(append(bytes.Clone(data[:from]), with...), data[to:]...)
	}
	for _, test := range []struct {
		name, want string
		data       []byte
	}{
		{"undamaged", "++++++++", data},
		{"data lost", "++-+++++", edit(marker(1)+4, marker(2))},
		{"bytes added", "++++++++", edit(marker(2), marker(2), 1, 2, 3, 4)},
		{"fill bytes", "++++++++", edit(marker(2), marker(2), 0xff, 0xff, 0xff)},
		{"marker lost", markerLost, edit(marker(2), marker(2)+2)},
		{"marker without its data", "+++-++++", edit(marker(2)+2, marker(3))},
		{"marker and data lost", "+++-++++", edit(marker(2), marker(3), 1, 2, 3, 4)},
		{"wrong number", "++++++++", edit(marker(2), marker(2)+2, 0xff, markerRST0+6)},
		{"end marker too early", "+++-----", edit(marker(2), marker(2)+2, 0xff, markerEOI)},
	} {
		if got := rows(test.data); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// TestCases decodes files whose quarters are red, green, blue and nearly white.
func TestCases(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/cases/jpeg-arithmetic-dnl/*.jpg")
	if len(files) == 0 {
		t.Skip("no files in ../shared/cases/jpeg-arithmetic-dnl")
	}
	colors := [4][3]int{{220, 30, 30}, {30, 180, 40}, {40, 60, 210}, {230, 230, 220}}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m := decode(t, data, Options{})
		if m.Damaged || m.Model != YCbCr || m.Width <= m.Height {
			t.Errorf("%s: %+v, damaged %v", name, m.Header, m.Damaged)
		}
		at := func(p *Plane, i int) byte { return p.Pix[p.H*(1+2*(i/2))/4*p.Stride+p.W*(1+2*(i%2))/4] }
		for i, want := range colors {
			r, g, b := color.YCbCrToRGB(at(&m.Planes[0], i), at(&m.Planes[1], i), at(&m.Planes[2], i))
			for j, v := range []byte{r, g, b} {
				if d := int(v) - want[j]; max(d, -d) > 16 {
					t.Errorf("%s: the color of quarter %d is %d, %d, %d, want %v", name, i, r, g, b, want)
					break
				}
			}
		}
	}
}

// TestDNL decodes pictures whose height is in a DNL segment.
func TestDNL(t *testing.T) {
	for seed := range 100 {
		p := randomPicture(rand.New(rand.NewPCG(uint64(seed), 14)))
		want := p.encode()
		p.dnl = p.h
		data := p.encode()
		for _, scale := range scales {
			checkPlanes(t, p, decode(t, data, Options{Scale: scale}), scale)
		}
		a, err := ReadHeader(want)
		b, err2 := ReadHeader(data)
		if a != b || err != nil || err2 != nil {
			t.Errorf("header %+v, %v, want %+v, %v", b, err2, a, err)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestWrongDNL decodes pictures whose DNL segment does not match the data or the frame header.
func TestWrongDNL(t *testing.T) {
	p := &testPicture{w: 40, h: 40, comps: []testComp{{id: 1, h: 1, v: 1}}}
	for _, test := range []struct {
		name                    string
		arithmetic, progressive bool
		restart                 int
	}{
		{"sequential", false, false, 0}, {"sequential with restarts", false, false, 3},
		{"progressive", false, true, 0}, {"arithmetic", true, false, 5},
	} {
		p.arithmetic, p.progressive, p.conditioning = test.arithmetic, test.progressive, defaultConditioning
		p.scans = nil
		if p.progressive {
			p.scans = []testScan{{comps: []int{0}}, {comps: []int{0}, ss: 1, se: 63}}
		}
		p.restart, p.dnl = test.restart, 0
		p.fillRandom(rand.New(rand.NewPCG(3, 6)))
		whole := decode(t, p.encode(), Options{})
		for _, height := range []int{1, 17, 40, 47, 80, 65535} {
			p.dnl = height
			m := decode(t, p.encode(), Options{})
			if m.Height != height || m.Planes[0].H != height {
				t.Errorf("%s: height %d, want %d", test.name, m.Height, height)
			}
			n := min(height, 40)*40 - 1 // the last row may be short
			if !bytes.Equal(m.Planes[0].Pix[:n], whole.Planes[0].Pix[:n]) {
				t.Errorf("%s: wrong samples at a height of %d", test.name, height)
			}
			if !m.Damaged && height >= 80 {
				t.Errorf("%s: Damaged is not set at a height of %d", test.name, height)
			}
		}
	}
}

// TestDNLSegment reads headers of files with unusual or invalid DNL segments.
func TestDNLSegment(t *testing.T) {
	p := &testPicture{w: 40, h: 40, comps: []testComp{{id: 1, h: 1, v: 1}}, dnl: 40}
	p.fillRandom(rand.New(rand.NewPCG(3, 6)))
	data := p.encode()
	dnl := bytes.Index(data, []byte{0xff, markerDNL})
	edit := func(at int, with ...byte) []byte { return slices.Concat(data[:at], with, data[at+len(with):]) }
	for name, test := range map[string]struct {
		data []byte
		want error
	}{
		"no lines":            {edit(dnl+4, 0, 0), FormatError("height is zero")},
		"segment is empty":    {edit(dnl+2, 0, 2), ErrUnsupported},
		"segment is cut":      {data[:dnl+5], ErrUnsupported},
		"another segment":     {edit(dnl+1, 0xfe), ErrUnsupported},
		"end marker before":   {edit(dnl-2, 0xff, markerEOI), ErrUnsupported},
		"fill bytes before":   {slices.Concat(data[:dnl], []byte{0xff, 0xff}, data[dnl:]), nil},
		"two, the first wins": {slices.Concat(data[:dnl+6], edit(dnl+4, 0, 9)[dnl:]), nil},
	} {
		h, err := ReadHeader(test.data)
		if err != test.want || err == nil && h.Height != 40 {
			t.Errorf("%s: height %d, %v", name, h.Height, err)
		}
	}
}

// TestDNLIgnored decodes a file with a height in the frame header and another one in a DNL segment. Like other decoders,
// this one uses the former.
func TestDNLIgnored(t *testing.T) {
	p := &testPicture{w: 40, h: 40, comps: []testComp{{id: 1, h: 1, v: 1}}}
	p.fillRandom(rand.New(rand.NewPCG(3, 6)))
	data := p.encode()
	want := decode(t, data, Options{})
	data = append(data[:len(data)-2], 0xff, markerDNL, 0, 4, 0, 8, 0xff, markerEOI)
	if m := decode(t, data, Options{}); m.Damaged || m.Height != 40 || !bytes.Equal(m.Planes[0].Pix, want.Planes[0].Pix) {
		t.Errorf("not the same picture, or height is %d, damaged %v", m.Height, m.Damaged)
	}
}

// TestUnsupported checks that JPEG files of other kinds are ErrUnsupported, so that callers try another decoder.
func TestUnsupported(t *testing.T) {
	data := encodeStd(t, photo(40, 40), 75)
	sof := bytes.Index(data, []byte{0xff, markerSOF0})
	with := func(at int, b byte) []byte {
		data := bytes.Clone(data)
		data[at] = b
		return data
	}
	files := map[string][]byte{
		"12 bits":             with(sof+4, 12),
		"lossless":            with(sof+1, 0xc3),
		"lossless arithmetic": with(sof+1, 0xcb),
		"differential":        with(sof+1, 0xc5),
		"hierarchical":        slices.Concat(data[:sof], appendSegment(nil, markerDHP, data[sof+4:sof+21]), data[sof:]),
		"no height":           with(sof+6, 0),
	}
	two := &testPicture{w: 8, h: 8, comps: []testComp{{id: 1, h: 1, v: 1}, {id: 2, h: 1, v: 1}}}
	two.fillRandom(rand.New(rand.NewPCG(1, 2)))
	files["two components"] = two.encode()
	for name, data := range files {
		if _, err := ReadHeader(data); err != ErrUnsupported {
			t.Errorf("%s: header: %v", name, err)
		}
		if err := Decode(context.Background(), data, Options{}, new(Image)); err != ErrUnsupported {
			t.Errorf("%s: picture: %v", name, err)
		}
	}
}

// scanBomb returns a gray progressive file with many empty refinement scans.
func scanBomb(size, scans int) []byte {
	return repeatScan(size, scans, false, &testScan{comps: []int{0}, ss: 1, se: 63, ah: 1}, func(b *[64]int) {})
}

// arithmeticBomb returns a gray progressive file with many scans in arithmetic coding. Each scan has a coefficient at
// the end of the band in all blocks, so it takes 63 decisions for each block, but hardly any data.
func arithmeticBomb(size, scans int) []byte {
	return repeatScan(size, scans, true, &testScan{comps: []int{0}, ss: 1, se: 63, ah: 1}, func(b *[64]int) { b[63] = 2 })
}

// repeatScan returns a gray progressive file in which a scan is repeated. It calls change for each block first.
func repeatScan(size, scans int, arithmetic bool, s *testScan, change func(b *[64]int)) []byte {
	p := &testPicture{w: size, h: size, progressive: true, comps: []testComp{{id: 1, h: 1, v: 1}}}
	p.arithmetic, p.conditioning = arithmetic, defaultConditioning
	p.scans = []testScan{{comps: []int{0}, al: 1}}
	p.layOut()
	p.comps[0].quant[0] = 1
	for i := range p.comps[0].coef {
		change(&p.comps[0].coef[i])
	}
	if arithmetic {
		p.scans = append(p.scans, testScan{comps: []int{0}, ss: 1, se: 63, al: 1})
	}
	data := p.encode()
	var scan []byte
	if arithmetic {
		scan = p.appendArithmeticScan(nil, s)
	} else {
		scan = p.appendScan(nil, s)
	}
	return append(append(data[:len(data)-2], bytes.Repeat(scan, scans)...), 0xff, markerEOI)
}

// TestScanBomb decodes small files with thousands of scans. The one with Huffman coding takes image/jpeg half a minute.
func TestScanBomb(t *testing.T) {
	size := series(3500, 7000)
	for name, data := range map[string][]byte{
		"Huffman":    scanBomb(size, 2000),
		"arithmetic": arithmeticBomb(size/4, 2000),
	} {
		start := time.Now()
		m := decode(t, data, Options{})
		t.Logf("%s: %d bytes in %v", name, len(data), time.Since(start))
		if !m.Damaged {
			t.Errorf("%s: Damaged is not set, so all scans were read", name)
		}
	}
}

// TestScanLimit decodes files with the largest number of scans of a band that T.81 allows, and one more.
func TestScanLimit(t *testing.T) {
	for name, bomb := range map[string]func(size, scans int) []byte{"Huffman": scanBomb, "arithmetic": arithmeticBomb} {
		first := 0 // scans of the band before the repeated ones
		if name == "arithmetic" {
			first = 1
		}
		for _, n := range []int{maxScansOfBand, maxScansOfBand + 1} {
			if m := decode(t, bomb(40, n-first), Options{}); m.Damaged != (n > maxScansOfBand) {
				t.Errorf("%s: Damaged is %v after %d scans of a band", name, m.Damaged, n)
			}
		}
	}
}

// A countdown is a context that is canceled after n calls of Err.
type countdown struct {
	context.Context
	n int
}

func (c *countdown) Err() error {
	if c.n--; c.n < 0 {
		return context.Canceled
	}
	return nil
}

// TestCancel cancels the context at each of its checks.
func TestCancel(t *testing.T) {
	for _, data := range append(smallFiles(t), scanBomb(200, 12), arithmeticBomb(200, 12)) {
		ctx := &countdown{context.Background(), 1 << 30}
		if err := Decode(ctx, data, Options{}, new(Image)); err != nil {
			t.Fatal(err)
		}
		calls := 1<<30 - ctx.n
		if calls < 2 {
			t.Errorf("the context was checked only %d times", calls)
		}
		for n := range min(calls, 100) {
			if err := Decode(&countdown{context.Background(), n}, data, Options{}, new(Image)); err != context.Canceled {
				t.Fatalf("canceled at check %d of %d: %v", n, calls, err)
			}
		}
	}
}

// allocated returns the number of bytes that f allocates.
func allocated(f func()) int64 {
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	f()
	runtime.ReadMemStats(&b)
	return int64(b.TotalAlloc - a.TotalAlloc)
}

// TestCost checks that Decode allocates at most Cost bytes.
func TestCost(t *testing.T) {
	if n := unsafe.Sizeof(decoder{}); n > decoderBytes {
		t.Fatalf("a decoder takes %d bytes, more than decoderBytes", n)
	}
	for seed := range 100 {
		p := randomPicture(rand.New(rand.NewPCG(uint64(seed), 5)))
		p.w, p.h = 1+p.w*seed/10, 1+p.h*seed/10
		p.layOut()
		for i := range p.comps {
			p.comps[i].quant[0] = 1
		}
		data := p.encode()
		h, err := ReadHeader(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, scale := range scales {
			o := Options{Scale: scale, Crop: image.Rect(0, 0, p.w, p.h/2)}
			if seed%2 == 0 {
				o.Crop = image.Rectangle{}
			}
			var m Image
			n := allocated(func() {
				if err := Decode(context.Background(), data, o, &m); err != nil {
					t.Fatal(err)
				}
			})
			if cost := h.Cost(o); n > cost {
				t.Errorf("seed %d, scale %d: allocated %d bytes, more than the cost of %d", seed, scale, n, cost)
			}
		}
	}
}

// TestReuse decodes different pictures to one Image. A picture like the one before must not allocate.
func TestReuse(t *testing.T) {
	var m Image
	for seed := range 100 {
		p := randomPicture(rand.New(rand.NewPCG(uint64(seed), 6)))
		data := p.encode()
		for range 2 {
			if err := Decode(context.Background(), data, Options{Scale: 1}, &m); err != nil {
				t.Fatal(err)
			}
			checkPlanes(t, p, &m, 1)
		}
		n := testing.AllocsPerRun(1, func() { Decode(context.Background(), data, Options{Scale: 2}, &m) })
		if n > 0 {
			t.Errorf("seed %d: %v allocations", seed, n)
		}
	}
}

// BenchmarkDecode compares Decode at all scales with image/jpeg, which has only full size and no arithmetic coding.
func BenchmarkDecode(b *testing.B) {
	p := pictureOf(b, photo(1400, 1400), 90)
	files := map[string][]byte{"baseline": encodeStd(b, photo(1400, 1400), 90)}
	p.arithmetic = true
	files["arithmetic"] = p.encode()
	p.progressive, p.scans = true, simpleProgression
	files["arithmetic-progressive"] = p.encode()
	p.arithmetic = false
	files["progressive"] = p.encode()
	for _, name := range []string{"baseline", "progressive", "arithmetic", "arithmetic-progressive"} {
		data := files[name]
		if _, err := jpeg.DecodeConfig(bytes.NewReader(data)); err == nil {
			b.Run("std/"+name+"/1", func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		for _, scale := range scales {
			b.Run(fmt.Sprintf("ours/%s/%d", name, scale), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				var m Image
				for b.Loop() {
					if err := Decode(context.Background(), data, Options{Scale: scale}, &m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

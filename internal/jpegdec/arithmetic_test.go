package jpegdec

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// An arithmeticWriter encodes decisions as T.81 D.1 describes it.
type arithmeticWriter struct {
	a, c uint32
	ct   int
	out  []byte // without stuffed bytes

	bins [32][256]bin // by class<<4 | number of the table
	even bin
}

func newArithmeticWriter() *arithmeticWriter {
	return &arithmeticWriter{a: 1 << 16, ct: 11, even: evenOdds << 1}
}

// code encodes a decision.
func (w *arithmeticWriter) code(b *bin, decision bool) {
	p := probabilities[*b>>1]
	mps := *b&1 != 0
	q := uint32(p.lps)
	w.a -= q
	if decision == mps {
		if w.a >= 1<<15 {
			return
		}
		if w.a < q {
			w.c += w.a
			w.a = q
		}
		*b = bin(p.afterMPS)<<1 | *b&1
	} else {
		if w.a >= q {
			w.c += w.a
			w.a = q
		}
		*b = bin(p.afterLPS)<<1 | *b&1 ^ bin(p.exchange)
	}
	for w.a < 1<<15 {
		w.a <<= 1
		w.shift()
	}
}

// shift moves one bit out of the code register.
func (w *arithmeticWriter) shift() {
	w.c <<= 1
	w.ct--
	if w.ct == 0 {
		w.byteOut()
		w.ct = 8
	}
}

// byteOut writes the top byte of the code register. It carries at once, so that no bytes have to be stacked.
func (w *arithmeticWriter) byteOut() {
	t := w.c >> 19
	for i := len(w.out) - 1; t > 0xff; i-- {
		w.out[i]++
		if w.out[i] != 0 {
			t &= 0xff
		}
	}
	w.out = append(w.out, byte(t))
	w.c &= 1<<19 - 1
}

// flush ends the segment and returns its bytes, with stuffed ones (T.81 D.1.8).
func (w *arithmeticWriter) flush() (out []byte) {
	t := (w.c + w.a - 1) &^ 0xffff
	if t < w.c {
		t += 1 << 15
	}
	w.c = t << w.ct
	w.byteOut()
	w.c <<= 8
	w.byteOut()
	for len(w.out) > 0 && w.out[len(w.out)-1] == 0 {
		w.out = w.out[:len(w.out)-1]
	}
	for _, b := range w.out {
		out = append(out, b)
		if b == 0xff {
			out = append(out, 0)
		}
	}
	return out
}

// An arithmeticBlockWriter encodes the blocks of a scan (T.81 F.1.4 and G.1.3).
type arithmeticBlockWriter struct {
	*arithmeticWriter
	p    *testPicture
	s    *testScan
	pred [4]int
	diff [4]int // the last difference
}

// bin returns a bin of a table, whose class is its upper half.
func (w *arithmeticBlockWriter) bin(table, i int) *bin { return &w.bins[table][i] }

// magnitude encodes sz, the magnitude minus one, from bin x on (T.81 F.1.4.3). The decoder already knows that sz is at
// least m/2.
func (w *arithmeticBlockWriter) magnitude(table, x, sz, m int) {
	for ; sz >= m; m <<= 1 {
		w.code(w.bin(table, x), true)
		x++
	}
	w.code(w.bin(table, x), false)
	for m >>= 2; m > 0; m >>= 1 {
		w.code(w.bin(table, x+14), sz&m != 0)
	}
}

// dc encodes a DC difference of component i (T.81 F.1.4.1).
func (w *arithmeticBlockWriter) dc(i, table, v int) {
	last := w.diff[i]
	w.diff[i] = v
	size := max(last, -last)
	context := 0
	if size > 1<<w.p.conditioning.lower[table]>>1 {
		context = 4
		if size > 1<<w.p.conditioning.upper[table] {
			context = 12
		}
		if last < 0 {
			context += 4
		}
	}
	w.code(w.bin(table, context), v != 0)
	if v == 0 {
		return
	}
	w.code(w.bin(table, context+1), v < 0)
	sz := max(v, -v) - 1
	one := w.bin(table, context+2)
	if v < 0 {
		one = w.bin(table, context+3)
	}
	w.code(one, sz > 0)
	if sz > 0 {
		w.magnitude(table, 20, sz, 2)
	}
}

// block encodes block b of component i.
func (w *arithmeticBlockWriter) block(i, table int, b *[64]int) {
	if w.s.ss == 0 {
		if w.s.ah > 0 {
			w.code(&w.even, b[0]>>w.s.al&1 != 0)
			return
		}
		v := b[0] >> w.s.al
		w.dc(i, table, v-w.pred[i])
		w.pred[i] = v
	}
	shifted := func(k int) int { return b[k] / (1 << w.s.al) }
	end := 0 // after the last coefficient that is not zero
	old := 0 // after the last that was not zero in earlier scans
	for k := max(w.s.ss, 1); k <= w.s.se; k++ {
		if shifted(k) != 0 {
			end = k + 1
		}
		if w.s.ah > 0 && b[k]/(1<<w.s.ah) != 0 {
			old = k + 1
		}
	}
	table |= 0x10
	afterZero := false
	for k := max(w.s.ss, 1); k <= w.s.se; k++ {
		if !afterZero && k >= old {
			w.code(w.bin(table, 3*(k-1)), k >= end)
			if k >= end {
				return
			}
		}
		v := shifted(k)
		if w.s.ah > 0 && b[k]/(1<<w.s.ah) != 0 {
			w.code(w.bin(table, 3*(k-1)+2), v&1 != 0)
			afterZero = false
			continue
		}
		w.code(w.bin(table, 3*(k-1)+1), v != 0)
		afterZero = v == 0
		if v != 0 {
			w.code(&w.even, v < 0)
			if w.s.ah == 0 {
				w.ac(table, k, max(v, -v)-1)
			}
		}
	}
}

// ac encodes sz, the magnitude of coefficient k minus one (T.81 F.1.4.2).
func (w *arithmeticBlockWriter) ac(table, k, sz int) {
	w.code(w.bin(table, 3*(k-1)+2), sz > 0)
	if sz == 0 {
		return
	}
	w.code(w.bin(table, 3*(k-1)+2), sz > 1)
	if sz == 1 {
		return
	}
	x := 217
	if k <= int(w.p.conditioning.limit[table&15]) {
		x = 189
	}
	w.magnitude(table, x, sz, 4)
}

// appendArithmeticScan appends the SOS segment and the data of a scan.
func (p *testPicture) appendArithmeticScan(out []byte, s *testScan) []byte {
	out = p.appendSOS(out, s)
	var w *arithmeticBlockWriter
	begin := func() { w = &arithmeticBlockWriter{arithmeticWriter: newArithmeticWriter(), p: p, s: s} }
	begin()
	p.walk(s, func(interval int) {
		out = append(append(out, w.flush()...), 0xff, markerRST0+byte(interval-1)&7)
		begin()
	}, func(i int, b *[64]int) { w.block(i, i&1, b) })
	return append(out, w.flush()...)
}

// makeArithmetic makes p one in arithmetic coding with random conditioning.
func (p *testPicture) makeArithmetic(rnd *rand.Rand) {
	p.arithmetic, p.conditioning = true, defaultConditioning
	if rnd.IntN(2) == 0 {
		for i := range 2 {
			p.conditioning.upper[i] = uint8(rnd.IntN(8))
			p.conditioning.lower[i] = uint8(rnd.IntN(1 + int(p.conditioning.upper[i])))
			p.conditioning.limit[i] = uint8(1 + rnd.IntN(63))
		}
	}
}

// TestArithmeticSequence decodes the test sequence of T.81 K.4.1, whose decisions are the bits of some bytes.
func TestArithmeticSequence(t *testing.T) {
	plain := []byte{
		0x00, 0x02, 0x00, 0x51, 0x00, 0x00, 0x00, 0xc0, 0x03, 0x52, 0x87, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa,
		0x82, 0xc0, 0x20, 0x00, 0xfc, 0xd7, 0x9e, 0xf6, 0x74, 0xea, 0xab, 0xf7, 0x69, 0x7e, 0xe7, 0x4c,
	}
	coded := []byte{
		0x65, 0x5b, 0x51, 0x44, 0xf7, 0x96, 0x9d, 0x51, 0x78, 0x55, 0xbf, 0xff, 0x00, 0xfc, 0x51, 0x84,
		0xc7, 0xce, 0xf9, 0x39, 0x00, 0x28, 0x7d, 0x46, 0x70, 0x8e, 0xcb, 0xc0, 0xf6,
	}
	w := newArithmeticWriter()
	var b bin
	for i := range 8 * len(plain) {
		w.code(&b, plain[i/8]<<(i%8)&0x80 != 0)
	}
	if got := w.flush(); !bytes.Equal(got, coded) {
		t.Errorf("encoded % x", got)
	}
	var d decoder
	d.bits.data = append(slices.Clone(coded), 0xff, markerEOI)
	d.bits.start(0)
	d.arithmetic.bits = &d.bits
	d.arithmetic.start(new(scan))
	b = 0
	for i := range 8 * len(plain) {
		if got, want := d.arithmetic.decide(&b), plain[i/8]<<(i%8)&0x80 != 0; got != want {
			t.Fatalf("decision %d is %v", i, got)
		}
	}
}

// TestConditioning reads DAC segments.
func TestConditioning(t *testing.T) {
	for _, test := range []struct {
		segment string
		ok      bool
	}{
		{"", true}, {"\x00\x10", true}, {"\x03\xff\x13\x3f", true}, {"\x00\x10\x07", true},
		{"\x04\x10", false}, {"\x20\x10", false}, {"\x00\x01", false},
	} {
		c := defaultConditioning
		if ok := c.define([]byte(test.segment)); ok != test.ok {
			t.Errorf("%x: %v", test.segment, ok)
		}
	}
}

// TestJpegtran recodes files with jpegtran, which is lossless, and compares the pictures. It checks the decoder with the
// arithmetic encoder of libjpeg, and the encoder of these tests with the arithmetic decoder of libjpeg.
func TestJpegtran(t *testing.T) {
	if _, err := exec.LookPath("jpegtran"); err != nil {
		t.Skip("there is no jpegtran: ", err)
	}
	recode := func(data []byte, args ...string) []byte {
		cmd := exec.Command("jpegtran", args...)
		cmd.Stdin = bytes.NewReader(data)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("jpegtran %q: %v: %s", args, err, &stderr)
		}
		return out
	}
	files := map[string][]byte{
		"photo":     encodeStd(t, photo(233, 157), 97),
		"low":       encodeStd(t, photo(317, 200), 20),
		"one pixel": encodeStd(t, photo(1, 1), 85),
	}
	names, _ := filepath.Glob("testdata/*.jpg")
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	for seed := range series(4, 40) {
		p := randomPicture(rand.New(rand.NewPCG(uint64(seed), 13)))
		files[fmt.Sprint("seed ", seed)] = p.encode()
	}
	for name, data := range files {
		if h, err := ReadHeader(data); err != nil || blocksOfMCU(h) > 10 {
			continue // libjpeg does not read those
		}
		for _, args := range [][]string{
			{},
			{"-progressive"},
			{"-arithmetic"},
			{"-arithmetic", "-restart", "7B"},
			{"-arithmetic", "-restart", "1"},
			{"-arithmetic", "-progressive"},
			{"-arithmetic", "-progressive", "-restart", "5B"},
		} {
			coded := recode(data, args...)
			for _, scale := range scales {
				want, got := decode(t, data, Options{Scale: scale}), decode(t, coded, Options{Scale: scale})
				if got.Arithmetic != slices.Contains(args, "-arithmetic") || got.Damaged {
					t.Errorf("%s %q, scale %d: %+v, damaged %v", name, args, scale, got.Header, got.Damaged)
				}
				for i := range want.N {
					a, b := &want.Planes[i], &got.Planes[i]
					if a.W != b.W || a.H != b.H || difference(a, b.Pix, b.Stride) != 0 {
						t.Errorf("%s %q, scale %d, plane %d: not the same samples", name, args, scale, i)
					}
				}
			}
		}
	}
}

// blocksOfMCU returns the number of blocks in an MCU of an interleaved scan.
func blocksOfMCU(h Header) (n int) {
	for _, s := range h.Sampling[:h.N] {
		n += s.H * s.V
	}
	return n
}

// TestArithmeticTruncated cuts a file at each byte.
func TestArithmeticTruncated(t *testing.T) {
	for _, restart := range []int{0, 2} {
		p := &testPicture{w: 64, h: 64, arithmetic: true, conditioning: defaultConditioning, restart: restart}
		p.comps = []testComp{{id: 1, h: 1, v: 1}}
		p.fillRandom(rand.New(rand.NewPCG(3, 5)))
		data := p.encode()
		whole := decode(t, data, Options{})
		sos := bytes.Index(data, []byte{0xff, markerSOS})
		for n := sos + 100; n < len(data)-12; n++ {
			var m Image
			if err := Decode(context.Background(), data[:n:n], Options{}, &m); err != nil {
				t.Fatalf("%d bytes of %d: %v", n, len(data), err)
			}
			if !m.Damaged && restart == 0 { // two blocks may be complete without their last bytes
				t.Errorf("%d bytes of %d: Damaged is not set", n, len(data))
			}
			if !bytes.Equal(m.Planes[0].Pix[:64], whole.Planes[0].Pix[:64]) && n > len(data)/3 {
				t.Fatalf("%d bytes of %d: the first samples differ", n, len(data))
			}
		}
	}
}

// TestArithmeticMissing decodes a file with less data than its height needs.
func TestArithmeticMissing(t *testing.T) {
	p := &testPicture{w: 64, h: 64, arithmetic: true, conditioning: defaultConditioning}
	p.comps = []testComp{{id: 1, h: 1, v: 1}}
	p.fillRandom(rand.New(rand.NewPCG(3, 5)))
	data := p.encode()
	whole := decode(t, data, Options{})
	sof := bytes.Index(data, []byte{0xff, markerSOF9})
	data[sof+5] = 64 // the height is 16384+64
	m := decode(t, data, Options{})
	if !m.Damaged {
		t.Error("Damaged is not set")
	}
	pix := m.Planes[0].Pix
	if n := 64 * 63; !bytes.Equal(pix[:n], whole.Planes[0].Pix[:n]) {
		t.Error("the first rows differ")
	}
	if pix = pix[64*8192:]; bytes.Count(pix, []byte{128}) != len(pix) {
		t.Error("the lower half is not gray")
	}
}

// TestArithmeticZeros decodes pictures of equal blocks, whose data is mostly zeros, which encoders leave out.
func TestArithmeticZeros(t *testing.T) {
	for _, progressive := range []bool{false, true} {
		for _, last := range []int{0, 1, 63} { // index of the last coefficient that is not zero
			edge := series(499, 999)
			p := &testPicture{w: edge, h: edge, arithmetic: true, conditioning: defaultConditioning, progressive: progressive}
			p.comps = []testComp{{id: 1, h: 2, v: 2}, {id: 2, h: 1, v: 1}, {id: 3, h: 1, v: 1}}
			if progressive {
				p.scans = simpleProgression
			}
			p.layOut()
			for i := range p.comps {
				c := &p.comps[i]
				for k := range c.quant {
					c.quant[k] = 1
				}
				for j := range c.coef {
					for k := range last + 1 {
						c.coef[j][k] = 6
					}
				}
			}
			checkPlanes(t, p, decode(t, p.encode(), Options{Scale: 8}), 8)
			checkPlanes(t, p, decode(t, p.encode(), Options{Scale: 2}), 2)
		}
	}
}

package webpdec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/image/webp"
)

// testdata returns the frames of the files in testdata by name.
func testdata(t testing.TB) map[string]Frame {
	t.Helper()
	files, _ := filepath.Glob("testdata/*.webp")
	if len(files) == 0 {
		t.Fatal("no test pictures")
	}
	frames := map[string]Frame{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		frames[filepath.Base(file)] = parseFile(data)
	}
	return frames
}

func decode(t testing.TB, f Frame, o Options) Picture {
	t.Helper()
	p, err := f.Decode(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Small pictures have the samples that golang.org/x/image/webp finds.
func TestSmallPictures(t *testing.T) {
	for name, f := range testdata(t) {
		if err := samePicture(f, decode(t, f, Options{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// mean returns the plane with the means of squares.
func mean(p Plane, chans, scale int) Plane {
	m := reducedPlane(p.W, p.H, scale, chans)
	m.Pix = make([]byte, m.bytes())
	for y := range m.H {
		for x := range m.W {
			for c := range chans {
				sum, n := 0, 0
				for j := y * scale; j < min(p.H, (y+1)*scale); j++ {
					for i := x * scale; i < min(p.W, (x+1)*scale); i++ {
						sum += int(p.Pix[j*p.Stride+chans*i+c])
						n++
					}
				}
				m.Pix[y*m.Stride+chans*x+c] = byte((sum + n/2) / n)
			}
		}
	}
	return m
}

// A pixel of a reduced picture is the mean of a square.
func TestReduced(t *testing.T) {
	for name, f := range testdata(t) {
		for _, alsoRGBA := range []bool{false, true} {
			full := decode(t, f, Options{RGBA: alsoRGBA})
			for _, scale := range []int{2, 4, 8} {
				got := decode(t, f, Options{Scale: scale, ChromaScale: scale / 2, RGBA: alsoRGBA})
				for i, p := range got.Planes {
					if p.Pix == nil {
						continue
					}
					chans, scale, step := 1, scale, scale
					if got.RGBA {
						chans = 4
					}
					if i > 0 {
						scale /= 2
					}
					want := mean(full.Planes[i], chans, scale)
					if p.W != want.W || p.H != want.H || p.Step != step {
						t.Errorf("%s 1/%d: plane %d has %d x %d pixels of %d, want %d x %d of %d", name, scale, i, p.W, p.H, p.Step, want.W, want.H, step)
						continue
					}
					if err := samePlane(fmt.Sprint("plane ", i), p, want.Pix, want.Stride, chans*p.W, p.H); err != nil {
						t.Errorf("%s 1/%d: %v", name, scale, err)
					}
				}
			}
		}
	}
}

// A reducer divides by the number of samples for all sizes.
func TestReducerSizes(t *testing.T) {
	for w := 1; w < 40; w++ {
		for h := 1; h < 10; h++ {
			p := reducedPlane(w, h, 1, 1)
			p.Pix = make([]byte, p.bytes())
			rnd := rand.New(rand.NewPCG(uint64(w), uint64(h)))
			for i := range p.Pix {
				p.Pix[i] = byte(rnd.IntN(2) * (250 + rnd.IntN(6)))
			}
			for _, scale := range []int{1, 2, 4, 8} {
				r := newReducer(w, h, scale)
				for y := range h {
					r.add(p.Pix[y*p.Stride:][:w])
				}
				r.flush()
				want := mean(p, 1, scale)
				if err := samePlane("plane", r.Plane, want.Pix, want.Stride, want.W, want.H); err != nil {
					t.Fatalf("%d x %d at 1/%d: %v", w, h, scale, err)
				}
			}
		}
	}
}

// A lossy picture as RGBA has the colors of its planes, converted with floating-point numbers.
func TestColors(t *testing.T) {
	f := testdata(t)["lossy.webp"]
	planes, rgba := decode(t, f, Options{}).Planes, decode(t, f, Options{RGBA: true}).Planes[0]
	for y := range rgba.H {
		for x := range rgba.W {
			l := (float64(planes[0].Pix[y*planes[0].Stride+x]) - 16) * 255 / 219
			at := y/2*planes[1].Stride + x/2
			cb, cr := (float64(planes[1].Pix[at])-128)*255/224, (float64(planes[2].Pix[at])-128)*255/224
			want := [4]float64{l + 1.402*cr, l - 0.344136*cb - 0.714136*cr, l + 1.772*cb, 255}
			for c, v := range want {
				got := float64(rgba.Pix[y*rgba.Stride+4*x+c])
				if v = max(0, min(255, v)); got < v-0.6 || got > v+0.6 {
					t.Fatalf("channel %d at %d, %d is %v, want %v", c, x, y, got, v)
				}
			}
		}
	}
}

// allocated returns the number of bytes that f allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// Decode allocates at most Cost bytes.
func TestCost(t *testing.T) {
	frames := testdata(t)
	for _, size := range []int{1, 600, 3000} {
		frames[fmt.Sprint("far copies ", size)] = Frame{VP8L: farCopies(size, size)}
	}
	for name, f := range frames {
		for _, scale := range []int{1, 2, 4, 8} {
			for _, alsoRGBA := range []bool{false, true} {
				o := Options{Scale: scale, RGBA: alsoRGBA}
				cost := f.Cost(o)
				if used := allocated(func() { decode(t, f, o) }); used > cost {
					t.Errorf("%s %+v: allocated %d bytes, more than the cost of %d", name, o, used, cost)
				}
			}
		}
	}
}

// A lossless picture that is larger than the window for copies takes no more memory than the window.
func TestCostOfLargeLossless(t *testing.T) {
	f := Frame{VP8L: farCopies(4000, 4000)}
	const limit = 32 << 20 // the window has 6 MiB; the tiles of transforms could have 7, and prefix codes 16
	if cost := f.Cost(Options{Scale: 8}); cost > limit {
		t.Errorf("cost is %d bytes, want at most %d", cost, limit)
	}
}

// Pixels are copied over the largest distance, also after the window has moved.
func TestFarCopies(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {7, 300}, {2000, 1700}, {16384, 200}, {1, 16384}} {
		f := Frame{VP8L: farCopies(size[0], size[1])}
		if err := samePicture(f, decode(t, f, Options{})); err != nil {
			t.Errorf("%d x %d: %v", size[0], size[1], err)
		}
	}
}

// Decode ends when its context is done.
func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, f := range testdata(t) {
		if _, err := f.Decode(ctx, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

// Data that ends early gives an error.
func TestTruncated(t *testing.T) {
	for name, f := range testdata(t) {
		for n := range max(len(f.VP8), len(f.VP8L)) - 8 {
			short := f
			if f.VP8L != nil {
				short.VP8L = f.VP8L[:n]
			} else {
				short.VP8 = f.VP8[:n]
			}
			_, err := short.Decode(context.Background(), Options{})
			var format FormatError
			if !errors.As(err, &format) {
				t.Fatalf("%s: error after %d bytes is %v", name, n, err)
			}
		}
		for n := range max(0, len(f.ALPH)-8) {
			short := f
			short.ALPH = f.ALPH[:n]
			if _, err := short.Decode(context.Background(), Options{}); err == nil {
				t.Fatalf("%s: no error after %d bytes of alpha", name, n)
			}
		}
	}
}

// Thousands of prefix codes, each with a large table in few bits, take no more memory than Cost.
func TestManyCodes(t *testing.T) {
	f := Frame{VP8L: manyCodes(60000)}
	o := Options{Scale: 8}
	var err error
	used := allocated(func() { _, err = f.Decode(context.Background(), o) })
	if err != errCodes {
		t.Errorf("error is %v, want %v", err, errCodes)
	}
	if cost := f.Cost(o); used > cost || cost > 32<<20 {
		t.Errorf("allocated %d bytes, cost is %d", used, cost)
	}
	f = Frame{VP8L: manyCodes(100)}
	if err := samePicture(f, decode(t, f, Options{})); err != nil {
		t.Error(err)
	}
}

// A bitWriter writes a lossless bitstream.
type bitWriter struct {
	out  []byte
	bits uint64
	n    uint
}

func (w *bitWriter) write(v uint64, n uint) {
	w.bits |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
}

func newBitWriter(width, height int) *bitWriter {
	w := &bitWriter{out: []byte{0x2f}}
	w.write(uint64(width-1), 14)
	w.write(uint64(height-1), 14)
	w.write(1, 4) // alpha, and the version
	return w
}

func (w *bitWriter) bytes() []byte {
	w.write(0, 7)
	return w.out
}

// single writes the code of a single symbol of 8 bits.
func (w *bitWriter) single(symbol int) {
	w.write(5, 3)
	w.write(uint64(symbol), 8)
}

// twoLengths writes a code with n symbols of a length, from 0 on, and then m symbols that are one bit longer.
func (w *bitWriter) twoLengths(n, m int, length uint) {
	w.write(0, 1)
	w.write(15, 4)
	for _, symbol := range codeLengthOrder {
		switch uint(symbol) {
		case length:
			w.write(1, 3)
		case length + 1:
			w.write(min(1, uint64(m)), 3)
		default:
			w.write(0, 3)
		}
	}
	w.write(1, 1) // the number of symbols follows, in 12 bits
	w.write(5, 3)
	w.write(uint64(n+m-2), 12)
	if m > 0 {
		for i := range n + m {
			w.write(uint64(min(1, i/n)), 1)
		}
	}
}

// symbol writes a symbol of such a code.
func (w *bitWriter) symbol(s, n int, length uint) {
	code := uint64(s)
	if s >= n {
		code = uint64(n + s)
		length++
	}
	for i := range length {
		w.write(code>>(length-1-i)&1, 1)
	}
}

// farCopies returns a picture of which most is copied over distances up to the largest possible one.
func farCopies(width, height int) []byte {
	w := newBitWriter(width, height)
	w.write(0, 1) // no transform
	w.write(0, 1) // no color cache
	w.write(0, 1) // one group of codes
	w.twoLengths(232, 48, 8)
	w.twoLengths(256, 0, 8)
	w.single(7)
	w.single(255)
	w.twoLengths(24, 16, 5)
	rnd := rand.New(rand.NewPCG(uint64(width), uint64(height)))
	total := width * height
	for pos := 0; pos < total; {
		if pos <= width+8 || rnd.IntN(3) == 0 || total-pos < 4096 {
			w.symbol(rnd.IntN(256), 232, 8)
			w.symbol(rnd.IntN(256), 256, 8)
			pos++
			continue
		}
		extra := uint64(rnd.IntN(1024))
		w.symbol(256+23, 232, 8) // 3073 to 4096 pixels
		w.write(extra, 10)
		if pos < 1<<20 {
			w.symbol(rnd.IntN(4), 24, 5)
		} else {
			w.symbol(39, 24, 5)
			w.write(1<<18-1-uint64(rnd.IntN(3)), 18)
		}
		pos += 3073 + int(extra)
	}
	return w.bytes()
}

// manyCodes returns a picture with the given number of groups of codes, of which the first has a table of 2304 entries.
func manyCodes(groups int) []byte {
	const edge = 1024
	w := newBitWriter(edge, edge)
	w.write(0, 1)  // no transform
	w.write(1, 1)  // color cache
	w.write(11, 4) // of 2048 colors
	w.write(1, 1)  // several groups
	w.write(0, 3)  // tiles of 4 x 4
	w.write(0, 1)  // no color cache
	w.twoLengths(256, 0, 8)
	w.twoLengths(256, 0, 8)
	w.single(0)
	w.single(0)
	w.single(0)
	for i := range edge / 4 * edge / 4 {
		w.symbol(i%groups&255, 256, 8)
		w.symbol(i%groups>>8, 256, 8)
	}
	for range groups {
		w.twoLengths(2048, 0, 11)
		for range 4 {
			w.single(0)
		}
	}
	for range edge * edge / 64 {
		w.symbol(rand.IntN(256), 2048, 11)
	}
	return append(w.bytes(), make([]byte, edge*edge*11/8)...)
}

// FuzzDecode checks that Decode does not panic, allocates at most Cost bytes, and finds the samples that
// golang.org/x/image/webp finds.
func FuzzDecode(f *testing.F) {
	for _, frame := range testdata(f) {
		w, h, _ := frame.Size()
		f.Add(frame.file(w, h), byte(1))
	}
	f.Add(Frame{VP8L: farCopies(20, 20)}.file(20, 20), byte(2))
	alpha := testdata(f)["lossy-alpha.webp"]
	w, h, _ := alpha.Size()
	for filter := range byte(4) {
		alpha.ALPH = append([]byte{1 | filter<<2}, predicted{w, h, w * h / 2, modesOfNeighbors, false}.bytes()[5:]...)
		f.Add(alpha.file(w, h), filter)
	}
	f.Fuzz(func(t *testing.T, data []byte, scale byte) {
		frame := parseFile(data)
		w, h, err := frame.Size()
		if err != nil || w*h > 1<<18 {
			return
		}
		for _, o := range []Options{{}, {Scale: int(scale & 15), RGBA: scale&16 != 0}} {
			cost := frame.Cost(o)
			var p Picture
			if used := allocated(func() { p, err = frame.Decode(context.Background(), o) }); used > cost+64<<10 { // the fuzzer allocates too
				t.Errorf("allocated %d bytes, more than the cost of %d", used, cost)
			}
			if o != (Options{}) {
				continue
			}
			_, oracleErr := webp.Decode(bytes.NewReader(frame.file(w, h)))
			switch {
			case err == nil && oracleErr == nil:
				if err := samePicture(frame, p); err != nil && !ambiguous(frame) {
					t.Error(err)
				}
			case oracleErr == nil && !errors.Is(err, errIncomplete) && !errors.Is(err, errCodes) && !ambiguous(frame):
				t.Errorf("error is %v, but golang.org/x/image/webp decodes it", err)
			}
		}
	})
}

// ambiguous reports whether golang.org/x/image/webp differs from libwebp: in the order of symbols in a simple prefix
// code, and in levels of the loop filter that do not fit 8 bits.
func ambiguous(f Frame) bool {
	if f.VP8L != nil || f.ALPH != nil {
		w, h, _ := f.Size()
		data := f.ALPH
		if f.VP8L != nil {
			data = f.VP8L[5:]
		} else if len(data) > 0 {
			data = data[1:]
		}
		var d vp8l
		d.read(data, w, h)
		if d.unsorted {
			return true
		}
	}
	if f.VP8 == nil {
		return false
	}
	d, err := readVP8(f.VP8)
	if err != nil {
		return false
	}
	for _, s := range d.segments {
		if s.strength+d.level+126 > 127 || s.strength+d.level-126 < -128 {
			return true
		}
	}
	return false
}

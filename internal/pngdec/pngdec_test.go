package pngdec

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/thumbcache/thumbcache/internal/reduce"
)

// A kind is a color type with a depth.
type kind struct {
	color, depth byte
	transparency []byte
}

func (k kind) String() string {
	return fmt.Sprintf("color type %d, depth %d, transparency %v", k.color, k.depth, k.transparency)
}

// kinds are all color types and depths, each with and without transparency.
func kinds() (all []kind) {
	for color, depths := range map[byte][]byte{0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}} {
		for _, depth := range depths {
			all = append(all, kind{color, depth, nil})
			if t := map[byte][]byte{0: {0, 1}, 2: {0, 9, 0, 9, 0, 9}, 3: {0, 100}}[color]; t != nil {
				all = append(all, kind{color, depth, t})
			}
		}
	}
	return all
}

// make returns a picture of the kind with random rows, of which some are easy to compress.
func (k kind) make(r *rand.Rand, width, height int, interlaced bool) testPNG {
	m := testPNG{width: width, height: height, depth: k.depth, color: k.color, interlaced: interlaced, transparency: k.transparency}
	m.level = []int{-1, 0, 1, 9, -2}[r.IntN(5)] // -2: Huffman codes only
	if r.IntN(2) == 0 {
		m.chunk = 1 + r.IntN(100)
	}
	if k.color == 3 {
		for range 3 << k.depth {
			m.palette = append(m.palette, byte(r.IntN(256)))
		}
	}
	most := []int{256, 4, 2, 1}[r.IntN(4)]
	m.raw = m.rows(r, func() byte { return byte(r.IntN(most)) })
	return m
}

// Every kind of picture decodes to the pixels of image/png, and to their means when reduced.
func TestAgainstStandardLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, k := range kinds() {
		for _, size := range [][2]int{{1, 1}, {37, 23}, {3, 9}, {1, 50}, {50, 1}, {2, 7}, {300, 11}} {
			for _, interlaced := range []bool{false, true} {
				file := k.make(r, size[0], size[1], interlaced).encode()
				want := reference(t, file)
				full := decode(t, file, Options{})
				if d := differ(full.rgba(), want); d != 0 || full.Missing {
					t.Errorf("%v, interlaced %v, %v: differs by %d, missing %v", k, interlaced, size, d, full.Missing)
					continue
				}
				if forced := decode(t, file, Options{RGBA: true}); differ(forced.Pix, want) != 0 {
					t.Errorf("%v, interlaced %v, %v: differs with RGBA", k, interlaced, size)
				}
				for _, scale := range []int{2, 3, 4, 5, 7, 8, 9, 16, 33, 256} {
					small := decode(t, file, Options{Scale: scale})
					if d := differ(small.rgba(), reduced(want, size[0], size[1], scale)); d > 1 {
						t.Errorf("%v, interlaced %v, %v, 1/%d: differs by %d", k, interlaced, size, scale, d)
					}
				}
			}
		}
	}
}

// photo returns a picture of 8-bit samples that compress about as well as a photograph: smooth, with noise.
func photo(color byte, width, height int, interlaced bool) testPNG {
	m := testPNG{width: width, height: height, depth: 8, color: color, interlaced: interlaced, level: -1, chunk: 8 << 10}
	r := rand.New(rand.NewPCG(3, 4))
	m.raw = m.rows(r, func() byte { return byte(r.IntN(4) * r.IntN(8)) })
	return m
}

// A damaged picture is decoded as far as it goes, unless most of it is missing.
func TestDamage(t *testing.T) {
	const width, height = 60, 80
	for _, scale := range []int{1, 3, 7} {
		for _, color := range []byte{Gray, RGB, RGBA} {
			file := photo(color, width, height, false).encode()
			want := reduced(reference(t, file), width, height, scale)
			h, data := open(t, file)
			for _, test := range []struct {
				name  string
				data  []byte
				rows  int // that are right, or -1 for an error
				whole bool
			}{
				{"no IEND", data[:len(data)-12], height, true},
				{"no Adler checksum", data[:len(data)-20], height, true},
				{"three quarters", data[:len(data)*3/4], height * 7 / 10, false},
				{"a quarter", data[:len(data)/4], -1, false},
				{"no data", data[:10], -1, false},
				{"nothing", nil, -1, false},
			} {
				t.Run(fmt.Sprintf("%s of color type %d, 1/%d", test.name, color, scale), func(t *testing.T) {
					var m Image
					err := Decode(context.Background(), &h, test.data, Options{Scale: scale}, &m)
					if test.rows < 0 {
						if format := FormatError(""); !errors.As(err, &format) {
							t.Errorf("got %v, want a FormatError", err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if m.Missing == test.whole {
						t.Errorf("Missing is %v", m.Missing)
					}
					pix := m.rgba()
					n := 4 * m.Width * (test.rows / scale)
					if d := differ(pix[:n], want[:n]); d > 1 {
						t.Errorf("the rows that are there differ by %d", d)
					}
					if last := pix[len(pix)-1]; !test.whole && (last == 255) != (color == Gray) {
						t.Errorf("the last pixel is %v", pix[len(pix)-4:])
					}
				})
			}
		}
	}
}

// A cut interlaced picture of one color has that color everywhere, at any scale.
func TestCutInterlaced(t *testing.T) {
	const width, height = 61, 47
	m := testPNG{width: width, height: height, depth: 8, color: RGBA, interlaced: true} // stored without compression
	m.raw = m.rows(rand.New(rand.NewPCG(1, 2)), func() byte { return 200 })
	for at := range m.raw {
		m.raw[at] = 200
	}
	at := 0
	for _, a := range adam7 {
		columns, rows := a.size(width, height)
		for range rows {
			m.raw[at] = 0
			at += 1 + 4*columns
		}
	}
	file := m.encode()
	h, data := open(t, file)
	for scale := 1; scale < 20; scale++ {
		for _, share := range []int{5, 10, 26, 40, 60, 95, 100} {
			var img Image
			err := Decode(context.Background(), &h, data[:len(data)*share/100], Options{Scale: scale}, &img)
			if share == 5 {
				if err == nil {
					t.Errorf("%d %%: no error", share)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%d %%: %v", share, err)
			}
			want := multiplied(200, len(img.Pix))
			if d := differ(img.Pix, want); d > 0 || img.Missing != (share < 100) {
				t.Fatalf("1/%d, %d %%: differs by %d, missing %v", scale, share, d, img.Missing)
			}
		}
	}
}

// multiplied returns n samples of gray RGBA with all of them v, after premultiplication.
func multiplied(v byte, n int) []byte {
	pix := bytes.Repeat([]byte{v}, n)
	reduce.Premultiply(pix)
	return pix
}

// Apple's files have no zlib header, and premultiplied BGRA.
func TestApple(t *testing.T) {
	var raw bytes.Buffer
	z, err := flate.NewWriter(&raw, -1)
	if err != nil {
		t.Fatal(err)
	}
	z.Write([]byte{0, 30, 20, 10, 40, 0, 0, 0, 255})
	z.Close()
	h := Header{Width: 2, Height: 1, Depth: 8, Color: RGBA, Apple: true}
	var m Image
	if err := Decode(context.Background(), &h, makeChunk("IDAT", raw.Bytes()), Options{}, &m); err != nil {
		t.Fatal(err)
	}
	if want := []byte{10, 20, 30, 40, 0, 0, 0, 255}; !bytes.Equal(m.Pix, want) {
		t.Errorf("got %v, want %v", m.Pix, want)
	}
}

// The data of a frame is in fdAT chunks after a sequence number, with any other chunks in between.
func TestFrame(t *testing.T) {
	data := deflated([]byte{0, 1, 2, 3, 255}, -1)
	file := slices.Concat(
		makeChunk("fdAT", append([]byte{0, 0, 0, 1}, data[:3]...)), makeChunk("tEXt", []byte("a\x00b")),
		makeChunk("fdAT", []byte{0, 0, 0}), makeChunk("fdAT", append([]byte{0, 0, 0, 2}, data[3:]...)), makeChunk("fcTL", nil))
	h := Header{Width: 1, Height: 1, Depth: 8, Color: RGBA}
	var m Image
	if err := Decode(context.Background(), &h, file, Options{}, &m); err != nil {
		t.Fatal(err)
	}
	if want := []byte{1, 2, 3, 255}; !bytes.Equal(m.Pix, want) {
		t.Errorf("got %v, want %v", m.Pix, want)
	}
}

// The table of samples in linear light applies to color, not to alpha, and leaves the row alone that the next one is
// filtered with.
func TestLinear(t *testing.T) {
	var table [1 << LinearBits]byte
	for i := range table {
		table[i] = byte(255 - i>>4)
	}
	const up = 2
	m := testPNG{width: 1, height: 2, depth: 16, color: GrayAlpha, level: -1, raw: []byte{0, 0x30, 0, 255, 255, up, 0, 0, 0, 0}}
	img := decode(t, m.encode(), Options{Linear: &table})
	want := []byte{0xcf, 0xcf, 0xcf, 255, 0xcf, 0xcf, 0xcf, 255}
	if !bytes.Equal(img.Pix, want) {
		t.Errorf("got %v, want %v", img.Pix, want)
	}
}

// The shortcut for the Paeth predictor gives the same as the definition.
func TestPaeth(t *testing.T) {
	abs := func(v int) int { return max(v, -v) }
	for a := range 256 {
		for b := range 256 {
			for c := range 256 {
				p := a + b - c
				want := c
				if pa, pb, pc := abs(p-a), abs(p-b), abs(p-c); pa <= pb && pa <= pc {
					want = a
				} else if pb <= pc {
					want = b
				}
				if got := paeth(a, b, c); got != want {
					t.Fatalf("left %d, up %d, corner %d: got %d, want %d", a, b, c, got, want)
				}
			}
		}
	}
}

// The pictures of PngSuite have the pixels that image/png finds. Go has a part of them; all are read if they are in shared.
func TestPngSuite(t *testing.T) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no go command")
	}
	inGo, _ := filepath.Glob(filepath.Join(string(bytes.TrimSpace(goroot)), "src", "image", "png", "testdata", "pngsuite", "*.png"))
	shared, _ := filepath.Glob("../../../shared/pngsuite/*.png")
	files := slices.Concat(inGo, shared)
	if len(files) == 0 {
		t.Skip("no pictures of PngSuite")
	}
	for _, name := range files {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(bytes.NewReader(file)); err != nil {
			continue // one of those that are broken on purpose
		}
		m := decode(t, file, Options{})
		if d := differ(m.rgba(), reference(t, file)); d != 0 {
			t.Errorf("%s: samples differ by %d", filepath.Base(name), d)
		}
	}
}

// A countdown is done after its Err method has been called a number of times.
type countdown struct {
	context.Context
	calls int
}

func (c *countdown) Err() error {
	if c.calls--; c.calls < 0 {
		return context.Canceled
	}
	return nil
}

// Decoding stops soon after its context is done, in whichever row that is.
func TestCancel(t *testing.T) {
	for _, interlaced := range []bool{false, true} {
		file := photo(RGBA, 400, 300, interlaced).encode()
		h, data := open(t, file)
		var m Image
		counter := &countdown{context.Background(), 1 << 30}
		if err := Decode(counter, &h, data, Options{Scale: 2}, &m); err != nil {
			t.Fatal(err)
		}
		calls := 1<<30 - counter.calls
		const window = 96 << 10 // bytes that are decompressed between two looks at the context
		if calls < 2+400*300*4/window {
			t.Errorf("the context was looked at %d times", calls)
		}
		for n := range calls {
			err := Decode(&countdown{context.Background(), n}, &h, data, Options{Scale: 2}, &m)
			// The last rows may have been decompressed by then.
			if err != context.Canceled && (err != nil || m.Missing || n < calls/2) {
				t.Errorf("done after %d looks of %d: %v", n, calls, err)
			}
		}
	}
}

// Blocks without output are bounded by the context too.
func TestEmptyBlocks(t *testing.T) {
	const block, bitsOfBlock = 0b0000000_01_0, 10 // a block with fixed codes that is not the last one, and its end
	data := []byte{0x78, 0x01}
	var buf, n uint64
	for range 1 << 20 {
		buf |= block << n
		for n += bitsOfBlock; n >= 8; n -= 8 {
			data = append(data, byte(buf))
			buf >>= 8
		}
	}
	h := Header{Width: 1, Height: 1, Depth: 8, Color: Gray}
	ctx := &countdown{context.Background(), 1000}
	if err := Decode(ctx, &h, makeChunk("IDAT", data), Options{}, new(Image)); err != context.Canceled {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := Decode(context.Background(), &h, makeChunk("IDAT", data), Options{}, new(Image)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want io.ErrUnexpectedEOF", err)
	}
}

// Data after the last row is not read.
func TestTrailingData(t *testing.T) {
	m := testPNG{width: 1, height: 1, depth: 8, color: Gray, level: -1, raw: make([]byte, 20<<20)}
	h, data := open(t, m.encode())
	allowed := &countdown{context.Background(), 9}
	var img Image
	if err := Decode(allowed, &h, data, Options{}, &img); err != nil {
		t.Error(err)
	}
}

func TestHeaderErrors(t *testing.T) {
	good := []byte{0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0}
	if _, err := ReadHeader(Chunk{[4]byte([]byte("IHDR")), good, true}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *Chunk){
		"name": func(c *Chunk) { c.Type[0]++ }, "length": func(c *Chunk) { c.Data = c.Data[:12] },
		"checksum": func(c *Chunk) { c.Intact = false }, "no width": func(c *Chunk) { c.Data[3] = 0 },
		"huge width": func(c *Chunk) { c.Data[0] = 128 }, "no height": func(c *Chunk) { c.Data[7] = 0 },
		"depth": func(c *Chunk) { c.Data[8] = 4 }, "color type": func(c *Chunk) { c.Data[9] = 5 },
		"large color type": func(c *Chunk) { c.Data[9] = 200 }, "compression": func(c *Chunk) { c.Data[10] = 1 },
		"filter": func(c *Chunk) { c.Data[11] = 1 }, "interlacing": func(c *Chunk) { c.Data[12] = 2 },
	} {
		c := Chunk{[4]byte([]byte("IHDR")), bytes.Clone(good), true}
		change(&c)
		if _, err := ReadHeader(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, kind := range []struct {
		name       string
		color      byte
		interlaced bool
	}{{"gray", Gray, false}, {"RGB", RGB, false}, {"RGBA", RGBA, false}, {"interlaced", RGB, true}} {
		m := photo(kind.color, 1000, 800, kind.interlaced)
		file := m.encode()
		h, data := open(b, file)
		for _, scale := range []int{1, 2, 5} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, scale), func(b *testing.B) {
				b.SetBytes(int64(len(m.raw)))
				var img Image
				for b.Loop() {
					if err := Decode(context.Background(), &h, data, Options{Scale: scale}, &img); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(kind.name+"/standard library", func(b *testing.B) {
			b.SetBytes(int64(len(m.raw)))
			for b.Loop() {
				if _, err := png.Decode(bytes.NewReader(file)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

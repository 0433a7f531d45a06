package tiff

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math"
	"runtime"
	"testing"
)

func decode(data []byte) (image.Image, error) {
	return Decode(context.Background(), bytes.NewReader(data), int64(len(data)), Options{})
}

func config(data []byte) (Header, error) {
	return Config(bytes.NewReader(data), int64(len(data)))
}

// samplesOf returns pseudorandom samples, the same each time.
func samplesOf(bits int) func(x, y, s int) uint64 {
	return func(x, y, s int) uint64 {
		v := uint64(x)<<40 ^ uint64(y)<<20 ^ uint64(s) ^ 0x9e3779b97f4a7c15
		for range 3 {
			v = (v ^ v>>31) * 0xbf58476d1ce4e5b9
		}
		return v >> (64 - bits)
	}
}

// smoothSamples returns samples that compress.
func smoothSamples(x, y, s int) uint64 { return uint64(x/3*8+y/5*16+s*40) & 255 }

// wantSample returns what an unsigned sample is in 8 bits.
func wantSample(v uint64, bits int) float64 {
	return float64(v) * 255 / float64(uint64(math.MaxUint64)>>(64-bits))
}

// checkPixels compares every pixel with what want says it is. Rounding may differ by a little more than a half.
func checkPixels(t *testing.T, img image.Image, want func(x, y int) []float64) {
	t.Helper()
	b := img.Bounds()
	for y := range b.Dy() {
		for x := range b.Dx() {
			var got []byte
			switch m := img.(type) {
			case *image.Gray:
				got = []byte{m.GrayAt(x, y).Y}
			case *image.RGBA:
				got = m.Pix[m.PixOffset(x, y):][:4]
			case *image.NRGBA:
				got = m.Pix[m.PixOffset(x, y):][:4]
			case *image.CMYK:
				got = m.Pix[m.PixOffset(x, y):][:4]
			}
			for i, v := range want(x, y) {
				if math.Abs(float64(got[i])-v) > 0.51 {
					t.Fatalf("%T at %d,%d: %v, want %.2f", img, x, y, got, want(x, y))
				}
			}
		}
	}
}

// Every packing of samples, in every arrangement.
func TestSamples(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, bits := range []int{1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 16, 24, 32, 64} {
			for _, samples := range []int{1, 3, 5} {
				for variant := range 8 {
					planar, tiled, big := variant&1 != 0, variant&2 != 0, variant&4 != 0
					if samples == 1 && planar {
						continue
					}
					t.Run(fmt.Sprint(order, bits, samples, planar, tiled, big), func(t *testing.T) {
						p := picture{w: 37, h: 29, samples: samples, bits: bits, photometric: blackIsZero, compression: 1,
							planar: planar, blockH: 7, value: samplesOf(bits), reversed: variant == 4}
						if tiled {
							p.blockW, p.blockH = 16, 16
						}
						if samples > 1 {
							p.photometric = photoRGB
						}
						img, err := decode(p.file(order, big))
						if err != nil {
							t.Fatal(err)
						}
						checkPixels(t, img, func(x, y int) (want []float64) {
							for s := range min(samples, 3) {
								want = append(want, wantSample(p.value(x, y, s), bits))
							}
							return want
						})
					})
				}
			}
		}
	}
}

// Every compression, with every predictor.
func TestCompressions(t *testing.T) {
	for _, compression := range []int{compNone, compPackBits, compLZW, -compLZW, compDeflate, compOldDeflate} {
		for _, bits := range []int{1, 8, 16, 32} {
			for _, predictor := range []int{1, 2} {
				for variant := range 16 {
					p := picture{w: 41, h: 53, samples: 3, bits: bits, photometric: photoRGB, compression: compression,
						predictor: predictor, value: samplesOf(bits),
						planar: variant&1 != 0, reversed: variant&2 != 0, blockH: 20}
					if compression < 0 {
						p.compression, p.oldLZW = -compression, true
					}
					if variant&8 != 0 && bits != 8 {
						continue // only samples of 8 bits are tried with other values too
					}
					if predictor > 1 && (bits == 1 || compression == compNone || compression == compPackBits) {
						continue
					}
					if variant&4 != 0 {
						p.blockW, p.blockH = 32, 48
					}
					if variant&8 != 0 {
						p.value = smoothSamples
					}
					img, err := decode(p.file(binary.LittleEndian, false))
					if err != nil {
						t.Fatalf("%+v: %v", p, err)
					}
					checkPixels(t, img, func(x, y int) []float64 {
						return []float64{wantSample(p.value(x, y, 0), bits), wantSample(p.value(x, y, 1), bits),
							wantSample(p.value(x, y, 2), bits), 255}
					})
				}
			}
		}
	}
}

// The codes of LZW become 12 bits wide, and are cleared.
func TestLongLZW(t *testing.T) {
	for _, old := range []bool{false, true} {
		for _, value := range []func(x, y, s int) uint64{samplesOf(8), smoothSamples, func(x, y, s int) uint64 { return 7 }} {
			p := picture{w: 400, h: 300, samples: 1, bits: 8, photometric: blackIsZero, compression: compLZW, oldLZW: old, value: value}
			img, err := decode(p.file(binary.BigEndian, false))
			if err != nil {
				t.Fatal(err)
			}
			checkPixels(t, img, func(x, y int) []float64 { return []float64{float64(value(x, y, 0))} })
		}
	}
}

func halfBits(v float64) uint64 {
	if v == 0 {
		return 0
	}
	fraction, exponent := math.Frexp(v)
	return uint64(exponent+14)<<10 + uint64(math.Round((fraction*2-1)*1024))
}

func TestFloats(t *testing.T) {
	value := func(x, y, s int) float64 { return float64((x*7+y*13+s*29)%101) / 100 }
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, bits := range []int{16, 32, 64} {
			for _, predictor := range []int{1, 2, 3} {
				for _, planar := range []bool{false, true} {
					for _, low := range []float64{0, -10} {
						p := picture{w: 40, h: 30, samples: 3, bits: bits, format: formatFloat, photometric: photoRGB,
							compression: compDeflate, predictor: predictor, planar: planar, blockH: 7}
						top := 1.0
						if low < 0 {
							top = 50
							p.extra = []entry{{tagSMinSampleValue, Double, []uint64{math.Float64bits(low)}},
								{tagSMaxSampleValue, Double, []uint64{math.Float64bits(top)}}}
						}
						p.value = func(x, y, s int) uint64 {
							v := low + (top-low)*value(x, y, s)
							switch {
							case bits == 64:
								return math.Float64bits(v)
							case bits == 32:
								return uint64(math.Float32bits(float32(v)))
							case v < 0:
								return 1<<15 | halfBits(-v)
							}
							return halfBits(v)
						}
						img, err := decode(p.file(order, false))
						if err != nil {
							t.Fatal(err)
						}
						checkPixels(t, img, func(x, y int) []float64 {
							tolerant := func(s int) float64 { // a half has 11 bits
								v := value(x, y, s) * 255
								got := float64(img.(*image.RGBA).Pix[img.(*image.RGBA).PixOffset(x, y)+s])
								if bits == 16 && math.Abs(got-v) < 0.7 {
									return got
								}
								return v
							}
							return []float64{tolerant(0), tolerant(1), tolerant(2), 255}
						})
					}
				}
			}
		}
	}
	// Heights in metres are no picture.
	p := picture{w: 10, h: 10, samples: 1, bits: 32, format: formatFloat, photometric: blackIsZero, compression: 1,
		value: func(x, y, s int) uint64 { return uint64(math.Float32bits(float32(100 + x))) }}
	if _, err := decode(p.file(binary.LittleEndian, false)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("floats beyond white: %v", err)
	}
}

func TestHalf(t *testing.T) {
	for b, want := range map[uint16]float64{
		0: 0, 0x3c00: 1, 0x3800: 0.5, 0xc000: -2, 1: 1.0 / (1 << 24), 0x3ff: 1023.0 / (1 << 24), 0x400: 1.0 / (1 << 14), 0x7bff: 65504,
	} {
		if got := half(b); got != want {
			t.Errorf("%#x: %v, want %v", b, got, want)
		}
	}
	if got := half(0x7c00); !math.IsNaN(got) {
		t.Errorf("infinity: %v", got)
	}
}

func TestSigned(t *testing.T) {
	for _, bits := range []int{8, 16, 32, 64} {
		p := picture{w: 37, h: 29, samples: 1, bits: bits, format: formatInt, photometric: blackIsZero, compression: 1, value: samplesOf(bits)}
		img, err := decode(p.file(binary.BigEndian, false))
		if err != nil {
			t.Fatal(err)
		}
		checkPixels(t, img, func(x, y int) []float64 {
			return []float64{wantSample(p.value(x, y, 0)^1<<(bits-1), bits)}
		})
	}
}

// Colours, each with what is right for a few pixels. The picture has one pixel for each.
func TestColours(t *testing.T) {
	colorMap := func(scale uint64) entry {
		e := short(tagColorMap)
		for s := range uint64(3) {
			for i := range uint64(16) {
				e.values = append(e.values, (i*16+s)*scale)
			}
		}
		return e
	}
	signed := func(v int) uint64 { return uint64(v) & 0xff }
	signed16 := func(v int) uint64 { return uint64(v) & 0xffff }
	d65 := entry{tagWhitePoint, Float, []uint64{uint64(math.Float32bits(0.3127)), uint64(math.Float32bits(0.329))}}
	for name, test := range map[string]struct {
		bits, photometric int
		extra             []entry
		pixels, want      [][]uint64
		kind              image.Image
		within            float64
	}{
		"white is zero": {bits: 4, photometric: whiteIsZero, pixels: [][]uint64{{0}, {15}, {5}},
			want: [][]uint64{{255}, {0}, {170}}, kind: &image.Gray{}},
		"grey with alpha": {bits: 8, photometric: blackIsZero, extra: []entry{short(tagExtraSamples, 2)},
			pixels: [][]uint64{{200, 0}, {100, 128}, {9, 255}},
			want:   [][]uint64{{200, 200, 200, 0}, {100, 100, 100, 128}, {9, 9, 9, 255}}, kind: &image.NRGBA{}},
		"grey with associated alpha": {bits: 16, photometric: blackIsZero, extra: []entry{short(tagExtraSamples, 1)},
			pixels: [][]uint64{{200 * 257, 0}, {100 * 257, 128 * 257}, {9 * 257, 65535}},
			want:   [][]uint64{{0, 0, 0, 0}, {100, 100, 100, 128}, {9, 9, 9, 255}}, kind: &image.RGBA{}},
		"white is zero with alpha": {bits: 8, photometric: whiteIsZero, extra: []entry{short(tagExtraSamples, 2)},
			pixels: [][]uint64{{200, 7}}, want: [][]uint64{{55, 55, 55, 7}}, kind: &image.NRGBA{}},
		"white is zero with associated alpha": {bits: 8, photometric: whiteIsZero, extra: []entry{short(tagExtraSamples, 1)},
			pixels: [][]uint64{{30, 100}}, want: [][]uint64{{70, 70, 70, 100}}, kind: &image.RGBA{}},
		"alpha": {bits: 8, photometric: photoRGB, extra: []entry{short(tagExtraSamples, 2)},
			pixels: [][]uint64{{1, 2, 3, 0}, {200, 100, 50, 99}}, want: [][]uint64{{1, 2, 3, 0}, {200, 100, 50, 99}}, kind: &image.NRGBA{}},
		"alpha of 12 bits": {bits: 12, photometric: photoRGB, extra: []entry{short(tagExtraSamples, 2)},
			pixels: [][]uint64{{4095, 0, 2048, 2048}}, want: [][]uint64{{255, 0, 128, 128}}, kind: &image.NRGBA{}},
		"associated alpha": {bits: 8, photometric: photoRGB, extra: []entry{short(tagExtraSamples, 1, 0)},
			pixels: [][]uint64{{99, 50, 120, 99, 7}}, want: [][]uint64{{99, 50, 99, 99}}, kind: &image.RGBA{}},
		"extra sample that is no alpha": {bits: 8, photometric: photoRGB, extra: []entry{short(tagExtraSamples, 0)},
			pixels: [][]uint64{{99, 50, 120, 0}}, want: [][]uint64{{99, 50, 120, 255}}, kind: &image.RGBA{}},
		"palette": {bits: 4, photometric: palette, extra: []entry{colorMap(256)},
			pixels: [][]uint64{{0}, {3}, {15}}, want: [][]uint64{{0, 1, 2, 255}, {48, 49, 50, 255}, {239, 240, 241, 255}}, kind: &image.RGBA{}},
		"palette of 8 bits": {bits: 4, photometric: palette, extra: []entry{colorMap(1)},
			pixels: [][]uint64{{0}, {3}, {15}}, want: [][]uint64{{0, 1, 2, 255}, {48, 49, 50, 255}, {240, 241, 242, 255}}, kind: &image.RGBA{}},
		"palette with alpha": {bits: 4, photometric: palette, extra: []entry{colorMap(1), short(tagExtraSamples, 2)},
			pixels: [][]uint64{{3, 5}}, want: [][]uint64{{48, 49, 50, 85}}, kind: &image.NRGBA{}},
		"inks": {bits: 8, photometric: separated, pixels: [][]uint64{{0, 10, 255, 9}}, want: [][]uint64{{0, 10, 255, 9}}, kind: &image.CMYK{}},
		"inks of 16 bits": {bits: 16, photometric: separated, extra: []entry{short(tagInkSet, 1), short(tagNumberOfInks, 4)},
			pixels: [][]uint64{{0, 2570, 65535, 2313}}, want: [][]uint64{{0, 10, 255, 9}}, kind: &image.CMYK{}},
		"inks of 1 bit": {bits: 1, photometric: separated, pixels: [][]uint64{{0, 1, 1, 0}}, want: [][]uint64{{0, 255, 255, 0}}, kind: &image.CMYK{}},
		"inverted inks": {bits: 8, photometric: separated, extra: []entry{short(tagDotRange, 255, 0)},
			pixels: [][]uint64{{255, 245, 0, 246}}, want: [][]uint64{{0, 10, 255, 9}}, kind: &image.CMYK{}},
		"inks with alpha": {bits: 8, photometric: separated, extra: []entry{short(tagExtraSamples, 2)},
			pixels: [][]uint64{{0, 255, 255, 0, 77}, {0, 0, 0, 255, 255}}, want: [][]uint64{{255, 0, 0, 77}, {0, 0, 0, 255}}, kind: &image.NRGBA{}},
		"inks with associated alpha": {bits: 8, photometric: separated, extra: []entry{short(tagExtraSamples, 1)},
			pixels: [][]uint64{{0, 77, 77, 0, 77}}, want: [][]uint64{{77, 0, 0, 77}}, kind: &image.RGBA{}},
		"YCbCr": {bits: 8, photometric: photoYCbCr, extra: []entry{short(tagYCbCrSampling, 1, 1)},
			pixels: [][]uint64{{76, 85, 255}, {255, 128, 128}, {29, 255, 107}}, want: [][]uint64{{254, 0, 0, 255}, {255, 255, 255, 255}, {0, 0, 254, 255}},
			kind: &image.RGBA{}, within: 1},
		"YCbCr of video levels": {bits: 8, photometric: photoYCbCr,
			extra:  []entry{short(tagYCbCrSampling, 1, 1), {tagReferenceBW, Long, []uint64{16, 235, 128, 240, 128, 240}}},
			pixels: [][]uint64{{16, 128, 128}, {235, 128, 128}, {81, 90, 240}}, want: [][]uint64{{0, 0, 0, 255}, {255, 255, 255, 255}, {255, 0, 0, 255}},
			kind: &image.RGBA{}, within: 2},
		// Of the L*a*b* of sRGB's red, green and a grey, for D50 and for D65.
		"CIE L*a*b*": {bits: 8, photometric: cieLab,
			pixels: [][]uint64{{138, signed(81), signed(70)}, {224, signed(-79), signed(81)}, {137, 0, 0}, {0, 0, 0}, {255, 0, 0}},
			want:   [][]uint64{{255, 0, 0, 255}, {0, 255, 0, 255}, {128, 128, 128, 255}, {0, 0, 0, 255}, {255, 255, 255, 255}},
			kind:   &image.RGBA{}, within: 10},
		"CIE L*a*b* of 16 bits": {bits: 16, photometric: cieLab,
			pixels: [][]uint64{{35573, signed16(20688), signed16(17892)}, {57525, signed16(-20299), signed16(20732)}, {35113, 0, 0}, {65535, 0, 0}},
			want:   [][]uint64{{255, 0, 0, 255}, {0, 255, 0, 255}, {128, 128, 128, 255}, {255, 255, 255, 255}},
			kind:   &image.RGBA{}, within: 3},
		"CIE L*a*b* of D65": {bits: 8, photometric: cieLab, extra: []entry{d65},
			pixels: [][]uint64{{136, signed(80), signed(67)}, {224, signed(-86), signed(83)}, {255, 0, 0}},
			want:   [][]uint64{{255, 0, 0, 255}, {0, 255, 0, 255}, {255, 255, 255, 255}},
			kind:   &image.RGBA{}, within: 10},
		"ICC L*a*b*": {bits: 8, photometric: iccLab,
			pixels: [][]uint64{{138, 209, 198}, {137, 128, 128}, {255, 128, 128}},
			want:   [][]uint64{{255, 0, 0, 255}, {128, 128, 128, 255}, {255, 255, 255, 255}},
			kind:   &image.RGBA{}, within: 10},
		"ICC L*a*b* of 16 bits with alpha": {bits: 16, photometric: iccLab, extra: []entry{short(tagExtraSamples, 2)},
			pixels: [][]uint64{{35434, 53456, 50660, 100 * 257}, {0xff00, 0x8000, 0x8000, 65535}},
			want:   [][]uint64{{255, 0, 0, 100}, {255, 255, 255, 255}},
			kind:   &image.NRGBA{}, within: 3},
	} {
		for _, planar := range []bool{false, true} {
			t.Run(fmt.Sprint(name, planar), func(t *testing.T) {
				p := picture{w: len(test.pixels), h: 1, samples: len(test.pixels[0]), bits: test.bits, photometric: test.photometric,
					compression: 1, planar: planar, extra: test.extra,
					value: func(x, y, s int) uint64 { return test.pixels[x][s] }}
				data := p.file(binary.LittleEndian, false)
				img, err := decode(data)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := fmt.Sprintf("%T", img), fmt.Sprintf("%T", test.kind); got != want {
					t.Fatalf("%s, want %s", got, want)
				}
				h, err := config(data)
				if err != nil {
					t.Fatal(err)
				}
				_, isGray := img.(*image.Gray)
				_, isCMYK := img.(*image.CMYK)
				if h.Gray != isGray || h.CMYK != isCMYK {
					t.Errorf("the header says %+v of a %T", h, img)
				}
				var pix []byte
				n := 4
				switch m := img.(type) {
				case *image.Gray:
					pix, n = m.Pix, 1
				case *image.RGBA:
					pix = m.Pix
				case *image.NRGBA:
					pix = m.Pix
				case *image.CMYK:
					pix = m.Pix
				}
				for x, want := range test.want {
					for i, v := range want {
						if got := pix[x*n+i]; math.Abs(float64(got)-float64(v)) > test.within {
							t.Errorf("pixel %d: %v, want %v", x, pix[x*n:][:n], want)
							break
						}
					}
				}
			})
		}
	}
}

// Subsampled YCbCr comes in units of several pixels.
func TestSubsampling(t *testing.T) {
	const w, h = 21, 19
	luma := func(x, y int) byte { return byte(20 + x*9 + y) }
	chroma := func(x, y, c int) byte { return byte(100 + x*3 + y*2 + c*20) }
	for _, sx := range []int{1, 2, 4} {
		for _, sy := range []int{1, 2, 4} {
			for _, tiled := range []bool{false, true} {
				bw, bh := w, 8
				if tiled {
					bw, bh = 16, 16
				}
				wr := newWriter(binary.LittleEndian, false)
				var offsets, counts []uint64
				for y0 := 0; y0 < h; y0 += bh {
					for x0 := 0; x0 < w; x0 += bw {
						rows := bh
						if !tiled {
							rows = min(bh, h-y0)
						}
						var block []byte
						for y := y0; y < y0+rows; y += sy {
							for x := x0; x < x0+bw; x += sx {
								for j := range sy {
									for i := range sx {
										block = append(block, luma(x+i, y+j))
									}
								}
								block = append(block, chroma(x/sx, y/sy, 0), chroma(x/sx, y/sy, 1))
							}
						}
						offsets = append(offsets, wr.data(block))
						counts = append(counts, uint64(len(block)))
					}
				}
				entries := []entry{short(tagWidth, w), short(tagLength, h), short(tagBitsPerSample, 8, 8, 8), short(tagCompression, 1),
					short(tagPhotometric, photoYCbCr), short(tagSamplesPerPixel, 3)}
				if sx != 2 || sy != 2 { // which is the default
					entries = append(entries, short(tagYCbCrSampling, uint64(sx), uint64(sy)))
				}
				if tiled {
					entries = append(entries, short(tagTileWidth, 16), short(tagTileLength, 16), long(tagTileOffsets, offsets...), long(tagTileByteCounts, counts...))
				} else {
					entries = append(entries, short(tagRowsPerStrip, uint64(bh)), long(tagStripOffsets, offsets...), long(tagStripByteCounts, counts...))
				}
				wr.directory(false, entries...)
				img, err := decode(wr.buf)
				if err != nil {
					t.Fatalf("%d x %d: %v", sx, sy, err)
				}
				for y := range h {
					for x := range w {
						r, g, b := color.YCbCrToRGB(luma(x, y), chroma(x/sx, y/sy, 0), chroma(x/sx, y/sy, 1))
						got := img.(*image.RGBA).RGBAAt(x, y)
						if absDiff(got.R, r) > 1 || absDiff(got.G, g) > 1 || absDiff(got.B, b) > 1 {
							t.Fatalf("%d x %d, at %d,%d: %v, want %v", sx, sy, x, y, got, []byte{r, g, b})
						}
					}
				}
			}
		}
	}
}

func absDiff(a, b byte) int { return max(int(a)-int(b), int(b)-int(a)) }

// jpegOf encodes what shade says, as grey or in colours.
func jpegOf(t testing.TB, w, h int, gray bool, shade func(x, y int) color.RGBA) []byte {
	t.Helper()
	rect := image.Rect(0, 0, w, h)
	var img image.Image
	if gray {
		m := image.NewGray(rect)
		for y := range h {
			for x := range w {
				m.SetGray(x, y, color.Gray{shade(x, y).R})
			}
		}
		img = m
	} else {
		m := image.NewRGBA(rect)
		for y := range h {
			for x := range w {
				m.SetRGBA(x, y, shade(x, y))
			}
		}
		img = m
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// splitTables takes the tables out of a stream, as JPEGTables has them.
func splitTables(stream []byte) (tables, rest []byte) {
	tables, rest = []byte{0xff, 0xd8}, []byte{0xff, 0xd8}
	for at := 2; ; {
		n := 2 + int(binary.BigEndian.Uint16(stream[at+2:]))
		switch stream[at+1] {
		case 0xdb, 0xc4:
			tables = append(tables, stream[at:at+n]...)
		case 0xda:
			return append(tables, 0xff, 0xd9), append(rest, stream[at:]...)
		default:
			rest = append(rest, stream[at:at+n]...)
		}
		at += n
	}
}

func TestJPEG(t *testing.T) {
	const w, h = 70, 50
	shade := func(x, y int) color.RGBA { return color.RGBA{byte(40 + x*2), byte(200 - y*2), byte(60 + x + y), 255} }
	for _, gray := range []bool{false, true} {
		for _, tiled := range []bool{false, true} {
			for _, tables := range []bool{false, true} {
				t.Run(fmt.Sprint(gray, tiled, tables), func(t *testing.T) {
					wr := newWriter(binary.BigEndian, false)
					bw, bh := w, 16
					if tiled {
						bw, bh = 32, 32
					}
					var offsets, counts []uint64
					var shared []byte
					for y0 := 0; y0 < h; y0 += bh {
						for x0 := 0; x0 < w; x0 += bw {
							rows := bh
							if !tiled {
								rows = min(bh, h-y0)
							}
							block := jpegOf(t, bw, rows, gray, func(x, y int) color.RGBA { return shade(min(x0+x, w-1), min(y0+y, h-1)) })
							if tables {
								shared, block = splitTables(block)
							}
							offsets = append(offsets, wr.data(block))
							counts = append(counts, uint64(len(block)))
						}
					}
					samples, photometric := uint64(3), uint64(photoYCbCr)
					if gray {
						samples, photometric = 1, blackIsZero
					}
					entries := []entry{short(tagWidth, w), short(tagLength, h), short(tagBitsPerSample, 8), short(tagCompression, compJPEG),
						short(tagPhotometric, photometric), short(tagSamplesPerPixel, samples)}
					if tables {
						entries = append(entries, undefined(tagJPEGTables, shared))
					}
					if tiled {
						entries = append(entries, short(tagTileWidth, 32), short(tagTileLength, 32), long(tagTileOffsets, offsets...), long(tagTileByteCounts, counts...))
					} else {
						entries = append(entries, short(tagRowsPerStrip, 16), long(tagStripOffsets, offsets...), long(tagStripByteCounts, counts...))
					}
					wr.directory(false, entries...)
					img, err := decode(wr.buf)
					if err != nil {
						t.Fatal(err)
					}
					checkJPEG(t, img, shade)
				})
			}
		}
	}
}

func checkJPEG(t *testing.T, img image.Image, shade func(x, y int) color.RGBA) {
	t.Helper()
	b := img.Bounds()
	for y := range b.Dy() {
		for x := range b.Dx() {
			want := shade(x, y)
			if m, ok := img.(*image.Gray); ok {
				if absDiff(m.GrayAt(x, y).Y, want.R) > 5 {
					t.Fatalf("at %d,%d: %v, want %v", x, y, m.GrayAt(x, y), want.R)
				}
				continue
			}
			got := img.(*image.RGBA).RGBAAt(x, y)
			if absDiff(got.R, want.R) > 10 || absDiff(got.G, want.G) > 10 || absDiff(got.B, want.B) > 10 {
				t.Fatalf("at %d,%d: %v, want %v", x, y, got, want)
			}
		}
	}
}

// JPEG data that is not what the file says of it is refused.
func TestJPEGRefused(t *testing.T) {
	const w, h = 32, 32
	shade := func(x, y int) color.RGBA { return color.RGBA{byte(40 + x*2), byte(200 - y*2), byte(60 + x + y), 255} }
	stream := jpegOf(t, w, h, false, shade)
	app := func(marker byte, data string) []byte {
		segment := append([]byte{0xff, marker, 0, byte(2 + len(data))}, data...)
		return append(append([]byte{0xff, 0xd8}, segment...), stream[2:]...)
	}
	lossless := bytes.Clone(stream)
	lossless[bytes.Index(lossless, []byte{0xff, 0xc0})+1] = 0xc3
	tables, bare := splitTables(stream)
	for name, test := range map[string]struct {
		stream      []byte
		photometric uint64
		extra       []entry
		want        error
	}{
		"sound":                  {stream, photoYCbCr, nil, nil},
		"sound, tables apart":    {bare, photoYCbCr, []entry{undefined(tagJPEGTables, tables)}, nil},
		"sound, RGB":             {stream, photoRGB, nil, nil},
		"JFIF in RGB":            {app(0xe0, "JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"), photoRGB, nil, ErrUnsupported},
		"Adobe's YCbCr in RGB":   {app(0xee, "Adobe\x00\x64\x00\x00\x00\x00\x01"), photoRGB, nil, ErrUnsupported},
		"Adobe's RGB in YCbCr":   {app(0xee, "Adobe\x00\x64\x00\x00\x00\x00\x00"), photoYCbCr, nil, ErrUnsupported},
		"one component":          {jpegOf(t, w, h, true, shade), photoYCbCr, nil, ErrCorrupt},
		"too small":              {jpegOf(t, w, h-1, false, shade), photoYCbCr, nil, ErrCorrupt},
		"too large":              {jpegOf(t, w+100, h, false, shade), photoYCbCr, nil, ErrCorrupt},
		"lossless":               {lossless, photoYCbCr, nil, ErrUnsupported},
		"cut short":              {stream[:len(stream)*2/3], photoYCbCr, nil, ErrCorrupt},
		"header only":            {stream[:200], photoYCbCr, nil, ErrCorrupt},
		"no JPEG":                {make([]byte, 500), photoYCbCr, nil, ErrCorrupt},
		"tables that are none":   {bare, photoYCbCr, []entry{undefined(tagJPEGTables, make([]byte, 9))}, ErrCorrupt},
		"parts without tables":   {bare[2:], photoYCbCr, []entry{short(tagCompression, compOldJPEG)}, ErrUnsupported},
		"parts, not baseline":    {bare[2:], photoYCbCr, []entry{short(tagCompression, compOldJPEG), short(tagJPEGProc, 14)}, ErrUnsupported},
		"old kind with alpha":    {stream, photoRGB, []entry{short(tagCompression, compOldJPEG), short(tagSamplesPerPixel, 4), short(tagExtraSamples, 2)}, ErrUnsupported},
		"second strip is larger": {stream, photoYCbCr, nil, ErrUnsupported},
	} {
		p := picture{w: w, h: h, samples: 3, bits: 8, photometric: int(test.photometric), compression: compJPEG, extra: test.extra,
			value:    func(x, y, s int) uint64 { return 0 },
			compress: func([]byte) []byte { return bytes.Clone(test.stream) }}
		if name == "second strip is larger" {
			p.h, p.blockH = 2*h, h
			n := 0
			p.compress = func([]byte) []byte {
				n++
				return jpegOf(t, w, h+(n-1)*60, false, shade)
			}
		}
		if _, err := decode(p.file(binary.LittleEndian, false)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// Planes that are JPEG streams of their own: here of RGB, which no stream of one component contradicts.
func TestJPEGPlanes(t *testing.T) {
	const w, h = 40, 24
	shade := func(x, y int) color.RGBA { return color.RGBA{byte(40 + x*2), byte(200 - y*2), byte(60 + x + y), 255} }
	wr := newWriter(binary.LittleEndian, false)
	var offsets, counts []uint64
	for s := range 3 {
		block := jpegOf(t, w, h, true, func(x, y int) color.RGBA {
			c := shade(x, y)
			return color.RGBA{R: [3]byte{c.R, c.G, c.B}[s]}
		})
		offsets = append(offsets, wr.data(block))
		counts = append(counts, uint64(len(block)))
	}
	wr.directory(false, short(tagWidth, w), short(tagLength, h), short(tagBitsPerSample, 8, 8, 8), short(tagCompression, compJPEG),
		short(tagPhotometric, photoRGB), short(tagSamplesPerPixel, 3), short(tagPlanarConfig, 2),
		long(tagStripOffsets, offsets...), long(tagStripByteCounts, counts...))
	img, err := decode(wr.buf)
	if err != nil {
		t.Fatal(err)
	}
	checkJPEG(t, img, shade)
}

// The old kind of JPEG, if there is a whole stream. What the file says of its colours is often wrong.
func TestOldJPEG(t *testing.T) {
	const w, h = 70, 50
	shade := func(x, y int) color.RGBA { return color.RGBA{byte(40 + x*2), byte(200 - y*2), byte(60 + x + y), 255} }
	for _, photometric := range []uint64{photoRGB, photoYCbCr} {
		for _, whole := range []bool{false, true} {
			wr := newWriter(binary.LittleEndian, false)
			stream := jpegOf(t, w, h, false, shade)
			at, n := wr.data(stream), uint64(len(stream))
			entries := []entry{short(tagWidth, w), short(tagLength, h), short(tagBitsPerSample, 8, 8, 8), short(tagCompression, compOldJPEG),
				short(tagPhotometric, photometric), short(tagSamplesPerPixel, 3), long(tagStripOffsets, at+600), long(tagStripByteCounts, n-600)}
			if whole {
				entries = append(entries, long(tagJPEGStream, at), long(tagJPEGLength, n))
			} else {
				entries[6], entries[7] = long(tagStripOffsets, at), long(tagStripByteCounts, n)
			}
			wr.directory(false, entries...)
			img, err := decode(wr.buf)
			if err != nil {
				t.Fatal(err)
			}
			checkJPEG(t, img, shade)
		}
	}
}

// The old kind of JPEG in parts: tables, and scans without headers.
func TestOldJPEGParts(t *testing.T) {
	const w, h = 70, 50
	shade := func(x, y int) color.RGBA { return color.RGBA{byte(40 + x*2), byte(200 - y*2), byte(60 + x + y), 255} }
	for _, gray := range []bool{false, true} {
		for variant := range 4 {
			tiled, header := variant&1 != 0, variant&2 != 0
			wr := newWriter(binary.BigEndian, false)
			bw, bh := w, 16
			if tiled {
				bw, bh = 32, 32
			}
			var offsets, counts []uint64
			tables := map[byte]uint64{} // where they are, by marker and number
			for y0 := 0; y0 < h; y0 += bh {
				for x0 := 0; x0 < w; x0 += bw {
					rows := bh
					if !tiled {
						rows = min(bh, h-y0)
					}
					stream := jpegOf(t, bw, rows, gray, func(x, y int) color.RGBA { return shade(min(x0+x, w-1), min(y0+y, h-1)) })
					for at := 2; ; {
						marker, n := stream[at+1], 2+int(binary.BigEndian.Uint16(stream[at+2:]))
						if marker == 0xda {
							if !header || x0 > 0 || y0 > 0 {
								at += n
							}
							scan := stream[at : len(stream)-2]
							offsets = append(offsets, wr.data(scan))
							counts = append(counts, uint64(len(scan)))
							break
						}
						for p := stream[at+4 : at+n]; marker != 0xc0 && len(p) > 0; {
							size := 65
							if marker == 0xc4 {
								size = 17
								for _, c := range p[1:17] {
									size += int(c)
								}
							}
							tables[marker^p[0]] = wr.data(p[1:size])
							p = p[size:]
						}
						at += n
					}
				}
			}
			of := func(luma, chroma byte) []uint64 {
				if gray {
					return []uint64{tables[luma]}
				}
				return []uint64{tables[luma], tables[chroma], tables[chroma]}
			}
			entries := []entry{short(tagWidth, w), short(tagLength, h), short(tagBitsPerSample, 8), short(tagCompression, compOldJPEG),
				short(tagJPEGProc, 1), long(tagJPEGQTables, of(0xdb, 0xdb^1)...),
				long(tagJPEGDCTables, of(0xc4, 0xc4^1)...), long(tagJPEGACTables, of(0xc4^0x10, 0xc4^0x11)...)}
			if gray {
				entries = append(entries, short(tagPhotometric, blackIsZero))
			} else {
				entries = append(entries, short(tagPhotometric, photoYCbCr), short(tagSamplesPerPixel, 3), short(tagYCbCrSampling, 2, 2))
			}
			if tiled {
				entries = append(entries, short(tagTileWidth, 32), short(tagTileLength, 32), long(tagTileOffsets, offsets...), long(tagTileByteCounts, counts...))
			} else {
				entries = append(entries, short(tagRowsPerStrip, 16), long(tagStripOffsets, offsets...), long(tagStripByteCounts, counts...))
			}
			wr.directory(false, entries...)
			img, err := decode(wr.buf)
			if err != nil {
				t.Fatalf("%v, %v, %v: %v", gray, tiled, header, err)
			}
			checkJPEG(t, img, shade)
		}
	}
}

// Without a word about the fourth sample of RGB it is alpha, unless the picture would be invisible.
func TestUnexplainedSample(t *testing.T) {
	for _, alpha := range []uint64{0, 99} {
		p := picture{w: 5, h: 5, samples: 4, bits: 8, photometric: photoRGB, compression: 1, value: func(x, y, s int) uint64 {
			if s == 3 {
				return alpha
			}
			return 200
		}}
		img, err := decode(p.file(binary.LittleEndian, false))
		if err != nil {
			t.Fatal(err)
		}
		want := color.NRGBA{200, 200, 200, 99}
		if alpha == 0 {
			want.A = 255
		}
		if got := img.At(2, 2); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// The first full picture is the one that is decoded.
func TestChoice(t *testing.T) {
	plain := func(v uint64, w int, extra ...entry) picture {
		return picture{w: w, h: w, samples: 1, bits: 8, photometric: blackIsZero, compression: 1, extra: extra,
			value: func(x, y, s int) uint64 { return v }}
	}
	reduced, page := long(tagNewSubfileType, 1), long(tagNewSubfileType, 2)
	oldReduced := short(tagSubfileType, 2)
	for name, test := range map[string]struct {
		pages []picture
		sub   []picture // of the first page
		want  byte
	}{
		"one":                {pages: []picture{plain(1, 8)}, want: 1},
		"two pages":          {pages: []picture{plain(1, 8, page), plain(2, 16, page)}, want: 1},
		"reduced first":      {pages: []picture{plain(1, 8, reduced), plain(2, 16), plain(3, 32)}, want: 2},
		"reduced, old tag":   {pages: []picture{plain(1, 8, oldReduced), plain(2, 16)}, want: 2},
		"mask first":         {pages: []picture{plain(1, 8, long(tagNewSubfileType, 4)), plain(2, 16)}, want: 2},
		"only reduced":       {pages: []picture{plain(1, 8, reduced), plain(2, 16, reduced), plain(3, 9, reduced)}, want: 2},
		"full in SubIFDs":    {pages: []picture{plain(1, 8, reduced)}, sub: []picture{plain(2, 12, reduced), plain(3, 16)}, want: 3},
		"reduced in SubIFDs": {pages: []picture{plain(1, 16)}, sub: []picture{plain(2, 8)}, want: 1},
	} {
		for _, big := range []bool{false, true} {
			w := newWriter(binary.LittleEndian, big)
			var subs []uint64
			for _, p := range test.sub {
				subs = append(subs, w.directory(true, p.write(w)...))
			}
			for i, p := range test.pages {
				entries := p.write(w)
				if i == 0 && subs != nil {
					entries = append(entries, long(tagSubIFDs, subs...))
				}
				w.directory(false, entries...)
			}
			img, err := decode(w.buf)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if got := img.(*image.Gray).Pix[0]; got != test.want {
				t.Errorf("%s: picture %d, want %d", name, got, test.want)
			}
		}
	}
}

func TestHeader(t *testing.T) {
	icc := bytes.Repeat([]byte("profile "), 100)
	p := picture{w: 30, h: 20, samples: 3, bits: 8, photometric: photoRGB, compression: 1, value: smoothSamples,
		extra: []entry{short(tagOrientation, 6), undefined(tagICC, icc)}}
	h, err := config(p.file(binary.BigEndian, true))
	if err != nil {
		t.Fatal(err)
	}
	if h.Width != 30 || h.Height != 20 || h.Orientation != 6 || !bytes.Equal(h.ICC, icc) {
		t.Errorf("%+v", h)
	}
	p.extra[0] = short(tagOrientation, 9)
	p.photometric = cieLab
	if h, err = config(p.file(binary.BigEndian, false)); err != nil || h.Orientation != 1 || h.ICC != nil {
		t.Errorf("%+v, %v", h, err)
	}
}

// Whatever cannot be decoded, or contradicts itself, is refused.
func TestRefused(t *testing.T) {
	base := picture{w: 32, h: 32, samples: 3, bits: 8, photometric: photoRGB, compression: 1, value: smoothSamples}
	for name, test := range map[string]struct {
		change func(p *picture)
		want   error
	}{
		"Zstandard":            {func(p *picture) { p.compression = 50000 }, ErrUnsupported},
		"WebP":                 {func(p *picture) { p.compression = 50001 }, ErrUnsupported},
		"LERC":                 {func(p *picture) { p.compression = 34887 }, ErrUnsupported},
		"JPEG XL":              {func(p *picture) { p.compression = 50002 }, ErrUnsupported},
		"LogLuv":               {func(p *picture) { p.photometric = 32845 }, ErrUnsupported},
		"CFA":                  {func(p *picture) { p.photometric = 32803 }, ErrUnsupported},
		"ITU L*a*b*":           {func(p *picture) { p.photometric = 10 }, ErrUnsupported},
		"DNG":                  {func(p *picture) { p.extra = []entry{undefined(tagDNGVersion, []byte{1, 4, 0, 0})} }, ErrUnsupported},
		"inks that are others": {func(p *picture) { p.samples, p.photometric, p.extra = 4, separated, []entry{short(tagInkSet, 2)} }, ErrUnsupported},
		"five inks": {func(p *picture) {
			p.samples, p.photometric, p.extra = 5, separated, []entry{short(tagNumberOfInks, 5)}
		}, ErrUnsupported},
		"bits that differ":       {func(p *picture) { p.extra = []entry{short(tagBitsPerSample, 5, 6, 5)} }, ErrUnsupported},
		"predictor of 4 bits":    {func(p *picture) { p.bits, p.compression, p.predictor = 4, compLZW, 2 }, ErrUnsupported},
		"floats of integers":     {func(p *picture) { p.compression, p.predictor = compDeflate, 3 }, ErrUnsupported},
		"floats of 8 bits":       {func(p *picture) { p.format = formatFloat }, ErrUnsupported},
		"complex numbers":        {func(p *picture) { p.bits, p.format = 64, 6 }, ErrUnsupported},
		"indexed RGB":            {func(p *picture) { p.extra = []entry{short(tagIndexed, 1)} }, ErrUnsupported},
		"palette without colour": {func(p *picture) { p.samples, p.photometric = 1, palette }, ErrCorrupt},
		"too few samples":        {func(p *picture) { p.samples = 2 }, ErrCorrupt},
		"facsimile of colours":   {func(p *picture) { p.compression = compG4 }, ErrCorrupt},
		"broken deflate":         {func(p *picture) { p.compression, p.compress = compDeflate, bytes.Clone }, ErrCorrupt},
		"broken LZW": {func(p *picture) {
			p.compression, p.compress = compLZW, func([]byte) []byte { return bytes.Repeat([]byte{0xff}, 999) }
		}, ErrCorrupt},
		"short LZW": {func(p *picture) {
			p.compression, p.compress = compLZW, func(b []byte) []byte { return packLZW(b[1:], false) }
		}, ErrCorrupt},
		"short PackBits": {func(p *picture) {
			p.compression, p.compress = compPackBits, func(b []byte) []byte { return packBits(b[1:]) }
		}, ErrCorrupt},
		"alpha after a spot colour": {func(p *picture) { p.samples, p.extra = 5, []entry{short(tagExtraSamples, 0, 2)} }, ErrUnsupported},
		"signed alpha": {func(p *picture) {
			p.samples, p.format, p.extra = 4, formatInt, []entry{short(tagExtraSamples, 2)}
		}, ErrUnsupported},
		"no photometric": {func(p *picture) { p.extra = []entry{{tagPhotometric, ASCII, []uint64{2}}} }, ErrUnsupported},
		"huge tiles":     {func(p *picture) { p.extra = []entry{long(tagTileWidth, 1<<30), long(tagTileLength, 1<<30)} }, ErrCorrupt},
		"too few strips": {func(p *picture) { p.extra = []entry{long(tagRowsPerStrip, 1)} }, ErrCorrupt},
		"too few counts": {func(p *picture) { p.blockH, p.extra = 8, []entry{long(tagStripByteCounts, 768)} }, ErrCorrupt},
		"subsampling of 3": {func(p *picture) {
			p.photometric, p.extra = photoYCbCr, []entry{short(tagYCbCrSampling, 3, 1)}
		}, ErrCorrupt},
		"subsampled planes": {func(p *picture) {
			p.photometric, p.planar, p.extra = photoYCbCr, true, []entry{short(tagYCbCrSampling, 2, 1)}
		}, ErrUnsupported},
		"JPEG of 16 bits":      {func(p *picture) { p.bits, p.compression = 16, compJPEG }, ErrUnsupported},
		"short strip":          {func(p *picture) { p.compress = func(b []byte) []byte { return b[1:] } }, ErrCorrupt},
		"empty strip":          {func(p *picture) { p.compress = func(b []byte) []byte { return nil } }, ErrCorrupt},
		"facsimile, no codes":  {func(p *picture) { fax(p, compG4, 0, make([]byte, 99)) }, ErrCorrupt},
		"facsimile, no rows":   {func(p *picture) { fax(p, compG3, 0, []byte{0, 1, 0, 1, 0, 1}) }, ErrCorrupt},
		"facsimile, extension": {func(p *picture) { fax(p, compG4, 2, make([]byte, 99)) }, ErrUnsupported},
	} {
		p := base
		test.change(&p)
		_, err := decode(p.file(binary.LittleEndian, false))
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	for _, data := range []string{"", "II*\x00", "II*\x00\x08\x00\x00\x00", "MM\x00+\x00\x08\x00\x00\x00\x00\x00\x00", "GIF89a.............."} {
		if _, err := decode([]byte(data)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", data, err)
		}
	}
	data := base.file(binary.LittleEndian, false)
	for n := range len(data) - 4 { // the last bytes say that there is no other directory
		if _, err := decode(data[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

// fax makes a picture one of facsimile data.
func fax(p *picture, compression int, options uint64, data []byte) {
	p.samples, p.bits, p.photometric, p.compression = 1, 1, whiteIsZero, compression
	p.compress = func([]byte) []byte { return data }
	tag := uint16(tagT4Options)
	if compression == compG4 {
		tag = tagT6Options
	}
	p.extra = append(p.extra, long(tag, options))
}

// A failure to read is what it is, and never a broken file.
func TestReadError(t *testing.T) {
	p := picture{w: 64, h: 64, samples: 3, bits: 8, photometric: photoRGB, compression: compDeflate, value: samplesOf(8), blockH: 9}
	data := p.file(binary.LittleEndian, false)
	broken := errors.New("the disk is gone")
	unread := 0
	for at := range int64(len(data)) {
		img, err := Decode(context.Background(), &failingReader{bytes.NewReader(data), at, broken}, int64(len(data)), Options{})
		if err != nil && !errors.Is(err, broken) {
			t.Fatalf("byte %d: %v", at, err)
		}
		if err == nil {
			unread++
			checkPixels(t, img, func(x, y int) []float64 {
				return []float64{float64(p.value(x, y, 0)), float64(p.value(x, y, 1)), float64(p.value(x, y, 2)), 255}
			})
		}
	}
	const strips, end = 8, 9 // an empty block and the checksum end the stream of a strip
	if unread > strips*end {
		t.Errorf("%d bytes were not read", unread)
	}
}

// A failingReader fails to read one byte.
type failingReader struct {
	io.ReaderAt
	at  int64
	err error
}

func (r *failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off <= r.at && r.at < off+int64(len(p)) {
		n, _ := r.ReaderAt.ReadAt(p[:r.at-off], off)
		return n, r.err
	}
	return r.ReaderAt.ReadAt(p, off)
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

// Whenever the context ends, the error is its own, and no broken file.
func TestCancel(t *testing.T) {
	for _, compression := range []int{compNone, compPackBits, compLZW, compDeflate} {
		p := picture{w: 64, h: 64, samples: 3, bits: 8, photometric: photoRGB, compression: compression, value: samplesOf(8), blockH: 9}
		data := p.file(binary.LittleEndian, false)
		calls := 0
		for ; ; calls++ {
			_, err := Decode(&countdown{context.Background(), calls}, bytes.NewReader(data), int64(len(data)), Options{})
			if err == nil {
				break
			}
			if err != context.Canceled {
				t.Fatalf("compression %d, done after %d looks: %v", compression, calls, err)
			}
		}
		if calls < 8 {
			t.Errorf("compression %d: the context was looked at %d times", compression, calls)
		}
	}
}

// Decoding allocates no more than the header says, and the header itself next to nothing.
func TestMemory(t *testing.T) {
	for _, p := range []picture{
		{w: 450, h: 350, samples: 1, bits: 1, photometric: blackIsZero, compression: 1},
		{w: 450, h: 350, samples: 3, bits: 8, photometric: photoRGB, compression: compLZW, planar: true},
		{w: 450, h: 350, samples: 4, bits: 16, photometric: separated, compression: compDeflate, blockW: 64, blockH: 64},
		{w: 450, h: 350, samples: 3, bits: 16, photometric: photoRGB, compression: compPackBits},
		{w: 450, h: 350, samples: 1, bits: 64, photometric: blackIsZero, compression: compDeflate, predictor: 2},
	} {
		p.value = func(x, y, s int) uint64 { return uint64(x+y+s) & (1<<p.bits - 1) }
		data := p.file(binary.LittleEndian, false)
		var h Header
		var err error
		if used := allocated(func() { h, err = config(data) }); used > 32<<10 || err != nil {
			t.Errorf("the header took %d bytes: %v", used, err)
		}
		used := allocated(func() { _, err = decode(data) })
		if err != nil {
			t.Error(err)
		}
		if used > h.Cost(Options{}) || used < h.Cost(Options{})/4 {
			t.Errorf("%d bytes, %d were said: %+v", used, h.Cost(Options{}), p)
		}
	}
	// A header that promises much takes nothing.
	w := newWriter(binary.LittleEndian, false)
	w.directory(false, long(tagWidth, 1<<22), long(tagLength, 1<<22), short(tagBitsPerSample, 8), short(tagPhotometric, blackIsZero),
		long(tagStripOffsets, 8), long(tagStripByteCounts, 1))
	var h Header
	used := allocated(func() { h, _ = config(w.buf) })
	if used > 32<<10 || h.Cost(Options{}) < 1<<44 {
		t.Errorf("%d bytes, %+v", used, h)
	}
}

// A reduced picture has the means of the whole one, and takes less memory.
func TestScale(t *testing.T) {
	for _, p := range []picture{
		{samples: 1, bits: 8, photometric: blackIsZero},
		{samples: 3, bits: 8, photometric: photoRGB, blockH: 7},
		{samples: 3, bits: 16, photometric: photoRGB, blockH: 7, planar: true},
		{samples: 3, bits: 8, photometric: photoRGB, blockW: 32, blockH: 16},
		{samples: 4, bits: 8, photometric: separated, blockW: 16, blockH: 48},
		{samples: 4, bits: 8, photometric: photoRGB, blockH: 1, extra: []entry{short(tagExtraSamples, 2)}},
		{samples: 4, bits: 8, photometric: photoRGB, extra: []entry{short(tagExtraSamples, 1)}},
		{samples: 4, bits: 8, photometric: photoRGB},
	} {
		p.w, p.h, p.compression, p.value = 131, 97, compNone, samplesOf(p.bits)
		guessed := p.samples == 4 && p.photometric == photoRGB && p.extra == nil
		data := p.file(binary.LittleEndian, false)
		whole, err := decode(data)
		if err != nil {
			t.Fatal(err)
		}
		h, err := config(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, scale := range []int{2, 3, 7, 16, 64, 5000} {
			o := Options{Scale: scale}
			var small image.Image
			used := allocated(func() { small, err = Decode(context.Background(), bytes.NewReader(data), int64(len(data)), o) })
			if err != nil {
				t.Fatal(err)
			}
			if used > h.Cost(o) {
				t.Errorf("scale %d: %d bytes, %d were said", scale, used, h.Cost(o))
			}
			scale = min(scale, MaxScale)
			b := small.Bounds()
			if b.Dx() != (131+scale-1)/scale || b.Dy() != (97+scale-1)/scale {
				t.Fatalf("scale %d: %v", scale, b)
			}
			for y := range b.Dy() {
				for x := range b.Dx() {
					var sum [4]float64
					n := 0.0
					for j := y * scale; j < min(97, (y+1)*scale); j++ {
						for i := x * scale; i < min(131, (x+1)*scale); i++ {
							px := pixelOf(whole, i, j)
							n++
							for k, v := range px {
								if _, apart := whole.(*image.NRGBA); apart && !guessed && k < 3 {
									v *= px[3] / 255
								}
								sum[k] += v
							}
						}
					}
					got := pixelOf(small, x, y)
					for k, v := range sum {
						if math.Abs(got[k]-v/n) > 1.01 {
							t.Fatalf("%+v, scale %d, at %d,%d: %v, want %v", p, scale, x, y, got[k], v/n)
						}
					}
				}
			}
		}
	}
}

// Inks are converted before they are reduced, since the mean of inks is another colour.
func TestInks(t *testing.T) {
	p := picture{w: 131, h: 97, samples: 4, bits: 8, photometric: separated, compression: compNone, blockW: 32, blockH: 16,
		value: samplesOf(8)}
	data := p.file(binary.LittleEndian, false)
	calls := 0
	inks := func(pix []byte) {
		calls++
		for i := 0; i < len(pix); i += 4 {
			for k := range 3 {
				pix[i+k] = byte(int(255-pix[i+k]) * int(255-pix[i+3]) / 255)
			}
			pix[i+3] = 255
		}
	}
	for _, scale := range []int{1, 5} {
		img, err := Decode(context.Background(), bytes.NewReader(data), int64(len(data)), Options{Scale: scale, Inks: inks})
		if err != nil {
			t.Fatal(err)
		}
		m, ok := img.(*image.RGBA)
		if !ok {
			t.Fatalf("%T", img)
		}
		checkPixels(t, m, func(x, y int) []float64 {
			want := make([]float64, 4)
			n := 0.0
			for j := y * scale; j < min(97, (y+1)*scale); j++ {
				for i := x * scale; i < min(131, (x+1)*scale); i++ {
					px := []byte{byte(p.value(i, j, 0)), byte(p.value(i, j, 1)), byte(p.value(i, j, 2)), byte(p.value(i, j, 3))}
					inks(px)
					n++
					for k, v := range px {
						want[k] += float64(v)
					}
				}
			}
			for k := range want {
				want[k] /= n
			}
			return want
		})
	}
	if calls == 0 {
		t.Error("no inks were converted")
	}
}

// pixelOf returns the samples of a pixel as they are stored.
func pixelOf(img image.Image, x, y int) (px [4]float64) {
	var pix []byte
	switch m := img.(type) {
	case *image.Gray:
		v := float64(m.GrayAt(x, y).Y)
		return [4]float64{v, v, v, 255}
	case *image.RGBA:
		pix = m.Pix[m.PixOffset(x, y):]
	case *image.NRGBA:
		pix = m.Pix[m.PixOffset(x, y):]
	case *image.CMYK:
		pix = m.Pix[m.PixOffset(x, y):]
	}
	for k := range px {
		px[k] = float64(pix[k])
	}
	return px
}

func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

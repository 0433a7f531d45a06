package heif

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"image"
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// These tests run the real ffmpeg, and skip without it.

func ffmpegPath(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("ffmpeg")
	if err != nil && os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip("no ffmpeg here: ", err)
	}
	return path
}

// run has ffmpeg decode a stream.
func (s *Stream) run(t testing.TB) []byte {
	t.Helper()
	path := ffmpegPath(t)
	var in, stderr bytes.Buffer
	if err := s.Copy(context.Background(), &in); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-nostdin", "-hide_banner", "-loglevel", "warning", "-threads", "1", "-f", s.Demuxer, "-i", "pipe:0",
		"-map", "0:v:0", "-vf", s.Filter, "-vsync", "0", "-frames:v", strconv.Itoa(s.Frames), "-f", "rawvideo", "pipe:1")
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	for _, missing := range []string{"hardware accelerated AV1", "ecoder not found", "no decoder found", "Unknown input format"} {
		if strings.Contains(stderr.String(), missing) {
			t.Skip("this ffmpeg does not decode ", s.Codec)
		}
	}
	if strings.Contains(stderr.String(), "Duplicate POC") {
		t.Skip("ffmpeg 7.1 and later do not look at the ends of sequences")
	}
	if err != nil || int64(len(out)) != s.Output {
		t.Fatalf("%v, %d bytes of %d\n%s", err, len(out), s.Output, stderr.Bytes())
	}
	return out
}

// decode makes the picture of a file.
func decode(t testing.TB, data []byte, wanted int) (*image.NRGBA, *Plan) {
	t.Helper()
	p := planOf(t, data, wanted)
	var alpha []byte
	if p.Alpha != nil {
		alpha = p.Alpha.run(t)
	}
	img, err := p.Assemble(p.Colour.run(t), alpha)
	if err != nil {
		t.Fatal(err)
	}
	if img.Rect != image.Rect(0, 0, p.Width, p.Height) {
		t.Fatalf("%v, and not %d x %d", img.Rect, p.Width, p.Height)
	}
	return img, p
}

var (
	red   = color.NRGBA{220, 30, 30, 255}
	green = color.NRGBA{30, 180, 40, 255}
	blue  = color.NRGBA{40, 60, 210, 255}
	white = color.NRGBA{230, 230, 220, 255}
)

// checkQuarters compares the middles of the quarters of a picture: left and right above left and right.
func checkQuarters(t testing.TB, img *image.NRGBA, tolerance int, want ...color.NRGBA) {
	t.Helper()
	for i, want := range want {
		x, y := img.Rect.Dx()*(1+i%2*2)/4, img.Rect.Dy()*(1+i/2*2)/4
		got := img.NRGBAAt(x, y)
		for _, d := range []int{
			int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B), int(got.A) - int(want.A),
		} {
			if max(d, -d) > tolerance {
				t.Errorf("quarter %d: %v, want %v", i, got, want)
				break
			}
		}
	}
}

func withAlpha(c color.NRGBA, a uint8) color.NRGBA { c.A = a; return c }

func TestDecodeSamples(t *testing.T) {
	grey := func(v uint8) color.NRGBA { return color.NRGBA{v, v, v, 255} }
	clear := []color.NRGBA{withAlpha(red, 63), withAlpha(green, 191), withAlpha(blue, 63), withAlpha(white, 191)}
	for _, test := range []struct {
		name          string
		width, height int
		tolerance     int
		want          []color.NRGBA
		profile       bool
	}{
		{"odd.heic", 63, 47, 2, nil, false},
		{"deep444.heic", 64, 48, 2, nil, false},
		{"alpha.heic", 64, 48, 2, clear, false},
		{"thumbnail.heic", 64, 48, 2, nil, false},
		{"libheif.avif", 64, 48, 2, nil, false},
		{"422.avif", 64, 48, 2, nil, false},
		{"limited12.avif", 64, 48, 2, nil, false},
		{"p3rgb.avif", 64, 48, 0, nil, true},
		{"pq.avif", 64, 48, 2, nil, true},
		{"grey10.avif", 64, 48, 1, []color.NRGBA{grey(87), grey(119), grey(71), grey(229)}, false},
		{"turned.avif", 48, 64, 2, []color.NRGBA{red, blue, green, white}, false},
		{"cropped.avif", 40, 32, 2, nil, false},
		{"premultiplied.avif", 64, 48, 6, clear, false},
		{"grid.avif", 128, 128, 2, clear, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			img, p := decode(t, sample(t, test.name), 0)
			if p.Width != test.width || p.Height != test.height {
				t.Errorf("%d x %d, want %d x %d", p.Width, p.Height, test.width, test.height)
			}
			if test.want == nil {
				test.want = []color.NRGBA{red, green, blue, white}
			}
			checkQuarters(t, img, test.tolerance, test.want...)
			if (p.Profile != nil) != test.profile {
				t.Errorf("profile of %d bytes", len(p.Profile))
			}
		})
	}
}

// TestDecodeReduced has ffmpeg reduce frames of all kinds, which must not change their colours.
func TestDecodeReduced(t *testing.T) {
	for i, name := range []string{
		"odd.heic", "deep444.heic", "p3rgb.avif", "libheif.avif", "422.avif", "pq.avif", "limited12.avif",
	} {
		if i%series(2, 1) != 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			img, p := decode(t, sample(t, name), 8)
			if name != "p3rgb.avif" && (p.Width > 24 || p.Width < 16) {
				t.Errorf("%d x %d", p.Width, p.Height)
			}
			checkQuarters(t, img, 3, red, green, blue, white)
		})
	}
	img, p := decode(t, sample(t, "grid.avif"), 16)
	if p.Width != 32 || p.Height != 32 {
		t.Errorf("%d x %d", p.Width, p.Height)
	}
	checkQuarters(t, img, 4, withAlpha(red, 63), withAlpha(green, 191), withAlpha(blue, 63), withAlpha(white, 191))
}

func TestDecodeThumbnail(t *testing.T) {
	img, p := decode(t, sample(t, "thumbnail.heic"), 32)
	if p.Width != 32 || p.Height != 24 || p.Colour.tiles[0].id != 3 {
		t.Errorf("%d x %d of item %d", p.Width, p.Height, p.Colour.tiles[0].id)
	}
	checkQuarters(t, img, 3, red, green, blue, white)
	if p := planOf(t, sample(t, "thumbnail.heic"), 33); p.Colour.tiles[0].id != 1 {
		t.Errorf("item %d", p.Colour.tiles[0].id)
	}
}

func TestDecodeGrid(t *testing.T) {
	for _, codec := range []struct{ extension, kind string }{{".heic", "hvc1"}, {".avif", "av01"}} {
		for _, long := range []bool{false, true} {
			f := gridFile(t, codec.extension, codec.kind, 120, 100)
			f.long = long
			img, p := decode(t, f.bytes(), 0)
			if p.Width != 120 || p.Height != 100 || p.Colour.Frames != 4 {
				t.Errorf("%d x %d of %d frames", p.Width, p.Height, p.Colour.Frames)
			}
			checkQuarters(t, img, 3, red, green, blue, white)
			if got := img.NRGBAAt(63, 63); got.B > 40 || got.R < 200 {
				t.Errorf("the first tile ends with %v", got)
			}
		}
	}
}

// TestDecodePieces decodes items in several extents, in the idat box, and behind the data.
func TestDecodePieces(t *testing.T) {
	f := gridFile(t, ".heic", "hvc1", 128, 128)
	for i := range f.items {
		f.items[i].pieces = i + 1
		f.items[i].inIdat = i%2 == 0
	}
	f.metaLast = true
	img, _ := decode(t, f.bytes(), 0)
	checkQuarters(t, img, 3, red, green, blue, white)
}

// transformed returns the 2 x 2 grid with properties.
func transformed(t testing.TB, transforms ...[]byte) []byte {
	f := gridFile(t, ".heic", "hvc1", 128, 96)
	for _, p := range transforms {
		f.properties = append(f.properties, p)
		f.items[0].properties = append(f.items[0].properties, -len(f.properties))
	}
	return f.bytes()
}

func TestDecodeTransforms(t *testing.T) {
	frames := planOf(t, transformed(t), 0).Colour.run(t) // the same for all
	for _, test := range []struct {
		name          string
		transforms    [][]byte
		width, height int
		want          []color.NRGBA
	}{
		{"none", nil, 128, 96, []color.NRGBA{red, green, blue, white}},
		{"turned by 0", [][]byte{irot(0)}, 128, 96, []color.NRGBA{red, green, blue, white}},
		{"turned by 90", [][]byte{irot(1)}, 96, 128, []color.NRGBA{green, white, red, blue}},
		{"turned by 180", [][]byte{irot(2)}, 128, 96, []color.NRGBA{white, blue, green, red}},
		{"turned by 270", [][]byte{irot(3)}, 96, 128, []color.NRGBA{blue, red, white, green}},
		{"top and bottom exchanged", [][]byte{imir(0)}, 128, 96, []color.NRGBA{blue, white, red, green}},
		{"left and right exchanged", [][]byte{imir(1)}, 128, 96, []color.NRGBA{green, red, white, blue}},
		{"turned, then mirrored", [][]byte{irot(1), imir(1)}, 96, 128, []color.NRGBA{white, green, blue, red}},
		{"mirrored, then turned", [][]byte{imir(1), irot(1)}, 96, 128, []color.NRGBA{red, blue, green, white}},
		// 40 x 20 pixels around (32, 32): red alone.
		{"cropped", [][]byte{clap(40, 20, -32, -16)}, 40, 20, []color.NRGBA{red, red, red, red}},
		{"turned, then cropped", [][]byte{irot(1), clap(20, 40, -16, -32)}, 20, 40, []color.NRGBA{green, green, green, green}},
		{"cropped, then turned", [][]byte{clap(40, 20, -32, -16), irot(1)}, 20, 40, []color.NRGBA{red, red, red, red}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := planOf(t, transformed(t, test.transforms...), 0)
			img, err := p.Assemble(frames, nil)
			if err != nil {
				t.Fatal(err)
			}
			if p.Width != test.width || p.Height != test.height {
				t.Errorf("%d x %d, want %d x %d", p.Width, p.Height, test.width, test.height)
			}
			checkQuarters(t, img, 3, test.want...)
		})
	}
}

// libavif before version 1.0 repeats the transforms of a grid in its tiles. They are applied once.
func TestDecodeRepeatedTransforms(t *testing.T) {
	// turned returns a grid and its tiles, all turned by 90 degrees but the last tile.
	turned := func(last byte) []byte {
		f := gridFile(t, ".heic", "hvc1", 128, 96)
		f.properties = append(f.properties, irot(1), irot(last))
		for i := range f.items {
			f.items[i].properties = append(f.items[i].properties, -len(f.properties)+1)
		}
		tile := f.items[len(f.items)-1].properties
		tile[len(tile)-1]--
		return f.bytes()
	}
	img, _ := decode(t, turned(1), 0)
	checkQuarters(t, img, 3, green, white, red, blue)
	if _, err := parse(t, turned(2)).Plan(t.Context(), 0); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a tile that is turned otherwise: %v", err)
	}
}

// TestDecodeOpenPictures decodes tiles that are pictures in the middle of a film (CRA): a decoder takes the second of them for
// a repetition of the first, unless a new sequence begins. No camera is known to write such tiles.
func TestDecodeOpenPictures(t *testing.T) {
	nals := map[byte][]byte{}
	for kind, text := range map[byte]string{
		nalVPS: "40010c01ffff01600000030090000003000003001e92809",
		nalSPS: "42010101600000030090000003000003001ea0208105964a924cae6808000003000800000300c84",
		nalPPS: "4401c172b4224",
		21:     "2a01ac08f5c520f7b568fff4e35fdbfd2e409ac2db8",
	} {
		b, err := hex.DecodeString(text + "0")
		if err != nil {
			t.Fatal(err)
		}
		nals[kind] = b
	}
	config := append([]byte{1}, make([]byte, 20)...)
	config = append(config, 0xfd, 3) // lengths of two bytes
	for _, kind := range []byte{nalVPS, nalSPS, nalPPS} {
		config = append(append(config, kind, 0, 1), be16(len(nals[kind]))...)
		config = append(config, nals[kind]...)
	}
	slice := append([]byte(nil), nals[21]...)
	slice[2] |= 0x40 // those before are not to be shown
	// A unit of another layer is not for the decoder.
	data := append(append(be16(len(slice)), slice...), 0, 3, 0x2a, 0x09, 0xac)
	f := testFile{properties: [][]byte{boxOf("hvcC", config), ispe(64, 64)}}
	f.items = []testItem{{kind: "grid", data: gridOf(1, 3, 192, 64)}}
	for range 3 {
		f.items = append(f.items, testItem{kind: "hvc1", data: data, properties: []int{-1, 2}})
	}
	f.references = [][]byte{reference32("dimg", 1, 2, 3, 4)}
	img, _ := decode(t, f.bytes(), 0)
	for _, x := range []int{32, 96, 160} {
		if c := img.NRGBAAt(x, 32); c.R < 210 || c.G > 40 || c.B > 40 {
			t.Errorf("%d: %v", x, c)
		}
	}
}

const casesDir = "../../../shared/cases"

// TestCases compares with what is right for files that came out wrong before.
func TestCases(t *testing.T) {
	list, err := os.Open(filepath.Join(casesDir, "expected.tsv"))
	if err != nil {
		t.Skip("no cases here: ", err)
	}
	defer list.Close()
	r := csv.NewReader(list)
	r.Comma = '\t'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		if filepath.Ext(row[0]) != ".avif" {
			continue
		}
		t.Run(row[0], func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(casesDir, row[0]))
			if err != nil {
				t.Skip(err)
			}
			img, p := decode(t, data, 0)
			if row[1] == "portrait" != (p.Height > p.Width) {
				t.Errorf("%d x %d", p.Width, p.Height)
			}
			if strings.HasSuffix(row[0], "a98.avif") {
				if len(p.Profile) < 132 || string(p.Profile[36:40]) != "acsp" {
					t.Errorf("profile of %d bytes", len(p.Profile))
				}
				return // the colours are those of the profile
			}
			var want []color.NRGBA
			for _, text := range row[2:6] {
				c := color.NRGBA{A: 255}
				for i, v := range strings.Split(text, ",") {
					n, err := strconv.Atoi(v)
					if err != nil {
						t.Fatal(err)
					}
					*[]*uint8{&c.R, &c.G, &c.B}[i] = uint8(n)
				}
				want = append(want, c)
			}
			for i := 0; i < len(img.Pix); i += 4 { // on white, as thumbnails are
				p := img.Pix[i:][:4]
				for c := range 3 {
					p[c] = uint8((int(p[c])*int(p[3]) + 255*(255-int(p[3]))) / 255)
				}
				p[3] = 255
			}
			checkQuarters(t, img, 3, want...)
		})
	}
}

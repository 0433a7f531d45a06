package tiff

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	xtiff "golang.org/x/image/tiff"
)

// The files that other software decodes wrongly.
func TestCases(t *testing.T) {
	const cases = "../../../shared/cases"
	table, err := os.ReadFile(filepath.Join(cases, "expected.tsv"))
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Split(line, "\t")
		if !strings.HasSuffix(fields[0], ".tif") || len(fields) < 6 {
			continue
		}
		data, err := os.ReadFile(filepath.Join(cases, fields[0]))
		if err != nil {
			t.Error(err)
			continue
		}
		img, err := decode(data)
		if err != nil {
			t.Errorf("%s: %v", fields[0], err)
			continue
		}
		b := img.Bounds()
		for i, want := range fields[2:6] {
			// The middle of a quarter.
			r, g, bl, _ := img.At(b.Dx()/4+i%2*b.Dx()/2, b.Dy()/4+i/2*b.Dy()/2).RGBA()
			for k, text := range strings.Split(want, ",") {
				v, err := strconv.Atoi(text)
				if got := int([3]uint32{r, g, bl}[k] >> 8); err != nil || got < v-4 || got > v+4 {
					t.Errorf("%s, quarter %d: %d,%d,%d, want %s", fields[0], i, r>>8, g>>8, bl>>8, want)
				}
			}
		}
	}
}

// tool returns the path of a program, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	return path
}

// testImage returns a picture in which every pixel differs from its neighbours, but not by much.
func testImage(w, h int, at func(x, y int) color.Color) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, at(x, y))
		}
	}
	return m
}

// run runs a program in a folder.
func run(t *testing.T, dir, path string, args ...string) error {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", path, strings.Join(args, " "), err, out)
	}
	return nil
}

// compare decodes a file and compares it with the picture that it was made of.
func compare(t *testing.T, path string, want image.Image, tolerance int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(data)
	if err != nil {
		t.Errorf("%s: %v", filepath.Base(path), err)
		return
	}
	b := want.Bounds()
	if got.Bounds() != b {
		t.Errorf("%s: %v, want %v", filepath.Base(path), got.Bounds(), b)
		return
	}
	for y := range b.Dy() {
		for x := range b.Dx() {
			g := color.NRGBAModel.Convert(got.At(x, y)).(color.NRGBA)
			w := color.NRGBAModel.Convert(want.At(x, y)).(color.NRGBA)
			if absDiff(g.R, w.R) > tolerance || absDiff(g.G, w.G) > tolerance || absDiff(g.B, w.B) > tolerance || absDiff(g.A, w.A) > tolerance {
				t.Errorf("%s at %d,%d: %v, want %v", filepath.Base(path), x, y, g, w)
				return
			}
		}
	}
}

func writePNG(t *testing.T, path string, m image.Image) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// Files that libtiff's tools write, of one that is written here.
func TestLibtiff(t *testing.T) {
	tiffcp := tool(t, "tiffcp")
	dir := t.TempDir()
	colours := func(x, y int) color.Color {
		return color.NRGBA{byte(30 + x + y/2), byte(220 - x), byte(60 + y), 255}
	}
	write := func(name string, p picture) {
		if err := os.WriteFile(filepath.Join(dir, name), p.file(binary.LittleEndian, false), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	rgb := picture{w: 133, h: 97, samples: 3, bits: 8, photometric: photoRGB, compression: 1, value: func(x, y, s int) uint64 {
		c := colours(x, y).(color.NRGBA)
		return uint64([3]byte{c.R, c.G, c.B}[s])
	}}
	write("rgb.tif", rgb)
	deep := rgb
	deep.bits = 16
	deep.value = func(x, y, s int) uint64 { return rgb.value(x, y, s) * 257 }
	write("deep.tif", deep)
	black := func(x, y int) bool { return (x/5+y/3)%3 == 0 || x*y%17 == 3 }
	bilevel := picture{w: 133, h: 97, samples: 1, bits: 1, photometric: whiteIsZero, compression: 1, value: func(x, y, s int) uint64 {
		if black(x, y) {
			return 1
		}
		return 0
	}}
	write("white.tif", bilevel)
	bilevel.photometric = blackIsZero
	write("black.tif", bilevel)

	want := testImage(133, 97, colours)
	wantWhite := testImage(133, 97, func(x, y int) color.Color {
		if black(x, y) {
			return color.Black
		}
		return color.White
	})
	wantBlack := testImage(133, 97, func(x, y int) color.Color {
		if black(x, y) {
			return color.White
		}
		return color.Black
	})
	for _, args := range []string{
		"-c lzw", "-c lzw:2 -r 7", "-c zip:2 -t -w 32 -l 48", "-c packbits -r 5", "-8", "-B", "-B -c lzw:2", "-L -8 -c zip",
		"-B -8 -t -w 16 -l 16", "-f lsb2msb", "-f lsb2msb -c lzw", "-f lsb2msb -c zip", "-c zip:2:p9 -r 1",
	} {
		for _, name := range []string{"rgb.tif", "deep.tif"} {
			if err := run(t, dir, tiffcp, append(strings.Fields(args), name, "out.tif")...); err != nil {
				t.Log(err) // a version that lacks the option
				continue
			}
			t.Run(name+" "+args, func(t *testing.T) { compare(t, filepath.Join(dir, "out.tif"), want, 0) })
		}
	}
	for args, tolerance := range map[string]int{
		"-p separate -c lzw": 0, "-p separate -t -w 64 -l 16": 0, "-p separate -t -w 64 -l 16 -c zip:2": 0,
		"-c jpeg:95 -r 16": 12, "-c jpeg:r:95 -r 16": 6, "-c jpeg:r:95 -r 8 -p separate": 6,
	} {
		if err := run(t, dir, tiffcp, append(strings.Fields(args), "rgb.tif", "out.tif")...); err != nil {
			t.Log(err)
			continue
		}
		t.Run("rgb.tif "+args, func(t *testing.T) { compare(t, filepath.Join(dir, "out.tif"), want, tolerance) })
	}
	for _, args := range []string{
		"-c g3", "-c g3:1d:fill", "-c g3:2d", "-c g3:2d:fill -r 20", "-c g4", "-c g4 -r 11", "-c g3 -f lsb2msb", "-c g3:2d -f lsb2msb",
		"-c g4 -f lsb2msb", "-c g4 -t -w 64 -l 32", "-f lsb2msb", "-c packbits", "-c lzw", "-c zip -r 1",
	} {
		for name, want := range map[string]image.Image{"white.tif": wantWhite, "black.tif": wantBlack} {
			if err := run(t, dir, tiffcp, append(strings.Fields(args), name, "out.tif")...); err != nil {
				t.Log(err) // a version that lacks the option
				continue
			}
			t.Run(name+" "+args, func(t *testing.T) { compare(t, filepath.Join(dir, "out.tif"), want, 0) })
		}
	}
}

// Files that ImageMagick writes.
func TestImageMagick(t *testing.T) {
	convert := ""
	for _, name := range []string{"convert-im6.q16", "magick", "convert"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		// Windows has a convert of its own.
		if version, _ := exec.Command(path, "-version").Output(); bytes.Contains(version, []byte("ImageMagick")) {
			convert = path
			break
		}
	}
	if convert == "" {
		t.Skip("ImageMagick is not installed")
	}
	dir := t.TempDir()
	colour := testImage(61, 47, func(x, y int) color.Color {
		return color.NRGBA{byte(30 + 3*x), byte(220 - 2*x - y), byte(60 + 2*y), 255}
	})
	gray := testImage(61, 47, func(x, y int) color.Color { return color.Gray{byte(10 + 3*x + y)} })
	clear := testImage(61, 47, func(x, y int) color.Color {
		return color.NRGBA{byte(30 + 3*x), byte(220 - 2*x), byte(60 + 2*y), byte(128 + 2*y)}
	})
	writePNG(t, filepath.Join(dir, "colour.png"), colour)
	writePNG(t, filepath.Join(dir, "gray.png"), gray)
	writePNG(t, filepath.Join(dir, "clear.png"), clear)
	for _, compress := range []string{"None", "LZW", "Zip", "RLE"} {
		for _, test := range []struct {
			name, args string
			want       image.Image
			tolerance  int
		}{
			{"colour", "-depth 8 -type TrueColor", colour, 0},
			{"colour", "-depth 16 -type TrueColor", colour, 0},
			{"colour", "-depth 12 -type TrueColor", colour, 1},
			{"colour", "-depth 32 -type TrueColor", colour, 0},
			{"colour", "-depth 8 -type TrueColor -interlace plane", colour, 0},
			{"colour", "-depth 16 -type TrueColor -interlace plane", colour, 0},
			{"colour", "-endian MSB -depth 16 -type TrueColor", colour, 0},
			{"colour", "-depth 16 -define quantum:format=floating-point -type TrueColor", colour, 1},
			{"colour", "-depth 32 -define quantum:format=floating-point -type TrueColor", colour, 1},
			{"colour", "-depth 64 -define quantum:format=floating-point -type TrueColor", colour, 1},
			{"colour", "-endian MSB -depth 32 -define quantum:format=floating-point -type TrueColor", colour, 1},
			{"colour", "-depth 8 -colorspace CMYK", colour, 2},
			{"colour", "-depth 16 -colorspace CMYK", colour, 2},
			{"colour", "-depth 16 -colorspace CMYK -interlace plane", colour, 2},
			{"colour", "-depth 16 -colorspace Lab", colour, 3},
			{"gray", "-depth 8 -type Grayscale", gray, 0},
			{"gray", "-depth 16 -type Grayscale", gray, 0},
			{"gray", "-depth 12 -type Grayscale", gray, 1},
			{"clear", "-depth 8", clear, 0},
			{"clear", "-depth 16", clear, 0},
			{"clear", "-depth 8 -define tiff:alpha=associated", clear, 2},
			{"clear", "-depth 16 -define tiff:alpha=associated", clear, 2},
			{"clear", "-depth 8 -colorspace CMYK", clear, 2},
		} {
			args := append([]string{test.name + ".png"}, strings.Fields(test.args)...)
			// Some versions warn about tags and exit with 1, yet write the file.
			err := run(t, dir, convert, append(args, "-compress", compress, "out.tif")...)
			if _, missing := os.Stat(filepath.Join(dir, "out.tif")); missing != nil {
				t.Log(err)
				continue
			}
			t.Run(test.name+" "+test.args+" "+compress, func(t *testing.T) {
				compare(t, filepath.Join(dir, "out.tif"), test.want, test.tolerance)
			})
			os.Remove(filepath.Join(dir, "out.tif"))
		}
	}
}

// Files that libvips writes.
func TestLibvips(t *testing.T) {
	vips := tool(t, "vips")
	dir := t.TempDir()
	colour := testImage(200, 150, func(x, y int) color.Color { return color.NRGBA{byte(30 + x), byte(220 - x/2 - y), byte(60 + y), 255} })
	writePNG(t, filepath.Join(dir, "colour.png"), colour)
	for options, tolerance := range map[string]int{
		"tile": 0, "tile,compression=lzw": 0, "tile,bigtiff,compression=deflate,predictor=horizontal": 0, "compression=jpeg,Q=95": 8,
		"tile,pyramid": 0, "tile,pyramid,subifd": 0, "tile,pyramid,compression=jpeg,Q=95": 8, "compression=packbits": 0,
	} {
		if err := run(t, dir, vips, "copy", "colour.png", "out.tif["+options+"]"); err != nil {
			t.Log(err) // a version that lacks the option
			continue
		}
		t.Run(options, func(t *testing.T) { compare(t, filepath.Join(dir, "out.tif"), colour, tolerance) })
	}
	if err := run(t, dir, vips, "linear", "colour.png", "float.v", "0.00392156862745098", "0"); err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{"tile,compression=deflate,predictor=float", "compression=lzw,predictor=float"} {
		if err := run(t, dir, vips, "copy", "float.v", "out.tif["+options+"]"); err != nil {
			t.Log(err)
			continue
		}
		t.Run(options, func(t *testing.T) { compare(t, filepath.Join(dir, "out.tif"), colour, 1) })
	}
	for _, options := range []string{"compression=zstd", "compression=webp,lossless"} {
		if err := run(t, dir, vips, "copy", "colour.png", "out.tif["+options+"]"); err != nil {
			t.Log(err)
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "out.tif"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config(data); err == nil {
			t.Errorf("%s is not refused", options)
		}
	}
}

// The test pictures of golang.org/x/image have the pixels that it finds.
func TestOracleFiles(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/image").Output()
	if err != nil {
		t.Skip("no go command")
	}
	files, _ := filepath.Glob(filepath.Join(string(bytes.TrimSpace(out)), "testdata", "*.tiff"))
	if len(files) == 0 {
		t.Skip("no test pictures of golang.org/x/image")
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := xtiff.Decode(bytes.NewReader(data))
		if err != nil {
			continue // broken on purpose
		}
		compare(t, file, want, 1)
	}
}

package ffmpeg

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A picture costs one process, whatever its format, and is never taken for a video. Decode and Extract return the same.
func TestStills(t *testing.T) {
	t.Parallel()
	probeSystem(t)
	dir := t.TempDir()
	makeCover(t, dir, "cover.png")
	makeBars(t, dir)
	avif := []string{"-c:v", "libaom-av1", "-cpu-used", "8"}
	names := []string{"still.avif", "still.jxl", "still.jp2", "still.tiff", "still.bmp", "still.webp", "still.gif", "still.jpg", "still.exr", "still.ppm"}
	if isFull() {
		names = append(names, "still.j2k", "still.qoi", "still.pgm")
	}
	outputs := [][]string{
		{"-vf", "scale=4000:100", "large.bmp"},
		{"-vf", "format=rgba,colorchannelmixer=aa=0.5", "transparent.tiff"},
		slices.Concat([]string{"-map", "1", "-vf", toHDR("smpte2084")}, avif, []string{"-color_primaries", "bt2020", "-color_trc", "smpte2084",
			"-colorspace", "bt2020nc", "hdr.avif"}),
	}
	for _, name := range names {
		args := []string{name}
		if name == "still.avif" {
			args = append(avif, name)
		}
		outputs = append(outputs, args)
	}
	for i, args := range outputs {
		if args[0] != "-map" {
			outputs[i] = append([]string{"-map", "0"}, args...)
		}
	}
	makeFiles(t, dir, []string{"-i", "cover.png", "-i", "bars.png"}, outputs...)
	decodeFile := func(t *testing.T, name string) []byte {
		t.Helper()
		data, err := system.Decode(t.Context(), readFile(t, madeFile(t, dir, name)), Caller{})
		if err != nil {
			t.Fatalf("%v\n%s", err, messages(err))
		}
		return data
	}

	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := decodeFile(t, name)
			img := decode(t, data)
			if got := img.Bounds().Size(); got != image.Pt(120, 100) {
				t.Errorf("got %v", got)
			}
			isSharp(t, img)
			if !isWhole(data) {
				t.Error("the picture is not a PNG, so it was taken for a frame")
			}
			same, n, err := extractCounted(t, filepath.Join(dir, name))
			if err != nil || n != 1 || !bytes.Equal(same, data) {
				t.Errorf("Extract returned %d other bytes from %d processes, %v", len(same), n, err)
			}
		})
	}
	t.Run("HDR", func(t *testing.T) {
		t.Parallel()
		// Package render converts the colours, with the profile of package heif.
		if data := decodeFile(t, "hdr.avif"); !bytes.Contains(data, []byte("iCCP")) {
			t.Error("no profile")
		}
	})
	t.Run("large", func(t *testing.T) {
		if got := decode(t, decodeFile(t, "large.bmp")).Bounds().Size(); got != image.Pt(2048, 51) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("transparent", func(t *testing.T) {
		if _, _, _, a := decode(t, decodeFile(t, "transparent.tiff")).At(9, 9).RGBA(); a>>8 < 120 || a>>8 > 135 {
			t.Errorf("got alpha %d", a>>8)
		}
	})
}

// The largest picture of an icon is decoded, including its transparency.
func TestIcon(t *testing.T) {
	t.Parallel()
	red, green := color.NRGBA{255, 0, 0, 128}, color.NRGBA{0, 255, 0, 128}
	path := filepath.Join(t.TempDir(), "icon")
	if err := os.WriteFile(path, icon(plainPNG(16, red), plainPNG(256, green), plainPNG(48, red)), 0o600); err != nil {
		t.Fatal(err)
	}
	data, n, err := extractCounted(t, path)
	if err != nil || n != 1 {
		t.Fatalf("%d processes, %v", n, err)
	}
	img := decode(t, data)
	if size := img.Bounds().Size(); size != image.Pt(256, 256) {
		t.Errorf("got %v", size)
	}
	if got := color.NRGBAModel.Convert(img.At(9, 9)).(color.NRGBA); got.G < 250 || got.A < 120 || got.A > 135 {
		t.Errorf("got %v", got)
	}
}

// plainPNG returns a square picture of one colour.
func plainPNG(size int, c color.NRGBA) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	for i := range size * size {
		copy(img.Pix[4*i:], []byte{c.R, c.G, c.B, c.A})
	}
	var b bytes.Buffer
	png.Encode(&b, img)
	return b.Bytes()
}

// icon returns an ICO file of square PNG pictures.
func icon(pictures ...[]byte) []byte {
	file := []byte{0, 0, 1, 0, byte(len(pictures)), 0}
	offset := len(file) + 16*len(pictures)
	for _, p := range pictures {
		size := p[len(pngMagic)+8+3] // the last byte of the width in IHDR, in which 256 is 0
		file = append(file, size, size, 0, 0, 1, 0, 32, 0)
		file = binary.LittleEndian.AppendUint32(file, uint32(len(p)))
		file = binary.LittleEndian.AppendUint32(file, uint32(offset))
		offset += len(p)
	}
	return append(file, bytes.Join(pictures, nil)...)
}

func TestIsStill(t *testing.T) {
	for data, want := range map[string]bool{
		"\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00\x01\x00\x20\x00\x68\x04\x00\x00\x16\x00\x00\x00": true,
		"\x00\x00\x01\x00\x10\x16\xff\xf8\x00\x00\x01\xb8\x00\x08\x00\x40\x00\x00\x01\x00\x00\x0f": false, // MPEG video
		"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00":                                                 true,
		"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00":                                                 false,
		"P6\n1 1 255\n": true,
		"PK\x03\x04":    false,
		"P6":            false,
		"":              false,
	} {
		if got := isStill(strings.NewReader(data)); got != want {
			t.Errorf("%q: got %v", data, got)
		}
	}
}

// A picture of one colour is not taken for a damaged one.
func TestPlainStills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var outputs [][]string
	for i, ext := range []string{"png", "jpg", "gif", "bmp", "tiff", "webp"} {
		small, large := []string{"-map", "0", "-frames:v", "1", "small." + ext}, []string{"-map", "1", "-frames:v", "1", "large." + ext}
		if isFull() || i%2 == 0 {
			outputs = append(outputs, small)
		}
		if isFull() || i%2 == 1 {
			outputs = append(outputs, large)
		}
	}
	makeFiles(t, dir, []string{"-f", "lavfi", "-i", "color=white:s=2x2", "-f", "lavfi", "-i", "color=white:s=300x200"}, outputs...)
	for _, args := range outputs {
		name := args[len(args)-1]
		data, err := extract(t, system, madeFile(t, dir, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r, g, b, _ := decode(t, data).At(1, 1).RGBA(); min(r, g, b) < 0xf000 {
			t.Errorf("%s is %d %d %d", name, r, g, b)
		}
	}
}

// The part of a truncated picture that exists is decoded.
func TestTruncated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := []string{"-frames:v", "1"}
	makeFiles(t, dir, []string{"-f", "lavfi", "-i", "mandelbrot=s=400x300"}, append(one, "-q:v", "1", "cut.jpg"), append(one, "cut.png"),
		append(one, "cut.gif"), append(one, "-lossless", "1", "cut.webp"), append(one, "cut.bmp"))
	whole := decode(t, readFile(t, madeFile(t, dir, "cut.png")))
	for _, tt := range []struct {
		name string
		from int // the first of 100 lines that exist
	}{{"cut.jpg", 0}, {"cut.png", 0}, {"cut.gif", 0}, {"cut.webp", 0}, {"cut.bmp", 180}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := readFile(t, madeFile(t, dir, tt.name))
			got, err := system.Decode(t.Context(), data[:len(data)/2], Caller{})
			if err != nil {
				t.Fatalf("%v\n%s", err, messages(err))
			}
			img := decode(t, got)
			if img.Bounds() != whole.Bounds() {
				t.Fatalf("got %v", img.Bounds())
			}
			sum := 0
			for y := tt.from; y < tt.from+100; y++ {
				for x := range 400 {
					d := grey(img, x, y) - grey(whole, x, y)
					sum += max(d, -d)
				}
			}
			if mean := sum / 100 / 400; mean > 16 { // GIF has few colours
				t.Errorf("differs by %d", mean)
			}

			// The header alone is not enough. TestDecodeVerdicts shows the same of headers without any data.
			if !isFull() {
				return
			}
			if _, err := system.Decode(t.Context(), data[:min(len(data)/50, 300)], Caller{}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("the first bytes: got %v", err)
			}
		})
	}
}

// The missing part of a JPEG is dark instead of green. A JPEG without any of its data is corrupt.
func TestDamagedJPEG(t *testing.T) {
	t.Parallel()
	data := readFile(t, makeFile(t, t.TempDir(), "whole.jpg", "-f", "lavfi", "-i", "mandelbrot=s=800x600", "-frames:v", "1", "-q:v", "1"))
	half, err := system.Decode(t.Context(), data[:len(data)/2], Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if r, g, b, _ := decode(t, half).At(400, 590).RGBA(); r>>8 > 40 || g>>8 > 40 || b>>8 > 40 {
		t.Errorf("the lower half is %d %d %d", r>>8, g>>8, b>>8)
	}
	scan := bytes.Index(data, []byte("\xff\xda")) + 14
	tails := map[string][]byte{"few zeros": make([]byte, 20000), "text": bytes.Repeat([]byte("some text "), 1000), "end": []byte(jpegEnd)}
	if isFull() {
		tails["nothing"], tails["zeros"] = nil, make([]byte, len(data))
	}
	for name, tail := range tails {
		if _, err := system.Decode(t.Context(), append(data[:scan:scan], tail...), Caller{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s instead of the picture: got %v", name, err)
		}
	}
}

// ffmpeg does not apply the orientation of a JPEG, and the PNG includes the EXIF data.
func TestOrientation(t *testing.T) {
	needFFmpeg(t)
	data := readFile(t, makeCover(t, t.TempDir(), "cover.jpg"))
	exif := []byte("MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00")
	app1 := binary.BigEndian.AppendUint16([]byte("\xff\xe1"), uint16(2+6+len(exif)))
	app1 = append(append(app1, "Exif\x00\x00"...), exif...)
	data = append(append([]byte("\xff\xd8"), app1...), data[2:]...)
	got, err := system.Decode(t.Context(), data[:len(data)*3/4], Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if size := decode(t, got).Bounds().Size(); size != image.Pt(120, 100) {
		t.Errorf("got %v", size)
	}
	if i := bytes.Index(got, append([]byte("eXIf"), exif...)); i != len(pngMagic)+8+13+4+4 {
		t.Errorf("the EXIF chunk is at %d", i)
	}
}

func TestDecodeVerdicts(t *testing.T) {
	t.Parallel()
	needFFmpeg(t)
	for name, data := range map[string]string{
		"nothing":  "",
		"text":     strings.Repeat("All work and no play. ", 100),
		"zeros":    string(make([]byte, 10000)),
		"SVG":      `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`,
		"playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/dev/zero\n#EXT-X-ENDLIST\n",
		"ffconcat": "ffconcat version 1.0\nfile secret.ts\n",
		"HEIC":     "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + string(make([]byte, 1000)),
		"too many": string(header(30000, 30000)) + pngEnd,
	} {
		if _, err := system.Decode(t.Context(), []byte(data), Caller{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, data := range map[string]string{
		"PNG": string(header(100, 100)) + pngEnd, "JPEG": jpegMagic, "GIF": "GIF89a", "TIFF": "II*\x00" + string(make([]byte, 100)),
		"WebP": "RIFF\x00\x00\x00\x00WEBPVP8 ", "BMP": "BM" + string(make([]byte, 12)) + "\x28" + string(make([]byte, 100)),
	} {
		if _, err := system.Decode(t.Context(), []byte(data), Caller{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v", name, err)
		}
	}

	// Messages of other builds.
	opened := "Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'fd:':\n  Duration: N/A, start: 0.000000, bitrate: N/A\n" +
		"  Stream #0:0[0x1]: Video: av1 (av01 / 0x31307661), yuv420p, 64x64\n"
	avif := "\x00\x00\x00\x18ftypavif"
	for messages, want := range map[string]error{
		"[mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] moov atom not found\nfd:: Invalid data found when processing input\n":     ErrUnsupported,
		opened + "Decoder (codec av1) not found for input stream #0:0\n":                                           ErrUnsupported,
		opened + "[vist#0:0/av1 @ 0x1] Decoding requested, but no decoder found for: av1\n":                        ErrUnsupported,
		opened + "[av1 @ 0x1] Your platform doesn't suppport hardware accelerated AV1 decoding.\n":                 ErrUnsupported,
		opened + "[libdav1d @ 0x1] Error parsing OBU data\nError while decoding stream #0:0: Invalid data found\n": ErrCorrupt,
		opened + "[AVFilterGraph @ 0x1] No such filter: 'format'\nError opening output files: Filter not found\n":  nil,
		opened + "fd:: Input/output error\n": nil,
		opened + "[dec:webp @ 0x1] Error submitting packet to decoder: Invalid data found when processing input\n" +
			"[graph -1 input from stream 0:0 @ 0x1] Unable to parse option value \"0x0\" as image size\nError initializing filters!\n": ErrCorrupt,
		"": nil,
	} {
		tool := &Tool{Path: fakeFFmpeg(t, "cat >&2 <<'EOF'\n"+messages+"EOF\nexit 1")}
		_, err := tool.Decode(t.Context(), []byte(avif), Caller{})
		if want != nil && !errors.Is(err, want) || want == nil && (err == nil || isPermanent(err)) {
			t.Errorf("%s\ngot %v, want %v", messages, err, want)
		}
	}
	tool := &Tool{Path: fakeFFmpeg(t, "echo \"[in#0 @ 0x1] Unknown input format: 'jpeg_pipe'\" >&2; exit 1")}
	if _, err := tool.Decode(t.Context(), []byte(jpegMagic), Caller{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a build without JPEG: got %v", err)
	}
	for _, script := range []string{"kill -9 $$", "kill -SEGV $$"} {
		if _, err := (&Tool{Path: fakeFFmpeg(t, script)}).Decode(t.Context(), []byte(jpegMagic), Caller{}); err == nil || isPermanent(err) {
			t.Errorf("%s: got %v", script, err)
		}
	}
}

// header returns the magic and the IHDR chunk of a PNG.
func header(w, h uint32) []byte {
	data := binary.BigEndian.AppendUint32(nil, w)
	data = binary.BigEndian.AppendUint32(data, h)
	return append([]byte(pngMagic), chunk("IHDR", append(data, 8, 2, 0, 0, 0))...)
}

// chunk returns a chunk of a PNG.
func chunk(name string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// bomb returns a small PNG with 500 MB of colour profile.
func bomb() []byte {
	const mib, most = 1 << 20, 500
	var b bytes.Buffer
	z, _ := zlib.NewWriterLevel(&b, zlib.BestSpeed)
	z.Write(make([]byte, mib))
	z.Flush() // ends on a whole byte, so the bytes of the next megabyte can be repeated
	first := b.Len()
	z.Write(make([]byte, mib))
	z.Flush()
	data := append([]byte("x\x00\x00"), b.Bytes()...)
	data = append(data, bytes.Repeat(b.Bytes()[first:], most-2)...)
	first = b.Len()
	z.Close()
	end := b.Bytes()[first:]
	binary.BigEndian.PutUint32(end[len(end)-4:], most*mib%65521<<16|1) // the Adler-32 of zeros
	return append(header(64, 64), chunk("iCCP", append(data, end...))...)
}

func TestMendPNG(t *testing.T) {
	whole := append(append(header(9, 9), chunk("IDAT", make([]byte, 100))...), pngEnd...)
	if got := mendPNG(whole); !bytes.Equal(got, whole) {
		t.Error("a whole picture was changed")
	}
	for n := range len(whole) {
		data := bytes.Clone(whole[:n])
		got := mendPNG(data)
		if !bytes.Equal(data, whole[:n]) {
			t.Fatal("the original was changed")
		}
		if n < len(pngMagic) {
			if !bytes.Equal(got, data) {
				t.Errorf("%d bytes were changed", n)
			}
			continue
		}
		// It consists of whole chunks, ends with IEND, and is not shorter than before.
		rest := got[len(pngMagic):]
		for len(rest) > len(pngEnd) {
			rest = rest[min(len(rest), int(binary.BigEndian.Uint32(rest))+12):]
		}
		if string(rest) != pngEnd || len(got) < n {
			t.Errorf("%d bytes became %q", n, got)
		}
	}
}

func TestBuild(t *testing.T) {
	path := fakeFFmpeg(t, "true")
	tool := &Tool{Path: path}
	first := tool.Build()
	if first == "" || first != tool.Build() || strings.Contains(first, "/") {
		t.Errorf("got %q, then %q", first, tool.Build())
	}
	os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour))
	if got := tool.Build(); got == first || got == "" {
		t.Errorf("replaced: got %q", got)
	}
	os.Remove(path)
	if got := tool.Build(); got != "" {
		t.Errorf("removed: got %q", got)
	}
}

package ffmpeg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/thumbcache/thumbcache/internal/heif"
)

// profileOf returns the ICC profile of a JPEG that has it in one segment, or nil.
func profileOf(data []byte) []byte {
	_, profile, found := bytes.Cut(data, []byte("ICC_PROFILE\x00\x01\x01"))
	if !found {
		return nil
	}
	return profile[:binary.BigEndian.Uint32(profile)]
}

// iccTag returns the data of a tag of an ICC profile.
func iccTag(t *testing.T, profile []byte, name string) []byte {
	t.Helper()
	for entry := profile[132:]; len(entry) >= 12; entry = entry[12:] {
		if string(entry[:4]) == name {
			at, n := binary.BigEndian.Uint32(entry[4:]), binary.BigEndian.Uint32(entry[8:])
			return profile[at : at+n]
		}
	}
	t.Fatalf("the profile has no %s", name)
	return nil
}

// A convertedImage shows an image in sRGB that has the primaries of an ICC profile.
type convertedImage struct {
	image.Image
	primaries [3][3]float64 // XYZ of full red, green and blue
}

func withPrimaries(t *testing.T, img image.Image, profile []byte) convertedImage {
	t.Helper()
	c := convertedImage{Image: img}
	for i, name := range []string{"rXYZ", "gXYZ", "bXYZ"} {
		for j := range 3 {
			c.primaries[i][j] = float64(int32(binary.BigEndian.Uint32(iccTag(t, profile, name)[8+4*j:]))) / 65536
		}
	}
	return c
}

// At converts the colour of a pixel.
func (c convertedImage) At(x, y int) color.Color {
	toLinear := func(v uint8) float64 {
		if f := float64(v) / 255; f > 0.04045 {
			return math.Pow((f+0.055)/1.055, 2.4)
		}
		return float64(v) / 255 / 12.92
	}
	fromLinear := func(f float64) uint8 {
		if f = max(0, min(1, f)); f > 0.0031308 {
			f = 1.055*math.Pow(f, 1/2.4) - 0.055
		} else {
			f *= 12.92
		}
		return uint8(math.Round(f * 255))
	}
	rgb := color.RGBAModel.Convert(c.Image.At(x, y)).(color.RGBA)
	var xyz [3]float64
	for i, v := range []uint8{rgb.R, rgb.G, rgb.B} {
		for j := range 3 {
			xyz[j] += toLinear(v) * c.primaries[i][j]
		}
	}
	// From XYZ relative to D50 to linear sRGB.
	return color.RGBA{
		fromLinear(3.1338561*xyz[0] - 1.6168667*xyz[1] - 0.4906146*xyz[2]),
		fromLinear(-0.9787684*xyz[0] + 1.9161415*xyz[1] + 0.0334540*xyz[2]),
		fromLinear(0.0719453*xyz[0] - 0.2289914*xyz[1] + 1.4052427*xyz[2]),
		255,
	}
}

func TestWithProfile(t *testing.T) {
	profile := heif.ProfileOf("bt2020", "iec61966-2-1")
	frame := paint(t, tiles(1, 1))
	got := withProfile(frame, profile)
	if profile == nil || !bytes.Equal(profileOf(got), profile) {
		t.Error("the profile is not in the JPEG")
	}
	decode(t, got)
	if !bytes.Equal(withProfile(frame, nil), frame) {
		t.Error("no profile changes the JPEG")
	}
	for _, data := range []string{"\xff\xd8", "\xff\xd8\xff\xe0\xff\xff" + string(make([]byte, 30))} {
		withProfile([]byte(data), profile) // must not panic
		withPNGProfile([]byte(data), profile)
	}
}

// A video with wide primaries and without HDR has a profile, with which its colours are right.
func TestWideGamut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeBars(t, dir)
	for name, tags := range map[string][3]string{ // primaries, transfer and matrix
		"bt2020":   {"bt2020", "bt2020-10", "bt2020nc"},
		"smpte432": {"smpte432", "bt709", "bt709"},
	} {
		filters := fmt.Sprintf("loop=50:1,format=gbrp,zscale=tin=iec61966-2-1:pin=bt709:min=gbr:t=iec61966-2-1:p=%s:m=%s:r=tv,format=yuv420p",
			tags[0], strings.Replace(tags[2], "bt2020nc", "2020_ncl", 1))
		path := makeFile(t, dir, name+".mp4", "-i", "bars.png", "-vf", filters, "-frames:v", "30", "-c:v", "libx264", "-preset", "ultrafast",
			"-color_primaries", tags[0], "-color_trc", tags[1], "-colorspace", tags[2])
		data, n, err := extractCounted(t, path)
		if err != nil || n > 2 {
			t.Errorf("%s: %d processes, %v\n%s", name, n, err, messages(err))
			continue
		}
		profile := profileOf(data)
		if profile == nil {
			t.Errorf("%s: the frame has no profile", name)
			continue
		}
		isBars(t, withPrimaries(t, decode(t, data), profile))
	}
}

// The colours are those of ffmpeg's own conversion, except for the tone curve.
func TestSharedWideGamut(t *testing.T) {
	t.Parallel()
	for _, c := range sharedCases(t, "video-wide-gamut-sdr") {
		data, err := extract(t, system, c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		profile := profileOf(data)
		if profile == nil {
			t.Errorf("%s: the frame has no profile", c.path)
			continue
		}
		path, err := filepath.Abs(c.path)
		if err != nil {
			t.Fatal(err)
		}
		got, want := withPrimaries(t, decode(t, data), profile), decode(t, readFile(t, makeFile(t, t.TempDir(), "want.png", "-i", path,
			"-frames:v", "1", "-vf", "zscale=m=gbr:p=709:t=709,format=gbrp,format=rgb24")))
		size := want.Bounds().Size()
		for i := range 4 {
			x, y := size.X/4+i%2*size.X/2, size.Y/4+i/2*size.Y/2
			got, want := color.RGBAModel.Convert(got.At(x, y)).(color.RGBA), color.RGBAModel.Convert(want.At(x, y)).(color.RGBA)
			if !isNear(got, want, 14) {
				t.Errorf("%s: got %v at %d,%d, want %v", c.path, got, x, y, want)
			}
		}
	}
}

// A PNG by ffmpeg does not have the gamma of cameras.
func TestCorrectGamma(t *testing.T) {
	gama := func(n uint32) []byte { return chunk("gAMA", binary.BigEndian.AppendUint32(nil, n)) }
	for _, tt := range []struct{ from, to uint32 }{{50994, 45455}, {45455, 45455}, {100000, 100000}} {
		data := bytes.Join([][]byte{header(9, 9), gama(tt.from), chunk("IDAT", nil), gama(50994), []byte(pngEnd)}, nil)
		want := bytes.Join([][]byte{header(9, 9), gama(tt.to), chunk("IDAT", nil), gama(50994), []byte(pngEnd)}, nil)
		if correctGamma(data); !bytes.Equal(data, want) {
			t.Errorf("%d: got %q, want %q", tt.from, data, want)
		}
	}
	for n := range 60 {
		correctGamma(append(header(9, 9), gama(1)...)[:n]) // must not panic
	}
}

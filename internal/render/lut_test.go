package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// tableLab is the CIELAB colour of ink in the profiles that the tests make: a function that is linear between the nodes.
func tableLab(c, m, y, k float64) (l, a, b float64) {
	l = (100 - 40*c - 45*m - 10*y) * (1 - k)
	return max(0, l), (-40*c + 70*m) * (1 - k), (-50*c + 90*y - 5*m) * (1 - k)
}

// eachNode calls f for the nodes of a grid of two points for each ink.
func eachNode(f func(c, m, y, k float64)) {
	for i := range 16 {
		f(float64(i>>3), float64(i>>2&1), float64(i>>1&1), float64(i&1))
	}
}

func encodeByte(v float64) byte { return byte(math.Round(max(0, min(v, 255)))) }
func encodeWord(v float64) []byte {
	return binary.BigEndian.AppendUint16(nil, uint16(math.Round(max(0, min(v, 65535)))))
}
func identityBytes(channels int) (b []byte) {
	for range channels {
		for i := range 256 {
			b = append(b, byte(i))
		}
	}
	return b
}

// lut8, lut16 and lutStages return the same table in the three types of ICC.
func lut8(inputs, points byte) []byte {
	b := append([]byte("mft1\x00\x00\x00\x00"), inputs, 3, points, 0)
	b = fixedPoint(b, 1, 0, 0, 0, 1, 0, 0, 0, 1)
	b = append(b, identityBytes(int(inputs))...)
	eachNode(func(c, m, y, k float64) {
		l, a, bb := tableLab(c, m, y, k)
		b = append(b, encodeByte(l*2.55), encodeByte(a+128), encodeByte(bb+128))
	})
	return append(b, identityBytes(3)...)
}

func lut16() []byte {
	b := []byte("mft2\x00\x00\x00\x00\x04\x03\x02\x00")
	b = fixedPoint(b, 1, 0, 0, 0, 1, 0, 0, 0, 1)
	b = append(b, 0, 2, 0, 2)
	for range 4 {
		b = append(b, 0, 0, 0xff, 0xff)
	}
	eachNode(func(c, m, y, k float64) {
		l, a, bb := tableLab(c, m, y, k)
		b = append(b, encodeWord(l*652.8)...)
		b = append(b, encodeWord((a+128)*256)...)
		b = append(b, encodeWord((bb+128)*256)...)
	})
	for range 3 {
		b = append(b, 0, 0, 0xff, 0xff)
	}
	return b
}

// lutStages has curves of all kinds, which cancel out.
func lutStages() []byte {
	b := append([]byte("mAB \x00\x00\x00\x00\x04\x03\x00\x00"), make([]byte, 20)...)
	offset := func(field int) { binary.BigEndian.PutUint32(b[field:], uint32(len(b))) }
	identity := []byte("curv\x00\x00\x00\x00\x00\x00\x00\x00")
	offset(12) // B
	for range 3 {
		b = append(b, gammaCurve(0.5)...)
		b = append(b, 0, 0) // to a multiple of four
	}
	offset(16) // matrix
	b = fixedPoint(b, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
	offset(20) // M
	for range 3 {
		b = append(b, fixedPoint([]byte("para\x00\x00\x00\x00\x00\x00\x00\x00"), 2)...)
	}
	offset(24)
	b = append(b, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0)
	eachNode(func(c, m, y, k float64) {
		l, a, bb := tableLab(c, m, y, k)
		b = append(b, encodeWord(l*655.35)...)
		b = append(b, encodeWord((a+128)*257)...)
		b = append(b, encodeWord((bb+128)*257)...)
	})
	offset(28) // A
	for range 4 {
		b = append(b, identity...)
	}
	return b
}

func cmykProfile(table []byte) []byte {
	return buildICC("CMYK", "Lab ", map[string][]byte{"A2B0": table})
}

// All three types of tables give the colours that their nodes describe.
func TestLUT(t *testing.T) {
	for name, table := range map[string][]byte{"lut8Type": lut8(4, 2), "lut16Type": lut16(), "lutAToBType": lutStages()} {
		lut, ok := readLUT(cmykProfile(table), 4)
		if !ok {
			t.Errorf("%s: not read", name)
			continue
		}
		if lut.black > 0.001 {
			t.Errorf("%s: black has luminance %v", name, lut.black)
		}
		for _, ink := range [][4]byte{{0, 0, 0, 0}, {255, 0, 0, 0}, {0, 255, 0, 0}, {0, 0, 255, 0}, {0, 0, 0, 255}, {0, 0, 0, 128}, {255, 0, 255, 0}, {0, 255, 255, 51}} {
			// Interpolating is linear in Lab, as tableLab is between its nodes.
			l, a, b := tableLab(float64(ink[0])/255, float64(ink[1])/255, float64(ink[2])/255, float64(ink[3])/255)
			var want [3]float32
			labToXYZ(&want, float32(l), float32(a), float32(b))
			got := lut.xyz(&ink)
			for i := range want {
				if d := math.Abs(float64(got[i] - want[i])); d > 0.012 {
					t.Errorf("%s, ink %v: XYZ %.3f, want %.3f", name, ink, got, want)
				}
			}
		}
	}
}

// A CMYK JPEG is converted by its profile, and without one or with a broken one by arithmetic.
func TestCMYKProfile(t *testing.T) {
	plain := readTestdata(t, "cmyk.jpg")
	// What the profile makes of the ink of the first quarter.
	table, _ := readLUT(cmykProfile(lut16()), 4)
	row := []byte{35, 225, 225, 255}
	table.convert(row, []byte{0})
	for name, test := range map[string]struct {
		icc  []byte
		want color.NRGBA
	}{
		"none":              {nil, quarterColours[0]},
		"profile":           {cmykProfile(lut16()), color.NRGBA{row[0], row[1], row[2], 255}},
		"cut":               {cmykProfile(lut16()[:100]), quarterColours[0]},
		"of RGB":            {displayP3(), quarterColours[0]},
		"other grid":        {cmykProfile(lut8(4, 200)), quarterColours[0]},
		"grid of one point": {cmykProfile(lut8(4, 1)), quarterColours[0]},
		"more inputs":       {cmykProfile(lut8(15, 2)), quarterColours[0]},
	} {
		data := plain
		if test.icc != nil {
			data = embed(t, "jpeg", plain, test.icc)
		}
		for _, o := range []Options{{PNG: true}, {Size: 30, Quality: 95}} {
			img, err := Make(context.Background(), data, o)
			if err != nil {
				t.Fatal(err)
			}
			near(t, fmt.Sprintf("%s, %+v", name, o), decodeThumb(t, img).At(img.Width/4, img.Height/4), test.want, 8)
			if bytes.Contains(img.Data, []byte("CMYKLab")) {
				t.Errorf("%s: the thumbnail has a CMYK profile", name)
			}
		}
	}
}

// A profile of RGB that has a table converts too.
func TestRGBTable(t *testing.T) {
	table := []byte("mft2\x00\x00\x00\x00\x03\x03\x02\x00")
	table = fixedPoint(table, 1, 0, 0, 0, 1, 0, 0, 0, 1)
	table = append(table, 0, 2, 0, 2)
	for range 3 {
		table = append(table, 0, 0, 0xff, 0xff)
	}
	for i := range 8 { // L* is the mean of red and blue; there is no colour
		l := float64(i>>2+i&1) * 50
		table = append(append(table, encodeWord(l*652.8)...), 0x80, 0, 0x80, 0)
	}
	for range 3 {
		table = append(table, 0, 0, 0xff, 0xff)
	}
	data := embed(t, "png", encodeAs(t, "png", uniform(20, 20, color.NRGBA{255, 77, 0, 255})), buildICC("RGB ", "Lab ", map[string][]byte{"A2B0": table}))
	for _, o := range []Options{{PNG: true}, {Quality: 95}} {
		img, err := Make(context.Background(), data, o)
		if err != nil {
			t.Fatal(err)
		}
		near(t, fmt.Sprintf("%+v", o), decodeThumb(t, img).At(10, 10), color.NRGBA{119, 119, 119, 255}, 2)
	}
}

// The conversion agrees with that of Little CMS: relative colorimetric with black point compensation.
func TestAgainstLittleCMS(t *testing.T) {
	transicc, err := exec.LookPath("transicc")
	if err != nil {
		t.Skip("Little CMS is not installed: apt-get install liblcms2-utils")
	}
	found := false
	for _, path := range []string{"/usr/share/color/icc/ghostscript/default_cmyk.icc", "/usr/share/color/icc/ghostscript/ps_cmyk.icc"} {
		icc, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		found = true
		table, ok := readLUT(icc, 4)
		if !ok {
			t.Errorf("%s: not read", path)
			continue
		}
		r := rand.New(rand.NewPCG(1, 2))
		var inks [][4]byte
		var input strings.Builder
		for i := range 2000 {
			ink := [4]byte{byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256) * (i % 2))}
			inks = append(inks, ink)
			for _, v := range ink {
				fmt.Fprintf(&input, "%.5f ", float64(v)/2.55)
			}
			input.WriteByte('\n')
		}
		cmd := exec.Command(transicc, "-i"+path, "-o*sRGB", "-t1", "-b", "-n", "-s")
		cmd.Stdin = strings.NewReader(input.String())
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(lines) < len(inks) {
			t.Fatalf("%d lines of transicc, want %d", len(lines), len(inks))
		}
		var sum float64
		worst := 0.0
		for i, line := range lines[len(lines)-len(inks):] {
			var want [3]float64
			if _, err := fmt.Sscan(line, &want[0], &want[1], &want[2]); err != nil {
				t.Fatal(err)
			}
			row := []byte{inks[i][0], inks[i][1], inks[i][2], 255}
			table.convert(row, inks[i][3:])
			for c, w := range want {
				d := math.Abs(float64(row[c]) - w)
				sum += d
				worst = max(worst, d)
			}
		}
		mean := sum / float64(3*len(inks))
		t.Logf("%s: off by %.2f on average, by %.1f at most", path, mean, worst)
		// Little CMS interpolates in tetrahedra, which differs if the nodes are far apart, as in ps_cmyk.icc.
		if mean > 2 || worst > 3 && strings.Contains(path, "default") {
			t.Errorf("%s: off by %.2f on average, by %.1f at most", path, mean, worst)
		}
	}
	if !found {
		t.Skip("no CMYK profiles here: apt-get install ghostscript")
	}
}

func FuzzLUT(f *testing.F) {
	f.Add(lut8(4, 2), "Lab ")
	f.Add(lut16(), "Lab ")
	f.Add(lutStages(), "XYZ ")
	f.Fuzz(func(t *testing.T, table []byte, connection string) {
		if len(connection) != 4 {
			return
		}
		icc := buildICC("CMYK", connection, map[string][]byte{"A2B0": table, "B2A0": table})
		for _, inputs := range []int{3, 4} {
			if lut, ok := readLUT(icc, inputs); ok {
				row := []byte{0, 128, 255, 255, 1, 2, 3, 255}
				lut.convert(row, []byte{0, 200})
			}
		}
	})
}

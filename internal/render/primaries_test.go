package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"math"
	"testing"
)

// The matrices agree with those of published ICC profiles.
func TestPrimariesToXYZ(t *testing.T) {
	for name, test := range map[string]struct {
		p   primaries
		icc []byte
	}{
		"sRGB": {primSRGB, sRGB(srgbTable())}, "Display P3": {primP3, displayP3()}, "Adobe RGB": {primAdobe, adobeRGB()},
	} {
		got, ok := test.p.toXYZ()
		if !ok {
			t.Fatal(name)
		}
		for j, tagName := range []string{"rXYZ", "gXYZ", "bXYZ"} {
			xyz := tag(test.icc, tagName)
			for i := range 3 {
				if want := fixed(xyz[8+4*i:]); math.Abs(got[i][j]-want) > 0.001 {
					t.Errorf("%s, %s: got %.4f, want %.4f", name, tagName, got[i][j], want)
				}
			}
		}
	}
	for _, p := range []primaries{{}, {{0.3, 0.3}, {0.3, 0.3}, {0.3, 0.3}, whiteD65}, {{0.64, 0.33}, {0.3, 0.6}, {0.15, 0.06}, {0.3, 0}}} {
		if _, ok := p.toSRGB(); ok {
			t.Errorf("%v: a matrix, want none", p)
		}
	}
}

func gamaChunk(gamma uint32) []byte {
	return makePNGChunk("gAMA", binary.BigEndian.AppendUint32(nil, gamma))
}

func chrmChunk(p primaries) []byte {
	var b []byte
	for _, i := range []int{3, 0, 1, 2} {
		b = binary.BigEndian.AppendUint32(b, uint32(math.Round(p[i].x*100000)))
		b = binary.BigEndian.AppendUint32(b, uint32(math.Round(p[i].y*100000)))
	}
	return makePNGChunk("cHRM", b)
}

func cicpChunk(primaries, transfer byte) []byte {
	return makePNGChunk("cICP", []byte{primaries, transfer, 0, 1})
}

// The colour chunks of a PNG are applied in their order of precedence: cICP, iCCP, sRGB, gAMA and cHRM.
func TestPNGColourChunks(t *testing.T) {
	p3Red, red := color.NRGBA{234, 51, 35, 255}, color.NRGBA{255, 0, 0, 255}
	middle := color.NRGBA{128, 128, 128, 255}
	grey := func(v uint8) color.NRGBA { return color.NRGBA{v, v, v, 255} }
	p3 := iccpChunk(displayP3())
	srgb := makePNGChunk("sRGB", []byte{0})
	bad := func(chunk []byte) []byte {
		chunk = bytes.Clone(chunk)
		chunk[len(chunk)-1] ^= 1
		return chunk
	}
	for name, test := range map[string]struct {
		chunks   [][]byte
		from, to color.NRGBA
	}{
		"none":                           {nil, p3Red, p3Red},
		"linear":                         {[][]byte{gamaChunk(100000)}, color.NRGBA{220, 30, 30, 255}, color.NRGBA{239, 96, 96, 255}},
		"gamma 1.8":                      {[][]byte{gamaChunk(55556)}, middle, grey(145)},
		"gamma of sRGB":                  {[][]byte{gamaChunk(45455)}, middle, middle},
		"gamma of sRGB, dark":            {[][]byte{gamaChunk(45455)}, grey(8), grey(8)},
		"gamma 0":                        {[][]byte{gamaChunk(0)}, middle, middle},
		"short gamma":                    {[][]byte{makePNGChunk("gAMA", []byte{1})}, middle, middle},
		"gamma with a wrong checksum":    {[][]byte{bad(gamaChunk(100000))}, middle, middle},
		"primaries":                      {[][]byte{chrmChunk(primP3)}, p3Red, red},
		"primaries and gamma":            {[][]byte{chrmChunk(primP3), gamaChunk(100000)}, grey(55), grey(128)},
		"impossible primaries":           {[][]byte{chrmChunk(primaries{})}, p3Red, p3Red},
		"sRGB before gamma":              {[][]byte{gamaChunk(100000), srgb}, middle, middle},
		"iCCP before sRGB":               {[][]byte{srgb, p3, gamaChunk(100000)}, p3Red, red},
		"broken iCCP, sRGB":              {[][]byte{makePNGChunk("iCCP", []byte("x")), srgb, gamaChunk(100000)}, middle, middle},
		"broken iCCP, gamma":             {[][]byte{makePNGChunk("iCCP", []byte("x")), gamaChunk(100000)}, grey(55), grey(128)},
		"cICP sRGB before iCCP":          {[][]byte{p3, cicpChunk(1, 13)}, p3Red, p3Red},
		"cICP BT.709":                    {[][]byte{cicpChunk(1, 1)}, p3Red, p3Red},
		"cICP Display P3":                {[][]byte{srgb, gamaChunk(100000), cicpChunk(12, 13)}, p3Red, red},
		"cICP BT.2020":                   {[][]byte{cicpChunk(9, 14)}, color.NRGBA{207, 74, 35, 255}, red},
		"cICP linear":                    {[][]byte{cicpChunk(1, 8)}, grey(55), grey(128)},
		"cICP video levels":              {[][]byte{makePNGChunk("cICP", []byte{1, 13, 0, 0})}, grey(16), grey(0)},
		"cICP unknown, iCCP":             {[][]byte{cicpChunk(2, 2), p3}, p3Red, red},
		"cICP PQ, black":                 {[][]byte{cicpChunk(9, 16)}, grey(0), grey(0)},
		"cICP PQ, white of graphics":     {[][]byte{cicpChunk(9, 16)}, grey(148), grey(237)},
		"cICP PQ, brightest":             {[][]byte{cicpChunk(9, 16)}, grey(255), grey(255)},
		"cICP PQ, 18 % grey":             {[][]byte{cicpChunk(9, 16)}, grey(105), grey(118)},
		"cICP HLG, white of graphics":    {[][]byte{cicpChunk(9, 18)}, grey(191), grey(237)},
		"cICP HLG, brightest":            {[][]byte{cicpChunk(9, 18)}, grey(255), grey(255)},
		"cICP short, gamma":              {[][]byte{makePNGChunk("cICP", []byte{1}), gamaChunk(100000)}, grey(55), grey(128)},
		"the profile of another picture": {[][]byte{iccpChunk(buildICC("CMYK", "Lab ", nil)), gamaChunk(100000)}, grey(55), grey(128)},
	} {
		t.Run(name, func(t *testing.T) {
			data := encodeAs(t, "png", uniform(32, 32, test.from))
			data = bytes.Join([][]byte{data[:33], bytes.Join(test.chunks, nil), data[33:]}, nil)
			sameGrey := test.from.R == test.from.G && test.from.G == test.from.B
			for _, o := range []Options{{PNG: true}, {Quality: 95}} {
				img, err := Make(context.Background(), data, o)
				if err != nil {
					t.Fatal(err)
				}
				near(t, fmt.Sprintf("%+v", o), decodeThumb(t, img).At(16, 16), test.to, 4)
			}
			if !sameGrey {
				return
			}
			m := image.NewGray(image.Rect(0, 0, 9, 9))
			for i := range m.Pix {
				m.Pix[i] = test.from.R
			}
			data = encodeAs(t, "png", m)
			data = bytes.Join([][]byte{data[:33], bytes.Join(test.chunks, nil), data[33:]}, nil)
			img, err := Make(context.Background(), data, Options{PNG: true})
			if err != nil {
				t.Fatal(err)
			}
			near(t, "as grey", decodeThumb(t, img).At(4, 4), test.to, 4)
		})
	}
}

// Dark tones of 16-bit samples in linear light are kept apart.
func TestLinearPNGOf16Bits(t *testing.T) {
	for _, colour := range []byte{0, 2, 4, 6} {
		samples := [7]int{1, 0, 3, 1, 2, 0, 4}[colour]
		m := pngImage{width: 64, height: 1, depth: 16, colour: colour, before: gamaChunk(100000), raw: []byte{0}}
		for x := range 64 {
			for i := range samples {
				if samples&1 == 0 && i == samples-1 {
					m.raw = append(m.raw, 0xff, 0xff)
				} else {
					m.raw = binary.BigEndian.AppendUint16(m.raw, uint16(16*x))
				}
			}
		}
		img, err := Make(context.Background(), m.encode(), Options{PNG: true})
		if err != nil {
			t.Fatal(err)
		}
		got := decodeThumb(t, img)
		for x := range 64 {
			linear := 16 * float64(x) / 65535
			v := 12.92 * linear
			if linear > 0.0031308 {
				v = 1.055*math.Pow(linear, 1/2.4) - 0.055
			}
			want := uint8(255*v + 0.5)
			near(t, fmt.Sprintf("colour type %d at %d", colour, x), got.At(x, 0), color.NRGBA{want, want, want, 255}, 1)
		}
	}
}

// exifColourSpace returns EXIF data with a colour space and an interoperability index, each if it is not zero.
func exifColourSpace(space uint16, index string) []byte {
	b := []byte("II*\x00\x08\x00\x00\x00")
	entry := func(tag, kind uint16, count, value uint32) {
		b = binary.LittleEndian.AppendUint16(b, tag)
		b = binary.LittleEndian.AppendUint16(b, kind)
		b = binary.LittleEndian.AppendUint32(b, count)
		b = binary.LittleEndian.AppendUint32(b, value)
	}
	directory := func(entries int) { b = binary.LittleEndian.AppendUint16(b, uint16(entries)) }
	end := func() { b = append(b, 0, 0, 0, 0) }
	directory(1)
	entry(tagEXIF, 4, 1, 8+18)
	end()
	directory(2)
	entry(tagColourSpace, 3, 1, uint32(space))
	entry(tagInterop, 4, 1, 8+18+30)
	end()
	directory(1)
	entry(tagInteropIndex, 2, 4, binary.LittleEndian.Uint32([]byte(index)))
	end()
	return b
}

// EXIF data can say Adobe RGB where there is no ICC profile.
func TestAdobeRGBInEXIF(t *testing.T) {
	from, adobe := color.NRGBA{144, 255, 60, 255}, color.NRGBA{0, 255, 0, 255}
	for name, test := range map[string]struct {
		exif []byte
		icc  []byte
		want color.NRGBA
	}{
		"uncalibrated, R03":          {exifColourSpace(0xffff, "R03\x00"), nil, adobe},
		"uncalibrated, R98":          {exifColourSpace(0xffff, "R98\x00"), nil, from},
		"sRGB, R03":                  {exifColourSpace(1, "R03\x00"), nil, from},
		"colour space 2":             {exifColourSpace(2, "R98\x00"), nil, adobe},
		"R03, but a profile of sRGB": {exifColourSpace(0xffff, "R03\x00"), sRGB(srgbParametric()), from},
		"cut":                        {exifColourSpace(0xffff, "R03\x00")[:40], nil, from},
	} {
		for _, format := range []string{"jpeg", "png"} {
			data := encodeAs(t, format, uniform(32, 32, from))
			if test.icc != nil {
				data = embed(t, format, data, test.icc)
			}
			if format == "jpeg" {
				segment := append([]byte("\xff\xe1\x00\x00Exif\x00\x00"), test.exif...)
				segment[3] = byte(len(segment) - 2)
				data = bytes.Join([][]byte{data[:2], segment, data[2:]}, nil)
			} else {
				data = bytes.Join([][]byte{data[:33], makePNGChunk("eXIf", test.exif), data[33:]}, nil)
			}
			img, err := Make(context.Background(), data, Options{Quality: 95})
			if err != nil {
				t.Fatal(err)
			}
			near(t, name+", "+format, decodeThumb(t, img).At(16, 16), test.want, 5)
		}
	}
}

package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"image"
	"image/color"
	"math"
	"testing"
)

// buildICC returns an ICC profile with the given tags.
func buildICC(space, connection string, tags map[string][]byte) []byte {
	icc := make([]byte, iccHeader)
	copy(icc[12:], "mntr"+space+connection)
	copy(icc[36:], "acsp")
	icc = binary.BigEndian.AppendUint32(icc, uint32(len(tags)))
	at := len(icc) + 12*len(tags)
	var values []byte
	for name, value := range tags {
		icc = append(icc, name...)
		icc = binary.BigEndian.AppendUint32(icc, uint32(at+len(values)))
		icc = binary.BigEndian.AppendUint32(icc, uint32(len(value)))
		values = append(values, value...)
	}
	icc = append(icc, values...)
	binary.BigEndian.PutUint32(icc, uint32(len(icc)))
	return icc
}

func fixedPoint(b []byte, values ...float64) []byte {
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(v*65536))))
	}
	return b
}

func xyzTag(x, y, z float64) []byte { return fixedPoint([]byte("XYZ \x00\x00\x00\x00"), x, y, z) }

// srgbParametric and srgbTable return the tone curve of sRGB, as a function and as a table.
func srgbParametric() []byte {
	return fixedPoint([]byte("para\x00\x00\x00\x00\x00\x03\x00\x00"), 2.4, 1/1.055, 0.055/1.055, 1/12.92, 0.04045)
}

func srgbTable() []byte {
	b := []byte("curv\x00\x00\x00\x00\x00\x00\x04\x00")
	for i := range 1024 {
		x := float64(i) / 1023
		if x <= 0.04045 {
			x /= 12.92
		} else {
			x = math.Pow((x+0.055)/1.055, 2.4)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(math.Round(65535*x)))
	}
	return b
}

func gammaCurve(gamma float64) []byte {
	return binary.BigEndian.AppendUint16([]byte("curv\x00\x00\x00\x00\x00\x00\x00\x01"), uint16(math.Round(gamma*256)))
}

func matrixProfile(r, g, b, curve []byte) []byte {
	return buildICC("RGB ", "XYZ ", map[string][]byte{
		"rXYZ": r, "gXYZ": g, "bXYZ": b, "rTRC": curve, "gTRC": curve, "bTRC": curve,
	})
}

func displayP3() []byte {
	return matrixProfile(xyzTag(0.51512, 0.2412, -0.00105), xyzTag(0.29198, 0.69225, 0.04189), xyzTag(0.1571, 0.06657, 0.78407), srgbParametric())
}

func adobeRGB() []byte {
	return matrixProfile(xyzTag(0.60974, 0.31111, 0.01947), xyzTag(0.20528, 0.62567, 0.06087), xyzTag(0.14919, 0.06322, 0.74457), gammaCurve(2.19921875))
}

func sRGB(curve []byte) []byte {
	return matrixProfile(xyzTag(0.43607, 0.22249, 0.01392), xyzTag(0.38515, 0.71687, 0.09708), xyzTag(0.14307, 0.06061, 0.7141), curve)
}

// embed puts a profile into a picture.
func embed(t testing.TB, format string, data, icc []byte) []byte {
	switch format {
	case "jpeg":
		const most = 65519
		count := (len(icc) + most - 1) / most
		out := append([]byte(nil), data[:2]...)
		for i := 1; len(icc) > 0; i++ {
			piece := icc[:min(len(icc), most)]
			icc = icc[len(piece):]
			out = append(out, 0xff, 0xe2)
			out = binary.BigEndian.AppendUint16(out, uint16(2+14+len(piece)))
			out = append(append(out, iccSegments...), byte(i), byte(count))
			out = append(out, piece...)
		}
		return append(out, data[2:]...)
	case "png":
		return bytes.Join([][]byte{data[:33], iccpChunk(icc), data[33:]}, nil)
	}
	t.Fatal(format)
	return nil
}

func TestProfiles(t *testing.T) {
	for name, test := range map[string]struct {
		icc       []byte
		from, to  color.NRGBA
		tolerance int
	}{
		"none":               {nil, color.NRGBA{234, 51, 35, 255}, color.NRGBA{234, 51, 35, 255}, 2},
		"P3 red":             {displayP3(), color.NRGBA{234, 51, 35, 255}, color.NRGBA{255, 0, 0, 255}, 3},
		"P3 green":           {displayP3(), color.NRGBA{117, 251, 76, 255}, color.NRGBA{0, 255, 0, 255}, 5},
		"P3 grey":            {displayP3(), color.NRGBA{90, 90, 90, 255}, color.NRGBA{90, 90, 90, 255}, 2},
		"P3 beyond sRGB":     {displayP3(), color.NRGBA{0, 255, 0, 255}, color.NRGBA{0, 255, 0, 255}, 3},
		"Adobe green":        {adobeRGB(), color.NRGBA{144, 255, 60, 255}, color.NRGBA{0, 255, 0, 255}, 4},
		"Adobe dark":         {adobeRGB(), color.NRGBA{5, 5, 5, 255}, color.NRGBA{4, 4, 4, 255}, 3},
		"sRGB, parameters":   {sRGB(srgbParametric()), color.NRGBA{234, 51, 35, 255}, color.NRGBA{234, 51, 35, 255}, 2},
		"sRGB, table":        {sRGB(srgbTable()), color.NRGBA{234, 51, 35, 255}, color.NRGBA{234, 51, 35, 255}, 2},
		"for other pictures": {buildICC("CMYK", "Lab ", nil), color.NRGBA{9, 90, 200, 255}, color.NRGBA{9, 90, 200, 255}, 2},
		"cut":                {displayP3()[:200], color.NRGBA{9, 90, 200, 255}, color.NRGBA{9, 90, 200, 255}, 2},
		"in two pieces":      {append(displayP3(), make([]byte, 70000)...), color.NRGBA{234, 51, 35, 255}, color.NRGBA{255, 0, 0, 255}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			m := image.NewNRGBA(image.Rect(0, 0, 32, 32))
			for i := range 32 * 32 {
				m.SetNRGBA(i%32, i/32, test.from)
			}
			for _, format := range []string{"jpeg", "png"} {
				data := encodeAs(t, format, m)
				if test.icc != nil {
					data = embed(t, format, data, test.icc)
				}
				for _, asPNG := range []bool{false, true} {
					img, err := Make(context.Background(), data, Options{Size: 16, Quality: 95, PNG: asPNG})
					if err != nil {
						t.Fatal(err)
					}
					near(t, format, decodeThumb(t, img).At(8, 8), test.to, test.tolerance)
					if bytes.Contains(img.Data, []byte("ICC_PROFILE")) || bytes.Contains(img.Data, []byte("iCCP")) {
						t.Error("the thumbnail has the profile")
					}
				}
			}
		})
	}
}

// A profile that cannot be converted, a table from RGB to Lab, is copied to the thumbnail.
func TestCarriedProfile(t *testing.T) {
	icc := buildICC("RGB ", "Lab ", map[string][]byte{"A2B0": []byte("mft2 and so on")})
	for _, format := range []string{"jpeg", "png"} {
		data := embed(t, format, encodeAs(t, format, quarters(40, 40)), icc)
		img, err := Make(context.Background(), data, Options{Size: 20, Quality: 85})
		if err != nil {
			t.Fatal(err)
		}
		decodeThumb(t, img)
		if got := jpegICC(img.Data); !bytes.Equal(got, icc) {
			t.Errorf("from %s: %d bytes of profile, want %d", format, len(got), len(icc))
		}
		img, err = Make(context.Background(), data, Options{Size: 20, PNG: true})
		if err != nil {
			t.Fatal(err)
		}
		decodeThumb(t, img)
		var h header
		if err := h.readPNG(img.Data); err != nil || !bytes.Equal(inflateICC(h.icc), icc) {
			t.Errorf("from %s to PNG: %v, %d bytes", format, err, len(h.icc))
		}
	}
}

func TestGreyProfile(t *testing.T) {
	m := image.NewGray(image.Rect(0, 0, 32, 32))
	for i := range m.Pix {
		m.Pix[i] = 128
	}
	// With a linear curve 128 is half the light, which is 188 in sRGB.
	data := embed(t, "jpeg", encodeAs(t, "jpeg", m), buildICC("GRAY", "XYZ ", map[string][]byte{"kTRC": gammaCurve(1)}))
	img, err := Make(context.Background(), data, Options{Size: 16, Quality: 95})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "grey", decodeThumb(t, img).At(8, 8), color.NRGBA{188, 188, 188, 255}, 1)
}

// An iCCP chunk that inflates to a huge size is not inflated.
func TestProfileBomb(t *testing.T) {
	bomb := make([]byte, 20<<20)
	binary.BigEndian.PutUint32(bomb, 1<<31-1)
	chunk := iccpChunk(bomb)
	data := encodeAs(t, "png", quarters(40, 40))
	data = bytes.Join([][]byte{data[:33], chunk, data[33:]}, nil)
	used := allocated(func() {
		if _, err := Make(context.Background(), data, Options{Size: 20, Quality: 85}); err != nil {
			t.Error(err)
		}
	})
	if used > 1<<20 {
		t.Errorf("allocated %d bytes", used)
	}
}

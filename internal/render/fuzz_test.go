package render

import (
	"context"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"testing"
)

// For any bytes Make returns an error, or a picture that decodes and is no larger than requested.
func FuzzMake(f *testing.F) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if filepath.Ext(file.Name()) == ".webp" || filepath.Ext(file.Name()) == ".jpg" {
			f.Add(readTestdata(f, file.Name()), uint16(50), byte(0))
		}
	}
	m := quarters(40, 30)
	for _, format := range []string{"jpeg", "png", "gif", "bmp", "tiff"} {
		f.Add(encodeAs(f, format, m), uint16(20), byte(1))
	}
	f.Add(interlacedPNG(m), uint16(20), byte(2))
	f.Add(embed(f, "jpeg", withEXIF(f, "jpeg", encodeAs(f, "jpeg", m), 6), displayP3()), uint16(20), byte(3))
	f.Add(embed(f, "png", withEXIF(f, "png", encodeAs(f, "png", m), 6), displayP3()), uint16(20), byte(3))
	still := []apngFrame{{m: uniform(40, 20, color.NRGBA{A: 255}), dispose: 2}, {m: half(quarterColours[0], quarterColours[1]), blend: 1}}
	for i, data := range [][]byte{
		applePNG(m), animatedPNG(40, 20, nil, still), animatedWebP(40, 20, webpFrame{w: 40, h: 20}, webpFrame{w: 9, h: 9, c: quarterColours[2]}),
		buildGIF(40, 20, solid(image.Rect(0, 0, 40, 20), 0), solid(image.Rect(3, 4, 50, 60), 1)),
		bitmap{width: 40, height: 30, header: 12, bits: 4}.bmp(), bitmap{width: 40, height: 30, header: 124, bits: 32, compression: 3, masks: []uint32{0xff, 0xff00, 0xff0000, 0xff000000}, alpha: 9}.bmp(),
		buildICO(1, iconImage(bitmap{width: 40, height: 30, header: 40, bits: 4}, false), encodeAs(f, "png", m)),
		embed(f, "jpeg", readTestdata(f, "cmyk.jpg"), cmykProfile(lut16())),
	} {
		f.Add(data, uint16(30), byte(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint16, flags byte) {
		o := Options{Size: int(size % 600), MaxEdge: 500, PNG: flags&1 != 0, Auto: flags&65 == 64, WebP: flags&73 == 8, Quality: 85,
			Fit: Fit(flags / 2 % 3), Height: int(size / 600), Background: Background(flags) << 20}
		cost, err := Cost(data, o)
		if err != nil || cost > 64<<20 {
			return
		}
		img, err := Make(context.Background(), data, o)
		if err != nil {
			return
		}
		if o.Height > 0 {
			o.Size = max(o.Size, o.Height)
		}
		if img.Width > 500 || img.Height > 500 || o.Size > 0 && max(img.Width, img.Height) > o.Size {
			t.Errorf("got %d x %d for %+v", img.Width, img.Height, o)
		}
		decodeThumb(t, img)
	})
}

func FuzzEXIF(f *testing.F) {
	for i := byte(0); i < 10; i++ {
		f.Add(exifData(i))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h := header{orientation: 1}
		h.readEXIF(data)
		if o := h.orientation; o < 1 || o > 8 {
			t.Error(o)
		}
		h.readTIFF(data)
	})
}

func FuzzICC(f *testing.F) {
	for _, icc := range [][]byte{displayP3(), adobeRGB(), sRGB(srgbTable()), buildICC("GRAY", "XYZ ", map[string][]byte{"kTRC": srgbTable()})} {
		f.Add(icc)
	}
	f.Fuzz(func(t *testing.T, icc []byte) {
		readProfile(icc, grey)
		p, _ := readProfile(icc, rgba)
		p.convert(image.NewNRGBA(image.Rect(0, 0, 3, 3)).Pix)
		if len(p.carried) > maxCarried {
			t.Error(len(p.carried))
		}
		inflateICC(icc)
	})
}

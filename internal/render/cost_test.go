//go:build !race

// The race detector allocates memory of its own and makes pools drop their contents.

package render

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"maps"
	"slices"
	"testing"

	"golang.org/x/image/tiff"
)

// Make allocates no more than Cost returns, and Cost does not exceed it by much.
func TestCostBoundsAllocation(t *testing.T) {
	const w, h = 500, 400
	src := noise(w, h)
	opaque := image.NewNRGBA(src.Rect)
	grey, deepGrey := image.NewGray(src.Rect), image.NewGray16(src.Rect)
	deep := image.NewNRGBA64(src.Rect)
	palette := make(color.Palette, 256)
	for i := range palette {
		palette[i] = color.RGBA{byte(i), byte(3 * i), byte(5 * i), 255}
	}
	paletted := image.NewPaletted(src.Rect, palette)
	for i := range w * h {
		copy(opaque.Pix[4*i:], src.Pix[4*i:][:3])
		opaque.Pix[4*i+3] = 255
		grey.Pix[i], paletted.Pix[i] = src.Pix[4*i], src.Pix[4*i+1]
		copy(deepGrey.Pix[2*i:], src.Pix[4*i:][:2])
		copy(deep.Pix[8*i:], src.Pix[4*i:][:4])
		copy(deep.Pix[8*i+4:], src.Pix[4*i:][:4])
	}
	encode := func(format string, m image.Image) []byte { return encodeAs(t, format, m) }
	blank := image.NewNRGBA(src.Rect)
	white := uniform(w, h, color.NRGBA{255, 255, 255, 255})
	blankGIF := solid(src.Rect, 1)
	blankGIF.dispose = 3
	var stripped bytes.Buffer
	if err := tiff.Encode(&stripped, opaque, nil); err != nil {
		t.Fatal(err)
	}
	options := []Options{
		{Size: 256, Quality: 85},
		{Size: 256, PNG: true},
		{Size: 400, Height: 300, Quality: 85, Fit: Pad, Background: Transparent, WebP: true},
		{Size: 400, Height: 300, Quality: 85, Fit: Pad, Background: Blur},
		{Size: 256, Quality: 85, WebP: true},
		{Size: 256, Quality: 85, Auto: true},
		{Size: 256, Fit: Pad, PNG: true},
		{Quality: 100},
		{Size: 256, Quality: 85, Fit: Cover},
		{PNG: true},
		{WebP: true, Quality: 100},
	}
	files := map[string][]byte{
		"jpeg":           encode("jpeg", opaque),
		"jpeg grey":      encode("jpeg", grey),
		"png":            encode("png", opaque),
		"png alpha":      encode("png", src),
		"png grey":       encode("png", grey),
		"png deep":       encode("png", deep),
		"png deep grey":  encode("png", deepGrey),
		"png paletted":   encode("png", paletted),
		"png interlaced": interlacedPNG(src),
		"png animated":   animatedPNG(w, h, nil, []apngFrame{{m: blank, dispose: 2}, {m: blank, dispose: 2}, {m: src}}),
		"png apple":      applePNG(src),
		"png cut":        encode("png", src)[:w*h*3],
		"gif":            encode("gif", paletted),
		"gif animated":   buildGIF(w, h, blankGIF, blankGIF, blankGIF, solid(image.Rect(3, 3, 9, 9), 3)),
		"gif blank":      buildGIF(w, h, blankGIF, solid(src.Rect, 2), blankGIF, blankGIF),
		"png blank":      animatedPNG(w, h, nil, []apngFrame{{m: blank, dispose: 2}, {m: white, dispose: 2}, {m: blank, dispose: 2}}),
		"bmp":            encode("bmp", opaque),
		"bmp paletted":   encode("bmp", paletted),
		"bmp rle":        bitmap{width: w, height: h, header: 40, bits: 8, compression: 1, pixels: make([]byte, 9)}.bmp(),
		"ico":            buildICO(1, iconImage(bitmap{width: 400, height: 300, header: 40, bits: 4}, false)),
		"ico png":        buildICO(1, encode("png", src)),
		"tiff":           stripped.Bytes(),
		"tiff deflate":   encode("tiff", opaque),
		"tiff deep":      encode("tiff", deep),
		"png wide":       encode("png", quarters(30000, 2)),
		"jpeg wide":      encode("jpeg", quarters(30000, 2)),
		"png high":       encode("png", quarters(2, 30000)),
		"jpeg high":      encode("jpeg", quarters(2, 30000)),
		"progressive":    readTestdata(t, "progressive.jpg"),
		"cmyk":           readTestdata(t, "cmyk.jpg"),
		"lossy.webp":     readTestdata(t, "lossy-alpha.webp"),
		"animated.webp":  animatedWebP(w, h, webpFrame{w: w, h: h}, webpFrame{w: w, h: 9, c: color.NRGBA{9, 9, 9, 255}}),
		"lossless.webp":  readTestdata(t, "lossless-alpha.webp"),
	}
	for i, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		for j, o := range options {
			if (i+j)%series(4, 1) != 0 {
				continue // in the short series, each file has some of the options
			}
			cost, err := Cost(data, o)
			if err != nil {
				t.Fatal(err)
			}
			used := allocated(func() {
				if _, err := Make(context.Background(), data, o); err != nil {
					t.Fatal(err)
				}
			})
			if used > cost {
				t.Errorf("%s %+v: allocated %d, more than Cost = %d", name, o, used, cost)
			}
			if cost > 3*used+3<<20 {
				t.Errorf("%s %+v: allocated %d, much less than Cost = %d", name, o, used, cost)
			}
		}
	}
}

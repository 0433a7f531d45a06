package main

import (
	"bytes"
	"context"
	"image"
	"image/jpeg"

	"github.com/disintegration/imaging"
	"golang.org/x/image/draw"

	"github.com/thumbcache/thumbcache/internal/render"
)

const quality = 85

// Ways from the bytes of a picture to those of its thumbnail: thumbcache, and what is usual.

func ours(data []byte, size int) ([]byte, error) {
	img, err := render.Make(context.Background(), data, render.Options{Size: size, Quality: quality})
	return img.Data, err
}

func imagingLanczos(data []byte, size int) ([]byte, error) {
	img, err := imaging.Decode(bytes.NewReader(data), imaging.AutoOrientation(true))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = imaging.Encode(&b, imaging.Fit(img, size, size, imaging.Lanczos), imaging.JPEG, imaging.JPEGQuality(quality))
	return b.Bytes(), err
}

// catmullRom is how a large music server in Go makes thumbnails.
func catmullRom(data []byte, size int) ([]byte, error) {
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	b := img.Bounds()
	w, h := size, size
	if b.Dx() > b.Dy() {
		h = max(1, size*b.Dy()/b.Dx())
	} else {
		w = max(1, size*b.Dx()/b.Dy())
	}
	dst := image.NewNRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(dst, dst.Bounds(), img, b, draw.Src, nil)
	var out bytes.Buffer
	err = jpeg.Encode(&out, dst, &jpeg.Options{Quality: quality})
	return out.Bytes(), err
}

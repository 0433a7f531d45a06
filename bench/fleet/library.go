//go:build unix

package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/thumbcache/thumbcache/bench/internal/media"
)

const numCovers = 100

// coverPath returns the path of a cover in the library: a FLAC, an MP3 or a picture.
func coverPath(i int) string {
	return fmt.Sprintf("%03d%s", i, []string{".flac", ".mp3", ".jpg"}[i%3])
}

// bigPath is a picture that takes long to decode.
const bigPath = "big.png"

// makeLibrary writes numCovers covers, no two of them alike, and a big picture.
func makeLibrary(dir string) error {
	for i := range numCovers {
		picture, err := drawCover(i)
		if err != nil {
			return err
		}
		var data []byte
		switch name := coverPath(i); filepath.Ext(name) {
		case ".flac":
			data = media.FLAC(picture)
		case ".mp3":
			data = media.MP3(picture)
		default:
			data = picture
		}
		if err := os.WriteFile(filepath.Join(dir, coverPath(i)), data, 0o600); err != nil {
			return err
		}
	}
	var big bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&big, image.NewGray(image.Rect(0, 0, 12000, 9000))); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, bigPath), big.Bytes(), 0o600)
}

// drawCover returns a JPEG of 600 x 600 pixels: waves and some grain, so that it is about as large as a real cover.
func drawCover(seed int) ([]byte, error) {
	const edge = 600
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	var waves [3][2]float64
	for i := range waves {
		waves[i] = [2]float64{random.Float64() / 20, random.Float64() / 20}
	}
	img := image.NewRGBA(image.Rect(0, 0, edge, edge))
	for y := range edge {
		for x := range edge {
			var rgb [3]uint8
			for i, w := range waves {
				rgb[i] = uint8(112 + 100*math.Sin(float64(x)*w[0]+float64(y)*w[1]) + float64(random.IntN(32)))
			}
			img.SetRGBA(x, y, color.RGBA{rgb[0], rgb[1], rgb[2], 255})
		}
	}
	var data bytes.Buffer
	err := jpeg.Encode(&data, img, &jpeg.Options{Quality: 85})
	return data.Bytes(), err
}

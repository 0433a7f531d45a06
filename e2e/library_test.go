package e2e

import (
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// copySampleLibrary returns a copy of the sample library, or skips the test if ffmpeg is missing.
func copySampleLibrary(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
			t.Fatal(err)
		}
		t.Skip("ffmpeg, which the video of the sample library needs, is not in PATH")
	}
	folder := filepath.Join(t.TempDir(), "Sample Library")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join("..", "testdata", "library"))); err != nil {
		t.Fatal(err)
	}
	return folder
}

// pictureless holds the files of the sample library that have no picture, as in URLs.
var pictureless = []string{"No%20Cover.mp3", "Broken.flac"}

// makeLargeLibrary returns a library that is too large to be listed flat: 6 artists with 3 albums of 14 pictures each. The last
// picture of an album is its newest.
func makeLargeLibrary(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "Music")
	random := rand.New(rand.NewPCG(7, 7))
	for _, artist := range []string{"Anna Berg", "Blue Hours", "Circle Line", "Delta & Sons", "Ève 100%", "Foxglove"} {
		for _, album := range []string{"First Light", "Night Bus #2", "Out There"} {
			folder := filepath.Join(root, artist, album)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			for track := range 14 {
				file := filepath.Join(folder, fmt.Sprintf("%02d %s.jpg", track+1, album))
				writeJPEG(t, file, drawCover(random))
				modified := time.Date(2026, 1, 1, 12, track, 0, 0, time.UTC)
				if err := os.Chtimes(file, modified, modified); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return root
}

func writeJPEG(t *testing.T, path string, img image.Image) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := jpeg.Encode(f, img, nil); err != nil {
		t.Fatal(err)
	}
}

// drawCover draws an album cover of a few blurred lights.
func drawCover(random *rand.Rand) image.Image {
	const size = 200
	type light struct{ x, y, r, red, green, blue float64 }
	lights := make([]light, 5)
	for i := range lights {
		lights[i] = light{random.Float64() * size, random.Float64() * size, size * (0.15 + random.Float64()/2), random.Float64() * 255, random.Float64() * 200, random.Float64() * 255}
	}
	img := image.NewRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			red, green, blue := 18.0, 20.0, 40.0
			for _, l := range lights {
				w := math.Max(0, 1-math.Hypot(float64(x)-l.x, float64(y)-l.y)/l.r)
				w = math.Min(1, w*2.2)
				red, green, blue = red+(l.red-red)*w, green+(l.green-green)*w, blue+(l.blue-blue)*w
			}
			img.SetRGBA(x, y, color.RGBA{uint8(red), uint8(green), uint8(blue), 255})
		}
	}
	return img
}

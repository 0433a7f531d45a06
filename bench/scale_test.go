package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/disintegration/imaging"
	"golang.org/x/image/bmp"
	"golang.org/x/image/draw"
)

// BenchmarkScale compares what follows decoding: the picture is an uncompressed BMP, which costs next to nothing to decode.
// imaging scales on all processors, so compare CPU time on a machine with several, or run it with -cpu 1.
func BenchmarkScale(b *testing.B) {
	all, err := sources()
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range all {
		if s.progressive {
			continue
		}
		img, _, err := image.Decode(bytes.NewReader(s.data))
		if err != nil {
			b.Fatal(err)
		}
		opaque := image.NewRGBA(img.Bounds())
		draw.Draw(opaque, opaque.Rect, img, image.Point{}, draw.Src)
		var data bytes.Buffer
		if err := bmp.Encode(&data, opaque); err != nil {
			b.Fatal(err)
		}
		for _, way := range []struct {
			name string
			make func([]byte, int) ([]byte, error)
		}{{"thumbcache", ours}, {"imaging", imagingLanczos}, {"catmullrom", catmullRom}} {
			b.Run(fmt.Sprintf("%v to 256/%s", s, way.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := way.make(data.Bytes(), 256); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestImagingPanic shows why imaging is not used on pictures from outside: a panic in its scaler happens in a goroutine that
// imaging starts, so the caller cannot recover it.
func TestImagingPanic(t *testing.T) {
	if os.Getenv("BENCH_IMAGING_PANIC") != "" {
		defer func() { fmt.Println("recovered:", recover()) }()
		broken := image.NewPaletted(image.Rect(0, 0, 64, 64), color.Palette{color.Black})
		broken.Pix[100] = 7 // beyond the palette, as in a crafted file
		imaging.Resize(broken, 8, 8, imaging.Lanczos)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestImagingPanic$")
	cmd.Env = append(os.Environ(), "BENCH_IMAGING_PANIC=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "index out of range") || strings.Contains(string(out), "recovered:") {
		t.Errorf("imaging's panic could be recovered: %v\n%s", err, out)
	}
}

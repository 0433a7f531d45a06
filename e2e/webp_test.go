package e2e

import (
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// drawWaves draws a picture of soft and saturated colors. If it is not opaque, its alpha has all values, and areas of 0 and 255.
func drawWaves(opaque bool) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, 301, 203))
	for y := range 203 {
		for x := range 301 {
			wave := func(f, phase float64) uint8 { return uint8(127.5 + 127*math.Sin(float64(x)*f+float64(y)*f/2+phase)) }
			c := color.NRGBA{wave(0.02, 0), wave(0.03, 2), wave(0.025, 4), 255}
			if !opaque {
				c.A = uint8(max(0, min(4*x-y-300, 255)))
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

// get makes a thumbnail with the command.
func get(t *testing.T, from, to, size string) {
	t.Helper()
	binary, err := buildCommand()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "get", from, "-o", to, "--size", size).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// paint draws a picture of a type into a canvas of the browser, and returns its pixels.
func paint(b *tab, contentType string, data []byte) *image.NRGBA {
	b.t.Helper()
	painted := evaluate[struct {
		Width, Height int
		Pix           string
	}](b, fmt.Sprintf(`(async () => {
		const picture = new Image();
		picture.src = "data:%s;base64,%s";
		await picture.decode();
		const canvas = document.createElement("canvas");
		canvas.width = picture.naturalWidth;
		canvas.height = picture.naturalHeight;
		const context = canvas.getContext("2d");
		context.drawImage(picture, 0, 0);
		const pix = context.getImageData(0, 0, canvas.width, canvas.height).data;
		let text = "";
		for (const v of pix) text += String.fromCharCode(v);
		return {Width: canvas.width, Height: canvas.height, Pix: btoa(text)};
	})()`, contentType, base64.StdEncoding.EncodeToString(data)))
	pix, err := base64.StdEncoding.DecodeString(painted.Pix)
	if err != nil {
		b.t.Fatal(err)
	}
	return &image.NRGBA{Pix: pix, Stride: 4 * painted.Width, Rect: image.Rect(0, 0, painted.Width, painted.Height)}
}

// A browser shows a WebP thumbnail as our own decoder does: with the same alpha, and with colors that differ by the rounding of their
// conversion.
func TestBrowserShowsWebP(t *testing.T) {
	b := openTab(t, desktop)
	b.run(chromedp.Navigate("about:blank"))
	for _, opaque := range []bool{true, false} {
		dir := t.TempDir()
		source, thumb, decoded := filepath.Join(dir, "source.png"), filepath.Join(dir, "thumb.webp"), filepath.Join(dir, "decoded.png")
		writePNG(t, source, drawWaves(opaque))
		get(t, source, thumb, "160")
		get(t, thumb, decoded, "0")
		data, err := os.ReadFile(thumb)
		if err != nil {
			t.Fatal(err)
		}
		if string(data[8:12]) != "WEBP" {
			t.Fatalf("the thumbnail starts with %q", data[:12])
		}
		comparePixels(t, paint(b, "image/webp", data), readPNG(t, decoded), opaque)
	}
}

// comparePixels compares pixels of the browser with those of our decoder.
func comparePixels(t *testing.T, got, want *image.NRGBA, opaque bool) {
	t.Helper()
	if got.Rect != want.Rect || got.Rect.Dx() != 160 {
		t.Fatalf("opaque %t: the picture is %v, want %v", opaque, got.Rect, want.Rect)
	}
	var total, most float64
	alphas := map[uint8]bool{}
	for i := 0; i < len(got.Pix); i += 4 {
		a := want.Pix[i+3]
		alphas[a] = true
		if got.Pix[i+3] != a {
			t.Fatalf("opaque %t: alpha at %d, %d is %d, want %d", opaque, i/4%160, i/4/160, got.Pix[i+3], a)
		}
		for c := range 3 { // a canvas keeps premultiplied colors, which have fewer values if alpha is small
			d := math.Abs(float64(got.Pix[i+c])-float64(want.Pix[i+c])) * float64(a) / 255
			total, most = total+d, max(most, d)
		}
	}
	if opaque != (len(alphas) == 1) || !alphas[255] {
		t.Errorf("opaque %t: %d values of alpha", opaque, len(alphas))
	}
	mean := total / float64(len(got.Pix)/4*3)
	t.Logf("opaque %t: colors differ by %.2f, %.0f at most", opaque, mean, most)
	if mean > 1.5 || most > 12 {
		t.Errorf("opaque %t: colors differ by %.2f, %.0f at most", opaque, mean, most)
	}
}

func writePNG(t *testing.T, path string, m image.Image) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, m); err != nil {
		t.Fatal(err)
	}
}

func readPNG(t *testing.T, path string) *image.NRGBA {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := m.(*image.NRGBA); ok {
		return m
	}
	out := image.NewNRGBA(m.Bounds())
	draw.Draw(out, out.Rect, m, image.Point{}, draw.Src)
	return out
}

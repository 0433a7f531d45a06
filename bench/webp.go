package main

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/disintegration/imaging"

	"github.com/thumbcache/thumbcache/internal/render/jpegenc"
	"github.com/thumbcache/thumbcache/internal/render/webpenc"
)

// A thumb is a thumbnail before it is encoded.
type thumb struct {
	name   string
	planes *image.YCbCr // of full range, as jpegenc and webpenc get them
	rgb    *image.RGBA  // what it looks like
	dir    string       // for the files of cwebp and dwebp
}

// An encoder makes a file of a thumbnail.
type encoder struct {
	name   string
	encode func(t *thumb, quality int) ([]byte, error)
	decode func(t *thumb, file []byte) (image.Image, error)
}

var encoders = []encoder{
	{"JPEG", encodeJPEG, func(_ *thumb, file []byte) (image.Image, error) { return jpeg.Decode(bytes.NewReader(file)) }},
	{"WebP", encodeWebP, decodeWebP},
	{"cwebp", encodeCwebp, decodeWebP},
}

func encodeJPEG(t *thumb, quality int) ([]byte, error) {
	m := t.planes
	return jpegenc.Append(nil, &jpegenc.Image{
		Width: m.Rect.Dx(), Height: m.Rect.Dy(), Y: m.Y, Cb: m.Cb, Cr: m.Cr, YStride: m.YStride, CStride: m.CStride,
	}, quality, nil), nil
}

var webpEncoder webpenc.Encoder

func encodeWebP(t *thumb, quality int) ([]byte, error) {
	m := t.planes
	return webpEncoder.Append(nil, &webpenc.Image{
		Width: m.Rect.Dx(), Height: m.Rect.Dy(), Y: m.Y, Cb: m.Cb, Cr: m.Cr, YStride: m.YStride, CStride: m.CStride,
	}, quality, nil)
}

// cwebp returns the command that encodes a thumbnail from planes, as webpenc does. They are in thumb.yuv.
func (t *thumb) cwebp(quality int) *exec.Cmd {
	return exec.Command("cwebp", "-quiet", "-m", "4", "-q", fmt.Sprint(quality), "-s", fmt.Sprint(t.rgb.Rect.Dx()), fmt.Sprint(t.rgb.Rect.Dy()),
		filepath.Join(t.dir, "thumb.yuv"), "-o", "-")
}

func encodeCwebp(t *thumb, quality int) ([]byte, error) { return t.cwebp(quality).Output() }

// decodeWebP decodes with dwebp. golang.org/x/image/webp takes video levels for those of a JPEG.
func decodeWebP(t *thumb, file []byte) (image.Image, error) {
	name := filepath.Join(t.dir, "thumb.webp")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		return nil, err
	}
	out, err := exec.Command("dwebp", "-quiet", "-nofancy", name, "-o", "-").Output()
	if err != nil {
		return nil, err
	}
	return png.Decode(bytes.NewReader(out))
}

// newThumb scales a picture.
func newThumb(name string, m image.Image, size int, dir string) (*thumb, error) {
	small := imaging.Fit(m, size, size, imaging.Lanczos)
	w, h := small.Rect.Dx(), small.Rect.Dy()
	planes := image.NewYCbCr(small.Rect, image.YCbCrSubsampleRatio420)
	for y := 0; y < h; y += 2 {
		for x := 0; x < w; x += 2 {
			var r, g, b int
			for i := range 4 {
				x, y := min(x+i%2, w-1), min(y+i/2, h-1)
				p := small.Pix[small.PixOffset(x, y):]
				r, g, b = r+int(p[0]), g+int(p[1]), b+int(p[2])
				planes.Y[planes.YOffset(x, y)], _, _ = color.RGBToYCbCr(p[0], p[1], p[2])
			}
			_, cb, cr := color.RGBToYCbCr(uint8((r+2)/4), uint8((g+2)/4), uint8((b+2)/4))
			planes.Cb[planes.COffset(x, y)], planes.Cr[planes.COffset(x, y)] = cb, cr
		}
	}
	t := &thumb{name: fmt.Sprintf("%s → %d", name, max(w, h)), planes: planes, rgb: image.NewRGBA(small.Rect), dir: dir}
	draw.Draw(t.rgb, t.rgb.Rect, planes, image.Point{}, draw.Src)

	// cwebp wants video levels.
	var yuv []byte
	for i, p := range [3][]byte{planes.Y, planes.Cb, planes.Cr} {
		for _, v := range p {
			if i == 0 {
				yuv = append(yuv, byte(math.Round(16+float64(v)*219/255)))
			} else {
				yuv = append(yuv, byte(math.Round(128+(float64(v)-128)*224/255)))
			}
		}
	}
	return t, os.WriteFile(filepath.Join(dir, "thumb.yuv"), yuv, 0o600)
}

// A sample is a file of some quality.
type sample struct{ bytes, ssim, psnr, quality float64 }

func (e *encoder) sample(t *thumb, quality int) (sample, error) {
	file, err := e.encode(t, quality)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %s, quality %d: %w", t.name, e.name, quality, err)
	}
	m, err := e.decode(t, file)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %s: %w", t.name, e.name, err)
	}
	got := image.NewRGBA(t.rgb.Rect)
	draw.Draw(got, got.Rect, m, image.Point{}, draw.Src)
	return sample{float64(len(file)), ssim(got, t.rgb), psnr(got, t.rgb), float64(quality)}, nil
}

// at returns what an encoder needs for an SSIM, between two qualities that are measured.
func (e *encoder) at(t *thumb, wanted float64) (sample, error) {
	var all []sample
	for quality := 30; quality <= 98; quality += 4 {
		s, err := e.sample(t, quality)
		if err != nil {
			return s, err
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.ssim, b.ssim) })
	i := 1
	for i < len(all)-1 && all[i].ssim < wanted {
		i++
	}
	a, b := all[i-1], all[i]
	part := math.Log((1-wanted)/(1-a.ssim)) / math.Log((1-b.ssim)/(1-a.ssim))
	between := func(x, y float64) float64 { return x + (y-x)*part }
	return sample{math.Exp(between(math.Log(a.bytes), math.Log(b.bytes))), wanted, between(a.psnr, b.psnr), between(a.quality, b.quality)}, nil
}

// A comparison has a sample and the CPU time of each encoder.
type comparison struct {
	name    string
	samples [3]sample
	times   [3]time.Duration
}

// compare encodes as JPEG of quality 85, and as WebP of the same SSIM.
func (t *thumb) compare(rounds int) (c comparison, err error) {
	c.name = t.name
	if c.samples[0], err = encoders[0].sample(t, quality); err != nil {
		return c, err
	}
	for i := 1; i < len(encoders); i++ {
		if c.samples[i], err = encoders[i].at(t, c.samples[0].ssim); err != nil {
			return c, err
		}
	}
	var times [3][]time.Duration
	for range rounds {
		for i, e := range encoders[:2] {
			const repeat = 20
			start := cpuTime()
			for range repeat {
				if _, err := e.encode(t, int(math.Round(c.samples[i].quality))); err != nil {
					return c, err
				}
			}
			times[i] = append(times[i], (cpuTime()-start)/repeat)
		}
		// Of cwebp, what the process takes to start is subtracted.
		var spent [2]time.Duration
		for i, cmd := range []*exec.Cmd{t.cwebp(int(math.Round(c.samples[2].quality))), exec.Command("cwebp", "-version")} {
			if _, err := cmd.Output(); err != nil {
				return c, err
			}
			spent[i] = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
		times[2] = append(times[2], spent[0]-spent[1])
	}
	for i := range times {
		slices.Sort(times[i])
		c.times[i] = times[i][len(times[i])/2]
	}
	return c, nil
}

// compareWebP compares WebP with JPEG and with cwebp, for the pictures of the benchmark and others. It draws a chart to svg, if that is
// not empty.
func compareWebP(svg string, rounds int, files []string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var all []comparison
	add := func(name string, data []byte) error {
		m, _, err := image.Decode(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, size := range []int{128, 256, 512} {
			if size > max(m.Bounds().Dx(), m.Bounds().Dy()) {
				break
			}
			t, err := newThumb(name, m, size, dir)
			if err != nil {
				return err
			}
			c, err := t.compare(rounds)
			if err != nil {
				return err
			}
			all = append(all, c)
		}
		return nil
	}
	for _, name := range names {
		data, err := testdata.ReadFile("testdata/" + name + "-3000.jpg")
		if err != nil {
			return err
		}
		if err := add(name, data); err != nil {
			return err
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := add(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), data); err != nil {
			return err
		}
	}
	printComparisons(all)
	if svg == "" {
		return nil
	}
	return os.WriteFile(svg, []byte(comparisonChart(all)), 0o644)
}

func printComparisons(all []comparison) {
	fmt.Println("| thumbnail | SSIM | JPEG, bytes | WebP | cwebp | JPEG, PSNR | WebP | cwebp | JPEG, CPU ms | WebP | cwebp |")
	fmt.Println("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	var logs [4]float64
	for _, c := range all {
		s, t := &c.samples, &c.times
		fmt.Printf("| %s | %.4f | %.0f | %.2fx | %.2fx | %.1f | %.1f | %.1f | %.2f | %.1fx | %.1fx |\n", c.name, s[0].ssim, s[0].bytes,
			s[1].bytes/s[0].bytes, s[2].bytes/s[0].bytes, s[0].psnr, s[1].psnr, s[2].psnr,
			milliseconds(t[0]), float64(t[1])/float64(t[0]), float64(t[2])/float64(t[0]))
		for i, ratio := range [4]float64{
			s[1].bytes / s[0].bytes, s[1].bytes / s[2].bytes, float64(t[1]) / float64(t[0]), float64(t[1]) / float64(t[2]),
		} {
			logs[i] += math.Log(ratio) / float64(len(all))
		}
	}
	fmt.Printf("\nWebP has %.2fx of the bytes of JPEG and %.2fx of those of cwebp, and takes %.1fx of the CPU time of JPEG and %.2fx of that of cwebp (geometric means).\n",
		math.Exp(logs[0]), math.Exp(logs[1]), math.Exp(logs[2]), math.Exp(logs[3]))
}

// comparisonChart draws bytes to the left and CPU times to the right.
func comparisonChart(all []comparison) string {
	const left, middle, panel, bar, gap = 170, 480, 240, 11, 12
	var most [2]float64
	value := func(c *comparison, panel, i int) float64 {
		if panel == 0 {
			return c.samples[i].bytes / 1000
		}
		return milliseconds(c.times[i])
	}
	for i := range all {
		for j := range encoders {
			for p := range most {
				most[p] = max(most[p], value(&all[i], p, j))
			}
		}
	}
	colours := []string{"#c84", "#2a7", "#89b"}
	height := 50 + len(all)*(len(encoders)*bar+gap)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", middle+panel+70, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", middle+panel+70, height)
	for i, name := range []string{"JPEG, quality 85", "WebP", "cwebp -m 4"} {
		fmt.Fprintf(&b, `<rect x="%d" y="10" width="10" height="10" fill="%s"/><text x="%d" y="19">%s</text>`+"\n", left+130*i, colours[i], left+130*i+15, name)
	}
	fmt.Fprintf(&b, `<text x="%d" y="38">kB at the SSIM of the JPEG</text><text x="%d" y="38">CPU time, ms</text>`+"\n", left, middle)
	y := 46
	for i := range all {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, y+len(encoders)*bar/2+4, all[i].name)
		for j := range encoders {
			for p, x := range [2]int{left, middle} {
				v := value(&all[i], p, j)
				w := panel * v / most[p]
				fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d" font-size="9">%.1f</text>`+"\n",
					x, y, w, bar-1, colours[j], float64(x)+w+4, y+bar-3, v)
			}
			y += bar
		}
		y += gap
	}
	b.WriteString("</svg>\n")
	return b.String()
}

package ffmpeg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// A clip is a video and the properties of its picture.
type clip struct {
	name  string
	args  []string // for ffmpeg; scene.mp4 lasts 6 seconds with a key frame in each
	w, h  int      // 0 if there is no picture
	check func(*testing.T, image.Image)
}

var x264 = []string{"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"}

// filtered returns the arguments for scene.mp4 with filters, a key frame every second, and more arguments.
func filtered(filters string, args ...string) []string {
	return append(append(append([]string{"-i", "scene.mp4", "-vf", filters}, x264...), "-g", "25", "-sc_threshold", "0"), args...)
}

var oneKey = []string{"-g", "1000"}

// halves are the arguments for a video that is red on the left and blue on the right.
var halves = append([]string{"-f", "lavfi", "-i", "color=red:s=160x180:r=25:d=3,noise=alls=40", "-f", "lavfi", "-i",
	"color=blue:s=160x180:r=25:d=3,noise=alls=40", "-filter_complex", "hstack"}, x264...)

// bars are the colours of bars.png. Every screen can show them, and none is at full brightness.
var bars = []color.RGBA{{180, 180, 180, 255}, {180, 40, 40, 255}, {40, 150, 40, 255}, {40, 40, 180, 255}, {20, 20, 20, 255}}

var barVideo = []string{"-i", "bars.png", "-t", "2", "-r", "25"}

// toHDR returns the filters that convert an SDR picture to HDR.
func toHDR(transfer string) string {
	return "format=gbrp,zscale=tin=iec61966-2-1:pin=bt709:min=gbr:t=" + transfer + ":p=2020:m=2020_ncl:r=tv:npl=203,format=yuv420p10le"
}

// hdr returns the arguments for an HDR video of bars.png.
func hdr(transfer string) []string {
	return []string{"-i", "bars.png", "-vf", "loop=50:1," + toHDR(transfer), "-frames:v", "30", "-c:v", "libx265", "-preset", "ultrafast",
		"-x265-params", "log-level=error:colorprim=bt2020:colormatrix=bt2020nc:transfer=" + transfer}
}

// makeBars makes bars.png.
func makeBars(t *testing.T, dir string) {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 400, 100))
	for i, c := range bars {
		draw.Draw(img, image.Rect(i*80, 0, i*80+80, 100), image.NewUniform(c), image.Point{}, draw.Src)
	}
	var b bytes.Buffer
	png.Encode(&b, img)
	if err := os.WriteFile(filepath.Join(dir, "bars.png"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// clips are the videos of every run, moreClips those that THUMBCACHE_FULL=1 adds.
var clips = []clip{
	{"scene.ts", []string{"-i", "scene.mp4", "-c", "copy"}, 320, 180, nil},
	{"black for long, one key.mp4", append([]string{"-stream_loop", "1"}, filtered("drawbox=t=fill:c=black:enable='lt(t,8.8)'", oneKey...)...),
		320, 180, isBright},
	{"blurred start, one key.mp4", filtered("gblur=6:enable='lt(t,2)'", oneKey...), 320, 180, isSharp},
	{"black.mp4", filtered("drawbox=t=fill:c=black", "-t", "2"), 320, 180, nil},
	{"rotated by 90.mp4", halves, 180, 320, redAt(image.Pt(90, 40), image.Pt(90, 280))},
	{"anamorphic.mp4", filtered("scale=160:180,setsar=2"), 320, 180, nil},
	{"interlaced.mp4", []string{"-i", "scene.mp4", "-t", "1", "-vf",
		"scale=320:192,setsar=1,scroll=h=0.05,tinterlace=interleave_top,format=yuv420p", "-flags", "+ildct+ilme",
		"-c:v", "libx264", "-preset", "ultrafast", "-x264opts", "tff=1", "-g", "25", "-qp", "5"}, 320, 192, isDeinterlaced},
	{"PQ.mp4", hdr("smpte2084"), 400, 100, isBars},
	{"full range.mp4", append(append([]string{"-loop", "1"}, barVideo...), append(x264, "-vf", "scale=out_range=full:out_color_matrix=bt601",
		"-color_range", "pc", "-colorspace", "smpte170m")...), 400, 100, isBars},
	{"long sound.mp4", append([]string{"-f", "lavfi", "-i", "sine=d=60"}, filtered("null", "-frames:v", "50")...), 320, 180, nil},
	{"odd.mkv", []string{"-i", "scene.mp4", "-frames:v", "30", "-vf", "scale=161:91", "-c:v", "ffv1"}, 161, 91, isSharp},
	{"cover.mp4", []string{"-i", "scene.mp4", "-i", "bars.png", "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1",
		"attached_pic"}, 400, 100, isBars},
	{"sound.mp4", []string{"-f", "lavfi", "-i", "sine=d=2"}, 0, 0, nil},
	{"small video first.mkv", []string{"-i", "scene.mp4", "-f", "lavfi", "-i", "color=yellow:s=160x90:r=25:d=3", "-map", "1", "-map", "0",
		"-c:v:0", "mjpeg", "-c:v:1", "copy", "-disposition:v:0", "0", "-disposition:v:1", "default"}, 320, 180, isSharp},
}

var moreClips = []clip{
	{"scene.mkv", []string{"-i", "scene.mp4", "-c", "copy"}, 320, 180, nil},
	{"fade from black.mp4", filtered("fade=in:0:100"), 320, 180, isBright},
	{"bt709.mp4", append(append([]string{"-loop", "1"}, barVideo...), append(x264, "-vf", "scale=out_color_matrix=bt709",
		"-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")...), 400, 100, isBars},
	{"tiny.mkv", []string{"-i", "scene.mp4", "-frames:v", "30", "-vf", "scale=1:1", "-c:v", "ffv1"}, 1, 1, nil},
	{"faststart.mp4", []string{"-i", "scene.mp4", "-c", "copy", "-movflags", "+faststart"}, 320, 180, nil},
	{"fragmented.mp4", []string{"-i", "scene.mp4", "-c", "copy", "-movflags", "empty_moov+frag_keyframe"}, 320, 180, nil},
	{"scene.flv", []string{"-i", "scene.mp4", "-c", "copy"}, 320, 180, nil},
	{"scene.avi", []string{"-i", "scene.mp4", "-c:v", "mpeg4", "-q:v", "2"}, 320, 180, nil},
	{"scene.mpg", []string{"-i", "scene.mp4", "-c:v", "mpeg2video", "-q:v", "2"}, 320, 180, nil},
	{"scene.webm", []string{"-i", "scene.mp4", "-c:v", "libvpx", "-deadline", "realtime", "-b:v", "4M"}, 320, 180, nil},
	{"scene.h264", []string{"-i", "scene.mp4", "-c", "copy"}, 320, 180, nil},
	{"scene.ivf", []string{"-i", "scene.mp4", "-c:v", "libvpx", "-deadline", "realtime", "-b:v", "4M"}, 320, 180, nil},
	{"scene.y4m", []string{"-i", "scene.mp4", "-t", "1"}, 320, 180, nil},
	{"scene.mjpeg", []string{"-i", "scene.mp4", "-t", "1", "-q:v", "2"}, 320, 180, nil},
	{"all key frames.avi", []string{"-i", "scene.mp4", "-c:v", "mjpeg", "-q:v", "2", "-vf", "fade=in:0:50"}, 320, 180, isBright},
	{"fade from black, one key.mp4", filtered("fade=in:0:75", oneKey...), 320, 180, isBright},
	{"fade from white.mp4", filtered("fade=in:0:100:color=white"), 320, 180, isBright},
	{"fade from white, one key.mp4", filtered("fade=in:0:75:color=white", oneKey...), 320, 180, isBright},
	{"black start.mp4", filtered("drawbox=t=fill:c=black:enable='lt(t,2)'"), 320, 180, isBright},
	{"black start, one key.mp4", filtered("drawbox=t=fill:c=black:enable='lt(t,2)'", oneKey...), 320, 180, isBright},
	{"white start.mp4", filtered("drawbox=t=fill:c=white:enable='lt(t,2)'"), 320, 180, isBright},
	{"title first.mp4", filtered("drawbox=t=fill:c=black:enable='lt(t,2)',drawbox=120:83:80:14:t=3:c=white:enable='lt(t,2)'"),
		320, 180, isBright},
	{"blurred start.mp4", filtered("gblur=6:enable='lt(t,2)'"), 320, 180, isSharp},
	{"whip pan.mp4", filtered("avgblur=30:sizeY=1:enable='lt(t,2)'"), 320, 180, isSharp},
	{"bars above and below.mp4", filtered("fade=in:0:100:color=white,pad=320:240:0:30"), 320, 240, isBright},
	{"night.mp4", filtered("lutyuv=y='16+(val-16)*0.3',fade=in:0:30"), 320, 180, nil},
	{"blurred.mp4", filtered("gblur=6", "-t", "2"), 320, 180, nil},
	{"rotated by 180.mp4", halves, 320, 180, redAt(image.Pt(280, 90), image.Pt(40, 90))},
	{"rotated by 270.mp4", halves, 180, 320, redAt(image.Pt(90, 280), image.Pt(90, 40))},
	{"anamorphic, rotated by 90.mp4", filtered("scale=160:180,setsar=2"), 180, 320, nil},
	{"HLG.mp4", hdr("arib-std-b67"), 400, 100, isBars},
	{"one frame.mp4", filtered("null", "-frames:v", "1"), 320, 180, isSharp},
	{"short.mp4", filtered("null", "-t", "0.4"), 320, 180, isSharp},
	{"still.mp4", append(append([]string{"-loop", "1"}, barVideo...), x264...), 400, 100, isBars},
	{"vertical.mp4", filtered("crop=100:180"), 100, 180, nil},
	{"wide.mp4", filtered("scale=2400:40,setsar=1"), 1280, 21, nil},
	{"large.mp4", filtered("scale=2560:1440", "-frames:v", "3"), 1280, 720, nil},
}

// rotations are the matrices to write into the headers of the videos with these names.
var rotations = map[string][4]int32{
	"rotated by 90.mp4":             {0, 1, -1, 0},
	"anamorphic, rotated by 90.mp4": {0, 1, -1, 0},
	"rotated by 180.mp4":            {-1, 0, 0, -1},
	"rotated by 270.mp4":            {0, -1, 1, 0},
}

// TestKindsOfVideo extracts a picture from many kinds of videos, with THUMBCACHE_FULL=1 from all of them. If THUMBCACHE_SHEET
// names a file, the test writes an overview of the pictures to it.
func TestKindsOfVideo(t *testing.T) {
	clips := clips
	if isFull() || os.Getenv("THUMBCACHE_SHEET") != "" {
		clips = slices.Concat(clips, moreClips)
	}
	dir := t.TempDir()
	makeFile(t, dir, "scene.mp4", "-f", "lavfi", "-i", "mandelbrot=s=320x180:r=25", "-t", "6", "-c:v", "libx264", "-preset", "ultrafast",
		"-g", "25", "-sc_threshold", "0", "-qp", "8", "-pix_fmt", "yuv420p")
	makeBars(t, dir)
	pictures := make([]image.Image, len(clips))
	t.Run("clips", func(t *testing.T) {
		for i, c := range clips {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				pictures[i] = testClip(t, dir, c)
			})
		}
	})
	if name := os.Getenv("THUMBCACHE_SHEET"); name != "" {
		writeSheet(t, name, clips, pictures)
	}
}

// testClip makes the clip, extracts its picture and checks that.
func testClip(t *testing.T, dir string, c clip) image.Image {
	path := makeFile(t, dir, c.name, c.args...)
	if m, ok := rotations[c.name]; ok {
		rotate(t, path, m)
	}
	data, err := extract(t, system, path)
	if c.w == 0 {
		if !errors.Is(err, ErrNoPicture) {
			t.Errorf("got %v", err)
		}
		return nil
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, messages(err))
	}
	img := decode(t, data)
	if got := img.Bounds().Size(); got != image.Pt(c.w, c.h) {
		t.Errorf("got %v, want %d x %d", got, c.w, c.h)
	}
	if c.check != nil {
		c.check(t, img)
	}
	return img
}

// rotate writes the matrix of the first track of the video at path.
func rotate(t *testing.T, path string, m [4]int32) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tkhd := data[bytes.Index(data, []byte("tkhd"))+4+40:]
	for i, v := range []int32{m[0], m[1], 0, m[2], m[3]} {
		binary.BigEndian.PutUint32(tkhd[4*i:], uint32(v<<16))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeSheet writes a PNG with all pictures and their names to a file.
func writeSheet(t *testing.T, name string, clips []clip, pictures []image.Image) {
	t.Helper()
	const w, h, columns = 240, 170, 6
	sheet := image.NewRGBA(image.Rect(0, 0, w*columns, h*((len(pictures)+columns-1)/columns)))
	draw.Draw(sheet, sheet.Rect, image.NewUniform(color.RGBA{90, 60, 90, 255}), image.Point{}, draw.Src)
	for i, img := range pictures {
		at := image.Pt(i%columns*w, i/columns*h)
		d := font.Drawer{Dst: sheet, Src: image.White, Face: basicfont.Face7x13, Dot: fixed.P(at.X+4, at.Y+h-6)}
		d.DrawString(clips[i].name)
		if img == nil {
			continue
		}
		size := img.Bounds().Size()
		n := max(float64(size.X)/(w-8), float64(size.Y)/(h-24))
		for y := range int(float64(size.Y) / n) {
			for x := range int(float64(size.X) / n) {
				sheet.Set(at.X+x+4, at.Y+y+4, img.At(int(float64(x)*n), int(float64(y)*n)))
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, sheet); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// grey returns the brightness of a pixel.
func grey(img image.Image, x, y int) int {
	return int(color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y)
}

// isBright checks that parts of the middle are dark and others bright, which excludes fades and empty frames.
func isBright(t *testing.T, img image.Image) {
	t.Helper()
	var list []int
	size := img.Bounds().Size()
	for y := size.Y / 4; y < size.Y*3/4; y++ {
		for x := size.X / 4; x < size.X*3/4; x++ {
			list = append(list, grey(img, x, y))
		}
	}
	slices.Sort(list)
	if dark, bright := list[len(list)/8], list[len(list)*7/8]; dark > 100 || bright < 130 {
		t.Errorf("the brightness of the middle is between %d and %d", dark, bright)
	}
}

// isSharp checks that some neighbouring pixels differ much, in both directions.
func isSharp(t *testing.T, img image.Image) {
	t.Helper()
	across, down := 0, 0
	size := img.Bounds().Size()
	for y := 1; y < size.Y; y++ {
		for x := 1; x < size.X; x++ {
			if v := grey(img, x, y) - grey(img, x-1, y); max(v, -v) > 60 {
				across++
			}
			if v := grey(img, x, y) - grey(img, x, y-1); max(v, -v) > 60 {
				down++
			}
		}
	}
	if n := size.X * size.Y / 500; across < n || down < n {
		t.Errorf("%v pixels have only %d steep edges across and %d down", size, across, down)
	}
}

// isDeinterlaced checks that lines resemble the next line more than the one after it.
func isDeinterlaced(t *testing.T, img image.Image) {
	t.Helper()
	next, afterNext := 0, 0
	size := img.Bounds().Size()
	for y := 2; y < size.Y; y++ {
		for x := range size.X {
			v, w := grey(img, x, y)-grey(img, x, y-1), grey(img, x, y)-grey(img, x, y-2)
			next += max(v, -v)
			afterNext += max(w, -w)
		}
	}
	if next >= afterNext {
		t.Errorf("the next lines differ by %d, those after them by %d", next, afterNext)
	}
}

// redAt returns a check that one pixel is red and another one is blue.
func redAt(red, blue image.Point) func(*testing.T, image.Image) {
	return func(t *testing.T, img image.Image) {
		t.Helper()
		if r, _, b, _ := img.At(red.X, red.Y).RGBA(); r < 2*b {
			t.Errorf("not red: %v", img.At(red.X, red.Y))
		}
		if r, _, b, _ := img.At(blue.X, blue.Y).RGBA(); b < 2*r {
			t.Errorf("not blue: %v", img.At(blue.X, blue.Y))
		}
	}
}

// isBars checks that the picture has the colours of bars.png.
func isBars(t *testing.T, img image.Image) {
	t.Helper()
	for i, want := range bars {
		got := color.RGBAModel.Convert(img.At(i*80+40, 50)).(color.RGBA)
		for _, d := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
			if max(d, -d) > 12 {
				t.Errorf("got %v, want %v", got, want)
				break
			}
		}
	}
}

package ffmpeg

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shared is the folder of test media that are not part of the repository.
const shared = "../../../shared"

// A sharedCase is a line of expected.tsv.
type sharedCase struct {
	path    string
	shape   string    // landscape or portrait
	corners [4]string // "r,g,b" of the top left, top right, bottom left and bottom right, or "-"
	reason  string
}

// sharedCases returns the cases in the given folders.
func sharedCases(t *testing.T, folders ...string) (cases []sharedCase) {
	t.Helper()
	needFFmpeg(t)
	data, err := os.ReadFile(filepath.Join(shared, "cases", "expected.tsv"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the folder of shared cases does not exist")
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		for _, folder := range folders {
			if len(f) == 7 && strings.HasPrefix(f[0], folder+"/") {
				cases = append(cases, sharedCase{filepath.Join(shared, "cases", f[0]), f[1], [4]string(f[2:6]), f[6]})
			}
		}
	}
	if len(cases) < len(folders) {
		t.Errorf("found %d cases in %q", len(cases), folders)
	}
	return cases
}

// check checks the shape and the colours of a picture.
func (c sharedCase) check(t *testing.T, img image.Image) {
	t.Helper()
	size := img.Bounds().Size()
	if got := map[bool]string{true: "landscape", false: "portrait"}[size.X > size.Y]; got != c.shape {
		t.Errorf("%s: got %v, want %s", c.path, size, c.shape)
	}
	for i, corner := range c.corners {
		at := image.Pt(size.X/4+i%2*size.X/2, size.Y/4+i/2*size.Y/2)
		got := color.RGBAModel.Convert(img.At(at.X, at.Y)).(color.RGBA)
		var want color.RGBA
		if n, _ := fmt.Sscanf(corner, "%d,%d,%d", &want.R, &want.G, &want.B); n == 3 && !isNear(got, want, 6) {
			t.Errorf("%s: got %v at %v, want %v (%s)", c.path, got, at, corner, c.reason)
		}
	}
}

// isNear reports whether no channel of two colours differs by more than the tolerance.
func isNear(a, b color.RGBA, tolerance int) bool {
	for _, d := range []int{int(a.R) - int(b.R), int(a.G) - int(b.G), int(a.B) - int(b.B)} {
		if max(d, -d) > tolerance {
			return false
		}
	}
	return true
}

func TestSharedVideos(t *testing.T) {
	t.Parallel()
	for _, c := range sharedCases(t, "video-several-streams", "mkv-attachment-names") {
		data, err := extract(t, system, c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		img := decode(t, data)
		c.check(t, img)
		corner := color.RGBAModel.Convert(img.At(9, 9)).(color.RGBA)
		if yellow := (color.RGBA{254, 254, 0, 255}); strings.Contains(c.path, "small_first") && isNear(corner, yellow, 40) {
			t.Errorf("%s: got yellow, the colour of the small stream", c.path)
		}
	}
}

// Every file of the corpus yields a picture or a permanent error with at most three processes. By default only some videos
// are tested.
func TestSharedCorpus(t *testing.T) {
	t.Parallel()
	folders := []string{"mp4", "mkv", "webm", "m4v", "3gp"}
	if isFull() {
		folders = []string{"*"}
	}
	var paths []string
	for _, folder := range folders {
		list, _ := filepath.Glob(filepath.Join(shared, "corpus", folder, "*"))
		paths = append(paths, list...)
	}
	if len(paths) == 0 {
		t.Skip("the folder of the shared corpus does not exist")
	}
	for i, path := range paths {
		if !isFull() && i%16 != 0 {
			continue
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			continue
		}
		data, n, err := extractCounted(t, path)
		switch {
		case n > 3:
			t.Errorf("%s: %d processes", path, n)
		case err == nil:
			decode(t, data)
		case !isPermanent(err):
			t.Errorf("%s: %v", path, err)
		}
		t.Logf("%d processes, %d bytes, %v: %s", n, len(data), err, filepath.Base(path))
	}
}

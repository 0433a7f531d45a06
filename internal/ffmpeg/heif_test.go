package ffmpeg

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// heifSample returns a small picture that package heif has for its tests.
func heifSample(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "heif", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A HEIF picture is turned, cut and transparent as its container says, whatever this ffmpeg makes of the container.
func TestHEIF(t *testing.T) {
	needFFmpeg(t)
	for _, tt := range []struct {
		name          string
		width, height int
		transparent   bool
		profile       bool
	}{
		{"turned.avif", 48, 64, false, false},
		{"cropped.avif", 40, 32, false, false},
		{"alpha.heic", 64, 48, true, false},
		{"grid.avif", 128, 128, true, false},
		{"p3rgb.avif", 64, 48, false, true},
	} {
		data := heifSample(t, tt.name)
		fromMemory, err := system.Decode(t.Context(), data, Caller{})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if isFull() || tt.profile {
			fromMedia, err := system.Extract(t.Context(), bytes.NewReader(data), int64(len(data)), Caller{})
			if err != nil || !bytes.Equal(fromMedia, fromMemory) {
				t.Errorf("%s: Extract and Decode differ: %v", tt.name, err)
			}
		}
		img, err := png.Decode(bytes.NewReader(fromMemory))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if size := img.Bounds().Size(); size != (image.Point{tt.width, tt.height}) {
			t.Errorf("%s: %v", tt.name, size)
		}
		if opaque := img.(interface{ Opaque() bool }).Opaque(); opaque == tt.transparent {
			t.Errorf("%s: opaque %v", tt.name, opaque)
		}
		if got := bytes.Contains(fromMemory, []byte("iCCP")); got != tt.profile {
			t.Errorf("%s: profile %v", tt.name, got)
		}
	}
}

// A thumbnail in the file is enough for a small edge, and the caller is told that it is not enough for more.
func TestHEIFEdge(t *testing.T) {
	needFFmpeg(t)
	data := heifSample(t, "thumbnail.heic")
	width := func(edge int) (width int, reduced bool) {
		t.Helper()
		got, err := system.Decode(t.Context(), data, Caller{Edge: edge, Reduced: func() { reduced = true }})
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := png.DecodeConfig(bytes.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Width, reduced
	}
	full, reduced := width(0)
	if reduced {
		t.Error("the full size is said to be reduced")
	}
	if small, reduced := width(8); small >= full || !reduced {
		t.Errorf("%d of %d pixels, reduced %v", small, full, reduced)
	}
}

// An ffmpeg without a decoder is a missing tool. It is asked once.
func TestHEIFWithoutDecoder(t *testing.T) {
	n := 0
	tool := &Tool{Path: fakeFFmpeg(t, `echo "[hevc @ 0x1] Decoder (codec hevc) not found for input stream #0:0" >&2; exit 1`)}
	for range 3 {
		_, err := tool.Decode(t.Context(), heifSample(t, "odd.heic"), Caller{Started: func() func() { n++; return func() {} }})
		if !errors.Is(err, exec.ErrNotFound) || isPermanent(err) {
			t.Errorf("got %v", err)
		}
	}
	if n != 3 { // protocols, filters and one attempt
		t.Errorf("%d processes", n)
	}
}

// A broken container costs no process.
func TestBrokenHEIF(t *testing.T) {
	needFFmpeg(t)
	data := heifSample(t, "odd.heic")
	_, err := system.Decode(t.Context(), data[:len(data)/2], Caller{})
	if !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), os.TempDir()) {
		t.Errorf("got %v", err)
	}
}

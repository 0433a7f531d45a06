//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	_ "image/png" // for image.Decode
	"os"
	"os/exec"
	"path/filepath"

	_ "golang.org/x/image/webp" // for image.Decode

	"github.com/thumbcache/thumbcache/bench/internal/media"
)

const (
	grid      = 8  // a label is a grid of 8 x 8 bits
	fieldEdge = 40 // pixels of the picture for each bit
	coverEdge = grid * fieldEdge
	checkBits = 24
)

// payload returns the bits that a picture shows: the label and a check of it.
func (l *library) payload(b label) uint64 {
	n := uint64(b.id)<<16 | uint64(b.cover)
	return n<<checkBits | l.mix(5, n)>>(64-checkBits)
}

// draw draws a label: dark fields for 0, bright ones for 1, in a color of the album.
func (l *library) draw(b label) *image.YCbCr {
	img := image.NewYCbCr(image.Rect(0, 0, coverEdge, coverEdge), image.YCbCrSubsampleRatio420)
	bits, color := l.payload(b), l.mix(6, uint64(b.id))
	for y := range coverEdge {
		row := img.Y[y*img.YStride:]
		for x := range coverEdge {
			row[x] = 60 + 130*uint8(bits>>(y/fieldEdge*grid+x/fieldEdge)&1)
		}
	}
	for i := range img.Cb {
		img.Cb[i], img.Cr[i] = 104+uint8(color%48), 104+uint8(color>>8%48)
	}
	return img
}

// cover returns a picture that shows a label.
func (l *library) cover(b label) []byte {
	var data bytes.Buffer
	if err := jpeg.Encode(&data, l.draw(b), &jpeg.Options{Quality: 85}); err != nil {
		panic(err) // a Buffer does not fail
	}
	return data.Bytes()
}

var errNoLabel = errors.New("the picture shows no label of this library")

// readLabel returns the label that a square picture shows, whatever its size and format.
func (l *library) readLabel(data []byte) (b label, edge int, err error) {
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return b, 0, err
	}
	r := img.Bounds()
	if r.Dx() != r.Dy() || r.Dx() < grid*4 {
		return b, 0, errNoLabel
	}
	var means [grid * grid]uint32
	low, high := ^uint32(0), uint32(0)
	for i := range means {
		means[i] = meanOf(img, r.Min.X+r.Dx()*(i%grid)/grid, r.Min.Y+r.Dy()*(i/grid)/grid, r.Dx()/grid)
		low, high = min(low, means[i]), max(high, means[i])
	}
	var bits uint64
	for i, mean := range means {
		if mean > (low+high)/2 {
			bits |= 1 << i
		}
	}
	n := bits >> checkBits
	b = label{uint32(n >> 16), uint16(n)}
	if l.payload(b) != bits {
		return b, 0, errNoLabel
	}
	return b, r.Dx(), nil
}

// meanOf returns the mean brightness of some pixels around the middle of a field.
func meanOf(img image.Image, x, y, edge int) (sum uint32) {
	for _, dy := range []int{2, 3} {
		for _, dx := range []int{2, 3} {
			red, green, blue, _ := img.At(x+edge*dx/5, y+edge*dy/5).RGBA()
			sum += (3*red + 6*green + blue) / 40
		}
	}
	return sum
}

// head returns the beginning of a file, with everything that is not zero. The file goes on to fileSize.
func (l *library) head(o object, s state) []byte {
	if l.isFilm(o) {
		return l.clips[s.rev%numClips]
	}
	var picture []byte
	switch s.content {
	case whole:
		picture = l.cover(l.label(o, s))
	case broken:
		picture = append([]byte("\xff\xd8\xff\xe0 this is no JPEG "), make([]byte, 2000)...)
	}
	if !l.isSong(o) {
		return picture
	}
	switch extensions[int(o)%len(extensions)] {
	case ".flac":
		return media.FLAC(picture)
	case ".m4a":
		return media.M4A(picture)
	}
	return media.MP3(picture)
}

// fileSize returns the length of a file whose head has the given length. The size of half of the songs never changes, because their
// tags have room for it.
func (l *library) fileSize(o object, s state, head int) int64 {
	if !l.isSong(o) {
		return int64(head)
	}
	size := int64(3<<20 + l.mix(7, uint64(o))%(5<<20))
	if o%2 == 1 {
		size += int64(l.mix(8, uint64(o), uint64(s.rev)) % 10_000)
	}
	return size
}

// makeClips has ffmpeg make films of one second that show labels.
func (l *library) makeClips(dir string) (clips [][]byte, err error) {
	for i := range numClips {
		still, film := filepath.Join(dir, "still.jpg"), filepath.Join(dir, "film.mp4")
		if err := os.WriteFile(still, l.cover(label{filmLabel, uint16(i)}), 0o600); err != nil {
			return nil, err
		}
		if _, err := exec.Command("ffmpeg", "-v", "error", "-y", "-loop", "1", "-i", still, "-t", "1", "-r", "5", "-c:v", "mpeg4", "-q:v", "2", film).Output(); err != nil {
			return nil, err
		}
		clip, err := os.ReadFile(film)
		if err != nil {
			return nil, err
		}
		clips = append(clips, clip)
	}
	return clips, nil
}

//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	_ "image/png" // for image.Decode
	"os"
	"os/exec"
	"path/filepath"

	_ "golang.org/x/image/webp" // for image.Decode
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
		return flac(picture)
	case ".m4a":
		return m4a(picture)
	}
	return mp3(picture)
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

// flac returns the beginning of a FLAC file, with a front cover if there is a picture.
func flac(picture []byte) []byte {
	be := binary.BigEndian
	data := append([]byte("fLaC"), 0, 0, 0, 34) // the block STREAMINFO
	data = append(data, make([]byte, 34)...)
	if picture != nil {
		var p []byte // the block PICTURE
		p = be.AppendUint32(p, 3)
		p = be.AppendUint32(p, uint32(len("image/jpeg")))
		p = append(p, "image/jpeg"...)
		p = append(p, make([]byte, 4+4*4)...) // no description; the dimensions are not known
		p = be.AppendUint32(p, uint32(len(picture)))
		p = append(p, picture...)
		data = be.AppendUint32(data, 6<<24|uint32(len(p)))
		data = append(data, p...)
	}
	return append(data, 0x81, 0, 0, 0) // PADDING, the last block
}

// mp3 returns the beginning of an MP3 file, with a front cover if there is a picture.
func mp3(picture []byte) []byte {
	var frames []byte
	frame := func(id string, body []byte) {
		frames = binary.BigEndian.AppendUint32(append(frames, id...), uint32(len(body)))
		frames = append(append(frames, 0, 0), body...)
	}
	frame("TIT2", []byte("\x00A song"))
	if picture != nil {
		frame("APIC", append([]byte("\x00image/jpeg\x00\x03\x00"), picture...))
	}
	n := len(frames)
	data := []byte{'I', 'D', '3', 3, 0, 0, byte(n >> 21 & 127), byte(n >> 14 & 127), byte(n >> 7 & 127), byte(n & 127)}
	return append(append(data, frames...), 0xff, 0xfb, 0x90, 0) // the header of a frame of MPEG audio
}

// m4a returns the beginning of an MP4 file with one track of sound, with a cover if there is a picture.
func m4a(picture []byte) []byte {
	atom := func(name string, parts ...[]byte) []byte {
		body := bytes.Join(parts, nil)
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(8+len(body))), name...), body...)
	}
	handler := append(append(make([]byte, 8), "soun"...), make([]byte, 12)...)
	var list []byte
	if picture != nil {
		list = atom("covr", atom("data", []byte{0, 0, 0, 13, 0, 0, 0, 0}, picture))
	}
	return bytes.Join([][]byte{
		atom("ftyp", []byte("M4A \x00\x00\x00\x00M4A isom")),
		atom("moov", atom("mvhd", make([]byte, 100)), atom("trak", atom("mdia", atom("hdlr", handler))),
			atom("udta", atom("meta", make([]byte, 4), atom("ilst", list)))),
		{0, 0, 0, 0}, []byte("mdat"), // to the end of the file
	}, nil)
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

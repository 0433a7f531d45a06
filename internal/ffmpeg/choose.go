package ffmpeg

import (
	"bytes"
	"context"

	"github.com/thumbcache/thumbcache/internal/jpegdec"
)

// A rating says how good a frame is as a picture of its video. It depends on brightness only.
type rating struct {
	visible   bool // the frame is not black, white or empty
	good      bool // the frame needs no comparison with others
	sharpness int  // the difference of neighbouring pixels at the steepest edges; low if blurred, faded or flat
}

// rate rates a frame. It is not ok unless the frame is a whole JPEG within maxFrame. Rating takes a fraction of the time that
// ffmpeg takes for another frame, and makes other frames unnecessary for most videos.
func rate(data []byte) (r rating, ok bool) {
	// rate runs on a goroutine of os/exec, where a panic of the decoder would end the program.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	h, err := jpegdec.ReadHeader(data)
	if err != nil || max(h.Width, h.Height) > maxFrame {
		return rating{}, false
	}
	var img jpegdec.Image
	err = jpegdec.Decode(context.Background(), data, jpegdec.Options{ChromaScale: 8}, &img) // only the brightness matters
	if err != nil || img.Damaged || img.Model != jpegdec.YCbCr {
		return rating{}, false
	}
	return ratePlane(img.Planes[0]), true
}

// ratePlane rates a plane of brightness. It ignores an eighth at each side, which may be black bars.
//
// Sharpness is a high percentile of the differences of neighbouring pixels. In a sharp picture some of them span a good part of
// the range from dark to bright. A picture out of focus has none, and one that is blurred by motion has none in the direction
// of the motion. So the lesser of both directions counts.
func ratePlane(p jpegdec.Plane) rating {
	var light, across, down histogram
	w, h := p.W, p.H
	for y := h/8 + 1; y < h-h/8; y += 1 + 2*(h/360) { // a sample of the lines is enough
		above, row := p.Pix[(y-1)*p.Stride:], p.Pix[y*p.Stride:]
		for x := w/8 + 1; x < w-w/8; x++ {
			light[row[x]]++
			across[distance(row[x], row[x-1])]++
			down[distance(row[x], above[x])]++
		}
	}
	dark, bright := light.percentile(2), light.percentile(98)
	r := rating{sharpness: min(across.percentile(99.9), down.percentile(99.9))}
	// A frame that is black or white except for less than a quarter, such as a title, does not count as visible.
	r.visible = bright-dark >= 32 && light.percentile(75) > 40 && light.percentile(25) < 230
	// Measured on photographs and drawings: sharpness is at least 0.31 of the range if they are sharp, and at most 0.24 if they
	// are blurred by 2 pixels. In a fade the range does not reach from dark to bright.
	r.good = r.visible && dark < 100 && bright > 170 && r.sharpness*4 > bright-dark
	return r
}

func distance(a, b byte) byte { return max(a, b) - min(a, b) }

// A histogram counts bytes by value.
type histogram [256]int

// percentile returns the smallest value that more than p percent of the bytes do not exceed.
func (h *histogram) percentile(p float64) int {
	n := 0
	for _, c := range h {
		n += c
	}
	n = int(float64(n) * p / 100)
	for i, c := range h {
		if n -= c; n < 0 {
			return i
		}
	}
	return 0
}

// A choice collects the frames of a video and chooses one.
type choice struct {
	frames  []frame
	visible int  // number of visible frames
	good    bool // one of them is good
}

type frame struct {
	data []byte
	rating
}

// collect returns a function that adds the frames in ffmpeg's growing output as they become complete. The function reports
// whether there are enough: the wanted number of visible frames, or, if stopAtGood, a good one.
func (c *choice) collect(stopAtGood bool, wanted int) func(output []byte) bool {
	from, seen := 0, 0 // the start of the incomplete frame; the end of what was searched
	return func(output []byte) bool {
		for {
			n := bytes.Index(output[seen:], []byte(jpegEnd)) // occurs nowhere else in ffmpeg's JPEGs
			if n < 0 {
				seen = max(from, len(output)-1)
				return false
			}
			seen += n + len(jpegEnd)
			f := frame{data: bytes.Clone(output[from:seen])}
			from = seen
			var ok bool
			if f.rating, ok = rate(f.data); !ok {
				continue
			}
			c.frames = append(c.frames, f)
			c.good = c.good || f.good
			if f.visible {
				c.visible++
			}
			if c.good && stopAtGood || c.visible >= wanted {
				return true
			}
		}
	}
}

// best returns the first frame whose sharpness is within a tenth of the best one's, or nil if there are no frames. It prefers
// visible frames.
func (c *choice) best() []byte {
	most := 0
	for _, f := range c.frames {
		if f.visible || c.visible == 0 {
			most = max(most, f.sharpness)
		}
	}
	for _, f := range c.frames {
		if (f.visible || c.visible == 0) && f.sharpness*10 >= most*9 {
			return f.data
		}
	}
	return nil
}

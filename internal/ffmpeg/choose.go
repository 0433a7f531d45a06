package ffmpeg

import (
	"bytes"
	"context"

	"github.com/thumbcache/thumbcache/internal/jpegdec"
)

// A view is what a frame shows, told by its brightness.
type view struct {
	some  bool // something is to be seen
	clear bool // and it is good whatever the other frames are like
	edges int  // how steep the steepest steps are; few if it is blurred, faded or flat
}

// look returns the view of a frame. It is not ok if the frame is no JPEG of the size that was asked for. It takes a small part of
// what ffmpeg takes for one more frame, which most films are spared that way.
func look(data []byte) (v view, ok bool) {
	// This is a goroutine of os/exec: a panic of the decoder would end the program.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	h, err := jpegdec.ReadHeader(data)
	if err != nil || max(h.Width, h.Height) > maxFrame {
		return view{}, false
	}
	var img jpegdec.Image
	err = jpegdec.Decode(context.Background(), data, jpegdec.Options{ChromaScale: 8}, &img) // brightness is all that is looked at
	if err != nil || img.Damaged || img.Model != jpegdec.YCbCr {
		return view{}, false
	}
	return lookAt(img.Planes[0]), true
}

// lookAt returns the view of a picture of brightness. It leaves out an eighth at each side, where the bars are if there are
// any.
//
// A step is the difference of two neighbouring pixels. In a sharp picture, whatever it shows, some of them are a good part of
// the whole range from dark to bright. One that is out of focus has none; one that is blurred by a movement has none in the
// direction of it. So the lesser of the two directions counts.
func lookAt(p jpegdec.Plane) view {
	var light, across, down histogram
	w, h := p.W, p.H
	for y := h/8 + 1; y < h-h/8; y += 1 + 2*(h/360) { // some of the lines are enough
		above, row := p.Pix[(y-1)*p.Stride:], p.Pix[y*p.Stride:]
		for x := w/8 + 1; x < w-w/8; x++ {
			light[row[x]]++
			across[distance(row[x], row[x-1])]++
			down[distance(row[x], above[x])]++
		}
	}
	dark, bright := light.part(0.02), light.part(0.98)
	v := view{edges: min(across.part(0.999), down.part(0.999))}
	// A title is something to be seen, but not if a quarter of the picture is all there is besides black or white.
	v.some = bright-dark >= 32 && light.part(0.75) > 40 && light.part(0.25) < 230
	// Measured on photographs and drawings: at least 0.31 of the range if they are sharp, at most 0.24 if they are blurred by 2
	// pixels. In a fade the range does not reach from dark to bright.
	v.clear = v.some && dark < 100 && bright > 170 && v.edges*4 > bright-dark
	return v
}

func distance(a, b byte) byte { return max(a, b) - min(a, b) }

// A histogram counts bytes by value.
type histogram [256]int

// part returns the value that the given part of all is not above.
func (h *histogram) part(of float64) int {
	n := 0
	for _, c := range h {
		n += c
	}
	n = int(float64(n) * of)
	for i, c := range h {
		if n -= c; n < 0 {
			return i
		}
	}
	return 0
}

// A choice is the frames of which one is to be chosen.
type choice struct {
	frames []frame
	some   int  // frames that show something
	clear  bool // one of them is good without doubt
}

type frame struct {
	data []byte
	view
}

// collect returns a function that takes the frames out of ffmpeg's growing output as they become whole. It reports true
// when there are enough of them: as many as wanted that show something, or, if that will do, a clear one.
func (c *choice) collect(clearWillDo bool, wanted int) func(output []byte) bool {
	from, seen := 0, 0
	return func(output []byte) bool {
		for {
			n := bytes.Index(output[seen:], []byte(jpegEnd)) // nowhere else in what ffmpeg writes
			if n < 0 {
				seen = max(from, len(output)-1)
				return false
			}
			seen += n + len(jpegEnd)
			f := frame{data: bytes.Clone(output[from:seen])}
			from = seen
			var ok bool
			if f.view, ok = look(f.data); !ok {
				continue
			}
			c.frames = append(c.frames, f)
			c.clear = c.clear || f.clear
			if f.some {
				c.some++
			}
			if c.clear && clearWillDo || c.some >= wanted {
				return true
			}
		}
	}
}

// best returns the first frame that is about as good as the best one, or nil if there is none.
func (c *choice) best() []byte {
	most := 0
	for _, f := range c.frames {
		if f.some || c.some == 0 {
			most = max(most, f.edges)
		}
	}
	for _, f := range c.frames {
		if (f.some || c.some == 0) && f.edges*10 >= most*9 {
			return f.data
		}
	}
	return nil
}

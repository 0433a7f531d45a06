package render

import "image"

// maxFrames is the most frames of an animation that are read to find one to show. It bounds the time for an animation in
// which none shows anything.
const maxFrames = 64

// A disposal tells what happens to the area of a frame before the next frame is drawn.
type disposal uint8

const (
	disposeKeep     disposal = iota
	disposeClear             // it becomes transparent
	disposePrevious          // it gets back the pixels that it had before the frame
)

// A frame is the place of one frame of an animation on the canvas. Its rectangle may extend beyond the canvas.
type frame struct {
	rect    image.Rectangle
	dispose disposal
	replace bool // the frame replaces the pixels below it, even with transparent ones
}

// newCanvas returns a transparent RGBA plane.
func newCanvas(width, height int) plane {
	return newPlane(make([]byte, 4*width*height), 4*width, width, height, 4)
}

// An animation draws frames to a transparent canvas.
type animation struct {
	canvas   plane
	frames   []frame
	draw     func(i int) error // draws one frame
	previous []byte            // copy of the canvas for disposePrevious
}

// firstVisible draws the frames one after another, and stops after the first one that makes the canvas show something. If
// there is no such frame, the canvas shows the first of those that come nearest to it. An error of a later frame than the
// first one ends the animation.
func (a *animation) firstVisible() error {
	best, bestSeen := 0, showsNothing
	last, err := a.drawUntil(func(i int) bool {
		seen := a.canvas.seen()
		if seen > bestSeen {
			best, bestSeen = i, seen
		}
		return seen == showsPicture
	})
	if err != nil || last == best {
		return err
	}
	a.canvas.fill(image.Rect(0, 0, a.canvas.width, a.canvas.height), [4]byte{})
	_, err = a.drawUntil(func(i int) bool { return i == best })
	return err
}

// drawUntil draws frames until done returns true for one, and returns the number of the last one.
func (a *animation) drawUntil(done func(i int) bool) (last int, err error) {
	for i, f := range a.frames {
		if f.dispose == disposePrevious {
			a.previous = append(a.previous[:0], a.canvas.pix...)
		}
		if err := a.draw(i); err != nil {
			if i > 0 {
				err = nil
			}
			return i, err
		}
		if done(i) || i == len(a.frames)-1 {
			return i, nil
		}
		switch f.dispose {
		case disposeClear:
			a.canvas.fill(f.rect, [4]byte{})
		case disposePrevious:
			copy(a.canvas.pix, a.previous)
		}
	}
	return 0, nil
}

// A seen tells how much there is to see of a frame.
type seen uint8

const (
	showsNothing seen = iota // all is transparent
	showsColour              // all has one colour
	showsShape               // all is white or transparent
	showsPicture
)

// seen tells how much there is to see of an RGBA plane.
func (p plane) seen() seen {
	first := [4]byte(p.pix)
	uniform := true
	for y := range p.height {
		row := p.pix[y*p.stride:][:4*p.width]
		for ; len(row) >= 4; row = row[4:] {
			pixel := [4]byte(row)
			if pixel == first {
				continue
			}
			uniform = uniform && similar(pixel, first)
			if !similar(onWhitePixel(pixel), onWhitePixel(first)) {
				return showsPicture
			}
		}
	}
	switch {
	case !uniform:
		return showsShape
	case first[3] > 0:
		return showsColour
	}
	return showsNothing
}

// similar reports whether two colours differ by no more than a lossy format makes of one colour.
func similar(a, b [4]byte) bool {
	const tolerance = 4
	for c := range a {
		if d := int(a[c]) - int(b[c]); d < -tolerance || d > tolerance {
			return false
		}
	}
	return true
}

// onWhitePixel composes a premultiplied pixel with a white background.
func onWhitePixel(p [4]byte) [4]byte {
	for c := range 3 {
		p[c] += 255 - p[3]
	}
	p[3] = 255
	return p
}

// fill fills the part of an RGBA plane that is within r.
func (p plane) fill(r image.Rectangle, colour [4]byte) {
	r = r.Intersect(image.Rect(0, 0, p.width, p.height))
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := p.pix[y*p.stride+4*r.Min.X:][:4*r.Dx()]
		for ; len(row) >= 4; row = row[4:] {
			copy(row, colour[:])
		}
	}
}

// drawAt draws a premultiplied RGBA plane on p with its upper left corner at the given position. Pixels beyond p are
// dropped. Unless replace is set, the plane is composed with the pixels below it.
func (p plane) drawAt(src plane, at image.Point, replace bool) {
	r := image.Rect(0, 0, src.width, src.height).Add(at).Intersect(image.Rect(0, 0, p.width, p.height))
	for y := r.Min.Y; y < r.Max.Y; y++ {
		to := p.pix[y*p.stride+4*r.Min.X:][:4*r.Dx()]
		from := src.pix[(y-at.Y)*src.stride+4*(r.Min.X-at.X):][:4*r.Dx()]
		if replace {
			copy(to, from)
			continue
		}
		drawOver(to, from)
	}
}

// drawOver composes a row of premultiplied RGBA with the row below it.
func drawOver(to, from []byte) {
	for ; len(from) >= 4 && len(to) >= 4; to, from = to[4:], from[4:] {
		switch a := 255 - uint32(from[3]); a {
		case 0:
			copy(to[:4], from)
		case 255:
		default:
			for c, v := range from[:4] {
				to[c] = byte(min(255, uint32(v)+(uint32(to[c])*a+127)/255))
			}
		}
	}
}

package render

import "image"

// maxFrames is the most frames of an animation that are read to find one to show. It bounds the time for an animation in
// which all of them are blank.
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

// firstVisible draws the frames of an animation to the canvas one after another, and stops after the first one that makes
// the canvas show something: more than one colour. If there is no such frame, the canvas gets the first colour that is not
// transparent. draw draws one frame. If it fails for a later frame than the first, that ends the animation.
func firstVisible(canvas plane, frames []frame, draw func(i int) error) error {
	var colour [4]byte // of the first blank frame that is not transparent
	var previous []byte
	for i, f := range frames {
		if f.dispose == disposePrevious {
			previous = append(previous[:0], canvas.pix...)
		}
		if err := draw(i); err != nil {
			if i == 0 {
				return err
			}
			break
		}
		if len(frames) == 1 {
			return nil
		}
		c, blank := canvas.blank()
		if !blank {
			return nil
		}
		if colour[3] == 0 {
			colour = c
		}
		switch f.dispose {
		case disposeClear:
			canvas.fill(f.rect, [4]byte{})
		case disposePrevious:
			copy(canvas.pix, previous)
		}
	}
	canvas.fill(image.Rect(0, 0, canvas.width, canvas.height), colour)
	return nil
}

// blank reports whether all pixels of an RGBA plane have nearly the same colour, and returns that of the first pixel.
func (p plane) blank() (colour [4]byte, blank bool) {
	const tolerance = 4 // for frames in a lossy format
	colour = [4]byte(p.pix)
	for y := range p.height {
		row := p.pix[y*p.stride:][:4*p.width]
		for ; len(row) >= 4; row = row[4:] {
			if [4]byte(row) == colour {
				continue
			}
			for c, v := range row[:4] {
				if d := int(v) - int(colour[c]); d < -tolerance || d > tolerance {
					return colour, false
				}
			}
		}
	}
	return colour, true
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

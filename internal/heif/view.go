package heif

import "math"

// A rectangle is a range of pixels; right and bottom are exclusive.
type rectangle struct{ left, top, right, bottom int }

func (r rectangle) width() int  { return r.right - r.left }
func (r rectangle) height() int { return r.bottom - r.top }

// An orientation is the step in the coded picture for a step to the right, and for one down, in the shown picture.
type orientation struct{ rightX, rightY, downX, downY int }

func (o orientation) transposes() bool { return o.rightX == 0 }

// exif returns the orientation as in EXIF, 1 to 8.
func (o orientation) exif() int {
	for i, known := range []orientation{
		{1, 0, 0, 1}, {-1, 0, 0, 1}, {-1, 0, 0, -1}, {1, 0, 0, -1}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, -1, 0}, {0, 1, -1, 0},
	} {
		if o == known {
			return i + 1
		}
	}
	return 1
}

// A view is the shown part of a coded picture and its orientation. The coded pixel at x, y is shown at the top left.
type view struct {
	x, y          int
	width, height int
	orientation
	cropped bool
}

func newView(width, height int) view {
	return view{width: width, height: height, orientation: orientation{rightX: 1, downY: 1}}
}

func (v view) longest() int { return max(v.width, v.height) }

// looksLike reports whether two views have the same orientation and, up to rounding, the same shape.
func (v view) looksLike(w view) bool {
	a, b := int64(v.width)*int64(w.height), int64(w.width)*int64(v.height)
	return v.orientation == w.orientation && max(a, b)-min(a, b) <= max(a, b)/50+int64(max(v.longest(), w.longest()))
}

// rectangle returns the coded pixels that are shown.
func (v view) rectangle() rectangle {
	x := v.x + (v.width-1)*v.rightX + (v.height-1)*v.downX
	y := v.y + (v.width-1)*v.rightY + (v.height-1)*v.downY
	return rectangle{min(v.x, x), min(v.y, y), max(v.x, x) + 1, max(v.y, y) + 1}
}

// apply applies transforms in order.
func (v *view) apply(transforms []transform) error {
	for _, t := range transforms {
		switch t.kind {
		case "irot":
			for range t.turn {
				v.turn()
			}
		case "imir":
			if t.turn == 0 {
				v.moveOrigin(0, v.height-1)
				v.downX, v.downY = -v.downX, -v.downY
			} else {
				v.moveOrigin(v.width-1, 0)
				v.rightX, v.rightY = -v.rightX, -v.rightY
			}
		case "clap":
			if err := v.crop(t.clean); err != nil {
				return err
			}
		}
	}
	return nil
}

// moveOrigin makes the shown pixel at x, y the one at the top left.
func (v *view) moveOrigin(x, y int) {
	v.x += x*v.rightX + y*v.downX
	v.y += x*v.rightY + y*v.downY
}

// turn rotates by 90 degrees anticlockwise: the pixel at the top right moves to the top left.
func (v *view) turn() {
	v.moveOrigin(v.width-1, 0)
	v.orientation = orientation{v.downX, v.downY, -v.rightX, -v.rightY}
	v.width, v.height = v.height, v.width
}

// crop crops to a clean aperture (ISO/IEC 14496-12, 12.1.4), rounded to whole pixels.
func (v *view) crop(c clean) error {
	left, width, ok := aperture(v.width, c.width, c.widthBy, c.x, c.xBy)
	top, height, ok2 := aperture(v.height, c.height, c.heightBy, c.y, c.yBy)
	if !ok || !ok2 {
		return corrupt("clean aperture")
	}
	v.moveOrigin(left, top)
	v.cropped = v.cropped || width != v.width || height != v.height
	v.width, v.height = width, height
	return nil
}

// aperture returns the start and the length of a clean aperture along an edge. The offset is signed.
func aperture(edge int, length, lengthBy, offset, offsetBy uint32) (start, n int, ok bool) {
	if lengthBy == 0 || offsetBy == 0 {
		return 0, 0, false
	}
	size := float64(length) / float64(lengthBy)
	first := float64(int32(offset))/float64(offsetBy) + (float64(edge)-size)/2
	last := min(first+size, float64(edge))
	first = max(first, 0)
	if size < 1 || last-first < 1 {
		return 0, 0, false
	}
	start = int(math.Round(first))
	return start, max(1, min(int(math.Round(last)), edge)-start), start < edge
}

package heif

import "math"

// A rectangle is a range of pixels, without those at right and bottom.
type rectangle struct{ left, top, right, bottom int }

func (r rectangle) width() int  { return r.right - r.left }
func (r rectangle) height() int { return r.bottom - r.top }

// An orientation is where in the coded picture one gets by a step to the right, and by one down, in the shown picture.
type orientation struct{ rightX, rightY, downX, downY int }

func (o orientation) transposes() bool { return o.rightX == 0 }

// exif returns the orientation as EXIF numbers it.
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

// A view is what of a coded picture is shown, and how: x, y is the coded pixel at its left top.
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

// resembles reports whether two views are oriented alike and of the same shape, except for rounding.
func (v view) resembles(w view) bool {
	a, b := int64(v.width)*int64(w.height), int64(w.width)*int64(v.height)
	return v.orientation == w.orientation && max(a, b)-min(a, b) <= max(a, b)/50+int64(max(v.longest(), w.longest()))
}

// rectangle returns the coded pixels that are shown.
func (v view) rectangle() rectangle {
	x := v.x + (v.width-1)*v.rightX + (v.height-1)*v.downX
	y := v.y + (v.width-1)*v.rightY + (v.height-1)*v.downY
	return rectangle{min(v.x, x), min(v.y, y), max(v.x, x) + 1, max(v.y, y) + 1}
}

// apply applies transforms one after another.
func (v *view) apply(transforms []transform) error {
	for _, t := range transforms {
		switch t.kind {
		case "irot":
			for range t.turn {
				v.turn()
			}
		case "imir":
			if t.turn == 0 {
				v.move(0, v.height-1)
				v.downX, v.downY = -v.downX, -v.downY
			} else {
				v.move(v.width-1, 0)
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

// move makes the pixel at x, y as shown the left top one.
func (v *view) move(x, y int) {
	v.x += x*v.rightX + y*v.downX
	v.y += x*v.rightY + y*v.downY
}

// turn turns by a quarter, anticlockwise: what was at the right top comes to the left top.
func (v *view) turn() {
	v.move(v.width-1, 0)
	v.orientation = orientation{v.downX, v.downY, -v.rightX, -v.rightY}
	v.width, v.height = v.height, v.width
}

// crop leaves the clean aperture (ISO/IEC 14496-12, 12.1.4), cut to whole pixels within the picture.
func (v *view) crop(c clean) error {
	left, width, ok := aperture(v.width, c.width, c.widthBy, c.x, c.xBy)
	top, height, ok2 := aperture(v.height, c.height, c.heightBy, c.y, c.yBy)
	if !ok || !ok2 {
		return corrupt("clean aperture")
	}
	v.move(left, top)
	v.cropped = v.cropped || width != v.width || height != v.height
	v.width, v.height = width, height
	return nil
}

// aperture returns where a clean aperture starts in edge pixels, and its length. Offsets are signed.
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

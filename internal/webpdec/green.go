package webpdec

import (
	"encoding/binary"
	"slices"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A greenReader decodes the green channel of a lossless picture, in bytes. Green depends on the other channels only in the
// color cache, which holds the pixels before transforms, and in the predictor that selects one of two neighbors. While all
// pixels have the same other channels, as in a picture of alpha, that predictor sees no difference in them.
type greenReader struct {
	d          vp8l
	wide       bool         // the predictor needs all channels
	predictor  *transform   // the first transform to be undone, or nil
	palette    *transform   // or nil
	greens     *[256]uint64 // of the palette, see [transform.greens]
	others     uint32       // channels other than green of every pixel, after the predictor is undone
	row, above []byte       // the next row and the one above, for the predictor; one byte longer than the picture is wide
}

const greenBits = 0xff00 // the bits of green in ARGB

func newGreenReader(data []byte, w, h int) (*greenReader, error) {
	g := new(greenReader)
	if err := g.d.read(data, w, h); err != nil {
		return nil, err
	}
	for i := range g.d.transforms {
		t := &g.d.transforms[i]
		switch t.kind {
		case transformPredictor:
			// Modes that look at no neighbor change the other channels, and so do transforms that are undone before.
			g.predictor = t
			g.wide = i < len(g.d.transforms)-1 || slices.ContainsFunc(t.modes, func(m uint8) bool { return m == 0 || m > 13 })
			g.above = make([]byte, t.width+1)
		case transformIndexing:
			g.palette = t
			g.greens = t.greens()
		}
	}
	g.row = make([]byte, g.d.pixels.w+1)
	return g, nil
}

// nextRow decodes the next row to dst.
func (g *greenReader) nextRow(dst []byte) error {
	pixels, err := g.d.pixels.nextRow(&g.d.bits)
	if err != nil {
		return err
	}
	row := dst
	if g.predictor != nil || g.palette != nil {
		row = g.row[:len(pixels)]
	}
	if !g.wide {
		others := greensOf(row, pixels)
		g.wide = g.predictor != nil && !g.predict(others, pixels[0])
	}
	if g.wide {
		greensOf(dst, g.d.undo(pixels))
		return nil
	}
	g.d.y++
	switch {
	case g.palette != nil:
		expand(dst, row, g.greens, g.palette.bits)
	case g.predictor != nil:
		copy(dst, row)
	}
	return nil
}

// greensOf copies the green channel of src. It returns the bits of the other channels that are set in any pixel but the first.
func greensOf(dst []byte, src []uint32) (others uint32) {
	dst = dst[:len(src)]
	dst[0] = byte(src[0] >> 8)
	for x := 1; x < len(src); x++ {
		v := src[x]
		dst[x] = byte(v >> 8)
		others |= v
	}
	return others &^ greenBits
}

// predict undoes the predictor transform of g.row. others are bits of the other channels of the differences after the
// first one. It returns false if the pixels do not all have the same other channels, and then prepares the transform to be
// undone on all channels.
func (g *greenReader) predict(others, first uint32) bool {
	t := g.predictor
	w := t.width
	row, above := g.row[:w+1], g.above[:w+1]
	if g.d.y == 0 {
		g.others = addPixels(0xff000000, first) &^ greenBits
	} else {
		others |= first &^ greenBits
	}
	if others != 0 {
		for x, v := range above[:w] {
			t.above[x] = g.others | uint32(v)<<8
		}
		return false
	}
	if g.d.y == 0 {
		predictBytes(1, row[:w], above)
	} else {
		row[0] += above[0]
		above[w] = row[0] // as in transform.predict
		for i, mode := range t.modes[g.d.y>>t.bits*t.stride:][:t.stride] {
			from, to := max(1, i<<t.bits), min(w, (i+1)<<t.bits)
			if from < to {
				predictBytes(mode, row[from-1:to], above[from-1:to+1])
			}
		}
	}
	g.row, g.above = above, row
	return true
}

// predictBytes adds to each byte of row after the first what the given mode of the predictor predicts. above begins with
// the byte above the first one of row, and has one more.
func predictBytes(mode uint8, row, above []byte) {
	switch mode {
	case 2, 3, 4, 8, 9:
		predictBytesDown(mode, row[1:], above)
	default:
		predictBytesAcross(mode, row, above)
	}
}

// predictBytesDown predicts from above.
func predictBytesDown(mode uint8, row, above []byte) {
	n := len(row)
	corners, tops, rights := above[:n], above[1:][:n], above[2:]
	switch mode {
	case 2:
		addBytes(row, tops)
	case 3:
		addBytes(row, rights[:n])
	case 4:
		addBytes(row, corners)
	case 8:
		for x, v := range row {
			row[x] = v + averageBytes(corners[x], tops[x])
		}
	case 9:
		rights = rights[:n]
		for x, v := range row {
			row[x] = v + averageBytes(tops[x], rights[x])
		}
	}
}

// predictBytesAcross predicts from the left, too. [neighborhood.predictAcross] does so for all channels.
func predictBytesAcross(mode uint8, row, above []byte) {
	left := row[0]
	row = row[1:]
	n := len(row)
	corners, tops, rights := above[:n], above[1:][:n], above[2:][:n]
	switch mode {
	case 1:
		for x, v := range row {
			left += v
			row[x] = left
		}
	case 5:
		for x, v := range row {
			left = v + averageBytes(averageBytes(left, rights[x]), tops[x])
			row[x] = left
		}
	case 6:
		for x, v := range row {
			left = v + averageBytes(left, corners[x])
			row[x] = left
		}
	case 7:
		for x, v := range row {
			left = v + averageBytes(left, tops[x])
			row[x] = left
		}
	case 10:
		for x, v := range row {
			left = v + averageBytes(averageBytes(left, corners[x]), averageBytes(tops[x], rights[x]))
			row[x] = left
		}
	case 11:
		for x, v := range row {
			corner, top := int32(corners[x]), int32(tops[x])
			p := byte(top)
			if max(top-corner, corner-top) < max(int32(left)-corner, corner-int32(left)) {
				p = left
			}
			left = v + p
			row[x] = left
		}
	case 12:
		for x, v := range row {
			left = v + vp8.Clamp(int32(left)+int32(tops[x])-int32(corners[x]))
			row[x] = left
		}
	case 13:
		for x, v := range row {
			a := int32(averageBytes(left, tops[x]))
			left = v + vp8.Clamp(a+(a-int32(corners[x]))/2)
			row[x] = left
		}
	}
}

func averageBytes(a, b byte) byte { return byte((uint32(a) + uint32(b)) / 2) }

// addBytes adds the bytes of b to those of a.
func addBytes(a, b []byte) {
	const high = 0x8080808080808080
	for len(a) >= 8 && len(b) >= 8 {
		v, w := binary.LittleEndian.Uint64(a), binary.LittleEndian.Uint64(b)
		binary.LittleEndian.PutUint64(a, (v&^high+w&^high)^(v^w)&high)
		a, b = a[8:], b[8:]
	}
	for i, v := range b[:len(a)] {
		a[i] += v
	}
}

// greens returns the green channels of the up to 8 pixels that each packed byte of indexes stands for, the first one in the
// lowest byte.
func (t *transform) greens() *[256]uint64 {
	table := new([256]uint64)
	width := 8 >> t.bits // bits of an index
	for i := range table {
		for k := range 1 << t.bits {
			color := t.palette[i>>(k*width)&(1<<width-1)]
			table[i] |= uint64(color>>8&255) << (8 * k)
		}
	}
	return table
}

// expand looks up packed bytes of 1<<bits indexes each.
func expand(dst, src []byte, table *[256]uint64, bits uint) {
	if bits == 0 {
		for x, v := range src {
			dst[x] = byte(table[v])
		}
		return
	}
	n := 1 << bits
	for len(dst) >= 8 && len(src) > 0 {
		binary.LittleEndian.PutUint64(dst, table[src[0]])
		dst, src = dst[n:], src[1:]
	}
	for x := range dst {
		dst[x] = byte(table[src[x>>bits]] >> (8 * (x & (n - 1))))
	}
}

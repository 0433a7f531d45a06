package webpdec

import "encoding/binary"

// A vp8l decodes a lossless bitstream row by row: RFC 9649, section 3.
type vp8l struct {
	width, height int
	bits          bitReader
	tables        tables
	lengthTable   [1 << 7]uint16 // for the code of code lengths, which are at most 7
	buffer        []uint32       // of the image that is being decoded
	unsorted      bool           // a simple code lists its symbols out of order, which not all decoders sort
	transforms    []transform
	pixels        entropyImage
	work, indexed []uint32 // rows between transforms
	y             int      // of the next row
}

// A transform is undone on each row of pixels: section 3.5.
type transform struct {
	kind    uint32
	width   int // of the picture after it is undone
	bits    uint
	stride  int      // tiles in a row
	modes   []uint8  // of the predictor, by tile
	factors []uint32 // of the color transform, by tile
	palette *[256]uint32
	above   []uint32 // row above, of the predictor
	row     []uint32
}

const (
	transformPredictor = iota
	transformColor
	transformSubtractGreen
	transformIndexing
)

// vp8lSize returns the size of a lossless picture.
func vp8lSize(data []byte) (width, height int, err error) {
	if len(data) < 5 {
		return 0, 0, errTruncated
	}
	bits := binary.LittleEndian.Uint32(data[1:])
	if data[0] != 0x2f || bits>>29 != 0 {
		return 0, 0, FormatError("not a lossless bitstream")
	}
	return 1 + int(bits&0x3fff), 1 + int(bits>>14&0x3fff), nil
}

// readVP8L reads the header and the transforms of a picture of the given size. data begins after the size.
func readVP8L(data []byte, width, height int) (*vp8l, error) {
	d := new(vp8l)
	return d, d.read(data, width, height)
}

func (d *vp8l) read(data []byte, width, height int) error {
	d.width, d.height, d.bits = width, height, bitReader{data: data}
	d.tables.budget = codeBudget(width, height, len(data))
	d.buffer = make([]uint32, bufferPixels(width, height))
	seen := 0
	w := width
	for d.bits.read(1) != 0 {
		t := transform{kind: d.bits.read(2), width: w}
		if seen&(1<<t.kind) != 0 {
			return FormatError("repeated transform")
		}
		seen |= 1 << t.kind
		if err := d.readTransform(&t); err != nil {
			return err
		}
		if t.kind == transformIndexing {
			w = ceilDiv(w, 1<<t.bits)
		}
		d.transforms = append(d.transforms, t)
	}
	d.work = make([]uint32, width)
	return d.readImage(&d.pixels, w, height, true)
}

// readTransform reads the tiles or the palette of a transform.
func (d *vp8l) readTransform(t *transform) error {
	switch t.kind {
	case transformPredictor, transformColor:
		t.bits = 2 + uint(d.bits.read(3))
		t.stride = ceilDiv(t.width, 1<<t.bits)
		rows := ceilDiv(d.height, 1<<t.bits)
		var m entropyImage
		if err := d.readImage(&m, t.stride, rows, false); err != nil {
			return err
		}
		if t.kind == transformPredictor {
			t.modes = make([]uint8, t.stride*rows)
			t.above, t.row = make([]uint32, t.width+1), make([]uint32, t.width+1)
		} else {
			t.factors = make([]uint32, t.stride*rows)
		}
		for y := range rows {
			row, err := m.nextRow(&d.bits)
			if err != nil {
				return err
			}
			if t.kind == transformColor {
				copy(t.factors[y*t.stride:], row)
				continue
			}
			for x, v := range row {
				t.modes[y*t.stride+x] = uint8(v >> 8 & 15)
			}
		}
	case transformIndexing:
		n := 1 + int(d.bits.read(8))
		switch {
		case n <= 2:
			t.bits = 3
		case n <= 4:
			t.bits = 2
		case n <= 16:
			t.bits = 1
		}
		var m entropyImage
		if err := d.readImage(&m, n, 1, false); err != nil {
			return err
		}
		row, err := m.nextRow(&d.bits)
		if err != nil {
			return err
		}
		t.palette = new([256]uint32)
		var last uint32
		for i, v := range row {
			last = addPixels(last, v)
			t.palette[i] = last
		}
		d.indexed = make([]uint32, t.width)
	}
	return nil
}

// nextRow returns the next row of the picture as ARGB. It is valid until the next call.
func (d *vp8l) nextRow() ([]uint32, error) {
	row, err := d.pixels.nextRow(&d.bits)
	if err != nil {
		return nil, err
	}
	return d.undo(row), nil
}

// undo undoes the transforms of the next row.
func (d *vp8l) undo(row []uint32) []uint32 {
	for i := len(d.transforms) - 1; i >= 0; i-- {
		t := &d.transforms[i]
		switch t.kind {
		case transformPredictor:
			t.predict(row, d.y)
			row = t.above[:t.width]
		case transformColor:
			t.addColor(d.work, row, d.y)
			row = d.work[:t.width]
		case transformSubtractGreen:
			addGreen(d.work, row)
			row = d.work[:len(row)]
		case transformIndexing:
			t.lookUp(d.indexed, row)
			row = d.indexed
		}
	}
	d.y++
	return row
}

// A codeGroup holds the prefix codes of a tile.
type codeGroup struct {
	green, red, blue, alpha, distance prefixCode
	plain                             bool   // only green takes bits, unless it is a length or a color of the cache
	color                             uint32 // then, the rest of the pixel
}

// codeGroupBytes is the size of a codeGroup, rounded up.
const codeGroupBytes = 176

// window is the number of pixels that a copy can reach back: the largest distance is 1,048,456.
const window = 1 << 20

// maxCopy is the largest number of pixels of a copy.
const maxCopy = 4096

// An entropyImage decodes pixels that are coded with prefix codes, as differences or indexes if there are transforms:
// section 3.6. It keeps the last pixels in a window, because pixels are copied from them.
type entropyImage struct {
	w, h     int
	left     int // pixels after those in buf
	buf      []uint32
	pos      int // end of the decoded pixels in buf
	rowStart int // start of the next row in buf
	y        int

	cache      []uint32
	cacheShift uint
	cached     int // end of the pixels in buf that are in the cache

	groups   []codeGroup
	tiles    []uint16 // group of each tile, or nil if there is one group
	tileBits uint
	stride   int // tiles in a row
}

// bufferPixels returns the number of pixels that are kept of an image. Half a window more than necessary makes it rare
// that the window has to move.
func bufferPixels(w, h int) int { return int(min(int64(w)*int64(h), window*3/2)) }

// readImage reads the header of an image. main is set for that with the picture, which may have several groups of codes.
func (d *vp8l) readImage(m *entropyImage, w, h int, main bool) error {
	b := &d.bits
	m.w, m.h = w, h
	var cacheSize int
	if b.read(1) != 0 {
		bits := uint(b.read(4))
		if bits < 1 || bits > 11 {
			return FormatError("wrong size of the color cache")
		}
		cacheSize = 1 << bits
		m.cache, m.cacheShift = make([]uint32, cacheSize), 32-bits
	}
	groups := 1
	if main && b.read(1) != 0 {
		var err error
		if groups, err = d.readTiles(m); err != nil {
			return err
		}
	}
	var number []int32 // of the groups in use, plus 1
	used := 1
	if m.tiles != nil {
		const minBits = 5 * 4 // of a group
		if int64(groups)*minBits > 8*int64(len(b.data)) {
			return errTruncated
		}
		number = make([]int32, groups)
		used = 0
		for i, g := range m.tiles {
			if number[g] == 0 {
				used++
				number[g] = int32(used)
			}
			m.tiles[i] = uint16(number[g] - 1)
		}
	}
	if err := d.tables.take(int64(used) * codeGroupBytes); err != nil {
		return err
	}
	m.groups = make([]codeGroup, used)
	var lengths [maxAlphabet]uint8
	for i := range groups {
		var g *codeGroup
		if number == nil {
			g = &m.groups[0]
		} else if number[i] != 0 {
			g = &m.groups[number[i]-1]
		}
		if err := d.readGroup(g, cacheSize, &lengths); err != nil {
			return err
		}
		if b.overrun() {
			return errTruncated
		}
	}
	n := bufferPixels(w, h)
	if n > len(d.buffer) {
		d.buffer = make([]uint32, n)
	}
	m.buf = d.buffer[:n]
	m.left = w*h - n
	return nil
}

// readTiles reads the number of the group of each tile, and returns the number of groups: section 3.7.2.2.
func (d *vp8l) readTiles(m *entropyImage) (groups int, err error) {
	m.tileBits = 2 + uint(d.bits.read(3))
	m.stride = ceilDiv(m.w, 1<<m.tileBits)
	rows := ceilDiv(m.h, 1<<m.tileBits)
	var numbers entropyImage
	if err := d.readImage(&numbers, m.stride, rows, false); err != nil {
		return 0, err
	}
	m.tiles = make([]uint16, m.stride*rows)
	for y := range rows {
		row, err := numbers.nextRow(&d.bits)
		if err != nil {
			return 0, err
		}
		for x, v := range row {
			g := uint16(v >> 8)
			m.tiles[y*m.stride+x] = g
			groups = max(groups, int(g)+1)
		}
	}
	return groups, nil
}

// readGroup reads the five codes of a group. If g is nil, no tile uses the group.
func (d *vp8l) readGroup(g *codeGroup, cacheSize int, lengths *[maxAlphabet]uint8) (err error) {
	var codes [5]prefixCode
	for i, n := range [5]int{256 + 24 + cacheSize, 256, 256, 256, 40} {
		alphabet := lengths[:n]
		clear(alphabet)
		if err := d.readLengths(alphabet); err != nil {
			return err
		}
		if g == nil {
			continue
		}
		if codes[i], err = d.tables.code(alphabet); err != nil {
			return err
		}
	}
	if g == nil {
		return nil
	}
	*g = codeGroup{green: codes[0], red: codes[1], blue: codes[2], alpha: codes[3], distance: codes[4]}
	if g.red.mask|g.blue.mask|g.alpha.mask == 0 {
		g.plain = true
		g.color = uint32(g.alpha.table[0]>>4)<<24 | uint32(g.red.table[0]>>4)<<16 | uint32(g.blue.table[0]>>4)
	}
	return nil
}

// nextRow decodes the next row. It is valid until the next call, and must not be changed.
func (m *entropyImage) nextRow(b *bitReader) ([]uint32, error) {
	if m.left > 0 && m.rowStart+m.w+maxCopy > len(m.buf) {
		m.fillCache()
		n := m.pos - window
		copy(m.buf, m.buf[n:m.pos])
		m.pos, m.rowStart, m.cached = m.pos-n, m.rowStart-n, m.cached-n
		if n > m.left {
			m.buf = m.buf[:len(m.buf)-n+m.left]
			n = m.left
		}
		m.left -= n
	}
	end := m.rowStart + m.w
	if m.pos < end {
		if err := m.decode(b, end); err != nil {
			return nil, err
		}
	}
	row := m.buf[m.rowStart:end]
	m.rowStart = end
	m.y++
	m.fillCache()
	return row, nil
}

// fillCache adds the pixels to the color cache that are not in it yet: section 3.6.2.3.
func (m *entropyImage) fillCache() {
	if m.cache == nil {
		return
	}
	for _, v := range m.buf[m.cached:m.pos] {
		m.cache[(v*0x1e35a7bd)>>(m.cacheShift&31)] = v
	}
	m.cached = m.pos
}

// decode decodes pixels until at least end of them are in the buffer.
func (m *entropyImage) decode(b *bitReader, end int) error {
	bits := b.bitState
	buf, pos := m.buf, m.pos
	g := &m.groups[0]
	var tiles []uint16
	tileMask := -1
	if m.tiles != nil {
		tiles = m.tiles[m.y>>m.tileBits*m.stride:][:m.stride]
		tileMask = 1<<m.tileBits - 1
	}
	for pos < end {
		stop := end // of the pixels with the same codes
		if tiles != nil {
			x := pos - m.rowStart
			g = &m.groups[tiles[x>>m.tileBits]]
			stop = min(end, pos+tileMask+1-x&tileMask)
		}
		for pos < stop {
			var s uint16
			bits = b.ready(bits, 32)
			s, bits = bits.symbol(&g.green)
			if s < 256 {
				v := uint32(s) << 8
				if g.plain {
					buf[pos] = v | g.color
					pos++
					continue
				}
				s, bits = bits.symbol(&g.red)
				v |= uint32(s) << 16
				bits = b.ready(bits, 32)
				s, bits = bits.symbol(&g.blue)
				v |= uint32(s)
				s, bits = bits.symbol(&g.alpha)
				buf[pos] = v | uint32(s)<<24
				pos++
				continue
			}
			if s >= 256+24 {
				m.pos = pos
				m.fillCache()
				s -= 256 + 24
				if int(s) >= len(m.cache) {
					return FormatError("color outside the cache")
				}
				buf[pos] = m.cache[s]
				pos++
				continue
			}
			b.bitState = bits
			length := b.number(uint32(s) - 256)
			distance := m.distance(b.number(uint32(b.symbol(&g.distance))))
			bits = b.bitState
			from := pos - distance
			if from < 0 || length > len(buf)-pos+m.left {
				return FormatError("copy outside the picture")
			}
			copyPixels(buf, pos, from, length)
			pos += length
		}
	}
	m.pos = pos
	b.bitState = bits
	if b.overrun() {
		return errTruncated
	}
	return nil
}

// copyPixels copies n pixels. They may overlap those that they are copied from, and then repeat them.
func copyPixels(buf []uint32, to, from, n int) {
	for n > 0 {
		k := copy(buf[to:to+n], buf[from:to])
		to, n = to+k, n-k
	}
}

// number returns a length or distance from its prefix symbol: section 3.6.2.2.
func (b *bitReader) number(symbol uint32) int {
	if symbol < 4 {
		return int(symbol) + 1
	}
	extra := uint(symbol-2) >> 1
	return int((2+symbol&1)<<extra+b.read(extra)) + 1
}

// distance maps the code of a distance to a number of pixels. Small codes mean pixels nearby in two dimensions.
func (m *entropyImage) distance(code int) int {
	if code > len(nearby) {
		return code - len(nearby)
	}
	v := int(nearby[code-1])
	return max(1, v>>4*m.w+8-v&15)
}

// nearby holds the rows and 8 minus the columns between a pixel and those near to it, in order of their distance.
var nearby = [120]uint8{
	0x18, 0x07, 0x17, 0x19, 0x28, 0x06, 0x27, 0x29, 0x16, 0x1a, 0x26, 0x2a, 0x38, 0x05, 0x37, 0x39, 0x15, 0x1b, 0x36, 0x3a,
	0x25, 0x2b, 0x48, 0x04, 0x47, 0x49, 0x14, 0x1c, 0x35, 0x3b, 0x46, 0x4a, 0x24, 0x2c, 0x58, 0x45, 0x4b, 0x34, 0x3c, 0x03,
	0x57, 0x59, 0x13, 0x1d, 0x56, 0x5a, 0x23, 0x2d, 0x44, 0x4c, 0x55, 0x5b, 0x33, 0x3d, 0x68, 0x02, 0x67, 0x69, 0x12, 0x1e,
	0x66, 0x6a, 0x22, 0x2e, 0x54, 0x5c, 0x43, 0x4d, 0x65, 0x6b, 0x32, 0x3e, 0x78, 0x01, 0x77, 0x79, 0x53, 0x5d, 0x11, 0x1f,
	0x64, 0x6c, 0x42, 0x4e, 0x76, 0x7a, 0x21, 0x2f, 0x75, 0x7b, 0x31, 0x3f, 0x63, 0x6d, 0x52, 0x5e, 0x00, 0x74, 0x7c, 0x41,
	0x4f, 0x10, 0x20, 0x62, 0x6e, 0x30, 0x73, 0x7d, 0x51, 0x5f, 0x40, 0x72, 0x7e, 0x61, 0x6f, 0x50, 0x71, 0x7f, 0x60, 0x70,
}

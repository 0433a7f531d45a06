package render

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"context"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"io"
)

// Colour types of PNG (W3C PNG, third edition, 11.2.1).
const (
	pngGrey      = 0
	pngRGB       = 2
	pngPalette   = 3
	pngGreyAlpha = 4
	pngRGBA      = 6
)

// A pngHeader holds what chunks before and between the image data say. Its slices are parts of the file.
type pngHeader struct {
	depth, colour byte
	interlaced    bool
	apple         bool // CgBI: deflate without the zlib header, and premultiplied BGRA
	palette       []byte
	transparency  []byte
	data          []byte // the file from the first chunk with image data
	frames        []frame
	frameData     [][]byte // the file from behind the fcTL chunk of each frame
	gamma         []byte   // gAMA
	primaries     []byte   // cHRM
	srgb          bool     // sRGB
	cicp          []byte   // cICP
}

const pngSignature = "\x89PNG\r\n\x1a\n"

// A pngChunk is one chunk of a PNG file.
type pngChunk struct {
	name   string
	data   []byte
	intact bool // the checksum is right
}

// nextPNGChunk splits the first chunk off a file. A chunk that is cut short has the data that there is. check tells
// whether to verify the checksum.
func nextPNGChunk(file []byte, check bool) (c pngChunk, rest []byte, ok bool) {
	if len(file) < 8 {
		return c, nil, false
	}
	n := int64(binary.BigEndian.Uint32(file))
	c.name = string(file[4:8])
	if n > int64(len(file))-12 {
		c.data = file[8:min(8+n, int64(len(file)))]
		return c, nil, true
	}
	c.data, rest = file[8:8+n], file[12+n:]
	c.intact = !check || crc32.ChecksumIEEE(file[4:8+n]) == binary.BigEndian.Uint32(file[8+n:])
	return c, rest, true
}

// readPNG reads all chunks of a PNG except the image data.
func (h *header) readPNG(data []byte) error {
	p := &h.png
	for rest := data[len(pngSignature):]; ; {
		isData := len(rest) >= 8 && (string(rest[4:8]) == "IDAT" || string(rest[4:8]) == "fdAT")
		c, next, ok := nextPNGChunk(rest, !isData)
		if !ok || c.name == "IEND" {
			break
		}
		switch {
		case c.name == "CgBI" && h.width == 0:
			p.apple = true
		case h.width == 0:
			if err := h.readIHDR(c); err != nil {
				return err
			}
		case c.name == "IDAT":
			if p.data == nil {
				p.data = rest
			}
		case c.name == "PLTE":
			if !c.intact {
				return corrupt("PNG palette with a wrong checksum")
			}
			p.palette = c.data
		case c.intact:
			h.readPNGAncillary(c, next)
		}
		rest = next
	}
	switch {
	case h.width == 0:
		return corrupt("PNG without a header")
	case p.colour == pngPalette && len(p.palette) < 3:
		return corrupt("PNG without a palette")
	}
	if len(p.frames) < 2 {
		p.frames = nil
	}
	h.grey = p.colour == pngGrey && p.transparency == nil && p.frames == nil
	h.memory = h.pngMemory()
	return nil
}

// pngMemory returns an upper bound of the bytes that decoding a PNG takes.
func (h *header) pngMemory() int64 {
	size := int64(4)
	if h.grey {
		size = 1
	}
	memory := size*h.pixels() + 4*8*int64(h.width) + 96<<10
	if h.png.frames != nil {
		memory += 2*4*h.pixels() + 64<<10 // a frame, and a copy of the canvas for disposePrevious
	}
	if h.icc != nil {
		memory += inflateLimit(h.icc) + 64<<10
	}
	return memory
}

// readIHDR reads the header chunk of a PNG.
func (h *header) readIHDR(c pngChunk) error {
	if c.name != "IHDR" || len(c.data) < 13 {
		return corrupt("PNG without a header")
	}
	if !c.intact {
		return corrupt("PNG header with a wrong checksum")
	}
	w, ht := binary.BigEndian.Uint32(c.data), binary.BigEndian.Uint32(c.data[4:])
	if w > 1<<31-1 || ht > 1<<31-1 || w == 0 {
		return corrupt("PNG of %d x %d", w, ht)
	}
	h.width, h.height = int(w), int(ht)
	p := &h.png
	p.depth, p.colour, p.interlaced = c.data[8], c.data[9], c.data[12] == 1
	ok := false
	switch p.colour {
	case pngGrey:
		ok = p.depth == 1 || p.depth == 2 || p.depth == 4 || p.depth == 8 || p.depth == 16
	case pngPalette:
		ok = p.depth == 1 || p.depth == 2 || p.depth == 4 || p.depth == 8
	case pngRGB, pngGreyAlpha, pngRGBA:
		ok = p.depth == 8 || p.depth == 16
	}
	if !ok || c.data[10] != 0 || c.data[11] != 0 || c.data[12] > 1 {
		return corrupt("PNG of colour type %d with %d bits, methods %v", p.colour, p.depth, c.data[10:13])
	}
	return nil
}

// readPNGAncillary reads a chunk that a decoder may ignore. rest is the file behind it.
func (h *header) readPNGAncillary(c pngChunk, rest []byte) {
	p := &h.png
	switch c.name {
	case "tRNS":
		if p.data == nil && (p.colour == pngPalette || p.colour == pngGrey && len(c.data) >= 2 || p.colour == pngRGB && len(c.data) >= 6) {
			p.transparency = c.data
		}
	case "eXIf":
		h.readEXIF(c.data)
	case "iCCP":
		h.icc = c.data
	case "gAMA":
		p.gamma = c.data
	case "cHRM":
		p.primaries = c.data
	case "sRGB":
		p.srgb = true
	case "cICP":
		p.cicp = c.data
	case "fcTL":
		if f, ok := readFrameControl(c.data); ok && len(p.frames) < maxFrames {
			p.frames, p.frameData = append(p.frames, f), append(p.frameData, rest)
		}
	}
}

// readFrameControl reads the fcTL chunk of an animated PNG.
func readFrameControl(c []byte) (f frame, ok bool) {
	if len(c) < 26 {
		return f, false
	}
	var v [4]int // width, height, left, top
	for i := range v {
		n := binary.BigEndian.Uint32(c[4+4*i:])
		if n >= 1<<30 { // so that their sums fit 32 bits
			return f, false
		}
		v[i] = int(n)
	}
	f.rect = image.Rect(v[2], v[3], v[2]+v[0], v[3]+v[1])
	f.dispose = disposal(min(c[24], byte(disposePrevious)))
	f.replace = c[25] == 0
	return f, v[0] > 0 && v[1] > 0
}

// decodePNG decodes a PNG, or the first frame of an animated one that shows something. A damaged picture is decoded as far
// as it goes, unless most of it is missing.
func decodePNG(ctx context.Context, h *header) (raster, error) {
	p := &h.png
	if p.data == nil {
		return raster{}, corrupt("PNG without image data")
	}
	d := pngDecoder{pngHeader: p, grey: h.grey}
	if h.isLinear16() {
		d.encode = linearTable(p.gamma)
	}
	still, err := d.decode(ctx, p.data, h.width, h.height)
	if err != nil {
		return raster{}, err
	}
	kind := rgba
	if h.grey {
		kind = grey
	}
	if p.frames == nil {
		return raster{kind: kind, planes: [3]plane{still}}, nil
	}
	if still.seen() < showsPicture {
		if err := h.drawFirstVisible(ctx, &d, still); err != nil {
			return raster{}, err
		}
	}
	return raster{kind: kind, planes: [3]plane{still}}, nil
}

// drawFirstVisible replaces the still image, in which there is little to see, by the first frame that shows something.
func (h *header) drawFirstVisible(ctx context.Context, d *pngDecoder, still plane) error {
	area := image.Rect(0, 0, h.width, h.height)
	seen := still.seen()
	d.pix = nil // still uses it
	still.fill(area, [4]byte{})
	a := animation{canvas: still, frames: h.png.frames}
	a.draw = func(i int) error {
		r := h.png.frames[i].rect
		if !r.In(area) {
			return corrupt("PNG frame %v outside the picture of %d x %d", r, h.width, h.height)
		}
		m, err := d.decode(ctx, h.png.frameData[i], r.Dx(), r.Dy())
		if err == nil {
			still.drawAt(m, r.Min, h.png.frames[i].replace)
		}
		return err
	}
	err := a.firstVisible()
	if err != nil || still.seen() <= seen {
		d.pix = still.pix
		_, err = d.decode(ctx, h.png.data, h.width, h.height)
	}
	return err
}

// A pngDecoder decodes images with the header of one PNG file.
type pngDecoder struct {
	*pngHeader
	grey    bool                   // decode to a grey plane; otherwise to premultiplied RGBA
	table   [256][4]byte           // colours of samples of at most 8 bits
	encode  *[1 << linearBits]byte // samples of sRGB for the high bits of samples in linear light, or nil
	pix     []byte
	inflate io.ReadCloser
	rows    [2][]byte // filtered: the current and the previous one
	line    []byte    // one row with a byte for each sample of less than 8 bits
	row     []byte    // one converted row of an interlacing pass
}

// An adam7Pass is one of the seven passes of an interlaced image: its first pixel and the distances of its pixels.
type adam7Pass struct{ x, y, dx, dy int }

var adam7 = [7]adam7Pass{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}

// decode decodes an image of the given size, whose data begins in file.
func (d *pngDecoder) decode(ctx context.Context, file []byte, width, height int) (plane, error) {
	chans := 4
	if d.grey {
		chans = 1
	}
	d.pix = grow(d.pix, chans*width*height)
	dst := newPlane(d.pix, chans*width, width, height, chans)
	d.setTable()
	in := &pngData{ctx: ctx, file: file}
	z, err := d.inflater(in)
	if err != nil {
		return dst, err
	}
	passes := adam7[:]
	if !d.interlaced {
		passes = []adam7Pass{{0, 0, 1, 1}}
	}
	for i, pass := range passes {
		rows, err := d.decodePass(z, dst, pass)
		if in.err != nil {
			return dst, in.err
		}
		if err == nil {
			continue
		}
		if !d.interlaced {
			if rows < (height+1)/2 {
				return dst, corrupt("%d rows of %d: %w", rows, height, err)
			}
			blank := dst.pix[rows*dst.stride:]
			clear(blank) // transparent
			if d.grey {
				for i := range blank {
					blank[i] = 255
				}
			}
			break
		}
		if i < 3 {
			return dst, corrupt("%d passes of 7: %w", i, err)
		}
		fillAdam7(dst, i, rows)
		break
	}
	return dst, nil
}

// inflater returns a reader of the filtered rows. The checksum of the data is not verified, since a damaged picture
// is better than none.
func (d *pngDecoder) inflater(in *pngData) (io.Reader, error) {
	if !d.apple {
		first, _ := in.ReadByte()
		second, err := in.ReadByte()
		if err != nil {
			return nil, corrupt("PNG data: %w", err)
		}
		const deflate, dictionary = 8, 0x20
		if first&15 != deflate || second&dictionary != 0 || (uint(first)<<8|uint(second))%31 != 0 {
			return nil, corrupt("PNG data has no zlib header")
		}
	}
	if d.inflate == nil {
		d.inflate = flate.NewReader(in)
	}
	return d.inflate, d.inflate.(flate.Resetter).Reset(in, nil)
}

// decodePass decodes one pass, or the whole image if it is not interlaced. It returns the number of rows that it decoded.
func (d *pngDecoder) decodePass(z io.Reader, dst plane, pass adam7Pass) (int, error) {
	width := (dst.width - pass.x + pass.dx - 1) / pass.dx
	height := (dst.height - pass.y + pass.dy - 1) / pass.dy
	if width <= 0 || height <= 0 {
		return 0, nil
	}
	bits := d.bitsPerPixel()
	length := int((int64(width)*int64(bits) + 7) / 8)
	for i := range d.rows {
		d.rows[i] = grow(d.rows[i], 1+length)
	}
	clear(d.rows[1])
	d.line = grow(d.line, width)
	d.row = grow(d.row, dst.chans*width)
	for y := range height {
		current, previous := d.rows[0], d.rows[1]
		if _, err := io.ReadFull(z, current); err != nil {
			return y, err
		}
		if !unfilter(current[0], current[1:], previous[1:], max(1, bits/8)) {
			return y, corrupt("PNG filter %d", current[0])
		}
		to := dst.pix[(pass.y+y*pass.dy)*dst.stride:][:dst.chans*dst.width]
		if pass.dx == 1 {
			d.convert(to, current[1:])
		} else {
			d.convert(d.row, current[1:])
			scatter(to, d.row, dst.chans, pass)
		}
		d.rows[0], d.rows[1] = previous, current
	}
	return height, nil
}

func (d *pngDecoder) bitsPerPixel() int {
	samples := [7]int{pngGrey: 1, pngRGB: 3, pngPalette: 1, pngGreyAlpha: 2, pngRGBA: 4}
	return samples[d.colour] * int(d.depth)
}

// scatter copies a row of an interlacing pass to the places of its pixels.
func scatter(to, from []byte, chans int, pass adam7Pass) {
	for x := pass.x; len(from) > 0; x += pass.dx {
		copy(to[x*chans:][:chans], from)
		from = from[chans:]
	}
}

// fillAdam7 fills the pixels that are missing because the file ends in a pass, after the given number of its rows. A
// missing pixel gets the colour of the nearest one above or to the left that a coarser pass has.
func fillAdam7(dst plane, pass, rows int) {
	// For pass i: which pixels belong to it, and the distance to a pixel of the passes before.
	steps := [7]image.Point{{}, {4, 0}, {0, 4}, {2, 0}, {0, 2}, {1, 0}, {0, 1}}
	for i := pass; i < len(adam7); i++ {
		p := adam7[i]
		first := 0
		if i == pass {
			first = rows
		}
		for y := p.y + first*p.dy; y < dst.height; y += p.dy {
			for x := p.x; x < dst.width; x += p.dx {
				from := (y-steps[i].Y)*dst.stride + (x-steps[i].X)*dst.chans
				copy(dst.pix[y*dst.stride+x*dst.chans:][:dst.chans], dst.pix[from:])
			}
		}
	}
}

// unfilter reverses the filter of a row in place (W3C PNG, 9.2). It reports whether there is such a filter.
func unfilter(filter byte, row, previous []byte, pixel int) bool {
	previous = previous[:len(row)]
	switch filter {
	case 0:
	case 1: // Sub
		for i := pixel; i < len(row); i++ {
			row[i] += row[i-pixel]
		}
	case 2: // Up
		for i, v := range previous {
			row[i] += v
		}
	case 3: // Average
		for i := range min(pixel, len(row)) {
			row[i] += previous[i] / 2
		}
		for i := pixel; i < len(row); i++ {
			row[i] += byte((int(row[i-pixel]) + int(previous[i])) / 2)
		}
	case 4: // Paeth
		for i := range min(pixel, len(row)) {
			unfilterPaeth(row[i:], previous[i:], pixel)
		}
	default:
		return false
	}
	return true
}

// unfilterPaeth reverses the Paeth filter for one byte of each pixel.
func unfilterPaeth(row, previous []byte, pixel int) {
	var left, upperLeft int32
	previous = previous[:len(row)]
	for i := 0; i < len(row); i += pixel {
		up := int32(previous[i])
		// Distances of the linear prediction left + up - upperLeft to each of the three.
		pa, pb := up-upperLeft, left-upperLeft
		pc := abs(pa + pb)
		pa, pb = abs(pa), abs(pb)
		best := upperLeft
		if pa <= pb && pa <= pc {
			best = left
		} else if pb <= pc {
			best = up
		}
		left = (best + int32(row[i])) & 0xff
		row[i] = byte(left)
		upperLeft = up
	}
}

func abs(v int32) int32 {
	sign := v >> 31
	return (v ^ sign) - sign
}

// setTable fills the table of colours for samples of at most 8 bits: of a palette, or of grey.
func (d *pngDecoder) setTable() {
	d.table = [256][4]byte{}
	switch {
	case d.colour == pngPalette:
		for i := range d.table {
			c := &d.table[i]
			c[3] = 255 // an index beyond the palette is black
			if i < len(d.palette)/3 {
				copy(c[:], d.palette[3*i:][:3])
			}
			if i < len(d.transparency) {
				c[3] = d.transparency[i]
				multiply(c[:])
			}
		}
	case d.colour == pngGrey && d.depth <= 8:
		most := 1<<d.depth - 1
		for i := range most + 1 {
			v := byte(i * 255 / most)
			d.table[i] = [4]byte{v, v, v, 255}
		}
		if d.transparency != nil {
			d.table[d.transparency[1]&byte(most)] = [4]byte{}
		}
	}
}

// convert converts one unfiltered row to grey or premultiplied RGBA.
func (d *pngDecoder) convert(to, row []byte) {
	if d.depth < 8 {
		unpackBits(d.line, row, d.depth)
		row = d.line
	}
	switch {
	case d.depth == 16:
		d.convert16(to, row)
	case d.grey && d.depth == 8:
		copy(to, row)
	case d.grey:
		for i, v := range row[:len(to)] {
			to[i] = d.table[v][0]
		}
	case d.colour == pngGrey || d.colour == pngPalette:
		for _, v := range row[:len(to)/4] {
			*(*[4]byte)(to) = d.table[v]
			to = to[4:]
		}
	case d.colour == pngGreyAlpha:
		for ; len(to) >= 4; to, row = to[4:], row[2:] {
			v := row[0]
			to[0], to[1], to[2], to[3] = v, v, v, row[1]
			multiply(to[:4])
		}
	case d.colour == pngRGB:
		d.convertRGB(to, row)
	default:
		copy(to, row)
		if d.apple {
			swapRedBlue(to) // and premultiplied already
		} else {
			multiply(to)
		}
	}
}

func (d *pngDecoder) convertRGB(to, row []byte) {
	for out := to; len(out) >= 4 && len(row) >= 3; out, row = out[4:], row[3:] {
		out[0], out[1], out[2], out[3] = row[0], row[1], row[2], 255
	}
	if t := d.transparency; t != nil {
		key := [4]byte{t[1], t[3], t[5], 255}
		for out := to; len(out) >= 4; out = out[4:] {
			if [4]byte(out) == key {
				clear(out[:4])
			}
		}
	}
	if d.apple {
		swapRedBlue(to)
	}
}

// convert16 converts a row of 16-bit samples. It takes their high bytes, unless the samples are linear light.
func (d *pngDecoder) convert16(to, row []byte) {
	samples := d.bitsPerPixel() / 16
	if d.encode != nil {
		d.encodeLinear(row, samples)
	}
	if d.grey {
		for i := range to {
			to[i] = row[2*i]
		}
		return
	}
	for ; len(to) >= 4; to, row = to[4:], row[2*samples:] {
		switch samples {
		case 1, 2:
			to[0], to[1], to[2], to[3] = row[0], row[0], row[0], 255
		default:
			to[0], to[1], to[2], to[3] = row[0], row[2], row[4], 255
		}
		if samples&1 == 0 {
			to[3] = row[2*samples-2]
		} else if d.transparency != nil && bytes.HasPrefix(d.transparency, row[:2*samples]) {
			to[3] = 0
		}
		multiply(to[:4])
	}
}

// encodeLinear replaces the high bytes of samples in linear light by samples of sRGB, and leaves alpha alone.
func (d *pngDecoder) encodeLinear(row []byte, samples int) {
	for i := 0; 2*i+2 <= len(row); i++ {
		if isAlpha := samples&1 == 0 && i%samples == samples-1; !isAlpha {
			row[2*i] = d.encode[binary.BigEndian.Uint16(row[2*i:])>>(16-linearBits)]
		}
	}
}

// swapRedBlue exchanges red and blue of RGBA samples.
func swapRedBlue(pix []byte) {
	for ; len(pix) >= 4; pix = pix[4:] {
		pix[0], pix[2] = pix[2], pix[0]
	}
}

// unpackBits unpacks samples of 1, 2 or 4 bits to one byte each.
func unpackBits(to, from []byte, depth byte) {
	perByte := 8 / int(depth)
	mask := byte(1)<<depth - 1
	for i := range to {
		to[i] = from[i/perByte] >> (8 - depth - byte(i%perByte)*depth) & mask
	}
}

// A pngData reads the concatenated data of an image's IDAT or fdAT chunks. It checks ctx before every small step.
type pngData struct {
	ctx   context.Context
	file  []byte // from the next chunk
	chunk []byte // not yet read
	step  []byte // the part of chunk that is read next
	err   error  // of ctx
}

// fill makes step not empty, or returns an error.
func (r *pngData) fill() error {
	if r.err = r.ctx.Err(); r.err != nil {
		return r.err
	}
	for len(r.chunk) == 0 {
		c, rest, ok := nextPNGChunk(r.file, false)
		if !ok || c.name == "IEND" || c.name == "fcTL" {
			return io.ErrUnexpectedEOF
		}
		r.file = rest
		switch {
		case c.name == "IDAT":
			r.chunk = c.data
		case c.name == "fdAT" && len(c.data) > 4:
			r.chunk = c.data[4:] // behind the sequence number
		}
	}
	n := min(len(r.chunk), 4<<10)
	r.step, r.chunk = r.chunk[:n], r.chunk[n:]
	return nil
}

func (r *pngData) Read(p []byte) (int, error) {
	if len(r.step) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.step)
	r.step = r.step[n:]
	return n, nil
}

func (r *pngData) ReadByte() (byte, error) {
	if len(r.step) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	b := r.step[0]
	r.step = r.step[1:]
	return b, nil
}

// inflateICC returns the profile in a PNG's iCCP chunk, or nil if the chunk is corrupt.
func inflateICC(chunk []byte) []byte {
	name := bytes.IndexByte(chunk, 0)
	if name < 0 || name > 79 || len(chunk) < name+2 || chunk[name+1] != 0 {
		return nil
	}
	z, err := zlib.NewReader(bytes.NewReader(chunk[name+2:]))
	if err != nil {
		return nil
	}
	// A profile begins with its size, so nothing beyond that is inflated.
	var size [4]byte
	if _, err := io.ReadFull(z, size[:]); err != nil {
		return nil
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	if n < iccHeader || n > inflateLimit(chunk) {
		return nil
	}
	icc := make([]byte, n)
	copy(icc, size[:])
	if _, err := io.ReadFull(z, icc[4:]); err != nil {
		return nil
	}
	return icc
}

// inflateLimit returns the size in bytes of the largest profile that an iCCP chunk can hold.
func inflateLimit(chunk []byte) int64 {
	const most = 1032 // bytes that one byte of deflate can become
	return min(maxProfile, most*int64(len(chunk)))
}

// encodePNG encodes a picture. It inserts the colour profile after the header chunk, since image/png cannot.
func (ws *workspace) encodePNG(p pixels, icc []byte) ([]byte, error) {
	b := bytes.NewBuffer(ws.out[:0])
	enc := png.Encoder{BufferPool: ws}
	if err := enc.Encode(b, p.image()); err != nil {
		return nil, err
	}
	ws.out = b.Bytes()
	data := ws.out
	const header = 8 + 12 + 13 // signature and IHDR
	return bytes.Join([][]byte{data[:header], iccpChunk(icc), data[header:]}, nil), nil
}

// iccpChunk returns an iCCP chunk with a profile, or nil if icc is nil.
func iccpChunk(icc []byte) []byte {
	if icc == nil {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("\x00\x00\x00\x00iCCPicc\x00\x00")
	z := zlib.NewWriter(&b)
	z.Write(icc) // cannot fail, as a Buffer does not
	z.Close()
	chunk := b.Bytes()
	binary.BigEndian.PutUint32(chunk, uint32(len(chunk)-8))
	return binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
}

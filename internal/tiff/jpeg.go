package tiff

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/thumbcache/thumbcache/internal/jpegdec"
)

// Markers that begin and end a JPEG stream.
var (
	soi = []byte{0xff, 0xd8}
	eoi = []byte{0xff, 0xd9}
)

const jpegHead = 64 << 10 // bytes read of a stream to find its frame header

// readJPEG reads the tables that all blocks share (TIFF Technical Note 2), and computes the memory for one block.
func (p *photo) readJPEG() error {
	if field, ok := p.dir.Find(tagJPEGTables); ok {
		t := field.Bytes(maxTables)
		if !bytes.HasPrefix(t, soi) {
			return corrupt("JPEG tables")
		}
		p.tables = bytes.TrimSuffix(t[len(soi):], eoi)
	}
	for i := range p.across * p.down * int64(p.planes()) {
		_, n, err := p.block(i, 0)
		if err != nil {
			return err
		}
		p.jpegBytes = max(p.jpegBytes, n)
	}
	// The first block stands for all. A later block that needs more memory is refused.
	off, n, err := p.block(0, 0)
	if err != nil {
		return err
	}
	head, err := p.join(nil, p.file.Bytes(off, min(n, jpegHead)), min(p.blockH, p.height))
	if err != nil {
		return err
	}
	h, err := jpegdec.ReadHeader(head)
	if err != nil {
		return jpegError(err)
	}
	p.jpegBytes += int64(len(p.tables)) + 64 // with headers
	p.jpegCost = h.Cost(jpegdec.Options{})
	if p.photometric == photoRGB && bytes.Contains(head[:min(len(head), 32)], []byte("JFIF\x00")) {
		return unsupported("RGB that its JPEG data says is YCbCr")
	}
	return p.checkJPEG(h, min(p.blockW, p.width), min(p.blockH, p.height))
}

func (p *photo) jpegFailure() error {
	if p.file.err != nil {
		return p.file.err
	}
	return corrupt("no JPEG data in a strip or tile")
}

// join appends the complete stream of a block to buf. The block has rows rows inside the picture.
func (p *photo) join(buf, block []byte, rows int) ([]byte, error) {
	switch {
	case block == nil:
		return nil, p.jpegFailure()
	case p.bare:
		if p.tiled {
			rows = p.blockH
		}
		if p.blockW > 0xffff || rows > 0xffff {
			return nil, corrupt("JPEG data of %d x %d pixels", p.blockW, rows)
		}
		return p.wrap(buf, block, rows), nil
	case !bytes.HasPrefix(block, soi):
		return nil, p.jpegFailure()
	case len(p.tables) == 0:
		return block, nil
	}
	buf = append(buf, soi...)
	buf = append(buf, p.tables...)
	return append(buf, block[len(soi):]...), nil
}

// checkJPEG refuses a block whose header contradicts the file. The block must have at least w x ht pixels.
func (p *photo) checkJPEG(h jpegdec.Header, w, ht int) error {
	switch {
	case h.N != p.chunk():
		return corrupt("JPEG data of %d components", h.N)
	case h.Width < w || h.Height < ht || h.Width > p.blockW+64 || h.Height > p.blockH+64:
		return corrupt("JPEG data of %d x %d pixels in strips or tiles of %d x %d", h.Width, h.Height, p.blockW, p.blockH)
	case h.Cost(jpegdec.Options{}) > p.jpegCost:
		return unsupported("JPEG data of several kinds")
	}
	// The file defines the colour model. JPEG data inside TIFF usually does not name one; if it does, both must agree.
	if h.Adobe && (h.Model == jpegdec.YCbCr && p.photometric == photoRGB ||
		h.Model == jpegdec.RGB && p.photometric == photoYCbCr ||
		h.Model == jpegdec.YCCK) {
		return unsupported("JPEG data of another colour model than the file says")
	}
	return nil
}

func jpegError(err error) error {
	if errors.Is(err, jpegdec.ErrUnsupported) {
		return unsupported("%w", err)
	}
	return corrupt("%w", err)
}

// readStream finds the JPEG data of compression 6 (TIFF 6.0, section 22), which programs write in different ways: as one
// complete stream, or as tables that fields point at and strips that are bare scans.
func (p *photo) readStream() error {
	p.sub = [2]int{1, 1}
	if p.planar || p.photometric == palette || p.alpha != opaque || p.bits != 8 || p.format != formatUint {
		return unsupported("JPEG data of the old kind in planes, of a palette or with alpha")
	}
	off, n := offset(p.dir.Uint(tagJPEGStream, 0)), offset(p.dir.Uint(tagJPEGLength, 0))
	strips, _ := p.dir.Find(tagStripOffsets)
	if off == 0 && strips.Count == 1 {
		off, n = offset(p.dir.Uint(tagStripOffsets, 0)), offset(p.dir.Uint(tagStripByteCounts, 0))
	}
	if n == 0 || n > p.file.size-off {
		n = p.file.size - off
	}
	head := p.file.Bytes(off, min(n, jpegHead))
	if p.file.err != nil {
		return p.file.err
	}
	h, err := jpegdec.ReadHeader(head)
	if err != nil || h.Width != p.width || h.Height != p.height || h.N != p.samples {
		return p.readParts() // the stream may be only a header
	}
	p.stream = [2]int64{off, n}
	p.blockW, p.blockH, p.across, p.down = p.width, p.height, 1, 1
	p.jpegBytes, p.jpegCost = n, h.Cost(jpegdec.Options{})
	// The photometric interpretation is often wrong here. The stream decides.
	switch h.Model {
	case jpegdec.RGB:
		p.photometric = photoRGB
	case jpegdec.YCbCr:
		p.photometric = photoYCbCr
	case jpegdec.CMYK, jpegdec.YCCK:
		return unsupported("JPEG data of the old kind in four colours")
	}
	return nil
}

// readParts makes JPEG segments of the tables that fields point at.
func (p *photo) readParts() error {
	const baseline = 1
	if p.dir.Uint(tagJPEGProc, baseline) != baseline || p.samples != 1 && p.samples != 3 {
		return unsupported("JPEG data of the old kind that is not baseline")
	}
	if p.samples == 3 {
		p.photometric = photoYCbCr
	}
	for i := range int64(p.samples) {
		for class, tag := range []uint16{tagJPEGDCTables, tagJPEGACTables} {
			counts := p.table(tag, i, 16)
			if counts == nil {
				return p.partsFailure()
			}
			total := 0
			for _, c := range counts {
				total += int(c)
			}
			t := p.table(tag, i, 16+int64(total))
			if t == nil || total > 256 {
				return p.partsFailure()
			}
			p.tables = append(p.tables, 0xff, 0xc4, byte((3+len(t))>>8), byte(3+len(t)), byte(class<<4)|byte(i))
			p.tables = append(p.tables, t...)
		}
		t := p.table(tagJPEGQTables, i, 64)
		if t == nil {
			return p.partsFailure()
		}
		p.tables = append(p.tables, 0xff, 0xdb, 0, 67, byte(i))
		p.tables = append(p.tables, t...)
	}
	if n := p.dir.Uint(tagJPEGRestart, 0); n > 0 && n < 1<<16 {
		p.tables = append(p.tables, 0xff, 0xdd, 0, 4, byte(n>>8), byte(n))
	}
	if err := p.readSubsampling(); err != nil {
		return err
	}
	p.bare = true
	if err := p.readBlocks(); err != nil {
		return err
	}
	return p.readJPEG()
}

// table returns the first n bytes of table i of a tag.
func (p *photo) table(tag uint16, i, n int64) []byte {
	field, _ := p.dir.Find(tag)
	v, _ := field.Uint(i)
	return p.file.Bytes(offset(v), n)
}

func (p *photo) partsFailure() error {
	if p.file.err != nil {
		return p.file.err
	}
	return unsupported("JPEG data of the old kind without tables")
}

// wrap appends a stream to buf whose scan is a bare block, and whose height is h (ITU-T T.81, annex B).
func (p *photo) wrap(buf, block []byte, h int) []byte {
	buf = append(buf, soi...)
	buf = append(buf, p.tables...)
	n := byte(p.samples)
	buf = append(buf, 0xff, 0xc0, 0, 8+3*n, 8, byte(h>>8), byte(h), byte(p.blockW>>8), byte(p.blockW), n)
	sampling := byte(p.sub[0]<<4 | p.sub[1])
	for i := range n {
		buf = append(buf, i, sampling, i)
		sampling = 0x11
	}
	buf = append(buf, 0xff, 0xda, 0, 6+2*n, n)
	for i := range n {
		buf = append(buf, i, i<<4|i)
	}
	buf = append(buf, 0, 63, 0)
	if len(block) >= 4 && block[0] == 0xff && block[1] == 0xda {
		// Some programs write the scan's header into the first strip.
		block = block[min(len(block), 2+int(block[2])<<8+int(block[3])):]
	}
	buf = append(buf, block...)
	return append(buf, eoi...)
}

// A jpegPlane decodes JPEG blocks: those of one sample if the samples are stored apart, or else all blocks.
type jpegPlane struct {
	img   jpegdec.Image
	joint []byte // buffer of a complete stream

	between []place // of the pixels of a row, in components with fewer samples
	step    float64 // StepX that between is for
	samples int     // W that between is for
}

// A place is the place of a pixel between two samples. The part is the way from left to right, in sixteenths.
type place struct {
	left, right int32
	part        int32
}

// places returns the places of the pixels of a row between the samples of a component.
func (pl *jpegPlane) places(m *jpegdec.Plane, w int) []place {
	if pl.step == m.StepX && pl.samples == m.W && len(pl.between) >= w {
		return pl.between[:w]
	}
	pl.step, pl.samples, pl.between = m.StepX, m.W, slices.Grow(pl.between[:0], w)[:w]
	for x := range pl.between {
		left, part := between(x, m.StepX)
		pl.between[x] = place{int32(clampTo(left, m.W)), int32(clampTo(left+1, m.W)), int32(part)}
	}
	return pl.between
}

// decodeJPEG decodes blocks that are JPEG streams.
func (p *photo) decodeJPEG(ctx context.Context, c *canvas) error {
	planes := make([]jpegPlane, p.planes())
	conv := p.newConverter()
	samples := make([]uint16, p.blockW*p.samples)
	for by := range p.down {
		for bx := range p.across {
			x, y := int(bx)*p.blockW, int(by)*p.blockH
			w, h := min(p.blockW, p.width-x), min(p.blockH, p.height-y)
			for i := range planes {
				block, err := p.readBlock(&planes[i], by*p.across+bx, int64(i), h)
				if err == nil {
					err = p.decodeBlock(ctx, &planes[i], block, w, h)
				}
				if err != nil {
					return err
				}
			}
			for j := range h {
				for i := range planes {
					planes[i].row(samples[i:], p.samples, j, w)
				}
				conv.convert(c.row(x, y+j, w), samples[:w*p.samples])
				c.done(x, y+j, w)
			}
		}
		c.flush(int(min(int64(p.height), (by+1)*int64(p.blockH))))
	}
	return nil
}

// readBlock returns the JPEG stream of block i of a plane, of which rows rows are inside the picture.
func (p *photo) readBlock(pl *jpegPlane, i, plane int64, rows int) (stream []byte, err error) {
	off, n := p.stream[0], p.stream[1]
	if off == 0 {
		if off, n, err = p.block(i, plane); err != nil {
			return nil, err
		}
	}
	if n > p.jpegBytes {
		return nil, ErrCorrupt // the file has changed
	}
	stream, err = p.join(pl.joint[:0], p.file.Bytes(off, n), rows)
	if err == nil && len(p.tables) > 0 {
		pl.joint = stream
	}
	return stream, err
}

// decodeBlock decodes a JPEG stream, of which w x h pixels are inside the picture.
func (p *photo) decodeBlock(ctx context.Context, pl *jpegPlane, stream []byte, w, h int) error {
	header, err := jpegdec.ReadHeader(stream)
	if err != nil {
		return jpegError(err)
	}
	if err := p.checkJPEG(header, w, h); err != nil {
		return err
	}
	if err := jpegdec.Decode(ctx, stream, jpegdec.Options{}, &pl.img); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return jpegError(err)
	}
	if pl.img.Damaged {
		return corrupt("damaged JPEG data")
	}
	return nil
}

// row fills the samples of the first w pixels of row y. A pixel has step samples in dst.
func (pl *jpegPlane) row(dst []uint16, step, y, w int) {
	for k := range pl.img.N {
		m := &pl.img.Planes[k]
		if m.StepX == 1 && m.StepY == 1 {
			for x, v := range m.Pix[y*m.Stride:][:w] {
				dst[x*step+k] = uint16(v) * 257
			}
			continue
		}
		// A subsampled value is at the middle of the pixels that share it. Pixels between two values are interpolated.
		top, down := between(y, m.StepY)
		above := m.Pix[clampTo(top, m.H)*m.Stride:]
		below := m.Pix[clampTo(top+1, m.H)*m.Stride:]
		at := pl.places(m, w)
		for x, p := range at {
			right := int(p.part)
			a := int(above[p.left])*(16-right) + int(above[p.right])*right
			b := int(below[p.left])*(16-right) + int(below[p.right])*right
			dst[x*step+k] = uint16((a*(16-down)+b*down+128)>>8) * 257
		}
	}
}

// between returns the last sample before the middle of pixel x, when samples are step pixels apart. The part is the way
// to the next sample, in sixteenths.
func between(x int, step float64) (i, part int) {
	at := int((float64(x)+0.5)/step*16 - 8 + 16) // one sample more, so that it is not negative
	return at/16 - 1, at % 16
}

func clampTo(i, n int) int { return max(0, min(i, n-1)) }

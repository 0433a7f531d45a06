package jpegdec

import (
	"context"
	"encoding/binary"
)

// decoderBytes is an upper bound of the size of a decoder, which is mostly tables.
const decoderBytes = 128 << 10

// maxScans is the number of scans that are read from a file. Encoders write about ten. The limit bounds the time for
// a small file with thousands of empty scans, each of which visits all blocks of a large picture.
const maxScans = 100

// maxScansOfBand is the number of scans that are read for one coefficient of a component in a progressive file. T.81
// allows one for its upper bits and one for each of 13 further bits. The limit bounds the time for a small file with
// arithmetic coding: a scan can visit all coefficients of a band in all blocks, with hardly any data.
const maxScansOfBand = 14

type decoder struct {
	*Image
	bits     bitReader
	quant    [4][64]uint16 // quantization tables, in zig-zag order
	hasQuant [4]bool       // the table was defined
	huffman  [2][4]table   // for DC and AC coefficients
	comp     [4]component

	arithmetic arithmeticReader
	block      block // scratch space of arithmeticSequential, zero between blocks

	restart      int // MCUs between restart markers; 0 if there are none
	mcusX, mcusY int // number of MCUs in an interleaved scan
	eobRun       int // further blocks whose band has no more coefficients (T.81 G.1.2.2)
	decodedAny   bool
	found        int64 // MCUs of the first scan that could be decoded
	wanted       int64 // MCUs of the first scan
}

// A component is the state of one component of the picture.
type component struct {
	geometry
	Sampling
	id         byte
	quantTable byte
	index      int
	scanned    bool // a scan of it was read
	prediction int32
	context    int // of the next DC difference, in arithmetic coding
	quant      dequant
	pix        []byte
	stride     int
	coef       []int16  // the first coefficients of each block, in zig-zag order
	nonzero    []uint64 // one bit for each coefficient of a block
}

// reset prepares d for a new picture. It keeps the memory of coefficients.
func (d *decoder) reset(dst *Image, data []byte) {
	d.Image = dst
	d.bits.data, d.bits.damaged = data, false
	d.arithmetic.bits, d.arithmetic.conditioning = &d.bits, defaultConditioning
	d.hasQuant = [4]bool{}
	for class := range d.huffman {
		for i := range d.huffman[class] {
			// Frames of Motion JPEG have no tables. They use those of T.81 annex K: even numbers for luminance, odd
			// numbers for chrominance.
			s := &standardTables[class][i&1]
			d.huffman[class][i].define(&s.counts, s.vals)
		}
	}
	for i := range d.comp {
		c := &d.comp[i]
		*c = component{coef: c.coef, nonzero: c.nonzero}
	}
	d.restart, d.decodedAny, d.found, d.wanted = 0, false, 0, 0
}

// decode reads all segments and writes the planes.
func (d *decoder) decode(ctx context.Context) error {
	// Kept buffers must not keep the file and the picture alive.
	defer func() { d.Image, d.bits.data = nil, nil }()

	if err := d.readSegments(ctx); err != nil {
		return err
	}
	if !d.decodedAny {
		return FormatError("no picture in the file")
	}
	for i := range d.N {
		c := &d.comp[i]
		switch {
		case !c.scanned:
			d.Damaged = true
			for j := range c.pix {
				c.pix[j] = 128
			}
		case d.Progressive:
			if err := c.render(ctx); err != nil {
				return err
			}
		}
	}
	d.Damaged = d.Damaged || d.bits.damaged
	d.Blank = d.Damaged && (10*d.found < d.wanted || d.comp[0].isGray())
	return nil
}

// isGray reports whether all samples are about those of missing data. A file that is filled with zeros decodes to such ones.
func (c *component) isGray() bool {
	for _, v := range c.pix {
		if v < 128-8 || v > 128+8 {
			return false
		}
	}
	return true
}

// readSegments reads segments and scans up to the end of the picture, or up to the first that is invalid.
func (d *decoder) readSegments(ctx context.Context) error {
	var needed [maxScans]bool
	limit := maxScans
	if d.Progressive {
		needed, limit = d.neededScans(2)
	}
	scans := 0
	for pos := 2; !d.isComplete(); {
		s, ok := nextSegment(d.bits.data, pos)
		if !ok || s.marker == markerEOI || scans > 0 && isFrame(s.marker) {
			return nil
		}
		pos = s.end
		switch s.marker {
		case markerDQT:
			ok = d.defineQuant(s.data)
		case markerDHT:
			ok = d.defineHuffman(s.data)
		case markerDAC:
			ok = d.arithmetic.define(s.data)
		case markerDRI:
			ok = len(s.data) >= 2
			if ok {
				d.restart = int(binary.BigEndian.Uint16(s.data))
			}
		case markerSOS:
			ok = scans < limit
			if ok && (needed[scans] || !d.Progressive) {
				var err error
				ok, err = d.readScan(ctx, s)
				if err != nil {
					return err
				}
				pos = max(pos, d.bits.next)
			}
			scans++
		}
		if !ok {
			d.Damaged = true
			return nil
		}
	}
	return nil
}

// isComplete reports whether the picture has all scans that it can have. Then the rest of the file is ignored, because
// some cameras write data after the picture that looks like segments.
func (d *decoder) isComplete() bool {
	if d.Progressive {
		return false
	}
	for i := range d.N {
		if !d.comp[i].scanned {
			return false
		}
	}
	return true
}

// readScan reads the scan that the SOS segment begins. It reports whether reading on makes sense.
func (d *decoder) readScan(ctx context.Context, seg segment) (ok bool, err error) {
	s, ok := d.parseScan(seg.data)
	if !ok {
		return false, nil
	}
	for i := range s.n {
		t := &s.parts[i]
		if t.scanned && !d.Progressive {
			d.Damaged = true
			return true, nil // the first scan is complete, so a second one is wrong
		}
		if !t.scanned {
			// The tables at the component's first scan count. T.81 allows no others later, and libjpeg does the same.
			if !d.hasQuant[t.quantTable] {
				return false, nil
			}
			t.quant.set(&d.quant[t.quantTable], t.size)
		}
		d.buildTables(&s, t)
	}
	for i := range s.n {
		s.parts[i].scanned = true
	}
	d.bits.start(seg.end)
	d.beginInterval(&s)
	return true, d.decodeScan(ctx, &s)
}

// buildTables builds the lookup tables that the scan needs.
func (d *decoder) buildTables(s *scan, t *part) {
	dc, ac := &d.huffman[0][t.dc], &d.huffman[1][t.ac]
	switch {
	case d.Arithmetic: // needs none
	case !d.Progressive:
		dc.build(kindDC)
		ac.build(kindAC)
		ac.buildSkip()
	case s.first == 0:
		dc.build(kindDC)
	case s.high == 0:
		ac.build(kindProgressiveAC)
	default:
		ac.build(kindRefineAC)
	}
}

// defineQuant reads a DQT segment (T.81 B.2.4.1). It reports whether the segment is valid. It ignores bytes after the
// tables that are too few for another one.
func (d *decoder) defineQuant(p []byte) bool {
	for len(p) > 64 {
		wide, i := p[0]>>4, p[0]&15
		p = p[1:]
		size := 64 << (wide & 1)
		if wide > 1 || i > 3 || len(p) < size {
			return false
		}
		for k := range 64 {
			if wide == 1 {
				d.quant[i][k] = binary.BigEndian.Uint16(p[2*k:])
			} else {
				d.quant[i][k] = uint16(p[k])
			}
		}
		d.hasQuant[i] = true
		p = p[size:]
	}
	return true
}

// defineHuffman reads a DHT segment (T.81 B.2.4.2). It reports whether the segment is valid. It ignores bytes after the
// tables that are too few for another one.
func (d *decoder) defineHuffman(p []byte) bool {
	for len(p) >= 17 {
		class, i := p[0]>>4, p[0]&15
		if class > 1 || i > 3 {
			return false
		}
		counts := (*[16]byte)(p[1:17])
		n := 0
		for _, c := range counts {
			n += int(c)
		}
		p = p[17:]
		if n > len(p) || !d.huffman[class][i].define(counts, p[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

package pngdec

import (
	"bytes"
	"encoding/binary"

	"github.com/thumbcache/thumbcache/internal/reduce"
)

// setTable fills the table of colors for samples of at most 8 bits: of a palette, or of gray.
func (d *decoder) setTable(h *Header) {
	d.table = [256][4]byte{}
	switch {
	case h.Color == Paletted:
		for i := range d.table {
			c := &d.table[i]
			c[3] = 255 // an index beyond the palette is black
			if i < len(h.Palette)/3 {
				copy(c[:], h.Palette[3*i:][:3])
			}
			if i < len(h.Transparency) {
				c[3] = h.Transparency[i]
				reduce.Premultiply(c[:])
			}
		}
	case h.Color == Gray:
		most := 1<<min(h.Depth, 8) - 1 // samples of 16 bits are narrowed first
		for i := range most + 1 {
			v := byte(i * 255 / most)
			d.table[i] = [4]byte{v, v, v, 255}
		}
		if h.Transparency != nil && h.Depth <= 8 {
			d.table[h.Transparency[1]&byte(most)] = [4]byte{}
		}
	}
}

// convert converts one unfiltered row to gray or premultiplied RGBA. It leaves the row alone, which the next one needs.
func (p *picture) convert(to, row []byte) {
	width := len(to) / p.dst.Channels
	samples := p.samples(row, width)
	switch p.Color {
	case Gray, Paletted:
		switch {
		case p.dst.Channels == 4:
			for i, v := range samples {
				*(*[4]byte)(to[4*i:]) = p.table[v]
			}
		case p.Depth >= 8:
			copy(to, samples)
		default:
			for i, v := range samples {
				to[i] = p.table[v][0]
			}
		}
	case GrayAlpha:
		for ; len(to) >= 4 && len(samples) >= 2; to, samples = to[4:], samples[2:] {
			v, a := samples[0], samples[1]
			if a != 255 {
				v = byte((uint32(v)*uint32(a) + 127) / 255)
			}
			to[0], to[1], to[2], to[3] = v, v, v, a
		}
	case RGB:
		for to := to; len(to) >= 4 && len(samples) >= 3; to, samples = to[4:], samples[3:] {
			to[0], to[1], to[2], to[3] = samples[0], samples[1], samples[2], 255
		}
	default:
		copy(to, samples)
		if !p.Apple { // which has premultiplied already
			reduce.Premultiply(to)
		}
	}
	if p.Transparency != nil {
		p.clearKey(to, row)
	}
	if p.Apple && p.Color != Gray && p.Color != Paletted && p.Color != GrayAlpha {
		swapRedBlue(to)
	}
}

// samples returns a row with one byte for each sample: the high one of 16 bits, unless there is a table for linear light.
func (p *picture) samples(row []byte, width int) []byte {
	switch p.Depth {
	case 8:
		return row
	case 16:
		n := p.samplesPerPixel()
		line := p.line[:n*width]
		row = row[:2*len(line)]
		for i := range line {
			line[i] = row[2*i]
		}
		if p.Linear == nil {
			return line
		}
		for i := range line {
			if isAlpha := n&1 == 0 && i%n == n-1; !isAlpha {
				line[i] = p.Linear[binary.BigEndian.Uint16(row[2*i:])>>(16-LinearBits)]
			}
		}
		return line
	}
	line := p.line[:width]
	unpackBits(line, row, p.Depth)
	return line
}

// clearKey makes the pixels transparent that have the transparent color. The table does it for gray of at most 8 bits, and
// palettes.
func (p *picture) clearKey(to, row []byte) {
	key := p.Transparency
	switch {
	case p.Color == RGB && p.Depth == 8:
		key = []byte{key[1], key[3], key[5]}
	case p.Color == RGB:
		key = key[:6]
	case p.Color == Gray && p.Depth == 16:
		key = key[:2]
	default:
		return
	}
	for ; len(to) >= 4 && len(row) >= len(key); to, row = to[4:], row[len(key):] {
		if bytes.HasPrefix(row, key) {
			clear(to[:4])
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
	for len(to) > 0 {
		v := from[0]
		from = from[1:]
		n := min(perByte, len(to))
		for i := range to[:n] {
			v = v<<depth | v>>(8-depth)
			to[i] = v & mask
		}
		to = to[n:]
	}
}

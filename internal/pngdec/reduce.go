package pngdec

import "encoding/binary"

// sumRow adds the pixels of an unfiltered row to sums of Scale columns each.
func (p *picture) sumRow(sums []uint32, row []byte) {
	switch {
	case p.dst.Channels == 1 && p.Depth == 8:
		sum1(sums, row, p.Scale)
	case p.Color == RGB && p.Transparency == nil && !p.Apple:
		sum3(sums, p.samples(row, p.Width), p.Scale)
	default:
		pixels := p.pixels[:p.Width*p.dst.Channels]
		p.convert(pixels, row)
		if p.dst.Channels == 1 {
			sum1(sums, pixels, p.Scale)
		} else {
			sum4(sums, pixels, p.Scale)
		}
	}
}

// sum1 adds gray pixels to sums of n columns each.
func sum1(sums []uint32, row []byte, n int) {
	for i := range sums {
		cell := row[:min(n, len(row))]
		row = row[len(cell):]
		var s uint32
		for _, v := range cell {
			s += uint32(v)
		}
		sums[i] += s
	}
}

// Two sums of at most MaxScale samples share a 32-bit word.
const (
	even    = 0x00ff00ff
	lowHalf = 0xffff
)

// sum3 adds pixels of RGB to sums of RGBA of n columns each.
func sum3(sums []uint32, row []byte, n int) {
	for len(sums) >= 4 {
		cell := row[:min(3*n, len(row))]
		row = row[len(cell):]
		s := sums[:4]
		sums = sums[4:]
		s[3] += 255 * uint32(len(cell)/3)
		var r, g, b uint32
		for ; len(cell) >= 3; cell = cell[3:] {
			r += uint32(cell[0])
			g += uint32(cell[1])
			b += uint32(cell[2])
		}
		s[0] += r
		s[1] += g
		s[2] += b
	}
}

// sum4 adds pixels of RGBA to sums of n columns each.
func sum4(sums []uint32, row []byte, n int) {
	for len(sums) >= 4 {
		cell := row[:min(4*n, len(row))]
		row = row[len(cell):]
		var a, b uint32
		for ; len(cell) >= 4; cell = cell[4:] {
			v := binary.LittleEndian.Uint32(cell)
			a += v & even
			b += v >> 8 & even
		}
		s := sums[:4]
		sums = sums[4:]
		s[0] += a & lowHalf
		s[1] += b & lowHalf
		s[2] += a >> 16
		s[3] += b >> 16
	}
}

// means divides sums of Scale columns and the given number of rows by their number of pixels.
func (p *picture) means(to []byte, sums []uint32, rows int) {
	channels := p.dst.Channels
	last := (p.dst.Width - 1) * channels
	divide(to[:last], sums[:last], p.Scale*rows)
	divide(to[last:last+channels], sums[last:last+channels], (p.Width-(p.dst.Width-1)*p.Scale)*rows)
}

// divide divides sums by n and rounds.
func divide(to []byte, sums []uint32, n int) {
	// The inverse is off by at most 2^-33, and a sum is less than 2^24: the error is too small to matter.
	inverse := (1<<32 + uint64(n)/2) / uint64(n)
	to = to[:len(sums)]
	for i, s := range sums {
		to[i] = byte((uint64(s)*inverse + 1<<31) >> 32)
	}
}

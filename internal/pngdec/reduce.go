package pngdec

import "github.com/thumbcache/thumbcache/internal/reduce"

// sumRow adds the pixels of an unfiltered row to sums of Scale columns each.
func (p *picture) sumRow(sums []uint32, row []byte) {
	switch {
	case p.dst.Channels == 1 && p.Depth == 8:
		reduce.Add(sums, row, 1, p.Scale)
	case p.Color == RGB && p.Transparency == nil && !p.Apple:
		reduce.AddRGB(sums, p.samples(row, p.Width), p.Scale)
	default:
		pixels := p.pixels[:p.Width*p.dst.Channels]
		p.convert(pixels, row)
		reduce.Add(sums, pixels, p.dst.Channels, p.Scale)
	}
}

// means divides sums of Scale columns and the given number of rows by their number of pixels, and clears them.
func (p *picture) means(to []byte, sums []uint32, rows int) {
	last := (p.dst.Width - 1) * p.dst.Channels
	reduce.Divide(to[:last], sums[:last], p.Scale*rows)
	reduce.Divide(to[last:len(sums)], sums[last:], (p.Width-(p.dst.Width-1)*p.Scale)*rows)
}

package pngdec

import (
	"context"
	"errors"
	"fmt"
)

// A pass is one of the seven passes of an interlaced picture: its first pixel and the distances of its pixels.
type pass struct{ x, y, dx, dy int }

// adam7 are the passes of W3C PNG, 8.1.
var adam7 = [7]pass{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}

// neededPasses is the number of passes without which a picture is too coarse to show: they hold a pixel of each 4 x 4.
const neededPasses = 3

// size returns the number of columns and rows of the pass in a picture of the given size.
func (a pass) size(width, height int) (columns, rows int) {
	columns, rows = (width-a.x+a.dx-1)/a.dx, (height-a.y+a.dy-1)/a.dy
	if columns <= 0 || rows <= 0 {
		return 0, 0
	}
	return columns, rows
}

// eachPassRow calls f with the bytes of each row of each pass. y is the row in the picture. It returns the pass that is not
// complete and the number of its rows, and an error if too much is missing.
func (p *picture) eachPassRow(ctx context.Context, f func(a pass, columns, y int, row []byte)) (last, rows int, err error) {
	for i, a := range adam7 {
		columns, n := a.size(p.Width, p.Height)
		rows, err := p.eachRow(columns, n, func(y int, row []byte) { f(a, columns, a.y+y*a.dy, row) })
		if err != nil {
			if i < neededPasses || errors.Is(err, ctx.Err()) {
				return i, rows, missing(ctx, fmt.Sprintf("%d passes of 7", i), err)
			}
			p.dst.Missing = true
			return i, rows, nil
		}
	}
	return len(adam7), 0, nil
}

// decodePasses decodes an interlaced picture in full size.
func (p *picture) decodePasses(ctx context.Context) error {
	channels, stride := p.dst.Channels, p.dst.Width*p.dst.Channels
	last, rows, err := p.eachPassRow(ctx, func(a pass, columns, y int, row []byte) {
		to := p.dst.Pix[y*stride:][:stride]
		if a.dx == 1 {
			p.convert(to, row)
			return
		}
		from := p.pixels[:columns*channels]
		p.convert(from, row)
		for x := a.x; len(from) > 0; x += a.dx {
			copy(to[x*channels:][:channels], from)
			from = from[channels:]
		}
	})
	if err == nil && p.dst.Missing {
		p.dst.fillPixels(last, rows)
	}
	return err
}

// fillPixels fills the pixels that are missing because the data ends in a pass, after the given number of its rows. A
// missing pixel gets the color of the nearest one above or to the left that an earlier pass has.
func (m *Image) fillPixels(last, rows int) {
	// The distance from a pixel of each pass to one of the passes before.
	steps := [7]struct{ x, y int }{{}, {4, 0}, {0, 4}, {2, 0}, {0, 2}, {1, 0}, {0, 1}}
	stride := m.Width * m.Channels
	for i := last; i < len(adam7); i++ {
		a := adam7[i]
		first := 0
		if i == last {
			first = rows
		}
		for y := a.y + first*a.dy; y < m.Height; y += a.dy {
			for x := a.x; x < m.Width; x += a.dx {
				from := (y-steps[i].y)*stride + (x-steps[i].x)*m.Channels
				copy(m.Pix[y*stride+x*m.Channels:][:m.Channels], m.Pix[from:])
			}
		}
	}
}

// reducePasses decodes an interlaced picture in reduced size. Each pixel is added to its sum, whatever its pass.
func (p *picture) reducePasses(ctx context.Context) error {
	channels, stride := p.dst.Channels, p.dst.Width*p.dst.Channels
	last, rows, err := p.eachPassRow(ctx, func(a pass, columns, y int, row []byte) {
		sums := p.sums[y/p.Scale*stride:][:stride]
		if a.dx == 1 {
			p.sumRow(sums, row)
			return
		}
		from := p.pixels[:columns*channels]
		p.convert(from, row)
		if channels == 1 {
			sumSparse1(sums, from, a.x, a.dx, p.Scale)
		} else {
			sumSparse4(sums, from, a.x, a.dx, p.Scale)
		}
	})
	if err != nil {
		return err
	}
	for y := range p.dst.Height {
		to, sums := p.dst.Pix[y*stride:][:stride], p.sums[y*stride:][:stride]
		if p.dst.Missing {
			p.meansOfSome(y, last, rows)
		} else {
			p.means(to, sums, min(p.Scale, p.Height-y*p.Scale))
		}
	}
	return nil
}

// sumSparse1 adds gray pixels, the first of them at column x and then one every dx columns, to sums of n columns each.
func sumSparse1(sums []uint32, from []byte, x, dx, n int) {
	at, column := x/n, x%n
	for _, v := range from {
		sums[at] += uint32(v)
		for column += dx; column >= n; column -= n {
			at++
		}
	}
}

// sumSparse4 is sumSparse1 for RGBA.
func sumSparse4(sums []uint32, from []byte, x, dx, n int) {
	at, column := 4*(x/n), x%n
	for ; len(from) >= 4; from = from[4:] {
		s := sums[at:][:4]
		s[0] += uint32(from[0])
		s[1] += uint32(from[1])
		s[2] += uint32(from[2])
		s[3] += uint32(from[3])
		for column += dx; column >= n; column -= n {
			at += 4
		}
	}
}

// meansOfSome is means for row y of an interlaced picture whose data ends in a pass, after the given number of its rows. A
// sum without a pixel becomes a copy of the pixel to the left, or of the one above in the first column.
func (p *picture) meansOfSome(y, last, rows int) {
	m := p.dst
	top, bottom := y*p.Scale, min((y+1)*p.Scale, p.Height)
	stride := m.Width * m.Channels
	to, sums := m.Pix[y*stride:][:stride], p.sums[y*stride:][:stride]
	inRow := false
	for x := range m.Width {
		left, right := x*p.Scale, min((x+1)*p.Scale, p.Width)
		count := 0
		for i, a := range adam7[:min(last+1, len(adam7))] {
			end := bottom
			if i == last {
				end = min(end, a.y+rows*a.dy)
			}
			count += between(a.x, a.dx, left, right) * between(a.y, a.dy, top, end)
		}
		pixel := to[x*m.Channels:][:m.Channels]
		switch {
		case count > 0:
			inRow = true
			for c := range pixel {
				pixel[c] = byte((int(sums[x*m.Channels+c]) + count/2) / count)
			}
		case inRow:
			copy(pixel, to[(x-1)*m.Channels:])
		case y > 0:
			copy(pixel, m.Pix[(y-1)*stride+x*m.Channels:])
		}
	}
}

// between returns how many of the numbers first, first+step, ... are in the range from low to high, without high.
func between(first, step, low, high int) int {
	below := func(limit int) int { return max(0, (limit-first+step-1)/step) }
	return max(0, below(high)-below(low))
}

package render

import (
	"encoding/binary"

	"github.com/thumbcache/thumbcache/internal/render/thumbhash"
)

// A grid holds the means of a picture's cells, from which its ThumbHash is computed.
type grid struct {
	cols, rows int
	planes     [3][thumbhash.Edge * thumbhash.Edge]byte
	rgba       [4 * thumbhash.Edge * thumbhash.Edge]byte
	sums       []uint64 // sums of columns, 16 bits each: for every 8 bytes first the even ones, then the odd ones
	columns    []uint16 // the same sums in order
}

// hashJPEG returns the hash of a grey plane, or of luma and chroma. Only the means are converted to RGB.
func (ws *workspace) hashJPEG(p [3]plane) []byte {
	m := &ws.grid
	m.cols, m.rows = cellCount(p[0].width), cellCount(p[0].height)
	n := m.cols * m.rows
	var small [3]plane
	for i := range p {
		small[i].pix = m.planes[i][:n]
		if p[i].pix == nil {
			for j := range small[i].pix {
				small[i].pix[j] = 128 // no chroma
			}
			continue
		}
		m.average(small[i].pix, p[i])
	}
	toRGB(m.rgba[:4*n], small)
	return thumbhash.Encode(m.rgba[:], m.cols, m.rows, p[0].width, p[0].height)
}

// hashPNG returns the hash of a picture in grey or RGBA.
func (ws *workspace) hashPNG(p pixels) []byte {
	m := &ws.grid
	if p.grey {
		return ws.hashJPEG([3]plane{p.plane})
	}
	m.cols, m.rows = cellCount(p.width), cellCount(p.height)
	if p.opaque {
		m.average(m.rgba[:], p.plane)
	} else {
		m.averageAlpha(m.rgba[:], p.plane)
	}
	return thumbhash.Encode(m.rgba[:], m.cols, m.rows, p.width, p.height)
}

// cellCount returns the number of cells, at most thumbhash.Edge, for n samples. All cells then have nearly the same size,
// which the transform assumes.
func cellCount(n int) int {
	size := (n + thumbhash.Edge - 1) / thumbhash.Edge
	return (n + size/2) / size
}

// cellRange returns the range of samples of cell i, if n samples are divided into parts cells. The range is never empty,
// even if chroma has fewer samples than cells.
func cellRange(i, parts, n int) (from, to int) {
	from, to = mulDiv(i, n, parts), mulDiv(i+1, n, parts)
	return from, max(to, from+1)
}

// average fills dst with the means of a plane's cells.
func (m *grid) average(dst []byte, p plane) {
	length := p.width * p.chans
	m.sums = grow(m.sums, 2*((length+7)/8))
	m.columns = grow(m.columns, 4*len(m.sums))
	for row := range m.rows {
		top, bottom := cellRange(row, m.rows, p.height)
		step := (bottom - top + 255) / 256 // skips rows of a high cell, to keep the sums within 16 bits
		high := 0
		clear(m.sums)
		for y := top; y < bottom; y += step {
			high++
			m.add(p.pix[y*p.stride:][:length])
		}
		m.unpack()
		for col := range m.cols {
			left, right := cellRange(col, m.cols, p.width)
			n := uint64(high) * uint64(right-left)
			columns := m.columns[left*p.chans : right*p.chans]
			if p.chans == 1 {
				var sum uint64
				for _, v := range columns {
					sum += uint64(v)
				}
				dst[row*m.cols+col] = byte((sum + n/2) / n)
				continue
			}
			var r, g, b, a uint64
			for ; len(columns) >= 4; columns = columns[4:] {
				r, g, b, a = r+uint64(columns[0]), g+uint64(columns[1]), b+uint64(columns[2]), a+uint64(columns[3])
			}
			d := dst[4*(row*m.cols+col):][:4]
			d[0], d[1], d[2], d[3] = byte((r+n/2)/n), byte((g+n/2)/n), byte((b+n/2)/n), byte((a+n/2)/n)
		}
	}
}

// add adds a row of samples to the column sums.
func (m *grid) add(row []byte) {
	const even = 0x00FF00FF00FF00FF
	sums := m.sums
	for ; len(row) >= 8 && len(sums) >= 2; row, sums = row[8:], sums[2:] {
		v := binary.LittleEndian.Uint64(row)
		sums[0] += v & even
		sums[1] += v >> 8 & even
	}
	if len(row) > 0 {
		var last [8]byte
		copy(last[:], row)
		v := binary.LittleEndian.Uint64(last[:])
		sums[0] += v & even
		sums[1] += v >> 8 & even
	}
}

// unpack writes the column sums to m.columns in order.
func (m *grid) unpack() {
	columns := m.columns
	for sums := m.sums; len(sums) >= 2 && len(columns) >= 8; sums, columns = sums[2:], columns[8:] {
		even, odd := sums[0], sums[1]
		columns[0], columns[1] = uint16(even), uint16(odd)
		columns[2], columns[3] = uint16(even>>16), uint16(odd>>16)
		columns[4], columns[5] = uint16(even>>32), uint16(odd>>32)
		columns[6], columns[7] = uint16(even>>48), uint16(odd>>48)
	}
}

// averageAlpha is average for RGBA that is not premultiplied. It weighs each colour by its alpha.
func (m *grid) averageAlpha(dst []byte, p plane) {
	for row := range m.rows {
		top, bottom := cellRange(row, m.rows, p.height)
		for col := range m.cols {
			left, right := cellRange(col, m.cols, p.width)
			var r, g, b, a uint64
			for y := top; y < bottom; y++ {
				for s := p.pix[y*p.stride+4*left:][:4*(right-left)]; len(s) >= 4; s = s[4:] {
					alpha := uint64(s[3])
					r, g, b, a = r+alpha*uint64(s[0]), g+alpha*uint64(s[1]), b+alpha*uint64(s[2]), a+alpha
				}
			}
			d := dst[4*(row*m.cols+col):][:4]
			n := uint64(bottom-top) * uint64(right-left)
			clear(d)
			if a > 0 {
				d[0], d[1], d[2], d[3] = byte((r+a/2)/a), byte((g+a/2)/a), byte((b+a/2)/a), byte((a+n/2)/n)
			}
		}
	}
}

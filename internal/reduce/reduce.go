// Package reduce makes the means of squares of pixels. The caller adds row after row to sums, and divides them.
package reduce

import "encoding/binary"

// MaxScale is the largest number of columns and rows of a square.
const MaxScale = 256

// Add adds pixels of 1 or 4 channels to sums of n columns each. The last sum gets what is left.
func Add(sums []uint32, row []byte, channels, n int) {
	if channels == 1 {
		add1(sums, row, n)
	} else {
		add4(sums, row, n)
	}
}

func add1(sums []uint32, row []byte, n int) {
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

// Four sums of at most MaxScale/2 samples share a word.
const (
	even = 0x00ff00ff_00ff00ff
	lane = 0xffff
)

func add4(sums []uint32, row []byte, n int) {
	for ; len(sums) >= 4 && len(row) > 0; sums = sums[4:] {
		cell := row[:min(4*n, len(row))]
		row = row[len(cell):]
		var a, b uint64 // red and blue, green and alpha; of pixels in turn
		for ; len(cell) >= 8; cell = cell[8:] {
			v := binary.LittleEndian.Uint64(cell)
			a += v & even
			b += v >> 8 & even
		}
		if len(cell) >= 4 {
			v := uint64(binary.LittleEndian.Uint32(cell))
			a += v & even
			b += v >> 8 & even
		}
		a += a >> 32
		b += b >> 32
		s := sums[:4]
		s[0] += uint32(a & lane)
		s[1] += uint32(b & lane)
		s[2] += uint32(a>>16) & lane
		s[3] += uint32(b>>16) & lane
	}
}

// AddRGB adds pixels of RGB to sums of RGBA.
func AddRGB(sums []uint32, row []byte, n int) {
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

// Divide stores the rounded means of sums of n samples each, and clears the sums.
func Divide(to []byte, sums []uint32, n int) {
	// The inverse is too large by less than 2^-40, and a sum is at most 255*n: the error of a mean is less than 1/n, so that it
	// is rounded exactly.
	inverse := (1<<40 + uint64(n) - 1) / uint64(n)
	to = to[:len(sums)]
	for i, s := range sums {
		to[i] = byte((uint64(s)*inverse + 1<<39) >> 40)
	}
	clear(sums)
}

// Premultiply multiplies the colors of RGBA by alpha, so that invisible pixels do not count in means.
func Premultiply(pix []byte) {
	for ; len(pix) >= 4; pix = pix[4:] {
		if a := uint32(pix[3]); a != 255 {
			pix[0] = byte((uint32(pix[0])*a + 127) / 255)
			pix[1] = byte((uint32(pix[1])*a + 127) / 255)
			pix[2] = byte((uint32(pix[2])*a + 127) / 255)
		}
	}
}

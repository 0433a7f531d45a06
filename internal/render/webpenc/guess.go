package webpenc

import (
	"encoding/binary"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// What a mode costs is guessed before any coefficient is computed: from the sum of the absolute values of the Hadamard transform of
// the difference between source and prediction, which takes additions only. Words hold four numbers in lanes of 16 bits. A lane whose
// number may be negative has an offset added, so that it does not borrow from the next one.
//
// The transform is linear. A prediction from the row above is the same in each row, and one from the column to the left in each column.
// So such a prediction changes only the first row and the first column of the transform, and no more is computed.

const (
	lanes  = 0x0001_0001_0001_0001
	offset = 0x2000 * lanes // of transformed numbers
)

// spread moves four samples to lanes.
func spread(v uint32) uint64 {
	x := (uint64(v) | uint64(v)<<16) & 0x0000ffff_0000ffff
	return (x | x<<8) & 0x00ff00ff_00ff00ff
}

// across transforms a row of numbers from -1020 to 1020, in signed lanes.
func across(v uint64) uint64 {
	v += 0x0800 * lanes
	low, high := v&0xffffffff, v>>32
	v = (low + high) | (low+0x1000_1000-high)<<32
	even, odd := v&0x0000ffff_0000ffff, v>>16&0x0000ffff_0000ffff
	return (even + odd) | (even+0x2000_0000_2000-odd)<<16
}

// fourfold is across, times four, of a row of samples. It is the transform of a block that has this row four times.
func fourfold(v uint64) uint64 { return 4*across(v) - 3*offset }

// magnitudes returns the absolute values of transformed numbers.
func magnitudes(v uint64) uint64 {
	negative := ^v >> 13 & lanes
	return v&(0x1fff*lanes) ^ negative*0x1fff + negative
}

// sum adds up lanes. The sum must be less than 1<<16.
func sum(v uint64) int32 { return int32(v * lanes >> 48) }

// A pattern is what is known of the transform of a block.
type pattern struct {
	row    uint64 // first row of the transform
	column uint64 // first column
	acRow  int32  // sum of the absolute values in the first row, without the first
	acCol  int32  // the same for the column
}

func (p *pattern) set(src *vp8.Area, at int) {
	r0, r1 := spread(binary.LittleEndian.Uint32(src[at:])), spread(binary.LittleEndian.Uint32(src[at+vp8.Stride:]))
	r2, r3 := spread(binary.LittleEndian.Uint32(src[at+2*vp8.Stride:])), spread(binary.LittleEndian.Uint32(src[at+3*vp8.Stride:]))
	p.row = across(r0 + r1 + r2 + r3)
	p.column = across(r0*lanes>>48 | r1*lanes>>48<<16 | r2*lanes>>48<<32 | r3*lanes>>48<<48)
	p.acRow = sum(magnitudes(p.row) &^ 0xffff)
	p.acCol = sum(magnitudes(p.column) &^ 0xffff)
}

// mean16 returns the first number of a transform, 16 times the mean.
func mean16(v uint64) int32 { return int32(v&0xffff) - 0x2000 }

// guessWhole returns a guess for each mode of 16x16 luma samples: RFC 6386, section 12.2.
func guessWhole(patterns *[16]pattern, a *vp8.Area, isLeft, isAbove bool) (guesses [4]int32) {
	var rows, columns [4]uint64
	var total int32
	for i := range 4 {
		row := spread(binary.LittleEndian.Uint32(a[vp8.AtY-vp8.Stride+4*i:]))
		column := leftOf(a, vp8.AtY+4*i*vp8.Stride)
		rows[i], columns[i] = fourfold(row), fourfold(column)
		if isAbove {
			total += sum(row)
		}
		if isLeft {
			total += sum(column)
		}
	}
	mean := int32(128)
	switch {
	case isAbove && isLeft:
		mean = (total + 16) >> 5
	case isAbove || isLeft:
		mean = (total + 8) >> 4
	}
	corner := int32(a[vp8.AtY-vp8.Stride-1])
	var means [4][16]int32 // first numbers of the transforms
	for i := range patterns {
		p := &patterns[i]
		row, column := rows[i&3], columns[i>>2]
		dc := mean16(p.row)
		means[vp8.DC][i] = dc - 16*mean
		means[vp8.VE][i] = dc - mean16(row)
		means[vp8.HE][i] = dc - mean16(column)
		means[vp8.TM][i] = dc - mean16(row) - mean16(column) + 16*corner
		r := sum(magnitudes(p.row+offset-row) &^ 0xffff)
		c := sum(magnitudes(p.column+offset-column) &^ 0xffff)
		guesses[vp8.DC] += p.acRow + p.acCol
		guesses[vp8.VE] += r + p.acCol
		guesses[vp8.HE] += p.acRow + c
		guesses[vp8.TM] += r + c
	}
	for m := range guesses {
		guesses[m] += secondTransform(&means[m])
	}
	return guesses
}

// secondTransform returns the sum of the absolute values of the transform of 4x4 numbers, divided by its norm. The means of luma
// blocks that are predicted together are transformed again.
func secondTransform(v *[16]int32) (sum int32) {
	for y := range 4 {
		r := v[4*y:][:4]
		a, b, c, d := r[0]+r[2], r[1]+r[3], r[0]-r[2], r[1]-r[3]
		r[0], r[1], r[2], r[3] = a+b, a-b, c+d, c-d
	}
	for x := range 4 {
		a, b, c, d := v[x]+v[8+x], v[4+x]+v[12+x], v[x]-v[8+x], v[4+x]-v[12+x]
		sum += abs(a+b) + abs(a-b) + abs(c+d) + abs(c-d)
	}
	return sum / 4
}

func abs(v int32) int32 {
	sign := v >> 31
	return (v ^ sign) - sign
}

// smaller returns the smaller number. It has no branch, unlike min, which is slow if it cannot be predicted.
func smaller(a, b int32) int32 { return b + (a-b)&((a-b)>>31) }

// leftOf returns the four samples to the left of a block, from above.
func leftOf(a *vp8.Area, at int) uint64 {
	s := a[at-1 : at+3*vp8.Stride]
	return uint64(s[0]) | uint64(s[vp8.Stride])<<16 | uint64(s[2*vp8.Stride])<<32 | uint64(s[3*vp8.Stride])<<48
}

// mean3 returns weighted means of three neighbours.
func mean3(a, b, c uint64) uint64 { return (a + 2*b + c + 2*lanes) >> 2 & (0xff * lanes) }

// guess returns a guess for each mode of a 4x4 block that is not diagonal: section 12.3.
func (p *pattern) guess(a *vp8.Area, at int) (g [4]int32) {
	above8 := binary.LittleEndian.Uint64(a[at-vp8.Stride:])
	above, right := spread(uint32(above8)), above8>>32&0xff
	left, corner := leftOf(a, at), uint64(a[at-vp8.Stride-1])
	dc := mean16(p.row)
	mean := (sum(above) + sum(left) + 4) >> 3
	g[vp8.DC] = p.acRow + p.acCol + abs(dc-16*mean)

	smooth := mean3(above<<16|corner, above, above>>16|right<<48)
	g[vp8.VE] = p.acCol + sum(magnitudes(p.row+offset-fourfold(smooth)))
	smooth = mean3(left<<16|corner, left, left>>16|left>>48<<48)
	g[vp8.HE] = p.acRow + sum(magnitudes(p.column+offset-fourfold(smooth)))

	row, column := fourfold(above), fourfold(left)
	dc -= mean16(row) + mean16(column) - 16*int32(corner)
	g[vp8.TM] = sum(magnitudes(p.row+offset-row)&^0xffff) + sum(magnitudes(p.column+offset-column)&^0xffff) + abs(dc)
	return g
}

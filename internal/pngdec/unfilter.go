package pngdec

import "encoding/binary"

// unfilter reverses the filter of a row (W3C PNG, 9.2), whose number is the first byte of raw. It writes length bytes to row.
// previous is the row above. pixel is the number of bytes of a pixel, at least 1. All slices have wideStore more bytes, since
// whole words are stored. It reports whether there is such a filter.
func unfilter(row, raw, previous []byte, length, pixel int) bool {
	filter, raw := raw[0], raw[1:]
	switch filter {
	case 0:
		copy(row[:length], raw)
	case 1:
		unfilterSub(row, raw, length, pixel)
	case 2:
		unfilterUp(row, raw, previous, length)
	case 3:
		unfilterAverage(row, raw, previous, length, pixel)
	case 4:
		for i := 0; i < pixel && i < length; {
			row, raw, previous, length := row[i:], raw[i:], previous[i:], length-i
			switch {
			case pixel%4 == 0:
				unfilterPaeth4(row, raw, previous, length, pixel)
				i += 4
			case pixel%3 == 0:
				unfilterPaeth3(row, raw, previous, length, pixel)
				i += 3
			default:
				unfilterPaeth(row, raw, previous, length, pixel)
				i++
			}
		}
	default:
		return false
	}
	return true
}

// wideStore is the number of bytes after a row that functions may overwrite.
const wideStore = 8

// High and low bits of the 8 bytes in a word.
const (
	high = 0x8080808080808080
	low7 = 0x7f7f7f7f7f7f7f7f
)

// addBytes adds the bytes of two words, each without its carry.
func addBytes(a, b uint64) uint64 { return (a&low7 + b&low7) ^ (a^b)&high }

// averageBytes returns the means of the bytes of two words, rounded down.
func averageBytes(a, b uint64) uint64 { return a&b + (a^b)>>1&low7 }

// unfilterSub adds the pixel to the left. Words of 8 bytes hold a pixel and bytes that the next word overwrites.
func unfilterSub(row, raw []byte, length, pixel int) {
	if pixel == 1 {
		var left byte
		row = row[:length]
		for i, v := range raw[:length] {
			left += v
			row[i] = left
		}
		return
	}
	var left uint64
	for i := 0; i < length; i += pixel {
		left = addBytes(left, binary.LittleEndian.Uint64(raw[i:]))
		binary.LittleEndian.PutUint64(row[i:], left)
	}
}

// unfilterUp adds the row above.
func unfilterUp(row, raw, previous []byte, length int) {
	for i := 0; i < length; i += 8 {
		v := addBytes(binary.LittleEndian.Uint64(raw[i:]), binary.LittleEndian.Uint64(previous[i:]))
		binary.LittleEndian.PutUint64(row[i:], v)
	}
}

// unfilterAverage adds the mean of the pixels to the left and above.
func unfilterAverage(row, raw, previous []byte, length, pixel int) {
	if pixel == 1 {
		left := 0
		row, previous = row[:length], previous[:length]
		for i, v := range raw[:length] {
			left = (int(v) + (left+int(previous[i]))>>1) & 0xff
			row[i] = byte(left)
		}
		return
	}
	var left uint64
	for i := 0; i < length; i += pixel {
		left = averageBytes(left, binary.LittleEndian.Uint64(previous[i:]))
		left = addBytes(left, binary.LittleEndian.Uint64(raw[i:]))
		binary.LittleEndian.PutUint64(row[i:], left)
	}
}

// paeth returns the one of left, up and corner that is nearest to left + up - corner (W3C PNG, 9.4).
//
// It does so without branches, since the result is hard to predict. Let t be 3*corner - left - up. The larger of left and up is
// nearest if t is at most the smaller one, the smaller is nearest if t is at least the larger one, and otherwise corner is. A
// test compares that with the definition for all bytes.
func paeth(left, up, corner int) int {
	less, more := min(left, up), max(left, up)
	t := 3*corner - left - up
	v := corner
	if t >= more {
		v = less
	}
	if t <= less {
		v = more
	}
	return v
}

// unfilterPaeth reverses the Paeth filter for one byte of each pixel.
func unfilterPaeth(row, raw, previous []byte, length, pixel int) {
	left, corner := 0, 0
	for i := 0; i < length; i += pixel {
		up := int(previous[i])
		left = int(byte(paeth(left, up, corner) + int(raw[i])))
		row[i] = byte(left)
		corner = up
	}
}

// unfilterPaeth3 is unfilterPaeth for three neighboring bytes of each pixel. They do not depend on each other, so the
// processor works on all of them at once.
func unfilterPaeth3(row, raw, previous []byte, length, pixel int) {
	var a0, a1, a2, c0, c1, c2 int
	for i := 0; i < length; i += pixel {
		r, p, to := raw[i:i+3:i+3], previous[i:i+3:i+3], row[i:i+3:i+3]
		b0, b1, b2 := int(p[0]), int(p[1]), int(p[2])
		a0 = int(byte(paeth(a0, b0, c0) + int(r[0])))
		a1 = int(byte(paeth(a1, b1, c1) + int(r[1])))
		a2 = int(byte(paeth(a2, b2, c2) + int(r[2])))
		to[0], to[1], to[2] = byte(a0), byte(a1), byte(a2)
		c0, c1, c2 = b0, b1, b2
	}
}

// unfilterPaeth4 is unfilterPaeth3 for four bytes.
func unfilterPaeth4(row, raw, previous []byte, length, pixel int) {
	var a0, a1, a2, a3, c0, c1, c2, c3 int
	for i := 0; i < length; i += pixel {
		r, p, to := raw[i:i+4:i+4], previous[i:i+4:i+4], row[i:i+4:i+4]
		b0, b1, b2, b3 := int(p[0]), int(p[1]), int(p[2]), int(p[3])
		a0 = int(byte(paeth(a0, b0, c0) + int(r[0])))
		a1 = int(byte(paeth(a1, b1, c1) + int(r[1])))
		a2 = int(byte(paeth(a2, b2, c2) + int(r[2])))
		a3 = int(byte(paeth(a3, b3, c3) + int(r[3])))
		to[0], to[1], to[2], to[3] = byte(a0), byte(a1), byte(a2), byte(a3)
		c0, c1, c2, c3 = b0, b1, b2, b3
	}
}

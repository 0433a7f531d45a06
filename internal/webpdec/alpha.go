package webpdec

import "github.com/thumbcache/thumbcache/internal/vp8"

// An alphaReader reads the rows of an alpha chunk: RFC 9649, section 2.7.1.2.
type alphaReader struct {
	filter   byte
	raw      []byte    // rows that are not compressed
	lossless *vp8l     // or a picture in which green is alpha
	rows     [2][]byte // the last row, and the next one
	y        int
}

// Filters of alpha.
const (
	filterLeft     = 1
	filterAbove    = 2
	filterGradient = 3
)

func newAlphaReader(chunk []byte, w, h int) (*alphaReader, error) {
	if len(chunk) == 0 {
		return nil, errTruncated
	}
	a := &alphaReader{filter: chunk[0] >> 2 & 3, rows: [2][]byte{make([]byte, w), make([]byte, w)}}
	data := chunk[1:]
	var err error
	switch chunk[0] & 3 {
	case 0:
		if int64(len(data)) < int64(w)*int64(h) {
			return nil, errTruncated
		}
		a.raw = data
	case 1:
		a.lossless, err = readVP8L(data, w, h)
	default:
		err = FormatError("unknown compression of alpha")
	}
	return a, err
}

// nextRow returns the next row. It is valid until the next call.
func (a *alphaReader) nextRow() ([]byte, error) {
	above, row := a.rows[0], a.rows[1]
	if a.lossless != nil {
		pixels, err := a.lossless.nextRow()
		if err != nil {
			return nil, err
		}
		for x, v := range pixels {
			row[x] = byte(v >> 8)
		}
	} else {
		copy(row, a.raw)
		a.raw = a.raw[len(row):]
	}
	filter := a.filter
	if a.y == 0 && filter != 0 {
		filter = filterLeft // there is nothing above
	}
	row[0] += above[0] // 0 in the first row
	switch filter {
	case 0:
		row[0] -= above[0]
	case filterLeft:
		for x := 1; x < len(row); x++ {
			row[x] += row[x-1]
		}
	case filterAbove:
		for x := 1; x < len(row); x++ {
			row[x] += above[x]
		}
	case filterGradient:
		for x := 1; x < len(row); x++ {
			row[x] += vp8.Clamp(int32(row[x-1]) + int32(above[x]) - int32(above[x-1]))
		}
	}
	a.rows[0], a.rows[1] = row, above
	a.y++
	return row, nil
}

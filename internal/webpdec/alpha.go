package webpdec

// An alphaReader reads the rows of an alpha chunk: RFC 9649, section 2.7.1.2.
type alphaReader struct {
	mode     uint8        // of the predictor that does what the filter does, or 0
	raw      []byte       // rows that are not compressed
	lossless *greenReader // or a picture in which green is alpha
	rows     [2][]byte    // the last row, and the next one; one byte longer than the picture is wide
	y        int
}

// filterModes holds the modes of the predictor for the filters: none, left, above and gradient.
var filterModes = [4]uint8{0, 1, 2, 12}

func newAlphaReader(chunk []byte, w, h int) (*alphaReader, error) {
	if len(chunk) == 0 {
		return nil, errTruncated
	}
	a := &alphaReader{mode: filterModes[chunk[0]>>2&3], rows: [2][]byte{make([]byte, w+1), make([]byte, w+1)}}
	data := chunk[1:]
	var err error
	switch chunk[0] & 3 {
	case 0:
		if int64(len(data)) < int64(w)*int64(h) {
			return nil, errTruncated
		}
		a.raw = data
	case 1:
		a.lossless, err = newGreenReader(data, w, h)
	default:
		err = FormatError("unknown compression of alpha")
	}
	return a, err
}

// nextRow returns the next row. It is valid until the next call.
func (a *alphaReader) nextRow() ([]byte, error) {
	above, row := a.rows[0], a.rows[1][:len(a.rows[1])-1]
	if a.lossless != nil {
		if err := a.lossless.nextRow(row); err != nil {
			return nil, err
		}
	} else {
		copy(row, a.raw)
		a.raw = a.raw[len(row):]
	}
	if a.mode != 0 {
		mode := a.mode
		if a.y == 0 {
			mode = 1 // there is nothing above
		}
		row[0] += above[0] // 0 in the first row
		predictBytes(mode, row, above)
	}
	a.rows[0], a.rows[1] = a.rows[1], above
	a.y++
	return row, nil
}

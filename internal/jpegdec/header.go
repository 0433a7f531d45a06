package jpegdec

import (
	"bytes"
	"encoding/binary"
)

const (
	markerSOF0  = 0xc0 // baseline
	markerSOF1  = 0xc1 // extended sequential
	markerSOF2  = 0xc2 // progressive
	markerDHT   = 0xc4
	markerJPG   = 0xc8
	markerSOF9  = 0xc9 // extended sequential, arithmetic coding
	markerSOF10 = 0xca // progressive, arithmetic coding
	markerDAC   = 0xcc
	markerSOF15 = 0xcf
	markerRST0  = 0xd0
	markerRST7  = 0xd7
	markerSOI   = 0xd8
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerDQT   = 0xdb
	markerDNL   = 0xdc
	markerDRI   = 0xdd
	markerDHP   = 0xde // of the hierarchical process
	markerAPP0  = 0xe0
	markerAPP14 = 0xee
)

// A segment is a marker with its parameters (T.81 B.1.1).
type segment struct {
	marker byte
	data   []byte
	end    int // position in the file after the segment
}

// nextMarker returns the first marker in data[pos:] and the position after it, or 0 and len(data). It ignores codes
// below SOF0, which no supported file uses as markers.
func nextMarker(data []byte, pos int) (marker byte, end int) {
	for {
		i := bytes.IndexByte(data[pos:], 0xff)
		if i < 0 || pos+i+1 >= len(data) {
			return 0, len(data)
		}
		pos += i + 1
		if m := data[pos]; m >= markerSOF0 && m < 0xff {
			return m, pos + 1
		}
	}
}

// nextSegment returns the first segment in data[pos:]. It skips fill bytes, garbage, and entropy-coded data with its
// restart markers. Like libjpeg it takes a length of 0 or 1, which is too short for itself, as that of an empty segment.
// It reports false if the file ends before the segment does.
func nextSegment(data []byte, pos int) (s segment, ok bool) {
	for {
		s.marker, pos = nextMarker(data, pos)
		if s.marker < markerRST0 || s.marker > markerSOI {
			break
		}
	}
	if s.marker == markerEOI {
		s.end = pos
		return s, true
	}
	if pos+2 > len(data) {
		return s, false
	}
	n := max(2, int(binary.BigEndian.Uint16(data[pos:])))
	if n > len(data)-pos {
		return s, false
	}
	s.data, s.end = data[pos+2:pos+n], pos+n
	return s, true
}

// isFrame reports whether the marker begins a frame header.
func isFrame(marker byte) bool {
	return markerSOF0 <= marker && marker <= markerSOF15 &&
		marker != markerDHT && marker != markerJPG && marker != markerDAC
}

// ReadHeader reads the header of a file: all segments before the first scan. In the rare file whose frame header has no
// height it also searches the data of that scan for its end, where the height is.
func ReadHeader(data []byte) (Header, error) {
	h, _, err := readHeader(data)
	return h, err
}

// A frame holds the part of a frame header that only the decoder needs.
type frame struct {
	id         [4]byte // of the components
	quantTable [4]byte // numbers of their quantization tables
}

func readHeader(data []byte) (h Header, f frame, err error) {
	if len(data) < 2 || data[0] != 0xff || data[1] != markerSOI {
		return h, f, FormatError("not a JPEG file")
	}
	jfif, transform := false, -1
	for pos := 2; ; {
		s, ok := nextSegment(data, pos)
		if !ok {
			return h, f, FormatError("header is truncated")
		}
		pos = s.end
		switch p := s.data; s.marker {
		case markerSOF0, markerSOF1, markerSOF2, markerSOF9, markerSOF10:
			if h.N != 0 {
				return h, f, FormatError("more than one frame")
			}
			h.Progressive = s.marker == markerSOF2 || s.marker == markerSOF10
			h.Arithmetic = s.marker >= markerSOF9
			if err := f.parse(&h, p); err != nil {
				return h, f, err
			}
		case markerAPP0:
			jfif = jfif || len(p) >= 5 && string(p[:5]) == "JFIF\x00"
		case markerAPP14:
			if len(p) >= 12 && string(p[:5]) == "Adobe" {
				transform = int(p[11])
			}
		case markerSOS:
			if h.N == 0 {
				return h, f, FormatError("scan without a frame")
			}
			if h.Height == 0 {
				h.Height, err = lineCount(data, pos)
			}
			h.Adobe = transform >= 0
			h.Model = guessModel(h.N, f.id, jfif, transform)
			return h, f, err
		case markerEOI:
			return h, f, FormatError("no picture in the file")
		default:
			if s.marker == markerDHP || isFrame(s.marker) {
				return h, f, ErrUnsupported
			}
		}
	}
}

// parse reads the frame header p (T.81 B.2.2).
func (f *frame) parse(h *Header, p []byte) error {
	if len(p) < 6 || len(p) < 6+3*int(p[5]) {
		return FormatError("frame header is truncated")
	}
	h.Height = int(binary.BigEndian.Uint16(p[1:]))
	h.Width = int(binary.BigEndian.Uint16(p[3:]))
	n := int(p[5])
	switch {
	case h.Width == 0:
		return FormatError("width is zero")
	case p[0] != 8, n != 1 && n != 3 && n != 4:
		return ErrUnsupported
	}
	h.N = n
	for i := range n {
		c := p[6+3*i:]
		s := Sampling{H: int(c[1] >> 4), V: int(c[1] & 15)}
		if s.H < 1 || s.H > 4 || s.V < 1 || s.V > 4 || c[2] > 3 {
			return FormatError("invalid component")
		}
		if n == 1 {
			s = Sampling{H: 1, V: 1} // factors are relative, so those of a single component have no meaning
		}
		h.Sampling[i] = s
		f.id[i], f.quantTable[i] = c[0], c[2]
	}
	return nil
}

// lineCount returns the height of a picture that has it in a DNL segment (T.81 B.2.5). The segment must follow the data
// of the first scan, which begins at data[pos:].
func lineCount(data []byte, pos int) (height int, err error) {
	s, ok := nextSegment(data, pos)
	if !ok || s.marker != markerDNL || len(s.data) < 2 {
		return 0, ErrUnsupported
	}
	height = int(binary.BigEndian.Uint16(s.data))
	if height == 0 {
		return 0, FormatError("height is zero")
	}
	return height, nil
}

// guessModel returns the color model by the rules of libjpeg, which all programs follow. transform is that of the
// Adobe marker, or negative if the file has none.
func guessModel(n int, id [4]byte, jfif bool, transform int) Model {
	switch {
	case n == 1:
		return Gray
	case n == 4 && transform <= 0:
		return CMYK
	case n == 4:
		return YCCK
	case jfif:
		return YCbCr
	case transform == 0, transform < 0 && string(id[:3]) == "RGB":
		return RGB
	}
	return YCbCr
}

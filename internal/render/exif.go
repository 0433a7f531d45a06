package render

import (
	"bytes"
	"encoding/binary"
)

// exifHeader precedes EXIF data in a JPEG segment. Some WebP files have it too, against the specification.
const exifHeader = "Exif\x00\x00"

// A directory is one directory (IFD) of a TIFF structure. EXIF data has the same structure. Values are read on demand, and
// a value that is not within the data counts as absent.
type directory struct {
	data    []byte
	order   binary.ByteOrder
	entries []byte // 12 bytes each
}

const (
	tagWidth           = 0x100
	tagLength          = 0x101
	tagBitsPerSample   = 0x102
	tagCompression     = 0x103
	tagOrientation     = 0x112
	tagSamplesPerPixel = 0x115
	tagRowsPerStrip    = 0x116
	tagTileWidth       = 0x142
	tagTileLength      = 0x143
	tagICC             = 0x8773
)

func readDirectory(data []byte) (d directory, ok bool) {
	if len(data) < 8 {
		return d, false
	}
	d.data = data
	switch string(data[:4]) {
	case "II*\x00":
		d.order = binary.LittleEndian
	case "MM\x00*":
		d.order = binary.BigEndian
	default:
		return d, false
	}
	at := int64(d.order.Uint32(data[4:]))
	if at < 8 || at+2 > int64(len(data)) {
		return d, false
	}
	rest := data[at+2:]
	n := 12 * int(d.order.Uint16(data[at:]))
	d.entries = rest[:min(n, len(rest)/12*12)]
	return d, true
}

// find returns the type, the count and the values of a tag, or zeros if the tag is absent.
func (d directory) find(tag uint16) (kind uint16, count uint32, values []byte) {
	for e := d.entries; len(e) >= 12; e = e[12:] {
		if d.order.Uint16(e) != tag {
			continue
		}
		kind, count = d.order.Uint16(e[2:]), d.order.Uint32(e[4:])
		var size int64
		switch kind {
		case 1, 7: // BYTE, UNDEFINED
			size = 1
		case 3: // SHORT
			size = 2
		case 4: // LONG
			size = 4
		default:
			return 0, 0, nil
		}
		length := size * int64(count)
		if length <= 4 {
			return kind, count, e[8 : 8+length]
		}
		at := int64(d.order.Uint32(e[8:]))
		if at+length > int64(len(d.data)) {
			return 0, 0, nil
		}
		return kind, count, d.data[at : at+length]
	}
	return 0, 0, nil
}

// number returns the first value of a tag, or fallback if it is absent.
func (d directory) number(tag uint16, fallback int64) int64 {
	kind, count, values := d.find(tag)
	if count == 0 {
		return fallback
	}
	switch kind {
	case 1:
		return int64(values[0])
	case 3:
		return int64(d.order.Uint16(values))
	case 4:
		return int64(d.order.Uint32(values))
	}
	return fallback
}

// orientation returns the EXIF orientation, 1 to 8, or 1 (upright) if it is absent or invalid.
func (d directory) orientation() int {
	if v := d.number(tagOrientation, 1); v >= 1 && v <= 8 {
		return int(v)
	}
	return 1
}

// readEXIF reads the orientation from EXIF data.
func (h *header) readEXIF(exif []byte) {
	h.orientation = exifOrientation(exif)
}

// exifOrientation returns the orientation in EXIF data, with or without exifHeader.
func exifOrientation(exif []byte) int {
	d, ok := readDirectory(bytes.TrimPrefix(exif, []byte(exifHeader)))
	if !ok {
		return 1
	}
	return d.orientation()
}

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
	tagEXIF            = 0x8769 // offset of the EXIF directory
	tagColourSpace     = 0xa001 // in the EXIF directory
	tagInterop         = 0xa005 // in the EXIF directory: offset of the interoperability directory
	tagInteropIndex    = 1      // in the interoperability directory
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
	return d.at(int64(d.order.Uint32(data[4:])))
}

// at returns the directory at an offset of the same TIFF structure.
func (d directory) at(offset int64) (directory, bool) {
	if offset < 8 || offset+2 > int64(len(d.data)) {
		return d, false
	}
	rest := d.data[offset+2:]
	n := 12 * int(d.order.Uint16(d.data[offset:]))
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
		case 1, 2, 7: // BYTE, ASCII, UNDEFINED
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

// readEXIF reads the orientation and the colour space from EXIF data, with or without exifHeader.
func (h *header) readEXIF(exif []byte) {
	d, ok := readDirectory(bytes.TrimPrefix(exif, []byte(exifHeader)))
	if ok {
		h.orientation = d.orientation()
		h.adobeRGB = d.isAdobeRGB()
	}
}

// isAdobeRGB reports whether EXIF data describes colours as Adobe RGB (1998): the colour space is uncalibrated and the
// interoperability index is R03, the DCF option file (JEITA CP-3461). Some cameras set the colour space to 2 instead.
func (d directory) isAdobeRGB() bool {
	const adobe, uncalibrated = 2, 0xffff
	exif, ok := d.at(d.number(tagEXIF, 0))
	if !ok {
		return false
	}
	switch exif.number(tagColourSpace, uncalibrated) {
	case adobe:
		return true
	case uncalibrated:
		interop, ok := exif.at(exif.number(tagInterop, 0))
		if !ok {
			return false
		}
		_, _, index := interop.find(tagInteropIndex)
		return bytes.HasPrefix(index, []byte("R03"))
	}
	return false
}

package heif

import (
	"context"
	"encoding/binary"
)

const (
	markerSOI  = 0xd8
	markerSOS  = 0xda
	markerAPP1 = 0xe1
	markerAPP2 = 0xe2

	exifName = "Exif\x00\x00"
	iccName  = "ICC_PROFILE\x00"

	maxSegment = 65535 - 2 // bytes of a segment without its marker and length
)

// readJPEG loads a JPEG item (ISO/IEC 23008-12, annex H). The item's orientation replaces the one in the JPEG's EXIF data, and the
// item's profile, if it has one, replaces that of the JPEG.
func (f *File) readJPEG(ctx context.Context, p *picture, plan *Plan) error {
	_, total, err := f.spans(p.item)
	if err != nil {
		return err
	}
	if total > maxJPEG {
		return tooLarge("JPEG of %d bytes", total)
	}
	data, err := f.jpegPrefix(ctx, p.item)
	if err != nil {
		return err
	}
	rest, err := f.readItem(ctx, p.item, maxJPEG)
	if err != nil {
		return err
	}
	data = append(data, rest...)
	if len(data) < 4 || data[0] != 0xff || data[1] != markerSOI {
		return corrupt("an item of type jpeg is none")
	}
	out := make([]byte, 0, len(data)+len(plan.Profile)+1024)
	out = append(out, 0xff, markerSOI)
	out = appendSegment(out, markerAPP1, exifName, []byte{
		'M', 'M', 0, 42, 0, 0, 0, 8, // TIFF header
		0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, byte(plan.orientation.exif()), 0, 0, // a directory of one entry, the orientation
		0, 0, 0, 0,
	})
	const piece = maxSegment - len(iccName) - 2
	pieces := (len(plan.Profile) + piece - 1) / piece
	for i := range pieces {
		part := plan.Profile[i*piece : min(len(plan.Profile), (i+1)*piece)]
		out = appendSegment(out, markerAPP2, iccName+string([]byte{byte(i + 1), byte(pieces)}), part)
	}
	at := 2
	for at+4 <= len(data) && data[at] == 0xff && data[at+1] != markerSOS {
		end := at + 2 + int(binary.BigEndian.Uint16(data[at+2:]))
		if end < at+4 || end > len(data) {
			return corrupt("segment of a JPEG")
		}
		body := data[at+4 : end]
		if !(data[at+1] == markerAPP1 && hasPrefix(body, exifName)) &&
			!(data[at+1] == markerAPP2 && pieces > 0 && hasPrefix(body, iccName)) {
			out = append(out, data[at:end]...)
		}
		at = end
	}
	plan.JPEG = append(out, data[at:]...)
	return nil
}

func hasPrefix(data []byte, prefix string) bool {
	return len(data) >= len(prefix) && string(data[:len(prefix)]) == prefix
}

func appendSegment(out []byte, marker byte, name string, body []byte) []byte {
	out = append(out, 0xff, marker)
	out = binary.BigEndian.AppendUint16(out, uint16(2+len(name)+len(body)))
	return append(append(out, name...), body...)
}

// jpegPrefix returns the data to prepend to a JPEG item: several items may share their tables.
func (f *File) jpegPrefix(ctx context.Context, it *item) ([]byte, error) {
	for _, a := range it.properties {
		if a.index <= len(f.properties) && f.properties[a.index-1].kind == "jpgC" {
			return f.src.load(ctx, f.properties[a.index-1], maxConfig)
		}
	}
	return nil, nil
}

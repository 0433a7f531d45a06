package render

import "testing"

// TestShortSegment reads the orientation of a JPEG after a segment whose length is too short for itself.
func TestShortSegment(t *testing.T) {
	exif := "\xff\xe1\x00\x22Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
	for _, length := range []string{"\x00\x00", "\x00\x01", "\x00\x02"} {
		h := header{orientation: 1}
		h.readSegments([]byte("\xff\xd8\xff\xfe" + length + exif + "\xff\xda\x00\x02"))
		if h.orientation != 6 {
			t.Errorf("a segment of length %x: orientation %d, want 6", length, h.orientation)
		}
	}
}

package coverart

import (
	"bytes"
	"encoding/binary"
)

// sniffLen is how many bytes isPicture needs to recognize every format.
const sniffLen = 32

// isPicture reports whether b begins like a raster image. It includes formats that only ffmpeg decodes. It excludes SVG,
// which may contain scripts.
func isPicture(b []byte) bool {
	has := func(at int, magic string) bool {
		return len(b) >= at+len(magic) && string(b[at:at+len(magic)]) == magic
	}
	switch {
	case has(0, "\xff\xd8\xff"), // JPEG
		has(0, "\x89PNG\r\n\x1a\n"),
		has(0, "GIF87a"), has(0, "GIF89a"),
		has(0, "RIFF") && has(8, "WEBP"),
		has(0, "II*\x00"), has(0, "MM\x00*"), // TIFF
		has(0, "\x00\x00\x00\x0cJXL \r\n\x87\n"), has(0, "\xff\x0a"), // JPEG XL, in a box and bare
		has(0, "\x00\x00\x00\x0cjP  \r\n\x87\n"), has(0, "\xff\x4f\xff\x51"): // JPEG 2000, in a box and bare
		return true
	case has(0, "BM"):
		// Two letters may match by chance. The size of the header that follows has few valid values.
		if len(b) < 18 {
			return false
		}
		switch binary.LittleEndian.Uint32(b[14:]) {
		case 12, 16, 40, 52, 56, 64, 108, 124:
			return true
		}
	case has(0, "\x00\x00\x01\x00"): // ICO: at least one image, and a reserved byte that is zero
		return len(b) >= 10 && b[4] != 0 && b[5] == 0 && b[9] == 0
	case has(4, "ftyp"):
		return isStill(b)
	}
	return false
}

// isStill reports whether an ISO base media file is a picture, by its brand: AVIF or HEIC.
func isStill(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	switch string(b[8:12]) {
	case "avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1":
		return true
	}
	return false
}

// findPicture returns the index of the first picture in b, or -1. It ignores formats whose magic is so short that it matches
// by chance.
func findPicture(b []byte) int {
	for i := range b {
		switch b[i] {
		case 0xFF, 0x89, 'G', 'R':
			if len(b)-i >= 12 && b[i+1] != 0x0A && b[i+1] != 0x4F && isPicture(b[i:]) {
				return i
			}
		}
	}
	return -1
}

// foreign lists the first bytes of files that are not audio. Audio found inside them is not searched for a cover.
var foreign = []string{
	"PK\x03\x04", "PK\x05\x06", "Rar!", "7z\xbc\xaf", "\x1f\x8b", "BZh", "\xfd7zXZ", "\x28\xb5\x2f\xfd",
	"%PDF", "%!PS", "{\\rtf", "\xd0\xcf\x11\xe0", "\x7fELF", "MZ", "\xca\xfe\xba\xbe", "\xcf\xfa\xed\xfe", "SQLite format",
	"8BPS", "\xfe\xff", "\xff\xfe", "\xef\xbb\xbf", // Photoshop; text with a byte order mark
	"\x00\x00\x01\xba", "\x00\x00\x01\xb3", "FLV", ".RMF", "DKIF", // videos
}

// isForeign reports whether a file that begins with b is known not to be audio. An MPEG layer I frame also begins with
// 0xFF 0xFE, but callers recognize MPEG audio first.
func isForeign(b []byte) bool {
	if isPicture(b) || isTransportStream(b, 0, 188) || isTransportStream(b, 4, 192) {
		return true
	}
	for _, magic := range foreign {
		if bytes.HasPrefix(b, []byte(magic)) {
			return true
		}
	}
	for _, c := range b[:min(len(b), 512)] {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' {
			return false
		}
	}
	return true // text in any encoding without NULs, or an empty file
}

// isTransportStream reports whether b consists of MPEG transport packets of n bytes, the first at off. These are videos.
func isTransportStream(b []byte, off, n int) bool {
	for i := range 4 {
		if at := off + i*n; at >= len(b) || b[at] != 0x47 {
			return false
		}
	}
	return true
}

package ffmpeg

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
)

// Primaries are the colours of full red, green and blue, as XYZ values relative to the white D50, which ICC profiles use. They
// were computed from the chromaticities in the standard, and adapted from D65 with the Bradford matrix.
type primaries [3][3]float64

var (
	// bt2020 are those of ITU-R BT.2020.
	bt2020 = &primaries{{0.67348, 0.27904, -0.00193}, {0.16567, 0.67534, 0.02998}, {0.12505, 0.04561, 0.79685}}
	// displayP3 are those of SMPTE EG 432-1 (Display P3) and, except for its white, SMPTE RP 431-2 (DCI-P3).
	displayP3 = &primaries{{0.51512, 0.24119, -0.00105}, {0.29198, 0.69224, 0.04188}, {0.15710, 0.06657, 0.78407}}
)

// widePrimaries are primaries beyond those of sRGB, by ffmpeg's names.
var widePrimaries = map[string]*primaries{"bt2020": bt2020, "smpte432": displayP3, "smpte431": displayP3}

// profile returns an ICC profile (ICC.1:2022) with these primaries. The tone curve is that of sRGB, because players show
// BT.709 and BT.2020 video without HDR as if it had that curve.
func (p *primaries) profile() []byte {
	srgb := []byte("para\x00\x00\x00\x00\x00\x03\x00\x00") // function type 3, with the parameters g, a, b, c, d
	for _, v := range []float64{2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045} {
		srgb = appendFixed(srgb, v)
	}
	xyz := func(v [3]float64) []byte {
		b := []byte("XYZ \x00\x00\x00\x00")
		for _, v := range v {
			b = appendFixed(b, v)
		}
		return b
	}
	// One text in one language: its record begins at 16 and its 6 bytes of UTF-16 at 28.
	text := []byte("mluc\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0cenUS\x00\x00\x00\x06\x00\x00\x00\x1c\x00R\x00G\x00B\x00\x00")
	tags := []struct {
		name string
		data []byte
	}{
		{"desc", text}, {"cprt", text}, {"wtpt", xyz([3]float64{0.9642, 1, 0.8249})},
		{"rXYZ", xyz(p[0])}, {"gXYZ", xyz(p[1])}, {"bXYZ", xyz(p[2])}, {"rTRC", srgb}, {"gTRC", srgb}, {"bTRC", srgb},
	}
	table := binary.BigEndian.AppendUint32(nil, uint32(len(tags)))
	offset := 128 + 4 + 12*len(tags)
	var body []byte
	for _, tag := range tags {
		table = append(table, tag.name...)
		table = binary.BigEndian.AppendUint32(table, uint32(offset+len(body)))
		table = binary.BigEndian.AppendUint32(table, uint32(len(tag.data)))
		body = append(body, tag.data...)
	}
	header := make([]byte, 128)
	binary.BigEndian.PutUint32(header, uint32(offset+len(body)))
	copy(header[8:], "\x04\x40\x00\x00mntrRGB XYZ ")
	copy(header[36:], "acsp")
	copy(header[68:], xyz([3]float64{0.9642, 1, 0.8249})[8:])
	return bytes.Join([][]byte{header, table, body}, nil)
}

// appendFixed appends a number with 16 fractional bits.
func appendFixed(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(v*65536))))
}

// withProfile returns the JPEG data with an ICC profile, in a segment after the JFIF header.
func withProfile(data, profile []byte) []byte {
	at := 2 // after SOI
	if len(data) > 20 && string(data[2:4]) == "\xff\xe0" {
		at += 2 + int(binary.BigEndian.Uint16(data[4:]))
	}
	if at > len(data) {
		return data
	}
	const name = "ICC_PROFILE\x00\x01\x01" // the first of one pieces
	segment := binary.BigEndian.AppendUint16([]byte("\xff\xe2"), uint16(2+len(name)+len(profile)))
	return bytes.Join([][]byte{data[:at], segment, []byte(name), profile, data[at:]}, nil)
}

// correctGamma changes the gAMA chunk of a PNG by ffmpeg to that of sRGB if it is that of BT.709. ffmpeg writes the exponent
// of cameras, but players show BT.709 with the curve of sRGB.
func correctGamma(data []byte) {
	const bt709, srgb = 50994, 45455 // 100000/1.961 and 100000/2.2
	for rest := data[min(len(pngMagic), len(data)):]; len(rest) >= 12; {
		n := int64(binary.BigEndian.Uint32(rest))
		if n > int64(len(rest))-12 || string(rest[4:8]) == "IDAT" {
			return
		}
		if string(rest[4:8]) == "gAMA" && n == 4 && binary.BigEndian.Uint32(rest[8:]) == bt709 {
			binary.BigEndian.PutUint32(rest[8:], srgb)
			binary.BigEndian.PutUint32(rest[12:], crc32.ChecksumIEEE(rest[4:12]))
		}
		rest = rest[12+n:]
	}
}

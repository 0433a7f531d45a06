package ffmpeg

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
)

// withProfile returns the JPEG data with an ICC profile, in a segment after the JFIF header. A nil profile is none.
func withProfile(data, profile []byte) []byte {
	if profile == nil {
		return data
	}
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

// withPNGProfile returns the PNG data with an ICC profile, in an iCCP chunk. A nil profile is none.
func withPNGProfile(data, profile []byte) []byte {
	if profile == nil {
		return data
	}
	var chunk bytes.Buffer
	chunk.WriteString("ICC\x00\x00") // a name, and the method of compression
	w := zlib.NewWriter(&chunk)
	w.Write(profile)
	w.Close() // a Buffer accepts everything
	return withChunk(data, "iCCP", chunk.Bytes())
}

package ffmpeg

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"io"
)

// isComplete reports whether a picture seems to have its end, which truncated pictures lack. The formats are those of demuxerOf.
func isComplete(data []byte) bool {
	switch demuxerOf(data) {
	case "jpeg_pipe":
		// The end marker comes after the start of the last scan. Neither occurs within the data of a scan.
		return bytes.LastIndex(data, []byte(jpegEnd)) > bytes.LastIndex(data, []byte("\xff\xda"))
	case "png_pipe":
		return isCompletePNG(data)
	case "gif":
		return bytes.HasSuffix(bytes.TrimRight(data, "\x00"), []byte(";"))
	case "webp_pipe":
		return int64(len(data)) >= 8+int64(binary.LittleEndian.Uint32(data[4:]))
	case "bmp_pipe":
		return isCompleteBMP(data)
	}
	return true // TIFF: the end can be anywhere
}

// isCompleteBMP reports whether a BMP has all of its pixels.
func isCompleteBMP(data []byte) bool {
	if len(data) < 54 {
		return false
	}
	u16, u32 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32
	var w, h, bits int64
	if u32(data[14:]) == 12 { // the header of OS/2
		w, h, bits = int64(u16(data[18:])), int64(u16(data[20:])), int64(u16(data[24:]))
	} else {
		w, h, bits = int64(int32(u32(data[18:]))), int64(int32(u32(data[22:]))), int64(u16(data[28:]))
		if compression := u32(data[30:]); compression == 1 || compression == 2 { // run lengths
			return bytes.Contains(data[len(data)-8:], []byte("\x00\x01")) // the end marker, perhaps with padding
		}
	}
	if h = max(h, -h); w <= 0 || w > 1<<20 || h > 1<<20 || bits > 32 {
		return false
	}
	return int64(len(data)) >= int64(u32(data[10:]))+(w*bits+31)/32*4*h
}

// maxInflate limits in bytes how much of a PNG is inflated to check it, which takes about 0.2 s. A larger picture counts as
// truncated, so that it is refused if it also shows nothing.
const maxInflate = 64 << 20

// isCompletePNG reports whether the compressed pixels of a PNG are whole and match their checksum.
func isCompletePNG(data []byte) bool {
	z, err := zlib.NewReader(&idatReader{rest: data[len(pngMagic):]})
	if err != nil {
		return false
	}
	n, err := io.Copy(io.Discard, io.LimitReader(z, maxInflate))
	return err == nil && n < maxInflate
}

// An idatReader reads the IDAT chunks of a PNG.
type idatReader struct {
	rest []byte // starts with a chunk
	idat []byte // what has not been read of the IDAT chunk before that
}

func (r *idatReader) Read(p []byte) (int, error) {
	for len(r.idat) == 0 {
		if len(r.rest) < 12 {
			return 0, io.EOF
		}
		n := int64(binary.BigEndian.Uint32(r.rest))
		if n > int64(len(r.rest))-12 {
			return 0, io.EOF
		}
		if string(r.rest[4:8]) == "IDAT" {
			r.idat = r.rest[8 : 8+n]
		}
		r.rest = r.rest[12+n:]
	}
	n := copy(p, r.idat)
	r.idat = r.idat[n:]
	return n, nil
}

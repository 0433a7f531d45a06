// Package media makes songs without sound that have a cover.
package media

import (
	"bytes"
	"encoding/binary"
)

// FLAC returns the beginning of a FLAC file, with a front cover if there is a picture.
func FLAC(picture []byte) []byte {
	be := binary.BigEndian
	data := append([]byte("fLaC"), 0, 0, 0, 34) // the block STREAMINFO
	data = append(data, make([]byte, 34)...)
	if picture != nil {
		var p []byte // the block PICTURE
		p = be.AppendUint32(p, 3)
		p = be.AppendUint32(p, uint32(len("image/jpeg")))
		p = append(p, "image/jpeg"...)
		p = append(p, make([]byte, 4+4*4)...) // no description; the dimensions are not known
		p = be.AppendUint32(p, uint32(len(picture)))
		p = append(p, picture...)
		data = be.AppendUint32(data, 6<<24|uint32(len(p)))
		data = append(data, p...)
	}
	return append(data, 0x81, 0, 0, 0) // PADDING, the last block
}

// MP3 returns the beginning of an MP3 file, with a front cover if there is a picture.
func MP3(picture []byte) []byte {
	var frames []byte
	frame := func(id string, body []byte) {
		frames = binary.BigEndian.AppendUint32(append(frames, id...), uint32(len(body)))
		frames = append(append(frames, 0, 0), body...)
	}
	frame("TIT2", []byte("\x00A song"))
	if picture != nil {
		frame("APIC", append([]byte("\x00image/jpeg\x00\x03\x00"), picture...))
	}
	n := len(frames)
	data := []byte{'I', 'D', '3', 3, 0, 0, byte(n >> 21 & 127), byte(n >> 14 & 127), byte(n >> 7 & 127), byte(n & 127)}
	return append(append(data, frames...), 0xff, 0xfb, 0x90, 0) // the header of a frame of MPEG audio
}

// M4A returns the beginning of an MP4 file with one track of sound, with a cover if there is a picture.
func M4A(picture []byte) []byte {
	atom := func(name string, parts ...[]byte) []byte {
		body := bytes.Join(parts, nil)
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(8+len(body))), name...), body...)
	}
	handler := append(append(make([]byte, 8), "soun"...), make([]byte, 12)...)
	var list []byte
	if picture != nil {
		list = atom("covr", atom("data", []byte{0, 0, 0, 13, 0, 0, 0, 0}, picture))
	}
	return bytes.Join([][]byte{
		atom("ftyp", []byte("M4A \x00\x00\x00\x00M4A isom")),
		atom("moov", atom("mvhd", make([]byte, 100)), atom("trak", atom("mdia", atom("hdlr", handler))),
			atom("udta", atom("meta", make([]byte, 4), atom("ilst", list)))),
		{0, 0, 0, 0}, []byte("mdat"), // to the end of the file
	}, nil)
}

package ffmpeg

import (
	"encoding/binary"
	"io"
	"math"
	"math/bits"
)

// duration returns the duration in seconds of the video in r, or 0 if only ffmpeg can tell. It reads MP4, Matroska and AVI,
// which are nearly all videos, and so saves a process for each.
func duration(r io.ReaderAt, size int64) float64 {
	var head [56]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return 0
	}
	var n float64
	switch {
	case string(head[:4]) == "RIFF" && string(head[8:16]) == "AVI LIST" && string(head[24:28]) == "avih":
		n = float64(binary.LittleEndian.Uint32(head[32:])) / 1e6 * float64(binary.LittleEndian.Uint32(head[48:]))
	case binary.BigEndian.Uint32(head[:]) == idEBML:
		n = matroskaDuration(r, size)
	default:
		n = mp4Duration(r, size)
	}
	if !(n > 0 && n < 1e6) { // NaN fails this too
		return 0
	}
	return n
}

// maxElements limits how many elements of a file are read. The wanted ones are among the first dozen of real videos.
const maxElements = 1000

// mp4Duration returns the duration in the movie header, as ISO/IEC 14496-12 specifies, or 0.
func mp4Duration(r io.ReaderAt, size int64) float64 {
	pos, end := int64(0), size
	for range maxElements {
		var b [16]byte
		if n, _ := r.ReadAt(b[:], pos); n < 16 || pos > end-16 {
			return 0
		}
		header, n := int64(8), int64(binary.BigEndian.Uint32(b[:]))
		if n == 1 {
			header, n = 16, int64(binary.BigEndian.Uint64(b[8:]))
		}
		if n < header || n > end-pos {
			return 0
		}
		switch string(b[4:8]) {
		case "moov":
			pos, end = pos+header, pos+n
			continue
		case "mvhd":
			var v [32]byte
			if _, err := r.ReadAt(v[:], pos+header); err != nil {
				return 0
			}
			if v[0] == 1 {
				return seconds(binary.BigEndian.Uint64(v[24:]), binary.BigEndian.Uint32(v[20:]))
			}
			return seconds(uint64(binary.BigEndian.Uint32(v[16:])), binary.BigEndian.Uint32(v[12:]))
		}
		pos += n
	}
	return 0
}

// seconds returns a duration of n units, of which a second has scale. The largest number means an unknown duration.
func seconds(n uint64, scale uint32) float64 {
	if n == math.MaxUint32 || n == math.MaxUint64 || scale == 0 {
		return 0
	}
	return float64(n) / float64(scale)
}

const (
	idEBML     = 0x1a45dfa3
	idSegment  = 0x18538067
	idInfo     = 0x1549a966
	idScale    = 0x2ad7b1
	idDuration = 0x4489
	idCluster  = 0x1f43b675
)

// matroskaDuration returns the duration in the segment information, as RFC 9559 specifies, or 0.
func matroskaDuration(r io.ReaderAt, size int64) float64 {
	pos, end := int64(0), size
	scale := 1e6 // nanoseconds per unit
	for range maxElements {
		var b [12]byte
		n, _ := r.ReadAt(b[:], pos)
		id, idLen := vint(b[:n], false)
		body, bodyLen := vint(b[min(idLen, n):n], true)
		if idLen == 0 || bodyLen == 0 || pos >= end {
			return 0
		}
		start := pos + int64(idLen+bodyLen)
		switch id {
		case idSegment, idInfo:
			pos = start // continue inside it; its size may be unknown
			continue
		case idCluster:
			return 0
		}
		if body > uint64(end) || int64(body) > end-start {
			return 0
		}
		switch id {
		case idScale, idDuration:
			var v [8]byte
			if body > 8 {
				return 0
			}
			if _, err := r.ReadAt(v[8-body:], start); err != nil {
				return 0
			}
			u := binary.BigEndian.Uint64(v[:])
			switch {
			case id == idScale:
				scale = float64(u)
			case body == 4:
				return float64(math.Float32frombits(uint32(u))) * scale / 1e9
			default:
				return math.Float64frombits(u) * scale / 1e9
			}
		}
		pos = start + int64(body)
	}
	return 0
}

// vint reads the variable-length integer of EBML (RFC 8794) at the start of b, and returns its length in bytes, or 0 if b is
// too short. A value is returned without the bit that marks its length; an element ID includes that bit.
func vint(b []byte, value bool) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = bits.LeadingZeros8(b[0]) + 1
	if n > 8 || n > len(b) {
		return 0, 0
	}
	for _, c := range b[:n] {
		v = v<<8 | uint64(c)
	}
	if value {
		v &^= 1 << (7 * n)
	}
	return v, n
}

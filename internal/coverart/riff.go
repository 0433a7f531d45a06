package coverart

import (
	"encoding/binary"
	"iter"
	"math"
	"strings"
)

// Containers of chunks with an ID3v2 tag in one chunk: WAVE (RIFF, and RF64 of EBU Tech 3306 for long files), AIFF and
// AIFF-C, and DSDIFF. Also DSF, whose header has the position of the tag.

// A chunk has a name and the data [start, end).
type chunk struct {
	name       string
	start, end int64
}

// A chunkFormat describes the size field of chunk headers.
type chunkFormat struct {
	sizeLen int
	order   binary.ByteOrder
}

var (
	riffFormat   = chunkFormat{4, binary.LittleEndian}
	aiffFormat   = chunkFormat{4, binary.BigEndian}
	dsdiffFormat = chunkFormat{8, binary.BigEndian}
)

// chunks yields the chunks between pos and limit. If the size field of the data chunk is too small, *data64 is its size.
func (f *finder) chunks(c chunkFormat, pos, limit int64, data64 *int64) iter.Seq[chunk] {
	return func(yield func(chunk) bool) {
		headLen := 4 + c.sizeLen
		for !f.done() && f.step() {
			h := f.file.peek(pos, headLen)
			if len(h) < headLen || !isFourCC(string(h[:4])) {
				return
			}
			name := string(h[:4])
			var size int64
			if c.sizeLen == 8 {
				size = int64(min(c.order.Uint64(h[4:]), math.MaxInt64/2))
			} else {
				size = int64(c.order.Uint32(h[4:]))
				if size == math.MaxUint32 && name == "data" && data64 != nil && *data64 > 0 {
					size = *data64
				}
			}
			start := pos + int64(headLen)
			end := start + size
			if !yield(chunk{name, start, min(end, limit)}) || end >= limit {
				return
			}
			// Chunks are padded to even lengths, except by some writers.
			pos = end
			if size&1 != 0 && !isFourCC(f.file.str(end, 4)) {
				pos++
			}
		}
	}
}

// isFourCC reports whether name is valid as the name of a chunk.
func isFourCC(name string) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return len(name) == 4
}

// isID3Chunk reports whether a chunk with this name contains a tag, such as "id3 ", "ID3 " and "ID32".
func isID3Chunk(name string) bool { return strings.HasPrefix(strings.ToLower(name), "id3") }

// riff walks to the end of the file. It ignores the length in the RIFF header, which is often wrong.
func (f *finder) riff(off int64) mediaKind {
	switch f.file.str(off+8, 4) {
	case "WAVE", "RMP3":
	default:
		return unknown // AVI, or WebP
	}
	var data64 int64
	for c := range f.chunks(riffFormat, off+12, f.file.size, &data64) {
		switch {
		case c.name == "ds64":
			if b := f.file.peek(c.start, 16); len(b) == 16 {
				data64 = int64(min(binary.LittleEndian.Uint64(b[8:]), math.MaxInt64/2))
			}
		case isID3Chunk(c.name):
			f.id3(c.start, c.end)
		case f.texts != nil && c.name == "LIST":
			f.riffInfo(c)
		}
	}
	if !f.done() {
		f.tagsAtEnd()
	}
	return audio
}

func (f *finder) aiff(off int64) mediaKind {
	switch f.file.str(off+8, 4) {
	case "AIFF", "AIFC":
	default:
		return unknown
	}
	for c := range f.chunks(aiffFormat, off+12, f.file.size, nil) {
		if isID3Chunk(c.name) {
			f.id3(c.start, c.end)
		} else if f.texts != nil {
			f.infoText(c)
		}
	}
	if !f.done() {
		f.tagsAtEnd()
	}
	return audio
}

// dsdiff walks DSDIFF 1.5 by Philips, whose chunks have sizes of 64 bits. Some writers put the tag among the properties.
func (f *finder) dsdiff(off int64) mediaKind {
	if f.file.str(off+12, 4) != "DSD " {
		return unknown
	}
	for c := range f.chunks(dsdiffFormat, off+16, f.file.size, nil) {
		switch {
		case isID3Chunk(c.name):
			f.id3(c.start, c.end)
		case c.name == "PROP":
			for p := range f.chunks(dsdiffFormat, c.start+4, c.end, nil) {
				if isID3Chunk(p.name) {
					f.id3(p.start, p.end)
				}
			}
		}
	}
	return audio
}

// dsf reads the DSF File Format Specification by Sony, whose first chunk of 28 bytes ends with the position of the tag.
func (f *finder) dsf(off int64) mediaKind {
	b := f.file.peek(off, 28)
	if len(b) < 28 {
		return broken
	}
	if tag := binary.LittleEndian.Uint64(b[20:]); tag > 0 && tag < uint64(f.file.size) {
		f.id3(off+int64(tag), f.file.size)
	}
	return audio
}

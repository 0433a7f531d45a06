package coverart

import (
	"encoding/binary"
	"iter"
	"math"
	"strings"
)

// ASF (Advanced Systems Format specification 1.20.3), the container of WMA and WMV. A file is a sequence of objects: a GUID,
// a size of 64 bits that includes the header, and data. Pictures are attributes named WM/Picture.

const (
	asfHeader    = "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
	asfExtension = "\xb5\x03\xbf\x5f\x2e\xa9\xcf\x11\x8e\xe3\x00\xc0\x0c\x20\x53\x65"
	asfStream    = "\x91\x07\xdc\xb7\xb7\xa9\xcf\x11\x8e\xe6\x00\xc0\x0c\x20\x53\x65"
	asfVideo     = "\xc0\xef\x19\xbc\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b" // a stream type
	asfContent   = "\x40\xa4\xd0\xd2\x07\xe3\xd2\x11\x97\xf0\x00\xa0\xc9\x5e\xa8\x50" // extended content description
	asfMetadata  = "\xea\xcb\xf8\xc5\xaf\x5b\x77\x48\x84\x67\xaa\x8c\x44\xfa\x4c\xca"
	asfLibrary   = "\x94\x1c\x23\x44\x98\x94\xd1\x49\xa1\x41\x1d\x13\x4e\x45\x70\x54" // metadata library

	asfObjectLen   = 24
	asfPictureName = "W\x00M\x00/\x00P\x00i\x00c\x00t\x00u\x00r\x00e\x00"
)

// asfObjects yields the id and the extent of the data of each object between pos and end.
func (f *finder) asfObjects(pos, end int64) iter.Seq2[string, extent] {
	return func(yield func(string, extent) bool) {
		for pos+asfObjectLen <= end && !f.done() && f.step() {
			b := f.file.peek(pos, asfObjectLen)
			if len(b) < asfObjectLen {
				return
			}
			size := int64(min(binary.LittleEndian.Uint64(b[16:]), math.MaxInt64/2))
			next := min(pos+size, end)
			if size < asfObjectLen || !yield(string(b[:16]), extent{f.file, pos + asfObjectLen, next}) {
				return
			}
			pos = next
		}
	}
}

func (f *finder) asf(off int64) mediaKind {
	const headerLen = asfObjectLen + 6 // includes the number of objects and two reserved bytes
	b := f.file.peek(off, headerLen)
	if len(b) < headerLen {
		return broken
	}
	end := f.file.size
	if size := binary.LittleEndian.Uint64(b[16:]); size >= headerLen && size < uint64(end-off) {
		end = off + int64(size)
	}
	kind := audio
	for id, o := range f.asfObjects(off+headerLen, end) {
		switch id {
		case asfStream:
			if f.file.str(o.pos, len(asfVideo)) == asfVideo {
				kind = video
			}
		case asfDescription:
			if f.texts != nil {
				f.asfDescription(o.pos, o.end)
			}
		case asfContent:
			f.asfAttributes(o.pos, o.end, false)
		case asfExtension: // 22 bytes, and objects
			for id, o := range f.asfObjects(o.pos+22, o.end) {
				if id == asfMetadata || id == asfLibrary {
					f.asfAttributes(o.pos, o.end, true)
				}
			}
		}
	}
	return kind
}

// asfAttributes walks the attributes of an extended content description (section 3.11). If long is set, it walks those of a
// metadata or metadata library object (4.7 and 4.8), which have sizes of 32 bits and the name last.
func (f *finder) asfAttributes(pos, end int64, long bool) {
	b := f.file.peek(pos, 2)
	if len(b) < 2 {
		return
	}
	pos += 2
	for range binary.LittleEndian.Uint16(b) {
		if f.done() || !f.step() {
			return
		}
		var name string
		var size int64
		var kind uint16
		if long {
			h := f.file.peek(pos, 12)
			if len(h) < 12 {
				return
			}
			nameLen := int(binary.LittleEndian.Uint16(h[4:]))
			kind = binary.LittleEndian.Uint16(h[6:])
			size = int64(binary.LittleEndian.Uint32(h[8:]))
			name = f.file.str(pos+12, nameLen)
			pos += 12 + int64(nameLen)
		} else {
			h := f.file.peek(pos, 2)
			if len(h) < 2 {
				return
			}
			nameLen := int(binary.LittleEndian.Uint16(h))
			name = f.file.str(pos+2, nameLen)
			pos += 2 + int64(nameLen)
			if h = f.file.peek(pos, 4); len(h) < 4 {
				return
			}
			kind = binary.LittleEndian.Uint16(h)
			size = int64(binary.LittleEndian.Uint16(h[2:]))
			pos += 4
		}
		if f.texts != nil {
			f.asfText(name, kind, pos, min(pos+size, end))
		} else if strings.HasPrefix(name, asfPictureName) {
			f.asfPicture(pos, size, end)
		}
		if pos += size; pos >= end {
			return
		}
	}
}

// asfPicture offers the picture of an attribute, whose value is: type, size, MIME type and description in UTF-16, data.
func (f *finder) asfPicture(pos, size, limit int64) {
	b := f.file.peek(pos, int(min(size, limit-pos, 4<<10)))
	if len(b) < 5 {
		f.damaged = f.damaged || size > minPicture
		return
	}
	i := 5
	for range 2 {
		for i+1 < len(b) && (b[i] != 0 || b[i+1] != 0) {
			i += 2
		}
		i += 2
	}
	if i > len(b) {
		f.damaged = f.damaged || size > minPicture
		return
	}
	n := min(int64(binary.LittleEndian.Uint32(b[1:])), size-int64(i))
	f.offer(f.file, typeRank(int(b[0])), pos+int64(i), n, limit)
}

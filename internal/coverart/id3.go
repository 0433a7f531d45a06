package coverart

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"io"
)

// ID3v2.2, 2.3 and 2.4, as described in id3v2-00, id3v2.3.0, id3v2.4.0-structure and id3v2.4.0-frames at id3.org.

const id3HeaderLen = 10

// id3Header is the header of a tag (id3v2.4.0-structure, 3.1), or its footer, which is a copy.
type id3Header struct {
	version byte
	flags   byte
	size    int64 // bytes between header and footer
}

const (
	id3Unsync   = 0x80
	id3Extended = 0x40 // from 2.3 on
	id3Footer   = 0x10 // from 2.4 on
)

func parseID3Header(b []byte) (h id3Header, ok bool) {
	if len(b) < id3HeaderLen || string(b[:3]) != "ID3" {
		return h, false
	}
	return parseID3Fields(b)
}

// parseID3Fields reads the fields after the magic, which header and footer have in common.
func parseID3Fields(b []byte) (h id3Header, ok bool) {
	size, ok := syncsafe(b[6:10])
	if !ok || b[3] < 2 || b[3] > 4 || b[4] == 0xFF {
		return h, false
	}
	return id3Header{version: b[3], flags: b[5], size: size}, true
}

// syncsafe reads 28 bits from four bytes of seven bits each. It reports whether the highest bit of each byte is zero.
func syncsafe(b []byte) (n int64, ok bool) {
	for _, c := range b[:4] {
		n = n<<7 | int64(c&0x7f)
		ok = ok || c >= 0x80
	}
	return n, !ok
}

// id3 offers the pictures of the tag at off and returns where the tag ends. It returns off if there is none. Nothing after
// limit is read.
func (f *finder) id3(off, limit int64) (next int64) {
	s := f.file
	h, ok := parseID3Header(s.peek(off, id3HeaderLen))
	if !ok {
		return off
	}
	start := off + id3HeaderLen
	end := start + h.size
	next = end
	if h.version == 4 && h.flags&id3Footer != 0 {
		next += id3HeaderLen
	}
	end = min(end, limit)
	if h.version < 4 && h.flags&id3Unsync != 0 {
		// Frame sizes are those before unsynchronisation, so the whole tag must be restored first.
		if tag := s.load(start, end-start); tag != nil {
			tag = resynchronise(tag)
			f.id3Frames(f.memorySource(tag), h, 0, int64(len(tag)))
			return next
		}
	}
	f.id3Frames(s, h, start, end)
	return next
}

// id3Frames walks the frames between pos and end.
func (f *finder) id3Frames(s *source, h id3Header, pos, end int64) {
	if h.version > 2 && h.flags&id3Extended != 0 {
		pos += id3ExtendedLen(s.peek(pos, 6), h.version)
	}
	for !f.done() && f.step() {
		fr, ok := readID3Frame(s, h, pos, end)
		if !ok {
			return // padding, or damaged
		}
		if fr.picture {
			f.id3Picture(s, h, fr, end)
		}
		pos = fr.end
	}
}

// id3ExtendedLen returns the length of the extended header that begins with b. Some writers set its flag and write none, so
// it returns 0 if b begins with a frame.
func id3ExtendedLen(b []byte, version byte) int64 {
	if len(b) < 6 || isFrameID(string(b[:4])) {
		return 0
	}
	if version == 3 {
		return 4 + int64(binary.BigEndian.Uint32(b))
	}
	n, _ := syncsafe(b)
	return n
}

// An id3Frame is the header of a frame; its data is [start, end).
type id3Frame struct {
	picture    bool
	short      bool // the picture has the layout of a PIC frame of version 2.2
	flags      byte // the second byte of flags, which are about the format
	start, end int64
}

// Format flags (id3v2.3.0, 3.3.1; id3v2.4.0-structure, 4.1.2).
const (
	frame3Compressed = 0x80
	frame3Encrypted  = 0x40
	frame3Grouped    = 0x20

	frame4Grouped    = 0x40
	frame4Compressed = 0x08
	frame4Encrypted  = 0x04
	frame4Unsync     = 0x02
	frame4DataLen    = 0x01
)

// readID3Frame reads the frame header at pos of a tag that ends at end.
func readID3Frame(s *source, h id3Header, pos, end int64) (fr id3Frame, ok bool) {
	headerLen := 10
	if h.version == 2 {
		headerLen = 6
	}
	b := s.peek(pos, headerLen)
	if len(b) < headerLen || pos+int64(headerLen) > end {
		return fr, false
	}
	fr.start = pos + int64(headerLen)
	if h.version == 2 {
		id := string(b[:3])
		fr.picture, fr.short = id == "PIC", true
		fr.end = fr.start + int64(b[3])<<16 + int64(b[4])<<8 + int64(b[5])
		return fr, isFrameID(id + "0")
	}
	id := string(b[:4])
	fr.flags = b[9]
	// Old versions of iTunes put frames of 2.2 into tags of 2.3.
	fr.short = id == "PIC\x00" || id == "PIC "
	fr.picture = fr.short || id == "APIC"
	plain := int64(binary.BigEndian.Uint32(b[4:]))
	safe, isSafe := syncsafe(b[4:8])
	size := plain
	switch {
	case plain == safe || !isSafe:
	case h.version == 4:
		// Old versions of iTunes wrote plain sizes here as well. The bytes after the frame show which size is right.
		size = safe
		if !endsID3Frame(s, fr.start+safe, end) && endsID3Frame(s, fr.start+plain, end) {
			size = plain
		}
	case fr.start+plain > end && endsID3Frame(s, fr.start+safe, end):
		size = safe // some writers use these in 2.3
	}
	fr.end = fr.start + size
	return fr, isFrameID(id)
}

// endsID3Frame reports whether a frame may end at pos: another frame, padding or the end of the tag follows.
func endsID3Frame(s *source, pos, end int64) bool {
	if pos >= end {
		return pos == end
	}
	b := s.peek(pos, int(min(10, end-pos)))
	if len(b) >= 4 && isFrameID(string(b[:4])) {
		return true
	}
	return len(b) > 0 && len(bytes.Trim(b, "\x00")) == 0
}

// isFrameID reports whether id is the name of a frame: four letters or digits, or three and a NUL or space.
func isFrameID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && (i != 3 || c != 0 && c != ' ') {
			return false
		}
	}
	return true
}

// id3Picture unpacks the picture frame fr of a tag that ends at end, and offers its picture.
func (f *finder) id3Picture(s *source, h id3Header, fr id3Frame, end int64) {
	var compressed, encrypted, unsync bool
	dataLen := int64(-1)
	skip := int64(0)
	switch h.version {
	case 3:
		compressed = fr.flags&frame3Compressed != 0
		encrypted = fr.flags&frame3Encrypted != 0
		if compressed {
			if b := s.peek(fr.start, 4); len(b) == 4 {
				dataLen = int64(binary.BigEndian.Uint32(b))
			}
			skip += 4
		}
		if fr.flags&frame3Grouped != 0 {
			skip++
		}
	case 4:
		compressed = fr.flags&frame4Compressed != 0
		encrypted = fr.flags&frame4Encrypted != 0
		unsync = h.flags&id3Unsync != 0 || fr.flags&frame4Unsync != 0
		if fr.flags&frame4Grouped != 0 {
			skip++
		}
		if fr.flags&frame4DataLen != 0 {
			if b := s.peek(fr.start+skip, 4); len(b) == 4 {
				dataLen, _ = syncsafe(b)
			}
			skip += 4
		}
	}
	if encrypted {
		return // no player can decrypt it either
	}
	start := fr.start + skip
	if !compressed && !unsync {
		f.apic(s, fr.short, start, fr.end, end)
		return
	}
	data := s.load(start, min(fr.end, end)-start)
	// Some writers set the flag on the whole tag but do not change the frame. Then its data already has the right length.
	if unsync && (dataLen != int64(len(data)) || compressed) {
		data = resynchronise(data)
	}
	if compressed {
		data = f.inflate(data, dataLen)
	}
	if len(data) == 0 {
		f.damaged = true
		return
	}
	f.apic(f.memorySource(data), fr.short, 0, int64(len(data)), int64(len(data)))
}

// resynchronise reverses the unsynchronisation of id3v2.4.0-structure, 6.1, in place: it removes the NUL after each 0xFF.
// Unsynchronised data has no 0xFF followed by 0xE0 or more. Data that does was flagged but never changed, and is returned
// as it is.
func resynchronise(data []byte) []byte {
	for rest := data; ; {
		i := bytes.IndexByte(rest, 0xFF)
		if i < 0 || i+1 >= len(rest) {
			break
		}
		if rest[i+1] >= 0xE0 {
			return data
		}
		rest = rest[i+1:]
	}
	w, r := 0, 0
	for r < len(data) {
		n := bytes.IndexByte(data[r:], 0xFF) + 1
		if n == 0 {
			n = len(data) - r
		}
		w += copy(data[w:], data[r:r+n])
		r += n
		if r < len(data) && data[r-1] == 0xFF && data[r] == 0 {
			r++
		}
	}
	return data[:w]
}

// inflate returns the decompressed contents of a zlib stream. They must have size bytes, unless size is negative. One byte
// of deflate expands to at most 1032 bytes, which bounds the allocation if size is false.
func (f *finder) inflate(data []byte, size int64) []byte {
	zr, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil && len(data) > 4 && size < 0 {
		// Version 2.4 requires a data length before the stream, but some writers do not set the flag for it.
		zr, err = zlib.NewReader(bytes.NewReader(data[4:]))
	}
	limit := min(int64(len(data))*1032, maxPicture)
	if err != nil || size > limit {
		return nil
	}
	guess := size < 0
	if guess {
		size = limit
	}
	out := f.alloc(size)
	for n := 0; n < len(out); {
		m, err := zr.Read(out[n:])
		n += m
		switch {
		case err == io.EOF && guess:
			return bytes.Clone(out[:n]) // releases the much larger buffer
		case err == io.EOF:
			return out[:n]
		case err != nil:
			return nil
		}
	}
	if _, err := zr.Read(make([]byte, 1)); err != io.EOF {
		return nil // longer than declared
	}
	return out
}

// apicHeaderLens are the lengths of the attempts to read a frame up to the end of its description, in bytes.
var apicHeaderLens = [...]int64{1 << 10, 64 << 10}

// apic offers the picture of an APIC frame (id3v2.4.0-frames, 4.14), or of a PIC frame (id3v2-00, 4.15) if short is set. The
// data of the frame is [start, end), in a tag that ends at limit.
func (f *finder) apic(s *source, short bool, start, end, limit int64) {
	for _, n := range apicHeaderLens {
		b := s.peek(start, int(min(n, end-start, limit-start)))
		typ, at := parseAPIC(b, short)
		if at < 0 || len(b)-at >= sniffLen && !isPicture(b[at:]) {
			// Wrong terminators are common: a single NUL after UTF-16, none after a MIME type.
			if i := findPicture(b); i >= 0 {
				at = i
			}
		}
		if at >= 0 {
			f.offer(s, typ, start+int64(at), end-start-int64(at), limit)
			return
		}
		if int64(len(b)) < n {
			break
		}
	}
	f.damaged = f.damaged || end-start > minPicture
}

// parseAPIC returns the type of the picture in a frame that begins with b, and the index of the picture. The index is -1 if
// the picture does not begin within b.
func parseAPIC(b []byte, short bool) (typ, at int) {
	if len(b) < 2 {
		return typeOther, -1
	}
	i := 4 // the text encoding, and in PIC three letters for the format
	if !short || len(b) < 5 || b[4] > 0x14 {
		mime := bytes.IndexByte(b[1:], 0)
		if mime < 0 {
			return typeOther, -1
		}
		i = 1 + mime + 1
	}
	if i >= len(b) {
		return typeOther, -1
	}
	typ = int(b[i])
	i++
	wide := b[0] == 1 || b[0] == 2 // UTF-16 with and without byte order mark
	for ; i < len(b); i++ {
		switch {
		case b[i] != 0 && !wide:
		case !wide:
			return typ, i + 1
		case i+1 >= len(b):
			return typ, -1
		case b[i] == 0 && b[i+1] == 0:
			return typ, i + 2
		default:
			i++
		}
	}
	return typ, -1
}

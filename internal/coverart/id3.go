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

// tagLen returns the length of the tag with its header and footer.
func (h id3Header) tagLen() int64 {
	if h.version == 4 && h.flags&id3Footer != 0 {
		return id3HeaderLen + h.size + id3HeaderLen
	}
	return id3HeaderLen + h.size
}

// id3 offers the pictures of the tag at off, if there is one. Nothing after limit is read.
func (f *finder) id3(off, limit int64) {
	s := f.file
	h, ok := parseID3Header(s.peek(off, id3HeaderLen))
	if !ok {
		return
	}
	start := off + id3HeaderLen
	end := min(start+h.size, limit)
	if h.version < 4 && h.flags&id3Unsync != 0 {
		// Frame sizes are those before unsynchronisation, so the whole tag must be restored first.
		if tag := s.load(start, end-start); tag != nil {
			tag = resynchronise(tag)
			f.id3Frames(f.memorySource(tag), h, 0, int64(len(tag)))
			return
		}
	}
	f.id3Frames(s, h, start, end)
}

// id3Frames walks the frames between pos and end.
func (f *finder) id3Frames(s *source, h id3Header, pos, end int64) {
	if h.version > 2 && h.flags&id3Extended != 0 {
		pos += id3ExtendedLen(s.peek(pos, 6), h.version)
	}
	var other int64 // where the previous frame ends if its size was misread
	for !f.done() && f.step() {
		fr, ok := readID3Frame(s, h, pos, end)
		if !ok && other > 0 && startsID3Frame(s, other, end) {
			fr, ok = readID3Frame(s, h, other, end)
		}
		switch {
		case !ok:
			return // padding, or damaged
		case f.texts != nil:
			f.id3Text(s, h, fr, end)
		case fr.isPicture():
			f.id3Picture(s, h, fr, end)
		case fr.isChapter() && len(f.chapters) < maxCandidates:
			f.chapters = append(f.chapters, func() { f.id3Chapter(s, h, fr, end) })
		}
		pos, other = fr.end, fr.other
	}
}

// id3Chapter offers the pictures embedded in the CHAP or CTOC frame fr (id3v2-chapters-1.0, 3.1 and 3.2).
func (f *finder) id3Chapter(s *source, h id3Header, fr id3Frame, end int64) {
	x, limit := f.unpackID3Frame(s, h, fr, end)
	if x.s == nil {
		return
	}
	limit = min(limit, x.end)
	pos := x.pos + id3ChapterHeaderLen(x.s.peek(x.pos, int(min(walkLen, limit-x.pos))), fr.id)
	h.flags = 0 // embedded frames have no extended header, and their unsynchronisation is reversed
	for !f.done() && f.step() {
		inner, ok := readID3Frame(x.s, h, pos, limit)
		if !ok {
			return
		}
		if inner.isPicture() {
			f.id3Picture(x.s, h, inner, limit)
		}
		pos = inner.end
	}
}

// id3ChapterHeaderLen returns the length of the part of a CHAP or CTOC frame before the embedded frames. The frame begins
// with b.
func id3ChapterHeaderLen(b []byte, id string) int64 {
	n := bytes.IndexByte(b, 0) + 1 // element id
	if id == "CHAP" {
		return int64(n + 4*4) // times and offsets
	}
	if len(b) < n+2 {
		return int64(len(b))
	}
	count := b[n+1]
	n += 2
	for range count { // ids of the chapters
		n += bytes.IndexByte(b[n:], 0) + 1
	}
	return int64(n)
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
	id         string
	flags      byte // the second byte of flags, which are about the format
	start, end int64
	other      int64 // the end if the size was written in the other way, or 0
}

// isPicture reports whether the frame is a picture.
func (fr id3Frame) isPicture() bool { return fr.id == "APIC" || fr.isShort() }

// isShort reports whether the frame is a picture in the layout of version 2.2. Old versions of iTunes put these into tags of
// version 2.3.
func (fr id3Frame) isShort() bool { return fr.id == "PIC" || fr.id == "PIC\x00" || fr.id == "PIC " }

// isChapter reports whether the frame is a chapter or a table of contents, which may have pictures of their own.
func (fr id3Frame) isChapter() bool { return fr.id == "CHAP" || fr.id == "CTOC" }

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
		fr.id = string(b[:3])
		fr.end = fr.start + int64(b[3])<<16 + int64(b[4])<<8 + int64(b[5])
		return fr, isFrameID(fr.id + "0")
	}
	fr.id = string(b[:4])
	fr.flags = b[9]
	if !isFrameID(fr.id) {
		return fr, false
	}
	fr.end, fr.other = id3FrameEnd(s, h.version, pos, end)
	return fr, true
}

// id3FrameEnd returns where the frame at pos of a tag of version 2.3 or 2.4 ends. Sizes are plain in 2.3 and syncsafe in
// 2.4, but some writers, such as old versions of iTunes, use the wrong kind. The bytes after the frame show which kind it
// is. If only one kind fits, other is 0. Otherwise other is where the frame ends if the size is of the other kind.
func id3FrameEnd(s *source, version byte, pos, end int64) (frameEnd, other int64) {
	start := pos + id3HeaderLen
	b := s.peek(pos+4, 4)
	safe, isSafe := syncsafe(b)
	plain, safe := start+int64(binary.BigEndian.Uint32(b)), start+safe
	switch {
	case plain == safe || !isSafe:
		return plain, 0
	case version == 3:
		if plain > end && (safe == end || startsID3Frame(s, safe, end) || isPadding(s, safe, end)) {
			return safe, 0
		}
		return plain, safe
	case plain > end || safe == end || startsID3Frame(s, safe, end):
		return safe, 0
	case plain == end || startsID3Frame(s, plain, end):
		return plain, 0
	case isPadding(s, safe, end) && isPadding(s, plain-id3HeaderLen, plain):
		return safe, 0
	}
	return plain, safe // either is followed by damage, and the larger one includes the whole picture
}

// startsID3Frame reports whether a frame begins at pos, in a tag of version 2.3 or 2.4 that ends at end.
func startsID3Frame(s *source, pos, end int64) bool {
	b := s.peek(pos, id3HeaderLen)
	if len(b) < id3HeaderLen || pos+id3HeaderLen > end || !isFrameID(string(b[:4])) {
		return false
	}
	size, isSafe := syncsafe(b[4:8])
	if !isSafe {
		size = int64(binary.BigEndian.Uint32(b[4:]))
	}
	return pos+id3HeaderLen+size <= end
}

// isPadding reports whether the bytes between pos and end are zeros, like the padding of a tag. It checks at most walkLen
// bytes.
func isPadding(s *source, pos, end int64) bool {
	b := s.peek(pos, int(min(walkLen, end-pos)))
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

// id3Picture offers the picture of the frame fr of a tag that ends at end.
func (f *finder) id3Picture(s *source, h id3Header, fr id3Frame, end int64) {
	if x, limit := f.unpackID3Frame(s, h, fr, end); x.s != nil {
		f.apic(x, fr.isShort(), limit)
	}
}

// An id3Packing says how the data of a frame is encoded.
type id3Packing struct {
	compressed, encrypted, unsync bool

	headLen int64 // bytes before the data
	dataLen int64 // length of the decoded data, or -1 if unknown
}

// readID3Packing reads the packing of fr from its flags and from the bytes before its data.
func readID3Packing(s *source, h id3Header, fr id3Frame) id3Packing {
	p := id3Packing{dataLen: -1}
	switch h.version {
	case 3:
		p.compressed = fr.flags&frame3Compressed != 0
		p.encrypted = fr.flags&frame3Encrypted != 0
		if p.compressed {
			if b := s.peek(fr.start, 4); len(b) == 4 {
				p.dataLen = int64(binary.BigEndian.Uint32(b))
			}
			p.headLen += 4
		}
		if fr.flags&frame3Grouped != 0 {
			p.headLen++
		}
	case 4:
		p.compressed = fr.flags&frame4Compressed != 0
		p.encrypted = fr.flags&frame4Encrypted != 0
		p.unsync = h.flags&id3Unsync != 0 || fr.flags&frame4Unsync != 0
		if fr.flags&frame4Grouped != 0 {
			p.headLen++
		}
		if fr.flags&frame4DataLen != 0 {
			if b := s.peek(fr.start+p.headLen, 4); len(b) == 4 {
				p.dataLen, _ = syncsafe(b)
			}
			p.headLen += 4
		}
	}
	return p
}

// unpackID3Frame returns the decoded data of the frame fr of a tag that ends at end, and the end of what may be read of it.
// The extent has no source if the data cannot be decoded.
func (f *finder) unpackID3Frame(s *source, h id3Header, fr id3Frame, end int64) (x extent, limit int64) {
	p := readID3Packing(s, h, fr)
	start := fr.start + p.headLen
	switch {
	case p.encrypted:
		return extent{}, 0 // no player can decrypt it either
	case !p.compressed && !p.unsync:
		return extent{s, start, fr.end}, end
	}
	data := s.load(start, min(fr.end, end)-start)
	// Some writers set the flag on the whole tag but do not change the frame. Then its data already has the right length.
	if p.unsync && (p.dataLen != int64(len(data)) || p.compressed) {
		data = resynchronise(data)
	}
	if p.compressed {
		data = f.inflate(data, p.dataLen)
	}
	if len(data) == 0 {
		f.damaged = true
		return extent{}, 0
	}
	n := int64(len(data))
	return extent{f.memorySource(data), 0, n}, n
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

// apic offers the picture in the data x of an APIC frame (id3v2.4.0-frames, 4.14), or of a PIC frame (id3v2-00, 4.15) if
// short is set. The tag ends at limit.
func (f *finder) apic(x extent, short bool, limit int64) {
	size := x.end - x.pos
	for _, n := range apicHeaderLens {
		b := x.s.peek(x.pos, int(min(n, size, limit-x.pos)))
		typ, at := parseAPIC(b, short)
		if at < 0 || len(b)-at >= sniffLen && !isPicture(b[at:]) {
			// Wrong terminators are common: a single NUL after UTF-16, none after a MIME type.
			if i := findPicture(b); i >= 0 {
				at = i
			}
		}
		if at >= 0 {
			f.offer(x.s, typeRank(typ), x.pos+int64(at), size-int64(at), limit)
			return
		}
		if int64(len(b)) < n {
			break
		}
	}
	f.damaged = f.damaged || size > minPicture
}

// parseAPIC returns the type of the picture in a frame that begins with b, and the index of the picture. The index is -1 if
// the picture does not begin within b.
func parseAPIC(b []byte, short bool) (typ, at int) {
	if len(b) < 2 {
		return 0, -1
	}
	i := 4 // the text encoding, and in PIC three letters for the format
	if !short || len(b) < 5 || b[4] > 0x14 {
		mime := bytes.IndexByte(b[1:], 0)
		if mime < 0 {
			return 0, -1
		}
		i = 1 + mime + 1
	}
	if i >= len(b) {
		return 0, -1
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

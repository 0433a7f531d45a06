package coverart

import "encoding/binary"

// FLAC, as described in RFC 9639. Pictures have blocks of their own (section 8.8). Some files also have
// METADATA_BLOCK_PICTURE comments, which are meant for Ogg.

const (
	flacComment = 4
	flacPicture = 6
	flacInvalid = 127

	maxFLACBlocks = 1 << 12
)

func (f *finder) flac(off int64) mediaKind {
	comments := int64(-1)
	var commentsLen int64
	pos := off + 4
	for range maxFLACBlocks {
		if f.done() || !f.step() {
			break
		}
		b := f.file.peek(pos, 4)
		if len(b) < 4 || b[0]&0x7f == flacInvalid {
			break
		}
		last := b[0]&0x80 != 0
		kind := b[0] & 0x7f
		size := int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3])
		pos += 4
		switch kind {
		case flacComment:
			comments, commentsLen = pos, size
		case flacPicture:
			size = f.flacPicture(pos, size)
		}
		pos += size
		if last {
			break
		}
	}
	if !f.done() && comments >= 0 {
		f.vorbisComment(&extent{s: f.file, pos: comments, end: comments + commentsLen})
	}
	if !f.done() {
		f.tagsAtEnd()
	}
	return audio
}

// flacPicture offers the picture in the block of size bytes at pos. It returns the true length of the block, which may
// differ from the declared one: 24 bits are too few for some pictures, and some writers declare a wrong length.
func (f *finder) flacPicture(pos, size int64) int64 {
	h, ok := readFLACPicture(&extent{s: f.file, pos: pos, end: f.file.size})
	if !ok || h.headLen > size && !f.endsFLACBlock(pos+h.headLen+h.size) {
		f.damaged = f.damaged || size > minPicture
		return size
	}
	end := pos + size
	if past := pos + h.headLen + h.size; past > end && h.size <= maxPicture && f.endsFLACBlock(past) {
		end = past
	}
	f.offer(f.file, typeRank(h.typ), pos+h.headLen, h.size, end)
	return end - pos
}

// endsFLACBlock reports whether a block may end at pos: another block, an audio frame or the end of the file follows.
func (f *finder) endsFLACBlock(pos int64) bool {
	if pos == f.file.size {
		return true
	}
	b := f.file.peek(pos, 4)
	if len(b) < 4 {
		return false
	}
	if b[0] == 0xFF {
		return b[1]&0xFC == 0xF8
	}
	next := pos + 4 + int64(b[1])<<16 + int64(b[2])<<8 + int64(b[3])
	kind := b[0] & 0x7f
	return kind >= 1 && kind <= flacPicture && next <= f.file.size
}

// flacPictureHeader is the part of a PICTURE block before the bytes of the picture.
type flacPictureHeader struct {
	typ     int
	headLen int64
	size    int64
}

// readFLACPicture reads the header of a PICTURE block: type, MIME type, description, four unused numbers, size.
func readFLACPicture(x stream) (h flacPictureHeader, ok bool) {
	var b [20]byte
	word := func(n int) int64 {
		if x.read(b[:n]) < n {
			return -1
		}
		h.headLen += int64(n)
		return int64(binary.BigEndian.Uint32(b[n-4:]))
	}
	typ := word(4)
	h.typ = int(min(typ, 0xFF))
	for range 2 { // MIME type and description
		n := word(4)
		if n < 0 || !x.skip(n) {
			return h, false
		}
		h.headLen += n
	}
	h.size = word(20)
	return h, h.size >= 0
}

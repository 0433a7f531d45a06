package coverart

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
)

// APEv2 tags, as described in the Hydrogenaudio wiki, and the other tags found at the end of a file: ID3v1, Lyrics3, and
// ID3v2 with a footer.

const (
	apeHeaderLen = 32
	apeMagic     = "APETAGEX"
	apeCoverKey  = "cover art"
	id3v1Len     = 128
	maxTailTags  = 16
)

// tagsAtEnd offers the pictures of the tags at the end of the file, last tag first. It reports whether there is any tag.
func (f *finder) tagsAtEnd() (found bool) {
	end := f.file.size
	// One read usually covers the headers of the last two tags.
	f.file.peek(max(0, end-jumpLen), jumpLen)
	for range maxTailTags {
		if f.done() || !f.step() {
			break
		}
		before := f.tagBefore(end)
		if before == end {
			break
		}
		end, found = before, true
	}
	return found
}

// tagBefore offers the pictures of the tag that ends at end, and returns where it begins. It returns end if there is none.
func (f *finder) tagBefore(end int64) int64 {
	s := f.file
	if s.str(end-id3v1Len, 3) == "TAG" {
		if f.texts != nil {
			f.id3v1Text(end - id3v1Len)
		}
		return end - id3v1Len
	}
	if h, ok := parseAPEHeader(s.peek(end-apeHeaderLen, apeHeaderLen)); ok {
		start := end - h.size
		if h.size < apeHeaderLen || start < 0 {
			return end
		}
		f.apeItems(start, end-apeHeaderLen, h.count)
		if h.hasHeader && start >= apeHeaderLen {
			start -= apeHeaderLen
		}
		return start
	}
	if b := s.peek(end-id3HeaderLen, id3HeaderLen); len(b) == id3HeaderLen && string(b[:3]) == "3DI" {
		if h, ok := parseID3Fields(b); ok {
			if start := end - 2*id3HeaderLen - h.size; start >= 0 {
				f.id3(start, end)
				return start
			}
		}
		return end
	}
	// Lyrics3 v2 ends with its length, without the length itself, in six digits. Version 1 has no length and at most 5100 bytes.
	switch s.str(end-9, 9) {
	case "LYRICS200":
		if n, err := strconv.ParseUint(s.str(end-15, 6), 10, 32); err == nil && int64(n) <= end-15 {
			return end - 15 - int64(n)
		}
	case "LYRICSEND":
		from := max(0, end-5100-20)
		if i := bytes.LastIndex(s.peek(from, int(end-from)), []byte("LYRICSBEGIN")); i >= 0 {
			return from + int64(i)
		}
	}
	return end
}

// apeTagAt offers the pictures of the APEv2 tag that begins at off, if there is one. A tag at the start of a file is against
// the specification, but exists.
func (f *finder) apeTagAt(off int64) {
	if h, ok := parseAPEHeader(f.file.peek(off, apeHeaderLen)); ok {
		f.apeItems(off+apeHeaderLen, off+apeHeaderLen+h.size, h.count)
	}
}

// apeHeader is the header of a tag, or its footer.
type apeHeader struct {
	size      int64 // bytes of the items and the footer
	count     uint32
	hasHeader bool
}

func parseAPEHeader(b []byte) (h apeHeader, ok bool) {
	if len(b) < apeHeaderLen || string(b[:8]) != apeMagic {
		return h, false
	}
	return apeHeader{
		size:      int64(binary.LittleEndian.Uint32(b[12:])),
		count:     binary.LittleEndian.Uint32(b[16:]),
		hasHeader: b[23]&0x80 != 0,
	}, true
}

// apeItems walks count items between pos and end. The value of a cover is a file name, a NUL and the picture.
func (f *finder) apeItems(pos, end int64, count uint32) {
	const maxKey = 255
	for range count {
		if f.done() || !f.step() {
			return
		}
		b := f.file.peek(pos, int(min(8+maxKey+1, end-pos)))
		if len(b) < 8 {
			return
		}
		size := int64(binary.LittleEndian.Uint32(b))
		keyLen := bytes.IndexByte(b[8:], 0)
		if keyLen < 0 {
			return
		}
		key := strings.ToLower(string(b[8 : 8+keyLen]))
		pos += 8 + int64(keyLen) + 1
		if f.texts != nil {
			f.addText(key, string(f.file.readText(pos, min(pos+size, end))))
		} else if strings.HasPrefix(key, apeCoverKey) {
			f.apeCover(key, pos, size, end)
		}
		pos += size
	}
}

// apeRanks has the ranks of covers by the words after "cover art" in their keys. The first match counts.
var apeRanks = []struct {
	name string
	rank rank
}{
	{"front", rankFront},
	{"other icon", rankIcon},
	{"other", rankOther},
	{"media", rankMedia},
	{"back", rankBack},
	{"leaflet", rankLeaflet},
	{"lead", rankPerson}, {"artist", rankPerson}, {"conductor", rankPerson},
	{"band logo", rankLogo}, {"publisher", rankLogo}, {"colo", rankLogo}, {"bright", rankLogo}, {"fish", rankLogo},
	{"band", rankPerson}, {"composer", rankPerson}, {"lyricist", rankPerson},
	{"recording", rankRest}, {"during", rankRest}, {"video", rankRest}, {"movie", rankRest}, {"illustration", rankRest},
	{"icon", rankIcon}, {"png icon", rankIcon}, {"file icon", rankIcon},
}

// apeRank returns the rank of the cover with the given key in lower case, such as "cover art (front)".
func apeRank(key string) rank {
	typ := strings.TrimLeft(strings.TrimPrefix(key, apeCoverKey), " (")
	if typ == "" {
		return rankOther
	}
	for _, r := range apeRanks {
		if strings.HasPrefix(typ, r.name) {
			return r.rank
		}
	}
	return rankUnknown
}

func (f *finder) apeCover(key string, pos, size, end int64) {
	name := int64(0)
	b := f.file.peek(pos, int(min(512, size, end-pos)))
	if !isPicture(b) { // some writers omit the name
		name = int64(bytes.IndexByte(b, 0)) + 1
	}
	f.offer(f.file, apeRank(key), pos+name, size-name, end)
}

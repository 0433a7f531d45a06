package coverart

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Tags are the texts in the tags of a file. A text that the file does not have is empty. They are valid UTF-8 without control
// characters.
type Tags struct {
	Title, Artist, Album, AlbumArtist, Date, Track, Genre string
}

const (
	maxText    = 200         // bytes of a text that are returned
	maxRawText = 4 * maxText // bytes of a text that are read, in any encoding
	maxTextKey = 32          // bytes; the longest key in [Tags.field] has 16 characters
)

const asfDescription = "\x33\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c" // content description

const (
	mkvInfo        = 0x1549A966
	mkvTitle       = 0x7BA9
	mkvTags        = 0x1254C367
	mkvTargets     = 0x63C0
	mkvTargetLevel = 0x68CA
	mkvSimpleTag   = 0x67C8
	mkvTagName     = 0x45A3
	mkvTagString   = 0x4487
)

// ReadTags returns the texts in the tags of r, which holds size bytes. It walks a file as [Find] does, within the same limits,
// and reads no pictures. A file of an unknown kind has no texts. Any error comes from r or from ctx.
func ReadTags(ctx context.Context, r io.ReaderAt, size int64) (Tags, error) {
	b := &budget{ctx: ctx}
	f := &finder{budget: b, file: &source{budget: b, r: r, size: size}, texts: new(texts)}
	f.search()
	if f.err != nil {
		return Tags{}, fmt.Errorf("coverart: %w", f.err)
	}
	t := f.texts
	order := []*Tags{&t.leading, &t.own, &t.brief}
	if f.ownTags {
		order[0], order[1] = &t.own, &t.leading
	}
	for _, other := range order[1:] {
		order[0].complete(other)
	}
	return *order[0], nil
}

// texts are the tags found so far. As with pictures, those of the container are better than those in a foreign tag before it.
type texts struct {
	leading Tags // in tags at the start of the file
	own     Tags // in the container, or in tags at the end
	brief   Tags // in an ID3v1 tag, which cuts texts after 30 characters, or in the header of a Matroska file
}

// complete fills each empty text of t from other.
func (t *Tags) complete(other *Tags) {
	for _, key := range []string{"TITLE", "ARTIST", "ALBUM", "ALBUMARTIST", "DATE", "TRACK", "GENRE"} {
		if to := t.field(key); *to == "" {
			*to = *other.field(key)
		}
	}
}

// field returns the text that a key stands for, or nil. Keys are those of all containers, in upper case.
func (t *Tags) field(key string) *string {
	switch key {
	case "TITLE", "TIT2", "TT2", "©NAM", "INAM", "NAME":
		return &t.Title
	case "ARTIST", "TPE1", "TP1", "©ART", "IART", "AUTHOR", "AUTH":
		return &t.Artist
	case "ALBUM", "TALB", "TAL", "©ALB", "IPRD", "WM/ALBUMTITLE":
		return &t.Album
	case "ALBUMARTIST", "ALBUM ARTIST", "ALBUM_ARTIST", "TPE2", "TP2", "AART", "WM/ALBUMARTIST":
		return &t.AlbumArtist
	case "DATE", "YEAR", "TDRC", "TYER", "TYE", "©DAY", "ICRD", "DATE_RELEASED", "WM/YEAR":
		return &t.Date
	case "TRACK", "TRACKNUMBER", "TRCK", "TRK", "TRKN", "ITRK", "IPRT", "PART_NUMBER", "WM/TRACKNUMBER":
		return &t.Track
	case "GENRE", "TCON", "TCO", "©GEN", "IGNR", "WM/GENRE":
		return &t.Genre
	}
	return nil
}

// addText adds a text in UTF-8 or Latin-1. The first text of a kind counts. Other artists are added to the first one.
func (f *finder) addText(key, value string) {
	t := &f.texts.own
	if f.leadingEnd != 0 {
		t = &f.texts.leading
	}
	t.add(key, value)
}

func (t *Tags) add(key, value string) {
	key = strings.ToUpper(key)
	to := t.field(key)
	if value = cleanText(value); to == nil || value == "" {
		return
	}
	if to == &t.Genre {
		value = genreName(value)
	}
	switch {
	case *to == "":
		*to = value
	case key == "ARTIST" && !strings.Contains(*to, value):
		*to = truncate(*to + ", " + value)
	}
}

// genreName returns the name in a genre of ID3, such as "(17)Rock". The number alone says nothing to a user.
func genreName(genre string) string {
	if number, name, ok := strings.Cut(genre, ")"); ok && strings.HasPrefix(number, "(") {
		genre = name
	}
	if strings.Trim(genre, "0123456789") == "" {
		return ""
	}
	return genre
}

// cleanText returns a text as valid UTF-8 of at most maxText bytes. Text that is not UTF-8 is taken for Latin-1. NULs separate
// values in some formats.
func cleanText(text string) string {
	text = strings.Trim(text, "\x00 \t\r\n")
	text = truncate(text) // the last character may be incomplete
	if !utf8.ValidString(text) {
		text = decodeLatin1(text)
	}
	text = strings.ReplaceAll(text, "\x00", ", ")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return truncate(strings.TrimSpace(text))
}

// truncate returns text, or as many of its characters as fit in maxText bytes.
func truncate(text string) string {
	if len(text) <= maxText {
		return text
	}
	n := maxText
	for n > maxText-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func decodeLatin1(text string) string {
	runes := make([]rune, len(text))
	for i := range len(text) {
		runes[i] = rune(text[i])
	}
	return string(runes)
}

// decodeUTF16 returns the text in b, whose byte order is order unless it begins with a byte order mark.
func decodeUTF16(b []byte, order binary.ByteOrder) string {
	units := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		u := order.Uint16(b)
		switch u {
		case 0xFEFF: // a mark, also before the second of several values
			continue
		case 0xFFFE:
			if order = binary.ByteOrder(binary.BigEndian); binary.LittleEndian.Uint16(b) == 0xFEFF {
				order = binary.LittleEndian
			}
			continue
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// readText returns up to maxRawText bytes between pos and end.
func (s *source) readText(pos, end int64) []byte {
	return s.peek(pos, int(min(maxRawText, end-pos)))
}

// id3Text adds the text of the frame fr of a tag that ends at end (id3v2.4.0-frames, 4.2).
func (f *finder) id3Text(s *source, h id3Header, fr id3Frame, end int64) {
	id := strings.TrimRight(fr.id, "\x00 ")
	if (&Tags{}).field(id) == nil {
		return
	}
	x, limit := f.unpackID3Frame(s, h, fr, end)
	if x.s == nil {
		return
	}
	b := x.s.readText(x.pos, min(x.end, limit))
	if len(b) < 2 {
		return
	}
	value := string(b[1:])
	switch b[0] {
	case 1:
		value = decodeUTF16(b[1:], binary.LittleEndian)
	case 2:
		value = decodeUTF16(b[1:], binary.BigEndian)
	}
	f.addText(id, value)
}

// id3v1Text adds the texts of the ID3v1 tag at pos, of 30 bytes each. The last two bytes of the comment may be a track number.
func (f *finder) id3v1Text(pos int64) {
	b := f.file.peek(pos, id3v1Len)
	if len(b) < id3v1Len {
		return
	}
	t := &f.texts.brief
	field := func(at, n int) string {
		text, _, _ := bytes.Cut(b[at:at+n], []byte{0})
		return string(text)
	}
	t.add("TITLE", field(3, 30))
	t.add("ARTIST", field(33, 30))
	t.add("ALBUM", field(63, 30))
	t.add("DATE", field(93, 4))
	if b[125] == 0 && b[126] != 0 {
		t.add("TRACK", strconv.Itoa(int(b[126])))
	}
}

// commentText adds the text of the Vorbis comment of size bytes at x.
func (f *finder) commentText(x stream, size int64) {
	b := make([]byte, min(size, maxTextKey+maxRawText))
	key, value, ok := strings.Cut(string(b[:x.read(b)]), "=")
	if ok {
		f.addText(key, value)
	}
}

// mp4Text adds the text of an item: in its data box, after a type and a locale. A track number is binary.
func (f *finder) mp4Text(item box) {
	for b := range f.boxes(item.start, item.end) {
		text := f.file.readText(b.start, b.end)
		if b.name != "data" || len(text) <= 8 {
			continue
		}
		value := string(text[8:])
		if item.name == "trkn" {
			if len(text) < 12 {
				return
			}
			value = strconv.Itoa(int(binary.BigEndian.Uint16(text[10:])))
		}
		f.addText(decodeLatin1(item.name), value)
		return
	}
}

// asfText adds the text of an attribute with a name in UTF-16.
func (f *finder) asfText(name string, kind uint16, pos, end int64) {
	const unicodeText = 0
	if kind == unicodeText && len(name) <= 2*maxTextKey {
		key := strings.TrimRight(decodeUTF16([]byte(name), binary.LittleEndian), "\x00")
		f.addText(key, decodeUTF16(f.file.readText(pos, end), binary.LittleEndian))
	}
}

// asfDescription adds the texts of a content description (section 3.10): five lengths, then title, author and others.
func (f *finder) asfDescription(pos, end int64) {
	b := f.file.peek(pos, 10)
	if len(b) < 10 {
		return
	}
	title, author := int64(binary.LittleEndian.Uint16(b)), int64(binary.LittleEndian.Uint16(b[2:]))
	pos += 10
	f.addText("TITLE", decodeUTF16(f.file.readText(pos, min(pos+title, end)), binary.LittleEndian))
	pos += title
	f.addText("AUTHOR", decodeUTF16(f.file.readText(pos, min(pos+author, end)), binary.LittleEndian))
}

// infoText adds the text of a chunk, such as those in a LIST chunk of type INFO.
func (f *finder) infoText(c chunk) { f.addText(c.name, string(f.file.readText(c.start, c.end))) }

// riffInfo adds the texts of a LIST chunk.
func (f *finder) riffInfo(list chunk) {
	if f.file.str(list.start, 4) != "INFO" {
		return
	}
	for c := range f.chunks(riffFormat, list.start+4, list.end, nil) {
		f.infoText(c)
	}
}

// mkvTags adds the texts of a Tags element (RFC 9559, 5.1.8). A tag about an album has its title under the same name as a song.
func (f *finder) mkvTags(tags element) {
	for tag := range f.children(tags) {
		level := uint64(0)
		for e := range f.children(tag) {
			switch e.id {
			case mkvTargets:
				for target := range f.children(e) {
					if target.id == mkvTargetLevel {
						level = f.uint(target)
					}
				}
			case mkvSimpleTag:
				f.mkvSimpleTag(e, level)
			}
		}
	}
}

func (f *finder) mkvSimpleTag(tag element, level uint64) {
	const album = 50
	var name, value string
	for e := range f.children(tag) {
		switch e.id {
		case mkvTagName:
			name = strings.ToUpper(string(f.file.peek(e.start, int(min(maxTextKey, e.end-e.start)))))
		case mkvTagString:
			value = string(f.file.readText(e.start, e.end))
		}
	}
	if level == album {
		switch name {
		case "TITLE":
			name = "ALBUM"
		case "ARTIST":
			name = "ALBUMARTIST"
		}
	}
	f.addText(name, value)
}

// mkvInfo adds the title of a segment, unless its tags have one too.
func (f *finder) mkvInfo(info element) {
	for e := range f.children(info) {
		if e.id == mkvTitle {
			f.texts.brief.add("TITLE", string(f.file.readText(e.start, e.end)))
		}
	}
}

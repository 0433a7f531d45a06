package coverart

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func text4(id, s string) []byte { return frame(4, id, 0, []byte("\x03"+s)) }

func mp4Item(name, text string) []byte { return atom(name, data([]byte(text))) }

func mkvTag(level byte, pairs ...string) []byte {
	tag := ebml(mkvTargets, ebml(mkvTargetLevel, []byte{level}))
	for i := 0; i < len(pairs); i += 2 {
		tag = join(tag, ebml(mkvSimpleTag, ebml(mkvTagName, []byte(pairs[i])), ebml(mkvTagString, []byte(pairs[i+1]))))
	}
	return ebml(0x7373, tag)
}

// asfTexts returns an extended content description.
func asfTexts(pairs ...string) []byte {
	b := le16(len(pairs) / 2)
	for i := 0; i < len(pairs); i += 2 {
		name, value := utf16le(pairs[i]+"\x00"), utf16le(pairs[i+1]+"\x00")
		b = join(b, le16(len(name)), name, le16(0), le16(len(value)), value)
	}
	return asfObject(asfContent, b)
}

var (
	allTags    = Tags{Title: "Rain", Artist: "Anna", Album: "Night Bus", AlbumArtist: "Various", Date: "1999", Track: "3/9", Genre: "Pop"}
	id3AllTags = join(text4("TIT2", "Rain"), text4("TPE1", "Anna"), text4("TALB", "Night Bus"), text4("TPE2", "Various"), text4("TDRC", "1999"), text4("TRCK", "3/9"), text4("TCON", "Pop"))
	vorbisTags = []string{"Title=Rain", "ARTIST=Anna", "album=Night Bus", "ALBUMARTIST=Various", "DATE=1999", "TRACKNUMBER=3/9", "GENRE=Pop", "COMMENT=none"}
)

func TestReadTags(t *testing.T) {
	apeTags := ape(true, apeItem("Title", []byte("Rain")), apeItem("ARTIST", []byte("Anna")), apeItem("Album", []byte("Night Bus")),
		apeItem("Album Artist", []byte("Various")), apeItem("Year", []byte("1999")), apeItem("Track", []byte("3/9")), apeItem("Genre", []byte("Pop")))
	v1 := join([]byte("TAG"), []byte("Rain\x00"), zeros(25), []byte("Caf\xe9"), zeros(26), []byte("Night Bus"), zeros(21), []byte("1999"), zeros(29), []byte{7, 0})
	segment := func(parts ...[]byte) []byte { return join(mkvHead, ebml(mkvSegment, parts...)) }
	for _, test := range []struct {
		name string
		file []byte
		want Tags
	}{
		{"ID3v2.4", join(id3(4, 0, framed(4, 3, front), id3AllTags), mp3), allTags},
		{"ID3v2.2", join(id3(2, 0, frame(2, "TT2", 0, []byte("\x00Caf\xe9")), frame(2, "TP1", 0, []byte("\x00Anna\x00"))), mp3), Tags{Title: "Café", Artist: "Anna"}},
		{"UTF-16", join(id3(3, 0, frame(3, "TIT2", 0, []byte("\x01\xff\xfe"), utf16le("Şarkı\x00"))), mp3), Tags{Title: "Şarkı"}},
		{"UTF-16, big-endian by its mark", join(id3(3, 0, frame(3, "TIT2", 0, []byte("\x01\xfe\xff\x00R\x00a"))), mp3), Tags{Title: "Ra"}},
		{"UTF-16, big-endian", join(id3(4, 0, frame(4, "TIT2", 0, []byte("\x02\x00R\x00a"))), mp3), Tags{Title: "Ra"}},
		{"UTF-8 declared as Latin-1", join(id3(3, 0, frame(3, "TIT2", 0, []byte("\x00Şarkı"))), mp3), Tags{Title: "Şarkı"}},
		{"unsynchronised", join(id3(3, id3Unsync, unsync(join(framed(3, 3, front), title))), mp3), Tags{Title: "title"}},
		{"several values", join(id3(4, 0, text4("TPE1", "Anna\x00Bob")), mp3), Tags{Artist: "Anna, Bob"}},
		{"number of a genre", join(id3(3, 0, frame(3, "TCON", 0, []byte("\x00(17)Rock"))), mp3), Tags{Genre: "Rock"}},
		{"only the number of a genre", join(id3(3, 0, frame(3, "TCON", 0, []byte("\x00(17)"))), mp3), Tags{}},
		{"control characters", join(id3(4, 0, text4("TIT2", "a\x1b[31m\nb\x7f")), mp3), Tags{Title: "a [31m b"}},
		{"cut tag", id3(4, 0, text4("TIT2", "Rain"))[:23], Tags{Title: "Ra"}},
		{"ID3v1", join(mp3, v1), Tags{Title: "Rain", Artist: "Café", Album: "Night Bus", Date: "1999", Track: "7"}},
		{"ID3v1 completes ID3v2", join(id3(4, 0, text4("TIT2", "Rain on the very long roof of this house")), mp3, v1), Tags{Title: "Rain on the very long roof of this house", Artist: "Café", Album: "Night Bus", Date: "1999", Track: "7"}},
		{"APEv2", join(mp3, apeTags), allTags},
		{"WavPack", join([]byte("wvpk"), zeros(3000), apeTags), allTags},
		{"FLAC", flac(flacBlock(6, flacPic(3, front)), flacBlock(4, comments(vorbisTags...))), allTags},
		{"FLAC with a foreign tag", join(id3(4, 0, text4("TIT2", "wrong"), text4("TCON", "Jazz")), flac(flacBlock(4, comments("TITLE=Rain")))), Tags{Title: "Rain", Genre: "Jazz"}},
		{"two artists", flac(flacBlock(4, comments("ARTIST=Anna", "ARTIST=Bob", "ARTIST=Anna"))), Tags{Artist: "Anna, Bob"}},
		{"Vorbis", multiplex(vorbis(1, 255, append([]string{blockPicture(3, front)}, vorbisTags...)...)), allTags},
		{"Opus, small pages", multiplex(opus(1, 1, append([]string{blockPicture(3, front)}, vorbisTags...)...)), allTags},
		{"MP4", m4a(mp4Item("\xa9ART", "Anna"), mp4Item("\xa9alb", "Night Bus"), mp4Item("aART", "Various"), mp4Item("\xa9day", "1999"), mp4Item("trkn", "\x00\x00\x00\x03\x00\x09\x00\x00"), mp4Item("covr", string(front))),
			Tags{Title: "title", Artist: "Anna", Album: "Night Bus", AlbumArtist: "Various", Date: "1999", Track: "3"}},
		{"WAV", wave(chunkLE("LIST", join([]byte("INFO"), chunkLE("INAM", []byte("Rain\x00\x00")), chunkLE("IART", []byte("Anna"))))), Tags{Title: "Rain", Artist: "Anna"}},
		{"WAV with ID3", wave(chunkLE("id3 ", id3(4, 0, id3AllTags))), allTags},
		{"AIFF", aiff("AIFF", chunkBE("NAME", []byte("Rain")), chunkBE("AUTH", []byte("Anna"))), Tags{Title: "Rain", Artist: "Anna"}},
		{"DSF", dsf(id3(4, 0, id3AllTags)), allTags},
		{"WMA", asfFile(asfObject(asfDescription, le16(10), le16(8), zeros(6), utf16le("Rain\x00"), utf16le("Anna")), asfTexts("WM/AlbumTitle", "Night Bus", "WM/TrackNumber", "3")), Tags{Title: "Rain", Artist: "Anna", Album: "Night Bus", Track: "3"}},
		{"Matroska", segment(ebml(mkvInfo, ebml(mkvTitle, []byte("file title"))), ebml(mkvTracks, mkvAudioTrack), ebml(mkvTags, mkvTag(50, "TITLE", "Night Bus", "ARTIST", "Various"), mkvTag(30, "TITLE", "Rain", "ARTIST", "Anna"))),
			Tags{Title: "Rain", Artist: "Anna", Album: "Night Bus", AlbumArtist: "Various"}},
		{"Matroska, title of the file", segment(ebml(mkvInfo, ebml(mkvTitle, []byte("file title"))), ebml(mkvTracks, mkvVideoTrack)), Tags{Title: "file title"}},
		{"not UTF-8", join(id3(4, 0, text4("TIT2", strings.Repeat("\xbf", 2*maxText))), mp3), Tags{Title: strings.Repeat("¿", maxText/2)}},
		{"a picture", front, Tags{}},
		{"text", html, Tags{}},
		{"nothing", nil, Tags{}},
	} {
		r := &reader{r: bytes.NewReader(test.file)}
		got, err := ReadTags(t.Context(), r, int64(len(test.file)))
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		}
		checkTags(t, test.file)
	}
}

// A long text is cut between two characters.
func TestLongText(t *testing.T) {
	file := join(id3(4, 0, text4("TIT2", "a"+strings.Repeat("ş", maxText))), mp3)
	got, err := ReadTags(t.Context(), bytes.NewReader(file), int64(len(file)))
	if want := "a" + strings.Repeat("ş", (maxText-1)/2); err != nil || got.Title != want {
		t.Errorf("%d bytes, %v", len(got.Title), err)
	}
}

// A failed read is an error, and no tags are returned with it.
func TestReadTagsError(t *testing.T) {
	file := join(id3(4, 0, id3AllTags), mp3)
	if got, err := ReadTags(t.Context(), bytes.NewReader(file[:20]), int64(len(file))); err == nil || got != (Tags{}) {
		t.Errorf("%+v, %v", got, err)
	}
	failure := errors.New("disk")
	if _, err := ReadTags(t.Context(), failingReader{failure}, 1000); !errors.Is(err, failure) {
		t.Error(err)
	}
}

type failingReader struct{ err error }

func (r failingReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// checkTags checks the texts of any file: they are short, printable and the same in a second call, and take few reads.
func checkTags(t *testing.T, data []byte) {
	t.Helper()
	r := &reader{r: bytes.NewReader(data)}
	tags, err := ReadTags(t.Context(), r, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if r.reads > maxSteps {
		t.Errorf("%d reads", r.reads)
	}
	fields := reflect.ValueOf(tags)
	for i := range fields.NumField() {
		s := fields.Field(i).String()
		if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("bad text: %q", s)
		}
	}
	if again, _ := ReadTags(t.Context(), bytes.NewReader(data), int64(len(data))); again != tags {
		t.Errorf("%+v, and then %+v", tags, again)
	}
}

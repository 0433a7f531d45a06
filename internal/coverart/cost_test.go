package coverart

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The cost of a search is measured with songs of 14 MB that have a cover of 877 KiB.

var cover = jpeg(9, 877<<10)

const musicLen = 13 << 20

// longSongs returns songs of 14 MB by format.
func longSongs() map[string][]byte {
	music := make([]byte, musicLen)
	copy(music, mp3)
	frames := func() []byte { return bytes.Repeat(mp3[:417], musicLen/417) }
	tag := id3(3, 0, frame(3, "TIT2", 0, []byte("\x00title")), frame(3, "APIC", 0, apic(3, cover)), zeros(2048))
	tag4 := id3(4, 0, frame(4, "TIT2", 0, []byte("\x00title")), frame(4, "APIC", 0, apic(3, cover)), zeros(2048))
	oggMusic := func(serial int) []byte {
		return bytes.Repeat(oggPages(serial, 0, 17, zeros(4200))[0], musicLen/4300)
	}
	ogg := func(perPage int) []byte {
		pages := oggPages(1, 2, 255, join([]byte("\x01vorbis"), zeros(22)))
		pages = append(pages, oggPages(1, 0, perPage, join([]byte("\x03vorbis"), comments("TITLE=t", blockPicture(3, cover)), []byte{1}))...)
		return join(multiplex(pages), oggMusic(1))
	}
	moov := atom("moov", atom("mvhd", zeros(100)), trak(1, "soun", atom("free", zeros(30000))), tags(atom("covr", data(cover))))
	clusters := bytes.Repeat(ebml(mkvCluster, ebml(0xA3, zeros(100000))), musicLen/100000)
	mkvIndex := func(at int) []byte {
		return ebml(mkvSeekHead, ebml(mkvSeek, ebml(mkvSeekID, be32(mkvAttached)), ebml(mkvSeekPos, be32(at))))
	}
	mkvFront := join(ebml(mkvTracks, mkvAudioTrack), clusters)
	attachments := ebml(mkvAttached, mkvAttachment("cover.jpg", cover))
	return map[string][]byte{
		"mp3":              join(tag, frames()),
		"mp3, 2.4":         join(tag4, frames()),
		"mp3, unsync":      join(id3(3, id3Unsync, unsync(frame(3, "APIC", 0, apic(3, cover)))), frames()),
		"mp3, APE":         join(frames(), ape(true, apeCover("Cover Art (Front)", "cover.jpg", cover)), id3v1),
		"aac":              join(tag4, bytes.Repeat(adts[:200], musicLen/200)),
		"flac":             join([]byte("fLaC"), flacBlock(0, zeros(34)), flacBlock(3, zeros(1800)), flacBlock(4, comments("A=b")), flacBlock(6, flacPic(3, cover)), flacBlock(0x81, zeros(8192)), []byte{0xFF, 0xF8}, music),
		"ogg":              ogg(255),
		"ogg, small pages": ogg(17),
		"m4a":              join(ftyp, moov, atom("mdat", music)),
		"m4a, moov last":   join(ftyp, atom("free", zeros(8)), atom("mdat", music), moov),
		"wavpack":          join([]byte("wvpk"), music, ape(true, apeCover("Cover Art (Front)", "cover.jpg", cover))),
		"wma":              asfFile(asfStreamObject(asfAudio), asfLibraryObject(asfLibrary, asfPic(3, cover)), music),
		"mka":              join(mkvHead, ebml(mkvSegment, mkvIndex(len(mkvIndex(0))+len(mkvFront)), mkvFront, attachments)),
		"mka, no index":    join(mkvHead, ebml(mkvSegment, mkvFront, attachments)),
		"wav":              wave(chunkLE("data", music), chunkLE("id3 ", tag)),
		"aiff":             aiff("AIFF", chunkBE("SSND", music), chunkBE("ID3 ", tag)),
		"dsf":              dsf(tag),
		"dff":              join([]byte("FRM8"), be64(0), []byte("DSD "), chunk64("DSD ", music), chunk64("ID3 ", tag)),
	}
}

// TestBytesRead checks that Find reads the picture and at most 64 KiB more, which matters for media on a network share.
func TestBytesRead(t *testing.T) {
	for name, song := range longSongs() {
		limit := int64(len(cover)) + 64<<10
		if name == "ogg" || name == "ogg, small pages" {
			limit = int64(len(cover))*14/10 + 64<<10
		}
		r := &reader{r: bytes.NewReader(song)}
		pic, err := Find(t.Context(), r, int64(len(song)))
		if err != nil || !bytes.Equal(pic, cover) {
			t.Errorf("%s: %d bytes, %v", name, len(pic), err)
		}
		t.Logf("%-18s picture + %6d bytes in %d reads", name, r.bytes-int64(len(cover)), r.reads)
		if r.bytes > limit {
			t.Errorf("%s: read %d bytes, want at most %d", name, r.bytes, limit)
		}
	}
}

// TestBytesReadNoPicture checks that Find reads at most 64 KiB of songs without a picture.
func TestBytesReadNoPicture(t *testing.T) {
	music := make([]byte, musicLen)
	for name, song := range map[string][]byte{
		"mp3":  join(id3(3, 0, frame(3, "TIT2", 0, []byte("\x00title"))), bytes.Repeat(mp3[:417], musicLen/417), id3v1),
		"flac": join(flac(), music),
		"ogg":  join(multiplex(vorbis(1, 255, "A=b")), bytes.Repeat(oggPages(1, 0, 17, zeros(4200))[0], 3000)),
		"m4a":  join(m4a(), music),
		"wav":  wave(chunkLE("data", music)),
	} {
		r := &reader{r: bytes.NewReader(song)}
		if pic, err := Find(t.Context(), r, int64(len(song))); err != ErrNoPicture {
			t.Errorf("%s: %d bytes, %v", name, len(pic), err)
		}
		t.Logf("%-18s %6d bytes in %d reads", name, r.bytes, r.reads)
		if r.bytes > 64<<10 {
			t.Errorf("%s: read %d bytes", name, r.bytes)
		}
	}
}

// BenchmarkFind compares opening a song and finding its cover with opening it and reading the cover from a known position:
// 4 KiB of headers and one read. For Ogg the known text is also decoded from base64. The two alternate, so that "x", the
// ratio of their times, is measured under the same load.
func BenchmarkFind(b *testing.B) {
	dir := b.TempDir()
	for name, song := range longSongs() {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, song, 0o600); err != nil {
			b.Fatal(err)
		}
		text := base64.StdEncoding.EncodeToString(flacPic(3, cover))
		known := bytes.Index(song, cover[:64])
		if known < 0 && !strings.HasPrefix(name, "ogg") {
			continue // unsynchronised: the cover is not in the file as it is
		}
		byHand := func() error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			head := make([]byte, 4<<10)
			if _, err := f.ReadAt(head, 0); err != nil {
				return err
			}
			if known < 0 {
				raw := make([]byte, len(text))
				if _, err := f.ReadAt(raw, 200); err != nil {
					return err
				}
				copy(raw, text)
				_, err := base64.StdEncoding.Decode(make([]byte, len(cover)+200), raw)
				return err
			}
			_, err = f.ReadAt(make([]byte, len(cover)), int64(known))
			return err
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var ours, theirs time.Duration
			for b.Loop() {
				start := time.Now()
				f, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				if pic, err := Find(b.Context(), f, int64(len(song))); err != nil || len(pic) != len(cover) {
					b.Fatal(len(pic), err)
				}
				f.Close()
				ours += time.Since(start)

				start = time.Now()
				if err := byHand(); err != nil {
					b.Fatal(err)
				}
				theirs += time.Since(start)
			}
			b.ReportMetric(float64(ours)/float64(theirs), "x")
			b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "µs/find")
		})
	}
}

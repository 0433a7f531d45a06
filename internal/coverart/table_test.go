package coverart

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// This file is the table of songs that the tests and the fuzz targets share.

var (
	front = jpeg(1, 3000)
	back  = png(2, 2000)
	icon  = jpeg(3, 500)
	third = jpeg(4, 900)
	svg   = []byte(`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
	html  = []byte("<!DOCTYPE html><html><body>there is no picture here</body></html>")
)

// A song is a file and the expected result of Find: pic or err.
type song struct {
	container string // names the fuzz target that uses the song as a seed
	name      string
	data      []byte
	pic       []byte
	err       error
}

// isBomb reports whether each search of the song unpacks 32 MiB.
func (s song) isBomb() bool { return strings.Contains(s.name, "bomb") }

// songs returns the table of all songs.
var songs = sync.OnceValue(makeSongs)

func makeSongs() []song {
	return slices.Concat(id3Formats(), id3Pictures(), id3Places(), id3Damaged(), apeSongs(), flacSongs(), oggSongs(), mp4Songs(), riffSongs(),
		asfSongs(), matroskaSongs(), otherFiles())
}

// with returns a song that contains pic.
func with(container, name string, pic []byte, parts ...[]byte) song {
	return song{container, name, join(parts...), pic, nil}
}

// without returns a song in which Find fails with err.
func without(container, name string, err error, parts ...[]byte) song {
	return song{container, name, join(parts...), nil, err}
}

// framed returns an APIC frame.
func framed(version byte, typ byte, pic []byte) []byte {
	return frame(version, "APIC", 0, apic(typ, pic))
}

var (
	title  = frame(3, "TIT2", 0, []byte("\x00title"))
	title4 = frame(4, "TIT2", 0, []byte("\x00title"))
	wide   = utf16le("\ufeffCover")
)

// id3Formats returns songs with ID3 tags in every version and encoding.
func id3Formats() []song {
	// A tag of version 2.3 that is unsynchronised as a whole. The frame sizes are those before unsynchronisation.
	unsynced3 := id3(3, id3Unsync, unsync(join(title, framed(3, 3, front))))
	// A tag of version 2.4, in which each frame is unsynchronised.
	unsynced4 := func(tagFlag, frameFlag byte) []byte {
		body := join(be32(0), unsync(apic(3, front)))
		copy(body, syncsafe4(len(apic(3, front))))
		return id3(4, tagFlag, title4, frame(4, "APIC", frameFlag|frame4DataLen, body), title4)
	}
	// zeroedMiddle has zeros where the picture would end if its plain size were syncsafe.
	zeroedMiddle := join(jpeg(5, 1000), zeros(1000), jpeg(6, 1000))
	zeroedLong := join(jpeg(7, 1000), zeros(9000), jpeg(8, 1000))
	iTunes := id3(3, 0, join([]byte("PIC\x00"), be32(11+len(front)), zeros(2), []byte("\x00JPG\x03cover\x00"), front))

	return []song{
		without("id3", "mp3 without tags", ErrNoPicture, mp3),
		without("id3", "aac without tags", ErrNoPicture, adts),
		without("id3", "mp3 without a picture", ErrNoPicture, id3(3, 0, title), mp3),
		with("id3", "2.2", front, id3(2, 0, frame(2, "TT2", 0, []byte("\x00t")), frame(2, "PIC", 0, []byte("\x00JPG\x03cover\x00"), front)), mp3),
		with("id3", "2.2 in UTF-16", front, id3(2, 0, frame(2, "PIC", 0, []byte("\x01JPG\x03"), wide, zeros(2), front)), mp3),
		with("id3", "2.2 unsynchronised", front, id3(2, id3Unsync, unsync(frame(2, "PIC", 0, []byte("\x00JPG\x03\x00"), front))), mp3),
		with("id3", "2.3", front, id3(3, 0, title, framed(3, 3, front), title), mp3),
		with("id3", "2.4", front, id3(4, 0, title4, framed(4, 3, front), title4, zeros(100)), mp3),
		with("id3", "2.4 with footer", front, id3(4, id3Footer, framed(4, 3, front)), mp3),
		with("id3", "2.3 unsynchronised", front, unsynced3, mp3),
		with("id3", "2.3 flagged but not unsynchronised", front, id3(3, id3Unsync, title, framed(3, 3, front)), mp3),
		with("id3", "2.4 unsynchronised by tag", front, unsynced4(id3Unsync, 0), mp3),
		with("id3", "2.4 unsynchronised by frame", front, unsynced4(0, frame4Unsync), mp3),
		with("id3", "2.4 flagged but not unsynchronised", front, id3(4, id3Unsync, title4, framed(4, 3, front)), mp3),
		with("id3", "2.4 with plain sizes", front, id3(4, 0, title4, plainFrame(3, front), title4), mp3),
		with("id3", "2.4 with plain size at the end of the tag", zeroedMiddle, id3(4, 0, title4, plainFrame(3, zeroedMiddle)), mp3),
		with("id3", "2.4 with plain size before padding", zeroedMiddle, id3(4, 0, plainFrame(3, zeroedMiddle), zeros(9000)), mp3),
		with("id3", "2.4 with plain size, many zeros and padding", zeroedLong, id3(4, 0, plainFrame(3, zeroedLong), zeros(9000)), mp3),
		with("id3", "2.4 with plain size before a frame", zeroedMiddle, id3(4, 0, plainFrame(3, zeroedMiddle), title4), mp3),
		with("id3", "2.4 with plain sizes of two pictures", zeroedMiddle, id3(4, 0, plainFrame(4, back), plainFrame(3, zeroedMiddle), zeros(100)), mp3),
		with("id3", "2.4 with plain size before damage", front, id3(4, 0, plainFrame(3, front), bytes.Repeat([]byte("?"), 100)), mp3),
		with("id3", "2.4 with much padding", front, id3(4, 0, framed(4, 3, front), zeros(40000)), mp3),
		with("id3", "2.3 with syncsafe sizes of two pictures", front, id3(3, 0, title, safeFrame(4, back), safeFrame(3, front), zeros(100)), mp3),
		with("id3", "2.3 with syncsafe size at the end of the tag", front, id3(3, 0, title, safeFrame(3, front)), mp3),
		with("id3", "2.3 with syncsafe sizes", front, id3(3, 0, title, safeFrame(3, front), title), mp3),
		with("id3", "2.3 with extended header", front, id3(3, id3Extended, be32(6), zeros(6), framed(3, 3, front)), mp3),
		with("id3", "2.4 with extended header", front, id3(4, id3Extended, be32(6), []byte{1, 0}, framed(4, 3, front)), mp3),
		with("id3", "flagged but without extended header", front, id3(3, id3Extended, framed(3, 3, front)), mp3),
		with("id3", "iTunes frames of 2.2 in 2.3", front, iTunes, mp3),
		with("id3", "2.3 compressed", front, id3(3, 0, frame(3, "APIC", frame3Compressed, be32(len(apic(3, front))), deflate(apic(3, front)))), mp3),
		with("id3", "2.4 compressed", front, id3(4, 0, frame(4, "APIC", frame4Compressed|frame4DataLen, syncsafe4(len(apic(3, front))), deflate(apic(3, front)))), mp3),
		with("id3", "2.4 compressed without length", front, id3(4, 0, frame(4, "APIC", frame4Compressed, deflate(apic(3, front)))), mp3),
		with("id3", "2.4 with group and data length", front, id3(4, 0, frame(4, "APIC", frame4Grouped|frame4DataLen, []byte{7}, syncsafe4(len(apic(3, front))), apic(3, front))), mp3),
		with("id3", "2.3 with group", front, id3(3, 0, frame(3, "APIC", frame3Grouped, []byte{7}, apic(3, front))), mp3),
		without("id3", "encrypted", ErrNoPicture, id3(3, 0, frame(3, "APIC", frame3Encrypted, []byte{1}, apic(3, front))), mp3),
		with("id3", "encrypted, and another that is not", back, id3(3, 0, frame(3, "APIC", frame3Encrypted, []byte{1}, apic(3, front)), framed(3, 0, back)), mp3),
	}
}

// id3Pictures returns songs with ID3 tags whose picture frames differ.
func id3Pictures() []song {
	return []song{
		with("id3", "UTF-16", front, id3(3, 0, frame(3, "APIC", 0, []byte("\x01image/jpeg\x00\x03"), wide, zeros(2), front)), mp3),
		with("id3", "UTF-16BE", front, id3(4, 0, frame(4, "APIC", 0, []byte("\x02image/jpeg\x00\x03\x01\x00\x00\x20\x00\x00"), front)), mp3),
		with("id3", "UTF-16 with one NUL", front, id3(3, 0, frame(3, "APIC", 0, []byte("\x01image/jpeg\x00\x03\x00"), front)), mp3),
		with("id3", "UTF-16 without terminator", front, id3(3, 0, frame(3, "APIC", 0, []byte("\x01image/jpeg\x00\x03"), wide, front)), mp3),
		with("id3", "UTF-8", front, id3(4, 0, frame(4, "APIC", 0, []byte("\x03image/jpeg\x00\x03Ümschlag\x00"), front)), mp3),
		with("id3", "long description", front, id3(4, 0, frame(4, "APIC", 0, []byte("\x03image/jpeg\x00\x03"+strings.Repeat("x", 5000)+"\x00"), front)), mp3),
		with("id3", "wrong MIME type", front, id3(3, 0, frame(3, "APIC", 0, []byte("\x00text/html\x00\x03\x00"), front)), mp3),
		with("id3", "no MIME type", front, id3(3, 0, frame(3, "APIC", 0, []byte("\x00\x00\x03\x00"), front)), mp3),
		with("id3", "front after back", front, id3(3, 0, framed(3, 4, back), framed(3, 3, front)), mp3),
		with("id3", "other after artist", third, id3(3, 0, framed(3, 8, back), framed(3, 0, third)), mp3),
		with("id3", "icon and other", back, id3(3, 0, framed(3, 1, icon), framed(3, 2, icon), framed(3, 9, back)), mp3),
		with("id3", "only an icon", icon, id3(3, 0, framed(3, 1, icon)), mp3),
		with("id3", "front is no picture", back, id3(3, 0, framed(3, 3, html), framed(3, 4, back)), mp3),
		without("id3", "link", ErrNoPicture, id3(3, 0, frame(3, "APIC", 0, []byte("\x00-->\x00\x03\x00http://127.0.0.1:1/cover.jpg?long=enough"))), mp3),
		without("id3", "SVG", ErrNoPicture, id3(3, 0, framed(3, 3, svg)), mp3),
		without("id3", "HTML", ErrNoPicture, id3(3, 0, framed(3, 3, html)), mp3),
		without("id3", "empty picture", ErrNoPicture, id3(3, 0, framed(3, 3, nil)), mp3),
		without("id3", "text instead of a picture", ErrNoPicture, id3(3, 0, framed(3, 3, []byte("no pictur"))), mp3),
		without("id3", "MP4 video instead of a picture", ErrNoPicture, id3(3, 0, framed(3, 3, join(atom("ftyp", []byte("isom\x00\x00\x02\x00isomiso2")), zeros(500)))), mp3),
	}
}

// id3Places returns songs with several tags, and with tags in unusual places.
func id3Places() []song {
	lyrics := []byte("LYRICSBEGININD0000200EAL00003abc")
	lyrics = join(lyrics, fmt.Appendf(nil, "%06dLYRICS200", len(lyrics)))

	return []song{
		with("id3", "chapter", back, id3(3, 0, title, chapter(3, framed(3, 0, back))), mp3),
		with("id3", "chapter before another picture", back, id3(3, 0, chapter(3, framed(3, 3, front)), framed(3, 4, back)), mp3),
		with("id3", "chapter after another picture", back, id3(4, 0, framed(4, 9, back), chapter(4, framed(4, 3, front))), mp3),
		with("id3", "best of two chapters", front, id3(4, 0, chapter(4, framed(4, 4, back)), chapter(4, framed(4, 3, front))), mp3),
		with("id3", "table of contents", front, id3(4, 0, frame(4, "CTOC", 0, []byte("toc\x00\x03\x02one\x00two\x00"), title4, framed(4, 3, front))), mp3),
		with("id3", "chapter, unsynchronised", front, id3(4, 0, frame(4, "CHAP", frame4Unsync, unsync(chapter(4, framed(4, 3, front))[10:]))), mp3),
		without("id3", "chapter without a picture", ErrNoPicture, id3(4, 0, chapter(4, title4), frame(4, "CHAP", 0, []byte("x")), frame(4, "CTOC", 0, []byte("toc\x00\x03\xff"))), mp3),
		without("id3", "chapter in a chapter", ErrNoPicture, id3(3, 0, chapter(3, chapter(3, framed(3, 3, front)))), mp3),
		with("id3", "two tags", front, id3(3, 0, title), id3(3, 0, framed(3, 3, front)), mp3),
		with("id3", "back in the first tag, front in the second", front, id3(3, 0, framed(3, 4, back)), id3(4, 0, framed(4, 3, front)), mp3),
		with("id3", "tag at the end", front, mp3, id3(4, id3Footer, framed(4, 3, front))),
		with("id3", "tag at the end before ID3v1", front, mp3, id3(4, id3Footer, framed(4, 3, front)), id3v1),
		with("id3", "APE tag", front, mp3, ape(true, apeCover("Cover Art (Front)", "cover.jpg", front))),
		with("id3", "APE tag before Lyrics3 and ID3v1", front, id3(3, 0, title), mp3, ape(true, apeCover("Cover Art (Front)", "cover.jpg", front)), lyrics, id3v1),
		with("id3", "Lyrics3v1", front, mp3, ape(false, apeCover("Cover Art (Front)", "", front)), []byte("LYRICSBEGINla la laLYRICSEND"), id3v1),
		with("id3", "back in ID3, front in APE", front, id3(3, 0, framed(3, 4, back)), mp3, ape(false, apeCover("COVER ART (FRONT)", "x", front)), id3v1),
		with("id3", "ID3, APE and ID3 at the end", front, id3(3, 0, framed(3, 4, back)), mp3, ape(true, apeCover("Cover Art (Back)", "b", back)), id3(4, id3Footer, framed(4, 3, front))),
		with("id3", "APE tag at the start", front, ape(true, apeCover("Cover Art (Front)", "cover.jpg", front)), mp3),
		with("id3", "junk before the audio", front, bytes.Repeat([]byte{7}, 1500), id3(3, 0, framed(3, 3, front)), mp3),
		with("id3", "padding after the tag", back, id3(3, 0, framed(3, 4, back)), zeros(5000), mp3),
		without("id3", "junk and audio", ErrNoPicture, bytes.Repeat([]byte{7}, 1500), mp3),
		with("id3", "aac", front, id3(4, 0, framed(4, 3, front)), adts),
		with("id3", "before FLAC", front, id3(3, 0, framed(3, 4, back)), flac(flacBlock(6, flacPic(3, front)))),
		with("id3", "front before FLAC with a back", front, id3(3, 0, framed(3, 3, front)), flac(flacBlock(6, flacPic(4, back)))),
		with("id3", "before Ogg", front, id3(3, 0, title), multiplex(vorbis(1, 255, blockPicture(3, front)))),
		with("id3", "before MP4", front, id3(3, 0, title), m4a(atom("covr", data(front)))),
		with("id3", "front before FLAC with a front", third, id3(3, 0, framed(3, 3, front)), flac(flacBlock(6, flacPic(3, third)))),
		with("id3", "front before FLAC with an other", third, id3(3, 0, framed(3, 3, front)), flac(flacBlock(6, flacPic(0, third)))),
		with("id3", "front before FLAC with a comment", third, id3(3, 0, framed(3, 3, front)), flac(flacBlock(4, comments(blockPicture(3, third))))),
		with("id3", "front before FLAC without a picture", front, id3(3, 0, framed(3, 3, front)), flac()),
		with("id3", "back before FLAC with a back", third, id3(3, 0, framed(3, 4, back)), flac(flacBlock(6, flacPic(4, third)))),
		with("id3", "two tags before FLAC", third, id3(3, 0, framed(3, 3, front)), id3(4, 0, framed(4, 3, back)), flac(flacBlock(6, flacPic(3, third)))),
		with("id3", "unsynchronised tag before FLAC", third, id3(3, id3Unsync, unsync(framed(3, 3, front))), flac(flacBlock(6, flacPic(3, third)))),
		with("id3", "tag with padding before FLAC", third, id3(3, 0, framed(3, 3, front), zeros(20000)), flac(flacBlock(6, flacPic(3, third)))),
		with("id3", "tag and padding before FLAC", third, id3(3, 0, framed(3, 3, front)), zeros(3000), flac(flacBlock(6, flacPic(3, third)))),
		with("id3", "APE tag before FLAC", third, ape(true, apeCover("Cover Art (Front)", "c", front)), flac(flacBlock(6, flacPic(3, third)))),
		with("id3", "front before MP4 with a front", third, id3(3, 0, framed(3, 3, front)), m4a(atom("covr", data(third)))),
		with("id3", "front before Ogg with a front", third, id3(3, 0, framed(3, 3, front)), multiplex(vorbis(1, 255, blockPicture(3, third)))),
		with("id3", "front before WavPack with APE", third, id3(3, 0, framed(3, 3, front)), []byte("wvpk"), zeros(500), ape(true, apeCover("Cover Art (Front)", "c", third))),
		with("id3", "front before Monkey's Audio with APE", third, id3(3, 0, framed(3, 3, front)), []byte("MAC "), zeros(500), ape(true, apeCover("Cover Art (Front)", "c", third)), id3v1),
		with("id3", "front before WavPack without APE", front, id3(3, 0, framed(3, 3, front)), []byte("wvpk"), zeros(500)),
		with("id3", "TTA", front, id3(3, 0, framed(3, 3, front)), []byte("TTA1"), zeros(500)),
	}
}

// id3Damaged returns songs with damaged and hostile ID3 tags.
func id3Damaged() []song {
	return []song{
		with("id3", "cut in its picture", front[:1500], id3(3, 0, framed(3, 3, front))[:10+10+18+1+1500+0]),
		without("id3", "cut before its picture", ErrCorrupt, id3(3, 0, framed(3, 3, front))[:10+10+20]),
		without("id3", "size of 0x7f7f7f7f", ErrCorrupt, []byte("ID3\x03\x00\x00\x7f\x7f\x7f\x7f"), zeros(200)),
		without("id3", "frame of 4 GiB", ErrCorrupt, id3(3, 0, []byte("APIC\xff\xff\xff\xff\x00\x00"), apic(3, back)), mp3),
		with("id3", "frame beyond its tag", back, id3(3, 0, []byte("APIC\x00\x00\xff\xff\x00\x00"), apic(3, back)), mp3),
		without("id3", "unterminated UTF-16", ErrNoPicture, id3(3, 0, frame(3, "APIC", 0, []byte("\x01image/jpeg\x00\x03"), utf16le("no end"))), mp3),
		without("id3", "bad zlib", ErrCorrupt, id3(3, 0, frame(3, "APIC", frame3Compressed, be32(3000), bytes.Repeat([]byte("no zlib"), 100))), mp3),
		without("id3", "zlib bomb", ErrCorrupt, id3(3, 0, frame(3, "APIC", frame3Compressed, be32(100), deflate(join(apic(3, front), zeros(1<<20))))), mp3),
		without("id3", "zlib bomb without length", ErrCorrupt, id3(4, 0, frame(4, "APIC", frame4Compressed, deflate(join(apic(3, front), zeros(33<<20))))), mp3),
		without("id3", "zlib that declares 4 GiB", ErrCorrupt, id3(3, 0, frame(3, "APIC", frame3Compressed, be32(-1), deflate(apic(3, front)))), mp3),
	}
}

// apeSongs returns songs with APEv2 tags.
func apeSongs() []song {
	return []song{
		without("ape", "monkey", ErrNoPicture, []byte("MAC \x96\x0f"), zeros(500)),
		with("ape", "monkey", front, []byte("MAC \x96\x0f"), zeros(500), ape(true, apeItem("Title", []byte("t")), apeCover("Cover Art (Front)", "cover.jpg", front))),
		with("ape", "wavpack", front, []byte("wvpk"), zeros(500), ape(true, apeCover("Cover Art (Back)", "cover.jpg", back), apeCover("Cover Art (Front)", "cover.jpg", front))),
		with("ape", "musepack 7", back, []byte("MP+\x07"), zeros(500), ape(false, apeCover("Cover Art (Back)", "cover.jpg", back)), id3v1),
		with("ape", "musepack 8", front, []byte("MPCK"), zeros(500), ape(true, apeCover("cover art (front)", "cover.jpg", front))),
		with("ape", "tak", front, []byte("tBaK"), zeros(500), ape(true, apeCover("Cover Art (Front)", "cover.jpg", front))),
		with("ape", "optimfrog", front, []byte("OFR "), zeros(500), ape(true, apeCover("Cover Art (Front)", "cover.jpg", front))),
		with("ape", "no file name", front, []byte("wvpk"), zeros(500), ape(true, apeItem("Cover Art (Front)", front))),
		with("ape", "icon last", back, []byte("wvpk"), zeros(500), ape(true, apeCover("Cover Art (Icon)", "i", icon), apeCover("Cover Art (Other)", "o", back))),
		with("ape", "back and other", third, []byte("wvpk"), zeros(500), ape(true, apeCover("Cover Art (Back)", "b", back), apeCover("Cover Art (Other)", "o", third))),
		with("ape", "back and no type", third, []byte("wvpk"), zeros(500), ape(true, apeCover("Cover Art (Back)", "b", back), apeCover("Cover Art", "c", third))),
		with("ape", "no parentheses", front, []byte("wvpk"), zeros(500), ape(true, apeCover("Cover Art (Media)", "b", back), apeCover("COVER ART FRONT", "c", front))),
		with("ape", "unknown audio format", front, zeros(500), ape(true, apeCover("Cover Art (Front)", "cover.jpg", front))),
		without("ape", "text instead of a picture", ErrNoPicture, []byte("wvpk"), zeros(500), ape(true, apeCover("Cover Art (Front)", "cover.jpg", []byte("no picture at all, but this is quite long")))),
		without("ape", "forged count and sizes", ErrNoPicture, []byte("wvpk"), zeros(500), []byte("\xff\xff\xff\xff\x00\x00\x00\x00Title\x00"), []byte("APETAGEX\xd0\x07\x00\x00\x40\x00\x00\x00\xff\xff\xff\xff"), zeros(12)),
		without("ape", "tag larger than the file", ErrNoPicture, []byte("wvpk"), zeros(500), []byte("APETAGEX\xd0\x07\x00\x00\xff\xff\xff\x7f\xff\xff\xff\xff"), zeros(12)),
	}
}

// flacSongs returns songs in FLAC.
func flacSongs() []song {
	return []song{
		without("flac", "without a picture", ErrNoPicture, flac()),
		with("flac", "front", front, flac(flacBlock(6, flacPic(3, front)))),
		with("flac", "back and front", front, flac(flacBlock(4, comments("TITLE=t")), flacBlock(6, flacPic(4, back)), flacBlock(6, flacPic(3, front)))),
		with("flac", "icon and back", back, flac(flacBlock(6, flacPic(1, icon)), flacBlock(6, flacPic(4, back)))),
		with("flac", "in a comment", front, flac(flacBlock(4, comments("A=b", blockPicture(3, front))))),
		with("flac", "block too short", front, flac(join([]byte{6}, be32(10)[1:], flacPic(3, front)))),
		with("flac", "block too short for its bytes", front, flac(join([]byte{6}, be32(100)[1:], flacPic(3, front)))),
		with("flac", "picture too long for its block", front, flac(flacBlock(6, join(flacPic(3, nil)[:43], be32(5000), front)))),
		with("flac", "cut in its picture", front[:1000], flac(flacBlock(6, flacPic(3, front)))[:4+38+4+47+1000]),
		with("flac", "cut, and a whole one", back, flac(flacBlock(6, flacPic(4, back)), flacBlock(6, flacPic(3, front)))[:4+38+4+47+2000+4+47+1000]),
		without("flac", "picture of 4 GiB in 50 bytes", ErrCorrupt, []byte("fLaC\x86\x00\x00\x2a"), be32(3), be32(0), be32(0), zeros(16), []byte("\xff\xff\xff\xff"), zeros(10)),
		without("flac", "MIME type of 4 GiB", ErrCorrupt, flac(flacBlock(6, join(be32(3), []byte("\xff\xff\xff\xff"), zeros(100))))),
		without("flac", "empty picture", ErrNoPicture, flac(flacBlock(6, flacPic(3, nil)))),
		without("flac", "SVG", ErrNoPicture, flac(flacBlock(6, flacPic(3, svg)))),
		without("flac", "many blocks", ErrNoPicture, []byte("fLaC"), bytes.Repeat([]byte{1, 0, 0, 0}, 100000)),
		with("flac", "APE at the end", front, flac(), ape(true, apeCover("Cover Art (Front)", "", front))),
		with("flac", "junk before the audio", front, zeros(700), flac(flacBlock(6, flacPic(3, front)))),
	}
}

// oggSongs returns songs in Ogg.
func oggSongs() []song {
	return []song{
		without("ogg", "vorbis without a picture", ErrNoPicture, multiplex(vorbis(1, 255, "TITLE=t"))),
		with("ogg", "vorbis", front, multiplex(vorbis(1, 255, "TITLE=t", blockPicture(3, front), "ARTIST=a"))),
		with("ogg", "small pages", front, multiplex(vorbis(1, 2, "TITLE=t", blockPicture(3, front)))),
		with("ogg", "opus", front, multiplex(opus(1, 17, "TITLE=t", blockPicture(3, front)))),
		with("ogg", "speex", front, multiplex(oggStream(1, 17, "Speex   1.2", comments(blockPicture(3, front))))),
		with("ogg", "back and front", front, multiplex(opus(1, 17, blockPicture(4, back), blockPicture(3, front)))),
		with("ogg", "icon and back", back, multiplex(opus(1, 17, blockPicture(2, icon), blockPicture(4, back)))),
		with("ogg", "lower case", front, multiplex(opus(1, 17, strings.Replace(blockPicture(3, front), "METADATA", "metadata", 1)))),
		with("ogg", "without padding", front, multiplex(opus(1, 255, strings.TrimRight(blockPicture(3, front), "=")))),
		with("ogg", "URL-safe alphabet", front, multiplex(vorbis(1, 255, urlSafe(blockPicture(3, front))))),
		with("ogg", "URL-safe alphabet without padding", front, multiplex(opus(1, 9, strings.TrimRight(urlSafe(blockPicture(3, front)), "=")))),
		with("ogg", "tabs and spaces", front, multiplex(opus(1, 255, strings.ReplaceAll(wrap(blockPicture(3, front), 61), "\r\n", "\t \n")))),
		with("ogg", "white space before the text", front, multiplex(opus(1, 255, strings.Replace(blockPicture(3, front), "=", "= \r\n", 1)))),
		with("ogg", "bare picture in METADATA_BLOCK_PICTURE", front, multiplex(vorbis(1, 255, "METADATA_BLOCK_PICTURE="+base64.StdEncoding.EncodeToString(front)))),
		with("ogg", "bare PNG, URL-safe and broken into lines", back, multiplex(vorbis(1, 255, wrap("METADATA_BLOCK_PICTURE="+base64.RawURLEncoding.EncodeToString(back), 64)))),
		with("ogg", "data URI in METADATA_BLOCK_PICTURE", front, multiplex(vorbis(1, 255, "METADATA_BLOCK_PICTURE=data:image/jpeg;base64,"+base64.StdEncoding.EncodeToString(front)))),
		with("ogg", "picture block in COVERART", front, multiplex(vorbis(1, 255, "COVERART="+base64.StdEncoding.EncodeToString(flacPic(4, back)), "COVERART="+base64.StdEncoding.EncodeToString(flacPic(3, front))))),
		with("ogg", "data URI in COVERART", front, multiplex(vorbis(1, 255, "COVERART= DATA:image/jpeg;charset=x;base64,\n"+base64.URLEncoding.EncodeToString(front)))),
		without("ogg", "data URI without data", ErrCorrupt, multiplex(vorbis(1, 255, "COVERART=data:image/jpeg;base64"+strings.Repeat("A", 300)))),
		with("ogg", "bad COVERART, and a second one", back, multiplex(vorbis(1, 255, "COVERART=????"+strings.Repeat("A", 100), "COVERART="+base64.StdEncoding.EncodeToString(back)))),
		with("ogg", "line breaks", front, multiplex(opus(1, 255, wrap(blockPicture(3, front), 76)))),
		with("ogg", "COVERART", front, multiplex(vorbis(1, 40, "COVERARTMIME=image/jpeg", "COVERART="+base64.StdEncoding.EncodeToString(front)))),
		with("ogg", "FLAC", front, multiplex(oggStream(1, 9, "\x7fFLAC\x01\x00\x00\x02fLaC", flacBlock(4, comments("A=b")), flacBlock(6, flacPic(4, back)), flacBlock(0x86, flacPic(3, front))))),
		with("ogg", "FLAC with a comment", front, multiplex(oggStream(1, 9, "\x7fFLAC\x01\x00\x00\x02fLaC", flacBlock(0x84, comments(blockPicture(3, front)))))),
		with("ogg", "multiplexed", front, multiplex(vorbis(1, 3, "A=b"), vorbis(2, 3, blockPicture(3, front)), opus(3, 4, "C=d"))),
		with("ogg", "multiplexed with a video", front, multiplex(oggStream(7, 5, "\x80theora", join([]byte("\x81theora"), comments("A=b"))), vorbis(2, 3, blockPicture(3, front)))),
		without("ogg", "video", ErrUnsupported, multiplex(oggStream(7, 5, "\x80theora", join([]byte("\x81theora"), comments("A=b"))), vorbis(2, 3, "A=b"))),
		with("ogg", "chained, in the second link", front, multiplex(vorbis(1, 9, "A=b")), multiplex(vorbis(2, 9, blockPicture(3, front)))),
		with("ogg", "chained, in the third link", front, multiplex(vorbis(1, 9, "A=b")), multiplex(opus(2, 9, "A=b")), multiplex(vorbis(3, 9, blockPicture(3, front)))),
		with("ogg", "chained after a long link", front, multiplex(vorbis(1, 9, "A=b")), bytes.Repeat(oggPages(1, 0, 255, zeros(4000))[0], 200), multiplex(vorbis(2, 9, blockPicture(3, front)))),
		with("ogg", "chained after large pages", front, multiplex(vorbis(1, 9, "A=b")), bytes.Repeat(oggPages(1, 0, 255, zeros(65000))[0], 40), multiplex(vorbis(2, 9, blockPicture(3, front)))),
		with("ogg", "junk between pages", front, bytes.Join(vorbis(1, 255, blockPicture(3, front)), zeros(200))),
		without("ogg", "bad base64", ErrCorrupt, multiplex(vorbis(1, 255, blockPicture(3, front)[:3000]+"????"))),
		with("ogg", "bad base64, and a second picture", back, multiplex(vorbis(1, 255, blockPicture(3, front)[:3000]+"????", blockPicture(4, back)))),
		without("ogg", "vendor of 1 GB", ErrNoPicture, multiplex(oggStream(1, 9, "OpusHead", join([]byte("OpusTags"), le32(1<<30), zeros(500))))),
		without("ogg", "comment of 4 GB", ErrNoPicture, multiplex(oggStream(1, 9, "OpusHead", join([]byte("OpusTags"), le32(0), le32(-1), le32(-1), zeros(500))))),
		without("ogg", "text instead of a picture", ErrNoPicture, multiplex(vorbis(1, 255, blockPicture(3, html)))),
		without("ogg", "empty picture", ErrNoPicture, multiplex(vorbis(1, 255, blockPicture(3, nil)))),
		without("ogg", "text in COVERART", ErrNoPicture, multiplex(vorbis(1, 255, "COVERART="+base64.StdEncoding.EncodeToString([]byte("no pictur"))))),
		without("ogg", "empty comments", ErrNoPicture, multiplex(vorbis(1, 255, "METADATA_BLOCK_PICTURE=", "COVERART="))),
		without("ogg", "unknown codec", ErrUnsupported, multiplex(oggStream(1, 9, "unknown", comments("A=b")))),
	}
}

// mp4Songs returns songs in MP4.
func mp4Songs() []song {
	return []song{
		without("mp4", "without a picture", ErrNoPicture, m4a()),
		with("mp4", "covr", front, m4a(atom("covr", data(front)))),
		with("mp4", "several data", front, m4a(atom("covr", data(front), data(back)))),
		with("mp4", "several items", front, m4a(atom("covr", data(front)), atom("covr", data(back)))),
		with("mp4", "freeform item", front, m4a(freeform("cover", front))),
		with("mp4", "freeform item before covr", front, m4a(freeform("back", back), atom("covr", data(front)))),
		without("mp4", "freeform text", ErrNoPicture, m4a(freeform("iTunNORM", []byte(" 00000000 00000000 00000000 00000000")))),
		with("mp4", "covr in udta", front, ftyp, atom("moov", trak(1, "soun"), atom("udta", atom("covr", data(front))))),
		with("mp4", "ID3 in meta", front, ftyp, atom("moov", trak(1, "soun"), atom("meta", be32(0), atom("hdlr", zeros(25)), atom("ID32", zeros(6), id3(4, 0, framed(4, 3, front)))))),
		with("mp4", "pictures of chapters and covr", front, ftyp, atom("mdat", back), atom("moov", trak(1, "soun", atom("tref", atom("chap", be32(2)))), pictureTrack(2, len(ftyp)+8, len(back), 7), tags(atom("covr", data(front))))),
		with("mp4", "pictures of chapters and a freeform item", front, ftyp, atom("mdat", back), atom("moov", trak(1, "soun", atom("tref", atom("chap", be32(2)))), pictureTrack(2, len(ftyp)+8, len(back), 7), tags(freeform("x", front)))),
		with("mp4", "first is empty", back, m4a(atom("covr", data(nil), data(back)))),
		with("mp4", "first is text", back, m4a(atom("covr", data(html), data(back)))),
		with("mp4", "name and free in covr", front, m4a(atom("covr", atom("name", zeros(8)), atom("free", zeros(100)), data(front)))),
		with("mp4", "no data in covr", front, m4a(atom("covr", front))),
		with("mp4", "meta without version", front, ftyp, atom("moov", trak(1, "soun"), atom("udta", atom("meta", atom("hdlr", zeros(25)), atom("ilst", atom("covr", data(front))))))),
		with("mp4", "meta in moov", front, ftyp, atom("moov", trak(1, "soun"), atom("meta", be32(0), atom("ilst", atom("covr", data(front)))))),
		with("mp4", "in a track", front, ftyp, atom("moov", trak(1, "soun", tags(atom("covr", data(front)))))),
		with("mp4", "QuickTime keys", front, ftyp, atom("moov", trak(1, "soun"), atom("meta", atom("keys", be32(0), be32(2), atom("mdta", []byte("com.apple.quicktime.make")), atom("mdta", []byte("com.apple.quicktime.artwork"))), atom("ilst", atom("\x00\x00\x00\x02", data(front)))))),
		with("mp4", "moov at the end", front, ftyp, atom("free", zeros(9)), atom("mdat", zeros(9000)), m4a(atom("covr", data(front)))[len(ftyp):]),
		with("mp4", "64-bit sizes", front, ftyp, atom64("mdat", zeros(9000)), atom64("moov", trak(1, "soun"), atom64("udta", atom64("meta", be32(0), atom64("ilst", atom64("covr", atom64("data", zeros(8), front))))))),
		with("mp4", "last box without size", front, ftyp, be32(0), []byte("moov"), trak(1, "soun"), tags(atom("covr", data(front)))),
		with("mp4", "video with a picture", front, ftyp, atom("moov", trak(1, "soun"), trak(2, "vide"), tags(atom("covr", data(front))))),
		without("mp4", "video", ErrUnsupported, ftyp, atom("moov", trak(1, "soun"), trak(2, "vide"), tags())),
		with("mp4", "pictures of chapters", back, ftyp, atom("mdat", back), atom("moov", trak(1, "soun", atom("tref", atom("chap", be32(2)))), pictureTrack(2, len(ftyp)+8, len(back), 7))),
		without("mp4", "chapters that are no pictures", ErrNoPicture, ftyp, atom("moov", trak(1, "soun", atom("tref", atom("chap", be32(2)))), trak(2, "vide"))),
		without("mp4", "empty covr", ErrNoPicture, m4a(atom("covr"))),
		without("mp4", "SVG", ErrNoPicture, m4a(atom("covr", data(svg)))),
		with("mp4", "data longer than covr", front, m4a(atom("covr", be32(1<<20), []byte("data"), zeros(8), front))),
		with("mp4", "cut in its picture", front[:1000], ftyp, atom("moov", trak(1, "soun"), tags(atom("covr", data(front))))[:len(atom("moov", trak(1, "soun"), tags(atom("covr", data(front)))))-2000]),
		without("mp4", "data of 4 GiB", ErrCorrupt, ftyp, atom("moov", trak(1, "soun"), atom("udta", atom("meta", be32(0), atom("ilst", join(be32(-1), []byte("covr"), be32(-1), []byte("data"), zeros(8), front)))))),
		without("mp4", "no moov", ErrCorrupt, ftyp, be32(1<<20), []byte("mdat"), zeros(500)),
		without("mp4", "AVIF", ErrUnsupported, atom("ftyp", []byte("avif\x00\x00\x00\x00avifmif1")), atom("meta", zeros(300)), atom("mdat", zeros(300))),
		without("mp4", "size 7", ErrUnsupported, ftyp, be32(7), []byte("moov"), zeros(500)),
		without("mp4", "sizes 0 and 1 in moov", ErrUnsupported, ftyp, atom("moov", be32(1), []byte("udta"), be64(3), be32(0), []byte("meta"))),
		without("mp4", "64-bit box beyond its parent", ErrUnsupported, ftyp, atom("moov", atom("trak", atom("mdia", atom("hdlr", zeros(8), []byte("vide")), atom("minf", atom("stbl", be32(1), []byte("stsz")))))), atom("mdat", zeros(99))),
		without("mp4", "nested moov", ErrUnsupported, ftyp, nested(20000)),
	}
}

// riffSongs returns songs in RIFF and the other containers of chunks.
func riffSongs() []song {
	return []song{
		without("riff", "wave without a picture", ErrNoPicture, wave(chunkLE("data", zeros(3000)))),
		with("riff", "wave", front, wave(chunkLE("data", zeros(3000)), chunkLE("id3 ", id3(3, 0, framed(3, 3, front))))),
		with("riff", "tag before data", front, wave(chunkLE("ID3 ", id3(3, 0, framed(3, 3, front))), chunkLE("data", zeros(3000)))),
		with("riff", "odd chunk with padding", front, wave(chunkLE("LIST", zeros(7)), zeros(1), chunkLE("data", zeros(3000)), chunkLE("id3 ", id3(3, 0, framed(3, 3, front))))),
		with("riff", "odd chunk without padding", front, wave(chunkLE("LIST", zeros(7)), chunkLE("data", zeros(3000)), chunkLE("id3 ", id3(3, 0, framed(3, 3, front))))),
		with("riff", "forged size in the header", front, []byte("RIFF\x01\x00\x00\x00"), wave(chunkLE("data", zeros(3000)), chunkLE("id3 ", id3(3, 0, framed(3, 3, front))))[8:]),
		with("riff", "RF64", front, []byte("RF64\xff\xff\xff\xffWAVE"), chunkLE("ds64", join(le64(4000), le64(3000), zeros(12))), []byte("data\xff\xff\xff\xff"), zeros(3000), chunkLE("id3 ", id3(3, 0, framed(3, 3, front)))),
		without("riff", "forged size of data", ErrNoPicture, wave([]byte("data\xff\xff\xff\xff"), zeros(3000), chunkLE("id3 ", id3(3, 0, framed(3, 3, front))))),
		without("riff", "forged size of a tag", ErrNoPicture, wave(chunkLE("data", nil), []byte("id3 \xff\xff\xff\xffID3\x03\x00\x00\x7f\x7f\x7f\x7f"))),
		without("riff", "AVI", ErrUnsupported, []byte("RIFF\xff\x00\x00\x00AVI LIST"), zeros(500)),
		without("riff", "WebP", ErrUnsupported, []byte("RIFF\xff\x00\x00\x00WEBPVP8 "), zeros(500)),
		with("riff", "AIFF", front, aiff("AIFF", chunkBE("SSND", zeros(3001)), zeros(1), chunkBE("ID3 ", id3(3, 0, framed(3, 3, front))))),
		with("riff", "AIFF-C", front, aiff("AIFC", chunkBE("ID3 ", id3(4, 0, framed(4, 3, front))), chunkBE("SSND", zeros(3001)))),
		without("riff", "AIFF without a picture", ErrNoPicture, aiff("AIFF", chunkBE("SSND", zeros(3001)))),
		with("riff", "DSF", front, dsf(id3(3, 0, framed(3, 3, front)))),
		without("riff", "DSF without a tag", ErrNoPicture, dsf(nil)),
		without("riff", "DSF with a forged position", ErrNoPicture, []byte("DSD "), le64(28), le64(-1), le64(-1), zeros(500)),
		with("riff", "DSDIFF", front, []byte("FRM8"), be64(9000), []byte("DSD "), chunk64("FVER", zeros(4)), chunk64("DSD ", zeros(3001)), zeros(1), chunk64("ID3 ", id3(3, 0, framed(3, 3, front)))),
		with("riff", "DSDIFF, among the properties", front, []byte("FRM8"), be64(9000), []byte("DSD "), chunk64("PROP", join([]byte("SND "), chunk64("FS  ", zeros(4)), chunk64("ID3 ", id3(3, 0, framed(3, 3, front)))))),
		without("riff", "DSDIFF without a tag", ErrNoPicture, []byte("FRM8"), be64(-1), []byte("DSD "), chunk64("FVER", zeros(4)), []byte("DSD "), be64(-1), zeros(100)),
	}
}

// asfSongs returns songs in ASF.
func asfSongs() []song {
	return []song{
		without("asf", "without a picture", ErrNoPicture, asfFile(asfStreamObject(asfAudio), asfContentObject())),
		with("asf", "content description", front, asfFile(asfStreamObject(asfAudio), asfContentObject(asfPic(3, front)))),
		with("asf", "metadata library", front, asfFile(asfLibraryObject(asfLibrary, asfPic(4, back), asfPic(3, front)), asfStreamObject(asfAudio))),
		with("asf", "metadata", front, asfFile(asfLibraryObject(asfMetadata, asfPic(3, front)))),
		with("asf", "back in one, front in the other", front, asfFile(asfContentObject(asfPic(4, back)), asfLibraryObject(asfLibrary, asfPic(3, front)))),
		with("asf", "video with a picture", front, asfFile(asfStreamObject(asfVideo), asfContentObject(asfPic(3, front)))),
		without("asf", "video", ErrUnsupported, asfFile(asfStreamObject(asfAudio), asfStreamObject(asfVideo), asfContentObject())),
		without("asf", "text instead of a picture", ErrNoPicture, asfFile(asfContentObject(asfPic(3, html)))),
		without("asf", "unterminated strings", ErrCorrupt, asfFile(asfContentObject(join([]byte{3}, le32(3000), utf16le(strings.Repeat("x", 2000)))))),
		without("asf", "forged sizes", ErrNoPicture, asfFile(join([]byte(asfContent), le64(-1), le16(-1), le16(-1), zeros(60)))),
		without("asf", "objects of size 0", ErrNoPicture, asfFile(join([]byte(asfContent), le64(0), zeros(60)))),
	}
}

// matroskaSongs returns songs in Matroska.
func matroskaSongs() []song {
	return []song{
		without("matroska", "without a picture", ErrNoPicture, mkvHead, ebml(mkvSegment, ebml(mkvTracks, mkvAudioTrack), mkvMusic)),
		with("matroska", "cover.jpg", front, mkvHead, ebml(mkvSegment, ebml(mkvTracks, mkvAudioTrack), ebml(mkvAttached, mkvAttachment("font.ttf", zeros(300)), mkvAttachment("cover_land.jpg", back), mkvAttachment("Cover.JPG", front)), mkvMusic)),
		with("matroska", "small_cover before another name", icon, mkvHead, ebml(mkvSegment, ebml(mkvTracks, mkvAudioTrack), ebml(mkvAttached, mkvAttachment("small_cover.jpg", icon), mkvAttachment("scan.png", back)), mkvMusic)),
		with("matroska", "poster after fanart", front, mkvIndexed(mkvVideoTrack, ebml(mkvAttached, mkvAttachment("fanart.jpg", back), mkvAttachment("Movie-Poster.jpg", front)))),
		with("matroska", "cover after poster", front, mkvIndexed(mkvVideoTrack, ebml(mkvAttached, mkvAttachment("poster.jpg", back), mkvAttachment("cover.png", front)))),
		with("matroska", "folder after another name", front, mkvIndexed(mkvAudioTrack, ebml(mkvAttached, mkvAttachment("image.jpg", back), mkvAttachment("Folder.jpg", front)))),
		with("matroska", "Front.png after the back cover", front, mkvIndexed(mkvAudioTrack, ebml(mkvAttached, mkvAttachment("back_cover.jpg", back), mkvAttachment("Front.png", front)))),
		with("matroska", "another name after a discovery", back, mkvIndexed(mkvAudioTrack, ebml(mkvAttached, mkvAttachment("discovery.jpg", back), mkvAttachment("x.jpg", front)))),
		without("matroska", "video with fanart, backdrop and screenshots", ErrUnsupported, mkvIndexed(mkvVideoTrack, ebml(mkvAttached, mkvAttachment("fanart.jpg", back), mkvAttachment("Backdrop1.jpg", front), mkvAttachment("movie.screenshot02.png", third)))),
		without("matroska", "video with fanart before the tracks", ErrUnsupported, mkvHead, ebml(mkvSegment, ebml(mkvAttached, mkvAttachment("fanart.jpg", back)), ebml(mkvTracks, mkvVideoTrack), mkvMusic)),
		with("matroska", "audio with fanart", back, mkvIndexed(mkvAudioTrack, ebml(mkvAttached, mkvAttachment("fanart.jpg", back)))),
		with("matroska", "audio with fanart and another name", front, mkvIndexed(mkvAudioTrack, ebml(mkvAttached, mkvAttachment("fanart.jpg", back), mkvAttachment("a.jpg", front)))),
		with("matroska", "font named as a cover", back, mkvIndexed(mkvVideoTrack, ebml(mkvAttached, mkvAttachment("cover.ttf", join([]byte("\x00\x01\x00\x00\x00\x10"), zeros(300))), mkvAttachment("poster.jpg", back)))),
		with("matroska", "after the audio, with an index", front, mkvIndexed(mkvAudioTrack, ebml(mkvAttached, mkvAttachment("cover.jpg", front)))),
		with("matroska", "after the audio, without an index", front, mkvHead, ebml(mkvSegment, ebml(mkvTracks, mkvAudioTrack), mkvMusic, mkvMusic, ebml(mkvAttached, mkvAttachment("cover.jpg", front)))),
		with("matroska", "unknown sizes", front, mkvHead, ebmlOpen(mkvSegment), ebml(mkvTracks, mkvAudioTrack), ebmlOpen(mkvCluster), ebml(0xE7, []byte{0}), ebml(0xA3, zeros(700)), ebmlOpen(mkvCluster), ebml(0xA3, zeros(700)), ebml(mkvAttached, mkvAttachment("cover.jpg", front))),
		with("matroska", "video with a picture", front, mkvIndexed(join(mkvVideoTrack, mkvAudioTrack), ebml(mkvAttached, mkvAttachment("cover.jpg", front)))),
		without("matroska", "video", ErrUnsupported, mkvIndexed(join(mkvAudioTrack, mkvVideoTrack), nil)),
		without("matroska", "video with a font", ErrUnsupported, mkvIndexed(mkvVideoTrack, ebml(mkvAttached, mkvAttachment("font.ttf", zeros(300))))),
		without("matroska", "no segment", ErrCorrupt, mkvHead, zeros(100)),
		without("matroska", "picture of 2^56 bytes", ErrCorrupt, mkvHead, ebml(mkvSegment, ebml(mkvTracks, mkvAudioTrack), ebml(mkvAttached, ebml(mkvFile, ebml(mkvFileName, []byte("cover.jpg")), join([]byte{0x46, 0x5C, 1}, bytes.Repeat([]byte{0xFE}, 7), front))))),
	}
}

// otherFiles returns files that are not audio.
func otherFiles() []song {
	return []song{
		without("id3", "empty file", ErrUnsupported),
		without("id3", "one byte", ErrUnsupported, []byte("I")),
		without("id3", "text", ErrUnsupported, bytes.Repeat([]byte("All work and no play makes Jack a dull boy.\n"), 100)),
		without("id3", "text in UTF-16", ErrUnsupported, []byte{0xFF, 0xFE}, utf16le(strings.Repeat("hello world ", 500))),
		without("id3", "zip with audio in it", ErrUnsupported, []byte("PK\x03\x04"), zeros(26), id3(3, 0, framed(3, 3, front)), mp3),
		without("id3", "JPEG", ErrUnsupported, front),
		without("id3", "PNG", ErrUnsupported, back),
		without("id3", "transport stream", ErrUnsupported, bytes.Repeat(join([]byte{0x47, 1, 2, 3}, adts[:184]), 50)),
		without("id3", "transport stream with timestamps", ErrUnsupported, bytes.Repeat(join(zeros(4), []byte{0x47, 1, 2, 3}, adts[:184]), 50)),
		without("id3", "zeros", ErrUnsupported, zeros(70000)),
		without("id3", "ID3 of an unknown version", ErrUnsupported, []byte("ID3\x05\x00\x00\x00\x00\x00\x7f"), zeros(500)),
	}
}

// wrap breaks the value of a METADATA_BLOCK_PICTURE comment into lines.
func wrap(s string, width int) string {
	lines := slices.Collect(slices.Chunk([]byte(s[30:]), width))
	return s[:30] + string(bytes.Join(lines, []byte("\r\n")))
}

// urlSafe returns a comment in the URL-safe alphabet of base64.
func urlSafe(s string) string {
	key, text, _ := strings.Cut(s, "=")
	return key + "=" + strings.NewReplacer("+", "-", "/", "_").Replace(text)
}

// plainFrame returns an APIC frame whose size is plain, which is right in version 2.3 only.
func plainFrame(typ byte, pic []byte) []byte {
	return join([]byte("APIC"), be32(len(apic(typ, pic))), zeros(2), apic(typ, pic))
}

// safeFrame returns an APIC frame whose size is syncsafe, which is right in version 2.4 only.
func safeFrame(typ byte, pic []byte) []byte {
	return join([]byte("APIC"), syncsafe4(len(apic(typ, pic))), zeros(2), apic(typ, pic))
}

// chapter returns a CHAP frame with embedded frames.
func chapter(version byte, frames ...[]byte) []byte {
	return frame(version, "CHAP", 0, []byte("ch1\x00"), zeros(16), join(frames...))
}

// freeform returns an item with a name chosen by its writer.
func freeform(name string, value []byte) []byte {
	return atom("----", atom("mean", be32(0), []byte("com.apple.iTunes")), atom("name", be32(0), []byte(name)), data(value))
}

// pictureTrack returns a track whose samples are pictures, the first of size bytes at pos.
func pictureTrack(id, pos, size, count int) []byte {
	return atom("trak", atom("tkhd", be32(7), zeros(8), be32(id), zeros(68)),
		atom("mdia", atom("hdlr", zeros(8), []byte("vide"), zeros(13)),
			atom("minf", atom("stbl", atom("stsz", be32(0), be32(0), be32(count), be32(size)), atom("stco", be32(0), be32(1), be32(pos))))))
}

// nested returns nested moov boxes.
func nested(depth int) []byte {
	b := make([]byte, 0, depth*8)
	for i := range depth {
		b = appendAll(b, be32((depth-i)*8), []byte("moov"))
	}
	return b
}

// appendAll appends in place. In a loop join would copy everything each time.
func appendAll(b []byte, parts ...[]byte) []byte {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

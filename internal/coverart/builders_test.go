package coverart

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf16"
)

// This file builds small songs in every container, from the bytes that Find reads.

// jpeg returns n bytes: the first bytes of a JPEG, then noise from seed.
func jpeg(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	copy(b, "\xff\xd8\xff\xe0\x00\x10JFIF\x00")
	return b
}

func png(seed uint64, n int) []byte {
	b := jpeg(seed, n)
	copy(b, "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	return b
}

func be32(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
func be64(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
func le16(n int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(n)) }
func le32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
func le64(n int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func zeros(n int) []byte { return make([]byte, n) }

// utf16le returns s in UTF-16, without terminator.
func utf16le(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// mp3 is a second and a half of MPEG layer III at 128 kbit/s.
var mp3 = bytes.Repeat(join([]byte{0xFF, 0xFB, 0x90, 0x00}, zeros(413)), 60)

// adts is AAC in frames of 200 bytes.
var adts = bytes.Repeat(join([]byte{0xFF, 0xF1, 0x50, 0x80, 200 >> 3, 200&7<<5 | 0x1F, 0xFC}, zeros(193)), 60)

var riffWave = join([]byte("RIFF\x00\x00\x00\x00WAVEfmt "), le32(16), zeros(16))

// syncsafe4 returns 28 bits in four bytes of seven bits each.
func syncsafe4(n int) []byte {
	return []byte{byte(n >> 21 & 0x7f), byte(n >> 14 & 0x7f), byte(n >> 7 & 0x7f), byte(n & 0x7f)}
}

// id3 returns a tag.
func id3(version, flags byte, frames ...[]byte) []byte {
	body := join(frames...)
	tag := join([]byte{'I', 'D', '3', version, 0, flags}, syncsafe4(len(body)), body)
	if flags&id3Footer != 0 {
		footer := slices.Clone(tag[:10])
		copy(footer, "3DI")
		tag = append(tag, footer...)
	}
	return tag
}

// frame returns a frame of ID3v2. In version 2 the id has three letters.
func frame(version byte, id string, flags byte, data ...[]byte) []byte {
	body := join(data...)
	switch version {
	case 2:
		return join([]byte(id), be32(len(body))[1:], body)
	case 3:
		return join([]byte(id), be32(len(body)), []byte{0, flags}, body)
	}
	return join([]byte(id), syncsafe4(len(body)), []byte{0, flags}, body)
}

func apic(typ byte, pic []byte) []byte {
	return join([]byte("\x00image/jpeg\x00"), []byte{typ}, []byte("cover\x00"), pic)
}

func unsync(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte{0xFF, 0}, []byte{0xFF, 0, 0})
	var out []byte
	for i, c := range b {
		out = append(out, c)
		if c == 0xFF && i+1 < len(b) && b[i+1] >= 0xE0 {
			out = append(out, 0)
		}
	}
	return out
}

func deflate(b []byte) []byte {
	var out bytes.Buffer
	w, _ := zlib.NewWriterLevel(&out, zlib.BestSpeed)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func apeItem(key string, value []byte) []byte {
	return join(le32(len(value)), le32(2), []byte(key), []byte{0}, value)
}

func apeCover(key, name string, pic []byte) []byte {
	return apeItem(key, join([]byte(name), []byte{0}, pic))
}

func ape(header bool, items ...[]byte) []byte {
	body := join(items...)
	end := func(flags byte) []byte { // the highest bits: the tag has a header; this is the header
		return join([]byte("APETAGEX"), le32(2000), le32(len(body)+32), le32(len(items)), []byte{0, 0, 0, flags}, zeros(8))
	}
	if header {
		return join(end(0xA0), body, end(0x80))
	}
	return join(body, end(0))
}

var id3v1 = join([]byte("TAG"), zeros(125))

func flacBlock(kind byte, data []byte) []byte {
	return join([]byte{kind}, be32(len(data))[1:], data)
}

// flacPic returns the contents of a PICTURE block.
func flacPic(typ int, pic []byte) []byte {
	return join(be32(typ), be32(10), []byte("image/jpeg"), be32(5), []byte("cover"), zeros(16), be32(len(pic)), pic)
}

// flac returns a file of these metadata blocks and some audio.
func flac(blocks ...[]byte) []byte {
	return join([]byte("fLaC"), flacBlock(0, zeros(34)), join(blocks...), flacBlock(0x81, zeros(100)),
		[]byte{0xFF, 0xF8, 0xC9, 0x18}, zeros(2000))
}

// comments returns a Vorbis comment header.
func comments(list ...string) []byte {
	b := join(le32(6), []byte("vendor"), le32(len(list)))
	for _, c := range list {
		b = join(b, le32(len(c)), []byte(c))
	}
	return b
}

func blockPicture(typ int, pic []byte) string {
	return "METADATA_BLOCK_PICTURE=" + base64.StdEncoding.EncodeToString(flacPic(typ, pic))
}

// oggPages returns the pages of a stream that hold the packets, with at most perPage lacing values on each.
func oggPages(serial int, flags byte, perPage int, packets ...[]byte) (pages [][]byte) {
	var lacing, data []byte
	flush := func() {
		page := join([]byte("OggS\x00"), []byte{flags}, zeros(8), le32(serial), le32(len(pages)), zeros(4), []byte{byte(len(lacing))}, lacing, data)
		pages = append(pages, page)
		lacing, data, flags = nil, nil, 0
	}
	for _, p := range packets {
		for rest := p; ; {
			n := min(255, len(rest))
			lacing, data, rest = append(lacing, byte(n)), append(data, rest[:n]...), rest[n:]
			if len(lacing) == perPage {
				flush()
			}
			if n < 255 {
				break
			}
		}
	}
	if len(lacing) > 0 {
		flush()
	}
	return pages
}

// oggStream returns a stream: first packet, comments, music.
func oggStream(serial, perPage int, first string, packets ...[]byte) [][]byte {
	pages := oggPages(serial, 2, 255, join([]byte(first), zeros(22)))
	pages = append(pages, oggPages(serial, 0, perPage, packets...)...)
	return append(pages, oggPages(serial, 0, 20, zeros(4000), zeros(4000), zeros(300))...)
}

func vorbis(serial, perPage int, list ...string) [][]byte {
	return oggStream(serial, perPage, "\x01vorbis", join([]byte("\x03vorbis"), comments(list...), []byte{1}), []byte("\x05vorbis setup"))
}

func opus(serial, perPage int, list ...string) [][]byte {
	return oggStream(serial, perPage, "OpusHead", join([]byte("OpusTags"), comments(list...)))
}

// multiplex interleaves the pages of several streams.
func multiplex(streams ...[][]byte) (b []byte) {
	for i := 0; ; i++ {
		found := false
		for _, s := range streams {
			if i < len(s) {
				b, found = append(b, s[i]...), true
			}
		}
		if !found {
			return b
		}
	}
}

func atom(name string, parts ...[]byte) []byte {
	body := join(parts...)
	return join(be32(len(body)+8), []byte(name), body)
}

func atom64(name string, parts ...[]byte) []byte {
	body := join(parts...)
	return join(be32(1), []byte(name), be64(len(body)+16), body)
}

func data(pic []byte) []byte { return atom("data", be32(13), be32(0), pic) }

var ftyp = atom("ftyp", []byte("M4A \x00\x00\x00\x00M4A mp42isom"))

func trak(id int, handler string, more ...[]byte) []byte {
	return atom("trak", atom("tkhd", be32(7), zeros(8), be32(id), zeros(68)), join(more...),
		atom("mdia", atom("mdhd", zeros(24)), atom("hdlr", zeros(8), []byte(handler), zeros(13)),
			atom("minf", atom("stbl", atom("stsz", be32(0), be32(0), be32(500), be32(10)), atom("stco", be32(0), be32(1), be32(40))))))
}

// tags returns the boxes that iTunes writes around a list of items.
func tags(items ...[]byte) []byte {
	return atom("udta", atom("meta", be32(0), atom("hdlr", zeros(8), []byte("mdirappl"), zeros(9)),
		atom("ilst", atom("\xa9nam", data([]byte("title"))), join(items...))))
}

func m4a(items ...[]byte) []byte {
	return join(ftyp, atom("moov", atom("mvhd", zeros(100)), trak(1, "soun"), tags(items...)), atom("mdat", zeros(3000)))
}

func chunkLE(name string, data []byte) []byte { return join([]byte(name), le32(len(data)), data) }
func chunkBE(name string, data []byte) []byte { return join([]byte(name), be32(len(data)), data) }
func chunk64(name string, data []byte) []byte { return join([]byte(name), be64(len(data)), data) }

func wave(chunks ...[]byte) []byte {
	body := join(riffWave[8:], join(chunks...))
	return join([]byte("RIFF"), le32(len(body)), body)
}

func aiff(kind string, chunks ...[]byte) []byte {
	body := join([]byte(kind), chunkBE("COMM", zeros(18)), join(chunks...))
	return chunkBE("FORM", body)
}

func dsf(tag []byte) []byte {
	music := zeros(3000)
	at := 28 + len(music)
	if tag == nil {
		at = 0
	}
	return join([]byte("DSD "), le64(28), le64(28+len(music)+len(tag)), le64(at), music, tag)
}

func asfObject(id string, parts ...[]byte) []byte {
	body := join(parts...)
	return join([]byte(id), le64(len(body)+24), body)
}

func asfFile(objects ...[]byte) []byte {
	body := join(objects...)
	return join([]byte(asfHeader), le64(len(body)+30), le32(len(objects)), []byte{1, 2}, body, zeros(2000))
}

func asfPic(typ byte, pic []byte) []byte {
	return join([]byte{typ}, le32(len(pic)), utf16le("image/jpeg\x00cover\x00"), pic)
}

// asfContentObject returns an extended content description, asfLibraryObject a header extension with a metadata library.
func asfContentObject(pics ...[]byte) []byte {
	name := utf16le("WM/Picture\x00")
	title := utf16le("Title\x00")
	b := join(le16(len(pics)+1), le16(len(title)), title, le16(0), le16(4), utf16le("ab"))
	for _, p := range pics {
		b = join(b, le16(len(name)), name, le16(1), le16(len(p)), p)
	}
	return asfObject(asfContent, b)
}

func asfLibraryObject(id string, pics ...[]byte) []byte {
	name := utf16le("WM/Picture\x00")
	b := le16(len(pics))
	for _, p := range pics {
		b = join(b, le16(0), le16(0), le16(len(name)), le16(1), le32(len(p)), name, p)
	}
	inner := join(asfObject(strings.Repeat("x", 16), zeros(10)), asfObject(id, b))
	return asfObject(asfExtension, zeros(18), le32(len(inner)), inner)
}

func asfStreamObject(kind string) []byte {
	return asfObject(asfStream, []byte(kind), zeros(54))
}

const asfAudio = "\x40\x9e\x69\xf8\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b"

// ebml returns an element with a size of eight bytes.
func ebml(id uint32, parts ...[]byte) []byte {
	body := join(parts...)
	size := be64(len(body))
	size[0] = 1
	return join(bytes.TrimLeft(be32(int(id)), "\x00"), size, body)
}

// ebmlOpen returns the beginning of an element of unknown size.
func ebmlOpen(id uint32) []byte { return join(be32(int(id)), []byte{0xFF}) }

func mkvAttachment(name string, data []byte) []byte {
	return ebml(mkvFile, ebml(0x467E, []byte("description")), ebml(mkvFileName, []byte(name)),
		ebml(0x4660, []byte("image/jpeg")), ebml(mkvFileData, data), ebml(0x46AE, []byte{1}))
}

var (
	mkvHead       = ebml(ebmlHeader, ebml(0x4282, []byte("matroska")))
	mkvAudioTrack = ebml(mkvTrack, ebml(0xD7, []byte{1}), ebml(mkvType, []byte{2}))
	mkvVideoTrack = ebml(mkvTrack, ebml(0xD7, []byte{2}), ebml(mkvType, []byte{1}))
	mkvMusic      = ebml(mkvCluster, ebml(0xE7, []byte{0}), ebml(0xA3, zeros(700)))
)

// mkvIndexed returns a segment whose attachments, found by its index, come last.
func mkvIndexed(tracks []byte, attachments []byte) []byte {
	index := func(at int) []byte {
		return ebml(mkvSeekHead, ebml(mkvSeek, ebml(mkvSeekID, be32(mkvAttached)), ebml(mkvSeekPos, be32(at))))
	}
	front := join(ebml(mkvTracks, tracks), mkvMusic, mkvMusic)
	return join(mkvHead, ebml(mkvSegment, index(len(index(0))+len(front)), front, attachments))
}

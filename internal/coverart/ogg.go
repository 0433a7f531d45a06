package coverart

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// Ogg, as described in RFC 3533, with streams of Vorbis, Opus (RFC 7845), Speex and FLAC (xiph.org/flac/ogg_mapping.html).

const (
	oggHeaderLen  = 27
	oggMaxHeader  = oggHeaderLen + 255
	oggBOS        = 0x02
	maxOggStreams = 32 // multiplexed in one link
	maxOggChains  = 16 // links of a chained file
)

// An oggCodec describes the streams of one codec.
type oggCodec struct {
	magic    string // first bytes of the first packet
	kind     mediaKind
	comments string // first bytes of the second packet, before the comments
	blocks   bool   // the packets after the first are FLAC metadata blocks
}

var oggCodecs = []oggCodec{
	{magic: "\x01vorbis", kind: audio, comments: "\x03vorbis"},
	{magic: "OpusHead", kind: audio, comments: "OpusTags"},
	{magic: "Speex   ", kind: audio},
	{magic: "CELT    ", kind: audio},
	{magic: "PCM     ", kind: audio},
	{magic: "\x7fFLAC", kind: audio, blocks: true},
	{magic: "fLaC", kind: audio, blocks: true}, // older than the mapping
	{magic: "\x80theora", kind: video, comments: "\x81theora"},
	{magic: "OVP80", kind: video, comments: "OVP80\x02 "},
	{magic: "BBCD\x00", kind: video},                                      // Dirac
	{magic: "\x01video\x00\x00\x00", kind: video, comments: "\x03vorbis"}, // OGM
}

// ogg searches the comments of every stream of every link in the chain.
func (f *finder) ogg(off int64) mediaKind {
	kind := unknown
	for range maxOggChains {
		var k mediaKind
		k, off = f.oggLink(off)
		kind = max(kind, k)
		if f.done() || off < 0 {
			break
		}
	}
	return kind
}

// oggLink searches the link of the chain that begins at off, and returns where the next one begins, or -1 if there is none.
func (f *finder) oggLink(off int64) (kind mediaKind, next int64) {
	type logical struct {
		serial uint32
		codec  oggCodec
	}
	var streams []logical
	var serials []uint32
	pos := off
	for range maxOggStreams {
		page, ok := f.oggPage(pos)
		if !ok || page.flags&oggBOS == 0 {
			break
		}
		serials = append(serials, page.serial)
		first := string(f.file.peek(page.data, int(min(64, page.end-page.data))))
		for _, c := range oggCodecs {
			if strings.HasPrefix(first, c.magic) {
				streams = append(streams, logical{page.serial, c})
				kind = max(kind, c.kind)
			}
		}
		pos = page.end
	}
	for _, s := range streams {
		if f.done() {
			break
		}
		p := &oggPacket{f: f, next: pos, serial: s.serial}
		if s.codec.blocks {
			f.oggFLAC(p)
			continue
		}
		if head := make([]byte, len(s.codec.comments)); p.read(head) == len(head) && string(head) == s.codec.comments {
			f.vorbisComment(p)
		}
	}
	if f.done() {
		return kind, -1
	}
	return kind, f.oggNextLink(pos, serials)
}

// oggFLAC offers the pictures in the metadata packets of a FLAC stream.
func (f *finder) oggFLAC(p *oggPacket) {
	for !f.done() && f.step() {
		var b [4]byte
		if p.read(b[:]) < 4 || b[0] == 0xFF {
			return
		}
		switch b[0] & 0x7f {
		case flacComment:
			f.vorbisComment(p)
		case flacPicture:
			at := p.clone()
			if h, ok := readFLACPicture(p); ok {
				f.offerPacket(at, h)
			} else {
				f.damaged = true
			}
		}
		if b[0]&0x80 != 0 || !p.nextPacket() {
			return
		}
	}
}

// offerPacket offers the picture of the PICTURE block that begins at x with header h.
func (f *finder) offerPacket(x cursor, h flacPictureHeader) {
	body := x.clone()
	var head [sniffLen]byte
	body.skip(h.headLen)
	n := int64(body.read(head[:min(h.size, sniffLen)]))
	switch {
	case h.size > maxPicture || n < min(h.size, minPicture):
		f.damaged = true
	case h.size >= minPicture && isPicture(head[:n]):
		f.addCandidate(typeRank(h.typ), func() []byte {
			body := x.clone()
			if !body.skip(h.headLen) {
				return nil
			}
			pic := f.alloc(min(h.size, f.file.size))
			return pic[:body.read(pic)]
		})
	}
}

// An oggPage is one page (RFC 3533, section 6).
type oggPage struct {
	start  int64
	flags  byte
	serial uint32
	lacing []byte // valid until the source is used again
	data   int64  // where the payload begins
	end    int64  // where the payload ends
}

// parseOggPage reads the header of the page at off, which begins with b.
func parseOggPage(b []byte, off int64) (p oggPage, ok bool) {
	if len(b) < oggHeaderLen || string(b[:4]) != "OggS" || b[4] != 0 {
		return p, false
	}
	n := int(b[26])
	if len(b) < oggHeaderLen+n {
		return p, false
	}
	p.start = off
	p.flags = b[5]
	p.serial = binary.LittleEndian.Uint32(b[14:])
	p.lacing = b[oggHeaderLen : oggHeaderLen+n]
	p.data = off + int64(oggHeaderLen+n)
	p.end = p.data
	for _, l := range p.lacing {
		p.end += int64(l)
	}
	return p, true
}

// oggPage reads the page header at pos, or the next one within walkLen bytes if there is junk at pos.
func (f *finder) oggPage(pos int64) (oggPage, bool) {
	if !f.step() {
		return oggPage{}, false
	}
	p, ok := parseOggPage(f.file.peek(pos, oggMaxHeader), pos)
	if !ok {
		if i := bytes.Index(f.file.peek(pos, walkLen), []byte("OggS\x00")); i > 0 {
			pos += int64(i)
			p, ok = parseOggPage(f.file.peek(pos, oggMaxHeader), pos)
		}
	}
	return p, ok
}

// An oggPacket is a cursor in one packet of one stream. nextPacket moves it to the next packet.
type oggPacket struct {
	f      *finder
	serial uint32
	next   int64 // the next page, of any stream
	pos    int64 // of the next byte, in the current page
	run    int64 // bytes of the packet at pos, in the current page
	last   bool  // the packet ends after run bytes
	lacing [255]byte
	rest   []byte // the part of lacing for later packets
}

// nextPage moves to the next page of the stream and reports whether there is one.
func (o *oggPacket) nextPage() bool {
	for {
		page, ok := o.f.oggPage(o.next)
		if !ok {
			return false
		}
		o.setPage(page)
		if page.serial == o.serial && len(page.lacing) > 0 {
			return true
		}
	}
}

// setPage makes page the current page if it belongs to this stream.
func (o *oggPacket) setPage(page oggPage) {
	o.next = page.end
	if page.serial == o.serial {
		o.pos = page.data
		o.rest = append(o.lacing[:0], page.lacing...)
		o.nextRun()
	}
}

// nextRun sets run to the bytes that the current page holds of the next packet, or of the rest of the current one.
func (o *oggPacket) nextRun() {
	o.run, o.last = 0, false
	for i, l := range o.rest {
		o.run += int64(l)
		if l < 255 {
			o.rest, o.last = o.rest[i+1:], true
			return
		}
	}
	o.rest = nil
}

// hasMore moves to the next page if needed and reports whether there are more bytes of the packet.
func (o *oggPacket) hasMore() bool {
	for o.run == 0 {
		if o.last || !o.nextPage() {
			return false
		}
	}
	return true
}

// read reads a stretch of the file into p, including page headers and pages of other streams, and then moves the payload
// together. So one large read covers many pages, and no byte after them.
func (o *oggPacket) read(p []byte) (n int) {
	s := o.f.file
	for n < len(p) && o.hasMore() {
		if len(p)-n < walkLen {
			m := copy(p[n:], s.peek(o.pos, int(min(o.run, int64(len(p)-n)))))
			if m == 0 {
				break
			}
			o.advance(int64(m))
			n += m
			continue
		}
		raw := p[n:]
		base := o.pos
		raw = raw[:s.read(raw, base)]
		if len(raw) == 0 {
			break
		}
		for o.run > 0 {
			from := int(o.pos - base)
			m := copy(p[n:], raw[from:min(from+int(min(o.run, int64(len(raw)))), len(raw))])
			o.advance(int64(m))
			n += m
			if o.run > 0 || o.last {
				break
			}
			// Continue with the next page if its header is in raw.
			for o.run == 0 && !o.last && o.next-base < int64(len(raw)) {
				page, ok := parseOggPage(raw[o.next-base:], o.next)
				if !ok || !o.f.step() {
					break
				}
				o.setPage(page)
			}
			if o.pos-base >= int64(len(raw)) {
				break
			}
		}
	}
	return n
}

func (o *oggPacket) advance(n int64) {
	o.pos += n
	o.run -= n
}

func (o *oggPacket) skip(n int64) bool {
	for n > 0 && o.hasMore() {
		m := min(n, o.run)
		o.advance(m)
		n -= m
	}
	return n == 0
}

// nextPacket skips the rest of this packet, moves to the next one and reports whether there is one.
func (o *oggPacket) nextPacket() bool {
	for !o.last {
		if !o.nextPage() {
			return false
		}
	}
	o.pos += o.run
	if len(o.rest) == 0 {
		return o.nextPage()
	}
	o.nextRun()
	return true
}

func (o *oggPacket) clone() cursor {
	c := *o
	c.rest = append(c.lacing[:0], o.rest...)
	return &c
}

// oggNextLink returns where the link after the one with these serial numbers begins, or -1 if there is none. pos is the end
// of the pages already read. The last page of the file shows whether there is another link, and a binary search finds its
// beginning, so the audio in between is not read.
func (f *finder) oggNextLink(pos int64, serials []uint32) int64 {
	const tailLen = 64 << 10
	last, ok := oggPage{}, false
	for _, n := range []int64{8 << 10, tailLen} {
		if last, ok = f.lastOggPage(max(pos, f.file.size-n)); ok {
			break
		}
	}
	if !ok || slices.Contains(serials, last.serial) {
		return -1
	}
	lo, hi := pos, last.start
	for hi-lo > tailLen && f.step() {
		mid := lo + (hi-lo)/2
		page, ok := f.findOggPage(mid, min(hi, mid+tailLen))
		switch {
		case !ok:
			hi = mid
		case slices.Contains(serials, page.serial):
			lo = page.end
		default:
			hi = page.start
		}
	}
	for {
		page, ok := f.oggPage(lo)
		if !ok {
			return -1
		}
		if !slices.Contains(serials, page.serial) {
			return page.start
		}
		lo = page.end
	}
}

// findOggPage returns the first page that begins between from and to.
func (f *finder) findOggPage(from, to int64) (oggPage, bool) {
	for from < to && f.step() {
		b := f.file.peek(from, walkLen)
		if i := bytes.Index(b, []byte("OggS\x00")); i >= 0 {
			if page, ok := parseOggPage(f.file.peek(from+int64(i), oggMaxHeader), from+int64(i)); ok {
				return page, true
			}
			from += int64(i) + 1
			continue
		}
		if len(b) < walkLen {
			break
		}
		from += walkLen - 4
	}
	return oggPage{}, false
}

// lastOggPage returns the last page that begins at from or later.
func (f *finder) lastOggPage(from int64) (last oggPage, ok bool) {
	b := f.file.peek(from, int(f.file.size-from))
	for end := len(b); ; {
		i := bytes.LastIndex(b[:end], []byte("OggS\x00"))
		if i < 0 {
			return last, false
		}
		if page, ok := parseOggPage(b[i:], from+int64(i)); ok {
			return page, true
		}
		end = i
	}
}

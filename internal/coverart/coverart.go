// Package coverart extracts the cover picture that is embedded in an audio file. It reads little more of the file than
// that picture.
//
// [Find] recognizes the container by its first bytes, never by a file name, and calls the walker for that container. Each
// container has a file of its own: id3.go, flac.go, ogg.go and so on. A walker goes from header to header and offers each
// declared picture to the [finder], which checks the first bytes of the picture. The first front cover ends the search. If
// there is none, rank.go decides which picture is the best. [ReadTags] makes the same walk for the texts in the tags.
//
// No length, count or nesting declared in a file is trusted. All reads, loops and allocations of one search are counted
// against one [budget], so they are bounded whatever the file contains.
package coverart

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

var (
	// ErrNoPicture means that the file is intact audio without an embedded picture.
	ErrNoPicture = errors.New("coverart: no picture")
	// ErrUnsupported means that the file is no known audio format, or that it is a video without an embedded picture.
	ErrUnsupported = errors.New("coverart: not supported")
	// ErrCorrupt means that the embedded picture cannot be read, or that the container is too damaged to search.
	ErrCorrupt = errors.New("coverart: corrupt")
)

const (
	maxPicture    = 32 << 20 // bytes; a longer picture is a false length or a mistake
	minPicture    = 26       // bytes; the smallest GIF, and every other format needs more
	maxCandidates = 64       // pictures remembered while the search for a front cover goes on
)

// Find returns the encoded cover picture embedded in r, which holds size bytes. It returns the first front cover, if the
// container has picture types and one picture is a front cover. Otherwise it returns the picture that is most likely the
// cover. Concurrent calls are safe if each has its own reader.
//
// Find checks only the first bytes of the picture. If the picture turns out to be damaged, [FindNth] returns the others.
//
// Any error other than the three of this package comes from r or from ctx, and says nothing about the media.
func Find(ctx context.Context, r io.ReaderAt, size int64) ([]byte, error) {
	return FindNth(ctx, r, size, 0)
}

// FindNth is like [Find], except that it skips the n best pictures. Callers use it if they cannot decode those. The order
// is the same in every call. Identical pictures count once.
//
// If there are at most n pictures, the error is ErrUnsupported if Find would return that for the media without pictures,
// and ErrNoPicture otherwise.
func FindNth(ctx context.Context, r io.ReaderAt, size int64, n int) ([]byte, error) {
	b := &budget{ctx: ctx}
	f := &finder{budget: b, file: &source{budget: b, r: r, size: size}, skip: n}
	kind := f.search()
	if f.pic == nil {
		f.takeBest(kind)
	}
	switch {
	case f.pic != nil:
		return f.pic, nil
	case f.err != nil:
		return nil, fmt.Errorf("coverart: %w", f.err)
	case kind == video:
		return nil, ErrUnsupported
	case n == 0 && (f.damaged || kind == broken):
		return nil, ErrCorrupt
	case kind == audio || kind == broken:
		return nil, ErrNoPicture
	}
	return nil, ErrUnsupported
}

// A mediaKind is what the walker of a container found the file to be. A larger value wins if a file has several streams.
type mediaKind int

const (
	unknown mediaKind = iota // no known audio format
	audio
	video
	broken // a known container, too damaged to search
)

// A finder is one search of one file.
type finder struct {
	*budget
	file       *source
	skip       int      // number of pictures to skip
	skipped    [][]byte // pictures skipped so far, to recognize identical ones
	candidates []candidate
	chapters   []func() // each searches one chapter for pictures, if nothing else has any
	leadingEnd int64    // end of the tag at the start of the file that is being walked, or 0
	ownTags    bool     // the container has tags of its own
	pic        []byte   // the result, once found
	texts      *texts   // if not nil, the search is for texts instead of pictures
	damaged    bool     // a picture is declared, and its bytes cannot be read
}

// done reports whether the search is over, because the result is found or because a read failed.
func (f *finder) done() bool { return f.pic != nil || f.err != nil }

// offer adds the n bytes at off of s as a picture, if they begin like one. The picture is truncated at limit, which is the
// end of the tag or chunk that contains it, and at the end of s.
func (f *finder) offer(s *source, r rank, off, n, limit int64) {
	if f.texts != nil {
		return
	}
	left := max(min(limit, s.size)-off, 0)
	cut := n > left
	if n > maxPicture || cut && left < minPicture {
		f.damaged = true
		return
	}
	if cut {
		n, r = left, r|rankCut
	}
	if head := s.peek(off, sniffLen); n >= minPicture && isPicture(head[:min(int64(len(head)), n)]) {
		f.addCandidate(r, func() []byte { return s.load(off, n) })
	}
}

// addCandidate remembers a picture whose first bytes have been checked. It takes a front cover at once, since no other
// picture is better, except one in the own tags of a container after this tag.
func (f *finder) addCandidate(r rank, load func() []byte) {
	if f.texts != nil {
		return
	}
	if r == rankFront && f.leadingEnd != 0 {
		pic := load() // first, since that also reads the bytes that hasOwnTags needs
		load = func() []byte { return pic }
	}
	if r == rankFront && (f.leadingEnd == 0 || !f.hasOwnTags(f.leadingEnd)) {
		f.take(load)
		return
	}
	if len(f.candidates) < maxCandidates {
		f.candidates = append(f.candidates, candidate{r, f.leadingEnd != 0, load})
	}
}

// take loads the picture and makes it the result, unless it must be skipped. A picture that cannot be loaded is ignored.
func (f *finder) take(load func() []byte) {
	if len(f.skipped) > maxCandidates {
		return
	}
	pic := load()
	switch {
	case f.err != nil:
	case len(pic) < minPicture || !isPicture(pic):
		f.damaged = true
	case slices.ContainsFunc(f.skipped, func(p []byte) bool { return bytes.Equal(p, pic) }):
	case len(f.skipped) < f.skip:
		f.skipped = append(f.skipped, pic)
	default:
		f.pic = pic
	}
}

// takeBest takes the candidates in the order of their ranks. It is called after the search of a file of this kind.
func (f *finder) takeBest(kind mediaKind) {
	f.takeCandidates(kind)
	for _, search := range f.chapters {
		if !f.done() {
			search()
		}
	}
	f.takeCandidates(kind)
}

// takeCandidates takes the candidates found so far and forgets them.
func (f *finder) takeCandidates(kind mediaKind) {
	for i, c := range f.candidates {
		if c.leading && f.ownTags {
			f.candidates[i].rank |= rankForeign
		}
	}
	slices.SortStableFunc(f.candidates, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	for _, c := range f.candidates {
		if !f.done() && (kind != video || c.rank&^(rankCut|rankForeign) != rankScene) {
			f.take(c.load)
		}
	}
	f.candidates = nil
}

// A container is an audio format, recognized by its first bytes.
type container struct {
	at      int
	magic   string
	walk    func(f *finder, off int64) mediaKind
	ownTags bool // ID3 tags before it are not part of the format
}

// containers returns all containers. It is a function, since a variable that refers to its own users cannot be initialized.
func containers() []container {
	return []container{
		{0, "fLaC", (*finder).flac, true},
		{0, "OggS", (*finder).ogg, true},
		{4, "ftyp", (*finder).mp4, true},
		{4, "moov", (*finder).mp4, true},
		{4, "mdat", (*finder).mp4, true},
		{4, "wide", (*finder).mp4, true},
		{4, "free", (*finder).mp4, true},
		{4, "skip", (*finder).mp4, true},
		{4, "pnot", (*finder).mp4, true},
		{0, "RIFF", (*finder).riff, true},
		{0, "RF64", (*finder).riff, true},
		{0, "BW64", (*finder).riff, true},
		{0, "FORM", (*finder).aiff, true},
		{0, "FRM8", (*finder).dsdiff, true},
		{0, "DSD ", (*finder).dsf, true},
		{0, asfHeader, (*finder).asf, true},
		{0, "\x1a\x45\xdf\xa3", (*finder).matroska, true},

		// These formats have tags only at the end (APE), although some writers put ID3 at the start.
		{0, "MAC ", (*finder).taggedAudio, true},
		{0, "wvpk", (*finder).taggedAudio, true},
		{0, "MPCK", (*finder).taggedAudio, true},
		{0, "MP+", (*finder).taggedAudio, true},
		{0, "tBaK", (*finder).taggedAudio, true},
		{0, "OFR ", (*finder).taggedAudio, true},

		// These formats have tags only at the start (ID3) and at the end (APE or ID3).
		{0, "TTA1", (*finder).taggedAudio, false},
		{0, "TTA2", (*finder).taggedAudio, false},
		{0, "LA0", (*finder).taggedAudio, false},
		{0, "ADIF", (*finder).taggedAudio, false},
		{0, "ajkg", (*finder).taggedAudio, false},
		{0, "#!AMR", (*finder).taggedAudio, false},
		{0, ".snd", (*finder).taggedAudio, false},
		{0, "caff", (*finder).taggedAudio, false},
		{0, "\x7f\xfe\x80\x01", (*finder).taggedAudio, false},     // DTS
		{0, "riff\x2e\x91\xcf\x11", (*finder).taggedAudio, false}, // Wave64
	}
}

// mpegAudio returns the description of MPEG audio without a container.
func mpegAudio() container { return container{walk: (*finder).taggedAudio} }

// search walks the tags at the start of the file, then the container after them, then the tags at the end.
func (f *finder) search() mediaKind {
	off, tagged := f.leadingTags(0)
	if off > f.file.size && !f.hasCutPicture() && !f.endsInAudio() {
		f.pic, f.candidates, f.chapters = nil, nil, nil // a tag that is longer than the file, without any audio
		return broken
	}
	if f.done() {
		return audio
	}
	c, ok := f.containerAt(off)
	if !ok {
		if !tagged && isForeign(f.file.peek(0, walkLen)) {
			return unknown
		}
		// There may be junk before the tags, or padding after them that is not part of their size.
		off, c, ok = f.scan(off)
		after, more := f.leadingTags(off)
		if f.done() {
			return audio
		}
		if more {
			off, tagged = after, true
			c, ok = f.containerAt(off)
		}
	}
	if ok {
		f.ownTags = c.ownTags
		return c.walk(f, off)
	}
	// The format is unknown. A file with tags is taken for audio.
	if f.tagsAtEnd() || tagged {
		return audio
	}
	return unknown
}

// leadingTags offers the pictures of the consecutive ID3v2 and APEv2 tags that begin at off, and returns where they end.
func (f *finder) leadingTags(off int64) (end int64, found bool) {
	for !f.done() && f.step() {
		next := f.tagEnd(off)
		if next == off {
			break
		}
		f.leadingEnd = next
		f.file.readTo = next + apeHeaderLen // what hasOwnTags reads first
		if f.file.str(off, 3) == "ID3" {
			f.id3(off, f.file.size)
		} else {
			f.apeTagAt(off)
		}
		f.leadingEnd, f.file.readTo = 0, 0
		off, found = next, true
	}
	return off, found
}

// tagEnd returns where the ID3v2 or APEv2 tag that begins at off ends, or off if there is none.
func (f *finder) tagEnd(off int64) int64 {
	b := f.file.peek(off, apeHeaderLen)
	if h, ok := parseID3Header(b); ok {
		return off + h.tagLen()
	}
	if h, ok := parseAPEHeader(b); ok {
		return off + apeHeaderLen + h.size
	}
	return off
}

// hasOwnTags reports whether the container after the tag that ends at off has tags of its own.
func (f *finder) hasOwnTags(off int64) bool {
	for f.step() {
		next := f.tagEnd(off)
		if next == off {
			break
		}
		off = next
	}
	c, ok := matchContainer(f.file.peek(off, containerLen))
	if !ok && f.file.str(off, 1) == "\x00" {
		_, c, _ = f.scan(off) // padding that is not part of the size of the tag
	}
	return c.ownTags
}

// containerLen is how many bytes matchContainer needs to recognize every container.
const containerLen = len(asfHeader)

// matchContainer returns the container that begins with b.
func matchContainer(b []byte) (container, bool) {
	for _, c := range containers() {
		if len(b) > c.at && bytes.HasPrefix(b[c.at:], []byte(c.magic)) {
			return c, true
		}
	}
	return container{}, false
}

// containerAt returns the container that begins at off.
func (f *finder) containerAt(off int64) (container, bool) {
	head := f.file.peek(off, walkLen)
	if c, ok := matchContainer(head); ok {
		return c, true
	}
	return mpegAudio(), mpegFrames(head, 2)
}

// scanLen is how many bytes of junk before the audio are skipped.
const scanLen = 32 << 10

// scan searches the first scanLen bytes at off for a tag or for audio. It requires longer matches than containerAt does,
// since junk may contain any short sequence.
func (f *finder) scan(off int64) (int64, container, bool) {
	b := f.file.peek(off, scanLen)
	for i := range b {
		at, rest := off+int64(i), b[i:]
		switch b[i] {
		case 'I':
			if _, ok := parseID3Header(rest); ok {
				return at, mpegAudio(), true
			}
		case 'f':
			if bytes.HasPrefix(rest, []byte("fLaC\x00\x00\x00\x22")) {
				c, ok := matchContainer(rest)
				return at, c, ok
			}
		case 'O':
			if bytes.HasPrefix(rest, []byte("OggS\x00\x02")) {
				c, ok := matchContainer(rest)
				return at, c, ok
			}
		case 0xFF:
			if mpegFrames(rest, 4) {
				return at, mpegAudio(), true
			}
		}
	}
	return off, container{}, false
}

// hasCutPicture reports whether the file ends inside a picture.
func (f *finder) hasCutPicture() bool {
	return slices.ContainsFunc(f.candidates, func(c candidate) bool { return c.rank&rankCut != 0 })
}

// endsInAudio reports whether the file ends with MPEG audio, which means that a tag longer than the file has a wrong size.
func (f *finder) endsInAudio() bool {
	const n = 8 << 10
	b := f.file.peek(max(f.file.size-n, 0), n)
	for i := range b {
		if mpegFrames(b[i:], 2) {
			return true
		}
	}
	return false
}

// taggedAudio searches the end of a file whose format has no pictures of its own, only tags at the start and the end.
func (f *finder) taggedAudio(int64) mediaKind {
	f.tagsAtEnd()
	return audio
}

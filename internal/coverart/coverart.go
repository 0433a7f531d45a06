// Package coverart extracts the cover picture that is embedded in an audio file. It reads little more of the file than
// that picture.
//
// [Find] recognizes the container by its first bytes, never by a file name, and calls the walker for that container. Each
// container has a file of its own: id3.go, flac.go, ogg.go and so on. A walker goes from header to header and offers each
// declared picture to the [finder], which checks the first bytes of the picture. The first front cover ends the search.
//
// No length, count or nesting declared in a file is trusted. All reads, loops and allocations of one search are counted
// against one [budget], so they are bounded whatever the file contains.
package coverart

import (
	"bytes"
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

// Find returns the encoded cover picture embedded in r, which holds size bytes. It returns the front cover if the container
// has picture types and one picture is a front cover. Otherwise it returns the first picture. Concurrent calls are safe if
// each has its own reader.
//
// Any error other than the three of this package comes from r or from ctx, and says nothing about the media.
func Find(ctx context.Context, r io.ReaderAt, size int64) ([]byte, error) {
	b := &budget{ctx: ctx}
	f := &finder{budget: b, file: &source{budget: b, r: r, size: size}}
	kind := f.search()
	if f.pic == nil {
		f.takeBest()
	}
	switch {
	case f.pic != nil:
		return f.pic, nil
	case f.err != nil:
		return nil, fmt.Errorf("coverart: %w", f.err)
	case kind == video:
		return nil, ErrUnsupported
	case f.damaged || kind == broken:
		return nil, ErrCorrupt
	case kind == audio:
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

// Picture types, as numbered by the APIC frame of ID3v2. FLAC, Ogg and ASF use the same table.
const (
	typeOther     = 0
	typeIcon      = 1
	typeOtherIcon = 2
	typeFront     = 3
)

// A candidate is a picture of which only the first bytes have been read.
type candidate struct {
	rank int
	load func() []byte
}

// Ranks of candidates, best first.
const (
	rankFront = iota
	rankOther
	rankIcon // types 1 and 2, icons of 32 by 32 pixels
	rankCut  // the file ends inside the picture
	rankCount
)

// A finder is one search of one file.
type finder struct {
	*budget
	file       *source
	candidates []candidate
	pic        []byte // the result, once found
	damaged    bool   // a picture is declared, and its bytes cannot be read
}

// done reports whether the search is over, because a front cover is found or because a read failed.
func (f *finder) done() bool { return f.pic != nil || f.err != nil }

// offer adds the n bytes at off of s as a picture of the given type, if they begin like one. The picture is truncated at
// limit, which is the end of the tag or chunk that contains it, and at the end of s.
func (f *finder) offer(s *source, typ int, off, n, limit int64) {
	left := max(min(limit, s.size)-off, 0)
	cut := n > left
	if n > maxPicture || cut && left < minPicture {
		f.damaged = true
		return
	}
	n = min(n, left)
	if head := s.peek(off, sniffLen); n >= minPicture && isPicture(head[:min(int64(len(head)), n)]) {
		f.addCandidate(typ, cut, func() []byte { return s.load(off, n) })
	}
}

// addCandidate remembers a picture whose first bytes have been checked. It takes a front cover at once, since no other
// picture is better.
func (f *finder) addCandidate(typ int, cut bool, load func() []byte) {
	rank := rankOther
	switch {
	case cut:
		rank = rankCut
	case typ == typeFront:
		f.take(load)
		return
	case typ == typeIcon || typ == typeOtherIcon:
		rank = rankIcon
	}
	if len(f.candidates) < maxCandidates {
		f.candidates = append(f.candidates, candidate{rank, load})
	}
}

// take loads the picture and makes it the result if that succeeds.
func (f *finder) take(load func() []byte) {
	if pic := load(); f.err == nil && len(pic) >= minPicture && isPicture(pic) {
		f.pic = pic
	} else {
		f.damaged = true
	}
}

// takeBest takes the best candidate that can be loaded. It is called if the search has found no front cover.
func (f *finder) takeBest() {
	for rank := range rankCount {
		for _, c := range f.candidates {
			if c.rank == rank && !f.done() {
				f.take(c.load)
			}
		}
	}
}

// containers maps the first bytes of a file to the walker for it.
var containers = []struct {
	at    int
	magic string
	walk  func(f *finder, off int64) mediaKind
}{
	{0, "fLaC", (*finder).flac},
	{0, "OggS", (*finder).ogg},
	{4, "ftyp", (*finder).mp4},
	{4, "moov", (*finder).mp4},
	{4, "mdat", (*finder).mp4},
	{4, "wide", (*finder).mp4},
	{4, "free", (*finder).mp4},
	{4, "skip", (*finder).mp4},
	{4, "pnot", (*finder).mp4},
	{0, "RIFF", (*finder).riff},
	{0, "RF64", (*finder).riff},
	{0, "BW64", (*finder).riff},
	{0, "FORM", (*finder).aiff},
	{0, "FRM8", (*finder).dsdiff},
	{0, "DSD ", (*finder).dsf},
	{0, asfHeader, (*finder).asf},
	{0, "\x1a\x45\xdf\xa3", (*finder).matroska},

	// These formats have tags only at the start (ID3) and at the end (APE or ID3).
	{0, "MAC ", (*finder).taggedAudio},
	{0, "wvpk", (*finder).taggedAudio},
	{0, "MPCK", (*finder).taggedAudio},
	{0, "MP+", (*finder).taggedAudio},
	{0, "tBaK", (*finder).taggedAudio},
	{0, "OFR ", (*finder).taggedAudio},
	{0, "TTA1", (*finder).taggedAudio},
	{0, "TTA2", (*finder).taggedAudio},
	{0, "LA0", (*finder).taggedAudio},
	{0, "ADIF", (*finder).taggedAudio},
	{0, "ajkg", (*finder).taggedAudio},
	{0, "#!AMR", (*finder).taggedAudio},
	{0, ".snd", (*finder).taggedAudio},
	{0, "caff", (*finder).taggedAudio},
	{0, "\x7f\xfe\x80\x01", (*finder).taggedAudio},     // DTS
	{0, "riff\x2e\x91\xcf\x11", (*finder).taggedAudio}, // Wave64
}

// search walks the tags at the start of the file, then the container after them, then the tags at the end.
func (f *finder) search() mediaKind {
	off, tagged := f.tagsAt(0)
	if off > f.file.size && !f.hasCutPicture() && !f.endsInAudio() {
		f.pic, f.candidates = nil, nil // a tag that is longer than the file, without any audio
		return broken
	}
	if f.done() {
		return audio
	}
	walk := f.container(off)
	if walk == nil {
		if !tagged && isForeign(f.file.peek(0, walkLen)) {
			return unknown
		}
		// There may be junk before the tags, or padding after them that is not part of their size.
		off, walk = f.scan(off)
		after, more := f.tagsAt(off)
		if f.done() {
			return audio
		}
		if more {
			off, tagged = after, true
			walk = f.container(off)
		}
	}
	if walk != nil {
		return walk(f, off)
	}
	// The format is unknown. A file with tags is taken for audio.
	if f.tagsAtEnd() || tagged {
		return audio
	}
	return unknown
}

// tagsAt reads the consecutive ID3v2 and APEv2 tags that begin at off, and returns where they end.
func (f *finder) tagsAt(off int64) (end int64, found bool) {
	for !f.done() && f.step() {
		next := f.id3(off, f.file.size)
		if next == off {
			next = f.apeTagAt(off)
		}
		if next == off {
			break
		}
		off, found = next, true
	}
	return off, found
}

// container returns the walker for the container that begins at off, or nil if it is unknown.
func (f *finder) container(off int64) func(*finder, int64) mediaKind {
	head := f.file.peek(off, 4096)
	for _, c := range containers {
		if len(head) > c.at && bytes.HasPrefix(head[c.at:], []byte(c.magic)) {
			return c.walk
		}
	}
	if mpegFrames(head, 2) {
		return (*finder).taggedAudio
	}
	return nil
}

// scanLen is how many bytes of junk before the audio are skipped.
const scanLen = 32 << 10

// scan searches the first scanLen bytes at off for a tag or for audio. It requires longer matches than container does,
// since junk may contain any short sequence.
func (f *finder) scan(off int64) (int64, func(*finder, int64) mediaKind) {
	b := f.file.peek(off, scanLen)
	for i := range b {
		rest := b[i:]
		switch b[i] {
		case 'I':
			if _, ok := parseID3Header(rest); ok {
				return off + int64(i), (*finder).taggedAudio
			}
		case 'f':
			if bytes.HasPrefix(rest, []byte("fLaC\x00\x00\x00\x22")) {
				return off + int64(i), (*finder).flac
			}
		case 'O':
			if bytes.HasPrefix(rest, []byte("OggS\x00\x02")) {
				return off + int64(i), (*finder).ogg
			}
		case 0xFF:
			if mpegFrames(rest, 4) {
				return off + int64(i), (*finder).taggedAudio
			}
		}
	}
	return off, nil
}

// hasCutPicture reports whether the file ends inside a picture.
func (f *finder) hasCutPicture() bool {
	return slices.ContainsFunc(f.candidates, func(c candidate) bool { return c.rank == rankCut })
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

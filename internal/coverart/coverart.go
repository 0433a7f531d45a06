// Package coverart finds the picture that is embedded in a piece of music, and reads little more of the file than that
// picture.
//
// [Find] looks at the first bytes to learn which container it has, never at a name, and hands over to the walker of that
// container: id3.go, flac.go, ogg.go and so on, one file each, named after what they read. A walker steps from header to
// header and offers what claims to be a picture to the [finder], which decides by its bytes whether it is one. The first
// front cover ends the search.
//
// Nothing that a file says about itself is believed. All reads and all loops of one Find draw on one [budget], so no length,
// count or nesting in a file can make it allocate, read or loop without end.
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
	// ErrNoPicture: healthy music, searched everywhere, without a picture.
	ErrNoPicture = errors.New("coverart: no picture")
	// ErrUnsupported: no music that this package knows, or a film, whose picture is one of its frames.
	ErrUnsupported = errors.New("coverart: not supported")
	// ErrCorrupt: music with a picture that is damaged beyond use, or a container too broken to tell.
	ErrCorrupt = errors.New("coverart: corrupt")
)

const (
	maxPicture    = 32 << 20 // a longer picture is a lie or a mistake
	minPicture    = 26       // the smallest GIF, and every other format needs more
	maxCandidates = 64       // pictures remembered while looking for a better one
)

// Find returns the encoded cover picture embedded in the media r of size bytes: the front cover where the container tells
// the types of its pictures, else the first that is a picture by its bytes. It may be called by several goroutines at once,
// with different readers.
//
// An error that is none of this package's three comes from r or from ctx, and says nothing about the media.
func Find(ctx context.Context, r io.ReaderAt, size int64) ([]byte, error) {
	b := &budget{ctx: ctx}
	f := &finder{budget: b, file: &source{budget: b, r: r, size: size}}
	kind := f.search()
	if f.pic == nil {
		f.settle()
	}
	switch {
	case f.pic != nil:
		return f.pic, nil
	case f.err != nil:
		return nil, fmt.Errorf("coverart: %w", f.err)
	case kind == video:
		return nil, ErrUnsupported
	case f.lost || kind == broken:
		return nil, ErrCorrupt
	case kind == audio:
		return nil, ErrNoPicture
	}
	return nil, ErrUnsupported
}

// A verdict says what a file is.
type verdict int

const (
	unknown verdict = iota // not one of ours
	audio
	video  // one of ours, with moving pictures
	broken // one of ours, and no telling what is in it
)

// Picture types, as ID3v2 numbers them in APIC; FLAC, Ogg and ASF use the same table.
const (
	typeOther     = 0
	typeIcon      = 1
	typeOtherIcon = 2
	typeFront     = 3
)

// A candidate is a picture that has been seen but not read.
type candidate struct {
	rank int
	load func() []byte
}

// Ranks of candidates, the best first.
const (
	rankFront = iota
	rankOther
	rankIcon // types 1 and 2, 32 by 32 pixels: better than nothing
	rankCut  // the file ends inside the picture
	ranks
)

// A finder is one search through one file.
type finder struct {
	*budget
	file       *source
	candidates []candidate
	pic        []byte // the answer, once there is one
	lost       bool   // a picture was declared, and its bytes are not to be had
}

// done reports whether the search is over, because there is a front cover or because reading failed.
func (f *finder) done() bool { return f.pic != nil || f.err != nil }

// offer proposes the n bytes at off of s, a picture of the given type. It is cut where it runs past limit, the end of the
// tag or chunk that holds it, or past the end of s.
func (f *finder) offer(s *source, typ int, off, n, limit int64) {
	left := max(min(limit, s.size)-off, 0)
	cut := n > left
	if n > maxPicture || cut && left < minPicture {
		f.lost = true
		return
	}
	n = min(n, left)
	if head := s.peek(off, sniffLen); n >= minPicture && isPicture(head[:min(int64(len(head)), n)]) {
		f.propose(typ, cut, func() []byte { return s.load(off, n) })
	}
}

// propose adds a candidate whose first bytes are those of a picture, and takes it at once if nothing can be better.
func (f *finder) propose(typ int, cut bool, load func() []byte) {
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

// take makes the picture the answer if it can be read.
func (f *finder) take(load func() []byte) {
	if pic := load(); f.err == nil && len(pic) >= minPicture && isPicture(pic) {
		f.pic = pic
	} else {
		f.lost = true
	}
}

// settle takes the best candidate there is, for want of a front cover.
func (f *finder) settle() {
	for rank := range ranks {
		for _, c := range f.candidates {
			if c.rank == rank && !f.done() {
				f.take(c.load)
			}
		}
	}
}

// containers are recognised by their first bytes.
var containers = []struct {
	at    int
	magic string
	walk  func(f *finder, off int64) verdict
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

	// Formats whose tags are ID3 at the start, and APE or ID3 at the end.
	{0, "MAC ", (*finder).bare},
	{0, "wvpk", (*finder).bare},
	{0, "MPCK", (*finder).bare},
	{0, "MP+", (*finder).bare},
	{0, "tBaK", (*finder).bare},
	{0, "OFR ", (*finder).bare},
	{0, "TTA1", (*finder).bare},
	{0, "TTA2", (*finder).bare},
	{0, "LA0", (*finder).bare},
	{0, "ADIF", (*finder).bare},
	{0, "ajkg", (*finder).bare},
	{0, "#!AMR", (*finder).bare},
	{0, ".snd", (*finder).bare},
	{0, "caff", (*finder).bare},
	{0, "\x7f\xfe\x80\x01", (*finder).bare},     // DTS
	{0, "riff\x2e\x91\xcf\x11", (*finder).bare}, // Wave64
}

// search walks the whole file: the tags in front, the container behind them, the tags at its end.
func (f *finder) search() verdict {
	off, tagged := f.tagsAt(0)
	if off > f.file.size && !f.cut() && !f.endsInMusic() {
		f.pic, f.candidates = nil, nil // nothing but a tag that goes on beyond the file: there is no music to have a cover
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
		// Junk before the tags, or padding behind them that their size does not count.
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
	// Nothing at the start says what this is, but tags do.
	if f.tail() || tagged {
		return audio
	}
	return unknown
}

// tagsAt reads the ID3v2 and APEv2 tags that begin at off, one behind the other, and returns where they end.
func (f *finder) tagsAt(off int64) (end int64, found bool) {
	for !f.done() && f.step() {
		next := f.id3(off, f.file.size)
		if next == off {
			next = f.apeHead(off)
		}
		if next == off {
			break
		}
		off, found = next, true
	}
	return off, found
}

// container returns the walker for what begins at off, or nil.
func (f *finder) container(off int64) func(*finder, int64) verdict {
	head := f.file.peek(off, 4096)
	for _, c := range containers {
		if len(head) > c.at && bytes.HasPrefix(head[c.at:], []byte(c.magic)) {
			return c.walk
		}
	}
	if mpegFrames(head, 2) {
		return (*finder).bare
	}
	return nil
}

// scanLen is how much junk is tolerated in front of music.
const scanLen = 32 << 10

// scan looks a short way on for tags or music behind junk. It asks for more proof than is needed at the start, since junk is
// anything.
func (f *finder) scan(off int64) (int64, func(*finder, int64) verdict) {
	b := f.file.peek(off, scanLen)
	for i := range b {
		rest := b[i:]
		switch b[i] {
		case 'I':
			if _, ok := parseID3Header(rest); ok {
				return off + int64(i), (*finder).bare
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
				return off + int64(i), (*finder).bare
			}
		}
	}
	return off, nil
}

// cut reports whether the file ends inside a picture.
func (f *finder) cut() bool {
	return slices.ContainsFunc(f.candidates, func(c candidate) bool { return c.rank == rankCut })
}

// endsInMusic reports whether the last bytes of the file are MPEG audio, as they are when only the size of a tag is wrong.
func (f *finder) endsInMusic() bool {
	const n = 8 << 10
	b := f.file.peek(max(f.file.size-n, 0), n)
	for i := range b {
		if mpegFrames(b[i:], 2) {
			return true
		}
	}
	return false
}

// bare is for music that has no container of its own: its tags lie before and behind it.
func (f *finder) bare(int64) verdict {
	f.tail()
	return audio
}

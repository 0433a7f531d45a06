package coverart

import (
	"encoding/binary"
	"iter"
	"math"
	"slices"
)

// MP4 and QuickTime: boxes (ISO 14496-12, 4.2), the item list that iTunes writes (moov.udta.meta.ilst, not standardized), and
// the keyed list of the QuickTime file format. Only boxes that may contain a picture are descended, so depth is bounded.

// A box is the payload of a box, [start, end).
type box struct {
	name       string
	start, end int64
	size       int64 // of the payload as declared, which may exceed end-start
}

// boxes yields the boxes between pos and limit. It stops at the first invalid box.
func (f *finder) boxes(pos, limit int64) iter.Seq[box] {
	return func(yield func(box) bool) {
		limit := min(limit, f.file.size)
		for pos+8 <= limit && !f.done() && f.step() {
			h := f.file.peek(pos, 16)
			if len(h) < 8 {
				return
			}
			b := box{name: string(h[4:8]), start: pos + 8}
			size := uint64(binary.BigEndian.Uint32(h))
			switch {
			case size == 0: // the box extends to the end
				size = uint64(limit - pos)
			case size == 1 && len(h) == 16:
				size = binary.BigEndian.Uint64(h[8:])
				b.start += 8
			}
			if size < uint64(b.start-pos) || b.start > limit {
				return
			}
			b.size = int64(min(size, math.MaxInt64/2)) - (b.start - pos)
			b.end = min(b.start+b.size, limit)
			if !yield(b) {
				return
			}
			pos = b.end
		}
	}
}

// A movie describes the tracks of a moov box.
type movie struct {
	sound, moving bool
	chapters      []uint32 // ids of the tracks that are chapters of others
	tracks        []mp4Track
}

type mp4Track struct {
	id     uint32
	sample extent // the first sample of a video track
	count  uint32 // number of samples
}

const (
	maxTracks      = 256 // in one file
	boxesAfterMoov = 16  // most top-level boxes read after moov, since pictures after it are rare
)

func (f *finder) mp4(off int64) mediaKind {
	var m *movie
	var still, fragment, cut bool
	after := 0
	for b := range f.boxes(off, f.file.size) {
		cut = b.start+b.size > f.file.size
		switch b.name {
		case "ftyp":
			still = isStill(f.file.peek(off, 12))
		case "moov":
			if m == nil {
				m = new(movie)
			}
			f.moov(b, m)
		case "udta":
			f.udta(b)
		case "meta":
			f.meta(b)
		case "moof":
			fragment = true
		}
		if m != nil {
			after++
		}
		if after > boxesAfterMoov || fragment {
			break
		}
	}
	switch {
	case m == nil && cut && !still && !fragment:
		return broken
	case m == nil:
		return unknown
	case m.moving:
		return video
	case m.sound:
		return audio
	case cut:
		return broken
	}
	return unknown
}

func (f *finder) moov(moov box, m *movie) {
	var tracks []box
	for b := range f.boxes(moov.start, moov.end) {
		switch b.name {
		case "trak":
			if len(tracks) < maxTracks {
				tracks = append(tracks, b)
			}
		case "udta":
			f.udta(b)
		case "meta":
			f.meta(b)
		}
	}
	for _, t := range tracks {
		f.trak(t, m)
	}
	for _, t := range m.tracks {
		// The pictures of chapters are stored as a video track, and so is a single picture.
		if slices.Contains(m.chapters, t.id) || t.count == 1 {
			before := len(f.candidates)
			r := rankOther
			if slices.Contains(m.chapters, t.id) {
				r = rankChapter
			}
			f.offer(f.file, r, t.sample.pos, t.sample.end-t.sample.pos, f.file.size)
			if len(f.candidates) > before {
				continue
			}
		}
		m.moving = m.moving || !slices.Contains(m.chapters, t.id)
	}
	m.tracks = nil
}

// trak reads the type, id and first sample of a track.
func (f *finder) trak(trak box, m *movie) {
	var t mp4Track
	isVideo := false
	for b := range f.boxes(trak.start, trak.end) {
		switch b.name {
		case "tkhd":
			at := 12 // after two times of 32 bits
			h := f.file.peek(b.start, 24)
			if len(h) > 0 && h[0] == 1 {
				at = 20 // after two times of 64 bits
			}
			if len(h) >= at+4 {
				t.id = binary.BigEndian.Uint32(h[at:])
			}
		case "tref":
			for ref := range f.boxes(b.start, b.end) {
				if ref.name == "chap" {
					for ids := f.file.peek(ref.start, int(min(64, ref.end-ref.start))); len(ids) >= 4; ids = ids[4:] {
						m.chapters = append(m.chapters, binary.BigEndian.Uint32(ids))
					}
				}
			}
		case "mdia":
			for d := range f.boxes(b.start, b.end) {
				switch d.name {
				case "hdlr":
					switch f.file.str(d.start+8, 4) {
					case "vide":
						isVideo = true
					case "soun":
						m.sound = true
					}
				case "minf":
					if isVideo {
						f.firstSample(d, &t)
					}
				}
			}
		case "udta":
			f.udta(b)
		case "meta":
			f.meta(b)
		}
	}
	if isVideo {
		m.tracks = append(m.tracks, t)
	}
}

// firstSample reads the extent of the first sample of a track.
func (f *finder) firstSample(minf box, t *mp4Track) {
	size := int64(0)
	for b := range f.boxes(minf.start, minf.end) {
		if b.name != "stbl" {
			continue
		}
		for b := range f.boxes(b.start, b.end) {
			h := f.file.peek(b.start, int(min(16, b.end-b.start)))
			switch {
			case b.name == "stsz" && len(h) >= 12:
				size = int64(binary.BigEndian.Uint32(h[4:]))
				t.count = binary.BigEndian.Uint32(h[8:])
				if size == 0 && len(h) == 16 {
					size = int64(binary.BigEndian.Uint32(h[12:]))
				}
			case b.name == "stco" && len(h) >= 12:
				t.sample.pos = int64(binary.BigEndian.Uint32(h[8:]))
			case b.name == "co64" && len(h) == 16:
				t.sample.pos = int64(min(binary.BigEndian.Uint64(h[8:]), math.MaxInt64/2))
			}
		}
	}
	t.sample.end = t.sample.pos + size
}

// udta offers the pictures in a udta box. Some writers omit the meta box and put covr directly into udta.
func (f *finder) udta(udta box) {
	for b := range f.boxes(udta.start, udta.end) {
		switch b.name {
		case "meta":
			f.meta(b)
		case "covr":
			f.covr(b)
		}
	}
}

// meta offers the pictures in a meta box. In ISO files the box begins with version and flags, which are zero. In QuickTime
// files and some others it begins with a child box, whose size is not zero.
func (f *finder) meta(meta box) {
	if f.file.str(meta.start, 4) == "\x00\x00\x00\x00" {
		meta.start += 4
	}
	artwork := "covr"
	for b := range f.boxes(meta.start, meta.end) {
		switch b.name {
		case "keys":
			if index := f.artworkKey(b); index > 0 {
				artwork = string(binary.BigEndian.AppendUint32(nil, index))
			}
		case "ID32": // ID3v2 after version, flags and language (mp4ra.org, "ID32")
			f.id3(b.start+6, b.end)
		case "ilst":
			for item := range f.boxes(b.start, b.end) {
				switch {
				case f.texts != nil:
					f.mp4Text(item)
				case item.name == "covr" || item.name == artwork:
					f.covr(item)
				case item.name == "----":
					f.freeform(item)
				}
			}
		}
	}
}

// artworkKey returns the index of the key for artwork, counted from 1, or 0 if there is none.
func (f *finder) artworkKey(keys box) (index uint32) {
	for b := range f.boxes(keys.start+8, keys.end) { // an entry has the layout of a box, and its name is the namespace
		index++
		const name = "com.apple.quicktime.artwork"
		if b.name == "mdta" && b.size == int64(len(name)) && f.file.str(b.start, len(name)) == name {
			return index
		}
	}
	return 0
}

// covr offers the pictures of an item. Each picture is in a data box, after a type and a locale. There may be name and free
// boxes among the data boxes.
func (f *finder) covr(item box) {
	found := false
	for b := range f.boxes(item.start, item.end) {
		if b.name == "data" {
			found = true
			f.offer(f.file, rankFront, b.start+8, b.size-8, item.end)
		}
	}
	if !found {
		f.offer(f.file, rankFront, item.start, item.size, item.end)
	}
}

// freeform offers the picture of an item with a name chosen by its writer. Most of these items are text.
func (f *finder) freeform(item box) {
	damaged := f.damaged
	for b := range f.boxes(item.start, item.end) {
		if b.name == "data" {
			f.offer(f.file, rankUnknown, b.start+8, b.size-8, item.end)
		}
	}
	f.damaged = damaged
}

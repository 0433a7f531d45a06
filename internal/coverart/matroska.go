package coverart

import (
	"iter"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode"
)

// Matroska and WebM: EBML elements (RFC 8794) in a segment (RFC 9559). Covers are attachments (RFC 9559, 21.1).

const (
	ebmlHeader  = 0x1A45DFA3
	mkvSegment  = 0x18538067
	mkvSeekHead = 0x114D9B74
	mkvSeek     = 0x4DBB
	mkvSeekID   = 0x53AB
	mkvSeekPos  = 0x53AC
	mkvTracks   = 0x1654AE6B
	mkvTrack    = 0xAE
	mkvType     = 0x83
	mkvCluster  = 0x1F43B675
	mkvAttached = 0x1941A469
	mkvFile     = 0x61A7
	mkvFileName = 0x466E
	mkvFileData = 0x465C

	maxElements = 1 << 12 // in one parent
	maxFileName = 255     // bytes of a name that are read
)

// An element is an EBML element with its data [start, end).
type element struct {
	id         uint32
	start, end int64
	size       int64 // as declared, which may exceed end-start
	open       bool  // of unknown size: it ends before the first element that cannot be its child
}

// element reads the header of the element at pos, whose parent ends at limit.
func (f *finder) element(pos, limit int64) (e element, ok bool) {
	b := f.file.peek(pos, 12)
	if len(b) == 0 || pos >= limit || !f.step() {
		return e, false
	}
	idLen := bits.LeadingZeros8(b[0]) + 1
	if idLen > 4 || len(b) <= idLen {
		return e, false
	}
	for _, c := range b[:idLen] {
		e.id = e.id<<8 | uint32(c)
	}
	b = b[idLen:]
	sizeLen := bits.LeadingZeros8(b[0]) + 1
	if sizeLen > 8 || len(b) < sizeLen {
		return e, false
	}
	size := uint64(b[0]) & (1<<(8-sizeLen) - 1)
	for _, c := range b[1:sizeLen] {
		size = size<<8 | uint64(c)
	}
	e.start = pos + int64(idLen+sizeLen)
	if e.open = size == 1<<(7*sizeLen)-1; e.open {
		size = math.MaxInt64 / 2
	}
	e.size = int64(min(size, math.MaxInt64/2))
	e.end = min(e.start+e.size, limit)
	return e, true
}

// children yields the elements in parent. Finding the end of an element of unknown size takes a schema, so its children are
// yielded as if they were in parent.
func (f *finder) children(parent element) iter.Seq[element] {
	return func(yield func(element) bool) {
		pos := parent.start
		for range maxElements {
			if f.done() {
				return
			}
			e, ok := f.element(pos, parent.end)
			if !ok || !yield(e) {
				return
			}
			pos = e.end
			if e.open {
				pos = e.start
			}
		}
	}
}

// uint reads the value of an unsigned integer element.
func (f *finder) uint(e element) (n uint64) {
	for _, c := range f.file.peek(e.start, int(min(8, e.end-e.start))) {
		n = n<<8 | uint64(c)
	}
	return n
}

func (f *finder) matroska(off int64) mediaKind {
	file := element{start: off, end: f.file.size}
	for e := range f.children(file) {
		if e.id == mkvSegment {
			return f.mkvSegment(e)
		}
	}
	return broken
}

func (f *finder) mkvSegment(segment element) mediaKind {
	kind := unknown
	wanted, visit := uint32(mkvAttached), (*finder).mkvAttachments
	if f.texts != nil {
		wanted, visit = mkvTags, (*finder).mkvTags
	}
	var indexed, visited bool
	var seek []int64 // positions of wanted elements, from the index
	for e := range f.children(segment) {
		switch e.id {
		case mkvSeekHead:
			indexed = true
			seek = append(seek, f.mkvSeekHead(e, wanted)...)
		case mkvTracks:
			kind = max(kind, f.mkvTracks(e))
		case mkvInfo:
			if f.texts != nil {
				f.mkvInfo(e)
			}
		case wanted:
			visited = true
			visit(f, e)
		}
		if e.id == mkvCluster && indexed {
			break // the index lists the elements after the clusters
		}
	}
	for _, at := range seek {
		if f.done() || visited {
			break
		}
		if e, ok := f.element(segment.start+at, segment.end); ok && e.id == wanted {
			visit(f, e)
		}
	}
	return kind
}

// mkvSeekHead returns the positions of the elements with an id in an index, relative to the segment.
func (f *finder) mkvSeekHead(head element, wanted uint32) (found []int64) {
	for seek := range f.children(head) {
		var id, at uint64
		for e := range f.children(seek) {
			switch e.id {
			case mkvSeekID:
				id = f.uint(e)
			case mkvSeekPos:
				at = f.uint(e)
			}
		}
		if id == uint64(wanted) && at < uint64(f.file.size) {
			found = append(found, int64(at))
		}
	}
	return found
}

// mkvTracks returns video if there is a video track, audio if there are only audio tracks, or unknown.
func (f *finder) mkvTracks(tracks element) mediaKind {
	kind := unknown
	for track := range f.children(tracks) {
		for e := range f.children(track) {
			if track.id != mkvTrack || e.id != mkvType {
				continue
			}
			switch f.uint(e) {
			case 1:
				kind = video
			case 2:
				kind = max(kind, audio)
			}
		}
	}
	return kind
}

// mkvAttachments offers the attached files that are pictures by their first bytes, ranked by their names. Fonts and other
// files are attached as well, so only a file named as a cover counts as damaged.
func (f *finder) mkvAttachments(attachments element) {
	for file := range f.children(attachments) {
		if file.id != mkvFile {
			continue
		}
		r := rankUnknown
		var data element
		for e := range f.children(file) {
			switch e.id {
			case mkvFileName:
				r = attachmentRank(string(f.file.peek(e.start, int(min(maxFileName, e.end-e.start)))))
			case mkvFileData:
				data = e
			}
		}
		damaged := f.damaged
		f.offer(f.file, r, data.start, data.size, file.end)
		f.damaged = damaged || f.damaged && r < rankUnknown
	}
}

// attachmentRanks has the ranks of attached pictures by words in their names. The first match counts.
var attachmentRanks = []struct {
	match func(name, word string) bool
	words []string
	rank  rank
}{
	{strings.Contains, []string{"fanart", "backdrop", "background", "wallpaper", "screenshot", "screencap", "snapshot", "banner"}, rankScene},
	{startsWord, []string{"logo", "clearlogo", "clearart", "screen"}, rankScene},
	{startsWord, []string{"back", "rear"}, rankBack},
	{startsWord, []string{"small"}, rankSmall},
	{startsWord, []string{"cover", "albumcover", "moviecover"}, rankOther}, // not discovery
	{strings.Contains, []string{"poster", "folder", "front"}, rankMedia},
}

// startsWord reports whether a word in name begins with prefix.
func startsWord(name, prefix string) bool {
	words := strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsLetter(c) })
	return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, prefix) })
}

// attachmentRank returns the rank of an attached picture with the given file name. RFC 9559, 21.1 recommends the names
// cover, small_cover, cover_land and small_cover_land.
func attachmentRank(name string) rank {
	name = strings.ToLower(strings.TrimRight(name, "\x00"))
	name = name[strings.LastIndexAny(name, "/\\")+1:]
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		name = name[:i]
	}
	if name == "cover" {
		return rankFront
	}
	for _, r := range attachmentRanks {
		if slices.ContainsFunc(r.words, func(word string) bool { return r.match(name, word) }) {
			return r.rank
		}
	}
	return rankUnknown
}

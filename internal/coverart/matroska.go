package coverart

import (
	"math"
	"math/bits"
	"strings"
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

	maxElements = 1 << 12 // of a segment
)

// An element is an EBML element with its data [start, end).
type element struct {
	id         uint32
	start, end int64
	size       int64 // as declared, which may be more than there is
	open       bool  // of unknown size: it lasts until something comes that cannot be in it
}

// element reads the header of the element at pos, which lies in one that ends at limit.
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

// uint reads the value of an unsigned integer element.
func (f *finder) uint(e element) (n uint64) {
	for _, c := range f.file.peek(e.start, int(min(8, e.end-e.start))) {
		n = n<<8 | uint64(c)
	}
	return n
}

func (f *finder) matroska(off int64) verdict {
	h, _ := f.element(off, f.file.size)
	segment, ok := f.element(h.end, f.file.size)
	for ok && segment.id != mkvSegment && !segment.open {
		segment, ok = f.element(segment.end, f.file.size) // Void
	}
	if !ok || segment.id != mkvSegment {
		return broken
	}
	kind := unknown
	var indexed, attached bool
	var seek []int64 // where the index has attachments
	pos := segment.start
	for range maxElements {
		if f.done() {
			break
		}
		e, ok := f.element(pos, segment.end)
		if !ok {
			break
		}
		switch e.id {
		case mkvSeekHead:
			indexed = true
			seek = append(seek, f.mkvSeekHead(e, segment)...)
		case mkvTracks:
			kind = max(kind, f.mkvTracks(e))
		case mkvAttached:
			attached = true
			f.mkvAttachments(e)
		}
		if e.id == mkvCluster && indexed {
			break // what is behind the clusters is in the index
		}
		pos = e.end
		if e.open {
			pos = e.start // go through its children as if they were not in it
		}
	}
	for _, pos := range seek {
		if f.done() || attached {
			break
		}
		if e, ok := f.element(pos, segment.end); ok && e.id == mkvAttached {
			f.mkvAttachments(e)
		}
	}
	return kind
}

// mkvSeekHead returns where the index says that attachments are.
func (f *finder) mkvSeekHead(head, segment element) (found []int64) {
	for pos := head.start; len(found) < 4; {
		seek, ok := f.element(pos, head.end)
		if !ok {
			break
		}
		var id, at uint64
		for p := seek.start; ; {
			e, ok := f.element(p, seek.end)
			if !ok {
				break
			}
			switch e.id {
			case mkvSeekID:
				id = f.uint(e)
			case mkvSeekPos:
				at = f.uint(e)
			}
			p = e.end
		}
		if id == mkvAttached && at < uint64(segment.end-segment.start) {
			found = append(found, segment.start+int64(at))
		}
		pos = seek.end
	}
	return found
}

// mkvTracks reports whether there are moving pictures among the tracks.
func (f *finder) mkvTracks(tracks element) verdict {
	kind := unknown
	for pos := tracks.start; ; {
		track, ok := f.element(pos, tracks.end)
		if !ok {
			return kind
		}
		for p := track.start; track.id == mkvTrack; {
			e, ok := f.element(p, track.end)
			if !ok {
				break
			}
			if e.id == mkvType {
				switch f.uint(e) {
				case 1:
					kind = video
				case 2:
					kind = max(kind, audio)
				}
				break
			}
			p = e.end
		}
		pos = track.end
	}
}

// mkvAttachments offers the attached files. A cover is one by its name: cover.jpg or cover.png is the front, cover_land the
// same in another format, small_cover a smaller one.
func (f *finder) mkvAttachments(attachments element) {
	for pos := attachments.start; !f.done(); {
		file, ok := f.element(pos, attachments.end)
		if !ok {
			return
		}
		typ := typeOther
		var data element
		for p := file.start; file.id == mkvFile; {
			e, ok := f.element(p, file.end)
			if !ok {
				break
			}
			switch e.id {
			case mkvFileName:
				name := strings.ToLower(f.file.str(e.start, int(min(64, e.end-e.start))))
				switch {
				case strings.HasPrefix(name, "cover."):
					typ = typeFront
				case strings.HasPrefix(name, "small_cover"):
					typ = typeIcon
				}
			case mkvFileData:
				data = e
			}
			p = e.end
		}
		// Other files than pictures are attached as well, fonts for instance: only a cover can be lost.
		if data.size > 0 && (data.end-data.start == data.size || typ != typeOther) {
			f.offer(f.file, typ, data.start, data.size, file.end)
		}
		pos = file.end
	}
}

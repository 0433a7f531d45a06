package rawphoto

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math"
)

// CR3 consists of the boxes of ISO/IEC 14496-12. Canon's own boxes are inside boxes of kind uuid.
const (
	uuidMetadata = "\x85\xc0\xb6\x87\x82\x0f\x11\xe0\x81\x11\xf4\xce\x46\x2b\x6a\x48" // in moov
	uuidPreview  = "\xea\xf4\x2b\x5e\x1c\x98\x4b\x88\xb9\xfb\xb7\xdc\x40\x6e\x4d\x16" // beside moov
)

// A box is the kind of a box and the range of its contents.
type box struct {
	kind    string
	at, end int64
}

// boxes returns the boxes between two offsets.
func (s *search) boxes(at, end int64) iter.Seq[box] {
	return func(yield func(box) bool) {
		for range maxBoxes {
			b := s.read(at, 8)
			if b == nil || end-at < 8 {
				return
			}
			size, head := be32(b), int64(8)
			switch size {
			case 0:
				size = end - at
			case 1:
				long := s.read(at+8, 8)
				if long == nil {
					return
				}
				size, head = int64(min(binary.BigEndian.Uint64(long), math.MaxInt64)), 16
			}
			if size < head || size > end-at {
				return
			}
			if !yield(box{string(b[4:]), at + head, at + size}) {
				return
			}
			at += size
		}
	}
}

// readCR3 reads a Canon RAW photo of the newer kind. The thumbnail and the preview have boxes of their own. A JPEG of full
// size is the first of several tracks.
func (s *search) readCR3() {
	found := false
	for b := range s.boxes(0, s.size) {
		switch b.kind {
		case "moov":
			found = true
			s.readMovie(b)
		case "uuid":
			if id := s.read(b.at, 16); string(id) == uuidPreview {
				s.addBox("PRVW", b.at+16, b.end)
			}
		}
	}
	s.broken = s.broken || !found
}

func (s *search) readMovie(moov box) {
	for b := range s.boxes(moov.at, moov.end) {
		switch b.kind {
		case "uuid":
			if id := s.read(b.at, 16); string(id) != uuidMetadata {
				continue
			}
			for c := range s.boxes(b.at+16, b.end) {
				switch c.kind {
				case "CMT1": // a TIFF structure, like the first directory of a CR2 file
					s.orientation = s.readOrientation(c.at, c.end-c.at)
				case "THMB":
					s.addIn(c.at, c.end)
				}
			}
		case "trak":
			s.readTrack(b)
		}
	}
}

// addBox adds the preview in a box of the given kind, which must begin within the first few bytes.
func (s *search) addBox(kind string, at, end int64) {
	b := s.read(at, int(min(64, end-at, s.size-at)))
	if i := bytes.Index(b, []byte(kind)); i >= 4 {
		start := at + int64(i)
		s.addIn(start+4, min(end, start-4+be32(b[i-4:])))
	}
}

// addIn adds the preview between two offsets. Before it comes a short header, which has several versions.
func (s *search) addIn(at, end int64) {
	b := s.read(at, int(max(0, min(64, end-at, s.size-at))))
	if i := bytes.Index(b, []byte{0xff, 0xd8, 0xff}); i >= 0 {
		s.add(at+int64(i), end-at-int64(i))
	} else {
		s.broken = true
	}
}

// readTrack adds the first sample of a track, if that is JPEG.
func (s *search) readTrack(trak box) {
	stbl, ok := trak, true
	for _, kind := range []string{"mdia", "minf", "stbl"} {
		if stbl, ok = s.child(stbl, kind); !ok {
			return
		}
	}
	var at, size int64
	for b := range s.boxes(stbl.at, stbl.end) {
		// After version and flags.
		switch b.kind {
		case "stsz": // one size for all, or none; the number of samples; their sizes
			if p := s.read(b.at+4, 4); p != nil {
				size = be32(p)
			}
			if size == 0 {
				if p := s.read(b.at+12, 4); p != nil && b.end-b.at >= 16 {
					size = be32(p)
				}
			}
		case "stco": // the number of chunks; their offsets
			if p := s.read(b.at+8, 4); p != nil {
				at = be32(p)
			}
		case "co64":
			if p := s.read(b.at+8, 8); p != nil {
				at = int64(min(binary.BigEndian.Uint64(p), math.MaxInt64))
			}
		}
	}
	// The other tracks hold sensor data.
	if b := s.read(at, 2); len(b) == 2 && b[0] == 0xff && b[1] == 0xd8 {
		s.add(at, size)
	} else if at >= s.size {
		s.broken = true
	}
}

// child returns the first box of a kind in another.
func (s *search) child(parent box, kind string) (box, bool) {
	for b := range s.boxes(parent.at, parent.end) {
		if b.kind == kind {
			return b, true
		}
	}
	return box{}, false
}

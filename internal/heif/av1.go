package heif

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
)

// AV1: the decoder configuration (AV1 Codec ISO Media File Format Binding, 2.3) and the sequence header (AV1 Bitstream &
// Decoding Process Specification, 5.5).

const (
	obuSequenceHeader    = 1
	obuTemporalDelimiter = 2
	obuFrameHeader       = 3
	obuFrame             = 6

	temporalDelimiter = "\x12\x00"
	maxOBUs           = 32   // searched for a sequence header
	obuHead           = 1024 // bytes of an item searched for a sequence header
)

// parseAV1C reads a decoder configuration. If it has no sequence header, each item has one.
func parseAV1C(data []byte) (s sequence, err error) {
	if len(data) < 4 || data[0] != 0x81 {
		return s, unsupported("av1C")
	}
	obus := data[4:]
	if header, _ := findSequenceHeader(obus); header != nil {
		s.header = obus
		err = s.readSequenceHeader(header)
	}
	return s, err
}

// findSequenceHeader returns the payload of the sequence header in data, or nil, and whether data begins with a temporal
// delimiter. Data may be the start of a longer item.
func findSequenceHeader(data []byte) (header []byte, delimited bool) {
	for i := range maxOBUs {
		if len(data) == 0 {
			break
		}
		h := data[0]
		kind := h >> 3 & 15
		at := 1 + int(h>>2&1)
		size := int64(len(data) - at)
		if h&2 != 0 {
			n, length := leb128(data[min(at, len(data)):])
			if length == 0 {
				break
			}
			at, size = at+length, n
		}
		if at > len(data) || h>>7 != 0 {
			break
		}
		if i == 0 && kind == obuTemporalDelimiter {
			delimited = true
		}
		end := min(int64(len(data)), int64(at)+size)
		switch kind {
		case obuSequenceHeader:
			return data[at:end], delimited
		case obuFrame, obuFrameHeader:
			return nil, delimited
		}
		data = data[end:]
	}
	return nil, delimited
}

// leb128 returns the number at the start of data and its length in bytes, which is 0 if there is none.
func leb128(data []byte) (v int64, length int) {
	for i, b := range data[:min(len(data), 5)] {
		v |= int64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// readSequenceHeader reads a sequence header up to the colours.
func (s *sequence) readSequenceHeader(data []byte) error {
	b := bits{data: data}
	profile := b.read(3)
	b.skip(1)
	reduced := b.flag() // reduced_still_picture_header
	if reduced {
		b.skip(5)
	} else {
		skipOperatingPoints(&b)
	}
	widthBits, heightBits := int(b.read(4))+1, int(b.read(4))+1
	s.width, s.height = int(b.read(widthBits))+1, int(b.read(heightBits))+1
	if reduced {
		b.skip(3) // three tools
	} else {
		skipTools(&b)
	}
	b.skip(3)
	s.readColourConfig(&b, profile)
	if b.bad {
		return corrupt("sequence header")
	}
	return checkSize(uint64(s.width), uint64(s.height))
}

// skipOperatingPoints skips the fields before the frame size, which a reduced sequence header lacks.
func skipOperatingPoints(b *bits) {
	decoderModel, delayBits := false, 0
	if b.flag() { // timing
		b.skip(64)
		if b.flag() {
			b.golomb()
		}
		if decoderModel = b.flag(); decoderModel {
			delayBits = int(b.read(5)) + 1
			b.skip(32 + 5 + 5)
		}
	}
	displayDelay := b.flag()
	for range b.read(5) + 1 {
		b.skip(12)
		if level := b.read(5); level > 7 {
			b.skip(1)
		}
		if decoderModel && b.flag() {
			b.skip(2*delayBits + 1)
		}
		if displayDelay && b.flag() {
			b.skip(4)
		}
	}
}

// skipTools skips the fields behind the frame size, of which a reduced sequence header has only three.
func skipTools(b *bits) {
	if b.flag() { // frame numbers
		b.skip(4 + 3)
	}
	b.skip(3 + 4)
	orderHints := b.flag()
	if orderHints {
		b.skip(2)
	}
	screenContent := b.flag() // seq_choose_screen_content_tools
	if !screenContent {
		screenContent = b.flag() // seq_force_screen_content_tools
	}
	if screenContent && !b.flag() {
		b.skip(1)
	}
	if orderHints {
		b.skip(3)
	}
}

func (s *sequence) readColourConfig(b *bits, profile uint32) {
	s.depth = 8
	if high := b.flag(); high {
		s.depth = 10
		if profile == 2 && b.flag() {
			s.depth = 12
		}
	}
	s.mono = profile != 1 && b.flag()
	s.colours = unspecified
	if b.flag() {
		s.colours.primaries, s.colours.transfer, s.colours.matrix = uint16(b.read(8)), uint16(b.read(8)), uint16(b.read(8))
	}
	switch {
	case s.mono:
		s.colours.fullRange = b.flag()
	case s.colours.primaries == 1 && s.colours.transfer == 13 && s.colours.matrix == 0: // sRGB without a matrix has no range of its own
		s.colours.fullRange = true
	default:
		s.colours.fullRange = b.flag()
		switch {
		case profile == 0:
			s.halfWidth, s.halfHeight = true, true
		case profile == 1:
		case s.depth == 12:
			if s.halfWidth = b.flag(); s.halfWidth {
				s.halfHeight = b.flag()
			}
		default:
			s.halfWidth = true
		}
	}
}

// writeAV1 writes items one after another as IVF, one frame for each. IVF stores the length of a frame, as AVIF does. In the other
// forms of AV1 streams each OBU must have a size field of its own, which the last one in an AVIF item may lack.
func (f *File) writeAV1(ctx context.Context, w *bufio.Writer, tiles []coded) error {
	le := binary.LittleEndian
	h := append(make([]byte, 0, 32), "DKIF\x00\x00\x20\x00AV01"...)
	h = le.AppendUint16(h, uint16(tiles[0].width))
	h = le.AppendUint16(h, uint16(tiles[0].height))
	h = le.AppendUint32(h, 25) // frames a second
	h = le.AppendUint32(h, 1)
	h = le.AppendUint32(h, uint32(len(tiles)))
	h = le.AppendUint32(h, 0)
	w.Write(h)
	for i, t := range tiles {
		head, err := f.readItem(ctx, t.item, obuHead)
		if err != nil {
			return err
		}
		var before []byte
		header, delimited := findSequenceHeader(head)
		if !delimited {
			before = append(before, temporalDelimiter...)
		}
		if header == nil {
			before = append(before, t.header...)
		}
		spans, total, err := f.spans(t.item)
		if err != nil {
			return err
		}
		h = le.AppendUint32(h[:0], uint32(int64(len(before))+total))
		h = le.AppendUint64(h, uint64(i)) // its timestamp
		w.Write(h)
		w.Write(before)
		if _, err := io.Copy(w, &itemReader{ctx: ctx, src: &f.src, spans: spans}); err != nil {
			return err
		}
	}
	return nil
}

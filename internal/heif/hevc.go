package heif

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
)

// HEVC: the decoder configuration (ISO/IEC 14496-15, 8.3.3.1) and the start of the sequence parameter set (ITU-T H.265,
// 7.3.2.2), which specifies the size and the format of the frames that ffmpeg will decode.

const (
	nalIRAPFirst = 16 // slices of pictures that refer to no other picture
	nalIRAPLast  = 23
	nalVPS       = 32
	nalSPS       = 33
	nalPPS       = 34

	nalHeader  = 2
	maxNALs    = 64 // in a configuration
	startCode  = "\x00\x00\x00\x01"
	endOfCoded = startCode + "\x48\x01" // a NAL unit of type 36: end of sequence
)

// parseHVCC reads a decoder configuration.
func parseHVCC(data []byte) (s sequence, err error) {
	c := cursor{data: data}
	c.bytes(21)
	s.lengthSize = int(c.u8()&3) + 1
	nals := 0
	for range c.u8() {
		kind := c.u8() & 63
		for range c.u16() {
			nal := c.bytes(int64(c.u16()))
			if nals++; c.bad || nals > maxNALs {
				return s, corrupt("hvcC")
			}
			if kind != nalVPS && kind != nalSPS && kind != nalPPS || !inBaseLayer(nal) {
				continue
			}
			s.header = append(append(s.header, startCode...), nal...)
			if kind == nalSPS && s.width == 0 {
				if err := s.readSPS(nal); err != nil {
					return s, err
				}
			}
		}
	}
	if s.width == 0 {
		return s, corrupt("hvcC without a parameter set")
	}
	return s, nil
}

// inBaseLayer reports whether a NAL unit belongs to the base layer, and not to a second view or an enhancement.
func inBaseLayer(nal []byte) bool {
	return len(nal) > nalHeader && nal[0]&1 == 0 && nal[1]>>3 == 0
}

// readSPS reads a sequence parameter set up to the colours in its usability information (VUI).
func (s *sequence) readSPS(nal []byte) error {
	b := bits{data: unescape(nal[nalHeader:])}
	b.skip(4) // sps_video_parameter_set_id
	subLayers := int(b.read(3))
	b.skip(1)
	b.skip(88 + 8) // profile, tier and level
	var present [8]struct{ profile, level bool }
	for i := range subLayers {
		present[i].profile, present[i].level = b.flag(), b.flag()
	}
	if subLayers > 0 {
		b.skip(2 * (8 - subLayers))
	}
	for i := range subLayers {
		if present[i].profile {
			b.skip(88)
		}
		if present[i].level {
			b.skip(8)
		}
	}
	b.golomb() // sps_seq_parameter_set_id
	chroma := b.golomb()
	if chroma > 3 {
		return corrupt("chroma format %d", chroma)
	}
	s.mono = chroma == 0
	s.halfWidth, s.halfHeight = chroma == 1 || chroma == 2, chroma == 1
	if chroma == 3 && b.flag() {
		return unsupported("separate colour planes")
	}
	width, height := int64(b.golomb()), int64(b.golomb())
	if b.flag() { // the conformance window
		left, right, top, bottom := int64(b.golomb()), int64(b.golomb()), int64(b.golomb()), int64(b.golomb())
		unitX, unitY := int64(1), int64(1)
		if s.halfWidth {
			unitX = 2
		}
		if s.halfHeight {
			unitY = 2
		}
		width -= unitX * (left + right)
		height -= unitY * (top + bottom)
	}
	depth, depthChroma := b.golomb()+8, b.golomb()+8
	if depth != depthChroma && !s.mono {
		return unsupported("luma of %d bits and chroma of %d", depth, depthChroma)
	}
	if b.bad {
		return corrupt("parameter set")
	}
	if err := checkSize(uint64(max(width, 0)), uint64(max(height, 0))); err != nil {
		return err
	}
	s.width, s.height, s.depth = int(width), int(height), int(depth)
	s.colours = unspecified
	return s.readVUI(&b, subLayers)
}

// readVUI reads a sequence parameter set from behind the bit depths up to the colours. If the data ends before them, they are
// unspecified.
func (s *sequence) readVUI(b *bits, subLayers int) error {
	pocBits := int(b.golomb()) + 4
	first := subLayers
	if b.flag() {
		first = 0
	}
	for range 3 * (subLayers - first + 1) {
		b.golomb()
	}
	for range 6 { // sizes of blocks
		b.golomb()
	}
	if b.flag() { // scaling_list_enabled_flag
		if b.flag() {
			skipScalingLists(b)
		}
	}
	b.skip(2)
	if b.flag() { // pcm_enabled_flag
		b.skip(8)
		b.golomb()
		b.golomb()
		b.skip(1)
	}
	sets := b.golomb()
	if sets > 64 {
		return corrupt("%d sets of reference pictures", sets)
	}
	if !skipReferenceSets(b, int(sets)) {
		return corrupt("reference pictures")
	}
	if b.flag() { // long-term references
		n := b.golomb()
		if n > 32 || pocBits > 16 {
			return corrupt("%d reference pictures", n)
		}
		b.skip(int(n) * (pocBits + 1))
	}
	b.skip(2)
	if !b.flag() {
		return nil
	}
	if b.flag() && b.read(8) == 255 { // aspect_ratio_idc: extended
		b.skip(32)
	}
	if b.flag() {
		b.skip(1)
	}
	if b.flag() {
		b.skip(3)
		s.colours.fullRange = b.flag()
		if b.flag() {
			s.colours.primaries = uint16(b.read(8))
			s.colours.transfer = uint16(b.read(8))
			s.colours.matrix = uint16(b.read(8))
		}
	}
	if b.bad {
		s.colours = unspecified
	}
	return nil
}

func skipScalingLists(b *bits) {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for matrix := 0; matrix < 6; matrix += step {
			if !b.flag() {
				b.golomb()
				continue
			}
			if size > 1 {
				b.golomb()
			}
			for range min(64, 1<<(4+2*size)) {
				b.golomb()
			}
		}
	}
}

// skipReferenceSets skips n sets of short-term reference pictures (7.3.7) and reports whether they are valid.
func skipReferenceSets(b *bits, n int) bool {
	pictures := uint32(0) // in the previous set
	for i := range n {
		if i > 0 && b.flag() { // predicted from the previous set
			b.skip(1)
			b.golomb()
			count := uint32(0)
			for range pictures + 1 {
				if used := b.flag(); used || b.flag() {
					count++
				}
			}
			pictures = count
		} else {
			negative, positive := b.golomb(), b.golomb()
			if negative > 16 || positive > 16 {
				return false
			}
			pictures = negative + positive
			for range pictures {
				b.golomb()
				b.skip(1)
			}
		}
		if pictures > 32 || b.bad {
			return false
		}
	}
	return true
}

// unescape removes emulation prevention bytes from a NAL unit.
func unescape(nal []byte) []byte {
	out := make([]byte, 0, len(nal))
	zeros := 0
	for _, v := range nal {
		if zeros >= 2 && v == 3 {
			zeros = 0
			continue
		}
		if zeros++; v != 0 {
			zeros = 0
		}
		out = append(out, v)
	}
	return out
}

// writeHEVC writes items one after another as a byte stream (ITU-T H.265, annex B): start codes replace lengths, and parameter
// sets precede the first picture and are repeated when they change.
//
// An end of sequence separates the pictures. Without it, ffmpeg takes CRA pictures for repetitions of the first one. Since version
// 7.1 it does so in any case, but no camera is known to write tiles of that type.
func (f *File) writeHEVC(ctx context.Context, w *bufio.Writer, tiles []coded) error {
	var header []byte
	for i, t := range tiles {
		if i > 0 {
			w.WriteString(endOfCoded)
		}
		if !bytes.Equal(t.header, header) {
			header = t.header
			w.Write(header)
		}
		spans, total, err := f.spans(t.item)
		if err != nil {
			return err
		}
		r := bufio.NewReaderSize(&itemReader{ctx: ctx, src: &f.src, spans: spans}, 64<<10)
		for left := total; left > 0; {
			length, err := readLength(r, t.lengthSize, left)
			if err != nil {
				return err
			}
			left -= int64(t.lengthSize) + length
			if err := writeNAL(w, r, length); err != nil {
				return err
			}
		}
	}
	return nil
}

// readLength reads the length of the next NAL unit. There are left bytes in the item.
func readLength(r io.Reader, size int, left int64) (int64, error) {
	var buf [4]byte
	if int64(size) > left {
		return 0, corrupt("%d bytes in place of a NAL unit", left)
	}
	if _, err := io.ReadFull(r, buf[4-size:]); err != nil {
		return 0, err
	}
	length := int64(binary.BigEndian.Uint32(buf[:]))
	if length > left-int64(size) {
		return 0, corrupt("NAL unit of %d bytes", length)
	}
	return length, nil
}

// writeNAL copies a NAL unit of length bytes, or skips it if it is not of the base layer. It clears
// no_output_of_prior_pics_flag, which could make the decoder drop earlier tiles.
func writeNAL(w *bufio.Writer, r *bufio.Reader, length int64) error {
	head, err := r.Peek(int(min(length, nalHeader+1)))
	if err != nil {
		return err
	}
	if !inBaseLayer(head) {
		_, err := io.CopyN(io.Discard, r, length)
		return err
	}
	start := [nalHeader + 1]byte(head)
	if kind := start[0] >> 1; kind >= nalIRAPFirst && kind <= nalIRAPLast {
		start[2] &^= 0x40
	}
	w.WriteString(startCode)
	w.Write(start[:])
	r.Discard(len(start))
	_, err = io.CopyN(w, r, length-int64(len(start)))
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

package jpegdec

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// A file is a JPEG file in parts, for tests that edit it.
type file struct {
	segments []segment // up to SOS
	data     []byte    // from there on, with the end marker
}

// split returns data in parts.
func split(data []byte) (f file) {
	for pos := 2; ; {
		s, _ := nextSegment(data, pos)
		f.segments = append(f.segments, s)
		pos = s.end
		if s.marker == markerSOS {
			f.data = data[pos:]
			return f
		}
	}
}

// join returns the file with the segments of a marker replaced by those that change returns, as bytes.
func (f file) join(marker byte, change func(data []byte) []byte) []byte {
	out := []byte{0xff, markerSOI}
	for _, s := range f.segments {
		if s.marker == marker {
			out = append(out, change(s.data)...)
		} else {
			out = appendSegment(out, s.marker, s.data)
		}
	}
	return append(out, f.data...)
}

// without returns the file without the segments of a marker.
func (f file) without(marker byte) []byte { return f.join(marker, func([]byte) []byte { return nil }) }

// extend returns the file with more bytes at the end of a marker's segments.
func (f file) extend(marker byte, more ...byte) []byte {
	return f.join(marker, func(data []byte) []byte { return appendSegment(nil, marker, slices.Concat(data, more)) })
}

// before returns the file with bytes before the segments of a marker.
func (f file) before(marker byte, more ...byte) []byte {
	return f.join(marker, func(data []byte) []byte { return appendSegment(slices.Clone(more), marker, data) })
}

// defects returns copies of the file data with defects that do not change the picture, by their names. Files with such
// defects were reported for other decoders, which refuse them.
func defects(data []byte) map[string][]byte {
	f := split(data)
	end := len(data) - 2
	segmentsAfter := slices.Concat(data[:end], []byte{0, 0xff, 0, 1}, appendSegment(nil, markerDHT, make([]byte, 20)),
		appendSegment(nil, markerSOF0, []byte{12, 0}), appendSegment(nil, markerSOS, nil), data[end:])
	wide := func(dqt []byte) (out []byte) {
		for ; len(dqt) > 64; dqt = dqt[65:] {
			out = append(out, dqt[0]|0x10)
			for _, q := range dqt[1:65] {
				out = append(out, 0, q)
			}
		}
		return appendSegment(nil, markerDQT, out)
	}
	identifiers := func(ids ...byte) []byte {
		f := split(f.join(markerSOF0, func(sof []byte) []byte {
			sof = slices.Clone(sof)
			sof[6], sof[9], sof[12] = ids[0], ids[1], ids[2]
			return appendSegment(nil, markerSOF0, sof)
		}))
		return f.join(markerSOS, func(sos []byte) []byte {
			sos = slices.Clone(sos)
			sos[1], sos[3], sos[5] = ids[0], ids[1], ids[2]
			return appendSegment(nil, markerSOS, sos)
		})
	}
	return map[string][]byte{
		"fill bytes":                      f.before(markerSOS, 0xff, 0xff, 0xff),
		"fill bytes after SOI":            slices.Concat(data[:2], []byte{0xff, 0xff}, data[2:]),
		"bytes between segments":          f.before(markerSOS, 1, 2, 3, 0, 0xff, 0),
		"restart marker between segments": f.before(markerSOS, 0xff, markerRST0),
		"two start markers":               f.before(markerSOS, 0xff, markerSOI),
		"segment of length 0":             f.before(markerSOS, 0xff, 0xfe, 0, 0),
		"segment of length 1":             f.before(markerSOS, 0xff, 0xfe, 0, 1),
		"unknown segments": f.before(markerSOS, 0xff, 0xf0, 0, 2, 0xff, 0xfd, 0, 3, 1, 0xff, 0xdf, 0, 3, 1,
			0xff, 0x01, 0xff, 0x02, 0, 3, 1),
		"marker in a comment":    f.before(markerDQT, 0xff, 0xfe, 0, 4, 0xff, markerSOI),
		"thumbnail in a segment": f.before(markerDQT, appendSegment(nil, 0xe1, data[:600])...),
		"JFIF without a density": f.before(markerDQT,
			appendSegment(nil, markerAPP0, []byte("JFIF\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00"))...),
		"bytes after quantization tables": f.extend(markerDQT, 0, 0, 7),
		"bytes after Huffman tables":      f.extend(markerDHT, 0, 0, 7),
		"16-bit quantization tables":      f.join(markerDQT, wide),
		"no Huffman tables":               f.without(markerDHT),
		"two bytes before the end marker": slices.Concat(data[:end], []byte{0x12, 0x34}, data[end:]),
		"restart markers after the data":  slices.Concat(data[:end], []byte{0x12, 0xff, 0xd2, 0x34, 0xff, 0xd3}, data[end:]),
		"segments after the data":         segmentsAfter,
		"no end marker":                   data[:end],
		"fill bytes for the end marker":   slices.Concat(data[:end], []byte{0xff, 0xff, 0xff}),
		"bytes after the end marker":      slices.Concat(data, data[:100]),
		"second picture":                  slices.Concat(data, data),
		"second picture, no end marker":   slices.Concat(data[:end], data),
		"same component identifiers":      identifiers(1, 1, 1),
		"component identifiers Y, U, V":   identifiers('Y', 'U', 'V'),
		"component identifiers 252, 2, 3": identifiers(252, 2, 3),
		"wrong band in a sequential scan": f.join(markerSOS, func(sos []byte) []byte {
			return appendSegment(nil, markerSOS, append(slices.Clone(sos[:len(sos)-3]), 0, 0, 0))
		}),
	}
}

// TestTolerance decodes files with harmless defects.
func TestTolerance(t *testing.T) {
	data := encodeStd(t, photo(40, 40), 75)
	want := decode(t, data, Options{})
	for name, data := range defects(data) {
		var m Image
		if err := Decode(context.Background(), data, Options{}, &m); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m.Damaged || m.Model != YCbCr || !bytes.Equal(m.Planes[0].Pix, want.Planes[0].Pix) ||
			!bytes.Equal(m.Planes[1].Pix, want.Planes[1].Pix) {
			t.Errorf("%s: not the same picture, or Damaged is set (%v)", name, m.Damaged)
		}
	}
}

// TestNoPicture checks the errors of files without a picture.
func TestNoPicture(t *testing.T) {
	data := encodeStd(t, photo(40, 40), 75)
	f := split(data)
	sos := len(data) - len(f.data) - 14
	for name, data := range map[string][]byte{
		"nothing":                {},
		"GIF":                    []byte("GIF89a"),
		"start marker":           {0xff, markerSOI},
		"no quantization tables": f.without(markerDQT),
		"no frame":               f.without(markerSOF0),
		"two frames": f.join(markerSOF0, func(sof []byte) []byte {
			return slices.Repeat(appendSegment(nil, markerSOF0, sof), 2)
		}),
		"no scan":                 data[:sos],
		"no data":                 data[:sos+14],
		"end marker without data": slices.Concat(data[:sos+14], []byte{0xff, markerEOI}),
	} {
		var format FormatError
		if err := Decode(context.Background(), data, Options{}, new(Image)); !errors.As(err, &format) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSecondFrame checks that the scans of a second picture are not added to a progressive picture without end marker.
func TestSecondFrame(t *testing.T) {
	p := &testPicture{w: 40, h: 40, progressive: true, comps: []testComp{{id: 1, h: 1, v: 1}}}
	p.scans = []testScan{{comps: []int{0}}, {comps: []int{0}, ss: 1, se: 63}}
	p.fillRandom(rand.New(rand.NewPCG(3, 7)))
	first := p.encode()
	want := decode(t, first, Options{})
	p.fillRandom(rand.New(rand.NewPCG(3, 8)))
	m := decode(t, slices.Concat(first[:len(first)-2], p.encode()), Options{})
	if m.Damaged || !bytes.Equal(m.Planes[0].Pix, want.Planes[0].Pix) {
		t.Errorf("not the first picture, or Damaged is set (%v)", m.Damaged)
	}
}

// TestUnusedTables decodes progressive files whose scans have invalid numbers for tables that they do not use.
func TestUnusedTables(t *testing.T) {
	p := &testPicture{w: 40, h: 40, progressive: true, scans: simpleProgression}
	p.comps = []testComp{{id: 1, h: 2, v: 2}, {id: 2, h: 1, v: 1}, {id: 3, h: 1, v: 1}}
	for _, arithmetic := range []bool{false, true} {
		p.arithmetic, p.conditioning = arithmetic, defaultConditioning
		p.fillRandom(rand.New(rand.NewPCG(3, 10)))
		data := p.encode()
		for pos := 2; ; {
			s, ok := nextSegment(data, pos)
			if !ok || s.marker == markerEOI {
				break
			}
			pos = s.end
			if s.marker != markerSOS {
				continue
			}
			first, high := s.data[len(s.data)-3], s.data[len(s.data)-1]>>4
			for i := range s.data[0] {
				switch tables := &s.data[2+2*i]; {
				case first > 0:
					*tables |= 0xf0
				case high > 0:
					*tables = 0xff
				default:
					*tables |= 0x0f
				}
			}
		}
		checkPlanes(t, p, decode(t, data, Options{}), 1)
	}
}

// TestRestartNumbers decodes a file whose restart markers all have the same number.
func TestRestartNumbers(t *testing.T) {
	p := &testPicture{w: 64, h: 64, comps: []testComp{{id: 1, h: 1, v: 1}}, restart: 3}
	p.fillRandom(rand.New(rand.NewPCG(3, 9)))
	data := p.encode()
	want := decode(t, data, Options{})
	for i := range data[:len(data)-1] {
		if data[i] == 0xff && markerRST0 <= data[i+1] && data[i+1] <= markerRST7 {
			data[i+1] = markerRST0
		}
	}
	if m := decode(t, data, Options{}); !bytes.Equal(m.Planes[0].Pix, want.Planes[0].Pix) {
		t.Error("not the same picture")
	}
}

// TestRestartsWithoutDRI decodes files with restart markers, but without the segment that announces them.
func TestRestartsWithoutDRI(t *testing.T) {
	for seed := range 20 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 15))
		p := randomPicture(rnd)
		p.arithmetic, p.restart = false, 1+rnd.IntN(20)
		if p.progressive {
			continue // refinements without Huffman codes would take the padding before a marker for data
		}
		data := p.encode()
		want := decode(t, data, Options{})
		m := decode(t, split(data).without(markerDRI), Options{})
		for i := range want.N {
			if !bytes.Equal(m.Planes[i].Pix, want.Planes[i].Pix) {
				t.Errorf("seed %d: plane %d is not the same", seed, i)
			}
		}
	}
}

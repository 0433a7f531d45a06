package heif

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// This file writes HEIF files for the tests, right ones and broken ones.

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func be32(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

// boxOf returns a box. A kind with a version and flags behind it, as in "infe\x02\x00\x00\x00", is a full box.
func boxOf(kind string, parts ...[]byte) []byte {
	payload := append([]byte(kind), bytes.Join(parts, nil)...)
	return append(be32(4+len(payload)), payload...)
}

const v0, v1, v2, v3 = "\x00\x00\x00\x00", "\x01\x00\x00\x00", "\x02\x00\x00\x00", "\x03\x00\x00\x00"

// A testItem is an item to be written.
type testItem struct {
	kind       string
	data       []byte
	properties []int // from 1; negative if essential
	inIdat     bool
	pieces     int // extents
}

// A testFile is a file to be written. Items have their places in the list for numbers, from 1; the first is the primary one.
type testFile struct {
	brand      string
	items      []testItem
	properties [][]byte
	references [][]byte // boxes
	long       bool     // numbers of 32 bits and properties' of 15
	metaLast   bool
}

func reference32(kind string, from int, to ...int) []byte {
	b := append(be32(from), be16(len(to))...)
	for _, id := range to {
		b = append(b, be32(id)...)
	}
	return boxOf(kind, b)
}

// bytes returns the file. Pieces of data are written with a gap between them, and the last ones first.
func (f testFile) bytes() []byte {
	id := be16
	version := v0
	if f.long {
		id, version = be32, v1
	}
	brand := f.brand
	if brand == "" {
		brand = "heic"
	}
	ftyp := boxOf("ftyp", []byte(brand), be32(0), []byte("mif1"), []byte(brand))

	var mdat, idat []byte
	type place struct{ at, length int }
	places := make([][]place, len(f.items))
	for i := len(f.items) - 1; i >= 0; i-- {
		it := f.items[i]
		store := &mdat
		if it.inIdat {
			store = &idat
		}
		n := max(1, it.pieces)
		places[i] = make([]place, n)
		for k := n - 1; k >= 0; k-- {
			from, to := len(it.data)*k/n, len(it.data)*(k+1)/n
			*store = append(*store, "gap"...)
			places[i][k] = place{len(*store), to - from}
			*store = append(*store, it.data[from:to]...)
		}
	}
	meta := func(mdatAt int) []byte {
		infes := id(len(f.items))
		locations := []byte{0x44, 0x00} // 4 bytes of offset and of length
		ilocVersion, ipmaFlags := v1, "\x00\x00\x00\x00"
		infeVersion := v2
		if f.long {
			ilocVersion, infeVersion, ipmaFlags = v2, v3, "\x01\x00\x00\x01"
			locations[1] = 0x44 // and of base and of index
		}
		locations = append(locations, id(len(f.items))...)
		associations := be32(len(f.items))
		for i, it := range f.items {
			infes = append(infes, boxOf("infe"+infeVersion, id(i+1), be16(0), []byte(it.kind), []byte{0})...)
			locations = append(locations, id(i+1)...)
			base := mdatAt
			if it.inIdat {
				locations = append(locations, be16(1)...)
				base = 0
			} else {
				locations = append(locations, be16(0)...)
			}
			locations = append(locations, be16(0)...)
			if f.long {
				locations = append(locations, be32(base)...)
				base = 0
			}
			locations = append(locations, be16(len(places[i]))...)
			for k, p := range places[i] {
				if f.long {
					locations = append(locations, be32(k+1)...)
				}
				locations = append(locations, be32(base+p.at)...)
				locations = append(locations, be32(p.length)...)
			}
			associations = append(associations, id(i+1)...)
			associations = append(associations, byte(len(it.properties)))
			for _, p := range it.properties {
				essential := 0
				if p < 0 {
					p, essential = -p, 1
				}
				if f.long {
					associations = append(associations, be16(essential<<15|p)...)
				} else {
					associations = append(associations, byte(essential<<7|p))
				}
			}
		}
		return boxOf("meta"+v0,
			boxOf("hdlr"+v0, be32(0), []byte("pict"), make([]byte, 13)),
			boxOf("pitm"+version, id(1)),
			boxOf("iloc"+ilocVersion, locations),
			boxOf("iinf"+version, infes),
			boxOf("iref"+v1, f.references...),
			boxOf("iprp", boxOf("ipco", f.properties...), boxOf("ipma"+ipmaFlags, associations)),
			boxOf("idat", idat),
		)
	}
	if f.metaLast {
		return append(append(ftyp, boxOf("mdat", mdat)...), meta(len(ftyp)+8)...)
	}
	m := meta(len(ftyp) + len(meta(0)) + 8)
	return append(append(ftyp, m...), boxOf("mdat", mdat)...)
}

func ispe(w, h int) []byte { return boxOf("ispe"+v0, be32(w), be32(h)) }
func irot(n byte) []byte   { return boxOf("irot", []byte{n}) }
func imir(n byte) []byte   { return boxOf("imir", []byte{n}) }
func nclx(p, t, m int, full bool) []byte {
	last := []byte{0}
	if full {
		last[0] = 0x80
	}
	return boxOf("colr", []byte("nclx"), be16(p), be16(t), be16(m), last)
}

func clap(w, h, x, y int) []byte {
	one := be32(1)
	return boxOf("clap", be32(w), one, be32(h), one, be32(x), one, be32(y), one)
}

func gridOf(rows, cols, w, h int) []byte {
	return append([]byte{0, 0, byte(rows - 1), byte(cols - 1)}, append(be16(w), be16(h)...)...)
}

// sample returns a file of testdata. Those of 64 x 48 pixels show red and green above blue and white; the tiles of 64 x 64 one
// of these. They were made by heif-enc 1.15 and avifenc 0.11 of pictures of that kind.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// parse parses a file of which nothing is wrong.
func parse(t testing.TB, data []byte) *File {
	t.Helper()
	f, err := Parse(context.Background(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func planOf(t testing.TB, data []byte, wanted int) *Plan {
	t.Helper()
	p, err := parse(t, data).Plan(context.Background(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A tile is the first coded item of a sample: its data, and the box of its decoder configuration.
type tile struct{ data, config []byte }

func tileOf(t testing.TB, name string) tile {
	t.Helper()
	data := sample(t, name)
	f := parse(t, data)
	p, err := f.Plan(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	it := p.Colour.tiles[0].item
	d, err := f.describe(context.Background(), it)
	if err != nil {
		t.Fatal(err)
	}
	coded, err := f.readItem(context.Background(), it, maxCoded)
	if err != nil {
		t.Fatal(err)
	}
	config := f.properties[d.config-1]
	return tile{coded, boxOf(config.kind, data[config.start:config.end])}
}

// gridFile returns a picture of 2 x 2 tiles: red and green above blue and white, of w x h pixels.
func gridFile(t testing.TB, extension, kind string, w, h int) testFile {
	f := testFile{properties: [][]byte{ispe(w, h), ispe(64, 64)}}
	if extension == ".avif" {
		f.brand = "avif"
	}
	f.items = []testItem{{kind: "grid", data: gridOf(2, 2, w, h), properties: []int{1}, inIdat: true}}
	for _, name := range []string{"red", "green", "blue", "white"} {
		tile := tileOf(t, name+extension)
		f.properties = append(f.properties, tile.config)
		f.items = append(f.items, testItem{kind: kind, data: tile.data, properties: []int{2, -len(f.properties)}})
	}
	f.references = [][]byte{reference32("dimg", 1, 2, 3, 4, 5)}
	return f
}

package heif

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestSniff(t *testing.T) {
	for head, want := range map[string]bool{
		"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic": true,
		"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic": true,
		"\x00\x00\x00\x14ftypavif\x00\x00\x00\x00avif":     true,
		"\x00\x00\x00\x18ftypMiHB\x00\x00\x00\x00MiHBheic": true, // told by another brand
		"\x00\x00\x00\x14ftypMiHB\x00\x00\x00\x00MiHBheic": false,
		"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isomiso2": false,
		"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42mif1": false, // a film with a picture
		"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ":     false,
		"\x00\x00\x00\x0cjXL ftypjxl \x00\x00\x00\x00":     false,
		"ftypheic": false,
		"":         false,
	} {
		if got := Sniff([]byte(head)); got != want {
			t.Errorf("%q: %v", head, got)
		}
	}
}

// fails parses a file and plans a picture, and returns the error.
func fails(t *testing.T, data []byte) error {
	t.Helper()
	f, err := Parse(context.Background(), bytes.NewReader(data), int64(len(data)))
	if err == nil {
		var p *Plan
		if p, err = f.Plan(context.Background(), 0); err == nil && p.Colour != nil {
			err = p.Colour.Copy(context.Background(), io.Discard)
		}
	}
	if err == nil {
		t.Error("no error")
	}
	return err
}

// change replaces the only place of old in data.
func change(t *testing.T, data []byte, old, new string) []byte {
	t.Helper()
	if bytes.Count(data, []byte(old)) != 1 {
		t.Fatalf("%d places of %q", bytes.Count(data, []byte(old)), old)
	}
	return bytes.Replace(data, []byte(old), []byte(new), 1)
}

func TestUnsupported(t *testing.T) {
	single := func(kind string, data []byte, properties ...[]byte) testFile {
		f := testFile{properties: properties, items: []testItem{{kind: kind, data: data}}}
		for i := range properties {
			f.items[0].properties = append(f.items[0].properties, -i-1)
		}
		return f
	}
	tile := tileOf(t, "red.heic")
	size := ispe(64, 64)
	turnedTile := gridFile(t, ".heic", "hvc1", 128, 128)
	turnedTile.properties = append(turnedTile.properties, irot(1))
	turnedTile.items[2].properties = append(turnedTile.items[2].properties, len(turnedTile.properties))
	mixed := gridFile(t, ".heic", "hvc1", 128, 128)
	other := tileOf(t, "red.avif")
	mixed.properties = append(mixed.properties, other.config)
	mixed.items[1] = testItem{kind: "av01", data: other.data, properties: []int{2, -len(mixed.properties)}}
	for name, data := range map[string][]byte{
		"a film":                           []byte("\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isomiso2\x00\x00\x00\x08free"),
		"nothing":                          nil,
		"no item":                          []byte("\x00\x00\x00\x14ftypheic\x00\x00\x00\x00mif1\x00\x00\x00\x08moov"),
		"an overlay":                       single("iovl", make([]byte, 20), size).bytes(),
		"a codec":                          single("vvc1", make([]byte, 20), size).bytes(),
		"an essential property":            single("hvc1", tile.data, tile.config, size, boxOf("iscl", make([]byte, 8))).bytes(),
		"a layer":                          single("hvc1", tile.data, tile.config, size, boxOf("lsel", be16(1))).bytes(),
		"an operating point":               single("hvc1", tile.data, tile.config, size, boxOf("a1op", []byte{1})).bytes(),
		"a matrix":                         single("hvc1", tile.data, tile.config, size, nclx(9, 16, 14, false)).bytes(),
		"tiles that are turned":            turnedTile.bytes(),
		"tiles of two codecs":              mixed.bytes(),
		"a construction method":            change(t, single("hvc1", tile.data, tile.config, size).bytes(), "\x44\x00\x00\x01\x00\x01\x00\x00", "\x44\x00\x00\x01\x00\x01\x00\x02"),
		"an item in another file":          change(t, single("hvc1", tile.data, tile.config, size).bytes(), "\x44\x00\x00\x01\x00\x01\x00\x00\x00\x00", "\x44\x00\x00\x01\x00\x01\x00\x00\x00\x01"),
		"an item that is encrypted":        change(t, single("hvc1", tile.data, tile.config, size).bytes(), "\x00\x01\x00\x00hvc1", "\x00\x01\x00\x01hvc1"),
		"metadata that is not of pictures": change(t, single("hvc1", tile.data, tile.config, size).bytes(), "pict", "mdir"),
	} {
		if err := fails(t, data); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What is not essential is passed over.
	f := single("hvc1", tile.data, tile.config, size, boxOf("iscl", make([]byte, 8)))
	f.items[0].properties[2] = 3
	planOf(t, f.bytes(), 0)
}

func TestCorrupt(t *testing.T) {
	tile := tileOf(t, "red.heic")
	good := testFile{
		properties: [][]byte{tile.config, ispe(64, 64)},
		items:      []testItem{{kind: "hvc1", data: tile.data, properties: []int{-1, 2}}},
	}
	planOf(t, good.bytes(), 0)
	with := func(edit func(f *testFile)) []byte {
		f := gridFile(t, ".heic", "hvc1", 128, 128)
		edit(&f)
		return f.bytes()
	}
	cases := map[string][]byte{
		"no primary item":              change(t, good.bytes(), "pitm\x00\x00\x00\x00\x00\x01", "pitm\x00\x00\x00\x00\x00\x02"),
		"a property that is missing":   with(func(f *testFile) { f.items[0].properties = []int{100} }),
		"a grid without tiles":         with(func(f *testFile) { f.references = nil }),
		"a grid of itself":             with(func(f *testFile) { f.references = [][]byte{reference32("dimg", 1, 1, 1, 1, 1)} }),
		"tiles that are missing":       with(func(f *testFile) { f.references = [][]byte{reference32("dimg", 1, 2, 3, 4, 9)} }),
		"too few tiles":                with(func(f *testFile) { f.references = [][]byte{reference32("dimg", 1, 2, 3, 4)} }),
		"a grid cut off":               with(func(f *testFile) { f.items[0].data = f.items[0].data[:6] }),
		"a grid larger than its tiles": with(func(f *testFile) { f.items[0].data = gridOf(2, 2, 129, 128) }),
		"a tile without data":          with(func(f *testFile) { f.items[3].data = nil }),
		"a tile without configuration": with(func(f *testFile) { f.items[3].properties = []int{2} }),
		"a NAL unit that is too long":  with(func(f *testFile) { f.items[3].data = []byte{0, 0, 0, 9, 1, 2, 3} }),
		"a length that is cut off":     with(func(f *testFile) { f.items[3].data = []byte{0, 0, 0} }),
		"a crop of nothing":            transformed(t, clap(10, 10, 500, 0)),
		"a crop by zero":               transformed(t, boxOf("clap", make([]byte, 32))),
		"derived without end": with(func(f *testFile) {
			f.items[0].kind = "iden"
			f.references = [][]byte{reference32("dimg", 1, 2), reference32("dimg", 2, 1)}
			f.items[1].kind = "iden"
		}),
	}
	for n := range len(good.bytes()) {
		if n > 24 {
			if err := fails(t, good.bytes()[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes of %d: %v", n, len(good.bytes()), err)
			}
		}
	}
	for name, data := range cases {
		if err := fails(t, data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTooLarge tells sizes without reading, let alone decoding, anything.
func TestTooLarge(t *testing.T) {
	tile := tileOf(t, "red.heic")
	for name, f := range map[string]testFile{
		"a size": {
			properties: [][]byte{tile.config, ispe(1<<31-1, 64)},
			items:      []testItem{{kind: "hvc1", data: tile.data, properties: []int{-1, 2}}},
		},
		"a grid": {items: []testItem{{kind: "grid", data: []byte{0, 1, 0, 0, 0xff, 0, 0, 0, 0xff, 0, 0, 0}}}},
	} {
		if err := fails(t, f.bytes()); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	data := sample(t, "grid.avif")
	broken := errors.New("broken")
	for n := 0; ; n++ {
		r := &failing{r: bytes.NewReader(data), left: n, err: broken}
		f, err := Parse(context.Background(), r, int64(len(data)))
		var p *Plan
		if err == nil {
			p, err = f.Plan(context.Background(), 0)
		}
		if err == nil {
			err = p.Colour.Copy(context.Background(), io.Discard)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, broken) {
			t.Fatalf("read %d: %v", n, err)
		}
	}
	// A file that has become shorter is not corrupt.
	_, err := Parse(context.Background(), bytes.NewReader(data[:100]), int64(len(data)))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Parse(ctx, bytes.NewReader(data), int64(len(data))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// failing fails from a certain read on.
type failing struct {
	r    io.ReaderAt
	left int
	err  error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, f.err
	}
	return f.r.ReadAt(p, off)
}

func TestAssembleRefusesMissingFrames(t *testing.T) {
	p := planOf(t, sample(t, "grid.avif"), 0)
	colour, alpha := make([]byte, p.Colour.Output), make([]byte, p.Alpha.Output)
	if _, err := p.Assemble(colour, alpha); err != nil {
		t.Error(err)
	}
	if _, err := p.Assemble(colour[1:], alpha); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if _, err := p.Assemble(colour, nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// TestThumbnailChoice offers thumbnails that do not show the picture as it is.
func TestThumbnailChoice(t *testing.T) {
	for _, test := range []struct {
		name          string
		wanted        int
		width, height int
		alpha         bool // the picture has transparency
		properties    [][]byte
		id            uint32 // of the first tile
	}{
		{"large enough", 64, 64, 64, false, [][]byte{irot(1)}, 6},
		{"too small", 65, 64, 64, false, [][]byte{irot(1)}, 2},
		{"not turned", 64, 64, 64, false, nil, 2},
		{"turned otherwise", 64, 64, 64, false, [][]byte{irot(3)}, 2},
		{"of another shape", 40, 64, 48, false, [][]byte{irot(1)}, 2},
		{"without transparency", 64, 64, 64, true, [][]byte{irot(1)}, 2},
		{"all that there is", 0, 64, 64, false, [][]byte{irot(1)}, 2},
		{"of another kind", 64, 64, 64, false, [][]byte{irot(1), boxOf("what")}, 2},
		{"in colours that are not known", 64, 64, 64, false, [][]byte{irot(1), nclx(9, 16, 14, false)}, 2},
	} {
		f := gridFile(t, ".heic", "hvc1", 128, 128)
		add := func(id int, p []byte) {
			f.properties = append(f.properties, p)
			f.items[id-1].properties = append(f.items[id-1].properties, -len(f.properties))
		}
		add(1, irot(1))
		tile := tileOf(t, "blue.heic")
		f.items = append(f.items, testItem{kind: "hvc1", data: tile.data})
		add(6, tile.config)
		add(6, ispe(test.width, test.height))
		for _, p := range test.properties {
			add(6, p)
		}
		f.references = append(f.references, reference32("thmb", 6, 1))
		if test.alpha {
			f.items = append(f.items, testItem{kind: "hvc1", data: tile.data})
			add(7, tile.config)
			add(7, ispe(64, 64))
			add(7, boxOf("auxC"+v0, []byte("urn:mpeg:hevc:2015:auxid:1\x00")))
			f.references = append(f.references, reference32("auxl", 7, 1))
		}
		p := planOf(t, f.bytes(), test.wanted)
		if got := p.Colour.tiles[0].id; got != test.id {
			t.Errorf("%s: item %d", test.name, got)
		}
		if (p.Alpha != nil) != test.alpha {
			t.Errorf("%s: transparency %v", test.name, p.Alpha != nil)
		}
	}
}

// TestAlphaOfTiles gives transparency to each tile instead of the grid.
func TestAlphaOfTiles(t *testing.T) {
	f := gridFile(t, ".heic", "hvc1", 128, 128)
	f.properties = append(f.properties, boxOf("auxC"+v0, []byte("urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\x00")))
	for i := range 4 {
		alpha := f.items[1+i]
		alpha.properties = append(slices.Clone(alpha.properties), -len(f.properties))
		f.items = append(f.items, alpha)
		f.references = append(f.references, reference32("auxl", 6+i, 2+i))
	}
	p := planOf(t, f.bytes(), 0)
	if p.Alpha == nil || p.Alpha.Frames != 4 || p.Alpha.tiles[0].id != 6 {
		t.Fatalf("%+v", p.Alpha)
	}
}

func TestIdentityDerivation(t *testing.T) {
	f := gridFile(t, ".heic", "hvc1", 128, 96)
	f.properties = append(f.properties, irot(1), imir(1))
	turn, mirror := len(f.properties)-1, len(f.properties)
	f.items[0].properties = append(f.items[0].properties, -turn)
	f.items = append(f.items, f.items[0])
	f.items[0] = testItem{kind: "iden", properties: []int{-mirror}}
	f.references = [][]byte{reference32("dimg", 6, 2, 3, 4, 5), reference32("dimg", 1, 6)}
	p := planOf(t, f.bytes(), 0)
	if p.Width != 96 || p.Height != 128 || p.orientation.exif() != 7 {
		t.Errorf("%d x %d, orientation %d", p.Width, p.Height, p.orientation.exif())
	}
}

func TestJPEGItem(t *testing.T) {
	coded := "\xff\xd8\xff\xe1\x00\x0aExif\x00\x00\x01\x02\xff\xe0\x00\x04JF\xff\xda\x00\x02data\xff\xd9"
	icc := strings.Repeat("profile ", 10000) // takes two segments
	f := testFile{
		properties: [][]byte{ispe(64, 48), irot(1), boxOf("colr", []byte("prof"+icc))},
		items:      []testItem{{kind: "jpeg", data: []byte(coded), properties: []int{1, -2, 3}}},
	}
	p := planOf(t, f.bytes(), 0)
	if p.Colour != nil || p.Width != 48 || p.Height != 64 || string(p.Profile) != icc {
		t.Errorf("%+v", p)
	}
	head := "\xff\xd8\xff\xe1\x00\x22Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x08\x00\x00\x00\x00\x00\x00" +
		"\xff\xe2\xff\xffICC_PROFILE\x00\x01\x02profile "
	if !strings.HasPrefix(string(p.JPEG), head) {
		t.Errorf("begins with %q", p.JPEG[:min(len(p.JPEG), 100)])
	}
	if !strings.HasSuffix(string(p.JPEG), "profile \xff\xe0\x00\x04JF\xff\xda\x00\x02data\xff\xd9") {
		t.Errorf("ends with %q", p.JPEG[max(0, len(p.JPEG)-100):])
	}
	if n := strings.Count(string(p.JPEG), "Exif"); n != 1 {
		t.Errorf("%d times EXIF data", n)
	}
}

func TestSequences(t *testing.T) {
	for name, want := range map[string]sequence{
		"deep444.heic":   {width: 64, height: 64, depth: 10, colours: cicp{2, 2, 6, true}},
		"odd.heic":       {width: 64, height: 64, depth: 8, halfWidth: true, halfHeight: true, colours: cicp{2, 2, 6, true}},
		"limited12.avif": {width: 64, height: 48, depth: 12, halfWidth: true, halfHeight: true, colours: cicp{1, 13, 6, false}},
		"422.avif":       {width: 64, height: 48, depth: 8, halfWidth: true, colours: cicp{1, 13, 6, true}},
		"grey10.avif":    {width: 64, height: 48, depth: 10, mono: true, colours: cicp{1, 13, 6, true}},
		"p3rgb.avif":     {width: 64, height: 48, depth: 8, colours: cicp{12, 13, 0, true}},
		"pq.avif":        {width: 64, height: 48, depth: 10, colours: cicp{9, 16, 9, true}},
		"libheif.avif":   {width: 64, height: 48, depth: 8, halfWidth: true, halfHeight: true, colours: cicp{2, 2, 6, true}},
	} {
		got := planOf(t, sample(t, name), 0).Colour.tiles[0].sequence
		got.header, got.lengthSize = nil, 0
		if got.width != want.width || got.height != want.height || got.depth != want.depth || got.mono != want.mono ||
			got.halfWidth != want.halfWidth || got.halfHeight != want.halfHeight || got.colours != want.colours {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestParameterSets reads parameter sets that x265 wrote with many options. What is wanted is what ffprobe says of them.
func TestParameterSets(t *testing.T) {
	for text, want := range map[string]sequence{
		"42010101600000030090000003000003001ea0182071d565959a4932bc05a02000000300200000030321": {
			width: 190, height: 110, depth: 8, halfWidth: true, halfHeight: true, colours: cicp{2, 2, 2, false},
		},
		"42010101600000030090000003000003001ea0182071d565959a49395e02dc303404100000030010000003019080": { // scaling lists
			width: 190, height: 110, depth: 8, halfWidth: true, halfHeight: true, colours: cicp{12, 13, 1, true},
		},
		"4201010408000003009d0800000300001eb0182071d5b65959a4932bc05a848804820000030002000003003210": {
			width: 190, height: 110, depth: 10, halfWidth: true, colours: cicp{9, 16, 9, false},
		},
		"420101040800000300980800000300001e9003040e3bb294b2b349272bc0bd810000030001000003001908": { // pixels that are not square
			width: 190, height: 110, depth: 12, colours: cicp{2, 2, 2, true},
		},
		"4201010408000003009fc800000300001ec06081c77796566924caf016e04040c080000003008000000c84": {
			width: 190, height: 110, depth: 8, mono: true, colours: cicp{2, 2, 6, true},
		},
		"42010102200000030090000003000003001ea0182071d5365959a4932bc054810103db08000003000800000300c840": {
			width: 190, height: 110, depth: 10, halfWidth: true, halfHeight: true, colours: cicp{2, 2, 7, false},
		},
		"4201010408000003009e080000030000ff9003040e3bbcb2b349265780b7020200040000030004000003006420": {
			width: 190, height: 110, depth: 8, colours: cicp{2, 2, 0, true},
		},
	} {
		nal, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var got sequence
		if err := got.readSPS(nal); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %+v, want %+v", text, err, got, want)
		}
	}
}

// TestReferenceSets reads what stills do not have: sets of reference pictures, of which the second is told by the first.
func TestReferenceSets(t *testing.T) {
	b := bits{data: []byte{
		// 2 negative and 1 positive picture, 3 times a distance of 1 and a flag; then: from the set before, sign, distance of 1,
		// 4 times whether the picture is used.
		0b011_010_1_1, 0b1_1_1_1_1_0_1_1, 0b1_1_1_01111,
	}}
	if !skipReferenceSets(&b, 2) || b.bad || b.read(5) != 15 {
		t.Errorf("at bit %d, %v", b.pos, b.bad)
	}
	if b = (bits{data: []byte{0, 0, 0, 0, 0xff}}); skipReferenceSets(&b, 2) {
		t.Error("no error")
	}
}

// TestSequenceHeaderInConfiguration moves the sequence header out of the item, which saves it in each tile.
func TestSequenceHeaderInConfiguration(t *testing.T) {
	whole := gridFile(t, ".avif", "av01", 128, 128)
	moved := gridFile(t, ".avif", "av01", 128, 128)
	for i := range 4 {
		data, config := bytes.TrimPrefix(moved.items[1+i].data, []byte(temporalDelimiter)), moved.properties[2+i]
		n := 2 + int(data[1])
		if data[0]>>3 != obuSequenceHeader {
			t.Fatalf("item begins with %x", data[:4])
		}
		moved.items[1+i].data = data[n:]
		moved.properties[2+i] = boxOf("av1C", append(bytes.Clone(config[8:]), data[:n]...))
	}
	var want, got bytes.Buffer
	if err := planOf(t, whole.bytes(), 0).Colour.Copy(context.Background(), &want); err != nil {
		t.Fatal(err)
	}
	if err := planOf(t, moved.bytes(), 0).Colour.Copy(context.Background(), &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("the streams differ")
	}
}

// TestProfile compares with profiles that are known: the columns are those of the profile "Display P3" of Apple.
func TestProfile(t *testing.T) {
	for _, c := range []cicp{{}, {1, 13, 6, true}, {2, 2, 2, false}, {1, 1, 1, false}} {
		if p := c.profile(); p != nil {
			t.Errorf("%v: %d bytes", c, len(p))
		}
	}
	m := multiply(toD50(whiteD65), rgbToXYZ(cicp{primaries: 12}.chromaticities()))
	want := [3][3]float64{{0.51512, 0.29198, 0.15710}, {0.24120, 0.69225, 0.06657}, {-0.00105, 0.04189, 0.78407}}
	for row := range 3 {
		for col := range 3 {
			if d := math.Abs(m[row][col] - want[row][col]); d > 0.0005 {
				t.Errorf("%d, %d: %f, want %f", row, col, m[row][col], want[row][col])
			}
		}
	}
	for primaries := range uint16(24) {
		for transfer := range uint16(20) {
			p := cicp{primaries: primaries, transfer: transfer}.profile()
			if p == nil {
				continue
			}
			c := cursor{data: p[128:]}
			n := c.u32()
			for range n {
				name, at, size := c.str(4), int(c.u32()), int(c.u32())
				if at%4 != 0 || at+size > len(p) {
					t.Fatalf("tag %s at %d of %d bytes in %d", name, at, size, len(p))
				}
			}
			if int(n) != 10 || int(p[2])<<8|int(p[3]) != len(p) {
				t.Errorf("%d tags, %d bytes", n, len(p))
			}
		}
	}
}

func TestProfileOf(t *testing.T) {
	for _, test := range []struct {
		primaries, transfer string
		want                []byte
	}{
		{"smpte432", "iec61966-2-1", cicp{primaries: 12, transfer: 13}.profile()},
		{"bt2020", "smpte2084", cicp{primaries: 9, transfer: transferPQ}.profile()},
		{"bt709", "linear", cicp{primaries: 1, transfer: transferLinear}.profile()},
		{"bt709", "iec61966-2-1", nil},
		{"unknown", "reserved", nil},
		{"", "", nil},
	} {
		if got := ProfileOf(test.primaries, test.transfer); !bytes.Equal(got, test.want) {
			t.Errorf("%s, %s: %d bytes, want %d", test.primaries, test.transfer, len(got), len(test.want))
		}
	}
}

// TestToneMap keeps what is dark, and is steady and rising up to white.
func TestToneMap(t *testing.T) {
	if got := pq(0.58); math.Abs(got-0.68) > 0.01 { // 203 cd/m2
		t.Errorf("white becomes %f", got)
	}
	for _, f := range []func(float64) float64{pq, hlg, toneMap} {
		last := -1e-9
		for i := range 1001 {
			v := f(float64(i) / 1000)
			if v < last || v > 1 || v-last > 0.02 {
				t.Fatalf("%d: %f behind %f", i, v, last)
			}
			last = v
		}
	}
	if pq(1) != 1 || hlg(1) < 0.99 || pq(0) != 0 || hlg(0) != 0 {
		t.Errorf("from %f, %f to %f, %f", pq(0), hlg(0), pq(1), hlg(1))
	}
}

func TestConversion(t *testing.T) {
	for matrix := range uint16(16) {
		for _, full := range []bool{false, true} {
			for _, depth := range []int{8, 10, 12} {
				c := cicp{primaries: 9, matrix: matrix, fullRange: full}
				conv, err := c.conversion(depth, false)
				if matrix == 11 || matrix > 12 {
					if !errors.Is(err, ErrUnsupported) {
						t.Errorf("matrix %d: %v", matrix, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				black, white, middle := 0, 1<<depth-1, 1<<(depth-1)
				if !full {
					black, white = 16<<(depth-8), 235<<(depth-8)
				}
				for _, v := range []int{black, white} {
					chroma := int32(middle * chromaSteps)
					if matrix == matrixIdentity {
						chroma = int32(v * chromaSteps)
					}
					var pix [4]byte
					convert(pix[:], []int32{int32(v)}, []int32{chroma}, []int32{chroma}, conv)
					want := byte(255 * (v - black) / (white - black))
					if pix != [4]byte{want, want, want, 255} {
						t.Errorf("matrix %d, full range %v, %d bits: %d becomes %v", matrix, full, depth, v, pix)
					}
				}
				// The extremes must not overflow.
				for i := range 8 {
					v := func(bit, scale int) int32 { return int32(i >> bit & 1 * (1<<depth - 1) * scale) }
					for _, row := range conv {
						exact := int64(row.luma)*int64(v(0, 1)) + int64(row.blue)*int64(v(1, 16)) + int64(row.red)*int64(v(2, 16)) + int64(row.offset)
						if exact != int64(int32(exact)) {
							t.Errorf("matrix %d overflows", matrix)
						}
					}
				}
			}
		}
	}
}

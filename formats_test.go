package thumbcache

import (
	"bytes"
	"cmp"
	"compress/flate"
	"compress/lzw"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"
)

// This file makes small files of every kind in docs/formats.md, gets a thumbnail of each, and compares the tables of the page
// with what it found.

// A mediaFormat is a row of a table in docs/formats.md.
type mediaFormat struct {
	table   string // heading of the table's first column
	name    string // first cell
	reader  string // second cell: "Go"; or "ffmpeg" and the first of the tested versions that reads the format; or the error
	samples []mediaSample
}

// A mediaSample is a file of a format.
type mediaSample struct {
	feature string // heading of the column that the file is proof of; "" for none
	data    maker
	want    corners
	shape   outline
	since   string // the first of the tested versions of ffmpeg whose colors are right; "" for all
}

// An outline says which edge of a thumbnail is longer.
type outline string

const (
	landscape outline = ""
	portrait  outline = "portrait"
	square    outline = "square"
)

// A maker returns the bytes of a file, or skips the test if a tool is missing.
type maker func(t *testing.T) []byte

// corners are the colors in the middles of the quarters of a picture: left and right above left and right. Nil means anything.
type corners []color.NRGBA

var (
	quarters = corners{{220, 30, 30, 255}, {30, 180, 40, 255}, {40, 60, 210, 255}, {230, 230, 220, 255}}
	grays    = corners{{40, 40, 40, 255}, {180, 180, 180, 255}, {110, 110, 110, 255}, {250, 250, 250, 255}}
	bilevel  = corners{{0, 0, 0, 255}, {255, 255, 255, 255}, {255, 255, 255, 255}, {0, 0, 0, 255}}
	// pure is what the files in internal/render/testdata show.
	pure = corners{{220, 30, 30, 255}, {30, 200, 40, 255}, {40, 40, 210, 255}, {230, 220, 40, 255}}
)

// features are the headings of the columns whose cells say whether something is honored.
var features = []string{"Orientation", "Profile", "Transparency", "Animation"}

// A testedFFmpeg is shared by all samples, so that the program is asked only once for what it can do.
type testedFFmpeg struct {
	FFmpeg
	version func() int
}

// TestMediaFormats gets a thumbnail of every file. By default it takes only some of the videos, and one file of each kind of
// picture that ffmpeg decodes.
func TestMediaFormats(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	videos, stills := series(3, math.MaxInt), series(1, math.MaxInt)
	tool := &testedFFmpeg{FFmpeg: FFmpeg{Path: os.Getenv("THUMBCACHE_FFMPEG")}}
	tool.version = sync.OnceValue(func() int { return ffmpegVersion(tool.Path) })
	for _, f := range formats() {
		if strings.HasPrefix(f.table, "Video") {
			if videos--; videos < 0 {
				continue
			}
		}
		samples := f.samples
		if f.table == "Picture" && strings.HasPrefix(f.reader, "ffmpeg") {
			samples = samples[:min(len(samples), stills)]
		}
		for _, s := range samples {
			name := strings.TrimSuffix(f.table+"/"+f.name+"/"+s.feature, "/")
			if seen[name] {
				t.Errorf("two samples for %s", name)
			}
			seen[name] = true
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f.check(t, s, tool)
			})
		}
	}
}

func (f mediaFormat) check(t *testing.T, s mediaSample, tool *testedFFmpeg) {
	program, since, _ := strings.Cut(f.reader, " ")
	extractor := FirstOf(Images(), CoverArt())
	if program != "Go" {
		needFFmpeg(t)
		extractor = FirstOf(Images(), CoverArt(), &tool.FFmpeg)
	}
	root := writeFiles(t, map[string][]byte{"file": s.data(t)})
	c := mustNew(t, Config{Providers: map[string]Provider{"p": Files(root)}, Extractor: extractor})
	thumb, err := c.Get(t.Context(), "p", "file", 0)

	if want := refusals[f.reader]; want != nil {
		if !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		return
	}
	if since != "" && tool.version() < parseVersion(since) {
		if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("got %v of this ffmpeg; the page says that it needs %s", err, since)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if processes := c.Stats().Processes; (processes == 0) != (program == "Go") {
		t.Errorf("%d processes", processes)
	}
	img, _, err := image.Decode(bytes.NewReader(thumb.Data))
	if err != nil {
		t.Fatal(err)
	}
	got := outline(map[int]outline{-1: portrait, 0: square, 1: landscape}[cmp.Compare(thumb.Width, thumb.Height)])
	if got != s.shape {
		t.Errorf("%d x %d, which is %q, want %q", thumb.Width, thumb.Height, got, s.shape)
	}
	if s.since != "" && tool.version() < parseVersion(s.since) {
		return // the page says so
	}
	if got := cornersOf(img); !got.isLike(s.want, 14) {
		t.Errorf("got %v, want %v", got, s.want)
	}
}

var refusals = map[string]error{
	"ErrUnsupported": ErrUnsupported, "ErrCorrupt": ErrCorrupt, "ErrNoPicture": ErrNoPicture, "ErrTooLarge": ErrTooLarge,
}

// cornersOf returns the colors in the middles of the quarters.
func cornersOf(img image.Image) (l corners) {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	for i := range 4 {
		c := img.At(w/4+i%2*(w/2), h/4+i/2*(h/2))
		l = append(l, color.NRGBAModel.Convert(c).(color.NRGBA))
	}
	return l
}

func (l corners) isLike(want corners, tolerance int) bool {
	for i, w := range want {
		for _, d := range []int{int(l[i].R) - int(w.R), int(l[i].G) - int(w.G), int(l[i].B) - int(w.B)} {
			if max(d, -d) > tolerance {
				return false
			}
		}
	}
	return true
}

// parseVersion returns a number that grows with a version such as "5.1" or "7.1.5-0+deb13u1". A version without numbers is of a
// build that is newer than all.
func parseVersion(s string) int {
	var major, minor int
	if n, _ := fmt.Sscanf(strings.TrimPrefix(s, "n"), "%d.%d", &major, &minor); n == 0 {
		return math.MaxInt
	}
	return 1000*major + minor
}

func ffmpegVersion(path string) int {
	out, _ := exec.Command(cmp.Or(path, "ffmpeg"), "-version").Output()
	fields := strings.Fields(string(out))
	if len(fields) < 3 {
		return math.MaxInt
	}
	return parseVersion(fields[2])
}

// TestDocFormats compares the tables of docs/formats.md with the samples.
func TestDocFormats(t *testing.T) {
	page, err := os.ReadFile("docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	inPage := make(map[string]bool)
	var headings []string
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			headings = nil
		case headings == nil:
			headings = cells
		case !strings.HasPrefix(cells[0], "---"):
			row := []string{headings[0], cells[0], cells[1]}
			for i, heading := range headings {
				if slices.Contains(features, heading) && cells[i] != "–" && cells[i] != "no" {
					row = append(row, heading)
				}
			}
			inPage[strings.Join(row, " | ")] = true
		}
	}
	tested := make(map[string]bool)
	for _, f := range formats() {
		row := []string{f.table, f.name, f.reader}
		for _, feature := range features {
			if slices.ContainsFunc(f.samples, func(s mediaSample) bool { return s.feature == feature }) {
				row = append(row, feature)
			}
		}
		tested[strings.Join(row, " | ")] = true
	}
	for row := range inPage {
		if !tested[row] {
			t.Errorf("in docs/formats.md, not tested: %s", row)
		}
	}
	for row := range tested {
		if !inPage[row] {
			t.Errorf("tested, not in docs/formats.md: %s", row)
		}
	}
}

// formats returns all rows.
func formats() []mediaFormat {
	return slices.Concat(audioFormats(), jpegFormats(), pngFormats(), otherFormats(), tiffFormats(), ffmpegPictures(), rawFormats(), videoFormats(), refusedFormats())
}

func row(table, name, reader string, samples ...mediaSample) mediaFormat {
	return mediaFormat{table, name, reader, samples}
}

// shows returns a file without a special feature.
func shows(want corners, data []byte) mediaSample {
	return mediaSample{data: bytesOf(data), want: want}
}

// has returns a file that is proof of a feature.
func has(feature string, want corners, data []byte) mediaSample {
	return mediaSample{feature: feature, data: bytesOf(data), want: want}
}

func bytesOf(data []byte) maker { return func(*testing.T) []byte { return data } }

func testdata(name string) []byte {
	data, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return data
}

// draw returns a picture of w x h with these corners.
func (l corners) draw(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, l[2*y/h*2+2*x/w])
		}
	}
	return m
}

func (l corners) picture() *image.NRGBA { return l.draw(64, 48) }

// turned returns the picture as it is stored with orientation 6.
func (l corners) turned(w, h int) *image.NRGBA { return corners{l[1], l[3], l[0], l[2]}.draw(h, w) }

// exchanged returns the picture as it is stored with exchangedProfile.
func (l corners) exchanged() (m corners) {
	for _, c := range l {
		m = append(m, color.NRGBA{c.B, c.G, c.R, c.A})
	}
	return m
}

// clear returns the picture half transparent, and its colors on white.
func (l corners) clear() (half, onWhite corners) {
	mix := func(v uint8) uint8 { return uint8((int(v)*128 + 255*127) / 255) }
	for _, c := range l {
		half = append(half, color.NRGBA{c.R, c.G, c.B, 128})
		onWhite = append(onWhite, color.NRGBA{mix(c.R), mix(c.G), mix(c.B), 255})
	}
	return half, onWhite
}

// convert returns the corners after each color was converted in linear light.
func (l corners) convert(f func(r, g, b float64) (float64, float64, float64)) (m corners) {
	linear := func(v uint8) float64 { return math.Pow((float64(v)/255+0.055)/1.055, 2.4) }
	encode := func(v float64) uint8 {
		v = max(0, min(v, 1))
		if v < 0.0031308 {
			return uint8(255*12.92*v + 0.5)
		}
		return uint8(255*(1.055*math.Pow(v, 1/2.4)-0.055) + 0.5)
	}
	for _, c := range l {
		r, g, b := f(linear(c.R), linear(c.G), linear(c.B))
		m = append(m, color.NRGBA{encode(r), encode(g), encode(b), 255})
	}
	return m
}

// fromLinear returns the corners of the same numbers as linear light.
func (l corners) fromLinear() (m corners) {
	encode := func(v uint8) uint8 { return uint8(255*(1.055*math.Pow(float64(v)/255, 1/2.4)-0.055) + 0.5) }
	for _, c := range l {
		m = append(m, color.NRGBA{encode(c.R), encode(c.G), encode(c.B), 255})
	}
	return m
}

// fromBT2020 and fromP3 return the corners of the same numbers in a wide gamut.
func (l corners) fromBT2020() corners {
	return l.convert(func(r, g, b float64) (float64, float64, float64) { // ITU-R BT.2087
		return 1.6605*r - 0.5877*g - 0.0728*b, -0.1246*r + 1.1329*g - 0.0083*b, -0.0182*r - 0.1006*g + 1.1187*b
	})
}

func (l corners) fromP3() corners {
	return l.convert(func(r, g, b float64) (float64, float64, float64) {
		return 1.2249*r - 0.2247*g, -0.0420*r + 1.0419*g, -0.0197*r - 0.0786*g + 1.0979*b
	})
}

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
func be64(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
func le16(n int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(n)) }
func le32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
func le64(n int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }
func text(s string) []byte        { return []byte(s) }

// Audio files. The sound does not matter.

func audioFormats() []mediaFormat {
	pic := jpegOf(quarters.picture())
	apic := join(text("\x00image/jpeg\x00\x03cover\x00"), pic)
	id3 := func(version byte, frame []byte) []byte {
		n := len(frame)
		return join([]byte{'I', 'D', '3', version, 0, 0, byte(n >> 21), byte(n >> 14 & 127), byte(n >> 7 & 127), byte(n & 127)}, frame)
	}
	id3v2 := id3(3, join(text("APIC"), be32(len(apic)), be16(0), apic))
	mp3 := bytes.Repeat(join([]byte{0xff, 0xfb, 0x90, 0}, make([]byte, 413)), 20)
	aac := bytes.Repeat(join([]byte{0xff, 0xf1, 0x50, 0x80, 200 >> 3, 200&7<<5 | 31, 0xfc}, make([]byte, 193)), 20)
	picV22 := join(text("\x00JPG\x03\x00"), pic)
	sizeV24 := []byte{0, 0, byte(len(apic) >> 7), byte(len(apic) & 127)}

	block := join(be32(3), be32(10), text("image/jpeg"), be32(0), make([]byte, 16), be32(len(pic)), pic)
	flacBlock := func(kind byte, data []byte) []byte { return join([]byte{kind}, be32(len(data))[1:], data) }
	flac := join(text("fLaC"), flacBlock(0, make([]byte, 34)), flacBlock(6, block), flacBlock(0x81, nil), []byte{0xff, 0xf8, 0xc9, 0x18}, make([]byte, 900))

	comment := text("METADATA_BLOCK_PICTURE=" + base64.StdEncoding.EncodeToString(block))
	comments := join(le32(0), le32(1), le32(len(comment)), comment)
	oggPage := func(flags byte, packet []byte) []byte {
		lacing := append(bytes.Repeat([]byte{255}, len(packet)/255), byte(len(packet)%255))
		return join(text("OggS\x00"), []byte{flags}, make([]byte, 20), []byte{byte(len(lacing))}, lacing, packet)
	}
	ogg := func(first, commentHeader []byte) []byte {
		return join(oggPage(2, join(first, make([]byte, 60))), oggPage(0, join(commentHeader, comments, []byte{1})), oggPage(4, make([]byte, 900)))
	}
	oggFLAC := join(oggPage(2, join(text("\x7fFLAC\x01\x00\x00\x02fLaC"), flacBlock(0, make([]byte, 34)))),
		oggPage(0, flacBlock(4, comments)), oggPage(0, flacBlock(0x86, block)), oggPage(4, make([]byte, 900)))

	item := join(le32(len(pic)+len("cover.jpg\x00")), le32(2), text("Cover Art (Front)\x00cover.jpg\x00"), pic)
	apeTag := func(flags byte) []byte {
		return join(text("APETAGEX"), le32(2000), le32(len(item)+32), le32(1), []byte{0, 0, 0, flags}, make([]byte, 8))
	}
	ape := func(magic string) []byte {
		return join(text(magic), make([]byte, 500), apeTag(0xa0), item, apeTag(0x80))
	}

	data := box("data", be32(13), be32(0), pic)
	hdlr := box("hdlr", make([]byte, 8), text("mdirappl"), make([]byte, 9))
	sound := box("trak", box("tkhd", be32(7), make([]byte, 80)), box("mdia", box("hdlr", make([]byte, 8), text("soun"), make([]byte, 13))))
	m4a := join(box("ftyp", text("M4A \x00\x00\x00\x00M4A mp42isom")),
		box("moov", sound, box("udta", box("meta", be32(0), hdlr, box("ilst", box("covr", data))))), box("mdat", make([]byte, 900)))

	chunkLE := func(name string, data []byte) []byte {
		return join(text(name), le32(len(data)), data, make([]byte, len(data)%2))
	}
	chunkBE := func(name string, data []byte) []byte {
		return join(text(name), be32(len(data)), data, make([]byte, len(data)%2))
	}
	chunk64 := func(name string, data []byte) []byte {
		return join(text(name), be64(len(data)), data, make([]byte, len(data)%2))
	}
	wav := chunkLE("RIFF", join(text("WAVE"), chunkLE("fmt ", make([]byte, 16)), chunkLE("data", make([]byte, 900)), chunkLE("id3 ", id3v2)))
	aiff := chunkBE("FORM", join(text("AIFF"), chunkBE("COMM", make([]byte, 18)), chunkBE("SSND", make([]byte, 900)), chunkBE("ID3 ", id3v2)))
	dsf := join(text("DSD "), le64(28), le64(928+len(id3v2)), le64(928), make([]byte, 900), id3v2)
	dff := chunk64("FRM8", join(text("DSD "), chunk64("FVER", make([]byte, 4)), chunk64("DSD ", make([]byte, 900)), chunk64("ID3 ", id3v2)))

	utf16le := func(s string) (b []byte) {
		for _, u := range utf16.Encode([]rune(s)) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return b
	}
	object := func(id string, data ...[]byte) []byte {
		guid := []byte(id)
		body := join(data...)
		return join(guid, le64(len(body)+24), body)
	}
	wmPicture := join([]byte{3}, le32(len(pic)), utf16le("image/jpeg\x00\x00"), pic)
	name := utf16le("WM/Picture\x00")
	content := object("\x40\xa4\xd0\xd2\x07\xe3\xd2\x11\x97\xf0\x00\xa0\xc9\x5e\xa8\x50", le16(1), le16(len(name)), name, le16(1), le16(len(wmPicture)), wmPicture)
	stream := object("\x91\x07\xdc\xb7\xb7\xa9\xcf\x11\x8e\xe6\x00\xc0\x0c\x20\x53\x65", text("\x40\x9e\x69\xf8\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b"), make([]byte, 54))
	wma := join(text("\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"), le64(30+len(content)+len(stream)), le32(2), []byte{1, 2}, stream, content, make([]byte, 900))

	mka := join(ebml(0x1a45dfa3, ebml(0x4282, text("matroska"))), ebml(0x18538067,
		ebml(0x1654ae6b, ebml(0xae, ebml(0xd7, []byte{1}), ebml(0x83, []byte{2}))),
		ebml(0x1941a469, ebml(0x61a7, ebml(0x466e, text("cover.jpg")), ebml(0x4660, text("image/jpeg")), ebml(0x465c, pic)))))

	audio := func(name string, data []byte) mediaFormat { return row("Audio", name, "Go", shows(quarters, data)) }
	return []mediaFormat{
		audio("MP3, ID3v2.2", join(id3(2, join(text("PIC"), be32(len(picV22))[1:], picV22)), mp3)),
		audio("MP3, ID3v2.3", join(id3v2, mp3)),
		audio("MP3, ID3v2.4", join(id3(4, join(text("APIC"), sizeV24, be16(0), apic)), mp3)),
		audio("MP3, APEv2", join(mp3, apeTag(0xa0), item, apeTag(0x80))),
		audio("AAC (ADTS)", join(id3v2, aac)),
		audio("FLAC", flac),
		audio("Ogg Vorbis", ogg(text("\x01vorbis"), text("\x03vorbis"))),
		audio("Ogg Opus", ogg(text("OpusHead"), text("OpusTags"))),
		audio("Ogg Speex", ogg(text("Speex   "), nil)),
		audio("Ogg FLAC", oggFLAC),
		audio("MP4 audio (M4A, M4B)", m4a),
		audio("WAV", wav),
		audio("AIFF, AIFF-C", aiff),
		audio("DSF", dsf),
		audio("DSDIFF (DFF)", dff),
		audio("Monkey's Audio (APE)", ape("MAC \x96\x0f")),
		audio("WavPack", ape("wvpk")),
		audio("Musepack", ape("MPCK")),
		audio("TAK", ape("tBaK")),
		audio("OptimFROG", ape("OFR ")),
		audio("TTA", join(id3v2, text("TTA1"), make([]byte, 500))),
		audio("Windows Media Audio (ASF)", wma),
		audio("Matroska audio (MKA)", mka),
	}
}

// box returns a box of an ISO base media file.
func box(kind string, contents ...[]byte) []byte {
	p := join(contents...)
	return join(be32(8+len(p)), text(kind), p)
}

// ebml returns an element of Matroska.
func ebml(id int, contents ...[]byte) []byte {
	p := join(contents...)
	size := be64(len(p))
	size[0] = 1
	return join(bytes.TrimLeft(be32(id), "\x00"), size, p)
}

// Pictures that Go reads.

func jpegOf(m image.Image) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func pngOf(m image.Image) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// exif returns EXIF data with orientation 6.
func exif() []byte {
	return join(text("MM\x00*"), be32(8), be16(1), be16(0x112), be16(3), be32(1), be16(6), be16(0), be32(0))
}

// segment inserts a segment into a JPEG.
func segment(data []byte, marker byte, content ...[]byte) []byte {
	p := join(content...)
	return join(data[:2], []byte{0xff, marker}, be16(len(p)+2), p, data[2:])
}

// iccProfile returns a profile with these tags, which are names and values in turn.
func iccProfile(space, connection string, tags ...[]byte) []byte {
	head := make([]byte, 128)
	copy(head[8:], "\x02\x40\x00\x00mntr"+space+connection)
	copy(head[36:], "acsp")
	var table, values []byte
	at := 128 + 4 + 6*len(tags)
	for i := 0; i < len(tags); i += 2 {
		table = join(table, tags[i], be32(at+len(values)), be32(len(tags[i+1])))
		values = append(values, tags[i+1]...)
	}
	icc := join(head, be32(len(tags)/2), table, values)
	copy(icc, be32(len(icc)))
	return icc
}

// exchangedProfile returns a profile of sRGB in which red and blue are exchanged.
func exchangedProfile() []byte {
	fixed := func(values ...float64) (b []byte) {
		for _, v := range values {
			b = append(b, be32(int(math.Round(v*65536)))...)
		}
		return b
	}
	xyz := func(x, y, z float64) []byte { return join(text("XYZ \x00\x00\x00\x00"), fixed(x, y, z)) }
	curve := join(text("para\x00\x00\x00\x00\x00\x03\x00\x00"), fixed(2.4, 1/1.055, 0.055/1.055, 1/12.92, 0.04045))
	return iccProfile("RGB ", "XYZ ", text("wtpt"), xyz(0.9642, 1, 0.8249),
		text("rXYZ"), xyz(0.1431, 0.0606, 0.7141), text("gXYZ"), xyz(0.3851, 0.7169, 0.0971), text("bXYZ"), xyz(0.4361, 0.2225, 0.0139),
		text("rTRC"), curve, text("gTRC"), curve, text("bTRC"), curve)
}

// whiteInkProfile returns a CMYK profile in which no ink but black shows.
func whiteInkProfile() []byte {
	identity := make([]byte, 256)
	for i := range identity {
		identity[i] = byte(i)
	}
	one := be32(1 << 16)
	lut := join(text("mft1\x00\x00\x00\x00\x04\x03\x02\x00"), one, make([]byte, 12), one, make([]byte, 12), one, bytes.Repeat(identity, 4))
	for range 8 {
		lut = append(lut, 255, 128, 128, 0, 128, 128) // without and with black, in L*a*b*
	}
	return iccProfile("CMYK", "Lab ", text("A2B0"), join(lut, bytes.Repeat(identity, 3)))
}

func jpegFormats() []mediaFormat {
	baseline := jpegOf(quarters.picture())
	frame := bytes.Index(baseline, text("\xff\xc0"))
	extended := bytes.Clone(baseline)
	extended[frame+1] = 0xc1
	dnl := bytes.Clone(baseline)
	copy(dnl[frame+5:], be16(0))
	dnl = join(dnl[:len(dnl)-2], text("\xff\xdc\x00\x04"), be16(48), text("\xff\xd9"))
	drawing, err := jpeg.Decode(bytes.NewReader(testdata("internal/jpegdec/testdata/baseline.jpg")))
	if err != nil {
		panic(err)
	}
	cmyk := testdata("internal/render/testdata/cmyk.jpg")
	black := corners{{216, 216, 216, 255}, {194, 194, 194, 255}, {205, 205, 205, 255}, {227, 227, 227, 255}} // cmyk.jpg has some
	picture := func(name string, samples ...mediaSample) mediaFormat { return row("Picture", name, "Go", samples...) }
	return []mediaFormat{
		picture("JPEG, baseline", shows(quarters, baseline),
			has("Orientation", quarters, segment(jpegOf(quarters.turned(64, 48)), 0xe1, text("Exif\x00\x00"), exif())),
			has("Profile", quarters, segment(jpegOf(quarters.exchanged().picture()), 0xe2, text("ICC_PROFILE\x00\x01\x01"), exchangedProfile()))),
		picture("JPEG, extended", shows(quarters, extended)),
		picture("JPEG, progressive", shows(pure, testdata("internal/render/testdata/progressive.jpg"))),
		picture("JPEG, arithmetic coding", shows(cornersOf(drawing), testdata("internal/jpegdec/testdata/arithmetic.jpg"))),
		picture("JPEG, RGB without conversion", shows(cornersOf(drawing), testdata("internal/jpegdec/testdata/rgb.jpg"))),
		picture("JPEG, height in a DNL segment", shows(quarters, dnl)),
		picture("JPEG, CMYK and YCCK", shows(pure, cmyk), has("Profile", black, segment(cmyk, 0xe2, text("ICC_PROFILE\x00\x01\x01"), whiteInkProfile()))),
		picture("JPEG, cut off", shows(quarters[:2], truncated())),
	}
}

// grainy returns a picture with some noise, because a damaged picture without details counts as empty.
func grainy() *image.NRGBA {
	m := quarters.draw(320, 240)
	state := uint32(1)
	for i := range m.Pix {
		state = state*1664525 + 1013904223
		if i%4 < 3 {
			m.Pix[i] ^= byte(state >> 29)
		}
	}
	return m
}

// truncated returns a JPEG of which the lower part is missing.
func truncated() []byte {
	data := jpegOf(grainy())
	return data[:len(data)*2/3]
}

// chunk returns a chunk of a PNG.
func chunk(kind string, contents ...[]byte) []byte {
	p := join(contents...)
	c := join(be32(len(p)), text(kind), p)
	return append(c, be32(int(crc32.ChecksumIEEE(c[4:])))...)
}

// withChunk inserts a chunk after the header of a PNG.
func withChunk(data []byte, kind string, contents ...[]byte) []byte {
	const header = 8 + 25
	return join(data[:header], chunk(kind, contents...), data[header:])
}

func deflate(data []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// rows returns the samples of a picture as channels, such as "rgba", with what is before each row.
func rows(m *image.NRGBA, channels string, before ...byte) (b []byte) {
	for y := range m.Rect.Dy() {
		b = append(b, before...)
		for x := range m.Rect.Dx() {
			for _, c := range channels {
				p := m.NRGBAAt(x, y)
				b = append(b, map[rune]byte{'r': p.R, 'g': p.G, 'b': p.B, 'a': p.A, '0': 0, 'k': 255 - p.G}[c])
			}
		}
	}
	return b
}

// paletted returns the picture with a palette of 16 colors.
func paletted(m *image.NRGBA, l corners) *image.Paletted {
	p := image.NewPaletted(m.Rect, make(color.Palette, 16))
	for i := range p.Palette {
		p.Palette[i] = l[i%4]
	}
	for i := range p.Pix {
		p.Pix[i] = byte(p.Palette.Index(m.At(i%p.Stride, i/p.Stride)))
	}
	return p
}

func pngFormats() []mediaFormat {
	half, onWhite := quarters.clear()
	plain := pngOf(quarters.picture())
	deep := image.NewNRGBA64(image.Rect(0, 0, 64, 48))
	gray := image.NewGray(deep.Rect)
	for y := range 48 {
		for x := range 64 {
			deep.Set(x, y, quarters.picture().At(x, y))
			gray.Set(x, y, grays.picture().At(x, y))
		}
	}
	frame := func(sequence int) []byte {
		return chunk("fcTL", be32(sequence), be32(64), be32(48), be64(0), be32(1<<16|10), be16(0))
	}
	header := func(kind byte) []byte { return chunk("IHDR", be32(64), be32(48), []byte{8, kind, 0, 0, 0}) }
	signature := plain[:8]
	apng := join(signature, header(6), chunk("acTL", be32(2), be32(0)), frame(0), chunk("IDAT", deflate(make([]byte, 48*257))),
		frame(1), chunk("fdAT", be32(2), deflate(rows(quarters.picture(), "rgba", 0))), chunk("IEND"))
	var raw bytes.Buffer
	w, err := flate.NewWriter(&raw, 9)
	if err != nil {
		panic(err)
	}
	w.Write(rows(quarters.picture(), "bgra", 0))
	w.Close()
	cgbi := join(signature, chunk("CgBI", []byte{0x50, 0, 0x20, 2}), header(6), chunk("IDAT", raw.Bytes()), chunk("IEND"))
	picture := func(name string, samples ...mediaSample) mediaFormat { return row("Picture", name, "Go", samples...) }
	return []mediaFormat{
		picture("PNG", shows(quarters, plain),
			has("Orientation", quarters, withChunk(pngOf(quarters.turned(64, 48)), "eXIf", exif())),
			has("Profile", quarters, withChunk(pngOf(quarters.exchanged().picture()), "iCCP", text("x\x00\x00"), deflate(exchangedProfile()))),
			has("Transparency", onWhite, pngOf(half.picture()))),
		picture("PNG, 16 bits", shows(quarters, pngOf(deep))),
		picture("PNG, gray", shows(grays, pngOf(gray))),
		picture("PNG, palette", shows(quarters, pngOf(paletted(quarters.picture(), quarters))),
			has("Transparency", onWhite, pngOf(paletted(half.picture(), half)))),
		picture("PNG with cICP", has("Profile", quarters.fromBT2020(), withChunk(plain, "cICP", []byte{9, 13, 0, 1}))),
		picture("PNG with gAMA", has("Profile", quarters.fromLinear(), withChunk(plain, "gAMA", be32(100000)))),
		picture("PNG of Apple's tools (CgBI)", shows(quarters, cgbi)),
		picture("PNG without its end", shows(quarters, plain[:len(plain)-12])),
		picture("APNG", has("Animation", quarters, apng)),
	}
}

// bmp returns a bitmap with an information header of the given fields after its size, and what follows it.
func bmp(info []byte, tables, pixels []byte) []byte {
	at := 14 + 4 + len(info) + len(tables)
	return join(text("BM"), le32(at+len(pixels)), le32(0), le32(at), le32(4+len(info)), info, tables, pixels)
}

// dibInfo returns the fields of an information header of 40 bytes. Pixels are from bottom to top.
func dibInfo(height, bits, compression, size int) []byte {
	return join(le32(64), le32(height), le16(1), le16(bits), le32(compression), le32(size), make([]byte, 16))
}

// upsideDown returns the corners with its halves exchanged.
func (l corners) upsideDown() corners { return corners{l[2], l[3], l[0], l[1]} }

func otherFormats() []mediaFormat {
	half, onWhite := quarters.clear()
	var blank, still, animated bytes.Buffer
	first := paletted(quarters.picture(), quarters)
	empty := image.NewPaletted(first.Rect, color.Palette{color.NRGBA{}, color.NRGBA{1, 2, 3, 255}})
	clearGIF := paletted(quarters.picture(), quarters)
	clearGIF.Palette = slices.Insert(clearGIF.Palette[:4:4], 0, color.Color(color.NRGBA{}))
	for i := range clearGIF.Pix { // the first quarter is transparent
		if clearGIF.Pix[i]++; i%64 < 32 && i/64 < 24 {
			clearGIF.Pix[i] = 0
		}
	}
	for b, g := range map[*bytes.Buffer]*gif.GIF{
		&still:    {Image: []*image.Paletted{first}, Delay: []int{0}},
		&blank:    {Image: []*image.Paletted{clearGIF}, Delay: []int{0}},
		&animated: {Image: []*image.Paletted{empty, first}, Delay: []int{9, 9}},
	} {
		if err := gif.EncodeAll(b, g); err != nil {
			panic(err)
		}
	}
	firstClear := slices.Clone(quarters)
	firstClear[0] = color.NRGBA{255, 255, 255, 255}

	render := func(name string) []byte { return testdata("internal/render/testdata/" + name) }
	secondClear := slices.Clone(pure)
	secondClear[1] = mixWhite(pure[1])
	lossless := render("lossless.webp")
	bounds := boundsOf(lossless)
	icc := exchangedProfile()
	riff := join(text("WEBPVP8X"), le32(10), le32(0x20), le32(bounds.X - 1)[:3], le32(bounds.Y - 1)[:3],
		text("ICCP"), le32(len(icc)), icc, make([]byte, len(icc)%2), lossless[12:])
	profiled := join(text("RIFF"), le32(len(riff)), riff)

	up := quarters.upsideDown().picture()
	colors := rows(up, "bgr")
	index := paletted(up, quarters).Pix
	var palette, triples, rle []byte
	for _, c := range quarters {
		palette, triples = append(palette, c.B, c.G, c.R, 0), append(triples, c.B, c.G, c.R)
	}
	palette = join(palette, make([]byte, 4*252))
	for y := range 48 {
		rle = append(rle, 32, index[64*y], 32, index[64*y+63], 0, 0)
	}
	var pixels16 []byte
	for i := 0; i < len(colors); i += 3 {
		pixels16 = append(pixels16, le16(int(colors[i]>>3)|int(colors[i+1]>>3)<<5|int(colors[i+2]>>3)<<10)...)
	}
	masks := join(le32(0xff0000), le32(0xff00), le32(0xff), []byte{0, 0, 0, 0xff})
	v5 := join(dibInfo(48, 24, 0, 64*48*3), make([]byte, 16), text("DEBM"), make([]byte, 36+12), le32(0), le32(124+64*48*3), le32(len(icc)), le32(0))
	halfUp := half.upsideDown().picture()
	and := bytes.Repeat(make([]byte, 8), 48)
	andFirst := bytes.Clone(and)
	for y := 24; y < 48; y++ { // bottom to top: the first quarter is transparent
		copy(andFirst[8*y:], "\xff\xff\xff\xff")
	}
	icon := func(kind int, image []byte) []byte {
		return join(le16(0), le16(kind), le16(1), []byte{64, 48, 0, 0}, le16(1), le16(32), le32(len(image)), le32(22), image)
	}
	dib := func(bits int, pixels, and []byte) []byte { return join(le32(40), dibInfo(96, bits, 0, 0), pixels, and) }

	picture := func(name string, samples ...mediaSample) mediaFormat { return row("Picture", name, "Go", samples...) }
	return []mediaFormat{
		picture("GIF", shows(quarters, still.Bytes()), has("Transparency", firstClear, blank.Bytes()), has("Animation", quarters, animated.Bytes())),
		picture("WebP, lossy", shows(pure, render("lossy.webp")), has("Transparency", secondClear, render("lossy-alpha.webp")),
			mediaSample{"Orientation", bytesOf(render("exif.webp")), nil, portrait, ""}, has("Animation", pure, render("animated.webp"))),
		picture("WebP, lossless", shows(pure, lossless), has("Transparency", secondClear, render("lossless-alpha.webp")),
			has("Profile", pure.exchanged(), profiled)),
		picture("BMP, OS/2 header", shows(quarters, bmp(join(le16(64), le16(48), le16(1), le16(8)), join(triples, make([]byte, 3*252)), index))),
		picture("BMP, palette", shows(quarters, bmp(dibInfo(48, 8, 0, len(index)), palette, index))),
		picture("BMP, RLE", shows(quarters, bmp(dibInfo(48, 8, 1, len(rle)), palette, rle))),
		picture("BMP, 16 bits", shows(quarters, bmp(dibInfo(48, 16, 0, len(pixels16)), nil, pixels16))),
		picture("BMP, 24 bits", shows(quarters, bmp(dibInfo(48, 24, 0, len(colors)), nil, colors)),
			has("Profile", quarters, bmp(v5, nil, join(rows(quarters.exchanged().upsideDown().picture(), "bgr"), icc)))),
		picture("BMP, 32 bits", shows(quarters, bmp(dibInfo(48, 32, 0, 64*48*4), nil, rows(up, "bgr0"))),
			has("Transparency", onWhite, bmp(join(dibInfo(48, 32, 3, 64*48*4), masks), nil, rows(halfUp, "bgra")))),
		picture("BMP, JPEG or PNG inside", shows(quarters, bmp(dibInfo(48, 0, 4, 0), nil, jpegOf(quarters.picture())))),
		picture("ICO", shows(quarters, icon(1, dib(24, colors, and))), has("Transparency", onWhite, icon(1, dib(32, rows(halfUp, "bgra"), and)))),
		picture("ICO, transparent by its mask", has("Transparency", firstClear, icon(1, dib(24, colors, andFirst)))),
		picture("ICO, PNG inside", shows(quarters, icon(1, pngOf(quarters.picture()))), has("Transparency", onWhite, icon(1, pngOf(half.picture())))),
		picture("CUR", shows(quarters, icon(2, dib(24, colors, and)))),
	}
}

func mixWhite(c color.NRGBA) color.NRGBA {
	_, onWhite := corners{c}.clear()
	return onWhite[0]
}

// boundsOf returns the size of a lossless WebP.
func boundsOf(webp []byte) image.Point {
	v := binary.LittleEndian.Uint32(webp[bytes.Index(webp, text("VP8L"))+9:])
	return image.Pt(int(v&0x3fff)+1, int(v>>14&0x3fff)+1)
}

// A field is one of a TIFF directory.
type field struct {
	tag     uint16
	numbers []int  // of type SHORT or LONG
	bytes   []byte // of type UNDEFINED, in place of numbers
}

// isLong reports whether numbers must be of type LONG.
func isLong(f field) bool {
	switch f.tag {
	case 273, 279, 324, 325, 513, 514: // offsets and lengths
		return true
	}
	return slices.ContainsFunc(f.numbers, func(v int) bool { return v > math.MaxUint16 })
}

func num(tag uint16, v ...int) field { return field{tag: tag, numbers: v} }

// tiffFile returns a file in little endian that begins with head: magic, room for the offset of the first directory, and perhaps
// more. Each directory is made from the offsets of the blobs.
func tiffFile(head string, blobs [][]byte, directories func(at []int) [][]field) []byte {
	big := strings.HasPrefix(head, "II+")
	number := le32
	width := 4
	if big {
		number, width = le64, 8
	}
	b := text(head)
	var at []int
	for _, blob := range blobs {
		b = append(b, make([]byte, len(b)%2)...)
		at = append(at, len(b))
		b = append(b, blob...)
	}
	link := width
	for _, fields := range directories(at) {
		slices.SortFunc(fields, func(a, b field) int { return int(a.tag) - int(b.tag) })
		var entries []byte
		for _, f := range fields {
			kind, count, value := 3, len(f.numbers), []byte(nil) // SHORT
			if isLong(f) {
				kind = 4
			}
			for _, v := range f.numbers {
				value = append(value, le32(v)[:4*(kind-3)+2*(4-kind)]...)
			}
			if f.bytes != nil {
				kind, count, value = 7, len(f.bytes), f.bytes
			}
			if len(value) > width {
				b = append(b, make([]byte, len(b)%2)...)
				place := number(len(b))
				b, value = append(b, value...), place
			}
			entries = join(entries, le16(int(f.tag)), le16(kind), number(count), value, make([]byte, width-len(value)))
		}
		b = append(b, make([]byte, len(b)%2)...)
		copy(b[link:], number(len(b)))
		if big {
			b = append(b, le64(len(fields))...)
		} else {
			b = append(b, le16(len(fields))...)
		}
		b = append(b, entries...)
		link = len(b)
		b = append(b, number(0)...)
	}
	return b
}

// tiff returns a file with one picture of 64 x 48 in one strip. Fields replace those of an RGB picture.
func tiff(strip []byte, fields ...field) []byte {
	return tiffFile("II*\x00\x00\x00\x00\x00", [][]byte{strip}, func(at []int) [][]field { return [][]field{strips(at[:1], [][]byte{strip}, fields...)} })
}

// strips returns the directory of a picture.
func strips(at []int, data [][]byte, fields ...field) []field {
	var counts []int
	for _, d := range data {
		counts = append(counts, len(d))
	}
	all := []field{num(256, 64), num(257, 48), num(258, 8, 8, 8), num(259, 1), num(262, 2), num(273, at...), num(277, 3), num(278, 48), num(279, counts...)}
	for _, f := range fields {
		if i := slices.IndexFunc(all, func(g field) bool { return g.tag == f.tag }); i >= 0 {
			all[i] = f
		} else {
			all = append(all, f)
		}
	}
	return all
}

// bitsOf returns bits that are given as text. Spaces are ignored.
func bitsOf(s string) (b []byte) {
	s = strings.ReplaceAll(s, " ", "")
	for len(s) > 0 {
		k := min(8, len(s))
		v, err := strconv.ParseUint((s[:k] + "0000000")[:8], 2, 8)
		if err != nil {
			panic(err)
		}
		b, s = append(b, byte(v)), s[k:]
	}
	return b
}

func tiffFormats() []mediaFormat {
	half, onWhite := quarters.clear()
	m := quarters.picture()
	rgb := rows(m, "rgb")
	icc := exchangedProfile()
	widen := func(p []byte, f func(v byte) []byte) (b []byte) {
		for _, v := range p {
			b = append(b, f(v)...)
		}
		return b
	}
	word := func(v byte) []byte { return []byte{v, v} }
	var packed, differences []byte
	for y := range 48 {
		line := rgb[192*y:][:192]
		for x := 0; x < 192; x += 96 {
			packed = append(packed, 95)
			packed = append(packed, line[x:x+96]...)
		}
		for x := range line {
			if x < 3 {
				differences = append(differences, line[x])
			} else {
				differences = append(differences, line[x]-line[x-3])
			}
		}
	}
	var lzwStrips [][]byte // of few codes, whose width does not change: there TIFF differs from GIF
	for y := range 48 {
		var b bytes.Buffer
		w := lzw.NewWriter(&b, lzw.MSB, 8)
		w.Write(differences[192*y:][:192])
		w.Close()
		lzwStrips = append(lzwStrips, b.Bytes())
	}
	lzwFile := tiffFile("II*\x00\x00\x00\x00\x00", lzwStrips, func(at []int) [][]field {
		return [][]field{strips(at, lzwStrips, num(259, 5), num(317, 2), num(278, 1))}
	})

	// Runs of 32 pixels. T.4: white 00011011, black 000001101010, white 0 00110101. T.6: horizontal 001, vertical 1.
	upper, lower := "00110101 000001101010 00011011", "00011011 000001101010"
	g4 := bitsOf("001 00110101 000001101010 1" + strings.Repeat("111", 23) + "001 00011011 000001101010" + strings.Repeat("11", 23) + "000000000001000000000001")
	eol := "000000000001"
	g3 := bitsOf(strings.Repeat(eol+upper, 24) + strings.Repeat(eol+lower, 24) + strings.Repeat(eol, 6))
	huffman := append(bytes.Repeat(bitsOf(upper), 24), bytes.Repeat(bitsOf(lower), 24)...)
	oneBit := append(bytes.Repeat(text("\xff\xff\xff\xff\x00\x00\x00\x00"), 24), bytes.Repeat(text("\x00\x00\x00\x00\xff\xff\xff\xff"), 24)...)
	striped := bytes.ReplaceAll(oneBit, []byte{0xff}, []byte{0xfe}) // a pixel in eight is white, the last one or, reversed, the first
	fax := []field{num(258, 1), num(262, 0), num(277, 1)}

	gray := rows(grays.picture(), "g")
	gray16 := widen(gray, word)
	var gray4, gray12 []byte
	for i := 0; i < len(gray); i += 2 {
		gray4 = append(gray4, gray[i]&0xf0|gray[i+1]>>4)
		gray12 = append(gray12, gray[i], gray[i]&0xf0|gray[i+1]>>4, gray[i+1]<<4)
	}
	float := widen(gray, func(v byte) []byte { return le32(int(math.Float32bits(float32(v) / 255))) })
	halfFloat := widen(gray, func(v byte) []byte { // positive and normal
		bits := math.Float32bits(float32(v) / 255)
		return le16(int(bits>>23-127+15)<<10 | int(bits>>13&0x3ff))
	})
	lab := widen(gray, func(v byte) []byte {
		y := math.Pow((float64(v)/255+0.055)/1.055, 2.4)
		return []byte{byte(255*(1.16*math.Cbrt(y)-0.16) + 0.5), 0, 0}
	})
	ink := rows(grays.picture(), "000k")
	var colorMap []int
	for channel := range 3 {
		for i := range 256 {
			c := quarters[i%4]
			colorMap = append(colorMap, 257*int([3]byte{c.R, c.G, c.B}[channel]))
		}
	}
	colorMapField := field{tag: 320, numbers: colorMap}
	planes := [][]byte{rows(m, "r"), rows(m, "g"), rows(m, "b")}
	planar := tiffFile("II*\x00\x00\x00\x00\x00", planes, func(at []int) [][]field { return [][]field{strips(at, planes, num(284, 2))} })
	var tiles [][]byte
	for y := 0; y < 48; y += 16 {
		for x := 0; x < 64; x += 32 {
			var tile []byte
			for row := range 16 {
				tile = append(tile, rgb[192*(y+row)+3*x:][:96]...)
			}
			tiles = append(tiles, tile)
		}
	}
	tiled := tiffFile("II*\x00\x00\x00\x00\x00", tiles, func(at []int) [][]field {
		d := strips(at, tiles, num(322, 32), num(323, 16), num(324, at...))
		d = slices.DeleteFunc(d, func(f field) bool { return f.tag == 273 || f.tag == 278 })
		for i := range d {
			if d[i].tag == 279 {
				d[i].tag = 325
			}
		}
		return [][]field{d}
	})
	small := rows(corners{{250, 200, 20, 255}, {250, 200, 20, 255}, {250, 200, 20, 255}, {250, 200, 20, 255}}.draw(16, 12), "rgb")
	reduced := tiffFile("II*\x00\x00\x00\x00\x00", [][]byte{small, rgb}, func(at []int) [][]field {
		return [][]field{strips(at[:1], [][]byte{small}, num(254, 1), num(256, 16), num(257, 12), num(278, 12)), strips(at[1:], [][]byte{rgb})}
	})
	bigTIFF := tiffFile("II+\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", [][]byte{rgb}, func(at []int) [][]field { return [][]field{strips(at, [][]byte{rgb})} })
	photo := jpegOf(m)
	oldJPEG := tiffFile("II*\x00\x00\x00\x00\x00", [][]byte{photo}, func(at []int) [][]field {
		return [][]field{strips(at, [][]byte{photo}, num(259, 6), num(262, 6), num(513, at[0]), num(514, len(photo)))}
	})

	picture := func(name string, samples ...mediaSample) mediaFormat {
		return row("Picture", "TIFF, "+name, "Go", samples...)
	}
	return []mediaFormat{
		picture("RGB", shows(quarters, tiff(rgb)),
			has("Orientation", quarters, tiff(rows(quarters.turned(64, 48), "rgb"), num(256, 48), num(257, 64), num(274, 6), num(278, 64))),
			has("Profile", quarters, tiff(rows(quarters.exchanged().picture(), "rgb"), field{tag: 34675, bytes: icc})),
			has("Transparency", onWhite, tiff(rows(half.picture(), "rgba"), num(258, 8, 8, 8, 8), num(277, 4), num(338, 2)))),
		picture("RGB of 16 bits", shows(quarters, tiff(widen(rgb, word), num(258, 16, 16, 16)))),
		picture("gray of 16 bits", shows(grays, tiff(gray16, num(258, 16), num(262, 1), num(277, 1)))),
		picture("gray of 4 bits", shows(corners{{34, 34, 34, 255}, {187, 187, 187, 255}, {102, 102, 102, 255}, {255, 255, 255, 255}}, tiff(gray4, num(258, 4), num(262, 1), num(277, 1)))),
		picture("gray of 12 bits", shows(grays, tiff(gray12, num(258, 12), num(262, 1), num(277, 1)))),
		picture("gray of 32 bits", shows(grays, tiff(widen(gray, func(v byte) []byte { return []byte{v, v, v, v} }), num(258, 32), num(262, 1), num(277, 1)))),
		picture("floats of 32 bits", shows(grays, tiff(float, num(258, 32), num(262, 1), num(277, 1), num(339, 3)))),
		picture("floats of 16 bits", shows(grays, tiff(halfFloat, num(258, 16), num(262, 1), num(277, 1), num(339, 3)))),
		picture("palette", shows(quarters, tiff(paletted(m, quarters).Pix, num(258, 8), num(262, 3), num(277, 1), colorMapField))),
		picture("CMYK", shows(grays, tiff(ink, num(258, 8, 8, 8, 8), num(262, 5), num(277, 4))),
			has("Profile", corners{{255, 255, 255, 255}, {255, 255, 255, 255}, {255, 255, 255, 255}, {255, 255, 255, 255}},
				tiff(rows(m, "rgb0"), num(258, 8, 8, 8, 8), num(262, 5), num(277, 4), field{tag: 34675, bytes: whiteInkProfile()}))),
		picture("CMYK of 16 bits", shows(grays, tiff(widen(ink, word), num(258, 16, 16, 16, 16), num(262, 5), num(277, 4)))),
		picture("L\\*a\\*b\\*", shows(grays, tiff(lab, num(262, 8)))),
		picture("LZW with predictor", shows(quarters, lzwFile)),
		picture("Deflate", shows(quarters, tiff(deflate(rgb), num(259, 8)))),
		picture("PackBits", shows(quarters, tiff(packed, num(259, 32773)))),
		picture("fax G4", shows(bilevel, tiff(g4, append(slices.Clone(fax), num(259, 4))...))),
		picture("fax G3", shows(bilevel, tiff(g3, append(slices.Clone(fax), num(259, 3))...))),
		picture("fax, modified Huffman", shows(bilevel, tiff(huffman, append(slices.Clone(fax), num(259, 2))...))),
		picture("1 bit, reversed fill order", shows(bilevel, tiff(reverseBits(striped), append(slices.Clone(fax), num(266, 2))...))),
		picture("JPEG", shows(quarters, tiff(photo, num(259, 7), num(262, 6)))),
		picture("old JPEG", shows(quarters, oldJPEG)),
		picture("planes", shows(quarters, planar)),
		picture("tiles", shows(quarters, tiled)),
		picture("reduced copy first", shows(quarters, reduced)),
		picture("BigTIFF", shows(quarters, bigTIFF)),
	}
}

func reverseBits(p []byte) (b []byte) {
	for _, v := range p {
		var r byte
		for i := range 8 {
			r |= v >> i & 1 << (7 - i)
		}
		b = append(b, r)
	}
	return b
}

// RAW photos: the tables that name the preview, and the preview.

func rawFormats() []mediaFormat {
	preview := jpegOf(quarters.turned(240, 320)) // the camera was turned, and its sensor is landscape
	sensor := append(text("\xff\xd8\xff\xc4\x00\x03\x00\xff\xc3\x00\x0b\x08\x10\x00\x18\x00\x01\x00\x11\x00\xff\xda"), make([]byte, 900)...)
	stream := func(at int) []field { return []field{num(274, 6), num(513, at), num(514, len(preview))} }
	raw := func(at int) []field {
		return []field{num(256, 6000), num(257, 4000), num(259, 7), num(262, 32803), num(273, at), num(279, len(sensor))}
	}
	tiffLike := func(head string, directories func(at []int) [][]field) []byte {
		return tiffFile(head, [][]byte{preview, sensor}, directories)
	}
	classic := "II*\x00\x00\x00\x00\x00"
	withSensor := tiffLike(classic, func(at []int) [][]field { return [][]field{stream(at[0]), raw(at[1])} })
	dng := tiffLike(classic, func(at []int) [][]field {
		return [][]field{append(stream(at[0]), field{tag: 50706, bytes: []byte{1, 4, 0, 0}}), raw(at[1])}
	})
	cr2 := tiffLike(classic+"CR\x02\x00\x00\x00\x00\x00", func(at []int) [][]field {
		return [][]field{{num(259, 6), num(274, 6), num(273, at[0]), num(279, len(preview))}, {num(259, 6), num(273, at[1]), num(279, len(sensor))}}
	})
	orf := tiffLike("IIRO\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", func(at []int) [][]field { return [][]field{stream(at[0])} })
	rw2 := tiffLike("IIU\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", func(at []int) [][]field {
		return [][]field{{num(2, 6000), num(3, 4000), num(274, 6), {tag: 0x2e, bytes: preview}}}
	})
	meta := tiffFile(classic, nil, func([]int) [][]field { return [][]field{{num(256, 6000), num(274, 6)}} })
	cr3 := join(box("ftyp", text("crx \x00\x00\x00\x01crx isom")),
		box("moov", box("uuid", text("\x85\xc0\xb6\x87\x82\x0f\x11\xe0\x81\x11\xf4\xce\x46\x2b\x6a\x48"), box("CMT1", meta))),
		box("uuid", text("\xea\xf4\x2b\x5e\x1c\x98\x4b\x88\xb9\xfb\xb7\xdc\x40\x6e\x4d\x16"), make([]byte, 8),
			box("PRVW", make([]byte, 6), be16(320), be16(240), be16(1), be32(len(preview)), preview)), box("mdat", make([]byte, 900)))
	rotated := segment(preview, 0xe1, text("Exif\x00\x00"), exif())
	raf := make([]byte, 148)
	copy(raf, "FUJIFILMCCD-RAW ")
	copy(raf[84:], be32(148))
	copy(raf[88:], be32(len(rotated)))

	photo := func(name string, data []byte) mediaFormat {
		return row("RAW photo", name, "Go", mediaSample{"Orientation", bytesOf(data), quarters, portrait, ""})
	}
	return []mediaFormat{
		photo("DNG", dng),
		photo("NEF, NRW, ARW, SR2, PEF, SRW", withSensor),
		photo("CR2", cr2),
		photo("CR3", cr3),
		photo("ORF", orf),
		photo("RW2, RWL", rw2),
		photo("RAF", join(raf, rotated, make([]byte, 900))),
	}
}

// Pictures that ffmpeg decodes.

// encoded returns a file that ffmpeg makes of a picture, perhaps with several frames. The arguments end with the extension.
func encoded(m *image.NRGBA, frames int, args string) maker {
	return func(t *testing.T) []byte {
		needFFmpeg(t)
		fields := strings.Fields(args)
		name := filepath.Join(t.TempDir(), "file."+fields[len(fields)-1])
		b := m.Bounds()
		command := append([]string{"-nostdin", "-v", "error", "-f", "rawvideo", "-pixel_format", "rgba", "-framerate", "25",
			"-video_size", fmt.Sprintf("%dx%d", b.Dx(), b.Dy()), "-i", "pipe:0"}, fields[:len(fields)-1]...)
		cmd := exec.Command("ffmpeg", append(command, name)...)
		cmd.Stdin = bytes.NewReader(bytes.Repeat(m.Pix, frames))
		if out, err := cmd.CombinedOutput(); err != nil {
			if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Skipf("this ffmpeg cannot make the file: %v\n%s", err, out)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}

// then changes a file that a maker makes.
func (m maker) then(change func(data []byte) []byte) maker {
	return func(t *testing.T) []byte { return change(m(t)) }
}

func ffmpegPictures() []mediaFormat {
	half, onWhite := quarters.clear()
	m := quarters.picture()
	heif := func(name string) []byte { return testdata("internal/heif/testdata/" + name) }
	kept := func(name string) []byte { return testdata("testdata/formats/" + name) }
	// The left quarters have an alpha of 63, the right ones of 191.
	var sides corners
	for i, c := range quarters {
		a := []int{63, 191}[i%2]
		mix := func(v uint8) uint8 { return uint8((int(v)*a + 255*(255-a)) / 255) }
		sides = append(sides, color.NRGBA{mix(c.R), mix(c.G), mix(c.B), 255})
	}
	turnedAVIF := corners{quarters[0], quarters[2], quarters[1], quarters[3]}

	still := func(name, reader string, samples ...mediaSample) mediaFormat {
		return row("Picture", name, reader, samples...)
	}
	jp2 := encoded(m, 1, "-c:v jpeg2000 -pix_fmt rgb24 jp2")
	psd := join(text("8BPS\x00\x01"), make([]byte, 6), be16(3), be32(48), be32(64), be16(8), be16(3), be32(0), be32(0), be32(0), be16(0), rows(m, "r"), rows(m, "g"), rows(m, "b"))
	return []mediaFormat{
		still("HEIC", "ffmpeg 4.3", shows(quarters, heif("odd.heic")), has("Transparency", sides, heif("alpha.heic")),
			has("Orientation", quarters, kept("turned.heic"))),
		still("AVIF", "ffmpeg 4.3", shows(quarters, heif("libheif.avif")), has("Transparency", sides, heif("premultiplied.avif")),
			mediaSample{"Orientation", bytesOf(heif("turned.avif")), turnedAVIF, portrait, ""}, has("Profile", quarters.fromP3(), heif("p3rgb.avif")),
			mediaSample{feature: "Animation", data: encoded(m, 3, "-c:v libaom-av1 -cpu-used 8 -crf 5 -pix_fmt yuv444p avif"), want: quarters}),
		still("HEIC and AVIF, tiles", "ffmpeg 4.3", mediaSample{"Transparency", bytesOf(heif("grid.avif")), sides, square, ""}),
		still("JPEG XL", "ffmpeg 5.1", shows(quarters, kept("plain.jxl")), has("Orientation", quarters, kept("turned.jxl")),
			has("Profile", quarters.fromBT2020(), kept("wide.jxl")), has("Transparency", onWhite, kept("alpha.jxl")), has("Animation", quarters, kept("animated.jxl"))),
		still("JPEG 2000", "ffmpeg 4.3", mediaSample{data: jp2, want: quarters},
			mediaSample{feature: "Transparency", data: encoded(half.picture(), 1, "-c:v libopenjpeg -pix_fmt rgba jp2"), want: onWhite},
			mediaSample{feature: "Profile", data: encoded(quarters.exchanged().picture(), 1, "-c:v jpeg2000 -pix_fmt rgb24 jp2").then(func(data []byte) []byte {
				at := bytes.Index(data, text("jp2h")) - 4
				end := at + int(binary.BigEndian.Uint32(data[at:]))
				colr := bytes.Index(data, text("colr")) - 4
				behind := colr + int(binary.BigEndian.Uint32(data[colr:]))
				return join(data[:at], box("jp2h", data[at+8:colr], box("colr", []byte{2, 0, 0}, exchangedProfile()), data[behind:end]), data[end:])
			}), want: quarters}),
		still("JPEG 2000, bare codestream", "ffmpeg 4.3", mediaSample{data: encoded(m, 1, "-c:v jpeg2000 -format j2k -pix_fmt rgb24 -f image2 j2k"), want: quarters}),
		still("QOI", "ffmpeg 5.1", mediaSample{data: encoded(m, 1, "-c:v qoi -pix_fmt rgb24 qoi"), want: quarters},
			mediaSample{feature: "Transparency", data: encoded(half.picture(), 1, "-c:v qoi qoi"), want: onWhite}),
		still("Photoshop (PSD)", "ffmpeg 4.3", shows(quarters, psd)),
		still("OpenEXR", "ffmpeg 4.3", mediaSample{data: encoded(m, 1, "-c:v exr -pix_fmt gbrpf32le exr"), want: quarters.fromLinear(), since: "7.1"}),
		still("PBM, PGM, PPM", "ffmpeg 4.3", shows(quarters, join(text("P6\n64 48\n255\n"), rows(m, "rgb")))),
		still("JPEG, 12 bits", "ffmpeg 4.3", shows(quarters, twelveBits(jpegOf(m)))),
		still("JPEG, lossless", "ffmpeg 4.3", mediaSample{data: encoded(grainy(), 1, "-c:v ljpeg -pix_fmt yuvj444p -f image2 jpg"), want: quarters}),
	}
}

// Videos.

func videoFormats() []mediaFormat {
	const w, h = 176, 144
	film := quarters.draw(w, h)
	container := func(name, reader, args string) mediaFormat {
		return row("Video container", name, reader, mediaSample{data: encoded(film, 6, args), want: quarters})
	}
	codec := func(name, reader, args string) mediaFormat {
		return row("Video codec", name, reader, mediaSample{data: encoded(film, 6, args), want: quarters})
	}
	turn := func(data []byte) []byte { // by 90 degrees, clockwise
		at := bytes.Index(data, text("tkhd")) - 4 + 48
		copy(data[at:], join(be32(0), be32(1<<16), be32(0), be32(-1<<16), be32(0), be32(0)))
		return data
	}
	mp4 := container("MP4, MOV, M4V, 3GP", "ffmpeg 4.3", "-c:v libx264 -preset ultrafast -qp 10 mp4")
	mp4.samples = append(mp4.samples, mediaSample{feature: "Orientation", data: encoded(quarters.turned(w, h), 6, "-c:v libx264 -preset ultrafast -qp 10 mp4").then(turn), want: quarters})
	return []mediaFormat{
		mp4,
		container("Matroska, WebM", "ffmpeg 4.3", "-c:v libx264 -preset ultrafast -qp 10 mkv"),
		container("AVI", "ffmpeg 4.3", "-c:v mpeg4 -q:v 2 avi"),
		container("MPEG transport stream", "ffmpeg 4.3", "-c:v libx264 -preset ultrafast -qp 10 ts"),
		container("MPEG program stream, VOB", "ffmpeg 4.3", "-c:v mpeg2video -q:v 2 vob"),
		container("MPEG video without container", "ffmpeg 4.3", "-c:v mpeg2video -q:v 2 m2v"),
		container("Flash (FLV)", "ffmpeg 4.3", "-c:v flv -q:v 2 flv"),
		container("Windows Media (ASF, WMV)", "ffmpeg 4.3", "-c:v wmv2 -q:v 2 asf"),
		container("RealMedia", "ffmpeg 4.3", "-c:v rv20 -q:v 2 rm"),
		container("DV", "ffmpeg 4.3", "-s 720x576 -pix_fmt yuv420p -c:v dvvideo dv"),
		container("MXF", "ffmpeg 4.3", "-c:v mpeg2video -q:v 2 mxf"),
		container("Ogg video", "ffmpeg 4.3", "-c:v libtheora -q:v 9 ogv"),
		container("H.264 without container", "ffmpeg 4.3", "-c:v libx264 -preset ultrafast -qp 10 h264"),
		container("HEVC without container", "ffmpeg 4.3", "-c:v libx265 -preset ultrafast -x265-params log-level=0 hevc"),
		container("AV1 in OBUs", "ffmpeg 5.1", "-c:v libaom-av1 -cpu-used 8 -crf 10 obu"),
		container("IVF", "ffmpeg 4.3", "-c:v libvpx -pix_fmt yuv420p -b:v 2M ivf"),
		container("Motion JPEG without container", "Go", "-c:v mjpeg -q:v 2 mjpeg"),
		container("NUT", "ffmpeg 4.3", "-c:v mpeg4 -q:v 2 nut"),
		container("YUV4MPEG", "ffmpeg 4.3", "-pix_fmt yuv420p y4m"),
		container("Windows TV (WTV)", "ffmpeg 4.3", "-c:v mpeg2video -q:v 2 wtv"),
		container("GXF", "ffmpeg 4.3", "-s 720x576 -c:v mpeg2video -q:v 2 gxf"),
		codec("H.264 (AVC)", "ffmpeg 4.3", "-c:v libx264 -preset ultrafast -qp 10 mkv"),
		codec("H.264, 10 bits", "ffmpeg 4.3", "-c:v libx264 -preset ultrafast -qp 10 -pix_fmt yuv420p10le mkv"),
		codec("H.265 (HEVC)", "ffmpeg 4.3", "-c:v libx265 -preset ultrafast -x265-params log-level=0 mkv"),
		codec("AV1", "ffmpeg 4.3", "-c:v libaom-av1 -cpu-used 8 -crf 10 mkv"),
		codec("VP8", "ffmpeg 4.3", "-c:v libvpx -pix_fmt yuv420p -b:v 2M webm"),
		codec("VP9", "ffmpeg 4.3", "-c:v libvpx-vp9 -deadline realtime webm"),
		codec("MPEG-1", "ffmpeg 4.3", "-c:v mpeg1video -q:v 2 mpg"),
		codec("MPEG-2", "ffmpeg 4.3", "-c:v mpeg2video -q:v 2 mkv"),
		codec("MPEG-4 part 2 (DivX, Xvid)", "ffmpeg 4.3", "-c:v mpeg4 -q:v 2 mkv"),
		codec("MS MPEG-4 v3 (DivX 3)", "ffmpeg 4.3", "-c:v msmpeg4 -q:v 2 avi"),
		codec("H.263", "ffmpeg 4.3", "-c:v h263 -q:v 2 3gp"),
		codec("WMV 7 and 8", "ffmpeg 4.3", "-c:v wmv1 -q:v 2 asf"),
		codec("Theora", "ffmpeg 4.3", "-c:v libtheora -q:v 9 mkv"),
		codec("Motion JPEG", "ffmpeg 4.3", "-c:v mjpeg -q:v 2 avi"),
		codec("ProRes", "ffmpeg 4.3", "-c:v prores_ks mov"),
		codec("DNxHR", "ffmpeg 4.3", "-vf scale=352:288:out_color_matrix=bt709 -colorspace bt709 -c:v dnxhd -profile:v dnxhr_hq -pix_fmt yuv422p mov"),
		codec("CineForm", "ffmpeg 4.3", "-c:v cfhd -pix_fmt yuv422p10le mov"),
		codec("FFV1", "ffmpeg 4.3", "-c:v ffv1 mkv"),
		codec("HuffYUV", "ffmpeg 4.3", "-c:v huffyuv avi"),
		codec("Cinepak", "ffmpeg 4.3", "-c:v cinepak avi"),
		codec("uncompressed", "ffmpeg 4.3", "-c:v rawvideo -pix_fmt yuv420p avi"),
	}
}

// Files that are refused.

func refusedFormats() []mediaFormat {
	refused := func(name, verdict string, data []byte) mediaFormat {
		return row("Refused", name, verdict, shows(nil, data))
	}
	baseline := jpegOf(quarters.picture())
	frame := bytes.Index(baseline, text("\xff\xc0"))
	hugePNG := chunk("IHDR", be32(1<<20), be32(1<<20), []byte{8, 2, 0, 0, 0})
	m := quarters.picture()
	rgb := rows(m, "rgb")
	tga := join(make([]byte, 2), []byte{2}, make([]byte, 9), le16(64), le16(48), []byte{24, 0}, rgb)
	mp3 := bytes.Repeat(join([]byte{0xff, 0xfb, 0x90, 0}, make([]byte, 413)), 20)
	pam := join(text("P7\nWIDTH 64\nHEIGHT 48\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"), rgb)
	return []mediaFormat{
		refused("SVG", "ErrUnsupported", text(`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>`)),
		refused("PDF", "ErrUnsupported", text("%PDF-1.4\n1 0 obj\n<<>>\nendobj\n")),
		refused("text, HTML", "ErrUnsupported", bytes.Repeat(text("<p>not a picture</p>\n"), 50)),
		refused("ZIP, CBZ, EPUB", "ErrUnsupported", join(text("PK\x03\x04"), make([]byte, 26), deflate(baseline))),
		refused("playlist (M3U8)", "ErrUnsupported", text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n")),
		refused("TGA, PCX, DDS and others without a demuxer on the list", "ErrUnsupported", tga),
		refused("PAM", "ErrUnsupported", pam),
		refused("TIFF with other compressions", "ErrUnsupported", tiff(rgb, num(259, 34712))),
		refused("picture that does not fit in DecodeBytes", "ErrTooLarge", join(text("\x89PNG\r\n\x1a\n"), hugePNG, chunk("IDAT", deflate(make([]byte, 99))), chunk("IEND"))),
		refused("picture of which nothing can be decoded", "ErrCorrupt", join(baseline[:frame+2], bytes.Repeat(text("junk"), 99))),
		refused("song without a cover", "ErrNoPicture", mp3),
		refused("empty file", "ErrUnsupported", nil),
	}
}

// twelveBits returns a JPEG with samples of 12 bits: the same coefficients in steps that are 16 times as large.
func twelveBits(data []byte) []byte {
	const tables = 2 * (1 + 64)
	at := bytes.Index(data, text("\xff\xdb")) + 4
	var wide []byte
	for i, v := range data[at : at+tables] {
		if i%65 == 0 {
			wide = append(wide, 0x10|v)
		} else {
			wide = append(wide, be16(16*int(v))...)
		}
	}
	data = join(data[:at-2], be16(2+len(wide)), wide, data[at+tables:])
	frame := bytes.Index(data, text("\xff\xc0"))
	data[frame+1], data[frame+4] = 0xc1, 12
	return data
}

// Command make generates the sample library in ../library: short songs in many formats with an embedded cover each, a song
// without a cover, a corrupt song, two images and a video. It needs ffmpeg. All of its output is our own work, and in the
// public domain (CC0).
//
//	cd testdata/make && go run main.go
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"unicode/utf16"
)

var be = binary.BigEndian

// paint returns an abstract cover. Each seed gives a different one.
func paint(seed, size int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, size, size))
	hue := float64(seed) * 0.381966 // steps of the golden angle give consecutive seeds very different colors
	back, front, spot := hsv(hue, 0.55, 0.35), hsv(hue+0.08, 0.7, 0.95), hsv(hue+0.5, 0.6, 0.98)
	for y := range size {
		for x := range size {
			u, v := float64(x)/float64(size)-0.5, float64(y)/float64(size)-0.5
			r, a := math.Hypot(u, v), math.Atan2(v, u)
			var t float64
			switch seed % 5 {
			case 0: // rings
				t = 0.5 + 0.5*math.Sin(r*40)
			case 1: // rays
				t = 0.5 + 0.5*math.Sin(a*float64(5+seed%4))
			case 2: // waves
				t = 0.5 + 0.5*math.Sin(v*26+2*math.Sin(u*9))
			case 3: // a spiral
				t = 0.5 + 0.5*math.Sin(a*3+r*24)
			case 4: // a weave
				t = 0.5 + 0.5*math.Sin(u*22)*math.Sin(v*22)
			}
			c := mix(back, front, t)
			if d := math.Hypot(u-0.16, v+0.14); d < 0.13 {
				c = mix(spot, c, math.Pow(d/0.13, 10))
			}
			img.Set(x, y, c)
		}
	}
	return img
}

func mix(a, b color.RGBA, t float64) color.RGBA {
	t = max(0, min(t, 1))
	m := func(a, b uint8) uint8 { return uint8(float64(a)*(1-t) + float64(b)*t) }
	return color.RGBA{m(a.R, b.R), m(a.G, b.G), m(a.B, b.B), 255}
}

func hsv(h, s, v float64) color.RGBA {
	c := func(n float64) uint8 {
		k := math.Mod(n+math.Mod(h, 1)*6, 6)
		return uint8(255 * (v - v*s*max(0, min(k, 4-k, 1))))
	}
	return color.RGBA{c(5), c(3), c(1), 255}
}

func jpegOf(img image.Image) []byte {
	var b bytes.Buffer
	check(jpeg.Encode(&b, img, &jpeg.Options{Quality: 80}))
	return b.Bytes()
}

func pngOf(img image.Image) []byte {
	var b bytes.Buffer
	check((&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, img))
	return b.Bytes()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func write(path string, data []byte) {
	path = filepath.Join("..", "library", path)
	check(os.MkdirAll(filepath.Dir(path), 0o755))
	check(os.WriteFile(path, data, 0o644))
}

// ffmpeg runs ffmpeg with args, and returns its output in the given format.
func ffmpeg(format string, args ...string) []byte {
	tmp, err := os.CreateTemp("", "*."+format)
	check(err)
	tmp.Close()
	defer os.Remove(tmp.Name())
	args = append([]string{"-v", "error", "-y"}, args...)
	out, err := exec.Command("ffmpeg", append(args, "-bitexact", tmp.Name())...).CombinedOutput() // as an output option, -bitexact makes the output reproducible
	if err != nil {
		log.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(tmp.Name())
	check(err)
	return data
}

// tags are the texts in the tags of a song. Its title is what its cover shows.
type tags struct{ title, artist, album string }

// args returns the arguments that make ffmpeg write the tags.
func (t tags) args() []string {
	return []string{"-metadata", "title=" + t.title, "-metadata", "artist=" + t.artist, "-metadata", "album=" + t.album}
}

// tone returns a short sine tone in an audio format.
func tone(format string, codec ...string) []byte {
	return ffmpeg(format, append([]string{"-f", "lavfi", "-i", "sine=440:d=0.6:r=22050"}, codec...)...)
}

// withCover returns a tone to which ffmpeg has attached a cover.
func withCover(format string, cover []byte, args ...string) []byte {
	file := filepath.Join(os.TempDir(), "thumbcache-cover")
	check(os.WriteFile(file, cover, 0o644))
	defer os.Remove(file)
	return tone(format, append([]string{"-i", file, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"}, args...)...)
}

// syncsafe returns n as an ID3 syncsafe integer: 4 bytes of 7 bits each.
func syncsafe(n int) []byte {
	return []byte{byte(n >> 21 & 127), byte(n >> 14 & 127), byte(n >> 7 & 127), byte(n & 127)}
}

// id3Frame returns a frame of an ID3 tag of version 2.2, 2.3 or 2.4.
func id3Frame(version byte, id string, body []byte) []byte {
	n := uint32(len(body))
	switch version {
	case 2:
		return append([]byte{id[0], id[1], id[2], byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	case 3:
		return append(append(be.AppendUint32([]byte(id), n), 0, 0), body...)
	}
	return append(append(append([]byte(id), syncsafe(len(body))...), 0, 0), body...)
}

// id3Text returns a text in UTF-16, or in UTF-8 for version 2.4.
func id3Text(version byte, text string) []byte {
	if version == 4 {
		return append([]byte{3}, text...)
	}
	b := []byte{1, 0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// id3 returns an ID3 tag of version 2.2, 2.3 or 2.4 with texts and a front cover. The cover of version 2.4 is unsynchronised.
func id3(version byte, t tags, cover []byte) []byte {
	names, mime := []string{"TIT2", "TPE1", "TALB"}, "image/jpeg\x00"
	if version == 2 {
		names, mime = []string{"TT2", "TP1", "TAL"}, "JPG"
	}
	var frames []byte
	for i, text := range []string{t.title, t.artist, t.album} {
		frames = append(frames, id3Frame(version, names[i], id3Text(version, text))...)
	}
	plain := append([]byte("\x00"+mime+"\x03\x00"), cover...)
	var flags byte
	switch version {
	case 2:
		frames = append(frames, id3Frame(2, "PIC", plain)...)
	case 3:
		frames = append(frames, id3Frame(3, "APIC", plain)...)
	case 4:
		flags = 0x80
		body := syncsafe(len(plain))
		for i, c := range plain {
			body = append(body, c)
			if c == 0xff && (i+1 == len(plain) || plain[i+1] >= 0xe0 || plain[i+1] == 0) {
				body = append(body, 0)
			}
		}
		frame := id3Frame(4, "APIC", body)
		frame[9] = 3 // unsynchronised, and the length before that is in front
		frames = append(frames, frame...)
	}
	tag := append([]byte{'I', 'D', '3', version, 0, flags}, syncsafe(len(frames)+64)...)
	return append(append(tag, frames...), make([]byte, 64)...)
}

// flacPicture returns the body of a FLAC PICTURE block. Ogg uses the same bytes in METADATA_BLOCK_PICTURE.
func flacPicture(kind uint32, mime string, data []byte) []byte {
	b := be.AppendUint32(nil, kind)
	b = append(be.AppendUint32(b, uint32(len(mime))), mime...)
	b = append(b, make([]byte, 20)...)
	return append(be.AppendUint32(b, uint32(len(data))), data...)
}

// flac returns a FLAC file with picture blocks inserted after its first block.
func flac(song []byte, pictures ...[]byte) []byte {
	out := append([]byte{}, song[:4+4+34]...)
	out[4] &= 0x7f // not the last block
	for _, p := range pictures {
		out = append(be.AppendUint32(out, 6<<24|uint32(len(p))), p...)
	}
	return append(out, song[4+4+34:]...)
}

// vorbis returns a tone in Ogg, with a cover in a Vorbis comment.
func vorbis(format string, t tags, cover []byte, args ...string) []byte {
	picture := base64.StdEncoding.EncodeToString(flacPicture(3, "image/jpeg", cover))
	meta := filepath.Join(os.TempDir(), "thumbcache-meta")
	check(os.WriteFile(meta, []byte(";FFMETADATA1\nMETADATA_BLOCK_PICTURE="+picture+"\n"), 0o644))
	defer os.Remove(meta)
	return tone(format, append(append([]string{"-i", meta, "-map_metadata", "1"}, t.args()...), args...)...)
}

// apeTag returns an APEv2 tag with texts and a front cover.
func apeTag(t tags, cover []byte) []byte {
	le := binary.LittleEndian
	var items []byte
	add := func(flags uint32, key string, value []byte) {
		items = le.AppendUint32(le.AppendUint32(items, uint32(len(value))), flags)
		items = append(append(items, key+"\x00"...), value...)
	}
	add(0, "Title", []byte(t.title))
	add(0, "Artist", []byte(t.artist))
	add(0, "Album", []byte(t.album))
	add(2, "Cover Art (Front)", append([]byte("cover.jpg\x00"), cover...))
	end := func(flags uint32) []byte {
		b := le.AppendUint32([]byte("APETAGEX"), 2000)
		b = le.AppendUint32(le.AppendUint32(b, uint32(len(items)+32)), 4)
		return append(le.AppendUint32(b, flags), make([]byte, 8)...)
	}
	return append(append(end(0xa0000000), items...), end(0x80000000)...)
}

// riff returns a WAV file with a chunk appended.
func riff(wav []byte, id string, body []byte) []byte {
	wav = binary.LittleEndian.AppendUint32(append(wav, id...), uint32(len(body)))
	wav = append(wav, body...)
	if len(body)%2 == 1 {
		wav = append(wav, 0)
	}
	binary.LittleEndian.PutUint32(wav[4:], uint32(len(wav)-8))
	return wav
}

// aiff returns an AIFF file with an ID3 chunk appended.
func aiff(song, tag []byte) []byte {
	song = be.AppendUint32(append(song, "ID3 "...), uint32(len(tag)))
	song = append(song, tag...)
	if len(tag)%2 == 1 {
		song = append(song, 0)
	}
	be.PutUint32(song[4:], uint32(len(song)-8))
	return song
}

// turned returns img as a JPEG from a camera held sideways: rotated, with an EXIF orientation that undoes the rotation.
func turned(img *image.RGBA) []byte {
	b := img.Bounds()
	side := image.NewRGBA(image.Rect(0, 0, b.Dy(), b.Dx()))
	for y := range b.Dy() {
		for x := range b.Dx() {
			side.Set(y, b.Dx()-1-x, img.At(x, y)) // rotate left; orientation 6 rotates right
		}
	}
	exif := append([]byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01"), 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0)
	data := jpegOf(side)
	out := append([]byte{0xff, 0xd8, 0xff, 0xe1}, be.AppendUint16(nil, uint16(len(exif)+2))...)
	return append(append(out, exif...), data[2:]...)
}

// landscape returns a picture whose orientation is obvious.
func landscape() *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, 300, 400))
	for y := range 400 {
		for x := range 300 {
			c := mix(color.RGBA{70, 130, 220, 255}, color.RGBA{235, 240, 250, 255}, float64(y)/260)
			hill := 260 + 40*math.Sin(float64(x)/45) - 25*math.Sin(float64(x)/17+1)
			if float64(y) > hill {
				c = mix(color.RGBA{60, 140, 60, 255}, color.RGBA{20, 60, 30, 255}, (float64(y)-hill)/180)
			}
			if math.Hypot(float64(x)-220, float64(y)-80) < 34 {
				c = color.RGBA{255, 225, 120, 255}
			}
			img.Set(x, y, c)
		}
	}
	return img
}

// glass returns a picture with transparency.
func glass() image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, 240, 240))
	for y := range 240 {
		for x := range 240 {
			d := math.Hypot(float64(x)-120, float64(y)-120)
			img.SetNRGBA(x, y, color.NRGBA{uint8(x), 90, uint8(255 - y), uint8(255 * max(0, min(1, (118-d)/60)))})
		}
	}
	return img
}

const (
	filmWidth, filmHeight = 960, 540
	filmRate, filmSeconds = 24, 8
)

// A ridge is a row of hills in the film. Those far away are paler and move more slowly.
type ridge struct {
	level, height float64 // of its middle line, and above it; as fractions of the height of the film
	speed, wave   float64 // in pixels per second, and the length of its hills
	top, foot     color.RGBA
	trees         float64 // the height of the trees on it in pixels, or 0
}

var ridges = []ridge{
	{0.52, 0.10, 5, 260, color.RGBA{214, 142, 138, 255}, color.RGBA{244, 186, 150, 255}, 0},
	{0.60, 0.09, 11, 210, color.RGBA{168, 104, 124, 255}, color.RGBA{222, 150, 134, 255}, 0},
	{0.68, 0.09, 20, 230, color.RGBA{112, 76, 108, 255}, color.RGBA{176, 110, 118, 255}, 9},
	{0.79, 0.10, 38, 300, color.RGBA{62, 52, 84, 255}, color.RGBA{110, 74, 98, 255}, 24},
	{0.95, 0.12, 74, 420, color.RGBA{22, 24, 46, 255}, color.RGBA{34, 30, 54, 255}, 62},
}

// ground returns the height of the hills at a place that does not move.
func (r ridge) ground(x float64) float64 {
	hills := 0.6*math.Sin(x/r.wave*2) + 0.3*math.Sin(x/r.wave*5.3+r.wave) + 0.1*math.Sin(x/r.wave*11.7)
	return (r.level - r.height*hills) * filmHeight
}

// skyline returns the height of the hills with their trees.
func (r ridge) skyline(x float64) float64 {
	ground := r.ground(x)
	top := ground
	gap := r.trees * 0.8
	for n := math.Floor(x/gap) - 1; r.trees > 0 && n <= math.Floor(x/gap)+1; n++ { // the trees around x
		random := math.Mod(math.Abs(math.Sin(n*12.9898+r.wave)*43758.5453), 1)
		if random < 0.25 {
			continue // a clearing
		}
		size := r.trees * (0.5 + 0.5*random)
		up := size - math.Abs(x-(n+random)*gap)*2.6
		rows := size * 0.07 * math.Mod(up*4/size, 1) // the branches of a fir are wider at the bottom of each row
		top = min(top, ground-up+rows)
	}
	return top
}

// drawSky draws the evening sky with the sun of a moment, from 0 to 1.
func drawSky(img *image.RGBA, at float64) {
	sunX, sunY := 0.66*filmWidth, (0.33+0.10*at)*filmHeight
	for y := range filmHeight {
		v := float64(y) / (0.62 * filmHeight)
		sky := mix(color.RGBA{58, 72, 132, 255}, color.RGBA{226, 142, 132, 255}, v)
		sky = mix(sky, color.RGBA{255, 206, 140, 255}, (v-0.6)*1.1) // near the horizon
		for x := range filmWidth {
			d := math.Hypot(float64(x)-sunX, float64(y)-sunY)
			c := mix(sky, color.RGBA{255, 226, 170, 255}, 0.75*math.Exp(-d/130))
			u := float64(x)/170 + at*0.7
			cloud := math.Sin(u+2.2*math.Sin(float64(y)/31)) * math.Sin(float64(y)/23+0.8*math.Sin(u*0.7))
			c = mix(c, color.RGBA{255, 190, 170, 255}, 0.22*max(0, cloud)*max(0, 1-v))
			img.SetRGBA(x, y, mix(c, color.RGBA{255, 244, 214, 255}, (43-d)/3))
		}
	}
}

// drawFrame draws the film at a moment, from 0 to 1.
func drawFrame(img *image.RGBA, at float64) {
	drawSky(img, at)
	for _, r := range ridges {
		for x := range filmWidth {
			place := float64(x) + at*filmSeconds*r.speed
			top, ground := r.skyline(place), r.ground(place)
			for y := max(0, int(top)); y < filmHeight; y++ {
				c := mix(r.top, r.foot, (float64(y)-ground)/(0.22*filmHeight)) // mist lies between the hills
				img.SetRGBA(x, y, mix(img.RGBAAt(x, y), c, float64(y)+1-top))
			}
		}
	}
}

// film returns a video that fades in from black and moves along hills at sunset.
func film() []byte {
	frames, err := os.CreateTemp("", "thumbcache-film")
	check(err)
	defer os.Remove(frames.Name())
	img := image.NewRGBA(image.Rect(0, 0, filmWidth, filmHeight))
	for i := range filmRate * filmSeconds {
		drawFrame(img, float64(i)/(filmRate*filmSeconds))
		_, err := frames.Write(img.Pix)
		check(err)
	}
	check(frames.Close())
	return ffmpeg("mp4", "-f", "rawvideo", "-pix_fmt", "rgba", "-s", "960x540", "-r", "24", "-i", frames.Name(),
		"-vf", "fade=in:st=0:d=0.3", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "27", "-g", "24", "-preset", "veryslow",
		"-aq-mode", "3", "-movflags", "+faststart")
}

func main() {
	check(os.RemoveAll(filepath.Join("..", "library")))
	cover := func(seed int) []byte { return jpegOf(paint(seed, 360)) }
	mp3 := tone("mp3", "-c:a", "libmp3lame", "-b:a", "32k", "-write_xing", "0", "-id3v2_version", "0")
	plainFLAC := func(t tags) []byte { return tone("flac", append(t.args(), "-c:a", "flac")...) }
	wav := tone("wav", "-c:a", "pcm_u8", "-ar", "8000")
	ada := func(title string) tags { return tags{title, "Ada Rings", "First Light"} }
	lossless := func(title string) tags { return tags{title, "Ada Rings", "Lossless"} }
	bob := func(title string) tags { return tags{title, "Bob Wave", "Streams & Boxes"} }
	unal := func(title string) tags { return tags{title, "Çelik Ünal", "Şarkılar"} }

	write("Ada Rings/First Light/01 Old Tag.mp3", append(id3(2, ada("Ripples"), cover(0)), mp3...))
	write("Ada Rings/First Light/02 Usual Tag.mp3", append(id3(3, ada("Sunburst"), cover(1)), mp3...))
	write("Ada Rings/First Light/03 New Tag.mp3", append(id3(4, ada("Tide"), cover(2)), mp3...))
	write("Ada Rings/Lossless/01 One Cover.flac", flac(plainFLAC(lossless("Snail Shell")), flacPicture(3, "image/jpeg", cover(3))))
	write("Ada Rings/Lossless/02 Back Before Front.flac", flac(plainFLAC(lossless("Basket")), flacPicture(4, "image/png", pngOf(paint(40, 64))), flacPicture(3, "image/jpeg", cover(4))))
	aac := func(t tags) []string { return append(t.args(), "-c:a", "aac", "-b:a", "32k") }
	write("Bob Wave/Streams & Boxes/01 Index at the End.m4a", withCover("m4a", cover(5), aac(bob("Stone in Water"))...))
	write("Bob Wave/Streams & Boxes/02 Index in Front.m4a", withCover("m4a", cover(6), append(aac(bob("Fireworks")), "-movflags", "+faststart")...))
	write("Bob Wave/Streams & Boxes/03 Vorbis.ogg", vorbis("ogg", bob("Dunes"), cover(7), "-c:a", "libvorbis", "-q:a", "0"))
	write("Bob Wave/Streams & Boxes/04 Opus.opus", vorbis("opus", bob("Galaxy"), cover(8), "-c:a", "libopus", "-b:a", "24k"))
	write("Çelik Ünal/Şarkılar/01 Dalga.wav", riff(wav, "id3 ", id3(3, unal("Örgü"), cover(9))))
	write("Çelik Ünal/Şarkılar/02 Etiket.wv", append(tone("wv", "-c:a", "wavpack", "-ar", "8000"), apeTag(unal("Halka"), cover(10))...))
	write("Çelik Ünal/Şarkılar/03 Pencere.aiff", aiff(tone("aiff", "-c:a", "pcm_s16be", "-ar", "8000"), id3(3, unal("Işın"), cover(11))))
	write("Nobody/No Cover.mp3", mp3)
	write("Nobody/Broken.flac", append([]byte("fLaC\x00\x00\x00\x22"), append(plainFLAC(tags{})[8:42], 0x86, 0xff, 0xff, 0xff, 0, 0, 0, 3)...))
	write("Pictures/Held Sideways.jpg", turned(landscape()))
	write("Pictures/Glass.png", pngOf(glass()))
	write("Films/Over the Hills.mp4", film())
}

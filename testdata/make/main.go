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

// id3 returns an ID3 tag of version 2.2, 2.3 or 2.4 with a front cover. The one of version 2.4 is unsynchronised.
func id3(version byte, mime string, cover []byte) []byte {
	var frame []byte
	var flags byte
	switch version {
	case 2:
		body := append([]byte("\x00"+mime+"\x03\x00"), cover...)
		frame = append([]byte{'P', 'I', 'C', byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	case 3:
		body := append([]byte("\x00"+mime+"\x00\x03\x00"), cover...)
		frame = append(append(be.AppendUint32([]byte("APIC"), uint32(len(body))), 0, 0), body...)
	case 4:
		flags = 0x80
		plain := append([]byte("\x00"+mime+"\x00\x03\x00"), cover...)
		var body []byte
		for i, c := range plain {
			body = append(body, c)
			if c == 0xff && (i+1 == len(plain) || plain[i+1] >= 0xe0 || plain[i+1] == 0) {
				body = append(body, 0)
			}
		}
		frame = append(append([]byte("APIC"), syncsafe(len(body)+4)...), 0, 3)
		frame = append(append(frame, syncsafe(len(plain))...), body...)
	}
	tag := append([]byte{'I', 'D', '3', version, 0, flags}, syncsafe(len(frame)+64)...)
	return append(append(tag, frame...), make([]byte, 64)...)
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
func vorbis(format string, cover []byte, args ...string) []byte {
	picture := base64.StdEncoding.EncodeToString(flacPicture(3, "image/jpeg", cover))
	meta := filepath.Join(os.TempDir(), "thumbcache-meta")
	check(os.WriteFile(meta, []byte(";FFMETADATA1\nMETADATA_BLOCK_PICTURE="+picture+"\n"), 0o644))
	defer os.Remove(meta)
	return tone(format, append([]string{"-i", meta, "-map_metadata", "1"}, args...)...)
}

// apeTag returns an APEv2 tag with a front cover.
func apeTag(cover []byte) []byte {
	le := binary.LittleEndian
	value := append([]byte("cover.jpg\x00"), cover...)
	item := le.AppendUint32(le.AppendUint32(nil, uint32(len(value))), 2)
	item = append(append(item, "Cover Art (Front)\x00"...), value...)
	end := func(flags uint32) []byte {
		b := le.AppendUint32([]byte("APETAGEX"), 2000)
		b = le.AppendUint32(le.AppendUint32(b, uint32(len(item)+32)), 1)
		return append(le.AppendUint32(b, flags), make([]byte, 8)...)
	}
	return append(append(end(0xa0000000), item...), end(0x80000000)...)
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

// film returns a video that fades in from black and pans over a picture.
func film(img image.Image) []byte {
	file := filepath.Join(os.TempDir(), "thumbcache-film.png")
	check(os.WriteFile(file, pngOf(img), 0o644))
	defer os.Remove(file)
	return ffmpeg("mp4", "-loop", "1", "-i", file, "-t", "7",
		"-vf", "scale=640:-1,crop=320:180:'40+t*30':'ih*0.53-t*10',noise=alls=14:allf=t,fps=12,fade=in:st=0:d=0.25",
		"-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "34", "-g", "6", "-preset", "slow")
}

func main() {
	check(os.RemoveAll(filepath.Join("..", "library")))
	cover := func(seed int) []byte { return jpegOf(paint(seed, 360)) }
	mp3 := tone("mp3", "-c:a", "libmp3lame", "-b:a", "32k", "-write_xing", "0", "-id3v2_version", "0")
	plainFLAC := tone("flac", "-c:a", "flac")
	wav := tone("wav", "-c:a", "pcm_u8", "-ar", "8000")

	write("Ada Rings/First Light/01 Old Tag.mp3", append(id3(2, "JPG", cover(0)), mp3...))
	write("Ada Rings/First Light/02 Usual Tag.mp3", append(id3(3, "image/jpeg", cover(1)), mp3...))
	write("Ada Rings/First Light/03 New Tag.mp3", append(id3(4, "image/jpeg", cover(2)), mp3...))
	write("Ada Rings/Lossless/01 One Cover.flac", flac(plainFLAC, flacPicture(3, "image/jpeg", cover(3))))
	write("Ada Rings/Lossless/02 Back Before Front.flac", flac(plainFLAC, flacPicture(4, "image/png", pngOf(paint(40, 64))), flacPicture(3, "image/jpeg", cover(4))))
	write("Bob Wave/Streams & Boxes/01 Index at the End.m4a", withCover("m4a", cover(5), "-c:a", "aac", "-b:a", "32k"))
	write("Bob Wave/Streams & Boxes/02 Index in Front.m4a", withCover("m4a", cover(6), "-c:a", "aac", "-b:a", "32k", "-movflags", "+faststart"))
	write("Bob Wave/Streams & Boxes/03 Vorbis.ogg", vorbis("ogg", cover(7), "-c:a", "libvorbis", "-q:a", "0"))
	write("Bob Wave/Streams & Boxes/04 Opus.opus", vorbis("opus", cover(8), "-c:a", "libopus", "-b:a", "24k"))
	write("Çelik Ünal/Şarkılar/01 Dalga.wav", riff(wav, "id3 ", id3(3, "image/jpeg", cover(9))))
	write("Çelik Ünal/Şarkılar/02 Etiket.wv", append(tone("wv", "-c:a", "wavpack", "-ar", "8000"), apeTag(cover(10))...))
	write("Çelik Ünal/Şarkılar/03 Pencere.aiff", aiff(tone("aiff", "-c:a", "pcm_s16be", "-ar", "8000"), id3(3, "image/jpeg", cover(11))))
	write("Nobody/No Cover.mp3", mp3)
	write("Nobody/Broken.flac", append([]byte("fLaC\x00\x00\x00\x22"), append(plainFLAC[8:42], 0x86, 0xff, 0xff, 0xff, 0, 0, 0, 3)...))
	write("Pictures/Held Sideways.jpg", turned(landscape()))
	write("Pictures/Glass.png", pngOf(glass()))
	write("Films/Over the Hills.mp4", film(landscape()))
}

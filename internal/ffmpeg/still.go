package ffmpeg

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image/png"
	"slices"

	"github.com/thumbcache/thumbcache/internal/heif"
	"github.com/thumbcache/thumbcache/internal/proc"
)

const (
	jpegMagic = "\xff\xd8\xff"
	jpegEnd   = "\xff\xd9"
	pngMagic  = "\x89PNG\r\n\x1a\n"
	pngEnd    = "\x00\x00\x00\x00IEND\xaeB`\x82"
)

// demuxerOf returns the name of ffmpeg's demuxer for the format of a picture, or "" if data does not begin with the magic of a
// format that Go decodes too. ffmpeg needs the name, because it does not recognize the format of some damaged pictures.
func demuxerOf(data []byte) string {
	for _, kind := range []struct{ magic, demuxer string }{
		{jpegMagic, "jpeg_pipe"}, {pngMagic, "png_pipe"}, {"GIF8", "gif"},
		{"II*\x00", "tiff_pipe"}, {"MM\x00*", "tiff_pipe"},
	} {
		if bytes.HasPrefix(data, []byte(kind.magic)) {
			return kind.demuxer
		}
	}
	switch {
	case len(data) > 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return "webp_pipe"
	case len(data) > 18 && string(data[:2]) == "BM" && slices.Contains(bmpHeaders, binary.LittleEndian.Uint32(data[14:])):
		return "bmp_pipe"
	}
	return ""
}

// bmpHeaders are the possible sizes of the second header of a BMP. They tell it from a text that begins with the magic "BM".
var bmpHeaders = []uint32{12, 16, 40, 52, 56, 64, 108, 124}

// openPicture returns an input with a picture that may be truncated, in a form of which ffmpeg decodes as much as possible.
// See createSpool for dirs.
func openPicture(ctx context.Context, data []byte, dirs []string) (*input, error) {
	knownFormat := demuxerOf(data) != ""
	complete := isComplete(data)
	data = mendPNG(data)
	in, err := spool(ctx, bytes.NewReader(data), int64(len(data)), dirs)
	if err != nil || !knownFormat {
		return in, err
	}
	in.suspect = true
	if !complete {
		if err := in.pad(); err != nil {
			in.close()
			return nil, err
		}
	}
	return in, nil
}

// pad appends zeros to a truncated picture, as a hole in the temporary file. Most decoders refuse data that is shorter than its
// header says, but go on in data that makes no sense.
func (in *input) pad() error {
	if err := in.Truncate(5 * in.size); err != nil {
		return inputError("padding", err)
	}
	in.padded = true
	return nil
}

// mendPNG completes the last chunk of a truncated PNG and appends an end chunk.
func mendPNG(data []byte) []byte {
	if !bytes.HasPrefix(data, []byte(pngMagic)) {
		return data
	}
	whole := data[:len(pngMagic)] // the magic and the complete chunks
	for {
		rest := data[len(whole):]
		if len(rest) < 12 {
			return append(slices.Clip(whole), pngEnd...)
		}
		n := int64(binary.BigEndian.Uint32(rest)) + 12
		if string(rest[4:8]) == "IEND" {
			return data
		}
		if n > int64(len(rest)) { // the last 4 bytes serve as the checksum, which ffmpeg ignores
			whole = binary.BigEndian.AppendUint32(slices.Clip(whole), uint32(len(rest)-12))
			return append(append(whole, rest[4:]...), pngEnd...)
		}
		whole = data[:int64(len(whole))+n]
	}
}

// still returns a picture that Go cannot decode, as described at Decode.
func (j *job) still(ctx context.Context) ([]byte, error) {
	head := make([]byte, 128<<10)
	n, _ := j.in.ReadAt(head, 0)
	head = head[:n]
	res, m, err := j.decodeStill(ctx, head)
	if err != nil {
		return nil, err
	}
	lost := !isWhole(res.Stdout) || reportsDamage(res.Stderr)
	if lost && j.in.suspect && !j.in.padded && !isHopeless(res.Stderr) {
		// The end is not missing, but something else is wrong. More may be decoded with padding.
		if err := j.in.pad(); err != nil {
			return nil, err
		}
		if res, m, err = j.decodeStill(ctx, head); err != nil {
			return nil, err
		}
	}
	if !isWhole(res.Stdout) {
		return nil, stillVerdict(res, m, demuxerOf(head) != "")
	}
	if bytes.Contains(res.Stderr, []byte("Tile Grid")) { // ffmpeg outputs only one of the tiles
		return nil, &Error{ErrUnsupported, stderrTail(res.Stderr)}
	}
	if j.in.padded && isEmpty(res.Stdout) { // nothing but the header was intact
		return nil, &Error{ErrCorrupt, stderrTail(res.Stderr)}
	}
	correctGamma(res.Stdout)
	return withPNGProfile(withChunk(res.Stdout, "eXIf", exif(head)), j.lostProfile(ctx, head, res.Stdout, m)), nil
}

// lostProfile returns the colour profile that ffmpeg does not copy to its output, or nil.
func (j *job) lostProfile(ctx context.Context, head, output []byte, m media) []byte {
	switch {
	case bytes.HasPrefix(head, []byte("\x00\x00\x00\x0cjP  ")):
		profile, _ := heif.JP2Profile(ctx, j.in, j.in.size) // without it, the picture is shown as sRGB
		return profile
	case isJXL(head) && m.video != nil && !m.video.hdr && !bytes.Contains(output[:min(len(output), 8<<10)], []byte("iCCP")):
		return heif.ProfileOf(m.video.primaries, m.video.transfer)
	}
	return nil
}

// isJXL reports whether head begins a JPEG XL file.
func isJXL(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\xff\x0a")) || bytes.HasPrefix(head, []byte("\x00\x00\x00\x0cJXL "))
}

// decodeStill runs ffmpeg to decode a picture that begins with head.
func (j *job) decodeStill(ctx context.Context, head []byte) (proc.Result, media, error) {
	demuxer := demuxerOf(head)
	var options []string
	if demuxer != "" {
		// Some versions of ffmpeg apply the orientation in EXIF data, and all of them drop the data. So the orientation is left
		// to the caller, who gets the EXIF data.
		options = []string{"-noautorotate", "-f", demuxer}
	} else if isJXL(head) {
		options = []string{"-f", "jpegxl_pipe"} // the demuxer of animations, which ffmpeg may choose, refuses very small files
	}
	picture := "0:v:0"
	if isIcon(head) {
		picture = fmt.Sprintf("0:v:%d", largestIcon(head))
	}
	var fill string
	if demuxer == "jpeg_pipe" && j.in.padded && j.program.filters["lutyuv"] {
		fill = "lutyuv=u='if(val,val,128)':v='if(val,val,128)'," // makes missing parts black instead of green
	}
	run := func(filters string) (proc.Result, error) {
		args := append(j.inputArgs(options...), "-map", picture, "-vf", fill+filters+",format=rgb24|rgba|gray|ya8")
		return j.run(ctx, append(args, outputArgs("png", 1)...)...)
	}
	res, err := run(scaleFilter(maxStill))
	m := parse(res.Stderr)
	if err == nil && m.video != nil && m.video.hdr && j.program.canToneMap() {
		res, err = run(scaleFilter(maxStill) + "," + toneMapFilters)
	}
	return res, m, err
}

// stillVerdict returns the reason why ffmpeg did not decode a picture. A picture that ffmpeg does not recognize is corrupt if
// every ffmpeg knows its format; otherwise this ffmpeg does not know the format.
func stillVerdict(res proc.Result, m media, knownFormat bool) error {
	err := verdict(res)
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrNoPicture), errors.Is(err, ErrUnsupported) && !notSupported.Match(res.Stderr):
		if knownFormat || m.video != nil && !errors.Is(err, ErrUnsupported) {
			return &Error{ErrCorrupt, stderrTail(res.Stderr)}
		}
		return &Error{ErrUnsupported, stderrTail(res.Stderr)}
	}
	return err
}

// isWhole reports whether data is a PNG that is not truncated.
func isWhole(data []byte) bool {
	return bytes.HasPrefix(data, []byte(pngMagic)) && bytes.HasSuffix(data, []byte(pngEnd))
}

// isEmpty reports whether a PNG shows next to nothing, that is, has less than a quarter of a bit per pixel. A single colour
// takes a tenth of a bit, the result of decoding zeros a fifth, and a photograph that is truncated to a tenth a half.
func isEmpty(data []byte) bool {
	cfg, err := png.DecodeConfig(bytes.NewReader(data))
	return err != nil || int64(len(data)) < 256+int64(cfg.Width)*int64(cfg.Height)/32
}

// exif returns the EXIF data of the JPEG that begins with head, or nil.
func exif(head []byte) []byte {
	const name = "Exif\x00\x00"
	i := bytes.Index(head, []byte(name))
	if !bytes.HasPrefix(head, []byte(jpegMagic)) || i < 4 || head[i-4] != 0xff || head[i-3] != 0xe1 {
		return nil
	}
	segment := head[i-2:]
	n := int(binary.BigEndian.Uint16(segment))
	if n < 2+len(name) || n > len(segment) {
		return nil
	}
	return segment[2+len(name) : n]
}

// withChunk returns the PNG data with an added chunk, unless that is empty.
func withChunk(data []byte, kind string, content []byte) []byte {
	const header = len(pngMagic) + 8 + 13 + 4 // the magic and the first chunk, IHDR
	if len(content) == 0 || len(data) < header {
		return data
	}
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	chunk = append(append(chunk, kind...), content...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return slices.Insert(data, header, chunk...)
}

package ffmpeg

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image/png"
	"slices"

	"github.com/thumbcache/thumbcache/internal/proc"
)

const (
	jpegMagic = "\xff\xd8\xff"
	jpegEnd   = "\xff\xd9"
	pngMagic  = "\x89PNG\r\n\x1a\n"
	pngEnd    = "\x00\x00\x00\x00IEND\xaeB`\x82"
)

// demuxerOf tells by its first bytes whether data is a picture of a kind that Go can decode, and returns what ffmpeg calls the
// kind. It is told to ffmpeg, which does not take what is damaged for what it is.
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

// bmpHeaders are the lengths of the second header of a BMP. Its magic is two letters that a text may begin with.
var bmpHeaders = []uint32{12, 16, 40, 52, 56, 64, 108, 124}

// openPicture makes an input of a picture that may have been cut off, so that ffmpeg decodes what there is of it.
func openPicture(ctx context.Context, data []byte) (*input, error) {
	known := demuxerOf(data) != ""
	data = mendPNG(data)
	in, err := spool(ctx, bytes.NewReader(data), int64(len(data)))
	if err != nil || !known {
		return in, err
	}
	// Most decoders refuse data that is shorter than announced, but go on for as long as they can in data that makes no sense.
	// So it is made longer, by a hole in the temporary file.
	if err := in.Truncate(5 * in.size); err != nil {
		in.close()
		return nil, inputError("spooling", err)
	}
	in.damaged = true
	return in, nil
}

// mendPNG makes an end where a PNG has been cut off.
func mendPNG(data []byte) []byte {
	if !bytes.HasPrefix(data, []byte(pngMagic)) {
		return data
	}
	whole := data[:len(pngMagic)] // the chunks that are
	for {
		rest := data[len(whole):]
		if len(rest) < 12 {
			return append(slices.Clip(whole), pngEnd...)
		}
		n := int64(binary.BigEndian.Uint32(rest)) + 12
		if string(rest[4:8]) == "IEND" {
			return data
		}
		if n > int64(len(rest)) { // ffmpeg does not look at the checksum, for which the last 4 bytes will do
			whole = binary.BigEndian.AppendUint32(slices.Clip(whole), uint32(len(rest)-12))
			return append(append(whole, rest[4:]...), pngEnd...)
		}
		whole = data[:int64(len(whole))+n]
	}
}

// still decodes a picture that Go cannot, or not any more.
func (j *job) still(ctx context.Context) ([]byte, error) {
	head := make([]byte, 128<<10)
	n, _ := j.in.ReadAt(head, 0)
	head = head[:n]
	demuxer := demuxerOf(head)
	var options []string
	if demuxer != "" {
		// Some versions of ffmpeg apply the orientation in EXIF data, and all of them lose it. So it is kept for the caller.
		options = []string{"-noautorotate", "-f", demuxer}
	}
	first := ""
	if demuxer == "jpeg_pipe" && j.build.filters["lutyuv"] {
		first = "lutyuv=u='if(val,val,128)':v='if(val,val,128)'," // what is missing is black then, and not green
	}
	take := func(filter string) (proc.Result, error) {
		args := append(j.input(options...), "-map", "0:v:0", "-vf", first+filter+",format=rgb24|rgba|gray|ya8")
		return j.run(ctx, append(args, output("png", 1)...)...)
	}
	res, err := take(scale(maxStill))
	if err != nil {
		return nil, err
	}
	m := parse(res.Stderr)
	if m.film != nil && m.film.hdr && j.build.tonemaps() {
		if res, err = take(scale(maxStill) + "," + tonemap); err != nil {
			return nil, err
		}
	}
	if !isWhole(res.Stdout) {
		return nil, stillVerdict(res, m, demuxer != "")
	}
	if bytes.Contains(res.Stderr, []byte("Tile Grid")) { // a grid of tiles comes out as one of them
		return nil, &Error{ErrUnsupported, last(res.Stderr)}
	}
	if j.in.damaged && isEmpty(res.Stdout) { // only its size is left
		return nil, &Error{ErrCorrupt, last(res.Stderr)}
	}
	return withEXIF(res.Stdout, exif(head)), nil
}

// stillVerdict says why a picture did not come out. One that does not even look like a picture to ffmpeg is corrupt if it
// is of a kind that every ffmpeg knows, and else of a kind that this one does not know.
func stillVerdict(res proc.Result, m media, known bool) error {
	err := verdict(res)
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrNoPicture), errors.Is(err, ErrUnsupported) && !beyond.Match(res.Stderr):
		if known || m.film != nil && !errors.Is(err, ErrUnsupported) {
			return &Error{ErrCorrupt, last(res.Stderr)}
		}
		return &Error{ErrUnsupported, last(res.Stderr)}
	}
	return err
}

// isWhole reports whether data is a PNG that has not been cut off.
func isWhole(data []byte) bool {
	return bytes.HasPrefix(data, []byte(pngMagic)) && bytes.HasSuffix(data, []byte(pngEnd))
}

// isEmpty reports whether a PNG shows next to nothing: it takes less than a quarter of a bit for a pixel. One of a single colour
// takes a tenth, what decoders make of zeros a fifth, a photograph that ends after a tenth of its lines a half.
func isEmpty(data []byte) bool {
	cfg, err := png.DecodeConfig(bytes.NewReader(data))
	return err != nil || int64(len(data)) < 256+int64(cfg.Width)*int64(cfg.Height)/32
}

// exif returns the EXIF data of a JPEG that begins with head, or nil.
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

// withEXIF returns a PNG with EXIF data.
func withEXIF(data, exif []byte) []byte {
	const header = len(pngMagic) + 8 + 13 + 4 // the first chunk is always the same one
	if len(exif) == 0 || len(data) < header {
		return data
	}
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(exif)))
	chunk = append(append(chunk, "eXIf"...), exif...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return slices.Insert(data, header, chunk...)
}

package heif

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

// A Codec is a video codec by ffmpeg's name.
type Codec string

const (
	HEVC Codec = "hevc"
	AV1  Codec = "av1"
)

// A sequence is a decoder configuration and the format of the frames that it specifies.
type sequence struct {
	header     []byte // parameter sets with start codes, or OBUs
	lengthSize int    // HEVC: bytes of the length field of a NAL unit

	width, height         int // of the decoded frame; 0 if the configuration does not specify it
	depth                 int // bits of a sample
	mono                  bool
	halfWidth, halfHeight bool // chroma is subsampled
	colours               cicp
}

// A coded item is a tile, or a picture without tiles.
type coded struct {
	*item
	sequence
}

// A Stream is an elementary stream of coded frames of one size: the tiles of a picture from left to right and from top to bottom.
// ffmpeg must write them as raw planes with their samples unchanged, since it does not know the matrix and the range that the
// container specifies.
type Stream struct {
	Codec   Codec
	Demuxer string // -f before -i
	Filter  string // -vf
	Frames  int    // -frames:v; with -fps_mode passthrough (-vsync 0 before ffmpeg 5.1), or ffmpeg drops and repeats frames
	Output  int64  // the exact number of bytes that ffmpeg must write with -f rawvideo

	file  *File
	tiles []coded
	frame frame
}

// A frame is the layout of a decoded frame as raw video.
type frame struct {
	width, height         int
	chromaWidth           int // 0 if there is none
	chromaHeight          int
	halfWidth, halfHeight bool
	depth                 int // bits of a sample
	sample                int // bytes of a sample, little-endian
	size                  int64
}

func newFrame(s *sequence, width, height int) frame {
	f := frame{width: width, height: height, depth: s.depth, sample: 1, halfWidth: s.halfWidth, halfHeight: s.halfHeight}
	if s.depth > 8 {
		f.sample = 2
	}
	if !s.mono {
		f.chromaWidth, f.chromaHeight = width, height
		if f.halfWidth {
			f.chromaWidth = (width + 1) / 2
		}
		if f.halfHeight {
			f.chromaHeight = (height + 1) / 2
		}
	}
	f.size = int64(f.sample) * (int64(width)*int64(height) + 2*int64(f.chromaWidth)*int64(f.chromaHeight))
	return f
}

// pixelFormats returns ffmpeg's formats that hold the samples of s unchanged. Which of them it chooses depends on range and matrix,
// but their layout is the same: gbrp has its planes in the order of the identity matrix.
func pixelFormats(s *sequence) (string, error) {
	switch {
	case s.depth != 8 && s.depth != 9 && s.depth != 10 && s.depth != 12:
		return "", unsupported("samples of %d bits", s.depth)
	case s.mono && s.depth == 8:
		return "gray", nil
	case s.mono:
		return fmt.Sprintf("gray%dle", s.depth), nil
	}
	layout := "444p"
	if s.halfWidth {
		layout = "422p"
	}
	if s.halfHeight {
		layout = "420p"
	}
	var formats []string
	if s.depth == 8 {
		formats = append(formats, "yuv"+layout, "yuvj"+layout)
	} else {
		formats = append(formats, fmt.Sprintf("yuv%s%dle", layout, s.depth))
	}
	if layout == "444p" {
		rgb := "gbrp"
		if s.depth > 8 {
			rgb = fmt.Sprintf("gbrp%dle", s.depth)
		}
		formats = append(formats, rgb)
	}
	return strings.Join(formats, "|"), nil
}

// newStream returns a stream of tiles that ffmpeg reduces to width x height.
func (f *File) newStream(codec Codec, tiles []coded, width, height int) (*Stream, error) {
	first := &tiles[0].sequence
	formats, err := pixelFormats(first)
	if err != nil {
		return nil, err
	}
	s := &Stream{Codec: codec, Demuxer: "hevc", Frames: len(tiles), file: f, tiles: tiles}
	if codec == AV1 {
		s.Demuxer = "ivf"
	}
	if width != first.width || height != first.height {
		s.Filter = fmt.Sprintf("scale=%d:%d:flags=area:in_range=full:out_range=full,", width, height)
	}
	s.Filter += "format=" + formats
	s.frame = newFrame(first, width, height)
	s.Output = s.frame.size * int64(len(tiles))
	return s, nil
}

// Copy writes the stream, which it reads from the reader that Parse was given.
func (s *Stream) Copy(ctx context.Context, w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	write := s.file.writeHEVC
	if s.Codec == AV1 {
		write = s.file.writeAV1
	}
	if err := write(ctx, b, s.tiles); err != nil {
		return err
	}
	return b.Flush()
}

// readCoded returns the item with its decoder configuration, which d specifies.
func (f *File) readCoded(ctx context.Context, it *item, d *description) (coded, error) {
	if d.config == 0 || it.kind != itemKind(d.codec) {
		return coded{}, corrupt("item %d has no decoder configuration", it.id)
	}
	s, ok := f.sequences[d.config]
	if !ok {
		data, err := f.src.load(ctx, f.properties[d.config-1], maxConfig)
		if err != nil {
			return coded{}, err
		}
		parse := parseHVCC
		if d.codec == AV1 {
			parse = parseAV1C
		}
		if s, err = parse(data); err != nil {
			return coded{}, err
		}
		f.sequences[d.config] = s
	}
	if s.width == 0 { // only the item has a sequence header
		head, err := f.readItem(ctx, it, obuHead)
		if err != nil {
			return coded{}, err
		}
		header, _ := findSequenceHeader(head)
		if header == nil {
			return coded{}, corrupt("item %d has no sequence header", it.id)
		}
		if err := s.readSequenceHeader(header); err != nil {
			return coded{}, err
		}
	}
	return coded{it, s}, nil
}

func itemKind(c Codec) string {
	if c == AV1 {
		return "av01"
	}
	return "hvc1"
}

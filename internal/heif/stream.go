package heif

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

// A Codec is how tiles are coded, by the name that ffmpeg has for it.
type Codec string

const (
	HEVC Codec = "hevc"
	AV1  Codec = "av1"
)

// A sequence is what a decoder configuration says about the pictures that need it.
type sequence struct {
	header     []byte // parameter sets with start codes, or OBUs; what stands before the first picture
	lengthSize int    // HEVC: bytes of the length of a NAL unit

	width, height         int // of the decoded frame; 0 if the configuration does not tell
	depth                 int // bits of a sample
	mono                  bool
	halfWidth, halfHeight bool // of the chroma
	colours               cicp
}

// A coded item is one tile.
type coded struct {
	*item
	sequence
}

// A Stream is a number of coded frames of one size, and what ffmpeg has to make of them. They are the tiles of a picture from
// left to right and from top to bottom. ffmpeg must write them as raw video in planes, with the samples that are coded: it
// knows neither the matrix nor the range that the container tells.
type Stream struct {
	Codec   Codec
	Demuxer string // for -f before -i
	Filter  string // for -vf
	Frames  int    // for -frames:v; the frames must keep their number, so -fps_mode passthrough (-vsync 0 before ffmpeg 5.1)
	Output  int64  // bytes that ffmpeg writes with -f rawvideo, no more and no fewer

	file  *File
	tiles []coded
	frame frame
}

// A frame is the layout of one decoded frame as raw video.
type frame struct {
	width, height         int
	chromaWidth           int // 0 if there is none
	chromaHeight          int
	halfWidth, halfHeight bool
	depth                 int // bits of a sample
	sample                int // bytes of a sample, the lowest first
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

// pixelFormats returns the formats in which ffmpeg can hold the samples of s as they are: which one it takes depends on range
// and matrix, the layout does not. (Planes of RGB are in the order G, B, R; so is the matrix that says so.)
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

// newStream returns the stream of tiles of one size, each reduced to width x height.
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

// Copy writes the stream for ffmpeg to read.
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

// code returns the coded item that it is, described by d.
func (f *File) code(ctx context.Context, it *item, d *description) (coded, error) {
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
	if s.width == 0 { // AV1 whose sequence header is in the item only
		head, err := f.data(ctx, it, obuHead)
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

package ffmpeg

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image/png"
	"os/exec"

	"github.com/thumbcache/thumbcache/internal/heif"
)

// maxRaw is the limit in bytes of the raw frames of one HEIF picture and of the picture made of them. It fits 48 megapixels.
const maxRaw = 320 << 20

// isHEIF reports whether the input is a picture in a HEIF container.
func (j *job) isHEIF() bool {
	head := make([]byte, 64)
	n, _ := j.in.ReadAt(head, 0)
	return heif.Sniff(head[:n])
}

// heif returns a HEIF picture as PNG, or as JPEG if it is stored like that. Package heif reads the container, and ffmpeg decodes
// the coded tiles only: even where it can read the container, it loses rotation, transparency and profile.
func (j *job) heif(ctx context.Context, by Caller) ([]byte, error) {
	f, err := heif.Parse(ctx, j.in, j.in.size)
	var plan *heif.Plan
	if err == nil {
		// Frames are reduced to no less than twice the wanted edge.
		plan, err = f.Plan(ctx, cmp.Or(by.Edge, maxStill/2))
	}
	if errors.Is(err, heif.ErrUnsupported) {
		return j.still(ctx)
	}
	if err != nil {
		return nil, heifError(err)
	}
	if by.Edge > 0 && by.Reduced != nil {
		by.Reduced()
	}
	if plan.JPEG != nil {
		return plan.JPEG, nil
	}
	if plan.Bytes() > maxRaw {
		return nil, heifError(heif.ErrTooLarge)
	}
	colour, err := j.decodeStream(ctx, plan.Colour)
	if err != nil {
		return nil, err
	}
	var alpha []byte
	if plan.Alpha != nil {
		if alpha, err = j.decodeStream(ctx, plan.Alpha); err != nil {
			return nil, err
		}
	}
	img, err := plan.Assemble(colour, alpha)
	if err != nil {
		return nil, heifError(err)
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&out, img); err != nil {
		return nil, heifError(err)
	}
	return withPNGProfile(out.Bytes(), plan.Profile), nil
}

// decodeStream returns the raw frames of a stream.
func (j *job) decodeStream(ctx context.Context, s *heif.Stream) ([]byte, error) {
	if _, lacks := j.program.lacks.Load(s.Codec); lacks {
		return nil, errNoDecoder
	}
	in, err := createSpool(j.in.size, j.tempDirs)
	if err != nil {
		return nil, err
	}
	defer in.close()
	if err := s.Copy(ctx, in); err != nil {
		return nil, inputError("spooling", err)
	}
	decoder := *j
	decoder.in, decoder.maxOutput = in, s.Output
	args := append(decoder.inputArgs("-f", s.Demuxer), "-map", "0:v:0", "-vf", s.Filter)
	args = append(append(args, decoder.passthroughArgs()...), rawArgs(s.Frames)...)
	res, err := decoder.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	if int64(len(res.Stdout)) == s.Output {
		return res.Stdout, nil
	}
	if len(res.Stdout) == 0 && notSupported.Match(res.Stderr) {
		j.program.lacks.Store(s.Codec, true)
		return nil, errNoDecoder
	}
	return nil, stillVerdict(res, parse(res.Stderr), false)
}

// errNoDecoder says that this ffmpeg cannot decode the codec of a picture. Another one may.
var errNoDecoder = fmt.Errorf("ffmpeg: no decoder for this picture: %w", exec.ErrNotFound)

// heifError returns the error for one of package heif.
func heifError(err error) error {
	switch {
	case errors.Is(err, heif.ErrUnsupported), errors.Is(err, heif.ErrTooLarge):
		return &Error{Err: ErrUnsupported}
	case errors.Is(err, heif.ErrCorrupt):
		return &Error{Err: ErrCorrupt}
	}
	return inputError("reading", err)
}

package heif

import (
	"context"
	"io"
)

// JP2Profile returns the ICC profile in r, a JP2 file (JPEG 2000, ISO/IEC 15444-1, annex I) of size bytes, or nil if it has none.
// ffmpeg decodes such files but drops the profile.
func JP2Profile(ctx context.Context, r io.ReaderAt, size int64) ([]byte, error) {
	src := source{r: r, size: size}
	head, err := src.peek(ctx, 0, int(min(size, 12)))
	if err != nil {
		return nil, err
	}
	if string(head) != "\x00\x00\x00\x0cjP  \r\n\x87\n" {
		return nil, unsupported("no JP2 file")
	}
	var header, profile box
	err = src.boxes(ctx, 0, size, func(b box) (bool, error) {
		header = b
		return b.kind != "jp2h" && b.kind != "jp2c", nil
	})
	if err != nil || header.kind != "jp2h" {
		return nil, err
	}
	if header.end > size {
		return nil, corrupt("the file ends early")
	}
	err = src.boxes(ctx, header.start, header.end, func(b box) (bool, error) {
		if b.end > header.end {
			return false, corrupt("%s is longer than what it is in", b.kind)
		}
		if b.kind != "colr" || b.end-b.start < 3 {
			return true, nil
		}
		head, err := src.peek(ctx, b.start, 3)
		if err != nil {
			return false, err
		}
		switch head[0] { // the method
		case 1: // an enumerated colour space, which ffmpeg reads
		case 2, 3: // a profile, restricted or any
			profile = b
			profile.start += 3
		default:
			return true, nil
		}
		return false, nil // the first known one counts
	})
	if err != nil || profile.kind == "" || profile.end-profile.start > maxProfile {
		return nil, err
	}
	return src.load(ctx, profile, maxProfile)
}

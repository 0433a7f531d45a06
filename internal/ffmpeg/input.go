package ffmpeg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// maxSpool bounds the temporary file for content that is no file of its own. At most twice Tool.Processes of them are there at
// a time: as many being used, and as many being written or waiting.
const maxSpool = 2 << 30

// An input is an open file that nobody else shares the offset of.
type input struct {
	*os.File
	size int64
	name string // to be removed when it is closed; "" if it is gone already or not ours

	damaged bool // it is a picture that nobody else could decode, mended

	releaseSpool func() // lets the next content be spooled; may be called again
}

func (in *input) close() {
	in.releaseSpool()
	in.Close()
	if in.name != "" {
		os.Remove(in.name)
	}
}

// open makes an input of r: another descriptor of the same file if it is one, else a temporary file with what is in it.
func (t *Tool) open(ctx context.Context, r io.ReaderAt, size int64, by Caller) (*input, error) {
	if f, ok := r.(*os.File); ok {
		in, err := reopen(f)
		switch mayNot := errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || err == errNotSame; {
		case err == nil:
			return in, nil
		case !mayNot || size > maxSpool: // too many open files, say
			return nil, inputError("opening once more", err)
		}
	}
	if size > maxSpool {
		return nil, fmt.Errorf("%w: %d bytes that are no file", ErrUnsupported, size)
	}
	release, err := by.wait(ctx, t.spools)
	if err != nil {
		return nil, err
	}
	in, err := spool(ctx, r, size)
	if err != nil {
		release()
		return nil, err
	}
	in.releaseSpool = release
	return in, nil
}

// errNotSame says that the name of a file does not mean it any more.
var errNotSame = errors.New("not the same file any more")

// reopen opens the regular file f once more.
func reopen(f *os.File) (*input, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var g *os.File
	var openErr error
	err = conn.Control(func(fd uintptr) {
		name := f.Name()
		if runtime.GOOS == "linux" {
			name = fmt.Sprintf("/proc/self/fd/%d", fd) // the file itself, whatever its name means by now
		}
		g, openErr = os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // O_NONBLOCK: the name may be that of a FIFO now
	})
	if err := errors.Join(err, openErr); err != nil {
		return nil, err
	}
	was, err := f.Stat()
	is, err2 := g.Stat()
	if err = errors.Join(err, err2); err == nil && (!is.Mode().IsRegular() || !os.SameFile(was, is)) {
		err = errNotSame
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return &input{File: g, size: is.Size(), releaseSpool: func() {}}, nil
}

func spool(ctx context.Context, r io.ReaderAt, size int64) (*input, error) {
	f, err := os.CreateTemp("", "thumbcache-*")
	if err != nil {
		return nil, inputError("spooling", err)
	}
	in := &input{File: f, releaseSpool: func() {}}
	if os.Remove(f.Name()) != nil {
		in.name = f.Name() // Windows keeps the name of an open file
	}
	for in.size < size && err == nil {
		// In steps, so that slow content does not hold up a caller who has left.
		if err = ctx.Err(); err != nil {
			break
		}
		var n int64
		n, err = io.Copy(f, io.NewSectionReader(r, in.size, min(size-in.size, 1<<20)))
		in.size += n
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF // shorter than promised: half of something is nothing to judge by
		}
	}
	if err != nil {
		in.close()
		return nil, inputError("spooling", err)
	}
	return in, nil
}

// inputError takes out of err the name of the file, and that it does not exist, which would seem to be said of the media.
func inputError(doing string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ffmpeg: %s: %v", doing, err)
	}
	return fmt.Errorf("ffmpeg: %s: %w", doing, err)
}

// isStill tells by the first bytes of r whether it is a still picture and not a film.
func isStill(r io.ReaderAt) bool {
	head := make([]byte, 32)
	n, _ := r.ReadAt(head, 0)
	head = head[:n]
	if demuxerOf(head) != "" {
		return true
	}
	for _, magic := range []string{
		"\xff\x0a", "\x00\x00\x00\x0cJXL ", // JPEG XL
		"\x00\x00\x00\x0cjP  ", "\xff\x4f\xff\x51", // JPEG 2000
		"qoif", "8BPS",
	} {
		if strings.HasPrefix(string(head), magic) {
			return true
		}
	}
	if n < 12 || string(head[4:8]) != "ftyp" {
		return false
	}
	switch string(head[8:12]) {
	case "avif", "avis", "heic", "heix", "hevc", "heim", "heis", "mif1", "msf1":
		return true
	}
	return false
}

package ffmpeg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// maxSpool is the size limit in bytes of a temporary file, which holds content that is not a file. At most 2*Tool.Processes of
// them exist at a time: half of them in use, half being written or waiting for a process slot.
const maxSpool = 2 << 30

// maxMemorySpool is the size limit in bytes of a temporary file in memory. Every picture that Go would read fits. Larger files
// could use up the memory of a container.
const maxMemorySpool = 64 << 20

// spoolPattern is the pattern of os.CreateTemp for the names of temporary files.
const spoolPattern = "thumbcache-*"

// An input is an open file whose offset only its job uses.
type input struct {
	*os.File
	size int64
	name string // of a temporary file to remove on close, or ""

	suspect bool // a picture of a format that Go decodes, which Go failed to decode
	padded  bool // zeros have been appended to it

	releaseSpool func() // gives back the slot for a temporary file; may be called more than once
}

func (in *input) close() {
	in.releaseSpool()
	in.Close()
	if in.name != "" {
		os.Remove(in.name)
	}
}

// open returns an input with the content of r: a new descriptor if r is a file, else a temporary file.
func (t *Tool) open(ctx context.Context, r io.ReaderAt, size int64, by Caller) (*input, error) {
	if f, ok := r.(*os.File); ok {
		in, err := reopen(f)
		switch refused := errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || err == errReplaced; {
		case err == nil:
			return in, nil
		case !refused || size > maxSpool: // for example too many open files
			return nil, inputError("reopening", err)
		}
	}
	if size > maxSpool {
		return nil, fmt.Errorf("%w: %d bytes that are not a file", ErrUnsupported, size)
	}
	release, err := by.wait(ctx, t.spools)
	if err != nil {
		return nil, err
	}
	in, err := spool(ctx, r, size, t.TempDirs)
	if err != nil {
		release()
		return nil, err
	}
	in.releaseSpool = release
	return in, nil
}

// errReplaced means that the name of an open file now belongs to another file.
var errReplaced = errors.New("the file has been replaced")

// reopen opens the regular file f a second time, so that the input has its own offset.
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
			name = fmt.Sprintf("/proc/self/fd/%d", fd) // the same file, even if it has been renamed
		}
		g, openErr = os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // O_NONBLOCK: the name may now belong to a FIFO
	})
	if err := errors.Join(err, openErr); err != nil {
		return nil, err
	}
	was, err := f.Stat()
	is, err2 := g.Stat()
	if err = errors.Join(err, err2); err == nil && (!is.Mode().IsRegular() || !os.SameFile(was, is)) {
		err = errReplaced
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return &input{File: g, size: is.Size(), releaseSpool: func() {}}, nil
}

// spool copies r to a temporary file; see createSpool for dirs.
func spool(ctx context.Context, r io.ReaderAt, size int64, dirs []string) (*input, error) {
	in, err := createSpool(size, dirs)
	if err != nil {
		return nil, err
	}
	for in.size < size && err == nil {
		// Copy in steps, so that cancellation works while slow content is read.
		if err = ctx.Err(); err != nil {
			break
		}
		var n int64
		n, err = io.Copy(in.File, io.NewSectionReader(r, in.size, min(size-in.size, 1<<20)))
		in.size += n
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF // r is shorter than size: a part of the media allows no verdict
		}
	}
	if err != nil {
		in.close()
		return nil, inputError("spooling", err)
	}
	return in, nil
}

// ErrNoTempDir means that no folder for temporary files can be written. That is a matter of configuration, not of the media.
var ErrNoTempDir = errors.New("no folder for temporary files can be written")

// createSpool returns a new temporary file for size bytes. If the system's folder for temporary files cannot be written, as in
// a container without one, it takes memory for small files, then the first of dirs that can be written.
func createSpool(size int64, dirs []string) (*input, error) {
	f, err := os.CreateTemp("", spoolPattern)
	if err != nil && size <= maxMemorySpool {
		if f, memErr := createMemoryFile(); memErr == nil {
			return &input{File: f, releaseSpool: func() {}}, nil
		}
	}
	for ; f == nil && len(dirs) > 0; dirs = dirs[1:] {
		f, _ = os.CreateTemp(dirs[0], spoolPattern)
	}
	if f == nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err // without the path
		}
		return nil, fmt.Errorf("ffmpeg: %w: %v", ErrNoTempDir, err)
	}
	in := &input{File: f, releaseSpool: func() {}}
	if os.Remove(f.Name()) != nil {
		in.name = f.Name() // Windows cannot remove an open file
	}
	return in, nil
}

// inputError returns err without the file name. It hides fs.ErrNotExist, which callers would take for a missing media file.
func inputError(doing string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ffmpeg: %s: %v", doing, err)
	}
	return fmt.Errorf("ffmpeg: %s: %w", doing, err)
}

// isStill reports whether r is a still picture, judging by its first bytes.
func isStill(r io.ReaderAt) bool {
	head := make([]byte, 32)
	n, _ := r.ReadAt(head, 0)
	head = head[:n]
	if demuxerOf(head) != "" || isIcon(head) {
		return true
	}
	for _, magic := range []string{
		"\xff\x0a", "\x00\x00\x00\x0cJXL ", // JPEG XL
		"\x00\x00\x00\x0cjP  ", "\xff\x4f\xff\x51", // JPEG 2000
		"qoif", "8BPS", "\x76\x2f\x31\x01", // QOI, Photoshop, OpenEXR
	} {
		if strings.HasPrefix(string(head), magic) {
			return true
		}
	}
	if n >= 3 && head[0] == 'P' && '1' <= head[1] && head[1] <= '7' && strings.IndexByte(" \t\r\n#", head[2]) >= 0 {
		return true // PBM, PGM, PPM and PAM
	}
	return n >= 12 && string(head[4:8]) == "ftyp" && slices.Contains(stillBrands, string(head[8:12]))
}

// stillBrands are the brands of HEIF (ISO/IEC 23008-12) and AVIF files, which are pictures or short sequences of them.
var stillBrands = []string{
	"avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "msf1", "avci", "avcs", "jpeg", "jpgs",
}

// isIcon reports whether head begins an ICO file. Its magic also occurs in MPEG streams, so the first entry is checked too.
func isIcon(head []byte) bool {
	if len(head) < 22 || string(head[:4]) != "\x00\x00\x01\x00" {
		return false
	}
	entries := uint32(binary.LittleEndian.Uint16(head[4:]))
	size, offset := binary.LittleEndian.Uint32(head[14:]), binary.LittleEndian.Uint32(head[18:])
	planes, bits := binary.LittleEndian.Uint16(head[10:]), binary.LittleEndian.Uint16(head[12:])
	return entries > 0 && head[9] == 0 && planes <= 1 && bits <= 32 && size > 0 && offset >= 6+16*entries
}

// largestIcon returns the index of the largest picture in an ICO file, of which head is the start. Of several it prefers the
// one with the most colours.
func largestIcon(head []byte) int {
	best, bestSize := 0, -1
	for i := range min(int(binary.LittleEndian.Uint16(head[4:])), (len(head)-6)/16) {
		entry := head[6+16*i:]
		width := (int(entry[0])+255)%256 + 1 // 0 means 256
		if size := width<<16 + int(binary.LittleEndian.Uint16(entry[6:])); size > bestSize {
			best, bestSize = i, size
		}
	}
	return best
}

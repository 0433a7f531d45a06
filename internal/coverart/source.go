package coverart

import (
	"context"
	"errors"
	"io"
)

const (
	maxSteps = 1 << 16  // headers read in one search; a picture of 32 MiB in Ogg pages of 4 KiB needs 11,000
	maxAlloc = 60 << 20 // bytes allocated in one search: one picture and its encoded form

	walkLen  = 4 << 10 // bytes per read when walking forward
	jumpLen  = 288     // bytes per read after a jump: enough for the longest header, that of an Ogg page
	chunkLen = 1 << 20 // most bytes per read; ctx is checked between two reads
)

// A budget bounds the work of one search. The file and all data unpacked from it share one budget.
type budget struct {
	ctx       context.Context
	err       error // the first error of a read or of ctx; nothing is read after it
	steps     int
	allocated int64
}

// step counts one round of a loop over the file and reports whether the loop may go on.
func (b *budget) step() bool {
	if b.err == nil {
		b.err = b.ctx.Err()
	}
	b.steps++
	return b.err == nil && b.steps <= maxSteps
}

// alloc returns n bytes, or nil if n is more than the budget allows.
func (b *budget) alloc(n int64) []byte {
	if n <= 0 || n > maxPicture || b.allocated+n > maxAlloc {
		return nil
	}
	b.allocated += n
	return make([]byte, n)
}

// A source reads a file through one small buffer, or reads bytes in memory.
//
// Its methods return fewer bytes than requested if the source ends or if a read fails. The budget keeps the error of the
// read, and Find returns it. So walkers have no error paths: to them the file ends.
type source struct {
	*budget
	r    io.ReaderAt
	mem  []byte // used instead of r unless nil
	size int64

	window    []byte // the bytes at windowOff
	windowOff int64
	readTo    int64 // load reads on to here if that is near, so that the next peek needs no read
}

// memorySource returns a source that reads mem.
func (b *budget) memorySource(mem []byte) *source {
	return &source{budget: b, mem: mem, size: int64(len(mem))}
}

// peek returns up to n bytes at off, and none if n is negative. They are valid until the next call.
func (s *source) peek(off int64, n int) []byte {
	if off < 0 || off >= s.size || n <= 0 {
		return nil
	}
	n = int(min(int64(n), s.size-off))
	if s.mem != nil {
		return s.mem[off : off+int64(n)]
	}
	end := s.windowOff + int64(len(s.window))
	if off < s.windowOff || off+int64(n) > end {
		want := jumpLen
		if s.window == nil || off >= s.windowOff && off <= end+walkLen {
			want = walkLen
		}
		want = int(min(int64(max(want, n)), s.size-off))
		if cap(s.window) < want {
			s.window = make([]byte, max(want, walkLen))
		}
		s.window, s.windowOff = s.window[:want], off
		s.window = s.window[:s.read(s.window, off)]
	}
	i := int(off - s.windowOff)
	return s.window[i:min(i+n, len(s.window))]
}

// load returns up to n bytes at off, which stay valid. It returns nil if n is more than the budget allows.
func (s *source) load(off, n int64) []byte {
	n = min(n, s.size-off)
	if off < 0 || n <= 0 {
		return nil
	}
	if s.mem != nil {
		return s.mem[off : off+n : off+n]
	}
	total := n
	if more := min(s.readTo, s.size) - off - n; more > 0 && more <= walkLen && n+more <= maxPicture {
		total += more
	}
	p := s.alloc(total)
	got := 0
	if i := off - s.windowOff; len(p) > 0 && i >= 0 && i < int64(len(s.window)) {
		got = copy(p, s.window[i:])
	}
	got += s.read(p[got:], off+int64(got))
	if total > n && int64(got) > n {
		s.window = append(s.window[:0], p[n:got]...)
		s.windowOff = off + n
	}
	end := min(int64(got), n)
	return p[:end:end]
}

// read reads into p from off and returns the number of bytes read. A file shorter than its declared size was truncated
// during the search, which is an error.
func (s *source) read(p []byte, off int64) (n int) {
	if s.mem != nil {
		return copy(p, s.mem[min(off, s.size):])
	}
	p = p[:max(0, min(int64(len(p)), s.size-off))]
	for n < len(p) && s.step() {
		chunk := p[n:min(len(p), n+chunkLen)]
		m, err := s.r.ReadAt(chunk, off+int64(n))
		n += m
		if m == len(chunk) {
			continue
		}
		switch {
		case errors.Is(err, io.EOF):
			s.err = io.ErrUnexpectedEOF
		case err == nil:
			s.err = io.ErrNoProgress
		default:
			s.err = err
		}
		break
	}
	return n
}

// str returns the n bytes at off, or "" if the source has fewer.
func (s *source) str(off int64, n int) string {
	if b := s.peek(off, n); len(b) == n {
		return string(b)
	}
	return ""
}

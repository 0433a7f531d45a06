package coverart

import (
	"context"
	"errors"
	"io"
)

const (
	maxSteps = 1 << 16  // headers looked at in one Find: the picture of 32 MiB in Ogg pages of 4 KiB has 11,000
	maxAlloc = 60 << 20 // bytes allocated in one Find: one picture and what it was packed in

	walkLen  = 4 << 10 // read when walking on from what was read before
	jumpLen  = 288     // read after a jump: room for the longest header, that of an Ogg page
	chunkLen = 1 << 20 // read in one go; between two of them ctx is looked at
)

// A budget is what one Find may use, shared by the file and everything that is unpacked from it.
type budget struct {
	ctx   context.Context
	err   error // the first failure to read, or of ctx: after it nothing is read any more
	steps int
	spent int64
}

// step is asked once in each round of every loop over a file. It reports whether the loop may go on.
func (b *budget) step() bool {
	if b.err == nil {
		b.err = b.ctx.Err()
	}
	b.steps++
	return b.err == nil && b.steps <= maxSteps
}

// alloc returns n bytes, or nil if that is too much.
func (b *budget) alloc(n int64) []byte {
	if n <= 0 || n > maxPicture || b.spent+n > maxAlloc {
		return nil
	}
	b.spent += n
	return make([]byte, n)
}

// A source is a bounded reader with one small window, over a file or over bytes in memory.
//
// Its methods return fewer bytes than asked for where the source ends or cannot be read. A failure to read is kept in the
// budget, so that walkers need no error paths: they see a short file, and Find asks for the error in the end.
type source struct {
	*budget
	r    io.ReaderAt
	mem  []byte // used in place of r where it is not nil
	size int64

	win    []byte // the bytes at winOff
	winOff int64
}

// over returns a source over bytes in memory.
func (b *budget) over(mem []byte) *source {
	return &source{budget: b, mem: mem, size: int64(len(mem))}
}

// peek returns up to n bytes at off, none if n is negative. They are valid until the next call.
func (s *source) peek(off int64, n int) []byte {
	if off < 0 || off >= s.size || n <= 0 {
		return nil
	}
	n = int(min(int64(n), s.size-off))
	if s.mem != nil {
		return s.mem[off : off+int64(n)]
	}
	end := s.winOff + int64(len(s.win))
	if off < s.winOff || off+int64(n) > end {
		want := jumpLen
		if s.win == nil || off >= s.winOff && off <= end+walkLen {
			want = walkLen
		}
		want = int(min(int64(max(want, n)), s.size-off))
		if cap(s.win) < want {
			s.win = make([]byte, max(want, walkLen))
		}
		s.win, s.winOff = s.win[:want], off
		s.win = s.win[:s.read(s.win, off)]
	}
	i := int(off - s.winOff)
	return s.win[i:min(i+n, len(s.win))]
}

// load returns up to n bytes at off, which are the caller's to keep; nil if that is more than the budget allows.
func (s *source) load(off, n int64) []byte {
	n = min(n, s.size-off)
	if off < 0 || n <= 0 {
		return nil
	}
	if s.mem != nil {
		return s.mem[off : off+n : off+n]
	}
	p := s.alloc(n)
	return p[:s.read(p, off)]
}

// read fills p from off and returns how much it got. A file that is shorter than was said has been cut off under us.
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

// str returns the n bytes at off if they are all there.
func (s *source) str(off int64, n int) string {
	if b := s.peek(off, n); len(b) == n {
		return string(b)
	}
	return ""
}

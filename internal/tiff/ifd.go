// Package tiff reads TIFF files.
//
// [Open] and [File] read the directories of a file: classic TIFF and BigTIFF, in both byte orders. They also read files
// that only borrow the structure, such as RAW photos and maker notes.
//
// [Config] and [Decode] decode the picture of a TIFF photo. A picture is decoded correctly or refused. A file that
// contradicts itself is refused.
//
// The code follows TIFF Revision 6.0 (Adobe, 1992), Adobe's TIFF Technical Notes for PageMaker 6.0 and Photoshop, TIFF
// Technical Notes 2 (JPEG) and 3 (floating point), the BigTIFF design, and ITU-T T.4 and T.6 for facsimile data.
package tiff

import (
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"math"
	"slices"
)

var (
	// ErrUnsupported means that the file may be valid, but uses something that this package does not decode.
	ErrUnsupported = errors.New("tiff: unsupported")

	// ErrCorrupt means that the file is broken, or is no TIFF file.
	ErrCorrupt = errors.New("tiff: broken file")
)

// Limits on what is read of a file.
const (
	maxEntries     = 4096 // entries of one directory; cameras write fewer than 200
	maxDirectories = 256  // directories of one file, those in SubIFDs included
	maxDepth       = 4    // SubIFDs inside SubIFDs
	maxSubIFDs     = 32   // directories that one SubIFDs field may name

	window = 4 << 10 // bytes of one read: enough for a usual directory and its values
)

// A File reads a file of TIFF structure, on demand and in small pieces.
//
// A directory or value that is not inside the file counts as absent. After the first failed read the File reads nothing
// more, everything counts as absent, and [File.Err] returns the error.
type File struct {
	order binary.ByteOrder
	big   bool
	magic uint16
	first int64

	r    io.ReaderAt
	size int64
	win  []byte // the bytes at winOff
	at   int64
	err  error
}

// Open reads the header of a file. Its magic number must be 42, 43 (BigTIFF), or one of others, which vendors use.
func Open(r io.ReaderAt, size int64, others ...uint16) (*File, error) {
	f := &File{r: r, size: size}
	head := f.peek(0, 8)
	if head == nil {
		return nil, f.failure()
	}
	switch string(head[:2]) {
	case "II":
		f.order = binary.LittleEndian
	case "MM":
		f.order = binary.BigEndian
	default:
		return nil, ErrCorrupt
	}
	f.magic = f.order.Uint16(head[2:])
	switch {
	case f.magic == 43:
		f.big = true
		head = f.peek(0, 16)
		if head == nil {
			return nil, f.failure()
		}
		if f.order.Uint16(head[4:]) != 8 || f.order.Uint16(head[6:]) != 0 {
			return nil, ErrCorrupt
		}
		f.first = offset(f.order.Uint64(head[8:]))
	case f.magic == 42, slices.Contains(others, f.magic):
		f.first = int64(f.order.Uint32(head[4:]))
	default:
		return nil, ErrCorrupt
	}
	return f, nil
}

// NewFile returns a File for directories that have no header, such as those of some maker notes. Offsets count from the
// beginning of r.
func NewFile(r io.ReaderAt, size int64, order binary.ByteOrder) *File {
	return &File{r: r, size: size, order: order}
}

// Err returns the first failure to read the file, or nil.
func (f *File) Err() error { return f.err }

// Order returns the byte order of the file.
func (f *File) Order() binary.ByteOrder { return f.order }

// Magic returns the number after the byte order: 42, 43 or a vendor's.
func (f *File) Magic() uint16 { return f.magic }

// First returns the offset of the first directory.
func (f *File) First() int64 { return f.first }

// failure returns the error for something required that is absent.
func (f *File) failure() error {
	if f.err != nil {
		return f.err
	}
	return ErrCorrupt
}

// offset converts an offset or a count from a file. A value too large for int64 becomes one that no file contains.
func offset(v uint64) int64 { return int64(min(v, math.MaxInt64)) }

// holds reports whether the n bytes at off are inside the file.
func (f *File) holds(off, n int64) bool {
	return off >= 0 && n >= 0 && off <= f.size && n <= f.size-off
}

// peek returns the n bytes at off, or nil if they are not inside the file. They are valid until the next call. The
// largest n is the size of the largest directory.
func (f *File) peek(off int64, n int) []byte {
	if f.err != nil || !f.holds(off, int64(n)) {
		return nil
	}
	if end := f.at + int64(len(f.win)); off < f.at || off+int64(n) > end {
		want := int(min(int64(max(n, window)), f.size-off))
		if cap(f.win) < want {
			f.win = make([]byte, want)
		}
		f.win, f.at = f.win[:want], off
		if got, err := f.r.ReadAt(f.win, off); got < want {
			f.win = f.win[:got]
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				f.win, f.err = nil, err
				return nil
			}
			if got < n {
				return nil
			}
		}
	}
	return f.win[off-f.at:][:n]
}

// A Directory is an image file directory (IFD).
type Directory struct {
	Offset int64 // of the directory in the file
	Next   int64 // offset of the next one, 0 if this is the last

	f       *File
	entries []byte
}

// Directory reads the directory at off. It reports false if there is none.
func (f *File) Directory(off int64) (d Directory, ok bool) {
	if off <= 0 {
		return d, false
	}
	head, entry := 2, 12
	if f.big {
		head, entry = 8, 20
	}
	p := f.peek(off, head)
	if p == nil {
		return d, false
	}
	n := uint64(0)
	if f.big {
		n = f.order.Uint64(p)
	} else {
		n = uint64(f.order.Uint16(p))
	}
	if n == 0 || n > maxEntries {
		return d, false
	}
	size := int(n) * entry
	p = f.peek(off+int64(head), size)
	if p == nil {
		return d, false
	}
	d = Directory{Offset: off, f: f, entries: slices.Clone(p)}
	end := off + int64(head+size)
	if f.big {
		if p = f.peek(end, 8); p != nil {
			d.Next = offset(f.order.Uint64(p))
		}
	} else if p = f.peek(end, 4); p != nil {
		d.Next = int64(f.order.Uint32(p))
	}
	return d, f.err == nil
}

// Directories returns the chain of directories that begins at first. If subs is set, each is followed by the directories
// in its SubIFDs field. No directory comes twice, so cycles end.
func (f *File) Directories(first int64, subs bool) iter.Seq[Directory] {
	return func(yield func(Directory) bool) {
		seen := make(map[int64]bool)
		f.walk(first, subs, maxDepth, seen, yield)
	}
}

// walk yields the chain that begins at off. It returns false if yield does.
func (f *File) walk(off int64, subs bool, depth int, seen map[int64]bool, yield func(Directory) bool) bool {
	for off != 0 && !seen[off] && len(seen) < maxDirectories {
		seen[off] = true
		d, ok := f.Directory(off)
		if !ok {
			return true
		}
		if !yield(d) {
			return false
		}
		off = d.Next
		if !subs || depth == 0 {
			continue
		}
		field, _ := d.Find(tagSubIFDs)
		for i := range min(field.Count, maxSubIFDs) {
			v, _ := field.Uint(i)
			if !f.walk(offset(v), subs, depth-1, seen, yield) {
				return false
			}
		}
	}
	return true
}

// A Type is how the values of a field are stored.
type Type uint16

// The types of TIFF 6.0 and BigTIFF.
const (
	Byte Type = iota + 1
	ASCII
	Short
	Long
	Rational
	SByte
	Undefined
	SShort
	SLong
	SRational
	Float
	Double
	IFD

	Long8  Type = 16
	SLong8 Type = 17
	IFD8   Type = 18
)

// size returns how many bytes a value takes, or 0 if the type is unknown.
func (t Type) size() int64 {
	switch t {
	case Byte, ASCII, SByte, Undefined:
		return 1
	case Short, SShort:
		return 2
	case Long, SLong, Float, IFD:
		return 4
	case Rational, SRational, Double, Long8, SLong8, IFD8:
		return 8
	}
	return 0
}

// A Field is an entry of a directory. All of its values are inside the file. The zero Field has no values.
type Field struct {
	Type  Type
	Count int64
	At    int64 // offset of the values in the file

	f      *File
	inline [8]byte // the values, if they are in the entry
	within bool    // they are
}

// Find returns the first field of a tag. It reports false if there is none, or if its values are not inside the file.
func (d Directory) Find(tag uint16) (Field, bool) {
	if d.f == nil {
		return Field{}, false
	}
	order, entry, head := d.f.order, 12, 2
	if d.f.big {
		entry, head = 20, 8
	}
	for at := 0; at < len(d.entries); at += entry {
		e := d.entries[at:][:entry]
		if order.Uint16(e) != tag {
			continue
		}
		field := Field{Type: Type(order.Uint16(e[2:])), f: d.f}
		value := e[8:]
		if d.f.big {
			field.Count, value = offset(order.Uint64(e[4:])), e[12:]
		} else {
			field.Count = int64(order.Uint32(e[4:]))
		}
		size := field.Type.size()
		if size == 0 || field.Count == 0 || field.Count > d.f.size/size {
			return Field{}, false
		}
		switch n := size * field.Count; {
		case n <= int64(len(value)):
			field.At = d.Offset + int64(head+at+entry-len(value))
			field.within = true
			copy(field.inline[:], value)
		case d.f.big:
			field.At = offset(order.Uint64(value))
		default:
			field.At = int64(order.Uint32(value))
		}
		if !d.f.holds(field.At, size*field.Count) {
			return Field{}, false
		}
		return field, true
	}
	return Field{}, false
}

// Len returns how many bytes the values take.
func (v Field) Len() int64 { return v.Type.size() * v.Count }

// value returns the bytes of value i, or nil.
func (v Field) value(i int64) []byte {
	if i < 0 || i >= v.Count {
		return nil
	}
	size := v.Type.size()
	if v.within {
		return v.inline[i*size:][:size]
	}
	return v.f.peek(v.At+i*size, int(size))
}

// Uint returns value i of an unsigned integer type.
func (v Field) Uint(i int64) (uint64, bool) {
	p := v.value(i)
	if p == nil {
		return 0, false
	}
	switch v.Type {
	case Byte, Undefined:
		return uint64(p[0]), true
	case Short:
		return uint64(v.f.order.Uint16(p)), true
	case Long, IFD:
		return uint64(v.f.order.Uint32(p)), true
	case Long8, IFD8:
		return v.f.order.Uint64(p), true
	}
	return 0, false
}

// Float returns value i of any numeric type. It reports false if the value is infinite or not a number.
func (v Field) Float(i int64) (float64, bool) {
	p := v.value(i)
	if p == nil {
		return 0, false
	}
	n := math.NaN()
	switch o := v.f.order; v.Type {
	case Byte, Undefined:
		n = float64(p[0])
	case SByte:
		n = float64(int8(p[0]))
	case Short:
		n = float64(o.Uint16(p))
	case SShort:
		n = float64(int16(o.Uint16(p)))
	case Long, IFD:
		n = float64(o.Uint32(p))
	case SLong:
		n = float64(int32(o.Uint32(p)))
	case Long8, IFD8:
		n = float64(o.Uint64(p))
	case SLong8:
		n = float64(int64(o.Uint64(p)))
	case Float:
		n = float64(math.Float32frombits(o.Uint32(p)))
	case Double:
		n = math.Float64frombits(o.Uint64(p))
	case Rational:
		n = float64(o.Uint32(p)) / float64(o.Uint32(p[4:]))
	case SRational:
		n = float64(int32(o.Uint32(p))) / float64(int32(o.Uint32(p[4:])))
	}
	return n, !math.IsNaN(n) && !math.IsInf(n, 0)
}

// Bytes returns the values as the file stores them, or nil if they take more than limit bytes.
func (v Field) Bytes(limit int64) []byte {
	n := v.Len()
	if n == 0 || n > limit || n > math.MaxInt {
		return nil
	}
	if v.within {
		return slices.Clone(v.inline[:n])
	}
	return v.f.Bytes(v.At, n)
}

// Text returns the values as a string up to the first zero byte, or "" if they take more than limit bytes.
func (v Field) Text(limit int64) string {
	p := v.Bytes(limit)
	if i := slices.Index(p, 0); i >= 0 {
		p = p[:i]
	}
	return string(p)
}

// Uint returns the first value of a tag, or the default value otherwise.
func (d Directory) Uint(tag uint16, otherwise uint64) uint64 {
	field, _ := d.Find(tag)
	if v, ok := field.Uint(0); ok {
		return v
	}
	return otherwise
}

// Has reports whether there is a field of a tag.
func (d Directory) Has(tag uint16) bool {
	_, ok := d.Find(tag)
	return ok
}

// Bytes returns the n bytes at off, or nil if they are not inside the file. The caller must limit n.
func (f *File) Bytes(off, n int64) []byte {
	if f.err != nil || n <= 0 || n > math.MaxInt || !f.holds(off, n) {
		return nil
	}
	// The caller's size of the file may be wrong too, so memory grows only with what is read.
	const step = 1 << 20
	var p []byte
	for int64(len(p)) < n {
		have := len(p)
		p = slices.Grow(p, int(min(n-int64(have), max(step, int64(have)))))
		p = p[:min(int64(cap(p)), n)]
		if got, err := f.r.ReadAt(p[have:], off+int64(have)); got < len(p)-have {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				f.err = err
			}
			return nil
		}
	}
	return p
}

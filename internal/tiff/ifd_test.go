package tiff

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
)

func open1(data []byte) (*File, error) { return Open(bytes.NewReader(data), int64(len(data))) }

func TestDirectories(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, big := range []bool{false, true} {
			w := newWriter(order, big)
			deep := w.directory(true, short(1, 30))
			sub := w.directory(true, short(1, 20), long(tagSubIFDs, deep))
			w.directory(false, short(1, 1), long(tagSubIFDs, sub, sub, 1<<30))
			w.directory(false, short(1, 2))
			f, err := open1(w.buf)
			if err != nil {
				t.Fatal(err)
			}
			for subs, want := range map[bool][]uint64{true: {1, 20, 30, 2}, false: {1, 2}} {
				var got []uint64
				for d := range f.Directories(f.First(), subs) {
					got = append(got, d.Uint(1, 0))
				}
				if len(got) != len(want) {
					t.Fatalf("%v, want %v", got, want)
				}
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("%v, want %v", got, want)
					}
				}
			}
			for range f.Directories(f.First(), true) {
				break // and no more of them
			}
			if f.Err() != nil || f.Order() != order || (f.Magic() == 43) != big {
				t.Errorf("%v, %v, %d", f.Err(), f.Order(), f.Magic())
			}
		}
	}
}

// Directories that point at each other come once.
func TestCycles(t *testing.T) {
	w := newWriter(binary.LittleEndian, false)
	first := w.directory(false, short(1, 1), long(tagSubIFDs, 8, 8))
	w.offset(0)
	for i := range w.buf[first:] { // the directory names itself as one of its SubIFDs, and as the next one
		if binary.LittleEndian.Uint16(w.buf[int(first)+i:]) == tagSubIFDs {
			at := binary.LittleEndian.Uint32(w.buf[int(first)+i+8:])
			binary.LittleEndian.PutUint32(w.buf[at:], uint32(first))
			break
		}
	}
	binary.LittleEndian.PutUint32(w.buf[w.link:], uint32(first))
	f, err := open1(w.buf)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range f.Directories(f.First(), true) {
		n++
	}
	if n != 1 {
		t.Errorf("%d directories", n)
	}

	// There is a limit to how many are read.
	w = newWriter(binary.LittleEndian, false)
	for range maxDirectories + 9 {
		w.directory(false, short(1, 1))
	}
	f, _ = open1(w.buf)
	n = 0
	for range f.Directories(f.First(), true) {
		n++
	}
	if n != maxDirectories {
		t.Errorf("%d directories", n)
	}
}

func TestFields(t *testing.T) {
	for _, big := range []bool{false, true} {
		w := newWriter(binary.BigEndian, big)
		negative := func(v int64) uint64 { return uint64(v) }
		w.directory(false,
			entry{1, Byte, []uint64{200, 3}},
			entry{2, ASCII, []uint64{'h', 'i', 0, 'x'}},
			entry{3, SByte, []uint64{negative(-2)}},
			entry{4, SShort, []uint64{negative(-300), 300}},
			entry{5, SLong, []uint64{negative(-70000), 70000}},
			entry{6, Float, []uint64{uint64(math.Float32bits(1.5))}},
			entry{7, Double, []uint64{math.Float64bits(-2.25), math.Float64bits(math.NaN())}},
			entry{8, Long8, []uint64{1 << 40}},
			entry{9, SLong8, []uint64{negative(-1 << 40)}},
			entry{10, Type(99), nil},
			long(11),
			long(12, 1, 2, 3, 4, 5),
		)
		f, err := open1(w.buf)
		if err != nil {
			t.Fatal(err)
		}
		d, ok := f.Directory(f.First())
		if !ok {
			t.Fatal("no directory")
		}
		for tag, want := range map[uint16][]float64{1: {200, 3}, 3: {-2}, 4: {-300, 300}, 5: {-70000, 70000}, 6: {1.5}, 7: {-2.25},
			8: {1 << 40}, 9: {-1 << 40}, 12: {1, 2, 3, 4, 5}} {
			field, ok := d.Find(tag)
			if !ok {
				t.Errorf("no tag %d", tag)
			}
			for i, v := range want {
				if got, ok := field.Float(int64(i)); !ok || got != v {
					t.Errorf("tag %d: %v, want %v", tag, got, v)
				}
			}
			if _, ok := field.Float(field.Count); ok {
				t.Errorf("tag %d has too many values", tag)
			}
			got := field.Bytes(100)
			if !bytes.Equal(got, w.buf[field.At:][:field.Len()]) {
				t.Errorf("tag %d: %x", tag, got)
			}
			if field.Bytes(field.Len()-1) != nil {
				t.Errorf("tag %d is longer than the limit", tag)
			}
		}
		if field, _ := d.Find(7); field.Count != 2 {
			t.Error(field)
		} else if _, ok := field.Float(1); ok {
			t.Error("NaN is a number")
		}
		if field, _ := d.Find(2); field.Text(10) != "hi" || field.Text(3) != "" {
			t.Errorf("%q", field.Text(10))
		}
		for _, tag := range []uint16{10, 11, 13} {
			if d.Has(tag) || d.Uint(tag, 7) != 7 {
				t.Errorf("tag %d", tag)
			}
		}
		for _, tag := range []uint16{2, 3, 4, 5, 6, 7, 9} { // not of an unsigned type
			if d.Uint(tag, 7) != 7 {
				t.Errorf("tag %d", tag)
			}
		}
	}
	var none Directory
	if none.Has(1) || none.Uint(1, 5) != 5 {
		t.Error("the zero Directory has fields")
	}
}

// What is not within the file is absent.
func TestOutside(t *testing.T) {
	w := newWriter(binary.LittleEndian, true)
	w.directory(false, long(1, 1, 2, 3, 4), long(2, 5))
	f, _ := open1(w.buf)
	at := f.First() + 8 + 12 // the offset of the first field's values
	for _, v := range []uint64{uint64(len(w.buf)) - 15, math.MaxUint64, math.MaxInt64, 1 << 63, math.MaxInt64 - 8} {
		data := bytes.Clone(w.buf)
		binary.LittleEndian.PutUint64(data[at:], v)
		f, err := open1(data)
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.Directory(f.First()); !ok || d.Has(1) || !d.Has(2) {
			t.Errorf("%#x", v)
		}
		data = bytes.Clone(w.buf)
		binary.LittleEndian.PutUint64(data[at-8:], v)
		f, _ = open1(data)
		if d, ok := f.Directory(f.First()); !ok || d.Has(1) || !d.Has(2) {
			t.Errorf("count %#x", v)
		}
	}
	for _, off := range []int64{-1, 0, 1, int64(len(w.buf)), math.MaxInt64} {
		if _, ok := f.Directory(off); ok {
			t.Errorf("a directory at %d", off)
		}
		if f.Bytes(off, math.MaxInt64) != nil {
			t.Errorf("bytes at %d", off)
		}
	}
}

// Reads are few and small, however large the file is.
func TestReads(t *testing.T) {
	w := newWriter(binary.LittleEndian, false)
	w.data(make([]byte, 1<<20))
	w.directory(false, short(tagWidth, 5), long(tagStripOffsets, make([]uint64, 100000)...))
	r := &countingReader{r: bytes.NewReader(w.buf)}
	f, err := Open(r, int64(len(w.buf)))
	if err != nil {
		t.Fatal(err)
	}
	d, _ := f.Directory(f.First())
	field, _ := d.Find(tagStripOffsets)
	if _, ok := field.Uint(99999); !ok || field.Count != 100000 {
		t.Error("no offset")
	}
	if r.reads > 4 || r.bytes > 4*window {
		t.Errorf("%d reads of %d bytes", r.reads, r.bytes)
	}
}

type countingReader struct {
	r     io.ReaderAt
	reads int
	bytes int64
}

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.r.ReadAt(p, off)
	r.reads++
	r.bytes += int64(n)
	return n, err
}

// A file that is shorter than the caller says is not read beyond its end, nor is memory taken for it.
func TestShortFile(t *testing.T) {
	data := make([]byte, 1000)
	copy(data, "II*\x00")
	f, err := Open(bytes.NewReader(data), 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if used := allocated(func() {
		if f.Bytes(8, 1<<39) != nil {
			t.Error("there are no such bytes")
		}
	}); used > 4<<20 {
		t.Errorf("%d bytes allocated", used)
	}
	if f.Err() != nil {
		t.Error(f.Err())
	}
	broken := errors.New("the disk is gone")
	f, _ = Open(&failingReader{bytes.NewReader(data), 500, broken}, 1000)
	if f == nil {
		// The first read has the whole file in its window.
		if _, err := Open(&failingReader{bytes.NewReader(data), 500, broken}, 1000); !errors.Is(err, broken) {
			t.Error(err)
		}
	}
}

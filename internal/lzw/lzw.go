// Package lzw decompresses LZW as in GIF and TIFF.
package lzw

import (
	"encoding/binary"
	"errors"
	"io"
)

// A Format says how codes are packed and when they grow.
type Format uint8

const (
	// GIF has the lowest bit first. Codes grow when the next code to be defined needs one more bit.
	GIF Format = iota
	// TIFF has the highest bit first (TIFF 6.0, section 13). Codes grow one code earlier.
	TIFF
)

// ErrUndefined means that the data has a code that is not defined.
var ErrUndefined = errors.New("lzw: undefined code")

const (
	maxBits  = 12 // of a code
	numCodes = 1 << maxBits
	partSize = 4            // bytes of a part of a string
	spill    = partSize - 1 // bytes behind a string that are overwritten

	inputSize = 4 << 10
	wideLoad  = 4 // bytes that are loaded to get a code
)

// A Reader decompresses. It is ready for use after Reset.
type Reader struct {
	format   Format
	literals uint  // bits of a literal
	clear    uint  // the code that clears the table; the one after it ends the data
	err      error // to be returned when all output has been read

	src    io.Reader
	srcErr error
	pos    uint // of the next code in input, in bits
	end    uint // of input, in bits

	width uint   // of a code
	grow  uint   // value of next at which codes grow
	next  uint   // the code to be defined; clear+1 without a previous string
	open  entry  // of the code to be defined: the previous string, without the byte that it gets
	first byte   // of the previous string
	left  []byte // rest of the previous string, in spelled

	table   [numCodes]entry
	input   [inputSize + wideLoad]byte
	spelled [numCodes + spill]byte
}

// An entry describes the string of a code. Strings are split into parts of 4 bytes, so that one load and one store are enough
// for most of them. From the lowest bit:
//
//	32 bits  the last part, of 1 to 4 bytes
//	16 bits  the code of the parts before
//	16 bits  the length of the string
type entry uint64

const lengthShift = 48

func (e entry) length() int { return int(e >> lengthShift) }

// open returns the entry of the string of e, which has the given code, and one more byte, which is 0 yet.
func (e entry) open(code uint) entry {
	parts := e & (1<<lengthShift - 1)
	if e.length()%partSize == 0 { // the last part is full
		parts = entry(code) << 32
	}
	return (e>>lengthShift+1)<<lengthShift | parts
}

// closed returns the entry with its last byte.
func (e entry) closed(b byte) entry {
	return e | entry(b)<<(8*((e>>lengthShift-1)%partSize))
}

// Reset begins new data. A literal has from 2 to 8 bits.
func (r *Reader) Reset(src io.Reader, format Format, literalBits int) {
	r.format, r.literals, r.err, r.left = format, uint(literalBits), nil, nil
	r.src, r.srcErr, r.pos, r.end = src, nil, 0, 0
	r.clear = 1 << r.literals
	for i := range r.clear {
		r.table[i] = 1<<lengthShift | entry(i)
	}
	r.width, r.next = r.literals+1, r.clear+1
	r.grow = r.growAt(r.width)
}

// growAt returns the number of defined codes at which codes of the given width grow.
func (r *Reader) growAt(width uint) uint {
	switch {
	case width == maxBits:
		return numCodes + 1 // never
	case r.format == TIFF:
		return 1<<width - 1
	}
	return 1 << width
}

// Read implements [io.Reader]. It uses all of p as scratch space.
func (r *Reader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(r.left) > 0:
			k := copy(p[n:], r.left)
			r.left = r.left[k:]
			n += k
		case r.err != nil:
			return n, r.err
		default:
			n += r.decode(p[n:])
		}
	}
	return n, nil
}

// decode fills p, or sets r.err. A string that does not fit p goes on in r.left. It returns the number of bytes in p.
func (r *Reader) decode(p []byte) (to int) {
	pos, width, next, open, first := r.pos, r.width, r.next, r.open, r.first
loop:
	for to < len(p) {
		if pos+width > r.end {
			if pos = r.refill(pos); pos+width > r.end {
				r.err = r.srcErr
				break
			}
		}
		var word uint32
		if in := r.input[pos/8%inputSize:]; r.format == TIFF {
			word = binary.BigEndian.Uint32(in) << (pos % 8) >> ((32 - width) & 31)
		} else {
			word = binary.LittleEndian.Uint32(in) >> (pos % 8) & (1<<(width&31) - 1)
		}
		pos += width
		code := uint(word)
		e := r.table[code%numCodes]
		if code >= next || code-r.clear < 2 {
			switch {
			case code == r.clear:
				width, next = r.literals+1, r.clear+1
				r.grow = r.growAt(width)
				continue
			case code == r.clear+1:
				r.err = io.EOF
				break loop
			case code > next:
				r.err = ErrUndefined
				break loop
			}
			e = open.closed(first) // the string that this code defines
		}
		if e.length() <= partSize && to+partSize <= len(p) {
			binary.LittleEndian.PutUint32(p[to:], uint32(e))
			first = byte(e)
			to += e.length()
		} else {
			k := r.put(p[to:], e)
			first = p[to]
			to += k
		}
		if next < numCodes {
			// Without a previous string this overwrites the entry of the code that ends the data, which has no string.
			r.table[next] = open.closed(first)
			if next++; next == r.grow {
				width++
				r.grow = r.growAt(width)
			}
		}
		open = e.open(code)
	}
	r.pos, r.width, r.next, r.open, r.first = pos, width, next, open, first
	return to
}

// refill moves the input from pos on to the beginning and fills the rest, unless src has ended. It returns the new position.
func (r *Reader) refill(pos uint) uint {
	n := uint(copy(r.input[:], r.input[pos/8:r.end/8]))
	for r.srcErr == nil && n < inputSize/2 {
		var k int
		k, r.srcErr = r.src.Read(r.input[n:inputSize])
		n += uint(k)
	}
	if r.srcErr == io.EOF {
		r.srcErr = io.ErrUnexpectedEOF
	}
	r.end = 8 * n
	return pos % 8
}

// put writes a string of any length to p, as far as it fits. It returns the number of bytes in p.
func (r *Reader) put(p []byte, e entry) int {
	length := e.length()
	if length+spill <= len(p) {
		r.spell(p, e)
		return length
	}
	r.spell(r.spelled[:], e)
	n := copy(p, r.spelled[:length])
	r.left = r.spelled[n:length]
	return n
}

// spell writes a string, the last part first. It overwrites up to spill bytes behind the string.
func (r *Reader) spell(to []byte, e entry) {
	for at := (e.length() - 1) &^ (partSize - 1); ; at -= partSize {
		binary.LittleEndian.PutUint32(to[at:], uint32(e))
		if at == 0 {
			return
		}
		e = r.table[e>>32&(numCodes-1)]
	}
}

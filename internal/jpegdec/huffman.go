package jpegdec

import (
	"bytes"
	"encoding/binary"
)

// maxBlockBytes is more than one block can take from the stream: 64 symbols of
// at most 16 bits of code and 16 of value each, and one load of eight bytes
// ahead of them.
const maxBlockBytes = 64*(16+16)/8 + 8

// chunk is how much entropy-coded data is unstuffed at a time: small enough to
// be still in the L1 cache when it is read.
const chunk = 8 << 10

// A buffer holds a part of the stream, and enough zeros behind it.
type buffer [chunk + 2*maxBlockBytes]byte

// A cursor is a place in the stream. Its methods return where they got to: as a
// value that is never pointed at, it lives in registers while a block is read.
type cursor struct {
	// acc holds the next n bits of the stream at its top. The bits below them
	// are not zero: they are the stream's as well, and are loaded again.
	acc uint64
	n   uint
	pos int // of the next byte of the buffer to load
}

// need makes at least 32 bits available, which is one symbol with its value.
func (c cursor) need(buf *buffer) cursor {
	if c.n < 32 {
		c.acc |= binary.BigEndian.Uint64(buf[c.pos:]) >> c.n
		c.pos += int(63-c.n) >> 3
		c.n |= 56
	}
	return c
}

// drop goes on by so many bits.
func (c cursor) drop(bits uint) cursor {
	c.acc <<= bits & 63
	c.n -= bits
	return c
}

// A bitReader reads one entropy-coded segment: the data between two markers.
//
// It copies the data to a buffer first, and drops the stuffed zero bytes (T.81
// F.1.2.3) on the way. That costs a few per cent of the time of a decoder,
// because it is a search for 0xFF and a copy, both of which run at memory
// speed, and it saves more: making more bits available is one load that never
// has to look for 0xFF, and the end of the data has to be checked only once a
// block, because the buffer is never emptier than a block can be long.
type bitReader struct {
	cursor
	buf buffer

	safe    int  // while pos <= safe, another block can be read unchecked
	fill    int  // buf[:fill] is the stream, and what follows is zero
	ended   bool // data[next:] starts with a marker, or is empty
	damaged bool // something that no encoder writes was skipped

	data []byte // the file
	next int    // data[:next] is in buf, or behind us
}

// start begins the segment at data[pos:].
func (r *bitReader) start(pos int) {
	r.next = pos
	r.cursor, r.fill, r.ended = cursor{}, 0, false
	r.more()
}

// more makes the next block readable without checks, and reports whether
// everything read so far was there. It has to be called when pos > safe, which
// is once every chunk, and for the last block or two of a segment.
func (r *bitReader) more() bool {
	if !r.ended {
		r.fill = copy(r.buf[:], r.buf[r.pos:r.fill])
		r.pos = 0
		r.unstuff()
		r.safe = r.fill - maxBlockBytes
		if r.ended {
			clear(r.buf[r.fill:])
			r.safe = r.fill
		}
	}
	return 8*r.pos-int(r.n) <= 8*r.fill
}

// unstuff fills buf up from data, as far as the next marker.
func (r *bitReader) unstuff() {
	for r.fill < chunk {
		src := r.data[r.next:]
		src = src[:min(len(src), chunk-r.fill)]
		run := bytes.IndexByte(src, 0xff)
		if run < 0 {
			run = len(src)
		}
		r.fill += copy(r.buf[r.fill:], src[:run])
		r.next += run
		if r.next+1 >= len(r.data) {
			r.ended = true // cut short, with half a marker at most
			return
		}
		if run == len(src) {
			continue
		}
		switch b := r.data[r.next+1]; {
		case b == 0xff: // a fill byte, B.1.1.2
			r.next++
		case b >= markerSOF0:
			r.ended = true
			return
		default:
			// Not zero is no marker that can stand here. It is more likely a
			// damaged zero than anything else.
			r.damaged = r.damaged || b != 0
			r.buf[r.fill] = 0xff
			r.fill++
			r.next += 2
		}
	}
}

// fastBits is the length of the bit strings that are looked up at once.
const fastBits = 10

// skipBits is the same for coefficients that are skipped.
const skipBits = 11

// An entry says what the next bits of the stream mean:
//
//	bits 0..5    how many bits there are: the code's and the value's
//	bit  6       partial: the value is not in the entry
//	bits 8..15   how far to advance in the block, or eob or bad
//	bits 16..31  the value, signed. The number of its bits if it is partial.
//	             The exponent of the run, if this is an end of band.
type entry uint32

const (
	partial entry = 1 << 6

	// An end of block advances so far that the loops over the coefficients,
	// which end behind the last coefficient anyway, need not look for it. So
	// does a code that there is none of.
	eob = 128
	bad = 192
)

// lookup returns the entry for the bits at the top of acc, of which it needs 32.
func (t *table) lookup(acc uint64) entry {
	e := t.fast[acc>>(64-fastBits)]
	if e&partial != 0 {
		return t.resolve(e, acc)
	}
	return e
}

func (e entry) bits() uint   { return uint(e & 63) }
func (e entry) advance() int { return int(e >> 8 & 0xff) }
func (e entry) value() int32 { return int32(e) >> 16 }

// A tableKind says what the symbols of a table mean.
type tableKind uint8

const (
	unbuilt tableKind = iota
	kindDC
	kindAC            // sequential
	kindProgressiveAC // where an end of block can be one of a band of blocks
	kindRefineAC      // and where values are no larger than one
)

// A table is a Huffman table. The entries of fast are complete for all bit
// strings that tell both a code and its value within fastBits, which is nearly
// all of a photograph's.
type table struct {
	fast [1 << fastBits]entry

	// skip tells of as many whole coefficients as a string of skipBits has the
	// codes of: bits 0..4 their bits, bit 5 whether they end the block, and
	// bits 8..15 how far they advance. Zero means none.
	skip [1 << skipBits]uint16

	counts [17]int // how many codes there are of each length
	vals   [256]byte

	// For codes longer than fastBits. limit[l] is what a string of 16 bits
	// must be less than to start with a code of length l or shorter;
	// vals[code+index[l]] is the symbol of a code of length l.
	limit [17]uint32
	index [17]int32

	kind    tableKind
	hasSkip bool
}

// define sets the codes of t, as they stand in a DHT segment (T.81 B.2.4.2).
// It reports whether there are such codes.
func (t *table) define(counts *[16]byte, vals []byte) bool {
	t.kind, t.hasSkip = unbuilt, false
	t.counts = [17]int{}
	code := 0
	for i, n := range counts {
		t.counts[i+1] = int(n)
		code = code<<1 + int(n)
		if code > 2<<i {
			return false // more codes than there are bit strings
		}
	}
	t.vals = [256]byte{}
	return copy(t.vals[:], vals) == len(vals)
}

// build derives the look-up tables, which depend on the kind of scan that the
// table is used in.
func (t *table) build(kind tableKind) {
	if t.kind == kind {
		return
	}
	t.kind, t.hasSkip = kind, false
	for i := range t.fast {
		t.fast[i] = partial
	}
	code, next := 0, 0
	for length := 1; length <= 16; length++ {
		t.index[length] = int32(next - code)
		for range t.counts[length] {
			if length <= fastBits {
				t.spread(code<<(fastBits-length), 1<<(fastBits-length), t.symbol(next, length))
			}
			code++
			next++
		}
		t.limit[length] = uint32(code) << (16 - length)
		code <<= 1
	}
}

// spread writes e to the n entries from the first on, which all start with e's
// code, completing it with the value bits that follow the code.
func (t *table) spread(first, n int, e entry) {
	size := int(e >> 16)
	if e&partial == 0 || 1<<size > n {
		for i := range n {
			t.fast[first+i] = e
		}
		return
	}
	for i := range n {
		acc := uint64(first+i) << (64 - fastBits)
		t.fast[first+i] = complete(e, acc)
	}
}

// symbol returns what the symbol vals[i], with a code of so many bits, means.
func (t *table) symbol(i, length int) entry {
	sym := t.vals[i&255]
	run, size := entry(sym>>4), entry(sym&15)
	e := entry(length)
	switch {
	case t.kind == kindDC && sym == 0:
		return e | 1<<8
	case t.kind == kindDC && sym < 16:
		return e | 1<<8 | size<<16 | partial
	case t.kind == kindDC:
		return e | bad<<8
	case t.kind == kindRefineAC && size > 1:
		return e | bad<<8
	case size != 0:
		return e | (run+1)<<8 | size<<16 | partial
	case run == 15:
		return e | 16<<8 // sixteen zeros, told as the last of them
	case run == 0 || t.kind != kindAC:
		return e | eob<<8 | run<<16
	}
	return e | bad<<8
}

// complete returns the partial entry e with its value, which follows the code
// at the top of acc (RECEIVE and EXTEND of T.81 F.2.2.1).
func complete(e entry, acc uint64) entry {
	size := uint(e >> 16)
	acc <<= e & 63
	v := int64(acc >> ((64 - size) & 63))
	if acc>>63 == 0 {
		v -= 1<<size - 1
	}
	return entry(v)<<16 | e&0xff00 | (e&63 + entry(size))
}

// resolve returns the complete entry for acc, of which e is the partial one. It
// is the slow path of the decoding loops.
func (t *table) resolve(e entry, acc uint64) entry {
	if e == partial {
		e = t.long(acc)
		if e&partial == 0 {
			return e
		}
	}
	return complete(e, acc)
}

// long returns the entry of a code that is longer than fastBits.
func (t *table) long(acc uint64) entry {
	s := uint32(acc >> 48)
	for length := fastBits + 1; length <= 16; length++ {
		if s < t.limit[length] {
			return t.symbol(int(int32(s>>(16-length))+t.index[length]), length)
		}
	}
	return 16 | bad<<8
}

// buildSkip derives skip, for tables that coefficients are skipped with.
func (t *table) buildSkip() {
	if t.hasSkip {
		return
	}
	t.hasSkip = true
	for i := range t.skip {
		var bits, advance, end uint
		for {
			e := t.fast[(i<<bits)&(1<<skipBits-1)>>(skipBits-fastBits)]
			code, size := e.bits(), uint(0)
			if e&partial != 0 {
				size = uint(e >> 16)
			}
			step := uint(e.advance())
			// The string has to have all of the code. It need not have all of
			// the value, which is not wanted.
			if e == partial || bits+code > skipBits || step == bad {
				break
			}
			if step == eob {
				bits += code
				end = 1
				break
			}
			if advance+step > 62 {
				break
			}
			bits += code + size
			advance += step
			if bits >= skipBits {
				break
			}
		}
		t.skip[i] = uint16(advance<<8 | end<<5 | bits)
	}
}

// block reads one block of a sequential scan (T.81 F.2.2). It adds the AC
// coefficients up to q.last to b, dequantised, and returns the difference of
// the DC coefficient, the index of the last AC coefficient that was added (or
// one behind it), and whether the block was sound.
func (r *bitReader) block(b *block, q *dequant, dc, ac *table) (diff int32, last int, ok bool) {
	c, buf := r.cursor.need(&r.buf), &r.buf
	e := dc.lookup(c.acc)
	c = c.drop(e.bits())
	diff, ok = e.value(), e.advance() == 1

	k := 0
	for k < q.last {
		c = c.need(buf)
		e := ac.lookup(c.acc)
		c = c.drop(e.bits())
		k += e.advance()
		if k > 63 {
			break
		}
		b[q.slot[k&63]%blockSlots] += int64(e.value()) * q.mul[k&63]
	}
	last = k & 127

	for k < 63 {
		c = c.need(buf)
		s := ac.skip[c.acc>>(64-skipBits)]
		// Where the string may reach the block's last coefficient, it may hold
		// codes of the next block too.
		if to := k + int(s>>8); s != 0 && to < 63 {
			c = c.drop(uint(s & 31))
			k = to
			if s&(1<<5) != 0 {
				k += eob
			}
			continue
		}
		e := ac.lookup(c.acc)
		c = c.drop(e.bits())
		k += e.advance()
	}
	r.cursor = c
	return diff, min(last, q.last), ok && (k == 63 || eob <= k && k < bad)
}

// standardTables are those of T.81 K.3.3.
var standardTables = [2][2]struct {
	counts [16]byte
	vals   []byte
}{
	{
		{[16]byte{0, 1, 5, 1, 1, 1, 1, 1, 1}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
		{[16]byte{0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
	},
	{
		{
			[16]byte{0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125},
			[]byte{
				0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
				0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
				0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
				0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
				0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
				0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
				0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
				0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
				0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
				0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
				0xf9, 0xfa,
			},
		},
		{
			[16]byte{0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119},
			[]byte{
				0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
				0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
				0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
				0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
				0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
				0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
				0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
				0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
				0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
				0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
				0xf9, 0xfa,
			},
		},
	},
}

package jpegdec

import (
	"bytes"
	"encoding/binary"
)

// maxBlockBytes is an upper bound of the bytes that reading one block takes from the stream: 64 symbols, each with at
// most 16 bits of code and 16 of value, and one load of eight bytes ahead of them.
const maxBlockBytes = 64*(16+16)/8 + 8

// chunk is the number of bytes of entropy-coded data that are unstuffed at a time. They are still in the L1 cache when
// they are read.
const chunk = 8 << 10

// A buffer holds a part of the stream, and enough zeros after it for one block.
type buffer [chunk + 2*maxBlockBytes]byte

// A cursor is a position in the stream. Its methods return the new position instead of changing it. A value whose
// address is never taken stays in registers while a block is read.
type cursor struct {
	// acc holds the next n bits of the stream at its top. The bits below them are bits of the stream too, which are
	// loaded again.
	acc uint64
	n   uint
	pos int // of the next byte to load from the buffer
}

// need makes at least 32 bits available, enough for one symbol with its value.
func (c cursor) need(buf *buffer) cursor {
	if c.n < 32 {
		c.acc |= binary.BigEndian.Uint64(buf[c.pos:]) >> c.n
		c.pos += int(63-c.n) >> 3
		c.n |= 56
	}
	return c
}

// drop advances by the number of bits.
func (c cursor) drop(bits uint) cursor {
	c.acc <<= bits & 63
	c.n -= bits
	return c
}

// A bitReader reads one entropy-coded segment: the data between two markers.
//
// It first copies the data to a buffer and drops the stuffed zero bytes (T.81 F.1.2.3). That takes a few per cent of
// the decoding time, because searching for 0xFF and copying both run at memory speed. It saves more than that: making
// bits available is one load that does not look for 0xFF. The end of the data is checked only once a block, because
// the buffer always has room for a whole block.
type bitReader struct {
	cursor
	buf buffer

	safe    int  // while pos <= safe, another block can be read without checks
	fill    int  // buf[:fill] is data of the stream; zeros follow
	ended   bool // data[next:] starts with a marker, or is empty
	damaged bool // bytes that no encoder writes were skipped

	data []byte // the file
	next int    // position in data of the next byte to copy to buf
}

// start begins the segment at data[pos:].
func (r *bitReader) start(pos int) {
	r.next = pos
	r.cursor, r.fill, r.ended = cursor{}, 0, false
	r.refill()
}

// refill makes the next block readable without checks. It reports whether all bits read so far were in the data. It
// has to be called when pos > safe, which is once a chunk, and for the last block or two of a segment.
func (r *bitReader) refill() bool {
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

// truncated reports whether the segment ends at the end of the file, without a marker.
func (r *bitReader) truncated() bool { return r.ended && r.next+1 >= len(r.data) }

// unstuff copies data to buf until buf has a chunk or a marker follows.
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
			r.ended = true // the end of the file, with half a marker at most
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
			// Codes from 1 to 0xBF are not markers that can follow here. They are most likely a damaged zero.
			r.damaged = r.damaged || b != 0
			r.buf[r.fill] = 0xff
			r.fill++
			r.next += 2
		}
	}
}

// fastBits is the number of bits that index table.fast.
const fastBits = 10

// skipBits is the number of bits that index table.skip.
const skipBits = 11

// An entry is the meaning of the next bits of the stream:
//
//	bits 0..5    number of bits of the code and the value
//	bit  6       partial: the value is not in the entry
//	bits 8..15   number of coefficients to advance by, or eob or bad
//	bits 16..31  the value, signed; if the entry is partial, the number of its bits;
//	             for an end of band, the exponent of the run
type entry uint32

const (
	partial entry = 1 << 6

	// An end of block and an invalid code advance beyond any coefficient. So the loops over the coefficients end
	// without a check of their own.
	eob = 128
	bad = 192
)

// lookup returns the entry for the 32 bits at the top of acc.
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

// A tableKind selects the meaning of a table's symbols.
type tableKind uint8

const (
	unbuilt tableKind = iota
	kindDC
	kindAC            // sequential
	kindProgressiveAC // an end of block can be that of many blocks
	kindRefineAC      // and values are at most one
)

// A table is a Huffman table. An entry of fast is complete if the code and its value fit in fastBits. Nearly all
// symbols of a photograph do.
type table struct {
	fast [1 << fastBits]entry

	// skip describes all the coefficients whose codes are in a string of skipBits: bits 0..4 the number of their
	// bits, bit 5 whether they end the block, and bits 8..15 the number of coefficients to advance by. Zero means
	// that there are none.
	skip [1 << skipBits]uint16

	counts [17]int // number of codes of each length
	vals   [256]byte

	// For codes longer than fastBits: a string of 16 bits that is less than limit[l] starts with a code of length l or
	// shorter, and vals[code+index[l]] is the symbol of a code of length l.
	limit [17]uint32
	index [17]int32

	kind    tableKind
	hasSkip bool
}

// define sets the codes of t from the counts and values of a DHT segment (T.81 B.2.4.2). It reports whether they are
// valid.
func (t *table) define(counts *[16]byte, vals []byte) bool {
	t.kind, t.hasSkip = unbuilt, false
	t.counts = [17]int{}
	code := 0
	for i, n := range counts {
		t.counts[i+1] = int(n)
		code = code<<1 + int(n)
		if code > 2<<i {
			return false // more codes than bit strings of this length
		}
	}
	t.vals = [256]byte{}
	return copy(t.vals[:], vals) == len(vals)
}

// build derives the lookup table fast, which depends on the kind of the scan.
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
				t.spread(code<<(fastBits-length), 1<<(fastBits-length), t.symbolEntry(next, length))
			}
			code++
			next++
		}
		t.limit[length] = uint32(code) << (16 - length)
		code <<= 1
	}
}

// spread writes e to the n entries that start with its code. It completes each with the value bits after the code.
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

// symbolEntry returns the entry of the symbol vals[i], whose code has length bits.
func (t *table) symbolEntry(i, length int) entry {
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
		return e | 16<<8 // sixteen zeros; the last one counts as the value
	case run == 0 || t.kind != kindAC:
		return e | eob<<8 | run<<16
	}
	return e | bad<<8
}

// complete returns the partial entry e with its value, which follows the code at the top of acc (RECEIVE and EXTEND of
// T.81 F.2.2.1).
func complete(e entry, acc uint64) entry {
	size := uint(e >> 16)
	acc <<= e & 63
	v := int64(acc >> ((64 - size) & 63))
	if acc>>63 == 0 {
		v -= 1<<size - 1
	}
	return entry(v)<<16 | e&0xff00 | (e&63 + entry(size))
}

// resolve returns the complete entry for acc, whose partial entry is e. It is the slow path of lookup.
func (t *table) resolve(e entry, acc uint64) entry {
	if e == partial {
		e = t.longCode(acc)
		if e&partial == 0 {
			return e
		}
	}
	return complete(e, acc)
}

// longCode returns the entry of a code that is longer than fastBits.
func (t *table) longCode(acc uint64) entry {
	s := uint32(acc >> 48)
	for length := fastBits + 1; length <= 16; length++ {
		if s < t.limit[length] {
			return t.symbolEntry(int(int32(s>>(16-length))+t.index[length]), length)
		}
	}
	return 16 | bad<<8
}

// buildSkip derives the lookup table skip.
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
			// The string must contain the whole code. The value may be cut off, because it is skipped.
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

// readBlock reads one block of a sequential scan (T.81 F.2.2). It dequantizes the AC coefficients up to q.last and adds
// them to b. It returns the difference of the DC coefficient, an upper bound of the index of the last coefficient
// added, and whether the block is valid.
func (r *bitReader) readBlock(b *block, q *dequant, dc, ac *table) (diff int32, last int, ok bool) {
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
		// A string that reaches the block's last coefficient may hold codes of the next block too.
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

// standardTables are the Huffman tables of T.81 K.3.3: DC and AC, each for luminance and chrominance.
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

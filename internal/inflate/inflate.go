// Package inflate decompresses zlib streams of which the data is in pieces, as in PNG and TIFF. It does not check checksums.
package inflate

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
)

// Sizes of the output buffer in bytes.
const (
	history    = 32 << 10                    // distance that a match can reach back (RFC 1951, 2)
	windowSize = history + 64<<10            // multiple of the page size
	longest    = 258                         // length of a match
	windowEnd  = windowSize - longest - 3*16 // decoding stops here; what follows is room for wide stores
)

// A Source has the compressed data.
type Source interface {
	// Next returns the next piece, which is valid until the next call. It returns nil if there is none.
	Next() []byte
}

// A Reader decompresses a deflate stream (RFC 1951). It is ready for use after Reset.
//
// It decodes into a window of its own and looks symbols up in wide tables, so that most steps touch neither an interface nor a
// function call.
type Reader struct {
	ctx  context.Context
	src  Source
	in   []byte // the current piece
	at   int    // of the next byte in in
	bits uint64 // bits read from in; the next one is the lowest
	n    uint   // number of valid bits, at most 63; those above are zero or a copy of what follows in in

	window     [windowSize]byte
	start, end int // output in window that has not been read

	block  blockKind
	final  bool // the block is the last one
	stored int  // bytes left in a stored block
	err    error

	literals  [literalSize]entry
	distances [distanceSize]entry
	fixed     bool // the tables are those of fixed codes
	lengths   [maxLiterals + maxDistances]byte
}

// A blockKind tells what the inflater is inside of.
type blockKind uint8

const (
	betweenBlocks blockKind = iota
	storedBlock
	codedBlock
)

// Errors of data that is not a stream.
var (
	ErrInvalid = errors.New("invalid compressed data")
	ErrNoZlib  = errors.New("no zlib header")
)

// Reset begins a new stream. Once ctx is done, Read returns its error.
func (z *Reader) Reset(ctx context.Context, src Source) {
	z.ctx, z.src, z.in, z.at = ctx, src, nil, 0
	z.bits, z.n = 0, 0
	z.start, z.end = 0, 0
	z.block, z.final, z.err = betweenBlocks, false, nil
}

// Release drops the data, so that a Reader that is kept does not keep it alive.
func (z *Reader) Release() { z.ctx, z.src, z.in = nil, nil, nil }

// ZlibHeader reads the header of a zlib stream (RFC 1950, 2.2).
func (z *Reader) ZlibHeader() error {
	const deflate, dictionary = 8, 0x20
	z.refill()
	if z.n < 16 {
		return io.ErrUnexpectedEOF
	}
	v := uint16(z.bits)
	z.skip(16)
	method, flags := v&0xff, v>>8
	if method&15 != deflate || flags&dictionary != 0 || (method<<8|flags)%31 != 0 {
		return ErrNoZlib
	}
	return nil
}

// Read fills p. If it returns an error, the first n bytes are valid.
func (z *Reader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if z.start == z.end {
			if err := z.fill(); err != nil {
				return n, err
			}
		}
		c := copy(p[n:], z.window[z.start:z.end])
		z.start += c
		n += c
	}
	return n, nil
}

// fill decodes until the window is full. It returns an error if there is no output. All output before has been read.
func (z *Reader) fill() error {
	if z.err != nil {
		return z.err
	}
	if z.end >= windowEnd {
		copy(z.window[:history], z.window[z.end-history:z.end])
		z.end = history
	}
	z.start = z.end
	z.err = z.ctx.Err()
	for z.end < windowEnd && z.err == nil {
		switch z.block {
		case betweenBlocks:
			// The context is looked at here too, since a stream of empty blocks never fills the window.
			if z.err = z.ctx.Err(); z.err == nil {
				z.err = z.beginBlock()
			}
		case storedBlock:
			z.err = z.copyStored()
		case codedBlock:
			if z.err = z.decodeFast(); z.err == nil && z.block == codedBlock && z.end < windowEnd {
				z.err = z.decodeSlow()
			}
		}
	}
	if z.end > z.start {
		return nil // the error is for the next call
	}
	return z.err
}

// next goes on to the next piece. It returns false if there is none.
func (z *Reader) next() bool {
	z.in, z.at = z.src.Next(), 0
	return len(z.in) > 0
}

// refill reads until there are at least 56 bits, or until the data ends.
func (z *Reader) refill() {
	for z.n < 56 {
		if z.at == len(z.in) {
			z.bits &= 1<<z.n - 1 // what follows is in another piece
			if !z.next() {
				return
			}
		}
		z.bits |= uint64(z.in[z.at]) << z.n
		z.at++
		z.n += 8
	}
}

// skip drops bits that are there.
func (z *Reader) skip(n uint) {
	z.bits >>= n
	z.n -= n
}

// take returns the next n bits, at most 16.
func (z *Reader) take(n uint) (v int, err error) {
	if z.n < n {
		z.refill()
		if z.n < n {
			return 0, io.ErrUnexpectedEOF
		}
	}
	v = int(z.bits & (1<<n - 1))
	z.skip(n)
	return v, nil
}

// beginBlock reads the header of a block (RFC 1951, 3.2.3).
func (z *Reader) beginBlock() error {
	if z.final {
		return io.EOF
	}
	v, err := z.take(3)
	if err != nil {
		return err
	}
	z.final = v&1 != 0
	switch v >> 1 {
	case 0:
		return z.beginStored()
	case 1:
		z.block = codedBlock
		if !z.fixed {
			z.buildFixed()
		}
		return nil
	case 2:
		z.block = codedBlock
		return z.readCodes()
	}
	return ErrInvalid
}

func (z *Reader) beginStored() error {
	z.skip(z.n & 7) // to the next byte
	length, err := z.take(16)
	if err != nil {
		return err
	}
	complement, err := z.take(16)
	if err != nil {
		return err
	}
	if length^complement != 0xffff {
		return ErrInvalid
	}
	z.stored, z.block = length, storedBlock
	return nil
}

// copyStored copies bytes of a stored block to the window.
func (z *Reader) copyStored() error {
	for ; z.stored > 0 && z.n > 0 && z.end < windowEnd; z.stored-- {
		z.window[z.end] = byte(z.bits)
		z.end++
		z.skip(8)
	}
	if z.n > 0 && z.stored > 0 {
		return nil // the window is full
	}
	if z.n == 0 {
		z.bits = 0
	}
	for z.stored > 0 && z.end < windowEnd {
		if z.at == len(z.in) && !z.next() {
			return io.ErrUnexpectedEOF
		}
		n := copy(z.window[z.end:windowEnd], z.in[z.at:min(len(z.in), z.at+z.stored)])
		z.at, z.end, z.stored = z.at+n, z.end+n, z.stored-n
	}
	if z.stored == 0 {
		z.block = betweenBlocks
	}
	return nil
}

// A bitBuffer holds the next bits of the input in the same way as a Reader. Its methods return a new value rather than
// change it, so that the compiler keeps it in registers.
type bitBuffer struct {
	bits uint64
	n    uint
	at   int // of the next byte in the input
}

// fill loads as many whole bytes as fit: n becomes 56 to 63. There must be 8 bytes.
func (b bitBuffer) fill(in []byte) bitBuffer {
	b.bits |= binary.LittleEndian.Uint64(in[b.at:]) << (b.n & 63)
	b.at += int((63 - b.n) >> 3)
	b.n |= 56
	return b
}

func (b bitBuffer) skip(n uint) bitBuffer { return bitBuffer{b.bits >> n, b.n - n, b.at} }

// peek returns the next n bits.
func (b bitBuffer) peek(n uint) int { return int(b.bits & (1<<n - 1)) }

// decodeFast decodes symbols of a block as long as there is much input in the piece and much room in the window.
func (z *Reader) decodeFast() error {
	window, literals, distances := &z.window, &z.literals, &z.distances
	in, b, end := z.in, bitBuffer{z.bits, z.n, z.at}, z.end
	var err error
	for end < windowEnd && b.at <= len(in)-16 {
		b = b.fill(in)
		e := literals[b.peek(literalBits)]
		if e.count() != 0 {
			end += writeLiterals(window, end, e)
			b = b.skip(e.bits())
			e = literals[b.peek(literalBits)]
			if e.count() != 0 {
				end += writeLiterals(window, end, e)
				b = b.skip(e.bits())
				e = literals[b.peek(literalBits)]
				if e.count() != 0 {
					end += writeLiterals(window, end, e)
					b = b.skip(e.bits())
					continue
				}
			}
			b = b.fill(in) // a length and a distance take up to 48 bits
		}
		if e.kind() == isLink {
			b = b.skip(literalBits)
			e = literals[(e.base()+b.peek(maxBits-literalBits))&(literalSize-1)]
			if e.count() != 0 {
				window[end] = byte(e >> 8)
				end++
				b = b.skip(e.bits())
				continue
			}
		}
		b = b.skip(e.bits())
		if e.kind() != isBase {
			err = z.endBlock(e)
			break
		}
		length := e.base() + b.peek(e.extra())
		b = b.skip(e.extra())

		d := distances[b.peek(distanceBits)]
		if d.kind() == isLink {
			b = b.skip(distanceBits)
			d = distances[(d.base()+b.peek(maxBits-distanceBits))&(distanceSize-1)]
		}
		b = b.skip(d.bits())
		distance := d.base() + b.peek(d.extra())
		b = b.skip(d.extra())
		if distance > end || d.kind() != isBase {
			err = ErrInvalid
			break
		}

		// Copy words of 8 bytes. The last one may exceed the match.
		to, from := end, end-distance
		end += length
		if distance < 8 {
			repeat(window, to, distance)
			to += 8
			from = to - int(wideDistance[distance&7])
		}
		for ; to < end; to, from = to+8, from+8 {
			binary.LittleEndian.PutUint64(window[to:], binary.LittleEndian.Uint64(window[from:]))
		}
	}
	z.bits, z.n, z.at, z.end = b.bits, b.n, b.at, end
	return err
}

// endBlock ends the block, unless e is no code.
func (z *Reader) endBlock(e entry) error {
	if e.kind() != isEnd {
		return ErrInvalid
	}
	z.block = betweenBlocks
	return nil
}

// writeLiterals writes the literals of e and returns their number. It may overwrite up to three bytes after them.
func writeLiterals(window *[windowSize]byte, at int, e entry) int {
	binary.LittleEndian.PutUint32(window[at:], uint32(e>>8))
	return e.count()
}

// repeat writes 8 bytes that repeat the last ones, for a distance below 8. They repeat after each multiple of the distance too,
// such as wideDistance.
func repeat(window *[windowSize]byte, at, distance int) {
	from := at - distance
	v := uint64(window[from])
	if distance == 1 {
		v *= 0x0101010101010101
	} else {
		for i := 1; i < 8; i++ {
			v |= uint64(window[from+i%distance]) << (8 * i)
		}
	}
	binary.LittleEndian.PutUint64(window[at:], v)
}

// wideDistance holds the smallest multiple of each distance that is at least 8.
var wideDistance = [8]uint8{0, 8, 8, 9, 8, 10, 12, 14}

// decodeSlow decodes one entry of the table of literals and lengths. It needs no more data than there is.
func (z *Reader) decodeSlow() error {
	z.refill()
	buf, used := z.bits, uint(0)
	drop := func(n uint) {
		buf >>= n
		used += n
	}
	e := z.literals[buf&(1<<literalBits-1)]
	if e.kind() == isLink {
		drop(literalBits)
		e = z.literals[e.base()+int(buf&(1<<(maxBits-literalBits)-1))]
	}
	drop(e.bits())
	if count := e.count(); count != 0 {
		if used > z.n {
			return io.ErrUnexpectedEOF
		}
		binary.LittleEndian.PutUint32(z.window[z.end:], uint32(e>>8))
		z.end += count
		z.skip(used)
		return nil
	}
	switch e.kind() {
	case isEnd:
		if used > z.n {
			return io.ErrUnexpectedEOF
		}
		z.skip(used)
		z.block = betweenBlocks
		return nil
	case isBase:
	default:
		return z.invalid()
	}
	length := e.base() + int(buf&(1<<e.extra()-1))
	drop(e.extra())
	d := z.distances[buf&(1<<distanceBits-1)]
	if d.kind() == isLink {
		drop(distanceBits)
		d = z.distances[d.base()+int(buf&(1<<(maxBits-distanceBits)-1))]
	}
	drop(d.bits())
	distance := d.base() + int(buf&(1<<d.extra()-1))
	drop(d.extra())
	switch {
	case used > z.n:
		return io.ErrUnexpectedEOF
	case d.kind() != isBase || distance > z.end:
		return z.invalid()
	}
	z.skip(used)
	for range length {
		z.window[z.end] = z.window[z.end-distance]
		z.end++
	}
	return nil
}

// invalid returns the error for bits that are no code: at the end of the data they are missing.
func (z *Reader) invalid() error {
	if z.n < maxBits {
		return io.ErrUnexpectedEOF
	}
	return ErrInvalid
}

// readCodes reads the codes at the beginning of a block and builds the tables (RFC 1951, 3.2.7).
func (z *Reader) readCodes() error {
	order := [19]byte{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	v, err := z.take(14)
	if err != nil {
		return err
	}
	literals, distances, n := 257+v&31, 1+v>>5&31, 4+v>>10
	if literals > maxLiterals || distances > maxDistances {
		return ErrInvalid
	}
	var codeLengths [19]byte
	for _, i := range order[:n] {
		v, err := z.take(3)
		if err != nil {
			return err
		}
		codeLengths[i] = byte(v)
	}
	const tableBits = 7 // longest code
	var table [1 << tableBits]entry
	if !build(table[:], codeLengths[:], tableBits, plainEntry) {
		return ErrInvalid
	}
	lengths := z.lengths[:literals+distances]
	for i := 0; i < len(lengths); {
		if z.n < tableBits+7 { // a code and its extra bits
			z.refill()
		}
		e := table[z.bits&(1<<tableBits-1)]
		if e.bits() > z.n {
			return io.ErrUnexpectedEOF
		}
		if e == 0 {
			return z.invalid()
		}
		z.skip(e.bits())
		symbol := e.base()
		if symbol < 16 {
			lengths[i] = byte(symbol)
			i++
			continue
		}
		var last byte
		repeat, extra := 3, uint(2)
		switch symbol {
		case 16:
			if i == 0 {
				return ErrInvalid
			}
			last = lengths[i-1]
		case 17:
			extra = 3
		case 18:
			repeat, extra = 11, 7
		}
		more, err := z.take(extra)
		if err != nil {
			return err
		}
		repeat += more
		if repeat > len(lengths)-i {
			return ErrInvalid
		}
		for range repeat {
			lengths[i] = last
			i++
		}
	}
	return z.buildTables(lengths[:literals], lengths[literals:])
}

// buildFixed builds the tables of the fixed codes (RFC 1951, 3.2.6).
func (z *Reader) buildFixed() {
	var literals [288]byte
	var distances [32]byte
	for i := range literals {
		switch {
		case i < 144:
			literals[i] = 8
		case i < 256:
			literals[i] = 9
		case i < 280:
			literals[i] = 7
		default:
			literals[i] = 8
		}
	}
	for i := range distances {
		distances[i] = 5
	}
	z.buildTables(literals[:], distances[:]) // cannot fail
	z.fixed = true
}

func (z *Reader) buildTables(literals, distances []byte) error {
	z.fixed = false
	if !build(z.literals[:], literals, literalBits, literalEntry) || !build(z.distances[:], distances, distanceBits, distanceEntry) {
		return ErrInvalid
	}
	if combines(literals) {
		combine((*[1 << literalBits]entry)(z.literals[:]))
	}
	return nil
}

// Sizes of codes and tables. A table has an entry for each number of literalBits or distanceBits bits. Behind them are
// tables for the rest of the longer codes, all of the same size.
const (
	maxBits      = 15 // of a code
	maxLiterals  = 286
	maxDistances = 30
	literalBits  = 11
	distanceBits = 9
	// Each table of rests has at least two codes: at most 144 and 16 of them.
	literalSize  = 1 << 13
	distanceSize = 1 << 11
)

// An entry says what the next bits mean. From the lowest bit:
//
//	4 bits   length of the code, or of all codes of the literals; in a table of rests that of the rest
//	2 bits   number of literals
//	2 bits   kind, if there are no literals
//	24 bits  up to three literals
//
// or, without literals, 5 bits for the number of extra bits, 3 unused ones, and a number of 16 bits: the smallest length or
// distance of the code, or the index of a table of rests. The zero entry is not a code.
type entry uint32

const (
	isBase = iota + 1 // a length or a distance
	isLink            // the code goes on in a table of rests
	isEnd             // end of the block
)

func (e entry) bits() uint  { return uint(e & 15) }
func (e entry) count() int  { return int(e >> 4 & 3) }
func (e entry) kind() int   { return int(e >> 6 & 3) }
func (e entry) extra() uint { return uint(e >> 8 & 31) }
func (e entry) base() int   { return int(e >> 16) }

func plainEntry(symbol int) entry { return entry(symbol<<16 | isBase<<6) }

// literalEntry returns the entry of a literal or length, without the length of its code (RFC 1951, 3.2.5).
func literalEntry(symbol int) entry {
	switch {
	case symbol < 256:
		return entry(symbol<<8 | 1<<4)
	case symbol == 256:
		return isEnd << 6
	case symbol < 265:
		return plainEntry(symbol - 257 + 3)
	case symbol == 285:
		return plainEntry(longest)
	case symbol > 285:
		return 0
	}
	group, step := (symbol-261)/4, (symbol-261)%4
	return plainEntry(3+(4+step)<<group) | entry(group<<8)
}

// distanceEntry returns the entry of a distance.
func distanceEntry(symbol int) entry {
	switch {
	case symbol < 4:
		return plainEntry(symbol + 1)
	case symbol > 29:
		return 0
	}
	group, step := symbol/2-1, symbol%2
	return plainEntry(1+(2+step)<<group) | entry(group<<8)
}

// build fills a table for codes of the given lengths (RFC 1951, 3.2.2). It reports whether the codes are valid: complete, or
// a single one of one bit, or none at all.
func build(table []entry, lengths []byte, tableBits uint, makeEntry func(symbol int) entry) bool {
	var counts [maxBits + 1]int
	for _, n := range lengths {
		counts[n]++
	}
	used := len(lengths) - counts[0]
	counts[0] = 0
	var next [maxBits + 1]int // next code of each length
	free := 1
	for n := 1; n <= maxBits; n++ {
		next[n] = (next[n-1] + counts[n-1]) << 1
		free = free<<1 - counts[n]
		if free < 0 {
			return false
		}
	}
	if free > 0 && (used > 1 || used != counts[1]) {
		return false
	}
	clear(table[:1<<tableBits])
	end := 1 << tableBits // where the next table of rests begins
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		n := uint(n)
		code := int(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		e := makeEntry(symbol)
		part := table[:1<<tableBits]
		if n > tableBits {
			link := &part[code&(1<<tableBits-1)]
			if *link == 0 {
				*link = entry(end<<16 | isLink<<6)
				end += 1 << (maxBits - tableBits)
			}
			part = table[link.base():][:1<<(maxBits-tableBits)]
			code >>= tableBits
			n -= tableBits
		}
		e |= entry(n)
		for ; code < len(part); code += 1 << n {
			part[code] = e
		}
	}
	return true
}

// combines reports whether combining literals pays: at least an eighth of all pairs of codes would become one entry.
func combines(lengths []byte) bool {
	var counts [maxBits + 1]int
	for _, n := range lengths[:256] {
		counts[n]++
	}
	share := 0
	for a := 1; a < literalBits; a++ {
		for b := 1; a+b <= literalBits; b++ {
			share += counts[a] * counts[b] << (literalBits - a - b)
		}
	}
	return share >= 1<<literalBits/8
}

// combine makes one entry of two or three literals whose codes fit the bits of an index together.
func combine(table *[1 << literalBits]entry) {
	// The bits after a code are the index of an entry that has not been combined yet, since it is smaller.
	for i := len(table) - 1; i >= 0; i-- {
		e := table[i]
		if e.count() == 0 {
			continue
		}
		n := e.bits()
		for count := 1; count < 3; count++ {
			next := table[i>>n]
			if next.count() == 0 || n+next.bits() > literalBits {
				break
			}
			n += next.bits()
			e = e&^0xff | next>>8&0xff<<(8+8*count) | entry(count+1)<<4 | entry(n)
		}
		table[i] = e
	}
}

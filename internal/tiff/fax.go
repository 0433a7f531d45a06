package tiff

import (
	"io"
	"strings"
)

// Codes of runs of 0 to 63 pixels, then of 64, 128 and so on to 1728 (T.4, tables 2 and 3a).
const (
	whiteCodes = "00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101 " +
		"101010 101011 0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 0011000 " +
		"00000010 00000011 00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111 00101000 00101001 " +
		"00101010 00101011 00101100 00101101 00000100 00000101 00001010 00001011 01010010 01010011 01010100 01010101 " +
		"00100100 00100101 01011000 01011001 01011010 01011011 01001010 01001011 00110010 00110011 00110100 " +
		"11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 01100111 011001100 011001101 " +
		"011010010 011010011 011010100 011010101 011010110 011010111 011011000 011011001 011011010 011011011 " +
		"010011000 010011001 010011010 011000 010011011"

	blackCodes = "0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111 " +
		"000011000 0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 00000101000 " +
		"00000010111 00000011000 000011001010 000011001011 000011001100 000011001101 000001101000 000001101001 " +
		"000001101010 000001101011 000011010010 000011010011 000011010100 000011010101 000011010110 000011010111 " +
		"000001101100 000001101101 000011011010 000011011011 000001010100 000001010101 000001010110 000001010111 " +
		"000001100100 000001100101 000001010010 000001010011 000000100100 000000110111 000000111000 000000100111 " +
		"000000101000 000001011000 000001011001 000000101011 000000101100 000001011010 000001100110 000001100111 " +
		"0000001111 000011001000 000011001001 000001011011 000000110011 000000110100 000000110101 0000001101100 " +
		"0000001101101 0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 0000001110011 " +
		"0000001110100 0000001110101 0000001110110 0000001110111 0000001010010 0000001010011 0000001010100 " +
		"0000001010101 0000001011010 0000001011011 0000001100100 0000001100101"

	// Codes of runs of either colour: 1792, 1856 and so on to 2560 (T.4, table 3b).
	longCodes = "00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101 000000010110 " +
		"000000010111 000000011100 000000011101 000000011110 000000011111"

	// Codes of two-dimensional modes (T.4, table 4), in the order of the constants below.
	modeCodes = "0000010 000010 010 1 011 000011 0000011 0001 001"
)

// Modes of two-dimensional coding. Modes 0 to 6 are vertical: they place a1 at b1-3 to b1+3.
const (
	modePass       = 7
	modeHorizontal = 8
)

const maxFaxCode = 13 // bits

// A faxCode is the code that the next bits begin with.
type faxCode struct {
	value int16
	bits  uint8 // length of the code, 0 if there is none
}

type faxTable [1 << maxFaxCode]faxCode

// define adds a code, written in ones and zeros.
func (t *faxTable) define(code string, value int) {
	first := 0
	for _, c := range code {
		first = first<<1 | int(c-'0')
	}
	spare := maxFaxCode - len(code)
	first <<= spare
	for i := range 1 << spare {
		t[first+i] = faxCode{int16(value), uint8(len(code))}
	}
}

func (t *faxTable) defineRuns(codes string) {
	for i, code := range strings.Fields(codes) {
		run := i
		if i >= 64 {
			run = (i - 63) * 64
		}
		t.define(code, run)
	}
	for i, code := range strings.Fields(longCodes) {
		t.define(code, 1792+64*i)
	}
}

type faxOptions struct {
	twoDimensional bool // rows are coded as changes of the row above; with eol, only some rows
	eol            bool // rows begin with an end-of-line code (T.4)
	aligned        bool // rows begin at a byte
}

// A faxReader decodes facsimile data (ITU-T T.4 and T.6) to rows of bits, in which 1 is black.
type faxReader struct {
	faxOptions
	in    *blockReader
	width int
	runs  [2]faxTable // of white and of black
	modes faxTable

	bits uint64
	n    int // bits in bits, the highest first

	// Positions at which the colour changes, in the row above and in this row: first to black, then to white, and so on.
	above, changes []int
}

func newFaxReader(in *blockReader, width int, o faxOptions) *faxReader {
	r := &faxReader{faxOptions: o, in: in, width: width}
	r.above, r.changes = make([]int, 0, width+2), make([]int, 0, width+2)
	r.runs[0].defineRuns(whiteCodes)
	r.runs[1].defineRuns(blackCodes)
	for mode, code := range strings.Fields(modeCodes) {
		r.modes.define(code, mode)
	}
	return r
}

// reset begins a block. The row above the first one is white.
func (r *faxReader) reset() {
	r.bits, r.n = 0, 0
	r.changes = r.changes[:0]
}

// peek returns the next maxFaxCode bits. After the end of the data they are zeros.
func (r *faxReader) peek() (int, error) {
	for r.n < maxFaxCode {
		b, err := r.in.ReadByte()
		if err == io.EOF {
			return int(r.bits << (maxFaxCode - r.n) & (1<<maxFaxCode - 1)), nil
		}
		if err != nil {
			return 0, err
		}
		r.bits = r.bits<<8 | uint64(b)
		r.n += 8
	}
	return int(r.bits >> (r.n - maxFaxCode) & (1<<maxFaxCode - 1)), nil
}

// skip consumes bits.
func (r *faxReader) skip(bits int) error {
	if bits > r.n {
		return io.EOF
	}
	r.n -= bits
	return nil
}

// code reads a code of a table.
func (r *faxReader) code(t *faxTable) (int, error) {
	p, err := r.peek()
	if err != nil {
		return 0, err
	}
	c := t[p]
	if c.bits == 0 {
		if r.n == 0 {
			return 0, io.EOF
		}
		return 0, corrupt("no code of facsimile data")
	}
	return int(c.value), r.skip(int(c.bits))
}

// run reads the length of a run: any number of codes for multiples of 64, then one below 64.
func (r *faxReader) run(colour int) (int, error) {
	for sum := 0; ; {
		v, err := r.code(&r.runs[colour])
		if err != nil {
			return 0, err
		}
		sum += v
		if sum > r.width {
			return 0, corrupt("a run beyond the end of the row")
		}
		if v < 64 {
			return sum, nil
		}
	}
}

// next fills row with the bits of the next row.
func (r *faxReader) next(row []byte) error {
	r.above, r.changes = r.changes, r.above[:0]
	flat := !r.twoDimensional
	if r.aligned {
		r.n &^= 7
	}
	if r.eol {
		found, err := r.skipEOL()
		if err != nil {
			return err
		}
		if r.twoDimensional {
			// The bit after the end-of-line code tells one-dimensional rows.
			if !found {
				return corrupt("no end-of-line code")
			}
			p, err := r.peek()
			if err != nil {
				return err
			}
			flat = p>>(maxFaxCode-1) == 1
			if err := r.skip(1); err != nil {
				return err
			}
		}
	}
	var err error
	if flat {
		err = r.read1D()
	} else {
		err = r.read2D()
	}
	if err != nil {
		return err
	}
	clear(row)
	for i := 0; i < len(r.changes); i += 2 {
		end := r.width
		if i+1 < len(r.changes) {
			end = r.changes[i+1]
		}
		setBits(row, r.changes[i], end)
	}
	return nil
}

// skipEOL skips an end-of-line code, which is eleven zeros or more and a one. It reports whether there was one.
func (r *faxReader) skipEOL() (found bool, err error) {
	const zeros = 11
	for {
		p, err := r.peek()
		if err != nil {
			return false, err
		}
		switch {
		case p>>(maxFaxCode-zeros) != 0:
			return false, nil
		case p>>(maxFaxCode-zeros-1) != 0:
			return true, r.skip(zeros + 1)
		}
		if err := r.skip(1); err != nil {
			return false, err
		}
	}
}

// read1D reads a row of runs, white and black in turn (T.4, section 4.1).
func (r *faxReader) read1D() error {
	for at, colour := 0, 0; at < r.width; colour ^= 1 {
		n, err := r.run(colour)
		if err != nil {
			return err
		}
		at += n
		if err := r.change(at); err != nil {
			return err
		}
	}
	return nil
}

// change records that the colour changes.
func (r *faxReader) change(at int) error {
	if at > r.width || len(r.changes) > r.width+1 {
		return corrupt("facsimile data beyond the end of the row")
	}
	r.changes = append(r.changes, at)
	return nil
}

// read2D reads a row that is coded as changes of the row above (T.4, section 4.2, and T.6). The names are the standard's:
// the row is decoded up to a0, b1 is the next change above to the other colour, and b2 is the change after b1.
func (r *faxReader) read2D() error {
	a0, colour, next := -1, 0, 0
	for a0 < r.width {
		// After a change to the left, b1 can be an earlier change than before.
		for next > 0 && r.changeAbove(next-1) > a0 {
			next--
		}
		for next&1 != colour || r.changeAbove(next) <= a0 && r.changeAbove(next) < r.width {
			next++
		}
		b1, b2 := r.changeAbove(next), r.changeAbove(next+1)
		mode, err := r.code(&r.modes)
		if err != nil {
			return err
		}
		switch mode {
		case modePass:
			a0 = b2
		case modeHorizontal:
			a0 = max(a0, 0)
			for c := range 2 {
				n, err := r.run(colour ^ c)
				if err != nil {
					return err
				}
				a0 += n
				if err := r.change(a0); err != nil {
					return err
				}
			}
		default:
			a1 := b1 + mode - 3
			if a1 < max(a0, 0) {
				return corrupt("facsimile data goes backwards")
			}
			if err := r.change(a1); err != nil {
				return err
			}
			a0 = a1
			colour ^= 1
		}
	}
	return nil
}

// changeAbove returns the position of change i of the row above. After the last change it is the end of the row.
func (r *faxReader) changeAbove(i int) int {
	if i < len(r.above) {
		return r.above[i]
	}
	return r.width
}

// setBits sets the bits in [from, to). The first bit of a byte is the highest.
func setBits(row []byte, from, to int) {
	if from >= to {
		return
	}
	first, last := from/8, (to-1)/8
	head, tail := byte(0xff)>>(from%8), byte(0xff)<<(7-(to-1)%8)
	if first == last {
		row[first] |= head & tail
		return
	}
	row[first] |= head
	for i := first + 1; i < last; i++ {
		row[i] = 0xff
	}
	row[last] |= tail
}

package webpdec

// Prefix codes are described in RFC 9649, section 3.7.2.

const (
	maxCodeLength = 15
	rootBits      = 8 // a code of at most this length is found with one look-up

	maxAlphabet = 256 + 24 + 1<<11
	// maxTable is the most entries of a table for any alphabet: enough.c of zlib finds 2704 for the largest one.
	maxTable = 2704
)

// A prefixCode finds the symbol at the start of a bit sequence. An entry of its table has the symbol in its high 12 bits
// and the length in its low 4 bits. If the length exceeds rootBits, the entry of the first 2^rootBits has the position
// of another table, and the length is the longest in it.
type prefixCode struct {
	table []uint16
	mask  uint64
}

// next returns the symbol and its length.
func (c *prefixCode) next(value uint64) (symbol uint16, n uint) {
	e := c.table[value&c.mask]
	if e&15 > rootBits {
		e = c.table[uint64(e>>4)+value>>rootBits&(1<<(e&15-rootBits)-1)]
	}
	return e >> 4, uint(e & 15)
}

// tables allocates the tables of prefix codes.
type tables struct {
	free   []uint16
	budget int64 // bytes that may still be allocated
	build  [maxTable]uint16
	sorted [maxAlphabet]uint16
}

// take allocates n bytes of the budget.
func (t *tables) take(n int64) error {
	if t.budget -= n; t.budget < 0 {
		return errCodes
	}
	return nil
}

const tableChunk = 4 << 10 // entries that are allocated at once; more than maxTable

// keep returns a copy of the first n entries of t.build.
func (t *tables) keep(n int) ([]uint16, error) {
	if len(t.free) < n {
		if err := t.take(2 * tableChunk); err != nil {
			return nil, err
		}
		t.free = make([]uint16, tableChunk)
	}
	table := t.free[:n:n]
	t.free = t.free[n:]
	copy(table, t.build[:n])
	return table, nil
}

// single returns the code of a single symbol, which takes no bits.
func (t *tables) single(symbol uint16) (prefixCode, error) {
	t.build[0] = symbol << 4
	table, err := t.keep(1)
	return prefixCode{table: table}, err
}

// lengthCounts holds the number of codes of each length.
type lengthCounts [maxCodeLength + 1]int

// sort puts the symbols with a code into t.sorted, in order of the codes. It returns the number of codes of each length and
// of all. They are a complete code, or the one of a single symbol.
func (t *tables) sort(lengths []uint8) (counts lengthCounts, used int, err error) {
	for _, n := range lengths {
		counts[n]++
	}
	used = len(lengths) - counts[0]
	counts[0] = 0
	var start [maxCodeLength + 2]int
	sum := 0
	for n := 1; n <= maxCodeLength; n++ {
		start[n+1] = start[n] + counts[n]
		sum += counts[n] << (maxCodeLength - n)
	}
	switch {
	case used == 0:
		return counts, 0, FormatError("empty prefix code")
	case used > 1 && sum < 1<<maxCodeLength:
		return counts, 0, errIncomplete
	case used > 1 && sum > 1<<maxCodeLength:
		return counts, 0, FormatError("oversubscribed prefix code")
	}
	for symbol, n := range lengths {
		if n > 0 {
			t.sorted[start[n]] = uint16(symbol)
			start[n]++
		}
	}
	return counts, used, nil
}

// code returns the canonical code with the given lengths.
func (t *tables) code(lengths []uint8) (c prefixCode, err error) {
	counts, used, err := t.sort(lengths)
	if err != nil {
		return c, err
	}
	if used == 1 {
		return t.single(t.sorted[0])
	}
	longest := maxCodeLength
	for counts[longest] == 0 {
		longest--
	}
	root := min(longest, rootBits)
	size := 1 << root
	reversed, prefix := 0, -1 // the code with its first bit lowest, and the part of it that is in the root table
	sub, subBits := 0, 0
	i := 0
	for n := 1; n <= longest; n++ {
		for left := counts[n]; left > 0; left-- {
			entry := t.sorted[i]<<4 | uint16(n)
			i++
			if n <= root {
				for k := reversed; k < 1<<root; k += 1 << n {
					t.build[k] = entry
				}
			} else {
				if p := reversed & (1<<root - 1); p != prefix {
					prefix = p
					// The table must hold all codes with this prefix.
					subBits = n - root
					for room, m := 1<<subBits-left, n+1; room > 0 && m <= longest; m++ {
						subBits++
						room = 2*room - counts[m]
					}
					sub = size
					size += 1 << subBits
					if size > len(t.build) {
						return c, errCodes
					}
					t.build[p] = uint16(sub)<<4 | uint16(root+subBits)
				}
				for k := reversed >> root; k < 1<<subBits; k += 1 << (n - root) {
					t.build[sub+k] = entry
				}
			}
			reversed = nextReversed(reversed, n)
		}
	}
	c.mask = 1<<root - 1
	c.table, err = t.keep(size)
	return c, err
}

// nextReversed adds one to a code of n bits, whose last bit is the highest.
func nextReversed(code, n int) int {
	bit := 1 << (n - 1)
	for code&bit != 0 {
		bit >>= 1
	}
	if bit == 0 {
		return 0
	}
	return code&(bit-1) | bit
}

// codeLengthOrder is the order in which the lengths of the code for code lengths are stored.
var codeLengthOrder = [19]uint8{17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// readLengths reads the code length of each symbol of a prefix code: sections 3.7.2.1.1 and 3.7.2.1.2. lengths must be
// all zero before.
func (d *vp8l) readLengths(lengths []uint8) error {
	b := &d.bits
	if b.read(1) != 0 { // simple code
		two := b.read(1) != 0
		bits := uint(1)
		if b.read(1) != 0 {
			bits = 8
		}
		first := int(b.read(bits))
		if first >= len(lengths) {
			return FormatError("symbol outside its alphabet")
		}
		lengths[first] = 1
		if two {
			second := int(b.read(8))
			if second >= len(lengths) {
				return FormatError("symbol outside its alphabet")
			}
			lengths[second] = 1
			d.unsorted = d.unsorted || second <= first
		}
		return nil
	}
	var ofLengths [19]uint8
	for _, i := range codeLengthOrder[:4+b.read(4)] {
		ofLengths[i] = uint8(b.read(3))
	}
	// The table of this code is needed only here. It has memory of its own, which is not part of the budget.
	free, budget := d.tables.free, d.tables.budget
	d.tables.free = d.lengthTable[:]
	code, err := d.tables.code(ofLengths[:])
	d.tables.free, d.tables.budget = free, budget
	if err != nil {
		return err
	}
	codes := len(lengths)
	if b.read(1) != 0 {
		codes = 2 + int(b.read(2+2*uint(b.read(3))))
		if codes > len(lengths) {
			return FormatError("more code lengths than symbols")
		}
	}
	previous := uint8(8)
	for i := 0; i < len(lengths) && codes > 0; codes-- {
		n := b.symbol(&code)
		var value uint8
		repeat := 1
		switch n {
		case 16:
			value, repeat = previous, 3+int(b.read(2))
		case 17:
			repeat = 3 + int(b.read(3))
		case 18:
			repeat = 11 + int(b.read(7))
		default:
			if value = uint8(n); value != 0 {
				previous = value
			}
		}
		if repeat > len(lengths)-i {
			return FormatError("more code lengths than symbols")
		}
		for ; repeat > 0; repeat-- {
			lengths[i] = value
			i++
		}
	}
	return nil
}

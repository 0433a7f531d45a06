package webpenc

import (
	"cmp"
	"math/bits"
	"slices"
)

// A bitWriter writes bits, the lowest one first.
type bitWriter struct {
	out  []byte
	bits uint64
	n    int // number of bits, less than 8 between calls
}

// write writes the low n bits of v, at most 32.
func (w *bitWriter) write(v uint32, n int) {
	w.bits |= uint64(v) << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
}

// finish pads the last byte and returns out.
func (w *bitWriter) finish() []byte {
	if w.n > 0 {
		w.out = append(w.out, byte(w.bits))
	}
	return w.out
}

// maxCodeLength is the longest code in bits: RFC 9649, section 3.7.2.
const maxCodeLength = 15

// A prefixCode is a code for symbols by how often they occur.
type prefixCode struct {
	counts  []int
	lengths []uint8
	codes   []uint16 // the first bit is the lowest
	nodes   []node
}

// A node of the tree is a symbol, or has two others below it.
type node struct {
	count       int
	symbol      int // or -1
	left, right int // nodes
}

// reset prepares for n symbols.
func (c *prefixCode) reset(n int) {
	c.counts, c.lengths, c.codes = grow(c.counts, n), grow(c.lengths, n), grow(c.codes, n)
	clear(c.counts)
	clear(c.lengths)
	clear(c.codes)
}

// used returns the symbols that occur, up to three of them.
func (c *prefixCode) used() (symbols []int) {
	for s, n := range c.counts {
		if n > 0 && len(symbols) < 3 {
			symbols = append(symbols, s)
		}
	}
	return symbols
}

// build makes a code of which none is longer than limit.
func (c *prefixCode) build(limit int) {
	used := c.used()
	if len(used) < 2 {
		return // a code without bits
	}
	for least := 1; !c.measure(least, limit); least *= 2 {
	}
	c.assign()
}

// measure computes the lengths of an optimal code, in which each symbol occurs at least as often as given. It reports whether none is
// longer than limit.
func (c *prefixCode) measure(least, limit int) bool {
	c.nodes = c.nodes[:0]
	for s, n := range c.counts {
		if n > 0 {
			c.nodes = append(c.nodes, node{count: max(n, least), symbol: s})
		}
	}
	slices.SortStableFunc(c.nodes, func(a, b node) int { return cmp.Compare(a.count, b.count) })
	// The nodes that join others have counts that rise too, so the rarest node is the next of one kind or the other.
	leaf, join, leaves := 0, len(c.nodes), len(c.nodes)
	next := func() (i int) {
		if leaf < leaves && (join == len(c.nodes) || c.nodes[leaf].count <= c.nodes[join].count) {
			leaf++
			return leaf - 1
		}
		join++
		return join - 1
	}
	for range leaves - 1 {
		a, b := next(), next()
		c.nodes = append(c.nodes, node{c.nodes[a].count + c.nodes[b].count, -1, a, b})
	}
	return c.descend(len(c.nodes)-1, 0, limit)
}

// descend stores the depth of each symbol below a node.
func (c *prefixCode) descend(i, depth, limit int) bool {
	n := c.nodes[i]
	if n.symbol >= 0 {
		c.lengths[n.symbol] = uint8(depth)
		return depth <= limit
	}
	return c.descend(n.left, depth+1, limit) && c.descend(n.right, depth+1, limit)
}

// assign numbers the codes by length and symbol.
func (c *prefixCode) assign() {
	code := uint16(0)
	for length := 1; length <= maxCodeLength; length++ {
		for s, l := range c.lengths {
			if int(l) == length {
				c.codes[s] = bits.Reverse16(code) >> (16 - length)
				code++
			}
		}
		code <<= 1
	}
}

// put writes a symbol.
func (c *prefixCode) put(w *bitWriter, symbol int) {
	w.write(uint32(c.codes[symbol]), int(c.lengths[symbol]))
}

// Symbols of the code for lengths: section 3.7.2.1.2.
const (
	zeros3     = 17 // 3 to 10 zeros
	zeros11    = 18 // 11 to 138 zeros
	numOrdered = 19
)

// lengthOrder is the order in which the lengths of the codes for lengths are written.
var lengthOrder = [numOrdered]int{17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// write writes the code itself: section 3.7.2.
func (c *prefixCode) write(w *bitWriter) {
	used := c.used()
	if len(used) == 0 {
		used = []int{0}
	}
	if len(used) < 3 && used[len(used)-1] < 256 {
		w.write(1, 1) // one or two symbols
		w.write(uint32(len(used)-1), 1)
		w.write(1, 1)
		for _, s := range used {
			w.write(uint32(s), 8)
		}
		return
	}
	w.write(0, 1)
	var order prefixCode
	order.reset(numOrdered)
	c.visitLengths(func(symbol int, _ uint32, _ int) { order.counts[symbol]++ })
	order.counts[0]++ // so that there are two symbols
	order.build(7)
	n := numOrdered
	for order.lengths[lengthOrder[n-1]] == 0 {
		n--
	}
	n = max(n, 4)
	w.write(uint32(n-4), 4)
	for _, s := range lengthOrder[:n] {
		w.write(uint32(order.lengths[s]), 3)
	}
	w.write(0, 1) // all lengths follow
	c.visitLengths(func(symbol int, extra uint32, n int) {
		order.put(w, symbol)
		w.write(extra, n)
	})
}

// visitLengths calls what for each length, and for each series of zeros, with extra bits.
func (c *prefixCode) visitLengths(what func(symbol int, extra uint32, n int)) {
	for at := 0; at < len(c.lengths); {
		run := 0
		for at+run < len(c.lengths) && c.lengths[at+run] == 0 && run < 138 {
			run++
		}
		switch {
		case run >= 11:
			what(zeros11, uint32(run-11), 7)
		case run >= 3:
			what(zeros3, uint32(run-3), 3)
		default:
			what(int(c.lengths[at]), 0, 0)
			run = 1
		}
		at += run
	}
}

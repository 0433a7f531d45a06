package webpenc

import (
	"math"

	"github.com/thumbcache/thumbcache/internal/vp8"
)

// bitCosts holds what a decision costs whose probability is p/256. Costs are in 1/256 bit.
var bitCosts = func() (t [257]uint16) {
	for p := range t {
		t[p] = uint16(math.Round(-256 * math.Log2(max(float64(p), 0.5)/256)))
	}
	return t
}()

// bitCost returns what a decision costs that is true with a probability of 1 - prob/256.
func bitCost(set bool, prob uint8) int32 {
	if set {
		return int32(bitCosts[256-int(prob)])
	}
	return int32(bitCosts[prob])
}

// Tokens of coefficients, in the order of their probabilities: RFC 6386, section 13.2. From category1 on, a token stands for a range
// of values and is followed by extra bits.
const (
	zero = iota
	one
	two
	three
	four
	category1
	numTokens = category1 + 6
)

// firstOf holds the smallest value of each token, and the end of the last.
var firstOf = [numTokens + 1]int{0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67, maxLevel + 1}

// maxLevel is the largest absolute value of a quantised coefficient.
const maxLevel = 2047

// extraBits holds the probabilities of the extra bits of the categories.
var extraBits = [6][]uint8{{159}, {165, 145}, vp8.ExtraBitProbs[0], vp8.ExtraBitProbs[1], vp8.ExtraBitProbs[2], vp8.ExtraBitProbs[3]}

// tokens holds the token of each absolute value.
var tokens = func() (t [maxLevel + 1]uint8) {
	for token := range numTokens {
		for v := firstOf[token]; v < firstOf[token+1]; v++ {
			t[v] = uint8(token)
		}
	}
	return t
}()

// A branch is a decision of the tree of tokens: the index of its probability, and its outcome.
type branch struct {
	prob uint8
	set  bool
}

// branches holds the decisions after "there is another coefficient" for each token.
var branches = [numTokens][]branch{
	zero:          {{1, false}},
	one:           {{1, true}, {2, false}},
	two:           {{1, true}, {2, true}, {3, false}, {4, false}},
	three:         {{1, true}, {2, true}, {3, false}, {4, true}, {5, false}},
	four:          {{1, true}, {2, true}, {3, false}, {4, true}, {5, true}},
	category1:     {{1, true}, {2, true}, {3, true}, {6, false}, {7, false}},
	category1 + 1: {{1, true}, {2, true}, {3, true}, {6, false}, {7, true}},
	category1 + 2: {{1, true}, {2, true}, {3, true}, {6, true}, {8, false}, {9, false}},
	category1 + 3: {{1, true}, {2, true}, {3, true}, {6, true}, {8, false}, {9, true}},
	category1 + 4: {{1, true}, {2, true}, {3, true}, {6, true}, {8, true}, {10, false}},
	category1 + 5: {{1, true}, {2, true}, {3, true}, {6, true}, {8, true}, {10, true}},
}

// end is counted like a token: it means that no coefficient follows.
const end = numTokens

// counts are how often each token occurs, by plane, position and context.
type counts [4][17][3][numTokens + 1]uint32

// add counts the tokens of a block.
func (c *counts) add(plane, first int, b *block) {
	p := &c[plane]
	context, count := int(b.context), int(b.count)
	for n := first; n < count; n++ {
		v := abs(int32(b.levels[n&15]))
		p[n][context][tokens[v&maxLevel]]++
		context = int(smaller(v, 2))
	}
	p[count][context][end]++ // not written if the block is full
}

// fit returns the probabilities that suit the counts best, which stand for so many times as many tokens. Each that differs from the
// default costs bits in the header.
func (c *counts) fit(times uint32) vp8.Probs {
	probs := vp8.DefaultProbs
	for plane := range probs {
		var bands [8][3][numTokens + 1]uint32
		for n := range 16 {
			for context := range 3 {
				for i, v := range c[plane][n][context] {
					bands[vp8.Bands[n]][context][i] += times * v
				}
			}
		}
		firstBand := 0
		if plane == vp8.PlaneYAfterY2 {
			firstBand = 1
		}
		for b := range bands {
			for context := range bands[b] {
				// After a 0 it is clear that another coefficient follows.
				clear := context == 0 && b != firstBand
				fit(&probs[plane][b][context], &vp8.UpdateProbs[plane][b][context], &bands[b][context], clear)
			}
		}
	}
	return probs
}

// fit replaces probabilities that are worth it. update are the probabilities that the header replaces them. If clear is set, no decision
// is written on whether another coefficient follows.
func fit(probs, update *[11]uint8, counts *[numTokens + 1]uint32, clear bool) {
	var sums [11][2]uint32 // how often each decision was 0 and 1
	for token, n := range counts[:end] {
		if !clear {
			sums[0][1] += n
		}
		for _, b := range branches[token] {
			if b.set {
				sums[b.prob][1] += n
			} else {
				sums[b.prob][0] += n
			}
		}
	}
	sums[0][0] = counts[end]
	for i, s := range sums {
		n0, n1 := int64(s[0]), int64(s[1])
		if n0+n1 == 0 {
			continue
		}
		fitted := uint8(max(1, min((n0*256+(n0+n1)/2)/(n0+n1), 255)))
		cost := func(p uint8) int64 { return n0*int64(bitCosts[p]) + n1*int64(bitCosts[256-int(p)]) }
		price := int64(bitCost(true, update[i]) - bitCost(false, update[i]) + 8*256)
		if cost(fitted)+price < cost(probs[i]) {
			probs[i] = fitted
		}
	}
}

// Costs of the modes, which have fixed probabilities: RFC 6386, sections 11.2 to 11.5.
var (
	wholeCosts = [4]int32{
		vp8.DC: bitCost(true, 145) + bitCost(false, 156) + bitCost(false, 163),
		vp8.VE: bitCost(true, 145) + bitCost(false, 156) + bitCost(true, 163),
		vp8.HE: bitCost(true, 145) + bitCost(true, 156) + bitCost(false, 128),
		vp8.TM: bitCost(true, 145) + bitCost(true, 156) + bitCost(true, 128),
	}
	splitCost = bitCost(false, 145)

	// By the modes of the blocks above and to the left.
	modeCosts = func() (t [numModes][numModes][numModes]uint16) {
		for above := range t {
			for left := range t[above] {
				p := &vp8.ModeProbs[above][left]
				for mode, path := range modePaths {
					for _, b := range path {
						t[above][left][mode] += uint16(bitCost(b.set, p[b.prob]))
					}
				}
			}
		}
		return t
	}()
)

// numModes is the number of modes that are chosen. The others, which are diagonal, come after them.
const numModes = 4

// modePaths holds the decisions for the modes of 4x4 blocks: section 11.2.
var modePaths = [numModes][]branch{
	vp8.DC: {{0, false}},
	vp8.TM: {{0, true}, {1, false}},
	vp8.VE: {{0, true}, {1, true}, {2, false}},
	vp8.HE: {{0, true}, {1, true}, {2, true}, {3, false}, {4, false}},
}

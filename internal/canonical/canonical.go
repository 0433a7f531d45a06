// Package canonical converts text to the Unicode normalization forms NFD and NFC, see Unicode Standard Annex #15. Two texts are
// canonically equivalent if they have the same NFD: "é" may be one character, or an "e" and an accent. Texts that differ in case,
// or only in compatibility characters such as the ligature "ﬁ", are not equivalent.
//
// The tables are of Unicode 15.0.0, the [unicode.Version] of Go 1.26. Newer characters and bytes that are not UTF-8 are kept.
package canonical

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

//go:generate go run gen.go

// A mapping decomposes char into first and second, or into first alone if second is 0. Only first may have a mapping of its own.
type mapping struct{ char, first, second rune }

// A classRange gives the characters from low to high their combining class. Marks of different classes may be written in any
// order: an accent above a letter and a dot below it have different classes.
type classRange struct {
	low, high rune
	class     uint8
}

// Hangul syllables are composed of a leading consonant L, a vowel V and an optional trailing consonant T by arithmetic, see
// section 3.12 of the Unicode Standard.
const (
	hangulS, hangulL, hangulV, hangulT = 0xAC00, 0x1100, 0x1161, 0x11A7
	numL, numV, numT                   = 19, 21, 28
)

// In a []rune, invalidByte - b represents a byte b that is not UTF-8. Such a rune has no mapping and class 0.
const invalidByte = -1

// Decompose returns s in NFD: letters and their marks are separate characters, and the marks of a letter are in a fixed order.
func Decompose(s string) string {
	if isASCII(s) {
		return s
	}
	return encode(decompose(s))
}

// Compose returns s in NFC: a letter and its marks are one character, if Unicode has such a character.
func Compose(s string) string {
	if isASCII(s) {
		return s
	}
	return encode(compose(decompose(s)))
}

// Equal reports whether a and b are canonically equivalent. It reads them up to their first difference.
func Equal(a, b string) bool {
	var bufferA, bufferB [16]rune
	var runesA, runesB []rune // of the present segments, after what was equal
	for {
		if len(runesA) == 0 {
			runesA, a = appendSegment(bufferA[:0], a)
		}
		if len(runesB) == 0 {
			runesB, b = appendSegment(bufferB[:0], b)
		}
		n := min(len(runesA), len(runesB))
		if n == 0 {
			return len(runesA) == len(runesB)
		}
		if !slices.Equal(runesA[:n], runesB[:n]) {
			return false
		}
		runesA, runesB = runesA[n:], runesB[n:]
	}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

func decompose(s string) []rune {
	runes := make([]rune, 0, len(s))
	for s != "" {
		runes, s = appendSegment(runes, s)
	}
	return runes
}

// appendSegment appends the decomposition of the beginning of s, and returns the rest of s. It ends before a starter, which is a
// character of class 0, because marks are not moved past a starter.
func appendSegment(runes []rune, s string) (_ []rune, rest string) {
	start := len(runes)
	for i, size := 0, 0; i < len(s); i += size {
		var r rune
		r, size = utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			r = invalidByte - rune(s[i])
		}
		before := len(runes)
		runes = appendDecomposed(runes, r)
		if i > 0 && classOf(runes[before]) == 0 {
			runes, rest = runes[:before], s[i:]
			break
		}
	}
	orderMarks(runes[start:])
	return runes, rest
}

func appendDecomposed(runes []rune, r rune) []rune {
	if syllable := r - hangulS; syllable >= 0 && syllable < numL*numV*numT {
		runes = append(runes, hangulL+syllable/(numV*numT), hangulV+syllable/numT%numV)
		if t := syllable % numT; t != 0 {
			runes = append(runes, hangulT+t)
		}
		return runes
	}
	if r < mappings[0].char {
		return append(runes, r)
	}
	i, found := slices.BinarySearchFunc(mappings[:], r, func(m mapping, r rune) int { return cmp.Compare(m.char, r) })
	if !found {
		return append(runes, r)
	}
	runes = appendDecomposed(runes, mappings[i].first)
	if second := mappings[i].second; second != 0 {
		runes = append(runes, second)
	}
	return runes
}

// orderMarks sorts each sequence of marks by combining class. Marks of the same class keep their order.
func orderMarks(runes []rune) {
	for i := 0; i < len(runes); i++ {
		start := i
		for i < len(runes) && classOf(runes[i]) != 0 {
			i++
		}
		if i-start > 1 {
			slices.SortStableFunc(runes[start:i], func(a, b rune) int { return cmp.Compare(classOf(a), classOf(b)) })
		}
	}
}

func classOf(r rune) uint8 {
	if r < classes[0].low {
		return 0
	}
	i, found := slices.BinarySearchFunc(classes[:], r, func(c classRange, r rune) int {
		switch {
		case c.high < r:
			return -1
		case c.low > r:
			return 1
		}
		return 0
	})
	if !found {
		return 0
	}
	return classes[i].class
}

// compose joins each character with the last starter unless marks between them block it. Marks block a starter, and later marks
// of the same class. The result overwrites runes.
func compose(runes []rune) []rune {
	composed := runes[:0]
	starter := -1    // index in composed
	last := uint8(0) // class of the last character in composed
	for _, r := range runes {
		class := classOf(r)
		if starter >= 0 && (starter == len(composed)-1 || last < class) {
			if char, ok := composePair(composed[starter], r); ok {
				composed[starter] = char
				continue
			}
		}
		if class == 0 {
			starter = len(composed)
		}
		last = class
		composed = append(composed, r)
	}
	return composed
}

func composePair(first, second rune) (char rune, ok bool) {
	if l, v := first-hangulL, second-hangulV; l >= 0 && l < numL && v >= 0 && v < numV {
		return hangulS + (l*numV+v)*numT, true
	}
	if syllable, t := first-hangulS, second-hangulT; syllable >= 0 && syllable < numL*numV*numT && syllable%numT == 0 && t > 0 && t < numT {
		return first + t, true
	}
	i, found := slices.BinarySearchFunc(compositions[:], mapping{first: first, second: second}, func(i uint16, m mapping) int {
		return cmp.Or(cmp.Compare(mappings[i].first, m.first), cmp.Compare(mappings[i].second, m.second))
	})
	if !found {
		return 0, false
	}
	return mappings[compositions[i]].char, true
}

func encode(runes []rune) string {
	encoded := make([]byte, 0, 3*len(runes))
	for _, r := range runes {
		if r < 0 {
			encoded = append(encoded, byte(invalidByte-r))
		} else {
			encoded = utf8.AppendRune(encoded, r)
		}
	}
	return string(encoded)
}

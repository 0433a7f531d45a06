package vp8

import (
	"math"
	"slices"
	"testing"
)

// The zigzag order visits each coefficient once, along diagonals.
func TestZigzag(t *testing.T) {
	sorted := slices.Sorted(slices.Values(Zigzag[:]))
	for i, at := range sorted {
		if int(at) != i {
			t.Fatalf("positions %v", sorted)
		}
	}
	for i := 1; i < 16; i++ {
		before, after := Zigzag[i-1]/4+Zigzag[i-1]%4, Zigzag[i]/4+Zigzag[i]%4
		if after != before && after != before+1 {
			t.Errorf("position %d leads from diagonal %d to %d", i, before, after)
		}
	}
}

// There are 8 bands. The last entry is for the position after the last coefficient.
func TestBands(t *testing.T) {
	if bands := slices.Compact(slices.Sorted(slices.Values(Bands[:]))); !slices.Equal(bands, []uint8{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("bands %v", bands)
	}
	if Bands[0] != 0 || Bands[15] != 7 || Bands[16] != 0 {
		t.Errorf("bands %v", Bands)
	}
}

// Steps rise from 4 to 157 and 284, by some 2 to 4 % in the long run.
func TestSteps(t *testing.T) {
	for name, steps := range map[string]*[128]uint16{"DC": &DCSteps, "AC": &ACSteps} {
		if !slices.IsSorted(steps[:]) || steps[0] != 4 {
			t.Errorf("%s: steps start with %v, and are not sorted", name, steps[:4])
		}
		for i := 16; i < 128; i++ {
			if ratio := math.Pow(float64(steps[i])/float64(steps[i-16]), 1.0/16); ratio < 1.01 || ratio > 1.12 {
				t.Errorf("%s: step %d is %d, after %d", name, i, steps[i], steps[i-16])
			}
		}
	}
	if DCSteps[127] != 157 || ACSteps[127] != 284 {
		t.Errorf("last steps are %d and %d", DCSteps[127], ACSteps[127])
	}
}

// No decision has the probability 0, with which an entropy coder stops working.
func TestProbabilities(t *testing.T) {
	for above := range ModeProbs {
		for left, probs := range ModeProbs[above] {
			if slices.Contains(probs[:], 0) {
				t.Errorf("modes %d and %d: %v", above, left, probs)
			}
		}
	}
	for name, table := range map[string]*Probs{"default": &DefaultProbs, "update": &UpdateProbs} {
		for plane := range table {
			for band := range table[plane] {
				for context, probs := range table[plane][band] {
					if slices.Contains(probs[:], 0) {
						t.Errorf("%s probabilities of plane %d, band %d, context %d: %v", name, plane, band, context, probs)
					}
				}
			}
		}
	}
	// Categories 3 to 6 have 3, 4, 5 and 11 extra bits, which are 0 more often than not, the first ones most.
	for i, n := range []int{3, 4, 5, 11} {
		probs := ExtraBitProbs[i]
		if len(probs) != n || probs[n-1] < 128 || !slices.IsSortedFunc(probs, func(a, b uint8) int { return int(b) - int(a) }) {
			t.Errorf("extra bits of category %d: %v", i+3, probs)
		}
	}
}

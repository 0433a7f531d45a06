package webpdec

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// A filter is the normal filter of one kind of edge, down or across.
type filter struct {
	limits limits
	level  filterLevel
	border bool
}

// down filters 8 rows of 16 samples, with the edge in the middle.
func (f *filter) down(rows []byte) []byte {
	out := slices.Clone(rows)
	normalDown(out, 16, 16, &f.limits, f.border)
	return out
}

// across filters the same samples as columns, and returns them as rows.
func (f *filter) across(rows []byte) []byte {
	turned := make([]byte, len(rows))
	for i, v := range rows {
		turned[i%16*8+i/16] = v
	}
	normalAcross(turned, 8, 16, &f.limits, f.border)
	out := make([]byte, len(rows))
	for i := range out {
		out[i] = turned[i%16*8+i/16]
	}
	return out
}

// eachFilter calls test with filters of all levels.
func eachFilter(test func(f *filter)) {
	for level := 1; level < 64; level++ {
		for sharpness := range 8 {
			l := newFilterLevel(level, sharpness)
			test(&filter{l.limits(), l, false})
			test(&filter{l.limits(), l, true})
		}
	}
}

// An edge is filtered in the same way in both directions, and no sample changes that is four or more away from it.
func TestFilterDirections(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	eachFilter(func(f *filter) {
		rows := make([]byte, 8*16)
		base, noise := r.IntN(256), 1+r.IntN(80)
		for i := range rows {
			rows[i] = byte(max(0, min(base+r.IntN(noise)-noise/2, 255)))
		}
		down := f.down(rows)
		if !bytes.Equal(down, f.across(rows)) {
			t.Fatalf("%+v, border %t: the directions differ", f.level, f.border)
		}
		if !bytes.Equal(down[:16], rows[:16]) || !bytes.Equal(down[7*16:], rows[7*16:]) {
			t.Fatalf("%+v, border %t: far samples change", f.level, f.border)
		}
		if !f.border && (!bytes.Equal(down[16:32], rows[16:32]) || !bytes.Equal(down[6*16:7*16], rows[6*16:7*16])) {
			t.Fatalf("%+v: samples three away from an inner edge change", f.level)
		}
	})
}

// A step is smoothed without overshoot up to the limit, and kept beyond it.
func TestFilterSteps(t *testing.T) {
	eachFilter(func(f *filter) {
		limit := int(f.level.edge)
		if f.border {
			limit += 4
		}
		for step := range 200 {
			before := []byte{20, 20, 20, 20, byte(20 + step), byte(20 + step), byte(20 + step), byte(20 + step)}
			rows := make([]byte, 8*16)
			for i := range rows {
				rows[i] = before[i/16]
			}
			down := f.down(rows)
			var after []byte
			for i := range 8 {
				after = append(after, down[16*i+5])
			}
			// Twice the step, and half of that between the next samples.
			applies := 2*step+step/2 <= limit
			switch changed := !bytes.Equal(before, after); {
			case step == 0 || !applies:
				if changed {
					t.Fatalf("%+v, border %t: a step of %d became %v", f.level, f.border, step, after)
				}
			case !slices.IsSorted(after):
				t.Fatalf("%+v, border %t: a step of %d overshoots: %v", f.level, f.border, step, after)
			case step > 1 && !changed:
				t.Fatalf("%+v, border %t: a step of %d is kept", f.level, f.border, step)
			}
		}
	})
}

// Level 0 is no filter, and limits rise with the level and fall with the sharpness.
func TestFilterLevels(t *testing.T) {
	if f := newFilterLevel(0, 0); f != (filterLevel{}) {
		t.Errorf("level 0 is %+v", f)
	}
	for level := 1; level < 64; level++ {
		for sharpness := range 8 {
			f, lower := newFilterLevel(level, sharpness), newFilterLevel(level-1, sharpness)
			if f.edge <= lower.edge || f.interior < lower.interior || f.interior < 1 || f.variance < lower.variance {
				t.Errorf("level %d is %+v after %+v", level, f, lower)
			}
			if sharpness > 0 && f.interior > newFilterLevel(level, sharpness-1).interior {
				t.Errorf("level %d, sharpness %d: %+v", level, sharpness, f)
			}
		}
	}
}

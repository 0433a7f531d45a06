package webpenc

import (
	"github.com/thumbcache/thumbcache/internal/vp8"
)

// A neighbour is what the macroblocks below and to the right need to know.
type neighbour struct {
	modes   [4]uint8
	nonzero [9]uint8 // blocks with coefficients: 4 of luma, 2 of each chroma, and the first coefficients of luma
}

type aboveMB struct {
	neighbour
	vp8.Samples
}

// A frame encodes a picture as a key frame of VP8.
type frame struct {
	mbw, mbh int // in macroblocks
	planes   [3]plane
	alpha    plane
	noSplit  bool // no luma blocks have modes of their own
	mbs      []macroblock
	above    []aboveMB
	left     neighbour

	segments     [4]segment
	segmentProbs [3]uint8

	src      vp8.Area // the macroblock, at the same places as in area
	area     vp8.Area // its prediction, then what a decoder makes of it
	patterns [16]pattern
	coefs    [16]coefficients
	values   [25][16]int16
	counts   counts
	probs    vp8.Probs
}

// The most bytes of the partitions: what the format has room for, and what golang.org/x/image/webp decodes.
const (
	maxModes        = 1<<19 - 1
	maxCoefficients = 1<<24 - 1
)

// append appends the frame to dst. most is the largest first partition: maxModes, except in tests.
func (f *frame) append(dst []byte, m *Image, quality, most int) ([]byte, error) {
	f.load(m)
	defer f.unload()
	f.setSegments(quality)
	f.noSplit = false
	f.chooseAll()

	start := len(dst)
	w, h := m.Width, m.Height
	dst = append(dst, 0, 0, 0, 0x9d, 0x01, 0x2a, byte(w), byte(w>>8), byte(h), byte(h>>8))
	modes := len(dst)
	dst = f.appendModes(dst)
	if len(dst)-modes > most {
		f.noSplit = true
		f.chooseAll()
		dst = f.appendModes(dst[:modes])
	}
	coefficients := len(dst)
	dst = f.appendCoefficients(dst)
	if coefficients-modes > most || len(dst)-coefficients > maxCoefficients {
		return dst, ErrTooLarge
	}
	const keyFrame, shown = 0, 1 << 4
	tag := (coefficients-modes)<<5 | shown | keyFrame
	dst[start], dst[start+1], dst[start+2] = byte(tag), byte(tag>>8), byte(tag>>16)
	return dst, nil
}

// chooseAll chooses how each macroblock is coded, and the probabilities.
func (f *frame) chooseAll() {
	f.counts = counts{}
	clear(f.above)
	for mby := range f.mbh {
		f.left = neighbour{}
		for mbx := range f.mbw {
			f.choose(mbx, mby)
		}
	}
	f.probs = f.counts.fit(uint32(f.sampling()))
}

// sampling returns the distance of the macroblocks whose tokens are counted. Some 80 of them are enough. It is odd, so that they are
// not all in a few columns.
func (f *frame) sampling() int { return len(f.mbs)/80 | 1 }

// appendModes appends the first partition: the header, and the modes of each macroblock.
func (f *frame) appendModes(dst []byte) []byte {
	w := newBoolWriter(dst)
	w.uint(0, 2) // color space, clamping
	f.writeSegments(&w)
	w.bit(false, 128)                            // the normal filter
	w.uint(uint(f.segments[0].filterLevel()), 6) // of all, without segments
	w.uint(0, 3)                                 // sharpness
	w.bit(false, 128)
	w.uint(0, 2) // one partition of coefficients
	w.uint(uint(f.segments[0].index), 7)
	for range 5 {
		w.optional(0, 4) // differences of other steps
	}
	w.bit(false, 128) // for video
	f.writeProbs(&w)
	skipped := 0
	for i := range f.mbs {
		if f.mbs[i].skip {
			skipped++
		}
	}
	skipProb := probability(len(f.mbs)-skipped, skipped)
	w.bit(true, 128)
	w.uint(uint(skipProb), 8)

	clear(f.above)
	for i := range f.mbs {
		if i%f.mbw == 0 {
			f.left = neighbour{}
		}
		mb := &f.mbs[i]
		f.writeSegment(&w, mb.segment)
		w.bit(mb.skip, skipProb)
		mb.writeModes(&w, &f.above[i%f.mbw].modes, &f.left.modes)
	}
	return w.finish()
}

// writeProbs writes the probabilities that are not the default.
func (f *frame) writeProbs(w *boolWriter) {
	for i := range f.probs {
		for j := range f.probs[i] {
			for k := range f.probs[i][j] {
				for l, p := range f.probs[i][j][k] {
					changed := p != vp8.DefaultProbs[i][j][k][l]
					if w.bit(changed, vp8.UpdateProbs[i][j][k][l]); changed {
						w.uint(uint(p), 8)
					}
				}
			}
		}
	}
}

// writeModes writes the modes: sections 11.2 to 11.4.
func (mb *macroblock) writeModes(w *boolWriter, above, left *[4]uint8) {
	w.bit(!mb.split, 145)
	if mb.split {
		for i, mode := range mb.modes {
			x, y := i%4, i/4
			p := &vp8.ModeProbs[above[x]][left[y]]
			for _, b := range modePaths[mode] {
				w.bit(b.set, p[b.prob])
			}
			above[x], left[y] = mode, mode
		}
	} else {
		mode := mb.modes[0]
		second := mode == vp8.TM || mode == vp8.HE
		w.bit(second, 156)
		if second {
			w.bit(mode == vp8.TM, 128)
		} else {
			w.bit(mode == vp8.VE, 163)
		}
		*above = [4]uint8{mode, mode, mode, mode}
		*left = *above
	}
	w.bit(false, 142) // chroma is DC
}

// appendCoefficients appends the second partition.
func (f *frame) appendCoefficients(dst []byte) []byte {
	w := newBoolWriter(dst)
	for i := range f.mbs {
		if !f.mbs[i].skip {
			f.mbs[i].visit(func(plane, first int, b *block) { w.block(&f.probs[plane], first, b) })
		}
	}
	return w.finish()
}

// block writes the coefficients of a block: section 13.
func (w *boolWriter) block(probs *[8][3][11]uint8, first int, b *block) {
	n, count := first, int(b.count)
	p := &probs[vp8.Bands[n]][b.context]
	if n == count {
		w.bit(false, p[0])
		return
	}
	w.bit(true, p[0])
	// Up to four decisions follow before the next flush, and the third one adds only 1 to count.
	v := w.interval
	for {
		level := int32(b.levels[n&15])
		n++
		if level == 0 {
			v = v.add(0, p[1])
			p = &probs[vp8.Bands[n&15]][0]
			if v.count >= word {
				w.interval = v
				w.flush()
				v = w.interval
			}
			continue
		}
		size := abs(level)
		v = v.add(1, p[1])
		if size == 1 {
			v = v.add(0, p[2])
		} else {
			v = v.add(1, p[2])
			if v.count >= word {
				w.interval = v
				w.flush()
				v = w.interval
			}
			v = w.large(v, size, p)
		}
		v = v.add(uint32(level)>>31, 128)
		if n < 16 {
			p = &probs[vp8.Bands[n]][smaller(size, 2)]
			more := uint32(n-count) >> 31
			v = v.add(more, p[0])
		}
		if v.count >= word {
			w.interval = v
			w.flush()
			v = w.interval
		}
		if n >= count {
			w.interval = v
			return
		}
	}
}

// large writes an absolute value that is at least 2, after the decisions that it is not 0 and not 1.
func (w *boolWriter) large(v interval, size int32, p *[11]uint8) interval {
	if size <= 4 {
		v = v.add(0, p[3])
		if size == 2 {
			v = v.add(0, p[4])
		} else {
			v = v.add(1, p[4]).add(uint32(size)-3, p[5])
		}
		w.interval = v
		if w.count >= word {
			w.flush()
		}
		return w.interval
	}
	w.interval = v
	token := tokens[size&maxLevel]
	for _, b := range branches[token][2:] {
		w.bit(b.set, p[b.prob])
	}
	extra := extraBits[token-category1]
	rest := size - int32(firstOf[token])
	for i, prob := range extra {
		w.bit(rest>>(len(extra)-1-i)&1 != 0, prob)
	}
	return w.interval
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

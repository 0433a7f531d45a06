package webpenc

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// An alphaWriter compresses alpha without loss: RFC 9649, section 2.7.1.2. The rows are filtered and written as the green channel of
// a lossless picture, with one prefix code for samples and lengths, and one for distances.
type alphaWriter struct {
	filtered   []byte
	rest       []byte // with another filter
	latest     [1 << hashBits]int32
	sampleBits float64    // of a sample that is written alone
	compared   int        // samples that parse has looked at, for a test that bounds its work
	samples    prefixCode // and lengths
	distance   prefixCode
}

// alphaCost returns the most bytes that an alphaWriter allocates.
func alphaCost(width, height int) int64 { return 2 * int64(width) * int64(height) }

// Filters: what is predicted, of which the differences are written.
const (
	filterNone = iota
	filterLeft
	filterAbove
	filterGradient
	numFilters
)

// Numbers of symbols: section 3.7.
const (
	numLengths   = 24
	numSamples   = 256 + numLengths
	numDistances = 40
)

// append appends the data of an alpha chunk.
func (w *alphaWriter) append(dst, alpha []byte, width int) []byte {
	w.filtered, w.rest = grow(w.filtered, len(alpha)), grow(w.rest, len(alpha))
	best, filter := math.Inf(1), 0
	for f := range numFilters {
		filterAlpha(w.rest, alpha, width, f)
		if n := entropy(w.rest); n < best {
			best, filter = n, f
			w.sampleBits = n / float64(len(alpha))
			w.filtered, w.rest = w.rest, w.filtered
		}
	}
	w.compared = 0
	start := len(dst)
	const raw, compressed = 0, 1
	dst = w.compress(append(dst, byte(filter<<2|compressed)), width)
	if len(dst)-start > 1+len(alpha) {
		dst = append(append(dst[:start], raw), alpha...)
	}
	return dst
}

// filterAlpha stores the differences of samples from their prediction.
func filterAlpha(to, alpha []byte, width, filter int) {
	if filter == filterNone {
		copy(to, alpha)
		return
	}
	for at := 0; at < len(alpha); at += width {
		row, out := alpha[at:][:width], to[at:][:width]
		if at == 0 {
			out[0] = row[0]
			for x := 1; x < width; x++ {
				out[x] = row[x] - row[x-1]
			}
			continue
		}
		above := alpha[at-width:][:width]
		out[0] = row[0] - above[0]
		switch filter {
		case filterLeft:
			for x := 1; x < width; x++ {
				out[x] = row[x] - row[x-1]
			}
		case filterAbove:
			for x := 1; x < width; x++ {
				out[x] = row[x] - above[x]
			}
		case filterGradient:
			for x := 1; x < width; x++ {
				out[x] = row[x] - byte(max(0, min(int(row[x-1])+int(above[x])-int(above[x-1]), 255)))
			}
		}
	}
}

// entropy returns how many bits samples have if none depends on others.
func entropy(samples []byte) (bits float64) {
	var counts [256]int
	for _, v := range samples {
		counts[v]++
	}
	for _, n := range counts {
		if n > 0 {
			bits -= float64(n) * math.Log2(float64(n)/float64(len(samples)))
		}
	}
	return bits
}

// compress appends the filtered samples as a lossless picture: section 3.
func (w *alphaWriter) compress(dst []byte, width int) []byte {
	w.samples.reset(numSamples)
	w.distance.reset(numDistances)
	w.parse(width, func(length, distance int) {
		symbol, _, _ := prefixOf(length)
		w.samples.counts[256+symbol]++
		symbol, _, _ = prefixOf(distance)
		w.distance.counts[symbol]++
	}, func(sample byte) { w.samples.counts[sample]++ })

	out := bitWriter{out: dst}
	out.write(0, 3) // no transform, no colour cache, one group of codes
	w.samples.build(maxCodeLength)
	w.samples.write(&out)
	var none prefixCode // of red, blue and alpha
	none.reset(256)
	for range 3 {
		none.write(&out)
	}
	w.distance.build(maxCodeLength)
	w.distance.write(&out)
	w.parse(width, func(length, distance int) {
		symbol, n, extra := prefixOf(length)
		w.samples.put(&out, 256+symbol)
		out.write(extra, n)
		symbol, n, extra = prefixOf(distance)
		w.distance.put(&out, symbol)
		out.write(extra, n)
	}, func(sample byte) { w.samples.put(&out, int(sample)) })
	return out.finish()
}

const (
	hashBits    = 12
	minLength   = 4
	maxLength   = 4096
	maxDistance = 1<<20 - 120

	// Guesses of how many bits a reference to earlier samples takes, next to this one and further away.
	nearBits = 8
	farBits  = 24
)

// parse calls match for each sequence that came before, with a code for its distance, and literal for other samples.
func (w *alphaWriter) parse(width int, match func(length, distance int), literal func(sample byte)) {
	clear(w.latest[:])
	data := w.filtered
	for at := 0; at < len(data); {
		// Codes up to 120 stand for neighbours: section 3.6.2.2. The first two are the one above and the one to the left.
		length, code, best, longest := 0, 0, 0.0, 1
		try := func(distance, distanceCode int, price float64) {
			if distance <= 0 || distance > min(at, maxDistance) {
				return
			}
			n := common(data[at-distance:], data[at:])
			w.compared += n + 1
			longest = max(longest, n)
			if saved := float64(n)*w.sampleBits - price; saved > best {
				length, code, best = n, distanceCode, saved
			}
		}
		if at+minLength <= len(data) {
			slot := &w.latest[binary.LittleEndian.Uint32(data[at:])*0x9e3779b1>>(32-hashBits)]
			try(1, 2, nearBits)
			try(width, 1, nearBits)
			try(at-int(*slot), at-int(*slot)+120, farBits)
			*slot = int32(at)
		}
		if length == 0 {
			// A shorter match would not save anything either. Without the step over all of it, a plane of one value takes seconds.
			for _, sample := range data[at:][:longest] {
				literal(sample)
			}
			at += longest
			continue
		}
		match(length, code)
		at += length
	}
}

// common returns how many samples are equal, maxLength at most. b is a part of a.
func common(a, b []byte) int {
	b = b[:min(len(b), maxLength)]
	a = a[:len(b)]
	for i, v := range b {
		if a[i] != v {
			return i
		}
	}
	return len(b)
}

// prefixOf returns the symbol of a length or distance, and its extra bits: section 3.6.2.2.
func prefixOf(value int) (symbol, n int, extra uint32) {
	value--
	if value < 4 {
		return value, 0, 0
	}
	n = bits.Len(uint(value)) - 2
	return 2*(n+1) + value>>n&1, n, uint32(value) & (1<<n - 1)
}

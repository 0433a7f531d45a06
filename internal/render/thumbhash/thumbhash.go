// Package thumbhash computes the ThumbHash of a picture: about 20 bytes that decode to a blurred placeholder. The format is
// Evan Wallace's, see https://evanw.github.io/thumbhash/.
package thumbhash

import "math"

// Edge is the most samples in each dimension that [Encode] takes. A hash holds waves of up to 7 half periods, so more
// samples would not change it.
const Edge = 32

// MaxLen is the length in bytes of the longest hash.
const MaxLen = 25

const maxTerms = 7

// A channel is the cosine transform of one channel: a triangle of nx by ny terms, of which the first is the mean.
type channel struct {
	nx, ny int
	terms  [maxTerms][maxTerms]float64 // by y, x
}

// Encode returns the ThumbHash of a picture of width x height. rgba holds the picture's means over a grid of cols x rows
// cells, at most [Edge] in each dimension: row by row, not premultiplied.
func Encode(rgba []byte, cols, rows, width, height int) []byte {
	rgba = rgba[:4*cols*rows]
	mean, hasAlpha := average(rgba)

	// The longer side has all terms, the shorter side fewer in proportion.
	limit := 7
	if hasAlpha {
		limit = 5
	}
	long := max(width, height)
	nx, ny := termCount(limit, width, long), termCount(limit, height, long)
	channels := [4]channel{{nx: max(3, nx), ny: max(3, ny)}, {nx: 3, ny: 3}, {nx: 3, ny: 3}, {nx: 5, ny: 5}}
	used := channels[:3]
	if hasAlpha {
		used = channels[:]
	}
	transform(used, rgba, cols, rows, mean)

	var scales [4]float64
	for i := range used {
		scales[i] = used[i].normalise(float64(cols * rows))
	}
	l, p, q, a := &channels[0], &channels[1], &channels[2], &channels[3]
	head := quantise(l.terms[0][0], 63) | quantise(0.5+0.5*p.terms[0][0], 63)<<6 | quantise(0.5+0.5*q.terms[0][0], 63)<<12 |
		quantise(scales[0], 31)<<18
	shape := uint32(nx)
	if width > height {
		shape = uint32(ny) | 1<<15
	}
	shape |= quantise(scales[1], 63)<<3 | quantise(scales[2], 63)<<9
	if hasAlpha {
		head |= 1 << 23
	}
	hash := append(make([]byte, 0, MaxLen), byte(head), byte(head>>8), byte(head>>16), byte(shape), byte(shape>>8))
	if hasAlpha {
		hash = append(hash, byte(quantise(a.terms[0][0], 15)|quantise(scales[3], 15)<<4))
	}
	return appendTerms(hash, used)
}

// average returns the mean colour of samples, weighted by their alpha, and reports whether any sample is not opaque.
func average(rgba []byte) (mean [3]float64, hasAlpha bool) {
	opacity := 0.0
	for p := rgba; len(p) >= 4; p = p[4:] {
		a := float64(p[3]) / 255
		for c := range mean {
			mean[c] += a / 255 * float64(p[c])
		}
		opacity += a
		hasAlpha = hasAlpha || p[3] < 255
	}
	if opacity > 0 {
		for c := range mean {
			mean[c] /= opacity
		}
	}
	return mean, hasAlpha
}

// transform adds all samples to the terms of the channels: luma, yellow-blue, red-green and, if there are four channels,
// alpha. Transparent samples get the mean colour, so that they need no terms.
func transform(channels []channel, rgba []byte, cols, rows int, mean [3]float64) {
	var cosX, cosY [maxTerms][Edge]float64
	cosines(&cosX, cols)
	cosines(&cosY, rows)
	var lines [4][Edge]float64
	for y := range rows {
		for x := range cols {
			s := rgba[4*(y*cols+x):][:4]
			alpha := float64(s[3]) / 255
			r := mean[0]*(1-alpha) + alpha/255*float64(s[0])
			g := mean[1]*(1-alpha) + alpha/255*float64(s[1])
			b := mean[2]*(1-alpha) + alpha/255*float64(s[2])
			lines[0][x], lines[1][x], lines[2][x], lines[3][x] = (r+g+b)/3, (r+g)/2-b, r-g, alpha
		}
		for i := range channels {
			channels[i].addRow(lines[i][:cols], y, &cosX, &cosY)
		}
	}
}

// appendTerms appends all terms except the means, 4 bits each.
func appendTerms(hash []byte, channels []channel) []byte {
	half := false // the last byte has room for one more term
	for i := range channels {
		c := &channels[i]
		for y := range c.ny {
			for x := range c.width(y) {
				if x == 0 && y == 0 {
					continue
				}
				v := byte(quantise(c.terms[y][x], 15))
				if half {
					hash[len(hash)-1] |= v << 4
				} else {
					hash = append(hash, v)
				}
				half = !half
			}
		}
	}
	return hash
}

// termCount returns the number of terms for a side of length n, if the longer side has limit terms.
func termCount(limit, n, long int) int {
	return max(1, int(math.Floor(float64(limit)*float64(n)/float64(long)+0.5)))
}

// quantise returns a fraction from 0 to 1 as an integer from 0 to most. It clamps fractions that rounding errors took
// beyond that range.
func quantise(fraction, most float64) uint32 {
	return uint32(max(0, min(most, math.Floor(fraction*most+0.5))))
}

// cosines fills a table with the cosine waves over n samples.
func cosines(table *[maxTerms][Edge]float64, n int) {
	for k := range table {
		for i := range n {
			table[k][i] = math.Cos(math.Pi / float64(n) * float64(k) * (float64(i) + 0.5))
		}
	}
}

// width returns the number of terms in row y of the triangle.
func (c *channel) width(y int) int { return (c.nx*(c.ny-y) + c.ny - 1) / c.ny }

// addRow adds row y of the samples to the terms. A wave is even or odd about the middle. So half of it is enough,
// multiplied with the sum or the difference of the two halves of the row.
func (c *channel) addRow(line []float64, y int, cosX, cosY *[maxTerms][Edge]float64) {
	var halves [2][Edge / 2]float64
	n := len(line) / 2
	for x := range n {
		a, b := line[x], line[len(line)-1-x]
		halves[0][x], halves[1][x] = a+b, a-b
	}
	for i := range c.nx {
		half, wave := halves[i&1][:n], cosX[i][:n]
		var sum float64
		if len(line)&1 == 1 {
			sum = line[n] * cosX[i][n]
		}
		for x, v := range half {
			sum += v * wave[x]
		}
		for j := 0; j < c.ny && i < c.width(j); j++ {
			c.terms[j][i] += sum * cosY[j][y]
		}
	}
}

// normalise divides the sums over n samples by n. It returns the largest magnitude of all terms except the mean, and maps
// those terms from the range -scale to scale to the range 0 to 1.
func (c *channel) normalise(n float64) (scale float64) {
	for y := range c.ny {
		for x := range c.width(y) {
			c.terms[y][x] /= n
			if x > 0 || y > 0 {
				scale = max(scale, math.Abs(c.terms[y][x]))
			}
		}
	}
	const noise = 1e-9 // rounding errors; they must not show in the hash of a picture of one colour
	for y := range c.ny {
		for x := range c.width(y) {
			switch {
			case x == 0 && y == 0:
			case scale < noise:
				c.terms[y][x] = 0
			default:
				c.terms[y][x] = 0.5 + 0.5/scale*c.terms[y][x]
			}
		}
	}
	return scale
}

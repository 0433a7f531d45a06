// Package thumbhash writes the ThumbHash of a picture: some 20 bytes that decode to a blurred placeholder of it. The
// format is Evan Wallace's, see https://evanw.github.io/thumbhash/.
package thumbhash

import "math"

// Edge is the most samples that [Encode] takes either way. A hash keeps waves of up to 7 half periods; more samples
// would show in none of them.
const Edge = 32

// MaxLen is the length of the longest hash.
const MaxLen = 25

const maxTerms = 7

// A channel is the transform of one channel: a triangle of nx by ny terms, of which the first is the mean.
type channel struct {
	nx, ny int
	terms  [maxTerms][maxTerms]float64 // by y, x
}

// Encode returns the ThumbHash of a picture of width x height, whose means over a grid of cols x rows, at most [Edge]
// either way, are in rgba: row by row, not premultiplied.
func Encode(rgba []byte, cols, rows, width, height int) []byte {
	rgba = rgba[:4*cols*rows]
	// What is transparent has the mean colour, and so needs no terms.
	var mean [3]float64
	var opacity, least = 0.0, byte(255)
	for p := rgba; len(p) >= 4; p = p[4:] {
		a := float64(p[3]) / 255
		for c := range mean {
			mean[c] += a / 255 * float64(p[c])
		}
		opacity += a
		least = min(least, p[3])
	}
	if opacity > 0 {
		for c := range mean {
			mean[c] /= opacity
		}
	}
	hasAlpha := least < 255

	// The longer side has all terms, and the other as many as the shape leaves it.
	limit := 7
	if hasAlpha {
		limit = 5
	}
	nx, ny := side(limit, width, max(width, height)), side(limit, height, max(width, height))
	all := [4]channel{{nx: max(3, nx), ny: max(3, ny)}, {nx: 3, ny: 3}, {nx: 3, ny: 3}, {nx: 5, ny: 5}}
	l, p, q, a := &all[0], &all[1], &all[2], &all[3]

	var cosX, cosY [maxTerms][Edge]float64
	cosines(&cosX, cols)
	cosines(&cosY, rows)
	var lineL, lineP, lineQ, lineA [Edge]float64
	for y := range rows {
		for x := range cols {
			s := rgba[4*(y*cols+x):][:4]
			alpha := float64(s[3]) / 255
			r := mean[0]*(1-alpha) + alpha/255*float64(s[0])
			g := mean[1]*(1-alpha) + alpha/255*float64(s[1])
			b := mean[2]*(1-alpha) + alpha/255*float64(s[2])
			lineL[x], lineP[x], lineQ[x], lineA[x] = (r+g+b)/3, (r+g)/2-b, r-g, alpha
		}
		l.add(lineL[:cols], y, &cosX, &cosY)
		p.add(lineP[:cols], y, &cosX, &cosY)
		q.add(lineQ[:cols], y, &cosX, &cosY)
		if hasAlpha {
			a.add(lineA[:cols], y, &cosX, &cosY)
		}
	}

	n := float64(cols * rows)
	lScale, pScale, qScale := l.normalise(n), p.normalise(n), q.normalise(n)
	head := bits(l.terms[0][0], 63) | bits(0.5+0.5*p.terms[0][0], 63)<<6 | bits(0.5+0.5*q.terms[0][0], 63)<<12 | bits(lScale, 31)<<18
	shape := uint32(nx)
	if width > height {
		shape = uint32(ny) | 1<<15
	}
	shape |= bits(pScale, 63)<<3 | bits(qScale, 63)<<9
	if hasAlpha {
		head |= 1 << 23
	}
	hash := append(make([]byte, 0, MaxLen), byte(head), byte(head>>8), byte(head>>16), byte(shape), byte(shape>>8))
	channels := all[:3]
	if hasAlpha {
		aScale := a.normalise(n)
		hash = append(hash, byte(bits(a.terms[0][0], 15)|bits(aScale, 15)<<4))
		channels = all[:]
	}
	half := false // the last byte has room for another term
	for i := range channels {
		c := &channels[i]
		for y := range c.ny {
			for x := range c.width(y) {
				if x == 0 && y == 0 {
					continue
				}
				v := byte(bits(c.terms[y][x], 15))
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

// side returns the terms of a side that is n long, where the longer one has limit.
func side(limit, n, long int) int {
	return max(1, int(math.Floor(float64(limit)*float64(n)/float64(long)+0.5)))
}

// bits returns a fraction as a whole number up to most. Only an error of rounding can take it beyond.
func bits(fraction, most float64) uint32 {
	return uint32(max(0, min(most, math.Floor(fraction*most+0.5))))
}

// cosines fills the waves over n samples.
func cosines(table *[maxTerms][Edge]float64, n int) {
	for k := range table {
		for i := range n {
			table[k][i] = math.Cos(math.Pi / float64(n) * float64(k) * (float64(i) + 0.5))
		}
	}
}

// width returns how many terms row y of the triangle has.
func (c *channel) width(y int) int { return (c.nx*(c.ny-y) + c.ny - 1) / c.ny }

// add adds row y of the samples to the terms. Every other wave is odd about the middle, the rest are even, so that one
// half of the row, added to the other or less it, does.
func (c *channel) add(line []float64, y int, cosX, cosY *[maxTerms][Edge]float64) {
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

// normalise makes means of sums over n samples, returns the largest of them but the first, and makes the others, as
// parts of it, fractions from 0 to 1.
func (c *channel) normalise(n float64) (scale float64) {
	for y := range c.ny {
		for x := range c.width(y) {
			c.terms[y][x] /= n
			if x > 0 || y > 0 {
				scale = max(scale, math.Abs(c.terms[y][x]))
			}
		}
	}
	const noise = 1e-9 // of adding up: a plain picture's hash does not depend on it
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

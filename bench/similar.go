package main

import (
	"image"
	"math"
)

// psnr returns the peak signal-to-noise ratio over R, G and B, in decibels.
func psnr(a, b *image.RGBA) float64 {
	var sum float64
	for i := range a.Pix {
		if i%4 == 3 {
			continue
		}
		d := float64(a.Pix[i]) - float64(b.Pix[i])
		sum += d * d
	}
	return 10 * math.Log10(255*255*float64(len(a.Pix)/4*3)/sum)
}

// ssim returns the mean structural similarity of luma, over windows of 8 x 8 pixels, 4 apart.
func ssim(a, b *image.RGBA) float64 {
	luma := func(m *image.RGBA, x, y int) float64 {
		p := m.Pix[m.PixOffset(x, y):]
		return 0.299*float64(p[0]) + 0.587*float64(p[1]) + 0.114*float64(p[2])
	}
	const n, c1, c2 = 8, (0.01 * 255) * (0.01 * 255), (0.03 * 255) * (0.03 * 255)
	var sum, count float64
	for y := 0; y+n <= a.Rect.Dy(); y += 4 {
		for x := 0; x+n <= a.Rect.Dx(); x += 4 {
			var sa, sb, saa, sbb, sab float64
			for j := range n {
				for i := range n {
					u, v := luma(a, x+i, y+j), luma(b, x+i, y+j)
					sa, sb, saa, sbb, sab = sa+u, sb+v, saa+u*u, sbb+v*v, sab+u*v
				}
			}
			ma, mb := sa/(n*n), sb/(n*n)
			va, vb, cov := saa/(n*n)-ma*ma, sbb/(n*n)-mb*mb, sab/(n*n)-ma*mb
			sum += (2*ma*mb + c1) * (2*cov + c2) / ((ma*ma + mb*mb + c1) * (va + vb + c2))
			count++
		}
	}
	return sum / count
}

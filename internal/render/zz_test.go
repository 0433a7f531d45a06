package render

import "testing"

func BenchmarkScale(b *testing.B) {
	for _, n := range []int{700, 1400} {
		ws := new(workspace)
		src := ws.plane(0, n, n, 1)
		src.pitchX, src.pitchY = 1, 1
		for i := range src.pix {
			src.pix[i] = byte(i * 7)
		}
		to := n * 256 / 700
		dst := ws.plane(1, to, to, 1)
		x := makeSpan(to, 0, n)
		b.Run("", func(b *testing.B) {
			for b.Loop() {
				ws.scale(dst, src, x, x)
			}
		})
		ws.scale(dst, src, x, x)
		b.Run("H", func(b *testing.B) {
			for b.Loop() {
				ws.horizontal1(dst.pix, dst.pix, to)
			}
		})
		b.Run("V", func(b *testing.B) {
			for b.Loop() {
				ws.vertical(src, 40, 41)
			}
		})
		b.Run("set", func(b *testing.B) {
			for b.Loop() {
				ws.x.set(x, n)
			}
		})
	}
}

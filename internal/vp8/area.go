package vp8

import "encoding/binary"

// A macroblock is reconstructed in a small area with the samples that it is predicted from: the row above it and the
// column to the left of it. Luma is above both chroma blocks, which are side by side.
const (
	Stride = 32 // from a row of the area to the next
	AtY    = 1*Stride + 8
	AtU    = 18*Stride + 8
	AtV    = 18*Stride + 24
)

// An Area holds a macroblock at AtY, AtU and AtV.
type Area [26 * Stride]byte

// Samples are those of the last row of a macroblock, from which the one below is predicted. They are not filtered.
type Samples struct {
	Y    [16]byte
	U, V [8]byte
}

// Prepare fills the edges of the area from which a macroblock is predicted. The area must still hold the macroblock to the left.
// above and right are those in the row above; right is nil in the last column. Samples outside the picture are 127 above it, and 129
// to the left of it: RFC 6386, section 12.2.
func (a *Area) Prepare(above, right *Samples, mbx, mby int) {
	if mbx == 0 {
		for y := range 17 {
			a[AtY-Stride-1+y*Stride] = 129
		}
		for y := range 9 {
			a[AtU-Stride-1+y*Stride] = 129
			a[AtV-Stride-1+y*Stride] = 129
		}
	} else {
		for y := range 17 {
			at := AtY - Stride + y*Stride
			a[at-1] = a[at+15]
		}
		for y := range 9 {
			at := AtU - Stride + y*Stride
			a[at-1] = a[at+7]
			at = AtV - Stride + y*Stride
			a[at-1] = a[at+7]
		}
	}
	corner := uint32(0x7f7f7f7f)
	if mby == 0 {
		for x := -1; x < 16; x++ {
			a[AtY-Stride+x] = 127
		}
		for x := -1; x < 8; x++ {
			a[AtU-Stride+x], a[AtV-Stride+x] = 127, 127
		}
	} else {
		copy(a[AtY-Stride:], above.Y[:])
		copy(a[AtU-Stride:], above.U[:])
		copy(a[AtV-Stride:], above.V[:])
		if right == nil {
			corner = uint32(above.Y[15]) * 0x01010101
		} else {
			corner = binary.LittleEndian.Uint32(right.Y[:])
		}
	}
	// The blocks of the last column all use the row above the macroblock.
	for y := 0; y < 16; y += 4 {
		binary.LittleEndian.PutUint32(a[AtY-Stride+16+y*Stride:], corner)
	}
}

// Save stores the last row of the macroblock.
func (a *Area) Save(to *Samples) {
	to.Y = [16]byte(a[AtY+15*Stride:])
	to.U = [8]byte(a[AtU+7*Stride:])
	to.V = [8]byte(a[AtV+7*Stride:])
}

// Clamp limits a number to the range of a sample.
func Clamp(v int32) byte {
	if uint32(v) > 255 {
		return byte(^(v >> 31)) // 0 below, 255 above
	}
	return byte(v)
}

// rows sets the rows of a 4x4 block.
func (a *Area) rows(at int, r0, r1, r2, r3 uint32) {
	b := a[at : at+3*Stride+4]
	binary.LittleEndian.PutUint32(b, r0)
	binary.LittleEndian.PutUint32(b[Stride:], r1)
	binary.LittleEndian.PutUint32(b[2*Stride:], r2)
	binary.LittleEndian.PutUint32(b[3*Stride:], r3)
}

func avg2(a, b uint32) uint32    { return (a + b + 1) >> 1 }
func avg3(a, b, c uint32) uint32 { return (a + 2*b + c + 2) >> 2 }

// row4 packs four samples.
func row4(a, b, c, d uint32) uint32 { return a | b<<8 | c<<16 | d<<24 }

// Predict4 predicts a 4x4 block: RFC 6386, section 12.3.
func (a *Area) Predict4(at int, mode uint8) {
	const all = 0x01010101
	edge := a[at-Stride-1 : at+3*Stride]
	x := uint32(edge[0])
	e0, e1, e2, e3 := uint32(edge[1]), uint32(edge[2]), uint32(edge[3]), uint32(edge[4])
	l0, l1 := uint32(edge[Stride]), uint32(edge[2*Stride])
	l2, l3 := uint32(edge[3*Stride]), uint32(a[at+3*Stride-1])
	switch mode {
	case DC:
		v := (e0 + e1 + e2 + e3 + l0 + l1 + l2 + l3 + 4) >> 3 * all
		a.rows(at, v, v, v, v)
	case TM:
		a.predictTM(at, 4)
	case VE:
		v := row4(avg3(x, e0, e1), avg3(e0, e1, e2), avg3(e1, e2, e3), avg3(e2, e3, uint32(edge[5])))
		a.rows(at, v, v, v, v)
	case HE:
		a.rows(at, avg3(x, l0, l1)*all, avg3(l0, l1, l2)*all, avg3(l1, l2, l3)*all, avg3(l2, l3, l3)*all)
	case RD:
		low := row4(avg3(l1, l2, l3), avg3(l0, l1, l2), avg3(x, l0, l1), avg3(l0, x, e0))
		v := uint64(low) | uint64(avg3(x, e0, e1)|avg3(e0, e1, e2)<<8|avg3(e1, e2, e3)<<16)<<32
		a.rows(at, uint32(v>>24), uint32(v>>16), uint32(v>>8), low)
	case VR:
		r0 := row4(avg2(x, e0), avg2(e0, e1), avg2(e1, e2), avg2(e2, e3))
		r1 := row4(avg3(l0, x, e0), avg3(x, e0, e1), avg3(e0, e1, e2), avg3(e1, e2, e3))
		a.rows(at, r0, r1, r0<<8|avg3(l1, l0, x), r1<<8|avg3(l2, l1, l0))
	case LD:
		e4, e5, e6, e7 := uint32(edge[5]), uint32(edge[6]), uint32(edge[7]), uint32(edge[8])
		low := row4(avg3(e0, e1, e2), avg3(e1, e2, e3), avg3(e2, e3, e4), avg3(e3, e4, e5))
		v := uint64(low) | uint64(avg3(e4, e5, e6)|avg3(e5, e6, e7)<<8|avg3(e6, e7, e7)<<16)<<32
		a.rows(at, low, uint32(v>>8), uint32(v>>16), uint32(v>>24))
	case VL:
		e4, e5, e6, e7 := uint32(edge[5]), uint32(edge[6]), uint32(edge[7]), uint32(edge[8])
		r0 := row4(avg2(e0, e1), avg2(e1, e2), avg2(e2, e3), avg2(e3, e4))
		r1 := row4(avg3(e0, e1, e2), avg3(e1, e2, e3), avg3(e2, e3, e4), avg3(e3, e4, e5))
		a.rows(at, r0, r1, r0>>8|avg3(e4, e5, e6)<<24, r1>>8|avg3(e5, e6, e7)<<24)
	case HD:
		r0 := row4(avg2(l0, x), avg3(l0, x, e0), avg3(x, e0, e1), avg3(e0, e1, e2))
		r1 := r0<<16 | avg2(l1, l0) | avg3(l1, l0, x)<<8
		r2 := r1<<16 | avg2(l2, l1) | avg3(l2, l1, l0)<<8
		a.rows(at, r0, r1, r2, r2<<16|avg2(l3, l2)|avg3(l3, l2, l1)<<8)
	case HU:
		r0 := row4(avg2(l0, l1), avg3(l0, l1, l2), avg2(l1, l2), avg3(l1, l2, l3))
		r1 := r0>>16 | avg2(l2, l3)<<16 | avg3(l2, l3, l3)<<24
		a.rows(at, r0, r1, r1>>16|l3<<16|l3<<24, l3*all)
	}
}

// predictTM predicts an n x n block as left + above - corner.
func (a *Area) predictTM(at, n int) {
	above := a[at-Stride-1:][:n+1]
	for y := range n {
		row := a[at+y*Stride-1:][:n+1]
		base := int32(row[0]) - int32(above[0])
		for x := 1; x < len(row) && x < len(above); x++ {
			row[x] = Clamp(base + int32(above[x]))
		}
	}
}

// PredictWhole predicts a block of 16x16 or 8x8: section 12.2. mbx and mby tell whether there are samples to the left
// and above.
func (a *Area) PredictWhole(at, n int, mode uint8, mbx, mby int) {
	const all = 0x0101010101010101
	switch mode {
	case TM:
		a.predictTM(at, n)
		return
	case VE:
		for y := range n {
			copy(a[at+y*Stride:][:n], a[at-Stride:][:n])
		}
		return
	case HE:
		for y := range n {
			row := a[at+y*Stride-1:][:n+1]
			v := uint64(row[0]) * all
			for x := 1; x < n; x += 8 {
				binary.LittleEndian.PutUint64(row[x:], v)
			}
		}
		return
	}
	sum, count := 0, 0
	if mby > 0 {
		for _, v := range a[at-Stride:][:n] {
			sum += int(v)
		}
		count += n
	}
	if mbx > 0 {
		for y := range n {
			sum += int(a[at+y*Stride-1])
		}
		count += n
	}
	v := uint64(128 * all)
	if count > 0 {
		v = uint64((sum+count/2)/count) * all
	}
	for y := range n {
		row := a[at+y*Stride:][:n]
		for x := 0; x < n; x += 8 {
			binary.LittleEndian.PutUint64(row[x:], v)
		}
	}
}

// AddDCT adds the inverse DCT of a block of coefficients: section 14.3. The factors have 16 fraction bits.
func (a *Area) AddDCT(at int, c *[16]int16) {
	const (
		f1 = 85627 // sqrt(2) * cos(pi/8)
		f2 = 35468 // sqrt(2) * sin(pi/8)
	)
	var m [16]int32
	for i := range 4 {
		c0, c1, c2, c3 := int32(c[i]), int32(c[4+i]), int32(c[8+i]), int32(c[12+i])
		even, odd := c0+c2, c0-c2
		s := c1*f2>>16 - c3*f1>>16
		t := c1*f1>>16 + c3*f2>>16
		m[i], m[4+i], m[8+i], m[12+i] = even+t, odd+s, odd-s, even-t
	}
	for y := range 4 {
		c0, c1, c2, c3 := m[4*y], m[4*y+1], m[4*y+2], m[4*y+3]
		even, odd := c0+4+c2, c0+4-c2
		s := c1*f2>>16 - c3*f1>>16
		t := c1*f1>>16 + c3*f2>>16
		row := a[at+y*Stride:][:4]
		row[0] = Clamp(int32(row[0]) + (even+t)>>3)
		row[1] = Clamp(int32(row[1]) + (odd+s)>>3)
		row[2] = Clamp(int32(row[2]) + (odd-s)>>3)
		row[3] = Clamp(int32(row[3]) + (even-t)>>3)
	}
}

// AddDC is AddDCT for a block with no other coefficient than the first.
func (a *Area) AddDC(at int, dc int16) {
	v := (int32(dc) + 4) >> 3
	for y := range 4 {
		row := a[at+y*Stride:][:4]
		row[0] = Clamp(int32(row[0]) + v)
		row[1] = Clamp(int32(row[1]) + v)
		row[2] = Clamp(int32(row[2]) + v)
		row[3] = Clamp(int32(row[3]) + v)
	}
}

// InverseWHT stores the inverse Walsh-Hadamard transform of c in the first coefficients of the luma blocks: section
// 14.3.
func InverseWHT(c *[16]int16, blocks *[25][16]int16) {
	var m [16]int32
	for i := range 4 {
		c0, c1, c2, c3 := int32(c[i]), int32(c[4+i]), int32(c[8+i]), int32(c[12+i])
		a, b := c0+c3, c1+c2
		d, e := c0-c3, c1-c2
		m[i], m[4+i], m[8+i], m[12+i] = a+b, d+e, a-b, d-e
	}
	for y := range 4 {
		c0, c1, c2, c3 := m[4*y]+3, m[4*y+1], m[4*y+2], m[4*y+3]
		a, b := c0+c3, c1+c2
		d, e := c0-c3, c1-c2
		blocks[4*y][0] = int16((a + b) >> 3)
		blocks[4*y+1][0] = int16((d + e) >> 3)
		blocks[4*y+2][0] = int16((a - b) >> 3)
		blocks[4*y+3][0] = int16((d - e) >> 3)
	}
}

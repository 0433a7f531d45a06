package heif

// bits reads numbers bit by bit, the most significant bit first. Reads beyond the end return zero and set bad.
type bits struct {
	data []byte
	pos  int // in bits
	bad  bool
}

func (b *bits) skip(n int) {
	if n > 8*len(b.data)-b.pos {
		n, b.bad = 8*len(b.data)-b.pos, true
	}
	b.pos += n
}

// read returns the next n bits, n being at most 32.
func (b *bits) read(n int) (v uint32) {
	if n > 8*len(b.data)-b.pos {
		b.pos, b.bad = 8*len(b.data), true
		return 0
	}
	for range n {
		v = v<<1 | uint32(b.data[b.pos>>3]>>(7-b.pos&7)&1)
		b.pos++
	}
	return v
}

func (b *bits) flag() bool { return b.read(1) == 1 }

// golomb returns the next number in the unsigned Exp-Golomb code of ITU-T H.265, 9.2, which is also uvlc() of AV1. Callers use
// it to skip signed numbers too.
func (b *bits) golomb() uint32 {
	zeros := 0
	for !b.flag() {
		if zeros++; b.bad || zeros > 31 {
			b.bad = true
			return 0
		}
	}
	return 1<<zeros - 1 + b.read(zeros)
}

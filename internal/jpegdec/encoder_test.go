package jpegdec

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// A testPicture is a picture in coefficients. Its encoder can write what image/jpeg cannot: any sampling factors, scans,
// restart intervals and tables. It follows T.81 and shares only tables with the decoder.
type testPicture struct {
	w, h        int
	progressive bool
	comps       []testComp
	scans       []testScan // nil means one scan of all components
	restart     int        // MCUs between restart markers
	markers     []byte     // segments before the frame header
	dnl         int        // height in a DNL segment after the first scan, instead of that in the frame header; or 0

	arithmetic   bool
	conditioning conditioning // of tables 0 and 1
}

type testComp struct {
	id     byte
	h, v   int
	quant  [64]uint16 // in zig-zag order
	coef   [][64]int  // quantized, in zig-zag order, of whole MCUs
	bw, bh int        // number of blocks in coef
	compW  int        // size in samples
	compH  int
	blocks [2]int // number of blocks in a scan of this component alone
}

type testScan struct {
	comps          []int
	ss, se, ah, al int
}

// simpleProgression is the default of libjpeg.
var simpleProgression = []testScan{
	{[]int{0, 1, 2}, 0, 0, 0, 1},
	{[]int{0}, 1, 5, 0, 2},
	{[]int{2}, 1, 63, 0, 1},
	{[]int{1}, 1, 63, 0, 1},
	{[]int{0}, 6, 63, 0, 2},
	{[]int{0}, 1, 63, 2, 1},
	{[]int{0, 1, 2}, 0, 0, 1, 0},
	{[]int{2}, 1, 63, 1, 0},
	{[]int{1}, 1, 63, 1, 0},
	{[]int{0}, 1, 63, 1, 0},
}

// randomProgression returns the scans of a random progression for n components.
func randomProgression(rnd *rand.Rand, n int) (scans []testScan) {
	dc := testScan{al: rnd.IntN(3)}
	for i := range n {
		dc.comps = append(dc.comps, i)
	}
	if rnd.IntN(4) == 0 {
		for i := range n {
			scans = append(scans, testScan{comps: []int{i}, al: dc.al})
		}
	} else {
		scans = append(scans, dc)
	}
	type bandState struct{ comp, ss, se, al int }
	var bands []bandState
	for i := range n {
		for ss := 1; ss < 64; {
			se := min(63, ss+rnd.IntN(64))
			al := rnd.IntN(4)
			scans = append(scans, testScan{[]int{i}, ss, se, 0, al})
			bands = append(bands, bandState{i, ss, se, al})
			ss = se + 1
		}
	}
	for dc.al > 0 {
		dc.ah, dc.al = dc.al, dc.al-1
		scans = append(scans, dc)
	}
	// Neighboring bands with the same remaining bits may be refined together, as libjpeg does.
	for i := 0; i+1 < len(bands); {
		a, b := bands[i], bands[i+1]
		if a.comp == b.comp && a.al == b.al && rnd.IntN(4) > 0 {
			bands[i].se = b.se
			bands = slices.Delete(bands, i+1, i+2)
		} else {
			i++
		}
	}
	for _, b := range bands {
		for ; b.al > 0; b.al-- {
			scans = append(scans, testScan{[]int{b.comp}, b.ss, b.se, b.al, b.al - 1})
		}
	}
	return scans
}

// layOut sets the sizes in blocks and samples and makes room for coefficients.
func (p *testPicture) layOut() {
	maxH, maxV := 1, 1
	for _, c := range p.comps {
		maxH, maxV = max(maxH, c.h), max(maxV, c.v)
	}
	up := func(a, b int) int { return (a + b - 1) / b }
	for i := range p.comps {
		c := &p.comps[i]
		h, v, mh, mv := c.h, c.v, maxH, maxV
		if len(p.comps) == 1 {
			h, v, mh, mv = 1, 1, 1, 1
		}
		c.compW, c.compH = up(p.w*h, mh), up(p.h*v, mv)
		c.blocks = [2]int{up(c.compW, 8), up(c.compH, 8)}
		c.bw, c.bh = up(p.w, 8*mh)*h, up(p.h, 8*mv)*v
		c.coef = make([][64]int, c.bw*c.bh)
	}
}

// fillRandom sets random coefficients, fewer and smaller ones at higher frequencies. Their sum is bounded, so that no
// decoder overflows.
func (p *testPicture) fillRandom(rnd *rand.Rand) {
	p.layOut()
	for i := range p.comps {
		c := &p.comps[i]
		for k := range c.quant {
			c.quant[k] = uint16(1 + rnd.IntN(1+k/2))
		}
		density := rnd.Float64()
		for j := range c.coef {
			b := &c.coef[j]
			b[0] = (rnd.IntN(1800) - 900) / int(c.quant[0])
			budget := 1000
			for k := 1; k < 64; k++ {
				if rnd.Float64() > density*density*8/float64(8+k) {
					continue
				}
				lim := min(budget, 1200/k) / int(c.quant[k])
				if lim < 1 {
					continue
				}
				b[k] = rnd.IntN(2*lim+1) - lim
				budget -= max(b[k], -b[k]) * int(c.quant[k])
			}
		}
	}
}

// A token is a symbol of a table and the bits after it.
type token struct {
	table   int // class<<4 | number; -1 for bits without a symbol; -2 for a restart marker
	symbol  byte
	bits, n uint
}

type tokenWriter struct {
	p      *testPicture
	s      *testScan
	tokens []token

	pred        [4]int
	eobRun      int
	corrections []uint // bits of already nonzero coefficients in the run
	table       int
}

// size returns the number of bits of the magnitude of v.
func size(v int) (n uint) {
	for v = max(v, -v); v > 0; v >>= 1 {
		n++
	}
	return n
}

// value returns the bits that code v after its size (T.81 F.1.2.1).
func value(v int) (bits, n uint) {
	n = size(v)
	if v < 0 {
		v += 1<<n - 1
	}
	return uint(v), n
}

func (t *tokenWriter) put(table int, symbol uint, bits, n uint) {
	t.tokens = append(t.tokens, token{table, byte(symbol), bits, n})
}

func (t *tokenWriter) putBits(corrections []uint) {
	for _, b := range corrections {
		t.put(-1, 0, b, 1)
	}
}

// block adds the tokens of block b of component i.
func (t *tokenWriter) block(i, table int, b *[64]int) {
	if t.s.ss == 0 {
		if t.s.ah > 0 {
			t.put(-1, 0, uint(b[0]>>t.s.al)&1, 1)
			return
		}
		v := b[0] >> t.s.al
		bits, n := value(v - t.pred[i])
		t.pred[i] = v
		t.put(table, n, bits, n)
	}
	if t.s.se == 0 {
		return
	}
	t.table = 0x10 | table
	if t.s.ah > 0 {
		t.refine(b)
		return
	}
	run := uint(0)
	for k := max(t.s.ss, 1); k <= t.s.se; k++ {
		v := b[k] / (1 << t.s.al) // towards zero, G.1.2.2
		if v == 0 {
			run++
			continue
		}
		t.endRun()
		for ; run > 15; run -= 16 {
			t.put(t.table, 0xf0, 0, 0)
		}
		bits, n := value(v)
		t.put(t.table, run<<4|n, bits, n)
		run = 0
	}
	if run > 0 {
		t.eobRun++
		if !t.p.progressive || t.eobRun == 0x7fff {
			t.endRun()
		}
	}
}

// refine adds the tokens of a refinement of block b (T.81 figure G.7).
func (t *tokenWriter) refine(b *[64]int) {
	var abs [64]int
	eob := 0
	for k := t.s.ss; k <= t.s.se; k++ {
		abs[k] = max(b[k], -b[k]) >> t.s.al
		if abs[k] == 1 {
			eob = k
		}
	}
	run := uint(0)
	var corrections []uint
	for k := t.s.ss; k <= t.s.se; k++ {
		if abs[k] == 0 {
			run++
			continue
		}
		for run > 15 && k <= eob {
			t.endRun()
			t.put(t.table, 0xf0, 0, 0)
			t.putBits(corrections)
			corrections = nil
			run -= 16
		}
		if abs[k] > 1 {
			corrections = append(corrections, uint(abs[k]&1))
			continue
		}
		t.endRun()
		sign := uint(1)
		if b[k] < 0 {
			sign = 0
		}
		t.put(t.table, run<<4|1, sign, 1)
		t.putBits(corrections)
		corrections = nil
		run = 0
	}
	if run > 0 || len(corrections) > 0 {
		t.eobRun++
		t.corrections = append(t.corrections, corrections...)
		if t.eobRun == 0x7fff {
			t.endRun()
		}
	}
}

// endRun adds the tokens of the blocks counted in eobRun.
func (t *tokenWriter) endRun() {
	if t.eobRun == 0 {
		return
	}
	n := size(t.eobRun) - 1
	t.put(t.table, n<<4, uint(t.eobRun)&(1<<n-1), n)
	t.putBits(t.corrections)
	t.eobRun, t.corrections = 0, nil
}

// scan returns the tokens of the scan.
func (t *tokenWriter) scan() []token {
	t.p.walk(t.s, func(interval int) {
		t.endRun()
		t.pred = [4]int{}
		t.tokens = append(t.tokens, token{table: -2, symbol: byte(interval-1) & 7})
	}, func(i int, b *[64]int) { t.block(i, i&1, b) })
	t.endRun()
	return t.tokens
}

// walk calls block for each block of a scan in order, with its component, and restart before each restart interval
// except the first.
func (p *testPicture) walk(s *testScan, restart func(interval int), block func(i int, b *[64]int)) {
	n := 0
	beginMCU := func() {
		if p.restart > 0 && n > 0 && n%p.restart == 0 {
			restart(n / p.restart)
		}
		n++
	}
	if len(s.comps) == 1 {
		i := s.comps[0]
		c := &p.comps[i]
		for y := range c.blocks[1] {
			for x := range c.blocks[0] {
				beginMCU()
				block(i, &c.coef[y*c.bw+x])
			}
		}
		return
	}
	c0 := &p.comps[s.comps[0]]
	for y := range c0.bh / c0.v {
		for x := range c0.bw / c0.h {
			beginMCU()
			for _, i := range s.comps {
				c := &p.comps[i]
				for j := range c.h * c.v {
					block(i, &c.coef[(y*c.v+j/c.h)*c.bw+x*c.h+j%c.h])
				}
			}
		}
	}
}

// codes returns a Huffman table for symbols of the given frequencies (T.81 K.2): the number of codes of each length, and
// the symbols in order.
func codes(freq *[256]int) (counts [16]byte, symbols []byte) {
	type node struct {
		freq    int
		symbols []int // 256 stands for the code of all ones, which must not be used
	}
	nodes := []node{{0, []int{256}}}
	var lengths [257]int
	for s, f := range freq {
		if f > 0 {
			nodes = append(nodes, node{f, []int{s}})
		}
	}
	for len(nodes) > 1 {
		slices.SortStableFunc(nodes, func(a, b node) int { return a.freq - b.freq })
		a, b := nodes[0], nodes[1]
		all := append(slices.Clone(a.symbols), b.symbols...)
		for _, s := range all {
			lengths[s]++
		}
		nodes = append(nodes[2:], node{a.freq + b.freq, all})
	}
	var byLength [300]int
	for _, n := range lengths {
		if n > 0 {
			byLength[n]++
		}
	}
	for n := len(byLength) - 1; n > 16; {
		if byLength[n] == 0 {
			n--
			continue
		}
		j := n - 2
		for byLength[j] == 0 {
			j--
		}
		byLength[n] -= 2
		byLength[n-1]++
		byLength[j+1] += 2
		byLength[j]--
	}
	n := 16
	for byLength[n] == 0 {
		n--
	}
	byLength[n]--
	for s := range 256 {
		if freq[s] > 0 {
			symbols = append(symbols, byte(s))
		}
	}
	slices.SortStableFunc(symbols, func(a, b byte) int { return lengths[a] - lengths[b] })
	for i := range counts {
		counts[i] = byte(byLength[i+1])
	}
	return counts, symbols
}

// appendSegment appends a marker with its parameters.
func appendSegment(dst []byte, marker byte, data []byte) []byte {
	dst = append(dst, 0xff, marker)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(data)+2))
	return append(dst, data...)
}

// encode returns the picture as a file.
func (p *testPicture) encode() []byte {
	out := append([]byte{0xff, markerSOI}, p.markers...)
	for i, c := range p.comps {
		wide := slices.Max(c.quant[:]) > 255
		dqt := []byte{byte(i)}
		if wide {
			dqt[0] |= 0x10
		}
		for _, q := range c.quant {
			if wide {
				dqt = append(dqt, byte(q>>8))
			}
			dqt = append(dqt, byte(q))
		}
		out = appendSegment(out, markerDQT, dqt)
	}
	h := p.h
	if p.dnl != 0 {
		h = 0
	}
	sof := []byte{8, byte(h >> 8), byte(h), byte(p.w >> 8), byte(p.w), byte(len(p.comps))}
	all := testScan{se: 63}
	for i, c := range p.comps {
		sof = append(sof, c.id, byte(c.h<<4|c.v), byte(i))
		all.comps = append(all.comps, i)
	}
	marker := byte(markerSOF0 + 1)
	if p.progressive {
		marker = markerSOF2
	}
	if p.arithmetic {
		marker += markerSOF9 - markerSOF1
	}
	out = appendSegment(out, marker, sof)
	if p.arithmetic && p.conditioning != defaultConditioning {
		c := &p.conditioning
		out = appendSegment(out, markerDAC, []byte{
			0x00, c.upper[0]<<4 | c.lower[0], 0x01, c.upper[1]<<4 | c.lower[1], 0x10, c.limit[0], 0x11, c.limit[1],
		})
	}
	if p.restart > 0 {
		out = appendSegment(out, markerDRI, binary.BigEndian.AppendUint16(nil, uint16(p.restart)))
	}
	scans := p.scans
	if scans == nil {
		scans = []testScan{all}
	}
	for i := range scans {
		if p.arithmetic {
			out = p.appendArithmeticScan(out, &scans[i])
		} else {
			out = p.appendScan(out, &scans[i])
		}
		if i == 0 && p.dnl != 0 {
			out = appendSegment(out, markerDNL, binary.BigEndian.AppendUint16(nil, uint16(p.dnl)))
		}
	}
	return append(out, 0xff, markerEOI)
}

// appendScan appends the tables, the SOS segment and the data of a scan.
func (p *testPicture) appendScan(out []byte, s *testScan) []byte {
	tokens := (&tokenWriter{p: p, s: s}).scan()
	var freq [32][256]int
	for _, t := range tokens {
		if t.table >= 0 {
			freq[t.table][t.symbol]++
		}
	}
	var code, length [32][256]uint
	for i := range freq {
		if freq[i] == [256]int{} {
			continue
		}
		counts, symbols := codes(&freq[i])
		out = appendSegment(out, markerDHT, slices.Concat([]byte{byte(i)}, counts[:], symbols))
		next, j := uint(0), 0
		for l, n := range counts {
			for range n {
				code[i][symbols[j]], length[i][symbols[j]] = next, uint(l+1)
				next++
				j++
			}
			next <<= 1
		}
	}
	out = p.appendSOS(out, s)

	acc, n := uint64(0), uint(0)
	flush := func() {
		for ; n >= 8; n -= 8 {
			b := byte(acc >> (n - 8))
			out = append(out, b)
			if b == 0xff {
				out = append(out, 0)
			}
		}
	}
	put := func(bits, k uint) {
		acc, n = acc<<k|uint64(bits), n+k
		flush()
	}
	for _, t := range tokens {
		if t.table == -2 {
			put(1<<(7&-n)-1, 7&-n)
			out = append(out, 0xff, markerRST0+t.symbol)
			continue
		}
		if t.table >= 0 {
			put(code[t.table][t.symbol], length[t.table][t.symbol])
		}
		put(t.bits, t.n)
	}
	put(1<<(7&-n)-1, 7&-n)
	return out
}

// jfif returns a JFIF APP0 segment.
func jfif() []byte {
	return appendSegment(nil, markerAPP0, []byte("JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"))
}

// adobe returns an Adobe APP14 segment.
func adobe(transform byte) []byte {
	return appendSegment(nil, markerAPP14, append([]byte("Adobe\x00\x64\x00\x00\x00\x00"), transform))
}

// appendSOS appends the SOS segment of a scan.
func (p *testPicture) appendSOS(out []byte, s *testScan) []byte {
	sos := []byte{byte(len(s.comps))}
	for _, i := range s.comps {
		sos = append(sos, p.comps[i].id, byte(i&1)*0x11)
	}
	return appendSegment(out, markerSOS, append(sos, byte(s.ss), byte(s.se), byte(s.ah<<4|s.al)))
}

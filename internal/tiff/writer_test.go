package tiff

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// An entry is a field of a directory that a test writes.
type entry struct {
	tag    uint16
	kind   Type
	values []uint64 // floats as their bits
}

func short(tag uint16, v ...uint64) entry { return entry{tag, Short, v} }
func long(tag uint16, v ...uint64) entry  { return entry{tag, Long, v} }

func undefined(tag uint16, data []byte) entry {
	e := entry{tag: tag, kind: Undefined}
	for _, b := range data {
		e.values = append(e.values, uint64(b))
	}
	return e
}

// A writer writes a file of TIFF structure.
type writer struct {
	order binary.ByteOrder
	big   bool
	buf   []byte
	link  int // where the offset of the next directory goes
}

func newWriter(order binary.ByteOrder, big bool) *writer {
	w := &writer{order: order, big: big}
	w.buf = append(w.buf, "II"...)
	if order == binary.BigEndian {
		w.buf = append(w.buf[:0], "MM"...)
	}
	if big {
		w.put(Short, 43, 8, 0)
	} else {
		w.put(Short, 42)
	}
	w.link = len(w.buf)
	w.offset(0)
	return w
}

func (w *writer) put(kind Type, values ...uint64) {
	for _, v := range values {
		var b [8]byte
		switch kind.size() {
		case 1:
			w.buf = append(w.buf, byte(v))
		case 2:
			w.order.PutUint16(b[:], uint16(v))
			w.buf = append(w.buf, b[:2]...)
		case 4:
			w.order.PutUint32(b[:], uint32(v))
			w.buf = append(w.buf, b[:4]...)
		case 8:
			w.order.PutUint64(b[:], v)
			w.buf = append(w.buf, b[:]...)
		}
	}
}

func (w *writer) offset(v int) {
	if w.big {
		w.put(Long8, uint64(v))
	} else {
		w.put(Long, uint64(v))
	}
}

// data appends bytes and returns where they are.
func (w *writer) data(p []byte) uint64 {
	at := len(w.buf)
	w.buf = append(w.buf, p...)
	return uint64(at)
}

// directory appends a directory and returns where it is. It is the next of the chain, or if sub is set, of none.
func (w *writer) directory(sub bool, entries ...entry) uint64 {
	slices.SortStableFunc(entries, func(a, b entry) int { return int(a.tag) - int(b.tag) })
	inline := 4
	if w.big {
		inline = 8
	}
	at := make([]int, len(entries))
	for i, e := range entries {
		if len(e.values)*int(e.kind.size()) > inline {
			at[i] = len(w.buf)
			w.put(e.kind, e.values...)
		}
	}
	start := len(w.buf)
	if !sub {
		end := w.buf
		w.buf = w.buf[:w.link]
		w.offset(start)
		w.buf = end
	}
	if w.big {
		w.put(Long8, uint64(len(entries)))
	} else {
		w.put(Short, uint64(len(entries)))
	}
	for i, e := range entries {
		w.put(Short, uint64(e.tag), uint64(e.kind))
		w.offset(len(e.values)) // the count has the size of an offset
		if at[i] != 0 {
			w.offset(at[i])
			continue
		}
		end := len(w.buf) + inline
		w.put(e.kind, e.values...)
		w.buf = append(w.buf, make([]byte, end-len(w.buf))...)
	}
	if !sub {
		w.link = len(w.buf)
	}
	w.offset(0)
	return uint64(start)
}

// A picture is what a test stores in a file.
type picture struct {
	w, h, samples, bits int
	format              int
	photometric         int
	compression         int
	predictor           int
	planar              bool
	reversed            bool
	blockW, blockH      int // a tile, or for strips blockH only
	value               func(x, y, s int) uint64
	oldLZW              bool
	compress            func(block []byte) []byte // in place of what compression says
	extra               []entry
}

// write appends the blocks of the picture and returns its directory.
func (p picture) write(w *writer) []entry {
	blockW, blockH := p.blockW, p.blockH
	if blockW == 0 {
		blockW = p.w
	}
	if blockH == 0 {
		blockH = p.h
	}
	planes, chunk := 1, p.samples
	if p.planar {
		planes, chunk = p.samples, 1
	}
	var offsets, counts []uint64
	for plane := range planes {
		for y := 0; y < p.h; y += blockH {
			for x := 0; x < p.w; x += blockW {
				rows := blockH
				if p.blockW == 0 {
					rows = min(rows, p.h-y) // a strip, not a tile
				}
				var block []byte
				for j := range rows {
					var values []uint64
					for i := range blockW {
						for s := range chunk {
							values = append(values, p.value(min(x+i, p.w-1), min(y+j, p.h-1), plane+s))
						}
					}
					block = append(block, p.row(values, chunk, w.order)...)
				}
				block = p.pack(block)
				if p.reversed {
					for i, b := range block {
						block[i] = bits.Reverse8(b)
					}
				}
				offsets = append(offsets, w.data(block))
				counts = append(counts, uint64(len(block)))
			}
		}
	}
	var each []uint64
	for range p.samples {
		each = append(each, uint64(p.bits))
	}
	entries := []entry{
		long(tagWidth, uint64(p.w)), long(tagLength, uint64(p.h)),
		short(tagBitsPerSample, each...),
		short(tagCompression, uint64(p.compression)),
		short(tagPhotometric, uint64(p.photometric)),
		short(tagSamplesPerPixel, uint64(p.samples)),
	}
	kind := Type(Long)
	if w.big {
		kind = Long8
	}
	if p.blockW > 0 {
		entries = append(entries, long(tagTileWidth, uint64(blockW)), long(tagTileLength, uint64(blockH)),
			entry{tagTileOffsets, kind, offsets}, entry{tagTileByteCounts, kind, counts})
	} else {
		entries = append(entries, long(tagRowsPerStrip, uint64(blockH)),
			entry{tagStripOffsets, kind, offsets}, entry{tagStripByteCounts, kind, counts})
	}
	if p.format > 1 {
		entries = append(entries, short(tagSampleFormat, uint64(p.format)))
	}
	if p.predictor > 1 {
		entries = append(entries, short(tagPredictor, uint64(p.predictor)))
	}
	if p.planar {
		entries = append(entries, short(tagPlanarConfig, 2))
	}
	if p.reversed {
		entries = append(entries, short(tagFillOrder, 2))
	}
	// What a test adds holds in place of what is there.
	entries = slices.DeleteFunc(entries, func(e entry) bool {
		return slices.ContainsFunc(p.extra, func(x entry) bool { return x.tag == e.tag })
	})
	return append(entries, p.extra...)
}

// row packs the samples of a row, chunk of which are a pixel.
func (p picture) row(values []uint64, chunk int, order binary.ByteOrder) []byte {
	mask := uint64(math.MaxUint64) >> (64 - p.bits)
	if p.predictor == 2 {
		for i := len(values) - 1; i >= chunk; i-- {
			values[i] = (values[i] - values[i-chunk]) & mask
		}
	}
	var row []byte
	if p.bits%8 != 0 {
		var acc, n uint64
		for _, v := range values {
			for i := p.bits - 1; i >= 0; i-- {
				acc = acc<<1 | v>>i&1
				if n++; n%8 == 0 {
					row = append(row, byte(acc))
				}
			}
		}
		if n%8 != 0 {
			row = append(row, byte(acc<<(8-n%8)))
		}
		return row
	}
	size := p.bits / 8
	if p.predictor == 3 {
		order = binary.BigEndian
	}
	for _, v := range values {
		var b [8]byte
		if order == binary.BigEndian {
			binary.BigEndian.PutUint64(b[:], v)
			row = append(row, b[8-size:]...)
		} else {
			binary.LittleEndian.PutUint64(b[:], v)
			row = append(row, b[:size]...)
		}
	}
	if p.predictor == 3 {
		apart := make([]byte, 0, len(row))
		for k := range size {
			for i := k; i < len(row); i += size {
				apart = append(apart, row[i])
			}
		}
		for i := len(apart) - 1; i >= chunk; i-- {
			apart[i] -= apart[i-chunk]
		}
		return apart
	}
	return row
}

func (p picture) pack(block []byte) []byte {
	switch {
	case p.compress != nil:
		return p.compress(block)
	case p.compression == compDeflate || p.compression == compOldDeflate:
		var b bytes.Buffer
		z, _ := zlib.NewWriterLevel(&b, zlib.BestSpeed)
		z.Write(block)
		z.Close()
		return b.Bytes()
	case p.compression == compLZW:
		return packLZW(block, p.oldLZW)
	case p.compression == compPackBits:
		return packBits(block)
	}
	return block
}

// file writes a file of one picture.
func (p picture) file(order binary.ByteOrder, big bool) []byte {
	w := newWriter(order, big)
	w.directory(false, p.write(w)...)
	return w.buf
}

// packBits writes runs where there are, and else literals, with no-ops between them.
func packBits(data []byte) (out []byte) {
	for len(data) > 0 {
		n := 1
		for n < len(data) && n < 128 && data[n] == data[0] {
			n++
		}
		if n > 1 {
			out = append(out, byte(1-n), data[0], 0x80)
			data = data[n:]
			continue
		}
		for n < len(data) && n < 128 && data[n] != data[n-1] {
			n++
		}
		out = append(out, byte(n-1))
		out = append(out, data[:n]...)
		data = data[n:]
	}
	return out
}

// packLZW writes LZW, of the old kind or the new.
func packLZW(data []byte, old bool) (out []byte) {
	var acc uint64
	n, width := 0, 9
	put := func(code int) {
		if old {
			acc |= uint64(code) << n
			for n += width; n >= 8; n -= 8 {
				out = append(out, byte(acc))
				acc >>= 8
			}
			return
		}
		acc = acc<<width | uint64(code)
		for n += width; n >= 8; n -= 8 {
			out = append(out, byte(acc>>(n-8)))
		}
	}
	early := 1
	if old {
		early = 0
	}
	table := map[[2]int]int{} // the code of a string, by the code of all but its last byte, and that
	const first, clearCode, end = 258, 256, 257
	next := first
	put(clearCode)
	code := -1
	for _, b := range data {
		if code < 0 {
			code = int(b)
			continue
		}
		key := [2]int{code, int(b)}
		if longer, ok := table[key]; ok {
			code = longer
			continue
		}
		put(code)
		table[key] = next
		next++
		// The reader defines a code one step later than the writer.
		if next-1 >= 1<<width-early && width < 12 {
			width++
		}
		if next == 4094 {
			put(clearCode)
			clear(table)
			next, width = first, 9
		}
		code = int(b)
	}
	if code >= 0 {
		put(code)
		if next >= 1<<width-early && width < 12 {
			width++
		}
	}
	put(end)
	if n > 0 {
		if old {
			out = append(out, byte(acc))
		} else {
			out = append(out, byte(acc<<(8-n)))
		}
	}
	return out
}

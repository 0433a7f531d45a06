package tiff

import (
	"bytes"
	"encoding/binary"
	"image"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/image/ccitt"
)

// A faxWriter encodes rows of bits, of which true is black, as T.4 and T.6 describe it.
type faxWriter struct {
	bits  strings.Builder
	above []bool
}

func (w *faxWriter) run(black bool, n int) {
	codes := strings.Fields(whiteCodes)
	if black {
		codes = strings.Fields(blackCodes)
	}
	long := strings.Fields(longCodes)
	for ; n >= 2560; n -= 2560 {
		w.bits.WriteString(long[len(long)-1])
	}
	switch {
	case n >= 1792:
		w.bits.WriteString(long[(n-1792)/64])
	case n >= 64:
		w.bits.WriteString(codes[63+n/64])
	}
	w.bits.WriteString(codes[n%64])
}

// change returns where the colour of a row first differs from colour, from one place on.
func change(row []bool, from int, colour bool) int {
	for from < len(row) && row[from] == colour {
		from++
	}
	return from
}

func (w *faxWriter) write1D(row []bool) {
	colour := false
	for at := 0; at < len(row); colour = !colour {
		next := change(row, at, colour)
		w.run(colour, next-at)
		at = next
	}
	w.above = row
}

func (w *faxWriter) write2D(row []bool) {
	if w.above == nil {
		w.above = make([]bool, len(row))
	}
	modes := strings.Fields(modeCodes)
	a0, colour := -1, false
	for a0 < len(row) {
		a1 := change(row, max(a0, 0), colour)
		// b1 is the first change above to the other colour, to the right of a0.
		b1 := a0 + 1
		for b1 < len(row) && (w.above[b1] == colour || b1 > 0 && w.above[b1-1] != colour) {
			b1++
		}
		b2 := change(w.above, b1, !colour)
		switch {
		case b2 < a1:
			w.bits.WriteString(modes[modePass])
			a0 = b2
		case a1-b1 >= -3 && a1-b1 <= 3:
			w.bits.WriteString(modes[a1-b1+3])
			a0, colour = a1, !colour
		default:
			w.bits.WriteString(modes[modeHorizontal])
			a2 := change(row, a1, !colour)
			w.run(colour, a1-max(a0, 0))
			w.run(!colour, a2-a1)
			a0 = a2
		}
	}
	w.above = row
}

func (w *faxWriter) align() {
	for w.bits.Len()%8 != 0 {
		w.bits.WriteByte('0')
	}
}

func (w *faxWriter) bytes() []byte {
	w.align()
	s := w.bits.String()
	out := make([]byte, len(s)/8)
	for i, c := range s {
		out[i/8] |= byte(c-'0') << (7 - i%8)
	}
	return out
}

const faxEOL = "000000000001"

// encodeFax encodes rows. The kinds are those of TestFax.
func encodeFax(kind string, rows [][]bool) []byte {
	w := new(faxWriter)
	for i, row := range rows {
		switch kind {
		case "RLE":
			w.align()
			w.write1D(row)
		case "G3 without EOL":
			w.write1D(row)
		case "G3":
			w.bits.WriteString(faxEOL)
			w.write1D(row)
		case "G3 aligned": // the EOL code ends at a byte
			for (w.bits.Len()+len(faxEOL))%8 != 0 {
				w.bits.WriteByte('0')
			}
			w.bits.WriteString(faxEOL)
			w.write1D(row)
		case "G3 2D":
			w.bits.WriteString(faxEOL)
			if i%4 == 0 {
				w.bits.WriteByte('1')
				w.write1D(row)
			} else {
				w.bits.WriteByte('0')
				w.write2D(row)
			}
		case "G4":
			w.write2D(row)
		}
	}
	switch kind {
	case "G4":
		w.bits.WriteString(faxEOL + faxEOL)
	case "G3", "G3 aligned":
		w.bits.WriteString(strings.Repeat(faxEOL, 6))
	}
	return w.bytes()
}

// faxRows returns rows of runs that are alike from row to row.
func faxRows(r *rand.Rand, width, height int) [][]bool {
	rows := make([][]bool, height)
	longest := 1 + r.IntN(2*width)
	for y := range rows {
		rows[y] = make([]bool, width)
		if y > 0 && r.IntN(3) > 0 {
			shift := r.IntN(9) - 4
			for x := range width {
				rows[y][x] = rows[y-1][min(max(x+shift, 0), width-1)]
			}
			if r.IntN(2) == 0 {
				rows[y][r.IntN(width)] = r.IntN(2) == 0
			}
			continue
		}
		colour := r.IntN(2) == 0
		for x := 0; x < width; colour = !colour {
			for n := 1 + r.IntN(longest); n > 0 && x < width; n-- {
				rows[y][x] = colour
				x++
			}
		}
	}
	return rows
}

func TestFax(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for kind, field := range map[string]struct {
		compression int
		options     uint64
	}{
		"RLE": {compRLE, 0}, "G3": {compG3, 0}, "G3 without EOL": {compG3, 0}, "G3 aligned": {compG3, 4}, "G3 2D": {compG3, 1}, "G4": {compG4, 0},
	} {
		for round := range 20 {
			width, height := 1+r.IntN(200), 1+r.IntN(30)
			if round%10 == 0 {
				width += 3000 // runs beyond 2560
			}
			rows := faxRows(r, width, height)
			data := encodeFax(kind, rows)
			for _, photometric := range []int{whiteIsZero, blackIsZero} {
				for _, reversed := range []bool{false, true} {
					p := picture{w: width, h: height, value: func(x, y, s int) uint64 { return 0 }, reversed: reversed}
					fax(&p, field.compression, field.options, data)
					p.compress = func([]byte) []byte { return bytes.Clone(data) }
					p.photometric = photometric
					img, err := decode(p.file(binary.LittleEndian, false))
					if err != nil {
						t.Fatalf("%s, %d x %d: %v", kind, width, height, err)
					}
					for y, row := range rows {
						for x, black := range row {
							// In the terms of facsimile white is 0, which BlackIsZero shows as black.
							want := byte(255)
							if black == (photometric == whiteIsZero) {
								want = 0
							}
							if got := img.(*image.Gray).GrayAt(x, y).Y; got != want {
								t.Fatalf("%s, %d x %d, at %d,%d: %d, want %d", kind, width, height, x, y, got, want)
							}
						}
					}
				}
			}
			// The tables of codes are ours on both sides. So let another decoder have a look.
			format := ccitt.Group4
			switch kind {
			case "G3":
				format = ccitt.Group3
			case "G4":
			default:
				continue
			}
			packed, err := io.ReadAll(ccitt.NewReader(bytes.NewReader(data), ccitt.MSB, format, width, height, nil))
			if err != nil {
				t.Fatalf("%s, %d x %d: %v", kind, width, height, err)
			}
			for y, row := range rows {
				for x, black := range row {
					bit := packed[y*((width+7)/8)+x/8] >> (7 - x%8) & 1
					if (bit == 0) != black {
						t.Fatalf("%s, %d x %d, at %d,%d: golang.org/x/image/ccitt has %d", kind, width, height, x, y, bit)
					}
				}
			}
		}
	}
}

// Every run has a code, and no code begins another.
func TestFaxCodes(t *testing.T) {
	for colour, codes := range []string{whiteCodes, blackCodes} {
		list := append(strings.Fields(codes), strings.Fields(longCodes)...)
		if len(list) != 64+27+13 {
			t.Errorf("colour %d: %d codes", colour, len(list))
		}
		list = append(list, faxEOL)
		for i, a := range list {
			for j, b := range list {
				if i != j && strings.HasPrefix(b, a) {
					t.Errorf("colour %d: %s begins %s", colour, a, b)
				}
			}
		}
	}
}

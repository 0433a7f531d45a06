package thumbhash

import (
	"encoding/hex"
	"strings"
	"testing"
)

// picture returns samples that can be reproduced in any language, since they need integers only.
func picture(kind string, w, h int) []byte {
	pix := make([]byte, 0, 4*w*h)
	for y := range h {
		for x := range w {
			p := [4]byte{byte(255 * x / w), byte(255 * y / h), byte(x * y * 7), 255}
			switch {
			case kind == "alpha":
				p[3] = byte(255 * (x + y) / (w + h))
			case kind == "hole":
				p = [4]byte{200, byte(40 + 3*x), byte(80 + 5*y), 255}
				if 3*x < w {
					p[3] = 0
				}
			case kind == "tiles" && (3*x/w+3*y/h)&1 == 1:
				p = [4]byte{250, 220, 30, 255}
			case kind == "tiles":
				p = [4]byte{20, 30, 140, 255}
			}
			pix = append(pix, p[:]...)
		}
	}
	return pix
}

// The hashes equal those of the reference implementation, npm package thumbhash 0.1.1. A term of zero is halfway between 7
// and 8, so that rounding errors decide: the test takes these as equal.
func TestReferenceHashes(t *testing.T) {
	for _, test := range []struct {
		kind string
		w, h int
		want string
	}{
		{"slope", 32, 24, "1e080a2d9a7076777077777787687777a0800af887"},
		{"slope", 24, 32, "1ef8092d1a7076707777776787777877a0800af778"},
		{"slope", 31, 30, "1ef8092f9a70767770777777776877788776070aa8807f08"},
		{"slope", 32, 3, "d7480e219a71867780886779b56b0ff888"},
		{"slope", 1, 32, "ca0915793c08848b78878887088478bf78"},
		{"slope", 7, 6, "96090e1e9a80877790888887887888788887870707f888"},
		{"tiles", 32, 20, "db180a3c824798877787787380880777707007"},
		{"tiles", 11, 31, "db080a4202377747068889770677627027"},
		{"alpha", 32, 24, "a20886148c27a086b0887968080bbba07f0678288888888708"},
		{"alpha", 10, 32, "a1c885120c2770b2a86888c2b00ce85975778088887788"},
		{"alpha", 31, 31, "a20886150c279086b088896888b0b00bf96880878087787888"},
		{"hole", 32, 31, "e6b7862d844aa677b079877888974fd7807840988788888887"},
		{"hole", 32, 7, "a1b98209844af267937877e34fd7808840988888877888"},
	} {
		got := hex.EncodeToString(Encode(picture(test.kind, test.w, test.h), test.w, test.h, test.w, test.h))
		if got[:10] != test.want[:10] || strings.ReplaceAll(got[10:], "8", "7") != strings.ReplaceAll(test.want[10:], "8", "7") {
			t.Errorf("%s %d x %d: got %s, want %s", test.kind, test.w, test.h, got, test.want)
		}
	}
}

// A picture of one colour has a mean and no other terms. Rounding errors do not show.
func TestOneColour(t *testing.T) {
	for name, test := range map[string]struct {
		colour [4]byte
		w, h   int
		head   string // of the reference implementation
		length int
	}{
		"white":       {[4]byte{255, 255, 255, 255}, 32, 32, "3f0802", 24},
		"black":       {[4]byte{0, 0, 0, 255}, 32, 32, "000802", 24},
		"transparent": {[4]byte{}, 32, 32, "000882", 25},
		"one":         {[4]byte{255, 0, 0, 255}, 1, 1, "d5fb2b", 24},
		"line":        {[4]byte{0, 0, 255, 255}, 32, 1, "15002a", 17},
	} {
		pix := make([]byte, 0, 4*test.w*test.h)
		for range test.w * test.h {
			pix = append(pix, test.colour[:]...)
		}
		hash := Encode(pix, test.w, test.h, test.w, test.h)
		if got := hex.EncodeToString(hash[:3]); got != test.head || len(hash) != test.length {
			t.Errorf("%s: got %x, want %d bytes that begin with %s", name, hash, test.length, test.head)
		}
		for _, b := range hash[5:] {
			// The waves do not cancel if there is only one sample.
			if b != 0 && test.h > 1 {
				t.Errorf("%s: %x has terms", name, hash)
			}
		}
	}
}

// The header holds the shape of the picture, not that of the grid.
func TestHeaderShape(t *testing.T) {
	for _, test := range []struct {
		w, h      int
		landscape bool
		short     byte
	}{
		{300, 300, false, 7}, {300, 200, true, 5}, {200, 300, false, 5}, {300, 1, true, 1}, {1, 300, false, 1},
		{1920, 1080, true, 4}, {1080, 1920, false, 4}, {1, 1 << 30, false, 1}, {1<<31 - 1, 1<<31 - 1, false, 7}, {1<<31 - 1, 1 << 30, true, 4},
	} {
		hash := Encode(picture("slope", 32, 32), 32, 32, test.w, test.h)
		if landscape, short := hash[4]>>7 != 0, hash[3]&7; landscape != test.landscape || short != test.short {
			t.Errorf("%d x %d: landscape %v, %d terms", test.w, test.h, landscape, short)
		}
	}
}

// length returns the length of a hash according to its header.
func length(hash []byte) int {
	long, rest, alpha := 7, 0, hash[2]>>7 != 0
	if alpha {
		long, rest = 5, 14
	}
	short := max(3, int(hash[3]&7))
	nx, ny := short, long
	if hash[4]>>7 != 0 {
		nx, ny = long, short
	}
	terms := -1 + 5 + 5 + rest
	for y := range ny {
		for x := 0; x*ny < nx*(ny-y); x++ {
			terms++
		}
	}
	if alpha {
		return 6 + (terms+1)/2
	}
	return 5 + (terms+1)/2
}

func FuzzEncode(f *testing.F) {
	for _, kind := range []string{"slope", "tiles", "alpha", "hole"} {
		f.Add(picture(kind, 32, 20), uint8(31), uint8(19), uint16(300), uint16(188))
		f.Add(picture(kind, 1, 9), uint8(0), uint8(8), uint16(1), uint16(9))
	}
	f.Fuzz(func(t *testing.T, pix []byte, cols, rows uint8, width, height uint16) {
		c, r := int(cols)%Edge+1, int(rows)%Edge+1
		pix = append(pix, make([]byte, 4*c*r)...)
		hash := Encode(pix, c, r, int(width)+1, int(height)+1)
		if len(hash) != length(hash) || len(hash) > MaxLen {
			t.Errorf("%d x %d: %x has %d bytes, want %d", width, height, hash, len(hash), length(hash))
		}
		opaque := true
		for i := range c * r {
			opaque = opaque && pix[4*i+3] == 255
		}
		if hash[2]>>7 != 0 == opaque {
			t.Errorf("%x: wrong alpha flag, opaque is %v", hash, opaque)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, kind := range []string{"slope", "alpha"} {
		pix := picture(kind, 32, 24)
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Encode(pix, 32, 24, 300, 225)
			}
		})
	}
}

package render

import (
	"context"
	"encoding/binary"
	"errors"
	"image/color"
	"testing"
)

// buildICO returns an icon, or a cursor if kind is 2. Its directory has the right dimensions only if they fit a byte.
func buildICO(kind byte, images ...[]byte) []byte {
	data := []byte{0, 0, kind, 0}
	data = binary.LittleEndian.AppendUint16(data, uint16(len(images)))
	at := len(data) + 16*len(images)
	for _, m := range images {
		var width, height byte
		if string(m[:4]) != "\x89PNG" {
			width, height = m[4], byte(binary.LittleEndian.Uint32(m[8:])/2)
		}
		data = append(data, width, height, 0, 0, 1, 0, 0, 0)
		data = binary.LittleEndian.AppendUint32(data, uint32(len(m)))
		data = binary.LittleEndian.AppendUint32(data, uint32(at))
		at += len(m)
	}
	for _, m := range images {
		data = append(data, m...)
	}
	return data
}

// iconImage returns a bitmap with its mask. Unless clear is set, all pixels are visible.
func iconImage(b bitmap, clear bool) []byte {
	if b.bits <= 8 {
		b.colours = uint32(min(4, 1<<b.bits))
	}
	data, _ := b.dib()
	binary.LittleEndian.PutUint32(data[8:], uint32(2*b.height))
	mask := make([]byte, (b.width+31)/32*4*b.height)
	for i := range mask {
		if clear {
			mask[i] = 0xff
		}
	}
	return append(data, mask...)
}

func TestICO(t *testing.T) {
	quarters32 := func(size int) bitmap { return bitmap{width: size, height: size, header: 40, bits: 32, alpha: 255} }
	blank := func(b bitmap) bitmap {
		b.pixels = make([]byte, (b.width*b.bits+31)/32*4*b.height)
		return b
	}
	with := func(b bitmap, bits int, alpha byte) bitmap {
		b.bits, b.alpha = bits, alpha
		return b
	}
	whole := encodeAs(t, "png", quarters(256, 256))
	for name, test := range map[string]struct {
		data      []byte
		alpha     byte
		tolerance int
	}{
		"32 bits":                   {buildICO(1, iconImage(quarters32(48), false)), 255, 2},
		"32 bits, half clear":       {buildICO(1, iconImage(with(quarters32(48), 32, 128), false)), 128, 2},
		"32 bits, mask ignored":     {buildICO(1, iconImage(quarters32(48), true)), 255, 2},
		"32 bits, alpha unknown":    {buildICO(1, iconImage(with(quarters32(48), 32, 0), false)), 255, 2},
		"24 bits":                   {buildICO(1, iconImage(with(quarters32(48), 24, 0), false)), 255, 2},
		"16 bits":                   {buildICO(1, iconImage(with(quarters32(48), 16, 0), false)), 255, 9},
		"8 bits":                    {buildICO(1, iconImage(with(quarters32(48), 8, 0), false)), 255, 2},
		"4 bits":                    {buildICO(1, iconImage(with(quarters32(48), 4, 0), false)), 255, 2},
		"cursor":                    {buildICO(2, iconImage(quarters32(48), false)), 255, 2},
		"PNG":                       {buildICO(1, whole), 255, 2},
		"the largest, last":         {buildICO(1, iconImage(blank(quarters32(16)), true), iconImage(quarters32(48), false)), 255, 2},
		"the largest, first":        {buildICO(1, iconImage(quarters32(48), false), iconImage(blank(quarters32(32)), true)), 255, 2},
		"the largest is a PNG":      {buildICO(1, iconImage(blank(quarters32(48)), true), whole, iconImage(blank(quarters32(16)), true)), 255, 2},
		"the deepest":               {buildICO(1, iconImage(blank(with(quarters32(48), 4, 0)), true), iconImage(quarters32(48), false), iconImage(blank(with(quarters32(48), 8, 0)), true)), 255, 2},
		"a broken image is no loss": {buildICO(1, []byte("\x28\x00\x00\x00\xff\xff\xff\x7f\xff\xff\xff\x7f"), iconImage(quarters32(48), false)), 255, 2},
		"mask cut off":              {buildICO(1, iconImage(with(quarters32(48), 8, 0), false)[:40+16+48*48]), 255, 2},
	} {
		t.Run(name, func(t *testing.T) { checkQuarters(t, test.data, test.alpha, test.tolerance+4) })
	}
}

// Some programs do not double the height in the bitmap header, and others double it in the directory too.
func TestICOHeight(t *testing.T) {
	b := bitmap{width: 48, height: 48, header: 40, bits: 24}
	image, _ := b.dib()
	data := buildICO(1, image)
	data[7] = 48
	checkQuarters(t, data, 255, 6)
	data = buildICO(1, iconImage(b, false))
	data[7] = 96
	checkQuarters(t, data, 255, 6)
}

// Pixels whose bit in the mask is set are transparent.
func TestICOMask(t *testing.T) {
	for _, bits := range []int{1, 4, 8, 16, 24, 32} {
		data := buildICO(1, iconImage(bitmap{width: 40, height: 32, header: 40, bits: bits}, false))
		copy(data[len(data)-8:], "\xff\x00\x00\x00\x00\x00\x00\x00") // top row, first eight pixels
		img, err := Make(context.Background(), data, Options{PNG: true})
		if err != nil {
			t.Fatal(err)
		}
		m := decodeThumb(t, img)
		near(t, "in the mask", m.At(7, 0), color.NRGBA{}, 0)
		near(t, "beside the mask", m.At(8, 0), quarterColours[0], 8)
		near(t, "below the mask", m.At(7, 1), quarterColours[0], 8)
		img, err = Make(context.Background(), data, Options{Quality: 95})
		if err != nil {
			t.Fatal(err)
		}
		near(t, "on white", decodeThumb(t, img).At(1, 0), color.NRGBA{255, 255, 255, 255}, 60)
	}
}

func TestCorruptICO(t *testing.T) {
	whole := buildICO(1, iconImage(bitmap{width: 40, height: 32, header: 40, bits: 8}, false))
	for _, n := range []int{22, 30, 60, 200} {
		if _, err := Make(context.Background(), whole[:n], Options{Size: 16}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut after %d bytes: got %v, want ErrCorrupt", n, err)
		}
	}
}

// FuzzICO checks that an icon costs no more than Cost says, and that broken ones are refused in an orderly way.
func FuzzICO(f *testing.F) {
	for _, bits := range []int{1, 4, 8, 24, 32} {
		f.Add(buildICO(1, iconImage(bitmap{width: 9, height: 8, header: 40, bits: bits}, true)))
	}
	f.Add(buildICO(2, encodeAs(f, "png", quarters(9, 8))))
	f.Fuzz(func(t *testing.T, data []byte) {
		if contentType, _ := Sniff(data); contentType != typeICO {
			return
		}
		cost, err := Cost(data, Options{PNG: true})
		if err != nil || cost > 8<<20 {
			return
		}
		img, err := Make(context.Background(), data, Options{PNG: true})
		if err == nil {
			decodeThumb(t, img)
		} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
			t.Error(err)
		}
	})
}

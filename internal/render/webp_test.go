package render

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"testing"
)

// uniformVP8L returns the lossless bitstream of a picture of one colour: all its prefix codes have one symbol, and so a
// pixel takes no bits.
func uniformVP8L(width, height int, c color.NRGBA) []byte {
	out := []byte{0x2f}
	var bits uint64
	var n uint
	write := func(v uint64, count uint) {
		bits |= v << n
		for n += count; n >= 8; n -= 8 {
			out = append(out, byte(bits))
			bits >>= 8
		}
	}
	write(uint64(width-1), 14)
	write(uint64(height-1), 14)
	write(1, 1)   // alpha
	write(0, 3+3) // version; no transform, no colour cache, no meta prefix codes
	for _, symbol := range []byte{c.G, c.R, c.B, c.A, 0} {
		write(1, 1) // simple code
		write(0, 1) // one symbol
		write(1, 1) // of 8 bits
		write(uint64(symbol), 8)
	}
	write(0, 64-n%8-8) // padding
	return out
}

// A webpFrame is a frame of an animated WebP to be made by a test. flags are those of the ANMF chunk.
type webpFrame struct {
	at    image.Point
	w, h  int
	c     color.NRGBA
	flags byte
}

func riff(name string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data)))
	b = append(b, data...)
	return append(b, make([]byte, len(data)&1)...)
}

func animatedWebP(width, height int, frames ...webpFrame) []byte {
	uint24s := func(b []byte, values ...int) []byte {
		for _, v := range values {
			b = append(b, byte(v), byte(v>>8), byte(v>>16))
		}
		return b
	}
	body := []byte("WEBP")
	body = append(body, riff("VP8X", uint24s([]byte{0x12, 0, 0, 0}, width-1, height-1))...)
	body = append(body, riff("ANIM", make([]byte, 6))...)
	for _, f := range frames {
		head := append(uint24s(nil, f.at.X/2, f.at.Y/2, f.w-1, f.h-1, 100), f.flags)
		body = append(body, riff("ANMF", append(head, riff("VP8L", uniformVP8L(f.w, f.h, f.c))...))...)
	}
	return riff("RIFF", body)
}

func TestAnimatedWebP(t *testing.T) {
	none, black := color.NRGBA{}, color.NRGBA{0, 0, 0, 255}
	red, green := color.NRGBA{200, 0, 0, 255}, color.NRGBA{0, 200, 0, 255}
	const clear, replace = 1, 2
	all := func(c color.NRGBA, flags byte) webpFrame { return webpFrame{w: 40, h: 20, c: c, flags: flags} }
	right := func(c color.NRGBA, flags byte) webpFrame {
		return webpFrame{at: image.Pt(20, 0), w: 20, h: 20, c: c, flags: flags}
	}
	for name, test := range map[string]struct {
		frames []webpFrame
		want   [2]color.NRGBA // left and right
	}{
		"small first frame":             {[]webpFrame{right(red, 0), all(green, 0)}, [2]color.NRGBA{none, red}},
		"transparent first frame":       {[]webpFrame{all(none, 0), right(red, 0)}, [2]color.NRGBA{none, red}},
		"black first frames":            {[]webpFrame{all(black, 0), all(black, 0), right(red, 0)}, [2]color.NRGBA{black, red}},
		"first frame cleared":           {[]webpFrame{all(black, clear), right(red, 0)}, [2]color.NRGBA{none, red}},
		"transparent pixels replace":    {[]webpFrame{all(red, 0), right(none, replace)}, [2]color.NRGBA{red, none}},
		"transparent pixels do not":     {[]webpFrame{all(red, 0), right(none, 0), right(green, 0)}, [2]color.NRGBA{red, green}},
		"later frame leaves the canvas": {[]webpFrame{all(red, 0), {at: image.Pt(20, 0), w: 90, h: 90, c: green}}, [2]color.NRGBA{red, green}},
		"all of one colour":             {[]webpFrame{all(none, 0), all(green, 0), all(red, 0)}, [2]color.NRGBA{green, green}},
		"one frame":                     {[]webpFrame{all(red, 0)}, [2]color.NRGBA{red, red}},
	} {
		t.Run(name, func(t *testing.T) {
			data := animatedWebP(40, 20, test.frames...)
			img, err := Make(context.Background(), data, Options{PNG: true})
			if err != nil {
				t.Fatal(err)
			}
			got := decodeThumb(t, img)
			near(t, "left", got.At(10, 10), test.want[0], 0)
			near(t, "right", got.At(30, 10), test.want[1], 0)
		})
	}
}

// The memory for a lossy WebP is that of the reduced picture: it is decoded row by row.
func TestCostOfLossyWebP(t *testing.T) {
	data := readTestdata(t, "lossy.webp")
	i := bytes.Index(data, []byte("\x9d\x01\x2a"))
	if i < 0 {
		t.Fatal("no VP8 frame")
	}
	const edge = 10_000
	binary.LittleEndian.PutUint16(data[i+3:], edge)
	binary.LittleEndian.PutUint16(data[i+5:], edge)
	cost, err := Cost(data, Options{Size: 256, Quality: 85})
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(8 << 20); cost > limit {
		t.Errorf("cost of %d x %d pixels is %d, want at most %d", edge, edge, cost, limit)
	}
	// The data is too short for that size.
	used := allocated(func() { _, err = Make(context.Background(), data, Options{Size: 256, Quality: 85}) })
	if !errors.Is(err, ErrCorrupt) || used > cost {
		t.Errorf("error is %v after %d bytes", err, used)
	}
}

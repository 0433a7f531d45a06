//go:build !race

// The race detector allocates memory of its own.

package pngdec

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// allocated returns the number of bytes that f allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// Decode allocates no more than Cost says, and Cost says not much more.
func TestCost(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, k := range kinds() {
		for _, size := range [][2]int{{1, 3000}, {3000, 1}, {100, 90}} {
			for _, interlaced := range []bool{false, true} {
				file := k.make(r, size[0], size[1], interlaced).encode()
				h, data := open(t, file)
				for _, o := range []Options{{}, {RGBA: true}, {Scale: 3}} {
					cost := h.Cost(o)
					used := allocated(func() {
						if err := Decode(context.Background(), &h, data, o, new(Image)); err != nil {
							t.Fatal(err)
						}
					})
					if used > cost || cost > used+used/2+128<<10 {
						t.Errorf("%v, interlaced %v, %v, %+v: allocated %d, Cost is %d", k, interlaced, size, o, used, cost)
					}
				}
			}
		}
	}
}

// largePNG returns a picture of equal rows, which are compressed as they are made.
func largePNG(edge int, interlaced bool) []byte {
	m := testPNG{width: edge, height: edge, depth: 8, color: RGB, interlaced: interlaced}
	file := m.encode()
	file = file[:len(file)-len(makeChunk("IDAT", deflated(nil, 0)))-len(makeChunk("IEND", nil))]
	var data bytes.Buffer
	z, err := zlib.NewWriterLevel(&data, zlib.BestSpeed)
	if err != nil {
		panic(err)
	}
	passes := adam7[:]
	if !interlaced {
		passes = []pass{{0, 0, 1, 1}}
	}
	row := make([]byte, 1+3*edge)
	for _, a := range passes {
		columns, rows := a.size(edge, edge)
		for i := range columns {
			row[1+3*i] = byte((a.x + i*a.dx) * 255 / edge)
		}
		for range rows {
			z.Write(row[:1+3*columns])
		}
	}
	z.Close()
	file = append(file, makeChunk("IDAT", data.Bytes())...)
	return append(file, makeChunk("IEND", nil)...)
}

// A picture of 10,000 x 10,000 pixels needs less than 16 MiB.
func TestMemoryOfLargePicture(t *testing.T) {
	const scale = 13
	edge := series(4000, 10000)
	for _, interlaced := range []bool{false, true} {
		t.Run(fmt.Sprint("interlaced ", interlaced), func(t *testing.T) {
			h, data := open(t, largePNG(edge, interlaced))
			o := Options{Scale: scale}
			if cost := h.Cost(o); cost > 16<<20 {
				t.Errorf("Cost is %d", cost)
			}
			var m Image
			used := allocated(func() {
				if err := Decode(context.Background(), &h, data, o, &m); err != nil {
					t.Fatal(err)
				}
			})
			if used > h.Cost(o) {
				t.Errorf("allocated %d, more than %d", used, h.Cost(o))
			}
			for x := range m.Width {
				if got, want := int(m.Pix[4*x]), (x*scale+scale/2)*255/edge; got < want-1 || got > want+1 {
					t.Fatalf("column %d is %d, want %d", x, got, want)
				}
			}
			t.Logf("%d bytes of file, %d allocated", len(data), used)
		})
	}
}

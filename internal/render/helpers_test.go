package render

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"os"
	"path/filepath"
	"testing"
)

func makePNGChunk(name string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// makePNGHeader returns the signature and header chunk of a PNG in RGB.
func makePNGHeader(w, h uint32) []byte { return pngStart(w, h, 8, 2, 0) }

func pngStart(w, h uint32, depth, colour, interlace byte) []byte {
	ihdr := binary.BigEndian.AppendUint32(nil, w)
	ihdr = binary.BigEndian.AppendUint32(ihdr, h)
	ihdr = append(ihdr, depth, colour, 0, 0, interlace)
	return append([]byte("\x89PNG\r\n\x1a\n"), makePNGChunk("IHDR", ihdr)...)
}

// interlacedPNG encodes m in seven passes, which image/png cannot do.
func interlacedPNG(m *image.NRGBA) []byte {
	var raw bytes.Buffer
	z := zlib.NewWriter(&raw)
	for _, p := range [7][4]int{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}} {
		if p[0] >= m.Rect.Dx() {
			continue
		}
		for y := p[1]; y < m.Rect.Dy(); y += p[3] {
			z.Write([]byte{0}) // no filter
			for x := p[0]; x < m.Rect.Dx(); x += p[2] {
				z.Write(m.Pix[m.PixOffset(x, y):][:4])
			}
		}
	}
	z.Close()
	b := pngStart(uint32(m.Rect.Dx()), uint32(m.Rect.Dy()), 8, 6, 1)
	b = append(b, makePNGChunk("IDAT", raw.Bytes())...)
	return append(b, makePNGChunk("IEND", nil)...)
}

// readTestdata returns the contents of a file in testdata. Its README.md describes where the files come from.
func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// series returns the size of a series of tests: the full one with THUMBCACHE_FULL=1.
func series(short, full int) int {
	if os.Getenv("THUMBCACHE_FULL") != "" {
		return full
	}
	return short
}

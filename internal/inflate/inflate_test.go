package inflate

import (
	"bytes"
	"compress/zlib"
	"context"
	"io"
	"math/rand/v2"
	"testing"
)

// pieces are a source whose pieces have at most size bytes.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Next() []byte {
	n := min(p.size, len(p.data))
	piece := p.data[:n]
	p.data = p.data[n:]
	return piece
}

func deflated(data []byte, level int) []byte {
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, level)
	if err != nil {
		panic(err)
	}
	z.Write(data)
	z.Close()
	return b.Bytes()
}

// decompress returns at most limit bytes, and the error that follows them.
func decompress(z *Reader, src Source, limit int) (all []byte, err error) {
	z.Reset(context.Background(), src)
	defer z.Release()
	buf := make([]byte, 1000)
	for err = z.ZlibHeader(); err == nil && len(all) < limit; {
		var n int
		n, err = z.Read(buf)
		all = append(all, buf[:n]...)
	}
	return all[:min(len(all), limit)], err
}

func TestReader(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var z Reader
	for _, level := range []int{zlib.HuffmanOnly, 0, 1, 9} {
		for _, most := range []int{2, 30, 256} {
			want := make([]byte, 100_000)
			for i := range want {
				want[i] = byte(r.IntN(most))
				if most == 30 && i > 40_000 {
					want[i] = want[i-32768+i%7] // matches at the greatest distance
				}
			}
			data := deflated(want, level)
			for _, size := range []int{1, 15, 17, 8192, 1 << 20} {
				if got, err := decompress(&z, &pieces{data, size}, len(want)+1); err != io.EOF || !bytes.Equal(got, want) {
					t.Errorf("level %d, %d values, pieces of %d bytes: %d bytes and %v", level, most, size, len(got), err)
				}
			}
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var z Reader
	z.Reset(ctx, &pieces{deflated(make([]byte, 1<<20), 9), 100})
	if err := z.ZlibHeader(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := z.Read(make([]byte, 1<<20)); err != context.Canceled {
		t.Error(err)
	}
}

// FuzzReader decompresses like compress/zlib, in pieces of any size.
func FuzzReader(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, level := range []int{-2, 0, 1, 9} {
		for _, most := range []int{2, 256} {
			data := make([]byte, 300)
			for i := range data {
				data[i] = byte(r.IntN(most))
			}
			f.Add(deflated(data, level), uint16(50))
			f.Add(deflated(bytes.Repeat(data[:7], 999), level), uint16(1))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		const limit = 1 << 20
		var want []byte
		z, wantErr := zlib.NewReader(bytes.NewReader(data))
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(z, limit))
		}
		got, err := decompress(new(Reader), &pieces{data, 1 + int(size)}, limit)
		if wantErr == nil && !bytes.Equal(got, want) {
			t.Errorf("got %d bytes and %v, want %d bytes", len(got), err, len(want))
		}
		if n := min(len(got), len(want)); !bytes.Equal(got[:n], want[:n]) {
			t.Errorf("%d bytes differ", n)
		}
	})
}

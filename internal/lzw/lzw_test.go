package lzw

import (
	"bytes"
	"compress/lzw"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	tifflzw "golang.org/x/image/tiff/lzw"
)

// compressed returns data as a GIF has it.
func compressed(data []byte, literalBits int) []byte {
	var b bytes.Buffer
	w := lzw.NewWriter(&b, lzw.LSB, literalBits)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// samples returns data of n bytes with short and long strings. Its values have the given number of bits.
func samples(n, bits int) map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	m := map[string][]byte{"equal": make([]byte, n), "noise": make([]byte, n), "waves": make([]byte, n), "runs": make([]byte, n)}
	for i := range n {
		m["noise"][i] = byte(r.Uint32()) >> (8 - bits)
		m["waves"][i] = byte(i*i/1000+i) >> (8 - bits)
		m["runs"][i] = byte(i/300*7) >> (8 - bits)
	}
	return m
}

func TestGIF(t *testing.T) {
	var r Reader
	for bits := 2; bits <= 8; bits++ {
		for name, want := range samples(100_000, bits) {
			data := compressed(want, bits)
			for _, step := range []int{1, 3, 1000, 1 << 20} {
				r.Reset(bytes.NewReader(data), GIF, bits)
				got, err := readAll(&r, step)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s of %d bits, %d bytes at a time: %d bytes and %v", name, bits, step, len(got), err)
				}
			}
		}
	}
}

// readAll reads step bytes at a time.
func readAll(r *Reader, step int) (all []byte, err error) {
	buf := make([]byte, step)
	for {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// The error of the source is returned after all output before it.
func TestSourceError(t *testing.T) {
	want := samples(10_000, 8)["noise"]
	data := compressed(want, 8)
	broken := errors.New("broken")
	for _, err := range []error{broken, io.EOF} {
		var r Reader
		r.Reset(iotest.OneByteReader(io.MultiReader(bytes.NewReader(data[:5000]), iotest.ErrReader(err))), GIF, 8)
		got, gotErr := readAll(&r, 1000)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if gotErr != err || len(got) < 3000 || !bytes.HasPrefix(want, got) {
			t.Errorf("%d bytes and %v, want %v", len(got), gotErr, err)
		}
	}
}

// FuzzReader decompresses like compress/lzw and golang.org/x/image/tiff/lzw, also what those refuse.
func FuzzReader(f *testing.F) {
	for bits := 2; bits <= 8; bits += 3 {
		for _, data := range samples(3000, bits) {
			f.Add(compressed(data, bits), byte(bits), false, uint16(7))
		}
	}
	f.Add([]byte("\x80\x00\x60\x50\x28\x1c\x0e\x04\x02"), byte(8), true, uint16(100))
	f.Fuzz(func(t *testing.T, data []byte, bits byte, tiff bool, step uint16) {
		const limit = 1 << 20
		literalBits := int(2 + bits%7)
		format, reference := GIF, lzw.NewReader(bytes.NewReader(data), lzw.LSB, literalBits)
		if tiff {
			literalBits = 8
			format, reference = TIFF, tifflzw.NewReader(bytes.NewReader(data), tifflzw.MSB, literalBits)
		}
		want, wantErr := io.ReadAll(io.LimitReader(reference, limit))
		var r Reader
		r.Reset(bytes.NewReader(data), format, literalBits)
		got, err := io.ReadAll(io.LimitReader(readerOf{&r, int(step)}, limit))
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes, want %d", len(got), len(want))
		}
		if (err == nil) != (wantErr == nil) || errors.Is(err, io.ErrUnexpectedEOF) != errors.Is(wantErr, io.ErrUnexpectedEOF) {
			t.Errorf("error %v, want %v", err, wantErr)
		}
	})
}

// readerOf reads at most a number of bytes at a time.
type readerOf struct {
	r    *Reader
	step int
}

func (r readerOf) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 1+r.step)]) }

func BenchmarkReader(b *testing.B) {
	for name, data := range samples(1<<20, 8) {
		in := compressed(data, 8)
		row := make([]byte, 4200)
		b.Run(name, func(b *testing.B) {
			var r Reader
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r.Reset(bytes.NewReader(in), GIF, 8)
				for {
					if _, err := r.Read(row); err != nil {
						break
					}
				}
			}
		})
		b.Run(name+"/compress", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r := lzw.NewReader(bytes.NewReader(in), lzw.LSB, 8)
				for {
					if _, err := r.Read(row); err != nil {
						break
					}
				}
			}
		})
	}
}

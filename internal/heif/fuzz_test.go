package heif

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime/metrics"
	"testing"
)

// checked is a file that notes reads beyond its end.
type checked struct {
	data  []byte
	wrong bool
	reads int
}

func (c *checked) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	if off < 0 || off+int64(len(p)) > int64(len(c.data)) {
		c.wrong = true
		return 0, io.EOF
	}
	return copy(p, c.data[off:]), nil
}

// FuzzParse holds whatever a file says against what is promised: no panic, reads within the file, bounded memory, errors about
// the file, and frames and a picture of the told size.
func FuzzParse(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.*")
	for _, name := range names {
		if data, err := os.ReadFile(name); err == nil {
			f.Add(data)
		}
	}
	pieces := gridFile(f, ".heic", "hvc1", 128, 128)
	pieces.items[1].pieces, pieces.items[2].inIdat, pieces.metaLast = 3, true, true
	f.Add(pieces.bytes())
	long := gridFile(f, ".avif", "av01", 120, 100)
	long.long = true
	f.Add(long.bytes())
	f.Add(transformed(f, clap(40, 20, -32, -16), irot(1), imir(1), nclx(9, 18, 9, false)))
	f.Fuzz(checkInvariants)
}

func checkInvariants(t *testing.T, data []byte) {
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(allocated)
	before := allocated[0].Value.Uint64()
	r := &checked{data: data}
	ctx := context.Background()
	file, err := Parse(ctx, r, int64(len(data)))
	var plans []*Plan
	if err == nil {
		for _, wanted := range []int{0, 1, 100} {
			var p *Plan
			if p, err = file.Plan(ctx, wanted); err == nil {
				plans = append(plans, p)
			} else if !isVerdict(err) {
				t.Error(err)
			}
		}
	} else if !isVerdict(err) {
		t.Error(err)
	}
	for _, p := range plans {
		for _, s := range []*Stream{p.Colour, p.Alpha} {
			if s == nil {
				continue
			}
			var n counter
			if err := s.Copy(ctx, &n); err != nil && !isVerdict(err) {
				t.Error(err)
			}
			if n > 2*maxCoded || s.Frames > maxTiles || s.Output <= 0 || s.Output/int64(s.Frames) != s.frame.size {
				t.Errorf("%d bytes for %d frames of %d bytes", n, s.Frames, s.frame.size)
			}
		}
	}
	metrics.Read(allocated)
	if got := allocated[0].Value.Uint64() - before; got > 64<<20 {
		t.Errorf("allocated %d bytes for a file of %d", got, len(data))
	}
	if r.wrong || r.reads > 100_000 {
		t.Errorf("%d reads, or one beyond the file", r.reads)
	}
	for _, p := range plans {
		if p.Width < 1 || p.Height < 1 || p.Width > maxEdge || p.Height > maxEdge {
			t.Errorf("%d x %d pixels", p.Width, p.Height)
		}
		if p.Colour == nil || p.Bytes() > 4<<20 {
			continue
		}
		var alpha []byte
		if p.Alpha != nil {
			alpha = make([]byte, p.Alpha.Output)
		}
		img, err := p.Assemble(make([]byte, p.Colour.Output), alpha)
		if err != nil || img.Rect.Dx() != p.Width || img.Rect.Dy() != p.Height {
			t.Errorf("%v, %d x %d", err, p.Width, p.Height)
			continue
		}
		if p.Alpha == nil { // each pixel has been written
			for i := 3; i < len(img.Pix); i += 4 {
				if img.Pix[i] != 255 {
					t.Fatalf("nothing in pixel %d", i/4)
				}
			}
		}
	}
}

// A counter counts bytes.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// FuzzConfiguration reads decoder configurations, which files mutated as a whole seldom reach.
func FuzzConfiguration(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.*")
	for _, name := range names {
		tile := tileOf(f, filepath.Base(name))
		f.Add(tile.config[8:])
		f.Add(append([]byte{0x81, 0, 0, 0}, tile.data...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func([]byte) (sequence, error){parseHVCC, parseAV1C} {
			s, err := parse(data)
			if err != nil && !isVerdict(err) {
				t.Error(err)
			}
			if err == nil && (s.width < 0 || s.width > maxEdge || s.height < 0 || s.height > maxEdge || len(s.header) > 4*len(data)) {
				t.Errorf("%+v", s)
			}
		}
	})
}

// TestBytesChanged changes bytes of small files in several ways. With a step of 1, all of them, it takes 20 seconds.
func TestBytesChanged(t *testing.T) {
	step := series(41, 13)
	pieces := gridFile(t, ".avif", "av01", 120, 100)
	pieces.items[1].pieces, pieces.items[2].inIdat, pieces.long = 3, true, true
	files := [][]byte{pieces.bytes(), transformed(t, clap(40, 20, -32, -16), irot(1), imir(1), nclx(9, 18, 9, false))}
	for _, name := range []string{"thumbnail.heic", "premultiplied.avif", "grid.avif"} {
		files = append(files, sample(t, name))
	}
	for _, data := range files {
		for at := 0; at < len(data); at += step {
			was := data[at]
			for _, v := range []byte{0, 1, 0x7f, 0xff, was + 1, was - 1, was ^ 0x80, was ^ 0x10} {
				data[at] = v
				checkInvariants(t, data)
			}
			data[at] = was
			if t.Failed() {
				t.Fatalf("byte %d", at)
			}
		}
	}
}

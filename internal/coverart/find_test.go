package coverart

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

func TestFind(t *testing.T) {
	for _, s := range songs() {
		t.Run(s.container+"/"+s.name, func(t *testing.T) {
			pic, err := Find(t.Context(), bytes.NewReader(s.data), int64(len(s.data)))
			if !errors.Is(err, s.err) || !bytes.Equal(pic, s.pic) {
				t.Errorf("got %d bytes, %v; want %d, %v", len(pic), err, len(s.pic), s.err)
			}
		})
	}
}

// TestFindWrongSize searches files that are shorter or longer than the size given to Find, such as files being copied.
func TestFindWrongSize(t *testing.T) {
	for _, s := range songs() {
		for _, size := range []int64{int64(len(s.data)) + 1, 1 << 40, 0, -1} {
			pic, err := Find(t.Context(), bytes.NewReader(s.data), size)
			if (pic == nil) == (err == nil) {
				t.Errorf("%s, size %d: %d bytes, %v", s.name, size, len(pic), err)
			}
		}
	}
}

// TestFindCut truncates every song at many places. Find may fail or not, but what it returns must begin like a picture.
func TestFindCut(t *testing.T) {
	for _, s := range songs() {
		if s.isBomb() {
			continue
		}
		for n := 0; n < len(s.data); n += 1 + len(s.data)/100 {
			pic, err := Find(t.Context(), bytes.NewReader(s.data[:n]), int64(n))
			switch {
			case err == nil && !isPicture(pic):
				t.Errorf("%s, cut at %d: no picture", s.name, n)
			case err != nil && !errors.Is(err, ErrNoPicture) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrCorrupt):
				t.Errorf("%s, cut at %d: %v", s.name, n, err)
			}
		}
	}
}

// A reader counts reads and bytes. It calls fail in the read whose number is failAt, counted from 1.
type reader struct {
	r      io.ReaderAt
	reads  int
	bytes  int64
	failAt int
	fail   func() error
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	r.reads++
	r.bytes += int64(len(p))
	if r.reads == r.failAt {
		if err := r.fail(); err != nil {
			return 0, err
		}
	}
	return r.r.ReadAt(p, off)
}

// TestFindReadErrors makes each read fail in turn. Find must return the error of the read, and no picture.
func TestFindReadErrors(t *testing.T) {
	errRead := errors.New("read failed")
	for _, s := range songs() {
		if s.isBomb() {
			continue
		}
		for n := 1; ; n++ {
			r := &reader{r: bytes.NewReader(s.data), failAt: n, fail: func() error { return errRead }}
			pic, err := Find(t.Context(), r, int64(len(s.data)))
			if r.reads < n {
				break
			}
			if pic != nil || !errors.Is(err, errRead) {
				t.Fatalf("%s/%s: read %d failed: %d bytes, %v", s.container, s.name, n, len(pic), err)
			}
		}
	}
}

// TestFindCancel cancels the context during each read in turn.
func TestFindCancel(t *testing.T) {
	for _, s := range songs() {
		if s.isBomb() {
			continue
		}
		for n := 1; ; n++ {
			ctx, cancel := context.WithCancel(t.Context())
			r := &reader{r: bytes.NewReader(s.data), failAt: n, fail: func() error { cancel(); return nil }}
			pic, err := Find(ctx, r, int64(len(s.data)))
			cancel()
			if r.reads < n {
				break
			}
			if r.reads > n {
				t.Fatalf("%s/%s: %d reads after ctx was canceled", s.container, s.name, r.reads-n)
			}
			if pic == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, s.err) {
				t.Fatalf("%s/%s: canceled in read %d: %v", s.container, s.name, n, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &reader{r: bytes.NewReader(mp3)}
	if _, err := Find(ctx, r, int64(len(mp3))); !errors.Is(err, context.Canceled) || r.reads > 0 {
		t.Errorf("canceled before: %v after %d reads", err, r.reads)
	}
}

package render

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/png"
	"testing"
)

// MaxBytes holds for pictures of noise, and is used well: first quality gives way, then size.
func TestMaxBytes(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, noise(400, 300)); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Size: 300, Quality: 85}, {Size: 300, Height: 200, Quality: 85}, {Quality: 100}, {Size: 300, Quality: 20}, {Size: 300, PNG: true, Quality: 85}} {
		whole, err := Make(t.Context(), b.Bytes(), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []float64{2, 1, 0.9, 0.6, 0.3, 0.1, 0.03} {
			o.MaxBytes = max(1000, int(part*float64(len(whole.Data)))) // the header alone has some 600
			img, err := Make(t.Context(), b.Bytes(), o)
			if err != nil {
				t.Fatal(err)
			}
			size, _, err := image.DecodeConfig(bytes.NewReader(img.Data))
			if err != nil || size.Width != img.Width || size.Height != img.Height || len(img.Data) > o.MaxBytes {
				t.Errorf("%+v: %d bytes, %v, says %dx%d, %v", o, len(img.Data), size, img.Width, img.Height, err)
			}
			if part >= 1 && !bytes.Equal(img.Data, whole.Data) {
				t.Errorf("%+v: changed although it fits", o)
			}
			if part < 1 && len(img.Data) < o.MaxBytes/2 {
				t.Errorf("%+v: only %d bytes", o, len(img.Data))
			}
			if keeps := part >= 0.6 && o.Quality > minQuality && !o.PNG; keeps && (img.Width != whole.Width || img.Height != whole.Height) {
				t.Errorf("%+v: %dx%d although less quality is enough", o, img.Width, img.Height)
			}
		}
		o.MaxBytes = 10
		if _, err := Make(t.Context(), b.Bytes(), o); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// endsAfter is a context that ends when it was asked n times.
type endsAfter struct {
	context.Context
	n *int
}

func (c endsAfter) Err() error {
	if *c.n--; *c.n < 0 {
		return context.Canceled
	}
	return nil
}

// The search for a quality ends when the context does.
func TestMaxBytesCanceled(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, noise(200, 200)); err != nil {
		t.Fatal(err)
	}
	o := Options{Size: 100, Quality: 85}
	whole, err := Make(t.Context(), b.Bytes(), o)
	if err != nil {
		t.Fatal(err)
	}
	asked := 1 << 30
	if _, err := Make(endsAfter{t.Context(), &asked}, b.Bytes(), o); err != nil {
		t.Fatal(err)
	}
	decoding := 1<<30 - asked
	o.MaxBytes = len(whole.Data) * 3 / 4
	for n := decoding; n < decoding+3; n++ { // the search asks some more times
		left := n
		if _, err := Make(endsAfter{t.Context(), &left}, b.Bytes(), o); !errors.Is(err, context.Canceled) {
			t.Errorf("after %d: %v", n, err)
		}
	}
}

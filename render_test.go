package thumbcache

import (
	"context"
	"errors"
	"io/fs"
	"testing"
)

// Render makes a thumbnail of a picture in hand, with the errors of Do.
func TestRender(t *testing.T) {
	for name, test := range map[string]struct {
		req  Request
		w, h int
		kind string
	}{
		"contain":     {Request{Size: 100}, 100, 50, "image/jpeg"},
		"cover":       {Request{Size: 100, Fit: Cover}, 100, 100, "image/jpeg"},
		"PNG":         {Request{Size: 100, Format: PNG}, 100, 50, "image/png"},
		"its own":     {Request{}, 600, 300, "image/jpeg"},
		"not larger":  {Request{Size: 5000}, 600, 300, "image/jpeg"},
		"a large one": {Request{Size: 1 << 30, Fit: Cover}, 300, 300, "image/jpeg"},
	} {
		got, err := Render(t.Context(), plain(600, 300, red), test.req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkColor(t, got, red)
		if got.Width != test.w || got.Height != test.h || got.ContentType != test.kind || got.ETag == "" || len(got.ThumbHash) == 0 {
			t.Errorf("%s: %d x %d, %s, ETag %s", name, got.Width, got.Height, got.ContentType, got.ETag)
		}
	}
	again, _ := Render(t.Context(), plain(600, 300, red), Request{Size: 100})
	other, _ := Render(t.Context(), plain(600, 300, red), Request{Size: 99})
	if first, _ := Render(t.Context(), plain(600, 300, red), Request{Size: 100}); first.ETag != again.ETag || first.ETag == other.ETag {
		t.Errorf("ETags %s, %s, %s", first.ETag, again.ETag, other.ETag)
	}
	if large, err := Render(t.Context(), plain(3000, 10, red), Request{}); err != nil || large.Width != 2048 {
		t.Errorf("a large picture in its own size: %v", err)
	}

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		data []byte
		req  Request
		want error
	}{
		"words":     {t.Context(), []byte("words"), Request{}, ErrUnsupported},
		"nothing":   {t.Context(), nil, Request{}, ErrUnsupported},
		"truncated": {t.Context(), plain(600, 300, red)[:60], Request{Size: 10}, ErrCorrupt},
		"size":      {t.Context(), plain(6, 3, red), Request{Size: -1}, fs.ErrInvalid},
		"fit":       {t.Context(), plain(6, 3, red), Request{Fit: 9}, fs.ErrInvalid},
		"format":    {t.Context(), plain(6, 3, red), Request{Format: 9}, fs.ErrInvalid},
		"canceled":  {canceled, noisy(600, 600, 90), Request{Size: 10}, context.Canceled},
	} {
		_, err := Render(test.ctx, test.data, test.req)
		if _, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

//go:build unix

package redis_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	_ "image/jpeg"
	"image/png"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache"
)

// A library is a provider of pictures. Each state of it has another color.
type library struct{ state atomic.Int32 }

func (l *library) Stat(ctx context.Context, path string) (thumbcache.Stamp, error) {
	return thumbcache.Stamp{Tag: strconv.Itoa(int(l.state.Load()))}, nil
}

func (l *library) Open(ctx context.Context, path string) (*thumbcache.Source, error) {
	stamp, _ := l.Stat(ctx, path)
	n, _ := strconv.Atoi(stamp.Tag)
	picture := image.NewGray(image.Rect(0, 0, 100, 100))
	for i := range picture.Pix {
		picture.Pix[i] = byte(100 * n)
	}
	var data bytes.Buffer
	if err := png.Encode(&data, picture); err != nil {
		return nil, err
	}
	return thumbcache.BytesSource(path, stamp, data.Bytes()), nil
}

// TestCaches runs three caches as three machines do.
func TestCaches(t *testing.T) {
	s := startServer(t)
	var media library
	var machines []*thumbcache.Cache
	for range 3 {
		cache, err := thumbcache.New(thumbcache.Config{
			Providers:     map[string]thumbcache.Provider{"pictures": &media},
			Extractor:     thumbcache.Images(),
			Shared:        s.open(t, ""),
			SharedTimeout: 5 * time.Second, // for busy machines
		})
		must(t, err)
		defer cache.Close()
		machines = append(machines, cache)
	}

	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			if _, err := machines[i%3].Get(t.Context(), "pictures", strconv.Itoa(i/3), 50); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	var extractions uint64
	for _, cache := range machines {
		stats := cache.Stats()
		extractions += stats.Extractions
		if stats.SharedErrors > 0 || stats.SharedDropped > 0 {
			t.Errorf("%d errors, %d values were dropped", stats.SharedErrors, stats.SharedDropped)
		}
	}
	if extractions != 20 {
		t.Errorf("20 pictures were extracted %d times", extractions)
	}

	// A new state, which only one machine knows about.
	media.state.Store(1)
	must(t, machines[0].Invalidate("pictures", "7"))
	eventually(t, func() error {
		for _, cache := range machines {
			thumb, err := cache.Get(t.Context(), "pictures", "7", 50)
			if err != nil {
				return err
			}
			picture, _, err := image.Decode(bytes.NewReader(thumb.Data))
			if err != nil {
				return err
			}
			if y := color.GrayModel.Convert(picture.At(25, 25)).(color.Gray).Y; y < 90 || y > 110 {
				return errors.New("a machine serves the old picture")
			}
		}
		return nil
	})
}

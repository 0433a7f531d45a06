//go:build unix

package redis_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"image"
	"image/png"
	"io/fs"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/thumbcache/thumbcache"
)

// BenchmarkGet compares Get of a value of 20 KB with the command GET for the same bytes.
func BenchmarkGet(b *testing.B) {
	s := startServer(b)
	store, source, value := s.open(b, ""), newSource(), random(20<<10)
	raw := goredis.NewClient(&goredis.Options{Addr: s.addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	defer raw.Close()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour) // a deadline costs time, and a Cache sets one
	defer cancel()
	must(b, store.Put(ctx, source, "300.jpg", value))
	must(b, raw.Set(ctx, "raw", value, 0).Err())
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			if got, err := raw.Get(ctx, "raw").Bytes(); err != nil || len(got) != len(value) {
				b.Fatal(err)
			}
		}
	})
	b.Run("store", func(b *testing.B) {
		for b.Loop() {
			if got, err := store.Get(ctx, source, "300.jpg"); err != nil || len(got) != len(value) {
				b.Fatal(err)
			}
		}
	})
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
			if _, err := store.Get(ctx, source, "64.jpg"); !errors.Is(err, fs.ErrNotExist) {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPut compares Put and Commit of 20 KB with the command SET. A Commit has a Lease before it.
func BenchmarkPut(b *testing.B) {
	s := startServer(b)
	store, source, value := s.open(b, ""), newSource(), random(20<<10)
	raw := goredis.NewClient(&goredis.Options{Addr: s.addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	defer raw.Close()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	i := 0
	next := func() string { i++; return strconv.Itoa(i%100) + ".jpg" }
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			must(b, raw.Set(ctx, next(), value, 0).Err())
		}
	})
	b.Run("put", func(b *testing.B) {
		for b.Loop() {
			must(b, store.Put(ctx, source, next(), value))
		}
	})
	b.Run("lease-commit", func(b *testing.B) {
		for b.Loop() {
			variant := next()
			lease, err := store.Lease(ctx, source, variant, time.Minute)
			must(b, err)
			must(b, store.Commit(ctx, lease, source, variant, value))
		}
	})
}

// BenchmarkSharedHit compares a Cache that finds a thumbnail in the shared tier only with the command GET for the same bytes.
func BenchmarkSharedHit(b *testing.B) {
	s := startServer(b)
	noise := image.NewGray(image.Rect(0, 0, 180, 180))
	rand.Read(noise.Pix)
	var data bytes.Buffer
	must(b, png.Encode(&data, noise))
	cache, err := thumbcache.New(thumbcache.Config{
		Providers:     map[string]thumbcache.Provider{"pictures": onePicture{data.Bytes()}},
		Extractor:     thumbcache.Images(),
		MemoryEntries: -1,
		Shared:        s.open(b, ""),
		SharedTimeout: time.Minute,
	})
	must(b, err)
	defer cache.Close()
	ctx := b.Context()
	_, err = cache.Get(ctx, "pictures", "noise.png", 300)
	must(b, err)
	var sealed []byte
	eventually(b, func() error { // it is stored in the background
		err := s.open(b, "").Walk(ctx, func(_, _ string, value []byte) error { sealed = value; return nil })
		if err == nil && sealed == nil {
			err = errors.New("nothing is stored")
		}
		return err
	})
	raw := goredis.NewClient(&goredis.Options{Addr: s.addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	defer raw.Close()
	must(b, raw.Set(ctx, "raw", sealed, 0).Err())
	b.Run("raw", func(b *testing.B) {
		b.SetBytes(int64(len(sealed)))
		for b.Loop() {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			if got, err := raw.Get(ctx, "raw").Bytes(); err != nil || len(got) != len(sealed) {
				b.Fatal(err)
			}
			cancel()
		}
	})
	b.Run("cache", func(b *testing.B) {
		b.SetBytes(int64(len(sealed)))
		before := cache.Stats()
		for b.Loop() {
			if _, err := cache.Get(ctx, "pictures", "noise.png", 300); err != nil {
				b.Fatal(err)
			}
		}
		after := cache.Stats()
		if after.Extractions != before.Extractions || after.SharedErrors != 0 {
			b.Errorf("%d extractions, %d errors", after.Extractions-before.Extractions, after.SharedErrors)
		}
	})
}

type onePicture struct{ data []byte }

func (p onePicture) Stat(context.Context, string) (thumbcache.Stamp, error) {
	return thumbcache.Stamp{Tag: "1"}, nil
}

func (p onePicture) Open(_ context.Context, path string) (*thumbcache.Source, error) {
	return thumbcache.BytesSource(path, thumbcache.Stamp{Tag: "1"}, p.data), nil
}

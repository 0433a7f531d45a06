//go:build unix

package redis_test

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
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

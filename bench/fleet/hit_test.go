//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	goredis "github.com/redis/go-redis/v9"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/redis"
	"github.com/thumbcache/thumbcache/s3"
)

// startForBenchmark starts Redis and S3. It skips the benchmark if one of them is not installed.
func startForBenchmark(b *testing.B) *engines {
	b.Helper()
	for _, variable := range append(credentialsEnv, "HOME="+b.TempDir()) {
		name, value, _ := bytes.Cut([]byte(variable), []byte("="))
		b.Setenv(string(name), string(value))
	}
	e, err := startEngines(b.TempDir(), true)
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(e.kill)
	return e
}

// BenchmarkHit compares a thumbnail that another machine has made with a GET of as many bytes by the client that the engine uses.
// The machine keeps nothing itself. The two take turns, so that other load on the processors affects both.
func BenchmarkHit(b *testing.B) {
	e := startForBenchmark(b)
	b.Run("redis", func(b *testing.B) {
		client := goredis.NewClient(&goredis.Options{Addr: e.redis.Addr})
		defer client.Close()
		open := func() (thumbcache.Shared, error) { return redis.Open("redis://" + e.redis.Addr) }
		benchmarkHit(b, open, func(data []byte) error {
			return client.Set(b.Context(), "raw", data, 0).Err()
		}, func() ([]byte, error) {
			return client.Get(b.Context(), "raw").Bytes()
		})
	})
	b.Run("s3", func(b *testing.B) {
		client, err := minio.New(e.s3.Addr, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1"})
		if err != nil {
			b.Fatal(err)
		}
		open := func() (thumbcache.Shared, error) {
			return s3.Open("s3://" + bucket + "/hit?endpoint=http://" + e.s3.Addr)
		}
		benchmarkHit(b, open, func(data []byte) error {
			_, err := client.PutObject(b.Context(), bucket, "raw", bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{})
			return err
		}, func() ([]byte, error) {
			o, err := client.GetObject(b.Context(), bucket, "raw", minio.GetObjectOptions{})
			if err != nil {
				return nil, err
			}
			defer o.Close()
			return io.ReadAll(o)
		})
	})
}

func benchmarkHit(b *testing.B, open func() (thumbcache.Shared, error), put func([]byte) error, rawGet func() ([]byte, error)) {
	media := b.TempDir()
	picture, err := drawCover(0)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(media, "cover.jpg"), picture, 0o600); err != nil {
		b.Fatal(err)
	}
	machine := func() *thumbcache.Cache {
		engine, err := open()
		if err != nil {
			b.Fatal(err)
		}
		cache, err := thumbcache.New(thumbcache.Config{
			Providers:     map[string]thumbcache.Provider{"music": thumbcache.Files(media)},
			MemoryEntries: -1,
			Shared:        engine,
			SharedTimeout: 5 * time.Second, // so that a busy machine does not make it a miss
		})
		if err != nil {
			b.Fatal(err)
		}
		return cache
	}
	get := func(cache *thumbcache.Cache) *thumbcache.Thumbnail {
		t, err := cache.Get(b.Context(), "music", "cover.jpg", 320)
		if err != nil {
			b.Fatal(err)
		}
		return t
	}
	maker := machine()
	thumb := get(maker)
	if err := maker.Close(); err != nil { // which waits until the thumbnail is stored
		b.Fatal(err)
	}
	if err := put(thumb.Data); err != nil {
		b.Fatal(err)
	}
	cache := machine()
	defer cache.Close()

	var raw, ours times
	for b.Loop() {
		start := time.Now()
		if data, err := rawGet(); err != nil || len(data) != len(thumb.Data) {
			b.Fatal(len(data), err)
		}
		between := time.Now()
		get(cache)
		raw, ours = append(raw, between.Sub(start)), append(ours, time.Since(between))
	}
	if hits := cache.Stats().SharedHits; hits != uint64(len(ours)) {
		b.Errorf("%d hits, want %d", hits, len(ours))
	}
	median := func(t times) float64 { return float64(t.quantile(0.5).Nanoseconds()) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(thumb.Data)), "bytes")
	b.ReportMetric(median(raw), "raw-ns")
	b.ReportMetric(median(ours), "thumbcache-ns")
	b.ReportMetric(median(ours)/median(raw), "x-raw")
}

// BenchmarkRedisMemory measures how much memory Redis takes for thumbnails of covers in four sizes, as MEMORY USAGE says and as the
// whole server uses.
func BenchmarkRedisMemory(b *testing.B) {
	sizes := []int{160, 320, 640, 1280} // the default of "thumbcache serve"
	e := startForBenchmark(b)
	media := b.TempDir()
	if err := makeLibrary(media); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		engine, err := redis.Open("redis://" + e.redis.Addr)
		if err != nil {
			b.Fatal(err)
		}
		if err := e.admin.FlushAll(b.Context()).Err(); err != nil {
			b.Fatal(err)
		}
		empty, err := e.usedMemory()
		if err != nil {
			b.Fatal(err)
		}
		cache, err := thumbcache.New(thumbcache.Config{
			Providers:     map[string]thumbcache.Provider{"music": thumbcache.Files(media)},
			Shared:        engine,
			SharedTimeout: 5 * time.Second,
		})
		if err != nil {
			b.Fatal(err)
		}
		var paths []string
		for i := range numCovers {
			paths = append(paths, coverPath(i))
		}
		if _, err := cache.Warm(b.Context(), "music", slices.Values(paths), sizes...); err != nil {
			b.Fatal(err)
		}
		if err := cache.Close(); err != nil {
			b.Fatal(err)
		}
		full, err := e.usedMemory()
		if err != nil {
			b.Fatal(err)
		}
		var values, usage int64
		keys, err := e.admin.Keys(b.Context(), "thumbcache:{*").Result()
		if err != nil || len(keys) != numCovers {
			b.Fatal(len(keys), err)
		}
		for _, key := range keys {
			n, err := e.admin.MemoryUsage(b.Context(), key, 0).Result()
			if err != nil {
				b.Fatal(err)
			}
			usage += n
			fields, err := e.admin.HGetAll(b.Context(), key).Result()
			if err != nil {
				b.Fatal(err)
			}
			for _, value := range fields {
				values += int64(len(value))
			}
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(values)/numCovers, "value-bytes/source")
		b.ReportMetric(float64(usage)/numCovers, "usage-bytes/source")
		b.ReportMetric(float64(full-empty)/numCovers, "used-bytes/source")
	}
}

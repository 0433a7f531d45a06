//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache"
)

// shortSong returns a FLAC file that is little more than its cover.
func shortSong(cover []byte) []byte {
	file := song(cover)
	return file[:len(file)-(14<<20-len(cover)-300)]
}

// BenchmarkAlbum measures the CPU time of the first song of an album and of each of the eleven others, which have the same cover of
// 1400 x 1400. Nothing is cached at the start.
func BenchmarkAlbum(b *testing.B) {
	all, err := sources()
	if err != nil {
		b.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s source) bool { return s.edge == 1400 && !s.progressive })
	media := b.TempDir()
	for n := range 12 {
		if err := os.WriteFile(filepath.Join(media, fmt.Sprintf("%02d.flac", n)), shortSong(all[i].data), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	var first, others time.Duration
	for b.Loop() {
		c, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"p": thumbcache.Files(media)}, Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		for n := range 12 {
			start := cpu(syscall.RUSAGE_SELF)
			if _, err := c.Get(b.Context(), "p", fmt.Sprintf("%02d.flac", n), 256); err != nil {
				b.Fatal(err)
			}
			if took := cpu(syscall.RUSAGE_SELF) - start; n == 0 {
				first += took
			} else {
				others += took / 11
			}
		}
		c.Close()
	}
	b.ReportMetric(first.Seconds()*1e3/float64(b.N), "cpu-ms/first")
	b.ReportMetric(others.Seconds()*1e3/float64(b.N), "cpu-ms/other")
	b.ReportMetric(others.Seconds()/first.Seconds(), "other/first")
}

// BenchmarkWarmAlbums measures the CPU time of Warm over albums of 12 songs with equal covers, in four sizes.
func BenchmarkWarmAlbums(b *testing.B) {
	const albums, songs = 20, 12
	all, err := sources()
	if err != nil {
		b.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s source) bool { return s.edge == 1000 && !s.progressive })
	media := b.TempDir()
	var paths []string
	for a := range albums {
		cover := append(slices.Clone(all[i].data), byte(a)) // a picture of its own: decoders stop before the last byte
		for n := range songs {
			path := fmt.Sprintf("%02d-%02d.flac", a, n)
			if err := os.WriteFile(filepath.Join(media, path), shortSong(cover), 0o644); err != nil {
				b.Fatal(err)
			}
			paths = append(paths, path)
		}
	}
	var took time.Duration
	for b.Loop() {
		c, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"p": thumbcache.Files(media)}, Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		start := cpu(syscall.RUSAGE_SELF)
		if got, err := c.Warm(b.Context(), "p", slices.Values(paths), 64, 160, 300, 600); err != nil || got.Extracted != len(paths) {
			b.Fatal(got, err)
		}
		took += cpu(syscall.RUSAGE_SELF) - start
		c.Close()
	}
	b.ReportMetric(took.Seconds()*1e3/float64(b.N), "cpu-ms/op")
}

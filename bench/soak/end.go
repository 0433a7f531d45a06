//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/thumbcache/thumbcache/internal/store"
)

// checkEnd checks what a node leaves behind that ended in peace. It was started at begin.
func (d *driver) checkEnd(f *final, begin time.Time) {
	r := d.report
	r.final = f
	promise := func(kept bool, format string, args ...any) {
		if !kept {
			d.wrong(format, args...)
		}
	}
	promise(f.Quiet.Children == 0 && f.After.Children == 0, "%d processes were left", f.After.Children)
	promise(f.After.Goroutines <= f.Before.Goroutines+1, "%d goroutines before New, %d after Close", f.Before.Goroutines, f.After.Goroutines)
	promise(f.After.Descriptors <= f.Before.Descriptors+1, "%d descriptors before New, %d after Close: %q", f.Before.Descriptors, f.After.Descriptors, f.Descriptors)
	promise(f.Quiet.Goroutines <= f.Before.Goroutines+quietGoroutines, "%d goroutines before New, %d without work", f.Before.Goroutines, f.Quiet.Goroutines)
	promise(f.After.Heap < f.Before.Heap+8<<20, "a heap of %d bytes before New, of %d after Close", f.Before.Heap, f.After.Heap)
	promise(f.Stats.MemoryEntries <= memoryEntries && f.Stats.MemoryBytes <= memoryBytes, "memory holds %d thumbnails, %d bytes", f.Stats.MemoryEntries, f.Stats.MemoryBytes)
	// A provider has at most 16 background checks at a time. Others are refused, and made later; on a busy machine these are many.
	promise(f.LooksFailed <= f.LooksTotal/2, "%d of %d checks of sources failed although nothing was wrong with the share", f.LooksFailed, f.LooksTotal)
	promise(f.Stats.DiskBytes <= diskBytes, "the disk holds %d bytes, more than %d", f.Stats.DiskBytes, diskBytes)
	d.checkDisk(f, begin, promise)
	if d.redis != nil {
		if err := d.checkRedis(promise); err != nil {
			d.wrong("Redis: %v", err)
		}
	}
}

const quietGoroutines = 20 // connections to Redis, and a listener

// checkDisk checks that files, account and the node's figures agree, and that each file is in order.
func (d *driver) checkDisk(f *final, begin time.Time, promise func(bool, string, ...any)) {
	var files, bytes int64
	temp := 0
	dir := d.file("disk/thumbs")
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Dir(path) == dir {
			return err
		}
		info, err := e.Info()
		files++
		bytes += info.Size()
		if strings.HasSuffix(path, ".tmp") {
			temp++
			promise(info.ModTime().Before(begin), "%s is left", path)
		}
		return err
	})
	promise(err == nil, "the folder of thumbnails: %v", err)
	s, err := store.Existing(dir)
	if err != nil {
		promise(false, "the folder of thumbnails: %v", err)
		return
	}
	defer s.Close()
	account := s.Usage()
	promise(account.Bytes == bytes && account.Files == files, "the disk holds %d files, %d bytes; its account says %d, %d", files, bytes, account.Files, account.Bytes)
	promise(f.Stats.DiskBytes == bytes && f.Stats.DiskEntries == files, "the disk holds %d files, %d bytes; Stats says %d, %d", files, bytes, f.Stats.DiskEntries, f.Stats.DiskBytes)
	err = s.Walk(context.Background(), false, func(file store.File) error {
		if file.Temp {
			return nil
		}
		if _, err := s.Read(file); err != nil {
			promise(false, "%s/%s: %v", file.Folder, file.Name, err)
		}
		return nil
	})
	promise(err == nil && s.Errors.Load() == 0, "reading the folder of thumbnails: %v, %d failures", err, s.Errors.Load())
	d.report.files, d.report.temp = files, temp
}

// checkRedis checks that everything in Redis expires, and that no lease is valid.
func (d *driver) checkRedis(promise func(bool, string, ...any)) error {
	ctx := context.Background()
	client := goredis.NewClient(&goredis.Options{Addr: d.redis.Addr})
	defer client.Close()
	keys := client.Scan(ctx, 0, "*", 1000).Iterator()
	n := 0
	for keys.Next(ctx) {
		n++
		ttl, err := client.TTL(ctx, keys.Val()).Result()
		if err != nil {
			return err
		}
		promise(ttl > 0, "%s never expires: %v", keys.Val(), ttl)
		fields, err := client.HGetAll(ctx, keys.Val()).Result()
		if err != nil {
			return err
		}
		for name, value := range fields {
			if !strings.HasPrefix(name, "lease:") {
				continue
			}
			// A killed process cannot give its leases back.
			_, end, _ := strings.Cut(value, ":")
			ms, err := strconv.ParseInt(end, 10, 64)
			promise(err == nil && ms < time.Now().UnixMilli(), "%s has %s until %s", keys.Val(), name, end)
		}
	}
	d.report.shared = n
	return keys.Err()
}

// trialCold asks for many thumbnails at once of which nothing is known.
func (d *driver) trialCold() error {
	if d.o.cold == 0 {
		return nil
	}
	keys := min(d.o.cold, d.songs)
	p, err := d.startNode(keys)
	if err != nil {
		return err
	}
	d.wait(p, 5*time.Minute)
	r := p.cold
	if r == nil {
		return fmt.Errorf("the node with %d requests at once ended without a result:\n%s", keys, p.stderr.String())
	}
	d.report.cold = r
	d.report.note("%d requests at once for new thumbnails: %d failed (%s), %d answers that the queue is full, %.1f s, at most %d goroutines, %d flights, RSS %d MiB (stacks %d, heap %d); %d MiB before; %d goroutines after.",
		r.Keys, r.Failed, r.LastError, r.Busy, r.Seconds, r.Goroutines, r.Flights, r.RSS>>20, r.Stacks>>20, r.Heap>>20, r.Before.RSS>>20, r.GoroutinesAfter)
	if r.Failed > 0 {
		d.wrong("%d of %d requests at once failed, such as: %s", r.Failed, r.Keys, r.LastError)
	}
	if limit := r.Keys + 100; r.Goroutines > limit {
		d.wrong("%d goroutines for %d requests at once, want at most %d", r.Goroutines, r.Keys, limit)
	}
	if limit := uint64(memoryBytes + decodeBytes + 64<<20); r.RSS > limit {
		d.wrong("RSS was %d MiB with %d requests at once, want at most %d MiB", r.RSS>>20, r.Keys, limit>>20)
	}
	return os.RemoveAll(d.file("disk/cold"))
}

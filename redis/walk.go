package redis

import (
	"context"
	"strconv"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"
)

// Walk calls fn for each value, one after the other, in no particular order. It reads everything, in small steps that do not block
// the server. Values that are stored or removed meanwhile may be left out, and a value may come twice. If fn returns an error,
// Walk returns it.
func (s *Store) Walk(ctx context.Context, fn func(source, variant string, sealed []byte) error) error {
	var fnErr error
	err := s.eachMaster(ctx, func(ctx context.Context, master goredis.Cmdable) error {
		return s.walkMaster(ctx, master, func(source, variant string, sealed []byte) error {
			if fnErr == nil {
				fnErr = fn(source, variant, sealed)
			}
			return fnErr
		})
	})
	switch {
	case fnErr != nil:
		return fnErr
	case err != nil:
		return failed(ctx, err)
	}
	return nil
}

// eachMaster calls fn for each server that has a part of the sources, one after the other.
func (s *Store) eachMaster(ctx context.Context, fn func(ctx context.Context, master goredis.Cmdable) error) error {
	cluster, ok := s.client.(*goredis.ClusterClient)
	if !ok {
		return fn(ctx, s.client)
	}
	var mu sync.Mutex
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *goredis.Client) error { // concurrently
		mu.Lock()
		defer mu.Unlock()
		return fn(ctx, master)
	})
}

var escapeGlob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func (s *Store) walkMaster(ctx context.Context, master goredis.Cmdable, visit func(source, variant string, sealed []byte) error) error {
	pattern := escapeGlob.Replace(s.prefix) + "{*}"
	for cursor := uint64(0); ; {
		keys, next, err := master.ScanType(ctx, cursor, pattern, 100, "hash").Result()
		if err != nil {
			return err
		}
		for _, key := range keys {
			source := strings.TrimSuffix(strings.TrimPrefix(key, s.prefix+"{"), "}")
			if len(source) != 64 || strings.Trim(source, "0123456789abcdef") != "" {
				continue // not a source
			}
			if err := walkSource(ctx, master, key, func(variant string, sealed []byte) error { return visit(source, variant, sealed) }); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func walkSource(ctx context.Context, master goredis.Cmdable, key string, visit func(variant string, sealed []byte) error) error {
	for cursor := uint64(0); ; {
		fields, next, err := master.HScan(ctx, key, cursor, "", 10).Result() // few, because each may have 1 MiB
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(fields); i += 2 {
			if strings.Contains(fields[i], ":") {
				continue // a lease
			}
			if err := visit(fields[i], []byte(fields[i+1])); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Usage is what the servers say about themselves. It includes what other programs keep in them.
type Usage struct {
	Keys      int64  // in the database. Each source is one key
	Bytes     int64  // memory in use
	MaxBytes  int64  // maxmemory; 0 means that there is no limit
	Policy    string // maxmemory-policy
	Evictions int64  // keys evicted since the server started
}

// Usage returns how full Redis is. For a Cluster it is the sum over all masters.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	var sum Usage
	err := s.eachMaster(ctx, func(ctx context.Context, master goredis.Cmdable) error {
		keys, err := master.DBSize(ctx).Result()
		if err != nil {
			return err
		}
		text, err := master.Info(ctx, "memory", "stats").Result()
		if err != nil {
			return err
		}
		sum.Keys += keys
		sum.add(text)
		return nil
	})
	if err != nil {
		return Usage{}, failed(ctx, err)
	}
	return sum, nil
}

// add adds what the text of the command INFO contains.
func (u *Usage) add(info string) {
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "used_memory":
			u.Bytes += n
		case "maxmemory":
			u.MaxBytes += n
		case "maxmemory_policy":
			u.Policy = value
		case "evicted_keys":
			u.Evictions += n
		}
	}
}

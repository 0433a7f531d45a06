package thumbcache

import (
	"context"
	"log/slog"
	"time"

	"github.com/thumbcache/thumbcache/internal/store"
)

// disk is the second tier: package store in terms of the cache.
type disk struct{ *store.Store }

func openDisk(dir string, max int64, log *slog.Logger) (disk, error) {
	s, err := store.Open(dir, max, log)
	return disk{s}, err
}

// hashOf returns the hex SHA-256 that names the files of s.
func hashOf(s source) string { return store.Hash(s.provider, s.path) }

// stored returns the name of k on disk.
func (k *key) stored() store.Key {
	return store.Key{Provider: k.provider, Path: k.path, Size: k.size, Cover: k.fit == Cover, PNG: k.format == PNG, None: k.none}
}

// get reads what is stored for k, whose source has this hash.
func (d disk) get(ctx context.Context, k *key, hash string) (*store.Entry, bool) {
	name := k.stored()
	return d.Get(ctx, &name, hash)
}

// cached is get for what the system has in memory.
func (d disk) cached(k *key, hash string) (*store.Entry, bool) {
	name := k.stored()
	return d.Cached(&name, hash)
}

func (d disk) remove(k *key) {
	name := k.stored()
	if err := d.Remove(&name); err != nil {
		d.Errors.Add(1)
	}
}

// stampOn returns the state of the source that e was made from.
func stampOn(e *store.Entry) Stamp { return Stamp{Size: e.Size, ModTime: e.ModTime, Tag: e.Tag} }

// entryFor returns what is to be stored for k, but for what it is.
func entryFor(k *key, stamp Stamp, version string) *store.Entry {
	return &store.Entry{Key: k.stored(), Pipeline: pipeline, Size: stamp.Size, ModTime: stamp.ModTime, Tag: stamp.Tag, Version: version}
}

// claim claims the making of k among all processes that share the folder, waiting for as long as ctx and patience last, and
// reports whether it was free.
func (d disk) claim(ctx context.Context, k *key, hash string, patience time.Duration) (release func(), ok bool) {
	if d.Store == nil {
		return func() {}, true
	}
	name := k.stored()
	return d.Lock(ctx, &name, hash, patience)
}

package thumbcache

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/thumbcache/thumbcache/internal/flight"
	"github.com/thumbcache/thumbcache/internal/store"
)

const (
	// Changes in progress. Further ones are skipped: a thumbnail that is not written is made again, and one that is not removed is
	// checked again before long.
	maxDiskChanges = 64

	// With this many changes in progress, workers wait for their own. Otherwise they could make thumbnails faster than those are
	// written, and in the end skip writes.
	changesBehind = 8

	diskPatience = time.Second      // how long a request waits for a change
	lockPatience = 15 * time.Second // how long another process may take to make a thumbnail
)

// disk is the second tier: thumbnails and failures in sealed files. Without a Config.Dir the tier is nil: its methods find
// nothing and store nothing.
type disk struct {
	store       *store.Store
	recipe      recipe
	generations *generations
	log         *slog.Logger
	observer    *Observer
	changes     flight.Group[diskChange, struct{}]
	open        sync.RWMutex // held for reading by removals; closed changes under it, so that none outlasts close
	closed      bool
}

// A diskChange identifies a write for a key, or a removal of all files of a source if size is negative. Writes of different states
// of a source are different changes, so none is lost in another.
type diskChange struct {
	key
	gen uint64
	of  made
}

func (c *Cache) openDisk(dir string, maxBytes int64) (*disk, error) {
	s, err := store.Open(dir, maxBytes, c.log)
	if err != nil {
		return nil, err
	}
	for _, p := range c.providers {
		s.Patience = min(s.Patience, p.settings.Timeout/4) // leaves time to make what could not be read
	}
	return &disk{store: s, recipe: c.recipe, generations: &c.generations, log: c.log, observer: &c.observer}, nil
}

// load returns the thumbnail for k, whose source has this hash, or nil.
func (d *disk) load(ctx context.Context, k *key, hash string) *entry {
	if d == nil {
		return nil
	}
	name := k.stored()
	e, ok := d.store.Get(ctx, &name, hash)
	if !ok {
		return nil
	}
	return d.recipe.entry(k, hash, e)
}

// loadCached is load for a file in the page cache. It never waits for the disk.
func (d *disk) loadCached(k *key, hash string) *entry {
	if d == nil {
		return nil
	}
	name := k.stored()
	e, ok := d.store.Cached(&name, hash)
	if !ok {
		return nil
	}
	return d.recipe.entry(k, hash, e)
}

// loadFailure returns the remembered failure of s, or nil.
func (d *disk) loadFailure(ctx context.Context, s source, hash string) *failure {
	if d == nil {
		return nil
	}
	k := key{source: s, none: true}
	name := k.stored()
	e, ok := d.store.Get(ctx, &name, hash)
	if !ok {
		return nil
	}
	return failureFrom(e)
}

// save writes a thumbnail that was made in generation gen. If its source failed before, save removes that failure.
func (d *disk) save(gen uint64, e *entry, hadFailed bool) {
	if d == nil {
		return
	}
	id := diskChange{e.key, gen, e.made}
	d.change(id, d.write(id, d.recipe.sealed(e), hadFailed))
}

// saveSoon is save in the background.
func (d *disk) saveSoon(gen uint64, e *entry) {
	if d == nil {
		return
	}
	id := diskChange{e.key, gen, e.made}
	d.start(id, d.write(id, d.recipe.sealed(e), false))
}

// saveFailure writes the failure of a source.
func (d *disk) saveFailure(f sourceFlight, failed *failure) {
	if d == nil {
		return
	}
	k := key{source: f.source, none: true}
	id := diskChange{k, f.gen, failed.made}
	d.change(id, d.write(id, failed.sealed(&k), false))
}

// write returns a function that writes s, unless the source was invalidated meanwhile. Making room for it goes on in the background.
func (d *disk) write(id diskChange, s *store.Entry, removeFailure bool) func(*flight.Work) {
	return func(w *flight.Work) {
		done := d.observer.stage("store", id.source)
		var need int64
		d.ifCurrent(id, func() {
			if removeFailure {
				k := key{source: id.source, none: true}
				name := k.stored()
				if err := d.store.Remove(&name); err != nil {
					d.store.Errors.Add(1)
				}
			}
			need = d.store.Put(s)
		})
		done(new(error)) // failed writes are counted; no request fails because of them
		if need > 0 {
			w.End(nil)
			d.store.MakeRoom(need)
			d.ifCurrent(id, func() { d.store.Put(s) })
		}
	}
}

// ifCurrent calls publish unless the source was invalidated since generation id.gen. Invalidate waits meanwhile.
func (d *disk) ifCurrent(id diskChange, publish func()) {
	st := d.generations.stripe(id.source)
	st.disk.Lock()
	defer st.disk.Unlock()
	if st.gen.Load() == id.gen {
		publish()
	}
}

// change runs do, which changes files, and waits for it unless it takes long or the disk is known to hang. It does nothing if
// too many changes are in progress.
func (d *disk) change(id diskChange, do func(*flight.Work)) {
	if !d.store.Answers() {
		d.start(id, do)
		return
	}
	if d.changes.Len() >= maxDiskChanges {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), diskPatience)
	defer cancel()
	d.changes.Do(ctx, id, changeFunc(do))
}

// isBehind reports whether thumbnails are made faster than they are written.
func (d *disk) isBehind() bool {
	return d != nil && d.changes.Len() >= changesBehind && d.store.Answers()
}

// start is change in the background.
func (d *disk) start(id diskChange, do func(*flight.Work)) {
	if d.changes.Len() < maxDiskChanges {
		d.changes.Start(id, changeFunc(do))
	}
}

func changeFunc(do func(*flight.Work)) func(*flight.Work) (struct{}, error) {
	return func(w *flight.Work) (struct{}, error) {
		do(w)
		return struct{}{}, nil
	}
}

// remove removes all files of s, and waits for that.
func (d *disk) remove(s source) error {
	if d == nil {
		return nil
	}
	d.open.RLock()
	defer d.open.RUnlock()
	if d.closed {
		return ErrClosed
	}
	st := d.generations.stripe(s)
	st.disk.Lock()
	defer st.disk.Unlock()
	_, err := d.store.RemoveSource(s.provider, s.path)
	return err
}

// removeSoon is remove for a source that is gone: if it takes long, it goes on in the background.
func (d *disk) removeSoon(s source, gen uint64) {
	if d == nil {
		return
	}
	d.change(diskChange{key: key{source: s, shape: shape{height: 1}}, gen: gen}, func(*flight.Work) {
		if err := d.remove(s); err != nil {
			d.log.Debug("thumbcache: removing stored thumbnails", "error", err)
		}
	})
}

// lockMaking locks the making of a thumbnail for k against other processes with the same Dir. It waits for patience, and
// reports whether the lock was free.
func (d *disk) lockMaking(ctx context.Context, k *key, hash string, patience time.Duration) (unlock func(), free bool) {
	if d == nil {
		return func() {}, true
	}
	name := k.stored()
	return d.store.Lock(ctx, &name, hash, patience)
}

// addStats adds what the tier has counted to s.
func (d *disk) addStats(s *Stats) {
	if d == nil {
		return
	}
	s.Evictions, s.DiskErrors, s.Corrupt = d.store.Evictions.Load(), d.store.Errors.Load(), d.store.Corrupt.Load()
	u := d.store.Known()
	s.DiskEntries, s.DiskBytes = u.Files, u.Bytes
}

func (d *disk) close() {
	if d != nil {
		d.store.Stop()
		d.changes.Close(ErrClosed, 0)
		d.open.Lock()
		d.closed = true
		d.open.Unlock()
		d.store.Close()
	}
}

package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/thumbcache/thumbcache"
)

const (
	// maxLife is the longest life of a lease. A foreign object cannot keep machines from making a thumbnail for longer.
	maxLife = 10 * time.Minute

	// clockSteps is how much later a lease may seem to expire, because Date and Last-Modified are in whole seconds.
	clockSteps = 2 * time.Second
)

// Lease implements [thumbcache.Leaser]. The error is errors.ErrUnsupported if the store ignores conditions. Life is at most 10
// minutes.
func (s *Store) Lease(ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
	value, err := s.name(source, variant)
	if err != nil {
		return nil, err
	}
	if err := s.tryConditions(ctx); err != nil {
		return nil, err
	}
	dir, variant := path.Split(value)
	l := &lease{store: s, source: source, name: dir + leasePrefix + variant, life: min(life, maxLife)}
	takeable := absent
	if s.watches.has(l.name) { // most likely it still exists, and reading is cheaper than writing
		if takeable, err = l.look(ctx); err != nil {
			return nil, err
		}
	}
	err = l.write(ctx, takeable)
	if errors.Is(err, errCondition) {
		if takeable, err = l.look(ctx); err == nil {
			err = l.write(ctx, takeable)
		}
	}
	if errors.Is(err, errCondition) {
		return nil, thumbcache.ErrHeld // another machine was faster
	}
	if err != nil {
		return nil, err
	}
	s.watches.forget(l.name)
	return l, nil
}

// A lease is held as long as its object has the ETag that we know, and its end has not come.
type lease struct {
	store  *Store
	source string
	name   string
	life   time.Duration

	mu   sync.Mutex // held during requests, so that each knows the ETag of the one before
	etag condition  // "" when the lease has ended
	end  time.Time  // by the monotonic clock of this machine, counted from before the request
}

// look returns the condition on which the lease can be taken. The error is ErrHeld if another machine has it.
func (l *lease) look(ctx context.Context) (condition, error) {
	o, err := l.store.get(ctx, l.name)
	if errors.Is(err, fs.ErrNotExist) {
		l.store.watches.forget(l.name)
		return absent, nil
	}
	if err != nil {
		return "", err
	}
	life := l.life
	if _, text, ok := strings.Cut(string(o.data), " "); ok {
		if d, err := time.ParseDuration(strings.TrimSpace(text)); err == nil {
			life = min(d, maxLife)
		}
	}
	etag := condition(o.info.ETag)
	if l.store.watches.unchanged(l.name, etag) >= life {
		return etag, nil
	}
	if date, err := http.ParseTime(o.date); err == nil && date.Sub(o.info.LastModified) > life+clockSteps {
		return etag, nil
	}
	return "", thumbcache.ErrHeld
}

// write begins the life of the lease anew, if its object meets a condition. Each time the content differs, and thus the ETag. The
// caller holds l.mu, unless nobody else knows the lease yet.
func (l *lease) write(ctx context.Context, c condition) error {
	start := time.Now()
	etag, err := l.store.put(ctx, l.name, fmt.Appendf(nil, "%s %v\n", rand.Text(), l.life), c)
	if err == nil {
		l.etag, l.end = etag, start.Add(l.life)
	}
	return err
}

// renew is Renew. The caller holds l.mu.
func (l *lease) renew(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if l.etag == "" || !time.Now().Before(l.end) {
		return thumbcache.ErrLeaseLost
	}
	err := l.write(ctx, l.etag)
	if errors.Is(err, errCondition) {
		l.etag = ""
		return thumbcache.ErrLeaseLost
	}
	return err
}

// release is Release. The caller holds l.mu.
func (l *lease) release(ctx context.Context) error {
	// Not all stores can remove an object on a condition. After it was renewed, nobody else takes it for a while.
	if err := l.renew(ctx); err != nil {
		return err
	}
	l.etag = ""
	if time.Until(l.end) < l.life/2 {
		return nil // too late to be sure; it will expire
	}
	return l.store.removeOne(ctx, l.name)
}

func (l *lease) Renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renew(ctx)
}

func (l *lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.release(ctx)
}

// Commit implements [thumbcache.Committer]. If the source is removed meanwhile, the value may be visible for a moment, until
// Commit has removed it. A store that does not answer in time may still store the value later; its stamp tells a Cache then that
// it is old.
func (s *Store) Commit(ctx context.Context, held thumbcache.Lease, source, variant string, sealed []byte) error {
	name, err := s.name(source, variant)
	if err != nil {
		return err
	}
	l, ok := held.(*lease)
	if !ok || l.source != source {
		return fmt.Errorf("s3: commit: a lease of something else: %w", fs.ErrInvalid)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.renew(ctx); err != nil {
		return err
	}
	if _, err := s.put(ctx, name, sealed, always); err != nil {
		return err
	}
	err = l.release(ctx)
	if errors.Is(err, thumbcache.ErrLeaseLost) {
		return errors.Join(err, s.removeOne(ctx, name))
	}
	return err
}

// watches remembers when this machine first saw the current state of other machines' leases.
type watches struct {
	mu   sync.Mutex
	seen map[string]watch // by name of the lease
}

type watch struct {
	etag  condition
	since time.Time
}

// maxWatches limits the memory of watches. Further leases expire by the clock of the store only.
const maxWatches = 4096

func (w *watches) has(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.seen[name]
	return ok
}

func (w *watches) forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, name)
}

// unchanged returns for how long this machine has seen a lease in its current state.
func (w *watches) unchanged(name string, etag condition) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if seen, ok := w.seen[name]; ok && seen.etag == etag {
		return now.Sub(seen.since)
	}
	if len(w.seen) >= maxWatches {
		for name, seen := range w.seen {
			if now.Sub(seen.since) > maxLife {
				delete(w.seen, name)
			}
		}
	}
	if w.seen == nil {
		w.seen = make(map[string]watch)
	}
	if len(w.seen) < maxWatches {
		w.seen[name] = watch{etag, now}
	}
	return 0
}

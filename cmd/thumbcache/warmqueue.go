package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/thumbcache/thumbcache"
)

const maxBatches = 16 // that wait to be warmed; each takes at most 1 MiB

var errTooManyBatches = errors.New("too many batches are waiting; try again later")

// A batch is a list of sources whose thumbnails are made in advance.
type batch struct {
	provider string
	paths    []string
	sizes    []int
}

// A warmQueue warms batches in the background, one after another.
type warmQueue struct {
	batches chan batch

	mu       sync.Mutex        // protects the fields below
	waiting  int               // paths that are not finished
	ended    thumbcache.Warmed // paths of batches that have ended
	finished thumbcache.Warmed // and of the present one
}

// A warmReport says what a warmQueue has done since the start.
type warmReport struct {
	Waiting int `json:"waiting"` // paths that are not finished
	thumbcache.Warmed
}

func newWarmQueue() *warmQueue { return &warmQueue{batches: make(chan batch, maxBatches)} }

// add adds a batch, or returns errTooManyBatches.
func (q *warmQueue) add(b batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case q.batches <- b:
		q.waiting += len(b.paths)
		return nil
	default:
		return errTooManyBatches
	}
}

// run warms batches until ctx ends.
func (q *warmQueue) run(ctx context.Context, cache *thumbcache.Cache) {
	for {
		select {
		case b := <-q.batches:
			// It ends early only with ctx or the cache, and an unknown provider is refused before.
			_, _ = cache.Warm(ctx, b.provider, slices.Values(b.paths), b.sizes...)
			q.mu.Lock()
			q.ended = q.finished
			q.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// addFinished is the observer of the cache. It counts a path that is finished; sofar counts those of its batch.
func (q *warmQueue) addFinished(_ string, sofar thumbcache.Warmed, _ error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
	q.finished = thumbcache.Warmed{
		Extracted: q.ended.Extracted + sofar.Extracted,
		Reused:    q.ended.Reused + sofar.Reused,
		NoPicture: q.ended.NoPicture + sofar.NoPicture,
		Failed:    q.ended.Failed + sofar.Failed,
	}
}

func (q *warmQueue) report() warmReport {
	q.mu.Lock()
	defer q.mu.Unlock()
	return warmReport{q.waiting, q.finished}
}

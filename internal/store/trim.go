package store

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"time"
)

const (
	maxVictims   = 1 << 17          // files chosen in one walk: with garbage, some 30 MiB
	trimPatience = 30 * time.Second // how long to wait for another process that makes room
	extraPart    = 64               // MakeRoom removes a 64th of all files, because a walk of a large folder is expensive
	maxFailures  = 100              // files that cannot be removed, without one that can, before a trim gives up
)

// A victim is a file that may be evicted.
type victim struct {
	folder, name string
	size         int64
	used         int64 // Unix time in nanoseconds
}

// oldest is a heap of the files used longest ago, with the last used of them on top.
type oldest []victim

func (h oldest) Len() int           { return len(h) }
func (h oldest) Less(i, j int) bool { return h[i].used > h[j].used }
func (h oldest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *oldest) Push(x any)        { *h = append(*h, x.(victim)) }
func (h *oldest) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	*h = (*h)[:last]
	return f
}

// MakeRoom removes the files used longest ago until need more bytes fit, and a few more.
func (s *Store) MakeRoom(need int64) {
	start := time.Now()
	switch err := s.trim(s.ctx, s.maxBytes-need, true, nil); {
	case err == errBeingWritten:
		s.health.pauseWrites(time.Since(start)) // the next walk would find no victims either
	case err != nil && s.ctx.Err() == nil:
		s.noteWrite(err) // if nothing can be removed, nothing can be stored
	}
}

// Trim removes the files used longest ago until at most maxBytes are left, and calls removed for each.
func (s *Store) Trim(ctx context.Context, maxBytes int64, removed func(File)) error {
	return s.trim(ctx, maxBytes, false, removed)
}

var errBeingWritten = errors.New("the remaining files are being written")

// trim implements MakeRoom and Trim. For MakeRoom it trusts the account, because the store counts in the background; for Trim
// it walks the folder first.
func (s *Store) trim(ctx context.Context, maxBytes int64, makeRoom bool, removed func(File)) error {
	if err := s.trims.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.trims.Release(1)
	if makeRoom && s.Usage().Bytes <= maxBytes {
		return nil // another caller has made room
	}
	release, _ := s.ledger.lock(ctx, trimAt, trimPatience)
	defer release()
	// A walk may find more than was known before it, and a very large folder needs more than one.
	for {
		before := s.Usage()
		if makeRoom && before.Bytes <= maxBytes {
			return ctx.Err()
		}
		var extra int64
		if makeRoom {
			extra = before.Files / extraPart
		}
		victims, err := s.chooseVictims(ctx, before.Bytes, maxBytes, extra)
		if err != nil {
			return err // files that were not seen may be older
		}
		if done, err := s.evict(ctx, victims, maxBytes, extra, removed); done || err != nil {
			return err
		}
	}
}

// chooseVictims returns the files used longest ago, from the oldest on: enough to get from the larger of known and what it sees
// down to maxBytes, and at least extra.
func (s *Store) chooseVictims(ctx context.Context, known, maxBytes, extra int64) ([]victim, error) {
	var found oldest
	var seen, chosen int64 // bytes
	err := s.Walk(ctx, false, func(f File) error {
		seen += f.Size
		if f.Temp {
			return nil
		}
		heap.Push(&found, victim{f.Folder, f.Name, f.Size, f.Used.UnixNano()})
		chosen += f.Size
		// Whatever was used after the victims stays.
		goal := max(known, seen) - maxBytes
		for len(found) > maxVictims || int64(len(found)) > extra && chosen-found[0].size >= goal {
			chosen -= heap.Pop(&found).(victim).size
		}
		return nil
	})
	victims := make([]victim, len(found))
	for i := len(victims) - 1; i >= 0; i-- {
		victims[i] = heap.Pop(&found).(victim)
	}
	return victims, err
}

// evict removes victims, in order, until at most maxBytes are left and extra victims have been removed. It reports whether at
// most maxBytes are left.
func (s *Store) evict(ctx context.Context, victims []victim, maxBytes, extra int64, removed func(File)) (done bool, err error) {
	left := s.Usage().Bytes
	if left <= maxBytes {
		return true, nil // the walk has corrected the account
	}
	evicted, failure := 0, error(nil)
	for i, v := range victims {
		if int64(i) >= extra && left <= maxBytes {
			return true, nil
		}
		if err := s.removeFile(ctx, v.folder, v.name); err != nil {
			if failure = err; evicted == 0 && i >= maxFailures || ctx.Err() != nil {
				return false, err
			}
			continue
		}
		evicted++
		s.Evictions.Add(1)
		left = s.Usage().Bytes
		if removed != nil {
			removed(File{Folder: v.folder, Name: v.name, Size: v.size, Used: time.Unix(0, v.used)})
		}
	}
	switch {
	case left <= maxBytes:
		return true, nil
	case evicted == 0:
		return false, cmp.Or(failure, errBeingWritten)
	}
	return false, nil
}

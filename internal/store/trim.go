package store

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"time"
)

const (
	maxVictims = 1 << 17          // files that are chosen in one walk: with what the collector leaves for a while, some 30 MiB
	trimTurn   = 30 * time.Second // how long another process's trim is waited for
)

// A victim is a file that may have to go.
type victim struct {
	name string
	size int64
	used int64 // Unix time in nanoseconds
}

// oldest is a heap of files with the one used last on top.
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

// MakeRoom removes the files used longest ago until need more bytes fit. A walk is dear in a large folder, so then it
// goes a little further than it must: a 64th of all files.
func (s *Store) MakeRoom(need int64) {
	start := time.Now()
	switch err := s.trim(s.ctx, s.max-need, 64, nil); {
	case err == errBeingWritten:
		s.pause(time.Since(start)) // the next one would walk in vain too
	case err != nil && s.ctx.Err() == nil:
		s.wrote(err) // where nothing can be removed, nothing can be stored
	}
}

// Trim removes the files used longest ago until no more than max bytes are left, and calls removed for each.
func (s *Store) Trim(ctx context.Context, max int64, removed func(File)) error {
	return s.trim(ctx, max, 0, removed)
}

var errBeingWritten = errors.New("what is left is being written")

func (s *Store) trim(ctx context.Context, max int64, extraPart int64, removed func(File)) error {
	if err := s.trims.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.trims.Release(1)
	known := extraPart > 0 // somebody counts already
	if known && s.Usage().Bytes <= max {
		return nil // another one has made room meanwhile
	}
	release, _ := s.ledger.lock(ctx, trimAt, trimTurn)
	defer release()
	// A walk may find that there is more than was known before it, and one is not enough for very many files.
	for {
		before := s.Usage()
		if known && before.Bytes <= max {
			return ctx.Err()
		}
		var extra int64
		if extraPart > 0 {
			extra = before.Files / extraPart
		}
		var found oldest
		var sum int64 // of the sizes in found
		all := Usage{}
		err := s.Walk(ctx, false, func(f File) error {
			all = all.plus(Usage{1, f.Size})
			if f.Temp {
				return nil
			}
			heap.Push(&found, victim{f.Name, f.Size, f.Used.UnixNano()})
			sum += f.Size
			// found needs no more than what is too much and the extra files; what was used after them stays. How much is too
			// much is not known before the end: until then it is the larger of what was known and what was seen.
			goal := before.Bytes - max
			if seen := all.Bytes - max; seen > goal {
				goal = seen
			}
			for len(found) > maxVictims || int64(len(found)) > extra && sum-found[0].size >= goal {
				sum -= heap.Pop(&found).(victim).size
			}
			return nil
		})
		if err != nil {
			return err // what was not seen may be older
		}
		left := s.Usage().Bytes
		if left <= max {
			return nil
		}
		// From the oldest on.
		victims := make([]victim, len(found))
		for i := len(victims) - 1; len(found) > 0; i-- {
			victims[i] = heap.Pop(&found).(victim)
		}
		progress, failed := false, error(nil)
		for i, v := range victims {
			if int64(i) >= extra && left <= max {
				return nil
			}
			if err := s.removeFile(ctx, v.name[:2], v.name); err != nil {
				if failed = err; !progress && i >= 100 || ctx.Err() != nil {
					return err // it is not only some that cannot be removed
				}
				continue
			}
			progress = true
			s.Evictions.Add(1)
			left = s.Usage().Bytes
			if removed != nil {
				removed(File{Folder: v.name[:2], Name: v.name, Size: v.size, Used: time.Unix(0, v.used)})
			}
		}
		if left <= max {
			return nil
		}
		if !progress {
			return cmp.Or(failed, errBeingWritten)
		}
	}
}

package store

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache/internal/readfile"
)

const (
	orphanAge  = time.Hour        // a temporary file that is older was left behind by a killed process
	maxVictims = 1 << 17          // files that are chosen in one walk: with what the collector leaves for a while, some 30 MiB
	trimTurn   = 30 * time.Second // how long another process's trim is waited for
)

// A File is one file of ours, as it lies in its folder.
type File struct {
	Folder, Name string
	Size         int64
	Used         time.Time // the last time it was served, to the hour
	Temp         bool      // it is being written, or was when a process was killed
}

// learn counts in the background what is there, and trims it if that is too much. When it is called once more meanwhile,
// it begins again at the end.
func (s *Store) learn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.learns++; s.learns > 1 {
		return
	}
	s.wg.Go(func() {
		for again := true; again; {
			_ = s.Walk(s.ctx, true, nil)
			if s.max >= 0 {
				s.MakeRoom(0)
			}
			s.mu.Lock()
			again = s.learns > 1 && s.ctx.Err() == nil
			s.learns = min(s.learns, 2) - 1
			s.mu.Unlock()
		}
	})
}

// Walk visits every file of ours, folder by folder: it removes temporary files that were left behind, puts the account
// right, and calls visit, if it is not nil. A polite walk takes a fifth of the time, and leaves the rest to others. A folder
// that cannot be read is left out. It ends early with the error of ctx, or the one that visit returns.
func (s *Store) Walk(ctx context.Context, polite bool, visit func(File) error) error {
	for i := range 256 {
		start := time.Now()
		if err := s.walkFolder(ctx, i, visit); err != nil {
			return err
		}
		if !polite {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(4*time.Since(start) + time.Millisecond):
		}
	}
	return ctx.Err()
}

func (s *Store) walkFolder(ctx context.Context, number int, visit func(File) error) error {
	folder := fmt.Sprintf("%02x", number)
	var files []File
	err := s.ledger.count(ctx, number, func() (sum Usage, err error) {
		f, err := openFolder(s.dir, folder)
		if errors.Is(err, fs.ErrNotExist) {
			return Usage{}, nil
		}
		if err != nil {
			return Usage{}, err
		}
		defer f.close()
		names, err := f.names(-1)
		now := time.Now()
		for _, name := range names {
			if !ourName.MatchString(name) || ctx.Err() != nil {
				continue
			}
			there, e := f.stat(name)
			if errors.Is(e, fs.ErrNotExist) {
				continue
			}
			if e != nil {
				err = e // then it is not known what there is
			}
			if e != nil || !there.regular {
				continue
			}
			file := File{folder, name, there.size, there.modTime, strings.HasSuffix(name, ".tmp")}
			if file.Temp && (now.Sub(file.Used) > orphanAge || file.Used.After(now.Add(orphanAge))) {
				if f.remove(name) == nil {
					continue
				}
			}
			if !file.Temp && file.Used.After(now.Add(touchInterval)) {
				_ = f.touch(name, now) // or it would never grow old
				file.Used = now
			}
			sum = sum.plus(Usage{1, there.size})
			if visit != nil {
				files = append(files, file)
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		return sum, err
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.Errors.Add(1)
		s.log.Debug("thumbcache: reading a folder of thumbnails", "error", err)
	}
	// Only now, since nobody can write to the folder while it is counted.
	for _, file := range files {
		if err := visit(file); err != nil {
			return err
		}
	}
	return nil
}

// Read returns what a file says, and an error if it says nothing or is not what its name says.
func (s *Store) Read(f File) (*Entry, error) {
	data, _, err := readfile.Read(s.dir+sep+f.Folder+sep+f.Name, maxFile)
	if err != nil {
		return nil, err
	}
	e, err := Unseal(data, &Key{})
	if err != nil {
		return nil, err
	}
	hash := Hash(e.Key.Provider, e.Key.Path)
	if f.Name != e.Key.name(hash) || f.Folder != hash[:2] || e.Key.None != (e.Cause != Picture) {
		return e, errors.New("another file's content")
	}
	return e, nil
}

// RemoveFile deletes a file.
func (s *Store) RemoveFile(f File) error { return s.removeFile(s.ctx, f.Folder, f.Name) }

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
	err := s.trim(s.ctx, s.max-need, 64, nil)
	if err != nil && err != errBeingWritten && s.ctx.Err() == nil {
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

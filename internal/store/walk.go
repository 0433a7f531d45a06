package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache/internal/readfile"
)

const orphanAge = time.Hour // a temporary file that is older was left behind by a killed process

// A File is one file of ours, as it lies in its folder.
type File struct {
	Folder, Name string
	Size         int64
	Used         time.Time // the last time it was served, to the hour
	Temp         bool      // it is being written, or was when a process was killed
}

// FileOf returns where the file for k lies, if there is one.
func FileOf(k *Key) File {
	hash := Hash(k.Provider, k.Path)
	return File{Folder: hash[:2], Name: k.name(hash)}
}

// Source returns the files of one source that are there. It reads one folder, and changes nothing.
func (s *Store) Source(provider, path string) (files []File, err error) {
	hash := Hash(provider, path)
	names, err := s.names(hash[:2])
	if err != nil || len(names) == 0 {
		return nil, err
	}
	f, err := openFolder(s.dir, hash[:2])
	if err != nil {
		return nil, err
	}
	defer f.close()
	for _, name := range names {
		if !strings.HasPrefix(name, hash) || !ourName.MatchString(name) {
			continue
		}
		if there, err := f.stat(name); err == nil && there.regular {
			files = append(files, File{hash[:2], name, there.size, there.modTime, strings.HasSuffix(name, ".tmp")})
		}
	}
	return files, nil
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

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

// A File is a file of ours in one of the 256 folders.
type File struct {
	Folder, Name string
	Size         int64
	Used         time.Time // when it was last served, to the hour
	Temp         bool      // it is being written, or was when its process was killed
}

// FileOf returns the folder and name of the file for k, which need not exist.
func FileOf(k *Key) File {
	hash := Hash(k.Provider, k.Path)
	return File{Folder: hash[:2], Name: k.name(hash)}
}

// Source returns the stored files of a source. It reads one folder and changes nothing.
func (s *Store) Source(provider, path string) (files []File, err error) {
	hash := Hash(provider, path)
	f, err := openFolder(s.dir, hash[:2])
	if err != nil {
		return nil, unlessMissing(err)
	}
	defer f.close()
	names, err := f.names(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, hash) || !ourName.MatchString(name) {
			continue
		}
		if there, err := f.stat(name); err == nil && there.regular {
			files = append(files, File{hash[:2], name, there.size, there.modTime, isTemp(name)})
		}
	}
	return files, nil
}

// startCount counts all files in the background, and removes some if there are too many. If it is called during a count,
// another count follows.
func (s *Store) startCount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.counts++; s.counts > 1 {
		return
	}
	s.wg.Go(func() {
		for again := true; again; {
			_ = s.Walk(s.ctx, true, nil)
			if s.maxBytes >= 0 {
				s.MakeRoom(0)
			}
			s.mu.Lock()
			again = s.counts > 1 && s.ctx.Err() == nil
			s.counts = min(s.counts, 2) - 1
			s.mu.Unlock()
		}
	})
}

// Walk visits all files of ours, folder by folder. It removes temporary files of killed processes, corrects the account, and
// calls visit, unless that is nil. A polite walk pauses for four fifths of the time. Walk skips a folder that cannot be
// read. It stops with the error of ctx, or the one that visit returns.
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
		case <-s.clock.after(4*time.Since(start) + time.Millisecond):
		}
	}
	return ctx.Err()
}

func (s *Store) walkFolder(ctx context.Context, number int, visit func(File) error) error {
	var files []File
	err := s.ledger.recount(ctx, number, func() (sum Usage, err error) {
		files, err = s.listFolder(ctx, fmt.Sprintf("%02x", number))
		for _, f := range files {
			sum = sum.plus(Usage{1, f.Size})
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
	if visit == nil {
		return nil
	}
	// Not earlier, because nothing can be written to the folder while it is counted.
	for _, file := range files {
		if err := visit(file); err != nil {
			return err
		}
	}
	return nil
}

// listFolder returns the files of ours in a folder, and removes temporary files of killed processes. With an error there may be
// more files than it returns.
func (s *Store) listFolder(ctx context.Context, folder string) (files []File, err error) {
	f, err := openFolder(s.dir, folder)
	if err != nil {
		return nil, unlessMissing(err)
	}
	defer f.close()
	names, err := f.names(-1)
	now := time.Now()
	for _, name := range names {
		if ctx.Err() != nil {
			return files, ctx.Err()
		}
		if !ourName.MatchString(name) {
			continue
		}
		there, statErr := f.stat(name)
		if errors.Is(statErr, fs.ErrNotExist) {
			continue
		}
		if statErr != nil {
			err = statErr
			continue
		}
		if !there.regular {
			continue
		}
		file := File{folder, name, there.size, there.modTime, isTemp(name)}
		fromFuture := file.Used.After(now.Add(touchInterval))
		if file.Temp && (fromFuture || now.Sub(file.Used) > orphanAge) && f.unlink(name) == nil {
			continue
		}
		if !file.Temp && fromFuture {
			_ = f.touch(name, now) // or it would never become the oldest
			file.Used = now
		}
		files = append(files, file)
	}
	return files, err
}

// Read returns what a file contains. It returns an error if the file is damaged, or is not the one that its name says.
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

// RemoveFile removes a file, if there is one.
func (s *Store) RemoveFile(f File) error { return s.removeFile(s.ctx, f.Folder, f.Name) }

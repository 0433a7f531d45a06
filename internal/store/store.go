// Package store keeps thumbnails on disk, in a folder of sealed files whose total size is limited.
//
// The folder holds up to 256 folders, named by the first byte of the hash. They hold
//
//	<hash>_<size>.jpg   <hash>_<size>.png     the whole picture
//	<hash>_<size>c.jpg  <hash>_<size>c.png    a square from its center
//	... .webp, .auto                          the same in these formats
//	<hash>.none                               a record that there is no picture, and why
//
// where hash is the lower-case hex SHA-256 of provider + "/" + path. A file is written under a temporary name and renamed.
// It is not synced: a file that a power failure has torn fails its check and counts as a miss. Files with other names are
// neither counted nor removed.
//
// Several processes may share a folder on a local disk. They never break or misread each other's files. On systems whose
// file locks end with their process (Linux, macOS, Windows) they also keep the limit together, and only one of them makes a
// given thumbnail at a time. Do not use network file systems: their renames and locks promise less.
package store

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/readfile"
)

const sep = string(filepath.Separator)

const (
	maxFile       = 128 << 20       // bytes: a larger file is not one of ours, even if its name is
	maxReads      = 32              // concurrent reads: each may hold a thread for as long as a dying disk takes
	turnPatience  = time.Second     // how long a read waits to become one of maxReads
	readPatience  = 5 * time.Second // the default of Store.Patience
	touchInterval = time.Hour       // a hit updates the file's time of use at most this often, to write little
)

// A Store is an open folder. Its methods may be called concurrently.
type Store struct {
	// Counters since the store was opened: files removed to make room, failed reads and writes, files that failed their check.
	Evictions, Errors, Corrupt atomic.Uint64

	// How long a read may take. A disk that was asleep needs some seconds. Set it before the first Get.
	Patience time.Duration

	dir      string
	maxBytes int64 // negative: no limit
	log      *slog.Logger
	clock    clock
	ledger   *ledger
	health   *health

	reads        *semaphore.Weighted // maxReads
	trims        *semaphore.Weighted // 1: one goroutine makes room at a time
	usageRefresh *semaphore.Weighted // 1: held while Known is updated

	ctx  context.Context // ends when the store is closed
	stop context.CancelFunc
	wg   sync.WaitGroup // counts what runs in the background

	mu     sync.Mutex // protects the fields below
	closed bool
	counts int // background counts that run or are requested: see startCount
}

// ourName matches the names that may be counted and removed.
var ourName = regexp.MustCompile(`^[0-9a-f]{64}(_[0-9]{1,10}(x[0-9]{1,5})?(c([0-9]{1,3}x[0-9]{1,3})?|p([0-9a-f]{6}|blur|transparent)|b[0-9]{1,10})?\.(jpg|png|auto|webp)|\.none)(\.[0-9a-f]{16}\.tmp)?$`)

// Open opens dir, which it makes if necessary, and counts its files in the background. The store keeps to maxBytes; a
// negative number is no limit. Open returns ErrForeign if the folder holds other things than thumbnails.
func Open(dir string, maxBytes int64, log *slog.Logger) (*Store, error) {
	return open(dir, maxBytes, log, realClock)
}

// open is Open with a clock.
func open(dir string, maxBytes int64, log *slog.Logger, clock clock) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s, err := newStore(dir, maxBytes, log, clock)
	if err != nil {
		return nil, err
	}
	if err := markFolder(s.dir); err != nil {
		return nil, err
	}
	s.Usage() // starts a count if there is no account
	s.mu.Lock()
	counting := s.counts > 0
	s.mu.Unlock()
	if !counting {
		s.startCount()
	}
	return s, nil
}

// Existing opens a folder of thumbnails for maintenance. It returns an error if there is none. The store has no limit, and
// nothing is counted in the background.
func Existing(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s, err := newStore(dir, -1, slog.New(slog.DiscardHandler), realClock)
	if err != nil {
		return nil, err
	}
	if !isMarked(s.dir) {
		return nil, fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	return s, nil
}

func newStore(dir string, maxBytes int64, log *slog.Logger, clock clock) (*Store, error) {
	// A link that replaces the folder later is not followed.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		Patience:     readPatience,
		dir:          dir,
		maxBytes:     maxBytes,
		log:          log,
		clock:        clock,
		health:       newHealth(dir, log, clock.now),
		reads:        semaphore.NewWeighted(maxReads),
		trims:        semaphore.NewWeighted(1),
		usageRefresh: semaphore.NewWeighted(1),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.ledger = newLedger(dir, clock.now, s.startCount)
	return s, nil
}

// Stop cancels background work without waiting for it.
func (s *Store) Stop() { s.stop() }

// Close cancels background work and waits for it, and for reads that hang. After it only Get, which finds nothing, and Stop
// may be called.
func (s *Store) Close() {
	s.stop()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
	s.ledger.close()
}

// goBackground runs do in the background. It reports false, and does not run it, if the store is closed.
func (s *Store) goBackground(do func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(do)
	return true
}

// Usage returns how much is stored, as far as it is known: the number is exact once the background count has finished.
func (s *Store) Usage() Usage { return s.ledger.total() }

// Known returns what Usage returned a moment ago. It does not wait for the disk.
func (s *Store) Known() Usage {
	if s.ledger.outdated() && s.usageRefresh.TryAcquire(1) {
		started := s.goBackground(func() {
			defer s.usageRefresh.Release(1)
			s.Usage()
		})
		if !started {
			s.usageRefresh.Release(1)
		}
	}
	return *s.ledger.known.Load()
}

// Answers reports whether the disk answered the last read.
func (s *Store) Answers() bool { return s.health.answers() }

func (s *Store) path(k *Key, hash string) string { return s.dir + sep + hash[:2] + sep + k.name(hash) }

// Get reads the file for k. hash is that of k's source. A file that is missing, unreadable, damaged or another key's is a
// miss. Get waits for a disk that hangs until ctx or Patience ends.
func (s *Store) Get(ctx context.Context, k *Key, hash string) (*Entry, bool) {
	if !s.acquireRead(ctx) {
		return nil, false
	}
	release := func() { s.reads.Release(1) }
	var e *Entry
	switch s.askDisk(ctx, s.Patience, func(context.Context) { e = s.get(k, hash) }, release) {
	case nil:
		release()
		s.health.noteAnswer(true)
		return e, e != nil
	case errLate:
		s.Errors.Add(1)
		s.health.noteAnswer(false)
	}
	return nil, false
}

// acquireRead waits until the caller may read. It reports false if too many other reads are slow: then a miss is the better
// answer.
func (s *Store) acquireRead(ctx context.Context) bool {
	if s.reads.TryAcquire(1) {
		return true
	}
	if !s.health.answers() {
		return false // the reads in progress hang
	}
	ctx, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	return s.reads.Acquire(ctx, 1) == nil
}

var (
	errLate     = errors.New("the disk does not answer")
	errNotAsked = errors.New("the disk is left alone for a while, or the store is closed")
)

// askDisk runs do in the background and waits until it returns, but no longer than ctx and patience allow. If it gives up, do's
// context ends and cleanup is called once do has returned. If do is not run, cleanup is called and the error is errNotAsked.
func (s *Store) askDisk(ctx context.Context, patience time.Duration, do func(context.Context), cleanup func()) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errLate)
	defer cancel()
	done, left := make(chan struct{}), make(chan struct{})
	defer close(left)
	started := s.health.mayRead() && s.goBackground(func() {
		do(ctx)
		select {
		case done <- struct{}{}:
		case <-left:
			cleanup()
		}
	})
	if !started {
		cleanup()
		return errNotAsked
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) get(k *Key, hash string) *Entry {
	data, used, err := readfile.Read(s.path(k, hash), maxFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.Errors.Add(1)
			s.log.Debug("thumbcache: reading a stored thumbnail", "error", err)
		}
		return nil
	}
	e, err := Unseal(data, k)
	if err != nil {
		if !errors.Is(err, ErrOtherVersion) {
			s.removeDamaged(k.name(hash), err)
		}
		return nil
	}
	if e.Key != *k {
		return nil
	}
	if now := time.Now(); mustTouch(used, now) {
		if f, err := openFolder(s.dir, hash[:2]); err == nil {
			_ = f.touch(k.name(hash), now)
			f.close()
		}
	}
	return e
}

// removeDamaged counts and removes a file that failed its check.
func (s *Store) removeDamaged(name string, damage error) {
	s.health.noteDamage(s.Corrupt.Add(1), name, damage)
	if err := s.removeFile(s.ctx, name[:2], name); err != nil {
		s.Errors.Add(1)
		s.log.Debug("thumbcache: removing a damaged file", "error", err)
	}
}

// Cached is Get for an undamaged file in the page cache. It never waits for the disk, so it needs no goroutine, which is half
// the cost of a hit.
func (s *Store) Cached(k *Key, hash string) (*Entry, bool) {
	data, used, ok := readfile.Cached(s.path(k, hash), maxFile)
	if !ok || mustTouch(used, time.Now()) {
		return nil, false
	}
	e, err := Unseal(data, k)
	return e, err == nil && e.Key == *k
}

// mustTouch reports whether a file's time of use must be updated. A file used in the future would never become the oldest.
func mustTouch(used, now time.Time) bool {
	return now.Sub(used) > touchInterval || used.After(now.Add(touchInterval))
}

// Put stores e. If there is no room it returns how many bytes e needs: the caller then calls MakeRoom and Put again, in the
// background, because MakeRoom is slow. Put counts and logs a failure, and does not return it: the caller has the
// thumbnail anyway. What was stored for the same key before is removed, unless the disk hangs.
func (s *Store) Put(e *Entry) (need int64) {
	tail, err := e.trailer()
	if err != nil {
		s.Errors.Add(1)
		s.log.Debug("thumbcache: not stored", "error", err)
		return 0
	}
	size := int64(len(e.Data) + len(tail))
	name := e.Key.name(Hash(e.Key.Provider, e.Key.Path))
	if !s.health.mayWrite() || s.maxBytes >= 0 && size > s.maxBytes {
		s.removeOutdated(name)
		return 0
	}
	number := folderNumber(name)
	if !s.ledger.beginChange(s.ctx, number, Usage{1, size}, s.maxBytes) {
		s.removeOutdated(name)
		return size
	}
	old, err := s.writeFile(name, e.Data, tail)
	switch {
	case err != nil:
		s.ledger.endChange(number, Usage{-1, -size})
		s.removeOutdated(name)
	case old >= 0:
		s.ledger.endChange(number, Usage{-1, -old})
	default:
		s.ledger.endChange(number, Usage{})
	}
	s.noteWrite(err)
	return 0
}

// removeOutdated removes a file that could not be replaced, unless the disk hangs. The file would be served again as soon as memory has
// lost its successor.
func (s *Store) removeOutdated(name string) {
	if s.Answers() {
		_ = s.removeFile(s.ctx, name[:2], name) // a disk that refuses this is known not to work
	}
}

// noteWrite counts a failed write and tells the store's health.
func (s *Store) noteWrite(err error) {
	if err != nil {
		s.Errors.Add(1)
	}
	s.health.noteWrite(err)
}

// writeFile writes a file in one step, as readers see it. It returns the size of the file that it replaced, or -1.
func (s *Store) writeFile(name string, data, tail []byte) (old int64, err error) {
	f, err := openFolder(s.dir, name[:2])
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.makeFolder(name[:2]); err == nil {
			f, err = openFolder(s.dir, name[:2])
		}
	}
	if err != nil {
		return -1, err
	}
	defer f.close()
	return f.put(name, data, tail)
}

// Remove removes the file for k, if there is one.
func (s *Store) Remove(k *Key) error {
	hash := Hash(k.Provider, k.Path)
	return s.removeFile(s.ctx, hash[:2], k.name(hash))
}

// RemoveSource removes every file of a source, and returns how many there were. It reads one folder.
func (s *Store) RemoveSource(provider, path string) (n int, err error) {
	hash := Hash(provider, path)
	names, err := s.names(hash[:2])
	errs := []error{err}
	for _, name := range names {
		if !strings.HasPrefix(name, hash) || !ourName.MatchString(name) || isTemp(name) {
			continue
		}
		if err := s.removeFile(s.ctx, hash[:2], name); err != nil {
			errs = append(errs, err)
		} else {
			n++
		}
	}
	return n, errors.Join(errs...)
}

// names returns the names in one of the 256 folders, and none if there is no such folder.
func (s *Store) names(folder string) ([]string, error) {
	f, err := openFolder(s.dir, folder)
	if err != nil {
		return nil, unlessMissing(err)
	}
	defer f.close()
	return f.names(-1)
}

// removeFile removes a file, if there is one, and subtracts it from the account. It does not remove a folder.
func (s *Store) removeFile(ctx context.Context, folder, name string) error {
	f, err := openFolder(s.dir, folder)
	if err != nil {
		return unlessMissing(err)
	}
	defer f.close()
	number := folderNumber(folder)
	if !s.ledger.beginChange(ctx, number, Usage{}, -1) {
		return context.Cause(ctx)
	}
	removed := Usage{}
	there, err := f.stat(name)
	if err == nil && !there.dir {
		if there, err = f.remove(name); err == nil && there.regular {
			removed = Usage{-1, -there.size}
		}
	}
	s.ledger.endChange(number, removed)
	return unlessMissing(err)
}

// unlessMissing returns err, or nil if it says that something does not exist.
func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Lock takes the lock for making k's file, which all processes that use the folder share. It waits until ctx or patience ends,
// and reports whether it got the lock. A process that dies releases its locks. Lock also reports true, without a lock, if
// the system has none or the disk does not answer.
func (s *Store) Lock(ctx context.Context, k *Key, hash string, patience time.Duration) (release func(), ok bool) {
	unlock, free := func() {}, true
	if !s.Answers() { // a read must find out whether it does again
		return unlock, true
	}
	err := s.askDisk(ctx, patience+turnPatience, func(ctx context.Context) {
		unlock, free = s.ledger.lock(ctx, makingLock(k, hash), patience)
	}, func() { unlock() })
	if err != nil {
		return func() {}, true
	}
	return func() { s.goBackground(unlock) }, free // closing the store unlocks everything
}

// makingLock returns the position of the lock for making k's file.
func makingLock(k *Key, hash string) int64 {
	h := fnv.New64a()
	io.WriteString(h, k.name(hash))
	return makingAt + int64(h.Sum64()>>4)
}

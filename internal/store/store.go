// Package store keeps thumbnails on disk: a folder of sealed files, by key, that never holds more than a number of bytes.
//
// The folder holds up to 256 folders, named by the first byte of the hash, and in them
//
//	<hash>_<size>.jpg   <hash>_<size>.png     the whole picture
//	<hash>_<size>c.jpg  <hash>_<size>c.png    its centre, a square
//	<hash>.none                               there is no picture, and why
//
// where hash is the lower-case hex SHA-256 of provider + "/" + path. A file is written under a temporary name and renamed.
// No fsync is needed: a file that a power failure has torn fails its check and is a miss. Files of other names are neither
// counted nor removed.
//
// Several processes may share a folder on a local disk. They never break or misread each other's files. Where the system
// has file locks that end with their process (Linux, macOS, Windows) they also keep its limit together, and of those that
// want the same thumbnail one makes it. Network file systems are not for this: their renames and locks promise less.
package store

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/readfile"
)

const sep = string(filepath.Separator)

const (
	maxFile       = 128 << 20        // a larger file at one of our names is not ours
	maxReads      = 32               // at once: each may hold a thread for as long as a dying disk likes
	turnPatience  = time.Second      // how long a read waits for its turn
	hungPause     = 10 * time.Second // how long a disk that did not answer is left alone
	touchInterval = time.Hour        // a hit writes the time of use at most this often, as cmd/go's cache does
	writePause    = 2 * time.Second  // after a failed write
	warnInterval  = time.Minute      // between two warnings of damaged files
)

// A Store is one opened folder. Its methods may be called from several goroutines at once.
type Store struct {
	// What has happened since it was opened.
	Evictions, Errors, Corrupt atomic.Uint64

	// How long a read is waited for. A disk that was asleep needs some seconds. It may be set before the first Get.
	Patience time.Duration

	dir    string
	max    int64 // negative: no limit
	log    *slog.Logger
	ledger *ledger
	reads  *semaphore.Weighted
	trims  *semaphore.Weighted // 1: held by the one who makes room
	knows  *semaphore.Weighted // 1: held while Known is brought up to date

	ctx  context.Context // ends when the store is closed
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex // protects the fields below
	closed bool
	learns int       // walks under way or asked for: see learn
	resume time.Time // when writing is tried again after a failure; zero while all is well
	paused time.Time // until when nothing is written, although all is well: there was no room to be made
	hung   time.Time // until when a disk that did not answer is left alone; zero while it answers
	warned time.Time // of damaged files
}

// info is what lies at a name.
type info struct {
	regular, dir bool
	size         int64
	modTime      time.Time
}

// ourName matches what may be counted and deleted, and nothing else.
var ourName = regexp.MustCompile(`^[0-9a-f]{64}(_[0-9]{1,10}c?\.(jpg|png)|\.none)(\.[0-9a-f]{16}\.tmp)?$`)

// markTemp matches a mark of the folder that is being written, or was when a process was killed.
var markTemp = regexp.MustCompile(`^(CACHEDIR\.TAG|README)\.[0-9a-f]{16}\.tmp$`)

// What else lies in the folder. The tag follows https://bford.info/cachedir/: backup programs leave the folder out.
const (
	tagName    = "CACHEDIR.TAG"
	readmeName = "README"
	usageName  = "usage"

	tagText = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of thumbnails made by thumbcache. It may be deleted at any time.\n"

	readmeText = `This folder is a cache of thumbnails made by thumbcache. It may be deleted at any time, also while it is used.

    <2 hex>/<hash>_<size>.jpg   a thumbnail; <size>c is a square, .png has transparency; any viewer shows it
    <2 hex>/<hash>.none         there is no picture, and why
    usage                       how much each folder holds

hash is the hex SHA-256 of provider + "/" + path. "thumbcache stat", "verify", "gc" and "rm" look after this folder.
`
)

// ErrForeign says that a folder holds something else than thumbnails.
var ErrForeign = errors.New("not empty, and not a folder of thumbnails")

// Open makes dir ready, if need be, and begins to count in the background what is in it. The store keeps to max bytes; a
// negative max is no limit. A folder that holds something else is refused with ErrForeign.
func Open(dir string, max int64, log *slog.Logger) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s, err := at(dir, max, log)
	if err != nil {
		return nil, err
	}
	if err := claim(s.dir); err != nil {
		return nil, err
	}
	s.Usage() // which begins to count if there is no account
	s.mu.Lock()
	counting := s.learns > 0
	s.mu.Unlock()
	if !counting {
		s.learn()
	}
	return s, nil
}

// Existing opens a folder of thumbnails that must be there, to look after it. It has no limit, and nothing is counted.
func Existing(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s, err := at(dir, -1, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if !tagged(s.dir) {
		return nil, fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	return s, nil
}

func at(dir string, max int64, log *slog.Logger) (*Store, error) {
	// From here on a link that takes the folder's place later is not followed.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, max: max, log: log, Patience: 5 * time.Second, reads: semaphore.NewWeighted(maxReads), trims: semaphore.NewWeighted(1), knows: semaphore.NewWeighted(1)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.ledger = newLedger(dir, s.learn)
	return s, nil
}

func tagged(dir string) bool {
	text, _, err := readfile.Read(dir+sep+tagName, 1<<10)
	return err == nil && strings.Contains(string(text), "thumbcache")
}

// claim marks dir as ours. A folder that holds something else is refused: one day a trim would be a surprise there. Only
// the marking may fail, since a folder that cannot be written can still be served from.
func claim(dir string) error {
	marks := map[string]string{tagName: tagText, readmeName: readmeText}
	if tagged(dir) {
		return nil
	}
	f, err := openFolder(dir, "")
	if err != nil {
		return err
	}
	defer f.close()
	names, err := f.names(260) // more than 259 cannot all be ours
	if err != nil {
		return err
	}
	for _, name := range names {
		if b, err := hex.DecodeString(name); err == nil && len(b) == 1 || name == usageName || markTemp.MatchString(name) {
			continue
		}
		if text, ok := marks[name]; ok {
			// A power failure may have torn it.
			if there, _, err := readfile.Read(dir+sep+name, 8<<10); err == nil && strings.HasPrefix(text, strings.TrimRight(string(there), "\x00")) {
				continue
			}
		}
		return fmt.Errorf("%s holds %q: %w", dir, name, ErrForeign)
	}
	for name, text := range marks {
		_, _ = f.put(name, []byte(text), nil)
	}
	return nil
}

// Stop ends what is done in the background, without waiting for it.
func (s *Store) Stop() { s.stop() }

// Close ends what is done in the background and waits for it, and for reads that hang. Nothing else may be called afterwards but
// Get, which finds nothing, and Stop.
func (s *Store) Close() {
	s.stop()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
	s.ledger.close()
}

// behind runs do in the background, unless the store is closed.
func (s *Store) behind(do func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(do)
	return true
}

// Usage returns what is known to be stored. Until all folders are counted, more may have gone from them than is known.
func (s *Store) Usage() Usage { return s.ledger.total() }

// Known is Usage as it was a moment ago. It does not wait for the disk.
func (s *Store) Known() Usage {
	if s.ledger.outdated() && s.knows.TryAcquire(1) {
		if !s.behind(func() {
			defer s.knows.Release(1)
			s.Usage()
		}) {
			s.knows.Release(1)
		}
	}
	return *s.ledger.known.Load()
}

// errLate says that the disk did not answer in time.
var errLate = errors.New("the disk does not answer")

// waitFor waits until do, which asks the disk, has returned. A disk that hangs holds up nobody for longer than ctx and patience
// last: then the context of do ends too, and cleanup is called if do returns after all.
func (s *Store) waitFor(ctx context.Context, patience time.Duration, do func(context.Context), cleanup func()) error {
	s.mu.Lock()
	hung := time.Now().Before(s.hung)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errLate)
	defer cancel()
	done, left := make(chan struct{}), make(chan struct{})
	defer close(left)
	if hung || !s.behind(func() {
		do(ctx)
		select {
		case done <- struct{}{}:
		case <-left:
			cleanup()
		}
	}) {
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

// errNotAsked says that the disk is left alone for a while, or the store is closed.
var errNotAsked = errors.New("the disk was not asked")

// Answers reports whether the disk did when it was asked last.
func (s *Store) Answers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hung.IsZero()
}

// answered notes whether the disk did. It logs changes of state only.
func (s *Store) answered(ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	well := s.hung.IsZero()
	switch {
	case ok:
		s.hung = time.Time{}
		if !well {
			s.log.Info("thumbcache: the disk of the thumbnails answers again")
		}
	default:
		s.hung = time.Now().Add(hungPause)
		if well {
			s.log.Warn("thumbcache: the disk of the thumbnails does not answer, serving goes on without")
		}
	}
}

func (s *Store) path(k *Key, hash string) string { return s.dir + sep + hash[:2] + sep + k.name(hash) }

// Get reads what is stored for k, whose source has this hash. Whatever is wrong with it, it is a miss. A disk that hangs is
// waited for until ctx or Patience ends.
func (s *Store) Get(ctx context.Context, k *Key, hash string) (*Entry, bool) {
	if !s.reads.TryAcquire(1) {
		if !s.Answers() {
			return nil, false // those who have the turns hang
		}
		// That many reads are slow only if the disk is. A miss is then the better answer.
		ctx, cancel := context.WithTimeout(ctx, turnPatience)
		defer cancel()
		if s.reads.Acquire(ctx, 1) != nil {
			return nil, false
		}
	}
	var e *Entry
	free := func() { s.reads.Release(1) }
	switch s.waitFor(ctx, s.Patience, func(context.Context) { e = s.get(k, hash) }, free) {
	case nil:
		free()
		s.answered(true)
		return e, e != nil
	case errLate:
		s.Errors.Add(1)
		s.answered(false)
	}
	return nil, false
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
			s.damaged(k.name(hash), err)
			if err := s.removeFile(s.ctx, hash[:2], k.name(hash)); err != nil {
				s.Errors.Add(1)
				s.log.Debug("thumbcache: removing a damaged file", "error", err)
			}
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

// damaged counts a file that failed its check. The log tells of the first, and once in a while how many there are.
func (s *Store) damaged(name string, err error) {
	n, now := s.Corrupt.Add(1), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.warned) >= warnInterval {
		s.warned = now
		s.log.Warn("thumbcache: damaged files among the thumbnails, they are made again", "files", n, "last", name, "error", err)
	}
}

// Cached is Get for a file that the system has in memory and that is in order. It never waits for the disk, so it needs
// no goroutine that a caller could leave behind, which is half the price of a hit.
func (s *Store) Cached(k *Key, hash string) (*Entry, bool) {
	data, used, ok := readfile.Cached(s.path(k, hash), maxFile)
	if !ok || mustTouch(used, time.Now()) {
		return nil, false
	}
	e, err := Unseal(data, k)
	return e, err == nil && e.Key == *k
}

// mustTouch reports whether a time of use has to be written anew. One in the future would never be the oldest.
func mustTouch(used, now time.Time) bool {
	return now.Sub(used) > touchInterval || used.After(now.Add(touchInterval))
}

// Put stores e, unless there is no room: then it returns how much is needed, and MakeRoom and another Put are for the
// caller, since no request should wait for that. A failure is counted and logged here; the caller has the thumbnail all
// the same.
func (s *Store) Put(e *Entry) (need int64) {
	tail, err := e.trailer()
	if err != nil {
		s.Errors.Add(1)
		s.log.Debug("thumbcache: not stored", "error", err)
		return 0
	}
	size := int64(len(e.Data) + len(tail))
	s.mu.Lock()
	now := time.Now()
	paused := now.Before(s.resume) || now.Before(s.paused) || now.Before(s.hung)
	s.mu.Unlock()
	if paused || s.max >= 0 && size > s.max {
		return 0
	}
	hash := Hash(e.Key.Provider, e.Key.Path)
	number := folderNumber(hash)
	if !s.ledger.enter(s.ctx, number, Usage{1, size}, s.max) {
		return size
	}
	old, err := s.publish(hash[:2], e.Key.name(hash), e.Data, tail)
	switch {
	case err != nil:
		s.ledger.leave(number, Usage{-1, -size})
	case old >= 0:
		s.ledger.leave(number, Usage{-1, -old})
	default:
		s.ledger.leave(number, Usage{})
	}
	s.wrote(err)
	return 0
}

// folderNumber returns the number of the folder that a name begins with.
func folderNumber(name string) int {
	b, _ := strconv.ParseUint(name[:2], 16, 8)
	return int(b)
}

// errInTheWay says that somebody made a folder by the name of a file. That is no reason to stop writing others.
var errInTheWay = errors.New("a folder is in the way")

// publish writes a file in one step, as every reader sees it. It returns the size of the file that it replaced, or -1.
func (s *Store) publish(folder, name string, data, tail []byte) (old int64, err error) {
	f, err := openFolder(s.dir, folder)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.makeFolder(folder); err == nil {
			f, err = openFolder(s.dir, folder)
		}
	}
	if err != nil {
		return -1, err
	}
	defer f.close()
	return f.put(name, data, tail)
}

// put is publish, in an open folder.
func (f *folder) put(name string, data, tail []byte) (old int64, err error) {
	temp := tempName(name)
	if err = f.create(temp, data, tail); err == nil {
		if err = f.renameNew(temp, name); err == nil {
			return -1, nil
		}
		if errors.Is(err, fs.ErrExist) {
			if old, err = replace(f, temp, name); err == nil {
				return old, nil
			}
		}
	}
	if !errors.Is(err, fs.ErrExist) { // that would be somebody else's
		_ = f.remove(temp)
	}
	return -1, err
}

// tempName returns the name that a file has while it is being written or removed.
func tempName(name string) string { return fmt.Sprintf("%s.%016x.tmp", name, rand.Uint64()) }

func replace(f *folder, temp, name string) (size int64, err error) {
	if there, err := f.stat(name); err == nil && there.dir {
		return -1, errInTheWay
	}
	old, err := f.replace(temp, name)
	if !old.regular {
		old.size = -1
	}
	return old.size, err
}

// makeFolder makes one of the 256 folders, and the folder that they are in if somebody has deleted it. One that somebody has put
// in its place must be ours, or empty.
func (s *Store) makeFolder(name string) error {
	if !tagged(s.dir) {
		if err := cmp.Or(os.MkdirAll(s.dir, 0o755), claim(s.dir)); err != nil {
			return err
		}
	}
	f, err := openFolder(s.dir, "")
	if err != nil {
		return err
	}
	defer f.close()
	return f.mkdir(name)
}

// wrote notes how a write went. It logs changes of state only.
func (s *Store) wrote(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	well := s.resume.IsZero()
	if err == nil {
		s.resume = time.Time{}
		if !well {
			s.log.Info("thumbcache: thumbnails are stored again", "dir", s.dir)
		}
		return
	}
	s.Errors.Add(1)
	if errors.Is(err, errInTheWay) {
		return
	}
	s.resume = time.Now().Add(writePause)
	if well {
		s.log.Warn("thumbcache: thumbnails cannot be stored, serving goes on without", "error", err)
	}
}

// pause has nothing written for a while.
func (s *Store) pause(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = time.Now().Add(d)
}

// Remove deletes the file for k, if there is one.
func (s *Store) Remove(k *Key) error {
	hash := Hash(k.Provider, k.Path)
	return s.removeFile(s.ctx, hash[:2], k.name(hash))
}

// RemoveSource deletes every file of a source, and returns how many there were. It reads one folder.
func (s *Store) RemoveSource(provider, path string) (n int, err error) {
	hash := Hash(provider, path)
	names, err := s.names(hash[:2])
	errs := []error{err}
	for _, name := range names {
		if strings.HasPrefix(name, hash) && ourName.MatchString(name) && !strings.HasSuffix(name, ".tmp") {
			if err := s.removeFile(s.ctx, hash[:2], name); err != nil {
				errs = append(errs, err)
			} else {
				n++
			}
		}
	}
	return n, errors.Join(errs...)
}

func (s *Store) names(folder string) ([]string, error) {
	f, err := openFolder(s.dir, folder)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	defer f.close()
	return f.names(-1)
}

// removeFile deletes one file and takes it out of the account. What is no file stays.
func (s *Store) removeFile(ctx context.Context, folder, name string) error {
	f, err := openFolder(s.dir, folder)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	defer f.close()
	number := folderNumber(folder)
	if !s.ledger.enter(ctx, number, Usage{}, -1) {
		return context.Cause(ctx)
	}
	gone := Usage{}
	there, err := f.stat(name)
	if err == nil && !there.dir {
		if there, err = f.take(name); err == nil && there.regular {
			gone = Usage{-1, -there.size}
		}
	}
	s.ledger.leave(number, gone)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// Lock claims the making of what is to be stored for k, among all processes that use the folder. It waits for as long as ctx and
// patience last, and reports whether it was free. A process that dies leaves no claim behind. Where there are no locks, or the
// disk does not answer, everything is free.
func (s *Store) Lock(ctx context.Context, k *Key, hash string, patience time.Duration) (release func(), ok bool) {
	unlock, free := func() {}, true
	err := s.waitFor(ctx, patience+turnPatience, func(ctx context.Context) {
		unlock, free = s.ledger.lock(ctx, flight(k, hash), patience)
	}, func() { unlock() })
	if err != nil {
		return func() {}, true
	}
	return func() { s.behind(unlock) }, free // closing the store unlocks everything
}

func flight(k *Key, hash string) int64 {
	h := fnv.New64a()
	io.WriteString(h, k.name(hash))
	return flightAt + int64(h.Sum64()>>4)
}

package store

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Usage is a number of files and the sum of their lengths.
type Usage struct{ Files, Bytes int64 }

func (u Usage) plus(v Usage) Usage  { return Usage{u.Files + v.Files, u.Bytes + v.Bytes} }
func (u Usage) minus(v Usage) Usage { return Usage{u.Files - v.Files, u.Bytes - v.Bytes} }

// clamped returns u without negative numbers, which arise when more files are removed than were counted.
func (u Usage) clamped() Usage { return Usage{max(u.Files, 0), max(u.Bytes, 0)} }

func (u Usage) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, uint64(u.Files)), uint64(u.Bytes))
}

// A ledger accounts for what the 256 folders hold. All processes that use the store share the account, in a file named "usage":
//
//	"TCUSAGE1", then for each folder, from 00 to ff, two little-endian int64: files, bytes
//
// It is not an index: it may be deleted at any time, and is corrected whenever a folder is read. Locks on bytes far beyond
// its end (see tryLock) coordinate processes: one for the account, one for each folder, and others for thumbnails in the
// making. On systems without such locks each process keeps an account of its own.
//
// A file is added before it is written and subtracted after it is removed. So a process that is killed in between leaves an
// account that says too much, never too little.
type ledger struct {
	dir     string
	now     func() time.Time // see clock
	onReset func()           // called when the account was made or rewritten, so that the folders must be counted

	// Locks within this process. A count of a folder takes all maxWriters of its lock; a writer takes one. They are semaphores
	// and not sync.RWMutexes so that waiting can be canceled.
	folderLocks [256]*semaphore.Weighted

	known atomic.Pointer[Usage] // the sum, as of the last update
	read  atomic.Int64          // the time of the last update, in Unix nanoseconds

	mu       chan struct{} // a mutex for the fields below: full while locked, and a channel so that waiting can be canceled
	file     *os.File      // nil: not opened yet, or it cannot be opened
	info     os.FileInfo   // of file
	checked  time.Time     // when file was last seen in the folder
	noLocks  bool          // the system or the file system has no locks
	stuck    bool          // the process that holds the account's lock was stopped
	folders  [256]Usage    // as of the last read of the file
	unsaved  [256]Usage    // what folders includes and file lacks, because it could not be locked or written
	mustSave bool          // unsaved may have something in it
	writers  [256]int      // changes in progress: see beginChange
}

const (
	usageName  = "usage"
	usageMagic = "TCUSAGE1"
	usageSize  = len(usageMagic) + 256*16

	// Positions of the locks.
	accountAt = 1 << 60
	trimAt    = 1<<60 + 1
	folderAt  = 1<<60 + 256 // and the number of the folder
	makingAt  = 1 << 61     // and a hash of the file's name

	maxWriters      = 1 << 30                // concurrent writers in a folder: more than there can be
	checkInterval   = time.Second            // how long a process may use an account that was deleted
	accountPatience = 100 * time.Millisecond // the account is held for microseconds: a process that holds it longer was stopped
	stuckPatience   = time.Millisecond       // the same once it is known, because callers wait for it one after the other
	folderPatience  = time.Second            // a folder is held for as long as it takes to read it
)

func newLedger(dir string, now func() time.Time, onReset func()) *ledger {
	l := &ledger{dir: dir, now: now, onReset: onReset, mu: make(chan struct{}, 1)}
	l.known.Store(new(Usage))
	for i := range l.folderLocks {
		l.folderLocks[i] = semaphore.NewWeighted(maxWriters)
	}
	return l
}

// close saves what is unsaved, if possible, and closes the file, which releases all locks.
func (l *ledger) close() {
	l.mu <- struct{}{}
	defer func() { <-l.mu }()
	if l.mustSave && l.loadLocked() {
		unlock(l.file, accountAt)
	}
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// total returns the sum of all folders.
func (l *ledger) total() (sum Usage) {
	l.update(func() (folder int, add Usage) {
		sum = l.sumLocked()
		return 0, Usage{}
	})
	return sum
}

// outdated reports whether other processes may have changed the account since it was read.
func (l *ledger) outdated() bool { return l.now().Sub(time.Unix(0, l.read.Load())) > checkInterval }

func (l *ledger) sumLocked() (sum Usage) {
	for _, u := range l.folders {
		sum = sum.plus(u)
	}
	return sum
}

// update reads the account, calls change, and adds what change returns to a folder.
func (l *ledger) update(change func() (folder int, add Usage)) {
	l.mu <- struct{}{}
	defer func() { <-l.mu }()
	shared := l.loadLocked()
	if shared {
		defer unlock(l.file, accountAt)
	}
	defer func() {
		sum := l.sumLocked()
		l.known.Store(&sum)
		l.read.Store(l.now().UnixNano())
	}()
	i, add := change()
	if add == (Usage{}) {
		return
	}
	l.folders[i] = l.folders[i].plus(add).clamped()
	if shared {
		var b [16]byte
		_, err := l.file.WriteAt(l.folders[i].append(b[:0]), int64(len(usageMagic)+i*16))
		shared = err == nil
	}
	if !shared {
		l.unsaved[i] = l.unsaved[i].plus(add)
		l.mustSave = true
	}
}

// loadLocked locks the account and reads it. If it reports false nothing is locked, and folders is as this process knows it.
func (l *ledger) loadLocked() (shared bool) {
	if !l.lockAccountLocked() {
		return false
	}
	if l.readLocked() && !l.mustSave {
		return true
	}
	if l.writeLocked() != nil {
		unlock(l.file, accountAt)
		return false
	}
	// The file was new or damaged or lacked changes. Other processes may have counted from the same file.
	l.onReset()
	return true
}

// lockAccountLocked opens the file, if necessary, and locks the account.
func (l *ledger) lockAccountLocked() bool {
	if !l.openLocked() {
		return false
	}
	patience := accountPatience
	if l.stuck {
		patience = stuckPatience
	}
	// It tries often: on a busy machine a process that seldom tries hardly ever gets the lock.
	for start, wait := time.Now(), 20*time.Microsecond; ; wait = min(2*wait, time.Millisecond) {
		ok, err := tryLock(l.file, accountAt, true)
		if err != nil {
			l.noLocks = errors.Is(err, errors.ErrUnsupported)
			return false
		}
		if l.stuck = !ok && time.Since(start) > patience; l.stuck {
			return false
		}
		if ok && !deleted(l.file) {
			return true
		}
		if !ok {
			time.Sleep(wait)
			continue
		}
		// The deleted file still has the last numbers that all processes know. Then open the new one.
		l.readLocked()
		unlock(l.file, accountAt)
		l.checked = time.Time{}
		if !l.openLocked() {
			return false
		}
	}
}

// readLocked reads the file and adds what it lacks. It reports whether the file is in order.
func (l *ledger) readLocked() bool {
	var b [usageSize + 1]byte
	n, _ := l.file.ReadAt(b[:], 0)
	folders, ok := parseUsage(b[:n])
	if !ok {
		return false
	}
	for i, u := range folders {
		l.folders[i] = u.plus(l.unsaved[i]).clamped()
	}
	return true
}

// writeLocked writes the whole file.
func (l *ledger) writeLocked() error {
	b := append(make([]byte, 0, usageSize), usageMagic...)
	for _, u := range l.folders {
		b = u.append(b)
	}
	if _, err := l.file.WriteAt(b, 0); err != nil {
		return err
	}
	if err := l.file.Truncate(int64(len(b))); err != nil {
		return err
	}
	l.unsaved, l.mustSave = [256]Usage{}, false
	return nil
}

// parseUsage parses the file. It refuses numbers so large that a sum of them could overflow.
func parseUsage(b []byte) (folders [256]Usage, ok bool) {
	if len(b) != usageSize || string(b[:len(usageMagic)]) != usageMagic {
		return folders, false
	}
	b = b[len(usageMagic):]
	for i := range folders {
		u := Usage{int64(binary.LittleEndian.Uint64(b[i*16:])), int64(binary.LittleEndian.Uint64(b[i*16+8:]))}
		if u.Files < 0 || u.Files > 1<<40 || u.Bytes < 0 || u.Bytes > 1<<50 {
			return [256]Usage{}, false
		}
		folders[i] = u
	}
	return folders, true
}

// openLocked makes sure that file is the one in the folder, which may have been deleted and made again.
func (l *ledger) openLocked() bool {
	if l.noLocks {
		return false
	}
	now := l.now()
	if l.file != nil && now.Sub(l.checked) < checkInterval {
		return true
	}
	if l.file != nil {
		if info, err := os.Lstat(l.dir + sep + usageName); err == nil && os.SameFile(info, l.info) {
			l.checked = now
			return true
		}
		l.file.Close()
		l.file = nil
	}
	if !isMarked(l.dir) { // another folder may have taken its place
		return false
	}
	dir, err := openFolder(l.dir, "")
	if err != nil {
		return false
	}
	defer dir.close()
	f, err := dir.open(usageName)
	if err != nil {
		return false
	}
	if l.info, err = f.Stat(); err != nil {
		f.Close()
		return false
	}
	l.file, l.checked = f, now
	return true
}

// beginChange lets the caller write to a folder or remove files from it, and adds what will be written. It reports false, and
// adds nothing, if ctx ends or the total would exceed maxBytes. If it reports true, endChange must follow.
func (l *ledger) beginChange(ctx context.Context, folder int, add Usage, maxBytes int64) (room bool) {
	if l.folderLocks[folder].Acquire(ctx, 1) != nil {
		return false
	}
	l.poll(ctx, folderPatience, func(last bool) (done bool) {
		done = true
		l.update(func() (int, Usage) {
			room = maxBytes < 0 || l.sumLocked().Bytes+add.Bytes <= maxBytes
			if !room {
				return 0, Usage{}
			}
			if l.writers[folder] == 0 && l.file != nil && !l.noLocks {
				// Without the lock it goes on all the same: then another process may count the folder wrong, until the next count.
				if ok, err := tryLock(l.file, folderAt+int64(folder), false); !ok && err == nil && !last {
					done = false
					return 0, Usage{}
				}
			}
			l.writers[folder]++
			return folder, add
		})
		return done
	})
	if !room {
		l.folderLocks[folder].Release(1)
	}
	return room
}

// endChange ends what beginChange began, and adds a correction.
func (l *ledger) endChange(folder int, add Usage) {
	if add != (Usage{}) {
		l.update(func() (int, Usage) { return folder, add })
	}
	l.mu <- struct{}{}
	if l.writers[folder]--; l.writers[folder] == 0 && l.file != nil && !l.noLocks {
		unlock(l.file, folderAt+int64(folder))
	}
	<-l.mu
	l.folderLocks[folder].Release(1)
}

// recount sets what a folder holds to the result of count, which runs while nothing is written there.
func (l *ledger) recount(ctx context.Context, folder int, count func() (Usage, error)) error {
	if err := l.folderLocks[folder].Acquire(ctx, maxWriters); err != nil {
		return err
	}
	defer l.folderLocks[folder].Release(maxWriters)
	release, _ := l.lock(ctx, folderAt+int64(folder), folderPatience)
	defer release()
	u, err := count()
	if err == nil {
		l.update(func() (int, Usage) { return folder, u.minus(l.folders[folder]) })
	}
	return err
}

// lock locks a byte of the file, for which it waits until ctx or patience ends. It reports whether it got the lock. It also
// reports true, without a lock, if there are none. release must be called in any case.
func (l *ledger) lock(ctx context.Context, at int64, patience time.Duration) (release func(), ok bool) {
	release = func() {}
	l.poll(ctx, patience, func(bool) (done bool) {
		select {
		case l.mu <- struct{}{}:
		case <-ctx.Done():
			return true
		}
		defer func() { <-l.mu }()
		if !l.openLocked() {
			ok = true
			return true
		}
		f := l.file
		var err error
		if ok, err = tryLock(f, at, true); err != nil {
			ok = true
		} else if ok {
			release = func() {
				l.mu <- struct{}{} // keeps f open, if it still is
				unlock(f, at)
				<-l.mu
			}
		}
		return ok
	})
	return release, ok
}

// poll calls try until it reports that it is done, or ctx or patience ends. The last call is told that it is the last.
func (l *ledger) poll(ctx context.Context, patience time.Duration, try func(last bool) (done bool)) {
	start := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		left := patience - time.Since(start)
		last := left <= 0 || ctx.Err() != nil
		if try(last) || last {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(wait, left)):
		}
	}
}

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

// A ledger is the account of what the 256 folders hold. All processes that use the store share it, in a file called "usage":
//
//	"TCUSAGE1", then for each folder, from 00 to ff, two little-endian int64: files, bytes
//
// It is an account and no index: it may be deleted at any time, and is put right whenever a folder is read. Locks on bytes
// far beyond its end (see tryLock) keep processes apart: one for the account, one for each folder, and others for what a
// process is making. Where there are no locks each process keeps an account of its own.
//
// A file is entered before it is written and left out after it was removed, so that a process that is killed in between leaves
// an account of too much and never of too little.
type ledger struct {
	dir   string
	begun func() // called when the account had to be begun anew, so that somebody must count

	// One at a time in each folder, or several that write and remove files. They are not what several processes know of each
	// other by, and not a sync.RWMutex because a wait must be able to end.
	doors [256]*semaphore.Weighted

	known atomic.Pointer[Usage] // the sum, as it was when it was read last
	read  atomic.Int64          // when that was, in Unix nanoseconds

	turn    chan struct{} // holds one element while somebody uses the fields below
	file    *os.File      // nil: not opened yet, or it cannot be
	info    os.FileInfo   // of file
	checked time.Time     // when it still lay in the folder
	alone   bool          // there are no locks here
	stuck   bool          // whoever holds the account was stopped
	folders [256]Usage    // as they were when they were read last
	owed    [256]Usage    // what folders has and file lacks: it could not be locked or written
	owes    bool          // there may be something in owed
	inside  [256]int      // who came in through enter
}

const (
	usageMagic = "TCUSAGE1"
	usageSize  = len(usageMagic) + 256*16

	// The locks.
	accountAt = 1 << 60
	trimAt    = 1<<60 + 1
	folderAt  = 1<<60 + 256
	flightAt  = 1 << 61 // and on, by the hash of what is being made

	everybody       = 1 << 30                // that can be behind a door
	checkInterval   = time.Second            // how long an account may be kept in a file that was deleted
	accountPatience = 100 * time.Millisecond // an account is held for microseconds: whoever holds it longer was stopped
	folderPatience  = time.Second            // and a folder for as long as it takes to read it
)

func newLedger(dir string, begun func()) *ledger {
	l := &ledger{dir: dir, begun: begun, turn: make(chan struct{}, 1)}
	l.known.Store(new(Usage))
	for i := range l.doors {
		l.doors[i] = semaphore.NewWeighted(everybody)
	}
	return l
}

func (l *ledger) close() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.owes && l.readLocked() {
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

// outdated reports whether others may have changed the account since it was read.
func (l *ledger) outdated() bool { return time.Since(time.Unix(0, l.read.Load())) > checkInterval }

func (l *ledger) sumLocked() (sum Usage) {
	for _, u := range l.folders {
		sum = sum.plus(u)
	}
	return sum
}

// update calls change with folders as all processes know them, and adds what it returns to a folder.
func (l *ledger) update(change func() (folder int, add Usage)) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	shared := l.readLocked()
	if shared {
		defer unlock(l.file, accountAt)
	}
	defer func() {
		sum := l.sumLocked()
		l.known.Store(&sum)
		l.read.Store(time.Now().UnixNano())
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
		l.owed[i] = l.owed[i].plus(add)
		l.owes = true
	}
}

// clamped returns u, of which more may have gone than was known to be there.
func (u Usage) clamped() Usage { return Usage{max(u.Files, 0), max(u.Bytes, 0)} }

func (u Usage) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, uint64(u.Files)), uint64(u.Bytes))
}

// readLocked opens the file, if need be, locks the account and reads it.
func (l *ledger) readLocked() (shared bool) {
	if !l.openLocked() {
		return false
	}
	patience := accountPatience
	if l.stuck {
		patience = time.Millisecond // everybody waits here in turn
	}
	// On a busy machine one who seldom tried would hardly ever get it.
	for start, wait := time.Now(), 20*time.Microsecond; ; wait = min(2*wait, time.Millisecond) {
		ok, err := tryLock(l.file, accountAt, true)
		if err != nil {
			l.alone = errors.Is(err, errors.ErrUnsupported)
			return false
		}
		if l.stuck = !ok && time.Since(start) > patience; l.stuck {
			return false
		}
		if ok && !deleted(l.file) {
			break
		}
		if ok {
			// What it says is still the last that all processes know.
			l.readUsageLocked()
			unlock(l.file, accountAt)
			l.checked = time.Time{}
			if !l.openLocked() {
				return false
			}
			continue
		}
		time.Sleep(wait)
	}
	if l.readUsageLocked() && !l.owes {
		return true
	}
	// It is new, or damaged, or lacks something, and so may what others have counted meanwhile.
	b := append(make([]byte, 0, usageSize), usageMagic...)
	for _, u := range l.folders {
		b = u.append(b)
	}
	_, err := l.file.WriteAt(b, 0)
	if err == nil {
		err = l.file.Truncate(int64(len(b)))
	}
	if err != nil {
		unlock(l.file, accountAt)
		return false
	}
	l.owed, l.owes = [256]Usage{}, false
	l.begun()
	return true
}

// readUsageLocked reads the file and adds what it lacks. It reports whether it is in order.
func (l *ledger) readUsageLocked() bool {
	var b [usageSize + 1]byte
	n, _ := l.file.ReadAt(b[:], 0)
	folders, ok := parseUsage(b[:n])
	if !ok {
		return false
	}
	for i, u := range folders {
		l.folders[i] = u.plus(l.owed[i]).clamped()
	}
	return true
}

func parseUsage(b []byte) (folders [256]Usage, ok bool) {
	if len(b) != usageSize || string(b[:len(usageMagic)]) != usageMagic {
		return folders, false
	}
	b = b[len(usageMagic):]
	for i := range folders {
		u := Usage{int64(binary.LittleEndian.Uint64(b[i*16:])), int64(binary.LittleEndian.Uint64(b[i*16+8:]))}
		// No more can be there, so that no sum overflows.
		if u.Files < 0 || u.Files > 1<<40 || u.Bytes < 0 || u.Bytes > 1<<50 {
			return [256]Usage{}, false
		}
		folders[i] = u
	}
	return folders, true
}

// openLocked makes sure that file is the one in the folder: that may have been deleted and made again.
func (l *ledger) openLocked() bool {
	if l.alone {
		return false
	}
	now := time.Now()
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
	if !tagged(l.dir) { // somebody may have put another one in its place
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

// enter lets the caller write to a folder or remove from it, and enters what will be written. It reports whether there is
// room: if that would make more than max bytes, nothing is entered. If it is so, leave must follow.
func (l *ledger) enter(ctx context.Context, folder int, add Usage, max int64) (room bool) {
	if l.doors[folder].Acquire(ctx, 1) != nil {
		return false
	}
	l.poll(ctx, folderPatience, func(last bool) bool {
		wait := false
		l.update(func() (int, Usage) {
			room = max < 0 || l.sumLocked().Bytes+add.Bytes <= max
			if !room {
				return 0, Usage{}
			}
			if l.inside[folder] == 0 && l.file != nil && !l.alone {
				ok, err := tryLock(l.file, folderAt+int64(folder), false)
				if !ok && err == nil && !last {
					wait = true
					return 0, Usage{}
				}
			}
			l.inside[folder]++
			return folder, add
		})
		return !wait
	})
	if !room {
		l.doors[folder].Release(1)
	}
	return room
}

// leave ends what enter began, and corrects what was entered.
func (l *ledger) leave(folder int, add Usage) {
	if add != (Usage{}) {
		l.update(func() (int, Usage) { return folder, add })
	}
	l.turn <- struct{}{}
	if l.inside[folder]--; l.inside[folder] == 0 && l.file != nil && !l.alone {
		unlock(l.file, folderAt+int64(folder))
	}
	<-l.turn
	l.doors[folder].Release(1)
}

// count enters what a folder holds, as count tells it while nobody writes there.
func (l *ledger) count(ctx context.Context, folder int, count func() (Usage, error)) error {
	if err := l.doors[folder].Acquire(ctx, everybody); err != nil {
		return err
	}
	defer l.doors[folder].Release(everybody)
	release, _ := l.lock(ctx, folderAt+int64(folder), folderPatience)
	defer release()
	u, err := count()
	if err == nil {
		l.update(func() (int, Usage) { return folder, u.minus(l.folders[folder]) })
	}
	return err
}

// lock locks a byte of the file. It waits for as long as patience lasts. Without a lock, release does nothing.
func (l *ledger) lock(ctx context.Context, at int64, patience time.Duration) (release func(), ok bool) {
	release = func() {}
	l.poll(ctx, patience, func(bool) bool {
		select {
		case l.turn <- struct{}{}:
		case <-ctx.Done():
			return true
		}
		defer func() { <-l.turn }()
		if !l.openLocked() {
			ok = true // nobody can be told
			return true
		}
		f := l.file
		var err error
		if ok, err = tryLock(f, at, true); err != nil {
			ok = true
		} else if ok {
			release = func() {
				l.turn <- struct{}{} // f may be closed meanwhile
				unlock(f, at)
				<-l.turn
			}
		}
		return ok
	})
	return release, ok
}

// poll calls try until it reports true, ctx ends or patience does. The last time try is told so.
func (l *ledger) poll(ctx context.Context, patience time.Duration, try func(last bool) bool) {
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

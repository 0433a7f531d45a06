package store

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	hungPause     = 10 * time.Second // between two reads of a disk that hangs: each may hold a thread, and a request for seconds
	writePause    = 2 * time.Second  // no writes for so long after a failed one: a full disk fails each of them
	damageLogRate = time.Minute      // at most one log line about damaged files in so long: there may be thousands
)

// A clock decides when the store tries again what failed, checks its account again, and goes on after a pause. Tests replace it.
type clock struct {
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
}

var realClock = clock{time.Now, time.After}

// A health keeps track of the disk below a store, and decides when to leave it alone.
//
//	event                   effect
//	a read got no answer    hung: no reads and writes, except one read each hungPause, which tries again
//	a read was answered     no longer hung
//	a write failed          unwritable: no writes for writePause, then they are tried again
//	a write succeeded       no longer unwritable
//	no room could be made   no writes for a while
//
// It logs when the disk becomes hung or unwritable and when that ends, and nothing in between.
type health struct {
	dir string
	log *slog.Logger
	now func() time.Time

	mu          sync.Mutex // protects the fields below
	hung        outage
	unwritable  outage
	pausedUntil time.Time
	damageLog   time.Time // when damaged files were logged last
}

// An outage begins with a failure and lasts until a success. The disk is left alone until retry, then tried again.
type outage struct {
	active bool
	retry  time.Time
}

// note records a failure, after which the disk is left alone until retry, or a success. It reports whether the outage began
// or ended by that.
func (o *outage) note(ok bool, retry time.Time) (changed bool) {
	changed = o.active == ok
	if ok {
		*o = outage{}
	} else {
		*o = outage{active: true, retry: retry}
	}
	return changed
}

func newHealth(dir string, log *slog.Logger, now func() time.Time) *health {
	return &health{dir: dir, log: log, now: now}
}

// answers reports whether the disk answered the last read that was noted.
func (h *health) answers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.hung.active
}

// mayRead reports whether the caller may read now. If the disk hangs, that read is the only one for hungPause.
func (h *health) mayRead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if now.Before(h.hung.retry) {
		return false
	}
	if h.hung.active {
		h.hung.retry = now.Add(hungPause)
	}
	return true
}

// mayWrite reports whether a file may be written now.
func (h *health) mayWrite() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	return !h.hung.active && !now.Before(h.unwritable.retry) && !now.Before(h.pausedUntil)
}

// noteAnswer records whether the disk answered a read in time.
func (h *health) noteAnswer(ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch changed := h.hung.note(ok, h.now().Add(hungPause)); {
	case changed && ok:
		h.log.Info("thumbcache: the disk with the thumbnails answers again")
	case changed:
		h.log.Warn("thumbcache: the disk with the thumbnails does not answer; continuing without it")
	}
}

// noteWrite records how a write ended.
func (h *health) noteWrite(err error) {
	if errors.Is(err, errInTheWay) {
		return // the fault of one name, not of the disk
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch changed := h.unwritable.note(err == nil, h.now().Add(writePause)); {
	case changed && err == nil:
		h.log.Info("thumbcache: thumbnails are stored again", "dir", h.dir)
	case changed:
		h.log.Warn("thumbcache: thumbnails cannot be stored; continuing without storing them", "dir", h.dir, "error", err)
	}
}

// pauseWrites stops writes for d.
func (h *health) pauseWrites(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pausedUntil = h.now().Add(d)
}

// noteDamage records a file that failed its check. files is how many there were so far.
func (h *health) noteDamage(files uint64, name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.now(); now.Sub(h.damageLog) >= damageLogRate {
		h.damageLog = now
		h.log.Warn("thumbcache: damaged thumbnail files; they are made again", "files", files, "last", name, "error", err)
	}
}

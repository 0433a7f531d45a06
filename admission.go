package thumbcache

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/flight"
	"github.com/thumbcache/thumbcache/internal/sysmem"
	"github.com/thumbcache/thumbcache/internal/turns"
)

const (
	// Flights that read Dir at the same time, each with a goroutine for itself and one for the call that may hang. Others wait without
	// any. With Config.Shared there are more, because an object store takes tens of milliseconds for an answer, for many at once.
	maxLookups       = 20
	maxSharedLookups = 500

	// A flight that has waited for longer than this reads the tiers when it has a worker: they are too slow for so many requests.
	lookupPatience = time.Second

	memoryInterval = time.Second      // how often requests check the memory that is left, which takes about 0.1 ms
	freeInterval   = 10 * time.Second // how often they return free memory to the system while it is short: a whole garbage collection
	shortageQuiet  = time.Minute      // between log lines about a shortage: memory may be short again and again
)

// beginLookups makes flights begin in order of arrival, at most so many at a time. Idle flights do not count, because Warm bounds
// them.
func (c *Cache) beginLookups(isShared bool) {
	slots := maxLookups
	if isShared {
		slots = maxSharedLookups
	}
	c.lookups = turns.New(slots, -1)
	c.thumbs.Begin = func(w *flight.Work, begin func(end func())) {
		c.lookups.Go(w, func(release func(), err error) {
			if err != nil { // the flight has ended, which its function notices
				release = func() {}
			}
			begin(release)
		})
	}
}

// awaitTurn returns what do returns when it is called with a worker, or with the error of waiting for one. Work begins in order
// of arrival, and needs no goroutine until then.
func (c *Cache) awaitTurn(w *flight.Work, s source, do func(w *flight.Work, release func(), err error) (*Thumbnail, error)) (*Thumbnail, error) {
	// Idle work that is in a hurry later waits as another group from then on, and only its own goroutine would notice. With a full queue
	// the flight ends here, so that no more flights are ending at the same time than may begin.
	groups := c.groups(s.provider)
	if flight.Idle(w) != nil || c.workers.IsFull(groups...) {
		release, err := c.acquireTurn(w, s)
		return do(w, release, err)
	}
	done := c.beginQueue(w, s)
	var release func()
	var err error
	return nil, &flight.Later[*Thumbnail]{
		Wait: func(resume func()) {
			c.workers.Go(w, func(r func(), e error) { release, err = r, e; resume() }, groups...)
		},
		Then: func(w *flight.Work) (*Thumbnail, error) {
			defer c.logPanic(s)
			return do(w, release, done(release, err))
		},
	}
}

// acquireTurn waits for a worker, in order of arrival.
func (c *Cache) acquireTurn(w *flight.Work, s source) (release func(), err error) {
	done := c.beginQueue(w, s)
	release, err = c.workers.Acquire(w, flight.Idle(w), c.groups(s.provider)...)
	return release, done(release, err)
}

// beginQueue begins the wait for a worker. The caller calls done with its outcome. Done returns err as an error of the Cache, and
// calls release only if the Observer panics.
func (c *Cache) beginQueue(w *flight.Work, s source) (done func(release func(), err error) error) {
	staged, waited := c.observer.stage("queue", s), w.Waiting()
	return func(release func(), err error) error {
		waited()
		if err == turns.ErrFull {
			err = ErrBusy
		}
		panicked := true
		defer func() {
			if panicked && release != nil {
				release()
			}
		}()
		staged(&err)
		panicked = false
		return err
	}
}

// groups returns the groups that the work for a provider belongs to. Of several providers, none takes all workers or all
// ffmpeg processes from the others.
func (c *Cache) groups(provider string) []string {
	if !c.groupWork {
		return nil
	}
	return []string{provider}
}

// claim takes the right to make a thumbnail: a lock against other processes with the same Dir, and a lease against other
// machines. If one of them is making the thumbnail, claim calls release, because waiting needs no worker, and waits for at most
// lockPatience and leaseWait. After that both make it. It reports whether both were free.
func (c *Cache) claim(w *flight.Work, j *job, release func()) (unclaim func(), free bool) {
	defer w.Waiting()()
	unlock, free := c.disk.lockMaking(w, &j.key, j.hash, 0)
	if !free {
		release()
		unlock, _ = c.disk.lockMaking(w, &j.key, j.hash, min(c.providerOf(j).settings.Timeout, lockPatience))
	}
	var err error
	if j.lease, err = c.shared.lease(w, &j.key, j.hash); err != nil {
		free = false
		release()
		done := c.observer.stage("lease", j.source())
		j.lease = c.shared.awaitLease(w, &j.key, j.hash)
		done(new(error))
	}
	return func() {
		unlock()
		c.shared.release(j.takeLease()) // unless a result has taken it
	}, free
}

// A memoryWatch knows whether memory is short.
type memoryWatch struct {
	read   func() []sysmem.Bound // tests replace it
	budget atomic.Int64          // for decoding: DecodeBytes, or less while memory is short

	freeing sync.WaitGroup // for returning memory to the system

	mu            sync.Mutex // protects the fields below
	closed        bool
	short         bool
	logged        bool      // the log says that it is short
	next          time.Time // when memory is read again
	freed, warned time.Time // when memory was returned to the system, and a shortage was logged
}

// limitDecoding sets the limits of decoding by Config.DecodeBytes, or by the memory of this machine if that is 0.
func (c *Cache) limitDecoding() {
	c.watch.read = sysmem.Find()
	if c.decodeBytes == 0 {
		c.decodeBytes = sysmem.Budget(c.watch.read())
	}
	c.decoding = semaphore.NewWeighted(c.decodeBytes)
	c.watch.budget.Store(c.decodeBytes)
}

// watchMemory makes the caches smaller before the kernel kills the process for lack of memory, and larger again when that is over.
// It is called for each thumbnail that is made or read from another tier, and acts once a second.
func (c *Cache) watchMemory() {
	w := &c.watch
	if !w.mu.TryLock() {
		return
	}
	defer w.mu.Unlock()
	now := time.Now()
	if w.closed || now.Before(w.next) {
		return
	}
	w.next = now.Add(memoryInterval)
	left, short := sysmem.Shortage(w.read(), w.short)
	budget := c.decodeBytes
	if short {
		budget = min(budget, max(left/2, 1)) // half, because more than decoding takes memory
	}
	w.budget.Store(budget)
	if short != w.short {
		w.short = short
		c.memory.shrink(short)
		switch {
		case short && now.Sub(w.warned) >= shortageQuiet:
			w.warned, w.logged = now, true
			c.log.Warn("thumbcache: memory is short; caching less in memory", "left", left)
		case !short && w.logged:
			w.logged = false
			c.log.Info("thumbcache: memory is no longer short")
		}
	}
	if short && now.Sub(w.freed) >= freeInterval {
		w.freed = now
		w.freeing.Go(debug.FreeOSMemory) // what the caches have lost counts until then; a large program takes long for this
	}
}

// close ends the watch, and waits for memory that is being returned.
func (w *memoryWatch) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.freeing.Wait()
}

// decodingWeight returns how much of c.decoding a picture takes that needs cost bytes. While memory is short everything weighs
// more, and a large picture as much as there is, so that it is decoded alone.
func (c *Cache) decodingWeight(cost int64) int64 {
	budget := c.watch.budget.Load()
	switch {
	case budget == c.decodeBytes:
		return cost
	case cost >= budget:
		return c.decodeBytes
	}
	return int64(float64(cost) / float64(budget) * float64(c.decodeBytes))
}

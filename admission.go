package thumbcache

import (
	"time"

	"github.com/thumbcache/thumbcache/internal/flight"
	"github.com/thumbcache/thumbcache/internal/turns"
)

const (
	// Flights that read Dir and Config.Shared at the same time, each with a goroutine for itself and one for the call that may hang.
	// Others wait without any.
	maxLookups = 20

	// How long a flight waits to do so. After that the tiers are too slow for so many requests, and a miss is the better answer.
	lookupPatience = time.Second
)

// beginLookups makes flights begin in order of arrival, at most maxLookups at a time. Idle flights do not count, because Warm
// bounds them.
func (c *Cache) beginLookups() {
	c.lookups = turns.New(maxLookups, -1)
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
	if flight.Idle(w) != nil { // in a hurry it would wait as another group, and only its own goroutine would notice
		release, err := c.acquireTurn(w, s)
		return do(w, release, err)
	}
	done := c.beginQueue(w, s)
	var release func()
	var err error
	return nil, &flight.Later[*Thumbnail]{
		Wait: func(resume func()) {
			c.workers.Go(w, func(r func(), e error) { release, err = r, e; resume() }, c.groups(s.provider)...)
		},
		Then: func(w *flight.Work) (*Thumbnail, error) { return do(w, release, done(err)) },
	}
}

// acquireTurn waits for a worker, in order of arrival.
func (c *Cache) acquireTurn(w *flight.Work, s source) (release func(), err error) {
	done := c.beginQueue(w, s)
	release, err = c.workers.Acquire(w, flight.Idle(w), c.groups(s.provider)...)
	return release, done(err)
}

// beginQueue begins the wait for a worker. The caller calls done with its outcome, which done returns as an error of the Cache.
func (c *Cache) beginQueue(w *flight.Work, s source) (done func(error) error) {
	staged, waited := c.observer.stage("queue", s), w.Waiting()
	return func(err error) error {
		waited()
		if err == turns.ErrFull {
			err = ErrBusy
		}
		staged(&err)
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

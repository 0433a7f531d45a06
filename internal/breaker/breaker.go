// Package breaker stops calls to a service that does not work, and lets one call at a time find out whether it works again.
package breaker

import (
	"sync"
	"time"
)

// Pauses between attempts while a service does not work. They double, so a single slow answer costs little, and a service that
// stays away costs one call every few seconds.
const (
	minPause = 250 * time.Millisecond
	maxPause = 4 * time.Second

	// steady is how long a service must work until Succeeded reports it. Otherwise a service that answers some calls only, such as a
	// full one, would be reported many times.
	steady = time.Minute
)

// A Breaker decides which calls are made. The zero value lets all calls pass. It may be used from several goroutines at once.
type Breaker struct {
	mu     sync.Mutex
	pause  time.Duration // until the next attempt after a failure; 0: the service works
	retry  time.Time     // when the next attempt may begin
	trying bool          // an attempt is in progress
	period uint64        // the number of failures and recoveries that counted
	broken bool          // Failed has reported true, and Succeeded has not
	since  time.Time     // of the last recovery

	answers uint64 // calls that succeeded
}

// A Call is one call that a Breaker lets pass. It must be ended with one of its methods.
type Call struct {
	b       *Breaker
	period  uint64
	answers uint64 // before the call
	attempt bool
}

// Begin returns a call to make, or reports that none should be made now.
func (b *Breaker) Begin() (Call, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return Call{b, b.period, b.answers, false}, true
	}
	if b.trying || time.Now().Before(b.retry) {
		return Call{}, false
	}
	b.trying = true
	return Call{b, b.period, b.answers, true}, true
}

// Succeeded ends a call that the service has answered. It reports, once, that the service has been working again for a while.
func (c Call) Succeeded() (recovered bool) {
	return c.end(func() bool {
		c.b.answers++
		if c.b.pause > 0 {
			c.b.pause, c.b.since = 0, time.Now()
			c.b.period++
		}
		recovered := c.b.broken && time.Since(c.b.since) >= steady
		c.b.broken = c.b.broken && !recovered
		return recovered
	})
}

// Failed ends a call that the service has not answered as it should. It reports, once until Succeeded has reported true, that the
// service does not work. Of several calls that were in progress together, one failure counts.
func (c Call) Failed() (broke bool) { return c.end(c.fail) }

// TimedOut ends a call that the service has not answered in time. It is like Failed, unless the service has answered another call
// meanwhile: then it works, and has too much to do.
func (c Call) TimedOut() (broke bool) {
	return c.end(func() bool { return c.answers == c.b.answers && c.fail() })
}

func (c Call) fail() (broke bool) {
	if c.period != c.b.period {
		return false
	}
	broke = !c.b.broken
	c.b.broken = true
	c.b.pause = min(max(2*c.b.pause, minPause), maxPause)
	c.b.retry = time.Now().Add(c.b.pause)
	c.b.period++
	return broke
}

// Canceled ends a call whose caller gave up before there was an answer.
func (c Call) Canceled() { c.end(func() bool { return false }) }

func (c Call) end(update func() bool) bool {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.attempt {
		c.b.trying = false
	}
	return update()
}

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thumbcache/thumbcache"
)

// A coldResult says how many requests for new thumbnails went.
type coldResult struct {
	Keys, Failed    int
	Busy            int    // answers that the queue is full
	Goroutines      int    // at most
	Flights         int64  // at most, as Stats.InFlight
	RSS             uint64 // at most
	Stacks, Heap    uint64 // at that time
	Before          resources
	Seconds         float64
	LastError       string
	GoroutinesAfter int
}

// askCold asks for many thumbnails at once that nothing is known of. Only the cache runs on the goroutines of the callers; the answers
// are checked elsewhere.
func (n *node) askCold() *coldResult {
	r := &coldResult{Keys: n.Cold, Before: n.resources()}
	ctx, cancel := context.WithCancel(context.Background())
	type asked struct {
		*question
		*answer
	}
	answers := make(chan asked, n.Cold)
	var group, checks sync.WaitGroup
	var busy atomic.Int64
	start := make(chan struct{})
	for i := range n.Cold {
		q := n.question(object(i*(n.songs/n.Cold)), listSize)
		q.lowest, q.checked = math.MinInt64, math.MinInt64
		a := &answer{start: n.clock.now()}
		group.Go(func() {
			<-start
			for {
				a.thumb, a.err = n.cache.Get(ctx, q.Provider, q.Path, q.Size)
				if !errors.Is(a.err, thumbcache.ErrBusy) {
					break
				}
				busy.Add(1)
				sleep(ctx, time.Duration(rand.Int64N(int64(2*time.Second)))) // as a client does that gets the status 503
			}
			a.end = n.clock.now()
			answers <- asked{q, a}
		})
	}
	checks.Go(func() {
		for a := range answers {
			if err := n.checkState(a.question, a.answer); err != nil {
				r.Failed++
				r.LastError = n.describe(a.question, a.answer, err)
			}
		}
	})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			r.Goroutines = max(r.Goroutines, runtime.NumGoroutine())
			r.Flights = max(r.Flights, n.cache.Stats().InFlight)
			if rss := statusOf(os.Getpid()).rss; rss > r.RSS {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				r.RSS, r.Stacks, r.Heap = rss, m.StackInuse, m.HeapInuse
			}
			sleep(ctx, 5*time.Millisecond)
		}
	}()
	began := time.Now()
	close(start)
	group.Wait()
	r.Seconds = time.Since(began).Seconds()
	close(answers)
	checks.Wait()
	cancel()
	<-watched
	r.Busy = int(busy.Load())
	n.awaitQuiet()
	r.GoroutinesAfter = runtime.NumGoroutine()
	return r
}

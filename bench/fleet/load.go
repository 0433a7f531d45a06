//go:build unix

package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// times are how long requests took.
type times []time.Duration

// quantile returns the time that a part of the requests did not exceed.
func (t times) quantile(q float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	slices.Sort(t)
	return t[min(int(q*float64(len(t))), len(t)-1)]
}

// String returns the median, the 99th percentile and the maximum in milliseconds.
func (t times) String() string {
	if len(t) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f / %.1f / %.0f", ms(t.quantile(0.5)), ms(t.quantile(0.99)), ms(t.quantile(1)))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// A recorder collects the results of requests of several goroutines.
type recorder struct {
	mu     sync.Mutex
	times  map[string]times // by kind of request
	failed []error
}

func (r *recorder) add(kind string, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = append(r.failed, err)
		return
	}
	if r.times == nil {
		r.times = make(map[string]times)
	}
	r.times[kind] = append(r.times[kind], took)
}

// requests returns how many requests there were.
func (r *recorder) requests() (n int) {
	for _, t := range r.times {
		n += len(t)
	}
	return n + len(r.failed)
}

// Kinds of requests.
const (
	fromMemory = "in memory" // of the node
	made       = "new"       // no node has it
	again      = "made by another process"
	control    = "control" // no thumbnail at all: how busy the machine is
)

// Pauses between the requests to one node.
const (
	hotPause     = 5 * time.Millisecond
	controlPause = 20 * time.Millisecond
	coldPause    = 100 * time.Millisecond
	numHot       = 20 // thumbnails that each node has in memory
)

// colds counts thumbnails that were requested once.
var colds atomic.Int64

// nextCold returns a thumbnail that was never requested before.
func nextCold() (path string, size int) {
	n := int(colds.Add(1))
	return coverPath(n % numCovers), minCold + n/numCovers%(maxCold-minCold+1)
}

// warmUp brings the hot thumbnails into the memory of all nodes.
func warmUp(nodes []*node) error {
	for _, n := range nodes {
		for i := range numHot {
			if _, err := n.get(coverPath(i), hotSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// putLoad sends requests to all nodes for a while, at a rate that does not depend on how long they take. It calls event when a tenth of
// the time has passed, unless event is nil.
func putLoad(nodes []*node, duration time.Duration, event func()) *recorder {
	var r recorder
	var group sync.WaitGroup
	if event != nil {
		group.Go(func() {
			time.Sleep(duration / 10)
			event()
		})
	}
	every := func(pause time.Duration, do func()) {
		group.Go(func() {
			ticker := time.NewTicker(pause)
			defer ticker.Stop()
			for end := time.After(duration); ; {
				select {
				case <-end:
					return
				case <-ticker.C:
					group.Go(do)
				}
			}
		})
	}
	for i, n := range nodes {
		var turn atomic.Int64
		every(hotPause, func() {
			took, err := n.get(coverPath(int(turn.Add(1))%numHot), hotSize)
			r.add(fromMemory, took, err)
		})
		every(controlPause, func() {
			took, err := n.ping()
			r.add(control, took, err)
		})
		every(coldPause, func() {
			path, size := nextCold()
			took, err := n.get(path, size)
			r.add(made, took, err)
			if other := nodes[(i+1)%len(nodes)]; err == nil && other != n {
				took, err := other.get(path, size)
				r.add(again, took, err)
			}
		})
	}
	group.Wait()
	return &r
}

// storm sends many requests for all covers to all nodes at once.
func storm(nodes []*node, requests int) *recorder {
	var r recorder
	var group sync.WaitGroup
	start := make(chan struct{})
	for i, n := range nodes {
		for j := range requests {
			group.Go(func() {
				<-start
				took, err := n.get(coverPath((7*j+13*i)%numCovers), hotSize)
				r.add("", took, err)
			})
		}
	}
	close(start)
	group.Wait()
	return &r
}

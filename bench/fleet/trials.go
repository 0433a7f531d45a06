//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/thumbcache/thumbcache"
)

// Promises about time. Requests may wait for an engine for as long as its calls may take; the rest is for busy processors.
const (
	sharedTimeout = 100 * time.Millisecond // the default of thumbcache.Config.SharedTimeout
	leaseLife     = 10 * time.Second
	recovery      = 10 * time.Second // until nodes use an engine that works again; breakers try every 4 seconds

	// For busy processors. The first two are less than sharedTimeout, so they do not hide that all requests wait for an engine.
	hotSlack  = 90 * time.Millisecond // of the 99th percentile of hits in memory
	madeSlack = 90 * time.Millisecond // of the median of made thumbnails
	maxSlack  = 400 * time.Millisecond

	maxMeasurements = 3 // until the times are as promised: something else may have used the processors
)

// totals returns the sum of what the nodes have done.
func (f *fleet) totals() (sum thumbcache.Stats, err error) {
	for _, n := range f.nodes {
		s, _, err := n.stats()
		if err != nil {
			return sum, err
		}
		sum.Extractions += s.Extractions
		sum.Misses += s.Misses
		sum.SharedHits += s.SharedHits
		sum.SharedErrors += s.SharedErrors
		sum.SharedDropped += s.SharedDropped
		sum.LeasesWaited += s.LeasesWaited
	}
	return sum, nil
}

const stormRequests = 500 // to each node

// runStorm sends a storm to the nodes, and checks that they have made as many thumbnails as they should.
func (f *fleet) runStorm(what string, want int) error {
	r := storm(f.nodes, stormRequests)
	s, err := f.totals()
	if err != nil {
		return err
	}
	f.row("Storms: 500 requests for 100 covers to each process at once",
		"engine|processes|covers are|requests|failed|extractions|shared hits|waited for a lease|engine errors|ms: p50 / p99 / max",
		f.name(), f.count, what, r.requests(), len(r.failed), s.Extractions, s.SharedHits, s.LeasesWaited, s.SharedErrors, r.times[""])
	f.failures(what, r)
	f.promise(s.Extractions == uint64(want) && s.Misses == uint64(want), "%s, %d processes, storm, covers %s: %d extractions, %d thumbnails made, want %d",
		f.name(), f.count, what, s.Extractions, s.Misses, want)
	return nil
}

// failures checks that no request has failed.
func (f *fleet) failures(what string, r *recorder) {
	if len(r.failed) > 0 {
		f.promise(false, "%s, %d processes, %s: %d requests failed, such as: %v", f.name(), f.count, what, len(r.failed), r.failed[0])
	}
}

// trialStorm checks that the fleet makes each thumbnail once, and that new nodes make none.
func trialStorm(f *fleet) error {
	for _, round := range []struct {
		covers string
		want   int
	}{{"new", numCovers}, {"known to the engine", 0}} {
		if err := f.startNodes(f.patient()); err != nil {
			return err
		}
		if err := f.runStorm(round.covers, round.want); err != nil {
			return err
		}
		f.stopNodes()
	}
	return nil
}

// trialDeath kills a node that has a lease, and checks that the others make the thumbnail, once, when the lease has expired.
func trialDeath(f *fleet) error {
	if f.count < 2 {
		return nil
	}
	if err := f.startNodes(f.patient()); err != nil {
		return err
	}
	victim, others := f.nodes[0], f.nodes[1:]
	go victim.get(bigPath, hotSize)
	if err := f.awaitLease(f.prefix); err != nil {
		return err
	}
	victim.Freeze()
	var r recorder
	var group sync.WaitGroup
	for _, n := range others {
		for range 20 {
			group.Go(func() {
				took, err := n.get(bigPath, hotSize)
				r.add("", took, err)
			})
		}
	}
	time.Sleep(200 * time.Millisecond) // they wait for the lease now
	victim.Kill()
	group.Wait()
	f.nodes = others
	s, err := f.totals()
	if err != nil {
		return err
	}
	f.row("Kill -9 of the process that has the lease", "engine|processes|requests|failed|extractions by the others|waited for the lease|longest request, s",
		f.name(), f.count, r.requests(), len(r.failed), s.Extractions, s.LeasesWaited, fmt.Sprintf("%.1f", r.times[""].quantile(1).Seconds()))
	f.failures("a process was killed", &r)
	f.promise(s.Extractions == 1, "%s, %d processes: after the death of the holder the others made %d extractions, want 1", f.name(), f.count, s.Extractions)
	f.promise(r.times[""].quantile(1) < leaseLife+5*time.Second, "%s, %d processes: the death of the holder took others %v", f.name(), f.count, r.times[""].quantile(1))
	return nil
}

// A fault is something that happens to an engine.
type fault struct {
	name     string
	begin    func() error
	works    bool // the engine works afterwards
	fullOnly bool // left out of short runs
}

func (f *fleet) faults() []fault {
	do := func(f func()) func() error { return func() error { f(); return nil } }
	all := []fault{
		{name: "nothing", begin: do(func() {}), works: true},
		{name: "Redis is frozen (SIGSTOP)", begin: do(f.redis.Freeze)},
		{name: "Redis goes on", begin: do(f.redis.Thaw), works: true},
		{name: "Redis is killed", begin: do(f.redis.Kill)},
		{name: "Redis is started again, empty", begin: f.redis.Start, works: true},
		{name: "Redis is full, noeviction", begin: func() error { return f.fill("noeviction", 0) }, fullOnly: true},
		{name: "Redis has room again", begin: func() error { return f.configure("maxmemory", "0") }, works: true, fullOnly: true},
		{name: "Redis is full, allkeys-lru", begin: func() error { return f.fill("allkeys-lru", 200<<10) }, works: true, fullOnly: true},
		{name: "Redis has room again", begin: func() error { return f.configure("maxmemory", "0") }, works: true, fullOnly: true},
	}
	if f.s3 != nil {
		if f.short {
			all = all[:1] // a trial without S3 has done these
		}
		all = append(all, []fault{
			{name: "S3 is frozen (SIGSTOP)", begin: do(f.s3.Freeze)},
			{name: "S3 goes on", begin: do(f.s3.Thaw), works: true},
			{name: "S3 is killed", begin: do(f.s3.Kill)},
			{name: "S3 is started again", begin: f.s3.Start, works: true},
		}...)
	}
	return all
}

// fill limits the memory of Redis to what it uses now, and some more.
func (f *fleet) fill(policy string, more int) error {
	used, err := f.usedMemory()
	if err != nil {
		return err
	}
	return errors.Join(f.configure("maxmemory-policy", policy), f.configure("maxmemory", strconv.Itoa(used+more)))
}

// trialFaults lets the engines fail under load, and compares with nodes that share nothing.
func trialFaults(f *fleet) error {
	if err := f.measureAlone(); err != nil {
		return err
	}
	if err := f.startNodes(f.sharing()); err != nil {
		return err
	}
	if err := warmUp(f.nodes); err != nil {
		return err
	}
	for _, fault := range f.faults() {
		if f.short && fault.fullOnly {
			continue
		}
		if err := f.observe(fault); err != nil {
			return err
		}
	}
	return nil
}

// measureAlone puts load on nodes that share nothing.
func (f *fleet) measureAlone() error {
	f.killNodes()
	for range f.count {
		dir, err := os.MkdirTemp(f.dir, "thumbnails")
		if err != nil {
			return err
		}
		if err := f.addNode(f.program, []string{"--dir", dir}); err != nil {
			return err
		}
	}
	if err := warmUp(f.nodes); err != nil {
		return err
	}
	f.alone = putLoad(f.nodes, f.faultTime(), nil)
	f.loadRow("no shared tier", f.alone, thumbcache.Stats{}, thumbcache.Stats{})
	f.failures("no shared tier", f.alone)
	return nil
}

func (f *fleet) loadRow(what string, r *recorder, before, after thumbcache.Stats) {
	f.row("Faults under load (ms: p50 / p99 / max)",
		"engine|processes|what happens|requests|failed|control|in memory|new|made by another process|shared hits|engine errors|dropped",
		f.name(), f.count, what, r.requests(), len(r.failed), r.times[control], r.times[fromMemory], r.times[made], r.times[again],
		after.SharedHits-before.SharedHits, after.SharedErrors-before.SharedErrors, after.SharedDropped-before.SharedDropped)
}

// observe lets a fault begin under load, and checks what the nodes promise.
func (f *fleet) observe(fault fault) error {
	what := fmt.Sprintf("%s, %d processes, %s", f.name(), f.count, fault.name)
	for i := 1; ; i++ {
		before, err := f.totals()
		if err != nil {
			return err
		}
		var beginErr error
		r := putLoad(f.nodes, f.faultTime(), func() {
			if i == 1 {
				beginErr = fault.begin()
			}
		})
		after, err := f.totals()
		if err := errors.Join(beginErr, err); err != nil {
			return err
		}
		f.loadRow(fault.name, r, before, after)
		f.failures(fault.name, r)
		late := f.exceeded(r)
		if late == nil {
			break
		}
		if i == maxMeasurements {
			f.promise(false, "%s: %v", what, late)
			break
		}
		f.note("%s: %v; measured again.", what, late)
	}
	if fault.works {
		return f.awaitSharing(what)
	}
	return nil
}

// exceeded returns an error if requests took longer than promised, compared with nodes that share nothing. Requests that have nothing
// to do with thumbnails say how busy the machine was meanwhile.
func (f *fleet) exceeded(r *recorder) error {
	var late error
	within := func(kind string, q, controlQ float64, factor, slack time.Duration) {
		limit := factor*max(f.alone.times[kind].quantile(q), r.times[control].quantile(controlQ)) + slack
		if got := r.times[kind].quantile(q); got > limit {
			late = fmt.Errorf("quantile %v of %q took %.0f ms, the limit is %.0f ms", q, kind, ms(got), ms(limit))
		}
	}
	within(fromMemory, 0.99, 0.99, 2, hotSlack)
	within(made, 0.5, 0.5, 2, madeSlack)
	within(made, 1, 1, 1, 2*sharedTimeout+maxSlack)
	return late
}

// awaitSharing waits until the nodes share thumbnails.
func (f *fleet) awaitSharing(what string) error {
	if f.count < 2 {
		return nil // what this node makes, it has itself
	}
	for start := time.Now(); time.Since(start) < recovery; time.Sleep(50 * time.Millisecond) {
		path, size := nextCold()
		before, err := f.totals()
		if err != nil {
			return err
		}
		for _, n := range f.nodes {
			if _, err := n.get(path, size); err != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond) // it is stored in the background
		}
		after, err := f.totals()
		if err != nil {
			return err
		}
		if after.SharedHits-before.SharedHits == uint64(f.count-1) {
			return nil
		}
	}
	f.promise(false, "%s: after %v, the nodes do not share yet", what, recovery)
	return nil
}

// trialAbsent starts nodes while there are no engines.
func trialAbsent(f *fleet) error {
	if f.count < 2 {
		return nil
	}
	f.redis.Kill()
	if f.s3 != nil {
		f.s3.Kill()
	}
	if err := f.startNodes(f.sharing()); err != nil {
		return err
	}
	if err := warmUp(f.nodes); err != nil {
		return err
	}
	return f.observe(fault{name: "the engines start after the processes", works: true, begin: func() error {
		time.Sleep(f.faultTime() / 2)
		err := f.redis.Start()
		if f.s3 != nil {
			err = errors.Join(err, f.s3.Start())
		}
		return err
	}})
}

// trialVersions lets two versions of the program share an engine. Their thumbnails look different.
func trialVersions(f *fleet) error {
	if f.count < 2 || f.short {
		return nil
	}
	for _, round := range []struct {
		covers string
		want   int
	}{{"new, two versions", 2 * numCovers}, {"known to the engine, two versions", 0}} {
		for i := range f.count {
			if err := f.addNode([]string{f.program, f.nextVersion}[i%2], f.patient()); err != nil {
				return err
			}
		}
		if err := f.runStorm(round.covers, round.want); err != nil {
			return err
		}
		f.stopNodes()
	}
	return nil
}

// trialClocks lets the clock of every second node be wrong. S3 refuses requests that seem to be older than 15 minutes.
func trialClocks(f *fleet) error {
	if f.count < 2 || f.short {
		return nil
	}
	skew := time.Hour
	if f.s3 != nil {
		skew = 10 * time.Minute
	}
	for i := range f.count {
		ahead := time.Duration(i%2) * skew
		if err := f.addNode(f.wrongClock, f.patient(), skewEnv+"="+strconv.Itoa(int(ahead.Seconds()))); err != nil {
			return err
		}
		_, clock, err := f.nodes[i].stats()
		if err != nil {
			return err
		}
		if off := clock.Sub(time.Now().Add(ahead)).Abs(); off > time.Minute {
			return fmt.Errorf("the clock of node %d is off by %v", i, off)
		}
	}
	return f.runStorm("new, clocks apart by "+skew.String(), numCovers)
}

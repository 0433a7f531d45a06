package sharedtest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thumbcache/thumbcache"
)

var leaseTests = []conformanceTest{
	{"LeaseRace", testLeaseRace},
	{"LeaseScope", testLeaseScope},
	{"LeaseIsNoValue", testLeaseIsNoValue},
	{"Release", testRelease},
	{"Expiry", testExpiry},
	{"ExpiredAndFree", testExpiredAndFree},
	{"Renewal", testRenewal},
	{"RemoveEndsLeases", testRemoveEndsLeases},
	{"PutKeepsLeases", testPutKeepsLeases},
}

var commitTests = []conformanceTest{
	{"Commit", testCommit},
	{"CommitOtherVariant", testCommitOtherVariant},
	{"CommitForeign", testCommitForeign},
	{"CommitExpired", testCommitExpired},
	{"CommitRemoved", testCommitRemoved},
	{"CommitRace", testCommitRace},
}

// long is the life of leases that must not end during a test.
const long = 10 * time.Minute

// lease takes a lease that must be free.
func (b *bench) lease(m thumbcache.Shared, source, variant string, life time.Duration) thumbcache.Lease {
	b.Helper()
	lease, err := m.(thumbcache.Leaser).Lease(b.Context(), source, variant, life)
	b.must(err)
	return lease
}

// held checks that a machine cannot take the lease of b.source and a variant.
func (b *bench) held(m thumbcache.Shared, variant string) {
	b.Helper()
	_, err := m.(thumbcache.Leaser).Lease(b.Context(), b.source, variant, long)
	b.wants(err, thumbcache.ErrHeld)
}

// takeOver waits until a machine gets a lease that another one has.
func (b *bench) takeOver(m thumbcache.Shared, variant string) (lease thumbcache.Lease) {
	b.Helper()
	b.eventually("Lease", func() (err error) {
		lease, err = m.(thumbcache.Leaser).Lease(b.Context(), b.source, variant, long)
		if err != nil && !errors.Is(err, thumbcache.ErrHeld) {
			b.Fatal(err)
		}
		return err
	})
	return lease
}

// lost checks that a lease has ended.
func (b *bench) lost(lease thumbcache.Lease) {
	b.Helper()
	b.wants(lease.Renew(b.Context()), thumbcache.ErrLeaseLost)
	b.wants(lease.Release(b.Context()), thumbcache.ErrLeaseLost)
}

func testLeaseRace(b *bench) {
	machines := []thumbcache.Shared{b.Machine(), b.Machine(), b.Machine(), b.Machine()}
	for round := range 10 {
		variant := fmt.Sprintf("%d.jpg", round)
		var winners atomic.Int32
		var group sync.WaitGroup
		start := make(chan struct{})
		for i := range 32 {
			group.Go(func() {
				<-start
				_, err := machines[i%4].(thumbcache.Leaser).Lease(b.Context(), b.source, variant, long)
				if err == nil {
					winners.Add(1)
				} else {
					b.wants(err, thumbcache.ErrHeld)
				}
			})
		}
		close(start)
		group.Wait()
		if n := winners.Load(); n != 1 {
			b.Errorf("%d machines have the lease, want 1", n)
		}
	}
}

// testLeaseScope checks that a lease is for one variant of one source.
func testLeaseScope(b *bench) {
	here, there := b.Machine(), b.Machine()
	first := b.lease(here, b.source, "300.jpg", long)
	b.must(b.lease(there, b.source, "64.jpg", long).Release(b.Context()))
	b.must(b.lease(there, newSource(), "300.jpg", long).Release(b.Context()))
	b.must(first.Release(b.Context()))
}

func testLeaseIsNoValue(b *bench) {
	m := b.Machine()
	lease := b.lease(m, b.source, "300.jpg", long)
	b.has(m, b.source, "300.jpg", nil)
	b.must(lease.Release(b.Context()))
	b.has(m, b.source, "300.jpg", nil)
}

func testRelease(b *bench) {
	here, there := b.Machine(), b.Machine()
	first := b.lease(here, b.source, "300.jpg", long)
	b.held(there, "300.jpg")
	b.held(here, "300.jpg") // also on the same machine
	b.must(first.Release(b.Context()))
	second := b.lease(there, b.source, "300.jpg", long)
	b.lost(first)
	b.held(here, "300.jpg")
	b.must(second.Renew(b.Context()))
	b.must(second.Release(b.Context()))
	b.lost(second)
}

func testExpiry(b *bench) {
	here, there := b.Machine(), b.Machine()
	start := time.Now()
	first := b.lease(here, b.source, "300.jpg", b.Life)
	second := b.takeOver(there, "300.jpg")
	if took := time.Since(start); took < b.Life*9/10 {
		b.Errorf("another machine got a lease after %v, want %v", took, b.Life)
	}
	b.lost(first)
	b.held(here, "300.jpg")
	b.must(second.Renew(b.Context()))
}

// testExpiredAndFree checks that a lease which has ended does not come back, even if no other machine has taken it.
func testExpiredAndFree(b *bench) {
	m := b.Machine()
	lease := b.lease(m, b.source, "300.jpg", b.Life)
	time.Sleep(b.Life + b.Life/4)
	b.lost(lease)
}

func testRenewal(b *bench) {
	here, there := b.Machine(), b.Machine()
	lease := b.lease(here, b.source, "300.jpg", b.Life)
	start := time.Now()
	for renewed := start; time.Since(start) < 2*b.Life; time.Sleep(b.Life / 8) {
		err := lease.Renew(b.Context())
		if err != nil && time.Since(renewed) > b.Life/2 { // the machine of the tests was too busy to renew it in time
			b.source = newSource()
			lease = b.lease(here, b.source, "300.jpg", b.Life)
			start = time.Now()
		} else {
			b.must(err)
		}
		renewed = time.Now()
	}
	b.must(lease.Renew(b.Context()))
	b.held(there, "300.jpg")
	b.must(lease.Release(b.Context()))
	b.must(b.lease(there, b.source, "300.jpg", long).Release(b.Context()))
}

func testRemoveEndsLeases(b *bench) {
	here, there := b.Machine(), b.Machine()
	first, other := b.lease(here, b.source, "300.jpg", long), b.lease(here, b.source, "64.jpg", long)
	b.must(there.Remove(b.Context(), b.source))
	b.lost(other)
	second := b.lease(there, b.source, "300.jpg", long)
	b.lost(first)
	b.held(here, "300.jpg")
	b.must(second.Release(b.Context()))
}

func testPutKeepsLeases(b *bench) {
	here, there := b.Machine(), b.Machine()
	lease := b.lease(here, b.source, "300.jpg", long)
	b.must(there.Put(b.Context(), b.source, "300.jpg", []byte("theirs")))
	b.held(there, "300.jpg")
	b.must(here.Put(b.Context(), b.source, "300.jpg", []byte("ours")))
	b.must(lease.Release(b.Context()))
	b.has(there, b.source, "300.jpg", []byte("ours"))
}

// commit stores a value as the holder of a lease.
func (b *bench) commit(m thumbcache.Shared, lease thumbcache.Lease, variant string, value []byte) error {
	return m.(thumbcache.Committer).Commit(b.Context(), lease, b.source, variant, value)
}

func testCommit(b *bench) {
	here, there := b.Machine(), b.Machine()
	for _, value := range [][]byte{random(20 << 10), random(1 << 20)} {
		lease, want := b.lease(here, b.source, "300.jpg", long), bytes.Clone(value)
		b.must(b.commit(here, lease, "300.jpg", value))
		clear(value)
		b.has(there, b.source, "300.jpg", want)
		b.lost(lease)
		b.wants(b.commit(here, lease, "300.jpg", []byte("again")), thumbcache.ErrLeaseLost)
		b.must(b.lease(there, b.source, "300.jpg", long).Release(b.Context()))
		b.has(there, b.source, "300.jpg", want)
	}
}

// testCommitOtherVariant checks that the result may be of another variant than the lease. So it is when there is no picture.
func testCommitOtherVariant(b *bench) {
	here, there := b.Machine(), b.Machine()
	lease := b.lease(here, b.source, "300.jpg", long)
	b.must(b.commit(here, lease, "none", []byte("no picture")))
	b.has(there, b.source, "none", []byte("no picture"))
	b.has(there, b.source, "300.jpg", nil)
	b.lost(lease)
	b.must(b.lease(there, b.source, "300.jpg", long).Release(b.Context()))
}

type foreignLease struct{ thumbcache.Lease }

// testCommitForeign checks leases that do not belong to the engine or to the source.
func testCommitForeign(b *bench) {
	here, there := b.Machine(), b.Machine()
	other := newSource()
	lease := b.lease(here, b.source, "300.jpg", long)
	if b.commit(here, foreignLease{lease}, "300.jpg", []byte("foreign")) == nil {
		b.Error("Commit accepts another engine's lease")
	}
	if here.(thumbcache.Committer).Commit(b.Context(), lease, other, "300.jpg", []byte("foreign")) == nil {
		b.Error("Commit accepts another source's lease")
	}
	b.has(there, b.source, "300.jpg", nil)
	b.has(there, other, "300.jpg", nil)
	b.must(lease.Release(b.Context()))
}

func testCommitExpired(b *bench) {
	here, there := b.Machine(), b.Machine()
	b.must(there.Put(b.Context(), b.source, "300.jpg", []byte("before")))
	first := b.lease(here, b.source, "300.jpg", b.Life)
	second := b.takeOver(there, "300.jpg")
	b.wants(b.commit(here, first, "300.jpg", []byte("late")), thumbcache.ErrLeaseLost)
	b.has(there, b.source, "300.jpg", []byte("before"))
	b.held(here, "300.jpg")
	b.must(b.commit(there, second, "300.jpg", []byte("second")))
	b.wants(b.commit(here, first, "300.jpg", []byte("late")), thumbcache.ErrLeaseLost)
	b.has(here, b.source, "300.jpg", []byte("second"))

	lease := b.lease(here, b.source, "64.jpg", b.Life) // expired, but not taken over
	time.Sleep(b.Life + b.Life/4)
	b.wants(b.commit(here, lease, "64.jpg", []byte("late")), thumbcache.ErrLeaseLost)
	b.has(there, b.source, "64.jpg", nil)
}

func testCommitRemoved(b *bench) {
	here, there := b.Machine(), b.Machine()
	first := b.lease(here, b.source, "300.jpg", long)
	b.must(there.Remove(b.Context(), b.source))
	b.wants(b.commit(here, first, "300.jpg", []byte("old")), thumbcache.ErrLeaseLost)
	b.has(there, b.source, "300.jpg", nil)

	second := b.lease(there, b.source, "300.jpg", long)
	b.wants(b.commit(here, first, "300.jpg", []byte("old")), thumbcache.ErrLeaseLost)
	b.has(there, b.source, "300.jpg", nil)
	b.must(b.commit(there, second, "300.jpg", []byte("new")))
	b.has(here, b.source, "300.jpg", []byte("new"))
}

// testCommitRace lets a removal and a commit race. Whichever is first, nothing is there afterwards.
func testCommitRace(b *bench) {
	here, there := b.Machine(), b.Machine()
	for range 20 {
		lease := b.lease(here, b.source, "300.jpg", long)
		var group sync.WaitGroup
		group.Go(func() {
			if err := b.commit(here, lease, "300.jpg", random(20<<10)); err != nil {
				b.wants(err, thumbcache.ErrLeaseLost)
			}
		})
		group.Go(func() {
			if err := there.Remove(b.Context(), b.source); err != nil {
				b.Error(err)
			}
		})
		group.Wait()
		b.has(here, b.source, "300.jpg", nil)
	}
}

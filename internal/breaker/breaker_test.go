package breaker

import (
	"testing"
	"testing/synctest"
	"time"
)

// begin begins a call that must pass.
func begin(t *testing.T, b *Breaker) Call {
	t.Helper()
	c, ok := b.Begin()
	if !ok {
		t.Fatal("the call was not let pass")
	}
	return c
}

// After a failure no call passes for a while, then one at a time. The pause doubles up to its limit, and begins anew after
// an answer.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Breaker
		for round := range 2 {
			if begin(t, &b).Succeeded() {
				t.Error("a recovery was reported without a failure")
			}
			broke := true
			for _, want := range []time.Duration{minPause, 2 * minPause, 4 * minPause, 8 * minPause, maxPause, maxPause} {
				if got := begin(t, &b).Failed(); got != broke {
					t.Errorf("round %d, pause %v: Failed reports %v", round, want, got)
				}
				broke = false
				time.Sleep(want - time.Nanosecond)
				if _, ok := b.Begin(); ok {
					t.Errorf("a call passed before the end of %v", want)
				}
				time.Sleep(time.Nanosecond)
			}
			attempt := begin(t, &b)
			if _, ok := b.Begin(); ok {
				t.Error("a call passed beside the attempt")
			}
			attempt.Canceled()
			if begin(t, &b).Succeeded() {
				t.Error("the recovery was reported at once")
			}
			time.Sleep(steady)
			if !begin(t, &b).Succeeded() {
				t.Error("the recovery was not reported")
			}
		}
	})
}

// Of calls that were in progress together, one failure counts. An answer to one of them counts too.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Breaker
		var calls []Call
		for range 10 {
			calls = append(calls, begin(t, &b))
		}
		for i, c := range calls[:8] {
			if got := c.Failed(); got != (i == 0) {
				t.Errorf("failure %d: %v", i, got)
			}
		}
		time.Sleep(minPause)
		if begin(t, &b).Failed() {
			t.Error("it broke twice")
		}
		calls[8].Succeeded()
		begin(t, &b) // because a late answer counts
		if calls[9].Failed() {
			t.Error("a late failure counted after the recovery")
		}
		begin(t, &b)
	})
}

// A service that works now and then is reported once, and its pauses begin anew each time.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Breaker
		for i := range 100 {
			if got := begin(t, &b).Failed(); got != (i == 0) {
				t.Errorf("failure %d: %v", i, got)
			}
			time.Sleep(minPause)
			if begin(t, &b).Succeeded() {
				t.Errorf("recovery %d was reported", i)
			}
			time.Sleep(time.Second)
		}
	})
}

// A call without an answer in time counts as a failure only if no other call was answered meanwhile.
func TestTimedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Breaker
		slow, quick := begin(t, &b), begin(t, &b)
		quick.Succeeded()
		if slow.TimedOut() {
			t.Error("it broke although another call was answered")
		}
		begin(t, &b).Succeeded()
		if !begin(t, &b).TimedOut() {
			t.Error("it did not break")
		}
		if _, ok := b.Begin(); ok {
			t.Error("a call passed")
		}
	})
}

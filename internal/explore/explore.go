// Package explore runs a test in every order of its events.
//
// A test that depends on the order of events asks [Schedule.Choose] what happens next, until nothing is left to happen. [All] runs
// it again and again, each time with other answers, depth first. A run begins with the answers of the run before it, except for the
// last one that can still change. So a test must offer the same events whenever it got the same answers before. It runs in a bubble
// of [testing/synctest], whose Wait makes that possible.
package explore

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Env is the environment variable for a schedule to run instead of all: names of events, separated by semicolons.
const Env = "THUMBCACHE_SCHEDULE"

// A Schedule answers what happens next, in one run of a test.
type Schedule struct {
	choices []choice // those of this run up to at, then those that it repeats from the run before
	at      int
	replay  []string // the names of events to choose; nil unless Env is set
}

type choice struct {
	events []string
	taken  int
}

// Choose returns the index of the event that happens next. The first event is the usual one, see All. Names have no semicolon.
func (s *Schedule) Choose(events ...string) int {
	switch {
	case s.replay != nil:
		s.choices = append(s.choices, choice{events, s.replayed(events)})
	case s.at == len(s.choices):
		s.choices = append(s.choices, choice{events: slices.Clone(events)})
	case !slices.Equal(s.choices[s.at].events, events):
		s.choices = s.choices[:s.at]
		panic(fmt.Sprintf("the same schedule led to other events: %q", events))
	}
	s.at++
	return s.choices[s.at-1].taken
}

// replayed returns the index of the event that Env names, or 0 after its end.
func (s *Schedule) replayed(events []string) int {
	if s.at >= len(s.replay) {
		return 0
	}
	i := slices.Index(events, s.replay[s.at])
	if i < 0 {
		panic(fmt.Sprintf("%s: event %d, %q, is none of %q", Env, s.at, s.replay[s.at], events))
	}
	return i
}

// String returns the events of this run so far, as Env wants them.
func (s *Schedule) String() string {
	var names []string
	for _, c := range s.choices[:s.at] {
		names = append(names, c.events[c.taken])
	}
	return strings.Join(names, "; ")
}

// next prepares the next run. It reports false if there is none with at most bound events that are not the usual ones.
func (s *Schedule) next(bound int) bool {
	s.choices = s.choices[:s.at]
	s.at = 0
	unusual := 0
	for _, c := range s.choices {
		unusual += min(c.taken, 1)
	}
	for i, c := range slices.Backward(s.choices) {
		unusual -= min(c.taken, 1)
		if c.taken+1 < len(c.events) && (bound < 0 || unusual < bound) {
			s.choices[i].taken++
			s.choices = s.choices[:i+1]
			return true
		}
	}
	return false
}

// All runs test with every schedule, each in a bubble of its own, until one fails, and returns the number of runs. If bound is not
// negative, All leaves out schedules with more than bound events that are not the first of those that could happen.
func All(t *testing.T, bound int, test func(t *testing.T, s *Schedule)) (runs int) {
	s := &Schedule{}
	if list, ok := os.LookupEnv(Env); ok {
		s.replay = strings.Split(list, "; ")
		bound = 0
	}
	defer func() {
		if t.Failed() {
			t.Fatalf("after %d runs. To run this one again:\n%s='%s' go test -run '^%s$'", runs, Env, s, t.Name())
		}
	}()
	defer failOnPanic(t) // such as a deadlock in the bubble, which may also follow a failure
	for more := true; more; more = s.next(bound) {
		synctest.Test(t, func(t *testing.T) { // which does not return if the test fails
			defer failOnPanic(t)
			test(t, s)
		})
		runs++
	}
	return runs
}

func failOnPanic(t *testing.T) {
	if p := recover(); p != nil && !t.Failed() {
		t.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

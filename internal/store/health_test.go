package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// Each row is one event, the time since the row before it, and the state and log line that must follow.
func TestHealth(t *testing.T) {
	type events = func(h *health)
	answer := func(ok bool) events { return func(h *health) { h.noteAnswer(ok) } }
	write := func(err error) events { return func(h *health) { h.noteWrite(err) } }
	pause := func(d time.Duration) events { return func(h *health) { h.pauseWrites(d) } }
	damage := func(h *health) { h.noteDamage(1, "file", errors.New("wrong checksum")) }
	nothing := func(*health) {}
	full := fmt.Errorf("write: %w", errors.New("no space left on device"))
	const info, warn = "INFO", "WARN"

	type step struct {
		what                 string
		after                time.Duration
		event                events
		answers, read, write bool
		log                  string // the level of the line, or ""
	}
	for name, steps := range map[string][]step{
		"all is well": {
			{"at first", 0, nothing, true, true, true, ""},
			{"an answer", 0, answer(true), true, true, true, ""},
			{"a write", 0, write(nil), true, true, true, ""},
		},
		"hung": {
			{"no answer", 0, answer(false), false, false, false, warn},
			{"just before the end of the pause", hungPause - 1, nothing, false, false, false, ""},
			{"the pause ends: one read tries", 1, nothing, false, true, false, ""},
			{"meanwhile", readPatience, nothing, false, false, false, ""},
			{"no answer again", 0, answer(false), false, false, false, ""},
			{"the second pause ends", hungPause, nothing, false, true, false, ""},
			{"that read is canceled, so another one tries", hungPause, nothing, false, true, false, ""},
			{"an answer", 0, answer(true), true, true, true, info},
			{"another answer", 0, answer(true), true, true, true, ""},
			{"no answer once more", 0, answer(false), false, false, false, warn},
		},
		"a late answer ends the pause": {
			{"no answer", 0, answer(false), false, false, false, warn},
			{"a read that began before it is answered", time.Second, answer(true), true, true, true, info},
		},
		"unwritable": {
			{"a write fails", 0, write(full), true, true, false, warn},
			{"just before the end of the pause", writePause - 1, nothing, true, true, false, ""},
			{"the pause ends: tried again", 1, nothing, true, true, true, ""},
			{"it fails again", 0, write(full), true, true, false, ""},
			{"an answer does not help", 0, answer(true), true, true, false, ""},
			{"the second pause ends", writePause, nothing, true, true, true, ""},
			{"a write succeeds", 0, write(nil), true, true, true, info},
			{"another one fails", 0, write(full), true, true, false, warn},
		},
		"a folder in the way is not the disk's fault": {
			{"in the way", 0, write(errInTheWay), true, true, true, ""},
			{"a write fails", 0, write(full), true, true, false, warn},
			{"in the way, meanwhile", writePause, write(errInTheWay), true, true, true, ""},
			{"so it was still unwritable", 0, write(nil), true, true, true, info},
		},
		"paused": {
			{"no room can be made", 0, pause(3 * time.Second), true, true, false, ""},
			{"a write in progress succeeds", time.Second, write(nil), true, true, false, ""},
			{"the pause ends", 2 * time.Second, nothing, true, true, true, ""},
		},
		"all at once": {
			{"a write fails", 0, write(full), true, true, false, warn},
			{"no answer", 0, answer(false), false, false, false, warn},
			{"no room can be made", 0, pause(hungPause + time.Second), false, false, false, ""},
			{"the answer comes back", hungPause, answer(true), true, true, false, info},
			{"the pause ends", time.Second, nothing, true, true, true, ""},
			{"a write succeeds", 0, write(nil), true, true, true, info},
		},
		"damaged files": {
			{"the first", 0, damage, true, true, true, warn},
			{"the second", damageLogRate - 1, damage, true, true, true, ""},
			{"one after the interval", 1, damage, true, true, true, warn},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			now := time.Now()
			h := newHealth("dir", log.logger(), func() time.Time { return now })
			for _, step := range steps {
				infos, warnings := log.count(slog.LevelInfo), log.count(slog.LevelWarn)
				now = now.Add(step.after)
				step.event(h)
				if got := [...]bool{h.answers(), h.mayRead(), h.mayWrite()}; got != [...]bool{step.answers, step.read, step.write} {
					t.Errorf("%s: answers, mayRead, mayWrite are %v, want %v %v %v", step.what, got, step.answers, step.read, step.write)
				}
				want := map[string][2]int{"": {}, info: {1, 0}, warn: {0, 1}}[step.log]
				if got := [...]int{log.count(slog.LevelInfo) - infos, log.count(slog.LevelWarn) - warnings}; got != want {
					t.Errorf("%s: %d infos and %d warnings, want %v", step.what, got[0], got[1], want)
				}
			}
		})
	}
}

// A disk that hangs delays a caller by no more than ctx or its patience, and cleanup runs exactly once if the caller gave up.
func TestAskDisk(t *testing.T) {
	dir := t.TempDir()
	canceled := errors.New("canceled")
	for _, test := range []struct {
		name     string
		work     time.Duration // how long the disk takes
		deadline time.Duration // of ctx
		before   func(s *Store)
		want     error
		waits    time.Duration
		cleanups int
	}{
		{"answers in time", time.Second, time.Hour, nil, nil, time.Second, 0},
		{"too late", time.Minute, time.Hour, nil, errLate, readPatience, 1},
		{"canceled", time.Minute, 2 * time.Second, nil, canceled, 2 * time.Second, 1},
		{"known to hang", time.Second, time.Hour, func(s *Store) { s.health.noteAnswer(false) }, errNotAsked, 0, 1},
		{"closed", time.Second, time.Hour, func(s *Store) { s.Close() }, errNotAsked, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openInBubble(t, dir)
				if test.before != nil {
					test.before(s)
				}
				cleanups, ended := 0, false
				ctx, cancel := context.WithTimeoutCause(t.Context(), test.deadline, canceled)
				defer cancel()
				start := time.Now()
				got := s.askDisk(ctx, readPatience, func(ctx context.Context) {
					time.Sleep(test.work)
					ended = ctx.Err() != nil
				}, func() { cleanups++ })
				if waited := time.Since(start); got != test.want || waited != test.waits {
					t.Errorf("%v after %v, want %v after %v", got, waited, test.want, test.waits)
				}
				time.Sleep(2 * test.work) // until the disk has answered, in the bubble's time
				synctest.Wait()
				if cleanups != test.cleanups {
					t.Errorf("%d cleanups, want %d", cleanups, test.cleanups)
				}
				if gaveUp := test.want == errLate || test.want == canceled; ended != gaveUp {
					t.Errorf("the context of the work has ended: %v", ended)
				}
			})
		})
	}
}

// openInBubble opens a store with the clock of the bubble.
func openInBubble(t *testing.T, dir string) *Store {
	s, err := Open(dir, -1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// After a disk has hung, one read finds out whether it answers again. Nothing else takes the place of that read.
func TestReadAfterHang(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openInBubble(t, dir)
		e := numbered(1, 1, 500)
		s.Put(e)
		s.health.noteAnswer(false)
		time.Sleep(hungPause)
		s.Put(e)
		release, ok := s.Lock(t.Context(), &e.Key, Hash(e.Key.Provider, e.Key.Path), 0)
		release()
		if !ok || s.Answers() {
			t.Errorf("free: %v, answers: %v", ok, s.Answers())
		}
		if _, ok := fetch(t, s, e.Key); !ok || !s.Answers() {
			t.Errorf("found: %v, answers: %v", ok, s.Answers())
		}
	})
}

// When all turns to read are taken by slow reads, a read waits for turnPatience. It does not wait if the disk is known to hang.
func TestReadTurns(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openInBubble(t, dir)
		e := numbered(1, 1, 500)
		s.Put(e)
		if !s.reads.TryAcquire(maxReads) {
			t.Fatal("reads in progress")
		}
		for _, want := range []time.Duration{turnPatience, 0} {
			start := time.Now()
			if _, ok := fetch(t, s, e.Key); ok || time.Since(start) != want {
				t.Errorf("found: %v, after %v, want a miss after %v", ok, time.Since(start), want)
			}
			s.health.noteAnswer(false)
		}
		s.health.noteAnswer(true)
		s.reads.Release(maxReads)
		if _, ok := fetch(t, s, e.Key); !ok {
			t.Error("a miss although the disk answers")
		}
	})
}

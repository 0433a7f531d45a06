package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A folder is read at most once a second, and less often if that takes long.
func TestWatcher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		took := time.Duration(0)
		l := listing{Entries: []entry{{Thumb: "a"}}, Total: 1}
		failure := error(nil)
		w := newWatcher(func(context.Context, query) (listing, error) {
			reads++
			time.Sleep(took)
			return l, failure
		})
		check := func(what, want string, wantReads int) {
			t.Helper()
			if got := w.version(t.Context(), query{}); got != want || reads != wantReads {
				t.Errorf("%s: %q after %d reads, want %q after %d", what, got, reads, want, wantReads)
			}
		}
		first := l.version()
		check("first", first, 1)
		l.Entries[0].Thumb = "b"
		check("at once", first, 1)
		time.Sleep(minWatchGap)
		second := l.version()
		if second == first {
			t.Error("the version has not changed with the listing")
		}
		took = 3 * time.Second
		check("after a second", second, 2)
		time.Sleep(59 * time.Second)
		check("a slow folder", second, 2)
		time.Sleep(time.Second)
		failure = errors.New("offline")
		check("an unreadable folder", "", 3)
		for range 2 * maxWatched {
			w.version(t.Context(), query{folder: time.Now().String()})
		}
		if n := w.latest.Len(); n > maxWatched {
			t.Errorf("%d folders are remembered", n)
		}
	})
}

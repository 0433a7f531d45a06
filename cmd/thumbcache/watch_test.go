package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
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

// An open page is told at once about each change of its folder, and about nothing else.
func TestEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := listing{Entries: []entry{{Thumb: "a"}}, Total: 1}
		s := &site{watcher: newWatcher(func(context.Context, query) (listing, error) { return l, nil })}
		ctx, leave := context.WithCancel(t.Context())
		w := httptest.NewRecorder()
		go s.serveEvents(w, httptest.NewRequestWithContext(ctx, "GET", "/events?folder=f", nil))
		want := ""
		check := func(more string) {
			t.Helper()
			synctest.Wait()
			if want += more; w.Body.String() != want || !w.Flushed {
				t.Errorf("sent %q, want %q", w.Body, want)
			}
		}
		event := func() string { return "data: " + l.version() + "\n\n" }
		check(event())
		time.Sleep(streamInterval)
		check("")
		l.Entries[0].Thumb = "b"
		time.Sleep(streamInterval)
		check(event())
		time.Sleep(streamSilence + streamInterval)
		check(":\n\n")
		if kind := w.Header().Get("Content-Type"); kind != "text/event-stream" {
			t.Errorf("type %q", kind)
		}
		leave()
		synctest.Wait()
		if n := s.streams.Load(); n != 0 {
			t.Errorf("%d responses have not ended", n)
		}
	})
}

// The number of pages that are told about changes is limited, and a response ends when its client does not read.
func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &site{watcher: newWatcher(func(context.Context, query) (listing, error) { return listing{}, nil })}
		ctx, leave := context.WithCancel(t.Context())
		for range maxStreams {
			go s.serveEvents(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/events", nil))
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		s.serveEvents(w, httptest.NewRequest("GET", "/events", nil))
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("status %d for one page too many", w.Code)
		}
		leave()
		synctest.Wait()
		s.serveEvents(gone{httptest.NewRecorder()}, httptest.NewRequest("GET", "/events", nil)) // returns
		if n := s.streams.Load(); n != 0 {
			t.Errorf("%d responses have not ended", n)
		}
	})
}

// gone is the response to a client that does not read it.
type gone struct{ *httptest.ResponseRecorder }

func (gone) Write([]byte) (int, error)       { return 0, os.ErrDeadlineExceeded }
func (gone) WriteString(string) (int, error) { return 0, os.ErrDeadlineExceeded }

package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
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

// Pages that show the same folder read it together. One that is closed meanwhile changes nothing for the others.
func TestWatcherIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := listing{Entries: []entry{{Thumb: "a"}}, Total: 1}
		reads := 0
		w := newWatcher(func(ctx context.Context, _ query) (listing, error) {
			reads++
			select {
			case <-time.After(3 * time.Second):
				return l, nil
			case <-ctx.Done():
				return listing{}, ctx.Err()
			}
		})
		ctx, leave := context.WithCancel(t.Context())
		go w.version(ctx, query{})
		synctest.Wait()
		for range 2 {
			go func() {
				if got := w.version(t.Context(), query{}); got != l.version() {
					t.Errorf("got %q", got)
				}
			}()
		}
		time.Sleep(time.Second)
		leave()
		time.Sleep(3 * time.Second)
		if got := w.version(t.Context(), query{}); got != l.version() || reads != 1 {
			t.Errorf("%q after %d reads", got, reads)
		}

		// The only page is closed, and another one opened.
		time.Sleep(time.Hour)
		ctx, leave = context.WithCancel(t.Context())
		go w.version(ctx, query{})
		synctest.Wait()
		leave()
		synctest.Wait()
		if got := w.version(t.Context(), query{}); got != l.version() || reads != 3 {
			t.Errorf("%q after %d reads", got, reads)
		}
	})
}

// An open page is told at once about each change of its folder, and about nothing else.
func TestEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l atomic.Pointer[listing]
		l.Store(&listing{Entries: []entry{{Thumb: "a"}}, Total: 1})
		s := &site{watcher: newWatcher(func(context.Context, query) (listing, error) { return *l.Load(), nil })}
		ctx, leave := context.WithCancel(t.Context())
		p := &openPage{header: http.Header{}, sent: make(chan string, 10)}
		go s.serveEvents(p, httptest.NewRequestWithContext(ctx, "GET", "/events?folder=f", nil))
		check := func(want string) {
			t.Helper()
			synctest.Wait()
			got := ""
			for len(p.sent) > 0 {
				got += <-p.sent
			}
			if got != want {
				t.Errorf("sent %q, want %q", got, want)
			}
		}
		event := func() string { return "data: " + l.Load().version() + "\n\n" }
		check(event())
		time.Sleep(streamInterval)
		check("")
		l.Store(&listing{Entries: []entry{{Thumb: "b"}}, Total: 1})
		time.Sleep(streamInterval)
		check(event())
		time.Sleep(streamSilence + streamInterval)
		check(":\n\n")
		if kind := p.header.Get("Content-Type"); kind != "text/event-stream" {
			t.Errorf("type %q", kind)
		}
		leave()
		synctest.Wait()
		if n := s.streams.Load(); n != 0 {
			t.Errorf("%d responses have not ended", n)
		}
	})
}

// An openPage is a response that never ends. It sends what has been flushed.
type openPage struct {
	header http.Header
	text   []byte
	sent   chan string
}

func (p *openPage) Header() http.Header { return p.header }
func (p *openPage) WriteHeader(int)     {}

func (p *openPage) Write(text []byte) (int, error) {
	p.text = append(p.text, text...)
	return len(text), nil
}

func (p *openPage) Flush() {
	p.sent <- string(p.text)
	p.text = nil
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
		s.serveEvents(httptest.NewRecorder(), httptest.NewRequest("HEAD", "/events", nil))      // returns
		if n := s.streams.Load(); n != 0 {
			t.Errorf("%d responses have not ended", n)
		}
	})
}

// gone is the response to a client that does not read it.
type gone struct{ *httptest.ResponseRecorder }

func (gone) Write([]byte) (int, error)       { return 0, os.ErrDeadlineExceeded }
func (gone) WriteString(string) (int, error) { return 0, os.ErrDeadlineExceeded }

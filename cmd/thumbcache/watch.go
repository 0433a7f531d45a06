package main

import (
	"context"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/thumbcache/thumbcache/internal/flight"
)

// A watcher finds out whether folders have changed. It polls, because network shares do not report changes. Pages that show the same
// folder share one read.
type watcher struct {
	list  func(context.Context, query) (listing, error)
	reads flight.Group[query, string]

	mu     sync.Mutex // protects latest
	latest *simplelru.LRU[query, watched]
}

type watched struct {
	version string
	until   time.Time // when the folder must be read again
}

const (
	maxWatched  = 100              // folders
	minWatchGap = time.Second      // between two times that a folder is read
	watchLoad   = 20               // a folder that takes a second to read is read every 20 seconds
	watchLimit  = 10 * time.Second // for reading a folder once
)

func newWatcher(list func(context.Context, query) (listing, error)) *watcher {
	lru, err := simplelru.NewLRU[query, watched](maxWatched, nil)
	if err != nil {
		panic(err) // cannot happen: the size is positive
	}
	return &watcher{list: list, latest: lru}
}

// version returns the version of the first page of a folder, or "" if the folder cannot be read.
func (w *watcher) version(ctx context.Context, q query) string {
	w.mu.Lock()
	last, ok := w.latest.Get(q)
	w.mu.Unlock()
	if ok && time.Now().Before(last.until) {
		return last.version
	}
	now, _, _ := w.reads.Do(ctx, q, func(work *flight.Work) (string, error) { return w.read(work, q) })
	return now
}

// read reads a folder, and remembers its version unless no page shows the folder any more.
func (w *watcher) read(work *flight.Work, q query) (string, error) {
	ctx, cancel := context.WithTimeout(work, watchLimit)
	defer cancel()
	start := time.Now()
	now := watched{}
	if l, err := w.list(ctx, q); err == nil {
		now.version = l.version()
	}
	if work.Err() != nil {
		return "", work.Err()
	}
	now.until = time.Now().Add(max(minWatchGap, watchLoad*time.Since(start)))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest.Add(q, now)
	return now.version, nil
}

// version returns a text that changes with what the page shows of a listing.
func (l *listing) version() string {
	h := fnv.New64a()
	for _, e := range l.Entries {
		io.WriteString(h, e.Thumb+"\x00") // contains the path and, for a file, its version
	}
	return strconv.Itoa(l.Total) + "-" + strconv.FormatUint(h.Sum64(), 36)
}

const (
	maxStreams     = 256              // pages that are told about changes at one time
	streamInterval = 2 * time.Second  // between two looks at the folder of a page
	streamSilence  = 15 * time.Second // after which something is sent, to find out whether the page is still open
)

// serveEvents sends the version of the listing of a folder as server-sent events: at once, and each time it has changed. It is
// empty while the folder cannot be read.
func (s *site) serveEvents(w http.ResponseWriter, r *http.Request) {
	defer s.streams.Add(-1)
	if s.streams.Add(1) > maxStreams {
		writeError(w, http.StatusServiceUnavailable, "too many pages are open")
		return
	}
	q := query{folder: r.FormValue("folder"), sort: parseSorting(r.FormValue("sort"))}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold the events back
	if r.Method == http.MethodHead {
		return
	}
	client := http.NewResponseController(w)
	tick := time.NewTicker(streamInterval)
	defer tick.Stop()
	var sent string
	var last time.Time // when something was sent
	for {
		now := s.watcher.version(r.Context(), q)
		text := ""
		switch {
		case last.IsZero() || now != sent:
			text = "data: " + now + "\n\n"
		case time.Since(last) >= streamSilence:
			text = ":\n\n" // a comment
		}
		if text != "" {
			sent, last = now, time.Now()
			_ = client.SetWriteDeadline(last.Add(streamSilence)) // instead of that of the server, which is for whole responses
			if _, err := io.WriteString(w, text); err != nil || client.Flush() != nil {
				return
			}
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

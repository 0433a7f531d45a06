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
)

// A watcher tells open pages whether their folder has changed. Each page asks every other second, so the answers are kept for
// a moment. Server-sent events would need the same polling here, because network shares do not report changes, and would
// occupy one of the six connections that a browser opens to a host for each tab.
type watcher struct {
	list func(context.Context, query) (listing, error)

	mu     sync.Mutex
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
	start := time.Now()
	if ok && start.Before(last.until) {
		return last.version
	}
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	now := watched{}
	if l, err := w.list(ctx, q); err == nil {
		now.version = l.version()
	}
	now.until = time.Now().Add(max(minWatchGap, watchLoad*time.Since(start)))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest.Add(q, now)
	return now.version
}

// version returns a text that changes with what the page shows of a listing.
func (l *listing) version() string {
	h := fnv.New64a()
	for _, e := range l.Entries {
		io.WriteString(h, e.Thumb+"\x00") // contains the path and, for a file, its version
	}
	return strconv.Itoa(l.Total) + "-" + strconv.FormatUint(h.Sum64(), 36)
}

// serveVersion returns the version of a listing, which is also part of the listing itself. It is not an error if the folder
// cannot be read, because the page asks again and again.
func (s *site) serveVersion(w http.ResponseWriter, r *http.Request) {
	q := query{folder: r.FormValue("folder"), sort: parseSorting(r.FormValue("sort"))}
	writeJSON(w, struct {
		Version string `json:"version"`
	}{s.watcher.version(r.Context(), q)})
}

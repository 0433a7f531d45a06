package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/store"
)

// Traces remember how the latest thumbnails were answered and made, so that the page can explain them. They are bounded.
type traces struct {
	mu      sync.Mutex                     // protects all fields
	sources *simplelru.LRU[string, *trace] // by path
	work    time.Duration                  // the time that all steps have taken, except waiting and storing
}

// A trace describes the thumbnails of one source.
type trace struct {
	answers []answerFacts // the latest for each size, the most recent first
	stages  []stageFacts  // the latest run of each step, in the order of stageNames
}

// answerFacts describes the response to one request.
type answerFacts struct {
	Size    int       `json:"size"`
	Origin  string    `json:"origin"` // as in thumbcache.Observer.Request
	Seconds float64   `json:"seconds"`
	At      time.Time `json:"at"`
	Error   string    `json:"error,omitempty"`
}

const (
	maxTraces  = 2000 // sources; each takes less than 1 KiB
	maxAnswers = 8    // sizes of one source
)

// stageNames are the steps of making a thumbnail in the order in which they run.
var stageNames = []string{"queue", "lease", "stat", "open", "extract", "rescue", "render", "store"}

func newTraces() *traces {
	lru, err := simplelru.NewLRU[string, *trace](maxTraces, nil)
	if err != nil {
		panic(err) // cannot happen: the size is positive
	}
	return &traces{sources: lru}
}

// observer returns the observer that records what a cache does.
func (ts *traces) observer() *thumbcache.Observer {
	return &thumbcache.Observer{
		Request: func(_ context.Context, req thumbcache.Request, from string, took time.Duration, err error) {
			a := answerFacts{Size: req.Size, Origin: from, Seconds: took.Seconds(), At: time.Now()}
			if err != nil {
				a.Error = safeReason(err)
			}
			ts.edit(req.Path, func(t *trace) { t.addAnswer(a) })
		},
		Stage: func(_, path, stage string, took time.Duration, err error) {
			f := stageFacts{Stage: stage, Seconds: took.Seconds()}
			if err != nil {
				f.Error = safeReason(err)
			}
			ts.edit(path, func(t *trace) {
				t.addStage(f)
				if stage != "queue" && stage != "lease" && stage != "store" {
					ts.work += took
				}
			})
		},
	}
}

// safeReason returns the text for an error, without a path of this computer.
func safeReason(err error) string {
	if p := makePlaceholder(thumbcache.Request{}, err); p != nil {
		return string(p.Data)
	}
	return strings.ToLower(http.StatusText(thumbcache.HTTPStatus(err)))
}

// edit calls edit with the trace of a source, with the lock held.
func (ts *traces) edit(path string, edit func(*trace)) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t, ok := ts.sources.Get(path)
	if !ok {
		t = new(trace)
		ts.sources.Add(path, t)
	}
	edit(t)
}

// get returns copies of what is known of a source. Both are not nil.
func (ts *traces) get(path string) (answers []answerFacts, stages []stageFacts) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t, ok := ts.sources.Peek(path)
	if !ok {
		t = new(trace)
	}
	return append([]answerFacts{}, t.answers...), append([]stageFacts{}, t.stages...)
}

// workSeconds returns the time that it took to make all thumbnails.
func (ts *traces) workSeconds() float64 {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.work.Seconds()
}

func (t *trace) addAnswer(a answerFacts) {
	t.answers = slices.DeleteFunc(t.answers, func(old answerFacts) bool { return old.Size == a.Size })
	t.answers = slices.Insert(t.answers, 0, a)
	t.answers = t.answers[:min(len(t.answers), maxAnswers)]
}

func (t *trace) addStage(f stageFacts) {
	t.stages = slices.DeleteFunc(t.stages, func(old stageFacts) bool {
		// A source that is opened again is extracted again, so what followed the last time is no longer true.
		return old.Stage == f.Stage || f.Stage == "open" && slices.Index(stageNames, old.Stage) > slices.Index(stageNames, "open")
	})
	t.stages = append(t.stages, f)
	slices.SortStableFunc(t.stages, func(a, b stageFacts) int {
		return slices.Index(stageNames, a.Stage) - slices.Index(stageNames, b.Stage)
	})
}

// An explanation says where the thumbnails of a source came from.
type explanation struct {
	Picture *pictureFacts `json:"picture,omitempty"` // nil if it is not known
	Answers []answerFacts `json:"answers"`           // the latest for each size, the most recent first; empty if the browser had all of them
	Stages  []stageFacts  `json:"stages"`            // how long each step took; empty if this server has not made a thumbnail
	Stored  []storedFacts `json:"stored"`            // the files in the thumbnail folder
}

// storedFacts describes one stored thumbnail, or the record that there is none.
type storedFacts struct {
	Size  int       `json:"size"`
	Bytes int64     `json:"bytes"`
	Made  time.Time `json:"made"`
	Holds string    `json:"holds"` // as in entryFacts
}

func (s *site) serveExplanation(w http.ResponseWriter, r *http.Request) {
	path := r.FormValue("path")
	stored, digest := s.readStored(path)
	failed := digest == "" && len(stored) > 0
	x := explanation{Stored: stored, Picture: s.pictures.find(r.Context(), path, digest, failed)}
	x.Answers, x.Stages = s.traces.get(path)
	writeJSON(w, x)
}

// readStored returns what is stored of a source, and what identifies the picture of the latest thumbnail. It returns an empty
// list if the thumbnail folder cannot be read.
func (s *site) readStored(path string) (stored []storedFacts, digest string) {
	stored = []storedFacts{}
	if s.dir == "" {
		return stored, ""
	}
	st, err := store.Existing(s.dir)
	if err != nil {
		return stored, ""
	}
	defer st.Close()
	files, err := st.Source(providerName, path)
	if err != nil {
		return stored, ""
	}
	var latest time.Time
	for _, f := range files {
		e, err := st.Read(f)
		if err != nil {
			continue
		}
		facts := storedFacts{Size: e.Key.Size, Bytes: f.Size, Made: e.Made, Holds: "picture"}
		if e.Key.None {
			facts.Holds = jsonCause(e.Cause)
		}
		stored = append(stored, facts)
		if e.Made.After(latest) {
			latest, digest = e.Made, e.Picture
		}
	}
	slices.SortFunc(stored, func(a, b storedFacts) int { return a.Size - b.Size })
	return stored, digest
}

package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"image/color"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache/internal/explore"
)

// A publishTest is a set of requests for one source, whose work is a series of steps: Stat, Open, the extraction, the write to disk. The
// order of steps is chosen, and so is when requests begin.
//
// "20" is a Get of that size, and "20v" one of the version that the source has then. A request may be for another cache with the same
// folder, as another process has: "b20". "!" is an Invalidate, "+" a change of the source, and "x" is Close.
type publishTest struct {
	requests string
	writes   bool // are steps too; only one at a time, so only for requests of one size
	removals bool // of values that are shared with other machines are steps too, in the middle of Invalidate
	rewrites bool // the change of the source happens to what is open, as to a file that is written to
}

// A publication is one run of a publishTest. It is the provider and the extractor of its caches.
type publication struct {
	t      *testing.T
	test   *publishTest
	dir    string
	steps  explore.Steps
	caches map[string]*Cache

	mu       sync.Mutex // protects the fields below
	state    int        // of the source
	clock    int        // counts events
	extracts []extraction
	requests []*publishRequest
	closed   bool
}

type extraction struct {
	opened int // when its content was opened
	state  int // of its content
}

type publishRequest struct {
	cache, kind string
	size        int
	version     string
	begun, end  int // the end is 0 until it has returned
	extraction  int // whose picture it got
	err         error
}

func (p *publication) now() int {
	p.clock++
	return p.clock
}

func (p *publication) stamp() Stamp { return tag(fmt.Sprint(p.state)) }

func (p *publication) Stat(ctx context.Context, _ string) (Stamp, error) {
	err := p.steps.Wait(ctx, "Stat")
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stamp(), err
}

// openContent is the content of an open source. Its reader says nothing; the extractor knows it.
type openContent struct {
	io.ReaderAt
	opened, state int
}

func (openContent) Close() error { return nil }

func (p *publication) Open(ctx context.Context, _ string) (*Source, error) {
	err := p.steps.Wait(ctx, "Open")
	p.mu.Lock()
	defer p.mu.Unlock()
	return &Source{Name: "s", Stamp: p.stamp(), Content: openContent{strings.NewReader(""), p.now(), p.state}}, err
}

// numberedWidths are pictures whose width is their number, from 1.
var numberedWidths = sync.OnceValue(func() (pictures [][]byte) {
	for i := range 19 {
		pictures = append(pictures, plain(i+1, 1, color.White))
	}
	return pictures
})

// Extract returns a picture whose width is the number of the extraction.
func (p *publication) Extract(ctx context.Context, src *Source) (*Picture, error) {
	if err := p.steps.Wait(ctx, "Extract"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	content := src.Content.(openContent)
	if p.test.rewrites {
		content.state = p.state
	}
	p.extracts = append(p.extracts, extraction{content.opened, content.state})
	return &Picture{Data: numberedWidths()[len(p.extracts)-1]}, nil
}

// An emptyShared is an engine that loses all values.
type emptyShared struct{ steps *explore.Steps }

func (emptyShared) Get(context.Context, string, string) ([]byte, error) { return nil, fs.ErrNotExist }

func (emptyShared) Put(context.Context, string, string, []byte) error { return nil }

func (e emptyShared) Remove(ctx context.Context, _ string) error { return e.steps.Wait(ctx, "Remove") }

// cache returns the cache with this name.
func (p *publication) cache(name string) *Cache {
	if p.caches[name] == nil {
		cfg := Config{Providers: map[string]Provider{"p": p}, Extractor: p, Dir: p.dir}
		if p.test.removals {
			cfg.Shared = emptyShared{&p.steps}
		}
		c := mustNew(p.t, cfg)
		if p.test.writes {
			c.disk.changes.Limit = func(diskChange) time.Duration {
				p.steps.Wait(p.t.Context(), "Write") // under the lock of changes, so there is one at a time
				return 0
			}
		}
		p.caches[name] = c
		synctest.Wait()
	}
	return p.caches[name]
}

// begin begins a request.
func (p *publication) begin(text string) {
	r := &publishRequest{cache: "a", kind: strings.Trim(text, "0123456789ab")}
	if strings.HasPrefix(text, "b") {
		r.cache = "b"
	}
	c := p.cache(r.cache)
	fmt.Sscan(strings.Trim(text, "abv"), &r.size)
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.kind == "v" {
		r.version = p.stamp().Version()
	}
	r.begun = p.now()
	p.requests = append(p.requests, r)
	go func() {
		number := 0
		switch r.kind {
		case "!":
			r.err = c.Invalidate("p", "s")
		case "+":
			p.mu.Lock()
			p.state++
			p.mu.Unlock()
		case "x":
			r.err = c.Close()
		default:
			var thumb *Thumbnail
			thumb, r.err = c.Do(context.Background(), Request{Provider: "p", Path: "s", Size: r.size, Version: r.version})
			if r.err == nil {
				number = thumb.Width
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		r.extraction, r.end = number, p.now()
		p.closed = p.closed || r.kind == "x"
	}()
}

func (p *publication) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.requests, func(r *publishRequest) bool { return r.end == 0 })
}

func (test *publishTest) run(t *testing.T, s *explore.Schedule) {
	p := &publication{t: t, test: test, dir: t.TempDir(), caches: make(map[string]*Cache)}
	p.cache("a")
	todo := strings.Fields(test.requests)
	for pauses := 0; ; {
		steps := p.steps.Pending()
		if i := slices.IndexFunc(steps, func(s *explore.Step) bool { return s.Name == "Write" }); i >= 0 {
			steps = steps[i : i+1] // because others may lead to another write
		}
		var names []string
		for _, s := range steps {
			names = append(names, s.Name)
		}
		for i, r := range todo {
			if !slices.Contains(todo[:i], r) {
				names = append(names, r)
			}
		}
		if len(names) == 0 {
			if !p.waits() {
				break
			}
			if pauses++; pauses > 1000 {
				t.Fatal("a request is not answered")
			}
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if i := s.Choose(names...); i < len(steps) {
			p.steps.GoOn(steps[i], nil)
		} else {
			at := slices.Index(todo, names[i])
			todo = slices.Delete(todo, at, at+1)
			p.begin(names[i])
		}
	}
	p.check()
}

// check checks all answers, and what is stored.
func (p *publication) check() {
	p.now()
	if n := len(p.extracts); n > 1 && !strings.ContainsAny(p.test.requests, "!+v") {
		p.t.Errorf("%d extractions", n)
	}
	for _, r := range p.requests {
		switch {
		case r.err != nil && !(p.closed && errors.Is(r.err, ErrClosed)):
			p.t.Errorf("%+v", *r)
		case r.extraction > 0:
			p.checkPicture(r.cache, r.begun, r.extraction)
			if x := p.extracts[r.extraction-1]; r.version != "" && tag(fmt.Sprint(x.state)).Version() < r.version {
				p.t.Errorf("version %s got %+v", r.version, x)
			}
		}
	}
	if p.closed { // what is on disk is for the next process
		delete(p.caches, "a")
	}
	for _, r := range p.requests {
		if r.size == 0 {
			continue
		}
		var k key
		c := p.cache(r.cache)
		if err := c.keyOf(&Request{Provider: "p", Path: "s", Size: r.size}, &k); err != nil {
			p.t.Fatal(err)
		}
		p.checkEntry(r.cache, c.memory.get(&k))
		p.checkEntry(r.cache, c.disk.load(p.t.Context(), &k, hashOf(k.source)))
	}
	if kept := p.cache("a").memory.picture(source{"p", "s"}); kept != nil {
		number := slices.IndexFunc(numberedWidths(), func(data []byte) bool { return &data[0] == &kept.pic.Data[0] }) + 1
		p.checkPicture("a", p.clock, number)
		p.checkState(kept.made, number)
	}
}

// checkEntry checks a thumbnail that is stored at the end.
func (p *publication) checkEntry(cache string, e *entry) {
	if e != nil {
		p.checkPicture(cache, p.clock, e.thumb.Width)
		p.checkState(e.made, e.thumb.Width)
	}
}

// checkState checks that what was made of an extraction has the stamp of its state.
func (p *publication) checkState(m made, number int) {
	if x := p.extracts[number-1]; m.version == "" && m.stamp.Tag != fmt.Sprint(x.state) {
		p.t.Errorf("a picture of state %d is stored as that of %s", x.state, m.stamp.Tag)
	}
}

// checkPicture checks that what is served or stored since a moment was not extracted before an Invalidate that had returned by then.
func (p *publication) checkPicture(cache string, since, number int) {
	for _, r := range p.requests {
		if r.kind == "!" && r.cache == cache && r.err == nil && r.end < since && p.extracts[number-1].opened < r.begun {
			p.t.Errorf("a picture from before Invalidate is served or stored since %d: %+v", since, p.extracts[number-1])
		}
	}
}

// TestPublishProtocol runs requests and an Invalidate in every order of their steps.
func TestPublishProtocol(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		bound, full int // of events that are not the usual ones
		publishTest
	}{
		{"invalidate", 2, -1, publishTest{requests: "20 ! 20", writes: true}},
		{"removal", 2, -1, publishTest{requests: "20 ! 20", removals: true}},
		{"change", 2, -1, publishTest{requests: "20 + 20"}},
		{"sizes", 1, 4, publishTest{requests: "20 25 ! 20"}},
		{"versions", 1, -1, publishTest{requests: "20v + 20v ! 20v"}},
		{"rewrite", 1, -1, publishTest{requests: "20 + 20 !", rewrites: true}},
		{"processes", 1, -1, publishTest{requests: "20 b20 20"}},
		{"close", 1, -1, publishTest{requests: "20 ! x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Logf("%d runs", explore.All(t, series(tt.bound, tt.full), tt.run))
		})
	}
}

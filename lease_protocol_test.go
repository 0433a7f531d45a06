package thumbcache_test

import (
	"bytes"
	"context"
	"errors"
	"image/color"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/explore"
	"github.com/thumbcache/thumbcache/sharedtest"
)

// A leaseTest is a set of machines that use one engine. What they do is a series of steps: calls of the engine, messages that arrive,
// extractions. The order of steps is chosen, and so is when requests begin.
type leaseTest struct {
	requests string // begun in any order; "a" is a Get on machine a, "a2" one in another size, "!a" an Invalidate on machine a
	failures int    // calls of the engine that fail, or whose answer is lost
	expiries int    // leases that expire, because no call of the engine is answered for so long
	polls    int    // pauses in which a machine looks again at a lease, although others could go on
	mortal   string // a machine that may die
}

const (
	engineTime = time.Minute // for an answer of the engine; longer than all pauses and leases
	leaseLife  = 7 * time.Second
	pollPause  = 100 * time.Millisecond // the longest between two looks at a lease
)

var (
	errEngine = errors.New("the engine failed")
	errLost   = errors.New("the answer of the engine was lost")
)

// numbered returns pictures whose width is their number, from 1.
var numbered = sync.OnceValue(func() (pictures [][]byte) {
	for i := range 20 {
		pictures = append(pictures, plainPNG(i+1, 1, color.White))
	}
	return pictures
})

// A fleet is one run of a leaseTest.
type fleet struct {
	t        *testing.T
	engine   sharedtest.Memory
	machines map[string]*member
	steps    explore.Steps

	mu          sync.Mutex
	extractions []int // by number: when it began
	clock       int   // counts steps
	pauses      int
	requests    []*request
	faults      int               // failed calls, expired leases, deaths
	pictures    [][]byte          // by number of the extraction
	variants    map[string]string // that were leased, and their sources
}

// A member is one machine of a fleet. It is the machine's engine, its provider and its extractor.
type member struct {
	*sharedtest.Machine
	fleet *fleet
	name  string
	cache *thumbcache.Cache
	dead  bool
	heard int             // when it heard last that the source was invalidated
	sent  map[string]bool // messages
}

// A request is a Get or an Invalidate.
type request struct {
	machine    *member
	invalidate bool
	size       int
	begun, end int  // the end is 0 until it has returned
	last       bool // it began when all messages had arrived
	width      int
	err        error
}

func (f *fleet) now() int {
	f.clock++
	return f.clock
}

func (m *member) step(ctx context.Context, op string) error {
	return m.fleet.steps.Wait(ctx, m.name+" "+op)
}

// call is a step that calls the engine. A call that has taken too long for its machine may still arrive at the engine, in a later step.
func (m *member) call(ctx context.Context, op string, do func(ctx context.Context) error) error {
	err := m.step(ctx, op)
	switch err {
	case nil:
		return do(ctx)
	case errLost:
		do(ctx)
	case context.DeadlineExceeded:
		go func() {
			if ctx := m.fleet.t.Context(); m.step(ctx, op+" arrives late") == nil {
				do(ctx)
			}
		}()
	}
	return err
}

// sizeOf returns the size of a variant, so that steps of several sizes have different names.
func sizeOf(variant string) string {
	size, _, _ := strings.Cut(variant, "_")
	return size
}

func (m *member) Get(ctx context.Context, source, variant string) (value []byte, err error) {
	if strings.HasPrefix(variant, "none") { // there are no failures here
		return nil, fs.ErrNotExist
	}
	err = m.call(ctx, "Get "+sizeOf(variant), func(ctx context.Context) (err error) {
		value, err = m.Machine.Get(ctx, source, variant)
		return err
	})
	return value, err
}

func (m *member) Put(ctx context.Context, source, variant string, sealed []byte) error {
	return m.call(ctx, "Put "+sizeOf(variant), func(ctx context.Context) error { return m.Machine.Put(ctx, source, variant, sealed) })
}

func (m *member) Remove(ctx context.Context, source string) error {
	return m.call(ctx, "Remove", func(ctx context.Context) error { return m.Machine.Remove(ctx, source) })
}

func (m *member) Lease(ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
	m.fleet.mu.Lock()
	m.fleet.variants[variant] = source
	m.fleet.mu.Unlock()
	l := &memberLease{m: m, size: sizeOf(variant)}
	err := m.call(ctx, "Lease "+sizeOf(variant), func(ctx context.Context) (err error) {
		l.Lease, err = m.Machine.Lease(ctx, source, variant, life)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// A memberLease is a lease of a machine.
type memberLease struct {
	thumbcache.Lease
	m     *member
	size  string
	ended bool // released or committed
}

func (l *memberLease) Renew(ctx context.Context) error {
	return l.m.call(ctx, "Renew "+l.size, l.Lease.Renew)
}

func (l *memberLease) Release(ctx context.Context) error {
	return l.m.call(ctx, "Release "+l.size, func(ctx context.Context) error { return l.end(l.Lease.Release(ctx)) })
}

// end notes that the lease has ended, unless err says otherwise.
func (l *memberLease) end(err error) error {
	if l.ended {
		l.m.fleet.t.Errorf("machine %s ended a lease twice", l.m.name)
	}
	l.ended = err == nil
	return err
}

func (m *member) Commit(ctx context.Context, l thumbcache.Lease, source, variant string, sealed []byte) error {
	held := l.(*memberLease)
	if held.m != m {
		m.fleet.t.Errorf("machine %s commits with a lease of %s", m.name, held.m.name)
	}
	return m.call(ctx, "Commit "+sizeOf(variant), func(ctx context.Context) error {
		return held.end(m.Machine.Commit(ctx, held.Lease, source, variant, sealed))
	})
}

func (m *member) Notify(ctx context.Context, message []byte) error {
	m.fleet.mu.Lock()
	m.sent[string(message)] = true
	m.fleet.mu.Unlock()
	fields := strings.Split(string(message), "\x00")
	return m.call(ctx, "Notify "+fields[2]+sizeOf(fields[5]), func(ctx context.Context) error { return m.Machine.Notify(ctx, message) })
}

func (m *member) Listen(ctx context.Context, heard func([]byte)) error {
	return m.Machine.Listen(ctx, func(text []byte) {
		kind := ""
		m.fleet.mu.Lock()
		ours := m.sent[string(text)]
		m.fleet.mu.Unlock()
		if fields := bytes.Split(text, []byte{0}); len(fields) > 2 && !ours { // a machine ignores its own messages
			kind = string(fields[2])
		}
		if kind != "" && m.step(ctx, "hears "+kind) != nil {
			return
		}
		heard(text)
		if kind == "invalidated" {
			m.fleet.mu.Lock()
			defer m.fleet.mu.Unlock()
			m.heard = m.fleet.now()
		}
	})
}

func (m *member) Stat(context.Context, string) (thumbcache.Stamp, error) {
	return thumbcache.Stamp{Tag: "1"}, nil
}

func (m *member) Open(context.Context, string) (*thumbcache.Source, error) {
	return thumbcache.BytesSource("s", thumbcache.Stamp{Tag: "1"}, nil), nil
}

// Extract returns a picture whose width is the number of the extraction.
func (m *member) Extract(ctx context.Context, _ *thumbcache.Source) (*thumbcache.Picture, error) {
	m.fleet.mu.Lock()
	number := len(m.fleet.extractions)
	m.fleet.extractions = append(m.fleet.extractions, m.fleet.now())
	m.fleet.mu.Unlock()
	if err := m.step(ctx, "extracts"); err != nil {
		return nil, err
	}
	return &thumbcache.Picture{Data: m.fleet.pictures[number]}, nil
}

// machine returns the machine of the fleet with this name.
func (f *fleet) machine(name string) *member {
	m := f.machines[name]
	if m == nil {
		m = &member{Machine: f.engine.Machine(), fleet: f, name: name, sent: make(map[string]bool)}
		m.cache = machine(f.t, m, nil, func(cfg *thumbcache.Config) {
			cfg.Providers = map[string]thumbcache.Provider{"p": m}
			cfg.Extractor = m
			cfg.Timeout, cfg.SharedTimeout = 10*engineTime, engineTime
		})
		f.machines[name] = m
	}
	return m
}

// begin begins a request: "a" is a Get on machine a, "a2" one in another size, and "!a" an Invalidate.
func (f *fleet) begin(text string) {
	name, invalidate := strings.CutPrefix(text, "!")
	f.mu.Lock()
	r := &request{machine: f.machine(name[:1]), invalidate: invalidate, size: 20 + len(name), begun: f.now()}
	f.requests = append(f.requests, r)
	f.mu.Unlock()
	go func() {
		if invalidate {
			r.err = r.machine.cache.Invalidate("p", "s")
		} else {
			var thumb *thumbcache.Thumbnail
			if thumb, r.err = r.machine.cache.Get(context.Background(), "p", "s", r.size); r.err == nil {
				r.width = thumb.Width
			}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		r.end = f.now()
	}()
}

// waits reports whether a machine has not answered a request.
func (f *fleet) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.requests, func(r *request) bool { return r.end == 0 && !r.machine.dead })
}

// next returns the steps that can be chosen. A machine that has died takes none.
func (f *fleet) next() []*explore.Step {
	return slices.DeleteFunc(f.steps.Pending(), func(s *explore.Step) bool { return f.machines[s.Name[:1]].dead })
}

// An option is what can happen next.
type option struct {
	name string
	do   func()
}

// options returns the steps of a fleet that can be chosen, and the requests that can begin. The machine that went on last comes first.
func (lt *leaseTest) options(f *fleet, last string) (options []option) {
	steps := f.next()
	slices.SortStableFunc(steps, func(a, b *explore.Step) int {
		return strings.Count(b.Name[:1], last) - strings.Count(a.Name[:1], last)
	})
	add := func(possible bool, name string, do func()) {
		if possible {
			options = append(options, option{name, do})
		}
	}
	for _, s := range steps {
		add(true, s.Name, func() { f.steps.GoOn(s, nil) })
	}
	todo := strings.Fields(lt.requests)
	for i, r := range todo {
		add(slices.Index(todo, r) == i, r+" begins", func() {
			lt.requests = strings.Join(slices.Delete(todo, i, i+1), " ")
			f.begin(r)
		})
	}
	if len(options) == 0 {
		return nil
	}
	for _, s := range steps {
		fails := lt.failures > 0 && !strings.Contains(s.Name, "extracts") && !strings.Contains(s.Name, "hears")
		add(fails, s.Name+" fails", func() { lt.failures--; f.faults++; f.steps.GoOn(s, errEngine) })
		add(fails, s.Name+" is lost", func() { lt.failures--; f.faults++; f.steps.GoOn(s, errLost) })
	}
	waits := f.waits()
	add(lt.polls > 0 && len(steps) > 0 && waits, "a pause", func() { lt.polls--; time.Sleep(pollPause) })
	add(lt.expiries > 0 && waits, "a lease expires", func() { lt.expiries--; f.faults++; time.Sleep(leaseLife) })
	if m := f.machines[lt.mortal]; m != nil {
		add(true, m.name+" dies", func() { lt.mortal = ""; f.faults++; m.dead = true })
	}
	return options
}

func (lt leaseTest) run(t *testing.T, s *explore.Schedule) {
	f := &fleet{t: t, machines: make(map[string]*member), pictures: numbered(), variants: make(map[string]string)}
	sizes := []string{""}
	if strings.Contains(lt.requests, "2") {
		sizes = append(sizes, "2")
	}
	last := "?"
	for {
		options := lt.options(f, last)
		if options == nil {
			if !f.pause() {
				break
			}
			continue
		}
		var names []string
		for _, o := range options {
			names = append(names, o.name)
		}
		chosen := options[s.Choose(names...)]
		chosen.do()
		last = chosen.name[:1]
	}
	f.check(sizes)
}

// pause lets some time pass if a machine waits for that. It reports false if all requests are answered.
func (f *fleet) pause() bool {
	if !f.waits() {
		return false
	}
	if f.pauses++; time.Duration(f.pauses)*pollPause > time.Minute {
		f.t.Fatal("a request is not answered")
	}
	time.Sleep(pollPause)
	return true
}

// settle lets all steps go on until every request is answered.
func (f *fleet) settle() {
	for {
		steps := f.next()
		for _, s := range steps {
			f.steps.GoOn(s, nil)
		}
		if len(steps) == 0 && !f.pause() {
			return
		}
	}
}

// check checks what all machines have answered, and what they answer from now on.
func (f *fleet) check(sizes []string) {
	invalidated := slices.ContainsFunc(f.requests, func(r *request) bool { return r.invalidate })
	if n := len(f.extractions); n > 1 && f.faults == 0 && !invalidated {
		f.t.Errorf("%d extractions", n)
	}
	for _, name := range append(slices.Sorted(maps.Keys(f.machines)), "z") { // z is new
		if m := f.machine(name); !m.dead {
			for _, size := range sizes {
				f.begin(name + size)
				f.requests[len(f.requests)-1].last = true
				f.settle()
			}
		}
	}
	for _, r := range f.requests {
		if !r.machine.dead && r.err != nil && !(r.invalidate && f.faults > 0) {
			f.t.Errorf("machine %s, invalidate %v: %v", r.machine.name, r.invalidate, r.err)
		}
		if r.invalidate && r.end > 0 {
			f.checkAfter(r, len(sizes) > 1)
		}
	}
	for _, m := range f.machines {
		m.cache.Close()
	}
	if f.faults > 0 {
		return
	}
	for variant, source := range f.variants {
		if _, err := f.engine.Machine().Lease(f.t.Context(), source, variant, leaseLife); err != nil {
			f.t.Errorf("a lease is left: %v", err)
		}
	}
}

// checkAfter checks that no request got a picture from before an Invalidate of which its machine knew.
//
// Sizes of one picture may be made early. That is, a machine that has not heard of the Invalidate yet may store another size of an old
// picture after it. It is removed when the machine hears.
func (f *fleet) checkAfter(invalidate *request, early bool) {
	for _, r := range f.requests {
		known := r.machine == invalidate.machine || invalidate.err == nil &&
			(r.machine.name == "z" || r.machine.heard > invalidate.begun && r.begun > r.machine.heard)
		if (r.last || !early) && r.width > 0 && r.begun > invalidate.end && known && f.extractions[r.width-1] < invalidate.begun {
			f.t.Errorf("machine %s: a picture from before Invalidate", r.machine.name)
		}
	}
}

// TestLeaseProtocol runs requests on several machines in many orders of their steps, or with THUMBCACHE_FULL in more.
func TestLeaseProtocol(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		bound int // of events that are not the usual ones
		full  int // with THUMBCACHE_FULL
		leaseTest
	}{
		{"two", 2, -1, leaseTest{requests: "a b"}},
		{"three", 1, 3, leaseTest{requests: "a b c"}},
		{"invalidate", 2, 3, leaseTest{requests: "a b !a"}},
		{"sizes", 1, 1, leaseTest{requests: "b !a b2"}},
		{"wait", 1, 3, leaseTest{requests: "a b", polls: 2}},
		{"failure", 1, 2, leaseTest{requests: "a !b b", failures: 2}},
		{"expiry", 1, 2, leaseTest{requests: "a b !b", expiries: 1}},
		{"death", 1, 3, leaseTest{requests: "a b !b", mortal: "a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bound := tt.bound
			if os.Getenv("THUMBCACHE_FULL") != "" {
				bound = tt.full
			}
			t.Logf("%d runs", explore.All(t, bound, tt.run))
		})
	}
}

package flight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache/internal/explore"
)

// The protocol tests compare a Group with a model of what its documentation promises, after every event and for every order of
// events. The time passes in ticks.
const (
	tick       = 30 * time.Second
	limitTicks = 2 // of a call
)

var (
	errWork   = errors.New("the work failed")
	errEnded  = errors.New("the work was ended early")
	errClosed = errors.New("the group is closed")
)

// An answer is what Do returned.
type answer struct {
	value  int // the number of the call, from 1
	joined bool
	err    string
}

// A model is the state of a group as its callers see it.
type model struct {
	ticks   int
	callers []modelCaller
	calls   []*modelCall // in the order of their start
	open    *modelCall   // can be joined; or nil
	closed  bool
	grace   bool // calls go on until the next tick
}

type modelCaller struct {
	call   *modelCall
	joined bool
	answer *answer // nil while the caller waits
}

type modelCall struct {
	number   int
	kept     bool // Start was called
	idle     bool // all callers used WithIdle
	waits    int
	deadline int   // tick
	cause    error // why the work was canceled
	returned bool
}

// waiting returns the callers that wait for a call.
func (m *model) waiting(c *modelCall) (callers []int) {
	for i := range m.callers {
		if m.callers[i].call == c && m.callers[i].answer == nil {
			callers = append(callers, i)
		}
	}
	return callers
}

func (m *model) answer(caller int, value int, err string) {
	c := &m.callers[caller]
	c.answer = &answer{value, c.joined, err}
}

// joinOrStart returns the call that a caller waits for from now on.
func (m *model) joinOrStart(idle bool) (c *modelCall, joined bool) {
	if m.open != nil {
		m.open.idle = m.open.idle && idle
		return m.open, true
	}
	m.open = &modelCall{number: len(m.calls) + 1, idle: idle, deadline: m.ticks + limitTicks}
	m.calls = append(m.calls, m.open)
	return m.open, false
}

// end cancels the work of c. Its callers get the cause at once, and it cannot be joined any more.
func (m *model) end(c *modelCall, cause error) {
	if m.open != c {
		return
	}
	m.open, c.cause = nil, cause
	for _, i := range m.waiting(c) {
		m.answer(i, 0, cause.Error())
	}
}

// finish lets the function of c return.
func (m *model) finish(c *modelCall, value int, err string) {
	c.returned = true
	if m.open != c {
		return // its callers got the cause
	}
	m.open = nil
	for _, i := range m.waiting(c) {
		m.answer(i, value, err)
	}
}

// abort gives a caller the error of its context.
func (m *model) abort(caller int) {
	if m.callers[caller].answer == nil {
		m.answer(caller, 0, context.Canceled.Error())
	}
}

// leave ends the work if no caller is left.
func (m *model) leave(caller int) {
	if c := m.callers[caller].call; len(m.waiting(c)) == 0 && !c.kept {
		m.end(c, ErrAbandoned)
	}
}

// pass lets a tick pass.
func (m *model) pass() {
	m.ticks++
	c := m.open
	if c == nil {
		return
	}
	if m.closed && m.grace {
		m.end(c, errClosed)
	}
	if c.waits == 0 && c.deadline <= m.ticks {
		m.end(c, context.DeadlineExceeded)
	}
}

func (m *model) clone() *model {
	n := *m
	copies := map[*modelCall]*modelCall{nil: nil}
	n.calls = nil
	for _, c := range m.calls {
		copied := *c
		copies[c] = &copied
		n.calls = append(n.calls, &copied)
	}
	n.open = copies[m.open]
	n.callers = slices.Clone(m.callers)
	for i := range n.callers {
		n.callers[i].call = copies[n.callers[i].call]
	}
	return &n
}

// String says everything that a test can see.
func (m *model) String() string {
	var b strings.Builder
	running := 0
	for i, c := range m.callers {
		if c.answer != nil {
			fmt.Fprintf(&b, "caller %d got %v\n", i, *c.answer)
		}
	}
	for _, c := range m.calls {
		if c.returned { // its context has ended too, whatever the cause
			fmt.Fprintf(&b, "call %d returned\n", c.number)
			continue
		}
		running++
		fmt.Fprintf(&b, "call %d runs, canceled: %v, idle: %v\n", c.number, c.cause, c.idle)
	}
	fmt.Fprintf(&b, "Len is %d, closed: %v", running, m.closed && running == 0)
	return b.String()
}

// A world is a group with its callers and functions.
type world struct {
	t     *testing.T
	group group

	leaves []context.CancelFunc // by caller
	waits  []func()             // ends of waits
	models []*model             // that the group agrees with; several only after events at the same time

	mu      sync.Mutex                 // protects the fields below
	answers []*answer                  // by caller; nil while it waits
	works   []*Work                    // by call
	orders  []chan func() (int, error) // by call: how its function returns
	ended   []bool                     // the function of the call has returned
	closed  bool                       // Close has returned
}

// An event happens to the world, and to the model.
type event struct {
	name  string
	kind  string           // of events whose number is limited
	call  int              // whose function returns; a function returns only once
	start func(w *world)   // does not block
	steps []func(m *model) // what it does
}

// do is the function of all calls. It returns when it is told to.
func (w *world) do(work *Work) (int, error) {
	w.mu.Lock()
	order, number := make(chan func() (int, error), 1), len(w.works)
	w.works, w.orders, w.ended = append(w.works, work), append(w.orders, order), append(w.ended, false)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended[number] = true
	}()
	return (<-order)()
}

func (w *world) work(number int) *Work {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.works[number-1]
}

// String says of the group what the model says of itself.
func (w *world) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for i, a := range w.answers {
		if a != nil {
			fmt.Fprintf(&b, "caller %d got %v\n", i, *a)
		}
	}
	for i, work := range w.works {
		if w.ended[i] {
			fmt.Fprintf(&b, "call %d returned\n", i+1)
			continue
		}
		fmt.Fprintf(&b, "call %d runs, canceled: %v, idle: %v\n", i+1, context.Cause(work), Idle(work) != nil)
	}
	fmt.Fprintf(&b, "Len is %d, closed: %v", w.group.Len(), w.closed)
	return b.String()
}

// happen lets one event happen, or two at the same time. The group must then be in a state that one order of them explains.
func (w *world) happen(events ...event) {
	w.t.Helper()
	if last := events[len(events)-1]; len(events) == 2 && last.kind == tickKind {
		time.AfterFunc(tick, func() { events[0].start(w) })
		last.start(w)
	} else {
		for _, e := range events {
			e.start(w)
		}
	}
	synctest.Wait()
	got, want := w.String(), ""
	var models []*model
	var other []func(*model)
	if len(events) == 2 {
		other = events[1].steps
	}
	for _, m := range w.models {
		for _, order := range orders(events[0].steps, other) {
			after := m.clone()
			for _, step := range order {
				step(after)
			}
			if want = after.String(); want == got {
				models = append(models, after)
			}
		}
	}
	if models == nil {
		w.t.Fatalf("the group:\n%s\n\nshould be, for example:\n%s", got, want)
	}
	w.models = models
}

// orders returns all orders of the steps of two events, each of which keeps its own order.
func orders(a, b []func(*model)) [][]func(*model) {
	if len(a) == 0 || len(b) == 0 {
		return [][]func(*model){slices.Concat(a, b)}
	}
	var all [][]func(*model)
	for _, order := range orders(a[1:], b) {
		all = append(all, slices.Concat(a[:1], order))
	}
	for _, order := range orders(a, b[1:]) {
		all = append(all, slices.Concat(b[:1], order))
	}
	return all
}

// arrives is a call of Do.
func arrives(caller int, idle bool) event {
	name := fmt.Sprintf("caller %d arrives", caller)
	if idle {
		name += " idly"
	}
	return event{name: name, kind: "arrival", start: func(w *world) {
		ctx, cancel := context.WithCancel(context.Background())
		w.mu.Lock()
		w.answers, w.leaves = append(w.answers, nil), append(w.leaves, cancel)
		w.mu.Unlock()
		if idle {
			ctx = WithIdle(ctx)
		}
		go func() {
			v, joined, err := w.group.Do(ctx, "k", w.do)
			a := &answer{value: v, joined: joined}
			if err != nil {
				a.err = err.Error()
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.answers[caller] = a
		}()
	}, steps: []func(*model){func(m *model) {
		for len(m.callers) <= caller {
			m.callers = append(m.callers, modelCaller{})
		}
		c := &m.callers[caller]
		if m.closed {
			c.answer = &answer{err: errClosed.Error()}
			return
		}
		c.call, c.joined = m.joinOrStart(idle)
	}}}
}

func leaves(caller int) event {
	return event{name: fmt.Sprintf("caller %d leaves", caller),
		start: func(w *world) { w.leaves[caller]() },
		steps: []func(*model){func(m *model) { m.abort(caller) }, func(m *model) { m.leave(caller) }}}
}

func starts() event {
	return event{name: "Start", kind: "start", start: func(w *world) { go w.group.Start("k", w.do) }, steps: []func(*model){func(m *model) {
		if !m.closed {
			c, _ := m.joinOrStart(false)
			c.kept = true
		}
	}}}
}

// outcomes are the ways in which a function returns.
var outcomes = []struct {
	name string
	do   func(number int) (int, error)
	err  string
}{
	{"returns", func(number int) (int, error) { return number, nil }, ""},
	{"fails", func(int) (int, error) { return 0, errWork }, errWork.Error()},
	{"panics", func(int) (int, error) { panic("a panic") }, "panic: a panic"},
	{"exits", func(int) (int, error) { runtime.Goexit(); return 0, nil }, errGoexit.Error()},
}

func finishes(number, outcome int) event {
	o := outcomes[outcome]
	kind := ""
	if outcome > 0 {
		kind = "odd end"
	}
	return event{name: fmt.Sprintf("call %d %s", number, o.name), call: number, kind: kind,
		start: func(w *world) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.orders[number-1] <- func() (int, error) { return o.do(number) }
		},
		steps: []func(*model){func(m *model) {
			value := 0
			if o.err == "" {
				value = number
			}
			m.finish(m.calls[number-1], value, o.err)
		}}}
}

func ends(number int) event {
	return event{name: fmt.Sprintf("call %d ends early", number), kind: "end",
		start: func(w *world) { go w.works[number-1].End(errEnded) },
		steps: []func(*model){func(m *model) { m.end(m.calls[number-1], errEnded) }}}
}

func waits(number int) event {
	return event{name: fmt.Sprintf("call %d waits", number), kind: "wait",
		start: func(w *world) { w.waits = append(w.waits, w.work(number).Waiting()) },
		steps: []func(*model){func(m *model) { m.calls[number-1].waits++ }}}
}

// waited is the end of the last wait.
func waited(number int) event {
	return event{name: fmt.Sprintf("call %d waited", number), kind: "waited",
		start: func(w *world) {
			last := len(w.waits) - 1
			w.waits[last]()
			w.waits[last]() // has no effect
			w.waits = w.waits[:last]
		},
		steps: []func(*model){func(m *model) {
			c := m.calls[number-1]
			if c.waits--; c.waits == 0 {
				c.deadline = m.ticks + limitTicks
			}
		}}}
}

const tickKind = "tick"

func passes() event {
	return event{name: "time passes", kind: tickKind, start: func(*world) { time.Sleep(tick) }, steps: []func(*model){(*model).pass}}
}

func closes(grace time.Duration) event {
	return event{name: "Close", kind: "close", start: func(w *world) {
		go func() {
			w.group.Close(errClosed, grace)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.closed = true
		}()
	}, steps: []func(*model){func(m *model) {
		m.closed, m.grace = true, grace > 0
		if grace == 0 && m.open != nil {
			m.end(m.open, errClosed)
		}
	}}}
}

// A protocol says which events there are, besides callers that arrive and leave, and how many of them.
type protocol struct {
	callers  int
	idle     bool // callers may be idle
	outcomes int  // the first ones
	ends     int
	waits    int
	ticks    int
	starts   int
	closes   int
	grace    time.Duration // of Close; less than a tick
	races    bool          // the last two events may happen at the same time
}

// events returns the events that can happen in the state m. Callers of the same kind are interchangeable, so the first of them
// stands for all. used says how often events of a kind have happened.
func (p *protocol) events(m *model, used map[string]int) (events []event) {
	arrived := len(m.callers)
	if arrived < p.callers && (!m.closed || m.callers[arrived-1].call != nil) { // one caller shows that the group is closed
		events = append(events, arrives(arrived, false))
		if p.idle {
			events = append(events, arrives(arrived, true))
		}
	}
	allow := func(limit int, e event) {
		if e.kind == "" || used[e.kind] < limit {
			events = append(events, e)
		}
	}
	if c := m.open; c != nil {
		for _, joined := range []bool{false, true} {
			for _, i := range m.waiting(c) {
				if m.callers[i].joined == joined {
					events = append(events, leaves(i))
					break
				}
			}
		}
		for i := range p.outcomes {
			allow(1, finishes(c.number, i))
		}
		allow(p.ends, ends(c.number))
		allow(p.waits, waits(c.number))
		if c.waits > 0 {
			events = append(events, waited(c.number))
		}
		allow(p.ticks, passes())
	}
	if !m.closed {
		allow(p.starts, starts())
		allow(p.closes, closes(p.grace))
	}
	for _, c := range m.calls {
		if c != m.open && !c.returned {
			return append(events, finishes(c.number, 0)) // and the others just as well
		}
	}
	return events
}

// happenings returns what can happen next: one of the events, or with p.races two of them at the same time.
func (p *protocol) happenings(m *model, used map[string]int) (all [][]event) {
	events := p.events(m, used)
	for _, e := range events {
		all = append(all, []event{e})
	}
	if !p.races {
		return all
	}
	for i, a := range events {
		for j, b := range events {
			if i != j && a.kind != tickKind && (a.kind == "" || a.kind != b.kind) && (a.call == 0 || a.call != b.call) {
				all = append(all, []event{a, b})
			}
		}
	}
	if next := len(m.callers); next+1 < p.callers && !m.closed {
		all = append(all, []event{arrives(next, false), arrives(next+1, false)})
	}
	return all
}

// run lets events happen until all callers have an answer, or two happen at the same time: after that, the state can be another one
// in each run.
func (p *protocol) run(t *testing.T, s *explore.Schedule) {
	w := &world{t: t, group: group{Limit: limit[string](limitTicks * tick)}, models: []*model{{}}}
	used := make(map[string]int)
	for raced := false; !raced; {
		m := w.models[0]
		if m.open == nil && (m.closed || len(m.callers) == p.callers) {
			break
		}
		all := p.happenings(m, used)
		var names []string
		for _, events := range all {
			name := events[0].name
			if len(events) == 2 {
				name += " while " + events[1].name
			}
			names = append(names, name)
		}
		events := all[s.Choose(names...)]
		for _, e := range events {
			used[e.kind]++
		}
		w.happen(events...)
		raced = len(events) == 2
	}
	w.finish()
}

// finish lets another caller arrive, all functions return, and the group close.
func (w *world) finish() {
	w.happen(arrives(len(w.answers), false))
	for i := range w.works {
		if !w.ended[i] {
			w.happen(finishes(i+1, 0))
		}
	}
	if !w.models[0].closed {
		w.happen(closes(0))
	}
	if slices.Contains(w.answers, nil) || !w.closed || len(w.group.calls) > 0 {
		w.t.Errorf("at the end:\n%v\n%d calls are kept", w, len(w.group.calls))
	}
	for i, work := range w.works {
		if work.Err() == nil || work.timer.Stop() {
			w.t.Errorf("call %d was not released", i+1)
		}
	}
}

// TestProtocol compares a group with the model after every event, for all orders of events. THUMBCACHE_FULL adds longer series.
func TestProtocol(t *testing.T) {
	for _, tt := range []struct {
		name string
		full bool
		protocol
	}{
		{"outcomes", false, protocol{callers: 3, outcomes: 4, ends: 1}},
		{"four", false, protocol{callers: 4, outcomes: 1}},
		{"close", false, protocol{callers: 3, outcomes: 1, ends: 1, closes: 1}},
		{"grace", false, protocol{callers: 2, outcomes: 1, closes: 1, grace: tick / 2, ticks: 2}},
		{"time", false, protocol{callers: 1, outcomes: 1, waits: 2, ticks: 3}},
		{"idle", false, protocol{callers: 2, outcomes: 1, idle: true, starts: 1, ends: 1}},
		{"races", false, protocol{callers: 2, outcomes: 1, ends: 1, closes: 1, races: true}},
		{"races of time", false, protocol{callers: 2, outcomes: 1, ticks: 2, races: true}},

		{"four outcomes", true, protocol{callers: 4, outcomes: 4, ends: 1, closes: 1}},
		{"four ends", true, protocol{callers: 4, outcomes: 1, ends: 2, closes: 1}},
		{"four starts", true, protocol{callers: 4, outcomes: 1, ends: 1, starts: 1}},
		{"four races", true, protocol{callers: 4, outcomes: 1, ends: 1, closes: 1, races: true}},
		{"three idle", true, protocol{callers: 3, outcomes: 1, ends: 1, starts: 1, idle: true}},
		{"three races", true, protocol{callers: 3, outcomes: 2, ends: 1, starts: 1, races: true}},
		{"three time", true, protocol{callers: 3, outcomes: 1, waits: 1, ticks: 2}},
		{"two time", true, protocol{callers: 2, outcomes: 1, waits: 1, ticks: 3, races: true}},
	} {
		if tt.full && os.Getenv("THUMBCACHE_FULL") == "" {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Logf("%d runs", explore.All(t, -1, tt.run))
		})
	}
}

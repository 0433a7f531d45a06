package sharedtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/thumbcache/thumbcache"
)

// A Memory is an engine for tests that keeps everything in memory. It has all abilities that thumbcache knows. The zero value
// is empty and ready. Its clock is time.Now, and it has no goroutines, so it works with testing/synctest.
//
// It returns an error for names, values and messages that [thumbcache.Shared] does not allow.
type Memory struct {
	Faults // for all machines

	mu        sync.Mutex // protects the following fields
	sources   map[string]*stored
	listeners map[chan []byte]bool
	calls     map[string]int
	tokens    uint64 // leases taken so far; the number of a lease is its token
}

// stored is what an engine has of one source, by variant.
type stored struct {
	values map[string][]byte
	leases map[string]term
}

// A term is the time for which a lease is valid.
type term struct {
	token uint64
	end   time.Time
}

// Machine returns a new connection to the engine, such as another machine has.
func (e *Memory) Machine() *Machine { return &Machine{engine: e} }

// Restart loses everything stored, all leases and all connections.
func (e *Memory) Restart() {
	e.mu.Lock()
	e.sources = nil
	e.mu.Unlock()
	e.Disconnect()
}

// Calls returns how often a method was called, over all machines. Failed calls count too.
func (e *Memory) Calls(method string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[method]
}

// Values returns the names of all values, as "source/variant", in ascending order.
func (e *Memory) Values() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for source, s := range e.sources {
		for variant := range s.values {
			names = append(names, source+"/"+variant)
		}
	}
	slices.Sort(names)
	return names
}

// of returns what is stored of a source, for changes. The caller holds e.mu.
func (e *Memory) of(source string) *stored {
	if e.sources == nil {
		e.sources = make(map[string]*stored)
	}
	s := e.sources[source]
	if s == nil {
		s = &stored{make(map[string][]byte), make(map[string]term)}
		e.sources[source] = s
	}
	return s
}

// A Machine is one machine's connection to a [Memory].
type Machine struct {
	Faults // for this machine only

	engine *Memory
}

// begin counts a call and lets it meet the faults.
func (m *Machine) begin(ctx context.Context, method string) error {
	e := m.engine
	e.mu.Lock()
	if e.calls == nil {
		e.calls = make(map[string]int)
	}
	e.calls[method]++
	e.mu.Unlock()
	return m.meet(ctx, method)
}

// meet waits or fails as the faults of the machine and of the engine demand.
func (m *Machine) meet(ctx context.Context, method string) error {
	if err := m.Faults.meet(ctx, method); err != nil {
		return err
	}
	return m.engine.Faults.meet(ctx, method)
}

// Get implements [thumbcache.Shared].
func (m *Machine) Get(ctx context.Context, source, variant string) ([]byte, error) {
	if err := checkNames(source, variant); err != nil {
		return nil, err
	}
	if err := m.begin(ctx, "Get"); err != nil {
		return nil, err
	}
	e := m.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sources[source]
	if s == nil || s.values[variant] == nil {
		return nil, fmt.Errorf("sharedtest: %s/%s: %w", source, variant, fs.ErrNotExist)
	}
	return m.garbled(e.garbled(bytes.Clone(s.values[variant]))), nil
}

// Put implements [thumbcache.Shared].
func (m *Machine) Put(ctx context.Context, source, variant string, sealed []byte) error {
	if err := checkValue(source, variant, sealed); err != nil {
		return err
	}
	if err := m.begin(ctx, "Put"); err != nil {
		return err
	}
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	m.engine.of(source).values[variant] = bytes.Clone(sealed)
	return nil
}

// Remove implements [thumbcache.Shared].
func (m *Machine) Remove(ctx context.Context, source string) error {
	if err := checkNames(source, "x"); err != nil {
		return err
	}
	if err := m.begin(ctx, "Remove"); err != nil {
		return err
	}
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	delete(m.engine.sources, source)
	return nil
}

// Lease implements [thumbcache.Leaser].
func (m *Machine) Lease(ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
	if err := checkNames(source, variant); err != nil {
		return nil, err
	}
	if err := m.begin(ctx, "Lease"); err != nil {
		return nil, err
	}
	e := m.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	s, now := e.of(source), time.Now()
	if now.Before(s.leases[variant].end) {
		return nil, thumbcache.ErrHeld
	}
	e.tokens++
	s.leases[variant] = term{e.tokens, now.Add(life)}
	return &lease{m, source, variant, e.tokens, life}, nil
}

// Commit implements [thumbcache.Committer].
func (m *Machine) Commit(ctx context.Context, l thumbcache.Lease, source, variant string, sealed []byte) error {
	if err := checkValue(source, variant, sealed); err != nil {
		return err
	}
	held, ok := l.(*lease)
	if !ok || held.machine.engine != m.engine || held.source != source {
		return fmt.Errorf("sharedtest: %T is not a lease of source %s in this engine", l, source)
	}
	if err := m.begin(ctx, "Commit"); err != nil {
		return err
	}
	return held.use(func(s *stored) {
		s.values[variant] = bytes.Clone(sealed)
		delete(s.leases, held.variant)
	})
}

type lease struct {
	machine         *Machine
	source, variant string
	token           uint64
	life            time.Duration
}

// use calls do, unless the lease has ended.
func (l *lease) use(do func(s *stored)) error {
	e := l.machine.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sources[l.source]
	if s == nil || s.leases[l.variant].token != l.token || !time.Now().Before(s.leases[l.variant].end) {
		return thumbcache.ErrLeaseLost
	}
	do(s)
	return nil
}

func (l *lease) Renew(ctx context.Context) error {
	if err := l.machine.begin(ctx, "Renew"); err != nil {
		return err
	}
	return l.use(func(s *stored) { s.leases[l.variant] = term{l.token, time.Now().Add(l.life)} })
}

func (l *lease) Release(ctx context.Context) error {
	if err := l.machine.begin(ctx, "Release"); err != nil {
		return err
	}
	return l.use(func(s *stored) { delete(s.leases, l.variant) })
}

// backlog is how many messages wait for one Listen. With more, it loses its connection, as it would with a real engine.
const backlog = 1000

// Notify implements [thumbcache.Notifier].
func (m *Machine) Notify(ctx context.Context, message []byte) error {
	if len(message) == 0 || len(message) > 64<<10 {
		return fmt.Errorf("sharedtest: a message of %d bytes: %w", len(message), fs.ErrInvalid)
	}
	if err := m.begin(ctx, "Notify"); err != nil {
		return err
	}
	e := m.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	for listener := range e.listeners {
		select {
		case listener <- bytes.Clone(message):
		default:
			delete(e.listeners, listener)
			close(listener)
		}
	}
	return nil
}

// Listen implements [thumbcache.Notifier]. Messages that arrive while the engine or the machine is frozen are heard afterwards.
func (m *Machine) Listen(ctx context.Context, heard func(message []byte)) error {
	e, messages := m.engine, make(chan []byte, backlog)
	// The connections are those from before the faults, so that a fault that begins meanwhile ends them.
	ours, theirs := m.connection(), e.connection()
	if err := m.begin(ctx, "Listen"); err != nil {
		return err
	}
	e.mu.Lock()
	if e.listeners == nil {
		e.listeners = make(map[chan []byte]bool)
	}
	e.listeners[messages] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.listeners, messages)
	}()

	heard(nil)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ours:
			return errDisconnected
		case <-theirs:
			return errDisconnected
		case message, ok := <-messages:
			if !ok {
				return errDisconnected
			}
			if err := m.meet(ctx, "Listen"); err != nil {
				return err
			}
			heard(message)
		}
	}
}

var (
	validSource  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	validVariant = regexp.MustCompile(`^[a-z0-9][a-z0-9_.]{0,63}$`)
)

func checkNames(source, variant string) error {
	if !validSource.MatchString(source) || !validVariant.MatchString(variant) {
		return fmt.Errorf("sharedtest: source %q and variant %q: %w", source, variant, fs.ErrInvalid)
	}
	return nil
}

func checkValue(source, variant string, sealed []byte) error {
	if len(sealed) == 0 || len(sealed) > 1<<20 {
		return fmt.Errorf("sharedtest: a value of %d bytes: %w", len(sealed), fs.ErrInvalid)
	}
	return checkNames(source, variant)
}

// Faults are what is wrong with an engine, or with one machine's connection to it. The zero value is none.
type Faults struct {
	mu        sync.Mutex       // protects the following fields
	failing   map[string]error // by method
	frozen    chan struct{}    // closed by Thaw; nil if not frozen
	delay     time.Duration
	garble    func(value []byte) []byte
	connected chan struct{} // closed by Disconnect; nil if no Listen has asked
}

var allMethods = []string{"Get", "Put", "Remove", "Lease", "Renew", "Release", "Commit", "Notify", "Listen"}

// Fail lets calls of the given methods fail with err, instead of those given before. Without methods it is all of them.
// Renew and Release are methods too. A nil error ends the fault.
func (f *Faults) Fail(err error, methods ...string) {
	if len(methods) == 0 {
		methods = allMethods
	}
	f.mu.Lock()
	f.failing = make(map[string]error)
	for _, method := range methods {
		f.failing[method] = err
	}
	ends := f.failing["Listen"] != nil
	f.mu.Unlock()
	if ends {
		f.Disconnect()
	}
}

// Freeze lets every call wait until Thaw, or until its context ends.
func (f *Faults) Freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen == nil {
		f.frozen = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (f *Faults) Thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen != nil {
		close(f.frozen)
		f.frozen = nil
	}
}

// Slow lets every call take at least this long. Zero ends the fault.
func (f *Faults) Slow(delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = delay
}

// Garble lets Get return what change returns for the value. Nil ends the fault.
func (f *Faults) Garble(change func(value []byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.garble = change
}

// Disconnect ends every Listen that is running.
func (f *Faults) Disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.connected != nil {
		close(f.connected)
		f.connected = nil
	}
}

var errDisconnected = errors.New("sharedtest: the connection is lost")

// connection returns a channel that Disconnect closes.
func (f *Faults) connection() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.connected == nil {
		f.connected = make(chan struct{})
	}
	return f.connected
}

func (f *Faults) garbled(value []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.garble != nil {
		return f.garble(value)
	}
	return value
}

func (f *Faults) meet(ctx context.Context, method string) error {
	f.mu.Lock()
	delay := f.delay
	f.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(delay):
	}
	for ctx.Err() == nil {
		f.mu.Lock()
		frozen, err := f.frozen, f.failing[method]
		f.mu.Unlock()
		if frozen == nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-frozen:
		}
	}
	return ctx.Err()
}

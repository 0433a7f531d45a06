package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thumbcache/thumbcache/internal/breaker"
	"github.com/thumbcache/thumbcache/internal/flight"
	"github.com/thumbcache/thumbcache/internal/store"
)

const (
	maxSharedValue    = 1 << 20  // bytes; larger thumbnails are not shared
	maxSharedCalls    = 64       // at the same time; others wait
	maxSharedWrites   = 128      // in progress; further values are not stored, and made again by other machines
	maxSharedReleases = 1 << 10  // writes and releases of leases in progress; beyond them, other machines wait until a lease expires
	maxRemovals       = 1 << 10  // sources whose values could not be removed, to be tried again
	maxMessage        = 64 << 10 // bytes; see Notifier

	leaseLife     = 7 * time.Second        // how long the death of a machine can delay the others
	leaseWait     = 10 * time.Second       // for another machine, which may have to wait for a dead one first
	firstRenewal  = 500 * time.Millisecond // see Leaser; most thumbnails are made by then
	minLeasePause = 5 * time.Millisecond
	maxLeasePause = 100 * time.Millisecond
	listenPause   = time.Second // between attempts to listen to other machines
	listenQuiet   = time.Minute // between warnings that this does not work
	removalPause  = time.Second // after a removal that failed again

	// A message about an Invalidate arrives within this time after an early value was stored; see sharedWrite.
	earlyLife = 10 * time.Second

	// How long a request waits for the check of a source whose thumbnail another machine has made.
	sharedCheckPatience = time.Second

	// Calls that no request waits for may take this many times Config.SharedTimeout.
	backgroundFactor = 10
)

// sharedTier is the third tier: thumbnails and failures that several machines share. Without a Config.Shared the tier is nil: its
// methods find nothing and store nothing. The engine may fail, hang or lie: then the tier finds nothing, too.
type sharedTier struct {
	engine    Shared    // for values
	leaser    Leaser    // nil: there are no leases
	committer Committer // nil: see Committer
	notifier  Notifier  // nil: there are no messages
	turns     Turns     // of a composed engine; otherwise nil

	values    *service // the engine that has the values
	messenger *service // the engine that has leases and messages; usually the same one

	timeout     time.Duration
	recipe      recipe
	generations *generations
	log         *slog.Logger

	// A write to the engine and Invalidate hold the lock of the source's stripe. The locks are channels of one element, because
	// they are held during calls that may take long.
	locks [numStripes]chan struct{}

	// When the last early value was stored, in Unix nanoseconds. See sharedWrite.
	early [numStripes]atomic.Int64

	writes  flight.Group[uint64, struct{}]
	writeID atomic.Uint64
	me      string // this machine in messages

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines that goBackground started

	mu       sync.Mutex               // protects the fields below
	closed   bool                     // no goroutine starts any more
	waiting  map[string]chan struct{} // closed when another machine has made the thumbnail; by source and variant
	removals map[source]struct{}      // whose values could not be removed
	removing bool                     // the removals are being tried again

	hits, failures, dropped, leasesWaited atomic.Uint64
}

// A service is one engine, which may fail.
type service struct {
	breaker breaker.Breaker
	slots   chan struct{} // one element for each call in progress
}

func newService() *service { return &service{slots: make(chan struct{}, maxSharedCalls)} }

// errUnavailable means that the engine was not asked, because it does not work at present.
var errUnavailable = errors.New("the shared tier is not available")

func (c *Cache) openShared(engine Shared, timeout time.Duration) *sharedTier {
	for _, p := range c.providers {
		timeout = min(timeout, p.settings.Timeout/4) // two calls leave time to make what they do not find
	}
	s := &sharedTier{
		engine:      engine,
		timeout:     timeout,
		recipe:      c.recipe,
		generations: &c.generations,
		log:         c.log,
		values:      newService(),
		me:          strconv.FormatUint(rand.Uint64(), 36),
		waiting:     make(map[string]chan struct{}),
		removals:    make(map[source]struct{}),
	}
	for i := range s.locks {
		s.locks[i] = make(chan struct{}, 1)
	}
	s.leaser, _ = engine.(Leaser)
	s.committer, _ = engine.(Committer)
	s.notifier, _ = engine.(Notifier)
	s.messenger = s.values
	if both, ok := engine.(*composed); ok {
		s.engine, s.turns, s.messenger = both.Shared, both.turns, newService()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.notifier != nil {
		s.goBackground(func() { s.listen(c) })
	}
	return s
}

// close lets writes in progress finish for a moment, and waits until all goroutines have ended.
func (s *sharedTier) close() {
	if s == nil {
		return
	}
	s.writes.Close(ErrClosed, closeGrace)
	s.cancel()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
}

// goBackground runs do in a goroutine that close waits for. It reports false if the tier is closed.
func (s *sharedTier) goBackground(do func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.wg.Go(do)
	}
	return !s.closed
}

// ask returns what do gets from an engine, and fails if that takes longer than patience. While the engine does not work, ask
// fails at once, except for a call now and then that finds out whether it works again.
func ask[T any](ctx context.Context, s *sharedTier, of *service, patience time.Duration, do func(context.Context) (T, error)) (T, error) {
	call, ok := of.breaker.Begin()
	if !ok {
		return *new(T), errUnavailable
	}
	v, err := callEngine(ctx, s, of, patience, do)
	switch {
	case err == nil || isAnswer(err):
		if call.Succeeded() {
			s.log.Info("thumbcache: the shared tier works again")
		}
		s.retryRemovals()
	case ctx.Err() != nil || s.ctx.Err() != nil:
		call.Canceled()
	default:
		s.failures.Add(1)
		fail := call.Failed
		if errors.Is(err, context.DeadlineExceeded) {
			fail = call.TimedOut
		}
		if fail() {
			s.log.Warn("thumbcache: the shared tier does not work; this machine carries on alone", "error", err)
		}
	}
	return v, err
}

// tell is ask for a call without a result that no request waits for.
func (s *sharedTier) tell(ctx context.Context, of *service, do func(context.Context) error) error {
	_, err := ask(ctx, s, of, min(s.timeout, leaseLife/3/backgroundFactor)*backgroundFactor, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, do(ctx)
	})
	return err
}

// isAnswer reports whether err is an answer of an engine that works.
func isAnswer(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrHeld) || errors.Is(err, ErrLeaseLost) || errors.Is(err, errors.ErrUnsupported)
}

// callEngine runs do in a goroutine of its own, so that an engine that ignores cancellation cannot hold up its caller. A call in
// progress goes on for a while when the caller leaves: an engine that is canceled may have given a lease already. A lease that
// arrives too late is released.
func callEngine[T any](ctx context.Context, s *sharedTier, of *service, patience time.Duration, do func(context.Context) (T, error)) (v T, err error) {
	b := newBudget(patience)
	defer b.Stop()
	for acquired := false; !acquired; {
		select {
		case of.slots <- struct{}{}:
			acquired = true
		case <-ctx.Done():
			return v, ctx.Err()
		case <-b.C:
			if b.isSpent() {
				return v, context.DeadlineExceeded
			}
		}
	}
	type answer struct {
		v   T
		err error
	}
	answered, left := make(chan answer), make(chan struct{})
	defer close(left)
	started := s.goBackground(func() {
		defer func() { <-of.slots }()
		call, end := context.WithDeadline(s.ctx, b.end)
		defer end()
		v, err := protect(func() (T, error) { return do(call) })
		select {
		case answered <- answer{v, err}:
		case <-left:
			if l, ok := any(v).(Lease); ok && err == nil {
				call, end := context.WithTimeout(s.ctx, patience)
				defer end()
				protect(func() (T, error) { return v, l.Release(call) })
			}
		}
	})
	if !started {
		<-of.slots
		return v, ErrClosed
	}
	for {
		select {
		case a := <-answered:
			return a.v, a.err
		case <-ctx.Done():
			return v, ctx.Err()
		case <-b.C:
			if b.isSpent() {
				return v, context.DeadlineExceeded
			}
		}
	}
}

// A budget is the time that a caller waits for an engine. If the machine has too much to do, an answer that has arrived waits for a
// processor. That is not the engine's fault, so the caller then waits longer, but not after end.
type budget struct {
	*time.Timer
	end time.Time
}

// maxOverload is how much longer a caller waits on a machine that has too much to do.
const maxOverload = time.Second

func newBudget(patience time.Duration) *budget {
	return &budget{time.NewTimer(patience), time.Now().Add(patience).Add(maxOverload)}
}

// isSpent reports whether a budget whose timer has fired is spent. Otherwise it starts the timer again.
func (b *budget) isSpent() bool {
	start := time.Now()
	runtime.Gosched() // returns at once, unless others wait for a processor
	if wait := time.Since(start); wait < time.Millisecond || !time.Now().Before(b.end) {
		return true
	}
	b.Reset(50 * time.Millisecond)
	return false
}

// protect returns what do returns. A panic becomes an error.
func protect[T any](do func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}

// serveShared returns the thumbnail that another machine has made, unless there is none or it is outdated, and keeps it on this
// machine. This machine may never have seen the source, which may be gone, so it checks it first, but not for long.
func (c *Cache) serveShared(w *flight.Work, j *job, k *known) (*Thumbnail, error) {
	e := c.shared.load(w, &j.key, j.hash)
	if e == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(w, sharedCheckPatience)
	defer cancel()
	if err := c.checkNow(ctx, j, k, e.stamp); err != nil {
		return nil, err
	}
	standing := c.providerOf(j).standing(&e.made, j.version, k.last)
	if standing == outdated {
		return nil, nil
	}
	j.from.count(&c.shared.hits, "shared")
	c.keep(w, j, e)
	if flight.Idle(w) != nil {
		c.disk.save(j.gen, e, false)
	} else {
		c.disk.saveSoon(j.gen, e)
	}
	if standing == unchecked {
		c.staleServed.Add(1)
		c.revalidateSoon(j, e.stamp)
	}
	return e.thumb, nil
}

// load returns the thumbnail for k, whose source has this hash, or nil.
func (s *sharedTier) load(ctx context.Context, k *key, hash string) *entry {
	if s == nil {
		return nil
	}
	e := s.get(ctx, k, hash)
	if e == nil {
		return nil
	}
	return s.recipe.entry(k, hash, e)
}

// loadFailure returns the remembered failure of src, or nil.
func (s *sharedTier) loadFailure(ctx context.Context, src source, hash string) *failure {
	if s == nil {
		return nil
	}
	e := s.get(ctx, &key{source: src, none: true}, hash)
	if e == nil {
		return nil
	}
	f := failureFrom(e)
	if f != nil && time.Until(f.at) < maxClockSkew && f.at.After(time.Now()) {
		f.at = time.Now()
	}
	return f
}

// maxClockSkew is how far the clock of another machine may be ahead of this one's.
const maxClockSkew = 24 * time.Hour

// get returns the value for k, or nil. A value that is damaged or another key's is a miss.
func (s *sharedTier) get(ctx context.Context, k *key, hash string) *store.Entry {
	if s.isRemoved(k.source) {
		return nil
	}
	variant := s.recipe.variant(k)
	data, err := ask(ctx, s, s.values, s.timeout, func(ctx context.Context) ([]byte, error) { return s.engine.Get(ctx, hash, variant) })
	if err != nil || len(data) > maxSharedValue {
		return nil
	}
	name := k.stored()
	e, err := store.Unseal(data, &name)
	if err != nil {
		s.log.Debug("thumbcache: damaged value in the shared tier", "source", hash, "variant", variant, "error", err)
		return nil
	}
	if e.Key != name {
		return nil
	}
	return e
}

// A heldLease is a lease that is renewed until stop is called.
type heldLease struct {
	Lease
	stop func()
	lost atomic.Bool
}

// lease takes the lease of a thumbnail. It returns nil if the engine has no leases or does not work, and ErrHeld if another
// machine has it.
func (s *sharedTier) lease(ctx context.Context, k *key, hash string) (*heldLease, error) {
	if s == nil || s.leaser == nil {
		return nil, nil
	}
	variant := s.recipe.variant(k)
	lease, err := ask(ctx, s, s.messenger, s.timeout, func(ctx context.Context) (Lease, error) {
		l, err := s.leaser.Lease(ctx, hash, variant, leaseLife)
		if l == nil && err == nil {
			err = errors.New("neither a lease nor an error")
		}
		return l, err
	})
	switch {
	case errors.Is(err, ErrHeld):
		return nil, ErrHeld
	case err != nil:
		return nil, nil
	}
	ctx, stop := context.WithCancel(s.ctx)
	l := &heldLease{Lease: lease, stop: stop}
	s.goBackground(func() { s.renew(ctx, l) })
	return l, nil
}

// renew renews a lease until ctx ends or the lease is lost.
func (s *sharedTier) renew(ctx context.Context, l *heldLease) {
	for pause := firstRenewal; !l.lost.Load(); pause = leaseLife / 3 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		err := s.tell(ctx, s.messenger, l.Renew)
		l.lost.Store(errors.Is(err, ErrLeaseLost))
	}
}

// awaitLease waits for the lease that another machine has, but no longer than leaseWait. It returns nil if it got none.
func (s *sharedTier) awaitLease(ctx context.Context, k *key, hash string) *heldLease {
	s.leasesWaited.Add(1)
	made, stop := s.awaitMade(hash + s.recipe.variant(k))
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	for pause := minLeasePause; ; pause = min(2*pause, maxLeasePause) {
		select {
		case <-ctx.Done():
			return nil
		case <-made:
			made = nil
		case <-time.After(pause):
		}
		if l, err := s.lease(ctx, k, hash); err == nil {
			return l
		}
	}
}

// awaitMade returns a channel that is closed when another machine says that it has made a thumbnail.
func (s *sharedTier) awaitMade(name string) (made <-chan struct{}, stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.waiting[name] // another flight may wait for a newer generation of the same thumbnail
	if c == nil {
		c = make(chan struct{})
		s.waiting[name] = c
	}
	return c, func() { s.noteMade(name) }
}

// noteMade wakes those who wait for a thumbnail.
func (s *sharedTier) noteMade(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.waiting[name]; c != nil {
		close(c)
		delete(s.waiting, name)
	}
}

// release ends a lease in the background, without a result. The lease may be nil.
func (s *sharedTier) release(l *heldLease) {
	if l == nil {
		return
	}
	l.stop()
	if !l.lost.Load() {
		s.start(maxSharedReleases, func(ctx context.Context) { s.releaseNow(ctx, l) })
	}
}

func (s *sharedTier) releaseNow(ctx context.Context, l *heldLease) error {
	return s.tell(ctx, s.messenger, l.Release)
}

// start runs do in the background, unless as much as limit is in progress. It reports whether it started do.
func (s *sharedTier) start(limit int, do func(context.Context)) bool {
	return s.writes.Len() < limit && s.writes.Start(s.writeID.Add(1), func(w *flight.Work) (struct{}, error) {
		do(w)
		return struct{}{}, nil
	})
}

// A sharedWrite is a value to store.
type sharedWrite struct {
	source source
	gen    uint64
	state  string // the version of the source's stamp
	sealed *store.Entry
	lease  *heldLease // ends with the write; may be nil

	// The lease does not prove that no machine has invalidated the source since it was extracted: either there is no lease, or it was
	// taken later.
	early bool
}

// save stores a thumbnail that was made in generation gen. It takes the lease of j.
func (s *sharedTier) save(ctx context.Context, j *job, e *entry) {
	if s != nil {
		s.saveSealed(ctx, sharedWrite{e.key.source, j.gen, e.stamp.Version(), s.recipe.sealed(e), j.takeLease(), j.early})
	}
}

// saveFailure stores the failure of a source. It takes the lease of j.
func (s *sharedTier) saveFailure(ctx context.Context, j *job, f sourceFlight, failed *failure) {
	if s != nil {
		k := key{source: f.source, none: true}
		s.saveSealed(ctx, sharedWrite{f.source, f.gen, failed.stamp.Version(), failed.sealed(&k), j.takeLease(), j.early})
	}
}

// saveSealed stores a value in the background. It waits for that while no request waits for it, so that Warm does not outrun the engine.
func (s *sharedTier) saveSealed(ctx context.Context, v sharedWrite) {
	data, err := v.sealed.Seal()
	if err != nil || len(data) > maxSharedValue {
		s.release(v.lease)
		return
	}
	stored := make(chan struct{})
	if !s.start(maxSharedWrites, func(ctx context.Context) { defer close(stored); s.write(ctx, v, data) }) {
		s.dropped.Add(1)
		s.release(v.lease)
		return
	}
	if idle := flight.Idle(ctx); idle != nil {
		select {
		case <-stored:
		case <-idle: // now a request waits
		case <-ctx.Done():
		}
	}
}

// write stores a value, unless its source was invalidated meanwhile or the lease is lost, and tells the other machines.
func (s *sharedTier) write(ctx context.Context, v sharedWrite, data []byte) {
	if v.lease != nil {
		defer v.lease.stop()
		if v.lease.lost.Load() {
			return
		}
	}
	hash, variant := hashOf(v.source), v.sealed.Variant()
	defer s.lock(v.source)()
	if s.generations.of(v.source) != v.gen || s.isRemoved(v.source) {
		if v.lease != nil {
			s.releaseNow(ctx, v.lease)
		}
		return
	}
	if v.early || v.lease == nil {
		s.early[s.generations.index(v.source)].Store(time.Now().UnixNano()) // before it is stored, so that hear misses none
	}
	err := s.put(ctx, v.lease, func(ctx context.Context) error {
		if v.lease != nil && s.committer != nil {
			return s.committer.Commit(ctx, v.lease.Lease, hash, variant, data)
		}
		return s.engine.Put(ctx, hash, variant, data)
	})
	lost := errors.Is(err, ErrLeaseLost)
	switch {
	case lost && s.committer != nil: // nothing was stored
	case lost, err == nil && s.generations.of(v.source) != v.gen: // another machine may have invalidated the source
		s.removeLocked(ctx, v.source)
		s.notify(ctx, message{kind: wasInvalidated, source: v.source, state: again})
	case err != nil:
		s.dropped.Add(1)
		if v.lease != nil {
			s.releaseNow(ctx, v.lease)
		}
	default:
		s.notify(ctx, message{kind: wasMade, source: v.source, variant: variant, state: v.state})
	}
}

// put stores a value and ends its lease. Without a Committer, the value is stored even if the error is ErrLeaseLost.
func (s *sharedTier) put(ctx context.Context, l *heldLease, store func(context.Context) error) error {
	err := s.tell(ctx, s.values, store)
	if l == nil || s.committer != nil || err != nil {
		return err
	}
	return s.releaseNow(ctx, l)
}

// remove removes all values of a source, and tells the other machines. If that fails, it is tried again in the background; until
// then this machine uses no value of the source. It does so for maxRemovals sources at most.
func (s *sharedTier) remove(src source) error {
	if s == nil {
		return nil
	}
	defer s.lock(src)()
	err := s.removeLocked(s.ctx, src)
	s.announce(s.ctx, src)
	return err
}

// lock locks the stripe of a source.
func (s *sharedTier) lock(src source) (unlock func()) {
	l := s.locks[s.generations.index(src)]
	l <- struct{}{}
	return func() { <-l }
}

// removeLocked is remove with the lock of the source's stripe held.
func (s *sharedTier) removeLocked(ctx context.Context, src source) error {
	hash := hashOf(src)
	var err error
	if s.turns != nil { // first, so that no value is stored after its removal
		err = s.tell(ctx, s.messenger, func(ctx context.Context) error { return s.turns.Remove(ctx, hash) })
	}
	err = errors.Join(err, s.tell(ctx, s.values, func(ctx context.Context) error { return s.engine.Remove(ctx, hash) }))
	s.mu.Lock()
	switch {
	case err == nil:
		delete(s.removals, src)
	case len(s.removals) < maxRemovals:
		s.removals[src] = struct{}{}
	}
	s.mu.Unlock()
	return err
}

func (s *sharedTier) isRemoved(src source) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.removals[src]
	return ok
}

// retryRemovals tries removals that failed again, in the background, until one fails. After that there is a pause.
func (s *sharedTier) retryRemovals() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.removals) == 0 || s.removing {
		return
	}
	sources := slices.Collect(maps.Keys(s.removals))
	s.removing = s.start(maxSharedWrites, func(ctx context.Context) {
		for _, src := range sources {
			if s.removeAgain(ctx, src, "") != nil {
				select {
				case <-ctx.Done():
				case <-time.After(removalPause):
				}
				break
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.removing = false
	})
}

// removeAgain is remove for a source whose values should be gone already. The other machines are told as soon as it succeeds.
func (s *sharedTier) removeAgain(ctx context.Context, src source, state string) error {
	defer s.lock(src)()
	err := s.removeLocked(ctx, src)
	if err == nil {
		s.notify(ctx, message{kind: wasInvalidated, source: src, state: state})
	}
	return err
}

// Kinds of messages.
const (
	wasMade        = "made"        // a value was stored
	wasInvalidated = "invalidated" // all values of a source were removed
)

// again is the state of a message that repeats wasInvalidated, because a value was stored meanwhile and had to be removed too. It is
// not repeated once more, so that machines do not answer each other for ever.
const again = "again"

// A message tells other machines what has happened to a source.
type message struct {
	kind    string
	source  source
	variant string // of the value that was stored
	state   string // the version of the stamp of the source
}

// messageFormat begins every message. Messages of other versions are ignored.
const messageFormat = "thumbcache1"

// announce tells other machines that all values of a source were removed, or that the target of an id may be another one now.
func (s *sharedTier) announce(ctx context.Context, src source) {
	s.notify(ctx, message{kind: wasInvalidated, source: src})
}

// notify tells other machines what has happened, unless the source's path is too long for a message.
func (s *sharedTier) notify(ctx context.Context, m message) {
	if s == nil || s.notifier == nil {
		return
	}
	text := strings.Join([]string{messageFormat, s.me, m.kind, m.source.provider, m.source.path, m.variant, m.state}, "\x00")
	if len(text) > maxMessage {
		return
	}
	s.tell(ctx, s.messenger, func(ctx context.Context) error { return s.notifier.Notify(ctx, []byte(text)) })
}

// hear acts on a message.
func (s *sharedTier) hear(c *Cache, text []byte) {
	f := strings.Split(string(text), "\x00")
	if len(f) != 7 || f[0] != messageFormat || f[1] == s.me || c.providers[f[3]] == nil {
		return
	}
	m := message{kind: f[2], source: source{f[3], f[4]}, variant: f[5], state: f[6]}
	switch m.kind {
	case wasMade:
		s.noteMade(hashOf(m.source) + m.variant)
		c.memory.expireLook(m.source, m.state)
	case wasInvalidated:
		c.forget(m.source)
		early := s.early[s.generations.index(m.source)].Load()
		if m.state != again && early > 0 && time.Since(time.Unix(0, early)) < earlyLife {
			s.removeSoon(m.source)
		}
	}
}

// removeSoon removes all values of a source in the background, and tells the other machines.
func (s *sharedTier) removeSoon(src source) {
	started := s.start(maxSharedWrites, func(ctx context.Context) { s.removeAgain(ctx, src, again) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if !started && len(s.removals) < maxRemovals {
		s.removals[src] = struct{}{}
	}
}

// listen acts on the messages of other machines until the tier is closed. What was missed is unknown, so each time that it
// begins to listen, all sources are due for a check.
func (s *sharedTier) listen(c *Cache) {
	deaf := false
	var warned time.Time
	for {
		_, err := protect(func() (struct{}, error) {
			return struct{}{}, s.notifier.Listen(s.ctx, func(text []byte) {
				if len(text) > 0 {
					s.hear(c, text)
					return
				}
				c.memory.expireLooks()
				if deaf {
					s.log.Info("thumbcache: messages of other machines arrive again")
				}
				deaf = false
			})
		})
		if s.ctx.Err() != nil {
			return
		}
		if !deaf && time.Since(warned) >= listenQuiet {
			s.log.Warn("thumbcache: messages of other machines do not arrive", "error", err)
			deaf, warned = true, time.Now()
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(listenPause):
		}
	}
}

// addStats adds what the tier has counted to t.
func (s *sharedTier) addStats(t *Stats) {
	if s != nil {
		t.SharedHits, t.SharedErrors, t.SharedDropped = s.hits.Load(), s.failures.Load(), s.dropped.Load()
		t.LeasesWaited = s.leasesWaited.Load()
	}
}

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thumbcache/thumbcache"
)

// What is allowed for busy processors.
const (
	slack = int64(time.Second)     // until what was recorded, read or looked at has its effect
	bound = int64(3 * time.Second) // until a check of a source that a request began has its effect

	retry  = int64(6 * time.Second)  // a source whose check failed is checked again within 5 seconds
	settle = int64(20 * time.Second) // after a fault, until no work is queued or joined that began during it
)

// A question is a request for a thumbnail of an object.
type question struct {
	thumbcache.Request
	o       object
	moves   uint16 // as the path says
	since   int64  // when Version became current; 0 without a Version
	lowest  int64  // the answer must be from this time or later
	checked int64  // likewise, unless the source could not be reached since, or there was too much to do
}

// An answer is what came.
type answer struct {
	thumb      *thumbcache.Thumbnail
	err        error
	ended      bool   // the request's own context
	http       bool   // it came by HTTP, where no time is in the future
	from       string // these are what an Observer was told
	took       time.Duration
	observed   error
	start, end int64
}

// A checker knows which answers are right. It keeps tables of constant size, so that the memory of the process shows what the cache
// needs.
type checker struct {
	*library
	*history
	clock      clock
	revalidate time.Duration

	keys        [1 << 8]keyTable
	labels      [1 << 8]labelTable
	invalidated []atomic.Int64 // by object: when, and in the lowest bits the moves
	failed      []atomic.Int64 // by object: when a check or a making last failed
	busy        atomic.Int64   // when so much work was waiting that an outdated thumbnail is not made again soon
}

// A keyTable remembers when some thumbnails were asked for.
type keyTable struct {
	sync.Mutex
	asked [1 << 10]asked
}

// asked is when a thumbnail was asked for.
type asked struct {
	hash       uint64
	seen       int64 // later answers must be from this time or later
	start, end int64 // of a request that will count when its check has had its effect
}

// A labelTable remembers what pictures show.
type labelTable struct {
	sync.Mutex
	known [1 << 6]knownLabel
}

type knownLabel struct {
	hash uint64
	label
	edge uint16
}

func newChecker(l *library, h *history, c clock, revalidate time.Duration) *checker {
	return &checker{library: l, history: h, clock: c, revalidate: revalidate,
		invalidated: make([]atomic.Int64, l.objects()), failed: make([]atomic.Int64, l.objects())}
}

var hashSeed = maphash.MakeSeed()

// key returns a hash of what identifies a thumbnail, and where it is in the table.
func (c *checker) key(q *question) (hash uint64, t *keyTable, slot *asked) {
	r := q.Request
	r.Version = ""
	hash = maphash.Comparable(hashSeed, r)
	t = &c.keys[hash%uint64(len(c.keys))]
	return hash, t, &t.asked[hash>>8%uint64(len(t.asked))]
}

// prepare notes from which time the answer to q must be, which begins now.
func (c *checker) prepare(q *question) {
	q.lowest, q.checked = math.MinInt64, math.MinInt64
	if q.since != 0 {
		q.lowest = q.since - slack
	}
	if n := c.invalidated[q.o].Load(); n != 0 && uint16(n&(maxMoves-1)) == q.moves {
		q.lowest = max(q.lowest, n-slack/10)
	}
	now := c.clock.now()
	hash, table, slot := c.key(q)
	table.Lock()
	defer table.Unlock()
	if slot.hash == hash {
		c.ripen(q.o, slot, now)
		if slot.seen != 0 {
			q.checked = slot.seen
		}
	}
}

// ripen lets a request count whose check has had its effect by now, unless checks failed meanwhile.
func (c *checker) ripen(o object, a *asked, now int64) {
	if a.end == 0 || a.end+bound > now {
		return
	}
	if max(c.failed[o].Load(), c.busy.Load()) < a.start-retry {
		a.seen = a.start - int64(c.revalidate) - slack
	}
	a.start, a.end = 0, 0
}

// note remembers that q was answered.
func (c *checker) note(q *question, a *answer) {
	hash, table, slot := c.key(q)
	table.Lock()
	defer table.Unlock()
	if slot.hash != hash {
		*slot = asked{hash: hash}
	}
	c.ripen(q.o, slot, a.end)
	if slot.end == 0 {
		slot.start, slot.end = a.start, a.end
	}
}

// noteInvalidated notes that an Invalidate, which began at start, has removed what was known of a path.
func (c *checker) noteInvalidated(o object, moves uint16, start int64) {
	c.invalidated[o].Store(start&^(maxMoves-1) | int64(moves))
}

// noteStage notes steps of making a thumbnail that have failed for a while.
func (c *checker) noteStage(path string, err error) {
	if err == nil || isVerdict(err) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	if o, _, ok := c.parse(path); ok {
		c.failed[o].Store(c.clock.now())
	}
}

func isVerdict(err error) bool {
	return errors.Is(err, thumbcache.ErrNoPicture) || errors.Is(err, thumbcache.ErrUnsupported) || errors.Is(err, thumbcache.ErrCorrupt)
}

// between returns the states that an object may have been in at some time between from and to. Older is set if it changed so often that
// older states are not known.
func (c *checker) between(o object, from, to int64) (states []state, older bool, err error) {
	changes, before, err := c.read(int(o))
	if err != nil {
		return nil, false, err
	}
	begin, now := int64(math.MinInt64), c.first(o)
	for i, next := range changes {
		if i == 0 && before > 0 {
			older = from <= next.at+slack
		} else if from <= next.at+slack && begin <= to {
			states = append(states, now)
		}
		begin, now = next.at, unpack(next.value)
	}
	if begin <= to {
		states = append(states, now)
	}
	return states, older, nil
}

// faults returns the faults that were present at some time between from and to.
func (c *checker) faultsBetween(from, to int64) (all fault) {
	changes, _, err := c.read(c.objects())
	if err != nil {
		return ^fault(0)
	}
	var now fault
	for _, next := range changes {
		if from <= next.at+slack {
			all |= now
		}
		if next.at > to {
			return all
		}
		now = fault(next.value)
	}
	return all | now
}

// check returns an error unless the answer to q is right.
func (c *checker) check(q *question, a *answer) error {
	switch {
	case a.err == nil, isVerdict(a.err), errors.Is(a.err, fs.ErrNotExist):
		if err := c.checkState(q, a); err != nil {
			return err
		}
		c.note(q, a)
		return nil
	case a.ended && (errors.Is(a.err, context.Canceled) || errors.Is(a.err, context.DeadlineExceeded)):
		return nil
	}
	present := c.faultsBetween(a.start-settle, a.end)
	switch {
	case errors.Is(a.err, thumbcache.ErrBusy), errors.Is(a.err, context.DeadlineExceeded):
		if present&(unreachable|slow) != 0 {
			return nil
		}
	case present&unreachable != 0:
		return nil
	}
	return errors.New("nothing was wrong that explains this error")
}

// checkState returns an error unless an answer shows a state that the object may have been in.
func (c *checker) checkState(q *question, a *answer) error {
	lowest, err := c.lowestOf(q, a)
	if err != nil {
		return err
	}
	states, older, err := c.between(q.o, lowest, a.end)
	if err != nil {
		return err
	}
	var shown label
	if a.err == nil {
		var edge int
		if shown, edge, err = c.shown(a.thumb.Data); err != nil {
			return err
		}
		want := q.Size
		if t := a.thumb; edge != want || t.Width != want || t.Height != want {
			return fmt.Errorf("a picture of %d x %d, which says %d x %d", edge, edge, t.Width, t.Height)
		}
		if got, want := a.thumb.ContentType, contentType(q.Format); got != want {
			return fmt.Errorf("content type %q, want %q", got, want)
		}
		if now := c.label(q.o, states[len(states)-1]); older && shown.id == now.id && shown.cover <= now.cover {
			return nil
		}
	}
	var pictures []state
	if c.isSong(q.o) {
		var more bool
		if pictures, more, err = c.between(c.folderPicture(c.album(q.o)), lowest, a.end); err != nil {
			return err
		}
		older = older || more
	}
	if a.err != nil && !isVerdict(a.err) && !errors.Is(a.err, fs.ErrNotExist) {
		return a.err
	}
	for _, s := range states {
		if c.explains(q, a, s, pictures, shown) && (a.err != nil || c.hasTime(q, a, states)) {
			return nil
		}
	}
	if older && a.err != nil {
		return nil
	}
	return errors.New("the source was in none of the states that explain this")
}

// lowestOf returns from which time an answer must be.
func (c *checker) lowestOf(q *question, a *answer) (int64, error) {
	// While a source cannot be reached, any tier may bring back what it has.
	if q.checked <= q.lowest || c.busy.Load() >= q.checked || c.faultsBetween(q.checked, a.end)&(unreachable|slow) != 0 {
		return q.lowest, nil
	}
	// On a busy machine, ffmpeg takes seconds.
	states, _, err := c.between(q.o, q.checked, a.end)
	if c.isFilm(q.o) || slices.ContainsFunc(states, func(s state) bool { return s.content == broken }) {
		return q.lowest, err
	}
	return q.checked, err
}

func contentType(f thumbcache.Format) string {
	switch f {
	case thumbcache.PNG:
		return "image/png"
	case thumbcache.WebP:
		return "image/webp"
	}
	return "image/jpeg"
}

// explains reports whether an answer is right for a state of its object and one of the states of the folder's picture.
func (c *checker) explains(q *question, a *answer, s state, pictures []state, shown label) bool {
	missing := s.gone || s.moves != q.moves
	switch {
	case errors.Is(a.err, fs.ErrNotExist):
		return missing
	case missing:
		return false
	case s.content == whole:
		return a.err == nil && shown == c.label(q.o, s)
	}
	folder := c.folderPicture(c.album(q.o))
	for _, p := range pictures {
		if a.err == nil && !p.gone && shown == c.label(folder, p) {
			return true
		}
	}
	noPicture := !c.isSong(q.o) || slices.ContainsFunc(pictures, func(p state) bool { return p.gone })
	return noPicture && isVerdict(a.err) && (s.content == broken || errors.Is(a.err, thumbcache.ErrNoPicture))
}

// hasTime reports whether the time of a thumbnail is that of one of the states of its source. It may be another one than the picture's,
// if the source changed while it was read. If the picture is beside the source, the time may be that of the picture.
func (c *checker) hasTime(q *question, a *answer, states []state) bool {
	return slices.ContainsFunc(states, func(s state) bool {
		want := c.modTime(q.o, s)
		return s.content != whole || a.thumb.ModTime.Equal(want) || a.http && a.thumb.ModTime.Before(want)
	})
}

// shown returns what a picture shows.
func (c *checker) shown(data []byte) (label, int, error) {
	hash := maphash.Bytes(hashSeed, data)
	t := &c.labels[hash%uint64(len(c.labels))]
	slot := &t.known[hash>>8%uint64(len(t.known))]
	t.Lock()
	k := *slot
	t.Unlock()
	if k.hash == hash {
		return k.label, int(k.edge), nil
	}
	shown, edge, err := c.readLabel(data)
	if err != nil {
		return shown, edge, err
	}
	t.Lock()
	*slot = knownLabel{hash, shown, uint16(edge)}
	t.Unlock()
	return shown, edge, nil
}

// describe tells all about a wrong answer.
func (c *checker) describe(q *question, a *answer, reason error) string {
	var b strings.Builder
	when := func(at int64) string { return fmt.Sprintf("%+.3fs", float64(at-a.start)/1e9) }
	fmt.Fprintf(&b, "%v\nasked: %+v\nanswered after %s from %q (by the cache's own clock: %v): ", reason, q.Request, when(a.end), a.from, a.took)
	if a.err != nil {
		fmt.Fprintf(&b, "error %q\n", a.err)
	} else {
		shown, edge, err := c.shown(a.thumb.Data)
		fmt.Fprintf(&b, "%d bytes of %s, modified %v, label %x of cover %d, edge %d, %v\n", len(a.thumb.Data), a.thumb.ContentType, a.thumb.ModTime.Unix(), shown.id, shown.cover, edge, err)
	}
	if lowest := max(q.lowest, q.checked); lowest != math.MinInt64 {
		fmt.Fprintf(&b, "it must be from %s or later\n", when(lowest))
	}
	objects := []object{q.o}
	if c.isSong(q.o) {
		objects = append(objects, c.folderPicture(c.album(q.o)))
	}
	for _, o := range objects {
		changes, before, _ := c.read(int(o))
		fmt.Fprintf(&b, "object %d, label %x, at first %+v; %d changes not listed\n", o, c.label(o, state{}).id, c.first(o), before)
		for _, ch := range changes {
			s := unpack(ch.value)
			fmt.Fprintf(&b, "  %s: %+v, modified %v\n", when(ch.at), s, c.modTime(o, s).Unix())
		}
	}
	changes, _, _ := c.read(c.objects())
	for _, ch := range changes {
		fmt.Fprintf(&b, "  %s: %v\n", when(ch.at), fault(ch.value))
	}
	if at := c.failed[q.o].Load(); at != 0 {
		fmt.Fprintf(&b, "the last failed step: %s\n", when(at))
	}
	return b.String()
}

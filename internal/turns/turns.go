// Package turns schedules work: it lets a fixed number of callers work at once, and makes the others wait in order of arrival.
//
// Callers belong to groups, such as the provider that they work for. A group leaves a slot to the others, so a slow group
// cannot block them. So does idle work, which no request waits for.
package turns

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrFull says that no more callers may wait.
var ErrFull = errors.New("turns: the queue is full")

// idleGroup is the group of all idle work.
const idleGroup = "\x00idle"

// A Queue hands out slots. It may be used from several goroutines at once.
type Queue struct {
	slots int // callers that work at once
	room  int // callers that may wait; negative: no limit

	mu      sync.Mutex     // protects the fields below
	taken   int            // slots
	takenBy map[string]int // slots by group
	waiters list.List      // of *waiter, in order of arrival; none of them could have a slot now
	waitFor map[string]int // waiters by group
	urgent  int            // requests in progress: see Urgent
	idle    chan struct{}  // closed when urgent becomes 0; nil unless AwaitIdle waits
}

// A waiter is a caller that waits for a slot.
type waiter struct {
	groups []string
	place  *list.Element // in Queue.waiters; nil if it does not wait
	ready  func()        // called with the lock when the waiter has been given a slot; it must not block
}

// New returns a Queue for the given number of slots, in which up to room callers may wait. A negative room means no limit. A
// group may take all slots except one, and three quarters of the room.
func New(slots, room int) *Queue {
	return &Queue{slots: slots, room: room, takenBy: make(map[string]int), waitFor: make(map[string]int)}
}

// Acquire waits for a slot as a member of all groups named. Work is idle if idle is not nil, until that channel is closed.
// Release returns the slot; it may be called more than once. The error is ErrFull or that of ctx.
func (q *Queue) Acquire(ctx context.Context, idle <-chan struct{}, groups ...string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	groups = slices.Clone(groups)
	if idle != nil {
		groups = append(groups, idleGroup)
	}
	ready := make(chan struct{})
	w := &waiter{groups: groups, ready: func() { close(ready) }}
	release = sync.OnceFunc(func() { q.release(w) })
	q.mu.Lock()
	admitted, err := q.enqueueLocked(w)
	q.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case admitted:
		return release, nil
	}
	for {
		select {
		case <-ready:
			return release, nil
		case <-ctx.Done():
			if !q.leave(w) {
				release()
			}
			return nil, ctx.Err()
		case <-idle:
			q.leaveIdle(w)
			idle = nil
		}
	}
}

// Go calls f with what Acquire would return for work that is not idle, but no goroutine waits. It calls f at once if there is a
// slot or an error, and otherwise later, in a new goroutine.
func (q *Queue) Go(ctx context.Context, f func(release func(), err error), groups ...string) {
	if err := ctx.Err(); err != nil {
		f(nil, err)
		return
	}
	w := &waiter{groups: slices.Clone(groups)}
	release := sync.OnceFunc(func() { q.release(w) })
	q.mu.Lock()
	admitted, err := q.enqueueLocked(w)
	if !admitted && err == nil {
		unwatch := context.AfterFunc(ctx, func() {
			if q.leave(w) {
				f(nil, ctx.Err())
			}
		})
		w.ready = func() {
			unwatch()
			go f(release, nil)
		}
	}
	q.mu.Unlock()
	switch {
	case err != nil:
		f(nil, err)
	case admitted:
		f(release, nil)
	}
}

// enqueueLocked gives w a slot at once, or else a place in the queue.
func (q *Queue) enqueueLocked(w *waiter) (admitted bool, err error) {
	if q.admitLocked(w) {
		return true, nil
	}
	if q.fullLocked(w.groups) {
		return false, ErrFull
	}
	w.place = q.waiters.PushBack(w)
	count(q.waitFor, w.groups, 1)
	return false, nil
}

// IsFull reports whether Acquire would return ErrFull.
func (q *Queue) IsFull(groups ...string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.hasSlotLocked(groups) && q.fullLocked(groups)
}

// fullLocked reports whether there is no room to wait.
func (q *Queue) fullLocked(groups []string) bool {
	if q.room < 0 {
		return false
	}
	for _, name := range groups {
		if q.waitFor[name] >= q.room-q.room/4 {
			return true
		}
	}
	return q.waiters.Len() >= q.room
}

// admitLocked gives w a slot if there is one for it.
func (q *Queue) admitLocked(w *waiter) bool {
	if !q.hasSlotLocked(w.groups) {
		return false
	}
	q.taken++
	count(q.takenBy, w.groups, 1)
	return true
}

// hasSlotLocked reports whether there is a slot for work of these groups.
func (q *Queue) hasSlotLocked(groups []string) bool {
	for _, name := range groups {
		if q.takenBy[name] >= max(1, q.slots-1) {
			return false
		}
	}
	return q.taken < q.slots
}

// admitWaitersLocked gives slots to all waiters that can have one, in order of arrival.
func (q *Queue) admitWaitersLocked() {
	for e := q.waiters.Front(); e != nil && q.taken < q.slots; {
		w := e.Value.(*waiter)
		e = e.Next()
		if q.admitLocked(w) {
			q.leaveLocked(w)
			w.ready()
		}
	}
}

// release returns the slot of w.
func (q *Queue) release(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken--
	count(q.takenBy, w.groups, -1)
	q.admitWaitersLocked()
}

// leave gives up the place of w in the queue. It reports false if w has its slot.
func (q *Queue) leave(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.place == nil {
		return false
	}
	q.leaveLocked(w)
	return true
}

func (q *Queue) leaveLocked(w *waiter) {
	q.waiters.Remove(w.place)
	w.place = nil
	count(q.waitFor, w.groups, -1)
}

// leaveIdle makes w, which waits as idle work, wait as any other.
func (q *Queue) leaveIdle(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.place == nil {
		return // it has its slot
	}
	count(q.waitFor, w.groups, -1)
	w.groups = slices.DeleteFunc(w.groups, func(name string) bool { return name == idleGroup })
	count(q.waitFor, w.groups, 1)
	q.admitWaitersLocked()
}

// count adds n to the number of each group. Groups without members are forgotten.
func count(numbers map[string]int, groups []string, n int) {
	for _, name := range groups {
		if numbers[name] += n; numbers[name] == 0 {
			delete(numbers, name)
		}
	}
}

// Urgent notes that a request is in progress, until done is called. Done must be called once.
func (q *Queue) Urgent() (done func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.urgent++
	return q.urgentDone
}

func (q *Queue) urgentDone() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.urgent--; q.urgent == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

// settle is how long AwaitIdle waits after the last request: a client that asks for one thumbnail after another leaves gaps.
const settle = 5 * time.Millisecond

// AwaitIdle waits until no request is in progress, or until ctx ends.
func (q *Queue) AwaitIdle(ctx context.Context) error {
	for ctx.Err() == nil {
		q.mu.Lock()
		if q.urgent == 0 {
			q.mu.Unlock()
			return nil
		}
		if q.idle == nil {
			q.idle = make(chan struct{})
		}
		idle := q.idle
		q.mu.Unlock()
		select {
		case <-idle:
			select {
			case <-time.After(settle):
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// Waiting returns the number of callers that wait for a slot.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiters.Len()
}

package ffmpeg

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// A queue gives a number of slots to those who wait for them, in the order of waiting. Of a group with a name, all but one
// slot at most are taken at a time, so that no group can keep the others from running.
type queue struct {
	all  *semaphore.Weighted
	each int64 // slots of a group

	mu     sync.Mutex
	groups map[string]*group // those that have somebody in them
}

type group struct {
	*semaphore.Weighted
	members int // who waits or has a slot; guarded by queue.mu
}

func newQueue(slots int) *queue {
	return &queue{
		all:    semaphore.NewWeighted(int64(slots)),
		each:   int64(max(1, slots-1)),
		groups: make(map[string]*group),
	}
}

// acquire waits for a slot. The function it returns gives the slot back, once.
func (q *queue) acquire(ctx context.Context, name string) (release func(), err error) {
	leave := func() {}
	if name != "" {
		if leave, err = q.enter(ctx, name); err != nil {
			return nil, err
		}
	}
	if err := q.all.Acquire(ctx, 1); err != nil {
		leave()
		return nil, err
	}
	return sync.OnceFunc(func() {
		q.all.Release(1)
		leave()
	}), nil
}

// enter waits for a slot among those that the group may take.
func (q *queue) enter(ctx context.Context, name string) (leave func(), err error) {
	q.mu.Lock()
	g := q.groups[name]
	if g == nil {
		g = &group{Weighted: semaphore.NewWeighted(q.each)}
		q.groups[name] = g
	}
	g.members++
	q.mu.Unlock()

	forget := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if g.members--; g.members == 0 {
			delete(q.groups, name)
		}
	}
	if err := g.Acquire(ctx, 1); err != nil {
		forget()
		return nil, err
	}
	return func() {
		g.Release(1)
		forget()
	}, nil
}

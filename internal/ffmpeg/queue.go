package ffmpeg

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
)

// A queue gives a number of slots to those who wait for them, in the order of waiting. Of a group, all but one slot at most are
// taken at a time, so that no group can keep the others from running.
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

// acquire waits for a slot, as a member of all the groups named. The function it returns gives the slot back, once.
func (q *queue) acquire(ctx context.Context, groups ...string) (release func(), err error) {
	var leave []func()
	release = sync.OnceFunc(func() {
		for _, l := range slices.Backward(leave) {
			l()
		}
	})
	for _, name := range groups {
		l, err := q.enter(ctx, name)
		if err != nil {
			release()
			return nil, err
		}
		leave = append(leave, l)
	}
	if err := q.all.Acquire(ctx, 1); err != nil {
		release()
		return nil, err
	}
	leave = append(leave, func() { q.all.Release(1) })
	return release, nil
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

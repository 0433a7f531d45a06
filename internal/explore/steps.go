package explore

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
)

// Steps are the points at which goroutines of a test wait until they are chosen. The zero value is ready to use.
type Steps struct {
	mu      sync.Mutex
	pending []*Step
	round   int
}

// A Step is a goroutine that waits.
type Step struct {
	Name  string
	round int
	goOn  chan error
}

// Wait waits until the step is chosen, and returns the error of [Steps.GoOn], or until ctx ends.
func (s *Steps) Wait(ctx context.Context, name string) error {
	s.mu.Lock()
	step := &Step{name, s.round, make(chan error, 1)}
	s.pending = append(s.pending, step)
	s.mu.Unlock()
	select {
	case err := <-step.goOn:
		return err
	case <-ctx.Done():
		s.remove(step)
		return ctx.Err()
	}
}

func (s *Steps) remove(step *Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.DeleteFunc(s.pending, func(p *Step) bool { return p == step })
}

// Pending waits until all goroutines of the bubble wait, and returns the steps, the oldest first. Those that began at the same time
// are in the order of their names.
func (s *Steps) Pending() []*Step {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	slices.SortStableFunc(s.pending, func(a, b *Step) int {
		return cmp.Or(cmp.Compare(a.round, b.round), strings.Compare(a.Name, b.Name))
	})
	return slices.Clone(s.pending)
}

// GoOn lets the goroutine of a step go on. Its Wait returns err.
func (s *Steps) GoOn(step *Step, err error) {
	s.remove(step)
	step.goOn <- err
}

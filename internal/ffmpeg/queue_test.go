package ffmpeg

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestQueueOrder(t *testing.T) {
	for _, groups := range [][][]string{
		{nil, nil, nil, nil, nil}, {{"a"}, {"a"}, {"a"}, {"a"}, {"a"}}, {{"a"}, nil, {"b"}, nil, {"c"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(1)
			release, err := q.acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for i, groups := range groups {
				go func() {
					release, err := q.acquire(t.Context(), groups...)
					if err != nil {
						t.Error(err)
						return
					}
					got = append(got, i) // one at a time
					release()
				}()
				synctest.Wait()
			}
			release()
			release() // again is nothing
			synctest.Wait()
			if !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
				t.Errorf("%q: got %v", groups, got)
			}
			if len(q.groups) != 0 {
				t.Errorf("left: %v", q.groups)
			}
		})
	}
}

// Of a group, one slot less than there are is taken at a time, but at least one; those without a group may take all.
func TestQueueGroups(t *testing.T) {
	for _, tt := range []struct{ slots, each int }{{1, 1}, {2, 1}, {4, 3}} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(tt.slots)
			var mu sync.Mutex
			running := make(map[string]int)
			count := func(name string) int {
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				return running[name]
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			wait := func(ctx context.Context, name string, groups ...string) {
				for range 10 {
					go func() {
						release, err := q.acquire(ctx, groups...)
						if err != nil {
							if !errors.Is(err, context.Canceled) {
								t.Errorf("got %v", err)
							}
							return
						}
						defer release()
						mu.Lock()
						running[name]++
						mu.Unlock()
						<-done
					}()
				}
			}
			wait(ctx, "slow", "slow")
			if n := count("slow"); n != tt.each {
				t.Errorf("of %d slots a group has %d", tt.slots, n)
			}
			wait(t.Context(), "")
			if n := count(""); n != tt.slots-tt.each {
				t.Errorf("of %d slots %d are left", tt.slots, n)
			}
			cancel() // those of the group that still wait leave
			synctest.Wait()
			close(done)
			if n := count(""); n != 10 {
				t.Errorf("%d of 10 came to run", n)
			}
			if n := count("slow"); n != tt.each {
				t.Errorf("%d ran although they had left", n-tt.each)
			}
			if len(q.groups) != 0 {
				t.Errorf("left: %v", q.groups)
			}
		})
	}
}

// Where a group is within another one, a slow group that is in both of them takes no more than its share.
func TestQueueWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(2)
		for _, groups := range [][]string{{"slow"}, {"slow", "warm"}, {"slow", "warm"}} {
			go func() {
				if release, err := q.acquire(t.Context(), groups...); err == nil {
					<-t.Context().Done()
					release()
				}
			}()
		}
		synctest.Wait()
		for _, groups := range [][]string{{"quick"}, nil, {"quick", "other"}} {
			release, err := q.acquire(t.Context(), groups...) // a bubble in which everybody waits for ever fails
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
	})
}

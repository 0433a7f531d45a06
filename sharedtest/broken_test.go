package sharedtest_test

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/sharedtest"
)

// A broken engine does something wrong in one of its methods.
type broken struct {
	*sharedtest.Machine
	get    func(m *sharedtest.Machine, ctx context.Context, source, variant string) ([]byte, error)
	put    func(m *sharedtest.Machine, ctx context.Context, source, variant string, sealed []byte) error
	remove func(m *sharedtest.Machine, ctx context.Context, source string) error
	lease  func(m *sharedtest.Machine, ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error)
	commit func(m *sharedtest.Machine, ctx context.Context, l thumbcache.Lease, source, variant string, sealed []byte) error
	listen func(m *sharedtest.Machine, ctx context.Context, heard func([]byte)) error
}

func (b broken) Get(ctx context.Context, source, variant string) ([]byte, error) {
	if b.get == nil {
		return b.Machine.Get(ctx, source, variant)
	}
	return b.get(b.Machine, ctx, source, variant)
}

func (b broken) Put(ctx context.Context, source, variant string, sealed []byte) error {
	if b.put == nil {
		return b.Machine.Put(ctx, source, variant, sealed)
	}
	return b.put(b.Machine, ctx, source, variant, sealed)
}

func (b broken) Remove(ctx context.Context, source string) error {
	if b.remove == nil {
		return b.Machine.Remove(ctx, source)
	}
	return b.remove(b.Machine, ctx, source)
}

func (b broken) Lease(ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
	if b.lease == nil {
		return b.Machine.Lease(ctx, source, variant, life)
	}
	return b.lease(b.Machine, ctx, source, variant, life)
}

func (b broken) Commit(ctx context.Context, l thumbcache.Lease, source, variant string, sealed []byte) error {
	if b.commit == nil {
		return b.Machine.Commit(ctx, l, source, variant, sealed)
	}
	return b.commit(b.Machine, ctx, l, source, variant, sealed)
}

func (b broken) Listen(ctx context.Context, heard func([]byte)) error {
	if b.listen == nil {
		return b.Machine.Listen(ctx, heard)
	}
	return b.listen(b.Machine, ctx, heard)
}

// noLease is a lease that another machine has too.
type noLease struct{}

func (noLease) Renew(context.Context) error   { return nil }
func (noLease) Release(context.Context) error { return nil }

// brokenEngines are wrong engines, by the name of the test that must notice.
var brokenEngines = map[string]broken{
	"Values": {get: func(m *sharedtest.Machine, ctx context.Context, source, variant string) ([]byte, error) {
		value, err := m.Get(ctx, source, variant)
		return value[:min(len(value), 64<<10)], err // truncated
	}},
	"NothingStored": {get: func(m *sharedtest.Machine, ctx context.Context, source, variant string) ([]byte, error) {
		value, _ := m.Get(ctx, source, variant)
		return value, nil
	}},
	"Canceled": {get: func(m *sharedtest.Machine, ctx context.Context, source, variant string) ([]byte, error) {
		value, err := m.Get(ctx, source, variant)
		if err != nil {
			err = fs.ErrNotExist // also if the engine was not asked
		}
		return value, err
	}},
	"Frozen": {get: func(m *sharedtest.Machine, _ context.Context, source, variant string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the caller's context is ignored
		defer cancel()
		return m.Get(ctx, source, variant)
	}},
	"Sources": {remove: func(m *sharedtest.Machine, ctx context.Context, source string) error {
		for i := range 16 {
			if err := m.Remove(ctx, source[:63]+"0123456789abcdef"[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}},
	"Replace": {put: func(m *sharedtest.Machine, ctx context.Context, source, variant string, sealed []byte) error {
		if _, err := m.Get(ctx, source, variant); err == nil {
			return nil // the first value stays
		}
		return m.Put(ctx, source, variant, sealed)
	}},
	"Buffers": {put: func(m *sharedtest.Machine, ctx context.Context, source, variant string, sealed []byte) error {
		defer clear(sealed)
		return m.Put(ctx, source, variant, sealed)
	}},
	"LeaseRace": {lease: func(m *sharedtest.Machine, ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
		if lease, err := m.Lease(ctx, source, variant, life); err == nil || ctx.Err() != nil {
			return lease, err
		}
		return noLease{}, nil
	}},
	"LeaseScope": {lease: func(m *sharedtest.Machine, ctx context.Context, source, _ string, life time.Duration) (thumbcache.Lease, error) {
		return m.Lease(ctx, source, "all", life)
	}},
	"LeaseIsNoValue": {lease: func(m *sharedtest.Machine, ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
		if err := m.Put(ctx, source, variant, []byte("lease")); err != nil {
			return nil, err
		}
		return m.Lease(ctx, source, variant, life)
	}},
	"Expiry": {lease: func(m *sharedtest.Machine, ctx context.Context, source, variant string, life time.Duration) (thumbcache.Lease, error) {
		return m.Lease(ctx, source, variant, life/2)
	}},
	"CommitRemoved": {commit: func(m *sharedtest.Machine, ctx context.Context, l thumbcache.Lease, source, variant string, sealed []byte) error {
		err := m.Commit(ctx, l, source, variant, sealed)
		if err == thumbcache.ErrLeaseLost {
			err = m.Put(ctx, source, variant, sealed)
		}
		return err
	}},
	"CommitOtherVariant": {commit: func(m *sharedtest.Machine, ctx context.Context, l thumbcache.Lease, source, _ string, sealed []byte) error {
		return m.Commit(ctx, l, source, "300.jpg", sealed)
	}},
	"Messages": {listen: func(m *sharedtest.Machine, ctx context.Context, heard func([]byte)) error {
		return m.Listen(ctx, func(message []byte) { heard(message[:min(len(message), 1000)]) })
	}},
	"LostConnection": {listen: func(m *sharedtest.Machine, ctx context.Context, heard func([]byte)) error {
		for first := true; ctx.Err() == nil; first = false { // hides that messages may have been missed
			m.Listen(ctx, func(message []byte) {
				if first || message != nil {
					heard(message)
				}
			})
		}
		return ctx.Err()
	}},
}

// TestBroken checks that Run notices broken engines. Each has a process, because a test of it fails.
func TestBroken(t *testing.T) {
	for name, engine := range brokenEngines {
		t.Run(name, func(t *testing.T) {
			if os.Getenv("THUMBCACHE_TEST_BROKEN") != "" {
				runBroken(t, engine)
				return
			}
			t.Parallel()
			child := exec.Command(os.Args[0], "-test.run=^TestBroken$/^"+name+"$/^"+name+"$")
			child.Env = append(os.Environ(), "THUMBCACHE_TEST_BROKEN=1", "GOCOVERDIR="+t.TempDir())
			out, err := child.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBroken/"+name+"/"+name) || strings.Contains(string(out), "panic:") {
				t.Errorf("Run has not noticed it (%v):\n%s", err, out)
			}
		})
	}
}

func runBroken(t *testing.T, engine broken) {
	sharedtest.Run(t, sharedtest.Config{
		Leaser: true, Committer: true, Notifier: true, Bubble: true,
		Open: func(t *testing.T) sharedtest.Engine {
			var memory sharedtest.Memory
			return sharedtest.Engine{
				Machine: func() thumbcache.Shared {
					machine := engine
					machine.Machine = memory.Machine()
					return machine
				},
				Freeze: memory.Freeze, Thaw: memory.Thaw, Disconnect: memory.Disconnect,
			}
		},
	})
}

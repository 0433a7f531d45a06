package sharedtest_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/sharedtest"
)

func TestMemory(t *testing.T) {
	config := sharedtest.Config{
		Leaser: true, Committer: true, Notifier: true,
		Open: func(t *testing.T) sharedtest.Engine {
			var memory sharedtest.Memory
			return sharedtest.Engine{
				Machine:    func() thumbcache.Shared { return memory.Machine() },
				Freeze:     memory.Freeze,
				Thaw:       memory.Thaw,
				Disconnect: memory.Disconnect,
			}
		},
		Bubble: true,
	}
	t.Run("bubble", func(t *testing.T) { sharedtest.Run(t, config) })
	config.Bubble, config.Life = false, 100*time.Millisecond
	t.Run("real time", func(t *testing.T) { sharedtest.Run(t, config) })
}

// TestCompose tests values in one engine, and leases and messages in another.
func TestCompose(t *testing.T) {
	sharedtest.Run(t, sharedtest.Config{
		Leaser: true, Notifier: true,
		Open: func(t *testing.T) sharedtest.Engine {
			var values, turns sharedtest.Memory
			return sharedtest.Engine{
				Machine:    func() thumbcache.Shared { return thumbcache.Compose(plain{values.Machine()}, turns.Machine()) },
				Freeze:     func() { values.Freeze(); turns.Freeze() },
				Thaw:       func() { values.Thaw(); turns.Thaw() },
				Disconnect: turns.Disconnect,
			}
		},
		Bubble: true,
	})
}

// plain hides all abilities of an engine.
type plain struct{ thumbcache.Shared }

func TestPlain(t *testing.T) {
	sharedtest.Run(t, sharedtest.Config{
		Open: func(t *testing.T) sharedtest.Engine {
			var memory sharedtest.Memory
			return sharedtest.Engine{Machine: func() thumbcache.Shared { return plain{memory.Machine()} }}
		},
		Bubble: true,
	})
}

var source = strings.Repeat("0123456789abcdef", 4)

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var memory sharedtest.Memory
		here, there := memory.Machine(), memory.Machine()
		if err := here.Put(t.Context(), source, "300.jpg", []byte("value")); err != nil {
			t.Fatal(err)
		}
		// get checks what a machine gets within a second, and how long it takes.
		get := func(m *sharedtest.Machine, want string, wantErr error, wantTook time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			value, err := m.Get(ctx, source, "300.jpg")
			if string(value) != want || !errors.Is(err, wantErr) || time.Since(start) != wantTook {
				t.Errorf("%q, %v after %v, want %q, %v after %v", value, err, time.Since(start), want, wantErr, wantTook)
			}
		}
		get(there, "value", nil, 0)

		memory.Freeze()
		memory.Freeze() // no effect
		get(here, "", context.DeadlineExceeded, time.Second)
		time.AfterFunc(300*time.Millisecond, memory.Thaw)
		get(here, "value", nil, 300*time.Millisecond)
		memory.Thaw() // no effect

		there.Freeze() // one machine only
		get(there, "", context.DeadlineExceeded, time.Second)
		get(here, "value", nil, 0)
		there.Thaw()

		memory.Slow(200 * time.Millisecond)
		there.Slow(300 * time.Millisecond)
		get(there, "value", nil, 500*time.Millisecond)
		there.Slow(900 * time.Millisecond)
		get(there, "", context.DeadlineExceeded, time.Second)
		memory.Slow(0)
		there.Slow(0)

		full := errors.New("full")
		memory.Fail(full, "Put", "Commit")
		get(here, "value", nil, 0)
		if err := here.Put(t.Context(), source, "300.jpg", []byte("more")); !errors.Is(err, full) {
			t.Errorf("Put: %v, want %v", err, full)
		}
		memory.Fail(full)
		get(here, "", full, 0)
		memory.Fail(nil)

		memory.Garble(func(value []byte) []byte { return bytes.ToUpper(value) })
		get(here, "VALUE", nil, 0)
		memory.Garble(nil)
		get(here, "value", nil, 0)

		if names := memory.Values(); !slices.Equal(names, []string{source + "/300.jpg"}) {
			t.Errorf("Values: %q", names)
		}
		memory.Restart()
		get(here, "", fs.ErrNotExist, 0)
		if names := memory.Values(); len(names) > 0 {
			t.Errorf("Values after Restart: %q", names)
		}
		if n := memory.Calls("Put"); n != 2 {
			t.Errorf("%d calls of Put, want 2", n)
		}
	})
}

// TestListenFaults checks that each loss of a connection ends Listen, on the machines that it is about.
func TestListenFaults(t *testing.T) {
	fault := errors.New("refused")
	for name, test := range map[string]struct {
		begin func(memory *sharedtest.Memory, here *sharedtest.Machine)
		all   bool // machines
	}{
		"Restart":       {func(memory *sharedtest.Memory, _ *sharedtest.Machine) { memory.Restart() }, true},
		"Fail":          {func(memory *sharedtest.Memory, _ *sharedtest.Machine) { memory.Fail(fault) }, true},
		"Disconnect":    {func(memory *sharedtest.Memory, _ *sharedtest.Machine) { memory.Disconnect() }, true},
		"Fail here":     {func(_ *sharedtest.Memory, here *sharedtest.Machine) { here.Fail(fault) }, false},
		"Fail Get only": {func(_ *sharedtest.Memory, here *sharedtest.Machine) { here.Fail(fault, "Get"); here.Disconnect() }, false},
		"too many messages": {func(memory *sharedtest.Memory, here *sharedtest.Machine) {
			here.Freeze()
			for range 1100 {
				memory.Machine().Notify(context.Background(), []byte("message"))
				synctest.Wait() // the other machine hears it
			}
			here.Thaw()
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var memory sharedtest.Memory
				listen := func(ended *atomic.Bool) *sharedtest.Machine {
					m := memory.Machine()
					go func() {
						if err := m.Listen(t.Context(), func([]byte) {}); err == nil {
							t.Error("Listen returned no error")
						}
						ended.Store(true)
					}()
					synctest.Wait()
					return m
				}
				var hereEnded, thereEnded atomic.Bool
				here := listen(&hereEnded)
				listen(&thereEnded)
				test.begin(&memory, here)
				synctest.Wait()
				if !hereEnded.Load() || thereEnded.Load() != test.all {
					t.Errorf("Listen has ended here: %v, there: %v; want true, %v", hereEnded.Load(), thereEnded.Load(), test.all)
				}
			})
		})
	}
}

// TestStrict checks that the engine in memory refuses what thumbcache.Shared does not allow.
func TestStrict(t *testing.T) {
	m := new(sharedtest.Memory).Machine()
	for name, err := range map[string]error{
		"source":        m.Put(t.Context(), source[1:], "300.jpg", []byte("value")),
		"upper case":    m.Remove(t.Context(), strings.ToUpper(source)),
		"no variant":    m.Put(t.Context(), source, "", []byte("value")),
		"slash":         m.Put(t.Context(), source, "a/b", []byte("value")),
		"long variant":  m.Put(t.Context(), source, strings.Repeat("a", 65), []byte("value")),
		"empty value":   m.Put(t.Context(), source, "300.jpg", nil),
		"large value":   m.Put(t.Context(), source, "300.jpg", make([]byte, 1<<20+1)),
		"empty message": m.Notify(t.Context(), nil),
		"large message": m.Notify(t.Context(), make([]byte, 64<<10+1)),
	} {
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v, want fs.ErrInvalid", name, err)
		}
	}
}

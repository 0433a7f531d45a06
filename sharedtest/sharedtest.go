// Package sharedtest tests implementations of [thumbcache.Shared]. It also has one that keeps everything in memory, for tests of
// what uses an engine.
//
// [Run] is for the test of an implementation. [Memory] is an engine with faults that a test can switch on.
package sharedtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache"
)

// A Config describes the engine that [Run] tests.
type Config struct {
	// Open returns the engine for one test. Several tests may use the same one, because each uses sources of its own.
	Open func(t *testing.T) Engine

	// The abilities of the engine. Run tests only these, and fails if the engine has others.
	Leaser, Committer, Notifier bool

	// Life is how long the leases in the tests last. The zero value means one second. Run waits for several of them to end.
	Life time.Duration

	// Bubble runs each test in a bubble of testing/synctest. It is for engines in memory.
	Bubble bool
}

// An Engine is what Config.Open returns.
type Engine struct {
	// Machine returns a new connection, such as another machine has. A test uses at most five.
	Machine func() thumbcache.Shared

	// Freeze makes the engine accept requests without answering, until Thaw. If nil, Run does not test that.
	Freeze, Thaw func()

	// Disconnect breaks all connections. If nil, Run does not test that.
	Disconnect func()
}

// patience is how long tests wait for what must happen soon. It is long, because the machine of the tests may be busy.
const patience = 30 * time.Second

// Run tests an implementation of [thumbcache.Shared], in subtests of t.
func Run(t *testing.T, c Config) {
	if c.Life == 0 {
		c.Life = time.Second
	}
	tests := valueTests
	if c.Leaser {
		tests = append(tests[:len(tests):len(tests)], leaseTests...)
	}
	if c.Committer {
		tests = append(tests[:len(tests):len(tests)], commitTests...)
	}
	if c.Notifier {
		tests = append(tests[:len(tests):len(tests)], notifyTests...)
	}
	for _, test := range tests {
		run := func(t *testing.T) { test.run(newBench(t, c)) }
		t.Run(test.name, func(t *testing.T) {
			if c.Bubble {
				synctest.Test(t, run)
			} else {
				run(t)
			}
		})
	}
}

type conformanceTest struct {
	name string
	run  func(b *bench)
}

// A bench is what one test uses: an engine, and the names of a source that no other test has.
type bench struct {
	*testing.T
	Config
	Engine
	source string
}

func newBench(t *testing.T, c Config) *bench {
	return &bench{t, c, c.Open(t), newSource()}
}

// newSource returns a source that no other test uses.
func newSource() string {
	var hash [32]byte
	rand.Read(hash[:])
	return hex.EncodeToString(hash[:])
}

// random returns a value with all kinds of bytes.
func random(size int) []byte {
	value := make([]byte, size)
	rand.Read(value)
	return value
}

// must stops the test if a call has failed.
func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// wants checks the error of a call.
func (b *bench) wants(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Errorf("the error is %v, want %v", err, want)
	}
}

// has checks that a machine gets a value. A nil value means that there is none.
func (b *bench) has(m thumbcache.Shared, source, variant string, want []byte) {
	b.Helper()
	got, err := m.Get(b.Context(), source, variant)
	switch {
	case want == nil && !errors.Is(err, fs.ErrNotExist):
		b.Errorf("Get of %s: %d bytes, %v, want fs.ErrNotExist", variant, len(got), err)
	case want != nil && (err != nil || !bytes.Equal(got, want)):
		b.Errorf("Get of %s: %d bytes, %v, want %d others", variant, len(got), err, len(want))
	}
}

// noAnswer checks that a call failed without an answer of the engine.
func (b *bench) noAnswer(method string, err error) {
	b.Helper()
	switch {
	case err == nil:
		b.Errorf("%s returned no error", method)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, thumbcache.ErrHeld), errors.Is(err, thumbcache.ErrLeaseLost):
		b.Errorf("%s returned an answer that the engine has not given: %v", method, err)
	}
}

var valueTests = []conformanceTest{
	{"Abilities", testAbilities},
	{"NothingStored", testNothingStored},
	{"Values", testValues},
	{"Variants", testVariants},
	{"Sources", testSources},
	{"Replace", testReplace},
	{"Buffers", testBuffers},
	{"Concurrent", testConcurrent},
	{"RemoveAgainstPuts", testRemoveAgainstPuts},
	{"Canceled", testCanceled},
	{"Frozen", testFrozen},
}

func testAbilities(b *bench) {
	m := b.Machine()
	if _, ok := m.(thumbcache.Leaser); ok != b.Leaser {
		b.Errorf("%T is a Leaser: %v, but Config says %v", m, ok, b.Leaser)
	}
	if _, ok := m.(thumbcache.Committer); ok != b.Committer {
		b.Errorf("%T is a Committer: %v, but Config says %v", m, ok, b.Committer)
	}
	if _, ok := m.(thumbcache.Notifier); ok != b.Notifier {
		b.Errorf("%T is a Notifier: %v, but Config says %v", m, ok, b.Notifier)
	}
}

func testNothingStored(b *bench) {
	m := b.Machine()
	b.has(m, b.source, "1_300.jpg", nil)
	b.must(m.Remove(b.Context(), b.source))
	b.has(m, b.source, "1_300.jpg", nil)
}

func testValues(b *bench) {
	here, there := b.Machine(), b.Machine()
	for name, value := range map[string][]byte{
		"1byte":   {0},
		"text":    []byte("$-1\r\n+OK\r\n*0\r\n\x00"),
		"damaged": []byte("\xff\xd8\xff\xe0 not the rest of a JPEG"),
		"20k":     random(20 << 10),
		"1m":      random(1 << 20), // the largest that a Cache stores
	} {
		b.must(here.Put(b.Context(), b.source, name, value))
		b.has(here, b.source, name, value)
		b.has(there, b.source, name, value)
	}
	b.must(there.Remove(b.Context(), b.source))
	b.has(here, b.source, "1m", nil)
}

func testVariants(b *bench) {
	m := b.Machine()
	values := map[string][]byte{
		"0":                        []byte("the shortest name"),
		strings.Repeat("z", 64):    []byte("the longest name"),
		strings.Repeat("0_.a", 16): []byte("all kinds of characters"),
	}
	for i := range 40 {
		values[fmt.Sprintf("%d_%d.jpg", i%4, i)] = random(100 + i)
	}
	for variant, value := range values {
		b.must(m.Put(b.Context(), b.source, variant, value))
	}
	for variant, value := range values {
		b.has(m, b.source, variant, value)
	}
	b.must(m.Remove(b.Context(), b.source))
	for variant := range values {
		b.has(m, b.source, variant, nil)
	}
}

func testSources(b *bench) {
	m := b.Machine()
	other := b.source[:63] + string("0123456789abcdef"[(strings.Index("0123456789abcdef", b.source[63:])+1)%16])
	b.must(m.Put(b.Context(), b.source, "300.jpg", []byte("one")))
	b.has(m, other, "300.jpg", nil)
	b.must(m.Put(b.Context(), other, "300.jpg", []byte("other")))
	b.has(m, b.source, "300.jpg", []byte("one"))
	b.must(m.Remove(b.Context(), b.source))
	b.has(m, b.source, "300.jpg", nil)
	b.has(m, other, "300.jpg", []byte("other"))
	b.must(m.Remove(b.Context(), other))
}

func testReplace(b *bench) {
	here, there := b.Machine(), b.Machine()
	for _, value := range [][]byte{random(2000), random(3000), random(10)} { // longer, and shorter
		b.must(here.Put(b.Context(), b.source, "300.jpg", value))
		b.has(there, b.source, "300.jpg", value)
		here, there = there, here
	}
}

func testBuffers(b *bench) {
	m, value := b.Machine(), random(5000)
	want := bytes.Clone(value)
	b.must(m.Put(b.Context(), b.source, "300.jpg", value))
	if !bytes.Equal(value, want) {
		b.Error("Put has changed the caller's bytes")
	}
	clear(value)
	got, err := m.Get(b.Context(), b.source, "300.jpg")
	b.must(err)
	clear(got)
	b.has(m, b.source, "300.jpg", want)
}

// testConcurrent checks that no value is a mixture of two.
func testConcurrent(b *bench) {
	var group sync.WaitGroup
	for writer := range 4 {
		m, value := b.Machine(), bytes.Repeat([]byte{byte('a' + writer)}, 30000+1000*writer)
		group.Go(func() {
			for range 25 {
				if err := m.Put(b.Context(), b.source, "300.jpg", value); err != nil {
					b.Error(err)
				}
				got, err := m.Get(b.Context(), b.source, "300.jpg")
				if err != nil || len(got) == 0 || len(got) != 30000+1000*int(got[0]-'a') || bytes.Count(got, got[:1]) != len(got) {
					b.Errorf("Get returned %d bytes of no writer, %v", len(got), err)
				}
			}
		})
	}
	group.Wait()
}

// testRemoveAgainstPuts checks that a Remove after the last Put removes everything, whatever ran concurrently before.
func testRemoveAgainstPuts(b *bench) {
	here, there := b.Machine(), b.Machine()
	for range 10 {
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				if err := here.Put(b.Context(), b.source, fmt.Sprintf("%d.jpg", i), random(1000)); err != nil {
					b.Error(err)
				}
			})
		}
		group.Go(func() {
			if err := there.Remove(b.Context(), b.source); err != nil {
				b.Error(err)
			}
		})
		group.Wait()
		b.must(there.Remove(b.Context(), b.source))
		for i := range 4 {
			b.has(here, b.source, fmt.Sprintf("%d.jpg", i), nil)
		}
	}
}

// testCanceled checks calls whose context has ended before.
func testCanceled(b *bench) {
	m := b.Machine()
	b.must(m.Put(b.Context(), b.source, "300.jpg", []byte("value")))
	ctx, cancel := context.WithCancel(b.Context())
	calls := b.calls(m)
	cancel()
	for method, call := range calls {
		b.noAnswer(method, call(ctx))
	}
	b.has(m, b.source, "300.jpg", []byte("value"))
}

// testFrozen checks that calls to an engine that does not answer end with their context, and that it is useful afterwards.
func testFrozen(b *bench) {
	if b.Freeze == nil {
		return
	}
	m := b.Machine()
	b.must(m.Put(b.Context(), b.source, "300.jpg", []byte("value")))
	calls := b.calls(m)
	b.Freeze()
	defer b.Thaw()
	for method, call := range calls {
		ctx, cancel := context.WithTimeout(b.Context(), 100*time.Millisecond)
		start := time.Now()
		b.noAnswer(method, call(ctx))
		if took := time.Since(start); took > 2*time.Second {
			b.Errorf("%s took %v, although its context ended after 100 ms", method, took)
		}
		cancel()
	}
	b.Thaw()
	b.eventually("Get after Thaw", func() error { // the frozen calls may be executed late
		_, err := m.Get(b.Context(), newSource(), "300.jpg")
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("the error is %w, want fs.ErrNotExist", err)
	})
}

// calls returns one call of each method that the engine has.
func (b *bench) calls(m thumbcache.Shared) map[string]func(ctx context.Context) error {
	calls := map[string]func(ctx context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := m.Get(ctx, b.source, "300.jpg"); return err },
		"Put":    func(ctx context.Context) error { return m.Put(ctx, b.source, "300.jpg", []byte("late")) },
		"Remove": func(ctx context.Context) error { return m.Remove(ctx, b.source) },
	}
	if b.Leaser {
		held := b.lease(m, b.source, "held", long)
		calls["Lease"] = func(ctx context.Context) error {
			_, err := m.(thumbcache.Leaser).Lease(ctx, b.source, "300.jpg", long)
			return err
		}
		calls["Renew"], calls["Release"] = held.Renew, held.Release
		if b.Committer {
			calls["Commit"] = func(ctx context.Context) error {
				return m.(thumbcache.Committer).Commit(ctx, held, b.source, "300.jpg", []byte("late"))
			}
		}
	}
	if b.Notifier {
		calls["Notify"] = func(ctx context.Context) error { return m.(thumbcache.Notifier).Notify(ctx, []byte("late")) }
		calls["Listen"] = func(ctx context.Context) error { return m.(thumbcache.Notifier).Listen(ctx, func([]byte) {}) }
	}
	return calls
}

// eventually repeats try until it succeeds.
func (b *bench) eventually(what string, try func() error) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s: %v", what, err)
		}
	}
}

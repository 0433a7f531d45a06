package sharedtest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/thumbcache/thumbcache"
)

var notifyTests = []conformanceTest{
	{"Messages", testMessages},
	{"ListenEnds", testListenEnds},
	{"ListenConcurrently", testListenConcurrently},
	{"LostConnection", testLostConnection},
	{"FrozenListen", testFrozenListen},
}

// A listener calls Listen again and again, as a Cache does.
type listener struct {
	mu       sync.Mutex // protects the following fields
	begun    int        // calls of heard with nil
	messages [][]byte
	errors   []error
}

// listen starts a listener, and waits until it hears. It ends with the test.
func (b *bench) listen(m thumbcache.Shared) *listener {
	b.Helper()
	var l listener
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			err := m.(thumbcache.Notifier).Listen(ctx, func(message []byte) {
				l.mu.Lock()
				defer l.mu.Unlock()
				if message == nil {
					l.begun++
				} else {
					l.messages = append(l.messages, bytes.Clone(message))
				}
			})
			l.mu.Lock()
			l.errors = append(l.errors, err)
			l.mu.Unlock()
			time.Sleep(10 * time.Millisecond)
		}
	}()
	b.Cleanup(func() { cancel(); <-ended })
	b.eventually("heard(nil)", func() error { return l.hasBegun(1) })
	return &l
}

func (l *listener) hasBegun(times int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun < times {
		return fmt.Errorf("heard(nil) was called %d times, want %d; errors of Listen: %v", l.begun, times, l.errors)
	}
	return nil
}

// firstError returns what Listen returned first, or nil if it has not returned.
func (l *listener) firstError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errors) == 0 {
		return nil
	}
	return l.errors[0]
}

// heard waits until a message has been heard.
func (b *bench) heard(l *listener, message []byte) {
	b.Helper()
	b.eventually("a message", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, m := range l.messages {
			if bytes.Equal(m, message) {
				return nil
			}
		}
		return fmt.Errorf("not among %d messages; errors of Listen: %v", len(l.messages), l.errors)
	})
}

func (b *bench) notify(m thumbcache.Shared, message []byte) {
	b.Helper()
	b.must(m.(thumbcache.Notifier).Notify(b.Context(), message))
}

// testMessages checks that every machine hears all messages, including its own.
func testMessages(b *bench) {
	here, there := b.Machine(), b.Machine()
	b.notify(here, []byte("before anything listens"))
	listeners := []*listener{b.listen(here), b.listen(there)}
	for _, message := range [][]byte{
		[]byte(b.source), // may come from another test otherwise
		append([]byte(b.source+"\x00\r\n\xff"), random(1000)...),
		random(64 << 10), // the longest that a Cache sends
	} {
		b.notify(here, message)
		for _, l := range listeners {
			b.heard(l, message)
		}
		here, there = there, here
	}
	for _, l := range listeners {
		if l.hasBegun(2) == nil || l.firstError() != nil {
			b.Errorf("Listen has ended although the connection is good: %v", l.firstError())
		}
	}
}

// testListenEnds checks that Listen returns soon after its context has ended, with nothing to hear.
func testListenEnds(b *bench) {
	m := b.Machine()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	first := true
	var ended time.Time
	err := m.(thumbcache.Notifier).Listen(ctx, func(message []byte) {
		if first && message != nil {
			b.Error("heard a message before nil")
		}
		first, ended = false, time.Now()
		cancel()
	})
	if err == nil || first {
		b.Errorf("Listen returned %v; heard(nil) was called: %v", err, !first)
	}
	if took := time.Since(ended); took > 5*time.Second {
		b.Errorf("Listen returned %v after its context had ended", took)
	}
}

// testListenConcurrently checks that Listen works beside other calls of the same machine.
func testListenConcurrently(b *bench) {
	m := b.Machine()
	one, two := b.listen(m), b.listen(m)
	b.must(m.Put(b.Context(), b.source, "300.jpg", []byte("value")))
	b.notify(m, []byte(b.source))
	b.heard(one, []byte(b.source))
	b.heard(two, []byte(b.source))
	b.has(m, b.source, "300.jpg", []byte("value"))
}

// testLostConnection checks that Listen returns when its connection is lost, and works when it is called again.
func testLostConnection(b *bench) {
	if b.Disconnect == nil {
		return
	}
	here, there := b.Machine(), b.Machine()
	l := b.listen(here)
	b.notify(there, []byte(b.source+" before"))
	b.heard(l, []byte(b.source+" before"))
	b.Disconnect()
	b.eventually("heard(nil) again", func() error { return l.hasBegun(2) })
	if l.firstError() == nil {
		b.Error("Listen returned no error")
	}
	b.eventually("Notify", func() error { // its connection is lost too
		return there.(thumbcache.Notifier).Notify(b.Context(), []byte(b.source+" after"))
	})
	b.heard(l, []byte(b.source+" after"))
}

// testFrozenListen checks that messages are heard again after a freeze.
func testFrozenListen(b *bench) {
	if b.Freeze == nil {
		return
	}
	here, there := b.Machine(), b.Machine()
	l := b.listen(here)
	b.Freeze()
	defer b.Thaw()
	time.Sleep(100 * time.Millisecond)
	b.Thaw()
	b.eventually("Notify", func() error {
		return there.(thumbcache.Notifier).Notify(b.Context(), []byte(b.source))
	})
	b.heard(l, []byte(b.source))
}

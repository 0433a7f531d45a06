//go:build unix

package redis_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/redis"
)

// newSource returns a source that no other test uses.
func newSource() string {
	var hash [32]byte
	rand.Read(hash[:])
	return hex.EncodeToString(hash[:])
}

func random(size int) []byte {
	value := make([]byte, size)
	rand.Read(value)
	return value
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

// has checks what a store returns. A nil value means that there is none.
func has(t testing.TB, s *redis.Store, source, variant string, want []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), source, variant)
	switch {
	case want == nil:
		wants(t, err, fs.ErrNotExist)
	case err != nil || !bytes.Equal(got, want):
		t.Errorf("Get: %d bytes, %v, want %d others", len(got), err, len(want))
	}
}

// TestRestart kills the server, and starts it again, empty.
func TestRestart(t *testing.T) {
	s := startServer(t)
	store, source := s.open(t, ""), newSource()
	must(t, store.Put(t.Context(), source, "300.jpg", []byte("value")))
	lease, err := store.Lease(t.Context(), source, "64.jpg", time.Minute)
	must(t, err)

	s.kill()
	start := time.Now()
	_, err = store.Get(t.Context(), source, "300.jpg")
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get without a server: %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("Get without a server took %v", took)
	}

	s.start(t)
	has(t, store, source, "300.jpg", nil) // at once
	wants(t, store.Commit(t.Context(), lease, source, "64.jpg", []byte("old")), thumbcache.ErrLeaseLost)
	has(t, store, source, "64.jpg", nil)
	must(t, store.Put(t.Context(), source, "300.jpg", []byte("value")))
	has(t, store, source, "300.jpg", []byte("value"))
}

// TestSentinel kills a server, so that its replica takes over.
func TestSentinel(t *testing.T) {
	t.Parallel()
	main := startServer(t)
	replica := startServer(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(main.port))
	sentinel := startSentinel(t, main)
	admin := goredis.NewSentinelClient(sentinel.admin.Options())
	defer admin.Close()
	eventually(t, func() error { // the Sentinel knows the replica, and the replica has copied everything
		replicas, err := admin.Replicas(t.Context(), "main").Result()
		if err == nil && (len(replicas) != 1 || replicas[0]["master-link-status"] != "ok") {
			err = fmt.Errorf("the replicas are %v", replicas)
		}
		return err
	})
	store, source := open(t, "redis://"+sentinel.addr()+"?master_name=main"), newSource()
	must(t, store.Check(t.Context()))
	must(t, store.Put(t.Context(), source, "300.jpg", []byte("value")))
	lease, err := store.Lease(t.Context(), source, "64.jpg", time.Minute)
	must(t, err)
	must(t, lease.Renew(t.Context()))
	must(t, main.admin.Wait(t.Context(), 1, 10*time.Second).Err()) // until the replica has them too
	listened := make(chan error, 1)
	go func() { listened <- store.Listen(t.Context(), func([]byte) {}) }()

	main.kill()
	if err := <-listened; err == nil {
		t.Error("Listen returned no error")
	}
	eventually(t, func() error { return store.Put(t.Context(), source, "10.jpg", []byte("new")) })
	has(t, store, source, "300.jpg", []byte("value"))
	must(t, store.Commit(t.Context(), lease, source, "64.jpg", []byte("value"))) // leases are replicated too
	if n, err := replica.admin.HLen(t.Context(), "thumbcache:{"+source+"}").Result(); n != 3 || err != nil {
		t.Errorf("the replica has %d fields, %v; want 3", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	wants(t, store.Listen(ctx, func([]byte) { cancel() }), context.Canceled)
}

// TestClusterNodeLost kills one of three nodes, whose slots have no other. Calls end in time, and work again when it is back.
func TestClusterNodeLost(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	store := open(t, clusterURL(nodes))
	var sources []string
	for range 30 {
		sources = append(sources, newSource())
		must(t, store.Put(t.Context(), sources[len(sources)-1], "300.jpg", []byte("value")))
	}
	nodes[2].kill()
	for _, source := range sources {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		value, err := store.Get(ctx, source, "300.jpg")
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("Get returned %v after %v, although its context ended after 100 ms", err, took)
		}
		if errors.Is(err, fs.ErrNotExist) || err == nil && string(value) != "value" {
			t.Errorf("Get: %q, %v", value, err)
		}
		cancel()
	}
	nodes[2].start(t)
	for _, source := range sources {
		eventually(t, func() error { return store.Put(t.Context(), source, "300.jpg", []byte("new")) })
		has(t, store, source, "300.jpg", []byte("new"))
	}
}

// TestFrozenPut checks that a value which the server takes only after its Put has failed does no harm: it is there, complete,
// and Remove removes it.
func TestFrozenPut(t *testing.T) {
	s := startServer(t)
	store, source, value := s.open(t, ""), newSource(), random(20<<10)
	must(t, store.Put(t.Context(), source, "64.jpg", []byte("value"))) // so that there is a connection
	s.freeze()
	defer s.thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wants(t, store.Put(ctx, source, "300.jpg", value), context.DeadlineExceeded)
	s.thaw()
	eventually(t, func() error { _, err := store.Get(t.Context(), source, "300.jpg"); return err })
	has(t, store, source, "300.jpg", value)
	must(t, store.Remove(t.Context(), source))
	has(t, store, source, "300.jpg", nil)
}

// TestFrozenListen checks that Listen notices a server that does not answer, and ends with its context meanwhile.
func TestFrozenListen(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := s.open(t, "")
	begun, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- store.Listen(t.Context(), func([]byte) { close(begun) })
	}()
	<-begun
	s.freeze()
	defer s.thaw()
	start := time.Now()
	err := <-ended
	if took := time.Since(start); err == nil || took > 15*time.Second {
		t.Errorf("Listen returned %v after %v, want an error after 6 s", err, took)
	}

	ctx, cancel := context.WithCancel(t.Context())
	start = time.Now()
	time.AfterFunc(100*time.Millisecond, cancel)
	err = store.Listen(ctx, func([]byte) { t.Error("heard something from a frozen server") })
	if took := time.Since(start); !errors.Is(err, context.Canceled) || took > time.Second {
		t.Errorf("Listen returned %v after %v, want context.Canceled after 100 ms", err, took)
	}
}

// TestQuietListen checks that Listen does not end only because there are no messages.
func TestQuietListen(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := s.open(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second) // two pings
	defer cancel()
	start := time.Now()
	err := store.Listen(ctx, func([]byte) {})
	if took := time.Since(start); took < 8*time.Second {
		t.Errorf("Listen returned %v after %v", err, took)
	}
}

// TestListenClose checks that Close ends Listen.
func TestListenClose(t *testing.T) {
	s := startServer(t)
	store, err := redis.Open("redis://" + s.addr())
	must(t, err)
	err = store.Listen(t.Context(), func([]byte) { go store.Close() })
	if err == nil {
		t.Error("Listen returned no error")
	}
	if err := store.Put(t.Context(), newSource(), "300.jpg", []byte("value")); err == nil {
		t.Error("Put after Close returned no error")
	}
}

// TestScriptFlush checks that leases work when the server has forgotten the scripts.
func TestScriptFlush(t *testing.T) {
	s := startServer(t)
	store, source := s.open(t, ""), newSource()
	flush := func() { must(t, s.admin.ScriptFlush(t.Context()).Err()) }
	lease, err := store.Lease(t.Context(), source, "300.jpg", time.Minute)
	must(t, err)
	flush()
	must(t, lease.Renew(t.Context()))
	flush()
	must(t, store.Commit(t.Context(), lease, source, "300.jpg", []byte("value")))
	flush()
	wants(t, lease.Release(t.Context()), thumbcache.ErrLeaseLost)
	has(t, store, source, "300.jpg", []byte("value"))
}

// TestEviction fills a server that evicts. Nothing fails.
func TestEviction(t *testing.T) {
	s := startServer(t, "--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru")
	store, value := s.open(t, ""), random(100<<10)
	for range 600 { // 60 MB
		source := newSource()
		must(t, store.Put(t.Context(), source, "300.jpg", value))
		has(t, store, source, "300.jpg", value)
		lease, err := store.Lease(t.Context(), newSource(), "64.jpg", time.Minute)
		must(t, err)
		if err := lease.Release(t.Context()); err != nil { // it may have been evicted
			wants(t, err, thumbcache.ErrLeaseLost)
		}
	}
	usage, err := store.Usage(t.Context())
	must(t, err)
	if usage.Bytes > 25<<20 || usage.MaxBytes != 20<<20 || usage.Policy != "allkeys-lru" || usage.Keys < 50 || usage.Evictions < 300 {
		t.Errorf("the server is at %+v", usage)
	}
}

// TestFull uses a server that has no memory left and does not evict.
func TestFull(t *testing.T) {
	s := startServer(t)
	store, source, value := s.open(t, ""), newSource(), random(1<<20)
	must(t, store.Put(t.Context(), source, "300.jpg", value))
	lease, err := store.Lease(t.Context(), source, "64.jpg", time.Minute)
	must(t, err)
	must(t, s.admin.ConfigSet(t.Context(), "maxmemory", "1mb").Err())

	_, err = store.Lease(t.Context(), source, "10.jpg", time.Minute)
	for name, err := range map[string]error{
		"Lease":  err,
		"Put":    store.Put(t.Context(), source, "64.jpg", value),
		"Commit": store.Commit(t.Context(), lease, source, "64.jpg", value),
		"Check":  store.Check(t.Context()),
	} {
		if !goredis.IsOOMError(err) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, thumbcache.ErrLeaseLost) {
			t.Errorf("%s in a full server: %v", name, err)
		}
	}
	has(t, store, source, "300.jpg", value)
	has(t, store, source, "64.jpg", nil)
	must(t, lease.Release(t.Context())) // needs no memory
	must(t, store.Notify(t.Context(), []byte("message")))
	must(t, store.Remove(t.Context(), source))
	has(t, store, source, "300.jpg", nil)

	must(t, s.admin.ConfigSet(t.Context(), "maxmemory", "100mb").Err())
	must(t, store.Put(t.Context(), source, "64.jpg", value))
	has(t, store, source, "64.jpg", value)
}

// TestWrongType checks that foreign data under the key of a source is an error, until Remove removes it.
func TestWrongType(t *testing.T) {
	s := startServer(t)
	store, source := s.open(t, ""), newSource()
	must(t, s.admin.Set(t.Context(), "thumbcache:{"+source+"}", "foreign", 0).Err())
	if _, err := store.Get(t.Context(), source, "300.jpg"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get: %v", err)
	}
	if _, err := store.Lease(t.Context(), source, "300.jpg", time.Minute); err == nil || errors.Is(err, thumbcache.ErrHeld) {
		t.Errorf("Lease: %v", err)
	}
	must(t, store.Remove(t.Context(), source))
	must(t, store.Put(t.Context(), source, "300.jpg", []byte("value")))
	has(t, store, source, "300.jpg", []byte("value"))
}

// TestForeignLease checks that a lease with a meaningless value is free.
func TestForeignLease(t *testing.T) {
	s := startServer(t)
	store := s.open(t, "")
	for _, foreign := range []string{"", "x", "abc", ":", "12:", ":12", "ab:12x", "zz:99999999999999", strings.Repeat("9", 1000)} {
		source := newSource()
		must(t, s.admin.HSet(t.Context(), "thumbcache:{"+source+"}", "lease:300.jpg", foreign).Err())
		lease, err := store.Lease(t.Context(), source, "300.jpg", time.Minute)
		if err != nil {
			t.Errorf("%q: %v", foreign, err)
			continue
		}
		must(t, lease.Release(t.Context()))
	}
}

// TestGarbage talks to servers that answer nonsense.
func TestGarbage(t *testing.T) {
	for name, answer := range map[string]string{
		"HTTP":           "HTTP/1.1 400 Bad Request\r\n\r\n",
		"zeros":          strings.Repeat("\x00", 100000),
		"number":         ":5\r\n",
		"empty array":    "*0\r\n",
		"nested arrays":  strings.Repeat("*1\r\n", 1000),
		"array of 1":     "*1\r\n:5\r\n",
		"null":           "$-1\r\n",
		"large length":   "$999999999999\r\nx",
		"large array":    "*2147483647\r\n",
		"push":           ">3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
		"OK":             "+OK\r\n",
		"map":            "%1\r\n+server\r\n+redis\r\n",
		"unending line":  strings.Repeat("+x", 100000),
		"error":          "-ERR unknown\r\n",
		"closed":         "",
		"moved":          "-MOVED 1 127.0.0.1:1\r\n",
		"moved, badly":   "-MOVED \r\n",
		"negative":       "*-7\r\n",
		"negative bulks": "$-7\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := serve(t, func(int) string { return answer })
			for _, query := range []string{"", "?cluster=true", "?master_name=main"} {
				tryAll(t, open(t, "redis://"+addr+query))
			}
		})
	}
}

// TestHostile talks to servers that work until the client is connected, and then announce more than there is memory for. Without
// the limits, such a length ends the process.
func TestHostile(t *testing.T) {
	for _, answer := range []string{"$99999999999\r\n", "*2147483647\r\n", "%2147483647\r\n", ">2147483647\r\n", "=99999999999\r\n",
		strings.Repeat("*1\r\n", 1<<22), strings.Repeat("|0\r\n", 1<<22), strings.Repeat("*200000\r\n", 1<<20)} {
		t.Run(answer[:5], func(t *testing.T) {
			t.Parallel()
			addr := serve(t, func(request int) string {
				if request == 0 {
					return "-ERR unknown command 'hello'\r\n"
				}
				return "+OK\r\n" + answer
			})
			tryAll(t, open(t, "redis://"+addr+"?client_name=x"))
			tryAll(t, open(t, "redis://"+addr))
			tryAll(t, open(t, "redis://"+addr+"?cluster=true"))
			tryAll(t, open(t, "redis://"+addr+"?master_name=main"))
		})
	}
}

// TestLargeValue checks that a value which no Cache has stored does not reach the memory of the program.
func TestLargeValue(t *testing.T) {
	s := startServer(t)
	store, source := s.open(t, ""), newSource()
	must(t, s.admin.HSet(t.Context(), "thumbcache:{"+source+"}", "300.jpg", make([]byte, 1<<20+1), "64.jpg", "value").Err())
	if value, err := store.Get(t.Context(), source, "300.jpg"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get: %d bytes, %v", len(value), err)
	}
	has(t, store, source, "64.jpg", []byte("value"))

	lease, err := store.Lease(t.Context(), source, "64.jpg", time.Minute)
	must(t, err)
	wants(t, store.Put(t.Context(), source, "64.jpg", make([]byte, 1<<20+1)), fs.ErrInvalid)
	wants(t, store.Commit(t.Context(), lease, source, "64.jpg", make([]byte, 1<<20+1)), fs.ErrInvalid)
	has(t, store, source, "64.jpg", []byte("value"))
}

// serve starts a server for the test. It sends the answer to each request of a connection, and closes the connection if it is
// empty.
func serve(t *testing.T, answer func(request int) string) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	connection := func(conn net.Conn) {
		defer conn.Close()
		buf := make([]byte, 4096)
		for request := 0; ; request++ {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			text := answer(request)
			if _, err := conn.Write([]byte(text)); err != nil || text == "" {
				return
			}
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go connection(conn)
		}
	}()
	return l.Addr().String()
}

// tryAll calls each method of a store that cannot work. They need not fail, because "OK" is an answer, but must end in time.
func tryAll(t *testing.T, store *redis.Store) {
	t.Helper()
	source := newSource()
	for name, call := range map[string]func(ctx context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := store.Get(ctx, source, "300.jpg"); return err },
		"Put":    func(ctx context.Context) error { return store.Put(ctx, source, "300.jpg", []byte("value")) },
		"Remove": func(ctx context.Context) error { return store.Remove(ctx, source) },
		"Lease": func(ctx context.Context) error {
			_, err := store.Lease(ctx, source, "300.jpg", time.Second)
			return err
		},
		"Notify": func(ctx context.Context) error { return store.Notify(ctx, []byte("message")) },
		"Listen": func(ctx context.Context) error { return store.Listen(ctx, func([]byte) {}) },
		"Check":  store.Check,
		"Usage":  func(ctx context.Context) error { _, err := store.Usage(ctx); return err },
		"Walk": func(ctx context.Context) error {
			return store.Walk(ctx, func(_, _ string, _ []byte) error { return nil })
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		err := call(ctx)
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s returned %v after %v, although its context ended after 50 ms", name, err, took)
		}
		if err == nil && (name == "Listen" || name == "Check") {
			t.Errorf("%s returned no error", name)
		}
		cancel()
	}
}

// TestStorm checks that many callers of a frozen server all return in time, and that the store works afterwards.
func TestStorm(t *testing.T) {
	s := startServer(t)
	store, source := s.open(t, ""), newSource()
	must(t, store.Put(t.Context(), source, "300.jpg", []byte("value")))
	s.freeze()
	defer s.thaw()
	took := make(chan time.Duration)
	for range 200 {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			if _, err := store.Get(ctx, source, "300.jpg"); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Get from a frozen server: %v", err)
			}
			took <- time.Since(start)
		}()
	}
	var slowest time.Duration
	for range 200 {
		slowest = max(slowest, <-took)
	}
	if slowest > 2*time.Second {
		t.Errorf("Get took %v, although its context ended after 100 ms", slowest)
	}
	s.thaw()
	eventually(t, func() error {
		value, err := store.Get(t.Context(), source, "300.jpg")
		if err == nil && string(value) != "value" {
			err = fmt.Errorf("Get returned %q", value)
		}
		return err
	})
}

//go:build unix

package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/thumbcache/thumbcache/redis"
)

// A server is a redis-server on a free port of the loopback.
type server struct {
	port     int
	args     []string
	dir      string
	sentinel string // its configuration file; empty if this is no Sentinel
	cmd      *exec.Cmd
	exited   chan struct{}
	admin    *goredis.Client
}

// startServer starts a server that ends with the test. It skips the test if there is no redis-server.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("THUMBCACHE_REQUIRE_REDIS") != "" {
			t.Fatal(err)
		}
		t.Skip("redis-server is not installed")
	}
	s := &server{port: freePort(t), args: args, dir: t.TempDir()}
	t.Cleanup(s.kill)
	s.start(t)
	return s
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// start starts the process, and waits until it answers.
func (s *server) start(t testing.TB) {
	t.Helper()
	args := []string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--loglevel", "warning"}
	if s.sentinel != "" {
		args = []string{s.sentinel, "--sentinel", "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1"}
	}
	s.cmd = exec.Command("redis-server", append(args, s.args...)...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func(cmd *exec.Cmd) { cmd.Wait(); close(exited) }(s.cmd)
	s.exited = exited
	options := &goredis.Options{Addr: s.addr(), ContextTimeoutEnabled: true, MaxRetries: -1}
	for i, arg := range s.args {
		if arg == "--requirepass" {
			options.Password = s.args[i+1]
		}
	}
	s.admin = goredis.NewClient(options)
	eventually(t, func() error {
		select {
		case <-exited:
			t.Fatalf("redis-server %q has exited", args)
		default:
		}
		return s.admin.Ping(t.Context()).Err()
	})
}

// kill ends the process at once, as kill -9 does.
func (s *server) kill() {
	if s.cmd != nil {
		s.admin.Close()
		s.cmd.Process.Kill()
		<-s.exited
		s.cmd = nil
	}
}

// freeze stops the process. Its connections stay open, and accept requests.
func (s *server) freeze() { s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *server) thaw()   { s.cmd.Process.Signal(syscall.SIGCONT) }

// disconnect breaks all connections except its own.
func (s *server) disconnect() {
	for _, kind := range []string{"normal", "pubsub"} {
		s.admin.ClientKillByFilter(context.Background(), "TYPE", kind, "SKIPME", "yes")
	}
}

// startCluster starts three servers that are one Cluster.
func startCluster(t testing.TB) []*server {
	t.Helper()
	var nodes []*server
	for range 3 {
		nodes = append(nodes, startServer(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)), "--cluster-node-timeout", "2000"))
	}
	const slots = 16384
	for i, node := range nodes {
		if err := node.admin.ClusterAddSlotsRange(t.Context(), i*slots/3, (i+1)*slots/3-1).Err(); err != nil {
			t.Fatal(err)
		}
		bus := nodes[0].args[3]
		if err := node.admin.Do(t.Context(), "CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range nodes {
		eventually(t, func() error {
			info, err := node.admin.ClusterInfo(t.Context()).Result()
			if err == nil && !(strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")) {
				err = fmt.Errorf("the cluster is not ready: %s", info)
			}
			return err
		})
	}
	return nodes
}

// startSentinel starts a Sentinel for a server that it calls "main".
func startSentinel(t testing.TB, main *server) *server {
	t.Helper()
	s := &server{port: freePort(t), sentinel: filepath.Join(t.TempDir(), "sentinel.conf")}
	must(t, os.WriteFile(s.sentinel, fmt.Appendf(nil, `
		sentinel monitor main 127.0.0.1 %d 1
		sentinel down-after-milliseconds main 1000
		sentinel failover-timeout main 5000
		loglevel warning
	`, main.port), 0o600))
	t.Cleanup(s.kill)
	s.start(t)
	return s
}

// eventually repeats try until it succeeds.
func eventually(t testing.TB, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// open opens a store that ends with the test.
func open(t testing.TB, url string) *redis.Store {
	t.Helper()
	store, err := redis.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func (s *server) open(t testing.TB, query string) *redis.Store {
	t.Helper()
	return open(t, "redis://"+s.addr()+"/0?"+query)
}

func clusterURL(nodes []*server) string {
	return "redis://" + nodes[0].addr() + "?cluster=true&addr=" + nodes[1].addr() + "&addr=" + nodes[2].addr()
}

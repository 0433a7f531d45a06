//go:build unix

package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache/redis"
)

// scaleRights returns the rights of a user in a command of docs/scale.md, and those that a Cluster needs besides.
func scaleRights(t *testing.T) (user, cluster []string) {
	t.Helper()
	page, err := os.ReadFile("../docs/scale.md")
	must(t, err)
	command := regexp.MustCompile(`ACL SETUSER thumbs on >a-long-password (.*)\n`).FindSubmatch(page)
	more := regexp.MustCompile("In a Cluster the user also needs `([^`]*)`").FindSubmatch(page)
	if command == nil || more == nil {
		t.Fatal("docs/scale.md names no rights")
	}
	return strings.Fields(string(command[1])), strings.Fields(string(more[1]))
}

// setUser replaces the user thumbs.
func (s *server) setUser(t *testing.T, rights []string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", "thumbs", "reset", "on", ">secret"}
	for _, r := range rights {
		args = append(args, r)
	}
	must(t, s.admin.Do(t.Context(), args...).Err())
}

// useAll uses everything that a store can do. It returns the first error.
func useAll(ctx context.Context, url, query string) error {
	for _, more := range []string{"ttl=720h", "ttl=-1s"} {
		store, err := redis.Open(url + "?" + more + query)
		if err != nil {
			return err
		}
		defer store.Close()
		source := newSource()
		if err := store.Check(ctx); err != nil {
			return err
		}
		if err := store.Put(ctx, source, "300.jpg", []byte("value")); err != nil {
			return err
		}
		if _, err := store.Get(ctx, source, "300.jpg"); err != nil {
			return err
		}
		lease, err := store.Lease(ctx, source, "64.jpg", time.Minute)
		if err != nil {
			return err
		}
		if err := errors.Join(lease.Renew(ctx), lease.Release(ctx)); err != nil {
			return err
		}
		_, err = store.Usage(ctx)
		if err != nil {
			return err
		}
		if err := store.Walk(ctx, func(_, _ string, _ []byte) error { return nil }); err != nil {
			return err
		}
		listening, cancel := context.WithCancel(ctx)
		if err := store.Listen(listening, func([]byte) { cancel() }); !errors.Is(err, context.Canceled) {
			return err
		}
		if err := store.Remove(ctx, source); err != nil {
			return err
		}
	}
	return nil
}

// TestScaleRights checks that the rights in docs/scale.md are enough, and that none of them is in vain.
func TestScaleRights(t *testing.T) {
	s := startServer(t)
	user, cluster := scaleRights(t)
	url := "redis://thumbs:secret@" + s.addr()
	s.setUser(t, user)
	must(t, useAll(t.Context(), url, ""))

	// Redis allows these to all users, or the client goes on without them.
	harmless := []string{"+auth", "+hello", "+ping", "+select", "+pttl"}
	for i, right := range user {
		if slices.Contains(harmless, right) {
			continue
		}
		s.setUser(t, slices.Delete(slices.Clone(user), i, i+1))
		must(t, s.admin.ScriptFlush(t.Context()).Err()) // EVAL loads them again
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if err := useAll(ctx, url, ""); err == nil {
			t.Errorf("nothing needs the right %s", right)
		}
		cancel()
	}

	nodes := startCluster(t)
	for _, node := range nodes {
		node.setUser(t, append(slices.Clone(user), cluster...))
	}
	url = fmt.Sprintf("redis://thumbs:secret@%s", nodes[0].addr())
	must(t, useAll(t.Context(), url, "&cluster=true"))
}

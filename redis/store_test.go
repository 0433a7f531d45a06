//go:build unix

package redis_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/redis"
)

// TestTTL checks when a source expires.
func TestTTL(t *testing.T) {
	s := startServer(t)
	const day, month = 24 * time.Hour, 30 * 24 * time.Hour
	store, source, key := s.open(t, ""), "", ""
	fresh := func() { source = newSource(); key = "thumbcache:{" + source + "}" }
	// left checks the time that the source has left. Zero means that it does not expire.
	left := func(want time.Duration) {
		t.Helper()
		got, err := s.admin.PTTL(t.Context(), key).Result()
		must(t, err)
		if want == 0 && got != -1 || want != 0 && (got > want || got < want-10*time.Second) {
			t.Errorf("the source has %v left, want %v", got, want)
		}
	}
	expire := func(left time.Duration) { t.Helper(); must(t, s.admin.PExpire(t.Context(), key, left).Err()) }
	lease := func(life time.Duration) thumbcache.Lease {
		t.Helper()
		l, err := store.Lease(t.Context(), source, "64.jpg", life)
		must(t, err)
		must(t, l.Renew(t.Context()))
		return l
	}

	fresh() // stored
	must(t, store.Put(t.Context(), source, "300.jpg", []byte("value")))
	left(month)
	expire(month - 30*time.Minute) // used, after less than an hour
	has(t, store, source, "300.jpg", []byte("value"))
	left(month - 30*time.Minute)
	expire(month - 2*time.Hour) // not there, which is no use
	has(t, store, source, "64.jpg", nil)
	left(month - 2*time.Hour)
	has(t, store, source, "300.jpg", []byte("value")) // used, after more than an hour
	left(month)
	expire(day)
	must(t, store.Put(t.Context(), source, "64.jpg", []byte("another")))
	left(month)

	fresh() // leased
	l := lease(time.Minute)
	left(time.Minute)
	has(t, store, source, "64.jpg", nil)
	expire(20 * time.Second)
	must(t, l.Renew(t.Context()))
	left(time.Minute)
	must(t, store.Commit(t.Context(), l, source, "64.jpg", []byte("value")))
	left(month)
	must(t, lease(time.Minute).Release(t.Context()))
	left(month)
	expire(time.Second)
	must(t, lease(time.Minute).Renew(t.Context())) // the source must not take the lease with it
	left(time.Minute)

	fresh() // with leases only, nothing is left
	must(t, lease(time.Minute).Release(t.Context()))
	if n, err := s.admin.Exists(t.Context(), key).Result(); n != 0 || err != nil {
		t.Errorf("a released lease has left something (%v)", err)
	}

	store = s.open(t, "ttl=-1s")
	for _, stored := range []func() error{
		func() error { return store.Put(t.Context(), source, "64.jpg", []byte("value")) },
		func() error { return store.Commit(t.Context(), lease(time.Minute), source, "64.jpg", []byte("value")) },
	} {
		fresh()
		must(t, stored())
		left(0)
		must(t, lease(time.Minute).Release(t.Context()))
		left(0)
		expire(day) // by another machine, with a TTL
		must(t, stored())
		left(0)
		has(t, store, source, "64.jpg", []byte("value"))
	}
	store = s.open(t, "ttl=2m")
	fresh()
	must(t, store.Put(t.Context(), source, "300.jpg", []byte("value")))
	left(2 * time.Minute)
	expire(50 * time.Second)
	has(t, store, source, "300.jpg", []byte("value"))
	left(2 * time.Minute)
}

// TestFirstLife checks that a lease ends soon unless it is renewed: its holder may never have got the answer.
func TestFirstLife(t *testing.T) {
	s := startServer(t)
	store, source := s.open(t, ""), newSource()
	left := func() time.Duration { // until the lease ends
		t.Helper()
		field, err := s.admin.HGet(t.Context(), "thumbcache:{"+source+"}", "lease:300.jpg").Result()
		must(t, err)
		_, end, _ := strings.Cut(field, ":")
		ms, err := strconv.ParseInt(end, 10, 64)
		must(t, err)
		now, err := s.admin.Time(t.Context()).Result()
		must(t, err)
		return time.UnixMilli(ms).Sub(now)
	}
	lease, err := store.Lease(t.Context(), source, "300.jpg", time.Minute)
	must(t, err)
	if l := left(); l > 2*time.Second {
		t.Errorf("the lease ends in %v, want 2 s", l)
	}
	must(t, lease.Renew(t.Context()))
	if l := left(); l > time.Minute || l < 50*time.Second {
		t.Errorf("after its renewal the lease ends in %v, want a minute", l)
	}
}

// TestPrefix checks that stores with different prefixes share nothing.
func TestPrefix(t *testing.T) {
	s := startServer(t)
	one, other, source := s.open(t, ""), s.open(t, "prefix=a*[b]?c\\:"), newSource()
	must(t, one.Put(t.Context(), source, "300.jpg", []byte("one")))
	has(t, other, source, "300.jpg", nil)
	must(t, other.Put(t.Context(), source, "300.jpg", []byte("other")))
	_, err := one.Lease(t.Context(), source, "300.jpg", time.Minute)
	must(t, err)
	_, err = other.Lease(t.Context(), source, "300.jpg", time.Minute)
	must(t, err)
	if values := walk(t, other); len(values) != 1 || values[source+"/300.jpg"] != "other" {
		t.Errorf("Walk: %v", values)
	}
	must(t, other.Remove(t.Context(), source))
	has(t, one, source, "300.jpg", []byte("one"))

	err = one.Listen(t.Context(), func(message []byte) {
		if message == nil {
			must(t, other.Notify(t.Context(), []byte("of the other")))
			must(t, one.Notify(t.Context(), []byte("of this one")))
		} else {
			if string(message) != "of this one" {
				t.Errorf("heard %q", message)
			}
			go one.Close()
		}
	})
	if err == nil {
		t.Error("Listen returned no error")
	}
}

func walk(t *testing.T, store *redis.Store) map[string]string {
	t.Helper()
	values := make(map[string]string)
	must(t, store.Walk(t.Context(), func(source, variant string, sealed []byte) error {
		values[source+"/"+variant] = string(sealed)
		return nil
	}))
	return values
}

func testWalk(t *testing.T, store *redis.Store, admin goredis.Cmdable) {
	want := make(map[string]string)
	for i := range 300 {
		source := newSource()
		for j := range 1 + i%30 {
			variant, value := fmt.Sprintf("%d.jpg", j), random(1+100*j)
			must(t, store.Put(t.Context(), source, variant, value))
			want[source+"/"+variant] = string(value)
		}
		_, err := store.Lease(t.Context(), source, "300.jpg", time.Minute)
		must(t, err)
	}
	usage, err := store.Usage(t.Context())
	must(t, err)
	if usage.Keys != 300 || usage.Bytes < 100<<10 || usage.Policy != "noeviction" {
		t.Errorf("Usage: %+v", usage)
	}
	// None of these is a source.
	must(t, admin.Set(t.Context(), "thumbcache:{"+newSource()+"}", "text", 0).Err())
	must(t, admin.HSet(t.Context(), "thumbcache:{source}", "field", "value").Err())
	must(t, admin.HSet(t.Context(), "thumbcache:{"+strings.ToUpper(newSource())+"}", "field", "value").Err())
	must(t, admin.HSet(t.Context(), "other:{"+newSource()+"}", "field", "value").Err())

	got := walk(t, store)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("Walk: %s has %d bytes, want %d others", name, len(got[name]), len(value))
		}
	}
	if len(got) != len(want) {
		t.Errorf("Walk: %d values, want %d", len(got), len(want))
	}
	enough, calls := errors.New("enough"), 0
	wants(t, store.Walk(t.Context(), func(_, _ string, _ []byte) error { calls++; return enough }), enough)
	if calls != 1 {
		t.Errorf("Walk called fn %d times, although it returned an error", calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	wants(t, store.Walk(ctx, func(_, _ string, _ []byte) error { cancel(); return nil }), context.Canceled)
}

func TestWalk(t *testing.T) {
	s := startServer(t)
	testWalk(t, s.open(t, ""), s.admin)
}

func TestWalkCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	store := open(t, clusterURL(nodes))
	admin := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: []string{nodes[0].addr()}})
	defer admin.Close()
	testWalk(t, store, admin)
	for _, node := range nodes {
		if n, err := node.admin.DBSize(t.Context()).Result(); n < 50 || err != nil {
			t.Errorf("a node has %d keys, %v; the sources are not spread", n, err)
		}
	}
}

// TestDatabase checks that the number of the database is used.
func TestDatabase(t *testing.T) {
	s := startServer(t)
	source := newSource()
	must(t, open(t, "redis://"+s.addr()+"/3").Put(t.Context(), source, "300.jpg", []byte("value")))
	has(t, s.open(t, ""), source, "300.jpg", nil)
	has(t, open(t, "redis://"+s.addr()+"?db=3"), source, "300.jpg", []byte("value"))
}

// TestUnixSocket checks URLs of sockets.
func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "") // short, because the path of a socket is limited
	must(t, err)
	defer os.RemoveAll(dir)
	startServer(t, "--unixsocket", dir+"/s")
	must(t, open(t, "unix://"+dir+"/s?db=1").Check(t.Context()))
}

// TestTLS checks that certificates are verified.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	file := filepath.Join(t.TempDir(), "pem")
	must(t, os.WriteFile(file, append(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), 0o600))
	port := strconv.Itoa(freePort(t))
	startServer(t, "--tls-port", port, "--tls-cert-file", file, "--tls-key-file", file, "--tls-ca-cert-file", file, "--tls-auth-clients", "no")

	must(t, open(t, "rediss://127.0.0.1:"+port+"?skip_verify=true").Check(t.Context()))
	var unknown x509.UnknownAuthorityError
	if err := open(t, "rediss://127.0.0.1:"+port).Check(t.Context()); !errors.As(err, &unknown) {
		t.Errorf("with an unknown certificate: %v", err)
	}
}

// TestCheck checks the errors of wrong settings. None contains a secret.
func TestCheck(t *testing.T) {
	t.Parallel()
	const password = "correct-horse"
	s, plain, node := startServer(t, "--requirepass", password), startServer(t), startServer(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(freePort(t)))
	rights := documentedRights(t)
	must(t, s.admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "thumbs", "on", ">" + password}, rights...)...).Err())
	must(t, s.admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "deaf", "on", ">" + password}, append(rights, "resetchannels")...)...).Err())
	must(t, s.admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "reader", "on", ">" + password}, append(rights, "-@write")...)...).Err())
	silent := "127.0.0.1:" + fmt.Sprint(freePort(t))
	for _, test := range []struct {
		url  string
		want error // nil: none of fs.ErrPermission and fs.ErrInvalid
		ok   bool
	}{
		{url: "redis://" + plain.addr(), ok: true},
		{url: "redis://:" + password + "@" + s.addr(), ok: true},
		{url: "redis://default:" + password + "@" + s.addr(), ok: true},
		{url: "redis://thumbs:" + password + "@" + s.addr(), ok: true},
		{url: "redis://" + s.addr(), want: fs.ErrPermission},
		{url: "redis://:secret-1@" + s.addr(), want: fs.ErrPermission},
		{url: "redis://thumbs:secret-1@" + s.addr(), want: fs.ErrPermission},
		{url: "redis://nobody:secret-1@" + s.addr(), want: fs.ErrPermission},
		{url: "redis://deaf:" + password + "@" + s.addr(), want: fs.ErrPermission},
		{url: "redis://reader:" + password + "@" + s.addr(), want: fs.ErrPermission},
		{url: "redis://thumbs:" + password + "@" + s.addr() + "?prefix=other:", want: fs.ErrPermission},
		{url: "redis://" + plain.addr() + "/99", want: fs.ErrInvalid},
		{url: "redis://" + plain.addr() + "?cluster=true", want: fs.ErrInvalid},
		{url: "redis://" + plain.addr() + "?master_name=main", want: fs.ErrInvalid}, // no Sentinel
		{url: "redis://" + node.addr()},                                             // a Cluster without slots
		{url: "redis://" + silent},
		{url: "redis://:secret-1@" + silent},
		{url: "rediss://:secret-1@" + plain.addr()}, // no TLS there
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := open(t, test.url).Check(ctx)
		if (err == nil) != test.ok || test.want != nil && !errors.Is(err, test.want) ||
			test.want == nil && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid)) {
			t.Errorf("%s: %v, want %v", test.url, err, test.want)
		}
		if err != nil && (strings.Contains(err.Error(), "secret-1") || strings.Contains(err.Error(), password)) {
			t.Errorf("the error contains a secret: %v", err)
		}
	}
	for _, srv := range []*server{s, plain} {
		if n, err := srv.admin.DBSize(t.Context()).Result(); n > 2 || err != nil { // "deaf" and "reader" fail halfway
			t.Errorf("Check has left %d keys, %v", n, err)
		}
	}
}

// TestRefused checks that no method succeeds if the server refuses all connections.
func TestRefused(t *testing.T) {
	s := startServer(t, "--requirepass", "correct-horse")
	store, source := open(t, "redis://:secret-1@"+s.addr()), newSource()
	_, getErr := store.Get(t.Context(), source, "300.jpg")
	_, leaseErr := store.Lease(t.Context(), source, "300.jpg", time.Minute)
	_, usageErr := store.Usage(t.Context())
	for name, err := range map[string]error{
		"Get":    getErr,
		"Put":    store.Put(t.Context(), source, "300.jpg", []byte("value")),
		"Remove": store.Remove(t.Context(), source),
		"Lease":  leaseErr,
		"Notify": store.Notify(t.Context(), []byte("message")),
		"Listen": store.Listen(t.Context(), func([]byte) {}),
		"Usage":  usageErr,
		"Walk":   store.Walk(t.Context(), func(_, _ string, _ []byte) error { return nil }),
	} {
		if !goredis.IsAuthError(err) {
			t.Errorf("%s: %v, want WRONGPASS", name, err)
		}
	}
}

// documentedRights returns the rights of a user that the documentation of the package names.
func documentedRights(t *testing.T) (rights []any) {
	t.Helper()
	src, err := os.ReadFile("redis.go")
	must(t, err)
	line := regexp.MustCompile(`(?m)^//\t(~thumbcache:.*)$`).FindSubmatch(src)
	if line == nil {
		t.Fatal("the documentation names no rights")
	}
	for _, right := range bytes.Fields(line[1]) {
		rights = append(rights, string(right))
	}
	return rights
}

// TestRights runs everything as a user with the documented rights.
func TestRights(t *testing.T) {
	s := startServer(t)
	must(t, s.admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "thumbs", "on", ">secret"}, documentedRights(t)...)...).Err())
	store, source := open(t, "redis://thumbs:secret@"+s.addr()), newSource()
	must(t, store.Check(t.Context()))
	must(t, store.Put(t.Context(), source, "300.jpg", []byte("value")))
	lease, err := store.Lease(t.Context(), source, "64.jpg", time.Minute)
	must(t, err)
	must(t, lease.Renew(t.Context()))
	must(t, lease.Release(t.Context()))
	_, err = store.Usage(t.Context())
	must(t, err)
	if n := len(walk(t, store)); n != 1 {
		t.Errorf("Walk: %d values, want 1", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	wants(t, store.Listen(ctx, func([]byte) { cancel() }), context.Canceled)
}

// TestNew checks clients of the caller.
func TestNew(t *testing.T) {
	s := startServer(t)
	client := goredis.NewClient(&goredis.Options{Addr: s.addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	store, err := redis.New(client, redis.Options{})
	must(t, err)
	must(t, store.Close())
	must(t, store.Check(t.Context())) // Close has not closed the caller's client

	for name, bad := range map[string]struct {
		client goredis.UniversalClient
		o      redis.Options
	}{
		"brace":              {client, redis.Options{Prefix: "a{b"}},
		"TTL":                {client, redis.Options{TTL: time.Second}},
		"deadlines, single":  {goredis.NewClient(&goredis.Options{}), redis.Options{}},
		"deadlines, cluster": {goredis.NewClusterClient(&goredis.ClusterOptions{}), redis.Options{}},
	} {
		_, err := redis.New(bad.client, bad.o)
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v, want fs.ErrInvalid", name, err)
		}
	}
}

//go:build unix

package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/thumbcache/thumbcache"
)

// hash returns a source.
func hash(i int) string { return fmt.Sprintf("%064x", i) }

// file returns the file in which the server keeps an object.
func (s *server) file(elem ...string) string {
	return filepath.Join(append([]string{s.dir, bucket, "some", "prefix"}, elem...)...)
}

func TestCheck(t *testing.T) {
	server := newServer(t)
	store := server.open()
	for range 2 {
		if err := store.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(server.file(readme)); err != nil || string(text) != readmeText {
		t.Errorf("README: %q, %v", text, err)
	}
}

// TestCheckSettings checks that the error tells wrong settings from a store that is absent, and contains no secret.
func TestCheckSettings(t *testing.T) {
	server := newServer(t)
	for _, test := range []struct {
		name                string
		url, access, secret string
		want                string
		setting             bool
	}{
		{"secret", server.url(), accessKey, "Hush", "check the credentials", true},
		{"key", server.url(), "Hush", secretKey, bucket, true},
		{"no credentials", server.url(), "", "", "AWS_SECRET_ACCESS_KEY", true},
		{"bucket", strings.Replace(server.url(), bucket, "missing", 1), accessKey, secretKey, "missing", true},
		{"region", server.url() + "&region=mars-1", accessKey, secretKey, "us-east-1", true},
		{"nobody listens", "s3://covers?endpoint=http://127.0.0.1:1", accessKey, secretKey, "refused", false},
		{"no TLS", strings.Replace(server.url(), "http:", "https:", 1), accessKey, secretKey, "HTTPS client", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			setCredentials(t, test.access, test.secret)
			store, err := Open(test.url)
			if err != nil {
				t.Fatal(err)
			}
			err = store.Check(t.Context())
			if err == nil || errors.Is(err, fs.ErrInvalid) != test.setting || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q that is fs.ErrInvalid: %v", err, test.want, test.setting)
			}
			if strings.Contains(err.Error(), "Hush") || strings.Contains(err.Error(), secretKey) {
				t.Errorf("the error contains the secret: %v", err)
			}
			if _, err := store.Get(t.Context(), hash(1), "300.jpg"); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Get: the error is %v, but the store has not said that there is no such thumbnail", err)
			}
		})
	}
}

func TestCheckFrozen(t *testing.T) {
	server := newServer(t)
	store := server.open()
	server.freeze()
	defer server.thaw()
	if err := store.Check(budget(t)); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fs.ErrInvalid) {
		t.Errorf("the error is %v, want context.DeadlineExceeded", err)
	}
}

// TestRestart checks that a killed store is noticed at once, and used again afterwards.
func TestRestart(t *testing.T) {
	server := newServer(t)
	store, other := server.open(), server.open()
	ctx := t.Context()
	if err := store.Put(ctx, hash(1), "300.jpg", []byte("value")); err != nil {
		t.Fatal(err)
	}
	lease, err := store.Lease(ctx, hash(1), "64.jpg", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	server.kill()
	for name, call := range map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := store.Get(ctx, hash(1), "300.jpg"); return err },
		"Put":    func(ctx context.Context) error { return store.Put(ctx, hash(1), "300.jpg", []byte("late")) },
		"Remove": func(ctx context.Context) error { return store.Remove(ctx, hash(1)) },
		"Lease": func(ctx context.Context) error {
			_, err := store.Lease(ctx, hash(1), "300.jpg", time.Minute)
			return err
		},
		"Renew":  lease.Renew,
		"Commit": func(ctx context.Context) error { return store.Commit(ctx, lease, hash(1), "64.jpg", []byte("late")) },
		"Usage":  func(ctx context.Context) error { _, _, err := store.Usage(ctx); return err },
	} {
		err := call(budget(t))
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, thumbcache.ErrLeaseLost) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	if _, err := other.Get(budget(t), hash(1), "300.jpg"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the error is %v, want that the connection is refused", err)
	}
	server.start()
	if got, err := store.Get(ctx, hash(1), "300.jpg"); err != nil || string(got) != "value" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	if err := store.Commit(ctx, lease, hash(1), "64.jpg", []byte("committed")); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestObjects checks what a CDN and people see of the bucket.
func TestObjects(t *testing.T) {
	server := newServer(t)
	store := server.open()
	for variant, want := range map[string]struct{ contentType, cacheControl string }{
		"1_q85_300.jpg":  {"image/jpeg", "public, max-age=300"},
		"1_q85_300c.png": {"image/png", "public, max-age=300"},
		"300.webp":       {"image/webp", "public, max-age=300"},
		"1.none":         {"application/octet-stream", "no-store"},
		"none":           {"application/octet-stream", "no-store"},
	} {
		if err := store.Put(t.Context(), hash(0xabc), variant, []byte("value")); err != nil {
			t.Fatal(err)
		}
		info, err := store.client.StatObject(t.Context(), bucket, "some/prefix/00/"+hash(0xabc)+"/"+variant, minio.StatObjectOptions{})
		if err != nil || info.ContentType != want.contentType || info.Metadata.Get("Cache-Control") != want.cacheControl {
			t.Errorf("%s: %q, %q, %v, want %v", variant, info.ContentType, info.Metadata.Get("Cache-Control"), err, want)
		}
	}
}

// TestForeignObjects checks that objects of others are no values, and that Remove leaves those of other sources alone.
func TestForeignObjects(t *testing.T) {
	server := newServer(t)
	store := server.open()
	ctx := t.Context()
	want := map[string]string{hash(1) + "/300.jpg": "one", hash(2) + "/1.none": "two", hash(3) + "/3_.": "three"}
	for name, value := range want {
		source, variant, _ := strings.Cut(name, "/")
		if err := store.Put(ctx, source, variant, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Lease(ctx, hash(1), "64.jpg", time.Minute); err != nil {
		t.Fatal(err)
	}
	dir := "00/" + hash(1)
	for _, name := range []string{"notes", "00/notes", dir + "/NOTES", dir + "/a/b", dir + "/-x", "01/" + hash(1) + "/300.jpg"} {
		if _, err := store.put(ctx, store.prefix+name, []byte("foreign"), always); err != nil {
			t.Fatal(err)
		}
	}
	if n, size, err := store.Usage(ctx); n != 3 || size != int64(len("onetwothree")) || err != nil {
		t.Errorf("Usage: %d, %d bytes, %v, want 3 and 11", n, size, err)
	}
	got := make(map[string]string)
	err := store.Walk(ctx, func(source, variant string, sealed []byte) error {
		got[source+"/"+variant] = string(sealed)
		return nil
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Walk: %v, %v, want %v", got, err, want)
	}
	if err := store.Remove(ctx, hash(1)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := store.Usage(ctx); n != 2 || err != nil {
		t.Errorf("after Remove: %d, %v, want 2", n, err)
	}
	if _, err := os.Stat(server.file("01", hash(1), "300.jpg")); err != nil {
		t.Errorf("a foreign object: %v", err)
	}
}

func TestWalkEnds(t *testing.T) {
	server := newServer(t)
	store := server.open()
	for i := range 40 {
		if err := store.Put(t.Context(), hash(i), "300.jpg", []byte("value")); err != nil {
			t.Fatal(err)
		}
	}
	end := errors.New("enough")
	calls := 0
	err := store.Walk(t.Context(), func(string, string, []byte) error { calls++; return end })
	if err != end || calls != 1 {
		t.Errorf("%v after %d calls, want the error of the first", err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = store.Walk(ctx, func(string, string, []byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want context.Canceled", err)
	}
	if n, _, err := store.Usage(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Usage: %d, %v, want context.Canceled", n, err)
	}
}

// TestManyVariants checks a source that has more objects than one listing returns.
func TestManyVariants(t *testing.T) {
	server := newServer(t)
	store := server.open()
	if err := store.Put(t.Context(), hash(1), "0", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 1500 { // faster than by 1500 requests
		if err := os.WriteFile(server.file("00", hash(1), fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, _, err := store.Usage(t.Context()); n != 1500 || err != nil {
		t.Errorf("Usage: %d, %v, want 1500", n, err)
	}
	if err := store.Remove(t.Context(), hash(1)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := store.Usage(t.Context()); n != 0 || err != nil {
		t.Errorf("after Remove: %d, %v", n, err)
	}
}

// TestTooLarge checks that values have a limit, and that a larger object of others is a miss that can be replaced.
func TestTooLarge(t *testing.T) {
	server := newServer(t)
	store := server.open()
	large := make([]byte, maxValue+1)
	if err := store.Put(t.Context(), hash(1), "300.jpg", large); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Put: the error is %v, want fs.ErrInvalid", err)
	}
	name := store.prefix + "00/" + hash(1) + "/300.jpg"
	_, err := store.client.PutObject(t.Context(), bucket, name, bytes.NewReader(large), int64(len(large)), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := store.Get(t.Context(), hash(1), "300.jpg"); !errors.Is(err, fs.ErrNotExist) || got != nil {
		t.Errorf("Get: %d bytes, %v, want fs.ErrNotExist", len(got), err)
	}
	seen := 0
	err = store.Walk(t.Context(), func(_, _ string, sealed []byte) error {
		if sealed != nil {
			t.Errorf("Walk: %d bytes", len(sealed))
		}
		seen++
		return nil
	})
	if err != nil || seen != 1 {
		t.Errorf("Walk: %d, %v, want 1", seen, err)
	}
	if err := store.Put(t.Context(), hash(1), "300.jpg", large[1:]); err != nil {
		t.Error(err)
	}
}

// TestEmpty checks that an empty value leaves the connection in order.
func TestEmpty(t *testing.T) {
	server := newServer(t)
	store := server.open()
	for i := range 50 {
		if err := store.Put(t.Context(), hash(i), "300.jpg", nil); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Get(t.Context(), hash(i), "300.jpg"); len(got) != 0 || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestInvalidNames(t *testing.T) {
	store := openFake(t, func(http.ResponseWriter, *http.Request) { t.Error("there was a request") })
	for _, name := range [][2]string{
		{"", "300.jpg"}, {"ab", "300.jpg"}, {strings.Repeat("A", 64), "300.jpg"}, {hash(1)[1:] + "/", "300.jpg"}, {hash(1) + "0", "300.jpg"},
		{hash(1), ""}, {hash(1), "a/b"}, {hash(1), "-lease.300.jpg"}, {hash(1), "A"}, {hash(1), ".."}, {hash(1), strings.Repeat("a", 65)}, {hash(1), "ä"},
	} {
		_, getErr := store.Get(t.Context(), name[0], name[1])
		_, leaseErr := store.Lease(t.Context(), name[0], name[1], time.Minute)
		for _, err := range []error{getErr, leaseErr, store.Put(t.Context(), name[0], name[1], nil)} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: the error is %v, want fs.ErrInvalid", name, err)
			}
		}
	}
	if err := store.Remove(t.Context(), "../00"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Remove: the error is %v, want fs.ErrInvalid", err)
	}
}

// race lets machines take the same lease at once, and returns that of the only winner.
func race(t *testing.T, machines []*Store, source string, life time.Duration) (winner thumbcache.Lease) {
	t.Helper()
	var winners atomic.Int32
	var group sync.WaitGroup
	start := make(chan struct{})
	for _, m := range machines {
		group.Go(func() {
			<-start
			lease, err := m.Lease(t.Context(), source, "300.jpg", life)
			switch {
			case err == nil && winners.Add(1) == 1:
				winner = lease
			case err != nil && !errors.Is(err, thumbcache.ErrHeld):
				t.Error(err)
			}
		})
	}
	close(start)
	group.Wait()
	if n := winners.Load(); n != 1 {
		t.Errorf("%d machines have the lease, want 1", n)
	}
	return winner
}

// TestLeaseRaces lets machines race for free leases, and for expired ones.
func TestLeaseRaces(t *testing.T) {
	server := newServer(t)
	var machines []*Store
	for range 8 {
		machines = append(machines, server.open())
	}
	const life = 500 * time.Millisecond
	var first []thumbcache.Lease
	for i := range 40 {
		first = append(first, race(t, machines, hash(i), life))
	}
	time.Sleep(life) // the losers have seen the leases
	for i, lease := range first {
		second := race(t, machines, hash(i), time.Minute)
		if err := lease.Renew(t.Context()); !errors.Is(err, thumbcache.ErrLeaseLost) {
			t.Errorf("the error of the first holder is %v, want ErrLeaseLost", err)
		}
		if err := second.Renew(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestLeaseOfDeadMachine checks that a machine which has never seen a lease takes it over at once if it is old by the clock of the
// store, and that it does not if it is not.
func TestLeaseOfDeadMachine(t *testing.T) {
	server := newServer(t)
	ctx := t.Context()
	if _, err := server.open().Lease(ctx, hash(1), "300.jpg", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		age  time.Duration
		want error
	}{
		{-time.Hour, thumbcache.ErrHeld}, // the clock of the store was changed
		{9 * time.Second, thumbcache.ErrHeld},
		{time.Minute, nil},
	} {
		written := time.Now().Add(-step.age)
		if err := os.Chtimes(server.file("00", hash(1), "-lease.300.jpg"), written, written); err != nil {
			t.Fatal(err)
		}
		if _, err := server.open().Lease(ctx, hash(1), "300.jpg", 10*time.Second); !errors.Is(err, step.want) {
			t.Errorf("%v after it was written: the error is %v, want %v", step.age, err, step.want)
		}
	}
}

// TestForeignLease checks that an object that is no lease holds machines up no longer than a lease.
func TestForeignLease(t *testing.T) {
	server := newServer(t)
	store := server.open()
	for i, content := range []string{"", "garbage", "token 9999h", "token -5s", "\x00 \xff"} {
		name := store.prefix + "00/" + hash(i) + "/" + leasePrefix + "300.jpg"
		if _, err := store.put(t.Context(), name, []byte(content), always); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-maxLife - time.Minute)
		if err := os.Chtimes(server.file("00", hash(i), leasePrefix+"300.jpg"), old, old); err != nil {
			t.Fatal(err)
		}
		lease, err := store.Lease(t.Context(), hash(i), "300.jpg", 10*time.Second)
		if err != nil {
			t.Errorf("%q: %v", content, err)
			continue
		}
		if err := lease.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestNothingLeft checks that leases leave no objects behind.
func TestNothingLeft(t *testing.T) {
	server := newServer(t)
	store := server.open()
	for i := range 3 {
		lease, err := store.Lease(t.Context(), hash(1), "300.jpg", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			err = lease.Release(t.Context())
		} else {
			err = store.Commit(t.Context(), lease, hash(1), "300.jpg", []byte("value"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for o, err := range store.list(t.Context(), store.prefix+"00/") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(o.Key))
	}
	if fmt.Sprint(names) != "[300.jpg]" || len(store.watches.seen) != 0 {
		t.Errorf("objects %v, watches %v, want only 300.jpg", names, store.watches.seen)
	}
}

func TestCache(t *testing.T) {
	server := newServer(t)
	var extractions atomic.Int32
	machine := func() *thumbcache.Cache {
		cache, err := thumbcache.New(thumbcache.Config{
			Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("../testdata/library")},
			Extractor: thumbcache.ExtractorFunc(func(ctx context.Context, src *thumbcache.Source) (*thumbcache.Picture, error) {
				extractions.Add(1)
				return thumbcache.CoverArt().Extract(ctx, src)
			}),
			Shared:        server.open(),
			SharedTimeout: 10 * time.Second, // the machine of the tests may be busy
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cache.Close() })
		return cache
	}
	caches := []*thumbcache.Cache{machine(), machine(), machine()}
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			if _, err := caches[i%3].Get(t.Context(), "music", "Ada Rings/Lossless/01 One Cover.flac", 100); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := extractions.Load(); n != 1 {
		t.Errorf("%d extractions on three machines, want 1", n)
	}
	for _, c := range caches {
		if s := c.Stats(); s.SharedErrors != 0 || s.SharedDropped != 0 {
			t.Errorf("%d errors, %d dropped", s.SharedErrors, s.SharedDropped)
		}
	}
}

// BenchmarkGet compares Store.Get with GetObject of minio-go, which it uses.
func BenchmarkGet(b *testing.B) {
	server := newServer(b)
	store := server.open()
	value := make([]byte, 20<<10)
	if err := store.Put(b.Context(), hash(1), "300.jpg", value); err != nil {
		b.Fatal(err)
	}
	b.Run("Store", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got, err := store.Get(b.Context(), hash(1), "300.jpg"); err != nil || len(got) != len(value) {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("minio-go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			object, err := store.client.GetObject(b.Context(), bucket, store.prefix+"00/"+hash(1)+"/300.jpg", minio.GetObjectOptions{})
			if err != nil {
				b.Fatal(err)
			}
			got, err := io.ReadAll(object)
			object.Close()
			if err != nil || len(got) != len(value) {
				b.Fatal(len(got), err)
			}
		}
	})
}

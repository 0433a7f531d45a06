package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/thumbcache/thumbcache/internal/store"
)

// TestFaultAtEveryCall makes each system call that the store needs fail at its first, second ... use, until a run is clean.
func TestFaultAtEveryCall(t *testing.T) {
	if dir := os.Getenv("THUMBCACHE_TEST_CHILD"); dir != "" {
		faultStory(t, dir)
		return
	}
	if out, err := exec.Command("strace", "-f", "-o", "/dev/null", "-e", "inject=getppid:error=EIO", "true").CombinedOutput(); err != nil {
		if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
			t.Fatalf("strace: %v %s", err, out)
		}
		t.Skipf("system calls cannot be made to fail here: strace: %v %s", err, out)
	}
	// The first uses one by one, and then fewer and fewer: a walk through the folders makes hundreds that are alike.
	next := func(n int) int { return n + 1 + n/6 }
	if testing.Short() {
		next = func(n int) int { return n + 1 + n/2 }
	}
	// Some end in a wait for writing to come back, so more run than there are processors.
	var wg sync.WaitGroup
	var runs atomic.Int32
	turn := make(chan struct{}, 24)
	for _, call := range strings.Fields("openat2 openat pwrite64 pwritev renameat2 renameat close unlinkat newfstatat fstat statx preadv2 pread64 read getdents64 utimensat mkdirat fcntl") {
		wg.Go(func() {
			for n := 1; ; n = next(n) {
				turn <- struct{}{}
				out, hit, err := runStory(t, call, n)
				<-turn
				runs.Add(1)
				if err != nil {
					t.Errorf("%s fails at use %d: %v\n%s", call, n, err, out)
				}
				if !hit {
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d runs", runs.Load())
}

// runStory runs the story with a fault in one call, reports whether it came to it, and looks at what is left. The uses are
// counted in each thread, of which there is hardly more than one.
func runStory(t *testing.T, call string, n int) (out []byte, hit bool, err error) {
	dir, err := os.MkdirTemp(t.TempDir(), call)
	if err != nil {
		return nil, false, err
	}
	defer os.RemoveAll(dir)
	log := filepath.Join(dir, "log")
	cmd := reexec(t, filepath.Join(dir, "thumbs"))
	args := []string{"strace", "-f", "--seccomp-bpf", "-o", log, "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:error=EIO:when=%d", call, n)}
	cmd.Args = append(append(args, cmd.Path), cmd.Args[1:]...)
	if cmd.Path, err = exec.LookPath("strace"); err != nil {
		return nil, false, err
	}
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	out, err = cmd.CombinedOutput()
	if err == nil {
		err = checkFolder(t, filepath.Join(dir, "thumbs"))
	} else if _, started := os.Stat(filepath.Join(dir, "thumbs"+begun)); started != nil {
		err = nil // no program starts without these calls
	}
	trace, _ := os.ReadFile(log)
	return out, bytes.Contains(trace, []byte("(INJECTED)")), err
}

// checkFolder looks at a folder that nobody uses: all files must be whole, and the account not less than what is there.
func checkFolder(t *testing.T, dir string) error {
	s, err := store.Existing(dir)
	if errors.Is(err, store.ErrForeign) { // it could not be marked, so the next start does it
		if s, err = store.Open(dir, -1, slog.New(slog.DiscardHandler)); err == nil {
			s.Close()
			s, err = store.Existing(dir)
		}
	}
	if err != nil {
		return err
	}
	defer s.Close()
	before := s.Usage() // then the walk puts it right
	err = s.Walk(t.Context(), false, func(f store.File) error {
		if f.Temp {
			return nil
		}
		_, err := s.Read(f)
		return err
	})
	if u := s.Usage(); err == nil && (before.Bytes < u.Bytes || before.Files < u.Files) {
		err = fmt.Errorf("the account says %+v, really %+v", before, u)
	}
	return err
}

const (
	storyLimit = 6 << 10
	begun      = ".begun" // tells that the story has
)

// faultStory is what happens to a cache in a day, in short. Somewhere in it a call fails: no Get may, and none may be wrong.
func faultStory(t *testing.T, dir string) {
	for os.WriteFile(dir+begun, nil, 0o644) != nil {
	}
	s := shelfOf(8)
	s.set("none", tag("1"), []byte("ID3 no picture"))
	cfg := Config{Providers: map[string]Provider{"p": s}, Dir: dir, MemoryEntries: -1, DiskBytes: storyLimit, Revalidate: -1, Extractor: ExtractorFunc(
		func(ctx context.Context, src *Source) (*Picture, error) {
			if src.Name == "none" {
				return nil, ErrNoPicture
			}
			return Images().Extract(ctx, src)
		})}
	var c *Cache
	open := func() {
		t.Helper()
		var err error
		for tries := 0; ; tries++ { // that a folder cannot be opened may be said, but not for long
			if c, err = New(cfg); err == nil {
				return
			}
			if tries == 5 {
				t.Fatal(err)
			}
		}
	}
	get := func(i int, version string, want color.NRGBA) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		thumb, err := c.Do(ctx, Request{Provider: "p", Path: fmt.Sprint(i), Version: version})
		if err != nil || thumb.Width != 30+i {
			t.Fatalf("%d: %+v, %v", i, thumb, err)
		}
		isColour(t, thumb, want)
	}
	path := func(i int) string {
		hash := store.Hash("p", fmt.Sprint(i))
		return filepath.Join(dir, hash[:2], hash+"_0.jpg")
	}
	open()
	for range 2 { // made, and read
		for i := range 3 {
			get(i, "", red)
		}
		if _, err := c.Get(t.Context(), "p", "none", 0); HTTPStatus(err) != 404 {
			t.Fatalf("no picture: %v", err)
		}
	}
	// Replaced.
	s.set("0", tag("2"), plain(30, 30, blue))
	get(0, "2", blue)
	get(0, "2", blue)
	// Used again after a long time.
	long := time.Now().Add(-5 * time.Hour)
	_ = os.Chtimes(path(2), long, long)
	get(2, "", red)
	// Damaged.
	_ = os.Truncate(path(2), 50)
	get(2, "", red)
	// Dropped. Where that fails it is said, and works when it is tried again.
	s.set("1", tag("1"), plain(31, 30, blue))
	tries := 0
	for c.Invalidate("p", "1") != nil {
		if tries++; tries > 10 {
			t.Fatal("cannot be dropped")
		}
	}
	get(1, "", blue)
	// More than there is room for.
	for i := 3; i < 8; i++ {
		get(i, "", red)
	}
	eventually(t, "room is made", func() bool { return c.disk.changes.Len() == 0 })
	get(2, "", red)
	// Writing comes back by itself.
	eventually(t, "writing comes back", func() bool {
		get(7, "", red)
		return c.disk.changes.Len() == 0 && isStored(dir, "7")
	})
	// And all is well after a restart.
	c.Close()
	open()
	defer c.Close()
	get(0, "2", blue)
	get(1, "", blue)
	get(7, "", red)
	eventually(t, "all is stored", func() bool { return c.disk.changes.Len() == 0 })
}

// With no descriptors left everything that can be had is had all the same, and none is lost.
func TestNoDescriptors(t *testing.T) {
	if dir := os.Getenv("THUMBCACHE_TEST_CHILD"); dir != "" {
		s := shelfOf(200)
		c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir, MemoryEntries: -1, Extractor: Images()})
		for i := range 20 {
			mustGetQuiet(t, c, fmt.Sprint(i), 0)
		}
		descriptors := func() int {
			names, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			return len(names)
		}
		eventually(t, "the start is over", func() bool { return c.disk.changes.Len() == 0 })
		before := descriptors()
		all := func() {
			var wg sync.WaitGroup
			for i := range 200 {
				wg.Go(func() {
					if thumb, err := c.Get(context.Background(), "p", fmt.Sprint(i), 0); err != nil || thumb.Width != 30+i {
						t.Errorf("%d: %+v, %v", i, thumb, err)
					}
				})
			}
			wg.Wait()
		}
		for _, n := range []uint64{40, 3, 1 << 10} { // few, none, enough
			var l syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
				t.Fatal(err)
			}
			l.Cur = n
			if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
				t.Fatal(err)
			}
			all()
			if n == 3 && c.Stats().DiskErrors == 0 {
				t.Error("there were descriptors left")
			}
		}
		eventually(t, "writing comes back", func() bool {
			mustGetQuiet(t, c, "199", 0)
			return c.disk.changes.Len() == 0 && isStored(dir, "199")
		})
		eventually(t, "descriptors are as before", func() bool { return descriptors() <= before })
		return
	}
	if out, err := reexec(t, t.TempDir()).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The folder is deleted again and again, or something else lies in its place, under 1000 Gets.
func TestFolderAttacked(t *testing.T) {
	const pictures, gets = 50, 1000
	for name, attack := range map[string]func(dir, elsewhere string) error{
		"deleted": func(dir, _ string) error { return os.RemoveAll(dir) },
		"a file": func(dir, _ string) error {
			os.RemoveAll(dir)
			return os.WriteFile(dir, []byte("mine"), 0o644)
		},
		"a link": func(dir, elsewhere string) error {
			os.RemoveAll(dir)
			return os.Symlink(elsewhere, dir)
		},
		"a FIFO": func(dir, _ string) error {
			os.RemoveAll(dir)
			return unix.Mkfifo(dir, 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, elsewhere := filepath.Join(t.TempDir(), "thumbs"), t.TempDir()
			c := mustNew(t, Config{Providers: map[string]Provider{"p": shelfOf(pictures)}, Dir: dir, MemoryEntries: -1})
			var stop atomic.Bool
			var attacker, wg sync.WaitGroup
			attacker.Go(func() {
				for !stop.Load() {
					_ = attack(dir, elsewhere) // which the cache may have been quicker than
					time.Sleep(time.Millisecond)
				}
			})
			for w := range 4 {
				wg.Go(func() {
					for i := w; i < gets; i += 4 {
						thumb, err := c.Get(context.Background(), "p", fmt.Sprint(i%pictures), 0)
						if err != nil || thumb.Width != 30+i%pictures {
							t.Errorf("%d: %+v, %v", i, thumb, err)
						}
					}
				})
			}
			wg.Wait()
			stop.Store(true)
			attacker.Wait()
			if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
				t.Errorf("made elsewhere: %v, %v", entries, err)
			}
			os.RemoveAll(dir)
			eventually(t, "writing comes back", func() bool {
				mustGetQuiet(t, c, "1", 0)
				return c.disk.changes.Len() == 0 && isStored(dir, "1")
			})
		})
	}
}

// hang puts a file system in the place of dir that never answers, as that of a network or of a dead disk. What asks it
// waits until wake is called; then dir is as it was.
func hang(t *testing.T, dir string) (wake func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = unix.Mount("hung", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		t.Skip("no file system can be made here:", err)
	}
	wake = sync.OnceFunc(func() {
		err := unix.Unmount(dir, unix.MNT_DETACH)
		if unix.Close(fd); err != nil { // all that waits fails
			t.Error(err)
		}
	})
	t.Cleanup(wake)
	return wake
}

// A disk that hangs keeps nobody from a thumbnail: not what is in memory, not what can be made, and nobody longer than he waits.
func TestHungDisk(t *testing.T) {
	const pictures = 40
	for name, timeout := range map[string]time.Duration{"default timeout": 0, "short timeout": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			var log syncBuffer
			dir := t.TempDir()
			c := mustNew(t, Config{
				Providers: map[string]Provider{"p": shelfOf(pictures + 20)}, Dir: dir, MemoryEntries: 10, Timeout: timeout,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			for i := range pictures / 2 { // the last 10 are in memory, the others only on disk
				mustGet(t, c, "p", fmt.Sprint(i), 0)
			}
			eventually(t, "the files are written", func() bool { return c.disk.changes.Len() == 0 })
			wake := hang(t, dir)

			timed := func(what string, limit time.Duration, do func()) {
				t.Helper()
				done := make(chan struct{})
				start := time.Now()
				go func() {
					defer close(done)
					do()
				}()
				select {
				case <-done:
				case <-time.After(limit):
					t.Errorf("%s: not within %v", what, limit)
					wake() // or all of them wait for ever
					<-done
					t.FailNow()
				}
				t.Logf("%s: %v", what, time.Since(start))
			}
			timed("1000 from memory", time.Second, func() {
				for i := range 1000 {
					mustGetQuiet(t, c, fmt.Sprint(pictures/2-1-i%10), 0)
				}
			})
			timed("a caller who waits for 200 ms", time.Second, func() {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				c.Get(ctx, "p", "0", 0)
			})
			// Two reads of some seconds each, for the thumbnail and for a failure, and then it is made.
			timed("what is only on disk, and what was never made", 20*time.Second, func() {
				var wg sync.WaitGroup
				for i := range pictures {
					wg.Go(func() {
						thumb, err := c.Get(context.Background(), "p", fmt.Sprint(i), 0)
						if err != nil || thumb.Width != 30+i {
							t.Errorf("%d: %+v, %v", i, thumb, err)
						}
					})
				}
				wg.Wait()
			})
			// By now all reads that there may be hang, so nobody waits for a turn.
			timed("20 more, one after the other", 15*time.Second, func() {
				for i := pictures; i < pictures+20; i++ {
					mustGetQuiet(t, c, fmt.Sprint(i), 0)
				}
			})
			timed("Stats", time.Second, func() { c.Stats() })
			if n := strings.Count(log.String(), "level=WARN"); n > 2 {
				t.Errorf("%d warnings of one disk", n)
			}
			wake()
			eventually(t, "reading and writing come back", func() bool {
				mustGetQuiet(t, c, fmt.Sprint(pictures-1), 0)
				c.memory.remove(source{"p", fmt.Sprint(pictures - 1)})
				return c.disk.changes.Len() == 0 && isStored(dir, fmt.Sprint(pictures-1))
			})
		})
	}
}

// Removing from a disk that hangs what is outdated keeps no worker, and nobody for longer than a moment.
func TestHungRemoval(t *testing.T) {
	s := shelfOf(40)
	dir := t.TempDir()
	c := mustNew(t, Config{
		Providers: map[string]Provider{"p": s}, Dir: dir, Workers: 1, Timeout: 3 * time.Second, Revalidate: time.Nanosecond, Extractor: Images(),
	})
	for i := range 20 {
		mustGet(t, c, "p", fmt.Sprint(i), 0)
	}
	eventually(t, "the files are written", func() bool { return c.disk.changes.Len() == 0 })
	for i := range 10 {
		s.remove(fmt.Sprint(i))
		s.set(fmt.Sprint(10+i), tag("2"), []byte("no picture any more"))
	}
	wake := hang(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			_, err := c.Do(ctx, Request{Provider: "p", Path: fmt.Sprint(i), Version: "2"})
			want := []error{fs.ErrNotExist, ErrUnsupported, nil, nil}[i/10]
			if !errors.Is(err, want) {
				t.Errorf("%d: %v, want %v", i, err, want)
			}
		})
	}
	wg.Wait()
	if n := c.disk.changes.Len(); n == 0 {
		t.Error("nothing hangs")
	}
	wake()
	eventually(t, "what hung has ended", func() bool { return c.disk.changes.Len() == 0 })
}

package thumbcache

import (
	"bytes"
	"cmp"
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

// TestFaultAtEveryCall runs faultStory in child processes. In each of them one use of one system call fails: the first use of
// the call, then a later one, and so on until the story has fewer uses than that.
func TestFaultAtEveryCall(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		if faultStory(t, dir); !t.Failed() {
			os.Exit(0) // before a report about coverage meets the fault
		}
		return
	}
	if out, err := exec.Command("strace", "-f", "-o", "/dev/null", "-e", "inject=getppid:error=EIO", "true").CombinedOutput(); err != nil {
		if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
			t.Fatalf("strace: %v %s", err, out)
		}
		t.Skipf("strace cannot make system calls fail here: %v %s", err, out)
	}
	t.Parallel()
	// The full series tries the first uses one by one, and then fewer and fewer: a walk through the folders has hundreds of
	// similar ones.
	next := series(
		func(n int) int { return n + 1 + 40*n },
		func(n int) int { return n + 1 + n/6 },
	)
	// Some stories end with a wait until the cache writes again, so more of them run than there are processors.
	var wg sync.WaitGroup
	var runs atomic.Int32
	slots := make(chan struct{}, 24)
	for _, call := range strings.Fields("openat2 openat pwrite64 pwritev renameat2 renameat close unlinkat newfstatat fstat statx preadv2 pread64 read getdents64 utimensat mkdirat fcntl") {
		wg.Go(func() {
			for n := 1; ; n = next(n) {
				slots <- struct{}{}
				out, hit, err := runFaultStory(t, call, n)
				<-slots
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

// runFaultStory runs faultStory with a fault in use n of a system call, and checks the folder afterwards. It reports whether
// the fault happened. Uses are counted in each thread; GOMAXPROCS=1 keeps most of them in one.
func runFaultStory(t *testing.T, call string, n int) (out []byte, hit bool, err error) {
	dir, err := os.MkdirTemp(t.TempDir(), call)
	if err != nil {
		return nil, false, err
	}
	defer os.RemoveAll(dir)
	thumbs, trace := filepath.Join(dir, "thumbs"), filepath.Join(dir, "trace")
	cmd := reexec(t, thumbs)
	args := []string{"strace", "-f", "--seccomp-bpf", "-o", trace, "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:error=EIO:when=%d", call, n)}
	cmd.Args = append(append(args, cmd.Path), cmd.Args[1:]...)
	if cmd.Path, err = exec.LookPath("strace"); err != nil {
		return nil, false, err
	}
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	out, err = cmd.CombinedOutput()
	if err == nil {
		err = checkFolder(t, thumbs)
	} else if _, statErr := os.Stat(thumbs + storyBegun); statErr != nil {
		err = nil // the fault kept the program from starting
	}
	calls, _ := os.ReadFile(trace)
	return out, bytes.Contains(calls, []byte("(INJECTED)")), err
}

// checkFolder checks a folder that no cache uses: all files must be undamaged, and the account must not be below what is there.
func checkFolder(t *testing.T, dir string) error {
	s, err := store.Existing(dir)
	if errors.Is(err, store.ErrForeign) { // the fault kept it from being marked; the next start marks it
		if s, err = store.Open(dir, -1, slog.New(slog.DiscardHandler)); err == nil {
			s.Close()
			s, err = store.Existing(dir)
		}
	}
	if err != nil {
		return err
	}
	defer s.Close()
	before := s.Usage() // the walk corrects it
	err = s.Walk(t.Context(), false, func(f store.File) error {
		if f.Temp {
			return nil
		}
		_, err := s.Read(f)
		return err
	})
	if u := s.Usage(); err == nil && (before.Bytes < u.Bytes || before.Files < u.Files) {
		err = fmt.Errorf("the account says %+v, but the folder holds %+v", before, u)
	}
	return err
}

const (
	storyLimit = 6 << 10  // Config.DiskBytes of the story
	storyBegun = ".begun" // the suffix of a file that the story writes when it begins
)

// faultStory is a short day in the life of a cache. One of its system calls fails. No Get may fail because of that, or return
// a wrong picture.
func faultStory(t *testing.T, dir string) {
	for os.WriteFile(dir+storyBegun, nil, 0o644) != nil {
	}
	p := numberedPictures(8)
	p.set("none", tag("1"), []byte("ID3 no picture"))
	cfg := Config{
		Providers: map[string]Provider{"p": p}, Dir: dir, MemoryEntries: -1, DiskBytes: storyLimit, Revalidate: -1,
		Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			if src.Name == "none" {
				return nil, ErrNoPicture
			}
			return extractImage(ctx, src)
		}),
	}
	var c *Cache
	open := func() {
		t.Helper()
		var err error
		for tries := 0; ; tries++ { // New may fail because of the fault, but not again and again
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
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		thumb, err := c.Do(ctx, Request{Provider: "p", Path: fmt.Sprint(i), Version: version})
		if err != nil || thumb.Width != 30+i {
			t.Fatalf("picture %d: %+v, %v", i, thumb, err)
		}
		checkColor(t, thumb, want)
	}
	file := func(i int) string {
		hash := store.Hash("p", fmt.Sprint(i))
		return filepath.Join(dir, hash[:2], hash+"_0.jpg")
	}
	open()
	for range 2 { // made, then read
		for i := range 3 {
			get(i, "", red)
		}
		if _, err := c.Get(t.Context(), "p", "none", 0); HTTPStatus(err) != 404 {
			t.Fatalf("no picture: %v", err)
		}
	}
	// A source has changed.
	p.set("0", tag("2"), plain(30, 30, blue))
	get(0, "2", blue)
	get(0, "2", blue)
	// A file is used again after a long time.
	old := time.Now().Add(-5 * time.Hour)
	_ = os.Chtimes(file(2), old, old)
	get(2, "", red)
	// A file is damaged.
	_ = os.Truncate(file(2), 50)
	get(2, "", red)
	// A source is invalidated. If that fails, Invalidate returns an error, and works the next time.
	p.set("1", tag("1"), plain(31, 30, blue))
	for tries := 0; c.Invalidate("p", "1") != nil; tries++ {
		if tries == 10 {
			t.Fatal("cannot be invalidated")
		}
	}
	get(1, "", blue)
	// More is stored than DiskBytes allows.
	for i := 3; i < 8; i++ {
		get(i, "", red)
	}
	eventually(t, "eviction ends", func() bool { return c.disk.changes.Len() == 0 })
	get(2, "", red)
	// The cache writes again.
	eventually(t, "the cache writes again", func() bool {
		get(7, "", red)
		return c.disk.changes.Len() == 0 && isStored(dir, "7")
	})
	// The cache is restarted.
	c.Close()
	open()
	defer c.Close()
	get(0, "2", blue)
	get(1, "", blue)
	get(7, "", red)
	eventually(t, "all writes end", func() bool { return c.disk.changes.Len() == 0 })
}

// Without file descriptors every thumbnail can be had that needs none, and no descriptor is lost.
func TestNoDescriptors(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		getWithoutDescriptors(t, dir)
		return
	}
	t.Parallel()
	if out, err := reexec(t, t.TempDir()).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// getWithoutDescriptors runs in a child process, because the limit of descriptors is that of the process.
func getWithoutDescriptors(t *testing.T, dir string) {
	const pictures = 200
	c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(pictures)}, Dir: dir, MemoryEntries: -1, Extractor: Images()})
	for i := range 20 {
		getNumbered(t, c, i)
	}
	descriptors := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	eventually(t, "the cache is at rest", func() bool { return c.disk.changes.Len() == 0 })
	before := descriptors()
	for _, limit := range []uint64{40, 3, 1 << 10} { // few, none, enough
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
		l.Cur = limit
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range pictures {
			wg.Go(func() { getNumbered(t, c, i) })
		}
		wg.Wait()
		if limit == 3 && c.Stats().DiskErrors == 0 {
			t.Error("there were descriptors left")
		}
	}
	eventually(t, "the cache writes again", func() bool {
		getNumbered(t, c, pictures-1)
		return c.disk.changes.Len() == 0 && isStored(dir, fmt.Sprint(pictures-1))
	})
	eventually(t, "no more descriptors than before", func() bool { return descriptors() <= before })
}

// During many Gets, the folder is deleted again and again, or replaced by something else.
func TestFolderAttacked(t *testing.T) {
	t.Parallel()
	const pictures, getters = 50, 4
	gets := series(200, 1000)
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
			c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(pictures)}, Dir: dir, MemoryEntries: -1})
			var stop atomic.Bool
			var attacker, wg sync.WaitGroup
			attacker.Go(func() {
				for !stop.Load() {
					_ = attack(dir, elsewhere)   // fails if the cache was faster
					time.Sleep(time.Millisecond) // lets the cache write something
				}
			})
			for first := range getters {
				wg.Go(func() {
					for i := first; i < gets; i += getters {
						getNumbered(t, c, i%pictures)
					}
				})
			}
			wg.Wait()
			stop.Store(true)
			attacker.Wait()
			if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
				t.Errorf("written elsewhere: %v, %v", entries, err)
			}
			os.RemoveAll(dir)
			eventually(t, "the cache writes again", func() bool {
				getNumbered(t, c, 1)
				return c.disk.changes.Len() == 0 && isStored(dir, "1")
			})
		})
	}
}

// mountHung mounts a file system on dir that never answers, as a network share or a dying disk may. System calls on it block
// until unmount is called. Then dir is as it was before.
func mountHung(t *testing.T, dir string) (unmount func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = unix.Mount("hung", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		t.Skip("cannot mount a file system here:", err)
	}
	unmount = sync.OnceFunc(func() {
		err := unix.Unmount(dir, unix.MNT_DETACH)
		if unix.Close(fd); err != nil { // Close makes all blocked calls fail
			t.Error(err)
		}
	})
	t.Cleanup(unmount)
	return unmount
}

// A disk that hangs delays requests a little and fails none. A thumbnail in memory is not delayed, and no request takes
// longer than its context allows.
func TestHungDisk(t *testing.T) {
	t.Parallel()
	const pictures = 40
	type limits struct{ timeout, patience time.Duration } // zero: the default
	for name, limits := range series(
		map[string]limits{"short patience": {0, 500 * time.Millisecond}},
		map[string]limits{"default": {}, "short timeout": {timeout: 3 * time.Second}},
	) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log syncBuffer
			dir := t.TempDir()
			cfg := Config{
				Providers: map[string]Provider{"p": numberedPictures(pictures + 20)}, Dir: dir, MemoryEntries: 10, Timeout: limits.timeout,
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}
			c := mustNew(t, cfg)
			c.disk.store.Patience = cmp.Or(limits.patience, c.disk.store.Patience)
			for i := range pictures / 2 { // the last 10 are in memory, the others only on disk
				getNumbered(t, c, i)
			}
			eventually(t, "the files are written", func() bool { return c.disk.changes.Len() == 0 })
			unmount := mountHung(t, dir)

			// within fails the test if do takes longer than limit, which is far more than do should need.
			within := func(what string, limit time.Duration, do func()) {
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
					unmount() // so that do returns
					<-done
					t.FailNow()
				}
				t.Logf("%s: %v", what, time.Since(start))
			}
			within("1000 thumbnails from memory", 20*time.Second, func() {
				for i := range 1000 {
					getNumbered(t, c, pictures/2-1-i%10)
				}
			})
			if st := c.Stats(); st.DiskErrors > 0 || st.MemoryHits != 1000 {
				t.Errorf("hits in memory asked the disk: %+v", st)
			}
			within("a caller with a deadline", 20*time.Second, func() {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				if _, err := c.Get(ctx, "p", "0", 0); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("after the deadline: %v", err)
				}
			})
			// Each waits for at most two reads, that of the thumbnail and that of a failure. Then the thumbnail is made.
			within("thumbnails that are only on disk, and new ones", 30*time.Second, func() {
				var wg sync.WaitGroup
				for i := range pictures {
					wg.Go(func() { getNumbered(t, c, i) })
				}
				wg.Wait()
			})
			// The disk is known to hang now, so they wait for no read.
			within("20 new thumbnails, one after the other", 30*time.Second, func() {
				for i := pictures; i < pictures+20; i++ {
					getNumbered(t, c, i)
				}
			})
			within("Stats", 20*time.Second, func() { c.Stats() })
			if n := strings.Count(log.String(), "level=WARN"); n > 2 {
				t.Errorf("%d warnings about one disk", n)
			}
			unmount()
			if series(true, false) { // the next use of the disk is 10 seconds away: a restart is sooner
				c.Close()
				c = mustNew(t, cfg)
			}
			eventually(t, "the cache reads and writes again", func() bool {
				getNumbered(t, c, pictures-1)
				c.memory.remove(source{"p", fmt.Sprint(pictures - 1)})
				return c.disk.changes.Len() == 0 && isStored(dir, fmt.Sprint(pictures-1))
			})
		})
	}
}

// If a disk hangs, removing outdated files from it occupies no worker and delays requests only a little.
func TestHungRemoval(t *testing.T) {
	t.Parallel()
	p := numberedPictures(40)
	dir := t.TempDir()
	c := mustNew(t, Config{
		Providers: map[string]Provider{"p": p}, Dir: dir, Workers: 1, Revalidate: time.Nanosecond, Extractor: Images(),
	})
	c.disk.store.Patience = 500 * time.Millisecond
	for i := range 20 {
		mustGet(t, c, "p", fmt.Sprint(i), 0)
	}
	eventually(t, "the files are written", func() bool { return c.disk.changes.Len() == 0 })
	for i := range 10 {
		p.remove(fmt.Sprint(i))
		p.set(fmt.Sprint(10+i), tag("2"), []byte("no picture any more"))
	}
	unmount := mountHung(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			_, err := c.Do(ctx, Request{Provider: "p", Path: fmt.Sprint(i), Version: "2"})
			want := []error{fs.ErrNotExist, ErrUnsupported, nil, nil}[i/10]
			if !errors.Is(err, want) {
				t.Errorf("picture %d: %v, want %v", i, err, want)
			}
		})
	}
	wg.Wait()
	if n := c.disk.changes.Len(); n == 0 {
		t.Error("no removal hangs")
	}
	unmount()
	eventually(t, "all removals end", func() bool { return c.disk.changes.Len() == 0 })
}

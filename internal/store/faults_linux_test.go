package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { mkfifo = func(path string) error { return unix.Mkfifo(path, 0o644) } }

// mount mounts a file system in memory, as root can.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func remount(dir, options string) error {
	out, err := exec.Command("mount", "-o", "remount,"+options, dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// limit changes what this process may do, and only what it may do now: it can be taken back.
func limit(what int, n uint64) error {
	var l syscall.Rlimit
	err := syscall.Getrlimit(what, &l)
	if l.Cur = min(n, l.Max); err == nil {
		err = syscall.Setrlimit(what, &l)
	}
	return err
}

const nobody = 65534

// Writing fails in every way that there is: hits are served, a write is tried again after a while, the log says it once,
// and when the fault is over writing comes back by itself.
func TestWritingFails(t *testing.T) {
	type fault struct {
		mount       string                  // what the folder is on
		brk         func(dir string) error  // breaks it
		heal        func(dir string) error  // takes it back
		passthrough func(failed error) bool // whether that is how it fails
		limit       int64                   // of the store
	}
	readOnly := fault{
		mount:       "size=4m",
		brk:         func(dir string) error { return remount(dir, "ro") }, // as long as nothing is open to be written
		heal:        func(dir string) error { return remount(dir, "rw") },
		passthrough: func(err error) bool { return errors.Is(err, unix.EROFS) },
		limit:       -1,
	}
	fullAndReadOnly := readOnly
	fullAndReadOnly.limit = 10 * 1200
	faults := map[string]fault{
		"no inodes": {
			mount:       "size=4m,nr_inodes=100", // which the filling uses up
			brk:         func(string) error { return nil },
			heal:        func(string) error { return nil },
			passthrough: func(err error) bool { return errors.Is(err, unix.ENOSPC) },
			limit:       -1,
		},
		"no space": {
			mount:       "size=4m",
			brk:         func(dir string) error { return remount(dir, "size=64k") },
			heal:        func(dir string) error { return remount(dir, "size=4m") },
			passthrough: func(err error) bool { return errors.Is(err, unix.ENOSPC) },
			limit:       -1,
		},
		"file too big": { // the kernel's limit on files, here of this process
			brk:         func(string) error { return limit(unix.RLIMIT_FSIZE, 500) },
			heal:        func(string) error { return limit(unix.RLIMIT_FSIZE, 1<<40) },
			passthrough: func(err error) bool { return errors.Is(err, unix.EFBIG) },
			limit:       -1,
		},
		"read-only":          readOnly,
		"read-only and full": fullAndReadOnly,
		"not permitted": {
			brk:         func(string) error { return syscall.Setresuid(-1, nobody, -1) },
			heal:        func(string) error { return syscall.Setresuid(-1, 0, -1) },
			passthrough: func(err error) bool { return errors.Is(err, fs.ErrPermission) },
			limit:       -1,
		},
		"no descriptors": {
			brk:         func(string) error { return limit(unix.RLIMIT_NOFILE, 3) },
			heal:        func(string) error { return limit(unix.RLIMIT_NOFILE, 1<<20) },
			passthrough: func(err error) bool { return errors.Is(err, unix.EMFILE) },
			limit:       -1,
		},
	}
	if args := childArgs(); args != nil {
		writingFails(t, args[1], faults[args[0]].limit, faults[args[0]].brk, faults[args[0]].heal, faults[args[0]].passthrough)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can break things so")
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			dir := t.TempDir()
			if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if f.mount != "" {
				mount(t, dir, f.mount)
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := reexec(t, name, dir)
			cmd.Stderr = nil
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// writingFails runs in a process of its own, in which the store is broken.
func writingFails(t *testing.T, dir string, max int64, brk, heal func(string) error, isFault func(error) bool) {
	var log lines
	d, err := Open(dir, max, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if max < 0 {
		max = 1 << 20
	}
	for i := range min(int(max/1200), 10) {
		put(t, d, numbered(i, 1, 1000))
	}
	d.wg.Wait()
	before := lies(t, dir)
	d.ledger.close() // it is opened again when it is needed; until then the folder can be made read-only
	if err := brk(dir); err != nil {
		t.Fatal(err)
	}
	f, err := openFolder(dir, "00")
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = d.makeFolder("00")
		for i := 0; err == nil && i < 100; i++ { // until there is no more room
			err = os.WriteFile(filepath.Join(dir, "00", fmt.Sprint("fill", i)), make([]byte, 4096), 0o644)
		}
	}
	if f != nil {
		f.close()
	}
	if !isFault(err) {
		heal(dir)
		t.Fatalf("that is not the fault: %v", err)
	}
	start := time.Now()
	tries := 0
	for ; time.Since(start) < writePause+writePause/4; tries++ { // so that it is tried once more
		d.store(numbered(100+tries, 1, 1000))
		e, ok := fetch(t, d, numbered(tries%10, 0, 0).Key)
		if served := ok && isNumbered(e, tries%10); !served && !errors.Is(err, unix.EMFILE) {
			t.Fatalf("%d is not served any more", tries%10)
		}
		time.Sleep(5 * time.Millisecond) // a real fault, a real clock
	}
	if d.Errors.Load() == 0 {
		t.Error("nothing failed")
	}
	if n := log.count("WARN"); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, strings.Join(log.text[:min(n, 5)], ""))
	}
	if err := heal(dir); err != nil {
		t.Fatal(err)
	}
	fill, _ := filepath.Glob(filepath.Join(dir, "00", "fill*"))
	for _, path := range fill {
		os.Remove(path)
	}
	for _, name := range filesIn(t, dir) {
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("left: %s", name)
		}
	}
	eventually(t, "writing comes back", func() bool {
		d.store(numbered(1000, 1, 1000))
		e, ok := fetch(t, d, numbered(1000, 0, 0).Key)
		return ok && isNumbered(e, 1000)
	})
	if n := log.count("INFO"); n != 1 {
		t.Errorf("%d notes that it is over, want one:\n%s", n, strings.Join(log.text, ""))
	}
	d.wg.Wait()
	if u, there := d.Usage(), lies(t, dir); u != there || there.Files < before.Files {
		t.Errorf("usage %+v, really %+v, before %+v", u, there, before)
	}
}

// A folder that belongs to somebody else and cannot be written is served from.
func TestSomebodyElses(t *testing.T) {
	if args := childArgs(); args != nil {
		if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		d := openStore(t, args[0], -1)
		e, ok := fetch(t, d, numbered(1, 0, 0).Key)
		if !ok || !isNumbered(e, 1) {
			t.Error("not served")
		}
		d.Put(numbered(2, 1, 1000))
		d.wg.Wait()
		if n := d.Usage().Files; n != 1 {
			t.Errorf("%d files, want 1", n)
		}
		if _, err := Open(filepath.Join(args[0], "secret"), -1, d.log); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a folder that cannot be read: %v", err)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	dir := t.TempDir()
	d := openStore(t, dir, -1)
	put(t, d, numbered(1, 1, 1000))
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Mkdir(filepath.Join(dir, "secret"), 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := reexec(t, dir)
	cmd.Stderr = nil
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A process that was stopped while it held a lock delays the others by no more than their patience, all of them together,
// and when it is gone the numbers are right.
func TestStoppedProcess(t *testing.T) {
	key := numbered(1, 0, 0).Key
	hash := Hash(key.Provider, key.Path)
	locks := map[string]int64{"account": accountAt, "folder": folderAt + int64(folderNumber(hash)), "trim": trimAt, "flight": makingLock(&key, hash)}
	if args := childArgs(); args != nil {
		d := openStore(t, args[0], -1)
		d.wg.Wait()
		if ok, err := tryLock(d.ledger.file, locks[args[1]], true); !ok || err != nil {
			t.Fatal(ok, err)
		}
		fmt.Println("ready")
		select {}
	}
	const files, patience = 40, folderPatience + 2*accountPatience
	for name := range locks {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			dir := t.TempDir()
			d := openStore(t, dir, -1)
			d.wg.Wait()
			cmd := reexec(t, dir, name)
			cmd.Stderr = nil
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err == nil {
				_, err = io.ReadFull(out, make([]byte, 5))
			}
			if err == nil {
				err = cmd.Process.Signal(syscall.SIGSTOP)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			within(t, patience+time.Second, "storing, reading and removing by many", func() {
				var wg sync.WaitGroup
				for i := 1; i <= files; i++ {
					wg.Go(func() {
						d.Put(numbered(i, 1, 1000))
						if e, ok := fetch(t, d, numbered(i, 0, 0).Key); !ok || !isNumbered(e, i) {
							t.Errorf("%d is not there", i)
						}
						if i%4 == 0 {
							d.RemoveSource("p", fmt.Sprint("n", i))
						}
					})
				}
				wg.Wait()
			})
			within(t, 2*accountPatience+time.Second/2, "claiming what another one makes", func() {
				if _, ok := d.Lock(t.Context(), &key, hash, 0); ok == (name == "flight") {
					t.Errorf("claimed is %v", ok)
				}
			})
			within(t, time.Second, "claiming with little patience", func() {
				release, _ := d.Lock(t.Context(), &key, hash, 200*time.Millisecond)
				release()
			})
			within(t, time.Second, "a trim that is not waited for", func() {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				d.Trim(ctx, 0, nil)
			})
			cmd.Process.Kill()
			cmd.Wait()
			if release, ok := d.Lock(t.Context(), &key, hash, 0); !ok {
				t.Error("a process that died has left its claim behind")
			} else {
				release()
			}
			d.Usage() // which enters what could not be entered
			d.wg.Wait()
			if u, there := account(dir), lies(t, dir); u != there {
				t.Errorf("the account says %+v, really %+v", u, there)
			}
		})
	}
}

// strace runs this test once more with a fault in system calls of its own; -P and the like come before, in options.
func strace(t *testing.T, args []string, options ...string) *exec.Cmd {
	t.Helper()
	needStrace(t)
	cmd := reexec(t, args...)
	cmd.Stderr = nil
	cmd.Args = append(append([]string{"strace", "-f", "-q", "-o", "/dev/null"}, options...), append([]string{cmd.Path}, cmd.Args[1:]...)...)
	cmd.Path, cmd.Err = exec.LookPath("strace")
	return cmd
}

// needStrace skips a test where system calls cannot be made to fail, unless that was forbidden.
var needStrace = func() func(t *testing.T) {
	try := sync.OnceValue(func() error {
		if out, err := exec.Command("strace", "-f", "-o", "/dev/null", "-e", "inject=getppid:error=EIO", "true").CombinedOutput(); err != nil {
			return fmt.Errorf("strace: %w %s", err, out)
		}
		return nil
	})
	return func(t *testing.T) {
		t.Helper()
		if err := try(); err != nil {
			if os.Getenv("THUMBCACHE_REQUIRE_FFMPEG") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}()

// An account that can be read and not written, as on a full disk that copies on write, is no reason to remove more than
// must go, nor to count without end.
func TestAccountNotWritten(t *testing.T) {
	const files = 40
	one, _ := numbered(10, 1, 1000).Seal()
	limit := files * int64(len(one))
	if args := childArgs(); args != nil {
		d := openStore(t, args[0], limit)
		d.wg.Wait()
		for i := 100; i < 130; i++ {
			d.store(numbered(i, 1, 1000))
		}
		d.Close() // ends what is counted in the background
		if u := lies(t, args[0]); u.Bytes > limit+int64(len(one)) || u.Files < files*3/4 {
			t.Errorf("%+v lie there of %d files that fit", u, files)
		}
		if n := d.Evictions.Load(); n > 100 {
			t.Errorf("%d evictions", n)
		}
		return
	}
	for _, errno := range []string{"ENOSPC", "EIO", "EDQUOT"} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := openStore(t, dir, -1)
			for i := range 20 {
				put(t, d, numbered(10+i, 1, 1000))
			}
			d.Close()
			cmd := strace(t, []string{dir}, "-P", filepath.Join(dir, usageName), "-e", "inject=pwrite64:error="+errno)
			within(t, 20*time.Second, "the story", func() {
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		})
	}
}

// A quota of the file system, with EDQUOT, needs a disk image and the tools for it, so here it is the same as any other
// error of a write; that one and the others come at every moment in TestFaultAtEveryCall of the root.

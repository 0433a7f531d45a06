package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
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

// mount mounts a file system in memory. It skips the test without the rights to do so.
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

// setLimit sets a soft limit of this process, which can be raised again.
func setLimit(what int, n uint64) error {
	var l syscall.Rlimit
	err := syscall.Getrlimit(what, &l)
	if l.Cur = min(n, l.Max); err == nil {
		err = syscall.Setrlimit(what, &l)
	}
	return err
}

const otherUser = 65534 // an unprivileged user

// A writeFault makes writes to a folder fail.
type writeFault struct {
	mount   string                 // options of the file system on which the folder is, or ""
	inject  func(dir string) error // makes writes fail
	heal    func(dir string) error // ends that
	matches func(err error) bool   // reports whether a write failed by this fault
	limit   int64                  // of the store
}

// However writing fails, hits are served, writes are tried again after a pause, and the log says so once. When the fault is over
// thumbnails are stored again.
func TestWritingFails(t *testing.T) {
	readOnly := writeFault{
		mount:   "size=4m",
		inject:  func(dir string) error { return remount(dir, "ro") }, // fails if a file is open for writing
		heal:    func(dir string) error { return remount(dir, "rw") },
		matches: func(err error) bool { return errors.Is(err, unix.EROFS) },
		limit:   -1,
	}
	fullAndReadOnly := readOnly
	fullAndReadOnly.limit = 10 * 1200
	faults := map[string]writeFault{
		"no inodes": {
			mount:   "size=4m,nr_inodes=100", // fillFolder uses them up
			inject:  func(string) error { return nil },
			heal:    func(string) error { return nil },
			matches: func(err error) bool { return errors.Is(err, unix.ENOSPC) },
			limit:   -1,
		},
		"no space": {
			mount:   "size=4m",
			inject:  func(dir string) error { return remount(dir, "size=64k") },
			heal:    func(dir string) error { return remount(dir, "size=4m") },
			matches: func(err error) bool { return errors.Is(err, unix.ENOSPC) },
			limit:   -1,
		},
		"file too big": { // for a limit of this process
			inject:  func(string) error { return setLimit(unix.RLIMIT_FSIZE, 500) },
			heal:    func(string) error { return setLimit(unix.RLIMIT_FSIZE, 1<<40) },
			matches: func(err error) bool { return errors.Is(err, unix.EFBIG) },
			limit:   -1,
		},
		"read-only":          readOnly,
		"read-only and full": fullAndReadOnly,
		"not permitted": {
			inject:  func(string) error { return syscall.Setresuid(-1, otherUser, -1) },
			heal:    func(string) error { return syscall.Setresuid(-1, 0, -1) },
			matches: func(err error) bool { return errors.Is(err, fs.ErrPermission) },
			limit:   -1,
		},
		"no descriptors": {
			inject:  func(string) error { return setLimit(unix.RLIMIT_NOFILE, 3) },
			heal:    func(string) error { return setLimit(unix.RLIMIT_NOFILE, 1<<20) },
			matches: func(err error) bool { return errors.Is(err, unix.EMFILE) },
			limit:   -1,
		},
	}
	if args := childArgs(); args != nil {
		failToWrite(t, args[1], faults[args[0]])
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can inject these faults")
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the processes mostly wait
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
			run(t, reexec(t, name, dir))
		})
	}
}

// failToWrite runs in a child process and injects the fault there.
func failToWrite(t *testing.T, dir string, fault writeFault) {
	var log lines
	d, clock := openLogged(t, dir, fault.limit, &log, new(testClock))
	max := fault.limit
	if max < 0 {
		max = 1 << 20
	}
	for i := range min(int(max/1200), 10) {
		put(t, d, numbered(i, 1, 1000))
	}
	d.wg.Wait()
	before := onDisk(t, dir)
	d.ledger.close() // it opens the file again when needed; until then the folder can be made read-only
	if err := fault.inject(dir); err != nil {
		t.Fatal(err)
	}
	failure := fillFolder(d)
	if !fault.matches(failure) {
		fault.heal(dir)
		t.Fatalf("that is not the fault: %v", failure)
	}
	for try := range 100 {
		d.store(numbered(100+try, 1, 1000))
		e, ok := fetch(t, d, numbered(try%10, 0, 0).Key)
		if served := ok && isNumbered(e, try%10); !served && !errors.Is(failure, unix.EMFILE) {
			fault.heal(dir)
			t.Fatalf("%d is not served", try%10)
		}
		clock.advance(writePause / 10)
	}
	if n := d.Errors.Load(); n < 2 {
		t.Errorf("%d errors although it was tried again and again", n)
	}
	if n := log.count(slog.LevelWarn); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, &log)
	}
	if err := fault.heal(dir); err != nil {
		t.Fatal(err)
	}
	fill, _ := filepath.Glob(filepath.Join(dir, "00", "fill*"))
	for _, path := range fill {
		os.Remove(path)
	}
	for _, name := range filesIn(t, dir) {
		if isTemp(name) {
			t.Errorf("a temporary file is left: %s", name)
		}
	}
	clock.advance(writePause)
	d.store(numbered(1000, 1, 1000))
	if e, ok := fetch(t, d, numbered(1000, 0, 0).Key); !ok || !isNumbered(e, 1000) {
		t.Error("not stored although the fault is over")
	}
	if n := log.count(slog.LevelInfo); n != 1 {
		t.Errorf("%d messages that it is over, want one:\n%s", n, &log)
	}
	d.wg.Wait()
	if u, there := d.Usage(), onDisk(t, dir); u != there || there.Files < before.Files {
		t.Errorf("usage %+v, on disk %+v, before %+v", u, there, before)
	}
}

// fillFolder writes files until there is no more room, and returns the error that ends it.
func fillFolder(d *Store) error {
	if f, err := openFolder(d.dir, "00"); err == nil {
		f.close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := d.makeFolder("00")
	for i := 0; err == nil && i < 100; i++ {
		err = os.WriteFile(filepath.Join(d.dir, "00", fmt.Sprint("fill", i)), make([]byte, 4096), 0o644)
	}
	return err
}

// Thumbnails are served from a folder that belongs to another user and cannot be written.
func TestFolderOfAnotherUser(t *testing.T) {
	if args := childArgs(); args != nil {
		if err := syscall.Setresuid(otherUser, otherUser, otherUser); err != nil {
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
		t.Skip("only root can become another user")
	}
	dir := t.TempDir()
	d := openStore(t, dir, -1)
	put(t, d, numbered(1, 1, 1000))
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Mkdir(filepath.Join(dir, "secret"), 0o700)); err != nil {
		t.Fatal(err)
	}
	run(t, reexec(t, dir))
}

// A process that is stopped while it holds a lock delays other processes by no more than their patience. When it has died the
// account becomes right again.
func TestStoppedProcess(t *testing.T) {
	key := numbered(1, 0, 0).Key
	hash := Hash(key.Provider, key.Path)
	locks := map[string]int64{"account": accountAt, "folder": folderAt + int64(folderNumber(hash)), "trim": trimAt, "making": makingLock(&key, hash)}
	if args := childArgs(); args != nil {
		d := openStore(t, args[0], -1)
		d.wg.Wait()
		if ok, err := tryLock(d.ledger.file, locks[args[1]], true); !ok || err != nil {
			t.Fatal(ok, err)
		}
		fmt.Println("ready")
		// It must not block with select{}: then the runtime finds a deadlock and ends the process, maybe before it is stopped.
		io.Copy(io.Discard, os.Stdin)
		return
	}
	const files, patience = 40, folderPatience + 2*accountPatience
	const slack = 4 * time.Second // for a busy machine; if each file waited in turn it would be 40 s
	for name := range locks {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the goroutines mostly wait
			dir := t.TempDir()
			d := openStore(t, dir, -1)
			d.wg.Wait()
			cmd := stopped(t, dir, name)
			within(t, patience+slack, "storing, reading and removing by many", func() { useConcurrently(t, d, files) })
			within(t, 2*accountPatience+slack, "a lock without patience", func() {
				if _, ok := d.Lock(t.Context(), &key, hash, 0); ok == (name == "making") {
					t.Errorf("got the lock: %v", ok)
				}
			})
			within(t, slack, "a lock with little patience", func() {
				release, _ := d.Lock(t.Context(), &key, hash, 200*time.Millisecond)
				release()
			})
			within(t, slack, "a trim whose context ends", func() {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				d.Trim(ctx, 0, nil)
			})
			cmd.Process.Kill()
			cmd.Wait()
			if release, ok := d.Lock(t.Context(), &key, hash, 0); !ok {
				t.Error("a process that died still holds its lock")
			} else {
				release()
			}
			d.Usage() // saves what could not be saved
			d.wg.Wait()
			if u, there := account(dir), onDisk(t, dir); u != there {
				t.Errorf("account %+v, on disk %+v", u, there)
			}
		})
	}
}

// useConcurrently stores and reads n entries, and removes a quarter of them, all at the same time.
func useConcurrently(t *testing.T, d *Store, n int) {
	var wg sync.WaitGroup
	for i := 1; i <= n; i++ {
		wg.Go(func() {
			d.Put(numbered(i, 1, 1000))
			if e, ok := fetch(t, d, numbered(i, 0, 0).Key); !ok || !isNumbered(e, i) {
				t.Errorf("%d is a miss", i)
			}
			if i%4 == 0 {
				d.RemoveSource("p", fmt.Sprint("n", i))
			}
		})
	}
	wg.Wait()
}

// stopped starts a child process, waits until it is ready, and stops it.
func stopped(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := reexec(t, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			t.Skip("cannot tell whether a process is stopped:", err)
		}
		_, state, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(state, "Z") {
			t.Fatal("the process has ended")
		}
		return strings.HasPrefix(state, "T")
	})
	return cmd
}

// strace returns a command that runs the same test in a child process under strace with these options.
func strace(t *testing.T, args []string, options ...string) *exec.Cmd {
	t.Helper()
	needStrace(t)
	cmd := reexec(t, args...)
	cmd.Args = append(append([]string{"strace", "-f", "--seccomp-bpf", "-q", "-o", "/dev/null"}, options...), append([]string{cmd.Path}, cmd.Args[1:]...)...)
	cmd.Path, cmd.Err = exec.LookPath("strace")
	return cmd
}

// needStrace skips the test if strace cannot inject faults here, or fails it if CI requires the tools.
var needStrace = func() func(t *testing.T) {
	try := sync.OnceValue(func() error {
		if out, err := exec.Command("strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "inject=getppid:error=EIO", "true").CombinedOutput(); err != nil {
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

// If the account can be read but not written, as on a full copy-on-write disk, no more files are evicted than necessary, and
// counting ends.
func TestAccountNotWritten(t *testing.T) {
	const files = 40
	one := sealedSize(t, numbered(10, 1, 1000))
	limit := files * one
	if args := childArgs(); args != nil {
		d := openStore(t, args[0], limit)
		d.wg.Wait()
		for i := 100; i < 130; i++ {
			d.store(numbered(i, 1, 1000))
		}
		d.Close() // ends the background count
		if u := onDisk(t, args[0]); u.Bytes > limit+one || u.Files < files*3/4 {
			t.Errorf("on disk %+v, %d files fit", u, files)
		}
		if n := d.Evictions.Load(); n > 100 {
			t.Errorf("%d evictions", n)
		}
		return
	}
	errnos := []string{"ENOSPC", "EIO", "EDQUOT"} // EDQUOT stands for a file system's quota, which a test cannot easily set up
	for _, errno := range errnos[:series(1, 3)] {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := openStore(t, dir, -1)
			for i := range 20 {
				put(t, d, numbered(10+i, 1, 1000))
			}
			d.Close()
			cmd := strace(t, []string{dir}, "-P", filepath.Join(dir, usageName), "-e", "trace=pwrite64", "-e", "inject=pwrite64:error="+errno)
			within(t, 20*time.Second, "the child process", func() { run(t, cmd) })
		})
	}
}

package ffmpeg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Some tests need a process of their own: this binary, run again.
const childEnv = "FFMPEG_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "extract":
		_, err := extractSome(context.Background(), &Tool{Path: os.Getenv("FFMPEG_TEST_PATH")})
		fmt.Println(err)
	case "full table":
		fullTable()
	case "bomb":
		(&Tool{Path: os.Getenv("FFMPEG_TEST_PATH")}).Decode(context.Background(), bomb(), Caller{})
		var u unix.Rusage
		unix.Getrusage(unix.RUSAGE_CHILDREN, &u)
		fmt.Println(u.Maxrss >> 10)
	}
}

func child(t *testing.T, mode, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+mode, "FFMPEG_TEST_PATH="+path)
	return cmd
}

// children returns the processes that this test, or another process, has started and that are not done.
func children(t *testing.T, of int) []int {
	t.Helper()
	var list []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // gone
		}
		_, rest, _ := bytes.Cut(data, []byte(") ")) // state, parent
		f := strings.Fields(string(rest))
		if len(f) > 1 && f[0] != "Z" && f[1] == strconv.Itoa(of) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			list = append(list, pid)
		}
	}
	return list
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal(what)
		}
	}
}

// X8: the parent is killed and has no chance to do anything about ffmpeg. (What ffmpeg itself had started would go on, if it
// started anything.)
func TestDeathWithParent(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cmd := child(t, "extract", standIn(t, "exec sleep 60"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	await(t, "no child", func() bool {
		for _, p := range children(t, cmd.Process.Pid) {
			if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p)); string(name) == "sleep\n" {
				pid = p
			}
		}
		return pid != 0
	})
	cmd.Process.Kill()
	cmd.Wait()
	await(t, "it lives on", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	})
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// X9: no process can be started, or no file opened. That is an error of the moment, which is over when there is room again.
func TestFullTable(t *testing.T) {
	out, err := child(t, "full table", "").CombinedOutput()
	if err != nil || string(out) != "done\n" {
		t.Errorf("got %v:\n%s", err, out)
	}
}

func fullTable() {
	media, err := os.CreateTemp("", "")
	if err != nil {
		panic(err)
	}
	defer media.Close()
	os.Remove(media.Name())
	media.Write(someMedia)

	// Threads count as processes, so there have to be enough of them before.
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			time.Sleep(20 * time.Millisecond)
		})
	}
	wg.Wait()
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil { // nobody
			panic(err)
		}
	}
	tool := &Tool{Path: "/bin/sh"} // is no ffmpeg, but there
	extract := func() error {
		_, err := tool.Extract(context.Background(), media, int64(len(someMedia)), Caller{})
		return err
	}
	limited := func(resource int, to uint64) error {
		var r unix.Rlimit
		if err := unix.Getrlimit(resource, &r); err != nil {
			panic(err)
		}
		few := r
		few.Cur = min(r.Cur, to)
		if err := unix.Setrlimit(resource, &few); err != nil {
			panic(err)
		}
		err := extract()
		if err := unix.Setrlimit(resource, &r); err != nil {
			panic(err)
		}
		return err
	}
	fds := func() uint64 { list, _ := os.ReadDir("/proc/self/fd"); return uint64(len(list)) }

	before := extract() // whatever it opens once is open
	n := fds()
	for _, tt := range []struct {
		resource int
		to       uint64
		want     error
	}{{unix.RLIMIT_NPROC, 1, syscall.EAGAIN}, {unix.RLIMIT_NOFILE, n - 1, syscall.EMFILE}, {unix.RLIMIT_NOFILE, 1, syscall.EMFILE}} {
		err := limited(tt.resource, tt.to)
		if !errors.Is(err, tt.want) || isSure(err) || errors.Is(err, exec.ErrNotFound) || strings.Contains(err.Error(), os.TempDir()) {
			fmt.Printf("got %v, want %v\n", err, tt.want)
		}
		if after := extract(); fmt.Sprint(after) != fmt.Sprint(before) {
			fmt.Printf("was %v, is %v\n", before, after)
		}
	}
	if now := fds(); now != n {
		fmt.Printf("%d descriptors, and now %d\n", n, now)
	}
	fmt.Println("done")
}

// Never are there more processes than allowed, as counted from outside and by Started.
func TestCap(t *testing.T) {
	path := makePlain(t, t.TempDir())
	tool := &Tool{Path: system.Path, Processes: 3}
	if _, err := extract(t, tool, path); err != nil {
		t.Fatal(err)
	}
	var running, peak atomic.Int32
	started := func() func() {
		n := running.Add(1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		return func() { running.Add(-1) }
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			f, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			info, _ := f.Stat()
			by := Caller{Groups: [][]string{nil, {"a"}, {"b"}, {"b", "c"}}[i%4], Started: started}
			if _, err := tool.Extract(t.Context(), f, info.Size(), by); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	most := 0
	for {
		select {
		case <-done:
			if most != 3 || peak.Load() != 3 || running.Load() != 0 {
				t.Errorf("%d children at once, %d by Started, %d left", most, peak.Load(), running.Load())
			}
			return
		default:
			most = max(most, len(children(t, os.Getpid())))
		}
	}
}

// X10: nothing is left of many runs of every kind.
func TestNothingLeft(t *testing.T) {
	temp := t.TempDir()
	media, err := os.Open(makePlain(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer media.Close()
	info, _ := media.Stat()
	t.Setenv("TMPDIR", temp)
	listing := "echo 'Input #0, mov, from fd:\n  Stream #0:0: Video: h264, yuv420p, 64x64' >&2\n"
	tools := []*Tool{
		{Path: standIn(t, "true")}, {Path: standIn(t, "kill -9 $$")}, {Path: standIn(t, "sleep 60"), Timeout: 10 * time.Millisecond},
		{Path: standIn(t, listing+"printf '\\377\\330\\377cut off'")}, {Path: filepath.Join(temp, "missing")},
		{Path: standIn(t, "sleep 60 & exit 1")},
	}
	flood := &Tool{Path: standIn(t, "yes")}
	runs, real := 1000, 60
	if testing.Short() {
		runs, real = 100, 6
	}
	do := func(runs, real int) {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := i; j < runs; j += 4 {
					tool := tools[j%len(tools)]
					if j%100 == 0 {
						tool = flood
					}
					if j%2 == 0 {
						extractSome(t.Context(), tool)
					} else {
						tool.Decode(t.Context(), someMedia, Caller{Groups: []string{"a"}})
					}
				}
				for j := i; j < real; j += 4 {
					ctx, cancel := context.WithCancel(t.Context())
					if j%10 == 9 { // somebody leaves
						time.AfterFunc(30*time.Millisecond, cancel)
					}
					if _, err := system.Extract(ctx, media, info.Size(), Caller{}); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
					cancel()
				}
			})
		}
		wg.Wait()
	}
	do(24, 4) // whatever is opened once is open
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	do(runs, real)
	if now := descriptors(t); len(now) > len(fds) {
		t.Errorf("descriptors left: %v, then %v", fds, now)
	}
	await(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= goroutines })
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func descriptors(t *testing.T) []string {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// With no descriptor left a file that could be handed over is not spooled instead, and one that is too large for that is not
// called unsupported.
func TestNoDescriptors(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tool := &Tool{Path: standIn(t, "exit 1")}
	for _, size := range []int64{100, maxSpool + 1} {
		if err := f.Truncate(size); err != nil { // a hole
			t.Fatal(err)
		}
		var was, l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		l = was
		l.Cur = 3
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
		_, err := tool.Extract(t.Context(), f, size, Caller{})
		if err2 := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err2 != nil {
			t.Fatal(err2)
		}
		if !errors.Is(err, syscall.EMFILE) || isSure(err) || strings.Contains(err.Error(), "/") {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

// What is no regular file is refused at once, and not opened by ffmpeg, which would wait for ever.
func TestNotRegular(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	for _, name := range []string{path, "/dev/zero", filepath.Dir(path)} {
		f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = system.Extract(t.Context(), f, 100, Caller{})
		if err == nil || isSure(err) && name != "/dev/zero" || errors.Is(err, fs.ErrNotExist) { // zeros are read as such
			t.Errorf("%s: got %v", name, err)
		}
		f.Close()
	}
}

// F7: a small file cannot make ffmpeg take much memory. (Without the limits it takes 1.6 GB.)
func TestMemory(t *testing.T) {
	needFFmpeg(t)
	out, err := child(t, "bomb", system.Path).CombinedOutput()
	mib, numErr := strconv.Atoi(strings.TrimSpace(string(out)))
	if err := errors.Join(err, numErr); err != nil || mib < 10 || mib > 700 {
		t.Errorf("%s MiB, %v", out, err)
	}
}

func init() {
	cpuTime = func() (sum time.Duration) {
		for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
			var u unix.Rusage
			if unix.Getrusage(who, &u) == nil {
				sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
			}
		}
		return sum
	}
}

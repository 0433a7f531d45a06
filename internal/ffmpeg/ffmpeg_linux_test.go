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
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	childModes["extract"] = func() {
		_, err := extractSome(context.Background(), &Tool{Path: os.Getenv("FFMPEG_TEST_PATH")})
		fmt.Println(err)
	}
	childModes["full table"] = exhaustTables
	childModes["bomb"] = func() {
		_, err := (&Tool{Path: os.Getenv("FFMPEG_TEST_PATH")}).Decode(context.Background(), bomb(), Caller{})
		if errors.Is(err, context.DeadlineExceeded) {
			fmt.Println(err)
		}
		var u unix.Rusage
		unix.Getrusage(unix.RUSAGE_CHILDREN, &u)
		fmt.Println(u.Maxrss >> 10)
	}
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

// child returns a command that runs this test binary in a mode of childModes.
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

// children returns the running child processes of a process.
func children(t *testing.T, parent int) []int {
	t.Helper()
	var list []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has exited
		}
		_, rest, _ := bytes.Cut(data, []byte(") ")) // state, parent, ...
		f := strings.Fields(string(rest))
		if len(f) > 1 && f[0] != "Z" && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			list = append(list, pid)
		}
	}
	return list
}

// ffmpeg dies with its parent, even when SIGKILL leaves the parent no time to clean up.
func TestDeathWithParent(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cmd := child(t, "extract", fakeFFmpeg(t, "exec sleep 60"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	await(t, "ffmpeg was not started", func() bool {
		for _, p := range children(t, cmd.Process.Pid) {
			if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p)); string(name) == "sleep\n" {
				pid = p
			}
		}
		return pid != 0
	})
	cmd.Process.Kill()
	cmd.Wait()
	await(t, "ffmpeg outlives its parent", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	})
	if files, _ := os.ReadDir(temp); len(files) != 0 {
		t.Errorf("temporary files leaked: %v", files)
	}
}

// An error is temporary if no process can be started or no file opened, and the next call works.
func TestFullTables(t *testing.T) {
	out, err := child(t, "full table", "").CombinedOutput()
	if err != nil || string(out) != "done\n" {
		t.Errorf("got %v:\n%s", err, out)
	}
}

// exhaustTables extracts with the process table and the descriptor table full, and prints what is wrong.
func exhaustTables() {
	media, err := os.CreateTemp("", "")
	if err != nil {
		panic(err)
	}
	defer media.Close()
	os.Remove(media.Name())
	media.Write(someMedia)

	startThreads(20) // the limit of processes counts threads too, so the runtime must not need new ones
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil { // the overflow user
			panic(err)
		}
	}
	tool := &Tool{Path: "/bin/sh"} // exists and is not ffmpeg
	extract := func() error {
		_, err := tool.Extract(context.Background(), media, int64(len(someMedia)), Caller{})
		return err
	}
	extractLimited := func(resource int, to uint64) error {
		var r unix.Rlimit
		if err := unix.Getrlimit(resource, &r); err != nil {
			panic(err)
		}
		lowered := r
		lowered.Cur = min(r.Cur, to)
		if err := unix.Setrlimit(resource, &lowered); err != nil {
			panic(err)
		}
		err := extract()
		if err := unix.Setrlimit(resource, &r); err != nil {
			panic(err)
		}
		return err
	}
	fds := func() uint64 { list, _ := os.ReadDir("/proc/self/fd"); return uint64(len(list)) }

	before := extract() // opens what the runtime opens only once
	n := fds()
	for _, tt := range []struct {
		resource int
		to       uint64
		want     error
	}{{unix.RLIMIT_NPROC, 1, syscall.EAGAIN}, {unix.RLIMIT_NOFILE, n - 1, syscall.EMFILE}, {unix.RLIMIT_NOFILE, 1, syscall.EMFILE}} {
		err := extractLimited(tt.resource, tt.to)
		if !errors.Is(err, tt.want) || isPermanent(err) || errors.Is(err, exec.ErrNotFound) || strings.Contains(err.Error(), os.TempDir()) {
			fmt.Printf("got %v, want %v\n", err, tt.want)
		}
		if after := extract(); fmt.Sprint(after) != fmt.Sprint(before) {
			fmt.Printf("got %v before and %v after\n", before, after)
		}
	}
	if now := fds(); now != n {
		fmt.Printf("%d descriptors before and %d after\n", n, now)
	}
	fmt.Println("done")
}

// startThreads makes the runtime start n threads, which it keeps.
func startThreads(n int) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	for range n {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			ready.Wait()
		})
	}
	done.Wait()
}

// The number of processes never exceeds the limit, as counted from outside and by Started.
func TestProcessLimit(t *testing.T) {
	path := plainVideo(t)
	tool := &Tool{Path: system.Path, Processes: 3}
	if _, err := extract(t, tool, path); err != nil {
		t.Fatal(err)
	}
	var counted gauge
	calls := 8
	if isFull() {
		calls = 40
	}
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			by := Caller{Groups: [][]string{nil, {"a"}, {"b"}, {"b", "c"}}[i%4], Started: counted.started}
			if _, err := extractFile(t, tool, path, by); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	most := 0
	sample := time.NewTicker(10 * time.Millisecond) // one look takes milliseconds
	defer sample.Stop()
	for {
		select {
		case <-done:
			if most > 3 || counted.peak.Load() != 3 || counted.running.Load() != 0 {
				t.Errorf("limit of 3: saw %d children at once, Started counted %d, and %d never ended",
					most, counted.peak.Load(), counted.running.Load())
			}
			return
		case <-sample.C:
			most = max(most, len(children(t, os.Getpid())))
		}
	}
}

// Many runs of every kind leak neither descriptors, goroutines, processes nor temporary files.
func TestNoLeaks(t *testing.T) {
	temp := t.TempDir()
	media, err := os.Open(plainVideo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer media.Close()
	info, _ := media.Stat()
	t.Setenv("TMPDIR", temp)
	listing := "echo 'Input #0, mov, from fd:\n  Stream #0:0: Video: h264, yuv420p, 64x64' >&2\n"
	tools := []*Tool{
		{Path: fakeFFmpeg(t, "true")}, {Path: fakeFFmpeg(t, "kill -9 $$")}, {Path: fakeFFmpeg(t, "sleep 60"), Timeout: 10 * time.Millisecond},
		{Path: fakeFFmpeg(t, listing+"printf '\\377\\330\\377truncated'")}, {Path: filepath.Join(temp, "missing")},
		{Path: fakeFFmpeg(t, "sleep 60 & exit 1")},
	}
	flood := &Tool{Path: fakeFFmpeg(t, "yes")}
	runFake := func(i int) {
		tool := tools[i%len(tools)]
		if i%100 == 0 {
			tool = flood
		}
		if i%2 == 0 {
			extractSome(t.Context(), tool)
		} else {
			tool.Decode(t.Context(), someMedia, Caller{Groups: []string{"a"}})
		}
	}
	runReal := func(i int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if i%10 == 3 { // a caller cancels, probably while ffmpeg runs
			time.AfterFunc(30*time.Millisecond, cancel)
		}
		if _, err := system.Extract(ctx, media, info.Size(), Caller{}); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	fakeRuns, realRuns := 24, 4
	if isFull() {
		fakeRuns, realRuns = 1000, 60
	}
	inParallel(12, runFake) // opens what the runtime opens only once
	inParallel(4, runReal)
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	inParallel(fakeRuns, runFake)
	inParallel(realRuns, runReal)
	if now := descriptors(t); len(now) > len(fds) {
		t.Errorf("descriptors leaked: %v before and %v after", fds, now)
	}
	await(t, "goroutines leaked", func() bool { return runtime.NumGoroutine() <= goroutines })
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child process leaked: %d, %v", pid, err)
	}
	if files, _ := os.ReadDir(temp); len(files) != 0 {
		t.Errorf("temporary files leaked: %v", files)
	}
}

// inParallel calls f with 0 to n-1 on 4 goroutines.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := i; j < n; j += 4 {
				f(j)
			}
		})
	}
	wg.Wait()
}

// descriptors returns what the open descriptors refer to.
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

// With no descriptor left, a file is neither spooled instead nor called unsupported.
func TestNoDescriptors(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tool := &Tool{Path: fakeFFmpeg(t, "exit 1")}
	for _, size := range []int64{100, maxSpool + 1} {
		if err := f.Truncate(size); err != nil { // allocates no space
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
		if !errors.Is(err, syscall.EMFILE) || isPermanent(err) || strings.Contains(err.Error(), "/") {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

// Anything but a regular file is refused before ffmpeg opens it and blocks.
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
		if err == nil || isPermanent(err) && name != "/dev/zero" || errors.Is(err, fs.ErrNotExist) { // /dev/zero may be read as zeros
			t.Errorf("%s: got %v", name, err)
		}
		f.Close()
	}
}

// A decompression bomb may decode or fail, but within the timeout and in little memory. Without limits this one uses 1.6 GB.
func TestMemory(t *testing.T) {
	t.Parallel()
	needFFmpeg(t)
	out, err := child(t, "bomb", system.Path).CombinedOutput()
	mib, numErr := strconv.Atoi(strings.TrimSpace(string(out)))
	if err := errors.Join(err, numErr); err != nil || mib < 10 || mib > 700 {
		t.Errorf("%s MiB, %v", out, err)
	}
}

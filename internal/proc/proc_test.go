package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The child process is this test binary, run with an argument that selects its behaviour.
const childEnv = "PROC_TEST_CHILD=1"

func TestMain(m *testing.M) {
	if slices.Contains(os.Environ(), childEnv) {
		runChild(os.Args[1:])
		exit(0)
	}
	os.Exit(m.Run())
}

// exit exits without the hooks of os.Exit: a binary built with -cover would print to standard error, and one built with -race
// would sleep for a second.
func exit(code int) { syscall.Exit(code) }

func runChild(args []string) {
	switch args[0] {
	case "say":
		fmt.Print(args[1])
	case "stdin":
		io.Copy(os.Stdout, os.Stdin)
	case "env":
		dir, _ := os.Getwd()
		fmt.Println(dir, os.Environ())
	case "exit":
		code, _ := strconv.Atoi(args[1])
		fmt.Fprint(os.Stderr, "secret")
		exit(code)
	case "hang":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		fmt.Fprint(os.NewFile(0, "beacon"), "up")
		time.Sleep(time.Hour)
	case "family": // starts a grandchild that holds the pipes, then hangs or exits
		c := exec.Command(os.Args[0], "hang")
		c.Stdin, c.Stdout, c.Stderr = os.NewFile(0, "beacon"), os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			panic(err)
		}
		fmt.Print("done")
		if args[1] == "hang" {
			time.Sleep(time.Hour)
		}
	case "flood":
		w := os.Stdout
		if args[1] == "stderr" {
			w = os.Stderr
		}
		line := bytes.Repeat([]byte("y"), 1<<15)
		for n := 0; args[1] == "stdout" || n < 64; n++ {
			w.Write(line)
		}
		fmt.Fprint(w, "the end")
	case "kill":
		p, _ := os.FindProcess(os.Getpid())
		p.Kill()
		time.Sleep(time.Hour)
	case "unprivileged":
		runUnprivileged()
	case "priority":
		printPriority(args[1])
	case "parent":
		Run(context.Background(), Cmd{Path: os.Args[0], Args: []string{"hang"}, Env: []string{childEnv}, Stdin: os.Stdin})
	}
}

// self returns a command that runs this test binary as a child.
func self(args ...string) Cmd {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Cmd{Path: path, Args: args, Env: []string{childEnv}}
}

// program returns a command that runs a program of the system.
func program(t *testing.T, name string, args ...string) Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	return Cmd{Path: path, Args: args}
}

// A beacon is a pipe whose writing end is the standard input of a child. It shows when the child is running, and when the
// child and all processes that inherited the pipe have exited.
type beacon struct {
	t    *testing.T
	r, w *os.File
}

func newBeacon(t *testing.T) *beacon {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a child on Windows cannot write to its standard input")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &beacon{t, r, w}
}

// awaitLimit keeps a failing test from hanging. It is far longer than any wait of a passing test.
const awaitLimit = time.Minute

func (b *beacon) awaitUp() {
	b.t.Helper()
	b.r.SetReadDeadline(time.Now().Add(awaitLimit))
	if _, err := io.ReadFull(b.r, make([]byte, 2)); err != nil {
		b.t.Error("the child did not start:", err)
	}
}

func (b *beacon) awaitGone() {
	b.t.Helper()
	b.w.Close()
	b.r.SetReadDeadline(time.Now().Add(awaitLimit))
	if _, err := io.Copy(io.Discard, b.r); err != nil {
		b.t.Error("a process still holds the pipe:", err)
	}
}

// failure returns err as an *Error.
func failure(t *testing.T, err error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

func TestRun(t *testing.T) {
	res, err := Run(t.Context(), self("say", "hello"))
	if err != nil || string(res.Stdout) != "hello" || len(res.Stderr) != 0 {
		t.Errorf("got %q, %q, %v", res.Stdout, res.Stderr, err)
	}
}

func TestStdin(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := self("stdin")
	c.Stdin = f
	if res, err := Run(t.Context(), c); err != nil || string(res.Stdout) != "content" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	if res, err := Run(t.Context(), self("stdin")); err != nil || len(res.Stdout) != 0 {
		t.Errorf("without a file: got %q, %v", res.Stdout, err)
	}
}

// The child gets no environment variable of the parent, and the root folder as its working directory.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "1")
	res, err := Run(t.Context(), self("env"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(res.Stdout); runtime.GOOS != "windows" && got != fmt.Sprintln("/", []string{childEnv}) {
		t.Errorf("got %q", got)
	}
	if bytes.Contains(res.Stdout, []byte("SECRET")) {
		t.Error("the child sees the parent's environment")
	}
}

func TestExitStatus(t *testing.T) {
	_, err := Run(t.Context(), self("exit", "3"))
	e := failure(t, err)
	if e.ExitCode != 3 || e.Signal != nil || e.Err != nil || string(e.Stderr) != "secret" {
		t.Errorf("got %+v", e)
	}
	if strings.Contains(e.Error(), "secret") {
		t.Error("the error text contains output of the child")
	}
}

// The error of a child that another process killed has a signal and no cause.
func TestKilled(t *testing.T) {
	_, err := Run(t.Context(), self("kill"))
	if e := failure(t, err); runtime.GOOS != "windows" && (e.Signal != syscall.SIGKILL || e.Err != nil) {
		t.Errorf("got %+v", e)
	}
}

// The timeout kills a child that ignores SIGTERM and a grandchild that holds the pipes.
func TestTimeout(t *testing.T) {
	b := newBeacon(t)
	c := self("family", "hang")
	c.Stdin, c.Timeout = b.w, 500*time.Millisecond
	start := time.Now()
	_, err := Run(t.Context(), c)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > awaitLimit {
		t.Errorf("Run took %v with a timeout of %v", d, c.Timeout)
	}
	b.awaitGone()
}

// A grandchild that outlives a successful child is killed.
func TestGrandchild(t *testing.T) {
	b := newBeacon(t)
	c := self("family", "exit")
	c.Stdin = b.w
	if res, err := Run(t.Context(), c); err != nil || string(res.Stdout) != "done" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	b.awaitGone()
}

// Cancellation kills a running child and prevents the start of another.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	b := newBeacon(t)
	c := self("hang")
	c.Stdin = b.w
	go func() {
		b.awaitUp()
		cancel(errors.New("the caller's own cause"))
	}()
	_, err := Run(ctx, c)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	b.awaitGone()

	_, err = Run(ctx, self("say", "hello"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("started after cancellation: got %v", err)
	}
}

// A child that writes too much to standard output is killed. Of standard error the end is kept.
func TestTooMuchOutput(t *testing.T) {
	c := self("flood", "stdout")
	c.MaxOutput = 1 << 20
	res, err := Run(t.Context(), c)
	if !errors.Is(err, ErrOutput) || len(res.Stdout) > 1<<20 {
		t.Errorf("stdout: got %d bytes, %v", len(res.Stdout), err)
	}
	res, err = Run(t.Context(), self("flood", "stderr"))
	if err != nil || len(res.Stderr) != 4<<10 || !bytes.HasSuffix(res.Stderr, []byte("the end")) {
		t.Errorf("stderr: kept %d bytes, %v", len(res.Stderr), err)
	}
}

// Enough kills the child once it returns true.
func TestEnough(t *testing.T) {
	c := self("flood", "stdout")
	calls, last := 0, 0
	c.Enough = func(stdout []byte) bool {
		calls++
		if len(stdout) <= last {
			t.Errorf("got %d bytes after %d", len(stdout), last)
		}
		last = len(stdout)
		return last > 100_000
	}
	res, err := Run(t.Context(), c)
	if err != nil || len(res.Stdout) < last || last <= 100_000 || last > 1<<20 || calls < 2 {
		t.Errorf("got %d bytes, seen %d in %d calls, %v", len(res.Stdout), last, calls, err)
	}

	// An Enough that never returns true changes nothing.
	c = self("say", "hello")
	c.Enough = func([]byte) bool { return false }
	if res, err := Run(t.Context(), c); err != nil || string(res.Stdout) != "hello" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	c = self("exit", "3")
	c.Enough = func([]byte) bool { return true } // not called, because the child writes no output
	if _, err := Run(t.Context(), c); failure(t, err).ExitCode != 3 {
		t.Errorf("got %v", err)
	}
}

func TestTailBuffer(t *testing.T) {
	var all []byte
	w := tailBuffer{max: 10}
	for i := range 100 {
		p := bytes.Repeat([]byte{byte('a' + i%26)}, i%23)
		all = append(all, p...)
		if n, err := w.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		if got, want := w.bytes(), all[max(0, len(all)-10):]; !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// The error of a program that cannot be started names the reason and no file.
func TestNotStarted(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign")
	if err := os.WriteFile(foreign, []byte("\x7fELF no"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want error
	}{
		{filepath.Join(dir, "missing"), exec.ErrNotFound},
		{plain, fs.ErrPermission},
		{foreign, syscall.Errno(8)}, // ENOEXEC
		{"relative", fs.ErrInvalid},
	} {
		if runtime.GOOS == "windows" && (tt.path == plain || tt.path == foreign) {
			continue
		}
		_, err := Run(t.Context(), Cmd{Path: tt.path})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", filepath.Base(tt.path), err, tt.want)
		}
		if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v mentions a file", filepath.Base(tt.path), err)
		}
	}
}

// Many runs of every kind leak neither descriptors, goroutines nor processes.
func TestNoLeaks(t *testing.T) {
	runs := 60
	if os.Getenv("THUMBCACHE_FULL") == "1" {
		runs = 400
	}
	kinds := [][]string{{"say", "hello"}, {"exit", "1"}, {"kill"}, {"family", "exit"}, {"flood", "stdout"}, {"hang"}}
	do := func(n int) {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := i; j < n; j += 4 {
					c := self(kinds[j%len(kinds)]...)
					c.MaxOutput = 1 << 20
					if c.Args[0] == "hang" {
						c.Timeout = 10 * time.Millisecond
					}
					Run(t.Context(), c)
				}
			})
		}
		wg.Wait()
	}
	do(8) // opens what the runtime opens only once
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	do(runs)
	if n := descriptors(t); n > fds {
		t.Errorf("%d descriptors leaked", n-fds)
	}
	for start := time.Now(); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) { // some may be exiting
		if time.Since(start) > awaitLimit {
			t.Fatalf("%d goroutines leaked", runtime.NumGoroutine()-goroutines)
		}
	}
	checkNoChildren(t)
}

// descriptors returns the number of open descriptors, or 0 if the system does not tell.
func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

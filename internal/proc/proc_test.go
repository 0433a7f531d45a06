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

// The child is this test binary, run again with an argument that says how to behave.
const childEnv = "PROC_TEST_CHILD=1"

// A program built with -race sleeps for a second before it exits, unless told not to.
var childEnvs = []string{childEnv, "GORACE=atexit_sleep_ms=0"}

func TestMain(m *testing.M) {
	if slices.Contains(os.Environ(), childEnv) {
		child(os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(args []string) {
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
		os.Exit(code)
	case "hang":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		fmt.Fprint(os.NewFile(0, "beacon"), "up")
		time.Sleep(time.Hour)
	case "family": // a grandchild holds the pipes; then as told
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
	case "nobody":
		nobody()
	case "parent":
		Run(context.Background(), Cmd{Path: os.Args[0], Args: []string{"hang"}, Env: childEnvs, Stdin: os.Stdin})
	}
}

func self(args ...string) Cmd {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Cmd{Path: path, Args: args, Env: childEnvs}
}

// program is a program of the system's, for what a Go program cannot show of itself.
func program(t *testing.T, name string, args ...string) Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	return Cmd{Path: path, Args: args}
}

// A beacon is a pipe whose writing end goes to a child as its standard input. It tells when the child is up, and when it and
// all who got the pipe from it are gone.
type beacon struct {
	t    *testing.T
	r, w *os.File
}

func newBeacon(t *testing.T) *beacon {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no standard input that can be written to")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &beacon{t, r, w}
}

// The limits here and below are far beyond what is expected: they keep a failing test from hanging.
func (b *beacon) awaitUp() {
	b.t.Helper()
	b.r.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.ReadFull(b.r, make([]byte, 2)); err != nil {
		b.t.Error("child is not up:", err)
	}
}

func (b *beacon) awaitGone() {
	b.t.Helper()
	b.w.Close()
	b.r.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, b.r); err != nil {
		b.t.Error("somebody still lives:", err)
	}
}

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

// X6: nothing of the parent's environment, and a folder that means nothing.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "1")
	res, err := Run(t.Context(), self("env"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(res.Stdout); runtime.GOOS != "windows" && got != fmt.Sprintln("/", childEnvs) {
		t.Errorf("got %q", got)
	}
	if bytes.Contains(res.Stdout, []byte("SECRET")) {
		t.Error("the parent's environment leaks")
	}
}

func TestExitStatus(t *testing.T) {
	_, err := Run(t.Context(), self("exit", "3"))
	e := failure(t, err)
	if e.ExitCode != 3 || e.Signal != nil || e.Err != nil || string(e.Stderr) != "secret" {
		t.Errorf("got %+v", e)
	}
	if strings.Contains(e.Error(), "secret") {
		t.Error("the text of the error quotes the child")
	}
}

// X4: a child that is killed by somebody else is told from one that ended, and from one that we killed.
func TestKilled(t *testing.T) {
	_, err := Run(t.Context(), self("kill"))
	if e := failure(t, err); runtime.GOOS != "windows" && (e.Signal != syscall.SIGKILL || e.Err != nil) {
		t.Errorf("got %+v", e)
	}
}

// X1: the child ignores SIGTERM and a grandchild holds the pipes.
func TestTimeout(t *testing.T) {
	b := newBeacon(t)
	c := self("family", "hang")
	c.Stdin, c.Timeout = b.w, 500*time.Millisecond
	start := time.Now()
	_, err := Run(t.Context(), c)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > c.Timeout+5*time.Second {
		t.Errorf("came back after %v", d)
	}
	b.awaitGone()
}

// The child ends well and leaves a grandchild behind.
func TestLeftBehind(t *testing.T) {
	b := newBeacon(t)
	c := self("family", "exit")
	c.Stdin = b.w
	if res, err := Run(t.Context(), c); err != nil || string(res.Stdout) != "done" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	b.awaitGone()
}

// X7: cancelled before and while it runs. (The queue is not ours.)
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	b := newBeacon(t)
	c := self("hang")
	c.Stdin = b.w
	go func() {
		b.awaitUp()
		cancel(errors.New("a cause of the caller's"))
	}()
	_, err := Run(ctx, c)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	b.awaitGone()

	_, err = Run(ctx, self("say", "hello"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: got %v", err)
	}
}

// X2: floods.
func TestFlood(t *testing.T) {
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

// Who has enough ends the child.
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

	// Never is enough.
	c = self("say", "hello")
	c.Enough = func([]byte) bool { return false }
	if res, err := Run(t.Context(), c); err != nil || string(res.Stdout) != "hello" {
		t.Errorf("got %q, %v", res.Stdout, err)
	}
	c = self("exit", "3")
	c.Enough = func([]byte) bool { return true } // of nothing
	if _, err := Run(t.Context(), c); failure(t, err).ExitCode != 3 {
		t.Errorf("got %v", err)
	}
}

func TestTail(t *testing.T) {
	var all []byte
	w := tail{max: 10}
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

// X5: what cannot be started.
func TestNotStarted(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	alien := filepath.Join(dir, "alien")
	if err := os.WriteFile(alien, []byte("\x7fELF no"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want error
	}{
		{filepath.Join(dir, "missing"), exec.ErrNotFound},
		{plain, fs.ErrPermission},
		{alien, syscall.Errno(8)}, // ENOEXEC
		{"relative", fs.ErrInvalid},
	} {
		if runtime.GOOS == "windows" && (tt.path == plain || tt.path == alien) {
			continue
		}
		_, err := Run(t.Context(), Cmd{Path: tt.path})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", filepath.Base(tt.path), err, tt.want)
		}
		if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v speaks of a file", filepath.Base(tt.path), err)
		}
	}
}

// X10: nothing is left of many runs of every kind.
func TestNothingLeft(t *testing.T) {
	runs := 200
	if testing.Short() {
		runs = 40
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
	do(8) // whatever is opened once, is now
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	do(runs)
	if n := descriptors(t); n > fds {
		t.Errorf("%d descriptors left", n-fds)
	}
	for range 100 { // the last ones may be on their way out
		if runtime.NumGoroutine() <= goroutines {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines left", n-goroutines)
	}
	noChildren(t)
}

func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // told on Linux only
	}
	return len(list)
}

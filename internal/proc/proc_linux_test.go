package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// noChildren checks that this process has no child left, be it alive or a zombie.
func noChildren(t *testing.T) {
	t.Helper()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}

func TestLimits(t *testing.T) {
	c := program(t, "cat", "/proc/self/limits")
	c.Limits = Limits{AddressSpace: 1 << 30, CPU: 4100 * time.Millisecond, OpenFiles: 50}
	res, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Max cpu time +5 +5 `,
		`Max file size +0 +0 `,
		`Max core file size +0 +0 `,
		`Max open files +50 +50 `,
		`Max address space +1073741824 +1073741824 `,
	} {
		if !regexp.MustCompile(want).Match(res.Stdout) {
			t.Errorf("no %q in\n%s", want, res.Stdout)
		}
	}
}

// The child is under its limits from its first instruction: it could not even be loaded.
func TestLimitsWithoutRace(t *testing.T) {
	if status, _ := os.ReadFile("/proc/self/status"); !strings.Contains(string(status), "TracerPid:\t0\n") {
		t.Skip("a debugger has taken the place")
	}
	c := program(t, "true")
	c.Limits.AddressSpace = 64 << 10
	for range 20 {
		if _, err := Run(t.Context(), c); err == nil {
			t.Fatal("ran without its limits; is ptrace forbidden here?")
		}
	}
}

func TestDescriptors(t *testing.T) {
	f, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res, err := Run(t.Context(), program(t, "ls", "/proc/self/fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range strings.Fields(string(res.Stdout)) {
		fd, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		// 3 is the folder being listed. What the shell gave to this process is no business of ours.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fd > 3 && (err != nil || flags&unix.FD_CLOEXEC != 0) {
			t.Errorf("descriptor %d is open in the child", fd)
		}
	}
}

func TestNoNetwork(t *testing.T) {
	if exec.Command("unshare", "-n", "true").Run() != nil && exec.Command("unshare", "-rn", "true").Run() != nil {
		t.Skip("not permitted here")
	}
	res, err := Run(t.Context(), program(t, "cat", "/proc/self/net/dev"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(res.Stdout), ":"); n != 1 {
		t.Errorf("more than the loopback:\n%s", res.Stdout)
	}
}

// Who is not root has no network either, where user namespaces are permitted, and can still open again what was handed over.
func TestNobody(t *testing.T) {
	out, err := Run(t.Context(), self("nobody"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.Stderr)
	}
	content, devices, _ := strings.Cut(string(out.Stdout), "\n")
	if content != "content" {
		t.Errorf("got %q", out.Stdout)
	}
	if n := strings.Count(devices, ":"); n != 1 {
		if exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-rn", "true").Run() != nil {
			t.Skip("not permitted here")
		}
		t.Errorf("more than the loopback:\n%s", devices)
	}
}

// nobody runs a program as somebody who is not root, and says what that says.
func nobody() {
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
			panic(err)
		}
	}
	r, w, err := os.Pipe() // no file, since the limits forbid to write one
	if err != nil {
		panic(err)
	}
	w.WriteString("content\n")
	w.Close()
	path, err := exec.LookPath("/bin/cat")
	if err != nil {
		panic(err)
	}
	res, err := Run(context.Background(), Cmd{Path: path, Args: []string{"/proc/self/fd/0", "/proc/self/net/dev"}, Stdin: r})
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(res.Stdout)
}

// X8: the parent is killed and has no chance to do anything about its child.
func TestDeathWithParent(t *testing.T) {
	b := newBeacon(t)
	c := self("parent")
	parent := exec.Command(c.Path, c.Args...)
	parent.Env, parent.Stdin = c.Env, b.w
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	b.awaitUp()
	parent.Process.Kill()
	parent.Wait()
	b.awaitGone()
}

// X9: a full table is an error of the moment, keeps its number and leaves nothing behind.
func TestFullTable(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	c := self("say", "hello")
	runtime.GC()
	n := descriptors(t)
	few := before
	few.Cur = uint64(n)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	_, err := Run(t.Context(), c)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("got %v", err)
	}
	if now := descriptors(t); now > n {
		t.Errorf("%d descriptors left", now-n)
	}
	if _, err := Run(t.Context(), c); err != nil {
		t.Error("afterwards:", err)
	}
}

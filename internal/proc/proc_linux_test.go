package proc

import (
	"context"
	"errors"
	"fmt"
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

// checkNoChildren checks that this process has no children, neither running ones nor zombies.
func checkNoChildren(t *testing.T) {
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

// The child and its threads run at a low priority from the first instruction, and so does what they start.
func TestLowPriority(t *testing.T) {
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("nice %d, I/O class 3", min(19, 20-own+niceness))
	for _, arg := range []string{"self", "child"} {
		res, err := Run(t.Context(), self("priority", arg))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(res.Stdout)), "\n")
		if len(lines) < 2 {
			t.Errorf("%s: %d threads", arg, len(lines))
		}
		for _, line := range lines {
			if line != want {
				t.Errorf("%s: %s, want %s", arg, line, want)
			}
		}
	}
}

// printPriority prints the priority of each thread of this process, or of a child that it starts.
func printPriority(of string) {
	if of == "child" {
		c := exec.Command(os.Args[0], "priority", "self")
		c.Stdout = os.Stdout
		if err := c.Run(); err != nil {
			panic(err)
		}
		return
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		panic(err)
	}
	for _, thread := range threads {
		stat, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/stat")
		if err != nil {
			panic(err)
		}
		id, _ := strconv.Atoi(thread.Name())
		io, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(id), 0) // 1: of a thread
		_, after, _ := strings.Cut(string(stat), ") ")
		fmt.Printf("nice %s, I/O class %d\n", strings.Fields(after)[16], io>>13)
	}
}

// The limits hold before the child's first instruction: with this little address space no program can be loaded.
func TestLimitsFromStart(t *testing.T) {
	if status, _ := os.ReadFile("/proc/self/status"); !strings.Contains(string(status), "TracerPid:\t0\n") {
		t.Skip("a debugger traces this process, so it cannot trace its children")
	}
	c := program(t, "true")
	c.Limits.AddressSpace = 64 << 10
	for range 20 {
		if _, err := Run(t.Context(), c); err == nil {
			t.Fatal("the child ran without its limits; is ptrace forbidden here?")
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
		// Descriptor 3 is the folder being listed. Those that this process inherited without close-on-exec do not count.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fd > 3 && (err != nil || flags&unix.FD_CLOEXEC != 0) {
			t.Errorf("descriptor %d is open in the child", fd)
		}
	}
}

func TestNoNetwork(t *testing.T) {
	if exec.Command("unshare", "-n", "true").Run() != nil && exec.Command("unshare", "-rn", "true").Run() != nil {
		t.Skip("network namespaces are not permitted here")
	}
	res, err := Run(t.Context(), program(t, "cat", "/proc/self/net/dev"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(res.Stdout), ":"); n != 1 {
		t.Errorf("the child sees %d network interfaces, want the loopback only:\n%s", n, res.Stdout)
	}
}

// A user other than root isolates the network too if user namespaces are permitted, and its child can reopen its standard
// input.
func TestUnprivileged(t *testing.T) {
	out, err := Run(t.Context(), self("unprivileged"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.Stderr)
	}
	content, devices, _ := strings.Cut(string(out.Stdout), "\n")
	if content != "content" {
		t.Errorf("got %q", out.Stdout)
	}
	if n := strings.Count(devices, ":"); n != 1 {
		if exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-rn", "true").Run() != nil {
			t.Skip("user namespaces are not permitted here")
		}
		t.Errorf("the child sees %d network interfaces, want the loopback only:\n%s", n, devices)
	}
}

// runUnprivileged runs cat as a user other than root and prints its output.
func runUnprivileged() {
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
			panic(err)
		}
	}
	r, w, err := os.Pipe() // not a file: this process may not write any, being a child of Run itself
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

// A child dies with its parent, even when SIGKILL leaves the parent no time to clean up.
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

// With no descriptor left, Run fails with EMFILE, leaks nothing, and works again once descriptors are free.
func TestNoDescriptors(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	c := self("say", "hello")
	runtime.GC()
	n := descriptors(t)
	lowered := before
	lowered.Cur = uint64(n)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lowered); err != nil {
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
		t.Errorf("%d descriptors leaked", now-n)
	}
	if _, err := Run(t.Context(), c); err != nil {
		t.Error("after the limit was raised:", err)
	}
}

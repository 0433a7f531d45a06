package proc

import (
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// start starts a child in a process group of its own, which dies with the calling thread, has no network if the system lets
// us take it away, and is under its limits before its first instruction.
//
// Nothing in [syscall.SysProcAttr] sets limits. A shell in between ("ulimit -v N; exec") would, but it has to be there,
// hides why the program could not be executed, and runs one of a foreign architecture as a script. So the child is started
// as if it were to be debugged: it stops at the end of exec, gets its limits from outside, and is let go.
//
// Containers, security modules and debuggers may forbid any of this. What is refused is left out, down to a plain start with
// the limits set a moment later. A failed attempt is a failed clone, which is nothing beside a process, so nothing is probed
// or remembered.
func start(newCmd func() *exec.Cmd, l Limits) (*exec.Cmd, *group, error) {
	var err error
	for _, try := range []struct{ offline, stopped bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		cmd := newCmd()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Ptrace: try.stopped}
		if try.offline {
			takeNetwork(cmd.SysProcAttr)
		}
		g := &group{cmd: cmd}
		cmd.Cancel = g.kill
		if err = cmd.Start(); err != nil {
			continue
		}
		if try.stopped {
			// Should somebody else in this process wait for any child and take the stop from us, the end of the context
			// kills the child and wakes us.
			wait(cmd, unix.WSTOPPED|unix.WEXITED)
		}
		setLimits(cmd.Process.Pid, l)
		if try.stopped {
			unix.PtraceDetach(cmd.Process.Pid) // fails only if the child is gone
		}
		return cmd, g, nil
	}
	return nil, nil, err
}

// takeNetwork puts the child into a network namespace of its own, with nothing in it. Root can do so. Anybody else needs a
// user namespace for it. Nobody is mapped into that: the kernel goes on to let the child open what its user may open, though
// it calls them nobody; and package syscall leaks two descriptors whenever a child with a mapping cannot be started. Root does
// not get one: it would take away the right to open the files of others, and the child may have to open its standard input
// again.
func takeNetwork(a *syscall.SysProcAttr) {
	a.Cloneflags = syscall.CLONE_NEWNET
	if os.Geteuid() != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
	}
}

func setLimits(pid int, l Limits) {
	lower := func(resource int, to uint64) {
		var r unix.Rlimit
		if unix.Prlimit(pid, resource, nil, &r) == nil {
			r.Max = min(r.Max, to)
			r.Cur = min(r.Cur, r.Max)
			unix.Prlimit(pid, resource, &r, nil)
		}
	}
	lower(unix.RLIMIT_CORE, 0)
	lower(unix.RLIMIT_FSIZE, 0)
	if l.AddressSpace > 0 {
		lower(unix.RLIMIT_AS, l.AddressSpace)
	}
	if l.CPU > 0 {
		lower(unix.RLIMIT_CPU, uint64((l.CPU+time.Second-1)/time.Second))
	}
	if l.OpenFiles > 0 {
		lower(unix.RLIMIT_NOFILE, l.OpenFiles)
	}
}

// A group is the child's process group. Its number belongs to it for as long as the child has not been reaped: killing it
// later could hit a stranger.
type group struct {
	cmd *exec.Cmd

	mu   sync.Mutex
	over bool // the child is about to be reaped
}

// kill is called by os/exec when the context of the child ends.
func (g *group) kill() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return os.ErrProcessDone
	}
	return syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
}

// awaitExit waits until the child has ended and kills what it has left behind, while it is still there as a zombie.
func (g *group) awaitExit() {
	wait(g.cmd, unix.WEXITED)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
}

func (g *group) close(bool) {}

// wait waits for the child without reaping it.
func wait(cmd *exec.Cmd, options int) {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, options|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

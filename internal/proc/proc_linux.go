package proc

import (
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// start starts a child in a process group of its own. The kernel kills the child when the calling thread exits. The child
// has no network if the system permits that, and its limits hold before its first instruction.
//
// [syscall.SysProcAttr] has no field for resource limits. A shell in between ("ulimit -v N; exec") could set them, but it must
// be installed, it hides why exec failed, and it runs a binary of another architecture as a script. So the child is started
// under ptrace: it stops at the end of exec, its limits are set from outside, and it continues.
//
// Containers, security modules and debuggers may forbid namespaces or ptrace. start leaves out what is refused; at worst it
// sets the limits just after the start. It tries again for each child, because a failed attempt costs only a failed clone.
func start(newCmd func() *exec.Cmd, l Limits) (*exec.Cmd, *group, error) {
	var err error
	for _, try := range []struct{ offline, stopped bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		cmd := newCmd()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Ptrace: try.stopped}
		if try.offline {
			isolateNetwork(cmd.SysProcAttr)
		}
		g := &group{cmd: cmd}
		cmd.Cancel = g.kill
		if err = cmd.Start(); err != nil {
			continue
		}
		if try.stopped {
			// If other code in this process waits for any child and consumes the stop, this wait ends only when the
			// context ends and kills the child.
			waitWithoutReaping(cmd, unix.WSTOPPED|unix.WEXITED)
		}
		setLimits(cmd.Process.Pid, l)
		lowerPriority(cmd.Process.Pid)
		if try.stopped {
			unix.PtraceDetach(cmd.Process.Pid) // fails only if the child is gone
		}
		return cmd, g, nil
	}
	return nil, nil, err
}

// isolateNetwork puts the child into an empty network namespace. Users other than root need a user namespace for that.
//
// The user namespace maps no users. The kernel still lets the child open the files that its user may open, although the child
// sees the overflow user. Package syscall leaks two descriptors whenever a child with a mapping fails to start. Root gets no
// user namespace: it would lose the right to open files of other users, and the child may have to reopen its standard input.
func isolateNetwork(a *syscall.SysProcAttr) {
	a.Cloneflags = syscall.CLONE_NEWNET
	if os.Geteuid() != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
	}
}

// setLimits lowers the limits of a process. It ignores errors: the limits are one protection of several.
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

// lowerPriority lets other processes have processors and disks first. All threads and processes of the group get the priority, and
// what they start inherits it. Errors are ignored: the child works at any priority.
//
// I/O of the idle class waits while there is any other. On a disk that is never idle the child may reach its time limit, because
// mq-deadline lets it read once in 10 s. That is the price for playback that does not stutter, and a timeout is not remembered. BFQ
// and mq-deadline know the class; other schedulers ignore it.
func lowerPriority(pgid int) {
	if priority, err := unix.Getpriority(unix.PRIO_PGRP, pgid); err == nil { // the system call returns 20 - nice
		unix.Setpriority(unix.PRIO_PGRP, pgid, min(19, 20-priority+niceness))
	}
	const whoGroup, classIdle = 2, 3 << 13 // IOPRIO_WHO_PGRP, IOPRIO_CLASS_IDLE
	unix.Syscall(unix.SYS_IOPRIO_SET, whoGroup, uintptr(pgid), classIdle)
}

// A group is the process group of a child. The group's number is valid only until the child is reaped; after that, the
// kernel may give it to unrelated processes.
type group struct {
	cmd *exec.Cmd

	mu   sync.Mutex
	over bool // the child is about to be reaped; guarded by mu
}

// kill kills the group, unless the child is about to be reaped. Package os/exec calls it when the child's context ends.
func (g *group) kill() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return os.ErrProcessDone
	}
	return syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
}

// awaitExit waits until the child has exited. Then it kills the rest of the group while the child is still a zombie.
func (g *group) awaitExit() {
	waitWithoutReaping(g.cmd, unix.WEXITED)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
}

func (g *group) close(bool) {}

// waitWithoutReaping waits for a change of the child's state and leaves the child to be reaped by cmd.Wait.
func waitWithoutReaping(cmd *exec.Cmd, options int) {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, options|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

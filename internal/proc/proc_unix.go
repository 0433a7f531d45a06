//go:build unix && !linux

package proc

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// start starts a child in a process group of its own. Unlike on Linux, there are no resource limits, the child can use the
// network, and it outlives a parent that is killed by SIGKILL. Processes that the child leaves behind are killed only if
// they hold its output open. The priority is lowered just after the start, and not that of I/O.
func start(newCmd func() *exec.Cmd, _ Limits) (*exec.Cmd, *group, error) {
	cmd := newCmd()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Start()
	if err == nil {
		lowerPriority(cmd.Process.Pid)
	}
	return cmd, &group{cmd}, err
}

// lowerPriority lets other processes have processors first. Errors are ignored: the child works at any priority.
func lowerPriority(pgid int) {
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil {
		unix.Setpriority(unix.PRIO_PGRP, pgid, nice+niceness) // the system cuts off what is too much
	}
}

type group struct{ cmd *exec.Cmd }

func (g *group) awaitExit() {}

// close kills the group if one of its processes still holds the output. While that process lives, the group's number is valid.
func (g *group) close(held bool) {
	if held {
		syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	}
}

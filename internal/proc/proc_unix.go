//go:build unix && !linux

package proc

import (
	"os/exec"
	"syscall"
)

// start starts a child in a process group of its own. Lost against Linux: there are no limits and the network stays; the
// child outlives a parent that is killed with SIGKILL; and of what the child leaves behind, only what holds on to its output
// is killed.
func start(newCmd func() *exec.Cmd, _ Limits) (*exec.Cmd, *group, error) {
	cmd := newCmd()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd, &group{cmd}, cmd.Start()
}

type group struct{ cmd *exec.Cmd }

func (g *group) awaitExit() {}

// close ends what still held the output when the child had ended; as long as it lives, the group's number is taken.
func (g *group) close(held bool) {
	if held {
		syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	}
}

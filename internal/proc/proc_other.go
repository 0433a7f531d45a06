//go:build !unix && !windows

package proc

import (
	"os"
	"os/exec"
)

// start starts a child. Unlike on Linux, only the limits of time and output hold, and only the child itself is killed.
// Its priority is that of this process.
func start(newCmd func() *exec.Cmd, _ Limits) (*exec.Cmd, *group, error) {
	cmd := newCmd()
	return cmd, new(group), cmd.Start()
}

type group struct{}

func (*group) awaitExit() {}

func (*group) close(bool) {}

func signalOf(*os.ProcessState) os.Signal { return nil }

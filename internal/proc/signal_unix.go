//go:build unix

package proc

import (
	"os"
	"syscall"
)

func signalOf(s *os.ProcessState) os.Signal {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ws.Signal()
	}
	return nil
}

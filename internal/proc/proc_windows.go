package proc

import (
	"os"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// start starts a child and puts it into a job object. Windows kills all processes in the job when its last handle is closed,
// which happens also when the parent dies. Unlike on Linux, the child runs for a moment before it is in the job, it can write
// files and use the network, and the number of its descriptors is unlimited. Its priority is low for processors, not for I/O.
func start(newCmd func() *exec.Cmd, l Limits) (*exec.Cmd, *group, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	g := &group{job}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	b := &info.BasicLimitInformation
	b.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
	if l.AddressSpace > 0 {
		b.LimitFlags |= windows.JOB_OBJECT_LIMIT_PROCESS_MEMORY
		info.ProcessMemoryLimit = uintptr(min(l.AddressSpace, uint64(^uintptr(0))))
	}
	if l.CPU > 0 {
		b.LimitFlags |= windows.JOB_OBJECT_LIMIT_PROCESS_TIME
		b.PerProcessUserTimeLimit = int64(l.CPU / (100 * time.Nanosecond))
	}
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err != nil {
		g.close(false)
		return nil, nil, err
	}

	cmd := newCmd()
	cmd.SysProcAttr = &syscall.SysProcAttr{HideWindow: true, CreationFlags: windows.CREATE_NO_WINDOW | windows.BELOW_NORMAL_PRIORITY_CLASS}
	cmd.Cancel = func() error {
		windows.TerminateJobObject(job, 1)
		return cmd.Process.Kill() // the child may not be in the job yet
	}
	if err := cmd.Start(); err != nil {
		g.close(false)
		return nil, nil, err
	}
	cmd.Process.WithHandle(func(h uintptr) {
		windows.AssignProcessToJobObject(job, windows.Handle(h)) // best effort: outside the job only the child itself is killed
	})
	return cmd, g, nil
}

type group struct{ job windows.Handle }

// awaitExit does nothing: cmd.Wait waits for the child, and at most waitDelay for its descendants.
func (g *group) awaitExit() {}

func (g *group) close(bool) { windows.CloseHandle(g.job) }

func signalOf(*os.ProcessState) os.Signal { return nil }

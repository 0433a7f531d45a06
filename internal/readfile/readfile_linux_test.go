package readfile

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Without openat2 Read is as careful, except about links further up, and Cached reports false.
func TestWithoutOpenat2(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.ENOSYS, unix.EPERM} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			dir := t.TempDir()
			withoutCall(t, unix.SYS_OPENAT2, errno, func() {
				checkRead(t, dir)
				if _, _, ok := Cached(filepath.Join(dir, "file"), 5000); ok {
					t.Error("Cached has read a file")
				}
			})
		})
	}
}

// Read refuses a FIFO, with and without openat2, and does not wait for a process to write to it.
func TestReadFIFO(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Skip("no FIFOs here:", err)
	}
	check := func() {
		if _, _, err := Read(fifo, 5000); err == nil {
			t.Error("a FIFO was read")
		}
	}
	blocked := time.AfterFunc(10*time.Second, func() {
		f, _ := os.OpenFile(fifo, os.O_RDWR, 0) // lets a reader go on that waits for a writer
		t.Error("a FIFO blocks")
		f.Close()
	})
	defer blocked.Stop()
	check()
	withoutCall(t, unix.SYS_OPENAT2, unix.ENOSYS, check)
}

// withoutCall runs do on a thread on which the kernel refuses a system call: with ENOSYS, as older kernels do, or with EPERM, as
// some sandboxes do.
func withoutCall(t *testing.T, call uint32, errno syscall.Errno, do func()) {
	t.Helper()
	refused := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked, so the thread ends with this goroutine
		err := refuse(call, errno)
		refused <- err
		if err == nil {
			do()
		}
	}()
	<-ended
	if err := <-refused; err != nil {
		t.Skip("cannot filter system calls here:", err)
	}
}

// refuse makes a system call fail on this thread: see seccomp(2).
func refuse(call uint32, errno syscall.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, failed := syscall.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)))
	if failed != 0 {
		return failed
	}
	return nil
}

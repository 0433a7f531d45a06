package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Without openat2 files are stored, read and removed as usual, and a link in place of the store's folder or one of the 256 is not
// followed.
func TestWithoutOpenat2(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.ENOSYS, unix.EPERM} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "thumbs")
			d := openStore(t, dir, -1)
			d.wg.Wait()
			// Put, get and Remove run on this thread. Get would not.
			withoutCall(t, unix.SYS_OPENAT2, errno, func() {
				e := numbered(1, 1, 500)
				hash := Hash(e.Key.Provider, e.Key.Path)
				stored := func() bool {
					got := d.get(&e.Key, hash)
					return got != nil && isNumbered(got, 1)
				}
				d.Put(e)
				if !stored() {
					t.Error("not stored")
				}
				if err := d.Remove(&e.Key); err != nil || stored() {
					t.Error("not removed:", err)
				}
				d.Put(e)
				if n := d.Errors.Load(); n != 0 {
					t.Errorf("%d errors", n)
				}
				for _, path := range []string{dir, filepath.Join(dir, hash[:2])} {
					name := ""
					if path != dir {
						name = hash[:2]
					}
					if err := errors.Join(os.Rename(path, path+".moved"), os.Symlink(path+".moved", path)); err != nil {
						t.Error(err)
					}
					if f, err := openFolder(dir, name); err == nil {
						f.close()
						t.Errorf("a link in place of %s was followed", path)
					}
					if name != "" && stored() {
						t.Error("a file was read through a link")
					}
					if err := errors.Join(os.Remove(path), os.Rename(path+".moved", path)); err != nil {
						t.Error(err)
					}
					if f, err := openFolder(dir, name); err != nil {
						t.Error(err)
					} else {
						f.close()
					}
				}
				if _, err := openFolder(dir, "none"); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("no such folder: %v", err)
				}
			})
		})
	}
}

// On a file system that cannot exchange files, or rename one only to a free name, files are replaced and removed all the same,
// and the account is right.
func TestWithoutRenameat2(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" && runtime.GOARCH != "386" {
		t.Skip("there may be no other call to rename a file")
	}
	for _, errno := range []syscall.Errno{unix.EINVAL, unix.ENOSYS} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			dir := t.TempDir()
			d := openStore(t, dir, -1)
			d.wg.Wait()
			withoutCall(t, unix.SYS_RENAMEAT2, errno, func() {
				e := numbered(1, 1, 500)
				for variant, size := range []int{500, 1000, 200} {
					e = numbered(1, variant, size)
					d.Put(e)
					got := d.get(&e.Key, Hash(e.Key.Provider, e.Key.Path))
					if got == nil || got.Version != e.Version || !isNumbered(got, 1) {
						t.Errorf("variant %d is not stored", variant)
					}
					if u, there := d.Usage(), onDisk(t, dir); u != there || u.Files != 1 {
						t.Errorf("usage %+v, on disk %+v, want one file", u, there)
					}
				}
				if err := d.Remove(&e.Key); err != nil {
					t.Error(err)
				}
				if u, there := d.Usage(), onDisk(t, dir); u != there || u.Files != 0 {
					t.Errorf("usage %+v, on disk %+v, want none", u, there)
				}
				if n := d.Errors.Load(); n != 0 {
					t.Errorf("%d errors", n)
				}
			})
		})
	}
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

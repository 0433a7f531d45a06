//go:build linux || darwin

package store

import (
	"errors"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// tryLock locks one byte of f, which need not exist, against every other opening of the same file, in this process or
// another one. The lock is the opening's and not the process's ("open file description locks"): it is gone when f is closed
// or the process has died, however it died. It reports whether it got the lock; errors.ErrUnsupported means that there are no
// locks here.
func tryLock(f *os.File, at int64, exclusive bool) (ok bool, err error) {
	how := int16(unix.F_RDLCK)
	if exclusive {
		how = unix.F_WRLCK
	}
	switch err = setLock(f, at, how); err {
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	case unix.EINVAL, unix.ENOLCK: // an old kernel, a file system without
		return false, errors.ErrUnsupported
	}
	return err == nil, err
}

func unlock(f *os.File, at int64) { _ = setLock(f, at, unix.F_UNLCK) }

// deleted reports whether f is in no folder any more.
func deleted(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0
}

func setLock(f *os.File, at int64, how int16) error {
	command := 37 // F_OFD_SETLK of Linux
	if runtime.GOOS == "darwin" {
		command = 90
	}
	_, err := again(func() (int, error) {
		return 0, unix.FcntlFlock(f.Fd(), command, &unix.Flock_t{Type: how, Whence: io.SeekStart, Start: at, Len: 1})
	})
	return err
}

func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

//go:build linux || darwin

package store

import (
	"errors"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// tryLock locks one byte of f, which may lie beyond its end, and reports whether it got the lock. It returns
// errors.ErrUnsupported if there are no such locks. The lock belongs to the open file and not to the process ("open file
// description lock"): it excludes other openings of the file in this process too, and ends when f is closed or the process
// dies.
func tryLock(f *os.File, at int64, exclusive bool) (ok bool, err error) {
	how := int16(unix.F_RDLCK)
	if exclusive {
		how = unix.F_WRLCK
	}
	switch err = setLock(f, at, how); err {
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	case unix.EINVAL, unix.ENOLCK: // an old kernel, or a file system without locks
		return false, errors.ErrUnsupported
	}
	return err == nil, err
}

func unlock(f *os.File, at int64) { _ = setLock(f, at, unix.F_UNLCK) }

// deleted reports whether f has no name in any folder.
func deleted(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0
}

func setLock(f *os.File, at int64, how int16) error {
	command := 37 // F_OFD_SETLK on Linux
	if runtime.GOOS == "darwin" {
		command = 90 // F_OFD_SETLK on macOS
	}
	_, err := retry(func() (int, error) {
		return 0, unix.FcntlFlock(f.Fd(), command, &unix.Flock_t{Type: how, Whence: io.SeekStart, Start: at, Len: 1})
	})
	return err
}

// retry calls call until no signal interrupts it.
func retry(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

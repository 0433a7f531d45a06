//go:build unix

// Package readfile reads small regular files with few system calls, and without following symbolic links.
package readfile

import (
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Read returns the content and modification time of the regular file at path. It returns fs.ErrInvalid for a file of more than max
// bytes and for anything but a regular file; it does not block on a FIFO. Neither the file nor its folder may be a symbolic link.
// On Linux 5.6 and later no part of the path may be one.
//
// There it makes four system calls. The os package makes three more, because it registers each file with the network poller.
func Read(path string, max int64) (data []byte, modTime time.Time, err error) {
	fd, err := retry(func() (int, error) { return open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW) })
	if err != nil {
		return nil, modTime, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, modTime, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > max {
		return nil, modTime, fs.ErrInvalid
	}
	data = make([]byte, st.Size)
	for n := 0; n < len(data); {
		m, err := retry(func() (int, error) { return unix.Read(fd, data[n:]) })
		if err != nil {
			return nil, modTime, err
		}
		if m == 0 {
			data = data[:n] // the file was truncated meanwhile
			break
		}
		n += m
	}
	return data, time.Unix(st.Mtim.Unix()), nil
}

// openSteps opens the file's folder and then the file in it. The folder must not be a symbolic link; flags decide about the file.
func openSteps(path string, flags int) (int, error) {
	dir, name := filepath.Split(path)
	folder, err := unix.Open(filepath.Clean(dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(folder)
	return unix.Openat(folder, name, flags, 0)
}

// retry calls f until no signal interrupts it.
func retry(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}

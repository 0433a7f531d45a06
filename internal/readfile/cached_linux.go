package readfile

import (
	"time"

	"golang.org/x/sys/unix"
)

// resolveCached is RESOLVE_CACHED of linux/openat2.h: a path that is not in the kernel's memory is an error.
const resolveCached = 0x20

// Cached is Read for a file whose name, state and content the kernel holds in memory. It never waits for a disk or a
// network: where it would have to, it reports false, as it does where the kernel or the file system cannot tell.
func Cached(path string, max int64) (data []byte, modTime time.Time, ok bool) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOFOLLOW,
		Resolve: resolveCached | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, modTime, false
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_SIZE|unix.STATX_MTIME, &st) != nil {
		return nil, modTime, false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > uint64(max) {
		return nil, modTime, false
	}
	data = make([]byte, st.Size)
	if n, err := unix.Preadv2(fd, [][]byte{data}, 0, unix.RWF_NOWAIT); err != nil || n != len(data) {
		return nil, modTime, false
	}
	return data, time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)), true
}

// open opens a path in which no link is followed.
func open(path string, flags int) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err == unix.ENOSYS || err == unix.EPERM { // an older kernel, or a sandbox that does not know the call
		return openBelow(path, flags)
	}
	return fd, err
}

package readfile

import (
	"time"

	"golang.org/x/sys/unix"
)

// resolveCached is RESOLVE_CACHED of linux/openat2.h: opening fails if the kernel would have to read the path from a disk.
const resolveCached = 0x20

// Cached is Read for a file that is in the page cache, with its name and metadata. It never waits for a disk or a network. It reports
// false if it would have to, if the kernel or the file system cannot tell, and if Read would return an error.
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

// open opens a file without following symbolic links.
func open(path string, flags int) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err == unix.ENOSYS || err == unix.EPERM { // Linux before 5.6, or a sandbox that does not know the call
		return openSteps(path, flags)
	}
	return fd, err
}

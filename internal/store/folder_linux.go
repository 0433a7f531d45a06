package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A folder is one of the 256, opened. It is reached without following a link anywhere, and all is done by its
// descriptor, so that a folder or link that takes its place meanwhile is never written to.
//
// It is made of system calls and not of an os.Root because a write has to open it each time: see openFolder.
type folder struct{ fd int }

// openFolder opens a folder below dir, which is an absolute path without links, or dir itself if name is "". It is done each
// time anew: what is written through a descriptor that was kept is lost if the folder was deleted since.
func openFolder(dir, name string) (*folder, error) {
	path := dir + sep + name
	fd, err := again(func() (int, error) {
		return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_NO_SYMLINKS,
		})
	})
	if err == unix.ENOSYS || err == unix.EPERM { // an older kernel, or a sandbox that does not know the call
		fd, err = openSteps(dir, name)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &folder{fd}, nil
}

// openSteps opens first dir and then the folder in it, neither of which may be a link. One in place of a folder further up is
// followed.
func openSteps(dir, name string) (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err = again(func() (int, error) { return unix.Open(dir, flags, 0) })
	if err != nil || name == "" {
		return fd, err
	}
	defer unix.Close(fd)
	return again(func() (int, error) { return unix.Openat(fd, name, flags, 0) })
}

func (f *folder) close() { unix.Close(f.fd) }

// mkdir makes a folder, unless there is one.
func (f *folder) mkdir(name string) error {
	_, err := again(func() (int, error) { return 0, unix.Mkdirat(f.fd, name, 0o755) })
	if err == unix.EEXIST {
		return nil
	}
	return fault("mkdir", err)
}

// open opens a regular file to be read and written, and makes it if there is none.
func (f *folder) open(name string) (*os.File, error) {
	fd, err := again(func() (int, error) {
		// O_NONBLOCK: a FIFO would block.
		return unix.Openat(f.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	})
	if err != nil {
		return nil, fault("open", err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.EINVAL
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fault("open", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// create writes a new file, of data and tail.
func (f *folder) create(name string, data, tail []byte) error {
	fd, err := again(func() (int, error) {
		return unix.Openat(f.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	})
	if err != nil {
		return fault("create", err)
	}
	for off := int64(0); len(data)+len(tail) > 0; {
		n, err := again(func() (int, error) { return unix.Pwritev(fd, [][]byte{data, tail}, off) })
		if err == nil && n <= 0 {
			err = unix.EIO
		}
		if err != nil {
			unix.Close(fd)
			return fault("write", err)
		}
		off += int64(n)
		head := min(n, len(data))
		data, tail = data[head:], tail[n-head:]
	}
	return fault("close", unix.Close(fd))
}

// renameNew renames a file unless there is one by the new name: that is fs.ErrExist.
func (f *folder) renameNew(from, to string) error {
	_, err := again(func() (int, error) { return 0, unix.Renameat2(f.fd, from, f.fd, to, unix.RENAME_NOREPLACE) })
	if err == unix.EINVAL || err == unix.ENOSYS { // the file system cannot: the caller looks itself
		err = unix.EEXIST
	}
	return fault("rename", err)
}

// replace gives a file the name of another one, which is no more, and returns what that was. It exchanges them first: only then
// it is sure which one it was, and to rename one over another makes ext4 write the new one out there and then, in case that
// a program relies on it, which takes several times as long.
func (f *folder) replace(from, to string) (old info, err error) {
	_, err = again(func() (int, error) { return 0, unix.Renameat2(f.fd, from, f.fd, to, unix.RENAME_EXCHANGE) })
	switch err {
	case nil:
		// Whatever happens to the old one now, the new one is in its place.
		if old, err = f.stat(from); err != nil || f.remove(from) != nil {
			return info{}, nil
		}
		return old, nil
	case unix.EINVAL, unix.ENOSYS, unix.ENOENT: // the file system cannot, or there is no other one any more
		old, _ = f.stat(to)
		_, err = again(func() (int, error) { return 0, unix.Renameat(f.fd, from, f.fd, to) })
	}
	return old, fault("rename", err)
}

// take removes a file, and returns what it was.
func (f *folder) take(name string) (old info, err error) {
	// Under a name of its own nobody replaces it meanwhile.
	temp := tempName(name)
	if err := f.renameNew(name, temp); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return old, err
		}
		temp = name
	}
	old, err = f.stat(temp)
	return old, errors.Join(err, f.remove(temp))
}

func (f *folder) remove(name string) error {
	_, err := again(func() (int, error) { return 0, unix.Unlinkat(f.fd, name, 0) })
	return fault("remove", err)
}

// stat returns what lies at a name, which is not followed if it is a link.
func (f *folder) stat(name string) (info, error) {
	var st unix.Stat_t
	if _, err := again(func() (int, error) { return 0, unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return info{}, fault("stat", err)
	}
	return info{
		regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
		dir:     st.Mode&unix.S_IFMT == unix.S_IFDIR,
		size:    st.Size,
		modTime: time.Unix(st.Mtim.Unix()),
	}, nil
}

// touch sets the time of the last use.
func (f *folder) touch(name string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return fault("touch", unix.UtimesNanoAt(f.fd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

// names returns the names in the folder, or if max is positive no more than that many.
func (f *folder) names(max int) ([]string, error) {
	// Another descriptor, since the position in the folder belongs to the first.
	fd, err := again(func() (int, error) { return unix.Openat(f.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, fault("list", err)
	}
	dir := os.NewFile(uintptr(fd), ".")
	defer dir.Close()
	names, err := dir.Readdirnames(max)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

func fault(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: "stored thumbnail", Err: err}
}

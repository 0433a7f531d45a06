package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A folder is an open folder: the store's or one of its 256. Opening it follows no link, and all operations use its descriptor.
// So another folder or a link that takes its place is never written to.
//
// It uses system calls and not an os.Root because each write opens it again (see openFolder), and this is faster.
type folder struct{ fd int }

// openFolder opens a folder in dir, which is an absolute path without links, or dir itself if name is "". Callers do not keep the
// folder open, because writes to a folder that was deleted meanwhile would be lost.
func openFolder(dir, name string) (*folder, error) {
	path := dir + sep + name
	fd, err := retry(func() (int, error) {
		return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_NO_SYMLINKS,
		})
	})
	if err == unix.ENOSYS || err == unix.EPERM { // Linux before 5.6, or a sandbox that does not know the call
		fd, err = openSteps(dir, name)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &folder{fd}, nil
}

// openSteps opens dir and then the folder in it. Neither may be a link, but links further up are followed.
func openSteps(dir, name string) (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err = retry(func() (int, error) { return unix.Open(dir, flags, 0) })
	if err != nil || name == "" {
		return fd, err
	}
	defer unix.Close(fd)
	return retry(func() (int, error) { return unix.Openat(fd, name, flags, 0) })
}

func (f *folder) close() { unix.Close(f.fd) }

// mkdir makes a folder, unless it exists.
func (f *folder) mkdir(name string) error {
	_, err := retry(func() (int, error) { return 0, unix.Mkdirat(f.fd, name, 0o755) })
	if err == unix.EEXIST {
		return nil
	}
	return pathError("mkdir", err)
}

// open opens a regular file for reading and writing, and makes it if it does not exist.
func (f *folder) open(name string) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		// Without O_NONBLOCK a FIFO would block.
		return unix.Openat(f.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	})
	if err != nil {
		return nil, pathError("open", err)
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
		return nil, pathError("open", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// create writes a new file that consists of data and tail.
func (f *folder) create(name string, data, tail []byte) error {
	fd, err := retry(func() (int, error) {
		return unix.Openat(f.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	})
	if err != nil {
		return pathError("create", err)
	}
	for off := int64(0); len(data)+len(tail) > 0; {
		n, err := retry(func() (int, error) { return unix.Pwritev(fd, [][]byte{data, tail}, off) })
		if err == nil && n <= 0 {
			err = unix.EIO
		}
		if err != nil {
			unix.Close(fd)
			return pathError("write", err)
		}
		off += int64(n)
		head := min(n, len(data))
		data, tail = data[head:], tail[n-head:]
	}
	return pathError("close", unix.Close(fd))
}

// renameNew renames a file. It returns fs.ErrExist if the new name exists, or if the file system cannot tell: then the caller
// has to look.
func (f *folder) renameNew(from, to string) error {
	_, err := retry(func() (int, error) { return 0, unix.Renameat2(f.fd, from, f.fd, to, unix.RENAME_NOREPLACE) })
	if err == unix.EINVAL || err == unix.ENOSYS {
		err = unix.EEXIST
	}
	return pathError("rename", err)
}

// replace renames a file over another one, which it removes, and returns what that was. It exchanges the two and then removes
// the old one, for two reasons: it knows exactly which file it removed, and a rename over a file makes ext4 write out the new
// one at once, which takes several times as long.
func (f *folder) replace(from, to string) (old info, err error) {
	_, err = retry(func() (int, error) { return 0, unix.Renameat2(f.fd, from, f.fd, to, unix.RENAME_EXCHANGE) })
	switch err {
	case nil:
		// From here on the new file is in place, so nothing is an error.
		if old, err = f.stat(from); err != nil || f.unlink(from) != nil {
			return info{}, nil
		}
		return old, nil
	case unix.EINVAL, unix.ENOSYS, unix.ENOENT: // the file system cannot exchange, or the old file has gone
		old, _ = f.stat(to)
		_, err = retry(func() (int, error) { return 0, unix.Renameat(f.fd, from, f.fd, to) })
	}
	return old, pathError("rename", err)
}

// remove removes a file and returns what it was.
func (f *folder) remove(name string) (old info, err error) {
	// Under another name the file cannot be replaced between stat and unlink.
	temp := tempName(name)
	if err := f.renameNew(name, temp); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return old, err
		}
		temp = name
	}
	old, err = f.stat(temp)
	return old, errors.Join(err, f.unlink(temp))
}

func (f *folder) unlink(name string) error {
	_, err := retry(func() (int, error) { return 0, unix.Unlinkat(f.fd, name, 0) })
	return pathError("remove", err)
}

// stat describes a directory entry. It does not follow a link.
func (f *folder) stat(name string) (info, error) {
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return info{}, pathError("stat", err)
	}
	return info{
		regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
		dir:     st.Mode&unix.S_IFMT == unix.S_IFDIR,
		size:    st.Size,
		modTime: time.Unix(st.Mtim.Unix()),
	}, nil
}

// touch sets a file's time of use.
func (f *folder) touch(name string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return pathError("touch", unix.UtimesNanoAt(f.fd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

// names returns the names in the folder, at most max of them if that is positive.
func (f *folder) names(max int) ([]string, error) {
	// Another descriptor, because the position in the folder is that of the descriptor.
	fd, err := retry(func() (int, error) { return unix.Openat(f.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, pathError("list", err)
	}
	dir := os.NewFile(uintptr(fd), ".")
	defer dir.Close()
	names, err := dir.Readdirnames(max)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

func pathError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: "stored thumbnail", Err: err}
}

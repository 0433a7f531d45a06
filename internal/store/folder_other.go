//go:build !linux

package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"
)

// A folder is one of the 256, opened. Unlike on Linux, a link in place of a folder further up is followed.
type folder struct{ root *os.Root }

// openFolder opens dir, or the folder in it if there is a name. What was opened is compared with what lay there before, so that a
// link that takes its place is not followed, at whatever moment it comes.
func openFolder(dir, name string) (*folder, error) {
	root, err := openSame(dir, os.Lstat, os.OpenRoot)
	if err == nil && name != "" {
		defer root.Close()
		root, err = openSame(name, root.Lstat, root.OpenRoot)
	}
	if err != nil {
		return nil, err
	}
	return &folder{root}, nil
}

func openSame(path string, lstat func(string) (fs.FileInfo, error), open func(string) (*os.Root, error)) (*os.Root, error) {
	there, err := lstat(path)
	if err != nil {
		return nil, err
	}
	if !there.IsDir() {
		return nil, fmt.Errorf("%s is no folder", path)
	}
	root, err := open(path)
	if err != nil {
		return nil, err
	}
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(there, opened) {
		err = fmt.Errorf("%s was replaced", path)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

func (f *folder) close() { f.root.Close() }

func (f *folder) mkdir(name string) error {
	if err := f.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (f *folder) open(name string) (*os.File, error) {
	if i, err := f.root.Lstat(name); err == nil && !i.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return f.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
}

func (f *folder) create(name string, data, tail []byte) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		_, err = file.Write(tail)
	}
	return cmp.Or(err, file.Close())
}

// renameNew always says that there may be a file by the new name: the caller looks itself.
func (f *folder) renameNew(from, to string) error { return fs.ErrExist }

// replace and take look first and act then. What another process does in between makes the account wrong for a while.
func (f *folder) replace(from, to string) (old info, err error) {
	old, _ = f.stat(to)
	return old, soon(func() error { return f.root.Rename(from, to) })
}

func (f *folder) take(name string) (old info, err error) {
	if old, err = f.stat(name); err == nil {
		err = f.remove(name)
	}
	return old, err
}

func (f *folder) remove(name string) error {
	return soon(func() error { return f.root.Remove(name) })
}

// soon does what a reader may be in the way of for a moment: not all file systems of Windows replace and remove what is open.
func soon(do func() error) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := do()
		if err == nil || errors.Is(err, fs.ErrNotExist) || runtime.GOOS != "windows" || wait > 10*time.Millisecond {
			return err
		}
		time.Sleep(wait)
	}
}

func (f *folder) stat(name string) (info, error) {
	i, err := f.root.Lstat(name)
	if err != nil {
		return info{}, err
	}
	return info{regular: i.Mode().IsRegular(), dir: i.IsDir(), size: i.Size(), modTime: i.ModTime()}, nil
}

func (f *folder) touch(name string, t time.Time) error { return f.root.Chtimes(name, t, t) }

func (f *folder) names(max int) ([]string, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(max)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

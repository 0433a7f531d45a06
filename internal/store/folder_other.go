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

// A folder is an open folder: the store's or one of its 256. Unlike on Linux, links further up are followed.
type folder struct{ root *os.Root }

// openFolder opens a folder in dir, or dir itself if name is "". It compares the open folder with the entry before, so a link that
// takes the folder's place in between is not followed.
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
		return nil, fmt.Errorf("%s is not a folder", path)
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

// renameNew always returns fs.ErrExist, because the new name may exist: then the caller has to look.
func (f *folder) renameNew(from, to string) error { return fs.ErrExist }

// replace and remove look first and act then. If another process acts in between, the account is wrong until the next count.
func (f *folder) replace(from, to string) (old info, err error) {
	old, _ = f.stat(to)
	return old, retryBusy(func() error { return f.root.Rename(from, to) })
}

func (f *folder) remove(name string) (old info, err error) {
	if old, err = f.stat(name); err == nil {
		err = f.unlink(name)
	}
	return old, err
}

func (f *folder) unlink(name string) error {
	return retryBusy(func() error { return f.root.Remove(name) })
}

// retryBusy calls do until it succeeds, for some 20 ms on Windows: not all of its file systems replace or remove a file that is
// open for reading.
func retryBusy(do func() error) error {
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

//go:build !linux

package store

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// A folder is one of the 256, opened. Unlike on Linux there is a moment between the look at what lies at its path and the
// opening, in which a link could take its place.
type folder struct{ root *os.Root }

func openFolder(dir, name string) (*folder, error) {
	for _, path := range []string{dir, dir + sep + name} {
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is no folder", path)
		}
	}
	root, err := os.OpenRoot(dir + sep + name)
	if err != nil {
		return nil, err
	}
	return &folder{root}, nil
}

func (f *folder) close() { f.root.Close() }

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

func (f *folder) replace(from, to string) error { return f.root.Rename(from, to) }

func (f *folder) remove(name string) error { return f.root.Remove(name) }

func (f *folder) stat(name string) (info, error) {
	i, err := f.root.Lstat(name)
	if err != nil {
		return info{}, err
	}
	return info{regular: i.Mode().IsRegular(), dir: i.IsDir(), size: i.Size(), modTime: i.ModTime()}, nil
}

func (f *folder) touch(name string, t time.Time) error { return f.root.Chtimes(name, t, t) }

func (f *folder) names() ([]string, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// Package rootfs opens regular files below one folder. Nothing outside the folder can be reached, by "..", by a symbolic link
// or by a race; links are followed as long as they stay inside.
package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrUnreachable says that the folder itself cannot be opened. That says nothing about the files in it: a share may be offline.
var ErrUnreachable = errors.New("the folder of the provider cannot be reached")

// An FS is one folder. Its methods may be called from several goroutines at once. Their paths are relative to the folder, or
// absolute and inside it. Errors match fs.ErrNotExist if there is no such file, fs.ErrInvalid if there can never be one, and
// neither if another attempt may succeed. They do not contain the host's path.
type FS struct{ root string }

// New returns the FS of a folder. It does not open the folder: a folder may come and go, as a network share does.
func New(root string) FS {
	// An error means that there is no working directory. Then root stays relative, and opening it fails.
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	return FS{root}
}

// Stat describes a regular file.
func (f FS) Stat(path string) (info fs.FileInfo, err error) {
	err = f.in(path, func(root *os.Root, name string) error {
		if info, err = root.Stat(name); err != nil {
			return err
		}
		return regular(info)
	})
	return info, err
}

// Open opens a regular file. It does not block on a FIFO.
func (f FS) Open(path string) (file *os.File, info fs.FileInfo, err error) {
	err = f.in(path, func(root *os.Root, name string) error {
		// Without O_NONBLOCK, a FIFO without a writer would block forever, and no context could free it.
		opened, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if info, err = opened.Stat(); err == nil {
			err = regular(info)
		}
		if err != nil {
			opened.Close()
			return err
		}
		file = opened
		return nil
	})
	return file, info, err
}

// List returns the names in a folder, in any order. It stops when it has limit names or a few more.
func (f FS) List(ctx context.Context, path string, limit int) (names []string, err error) {
	err = f.in(path, func(root *os.Root, name string) error {
		dir, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer dir.Close()
		if info, err := dir.Stat(); err != nil || !info.IsDir() {
			return cmp.Or(err, fmt.Errorf("not a folder: %w", fs.ErrInvalid))
		}
		for ctx.Err() == nil && len(names) < limit {
			some, err := dir.Readdirnames(1000)
			names = append(names, some...)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return names, err
}

// in calls use with the opened folder and the name of path in it. The folder is opened for each call: a descriptor that is kept
// would go on naming a share that was unmounted.
func (f FS) in(path string, use func(root *os.Root, name string) error) error {
	name := path
	if filepath.IsAbs(path) {
		var err error
		if name, err = filepath.Rel(f.root, path); err != nil || !filepath.IsLocal(name) {
			return fmt.Errorf("path outside the root: %w", fs.ErrInvalid)
		}
	}
	if name == "" {
		return fmt.Errorf("empty path: %w", fs.ErrInvalid)
	}
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return ErrUnreachable
	}
	defer root.Close()
	return classify(use(root, name))
}

func regular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	}
	return nil
}

// classify makes err match fs.ErrNotExist, fs.ErrInvalid or neither, as FS promises, and removes the host's path from it.
func classify(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	errno, isErrno := errors.AsType[syscall.Errno](err)
	switch {
	case err == nil, errors.Is(err, fs.ErrInvalid), errors.Is(err, fs.ErrNotExist),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errno == syscall.ENOTDIR: // the path goes on below a file
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case !isErrno || isMalformed(errno):
		// An error without a number is os.Root's own refusal: the path leaves the root.
		return fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	return err
}

// isMalformed reports whether no file can ever have a path that was refused with e.
func isMalformed(e syscall.Errno) bool {
	return e == syscall.EINVAL || e == syscall.ELOOP || e == syscall.ENAMETOOLONG || e == syscall.EILSEQ || e == syscall.ENXIO
}

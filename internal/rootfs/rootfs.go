// Package rootfs opens regular files below one folder. Nothing outside the folder can be reached, by "..", by a symbolic link
// or by a race; links are followed as long as they stay inside.
//
// A path also finds a file whose name is canonically equivalent, that is, the same text in another Unicode form. macOS writes
// "é" as an "e" and an accent (NFD), most other systems write one character (NFC), and many file systems compare bytes. The exact
// name always wins. If it does not exist and is not ASCII, other names are tried in this order:
//
//  1. the whole path in NFC, then in NFD;
//  2. the path with each missing element replaced by its NFC, by its NFD, or by the equivalent name that its parent folder lists.
//     If there are several, the first in byte order is used.
//
// All of them are opened with the same checks as the exact name. A non-ASCII path that does not exist therefore costs a few
// lookups and the listing of a folder, of which at most 20,000 names are read. That takes about 7 ms on a local disk
// (go test -bench Missing ./internal/rootfs), and nothing is remembered of it.
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
	"strings"
	"syscall"
	"unicode"

	"github.com/thumbcache/thumbcache/internal/canonical"
)

// ErrUnreachable says that the folder itself cannot be opened. That says nothing about the files in it: a share may be offline.
var ErrUnreachable = errors.New("the folder of the provider cannot be reached")

// ErrOutside says that an absolute path is not inside the folder. It matches fs.ErrInvalid.
var ErrOutside = fmt.Errorf("path outside the root: %w", fs.ErrInvalid)

// An FS is one folder. Its methods may be called from several goroutines at once. Their paths are relative to the folder, or
// absolute and inside it. Errors match fs.ErrNotExist if there is no such file, fs.ErrInvalid if there can never be one, and
// neither if another attempt may succeed. They do not contain the host's path.
type FS struct {
	root      string
	maxListed int
	exact     bool // no equivalent names
}

// maxListed limits how many names one call reads in search of an equivalent one, in all folders together. It bounds the work of
// a request for a file that does not exist. In a larger folder such a search may miss a file.
const maxListed = 20_000

// New returns the FS of a folder. It does not open the folder: a folder may come and go, as a network share does.
func New(root string) FS {
	// An error means that there is no working directory. Then root stays relative, and opening it fails.
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	return FS{root: root, maxListed: maxListed}
}

// Exact returns an FS of the same folder that finds a file by its exact name only.
func (f FS) Exact() FS {
	f.exact = true
	return f
}

// Stat describes a regular file.
func (f FS) Stat(path string) (info fs.FileInfo, err error) {
	err = f.in(context.Background(), path, func(root *os.Root, name string) error {
		if info, err = root.Stat(name); err != nil {
			return err
		}
		return regular(info)
	})
	return info, err
}

// Open opens a regular file. It does not block on a FIFO.
func (f FS) Open(path string) (file *os.File, info fs.FileInfo, err error) {
	err = f.in(context.Background(), path, func(root *os.Root, name string) error {
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

// List returns at most limit names of the entries in a folder, in any order.
func (f FS) List(ctx context.Context, path string, limit int) (names []string, err error) {
	err = f.in(ctx, path, func(root *os.Root, name string) error {
		return readNames(ctx, root, name, limit, func(some []string) { names = append(names, some...) })
	})
	return names, err
}

// readNames calls visit with at most limit names of the entries in a folder, some at a time.
func readNames(ctx context.Context, root *os.Root, folder string, limit int, visit func(some []string)) error {
	dir, err := root.OpenFile(folder, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if info, err := dir.Stat(); err != nil || !info.IsDir() {
		return cmp.Or(err, fmt.Errorf("not a folder: %w", fs.ErrInvalid))
	}
	for ctx.Err() == nil && limit > 0 {
		some, err := dir.Readdirnames(min(1000, limit))
		limit -= len(some)
		visit(some)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// in calls use with the opened folder and the name of path in it, and with equivalent names if that one is missing. The folder
// is opened for each call: a descriptor that is kept would go on naming a share that was unmounted.
func (f FS) in(ctx context.Context, path string, use func(root *os.Root, name string) error) error {
	name := path
	if filepath.IsAbs(path) {
		var err error
		if name, err = filepath.Rel(f.root, path); err != nil || !filepath.IsLocal(name) {
			return ErrOutside
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
	err = Classify(use(root, name))
	if f.exact || IsASCII(name) || !isMissing(err) {
		return err
	}
	if other := f.useEquivalent(ctx, root, name, use); !isMissing(other) {
		return other
	}
	return err
}

// useEquivalent calls use with names that are equivalent to name, in the order that the package comment states, until one is
// not missing.
func (f FS) useEquivalent(ctx context.Context, root *os.Root, name string, use func(root *os.Root, name string) error) error {
	for _, form := range []func(string) string{canonical.Compose, canonical.Decompose} {
		other := form(name)
		if other == name {
			continue
		}
		if err := Classify(use(root, other)); !isMissing(err) {
			return err
		}
	}
	other, err := f.findEquivalent(ctx, root, name)
	if err != nil {
		return Classify(err)
	}
	return Classify(use(root, other))
}

// findEquivalent returns name with each missing element replaced by an equivalent one that its parent folder has.
func (f FS) findEquivalent(ctx context.Context, root *os.Root, name string) (found string, err error) {
	left := f.maxListed
	for part := range strings.SplitAfterSeq(filepath.ToSlash(name), "/") {
		element, isFolder := strings.CutSuffix(part, "/")
		if !IsASCII(element) {
			if element, err = findEntry(ctx, root, found, element, &left); err != nil {
				return "", err
			}
		}
		found += element
		if isFolder {
			found += "/"
		}
	}
	return found, nil
}

// findEntry returns the name of the entry in a folder that is name or equivalent to it. The folder is "" or ends in a slash. If
// it must be listed, at most left names are read and subtracted from left.
func findEntry(ctx context.Context, root *os.Root, folder, name string, left *int) (string, error) {
	for _, entry := range []string{name, canonical.Compose(name), canonical.Decompose(name)} {
		if _, err := root.Lstat(folder + entry); err == nil {
			return entry, nil
		} else if !isMissing(Classify(err)) {
			return "", err
		}
	}
	found := ""
	err := readNames(ctx, root, cmp.Or(folder, "."), *left, func(some []string) {
		*left -= len(some)
		for _, entry := range some {
			if canonical.Equal(entry, name) && (found == "" || entry < found) {
				found = entry
			}
		}
	})
	switch {
	case errors.Is(err, fs.ErrPermission), err == nil && found == "":
		return "", fs.ErrNotExist // a share may refuse to list a folder
	case err != nil:
		return "", err
	}
	return found, nil
}

// IsASCII reports whether s is ASCII. Such a name is not searched for in other forms.
func IsASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// isMissing reports whether err says that there is no entry of a name, or that the file system cannot have one in this form. NFD
// may be too long, or have accents that a share's character set lacks.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.EILSEQ) || errors.Is(err, syscall.EINVAL)
}

func regular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	}
	return nil
}

// Classify makes err match fs.ErrNotExist, fs.ErrInvalid or neither, as FS promises, and removes the host's path from it.
func Classify(err error) error {
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

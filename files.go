package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"syscall"

	"github.com/thumbcache/thumbcache/internal/rootfs"
)

// maxListed limits how many names of a folder a List returns.
const maxListed = 20_000

// Files returns a Provider for the regular files below one or more folders, the roots. A path is relative to the roots, or absolute
// and inside one of them. Of several roots that have a file, the first is used. While a root cannot be reached, the others are
// searched without it.
//
// Nothing outside the roots can be reached, by "..", by a symbolic link or by a race; links are followed as long as they stay inside
// their root. Errors for refused paths match [fs.ErrInvalid] or [fs.ErrNotExist]. A path also finds a file whose name is the same
// text in another Unicode normalization form; the exact name wins.
//
// Files itself opens nothing, so a root may come and go, as a network share does. While it is missing, its files cannot be
// reached, which is not the same as files that do not exist. For a share, use a folder inside the mount point as root: after an
// unmount, the mount point itself remains as an empty folder.
func Files(roots ...string) Provider {
	var f files
	for _, root := range roots {
		f = append(f, rootfs.New(root))
	}
	return f
}

type files []rootfs.FS

func (f files) check() error {
	if len(f) == 0 {
		return errors.New("Files needs a folder")
	}
	return nil
}

func (f files) Stat(ctx context.Context, path string) (stamp Stamp, err error) {
	err = f.search(ctx, path, func(root rootfs.FS) (done bool, err error) {
		info, err := root.Stat(path)
		if err == nil {
			stamp = stampOf(info)
		}
		return err == nil, err
	})
	return stamp, err
}

func (f files) Open(ctx context.Context, path string) (src *Source, err error) {
	err = f.search(ctx, path, func(root rootfs.FS) (done bool, err error) {
		file, info, err := root.Open(path)
		if err == nil {
			src = &Source{Name: info.Name(), Size: info.Size(), Stamp: stampOf(info), Content: file}
		}
		return err == nil, err
	})
	return src, err
}

// List implements [Lister]. A folder that several roots have holds the files of all of them. List returns only some names of a
// folder with very many.
func (f files) List(ctx context.Context, path string) (names []string, err error) {
	err = f.search(ctx, path, func(root rootfs.FS) (done bool, err error) {
		more, err := root.List(ctx, path, maxListed-len(names))
		names = append(names, more...)
		return false, err
	})
	if len(f) > 1 {
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return names, err
}

// search calls use with each root until it is done. If use fails with all of them, search returns the error that says most: that
// a root refuses the path or has something else there, that a root cannot be reached, or that the path does not exist. An
// equivalent name is searched for only if no root has the exact one, because that may read whole folders.
func (f files) search(ctx context.Context, path string, use func(rootfs.FS) (done bool, err error)) error {
	if len(f) > 1 && !rootfs.IsASCII(path) {
		exact := make(files, len(f))
		for i, root := range f {
			exact[i] = root.Exact()
		}
		if err := exact.tryEach(ctx, use); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.tryEach(ctx, use)
}

func (f files) tryEach(ctx context.Context, use func(rootfs.FS) (done bool, err error)) error {
	worst, found := rootfs.ErrOutside, false
	for _, root := range f {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := use(root)
		if done {
			return nil
		}
		found = found || err == nil
		if rankError(err) > rankError(worst) {
			worst = err
		}
	}
	if found {
		return nil
	}
	return worst
}

// rankError returns a higher number for an error that says more about a path.
func rankError(err error) int {
	switch {
	case err == nil, err == rootfs.ErrOutside:
		return 0
	case errors.Is(err, fs.ErrNotExist):
		return 1
	case !errors.Is(err, fs.ErrInvalid):
		return 2
	}
	return 3
}

func stampOf(info fs.FileInfo) Stamp { return Stamp{Size: info.Size(), ModTime: info.ModTime()} }

// FS returns a Provider for the regular files of a file system: an [embed.FS], an archive, or what an adapter makes of remote
// storage. A path is one that [fs.ValidPath] accepts; others are [fs.ErrInvalid]. What can be reached is up to fsys: os.DirFS
// follows links that lead anywhere, so use [Files] for a folder.
//
// A file is read in any order if it is an [io.ReaderAt] or an [io.Seeker]. Otherwise, as in a compressed archive, it is read from
// its beginning and kept in memory as far as it is needed. Beyond 64 MiB that is [ErrTooLarge].
//
// A file is taken as unchanged while its size and modification time stay the same. If it has no time, as in an embed.FS, or one
// before 1981, as in a reproducible archive, its first MiB takes the place of the time.
func FS(fsys fs.FS) Provider { return fsFiles{fsys} }

type fsFiles struct{ fs fs.FS }

func (f fsFiles) check() error {
	if f.fs == nil {
		return errors.New("FS needs a file system")
	}
	return nil
}

func (f fsFiles) Stat(ctx context.Context, path string) (Stamp, error) {
	info, err := f.stat(ctx, path)
	if err != nil {
		return Stamp{}, err
	}
	if err := regular(info); err != nil {
		return Stamp{}, err
	}
	if hasTime(info) {
		return stampOf(info), nil
	}
	src, err := f.Open(ctx, path)
	if err != nil {
		return Stamp{}, err
	}
	defer src.Content.Close()
	return src.Stamp, nil
}

func (f fsFiles) Open(ctx context.Context, path string) (*Source, error) {
	file, info, err := f.open(ctx, path)
	if err != nil {
		return nil, err
	}
	content := contentOf(ctx, file)
	src := &Source{Name: info.Name(), Size: info.Size(), Stamp: stampOf(info), Content: content}
	if err = regular(info); err == nil && !hasTime(info) {
		head := make([]byte, max(0, min(info.Size(), 1<<20)))
		var n int
		if n, err = content.ReadAt(head, 0); err == io.EOF {
			err = nil // the file became shorter
		}
		src.Stamp = Stamp{Size: info.Size(), Tag: digest(head[:n])}
	}
	if err != nil {
		file.Close()
		return nil, fsError(err)
	}
	return src, nil
}

// List implements [Lister]. It returns only some names of a folder with very many.
func (f fsFiles) List(ctx context.Context, path string) (names []string, err error) {
	dir, info, err := f.open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if !info.IsDir() {
		return nil, fmt.Errorf("not a folder: %w", fs.ErrInvalid)
	}
	lister, ok := dir.(fs.ReadDirFile)
	if !ok {
		entries, err := fs.ReadDir(f.fs, path)
		return appendNames(nil, entries[:min(len(entries), maxListed)]), fsError(err)
	}
	for len(names) < maxListed && ctx.Err() == nil {
		entries, err := lister.ReadDir(min(1000, maxListed-len(names)))
		names = appendNames(names, entries)
		if err == io.EOF {
			return names, nil
		}
		if err != nil {
			return nil, fsError(err)
		}
	}
	return names, ctx.Err()
}

func appendNames(names []string, entries []fs.DirEntry) []string {
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func (f fsFiles) stat(ctx context.Context, path string) (fs.FileInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !fs.ValidPath(path) {
		return nil, fmt.Errorf("not a path of a file system: %w", fs.ErrInvalid)
	}
	info, err := fs.Stat(f.fs, path)
	return info, fsError(err)
}

// open opens a file or folder. What is neither is not opened: a FIFO without a writer would block forever.
func (f fsFiles) open(ctx context.Context, path string) (fs.File, fs.FileInfo, error) {
	info, err := f.stat(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		if err := regular(info); err != nil {
			return nil, nil, err
		}
	}
	file, err := f.fs.Open(path)
	if err != nil {
		return nil, nil, fsError(err)
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, nil, fsError(err)
	}
	return file, info, nil
}

// hasTime reports whether a file has a modification time, and not a constant that stands for none.
func hasTime(info fs.FileInfo) bool { return info.ModTime().Year() > 1980 }

func regular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	}
	return nil
}

// fsError removes from err the path, which may be one of the host. If the error is the system's, it becomes what rootfs makes of it.
func fsError(err error) error {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return rootfs.Classify(err)
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// contentOf returns the content of a file. ctx ends when the content is not read any more.
func contentOf(ctx context.Context, file fs.File) interface {
	io.ReaderAt
	io.Closer
} {
	if at, ok := file.(interface {
		io.ReaderAt
		io.Closer
	}); ok {
		return at // perhaps an *os.File
	}
	if s, ok := file.(io.ReadSeeker); ok {
		if _, err := s.Seek(0, io.SeekCurrent); err == nil {
			return &seekContent{ReadSeeker: s, Closer: file}
		}
	}
	return &streamContent{ctx: ctx, file: file}
}

// A seekContent is a file that can be read at one place at a time.
type seekContent struct {
	mu sync.Mutex
	io.ReadSeeker
	io.Closer
}

func (c *seekContent) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(c, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// maxStream is how many bytes of a file are kept in memory that can only be read from its beginning. A picture of that size is too
// large in any case, and embedded covers rarely come later.
const maxStream = maxImageFile

// A streamContent is a file that can only be read from its beginning. It keeps what was read.
type streamContent struct {
	ctx  context.Context
	file fs.File

	mu   sync.Mutex // protects data and err
	data []byte
	err  error // why there is no more data
}

func (c *streamContent) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	for end := min(off, maxStream) + int64(len(p)); c.err == nil && int64(len(c.data)) < end; {
		c.readMore(end)
	}
	n := copy(p, c.data[min(off, int64(len(c.data))):])
	if n < len(p) {
		return n, c.err
	}
	return n, nil
}

// readMore reads some of the data up to end.
func (c *streamContent) readMore(end int64) {
	have := len(c.data)
	if c.err = c.ctx.Err(); c.err != nil {
		return
	}
	if have == maxStream {
		c.err = fmt.Errorf("%w: a compressed file of more than %d MiB", ErrTooLarge, maxStream>>20)
		return
	}
	more := int(min(end, maxStream)) - have
	c.data = slices.Grow(c.data, min(more, 1<<20))
	n, err := c.file.Read(c.data[have:min(cap(c.data), maxStream)])
	c.data, c.err = c.data[:have+n], err
}

func (c *streamContent) Close() error { return c.file.Close() }

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// info describes a directory entry.
type info struct {
	regular, dir bool
	size         int64
	modTime      time.Time
}

// errInTheWay means that a folder has the name of a file. Only that name is affected, so other files are still written.
var errInTheWay = errors.New("a folder has the name of a file")

// put writes a file in one step, as readers see it. It returns the size of the file that it replaced, or -1.
func (f *folder) put(name string, data, tail []byte) (old int64, err error) {
	temp := tempName(name)
	if err = f.create(temp, data, tail); err == nil {
		if err = f.renameNew(temp, name); err == nil {
			return -1, nil
		}
		if errors.Is(err, fs.ErrExist) {
			if old, err = f.replaceFile(temp, name); err == nil {
				return old, nil
			}
		}
	}
	if !errors.Is(err, fs.ErrExist) { // the temporary file would be another process's
		_ = f.unlink(temp)
	}
	return -1, err
}

// replaceFile is replace for anything but a folder. It returns the size of the file that was replaced, or -1.
func (f *folder) replaceFile(temp, name string) (size int64, err error) {
	if there, err := f.stat(name); err == nil && there.dir {
		return -1, errInTheWay
	}
	old, err := f.replace(temp, name)
	if !old.regular {
		return -1, err
	}
	return old.size, err
}

// tempName returns a name for a file that is being written or removed.
func tempName(name string) string { return fmt.Sprintf("%s.%016x.tmp", name, rand.Uint64()) }

// isTemp reports whether a file of ours is being written or removed, or was when its process was killed.
func isTemp(name string) bool { return strings.HasSuffix(name, ".tmp") }

// folderNumber returns the number of a folder, or of the folder for a file, from its name.
func folderNumber(name string) int {
	b, _ := strconv.ParseUint(name[:2], 16, 8)
	return int(b)
}

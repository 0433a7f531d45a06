package store

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/thumbcache/thumbcache/internal/readfile"
)

// The files that mark a folder as ours. The tag follows https://bford.info/cachedir/, so that backup programs skip the folder.
const (
	tagName    = "CACHEDIR.TAG"
	readmeName = "README"

	tagText = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of thumbnails made by thumbcache. It may be deleted at any time.\n"

	readmeText = `This folder is a cache of thumbnails made by thumbcache. It may be deleted at any time, even while it is in use.

    <2 hex>/<hash>_<size>.jpg   a thumbnail; <size>c is a square, .png and .webp have transparency; any image viewer opens it
    <2 hex>/<hash>.none         records that a source has no picture, and why
    usage                       the number of files and bytes in each of the 256 folders

hash is the hex SHA-256 of provider + "/" + path. "thumbcache stat", "verify", "gc" and "rm" inspect and maintain this folder.
`
)

// markPrefix is how each version of thumbcache begins its README.
const markPrefix = "This folder is a cache of thumbnails made by thumbcache."

// markTemp matches a tag or README that is being written, or that a killed process left behind.
var markTemp = regexp.MustCompile(`^(CACHEDIR\.TAG|README)\.[0-9a-f]{16}\.tmp$`)

// systemNames matches what file systems, network storage and desktops put into a folder by themselves. A fresh volume with only such
// names counts as empty.
var systemNames = regexp.MustCompile(`^(lost\+found|\.nfs.*|@eaDir|#recycle|@Recycle|\.snapshot|\.zfs|\.DS_Store|\._.*|\.fseventsd|\.Spotlight-V100|` +
	`\.TemporaryItems|\.Trashes|\.Trash-.*|\.VolumeIcon\.icns|\.nomedia|\.directory|System Volume Information|\$RECYCLE\.BIN|(?i:desktop\.ini|thumbs\.db)|` +
	`\.gitkeep|\.gitignore|\.keep|\.stfolder|\.stignore|\.stversions|\.plexignore)$`)

// ErrForeign means that a folder holds other things than thumbnails.
var ErrForeign = errors.New("not empty and not a folder of thumbnails")

// isMarked reports whether dir holds our tag.
func isMarked(dir string) bool {
	text, _, err := readfile.Read(dir+sep+tagName, 1<<10)
	return err == nil && strings.Contains(string(text), "thumbcache")
}

// markFolder writes the tag and the README to dir, unless it is marked already. A folder that holds anything else is refused,
// because eviction would come as a surprise there. A failure to write is no error, because a folder that cannot be written
// can still be read.
func markFolder(dir string) error {
	if isMarked(dir) {
		return nil
	}
	f, err := openFolder(dir, "")
	if err != nil {
		return err
	}
	defer f.close()
	names, err := f.names(300) // more than that cannot all be allowed
	if err != nil {
		return err
	}
	for _, name := range names {
		if !mayBeOurs(dir, name) && !systemNames.MatchString(name) {
			return fmt.Errorf("%s holds %q: %w", dir, name, ErrForeign)
		}
	}
	_, _ = f.put(tagName, []byte(tagText), nil)
	_, _ = f.put(readmeName, []byte(readmeText), nil)
	return nil
}

// mayBeOurs reports whether the name in dir may come from an earlier process that could not finish marking the folder.
func mayBeOurs(dir, name string) bool {
	switch name {
	case usageName:
		return true
	case tagName:
		return beginsLike(dir+sep+name, tagText)
	case readmeName:
		return beginsLike(dir+sep+name, markPrefix)
	}
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == 1 || markTemp.MatchString(name)
}

// beginsLike reports whether a file begins with text, or is a part of it: a power failure may have torn it, which often leaves
// zero bytes at its end.
func beginsLike(path, text string) bool {
	data, _, err := readfile.Read(path, 8<<10)
	found := strings.TrimRight(string(data), "\x00")
	return err == nil && (strings.HasPrefix(text, found) || strings.HasPrefix(found, text))
}

// makeFolder makes one of the 256 folders. It makes and marks dir too if that was deleted, and returns ErrForeign if dir was
// replaced by a folder that is not ours.
func (s *Store) makeFolder(name string) error {
	if !isMarked(s.dir) {
		if err := cmp.Or(os.MkdirAll(s.dir, 0o755), markFolder(s.dir)); err != nil {
			return err
		}
	}
	f, err := openFolder(s.dir, "")
	if err != nil {
		return err
	}
	defer f.close()
	return f.mkdir(name)
}

package thumbcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache/internal/folderart"
)

// A Lister lists folders. A [Provider] that is also a Lister, as [Files] is, has folder art: the picture of a folder serves for the
// folder itself and for songs without a cover, see [Config.FolderArt]. The elements of its paths are separated by slashes. The
// folder of a path is its path.Dir, so the topmost folder is ".".
type Lister interface {
	// List returns the names of the files in a folder, in any order.
	List(ctx context.Context, path string) ([]string, error)
}

// folderArt finds the pictures that represent a folder, or the media beside them. It reads them through the provider.
type folderArt struct {
	Provider
	Lister
	list folderart.List
}

// newFolderArt returns nil if p is not a Lister or the list is empty.
func newFolderArt(p Provider, list folderart.List) *folderArt {
	l, ok := p.(Lister)
	if !ok || list.IsEmpty() {
		return nil
	}
	return &folderArt{p, l, list}
}

const (
	maxArt    = 8  // pictures beside a source that are tried; each costs a Stat at every look at the source
	maxEquals = 16 // pictures of equal rank whose sizes are compared
	maxAbove  = 3  // folders above a source that are searched: an album with discs in discs
)

// An artFile is a file that may be the picture of a folder.
type artFile struct {
	path  string
	label string // the path relative to the media's folder
	stamp Stamp
}

// beside returns the pictures beside the media at name, the best first: those of the media alone, and those of its folder. A
// folder that does not exist or may not be listed has none.
func (a *folderArt) beside(ctx context.Context, name string) (own, folder []artFile, err error) {
	dir, base := path.Split(filepath.ToSlash(name))
	dir = path.Clean(dir)
	names, err := a.List(ctx, dir)
	if err == nil {
		own, err = a.files(ctx, dir, "", a.list.Beside(base, names))
	}
	if err == nil {
		folder, err = a.files(ctx, dir, "", a.list.Folder(names))
	}
	if err != nil && isSkipped(err) {
		return nil, nil, nil
	}
	return own, folder, err
}

// ofFolder returns the pictures of a folder, the best first. above leads from the media's folder to this one, as in "../".
func (a *folderArt) ofFolder(ctx context.Context, dir, above string) ([]artFile, error) {
	names, err := a.List(ctx, dir)
	if err != nil {
		return nil, err
	}
	return a.files(ctx, dir, above, a.list.Folder(names))
}

// files returns the files of groups in a folder, those of one group by falling size.
func (a *folderArt) files(ctx context.Context, dir, above string, groups []folderart.Group) (found []artFile, err error) {
	for _, g := range groups {
		var equals []artFile
		if g.Parent && folderart.IsDisc(path.Base(dir)) && len(above) < maxAbove*len("../") {
			if equals, err = a.ofFolder(ctx, path.Dir(dir), above+"../"); err != nil && !isSkipped(err) {
				return nil, err
			}
		}
		for _, name := range g.Names[:min(len(g.Names), maxEquals)] {
			stamp, err := a.Stat(ctx, path.Join(dir, name))
			switch {
			case err == nil:
				equals = append(equals, artFile{path.Join(dir, name), above + name, stamp})
			case !isSkipped(err): // such as that of an offline share; a folder named cover.jpg is skipped
				return nil, err
			}
		}
		if !g.Parent {
			slices.SortStableFunc(equals, func(a, b artFile) int { return cmp.Compare(b.stamp.Size, a.stamp.Size) })
		}
		if found = append(found, equals...); len(found) >= maxArt {
			return found[:maxArt], nil
		}
	}
	return found, nil
}

// extract returns the first of files that is a picture and was not rejected, or ErrNoPicture.
func (a *folderArt) extract(ctx context.Context, files []artFile) (*Picture, error) {
	s := searchOf(ctx)
	if s.readArt == nil {
		s.readArt = a.readFile
	}
	for _, file := range files {
		pic, err := s.readArt(ctx, file)
		if err == nil && s.hasRejected(pic) {
			continue
		}
		if err == nil || !isSkipped(err) {
			return pic, err
		}
	}
	return nil, ErrNoPicture
}

func (a *folderArt) readFile(ctx context.Context, file artFile) (*Picture, error) {
	src, err := checkSource(a.Open(ctx, file.path))
	if err != nil {
		return nil, err
	}
	defer src.Content.Close()
	return readPicture(ctx, src, func(kind string, _ bool) bool { return kind != "" }) // ffmpeg decodes what Go cannot
}

// isSkipped reports whether an error of a file or folder beside the media is a reason to go on without it. An error that may pass,
// such as that of an offline share, is not.
func isSkipped(err error) bool { return isPermanent(err) || errors.Is(err, fs.ErrPermission) }

// artTag begins the part of a stamp's tag that describes the folder's pictures. The part is present, perhaps empty, once the
// folder has been searched.
const artTag = "\x00art"

// withArt returns s with the state of the folder's pictures, unless s has it already.
func (s Stamp) withArt(found ...artFile) Stamp {
	if s.hasArt() {
		return s
	}
	s.Tag += artTag
	for _, f := range found {
		var modTime string // in nanoseconds; empty if the provider does not know it
		if !f.stamp.ModTime.IsZero() {
			modTime = strconv.FormatInt(f.stamp.ModTime.UnixNano(), 10)
		}
		s.Tag += fmt.Sprintf("\x00%q\x00%d\x00%s\x00%q", f.label, f.stamp.Size, modTime, f.stamp.Tag)
	}
	return s
}

func (s Stamp) hasArt() bool { return strings.Contains(s.Tag, artTag) }

// lastModified returns the latest time of what a thumbnail was made from: the media, or the pictures beside it.
func (s Stamp) lastModified() time.Time {
	latest := s.ModTime
	_, art, _ := strings.Cut(s.Tag, artTag+"\x00")
	fields := strings.Split(art, "\x00")
	for i := 2; i < len(fields); i += 4 {
		if ns, err := strconv.ParseInt(fields[i], 10, 64); err == nil && time.Unix(0, ns).After(latest) {
			latest = time.Unix(0, ns)
		}
	}
	return latest
}

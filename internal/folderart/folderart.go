// Package folderart decides which files in a folder are pictures of the media in it, and in which order they are tried. It
// compares names and opens nothing.
package folderart

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/thumbcache/thumbcache/internal/canonical"
)

// Special entries of a list.
const (
	name   = "{name}"   // within a pattern: the media's name without its extension
	parent = "{parent}" // the pictures of the folder above, if the media's folder is one disc of an album
	single = "{single}" // the only picture in the folder
)

// Default is the list that is used unless another one is configured. It must not be modified.
var Default = []string{
	"{name}.*", "{name}-poster.*", "{name}-thumb.*", "cover.*", "folder.*", "front.*", "albumart*.*", "{parent}", "{single}",
}

// A List is an ordered list of names of pictures, the best first. The zero List matches nothing.
type List struct {
	entries []string // folded
}

// Parse returns the List of entries. An entry is a pattern as in path.Match, in which case does not matter, or {parent} or
// {single}. In a pattern, {name} stands for the media's name without its extension; text before it is taken literally. A pattern
// that ends in ".*" matches names with the extension of a picture only.
func Parse(entries []string) (List, error) {
	var l List
	for _, entry := range entries {
		if _, err := path.Match(entry, ""); err != nil {
			return List{}, fmt.Errorf("%q: %w", entry, err)
		}
		l.entries = append(l.entries, fold(entry))
	}
	return l, nil
}

// IsEmpty reports whether l has no entries.
func (l List) IsEmpty() bool { return len(l.entries) == 0 }

// A Group holds files of equal rank. The largest of them is the best picture.
type Group struct {
	Names  []string // sorted
	Parent bool     // Names is empty; the pictures of the folder above have this rank
}

// Beside returns the pictures in a folder that belong to the media of this name alone, such as film-poster.jpg for film.mkv. names
// are all names in the folder.
func (l List) Beside(media string, names []string) []Group {
	return l.groups(media, names, func(entry string) bool { return strings.Contains(entry, name) })
}

// Folder returns the pictures in a folder that represent all of it. names are all names in the folder.
func (l List) Folder(names []string) []Group {
	return l.groups("", names, func(entry string) bool { return !strings.Contains(entry, name) })
}

// groups returns the groups of the entries that are wanted, without names that an entry before has matched.
func (l List) groups(media string, names []string, wanted func(entry string) bool) (groups []Group) {
	stem := fold(strings.TrimSuffix(media, path.Ext(media)))
	seen := make(map[string]bool)
	pictures := 0
	for _, file := range names {
		if IsPicture(file) {
			pictures++
		}
	}
	for _, entry := range l.entries {
		if !wanted(entry) {
			continue
		}
		switch {
		case entry == parent:
			groups = append(groups, Group{Parent: true})
			continue
		case entry == single && pictures != 1:
			continue
		}
		var g Group
		for _, file := range names {
			if !seen[file] && file != media && matches(entry, stem, fold(file)) {
				g.Names = append(g.Names, file)
			}
		}
		for _, file := range g.Names {
			seen[file] = true
		}
		if len(g.Names) > 0 {
			slices.Sort(g.Names)
			groups = append(groups, g)
		}
	}
	return groups
}

// fold returns a name in the form in which names are compared: in lower case and in NFC, because the media and its picture may
// have been written by different systems. A name that is not UTF-8 is compared as it is.
func fold(name string) string {
	if !utf8.ValidString(name) {
		return name
	}
	return canonical.Compose(strings.ToLower(name))
}

// matches reports whether entry matches a file. All are folded.
func matches(entry, stem, file string) bool {
	if entry == single {
		return IsPicture(file)
	}
	if strings.HasSuffix(entry, ".*") && !IsPicture(file) {
		return false
	}
	// The media's name may contain characters that are special in a pattern.
	if before, after, ok := strings.Cut(entry, name); ok {
		rest, ok := strings.CutPrefix(file, before+stem)
		if !ok {
			return false
		}
		entry, file = after, rest
	}
	matched, _ := path.Match(entry, file)
	return matched
}

// IsPicture reports whether a file has the extension of a picture. Hidden files are not pictures: macOS puts files
// named ._cover.jpg on disks of other systems.
func IsPicture(file string) bool {
	switch strings.ToLower(path.Ext(file)) {
	case ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif",
		".jxl", ".jp2", ".j2k", ".ico":
		return !strings.HasPrefix(file, ".")
	}
	return false
}

// disc matches the name of a folder that holds one disc of an album, such as "CD1", "Disc 2 - Live" or "[Disk 03]". A name such as
// "Album (Disc 1)" is not one: that folder usually lies beside other albums, and the folder above shows the artist.
var disc = regexp.MustCompile(`(?i)^[\[(]?\s*(cd|dis[ck]|disque|disco|dvd|vinyl|lp|platte|side|tape|digital media)[\s._#-]*([0-9]{1,3}|[a-h]|one|two|three|four|five|i{1,3}|iv|vi{0,3}|ix)([^\pL\pN].*)?$`)

// IsDisc reports whether a folder of this name holds one disc of an album.
func IsDisc(folder string) bool { return disc.MatchString(folder) }

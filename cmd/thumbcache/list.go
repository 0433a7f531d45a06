package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/canonical"
	"github.com/thumbcache/thumbcache/internal/folderart"
)

// A listing is one page of the entries of a folder, folders first.
type listing struct {
	Entries []entry `json:"entries"`           // not nil, so that it is a list in JSON even if it is empty
	Total   int     `json:"total"`             // entries on all pages; for a search, those that match
	Version string  `json:"version"`           // changes with what the page shows, see serveVersion
	Partial bool    `json:"partial,omitempty"` // the search has ended before it had seen the whole library
	Reading bool    `json:"reading,omitempty"` // tags are being read, so the same search may find more later
	Next    string  `json:"next,omitempty"`    // the parameter "after" of the next page, escaped for a query
}

type entry struct {
	Name     string     `json:"name"`
	ID       string     `json:"id"`                 // the path, escaped for a query
	Folder   string     `json:"folder,omitempty"`   // for a folder: its path, escaped for a query
	Thumb    string     `json:"thumb"`              // URL with version and size=0, which the page replaces; for a folder: of its cover
	Where    string     `json:"where,omitempty"`    // in a flat listing: the folder of the file
	Open     string     `json:"open,omitempty"`     // that folder, escaped for a query
	Hash     []byte     `json:"hash,omitempty"`     // ThumbHash, if a thumbnail is cached
	Kind     string     `json:"kind,omitempty"`     // for a media file: "audio", "image" or "video"
	Original string     `json:"original,omitempty"` // for a media file: its URL
	Size     int64      `json:"size,omitempty"`     // for a file: in bytes
	Modified *time.Time `json:"modified,omitempty"` // for a file
	Tags     *tagFacts  `json:"tags,omitempty"`     // in the results of a search: title, artist and album, if they are known

	path, version string
}

// A sorting is the order of a listing. Folders are always first.
type sorting string

const (
	byFolder sorting = "folder" // by folder, and then by name; the default
	byName   sorting = "name"
	byDate   sorting = "date" // the newest first
	bySize   sorting = "size" // the largest first
)

// parseSorting returns the sorting with a name, or the default.
func parseSorting(name string) sorting {
	if s := sorting(name); s == byName || s == byDate || s == bySize {
		return s
	}
	return byFolder
}

// valueOf returns the number by which s sorts a file, the largest first. It is the same for all files if s sorts by name.
func (s sorting) valueOf(size int64, modified time.Time) int64 {
	switch s {
	case byDate:
		return modified.UnixNano()
	case bySize:
		return size
	}
	return 0
}

// These limits bound the work of one request, however large the library is.
const (
	maxPageEntries = 300    // entries per page of a listing
	maxNames       = 200000 // entries read from one folder
	maxFlatEntries = 200    // files, and also folders, in a library that is listed flat
	maxCoverDepth  = 4      // nested folders searched for a cover
	maxCoverTries  = 4      // files tried as the cover of a folder
	maxFolderArt   = 8      // cover images that contribute to the version of the files in a folder
)

// A query selects and sorts the entries of a listing.
type query struct {
	folder string
	after  string // the position of the last entry of the page before, see position
	filter string // limits the listing to names that contain it
	search string // searches folder and the folders below it, instead of listing it
	sort   sorting
}

// listFolder returns a page of the entries of a folder. A small library is listed flat: all its files, without folders.
func listFolder(ctx context.Context, root string, q query) (listing, error) {
	r, err := openLibrary(root)
	if err != nil {
		return listing{}, err
	}
	defer r.Close()
	if q.folder == "" {
		q.folder = "."
	}
	if q.folder == "." && q.after == "" {
		if l, ok, err := listAll(r, q); ok || err != nil {
			return l, err
		}
	}
	items, err := readFolder(r, q.folder)
	if err != nil {
		return listing{}, err
	}
	art := readArt(r, q.folder, items)
	items = slices.DeleteFunc(items, func(e item) bool { return !matchesFilter(e.Name(), q.filter) })
	if q.sort == byDate || q.sort == bySize {
		for i, e := range items {
			if info, err := r.Stat(path.Join(q.folder, e.Name())); err == nil {
				items[i].value = q.sort.valueOf(info.Size(), info.ModTime())
			}
			if e.IsDir() && q.sort == bySize {
				items[i].value = 0 // the size of a folder is not that of its files
			}
		}
		slices.SortFunc(items, compareItems)
	}
	l := listing{Entries: []entry{}, Total: len(items)}
	first := 0
	if q.after != "" {
		last, err := parsePosition(q.after)
		if err != nil {
			return listing{}, err
		}
		first, _ = slices.BinarySearchFunc(items, last, compareItems)
		if first < len(items) && compareItems(items[first], last) == 0 {
			first++
		}
	}
	for _, e := range items[first:] {
		if len(l.Entries) == maxPageEntries {
			l.Next = url.QueryEscape(items[first+maxPageEntries-1].position())
			break
		}
		l.Entries = append(l.Entries, newEntry(r, q.folder, e, art))
	}
	return l, nil
}

// findCover returns a thumbnail for a folder. It tries the cover image in the folder, and then the first few files. If there
// are no files, it continues in the first subfolder.
func findCover(ctx context.Context, cache *thumbcache.Cache, root, folder string, req thumbcache.Request) (*thumbcache.Thumbnail, error) {
	r, err := openLibrary(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for range maxCoverDepth {
		entries, err := readFolder(r, folder)
		if err != nil {
			return nil, err
		}
		art := readArt(r, folder, entries)
		if art.shared != "" {
			req.Path, req.Version = folder, ""
			if t, err := cache.Do(ctx, req); err == nil || ctx.Err() != nil {
				return t, err // for example cover.jpg
			}
		}
		files := slices.IndexFunc(entries, func(e item) bool { return !e.IsDir() })
		if files < 0 {
			if len(entries) == 0 {
				break
			}
			folder = path.Join(folder, entries[0].Name())
			continue
		}
		for _, e := range entries[files:min(files+maxCoverTries, len(entries))] {
			req.Path = path.Join(folder, e.Name())
			req.Version = fileVersion(r, req.Path, art.versionFor(e.Name())) // as in the listing, so that both share one thumbnail
			if t, err := cache.Do(ctx, req); err == nil || ctx.Err() != nil {
				return t, err
			}
		}
		break
	}
	return nil, thumbcache.ErrNoPicture
}

// listAll returns all files of a library that q selects, and the folders that cannot be read. It reports false if the library
// is too large.
func listAll(r *os.Root, q query) (l listing, ok bool, err error) {
	l.Entries = []entry{}
	folders, files := []string{"."}, 0
	for i := 0; i < len(folders); i++ { // the loop appends to folders
		folder := folders[i]
		entries, err := readFolder(r, folder)
		switch {
		case err != nil && folder == ".":
			return listing{}, false, err
		case errors.Is(err, fs.ErrNotExist): // removed since the folder above it was read
			continue
		case err != nil:
			if name := path.Base(folder); matchesFilter(name, q.filter) {
				l.Entries = append(l.Entries, withWhere(newFolderEntry(folder), path.Dir(folder)))
			}
			continue
		}
		for _, e := range entries {
			if e.IsDir() {
				folders = append(folders, path.Join(folder, e.Name()))
			} else {
				files++
			}
		}
		if files > maxFlatEntries || len(folders) > maxFlatEntries {
			return listing{}, false, nil
		}
		art := readArt(r, folder, entries)
		for _, e := range entries {
			if e.IsDir() || !matchesFilter(e.Name(), q.filter) {
				continue
			}
			l.Entries = append(l.Entries, withWhere(newEntry(r, folder, e, art), folder))
		}
	}
	l.Total = len(l.Entries)
	sortEntries(l.Entries, q.sort)
	return l, true, nil
}

// sortEntries sorts the entries of a flat listing.
func sortEntries(entries []entry, by sorting) {
	value := func(e entry) int64 {
		if e.Modified == nil {
			return 0
		}
		return by.valueOf(e.Size, *e.Modified)
	}
	compareFolders := func(a, b entry) int { return compareNames(a.Where, b.Where) }
	slices.SortStableFunc(entries, func(a, b entry) int {
		first := 0
		if by == byFolder {
			first = compareFolders(a, b)
		}
		return cmp.Or(first, cmp.Compare(value(b), value(a)), compareNames(a.Name, b.Name), compareFolders(a, b))
	})
}

// withWhere returns the entry of a flat listing, which names the folder that it is in.
func withWhere(e entry, folder string) entry {
	if folder != "." {
		e.Where, e.Open = strings.ToValidUTF8(folder, "\ufffd"), url.QueryEscape(folder)
	}
	return e
}

// readFolder returns the sorted entries of a folder, except hidden files and whatever is not a regular file or folder.
func readFolder(r *os.Root, folder string) ([]item, error) {
	// Check before opening: opening a FIFO blocks until a writer opens it.
	info, err := r.Stat(folder)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fs.ErrInvalid
	}
	f, err := r.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(maxNames)
	if err != nil && err != io.EOF {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return strings.HasPrefix(e.Name(), ".") || !e.IsDir() && !isRegularFile(r, path.Join(folder, e.Name()), e.Type())
	})
	items := make([]item, len(entries))
	for i, e := range entries {
		items[i] = newItem(e)
	}
	slices.SortFunc(items, compareItems)
	return items, nil
}

// An item is a directory entry with what is needed to sort it.
type item struct {
	fs.DirEntry
	value  int64  // items with larger values come first
	folded string // the name, see foldText
}

func newItem(e fs.DirEntry) item { return item{DirEntry: e, folded: foldText(e.Name())} }

// compareItems sorts folders first, then by value, then by name.
func compareItems(a, b item) int {
	if a.IsDir() != b.IsDir() {
		if a.IsDir() {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(b.value, a.value), compareNatural(a.folded, b.folded), cmp.Compare(a.Name(), b.Name()))
}

// position returns the place of an item in a sorted folder as text. It remains valid if the item is removed.
func (e item) position() string {
	kind := "f"
	if e.IsDir() {
		kind = "d"
	}
	return kind + strconv.FormatInt(e.value, 10) + "/" + e.Name()
}

// parsePosition returns an item at a position.
func parsePosition(text string) (item, error) {
	kind, name, ok := strings.Cut(text, "/")
	if !ok || kind[:min(1, len(kind))] != "f" && kind[:min(1, len(kind))] != "d" {
		return item{}, fs.ErrInvalid
	}
	value, err := strconv.ParseInt(kind[1:], 10, 64)
	if err != nil {
		return item{}, fs.ErrInvalid
	}
	e := newItem(placeholder{name: name, isDir: kind[0] == 'd'})
	e.value = value
	return e, nil
}

// A placeholder is a directory entry of which only name and kind are known.
type placeholder struct {
	fs.DirEntry
	name  string
	isDir bool
}

func (p placeholder) Name() string { return p.name }
func (p placeholder) IsDir() bool  { return p.isDir }

// compareNames compares two names as a person would sort them, ignoring case and accents if the rest tells them apart.
func compareNames(a, b string) int {
	return cmp.Or(compareNatural(foldText(a), foldText(b)), cmp.Compare(a, b))
}

// foldText returns text without differences that sorting and searching ignore: in lower case and without accents. The Turkish
// dotless i becomes an i, as its capital letter does.
func foldText(text string) string {
	text = strings.ToLower(text)
	if !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r):
			return -1
		case r == 'ı':
			return 'i'
		}
		return r
	}, canonical.Decompose(text))
}

// compareNatural compares two texts, and the numbers in them by their value: "2" is before "10".
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		if isDigit(a[0]) && isDigit(b[0]) {
			var x, y string
			x, a = cutNumber(a)
			y, b = cutNumber(b)
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// cutNumber splits text after the digits at its beginning, and removes leading zeros from them.
func cutNumber(text string) (number, rest string) {
	n := 0
	for n < len(text) && isDigit(text[n]) {
		n++
	}
	return strings.TrimLeft(text[:n], "0"), text[n:]
}

// isRegularFile reports whether a directory entry is a regular file, or a link to one inside the library.
func isRegularFile(r *os.Root, full string, kind fs.FileMode) bool {
	if kind&fs.ModeSymlink == 0 {
		return kind.IsRegular()
	}
	info, err := r.Stat(full)
	return err == nil && info.Mode().IsRegular()
}

// matchesFilter reports whether a name contains filter, ignoring case and accents.
func matchesFilter(name, filter string) bool {
	return filter == "" || strings.Contains(foldText(name), foldText(filter))
}

// newEntry returns the listing entry of a file or folder. The version of a file depends on art.
func newEntry(r *os.Root, folder string, e fs.DirEntry, art *folderArt) entry {
	full := path.Join(folder, e.Name())
	if e.IsDir() {
		return newFolderEntry(full)
	}
	item := entry{Name: strings.ToValidUTF8(e.Name(), "\ufffd"), ID: url.QueryEscape(full), path: full}
	if info, err := r.Stat(full); err == nil {
		item.Size, item.Modified = info.Size(), new(info.ModTime())
		item.version = versionOf(info, art.versionFor(e.Name()))
	}
	if item.Kind = mediaKind(e.Name()); item.Kind != "" {
		item.Original = "original/" + (&url.URL{Path: full}).EscapedPath()
	}
	item.Thumb = strings.TrimPrefix(thumbcache.Request{Provider: providerName, Path: full, Version: item.version}.URL(), "/")
	return item
}

// newFolderEntry returns the listing entry of a folder.
func newFolderEntry(full string) entry {
	return entry{
		Name:   strings.ToValidUTF8(path.Base(full), "\ufffd"),
		ID:     url.QueryEscape(full),
		Folder: url.QueryEscape(full),
		Thumb:  "cover/" + (&url.URL{Path: full}).EscapedPath() + "?size=0",
		path:   full,
	}
}

// fileVersion returns the version of a file, or "" if the file is gone. Tag identifies whatever else affects its thumbnail.
func fileVersion(r *os.Root, full, tag string) string {
	info, err := r.Stat(full)
	if err != nil {
		return ""
	}
	return versionOf(info, tag)
}

func versionOf(info fs.FileInfo, tag string) string {
	return thumbcache.Stamp{Size: info.Size(), ModTime: info.ModTime(), Tag: tag}.Version()
}

// A folderArt is what the pictures in a folder contribute to the versions of the files in it: the URL of a song without a cover must
// change when the picture that represents it changes.
type folderArt struct {
	root   *os.Root
	folder string
	shared string              // the version of the pictures that represent the folder; "" if there are none
	byStem map[string][]string // pictures by the name of the media that they may belong to
}

// artList ranks pictures as the cache does by default.
var artList, _ = folderart.Parse(folderart.Default) // a test checks the error

// readArt returns the folderArt of a folder with the given entries.
func readArt(r *os.Root, folder string, entries []item) *folderArt {
	a := &folderArt{root: r, folder: folder, byStem: make(map[string][]string)}
	var pictures []string
	for _, e := range entries {
		if !e.IsDir() && folderart.IsPicture(e.Name()) {
			pictures = append(pictures, e.Name())
			stem := stemOf(e.Name())
			a.byStem[stem] = append(a.byStem[stem], e.Name())
		}
	}
	a.shared = sharedVersion(r, folder, pictures, maxCoverDepth)
	return a
}

// sharedVersion returns the version of those pictures that represent a folder, and of the folder above a disc of an album.
func sharedVersion(r *os.Root, folder string, pictures []string, depth int) (version string) {
	found := 0
	for _, g := range artList.Folder(pictures) {
		if g.Parent && folderart.IsDisc(path.Base(folder)) && depth > 0 {
			if entries, err := readFolder(r, path.Dir(folder)); err == nil {
				var above []string
				for _, e := range entries {
					if !e.IsDir() && folderart.IsPicture(e.Name()) {
						above = append(above, e.Name())
					}
				}
				version += sharedVersion(r, path.Dir(folder), above, depth-1)
			}
		}
		for _, name := range g.Names {
			if found++; found <= maxFolderArt {
				version += fileVersion(r, path.Join(folder, name), name)
			}
		}
	}
	return version
}

// versionFor returns what pictures contribute to the version of a file: those of its folder, and those of its own name.
func (a *folderArt) versionFor(file string) string {
	version := a.shared
	for i, name := range a.byStem[stemOf(file)] {
		if name != file && i < maxFolderArt {
			version += fileVersion(a.root, path.Join(a.folder, name), name)
		}
	}
	return version
}

// stemOf returns the name that a file shares with its pictures: "film" for film.mkv, film.jpg and film-poster.png.
func stemOf(file string) string {
	stem := strings.ToLower(strings.TrimSuffix(file, path.Ext(file)))
	if folderart.IsPicture(file) {
		stem = strings.TrimSuffix(strings.TrimSuffix(stem, "-poster"), "-thumb")
	}
	return stem
}

// addHashes adds the ThumbHash of each entry that has a cached thumbnail. The page paints it until the image has loaded. After
// hashTimeout the remaining entries get none, so that a slow disk does not delay the listing.
func (s *site) addHashes(ctx context.Context, entries []entry) {
	ctx, cancel := context.WithTimeout(ctx, hashTimeout)
	defer cancel()
	for i := range entries {
		e := &entries[i]
		for _, size := range [...]int{320, 160, 640} { // the sizes of the grid
			if ctx.Err() != nil {
				return
			}
			t, ok := s.cache.Peek(ctx, thumbcache.Request{Provider: providerName, Path: e.path, Size: size, Format: s.format, Version: e.version})
			if ok {
				e.Hash = t.ThumbHash
				break
			}
		}
	}
}

const hashTimeout = 150 * time.Millisecond

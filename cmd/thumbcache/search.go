package main

import (
	"cmp"
	"context"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
)

// These limits bound the work of one search.
const (
	maxSearched      = 200000          // entries that are looked at
	maxSearchResults = maxPageEntries  // entries that are returned
	searchTimeout    = 5 * time.Second // for a library on a slow share; what was found until then is returned
)

// A match is a result of a search.
type match struct {
	item
	folder string
	rank   int // the best first: see the constants below
}

const (
	rankFolder = iota // a folder whose name has one of the words
	rankName          // a file whose name has one of the words
	rankPath          // a file or folder that has them in the folders above it only
)

// search returns the files and folders below q.folder that match q.search. Its error is that of q.folder; other folders that
// cannot be read are left out.
func search(ctx context.Context, r *os.Root, q query) (listing, error) {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	l := listing{Entries: []entry{}}
	words := strings.Fields(strings.ToLower(q.search))
	var found []match
	seen := 0
	folders := []string{q.folder}
	for i := 0; i < len(folders); i++ { // the loop appends to folders
		items, err := readFolder(r, folders[i])
		if err != nil && i == 0 {
			return listing{}, err
		}
		above := strings.ToLower(relativeTo(q.folder, folders[i]))
		for _, e := range items {
			if e.IsDir() {
				folders = append(folders, path.Join(folders[i], e.Name()))
			}
			if rank, ok := rankOf(e, above, words); ok {
				found = append(found, match{e, folders[i], rank})
			}
		}
		if seen += len(items); seen > maxSearched || ctx.Err() != nil {
			l.Partial = i < len(folders)-1
			break
		}
	}
	if q.sort == byDate || q.sort == bySize {
		for i, m := range found {
			if ctx.Err() != nil {
				l.Partial = true
				break
			}
			if info, err := r.Stat(path.Join(m.folder, m.Name())); err == nil && !m.IsDir() {
				found[i].value = q.sort.valueOf(info.Size(), info.ModTime())
			}
		}
	}
	slices.SortFunc(found, func(a, b match) int {
		first := 0
		if q.sort == byFolder {
			first = cmp.Or(cmp.Compare(a.rank, b.rank), compareNames(a.folder, b.folder))
		}
		return cmp.Or(first, compareItems(a.item, b.item), compareNames(a.folder, b.folder))
	})
	l.Total = len(found)
	l.Entries = slices.Grow(l.Entries, min(len(found), maxSearchResults))
	arts := make(map[string]*folderArt)
	for _, m := range found[:min(len(found), maxSearchResults)] {
		art := arts[m.folder]
		if art == nil && !m.IsDir() {
			items, err := readFolder(r, m.folder)
			if err != nil {
				continue
			}
			art = readArt(r, m.folder, items)
			arts[m.folder] = art
		}
		l.Entries = append(l.Entries, withWhere(newEntry(r, m.folder, m.DirEntry, art), m.folder))
	}
	return l, nil
}

// relativeTo returns the path of a folder below another one, and "" for that one itself.
func relativeTo(base, folder string) string {
	if folder == base {
		return ""
	}
	if base == "." {
		return folder
	}
	return strings.TrimPrefix(folder, base+"/")
}

// rankOf reports whether all words are in the name of e or in the path above it, both in lower case, and how well they match.
func rankOf(e item, above string, words []string) (rank int, ok bool) {
	rank = rankPath
	for _, w := range words {
		switch {
		case matchesWord(e.lower, w) && e.IsDir():
			rank = rankFolder
		case matchesWord(e.lower, w):
			rank = rankName
		case !containsWord(above, w):
			return 0, false
		}
	}
	return rank, true
}

// containsWord reports whether one of the names in a path matches a word.
func containsWord(path, word string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if matchesWord(name, word) {
			return true
		}
	}
	return false
}

// matchesWord reports whether a name contains a word, or has words that begin with its letters: "nb" matches "night bus".
func matchesWord(name, word string) bool {
	return strings.Contains(name, word) || len(word) > 1 && strings.Contains(initials(name), word)
}

// initials returns the first letter or digit of each word of a name.
func initials(name string) string {
	var b strings.Builder
	inWord := false
	for _, r := range name {
		isLetter := unicode.IsLetter(r) || unicode.IsDigit(r)
		if isLetter && !inWord {
			b.WriteRune(r)
		}
		inWord = isLetter || r == '\'' || r == '’' || unicode.IsMark(r)
	}
	return b.String()
}

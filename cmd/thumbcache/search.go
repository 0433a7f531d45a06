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
	tags   tagFacts
}

const (
	rankFolder = iota // a folder whose name has one of the words
	rankName          // a file whose name has one of the words
	rankTags          // a file whose tags have one of the words
	rankPath          // a file or folder that has them in the folders above it only
)

// search returns the files and folders below q.folder that match q.search by their names and tags.
func (s *site) search(ctx context.Context, root string, q query) (listing, error) {
	complete := s.tags.refresh(ctx)
	l, err := search(ctx, root, q, s.tags.get)
	l.Reading = !complete
	return l, err
}

// search returns the files and folders below q.folder that match q.search. tagsOf returns what is known of a file. The error is
// that of q.folder; other folders that cannot be read are left out.
func search(ctx context.Context, root string, q query, tagsOf func(name string) taggedFile) (listing, error) {
	r, err := openLibrary(root)
	if err != nil {
		return listing{}, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	q.folder = cmp.Or(q.folder, ".")
	found, partial, err := findMatches(ctx, r, q, tagsOf)
	if err != nil {
		return listing{}, err
	}
	slices.SortFunc(found, func(a, b match) int {
		first := 0
		if q.sort == byFolder {
			first = cmp.Or(cmp.Compare(a.rank, b.rank), compareNames(a.folder, b.folder))
		}
		return cmp.Or(first, compareItems(a.item, b.item), compareNames(a.folder, b.folder))
	})
	l := listing{Entries: []entry{}, Total: len(found), Partial: partial}
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
		e := withWhere(newEntry(r, m.folder, m.DirEntry, art), m.folder)
		if m.tags != (tagFacts{}) {
			e.Tags = &m.tags
		}
		l.Entries = append(l.Entries, e)
	}
	return l, nil
}

// findMatches returns what search does, unsorted. It reports partial if it has not seen everything.
func findMatches(ctx context.Context, r *os.Root, q query, tagsOf func(name string) taggedFile) (found []match, partial bool, err error) {
	words := strings.Fields(foldText(q.search))
	seen := 0
	folders := []string{q.folder}
	for i := 0; i < len(folders); i++ { // the loop appends to folders
		items, err := readFolder(r, folders[i])
		if err != nil && i == 0 {
			return nil, false, err
		}
		above := foldText(relativeTo(q.folder, folders[i]))
		for _, e := range items {
			full := path.Join(folders[i], e.Name())
			var tags taggedFile
			if e.IsDir() {
				folders = append(folders, full)
			} else if hasTags(e.Name()) {
				tags = tagsOf(full)
			}
			if rank, ok := rankOf(e, above, tags.words, words); ok {
				found = append(found, match{e, folders[i], rank, tags.tags})
			}
		}
		if seen += len(items); seen > maxSearched || ctx.Err() != nil {
			partial = i < len(folders)-1
			break
		}
	}
	if q.sort != byDate && q.sort != bySize {
		return found, partial, nil
	}
	for i, m := range found {
		if ctx.Err() != nil {
			return found, true, nil
		}
		if info, err := r.Stat(path.Join(m.folder, m.Name())); err == nil && !m.IsDir() {
			found[i].value = q.sort.valueOf(info.Size(), info.ModTime())
		}
	}
	return found, partial, nil
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

// rankOf reports whether all words are in the name of e, in its tags or in the path above it, and how well they match. All are
// folded, and tags are separated by NULs.
func rankOf(e item, above, tags string, words []string) (rank int, ok bool) {
	rank = rankPath
	for _, w := range words {
		switch {
		case matchesWord(e.folded, w) && e.IsDir():
			rank = rankFolder
		case matchesWord(e.folded, w):
			rank = min(rank, rankName)
		case containsWord(tags, "\x00", w):
			rank = min(rank, rankTags)
		case !containsWord(above, "/", w):
			return 0, false
		}
	}
	return rank, true
}

// containsWord reports whether one of the texts between separators matches a word.
func containsWord(texts, separator, word string) bool {
	for text := range strings.SplitSeq(texts, separator) {
		if matchesWord(text, word) {
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

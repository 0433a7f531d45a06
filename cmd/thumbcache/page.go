package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/thumbcache/thumbcache"
)

// provider is the name under which the folder is served.
const provider = "library"

//go:embed page
var page embed.FS

// handler serves the page, what it asks for, and the thumbnails.
func handler(cache *thumbcache.Cache, folder string) http.Handler {
	assets, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // not with this go:embed
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(assets))
	mux.Handle("GET /thumb/{provider}/{path...}", cache.Handler())
	mux.HandleFunc("GET /cover/{path...}", func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.Atoi(r.FormValue("size"))
		if err != nil {
			size = 320
		}
		t, err := cover(r.Context(), cache, folder, r.PathValue("path"), size)
		if err != nil {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "no cover in this folder", http.StatusNotFound)
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		t.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /stats.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, cache.Stats()) })
	mux.HandleFunc("GET /list.json", func(w http.ResponseWriter, r *http.Request) {
		l, err := list(folder, r.FormValue("folder"), r.FormValue("after"))
		if err != nil {
			http.Error(w, "no such folder", http.StatusNotFound)
			return
		}
		writeJSON(w, l)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		mux.ServeHTTP(w, r)
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // it fails only when the client has gone
}

// A listing is a part of what is in a folder, folders first.
type listing struct {
	Entries []entry `json:"entries"`
	Next    string  `json:"next,omitempty"` // after which the next part begins, escaped for a query
}

type entry struct {
	Name   string `json:"name"`
	Folder string `json:"folder,omitempty"` // of a folder: what to list, escaped for a query
	Thumb  string `json:"thumb"`            // URL, without the size; of a folder: of a cover in it
	Where  string `json:"where,omitempty"`  // the folder that a file of a flat listing is in
}

const (
	perPage  = 300    // entries in one answer
	maxNames = 200000 // names of a folder that are read at all
	maxFlat  = 200    // files that are shown without their folders
	maxDepth = 4      // folders that are gone down to find a cover
	maxTries = 4      // files that are tried as one
)

// list returns the entries of a folder that come after one. A library that is small is shown flat.
func list(root, folder, after string) (listing, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return listing{}, err
	}
	defer r.Close()
	if folder == "" {
		folder = "."
	}
	if folder == "." && after == "" {
		if l, ok := flat(r); ok {
			return l, nil
		}
	}
	entries, err := read(r, folder)
	if err != nil {
		return listing{}, err
	}
	var l listing
	var last string
	for _, e := range entries {
		key := sortKey(e)
		if key <= after {
			continue
		}
		if len(l.Entries) == perPage {
			l.Next = url.QueryEscape(last)
			break
		}
		l.Entries = append(l.Entries, show(folder, e))
		last = key
	}
	return l, nil
}

// cover returns a thumbnail of a folder: of the picture that stands for it, else of one of its first files or, if it has
// only folders, that of the first of those.
func cover(ctx context.Context, cache *thumbcache.Cache, root, folder string, size int) (*thumbcache.Thumbnail, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for range maxDepth {
		entries, err := read(r, folder)
		if err != nil {
			return nil, err
		}
		if t, err := cache.Get(ctx, provider, folder, size); err == nil || ctx.Err() != nil {
			return t, err // a cover.jpg, say
		}
		files := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() })
		if files < 0 {
			if len(entries) == 0 {
				break
			}
			folder = path.Join(folder, entries[0].Name())
			continue
		}
		for _, e := range entries[files:min(files+maxTries, len(entries))] {
			if t, err := cache.Get(ctx, provider, path.Join(folder, e.Name()), size); err == nil || ctx.Err() != nil {
				return t, err
			}
		}
		break
	}
	return nil, thumbcache.ErrNoPicture
}

// flat returns all files of a small library.
func flat(r *os.Root) (l listing, ok bool) {
	folders := []string{"."}
	for len(folders) > 0 {
		folder := folders[0]
		folders = folders[1:]
		entries, err := read(r, folder)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.IsDir() {
				folders = append(folders, path.Join(folder, e.Name()))
				continue
			}
			item := show(folder, e)
			if folder != "." {
				item.Where = folder
			}
			l.Entries = append(l.Entries, item)
		}
		if len(l.Entries) > maxFlat || len(folders) > maxFlat {
			return listing{}, false
		}
	}
	slices.SortStableFunc(l.Entries, func(a, b entry) int { return cmp.Compare(a.Where, b.Where) })
	return l, true
}

// read returns what is in a folder, hidden files left out, sorted.
func read(r *os.Root, folder string) ([]fs.DirEntry, error) {
	// To open a FIFO would wait for whoever writes to it.
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
		return strings.HasPrefix(e.Name(), ".") || !e.IsDir() && !e.Type().IsRegular() && e.Type()&fs.ModeSymlink == 0
	})
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		if a.IsDir() != b.IsDir() {
			return cmp.Compare(sortKey(a), sortKey(b))
		}
		return cmp.Compare(a.Name(), b.Name())
	})
	return entries, nil
}

// sortKey puts folders first.
func sortKey(e fs.DirEntry) string {
	if e.IsDir() {
		return "0" + e.Name()
	}
	return "1" + e.Name()
}

func show(folder string, e fs.DirEntry) entry {
	full := path.Join(folder, e.Name())
	segments := strings.Split(full, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	item := entry{Name: strings.ToValidUTF8(e.Name(), "\ufffd"), Thumb: "thumb/" + provider + "/" + strings.Join(segments, "/")}
	if e.IsDir() {
		item.Folder = url.QueryEscape(full)
		item.Thumb = "cover/" + strings.Join(segments, "/")
	}
	return item
}

package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/internal/folderart"
	tcprom "github.com/thumbcache/thumbcache/prometheus"
)

// providerName is the name of the provider of the served folder.
const providerName = "library"

//go:embed page
var pageFiles embed.FS

// A site serves the page of one folder, and everything that the page requests.
type site struct {
	folder           string
	cache            *thumbcache.Cache
	uncached         *thumbcache.Cache // keeps nothing, for comparison: see newUncached
	uncachedMethod   string            // how uncached extracts pictures: "ffmpeg" or "library"
	uncachedRequests atomic.Uint64     // number of requests to uncached
}

func newSite(cache *thumbcache.Cache, folder string) (*site, error) {
	uncached, method, err := newUncached(folder)
	return &site{folder: folder, cache: cache, uncached: uncached, uncachedMethod: method}, err
}

func (s *site) close() { s.uncached.Close() }

// handler returns the handler for the page, its data, the thumbnails and the metrics.
func (s *site) handler() http.Handler {
	assets, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // cannot happen: page is embedded above
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), tcprom.New(s.cache.Stats))

	mux := http.NewServeMux()
	mux.Handle("GET /", disableCaching(http.FileServerFS(assets)))
	mux.Handle("GET /thumb/{provider}/{path...}", s.cache.Handler())
	mux.HandleFunc("GET /cover/{path...}", s.serveCover)
	mux.HandleFunc("GET /uncached/{path...}", s.serveUncached)
	mux.HandleFunc("GET /list.json", s.serveList)
	mux.HandleFunc("GET /about.json", s.serveAbout)
	mux.HandleFunc("GET /stats.json", s.serveStats)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /debug/vars", s.serveVars)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			// The other site could not read the answer, but it could make this computer work.
			writeError(w, http.StatusForbidden, "requests from other sites are not allowed")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// disableCaching makes browsers revalidate the files of the page, which have the same names in every build.
func disableCaching(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		h.ServeHTTP(w, r)
	})
}

// writeError writes an error response that browsers do not cache.
func writeError(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, why, status)
}

// A libraryError reports that the folder of the library itself cannot be opened.
type libraryError struct{ error }

func (e libraryError) Unwrap() error { return e.error }

// openLibrary opens the folder of the library. Its error is a libraryError.
func openLibrary(folder string) (*os.Root, error) {
	r, err := os.OpenRoot(folder)
	if err != nil {
		return nil, libraryError{err}
	}
	return r, nil
}

// writeFolderError writes the response to a request for a folder that cannot be read. The text does not contain a path of
// this computer.
func writeFolderError(w http.ResponseWriter, err error) {
	_, isLibrary := errors.AsType[libraryError](err)
	switch {
	case errors.Is(err, fs.ErrPermission):
		writeError(w, http.StatusForbidden, "Permission denied: the server may not read this folder.")
	case isLibrary && errors.Is(err, fs.ErrNotExist):
		writeError(w, http.StatusServiceUnavailable, "The folder of this library is missing on the server.")
	case isLibrary:
		writeError(w, http.StatusServiceUnavailable, "The server cannot read the folder of this library.")
	default:
		writeError(w, http.StatusNotFound, "There is no such folder.")
	}
}

func (s *site) serveCover(w http.ResponseWriter, r *http.Request) {
	req := thumbcache.Request{Provider: providerName, Size: 320}
	if n, err := strconv.Atoi(r.FormValue("size")); err == nil {
		req.Size = n
	}
	t, err := findCover(r.Context(), s.cache, s.folder, r.PathValue("path"), req)
	switch {
	case errors.Is(err, thumbcache.ErrNoPicture):
		t = textThumbnail("no cover in this folder")
	case errors.Is(err, fs.ErrPermission):
		t = textThumbnail("permission denied") // with status 200 for the same reason as in makePlaceholder
	case err != nil:
		writeFolderError(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	t.ServeHTTP(w, r)
}

// newConfig returns the configuration of a cache for the page, without the fields that concern storage.
func newConfig(folder string) thumbcache.Config {
	return thumbcache.Config{
		Providers:   map[string]thumbcache.Provider{providerName: thumbcache.Files(folder)},
		Placeholder: makePlaceholder,
	}
}

// makePlaceholder is a [thumbcache.Config.Placeholder]. For a file that has no thumbnail for a permanent reason it returns
// the reason as text, which the page displays in place of the image. A status of 404 would also make the browser log an
// error to its console.
func makePlaceholder(_ thumbcache.Request, err error) *thumbcache.Thumbnail {
	for _, p := range []struct {
		err  error
		text string
	}{
		{thumbcache.ErrNoPicture, "no picture in this file"},
		{thumbcache.ErrUnsupported, "unsupported file type"},
		{thumbcache.ErrCorrupt, "file is corrupt"},
		{thumbcache.ErrTooLarge, "picture is too large"},
		{exec.ErrNotFound, "ffmpeg is not installed on this server"},
	} {
		if errors.Is(err, p.err) {
			return textThumbnail(p.text)
		}
	}
	return nil
}

// textThumbnail returns a thumbnail that is served as plain text.
func textThumbnail(text string) *thumbcache.Thumbnail {
	return &thumbcache.Thumbnail{Data: []byte(text), ContentType: "text/plain; charset=utf-8"}
}

func (s *site) serveList(w http.ResponseWriter, r *http.Request) {
	l, err := listFolder(s.folder, r.FormValue("folder"), r.FormValue("after"), r.FormValue("filter"))
	if err != nil {
		writeFolderError(w, err)
		return
	}
	s.addHashes(r.Context(), l.Entries)
	writeJSON(w, l)
}

// serveAbout returns the name of the folder. Local clients also get the method of /uncached, which only they may use.
func (s *site) serveAbout(w http.ResponseWriter, r *http.Request) {
	about := struct {
		Name     string `json:"name"`
		Uncached string `json:"uncached,omitempty"` // site.uncachedMethod; empty if this client may not use /uncached
	}{Name: strings.ToValidUTF8(filepath.Base(s.folder), "\ufffd")}
	if isLocal(r) {
		about.Uncached = s.uncachedMethod
	}
	writeJSON(w, about)
}

func (s *site) serveStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, struct {
		thumbcache.Stats
		Uncached thumbcache.Stats `json:"uncached"`
	}{s.cache.Stats(), s.uncached.Stats()})
}

// serveVars returns variables in the format of package expvar, whose own variables are global to the process. Only local
// clients may read them, because the command line contains paths of this computer.
func (s *site) serveVars(w http.ResponseWriter, r *http.Request) {
	if !isLocal(r) {
		writeError(w, http.StatusForbidden, "only available on the computer that runs the server")
		return
	}
	vars := struct {
		Cmdline  []string         `json:"cmdline"`
		Memstats runtime.MemStats `json:"memstats"`
		Cache    thumbcache.Stats `json:"thumbcache"`
	}{Cmdline: os.Args, Cache: s.cache.Stats()}
	runtime.ReadMemStats(&vars.Memstats)
	writeJSON(w, vars)
}

// newUncached returns a cache that keeps nothing, for comparison. Like a server without a cache, it starts an ffmpeg process
// for every request; without ffmpeg it extracts the picture in Go. It never runs more than uncachedWorkers at once.
func newUncached(folder string) (c *thumbcache.Cache, method string, err error) {
	method = "library"
	extractor := thumbcache.FirstOf(thumbcache.Images(), thumbcache.CoverArt())
	if _, err := exec.LookPath("ffmpeg"); err == nil {
		method = "ffmpeg"
		extractor = thumbcache.FirstOf(&thumbcache.FFmpeg{Processes: uncachedWorkers}, extractor)
	}
	c, err = thumbcache.New(thumbcache.Config{
		Providers:     map[string]thumbcache.Provider{providerName: thumbcache.Files(folder)},
		Extractor:     extractor,
		MemoryEntries: -1,
		FailureTTL:    -1,
		Workers:       uncachedWorkers,
		Queue:         64,
		Timeout:       15 * time.Second,
	})
	return c, method, err
}

// uncachedWorkers limits the CPU that the comparison takes. Browsers open 6 connections to a host, so 4 is a real limit.
const uncachedWorkers = 4

// serveUncached makes a thumbnail without the cache. This is expensive, so only our own page on this computer may request it.
func (s *site) serveUncached(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.FormValue("size"))
	switch {
	case !isLocal(r) || r.Header.Get("Sec-Fetch-Site") != "same-origin":
		writeError(w, http.StatusForbidden, "only available to the page, on the computer that runs the server")
		return
	case err != nil || size < 1:
		writeError(w, http.StatusBadRequest, "size must be at least 1")
		return
	}
	t, err := s.uncached.Do(r.Context(), thumbcache.Request{
		Provider: providerName,
		Path:     r.PathValue("path"),
		Size:     min(size, maxUncached),
		// A unique version, so that requests do not share work.
		Version: strconv.FormatUint(s.uncachedRequests.Add(1), 10),
	})
	if err != nil {
		status := thumbcache.HTTPStatus(err)
		writeError(w, status, cmp.Or(http.StatusText(status), "client closed request"))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	t.ServeHTTP(w, r)
}

const maxUncached = 1280 // pixels; the largest size that the page requests

// isLocal reports whether a request comes directly from this computer. It rejects requests that a local proxy forwards, and
// those with a foreign Host, which a page of another site can send by DNS rebinding.
func isLocal(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	to, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && to.Unmap().IsLoopback()
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has disconnected
}

// A listing is one page of the entries of a folder, folders first.
type listing struct {
	Entries []entry `json:"entries"`        // not nil, so that it is a list in JSON even if it is empty
	Next    string  `json:"next,omitempty"` // the parameter "after" of the next page, escaped for a query
}

type entry struct {
	Name   string `json:"name"`
	Folder string `json:"folder,omitempty"` // for a folder: its path, escaped for a query
	Thumb  string `json:"thumb"`            // URL with version and size=0, which the page replaces; for a folder: of its cover
	Where  string `json:"where,omitempty"`  // in a flat listing: the folder of the file
	Open   string `json:"open,omitempty"`   // that folder, escaped for a query
	Hash   []byte `json:"hash,omitempty"`   // ThumbHash, if a thumbnail is cached

	path, version string
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

// listFolder returns the page of a folder's entries that follows the sort key after, limited to names that contain filter. A
// small library is listed flat: all its files, without folders.
func listFolder(root, folder, after, filter string) (listing, error) {
	r, err := openLibrary(root)
	if err != nil {
		return listing{}, err
	}
	defer r.Close()
	if folder == "" {
		folder = "."
	}
	if folder == "." && after == "" {
		if l, ok, err := listAll(r, filter); ok || err != nil {
			return l, err
		}
	}
	entries, err := readFolder(r, folder)
	if err != nil {
		return listing{}, err
	}
	l := listing{Entries: []entry{}}
	var last string
	art := readArt(r, folder, entries)
	for _, e := range entries {
		key := sortKey(e)
		if key <= after || !matchesFilter(e.Name(), filter) {
			continue
		}
		if len(l.Entries) == maxPageEntries {
			l.Next = url.QueryEscape(last)
			break
		}
		l.Entries = append(l.Entries, newEntry(r, folder, e, art))
		last = key
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
		files := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() })
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

// listAll returns all files of a library whose names contain filter, and the folders that cannot be read. It reports false if
// the library is too large.
func listAll(r *os.Root, filter string) (l listing, ok bool, err error) {
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
			if name := path.Base(folder); matchesFilter(name, filter) {
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
			if e.IsDir() || !matchesFilter(e.Name(), filter) {
				continue
			}
			l.Entries = append(l.Entries, withWhere(newEntry(r, folder, e, art), folder))
		}
	}
	slices.SortStableFunc(l.Entries, func(a, b entry) int { return cmp.Compare(a.Where, b.Where) })
	return l, true, nil
}

// withWhere returns the entry of a flat listing, which names the folder that it is in.
func withWhere(e entry, folder string) entry {
	if folder != "." {
		e.Where, e.Open = strings.ToValidUTF8(folder, "\ufffd"), url.QueryEscape(folder)
	}
	return e
}

// readFolder returns the sorted entries of a folder, except hidden files and whatever is not a regular file or folder.
func readFolder(r *os.Root, folder string) ([]fs.DirEntry, error) {
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
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortKey(a), sortKey(b)) })
	return entries, nil
}

// isRegularFile reports whether a directory entry is a regular file, or a link to one inside the library.
func isRegularFile(r *os.Root, full string, kind fs.FileMode) bool {
	if kind&fs.ModeSymlink == 0 {
		return kind.IsRegular()
	}
	info, err := r.Stat(full)
	return err == nil && info.Mode().IsRegular()
}

// sortKey returns a key that sorts folders first, then by name ignoring case.
func sortKey(e fs.DirEntry) string {
	kind := "1"
	if e.IsDir() {
		kind = "0"
	}
	return kind + strings.ToLower(e.Name()) + "\x00" + e.Name()
}

// matchesFilter reports whether a name contains filter, ignoring case.
func matchesFilter(name, filter string) bool {
	return filter == "" || strings.Contains(strings.ToLower(name), strings.ToLower(filter))
}

// newEntry returns the listing entry of a file or folder. The version of a file depends on art.
func newEntry(r *os.Root, folder string, e fs.DirEntry, art *folderArt) entry {
	full := path.Join(folder, e.Name())
	if e.IsDir() {
		return newFolderEntry(full)
	}
	item := entry{Name: strings.ToValidUTF8(e.Name(), "\ufffd"), path: full}
	item.version = fileVersion(r, full, art.versionFor(e.Name()))
	item.Thumb = strings.TrimPrefix(thumbcache.Request{Provider: providerName, Path: full, Version: item.version}.URL(), "/")
	return item
}

// newFolderEntry returns the listing entry of a folder.
func newFolderEntry(full string) entry {
	return entry{
		Name:   strings.ToValidUTF8(path.Base(full), "\ufffd"),
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
func readArt(r *os.Root, folder string, entries []fs.DirEntry) *folderArt {
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
			t, ok := s.cache.Peek(ctx, thumbcache.Request{Provider: providerName, Path: e.path, Size: size, Version: e.version})
			if ok {
				e.Hash = t.ThumbHash
				break
			}
		}
	}
}

const hashTimeout = 150 * time.Millisecond

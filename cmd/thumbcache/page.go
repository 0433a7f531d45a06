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
	tcprom "github.com/thumbcache/thumbcache/prometheus"
)

// provider is the name under which the folder is served.
const providerName = "library"

//go:embed page
var pageFiles embed.FS

// folderArt is the default of [thumbcache.Config.FolderArt], said here because the URL of a song without a cover has to
// change with the picture beside it.
var folderArt = []string{"cover.*", "folder.*", "front.*", "albumart*.*"}

// A site is the page of one folder, and all that it asks for.
type site struct {
	folder           string
	cache            *thumbcache.Cache
	uncached         *thumbcache.Cache // for comparison: see newUncached
	uncachedMethod   string            // how uncached does it: ffmpeg or library
	uncachedRequests atomic.Uint64     // of uncached
}

func newSite(cache *thumbcache.Cache, folder string) (*site, error) {
	uncached, way, err := newUncached(folder)
	return &site{folder: folder, cache: cache, uncached: uncached, uncachedMethod: way}, err
}

func (s *site) close() { s.uncached.Close() }

// handler serves the page, what it asks for, and the thumbnails.
func (s *site) handler() http.Handler {
	assets, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // not with this go:embed
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
			writeError(w, http.StatusForbidden, "no page of another site may ask for that") // it would not get to see it, but make work
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// noCache has a browser ask again: a new build has another page under the same names.
func disableCaching(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		h.ServeHTTP(w, r)
	})
}

// refuse answers with an error that is not to be kept.
func writeError(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, why, status)
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
	case err != nil:
		writeError(w, http.StatusNotFound, "no such folder")
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	t.ServeHTTP(w, r)
}

// configOf returns what a cache of the page's folder is like, wherever it keeps its thumbnails.
func newConfig(folder string) thumbcache.Config {
	return thumbcache.Config{
		Providers:   map[string]thumbcache.Provider{providerName: thumbcache.Files(folder)},
		FolderArt:   folderArt,
		Placeholder: makePlaceholder,
	}
}

// pictureless is a [thumbcache.Config.Placeholder]: words in place of the picture that a file does not have. That it is no
// picture is an error for the page, which then shows the words. A status of 404 would be one in the browser's console too.
func makePlaceholder(_ thumbcache.Request, err error) *thumbcache.Thumbnail {
	for _, sure := range []struct {
		err   error
		words string
	}{
		{thumbcache.ErrNoPicture, "no picture in this media"},
		{thumbcache.ErrUnsupported, "media of an unsupported kind"},
		{thumbcache.ErrCorrupt, "broken media"},
		{thumbcache.ErrTooLarge, "picture too large"},
		{exec.ErrNotFound, "ffmpeg was not found on this server"},
	} {
		if errors.Is(err, sure.err) {
			return textThumbnail(sure.words)
		}
	}
	return nil
}

func textThumbnail(words string) *thumbcache.Thumbnail {
	return &thumbcache.Thumbnail{Data: []byte(words), ContentType: "text/plain; charset=utf-8"}
}

func (s *site) serveList(w http.ResponseWriter, r *http.Request) {
	l, err := listFolder(s.folder, r.FormValue("folder"), r.FormValue("after"), r.FormValue("filter"))
	if err != nil {
		writeError(w, http.StatusNotFound, "no such folder")
		return
	}
	s.addHashes(r.Context(), l.Entries)
	writeJSON(w, l)
}

// serveAbout tells what the page cannot know.
func (s *site) serveAbout(w http.ResponseWriter, r *http.Request) {
	about := struct {
		Name     string `json:"name"`
		Uncached string `json:"uncached,omitempty"` // what the comparison is with; nothing: it may not be asked for from here
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

// serveVars answers in the format of expvar, which itself would share its variables with any other server in this process.
// The command line names folders of this computer, so it is for no other.
func (s *site) serveVars(w http.ResponseWriter, r *http.Request) {
	if !isLocal(r) {
		writeError(w, http.StatusForbidden, "only this computer may ask for that")
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

// newUncached returns a cache that keeps nothing, to compare with: the usual way, in which every request starts an ffmpeg of
// its own. Where there is no ffmpeg it is at least the work that a cache spares. Whatever it is asked, it does not take more
// than a few processes and workers.
func newUncached(folder string) (c *thumbcache.Cache, way string, err error) {
	way = "library"
	extractor := thumbcache.FirstOf(thumbcache.Images(), thumbcache.CoverArt())
	if _, err := exec.LookPath("ffmpeg"); err == nil {
		way = "ffmpeg"
		extractor = thumbcache.FirstOf(&thumbcache.FFmpeg{Processes: uncachedWorkers}, extractor)
	}
	c, err = thumbcache.New(thumbcache.Config{
		Providers:     map[string]thumbcache.Provider{providerName: thumbcache.Files(folder)},
		Extractor:     extractor,
		MemoryEntries: -1,
		FailureTTL:    -1,
		FolderArt:     folderArt,
		Workers:       uncachedWorkers,
		Queue:         64,
		Timeout:       15 * time.Second,
	})
	return c, way, err
}

// uncachedWorkers is fewer than a browser has connections to one host, so that it is a limit.
const uncachedWorkers = 4

// serveUncached makes a thumbnail as if there were no cache. As that is dear, only our own page may ask for it.
func (s *site) serveUncached(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.FormValue("size"))
	switch {
	case !isLocal(r) || r.Header.Get("Sec-Fetch-Site") != "same-origin":
		writeError(w, http.StatusForbidden, "only the page on this computer may ask for that")
		return
	case err != nil || size < 1:
		writeError(w, http.StatusBadRequest, "which size?")
		return
	}
	t, err := s.uncached.Do(r.Context(), thumbcache.Request{
		Provider: providerName,
		Path:     r.PathValue("path"),
		Size:     min(size, maxUncached),
		// What is made of another version is of no use to it, and it waits for nobody else's.
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

const maxUncached = 1280 // pixels

// local reports whether a request comes from this computer: not from another one through a proxy here, and not from the page
// of another site whose name was made to lead here.
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
	Thumb  string `json:"thumb"`            // URL, with the version, and with size=0 for the page to put one there; of a folder: of a cover in it
	Where  string `json:"where,omitempty"`  // the folder that a file of a flat listing is in
	Open   string `json:"open,omitempty"`   // that folder, escaped for a query
	Hash   []byte `json:"hash,omitempty"`   // ThumbHash, if there is a thumbnail already

	path, version string
}

const (
	maxPageEntries = 300    // entries in one answer
	maxNames       = 200000 // names of a folder that are read at all
	maxFlatEntries = 200    // files that are shown without their folders, and folders that are looked into for that
	maxCoverDepth  = 4      // folders that are gone down to find a cover
	maxCoverTries  = 4      // files that are tried as one
)

// list returns the entries of a folder that come after one and have the filter in their name. A library that is small is
// shown flat.
func listFolder(root, folder, after, filter string) (listing, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return listing{}, err
	}
	defer r.Close()
	if folder == "" {
		folder = "."
	}
	if folder == "." && after == "" {
		if l, ok := listAll(r, filter); ok {
			return l, nil
		}
	}
	entries, err := readFolder(r, folder)
	if err != nil {
		return listing{}, err
	}
	var l listing
	var last string
	art := artVersion(r, folder, entries)
	for _, e := range entries {
		key := sortKey(e)
		if key <= after || !matchesFilter(e, filter) {
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

// cover returns a thumbnail of a folder: of the picture that stands for it, else of one of its first files or, if it has
// only folders, that of the first of those.
func findCover(ctx context.Context, cache *thumbcache.Cache, root, folder string, req thumbcache.Request) (*thumbcache.Thumbnail, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for range maxCoverDepth {
		entries, err := readFolder(r, folder)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(entries, isArt) {
			req.Path, req.Version = folder, ""
			if t, err := cache.Do(ctx, req); err == nil || ctx.Err() != nil {
				return t, err // a cover.jpg, say
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
		art := artVersion(r, folder, entries)
		for _, e := range entries[files:min(files+maxCoverTries, len(entries))] {
			req.Path = path.Join(folder, e.Name())
			req.Version = fileVersion(r, req.Path, art) // as in the list, so that it is made once
			if t, err := cache.Do(ctx, req); err == nil || ctx.Err() != nil {
				return t, err
			}
		}
		break
	}
	return nil, thumbcache.ErrNoPicture
}

// flat returns all files of a small library, or those with the filter in their name.
func listAll(r *os.Root, filter string) (l listing, ok bool) {
	folders, files := []string{"."}, 0
	for i := 0; i < len(folders); i++ { // it grows
		folder := folders[i]
		entries, err := readFolder(r, folder)
		if err != nil {
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
			return listing{}, false
		}
		art := artVersion(r, folder, entries)
		for _, e := range entries {
			if e.IsDir() || !matchesFilter(e, filter) {
				continue
			}
			item := newEntry(r, folder, e, art)
			if folder != "." {
				item.Where, item.Open = strings.ToValidUTF8(folder, "\ufffd"), url.QueryEscape(folder)
			}
			l.Entries = append(l.Entries, item)
		}
	}
	slices.SortStableFunc(l.Entries, func(a, b entry) int { return cmp.Compare(a.Where, b.Where) })
	return l, true
}

// read returns what is in a folder, hidden files left out, sorted.
func readFolder(r *os.Root, folder string) ([]fs.DirEntry, error) {
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
		return strings.HasPrefix(e.Name(), ".") || !e.IsDir() && !isRegularFile(r, path.Join(folder, e.Name()), e.Type())
	})
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortKey(a), sortKey(b)) })
	return entries, nil
}

// isFile reports whether what lies at a name is a file, or a link to one that does not lead out of the library.
func isRegularFile(r *os.Root, full string, kind fs.FileMode) bool {
	if kind&fs.ModeSymlink == 0 {
		return kind.IsRegular()
	}
	info, err := r.Stat(full)
	return err == nil && info.Mode().IsRegular()
}

// sortKey puts folders first, and the case of letters last.
func sortKey(e fs.DirEntry) string {
	kind := "1"
	if e.IsDir() {
		kind = "0"
	}
	return kind + strings.ToLower(e.Name()) + "\x00" + e.Name()
}

// matches reports whether the name has filter in it, in whatever case.
func matchesFilter(e fs.DirEntry, filter string) bool {
	return filter == "" || strings.Contains(strings.ToLower(e.Name()), strings.ToLower(filter))
}

func newEntry(r *os.Root, folder string, e fs.DirEntry, art string) entry {
	full := path.Join(folder, e.Name())
	item := entry{Name: strings.ToValidUTF8(e.Name(), "\ufffd"), path: full}
	if e.IsDir() {
		item.Folder = url.QueryEscape(full)
		item.Thumb = "cover/" + (&url.URL{Path: full}).EscapedPath() + "?size=0"
		return item
	}
	item.version = fileVersion(r, full, art)
	item.Thumb = strings.TrimPrefix(thumbcache.Request{Provider: providerName, Path: full, Version: item.version}.URL(), "/")
	return item
}

// versionOf is the version of a file, or nothing if it is gone. Tag is what else matters to its picture.
func fileVersion(r *os.Root, full, tag string) string {
	info, err := r.Stat(full)
	if err != nil {
		return ""
	}
	return thumbcache.Stamp{Size: info.Size(), ModTime: info.ModTime(), Tag: tag}.Version()
}

// artOf is what the pictures that may stand for a folder add to the version of each file in it.
func artVersion(r *os.Root, folder string, entries []fs.DirEntry) (art string) {
	found := 0
	for _, e := range entries {
		if found == maxFolderArt || !isArt(e) {
			continue
		}
		found++
		art += fileVersion(r, path.Join(folder, e.Name()), e.Name())
	}
	return art
}

const maxFolderArt = 8 // pictures of one folder that are looked at

// isArt reports whether a file may be the picture of its folder.
func isArt(e fs.DirEntry) bool {
	name := strings.ToLower(e.Name())
	return !e.IsDir() && slices.ContainsFunc(folderArt, func(pattern string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	})
}

// addHashes adds the ThumbHash of each entry that has a thumbnail, which the page paints before the picture comes. A disk
// that is slow must not hold up the list: those it is too late for are painted grey.
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

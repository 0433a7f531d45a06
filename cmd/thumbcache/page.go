package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// providerName is the name of the provider of the served folder.
const providerName = "library"

//go:embed page
var pageFiles embed.FS

// A site serves the page of one folder, and everything that the page requests.
type site struct {
	folder           string
	media            thumbcache.Provider // of folder
	dir              string              // the thumbnail folder; "" if there is none
	traces           *traces             // of cache
	tags             *tagIndex           // of media
	pictures         *pictureFinder      // in media
	watcher          *watcher            // of the folders that are open in a page
	streams          atomic.Int64        // number of responses to /events in progress
	cache            *thumbcache.Cache
	uncached         *thumbcache.Cache // keeps nothing, for comparison: see newUncached
	uncachedMethod   string            // how uncached extracts pictures: "ffmpeg" or "library"
	uncachedRequests atomic.Uint64     // number of requests to uncached
	hasShared        bool              // cache has a tier that several machines share
	format           thumbcache.Format // of the thumbnails on the page
}

// newSite returns the site of a folder. config is what newConfig has returned for the folder, with more fields set.
func newSite(folder string, config thumbcache.Config) (*site, error) {
	s := &site{folder: folder, media: config.Providers[providerName], dir: config.Dir, traces: newTraces()}
	s.tags, s.pictures = newTagIndex(folder, s.media), newPictureFinder(s.media)
	config.Observer = s.traces.observer()
	s.watcher = newWatcher(func(ctx context.Context, q query) (listing, error) { return listFolder(ctx, folder, q) })
	var err error
	if s.cache, err = thumbcache.New(config); err != nil {
		return nil, err
	}
	if s.uncached, s.uncachedMethod, err = newUncached(folder); err != nil {
		s.cache.Close()
		return nil, err
	}
	s.hasShared = config.Shared != nil
	if config.Negotiate {
		s.format = thumbcache.WebP // the URLs say so, because immutable ones are not negotiated; all browsers that run the page show it
	}
	return s, nil
}

// close closes the caches, so that requests in progress end with an error.
func (s *site) close() {
	s.tags.cancel()
	s.cache.Close()
	s.uncached.Close()
	s.tags.work.Wait() // last, because a share may hang
}

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
	mux.HandleFunc("GET /original/{path...}", s.serveOriginal)
	mux.HandleFunc("GET /list.json", s.serveList)
	mux.HandleFunc("GET /events", s.serveEvents)
	mux.HandleFunc("GET /explain.json", s.serveExplanation)
	mux.HandleFunc("GET /tags.json", s.serveTags)
	mux.HandleFunc("GET /about.json", s.serveAbout)
	mux.HandleFunc("GET /stats.json", s.serveStats)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /debug/vars", s.serveVars)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
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
		writeError(w, http.StatusForbidden, "Permission denied: the server cannot read this folder.")
	case isLibrary && errors.Is(err, fs.ErrNotExist):
		writeError(w, http.StatusServiceUnavailable, "The folder of this library is missing on the server.")
	case isLibrary:
		writeError(w, http.StatusServiceUnavailable, "The server cannot read the folder of this library.")
	default:
		writeError(w, http.StatusNotFound, "There is no such folder.")
	}
}

func (s *site) serveCover(w http.ResponseWriter, r *http.Request) {
	req := thumbcache.Request{Provider: providerName, Size: 320, Format: s.format}
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
	q := query{folder: r.FormValue("folder"), after: r.FormValue("after"), filter: r.FormValue("filter"), search: r.FormValue("search"), sort: parseSorting(r.FormValue("sort"))}
	list := listFolder
	if strings.TrimSpace(q.search) != "" {
		list = s.search
	}
	l, err := list(r.Context(), s.folder, q)
	if err != nil {
		writeFolderError(w, err)
		return
	}
	l.Version = l.version()
	if s.format == thumbcache.WebP {
		for i := range l.Entries {
			l.Entries[i].Thumb += "&format=webp" // ignored by /cover/, which has that format anyway
		}
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
		Shared      bool             `json:"shared"`       // there is a shared tier
		WorkSeconds float64          `json:"work_seconds"` // that it took to make the thumbnails
		Uncached    thumbcache.Stats `json:"uncached"`
	}{s.cache.Stats(), s.hasShared, s.traces.workSeconds(), s.uncached.Stats()})
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
	}{Cmdline: hideSecrets(os.Args), Cache: s.cache.Stats()}
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
	if !isLoopback(r.RemoteAddr) || isForwarded(r) {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	to, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && to.Unmap().IsLoopback()
}

// isLoopback reports whether an address with a port is one of this computer's loopback addresses.
func isLoopback(remote string) bool {
	from, err := netip.ParseAddrPort(remote)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// isForwarded reports whether a proxy has forwarded a request.
func isForwarded(r *http.Request) bool {
	return r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != ""
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has disconnected
}

package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/thumbcache/thumbcache"
	tcprom "github.com/thumbcache/thumbcache/prometheus"
)

//go:embed openapi.json
var openAPI []byte

// apiText is what a browser shows at the address of a service.
const apiText = `thumbcache: thumbnails of audio, images and video

GET  /thumb/PROVIDER/PATH?size=300   a thumbnail
POST /invalidate                     forget sources: {"provider": "music", "paths": ["a.flac"]}
POST /warm                           make thumbnails in advance: the same, and optionally "sizes": [300]
GET  /stats                          figures
GET  /metrics                        figures for Prometheus
GET  /healthz                        the process is alive
GET  /readyz                         the folders can be used
GET  /openapi.json                   the description of all this
`

// A service serves thumbnails to programs in other languages.
type service struct {
	sources  []mediaSource
	cache    *thumbcache.Cache
	log      *slog.Logger
	sizes    []int // that /warm makes unless it is told
	warm     *warmQueue
	probes   []*probe
	token    *token // nil if there is none
	public   bool   // thumbnails need no token
	isSocket bool   // only processes that the file system lets through can connect

	stopLimit time.Duration // for requests in progress when the service stops
}

// newService returns a service that accepts POST only after its token or isSocket is set. Config lacks only the providers.
func newService(sources []mediaSource, config thumbcache.Config) (*service, error) {
	s := &service{sources: sources, sizes: config.Sizes, warm: newWarmQueue(), stopLimit: stopTimeout}
	s.log = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	config.Providers = make(map[string]thumbcache.Provider)
	for _, m := range sources {
		config.Providers[m.name] = thumbcache.Files(m.folders...)
		for i, folder := range m.folders {
			name := "media " + m.name
			if len(m.folders) > 1 {
				name += ", folder " + strconv.Itoa(i+1)
			}
			s.probes = append(s.probes, &probe{name: name, check: func() error { return checkReadable(folder) }})
		}
	}
	if config.Dir != "" {
		s.probes = append(s.probes, &probe{name: "thumbnail folder", check: func() error { return checkWritable(config.Dir) }})
	}
	config.Observer = &thumbcache.Observer{Warmed: s.warm.addFinished}
	var err error
	s.cache, err = thumbcache.New(config)
	return s, err
}

// access says who may use a route.
type access int

const (
	forAll     access = iota
	forPublic         // without a token if --public is given
	forClients        // with the token, if there is one
	forWriters        // with the token or over a Unix socket
)

// A route is a part of the API.
type route struct {
	pattern string
	access  access
	handler http.Handler
}

func (s *service) routes() []route {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), tcprom.New(s.cache.Stats))
	return []route{
		{"GET /{$}", forAll, serveText(apiText)},
		{"GET /healthz", forAll, serveText("ok\n")},
		{"GET /readyz", forAll, http.HandlerFunc(s.serveReady)},
		{"GET /openapi.json", forAll, http.HandlerFunc(serveOpenAPI)},
		{"GET /thumb/", forPublic, s.cache.Handler()},
		{"GET /stats", forClients, http.HandlerFunc(s.serveStats)},
		{"GET /metrics", forClients, promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})},
		{"POST /invalidate", forWriters, http.HandlerFunc(s.invalidate)},
		{"POST /warm", forWriters, http.HandlerFunc(s.serveWarm)},
	}
}

// handler returns the handler of the API.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.pattern, s.guard(r.access, r.handler))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if !s.public {
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
			if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
				// The other site could not read the answer, but it could make this computer work.
				writeProblem(w, http.StatusForbidden, "requests from other sites are not allowed")
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// guard returns h for clients that may use it.
func (s *service) guard(a access, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case a == forAll || a == forPublic && s.public:
		case s.token == nil && a == forWriters && !s.isSocket:
			writeProblem(w, http.StatusForbidden, "this server has no token, so it refuses POST")
			return
		case s.token != nil && !s.token.isIn(r):
			w.Header().Set("WWW-Authenticate", `Bearer realm="thumbcache"`)
			writeProblem(w, http.StatusUnauthorized, "the token is missing or wrong")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// A problem is the answer to a request that failed. It has the form of the errors of thumbcache.Cache.Handler.
type problem struct {
	Status int    `json:"status"`
	Error  string `json:"error"`
}

func writeProblem(w http.ResponseWriter, status int, why string) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	writeJSONStatus(w, status, problem{status, why})
}

// writeJSONStatus is writeJSON with a status.
func writeJSONStatus(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has disconnected
}

func serveText(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, text) // fails only when the client has disconnected
	}
}

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(openAPI) // fails only when the client has disconnected
}

// serveReady answers 503 with what cannot be used.
func (s *service) serveReady(w http.ResponseWriter, r *http.Request) {
	if failing := runProbes(r.Context(), s.probes); len(failing) > 0 {
		writeProblem(w, http.StatusServiceUnavailable, "cannot be used now: "+strings.Join(failing, "; "))
		return
	}
	serveText("ready\n")(w, r)
}

func (s *service) serveStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, struct {
		thumbcache.Stats
		Warm warmReport `json:"warm"`
	}{s.cache.Stats(), s.warm.report()})
}

// The limits of the body of a POST request.
const (
	maxBody     = 1 << 20 // bytes
	maxPaths    = 1000
	maxSizes    = 16
	bodyTimeout = 30 * time.Second // to receive it
)

// A badBody is the reason why a body is refused.
type badBody struct {
	status int
	why    string
}

func (e badBody) Error() string { return e.why }

// A sourceList is the body of a POST request.
type sourceList struct {
	Provider string   `json:"provider"`
	Paths    []string `json:"paths"`
	Sizes    []int    `json:"sizes"` // only for /warm; none means those of --sizes
}

// readSources returns the body of a request, or answers it and reports false.
func (s *service) readSources(w http.ResponseWriter, r *http.Request) (list sourceList, ok bool) {
	err := decodeBody(w, r, &list)
	if err == nil {
		err = list.check()
	}
	if err == nil && !s.hasProvider(list.Provider) {
		err = badBody{http.StatusNotFound, "there is no such provider"}
	}
	if bad, isBad := errors.AsType[badBody](err); isBad {
		writeProblem(w, bad.status, bad.why)
	}
	return list, err == nil
}

func (s *service) hasProvider(name string) bool {
	return slices.ContainsFunc(s.sources, func(m mediaSource) bool { return m.name == name })
}

// decodeBody decodes a body that is one JSON value. Its error is a badBody.
func decodeBody(w http.ResponseWriter, r *http.Request, v any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return badBody{http.StatusUnsupportedMediaType, "the Content-Type must be application/json"}
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not supported in tests without a connection
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, isTooLong := errors.AsType[*http.MaxBytesError](err); isTooLong {
		return badBody{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", maxBody)}
	}
	if err != nil {
		return badBody{http.StatusBadRequest, "the body cannot be read"}
	}
	_ = control.SetReadDeadline(time.Time{})
	if !utf8.Valid(body) {
		return badBody{http.StatusBadRequest, "the body is not UTF-8"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err = d.Decode(v)
	if e, isType := errors.AsType[*json.UnmarshalTypeError](err); isType { // whose text names types of Go
		return badBody{http.StatusBadRequest, cmp.Or(e.Field, "the body") + " must not be of type " + e.Value}
	}
	if err != nil {
		return badBody{http.StatusBadRequest, strings.TrimPrefix(err.Error(), "json: ")}
	}
	if _, err := d.Token(); err != io.EOF {
		return badBody{http.StatusBadRequest, "something follows the JSON value"}
	}
	return nil
}

func (l *sourceList) check() error {
	bad := func(why string) error { return badBody{http.StatusBadRequest, why} }
	switch {
	case len(l.Paths) == 0 || len(l.Paths) > maxPaths:
		return bad(fmt.Sprintf("paths must have 1 to %d items", maxPaths))
	case len(l.Sizes) > maxSizes:
		return bad(fmt.Sprintf("sizes must have at most %d items", maxSizes))
	}
	if slices.ContainsFunc(l.Sizes, func(size int) bool { return size < 0 }) {
		return bad("a size must not be negative")
	}
	// The decoder puts this character in place of a lone surrogate, which Python writes for a byte that is not UTF-8. The path would be
	// another one.
	if slices.ContainsFunc(l.Paths, func(path string) bool { return strings.ContainsRune(path, utf8.RuneError) }) {
		return bad("a path is not Unicode")
	}
	return nil
}

// invalidate answers POST /invalidate. It tries all paths, so that a client can repeat a request that failed.
func (s *service) invalidate(w http.ResponseWriter, r *http.Request) {
	list, ok := s.readSources(w, r)
	if !ok {
		return
	}
	if list.Sizes != nil {
		writeProblem(w, http.StatusBadRequest, "sizes has no meaning here: all sizes are removed")
		return
	}
	failed := 0
	for _, path := range list.Paths {
		if err := s.cache.Invalidate(list.Provider, path); err != nil {
			failed++
			s.log.Warn("thumbcache: cannot invalidate", "provider", list.Provider, "path", path, "error", err)
		}
	}
	if failed > 0 {
		writeProblem(w, http.StatusServiceUnavailable, fmt.Sprintf("stored thumbnails of %d of %d paths could not be removed", failed, len(list.Paths)))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// serveWarm answers POST /warm at once. The thumbnails are made in the background.
func (s *service) serveWarm(w http.ResponseWriter, r *http.Request) {
	list, ok := s.readSources(w, r)
	if !ok {
		return
	}
	if len(list.Sizes) == 0 {
		list.Sizes = s.sizes
	}
	if err := s.warm.add(batch{list.Provider, list.Paths, list.Sizes}); err != nil {
		writeProblem(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	writeJSONStatus(w, http.StatusAccepted, s.warm.report())
}

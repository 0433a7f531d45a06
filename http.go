package thumbcache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// HTTPStatus returns the HTTP status code that fits an error of Get or Do: 200 for nil, 400 for a request that can never
// work, 404 where there is no such thing or no picture in it, 413 and 415 for pictures that are too large, of an
// unsupported kind or broken, 499 when the client has left, 503 for what may work later, 504 for [Config.Timeout], and
// 500 for anything else.
func HTTPStatus(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, context.Canceled):
		return 499 // nginx's "client closed request"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, ErrBusy), errors.Is(err, ErrClosed), missingTool(err):
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrNoPicture):
		return http.StatusNotFound
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrUnsupported), errors.Is(err, ErrCorrupt):
		return http.StatusUnsupportedMediaType
	case errors.Is(err, fs.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	}
	if e, ok := errors.AsType[*Error](err); ok && (e.Op == "stat" || e.Op == "open") {
		return http.StatusServiceUnavailable // the source cannot be reached
	}
	return http.StatusInternalServerError
}

// ServeHTTP answers r with the thumbnail: with ETag, 304, HEAD, ranges and nosniff. Cache-Control is the caller's.
func (t *Thumbnail) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", t.ContentType)
	h.Set("ETag", t.ETag)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", t.ModTime, bytes.NewReader(t.Data))
}

// Handler returns a handler for "GET /thumb/{provider}/{path...}?size=300". It takes provider and path from the pattern
// it is mounted under, else from the query's provider and path, else from a URL path of that form. The query may hold
//
//	size    longest edge in pixels, 0 for the original; default the smallest of Sizes, or 300
//	fit     contain (default) or cover
//	format  jpeg (default) or png
//	v       the version of the source, as in Request.Version; the answer to a URL that carries it is immutable
//
// Errors have the status of [HTTPStatus] and a short text that tells nothing of the host.
func (c *Cache) Handler() http.Handler { return http.HandlerFunc(c.serve) }

func (c *Cache) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "")
		return
	}
	query := r.URL.Query()
	req, err := c.request(r, query)
	var t *Thumbnail
	if err == nil {
		if req.Version != "" && c.notModified(w, r, req) {
			return
		}
		t, err = c.Do(r.Context(), req)
	}
	if err != nil {
		status := HTTPStatus(err)
		why := ""
		switch {
		case missingTool(err):
			why = "ffmpeg was not found on this server"
		case errors.Is(err, ErrNoPicture):
			why = "there is no picture in this media"
		case errors.Is(err, ErrCorrupt):
			why = "this media is broken"
		case errors.Is(err, ErrUnsupported):
			why = "this kind of media is not supported"
		case errors.Is(err, ErrTooLarge):
			why = "this picture is too large"
		}
		if status >= http.StatusInternalServerError {
			c.log.Warn("thumbcache: request failed", "provider", req.Provider, "path", req.Path, "error", err)
		}
		refuse(w, status, why)
		return
	}
	c.cacheControl(h, req)
	t.ServeHTTP(w, r)
}

func (c *Cache) cacheControl(h http.Header, req Request) {
	if req.Version != "" {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
}

// notModified answers 304 before any work: with a version, the tag is known without a thumbnail.
func (c *Cache) notModified(w http.ResponseWriter, r *http.Request, req Request) bool {
	match := r.Header.Get("If-None-Match")
	var k key
	err := c.key(&req, &k)
	if match == "" || err != nil || c.providers[req.Provider] == nil {
		return false
	}
	tag := c.etag(hashOf(k.source), &k, Stamp{}, req.Version)
	if !strings.Contains(match, strings.TrimPrefix(tag, "W/")) {
		return false
	}
	c.cacheControl(w.Header(), req)
	w.Header().Set("ETag", tag)
	w.WriteHeader(http.StatusNotModified)
	return true
}

// request reads what r asks for.
func (c *Cache) request(r *http.Request, query url.Values) (Request, error) {
	req := Request{
		Provider: cmp.Or(r.PathValue("provider"), query.Get("provider")),
		Path:     cmp.Or(r.PathValue("path"), query.Get("path")),
		Size:     300,
		Version:  query.Get("v"),
	}
	if req.Provider == "" {
		rest, _ := strings.CutPrefix(r.URL.Path, "/thumb/")
		req.Provider, req.Path, _ = strings.Cut(rest, "/")
	}
	bad := func(name string) (Request, error) {
		return req, fail("stat", source{req.Provider, req.Path}, fmt.Errorf("%s %q: %w", name, query.Get(name), fs.ErrInvalid))
	}
	if len(c.sizes) > 0 {
		req.Size = c.sizes[0]
	}
	if s := query.Get("size"); s != "" {
		n, err := strconv.Atoi(s)
		if errors.Is(err, strconv.ErrRange) && n > 0 {
			err = nil // larger than an int is only very large
		}
		if err != nil {
			return bad("size")
		}
		req.Size = n
	}
	switch query.Get("fit") {
	case "", "contain":
	case "cover":
		req.Fit = Cover
	default:
		return bad("fit")
	}
	switch query.Get("format") {
	case "", "jpeg", "jpg":
	case "png":
		req.Format = PNG
	default:
		return bad("format")
	}
	return req, nil
}

// refuse answers with an error that says no more than a client should know.
func refuse(w http.ResponseWriter, status int, why string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(status)
	fmt.Fprintln(w, cmp.Or(why, http.StatusText(status), "client closed request"))
}

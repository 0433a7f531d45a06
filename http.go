package thumbcache

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// HTTPStatus returns the HTTP status code for an error of Get or Do:
//
//	200  nil
//	400  the request can never work (fs.ErrInvalid)
//	404  there is no such provider or source, or it has no media or no picture
//	413  the picture is too large
//	415  the media or picture is of an unsupported kind, or broken
//	499  the client has left (context.Canceled)
//	503  it may work later: ErrBusy, ErrClosed, ffmpeg or a folder for temporary files is missing, the source cannot be reached
//	504  Config.Timeout
//	500  any other error
func HTTPStatus(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, context.Canceled):
		return 499 // nginx's "client closed request"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, ErrBusy), errors.Is(err, ErrClosed), isMissingTool(err), needsTempDir(err):
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrNoPicture), errors.Is(err, ErrNoMedia):
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

// ServeHTTP answers r with the thumbnail. It supports ETag, 304, HEAD and ranges, and sets X-Content-Type-Options: nosniff. The
// caller sets Cache-Control; ServeHTTP replaces it by no-store only if a range or condition fails.
//
// Any Thumbnail with Data can be served. An empty ContentType is detected, an empty ETag becomes a hash of Data, and with a zero
// ModTime there is no Last-Modified. SVG gets a Content-Security-Policy under which it cannot run scripts or load anything.
func (t *Thumbnail) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	tag, kind := t.ETag, t.ContentType
	if tag == "" {
		tag = tagOf(t.Data)
	}
	if kind == "" {
		kind = http.DetectContentType(t.Data)
	}
	if strings.HasPrefix(kind, "image/svg") {
		h.Add("Content-Security-Policy", "default-src 'none'; sandbox") // in addition to the server's own policy
	}
	// Most requests are simple and answered here, as http.ServeContent would answer them. It answers the others.
	match := r.Header.Get("If-None-Match")
	if !isSimple(r) || match == "" && r.Header["If-Modified-Since"] != nil || h["Content-Encoding"] != nil {
		h["Etag"], h["Content-Type"] = []string{tag}, []string{kind}
		http.ServeContent(answer{w}, r, "", notAfterNow(t.ModTime), bytes.NewReader(t.Data))
		return
	}
	if match != "" && matches(match, tag) {
		h["Etag"] = []string{tag}
		delete(h, "Content-Type")
		delete(h, "Content-Length")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	// One array holds all values. Its slices have no spare capacity, so appending to one does not change the next.
	v := [...]string{tag, "nosniff", kind, "bytes", strconv.Itoa(len(t.Data)), ""}
	h["Etag"] = v[0:1:1]
	h["X-Content-Type-Options"] = v[1:2:2]
	h["Content-Type"] = v[2:3:3]
	h["Accept-Ranges"] = v[3:4:4]
	h["Content-Length"] = v[4:5:5]
	if modTime := notAfterNow(t.ModTime); !modTime.IsZero() && !modTime.Equal(time.Unix(0, 0)) {
		v[5] = modTime.UTC().Format(http.TimeFormat)
		h["Last-Modified"] = v[5:6:6]
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(t.Data)
	}
}

// notAfterNow returns t, or the present time if t is in the future, as RFC 9110, section 8.8.2.1, requires of Last-Modified.
func notAfterNow(t time.Time) time.Time {
	if now := time.Now(); t.After(now) {
		return now
	}
	return t
}

// isSimple reports whether r has no range, and no condition except If-None-Match and If-Modified-Since.
func isSimple(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header["Range"] == nil && r.Header["If-Match"] == nil && r.Header["If-Unmodified-Since"] == nil
}

// An answer is the ResponseWriter for http.ServeContent.
type answer struct{ http.ResponseWriter }

func (w answer) WriteHeader(status int) {
	h := w.Header()
	if status != http.StatusNotModified {
		h.Set("X-Content-Type-Options", "nosniff")
	}
	if status >= http.StatusBadRequest {
		h.Set("Cache-Control", "no-store") // an error must not be cached for as long as the thumbnail
	}
	w.ResponseWriter.WriteHeader(status)
}

// matches reports whether an If-None-Match field contains tag or *, by weak comparison (RFC 9110, section 13.1.2).
func matches(field, tag string) bool {
	if field == tag {
		return true
	}
	tag = strings.TrimPrefix(tag, "W/")
	for {
		field = strings.TrimLeft(field, " \t\r\n,")
		if strings.HasPrefix(field, "*") {
			return true
		}
		field = strings.TrimPrefix(field, "W/")
		if !strings.HasPrefix(field, `"`) {
			return false
		}
		end := 1 + strings.IndexFunc(field[1:], func(c rune) bool { return c <= ' ' || c == '"' || c == 0x7f })
		if end == 0 || field[end] != '"' {
			return false
		}
		if field[:end+1] == tag {
			return true
		}
		field = field[end+1:]
	}
}

// tagOf returns an entity tag for data that is not from a cache.
func tagOf(data []byte) string { return `"` + digest(data) + `"` }

// digest returns a short hash of data, made of letters, digits, "-" and "_".
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Handler returns a handler for "GET /thumb/{provider}/{path...}?size=300". The query may hold
//
//	size    longest edge in pixels; 0 means the original's size; the default is the smallest of Config.Sizes, or 300
//	width   a box instead of size, as Request.Width and Height
//	height
//	dpr     device pixels per pixel of size, width and height, from 1 to 4, such as 1.5; the default is 1
//	fit     contain (default), cover or pad
//	focus   the point that cover keeps in the middle, from the left and the top, such as 0.3,0.7; the default is 0.5,0.5
//	background  what pad puts around the picture: ffffff (default) or another color, blur, or transparent
//	format  jpeg (default), png, webp, or auto: webp for a client that accepts it; otherwise png for a picture with transparency,
//	        and jpeg for any other
//	profile  one of Config.Profiles instead of all the above; the answer has its headers
//	v       the version of the source, as in Request.Version; the answer is then immutable
//
// # Mounting
//
// The simplest pattern is "GET /thumb/". It accepts every URL that [Request.URL] returns. Provider and path are taken from the
// first of these that is there:
//
//   - the path values "provider" and "path", see [http.Request.PathValue]; "*" may replace path, as in chi and echo
//   - provider and path in the query: "/art?provider=music&path=a.flac&size=300"
//   - the path value "*", or the URL's path without the prefix "/thumb": "music/a.flac"
//
// So the handler can be mounted at another prefix, with a pattern that sets those values or within [http.StripPrefix]. Other
// routers need no adapter of their own: chi (r.Handle("/thumb/{provider}/*", h), r.Mount("/thumb", h)), echo
// (e.GET("/thumb/*", echo.WrapHandler(h))), gin (r.GET("/thumb/*path", gin.WrapH(h))).
//
// # Answers
//
// A thumbnail has an ETag. With v, its Cache-Control is immutable, and a client that has the thumbnail gets a 304 before any
// work. Without v it is no-cache, so clients revalidate the thumbnail each time.
//
// With [Config.Negotiate], a URL without format, profile and v gets WebP too if the client accepts it. Accepting means that the Accept
// header names image/webp and does not prefer image/jpeg; a wildcard is not enough, because clients that cannot show WebP send it. All
// answers to such a URL and to format=auto have Vary: Accept, and each format has an ETag of its own.
//
// An error has the status of [HTTPStatus], Cache-Control: no-store, and a short text that reveals nothing about the host. A client
// whose Accept header prefers application/json gets {"status":404,"error":"..."}. Errors of 500 and above are logged as
// warnings, unless the client has left. [Config.Placeholder] can answer with a picture instead.
func (c *Cache) Handler() http.Handler { return http.HandlerFunc(c.serve) }

func (c *Cache) serve(w http.ResponseWriter, r *http.Request) {
	if !allowsMethod(w, r) {
		return
	}
	req, isOpen, bad := c.parseRequest(r)
	if bad != "" {
		refuse(w, r, http.StatusBadRequest, "bad "+bad)
		return
	}
	if isOpen && c.negotiate || req.Format == Auto {
		negotiate(w, r, &req)
	}
	if p := c.providers[req.Provider]; p != nil && p.settings.Internal {
		c.serveError(w, r, &req, fail("stat", source{req.Provider, req.Path}, errNoProvider))
		return
	}
	c.serveThumbnail(w, r, &req)
}

// Serve answers r with the thumbnail that req asks for. It is for a server that parses and authorizes requests itself. Everything else
// is as with [Cache.Handler]: the answer to a client that has the thumbnail, caching, errors and [Config.Placeholder]. If w has a
// Cache-Control, a thumbnail keeps it. Of r, Serve uses the method, the context, and the headers Accept, Range and those of
// conditional requests.
//
// The format is that of req, whatever [Config.Negotiate] says, except that Auto becomes WebP for a client that accepts it.
func (c *Cache) Serve(w http.ResponseWriter, r *http.Request, req Request) {
	if !allowsMethod(w, r) {
		return
	}
	if req.Format == Auto {
		negotiate(w, r, &req)
	}
	c.serveThumbnail(w, r, &req)
}

func (c *Cache) serveThumbnail(w http.ResponseWriter, r *http.Request, req *Request) {
	if req.Version != "" && c.serveNotModified(w, r, req) {
		return
	}
	t, err := c.do(r.Context(), req)
	if err != nil {
		c.serveError(w, r, req, err)
		return
	}
	c.setProfile(w.Header(), req)
	setCacheControl(w.Header(), req)
	t.ServeHTTP(w, r)
}

// negotiate makes req ask for WebP if the client accepts it.
func negotiate(w http.ResponseWriter, r *http.Request, req *Request) {
	varyByAccept(w.Header())
	if acceptsWebP(r.Header["Accept"]) {
		req.Format = WebP
	}
}

// varyByAccept tells caches that the answer depends on the Accept header.
func varyByAccept(h http.Header) {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Accept") {
				return
			}
		}
	}
	h.Add("Vary", "Accept")
}

// allowsMethod reports whether r is a GET or HEAD request. Otherwise it answers r.
func allowsMethod(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	refuse(w, r, http.StatusMethodNotAllowed, "")
	return false
}

// setCacheControl sets Cache-Control, unless the server has.
func setCacheControl(h http.Header, req *Request) {
	if h["Cache-Control"] != nil {
		return
	}
	if req.Version != "" {
		h["Cache-Control"] = []string{"public, max-age=31536000, immutable"}
	} else {
		h["Cache-Control"] = []string{"no-cache"}
	}
}

// serveNotModified answers 304 before any work if it can: a request with a version has a tag that is known without the thumbnail.
// That does not work for *, which asks whether there is a thumbnail.
func (c *Cache) serveNotModified(w http.ResponseWriter, r *http.Request, req *Request) bool {
	match := r.Header.Get("If-None-Match")
	var k key
	if match == "" || strings.Contains(match, "*") || !isSimple(r) ||
		c.keyOf(req, &k) != nil || c.providers[req.Provider] == nil || !c.knownTarget(&k.source, req.Version) {
		return false
	}
	var tag string
	if e := c.memory.get(&k); e != nil && e.version == req.Version {
		tag = e.thumb.ETag // saves a hash, which is most of the work
	} else {
		tag = c.recipe.etag(hashOf(k.source), &k, &made{version: req.Version})
	}
	if !matches(match, tag) {
		return false
	}
	h := w.Header()
	c.setProfile(h, req)
	setCacheControl(h, req)
	h["Etag"] = []string{tag}
	w.WriteHeader(http.StatusNotModified)
	return true
}

// serveError answers with an error, or with the placeholder for it.
func (c *Cache) serveError(w http.ResponseWriter, r *http.Request, req *Request, err error) {
	status, why := HTTPStatus(err), ""
	switch {
	case errors.Is(r.Context().Err(), context.Canceled):
		refuse(w, r, 499, "client closed request") // the client is gone, but a request log shows the status
		return
	case status == 499:
		status = http.StatusServiceUnavailable // the provider, say, was canceled; the client is still there
	case isMissingTool(err):
		why = "ffmpeg was not found on this server"
	case needsTempDir(err):
		why = "there is no folder for temporary files on this server"
	case errors.Is(err, ErrBusy):
		why = "too much work is waiting"
	case errors.Is(err, ErrNoPicture):
		why = "there is no picture in this media"
	case errors.Is(err, ErrNoMedia):
		why = "there is no media for this"
	case errors.Is(err, ErrCorrupt):
		why = "this media is broken"
	case errors.Is(err, ErrUnsupported):
		why = "this kind of media is not supported"
	case errors.Is(err, ErrTooLarge):
		why = "this picture is too large"
	}
	if status >= http.StatusInternalServerError && !needsTempDir(err) { // which is logged once
		c.log.Warn("thumbcache: request failed", "provider", req.Provider, "path", req.Path, "error", err)
	}
	if c.placeholder != nil {
		if t := c.placeholder(*req, err); t != nil {
			// It has no date, because a picture that appears later may be older.
			now := Thumbnail{Data: t.Data, ContentType: t.ContentType, ETag: t.ETag}
			w.Header()["Cache-Control"] = []string{"no-cache"}
			now.ServeHTTP(w, r)
			return
		}
	}
	refuse(w, r, status, why)
}

// refuse answers with an error status and why, which must not reveal anything about the host.
func refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	h := w.Header()
	varyByAccept(h) // text or JSON
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	why = cmp.Or(why, http.StatusText(status))
	body := []byte(why)
	if wantsJSON(r.Header["Accept"]) {
		h.Set("Content-Type", "application/json")
		body, _ = json.Marshal(struct { // cannot fail
			Status int    `json:"status"`
			Error  string `json:"error"`
		}{status, why})
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	body = append(body, '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// wantsJSON reports whether an Accept header names JSON and does not prefer text.
func wantsJSON(accept []string) bool {
	text := max(weightOf(accept, "text/plain"), weightOf(accept, "text/*"), weightOf(accept, "text/html"))
	object := weightOf(accept, "application/json")
	return object > 0 && object >= cmp.Or(text, weightOf(accept, "*/*"))
}

// acceptsWebP reports whether an Accept header names WebP and does not prefer JPEG.
func acceptsWebP(accept []string) bool {
	webp := weightOf(accept, "image/webp")
	return webp == 1 || webp > 0 && webp >= weightOf(accept, "image/jpeg", "image/*", "*/*")
}

// weightOf returns the weight of the first of ranges that the lines of an Accept header name, or 0 if they name none
// (RFC 9110, section 12.5.1). Parameters other than the weight do not matter.
func weightOf(accept []string, ranges ...string) float64 {
	for _, want := range ranges {
		for _, rest := range accept {
			for rest != "" {
				var item string
				item, rest = cutUnquoted(rest, ',')
				if kind, params := cutUnquoted(item, ';'); strings.EqualFold(strings.TrimSpace(kind), want) {
					return parseWeight(params)
				}
			}
		}
	}
	return 0
}

// parseWeight returns the value of the parameter q, which is 1 if there is none, and 0 if it is malformed.
func parseWeight(params string) float64 {
	for params != "" {
		var param string
		param, params = cutUnquoted(params, ';')
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		value = strings.TrimSpace(value)
		if q, err := strconv.ParseFloat(value, 64); err == nil && q <= 1 && strings.Trim(value, "0123456789.") == "" {
			return q
		}
		return 0
	}
	return 1
}

// cutUnquoted cuts s around the first sep that is not in a quoted string.
func cutUnquoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// params are the query parameters with a meaning.
var params = [...]string{"provider", "path", "size", "width", "height", "dpr", "fit", "focus", "background", "format", "profile", "v"}

// A query holds the first value of each of params.
type query struct {
	values [len(params)]string
	given  [len(params)]bool
}

func (q *query) get(name string) string { return q.values[slices.Index(params[:], name)] }
func (q *query) has(name string) bool   { return q.given[slices.Index(params[:], name)] }

// parseQuery is url.ParseQuery without its map. It reports false if any part of raw is malformed, because the rest would be another
// request.
func parseQuery(raw string) (q query, ok bool) {
	for item := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(item, "=")
		name, err := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err != nil || err2 != nil || strings.Contains(item, ";") {
			return q, false
		}
		if i := slices.Index(params[:], name); i >= 0 && !q.given[i] {
			q.values[i], q.given[i] = value, true
		}
	}
	return q, true
}

// parseRequest returns the Request that r is for, and whether its URL leaves the format open. If r is malformed, bad names the part.
func (c *Cache) parseRequest(r *http.Request) (req Request, isOpen bool, bad string) {
	q, ok := parseQuery(r.URL.RawQuery)
	if !ok {
		return req, false, "query"
	}
	req.Profile, req.Version = q.get("profile"), q.get("v")
	req.Provider, req.Path = parseSource(r, &q)
	if bad = c.parseBox(&q, &req); bad != "" {
		return req, false, bad
	}
	switch q.get("fit") {
	case "", "contain":
	case "cover":
		req.Fit = Cover
	case "pad":
		req.Fit = Pad
	default:
		return req, false, "fit"
	}
	if req.FocusX, req.FocusY, ok = parseFocus(q.get("focus")); !ok {
		return req, false, "focus"
	}
	req.Background = q.get("background")
	switch q.get("format") {
	case "":
		isOpen = req.Profile == "" && req.Version == ""
	case "jpeg", "jpg":
	case "png":
		req.Format = PNG
	case "auto":
		req.Format = Auto
	case "webp":
		req.Format = WebP
	default:
		return req, false, "format"
	}
	return req, isOpen, ""
}

// parseBox sets the size or box of req. If a parameter is malformed, bad names it.
func (c *Cache) parseBox(q *query, req *Request) (bad string) {
	var ok bool
	if req.Width, ok = parsePixels(q.get("width")); !ok {
		return "width"
	}
	if req.Height, ok = parsePixels(q.get("height")); !ok {
		return "height"
	}
	if size := q.get("size"); size != "" || req.Width == 0 && req.Height == 0 && req.Profile == "" {
		if req.Size, ok = c.parseSize(size); !ok {
			return "size"
		}
	}
	dpr := q.get("dpr")
	if dpr == "" {
		return ""
	}
	f, err := strconv.ParseFloat(dpr, 64)
	if err != nil || !(f >= 1 && f <= 4) || strings.Trim(dpr, "0123456789.") != "" {
		return "dpr"
	}
	for _, edge := range []*int{&req.Size, &req.Width, &req.Height} {
		*edge = int(math.Round(min(float64(*edge)*f, math.MaxInt32)))
	}
	return ""
}

// parseFocus returns the value of the parameter focus, of which each part may be empty. The left and upper edge are not 0, which is
// the center in a Request.
func parseFocus(s string) (x, y float64, ok bool) {
	if s == "" {
		return 0, 0, true
	}
	var at [2]float64
	left, top, ok := strings.Cut(s, ",")
	for i, part := range []string{left, top} {
		if part == "" {
			continue
		}
		f, err := strconv.ParseFloat(part, 64)
		if err != nil || f > 1 || strings.Trim(part, "0123456789.") != "" {
			return 0, 0, false
		}
		at[i] = cmp.Or(f, 0.01)
	}
	return at[0], at[1], ok
}

// parsePixels returns the value of a parameter, or 0 if it is empty.
func parsePixels(s string) (n int, ok bool) {
	if s == "" {
		return 0, true
	}
	n, err := strconv.Atoi(s)
	tooLarge := errors.Is(err, strconv.ErrRange) && n > 0 // Atoi returns the largest int then
	return n, n >= 0 && (err == nil || tooLarge)
}

// parseSize returns the value of the parameter size, or its default.
func (c *Cache) parseSize(size string) (n int, ok bool) {
	switch {
	case size != "":
		return parsePixels(size)
	case len(c.recipe.sizes) > 0:
		return c.recipe.sizes[0], true
	}
	return 300, true
}

// parseSource returns the provider and path that r is for, see [Cache.Handler].
func parseSource(r *http.Request, q *query) (provider, path string) {
	provider, path = r.PathValue("provider"), r.PathValue("path")
	rest := r.PathValue("*")
	if inPath := cmp.Or(path, rest); r.URL.RawPath != "" && inPath != "" &&
		!strings.HasSuffix(r.URL.Path, "/"+inPath) && strings.HasSuffix(r.URL.RawPath, "/"+inPath) {
		// Chi and echo match RawPath if there is one, so their values are still escaped. The standard mux unescapes them.
		for _, s := range []*string{&provider, &path, &rest} {
			if plain, err := url.PathUnescape(*s); err == nil {
				*s = plain
			}
		}
	}
	if provider != "" || path != "" || q.has("provider") {
		provider = cmp.Or(provider, q.get("provider"))
		path = cmp.Or(path, rest)
	} else {
		if rest == "" {
			var ok bool
			if rest, ok = strings.CutPrefix(r.URL.Path, "/thumb/"); !ok {
				rest = strings.TrimPrefix(rest, "/")
			}
		}
		provider, path, _ = strings.Cut(rest, "/")
	}
	return provider, cmp.Or(path, q.get("path"))
}

// URL returns the path and query of the URL for r, if [Cache.Handler] is mounted as "GET /thumb/":
//
//	/thumb/music/Artist/01.flac?size=300&fit=cover&format=png&v=dVrS4vKAfGtQ
//
// With a Version, such as a [Stamp.Version], browsers and proxies cache the answer and do not ask again. The Handler gets exactly r
// back, before it negotiates the format. A path that servers or browsers would clean, such as "a//b" or "../a", becomes part of the
// query. JPEG is the default and not part of the URL; to keep [Config.Negotiate] from it, add "&format=jpeg".
func (r Request) URL() string {
	var b strings.Builder
	b.WriteString("/thumb/")
	unclean := func(s string) bool { return s == "" || s == "." || s == ".." }
	if strings.Contains(r.Provider, "/") || unclean(r.Provider) || slices.ContainsFunc(strings.Split(r.Path, "/"), unclean) {
		b.WriteString("?provider=" + url.QueryEscape(r.Provider) + "&path=" + url.QueryEscape(r.Path) + "&")
	} else {
		// This is Go's default encoding, so URL.RawPath is empty and all routers see the same path.
		b.WriteString((&url.URL{Path: r.Provider + "/" + r.Path}).EscapedPath() + "?")
	}
	switch size := "size=" + strconv.Itoa(r.Size); {
	case r.Profile == "":
		b.WriteString(size)
	case r.Size == 0:
		b.WriteString("profile=" + url.QueryEscape(r.Profile))
	default: // refused by the Handler, as it is by Do
		b.WriteString("profile=" + url.QueryEscape(r.Profile) + "&" + size)
	}
	if r.Width != 0 || r.Height != 0 {
		fmt.Fprintf(&b, "&width=%d&height=%d", r.Width, r.Height)
	}
	switch r.Fit {
	case Contain:
	case Cover:
		b.WriteString("&fit=cover")
	case Pad:
		b.WriteString("&fit=pad")
	default:
		b.WriteString("&fit=" + strconv.Itoa(int(r.Fit))) // refused by the Handler, as it is by Do
	}
	if r.FocusX != 0 || r.FocusY != 0 {
		b.WriteString("&focus=" + formatFocus(r.FocusX) + "," + formatFocus(r.FocusY))
	}
	if r.Background != "" {
		b.WriteString("&background=" + url.QueryEscape(r.Background))
	}
	switch r.Format {
	case JPEG:
	case PNG:
		b.WriteString("&format=png")
	case Auto:
		b.WriteString("&format=auto")
	case WebP:
		b.WriteString("&format=webp")
	default:
		b.WriteString("&format=" + strconv.Itoa(int(r.Format)))
	}
	if r.Version != "" {
		b.WriteString("&v=" + url.QueryEscape(r.Version))
	}
	return b.String()
}

func formatFocus(at float64) string {
	if at == 0 {
		return ""
	}
	return strconv.FormatFloat(at, 'f', -1, 64)
}

// tileColors are the backgrounds of letter tiles. Each is dark enough for white letters.
var tileColors = [...]string{
	"#b3423a", "#a8522a", "#8a6516", "#667322", "#3f7a3a", "#2b7a5f", "#277580", "#31699c",
	"#4a5fae", "#6755ad", "#8449a0", "#a03f83", "#ad3f5f", "#6b625c", "#55666f", "#5d6150",
}

// LetterTile returns a square SVG to show instead of a missing picture: the first letter of text in white, on a color that depends
// on text only. Its edge is size pixels, or 300 if size is not positive. The letter may be an emoji or have accents. If text has
// no letter or digit, the tile shows its first symbol, or "?".
func LetterTile(text string, size int) *Thumbnail {
	if size <= 0 {
		size = 300
	}
	size = min(size, math.MaxUint16)
	hash := fnv.New32a()
	io.WriteString(hash, text)
	svg := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%[1]d" viewBox="0 0 100 100">`+
		`<rect width="100" height="100" fill="%s"/>`+
		`<text x="50" y="50" dy=".35em" text-anchor="middle" font-family="system-ui,sans-serif" font-size="50" fill="#fff">%s</text></svg>`,
		size, tileColors[hash.Sum32()%uint32(len(tileColors))], html.EscapeString(initial(text)))
	return &Thumbnail{Data: []byte(svg), ContentType: "image/svg+xml", ETag: tagOf([]byte(svg)), Width: size, Height: size}
}

// initial returns the first letter of text in upper case, with all code points that a reader sees as one letter.
func initial(text string) string {
	start := strings.IndexFunc(text, func(r rune) bool {
		return unicode.In(r, unicode.L, unicode.N, unicode.So) && r != utf8.RuneError
	})
	if start < 0 {
		start = strings.IndexFunc(text, func(r rune) bool { return unicode.In(r, unicode.P, unicode.S) && r != utf8.RuneError })
	}
	if start < 0 {
		return "?"
	}
	const (
		joiner    = '\u200d' // joins two emoji into one
		maxRunes  = 12       // of a letter: an emoji of four persons has seven; longer stacks of marks cannot be read
		firstFlag = '\U0001f1e6'
		lastFlag  = '\U0001f1ff' // two letters from this range are a flag
	)
	first, n := utf8.DecodeRuneInString(text[start:])
	letter := []rune{unicode.ToUpper(first)}
	for _, r := range text[start+n:] {
		last := letter[len(letter)-1]
		mark := unicode.Is(unicode.M, r) || r >= '\U0001f3fb' && r <= '\U0001f3ff' // a skin tone
		joined := r == joiner || last == joiner && unicode.Is(unicode.So, r)
		pair := len(letter) == 1 && min(first, r) >= firstFlag && max(first, r) <= lastFlag
		if len(letter) == maxRunes || !mark && !joined && !pair {
			break
		}
		letter = append(letter, r)
	}
	return string(letter)
}

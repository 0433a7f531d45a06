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
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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
	case errors.Is(err, ErrBusy), errors.Is(err, ErrClosed), isMissingTool(err):
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

// ServeHTTP answers r with the thumbnail: with ETag, 304, HEAD, ranges and nosniff. Cache-Control is the caller's, but for
// no-store on a range or condition that fails. It is for any Thumbnail with Data: without ContentType that is guessed,
// without ETag it is a hash of Data, without ModTime there is no Last-Modified. SVG goes out with a Content-Security-Policy
// that lets it run and load nothing.
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
		h.Add("Content-Security-Policy", "default-src 'none'; sandbox") // to what the server's own one says
	}
	// What almost everybody asks is answered here, as http.ServeContent would, which has the rest.
	match := r.Header.Get("If-None-Match")
	if !simple(r) || match == "" && r.Header["If-Modified-Since"] != nil || h["Content-Encoding"] != nil {
		h["Etag"], h["Content-Type"] = []string{tag}, []string{kind}
		http.ServeContent(answer{w}, r, "", t.ModTime, bytes.NewReader(t.Data))
		return
	}
	if match != "" && matches(match, tag) {
		h["Etag"] = []string{tag}
		delete(h, "Content-Type")
		delete(h, "Content-Length")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	// One array holds all values. No slice of it has room for more, so that who adds to one does not change the next.
	v := [...]string{tag, "nosniff", kind, "bytes", strconv.Itoa(len(t.Data)), ""}
	h["Etag"] = v[0:1:1]
	h["X-Content-Type-Options"] = v[1:2:2]
	h["Content-Type"] = v[2:3:3]
	h["Accept-Ranges"] = v[3:4:4]
	h["Content-Length"] = v[4:5:5]
	if !t.ModTime.IsZero() && !t.ModTime.Equal(time.Unix(0, 0)) {
		v[5] = t.ModTime.UTC().Format(http.TimeFormat)
		h["Last-Modified"] = v[5:6:6]
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(t.Data)
	}
}

// simple reports whether r has no range, and no condition but If-None-Match and If-Modified-Since.
func simple(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header["Range"] == nil && r.Header["If-Match"] == nil && r.Header["If-Unmodified-Since"] == nil
}

// answer is where http.ServeContent writes to.
type answer struct{ http.ResponseWriter }

func (w answer) WriteHeader(status int) {
	h := w.Header()
	if status != http.StatusNotModified {
		h.Set("X-Content-Type-Options", "nosniff")
	}
	if status >= http.StatusBadRequest {
		h.Set("Cache-Control", "no-store") // an error is not for as long as the thumbnail
	}
	w.ResponseWriter.WriteHeader(status)
}

// matches reports whether an If-None-Match field names tag, or any, by weak comparison.
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

// tagOf makes the entity tag of what is not from a cache.
func tagOf(data []byte) string { return `"` + digest(data) + `"` }

// digest is a short text of letters, digits, "-" and "_".
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Handler returns a handler for "GET /thumb/{provider}/{path...}?size=300". The query may hold
//
//	size    longest edge in pixels, 0 for the original; default the smallest of Sizes, or 300
//	dpr     pixels of the screen to one of size, from 1 to 4, as in 1.5; default 1
//	fit     contain (default) or cover
//	format  jpeg (default) or png
//	v       the version of the source, as in Request.Version; the answer to a URL that carries it is immutable
//
// # Mounting
//
// The simplest pattern is "GET /thumb/", which takes all that [Request.URL] makes. Provider and path are taken from
//
//   - the values "provider" and "path" of [http.Request.PathValue], where "*" may stand for path, as it does in chi and echo;
//   - else the query's provider and path, so that the handler can be mounted anywhere: "/art?provider=music&path=a.flac&size=300";
//   - else what "*" stands for, or the URL's path without "/thumb" in front: "music/a.flac".
//
// It may be mounted at another prefix with a pattern that has those values, or within [http.StripPrefix]. Nothing is
// needed for chi (r.Handle("/thumb/{provider}/*", h), r.Mount("/thumb", h)), echo (e.GET("/thumb/*", echo.WrapHandler(h)))
// and gin (r.GET("/thumb/*path", gin.WrapH(h))).
//
// # Answers
//
// A thumbnail has an ETag. With v its Cache-Control is immutable, and a client that has it gets its 304 before any work;
// without v it is no-cache, so that the client asks each time whether it is still the same. Errors have the status of
// [HTTPStatus], no-store, and a short text that tells nothing of the host, or {"status":404,"error":"..."} for a client that
// says in Accept that it would rather have application/json. Those of 500 and above are logged as warnings; a client that
// has left is not. [Config.Placeholder] can answer with a picture instead.
func (c *Cache) Handler() http.Handler { return http.HandlerFunc(c.serve) }

func (c *Cache) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, r, http.StatusMethodNotAllowed, "")
		return
	}
	req, bad := c.request(r)
	if bad != "" {
		refuse(w, r, http.StatusBadRequest, "bad "+bad)
		return
	}
	if req.Version != "" && c.notModified(w, r, &req) {
		return
	}
	t, err := c.do(r.Context(), &req)
	if err != nil {
		c.failed(w, r, &req, err)
		return
	}
	c.cacheControl(w.Header(), &req)
	t.ServeHTTP(w, r)
}

func (c *Cache) cacheControl(h http.Header, req *Request) {
	if req.Version != "" {
		h["Cache-Control"] = []string{"public, max-age=31536000, immutable"}
	} else {
		h["Cache-Control"] = []string{"no-cache"}
	}
}

// notModified answers 304 before any work: with a version, the tag is known without a thumbnail. But not that there is
// one, which is what * asks.
func (c *Cache) notModified(w http.ResponseWriter, r *http.Request, req *Request) bool {
	match := r.Header.Get("If-None-Match")
	var k key
	if match == "" || strings.Contains(match, "*") || !simple(r) ||
		c.keyOf(req, &k) != nil || c.providers[req.Provider] == nil {
		return false
	}
	var tag string
	if e := c.memory.get(&k); e != nil && e.version == req.Version {
		tag = e.thumb.ETag // spares a hash, which is much of what there is to do
	} else {
		tag = c.recipe.etag(hashOf(k.source), &k, &made{version: req.Version})
	}
	if !matches(match, tag) {
		return false
	}
	h := w.Header()
	c.cacheControl(h, req)
	h["Etag"] = []string{tag}
	w.WriteHeader(http.StatusNotModified)
	return true
}

// failed answers with an error, or what the owner wants to be seen instead of it.
func (c *Cache) failed(w http.ResponseWriter, r *http.Request, req *Request, err error) {
	status, why := HTTPStatus(err), ""
	switch {
	case errors.Is(r.Context().Err(), context.Canceled):
		refuse(w, r, 499, "client closed request") // nobody reads it, but whoever logs requests sees the status
		return
	case status == 499:
		status = http.StatusServiceUnavailable // somebody else gave up, the provider say: the client is still there
	case isMissingTool(err):
		why = "ffmpeg was not found on this server"
	case errors.Is(err, ErrBusy):
		why = "too much work is waiting"
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
	if c.placeholder != nil {
		if t := c.placeholder(*req, err); t != nil {
			// Without a date: a picture that comes later may be older than this one.
			now := Thumbnail{Data: t.Data, ContentType: t.ContentType, ETag: t.ETag}
			w.Header()["Cache-Control"] = []string{"no-cache"}
			now.ServeHTTP(w, r)
			return
		}
	}
	refuse(w, r, status, why)
}

// refuse answers with an error that says no more than a client should know.
func refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	why = cmp.Or(why, http.StatusText(status))
	body := []byte(why)
	if wantsJSON(strings.Join(r.Header["Accept"], ",")) {
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

// wantsJSON reports whether a client names JSON and would not rather have text.
func wantsJSON(accept string) bool {
	var object, text, other float64
	for item := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := params["q"]; ok {
			q, _ = strconv.ParseFloat(s, 64)
		}
		switch kind {
		case "application/json":
			object = q
		case "text/plain", "text/*", "text/html":
			text = max(text, q)
		case "*/*":
			other = q
		}
	}
	return object > 0 && object >= cmp.Or(text, other)
}

// params are the names in a query that mean something.
var params = [...]string{"provider", "path", "size", "dpr", "fit", "format", "v"}

// request reads what r asks for. If it asks for what cannot be, bad says what of it.
func (c *Cache) request(r *http.Request) (req Request, bad string) {
	// This is r.URL.Query().Get without the map. What ParseQuery refuses is refused, since half of a query is another one.
	var values [len(params)]string
	var given [len(params)]bool
	for item := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(item, "=")
		name, err := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err != nil || err2 != nil || strings.Contains(item, ";") {
			return req, "query"
		}
		if i := slices.Index(params[:], name); i >= 0 && !given[i] {
			values[i], given[i] = value, true
		}
	}
	provider, path, size, dpr, fit, format, version := values[0], values[1], values[2], values[3], values[4], values[5], values[6]

	req = Request{Provider: r.PathValue("provider"), Path: r.PathValue("path"), Size: 300, Version: version}
	rest := r.PathValue("*")
	if inPath := cmp.Or(req.Path, rest); r.URL.RawPath != "" && inPath != "" &&
		!strings.HasSuffix(r.URL.Path, "/"+inPath) && strings.HasSuffix(r.URL.RawPath, "/"+inPath) {
		// Chi and echo hand on what stands in RawPath, when there is one, the standard mux what it means.
		for _, s := range []*string{&req.Provider, &req.Path, &rest} {
			if plain, err := url.PathUnescape(*s); err == nil {
				*s = plain
			}
		}
	}
	switch {
	case req.Provider != "" || req.Path != "" || given[0]:
		req.Provider = cmp.Or(req.Provider, provider)
		req.Path = cmp.Or(req.Path, rest)
	default:
		if rest == "" {
			var ok bool
			if rest, ok = strings.CutPrefix(r.URL.Path, "/thumb/"); !ok {
				rest = strings.TrimPrefix(rest, "/")
			}
		}
		req.Provider, req.Path, _ = strings.Cut(rest, "/")
	}
	req.Path = cmp.Or(req.Path, path)

	if len(c.sizes) > 0 {
		req.Size = c.sizes[0]
	}
	if size != "" {
		n, err := strconv.Atoi(size)
		if err != nil && !(errors.Is(err, strconv.ErrRange) && n > 0) || n < 0 { // larger than an int is only very large
			return req, "size"
		}
		req.Size = n
	}
	if dpr != "" {
		f, err := strconv.ParseFloat(dpr, 64)
		if err != nil || !(f >= 1 && f <= 4) || strings.Trim(dpr, "0123456789.") != "" {
			return req, "dpr"
		}
		req.Size = int(math.Round(min(float64(req.Size)*f, math.MaxInt32)))
	}
	switch fit {
	case "", "contain":
	case "cover":
		req.Fit = Cover
	default:
		return req, "fit"
	}
	switch format {
	case "", "jpeg", "jpg":
	case "png":
		req.Format = PNG
	default:
		return req, "format"
	}
	return req, ""
}

// URL returns the path and query by which [Cache.Handler], mounted as "GET /thumb/", is asked for r, as in
//
//	/thumb/music/Artist/01.flac?size=300&fit=cover&format=png&v=dVrS4vKAfGtQ
//
// With a Version, [Stamp.Version] say, browsers and proxies keep the answer for good and do not ask again. Every Request
// makes the way there and back; a path that servers or browsers would clean, such as "a//b" or "../a", goes into the query.
func (r Request) URL() string {
	var b strings.Builder
	b.WriteString("/thumb/")
	unclean := func(s string) bool { return s == "" || s == "." || s == ".." }
	if strings.Contains(r.Provider, "/") || unclean(r.Provider) || slices.ContainsFunc(strings.Split(r.Path, "/"), unclean) {
		b.WriteString("?provider=" + url.QueryEscape(r.Provider) + "&path=" + url.QueryEscape(r.Path) + "&size=")
	} else {
		// In the encoding that Go takes for the usual one: then URL.RawPath is empty, and all routers see the same.
		b.WriteString((&url.URL{Path: r.Provider + "/" + r.Path}).EscapedPath() + "?size=")
	}
	b.WriteString(strconv.Itoa(r.Size))
	switch r.Fit {
	case Contain:
	case Cover:
		b.WriteString("&fit=cover")
	default:
		b.WriteString("&fit=" + strconv.Itoa(int(r.Fit))) // as bad there as here
	}
	switch r.Format {
	case JPEG:
	case PNG:
		b.WriteString("&format=png")
	default:
		b.WriteString("&format=" + strconv.Itoa(int(r.Format)))
	}
	if r.Version != "" {
		b.WriteString("&v=" + url.QueryEscape(r.Version))
	}
	return b.String()
}

// tileColours are those of letter tiles, each dark enough for white letters.
var tileColours = [...]string{
	"#b3423a", "#a8522a", "#8a6516", "#667322", "#3f7a3a", "#2b7a5f", "#277580", "#31699c",
	"#4a5fae", "#6755ad", "#8449a0", "#a03f83", "#ad3f5f", "#6b625c", "#55666f", "#5d6150",
}

// LetterTile returns a picture in place of one that is missing: the first letter of text, in white on a colour that is
// always the same for the same text. It is a square SVG of that many pixels, or 300 if size is not positive. The letter
// may be an emoji, or have accents of its own; where text has no letter or digit it is the first sign, else "?".
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
		size, tileColours[hash.Sum32()%uint32(len(tileColours))], html.EscapeString(initial(text)))
	return &Thumbnail{Data: []byte(svg), ContentType: "image/svg+xml", ETag: tagOf([]byte(svg)), Width: size, Height: size}
}

// initial returns what a reader takes for the first letter of text, in upper case.
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
		joiner   = '\u200d' // makes one emoji of two
		most     = 12       // runes of a letter: a family of four has seven; some stack more marks than can be read
		flag     = '\U0001f1e6'
		lastFlag = '\U0001f1ff' // two of these letters are a flag
	)
	first, n := utf8.DecodeRuneInString(text[start:])
	letter := []rune{unicode.ToUpper(first)}
	for _, r := range text[start+n:] {
		last := letter[len(letter)-1]
		mark := unicode.Is(unicode.M, r) || r >= '\U0001f3fb' && r <= '\U0001f3ff' // a tone of skin
		joined := r == joiner || last == joiner && unicode.Is(unicode.So, r)
		pair := len(letter) == 1 && min(first, r) >= flag && max(first, r) <= lastFlag
		if len(letter) == most || !mark && !joined && !pair {
			break
		}
		letter = append(letter, r)
	}
	return string(letter)
}

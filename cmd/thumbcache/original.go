package main

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache"
)

// mediaTypes holds the content type of each kind of file that the page can show or play, by extension. Files with other
// extensions are not served. Types that can contain scripts, such as SVG, must not be added.
var mediaTypes = map[string]string{
	".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp",
	".tif": "image/tiff", ".tiff": "image/tiff", ".avif": "image/avif", ".heic": "image/heic", ".heif": "image/heif", ".jxl": "image/jxl",

	".mp3": "audio/mpeg", ".flac": "audio/flac", ".m4a": "audio/mp4", ".m4b": "audio/mp4", ".aac": "audio/aac", ".ogg": "audio/ogg",
	".oga": "audio/ogg", ".opus": "audio/ogg", ".spx": "audio/ogg", ".wav": "audio/wav", ".aif": "audio/aiff", ".aiff": "audio/aiff",
	".wma": "audio/x-ms-wma", ".ape": "audio/x-ape", ".wv": "audio/x-wavpack", ".mpc": "audio/x-musepack", ".tak": "audio/x-tak",
	".dsf": "audio/x-dsf", ".dff": "audio/x-dff",

	".mp4": "video/mp4", ".m4v": "video/mp4", ".mkv": "video/x-matroska", ".webm": "video/webm", ".mov": "video/quicktime",
	".avi": "video/x-msvideo", ".ts": "video/mp2t", ".mpg": "video/mpeg", ".mpeg": "video/mpeg", ".wmv": "video/x-ms-wmv", ".ogv": "video/ogg",
}

func mediaType(name string) string { return mediaTypes[strings.ToLower(path.Ext(name))] }

// mediaKind returns "audio", "image" or "video" for a media file, and "" for any other file.
func mediaKind(name string) string {
	kind, _, _ := strings.Cut(mediaType(name), "/")
	return kind
}

// isHidden reports whether a path has a hidden element. The listing shows no hidden files.
func isHidden(name string) bool { return strings.HasPrefix(name, ".") || strings.Contains(name, "/.") }

// serveOriginal serves a media file as it is.
func (s *site) serveOriginal(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("path")
	kind := mediaType(name)
	switch {
	case isRebound(r):
		writeError(w, http.StatusForbidden, "only available under the server's own name")
		return
	case kind == "" || isHidden(name):
		writeError(w, http.StatusNotFound, "no such media file")
		return
	}
	src, err := s.media.Open(r.Context(), name)
	if err != nil {
		status := thumbcache.HTTPStatus(err)
		writeError(w, status, cmp.Or(http.StatusText(status), "client closed request"))
		return
	}
	defer src.Content.Close()
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "private, no-cache")
	if v := src.Stamp.Version(); v != "" {
		h.Set("ETag", `"`+v+`"`)
	}
	// A film is sent for as long as it is played, so the server's WriteTimeout must not end it. A client that has paused it for
	// longer than stallTimeout requests the rest when it continues.
	out := &stallWriter{ResponseWriter: w, control: http.NewResponseController(w)}
	defer context.AfterFunc(r.Context(), func() { _ = out.control.SetWriteDeadline(time.Now()) })()
	http.ServeContent(out, r, "", src.Stamp.ModTime, io.NewSectionReader(src.Content, 0, src.Size))
}

// stallTimeout is how long a client may take none of the data that is sent to it.
const stallTimeout = 2 * time.Minute

// A stallWriter extends the write deadline of a response at each write.
type stallWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *stallWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(stallTimeout)) // not supported by every ResponseWriter
	return w.ResponseWriter.Write(p)
}

// isRebound reports whether a request from this computer names a foreign host. A page of another site can send such a request
// by DNS rebinding, and read the response.
func isRebound(r *http.Request) bool {
	return isLoopback(r.RemoteAddr) && !isForwarded(r) && !isLocal(r)
}

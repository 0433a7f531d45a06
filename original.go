package thumbcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache/internal/coverart"
	"github.com/thumbcache/thumbcache/internal/render"
)

// Limits of the memory that originals take.
const (
	maxOriginals = 128 << 20 // bytes, for all of them; further requests wait
	streamCost   = 256 << 10 // bytes, for a picture file that is streamed: buffers and an open file
	searchCost   = 60 << 20  // bytes, while a cover is searched for; see internal/coverart
)

// ServeOriginal answers r with the untouched bytes of a picture: media that is itself a picture, animated or not, or the cover that
// is embedded in an audio file. Of req, it uses Provider, Path and Version. It starts no ffmpeg, considers no pictures beside the
// media, and stores nothing. A picture file is streamed from the source. It supports ranges, HEAD and conditional requests; a client
// that has the picture gets a 304 before the media is opened.
//
// The kind of picture is recognized by content, and must be one in which browsers run no scripts: SVG is [ErrUnsupported]. Errors are
// answered as by [Cache.Serve]. The Handler serves no originals, so a server decides itself who may see them. Set a WriteTimeout:
// all answers together use at most 128 MiB, and others wait while slow clients hold them.
func (c *Cache) ServeOriginal(w http.ResponseWriter, r *http.Request, req Request) {
	if !allowsMethod(w, r) {
		return
	}
	if err := c.serveOriginal(w, r, &req); err != nil {
		c.serveError(w, r, &req, requestedAs(source{req.Provider, req.Path}, err))
	}
}

// serveOriginal is ServeOriginal, except that it answers no errors.
func (c *Cache) serveOriginal(w http.ResponseWriter, r *http.Request, req *Request) error {
	s := source{req.Provider, req.Path}
	if err := c.checkRequest(s, req.Version); err != nil {
		return err
	}
	err := c.follow(&s, func(id source) (Stamp, error) {
		if stamp, due := c.seenTarget(id, req.Version); stamp != nil && !due {
			return *stamp, nil
		}
		return c.resolve(r.Context(), id, req.Version)
	})
	if err != nil {
		return err
	}
	m := made{version: req.Version}
	if m.version == "" {
		if last := c.memory.lastLook(s); last != nil {
			m.stamp = *last
		} else if m.stamp, err = c.statNow(r.Context(), s, Stamp{}, c.providers[s.provider].calls); err != nil {
			return err // it is not recorded, because thumbnails may depend on pictures beside the media too
		}
	}
	if err := m.stamp.verdict(); err != nil {
		return fail("stat", s, err)
	}
	if match := r.Header.Get("If-None-Match"); match != "" && isSimple(r) && !strings.Contains(match, "*") && matches(match, m.originalTag(s)) {
		setCacheControl(w.Header(), req)
		w.Header()["Etag"] = []string{m.originalTag(s)}
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return c.streamOriginal(w, r, req, s)
}

// checkRequest checks what can be checked of a source without asking for it.
func (c *Cache) checkRequest(s source, version string) error {
	switch {
	case c.closed.Load():
		return ErrClosed
	case c.providers[s.provider] == nil:
		return fail("stat", s, errNoProvider)
	case strings.Contains(s.path, "\x00") || len(s.path) > maxPath || len(version) > maxVersion:
		return fail("stat", s, fmt.Errorf("path or version: %w", fs.ErrInvalid))
	}
	return nil
}

// originalTag returns the entity tag of the picture in s, or "" if the provider cannot tell its states apart. It is strong, as
// ranges need it.
func (m *made) originalTag(s source) string {
	version := m.version
	if version == "" {
		stamp := m.stamp
		stamp.Tag, _, _ = strings.Cut(stamp.Tag, artTag)
		version = stamp.Version()
	}
	if version == "" {
		return ""
	}
	return tagOf([]byte(hashOf(s) + version))
}

// streamOriginal opens the source s and sends its picture.
func (c *Cache) streamOriginal(w http.ResponseWriter, r *http.Request, req *Request, s source) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	if err := c.originals.Acquire(ctx, streamCost); err != nil {
		return fail("open", s, err)
	}
	defer c.originals.Release(streamCost)
	// Only opening has a limit: how long the rest takes is up to the client.
	limit := time.AfterFunc(c.providers[s.provider].settings.Timeout, func() { cancel(context.DeadlineExceeded) })
	src, err := c.openOriginal(ctx, s)
	limit.Stop()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fail("open", s, err)
	}
	defer src.Content.Close()
	content, size, release, err := c.originalOf(ctx, src)
	if err != nil {
		return fail("extract", s, err)
	}
	defer release()
	head := make([]byte, min(size, 64))
	if _, err := content.ReadAt(head, 0); err != nil && err != io.EOF {
		return fail("extract", s, fmt.Errorf("reading: %w", err))
	}
	kind, _ := render.Sniff(head)
	if kind == "" {
		return fail("extract", s, ErrUnsupported)
	}
	m := made{src.Stamp, req.Version}
	h := w.Header()
	setCacheControl(h, req)
	h["Content-Type"] = []string{kind}
	if tag := m.originalTag(s); tag != "" {
		h["Etag"] = []string{tag}
	}
	http.ServeContent(answer{w}, r, "", notAfterNow(src.Stamp.lastModified()), io.NewSectionReader(content, 0, size))
	return nil
}

// openOriginal opens a source. It counts as a call of the provider until that has answered.
func (c *Cache) openOriginal(ctx context.Context, s source) (*Source, error) {
	p := c.providers[s.provider]
	if !p.calls.TryAcquire(1) {
		return nil, ErrBusy
	}
	defer p.calls.Release(1)
	return checkSource(p.Open(ctx, s.path))
}

// originalOf returns the picture that src is, or that is embedded in it. The caller must call release.
func (c *Cache) originalOf(ctx context.Context, src *Source) (content io.ReaderAt, size int64, release func(), err error) {
	head, err := readHead(src)
	if err != nil {
		return nil, 0, nil, err
	}
	if kind, _ := render.Sniff(head); kind != "" {
		return src.Content, src.Size, func() {}, nil
	}
	cost := min(3*min(src.Size, searchCost), searchCost)
	if err := c.originals.Acquire(ctx, cost); err != nil {
		return nil, 0, nil, err
	}
	kept := int64(0)
	defer func() { c.originals.Release(cost - kept) }() // even if the content panics
	data, err := coverart.FindNth(ctx, src.Content, src.Size, 0)
	if err != nil {
		return nil, 0, nil, coverError(err)
	}
	kept = min(int64(len(data)), cost)
	return bytes.NewReader(data), int64(len(data)), func() { c.originals.Release(kept) }, nil
}

// coverError returns an error of coverart as one of this package.
func coverError(err error) error {
	switch {
	case errors.Is(err, coverart.ErrUnsupported):
		return ErrUnsupported
	case errors.Is(err, coverart.ErrNoPicture):
		return ErrNoPicture
	case errors.Is(err, coverart.ErrCorrupt):
		return ErrCorrupt
	}
	return err
}

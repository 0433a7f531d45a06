package thumbcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/thumbcache/thumbcache/internal/netguard"
)

// HTTPOptions are the options of [HTTP]. The zero value is ready to use.
type HTTPOptions struct {
	// Base, if not empty, is the URL that paths are relative to, such as "https://covers.example.org/albums". Otherwise a path is a
	// URL itself.
	Base string

	// Allow lists networks that may be connected to although they are not public, such as the one of a media server at home.
	Allow []netip.Prefix

	// MaxBytes limits the length of a body, which is kept in memory while its picture is extracted. A longer one is ErrTooLarge. The
	// default is 32 MiB; a negative number means no limit.
	MaxBytes int64

	// Client sends the requests. If it is nil, or has no Transport, connections are made to public addresses only, without a
	// proxy. A Transport decides by itself what it connects to, for example by a proxy; then only the addresses that URLs contain
	// are checked.
	Client *http.Client
}

// HTTP returns a Provider for media behind http and https URLs, such as the pictures of artists. The state of a source is what the
// server says in ETag and Last-Modified, or else a hash of the body. The statuses 404 and 410 are [ErrNoMedia]; all others except
// 200 are errors that may pass.
//
// A source is looked at once a day, and once after a restart, by a conditional request. Failures are remembered for an hour. [With]
// changes that; Config does not. Neither applies to a Provider of your own that wraps this one: it has the settings of Config, and its
// requests have no condition. A download needs one of [Config.Workers], which may be more than there are processors.
//
// Whoever chooses a URL makes the server fetch it. So no connection is made to an address that is private, local or otherwise not
// public; it is an error that matches [fs.ErrInvalid]. The address is checked after its name was resolved, for each of at most 5
// redirects, too. If clients choose paths in [Cache.Handler], set a Base, or Internal in the [Settings] of With.
func HTTP(o HTTPOptions) Provider {
	r := &remote{guard: netguard.Guard{Allow: slices.Clone(o.Allow)}, maxBytes: withoutLimit(cmp.Or(o.MaxBytes, 32<<20))}
	if o.Base != "" {
		if r.base, r.invalid = url.Parse(o.Base); r.invalid != nil {
			r.invalid = errNoURL // the other error contains the URL
		} else {
			r.invalid = r.checkURL(r.base)
		}
	}
	if o.Client != nil {
		r.client = *o.Client
	}
	if r.client.Transport == nil {
		r.client.Transport = r.guard.Transport()
	}
	ask := r.client.CheckRedirect
	r.client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errors.New("too many redirects")
		}
		req.Header.Del("Referer") // the first URL may contain a secret
		if err := r.checkURL(req.URL); err != nil || ask == nil {
			return err
		}
		return ask(req, via)
	}
	return With(r, Settings{Revalidate: 24 * time.Hour, FailureTTL: time.Hour})
}

const (
	maxRedirects = 5
	maxETag      = 1 << 10 // bytes; a longer one is ignored
)

type remote struct {
	client   http.Client
	guard    netguard.Guard
	base     *url.URL // nil: paths are URLs
	invalid  error    // what is wrong with base
	maxBytes int64
}

func (r *remote) check() error {
	if r.invalid != nil {
		return fmt.Errorf("HTTPOptions.Base: %w", r.invalid)
	}
	return nil
}

func (r *remote) Stat(ctx context.Context, path string) (Stamp, error) {
	return r.statSince(ctx, path, Stamp{})
}

// statSince asks whether a source has changed. The body is read only if it has to stand for the state.
func (r *remote) statSince(ctx context.Context, path string, before Stamp) (Stamp, error) {
	resp, err := r.get(ctx, path, before)
	if err != nil {
		return Stamp{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return before, nil
	}
	if stamp := headerStamp(resp.Header); !stamp.equal(Stamp{}) {
		return stamp, nil
	}
	_, stamp, err := r.read(resp)
	return stamp, err
}

func (r *remote) Open(ctx context.Context, name string) (*Source, error) {
	resp, err := r.get(ctx, name, Stamp{})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, stamp, err := r.read(resp)
	if err != nil {
		return nil, err
	}
	return BytesSource(path.Base(resp.Request.URL.Path), stamp, data), nil
}

// get sends a request, which is conditional if something is known of the state before. The status of the response is 200, or 304
// if the request is conditional. Errors do not contain the URL, which may contain a secret.
func (r *remote) get(ctx context.Context, path string, before Stamp) (*http.Response, error) {
	u, err := r.url(path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errNoURL
	}
	req.Header.Set("User-Agent", "thumbcache (+https://github.com/thumbcache/thumbcache)")
	conditional := false
	if isETag(before.Tag) {
		req.Header.Set("If-None-Match", before.Tag)
		conditional = true
	}
	if !before.ModTime.IsZero() {
		req.Header.Set("If-Modified-Since", before.ModTime.UTC().Format(http.TimeFormat))
		conditional = true
	}
	resp, err := r.client.Do(req)
	if err != nil {
		if errors.Is(err, netguard.ErrNotPublic) {
			return nil, netguard.ErrNotPublic
		}
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, err
	}
	switch status := resp.StatusCode; {
	case status == http.StatusOK, status == http.StatusNotModified && conditional:
		return resp, nil
	case status == http.StatusNotFound, status == http.StatusGone:
		err = fmt.Errorf("%w: status %d", ErrNoMedia, status)
	default:
		err = fmt.Errorf("status %d", status)
	}
	resp.Body.Close()
	return nil, err
}

// read returns the body of a response and the state that it is in.
func (r *remote) read(resp *http.Response) ([]byte, Stamp, error) {
	errTooLong := fmt.Errorf("%w: a body of more than %d bytes", ErrTooLarge, r.maxBytes)
	if resp.ContentLength > r.maxBytes {
		return nil, Stamp{}, errTooLong
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, resp.Body, r.maxBytes))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = errTooLong
	}
	if err != nil {
		return nil, Stamp{}, err
	}
	stamp := headerStamp(resp.Header)
	if stamp.equal(Stamp{}) {
		stamp = Stamp{Size: int64(len(data)), Tag: digest(data)}
	}
	return data, stamp, nil
}

// headerStamp returns the state that the header of a response names. It is zero if the header names none.
func headerStamp(h http.Header) (s Stamp) {
	if tag := h.Get("ETag"); isETag(tag) {
		s.Tag = tag
	}
	s.ModTime, _ = http.ParseTime(h.Get("Last-Modified"))
	return s
}

// isETag reports whether tag is an entity tag (RFC 9110, section 8.8.3), and not a hash. Others could not be sent back.
func isETag(tag string) bool {
	opaque, ok := strings.CutPrefix(strings.TrimPrefix(tag, "W/"), `"`)
	opaque, ok2 := strings.CutSuffix(opaque, `"`)
	return ok && ok2 && len(tag) <= maxETag && !strings.ContainsFunc(opaque, func(c rune) bool { return c <= ' ' || c == '"' || c == 0x7f })
}

var errNoURL = fmt.Errorf("not an http or https URL: %w", fs.ErrInvalid)

// url returns the URL for a path.
func (r *remote) url(path string) (*url.URL, error) {
	if r.invalid != nil {
		return nil, r.invalid
	}
	if r.base != nil {
		if !fs.ValidPath(path) || path == "." {
			return nil, fmt.Errorf("not a path below the base: %w", fs.ErrInvalid)
		}
		u := *r.base
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/"+path, ""
		return &u, nil
	}
	u, err := url.Parse(path)
	if err != nil {
		return nil, errNoURL
	}
	return u, r.checkURL(u)
}

// checkURL checks what can be checked of a URL before its host is resolved.
func (r *remote) checkURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return errNoURL
	}
	return r.guard.CheckHost(u.Hostname())
}

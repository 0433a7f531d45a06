package thumbcache

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/folderart"
)

// Settings replace fields of a [Config] for one Provider, see [With]. A zero field leaves Config's value.
type Settings struct {
	FolderArt   []string      // as Config.FolderArt
	FolderFirst bool          // as Config.FolderFirst
	Revalidate  time.Duration // as Config.Revalidate
	Timeout     time.Duration // as Config.Timeout, for reaching a source and extracting its picture
	FailureTTL  time.Duration // as Config.FailureTTL

	// Internal hides the provider from requests to [Cache.Handler], which answers 404. The server itself can still use it in Get
	// and Do, and as the target of [Resolve].
	Internal bool
}

// With returns p with settings of its own, for [Config.Providers]. It must be the outermost wrapper: a Provider that wraps it
// loses the settings. If p has settings already, s replaces those that are not zero in s.
func With(p Provider, s Settings) Provider {
	if with, ok := p.(*providerWith); ok {
		p, s = with.Provider, with.settings.replacedBy(s)
	}
	return &providerWith{p, s}
}

func (s Settings) replacedBy(by Settings) Settings {
	if by.FolderArt == nil {
		by.FolderArt = s.FolderArt
	}
	by.FolderFirst = by.FolderFirst || s.FolderFirst
	by.Revalidate = cmp.Or(by.Revalidate, s.Revalidate)
	by.Timeout = cmp.Or(by.Timeout, s.Timeout)
	by.FailureTTL = cmp.Or(by.FailureTTL, s.FailureTTL)
	by.Internal = by.Internal || s.Internal
	return by
}

type providerWith struct {
	Provider
	settings Settings
}

// provider is a Provider as the cache uses it.
type provider struct {
	Provider
	settings   Settings // those of the Config where it has none of its own; no duration is zero
	extractor  Extractor
	art        *folderArt          // nil: folders have no pictures
	calls      *semaphore.Weighted // calls that a flight waits for
	background *semaphore.Weighted // checks in the background, which must not use up the calls
}

// newProvider returns p with its settings, or with those of cfg where it has none.
func newProvider(p Provider, cfg *Config) (*provider, error) {
	s := Settings{
		FolderArt: cfg.FolderArt, FolderFirst: cfg.FolderFirst,
		Revalidate: cfg.Revalidate, Timeout: cfg.Timeout, FailureTTL: cfg.FailureTTL,
	}
	if with, ok := p.(*providerWith); ok {
		p, s = with.Provider, s.replacedBy(with.settings)
	}
	if p == nil {
		return nil, errors.New("it is nil")
	}
	if p, ok := p.(interface{ check() error }); ok {
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	if s.FolderArt == nil {
		s.FolderArt = folderart.Default
	}
	list, err := folderart.Parse(s.FolderArt)
	if err != nil {
		return nil, fmt.Errorf("FolderArt: %w", err)
	}
	s.Revalidate = cmp.Or(s.Revalidate, time.Minute)
	s.Timeout = withoutLimit(cmp.Or(s.Timeout, 30*time.Second))
	s.FailureTTL = cmp.Or(s.FailureTTL, 10*time.Minute)
	return &provider{Provider: p, settings: s, extractor: cfg.Extractor, art: newFolderArt(p, list)}, nil
}

// standing is compare for a thumbnail: with a negative Revalidate, a source that was never checked is trusted.
func (p *provider) standing(m *made, version string, last *Stamp) standing {
	s := compare(m, version, last)
	if s == unchecked && p.settings.Revalidate < 0 {
		return current
	}
	return s
}

// hungCalls is how many calls of a provider may hang beyond those that workers and Warm need, and how many background checks may
// run. Further calls are refused. Each call that hangs may block an operating system thread that nothing can free.
const hungCalls = 16

// addProviders adds the providers of cfg.
func (c *Cache) addProviders(cfg *Config, workers, queue int) error {
	if len(cfg.Providers) == 0 {
		return badConfig("Providers", "it is empty")
	}
	if _, err := folderart.Parse(cfg.FolderArt); err != nil {
		return badConfig("FolderArt", "%w", err)
	}
	media := 0
	for name, given := range cfg.Providers {
		if name == "" || strings.ContainsAny(name, "/\x00") {
			return badConfig("Providers", "%q is not a name: it must not be empty or contain a slash", name)
		}
		p, err := newProvider(given, cfg)
		if err != nil {
			return badConfig("Providers", "%q: %w", name, err)
		}
		calls := 2*workers + hungCalls // each worker and each path of Warm may need one
		if p.resolves() {
			calls = max(calls, queue) // these calls come before work queues up
		} else {
			media++
		}
		p.calls, p.background = semaphore.NewWeighted(int64(calls)), semaphore.NewWeighted(hungCalls)
		c.providers[name] = p
	}
	c.groupWork = media > 1
	return nil
}

// setLimits bounds the time of all flights: that of rendering, which sources may share, and all others by their provider.
func (c *Cache) setLimits(rendering time.Duration) {
	of := func(s source) time.Duration { return c.providers[s.provider].settings.Timeout }
	c.thumbs.Limit = func(f thumbFlight) time.Duration { return of(f.key.source) }
	c.pictures.Limit = func(f pictureFlight) time.Duration { return of(f.source) }
	c.looks.Limit = func(f lookFlight) time.Duration { return of(f.source) }
	c.checks.Limit = c.looks.Limit
	c.renders.Limit = func(twinID) time.Duration { return rendering }
}

// withoutLimit returns n, or the largest number if n is negative.
func withoutLimit[T ~int64](n T) T {
	if n < 0 {
		return math.MaxInt64
	}
	return n
}

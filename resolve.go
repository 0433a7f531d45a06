package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/thumbcache/thumbcache/internal/flight"
)

// A Target says where the media of an id is.
type Target struct {
	Provider string // a name in Config.Providers
	Path     string // of that provider
}

// Resolve returns a Provider of ids, such as those of a database, whose media other Providers of the same [Config] have. For a
// request for an id, the cache calls target and then makes and caches the thumbnail of the Target. Ids with the same Target share
// everything: twelve songs that lead to the cover of their album are one extraction, one thumbnail and one file.
//
// A Target is trusted for Revalidate. After that, the next request triggers a call of target in the background; that request gets
// the thumbnail of the Target from before. Targets are kept in memory, so after a restart each id is asked for once. While target
// fails with an error that may pass, the Target from before is used.
//
// The errors of target mean what those of a [Provider] mean: [fs.ErrNotExist] if there is no such id, [ErrNoMedia] if there is and
// it has no media. Target is called by several goroutines at once. The Provider of a Target may be a Resolve itself; after 8 in a
// row, the request fails.
//
// [Cache.Invalidate] of an id calls target. It invalidates the Target from before, if that is known, and the one that it gets.
// [Cache.Peek] does not call target, so it finds nothing for an id that was not asked for before.
//
// With a [Request.Version], target is called once for each version of an id, and the version is passed on. So it should be that of
// the Target: ids that share a Target, but not the version, replace each other's thumbnail.
//
// The result works only as a value of [Config.Providers], or within [With].
func Resolve(target func(ctx context.Context, path string) (Target, error)) Provider {
	return resolver{target}
}

type resolver struct {
	target func(context.Context, string) (Target, error)
}

var errResolveAlone = errors.New("thumbcache: Resolve works only as a value of Config.Providers")

func (resolver) Stat(context.Context, string) (Stamp, error)   { return Stamp{}, errResolveAlone }
func (resolver) Open(context.Context, string) (*Source, error) { return nil, errResolveAlone }

func (r resolver) check() error {
	if r.target == nil {
		return errors.New("Resolve needs a function")
	}
	return nil
}

// statSince returns the state of an id, which is its target.
func (r resolver) statSince(ctx context.Context, id string, _ Stamp) (Stamp, error) {
	t, err := r.target(ctx, id)
	if err != nil {
		return Stamp{}, err
	}
	if t.Provider == "" || strings.Contains(t.Provider, "/") {
		return Stamp{}, fmt.Errorf("the target's provider is %q, which is not a valid name", t.Provider)
	}
	return Stamp{Tag: t.Provider + "/" + t.Path}, nil
}

// resolves reports whether the paths of p are ids.
func (p *provider) resolves() bool {
	_, ok := p.Provider.(resolver)
	return ok
}

// maxTargets is how many targets in a row are followed. Longer chains are circles.
const maxTargets = 8

// follow replaces s by the source that its target leads to, if s is an id. look returns the state of an id.
func (c *Cache) follow(s *source, look func(id source) (Stamp, error)) error {
	p := c.providers[s.provider]
	for n := 0; p != nil && p.resolves(); n++ {
		if n == maxTargets {
			return fail("stat", *s, fmt.Errorf("more than %d targets in a row", maxTargets))
		}
		stamp, err := look(*s)
		if err == nil {
			err = stamp.verdict()
		}
		provider, path, _ := strings.Cut(stamp.Tag, "/")
		if p = c.providers[provider]; p == nil && err == nil {
			err = fmt.Errorf("the target's provider is %q, which Config.Providers lacks", provider)
		}
		if err != nil {
			return fail("stat", *s, err)
		}
		*s = source{provider, path}
	}
	return nil
}

// seenTarget returns the state of an id that is known, or nil, and whether it is due for another look.
func (c *Cache) seenTarget(id source, version string) (stamp *Stamp, due bool) {
	f := sourceFlight{source: id, version: version}
	if version != "" { // see lookID
		f.gen = c.generations.of(id)
	}
	return c.memory.seen(f)
}

// resolve asks for the target of an id, unless it is known. Concurrent callers share one call.
func (c *Cache) resolve(ctx context.Context, id source, version string) (Stamp, error) {
	f, p := sourceFlight{id, version, c.generations.of(id)}, c.providers[id.provider]
	stamp, _, err := c.looks.Do(ctx, lookFlight{sourceFlight: f}, func(w *flight.Work) (Stamp, error) {
		// Another flight may have ended since the caller looked.
		if stamp, due := c.memory.seen(f); stamp != nil && !due {
			return *stamp, nil
		}
		now, err := c.statNow(w, id, Stamp{}, p.calls)
		if err == nil {
			trust := p.settings.Revalidate
			if version != "" { // which has the same target for ever
				trust = -1
			}
			c.memory.recordLook(f, now, trust)
		}
		return now, err
	})
	return stamp, err
}

// lookupTarget answers a request for an id with the thumbnail of its target.
func (c *Cache) lookupTarget(ctx context.Context, k key, version string, from *origin) (*Thumbnail, error) {
	id, asked := k.source, false
	err := c.follow(&k.source, func(id source) (Stamp, error) {
		stamp, due := c.seenTarget(id, version)
		if stamp == nil || due && flight.Idle(ctx) != nil {
			asked = true
			now, err := c.resolve(ctx, id, version)
			if err == nil || stamp == nil || isPermanent(err) {
				return now, err
			}
		} else if due {
			c.lookSoon(sourceFlight{id, version, c.generations.of(id)}, *stamp, func(Stamp) {})
		}
		return *stamp, nil
	})
	if err != nil {
		if isVerdict(err) && !asked {
			from.count(&c.negativeHits, "failure")
		}
		return nil, requestedAs(id, err)
	}
	if e := c.memory.get(&k); e != nil && e.fresh(version) {
		from.count(&c.memoryHits, "memory")
		return e.thumb, nil
	}
	t, err := c.lookup(ctx, k, version, from)
	return t, requestedAs(id, err)
}

// requestedAs returns err, which may be about another source, as an error about the requested id.
func requestedAs(id source, err error) error {
	if e, ok := errors.AsType[*Error](err); ok && (source{e.Provider, e.Path}) != id {
		return &Error{Op: e.Op, Provider: id.provider, Path: id.path, Err: e}
	}
	return err
}

var errUnknownTarget = errors.New("the target was not asked for yet")

// knownTarget replaces s by the source that its target leads to, if s is an id. It calls no provider, and reports false if the
// target is not known.
func (c *Cache) knownTarget(s *source, version string) bool {
	return nil == c.follow(s, func(id source) (Stamp, error) {
		if stamp, _ := c.seenTarget(id, version); stamp != nil {
			return *stamp, nil
		}
		return Stamp{}, errUnknownTarget
	})
}

// invalidateTarget is Invalidate for an id.
func (c *Cache) invalidateTarget(id source) error {
	var errs []error
	if old := id; c.knownTarget(&old, "") {
		errs = append(errs, c.invalidate(old))
	}
	err := c.follow(&id, func(id source) (Stamp, error) {
		c.memory.remove(id)
		// Other machines may know another target.
		c.shared.announce(context.Background(), id)
		return c.resolve(context.Background(), id, "") // which Timeout limits
	})
	switch {
	case err == nil:
		errs = append(errs, c.invalidate(id))
	case !isVerdict(err) && !errors.Is(err, fs.ErrNotExist): // the id may have any target
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

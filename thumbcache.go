// Package thumbcache makes thumbnails of audio, images and video, and caches them in memory and on disk.
//
// A media server creates one [Cache], says where its media is ([Provider]), and calls [Cache.Get] in its HTTP handlers, or
// mounts [Cache.Handler]:
//
//	cache, err := thumbcache.New(thumbcache.Config{
//		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("/srv/music")},
//		Dir:       "/var/cache/thumbs",
//	})
//	...
//	thumb, err := cache.Get(ctx, "music", "Artist/Album/01.flac", 300)
//
// # How Get works
//
// Get returns at once if the thumbnail is in memory, or on disk and in the system's page cache. Otherwise all callers that want
// the thumbnail share one flight. The flight reads the disk. On a miss it opens the media, has the
// [Extractor] find the picture, and scales it. All sizes of one source share one extraction. Work is canceled when the last
// caller waiting for it gives up: queued work is dropped, and a running process is killed.
//
// Work starts in order of arrival. No provider takes all workers and processes from the others, and [Cache.Warm] yields to
// other requests.
//
// # Freshness
//
// Each thumbnail records the [Stamp] of its source. At most once per [Config.Revalidate], a request triggers a check of the
// source in the background; that request gets the cached thumbnail without waiting. If the source has changed, the thumbnail is
// made again under the same name. If the source cannot be reached, the cached thumbnail is served.
//
// # Failures
//
// The cache remembers that a source has no media or no picture, is broken or is of an unsupported kind. It does so for
// [Config.FailureTTL], or until the source changes. It does not remember errors that may pass, such as a timeout, a full queue or a
// missing ffmpeg.
package thumbcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/flight"
	"github.com/thumbcache/thumbcache/internal/turns"
)

// Errors of Get and Do, to be matched with [errors.Is]. Other errors match [fs.ErrNotExist] (there is no such provider or
// source), [fs.ErrInvalid] (the path, size, fit or format can never work), [context.DeadlineExceeded] ([Config.Timeout]), or
// the error of the caller's context.
var (
	ErrNoPicture   = errors.New("thumbcache: no picture in this media")
	ErrNoMedia     = errors.New("thumbcache: no media for this source") // such as an album without a cover in a database
	ErrUnsupported = errors.New("thumbcache: unsupported kind of media or picture")
	ErrCorrupt     = errors.New("thumbcache: corrupt media or picture")
	ErrTooLarge    = errors.New("thumbcache: picture too large")
	ErrBusy        = errors.New("thumbcache: too much work is waiting")
	ErrClosed      = errors.New("thumbcache: cache is closed")
)

// An Error says which step failed, for which source, and why. All errors of Get and Do are of this type except [ErrClosed].
type Error struct {
	Op             string // stat, open, extract or decode
	Provider, Path string // as requested
	Err            error
}

func (e *Error) Error() string { return e.Op + " " + e.Provider + "/" + e.Path + ": " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// fail returns the error of a step, unless err is such an error already.
func fail(op string, s source, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == ErrClosed {
		return err
	}
	return &Error{Op: op, Provider: s.provider, Path: s.path, Err: err}
}

var errNoProvider = fmt.Errorf("no such provider: %w", fs.ErrNotExist)

// Config says where media comes from, and sets the limits. The zero value of a field selects its documented default. A
// negative number disables the limit or feature, unless the field says otherwise. Only Providers is required.
type Config struct {
	// Providers says where media comes from, by name. A name is not empty and has no slash. With gives a Provider settings of its own.
	Providers map[string]Provider

	// Dir is the folder for thumbnails on disk. It must hold nothing else; New creates it. If Dir is empty, thumbnails are
	// cached in memory only.
	Dir string

	// Shared is where several machines keep their thumbnails together, such as Redis or an object store. If it is nil, this
	// machine keeps its thumbnails for itself. New does not need it to work yet.
	Shared Shared

	// SharedTimeout limits how long a request waits for an answer of Shared. The default is 100 milliseconds. After a failure
	// Shared is not asked for up to 4 seconds. On an overloaded machine, a request waits up to a second longer: the answer may have
	// arrived, and wait for a processor too.
	SharedTimeout time.Duration

	// Extractor finds the picture in media. The default is DefaultExtractor().
	Extractor Extractor

	// MemoryEntries is the number of thumbnails cached in memory. The default is 50; a negative number disables this cache.
	MemoryEntries int

	// MemoryBytes limits the total size of those thumbnails, in bytes. The default is 32 MiB.
	MemoryBytes int64

	// DiskBytes limits the sum of the lengths of all files in Dir. The default is 500 MiB.
	DiskBytes int64

	// DecodeBytes limits the memory for pictures that are decoded at the same time. A picture that needs more by itself is
	// ErrTooLarge. The default is a quarter of the memory that New finds: of GOMEMLIMIT, the control groups on Linux, or the machine,
	// whichever is the smallest. It is at least 32 MiB and at most 256 MiB.
	DecodeBytes int64

	// Workers is the number of thumbnails made at the same time. The default is GOMAXPROCS, but at least 2 if there are several
	// Providers. None of several Providers, not counting those of Resolve, takes all workers. A negative number is an error.
	Workers int

	// MaxSize is the largest edge of a thumbnail, in pixels, including one in the original's size. Larger requests get this
	// size; so does each edge of a box. The default is 2048; a negative number means 65535, the limit of JPEG.
	MaxSize int

	// Sizes, if not empty, lists the only sizes that are made. A request gets the next larger one, or the largest. So does each edge
	// of a box, which may change its shape; its free edge gets the largest.
	Sizes []int

	// Profiles are thumbnails for players that accept no others, by the name that a request gives. Sizes and MaxSize do not apply to
	// them. DLNAProfiles returns some.
	Profiles map[string]Profile

	// Quality is that of JPEG and WebP, from 1 to 100: the same number looks about the same. The default is 85.
	Quality int

	// Negotiate makes [Cache.Handler] answer with WebP, which is smaller, if the client accepts it and the URL leaves the format open.
	// WebP keeps transparency, which is white in a JPEG. Observer and Placeholder get the format that is answered. Warm makes WebP.
	Negotiate bool

	// Queue is the number of thumbnails that may wait for a worker. Beyond it, requests fail with ErrBusy. With several
	// Providers, each may use at most 3/4 of it. The default is 1024; with a negative number none may wait.
	Queue int

	// Timeout limits each of two steps: extracting the picture, and making the thumbnail from it. Waiting for shared resources does
	// not count. The default is 30 seconds.
	Timeout time.Duration

	// Revalidate is how long a source is trusted to be unchanged. The default is 1 minute, and 1 day for HTTP. With a negative
	// duration, a source is never checked again.
	Revalidate time.Duration

	// FolderArt lists the names of pictures that represent their folder or the media beside them, the best first. A name is a
	// pattern as in path.Match; case does not matter. Of several files that match a pattern, the largest is the best. In a pattern
	// that ends in ".*", the star stands for the extensions of pictures. There are special names:
	//
	//	{name}    in a pattern: the media's name without its extension. Such a picture is also preferred to a frame of a film.
	//	{parent}  the pictures of the folder above, if the media's folder is one disc of an album, such as "CD1" or "Disc 2"
	//	{single}  the only picture in the folder, whatever its name
	//
	// A nil slice means {name}.*, {name}-poster.*, {name}-thumb.*, cover.*, folder.*, front.*, albumart*.*, {parent}, {single}. An
	// empty one disables folder art. It needs a Provider that is a Lister.
	FolderArt []string

	// FolderFirst prefers the folder's picture to the one in the media.
	FolderFirst bool

	// FailureTTL is how long the cache remembers that a source has no media or no picture, is broken or unsupported. The default is
	// 10 minutes, and 1 hour for HTTP; a negative duration disables it.
	FailureTTL time.Duration

	// Logger receives changes of state, such as a full disk, and damaged files. The default is no logging.
	Logger *slog.Logger

	// Observer, if not nil, is told what the Cache does.
	Observer *Observer

	// Placeholder, if not nil, chooses the answer of [Cache.Handler] when [Cache.Do] fails with err: a picture such as a
	// [LetterTile], with status 200, or nil for the plain error. It can match err with [errors.Is] to leave some errors visible.
	// The answer has no date and is not immutable, so that browsers see a picture that appears later. Placeholder is called once
	// for each such request, by several goroutines at once.
	Placeholder func(req Request, err error) *Thumbnail
}

// An Observer is told what a [Cache] does, for metrics and traces. Each of its functions may be nil. They are called by several
// goroutines at once, on the goroutines that do the work, so they should return quickly. They must not call the Cache.
// Without a Request function, a hit in memory reads no clock.
type Observer struct {
	// Request is called at the end of every Get and Do. From says where the thumbnail or the error came from:
	//
	//	memory, disk   the cache
	//	shared         Config.Shared
	//	made           the media: the thumbnail was made, or that was tried and failed
	//	joined         a flight that another request had started
	//	failure        a remembered failure
	//	""             the request failed before that was known
	//
	// ctx is the caller's, so a trace can continue in it.
	Request func(ctx context.Context, req Request, from string, took time.Duration, err error)

	// Stage is called at the end of each step of making a thumbnail: queue (waiting for a worker), stat, open, extract, rescue
	// (ffmpeg decodes a picture that Go cannot), render, store, lease (waiting for another machine). There are two queue steps if
	// another process or machine was making the thumbnail. The store step never has an error, because no request fails when its thumbnail cannot be stored.
	Stage func(provider, path, stage string, took time.Duration, err error)

	// Warmed is called for each path that Warm has finished, one at a time. Err is the reason why there is no thumbnail.
	Warmed func(path string, sofar Warmed, err error)
}

// stage begins a step of making a thumbnail. The caller calls done at the end of the step.
func (o *Observer) stage(name string, s source) (done func(err *error)) {
	if o.Stage == nil {
		return func(*error) {}
	}
	start := time.Now()
	return func(err *error) { o.Stage(s.provider, s.path, name, time.Since(start), *err) }
}

// Fit says how a picture is fitted to the requested size. It is never enlarged.
type Fit uint8

const (
	Contain Fit = iota // the whole picture, within the size or box
	Cover              // a part of the picture, cropped to the shape of a square or a box
	Pad                // the whole picture, in the middle of a square or a box
)

// Format is the encoding of a thumbnail.
type Format uint8

const (
	JPEG Format = iota // baseline; transparent pixels become white
	PNG                // keeps transparency
	Auto               // PNG if the thumbnail is transparent somewhere, otherwise JPEG; Cache.Serve makes it WebP for clients that accept it
	WebP               // lossy, with exact transparency; edges are at most 16383 pixels
)

// A Request asks [Cache.Do] for one thumbnail.
type Request struct {
	Provider, Path string

	// Size is the longest edge in pixels. A picture is never enlarged. 0 means the original's own size; a negative size is
	// [fs.ErrInvalid].
	Size int

	// Width and Height are a box in pixels instead of Size, which must be 0 then. With Contain, one of them may be 0, which leaves
	// that edge free.
	Width, Height int

	Fit    Fit    // of a Size, Cover and Pad make a square
	Format Format // JPEG, PNG, Auto or WebP

	// FocusX and FocusY are the point of the picture that Cover keeps as close to the middle as possible: from 0.01 (left, top) to 1
	// (right, bottom), in steps of 0.01. 0 means the center, as 0.5 does.
	FocusX, FocusY float64

	// Background is what Pad puts around the picture, and behind its transparent parts: a color such as "ffffff", which is the
	// default, "blur" for a blurred copy of the picture, or "transparent", which is white in a JPEG.
	Background string

	// Profile names one of Config.Profiles instead of Size, Width, Height, Fit and Format, which must be 0 then. An unknown name is
	// [fs.ErrInvalid].
	Profile string

	// Version is the caller's own version of the source, such as a time of change, a content hash or a Stamp.Version. With a
	// Version, the provider's Stat is not called, and a thumbnail of another version is never returned.
	Version string
}

// A Thumbnail is shared by all callers that asked for it. It must not be modified.
type Thumbnail struct {
	Data          []byte
	ContentType   string
	ETag          string    // quoted and weak; it depends on the request, the settings and the source's state only
	ModTime       time.Time // of the source
	Width, Height int       // in pixels

	// ThumbHash is a blurred miniature in some 25 bytes, which a page can paint before the picture arrives. It is empty for
	// pictures that are not made from a source, such as a LetterTile. See https://evanw.github.io/thumbhash/.
	ThumbHash []byte
}

// Stats says what a Cache has done since New, and what it holds.
type Stats struct {
	MemoryHits   uint64 `json:"memory_hits"`   // thumbnails served from memory
	DiskHits     uint64 `json:"disk_hits"`     // thumbnails read from disk
	Misses       uint64 `json:"misses"`        // thumbnails that had to be made
	Coalesced    uint64 `json:"coalesced"`     // callers that joined a flight in progress
	NegativeHits uint64 `json:"negative_hits"` // requests answered by a remembered failure
	StaleServed  uint64 `json:"stale_served"`  // thumbnails served although their source was not checked recently, or has changed and cannot be read now
	Extractions  uint64 `json:"extractions"`   // calls of the Extractor
	Processes    uint64 `json:"processes"`     // child processes started
	Failures     uint64 `json:"failures"`      // thumbnails that could not be made
	Abandoned    uint64 `json:"abandoned"`     // thumbnails canceled because no caller waited any more
	Evictions    uint64 `json:"evictions"`     // files removed to keep DiskBytes
	DiskErrors   uint64 `json:"disk_errors"`   // failed reads and writes of Dir; no request fails because of them
	Corrupt      uint64 `json:"corrupt"`       // stored files that failed their check

	SharedHits    uint64 `json:"shared_hits"`    // thumbnails read from Config.Shared
	SharedErrors  uint64 `json:"shared_errors"`  // calls of Config.Shared that failed or took too long; no request fails because of them
	SharedDropped uint64 `json:"shared_dropped"` // thumbnails and failures that could not be stored there
	LeasesWaited  uint64 `json:"leases_waited"`  // thumbnails that another machine was making

	InFlight         int64 `json:"in_flight"`         // thumbnails being loaded or made
	ProcessesRunning int64 `json:"processes_running"` // child processes
	MemoryEntries    int64 `json:"memory_entries"`
	MemoryBytes      int64 `json:"memory_bytes"`
	DiskEntries      int64 `json:"disk_entries"` // exact once the background count after New has finished
	DiskBytes        int64 `json:"disk_bytes"`   // likewise
}

// A Cache makes and caches thumbnails. Its methods may be called from several goroutines at once.
type Cache struct {
	providers   map[string]*provider
	ffmpeg      *FFmpeg // the one in Config.Extractor; nil if there is none or it cannot be seen
	groupWork   bool    // there are several providers of media, of which none takes all workers
	recipe      recipe
	decodeBytes int64
	log         *slog.Logger
	observer    Observer
	placeholder func(Request, error) *Thumbnail
	negotiate   bool
	closed      atomic.Bool // every hit reads it, so it is kept apart from the counters that every hit writes

	generations generations
	memory      *memory
	disk        *disk       // nil without Dir
	shared      *sharedTier // nil without Config.Shared

	thumbs   flight.Group[thumbFlight, *Thumbnail]
	pictures flight.Group[pictureFlight, extracted]
	renders  flight.Group[twinID, map[int]rendered]
	wanted   wantedSizes
	looks    flight.Group[lookFlight, Stamp]
	checks   flight.Group[lookFlight, Stamp] // looks that no flight waits for

	lookups   *turns.Queue // maxLookups or maxSharedLookups
	workers   *turns.Queue
	warming   *semaphore.Weighted // paths that all calls of Warm together work on
	decoding  *semaphore.Weighted // DecodeBytes
	watch     memoryWatch
	originals *semaphore.Weighted // maxOriginals

	memoryHits, diskHits, misses, coalesced, negativeHits atomic.Uint64
	staleServed, extractions, failures, abandoned         atomic.Uint64
	processes                                             processCounter
	logTempDir                                            sync.Once
}

// New returns a Cache. It does not scan Dir. Its error names the field of cfg that is wrong.
func New(cfg Config) (*Cache, error) {
	c := &Cache{
		providers:   make(map[string]*provider, len(cfg.Providers)),
		recipe:      recipe{cmp.Or(cfg.Quality, 85), cmp.Or(cfg.MaxSize, 2048), slices.Compact(slices.Sorted(slices.Values(cfg.Sizes))), maps.Clone(cfg.Profiles)},
		decodeBytes: withoutLimit(cfg.DecodeBytes),
		log:         cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		placeholder: cfg.Placeholder,
		negotiate:   cfg.Negotiate,
		generations: generations{seed: maphash.MakeSeed()},
	}
	if cfg.Observer != nil {
		c.observer = *cfg.Observer
	}
	if cfg.Extractor == nil {
		cfg.Extractor = DefaultExtractor()
	}
	c.ffmpeg = ffmpegOf(cfg.Extractor)
	if c.recipe.maxSize < 0 || c.recipe.maxSize > math.MaxUint16 {
		c.recipe.maxSize = math.MaxUint16 // the limit of JPEG
	}
	workers := min(cmp.Or(cfg.Workers, runtime.GOMAXPROCS(0)), 1<<16)
	if cfg.Workers == 0 && len(cfg.Providers) > 1 {
		workers = max(2, workers)
	}
	switch {
	case workers < 0:
		return nil, badConfig("Workers", "%d is negative", workers)
	case c.recipe.quality < 1 || c.recipe.quality > 100:
		return nil, badConfig("Quality", "%d is not between 1 and 100", c.recipe.quality)
	case len(c.recipe.sizes) > 0 && c.recipe.sizes[0] <= 0:
		return nil, badConfig("Sizes", "%d is not positive", c.recipe.sizes[0])
	}
	if err := checkProfiles(cfg.Profiles); err != nil {
		return nil, err
	}
	queue := max(cmp.Or(cfg.Queue, 1024), 0)
	if err := c.addProviders(&cfg, workers, queue); err != nil {
		return nil, err
	}
	c.warming = semaphore.NewWeighted(int64(max(1, workers-1)))
	c.beginLookups(cfg.Shared != nil)
	c.limitDecoding()
	c.workers = turns.New(workers, queue)
	c.originals = semaphore.NewWeighted(maxOriginals)
	c.setLimits(withoutLimit(cmp.Or(cfg.Timeout, 30*time.Second)))

	failures := maxFailures
	if cfg.Dir == "" {
		failures = maxFailuresNoDisk
	}
	entries, bytes := cmp.Or(cfg.MemoryEntries, defaultMemoryEntries), cmp.Or(cfg.MemoryBytes, defaultMemoryBytes)
	c.memory = newMemory(entries, bytes, failures, &c.generations)
	for name, p := range c.providers {
		if p.settings.Revalidate < 0 {
			c.memory.trusted[name] = &look{} // never due
		}
	}
	if cfg.Dir != "" {
		if c.ffmpeg != nil {
			c.ffmpeg.addTempDir(cfg.Dir)
		}
		var err error
		if c.disk, err = c.openDisk(cfg.Dir, cmp.Or(cfg.DiskBytes, 500<<20)); err != nil {
			return nil, badConfig("Dir", "%w", err)
		}
	}
	if cfg.Shared != nil {
		c.shared = c.openShared(cfg.Shared, withoutLimit(cmp.Or(cfg.SharedTimeout, 100*time.Millisecond)))
	}
	return c, nil
}

func badConfig(field, format string, args ...any) error {
	return fmt.Errorf("thumbcache: Config.%s: %w", field, fmt.Errorf(format, args...))
}

// closeGrace is how long Close lets background checks finish. A process that serves one request and ends would never see a change
// otherwise.
const closeGrace = time.Second

// Close cancels all work in progress and waits until it has ended. Background checks of sources get one second to finish. From
// then on, every Get returns [ErrClosed]. Close may be called more than once. It waits for providers, extractors and engines of
// Shared that ignore cancellation.
func (c *Cache) Close() error {
	c.closed.Store(true)
	c.thumbs.Close(ErrClosed, 0)
	c.pictures.Close(ErrClosed, 0)
	c.renders.Close(ErrClosed, 0)
	c.looks.Close(ErrClosed, 0)
	c.checks.Close(ErrClosed, closeGrace)
	c.shared.close()
	c.disk.close()
	c.memory.close()
	c.watch.close()
	return nil
}

// Stats returns the counters as they are now.
func (c *Cache) Stats() Stats {
	s := Stats{
		MemoryHits:   c.memoryHits.Load(),
		DiskHits:     c.diskHits.Load(),
		Misses:       c.misses.Load(),
		Coalesced:    c.coalesced.Load(),
		NegativeHits: c.negativeHits.Load(),
		StaleServed:  c.staleServed.Load(),
		Extractions:  c.extractions.Load(),
		Processes:    c.processes.started.Load(),
		Failures:     c.failures.Load(),
		Abandoned:    c.abandoned.Load(),

		InFlight:         int64(c.thumbs.Len()),
		ProcessesRunning: c.processes.running.Load(),
	}
	s.MemoryEntries, s.MemoryBytes = c.memory.size()
	c.disk.addStats(&s)
	c.shared.addStats(&s)
	return s
}

// Get returns the thumbnail of a source as JPEG, with its longest edge at most size pixels. See [Cache.Do].
func (c *Cache) Get(ctx context.Context, provider, path string, size int) (*Thumbnail, error) {
	if c.observer.Request == nil && size >= 0 { // the hot path, without a Request
		var k key // a literal would be copied, which takes almost as long as the rest
		k.source, k.size = source{provider, path}, c.recipe.edge(size)
		if t := c.hit(&k, "", nil); t != nil {
			return t, nil
		}
	}
	return c.do(ctx, &Request{Provider: provider, Path: path, Size: size})
}

// Do returns the thumbnail that req asks for. A caller whose ctx ends gets the error of ctx at once, even if other callers
// keep the work going. The error is an [*Error] or ErrClosed. Do knows no client, so Auto is never WebP here.
func (c *Cache) Do(ctx context.Context, req Request) (*Thumbnail, error) { return c.do(ctx, &req) }

// do is Do without a copy of the request.
func (c *Cache) do(ctx context.Context, req *Request) (*Thumbnail, error) {
	if c.observer.Request == nil {
		return c.get(ctx, req, nil)
	}
	start, from := time.Now(), &origin{}
	t, err := c.get(ctx, req, from)
	c.observer.Request(ctx, *req, from.String(), time.Since(start), err)
	return t, err
}

// An origin records where an answer came from, for an Observer and for Warm. A nil origin records nothing.
type origin struct {
	from   atomic.Value // of string
	warmed []int        // the sizes that Warm makes of the source
}

func (o *origin) sizes() []int {
	if o == nil {
		return nil
	}
	return o.warmed
}

func (o *origin) set(from string) {
	if o != nil {
		o.from.Store(from)
	}
}

// count adds 1 to the counter of an origin, and records the origin.
func (o *origin) count(counter *atomic.Uint64, from string) {
	counter.Add(1)
	o.set(from)
}

func (o *origin) String() string {
	from, _ := o.from.Load().(string)
	return from
}

// get answers from memory. It is the hot path, so it hashes, copies and locks as little as possible.
func (c *Cache) get(ctx context.Context, req *Request, from *origin) (*Thumbnail, error) {
	var k key
	if err := c.keyOf(req, &k); err != nil {
		return nil, err
	}
	if t := c.hit(&k, req.Version, from); t != nil {
		return t, nil
	}
	return c.lookup(ctx, k, req.Version, from)
}

// hit returns the thumbnail for k if it is in memory, and its source is known to be unchanged.
func (c *Cache) hit(k *key, version string, from *origin) *Thumbnail {
	e := c.memory.get(k)
	if e == nil || !e.fresh(version) || c.closed.Load() {
		return nil
	}
	from.count(&c.memoryHits, "memory")
	return e.thumb
}

// keyOf sets k to the key for req, with a size that is made here. It checks what can be checked without a lookup.
func (c *Cache) keyOf(req *Request, k *key) error {
	k.source = source{req.Provider, req.Path}
	if req.Size >= 0 && req.Width|req.Height == 0 && req.Fit == Contain && req.Format <= WebP && req.Profile == "" { // shapeOf for the hot path
		k.size, k.format = c.recipe.edge(req.Size), req.Format
		return nil
	}
	var err error
	if k.shape, err = c.recipe.shapeOf(req); err != nil {
		return fail("stat", k.source, err)
	}
	return nil
}

// Limits on request strings; longer ones are fs.ErrInvalid.
const (
	maxPath    = 32 << 10
	maxVersion = 4 << 10
)

// lookup answers without waiting: from memory although the source is due for a check, from a remembered failure, or from the
// page cache. Otherwise it waits for a flight.
func (c *Cache) lookup(ctx context.Context, k key, version string, from *origin) (*Thumbnail, error) {
	p, err := c.providers[k.provider], c.checkRequest(k.source, version)
	switch {
	case err != nil:
		return nil, err
	case p.resolves():
		return c.lookupTarget(ctx, k, version, from)
	}
	j := &job{thumbFlight: thumbFlight{key: k, version: version, gen: c.generations.of(k.source)}, from: from}
	last := c.memory.lastLook(k.source)
	if e := c.memory.get(&k); e != nil {
		switch p.standing(&e.made, version, last) {
		case unchecked:
			from.count(&c.memoryHits, "memory")
			c.staleServed.Add(1)
			c.revalidateSoon(j, e.stamp)
			return e.thumb, nil
		case current: // checked since, perhaps for another size
			from.count(&c.memoryHits, "memory")
			c.memory.put(j.gen, *e)
			return e.thumb, nil
		}
	}
	if f := c.memory.failure(k.source); f != nil && c.failureValid(p, f) && compare(&f.made, version, last) == current {
		from.count(&c.negativeHits, "failure")
		return nil, fail("extract", k.source, f.err)
	}
	j.asked, j.hash = time.Now(), hashOf(k.source) // here and not in the flight, whose goroutine would have to grow its stack
	if flight.Idle(ctx) == nil {
		if t := c.serveStored(ctx, j, &known{old: c.disk.loadCached(&k, j.hash), last: last}); t != nil {
			return t, nil
		}
		defer c.workers.Urgent()()
	}
	return c.await(ctx, j)
}

// await waits for the flight of a thumbnail, which it starts unless it is in progress.
func (c *Cache) await(ctx context.Context, j *job) (*Thumbnail, error) {
	t, joined, err := c.thumbs.Do(ctx, j.thumbFlight, func(w *flight.Work) (*Thumbnail, error) { return c.load(w, j) })
	if joined {
		j.from.count(&c.coalesced, "joined")
	}
	if err == nil {
		return t, nil
	}
	if j.version == "" && ctx.Err() == nil && !isPermanent(err) && !c.closed.Load() {
		// The source has changed, but cannot be read now. Only memory is asked here, because the disk may be what hangs.
		if e := c.memory.get(&j.key); e != nil {
			j.from.count(&c.staleServed, "memory")
			return e.thumb, nil
		}
	}
	return nil, fail("extract", j.source(), err)
}

// Peek returns the thumbnail that req asks for if it is in memory or on disk, even if its source has changed since. It makes
// nothing, asks no provider, and is not counted as a hit. Use it to show something before the picture arrives.
func (c *Cache) Peek(ctx context.Context, req Request) (t *Thumbnail, ok bool) {
	var k key
	if c.keyOf(&req, &k) != nil || c.closed.Load() || len(k.path) > maxPath || !c.knownTarget(&k.source, req.Version) {
		return nil, false
	}
	e := c.memory.get(&k)
	if e == nil || compare(&e.made, req.Version, nil) == outdated {
		e = c.disk.load(ctx, &k, hashOf(k.source))
	}
	if e == nil || compare(&e.made, req.Version, nil) == outdated {
		return nil, false
	}
	return e.thumb, true
}

// Invalidate removes every size of one source from memory, from disk and from [Config.Shared], and the remembered failure of the
// source. A Get that starts after Invalidate has returned never sees a picture that was extracted before. Invalidate returns an
// error if the files or the shared copies could not be removed.
//
// Other machines are told if Shared is a [Notifier]; until then they may serve their copy, and store another size of it in Shared,
// which they remove when they are told. One that may have missed a message checks its sources again, unless Revalidate is negative.
// Other processes that use the same Dir without Shared are not told. They may serve their copy, and store one that they are
// making, until they check the source again.
func (c *Cache) Invalidate(provider, path string) error {
	s := source{provider, path}
	switch {
	case c.closed.Load():
		return ErrClosed
	case c.providers[provider] == nil:
		return fail("stat", s, errNoProvider)
	case c.providers[provider].resolves():
		return c.invalidateTarget(s)
	}
	return c.invalidate(s)
}

func (c *Cache) invalidate(s source) error {
	c.memory.remove(s)
	err := c.shared.remove(s)
	c.memory.remove(s) // again, because a Get may have read a tier before it was emptied
	if diskErr := c.disk.remove(s); diskErr != nil {
		err = diskErr
	}
	c.memory.remove(s)
	if err != nil {
		return fail("stat", s, err)
	}
	return nil
}

// Warmed counts the paths that Warm has finished.
type Warmed struct {
	Extracted int `json:"extracted"`  // at least one size was made
	Reused    int `json:"reused"`     // all sizes were there, and up to date as far as is known
	NoPicture int `json:"no_picture"` // it has no media or no picture, or is broken, too large or of an unsupported kind
	Failed    int `json:"failed"`     // it does not exist, or could not be read now
}

// Warm makes the thumbnails of paths in each of the sizes before a request needs them. Without sizes it makes the smallest of
// Config.Sizes, or 300. They are JPEG, or WebP with Config.Negotiate.
//
// Warm yields to other requests: it starts nothing while a request waits for a thumbnail, and leaves requests a worker and an
// ffmpeg process if there are at least two. With several Providers, a request for the provider that is being warmed may wait for
// Warm if there are fewer than three workers or processes. If Dir or Shared is set, thumbnails that only Warm has asked for are
// not kept in memory. Warm can be canceled and started again; it reuses what is up to date.
//
// Warm returns when all paths are finished, or with an error when ctx ends or the Cache is closed.
func (c *Cache) Warm(ctx context.Context, provider string, paths iter.Seq[string], sizes ...int) (Warmed, error) {
	if c.providers[provider] == nil {
		return Warmed{}, fail("stat", source{provider: provider}, errNoProvider)
	}
	if len(sizes) == 0 {
		sizes = []int{300}
		if len(c.recipe.sizes) > 0 {
			sizes = c.recipe.sizes[:1]
		}
	}
	sizes = c.warmSizes(sizes)
	var (
		mu    sync.Mutex // protects sofar
		sofar Warmed
		wg    sync.WaitGroup
	)
	for path := range paths {
		if c.warming.Acquire(ctx, 1) != nil {
			break
		}
		if c.closed.Load() {
			c.warming.Release(1)
			break
		}
		wg.Go(func() {
			defer c.warming.Release(1)
			made, err := c.warmPath(flight.WithIdle(ctx), provider, path, sizes)
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() != nil || err == ErrClosed {
				return // the outcome is not known
			}
			sofar.add(made, err)
			if c.observer.Warmed != nil {
				c.observer.Warmed(path, sofar, err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil && c.closed.Load() {
		return sofar, ErrClosed
	}
	return sofar, ctx.Err()
}

// add counts one path.
func (n *Warmed) add(made bool, err error) {
	switch {
	case err == nil && made:
		n.Extracted++
	case err == nil:
		n.Reused++
	case isVerdict(err) || errors.Is(err, ErrTooLarge):
		n.NoPicture++
	default:
		n.Failed++
	}
}

// warmSizes returns the sizes that are made for sizes, the largest first, so that the others come from the same decoding.
func (c *Cache) warmSizes(sizes []int) []int {
	sizes = slices.Clone(sizes)
	for i, size := range sizes {
		var k key
		if c.keyOf(&Request{Size: size}, &k) == nil {
			sizes[i] = int(k.size)
		}
	}
	slices.SortFunc(sizes, largestFirst)
	return slices.Compact(sizes)
}

// warmPath makes all sizes of one source, and reports whether it made any.
func (c *Cache) warmPath(ctx context.Context, provider, path string, sizes []int) (made bool, err error) {
	for _, size := range sizes {
		if err := c.workers.AwaitIdle(ctx); err != nil {
			return made, err
		}
		from, req := &origin{warmed: sizes}, &Request{Provider: provider, Path: path, Size: size}
		if c.negotiate {
			req.Format = WebP
		}
		if _, err := c.get(ctx, req, from); err != nil {
			return made, err
		}
		made = made || from.String() == "made"
	}
	return made, nil
}

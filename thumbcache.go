// Package thumbcache turns media into thumbnails once and serves them from memory and disk for ever after.
//
// A media server makes one [Cache], tells it where media comes from ([Provider]), and calls [Cache.Get] in its HTTP
// handlers, or mounts [Cache.Handler]:
//
//	cache, err := thumbcache.New(thumbcache.Config{
//		Providers: map[string]thumbcache.Provider{"music": thumbcache.Files("/srv/music")},
//		Dir:       "/var/cache/thumbs",
//	})
//	...
//	thumb, err := cache.Get(ctx, "music", "Artist/Album/01.flac", 300)
//
// # One Get
//
// A thumbnail in memory is returned at once, and so is a stored one that the system can give without waiting for the disk.
// Otherwise everybody who wants it waits for one flight, which looks on disk, and only when there is nothing asks the
// provider for the media and the [Extractor] for the picture in it. All sizes of one source share one extraction. A flight
// ends early when the last one who waits for it has left: then queued work is dropped and a running process is killed.
//
// Work that waits begins in the order of coming, but no provider takes all workers and processes from the others, and
// [Cache.Warm] yields to everybody.
//
// # Freshness
//
// Each thumbnail remembers the [Stamp] of the source that it was made from. When a source has not been looked at for
// [Config.Revalidate] its thumbnail is served once more while the source is looked at behind the request; a changed one
// is made again under the same name. While a source cannot be reached, what is cached of it is served.
//
// # Failures
//
// That a healthy file holds no picture, or that it is broken or of an unknown kind, is remembered for
// [Config.FailureTTL] or until it changes. Anything that may pass (a timeout, a full queue, a missing ffmpeg) is not.
package thumbcache

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/thumbcache/thumbcache/internal/flight"
	"github.com/thumbcache/thumbcache/internal/render"
	"github.com/thumbcache/thumbcache/internal/store"
)

// pipeline is the version of all that turns media into a thumbnail. A stored thumbnail of another version is a miss.
// Raise it when a change here or below makes a picture look different.
const pipeline = 1

// Errors of Get and Do, to be matched with [errors.Is]. There are also [fs.ErrNotExist] (no such provider or source),
// [fs.ErrInvalid] (a path, size, fit or format that can never work), [context.DeadlineExceeded] ([Config.Timeout]) and
// the errors of the caller's own context.
var (
	ErrNoPicture   = errors.New("thumbcache: no picture in this media")
	ErrUnsupported = errors.New("thumbcache: media or picture of an unsupported kind")
	ErrCorrupt     = errors.New("thumbcache: broken media or picture")
	ErrTooLarge    = errors.New("thumbcache: picture too large")
	ErrBusy        = errors.New("thumbcache: too much work is waiting")
	ErrClosed      = errors.New("thumbcache: cache is closed")
)

// An Error is what Get and Do return, but for [ErrClosed]: the step that failed, of what, and why.
type Error struct {
	Op             string // stat, open, extract, decode or encode
	Provider, Path string // as requested
	Err            error
}

func (e *Error) Error() string { return e.Op + " " + e.Provider + "/" + e.Path + ": " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Config says where media comes from and sets the limits. A zero field means the documented default, a negative number
// switches its limit or feature off. Only Providers is required.
type Config struct {
	Providers     map[string]Provider // where media comes from, by name; a name has no "/" in it
	Dir           string              // thumbnail folder, ours alone; "" keeps thumbnails in memory only
	Extractor     Extractor           // nil means DefaultExtractor()
	MemoryEntries int                 // thumbnails kept in memory; 0 means 50, negative none
	MemoryBytes   int64               // their bytes; 0 means 32 MiB, negative no limit
	DiskBytes     int64               // bytes of files in Dir; 0 means 500 MiB, negative no limit
	DecodeBytes   int64               // RAM for pictures being decoded at one time; 0 means 256 MiB, negative no limit
	Workers       int                 // thumbnails made at once; 0 means GOMAXPROCS, and at least 2 for several Providers, of which each leaves the others one; negative is an error
	MaxSize       int                 // largest edge ever made, in pixels, the original's included; larger requests get this; 0 means 2048, negative 65535
	Sizes         []int               // if set, a request gets the next size up from this ladder, or its largest, never an error
	Quality       int                 // JPEG, 1 to 100; 0 means 85
	Queue         int                 // thumbnails waiting to be made, those of one of several Providers three quarters of it at most; 0 means 1024, negative that none waits; beyond it, ErrBusy
	Timeout       time.Duration       // for extracting a picture, and again for making a thumbnail of it, not counting waits for others; 0 means 30s, negative no limit
	Revalidate    time.Duration       // how long a source is trusted to be unchanged; 0 means 1 minute; negative, for ever
	FolderArt     []string            // names of pictures that stand for their folder, the best first, * and ? as in path.Match; nil means cover.*, folder.*, front.*, albumart*.*; empty means off
	FolderFirst   bool                // prefer the folder's picture to the one in the media
	FailureTTL    time.Duration       // how long it is remembered that there is no picture, or that a file is broken or unsupported; 0 means 10 minutes, negative not at all
	Logger        *slog.Logger        // nil means discard

	Observer *Observer // nil means nobody

	// Placeholder, if not nil, chooses what [Cache.Handler] answers instead of an error of [Cache.Do]: [LetterTile], say, or a
	// picture of one's own, with status 200; or nil for the plain error. err is to be matched with [errors.Is], to show
	// nothing in place of what the client should know of or ask for again. The answer is never immutable and has no date, so
	// that a picture that comes later is seen. It is called by several goroutines at once, and once for each such request.
	Placeholder func(req Request, err error) *Thumbnail
}

// An Observer is told what a [Cache] does, so that metrics and traces need no change here. Its functions, each of which may be
// nil, are called by several goroutines at once, by those that do the work: they should return quickly, and must not call
// the Cache. Without a Request function a hit in memory reads no clock.
type Observer struct {
	// Request is called at the end of every Get and Do. From tells where the thumbnail or the failure came from:
	//
	//	memory, disk   it was there
	//	made           from the media, or that failed
	//	joined         by a flight that another request had begun
	//	failure        a remembered one
	//	""             the request failed before that was known
	//
	// ctx is the caller's, for a trace to go on in.
	Request func(ctx context.Context, req Request, from string, took time.Duration, err error)

	// Stage is called at the end of each step of making a thumbnail: queue (the wait for a worker), stat, open, extract,
	// rescue (a picture that Go cannot decode, by ffmpeg), render, store. The wait comes twice where another process was making
	// it. What goes wrong in store has no error here: nobody's thumbnail fails by it.
	Stage func(provider, path, stage string, took time.Duration, err error)

	// Warmed is called for each path that Warm has done with, one at a time. Err is why it has no thumbnail.
	Warmed func(path string, sofar Warmed, err error)
}

// Fit says how a picture is made to fit the requested size.
type Fit uint8

const (
	Contain Fit = iota // the whole picture, its longest edge at most the size
	Cover              // the centre, cropped to a square
)

// Format is how a thumbnail is encoded.
type Format uint8

const (
	JPEG Format = iota // baseline; transparency becomes white
	PNG                // keeps transparency
)

// A Request asks [Cache.Do] for one thumbnail.
type Request struct {
	Provider, Path string
	Size           int    // longest edge in pixels, never enlarged; 0 means the original's own size; negative is fs.ErrInvalid
	Fit            Fit    // Contain, or Cover: a centre-cropped square, at most the largest that the source has
	Format         Format // JPEG, or PNG
	Version        string // optional: the caller's own stamp (updated_at, content hash, Stamp.Version). Then Stat is not called, and a thumbnail of another version never returned
}

// A Thumbnail is shared by every caller that asked for it: it is read-only.
type Thumbnail struct {
	Data          []byte
	ContentType   string
	ETag          string    // quoted, and weak; from key, recipe and stamp, so that a 304 needs no thumbnail
	ModTime       time.Time // of the source
	Width, Height int       // in pixels

	// ThumbHash is a blurred miniature of the thumbnail in some 25 bytes, which a page can paint before the picture comes. It is
	// empty for what is no thumbnail of a source, such as a LetterTile. See https://evanw.github.io/thumbhash/.
	ThumbHash []byte
}

// Stats tells what a Cache has done since New, and what it holds.
type Stats struct {
	MemoryHits   uint64 `json:"memory_hits"`   // thumbnails served from memory
	DiskHits     uint64 `json:"disk_hits"`     // thumbnails read from disk
	Misses       uint64 `json:"misses"`        // thumbnails that had to be made
	Coalesced    uint64 `json:"coalesced"`     // callers that joined a thumbnail's flight under way
	NegativeHits uint64 `json:"negative_hits"` // requests answered by a remembered failure
	StaleServed  uint64 `json:"stale_served"`  // thumbnails served before or without a new look at their source
	Extractions  uint64 `json:"extractions"`   // calls of the Extractor
	Processes    uint64 `json:"processes"`     // child processes started
	Failures     uint64 `json:"failures"`      // thumbnails that could not be made
	Abandoned    uint64 `json:"abandoned"`     // thumbnails dropped because nobody waited for them any more
	Evictions    uint64 `json:"evictions"`     // files removed to keep DiskBytes
	DiskErrors   uint64 `json:"disk_errors"`   // failed reads and writes of Dir; none of them failed a request
	Corrupt      uint64 `json:"corrupt"`       // stored files that failed their check

	InFlight         int64 `json:"in_flight"`         // thumbnails being looked up or made
	ProcessesRunning int64 `json:"processes_running"` // child processes
	MemoryEntries    int64 `json:"memory_entries"`
	MemoryBytes      int64 `json:"memory_bytes"`
	DiskEntries      int64 `json:"disk_entries"` // as far as learnt since New
	DiskBytes        int64 `json:"disk_bytes"`   // likewise
}

// A Cache makes and keeps thumbnails. Its methods may be called from several goroutines at once.
type Cache struct {
	providers   map[string]*provider
	extractor   Extractor
	maxSize     int
	sizes       []int // ascending
	quality     int
	queue       int64
	timeout     time.Duration
	revalidate  time.Duration
	folderFirst bool
	failureTTL  time.Duration
	decodeBytes int64
	log         *slog.Logger
	observer    Observer
	ffmpeg      *FFmpeg // of extractor, if it is known to have one
	placeholder func(Request, error) *Thumbnail
	closed      atomic.Bool // read by every hit, so not next to what every hit writes

	memory *memory
	disk   disk // its Store is nil: thumbnails are kept in memory only

	thumbs   flight.Group[thumbFlight, *Thumbnail]
	pictures flight.Group[pictureFlight, extracted]
	looks    flight.Group[lookFlight, Stamp]
	stores   flight.Group[thumbFlight, struct{}]

	slots    *semaphore.Weighted // Workers
	waiting  atomic.Int64        // for a slot
	people   atomic.Int64        // requests that wait for a flight: warm-up stops for them
	warm     *semaphore.Weighted // what warm-up makes at once: it leaves a worker to people
	decoding *semaphore.Weighted // DecodeBytes

	seed    maphash.Seed
	stripes [256]stripe // by source

	memoryHits, diskHits, misses, coalesced, negativeHits atomic.Uint64
	staleServed, extractions, failures, abandoned         atomic.Uint64
	processes                                             processCounter
}

// provider is a Provider with a bound on calls that do not come back.
type provider struct {
	Provider
	calls  *semaphore.Weighted // that somebody waits for
	behind *semaphore.Weighted // looks behind requests, which must not get in their way
	art    *folderArt          // nil: the folder's picture is not asked for

	// Its share where there are several: one that is slow or dead leaves a worker, and a part of the queue, to the others.
	turns   *semaphore.Weighted
	queue   int64
	waiting atomic.Int64 // for a turn
}

// hungCalls is how many calls of a provider may be behind their time before it is not asked any more, and how many looks
// behind requests there may be. Each may hold a thread that nothing can free.
const hungCalls = 16

// A stripe orders publishing against Invalidate for the sources that share it. Invalidate raises gen and then clears each
// tier under its lock; whoever publishes to a tier holds its lock and sees whether gen is still what it was when its
// flight began. The tiers have a lock each so that a disk that hangs holds up nothing in memory. That
// sources share a stripe costs this much: what is made of one while another is invalidated may have to be made again.
type stripe struct {
	gen          atomic.Uint64
	memory, disk sync.Mutex
}

type source struct{ provider, path string }

// A key names one thumbnail, or with none set the place where it is remembered that a source has no picture.
type key struct {
	source
	size   int
	fit    Fit
	format Format
	none   bool
}

// Flights are told apart by what they make and by the generation of their source, so that a Get after Invalidate never
// joins a flight from before.
type sourceFlight struct {
	source
	version string
	gen     uint64
}

type pictureFlight struct {
	sourceFlight
	rescue bool // of a picture that was extracted, and not its extraction
}

type lookFlight struct {
	sourceFlight
	art bool // at the pictures beside it too
}

type thumbFlight struct {
	key     key
	version string
	gen     uint64
}

func (f *thumbFlight) of() sourceFlight { return sourceFlight{f.key.source, f.version, f.gen} }

// extracted is what an extraction came to.
type extracted struct {
	pic    *Picture
	stamp  Stamp
	steady bool // the source did not change meanwhile, so that the outcome may be remembered
}

// New returns a Cache. It does no work in proportion to what Dir holds. Its error names the field of cfg at fault.
func New(cfg Config) (*Cache, error) {
	bad := func(field, format string, args ...any) (*Cache, error) {
		return nil, fmt.Errorf("thumbcache: Config.%s: %w", field, fmt.Errorf(format, args...))
	}
	c := &Cache{
		providers:   make(map[string]*provider, len(cfg.Providers)),
		extractor:   cfg.Extractor,
		maxSize:     cmp.Or(cfg.MaxSize, 2048),
		sizes:       slices.Compact(slices.Sorted(slices.Values(cfg.Sizes))),
		quality:     cmp.Or(cfg.Quality, 85),
		queue:       max(int64(cmp.Or(cfg.Queue, 1024)), 0),
		timeout:     cmp.Or(cfg.Timeout, 30*time.Second),
		revalidate:  cmp.Or(cfg.Revalidate, time.Minute),
		folderFirst: cfg.FolderFirst,
		failureTTL:  cmp.Or(cfg.FailureTTL, 10*time.Minute),
		decodeBytes: cmp.Or(cfg.DecodeBytes, 256<<20),
		log:         cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		placeholder: cfg.Placeholder,
		seed:        maphash.MakeSeed(),
	}
	if cfg.Observer != nil {
		c.observer = *cfg.Observer
	}
	workers := min(cmp.Or(cfg.Workers, runtime.GOMAXPROCS(0)), 1<<16)
	switch {
	case len(cfg.Providers) == 0:
		return bad("Providers", "there is none")
	case workers < 0:
		return bad("Workers", "%d is negative", workers)
	case c.quality < 1 || c.quality > 100:
		return bad("Quality", "%d is not between 1 and 100", c.quality)
	case len(c.sizes) > 0 && c.sizes[0] <= 0:
		return bad("Sizes", "%d is not positive", c.sizes[0])
	}
	share := workers
	if len(cfg.Providers) > 1 {
		if cfg.Workers == 0 {
			workers = max(2, workers)
		}
		share = max(1, workers-1)
	}
	art := slices.Clone(cfg.FolderArt)
	if art == nil {
		art = []string{"cover.*", "folder.*", "front.*", "albumart*.*"}
	}
	for i, pattern := range art {
		if _, err := path.Match(pattern, ""); err != nil {
			return bad("FolderArt", "%q: %w", pattern, err)
		}
		art[i] = strings.ToLower(pattern)
	}
	for name, p := range cfg.Providers {
		if name == "" || strings.ContainsAny(name, "/\x00") {
			return bad("Providers", "%q is no name: it must not be empty or contain a slash", name)
		}
		if p == nil {
			return bad("Providers", "%q is nil", name)
		}
		c.providers[name] = &provider{
			Provider: p,
			calls:    semaphore.NewWeighted(int64(workers) + hungCalls),
			behind:   semaphore.NewWeighted(hungCalls),
			art:      newFolderArt(p, art),
			turns:    semaphore.NewWeighted(int64(share)),
			queue:    c.queue - c.queue/4*int64(min(len(cfg.Providers)-1, 1)),
		}
	}
	if c.extractor == nil {
		c.extractor = DefaultExtractor()
	}
	if c.maxSize < 0 || c.maxSize > math.MaxUint16 {
		c.maxSize = math.MaxUint16 // all that a JPEG can be
	}
	if c.timeout < 0 {
		c.timeout = math.MaxInt64
	}
	if c.decodeBytes < 0 {
		c.decodeBytes = math.MaxInt64
	}
	c.ffmpeg = ffmpegOf(c.extractor)
	c.slots = semaphore.NewWeighted(int64(workers))
	c.warm = semaphore.NewWeighted(int64(max(1, workers-1)))
	c.decoding = semaphore.NewWeighted(c.decodeBytes)
	failures := maxFailures
	if cfg.Dir == "" {
		failures = maxFailuresNoDisk
	}
	c.memory = newMemory(cmp.Or(cfg.MemoryEntries, defaultMemoryEntries), cmp.Or(cfg.MemoryBytes, 32<<20), failures)
	if cfg.Dir != "" {
		var err error
		if c.disk, err = openDisk(cfg.Dir, cmp.Or(cfg.DiskBytes, 500<<20), c.log); err != nil {
			return bad("Dir", "%w", err)
		}
		c.disk.Patience = min(c.disk.Patience, c.timeout/4) // what is not read can still be made
	}
	return c, nil
}

// Close ends all work in progress and waits for it; every Get then returns [ErrClosed]. It may be called more than once.
// It waits for providers and extractors that do not heed their context.
func (c *Cache) Close() error {
	c.closed.Store(true)
	if c.disk.Store != nil {
		c.disk.Stop()
	}
	c.thumbs.Close(ErrClosed)
	c.looks.Close(ErrClosed)
	c.pictures.Close(ErrClosed)
	c.stores.Close(ErrClosed)
	if c.disk.Store != nil {
		c.disk.Close()
	}
	c.memory.close()
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
	if c.disk.Store != nil {
		s.Evictions, s.DiskErrors, s.Corrupt = c.disk.Evictions.Load(), c.disk.Errors.Load(), c.disk.Corrupt.Load()
		u := c.disk.Known()
		s.DiskEntries, s.DiskBytes = u.Files, u.Bytes
	}
	return s
}

// Get returns the thumbnail of a source with its longest edge at most size pixels, as JPEG. See [Cache.Do].
func (c *Cache) Get(ctx context.Context, provider, path string, size int) (*Thumbnail, error) {
	return c.do(ctx, &Request{Provider: provider, Path: path, Size: size})
}

// Do returns the thumbnail that req asks for. A caller whose ctx ends gets its error at once, whatever goes on behind.
// The error is an [*Error], or ErrClosed.
func (c *Cache) Do(ctx context.Context, req Request) (*Thumbnail, error) { return c.do(ctx, &req) }

// Peek returns the thumbnail that req asks for if there is one already, in memory or on disk, whatever became of its source
// meanwhile. It makes nothing, asks no provider, and counts as no hit: it is for what may be shown before the picture comes.
func (c *Cache) Peek(ctx context.Context, req Request) (t *Thumbnail, ok bool) {
	var k key
	if c.key(&req, &k) != nil || c.closed.Load() {
		return nil, false
	}
	if e := c.memory.get(&k); e != nil && (req.Version == "" || isVersion(req.Version, e.version, e.stamp)) {
		return e.thumb, true
	}
	if c.disk.Store == nil || len(k.path) > maxPath {
		return nil, false
	}
	hash := hashOf(k.source)
	s, ok := c.disk.get(ctx, &k, hash)
	if !ok {
		return nil, false
	}
	e := c.entryOf(&k, hash, s)
	if e == nil || req.Version != "" && !isVersion(req.Version, e.version, e.stamp) {
		return nil, false
	}
	return e.thumb, true
}

// do is Do without a copy.
func (c *Cache) do(ctx context.Context, req *Request) (*Thumbnail, error) {
	if c.observer.Request != nil {
		return c.observed(ctx, req)
	}
	return c.ask(ctx, req, nil)
}

// observed is do for an Observer.
func (c *Cache) observed(ctx context.Context, req *Request) (*Thumbnail, error) {
	start, by := time.Now(), &asker{}
	t, err := c.ask(ctx, req, by)
	from, _ := by.from.Load().(string)
	c.observer.Request(ctx, *req, from, time.Since(start), err)
	return t, err
}

// ask looks into memory. It is the path of most requests, so it hashes, copies and locks as little as it can.
func (c *Cache) ask(ctx context.Context, req *Request, by *asker) (*Thumbnail, error) {
	var k key
	if err := c.key(req, &k); err != nil {
		return nil, err
	}
	if e := c.memory.get(&k); e != nil && e.fresh(req.Version) && !c.closed.Load() {
		c.memoryHits.Add(1)
		by.got("memory")
		return e.thumb, nil
	}
	return c.find(ctx, k, req.Version, by)
}

// An asker is who asks, where that matters: most are people, of whom nothing is to be told, and nil.
type asker struct {
	warming bool         // it is Warm
	from    atomic.Value // string: where the answer came from, as an Observer is told
}

func (a *asker) got(from string) {
	if a != nil {
		a.from.Store(from)
	}
}

func (a *asker) isWarming() bool { return a != nil && a.warming }

// Warmed counts what Warm came to, in paths.
type Warmed struct {
	Extracted int `json:"extracted"`  // at least one size was made
	Reused    int `json:"reused"`     // all sizes were there, and up to date as far as is known
	NoPicture int `json:"no_picture"` // there is no picture in it, or it is broken, too large, or of an unsupported kind
	Failed    int `json:"failed"`     // it does not exist or could not be had now
}

// Warm makes the thumbnails of paths in each of the sizes (none means the smallest of Sizes, or 300) before somebody asks for
// them. It yields to people: it begins nothing while a request waits for a thumbnail, and leaves them one worker and one
// process where there are several. It may be cancelled by ctx and started again: what is there and up to date is reused, and
// where Dir is set it takes no room in memory. It returns what it came to when paths has ended, and with an error as far as it
// came.
func (c *Cache) Warm(ctx context.Context, provider string, paths iter.Seq[string], sizes ...int) (Warmed, error) {
	if c.providers[provider] == nil {
		return Warmed{}, fail("stat", source{provider: provider}, errNoProvider)
	}
	if len(sizes) == 0 {
		sizes = []int{300}
		if len(c.sizes) > 0 {
			sizes = c.sizes[:1]
		}
	}
	var (
		mu     sync.Mutex // protects sofar
		sofar  Warmed
		failed error
		wg     sync.WaitGroup
	)
	for path := range paths {
		if failed = c.quiet(ctx); failed != nil {
			break
		}
		wg.Go(func() {
			defer c.warm.Release(1)
			made, err := c.warmOne(ctx, provider, path, sizes)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case ctx.Err() != nil || err == ErrClosed:
				return // it is not known what would have become of it
			case err == nil && made:
				sofar.Extracted++
			case err == nil:
				sofar.Reused++
			case lasting(err) != store.Picture || errors.Is(err, ErrTooLarge):
				sofar.NoPicture++
			default:
				sofar.Failed++
			}
			if c.observer.Warmed != nil {
				c.observer.Warmed(path, sofar, err)
			}
		})
	}
	wg.Wait()
	if failed == nil && c.closed.Load() {
		failed = ErrClosed
	}
	return sofar, cmp.Or(failed, ctx.Err())
}

// quiet waits until warm-up may begin something.
func (c *Cache) quiet(ctx context.Context) error {
	if err := c.warm.Acquire(ctx, 1); err != nil {
		return err
	}
	for c.people.Load() > 0 {
		select {
		case <-ctx.Done():
			c.warm.Release(1)
			return ctx.Err()
		case <-time.After(quietPoll):
		}
	}
	if c.closed.Load() {
		c.warm.Release(1)
		return ErrClosed
	}
	return nil
}

const quietPoll = 5 * time.Millisecond

// warmOne makes all sizes of one source, and reports whether it made any.
func (c *Cache) warmOne(ctx context.Context, provider, path string, sizes []int) (made bool, err error) {
	for _, size := range sizes {
		by := &asker{warming: true}
		if _, err := c.ask(ctx, &Request{Provider: provider, Path: path, Size: size}, by); err != nil {
			return made, err
		}
		made = made || by.from.Load() == "made"
	}
	return made, nil
}

// Invalidate forgets every size of one source, in memory, on disk, and that it has no picture. A Get that starts after
// Invalidate has returned never sees a picture that was extracted before. Where the files could not be removed it says so.
// Another process that uses the same Dir is not told: what that has in memory, or is making just then, it serves and stores
// until it looks at the source again.
func (c *Cache) Invalidate(provider, path string) error {
	src := source{provider, path}
	switch {
	case c.closed.Load():
		return ErrClosed
	case c.providers[provider] == nil:
		return fail("stat", src, errNoProvider)
	}
	c.drop(src)
	if err := c.clear(src); err != nil {
		return fail("stat", src, err)
	}
	return nil
}

var errNoProvider = fmt.Errorf("no such provider: %w", fs.ErrNotExist)

// fail makes the error for a step, unless err is one already.
func fail(op string, s source, err error) error {
	if _, ok := errors.AsType[*Error](err); ok || err == ErrClosed {
		return err
	}
	return &Error{Op: op, Provider: s.provider, Path: s.path, Err: err}
}

// key checks what can be checked without a lookup, and brings the size to one that is made here.
func (c *Cache) key(req *Request, k *key) error {
	k.source, k.size, k.fit, k.format = source{req.Provider, req.Path}, req.Size, req.Fit, req.Format
	switch {
	case req.Size < 0:
		return fail("stat", k.source, fmt.Errorf("size %d: %w", req.Size, fs.ErrInvalid))
	case req.Fit > Cover:
		return fail("stat", k.source, fmt.Errorf("fit %d: %w", req.Fit, fs.ErrInvalid))
	case req.Format > PNG:
		return fail("stat", k.source, fmt.Errorf("format %d: %w", req.Format, fs.ErrInvalid))
	}
	if n := len(c.sizes); n > 0 {
		i, _ := slices.BinarySearch(c.sizes, k.size)
		if i == n || k.size == 0 { // the original may be larger than all of them
			i = n - 1
		}
		k.size = c.sizes[i]
	}
	k.size = min(k.size, c.maxSize)
	return nil
}

// Longer texts than these are nobody's path.
const (
	maxPath    = 32 << 10
	maxVersion = 4 << 10
)

// find is Do for what is not simply in memory.
func (c *Cache) find(ctx context.Context, k key, version string, by *asker) (*Thumbnail, error) {
	switch {
	case c.closed.Load():
		return nil, ErrClosed
	case c.providers[k.provider] == nil:
		return nil, fail("stat", k.source, errNoProvider)
	case strings.Contains(k.path, "\x00") || len(k.path) > maxPath || len(version) > maxVersion:
		return nil, fail("stat", k.source, fmt.Errorf("path or version: %w", fs.ErrInvalid))
	}
	f := &thumbFlight{key: k, version: version, gen: c.generation(k.source)}
	l := c.memory.look(k.source)
	if e := c.memory.get(&k); e != nil && version == "" {
		switch {
		case l == nil:
			c.memoryHits.Add(1)
			c.staleServed.Add(1)
			by.got("memory")
			c.lookBehind(f, e.stamp)
			return e.thumb, nil
		case l.stamp.equal(e.stamp): // looked at again since, perhaps for another size
			c.memoryHits.Add(1)
			by.got("memory")
			c.remember(f, &entry{key: k, thumb: e.thumb, stamp: e.stamp, version: e.version, look: l})
			return e.thumb, nil
		}
		// It is known to be outdated. What is served is made anew.
	}
	if m, ok := c.memory.failure(k.source); ok && c.stands(m) && m.of(version, l) {
		c.negativeHits.Add(1)
		by.got("failure")
		return nil, fail("extract", k.source, m.err)
	}
	hash := hashOf(k.source)
	if c.disk.Store != nil && !by.isWarming() {
		if s, ok := c.disk.cached(&k, hash); ok {
			if t := c.serveStored(f, c.entryOf(&k, hash, s), l, by); t != nil {
				by.got("disk")
				return t, nil
			}
		}
	}
	if !by.isWarming() {
		c.people.Add(1)
		defer c.people.Add(-1)
	}
	t, joined, err := c.thumbs.Do(ctx, *f, func(ctx context.Context, end context.CancelCauseFunc) (*Thumbnail, error) {
		return c.thumbnail(ctx, end, f, hash, by)
	})
	if joined {
		c.coalesced.Add(1)
		by.got("joined")
	}
	if err == nil {
		return t, nil
	}
	if pe, ok := errors.AsType[*flight.PanicError](err); ok && !joined {
		c.log.Error("thumbcache: panic", "provider", k.provider, "path", k.path, "panic", pe.Value, "stack", string(pe.Stack))
	}
	if version == "" && ctx.Err() == nil && !sure(err) && !c.closed.Load() {
		// The source changed, but cannot be had now. The disk may be what hangs, so only memory is asked here.
		if e := c.memory.get(&k); e != nil {
			c.staleServed.Add(1)
			by.got("memory")
			return e.thumb, nil
		}
	}
	return nil, fail("extract", k.source, err)
}

// sure reports whether err would be the same the next time.
func sure(err error) bool {
	return lasting(err) != store.Picture || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, ErrTooLarge)
}

// lasting returns the cause by which err is remembered, or store.Picture if it is not.
func lasting(err error) store.Cause {
	switch {
	case errors.Is(err, ErrNoPicture):
		return store.NoPicture
	case errors.Is(err, ErrUnsupported):
		return store.Unsupported
	case errors.Is(err, ErrCorrupt):
		return store.Corrupt
	}
	return store.Picture
}

// stands reports whether a failure is young enough, and of the ffmpeg that there is now. One from the future was noted by a
// clock that was wrong.
func (c *Cache) stands(m failure) bool {
	age := time.Since(m.made)
	return age >= 0 && age < c.failureTTL && m.ffmpeg == c.build(m.err)
}

// build tells the ffmpeg on which it depends that err is so.
func (c *Cache) build(err error) string {
	if c.ffmpeg == nil || errors.Is(err, ErrNoPicture) {
		return ""
	}
	return c.ffmpeg.build()
}

// of reports whether m is about the source in the state that version, or else the last look, tells of.
func (m failure) of(version string, l *look) bool {
	if version != "" {
		return isVersion(version, m.version, m.stamp)
	}
	return l != nil && l.stamp.equal(m.stamp)
}

func (c *Cache) stripe(s source) *stripe {
	return &c.stripes[maphash.Comparable(c.seed, s)%uint64(len(c.stripes))]
}

func (c *Cache) generation(s source) uint64 { return c.stripe(s).gen.Load() }

// drop forgets all about s but what is on disk, and begins its next generation. What is being made of it belongs to the past
// and will not be published.
func (c *Cache) drop(s source) (gen uint64) {
	st := c.stripe(s)
	gen = st.gen.Add(1)
	st.memory.Lock()
	defer st.memory.Unlock()
	c.memory.drop(s)
	return gen
}

// clear removes what is on disk of s, after drop.
func (c *Cache) clear(s source) error {
	if c.disk.Store == nil {
		return nil
	}
	st := c.stripe(s)
	st.disk.Lock()
	defer st.disk.Unlock()
	_, err := c.disk.RemoveSource(s.provider, s.path)
	return err
}

// toMemory calls publish unless s was dropped since the flight began. No drop happens meanwhile.
func (c *Cache) toMemory(s source, gen uint64, publish func()) {
	st := c.stripe(s)
	st.memory.Lock()
	defer st.memory.Unlock()
	if st.gen.Load() == gen {
		publish()
	}
}

// toDisk is toMemory for what is written to disk.
func (c *Cache) toDisk(s source, gen uint64, publish func()) {
	st := c.stripe(s)
	st.disk.Lock()
	defer st.disk.Unlock()
	if st.gen.Load() == gen {
		publish()
	}
}

// remember keeps a thumbnail in memory.
func (c *Cache) remember(f *thumbFlight, e *entry) {
	c.toMemory(f.key.source, f.gen, func() { c.memory.put(e) })
}

// passes reports whether what by asks for goes past memory: warm-up must not push out of it what people look at.
func (c *Cache) passes(by *asker) bool { return by.isWarming() && c.disk.Store != nil }

// thumbnail is the flight of one thumbnail: from disk, or made. hash is the source's; it is worked out by the caller, who
// has the stack for it, since a disk hit spends a good part of its time on growing that of a new goroutine.
func (c *Cache) thumbnail(ctx context.Context, end context.CancelCauseFunc, f *thumbFlight, hash string, by *asker) (*Thumbnail, error) {
	timer := c.watch(end)
	defer timer.Stop()

	// 1. A asks memory and finds nothing. 2. B's flight for the same key ends. 3. A starts this flight.
	if e := c.memory.get(&f.key); e != nil && e.fresh(f.version) {
		c.memoryHits.Add(1)
		by.got("memory")
		return e.thumb, nil
	}
	l := c.memory.look(f.key.source)
	old := c.stored(ctx, &f.key, hash)
	if by.isWarming() && old != nil && l == nil && c.revalidate >= 0 {
		// Nobody waits, so the source is looked at first. What cannot be reached is not the worse for it.
		now, err := c.stat(ctx, f.of(), c.folderFirst || old.stamp.hasArt())
		switch {
		case err == nil:
			c.looked(f.of(), now)
			l = &look{stamp: now}
		case errors.Is(err, fs.ErrNotExist):
			c.forget(f.key.source)
			return nil, err
		}
	}
	if t := c.serveStored(f, old, l, by); t != nil {
		by.got("disk")
		return t, nil
	}
	return c.make(ctx, f, hash, old, l, timer, by)
}

// watch ends a flight when Timeout has passed, although its function may be stuck in a system call. Waits for others do not
// count: the timer is stopped meanwhile, and begins again.
func (c *Cache) watch(end context.CancelCauseFunc) *time.Timer {
	return time.AfterFunc(c.timeout, func() { end(context.DeadlineExceeded) })
}

// serveStored returns what is stored, if there is something and it may be served: if it is of the version that was asked
// for, or the source has not changed as far as is known. l is the last look at the source.
func (c *Cache) serveStored(f *thumbFlight, old *entry, l *look, by *asker) *Thumbnail {
	switch {
	case old == nil, f.version != "" && !isVersion(f.version, old.version, old.stamp):
		return nil
	case f.version == "" && l == nil && c.revalidate < 0:
		l = c.memory.looked(f.key.source, old.stamp, c.revalidate)
	}
	if f.version == "" && l != nil && !l.stamp.equal(old.stamp) {
		return nil
	}
	c.diskHits.Add(1)
	if !c.passes(by) {
		c.remember(f, &entry{key: f.key, thumb: old.thumb, stamp: old.stamp, version: old.version, look: l})
	}
	if f.version == "" && l == nil {
		c.staleServed.Add(1)
		c.lookBehind(f, old.stamp)
	}
	return old.thumb
}

// make makes a thumbnail when its turn has come. It replaces old, if there is one.
func (c *Cache) make(ctx context.Context, f *thumbFlight, hash string, old *entry, l *look, timer *time.Timer, by *asker) (*Thumbnail, error) {
	src := f.key.source
	m, failed := c.failure(ctx, src, hash)
	if failed && m.of(f.version, l) {
		if old != nil { // the source is again as it was when it failed
			c.rememberFailure(f, old, m)
		}
		c.negativeHits.Add(1)
		by.got("failure")
		return nil, m.err
	}

	defer timer.Stop()
	timer.Stop()
	leave, err := c.enter(ctx, src)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	defer func() { leave() }()
	release, free := c.disk.claim(ctx, &f.key, hash, 0)
	if !free {
		// Another process is making it. It is waited for without keeping others here from their turn, and no longer than a
		// process that is well would take: then both make it.
		leave()
		release, _ = c.disk.claim(ctx, &f.key, hash, min(c.timeout, claimPatience))
	}
	// What takes long to be stored is not waited for, and another process may make it too.
	defer release()
	if !free {
		old = c.stored(ctx, &f.key, hash)
		if t := c.serveStored(f, old, l, by); t != nil {
			by.got("disk")
			return t, nil
		}
		if m, failed = c.failure(ctx, src, hash); failed && m.of(f.version, l) {
			c.negativeHits.Add(1)
			by.got("failure")
			return nil, m.err
		}
		if leave, err = c.enter(ctx, src); err != nil {
			return nil, c.lost(ctx, err)
		}
	}
	timer.Reset(c.timeout)
	by.got("made")

	// A remembered failure holds while the source is as it was, and while it cannot be reached.
	if failed && f.version == "" && l == nil {
		stamp, err := c.stat(ctx, f.of(), c.folderFirst || m.stamp.hasArt())
		switch {
		case ctx.Err() != nil:
			return nil, c.lost(ctx, err)
		case errors.Is(err, fs.ErrNotExist):
			leave()
			c.failures.Add(1)
			c.forget(src)
			return nil, err
		case err != nil || stamp.equal(m.stamp):
			if err == nil {
				leave()
				c.looked(f.of(), stamp)
				if old != nil {
					c.rememberFailure(f, old, m)
				}
			}
			c.negativeHits.Add(1)
			by.got("failure")
			return nil, m.err
		}
	}

	c.misses.Add(1)
	t, x, err := c.fromMedia(ctx, f, hash, timer, by)
	leave() // a disk that hangs must not keep others from their turn
	switch {
	case err == nil:
		c.publish(f, t, &x, failed, by)
		return t, nil
	case ctx.Err() != nil:
		return nil, c.lost(ctx, err)
	}
	c.failures.Add(1)
	switch {
	case f.version == "" && old != nil && !sure(err):
		c.staleServed.Add(1)
		return old.thumb, nil // the source changed, but cannot be had now
	case errors.Is(err, fs.ErrNotExist):
		if old != nil || failed {
			c.forget(src)
		}
	case lasting(err) != store.Picture && x.steady:
		c.rememberFailure(f, old, failure{err: err, stamp: x.stamp, version: f.version, made: time.Now(), ffmpeg: c.build(err)})
	}
	return nil, err
}

// fromMedia makes a thumbnail of the picture in a source.
func (c *Cache) fromMedia(ctx context.Context, f *thumbFlight, hash string, timer *time.Timer, by *asker) (t *Thumbnail, x extracted, err error) {
	groups := c.groups(f.key.source, by)
	timer.Stop() // the picture's flight has its own
	x, err = c.picture(ctx, f.of(), groups)
	timer.Reset(c.timeout)
	if err == nil {
		t, err = c.render(ctx, f, hash, &x, timer)
	}
	if x.pic == nil || !x.pic.canRescue() || !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrCorrupt) {
		return t, x, err
	}
	timer.Stop()
	rescued, rescueErr := c.rescue(ctx, f.of(), x, groups)
	timer.Reset(c.timeout)
	switch {
	case rescueErr == nil:
		t, err = c.render(ctx, f, hash, &rescued, timer)
		return t, rescued, err
	case lasting(rescueErr) == store.Picture && !(missingTool(rescueErr) && errors.Is(err, ErrCorrupt)):
		err = rescueErr // it may be another one the next time
	}
	return nil, x, err
}

// lost counts and returns why a flight ended before its work was done.
func (c *Cache) lost(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		c.failures.Add(1)
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, flight.ErrAbandoned) {
		c.abandoned.Add(1)
	} else {
		c.failures.Add(1)
	}
	return cause
}

// forget drops a source that is gone or has changed for the worse, and clears it behind the request if that takes long.
func (c *Cache) forget(s source) (gen uint64) {
	gen = c.drop(s)
	c.onDisk(thumbFlight{key{source: s, size: -1}, "", gen}, func(context.CancelCauseFunc) {
		if err := c.clear(s); err != nil {
			c.log.Debug("thumbcache: removing stored thumbnails", "error", err)
		}
	})
	return gen
}

// claimPatience is how long another process that makes a thumbnail is waited for.
const claimPatience = 15 * time.Second

// enter waits for a turn to make a thumbnail of src, in the order of coming. The caller calls leave at the end, once or more;
// with an error there is nothing to leave.
func (c *Cache) enter(ctx context.Context, src source) (leave func(), err error) {
	defer c.stage("queue", src)(&err)
	p := c.providers[src.provider]
	leave = sync.OnceFunc(func() {
		c.slots.Release(1)
		p.turns.Release(1)
	})
	if p.turns.TryAcquire(1) {
		if c.slots.TryAcquire(1) {
			return leave, nil
		}
		p.turns.Release(1)
	}
	nothing := func() {}
	all, own := c.waiting.Add(1), p.waiting.Add(1)
	defer c.waiting.Add(-1)
	defer p.waiting.Add(-1)
	if all > c.queue || own > p.queue {
		return nothing, ErrBusy
	}
	if err := p.turns.Acquire(ctx, 1); err != nil {
		return nothing, err
	}
	if err := c.slots.Acquire(ctx, 1); err != nil {
		p.turns.Release(1)
		return nothing, err
	}
	return leave, nil
}

// groups returns whose work a source is, for an FFmpeg: where there are several providers none takes all of its processes from
// the others, nor does warm-up from people.
func (c *Cache) groups(src source, by *asker) (groups []string) {
	if len(c.providers) > 1 {
		groups = append(groups, src.provider)
	}
	if by.isWarming() {
		groups = append(groups, "/warm") // no name of a provider
	}
	return groups
}

// stage begins a step of making a thumbnail, for an Observer. The caller calls what it returns at the end of the step.
func (c *Cache) stage(name string, src source) func(err *error) {
	if c.observer.Stage == nil {
		return func(*error) {}
	}
	start := time.Now()
	return func(err *error) { c.observer.Stage(src.provider, src.path, name, time.Since(start), *err) }
}

// stored returns the thumbnail for k on disk, made by the recipe of today, or else in memory; nil if there is none.
func (c *Cache) stored(ctx context.Context, k *key, hash string) *entry {
	if c.disk.Store != nil {
		if s, ok := c.disk.get(ctx, k, hash); ok {
			if e := c.entryOf(k, hash, s); e != nil {
				return e
			}
		}
	}
	return c.memory.get(k)
}

// entryOf returns the entry for a file, or nil if it was not made by the recipe of today.
func (c *Cache) entryOf(k *key, hash string, s *store.Entry) *entry {
	if s.Pipeline != pipeline || s.Quality != c.recipeQuality(k) || s.Limit != c.recipeLimit(k) || s.Cause != store.Picture {
		return nil
	}
	return &entry{key: *k, thumb: c.thumbnailOf(k, hash, s), stamp: stampOn(s), version: s.Version}
}

// recipeQuality is the quality that is part of the recipe for k.
func (c *Cache) recipeQuality(k *key) int {
	if k.format == PNG || k.none {
		return 0
	}
	return c.quality
}

// recipeLimit is likewise what an original is limited to.
func (c *Cache) recipeLimit(k *key) int {
	if k.size != 0 || k.none {
		return 0
	}
	return c.maxSize
}

func (c *Cache) thumbnailOf(k *key, hash string, s *store.Entry) *Thumbnail {
	return &Thumbnail{
		Data:        s.Data,
		ContentType: k.format.contentType(),
		ETag:        c.etag(hash, k, stampOn(s), s.Version),
		ModTime:     s.ModTime,
		Width:       s.Width,
		Height:      s.Height,
		ThumbHash:   []byte(s.ThumbHash),
	}
}

func (f Format) contentType() string {
	if f == PNG {
		return "image/png"
	}
	return "image/jpeg"
}

// etag makes the entity tag of a thumbnail. It is weak: it is known before the thumbnail is made, and another version of
// an encoder may write the same picture in other bytes. It is the same whether the source's state was asked for or not.
func (c *Cache) etag(hash string, k *key, stamp Stamp, version string) string {
	var buf [64]byte
	le := binary.LittleEndian
	b := append(buf[:0], byte(k.fit), byte(k.format), byte(c.recipeQuality(k)), pipeline)
	b = le.AppendUint32(b, uint32(k.size))
	b = le.AppendUint32(b, uint32(c.recipeLimit(k)))
	if version == "" {
		version = stamp.Version()
	}
	state := fnv.New64a()
	state.Write(b)
	io.WriteString(state, version)
	b = append(buf[:0], `W/"`...)
	b = append(b, hash[:24]...)
	b = strconv.AppendUint(append(b, '-'), state.Sum64(), 36)
	return string(append(b, '"'))
}

// failure returns the remembered failure of s, if it still stands.
func (c *Cache) failure(ctx context.Context, s source, hash string) (failure, bool) {
	if m, ok := c.memory.failure(s); ok {
		return m, c.stands(m)
	}
	if c.disk.Store == nil || c.failureTTL < 0 {
		return failure{}, false
	}
	e, ok := c.disk.get(ctx, &key{source: s, none: true}, hash)
	if !ok || e.Pipeline != pipeline {
		return failure{}, false
	}
	m := failure{stamp: stampOn(e), version: e.Version, made: e.Made, ffmpeg: e.FFmpeg}
	switch e.Cause {
	case store.NoPicture:
		m.err = fail("extract", s, ErrNoPicture)
	case store.Unsupported:
		m.err = fail("extract", s, ErrUnsupported)
	default:
		m.err = fail("extract", s, ErrCorrupt)
	}
	return m, c.stands(m)
}

// rememberFailure notes why there is no picture, in place of all sizes of the source if there is an old one.
func (c *Cache) rememberFailure(f *thumbFlight, old *entry, m failure) {
	now, src := *f, f.key.source
	if old != nil {
		now.gen = c.forget(src)
	}
	if c.failureTTL < 0 {
		return
	}
	c.toMemory(src, now.gen, func() { c.memory.fail(src, m) })
	e := entryFor(&key{source: src, none: true}, m.stamp, m.version)
	e.Cause, e.Made, e.FFmpeg = lasting(m.err), m.made, m.ffmpeg
	c.store(&now, e, false)
}

// publish keeps a new thumbnail in memory and on disk, unless its source was dropped or changed under it. That the source
// failed once is no longer true.
func (c *Cache) publish(f *thumbFlight, t *Thumbnail, x *extracted, failed bool, by *asker) {
	if !x.steady {
		return
	}
	var l *look
	if now := c.memory.look(f.key.source); now != nil && now.stamp.equal(x.stamp) {
		l = now
	}
	src := f.key.source
	if failed {
		c.toMemory(src, f.gen, func() { c.memory.forgive(src) })
	}
	if !c.passes(by) {
		c.remember(f, &entry{key: f.key, thumb: t, stamp: x.stamp, version: f.version, look: l})
	}
	e := entryFor(&f.key, x.stamp, f.version)
	e.Quality, e.Limit, e.Width, e.Height = c.recipeQuality(&f.key), c.recipeLimit(&f.key), t.Width, t.Height
	e.Made, e.Data, e.ThumbHash = time.Now(), t.Data, string(t.ThumbHash)
	c.store(f, e, failed)
}

// store writes e to disk, and takes back that its source failed once if forgive is set. A write that takes long goes on
// behind the request, and so does making room for it.
func (c *Cache) store(f *thumbFlight, e *store.Entry, forgive bool) {
	src, gen := f.key.source, f.gen
	k := f.key
	k.none = e.Key.None
	c.onDisk(thumbFlight{k, f.version, gen}, func(end context.CancelCauseFunc) {
		done := c.stage("store", src)
		var need int64
		c.toDisk(src, gen, func() {
			if forgive {
				c.disk.remove(&key{source: src, none: true})
			}
			need = c.disk.Put(e)
		})
		done(new(error)) // what went wrong is counted, and no failure of anybody's
		if need > 0 {
			end(nil)
			c.disk.MakeRoom(need)
			c.toDisk(src, gen, func() { c.disk.Put(e) })
		}
	})
}

// onDisk changes something on disk, and waits for it unless that takes long or the disk is known to hang. Where much has taken
// long already nothing is changed.
func (c *Cache) onDisk(f thumbFlight, change func(end context.CancelCauseFunc)) {
	if c.disk.Store == nil || c.stores.Len() >= maxStores {
		return
	}
	fn := func(_ context.Context, end context.CancelCauseFunc) (struct{}, error) {
		change(end)
		return struct{}{}, nil
	}
	if !c.disk.Answers() {
		c.stores.Start(f, fn)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	c.stores.Do(ctx, f, fn)
}

const (
	maxStores     = 64          // changes under way or waiting for room; what is not stored is made again, what is not removed is outdated
	storePatience = time.Second // how long a request waits for one
)

// lookBehind looks at a source behind a request that was served what was made from stamp, and has a changed one made anew.
func (c *Cache) lookBehind(f *thumbFlight, stamp Stamp) {
	if c.revalidate < 0 {
		return
	}
	src, art := f.key.source, c.folderFirst || stamp.hasArt()
	c.looks.Start(lookFlight{f.of(), art}, func(ctx context.Context, end context.CancelCauseFunc) (Stamp, error) {
		now, err := c.statNow(ctx, end, src, art, c.providers[src.provider].behind)
		switch {
		case err == nil:
			c.looked(f.of(), now)
			if !now.equal(stamp) {
				c.thumbs.Start(*f, func(ctx context.Context, end context.CancelCauseFunc) (*Thumbnail, error) {
					// The look is handed on: the one in memory may be due again by now, if Revalidate is very short.
					hash := hashOf(src)
					return c.make(ctx, f, hash, c.stored(ctx, &f.key, hash), &look{stamp: now}, c.watch(end), nil)
				})
			}
		case errors.Is(err, fs.ErrNotExist):
			c.forget(src)
		default:
			// Out of reach. What is cached stays good for a while, so that not every hit asks again.
			c.memory.looked(src, stamp, min(c.revalidate, retryLook))
		}
		return now, err
	})
}

// retryLook is how soon a source that could not be reached is looked at again.
const retryLook = 5 * time.Second

// looked remembers the present state of a source, unless it was dropped since the flight began.
func (c *Cache) looked(f sourceFlight, now Stamp) {
	c.toMemory(f.source, f.gen, func() { c.memory.looked(f.source, now, c.revalidate) })
}

// stat asks the provider for the state of a source, and of the pictures beside it if art is set, once for all who want to
// know at the same time.
func (c *Cache) stat(ctx context.Context, f sourceFlight, art bool) (Stamp, error) {
	stamp, _, err := c.looks.Do(ctx, lookFlight{f, art}, func(ctx context.Context, end context.CancelCauseFunc) (Stamp, error) {
		return c.statNow(ctx, end, f.source, art, c.providers[f.provider].calls)
	})
	if err != nil {
		err = fail("stat", f.source, err)
	}
	return stamp, err
}

// statNow runs in a flight of looks, as one of the calls that limit bounds.
func (c *Cache) statNow(ctx context.Context, end context.CancelCauseFunc, s source, art bool, limit *semaphore.Weighted) (stamp Stamp, err error) {
	defer c.stage("stat", s)(&err)
	p := c.providers[s.provider]
	if !limit.TryAcquire(1) {
		return Stamp{}, fail("stat", s, ErrBusy)
	}
	defer limit.Release(1)
	defer c.watch(end).Stop()
	if stamp, err = p.stat(ctx, s.path, art); err != nil {
		err = fail("stat", s, err)
	}
	return stamp, err
}

// picture returns the picture in a source: the one that was extracted a moment ago, or from one extraction for all sizes.
func (c *Cache) picture(ctx context.Context, f sourceFlight, groups []string) (extracted, error) {
	if k := c.memory.picture(f.source); k != nil {
		l := c.memory.look(f.source)
		if f.version != "" && isVersion(f.version, k.version, k.stamp) || f.version == "" && l != nil && l.stamp.equal(k.stamp) {
			return extracted{k.pic, k.stamp, true}, nil
		}
	}
	x, _, err := c.pictures.Do(ctx, pictureFlight{f, false}, func(ctx context.Context, end context.CancelCauseFunc) (extracted, error) {
		timer := c.watch(end)
		defer timer.Stop()
		return c.extract(c.withCaller(ctx, groups, timer), f)
	})
	if err != nil {
		err = fail("extract", f.source, err)
	}
	return x, err
}

// rescue has ffmpeg decode a picture that Go cannot, once for all sizes.
func (c *Cache) rescue(ctx context.Context, f sourceFlight, x extracted, groups []string) (extracted, error) {
	x, _, err := c.pictures.Do(ctx, pictureFlight{f, true}, func(ctx context.Context, end context.CancelCauseFunc) (y extracted, err error) {
		defer c.stage("rescue", f.source)(&err)
		timer := c.watch(end)
		defer timer.Stop()
		y = x
		if y.pic, err = x.pic.rescue(c.withCaller(ctx, groups, timer)); err == nil && y.steady {
			c.toMemory(f.source, f.gen, func() { c.memory.keep(f.source, f.version, y.stamp, y.pic) })
		}
		return y, err
	})
	if err != nil {
		err = fail("decode", f.source, err)
	}
	return x, err
}

// withCaller returns ctx for an extractor, whose processes run for groups. Timer is stopped while it waits for others.
func (c *Cache) withCaller(ctx context.Context, groups []string, timer *time.Timer) context.Context {
	return withCaller(ctx, groups, c.processes.start, func() (done func()) {
		timer.Stop()
		return func() { timer.Reset(c.timeout) }
	})
}

// extract is the flight of one extraction. The source counts as unchanged if its stamp is the same before and after.
func (c *Cache) extract(ctx context.Context, f sourceFlight) (x extracted, err error) {
	p := c.providers[f.provider]
	k := c.memory.picture(f.source)
	if f.version == "" {
		if x.stamp, err = c.stat(ctx, f, c.folderFirst || k != nil && k.stamp.hasArt()); err != nil {
			return x, err
		}
		if k != nil && k.stamp.equal(x.stamp) {
			c.looked(f, x.stamp)
			return extracted{k.pic, k.stamp, true}, nil
		}
	}
	if !p.calls.TryAcquire(1) {
		return x, fail("open", f.source, ErrBusy)
	}
	defer p.calls.Release(1)
	opened := c.stage("open", f.source)
	src, err := p.open(ctx, f.path)
	if opened(&err); err != nil {
		return x, fail("open", f.source, err)
	}
	defer src.Content.Close()
	if f.version != "" {
		x.stamp = src.Stamp
	}
	c.extractions.Add(1)
	done := c.stage("extract", f.source)
	x.pic, x.stamp, err = p.extract(ctx, c.extractor, src, f.path, x.stamp, c.folderFirst)
	done(&err)
	x.steady = true
	if f.version == "" {
		after, err := p.stat(ctx, f.path, x.stamp.hasArt())
		x.steady = err == nil && after.equal(x.stamp)
		if x.steady {
			c.looked(f, after)
		}
	}
	if err != nil {
		return x, fail("extract", f.source, err)
	}
	x.pic = x.pic.rescuedBy(c.ffmpeg)
	if x.steady {
		c.toMemory(f.source, f.gen, func() { c.memory.keep(f.source, f.version, x.stamp, x.pic) })
	}
	return x, nil
}

// render makes the thumbnail, within DecodeBytes. Timer is stopped while it waits for others.
func (c *Cache) render(ctx context.Context, f *thumbFlight, hash string, x *extracted, timer *time.Timer) (t *Thumbnail, err error) {
	k := &f.key
	defer c.stage("render", k.source)(&err)
	o := render.Options{Size: k.size, MaxEdge: c.maxSize, Cover: k.fit == Cover, PNG: k.format == PNG, Quality: c.quality, Orientation: x.pic.orientation}
	cost, err := render.Cost(x.pic.Data, o)
	if err == nil && cost > c.decodeBytes {
		err = fmt.Errorf("%w: decoding takes %d MiB", ErrTooLarge, cost>>20)
	}
	if err == nil {
		timer.Stop()
		err = c.decoding.Acquire(ctx, cost)
		timer.Reset(c.timeout)
	}
	if err != nil {
		return nil, fail("decode", k.source, renderError(err))
	}
	defer c.decoding.Release(cost)
	img, err := render.Make(ctx, x.pic.Data, o)
	if err != nil {
		return nil, fail("decode", k.source, renderError(err))
	}
	return &Thumbnail{
		Data:        img.Data,
		ContentType: img.ContentType,
		ETag:        c.etag(hash, k, x.stamp, f.version),
		ModTime:     x.stamp.ModTime,
		Width:       img.Width,
		Height:      img.Height,
		ThumbHash:   img.ThumbHash,
	}, nil
}

func renderError(err error) error {
	switch {
	case errors.Is(err, render.ErrUnsupported):
		return ErrUnsupported
	case errors.Is(err, render.ErrTooLarge):
		return ErrTooLarge
	case errors.Is(err, render.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

package thumbcache

import (
	"bytes"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// The defaults of Config.MemoryEntries and Config.MemoryBytes.
const (
	defaultMemoryEntries = 50
	defaultMemoryBytes   = 32 << 20
)

// Limits of what memory holds besides thumbnails.
const (
	maxLooks          = 1 << 14          // sources, some 200 bytes each; a source beyond them is checked again
	maxFailures       = 1 << 12          // sources, some 200 bytes each; others are read from disk
	maxFailuresNoDisk = 1 << 17          // without a Dir: a library of 100,000 songs without covers costs as many extractions only once
	maxTwins          = 1 << 13          // pictures and sizes, some 300 bytes each; others are rendered again for each source
	maxRejected       = 1 << 10          // sources with a broken picture; others are tried again for each size
	maxRecentPictures = 32               // sources whose next size needs no extraction
	maxRecentBytes    = 32 << 20         // of those pictures
	recentFor         = 20 * time.Second // how long they are kept; later sizes rarely come, so longer would waste memory
	maxSlots          = 1 << 16          // pointers of 8 bytes; beyond 16,384 entries some hits need the lock
)

// A source is one piece of media.
type source struct{ provider, path string }

// A shape is what is made of a picture. It is small, because every hit in memory compares one.
type shape struct {
	// Of Pad, detail is a background. Of Cover, it is the focus: hundredths from the left and, in the next byte, from the top. Of
	// Contain, it is the limit in bytes, or 0.
	detail uint32
	size   uint16 // the longest edge, or the width of a box; 0: the original's size
	height uint16 // of a box; 0: size is the longest edge
	fit    Fit
	format Format
}

// focus returns the focus of Cover in hundredths; 0 is the center.
func (s *shape) focus() (x, y uint8) {
	if s.fit != Cover {
		return 0, 0
	}
	return uint8(s.detail), uint8(s.detail >> 8)
}

// background returns the background of Pad.
func (s *shape) background() background {
	if s.fit != Pad {
		return 0
	}
	return background(s.detail)
}

// maxBytes returns the limit of the thumbnail, or 0. Only Contain has one.
func (s *shape) maxBytes() uint32 {
	if s.fit != Contain {
		return 0
	}
	return s.detail
}

// edge returns how many pixels the longest edge of the picture needs, or 0 if it needs as many as there are. Cover needs an
// unknown number: it cuts off a part of the longer edge.
func (s *shape) edge() int {
	if s.fit == Cover {
		return 0
	}
	return int(max(s.size, s.height))
}

// A key identifies one thumbnail, or with none set the remembered failure of a source.
type key struct {
	source
	shape
	none bool
}

// A sourceFlight identifies work on one state of a source. The generation keeps a Get that starts after Invalidate from
// joining work that began before.
type sourceFlight struct {
	source
	version string // as in Request
	gen     uint64
}

// A lookID identifies what was seen of a source. A version is part of it only for ids whose target was found for that version; it
// holds for one generation.
type lookID sourceFlight

func (f sourceFlight) look() lookID {
	if f.version == "" {
		return lookID{source: f.source}
	}
	return lookID(f)
}

// generations order publishing against Invalidate. Invalidate begins the next generation of a source before it removes the
// source from a tier under that tier's lock. Work publishes to a tier under the same lock, and only if the generation is still the
// one in which it began. Invalidate goes from the last tier to the first, because work reads a tier and publishes to those before
// it. Sources share the generations by hash, so Invalidate of one source sometimes makes the work of another go unpublished; it
// is then made again.
type generations struct {
	seed    maphash.Seed
	stripes [numStripes]stripe
}

const numStripes = 256

type stripe struct {
	gen atomic.Uint64
	// The disk tier has locks of its own: if a disk hangs, only changes of the sources that share a stripe wait for it.
	disk sync.Mutex
}

func (g *generations) stripe(s source) *stripe {
	return &g.stripes[g.index(s)]
}

func (g *generations) index(s source) uint64 {
	return maphash.Comparable(g.seed, s) % uint64(len(g.stripes))
}

func (g *generations) of(s source) uint64 { return g.stripe(s).gen.Load() }

// next begins the next generation of s.
func (g *generations) next(s source) uint64 { return g.stripe(s).gen.Add(1) }

// isCurrent reports whether the generation of f is still the one of its source.
func (g *generations) isCurrent(f sourceFlight) bool { return g.of(f.source) == f.gen }

// made says which state of its source something was made from.
type made struct {
	stamp   Stamp
	version string // of the request, if it had one; then stamp is only what the source said when it was opened
}

// isVersion reports whether version is that of m, or if m has none, that of its stamp.
func (m *made) isVersion(version string) bool {
	return version == m.version || m.version == "" && version == m.stamp.Version()
}

// A standing says whether something may still be served.
type standing uint8

const (
	outdated  standing = iota // its source is known to be in another state
	unchecked                 // its source was not checked lately
	current                   // its source is known to be in the state that it was made from
)

// compare decides all of freshness: whether what was made from m may be served to a request for version, which is empty if
// the request has none. last is the state of the source, or nil if it was not checked lately.
func compare(m *made, version string, last *Stamp) standing {
	switch {
	case version != "" && m.isVersion(version):
		return current
	case version != "":
		return outdated
	case last == nil:
		return unchecked
	case last.equal(m.stamp):
		return current
	}
	return outdated
}

// An entry is one thumbnail, in memory or read from disk.
type entry struct {
	made
	key     key
	thumb   *Thumbnail
	picture string // the digest of the picture that it was made of
	look    *look  // the last look at the source, in the state that the thumbnail was made from; nil: none yet
}

// fresh is compare for the hot path: it compares no stamps, because the look is due as soon as the source is seen in another
// state.
func (e *entry) fresh(version string) bool {
	if version != "" {
		return e.isVersion(version)
	}
	return e.look != nil && !e.look.due.Load()
}

// A look is what the provider last said about a source. A timer sets due after Config.Revalidate, because reading a clock
// would double the price of a hit in memory.
type look struct {
	stamp   Stamp
	unknown bool // the source was never reached, so there is no stamp
	due     atomic.Bool
	timer   *time.Timer // nil: never due
}

func (l *look) stop() {
	l.due.Store(true)
	if l.timer != nil {
		l.timer.Stop()
	}
}

// A failure is a remembered "no picture", "unsupported" or "corrupt".
type failure struct {
	made
	err    error
	at     time.Time
	ffmpeg string // the ffmpeg that the failure depends on; "" if it depends on none
}

// A recentPicture was just extracted. Other sizes of it need no extraction.
type recentPicture struct {
	made
	pic   *Picture
	timer *time.Timer
}

// memory is the first tier. It holds thumbnails, bounded in number and bytes, and what is known about sources: the last look,
// the last failure, and the picture if it was extracted a moment ago. All of that is lost least recently used first. It may
// be used from several goroutines at once.
type memory struct {
	maxEntries  int   // negative: no thumbnails are kept
	maxBytes    int64 // of thumbnails; math.MaxInt64: no limit
	generations *generations

	seed maphash.Seed
	// slots lets a hit find its entry without the lock. An entry is in at most one slot, that of its hash. A slot is written
	// only under mu, and never holds an entry that is not in thumbs.
	slots  []atomic.Pointer[entry]
	newest atomic.Pointer[entry] // the most recently used entry, or one that was removed

	mu          sync.Mutex // protects the fields below
	thumbs      *simplelru.LRU[key, *entry]
	bytes       int64         // of thumbs; equal pictures count once
	room        int64         // maxBytes, or less while memory is short
	short       bool          // memory is short, so that pictures are not kept
	sharers     map[*byte]int // entries that share the same bytes
	twins       *simplelru.LRU[twinID, key]
	prepared    *simplelru.LRU[twinID, rendered]
	trusted     map[string]*look // by provider: of sources that are never checked
	looks       *simplelru.LRU[lookID, *look]
	failures    *simplelru.LRU[source, *failure]
	rejects     *simplelru.LRU[source, rejection]
	pictures    *simplelru.LRU[source, *recentPicture]
	recentBytes int64               // of pictures
	samples     map[sample]*Picture // the pictures by a part of their bytes
}

// newMemory returns an empty memory tier.
func newMemory(maxEntries int, maxBytes int64, maxFailures int, g *generations) *memory {
	maxBytes = withoutLimit(maxBytes)
	m := &memory{maxEntries: maxEntries, maxBytes: maxBytes, room: maxBytes, generations: g, seed: maphash.MakeSeed(), trusted: make(map[string]*look)}
	if maxEntries > 0 {
		m.slots = make([]atomic.Pointer[entry], 1<<bits.Len(uint(2*min(maxEntries, maxSlots/4))))
	}
	// NewLRU fails only for a size below 1.
	m.thumbs, _ = simplelru.NewLRU(max(maxEntries, 1), func(k key, e *entry) {
		m.slot(&k).CompareAndSwap(e, nil)
		m.shareLocked(e.thumb.Data, -1)
	})
	m.sharers = make(map[*byte]int)
	m.twins, _ = simplelru.NewLRU[twinID, key](maxTwins, nil)
	m.prepared, _ = simplelru.NewLRU[twinID, rendered](maxPrepared, nil)
	m.looks, _ = simplelru.NewLRU(maxLooks, func(_ lookID, l *look) { l.stop() })
	m.failures, _ = simplelru.NewLRU[source, *failure](maxFailures, nil)
	m.rejects, _ = simplelru.NewLRU[source, rejection](maxRejected, nil)
	m.pictures, _ = simplelru.NewLRU(maxRecentPictures, func(_ source, p *recentPicture) {
		p.timer.Stop()
		m.recentBytes -= int64(len(p.pic.Data))
		if s := sampleOf(p.pic.Data); m.samples[s] == p.pic {
			delete(m.samples, s)
		}
	})
	m.samples = make(map[sample]*Picture)
	return m
}

// get returns the entry for k, or nil.
func (m *memory) get(k *key) *entry {
	if m.slots == nil {
		return nil
	}
	slot := m.slot(k)
	if e := slot.Load(); e != nil && e.key == *k {
		// Concurrent hits must not queue up for the lock only to record that the entry was used.
		if m.newest.Load() != e && m.mu.TryLock() {
			m.useLocked(k)
			m.mu.Unlock()
		}
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.useLocked(k)
	if e != nil {
		slot.Store(e)
	}
	return e
}

// useLocked returns the entry for k, or nil, and makes it the most recently used one.
func (m *memory) useLocked(k *key) *entry {
	e, ok := m.thumbs.Get(*k)
	if ok {
		m.newest.Store(e)
	}
	return e
}

// slot returns the slot for k. Sizes of one source are neighbours: hashing more than the path would cost more than it saves.
func (m *memory) slot(k *key) *atomic.Pointer[entry] {
	h := maphash.String(m.seed, k.path) + uint64(k.size) + uint64(k.height)
	return &m.slots[h&uint64(len(m.slots)-1)]
}

// put stores e, from work that began in generation gen, and evicts other entries until the limits hold. The entry is fresh if
// the last look saw the source in the state that e was made from.
func (m *memory) put(gen uint64, e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.slots == nil || m.generations.of(e.key.source) != gen {
		return
	}
	m.thumbs.Remove(e.key)
	if int64(len(e.thumb.Data)) > m.room {
		return
	}
	m.shareLocked(e.thumb.Data, 1)
	for m.thumbs.Len() > 0 && (m.thumbs.Len() >= m.maxEntries || m.bytes > m.room) {
		m.thumbs.RemoveOldest()
	}
	e.look = m.trusted[e.key.provider]
	if l, ok := m.looks.Get(lookID{source: e.key.source}); ok && !l.unknown {
		e.look = nil
		if l.stamp.equal(e.stamp) {
			e.look = l
		}
	}
	m.thumbs.Add(e.key, &e)
	m.newest.Store(&e)
}

// shareLocked adds n to the number of entries that share data, and counts its bytes while there are any.
func (m *memory) shareLocked(data []byte, n int) {
	if len(data) == 0 {
		return
	}
	before := m.sharers[&data[0]]
	switch after := before + n; {
	case after == 0:
		delete(m.sharers, &data[0])
		m.bytes -= int64(len(data))
	default:
		m.sharers[&data[0]] = after
		if before == 0 {
			m.bytes += int64(len(data))
		}
	}
}

// shrink drops most of what m holds if memory is short: all but a quarter of the thumbnails, and all pictures. Until it is called
// with false, m holds no more thumbnails than that, and no pictures.
func (m *memory) shrink(short bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.short, m.room = short, m.maxBytes; !short {
		return
	}
	limit := m.maxBytes
	if limit == math.MaxInt64 {
		limit = max(m.bytes, defaultMemoryBytes)
	}
	m.room = limit / 4
	for m.bytes > m.room {
		m.thumbs.RemoveOldest()
	}
	m.newest.Store(nil) // it may be one that was removed
	m.pictures.Purge()
	m.prepared.Purge()
}

// maxPrepared and maxPreparedBytes limit the thumbnails that are made before they are asked for, and the length of each.
const (
	maxPrepared      = 64
	maxPreparedBytes = 128 << 10
)

// putPrepared keeps a thumbnail that was made together with another size, until takePrepared takes it.
func (m *memory) putPrepared(id twinID, img rendered) {
	if len(img.Data) > maxPreparedBytes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.short {
		m.prepared.Add(id, img)
	}
}

func (m *memory) takePrepared(id twinID) (rendered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	img, ok := m.prepared.Peek(id)
	m.prepared.Remove(id)
	return img, ok
}

// hasTwin reports whether a thumbnail of the picture was made before.
func (m *memory) hasTwin(id twinID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.prepared.Contains(id) || m.twins.Contains(id)
}

// putTwin records where a thumbnail of a picture is stored, in memory or on disk.
func (m *memory) putTwin(e *entry) {
	if e.picture == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.twins.Add(e.twin(), e.key)
}

// twinOf returns the key of a thumbnail of the same picture. The thumbnail may have been removed or replaced since.
func (m *memory) twinOf(id twinID) (key, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.twins.Get(id)
}

// remove begins the next generation of s and removes everything about s, in one step: what was read before is not put back after.
func (m *memory) remove(s source) (gen uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gen = m.generations.next(s)
	for _, k := range m.thumbs.Keys() {
		if k.source == s {
			m.thumbs.Remove(k)
		}
	}
	m.looks.Remove(lookID{source: s})
	m.failures.Remove(s)
	m.rejects.Remove(s)
	m.pictures.Remove(s)
	return gen
}

// recordLook records that the provider has just said stamp about the source of f. The look becomes due after trust, or never if
// trust is negative. Entries that were made from another stamp are no longer fresh.
func (m *memory) recordLook(f sourceFlight, stamp Stamp, trust time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recordLookLocked(f, stamp, false, trust)
}

// postponeLook records that the source of f cannot be reached: it is not due for a check until wait has passed. What the last look
// saw, if there was one, still counts.
func (m *memory) postponeLook(f sourceFlight, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := look{unknown: true}
	if l, ok := m.looks.Peek(f.look()); ok {
		next.stamp, next.unknown = l.stamp, l.unknown
	}
	m.recordLookLocked(f, next.stamp, next.unknown, wait)
}

func (m *memory) recordLookLocked(f sourceFlight, stamp Stamp, unknown bool, trust time.Duration) {
	if !m.generations.isCurrent(f) {
		return
	}
	l, ok := m.looks.Get(f.look())
	if ok && l.unknown == unknown && l.stamp.equal(stamp) {
		if l.timer != nil {
			l.timer.Reset(trust)
		}
		l.due.Store(false)
		return
	}
	m.looks.Remove(f.look()) // which stops it
	l = &look{stamp: stamp, unknown: unknown}
	if trust >= 0 {
		l.timer = time.AfterFunc(trust, func() { l.due.Store(true) })
	}
	m.looks.Add(f.look(), l)
}

// expireLook makes the source s due for a check, unless the last look saw it in the state that version names, or is never due.
func (m *memory) expireLook(s source, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, ok := m.looks.Peek(lookID{source: s}); ok && l.timer != nil && (l.unknown || l.stamp.Version() != version) {
		l.due.Store(true)
	}
}

// expireLooks makes all sources due for a check, except those whose looks are never due.
func (m *memory) expireLooks() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.looks.Values() {
		if l.timer != nil {
			l.due.Store(true)
		}
	}
}

// lastLook returns the state of s if the last look at it is not due, or nil.
func (m *memory) lastLook(s source) *Stamp {
	if stamp, due := m.seen(sourceFlight{source: s}); !due {
		return stamp
	}
	return nil
}

// seen returns what the last look of f saw, or nil, and whether the next look is due.
func (m *memory) seen(f sourceFlight) (stamp *Stamp, due bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, ok := m.looks.Get(f.look()); ok && !l.unknown {
		return &l.stamp, l.due.Load()
	}
	return nil, false
}

// isPostponed reports whether s is not due for a check, although its state is not known.
func (m *memory) isPostponed(s source) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.looks.Get(lookID{source: s})
	return ok && l.unknown && !l.due.Load()
}

func (m *memory) putFailure(f sourceFlight, failed *failure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generations.isCurrent(f) {
		m.failures.Add(f.source, failed)
	}
}

func (m *memory) removeFailure(f sourceFlight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generations.isCurrent(f) {
		m.failures.Remove(f.source)
	}
}

// failure returns the remembered failure of s, or nil.
func (m *memory) failure(s source) *failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, _ := m.failures.Get(s)
	return f
}

// A rejection lists pictures of a source that cannot be decoded.
type rejection struct {
	stamp   Stamp
	digests []string
}

// reject records which pictures of a source in the state of stamp cannot be decoded, so that its other sizes do not try them
// again.
func (m *memory) reject(f sourceFlight, stamp Stamp, digests []string) {
	if len(digests) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generations.isCurrent(f) {
		m.rejects.Add(f.source, rejection{stamp, digests})
	}
}

// rejected returns the digests of the pictures of s that cannot be decoded, unless last says that s has changed since.
func (m *memory) rejected(s source, last *Stamp) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, _ := m.rejects.Get(s)
	if last != nil && !last.equal(r.stamp) {
		return nil
	}
	return r.digests
}

// putPicture keeps an extracted picture for a short while.
func (m *memory) putPicture(f sourceFlight, stamp Stamp, pic *Picture) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := int64(len(pic.Data))
	if size > maxRecentBytes || m.short || !m.generations.isCurrent(f) {
		return
	}
	m.pictures.Remove(f.source)
	p := &recentPicture{made: made{stamp, f.version}, pic: pic}
	p.timer = time.AfterFunc(recentFor, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if now, ok := m.pictures.Peek(f.source); ok && now == p {
			m.pictures.Remove(f.source)
		}
	})
	m.pictures.Add(f.source, p)
	m.samples[sampleOf(pic.Data)] = pic
	for m.recentBytes += size; m.recentBytes > maxRecentBytes; {
		m.pictures.RemoveOldest()
	}
}

// A sample is a part of a picture in which it usually differs from others.
type sample struct {
	length   int
	mid, end [16]byte
}

func sampleOf(data []byte) (s sample) {
	s.length = len(data)
	copy(s.mid[:], data[len(data)/2:])
	copy(s.end[:], data[max(0, len(data)-len(s.end)):])
	return s
}

// equalPicture returns a picture equal to p that was extracted a moment ago, or nil. Comparing is much faster than computing a
// digest.
func (m *memory) equalPicture(p *Picture) *Picture {
	m.mu.Lock()
	q := m.samples[sampleOf(p.Data)]
	m.mu.Unlock()
	if q == nil || q.sum == "" || q.orientation != p.orientation || !bytes.Equal(q.Data, p.Data) {
		return nil
	}
	return q
}

// picture returns the picture of s if it was extracted a moment ago, or nil.
func (m *memory) picture(s source) *recentPicture {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, _ := m.pictures.Get(s)
	return p
}

// size returns the number of thumbnails and the sum of their lengths in bytes.
func (m *memory) size() (entries, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(m.thumbs.Len()), m.bytes
}

// close stops all timers and removes everything.
func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.thumbs.Purge()
	m.twins.Purge()
	m.prepared.Purge()
	m.looks.Purge()
	m.failures.Purge()
	m.rejects.Purge()
	m.pictures.Purge()
}

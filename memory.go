package thumbcache

import (
	"container/list"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Bounds of what memory keeps besides thumbnails. A failure is some 200 bytes; without a folder, memory is the only place
// that can spare a library of 100,000 songs without art 100,000 extractions.
const (
	maxLooks             = 1 << 14
	maxFailures          = 1 << 12
	maxFailuresNoDisk    = 1 << 17
	maxKeptPictures      = 32
	maxKeptBytes         = 32 << 20
	keepPicture          = 20 * time.Second
	maxSlots             = 1 << 16
	defaultMemoryEntries = 50
)

// memory is the first tier: thumbnails by key, least recently used first out, bounded in entries and bytes. It also holds
// what is known about sources: when they were last looked at, why they failed, and the pictures extracted a moment ago.
// It may be used from several goroutines.
type memory struct {
	maxEntries int   // negative: no thumbnails are kept
	maxBytes   int64 // negative: no limit

	seed maphash.Seed
	// slots lets a hit find its entry without the lock: an entry is in at most one slot, that of its hash. A slot is
	// written only under mu, and never holds an entry that is not in entries.
	slots  []atomic.Pointer[entry]
	newest atomic.Pointer[entry] // the front of order, or one that was removed

	mu       sync.Mutex // protects the fields below
	entries  map[key]*entry
	order    *list.List // of *entry, most recently used first
	bytes    int64
	looks    *simplelru.LRU[source, *look]
	failures *simplelru.LRU[source, failure]
	pictures *simplelru.LRU[source, *kept]
	kept     int64 // bytes in pictures
}

// An entry is one thumbnail, in memory or fresh from disk.
type entry struct {
	key     key
	thumb   *Thumbnail
	stamp   Stamp
	version string // the request's, if it had one; then the stamp is only what the source said when it was opened
	look    *look  // nil: not looked at since it was made, or trusted by its version
	elem    *list.Element
}

// fresh reports whether e may be served for version without another thought.
func (e *entry) fresh(version string) bool {
	if version != "" {
		return isVersion(version, e.version, e.stamp)
	}
	return e.look != nil && !e.look.due.Load()
}

// isVersion reports whether version is that of what was made for a request with the version made, or with none from stamp.
func isVersion(version, made string, stamp Stamp) bool {
	return version == made || made == "" && version == stamp.Version()
}

// A look is what the provider last said about a source. A timer sets due when it is too long ago, so that no hit has to
// read a clock, which would cost as much as the hit.
type look struct {
	stamp Stamp
	due   atomic.Bool
	timer *time.Timer // nil: trusted for ever
}

func (l *look) stop() {
	l.due.Store(true)
	if l.timer != nil {
		l.timer.Stop()
	}
}

// A failure is a remembered "no picture", "unsupported" or "corrupt".
type failure struct {
	err     error
	stamp   Stamp
	version string
	made    time.Time
	ffmpeg  string // the one that was there, if the failure depends on it
}

// kept is a picture that was just extracted. The next size of it needs no extraction.
type kept struct {
	pic     *Picture
	stamp   Stamp
	version string
	timer   *time.Timer
}

func newMemory(maxEntries int, maxBytes int64, maxFailures int) *memory {
	m := &memory{
		maxEntries: maxEntries,
		maxBytes:   maxBytes,
		seed:       maphash.MakeSeed(),
		entries:    make(map[key]*entry),
		order:      list.New(),
	}
	if maxEntries > 0 {
		m.slots = make([]atomic.Pointer[entry], 1<<bits.Len(uint(2*min(maxEntries, maxSlots/4))))
	}
	// NewLRU fails only for a size below 1.
	m.looks, _ = simplelru.NewLRU(maxLooks, func(_ source, l *look) { l.stop() })
	m.failures, _ = simplelru.NewLRU[source, failure](maxFailures, nil)
	m.pictures, _ = simplelru.NewLRU(maxKeptPictures, func(_ source, k *kept) {
		k.timer.Stop()
		m.kept -= int64(len(k.pic.Data))
	})
	return m
}

// get returns the entry for k, or nil.
func (m *memory) get(k *key) *entry {
	if m.slots == nil {
		return nil
	}
	slot := m.slot(k)
	if e := slot.Load(); e != nil && e.key == *k {
		// Recency is worth the lock only if it changes and nobody else has it: a storm must not queue up here.
		if m.newest.Load() != e && m.mu.TryLock() {
			if e.elem != nil {
				m.usedLocked(e)
			}
			m.mu.Unlock()
		}
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[*k]
	if e != nil {
		m.usedLocked(e)
		slot.Store(e)
	}
	return e
}

func (m *memory) usedLocked(e *entry) {
	m.order.MoveToFront(e.elem)
	m.newest.Store(e)
}

// slot returns the place of k. Sizes of one source lie in a row: hashing more than the path would cost more than it buys.
func (m *memory) slot(k *key) *atomic.Pointer[entry] {
	h := maphash.String(m.seed, k.path) + uint64(k.size)
	return &m.slots[h&uint64(len(m.slots)-1)]
}

// put keeps e, in place of what was kept for its key, and forgets the least recently used until the bounds hold.
func (m *memory) put(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removeLocked(m.entries[e.key])
	size := int64(len(e.thumb.Data))
	if m.slots == nil || m.maxBytes >= 0 && size > m.maxBytes {
		return
	}
	for len(m.entries) >= m.maxEntries || m.maxBytes >= 0 && m.bytes+size > m.maxBytes {
		m.removeLocked(m.order.Back().Value.(*entry))
	}
	e.elem = m.order.PushFront(e)
	m.newest.Store(e)
	m.entries[e.key] = e
	m.bytes += size
}

func (m *memory) removeLocked(e *entry) {
	if e == nil {
		return
	}
	delete(m.entries, e.key)
	m.order.Remove(e.elem)
	e.elem = nil
	m.bytes -= int64(len(e.thumb.Data))
	m.slot(&e.key).CompareAndSwap(e, nil)
}

// drop forgets all of a source, its failure and its last look too.
func (m *memory) drop(s source) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.entries {
		if k.source == s {
			m.removeLocked(e)
		}
	}
	m.looks.Remove(s)
	m.failures.Remove(s)
	m.pictures.Remove(s)
}

// looked remembers that the provider has just said stamp about s. Entries that were made from another stamp are fresh no
// longer: their look is due.
func (m *memory) looked(s source, stamp Stamp, trust time.Duration) *look {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.looks.Get(s)
	if ok && l.stamp.equal(stamp) {
		if l.timer != nil {
			l.timer.Reset(trust)
		}
		l.due.Store(false)
		return l
	}
	if ok {
		m.looks.Remove(s) // stops it
	}
	l = &look{stamp: stamp}
	if trust >= 0 {
		l.timer = time.AfterFunc(trust, func() { l.due.Store(true) })
	}
	m.looks.Add(s, l)
	return l
}

// look returns the last look at s if it is not due, else nil.
func (m *memory) look(s source) *look {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, ok := m.looks.Get(s); ok && !l.due.Load() {
		return l
	}
	return nil
}

func (m *memory) fail(s source, f failure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures.Add(s, f)
}

func (m *memory) forgive(s source) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures.Remove(s)
}

func (m *memory) failure(s source) (failure, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failures.Get(s)
}

// keep holds on to a picture for a short while.
func (m *memory) keep(s source, version string, stamp Stamp, pic *Picture) {
	size := int64(len(pic.Data))
	if size > maxKeptBytes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pictures.Remove(s)
	k := &kept{pic: pic, stamp: stamp, version: version}
	k.timer = time.AfterFunc(keepPicture, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if now, ok := m.pictures.Peek(s); ok && now == k {
			m.pictures.Remove(s)
		}
	})
	m.pictures.Add(s, k)
	for m.kept += size; m.kept > maxKeptBytes; {
		m.pictures.RemoveOldest()
	}
}

// picture returns the kept picture of s, or nil.
func (m *memory) picture(s source) *kept {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, _ := m.pictures.Get(s)
	return k
}

func (m *memory) size() (entries, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.entries)), m.bytes
}

// close stops all timers and forgets everything.
func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		m.removeLocked(e)
	}
	m.looks.Purge()
	m.failures.Purge()
	m.pictures.Purge()
}

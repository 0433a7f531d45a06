package thumbcache

import (
	"fmt"
	"image/color"
	"testing"
	"testing/synctest"
	"time"
)

// MemoryEntries and MemoryBytes hold. The least recently used thumbnail is evicted first.
func TestMemoryBounds(t *testing.T) {
	p := newTestProvider()
	for i := range 100 {
		p.set(fmt.Sprint(i), tag("1"), plain(40, 40+i%2, color.NRGBA{uint8(i), 100, 100, 255})) // equal pictures would share their bytes
	}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, MemoryEntries: 3})
	for i := range 100 {
		mustGet(t, c, "p", fmt.Sprint(i), 10)
	}
	if st := c.Stats(); st.MemoryEntries != 3 {
		t.Errorf("%d entries", st.MemoryEntries)
	}
	mustGet(t, c, "p", "97", 10) // the most recently used one now
	mustGet(t, c, "p", "1", 10)
	hits := c.Stats().MemoryHits
	mustGet(t, c, "p", "97", 10)
	if got := c.Stats().MemoryHits; got != hits+1 {
		t.Error("the most recently used thumbnail was evicted")
	}
	mustGet(t, c, "p", "98", 10)
	if got := c.Stats().MemoryHits; got != hits+1 {
		t.Error("the least recently used thumbnail was kept")
	}

	size := int64(len(mustGet(t, c, "p", "1", 10).Data))
	c = mustNew(t, Config{Providers: map[string]Provider{"p": p}, MemoryBytes: 5*size + size/2})
	for i := range 100 {
		mustGet(t, c, "p", fmt.Sprint(i), 10)
	}
	if st := c.Stats(); st.MemoryBytes > 5*size+size/2 || st.MemoryEntries != 5 {
		t.Errorf("%d bytes in %d entries", st.MemoryBytes, st.MemoryEntries)
	}

	c = mustNew(t, Config{Providers: map[string]Provider{"p": p}, MemoryBytes: size - 1})
	mustGet(t, c, "p", "1", 10)
	if st := c.Stats(); st.MemoryEntries != 0 || st.MemoryBytes != 0 {
		t.Errorf("a thumbnail larger than MemoryBytes is kept: %+v", st)
	}
}

// TestCompare is the table of freshness: whether a thumbnail or a failure may be served, to a request with and without a version,
// after the last look at the source.
func TestCompare(t *testing.T) {
	one, two := Stamp{Size: 1, Tag: "1"}, Stamp{Size: 1, Tag: "2"}
	seen := func(s Stamp) *Stamp { return &s }
	for _, tt := range []struct {
		name    string
		made    made
		version string
		last    *Stamp
		want    standing
	}{
		{"not checked lately", made{stamp: one}, "", nil, unchecked},
		{"made for a version, and not checked lately", made{one, "v"}, "", nil, unchecked},
		{"checked", made{stamp: one}, "", seen(one), current},
		{"changed", made{stamp: one}, "", seen(two), outdated},
		{"made for a version, and checked", made{one, "v"}, "", seen(one), current},
		{"made for a version, and changed since", made{one, "v"}, "", seen(two), outdated},
		{"made for the version", made{one, "v"}, "v", nil, current},
		{"made for the version, whatever a look says", made{one, "v"}, "v", seen(two), current},
		{"made for another version, whatever a look says", made{one, "v"}, "w", seen(one), outdated},
		{"the version is that of the stamp", made{stamp: one}, one.Version(), nil, current},
		{"the version is that of another stamp", made{stamp: one}, two.Version(), nil, outdated},
		{"a version names what was made for it, and not its stamp", made{one, "v"}, one.Version(), nil, outdated},
		{"the zero stamp has no version", made{}, "v", nil, outdated},
	} {
		if got := compare(&tt.made, tt.version, tt.last); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// A thumbnail that was made for a version does not become fresh by a look that saw its source in another state.
func TestVersionAndLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestProvider()
		p.set("a", tag("1"), plain(30, 30, red))
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), MemoryEntries: 1})
		if _, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Version: "v"}); err != nil {
			t.Fatal(err)
		}
		p.set("a", tag("2"), plain(30, 30, blue))
		checkColor(t, mustGet(t, c, "p", "a", 20), blue) // checks the source
		thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: "a", Size: 10, Version: "v"})
		if err != nil {
			t.Fatal(err)
		}
		checkColor(t, thumb, red)
		checkColor(t, mustGet(t, c, "p", "a", 10), blue)
	})
}

// Work that began before Invalidate publishes nothing to memory.
func TestGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g generations
		m := newMemory(5, -1, 10, &g)
		defer m.close()
		s := source{"p", "a"}
		f := sourceFlight{source: s, gen: g.of(s)}
		e := entry{made: made{stamp: tag("1")}, key: key{source: s, shape: shape{size: 10}}, thumb: &Thumbnail{Data: []byte("picture")}}
		publish := func(f sourceFlight) {
			m.recordLook(f, e.stamp, time.Minute)
			m.put(f.gen, e)
			m.putFailure(f, &failure{err: ErrCorrupt})
			m.putPicture(f, e.stamp, &Picture{Data: []byte("picture")})
		}
		check := func(when string, want bool) {
			t.Helper()
			entries, bytes := m.size()
			for what, got := range map[string]bool{
				"thumbnail": m.get(&e.key) != nil, "its bytes": bytes == 7 && entries == 1, "look": m.lastLook(s) != nil,
				"failure": m.failure(s) != nil, "picture": m.picture(s) != nil,
			} {
				if got != want {
					t.Errorf("%s: %s: %v", when, what, got)
				}
			}
		}
		publish(f)
		check("published", true)
		if e := m.get(&e.key); e == nil || !e.fresh("") {
			t.Error("not fresh although its source was just checked")
		}
		g.next(s)
		m.remove(s)
		check("invalidated", false)
		publish(f)
		check("published by work of the previous generation", false)
		m.removeFailure(f)
		f.gen = g.of(s)
		publish(f)
		check("published again", true)
		m.removeFailure(f)
		if m.failure(s) != nil {
			t.Error("the failure is still there")
		}
		time.Sleep(2 * time.Minute)
		if m.picture(s) != nil || m.lastLook(s) != nil || m.get(&e.key).fresh("") {
			t.Error("the picture is still kept, or the look is not due")
		}
	})
}

// Recent pictures are limited by their number and by the sum of their lengths.
func TestRecentPictures(t *testing.T) {
	var g generations
	m := newMemory(5, -1, 10, &g)
	defer m.close()
	put := func(path string, size int) source {
		s := source{"p", path}
		m.putPicture(sourceFlight{source: s}, tag("1"), &Picture{Data: make([]byte, size)})
		return s
	}
	first, second := put("first", maxRecentBytes/2), put("second", maxRecentBytes/2)
	if m.picture(second) == nil || m.picture(first) == nil {
		t.Error("not kept, although the sum is within the limit")
	}
	third := put("third", 1)
	if m.picture(second) != nil || m.picture(first) == nil || m.picture(third) == nil {
		t.Error("beyond the limit, the least recently used picture must go")
	}
	if large := put("large", maxRecentBytes+1); m.picture(large) != nil || m.picture(third) == nil {
		t.Error("a picture beyond the limit by itself must not be kept, or evict others")
	}
	for i := range 2 * maxRecentPictures {
		put(fmt.Sprint(i), 1)
	}
	if n := m.pictures.Len(); n != maxRecentPictures || m.recentBytes != maxRecentPictures {
		t.Errorf("%d pictures of %d bytes, want %d of 1 byte each", n, m.recentBytes, maxRecentPictures)
	}
}

// With a negative Revalidate, messages of other machines leave hits in memory as fast as they were.
func TestNeverDue(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(40, 40, color.NRGBA{100, 100, 100, 255}))
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Revalidate: -1})
	mustGet(t, c, "p", "a", 10)
	k := key{source: source{"p", "a"}, shape: shape{size: 10}}
	c.memory.recordLook(sourceFlight{source: k.source}, tag("1"), -1)
	mustGet(t, c, "p", "a", 10)
	c.memory.expireLook(k.source, "another state")
	c.memory.expireLooks()
	if e := c.memory.get(&k); e == nil || !e.fresh("") {
		t.Error("the thumbnail is not fresh any more")
	}
}

// Without a limit of bytes, some thumbnails are kept even if memory is short from the start.
func TestShortWithoutLimit(t *testing.T) {
	c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(1)}, MemoryBytes: -1})
	c.memory.shrink(true)
	for range 2 {
		mustGet(t, c, "p", "0", 20)
	}
	if st := c.Stats(); st.MemoryHits != 1 {
		t.Errorf("stats: %+v", st)
	}
}

package thumbcache

import (
	"bytes"
	"context"
	"fmt"
	"image/color"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache/internal/flight"
)

// forbidRendering makes every picture too large to be rendered, so that only shared thumbnails can be served.
func forbidRendering(c *Cache) { c.decodeBytes = 1 }

// Sources with equal pictures share one rendering, and its bytes in memory.
func TestEqualPictures(t *testing.T) {
	const songs = 12
	p := newTestProvider()
	song := func(i int) string { return fmt.Sprintf("%d.flac", i) }
	for i := range songs + 1 {
		p.set(song(i), tag(fmt.Sprint(i)), flacWith(plain(60, 60, red)))
	}
	cfg := Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Extractor: CoverArt()}
	c := mustNew(t, cfg)
	first := mustGet(t, c, "p", song(0), 20)
	forbidRendering(c)
	tags := map[string]bool{first.ETag: true}
	for i := 1; i < songs; i++ {
		thumb := mustGet(t, c, "p", song(i), 20)
		if &thumb.Data[0] != &first.Data[0] || !bytes.Equal(thumb.ThumbHash, first.ThumbHash) || thumb.Width != first.Width {
			t.Errorf("song %d has a thumbnail of its own", i)
		}
		tags[thumb.ETag] = true
	}
	if len(tags) != songs {
		t.Errorf("%d ETags", len(tags))
	}
	if got := c.Stats(); got.MemoryEntries != songs || got.MemoryBytes != int64(len(first.Data)) {
		t.Errorf("%d entries with %d bytes in memory, want %d and %d", got.MemoryEntries, got.MemoryBytes, songs, len(first.Data))
	}
	if n := len(filesIn(t, cfg.Dir)); n != songs {
		t.Errorf("%d files, want one for each song", n)
	}
	if _, err := c.Get(t.Context(), "p", song(0), 21); HTTPStatus(err) != 413 {
		t.Errorf("another size: %v", err)
	}
	c.Close()

	// The stored files tell which pictures they were made of.
	c = mustNew(t, cfg)
	forbidRendering(c)
	mustGet(t, c, "p", song(3), 20)
	mustGet(t, c, "p", song(songs), 20)
	if err := c.Invalidate("p", song(3)); err != nil {
		t.Fatal(err)
	}
	mustGet(t, c, "p", song(3), 20)
}

// What is recorded about equal pictures is checked: it may be outdated, or mixed up.
func TestUnequalPictures(t *testing.T) {
	p := newTestProvider()
	p.set("red", tag("1"), plain(60, 60, red))
	p.set("blue", tag("1"), plain(60, 60, blue))
	for _, entries := range []int{0, -1} { // in memory, and on disk only
		c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), MemoryEntries: entries})
		checkColor(t, mustGet(t, c, "p", "red", 20), red)
		digest := (&Picture{Data: plain(60, 60, blue)}).digest()
		c.memory.mu.Lock()
		c.memory.twins.Add(twinID{digest, shape{size: 20}}, key{source: source{"p", "red"}, shape: shape{size: 20}})
		c.memory.mu.Unlock()
		checkColor(t, mustGet(t, c, "p", "blue", 20), blue)
		c.Close()
	}
}

// Sources change their pictures while others have the same ones. Each version has its own picture.
func TestEqualPicturesRace(t *testing.T) {
	colors := []color.NRGBA{red, blue, green}
	pictures := [][]byte{plain(40, 40, red), plain(40, 40, blue), plain(40, 40, green)}
	p := newTestProvider()
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), MemoryEntries: 6})
	var wg sync.WaitGroup
	for s := range 4 {
		wg.Go(func() {
			path := fmt.Sprint(s)
			for i := range 60 {
				n := (i*7 + s*5) % len(colors)
				p.set(path, tag(fmt.Sprint(i)), pictures[n])
				if i%9 == 0 {
					c.Invalidate("p", path)
				}
				var sizes sync.WaitGroup
				for _, size := range []int{10, 20} {
					sizes.Go(func() {
						thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: path, Size: size, Version: fmt.Sprint(i)})
						if err != nil {
							t.Error(err)
							return
						}
						checkColor(t, thumb, colors[n])
					})
				}
				sizes.Wait()
			}
		})
	}
	wg.Wait()
}

// countingFiles counts how often each file is opened.
type countingFiles struct {
	Provider
	Lister
	covers *atomic.Int32
}

func (f countingFiles) Open(ctx context.Context, path string) (*Source, error) {
	if filepath.Base(path) == "cover.png" {
		f.covers.Add(1)
	}
	return f.Provider.Open(ctx, path)
}

// The picture of a folder is opened once for all songs in it.
func TestFolderArtOpenedOnce(t *testing.T) {
	files := map[string][]byte{"cover.png": plain(60, 60, red)}
	for i := range 12 {
		files[fmt.Sprintf("%d.flac", i)] = flacWith()
	}
	root := writeFiles(t, files)
	inner := Files(root)
	var covers atomic.Int32
	c := mustNew(t, Config{Providers: map[string]Provider{"p": countingFiles{inner, inner.(Lister), &covers}}, Extractor: CoverArt()})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() { checkColor(t, mustGet(t, c, "p", fmt.Sprintf("%d.flac", i), 20), red) })
	}
	wg.Wait()
	if n := covers.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
	if err := os.WriteFile(filepath.Join(root, "cover.png"), plain(70, 70, blue), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Invalidate("p", "0.flac")
	checkColor(t, mustGet(t, c, "p", "0.flac", 20), blue)
}

// Warm makes all sizes of a source from one decoding.
func TestWarmSizesTogether(t *testing.T) {
	p := newTestProvider()
	p.set("a", tag("1"), plain(80, 60, red))
	var c *Cache
	var stored atomic.Int32
	c = mustNew(t, Config{
		Providers: map[string]Provider{"p": p}, Dir: t.TempDir(), Sizes: []int{10, 20, 40},
		Observer: &Observer{Stage: func(_, _, stage string, _ time.Duration, _ error) {
			if stage == "store" && stored.Add(1) == 1 {
				forbidRendering(c)
			}
		}},
	})
	got, err := c.Warm(t.Context(), "p", slices.Values([]string{"a"}), 10, 15, 20, 35, 40)
	if want := (Warmed{Extracted: 1}); got != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if n := c.Stats().Misses; n != 3 {
		t.Errorf("%d thumbnails made", n)
	}
	for _, size := range []int{10, 20, 40} {
		thumb, ok := c.Peek(t.Context(), Request{Provider: "p", Path: "a", Size: size})
		if !ok || thumb.Width != size {
			t.Errorf("size %d: %v", size, thumb)
		}
	}
}

// Sizes that are wanted at the same time are made together, unless they need more memory than there is or more pixels than the
// picture has.
func TestWantedSizes(t *testing.T) {
	c := mustNew(t, Config{Providers: map[string]Provider{"p": newTestProvider()}})
	k := func(size int) *key { return &key{source: source{"p", "a"}, shape: shape{size: uint16(size)}} }
	done := c.wanted.add(k(20), []int{0, 40, 20})
	small := c.wanted.add(k(10), nil)
	if got := c.wanted.of(k(10)); !slices.Equal(got, []int{0, 40, 20, 10}) {
		t.Errorf("wanted: %v", got)
	}
	pic := &Picture{Data: plain(80, 60, red)}
	sizes := func(own int) []int {
		t.Helper()
		var images map[int]rendered
		_, _, err := c.renders.Do(t.Context(), twinID{}, func(w *flight.Work) (_ map[int]rendered, err error) {
			images, err = c.renderSizes(w, twinID{fmt.Sprint(own), shape{size: uint16(own)}}, c.wanted.of(k(own)), pic)
			return images, err
		})
		if err != nil {
			t.Fatal(err)
		}
		for size, img := range images {
			if img.Width != size && (size != 0 || img.Width != 80) {
				t.Errorf("size %d has %d pixels", size, img.Width)
			}
		}
		return slices.Sorted(maps.Keys(images))
	}
	if got := sizes(10); !slices.Equal(got, []int{0, 10, 20, 40}) {
		t.Errorf("made %v", got)
	}
	pic.edge = 20
	if got := sizes(20); !slices.Equal(got, []int{10, 20}) {
		t.Errorf("of a reduced picture: made %v", got)
	}
	done()
	if got := c.wanted.of(k(10)); !slices.Equal(got, []int{10}) {
		t.Errorf("still wanted: %v", got)
	}
	if small(); len(c.wanted.keys) != 0 {
		t.Errorf("left: %v", c.wanted.keys)
	}
}

// Concurrent requests for several sizes of several sources with equal pictures have their own sizes.
func TestSizesAtOnce(t *testing.T) {
	p := newTestProvider()
	for i := range 6 {
		p.set(fmt.Sprint(i), tag("1"), plain(90, 60, red))
	}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Workers: 8, MemoryEntries: 100})
	var wg sync.WaitGroup
	for i := range 6 {
		for _, size := range []int{0, 9, 30, 60} {
			for _, fit := range []Fit{Contain, Cover} {
				wg.Go(func() {
					thumb, err := c.Do(t.Context(), Request{Provider: "p", Path: fmt.Sprint(i), Size: size, Fit: fit})
					want := map[Fit]map[int]int{Contain: {0: 90, 9: 9, 30: 30, 60: 60}, Cover: {0: 60, 9: 9, 30: 30, 60: 60}}[fit][size]
					if err != nil || thumb.Width != want {
						t.Errorf("%d of %d, fit %d: %+v, %v", size, i, fit, thumb, err)
					}
				})
			}
		}
	}
	wg.Wait()
}

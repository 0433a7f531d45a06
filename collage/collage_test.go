package collage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io/fs"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thumbcache/thumbcache"
	"github.com/thumbcache/thumbcache/collage"
	"github.com/thumbcache/thumbcache/thumbcachetest"
)

// tones are colors that a JPEG keeps apart.
var tones = []color.NRGBA{
	{200, 30, 30, 255}, {30, 180, 30, 255}, {30, 30, 200, 255}, {200, 200, 30, 255}, {30, 200, 200, 255},
	{200, 30, 200, 255}, {20, 20, 20, 255}, {130, 130, 130, 255}, {240, 140, 40, 255}, {250, 250, 250, 255},
}

// A shelf is a cache of collages over a cache of pictures.
type shelf struct {
	*thumbcache.Cache
	covers *thumbcache.Cache
	media  *thumbcachetest.Provider

	mu    sync.Mutex
	lists map[string][]string // the paths of the members; a list that is missing does not exist
}

// newShelf returns a shelf whose media "0" to "9" has the colors of tones, and whose caches have one worker each.
func newShelf(t *testing.T, o collage.Options) *shelf {
	t.Helper()
	s := &shelf{media: &thumbcachetest.Provider{}, lists: make(map[string][]string)}
	for i, c := range tones {
		s.media.Set(strconv.Itoa(i), thumbcachetest.Picture(64, 64, c))
	}
	s.open(t, s.media, o)
	return s
}

// open opens the caches of s for media in media.
func (s *shelf) open(t *testing.T, media thumbcache.Provider, o collage.Options) {
	t.Helper()
	if o.Size == 0 {
		o.Size = 120 // less work for the race detector
	}
	var err error
	s.covers, err = thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"m": media}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.covers.Close() })
	p, err := collage.New(s.covers, s.members, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Cache, err = thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"lists": p}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
}

func (s *shelf) set(id string, paths ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[id] = paths
}

func (s *shelf) members(_ context.Context, id string) (members []thumbcache.Target, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths, ok := s.lists[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	for _, p := range paths {
		members = append(members, thumbcache.Target{Provider: "m", Path: p})
	}
	return members, nil
}

// colorsOf returns the tones of a picture at points, which are in hundredths of its edges. The tone of any other color is -1.
func colorsOf(t *testing.T, data []byte, points ...image.Point) (found []int) {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		at := img.Bounds().Size()
		at = image.Pt(at.X*p.X/100, at.Y*p.Y/100)
		found = append(found, toneOf(img.At(at.X, at.Y)))
	}
	return found
}

func toneOf(c color.Color) int {
	r, g, b, _ := c.RGBA()
	for i, tone := range tones {
		if abs(int(r>>8)-int(tone.R)) < 8 && abs(int(g>>8)-int(tone.G)) < 8 && abs(int(b>>8)-int(tone.B)) < 8 {
			return i
		}
	}
	return -1
}

func abs(n int) int { return max(n, -n) }

// grid returns the middles of side * side squares.
func grid(side int) (points []image.Point) {
	for i := range side * side {
		points = append(points, image.Pt((2*(i%side)+1)*50/side, (2*(i/side)+1)*50/side))
	}
	return points
}

// check fails the test unless the collage of id has the tones wanted in the squares of a grid of the given side.
func (s *shelf) check(t *testing.T, id string, side int, want ...int) *thumbcache.Thumbnail {
	t.Helper()
	thumb, err := s.Get(t.Context(), "lists", id, 100)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	if got := colorsOf(t, thumb.Data, grid(side)...); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: tones %v, want %v", id, got, want)
	}
	return thumb
}

func TestPicturesAndPlaces(t *testing.T) {
	for _, test := range []struct {
		tiles   int
		members []string
		side    int
		want    []int
	}{
		{4, []string{"3"}, 2, []int{3, 3, 3, 3}},
		{4, []string{"3", "3", "3"}, 2, []int{3, 3, 3, 3}},
		{4, []string{"0", "1"}, 2, []int{0, 1, 0, 1}},
		{9, []string{"0", "1", "2"}, 2, []int{0, 1, 0, 2}},
		{4, []string{"9", "0", "5", "2", "1"}, 2, []int{9, 0, 5, 2}},
		{4, []string{"9", "9", "5", "9", "5", "gone", "1", "5", "2", "6"}, 2, []int{9, 5, 1, 2}},
		{9, []string{"0", "1", "2", "3", "4", "5", "6", "7"}, 2, []int{0, 1, 2, 3}},
		{9, []string{"8", "1", "2", "3", "1", "4", "5", "6", "7", "0", "9"}, 3, []int{8, 1, 2, 3, 4, 5, 6, 7, 0}},
	} {
		s := newShelf(t, collage.Options{Tiles: test.tiles, Size: 101})
		s.set("l", test.members...)
		thumb := s.check(t, "l", test.side, test.want...)
		if edge := thumb.Width; thumb.Height != edge || len(test.members) > 1 && test.members[0] != test.members[1] && edge != 100 {
			t.Errorf("%v: %d x %d", test.members, thumb.Width, thumb.Height)
		}
	}
}

func TestSinglePictureIsWhole(t *testing.T) {
	s := newShelf(t, collage.Options{})
	s.media.Set("wide", thumbcachetest.Picture(400, 100, tones[0]))
	s.set("l", "wide", "wide")
	thumb := s.check(t, "l", 1, 0)
	if thumb.Width != 100 || thumb.Height != 25 {
		t.Errorf("%d x %d", thumb.Width, thumb.Height)
	}
}

func TestNoPictures(t *testing.T) {
	s := newShelf(t, collage.Options{})
	s.media.Set("text", []byte("no picture"))
	s.set("empty")
	s.set("gone", "x", "y")
	s.set("text", "x", "text")
	for id, want := range map[string]error{
		"empty": thumbcache.ErrNoMedia, "gone": thumbcache.ErrNoPicture, "missing": fs.ErrNotExist,
	} {
		_, err := s.Get(t.Context(), "lists", id, 100)
		if e, ok := errors.AsType[*thumbcache.Error](err); !errors.Is(err, want) || !ok || e.Path != id {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	// The list is not remembered to be empty.
	s.set("empty", "1")
	if err := s.Invalidate("lists", "empty"); err != nil {
		t.Fatal(err)
	}
	s.check(t, "empty", 1, 1)

	// Without ffmpeg, whether the text has a picture is not known. That is no reason to keep no collage.
	tool := &thumbcachetest.Extractor{Find: func(name string) ([]byte, error) {
		if name == "text" {
			return nil, fmt.Errorf("ffmpeg: %w", exec.ErrNotFound)
		}
		return thumbcachetest.Picture(64, 64, tones[2]), nil
	}}
	covers, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"m": s.media}, Extractor: tool})
	if err != nil {
		t.Fatal(err)
	}
	defer covers.Close()
	p, err := collage.New(covers, s.members, collage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(t.Context(), "text"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("text: %v", err)
	}
	s.set("text", "text", "1")
	if src, err := p.Open(t.Context(), "text"); err != nil || src.Partial {
		t.Errorf("text: %v", err)
	}
}

// TestChangedMember checks that a collage is made again when one of its pictures or its list has changed, and only then.
func TestChangedMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, collage.Options{})
		s.set("l", "0", "1", "2", "3", "4")
		first := s.check(t, "l", 2, 0, 1, 2, 3)
		// ask lets enough time pass for both caches to notice a change, and for the collage to be made again.
		ask := func() {
			t.Helper()
			for range 4 {
				time.Sleep(61 * time.Second)
				if _, err := s.Get(t.Context(), "lists", "l", 100); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		ask()
		if n := s.Stats().Extractions; n != 1 {
			t.Errorf("%d extractions without a change", n)
		}
		s.media.Set("4", thumbcachetest.Picture(64, 64, tones[9])) // which is not shown
		ask()
		if n := s.Stats().Extractions; n != 1 {
			t.Errorf("%d extractions after a change of what is not shown", n)
		}
		s.media.Set("1", thumbcachetest.Picture(64, 64, tones[8]))
		ask()
		if second := s.check(t, "l", 2, 0, 8, 2, 3); second.ETag == first.ETag {
			t.Error("the collage has changed, but not its ETag")
		}
		s.set("l", "3", "2", "1", "0")
		ask()
		s.check(t, "l", 2, 3, 2, 8, 0)
		s.media.Remove("1")
		ask()
		s.check(t, "l", 2, 3, 2, 3, 0)
		s.set("l", "3", "2")
		ask()
		s.check(t, "l", 2, 3, 2, 3, 2)
		s.set("l")
		ask2 := func() error {
			time.Sleep(61 * time.Second)
			_, err := s.Get(t.Context(), "lists", "l", 100)
			synctest.Wait()
			return err
		}
		ask2()
		if err := ask2(); !errors.Is(err, thumbcache.ErrNoMedia) {
			t.Errorf("an empty list: %v", err)
		}
	})
}

// flaky is a provider whose path "bad" fails or hangs.
type flaky struct {
	*thumbcachetest.Provider

	mu   sync.Mutex
	fail error         // nil: it works
	hang time.Duration // before each call
}

func (f *flaky) set(fail error, hang time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.hang = fail, hang
}

func (f *flaky) await(ctx context.Context, path string) error {
	f.mu.Lock()
	fail, hang := f.fail, f.hang
	f.mu.Unlock()
	if path != "bad" {
		return nil
	}
	select {
	case <-time.After(hang):
		return fail
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *flaky) Stat(ctx context.Context, path string) (thumbcache.Stamp, error) {
	if err := f.await(ctx, path); err != nil {
		return thumbcache.Stamp{}, err
	}
	return f.Provider.Stat(ctx, path)
}

func (f *flaky) Open(ctx context.Context, path string) (*thumbcache.Source, error) {
	if err := f.await(ctx, path); err != nil {
		return nil, err
	}
	return f.Provider.Open(ctx, path)
}

// TestUnreachableMember checks that a collage without a member that cannot be reached is served and not kept.
func TestUnreachableMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media := &flaky{Provider: &thumbcachetest.Provider{}}
		for i, c := range tones {
			media.Set(strconv.Itoa(i), thumbcachetest.Picture(64, 64, c))
		}
		media.Set("bad", thumbcachetest.Picture(64, 64, tones[9]))
		s := &shelf{lists: make(map[string][]string)}
		s.open(t, media, collage.Options{})
		s.set("l", "0", "bad", "1")
		s.set("bad", "bad")

		offline := errors.New("offline")
		media.set(offline, 0)
		partial := s.check(t, "l", 2, 0, 1, 0, 1)
		s.check(t, "l", 2, 0, 1, 0, 1)
		if n := s.Stats().Extractions; n != 2 {
			t.Errorf("%d extractions, want one for each request", n)
		}
		_, err := s.Get(t.Context(), "lists", "bad", 100)
		if e, ok := errors.AsType[*thumbcache.Error](err); !errors.Is(err, offline) || !ok || e.Provider != "lists" {
			t.Errorf("nothing but a member that cannot be reached: %v", err)
		}
		if _, err := s.Do(t.Context(), thumbcache.Request{Provider: "lists", Path: "l", Version: "1"}); err == nil {
			t.Error("a request with a Version, whose answer is kept for ever, got a part of the pictures")
		}

		media.set(nil, time.Hour)
		start := time.Now()
		s.check(t, "l", 2, 0, 1, 0, 1)
		if took := time.Since(start); took < 8*time.Second || took > 25*time.Second {
			t.Errorf("a member that hangs held up the collage for %v", took)
		}

		media.set(nil, 0)
		full := s.check(t, "l", 2, 0, 9, 0, 1)
		if full.ETag == partial.ETag {
			t.Error("the whole collage has the ETag of a part")
		}
		if _, err := s.Do(t.Context(), thumbcache.Request{Provider: "lists", Path: "l", Version: "1"}); err != nil {
			t.Error(err)
		}
		s.check(t, "bad", 1, 9)
		before := s.Stats()
		s.check(t, "l", 2, 0, 9, 0, 1)
		if after := s.Stats(); after.MemoryHits != before.MemoryHits+1 {
			t.Error("the whole collage was not kept")
		}
	})
}

// TestOneWorker checks that collages and their pictures do not wait for each other when there is one worker for each.
func TestOneWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, collage.Options{Tiles: 9})
		var wg sync.WaitGroup
		for n := range 30 {
			id := strconv.Itoa(n)
			var paths []string
			for i := range 10 {
				paths = append(paths, strconv.Itoa((n+i)%len(tones)))
			}
			s.set(id, paths...)
			wg.Go(func() {
				if _, err := s.Get(t.Context(), "lists", id, 50+n); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			})
			wg.Go(func() { // requests for the pictures themselves
				if _, err := s.covers.Get(t.Context(), "m", strconv.Itoa(n%len(tones)), 50+n); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if s := s.Stats(); s.Misses != 30 || s.Failures != 0 {
			t.Errorf("%d collages were made, %d failed", s.Misses, s.Failures)
		}
	})
}

func TestManyMembers(t *testing.T) {
	s := newShelf(t, collage.Options{Tiles: 9})
	var paths []string
	for i := range 1000 {
		path := "album/" + strconv.Itoa(i)
		s.media.Set(path, thumbcachetest.Picture(64, 64, tones[0]))
		paths = append(paths, path)
	}
	s.set("l", paths...)
	s.check(t, "l", 1, 0)
	// Stat and Open look at 64 each, because the 50 thumbnails in memory are not enough. One is opened in a larger size.
	if _, opens := s.media.Calls(); opens > 2*64+1 {
		t.Errorf("%d members were opened", opens)
	}
}

func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media := &flaky{Provider: &thumbcachetest.Provider{}, hang: time.Hour}
		s := &shelf{lists: make(map[string][]string)}
		s.open(t, media, collage.Options{})
		s.set("l", "bad")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := s.Get(ctx, "lists", "l", 100); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		synctest.Wait()
		if n := s.Stats().InFlight + s.covers.Stats().InFlight; n != 0 || time.Since(start) > time.Second {
			t.Errorf("%d thumbnails are still being made after %v", n, time.Since(start))
		}
	})
}

// TestSharedDir checks that both caches can have the same Dir, and that the pictures of a collage are made once.
func TestSharedDir(t *testing.T) {
	media := &thumbcachetest.Provider{}
	var members []thumbcache.Target
	for i := range 4 {
		media.Set(strconv.Itoa(i), thumbcachetest.Picture(64, 64, tones[i]))
		members = append(members, thumbcache.Target{Provider: "m", Path: strconv.Itoa(i)})
	}
	list := func(context.Context, string) ([]thumbcache.Target, error) { return members, nil }
	dir := t.TempDir()
	for run := range 2 {
		covers, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"m": media}, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		p, err := collage.New(covers, list, collage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{"m": media, "lists": p}, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range []thumbcache.Request{{Provider: "lists", Path: "l"}, {Provider: "m", Path: "0", Size: 300, Fit: thumbcache.Cover}} {
			if _, err := cache.Do(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		if n, m := covers.Stats().Misses, cache.Stats().Misses; n != uint64(4*(1-run)) || m != uint64(1-run) {
			t.Errorf("run %d: %d pictures and %d collages were made", run, n, m)
		}
		cache.Close()
		covers.Close()
	}
}

func TestOptions(t *testing.T) {
	cache := thumbcachetest.New(t, "m", &thumbcachetest.Provider{})
	list := func(context.Context, string) ([]thumbcache.Target, error) { return nil, nil }
	for _, o := range []collage.Options{{Tiles: 5}, {Tiles: -1}, {Size: 15}, {Size: 2049}, {Size: -1}} {
		if _, err := collage.New(cache, list, o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	if _, err := collage.New(nil, list, collage.Options{}); err == nil {
		t.Error("a nil cache: no error")
	}
	if _, err := collage.New(cache, nil, collage.Options{}); err == nil {
		t.Error("nil members: no error")
	}
}

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(nodeEnv); config != "" {
		if err := runNode(config); err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}

// full reports whether tests run in full.
func full() bool { return os.Getenv("THUMBCACHE_FULL") != "" }

// run runs a soak, and skips the test if this system does not allow mounts.
func run(t *testing.T, o options) *report {
	t.Helper()
	dir := t.TempDir()
	r, err := soak(o, dir)
	if errors.Is(err, errMount) && os.Getenv("THUMBCACHE_REQUIRE_FUSE") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// short are the options of a run that takes seconds.
var short = options{duration: 8 * time.Second, seed: 1, clients: 100, songs: 5000, think: 2 * time.Second, cold: 500}

// No answer is wrong, and nothing is left.
func TestSoak(t *testing.T) {
	o := short
	if full() {
		o = options{duration: time.Minute, seed: 1, clients: 1000, songs: 100_000, think: 20 * time.Second, cold: 10_000, clocks: true}
	}
	var out strings.Builder
	if !run(t, o).print(&out) {
		t.Error("a promise was broken")
	}
	t.Log(out.String())
}

// The same with one processor and little memory.
func TestSoakSmall(t *testing.T) {
	o := short
	if full() {
		o = options{duration: 30 * time.Second, seed: 2, clients: 1000, songs: 100_000, think: 20 * time.Second, cold: 1000}
	}
	o.small = true
	var out strings.Builder
	if !run(t, o).print(&out) {
		t.Error("a promise was broken")
	}
	t.Log(out.String())
}

// A cache that gives wrong answers is caught.
func TestLies(t *testing.T) {
	for lie := range liars {
		if !full() && lie != "swapped" {
			continue
		}
		t.Run(lie, func(t *testing.T) {
			o := short
			o.lie, o.cold, o.alone = lie, 0, true
			if lie == "stale" {
				o.duration = 25 * time.Second
			}
			if r := run(t, o); len(r.broken) == 0 {
				t.Error("nothing was noticed")
			}
		})
	}
}

// All formats, sizes and fits show the label of the picture in all kinds of files.
func TestLabels(t *testing.T) {
	l := &library{seed: 5, songs: 300, albums: 30}
	dir := t.TempDir()
	cache, err := thumbcache.New(thumbcache.Config{Providers: map[string]thumbcache.Provider{provider: thumbcache.Files(dir)}})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	objects := []object{l.folderPicture(7)}
	for o := range object(len(extensions)) {
		objects = append(objects, o)
	}
	for _, o := range objects {
		for _, content := range []content{whole, none, broken} {
			if content == none && !l.isSong(o) {
				continue
			}
			s := state{rev: uint32(content), cover: 1000 + uint16(o), content: content}
			path := l.path(o, s)
			head := l.head(o, s)
			file := filepath.Join(dir, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, head, 0o644), os.Truncate(file, l.fileSize(o, s, len(head)))); err != nil {
				t.Fatal(err)
			}
			if err := cache.Invalidate(provider, path); err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{rowSize, listSize, bigSize} {
				for format := range thumbcache.WebP + 1 {
					for _, fit := range []thumbcache.Fit{thumbcache.Contain, thumbcache.Cover} {
						thumb, err := cache.Do(t.Context(), thumbcache.Request{Provider: provider, Path: path, Size: size, Format: format, Fit: fit})
						if content != whole {
							if !isVerdict(err) || content == none && !errors.Is(err, thumbcache.ErrNoPicture) {
								t.Errorf("%s, %v: %v", path, s, err)
							}
							continue
						}
						if err != nil {
							t.Fatal(err)
						}
						if shown, edge, err := l.readLabel(thumb.Data); err != nil || edge != size || shown != l.label(o, s) {
							t.Errorf("%s, size %d, format %d: %v with edge %d, %v", path, size, format, shown, edge, err)
						}
					}
				}
			}
		}
	}
}

// Paths and numbers lead back to what they were made from.
func TestNames(t *testing.T) {
	l := &library{seed: 1, songs: 100_000, albums: 9000}
	for o := range object(l.objects()) {
		s := state{rev: uint32(o), cover: uint16(o), content: content(o % 3), gone: o%2 == 0}
		if l.isSong(o) {
			s.moves = uint16(o % maxMoves)
			first, end := l.songsOf(l.album(o))
			if o < first || o >= end {
				t.Fatalf("song %d of album %d, whose songs are from %d to %d", o, l.album(o), first, end)
			}
		}
		if got := unpack(s.pack()); got != s {
			t.Fatalf("%+v became %+v", s, got)
		}
		if got, moves, ok := l.parse(l.path(o, s)); got != o || moves != s.moves || !ok {
			t.Fatalf("object %d, %+v is %q, which is object %d with %d moves", o, s, l.path(o, s), got, moves)
		}
		s.gone, s.moves = false, 0
		if got, gotState := fileOf(nodeOf(o, s)); got != o || gotState != s {
			t.Fatalf("object %d, %+v became %d, %+v", o, s, got, gotState)
		}
	}
	for _, path := range []string{"", "x", "0001/99.0.mp3", "0001/00.x.mp3", "9000/00.0.mp3", "films/16.mp4", "films/x.mp4"} {
		if o, _, ok := l.parse(path); ok {
			t.Errorf("%q is object %d", path, o)
		}
	}
	p := l.popularity(1)
	albums := make(map[int]bool)
	for rank := range l.albums {
		albums[p.album(rank)] = true
	}
	if len(albums) != l.albums {
		t.Errorf("%d albums have a rank", len(albums))
	}
}

// A histogram is exact to a 16th.
func TestHistogram(t *testing.T) {
	h := make(histogram)
	for i := range 100_000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0, 0.5, 0.99, 0.999, 1} {
		want := time.Duration(q*100_000) * time.Microsecond
		if got := h.quantile(q); got < want || got > want+want/15+time.Microsecond {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

// seconds is a time in the tests below.
func seconds(n float64) int64 { return 1_000_000_000_000 + int64(n*1e9) }

// newTestChecker returns a checker for a song that got a new picture after 100 seconds, was removed after 200, and came back with
// another name after 300. The share did not answer from 400 to 410.
func newTestChecker(t *testing.T) (*checker, object) {
	t.Helper()
	l := &library{seed: 3, songs: 1000, albums: 90}
	h, err := createHistory(filepath.Join(t.TempDir(), "history"), l.objects())
	if err != nil {
		t.Fatal(err)
	}
	o := object(0)
	for l.first(o).content != whole || !l.first(l.folderPicture(l.album(o))).gone {
		o++
	}
	for _, c := range []struct {
		at float64
		state
	}{{100, state{rev: 1, cover: 1}}, {200, state{rev: 2, cover: 1, gone: true}}, {300, state{rev: 3, cover: 1, moves: 1}}} {
		h.add(int(o), change{seconds(c.at), c.pack()})
	}
	h.add(l.objects(), change{seconds(400), uint64(frozen)})
	h.add(l.objects(), change{seconds(410), 0})
	c := newChecker(l, h, clock{}, 5*time.Second)
	return c, o
}

// The check accepts what a cache may answer, and nothing else.
func TestCheck(t *testing.T) {
	c, o := newTestChecker(t)
	states := []state{{}, {rev: 1, cover: 1}, {rev: 2, cover: 1, gone: true}, {rev: 3, cover: 1, moves: 1}}
	picture := func(o object, s state) *thumbcache.Thumbnail {
		return &thumbcache.Thumbnail{Data: c.cover(c.label(o, s)), ContentType: "image/jpeg", ModTime: c.modTime(o, s), Width: coverEdge, Height: coverEdge}
	}
	other := picture(o+50, state{})
	wrongTime := picture(o, states[1])
	wrongTime.ModTime = time.Unix(1, 0)
	mixed := picture(o, states[1])
	mixed.Data = slices.Clone(mixed.Data[:len(mixed.Data)/2])
	for _, test := range []struct {
		name       string
		moves      uint16
		start, end float64
		lowest     float64 // of a check; 0: none
		thumb      *thumbcache.Thumbnail
		err        error
		ended      bool
		right      bool
	}{
		{name: "the first picture", start: 50, end: 51, thumb: picture(o, states[0]), right: true},
		{name: "the next picture too early", start: 50, end: 51, thumb: picture(o, states[1])},
		{name: "an old picture that was never checked", start: 150, end: 151, thumb: picture(o, states[0]), right: true},
		{name: "an old picture after a check", start: 150, end: 151, lowest: 140, thumb: picture(o, states[0])},
		{name: "the present picture after a check", start: 150, end: 151, lowest: 140, thumb: picture(o, states[1]), right: true},
		{name: "an old picture that was present at the time of a check", start: 103, end: 103, lowest: 98, thumb: picture(o, states[0]), right: true},
		{name: "the picture of another album", start: 150, end: 151, thumb: other},
		{name: "a wrong time", start: 150, end: 151, thumb: wrongTime},
		{name: "half a picture", start: 150, end: 151, thumb: mixed},
		{name: "a picture of a removed song", start: 250, end: 251, lowest: 240, thumb: picture(o, states[1])},
		{name: "no file", start: 250, end: 251, lowest: 240, err: fs.ErrNotExist, right: true},
		{name: "no file although there is one", start: 150, end: 151, err: fs.ErrNotExist},
		{name: "no file after a rename", start: 350, end: 351, lowest: 340, err: fs.ErrNotExist, right: true},
		{name: "the new name", moves: 1, start: 350, end: 351, lowest: 340, thumb: picture(o, states[3]), right: true},
		{name: "the new name before the rename", moves: 1, start: 250, end: 251, thumb: picture(o, states[3])},
		{name: "no picture although there is one", start: 150, end: 151, err: thumbcache.ErrNoPicture},
		{name: "busy without a reason", start: 150, end: 151, err: thumbcache.ErrBusy},
		{name: "busy while the share does not answer", start: 402, end: 405, err: thumbcache.ErrBusy, right: true},
		{name: "a deadline without a reason", start: 150, end: 160, err: context.DeadlineExceeded},
		{name: "the caller's own deadline", start: 150, end: 160, err: context.DeadlineExceeded, ended: true, right: true},
		{name: "a deadline while the share does not answer", start: 402, end: 407, err: context.DeadlineExceeded, right: true},
		{name: "an old picture while the share does not answer", moves: 0, start: 402, end: 407, lowest: 390, thumb: picture(o, states[1]), right: true},
		{name: "an error of the system without a reason", start: 150, end: 151, err: errors.New("input/output error")},
		{name: "an error of the system while the share does not answer", start: 402, end: 407, err: errors.New("input/output error"), right: true},
	} {
		q := &question{Request: thumbcache.Request{Provider: provider, Path: c.path(o, state{moves: test.moves}), Size: coverEdge}, o: o, moves: test.moves, lowest: 0}
		if test.lowest != 0 {
			q.checked = seconds(test.lowest)
		}
		a := &answer{thumb: test.thumb, err: test.err, ended: test.ended, start: seconds(test.start), end: seconds(test.end)}
		if err := c.check(q, a); (err == nil) != test.right {
			t.Errorf("%s: %v\n%s", test.name, err, c.describe(q, a, errors.New("")))
		}
	}
}

// A request makes later ones be answered from its own time or later, unless a check failed. So does Invalidate.
func TestLowest(t *testing.T) {
	c, o := newTestChecker(t)
	at := func(n float64) { c.clock = clock{time.Now(), seconds(n)} }
	q := func() *question {
		return &question{Request: thumbcache.Request{Provider: provider, Path: c.path(o, state{}), Size: coverEdge}, o: o}
	}
	lowest := func(n float64) string {
		at(n)
		question := q()
		c.prepare(question)
		lowest := max(question.lowest, question.checked)
		if lowest < 0 {
			return "none"
		}
		return fmt.Sprintf("%.0f", float64(lowest-seconds(0))/1e9)
	}
	expect := func(n float64, want string) {
		t.Helper()
		if got := lowest(n); got != want {
			t.Errorf("at %v the answer must be from %s or later, want %s", n, got, want)
		}
	}
	expect(10, "none")
	at(11)
	c.note(q(), &answer{start: seconds(10), end: seconds(11)})
	expect(12, "none")
	expect(15, "4")
	at(21)
	c.note(q(), &answer{start: seconds(20), end: seconds(21)})
	c.failed[o].Store(seconds(22))
	expect(30, "4")
	at(41)
	c.busy.Store(seconds(30))
	c.note(q(), &answer{start: seconds(40), end: seconds(41)})
	expect(50, "34")
	at(61)
	c.note(q(), &answer{start: seconds(60), end: seconds(61)})
	c.busy.Store(seconds(62))
	expect(70, "34")
	c.noteInvalidated(o, 0, seconds(45))
	expect(50, "45")
	c.noteInvalidated(o, 1, seconds(46)) // of another name
	expect(50, "34")
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Other programs find files by their names, so the names must not change.
func TestNames(t *testing.T) {
	hash := Hash("music", "Artist/01.flac")
	if want := "635b6b8b1d3a65c82a3b8144387f47b264fe9ba2c150dbf69b94aea9b5e42bf5"; hash != want {
		t.Errorf("hash %s, want %s", hash, want)
	}
	for want, k := range map[string]Key{
		hash + "_300.jpg":  {Size: 300},
		hash + "_0.jpg":    {},
		hash + "_300c.jpg": {Size: 300, Cover: true},
		hash + "_300.png":  {Size: 300, PNG: true},
		hash + "_300c.png": {Size: 300, Cover: true, PNG: true},
		hash + ".none":     {None: true},

		hash + "_300x200.jpg":              {Size: 300, Height: 200},
		hash + "_300x200c.jpg":             {Size: 300, Height: 200, Cover: true},
		hash + "_300c30x50.jpg":            {Size: 300, Cover: true, FocusX: 30},
		hash + "_65535x65535c50x100.png":   {Size: 65535, Height: 65535, Cover: true, FocusY: 100, PNG: true},
		hash + "_300.auto":                 {Size: 300, Auto: true},
		hash + "_300x200ptransparent.webp": {Size: 300, Height: 200, Pad: true, Background: Transparent, WebP: true},
		hash + "_300p000000.jpg":           {Size: 300, Pad: true},
		hash + "_300x200p00ffee.jpg":       {Size: 300, Height: 200, Pad: true, Background: 0xffee},
		hash + "_300x200pblur.jpg":         {Size: 300, Height: 200, Pad: true, Background: Blur},
		hash + "_300x200ptransparent.png":  {Size: 300, Height: 200, Pad: true, Background: Transparent, PNG: true},
		hash + "_160b20000.jpg":            {Size: 160, MaxBytes: 20000},
		hash + "_640x480b4294967295.png":   {Size: 640, Height: 480, MaxBytes: 1<<32 - 1, PNG: true},
	} {
		if got := k.name(hash); got != want || !ourName.MatchString(got) {
			t.Errorf("%+v: %s, want %s", k, got, want)
		}
	}
	for _, name := range []string{"cover.jpg", hash, hash + ".jpg", hash + "_300.jpg.bak", "x" + hash + "_300.jpg", strings.ToUpper(hash) + "_300.jpg", hash + "_300.jpg.tmp"} {
		if ourName.MatchString(name) {
			t.Errorf("%s is taken for one of ours", name)
		}
	}
}

func TestSealRoundTrip(t *testing.T) {
	for _, want := range []*Entry{
		sample("a", 10),
		{Key: Key{Provider: "p", Path: "a", None: true}, Cause: Corrupt, FFmpeg: "1-2", ModTime: time.Unix(0, 0), Made: time.Unix(5, 0), Data: []byte{}},
		{Key: Key{Provider: "p", Path: "b", Size: 300, Height: 200, Pad: true, Background: Blur, PNG: true}, ModTime: time.Unix(0, 0), Made: time.Unix(5, 0), Data: []byte{}},
		{Key: Key{Provider: "p", Path: "b", Size: 65535, Height: 1, Auto: true, Cover: true, FocusX: 1, FocusY: 100}, ModTime: time.Unix(0, 0), Made: time.Unix(5, 0), Data: []byte{}},
		{Key: Key{Provider: "p", Path: "b", Size: 640, Height: 480, MaxBytes: 1<<32 - 1}, ModTime: time.Unix(0, 0), Made: time.Unix(5, 0), Data: []byte{}},
		{Key: Key{Provider: "p", Path: "b", Size: 9, WebP: true}, Quality: 85, ModTime: time.Unix(0, 0), Made: time.Unix(5, 0), Data: []byte{}},
		{Key: Key{Provider: "p", Path: "\xff\x00", Size: 65535}, ModTime: time.Unix(-5, 0), Data: []byte{1}, Made: time.Unix(5, 0)},
	} {
		data, err := want.Seal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Unseal(data, &Key{})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if _, err := (&Entry{Version: strings.Repeat("x", maxTrailer)}).Seal(); err == nil {
		t.Error("a file was sealed that Unseal refuses")
	}
}

// Whatever happens to a file, Get returns the entry that was stored, or a miss.
func TestDamage(t *testing.T) {
	d := openStore(t, t.TempDir(), -1)
	s := sample("a", 20)
	put(t, d, s)
	path := pathOf(d, s.Key)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, ok := fetch(t, d, s.Key); ok {
			t.Errorf("%s: served as %+v", what, got)
		}
	}
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("byte %d flipped", i), flipped)
		try(fmt.Sprintf("cut to %d", i), good[:i])
	}
	try("zeroed", make([]byte, len(good)))
	try("longer", append(bytes.Clone(good), 0))
	try("doubled", append(bytes.Clone(good), good...))
	if d.Corrupt.Load() == 0 {
		t.Error("not counted")
	}

	other := sample("b", 20)
	put(t, d, other)
	otherData, _ := os.ReadFile(pathOf(d, other.Key))
	try("another key's file", otherData)
	if err := os.WriteFile(path, good, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, ok := fetch(t, d, s.Key); !ok || !bytes.Equal(got.Data, s.Data) {
		t.Error("the good file is not served")
	}
}

// A folder that has the name of a file is neither served nor replaced, and does not stop other writes.
func TestFolderInTheWay(t *testing.T) {
	d := openStore(t, t.TempDir(), -1)
	s := sample("a", 20)
	if err := os.MkdirAll(pathOf(d, s.Key), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, ok := fetch(t, d, s.Key); ok {
		t.Error("a folder was served")
	}
	if d.Put(s); d.Errors.Load() != 2 {
		t.Errorf("%d errors, want one of the read and one of the write", d.Errors.Load())
	}
	if err := d.Remove(&s.Key); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(pathOf(d, s.Key)); err != nil || !info.IsDir() {
		t.Error("the folder was replaced or removed")
	}
	put(t, d, sample("c", 20))
}

// A link that has the name of a file is not followed but replaced.
func TestLinkInTheWay(t *testing.T) {
	d := openStore(t, t.TempDir(), -1)
	s := sample("a", 20)
	put(t, d, s)
	path, elsewhere := pathOf(d, s.Key), filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(path, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if runtime.GOOS != "windows" {
		if _, ok := fetch(t, d, s.Key); ok {
			t.Error("a link was followed")
		}
	}
	put(t, d, s)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		t.Error("the link was not replaced")
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Error(err)
	}
}

func FuzzUnseal(f *testing.F) {
	for _, s := range []*Entry{sample("a", 3), {Key: Key{None: true}, Cause: NoPicture}} {
		data, err := s.Seal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Unseal(data, &Key{})
		if err != nil {
			return
		}
		// An accepted file has one meaning: sealing its entry again gives the same bytes.
		again, err := s.Seal()
		if err != nil || s.Cause <= Corrupt && !bytes.Equal(again, data) && s.Key.None == (s.Cause != 0) {
			t.Errorf("%v: %x, sealed again: %x", err, data, again)
		}
	})
}

func TestQuota(t *testing.T) {
	dir := t.TempDir()
	size := sealedSize(t, sample("0", 200))
	d := openStore(t, dir, 10*size+size/2)
	start := time.Now().Add(-50 * time.Hour)
	for i := range 10 {
		s := sample(fmt.Sprint(i), 200)
		put(t, d, s)
		// Each is used an hour after the one before.
		used := start.Add(time.Duration(i) * time.Hour)
		os.Chtimes(pathOf(d, s.Key), used, used)
	}
	if _, ok := fetch(t, d, sample("0", 0).Key); !ok {
		t.Fatal("not stored")
	}
	put(t, d, sample("x", 200))
	for path, want := range map[string]bool{"0": true, "1": false, "2": true, "9": true, "x": true} {
		if _, err := os.Stat(pathOf(d, sample(path, 0).Key)); (err == nil) != want {
			t.Errorf("%s: kept is %v, want %v", path, err == nil, want)
		}
	}
	// Many more files than fit, and a foreign file that must stay.
	foreign := filepath.Join(dir, "00")
	os.MkdirAll(foreign, 0o755)
	os.WriteFile(filepath.Join(foreign, "mine.jpg"), make([]byte, 5*size), 0o644)
	many := series(50, 200)
	for i := range many {
		put(t, d, sample(fmt.Sprint("many", i), 200))
		if n := onDisk(t, dir).Bytes; n > d.maxBytes {
			t.Fatalf("%d bytes, limit %d", n, d.maxBytes)
		}
	}
	if u := d.Usage(); u != onDisk(t, dir) {
		t.Errorf("usage %+v, on disk %+v", u, onDisk(t, dir))
	}
	if _, err := os.Stat(filepath.Join(foreign, "mine.jpg")); err != nil {
		t.Error(err)
	}
	if n := d.Evictions.Load(); n != uint64(many+1) {
		t.Errorf("%d evictions, want %d", n, many+1)
	}
	// A file larger than the limit is not stored, and nothing is removed for it.
	put(t, d, sample("huge", 5000))
	if n := d.Evictions.Load(); n != uint64(many+1) {
		t.Error("room was made for a file that can never fit")
	}
}

// The background count after Open removes files beyond the limit, and old temporary files.
func TestBackgroundCount(t *testing.T) {
	dir := t.TempDir()
	d := openStore(t, dir, -1)
	for i := range 100 {
		put(t, d, sample(fmt.Sprint(i), 200))
	}
	d.Close()
	k := sample("1", 0).Key
	old, young := pathOf(d, k)+".0123456789abcdef.tmp", pathOf(d, k)+".fedcba9876543210.tmp"
	for _, name := range []string{old, young} {
		os.WriteFile(name, []byte("x"), 0o644)
	}
	long := time.Now().Add(-2 * time.Hour)
	os.Chtimes(old, long, long)
	future := time.Now().Add(1000 * time.Hour)
	os.Chtimes(pathOf(d, k), future, future)

	d = openStore(t, dir, 10*sealedSize(t, sample("0", 200)))
	d.wg.Wait()
	if n := onDisk(t, dir).Bytes; n > d.maxBytes {
		t.Errorf("%d bytes, limit %d", n, d.maxBytes)
	}
	if n := d.Usage().Files; n < 8 {
		t.Errorf("only %d files left", n)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("a file that may be in use was removed:", err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an old temporary file was left")
	}
	if info, err := os.Stat(pathOf(d, k)); err == nil && info.ModTime().After(time.Now().Add(time.Minute)) {
		t.Error("a file from the future would never be evicted")
	}
	tag, err := os.ReadFile(filepath.Join(dir, "CACHEDIR.TAG"))
	if err != nil || !strings.HasPrefix(string(tag), "Signature: 8a477f597d28d172789f06886806bc55\n") {
		t.Errorf("CACHEDIR.TAG: %q, %v", tag, err)
	}
}

// A file that cannot be replaced is removed: it would be served again when memory has lost its successor.
func TestOutdatedRemoved(t *testing.T) {
	for name, fail := range map[string]func(d *Store){
		"writes pause": func(d *Store) { d.health.pauseWrites(time.Minute) },
		"too large":    func(d *Store) { d.maxBytes = 100 },
		"no room":      func(d *Store) { d.maxBytes = sealedSize(t, numbered(1, 2, 4000)) },
	} {
		t.Run(name, func(t *testing.T) {
			d := openStore(t, t.TempDir(), -1)
			d.wg.Wait() // for the count after New, which would evict files by the limit that fail sets
			put(t, d, numbered(1, 1, 4000))
			put(t, d, numbered(2, 1, 4000))
			fail(d)
			d.Put(numbered(1, 2, 4000))
			if e, ok := fetch(t, d, numbered(1, 1, 4000).Key); ok {
				t.Errorf("variant %s is still there", e.Version)
			}
			if e, ok := fetch(t, d, numbered(2, 1, 4000).Key); !ok || !isNumbered(e, 2) {
				t.Error("another file is gone")
			}
			if u := d.Usage(); u.Files != 1 {
				t.Errorf("the account says %+v", u)
			}
		})
	}
}

// A hit updates the file's time of use, at most once an hour.
func TestTouch(t *testing.T) {
	d := openStore(t, t.TempDir(), -1)
	s := sample("a", 10)
	put(t, d, s)
	path := pathOf(d, s.Key)
	for _, test := range []struct {
		age  time.Duration
		want bool
	}{{59 * time.Minute, false}, {61 * time.Minute, true}, {-2 * time.Hour, true}} {
		then := time.Now().Add(-test.age).Truncate(time.Second)
		os.Chtimes(path, then, then)
		if _, ok := fetch(t, d, s.Key); !ok {
			t.Fatal("a miss")
		}
		info, err := os.Stat(path)
		if err != nil || info.ModTime().Equal(then) == test.want {
			t.Errorf("age %v: touched is not %v", test.age, test.want)
		}
	}
}

// Known returns the usage of a moment ago, and starts a refresh in the background once that is outdated.
func TestKnown(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir, -1).Close()
	synctest.Test(t, func(t *testing.T) {
		// Existing counts nothing in the background, which would refresh the numbers too.
		d, err := Existing(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d.Usage(); d.ledger.noLocks {
			t.Skip("no locks here, so no shared account")
		}
		other, err := Existing(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		put(t, other, numbered(1, 1, 500))
		if u := d.Known(); u != (Usage{}) {
			t.Errorf("%+v at once", u)
		}
		synctest.Wait()
		time.Sleep(checkInterval + 1)
		if u := d.Known(); u != (Usage{}) {
			t.Errorf("%+v before the refresh", u)
		}
		synctest.Wait()
		want := Usage{1, sealedSize(t, numbered(1, 1, 500))}
		if u := d.Known(); u != want {
			t.Errorf("%+v after the refresh, want %+v", u, want)
		}
		d.Close()
		time.Sleep(checkInterval + 1)
		if u := d.Known(); u != want {
			t.Errorf("%+v after Close, want %+v", u, want)
		}
	})
}

// Existing opens a folder of thumbnails, and no other one.
func TestExisting(t *testing.T) {
	dir := t.TempDir()
	if _, err := Existing(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := Existing(dir); !errors.Is(err, ErrForeign) {
		t.Errorf("another folder: %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("it has changed the folder: %v %v", names, err)
	}
	e := numbered(1, 1, 500)
	put(t, openStore(t, dir, -1), e)
	d, err := Existing(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, ok := fetch(t, d, e.Key); !ok || !isNumbered(got, 1) {
		t.Error("a miss")
	}
	if err := d.RemoveFile(FileOf(&e.Key)); err != nil || exists(d, e.Key) {
		t.Errorf("not removed: %v", err)
	}
	if err := d.RemoveFile(FileOf(&e.Key)); err != nil {
		t.Errorf("removed again: %v", err)
	}
}

// BenchmarkDiskWrite compares Put with os.WriteFile of the same bytes, for new and for existing files. The two alternate, so that
// noise of the machine affects both.
func BenchmarkDiskWrite(b *testing.B) {
	e := sample("", 0)
	e.Data = bytes.Repeat([]byte("0123456789abcdef"), 1250) // 20 kB
	file, err := e.Seal()
	if err != nil {
		b.Fatal(err)
	}
	for name, files := range map[string]int{"new": math.MaxInt, "again": 100} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			s := openStore(b, filepath.Join(dir, "store"), -1)
			for i := range 256 {
				if err := os.Mkdir(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o755); err != nil {
					b.Fatal(err)
				}
			}
			var ours, theirs []time.Duration
			timed := func(to *[]time.Duration, do func()) {
				start := time.Now()
				do()
				*to = append(*to, time.Since(start))
			}
			for i := 0; b.Loop(); i++ {
				e.Key.Path = fmt.Sprint(i % files)
				put := func() { timed(&ours, func() { s.Put(e) }) }
				if i%2 == 0 {
					put()
				}
				hash := Hash("", e.Key.Path)
				timed(&theirs, func() {
					if err := os.WriteFile(filepath.Join(dir, hash[:2], hash+"_300.jpg"), file, 0o644); err != nil {
						b.Fatal(err)
					}
				})
				if i%2 == 1 {
					put()
				}
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			half := len(ours) / 2
			b.ReportMetric(float64(ours[half]), "ns/Put")
			b.ReportMetric(float64(theirs[half]), "ns/WriteFile")
			b.ReportMetric(float64(ours[half])/float64(theirs[half]), "ratio")
		})
	}
}

package store

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func openStore(t testing.TB, dir string, max int64) *Store {
	t.Helper()
	d, err := Open(dir, max, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func sample(path string, n int) *Entry {
	return &Entry{
		Key: Key{Provider: "p", Path: path, Size: 300, Cover: true, PNG: true}, Pipeline: 7, Quality: 85, Limit: 2048, Width: 300, Height: 200,
		Size: 1 << 40, ModTime: time.Unix(1e9, 123456789), Tag: "täg", Version: "v1", ThumbHash: "\x00hash",
		Made: time.Unix(2e9, 1), Data: bytes.Repeat([]byte("thumb"), n),
	}
}

// picture returns a JPEG that no two rows of are alike.
func picture(edge int) []byte {
	img := image.NewGray(image.Rect(0, 0, edge, edge))
	for i := range img.Pix {
		img.Pix[i] = byte(i * i / edge)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// put stores s, making room if it must.
func put(t testing.TB, d *Store, s *Entry) {
	t.Helper()
	before := d.Errors.Load()
	if need := d.Put(s); need > 0 {
		d.MakeRoom(need)
		d.Put(s)
	}
	if d.Errors.Load() != before {
		t.Fatal("not stored")
	}
}

func fetch(t testing.TB, d *Store, k Key) (*Entry, bool) {
	return d.Get(t.Context(), &k, Hash(k.Provider, k.Path))
}

func pathOf(d *Store, k Key) string { return d.path(&k, Hash(k.Provider, k.Path)) }

// filesIn returns the names of all files below dir that are ours.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "[0-9a-f][0-9a-f]", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if name := filepath.Base(path); ourName.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

func sum(t testing.TB, dir string) (n int64) {
	for _, name := range filesIn(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name[:2], name))
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// The layout is a promise: other programs find files by it.
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
	} {
		if got := k.name(hash); got != want || !ourName.MatchString(got) {
			t.Errorf("%+v: %s, want %s", k, got, want)
		}
	}
	for _, name := range []string{"cover.jpg", hash, hash + ".jpg", hash + "_300.jpg.bak", "x" + hash + "_300.jpg", strings.ToUpper(hash) + "_300.jpg", hash + "_300.jpg.tmp"} {
		if ourName.MatchString(name) {
			t.Errorf("%s passes for ours", name)
		}
	}
}

func TestSealRoundTrip(t *testing.T) {
	for _, want := range []*Entry{
		sample("a", 10),
		{Key: Key{Provider: "p", Path: "a", None: true}, Cause: Corrupt, FFmpeg: "1-2", ModTime: time.Unix(0, 0), Made: time.Unix(5, 0), Data: []byte{}},
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
		t.Error("sealed what could not be read again")
	}
}

// Whatever happens to a file, it is the right one or none.
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
	if os.WriteFile(path, good, 0o644); true {
		if got, ok := fetch(t, d, s.Key); !ok || !bytes.Equal(got.Data, s.Data) {
			t.Error("the good file is not served")
		}
	}

	// Something else under our name.
	os.Remove(path)
	os.Mkdir(path, 0o755)
	if _, ok := fetch(t, d, s.Key); ok {
		t.Error("a folder was served")
	}
	if d.Put(s); d.Errors.Load() == 0 {
		t.Error("a folder was replaced")
	}
	put(t, d, sample("c", 20)) // and others are stored all the same
	os.Remove(path)
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, good, 0o644)
	if err := os.Symlink(secret, path); err != nil {
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
		// What passes says just what it says: sealed again it is the same.
		again, err := s.Seal()
		if err != nil || s.Cause <= Corrupt && !bytes.Equal(again, data) && s.Key.None == (s.Cause != 0) {
			t.Errorf("%v: %x sealed again is %x", err, data, again)
		}
	})
}

func TestQuota(t *testing.T) {
	dir := t.TempDir()
	one, _ := sample("0", 200).Seal()
	size := int64(len(one))
	d := openStore(t, dir, 10*size+size/2)
	start := time.Now().Add(-50 * time.Hour)
	for i := range 10 {
		s := sample(fmt.Sprint(i), 200)
		put(t, d, s)
		// Each used an hour after the one before.
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
	// Many more than fit, and foreign files that must stay.
	foreign := filepath.Join(dir, "00")
	os.MkdirAll(foreign, 0o755)
	os.WriteFile(filepath.Join(foreign, "mine.jpg"), make([]byte, 5*size), 0o644)
	for i := range 200 {
		put(t, d, sample(fmt.Sprint("many", i), 200))
		if n := sum(t, dir); n > d.maxBytes {
			t.Fatalf("%d bytes, limit %d", n, d.maxBytes)
		}
	}
	if u := d.Usage(); u.Bytes != sum(t, dir) || u.Files != int64(len(filesIn(t, dir))) {
		t.Errorf("usage %+v, really %d bytes", u, sum(t, dir))
	}
	if _, err := os.Stat(filepath.Join(foreign, "mine.jpg")); err != nil {
		t.Error(err)
	}
	if d.Evictions.Load() != 201 {
		t.Errorf("%d evictions", d.Evictions.Load())
	}
	// Larger than everything: not stored, and nothing is removed for it.
	put(t, d, sample("huge", 5000))
	if d.Evictions.Load() != 201 {
		t.Error("room was made for what can never fit")
	}
}

// A smaller limit shrinks the folder in the background, and orphans go when they are old.
func TestLearn(t *testing.T) {
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

	one, _ := sample("0", 200).Seal()
	d = openStore(t, dir, int64(len(one))*10)
	d.wg.Wait()
	os.Remove(young) // it is nobody's business yet, but sum counts it
	if n := sum(t, dir); n > d.maxBytes {
		t.Errorf("%d bytes, limit %d", n, d.maxBytes)
	}
	if n := d.Usage().Files; n < 8 {
		t.Errorf("only %d left", n)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an orphan was left")
	}
	if info, err := os.Stat(pathOf(d, k)); err == nil && info.ModTime().After(time.Now().Add(time.Minute)) {
		t.Error("a file from the future will live for ever")
	}
	tag, err := os.ReadFile(filepath.Join(dir, "CACHEDIR.TAG"))
	if err != nil || !strings.HasPrefix(string(tag), "Signature: 8a477f597d28d172789f06886806bc55\n") {
		t.Errorf("CACHEDIR.TAG: %q, %v", tag, err)
	}
}

// A file that is used stays; the time of use is written at most once an hour.
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

// BenchmarkDiskWrite compares storing a thumbnail with os.WriteFile of the same bytes, in turns, so that both meet the same
// weather: files that are new, and files that are written again.
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

package thumbcache

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"image/jpeg"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func newDisk(t testing.TB, dir string, max int64) *disk {
	t.Helper()
	d, err := openDisk(dir, max, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func sample(path string, n int) *sealed {
	return &sealed{
		key: key{source: source{"p", path}, size: 300, fit: Cover, format: PNG}, quality: 85, limit: 2048, width: 300, height: 200,
		stamp: Stamp{Size: 1 << 40, ModTime: time.Unix(1e9, 123456789), Tag: "täg"}, version: "v1",
		made: time.Unix(2e9, 1), data: bytes.Repeat([]byte("thumb"), n),
	}
}

// put stores s, making room if it must.
func put(t testing.TB, d *disk, s *sealed) {
	t.Helper()
	before := d.errors.Load()
	if need := d.put(s); need > 0 {
		d.makeRoom(need)
		d.put(s)
	}
	if d.errors.Load() != before {
		t.Fatal("not stored")
	}
}

func fetch(t testing.TB, d *disk, k key) (*sealed, bool) {
	return d.get(t.Context(), &k, hashOf(k.source))
}

func pathOf(d *disk, k key) string {
	hash := hashOf(k.source)
	return filepath.Join(d.dir, hash[:2], nameOf(hash, &k))
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
	src := source{"music", "Artist/01.flac"}
	hash := hashOf(src)
	if want := "635b6b8b1d3a65c82a3b8144387f47b264fe9ba2c150dbf69b94aea9b5e42bf5"; hash != want {
		t.Errorf("hash %s, want %s", hash, want)
	}
	for want, k := range map[string]key{
		hash + "_300.jpg":  {source: src, size: 300},
		hash + "_0.jpg":    {source: src},
		hash + "_300c.jpg": {source: src, size: 300, fit: Cover},
		hash + "_300.png":  {source: src, size: 300, format: PNG},
		hash + "_300c.png": {source: src, size: 300, fit: Cover, format: PNG},
		hash + ".none":     {source: src, none: true},
	} {
		if got := nameOf(hash, &k); got != want || !ourName.MatchString(got) {
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
	for _, s := range []*sealed{
		sample("a", 10),
		{key: key{source: source{"p", "a"}, none: true}, cause: causeCorrupt, made: time.Unix(5, 0)},
		{key: key{source: source{"p", "\xff\x00"}, size: 65535}, data: []byte{1}, made: time.Unix(5, 0)},
	} {
		data, err := s.seal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := unseal(data, &key{})
		if err != nil {
			t.Fatal(err)
		}
		if !got.stamp.equal(s.stamp) || !got.made.Equal(s.made) || !bytes.Equal(got.data, s.data) || got.key != s.key {
			t.Errorf("got %+v, want %+v", got, s)
		}
		if got.version != s.version || got.quality != s.quality || got.limit != s.limit || got.width != s.width || got.height != s.height || got.cause != s.cause {
			t.Errorf("got %+v, want %+v", got, s)
		}
	}
	if _, err := (&sealed{version: strings.Repeat("x", maxTrailer)}).seal(); err == nil {
		t.Error("sealed what could not be read again")
	}
}

// Whatever happens to a file, it is the right one or none.
func TestDamage(t *testing.T) {
	d := newDisk(t, t.TempDir(), -1)
	s := sample("a", 20)
	put(t, d, s)
	path := pathOf(d, s.key)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, ok := fetch(t, d, s.key); ok {
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
	if d.corrupt.Load() == 0 {
		t.Error("not counted")
	}

	other := sample("b", 20)
	put(t, d, other)
	otherData, _ := os.ReadFile(pathOf(d, other.key))
	try("another key's file", otherData)
	if os.WriteFile(path, good, 0o644); true {
		if got, ok := fetch(t, d, s.key); !ok || !bytes.Equal(got.data, s.data) {
			t.Error("the good file is not served")
		}
	}

	// Something else under our name.
	os.Remove(path)
	os.Mkdir(path, 0o755)
	if _, ok := fetch(t, d, s.key); ok {
		t.Error("a folder was served")
	}
	if d.put(s); d.errors.Load() == 0 {
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
		if _, ok := fetch(t, d, s.key); ok {
			t.Error("a link was followed")
		}
	}
	put(t, d, s)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		t.Error("the link was not replaced")
	}
}

func FuzzUnseal(f *testing.F) {
	for _, s := range []*sealed{sample("a", 3), {key: key{none: true}, cause: causeNoPicture}} {
		data, err := s.seal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := unseal(data, &key{})
		if err != nil {
			return
		}
		// What passes says just what it says: sealed again it is the same.
		again, err := s.seal()
		if err != nil || s.cause <= causeCorrupt && !bytes.Equal(again, data) && s.key.none == (s.cause != 0) {
			t.Errorf("%v: %x sealed again is %x", err, data, again)
		}
	})
}

func TestQuota(t *testing.T) {
	dir := t.TempDir()
	one, _ := sample("0", 200).seal()
	size := int64(len(one))
	d := newDisk(t, dir, 10*size+size/2)
	start := time.Now().Add(-50 * time.Hour)
	for i := range 10 {
		s := sample(fmt.Sprint(i), 200)
		put(t, d, s)
		// Each used an hour after the one before.
		used := start.Add(time.Duration(i) * time.Hour)
		os.Chtimes(pathOf(d, s.key), used, used)
	}
	if _, ok := fetch(t, d, sample("0", 0).key); !ok {
		t.Fatal("not stored")
	}
	put(t, d, sample("x", 200))
	for path, want := range map[string]bool{"0": true, "1": false, "2": true, "9": true, "x": true} {
		if _, err := os.Stat(pathOf(d, sample(path, 0).key)); (err == nil) != want {
			t.Errorf("%s: kept is %v, want %v", path, err == nil, want)
		}
	}
	// Many more than fit, and foreign files that must stay.
	foreign := filepath.Join(dir, "00")
	os.MkdirAll(foreign, 0o755)
	os.WriteFile(filepath.Join(foreign, "mine.jpg"), make([]byte, 5*size), 0o644)
	for i := range 200 {
		put(t, d, sample(fmt.Sprint("many", i), 200))
		if n := sum(t, dir); n > d.max {
			t.Fatalf("%d bytes, limit %d", n, d.max)
		}
	}
	if u := d.usage(); u.bytes != sum(t, dir) || u.files != int64(len(filesIn(t, dir))) {
		t.Errorf("usage %+v, really %d bytes", u, sum(t, dir))
	}
	if _, err := os.Stat(filepath.Join(foreign, "mine.jpg")); err != nil {
		t.Error(err)
	}
	if d.evictions.Load() != 201 {
		t.Errorf("%d evictions", d.evictions.Load())
	}
	// Larger than everything: not stored, and nothing is removed for it.
	put(t, d, sample("huge", 5000))
	if d.evictions.Load() != 201 {
		t.Error("room was made for what can never fit")
	}
}

// A smaller limit shrinks the folder in the background, and orphans go when they are old.
func TestLearn(t *testing.T) {
	dir := t.TempDir()
	d := newDisk(t, dir, -1)
	for i := range 100 {
		put(t, d, sample(fmt.Sprint(i), 200))
	}
	d.close()
	k := sample("1", 0).key
	old, young := pathOf(d, k)+".0123456789abcdef.tmp", pathOf(d, k)+".fedcba9876543210.tmp"
	for _, name := range []string{old, young} {
		os.WriteFile(name, []byte("x"), 0o644)
	}
	long := time.Now().Add(-2 * time.Hour)
	os.Chtimes(old, long, long)
	future := time.Now().Add(1000 * time.Hour)
	os.Chtimes(pathOf(d, k), future, future)

	one, _ := sample("0", 200).seal()
	d = newDisk(t, dir, int64(len(one))*10)
	d.wg.Wait()
	os.Remove(young) // it is nobody's business yet, but sum counts it
	if n := sum(t, dir); n > d.max {
		t.Errorf("%d bytes, limit %d", n, d.max)
	}
	if n := d.usage().files; n < 8 {
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

func TestFolderVanishes(t *testing.T) {
	s := newShelf()
	for i := range 50 {
		s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
	}
	dir := filepath.Join(t.TempDir(), "thumbs")
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir, MemoryEntries: -1})
	for i := range 50 {
		isColour(t, mustGet(t, c, "p", fmt.Sprint(i), 10), red)
		os.RemoveAll(dir)
	}
	isColour(t, mustGet(t, c, "p", "1", 10), red)
	if n := len(filesIn(t, dir)); n != 1 {
		t.Errorf("%d files after the folder came back", n)
	}
	// A link to somewhere else takes its place.
	elsewhere := t.TempDir()
	os.RemoveAll(dir)
	if err := os.Symlink(elsewhere, dir); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	isColour(t, mustGet(t, c, "p", "2", 10), red)
	if entries, _ := os.ReadDir(elsewhere); len(entries) > 0 {
		t.Errorf("written elsewhere: %v", entries)
	}
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small disk here: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	s := newShelf()
	for i := range 40 {
		s.set(fmt.Sprint(i), tag("1"), noisy(200, 200, 90))
	}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir})
	for i := range 40 {
		mustGet(t, c, "p", fmt.Sprint(i), 150)
	}
	if c.Stats().DiskErrors == 0 {
		t.Fatal("the disk was not full")
	}
	for _, name := range filesIn(t, dir) {
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("left: %s", name)
		}
		os.Remove(filepath.Join(dir, name[:2], name))
	}
	time.Sleep(writePause) // the file system is real, and so is its clock
	if err := c.Invalidate("p", "0"); err != nil {
		t.Fatal(err)
	}
	mustGet(t, c, "p", "0", 150)
	if n := len(filesIn(t, dir)); n != 1 {
		t.Errorf("%d files after there was room again", n)
	}
}

// Two caches on one folder, as two processes would have it.
func TestSharedFolder(t *testing.T) {
	s := newShelf()
	for i := range 20 {
		s.set(fmt.Sprint(i), tag("1"), plain(30+i, 30, red))
	}
	dir := t.TempDir()
	cfg := Config{Providers: map[string]Provider{"p": s}, Dir: dir, MemoryEntries: -1, DiskBytes: 8 << 10}
	var wg sync.WaitGroup
	for range 2 {
		c := mustNew(t, cfg)
		for w := range 4 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 1))
				for range 100 {
					i := r.IntN(20)
					if r.IntN(20) == 0 {
						c.Invalidate("p", fmt.Sprint(i))
					}
					thumb, err := c.Get(context.Background(), "p", fmt.Sprint(i), 0)
					if err != nil || thumb.Width != 30+i {
						t.Errorf("%d: %v, %v", i, thumb, err)
					}
				}
			})
		}
	}
	wg.Wait()
}

// TestKilled kills processes that are writing, and looks at what they left.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("THUMBCACHE_TEST_WRITE"); dir != "" {
		d := newDisk(t, dir, 200<<10)
		for i := 0; ; i++ {
			s := sample(fmt.Sprint(i%8), 1)
			s.data = noisy(100, 100, 50+i%50)
			d.put(s)
		}
	}
	if testing.Short() {
		t.Skip("kills many processes")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 40 {
		cmd := exec.Command(exe, "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "THUMBCACHE_TEST_WRITE="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rand.IntN(40)) * time.Millisecond) // a real process, a real clock
		cmd.Process.Kill()
		cmd.Wait()
	}
	d := newDisk(t, dir, -1)
	whole := 0
	for i := range 8 {
		k := sample(fmt.Sprint(i), 0).key
		if _, err := os.Stat(pathOf(d, k)); err != nil {
			continue
		}
		s, ok := fetch(t, d, k)
		if !ok {
			t.Errorf("%s is damaged", pathOf(d, k))
			continue
		}
		if _, err := jpeg.Decode(bytes.NewReader(s.data)); err != nil {
			t.Errorf("%s: %v", pathOf(d, k), err)
		}
		whole++
	}
	if whole == 0 {
		t.Error("nothing was ever written")
	}
}

// A file that is used stays; the time of use is written at most once an hour.
func TestTouch(t *testing.T) {
	d := newDisk(t, t.TempDir(), -1)
	s := sample("a", 10)
	put(t, d, s)
	path := pathOf(d, s.key)
	for _, test := range []struct {
		age  time.Duration
		want bool
	}{{59 * time.Minute, false}, {61 * time.Minute, true}, {-2 * time.Hour, true}} {
		then := time.Now().Add(-test.age).Truncate(time.Second)
		os.Chtimes(path, then, then)
		if _, ok := fetch(t, d, s.key); !ok {
			t.Fatal("a miss")
		}
		info, err := os.Stat(path)
		if err != nil || info.ModTime().Equal(then) == test.want {
			t.Errorf("age %v: touched is not %v", test.age, test.want)
		}
	}
}

// BenchmarkDiskWrite compares storing a thumbnail with os.WriteFile of the same bytes.
func BenchmarkDiskWrite(b *testing.B) {
	s := sample("a", 0)
	s.data = noisy(200, 200, 85)
	d := newDisk(b, b.TempDir(), -1)
	b.Run("thumbcache", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			s.key.path = fmt.Sprint(i % 100)
			d.put(s)
		}
	})
	b.Run("os.WriteFile", func(b *testing.B) {
		data, _ := s.seal()
		dir := b.TempDir()
		for i := 0; b.Loop(); i++ {
			if err := os.WriteFile(filepath.Join(dir, hex.EncodeToString([]byte{byte(i % 100)})), data, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	})
}

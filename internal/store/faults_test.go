package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestCrash kills processes that write, replace and remove files in one folder, four at a time, and checks what they leave.
func TestCrash(t *testing.T) {
	const limit, processes = 2 << 20, 4
	if args := childArgs(); args != nil {
		changeForever(openStore(t, args[0], limit))
	}
	rounds := series(10, 125)
	dir := t.TempDir()
	most := watch(t, dir)
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			for range rounds {
				cmd := reexec(t, dir)
				out, err := cmd.StdoutPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Duration(rand.IntN(int(15 * time.Millisecond)))) // so that it dies at a random moment
				cmd.Process.Kill()
				cmd.Wait()
			}
		})
	}
	wg.Wait()
	inFlight := processes * (sealedSize(t, sample("0", 0)) + int64(len(picture(120))))
	if n := most(); n > limit+inFlight {
		t.Errorf("%d bytes, limit %d and %d being written", n, limit, inFlight)
	}
	there := onDisk(t, dir)
	if u := account(dir); u.Bytes < there.Bytes || u.Files < there.Files {
		t.Errorf("account %+v, on disk %+v", u, there)
	}
	checkCrashed(t, dir)
}

// changeForever stores, replaces and removes entries until the process is killed.
func changeForever(d *Store) {
	pictures := [][]byte{picture(40), picture(80), picture(120)}
	fmt.Println("ready")
	for {
		s := sample(fmt.Sprint(rand.IntN(700)), 0)
		s.Data = pictures[rand.IntN(3)]
		switch rand.IntN(20) {
		case 0:
			d.RemoveSource(s.Key.Provider, s.Key.Path)
		case 1:
			s.Key, s.Cause, s.Data = Key{Provider: s.Key.Provider, Path: s.Key.Path, None: true}, NoPicture, nil
			d.store(s)
		default:
			d.store(s)
		}
	}
}

// checkCrashed checks that all files in a folder that killed processes have left are whole, that temporary ones are removed when
// they are old, and that a walk corrects the account.
func checkCrashed(t *testing.T, dir string) {
	t.Helper()
	d, err := Existing(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var whole, orphans int
	check := func(f File) error {
		if f.Temp {
			orphans++
			long := time.Now().Add(-2 * orphanAge)
			return os.Chtimes(filepath.Join(dir, f.Folder, f.Name), long, long)
		}
		e, err := d.Read(f)
		if err == nil && e.Cause == Picture {
			_, err = jpeg.Decode(bytes.NewReader(e.Data))
		}
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		whole++
		return nil
	}
	if err := d.Walk(t.Context(), false, check); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d whole files, %d temporary ones", whole, orphans)
	if whole == 0 {
		t.Error("nothing was written")
	}
	before := orphans
	if orphans = 0; d.Walk(t.Context(), false, check) != nil || orphans != 0 {
		t.Errorf("%d of %d temporary files left after an hour", orphans, before)
	}
	if u, there := account(dir), onDisk(t, dir); u != there {
		t.Errorf("after a walk: account %+v, on disk %+v", u, there)
	}
}

// Three processes that store far more than fits in one folder keep its limit together, whatever happens to the folder.
func TestQuotaOfProcesses(t *testing.T) {
	const processes, size = 3, 2000
	limit, puts := int64(series(128<<10, 1<<20)), series(80, 800)
	if args := childArgs(); args != nil {
		first := 0
		fmt.Sscan(args[1], &first)
		storeMany(openStore(t, args[0], limit), first, puts, size)
		return
	}
	for name, meddle := range map[string]func(r *rand.Rand, dir string){
		"undisturbed": func(*rand.Rand, string) {},
		"files deleted": func(r *rand.Rand, dir string) {
			paths, _ := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%02x", r.IntN(256)), "*"))
			for _, path := range paths {
				os.Remove(path)
			}
		},
		"account deleted": func(r *rand.Rand, dir string) {
			if r.IntN(20) == 0 {
				os.Remove(filepath.Join(dir, usageName))
			}
		},
		"clock jumps": func(r *rand.Rand, dir string) {
			for _, name := range filesIn(t, dir) {
				when := time.Now().AddDate(20*r.IntN(2)-10, 0, 0)
				if r.IntN(20) == 0 {
					os.Chtimes(filepath.Join(dir, name[:2], name), when, when)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the processes mostly wait for each other
			dir := t.TempDir()
			most := watch(t, dir)
			var children []*exec.Cmd
			for i := range processes {
				children = append(children, reexec(t, dir, fmt.Sprint(i*puts)))
			}
			ended := start(t, children)
			r := rand.New(rand.NewPCG(1, 2))
			for running := true; running; {
				meddle(r, dir)
				select {
				case <-ended:
					running = false
				case <-time.After(10 * time.Millisecond):
				}
			}
			inFlight := processes * sealedSize(t, numbered(1<<20, 1, size))
			if n := most(); n > limit+inFlight {
				t.Errorf("%d bytes, limit %d and %d being written", n, limit, inFlight)
			}
			if u := onDisk(t, dir); u.Bytes < limit*8/10 && name != "files deleted" {
				t.Errorf("only %d bytes are kept of %d", u.Bytes, limit)
			}
			checkRestart(t, dir, limit/2)
		})
	}
}

// storeMany stores entries of the numbers from first on. A tenth of them are records that there is no picture.
func storeMany(d *Store, first, n, size int) {
	for i := first; i < first+n; i++ {
		s := numbered(i, 1, size)
		if i%10 == 0 {
			s.Key, s.Cause, s.Data = Key{Provider: "p", Path: s.Key.Path, None: true}, Corrupt, nil
		}
		d.store(s)
	}
}

// checkRestart opens a store with a lower limit, and checks that its account is right, the limit is kept and all files are whole.
func checkRestart(t *testing.T, dir string, limit int64) {
	t.Helper()
	d := openStore(t, dir, limit)
	d.wg.Wait()
	u := onDisk(t, dir)
	if d.Usage() != u || account(dir) != u {
		t.Errorf("usage %+v, account %+v, on disk %+v", d.Usage(), account(dir), u)
	}
	if u.Bytes > limit || u.Bytes < limit*8/10 {
		t.Errorf("%d bytes, limit %d", u.Bytes, limit)
	}
	err := d.Walk(t.Context(), false, func(f File) error {
		_, err := d.Read(f)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// After the clock was wrong every file can still be evicted, and no more files than necessary are.
func TestClockJumps(t *testing.T) {
	dir := t.TempDir()
	size := sealedSize(t, numbered(100, 1, 1000))
	d := openStore(t, dir, -1)
	use := func(from, to int, first time.Time) {
		for i := from; i < to; i++ {
			used := first.Add(time.Duration(i) * time.Second)
			if err := os.Chtimes(pathOf(d, numbered(i, 0, 0).Key), used, used); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if exists(d, numbered(i, 0, 0).Key) {
				n++
			}
		}
		return n
	}
	for i := 100; i < 160; i++ {
		put(t, d, numbered(i, 1, 1000))
	}
	use(100, 120, time.Now().AddDate(10, 0, 0))
	use(120, 140, time.Now().AddDate(-10, 0, 0))
	use(140, 160, time.Now().Add(-time.Hour))
	if err := d.Trim(t.Context(), 45*size, nil); err != nil {
		t.Fatal(err)
	}
	if future, past, normal := count(100, 120), count(120, 140), count(140, 160); future != 20 || past != 5 || normal != 20 {
		t.Errorf("kept of 20 each: %d from the future, %d from the past, %d others; want 20, 5, 20", future, past, normal)
	}
	if count(120, 135) != 0 {
		t.Error("the files used longest ago were kept")
	}
	// Files from the future now count as used at the time of the trim, so files used after it are evicted later.
	use(135, 160, time.Now().Add(10*time.Minute))
	if err := d.Trim(t.Context(), 25*size, nil); err != nil {
		t.Fatal(err)
	}
	if future, others := count(100, 120), count(135, 160); future != 0 || others != 25 {
		t.Errorf("kept: %d from the future and %d others; want 0 and 25", future, others)
	}
}

// Two stores on one folder in one process read only what was stored, and keep the limit.
func TestTwoStores(t *testing.T) {
	const limit, keys = 100 << 10, 200
	dir := t.TempDir()
	stores := []*Store{openStore(t, dir, limit), openStore(t, dir, limit)}
	most := watch(t, dir)
	rounds := series(100, 250)
	var hits atomic.Int32
	var wg sync.WaitGroup
	for w := range 4 {
		d := stores[w%2]
		wg.Go(func() { // in the full series this writes ten times as much as fits
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range rounds {
				key := r.IntN(keys)
				if r.IntN(20) == 0 {
					d.RemoveSource("p", fmt.Sprint("n", key))
				}
				d.store(numbered(key, i, 500+500*r.IntN(3)))
			}
		})
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for range 4 * rounds {
				i := r.IntN(keys)
				k := numbered(i, 0, 0).Key
				e, ok := d.Cached(&k, Hash(k.Provider, k.Path))
				if !ok {
					e, ok = fetch(t, d, k)
				}
				if ok && !isNumbered(e, i) {
					t.Errorf("%d: read %q", i, e.Data[:8])
				}
				if ok {
					hits.Add(1)
				}
			}
		})
	}
	wg.Wait()
	inFlight := 4 * sealedSize(t, numbered(1, 1, 1500))
	if n := most(); n > limit+inFlight {
		t.Errorf("%d bytes, limit %d and %d being written", n, limit, inFlight)
	}
	if hits.Load() == 0 {
		t.Error("no hit")
	}
	for _, d := range stores {
		if n := d.Corrupt.Load() + d.Errors.Load(); n > 0 {
			t.Errorf("%d damaged files, %d errors", d.Corrupt.Load(), d.Errors.Load())
		}
	}
}

// The account is exact although several goroutines replace and remove the same files.
func TestAccountOfReplacedFiles(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{openStore(t, dir, -1), openStore(t, dir, -1)}
	for _, d := range stores {
		d.wg.Wait() // a later count would correct the account
	}
	var wg sync.WaitGroup
	for w := range 4 {
		d := stores[w%2]
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range 500 {
				switch e := numbered(r.IntN(2), i, 8<<r.IntN(12)); {
				case w == 3:
					d.Remove(&e.Key)
				default:
					d.Put(e)
				}
			}
		})
	}
	wg.Wait()
	if runtime.GOOS != "linux" { // there replace and remove are not exact
		stores[0].startCount()
	}
	for _, d := range stores {
		d.Usage() // saves what is unsaved, which starts a count
		d.wg.Wait()
	}
	if u, there := account(dir), onDisk(t, dir); u != there {
		t.Errorf("account %+v, on disk %+v", u, there)
	}
}

// Changes made while another process holds the account are saved later, on top of the changes of that process.
func TestAccountHeld(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir, -1).Close()
	synctest.Test(t, func(t *testing.T) {
		resets := 0
		l := newLedger(dir, time.Now, func() { resets++ })
		defer l.close()
		change := func(folder int, add Usage) {
			t.Helper()
			if !l.beginChange(t.Context(), folder, add, -1) {
				t.Fatal("no room")
			}
			l.endChange(folder, Usage{})
		}
		change(1, Usage{5, 500})
		change(2, Usage{5, 500})
		holder, err := os.OpenFile(filepath.Join(dir, usageName), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close()
		if ok, err := tryLock(holder, accountAt, true); errors.Is(err, errors.ErrUnsupported) {
			t.Skip("no locks here")
		} else if !ok || err != nil {
			t.Fatal(ok, err)
		}
		change(1, Usage{1, 100})
		change(2, Usage{-2, -200})
		change(2, Usage{-2, -200})
		if u := l.total(); u != (Usage{7, 700}) || resets != 0 {
			t.Errorf("%+v while the account is held, reset %d times", u, resets)
		}
		if _, err := holder.WriteAt(Usage{8, 800}.append(nil), int64(len(usageMagic)+16)); err != nil {
			t.Fatal(err)
		}
		unlock(holder, accountAt)
		want := Usage{8 + 1 + 5 - 2 - 2, 1000}
		// A reset follows, because the holder may have counted files that were not in its account.
		if u := l.total(); u != want || resets != 1 {
			t.Errorf("%+v, reset %d times; want %+v, once", u, resets, want)
		}
		if u := account(dir); u != want {
			t.Errorf("account %+v, want %+v", u, want)
		}
	})
}

// Whatever replaces the account, nothing hangs, nothing is written elsewhere, and the numbers become right again.
func TestAccountReplaced(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := func(b []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, b, 0o644) }
	}
	// An account in which number i is number(i).
	numbers := func(number func(i int) uint64) func(string) error {
		b := []byte(usageMagic)
		for i := range 512 {
			b = binary.LittleEndian.AppendUint64(b, number(i))
		}
		return text(b)
	}
	for _, test := range []struct {
		name  string
		place func(path string) error
		stays bool // the store must not remove it
	}{
		{"nothing", func(string) error { return nil }, false},
		{"a folder", func(path string) error { return os.Mkdir(path, 0o755) }, true},
		{"a link", func(path string) error { return os.Symlink(elsewhere, path) }, true},
		{"a dangling link", func(path string) error { return os.Symlink(elsewhere+"2", path) }, true},
		{"empty", text(nil), false},
		{"garbage", text(bytes.Repeat([]byte("garbage"), 1000)), false},
		{"impossible numbers", numbers(func(i int) uint64 { return uint64(i)<<56 | 1<<45 }), false},
		{"high numbers", numbers(func(int) uint64 { return 1 << 39 }), false},
		{"low numbers", numbers(func(int) uint64 { return 0 }), false},
		{"huge", func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(usageMagic), 0o644), os.Truncate(path, 1<<40))
		}, false},
		{"a FIFO", mkfifo, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // the goroutines mostly wait
			// Numbers that are too low are believed until the folder is opened again.
			replaceAccount(t, test.place, test.stays, test.name != "low numbers")
			if text, _ := os.ReadFile(elsewhere); string(text) != "mine" {
				t.Error("a link was followed")
			}
			if _, err := os.Lstat(elsewhere + "2"); err == nil {
				t.Error("a file was made through a link")
			}
		})
	}
}

// replaceAccount replaces the account of an open store by what place makes. It checks that the store works, that it keeps the limit
// if keepsLimit, and that the account is right after the folder is opened again.
func replaceAccount(t *testing.T, place func(path string) error, stays, keepsLimit bool) {
	const size = 1000
	dir := t.TempDir()
	path := filepath.Join(dir, usageName)
	one := sealedSize(t, numbered(100, 1, size))
	limit := 20 * one
	d, clock := openLogged(t, dir, limit, nil, new(testClock))
	for i := 100; i < 110; i++ {
		put(t, d, numbered(i, 1, size))
	}
	d.wg.Wait()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := place(path); err != nil {
		t.Skip("cannot be made here:", err)
	}
	within(t, 30*time.Second, "writing and reading", func() {
		for i := 110; i < 150; i++ {
			d.store(numbered(i, 1, size))
			if e, ok := fetch(t, d, numbered(i, 0, 0).Key); !ok || !isNumbered(e, i) {
				t.Errorf("%d is a miss", i)
			}
		}
	})
	if u := onDisk(t, dir); keepsLimit && (u.Bytes > limit+one || u.Files < 15) {
		t.Errorf("on disk %+v, limit %d", u, limit)
	}
	if stays {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	d2 := openStore(t, dir, limit)
	put(t, d, numbered(1, 1, size))
	put(t, d2, numbered(2, 1, size))
	clock.advance(checkInterval)
	eventually(t, "right numbers", func() bool {
		u := onDisk(t, dir)
		return d.Usage() == u && d2.Usage() == u && account(dir) == u && u.Bytes <= limit
	})
}

// A link that replaces a file or one of the 256 folders is not followed, at whatever moment it appears.
func TestLinkSwapped(t *testing.T) {
	for _, what := range []string{"file", "folder"} {
		t.Run(what, func(t *testing.T) {
			dir, elsewhere := t.TempDir(), t.TempDir()
			d, other := openStore(t, dir, -1), openStore(t, elsewhere, -1)
			ours, theirs := numbered(1, 1, 1000), numbered(1, 2, 1000) // the same key and another picture
			put(t, d, ours)
			put(t, other, theirs)
			d.wg.Wait()
			path, target := pathOf(d, ours.Key), pathOf(other, ours.Key)
			if what == "folder" {
				path, target = filepath.Dir(path), filepath.Dir(target)
			}
			if err := os.Symlink(target, path+".link"); err != nil {
				t.Skip("no symbolic links here:", err)
			}
			before := onDisk(t, elsewhere)
			var stop atomic.Bool
			var wg sync.WaitGroup
			wg.Go(func() {
				for !stop.Load() {
					os.Rename(path, path+".kept")
					os.Rename(path+".link", path)
					os.Rename(path, path+".link")
					os.Rename(path+".kept", path)
				}
			})
			long := time.Now().Add(-2 * touchInterval)
			hash := Hash(ours.Key.Provider, ours.Key.Path)
			followed, hits := 0, 0
			for n := series(500, 3000); n > 0 || hits == 0 && n > -100_000; n-- { // on a busy machine, a hit may be long in coming
				os.Chtimes(path, long, long) // so that a hit updates it
				e, ok := d.Cached(&ours.Key, hash)
				if !ok {
					e, ok = fetch(t, d, ours.Key)
				}
				if ok && e.Version != ours.Version {
					followed++
				} else if ok {
					hits++
				}
			}
			stop.Store(true)
			wg.Wait()
			if followed > 0 {
				t.Errorf("the other folder's file was served %d times", followed)
			}
			if hits == 0 {
				t.Error("no hit")
			}
			d.Put(ours)
			d.RemoveSource("p", ours.Key.Path)
			if got := onDisk(t, elsewhere); got != before {
				t.Errorf("the other folder holds %+v, before %+v", got, before)
			}
		})
	}
}

// While the store's folder is deleted and replaced by a link again and again, nothing is written to the link's target.
func TestFolderSwapped(t *testing.T) {
	top, elsewhere := t.TempDir(), t.TempDir()
	dir := filepath.Join(top, "thumbs")
	d, clock := openLogged(t, dir, 100<<10, nil, new(testClock))
	if err := os.Symlink(elsewhere, dir+".link"); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := w; !stop.Load(); i++ {
				e := numbered(i%300, i, 500)
				d.store(e)
				if e, ok := fetch(t, d, e.Key); ok && !isNumbered(e, i%300) {
					t.Error("wrong bytes")
				}
				clock.advance(writePause) // or no write would follow a failed one
			}
		})
	}
	moved := 0
	for i := range series(100, 400) {
		if err := os.Rename(dir, dir+".kept"); err != nil {
			continue // on Windows, while it is in use
		}
		os.Rename(dir+".link", dir)
		runtime.Gosched()
		if i%2 == 0 {
			time.Sleep(50 * time.Microsecond) // so that a writer that checked the folder before meets the link
		}
		if info, err := os.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			os.Rename(dir, dir+".link")
		}
		// The store may have made the folder again. It is moved away, because it may be filled as fast as it is deleted.
		eventually(t, "the folder is back", func() bool {
			if os.Rename(dir+".kept", dir) == nil {
				return true
			}
			moved++
			os.Rename(dir, fmt.Sprintf("%s.%d", dir, moved))
			return os.Rename(dir+".kept", dir) == nil
		})
	}
	stop.Store(true)
	wg.Wait()
	entries, err := os.ReadDir(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("written to the link's target: %s", e.Name())
	}
	eventually(t, "a write succeeds", func() bool {
		clock.advance(writePause)
		d.store(numbered(1, 7, 500))
		e, ok := fetch(t, d, numbered(1, 0, 0).Key)
		return ok && e.Version == "7"
	})
}

// A foreign folder that replaces the store's is not changed, and the store works again when the foreign content is gone.
func TestFolderReplaced(t *testing.T) {
	var log lines
	dir := filepath.Join(t.TempDir(), "thumbs")
	d, clock := openLogged(t, dir, -1, &log, new(testClock))
	d.store(numbered(1, 1, 500))
	if err := os.Rename(dir, dir+".kept"); err != nil {
		t.Skip("a folder in use cannot be moved here:", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "diary"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	clock.advance(checkInterval) // until then the moved account may be used
	for i := range 10 {
		d.store(numbered(i, 1, 500))
		clock.advance(writePause)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if n := log.count(slog.LevelWarn); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, &log)
	}
	if err := os.Remove(filepath.Join(dir, "diary")); err != nil {
		t.Fatal(err)
	}
	d.store(numbered(2, 1, 500))
	if e, ok := fetch(t, d, numbered(2, 1, 500).Key); !ok || !isNumbered(e, 2) || !isMarked(dir) {
		t.Error("not stored after the foreign file was removed")
	}
}

// Damaged files are counted and removed, and logged only once.
func TestManyDamaged(t *testing.T) {
	var log lines
	dir := t.TempDir()
	d, _ := openLogged(t, dir, -1, &log, new(testClock))
	for i := range 50 {
		e := numbered(i, 1, 500)
		d.store(e)
		if err := os.WriteFile(pathOf(d, e.Key), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := fetch(t, d, e.Key); ok {
			t.Error("a damaged file was served")
		}
	}
	if n := log.count(slog.LevelWarn); n != 1 || d.Corrupt.Load() != 50 || len(filesIn(t, dir)) != 0 {
		t.Errorf("%d warnings, %d damaged files, %d left; want 1, 50, 0", n, d.Corrupt.Load(), len(filesIn(t, dir)))
	}
}

// A goroutine that hangs with the account's mutex held does not stop reads. Callers of Lock wait for turnPatience and leave
// nothing behind.
func TestHungAccount(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var log lines
		d, err := Open(dir, -1, log.logger())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		e := numbered(1, 1, 500)
		d.store(e)
		d.wg.Wait()
		lock := func() (release func(), free bool) { return d.Lock(t.Context(), &e.Key, Hash("p", "1"), 0) }
		release, _ := lock()
		synctest.Wait()
		before := runtime.NumGoroutine()
		d.ledger.mu <- struct{}{} // as a goroutine does whose system call hangs
		start := time.Now()
		release()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("release took %v", waited)
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				release, free := lock()
				if !free {
					t.Error("not free")
				}
				release()
			})
		}
		wg.Wait()
		if waited := time.Since(start); waited != turnPatience {
			t.Errorf("20 calls of Lock took %v, want %v", waited, turnPatience)
		}
		if _, ok := fetch(t, d, e.Key); !ok {
			t.Error("a miss")
		}
		if n := log.count(slog.LevelWarn); n != 0 {
			t.Errorf("%d warnings:\n%s", n, &log)
		}
		synctest.Wait()
		n := runtime.NumGoroutine()
		for range 10_000 { // goroutines outside the bubble may be about to end
			if n > before+1 {
				runtime.Gosched()
				n = runtime.NumGoroutine()
			}
		}
		if n > before+1 { // the one that will unlock
			t.Errorf("%d goroutines, %d before", n, before)
		}
		<-d.ledger.mu
		synctest.Wait()
		if release, free := lock(); !free {
			t.Error("release did not unlock")
		} else {
			release()
		}
	})
}

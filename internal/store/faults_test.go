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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// reexec returns this test as a process of its own, which finds args by childArgs.
func reexec(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command(exe, "-test.run=^"+name+"$")
	cmd.Env = append(os.Environ(), "THUMBCACHE_TEST_CHILD="+strings.Join(args, "\n"))
	cmd.Stderr = os.Stderr
	return cmd
}

func childArgs() []string {
	if args := os.Getenv("THUMBCACHE_TEST_CHILD"); args != "" {
		return strings.Split(args, "\n")
	}
	return nil
}

// eventually polls until ok reports true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) { // real files and processes, a real clock
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 seconds", what)
		}
	}
}

// within fails the test if do takes longer, and does not wait for its end then.
func within(t testing.TB, limit time.Duration, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
		if d := time.Since(start); d > limit {
			t.Errorf("%s took %v, limit %v", what, d, limit)
		}
	case <-time.After(limit + 30*time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// mkfifo makes a FIFO, where there are any.
var mkfifo = func(string) error { return errors.ErrUnsupported }

// numbered returns an entry whose content tells which one it is, so that another one's bytes are noticed.
func numbered(key, variant, size int) *Entry {
	s := sample(fmt.Sprint("n", key), 0)
	s.Version = fmt.Sprint(variant)
	s.Data = bytes.Repeat(binary.LittleEndian.AppendUint64(nil, uint64(key)<<32|uint64(variant)), size/8)
	return s
}

// isNumbered reports whether e is a variant of that entry.
func isNumbered(e *Entry, key int) bool {
	var variant int
	fmt.Sscan(e.Version, &variant)
	return bytes.Equal(e.Data, numbered(key, variant, len(e.Data)).Data)
}

// store stores s as a cache does, making room if it must.
func (s *Store) store(e *Entry) {
	if need := s.Put(e); need > 0 {
		s.MakeRoom(need)
		s.Put(e)
	}
}

// lies returns the sum of what lies in dir: unlike sum, also while others write there.
func lies(t testing.TB, dir string) (u Usage) {
	t.Helper()
	for _, name := range filesIn(t, dir) {
		if info, err := os.Lstat(filepath.Join(dir, name[:2], name)); err == nil {
			u = u.plus(Usage{1, info.Size()})
		}
	}
	return u
}

// account returns what the file says, which all processes share.
func account(dir string) Usage {
	l := newLedger(dir, time.Now, func() {})
	defer l.close()
	return l.total()
}

// watch polls the sum of all files until stop is called, which returns the largest.
func watch(t testing.TB, dir string) (stop func() int64) {
	var most int64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			most = max(most, lies(t, dir).Bytes)
			select {
			case <-end:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		close(end)
		<-ended
		return most
	}
}

// TestCrash kills 500 processes that write, replace, read and remove, four at a time on one folder, and looks at what they left.
func TestCrash(t *testing.T) {
	const limit, processes = 2 << 20, 4
	if args := childArgs(); args != nil {
		d := openStore(t, args[0], limit)
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
	rounds := 500 / processes
	if testing.Short() {
		rounds = 10
	}
	dir := t.TempDir()
	largest, err := sample("0", 0).Seal()
	if err != nil {
		t.Fatal(err)
	}
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
				time.Sleep(time.Duration(rand.IntN(int(15 * time.Millisecond)))) // a real process, a real clock
				cmd.Process.Kill()
				cmd.Wait()
			}
		})
	}
	wg.Wait()
	inFlight := int64(processes * (len(largest) + len(picture(120))))
	if n := most(); n > limit+inFlight {
		t.Errorf("%d bytes, limit %d and %d being written", n, limit, inFlight)
	}
	there := lies(t, dir)
	if u := account(dir); u.Bytes < there.Bytes || u.Files < there.Files {
		t.Errorf("the account says %+v, really %+v", u, there)
	}

	d, err := Existing(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var whole, orphans int
	look := func(f File) error {
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
	if err := d.Walk(t.Context(), false, look); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d whole files, %d orphans, account %+v, really %+v", whole, orphans, account(dir), there)
	if whole == 0 {
		t.Error("nothing was ever written")
	}
	before := orphans
	if orphans = 0; d.Walk(t.Context(), false, look) != nil || orphans != 0 {
		t.Errorf("%d of %d orphans left after an hour", orphans, before)
	}
	if u, there := account(dir), lies(t, dir); u != there {
		t.Errorf("after a walk the account says %+v, really %+v", u, there)
	}
}

// TestQuotaOfProcesses has three processes put far more than fits into one folder.
func TestQuotaOfProcesses(t *testing.T) {
	const limit, processes, size = 1 << 20, 3, 2000
	if args := childArgs(); args != nil {
		d := openStore(t, args[0], limit)
		first, puts := 0, 0
		fmt.Sscan(args[1], &first, &puts)
		for i := first; i < first+puts; i++ {
			s := numbered(i, 1, size)
			if i%10 == 0 {
				s.Key, s.Cause, s.Data = Key{Provider: "p", Path: s.Key.Path, None: true}, Corrupt, nil
			}
			d.store(s)
		}
		return
	}
	puts := 800
	if testing.Short() {
		puts = 400
	}
	for name, meddle := range map[string]func(r *rand.Rand, dir string){
		"alone": func(*rand.Rand, string) {},
		"deleted from outside": func(r *rand.Rand, dir string) {
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
			t.Parallel() // they wait for each other more than they work
			dir := t.TempDir()
			most := watch(t, dir)
			var left atomic.Int32
			left.Store(processes)
			var wg sync.WaitGroup
			for i := range processes {
				cmd := reexec(t, dir, fmt.Sprint(i*puts, puts))
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					defer left.Add(-1)
					if err := cmd.Wait(); err != nil {
						t.Error(err)
					}
				})
			}
			r := rand.New(rand.NewPCG(1, 2))
			for left.Load() > 0 {
				meddle(r, dir)
				time.Sleep(10 * time.Millisecond) // real processes, a real clock
			}
			wg.Wait()
			one, _ := numbered(1<<20, 1, size).Seal()
			if n := most(); n > limit+int64(processes*len(one)) {
				t.Errorf("%d bytes, limit %d and %d being written", n, limit, processes*len(one))
			}
			if u := lies(t, dir); u.Bytes < limit*8/10 && name != "deleted from outside" {
				t.Errorf("only %d bytes are kept of %d", u.Bytes, limit)
			}
			// After a restart the account is right, and a lower limit is kept to.
			d := openStore(t, dir, limit/2)
			d.wg.Wait()
			u := lies(t, dir)
			if d.Usage() != u || account(dir) != u {
				t.Errorf("usage %+v, account %+v, really %+v", d.Usage(), account(dir), u)
			}
			if u.Bytes > limit/2 || u.Bytes < limit/2*8/10 {
				t.Errorf("%d bytes, limit %d", u.Bytes, limit/2)
			}
			err := d.Walk(t.Context(), false, func(f File) error {
				_, err := d.Read(f)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A clock that was wrong makes nothing immortal and is no reason to throw much away.
func TestClockJumps(t *testing.T) {
	dir := t.TempDir()
	one, _ := numbered(100, 1, 1000).Seal()
	size := int64(len(one))
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
			if _, err := os.Stat(pathOf(d, numbered(i, 0, 0).Key)); err == nil {
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
		t.Errorf("of 20 each are kept: %d from the future, %d from the past, %d others", future, past, normal)
	}
	if count(120, 135) != 0 {
		t.Error("not the ones used longest ago have gone")
	}
	// What came from the future was taken for used at that moment, so what is used after that stays longer.
	use(135, 160, time.Now().Add(10*time.Minute))
	if err := d.Trim(t.Context(), 25*size, nil); err != nil {
		t.Fatal(err)
	}
	if future, others := count(100, 120), count(135, 160); future != 0 || others != 25 {
		t.Errorf("%d from the future live on, and %d of 25 others", future, others)
	}
}

// Two stores on one folder in one process: what is read is always right, and the limit is kept.
func TestTwoStores(t *testing.T) {
	const limit, keys = 100 << 10, 200
	dir := t.TempDir()
	stores := []*Store{openStore(t, dir, limit), openStore(t, dir, limit)}
	most := watch(t, dir)
	rounds := 250
	if testing.Short() {
		rounds = 100
	}
	var hits atomic.Int32
	var wg sync.WaitGroup
	for w := range 4 {
		d := stores[w%2]
		wg.Go(func() { // writes ten times as much as fits
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
	one, _ := numbered(1, 1, 1500).Seal()
	if n := most(); n > limit+4*int64(len(one)) {
		t.Errorf("%d bytes, limit %d and %d being written", n, limit, 4*len(one))
	}
	if hits.Load() == 0 {
		t.Error("not one hit")
	}
	for _, d := range stores {
		if n := d.Corrupt.Load() + d.Errors.Load(); n > 0 {
			t.Errorf("%d files damaged, %d errors", d.Corrupt.Load(), d.Errors.Load())
		}
	}
}

// The account never says less than what is there, although the same files are replaced and removed at the same time.
func TestAccountOfReplaced(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{openStore(t, dir, -1), openStore(t, dir, -1)}
	for _, d := range stores {
		d.wg.Wait() // or all would be counted in the end
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
	if runtime.GOOS != "linux" { // elsewhere it is wrong until it is counted again
		stores[0].startCount()
	}
	for _, d := range stores { // and where the account could not be had in time
		d.Usage()
		d.wg.Wait()
	}
	if u, there := account(dir), lies(t, dir); u != there {
		t.Errorf("the account says %+v, really %+v", u, there)
	}
}

// What cannot be entered while somebody else holds the account is entered later, on top of what that one has entered.
func TestAccountHeld(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir, -1).Close()
	synctest.Test(t, func(t *testing.T) {
		begun := 0
		l := newLedger(dir, time.Now, func() { begun++ })
		defer l.close()
		enter := func(folder int, add Usage) {
			t.Helper()
			if !l.beginChange(t.Context(), folder, add, -1) {
				t.Fatal("no room")
			}
			l.endChange(folder, Usage{})
		}
		enter(1, Usage{5, 500})
		enter(2, Usage{5, 500})
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
		enter(1, Usage{1, 100})
		enter(2, Usage{-2, -200})
		enter(2, Usage{-2, -200})
		if u := l.total(); u != (Usage{7, 700}) || begun != 0 {
			t.Errorf("%+v while the account is held, begun %d times", u, begun)
		}
		if _, err := holder.WriteAt(Usage{8, 800}.append(nil), int64(len(usageMagic)+16)); err != nil {
			t.Fatal(err)
		}
		unlock(holder, accountAt)
		want := Usage{8 + 1 + 5 - 2 - 2, 1000}
		if u := l.total(); u != want || begun != 1 { // since the holder may have counted what was not entered
			t.Errorf("%+v, begun %d times", u, begun)
		}
		if u := account(dir); u != want {
			t.Errorf("the account says %+v", u)
		}
	})
}

// Whatever takes the place of the account, nothing hangs, nothing is written elsewhere, and the numbers come back.
func TestAccountReplaced(t *testing.T) {
	const size = 1000
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(elsewhere, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	wrong := []byte(usageMagic) // the right length, and numbers that cannot be
	for i := range 512 {
		wrong = binary.LittleEndian.AppendUint64(wrong, uint64(i)<<56|1<<45)
	}
	high := []byte(usageMagic) // numbers that could be, and are not
	for range 512 {
		high = binary.LittleEndian.AppendUint64(high, 1<<39)
	}
	low := append([]byte(usageMagic), make([]byte, usageSize-len(usageMagic))...)
	for _, test := range []struct {
		name  string
		place func(path string) error
		stays bool // as it is not ours to remove
	}{
		{"nothing", func(string) error { return nil }, false},
		{"a folder", func(path string) error { return os.Mkdir(path, 0o755) }, true},
		{"a link", func(path string) error { return os.Symlink(elsewhere, path) }, true},
		{"a dangling link", func(path string) error { return os.Symlink(elsewhere+"2", path) }, true},
		{"empty", func(path string) error { return os.WriteFile(path, nil, 0o644) }, false},
		{"garbage", func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("garbage"), 1000), 0o644) }, false},
		{"impossible numbers", func(path string) error { return os.WriteFile(path, wrong, 0o644) }, false},
		{"high numbers", func(path string) error { return os.WriteFile(path, high, 0o644) }, false},
		{"low numbers", func(path string) error { return os.WriteFile(path, low, 0o644) }, false},
		{"huge", func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(usageMagic), 0o644), os.Truncate(path, 1<<40))
		}, false},
		{"a FIFO", mkfifo, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // they wait more than they work
			dir := t.TempDir()
			path := filepath.Join(dir, usageName)
			one, _ := numbered(100, 1, size).Seal()
			limit := 20 * int64(len(one))
			d := openStore(t, dir, limit)
			for i := 100; i < 110; i++ {
				put(t, d, numbered(i, 1, size))
			}
			d.wg.Wait()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := test.place(path); err != nil {
				t.Skip("cannot be made here:", err)
			}
			within(t, 30*time.Second, "writing and reading", func() {
				for i := 110; i < 150; i++ {
					put(t, d, numbered(i, 1, size))
					if e, ok := fetch(t, d, numbered(i, 0, 0).Key); !ok || !isNumbered(e, i) {
						t.Errorf("%d is not there", i)
					}
				}
			})
			if text, _ := os.ReadFile(elsewhere); string(text) != "mine" {
				t.Error("a link was followed")
			}
			if _, err := os.Lstat(elsewhere + "2"); err == nil {
				t.Error("a file was made through a link")
			}
			if u := lies(t, dir); u.Bytes > limit+int64(len(one)) || u.Files < 15 {
				// Numbers that are too low are believed until the folder is opened once more.
				if test.name != "low numbers" {
					t.Errorf("%+v lie there, limit %d", u, limit)
				}
			}
			if test.stays {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			d2 := openStore(t, dir, limit)
			put(t, d, numbered(1, 1, size))
			put(t, d2, numbered(2, 1, size))
			eventually(t, "numbers come back", func() bool {
				u := lies(t, dir)
				return d.Usage() == u && d2.Usage() == u && account(dir) == u && u.Bytes <= limit
			})
		})
	}
}

// A link that takes the place of a file, or of one of the 256 folders, is not followed, at whatever moment it comes.
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
			before := lies(t, elsewhere)
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
			for range 3000 {
				os.Chtimes(path, long, long) // so that a hit touches the file
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
				t.Errorf("what lies elsewhere was served %d times", followed)
			}
			if hits == 0 {
				t.Error("not one hit")
			}
			d.Put(ours)
			d.RemoveSource("p", ours.Key.Path)
			if got := lies(t, elsewhere); got != before {
				t.Errorf("elsewhere lie %+v, before %+v", got, before)
			}
		})
	}
}

// A folder that is deleted, or replaced by a link to elsewhere, again and again: nothing is written elsewhere.
func TestFolderSwapped(t *testing.T) {
	top, elsewhere := t.TempDir(), t.TempDir()
	dir := filepath.Join(top, "thumbs")
	d := openStore(t, dir, 100<<10)
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
				d.health.mu.Lock()
				d.health.unwritable.retry = time.Time{} // the pause after a failure would hide the next one
				d.health.mu.Unlock()
			}
		})
	}
	rounds := 400
	if testing.Short() {
		rounds = 100
	}
	for i := range rounds {
		os.Rename(dir, dir+".kept")
		os.Rename(dir+".link", dir)
		runtime.Gosched()
		if i%2 == 0 {
			time.Sleep(50 * time.Microsecond) // for what has looked before the link came
		}
		if info, err := os.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			os.Rename(dir, dir+".link")
		}
		os.RemoveAll(dir) // which the store may have made meanwhile
		os.Rename(dir+".kept", dir)
	}
	stop.Store(true)
	wg.Wait()
	entries, err := os.ReadDir(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("made elsewhere: %s", e.Name())
	}
	eventually(t, "writing comes back", func() bool {
		d.store(numbered(1, 7, 500))
		e, ok := fetch(t, d, numbered(1, 0, 0).Key)
		return ok && e.Version == "7"
	})
}

// A folder of somebody else in place of ours stays as it is, and when it has gone all is well again.
func TestFolderReplaced(t *testing.T) {
	var log lines
	dir := filepath.Join(t.TempDir(), "thumbs")
	d, err := Open(dir, -1, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
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
	time.Sleep(checkInterval) // the account may be kept where it was for that long
	for i := range 10 {
		d.store(numbered(i, 1, 500))
		d.health.mu.Lock()
		d.health.unwritable.retry = time.Time{} // still in a failure
		d.health.mu.Unlock()
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if n := log.count("WARN"); n != 1 {
		t.Errorf("%d warnings: %q", n, log.text)
	}
	if err := os.Remove(filepath.Join(dir, "diary")); err != nil {
		t.Fatal(err)
	}
	d.store(numbered(2, 1, 500))
	if e, ok := fetch(t, d, numbered(2, 1, 500).Key); !ok || !isNumbered(e, 2) || !isMarked(dir) {
		t.Error("it does not come back")
	}
}

// Of damaged files the log tells once in a while.
func TestManyDamaged(t *testing.T) {
	var log lines
	dir := t.TempDir()
	d, err := Open(dir, -1, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
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
	if n := log.count("WARN"); n != 1 || d.Corrupt.Load() != 50 || len(filesIn(t, dir)) != 0 {
		t.Errorf("%d warnings of %d files, of which %d are left", n, d.Corrupt.Load(), len(filesIn(t, dir)))
	}
}

// An account that hangs with the disk does not stop reading, and who waits for a lock leaves nothing behind.
func TestHungAccount(t *testing.T) {
	var log lines
	d, err := Open(t.TempDir(), -1, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	e := numbered(1, 1, 500)
	d.store(e)
	eventually(t, "all is counted", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.counts == 0
	})
	lock := func() (release func(), free bool) { return d.Lock(t.Context(), &e.Key, Hash("p", "1"), 0) }
	held, _ := lock()
	before := runtime.NumGoroutine()
	d.ledger.mu <- struct{}{} // as somebody whose system call hangs
	within(t, time.Second, "release", held)
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
	within(t, turnPatience+time.Second, "20 locks", wg.Wait)
	if _, ok := fetch(t, d, e.Key); !ok {
		t.Error("nothing is read any more")
	}
	if n := log.count("WARN"); n != 0 {
		t.Errorf("log: %q", log.text)
	}
	eventually(t, "they have all gone", func() bool { return runtime.NumGoroutine() <= before+1 }) // the one who unlocks
	<-d.ledger.mu
	eventually(t, "unlocked", func() bool {
		release, free := lock()
		release()
		return free
	})
}

// A lines is a log: it counts the lines that are more than details.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(b))
	return len(b), nil
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *lines) count(level string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.text {
		if strings.Contains(line, "level="+level) {
			n++
		}
	}
	return n
}

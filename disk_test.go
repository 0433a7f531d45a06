package thumbcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFolderVanishes(t *testing.T) {
	s := newShelf()
	for i := range 50 {
		s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
	}
	dir := filepath.Join(t.TempDir(), "thumbs")
	c := mustNew(t, Config{Providers: map[string]Provider{"p": s}, Dir: dir, MemoryEntries: -1})
	for i := range 50 {
		isColour(t, mustGet(t, c, "p", fmt.Sprint(i), 10), red)
		replace(t, dir, func() error { return nil })
	}
	isColour(t, mustGet(t, c, "p", "1", 10), red)
	if n := len(filesIn(t, dir)); n != 1 {
		t.Errorf("%d files after the folder came back", n)
	}
	// A link to somewhere else takes its place.
	elsewhere := t.TempDir()
	replace(t, dir, func() error {
		err := os.Symlink(elsewhere, dir)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Skip("no symbolic links here:", err)
		}
		return err
	})
	isColour(t, mustGet(t, c, "p", "2", 10), red)
	if entries, _ := os.ReadDir(elsewhere); len(entries) > 0 {
		t.Errorf("written elsewhere: %v", entries)
	}
}

// replace removes the folder and puts something else in its place, again where the cache, which counts behind what it holds,
// wrote into the folder or made it anew meanwhile.
func replace(t *testing.T, dir string, put func() error) {
	t.Helper()
	eventually(t, dir+" is replaced", func() bool { return os.RemoveAll(dir) == nil && put() == nil })
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
	time.Sleep(2500 * time.Millisecond) // the file system is real, and so is its clock
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

// Several processes that want the same thumbnails make each once. One that is killed while it makes one keeps nobody from it.
func TestSeveralProcesses(t *testing.T) {
	const pictures, processes = 10, 4
	if dir := os.Getenv("THUMBCACHE_TEST_PROCESS"); dir != "" {
		process(t, dir, pictures)
		return
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "media"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range pictures {
		if err := os.WriteFile(filepath.Join(dir, "media", fmt.Sprint(i)), plain(30+i, 30, red), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSeveralProcesses$")
		cmd.Env = append(os.Environ(), append(args, "THUMBCACHE_TEST_PROCESS="+dir)...)
		cmd.Stderr = os.Stderr
		return cmd
	}
	// The first one hangs in an extraction, and is killed there.
	victim := run("THUMBCACHE_TEST_HANG=1")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Process.Kill()
	for {
		if made, _ := os.ReadFile(filepath.Join(dir, "made")); len(made) > 0 {
			break
		}
		time.Sleep(time.Millisecond) // real processes, a real clock
	}
	var all []*exec.Cmd
	for range processes {
		cmd := run()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	time.Sleep(50 * time.Millisecond)
	victim.Process.Kill()
	victim.Wait()
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	made, err := os.ReadFile(filepath.Join(dir, "made"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(made), "\n"); n != pictures+1 {
		t.Errorf("%d extractions, want one for each picture and that of the one that was killed:\n%s", n, made)
	}
}

// process gets every picture, and notes each extraction in a file that all processes share.
func process(t *testing.T, dir string, pictures int) {
	note, err := os.OpenFile(filepath.Join(dir, "made"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	c := mustNew(t, Config{
		Providers: map[string]Provider{"p": Files(filepath.Join(dir, "media"))},
		Dir:       filepath.Join(dir, "thumbs"),
		Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			fmt.Fprintf(note, "%d %s\n", os.Getpid(), src.Name)
			if os.Getenv("THUMBCACHE_TEST_HANG") != "" {
				<-ctx.Done()
			}
			time.Sleep(20 * time.Millisecond)
			return Images().Extract(ctx, src)
		}),
	})
	for i := range pictures {
		thumb, err := c.Get(t.Context(), "p", fmt.Sprint(i), 0)
		if err != nil || thumb.Width != 30+i {
			t.Errorf("%d: %+v, %v", i, thumb, err)
		}
	}
}

// populate makes a folder of n stored thumbnails, quickly: most are links to one file. It returns the length of one.
func populate(b *testing.B, dir string, n int) (length int64) {
	b.Helper()
	s := newShelf()
	s.set("0", tag("1"), plain(30, 30, red))
	c := mustNew(b, Config{Providers: map[string]Provider{"p": s}, Dir: dir})
	mustGet(b, c, "p", "0", 10)
	c.Close()
	first := filesIn(b, dir)[0]
	first = filepath.Join(dir, first[:2], first)
	data, err := os.ReadFile(first)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	long := time.Now().Add(-100 * time.Hour)
	var target string
	for i := range n {
		hash := hashOf(source{"p", fmt.Sprint("file", i)})
		name := filepath.Join(dir, hash[:2], hash+"_10.jpg")
		if i%50_000 == 0 { // more links than that a file cannot have everywhere
			err = os.WriteFile(name, data, 0o644)
			target = name
			os.Chtimes(name, long, long)
		} else {
			err = os.Link(target, name)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	// The account is lost, so that everything has to be counted anew.
	if err := os.Remove(filepath.Join(dir, "usage")); err != nil {
		b.Fatal(err)
	}
	return int64(len(data))
}

// BenchmarkNew measures what a start costs with many files in the folder: New, the first Get of a stored thumbnail and the first
// of a new one, all while the files are being counted. With THUMBCACHE_BENCH_FILES set it is for that many files too.
func BenchmarkNew(b *testing.B) {
	counts := []int{1000, 100_000}
	if n, err := strconv.Atoi(os.Getenv("THUMBCACHE_BENCH_FILES")); err == nil {
		counts = append(counts, n)
	}
	for _, n := range counts {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			populate(b, dir, n)
			s := newShelf()
			s.set("0", tag("1"), plain(30, 30, red))
			var took [3][]time.Duration
			for i := 0; b.Loop(); i++ {
				s.set(fmt.Sprint("new", i), tag("1"), plain(30, 30, red))
				start := time.Now()
				c, err := New(Config{Providers: map[string]Provider{"p": s}, Dir: dir, DiskBytes: -1})
				took[0] = append(took[0], time.Since(start))
				if err != nil {
					b.Fatal(err)
				}
				start = time.Now()
				mustGet(b, c, "p", "0", 10)
				took[1] = append(took[1], time.Since(start))
				start = time.Now()
				mustGet(b, c, "p", fmt.Sprint("new", i), 10)
				took[2] = append(took[2], time.Since(start))
				c.Close()
			}
			for i, name := range []string{"µs/New", "µs/stored", "µs/new"} {
				slices.Sort(took[i])
				b.ReportMetric(float64(took[i][len(took[i])/2].Microseconds()), name)
			}
		})
	}
}

// BenchmarkTrim measures disk hits while 100,000 files are removed behind them, and without.
func BenchmarkTrim(b *testing.B) {
	const files, hits = 100_000, 50
	for _, trim := range []bool{false, true} {
		b.Run(fmt.Sprintf("trim=%v", trim), func(b *testing.B) {
			s := newShelf()
			for i := range hits {
				s.set(fmt.Sprint(i), tag("1"), plain(30, 30, red))
			}
			cfg := Config{Providers: map[string]Provider{"p": s}, Dir: b.TempDir(), DiskBytes: -1, MemoryEntries: -1, Revalidate: -1}
			length := populate(b, cfg.Dir, files)
			c := mustNew(b, cfg)
			for i := range hits {
				mustGet(b, c, "p", fmt.Sprint(i), 10)
			}
			c.Close()
			if trim {
				cfg.DiskBytes = 2 * hits * length
			}
			c = mustNew(b, cfg)
			for !trim && c.Stats().DiskEntries < files {
				time.Sleep(10 * time.Millisecond) // until it is counted, so that nothing goes on behind
			}
			var took []time.Duration
			b.ResetTimer()
			start := time.Now()
			trimming := trim
			for i := 0; i < b.N || trimming; i++ {
				if i%1000 == 0 {
					trimming = trim && c.Stats().DiskEntries > 2*hits
				}
				start := time.Now()
				if _, err := c.Get(b.Context(), "p", fmt.Sprint(i%hits), 10); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(len(took))/time.Since(start).Seconds(), "hits/s")
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "µs/p50")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "µs/p99")
			b.ReportMetric(float64(c.Stats().Evictions), "evictions")
		})
	}
}

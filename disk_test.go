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

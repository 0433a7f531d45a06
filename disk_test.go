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
	"testing/synctest"
	"time"
)

// A folder that is deleted is made again. A link that takes its place is not followed.
func TestFolderVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "thumbs")
	c := mustNew(t, Config{Providers: map[string]Provider{"p": numberedPictures(50)}, Dir: dir, MemoryEntries: -1})
	for i := range 50 {
		checkColor(t, mustGet(t, c, "p", fmt.Sprint(i), 10), red)
		replaceFolder(t, dir, func() error { return nil })
	}
	checkColor(t, mustGet(t, c, "p", "1", 10), red)
	if n := len(filesIn(t, dir)); n != 1 {
		t.Errorf("%d files in the new folder, want 1", n)
	}
	elsewhere := t.TempDir()
	replaceFolder(t, dir, func() error {
		err := os.Symlink(elsewhere, dir)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Skip("cannot make symbolic links here:", err)
		}
		return err
	})
	checkColor(t, mustGet(t, c, "p", "2", 10), red)
	if entries, _ := os.ReadDir(elsewhere); len(entries) > 0 {
		t.Errorf("written elsewhere: %v", entries)
	}
}

// If the disk is full, thumbnails are served all the same. When there is room again, they are stored.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small disk here: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	p := newTestProvider()
	for i := range 40 {
		p.set(fmt.Sprint(i), tag("1"), noisy(200, 200, 90))
	}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: dir})
	for i := range 40 {
		mustGet(t, c, "p", fmt.Sprint(i), 150)
	}
	if c.Stats().DiskErrors == 0 {
		t.Fatal("the disk was not full")
	}
	for _, name := range filesIn(t, dir) {
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("temporary file left: %s", name)
		}
		os.Remove(filepath.Join(dir, name[:2], name))
	}
	eventually(t, "a thumbnail is stored", func() bool {
		if err := c.Invalidate("p", "0"); err != nil {
			t.Fatal(err)
		}
		mustGet(t, c, "p", "0", 150)
		return len(filesIn(t, dir)) == 1
	})
}

// If the disk is full, a thumbnail that could not be replaced on it does not come back when memory has lost the new one.
func TestDiskFullChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small disk here: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	p := newTestProvider()
	for i := range 2 {
		p.set(fmt.Sprint(i), tag("1"), noisy(200, 200, 90))
	}
	thumbs := filepath.Join(dir, "thumbs")
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, Dir: thumbs, MemoryEntries: 1, Revalidate: time.Millisecond})
	old := mustGet(t, c, "p", "0", 150)
	if len(filesIn(t, thumbs)) != 1 {
		t.Fatal("not stored")
	}
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	p.set("0", tag("2"), noisy(200, 200, 80))
	eventually(t, "the new picture is served", func() bool { return mustGet(t, c, "p", "0", 150).ETag != old.ETag })
	for range 20 { // in some of which no check of the source comes first
		mustGet(t, c, "p", "1", 150) // takes its place in memory
		if mustGet(t, c, "p", "0", 150).ETag == old.ETag {
			t.Fatal("the old picture is served again")
		}
	}
}

// While a thumbnail is being saved, another one of a newer state of the source is saved as well.
func TestSaveDuringSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		c := mustNew(t, Config{Providers: map[string]Provider{"p": newTestProvider()}, Dir: t.TempDir(), Observer: &Observer{
			Stage: func(_, _, stage string, _ time.Duration, _ error) { <-slow }, // after the write, before the save has ended
		}})
		e := entry{key: key{source: source{"p", "a"}, shape: shape{size: 10}}, thumb: &Thumbnail{Data: []byte("picture"), Width: 10, Height: 10}}
		save := func(state string) {
			e := e
			e.stamp = tag(state)
			c.disk.save(c.generations.of(e.key.source), &e, false)
		}
		go save("1")
		synctest.Wait()
		save("2")
		if got := c.disk.load(t.Context(), &e.key, hashOf(e.key.source)); got == nil || !got.stamp.equal(tag("2")) {
			t.Errorf("stored: %+v, want state 2", got)
		}
		close(slow)
	})
}

// Two caches may use one folder, as two processes do.
func TestSharedFolder(t *testing.T) {
	cfg := Config{Providers: map[string]Provider{"p": numberedPictures(20)}, Dir: t.TempDir(), MemoryEntries: -1, DiskBytes: 8 << 10}
	var wg sync.WaitGroup
	for range 2 {
		c := mustNew(t, cfg)
		for seed := range uint64(4) {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, 1))
				for range 100 {
					i := r.IntN(20)
					if r.IntN(20) == 0 {
						c.Invalidate("p", fmt.Sprint(i))
					}
					getNumbered(t, c, i)
				}
			})
		}
	}
	wg.Wait()
}

// If several processes need the same thumbnails, each is made once. A process that is killed while it makes a thumbnail does not
// block the others.
func TestSeveralProcesses(t *testing.T) {
	const pictures, processes = 10, 4
	if dir := os.Getenv(childEnv); dir != "" {
		getAllPictures(t, dir, pictures)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "media"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range pictures {
		if err := os.WriteFile(filepath.Join(dir, "media", fmt.Sprint(i)), plain(30+i, 30, red), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	start := func(env ...string) *exec.Cmd {
		cmd := reexec(t, dir)
		cmd.Env = append(cmd.Env, env...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		return cmd
	}
	lines := func(name string) int {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		return strings.Count(string(text), "\n")
	}
	// The victim hangs in its first extraction, and is killed when the others wait for it.
	victim := start("THUMBCACHE_TEST_HANG=1")
	eventually(t, "the victim extracts", func() bool { return lines("extractions") == 1 })
	var others []*exec.Cmd
	for range processes {
		others = append(others, start())
	}
	eventually(t, "the others wait", func() bool { return lines("waits") == processes })
	victim.Process.Kill()
	victim.Wait()
	for _, cmd := range others {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if n := lines("extractions"); n != pictures+1 {
		t.Errorf("%d extractions, want one for each of %d pictures and that of the victim", n, pictures)
	}
}

// getAllPictures runs in a child process. It writes a line for each extraction, and for the first wait for another process, to
// files that all processes share.
func getAllPictures(t *testing.T, dir string, pictures int) {
	open := func(name string) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	extractions, waits := open("extractions"), open("waits")
	turn := make(chan struct{}, 1)
	c := mustNew(t, Config{
		Workers:   1,
		Providers: map[string]Provider{"p": Files(filepath.Join(dir, "media"))},
		Dir:       filepath.Join(dir, "thumbs"),
		Extractor: ExtractorFunc(func(ctx context.Context, src *Source) (*Picture, error) {
			fmt.Fprintf(extractions, "%d %s\n", os.Getpid(), src.Name)
			if os.Getenv("THUMBCACHE_TEST_HANG") != "" {
				<-ctx.Done()
			}
			time.Sleep(20 * time.Millisecond) // long enough for the others to ask for the same picture
			return extractImage(ctx, src)
		}),
		Observer: &Observer{Stage: func(_, _, stage string, _ time.Duration, _ error) {
			if stage == "queue" {
				select {
				case turn <- struct{}{}:
				default:
				}
			}
		}},
	})
	go func() {
		<-turn // the first request has the worker, and releases it to wait for another process
		if release, err := c.workers.Acquire(t.Context(), nil); err == nil {
			fmt.Fprintln(waits, os.Getpid())
			release()
		}
	}()
	for i := range pictures {
		getNumbered(t, c, i)
	}
}

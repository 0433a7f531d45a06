//go:build !race

// The race detector takes several times as much memory.

package thumbcache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thumbcache/thumbcache/internal/sysmem"
)

// A crowd is a provider of any number of different pictures: copies of one that differ in their last bytes.
type crowd struct {
	picture []byte
	gate    chan struct{} // Open waits until it is closed
}

func (p crowd) Stat(context.Context, string) (Stamp, error) { return tag("1"), nil }

func (p crowd) Open(_ context.Context, path string) (*Source, error) {
	<-p.gate
	n, err := strconv.Atoi(path)
	if err != nil {
		return nil, err
	}
	return BytesSource(path, tag("1"), binary.BigEndian.AppendUint32(bytes.Clone(p.picture), uint32(n))), nil
}

// TestSmallBox asks for thousands of different thumbnails at once, in a process with one processor and little memory. Flights that
// wait for their turn need no goroutine, and memory stays within the limits.
func TestSmallBox(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		askCrowd(t)
		return
	}
	cmd := reexec(t, "1")
	cmd.Args = append(cmd.Args, "-test.v")
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1", "GOMEMLIMIT=128MiB")
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

func askCrowd(t *testing.T) {
	requests := series(500, 10_000)
	p := crowd{noisy(series(64, 256), series(64, 256), 85), make(chan struct{})}
	c := mustNew(t, Config{
		Providers: map[string]Provider{"p": p},
		Dir:       t.TempDir(),
		Queue:     requests,
		// A quarter of GOMEMLIMIT would leave 64 MiB for everything but the caches; the stacks of the callers take 40 of them.
		DecodeBytes: 48 << 20,
		Revalidate:  -1, // on a busy machine, many timers of looks may fire at once, each with a goroutine for some microseconds
	})
	var callers atomic.Int64
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		var n int64
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-tick.C:
				left := callers.Load() // before the others are counted: callers that end meanwhile do not count as others
				n = max(n, int64(runtime.NumGoroutine())-left)
			case <-stop:
				most <- n
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range requests {
		callers.Add(1)
		wg.Go(func() {
			defer callers.Add(-1)
			if _, err := c.Get(t.Context(), "p", fmt.Sprint(i), 48); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all requests wait for the first", func() bool { return c.workers.Waiting() == requests-1 })
	close(p.gate)
	wg.Wait()
	close(stop)
	others := <-most
	if others > 100 {
		t.Errorf("%d goroutines besides the callers", others)
	}
	if st := c.Stats(); st.Misses != uint64(requests) || st.DiskErrors != 0 || st.DiskEntries != int64(requests) {
		t.Errorf("stats: %+v", st)
	}
	peak, err := peakMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d goroutines besides the callers; peak memory: %d MiB", others, peak>>20)
	if limit := 32<<20 + c.decodeBytes + 64<<20; peak > limit {
		t.Errorf("peak memory: %d MiB, want at most %d MiB", peak>>20, limit>>20)
	}
}

// TestMemoryGroup asks for thumbnails of large pictures in a control group with little memory. The kernel does not kill the process.
func TestMemoryGroup(t *testing.T) {
	const limit = 128 << 20
	if os.Getenv(childEnv) != "" {
		askForLarge(t)
		return
	}
	dir := newMemoryGroup(t, limit)
	child := reexec(t, "1")
	cmd := exec.Command("sh", append([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, dir}, append(child.Args, "-test.v")...)...)
	cmd.Env = append(child.Env, "GOMEMLIMIT=100MiB") // otherwise garbage alone may fill the group between two collections
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

func askForLarge(t *testing.T) {
	p := crowd{noisy(2000, 1500, 85), make(chan struct{})}
	close(p.gate)
	log := &syncBuffer{}
	c := mustNew(t, Config{Providers: map[string]Provider{"p": p}, MemoryEntries: 1000, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if c.decodeBytes != sysmem.MinBudget {
		t.Errorf("DecodeBytes is %d MiB", c.decodeBytes>>20)
	}
	// All pictures are kept for a while, and most of the memory is taken by something else.
	ballast := make([]byte, 40<<20)
	for i := range ballast {
		ballast[i] = byte(i)
	}
	var wg sync.WaitGroup
	for i := range series(60, 1000) {
		wg.Go(func() {
			if _, err := c.Get(t.Context(), "p", fmt.Sprint(i), 1000); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !strings.Contains(log.String(), "memory is short") {
		t.Errorf("the shortage was not noticed: %s", log)
	}
	runtime.KeepAlive(ballast)
}

// newMemoryGroup makes a control group with a limit of memory. The test is skipped if it may not.
func newMemoryGroup(t *testing.T, limit int) (dir string) {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		root, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		switch {
		case len(fields) != 3 || fields[0] != "0" && fields[1] != "memory":
			continue
		case fields[0] == "0":
			root, file = "/sys/fs/cgroup", "memory.max"
		}
		dir := filepath.Join(root, fields[2], fmt.Sprint("thumbcache-test-", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, file), []byte(fmt.Sprint(limit)), 0) == nil {
			return dir
		}
	}
	t.Skip("this process may make no control group that limits memory")
	return ""
}

// peakMemory returns the largest resident size of this process so far.
func peakMemory() (bytes int64, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return 0, errors.New("no VmHWM")
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	return kib << 10, err
}

package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/thumbcache/thumbcache/internal/render"
)

func TestMain(m *testing.M) {
	// The test binary runs itself again, to measure the peak of a process that makes one thumbnail.
	if os.Getenv("BENCH_PEAK") != "" {
		if err := printPeak(ways[0]); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestPeakMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the peak is read from /proc")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "BENCH_PEAK=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	mib, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB", mib)
	if mib > 20 {
		t.Errorf("3000 → 256 took %d MiB", mib)
	}
}

// In steady state a thumbnail leaves less than 100 KiB of garbage, most of it the thumbnail itself.
func TestGarbage(t *testing.T) {
	data, err := testdata.ReadFile("testdata/ordinary-3000.jpg")
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 10
	var before, after runtime.MemStats
	for i := range 2 * rounds {
		if i == rounds {
			runtime.ReadMemStats(&before)
		}
		if _, err := ours(data, 256); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	bytes, allocs := (after.TotalAlloc-before.TotalAlloc)/rounds, (after.Mallocs-before.Mallocs)/rounds
	t.Logf("%d bytes in %d allocations", bytes, allocs)
	if bytes > 100<<10 || allocs > 100 {
		t.Errorf("%d bytes in %d allocations", bytes, allocs)
	}
}

// No picture takes more memory than its header says, garbage included.
func TestCost(t *testing.T) {
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		for _, size := range []int{64, 256, 512, 0} {
			o := render.Options{Size: size, Quality: quality}
			cost, err := render.Cost(s.data, o)
			if err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			runtime.GC() // empties the pools
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := render.Make(context.Background(), s.data, o); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			used := int64(after.TotalAlloc - before.TotalAlloc)
			t.Logf("%v to %d: cost %d KiB, used %d KiB", s, size, cost>>10, used>>10)
			if used > cost || cost > 3*used+1<<20 {
				t.Errorf("%v to %d: cost %d, used %d", s, size, cost, used)
			}
		}
	}
}

package main

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"hash/crc32"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/thumbcache/thumbcache/internal/render"
)

func TestMain(m *testing.M) {
	// The test binary runs itself again, to measure the peak of a process that makes one thumbnail.
	if file := os.Getenv("BENCH_PEAK"); file != "" {
		data, err := os.ReadFile(file)
		if err == nil {
			err = printPeak(ways[0], data)
		}
		if err != nil {
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
	photo, err := testdata.ReadFile("testdata/ordinary-3000.jpg")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []struct {
		name  string
		data  []byte
		limit int // MiB besides the file
	}{
		{"JPEG of 3000 pixels", photo, 20},
		{"PNG of 10,000 x 10,000 pixels", largePNG(10_000), 16},
	} {
		path := filepath.Join(t.TempDir(), "picture")
		if err := os.WriteFile(path, file.data, 0o666); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "BENCH_PEAK="+path)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		mib, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d MiB, of which the file has %.1f", file.name, mib, float64(len(file.data))/(1<<20))
		if mib-len(file.data)>>20 > file.limit {
			t.Errorf("%s: %d MiB", file.name, mib)
		}
	}
}

// largePNG returns a square picture in RGB, whose rows are compressed as they are made.
func largePNG(edge int) []byte {
	var data bytes.Buffer
	z := zlib.NewWriter(&data)
	row := make([]byte, 1+3*edge)
	for x := range edge {
		row[1+3*x] = byte(x * 255 / edge)
	}
	for range edge {
		z.Write(row) // a Buffer takes everything
	}
	z.Close()
	file := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(name string, data []byte) {
		file = binary.BigEndian.AppendUint32(file, uint32(len(data)))
		start := len(file)
		file = append(append(file, name...), data...)
		file = binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(file[start:]))
	}
	header := binary.BigEndian.AppendUint32(nil, uint32(edge))
	header = binary.BigEndian.AppendUint32(header, uint32(edge))
	chunk("IHDR", append(header, 8, 2, 0, 0, 0)) // 8 bits, RGB
	chunk("IDAT", data.Bytes())
	chunk("IEND", nil)
	return file
}

// In steady state a thumbnail of a JPEG or PNG leaves less than 100 KiB of garbage, most of it the thumbnail itself. Of the other
// formats, the decoded picture is garbage too: reduced for TIFF and WebP, and whole for the rest.
func TestGarbage(t *testing.T) {
	photo, err := testdata.ReadFile("testdata/ordinary-1400-progressive.jpg")
	if err != nil {
		t.Fatal(err)
	}
	m, err := jpeg.Decode(bytes.NewReader(photo))
	if err != nil {
		t.Fatal(err)
	}
	garbage(t, "JPEG", photo, 100<<10)
	limits := map[string]int{"PNG": 100 << 10, "TIFF": 3 << 20, "WebP lossy": 2 << 20, "WebP lossless": 10 << 20, "BMP": 9 << 20, "GIF": 9 << 20}
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) { garbage(t, f.name, f.encode(t, m), limits[f.name]) })
	}
}

// garbage measures how many bytes a thumbnail of 256 pixels allocates.
func garbage(t *testing.T, name string, data []byte, limit int) {
	t.Helper()
	const rounds = 5
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
	bytes, allocs := int(after.TotalAlloc-before.TotalAlloc)/rounds, int(after.Mallocs-before.Mallocs)/rounds
	t.Logf("%s: %d KiB in %d allocations", name, bytes>>10, allocs)
	if bytes > limit {
		t.Errorf("%s: %d KiB in %d allocations, limit %d KiB", name, bytes>>10, allocs, limit>>10)
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

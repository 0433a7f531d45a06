//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A histogram counts times, in buckets that are at most 1/16 apart.
type histogram map[int]int

func (h histogram) add(d time.Duration) { h[bucketOf(d)]++ }

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < 32 {
		return int(n)
	}
	shift := bits.Len64(n) - 5
	return shift<<4 + int(n>>shift)
}

// endOf returns the end of a bucket.
func endOf(bucket int) time.Duration {
	if bucket < 32 {
		return time.Duration(bucket)
	}
	shift := bucket>>4 - 1
	return time.Duration((bucket&15+16+1)<<shift - 1)
}

func (h histogram) merge(other histogram) {
	for b, n := range other {
		h[b] += n
	}
}

func (h histogram) count() (n int) {
	for _, m := range h {
		n += m
	}
	return n
}

// quantile returns the time that a part of all did not exceed.
func (h histogram) quantile(q float64) time.Duration {
	var buckets []int
	for b := range h {
		buckets = append(buckets, b)
	}
	slices.Sort(buckets)
	left := int(q * float64(h.count()))
	for _, b := range buckets {
		if left -= h[b]; left < 0 {
			return endOf(b)
		}
	}
	if len(buckets) == 0 {
		return 0
	}
	return endOf(buckets[len(buckets)-1])
}

// A status is what the system says about a process.
type status struct {
	rss, anonymous uint64 // bytes
	threads        int
}

func statusOf(pid int) (s status) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		var n uint64
		name, value, _ := strings.Cut(line, ":")
		fmt.Sscan(value, &n)
		switch name {
		case "VmRSS":
			s.rss = n << 10
		case "RssAnon":
			s.anonymous = n << 10
		case "Threads":
			s.threads = int(n)
		}
	}
	return s
}

// descriptors returns what this process has open.
func descriptors() (open []string) {
	files, _ := os.ReadDir("/proc/self/fd")
	for _, f := range files {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil { // not the one of ReadDir
			open = append(open, f.Name()+" "+to)
		}
	}
	return open
}

func countDescriptors(pid int) int {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(files)
}

// children returns the processes that a process has started.
func children(pid int) (pids []string) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		data, _ := os.ReadFile(t)
		pids = append(pids, strings.Fields(string(data))...)
	}
	return pids
}

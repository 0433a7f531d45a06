// Package sysmem tells how much memory this process may use, and how much of it is left: by the environment variable GOMEMLIMIT,
// by the system, and on Linux by its control groups, as containers have them.
package sysmem

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
)

// Unknown is the Left of a Bound if the system does not tell.
const Unknown = math.MaxInt64

// A Bound is one limit of this process's memory, in bytes.
type Bound struct {
	Name  string // what sets the limit, such as "GOMEMLIMIT" or "a control group"
	Limit int64
	Left  int64 // what may still be allocated; negative if the limit is exceeded
}

// Find finds the limits of this process, and returns a function that reads them. On Linux that reads some small files, which takes
// about 0.1 ms. It may be called from several goroutines at once.
func Find() (read func() []Bound) {
	system := findSystem()
	return func() []Bound {
		all := system()
		if b, ok := goLimit(); ok {
			all = append(all, b)
		}
		return all
	}
}

// Smallest returns the bound with the smallest limit. It reports false if there is none.
func Smallest(all []Bound) (b Bound, ok bool) {
	for i, other := range all {
		if i == 0 || other.Limit < b.Limit {
			b = other
		}
	}
	return b, len(all) > 0
}

// Bounds of Budget. 32 MiB are enough for a thumbnail of 1000 pixels of a 24 megapixel JPEG (14 MiB) or of a PNG of 4000x3000
// (23 MiB), and 256 MiB for one of 2048 pixels of a PNG of 48 megapixels.
const (
	MinBudget = 32 << 20
	MaxBudget = 256 << 20
)

// Budget returns how much memory pictures that are decoded at the same time may take: a quarter of the smallest limit, within
// MinBudget and MaxBudget.
func Budget(all []Bound) int64 {
	b, ok := Smallest(all)
	if !ok {
		return MaxBudget
	}
	return min(max(b.Limit/4, MinBudget), MaxBudget)
}

// Shortage reports whether memory is short, and the least that is left of any limit. It is short if less than an eighth of a limit is
// left, but at least MinBudget and at most MaxBudget. To end a shortage, half as much again must be left, or caches would grow and
// shrink all the time.
func Shortage(all []Bound, before bool) (left int64, short bool) {
	left = Unknown
	for _, b := range all {
		enough := min(max(b.Limit/8, MinBudget), MaxBudget)
		if before {
			enough += enough / 2
		}
		left = min(left, b.Left)
		short = short || b.Left < enough
	}
	return left, short
}

// goLimit returns the limit that the program has set for Go's memory. What counts as used is what the last garbage collection left:
// before the next one, memory may be full of garbage without any shortage.
func goLimit() (b Bound, ok bool) {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return b, false
	}
	used := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/metadata/mcache/inuse:bytes"},
		{Name: "/memory/classes/metadata/mspan/inuse:bytes"},
		{Name: "/memory/classes/metadata/other:bytes"},
		{Name: "/memory/classes/other:bytes"},
		{Name: "/memory/classes/profiling/buckets:bytes"},
	}
	metrics.Read(used)
	left := limit
	for _, s := range used {
		if s.Value.Kind() == metrics.KindUint64 {
			left -= int64(s.Value.Uint64())
		}
	}
	return Bound{"GOMEMLIMIT", limit, left}, true
}

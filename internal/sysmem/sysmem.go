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
	Name  string // what sets the limit
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

package sysmem

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestSmallest(t *testing.T) {
	if b, ok := Smallest(nil); ok {
		t.Errorf("got %+v of nothing", b)
	}
	if b, ok := Smallest([]Bound{{"a", 3, 3}, {"b", 2, 2}, {"c", 4, 1}}); !ok || b.Name != "b" {
		t.Errorf("got %+v", b)
	}
}

// Of Go's own limit, live memory counts and garbage does not.
func TestGoLimit(t *testing.T) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Skip("GOMEMLIMIT is set")
	}
	if b, ok := goLimit(); ok {
		t.Errorf("got %+v without a limit", b)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(256 << 20))
	live := make([]byte, 64<<20)
	runtime.GC()
	b, ok := goLimit()
	if !ok || b.Name != "GOMEMLIMIT" || b.Limit != 256<<20 || b.Left > 192<<20 || b.Left < 128<<20 {
		t.Errorf("got %+v with 64 MiB in use", b)
	}
	runtime.KeepAlive(live)
	for range 8 {
		live = make([]byte, 8<<20) // garbage, except the last
	}
	runtime.GC()
	if b, _ = goLimit(); b.Left < 224<<20 {
		t.Errorf("got %+v with 8 MiB in use", b)
	}
	runtime.KeepAlive(live)
}

func TestShortage(t *testing.T) {
	const MiB, GiB = 1 << 20, 1 << 30
	bound := func(limit, left int64) Bound { return Bound{Limit: limit, Left: left} }
	for _, tt := range []struct {
		bounds []Bound
		before bool
		left   int64
		short  bool
	}{
		{nil, false, Unknown, false},
		{nil, true, Unknown, false},
		{[]Bound{bound(8*GiB, Unknown)}, false, Unknown, false},
		{[]Bound{bound(8*GiB, 256*MiB)}, false, 256 * MiB, false},
		{[]Bound{bound(8*GiB, 255*MiB)}, false, 255 * MiB, true},
		{[]Bound{bound(8*GiB, 300*MiB)}, true, 300 * MiB, true},
		{[]Bound{bound(8*GiB, 384*MiB)}, true, 384 * MiB, false},
		{[]Bound{bound(GiB, 127*MiB)}, false, 127 * MiB, true},
		{[]Bound{bound(128*MiB, 31*MiB)}, false, 31 * MiB, true},
		{[]Bound{bound(128*MiB, 32*MiB)}, false, 32 * MiB, false},
		{[]Bound{bound(128*MiB, 64*MiB), bound(8*GiB, 50*MiB)}, false, 50 * MiB, true},
		{[]Bound{bound(128*MiB, -5*MiB), bound(8*GiB, GiB)}, false, -5 * MiB, true},
	} {
		if left, short := Shortage(tt.bounds, tt.before); left != tt.left || short != tt.short {
			t.Errorf("%+v, before: %v: got %d, %v", tt.bounds, tt.before, left, short)
		}
	}
}

// The budget is a quarter of the smallest limit.
func TestBudget(t *testing.T) {
	for _, tt := range []struct{ limit, want int64 }{
		{64 << 20, MinBudget}, {128 << 20, 32 << 20}, {512 << 20, 128 << 20}, {1 << 30, MaxBudget}, {64 << 30, MaxBudget}, {0, MaxBudget},
	} {
		var all []Bound
		if tt.limit > 0 {
			all = []Bound{{Name: "larger", Limit: 1 << 40}, {Name: "test", Limit: tt.limit}}
		}
		if got := Budget(all); got != tt.want {
			t.Errorf("%d MiB: got %d MiB, want %d", tt.limit>>20, got>>20, tt.want>>20)
		}
	}
}

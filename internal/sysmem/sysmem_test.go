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

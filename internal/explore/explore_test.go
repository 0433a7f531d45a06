package explore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// interleave lets goroutines with the given numbers of steps take turns, and returns who went when.
func interleave(s *Schedule, steps ...int) (order string) {
	steps = slices.Clone(steps)
	for {
		var names []string
		for i, left := range steps {
			if left > 0 {
				names = append(names, fmt.Sprint(i))
			}
		}
		if names == nil {
			return order
		}
		next := names[s.Choose(names...)]
		order += next
		steps[next[0]-'0']--
	}
}

// Every order is run once.
func TestAll(t *testing.T) {
	for _, tt := range []struct {
		bound int
		steps []int
		want  int
	}{
		{-1, []int{2, 2}, 6},
		{-1, []int{3, 3, 2}, 560},
		{-1, nil, 1},
		{0, []int{2, 2}, 1},
		{1, []int{2, 2}, 3}, // 0011, 0101 and 1001
	} {
		seen := make(map[string]bool)
		runs := All(t, tt.bound, func(t *testing.T, s *Schedule) {
			order := interleave(s, tt.steps...)
			if want := strings.Join(strings.Split(order, ""), "; "); s.String() != want {
				t.Errorf("the schedule says %q, want %q", s, want)
			}
			seen[order] = true
		})
		if runs != tt.want || len(seen) != tt.want {
			t.Errorf("%v within %d: %d runs, %d of them different, want %d", tt.steps, tt.bound, runs, len(seen), tt.want)
		}
	}
}

func TestSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps Steps
		failed := errors.New("failed")
		ctx, cancel := context.WithCancel(t.Context())
		got := make(map[string]chan error)
		begin := func(names ...string) {
			for _, name := range names {
				answer := make(chan error, 1)
				got[name] = answer
				go func() { answer <- steps.Wait(ctx, name) }()
			}
		}
		check := func(want ...string) []*Step {
			t.Helper()
			var names []string
			pending := steps.Pending()
			for _, s := range pending {
				names = append(names, s.Name)
			}
			if !slices.Equal(names, want) {
				t.Fatalf("pending: %q, want %q", names, want)
			}
			return pending
		}
		begin("c", "d", "b")
		check("b", "c", "d")
		begin("a")
		pending := check("b", "c", "d", "a")
		steps.GoOn(pending[2], failed)
		steps.GoOn(pending[3], nil)
		if err := <-got["d"]; err != failed {
			t.Error(err)
		}
		if err := <-got["a"]; err != nil {
			t.Error(err)
		}
		check("b", "c")
		cancel()
		check()
		if err := <-got["b"]; err != context.Canceled {
			t.Error(err)
		}
	})
}

// A failure comes with the schedule, with which it can be run again.
func TestReplay(t *testing.T) {
	const child = "EXPLORE_TEST_CHILD"
	if kind := os.Getenv(child); kind != "" {
		runs := 0
		All(t, -1, func(t *testing.T, s *Schedule) {
			runs++
			if interleave(s, 2, 2) != "1001" {
				return
			}
			switch kind {
			case "fails":
				t.Errorf("in run %d", runs)
			case "panics":
				panic(fmt.Sprintf("in run %d", runs))
			case "hangs":
				t.Logf("in run %d", runs)
				<-make(chan bool)
			case "leaks":
				t.Logf("in run %d", runs)
				go func() { time.Sleep(time.Hour); <-make(chan bool) }()
			case "differs":
				t.Logf("in run %d", runs)
				s.at--
				s.Choose("2")
			}
		})
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const schedule = Env + "=1; 0; 0; 1"
	for kind, message := range map[string]string{
		"fails": "", "panics": "", "hangs": "deadlock", "leaks": "deadlock", "differs": "other events",
	} {
		for _, replay := range []bool{false, true} {
			if replay && kind == "differs" {
				continue
			}
			cmd := exec.Command(exe, "-test.run=^TestReplay$")
			cmd.Env = append(os.Environ(), child+"="+kind, "GOCOVERDIR="+t.TempDir())
			run := "in run 4"
			if replay {
				cmd.Env = append(cmd.Env, schedule)
				run = "in run 1"
			}
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), run) || !strings.Contains(string(out), message) ||
				kind != "differs" && !strings.Contains(string(out), strings.Replace(schedule, "=", "='", 1)+"'") {
				t.Errorf("%s, replay %v: %v\n%s", kind, replay, err, out)
			}
		}
	}
}

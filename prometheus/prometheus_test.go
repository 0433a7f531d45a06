package prometheus_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/thumbcache/thumbcache"
	tcprom "github.com/thumbcache/thumbcache/prometheus"
)

// distinctStats returns Stats with a different value in each field, and the metrics that they must be exported as.
func distinctStats() (s thumbcache.Stats, want map[string]float64) {
	want = make(map[string]float64)
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		name = "thumbcache_" + name
		switch f := v.Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(uint64(100 + i))
			name += "_total"
		case reflect.Int64:
			f.SetInt(int64(100 + i))
		}
		want[name] = float64(100 + i)
	}
	return s, want
}

// gather returns the values that a registry exports, by name and labels.
func gather(t *testing.T, r prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += fmt.Sprintf("{%s=%q}", l.GetName(), l.GetValue())
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() // one of the two is zero
		}
	}
	return got
}

// The collector exports every field of Stats, so a new field must be added to it.
func TestEveryFieldOfStats(t *testing.T) {
	stats, want := distinctStats()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(tcprom.New(func() thumbcache.Stats { return stats }))
	if got := gather(t, r); !maps.Equal(got, want) {
		t.Errorf("exported:\n%v\nbut Stats has:\n%v", got, want)
	}
}

func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(tcprom.New(func() thumbcache.Stats { return thumbcache.Stats{} }))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestSeveralCaches(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	for i, name := range []string{"covers", "posters"} {
		stats := thumbcache.Stats{Misses: uint64(i + 1)}
		prometheus.WrapRegistererWith(prometheus.Labels{"cache": name}, r).MustRegister(tcprom.New(func() thumbcache.Stats { return stats }))
	}
	got := gather(t, r)
	if got[`thumbcache_misses_total{cache="covers"}`] != 1 || got[`thumbcache_misses_total{cache="posters"}`] != 2 {
		t.Errorf("got %v", got)
	}
}

// TestDashboard checks that the dashboard queries only metrics that exist, and shows all of them.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "contrib", "grafana", "thumbcache.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title      string
		Templating struct {
			List []struct{ Query any }
		}
		Panels []struct {
			Title   string
			ID      int
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	_, exported := distinctStats()
	metric := regexp.MustCompile(`\bthumbcache_\w+`)
	seen := make(map[string]bool)
	check := func(where, query string) {
		for _, name := range metric.FindAllString(query, -1) {
			seen[name] = true
			if _, ok := exported[name]; !ok {
				t.Errorf("%s queries %s, which is not exported", where, name)
			}
		}
	}
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: duplicate id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if !metric.MatchString(target.Expr) {
				t.Errorf("panel %q queries none of our metrics: %s", p.Title, target.Expr)
			}
			check(p.Title, target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		check("a variable", fmt.Sprint(v.Query))
	}
	for _, name := range slices.Sorted(maps.Keys(exported)) {
		if !seen[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

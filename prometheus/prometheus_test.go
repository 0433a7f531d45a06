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

// numbered returns Stats with another number in each field, and how each has to be exported.
func numbered() (s thumbcache.Stats, want map[string]float64) {
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

// gather returns what a registry exports, by name and labels.
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
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() // one of them is there
		}
	}
	return got
}

// A field that is new in Stats has to be added to the collector too.
func TestEveryFieldOfStats(t *testing.T) {
	stats, want := numbered()
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

// TestDashboard checks that the dashboard asks for nothing that is not exported.
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
	_, exported := numbered()
	metric := regexp.MustCompile(`\bthumbcache_\w+`)
	seen := make(map[string]bool)
	check := func(where, query string) {
		for _, name := range metric.FindAllString(query, -1) {
			seen[name] = true
			if _, ok := exported[name]; !ok {
				t.Errorf("%s asks for %s, which is not exported", where, name)
			}
		}
	}
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: its id %d is there twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if !metric.MatchString(target.Expr) {
				t.Errorf("panel %q asks for nothing of ours: %s", p.Title, target.Expr)
			}
			check(p.Title, target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		check("a variable", fmt.Sprint(v.Query))
	}
	// All that is exported is worth a look.
	for _, name := range slices.Sorted(maps.Keys(exported)) {
		if !seen[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}
